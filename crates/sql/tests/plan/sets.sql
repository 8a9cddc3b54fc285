-- INSERTs of a statement set that read the same scan are one job: one source, one watermark, a sink each.
CREATE TABLE o (
  id BIGINT NOT NULL, s STRING, qty INT, price DECIMAL(10, 2), seen TIMESTAMP(3), unused STRING,
  total AS qty * price,
  WATERMARK FOR seen AS seen - INTERVAL '5' SECOND
) WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json');
CREATE TABLE events (id BIGINT) WITH ('connector' = 'kafka', 'topic' = 'framed', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json');
CREATE TABLE all_orders (id BIGINT, total DECIMAL(21, 2)) WITH ('connector' = 'blackhole');
CREATE TABLE large_orders (id BIGINT, total DECIMAL(21, 2)) WITH ('connector' = 'iceberg', 'catalog-name' = 'lake');
CREATE TABLE ids (id BIGINT) WITH ('connector' = 'print');
CREATE VIEW big AS SELECT id, total FROM o WHERE total > 100;
EXECUTE STATEMENT SET BEGIN
  INSERT INTO all_orders SELECT id, total FROM o;
  INSERT INTO ids SELECT id FROM events;
  INSERT INTO large_orders SELECT * FROM big;
  -- Another scan of the same table: it begins elsewhere.
  INSERT INTO ids SELECT id FROM o /*+ OPTIONS('scan.startup.mode' = 'earliest-offset') */;
  -- What may fail for a row that another INSERT has no use for is computed by each.
  INSERT INTO ids SELECT CAST(s AS BIGINT) FROM o WHERE s = 'x' AND CAST(s AS BIGINT) > 7;
  INSERT INTO ids SELECT CAST(s AS BIGINT) FROM o;
END;
-- Alone it is a job of its own.
INSERT INTO ids SELECT id FROM o WHERE qty > 1;
EXPLAIN STATEMENT SET BEGIN
  INSERT INTO all_orders SELECT id, total FROM o;
  INSERT INTO ids SELECT id FROM events;
  INSERT INTO large_orders SELECT * FROM big;
END;
