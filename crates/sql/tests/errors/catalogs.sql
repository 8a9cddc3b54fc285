CREATE TABLE orders (id BIGINT) WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json');
CREATE CATALOG lake WITH ('type' = 'iceberg');
-- case: a catalog that is there
CREATE CATALOG lake WITH ('type' = 'generic_in_memory');
-- case: no type
CREATE CATALOG bad;
-- case: a type that is not here
CREATE CATALOG bad WITH ('type' = 'hive');
-- case: a type that is none
CREATE CATALOG bad WITH ('type' = 'icebreg');
-- case: an option that is not obeyed
CREATE CATALOG bad WITH ('type' = 'iceberg', 'catalog-type' = 'rest', 'url' = 'http://catalog:8181', 'cache-enabled' = 'false');
-- case: a catalog in use
USE CATALOG lake;
DROP CATALOG lake;
-- case: a catalog that is not there
DROP CATALOG nowhere;
-- case: no such catalog to use
USE CATALOG laek;
-- case: a connector in an Iceberg catalog
CREATE TABLE lake.db.orders (id BIGINT) WITH ('connector' = 'kafka');
-- case: a table that the script has not declared
INSERT INTO lake.db.orders SELECT id FROM orders;
-- case: a catalog that lakeward.toml knows of as another kind, or not at all
CREATE CATALOG cold WITH ('type' = 'iceberg', 'catalog-type' = 'hadoop', 'warehouse' = 's3://lakehouse/');
CREATE CATALOG unknown_one WITH ('type' = 'iceberg');
CREATE TABLE cold.db.a (id BIGINT);
CREATE TABLE unknown_one.db.b (id BIGINT);
INSERT INTO cold.db.a SELECT id FROM orders;
INSERT INTO unknown_one.db.b SELECT id FROM orders;
-- case: a source in an Iceberg catalog
CREATE TABLE lake.db.t (id BIGINT);
CREATE TABLE b (id BIGINT) WITH ('connector' = 'blackhole');
INSERT INTO b SELECT id FROM lake.db.t;
-- case: the catalog's tables go with it
CREATE CATALOG mem WITH ('type' = 'generic_in_memory');
CREATE TABLE mem.d.t (id BIGINT) WITH ('connector' = 'blackhole');
DROP CATALOG mem;
INSERT INTO mem.d.t SELECT id FROM orders;
