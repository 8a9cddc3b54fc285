"""The systems that a benchmark compares, started alike: Lakeward, and Apache Kafka as shipped or flushing every append.

A figure without the other side's, measured in the same run on the same machine, says nothing: hosts are noisy. So every
benchmark alternates the sides round by round, and reports best and median of each, CPU seconds (user + system of all of a
side's processes) beside wall seconds.
"""
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

from lakeward import REPOSITORY, Server  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")
KAFKA = REPOSITORY / "tests/peers/kafka/kafka"
FLINK = REPOSITORY / "tests/peers/flink/flink"
CATALOG = REPOSITORY / "tests/peers/readers/catalog"


def cpu_seconds(pid):
    """User + system time of a process, all its threads, and the children that it has waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(int(fields[at]) for at in (11, 12, 13, 14)) / TICKS


def resident_mib(pid):
    return int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0]) / 1024


class Lakeward:
    name = "lakeward"

    def __init__(self, folder, config="", arguments=()):
        self.server = Server(Path(folder) / self.name, config, arguments)

    def start(self):
        self.server.start(120)
        self.ready_ms = self.server.ready_seconds * 1000

    @property
    def bootstrap(self):
        return self.server.kafka

    @property
    def pid(self):
        return self.server.pid

    def kill(self):
        self.server.kill()

    def stop(self):
        if self.server.process is not None and self.server.alive():
            self.server.stop()


class Kafka:
    def __init__(self, folder, fsync=False):
        self.name = "kafka fsync" if fsync else "kafka"
        self.folder = Path(folder) / self.name.replace(" ", "-")
        self.arguments = ["--fsync"] if fsync else []

    def start(self):
        subprocess.run([str(KAFKA), "up", str(self.folder), "--port", "0", "--set", "group.initial.rebalance.delay.ms=0", *self.arguments],
                       check=True, stderr=subprocess.DEVNULL)
        self.ready_ms = float((self.folder / "ready_ms").read_text())

    @property
    def bootstrap(self):
        return (self.folder / "bootstrap").read_text().strip()

    @property
    def pid(self):
        return int((self.folder / "pid").read_text())

    def kill(self):
        subprocess.run([str(KAFKA), "kill9", str(self.folder)], check=True)

    def stop(self):
        if (self.folder / "pid").exists():
            subprocess.run([str(KAFKA), "down", str(self.folder)], check=False, stderr=subprocess.DEVNULL)


class ReferenceCatalog:
    """Iceberg's own REST catalog: its test server, over SQLite."""
    name = "reference"

    def __init__(self, folder):
        self.folder = Path(folder) / self.name

    def start(self):
        out = subprocess.run([str(CATALOG), "up", str(self.folder)], check=True, stdout=subprocess.PIPE, text=True)
        self.catalog = out.stdout.strip()

    @property
    def pid(self):
        return int((self.folder / "pid").read_text())

    def stop(self):
        if (self.folder / "pid").exists():
            subprocess.run([str(CATALOG), "down", str(self.folder)], check=False)


class Sides:
    """All of them up in a temporary folder, ended and removed at the end."""

    def __init__(self, *makers):
        self.folder = Path(tempfile.mkdtemp(prefix="lakeward-bench-"))
        self.all = [make(self.folder) for make in makers]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for side in self.all:
            side.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class Measured:
    """Wall seconds and CPU seconds of a block, of a server and of this process."""

    def __init__(self, *pids):
        self.pids = pids

    def __enter__(self):
        self.before = [cpu_seconds(pid) for pid in self.pids], time.process_time()
        self.begun = time.perf_counter()
        return self

    def __exit__(self, *_):
        self.seconds = time.perf_counter() - self.begun
        servers, client = self.before
        self.server_cpu = sum(cpu_seconds(pid) for pid in self.pids) - sum(servers)
        self.client_cpu = time.process_time() - client


def print_machine():
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True).stdout.strip()
    print(f"commit {commit}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {os.uname().sysname} {os.uname().release}")


def report(unit, results, last="client CPU s"):
    """results: side → list of (units, wall s, server CPU s, client CPU s). Prints a table and the ratios to the others; the medians."""
    print(f"\n{'':14} {'best':>12} {'median':>12} {unit}/s   {'per server CPU s':>18} {'server CPU s':>13} {last:>18}")
    summary = {}
    for side, rounds in results.items():
        rates = [units / wall for units, wall, _, _ in rounds]
        per_cpu = [units / max(cpu, 1 / TICKS) for units, _, cpu, _ in rounds]
        server, client = statistics.median(r[2] for r in rounds), statistics.median(r[3] for r in rounds)
        summary[side] = {"best": max(rates), "median": statistics.median(rates), "per_server_cpu_s": statistics.median(per_cpu),
                         "server_cpu_s": server, "client_cpu_s": client}
        print(f"{side:14} {max(rates):12,.0f} {statistics.median(rates):12,.0f} {'':{len(unit) + 2}}   {statistics.median(per_cpu):18,.0f} {server:13.2f} {client:18.2f}")
    ours = summary.get("lakeward")
    for side, figures in summary.items():
        if ours and side != "lakeward":
            print(f"lakeward / {side}: {ours['median'] / figures['median']:.2f} in {unit}/s, {ours['per_server_cpu_s'] / figures['per_server_cpu_s']:.2f} per server CPU second")
    print(json.dumps(summary))
    return summary
