CREATE TABLE o (id BIGINT NOT NULL, k STRING, v INT, xs ARRAY<INT>, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json', 'scan.startup.mode' = 'earliest-offset');
CREATE TABLE i (k STRING, w BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND) WITH ('connector' = 'kafka', 'topic' = 'inventory-events', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json', 'scan.startup.mode' = 'earliest-offset');
CREATE VIEW l AS SELECT * FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '10' SECOND));
CREATE VIEW r AS SELECT * FROM TABLE(TUMBLE(TABLE i, DESCRIPTOR(ts), INTERVAL '10' SECOND));
CREATE VIEW h AS SELECT * FROM TABLE(HOP(TABLE i, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '10' SECOND));
CREATE TABLE snk (k STRING, v BIGINT) WITH ('connector' = 'blackhole');
-- case: tables without windows
INSERT INTO snk SELECT o.k, i.w FROM o JOIN i ON o.k = i.k;
-- case: two tables without a condition
INSERT INTO snk SELECT o.k, i.w FROM o, i;
-- case: one side has windows
INSERT INTO snk SELECT l.k, i.w FROM l JOIN i ON l.k = i.k;
-- case: by the start alone
INSERT INTO snk SELECT l.k, r.w FROM l JOIN r ON l.k = r.k AND l.window_start = r.window_start;
-- case: windows that are cut in two ways
INSERT INTO snk SELECT l.k, h.w FROM l JOIN h ON l.k = h.k AND l.window_start = h.window_start AND l.window_end = h.window_end;
-- case: windows of the older form
INSERT INTO snk SELECT a.k, r.w FROM (SELECT k, TUMBLE_START(ts, INTERVAL '10' SECOND) AS s, TUMBLE_END(ts, INTERVAL '10' SECOND) AS e FROM o GROUP BY k, TUMBLE(ts, INTERVAL '10' SECOND)) a JOIN r ON a.k = r.k AND a.s = r.window_start AND a.e = r.window_end;
-- case: a join without a condition
INSERT INTO snk SELECT l.k, r.w FROM l JOIN r;
-- case: USING of what one side does not have
INSERT INTO snk SELECT k, w FROM l JOIN r USING (k, v, window_start, window_end);
-- case: USING of what one side has twice
INSERT INTO snk SELECT l.k, a.w FROM r a JOIN r b ON a.window_start = b.window_start AND a.window_end = b.window_end JOIN l USING (k);
-- case: USING of less than the windows
INSERT INTO snk SELECT k, w FROM l JOIN r USING (k);
-- case: USING of columns of two types
INSERT INTO snk SELECT k, w FROM l JOIN (SELECT window_start, window_end, w, k AS id FROM r) b USING (id, window_start, window_end);
-- case: NATURAL of tables that have no column in common
INSERT INTO snk SELECT k, x FROM l NATURAL JOIN (SELECT w AS x FROM r);
-- case: the windows of a side that may have no row
INSERT INTO snk SELECT r.k, COUNT(*) FROM l LEFT JOIN r ON l.k = r.k AND l.window_start = r.window_start AND l.window_end = r.window_end GROUP BY r.k, r.window_start, r.window_end;
-- case: a name that both sides have
INSERT INTO snk SELECT k, w FROM l JOIN r ON l.k = r.k AND l.window_start = r.window_start AND l.window_end = r.window_end;
-- case: a condition that is refused
INSERT INTO snk SELECT l.k, r.w FROM l JOIN r ON l.key = r.k AND l.window_start = r.window_start AND l.window_end = r.window_end;
-- case: one topic in two ways
INSERT INTO snk SELECT a.k, b.v FROM l a JOIN (SELECT * FROM TABLE(TUMBLE(TABLE o /*+ OPTIONS('scan.startup.mode' = 'latest-offset') */, DESCRIPTOR(ts), INTERVAL '10' SECOND))) b ON a.window_start = b.window_start AND a.window_end = b.window_end;
-- case: EXISTS of a table without windows
INSERT INTO snk SELECT k, v FROM o WHERE EXISTS (SELECT * FROM i WHERE i.k = o.k);
-- case: IN of too few columns
INSERT INTO snk SELECT k, v FROM l WHERE (k, window_start, window_end) IN (SELECT k, window_start FROM r);
-- case: a subquery elsewhere
INSERT INTO snk SELECT k, (SELECT MAX(w) FROM i) FROM o;
-- case: a subquery under OR
INSERT INTO snk SELECT k, v FROM l WHERE v > 1 OR EXISTS (SELECT * FROM r WHERE r.k = l.k);
-- case: UNION of other numbers of columns
INSERT INTO snk SELECT k, v FROM o UNION ALL SELECT k FROM i;
-- case: UNION of other types
INSERT INTO snk SELECT k, v FROM o UNION ALL SELECT w, k FROM i;
-- case: UNION without windows
INSERT INTO snk SELECT k, v FROM o UNION SELECT k, w FROM i;
-- case: INTERSECT
INSERT INTO snk SELECT k, v FROM o INTERSECT SELECT k, w FROM i;
-- case: EXCEPT
INSERT INTO snk SELECT k, v FROM o EXCEPT ALL SELECT k, w FROM i;
-- case: VALUES in a union
INSERT INTO snk SELECT k, v FROM o UNION ALL VALUES ('a', 1);
-- case: UNNEST of something else
INSERT INTO snk SELECT k, x FROM o CROSS JOIN UNNEST(v) AS t (x);
-- case: UNNEST of nothing that is there
INSERT INTO snk SELECT k, x FROM o CROSS JOIN UNNEST(ys) AS t (x);
-- case: UNNEST with too many names
INSERT INTO snk SELECT k, x FROM o CROSS JOIN UNNEST(xs) AS t (x, y);
-- case: UNNEST to the right
INSERT INTO snk SELECT k, x FROM o RIGHT JOIN UNNEST(xs) AS t (x) ON TRUE;
-- case: UNNEST by columns of its own
INSERT INTO snk SELECT k, x FROM o JOIN UNNEST(xs) AS t (id) USING (id);
-- case: UNNEST alone
INSERT INTO snk SELECT 'a', x FROM UNNEST(ARRAY[1, 2]) AS t (x);
-- case: UNNEST of what COLLECT gathered
INSERT INTO snk SELECT 'a', x FROM (SELECT COLLECT(v) AS vs FROM l GROUP BY window_start, window_end) CROSS JOIN UNNEST(vs) AS t (x);
-- case: CURRENT_WATERMARK of something else
INSERT INTO snk SELECT 'a', CURRENT_WATERMARK(v) FROM o;
-- case: CURRENT_WATERMARK of a time that is none
INSERT INTO snk SELECT 'a', CURRENT_WATERMARK(CAST(ts AS TIMESTAMP(3))) FROM o;
-- case: CURRENT_WATERMARK of groups
INSERT INTO snk SELECT 'a', CURRENT_WATERMARK(window_time) FROM l GROUP BY window_start, window_end, window_time;
-- case: LAG by a column
INSERT INTO snk SELECT k, LAG(v, id) OVER (PARTITION BY k ORDER BY ts) FROM o;
-- case: LAG ahead
INSERT INTO snk SELECT k, LAG(v, -1) OVER (PARTITION BY k ORDER BY ts) FROM o;
-- case: LAG with a default of another type
INSERT INTO snk SELECT k, LAG(v, 1, 1.5) OVER (PARTITION BY k ORDER BY ts) FROM o;
-- case: LAG with a frame
INSERT INTO snk SELECT k, LAG(v) OVER (PARTITION BY k ORDER BY ts ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM o;
-- case: LAG and a number
INSERT INTO snk SELECT LAG(k) OVER w, ROW_NUMBER() OVER w FROM o WINDOW w AS (PARTITION BY k ORDER BY ts);
-- case: LAG of IGNORE NULLS
INSERT INTO snk SELECT k, LAG(v) IGNORE NULLS OVER (PARTITION BY k ORDER BY ts) FROM o;
-- case: LEAD
INSERT INTO snk SELECT k, LEAD(v) OVER (PARTITION BY k ORDER BY ts) FROM o;
-- case: FILTER of OVER
INSERT INTO snk SELECT k, SUM(v) FILTER (WHERE v > 1) OVER (PARTITION BY k ORDER BY ts) FROM o;
-- case: CURRENT_WATERMARK of windows that are joined
INSERT INTO snk SELECT CAST(CURRENT_WATERMARK(l.window_time) AS STRING), r.w FROM l JOIN r ON l.k = r.k AND l.window_start = r.window_start AND l.window_end = r.window_end;
-- case: CURRENT_WATERMARK behind OVER
INSERT INTO snk SELECT CAST(CURRENT_WATERMARK(ts) AS STRING), c FROM (SELECT ts, COUNT(*) OVER (PARTITION BY k ORDER BY ts) AS c FROM o);
-- case: CURRENT_WATERMARK behind an aggregate
INSERT INTO snk SELECT CAST(CURRENT_WATERMARK(t) AS STRING), c FROM (SELECT window_time AS t, COUNT(*) AS c FROM l GROUP BY window_start, window_end, window_time);
-- case: tables of two clusters
CREATE TABLE e (k STRING, v INT) WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'elsewhere:9092', 'format' = 'json', 'scan.startup.mode' = 'earliest-offset');
INSERT INTO snk SELECT k, w FROM i UNION ALL SELECT k, CAST(v AS BIGINT) FROM e;
-- case: rows that are made up beside a topic
CREATE TABLE g (k STRING, v BIGINT) WITH ('connector' = 'datagen', 'number-of-rows' = '3');
INSERT INTO snk SELECT k, w FROM i UNION ALL SELECT k, v FROM g;
-- case: a read that has an end beside one that has none
INSERT INTO snk SELECT k, w FROM i /*+ OPTIONS('scan.bounded.mode' = 'latest-offset') */ UNION ALL SELECT k, CAST(v AS BIGINT) FROM o;
