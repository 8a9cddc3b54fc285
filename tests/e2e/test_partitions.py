"""Partitioned tables: every transform, by PyIceberg's own arithmetic; specs that evolve; PARTITIONED BY; kills."""
import json
import math

import pyarrow.parquet as pq
from confluent_kafka import Producer
from pyiceberg.catalog import load_catalog
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import (
    BucketTransform, DayTransform, HourTransform, IdentityTransform, MonthTransform, TruncateTransform, VoidTransform, YearTransform,
)
from pyiceberg.types import (
    BinaryType, BooleanType, DateType, DecimalType, DoubleType, IntegerType, LongType, NestedField, StringType, TimestampType, TimestamptzType,
)

import tables
from lakeward import wait_until

FIELDS = [
    ("id", "BIGINT", LongType()),
    ("n", "INT", IntegerType()),
    ("price", "DECIMAL(9, 2)", DecimalType(9, 2)),
    ("wide", "DECIMAL(30, 4)", DecimalType(30, 4)),
    ("ratio", "DOUBLE", DoubleType()),
    ("flag", "BOOLEAN", BooleanType()),
    ("name", "STRING", StringType()),
    ("bin", "BYTES", BinaryType()),
    ("day", "DATE", DateType()),
    ("ts", "TIMESTAMP(6)", TimestampType()),
    ("tz", "TIMESTAMP_LTZ(6)", TimestamptzType()),
]
SCHEMA = Schema(*(NestedField(number, name, ty, required=False) for number, (name, _, ty) in enumerate(FIELDS, 1)))
ID = {name: number for number, (name, _, _) in enumerate(FIELDS, 1)}
SPECS = {
    "by_buckets": [("id", BucketTransform(4)), ("name", BucketTransform(3))],
    "by_more_buckets": [("n", BucketTransform(2)), ("price", BucketTransform(2)), ("wide", BucketTransform(2)), ("day", BucketTransform(2))],
    "by_time_buckets": [("ts", BucketTransform(3)), ("tz", BucketTransform(3)), ("bin", BucketTransform(2))],
    "by_cut": [("n", TruncateTransform(10)), ("name", TruncateTransform(2))],
    "by_cut_numbers": [("id", TruncateTransform(50)), ("price", TruncateTransform(50)), ("wide", TruncateTransform(1000))],
    "by_years": [("day", YearTransform()), ("ts", YearTransform()), ("tz", YearTransform())],
    "by_months": [("day", MonthTransform()), ("ts", MonthTransform())],
    "by_days": [("ts", DayTransform()), ("day", DayTransform())],
    "by_hours": [("tz", HourTransform()), ("ts", HourTransform())],
    "by_names": [("name", IdentityTransform()), ("flag", IdentityTransform())],
    "by_numbers": [("price", IdentityTransform()), ("ratio", IdentityTransform()), ("wide", IdentityTransform())],
    "by_moments": [("day", IdentityTransform()), ("ts", IdentityTransform()), ("bin", IdentityTransform())],
    "by_voided": [("id", VoidTransform()), ("n", IdentityTransform())],
}
NAMES = ["", "a/b", "..", "x=y%&?", "ü" * 300, "𝄞𝄞𝄞", "plain", "sp ace", None]
MOMENTS = ["1969-12-31 23:59:59.999999", "1969-12-30 00:00:00.000000", "1969-12-29 23:59:59.500000", "1970-01-01 00:00:00.000000", "2026-07-01 12:34:56.789012", "1815-06-18 11:30:00.250000", None]
SOURCE = "CREATE TABLE source ({columns}) WITH ('connector' = 'kafka', 'topic' = 'things', 'properties.bootstrap.servers' = 'kafka-1:9092,kafka-2:9092', 'scan.startup.mode' = 'earliest-offset', 'format' = 'json');\n".format(
    columns=", ".join(f"`{name}` {ty}" for name, ty, _ in FIELDS)
)
SINK = "CREATE TABLE {name} ({columns}) {by} WITH ('connector' = 'iceberg', 'catalog-name' = 'hive', 'catalog-database' = 'parts', 'catalog-table' = '{name}', 'warehouse' = 's3://lakehouse/');\n"
COLUMNS = ", ".join(f"`{name}` {ty}" for name, ty, _ in FIELDS)


def thing(number):
    some = lambda value: None if number % 11 == 10 else value
    moment = MOMENTS[number % len(MOMENTS)]
    return {
        "id": some(number - 60),
        "n": some((number % 40) - 20),
        "price": some(round((number % 6 - 3) * 10.65, 2)),
        "wide": some((number % 5 - 2) * 123456789.5),
        "ratio": some((number % 3 - 1) / 4),
        "flag": some(number % 2 == 0),
        "name": NAMES[number % len(NAMES)],
        "bin": some("AAH/" if number % 2 else "gA=="),
        "day": moment and moment[:10],
        "ts": moment,
        "tz": moment and moment + "Z",
    }


def send(server, numbers):
    client = Producer({"bootstrap.servers": server.kafka})
    for number in numbers:
        client.produce("things", json.dumps(thing(number)).encode(), partition=number % 2)
    assert client.flush(10) == 0


def start(serve, folder):
    server = serve(tables.mapping(folder), ["--commit-interval", "300 ms"])
    server.create_topic("things", 2)
    return server


def run(server, folder, script):
    path = folder / "parts.sql"
    path.write_text(script)
    server.ok("run", path, "--detach")


