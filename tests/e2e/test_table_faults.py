"""What others do to the table of a pipeline that runs: what the pipeline does then, what it says, what is typed, and which records are in the table in the end.

docs/reference/faults.md has the same rows, written from here. One of them by chance; all, three times each, with LAKEWARD_E2E_FAULTS=all.
"""
import itertools
import shutil
from dataclasses import dataclass
from typing import Callable

import pytest
from pyiceberg.catalog import load_catalog
from pyiceberg.io.pyarrow import _dataframe_to_data_files
from pyiceberg.types import StringType

import tables
from faults import Door
from lakeward import wait_until
from matrix import hit, print_figures, some
from numbered import Numbered
from pages import check_page
from worlds import EACH_COMMIT

GOES_ON, PAUSES, FAILS, REFUSED = "goes on", "pauses", "fails", "refused"
ALL_OF_IT = "every record, once"
ROWS = []


@dataclass
class Row:
    what: str
    do: Callable
    outcome: str
    seen: str
    # What helps, after the repair that `do` may give back; "" where the pipeline goes on by itself.
    typed: str
    in_the_end: str
    # What is missing of the records, and what the audit says to that.
    gone: Callable = lambda world: []
    audit_is_ok: bool = True


def row(what, outcome, seen="", typed="", in_the_end=ALL_OF_IT, **more):
    def register(do):
        ROWS.append(Row(what, do, outcome, seen, typed, in_the_end, **more))
        return do
    return register


class World(Numbered):
    @property
    def lake(self):
        return load_catalog("e2e", type="rest", uri=self.catalog())

    def loaded(self):
        return self.lake.load_table(self.table)

    def snapshots(self):
        return sorted(self.loaded().snapshots(), key=lambda one: one.sequence_number)

    def change(self, **properties):
        with self.loaded().transaction() as transaction:
            transaction.set_properties(properties)


@pytest.fixture(scope="module", autouse=True)
def figures():
    yield
    print_figures()


LOST = "does not know this pipeline's last commit"
BACK = "was rolled back below the last commit of this pipeline, or that snapshot was expired"
ADOPT, REWIND, RESUME = "`pipeline resume NAME --adopt`", "`pipeline resume NAME --rewind`", "`pipeline resume NAME`"


def before(world):
    """The records that had landed when the table went."""
    return [row for row in world.in_log() if row[2] < world.landed_before]


@row("dropped", PAUSES, LOST, ADOPT, "what had not been committed when it went", gone=before)
@row("dropped", PAUSES, LOST, REWIND, "every record, once, in a new table")
def dropped(world):
    world.lake.drop_table(world.table)


@row("purged, its files too", PAUSES, LOST, REWIND, "every record, once, in a new table")
def purged(world):
    world.lake.purge_table(world.table)


@row("dropped, and made anew with the same columns", PAUSES, LOST, REWIND)
def replaced(world):
    schema = world.loaded().schema()
    world.lake.drop_table(world.table)
    world.lake.create_table(world.table, schema)


@row("renamed", PAUSES, LOST, f"drop the empty table that has its name now, rename it back, {RESUME}")
def renamed(world):
    world.lake.rename_table(world.table, f"{world.table}_moved")

    def back():
        world.lake.drop_table(world.table)
        world.lake.rename_table(f"{world.table}_moved", world.table)
    return back


@row("renamed", PAUSES, LOST, "the new name in the script, `run FILE --replace --adopt`", "every record, once, in the renamed table")
def renamed_for_good(world):
    moved = f"{world.table}_moved"
    world.lake.rename_table(world.table, moved)

    def follow():
        world.table = moved
        world.file.write_text(world.file.read_text().replace("'catalog-table' = 'numbers'", "'catalog-table' = 'numbers_moved'"))
    return follow


def rolled_away(world):
    return [row for row in world.in_log() if 30 <= row[2] < world.landed_before]


