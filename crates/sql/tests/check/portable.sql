-- A script that runs here and on a Flink cluster: nothing to say.
SET 'execution.checkpointing.interval' = '10 s';
CREATE DATABASE IF NOT EXISTS bronze;
CREATE TABLE orders (
  id BIGINT,
  seen TIMESTAMP_LTZ(3),
  WATERMARK FOR seen AS seen - INTERVAL '5' SECOND
) WITH (
  'connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092',
  'scan.startup.mode' = 'earliest-offset', 'format' = 'json'
);
CREATE TABLE bronze.orders (id BIGINT, seen TIMESTAMP_LTZ(6)) WITH (
  'connector' = 'iceberg', 'catalog-name' = 'lake', 'catalog-type' = 'rest', 'uri' = 'http://catalog:8181'
);
INSERT INTO bronze.orders SELECT id, seen FROM orders;
