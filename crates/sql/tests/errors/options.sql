CREATE TABLE snk (a INT) WITH ('connector' = 'blackhole');
-- case: no connector
CREATE TABLE t (a INT) WITH (
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'json');
INSERT INTO snk SELECT 1 FROM t;
-- case: an unknown connector names the nearest
CREATE TABLE t (a INT) WITH (
  'connector' = 'kafak',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'json');
INSERT INTO snk SELECT 1 FROM t;
-- case: a connector that Flink has
CREATE TABLE t (a INT) WITH (
  'connector' = 'upsert-kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'json');
INSERT INTO snk SELECT 1 FROM t;
-- case: an unknown option names the nearest
CREATE TABLE t (a INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'json',
  'scan.startup.mod' = 'earliest-offset');
INSERT INTO snk SELECT 1 FROM t;
-- case: an unknown option with nothing near
CREATE TABLE t (a INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'json',
  'colour' = 'blue');
INSERT INTO snk SELECT 1 FROM t;
-- case: an option that is not supported yet
CREATE TABLE t (a INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'json',
  'topic-pattern' = 'o.*');
INSERT INTO snk SELECT 1 FROM t;
-- case: a missing topic option
CREATE TABLE t (a INT) WITH (
  'connector' = 'kafka',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'json');
INSERT INTO snk SELECT 1 FROM t;
-- case: a misspelt required option
CREATE TABLE t (a INT) WITH (
  'connector' = 'kafka',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'json',
  'topci' = 'orders');
INSERT INTO snk SELECT 1 FROM t;
-- case: an empty topic
CREATE TABLE t (a INT) WITH (
  'connector' = 'kafka',
  'topic' = '',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'json');
INSERT INTO snk SELECT 1 FROM t;
-- case: no bootstrap servers
CREATE TABLE t (a INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'format' = 'json');
INSERT INTO snk SELECT 1 FROM t;
-- case: no format
CREATE TABLE t (a INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092');
INSERT INTO snk SELECT 1 FROM t;
-- case: an unknown format names the nearest
CREATE TABLE t (a INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'jsn');
INSERT INTO snk SELECT 1 FROM t;
-- case: a format that Flink has
CREATE TABLE t (a INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'debezium-json');
INSERT INTO snk SELECT 1 FROM t;
-- case: an option of another format
CREATE TABLE t (a INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'avro',
  'json.ignore-parse-errors' = 'true');
INSERT INTO snk SELECT 1 FROM t;
-- case: an unknown option of the format
CREATE TABLE t (a INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'json',
  'json.ignore-parse-error' = 'true');
INSERT INTO snk SELECT 1 FROM t;
-- case: a value of an enumeration
CREATE TABLE t (a INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'json',
  'scan.startup.mode' = 'begin');
INSERT INTO snk SELECT 1 FROM t;
-- case: a value of an enumeration, nearly
CREATE TABLE t (a INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'json',
  'scan.startup.mode' = 'earliest-ofset');
INSERT INTO snk SELECT 1 FROM t;
-- case: a start at a time that is not given
CREATE TABLE t (a INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'json',
  'scan.startup.mode' = 'timestamp');
INSERT INTO snk SELECT 1 FROM t;
-- case: a time that is none
CREATE TABLE t (a INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'json',
  'scan.startup.mode' = 'timestamp',
  'scan.startup.timestamp-millis' = 'yesterday');
INSERT INTO snk SELECT 1 FROM t;
-- case: offsets that are not given
CREATE TABLE t (a INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'json',
  'scan.startup.mode' = 'specific-offsets');
INSERT INTO snk SELECT 1 FROM t;
-- case: offsets that are none
CREATE TABLE t (a INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'json',
  'scan.startup.mode' = 'specific-offsets',
  'scan.startup.specific-offsets' = '0:42');
INSERT INTO snk SELECT 1 FROM t;
-- case: an end that is not supported yet
CREATE TABLE t (a INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'json',
  'scan.bounded.mode' = 'timestamp');
INSERT INTO snk SELECT 1 FROM t;
-- case: a switch that is neither on nor off
CREATE TABLE t (a INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'json',
  'json.ignore-parse-errors' = 'yes');
INSERT INTO snk SELECT 1 FROM t;
-- case: two switches that exclude each other
CREATE TABLE t (a INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'json',
  'json.ignore-parse-errors' = 'true',
  'json.fail-on-missing-field' = 'true');
INSERT INTO snk SELECT 1 FROM t;
-- case: a duration that is none
CREATE TABLE t (a INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'json',
  'scan.watermark.idle-timeout' = 'soon');
INSERT INTO snk SELECT 1 FROM t;
-- case: a watermark strategy that is none
CREATE TABLE t (a INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'json',
  'scan.watermark.emit.strategy' = 'always');
INSERT INTO snk SELECT 1 FROM t;
-- case: a key format
CREATE TABLE t (a INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'json',
  'key.format' = 'json');
INSERT INTO snk SELECT 1 FROM t;
-- case: a client property that would matter
CREATE TABLE t (a INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'json',
  'properties.security.protocol' = 'SASL_SSL');
INSERT INTO snk SELECT 1 FROM t;
-- case: a misspelt client property
CREATE TABLE t (a INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'json',
  'properties.group.idd' = 'g');
INSERT INTO snk SELECT 1 FROM t;
-- case: an offset reset that is not obeyed
CREATE TABLE t (a INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'json',
  'properties.auto.offset.reset' = 'latest');
INSERT INTO snk SELECT 1 FROM t;
-- case: format twice
CREATE TABLE t (a INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'json',
  'value.format' = 'json');
INSERT INTO snk SELECT 1 FROM t;
-- case: Avro has no LTZ in Flink's mapping
CREATE TABLE t (a INT, seen TIMESTAMP_LTZ(3)) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'avro');
INSERT INTO snk SELECT 1 FROM t;
-- case: Avro has no microseconds in Flink's mapping
CREATE TABLE t (a INT, ts TIMESTAMP(6)) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'avro-confluent');
INSERT INTO snk SELECT 1 FROM t;
-- case: Avro's maps have string keys
CREATE TABLE t (a INT, m MAP<INT, INT>) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'avro');
INSERT INTO snk SELECT 1 FROM t;
-- case: raw has one column
CREATE TABLE t (a STRING, b STRING) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'raw');
INSERT INTO snk SELECT 1 FROM t;
-- case: raw of a number
CREATE TABLE t (a INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'raw');
INSERT INTO snk SELECT 1 FROM t;
-- case: a key on a topic
CREATE TABLE t (a INT, PRIMARY KEY (a) NOT ENFORCED) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'json');
INSERT INTO snk SELECT 1 FROM t;
-- case: a credential that cannot be used yet
CREATE TABLE t (a INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'avro-confluent',
  'avro-confluent.basic-auth.user-info' = 'u:p');
