"""DuckDB, PyIceberg, Spark and Trino write to our catalog while a pipeline commits every second: into tables of their own, which all
of them read alike, and into the pipeline's own table, of which the audit stays right."""
import os
import subprocess
import sys
import threading
import time
from collections import Counter

import pyarrow as pa
import pytest

import inventory
import tables
from engines import STEPS, DuckDB, PyIceberg, Spark, TrinoSql, expected
from lakeward import REPOSITORY, wait_until
from pyiceberg.catalog import load_catalog
from test_crash import read_log

PIPELINE = REPOSITORY / "examples/inventory/inventory.sql"
PAGE = REPOSITORY / "docs/reference/readers-and-writers.md"
NAMES = {"duckdb": "DuckDB 1.5.5", "pyiceberg": "PyIceberg 0.12", "spark": "Spark 4.1", "trino": "Trino 476"}
PARTITIONS = 4


@pytest.fixture
def live(serve, folder):
    """A server whose pipeline commits what a producer sends all the time, about a hundred events a second, and a function that ends both
    and checks that every event that was sent is in the table once."""
    server = serve(tables.mapping(folder), ["--commit-interval", "1 s"])
    server.create_topic(inventory.TOPIC, PARTITIONS)
    server.ok("run", PIPELINE, "--detach")
    acked = folder / "acked"
    load = subprocess.Popen([sys.executable, str(REPOSITORY / "tests/e2e/load.py"), server.kafka, inventory.TOPIC, str(PARTITIONS), str(acked), "100"])
    wait_until(lambda: tables.rows(server.catalog, inventory.TABLE) > 0, "the first commit")

    def settle():
        load.terminate()
        assert load.wait(90) == 0
        sent = Counter(read_log(server.kafka, inventory.TOPIC, PARTITIONS).values())
        assert max(sent.values()) == 1

        def held():
            rows = tables.query(server.catalog, f"SELECT quantity FROM ice.{inventory.TABLE} WHERE sku LIKE 'SKU-%'")
            return Counter(row[0] for row in rows)

        wait_until(lambda: held().total() >= sent.total(), "all events in the table")
        assert held() == sent
        return sent.total()

    yield server, settle
    if load.poll() is None:
        load.kill()
        load.wait()


def agree(server, trino, *names):
    """All four readers, of each table: Trino's while it is up and Spark's when it is down, for two JVMs are a lot."""
    def check(readers, *more):
        command = [str(tables.READERS / "check-table"), "--readers", readers, *more, "--catalog", server.catalog, "--brief", *names]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, f"the readers disagree:\n{done.stdout}\n{done.stderr}"

    check("duckdb,pyiceberg,trino", "--trino", trino.place)
    trino.down()
    check("duckdb,pyiceberg,spark")


def how_deleted(catalog, name):
    """What the engine left of the rows that it deleted."""
    snapshots = catalog.load_table(name).snapshots()
    deletes = any(int(snapshot.summary.additional_properties.get("added-delete-files", 0)) for snapshot in snapshots)
    return "position deletes" if deletes else "copy on write"


def test_four_engines_write_tables_that_all_of_them_read(live, spark_on, trino_on):
    server, settle = live
    catalog = load_catalog("reader", type="rest", uri=server.catalog)
    catalog.create_namespace("own")
    lines = []
    engines = (lambda: DuckDB(server), lambda: PyIceberg(server), lambda: Spark(spark_on(server)), lambda: TrinoSql(trino_on(server)))
    for make in engines:
        engine = make()
        name = f"own.{engine.name}"
        if engine.name == "pyiceberg":
            steps = engine.steps(name)
            for step in STEPS:
                steps[step]()
            engine.drop("own.scratch")
        else:
            steps = engine.statements(engine.table(name))
            engine.do("; ".join([*(steps[step] for step in STEPS), engine.drop(engine.table("own.scratch"))]))
        got = tables.query(server.catalog, f"SELECT id, k, cost, day, note FROM ice.{name} ORDER BY id")
        assert got == expected(), engine.name
        lines.append(f"| {NAMES[engine.name]} | " + " | ".join(["yes"] * (len(STEPS) + 1)) + f" | {how_deleted(catalog, name)} |")
    assert sorted(catalog.list_tables("own")) == [("own", name) for name in sorted(NAMES)]
    agree(server, engine.trino, *(f"own.{name}" for name in NAMES))
    settle()
    report = server.audit(inventory.TABLE)
    assert report["ok"] and report["foreign_snapshots"] == [], report

    table = ["| | " + " | ".join([*STEPS, "drop"]) + " | what a delete leaves |", "|" + "---|" * (len(STEPS) + 3), *lines]
    page = PAGE.read_text()
    begin, end = "<!-- engines: from tests/e2e/peers/test_writers.py -->\n", "<!-- end -->"
    head, rest = page.split(begin)
    written = head + begin + "\n".join(table) + "\n" + end + rest.split(end)[1]
    if os.environ.get("UPDATE_EXPECT") == "1":
        PAGE.write_text(written)
    assert PAGE.read_text() == written, "docs/reference/readers-and-writers.md says otherwise; UPDATE_EXPECT=1 writes it anew"


