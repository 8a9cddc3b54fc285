-- What real Flink scripts contain and what runs as it does there: Apache Flink 2.3.0 takes every statement, and DESCRIBE and
-- SHOW give the same names and types (2026-11).
/* A comment
   of two lines; with a semicolon, and a -- in it. */
SET 'pipeline.name' = 'flink';
SET execution.checkpointing.interval = '10 s'; -- The older form, without quotes.
SET 'table.local-time-zone' = 'UTC';
SET 'sql-client.execution.result-mode' = 'tableau';
RESET 'sql-client.execution.result-mode';
CREATE DATABASE IF NOT EXISTS shop COMMENT 'a shop';
CREATE DATABASE IF NOT EXISTS shop;
USE CATALOG default_catalog;
USE shop;
CREATE TEMPORARY TABLE IF NOT EXISTS `order events` (
  `key` STRING NOT NULL COMMENT 'a word that is none, in backticks',
  `value` BIGINT NOT NULL COMMENT 'a reserved word',
  amount DECIMAL(10, 2),
  doubled AS amount * 2 COMMENT 'computed',
  `offset` BIGINT METADATA VIRTUAL,
  part INT METADATA FROM 'partition' VIRTUAL,
  seen TIMESTAMP_LTZ(3) METADATA FROM 'timestamp',
  payload ROW<`id` INT 'a comment', tags ARRAY<STRING>>,
  attributes MAP<STRING, INT ARRAY>,
  WATERMARK FOR seen AS seen - INTERVAL '5' SECOND
) COMMENT 'orders' WITH (
  'connector' = 'kafka', -- comments may stand anywhere
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'scan.startup.mode' = 'earliest-offset',
  'format' = 'json'
);
CREATE TABLE IF NOT EXISTS `order events` (a INT) WITH ('connector' = 'print');
CREATE TABLE kept (
  k STRING,
  v BIGINT,
  CONSTRAINT pk PRIMARY KEY (k) NOT ENFORCED
) WITH ('connector' = 'print');
CREATE TEMPORARY VIEW IF NOT EXISTS big (k, v, total) COMMENT 'the large ones' AS
  SELECT `key`, `value`, doubled FROM `order events` WHERE amount > 100;
CREATE VIEW bigger AS SELECT * FROM big AS l WHERE l.total > 1000;
DESCRIBE `order events`;
DESC shop.kept;
DESCRIBE bigger;
SHOW TABLES;
SHOW VIEWS;
SHOW DATABASES;
SHOW CATALOGS;
SHOW CURRENT DATABASE;
SHOW CURRENT CATALOG;
EXPLAIN INSERT INTO kept SELECT k, v FROM big;
EXPLAIN PLAN FOR INSERT INTO kept SELECT k, v FROM big;
EXPLAIN STATEMENT SET BEGIN INSERT INTO kept SELECT k, v FROM big; END;
EXECUTE INSERT INTO kept SELECT `key`, `value` FROM `order events` /*+ OPTIONS('scan.startup.mode' = 'earliest-offset') */ AS o;
EXECUTE STATEMENT SET
BEGIN
  INSERT INTO kept (v, k) SELECT v, k FROM bigger;
  INSERT INTO default_catalog.shop.kept /*+ OPTIONS('print-identifier' = 'hinted') */ SELECT k, v FROM big;
END;
BEGIN STATEMENT SET;
INSERT INTO kept WITH named AS (SELECT `key` AS k, `value` AS v FROM `order events`) SELECT k, v FROM named;
END;
DROP TABLE IF EXISTS nothing;
DROP TEMPORARY VIEW IF EXISTS bigger;
DROP DATABASE IF EXISTS other RESTRICT;
