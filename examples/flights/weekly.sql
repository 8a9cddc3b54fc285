SELECT date_trunc('week', window_start) AS week, origin, sum(dep_delay * departed) / sum(departed) AS delay
FROM nyc.hourly
WHERE departed > 0
GROUP BY 1, 2
ORDER BY 1, 2
