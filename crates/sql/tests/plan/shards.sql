-- How many share the work on keys, where there are some.
CREATE TABLE o (k STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'scan.startup.mode' = 'earliest-offset', 'format' = 'json');
CREATE TABLE counts (k STRING, c BIGINT) WITH ('connector' = 'print');
EXPLAIN INSERT INTO counts SELECT k, COUNT(*) FROM TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '1' MINUTE) GROUP BY k, window_start, window_end;
SET 'parallelism.default' = '4';
EXPLAIN INSERT INTO counts SELECT k, COUNT(*) FROM TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '1' MINUTE) GROUP BY k, window_start, window_end;
EXPLAIN INSERT INTO counts SELECT 'all', COUNT(*) FROM TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '1' MINUTE) GROUP BY window_start, window_end;
SET 'table.exec.resource.default-parallelism' = '200';
EXPLAIN INSERT INTO counts SELECT k, COUNT(*) FROM TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '1' MINUTE) GROUP BY k, window_start, window_end;
SET 'table.exec.resource.default-parallelism' = '-1';
EXPLAIN INSERT INTO counts SELECT k, COUNT(*) FROM TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '1' MINUTE) GROUP BY k, window_start, window_end;
INSERT INTO counts SELECT k, 1 FROM o;
