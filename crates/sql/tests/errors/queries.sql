CREATE TABLE orders (id BIGINT NOT NULL, sku STRING, qty INT, price DECIMAL(10, 2), ts TIMESTAMP(3), seen TIMESTAMP_LTZ(3), d DATE, ok BOOLEAN, r ROW<x INT>) WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json');
CREATE TABLE snk (id BIGINT, sku STRING) WITH ('connector' = 'blackhole');
-- case: an unknown table names the nearest
INSERT INTO snk SELECT id, sku FROM order;
-- case: an unknown table, backticked
INSERT INTO snk SELECT id, sku FROM ordres;
-- case: a table of another database
CREATE TABLE db.t (id BIGINT, sku STRING) WITH ('connector' = 'blackhole');
INSERT INTO t SELECT id, sku FROM orders;
-- case: an unknown sink
INSERT INTO snkk SELECT id, sku FROM orders;
-- case: an unknown catalog
INSERT INTO hive.lakehouse.t SELECT id, sku FROM orders;
-- case: an unknown column names the nearest
INSERT INTO snk SELECT id, skuu FROM orders;
-- case: an unknown column lists what there is
INSERT INTO snk SELECT id, nothing_like_it FROM orders;
-- case: names are case-sensitive
INSERT INTO snk SELECT ID, sku FROM orders;
-- case: an alias hides the table's name
INSERT INTO snk SELECT orders.id, o.sku FROM orders o;
-- case: an alias is not yet known in WHERE
INSERT INTO snk SELECT id AS n, sku FROM orders WHERE n > 1;
-- case: one name, two columns
INSERT INTO snk SELECT x, x FROM (SELECT id AS x, sku AS x FROM orders);
-- case: a field of a row
INSERT INTO snk SELECT r.x, sku FROM orders;
-- case: an unknown function names the nearest
INSERT INTO snk SELECT id, UPER(sku) FROM orders;
-- case: a function of Flink's that is not here yet
INSERT INTO snk SELECT id, PRINTF('%s', sku) FROM orders;
-- case: a function of nobody's
INSERT INTO snk SELECT id, frobnicate(sku) FROM orders;
-- case: the wrong number of arguments
INSERT INTO snk SELECT id, UPPER(sku, 1) FROM orders;
-- case: text beside a number
INSERT INTO snk SELECT id, sku FROM orders WHERE sku = 1;
-- case: text plus a number
INSERT INTO snk SELECT id, sku + 1 FROM orders;
-- case: a function over the wrong type
INSERT INTO snk SELECT id, UPPER(qty) FROM orders;
-- case: a number joined to text
INSERT INTO snk SELECT id, sku || qty FROM orders;
-- case: a condition that is none
INSERT INTO snk SELECT id, sku FROM orders WHERE qty;
-- case: NOT of a number
INSERT INTO snk SELECT id, sku FROM orders WHERE NOT qty;
-- case: CASE with values of two kinds
INSERT INTO snk SELECT id, CASE WHEN ok THEN sku ELSE qty END FROM orders;
-- case: CASE over a number
INSERT INTO snk SELECT id, CASE WHEN qty THEN 'a' ELSE 'b' END FROM orders;
-- case: COALESCE of two kinds
INSERT INTO snk SELECT id, COALESCE(sku, qty) FROM orders;
-- case: a number as a time
INSERT INTO snk SELECT id, CAST(CAST(qty AS TIMESTAMP(3)) AS STRING) FROM orders;
-- case: a time as a number
INSERT INTO snk SELECT CAST(ts AS BIGINT), sku FROM orders;
-- case: a cast to a type that is not there
INSERT INTO snk SELECT CAST(qty AS INT64), sku FROM orders;
-- case: a cast without a type
INSERT INTO snk SELECT CAST(qty), sku FROM orders;
-- case: two times subtracted
INSERT INTO snk SELECT id, CAST(ts - ts AS STRING) FROM orders;
-- case: a number too large
INSERT INTO snk SELECT 99999999999999999999, sku FROM orders;
-- case: a day that is not in the calendar
INSERT INTO snk SELECT id, sku FROM orders WHERE d = DATE '2026-02-30';
-- case: a timestamp without its day
INSERT INTO snk SELECT id, sku FROM orders WHERE ts > TIMESTAMP '10:11:12';
-- case: a bare NULL
INSERT INTO snk SELECT id, NULL FROM orders;
-- case: a reserved word as an alias
INSERT INTO snk SELECT id, sku AS value FROM orders;
-- case: a reserved word as a column of a query
INSERT INTO snk SELECT id, user FROM orders;
-- case: a parenthesis too few in an expression
INSERT INTO snk SELECT (id + 1, sku FROM orders;
-- case: nothing after WHERE
INSERT INTO snk SELECT id, sku FROM orders WHERE;
-- case: an operator without its right side
INSERT INTO snk SELECT id, sku FROM orders WHERE qty > ;
-- case: a query without FROM
INSERT INTO snk SELECT 1, 'a';
-- case: a view over a table that is not there
CREATE VIEW v AS SELECT id FROM nope;
INSERT INTO snk SELECT id, id FROM v;
-- case: a view with the wrong number of names
CREATE VIEW v (a, b, c) AS SELECT id, sku FROM orders;
-- case: INSERT without INTO
INSERT snk SELECT id, sku FROM orders;
-- case: a misspelt SELECT
INSERT INTO snk SELCT id, sku FROM orders;
-- case: a misspelt FROM
INSERT INTO snk SELECT id, sku FORM orders;
-- case: a misspelt WHERE
INSERT INTO snk SELECT id, sku FROM orders WERE id > 1;
-- case: a missing comma makes an alias
INSERT INTO snk SELECT id sku FROM orders;
-- case: two signs of equality
INSERT INTO snk SELECT id, sku FROM orders WHERE id == 1;
-- case: a square bracket
INSERT INTO snk SELECT id, sku[1] FROM orders;
-- case: a cast with two colons
INSERT INTO snk SELECT id, qty::STRING FROM orders;
-- case: something after the query
INSERT INTO snk SELECT id, sku FROM orders WHERE id > 1 id;
-- case: text that is not a time beside one
INSERT INTO snk SELECT id, sku FROM orders WHERE ts > 'yesterday';
-- case: a statement that a line comment hides
-- INSERT INTO snk SELECT id, sku FROM orders;
-- case: places are counted in letters, not in bytes
INSERT INTO snk SELECT id, '日本語 ä' || skuu FROM orders;
-- case: rows are not compared
INSERT INTO snk SELECT id, sku FROM orders WHERE r = r;
-- case: an escape of two characters
INSERT INTO snk SELECT id, sku FROM orders WHERE sku LIKE 'a!!%' ESCAPE '!!';
-- case: a literal with nanoseconds
INSERT INTO snk SELECT id, sku FROM orders WHERE ts > TIMESTAMP '2026-01-01 00:00:00.1234567';
-- case: a unit that time is not cut to
INSERT INTO snk SELECT id, CAST(FLOOR(ts TO EPOCH) AS STRING) FROM orders;
-- case: a unit that a time of day has not
INSERT INTO snk SELECT EXTRACT(YEAR FROM CAST(ts AS TIME)), sku FROM orders;
