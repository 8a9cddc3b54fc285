CREATE TABLE o (id BIGINT NOT NULL, k STRING, v INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json', 'scan.startup.mode' = 'earliest-offset');
CREATE TABLE i (k STRING, w BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND) WITH ('connector' = 'kafka', 'topic' = 'inventory-events', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json', 'scan.startup.mode' = 'earliest-offset');
CREATE TABLE kv (k STRING, v BIGINT) WITH ('connector' = 'print');
CREATE TABLE counts (s TIMESTAMP(3), e TIMESTAMP(3), c BIGINT) WITH ('connector' = 'print');
-- Two readings of one scan.
EXPLAIN INSERT INTO kv SELECT k, v FROM o WHERE v < 5 UNION ALL SELECT k, v * 10 FROM o WHERE v > 3;
-- Two scans; the types are what their columns have in common, and may be NULL where one may.
INSERT INTO kv SELECT k, id FROM o UNION ALL SELECT k, w FROM i UNION ALL SELECT 'all', v FROM o;
-- The event time of both.
CREATE VIEW b AS SELECT k, ts FROM o WHERE k = 'a' UNION ALL SELECT k, ts FROM i;
EXPLAIN INSERT INTO counts SELECT window_start, window_end, COUNT(*) FROM TABLE(TUMBLE(TABLE b, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_start, window_end;
-- The window of both.
CREATE VIEW w AS SELECT window_start, window_end, k FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '10' SECOND))
  UNION ALL SELECT window_start, window_end, k FROM TABLE(TUMBLE(TABLE i, DESCRIPTOR(ts), INTERVAL '10' SECOND));
INSERT INTO counts SELECT window_start, window_end, COUNT(*) FROM w GROUP BY window_start, window_end;
-- Results of windows; what is the same in two queries is there once.
INSERT INTO counts SELECT window_start, window_end, COUNT(*) FROM w GROUP BY window_start, window_end UNION ALL SELECT window_start, window_end, 0 FROM w;
-- Constants alone, of which there is one for each row.
INSERT INTO kv SELECT 'a', 1 FROM (SELECT v FROM o UNION ALL SELECT v FROM o);
-- Each row once, in each window.
INSERT INTO counts SELECT window_start, window_end, 1 FROM w UNION SELECT window_start, window_end, 2 FROM w;
-- Two INSERTs over two scans, and one over both, are one job.
EXECUTE STATEMENT SET BEGIN
  INSERT INTO kv SELECT k, v FROM o;
  INSERT INTO kv SELECT k, w FROM i;
  INSERT INTO kv SELECT k, v FROM o UNION ALL SELECT k, w FROM i;
END;
