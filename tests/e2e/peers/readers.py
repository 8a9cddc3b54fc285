"""All readers on one table, and the page that says who reads and writes what: it is written from what the cases saw."""
import os
import subprocess

import tables
from lakeward import REPOSITORY

PAGE = REPOSITORY / "docs/reference/readers-and-writers.md"
NAMES = {"duckdb": "DuckDB 1.5.5", "pyiceberg": "PyIceberg 0.12", "spark": "Spark 4.1", "trino": "Trino 476", "lakeward": "Lakeward"}


def agree(server, trino, *names):
    """All four readers, of each table: Trino's while it is up and Spark's when it is down, for two JVMs are a lot."""
    def check(readers, *more):
        command = [str(tables.READERS / "check-table"), "--readers", readers, *more, "--catalog", server.catalog, "--brief", *names]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, f"the readers disagree:\n{done.stdout[-3000:]}\n{done.stderr}"

    check("duckdb,pyiceberg,trino", "--trino", trino.place)
    trino.down()
    check("duckdb,pyiceberg,spark")


def check_page(part, source, head, lines):
    """A table of the page is as the case saw it; with UPDATE_EXPECT=1 it is written anew."""
    begin, end = f"<!-- {part}: from tests/e2e/peers/{source} -->\n", "<!-- end -->"
    page = PAGE.read_text()
    before, rest = page.split(begin)
    rows = ["| " + " | ".join(cells) + " |" for cells in [head, *lines]]
    table = "\n".join([rows[0], "|" + "---|" * len(head), *rows[1:]])
    written = before + begin + table + "\n" + end + rest.split(end, 1)[1]
    if os.environ.get("UPDATE_EXPECT") == "1":
        PAGE.write_text(written)
    assert PAGE.read_text() == written, f"{PAGE.name} says otherwise; UPDATE_EXPECT=1 writes it anew:\n{table}"
