"""Columns that `ALTER TABLE`, a script or the registry change: PyIceberg does the same to a twin, and reads with DuckDB what a pipeline writes meanwhile."""
import json
from decimal import Decimal

import pyarrow as pa
from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from pyiceberg.catalog import load_catalog
from pyiceberg.schema import Schema
from pyiceberg.types import DateType, DecimalType, DoubleType, FloatType, IntegerType, LongType, NestedField, StringType, StructType

import tables
from lakeward import wait_until

SCRIPT = """
CREATE TABLE source (id BIGINT, n INT, name STRING) WITH ('connector' = 'kafka', 'topic' = 'things', 'properties.bootstrap.servers' = 'kafka-1:9092,kafka-2:9092', 'scan.startup.mode' = 'earliest-offset', 'format' = 'json');
CREATE TABLE live (id BIGINT, n INT, name STRING) WITH ('connector' = 'iceberg', 'catalog-name' = 'hive', 'catalog-database' = 'db', 'catalog-table' = 'live', 'warehouse' = 's3://lakehouse/');
INSERT INTO live SELECT * FROM source;
"""
COLUMNS = Schema(
    NestedField(1, "id", IntegerType(), required=True, doc="the key"), NestedField(2, "v", FloatType()), NestedField(3, "price", DecimalType(9, 2)), NestedField(4, "note", StringType()),
)
ROWS = pa.table({"id": pa.array([1, 2], pa.int32()), "v": pa.array([0.5, None], pa.float32()), "price": pa.array([Decimal("1.25"), Decimal("2.50")], pa.decimal128(9, 2)), "note": ["a", None]}, schema=COLUMNS.as_arrow())


def schema(table):
    return [(field.field_id, field.name, str(field.field_type), field.required, field.doc) for field in table.schema().fields]


def read(table, snapshot=None):
    return sorted(map(tuple, (row.values() for row in table.scan(snapshot_id=snapshot).to_arrow().to_pylist())))


def test_columns_become_what_pyiceberg_makes_of_them(serve):
    server = serve()
    catalog = load_catalog("e2e", type="rest", uri=server.catalog)
    catalog.create_namespace("db")
    made = [catalog.create_table(name, COLUMNS) for name in ("db.t", "db.twin")]
    for table in made:
        table.append(ROWS)
    ours, twin = made
    before = ours.current_snapshot().snapshot_id
    steps = [
        ("ADD (sold DATE COMMENT 'of the sale' FIRST, place ROW<x INT, y STRING> AFTER v)",
         lambda update: update.add_column("sold", DateType(), doc="of the sale").move_first("sold")
         .add_column("place", StructType(NestedField(1, "x", IntegerType()), NestedField(2, "y", StringType()))).move_after("place", "v")),
        ("MODIFY (id BIGINT NOT NULL, v DOUBLE COMMENT 'wide', price DECIMAL(18, 2) FIRST)",
         lambda update: update.update_column("id", LongType()).update_column("v", DoubleType(), doc="wide").update_column("price", DecimalType(18, 2)).move_first("price")),
        ("MODIFY id BIGINT", lambda update: update.make_column_optional("id")),
        ("RENAME note TO remark", lambda update: update.rename_column("note", "remark")),
        ("MODIFY place ROW<x BIGINT, y STRING> AFTER remark", lambda update: update.update_column(("place", "x"), LongType()).move_after("place", "remark")),
        ("DROP (sold, place)", lambda update: update.delete_column("sold").delete_column("place")),
        # A column that comes back under an old name is another.
        ("ADD sold STRING", lambda update: update.add_column("sold", StringType())),
    ]
    for words, change in steps:
        answer = server.json("sql", "-e", f"ALTER TABLE db.t {words}")
        assert answer["columns"] == ["result"] and answer["rows"] == [["OK"]] and answer["notices"] == [], words
        with twin.update_schema() as update:
            change(update)
        ours = catalog.load_table("db.t")
        assert schema(ours) == schema(twin.refresh()), words
        assert read(ours) == read(twin), words
        # Whoever reads what was before reads it as it was then.
        assert [list(row) for row in read(ours, before)] == [[1, 0.5, Decimal("1.25"), "a"], [2, None, Decimal("2.50"), None]]
        assert ours.scan(snapshot_id=before).to_arrow().column_names == ["id", "v", "price", "note"]
    assert tables.query(server.catalog, "SELECT * FROM ice.db.t ORDER BY id") == [(Decimal("1.25"), 1, 0.5, "a", None), (Decimal("2.50"), 2, None, None, None)]
    assert server.json("sql", "-e", "SELECT price, id, v, remark, sold FROM db.t ORDER BY id")["rows"] == [["1.25", 1, 0.5, "a", None], ["2.50", 2, None, None, None]]
    assert len(ours.metadata.snapshots) == 1

    for words, why in [
        ("MODIFY id INT", "column 'id' is long and cannot become int"), ("MODIFY v DOUBLE NOT NULL", "column 'v' cannot become NOT NULL"),
        ("DROP nothing", "the table has no column 'nothing'"), ("ADD more INT NOT NULL", "column 'more' cannot be added as NOT NULL"),
    ]:
        refused = server.run("sql", "-e", f"ALTER TABLE db.t {words}")
        assert refused.returncode == 1 and why in refused.stderr, refused.stderr
    assert schema(catalog.load_table("db.t")) == schema(twin)

    alter = lambda words: server.json("sql", "-e", f"ALTER TABLE db.t {words}")["notices"]
    assert alter("SET ('write.parquet.compression-codec' = 'snappy', 'team' = 'lake')") == []
    assert "do not write a table" in alter("SET ('write.format.default' = 'orc')")[0]
    assert alter("RESET ('write.format.default', 'nothing')") == []
    assert {key: value for key, value in catalog.load_table("db.t").properties.items() if key in ("team", "write.parquet.compression-codec", "write.format.default")} == {"team": "lake", "write.parquet.compression-codec": "snappy"}
    for words, why in [("SET ('write.target-file-size-bytes' = '1 GB')", "'1 GB' is not a value of"), ("RESET ('lakeward.marker.main')", "is not set by hand")]:
        refused = server.run("sql", "-e", f"ALTER TABLE db.t {words}")
        assert refused.returncode == 1 and why in refused.stderr, refused.stderr
    refused = server.run("sql", "-e", "ALTER TABLE db.t\nADD COLUMN more INT")
    assert refused.returncode == 1 and "2 │ ADD COLUMN more INT" in refused.stderr and "Flink leaves the word out" in refused.stderr, refused.stderr
    assert server.run("sql", "-e", "ALTER TABLE db.nothing ADD more INT").returncode == 1
    server.ok("sql", "-e", "ALTER TABLE IF EXISTS db.nothing ADD more INT")


