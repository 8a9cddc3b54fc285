"""Compaction: between commits, kills and other engines nothing is lost or doubled, every reader counts the same, and deletes stay."""
import json
import random
import subprocess
import threading
import time
from collections import Counter

import pyarrow
from confluent_kafka import Producer
from pyiceberg.exceptions import CommitFailedException, ValidationException
from pyiceberg.expressions import EqualTo

import tables
from lakeward import BINARY, wait_until

TABLE = "lake.numbers"
PARTITIONS = 3
SCRIPT = """
CREATE TABLE source (n BIGINT, word STRING) WITH ('connector' = 'kafka', 'topic' = 'numbers', 'properties.bootstrap.servers' = 'kafka-1:9092,kafka-2:9092', 'scan.startup.mode' = 'earliest-offset', 'format' = 'json');
CREATE TABLE numbers (n BIGINT, word STRING) WITH ('connector' = 'iceberg', 'catalog-name' = 'hive', 'catalog-database' = 'lake', 'catalog-table' = 'numbers', 'warehouse' = 's3://lakehouse/'{options});
INSERT INTO numbers SELECT n, word FROM source;
"""
BY_HAND = ", 'lakeward.compaction.enabled' = 'false'"


class Numbers:
    """Produces numbers that count up, until it is stopped."""

    def __init__(self, server):
        self.sent, self.over = 0, False
        self.client = Producer({"bootstrap.servers": server.kafka, "enable.idempotence": True, "linger.ms": 5})
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.over:
            for _ in range(20):
                value = json.dumps({"n": self.sent, "word": f"number {self.sent}"})
                self.client.produce("numbers", value.encode(), partition=self.sent % PARTITIONS)
                self.sent += 1
            self.client.poll(0)
            time.sleep(0.05)
        assert self.client.flush(30) == 0

    def stop(self):
        self.over = True
        self.thread.join()
        return self.sent


def start(serve, folder, options, interval="300 ms"):
    server = serve(tables.mapping(folder), ["--commit-interval", interval])
    server.create_topic("numbers", PARTITIONS)
    script = folder / "numbers.sql"
    script.write_text(SCRIPT.format(options=options))
    server.ok("run", script, "--detach")
    return server


def files(server):
    return len(tables.load(server.catalog, TABLE).inspect.files())


def check(server, count):
    """DuckDB, PyIceberg and the audit agree: each number is there, once."""
    duck = tables.query(server.catalog, f"SELECT count(*), count(DISTINCT n), min(n), max(n) FROM ice.{TABLE}")
    assert duck == [(count, count, 0, count - 1)]
    assert tables.load(server.catalog, TABLE).scan().to_arrow().num_rows == count
    report = server.audit(TABLE)
    assert report["ok"] and report["totals"]["rows"] == count, report


