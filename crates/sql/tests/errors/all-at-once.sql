CREATE TABLE orders (id BIGINT NOT NULL, sku STRING, qty INT, ship ROW<days INT, `to` ROW<city STRING> NOT NULL>) WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json');
CREATE TABLE snk (id BIGINT, sku STRING) WITH ('connector' = 'blackhole');
-- case: a misspelt option, a wrong type and an unknown column
CREATE TABLE src (id BIGNT, name STRING) WITH ('connector' = 'kafka', 'topci' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json');
INSERT INTO snk SELECT id, nme FROM src;
-- case: columns of a CREATE, one after the other
CREATE TABLE t (a INTT, b MAP<STRNG, INT>, offset BIGINT, c AS UPPER(d), d INT, d STRING, e INT DEFAULT 1, f AS a + 1, PRIMARY KEY (zz) NOT ENFORCED, WATERMARK FOR d AS d) PARTITIONED BY (b) WITH ('connector' = 'print', connector = 'x', 'connector' = 'kafka');
-- case: values of options
CREATE TABLE t (a INT) WITH ('connector' = 'kafka', 'topic' = 'orders;ordres', 'properties.bootstrap.servers' = 'nowhere:9092', 'format' = 'json',
  'scan.startup.mode' = 'begin', 'scan.bounded.mode' = 'timestamp', 'json.ignore-parse-errors' = 'yes', 'scan.parallelism' = 'x', 'properties.group.idd' = 'g');
INSERT INTO snk SELECT a, 'x' FROM t;
-- case: options of the format are known where the format is not
CREATE TABLE t (a INT) WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'jsn', 'json.ignore-parse-errors' = 'true');
INSERT INTO snk SELECT a, 'x' FROM t;
-- case: options of an Iceberg table
CREATE TABLE l.t (id BIGINT, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'iceberg', 'catalog-name' = 'nobody', 'format-version' = '3', 'write-format' = 'orc', 'write.format.default' = 'avro');
INSERT INTO l.t SELECT idd FROM orders;
-- case: every column of a query, and the conditions
INSERT INTO snk SELECT idd, UPPER(qty) FROM orders WHERE skuu = 'x' AND qty AND sku = 1;
-- case: every column of a sink
CREATE TABLE s (a STRING NOT NULL, b INT, c INT) WITH ('connector' = 'print');
INSERT INTO s SELECT sku, sku, id FROM orders;
-- case: every INSERT of a set, also behind one that cannot be read
EXECUTE STATEMENT SET BEGIN INSERT INTO snk SELCT id FROM orders; INSERT INTO snk SELECT idd, sku FROM orders; INSERT INTO nope SELECT id FROM orders; END;
-- case: options of tables that a broken query names
CREATE TABLE t (a INT) WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json', 'colour' = 'blue');
INSERT INTO snk SELECT a, b FROM orders JOIN t ON a = id;
-- case: a table that could not be read is not missing, nor is what a view of it has
CREATE TABLE t LIKE u;
CREATE VIEW v AS SELECT a, b FROM t;
INSERT INTO snk SELECT a, b FROM v;
INSERT INTO snk SELECT a, nope FROM t;
-- case: a view's mistake is told once, wherever the view is used
CREATE VIEW v AS SELECT id, skuu AS sku FROM orders;
INSERT INTO snk SELECT id, sku FROM v;
INSERT INTO snk SELECT id, sku FROM v;
INSERT INTO snk SELECT id, UPPER(sku), id FROM v;
-- case: signs of other dialects
INSERT INTO snk SELECT id, "sku" FROM orders WHERE id == 1 AND qty != 0x10 AND nope;
-- case: settings
SET 'execution.checkpointing.mode' = 'EXACTLY_TWICE';
SET 'execution.checkpointing.interval' = '0';
SET 'pipeline.nme' = 'x';
-- case: a field that is not there, of a row and of a number
INSERT INTO snk SELECT ship.dayz, qty.x FROM orders AS o WHERE o.ship.`to`.citty = 'x' AND shp.days > 1 AND oo.ship.days > 1;
