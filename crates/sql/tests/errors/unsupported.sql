CREATE TABLE orders (id BIGINT NOT NULL, sku STRING, qty INT, price DECIMAL(10, 2), ts TIMESTAMP(3), seen TIMESTAMP_LTZ(3), d DATE, ok BOOLEAN, r ROW<x INT>) WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json');
CREATE TABLE snk (id BIGINT, sku STRING) WITH ('connector' = 'blackhole');
-- case: GROUP BY
INSERT INTO snk SELECT id, sku FROM orders GROUP BY id, sku;
-- case: an aggregate without GROUP BY
INSERT INTO snk SELECT COUNT(*), MAX(sku) FROM orders;
-- case: DISTINCT
INSERT INTO snk SELECT DISTINCT id, sku FROM orders;
-- case: HAVING
INSERT INTO snk SELECT id, sku FROM orders HAVING COUNT(*) > 1;
-- case: ORDER BY
INSERT INTO snk SELECT id, sku FROM orders ORDER BY ts;
-- case: LIMIT
INSERT INTO snk SELECT id, sku FROM orders LIMIT 10;
-- case: JOIN
INSERT INTO snk SELECT o.id, o.sku FROM orders o JOIN orders p ON o.id = p.id;
-- case: two tables
INSERT INTO snk SELECT o.id, p.sku FROM orders o, orders p;
-- case: a temporal join
INSERT INTO snk SELECT id, sku FROM orders FOR SYSTEM_TIME AS OF ts;
-- case: UNION ALL
INSERT INTO snk SELECT id, sku FROM orders UNION ALL SELECT id, sku FROM orders;
-- case: VALUES
INSERT INTO snk VALUES (1, 'a');
-- case: a window
INSERT INTO snk SELECT window_start, COUNT(*) FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end;
-- case: a legacy window
INSERT INTO snk SELECT id, sku FROM orders GROUP BY TUMBLE(ts, INTERVAL '1' MINUTE), id, sku;
-- case: OVER
INSERT INTO snk SELECT ROW_NUMBER() OVER (PARTITION BY sku ORDER BY ts), sku FROM orders;
-- case: IN with a subquery
INSERT INTO snk SELECT id, sku FROM orders WHERE id IN (SELECT id FROM orders);
-- case: EXISTS
INSERT INTO snk SELECT id, sku FROM orders WHERE EXISTS (SELECT 1 FROM orders);
-- case: UNNEST
INSERT INTO snk SELECT id, sku FROM orders CROSS JOIN UNNEST(tags) AS t (tag);
-- case: MATCH_RECOGNIZE
INSERT INTO snk SELECT * FROM orders MATCH_RECOGNIZE (PARTITION BY sku ORDER BY ts MEASURES A.id AS id PATTERN (A) DEFINE A AS A.id > 1) AS m;
-- case: WITH RECURSIVE
INSERT INTO snk WITH RECURSIVE x AS (SELECT id, sku FROM orders) SELECT id, sku FROM x;
-- case: a hint behind the wrong word
INSERT INTO snk SELECT id, sku FROM orders WHERE id > 1 /*+ OPTIONS('scan.startup.mode' = 'latest-offset') */;
-- case: an unknown option in a hint
INSERT INTO snk SELECT id, sku FROM orders /*+ OPTIONS('scan.startup.mod' = 'latest-offset') */;
-- case: writing to a topic
INSERT INTO orders SELECT * FROM orders;
-- case: EXPLAIN with details
EXPLAIN CHANGELOG_MODE INSERT INTO snk SELECT id, sku FROM orders;
-- case: a query that is explained is refused the same way
EXPLAIN INSERT INTO snk SELECT id, sku FROM orders ORDER BY id;
-- case: ON CONFLICT
INSERT INTO snk SELECT id, sku FROM orders ON CONFLICT DO NOTHING;
-- case: a state hint
INSERT INTO snk SELECT /*+ STATE_TTL('orders' = '1d') */ id, sku FROM orders;
-- case: a state hint that is none
INSERT INTO snk SELECT /*+ STATE_TTL('orders' = 'long') */ id, sku FROM orders;
