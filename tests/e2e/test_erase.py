"""Erasure: the rows of a key leave a table, its branches, its snapshots and the disk while its pipeline goes on, over kill -9, and no replay brings them back."""
import json
import random
import subprocess
import time

import duckdb
from confluent_kafka import Producer

import tables
from lakeward import BINARY, wait_until

TABLE, TOPIC, PARTITIONS = "lake.people", "people", 2
SCRIPT = """
CREATE TABLE source (id BIGINT, name STRING, cents BIGINT) WITH ('connector' = 'kafka', 'topic' = 'people', 'properties.bootstrap.servers' = 'kafka-1:9092', 'properties.group.id' = 'g', 'scan.startup.mode' = 'earliest-offset', 'format' = 'json');
CREATE TABLE people (id BIGINT, name STRING, cents BIGINT) WITH ('connector' = 'iceberg', 'catalog-name' = 'hive', 'catalog-database' = 'lake', 'catalog-table' = 'people', 'warehouse' = 's3://lakehouse/');
INSERT INTO people SELECT id, name, cents FROM source WHERE cents <> 13;
"""
MAPPING = tables.MAPPING.replace('"kafka-1:9092,kafka-2:9092"', '"kafka-1:9092"')
KEY = "id IN (7, 11) AND name = 'ada'"
ERASED = "(id IN (7, 11) AND name = 'ada')"
NAMES = ("ada", "bob", "cyd")


