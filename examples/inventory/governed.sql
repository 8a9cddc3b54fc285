-- The article's pipeline as it would be governed: the schema stands in the registry, an event has an id, and a row says where in the
-- log it came from. The models of dbt/ build on what it writes.
CREATE TABLE inventory_events (
  event_id STRING,
  sku STRING,
  warehouse_id STRING,
  event_type STRING,
  quantity INT,
  event_time TIMESTAMP(3),
  `partition` INT METADATA VIRTUAL,
  `offset` BIGINT METADATA VIRTUAL,
  recorded_at TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL
) WITH (
  'connector' = 'kafka',
  'topic' = 'inventory-governed',
  'properties.bootstrap.servers' = 'kafka-1:9092,kafka-2:9092',
  'scan.startup.mode' = 'earliest-offset',
  'format' = 'avro-confluent',
  'avro-confluent.url' = 'http://registry:8081'
);

CREATE TABLE bronze.inventory_events (
  event_id STRING,
  sku STRING,
  warehouse_id STRING,
  event_type STRING,
  quantity INT,
  event_time TIMESTAMP(3),
  kafka_partition INT,
  kafka_offset BIGINT,
  recorded_at TIMESTAMP_LTZ(3)
) WITH (
  'connector' = 'iceberg',
  'catalog-name' = 'hive',
  'warehouse' = 's3://lakehouse/',
  'format-version' = '2'
);

INSERT INTO bronze.inventory_events
SELECT event_id, sku, warehouse_id, event_type, quantity, event_time, `partition`, `offset`, recorded_at
FROM inventory_events;
