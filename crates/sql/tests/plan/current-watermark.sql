CREATE TABLE o (k STRING, ts TIMESTAMP(3), xs ARRAY<INT>, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json', 'scan.startup.mode' = 'earliest-offset');
CREATE TABLE i (k STRING, ts TIMESTAMP_LTZ(3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND) WITH ('connector' = 'kafka', 'topic' = 'inventory-events', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json', 'scan.startup.mode' = 'earliest-offset');
CREATE TABLE snk (k STRING, w TIMESTAMP(3)) WITH ('connector' = 'print');
CREATE TABLE instants (w TIMESTAMP_LTZ(3)) WITH ('connector' = 'print');
EXPLAIN INSERT INTO snk SELECT k, CURRENT_WATERMARK(ts) FROM o;
INSERT INTO instants SELECT CURRENT_WATERMARK(ts) FROM i;
INSERT INTO snk SELECT k, ts FROM o WHERE k = 'a' AND CURRENT_WATERMARK(ts) IS NOT NULL AND ts <= CURRENT_WATERMARK(ts);
-- Of each table by itself.
INSERT INTO snk SELECT k, CURRENT_WATERMARK(ts) FROM (SELECT k, ts FROM o UNION ALL SELECT UPPER(k), ts FROM o WHERE k <> 'x');
-- Of rows that are grouped.
INSERT INTO snk SELECT 'x', MAX(CURRENT_WATERMARK(ts)) FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_start, window_end;
INSERT INTO snk SELECT k, CURRENT_WATERMARK(ts) FROM o CROSS JOIN UNNEST(xs) AS u (x) WHERE x > 1;
