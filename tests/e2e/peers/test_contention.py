"""Four engines, a hundred commits each, into the one table that a pipeline fills each second, while it is compacted by everybody who can: of what
anyone was told that it is committed, nothing is lost or doubled, and nothing is there that nobody was told of. `LAKEWARD_E2E_RUNS=5` does it five times,
`LAKEWARD_E2E_COMMITS=10` with fewer commits, `LAKEWARD_E2E_ENGINES=duckdb,pyiceberg` without Java.
"""
import json
import os
import threading
import time
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

import inventory
import tables
from ledger import COLUMNS, COMMITS, Ledger, PyIceberg, Sql, compared, of_the_log
from sessions import TrinoSession

RUNS = int(os.environ.get("LAKEWARD_E2E_RUNS", 1))
ENGINES = os.environ.get("LAKEWARD_E2E_ENGINES", "duckdb,pyiceberg,spark,trino").split(",")
TABLE = inventory.TABLE
# As for a table that many write: who is not first tries again for longer, and reads few manifests each time. Snapshots go, those of others too.
PROPERTIES = {
    "commit.retry.num-retries": "20", "commit.retry.min-wait-ms": "20", "commit.retry.max-wait-ms": "500", "commit.manifest.min-count-to-merge": "20", "write.distribution-mode": "none",
    "lakeward.snapshots.keep": "20", "history.expire.max-snapshot-age-ms": "60000", "history.expire.min-snapshots-to-keep": "20",
}
FRESH_SECONDS = 10
# So often each of those compacts that can.
COMPACT_SECONDS = 15


