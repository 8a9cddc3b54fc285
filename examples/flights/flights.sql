-- A year of flights out of New York, by the time for which each was scheduled.
-- The script runs as it stands on Lakeward and on Apache Flink.
CREATE TABLE flights (
  carrier STRING,
  flight INT,
  tailnum STRING,
  origin STRING,
  dest STRING,
  distance INT,
  dep_delay INT,  -- minutes; NULL: it never left
  arr_delay INT,  -- minutes; NULL: it never arrived where it was meant to
  scheduled TIMESTAMP(3),
  WATERMARK FOR scheduled AS scheduled - INTERVAL '30' MINUTE
) WITH (
  'connector' = 'kafka',
  'topic' = 'flights',
  'properties.bootstrap.servers' = '127.0.0.1:9092',
  'properties.group.id' = 'flights',
  'scan.startup.mode' = 'earliest-offset',
  'scan.bounded.mode' = 'latest-offset',
  'format' = 'avro-confluent',
  'avro-confluent.url' = 'http://127.0.0.1:8081'
);

CREATE CATALOG lake WITH ('type' = 'iceberg', 'catalog-type' = 'rest', 'uri' = 'http://127.0.0.1:8181');
CREATE DATABASE IF NOT EXISTS lake.nyc;

CREATE TABLE IF NOT EXISTS lake.nyc.hourly (
  window_start TIMESTAMP(3),
  window_end TIMESTAMP(3),
  origin STRING,
  carrier STRING,
  flights BIGINT,
  departed BIGINT,
  dep_delay DOUBLE,
  arr_delay DOUBLE
) WITH ('format-version' = '2');

CREATE TABLE IF NOT EXISTS lake.nyc.rotations (
  tailnum STRING,
  window_start TIMESTAMP(3),
  window_end TIMESTAMP(3),
  legs BIGINT,
  miles BIGINT,
  worst_delay INT
) WITH ('format-version' = '2');

CREATE TABLE IF NOT EXISTS lake.nyc.worst_routes (
  window_start TIMESTAMP(3),
  place BIGINT,
  origin STRING,
  dest STRING,
  flights BIGINT,
  arr_delay DOUBLE
) WITH ('format-version' = '2');

CREATE VIEW with_aircraft AS SELECT * FROM flights WHERE tailnum IS NOT NULL;

EXECUTE STATEMENT SET BEGIN

-- Hourly counts and average delays, per airport and carrier.
INSERT INTO lake.nyc.hourly
SELECT
  window_start, window_end, origin, carrier,
  COUNT(*), COUNT(dep_delay), AVG(CAST(dep_delay AS DOUBLE)), AVG(CAST(arr_delay AS DOUBLE))
FROM TABLE(TUMBLE(TABLE flights, DESCRIPTOR(scheduled), INTERVAL '1' HOUR))
GROUP BY window_start, window_end, origin, carrier;

-- What an aircraft does until New York does not see it for a day.
INSERT INTO lake.nyc.rotations
SELECT tailnum, window_start, window_end, COUNT(*), SUM(CAST(distance AS BIGINT)), MAX(dep_delay)
FROM TABLE(SESSION(TABLE with_aircraft PARTITION BY tailnum, DESCRIPTOR(scheduled), INTERVAL '1' DAY))
GROUP BY tailnum, window_start, window_end;

-- The five worst routes of each hour.
INSERT INTO lake.nyc.worst_routes
SELECT window_start, place, origin, dest, flights, arr_delay
FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY window_start, window_end ORDER BY arr_delay DESC, origin, dest) AS place
  FROM (
    SELECT window_start, window_end, origin, dest, COUNT(*) AS flights, AVG(CAST(arr_delay AS DOUBLE)) AS arr_delay
    FROM TABLE(TUMBLE(TABLE flights, DESCRIPTOR(scheduled), INTERVAL '1' HOUR))
    WHERE arr_delay IS NOT NULL
    GROUP BY window_start, window_end, origin, dest
  )
)
WHERE place <= 5;

END;
