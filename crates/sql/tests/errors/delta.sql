-- What a Delta table is made of, and what is refused of it.
CREATE TABLE events (n BIGINT, who STRING, ts TIMESTAMP_LTZ(3)) WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'scan.startup.mode' = 'earliest-offset', 'format' = 'json');

-- case: a Delta table is planned, with partitions and properties
CREATE TABLE lake (n BIGINT, who STRING, ts TIMESTAMP_LTZ(3)) PARTITIONED BY (who)
WITH ('connector' = 'delta', 'table-path' = 'file:///lake/events/', 'mergeSchema' = 'true', 'delta.checkpointInterval' = '20', 'owner' = 'us');
INSERT INTO lake SELECT n, who, ts FROM events;

-- case: a place is whole, or begins as a warehouse
CREATE TABLE a (n BIGINT) WITH ('connector' = 'delta', 'table-path' = 'lake/events');
CREATE TABLE b (n BIGINT) WITH ('connector' = 'delta', 'table-path' = 's3://elsewhere/events');
CREATE TABLE c (n BIGINT) WITH ('connector' = 'delta');
INSERT INTO a SELECT n FROM events;
INSERT INTO b SELECT n FROM events;
INSERT INTO c SELECT n FROM events;

-- case: keys, features and options of sources are refused
CREATE TABLE lake (n BIGINT NOT NULL, PRIMARY KEY (n) NOT ENFORCED)
WITH ('connector' = 'delta', 'table-path' = '/lake/events', 'delta.columnMapping.mode' = 'name', 'delta.checkpointIntervall' = '5', 'versionAsOf' = '3', 'delta.checkpointInterval' = '0', 'mergeSchema' = 'yes');
INSERT INTO lake SELECT COALESCE(n, 0) FROM events;

-- case: a Delta table is not read
CREATE TABLE lake (n BIGINT) WITH ('connector' = 'delta', 'table-path' = '/lake/events');
CREATE TABLE shown (n BIGINT) WITH ('connector' = 'print');
INSERT INTO shown SELECT n FROM lake;

-- case: two INSERTs into one table, however its place is written
CREATE TABLE here (n BIGINT) WITH ('connector' = 'delta', 'table-path' = '/lake/events');
CREATE TABLE again (n BIGINT) WITH ('connector' = 'delta', 'table-path' = 'file:///lake/events/');
INSERT INTO here SELECT n FROM events;
INSERT INTO again SELECT n FROM events;
