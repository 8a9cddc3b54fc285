-- Columns of the records' keys: apart from the value's, under a prefix, and in both.
CREATE TABLE apart (id INT, v STRING, n INT, `offset` BIGINT METADATA) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'scan.startup.mode' = 'earliest-offset',
  'key.format' = 'json',
  'key.fields' = 'n;id',
  'key.json.ignore-parse-errors' = 'true',
  'value.format' = 'csv',
  'value.csv.field-delimiter' = ';',
  'value.fields-include' = 'EXCEPT_KEY');
CREATE TABLE prefixed (k_id STRING, v STRING) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'scan.startup.mode' = 'earliest-offset',
  'key.format' = 'raw',
  'key.fields' = 'k_id',
  'key.fields-prefix' = 'k_',
  'value.format' = 'raw',
  'value.fields-include' = 'EXCEPT_KEY');
CREATE TABLE shared (id INT, v STRING) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'scan.startup.mode' = 'earliest-offset',
  'key.format' = 'json',
  'key.fields' = 'id',
  'format' = 'json');
CREATE TABLE unkeyed (id INT, v STRING) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'scan.startup.mode' = 'earliest-offset',
  'value.fields-include' = 'EXCEPT_KEY',
  'format' = 'json');
CREATE TABLE snk (id INT, v STRING) WITH ('connector' = 'blackhole');
CREATE TABLE texts (id STRING, v STRING) WITH ('connector' = 'blackhole');
INSERT INTO snk SELECT id, v FROM apart WHERE n > 0 AND `offset` > 1;
INSERT INTO texts SELECT k_id, v FROM prefixed;
INSERT INTO texts SELECT k_id, 'x' FROM prefixed;
INSERT INTO snk SELECT id, v FROM shared;
INSERT INTO snk SELECT id, v FROM unkeyed;
