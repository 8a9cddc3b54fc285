CREATE TABLE snk (a STRING) WITH ('connector' = 'blackhole');
-- case: a column of a type that is not made up
CREATE TABLE t (a INT, seen TIMESTAMP(3)) WITH (
  'connector' = 'datagen');
INSERT INTO snk SELECT CAST(a AS STRING) FROM t;
-- case: an array is not made up
CREATE TABLE t (a INT, b ARRAY<INT>) WITH (
  'connector' = 'datagen');
INSERT INTO snk SELECT CAST(a AS STRING) FROM t;
-- case: a sequence without an end
CREATE TABLE t (a INT) WITH (
  'connector' = 'datagen',
  'fields.a.kind' = 'sequence',
  'fields.a.start' = '1');
INSERT INTO snk SELECT CAST(a AS STRING) FROM t;
-- case: a sequence that ends before it starts
CREATE TABLE t (a INT) WITH (
  'connector' = 'datagen',
  'fields.a.kind' = 'sequence',
  'fields.a.start' = '9',
  'fields.a.end' = '5');
INSERT INTO snk SELECT CAST(a AS STRING) FROM t;
-- case: a sequence beyond its type
CREATE TABLE t (a TINYINT) WITH (
  'connector' = 'datagen',
  'fields.a.kind' = 'sequence',
  'fields.a.start' = '9',
  'fields.a.end' = '500');
INSERT INTO snk SELECT CAST(a AS STRING) FROM t;
-- case: a sequence of truths
CREATE TABLE t (a BOOLEAN) WITH (
  'connector' = 'datagen',
  'fields.a.kind' = 'sequence',
  'fields.a.start' = '1',
  'fields.a.end' = '2');
INSERT INTO snk SELECT CAST(a AS STRING) FROM t;
-- case: a kind that there is not
CREATE TABLE t (a INT) WITH (
  'connector' = 'datagen',
  'fields.a.kind' = 'other');
INSERT INTO snk SELECT CAST(a AS STRING) FROM t;
-- case: a field that there is not
CREATE TABLE t (a INT) WITH (
  'connector' = 'datagen',
  'fields.b.kind' = 'random');
INSERT INTO snk SELECT CAST(a AS STRING) FROM t;
-- case: an option of a field that there is not
CREATE TABLE t (a INT) WITH (
  'connector' = 'datagen',
  'fields.a.mn' = '1');
INSERT INTO snk SELECT CAST(a AS STRING) FROM t;
-- case: an option of a field that is not there yet
CREATE TABLE t (a INT) WITH (
  'connector' = 'datagen',
  'fields.a.null-rate' = '0.5');
INSERT INTO snk SELECT CAST(a AS STRING) FROM t;
-- case: an option without a field
CREATE TABLE t (a INT) WITH (
  'connector' = 'datagen',
  'fields.a' = '1');
INSERT INTO snk SELECT CAST(a AS STRING) FROM t;
-- case: bounds in the wrong order
CREATE TABLE t (a INT) WITH (
  'connector' = 'datagen',
  'fields.a.min' = '5',
  'fields.a.max' = '1');
INSERT INTO snk SELECT CAST(a AS STRING) FROM t;
-- case: a bound beyond its type
CREATE TABLE t (a SMALLINT) WITH (
  'connector' = 'datagen',
  'fields.a.max' = '40000');
INSERT INTO snk SELECT CAST(a AS STRING) FROM t;
-- case: a bound that is no number
CREATE TABLE t (a DOUBLE) WITH (
  'connector' = 'datagen',
  'fields.a.max' = 'much');
INSERT INTO snk SELECT CAST(a AS STRING) FROM t;
-- case: text longer than its column
CREATE TABLE t (a VARCHAR(5)) WITH (
  'connector' = 'datagen',
  'fields.a.length' = '9');
INSERT INTO snk SELECT CAST(a AS STRING) FROM t;
-- case: no pace
CREATE TABLE t (a INT) WITH (
  'connector' = 'datagen',
  'rows-per-second' = '0');
INSERT INTO snk SELECT CAST(a AS STRING) FROM t;
-- case: a metadata column
CREATE TABLE t (a INT, p INT METADATA FROM 'partition') WITH (
  'connector' = 'datagen');
INSERT INTO snk SELECT CAST(a AS STRING) FROM t;
-- case: nothing is written to it
CREATE TABLE t (a STRING) WITH ('connector' = 'datagen');
INSERT INTO t SELECT a FROM t;
