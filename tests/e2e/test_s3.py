"""Tables in a store that speaks S3: every row once, whatever the store and the process do; nothing of the keys in any log."""
import json
import os
import shutil
import time

import pyarrow
import pytest
import requests
from pyiceberg.catalog import load_catalog

import inventory
import tables
from lakeward import REPOSITORY, wait_until
from s3_store import BUCKET, KEY, SECRET, Store

PIPELINE = REPOSITORY / "examples/inventory/inventory.sql"
TABLE = inventory.TABLE
PARTITIONS = 4
ROUND = 4000
KILLS = int(os.environ.get("LAKEWARD_E2E_S3_KILLS", 3))


@pytest.fixture
def store():
    with Store() as store:
        yield store


def begin(serve, store, *arguments, **more):
    server = serve(store.config(**more), ["--warehouse", f"s3://{BUCKET}/w", "--commit-interval", "500 ms", *arguments])
    server.ok("topic", "create", inventory.TOPIC, "--partitions", str(PARTITIONS))
    return server


def landed(server, count, seconds=60):
    wait_until(lambda: tables.rows(server.catalog, TABLE) == count, f"{count} rows", seconds)


def check(server, count):
    """DuckDB, PyIceberg, our own queries and the audit agree: each event is there, once."""
    numbers = f"SELECT count(*), count(DISTINCT quantity), min(quantity), max(quantity) FROM"
    assert tables.query(server.catalog, f"{numbers} ice.{TABLE}") == [(count, count, 0, count - 1)]
    found = tables.load(server.catalog, TABLE).scan(selected_fields=("quantity",)).to_arrow()
    assert sorted(found["quantity"].to_pylist()) == list(range(count))
    ours = json.loads(server.ok("sql", "-e", f"SELECT count(*) AS n, sum(quantity) AS total FROM {TABLE}", "-o", "json"))
    assert str(sum(range(count))) in json.dumps(ours)
    report = server.audit(TABLE)
    assert report["ok"] and report["totals"]["rows"] == count, report["totals"]
    assert report["totals"]["gaps"] == report["totals"]["duplicates"] == 0


def test_kills_and_a_bad_network_lose_and_double_nothing(serve, store, folder):
    server = begin(serve, store)
    server.ok("run", PIPELINE, "--detach")
    store.refuses, store.loses, store.slow = 0.03, 0.03, 0.005
    for kill in range(KILLS):
        inventory.send(server.kafka, range(kill * ROUND, (kill + 1) * ROUND), partitions=PARTITIONS)
        # Somewhere in the next commits.
        time.sleep(store.chance.uniform(0.2, 1.0))
        server.kill()
        server.start()
    landed(server, KILLS * ROUND, 60 + KILLS)
    assert min(store.met.values()) > 0, f"the network was too well: {store.met}"
    store.heal()
    check(server, KILLS * ROUND)
    assert store.uploads() == 0

    sent = KILLS * ROUND
    for _ in range(5):
        inventory.send(server.kafka, range(sent, sent + 100), partitions=PARTITIONS)
        sent += 100
        landed(server, sent)
    before = len(tables.load(server.catalog, TABLE).inspect.files())
    server.ok("table", "compact", TABLE)
    assert len(tables.load(server.catalog, TABLE).inspect.files()) < before
    check(server, sent)
    assert not list(folder.rglob("*.parquet")), "no data file is on the disk"
    log = server.log_text()
    assert SECRET not in log and KEY not in log


def test_a_store_that_is_down_is_waited_for_and_said(serve, store):
    server = begin(serve, store)
    server.ok("run", PIPELINE, "--detach")
    inventory.send(server.kafka, range(ROUND), partitions=PARTITIONS)
    landed(server, ROUND)
    store.down = True
    # The log takes records all the same.
    inventory.send(server.kafka, range(ROUND, 2 * ROUND), partitions=PARTITIONS)
    said = wait_until(lambda: f"cannot write s3://{BUCKET}" in (text := server.ok("pipeline", "show", "inventory", "-o", "json")) and text, "the pipeline says what it waits for", 40)
    assert SECRET not in said and KEY not in said, said
    store.down = False
    landed(server, 2 * ROUND, 90)
    check(server, 2 * ROUND)


