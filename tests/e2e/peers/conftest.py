"""Fixtures of the cases that put the real Apache Flink on our servers: slow, and asked for with `cargo xtask e2e --peers`."""
import json
import shutil
import subprocess
import sys
from collections import Counter

import pytest

import inventory
import tables
from flink import Flink
from lakeward import REPOSITORY, wait_until
from sessions import SparkSession
from test_crash import read_log

PIPELINE = REPOSITORY / "examples/inventory/inventory.sql"
PARTITIONS = 4
READERS = REPOSITORY / "tests/peers/readers"


@pytest.fixture
def flink(folder):
    for program in ("java", "javac", "mvn"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed: Apache Flink was not run")
    return Flink(folder)


@pytest.fixture
def kafka(folder):
    """The address of a real Apache Kafka."""
    for program in ("java", "mvn"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed: Apache Kafka was not run")
    command, place = str(REPOSITORY / "tests/peers/kafka/kafka"), folder / "kafka"
    subprocess.run([command, "up", str(place), "--port", "0"], check=True)
    yield (place / "bootstrap").read_text().strip()
    subprocess.run([command, "down", str(place)], check=True)


@pytest.fixture
def spark_on():
    """spark_on(server) gives a function: of a script the rows that its statements print, or why it failed."""
    for program in ("java", "mvn"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed: Apache Spark was not run")

    def on(server):
        def run(script, *options):
            command = [str(READERS / "spark"), "sql", "--catalog", server.catalog, *options, script]
            done = subprocess.run(command, capture_output=True, text=True, timeout=900)
            return [json.loads(line) for line in done.stdout.splitlines()] if done.returncode == 0 else done.stderr

        return run

    return on


@pytest.fixture
def spark_session(spark_on):
    """spark_session(server) starts a Spark that stays until the test ends."""
    started = []

    def on(server):
        started.append(SparkSession(server))
        return started[-1]

    yield on
    for session in started:
        session.end()


class Trino:
    """A Trino on a server's catalog: called with a script, it gives the rows that its statements print, or why it failed."""

    def __init__(self, place, server):
        self.command, self.place = str(READERS / "trino"), str(place)
        subprocess.run([self.command, "up", self.place, "--catalog", server.catalog], check=True, timeout=900)
        self.up = True

    def __call__(self, script):
        done = subprocess.run([self.command, "sql", self.place, script], capture_output=True, text=True, timeout=600)
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")] if done.returncode == 0 else done.stderr

    def down(self):
        if self.up:
            subprocess.run([self.command, "down", self.place], check=True)
        self.up = False


@pytest.fixture
def trino_on(folder):
    """trino_on(server) starts a Trino, which ends with the test."""
    for program in ("java", "mvn", "curl"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed: Trino was not run")
    started = []

    def on(server):
        started.append(Trino(folder / "trino", server))
        return started[-1]

    yield on
    for trino in started:
        trino.down()


class Live:
    """A server whose pipeline commits each second what a producer sends all the time, about a hundred events a second."""

    def __init__(self, serve, folder):
        self.server = serve(tables.mapping(folder), ["--commit-interval", "1 s"])
        self.server.create_topic(inventory.TOPIC, PARTITIONS)
        self.server.ok("run", PIPELINE, "--detach")
        command = [sys.executable, str(REPOSITORY / "tests/e2e/load.py"), self.server.kafka, inventory.TOPIC, str(PARTITIONS), str(folder / "acked"), "100"]
        self.load = subprocess.Popen(command)
        wait_until(lambda: tables.rows(self.server.catalog, inventory.TABLE) > 0, "the first commit")

    def sent(self):
        """Ends the producer: the numbers of all events that are in the log, each of them once."""
        self.load.terminate()
        assert self.load.wait(90) == 0
        sent = Counter(read_log(self.server.kafka, inventory.TOPIC, PARTITIONS).values())
        assert max(sent.values()) == 1
        return sent

    def held(self):
        """The numbers of the events that are in the table."""
        rows = tables.query(self.server.catalog, f"SELECT quantity FROM ice.{inventory.TABLE} WHERE sku LIKE 'SKU-%'")
        return Counter(row[0] for row in rows)

    def settle(self):
        """Ends the producer, and checks that every event that was sent is in the table once."""
        sent = self.sent()
        wait_until(lambda: self.held().total() >= sent.total(), "all events in the table")
        assert self.held() == sent
        return sent.total()


@pytest.fixture
def live(serve, folder):
    live = Live(serve, folder)
    yield live
    if live.load.poll() is None:
        live.load.kill()
        live.load.wait()
