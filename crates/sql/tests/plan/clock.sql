-- The clock: a column of the source that is there where somebody asks for it, and nowhere else.
CREATE TABLE o (id BIGINT NOT NULL, v INT, xs ARRAY<INT>, ts TIMESTAMP_LTZ(3), proc AS PROCTIME(), WATERMARK FOR ts AS ts) WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json', 'scan.startup.mode' = 'earliest-offset');
CREATE TABLE plain (id BIGINT, v INT) WITH ('connector' = 'kafka', 'topic' = 'inventory-events', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json', 'scan.startup.mode' = 'earliest-offset');
CREATE TABLE snk (id BIGINT, came TIMESTAMP_LTZ(3)) WITH ('connector' = 'print');
CREATE TABLE parts (a TIMESTAMP(3), b DATE, c TIME(0), d TIME(0), e BIGINT, f TIMESTAMP_LTZ(3)) WITH ('connector' = 'print');
CREATE TABLE counts (k INT, e TIMESTAMP(3), c BIGINT, newest TIMESTAMP_LTZ(3)) WITH ('connector' = 'print');
DESCRIBE o;
CREATE VIEW handed AS SELECT id, proc, NOW() AS came, CAST(proc AS TIMESTAMP_LTZ(3)) AS time_only FROM o WHERE v > 1;
DESCRIBE handed;
INSERT INTO snk SELECT id, NOW() FROM plain;
-- One column, whatever asks for it and how often.
EXPLAIN INSERT INTO snk SELECT id, proc FROM o WHERE ts < CURRENT_TIMESTAMP AND v > 0 OR NOW() > proc - INTERVAL '1' DAY;
EXPLAIN INSERT INTO snk SELECT id, came FROM handed WHERE proc > TIMESTAMP '2026-01-01 00:00:00' AND CURRENT_ROW_TIMESTAMP() > time_only;
INSERT INTO parts SELECT LOCALTIMESTAMP, CURRENT_DATE, LOCALTIME, CURRENT_TIME, UNIX_TIMESTAMP(), CURRENT_ROW_TIMESTAMP() FROM plain;
-- Of each table of a union, and behind an UNNEST and a window function.
INSERT INTO snk SELECT id, NOW() FROM (SELECT id FROM plain UNION ALL SELECT id FROM o);
INSERT INTO snk SELECT x, NOW() FROM o CROSS JOIN UNNEST(xs) AS u (x);
INSERT INTO snk SELECT id, NOW() FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '10' SECOND)) WHERE window_start < LOCALTIMESTAMP;
INSERT INTO counts SELECT v, window_end, COUNT(*), MAX(NOW()) FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY v, window_start, window_end;
-- As the event time.
CREATE TABLE arrivals (id BIGINT, v INT, came AS NOW(), WATERMARK FOR came AS came - INTERVAL '1' SECOND) WITH ('connector' = 'kafka', 'topic' = 'inventory-events', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json', 'scan.startup.mode' = 'earliest-offset');
INSERT INTO counts SELECT v, window_end, COUNT(*), MAX(came) FROM TABLE(TUMBLE(TABLE arrivals, DESCRIPTOR(came), INTERVAL '10' SECOND)) GROUP BY v, window_start, window_end;
-- On the wall of the session.
SET 'table.local-time-zone' = 'Asia/Tokyo';
INSERT INTO parts SELECT LOCALTIMESTAMP, CURRENT_DATE, LOCALTIME, CURRENT_TIME, UNIX_TIMESTAMP(), NOW() FROM plain;
