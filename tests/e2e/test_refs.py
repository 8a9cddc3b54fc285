"""Branches, tags and rollbacks by `lakeward table`: PyIceberg does the same to a twin, DuckDB and a pipeline see what became of it."""
import datetime

import pyarrow as pa
from pyiceberg.catalog import load_catalog
from pyiceberg.schema import Schema
from pyiceberg.types import LongType, NestedField

import inventory
import tables
from lakeward import REPOSITORY, wait_until

ROWS = 4


def table(catalog, name):
    """A table of four appends; the n-th snapshot has n rows."""
    made = catalog.create_table(name, Schema(NestedField(1, "id", LongType())))
    for number in range(ROWS):
        made.append(pa.table({"id": [number]}))
    snapshots = sorted(made.snapshots(), key=lambda snapshot: snapshot.sequence_number)
    return made, [snapshot.snapshot_id for snapshot in snapshots]


def refs(catalog, name, ids):
    """References with their snapshots by place."""
    found = catalog.load_table(name).metadata.refs
    told = lambda ref: (ids.index(ref.snapshot_id), ref.snapshot_ref_type, ref.min_snapshots_to_keep, ref.max_snapshot_age_ms, ref.max_ref_age_ms)
    return {key: told(ref) for key, ref in found.items()}


def test_references_are_as_pyiceberg_makes_them_here_and_in_a_catalog_elsewhere(serve):
    server = serve()
    other = serve(f'[catalogs]\nwest = {{ uri = "{server.catalog}" }}\n', name="other")
    catalog = load_catalog("e2e", type="rest", uri=server.catalog)
    catalog.create_namespace("db")
    (ours, ids), (twin, twins) = table(catalog, "db.t"), table(catalog, "db.twin")
    at = lambda number: ("--at", str(ids[number]))
    server.ok("table", "tag", "db.t", "monthly", *at(1), "--max-ref-age-ms", "86400000")
    server.ok("table", "branch", "db.t", "audit", *at(2), "--min-snapshots-to-keep", "3", "--max-snapshot-age-ms", "1000", "--max-ref-age-ms", "2000")
    server.ok("table", "branch", "db.t", "head")
    # The other server has the table in a catalog elsewhere: over REST, as any.
    other.ok("table", "tag", "west.db.t", "first", *at(0))
    other.ok("table", "tag", "west.db.t", "gone", *at(0))
    other.ok("table", "tag", "west.db.t", "gone", "--drop")
    twin.manage_snapshots() \
        .create_tag(twins[1], "monthly", 86400000).create_branch(twins[2], "audit", max_ref_age_ms=2000, max_snapshot_age_ms=1000, min_snapshots_to_keep=3) \
        .create_branch(twins[3], "head").create_tag(twins[0], "first").commit()
    assert refs(catalog, "db.t", ids) == refs(catalog, "db.twin", twins)

    for name, count in (("first", 1), ("monthly", 2), ("audit", 3), ("head", 4)):
        assert server.json("sql", "-e", f"SELECT COUNT(*) FROM db.t FOR VERSION AS OF '{name}'")["rows"] == [[count]]
    refused = server.run("table", "tag", "db.t", "monthly", *at(3))
    assert refused.returncode == 1 and f"the tag 'monthly' is there already, at snapshot {ids[1]}" in refused.stderr and "--replace" in refused.stderr
    assert server.ok("table", "tag", "db.t", "monthly", *at(3), "--replace") == f"moved tag monthly from snapshot {ids[1]} to {ids[3]}\n"

    # A rollback is looked at first.
    back = ("table", "rollback", "west.db.t", "--to", "audit")
    said = other.run(*back)
    assert said.returncode == 0 and "rows 4 -> 3" in said.stdout and "no pipeline writes this table" in said.stdout and "nothing was changed" in said.stderr
    assert tables.query(server.catalog, "SELECT COUNT(*) FROM ice.db.t") == [(4,)]
    other.ok(*back, "--execute")
    twin.refresh().manage_snapshots().rollback_to_snapshot(twins[2]).commit()
    assert tables.query(server.catalog, "SELECT COUNT(*) FROM ice.db.t") == tables.query(server.catalog, "SELECT COUNT(*) FROM ice.db.twin") == [(3,)]
    strip = lambda history: [(row["snapshot_id"], row["is_current_ancestor"]) for row in history]
    theirs = catalog.load_table("db.t").inspect.history().to_pylist()
    assert strip(server.json("table", "history", "db.t")) == strip(theirs) and [row[1] for row in strip(theirs)] == [True, True, True, False, True]
    forward = server.run("table", "rollback", "db.t", "--to", str(ids[3]), "--execute")
    assert forward.returncode == 1 and f"snapshot {ids[3]} is no ancestor of main, which is at {ids[2]}" in forward.stderr
    # What others write goes on from there.
    catalog.load_table("db.t").append(pa.table({"id": [77]}))
    assert tables.query(server.catalog, "SELECT id FROM ice.db.t ORDER BY id") == [(0,), (1,), (2,), (77,)]


def test_a_rollback_under_a_pipeline_says_what_the_pipeline_does_and_it_does_that(serve, folder):
    server = serve(tables.mapping(folder), ["--commit-interval", "300 ms"])
    server.create_topic(inventory.TOPIC, 3)
    inventory.send(server.kafka, range(300), partitions=3)
    server.ok("run", REPOSITORY / "examples/inventory/inventory.sql", "--detach")
    wait_until(lambda: tables.rows(server.catalog, inventory.TABLE) == 300, "the first round")
    moment = datetime.datetime.fromtimestamp(tables.load(server.catalog, inventory.TABLE).current_snapshot().timestamp_ms / 1000, datetime.timezone.utc)
    inventory.send(server.kafka, range(300, 600), partitions=3)
    wait_until(lambda: tables.rows(server.catalog, inventory.TABLE) == 600, "the second round")
    back = ("table", "rollback", inventory.TABLE, "--as-of", moment.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3])
    said = server.ok(*back)
    for word in ("rows 600 -> 300", "pipeline inventory (running) pauses at its next commit", "the table ends at", "--adopt", "--rewind"):
        assert word in said, said
    told = server.json(*back)
    assert tables.rows(server.catalog, inventory.TABLE) == 600, "it was only looked at"
    server.ok(*back, "--execute")
    assert tables.quantities(server.catalog, inventory.TABLE) == list(range(300))
    inventory.send(server.kafka, range(600, 700), partitions=3)
    paused = lambda: (job := server.json("pipeline", "show", "inventory")["jobs"][0])["state"] == "paused" and job
    job = wait_until(paused, "the pipeline pauses")
    assert (job["table_offsets"], job["marker_offsets"]) == (told["pipeline"]["table_offsets"], told["pipeline"]["marker_offsets"])
    server.ok("pipeline", "resume", "inventory", "--rewind")
    wait_until(lambda: tables.rows(server.catalog, inventory.TABLE) == 700, "all of it, once")
    assert tables.quantities(server.catalog, inventory.TABLE) == list(range(700))
    assert server.audit(inventory.TABLE)["ok"]