class Stream:
    """The topic of the scripts, and how much was sent to it."""

    def __init__(self, server):
        self.server, self.sent = server, 0
        server.create_topic("things", 2)

    def send(self):
        producer = Producer({"bootstrap.servers": self.server.kafka})
        for number in range(self.sent, self.sent + 20):
            producer.produce("things", json.dumps({"id": number, "n": number % 3, "name": f"thing {number}", "price": number}), partition=number % 2)
        assert producer.flush(10) == 0
        self.sent += 20

    def landed(self):
        wait_until(lambda: tables.rows(self.server.catalog, "db.live") == self.sent, f"{self.sent} rows")


def test_a_pipeline_goes_on_over_what_is_altered_or_it_is_told(serve, folder):
    server = serve(tables.mapping(folder), ["--commit-interval", "200 ms"])
    stream = Stream(server)
    script = folder / "live.sql"
    script.write_text(SCRIPT)
    server.ok("run", script, "--detach")
    stream.send()
    stream.landed()
    for words in ("RENAME name TO label", "ADD (name STRING FIRST, more INT)", "MODIFY n BIGINT FIRST", "DROP more"):
        stream.send()
        assert server.json("sql", "-e", f"ALTER TABLE db.live {words}")["notices"] == [], words
        stream.send()
    stream.landed()
    expected = [(number, number % 3, f"thing {number}", None) for number in range(stream.sent)]
    assert tables.query(server.catalog, "SELECT id, n, label, name FROM ice.db.live ORDER BY id") == expected

    # What the pipeline writes goes away: it is said at once, and the pipeline says it too.
    notices = server.json("sql", "-e", "ALTER TABLE db.live DROP n")["notices"]
    assert len(notices) == 1 and "pipeline 'live' writes column n" in notices[0] and "pauses" in notices[0], notices
    stream.send()
    wait_until(lambda: server.json("pipeline", "show", "live")["jobs"][0]["state"] == "paused", "a pause")
    server.ok("sql", "-e", "ALTER TABLE db.live ADD n BIGINT")
    server.ok("pipeline", "resume", "live")
    stream.send()
    stream.landed()
    assert tables.query(server.catalog, "SELECT COUNT(DISTINCT id), COUNT(label) FROM ice.db.live") == [(stream.sent, stream.sent)]
    audit = server.audit("db.live")
    assert audit["ok"] and audit["totals"]["rows"] == stream.sent, audit


EVOLVING = SCRIPT.replace("'warehouse' = 's3://lakehouse/')", "'warehouse' = 's3://lakehouse/', 'lakeward.schema-change' = 'evolve')")
WIDER = EVOLVING.replace("(id BIGINT, n INT, name STRING)", "(id BIGINT, price DECIMAL(9, 2), n BIGINT, name STRING)")


