"""kill -9 of the whole process under load, while windows are open: what every kind of window counted is recomputed by the audit."""
import os
import random
import subprocess
import sys
import time

import inventory
import tables
from lakeward import REPOSITORY, wait_until

KILLS = int(os.environ.get("LAKEWARD_E2E_KILLS", 8))
PARTITIONS = 4
DATABASE = "lakehouse"
SINK = "('connector' = 'iceberg', 'catalog-name' = 'hive', 'catalog-database' = 'lakehouse', 'warehouse' = 's3://lakehouse/', 'lakeward.late' = 'side-table', 'catalog-table' = '{}')"
# Events are out of order by up to four seconds: some come after their window.
SOURCE = f"""
SET 'pipeline.name' = 'kinds-of-windows';
CREATE TABLE events (sku STRING, warehouse_id STRING, event_type STRING, quantity INT, event_time TIMESTAMP(3),
  WATERMARK FOR event_time AS event_time - INTERVAL '1' SECOND) WITH (
  'connector' = 'kafka', 'topic' = '{inventory.TOPIC}', 'properties.bootstrap.servers' = 'kafka-1:9092,kafka-2:9092',
  'scan.startup.mode' = 'earliest-offset', 'format' = 'avro');
"""
WINDOW = "window_start TIMESTAMP(3), window_end TIMESTAMP(3), n BIGINT, total INT"
COUNTS = "window_start, window_end, COUNT(*), SUM(quantity)"
BOUNDS = "window_start, window_end"
# Table → columns, query.
QUERIES = {
    "tumbled": (f"warehouse_id STRING, {WINDOW}",
                f"SELECT warehouse_id, {COUNTS} FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(event_time), INTERVAL '2' SECOND)) GROUP BY warehouse_id, {BOUNDS}"),
    "hopped": (f"event_type STRING, {WINDOW}",
               f"SELECT event_type, {COUNTS} FROM TABLE(HOP(TABLE events, DESCRIPTOR(event_time), INTERVAL '1' SECOND, INTERVAL '4' SECOND)) GROUP BY event_type, {BOUNDS}"),
    "sessions": (f"event_type STRING, {WINDOW}",
                 f"SELECT event_type, {COUNTS} FROM TABLE(SESSION(TABLE events PARTITION BY event_type, DESCRIPTOR(event_time), INTERVAL '0.008' SECOND)) GROUP BY event_type, {BOUNDS}"),
    "lasts": ("sku STRING, quantity INT, event_time TIMESTAMP(3), n BIGINT",
                "SELECT sku, quantity, event_time, COUNT(*) OVER (PARTITION BY sku ORDER BY event_time ROWS BETWEEN 3 PRECEDING AND CURRENT ROW) FROM events"),
}


def script():
    made = [f"CREATE TABLE {name} ({columns}) WITH {SINK.format(name)};" for name, (columns, _) in QUERIES.items()]
    inserts = [f"INSERT INTO {name} {query};" for name, (_, query) in QUERIES.items()]
    return "\n".join([SOURCE, *made, "BEGIN STATEMENT SET;", *inserts, "END;"])


def audited(server, name):
    report = server.audit(f"{DATABASE}.{name}", 600)
    assert report["ok"], (name, report)
    for partition in report["partitions"]:
        parts = ("rows", "filtered", "late", "dead_letters", "control", "open", "unverified", "gaps")
        assert partition["end"] - partition["start"] == sum(partition[part] for part in parts), partition
    return report


def test_kills_while_windows_are_open_lose_and_double_nothing(serve, folder):
    seed = int(os.environ.get("LAKEWARD_E2E_SEED", random.randrange(2**32)))
    print(f"replay the moments of the kills with LAKEWARD_E2E_SEED={seed}")
    chance = random.Random(seed)
    server = serve(tables.mapping(folder), ["--commit-interval", "300 ms"])
    server.create_topic(inventory.TOPIC, PARTITIONS)
    file = folder / "windows.sql"
    file.write_text(script())
    server.ok("run", file, "--detach")
    acked_file = folder / "acked"
    load = subprocess.Popen([sys.executable, str(REPOSITORY / "tests/e2e/load.py"), server.kafka, inventory.TOPIC, str(PARTITIONS), str(acked_file), "2000"])
    try:
        wait_until(lambda: all(tables.rows(server.catalog, f"{DATABASE}.{name}") for name in QUERIES), "the first rows of each table")
        for kill in range(KILLS):
            time.sleep(chance.uniform(0.2, 2.0))
            assert load.poll() is None, f"the producer gave up before kill {kill}"
            server.kill()
            server.start()
            audited(server, list(QUERIES)[kill % len(QUERIES)])
        load.terminate()
        assert load.wait(90) == 0
    finally:
        if load.poll() is None:
            load.kill()
            load.wait()
    sent = 1 + max(int(line.split()[0]) for line in acked_file.read_text().splitlines())
    for name in QUERIES:
        wait_until(lambda: audited(server, name)["totals"]["offsets"] == sent, f"{sent} events in the account of {name}", 120)
    reports = {name: audited(server, name) for name in QUERIES}
    for name in ("tumbled", "hopped", "sessions"):
        windows = reports[name]["windows"]
        assert windows["differ"] == 0 and windows["compared"] > 0, (name, windows)
    # By the events alone: each is in its window once, or late.
    counted, rows, end = tables.query(server.catalog, f"SELECT sum(n), count(*), epoch_ms(max(window_end)) FROM ice.{DATABASE}.tumbled")[0]
    late = reports["tumbled"]["totals"]["late"]
    assert counted + late == sum(1 for number in range(sent) if inventory.event(number)["event_time"] < end), (counted, late, end)
    assert late > 0 and rows == reports["tumbled"]["totals"]["table_rows"]
    print(f"{KILLS} kills, {sent} events, {rows} windows of warehouses, {late} late; " + ", ".join(f"{name} {reports[name]['windows']}" for name in QUERIES))