class Watch:
    """Looks at the table each second, and at the pipeline: how old the pipeline's newest commit is, whether it runs, which snapshots there are."""

    def __init__(self, server):
        self.server, self.over = server, threading.Event()
        self.ages, self.states, self.kinds, self.kept = [], Counter(), {}, []

    def look(self):
        with urllib.request.urlopen(f"{self.server.catalog.rstrip('/')}/v1/namespaces/lakehouse/tables/inventory_events", timeout=30) as reply:
            metadata = json.loads(reply.read())["metadata"]
        commits = [it for it in metadata["snapshots"] if "lakeward.offsets" in it["summary"]]
        self.ages.append(time.time() - max(it["timestamp-ms"] for it in commits) / 1000)
        self.kept.append(len(metadata["snapshots"]))
        for it in metadata["snapshots"]:
            ours = "pipeline" if "lakeward.offsets" in it["summary"] else "our compaction" if "lakeward.upkeep" in it["summary"] else it["summary"]["operation"]
            self.kinds[it["snapshot-id"]] = ours

    def run(self):
        while not self.over.wait(1):
            self.look()
            if len(self.ages) % 4 == 0:
                self.states[self.server.json("pipeline", "show", "inventory")["state"]] += 1

    def figures(self):
        ages = sorted(self.ages)
        return {
            "seconds since the pipeline's newest commit": {"median": round(ages[len(ages) // 2], 2), "p99": round(ages[len(ages) * 99 // 100], 2), "most": round(ages[-1], 2)},
            "states": dict(self.states), "snapshots seen": dict(Counter(self.kinds.values())), "most snapshots kept": max(self.kept),
        }


class Compactions:
    """Everybody who can compact the table does, in turn. Each may be refused, when others were faster."""

    def __init__(self, server, spark, trino):
        self.over, self.did = threading.Event(), Counter()
        turns = {
            "spark": lambda: spark(f"CALL ice.system.rewrite_data_files(table => '{TABLE}', options => map('min-input-files', '2'))"),
            "trino": lambda: trino(f"ALTER TABLE ice.{TABLE} EXECUTE optimize"),
            "lakeward": lambda: server.run("table", "compact", TABLE).check_returncode(),
        }
        self.turns = {name: turn for name, turn in turns.items() if name in [*ENGINES, "lakeward"]}

    def run(self):
        while not self.over.is_set():
            for name, turn in self.turns.items():
                try:
                    turn()
                    self.did[name] += 1
                except Exception as error:  # each has a kind of its own
                    self.did[f"{name}: {' '.join(str(error).split())[:150]}"] += 1
                if self.over.wait(COMPACT_SECONDS / len(self.turns)):
                    return


def by_reader(server, spark, trino):
    """By whom the table is read at the end; each gives its rows."""
    arrow = lambda: tables.load(server.catalog, TABLE).scan(selected_fields=tuple(COLUMNS.split(", "))).to_arrow().to_pylist()
    ours = lambda: json.loads(server.ok("sql", "-e", f"SELECT {COLUMNS} FROM {TABLE}", "-o", "json"))
    reading = {
        "duckdb": lambda: tables.query(server.catalog, f"SELECT {COLUMNS} FROM ice.{TABLE}"),
        "pyiceberg": lambda: [tuple(row[name] for name in COLUMNS.split(", ")) for row in arrow()],
        "spark": lambda: spark(f"SELECT {COLUMNS} FROM {TABLE}"),
        "trino": lambda: trino(f"SELECT {COLUMNS} FROM ice.{TABLE}"),
        "lakeward": lambda: ours()["rows"],
    }
    return {name: read for name, read in reading.items() if name in [*ENGINES, "lakeward"]}


@pytest.mark.parametrize("run", range(RUNS))
def test_four_engines_commit_a_hundred_times_each_into_one_table(live, spark_session, trino_on, run):
    server = live.server
    with tables.load(server.catalog, TABLE).transaction() as change:
        change.set_properties(PROPERTIES)
    spark = spark_session(server) if "spark" in ENGINES else None
    trino = TrinoSession(trino_on(server)) if "trino" in ENGINES else None
    if spark:
        spark("SELECT 1")
    writing = {
        "duckdb": Sql(f"ice.{TABLE}", lambda sql: tables.query(server.catalog, sql)), "pyiceberg": PyIceberg(server.catalog),
        "spark": Sql(TABLE, spark), "trino": Sql(f"ice.{TABLE}", trino),
    }
    ledgers = [Ledger(name, writing[name], server.catalog) for name in ENGINES]
    watch, compactions = Watch(server), Compactions(server, spark, trino)
    begun = time.monotonic()
    with ThreadPoolExecutor(len(ledgers) + 2) as pool:
        beside = [pool.submit(watch.run), pool.submit(compactions.run)]
        working = [pool.submit(ledger.work) for ledger in ledgers]
        while wait(working, timeout=20).not_done:
            print(f"{time.monotonic() - begun:.0f} s:", {it.name: it.told["committed"] for it in ledgers}, dict(compactions.did), flush=True)
        failed = [work.exception() for work in working]
        compactions.over.set(), watch.over.set()
        failed += [work.exception() for work in beside]
    seconds = time.monotonic() - begun
    sent = live.sent()
    behind = sent.total() - live.held().total()
    until = time.monotonic() + 60
    while live.held().total() < sent.total() and time.monotonic() < until:
        time.sleep(1)

    expected = of_the_log(sent)
    for ledger in ledgers:
        expected += ledger.expected()
    outcome = {name: compared(Counter(map(tuple, read())), expected) for name, read in by_reader(server, spark, trino).items()}
    report = server.audit(TABLE)
    print(json.dumps({
        "seconds": round(seconds), "events": sent.total(), "events behind at the end": behind, "rows": expected.total(), "readers": outcome,
        "engines": {it.name: dict(it.told) | {"seconds": round(it.seconds), "errors": dict(it.errors.most_common(6))} for it in ledgers},
        "compactions": dict(compactions.did), "audit": {"ok": report["ok"], "totals": report["totals"], "foreign_rows": report["foreign_rows"], "rewritten_rows": report.get("rewritten_rows"), "notes": report["notes"]},
    } | watch.figures(), indent=1))
    assert not any(failed), failed
    assert all(ledger.told["committed"] == COMMITS for ledger in ledgers)
    assert all(counts == {"lost": 0, "doubled": 0, "phantom": 0} for counts in outcome.values()), outcome
    assert set(watch.states) == {"running"} and max(watch.ages) < FRESH_SECONDS, watch.figures()
    assert any(compactions.did[name] for name in compactions.turns), compactions.did
    assert "our compaction" in watch.kinds.values() and max(watch.kept) < len(watch.kinds), watch.figures()
    assert report["ok"] and report["totals"]["rows"] == sent.total(), report["findings"] + report["notes"]