def test_a_table_evolves_with_its_script_and_under_other_engines(serve, folder):
    server = serve(tables.mapping(folder), ["--commit-interval", "200 ms"])
    stream = Stream(server)
    script = folder / "live.sql"
    script.write_text(EVOLVING)
    server.ok("run", script, "--detach")
    stream.send()
    stream.landed()
    catalog = load_catalog("e2e", type="rest", uri=server.catalog)
    load = lambda: catalog.load_table("db.live")
    before = load().current_snapshot().snapshot_id

    # The script asks for more than the table has. Who only looks changes nothing.
    script.write_text(WIDER)
    server.ok("check", script)
    assert [field.name for field in load().schema().fields] == ["id", "n", "name"]
    server.ok("run", script, "--replace", "--detach")
    stream.send()
    stream.landed()
    assert [(field.field_id, field.name, str(field.field_type)) for field in load().schema().fields] == [(1, "id", "long"), (2, "n", "long"), (3, "name", "string"), (4, "price", "decimal(9, 2)")]
    read = lambda: tables.query(server.catalog, "SELECT id, n, name, price FROM ice.db.live ORDER BY id")
    expected = [(number, number % 3, f"thing {number}", None if number < 20 else Decimal(number)) for number in range(40)]
    assert read() == expected
    assert load().scan(snapshot_id=before).to_arrow().column_names == ["id", "n", "name"]

    # Another engine takes a column away and asks for one that nobody writes: the table gets back what rows need.
    with load().update_schema(allow_incompatible_changes=True) as update:
        update.delete_column("price").add_column("theirs", IntegerType(), required=True)
    stream.send()
    stream.landed()
    assert server.json("pipeline", "show", "live")["jobs"][0]["state"] == "running"
    assert read() == [row[:3] + (None if row[0] < 40 else Decimal(row[0]),) for row in expected + [(number, number % 3, f"thing {number}", None) for number in range(40, 60)]]
    audit = server.audit("db.live")
    assert audit["ok"] and audit["totals"]["rows"] == stream.sent and audit["totals"]["unverified"] == 0, audit

    # What is no widening pauses it all the same, until somebody decides.
    with load().update_schema() as update:
        update.delete_column("n")
    with load().update_schema() as update:
        update.add_column("n", StringType())
    stream.send()
    job = wait_until(lambda: (job := server.json("pipeline", "show", "live")["jobs"][0])["state"] == "paused" and job, "a pause")
    assert "Column n is string in the table and long in the sink." in job["reason"] and "evolve" not in job["reason"], job
    server.ok("sql", "-e", "ALTER TABLE db.live DROP n")
    server.ok("pipeline", "resume", "live")
    stream.landed()
    assert tables.query(server.catalog, "SELECT COUNT(DISTINCT id), COUNT(n), MAX(n) FROM ice.db.live") == [(80, 20, 2)]


REGISTERED = EVOLVING.replace("(id BIGINT, n INT, name STRING)", "(id BIGINT, name STRING)").replace("'format' = 'json'", "'format' = 'avro-confluent'")


def test_a_field_that_is_registered_is_told_and_comes_into_the_table(serve, folder):
    server = serve(tables.mapping(folder), ["--commit-interval", "200 ms"])
    server.create_topic("things", 1)
    script = folder / "live.sql"
    script.write_text(REGISTERED)
    fields = [{"name": "id", "type": "long"}, {"name": "name", "type": "string"}]

    def send(numbers):
        schema = json.dumps({"type": "record", "name": "thing", "fields": fields})
        serialize = AvroSerializer(SchemaRegistryClient({"url": server.registry}), schema)
        producer, context = Producer({"bootstrap.servers": server.kafka}), SerializationContext("things", MessageField.VALUE)
        for number in numbers:
            thing = {"id": number, "name": f"thing {number}", "note": f"note {number}", "price": Decimal(number)}
            producer.produce("things", serialize({field["name"]: thing[field["name"]] for field in fields}, context))
        assert producer.flush(10) == 0
        wait_until(lambda: tables.rows(server.catalog, "db.live") == numbers.stop, f"{numbers.stop} rows")

    server.ok("run", script, "--detach")
    send(range(10))
    assert "registered" not in server.ok("check", script)
    # The pipeline goes on over what it does not know, and whoever asks is told what to write.
    fields.append({"name": "note", "type": ["null", "string"], "default": None})
    fields.append({"name": "price", "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}], "default": None})
    send(range(10, 20))
    assert "CREATE TABLE source (…, `note` STRING, `price` DECIMAL(9, 2))" in server.ok("check", script)
    script.write_text(REGISTERED.replace("name STRING)", "name STRING, `note` STRING, `price` DECIMAL(9, 2))"))
    assert "does not declare" not in server.ok("check", script)
    server.ok("run", script, "--replace", "--detach")
    send(range(20, 30))
    noted = [(number, f"thing {number}", *((f"note {number}", Decimal(number)) if number >= 20 else (None, None))) for number in range(30)]
    assert tables.query(server.catalog, "SELECT id, name, note, price FROM ice.db.live ORDER BY id") == noted
    audit = server.audit("db.live")
    assert audit["ok"] and audit["totals"]["rows"] == 30, audit
