"""`write.*` properties: what a pipeline makes of them, beside what PyIceberg makes of them with the same rows."""
import json
import re

import pyarrow.parquet as pq
from confluent_kafka import Producer
from pyiceberg.catalog import load_catalog
from pyiceberg.schema import Schema
from pyiceberg.types import BinaryType, DecimalType, LongType, NestedField, StringType, StructType, TimestampType

import tables
from lakeward import wait_until

SCHEMA = Schema(
    NestedField(1, "id", LongType()), NestedField(2, "text", StringType()), NestedField(3, "word", StringType()), NestedField(4, "bin", BinaryType()),
    NestedField(5, "price", DecimalType(9, 2)), NestedField(6, "at", TimestampType()), NestedField(7, "place", StructType(NestedField(8, "city", StringType()), NestedField(9, "zip", LongType()))),
)
COLUMNS = "id BIGINT, text STRING, word STRING, bin BYTES, price DECIMAL(9, 2), `at` TIMESTAMP(6), place ROW<city STRING, zip BIGINT>"
SCRIPT = """
CREATE TABLE source (%s) WITH ('connector' = 'kafka', 'topic' = 'things', 'properties.bootstrap.servers' = 'kafka-1:9092,kafka-2:9092', 'scan.startup.mode' = 'earliest-offset', 'format' = 'json');
CREATE TABLE t (%s) WITH ('connector' = 'iceberg', 'catalog-name' = 'hive', 'catalog-database' = 'props', 'catalog-table' = '{name}', 'warehouse' = 's3://lakehouse/');
INSERT INTO t SELECT * FROM source;
""" % (COLUMNS, COLUMNS)
METRICS = "write.metadata.metrics."
NESTED = (8, 9)
CITY = b"city number 0 of them all"
PROPERTIES = {
    "plain": {},
    "counted": {METRICS + "default": "counts", METRICS + "column.text": "truncate(3)", METRICS + "column.place.city": "full", "write.parquet.compression-codec": "gzip"},
    "silent": {METRICS + "default": "none", METRICS + "column.word": "full", METRICS + "column.bin": "truncate(2)", "write.parquet.compression-codec": "snappy"},
    "full": {METRICS + "default": "full", METRICS + "column.id": "none", "write.parquet.compression-codec": "lz4", "write.parquet.page-size-bytes": "4096"},
    "brotli": {"write.parquet.compression-codec": "brotli", "write.parquet.compression-level": "3"},
}


def thing(number):
    missing = number % 9 == 8
    return {
        "id": number - 40, "text": None if missing else f"é{number % 7} and a long tail {number:05d}", "word": f"w{number % 3}",
        "bin": "//79" if number % 2 else "AAECAwQFBgcICQoLDA0ODxAREhM=", "price": None if missing else f"{number}.25",
        "at": f"2026-01-01 00:00:{number % 60:02d}.5", "place": {"city": f"city number {number % 11} of them all", "zip": number},
    }


def described(table):
    """The one file of a table, as its manifest has it."""
    (row,) = table.inspect.files().to_pylist()
    return {name: dict(row[name] or []) for name in ("value_counts", "null_value_counts", "lower_bounds", "upper_bounds")} | {"sized": sorted(dict(row["column_sizes"]))}, row["file_path"]


def test_files_and_manifests_are_as_pyiceberg_makes_them(serve, folder):
    server = serve(tables.mapping(folder), ["--commit-interval", "300 ms"])
    server.create_topic("things", 1)
    producer = Producer({"bootstrap.servers": server.kafka})
    for number in range(100):
        producer.produce("things", json.dumps(thing(number)))
    assert producer.flush(10) == 0
    catalog = load_catalog("e2e", type="rest", uri=server.catalog)
    catalog.create_namespace("props")
    for name, properties in PROPERTIES.items():
        for table in (name, f"{name}_twin"):
            catalog.create_table(("props", table), SCHEMA, properties=properties)
        script = folder / f"{name}.sql"
        script.write_text(SCRIPT.format(name=name))
        server.ok("run", script, "--detach")
    for name in PROPERTIES:
        wait_until(lambda: tables.rows(server.catalog, f"props.{name}") == 100, "the rows")
        ours, twin = catalog.load_table(("props", name)), catalog.load_table(("props", f"{name}_twin"))
        twin.append(ours.scan().to_arrow())
        (mine, path), (theirs, their_path) = described(ours), described(twin)
        for key in mine:
            # PyIceberg has no bounds of fields inside of structs, as Java has them.
            own = {} if key == "sized" else {field: bound for field, bound in mine[key].items() if "bounds" in key and field in NESTED}
            assert (mine[key] if key == "sized" else {field: value for field, value in mine[key].items() if field not in own}) == theirs[key], (name, key)
            if key == "lower_bounds":
                assert own.get(8) == {"silent": None, "counted": CITY, "full": CITY}.get(name, CITY[:16]), name
        codec = lambda path: {pq.ParquetFile(path.removeprefix("file://")).metadata.row_group(0).column(column).compression for column in range(8)}
        assert codec(path) == codec(their_path), name
        assert tables.query(server.catalog, f"SELECT COUNT(*), SUM(id), MAX(text) FROM ice.props.{name}") == tables.query(server.catalog, f"SELECT COUNT(*), SUM(id), MAX(text) FROM ice.props.{name}_twin")

    # What cannot be obeyed stops the pipeline with the reason, until it can.
    with catalog.load_table("props.plain").transaction() as change:
        change.set_properties({"write.object-storage.enabled": "true"})
    producer.produce("things", json.dumps(thing(100)))
    assert producer.flush(10) == 0
    job = wait_until(lambda: (job := server.json("pipeline", "show", "plain")["jobs"][0])["state"] == "failed" and job, "the pipeline says why it cannot go on")
    assert re.search("write.object-storage.enabled is 'true'. Files are in folders by partition", job["detail"]), job
    with catalog.load_table("props.plain").transaction() as change:
        change.remove_properties("write.object-storage.enabled")
    server.ok("pipeline", "resume", "plain")
    wait_until(lambda: tables.rows(server.catalog, "props.plain") == 101, "it goes on")
    assert server.audit("props.plain")["ok"]
