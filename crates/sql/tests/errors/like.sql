-- Apache Flink 2.3.0 refuses every one of these too (2026-11).
CREATE TABLE src (
  a INT, ts TIMESTAMP(3), qty INT, text_time STRING,
  et AS CAST(text_time AS TIMESTAMP(3)),
  total AS qty * 2,
  part INT METADATA FROM 'partition' VIRTUAL,
  WATERMARK FOR et AS et - INTERVAL '5' SECOND
) WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json');
CREATE TABLE keyed (k STRING NOT NULL, v BIGINT, PRIMARY KEY (k) NOT ENFORCED) WITH ('connector' = 'print');
CREATE VIEW v AS SELECT a FROM src;
-- case: a column that is there
CREATE TABLE t (a STRING) LIKE src;
-- case: a computed column that is there
CREATE TABLE t (total AS a + 1) LIKE src;
-- case: a computed column over a physical one
CREATE TABLE t (a AS qty + 1) LIKE src (OVERWRITING GENERATED);
-- case: a metadata column that is there
CREATE TABLE t (part INT METADATA FROM 'partition') LIKE src;
-- case: a second key
CREATE TABLE t (PRIMARY KEY (v) NOT ENFORCED) LIKE keyed;
-- case: a second watermark
CREATE TABLE t (WATERMARK FOR ts AS ts) LIKE src;
-- case: a second watermark cannot overwrite that of another column
CREATE TABLE t (WATERMARK FOR ts AS ts) LIKE src (OVERWRITING WATERMARKS);
-- case: the watermark twice
CREATE TABLE t (WATERMARK FOR et AS et) LIKE src;
-- case: an option twice
CREATE TABLE t WITH ('topic' = 'x') LIKE src (INCLUDING OPTIONS);
-- case: a table that is not there
CREATE TABLE t LIKE scr;
-- case: a view
CREATE TABLE t LIKE v;
-- case: a part twice
CREATE TABLE t LIKE src (INCLUDING WATERMARKS EXCLUDING WATERMARKS);
-- case: no such part
CREATE TABLE t LIKE src (INCLUDING COMMENTS);
-- case: no such rule
CREATE TABLE t LIKE src (OVERWRITING CONSTRAINTS);
-- case: an ILIKE of tables
SHOW TABLES ILIKE 'S%';
-- case: the watermark without its column
CREATE TABLE t LIKE src (EXCLUDING GENERATED);
-- case: a temporary table is dropped as one
CREATE TEMPORARY TABLE keyed (z INT) WITH ('connector' = 'print');
DROP TABLE keyed;
-- case: a table that is not temporary
DROP TEMPORARY TABLE keyed;
-- case: a view is no table
DROP TABLE v;
-- case: a table is no view
DROP VIEW keyed;
-- case: a database that is not empty
CREATE DATABASE d;
CREATE TABLE d.t (a INT) WITH ('connector' = 'print');
DROP DATABASE d;
-- case: a database that is not there
SHOW TABLES FROM nowhere;
