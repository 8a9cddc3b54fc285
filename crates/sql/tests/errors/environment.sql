CREATE TABLE src (a INT, b STRING, ts TIMESTAMP(6)) WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json');
-- case: no catalog name
CREATE TABLE db.t (a INT) WITH (
  'connector' = 'iceberg',
  'warehouse' = 's3://lakehouse/');
INSERT INTO db.t SELECT a FROM src;
-- case: a catalog that lakeward.toml does not know
CREATE TABLE db.t (a INT) WITH (
  'connector' = 'iceberg',
  'catalog-name' = 'prod lake',
  'warehouse' = 's3://lakehouse/');
INSERT INTO db.t SELECT a FROM src;
-- case: a warehouse that lakeward.toml does not know
CREATE TABLE db.t (a INT) WITH (
  'connector' = 'iceberg',
  'catalog-name' = 'hive',
  'warehouse' = 's3://other/');
INSERT INTO db.t SELECT a FROM src;
-- case: a kind of catalog that is not supported yet
CREATE TABLE db.t (a INT) WITH (
  'connector' = 'iceberg',
  'catalog-name' = 'hive',
  'warehouse' = 's3://lakehouse/',
  'catalog-type' = 'hadoop');
INSERT INTO db.t SELECT a FROM src;
-- case: a kind of catalog that is none
CREATE TABLE db.t (a INT) WITH (
  'connector' = 'iceberg',
  'catalog-name' = 'hive',
  'warehouse' = 's3://lakehouse/',
  'catalog-type' = 'res');
INSERT INTO db.t SELECT a FROM src;
-- case: an address that is none
CREATE TABLE db.t (a INT) WITH (
  'connector' = 'iceberg',
  'catalog-name' = 'hive',
  'warehouse' = 's3://lakehouse/',
  'uri' = 'thrift://hms:9083');
INSERT INTO db.t SELECT a FROM src;
-- case: format version 3
CREATE TABLE db.t (a INT) WITH (
  'connector' = 'iceberg',
  'catalog-name' = 'hive',
  'warehouse' = 's3://lakehouse/',
  'format-version' = '3');
INSERT INTO db.t SELECT a FROM src;
-- case: a format version that is none
CREATE TABLE db.t (a INT) WITH (
  'connector' = 'iceberg',
  'catalog-name' = 'hive',
  'warehouse' = 's3://lakehouse/',
  'format-version' = 'two');
INSERT INTO db.t SELECT a FROM src;
-- case: a key
CREATE TABLE db.t (a INT, PRIMARY KEY (a) NOT ENFORCED) WITH (
  'connector' = 'iceberg',
  'catalog-name' = 'hive',
  'warehouse' = 's3://lakehouse/');
INSERT INTO db.t SELECT a FROM src;
-- case: upsert
CREATE TABLE db.t (a INT) WITH (
  'connector' = 'iceberg',
  'catalog-name' = 'hive',
  'warehouse' = 's3://lakehouse/',
  'write.upsert.enabled' = 'true');
INSERT INTO db.t SELECT a FROM src;
-- case: files that are not Parquet
CREATE TABLE db.t (a INT) WITH (
  'connector' = 'iceberg',
  'catalog-name' = 'hive',
  'warehouse' = 's3://lakehouse/',
  'write.format.default' = 'orc');
INSERT INTO db.t SELECT a FROM src;
-- case: a misspelt option becomes a property, with a notice
CREATE TABLE db.t (a INT) WITH (
  'connector' = 'iceberg',
  'catalog-name' = 'hive',
  'warehouse' = 's3://lakehouse/',
  'warehose' = 's3://lakehouse/');
INSERT INTO db.t SELECT a FROM src;
-- case: brokers that lakeward.toml does not know
CREATE TABLE k (a INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'broker-7:9092',
  'format' = 'avro');
CREATE TABLE p (a INT) WITH ('connector' = 'print');
INSERT INTO p SELECT a FROM k;
-- case: framed Avro of another cluster
CREATE TABLE k (a INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'elsewhere:9092',
  'format' = 'avro-confluent',
  'avro-confluent.url' = 'http://there:8081');
CREATE TABLE p (a INT) WITH ('connector' = 'print');
INSERT INTO p SELECT a FROM k;
-- case: a topic that does not exist
CREATE TABLE k (a INT) WITH (
  'connector' = 'kafka',
  'topic' = 'payments',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'avro');
CREATE TABLE p (a INT) WITH ('connector' = 'print');
INSERT INTO p SELECT a FROM k;
-- case: a topic that nearly exists
CREATE TABLE k (a INT) WITH (
  'connector' = 'kafka',
  'topic' = 'inventory-event',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'avro');
CREATE TABLE p (a INT) WITH ('connector' = 'print');
INSERT INTO p SELECT a FROM k;
-- case: bare avro over framed records
CREATE TABLE k (a INT) WITH (
  'connector' = 'kafka',
  'topic' = 'framed',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'avro');
CREATE TABLE p (a INT) WITH ('connector' = 'print');
INSERT INTO p SELECT a FROM k;
-- case: a time zone that is none
SET 'table.local-time-zone' = 'Europe/Atlantis';
-- case: a replay window that is none
SET 'lakeward.replay.window' = 'long';
-- case: patterns that the engine does not take
CREATE TABLE k (a STRING) WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json');
CREATE TABLE p (a STRING) WITH ('connector' = 'print');
INSERT INTO p SELECT UPPER(REGEXP_EXTRACT(a, 'no pattern(')) FROM k WHERE a SIMILAR TO 'no pattern(';
