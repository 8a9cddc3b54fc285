-- What came into and went out of each warehouse, every five seconds of event time. Events that come after their window has
-- been counted are kept, with the record they came from, in lakehouse.stock_movements__late.
CREATE TABLE inventory_events (
  sku STRING,
  warehouse_id STRING,
  event_type STRING,
  quantity INT,
  event_time TIMESTAMP(3),
  WATERMARK FOR event_time AS event_time - INTERVAL '2' SECOND
) WITH (
  'connector' = 'kafka',
  'topic' = 'inventory-events',
  'properties.bootstrap.servers' = 'kafka-1:9092,kafka-2:9092',
  'scan.startup.mode' = 'earliest-offset',
  'scan.watermark.emit.strategy' = 'on-event',
  'format' = 'avro'
);

CREATE TABLE lakehouse.stock_movements (
  warehouse_id STRING,
  window_start TIMESTAMP(3),
  window_end TIMESTAMP(3),
  events BIGINT,
  movement INT
) WITH (
  'connector' = 'iceberg',
  'catalog-name' = 'hive',
  'warehouse' = 's3://lakehouse/',
  'format-version' = '2',
  'lakeward.late' = 'side-table'
);

INSERT INTO lakehouse.stock_movements
SELECT
  warehouse_id,
  window_start,
  window_end,
  COUNT(*),
  SUM(CASE WHEN event_type = 'sold' THEN -quantity ELSE quantity END)
FROM TABLE(TUMBLE(TABLE inventory_events, DESCRIPTOR(event_time), INTERVAL '5' SECOND))
GROUP BY warehouse_id, window_start, window_end;
