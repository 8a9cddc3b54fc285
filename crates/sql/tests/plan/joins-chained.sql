CREATE TABLE o (id BIGINT NOT NULL, k STRING, v INT, d DOUBLE, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json', 'scan.startup.mode' = 'earliest-offset');
CREATE TABLE i (k STRING NOT NULL, w BIGINT, d DOUBLE, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND) WITH ('connector' = 'kafka', 'topic' = 'inventory-events', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json', 'scan.startup.mode' = 'earliest-offset');
CREATE TABLE snk (k STRING, v BIGINT, e TIMESTAMP(3)) WITH ('connector' = 'print');
CREATE VIEW l AS SELECT * FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '10' SECOND));
CREATE VIEW r AS SELECT * FROM TABLE(TUMBLE(TABLE i, DESCRIPTOR(ts), INTERVAL '10' SECOND));
-- With itself: one scan, two readings.
INSERT INTO snk SELECT a.k, b.v, a.window_end FROM l a JOIN l b ON a.v = b.v AND a.window_start = b.window_start AND a.window_end = b.window_end;
-- The windows of both are one: it may be grouped by them, and joined again.
INSERT INTO snk SELECT l.k, COUNT(*), r.window_end FROM l JOIN r ON l.k = r.k AND l.window_start = r.window_start AND l.window_end = r.window_end GROUP BY l.k, l.window_start, r.window_end;
INSERT INTO snk SELECT a.k, c.w, c.window_end FROM l a JOIN r b ON a.k = b.k AND a.window_start = b.window_start AND a.window_end = b.window_end JOIN r c ON a.k = c.k AND b.window_start = c.window_start AND b.window_end = c.window_end;
-- Of counts.
INSERT INTO snk SELECT x.k, y.c, x.window_end FROM (SELECT k, window_start, window_end, COUNT(*) AS c FROM l GROUP BY k, window_start, window_end) x JOIN (SELECT k, window_start, window_end, COUNT(*) AS c FROM r GROUP BY k, window_start, window_end) y ON x.k = y.k AND x.window_start = y.window_start AND x.window_end = y.window_end;
-- The event time goes on.
INSERT INTO snk SELECT k, COUNT(*), window_end FROM TABLE(TUMBLE((SELECT l.k, l.window_time AS wt FROM l JOIN r ON l.k = r.k AND l.window_start = r.window_start AND l.window_end = r.window_end), DESCRIPTOR(wt), INTERVAL '1' MINUTE)) GROUP BY k, window_start, window_end;
