"""Iceberg REST catalogs, from both sides: ours asked by unmodified engines (the cases of catalog_readers.py, which also runs
alone), and Apache Iceberg's own reference catalog written to by our pipelines."""
import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter

import catalog_readers
import inventory
import pytest
import tables
from lakeward import BINARY, REPOSITORY, wait_until
from test_crash import read_log

SLOW = [catalog_readers.spark_reads_and_writes, catalog_readers.trino_reads_and_writes]
CASES = catalog_readers.CASES + (SLOW if os.environ.get("LAKEWARD_E2E_READERS") == "all" else [])
PIPELINE = REPOSITORY / "examples/inventory/inventory.sql"
KILLS = int(os.environ.get("LAKEWARD_E2E_KILLS", 20))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_catalog(server, case):
    context = argparse.Namespace(catalog=server.catalog, http=catalog_readers.Http(server.catalog))
    catalog_readers.pyice(context).create_namespace("case")
    case(context, "case")


class ReferenceCatalog:
    """Apache Iceberg's REST catalog, with a warehouse of its own."""

    def __init__(self, folder):
        self.folder = folder
        self.uri = None

    def script(self, *arguments):
        command = [str(tables.READERS / "catalog"), *map(str, arguments)]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=600).stdout

    def up(self):
        port = ["--port", self.uri.rsplit(":", 1)[1]] if self.uri else []
        self.uri = self.script("up", self.folder, *port).strip().splitlines()[-1]
        return self

    def down(self):
        self.script("down", self.folder)

    @property
    def pid(self):
        return int((self.folder / "pid").read_text())


