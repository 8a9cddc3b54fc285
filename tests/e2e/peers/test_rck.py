"""Apache Iceberg's REST compatibility kit on our catalog: Java's own client, test by test."""
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from lakeward import REPOSITORY

KIT = REPOSITORY / "tests/peers/rck"
# Where the kit puts tables, whatever it is told.
PLACES = [Path("/tmp/ns"), Path("/tmp/newdb")]


@pytest.fixture
def places():
    """The places that are the kit's for the time of the test, and gone afterwards unless they were somebody's."""
    ours = [place for place in PLACES if not place.exists()]
    yield PLACES
    for place in ours:
        shutil.rmtree(place, ignore_errors=True)


def test_the_kit_passes(serve, folder, places):
    for program in ("java", "javac", "mvn"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed: Apache Iceberg's compatibility kit was not run")
    scratch = folder / "scratch"
    scratch.mkdir()
    allowed = ", ".join(f'"file://{place}"' for place in [*places, scratch])
    server = serve(f"[catalog]\nallow-locations = [{allowed}]\n")
    command = [str(KIT / "rck"), server.catalog, "--scratch", str(scratch)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    *tests, counts = map(json.loads, done.stdout.splitlines())
    failed = {test["test"]: test["why"] for test in tests if test["outcome"] == "failed"}
    assert not failed, f"{len(failed)} tests of the kit fail: {json.dumps(failed, indent=1)}"
    assert counts["passed"] >= 150, f"the kit did not run whole: {counts}"
