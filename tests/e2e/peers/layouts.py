"""Tables of every layout, as each writer makes them: DuckDB, PyIceberg, Spark, Trino, and a pipeline of ours.

A table is `(id BIGINT, k STRING, amount DECIMAL(10,2), day DATE, ts TIMESTAMP)`. A writer makes it with its layout, inserts rows from before and after
1970, deletes some and inserts again. Where an engine has no word for a layout, PyIceberg makes the table, and the engine writes to it.
"""
import json
from datetime import date, datetime, timedelta
from decimal import Decimal

import duckdb
import pyarrow as pa
from confluent_kafka import Producer
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table.sorting import SortField, SortOrder
from pyiceberg.transforms import (
    BucketTransform, DayTransform, HourTransform, IdentityTransform, MonthTransform, TruncateTransform, VoidTransform, YearTransform,
)
from pyiceberg.types import DateType, DecimalType, LongType, NestedField, StringType, TimestampType

import tables
from lakeward import wait_until
from sessions import Refusal

SCHEMA = Schema(
    NestedField(1, "id", LongType()), NestedField(2, "k", StringType()), NestedField(3, "amount", DecimalType(10, 2)),
    NestedField(4, "day", DateType()), NestedField(5, "ts", TimestampType()),
)
# By layout: the fields of PyIceberg's spec, and the words of Spark, Trino and DuckDB.
PARTITIONS = {
    "identity": ([(2, IdentityTransform())], "k", "'k'", "k"),
    "bucket": ([(1, BucketTransform(8))], "bucket(8, id)", "'bucket(id, 8)'", "bucket(8, id)"),
    "truncate": ([(2, TruncateTransform(2))], "truncate(2, k)", "'truncate(k, 2)'", "truncate(2, k)"),
    "year": ([(4, YearTransform())], "years(day)", "'year(day)'", "year(day)"),
    "month": ([(4, MonthTransform())], "months(day)", "'month(day)'", "month(day)"),
    "day": ([(5, DayTransform())], "days(ts)", "'day(ts)'", "day(ts)"),
    "hour": ([(5, HourTransform())], "hours(ts)", "'hour(ts)'", "hour(ts)"),
    "void": ([(2, VoidTransform()), (4, YearTransform())], None, "'void(k)', 'year(day)'", None),
    "several fields": ([(2, IdentityTransform()), (1, BucketTransform(4)), (5, MonthTransform())], "k, bucket(4, id), months(ts)", "'k', 'bucket(id, 4)', 'month(ts)'", "k, bucket(4, id), month(ts)"),
}
SORTED = "sort order"
LAYOUTS = [*PARTITIONS, SORTED]
ROWS, MORE = 40, 10
# What engines say no with, or have no word to ask them.
REFUSALS = (duckdb.Error, Refusal, NotImplementedError)


def row(number):
    return {
        "id": number - 5, "k": None if number % 13 == 12 else f"k{number % 3}{'x' * (number % 4)}", "amount": Decimal(number) * Decimal("1.25") - 10,
        "day": date(1969, 12, 1) + timedelta(11 * number), "ts": datetime(1969, 12, 31, 20) + timedelta(minutes=37 * number, microseconds=number),
    }


def expected(deletes=True):
    rows = [row(number) for number in range(ROWS)]
    rows = [one for one in rows if not deletes or one["id"] % 5] + [row(number) for number in range(ROWS, ROWS + MORE)]
    return sorted(tuple(one.values()) for one in rows)


def table_of(layout, writer):
    return f"lay.{layout.replace(' ', '_')}_{writer}"


def make_by_pyiceberg(catalog, layout, name):
    if layout == SORTED:
        return catalog.create_table(name, SCHEMA, sort_order=SortOrder(SortField(source_id=4, transform=IdentityTransform()), SortField(source_id=1, transform=IdentityTransform())))
    fields = enumerate(PARTITIONS[layout][0])
    spec = PartitionSpec(*(PartitionField(source, 1000 + place, transform, f"p{place}") for place, (source, transform) in fields))
    return catalog.create_table(name, SCHEMA, partition_spec=spec)


class ByPyIceberg:
    name = "pyiceberg"

    def __init__(self, catalog):
        self.catalog = catalog

    def make(self, layout, name):
        make_by_pyiceberg(self.catalog, layout, name)

    def insert(self, name, numbers):
        self.catalog.load_table(name).append(pa.Table.from_pylist([row(number) for number in numbers], SCHEMA.as_arrow()))

    def delete(self, name):
        gone = [one["id"] for one in map(row, range(ROWS)) if one["id"] % 5 == 0]
        self.catalog.load_table(name).delete(f"id IN ({', '.join(map(str, gone))})")


