-- Rows are looked up in a table that is held in memory: JOIN … FOR SYSTEM_TIME AS OF the processing time.
CREATE TABLE o (id BIGINT NOT NULL, k INT, name STRING, xs ARRAY<INT>, ts TIMESTAMP(3), proc AS PROCTIME(), WATERMARK FOR ts AS ts) WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json', 'scan.startup.mode' = 'earliest-offset');
CREATE TABLE d (k INT NOT NULL, name STRING, price DECIMAL(10, 2), valid BOOLEAN, unread STRING, PRIMARY KEY (k) NOT ENFORCED) WITH ('connector' = 'iceberg', 'catalog-name' = 'lake', 'catalog-database' = 'dims', 'catalog-table' = 'goods');
CREATE TABLE big (k BIGINT, v STRING) WITH ('connector' = 'iceberg', 'catalog-name' = 'remote', 'catalog-database' = 'dims', 'lookup.cache' = 'FULL', 'lookup.full-cache.reload-strategy' = 'PERIODIC', 'lookup.full-cache.periodic-reload.interval' = '10 s', 'lakeward.lookup.max-memory' = '1 gb', 'lookup.async' = 'true');
CREATE TABLE snk (id BIGINT, name STRING, price DECIMAL(10, 2)) WITH ('connector' = 'print');
CREATE TABLE counts (name STRING, e TIMESTAMP(3), c BIGINT) WITH ('connector' = 'print');
-- One row for each of the table's that has the key; what nobody reads is not loaded.
EXPLAIN INSERT INTO snk SELECT o.id, d.name, d.price FROM o JOIN d FOR SYSTEM_TIME AS OF o.proc AS d ON o.k = d.k;
-- A row that finds nothing is there all the same, and what is said of the row alone is asked of the pair.
EXPLAIN INSERT INTO snk SELECT o.id, t.name, t.price FROM o LEFT JOIN d FOR SYSTEM_TIME AS OF o.proc AS t ON o.k = t.k AND o.id > 7 AND t.valid AND t.name <> o.name;
-- Several keys, computed ones among them, and conditions of WHERE.
INSERT INTO snk SELECT o.id, d.name, d.price FROM o JOIN d FOR SYSTEM_TIME AS OF o.proc AS d ON o.k + 1 = d.k AND UPPER(o.name) = d.name WHERE d.price > 1 AND o.id < 100;
-- Of another width: the narrower one is cast.
INSERT INTO snk SELECT id, v, CAST(NULL AS DECIMAL(10, 2)) FROM o JOIN big FOR SYSTEM_TIME AS OF o.proc AS b ON o.k = b.k;
-- USING, two tables behind each other, and the same one twice.
INSERT INTO snk SELECT o.id, b.v, d.price FROM o JOIN d FOR SYSTEM_TIME AS OF proc AS d USING (k) LEFT JOIN big FOR SYSTEM_TIME AS OF proc AS b ON b.k = o.id LEFT JOIN d FOR SYSTEM_TIME AS OF proc AS again ON again.k = d.k + 1;
-- Behind an UNNEST, below a window, from a view.
INSERT INTO snk SELECT id, d.name, d.price FROM o CROSS JOIN UNNEST(xs) AS u (x) JOIN d FOR SYSTEM_TIME AS OF proc AS d ON d.k = x;
CREATE VIEW enriched AS SELECT o.ts, d.name FROM o JOIN d FOR SYSTEM_TIME AS OF o.proc AS d ON o.k = d.k;
INSERT INTO counts SELECT name, window_end, COUNT(*) FROM TABLE(TUMBLE(TABLE enriched, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY name, window_start, window_end;
-- The hints of Flink.
INSERT INTO snk SELECT /*+ LOOKUP('table'='d', 'async'='true', 'output-mode'='allow_unordered') */ o.id, d.name, d.price FROM o JOIN d /*+ OPTIONS('lookup.full-cache.periodic-reload.interval'='5 min') */ FOR SYSTEM_TIME AS OF o.proc AS d ON o.k = d.k;
