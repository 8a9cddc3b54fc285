-- Every expression of the planner once. Apache Flink 2.3.0 plans this script too, with the same casts (EXPLAIN, 2026-11).
CREATE TABLE src (
  a INT, b BIGINT NOT NULL, s STRING, v VARCHAR(5), d DECIMAL(10, 2), f DOUBLE, g FLOAT,
  dy DATE, ts TIMESTAMP(3), seen TIMESTAMP_LTZ(3), ok BOOLEAN, bin BYTES
) WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json');
CREATE TABLE numbers (c1 INT, c2 BIGINT, c3 DECIMAL(13, 1), c4 DECIMAL(23, 13), c5 DECIMAL(17, 6), c6 DOUBLE, c7 FLOAT, c8 BIGINT, c9 INT, c10 DECIMAL(38, 2), c11 DOUBLE)
WITH ('connector' = 'print', 'print-identifier' = 'numbers');
INSERT INTO numbers
SELECT -a, a + b, a * 1.5, d / d, a / 2.0, f * a, g + f, MOD(b, 3) % 2, ABS(-3), d - 1, 1e0 + d FROM src;

CREATE TABLE texts (c1 STRING, c2 STRING, c3 STRING, c4 STRING, c5 STRING, c6 STRING, c7 INT, c8 VARCHAR(2), c9 STRING)
WITH ('connector' = 'print');
INSERT INTO texts
SELECT UPPER(s), lower(v), TRIM(s), TRIM(LEADING 'x' FROM s), SUBSTRING(s FROM 2 FOR 3), s || '-' || v,
  CHAR_LENGTH(s), SUBSTR(s, -2), CONCAT(s, v, 'it''s') FROM src;

CREATE TABLE conditions (c1 BOOLEAN, c2 BOOLEAN, c3 BOOLEAN, c4 BOOLEAN, c5 BOOLEAN, c6 BOOLEAN, c7 BOOLEAN, c8 BOOLEAN, c9 BOOLEAN, c10 BOOLEAN, c11 BOOLEAN)
WITH ('connector' = 'blackhole');
INSERT INTO conditions
SELECT a = b, a <> 1.5, s LIKE 'a\_%' ESCAPE '\', a BETWEEN 1 AND 5, a NOT IN (1, 2), ok IS NOT TRUE,
  ok IS UNKNOWN, a IS DISTINCT FROM b, NOT ok OR s IS NULL AND a < 3, a = g, d > g FROM src
WHERE ts >= TIMESTAMP '2026-01-01 00:00:00' AND ts < '2026-02-01' AND dy <> DATE '2026-01-31' AND ts <> seen;

CREATE TABLE choices (c1 STRING, c2 DECIMAL(11, 1), c3 INT, c4 BIGINT NOT NULL, c5 STRING, c6 INT, c7 BIGINT, c8 STRING)
WITH ('connector' = 'blackhole');
INSERT INTO choices
SELECT CASE WHEN a > 1 THEN 'many' WHEN a = 1 THEN 'one' END, CASE a WHEN 1 THEN 1 ELSE 2.5 END, NULLIF(a, 0),
  COALESCE(a, b), IFNULL(s, 'none'), IF(ok, 1, 0), NULLIF(b, 1.5), CAST(NULL AS STRING) FROM src;

CREATE TABLE casts (c1 INT, c2 STRING, c3 DATE, c4 TIMESTAMP(3), c5 TIMESTAMP_LTZ(3), c6 BYTES, c7 DECIMAL(5, 1), c8 INT, c9 TIMESTAMP(6), c10 DATE)
WITH ('connector' = 'blackhole');
INSERT INTO casts
SELECT TRY_CAST(s AS INT), CAST(ts AS STRING), CAST('2026-01-31' AS DATE), CAST(seen AS TIMESTAMP(3)),
  CAST(ts AS TIMESTAMP(3) WITH LOCAL TIME ZONE), CAST(s AS BYTES), f, CAST(2147483648 AS INT),
  ts + INTERVAL '1 02:03:04.5' DAY TO SECOND, ts FROM src;
