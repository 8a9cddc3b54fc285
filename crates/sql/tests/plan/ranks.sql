CREATE TABLE o (
  id BIGINT NOT NULL, carrier STRING, price DECIMAL(10, 2), late BOOLEAN,
  ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'scan.startup.mode' = 'earliest-offset', 'format' = 'json');
CREATE TABLE firsts (k STRING, n BIGINT) WITH ('connector' = 'print');

-- The first three of each window's groups, with the rank.
INSERT INTO firsts SELECT carrier, rn FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY window_start, window_end ORDER BY n DESC, carrier) AS rn FROM (
    SELECT carrier, window_start, window_end, COUNT(*) AS n FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '1' HOUR)) GROUP BY carrier, window_start, window_end
  )) WHERE rn <= 3;
-- In one query, a range, without the rank.
INSERT INTO firsts SELECT carrier, n FROM (
  SELECT carrier, COUNT(*) AS n, ROW_NUMBER() OVER (PARTITION BY window_start, window_end ORDER BY COUNT(*) DESC) AS rn
  FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '1' HOUR)) GROUP BY carrier, window_start, window_end
) WHERE rn BETWEEN 2 AND 4 AND n > 1;
-- Deduplication: the last row of each key in a window.
INSERT INTO firsts SELECT carrier, id FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '1' HOUR))
QUALIFY ROW_NUMBER() OVER (PARTITION BY window_start, window_end, carrier ORDER BY ts DESC) = 1;
