-- Flink SQL: ingest Kafka events and write to Iceberg
CREATE TABLE inventory_events (
  sku STRING,
  warehouse_id STRING,
  event_type STRING,
  quantity INT,
  event_time TIMESTAMP(3),
  WATERMARK FOR event_time AS event_time - INTERVAL '5' SECOND
) WITH (
  'connector' = 'kafka',
  'topic' = 'inventory-events',
  'properties.bootstrap.servers' = 'kafka-1:9092,kafka-2:9092',
  'format' = 'avro'
);

CREATE TABLE lakehouse.inventory_events (
  sku STRING,
  warehouse_id STRING,
  event_type STRING,
  quantity INT,
  event_time TIMESTAMP(3)
) WITH (
  'connector' = 'iceberg',
  'catalog-name' = 'hive',
  'warehouse' = 's3://lakehouse/',
  'format-version' = '2'
);

INSERT INTO lakehouse.inventory_events
SELECT
  sku,
  warehouse_id,
  event_type,
  quantity,
  event_time
FROM inventory_events;