@row("rolled back by another engine", PAUSES, BACK, ADOPT, "without what the rollback took away; the audit calls that gaps", gone=rolled_away, audit_is_ok=False)
@row("rolled back by another engine", PAUSES, BACK, REWIND)
def rolled_back(world):
    first = next(one for one in world.snapshots() if one.summary["total-records"] == "30")
    world.loaded().manage_snapshots().rollback_to_snapshot(first.snapshot_id).commit()


@row("rows that others appended", GOES_ON)
def appended(world):
    world.add_theirs()


@row("rewritten by another engine: the same rows in other files", GOES_ON, in_the_end="every record, once; the audit finds the rows by their values")
def rewritten(world):
    table = world.loaded()
    rows = table.scan().to_arrow()
    with table.transaction() as transaction:
        with transaction.update_snapshot().overwrite() as overwrite:
            for task in table.scan().plan_files():
                overwrite.delete_data_file(task.file)
            for file in _dataframe_to_data_files(table.metadata, rows, table.io):
                overwrite.append_data_file(file)


@row("a row of the pipeline deleted by another engine", GOES_ON, in_the_end="every other record, once; the audit names the offset", gone=lambda world: [(1, 3, 10)], audit_is_ok=False)
def deleted(world):
    world.loaded().delete("n == 10")


def expire_all_but(world, kept):
    ids = [one.snapshot_id for one in world.snapshots()]
    world.loaded().maintenance.expire_snapshots().by_ids(ids[:-kept]).commit()


@row("the marker's snapshot expired by another engine, behind one of its own", GOES_ON)
def expired(world):
    world.add_theirs()
    expire_all_but(world, 1)


@row("the marker's snapshot expired by another engine, behind several", PAUSES, BACK, ADOPT)
def expired_far(world):
    world.add_theirs()
    world.add_theirs()
    expire_all_but(world, 1)


@row("the marker removed from the properties", PAUSES, LOST, ADOPT)
def unmarked(world):
    with world.loaded().transaction() as transaction:
        transaction.remove_properties("lakeward.marker.main")


@row("the marker made unreadable", FAILS, "lakeward.marker.main cannot be read: remove it, or put back what it was", f"put it back, {RESUME}")
def garbled(world):
    was = world.loaded().properties["lakeward.marker.main"]
    world.change(**{"lakeward.marker.main": "what is this"})
    return lambda: world.change(**{"lakeward.marker.main": was})


@row("a column dropped that the script writes", PAUSES, "The table has no column off (long).", f"put it back, or `run FILE --replace`, then {RESUME}", in_the_end="every record, once; rows from before have NULL there", gone=None)
def column_dropped(world):
    world.loaded().update_schema().delete_column("off").commit()
    return lambda: world.loaded().update_schema().add_column("off", world.types["off"]).commit()


@row("a column added, another renamed", GOES_ON, gone=None)
def column_added(world):
    world.loaded().update_schema().add_column("more", StringType()).rename_column("n", "number").commit()
    world.number = "number"


@row("a property that forbids what pipelines do (`write.upsert.enabled`)", FAILS, "write.upsert.enabled", f"take it away, {RESUME}")
def forbidden(world):
    world.change(**{"write.upsert.enabled": "true"})

    def back():
        with world.loaded().transaction() as transaction:
            transaction.remove_properties("write.upsert.enabled")
    return back


@row("an older data folder put back, over a log elsewhere", PAUSES, "an older checkpoint was restored", ADOPT)
@row("an older data folder put back, over a log elsewhere", PAUSES, "an older checkpoint was restored", REWIND)
def older(world):
    server, copy = world.server, world.server.folder / "copy"
    server.stop()
    shutil.copytree(server.data, copy)
    server.start()
    world.send()
    world.landed()
    server.kill()
    shutil.rmtree(server.data)
    shutil.move(copy, server.data)
    server.start()


