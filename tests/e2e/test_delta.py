"""Delta tables: exactly once across kills, read by delta-rs and DuckDB, of which the first writes to them as well; types, partitions, checkpoints, dead letters."""
import datetime
import decimal
import json
import os
import random
import threading
import time
from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc
from confluent_kafka import Producer
from deltalake import DeltaTable, write_deltalake

import tables
from lakeward import wait_until

KILLS = int(os.environ.get("LAKEWARD_E2E_DELTA_KILLS", 6))
PARTITIONS = 3
SOURCE = """CREATE TABLE events ({columns}) WITH ('connector' = 'kafka', 'topic' = 'events', 'properties.bootstrap.servers' = 'kafka-1:9092,kafka-2:9092',
  'scan.startup.mode' = 'earliest-offset', 'format' = 'json');
"""


def start(serve, folder):
    server = serve(tables.mapping(folder), ["--commit-interval", "200 ms"])
    server.create_topic("events", PARTITIONS)
    return server


def run(server, script, *arguments):
    path = server.folder / "script.sql"
    path.write_text(script)
    return server.run("run", path, "--detach", *arguments)


def send(server, events):
    client = Producer({"bootstrap.servers": server.kafka})
    for number, event in enumerate(events):
        value = event if isinstance(event, bytes) else json.dumps(event).encode()
        client.produce("events", value, partition=number % PARTITIONS)
    assert client.flush(30) == 0


def read(path):
    """All rows, by delta-rs; none where there is no table yet."""
    if not DeltaTable.is_deltatable(str(path)):
        return pa.table({})
    return DeltaTable(str(path)).to_pyarrow_table()


def ends(table):
    """Up to where the table's own log says that it goes."""
    return [table.transaction_version(f"lakeward/end/{partition}/events") for partition in range(PARTITIONS)]


class Load(threading.Thread):
    """Numbers, each once, through kills: an idempotent producer that never gives up."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.client = Producer({"bootstrap.servers": server.kafka, "enable.idempotence": True, "message.timeout.ms": 120_000, "linger.ms": 5})
        self.over = threading.Event()
        self.sent = 0

    def run(self):
        while not self.over.is_set():
            for _ in range(40):
                event = {"n": self.sent, "kind": f"k {self.sent % 3}"}
                self.client.produce("events", json.dumps(event).encode(), partition=self.sent % PARTITIONS)
                self.sent += 1
            self.client.poll(0)
            time.sleep(0.01)
        assert self.client.flush(60) == 0


def test_kills_lose_and_double_nothing_beside_other_writers(serve, folder):
    seed = int(os.environ.get("LAKEWARD_E2E_SEED", random.randrange(2**32)))
    print(f"replay the moments of the kills with LAKEWARD_E2E_SEED={seed}")
    chance = random.Random(seed)
    server = start(serve, folder)
    path = folder / "warehouse/delta/events"
    columns = "n BIGINT, kind STRING"
    done = run(server, SOURCE.format(columns=columns) + f"""
