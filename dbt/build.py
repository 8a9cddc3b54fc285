#!/usr/bin/env python3
"""`dbt build`, and again what lost a race: a model whose commit met another writer's is run anew, from its first line.

Usage: build.py [ARGUMENT OF dbt build]...
Several may write to a table of an Iceberg catalog; of two commits to the same state the second is refused (409), and DuckDB says so
instead of trying again. Nothing of the model has happened then. What failed for another reason is not tried again."""
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

ATTEMPTS = int(os.environ.get("LAKEWARD_DBT_ATTEMPTS", 6))
# How DuckDB tells that the catalog refused a commit because the table is not what it was.
REFUSED = ("409", "CommitFailedException", "Conflict_409")


def failures():
    """What went wrong in the last run, as dbt wrote it down: {node: why}."""
    results = json.loads((Path(os.environ.get("DBT_TARGET_PATH", "target")) / "run_results.json").read_text())["results"]
    return {one["unique_id"]: one["message"] or "" for one in results if one["status"] in ("error", "fail", "runtime error")}


def lost_a_race(why):
    return any(word in why for word in REFUSED)


def main():
    command = ["build", *sys.argv[1:]]
    for attempt in range(1, ATTEMPTS + 1):
        code = subprocess.run(["dbt", *command]).returncode
        # 1: models or tests failed; anything else is about the project, and no race.
        if code != 1:
            return code
        failed = failures()
        others = sorted(node for node, why in failed.items() if not lost_a_race(why))
        if others or not failed or attempt == ATTEMPTS:
            return 1
        print(f"build.py: refused by the catalog (409), another writer was first: {', '.join(sorted(failed))}; attempt {attempt + 1}", file=sys.stderr)
        time.sleep(random.uniform(0.1, 0.5) * 2**attempt)
        command = ["retry"]
    return 1


if __name__ == "__main__":
    sys.exit(main())
