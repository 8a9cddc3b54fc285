CREATE TABLE o (
  id BIGINT NOT NULL, carrier STRING, price DECIMAL(10, 2), late BOOLEAN,
  ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'scan.startup.mode' = 'earliest-offset', 'format' = 'json');
CREATE TABLE p (k STRING, i BIGINT, s TIMESTAMP(3), c BIGINT, g BIGINT) WITH ('connector' = 'print');

-- A key is nullable where a set is without it; what an aggregate is of is not.
EXPLAIN INSERT INTO p SELECT carrier, id, window_start, SUM(id), GROUPING_ID(carrier, id)
FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '1' HOUR)) GROUP BY window_start, window_end, CUBE (carrier, id);
-- A key of every set, a composite one, sets beside each other.
INSERT INTO p SELECT carrier, id, window_end, COUNT(*), GROUPING(late) FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '1' HOUR))
GROUP BY window_start, window_end, carrier, ROLLUP ((id, late));
INSERT INTO p SELECT UPPER(carrier), 0, TUMBLE_START(ts, INTERVAL '1' HOUR), COUNT(*), GROUPING(late) FROM o
GROUP BY TUMBLE(ts, INTERVAL '1' HOUR), GROUPING SETS ((UPPER(carrier)), (UPPER(carrier), late), ());
-- The window in each set.
INSERT INTO p SELECT carrier, 0, window_start, COUNT(*), 0 FROM TABLE(HOP(TABLE o, DESCRIPTOR(ts), INTERVAL '1' MINUTE, INTERVAL '1' HOUR))
GROUP BY GROUPING SETS ((window_start, window_end, carrier), (window_start, window_end)) HAVING COUNT(*) > 1;
