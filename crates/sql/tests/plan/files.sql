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
