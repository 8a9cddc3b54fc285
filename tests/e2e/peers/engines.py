"""Four engines that write to a catalog, each in its own words: DuckDB, PyIceberg, Spark and Trino.

An engine does one step after the other on a table `(id BIGINT, k STRING, amount DECIMAL(10,2), day DATE)`. What the steps come to is
computed here in Python, and is the same for all of them.
"""
from datetime import date, timedelta
from decimal import Decimal

import pyarrow as pa
from pyiceberg.catalog import load_catalog
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import DateType, DecimalType, LongType, NestedField, StringType

import tables

FIRST = date(2026, 1, 1)
STEPS = ("create", "insert", "update", "delete", "merge", "add column", "rename column")
ROWS = 300


def inserted(number):
    return {"id": number, "k": f"k{number % 3}", "amount": Decimal(number) * Decimal("1.25"), "day": FIRST + timedelta(number % 60)}


def merged(number):
    return {"id": number, "k": "k9", "amount": Decimal("7.50"), "day": date(2026, 3, 1)}


MERGED = range(ROWS - 10, ROWS + 10)
ADDED = {"id": 1000, "k": "k1", "amount": Decimal("1.00"), "day": FIRST, "note": "n"}


def expected():
    """The rows after all steps, as `(id, k, cost, day, note)`."""
    rows = {number: inserted(number) for number in range(ROWS)}
    for number in range(0, ROWS, 10):
        rows[number]["amount"] = Decimal(0)
    rows = {number: row for number, row in rows.items() if number % 7}
    for number in MERGED:
        new = merged(number)
        rows[number] = {**rows[number], "amount": new["amount"]} if number in rows else new
    rows[ADDED["id"]] = ADDED
    return sorted((row["id"], row["k"], row["amount"], row["day"], row.get("note")) for row in rows.values())


class Sql:
    """The steps in SQL. What engines say differently is a word of theirs."""

    text, series, partitioned = "STRING", None, "PARTITIONED BY (k)"

    def statements(self, table):
        numbers = self.series
        return {
            "create": f"CREATE TABLE {table} (id BIGINT, k {self.text}, amount DECIMAL(10,2), day DATE) {self.partitioned}",
            "insert": f"INSERT INTO {table} SELECT i, concat('k', CAST(i % 3 AS {self.text})), CAST(i * 1.25 AS DECIMAL(10,2)), {self.days('i % 60')} FROM {numbers(0, ROWS)}",
            "update": f"UPDATE {table} SET amount = 0 WHERE id % 10 = 0",
            "delete": f"DELETE FROM {table} WHERE id % 7 = 0",
            "merge": f"""MERGE INTO {table} t USING (SELECT i AS id, 'k9' AS k, CAST(7.5 AS DECIMAL(10,2)) AS amount, DATE '2026-03-01' AS day FROM {numbers(MERGED.start, MERGED.stop)}) s
                ON t.id = s.id WHEN MATCHED THEN UPDATE SET amount = s.amount
                WHEN NOT MATCHED THEN INSERT (id, k, amount, day) VALUES (s.id, s.k, s.amount, s.day)""",
            "add column": f"ALTER TABLE {table} ADD COLUMN note {self.text}; INSERT INTO {table} VALUES (1000, 'k1', CAST(1 AS DECIMAL(10,2)), DATE '2026-01-01', 'n')",
            "rename column": f"ALTER TABLE {table} RENAME COLUMN amount TO cost",
        }

    def drop(self, table):
        return f"CREATE TABLE {table} (id BIGINT); DROP TABLE {table}"


class DuckDB(Sql):
    name, text = "duckdb", "VARCHAR"

    def __init__(self, server):
        self.server = server

    def series(self, begin, end):
        return f"range({begin}, {end}) r(i)"

    def days(self, number):
        return f"DATE '2026-01-01' + CAST({number} AS INT)"

    def do(self, script):
        with tables.duck(self.server.catalog) as engine:
            for statement in script.split(";"):
                engine.execute(statement)

    def table(self, name):
        return f"ice.{name}"


class Spark(Sql):
    name, partitioned = "spark", "USING iceberg PARTITIONED BY (k)"

    def __init__(self, spark):
        self.spark = spark

    def series(self, begin, end):
        return f"(SELECT id AS i FROM range({begin}, {end})) r"

    def days(self, number):
        return f"date_add(DATE '2026-01-01', CAST({number} AS INT))"

    def do(self, script):
        answer = self.spark(script)
        assert isinstance(answer, list), answer[-3000:]

    def table(self, name):
        return name


class TrinoSql(Sql):
    name, text, partitioned = "trino", "VARCHAR", "WITH (partitioning = ARRAY['k'])"

    def __init__(self, trino):
        self.trino = trino

    def series(self, begin, end):
        return f"UNNEST(sequence({begin}, {end - 1})) AS r(i)"

    def days(self, number):
        return f"date_add('day', {number}, DATE '2026-01-01')"

    def do(self, script):
        answer = self.trino(script)
        assert isinstance(answer, list), answer[-3000:]

    def table(self, name):
        return f"ice.{name}"


class PyIceberg:
    name = "pyiceberg"
    schema = Schema(
        NestedField(1, "id", LongType()), NestedField(2, "k", StringType()), NestedField(3, "amount", DecimalType(10, 2)), NestedField(4, "day", DateType()),
    )

    def __init__(self, server):
        self.catalog = load_catalog("writer", type="rest", uri=server.catalog)

    def steps(self, name):
        """Functions by step: PyIceberg has no SQL."""
        ident = tuple(name.split("."))
        spec = PartitionSpec(PartitionField(source_id=2, field_id=1000, transform=IdentityTransform(), name="k"))
        arrow = self.schema.as_arrow()

        def table():
            return self.catalog.load_table(ident)

        def update():
            changed = [{**inserted(number), "amount": Decimal("0.00")} for number in range(0, ROWS, 10)]
            table().upsert(pa.Table.from_pylist(changed, arrow), join_cols=["id"])

        def merge():
            live = {row["id"]: row for row in table().scan().to_arrow().to_pylist()}
            rows = [{**live[number], "amount": merged(number)["amount"]} if number in live else merged(number) for number in MERGED]
            table().upsert(pa.Table.from_pylist(rows, arrow), join_cols=["id"])

        def add_column():
            with table().update_schema() as change:
                change.add_column("note", StringType())
            now = table()
            now.append(pa.Table.from_pylist([ADDED], now.schema().as_arrow()))

        def rename_column():
            with table().update_schema() as change:
                change.rename_column("amount", "cost")

        gone = [number for number in range(ROWS) if number % 7 == 0]
        return {
            "create": lambda: self.catalog.create_table(ident, schema=self.schema, partition_spec=spec),
            "insert": lambda: table().append(pa.Table.from_pylist([inserted(number) for number in range(ROWS)], arrow)),
            "update": update,
            "delete": lambda: table().delete(f"id IN ({', '.join(map(str, gone))})"),
            "merge": merge,
            "add column": add_column,
            "rename column": rename_column,
        }

    def drop(self, name):
        ident = tuple(name.split("."))
        self.catalog.create_table(ident, schema=self.schema)
        self.catalog.drop_table(ident)