INSERT INTO snk SELECT 1 FROM t;
-- case: an option of print
CREATE TABLE t (a INT) WITH ('connector' = 'print', 'print-identifer' = 'x');
INSERT INTO t SELECT 1 FROM t;
-- case: an option of a hint that the sink does not have
CREATE TABLE t (a INT) WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json');
INSERT INTO snk /*+ OPTIONS('print-identifier' = 'x') */ SELECT a FROM t;
-- case: a client setting that changes nothing is noticed
CREATE TABLE t (a INT) WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json',
  'properties.client.id' = 'me');
INSERT INTO snk SELECT a FROM t;
-- case: a format's option beside value.format
CREATE TABLE t (a INT) WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'value.format' = 'json',
  'json.ignore-parse-errors' = 'true');
INSERT INTO snk SELECT a FROM t;
-- case: a csv delimiter of two characters
CREATE TABLE t (a INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'scan.startup.mode' = 'earliest-offset',
  'format' = 'csv',
  'csv.field-delimiter' = 'ab');
INSERT INTO snk SELECT a FROM t;
-- case: a csv quote of two characters
CREATE TABLE t (a INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'scan.startup.mode' = 'earliest-offset',
  'format' = 'csv',
  'csv.quote-character' = '""');
INSERT INTO snk SELECT a FROM t;
-- case: a csv quote that is disabled
CREATE TABLE t (a INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'scan.startup.mode' = 'earliest-offset',
  'format' = 'csv',
  'csv.quote-character' = '!',
  'csv.disable-quote-character' = 'true');
INSERT INTO snk SELECT a FROM t;
-- case: a csv delimiter that quotes
CREATE TABLE t (a INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'scan.startup.mode' = 'earliest-offset',
  'format' = 'csv',
  'csv.field-delimiter' = '"');
INSERT INTO snk SELECT a FROM t;
-- case: a csv option that is not a truth
CREATE TABLE t (a INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'scan.startup.mode' = 'earliest-offset',
  'format' = 'csv',
  'csv.allow-comments' = 'yes');
INSERT INTO snk SELECT a FROM t;
-- case: a csv option of Flink's that is not there yet
CREATE TABLE t (a INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'scan.startup.mode' = 'earliest-offset',
  'format' = 'csv',
  'csv.trim-spaces' = 'true');
INSERT INTO snk SELECT a FROM t;
-- case: a csv option that is misspelt
CREATE TABLE t (a INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'scan.startup.mode' = 'earliest-offset',
  'format' = 'csv',
  'csv.null-litteral' = '');
INSERT INTO snk SELECT a FROM t;