def test_keys_are_lent_to_who_asks_and_only_where_the_operator_lends_them(serve, store):
    def told(server, asks):
        headers = {"X-Iceberg-Access-Delegation": "vended-credentials"} if asks else {}
        return requests.get(f"{server.catalog}/v1/namespaces/n/tables/t", headers=headers).text

    created = {"name": "t", "schema": {"type": "struct", "schema-id": 0, "fields": [{"id": 1, "name": "id", "required": False, "type": "long"}]}}
    server = serve(store.config(**{"lend-credentials": None}), ["--warehouse", f"s3://{BUCKET}/w"])
    requests.post(f"{server.catalog}/v1/namespaces", json={"namespace": ["n"]}).raise_for_status()
    requests.post(f"{server.catalog}/v1/namespaces/n/tables", json=created).raise_for_status()
    for asks in (False, True):
        text = told(server, asks)
        assert store.url in text and SECRET not in text and KEY not in text
    assert requests.get(f"{server.catalog}/v1/namespaces/n/tables/t/credentials").json() == {"storage-credentials": []}
    server.stop()
    server.config.write_text(store.config())
    server.start()
    assert SECRET not in told(server, False) and KEY not in told(server, False)
    assert SECRET in told(server, True)


def test_a_store_without_working_conditional_writes_is_refused(serve, store):
    store.unconditional = True
    with pytest.raises(AssertionError) as refused:
        serve(store.config(), ["--warehouse", f"s3://{BUCKET}/w"])
    assert "has no working conditional writes (If-None-Match)" in str(refused.value)
    assert SECRET not in str(refused.value)


def test_a_delta_table_in_a_store_is_refused_in_words(serve, store, folder):
    server = begin(serve, store)
    script = folder / "delta.sql"
    script.write_text("""
CREATE TABLE source (n BIGINT) WITH ('connector' = 'datagen', 'number-of-rows' = '1');
CREATE TABLE numbers (n BIGINT) WITH ('connector' = 'delta', 'table-path' = 's3://lakehouse/numbers');
INSERT INTO numbers SELECT n FROM source;
""")
    done = server.run("run", script, "--detach")
    assert done.returncode != 0
    assert "Delta tables are only written to local places yet" in done.stderr, done.stderr


def test_the_catalog_is_made_anew_when_its_data_folder_is_lost(serve, store):
    server = begin(serve, store)
    server.ok("run", PIPELINE, "--detach")
    inventory.send(server.kafka, range(ROUND), partitions=PARTITIONS)
    landed(server, ROUND)
    catalog = load_catalog("e2e", type="rest", uri=server.catalog)
    catalog.create_namespace("deep")
    catalog.create_namespace(("deep", "er"))
    rows = pyarrow.table({"n": [1, 2, 3]})
    theirs = catalog.create_table(("deep", "er", "theirs"), rows.schema)
    theirs.append(rows)
    theirs.append(rows)
    recover = ("catalog", "recover", f"s3://{BUCKET}/w", "--data-dir", server.data, "--config", server.config)
    assert "in use by process" in server.run(*recover).stderr
    server.kill()
    shutil.rmtree(server.data)

    with pytest.raises(AssertionError) as refused:
        server.start()
    assert "is the warehouse of another data folder" in str(refused.value)
    found = {one["name"]: one["outcome"] for one in json.loads(server.ok(*recover, "-o", "json"))["recovered"]}
    assert found == {TABLE: "taken in", "deep.er.theirs": "taken in"}
    assert "was there" in server.ok(*recover)
    server.start()
    numbers = "SELECT count(*), count(DISTINCT quantity), min(quantity), max(quantity) FROM"
    assert tables.query(server.catalog, f"{numbers} ice.{TABLE}") == [(ROUND, ROUND, 0, ROUND - 1)]
    theirs = tables.load(server.catalog, "deep.er.theirs")
    theirs.append(rows)
    assert sorted(theirs.scan().to_arrow()["n"].to_pylist()) == [1, 1, 1, 2, 2, 2, 3, 3, 3]
