-- Subqueries, views and WITH fold into one projection and one filter; a source is asked only for what is read. Apache Flink 2.3.0 plans it too.
SET 'pipeline.name' = 'folding';
SET 'execution.checkpointing.interval' = '5 s';
SET 'parallelism.default' = '4';
CREATE TEMPORARY TABLE orders (
  id BIGINT NOT NULL COMMENT 'the order',
  sku STRING,
  qty INT,
  unused STRING,
  price DECIMAL(10, 2),
  `value` STRING,
  tags ARRAY<ROW<name STRING, weights MAP<STRING, ARRAY<INT>>>>,
  total AS qty * price
) COMMENT 'all orders' WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'properties.group.id' = 'g1',
  'properties.fetch.min.bytes' = '1',
  'scan.startup.mode' = 'earliest-offset',
  'value.format' = 'json',
  'value.json.ignore-parse-errors' = 'true'
);
CREATE TABLE snk (id BIGINT, what STRING, much DECIMAL(20, 2)) WITH ('connector' = 'print');
CREATE VIEW big_orders (number, name, amount) AS SELECT id, sku, total FROM orders WHERE total > 100;

INSERT INTO snk SELECT number, UPPER(name), amount FROM big_orders AS l WHERE l.number > 5;
INSERT INTO snk SELECT * FROM (SELECT id, sku, total FROM orders WHERE qty > 1) WHERE sku <> 'x';
INSERT INTO snk (much, id) WITH a AS (SELECT id, price p FROM orders), b AS (SELECT * FROM a WHERE p > 1) SELECT b.p, id FROM b;
BEGIN STATEMENT SET;
INSERT INTO snk SELECT default_database.orders.id, `value`, orders.price FROM default_catalog.default_database.orders
  /*+ OPTIONS('scan.startup.mode' = 'specific-offsets', 'scan.startup.specific-offsets' = 'partition:0,offset:42;partition:1,offset:300', 'scan.bounded.mode' = 'latest-offset') */;
INSERT INTO snk SELECT 1, 'constant', 2.5 FROM orders;
END;
CREATE TABLE nested (t ARRAY<ROW<name STRING, weights MAP<STRING, ARRAY<INT>>>>) WITH ('connector' = 'blackhole');
INSERT INTO nested SELECT tags FROM orders;
EXPLAIN INSERT INTO snk SELECT id, sku, price FROM orders WHERE id = 7;
