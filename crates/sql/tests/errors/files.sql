CREATE TABLE snk (a INT) WITH ('connector' = 'blackhole');
-- case: no path
CREATE TABLE t (a INT) WITH (
  'connector' = 'filesystem',
  'format' = 'json');
INSERT INTO snk SELECT a FROM t;
-- case: files elsewhere
CREATE TABLE t (a INT) WITH (
  'connector' = 'filesystem',
  'path' = 's3://bucket/in',
  'format' = 'json');
INSERT INTO snk SELECT a FROM t;
-- case: a path from nowhere
CREATE TABLE t (a INT) WITH (
  'connector' = 'filesystem',
  'path' = 'data/in',
  'format' = 'json');
INSERT INTO snk SELECT a FROM t;
-- case: files that are watched
CREATE TABLE t (a INT) WITH (
  'connector' = 'filesystem',
  'path' = '/data/in',
  'source.monitor-interval' = '5 s',
  'format' = 'json');
INSERT INTO snk SELECT a FROM t;
-- case: a format without lines
CREATE TABLE t (a INT) WITH (
  'connector' = 'filesystem',
  'path' = '/data/in',
  'format' = 'avro');
INSERT INTO snk SELECT a FROM t;
-- case: parquet
CREATE TABLE t (a INT) WITH (
  'connector' = 'filesystem',
  'path' = '/data/in',
  'format' = 'parquet');
INSERT INTO snk SELECT a FROM t;
-- case: an option of another connector
CREATE TABLE t (a INT) WITH (
  'connector' = 'filesystem',
  'path' = '/data/in',
  'topic' = 'in',
  'format' = 'json');
INSERT INTO snk SELECT a FROM t;
-- case: metadata of files
CREATE TABLE t (a INT, f STRING METADATA FROM 'file.path') WITH (
  'connector' = 'filesystem',
  'path' = '/data/in',
  'format' = 'json');
INSERT INTO snk SELECT a FROM t;
-- case: writing files
CREATE TABLE t (a INT) WITH (
  'connector' = 'filesystem',
  'path' = '/data/out',
  'format' = 'json');
INSERT INTO t SELECT a FROM t;
