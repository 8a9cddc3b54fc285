CREATE TABLE orders (id BIGINT, v INT, ts TIMESTAMP(3), proc AS PROCTIME(), WATERMARK FOR ts AS ts) WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json');
CREATE TABLE snk (id BIGINT, came TIMESTAMP_LTZ(3)) WITH ('connector' = 'blackhole');
-- case: rows that are made up came at no time
CREATE TABLE made (id BIGINT) WITH ('connector' = 'datagen');
INSERT INTO snk SELECT id, NOW() FROM made;
-- case: nor have they one in a condition
CREATE TABLE made (id BIGINT) WITH ('connector' = 'datagen');
INSERT INTO snk SELECT id, CAST(NULL AS TIMESTAMP_LTZ(3)) FROM made WHERE UNIX_TIMESTAMP() > id;
-- case: nor have the lines of a file
CREATE TABLE lines (id BIGINT, proc AS PROCTIME()) WITH ('connector' = 'filesystem', 'path' = 'file:///data', 'format' = 'json');
INSERT INTO snk SELECT id, proc FROM lines;
-- case: a row of many records
INSERT INTO snk SELECT COUNT(*), CURRENT_TIMESTAMP FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end;
-- case: a row that has waited for others
INSERT INTO snk SELECT n, NOW() FROM (SELECT COUNT(*) OVER (PARTITION BY id ORDER BY ts) AS n FROM orders);
-- case: a row of a session
INSERT INTO snk SELECT id, NOW() FROM TABLE(SESSION(TABLE orders PARTITION BY id, DESCRIPTOR(ts), INTERVAL '1' MINUTE));
-- case: a condition of elements
CREATE TABLE listed (id BIGINT, xs ARRAY<TIMESTAMP_LTZ(3)>) WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json');
INSERT INTO snk SELECT id, x FROM listed LEFT JOIN UNNEST(xs) AS u (x) ON x > NOW();
-- case: windows by processing time
INSERT INTO snk SELECT COUNT(*), CAST(NULL AS TIMESTAMP_LTZ(3)) FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(proc), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end;
-- case: the older form of them
INSERT INTO snk SELECT COUNT(*), CAST(NULL AS TIMESTAMP_LTZ(3)) FROM orders GROUP BY TUMBLE(proc, INTERVAL '1' MINUTE);
-- case: and without a column
INSERT INTO snk SELECT COUNT(*), CAST(NULL AS TIMESTAMP_LTZ(3)) FROM orders GROUP BY TUMBLE(PROCTIME(), INTERVAL '1' MINUTE);
-- case: OVER by processing time
INSERT INTO snk SELECT COUNT(*) OVER (PARTITION BY id ORDER BY proc), CAST(NULL AS TIMESTAMP_LTZ(3)) FROM orders;
-- case: keep-first by processing time
INSERT INTO snk SELECT id, CAST(NULL AS TIMESTAMP_LTZ(3)) FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY id ORDER BY proc) AS n FROM orders) WHERE n = 1;
-- case: a watermark of a processing time
CREATE TABLE late (id BIGINT, proc AS PROCTIME(), WATERMARK FOR proc AS proc) WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json');
INSERT INTO snk SELECT id, proc FROM late;
-- case: a lookup by processing time
INSERT INTO snk SELECT orders.id, proc FROM orders JOIN snk FOR SYSTEM_TIME AS OF orders.proc AS s ON s.id = orders.id;
-- case: the clock takes nothing
INSERT INTO snk SELECT id, NOW(3) FROM orders;
-- case: chance
INSERT INTO snk SELECT id, proc FROM orders WHERE RAND() < 0.5;
