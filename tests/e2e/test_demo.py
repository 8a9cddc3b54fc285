"""`lakeward demo` keeps its promise: it kills itself, recovers, and nothing is lost or doubled."""
import json
import os
import subprocess

from lakeward import BINARY

FIELDS = {"produced", "acked", "rows", "duplicates", "lost", "late", "dead_letters", "blocked_schemas", "recoveries", "windows", "seconds"}


def test_demo_ends_with_a_clean_account(folder):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LAKEWARD_")}
    done = subprocess.run([BINARY, "demo", "--json", "--events", "20000"], cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    assert FIELDS <= set(result), result
    assert (result["lost"], result["duplicates"], result["late"]) == (0, 0, 0)
    assert result["produced"] >= 20000 and result["acked"] > 0
    assert result["acked"] == result["rows"] + result["dead_letters"]
    assert result["dead_letters"] > 0 and result["blocked_schemas"] > 0 and result["recoveries"] >= 1
    windows = result["windows"]
    assert windows["compared"] > 0 and windows["differ"] == 0, "windows that fired are what the log makes of them"
    assert windows["late"] > 0, "held up events are later than their window, and are counted"
    assert not list(folder.iterdir()), "it left something in the folder it was called from"