def test_compactions_between_commits_and_kills(serve, folder):
    chance = random.Random(7)
    server = start(serve, folder, BY_HAND)
    numbers = Numbers(server)
    try:
        wait_until(lambda: tables.rows(server.catalog, TABLE) > 0, "the first commit")
        for _ in range(4):
            wait_until(lambda: files(server) > 6, "some small files")
            asked = subprocess.Popen([BINARY, "table", "compact", TABLE, "--server", server.ready["http"]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(chance.uniform(0.0, 0.12))
            server.kill()
            asked.wait()
            server.start()
            report = server.audit(TABLE)
            assert report["ok"], report
        # Undisturbed by kills, the pipeline goes on.
        wait_until(lambda: files(server) > 6, "some small files")
        done = server.json("table", "compact", TABLE)
        assert done["commits"] >= 1 and done["replaced"] > done["made"] > 0, done
        assert done["files_before"] > done["files_after"], done
    finally:
        count = numbers.stop()
    wait_until(lambda: tables.rows(server.catalog, TABLE) >= count, f"{count} rows")
    planned = server.json("table", "compact", TABLE, "--dry-run")
    assert planned["commits"] == 0 and planned["files_before"] == files(server), planned
    server.ok("table", "compact", TABLE)
    assert files(server) <= 6
    check(server, count)
    history = tables.load(server.catalog, TABLE)
    replaced = [one for one in history.snapshots() if one.summary.operation.value == "replace"]
    assert replaced and all(one.summary["lakeward.upkeep"] == "compaction" for one in replaced)
    # What a compaction replaced is still there for those who read the snapshot before it.
    parent = replaced[-1].parent_snapshot_id
    assert history.scan(snapshot_id=parent).to_arrow().num_rows == int(history.snapshot_by_id(parent).summary["total-records"])


def test_deletes_of_others_stay_deleted(serve, folder):
    server = start(serve, folder, BY_HAND)
    numbers = Numbers(server)
    first_ten = f"SELECT count(*) FROM ice.{TABLE} WHERE n < 10"
    try:
        wait_until(lambda: tables.exists(server.catalog, TABLE) and tables.query(server.catalog, first_ten) == [(10,)], "the first ten rows")
        # DuckDB does not try again when somebody else was faster.
        server.ok("pipeline", "stop", "numbers")
        hit = len(list(tables.load(server.catalog, TABLE).scan(row_filter="n < 10").plan_files()))
        tables.query(server.catalog, f"DELETE FROM ice.{TABLE} WHERE n < 10")
        server.ok("pipeline", "resume", "numbers")
        gone = files(server)
        wait_until(lambda: files(server) > gone + 6, "some small files")
        done = server.json("table", "compact", TABLE)
        # DuckDB's manifest does not say of which files its deletes are, the file of deletes does: all others are compacted.
        assert done["made"] > 0 and done["left_out"]["rows may be deleted"] == hit, done
    finally:
        count = numbers.stop()
    numbers_left = lambda: tables.query(server.catalog, f"SELECT count(*), min(n), max(n) FROM ice.{TABLE}")
    wait_until(lambda: numbers_left() == [(count - 10, 10, count - 1)], f"{count} rows without the first ten", every=0.5)
    server.ok("table", "compact", TABLE)
    assert numbers_left() == [(count - 10, 10, count - 1)]
    assert tables.load(server.catalog, TABLE).scan().to_arrow().num_rows == count - 10


def compacted(server):
    return tables.exists(server.catalog, TABLE) and any(one.summary.operation.value == "replace" for one in tables.load(server.catalog, TABLE).snapshots())


def test_a_server_keeps_its_tables_up_by_itself(serve, folder):
    server = start(serve, folder, "", "200 ms")
    numbers = Numbers(server)
    try:
        wait_until(lambda: compacted(server), "a compaction that nobody asked for")
    finally:
        count = numbers.stop()
    wait_until(lambda: tables.rows(server.catalog, TABLE) >= count, f"{count} rows")
    check(server, count)


class Everyone:
    """Others who change the table, each in a thread of its own, until all of them did what they are to do."""

    def __init__(self, server, seconds):
        self.server, self.until, self.did, self.failed = server, time.monotonic() + seconds, Counter(), []
        self.added, self.deleted = set(), set()
        self.wanted = {self.append: 5, self.delete: 3, self.compact: 2}

    def run(self, seconds=60):
        threads = [threading.Thread(target=self.again, args=(one,)) for one in self.wanted]
        deadline = time.monotonic() + seconds
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads) and not self.failed:
            assert time.monotonic() < deadline, f"only {self.did}"
            time.sleep(0.1)
        self.until = 0
        for thread in threads:
            thread.join()
        assert not self.failed, self.failed

    def again(self, one):
        chance = random.Random(one.__name__)
        try:
            while time.monotonic() < self.until or 0 < self.until and self.did[one.__name__] < self.wanted[one]:
                try:
                    one(chance)
                    self.did[one.__name__] += 1
                except (CommitFailedException, ValidationException, FileNotFoundError):  # others were faster, or so many that the snapshot has expired
                    self.did["conflicts"] += 1
        except BaseException as error:  # also an assertion: the main thread tells it
            self.failed.append(error)
            raise

    def append(self, chance):
        numbers = {-len(self.added) - 1, -len(self.added) - 2}
        rows = pyarrow.table({"n": pyarrow.array(numbers, pyarrow.int64()), "word": ["theirs"] * 2})
        tables.load(self.server.catalog, TABLE).append(rows)
        self.added |= numbers

    def delete(self, chance):
        """Copy on write, of a row of the pipeline or one that was added."""
        table = tables.load(self.server.catalog, TABLE)
        there = table.scan(selected_fields=("n",)).to_arrow()["n"].to_pylist()
        gone = chance.choice(sorted(there))
        table.delete(EqualTo("n", gone))
        self.deleted.add(gone)

    def compact(self, chance):
        done = self.server.run("table", "compact", TABLE, "-o", "json")
        report = json.loads(done.stdout)
        assert (done.returncode == 0) == (report["gave_up"] is None), report
        self.did["compactions"] += report["commits"]


def test_everyone_writes_one_table_at_once(serve, folder):
    """The pipeline, PyIceberg's appends and deletes, compactions and expiry: DuckDB finds each row that is to be there, once."""
    few = ", 'lakeward.snapshots.keep' = '10', 'lakeward.compaction.min-input-files' = '2'"
    server = start(serve, folder, few, "1 s")
    numbers = Numbers(server)
    try:
        wait_until(lambda: tables.rows(server.catalog, TABLE) > 0, "the first commit")
        everyone = Everyone(server, seconds=8)
        everyone.run()
    finally:
        count = numbers.stop()
    print(everyone.did)
    assert everyone.did["compactions"] > 0
    metadata = tables.load(server.catalog, TABLE).metadata
    assert len(metadata.snapshots) < metadata.last_sequence_number, "nothing has expired"
    expected = (set(range(count)) | everyone.added) - everyone.deleted
    found = lambda: [row[0] for row in tables.query(server.catalog, f"SELECT n FROM ice.{TABLE} ORDER BY n")]
    wait_until(lambda: len(found()) >= len(expected), f"{len(expected)} rows", every=0.5)
    assert found() == sorted(expected)
    pipeline = server.json("pipeline", "show", "numbers")
    assert pipeline["state"] == "running", pipeline
