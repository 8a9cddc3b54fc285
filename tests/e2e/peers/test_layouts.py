"""Every layout of every writer is read alike by DuckDB, PyIceberg, Spark, Trino and `lakeward sql`; and who reads branches and tags."""
from datetime import datetime
from decimal import Decimal

import pyarrow as pa
from pyiceberg.catalog import load_catalog
from pyiceberg.schema import Schema
from pyiceberg.types import LongType, NestedField

import tables
from layouts import LAYOUTS, REFUSALS, expected, write, write_by_pipeline, writers
from readers import NAMES, agree, check_page
from sessions import TrinoSession

COLUMNS = "id, k, amount, day, ts"


def ours(server, name):
    """The rows as `lakeward sql` gives them."""
    rows = server.json("sql", "-e", f"SELECT id, k, amount, CAST(`day` AS STRING), CAST(`ts` AS STRING) FROM {name}")["rows"]
    return sorted((number, k, Decimal(amount), datetime.fromisoformat(day).date(), datetime.fromisoformat(ts)) for number, k, amount, day, ts in rows)


def test_every_layout_of_every_writer_is_read_alike(serve, folder, spark_session, trino_on):
    server = serve(tables.mapping(folder), ["--commit-interval", "300 ms"])
    catalog = load_catalog("writer", type="rest", uri=server.catalog)
    catalog.create_namespace("lay")
    trino = trino_on(server)
    spark = spark_session(server)
    says = {layout: {} for layout in LAYOUTS}
    made = []
    for writer in writers(server, catalog, spark, TrinoSession(trino)):
        for layout in LAYOUTS:
            name, says[layout][writer.name] = write(writer, catalog, layout)
            if name:
                made.append((name, expected()))
    for layout, name in write_by_pipeline(server, catalog, folder).items():
        says[layout]["lakeward"] = "writes"
        made.append((name, expected(deletes=False)))
    spark.end()
    for name, rows in made:
        got = tables.query(server.catalog, f"SELECT {COLUMNS} FROM ice.{name}")
        key = lambda row: row[0]
        assert sorted(got, key=key) == sorted(rows, key=key), name
        assert sorted(ours(server, name), key=key) == sorted(rows, key=key), name
    agree(server, trino, *(name for name, _ in made))
    lines = [[layout, *(says[layout][writer] for writer in NAMES)] for layout in LAYOUTS]
    check_page("layouts", "test_layouts.py", ["", *NAMES.values()], lines)


def counted(what):
    """What a reader gives, or that it refuses to."""
    try:
        return what()
    except REFUSALS as refused:
        print(" ".join(str(refused).split())[:200])
        return None


def test_branches_and_tags_are_read_by_whoever_can(serve, spark_session, trino_on):
    server = serve()
    catalog = load_catalog("writer", type="rest", uri=server.catalog)
    catalog.create_namespace("db")
    table = catalog.create_table("db.t", Schema(NestedField(1, "id", LongType())))
    for number in range(4):
        table.append(pa.table({"id": [number]}))
    ids = [one.snapshot_id for one in sorted(table.snapshots(), key=lambda one: one.sequence_number)]
    server.ok("table", "tag", "db.t", "monthly", "--at", str(ids[0]))
    server.ok("table", "branch", "db.t", "audit", "--at", str(ids[1]))
    spark, trino = spark_session(server), TrinoSession(trino_on(server))
    places = {"a snapshot": (ids[2], 3), "a tag": ("monthly", 1), "a branch": ("audit", 2)}

    def quoted(at):
        return at if isinstance(at, int) else f"'{at}'"

    readers = {
        "duckdb": lambda at: tables.query(server.catalog, f"SELECT count(*) FROM ice.db.t AT (VERSION => {quoted(at)})")[0][0],
        "pyiceberg": lambda at: (catalog.load_table("db.t").scan(snapshot_id=at) if isinstance(at, int) else catalog.load_table("db.t").scan().use_ref(at)).to_arrow().num_rows,
        "spark": lambda at: spark(f"SELECT count(*) AS n FROM db.t VERSION AS OF {quoted(at)}")[0][0],
        "trino": lambda at: trino(f"SELECT count(*) FROM ice.db.t FOR VERSION AS OF {quoted(at)}")[0][0],
        "lakeward": lambda at: server.json("sql", "-e", f"SELECT COUNT(*) FROM db.t FOR VERSION AS OF {quoted(at)}")["rows"][0][0],
    }
    lines = []
    for reader, read in readers.items():
        found = {place: counted(lambda at=at, read=read: read(at)) for place, (at, _) in places.items()}
        assert all(count in (None, places[place][1]) for place, count in found.items()), (reader, found)
        lines.append([NAMES[reader], *("no" if count is None else "yes" for count in found.values())])
    check_page("references", "test_layouts.py", ["", *places], lines)
