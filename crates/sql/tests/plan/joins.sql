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
-- What both sides call alike is one column, and first in `*`; by itself the name means what is there.
EXPLAIN INSERT INTO snk SELECT k, w, window_end FROM l JOIN r USING (k, window_start, window_end);
INSERT INTO snk SELECT k, r.w, l.window_end FROM (SELECT k, window_start, window_end FROM l) l LEFT JOIN r USING (k, window_start, window_end) WHERE k <> 'x';
INSERT INTO snk SELECT k, v, window_end FROM l RIGHT JOIN r USING (window_end, window_start, k);
INSERT INTO snk SELECT k, v, window_end FROM l FULL JOIN r USING (window_end, window_start, k);
CREATE TABLE wide (s TIMESTAMP(3), e TIMESTAMP(3), k STRING, c BIGINT) WITH ('connector' = 'print');
INSERT INTO wide SELECT * FROM (SELECT COUNT(*) AS c, window_start AS s, window_end AS e, k FROM l GROUP BY window_start, window_end, k) a NATURAL JOIN (SELECT k, window_start AS s, window_end AS e FROM r GROUP BY k, window_start, window_end) b;
