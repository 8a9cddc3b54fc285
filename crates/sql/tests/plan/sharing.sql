-- What a query uses twice is computed once, below the first operator that needs it; but never for a row for which nobody needs it
-- where it may fail. EXPLAIN shows the query as it was read, with types and event time, and what runs.
CREATE TABLE o (
  id BIGINT NOT NULL, s STRING, qty INT, price DECIMAL(10, 2), text_time STRING,
  total AS qty * price,
  et AS CAST(text_time AS TIMESTAMP(3)),
  seen TIMESTAMP_LTZ(3) METADATA FROM 'timestamp',
  part STRING METADATA FROM 'partition',
  WATERMARK FOR et AS et - INTERVAL '5' SECOND
) WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json');
CREATE TABLE two (a BIGINT, b DECIMAL(38, 2)) WITH ('connector' = 'blackhole');
CREATE TABLE numbers (a INT, b INT) WITH ('connector' = 'blackhole');
CREATE TABLE times (a TIMESTAMP(3), b STRING) WITH ('connector' = 'blackhole');
CREATE TABLE texts (a STRING) WITH ('connector' = 'blackhole');
-- A computed column, in the condition and in the result; what it is made of is needed no further.
EXPLAIN INSERT INTO two SELECT id, total + 1 FROM o WHERE total > 100 AND id > 5;
-- The time of the watermark is there already.
EXPLAIN INSERT INTO times SELECT et, CAST(et AS STRING) || part FROM o WHERE et > seen;
-- Every row needs it: one cast, though it may fail.
EXPLAIN INSERT INTO numbers SELECT CAST(s AS INT), CAST(s AS INT) + 1 FROM o;
EXPLAIN INSERT INTO numbers SELECT CAST(s AS INT), 1 FROM o WHERE CAST(s AS INT) > 3 AND id > 5;
-- Not every row needs it, and it may fail: 'x' with the id 1 is no mistake.
EXPLAIN INSERT INTO numbers SELECT CASE WHEN id > 7 THEN CAST(s AS INT) END, CASE WHEN id > 8 THEN CAST(s AS INT) END FROM o;
EXPLAIN INSERT INTO numbers SELECT CAST(s AS INT), 1 FROM o WHERE id > 5 AND CAST(s AS INT) > 3;
-- Not every row needs it, and it never fails.
EXPLAIN INSERT INTO numbers SELECT CASE WHEN id > 7 THEN qty * 2 END, COALESCE(qty, qty * 2) FROM o;
-- Once for the whole list.
EXPLAIN INSERT INTO texts SELECT s FROM o WHERE UPPER(s) IN ('A', 'B', 'C');
-- Views upon views.
CREATE VIEW v1 (x, t) AS SELECT qty * qty, et FROM o;
CREATE VIEW v2 AS SELECT x * x AS x, t FROM v1 WHERE x > 1;
CREATE VIEW v3 AS SELECT x * x AS x, t AS s, CAST(t AS TIMESTAMP(3)) AS plain, 'c' AS c FROM v2 WHERE x > 2;
DESCRIBE o;
DESCRIBE v3;
EXPLAIN INSERT INTO numbers SELECT x, 7 FROM v3 WHERE c = 'c';
-- NOT NULL by its type, and a column that may be NULL until it meets its sink.
INSERT INTO two SELECT id + id, CAST(id + id AS DECIMAL(38, 2)) FROM o;
