"""Whatever goes wrong at a named step of a commit, of a compaction or at a call of a catalog: each record is in the table once, and the pipeline goes on.

A few rows of the matrix by chance; all of them, three times each, with LAKEWARD_E2E_FAULTS=all. LAKEWARD_E2E_SEED replays a choice. docs/reference/faults.md
has the rows, written from here.
"""
import pytest

import tables
from faults import ANSWERED, BEFORE, DONE
from lakeward import wait_until
from matrix import ALL, hit, print_figures, some
from moments import BEGUN, NAMED, Moments
from pages import check_page
from worlds import elsewhere, local, met, over_store, store  # noqa: F401, fixtures among them

MOMENTS = (BEFORE, DONE, ANSWERED)
# What a commit, and a compaction, asks of a store: with the number of the request, where several are of one kind.
OF_A_COMMIT = {
    "a data file": ("data", 1), "a manifest": ("manifest", 1), "the manifest list": ("list", 1), "the table's metadata": ("metadata", 1),
    "removing old metadata": ("delete", 1), "removing what expired": ("delete", 2),
}
OF_A_COMPACTION = {
    "reading a data file": ("read data", 1), "a copy": ("copy", 1), "a manifest": ("manifest", 1), "the manifest list": ("list", 1),
    "the table's metadata": ("metadata", 1), "removing old metadata": ("delete", 1),
}
# The same on a disk, where a file is begun under another name; and the log, which has the pipeline's manifest and where the table's metadata is.
ON_A_DISK = [f"{kind} {moment}" for kind in ("data", "manifest", "list", "metadata") for moment in (BEGUN, NAMED)]
COPIED_ON_A_DISK = [step.replace("data ", "copy ", 1) if step.startswith("data ") else step for step in ON_A_DISK]
WRITES_OF_THE_LOG = 5
WORDS = ("--adopt", "--rewind")
MAKING, RUNNING = {"making the namespace": "namespace", "making the table": "create"}, {"loading the table": "load", "the commit": "commit"}
ANSWERS_OF_A_STORE = {
    "the request is lost": lambda gate, step, nth: gate.lose(step, BEFORE, nth=nth),
    "it is done, the answer is lost": lambda gate, step, nth: gate.lose(step, DONE, nth=nth),
    "503": lambda gate, step, nth: gate.answer(step, 503, "SlowDown", nth=nth),
    "it is done, and answered 500": lambda gate, step, nth: gate.answer(step, 500, "InternalError", DONE, nth=nth),
    "403, three times": lambda gate, step, nth: gate.answer(step, 403, "AccessDenied", nth=nth, times=3),
}
ANSWERS_OF_A_CATALOG = {
    "the request is lost": lambda gate, step: gate.lose(step, BEFORE),
    "it is done, the answer is lost": lambda gate, step: gate.lose(step, DONE),
    "503": lambda gate, step: gate.answer(step, 503, "ServiceUnavailableException"),
    "it is done, and answered 500": lambda gate, step: gate.answer(step, 500, "InternalServerError", DONE),
    "409": lambda gate, step: gate.answer(step, 409, "CommitFailedException"),
    "it is done, and answered 409": lambda gate, step: gate.answer(step, 409, "CommitFailedException", DONE),
    "429": lambda gate, step: gate.answer(step, 429, "SlowDownException"),
    "a proxy's 404": lambda gate, step: gate.answer(step, 404, None),
}


@pytest.fixture(scope="module", autouse=True)
def figures():
    yield
    print_figures()


def each(*lists):
    """All combinations."""
    return [(one, *more) for one in lists[0] for more in (each(*lists[1:]) if lists[1:] else [()])]


def strike(world, fault, what):
    """Records come, the fault strikes on the way to the table, and they land."""
    with hit(*what):
        world.send()
        met(world, fault)
        world.landed()
        world.in_state("running")
        if ALL:
            world.conserved()
            # Hundreds of small files would only make the judges slow.
            world.server.ok("table", "compact", world.table)


def strike_a_compaction(world, arm, what):
    with hit(*what):
        for _ in range(2):
            world.send(10)
            world.landed()
        fault = arm()
        asked = world.server.run("table", "compact", world.table)
        assert asked.returncode == 1, asked.stdout
        met(world, fault)
        if ALL:
            world.conserved()
        world.server.ok("table", "compact", world.table)
        world.conserved()


def over_a_store(ask):
    world, gate = over_store(ask("serve"), ask("store")), ask("store").gate
    for name, at in some(each(OF_A_COMMIT, MOMENTS), 1):
        step, nth = OF_A_COMMIT[name]
        strike(world, gate.kill(world.server, step, at, nth), ("kill -9", "a commit over a store", name, at))
    for name, what in some(each(OF_A_COMMIT, ANSWERS_OF_A_STORE), 1):
        strike(world, ANSWERS_OF_A_STORE[what](gate, *OF_A_COMMIT[name]), (what, "a commit over a store", name))
        gate.lift()
    for _ in range(3 if ALL else 0):
        strike(world, gate.meanwhile("list", world.add_theirs), ("a foreign writer is faster", "a commit over a store"))
    for name, at in some(each(OF_A_COMPACTION, MOMENTS), 1):
        step, nth = OF_A_COMPACTION[name]
        strike_a_compaction(world, lambda: gate.kill(world.server, step, at, nth), ("kill -9", "a compaction over a store", name, at))


