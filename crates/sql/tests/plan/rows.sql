-- Fields of a ROW: alias.column.field, column.field, nested, in conditions, as columns of their own; a NULL row has NULL fields.
CREATE TABLE src (
  id BIGINT NOT NULL,
  ship ROW<days INT NOT NULL, `to` ROW<city STRING NOT NULL, zip STRING> NOT NULL>,
  sure ROW<days INT NOT NULL, note STRING> NOT NULL,
  r ROW<r ROW<r INT>>,
  big AS ship.days > 7
) WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json');
CREATE TABLE a (d INT, c STRING, s INT NOT NULL) WITH ('connector' = 'blackhole');
INSERT INTO a SELECT o.ship.days, o.ship.`to`.city, o.sure.days FROM src AS o;
INSERT INTO a SELECT ship.days, default_database.src.ship.`to`.zip, sure.days FROM src WHERE big AND ship.`to`.city <> 'x';
INSERT INTO a SELECT d + 1, UPPER(c), s FROM (SELECT (ship).days AS d, x.ship.`to`.city AS c, sure.days AS s FROM src AS x);
CREATE TABLE two (days INT, note STRING) WITH ('connector' = 'blackhole');
INSERT INTO two SELECT o.sure.* FROM src AS o;
CREATE TABLE deep (r INT) WITH ('connector' = 'blackhole');
INSERT INTO deep SELECT r.r.r FROM src;
INSERT INTO deep SELECT r.r.r.r FROM src AS r;
CREATE VIEW v AS SELECT o.ship.days, o.sure.days AS sure_days, ship.`to` FROM src AS o;
DESCRIBE v;
