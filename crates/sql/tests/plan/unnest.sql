CREATE TABLE o (id BIGINT NOT NULL, k STRING, v INT, xs ARRAY<INT>, xn ARRAY<INT NOT NULL> NOT NULL, m MAP<STRING, INT>, rs ARRAY<ROW<a INT, b STRING>>, r ROW<xs ARRAY<INT>, y INT>, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json', 'scan.startup.mode' = 'earliest-offset');
CREATE TABLE snk (id BIGINT, x INT, n INT) WITH ('connector' = 'print');
CREATE TABLE texts (id BIGINT, k STRING, v INT) WITH ('connector' = 'print');
CREATE TABLE counts (x INT, e TIMESTAMP(3), c BIGINT) WITH ('connector' = 'print');
INSERT INTO snk SELECT id, x, 0 FROM o CROSS JOIN UNNEST(xs) AS u (x) WHERE x > 1 AND id < 4;
-- Called as the table is.
EXPLAIN INSERT INTO snk SELECT id, u.* FROM o, UNNEST(xn) WITH ORDINALITY AS u;
-- A row for none.
INSERT INTO snk SELECT id, x, n FROM o LEFT JOIN UNNEST(xn) WITH ORDINALITY AS u (x, n) ON TRUE;
-- Which elements a row has.
EXPLAIN INSERT INTO snk SELECT id, x, n FROM o LEFT JOIN UNNEST(xs) WITH ORDINALITY AS u (x, n) ON x > v AND n < 3;
INSERT INTO snk SELECT id, x, v FROM o LEFT JOIN UNNEST(SPLIT(k, ',')) AS u (t) ON id > 1 LEFT JOIN UNNEST(xs) AS w (x) ON x < CHAR_LENGTH(t);
-- The fields of a ROW, an entry of a MAP.
INSERT INTO texts SELECT id, b, a FROM o CROSS JOIN UNNEST(rs);
INSERT INTO texts SELECT id, u.* FROM o CROSS JOIN UNNEST(m) AS u;
INSERT INTO texts SELECT id, `KEY`, `VALUE` FROM o JOIN UNNEST(m) ON `VALUE` = v;
-- Of what is computed, and of a field.
INSERT INTO texts SELECT id, x, 0 FROM o CROSS JOIN UNNEST(SPLIT(k, ',')) AS u (x);
INSERT INTO snk SELECT id, x, y FROM o, UNNEST(o.r.xs) AS u (x), UNNEST(ARRAY[1, 2]) AS w (y) WHERE id > 1 AND x > y;
-- It keeps the event time.
CREATE VIEW e AS SELECT x, ts FROM o CROSS JOIN UNNEST(xs) AS u (x);
INSERT INTO counts SELECT x, window_end, COUNT(*) FROM TABLE(TUMBLE(TABLE e, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY x, window_start, window_end;
INSERT INTO counts SELECT x, window_end, COUNT(*) FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '10' SECOND)) CROSS JOIN UNNEST(xs) AS u (x) GROUP BY x, window_start, window_end;
