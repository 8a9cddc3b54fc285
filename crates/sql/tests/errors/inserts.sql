CREATE TABLE orders (id BIGINT NOT NULL, sku STRING, qty INT, price DECIMAL(10, 2), ts TIMESTAMP(3), seen TIMESTAMP_LTZ(3), d DATE, ok BOOLEAN, r ROW<x INT>) WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json');
-- case: too few columns
CREATE TABLE s (id BIGINT, sku STRING) WITH ('connector' = 'print');
INSERT INTO s SELECT id FROM orders;
-- case: columns in another order
CREATE TABLE s (id BIGINT, sku STRING) WITH ('connector' = 'print');
INSERT INTO s SELECT sku, id FROM orders;
-- case: a narrower number
CREATE TABLE s (id INT) WITH ('connector' = 'print');
INSERT INTO s SELECT id FROM orders;
-- case: a whole row into text
CREATE TABLE s (r MAP<STRING, INT>) WITH ('connector' = 'print');
INSERT INTO s SELECT r FROM orders;
-- case: NULL into NOT NULL
CREATE TABLE s (id BIGINT NOT NULL, sku STRING NOT NULL) WITH ('connector' = 'print');
INSERT INTO s SELECT id, sku FROM orders;
-- case: a listed column that is not there
CREATE TABLE s (id BIGINT, sku STRING) WITH ('connector' = 'print');
INSERT INTO s (id, skuu) SELECT id, sku FROM orders;
-- case: a column listed twice
CREATE TABLE s (id BIGINT, sku STRING) WITH ('connector' = 'print');
INSERT INTO s (id, id) SELECT id, id FROM orders;
-- case: a NOT NULL column that is not listed
CREATE TABLE s (id BIGINT NOT NULL, sku STRING) WITH ('connector' = 'print');
INSERT INTO s (sku) SELECT sku FROM orders;
-- case: a view as the target
CREATE VIEW v AS SELECT id FROM orders;
INSERT INTO v SELECT id FROM orders;
-- case: one Iceberg table, two writers
CREATE TABLE l.t (id BIGINT) WITH ('connector' = 'iceberg', 'catalog-name' = 'lake');
EXECUTE STATEMENT SET BEGIN INSERT INTO l.t SELECT id FROM orders; INSERT INTO l.t SELECT id FROM orders WHERE id > 5; END;
-- case: print is not read
CREATE TABLE s (id BIGINT) WITH ('connector' = 'print');
INSERT INTO s SELECT id FROM s;
-- case: an Iceberg table is not read by a pipeline
CREATE TABLE l.t (id BIGINT) WITH ('connector' = 'iceberg', 'catalog-name' = 'lake');
CREATE TABLE s (id BIGINT) WITH ('connector' = 'print');
INSERT INTO s SELECT id FROM l.t;
-- case: a decimal that may not fit may be NULL
CREATE TABLE s (p DECIMAL(5, 2) NOT NULL) WITH ('connector' = 'print');
INSERT INTO s SELECT CAST(id AS DECIMAL(5, 2)) FROM orders;