class People:
    """Event n is at partition n % 2; each person has many."""

    def __init__(self, server):
        self.sent, self.over = 0, False
        self.client = Producer({"bootstrap.servers": server.kafka, "enable.idempotence": True, "linger.ms": 5})

    def send(self, count):
        for _ in range(count):
            n = self.sent
            value = {"id": n % 40, "name": NAMES[n // 40 % 3], "cents": n}
            self.client.produce(TOPIC, json.dumps(value).encode(), partition=n % PARTITIONS)
            self.sent += 1
        assert self.client.flush(60) == 0


def expected(count, where="true"):
    made = f"SELECT n % 40 AS id, ['ada', 'bob', 'cyd'][1 + n // 40 % 3] AS name, n AS cents FROM range({count}) AS t(n) WHERE n <> 13"
    return duckdb.sql(f"SELECT * FROM ({made}) WHERE {where} ORDER BY cents").fetchall()


def rows_of(server, ref="main"):
    """By PyIceberg."""
    table = tables.load(server.catalog, TABLE)
    scanned = table.scan(snapshot_id=table.metadata.refs[ref].snapshot_id).to_arrow()
    return duckdb.sql("SELECT id, name, cents FROM scanned ORDER BY cents").fetchall()


def on_disk(folder, where=ERASED):
    """How many rows of the key the Parquet files below the warehouse have, listed by anybody or not."""
    files = [str(file) for file in (folder / "warehouse").rglob("*.parquet") if not file.name.startswith(".")]
    assert files
    return duckdb.execute(f"SELECT count(*) FROM read_parquet(?) WHERE {where}", [files]).fetchone()[0]


def test_a_key_is_erased_from_table_branches_snapshots_and_disk(serve, folder):
    server = serve(MAPPING.format(warehouse=folder / "warehouse"), ["--commit-interval", "100 ms"])
    server.create_topic(TOPIC, PARTITIONS)
    (folder / "people.sql").write_text(SCRIPT)
    server.ok("run", folder / "people.sql", "--detach")
    people = People(server)
    for _ in range(4):
        people.send(600)
        wait_until(lambda: tables.rows(server.catalog, TABLE) == len(expected(people.sent)), "the events")
    of_branch = people.sent
    done = server.json("replay", TABLE, "--from", "people[0]@300,people[1]@500", "--branch", "fix")
    assert done["state"] == "finished"
    server.ok("table", "tag", TABLE, "monthly")
    people.send(40)
    wait_until(lambda: tables.rows(server.catalog, TABLE) == len(expected(people.sent)), "more events")
    first = people.sent

    # It is looked at first, and what is no key is refused with its place.
    erase = ["table", "erase", TABLE, "--where", KEY]
    count = len(expected(first, ERASED))
    told = server.ok(*erase)
    assert f"{count} in main" in told and "tag monthly" in told, told
    assert len(rows_of(server)) == len(expected(first)) and on_disk(folder) > 0
    refused = server.run("table", "erase", TABLE, "--where", "id > 7", "--execute")
    assert refused.returncode == 1 and "= or IN is expected, and not '>', at character 4" in refused.stderr, refused.stderr
    refused = server.run("table", "erase", TABLE, "--where", "uid = 7", "--execute")
    assert refused.returncode == 1 and "has no column 'uid' (it has id, name, cents)" in refused.stderr, refused.stderr

    # Typed again after each kill, while the server goes on by itself too.
    environment = {"LAKEWARD_SERVER": server.ready["http"], "NO_COLOR": "1", "PATH": "/usr/bin:/bin"}
    dice = random.Random(5)
    for _ in range(4):
        typed = subprocess.Popen([BINARY, *erase, "--and-tags", "--execute"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(dice.uniform(0.01, 0.25))
        server.kill()
        typed.wait(60)
        server.start()
    done = server.run(*erase, "--and-tags", "--execute", "-o", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["left"] == [], done.stdout

    left = expected(first, f"NOT {ERASED}")
    in_branch = expected(of_branch, f"NOT {ERASED}")
    assert rows_of(server) == left and rows_of(server, "fix") == in_branch
    assert tables.query(server.catalog, f"SELECT id, name, cents FROM ice.{TABLE} ORDER BY cents") == left
    assert tables.query(server.catalog, f"SELECT count(*) FROM ice.{TABLE} AT (VERSION => {tables.load(server.catalog, TABLE).metadata.refs['fix'].snapshot_id})") == [(len(in_branch),)]
    assert on_disk(folder) == 0
    assert "monthly" not in tables.load(server.catalog, TABLE).metadata.refs
    metadata = tables.load(server.catalog, TABLE).metadata
    assert "ada" not in metadata.properties["lakeward.erased"] and json.loads(metadata.properties["lakeward.erased"])[0]["stage"] == "done"
    for snapshot in metadata.snapshots:
        scanned = tables.load(server.catalog, TABLE).scan(snapshot_id=snapshot.snapshot_id).to_arrow()
        assert duckdb.sql(f"SELECT count(*) FROM scanned WHERE {ERASED}").fetchone() == (0,)

    # The audit knows them as erased, and new rows of the same key are new.
    report = server.audit(TABLE)
    assert report["ok"] and report["totals"]["erased"] == count, report
    people.send(600)
    new = expected(people.sent, f"NOT {ERASED} OR cents >= {first}")
    wait_until(lambda: tables.rows(server.catalog, TABLE) == len(new), "new events")
    assert rows_of(server) == new and len(expected(people.sent, f"{ERASED} AND cents >= {first}")) > 0

    # Neither a replay nor a rewind of the table brings them back.
    server.ok("pipeline", "drop", "lake.people@fix")
    server.ok("table", "branch", TABLE, "fix", "--drop")
    assert server.json("replay", TABLE, "--from", "beginning", "--branch", "all")["state"] == "finished"
    assert rows_of(server, "all") == new
    snapshots = sorted(tables.load(server.catalog, TABLE).metadata.snapshots, key=lambda one: one.sequence_number)
    erasure = next(one for one in snapshots if one.summary.additional_properties.get("lakeward.upkeep") == "erasure" and "lakeward.branch" not in one.summary.additional_properties)
    server.ok("table", "rollback", TABLE, "--to", erasure.snapshot_id, "--execute")
    people.send(40)
    new = expected(people.sent, f"NOT {ERASED} OR cents >= {first}")
    paused = lambda: server.json("pipeline", "show", "people")["jobs"][0]["state"] == "paused"
    wait_until(paused, "the pipeline pauses")
    server.ok("pipeline", "resume", "people", "--rewind")
    wait_until(lambda: tables.rows(server.catalog, TABLE) == len(new), "all of it, once")
    assert rows_of(server) == new
    report = server.audit(TABLE)
    assert report["ok"] and report["totals"]["erased"] == count, report
    assert on_disk(folder, f"{ERASED} AND cents < {first}") == 0


def test_dead_letters_that_may_be_of_a_key_are_named_and_erased_by_their_places(serve, folder):
    server = serve(MAPPING.format(warehouse=folder / "warehouse"), ["--commit-interval", "100 ms"])
    server.create_topic(TOPIC, 1)
    (folder / "people.sql").write_text(SCRIPT)
    server.ok("run", folder / "people.sql", "--detach")
    client = Producer({"bootstrap.servers": server.kafka})
    for value in (b'{"id": 7, "name": "zora", "cents": 1}', b'{"id": 7, "name": "zora", "cents": "much"}', b'{"id": 8, "name": "bob", "cents": "much"}', b'{"id": 8, "name": "bob", "cents": 2}'):
        client.produce(TOPIC, value)
    assert client.flush(30) == 0
    letters = f"{TABLE}__dead_letters"
    wait_until(lambda: tables.rows(server.catalog, letters) == tables.rows(server.catalog, TABLE) == 2, "two rows and two letters")
    said = lambda: sum(b"zora" in file.read_bytes() for file in (folder / "warehouse").rglob("*") if file.is_file())
    assert said() > 0, "manifests have bounds of columns"
    erase = ["table", "erase", TABLE, "--where", KEY.replace("ada", "zora"), "--execute"]
    by_place = "topic = 'people' AND partition = 0 AND offset IN (1)"
    done = server.run(*erase)
    assert done.returncode == 1 and f'lakeward table erase {letters} --where "{by_place}" --execute' in done.stderr, done.stderr
    server.ok("table", "erase", letters, "--where", by_place, "--execute")
    server.ok(*erase)
    assert [letter["offset"] for letter in server.json("dlq", "show", TABLE)] == [2]
    assert [row[1] for row in rows_of(server)] == ["bob"]
    report = server.audit(TABLE)
    assert report["ok"] and (report["totals"]["erased"], report["totals"]["dead_letters"], report["totals"]["rows"]) == (2, 1, 1), report
    assert said() == 0
