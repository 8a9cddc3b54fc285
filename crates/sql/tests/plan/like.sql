-- LIKE, temporary tables and SHOW. Apache Flink 2.3.0 takes every statement, and DESCRIBE and SHOW name the same columns, types, keys and
-- watermarks (2026-11), but that it writes computed columns with backticks.
CREATE TABLE src (
  a INT, b BIGINT NOT NULL, s STRING, text_time STRING, ts TIMESTAMP(3),
  et AS CAST(text_time AS TIMESTAMP(3)),
  qty INT COMMENT 'how many', price DECIMAL(10, 2),
  total AS qty * price,
  part INT METADATA FROM 'partition' VIRTUAL,
  WATERMARK FOR et AS et - INTERVAL '5' SECOND
) COMMENT 'a table' WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json');
CREATE TABLE keyed (k STRING NOT NULL, v BIGINT, CONSTRAINT pk PRIMARY KEY (k) NOT ENFORCED) WITH ('connector' = 'print');
-- All of it; its own options count before the other's.
CREATE TABLE like1 LIKE src;
DESCRIBE like1;
CREATE TABLE like13 WITH ('scan.startup.mode' = 'earliest-offset', 'properties.bootstrap.servers' = 'kafka-1:9092,kafka-2:9092') LIKE src (OVERWRITING OPTIONS);
-- The physical columns alone.
CREATE TABLE like3 WITH ('connector' = 'print') LIKE src (EXCLUDING ALL);
DESCRIBE like3;
CREATE TABLE like4 WITH ('connector' = 'print') LIKE src (EXCLUDING OPTIONS EXCLUDING GENERATED EXCLUDING METADATA EXCLUDING WATERMARKS);
DESCRIBE like4;
-- What is overwritten stays in its place, what is new stands behind.
CREATE TABLE like7 (total AS a + 1) LIKE src (OVERWRITING GENERATED);
DESCRIBE like7;
CREATE TABLE like16 (a2 AS a * 2, a3 INT) LIKE src;
DESCRIBE like16;
CREATE TABLE like18 (part INT METADATA FROM 'partition') LIKE src (OVERWRITING METADATA);
CREATE TABLE like19 LIKE src (INCLUDING ALL EXCLUDING WATERMARKS);
DESCRIBE like19;
CREATE TABLE like20 (WATERMARK FOR ts AS ts) LIKE src (EXCLUDING WATERMARKS);
CREATE TABLE like21 (WATERMARK FOR ts AS ts - INTERVAL '1' MINUTE) LIKE like20 (OVERWRITING WATERMARKS);
CREATE TABLE like10 (PRIMARY KEY (k) NOT ENFORCED) LIKE keyed (EXCLUDING CONSTRAINTS);
DESCRIBE like10;
INSERT INTO like10 SELECT COALESCE(s, ''), b FROM like13 WHERE part = 1;
INSERT INTO like10 SELECT COALESCE(s, ''), b FROM like21;
-- A temporary table stands before one that is not.
CREATE TEMPORARY TABLE src (z INT) WITH ('connector' = 'print');
DESCRIBE src;
SHOW TABLES;
DROP TEMPORARY TABLE src;
CREATE VIEW v1 AS SELECT et, a, b AS c FROM src;
CREATE TEMPORARY VIEW v1 AS SELECT a FROM src;
DESCRIBE v1;
SHOW VIEWS;
DROP TEMPORARY VIEW v1;
SHOW COLUMNS FROM v1;
SHOW COLUMNS IN src LIKE 't%';
SHOW TABLES LIKE 'like1%';
SHOW TABLES FROM default_catalog.default_database NOT LIKE 'like%';
SHOW VIEWS LIKE 'v_';
SHOW DATABASES ILIKE 'D%';
SHOW CATALOGS LIKE 'x%';
DROP VIEW v1;
DROP VIEW IF EXISTS src;
CREATE DATABASE d1;
CREATE TABLE d1.t (a INT) WITH ('connector' = 'print');
SHOW TABLES IN d1;
DROP DATABASE d1 CASCADE;
SHOW DATABASES;
SET 'pipeline.name' = 'x';
SET 'execution.runtime-mode' = 'streaming';
RESET 'pipeline.name';
SET;
