CREATE TABLE o (id BIGINT, k INT, f DOUBLE, ts TIMESTAMP(3), proc AS PROCTIME(), WATERMARK FOR ts AS ts) WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json');
CREATE TABLE d (k INT, name STRING, f DOUBLE) WITH ('connector' = 'iceberg', 'catalog-name' = 'lake');
CREATE TABLE snk (id BIGINT, name STRING) WITH ('connector' = 'blackhole');
-- case: a table as it was at an event time
INSERT INTO snk SELECT o.id, d.name FROM o JOIN d FOR SYSTEM_TIME AS OF o.ts AS d ON o.k = d.k;
-- case: a time that is none of the rows
INSERT INTO snk SELECT o.id, d.name FROM o JOIN d FOR SYSTEM_TIME AS OF PROCTIME() AS d ON o.k = d.k;
-- case: a row of the table that nobody asks for
INSERT INTO snk SELECT o.id, d.name FROM o RIGHT JOIN d FOR SYSTEM_TIME AS OF o.proc AS d ON o.k = d.k;
-- case: nothing is equal
INSERT INTO snk SELECT o.id, d.name FROM o JOIN d FOR SYSTEM_TIME AS OF o.proc AS d ON o.k > d.k;
-- case: a number that is not exact is no key
INSERT INTO snk SELECT o.id, d.name FROM o JOIN d FOR SYSTEM_TIME AS OF o.proc AS d ON o.f = d.f;
-- case: behind a window
INSERT INTO snk SELECT n, d.name FROM (SELECT k, COUNT(*) OVER (PARTITION BY k ORDER BY ts) AS n, proc FROM o) AS w JOIN d FOR SYSTEM_TIME AS OF w.proc AS d ON w.k = d.k;
-- case: in a view
CREATE VIEW v AS SELECT * FROM o;
INSERT INTO snk SELECT o.id, v.id FROM o JOIN v FOR SYSTEM_TIME AS OF o.proc AS v ON o.k = v.k;
-- case: in a topic
INSERT INTO snk SELECT o.id, CAST(t.k AS STRING) FROM o JOIN o FOR SYSTEM_TIME AS OF o.proc AS t ON o.k = t.k;
-- case: a column that is computed
CREATE TABLE c (k INT, double_k AS k * 2) WITH ('connector' = 'iceberg', 'catalog-name' = 'lake');
INSERT INTO snk SELECT o.id, 'x' FROM o JOIN c FOR SYSTEM_TIME AS OF o.proc AS c ON o.k = c.k;
-- case: another cache
CREATE TABLE c (k INT) WITH ('connector' = 'iceberg', 'catalog-name' = 'lake', 'lookup.cache' = 'PARTIAL', 'lookup.partial-cache.max-rows' = '10');
INSERT INTO snk SELECT o.id, 'x' FROM o JOIN c FOR SYSTEM_TIME AS OF o.proc AS c ON o.k = c.k;
-- case: at a time of the day
CREATE TABLE c (k INT) WITH ('connector' = 'iceberg', 'catalog-name' = 'lake', 'lookup.cache' = 'FULL', 'lookup.full-cache.reload-strategy' = 'TIMED');
INSERT INTO snk SELECT o.id, 'x' FROM o JOIN c FOR SYSTEM_TIME AS OF o.proc AS c ON o.k = c.k;
-- case: no interval, no size, no option
CREATE TABLE c (k INT) WITH ('connector' = 'iceberg', 'catalog-name' = 'lake', 'lookup.full-cache.periodic-reload.interval' = 'often', 'lakeward.lookup.max-memory' = 'much', 'lookup.full-cache.reload' = 'x');
INSERT INTO snk SELECT o.id, 'x' FROM o JOIN c FOR SYSTEM_TIME AS OF o.proc AS c ON o.k = c.k;
-- case: a catalog that nobody knows
CREATE TABLE c (k INT) WITH ('connector' = 'iceberg', 'catalog-name' = 'nowhere');
INSERT INTO snk SELECT o.id, 'x' FROM o JOIN c FOR SYSTEM_TIME AS OF o.proc AS c ON o.k = c.k;
-- case: a hint of another table
INSERT INTO snk SELECT /*+ LOOKUP('table'='dim') */ o.id, d.name FROM o JOIN d FOR SYSTEM_TIME AS OF o.proc AS d ON o.k = d.k;
-- case: a hint that asks again
INSERT INTO snk SELECT /*+ LOOKUP('table'='d', 'retry-predicate'='lookup_miss', 'retry-strategy'='fixed_delay', 'fixed-delay'='10s', 'max-attempts'='3') */ o.id, d.name FROM o JOIN d FOR SYSTEM_TIME AS OF o.proc AS d ON o.k = d.k;
-- case: a hint without a table, and one with an option that is none
INSERT INTO snk SELECT /*+ LOOKUP('async'='true') */ o.id, d.name FROM o JOIN d FOR SYSTEM_TIME AS OF o.proc AS d ON o.k = d.k;
INSERT INTO snk SELECT /*+ LOOKUP('table'='d', 'asynk'='true') */ o.id, d.name FROM o JOIN d FOR SYSTEM_TIME AS OF o.proc AS d ON o.k = d.k;
-- case: the clock in a condition of pairs
INSERT INTO snk SELECT o.id, d.name FROM o LEFT JOIN d FOR SYSTEM_TIME AS OF o.proc AS d ON o.k = d.k AND o.ts > LOCALTIMESTAMP;
-- case: an Iceberg table as a stream
INSERT INTO snk SELECT k, name FROM d;
