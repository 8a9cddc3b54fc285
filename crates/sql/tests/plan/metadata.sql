-- Metadata columns, a watermark on a computed time, avro-confluent, a REST catalog elsewhere, table properties.
USE default_database;
CREATE DATABASE IF NOT EXISTS landing;
USE landing;
CREATE TABLE events (
  `partition` INT METADATA VIRTUAL,
  `offset` STRING METADATA,
  headers MAP<STRING, BYTES> METADATA,
  recorded TIMESTAMP_LTZ(3) METADATA FROM 'timestamp',
  topic_name STRING NOT NULL METADATA FROM 'topic',
  kind STRING,
  millis BIGINT,
  text_time STRING,
  event_time AS CAST(text_time AS TIMESTAMP(3)),
  WATERMARK FOR event_time AS event_time - INTERVAL '1:30' MINUTE TO SECOND
) WITH (
  'connector' = 'kafka',
  'topic' = 'framed;orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'scan.watermark.emit.strategy' = 'on-event',
  'scan.watermark.idle-timeout' = '10 s',
  'format' = 'avro-confluent',
  'avro-confluent.url' = 'http://localhost:8081',
  'avro-confluent.subject' = 'framed-value'
);
CREATE TABLE kept (
  place STRING, seen TIMESTAMP_LTZ(3), headers MAP<STRING, BYTES>, event_time TIMESTAMP(3)
) WITH (
  'connector' = 'iceberg',
  'catalog-name' = 'anything',
  'catalog-type' = 'rest',
  'uri' = 'http://catalog.example:8181',
  'warehouse' = 's3://elsewhere/',
  'catalog-database' = 'bronze',
  'catalog-table' = 'events',
  'write.parquet.compression-codec' = 'zstd',
  'format-versoin' = '2'
);
INSERT INTO kept
SELECT topic_name || ':' || `offset`, recorded, headers, event_time FROM events WHERE `partition` <> 3;
DROP TABLE kept;
DROP VIEW IF EXISTS nothing;
