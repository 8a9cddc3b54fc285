CREATE TABLE snk (a INT) WITH ('connector' = 'blackhole');
-- case: a format of keys without columns
CREATE TABLE t (a INT, b INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'json',
  'key.format' = 'json');
INSERT INTO snk SELECT 1 FROM t;
-- case: columns of keys without a format
CREATE TABLE t (a INT, b INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'json',
  'key.fields' = 'a');
INSERT INTO snk SELECT 1 FROM t;
-- case: a column of keys that is none
CREATE TABLE t (a INT, b AS a + 1) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'json',
  'key.format' = 'json',
  'key.fields' = 'a;b;c');
INSERT INTO snk SELECT 1 FROM t;
-- case: a prefix that a column does not have
CREATE TABLE t (k_a INT, b INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'json',
  'key.format' = 'json',
  'key.fields' = 'k_a;b',
  'key.fields-prefix' = 'k_',
  'value.fields-include' = 'EXCEPT_KEY');
INSERT INTO snk SELECT 1 FROM t;
-- case: a prefix for columns of both
CREATE TABLE t (k_a INT, b INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'json',
  'key.format' = 'json',
  'key.fields' = 'k_a',
  'key.fields-prefix' = 'k_');
INSERT INTO snk SELECT 1 FROM t;
-- case: two columns in a raw key
CREATE TABLE t (a STRING, b STRING, v INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'json',
  'key.format' = 'raw',
  'key.fields' = 'a;b');
INSERT INTO snk SELECT 1 FROM t;
-- case: a number in a raw key
CREATE TABLE t (a INT, v INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'json',
  'key.format' = 'raw',
  'key.fields' = 'a');
INSERT INTO snk SELECT 1 FROM t;
-- case: an option of another format than the key's
CREATE TABLE t (a INT, v INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'json',
  'key.format' = 'json',
  'key.fields' = 'a',
  'key.csv.field-delimiter' = ';');
INSERT INTO snk SELECT 1 FROM t;
-- case: an option that the key's format does not have
CREATE TABLE t (a INT, v INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'json',
  'key.format' = 'json',
  'key.fields' = 'a',
  'key.json.ignore-parse-error' = 'true');
INSERT INTO snk SELECT 1 FROM t;
-- case: a format of keys that is none
CREATE TABLE t (a INT, v INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'json',
  'key.format' = 'jsn',
  'key.fields' = 'a');
INSERT INTO snk SELECT 1 FROM t;
-- case: without keys there is nothing to leave out
CREATE TABLE t (a INT, v INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'json',
  'value.fields-include' = 'EXCEPT_KEY',
  'scan.startup.mode' = 'nowhere');
INSERT INTO snk SELECT 1 FROM t;
