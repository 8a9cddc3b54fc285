"""Where pipelines run in the cases of faults: over a store, over a catalog elsewhere, each behind a gate; and on a local disk."""
import pytest

import tables
from faults import Door
from numbered import Numbered
from s3_store import BUCKET, Store

EACH_COMMIT = ["--commit-interval", "200 ms"]


@pytest.fixture
def store():
    with Store() as store:
        yield store


def begun(server):
    """With so many commits that each one expires a snapshot."""
    world = Numbered(server, "numbers").run()
    for _ in range(6):
        world.send(10)
        world.landed()
    return world


def over_store(serve, store):
    return begun(serve(store.config(), ["--warehouse", f"s3://{BUCKET}/w", *EACH_COMMIT]))


def local(serve, folder):
    """Its tables are in `folder / "warehouse"`."""
    return begun(serve(tables.mapping(folder), EACH_COMMIT))


class Elsewhere:
    """A catalog elsewhere behind a door, and a server whose tables are there."""

    def __init__(self, serve, catalog, door):
        self.catalog, self.gate, self.made = catalog, door.gate, 0
        config = f'[bootstrap]\n"kafka-1:9092,kafka-2:9092" = "embedded"\n[catalogs]\nhive = {{ uri = "{door.uri}" }}\n'
        self.server = serve(config, EACH_COMMIT)

    def world(self):
        self.made += 1
        return Numbered(self.server, f"numbers{self.made}", lambda: self.catalog.catalog)


@pytest.fixture
def elsewhere(serve):
    catalog = serve(name="elsewhere")
    with Door(catalog.catalog) as door:
        yield Elsewhere(serve, catalog, door)


def met(world, fault):
    """The fault has struck, if it takes some more records; a server that it killed is there again."""
    for _ in range(20):
        if fault.struck.wait(3):
            break
        world.send(10)
    assert fault.struck.is_set(), "the step was not met"
    if not world.server.alive():
        world.server.start()
