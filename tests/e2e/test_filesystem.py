"""Files into tables: every record once over kills, audited against the files; and files beside a topic, and files that come while it is read."""
import json

import duckdb
import tables
from confluent_kafka import Producer
from lakeward import wait_until

FILES, RECORDS = 5, 60_000
SCRIPT = """
CREATE TABLE readings (n BIGINT, sensor INT, note STRING)
WITH ('connector' = 'filesystem', 'path' = 'file://{folder}', 'format' = 'json');
CREATE TABLE shop.readings (n BIGINT, sensor INT, note STRING)
WITH ('connector' = 'iceberg', 'catalog-name' = 'hive', 'warehouse' = 's3://lakehouse/', 'format-version' = '2');
INSERT INTO shop.readings SELECT n, sensor, note FROM readings WHERE MOD(n, 2) = 0;
"""
TABLE = "shop.readings"


def write(path, numbers):
    lines = [json.dumps({"n": n, "sensor": n % 7, "note": f"note {n}"}) for n in numbers]
    path.write_text("\n".join(lines) + "\n")


def count(server):
    return tables.query(server.catalog, f"SELECT count(*), count(DISTINCT n) FROM ice.{TABLE}")[0]


def test_files_are_read_once_over_kills_and_refused_when_they_change(serve, folder):
    server = serve(tables.mapping(folder), ["--commit-interval", "50 ms"])
    there = folder / "in"
    there.mkdir()
    for file in range(FILES):
        write(there / f"{file}.json", range(file * RECORDS, (file + 1) * RECORDS))
    (there / "_SUCCESS").write_text("")
    bad = there / "bad.json"
    bad.write_text('{"n": 1}\n{"n": \n')
    script = folder / "readings.sql"
    script.write_text(SCRIPT.format(folder=there))
    server.ok("run", script, "--detach")
    for _ in range(3):
        wait_until(lambda: tables.exists(server.catalog, TABLE), "the table")
        server.kill()
        server.start()
    half = FILES * RECORDS // 2
    wait_until(lambda: tables.rows(server.catalog, TABLE) == half, "the even ones of all files")
    assert count(server) == (half, half)
    wait_until(lambda: server.json("pipeline", "show", "readings")["state"] == "finished", "the end of the files")
    report = server.audit(TABLE)
    assert report["ok"] and report["totals"]["rows"] == half and report["totals"]["dead_letters"] == 1, report
    letters = tables.query(server.catalog, f'SELECT topic, "offset" FROM ice.{TABLE}__dead_letters')
    assert letters == [(str(bad), 1)], letters

    # Told to go on, it reads what came since, unless what it has read is something else now.
    first = there / "0.json"
    kept = first.read_text()
    first.write_text(kept.replace("note 7", "note 8", 1))
    write(there / "later.json", range(FILES * RECORDS, (FILES + 1) * RECORDS))
    server.ok("pipeline", "resume", "readings")
    failed = wait_until(lambda: (shown := server.json("pipeline", "show", "readings"))["state"] == "failed" and shown, "its refusal")
    assert failed["jobs"][0]["error"] == f"file '{first}' was changed", failed
    first.write_text(kept)
    server.ok("pipeline", "resume", "readings")
    wait_until(lambda: tables.rows(server.catalog, TABLE) == half + RECORDS // 2, "the new file")
    assert count(server) == (half + RECORDS // 2,) * 2
    assert server.audit(TABLE)["ok"]


ARCHIVED, LIVE = 40_000, 20_000
BACKFILL = """
SET 'pipeline.name' = 'backfill';
CREATE TABLE archive (n BIGINT, celsius DOUBLE, ts TIMESTAMP(3), `day` DATE, site STRING, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
PARTITIONED BY (`day`, site)
WITH ('connector' = 'filesystem', 'path' = 'file://{folder}', 'format' = 'parquet');
CREATE TABLE live (site STRING, n BIGINT, celsius DOUBLE, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
WITH ('connector' = 'kafka', 'topic' = 'live', 'properties.bootstrap.servers' = 'kafka-1:9092,kafka-2:9092',
  'scan.startup.mode' = 'earliest-offset', 'key.format' = 'raw', 'key.fields' = 'site',
  'value.format' = 'json', 'value.fields-include' = 'EXCEPT_KEY');
CREATE TABLE shop.readings (n BIGINT, site STRING, celsius DOUBLE, origin STRING)
WITH ('connector' = 'iceberg', 'catalog-name' = 'hive', 'warehouse' = 's3://lakehouse/', 'format-version' = '2');
CREATE TABLE shop.minutes (site STRING, window_start TIMESTAMP(3), window_end TIMESTAMP(3), n BIGINT)
WITH ('connector' = 'iceberg', 'catalog-name' = 'hive', 'warehouse' = 's3://lakehouse/', 'format-version' = '2');
CREATE VIEW readings AS SELECT n, site, celsius, 'archive' AS origin, ts FROM archive UNION ALL SELECT n, site, celsius, 'live', ts FROM live;
EXECUTE STATEMENT SET BEGIN
INSERT INTO shop.readings SELECT n, site, celsius, origin FROM readings;
INSERT INTO shop.minutes SELECT site, window_start, window_end, COUNT(*)
  FROM TABLE(TUMBLE(TABLE readings, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY site, window_start, window_end;
END;
"""


def produce(server, numbers):
    """Readings of two sites, one a tenth of a second, on from where the archive ends."""
    client = Producer({"bootstrap.servers": server.kafka, "linger.ms": 5})
    for n in numbers:
        ts = f"2026-07-02 {n // 36000:02}:{n // 600 % 60:02}:{n // 10 % 60:02}.{n % 10}00"
        client.produce("live", key=("north", "south")[n % 2], value=json.dumps({"n": n, "celsius": n / 10, "ts": ts}), partition=0)
        if n % 5000 == 0:
            client.flush()
    client.flush()


def test_an_archive_and_a_topic_fill_tables_through_kills(serve, folder):
    server = serve(tables.mapping(folder), ["--commit-interval", "100 ms"])
    server.create_topic("live", 1)
    there = folder / "archive"
    duckdb.execute(f"""COPY (SELECT n, (n / 10.0)::DOUBLE AS celsius, TIMESTAMP '2026-07-01 00:00:00' + to_milliseconds(n * 100) AS ts,
        DATE '2026-07-01' AS "day", CASE n % 2 WHEN 0 THEN 'north' ELSE 'south' END AS site FROM range({ARCHIVED}) AS of(n))
        TO '{there}' (FORMAT parquet, PARTITION_BY ("day", site), ROW_GROUP_SIZE 4096)""")
    produce(server, range(LIVE // 2))
    script = folder / "backfill.sql"
    script.write_text(BACKFILL.format(folder=there))
    server.ok("run", script, "--detach")
    wait_until(lambda: tables.exists(server.catalog, "shop.readings"), "the table")
    server.kill()
    server.start()
    wait_until(lambda: tables.rows(server.catalog, "shop.readings") >= ARCHIVED + LIVE // 2, "the archive, and the topic behind it")
    server.kill()
    produced = folder / "archive/day=2026-07-01/site=north/later.parquet"
    duckdb.execute(f"COPY (SELECT -1 AS n, 0.0::DOUBLE AS celsius, TIMESTAMP '2026-07-01 00:00:00' AS ts) TO '{produced}' (FORMAT parquet)")
    server.start()
    produce(server, range(LIVE // 2, LIVE))
    wait_until(lambda: tables.rows(server.catalog, "shop.readings") >= ARCHIVED + LIVE, "the rest of the topic")
    found = tables.query(server.catalog, "SELECT origin, site, count(*), count(DISTINCT n), min(n), round(max(celsius), 1) FROM ice.shop.readings GROUP BY ALL ORDER BY ALL")
    expected = [(origin, site, count // 2, count // 2, odd, (count - 2 + odd) / 10)
                for origin, count in (("archive", ARCHIVED), ("live", LIVE)) for odd, site in enumerate(("north", "south"))]
    assert found == expected, found
    report = server.audit("shop.readings")
    assert report["ok"] and report["totals"]["rows"] == ARCHIVED + LIVE, report
    # Windows of the archive have fired with the topic's first rows, and are counted again by the audit.
    counted = tables.query(server.catalog, "SELECT count(*), sum(n) FROM ice.shop.minutes WHERE window_start < TIMESTAMP '2026-07-02'")[0]
    minutes = -(-ARCHIVED // 600)
    assert counted == (2 * minutes, ARCHIVED), counted
    report = server.audit("shop.minutes")
    assert report["ok"] and report["windows"]["differ"] == 0 and report["totals"]["late"] == 0, report


WATCHED = """
SET 'pipeline.name' = 'watched';
CREATE TABLE incoming (n BIGINT, note STRING)
WITH ('connector' = 'filesystem', 'path' = 'file://{folder}', 'format' = 'csv', 'source.monitor-interval' = '50 ms');
CREATE TABLE shop.incoming (n BIGINT, note STRING)
WITH ('connector' = 'iceberg', 'catalog-name' = 'hive', 'warehouse' = 's3://lakehouse/', 'format-version' = '2');
INSERT INTO shop.incoming SELECT n, note FROM incoming;
"""


def test_files_that_come_are_read_once_over_kills(serve, folder):
    server = serve(tables.mapping(folder), ["--commit-interval", "100 ms"])
    there, aside = folder / "incoming", folder / "aside"
    there.mkdir()
    script = folder / "watched.sql"
    script.write_text(WATCHED.format(folder=there))
    server.ok("run", script, "--detach")
    files = 6
    for file in range(files):
        aside.write_text("".join(f"{n},note {n}\n" for n in range(file * 1000, (file + 1) * 1000)))
        # Later ones stand before the earlier ones by their names.
        aside.rename(there / f"{files - file}.csv")
        if file % 2:
            wait_until(lambda rows=(file + 1) * 1000: tables.rows(server.catalog, "shop.incoming") == rows, "what has come")
            server.kill()
            server.start()
    count = tables.query(server.catalog, "SELECT count(*), count(DISTINCT n) FROM ice.shop.incoming")
    assert count == [(files * 1000, files * 1000)], count
    report = server.audit("shop.incoming")
    assert report["ok"] and report["totals"]["rows"] == files * 1000, report
    assert server.json("pipeline", "show", "watched")["state"] == "running"
    # A file that was read and is another one now is not gone on with.
    server.kill()
    (there / "1.csv").write_text("1,other\n")
    server.start()
    failed = wait_until(lambda: (shown := server.json("pipeline", "show", "watched"))["state"] == "failed" and shown, "its refusal")
    assert failed["jobs"][0]["error"] == f"file '{there / '1.csv'}' was changed", failed
