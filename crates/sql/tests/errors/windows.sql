CREATE TABLE o (id BIGINT, k STRING, d DECIMAL(10, 2), other TIMESTAMP(3), ts TIMESTAMP(3), WATERMARK FOR ts AS ts) WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'scan.startup.mode' = 'earliest-offset', 'format' = 'json');
CREATE TABLE snk (c BIGINT) WITH ('connector' = 'blackhole');

-- case: a time that no watermark is about
INSERT INTO snk SELECT COUNT(*) FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(other), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end;
-- case: a time that was cast
INSERT INTO snk SELECT COUNT(*) FROM TABLE(TUMBLE((SELECT CAST(ts AS TIMESTAMP(3)) AS t FROM o), DESCRIPTOR(t), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end;
-- case: a column that is no time
INSERT INTO snk SELECT COUNT(*) FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(id), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end;
-- case: a column that is not there
INSERT INTO snk SELECT COUNT(*) FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(tz), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end;
-- case: no DESCRIPTOR
INSERT INTO snk SELECT COUNT(*) FROM TABLE(TUMBLE(TABLE o, ts, INTERVAL '1' MINUTE)) GROUP BY window_start, window_end;
-- case: no table
INSERT INTO snk SELECT COUNT(*) FROM TABLE(TUMBLE(o, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end;
-- case: a size of zero
INSERT INTO snk SELECT COUNT(*) FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '0' SECOND)) GROUP BY window_start, window_end;
-- case: a negative size
INSERT INTO snk SELECT COUNT(*) FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '-5' SECOND)) GROUP BY window_start, window_end;
-- case: a size in months
INSERT INTO snk SELECT COUNT(*) FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '1' MONTH)) GROUP BY window_start, window_end;
-- case: a size that is no interval
INSERT INTO snk SELECT COUNT(*) FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), 60)) GROUP BY window_start, window_end;
-- case: no size
INSERT INTO snk SELECT COUNT(*) FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts))) GROUP BY window_start, window_end;
-- case: too many arguments
INSERT INTO snk SELECT COUNT(*) FROM TABLE(SESSION(TABLE o, DESCRIPTOR(ts), INTERVAL '1' MINUTE, INTERVAL '1' SECOND)) GROUP BY window_start, window_end;
-- case: an argument that it does not have
INSERT INTO snk SELECT COUNT(*) FROM TABLE(TUMBLE(DATA => TABLE o, TIMECOL => DESCRIPTOR(ts), LENGTH => INTERVAL '1' MINUTE)) GROUP BY window_start, window_end;
-- case: a slide of which the size is no multiple
INSERT INTO snk SELECT COUNT(*) FROM TABLE(HOP(TABLE o, DESCRIPTOR(ts), INTERVAL '3' SECOND, INTERVAL '10' SECOND)) GROUP BY window_start, window_end;
-- case: a step of which the size is no multiple
INSERT INTO snk SELECT COUNT(*) FROM TABLE(CUMULATE(TABLE o, DESCRIPTOR(ts), INTERVAL '7' SECOND, INTERVAL '1' MINUTE)) GROUP BY window_start, window_end;
-- case: an offset of more than the size
INSERT INTO snk SELECT COUNT(*) FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '1' MINUTE, INTERVAL '-70' SECOND)) GROUP BY window_start, window_end;
-- case: a partitioned TUMBLE
INSERT INTO snk SELECT COUNT(*) FROM TABLE(TUMBLE(TABLE o PARTITION BY k, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY k, window_start, window_end;
-- case: a table function that there is not
INSERT INTO snk SELECT COUNT(*) FROM TABLE(SLIDE(TABLE o, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end;
-- case: GROUP BY window_start alone
INSERT INTO snk SELECT COUNT(*) FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY window_start;
-- case: GROUP BY window_end alone
INSERT INTO snk SELECT COUNT(*) FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY k, window_end;
-- case: start and end of two windows
INSERT INTO snk SELECT COUNT(*) FROM (SELECT window_start AS s, window_end AS e, ts AS t FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '1' MINUTE))) GROUP BY s, t;
-- case: sessions that are grouped otherwise
INSERT INTO snk SELECT COUNT(*) FROM TABLE(SESSION(TABLE o PARTITION BY k, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end;
-- case: a column that is neither grouped nor aggregated
INSERT INTO snk SELECT id FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end;
-- case: HAVING on a column that is not there, and on one that is not grouped
INSERT INTO snk SELECT COUNT(*) AS c FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end HAVING nope > 1;
INSERT INTO snk SELECT COUNT(*) AS c FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end HAVING id > 1;
-- case: GROUP BY an alias
INSERT INTO snk SELECT id + 1 AS x FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY x, window_start, window_end;
-- case: an aggregate in WHERE, and in an aggregate
INSERT INTO snk SELECT COUNT(*) FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) WHERE COUNT(*) > 1 GROUP BY window_start, window_end;
INSERT INTO snk SELECT SUM(COUNT(*)) FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end;
-- case: aggregates of what they do not take
INSERT INTO snk SELECT SUM(k) FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end;
INSERT INTO snk SELECT COUNT(id, k) FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end;
INSERT INTO snk SELECT COUNT(LISTAGG(k, k)) FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end;
-- case: an older window function with another one's start
INSERT INTO snk SELECT COUNT(*) FROM o GROUP BY TUMBLE(ts, INTERVAL '1' MINUTE) HAVING TUMBLE_START(ts, INTERVAL '2' MINUTE) IS NULL;
-- case: an older window function with an offset, and two of them
INSERT INTO snk SELECT COUNT(*) FROM o GROUP BY TUMBLE(ts, INTERVAL '1' MINUTE, INTERVAL '5' SECOND);
INSERT INTO snk SELECT COUNT(*) FROM o GROUP BY TUMBLE(ts, INTERVAL '1' MINUTE), SESSION(ts, INTERVAL '5' SECOND);
-- case: a window function where it cannot stand
INSERT INTO snk SELECT COUNT(*) FROM o WHERE TUMBLE(ts, INTERVAL '1' MINUTE) IS NULL;
-- case: ranks without an end, of nothing, of half a window, of no order
INSERT INTO snk SELECT id FROM (SELECT id, ROW_NUMBER() OVER (PARTITION BY window_start, window_end ORDER BY id) AS rn FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '1' MINUTE))) WHERE rn > 2;
INSERT INTO snk SELECT id FROM (SELECT id, ROW_NUMBER() OVER (PARTITION BY window_start, window_end ORDER BY id) AS rn FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '1' MINUTE))) WHERE rn < 1;
INSERT INTO snk SELECT id FROM (SELECT id, ROW_NUMBER() OVER (PARTITION BY window_start ORDER BY id) AS rn FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '1' MINUTE))) WHERE rn < 3;
INSERT INTO snk SELECT id FROM (SELECT id, ROW_NUMBER() OVER (PARTITION BY window_start, window_end) AS rn FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '1' MINUTE))) WHERE rn < 3;
INSERT INTO snk SELECT id FROM (SELECT id, RANK() OVER (PARTITION BY window_start, window_end ORDER BY id) AS rn FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '1' MINUTE))) WHERE rn < 3;
-- case: two orders in one query
INSERT INTO snk SELECT a + b FROM (SELECT ROW_NUMBER() OVER (PARTITION BY window_start, window_end ORDER BY id) AS a, ROW_NUMBER() OVER (PARTITION BY window_start, window_end ORDER BY k) AS b FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '1' MINUTE))) WHERE a < 3;
-- case: OVER by what is no event time, by more, falling, of two windows, by nothing
INSERT INTO snk SELECT COUNT(*) OVER (ORDER BY other) FROM o;
INSERT INTO snk SELECT COUNT(*) OVER (ORDER BY ts, id) FROM o;
INSERT INTO snk SELECT COUNT(*) OVER (ORDER BY ts DESC) FROM o;
INSERT INTO snk SELECT COUNT(*) OVER (ORDER BY ts) + COUNT(*) OVER (PARTITION BY k ORDER BY ts) FROM o;
INSERT INTO snk SELECT COUNT(*) OVER (PARTITION BY k) FROM o;
INSERT INTO snk SELECT COUNT(*) OVER nope FROM o;
-- case: frames that look ahead, and of what they are not
INSERT INTO snk SELECT COUNT(*) OVER (ORDER BY ts ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING) FROM o;
INSERT INTO snk SELECT COUNT(*) OVER (ORDER BY ts RANGE 5 PRECEDING) FROM o;
INSERT INTO snk SELECT ROW_NUMBER() OVER (ORDER BY ts ROWS 1 PRECEDING) FROM o;
-- case: the first row of a key without a window
INSERT INTO snk SELECT id FROM (SELECT id, ROW_NUMBER() OVER (PARTITION BY k ORDER BY ts) AS rn FROM o) WHERE rn = 1;
-- case: sets of keys without the window, twice the same, too many of them
INSERT INTO snk SELECT COUNT(*) FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY CUBE (window_start, window_end);
INSERT INTO snk SELECT COUNT(*) FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end, GROUPING SETS ((k), (k));
INSERT INTO snk SELECT COUNT(*) FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end, CUBE (id, k, d, other, id + 1, id + 2, id + 3);
-- case: GROUPING of what is no key
INSERT INTO snk SELECT GROUPING(id) FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end, k;
-- case: a time to live that is none
SET 'table.exec.state.ttl' = 'soon';
