-- Files of JSON and of CSV.
CREATE TABLE t (a INT, b STRING, c AS UPPER(b)) WITH (
  'connector' = 'filesystem',
  'path' = 'file:///data/in',
  'format' = 'json');
CREATE TABLE timed (a INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH (
  'connector' = 'filesystem',
  'path' = '/data/in/a.csv',
  'format' = 'csv',
  'csv.field-delimiter' = ';',
  'source.report-statistics' = 'none');
CREATE TABLE snk (a INT, c STRING) WITH ('connector' = 'blackhole');
CREATE TABLE counts (a INT, n BIGINT) WITH ('connector' = 'blackhole');
INSERT INTO snk SELECT a, c FROM t;
INSERT INTO counts SELECT a, COUNT(*) FROM TABLE(TUMBLE(TABLE timed, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY a, window_start, window_end;
CREATE TABLE said (a INT, `day` DATE, b STRING, site STRING, WATERMARK FOR ts AS ts, ts AS CAST(`day` AS TIMESTAMP(3)))
PARTITIONED BY (site, `day`) WITH (
  'connector' = 'filesystem',
  'path' = '/data/said',
  'format' = 'parquet');
CREATE TABLE watched (a INT, b STRING) WITH (
  'connector' = 'filesystem',
  'path' = '/data/watched',
  'source.monitor-interval' = '5 s',
  'format' = 'csv');
CREATE TABLE live (a INT, b STRING) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'scan.startup.mode' = 'earliest-offset',
  'format' = 'json');
CREATE TABLE texts (a INT, c STRING) WITH ('connector' = 'blackhole');
INSERT INTO texts SELECT a, site FROM said WHERE `day` > DATE '2026-01-01';
INSERT INTO counts SELECT a, COUNT(*) FROM TABLE(TUMBLE(TABLE said, DESCRIPTOR(ts), INTERVAL '1' DAY)) GROUP BY a, window_start, window_end;
INSERT INTO texts SELECT a, b FROM watched;
INSERT INTO texts SELECT a, b FROM t UNION ALL SELECT a, b FROM live;
CREATE TABLE like_said WITH ('path' = '/data/other') LIKE said;
INSERT INTO texts SELECT a, site FROM like_said;
CREATE TABLE chosen (a INT, `file.name` STRING METADATA VIRTUAL, s BIGINT METADATA FROM 'file.size' VIRTUAL) WITH (
  'connector' = 'filesystem',
  'path' = '/data/all',
  'source.path.regex-pattern' = '.*[.]csv',
  'format' = 'csv');
INSERT INTO texts SELECT a, `file.name` FROM chosen WHERE s > 100;
