-- case: an unknown type names the nearest
CREATE TABLE t (a INTEGR);
-- case: a type of another system
CREATE TABLE t (a TEXT);
-- case: a precision out of range
CREATE TABLE t (a DECIMAL(40, 2));
-- case: a scale greater than the precision
CREATE TABLE t (a DECIMAL(5, 6));
-- case: ten digits of a second
CREATE TABLE t (a TIMESTAMP(10));
-- case: a time with a zone of its own
CREATE TABLE t (a TIMESTAMP(3) WITH TIME ZONE);
-- case: an interval as a column
CREATE TABLE t (a INTERVAL DAY TO SECOND);
-- case: a column twice
CREATE TABLE t (a INT, b INT, a STRING);
-- case: a reserved word as a column
CREATE TABLE t (offset BIGINT);
-- case: a reserved word as a column, in backticks it is fine
CREATE TABLE t (`offset` BIGINT, user STRING);
-- case: a comma too many
CREATE TABLE t (a INT, b INT,) WITH ('connector' = 'print');
-- case: a comma too few
CREATE TABLE t (a INT b INT) WITH ('connector' = 'print');
-- case: a parenthesis that is never closed
CREATE TABLE t (a INT, b INT
-- case: an option without quotes
CREATE TABLE t (a INT) WITH (connector = 'print');
-- case: an option's value without quotes
CREATE TABLE t (a INT) WITH ('connector' = print);
-- case: an option twice
CREATE TABLE t (a INT) WITH ('connector' = 'print', 'connector' = 'kafka');
-- case: an enforced key
CREATE TABLE t (a INT, PRIMARY KEY (a));
-- case: a key over a column that is not there
CREATE TABLE t (a INT, PRIMARY KEY (b) NOT ENFORCED);
-- case: two keys
CREATE TABLE t (a INT PRIMARY KEY NOT ENFORCED, b INT PRIMARY KEY NOT ENFORCED);
-- case: a watermark on a column that is not there
CREATE TABLE t (a INT, event_time TIMESTAMP(3), WATERMARK FOR event_tme AS event_tme);
-- case: a watermark on text
CREATE TABLE t (ts STRING, WATERMARK FOR ts AS ts);
-- case: a watermark on microseconds
CREATE TABLE t (ts TIMESTAMP(6), WATERMARK FOR ts AS ts);
-- case: a watermark that is not a time
CREATE TABLE t (ts TIMESTAMP(3), WATERMARK FOR ts AS 'x');
-- case: a watermark made of a column that is not there
CREATE TABLE t (ts TIMESTAMP(3), WATERMARK FOR ts AS tz - INTERVAL '5' SECOND);
-- case: two watermarks
CREATE TABLE t (a TIMESTAMP(3), b TIMESTAMP(3), WATERMARK FOR a AS a, WATERMARK FOR b AS b);
-- case: an interval without a unit
CREATE TABLE t (ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '5');
-- case: an interval that is not constant
CREATE TABLE t (ts TIMESTAMP(3), n INT, WATERMARK FOR ts AS ts - INTERVAL n SECOND);
-- case: a computed column over a computed column
CREATE TABLE t (a INT, b AS a + 1, c AS b + 1);
-- case: a computed column of the wrong type
CREATE TABLE t (a INT, b AS UPPER(a));
-- case: an unknown metadata key
CREATE TABLE t (p INT METADATA FROM 'partitoin') WITH ('connector' = 'kafka');
-- case: one metadata key for two columns
CREATE TABLE t (p INT METADATA FROM 'partition', `partition` INT METADATA) WITH ('connector' = 'kafka');
-- case: metadata in a type that it is not read as
CREATE TABLE t (h INT METADATA FROM 'headers') WITH ('connector' = 'kafka');
-- case: metadata of a connector that has none
CREATE TABLE t (o BIGINT METADATA FROM 'offset') WITH ('connector' = 'print');
-- case: partitions
CREATE TABLE t (a INT, b STRING) PARTITIONED BY (b) WITH ('connector' = 'print');
-- case: a transform of a partition
CREATE TABLE t (id INT, ts TIMESTAMP(3)) PARTITIONED BY (id, days(ts)) WITH ('connector' = 'iceberg', 'catalog-name' = 'hive', 'warehouse' = 's3://lakehouse/');
-- case: partitions of an Iceberg table that are no columns
CREATE TABLE t (id INT, kind STRING) PARTITIONED BY (kind, knd) WITH ('connector' = 'iceberg', 'catalog-name' = 'hive', 'warehouse' = 's3://lakehouse/');
-- case: a partition by a row
CREATE TABLE src (id INT, r ROW<a INT>) WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json');
CREATE TABLE t (id INT, r ROW<a INT>) PARTITIONED BY (r) WITH ('connector' = 'iceberg', 'catalog-name' = 'hive', 'warehouse' = 's3://lakehouse/');
INSERT INTO t SELECT id, r FROM src;
-- case: create table as
CREATE TABLE t WITH ('connector' = 'print') AS SELECT 1;
-- case: or replace
CREATE OR REPLACE TABLE t (a INT);
-- case: a default
CREATE TABLE t (a INT DEFAULT 1);
-- case: nanoseconds
CREATE TABLE t (a TIMESTAMP(9));
