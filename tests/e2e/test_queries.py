"""`lakeward sql` and `lakeward table` over tables of others: PyIceberg and DuckDB say what the answers have to be."""
import datetime
import decimal

import pyarrow as pa
from pyiceberg.catalog import load_catalog
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import BucketTransform, DayTransform, IdentityTransform, TruncateTransform
from pyiceberg.types import DateType, DecimalType, LongType, NestedField, StringType, TimestampType

import inventory
import tables
from lakeward import REPOSITORY, wait_until

FIELDS = [
    NestedField(1, "id", LongType(), required=True),
    NestedField(2, "name", StringType()),
    NestedField(3, "day", DateType()),
    NestedField(4, "at", TimestampType()),
    NestedField(5, "price", DecimalType(10, 2)),
]
SPEC = PartitionSpec(
    PartitionField(3, 1000, IdentityTransform(), "day"),
    PartitionField(1, 1001, BucketTransform(2), "id_bucket"),
    PartitionField(2, 1002, TruncateTransform(2), "name_trunc"),
    PartitionField(4, 1003, DayTransform(), "at_day"),
)


def rows(table, ids):
    """Rows whose values follow from their ids: names with NULLs and accents, days before and after 1970."""
    epoch = datetime.date(1970, 1, 1)
    at = [i * 3 - 40 for i in ids]
    return pa.table({
        "id": list(ids),
        "name": [None if i % 7 == 0 else f"é{i % 3}x{i}" for i in ids],
        "day": [epoch + datetime.timedelta(days=d) for d in (i % 2 for i in ids)],
        "at": [datetime.datetime(1970, 1, 1) + datetime.timedelta(days=d, hours=1) for d in (d // 60 for d in at)],
        "price": [decimal.Decimal(i) / 100 for i in ids],
    }, schema=table.schema().as_arrow())


def foreign(server):
    """A table of four transforms: two appends by PyIceberg, a tag, then deletes by DuckDB, and a branch without them."""
    catalog = load_catalog("e2e", type="rest", uri=server.catalog)
    catalog.create_namespace("db")
    table = catalog.create_table("db.t", Schema(*FIELDS), partition_spec=SPEC)
    table.append(rows(table, range(0, 20)))
    table.append(rows(table, range(20, 30)))
    head = table.current_snapshot().snapshot_id
    table.manage_snapshots().create_tag(head, "whole").create_branch(head, "audit").commit()
    with tables.duck(server.catalog) as duck:
        duck.execute("DELETE FROM ice.db.t WHERE id % 5 = 0")
        duck.execute("DELETE FROM ice.db.t WHERE id = 3")
    return catalog.load_table("db.t")


def told(value):
    """As JSON tells it."""
    if isinstance(value, datetime.datetime):
        return value.replace(tzinfo=None)
    if isinstance(value, list) and value and isinstance(value[0], tuple):
        return {str(key): item for key, item in value}
    if isinstance(value, dict):
        return {key: told(item) for key, item in value.items()}
    return value


def as_time(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).replace(tzinfo=None)


def compare(ours, theirs, columns, by):
    """Columns of the same names hold the same, row by row."""
    key = lambda row: tuple(str(row[name]) for name in by)
    theirs = sorted(theirs.select(columns).to_pylist(maps_as_pydicts=None), key=key)
    ours = sorted(ours, key=key)
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs):
        for name in columns:
            got, expected = mine[name], told(other[name])
            if isinstance(expected, datetime.datetime):
                got = as_time(got)
            if isinstance(got, dict) and not expected:
                expected = {}  # a map that is not there is told as one without entries
            assert got == expected, f"{name}: {got} != {expected}"


def test_metadata_is_told_as_pyiceberg_tells_it(server):
    table = foreign(server)
    inspect = table.inspect
    ask = lambda *words: server.json("table", *words)
    compare(ask("snapshots", "db.t"), inspect.snapshots(), ["committed_at", "snapshot_id", "parent_id", "operation", "manifest_list", "summary"], ["snapshot_id"])
    compare(ask("history", "db.t"), inspect.history(), ["made_current_at", "snapshot_id", "parent_id", "is_current_ancestor"], ["snapshot_id"])
    compare(ask("refs", "db.t"), inspect.refs(), ["name", "type", "snapshot_id", "max_reference_age_in_ms", "min_snapshots_to_keep", "max_snapshot_age_in_ms"], ["name"])
    manifests = ["content", "path", "length", "partition_spec_id", "added_snapshot_id", "added_data_files_count", "existing_data_files_count",
                 "deleted_data_files_count", "added_delete_files_count", "existing_delete_files_count", "deleted_delete_files_count"]
    compare(ask("manifests", "db.t"), inspect.manifests(), manifests, ["path"])
    files = ["content", "file_path", "file_format", "spec_id", "record_count", "file_size_in_bytes", "column_sizes", "value_counts", "null_value_counts", "nan_value_counts"]
    compare(ask("files", "db.t"), inspect.files(), files, ["file_path"])
    for snapshot in table.snapshots():
        compare(ask("files", "db.t", "--as-of", str(snapshot.snapshot_id)), inspect.files(snapshot.snapshot_id), files, ["file_path"])

    # Values of partitions and bounds: as the table's own files have them.
    theirs = {row["file_path"]: row for row in inspect.files().to_pylist()}
    for row in ask("files", "db.t"):
        if row["content"] != 0:
            continue
        other = theirs[row["file_path"]]
        partition = other["partition"]
        assert row["partition"] == {name: str(value) if isinstance(value, datetime.date) else value for name, value in partition.items()}
        metrics = other["readable_metrics"]["id"]
        assert (row["lower_bounds"]["1"], row["upper_bounds"]["1"]) == (str(metrics["lower_bound"]), str(metrics["upper_bound"]))

    partitions = inspect.partitions().to_pylist()
    ours = ask("partitions", "db.t")
    total = lambda rows, name: sum(row[name] for row in rows)
    assert len(ours) == len(partitions)
    for name in ("record_count", "file_count", "total_data_file_size_in_bytes", "position_delete_record_count", "position_delete_file_count"):
        assert total(ours, name) == total(partitions, name), name


def test_a_foreign_table_is_read_as_it_was(server):
    table = foreign(server)
    answers = lambda sql: server.json("sql", "-e", sql)["rows"]
    for snapshot in table.snapshots():
        theirs = table.scan(snapshot_id=snapshot.snapshot_id).to_arrow()
        expected = sorted((row["id"], row["name"], str(row["day"]), str(row["price"])) for row in theirs.to_pylist())
        ours = answers(f"SELECT id, name, day, price FROM db.t FOR SYSTEM_VERSION AS OF {snapshot.snapshot_id} ORDER BY id")
        assert [tuple(row) for row in ours] == expected
        at = datetime.datetime.fromtimestamp(snapshot.timestamp_ms / 1000, datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f")
        (count,), = answers(f"SELECT COUNT(*) FROM db.t FOR SYSTEM_TIME AS OF TIMESTAMP '{at}'")
        assert count == len(expected)
    for name in ("whole", "audit"):
        assert answers(f"SELECT COUNT(*), COUNT(DISTINCT id) FROM db.t FOR VERSION AS OF '{name}'") == [[30, 30]]

    # Filters leave out files and rows, and what DuckDB deleted stays away.
    for condition in ("id BETWEEN 3 AND 11", "name IS NULL", "day = DATE '1970-01-02'", '"at" < TIMESTAMP \'1970-01-01 00:00:00\'', "name >= 'é1' AND id > 4", "price < 0.07", "id IN (4, 5, 6)"):
        theirs = tables.query(server.catalog, f"SELECT id FROM ice.db.t WHERE {condition} ORDER BY id")
        assert [tuple(row) for row in answers(f"SELECT id FROM db.t WHERE {condition} ORDER BY id")] == theirs, condition


def test_the_way_of_a_record_is_told(serve, folder):
    server = serve(tables.mapping(folder), ["--commit-interval", "100 ms"])
    server.create_topic(inventory.TOPIC, 3)
    for batch in range(3):
        inventory.send(server.kafka, range(batch * 100, batch * 100 + 100), partitions=3)
        if batch == 0:
            server.ok("run", REPOSITORY / "examples/inventory/inventory.sql", "--detach")
        wait_until(lambda: tables.rows(server.catalog, inventory.TABLE) == batch * 100 + 100, "the rows")
    offsets = server.json("table", "offsets", inventory.TABLE)
    assert sum(row["rows"] for row in offsets) == 300
    for row in offsets:
        if row["start"] == row["end"]:
            continue
        found = server.json("table", "find", row["topic"], str(row["partition"]), str(row["start"]))
        assert [(held["table"], held["snapshot_id"], held["start"], held["end"], held["is_current_ancestor"]) for held in found] == \
            [(inventory.TABLE, row["snapshot_id"], row["start"], row["end"], True)]
        # What the table had when that snapshot was current is what it and those before it brought.
        (rows_then,), = server.json("sql", "-e", f"SELECT COUNT(*) FROM {inventory.TABLE} FOR VERSION AS OF {row['snapshot_id']}")["rows"]
        before = server.json("table", "offsets", inventory.TABLE, "--as-of", str(row["snapshot_id"]))
        assert rows_then == sum(range_["rows"] for range_ in before)
    one = server.json("table", "offsets", inventory.TABLE, "--topic", inventory.TOPIC, "--partition", "1", "--offset", "0")
    assert [(row["partition"], row["start"]) for row in one] == [(1, 0)]
    shown = server.ok("table", "files", inventory.TABLE).splitlines()
    assert shown[0].split()[:2] == ["content", "record_count"] and shown[1].startswith("data ")
    missing = server.run("table", "files", "nowhere")
    assert missing.returncode == 1 and "is not the name of a table" in missing.stderr