def until_it_gets_through(what, attempts=40):
    """A refusal is allowed while others commit to the same table; what was refused has not happened."""
    for attempt in range(attempts):
        try:
            return what()
        except Exception as error:  # each engine has a kind of its own
            last = error
            time.sleep(0.05 * (attempt % 4))
    raise last


def rows_of(engine, count):
    return [(f"{engine}-{number}", number) for number in range(count)]


def test_engines_write_into_the_pipelines_table_and_the_audit_stays_right(live, spark_on, trino_on):
    """Each adds, changes and deletes rows of its own; the pipeline's are counted against the log all the while."""
    server, settle = live
    table = inventory.TABLE

    def duckdb():
        for statement in (
            f"INSERT INTO ice.{table} SELECT 'duckdb-' || i, 'W', 'counted', i::INT, NULL FROM range(50) r(i)",
            f"UPDATE ice.{table} SET warehouse_id = 'X' WHERE sku LIKE 'duckdb-%' AND quantity < 10",
            f"DELETE FROM ice.{table} WHERE sku LIKE 'duckdb-%' AND quantity >= 40",
        ):
            until_it_gets_through(lambda statement=statement: DuckDB(server).do(statement))

    def pyiceberg():
        def append():
            now = load_catalog("w", type="rest", uri=server.catalog).load_table(table)
            rows = [{"sku": sku, "warehouse_id": "W", "event_type": "counted", "quantity": number, "event_time": None} for sku, number in rows_of("pyiceberg", 50)]
            now.append(pa.Table.from_pylist(rows, now.schema().as_arrow()))

        until_it_gets_through(append)
        gone = "sku IN ({})".format(", ".join(f"'pyiceberg-{number}'" for number in range(40, 50)))
        until_it_gets_through(lambda: load_catalog("w", type="rest", uri=server.catalog).load_table(table).delete(gone))

    def sql(engine, name):
        values = ", ".join(f"('{sku}', 'W', 'counted', {number}, NULL)" for sku, number in rows_of(engine.name, 50))
        engine.do(f"INSERT INTO {name} VALUES {values}")
        until_it_gets_through(lambda: engine.do(f"UPDATE {name} SET warehouse_id = 'X' WHERE sku LIKE '{engine.name}-%' AND quantity < 10"), 6)
        until_it_gets_through(lambda: engine.do(f"DELETE FROM {name} WHERE sku LIKE '{engine.name}-%' AND quantity >= 40"), 6)

    # What commits by itself does so all the time; the two JVMs one after the other.
    threads = [threading.Thread(target=work) for work in (duckdb, pyiceberg)]
    [thread.start() for thread in threads]
    sql(Spark(spark_on(server)), table)
    trino = trino_on(server)
    sql(TrinoSql(trino), f"ice.{table}")
    [thread.join() for thread in threads]
    sent = settle()

    counted = tables.query(server.catalog, f"SELECT split_part(sku, '-', 1) AS engine, count(*), count(DISTINCT sku), count(*) FILTER (warehouse_id = 'X') FROM ice.{table} GROUP BY 1 ORDER BY 1")
    assert counted == [("SKU", sent, 20000 if sent > 20000 else sent, 0), ("duckdb", 40, 40, 10), ("pyiceberg", 40, 40, 0), ("spark", 40, 40, 10), ("trino", 40, 40, 10)]
    agree(server, trino, table)
    report = server.audit(table)
    assert report["ok"], report["findings"] + report["notes"]
    assert report["totals"]["rows"] == sent and report["foreign_rows"] == 160 and report["foreign_snapshots"]
