CREATE TABLE o (
  id BIGINT NOT NULL, carrier STRING, price DECIMAL(10, 2), late BOOLEAN,
  ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'scan.startup.mode' = 'earliest-offset', 'format' = 'json');
CREATE TABLE l (
  id BIGINT, ms BIGINT, et AS TO_TIMESTAMP_LTZ(ms, 3), WATERMARK FOR et AS et
) WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'scan.startup.mode' = 'earliest-offset', 'format' = 'json');

CREATE TABLE counts (s TIMESTAMP(3), e TIMESTAMP(3), c BIGINT) WITH ('connector' = 'print');
CREATE TABLE sums (k STRING, s TIMESTAMP(3), c BIGINT, p DECIMAL(38, 2)) WITH ('connector' = 'print');
CREATE TABLE firsts (k STRING, n BIGINT) WITH ('connector' = 'print');

-- By position, by name, without TABLE.
INSERT INTO counts SELECT window_start, window_end, COUNT(*) FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end;
INSERT INTO counts SELECT window_start, window_end, COUNT(*) FROM HOP(DATA => TABLE o, TIMECOL => DESCRIPTOR(ts), SLIDE => INTERVAL '30' SECOND, SIZE => INTERVAL '1' MINUTE, `OFFSET` => INTERVAL '5' SECOND) GROUP BY window_start, window_end;

-- Keys, filters, distinct, HAVING; what is below and above.
INSERT INTO sums SELECT UPPER(carrier), window_start, COUNT(DISTINCT id) FILTER (WHERE late), SUM(price * 2)
FROM TABLE(CUMULATE(TABLE o, DESCRIPTOR(ts), INTERVAL '10' SECOND, INTERVAL '1' HOUR)) WHERE id > 3
GROUP BY UPPER(carrier), window_start, window_end HAVING COUNT(*) > 1 AND MAX(price) < 100;

-- Sessions of each key, instants, an aggregate that nobody reads.
INSERT INTO sums SELECT k, window_start, n, 0 FROM (
  SELECT CAST(id AS STRING) AS k, window_start, COUNT(*) AS n, MAX(ms) AS unread
  FROM TABLE(SESSION(TABLE l PARTITION BY id, DESCRIPTOR(et), INTERVAL '5' MINUTE)) GROUP BY id, window_start, window_end);

-- A window's own columns are computed with: it is an operator of its own.
INSERT INTO counts SELECT window_start, window_end, COUNT(*) FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
WHERE window_start >= TIMESTAMP '2026-01-01 00:00:00' GROUP BY window_start, window_end;

-- Cascades: the same windows again, and greater ones of the first ones' time.
INSERT INTO counts SELECT s, e, SUM(n) FROM (
  SELECT carrier, window_start AS s, window_end AS e, COUNT(*) AS n FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY carrier, window_start, window_end
) GROUP BY s, e;
INSERT INTO counts SELECT window_start, window_end, SUM(n) FROM TABLE(TUMBLE((
  SELECT window_time AS t, COUNT(*) AS n FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end, window_time
), DESCRIPTOR(t), INTERVAL '1' HOUR)) GROUP BY window_start, window_end;

-- The older form, and DISTINCT.
INSERT INTO sums SELECT carrier, TUMBLE_START(ts, INTERVAL '1' HOUR), COUNT(*), SUM(price) FROM o GROUP BY TUMBLE(ts, INTERVAL '1' HOUR), carrier HAVING TUMBLE_END(ts, INTERVAL '1' HOUR) IS NOT NULL;
INSERT INTO firsts SELECT carrier, id FROM (SELECT DISTINCT window_start, window_end, carrier, id FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '1' MINUTE)));

-- What is read, planned and kept.
EXPLAIN INSERT INTO sums SELECT carrier, window_start, c, 0 FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY window_start, window_end ORDER BY c DESC) AS rn FROM (
    SELECT carrier, window_start, window_end, COUNT(*) AS c FROM TABLE(HOP(TABLE o, DESCRIPTOR(ts), INTERVAL '1' MINUTE, INTERVAL '1' HOUR)) GROUP BY carrier, window_start, window_end
  )) WHERE rn <= 3;
EXPLAIN INSERT INTO sums SELECT CAST(id AS STRING), SESSION_START(et, INTERVAL '5' MINUTE), COUNT(*), 0 FROM l GROUP BY id, SESSION(et, INTERVAL '5' MINUTE);
