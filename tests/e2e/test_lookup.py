"""Rows looked up in an Iceberg table that PyIceberg changes while the pipeline runs and is killed: each checkpoint saw one snapshot."""
import json
import os
import random
import threading
import time

import pyarrow as pa
from confluent_kafka import Producer
from pyiceberg.catalog import load_catalog

import tables
from lakeward import wait_until

KILLS = int(os.environ.get("LAKEWARD_E2E_KILLS", 6))
PARTITIONS = 2
KEYS = 40  # those from 30 on are in no version of the table
SCRIPT = """
CREATE TABLE events (id BIGINT, k INT, part INT METADATA FROM 'partition' VIRTUAL, off BIGINT METADATA FROM 'offset' VIRTUAL, came AS PROCTIME()) WITH (
  'connector' = 'kafka', 'topic' = 'events', 'properties.bootstrap.servers' = 'kafka-1:9092,kafka-2:9092', 'scan.startup.mode' = 'earliest-offset', 'format' = 'json');
CREATE TABLE goods (k BIGINT, v BIGINT, name STRING) WITH (
  'connector' = 'iceberg', 'catalog-name' = 'hive', 'catalog-database' = 'db', 'lookup.cache' = 'FULL', 'lookup.full-cache.periodic-reload.interval' = '{interval}');
CREATE TABLE enriched (id BIGINT, k INT, v BIGINT, name STRING, part INT, off BIGINT) WITH (
  'connector' = 'iceberg', 'catalog-name' = 'hive', 'catalog-database' = 'db', 'warehouse' = 's3://lakehouse/', 'lakeward.compaction.enabled' = 'false', 'lakeward.snapshots.keep' = '1000');
INSERT INTO enriched SELECT /*+ LOOKUP('table'='g') */ e.id, e.k, g.v, g.name, e.part, e.off
FROM events AS e LEFT JOIN goods FOR SYSTEM_TIME AS OF e.came AS g ON e.k = g.k AND g.name <> 'hidden';
"""


def version(number):
    """The rows of a version: each tells which one it is of; some keys have two rows, some are in some versions only, one row is hidden."""
    rows = []
    for key in range(30):
        if (key + number) % 5:
            rows.append({"k": key, "v": number, "name": f"good {key}"})
        if key % 3 == 0:
            rows.append({"k": key, "v": number, "name": f"more {number % 4}"})
    rows += [{"k": None, "v": number, "name": "nobody"}, {"k": 7, "v": number, "name": "hidden"}]
    return rows


class Goods:
    """The table that rows are looked up in."""

    def __init__(self, server):
        catalog = load_catalog("goods", type="rest", uri=server.catalog)
        catalog.create_namespace_if_not_exists("db")
        self.schema = pa.schema([("k", pa.int64()), ("v", pa.int64()), ("name", pa.string())])
        self.table = catalog.create_table("db.goods", self.schema)
        self.versions = 0

    def change(self):
        """Another version. PyIceberg's overwrite makes two snapshots, of which the first, without rows, is never the table's head."""
        self.versions += 1
        rows = pa.Table.from_pylist(version(self.versions), self.schema)
        self.table.refresh()
        self.table.overwrite(rows) if self.versions > 1 else self.table.append(rows)
        return self.table.current_snapshot().snapshot_id


