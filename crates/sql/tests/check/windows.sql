-- Windows: what there is to know of them.
SET 'execution.checkpointing.interval' = '10 s';
CREATE TABLE o (
  k STRING, v BIGINT, ts TIMESTAMP_LTZ(3), WATERMARK FOR ts AS ts
) WITH (
  'connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092',
  'scan.startup.mode' = 'earliest-offset', 'format' = 'json'
);
CREATE TABLE p (c BIGINT) WITH ('connector' = 'print');
-- Late rows depend on a clock there.
INSERT INTO p SELECT COUNT(*) FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end;
-- Keys that are kept for ever.
INSERT INTO p SELECT COUNT(*) OVER (PARTITION BY k ORDER BY ts) FROM o /*+ OPTIONS('scan.watermark.emit.strategy' = 'on-event') */;
-- With a time to live they are not; but no time passes where rows are made up.
SET 'table.exec.state.ttl' = '1 d';
CREATE TABLE made_up (k INT, n INT, ts AS TO_TIMESTAMP_LTZ(n, 0), WATERMARK FOR ts AS ts) WITH ('connector' = 'datagen', 'fields.n.kind' = 'sequence', 'fields.n.start' = '1', 'fields.n.end' = '9');
INSERT INTO p SELECT SUM(v) OVER (PARTITION BY k ORDER BY ts) FROM o /*+ OPTIONS('scan.watermark.emit.strategy' = 'on-event') */;
INSERT INTO p SELECT COUNT(*) OVER (PARTITION BY k ORDER BY ts) FROM made_up;
