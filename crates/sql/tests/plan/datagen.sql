-- Rows that are made up.
CREATE TABLE made_up (
  n BIGINT, sensor TINYINT, value_ DOUBLE, price DECIMAL(5, 2), ok BOOLEAN, name VARCHAR(8), note STRING, bits BYTES, code CHAR(3),
  ts AS TO_TIMESTAMP_LTZ(n * 1000, 3),
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH (
  'connector' = 'datagen',
  'rows-per-second' = '10',
  'number-of-rows' = '1000',
  'fields.n.kind' = 'sequence', 'fields.n.start' = '1', 'fields.n.end' = '5000',
  'fields.sensor.min' = '1', 'fields.sensor.max' = '20',
  'fields.value_.kind' = 'random', 'fields.value_.min' = '-1.5', 'fields.value_.max' = '1e3',
  'fields.price.max' = '9.99',
  'fields.note.length' = '12',
  'scan.parallelism' = '4'
);
CREATE TABLE plain (a INT, b FLOAT) WITH ('connector' = 'datagen');
CREATE TABLE nothing (n BIGINT, sensor TINYINT, value_ DOUBLE, price DECIMAL(5, 2), ok BOOLEAN, name STRING, note STRING, bits BYTES, code STRING)
WITH ('connector' = 'blackhole');
CREATE TABLE little (b FLOAT) WITH ('connector' = 'blackhole');
INSERT INTO nothing SELECT n, sensor, value_, price, ok, name, note, bits, code FROM made_up;
INSERT INTO little SELECT b FROM plain;
