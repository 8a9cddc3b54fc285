CREATE TABLE orders (id BIGINT) WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json');
-- case: a size in words
CREATE TABLE lake.t (id BIGINT) WITH ('connector' = 'iceberg', 'catalog-name' = 'hive',
  'write.target-file-size-bytes' = '1 GB');
INSERT INTO lake.t SELECT id FROM orders;
-- case: a codec that Parquet does not have
CREATE TABLE lake.t (id BIGINT) WITH ('connector' = 'iceberg', 'catalog-name' = 'hive',
  'write.parquet.compression-codec' = 'lzo');
INSERT INTO lake.t SELECT id FROM orders;
-- case: a mode of metrics that is none
CREATE TABLE lake.t (id BIGINT) WITH ('connector' = 'iceberg', 'catalog-name' = 'hive',
  'write.metadata.metrics.column.id' = 'truncate');
INSERT INTO lake.t SELECT id FROM orders;
-- case: a share that is none
CREATE TABLE lake.t (id BIGINT) WITH ('connector' = 'iceberg', 'catalog-name' = 'hive',
  'write.parquet.bloom-filter-fpp.column.id' = '5');
INSERT INTO lake.t SELECT id FROM orders;
-- case: paths with a hash
CREATE TABLE lake.t (id BIGINT) WITH ('connector' = 'iceberg', 'catalog-name' = 'hive',
  'write.object-storage.enabled' = 'true');
INSERT INTO lake.t SELECT id FROM orders;
-- case: what is kept is said, and what is obeyed is not
CREATE TABLE lake.t (id BIGINT) WITH ('connector' = 'iceberg', 'catalog-name' = 'hive',
  'write.distribution-mode' = 'range',
  'write.newer' = '1',
  'write.parquet.bloom-filter-enabled.column.id' = 'TRUE',
  'write.metadata.metrics.default' = 'counts',
  'write.update.mode' = 'merge-on-read',
  'write.format.default' = 'PARQUET');
INSERT INTO lake.t SELECT id FROM orders;
-- case: a schema change that is given by a word that is none
CREATE TABLE lake.t (id BIGINT) WITH ('connector' = 'iceberg', 'catalog-name' = 'hive',
  'lakeward.schema-change' = 'evolv');
INSERT INTO lake.t SELECT id FROM orders;
-- case: rows are not parted by whether they fit the table
CREATE TABLE lake.t (id BIGINT) WITH ('connector' = 'iceberg', 'catalog-name' = 'hive',
  'lakeward.schema-change' = 'dead-letter');
INSERT INTO lake.t SELECT id FROM orders;
-- case: a table that evolves
CREATE TABLE lake.t (id BIGINT) WITH ('connector' = 'iceberg', 'catalog-name' = 'hive',
  'lakeward.schema-change' = 'evolve');
INSERT INTO lake.t SELECT id FROM orders;
