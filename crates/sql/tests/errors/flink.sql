-- What real Flink scripts contain and this version does not do: each is refused at its word, with what it means and what to do.
CREATE TABLE orders (id BIGINT, sku STRING, ts TIMESTAMP(3)) WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json');
CREATE TABLE snk (id BIGINT, sku STRING) WITH ('connector' = 'blackhole');
-- case: PARTITIONED BY
CREATE TABLE p (id BIGINT, dt STRING) PARTITIONED BY (dt) WITH ('connector' = 'blackhole');
-- case: DISTRIBUTED BY
CREATE TABLE p (id BIGINT) DISTRIBUTED BY HASH(id) INTO 4 BUCKETS WITH ('connector' = 'blackhole');
-- case: DISTRIBUTED INTO
CREATE TABLE p (id BIGINT) DISTRIBUTED INTO 4 BUCKETS WITH ('connector' = 'blackhole');
-- case: CREATE TABLE AS
CREATE TABLE p WITH ('connector' = 'blackhole') AS SELECT id FROM orders;
-- case: CREATE OR REPLACE TABLE
CREATE OR REPLACE TABLE p (id BIGINT) WITH ('connector' = 'blackhole');
-- case: a table of another catalog
INSERT INTO lake.db.t SELECT id FROM orders;
-- case: a database with options
CREATE DATABASE db WITH ('location' = 's3://x');
-- case: UNIQUE
CREATE TABLE p (id BIGINT, UNIQUE (id)) WITH ('connector' = 'blackhole');
-- case: a key that is enforced
CREATE TABLE p (id BIGINT, PRIMARY KEY (id)) WITH ('connector' = 'blackhole');
-- case: a column with a default
CREATE TABLE p (id BIGINT DEFAULT 1) WITH ('connector' = 'blackhole');
-- case: a watermark over a field of a row
CREATE TABLE p (r ROW<ts TIMESTAMP(3)>, WATERMARK FOR r.ts AS r.ts) WITH ('connector' = 'blackhole');
-- case: INSERT OVERWRITE
INSERT OVERWRITE snk SELECT id, sku FROM orders;
-- case: a static partition
INSERT INTO snk PARTITION (sku = 'a') SELECT id FROM orders;
-- case: ON CONFLICT
INSERT INTO snk SELECT id, sku FROM orders ON CONFLICT DO DEDUPLICATE;
-- case: EXECUTE PLAN
EXECUTE PLAN 'plan.json';
-- case: COMPILE PLAN
COMPILE PLAN 'plan.json' FOR INSERT INTO snk SELECT id, sku FROM orders;
-- case: EXPLAIN with details
EXPLAIN CHANGELOG_MODE, PLAN_ADVICE INSERT INTO snk SELECT id, sku FROM orders;
-- case: EXPLAIN of a query
EXPLAIN SELECT id FROM orders;
-- case: a statement set with a word after it
EXECUTE STATEMENT SET BEGIN INSERT INTO snk SELECT id, sku FROM orders; END now;
-- case: SHOW of something that is not here
SHOW FUNCTIONS;
-- case: SHOW CREATE TABLE
SHOW CREATE TABLE orders;
-- case: DESCRIBE of what is not there
DESCRIBE order;
-- case: DESCRIBE of a database
DESCRIBE DATABASE default_database;
-- case: USE MODULES
USE MODULES core;
-- case: LOAD MODULE
LOAD MODULE hive WITH ('hive-version' = '3.1.3');
-- case: STOP JOB
STOP JOB '228d70913eab60dda85c5e7f78b5782c' WITH SAVEPOINT;
-- case: DELETE
DELETE FROM snk WHERE id = 1;
-- case: CALL
CALL sys.expire_snapshots('t');
-- case: ALTER TABLE
ALTER TABLE orders ADD WATERMARK FOR ts AS ts;
-- case: a state hint
INSERT INTO snk SELECT /*+ STATE_TTL('orders' = '1d') */ id, sku FROM orders;
-- case: a wrong option in a hint
INSERT INTO snk SELECT id, sku FROM orders /*+ OPTIONS('scan.startup.mod'='earliest-offset') */;
-- case: a hint that is not one
INSERT INTO snk SELECT id, sku FROM orders /*+ OPTIONS('a'='b' */;
-- case: inequality as other systems write it
INSERT INTO snk SELECT id, sku FROM orders WHERE id != 1;
-- case: a number in hexadecimal
INSERT INTO snk SELECT id + 0x1F, sku FROM orders;
-- case: a no-break space from a web page
INSERT INTO snk SELECT id, sku FROM orders;
-- case: quotes from a word processor
CREATE TABLE p (id BIGINT) WITH (‘connector’ = ‘blackhole’);
-- case: a letter that nobody sees
INSERT INTO snk SELECT id,​ sku FROM orders;
-- case: a backtick that is never closed
INSERT INTO `snk SELECT id FROM orders;
-- case: a name in an empty quote
INSERT INTO `` SELECT id FROM orders;
-- case: an emoji for a name
INSERT INTO 🦀 SELECT id FROM orders;
-- case: NOT NULL in a cast
INSERT INTO snk SELECT CAST(id AS BIGINT NOT NULL), sku FROM orders;
-- case: a remainder of numbers that are not exact
INSERT INTO snk SELECT MOD(CAST(id AS DOUBLE), 2), sku FROM orders;
-- case: an interval of three digits
INSERT INTO snk SELECT id, sku FROM orders WHERE ts > ts - INTERVAL '100' SECOND;
-- case: a bare NULL for IF
INSERT INTO snk SELECT IF(id > 1, NULL, id), sku FROM orders;
-- case: a date beside a timestamp
INSERT INTO snk SELECT id, sku FROM orders WHERE ts > DATE '2026-01-31';
-- case: text beside a BOOLEAN
INSERT INTO snk SELECT id, sku FROM orders WHERE (id > 1) = 'perhaps';
-- case: SUBSTR with FROM
INSERT INTO snk SELECT id, SUBSTR(sku FROM 2) FROM orders;
-- case: an escape before an ordinary letter
INSERT INTO snk SELECT id, sku FROM orders WHERE sku LIKE 'a!b%' ESCAPE '!';
