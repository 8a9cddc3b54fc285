"""DuckDB, PyIceberg, Spark and Trino write to our catalog while a pipeline commits every second: into tables of their own, which all
of them read alike, and into the pipeline's own table, of which the audit stays right."""
import threading
import time

import pyarrow as pa

import inventory
import tables
from engines import STEPS, DuckDB, PyIceberg, Spark, TrinoSql, expected
from pyiceberg.catalog import load_catalog
from readers import NAMES, agree, check_page


def how_deleted(catalog, name):
    """What the engine left of the rows that it deleted."""
    snapshots = catalog.load_table(name).snapshots()
    deletes = any(int(snapshot.summary.additional_properties.get("added-delete-files", 0)) for snapshot in snapshots)
    return "position deletes" if deletes else "copy on write"


def test_four_engines_write_tables_that_all_of_them_read(live, spark_on, trino_on):
    server = live.server
    catalog = load_catalog("reader", type="rest", uri=server.catalog)
    catalog.create_namespace("own")
    lines, made = [], []
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
        lines.append([NAMES[engine.name], *["yes"] * (len(STEPS) + 1), how_deleted(catalog, name)])
        made.append(name)
    assert sorted(catalog.list_tables("own")) == sorted(tuple(name.split(".")) for name in made)
    agree(server, engine.trino, *made)
    live.settle()
    report = server.audit(inventory.TABLE)
    assert report["ok"] and report["foreign_snapshots"] == [], report

    check_page("engines", "test_writers.py", ["", *STEPS, "drop", "what a delete leaves"], lines)


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
    server = live.server
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
    sent = live.settle()

    counted = tables.query(server.catalog, f"SELECT split_part(sku, '-', 1) AS engine, count(*), count(DISTINCT sku), count(*) FILTER (warehouse_id = 'X') FROM ice.{table} GROUP BY 1 ORDER BY 1")
    assert counted == [("SKU", sent, 20000 if sent > 20000 else sent, 0), ("duckdb", 40, 40, 10), ("pyiceberg", 40, 40, 0), ("spark", 40, 40, 10), ("trino", 40, 40, 10)]
    agree(server, trino, table)
    report = server.audit(table)
    assert report["ok"], report["findings"] + report["notes"]
    assert report["totals"]["rows"] == sent and report["foreign_rows"] == 160 and report["foreign_snapshots"]