@pytest.fixture
def reference(folder):
    for program in ("java", "javac", "mvn"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed: Apache Iceberg's own REST catalog was not run")
    catalog = ReferenceCatalog(folder / "reference")
    yield catalog.up()
    catalog.down()


def elsewhere(catalog):
    """The article's names, with its catalog mapped to another server's."""
    return f'''
[bootstrap]
"kafka-1:9092,kafka-2:9092" = "embedded"
[catalogs]
hive = {{ uri = "{catalog.uri}" }}
'''


def quantities(catalog, table=inventory.TABLE):
    """The `quantity` of every row, by PyIceberg."""
    return Counter(tables.load(catalog.uri, table).scan(selected_fields=("quantity",)).to_arrow()["quantity"].to_pylist())


def test_the_articles_script_lands_in_another_rest_catalog(serve, folder, reference):
    server = serve(elsewhere(reference), ["--commit-interval", "300 ms"])
    server.create_topic(inventory.TOPIC, 4)
    inventory.send(server.kafka, range(0, 500), partitions=4)
    client = inventory.producer(server.kafka)
    client.produce(inventory.TOPIC, value=b"\x07 no event", partition=1)
    assert client.flush(10) == 0
    server.ok("run", PIPELINE, "--detach")
    wait_until(lambda: tables.rows(reference.uri, inventory.TABLE) == 500, "500 rows in the other catalog")
    wait_until(lambda: tables.rows(reference.uri, inventory.TABLE + "__dead_letters") == 1, "the dead letter beside them")
    inventory.send(server.kafka, range(500, 700), partitions=4)
    wait_until(lambda: tables.rows(reference.uri, inventory.TABLE) == 700, "the next commits")
    assert quantities(reference) == Counter(range(700))
    assert not tables.exists(server.catalog, inventory.TABLE), "nothing of it is in the embedded catalog"

    report = server.audit(inventory.TABLE)
    assert report["ok"] and report["totals"]["rows"] == 700 and report["totals"]["dead_letters"] == 1
    (letter,) = server.json("dlq", "show", inventory.TABLE)
    assert letter["topic"] == inventory.TOPIC, letter
    for name in (inventory.TABLE, f"hive.{inventory.TABLE}"):
        answer = server.json("sql", "-e", f"SELECT count(*), sum(quantity) FROM {name}")
        assert answer["rows"] == [[700, sum(range(700))]], name
    covered = server.json("sql", "-e", f'SELECT sum("end" - "start") FROM {inventory.TABLE}$offsets')
    assert covered["rows"] == [[701]]
    missing = server.run("sql", "-e", f"SELECT * FROM embedded.{inventory.TABLE}")
    assert missing.returncode == 1 and f"table 'embedded.{inventory.TABLE}' not found" in missing.stderr
    shown = server.json("table", "show", inventory.TABLE)
    assert shown["location"].startswith(f"file://{reference.folder}/warehouse") or shown["location"].startswith(f"file:{reference.folder}/warehouse")

    server.stop()
    server.start()
    inventory.send(server.kafka, range(700, 800), partitions=4)
    wait_until(lambda: tables.rows(reference.uri, inventory.TABLE) == 800, "the events after a restart")
    assert server.audit(inventory.TABLE)["ok"]


def test_kill_9_under_load_loses_and_doubles_nothing_in_another_catalog(serve, folder, reference):
    server = serve(elsewhere(reference), ["--commit-interval", "200 ms"])
    server.create_topic(inventory.TOPIC, 6)
    server.ok("run", PIPELINE, "--detach")
    acked_file = folder / "acked"
    load = subprocess.Popen([sys.executable, str(REPOSITORY / "tests/e2e/load.py"), server.kafka, inventory.TOPIC, "6", str(acked_file), "2000"])
    try:
        for kill in range(min(KILLS, 6)):
            before = tables.rows(reference.uri, inventory.TABLE)
            wait_until(lambda: tables.rows(reference.uri, inventory.TABLE) > before, f"a commit before kill {kill}")
            server.kill()
            server.start()
            report = server.audit(inventory.TABLE)
            assert report["ok"], f"audit after kill {kill}: {report}"
        load.terminate()
        assert load.wait(90) == 0
    finally:
        if load.poll() is None:
            load.kill()
            load.wait()
    in_log = Counter(read_log(server.kafka, inventory.TOPIC, 6).values())
    acked = {int(line.split()[0]) for line in acked_file.read_text().splitlines()}
    assert len(acked) > 500 and acked <= set(in_log)
    wait_until(lambda: tables.rows(reference.uri, inventory.TABLE) >= in_log.total(), "all rows", seconds=60)
    assert quantities(reference) == in_log and max(in_log.values()) == 1
    report = server.audit(inventory.TABLE)
    assert report["ok"] and report["totals"]["rows"] == in_log.total()


def healthy(server):
    begun = time.monotonic()
    with urllib.request.urlopen(server.ready["http"] + "/healthz", timeout=10) as answer:
        assert answer.status == 200 and json.loads(answer.read()) == {"status": "ok"}
    assert time.monotonic() - begun < 5
    return True


def complaint(server):
    """What the pipeline says is wrong."""
    job = server.json("pipeline", "show", "inventory")["jobs"][0]
    return job.get("error") or job["last_error"] or ""


def test_a_catalog_that_is_down_or_hangs_is_waited_for(serve, folder, reference):
    server = serve(elsewhere(reference), ["--commit-interval", "200 ms"])
    server.create_topic(inventory.TOPIC, 2)
    inventory.send(server.kafka, range(0, 100), partitions=2)
    server.ok("run", PIPELINE, "--detach")
    wait_until(lambda: tables.rows(reference.uri, inventory.TABLE) == 100, "the first rows")

    reference.down()
    inventory.send(server.kafka, range(100, 200), partitions=2)
    wait_until(lambda: f"no answer from {reference.uri}" in complaint(server), "a state that says why")
    assert healthy(server)
    asked = server.run("sql", "-e", f"SELECT count(*) FROM {inventory.TABLE}")
    assert asked.returncode == 1 and f"no answer from {reference.uri}" in asked.stderr
    submitted = folder / "second.sql"
    submitted.write_text(PIPELINE.read_text().replace("inventory_events", "other_events"))
    refused = server.run("run", submitted, "--detach")
    assert refused.returncode == 1 and f"no answer from {reference.uri}" in refused.stderr
    # It comes back while the server was killed meanwhile: nothing depends on the catalog to start.
    server.kill()
    server.start()
    assert healthy(server)
    reference.up()
    wait_until(lambda: tables.rows(reference.uri, inventory.TABLE) == 200, "the rows that waited", seconds=60)

    os.kill(reference.pid, signal.SIGSTOP)
    try:
        inventory.send(server.kafka, range(200, 300), partitions=2)
        wait_until(lambda: server.json("pipeline", "show", "inventory")["jobs"][0]["records_in"] >= 100, "the records are read")
        assert healthy(server)
    finally:
        os.kill(reference.pid, signal.SIGCONT)
    wait_until(lambda: tables.rows(reference.uri, inventory.TABLE) == 300, "the rows that hung", seconds=60)
    assert quantities(reference) == Counter(range(300))
    assert server.audit(inventory.TABLE)["ok"]


def test_a_script_can_name_a_rest_catalog_itself_but_no_secrets(serve, folder, reference):
    server = serve(elsewhere(reference).replace(reference.uri, "http://127.0.0.1:9"), ["--commit-interval", "200 ms"])
    server.create_topic("orders", 1)
    client = inventory.producer(server.kafka)
    for number in range(10):
        client.produce("orders", json.dumps({"id": number}).encode())
    assert client.flush(10) == 0
    script = f"""
CREATE TABLE orders (id INT) WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'kafka-1:9092,kafka-2:9092', 'scan.startup.mode' = 'earliest-offset', 'format' = 'json');
CREATE TABLE shop.orders (id INT) WITH ('connector' = 'iceberg', 'catalog-name' = 'hive', 'catalog-type' = 'rest', 'uri' = '{reference.uri}', 'warehouse' = 'any' MORE);
INSERT INTO shop.orders SELECT id FROM orders;
"""
    path = folder / "orders.sql"
    path.write_text(script.replace("MORE", ", 'credential' = 'id:secret'"))
    refused = server.run("run", path, "--detach")
    assert refused.returncode == 1
    assert "option 'credential' is the catalog's, not the table's" in refused.stderr and "under [catalogs] in lakeward.toml" in refused.stderr
    path.write_text(script.replace("MORE", ""))
    server.ok("run", path, "--detach")
    # The address in the script wins over the one that the name has in lakeward.toml.
    wait_until(lambda: tables.rows(reference.uri, "shop.orders") == 10, "ten orders")
    assert server.audit("shop.orders")["ok"]
    assert server.json("sql", "-e", "SELECT max(id) FROM shop.orders")["rows"] == [[9]]


def test_an_entry_that_no_catalog_understands_is_refused_at_the_start(folder):
    config = folder / "lakeward.toml"
    config.write_text('[catalogs]\nlake = { uri = "http://127.0.0.1:9", tokn = "x" }\n')
    done = subprocess.run([BINARY, "up", "--config", str(config), "--data-dir", str(folder / "data")], capture_output=True, text=True, timeout=30)
    assert done.returncode != 0
    assert "[catalogs] lake" in done.stderr and "a REST catalog has no property 'tokn'; did you mean 'token'?" in done.stderr
