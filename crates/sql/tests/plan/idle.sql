-- Partitions that nothing comes in: the table says how long they are waited for, else the setting; nothing is for ever.
SET 'table.exec.source.idle-timeout' = '1 min';
CREATE TABLE told (
  k STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '2' SECOND
) WITH (
  'connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092',
  'scan.startup.mode' = 'earliest-offset', 'scan.watermark.idle-timeout' = '10 s', 'format' = 'json'
);
CREATE TABLE untold WITH ('scan.watermark.idle-timeout' = '0 s') LIKE told (OVERWRITING OPTIONS);
CREATE TABLE counts (n BIGINT) WITH ('connector' = 'blackhole');
INSERT INTO counts SELECT COUNT(*) FROM TABLE(TUMBLE(TABLE told, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end;
INSERT INTO counts SELECT COUNT(*) FROM TABLE(TUMBLE(TABLE untold, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end;
SET 'table.exec.source.idle-timeout' = '0 ms';
INSERT INTO counts SELECT COUNT(*) FROM TABLE(TUMBLE(TABLE untold, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end;
