// Everything that `lakeward check` has to say, once.
CREATE TABLE timed (id BIGINT, seen TIMESTAMP_LTZ(3), note STRING) WITH (
  'connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json');
CREATE TABLE timeless (id BIGINT, text_time STRING) WITH (
  'connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json',
  'properties.group.id' = 'g', 'scan.startup.mode' = 'group-offsets');
CREATE TABLE bronze.events (id BIGINT, seen TIMESTAMP(6)) WITH ('connector' = 'iceberg', 'catalog-name' = 'hive');
CREATE TABLE bronze.texts (id BIGINT, note STRING) WITH (
  'connector' = 'iceberg', 'catalog-name' = 'lake', 'catalog-type' = 'rest', 'uri' = 'http://catalog:8181');
INSERT INTO bronze.events SELECT id, seen FROM timed;
   // A comment that only an article has.
INSERT INTO bronze.texts SELECT id, text_time FROM timeless;
