CREATE TABLE o (id BIGINT NOT NULL, k STRING, v INT, d DOUBLE, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json', 'scan.startup.mode' = 'earliest-offset');
CREATE TABLE i (k STRING NOT NULL, w BIGINT, d DOUBLE, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND) WITH ('connector' = 'kafka', 'topic' = 'inventory-events', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json', 'scan.startup.mode' = 'earliest-offset');
CREATE TABLE snk (k STRING, v BIGINT, e TIMESTAMP(3)) WITH ('connector' = 'print');
CREATE VIEW l AS SELECT * FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '10' SECOND));
CREATE VIEW r AS SELECT * FROM TABLE(TUMBLE(TABLE i, DESCRIPTOR(ts), INTERVAL '10' SECOND));
-- Keys, and a condition.
EXPLAIN INSERT INTO snk SELECT l.k, r.w, l.window_end FROM l JOIN r ON l.k = r.k AND l.window_start = r.window_start AND l.window_end = r.window_end AND l.v > 1 AND r.w < l.v;
-- What is said of one side is asked below where that changes nothing.
INSERT INTO snk SELECT l.k, r.w, r.window_end FROM l LEFT JOIN r ON l.k = r.k AND r.window_start = l.window_start AND r.window_end = l.window_end AND l.v > 1 AND r.w > 2 WHERE l.id > 3 AND r.w IS NULL;
INSERT INTO snk SELECT r.k, l.v, l.window_end FROM l RIGHT JOIN r ON l.k = r.k AND r.window_start = l.window_start AND r.window_end = l.window_end AND l.v > 1 AND r.w > 2 WHERE l.id > 3;
INSERT INTO snk SELECT COALESCE(l.k, r.k), l.v, COALESCE(l.window_end, r.window_end) FROM l FULL OUTER JOIN r ON l.k = r.k AND r.window_start = l.window_start AND r.window_end = l.window_end AND l.v > 1;
-- By WHERE, without keys.
INSERT INTO snk SELECT l.k, r.w, l.window_end FROM l, r WHERE l.window_start = r.window_start AND l.window_end = r.window_end;
-- Keys that are computed; numbers that are equal and not written alike are none.
INSERT INTO snk SELECT l.k, r.w, l.window_end FROM l JOIN r ON UPPER(l.k) = r.k AND l.v = r.w AND l.d = r.d AND l.window_start = r.window_start AND l.window_end = r.window_end;