def on_a_local_disk(ask):
    folder = ask("folder")
    world = local(ask("serve"), folder)
    with Moments(folder / "warehouse", world.server.data) as moments:
        steps = [(step, 1) for step in [*ON_A_DISK, "delete"]] + [("wal", nth + 1) for nth in range(WRITES_OF_THE_LOG)]
        for step, nth in some(steps, 2):
            strike(world, moments.kill(world.server, step, nth), ("kill -9", "a commit on a disk", step, nth))
        world.conserved()
        for step in some([*COPIED_ON_A_DISK, "delete"], 1):
            strike_a_compaction(world, lambda: moments.kill(world.server, step), ("kill -9", "a compaction on a disk", step))


def with_a_catalog_elsewhere(ask):
    elsewhere = ask("elsewhere")
    gate, server, world = elsewhere.gate, elsewhere.server, elsewhere.world().run()
    for name, at in some(each(RUNNING, MOMENTS), 1):
        strike(world, gate.kill(server, RUNNING[name], at), ("kill -9", "a catalog elsewhere", name, at))
    for name, what in some(each(RUNNING, ANSWERS_OF_A_CATALOG), 1):
        strike(world, ANSWERS_OF_A_CATALOG[what](gate, RUNNING[name]), (what, "a catalog elsewhere", name))
    for _ in range(3 if ALL else 1):
        strike(world, gate.meanwhile("commit", world.add_theirs), ("a foreign writer is faster", "a catalog elsewhere"))
    world.conserved()


def making_a_table_elsewhere(ask):
    """What is not made at once is made by the same command."""
    elsewhere = ask("elsewhere")
    gate, server = elsewhere.gate, elsewhere.server
    kills = {("kill -9", at): lambda gate, step, at=at: gate.kill(server, step, at) for at in MOMENTS}
    faults = {(what,): arm for what, arm in ANSWERS_OF_A_CATALOG.items()} | kills
    for name, what in some(each(MAKING, faults), 1):
        with hit(what[0], "a catalog elsewhere", name, *what[1:]):
            world = elsewhere.world()
            fault = faults[what](gate, MAKING[name])
            asked = server.run("run", world.file, "--detach")
            met(world, fault)
            assert asked.returncode == 0 or asked.stderr.startswith("error"), asked.stderr
            if server.run("pipeline", "show", world.name).returncode != 0:
                world.run()
            world.send()
            world.landed()
            world.conserved()
            server.ok("pipeline", "drop", world.name)


def saying_a_word(ask):
    """It is said again when the server was killed in it."""
    elsewhere = ask("elsewhere")
    gate, server = elsewhere.gate, elsewhere.server
    for word, at in some(each(WORDS, MOMENTS), 1):
        with hit("kill -9", f"resume {word}", "the table's marker", at):
            world = elsewhere.world().run()
            for _ in range(2):
                world.send()
                world.landed()
            table = tables.load(world.catalog(), world.table)
            first = next(one for one in table.snapshots() if one.summary["total-records"] == "30")
            table.manage_snapshots().rollback_to_snapshot(first.snapshot_id).commit()
            world.send()
            world.in_state("paused")
            fault = gate.kill(server, "commit", at)
            server.run("pipeline", "resume", world.name, word)
            met(world, fault)
            world.send()
            taken = [row for row in world.in_log() if word == "--adopt" and 30 <= row[2] < 60]
            there = lambda: world.rows() == world.sent - len(taken)
            wait_until(lambda: there() or world.shown()["state"] == "paused", "it goes on, or asks again")
            if not there():
                server.ok("pipeline", "resume", world.name, word)
            wait_until(there, "the rows")
            assert world.missing_and_doubled() == (taken, 0)
            assert server.audit(world.table)["totals"]["gaps"] == len(taken)
            server.ok("pipeline", "drop", world.name)


WHERE = {run.__name__: run for run in (over_a_store, on_a_local_disk, with_a_catalog_elsewhere, making_a_table_elsewhere, saying_a_word)}


@pytest.mark.parametrize("where", WHERE if ALL else some(WHERE, 2))
def test_each_record_is_there_once_whatever_goes_wrong_at_a_step(request, where):
    WHERE[where](request.getfixturevalue)


def test_the_page_has_these_rows():
    """With UPDATE_EXPECT=1 it is written anew."""
    listed = lambda names: ", ".join(names)
    killed = [
        ("a commit into a store", listed(OF_A_COMMIT), "before the request is done; when it is done and not answered; when it is answered"),
        ("a commit on a local disk", listed([*ON_A_DISK, "delete"]) + f"; the first {WRITES_OF_THE_LOG} writes of the log (the pipeline's manifest, the catalog's pointer)", "when the file system shows it"),
        ("a compaction into a store", listed(OF_A_COMPACTION), "as a commit"),
        ("a compaction on a local disk", listed([*COPIED_ON_A_DISK, "delete"]), "when the file system shows it"),
        ("calls of a catalog elsewhere", listed([*MAKING, *RUNNING]), "as a commit"),
        ("`pipeline resume --adopt`, `--rewind`", "restating the table's marker", "as a commit; the word is said again if the pipeline pauses again"),
    ]
    check_page("faults.md", "kills", "test_faults.py", ["killed in", "at", "and that"], killed)
    at = lambda where, what, steps: listed(steps) if what in where else "–"
    answers = [(what, at(ANSWERS_OF_A_STORE, what, OF_A_COMMIT), at(ANSWERS_OF_A_CATALOG, what, [*MAKING, *RUNNING])) for what in ANSWERS_OF_A_CATALOG | ANSWERS_OF_A_STORE]
    check_page("faults.md", "answers", "test_faults.py", ["what comes back", "from a store, to", "from a catalog elsewhere, to"], answers)
