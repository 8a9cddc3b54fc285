"""All readers on one table, and the page that says who reads and writes what: it is written from what the cases saw."""
import subprocess

import pages
import tables

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
    """A table of the page is as the case saw it."""
    pages.check_page("readers-and-writers.md", part, f"peers/{source}", head, lines)
