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
-- case: files that are watched without a pause
CREATE TABLE t (a INT) WITH (
  'connector' = 'filesystem',
  'path' = '/data/in',
  'source.monitor-interval' = '0 s',
  'format' = 'json');
INSERT INTO snk SELECT a FROM t;
-- case: state over files that are watched
CREATE TABLE t (a INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts) WITH (
  'connector' = 'filesystem',
  'path' = '/data/in',
  'source.monitor-interval' = '5 s',
  'format' = 'json');
INSERT INTO snk SELECT MAX(a) FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end;
-- case: files that are watched beside a topic
CREATE TABLE t (a INT) WITH (
  'connector' = 'filesystem',
  'path' = '/data/in',
  'source.monitor-interval' = '5 s',
  'format' = 'json');
CREATE TABLE live (a INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'scan.startup.mode' = 'earliest-offset',
  'format' = 'json');
INSERT INTO snk SELECT a FROM t UNION ALL SELECT a FROM live;
-- case: files beside rows that are made up
CREATE TABLE t (a INT) WITH (
  'connector' = 'filesystem',
  'path' = '/data/in',
  'format' = 'json');
CREATE TABLE made (a INT) WITH ('connector' = 'datagen');
INSERT INTO snk SELECT a FROM t UNION ALL SELECT a FROM made;
-- case: a folder within another
CREATE TABLE t (a INT) WITH (
  'connector' = 'filesystem',
  'path' = '/data/in',
  'format' = 'json');
CREATE TABLE u (a INT) WITH (
  'connector' = 'filesystem',
  'path' = '/data/in/more/',
  'format' = 'json');
INSERT INTO snk SELECT a FROM t UNION ALL SELECT a FROM u;
-- case: partitions that are no columns
CREATE TABLE t (a INT, b AS a + 1) PARTITIONED BY (b) WITH (
  'connector' = 'filesystem',
  'path' = '/data/in',
  'format' = 'json');
INSERT INTO snk SELECT a FROM t;
-- case: a partition that does not exist
CREATE TABLE t (a INT, dey STRING) PARTITIONED BY (day_) WITH (
  'connector' = 'filesystem',
  'path' = '/data/in',
  'format' = 'json');
INSERT INTO snk SELECT a FROM t;
-- case: nothing is in the files
CREATE TABLE t (a INT, b STRING) PARTITIONED BY (a, b) WITH (
  'connector' = 'filesystem',
  'path' = '/data/in',
  'format' = 'json');
INSERT INTO snk SELECT a FROM t;
-- case: a partition that no path says
CREATE TABLE t (a INT, b ARRAY<INT>) PARTITIONED BY (b) WITH (
  'connector' = 'filesystem',
  'path' = '/data/in',
  'format' = 'json');
INSERT INTO snk SELECT a FROM t;
-- case: two PARTITIONED BY
CREATE TABLE t (a INT, b STRING) PARTITIONED BY (b) WITH (
  'connector' = 'filesystem',
  'path' = '/data/in',
  'format' = 'json');
CREATE TABLE u PARTITIONED BY (a) LIKE t;
-- case: a pattern that is none
CREATE TABLE t (a INT) WITH (
  'connector' = 'filesystem',
  'path' = '/data/in',
  'source.path.regex-pattern' = 'no pattern(',
  'format' = 'json');
INSERT INTO snk SELECT a FROM t;
-- case: a format without lines
CREATE TABLE t (a INT) WITH (
  'connector' = 'filesystem',
  'path' = '/data/in',
  'format' = 'avro');
INSERT INTO snk SELECT a FROM t;
-- case: types that are not read from parquet
CREATE TABLE t (a INT, b TIME(6), c ROW<d TIMESTAMP(9)>) WITH (
  'connector' = 'filesystem',
  'path' = '/data/in',
  'format' = 'parquet');
INSERT INTO snk SELECT a FROM t;
-- case: an option of parquet that is none
CREATE TABLE t (a INT) WITH (
  'connector' = 'filesystem',
  'path' = '/data/in',
  'parquet.utc-timezones' = 'true',
  'format' = 'parquet');
INSERT INTO snk SELECT a FROM t;
-- case: an option of another connector
CREATE TABLE t (a INT) WITH (
  'connector' = 'filesystem',
  'path' = '/data/in',
  'topic' = 'in',
  'format' = 'json');
INSERT INTO snk SELECT a FROM t;
-- case: metadata that files do not have
CREATE TABLE t (a INT, f STRING METADATA FROM 'file.paht', m TIMESTAMP_LTZ(3) METADATA FROM 'file.modification-time') WITH (
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
