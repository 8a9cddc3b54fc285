-- What the tables must hold, by DuckDB from the flights themselves: no stream, no windows, no state.
-- `flights` are the rows of the CSV.
CREATE VIEW scheduled AS
SELECT *, CAST(time_hour AS TIMESTAMP) + to_minutes(minute) AS departs, date_trunc('hour', CAST(time_hour AS TIMESTAMP) + to_minutes(minute)) AS hour_of
FROM flights;

CREATE VIEW hourly AS
SELECT
  hour_of AS window_start, hour_of + INTERVAL 1 HOUR AS window_end, origin, carrier,
  count(*) AS flights, count(dep_delay) AS departed, avg(dep_delay) AS dep_delay, avg(arr_delay) AS arr_delay
FROM scheduled
GROUP BY ALL;

CREATE VIEW rotations AS
WITH gaps AS (
  SELECT *, coalesce(departs > (lag(departs) OVER aircraft) + INTERVAL 1 DAY, true) AS begins
  FROM scheduled
  WHERE tailnum IS NOT NULL
  WINDOW aircraft AS (PARTITION BY tailnum ORDER BY departs)
), numbered AS (
  SELECT *, count(*) FILTER (begins) OVER (PARTITION BY tailnum ORDER BY departs ROWS UNBOUNDED PRECEDING) AS rotation
  FROM gaps
)
SELECT
  tailnum, min(departs) AS window_start, max(departs) + INTERVAL 1 DAY AS window_end,
  count(*) AS legs, CAST(sum(distance) AS BIGINT) AS miles, max(dep_delay) AS worst_delay
FROM numbered
GROUP BY tailnum, rotation;

CREATE VIEW worst_routes AS
SELECT
  hour_of AS window_start,
  row_number() OVER (PARTITION BY hour_of ORDER BY avg(arr_delay) DESC, origin, dest) AS place,
  origin, dest, count(*) AS flights, avg(arr_delay) AS arr_delay
FROM scheduled
WHERE arr_delay IS NOT NULL
GROUP BY hour_of, origin, dest
QUALIFY place <= 5;
