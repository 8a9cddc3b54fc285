-- The formats of a Kafka table with options that are not theirs by default.
CREATE TABLE lines (a INT, b STRING, c ARRAY<STRING>) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'scan.startup.mode' = 'earliest-offset',
  'format' = 'csv',
  'csv.field-delimiter' = '\t',
  'csv.quote-character' = '''',
  'csv.escape-character' = '\',
  'csv.array-element-delimiter' = '|',
  'csv.null-literal' = '',
  'csv.allow-comments' = 'true',
  'csv.ignore-parse-errors' = 'true',
  'csv.write-bigdecimal-in-scientific-notation' = 'false'
);
CREATE TABLE plain (a INT, b STRING) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'scan.startup.mode' = 'earliest-offset',
  'value.format' = 'csv',
  'value.csv.disable-quote-character' = 'true',
  'value.csv.field-delimiter' = '\u0001'
);
CREATE TABLE nothing (a INT, b STRING) WITH ('connector' = 'blackhole');
INSERT INTO nothing SELECT a, b FROM lines;
INSERT INTO nothing SELECT a, b FROM plain;
-- A topic of another cluster is not looked for when the script is planned.
CREATE TABLE elsewhere (a INT, b STRING) WITH (
  'connector' = 'kafka',
  'topic' = 'a-topic-of-theirs',
  'properties.bootstrap.servers' = 'elsewhere:9092',
  'scan.startup.mode' = 'latest-offset',
  'format' = 'json'
);
INSERT INTO nothing SELECT a, b FROM elsewhere;
-- Nor are its schemas elsewhere, where the registry is this server's.
CREATE TABLE framed_elsewhere (a INT, b STRING) WITH (
  'connector' = 'kafka',
  'topic' = 'a-topic-of-theirs',
  'properties.bootstrap.servers' = 'elsewhere:9092',
  'scan.startup.mode' = 'latest-offset',
  'format' = 'avro-confluent',
  'avro-confluent.url' = 'http://here:8081'
);
INSERT INTO nothing SELECT a, b FROM framed_elsewhere;
