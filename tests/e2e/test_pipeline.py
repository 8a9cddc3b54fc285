"""The article's pipeline, verbatim: a million bare Avro events, 48 partitions, one Iceberg table that every reader agrees on."""
import os
import re
import subprocess

import pytest

import article
import inventory
import tables
from lakeward import REPOSITORY, wait_until

PIPELINE = REPOSITORY / "examples/inventory/inventory.sql"
EVENTS = int(os.environ.get("LAKEWARD_E2E_EVENTS", 1_000_000))


def test_the_example_is_the_articles_script_word_for_word():
    script = re.sub(r"--[^\n]*", "", PIPELINE.read_text())
    assert script.split() == article.SCRIPT.split(), "examples/inventory/inventory.sql differs from the article"


@pytest.fixture
def trino(folder, request):
    """A Trino on a catalog, when all readers are asked for."""
    started = []

    def start(catalog):
        if os.environ.get("LAKEWARD_E2E_READERS") != "all":
            return None
        place = folder / "trino"
        subprocess.run([str(tables.READERS / "trino"), "up", str(place), "--catalog", catalog], check=True, timeout=600)
        started.append(place)
        return place

    yield start
    for place in started:
        subprocess.run([str(tables.READERS / "trino"), "down", str(place)], check=True)


def test_the_articles_script_lands_every_event_once(serve, folder, kafka_tools, trino):
    server = serve(tables.mapping(folder), ["--commit-interval", "2 s"])
    kafka_tools.ok(server.kafka, "topics", *article.create_topic_arguments())
    acked = inventory.send(server.kafka, range(EVENTS))
    assert len(acked) == EVENTS
    server.ok("run", PIPELINE, "--detach")
    wait_until(lambda: tables.rows(server.catalog, inventory.TABLE) >= EVENTS, f"{EVENTS} rows in the table", seconds=240)

    report = server.audit(inventory.TABLE, seconds=300)
    assert report["ok"], report["totals"]
    assert report["table"] == inventory.TABLE and report["kind"] == "append"
    assert len(report["partitions"]) == 48
    for partition in report["partitions"]:
        parts = ("rows", "filtered", "late", "dead_letters", "control", "open", "unverified", "gaps")
        assert partition["end"] - partition["start"] == sum(partition[name] for name in parts), partition
    assert report["totals"]["rows"] == EVENTS
    assert report["totals"]["duplicates"] == 0 and report["totals"]["gaps"] == 0

    counted = tables.query(server.catalog, f"SELECT count(*), count(DISTINCT quantity), min(quantity), max(quantity) FROM ice.{inventory.TABLE}")
    assert counted == [(EVENTS, EVENTS, 0, EVENTS - 1)]
    answers = tables.check(server.catalog, inventory.TABLE, trino(server.catalog))
    assert all(f'"rows": {EVENTS}' in line for line in answers.splitlines())

    group = "lakeward-inventory"
    wait_until(lambda: set(kafka_tools.lags(server.kafka, group).values()) == {"0"}, "kafka-consumer-groups shows no lag", seconds=60)
    assert len(kafka_tools.lags(server.kafka, group)) == 48


def test_events_that_come_later_land_too_and_survive_a_restart(serve, folder):
    server = serve(tables.mapping(folder), ["--commit-interval", "500 ms"])
    server.ok("topic", "create", inventory.TOPIC, "--partitions", "4")
    inventory.send(server.kafka, range(0, 500), partitions=4)
    server.ok("run", PIPELINE, "--detach")
    wait_until(lambda: tables.rows(server.catalog, inventory.TABLE) == 500, "the first events")
    server.stop()
    server.start()
    inventory.send(server.kafka, range(500, 1200), partitions=4)
    wait_until(lambda: tables.rows(server.catalog, inventory.TABLE) == 1200, "the events after the restart")
    assert tables.quantities(server.catalog, inventory.TABLE) == list(range(1200))
    assert server.audit(inventory.TABLE)["totals"]["rows"] == 1200


def test_batch_sql_reads_the_table(serve, folder):
    server = serve(tables.mapping(folder), ["--commit-interval", "500 ms"])
    server.ok("topic", "create", inventory.TOPIC, "--partitions", "2")
    inventory.send(server.kafka, range(100), partitions=2)
    server.ok("run", PIPELINE, "--detach")
    wait_until(lambda: tables.rows(server.catalog, inventory.TABLE) == 100, "100 rows")
    answer = server.ok("sql", "-e", f"SELECT count(*) AS n, sum(quantity) AS total FROM {inventory.TABLE}", "-o", "json")
    assert '100' in answer and str(sum(range(100))) in answer
