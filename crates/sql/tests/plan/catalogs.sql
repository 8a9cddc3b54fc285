-- Catalogs. Apache Flink 2.3.0 takes the statements about `mem` and `mem2`, and SHOW answers the same (2026-11); those about `lake` are what
-- Iceberg's documentation of Flink writes.
CREATE CATALOG mem WITH ('type' = 'generic_in_memory');
CREATE CATALOG IF NOT EXISTS mem WITH ('type' = 'generic_in_memory');
SHOW CATALOGS;
USE CATALOG mem;
SHOW DATABASES;
SHOW CURRENT DATABASE;
SHOW CURRENT CATALOG;
CREATE TABLE orders (id BIGINT, note STRING) WITH (
  'connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json');
CREATE CATALOG mem2 COMMENT 'x' WITH ('type' = 'generic_in_memory', 'default-database' = 'd0');
USE CATALOG mem2;
SHOW CURRENT DATABASE;
USE CATALOG default_catalog;
SHOW CURRENT DATABASE;
DROP CATALOG mem2;
DROP CATALOG IF EXISTS nowhere;
CREATE CATALOG lake WITH ('type' = 'iceberg', 'catalog-type' = 'rest', 'uri' = 'http://catalog.example:8181', 'warehouse' = 's3://elsewhere/');
CREATE DATABASE IF NOT EXISTS lake.bronze;
CREATE TABLE IF NOT EXISTS lake.bronze.orders (id BIGINT, note STRING) WITH ('format-version' = '2', 'write.parquet.compression-codec' = 'zstd');
INSERT INTO lake.bronze.orders SELECT mem.`default`.orders.id, note FROM mem.`default`.orders WHERE id > 1;
USE CATALOG lake;
CREATE TEMPORARY TABLE source (id BIGINT, note STRING) WITH (
  'connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json');
CREATE TABLE bronze.parted (id BIGINT, made AS id + 1, note STRING, dt DATE) PARTITIONED BY (dt, note);
INSERT INTO bronze.parted SELECT id, note, DATE '2026-07-01' FROM source;
CREATE TABLE bronze.more LIKE bronze.orders;
INSERT INTO bronze.more SELECT * FROM source;
SHOW DATABASES;
SHOW TABLES FROM bronze;
SHOW TABLES;
CREATE VIEW big AS SELECT id FROM source WHERE id > 100;
USE CATALOG default_catalog;
CREATE TABLE ids (id BIGINT) WITH ('connector' = 'blackhole');
INSERT INTO ids SELECT id FROM lake.`default`.big;