CREATE TABLE delta ({columns}) PARTITIONED BY (kind) WITH ('connector' = 'delta', 'table-path' = 's3://lakehouse/delta/events');
CREATE TABLE twin ({columns}) WITH ('connector' = 'iceberg', 'catalog-name' = 'hive', 'catalog-database' = 'lake', 'warehouse' = 's3://lakehouse/');
EXECUTE STATEMENT SET BEGIN
INSERT INTO delta SELECT n, kind FROM events;
INSERT INTO twin SELECT n, kind FROM events;
END;
""")
    assert done.returncode == 0, done.stderr
    wait_until(lambda: DeltaTable.is_deltatable(str(path)), "the table")
    load = Load(server)
    load.start()
    theirs = 0
    for _ in range(KILLS):
        until = time.monotonic() + chance.uniform(0.3, 1.2)
        while time.monotonic() < until:
            theirs += 1
            write_deltalake(str(path), pa.table({"n": pa.array([-theirs], pa.int64()), "kind": ["theirs"]}), mode="append")
            time.sleep(0.05)
        server.kill()
        server.start()
    load.over.set()
    load.join(90)
    assert not load.is_alive()
    wait_until(lambda: read(path).num_rows >= load.sent + theirs, f"{load.sent} rows and {theirs} of others", seconds=60)
    rows = read(path)
    assert Counter(rows["n"].to_pylist()) == Counter(list(range(load.sent)) + [-n for n in range(1, theirs + 1)])
    assert all(kind == "theirs" if n < 0 else kind == f"k {n % 3}" for n, kind in zip(rows["n"].to_pylist(), rows["kind"].to_pylist()))

    # What the Iceberg twin has, and as much as the log has; the table itself says so.
    wait_until(lambda: tables.rows(server.catalog, "lake.twin") >= load.sent, "the twin")
    ours = [(row["n"], row["kind"]) for row in rows.to_pylist() if row["n"] >= 0]
    assert Counter(tables.query(server.catalog, "SELECT n, kind FROM ice.lake.twin")) == Counter(ours)
    table = DeltaTable(str(path))
    assert sum(ends(table)) == load.sent
    assert [table.transaction_version(f"lakeward/begin/{partition}/events") for partition in range(PARTITIONS)] == [0] * PARTITIONS
    assert table.protocol().min_reader_version == 1 and table.protocol().min_writer_version == 2
    assert table.metadata().partition_columns == ["kind"]

    # Every offset is verified, whoever wrote beside.
    report = server.audit("s3://lakehouse/delta/events")
    assert report["ok"] and report["totals"]["rows"] == load.sent and report["foreign_rows"] == theirs, report

    # Versions are without a gap, and the log can be read from its newest checkpoint alone.
    log = path / "_delta_log"
    versions = sorted(int(file.name.split(".")[0]) for file in log.glob("0*.json"))
    assert versions == list(range(table.version() + 1))
    newest = json.loads((log / "_last_checkpoint").read_text())["version"]
    assert newest >= 10
    for file in log.glob("0*.json"):
        if int(file.name.split(".")[0]) <= newest:
            file.unlink()
    assert read(path).sort_by("n").equals(rows.sort_by("n"))
    assert sum(ends(DeltaTable(str(path)))) == load.sent
    tables.check_delta(path)
    named = {os.path.basename(file) for file in DeltaTable(str(path)).file_uris()}
    left = {file.name for file in path.rglob("*.parquet") if "_delta_log" not in file.parts} - named
    assert not left, f"files of aborted checkpoints stay: {left}"
    print(f"{KILLS} kills, {load.sent} events, {theirs} commits of delta-rs, {table.version()} versions")


COLUMNS = [
    ("id", "BIGINT NOT NULL"), ("tiny", "TINYINT"), ("small", "SMALLINT"), ("n", "INT"), ("ratio", "DOUBLE"), ("single", "FLOAT"), ("flag", "BOOLEAN"),
    ("price", "DECIMAL(9, 2)"), ("wide", "DECIMAL(30, 4)"), ("name", "STRING"), ("bin", "BYTES"), ("day", "DATE"), ("ts", "TIMESTAMP(6)"), ("tz", "TIMESTAMP_LTZ(6)"),
    ("list", "ARRAY<INT>"), ("map", "MAP<STRING, DOUBLE>"), ("nested", "ROW<a INT, b ARRAY<STRING>>"),
]


def thing(number):
    moment = ["1815-06-18 11:30:00.250001", "2026-07-01 12:34:56.789012", None][number % 3]
    some = lambda value: None if number % 5 == 4 else value
    return {
        "id": number, "tiny": some(number % 100 - 50), "small": some(number * 7 - 300), "n": some(number - 60), "ratio": some((number % 3 - 1) / 4), "single": some(number / 8), "flag": some(number % 2 == 0),
        "price": some(round((number % 6 - 3) * 10.65, 2)), "wide": some((number % 5 - 2) * 123456789.5), "name": some(["", "a/b %ü", "x" * 40, "𝄞"][number % 4]), "bin": some("AAH/"),
        "day": moment and moment[:10], "ts": moment, "tz": moment and moment + "Z", "list": some([number, None]), "map": some({"k": number / 2}), "nested": some({"a": number, "b": ["x", None]}),
    }


def test_types_partitions_and_dead_letters(serve, folder):
    server = start(serve, folder)
    columns = ", ".join(f"`{name}` {ty}" for name, ty in COLUMNS)
    delta = "WITH ('connector' = 'delta', 'table-path' = 's3://lakehouse/{}');\n"
    done = run(server, SOURCE.format(columns=columns) + f"CREATE TABLE plain ({columns}) {delta.format('plain')}"
               f"CREATE TABLE parts ({columns}) PARTITIONED BY (`name`, `day`, `flag`, `n`) {delta.format('parts')}"
               f"CREATE TABLE twin ({columns}) WITH ('connector' = 'iceberg', 'catalog-name' = 'hive', 'catalog-database' = 'lake', 'warehouse' = 's3://lakehouse/');\n"
               "EXECUTE STATEMENT SET BEGIN INSERT INTO plain SELECT * FROM events; INSERT INTO parts SELECT * FROM events; INSERT INTO twin SELECT * FROM events; END;")
    assert done.returncode == 0, done.stderr
    send(server, [thing(number) for number in range(120)] + [b'{"id": null}', b"\xff\x00"])
    plain, parts = folder / "warehouse/plain", folder / "warehouse/parts"
    wait_until(lambda: read(plain).num_rows == 120 and read(parts).num_rows == 120 and tables.rows(server.catalog, "lake.twin") == 120, "all rows in all tables")
    rows = read(plain).sort_by("id")
    twin = tables.load(server.catalog, "lake.twin").scan().to_arrow().sort_by("id")
    assert rows.to_pylist() == twin.to_pylist(), "the same as in Iceberg, by PyIceberg"
    assert str(rows.schema.field("ts").type) == "timestamp[us]" and str(rows.schema.field("tz").type) == "timestamp[us, tz=UTC]"
    assert rows.schema.field("tiny").type == pa.int8() and rows.schema.field("wide").type == pa.decimal128(30, 4)
    # A partition's empty text is NULL to every reader of Delta.
    as_delta = [{**row, "name": row["name"] or None} for row in rows.to_pylist()]
    assert read(parts).sort_by("id").select(rows.column_names).to_pylist() == as_delta

    # Statistics never hide a row: what a reader finds with a filter is what it finds without.
    dataset = DeltaTable(str(plain)).to_pyarrow_dataset()
    for name, value in [("id", 60), ("tiny", 0), ("ratio", 0.25), ("single", 7.5), ("flag", True), ("price", decimal.Decimal("10.65")), ("wide", decimal.Decimal("123456789.5000")), ("name", "x" * 40), ("day", datetime.date(1815, 6, 18)),
                        ("ts", datetime.datetime(1815, 6, 18, 11, 30, 0, 250001)), ("tz", datetime.datetime(2026, 7, 1, 12, 34, 56, 789012, datetime.timezone.utc))]:
        expected = sum(row[name] == value for row in rows.to_pylist())
        assert expected and dataset.to_table(filter=pc.field(name) == pa.scalar(value, rows.schema.field(name).type)).num_rows == expected, name
    stats = pa.table(DeltaTable(str(plain)).get_add_actions(flatten=True))
    assert sum(stats["num_records"].to_pylist()) == 120
    assert min(stats["min.wide"].to_pylist()) == decimal.Decimal("-246913579.0000") and all(stats["null_count.ratio"].is_valid().to_pylist())
    tables.check_delta(plain, parts)

    # What failed is beside each table, once, with its bytes.
    for path in (plain, parts):
        letters = read(str(path) + "__dead_letters")
        assert sorted(bytes(value) for value in letters["value"].to_pylist()) == sorted([b'{"id": null}', b"\xff\x00"])
    report = server.audit("s3://lakehouse/plain")
    assert report["ok"] and report["totals"]["table_rows"] == 120 and report["totals"]["dead_letters"] == 2, report
    report = server.audit("s3://lakehouse/parts")
    assert report["ok"] and report["totals"]["table_rows"] == 120, report
    refused = server.run("table", "show", "s3://lakehouse/plain")
    assert refused.returncode != 0 and "is a Delta table" in refused.stderr + refused.stdout, refused


def complaint(server):
    """What the pipeline says is wrong, or why it pauses."""
    (pipeline,) = server.json("pipeline", "list")
    return json.dumps(server.json("pipeline", "show", pipeline["name"]))


def test_tables_of_others_are_appended_to_or_refused(serve, folder):
    server = start(serve, folder)
    path = folder / "theirs"
    row = lambda *numbers: pa.table({"n": pa.array(numbers, pa.int64()), "kind": [f"k{n % 2}" for n in numbers], "extra": pa.array([None for _ in numbers], pa.string())})
    write_deltalake(str(path), row(-1, -2), partition_by=["kind"])
    for number in range(3, 15):
        write_deltalake(str(path), row(-number), mode="append")
    DeltaTable(str(path)).create_checkpoint()
    write_deltalake(str(path), row(-15), mode="append")
    script = lambda options="": "SET 'pipeline.name' = 'theirs';\n" + SOURCE.format(columns="n BIGINT, kind STRING, more INT") + (
        f"CREATE TABLE lake (n BIGINT, kind STRING, more INT) WITH ('connector' = 'delta', 'table-path' = 'file://{path}'{options});\nINSERT INTO lake SELECT n, kind, more FROM events;")
    refused = run(server, script())
    wait_until(lambda: "has no column more (integer)" in refused.stderr or "has no column more (integer)" in complaint(server), "why it does not run")
    done = run(server, script(", 'mergeSchema' = 'true'"), "--replace")
    assert done.returncode == 0, done.stderr
    send(server, [{"n": n, "kind": f"k{n % 2}", "more": n * 2} for n in range(30)])
    wait_until(lambda: read(path).num_rows == 45, "30 rows beside 15 of others")
    # They delete, rewrite and clean up while it goes on.
    DeltaTable(str(path)).delete("n < -10")
    DeltaTable(str(path)).optimize.compact()
    send(server, [{"n": n, "kind": f"k{n % 2}", "more": None} for n in range(30, 40)])
    wait_until(lambda: read(path).num_rows == 50, "10 more, without 5 that were deleted")
    DeltaTable(str(path)).create_checkpoint()
    DeltaTable(str(path)).cleanup_metadata()
    DeltaTable(str(path)).vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    rows = read(path)
    assert sorted(rows["n"].to_pylist()) == [*range(-10, 0), *range(40)]
    assert {row["n"]: row["more"] for row in rows.to_pylist()}[7] == 14 and set(rows.column_names) == {"n", "kind", "extra", "more"}

    # What they wrote anew is found by its values.
    report = server.audit(str(path))
    assert report["ok"] and report["totals"]["rows"] == 40 and report["foreign_rows"] == 10 and report["rewritten_rows"] > 0, report

    # A constraint, which a blind append does not look at, pauses it in words, and it goes on once that is gone.
    DeltaTable(str(path)).alter.add_constraint({"positive": "n > -1000"})
    send(server, [{"n": 40, "kind": "k0", "more": None}])
    wait_until(lambda: "CHECK constraint positive" in complaint(server), "why it does not go on")
    assert read(path).num_rows == 50
    DeltaTable(str(path)).alter.drop_constraint("positive")
    server.ok("pipeline", "resume", "theirs")
    wait_until(lambda: sorted(read(path)["n"].to_pylist()) == [*range(-10, 0), *range(41)], "what waited")

    # What they delete of ours is told.
    DeltaTable(str(path)).delete("n = 7")
    report = server.audit(str(path))
    assert not report["ok"] and report["totals"]["gaps"] == 1, report
