"""Windows of event time into tables, with the process killed on the way: what a window counted is recomputed by the audit."""
import inventory
import tables
from lakeward import wait_until

PARTITIONS = 3
SCRIPT = f"""
SET 'pipeline.name' = 'windows';
CREATE TABLE events (sku STRING, warehouse_id STRING, event_type STRING, quantity INT, event_time TIMESTAMP(3),
  WATERMARK FOR event_time AS event_time - INTERVAL '5' SECOND) WITH (
  'connector' = 'kafka', 'topic' = '{inventory.TOPIC}', 'properties.bootstrap.servers' = 'kafka-1:9092,kafka-2:9092',
  'scan.startup.mode' = 'earliest-offset', 'format' = 'avro');
CREATE TABLE counts (warehouse_id STRING, window_start TIMESTAMP(3), window_end TIMESTAMP(3), n BIGINT, total INT) WITH ('connector' = 'iceberg', 'catalog-name' = 'hive',
  'catalog-database' = 'lakehouse', 'catalog-table' = 'counts', 'warehouse' = 's3://lakehouse/');
INSERT INTO counts SELECT warehouse_id, window_start, window_end, COUNT(*), SUM(quantity)
  FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(event_time), INTERVAL '{{size}}' SECOND)) GROUP BY warehouse_id, window_start, window_end;
"""
TABLE = "lakehouse.counts"


def audited(server, offsets):
    """The audit once the table accounts for so many offsets."""
    wait_until(lambda: tables.exists(server.catalog, TABLE), "the table")
    report = wait_until(lambda: (report := server.audit(TABLE))["totals"]["offsets"] == offsets and report, f"{offsets} offsets")
    assert report["ok"], report
    for partition in report["partitions"]:
        parts = ("rows", "filtered", "late", "dead_letters", "control", "open", "unverified", "gaps")
        assert partition["end"] - partition["start"] == sum(partition[name] for name in parts), partition
    return report


def test_windows_are_what_their_records_make_of_them_after_every_kill(serve, folder):
    server = serve(tables.mapping(folder), ["--commit-interval", "300 ms"])
    server.create_topic(inventory.TOPIC, PARTITIONS)
    file = folder / "windows.sql"
    file.write_text(SCRIPT.format(size=2))
    server.ok("run", file, "--detach")
    for step in range(4):
        inventory.send(server.kafka, range(6000 * step, 6000 * (step + 1)), partitions=PARTITIONS)
        if step == 1:
            audited(server, 12_000)
        server.kill()
        server.start()
    report = audited(server, 24_000)
    # 48 s of events, 5 s held back: the windows of 2 s that have fired, of 12 warehouses each.
    fired = tables.query(server.catalog, f"SELECT count(DISTINCT window_start), count(*), sum(n), epoch_ms(max(window_end)) FROM ice.{TABLE}")[0]
    assert report["windows"] == {"compared": fired[0], "differ": 0} and fired[0] >= 18
    assert fired[1] == report["totals"]["table_rows"] and report["totals"]["late"] == 0
    expected = sum(1 for number in range(24_000) if inventory.event(number)["event_time"] < fired[3])
    assert fired[2] == expected, "every record of a fired window is in it once"
    (job,) = server.json("pipeline", "show", "windows")["jobs"]
    assert len(job["partitions"]) == PARTITIONS and job["watermark"] == min(it["watermark"] for it in job["partitions"])
    assert "watermark 2026-01-01T00:00:4" in server.ok("pipeline", "show", "windows")

    # Another query has no operator for what this one has counted.
    file.write_text(SCRIPT.format(size=4))
    refused = server.run("run", file, "--detach", "--replace")
    assert refused.returncode != 0 and "would drop what pipeline 'windows' has counted" in refused.stderr, refused.stderr
    uid = refused.stderr.split("--drop-state ")[1].split()[0]
    done = server.run("run", file, "--detach", "--replace", "--drop-state", uid)
    assert done.returncode == 0, done.stderr
    assert f"state of WindowAggregate {uid} (lakehouse.counts): dropped" in done.stderr
    assert "begins empty where the reading goes on" in done.stderr
    # What two queries made one after the other is no longer what either of them makes; windows that began behind the change are the second one's.
    inventory.send(server.kafka, range(24_000, 36_000), partitions=PARTITIONS)
    wait_until(lambda: server.audit(TABLE)["totals"]["offsets"] == 36_000, "all is accounted for")
    report = server.audit(TABLE)
    assert report["verdict"] == "right_as_far_as_verified" and report["totals"]["unverified"] == 24_000, report
    # The first one had seen events of 48 s: of the second one's windows of 4 s those from 52 s on, up to 64 s, have fired and are its own.
    windows = report["windows"]
    assert (windows["compared"], windows["differ"]) == (3, 0) and windows["unverified"] >= fired[0], windows
    assert "several queries made the table" in report["notes"][0] and "only windows that begin after" in report["notes"][0]


def test_a_partition_that_is_added_is_waited_for_from_its_first_row_on(serve, folder):
    server = serve(tables.mapping(folder), ["--commit-interval", "300 ms"])
    server.create_topic(inventory.TOPIC, 1)
    file = folder / "windows.sql"
    file.write_text(SCRIPT.format(size=2))
    server.ok("run", file, "--detach")
    inventory.send(server.kafka, range(6000), partitions=1)
    audited(server, 6000)
    server.ok("topic", "alter", inventory.TOPIC, "--partitions", "2")
    # It is found while it is empty, and holds no window back.
    inventory.send(server.kafka, range(6000, 12_000), partitions=1)
    fired_up_to(server, audited(server, 12_000), 18)
    inventory.send(server.kafka, range(12_000, 18_000), partitions=2)
    server.kill()
    server.start()
    fired_up_to(server, audited(server, 18_000), 30)


def fired_up_to(server, report, seconds):
    """The windows that fired are all compared, and the last of them ends so long behind the first event."""
    fired, end = tables.query(server.catalog, f"SELECT count(DISTINCT window_start), epoch_ms(max(window_end)) FROM ice.{TABLE}")[0]
    assert report["windows"] == {"compared": fired, "differ": 0} and end == inventory.BEGIN_MS + seconds * 1000, (report["windows"], end)
