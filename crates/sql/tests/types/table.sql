CREATE TABLE t (
  ti TINYINT, si SMALLINT, i INT, bi BIGINT, f FLOAT, d DOUBLE, dc DECIMAL(10, 2), dw DECIMAL(38, 10),
  s STRING, v VARCHAR(5), c CHAR(3), ok BOOLEAN, bn BYTES, b3 BINARY(3),
  dt DATE, tm TIME, t0 TIMESTAMP(0), ts TIMESTAMP(3), t6 TIMESTAMP(6), tz TIMESTAMP_LTZ(3),
  ar ARRAY<INT>, mp MAP<STRING, INT>, rw ROW<x INT>,
  nn INT NOT NULL, sn STRING NOT NULL, dn DECIMAL(10, 2) NOT NULL
) WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'scan.startup.mode' = 'earliest-offset', 'format' = 'json');