class BySql:
    """An engine of SQL: `run` does a statement, `place` says what a table is called, `moment` what a timestamp without a zone is."""

    def __init__(self, name, run, place, columns, moment):
        self.name, self.run, self.place, self.columns, self.moment = name, run, place, columns, moment

    def make(self, layout, name):
        head = f"CREATE TABLE {self.place(name)} {self.columns}"
        if layout == SORTED:
            told = {"trino": f"{head} WITH (sorted_by = ARRAY['day', 'id'])", "spark": f"{head} USING iceberg"}
        else:
            _, spark, trino, duckdb = PARTITIONS[layout]
            told = {
                "spark": spark and f"{head} USING iceberg PARTITIONED BY ({spark})", "trino": f"{head} WITH (partitioning = ARRAY[{trino}])",
                "duckdb": duckdb and f"{head} PARTITIONED BY ({duckdb})",
            }
        if not told.get(self.name):
            raise NotImplementedError(f"{self.name} has no word for {layout}")
        self.run(told[self.name])
        if layout == SORTED and self.name == "spark":
            self.run(f"ALTER TABLE {self.place(name)} WRITE ORDERED BY day, id")

    def insert(self, name, numbers):
        def values(one):
            k = "NULL" if one["k"] is None else f"'{one['k']}'"
            return f"({one['id']}, {k}, CAST({one['amount']} AS DECIMAL(10,2)), DATE '{one['day']}', {self.moment} '{one['ts'].isoformat(' ', 'microseconds')}')"

        self.run(f"INSERT INTO {self.place(name)} VALUES {', '.join(values(row(number)) for number in numbers)}")

    def delete(self, name):
        self.run(f"DELETE FROM {self.place(name)} WHERE id % 5 = 0")


def writers(server, catalog, spark, trino):
    columns = "(id BIGINT, k {}, amount DECIMAL(10,2), day DATE, ts {})"
    ice = lambda name: f"ice.{name}"
    return [
        BySql("duckdb", lambda sql: tables.query(server.catalog, sql), ice, columns.format("VARCHAR", "TIMESTAMP"), "TIMESTAMP"),
        ByPyIceberg(catalog),
        BySql("spark", spark, str, columns.format("STRING", "TIMESTAMP_NTZ"), "TIMESTAMP_NTZ"),
        BySql("trino", trino, ice, columns.format("VARCHAR", "TIMESTAMP(6)"), "TIMESTAMP"),
    ]


def write(writer, catalog, layout):
    """The table that a writer filled, and what the page says of it; no table where the engine refuses to write one of the layout."""
    name, how = table_of(layout, writer.name), "yes"
    try:
        writer.make(layout, name)
    except REFUSALS as refused:
        print(f"{writer.name} does not make {layout}: {' '.join(str(refused).split())[:200]}")
        make_by_pyiceberg(catalog, layout, name)
        how = "writes"
    try:
        writer.insert(name, range(ROWS))
        writer.delete(name)
        writer.insert(name, range(ROWS, ROWS + MORE))
    except REFUSALS as refused:
        print(f"{writer.name} does not write {layout}: {' '.join(str(refused).split())[:200]}")
        catalog.drop_table(name)
        return None, "no"
    return name, how


SOURCE = """CREATE TABLE source (id BIGINT, k STRING, amount DECIMAL(10, 2), `day` DATE, `ts` TIMESTAMP(6)) WITH ('connector' = 'kafka', 'topic' = 'rows',
  'properties.bootstrap.servers' = 'kafka-1:9092,kafka-2:9092', 'scan.startup.mode' = 'earliest-offset', 'format' = 'json');
"""
SINK = """CREATE TABLE {name} (id BIGINT, k STRING, amount DECIMAL(10, 2), `day` DATE, `ts` TIMESTAMP(6)) WITH ('connector' = 'iceberg', 'catalog-name' = 'hive',
  'catalog-database' = 'lay', 'catalog-table' = '{name}', 'warehouse' = 's3://lakehouse/');
"""


def write_by_pipeline(server, catalog, folder):
    """A pipeline fills a table of each layout, in two commits or more."""
    made = {layout: table_of(layout, "lakeward") for layout in LAYOUTS}
    for layout, name in made.items():
        make_by_pyiceberg(catalog, layout, name)
    server.create_topic("rows", 2)
    names = [name.split(".")[1] for name in made.values()]
    inserts = "\n".join(f"INSERT INTO {name} SELECT * FROM source;" for name in names)
    script = folder / "layouts.sql"
    script.write_text(SOURCE + "".join(SINK.format(name=name) for name in names) + f"EXECUTE STATEMENT SET BEGIN\n{inserts}\nEND;\n")
    server.ok("run", script, "--detach")
    client = Producer({"bootstrap.servers": server.kafka})
    for numbers in (range(ROWS), range(ROWS, ROWS + MORE)):
        for number in numbers:
            one = row(number)
            told = {**one, "amount": float(one["amount"]), "day": str(one["day"]), "ts": one["ts"].isoformat(" ", "microseconds")}
            client.produce("rows", json.dumps(told).encode(), partition=number % 2)
        assert client.flush(10) == 0
        for name in made.values():
            wait_until(lambda name=name: tables.rows(server.catalog, name) == numbers.stop, f"{numbers.stop} rows in {name}")
    server.ok("pipeline", "stop", "layouts")
    return made
