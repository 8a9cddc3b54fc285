"""What is away for long, lets nobody in, or is full: the pipeline says so, and every record is in the table once when it is over.

An outage of an hour is one of seconds here: pauses grow to half a minute at most, so a longer one only repeats the last of them. With LAKEWARD_E2E_FAULTS=all each
comes three times, and lasts for longer than that once.
"""
import math
import shutil
import time

import pytest

import tables
from faults import BEFORE, says
from lakeward import wait_until
from matrix import ALL, hit, print_figures, some
from numbered import Numbered
from pages import check_page
from test_bad_input import small_disk  # noqa: F401, a fixture
from worlds import EACH_COMMIT, elsewhere, over_store, store  # noqa: F401, fixtures among them

LONG = 75 if ALL else 2
LASTED = set()


@pytest.fixture(scope="module", autouse=True)
def figures():
    yield
    print_figures()


def last(what):
    """For long the first time, not to wait for nothing the others."""
    time.sleep(1 if what in LASTED else LONG)
    LASTED.add(what)


def said(world, what):
    """What the pipeline says is wrong."""
    def complaint():
        job = world.shown()
        return what in (job.get("error") or job.get("last_error") or "") and job
    return wait_until(complaint, f"the pipeline says {what!r}", 60)


STORE = {
    "a store that does not answer": (None, "cannot write s3://"),
    "a store that answers 503": (says(503, "SlowDown"), "SlowDown"),
    "a store that lets nobody in": (says(403, "AccessDenied"), "AccessDenied"),
}


def a_store(ask, what):
    world, gate = over_store(ask("serve"), ask("store")), ask("store").gate
    answer, told = STORE[what]
    gate.close() if answer is None else gate.arm(None, BEFORE, None, answer, times=math.inf)
    world.send()
    said(world, told)
    last(what)
    assert world.shown()["state"] in ("running", "restarting")
    gate.lift()
    world.landed(90)
    return world


def a_catalog(ask, what):
    gate, world = ask("elsewhere").gate, ask("elsewhere").world().run()
    world.send()
    world.landed()
    gate.close()
    world.send()
    said(world, "no answer from")
    if "killed" in what:
        world.server.kill()
        world.server.start()
        world.send()
    last(what)
    gate.lift()
    world.landed(90)
    return world


def a_closed_catalog(ask, what):
    gate, world = ask("elsewhere").gate, ask("elsewhere").world().run()
    for step, status in (("load", 401), ("commit", 403)):
        world.send()
        world.landed()
        gate.answer(step, status, "ForbiddenException", times=math.inf)
        world.send()
        told = f"the catalog does not let us in ({status}): ForbiddenException of the test"
        assert world.in_state("failed")["error"] == told
        assert told in world.server.ok("pipeline", "show", world.name)
        # What starts anew tries anew.
        world.server.kill()
        world.server.start()
        assert world.in_state("failed")["error"] == told
        gate.lift()
        world.server.ok("pipeline", "resume", world.name)
        world.landed()
    return world


def fill(place, leave):
    """All but so many bytes of a disk."""
    filler = place / "filler"
    with open(filler, "wb") as out:
        while (free := shutil.disk_usage(place).free - leave) > 4096:
            out.write(bytes(min(free, 1 << 20)))
            out.flush()
    return filler


def on_a_small_disk(ask):
    disk = ask("small_disk")
    config = f'[bootstrap]\n"kafka-1:9092,kafka-2:9092" = "embedded"\n[catalogs]\nhive = "embedded"\n[warehouses]\n"s3://lakehouse/" = "file://{disk}/lake/"\n'
    return Numbered(ask("serve")(config, EACH_COMMIT), "numbers").run(), disk


def a_full_disk_in_a_compaction(ask, what):
    world, disk = on_a_small_disk(ask)
    files = lambda: set((disk / "lake").rglob("data/*"))
    for _ in range(3):
        world.send(20_000)
        world.landed()
    before = files()
    filler = fill(disk, sum(file.stat().st_size for file in before) // 2)
    done = world.server.run("table", "compact", world.table)
    assert done.returncode == 1 and "No space left on device" in done.stderr, done.stderr
    assert files() == before, "half a copy stays"
    # A commit has room.
    world.send()
    world.landed()
    filler.unlink()
    world.server.ok("table", "compact", world.table)
    assert len(tables.load(world.catalog(), world.table).inspect.files()) == 1
    return world


def a_full_disk_in_a_commit(ask, what):
    world, disk = on_a_small_disk(ask)
    world.send()
    world.landed()
    filler = fill(disk, 0)
    world.send()
    said(world, "cannot be written")
    filler.unlink()
    world.landed()
    return world


# What is away, what the pipeline does, what it says, what is typed.
OUTAGES = {
    **{what: (a_store, "goes on when it is back", f"“{told}…”", "") for what, (_, told) in STORE.items()},
    "a catalog elsewhere that does not answer": (a_catalog, "goes on when it is back", "“no answer from http://…”", ""),
    "the same, and the server is killed meanwhile": (a_catalog, "goes on when it is back", "“no answer from http://…”", ""),
    "a catalog elsewhere that lets nobody in (401, 403)": (a_closed_catalog, "fails", "“the catalog does not let us in (403): …”", "`pipeline resume NAME`, when it does again"),
    "the disk of the table is full in a compaction": (a_full_disk_in_a_compaction, "goes on as long as its own commits have room; no half copy stays", "`table compact`: “No space left on device”", "`table compact`, when there is room"),
    "the disk of the table is full in a commit": (a_full_disk_in_a_commit, "goes on when there is room", "“a data file cannot be written”", ""),
}


@pytest.mark.parametrize("what", some(OUTAGES, 1))
def test_what_is_away_closed_or_full(request, what):
    outage, outcome, *_ = OUTAGES[what]
    with hit(what, outcome):
        outage(request.getfixturevalue, what).conserved()


def test_the_page_has_these_rows():
    """With UPDATE_EXPECT=1 it is written anew."""
    lines = [(what, outcome, seen, typed) for what, (_, outcome, seen, typed) in OUTAGES.items()]
    check_page("faults.md", "outages", "test_outages.py", ["what", "the pipeline", "what is said", "what you type"], lines)
