-- case: an empty script has nothing to run
-- only a comment
-- case: a word that begins no statement names the nearest
SELEC 1;
-- case: a query alone is not a pipeline
SELECT 1;
-- case: a misspelt keyword inside a statement
CREATE TABEL t (a INT);
-- case: a missing semicolon between statements
CREATE TABLE t (a INT)
CREATE TABLE u (a INT);
-- case: text that is never closed
CREATE TABLE t (a INT) WITH ('connector' = 'print);
-- case: a comment that is never closed
/* CREATE TABLE t (a INT)
-- case: double quotes
CREATE TABLE t ("a" INT);
-- case: a statement that Flink has and this version does not
ALTER TABLE t ADD b INT;
-- case: a jar has nowhere to go
ADD JAR 'x.jar';
-- case: a function of one's own
CREATE FUNCTION f AS 'com.example.F';
-- case: another catalog
USE CATALOG hive;
-- case: an unknown database
USE lakehuose;
-- case: a database twice
CREATE DATABASE a;
CREATE DATABASE a;
-- case: a table twice
CREATE TABLE t (a INT);
CREATE TABLE t (a INT);
-- case: dropping what is not there
DROP TABLE nope;
-- case: an unknown setting names the nearest
SET 'execution.checkpointing.intervall' = '10 s';
-- case: a setting without the shape of its value
SET 'execution.checkpointing.interval' = 'often';
-- case: batch mode
SET 'execution.runtime-mode' = 'batch';
-- case: a parallelism of nothing
SET 'parallelism.default' = '0';
-- case: a session zone
SET 'table.local-time-zone' = 'Berlin, Germany';
-- case: a statement set without its end
EXECUTE STATEMENT SET BEGIN INSERT INTO a SELECT 1 FROM b;
-- case: a statement set with something else in it
EXECUTE STATEMENT SET BEGIN CREATE TABLE t (a INT); END;
-- case: INSERT OVERWRITE
INSERT OVERWRITE t SELECT 1 FROM b;
-- case: a name of four parts
DROP TABLE a.b.c.d;
-- case: two mistakes are both told, one that follows from another is not
CREATE TABLE t (a INTT) WITH ('connector' = 'print');
INSERT INTO t SELECT a FROM t;
SET 'pipeline.nme' = 'x';