def spec(fields):
    made = [PartitionField(ID[column], 1000 + place, transform, f"{column}_{place}") for place, (column, transform) in enumerate(fields)]
    return PartitionSpec(*made)


def raw(column, row):
    """A value as transforms take it: times are numbers."""
    value = column[row]
    if column.type.__str__().startswith(("timestamp", "date")):
        value = value.cast("int64" if str(column.type).startswith("timestamp") else "int32")
    return value.as_py()


def same(one, other):
    return one == other or (isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other))


def check_files(table):
    """Each file has rows of its partition alone, by PyIceberg's transforms; returns the rows and how many partitions there are."""
    rows, partitions = 0, set()
    for task in table.scan().plan_files():
        file = task.file
        of = table.specs()[file.spec_id]
        partition = tuple(file.partition[place] for place in range(len(of.fields)))
        read = pq.ParquetFile(file.file_path.removeprefix("file://")).read()
        assert len(read) == file.record_count > 0
        rows += len(read)
        partitions.add((file.spec_id, partition))
        for field, value in zip(of.fields, partition):
            column = table.schema().find_field(field.source_id)
            transform = field.transform.transform(column.field_type)
            stored = read.column(column.name).combine_chunks()
            for row in range(len(read)):
                expected = transform(raw(stored, row))
                assert same(expected, value), (table.name(), field, raw(stored, row), expected, value)
    return rows, len(partitions)


def test_every_transform_is_pyicebergs(serve, folder):
    server = start(serve, folder)
    catalog = load_catalog("e2e", type="rest", uri=server.catalog)
    catalog.create_namespace("parts")
    for name, fields in SPECS.items():
        catalog.create_table(("parts", name), SCHEMA, partition_spec=spec(fields), properties={"format-version": "2"})
    inserts = "".join(f"INSERT INTO {name} SELECT * FROM source;\n" for name in SPECS)
    sinks = "".join(SINK.format(name=name, columns=COLUMNS, by="") for name in SPECS)
    run(server, folder, SOURCE + sinks + f"EXECUTE STATEMENT SET BEGIN\n{inserts}END;\n")
    send(server, range(120))
    for name in SPECS:
        wait_until(lambda: tables.rows(server.catalog, f"parts.{name}") == 120, f"the rows of {name}")
    for name in SPECS:
        rows, partitions = check_files(tables.load(server.catalog, f"parts.{name}"))
        assert (rows, partitions > 1) == (120, True), (name, rows, partitions)
        report = server.audit(f"parts.{name}")
        assert report["verdict"] == "right" and report["totals"]["rows"] == 120, (name, report)
    # Readers skip by partitions, so what they find is what there is.
    for filter, expected in [("name = 'a/b'", 1), ("name IS NULL", 1), ("n < -5", 1)]:
        table = {"n": "by_cut"}.get(filter.split()[0], "by_names")
        counted = tables.query(server.catalog, f"SELECT count(*) FROM ice.parts.{table} WHERE {filter}")[0][0]
        wanted = sum(1 for number in range(120) if {
            "name = 'a/b'": thing(number)["name"] == "a/b",
            "name IS NULL": thing(number)["name"] is None,
            "n < -5": thing(number)["n"] is not None and thing(number)["n"] < -5,
        }[filter])
        assert counted == wanted > 0, (filter, counted, wanted)
        assert len(tables.load(server.catalog, f"parts.{table}").scan(row_filter=filter).to_arrow()) == wanted
    for name in ("by_cut", "by_days", "by_numbers"):
        tables.check(server.catalog, f"parts.{name}")


def test_partitioned_by_kills_and_a_spec_that_evolves(serve, folder):
    server = start(serve, folder)
    run(server, folder, SOURCE + SINK.format(name="own", columns=COLUMNS, by="PARTITIONED BY (flag, `name`)") + "INSERT INTO own SELECT * FROM source;\n")
    wait_until(lambda: tables.exists(server.catalog, "parts.own"), "the table")
    made = tables.load(server.catalog, "parts.own")
    assert [(field.name, str(field.transform)) for field in made.spec().fields] == [("flag", "identity"), ("name", "identity")]
    for step in range(4):
        send(server, range(300 * step, 300 * (step + 1)))
        if step % 2:
            wait_until(lambda: tables.rows(server.catalog, "parts.own") >= 300 * step, "some of the rows")
        server.kill()
        server.start()
    wait_until(lambda: tables.rows(server.catalog, "parts.own") == 1200, "all of the rows")
    assert server.audit("parts.own")["verdict"] == "right"
    # A checkpoint looks at the table anew; the first one after a start has looked already.
    send(server, range(1200, 1210))
    wait_until(lambda: tables.rows(server.catalog, "parts.own") == 1210, "a checkpoint")
    with tables.load(server.catalog, "parts.own").update_spec() as update:
        update.remove_field("name")
        update.add_field("ts", DayTransform(), "ts_day")
    send(server, range(1210, 1500))
    wait_until(lambda: tables.rows(server.catalog, "parts.own") == 1500, "rows by the new spec")
    table = tables.load(server.catalog, "parts.own")
    assert check_files(table)[0] == 1500
    assert {task.file.spec_id for task in table.scan().plan_files()} == {table.spec().spec_id, made.spec().spec_id}
    assert server.audit("parts.own")["verdict"] == "right"
    tables.check(server.catalog, "parts.own")
