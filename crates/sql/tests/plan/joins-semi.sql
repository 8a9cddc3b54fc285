CREATE TABLE o (id BIGINT NOT NULL, k STRING, v INT, d DOUBLE, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json', 'scan.startup.mode' = 'earliest-offset');
CREATE TABLE i (k STRING NOT NULL, w BIGINT, d DOUBLE, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND) WITH ('connector' = 'kafka', 'topic' = 'inventory-events', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json', 'scan.startup.mode' = 'earliest-offset');
CREATE TABLE snk (k STRING, v BIGINT, e TIMESTAMP(3)) WITH ('connector' = 'print');
CREATE VIEW l AS SELECT * FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '10' SECOND));
CREATE VIEW r AS SELECT * FROM TABLE(TUMBLE(TABLE i, DESCRIPTOR(ts), INTERVAL '10' SECOND));
-- Rows that have one like them, and rows that have none.
INSERT INTO snk SELECT k, v, window_end FROM l WHERE l.k IN (SELECT k FROM r WHERE l.window_start = r.window_start AND l.window_end = r.window_end AND w > 1) AND v > 2;
INSERT INTO snk SELECT k, v, window_end FROM l WHERE NOT EXISTS (SELECT * FROM r WHERE l.k = r.k AND l.window_start = r.window_start AND l.window_end = r.window_end AND r.w > l.v);
INSERT INTO snk SELECT k, v, window_end FROM l WHERE l.k NOT IN (SELECT k FROM r WHERE l.window_start = r.window_start AND l.window_end = r.window_end);
INSERT INTO snk SELECT k, v, window_end FROM l WHERE (k, window_start, window_end) IN (SELECT k, window_start, window_end FROM r GROUP BY k, window_start, window_end);
-- NULL is a key like any other; and more behind it.
INSERT INTO snk SELECT l.k, r.w, r.window_end FROM l JOIN r ON l.k IS NOT DISTINCT FROM r.k AND l.window_start = r.window_start AND l.window_end = r.window_end;
