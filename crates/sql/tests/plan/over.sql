CREATE TABLE o (
  id BIGINT NOT NULL, carrier STRING, price DECIMAL(10, 2), late BOOLEAN,
  ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'scan.startup.mode' = 'earliest-offset', 'format' = 'json');
CREATE TABLE sums (k STRING, c BIGINT, p DECIMAL(38, 2)) WITH ('connector' = 'print');

-- A named window; the third aggregate is read by nobody.
INSERT INTO sums SELECT carrier, c, p FROM (
  SELECT carrier, COUNT(*) OVER w AS c, SUM(price * 2) OVER w AS p, MAX(id) OVER w AS unread FROM o
  WINDOW w AS (PARTITION BY UPPER(carrier) ORDER BY ts RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW)) WHERE c > 1;
-- The number of a row is how many rows there were.
INSERT INTO sums SELECT carrier, ROW_NUMBER() OVER (PARTITION BY carrier ORDER BY ts), price FROM o WHERE id > 3;
-- Over what windows count, and in the same query.
INSERT INTO sums SELECT carrier, SUM(COUNT(*)) OVER (PARTITION BY carrier ORDER BY window_time ROWS 2 PRECEDING), 0
FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '1' HOUR)) GROUP BY carrier, window_start, window_end, window_time;
EXPLAIN INSERT INTO sums SELECT carrier, COUNT(*) OVER (PARTITION BY carrier ORDER BY ts ROWS 2 PRECEDING), price FROM o;
EXPLAIN INSERT INTO sums SELECT carrier, COUNT(*) OVER (ORDER BY ts RANGE INTERVAL '5' MINUTE PRECEDING), price FROM o;
-- The value of a row before; it looks back from the last row of the same time.
CREATE TABLE lags (a INT, b INT NOT NULL, c INT) WITH ('connector' = 'print');
EXPLAIN INSERT INTO lags SELECT LAG(id) OVER w, LAG(id, 2, 0) OVER w, LAG(id, 2, n) OVER w
  FROM (SELECT CAST(id AS INT) AS id, carrier, ts, CHAR_LENGTH(carrier) AS n FROM o) WINDOW w AS (PARTITION BY carrier ORDER BY ts);
-- Keys that nothing comes of are forgotten; what an interval bounds is not, and 1 ms is never.
SET 'table.exec.state.ttl' = '2 d';
EXPLAIN INSERT INTO sums SELECT carrier, COUNT(*) OVER (PARTITION BY carrier ORDER BY ts), price FROM o;
EXPLAIN INSERT INTO sums SELECT carrier, COUNT(*) OVER (PARTITION BY carrier ORDER BY ts ROWS 3 PRECEDING), price FROM o;
EXPLAIN INSERT INTO sums SELECT carrier, COUNT(*) OVER (PARTITION BY carrier ORDER BY ts RANGE INTERVAL '5' MINUTE PRECEDING), price FROM o;
SET 'table.exec.state.ttl' = '1 ms';
EXPLAIN INSERT INTO sums SELECT carrier, COUNT(*) OVER (PARTITION BY carrier ORDER BY ts ROWS 4 PRECEDING), price FROM o;