class Load(threading.Thread):
    """Produces events until it is told to stop, whether the server is there or not."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.sent, self.over = server, 0, False

    def run(self):
        producer = Producer({"bootstrap.servers": self.server.kafka, "enable.idempotence": True, "linger.ms": 5})
        while not self.over:
            producer.produce("events", json.dumps({"id": self.sent, "k": self.sent * 7 % KEYS}), partition=self.sent % PARTITIONS)
            self.sent += 1
            producer.poll(0)
            if self.sent % 20 == 0:
                time.sleep(0.01)
        assert producer.flush(60) == 0

    def finish(self):
        self.over = True
        self.join(90)
        return self.sent


def shown(server, name="lookups"):
    return server.json("pipeline", "show", name)["jobs"][0]


def newer(server, before):
    """The newest version that rows were joined with, if it is newer than `before`."""
    newest = tables.query(server.catalog, "SELECT max(v) FROM ice.db.enriched")[0][0]
    return newest is not None and newest > before and newest


def start(serve, folder, interval, arguments):
    server = serve(tables.mapping(folder), arguments)
    server.create_topic("events", PARTITIONS)
    goods = Goods(server)
    script = folder / "lookups.sql"
    script.write_text(SCRIPT.format(interval=interval))
    return server, goods, script


def test_each_checkpoint_saw_one_snapshot_whatever_is_killed_and_changed(serve, folder):
    seed = int(os.environ.get("LAKEWARD_E2E_SEED", random.randrange(2**32)))
    print(f"replay the moments of the kills with LAKEWARD_E2E_SEED={seed}")
    chance = random.Random(seed)
    server, goods, script = start(serve, folder, "150 ms", ["--commit-interval", "400 ms"])
    goods.change()
    server.ok("run", script, "--detach")
    load = Load(server)
    load.start()
    wait_until(lambda: tables.rows(server.catalog, "db.enriched"), "the first rows")
    seen = 0
    for kill in range(KILLS):
        for _ in range(chance.randrange(1, 4)):
            time.sleep(chance.uniform(0.05, 0.5))
            goods.change()
        if kill % 2:
            # Kills may follow each other before any row of a new version is there; every second one waits for such a row.
            seen = wait_until(lambda before=seen: newer(server, before), "a newer version")
        time.sleep(chance.uniform(0, 0.4))
        server.kill()
        server.start()
    goods.change()
    time.sleep(1)
    sent = load.finish()
    wait_until(lambda: tables.query(server.catalog, "SELECT count(DISTINCT id) FROM ice.db.enriched")[0][0] == sent, f"{sent} events", 60)

    with tables.duck(server.catalog) as duck:
        files = [row["file_path"] for row in tables.load(server.catalog, "db.enriched").inspect.files().to_pylist()]
        files = [path.removeprefix("file://") for path in files]
        rows = duck.execute("SELECT id, k, v, name, part, off, filename FROM read_parquet(?, filename = true, hive_partitioning = false)", [files]).arrow().read_all()
        duck.register("rows", rows)
        everything = [row for number in range(1, goods.versions + 1) for row in version(number)]
        duck.register("goods", pa.Table.from_pylist(everything, goods.schema))
        # A file is of one checkpoint: it has rows of one version.
        duck.execute("CREATE TABLE seen AS SELECT filename, count(DISTINCT v) AS versions, min(v) AS v FROM rows GROUP BY filename")
        assert duck.execute("SELECT * FROM seen WHERE versions > 1").fetchall() == []
        # No record is in two of them, none is missing.
        assert duck.execute("SELECT id FROM rows GROUP BY id HAVING count(DISTINCT filename) > 1").fetchall() == []
        assert duck.execute("SELECT count(DISTINCT id), min(id), max(id) FROM rows").fetchall() == [(sent, 0, sent - 1)]
        # What DuckDB joins each record with in that version is what is there, row by row.
        events = "SELECT DISTINCT id, k, part, off, filename FROM rows"
        joined = f"""SELECT id, e.k, g.v, g.name, part, off FROM ({events}) e JOIN seen USING (filename)
                     LEFT JOIN goods g ON e.k = g.k AND g.v = seen.v AND g.name <> 'hidden'"""
        given = "SELECT id, k, v, name, part, off FROM rows"
        for more, less in ((given, joined), (joined, given)):
            assert duck.execute(f"{more} EXCEPT ALL {less} LIMIT 5").fetchall() == [], (more, seed)
        versions = [row[0] for row in duck.execute("SELECT DISTINCT v FROM seen WHERE v IS NOT NULL ORDER BY 1").fetchall()]
    assert len(versions) >= KILLS // 2, versions
    job = shown(server)
    assert job["lookups"][0]["version"] == str(tables.load(server.catalog, "db.goods").current_snapshot().snapshot_id), job["lookups"]
    report = server.audit("db.enriched", 600)
    assert report["ok"] and report["totals"]["verified"] == sent and report["totals"]["unverified"] == 0, report
    # Executed again with a version that is gone it is not verified, and said so.
    first = goods.table.snapshots()[0].snapshot_id
    goods.table.maintenance.expire_snapshots().by_id(first).commit()
    report = server.audit("db.enriched", 600)
    assert 0 < report["totals"]["unverified"] < sent and report["totals"]["gaps"] == 0, report["totals"]
    assert f"version {first} of table 'goods', which is gone" in json.dumps(report), report
    print(f"{KILLS} kills, {goods.versions} versions of which {len(versions)} were seen, {sent} events, {len(files)} files")


def test_a_restart_reads_the_open_rows_with_the_snapshot_that_is_pinned(serve, folder):
    server, goods, script = start(serve, folder, "1 h", ["--commit-interval", "1 h"])

    def send(first, count):
        producer = Producer({"bootstrap.servers": server.kafka})
        for number in range(first, first + count):
            producer.produce("events", json.dumps({"id": number, "k": 1}), partition=number % PARTITIONS)
        assert producer.flush(10) == 0

    # The table is not there yet: the job says so.
    goods.table.catalog.drop_table("db.goods")
    server.ok("run", script, "--detach")
    job = wait_until(lambda: (job := shown(server))["state"] == "failed" and job, "a failure")
    assert job["error"] == "table 'db.goods', in which rows are looked up, is not in catalog 'hive'", job
    goods = Goods(server)
    first = goods.change()
    server.ok("pipeline", "resume", "lookups")
    send(0, 10)
    wait_until(lambda: shown(server)["records_in"] == 10, "10 records")
    second = goods.change()
    server.kill()
    server.start()
    wait_until(lambda: shown(server)["records_in"] == 10, "10 records again")
    assert shown(server)["lookups"][0]["version"] == str(first)
    server.ok("pipeline", "stop", "lookups")
    read = lambda: tables.query(server.catalog, "SELECT v, count(*) FROM ice.db.enriched GROUP BY v ORDER BY v")
    assert read() == [(1, 10)], "committed by the stop, with the first version"

    # What is pinned and gone is read with the newest, and that is told.
    server.ok("pipeline", "resume", "lookups")
    send(10, 5)
    wait_until(lambda: shown(server)["records_in"] == 5, "5 records")
    assert shown(server)["lookups"][0]["version"] == str(first), "it goes on with what was pinned"
    goods.table.refresh()
    goods.table.maintenance.expire_snapshots().by_id(first).commit()
    server.kill()
    server.start()
    wait_until(lambda: shown(server)["records_in"] == 5, "5 records again")
    looked_up = shown(server)["lookups"][0]
    assert looked_up["version"] == str(second) and f"version {first}" in looked_up["note"], looked_up
    server.ok("pipeline", "stop", "lookups")
    assert read() == [(1, 10), (2, 5)]