@row("a fresh pipeline over the table of another one", REFUSED, "carries the marker of pipeline", "`run FILE --adopt`")
def fresh(world):
    world.server.ok("pipeline", "drop", world.name)
    return ("run", world.file, "--detach")


@row("a pipeline from a savepoint that is older than its table", REFUSED, "is not where the savepoint left it", "`run FILE --adopt`, without the savepoint")
def from_savepoint(world):
    place = world.server.folder / "savepoint"
    world.server.ok("pipeline", "savepoint", world.name, "--to", place)
    world.send()
    world.landed()
    world.server.ok("pipeline", "drop", world.name)
    return ("run", world.file, "--detach", "--from-savepoint", place)


def made(serve, elsewhere, door, log_too):
    """The log is elsewhere too where the pipeline's own server is put back to what it was."""
    config = f'[bootstrap]\n"kafka-1:9092,kafka-2:9092" = "embedded"\n"{elsewhere.kafka}" = "external"\n[catalogs]\nhive = {{ uri = "{door.uri}" }}\n'
    world = World(serve(config, EACH_COMMIT), "numbers", lambda: elsewhere.catalog, elsewhere if log_too else None).run()
    for _ in range(3):
        world.send()
        world.landed()
    world.landed_before = world.sent
    world.types = {field.name: field.field_type for field in world.loaded().schema().fields}
    return world


def type_it(world, typed):
    """The last command in a text."""
    verb, *rest = typed.split("`")[1::2][-1].split()
    if verb == "run":
        world.run(*rest[1:])
    else:
        world.server.ok(verb, *[world.name if one == "NAME" else one for one in rest])


def numbers(world):
    return sorted(one[0] for one in tables.query(world.catalog(), f"SELECT {getattr(world, 'number', 'n')} FROM ice.{world.table} WHERE part >= 0"))


@pytest.mark.parametrize("one", some(ROWS, 1), ids=lambda one: f"{one.do.__name__}-{one.typed[-8:-1]}".strip("- "))
def test_what_others_do_to_the_table(serve, one):
    elsewhere = serve(name="elsewhere")
    with Door(elsewhere.catalog) as door, hit(one.what, one.outcome, one.typed):
        world = made(serve, elsewhere, door, one.do is older)
        back = one.do(world)
        if one.outcome == REFUSED:
            refused = world.server.run(*back)
            assert refused.returncode == 1 and one.seen in refused.stderr, refused.stderr
            type_it(world, one.typed)
        world.send()
        if one.outcome in (PAUSES, FAILS):
            job = world.in_state("paused", "failed")
            assert job["state"] == {PAUSES: "paused", FAILS: "failed"}[one.outcome], job
            assert one.seen in (job.get("reason") or f"{job['error']}. {job['detail']}"), job
            assert one.seen in world.server.ok("pipeline", "show", world.name)
            if back:
                back()
            type_it(world, one.typed)
        gone = one.gone(world) if one.gone else []
        expected = world.sent + world.theirs - len(gone)
        wait_until(lambda: world.rows() == expected, f"{expected} rows")
        world.in_state("running")
        if one.gone:
            missing, doubled = world.missing_and_doubled()
            assert missing == gone and not doubled, (missing[:5], gone[:5], doubled)
        else:
            assert numbers(world) == list(range(world.sent))
        report = world.server.audit(world.table)
        assert report["ok"] == one.audit_is_ok, report
        assert report["totals"]["gaps"] == (0 if one.audit_is_ok else len(gone)) and report["totals"]["duplicates"] == 0, report


def test_the_page_says_what_is_so():
    """With UPDATE_EXPECT=1 it is written anew."""
    lines = [(one.what, one.outcome, f"“{one.seen}”" if one.seen else "", one.typed, one.in_the_end) for one in ROWS]
    lines = [line for line, _ in itertools.groupby(lines)]
    check_page("faults.md", "tables", "test_table_faults.py", ["the table", "the pipeline", "what it says", "what you type", "what is in the table then"], lines)
