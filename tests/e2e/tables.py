"""Reading a table as its users do: DuckDB and PyIceberg here, and every reader of tests/peers when asked for."""
import glob
import os
import subprocess
import sys

import duckdb
from pyiceberg.catalog import load_catalog

from lakeward import REPOSITORY

READERS = REPOSITORY / "tests/peers/readers"
# What the article's script needs to find its names: tests/e2e and the examples say the same thing.
MAPPING = """
[bootstrap]
"kafka-1:9092,kafka-2:9092" = "embedded"
[catalogs]
hive = "embedded"
[warehouses]
"s3://lakehouse/" = "file://{warehouse}/"
"""


def mapping(folder):
    return MAPPING.format(warehouse=folder / "warehouse")


def duck(catalog):
    """A DuckDB with the catalog attached as `ice`; its extensions come from wheels, never from a download."""
    engine = duckdb.connect(config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"})
    site = os.path.join(os.path.dirname(duckdb.__file__), "..")
    for name in ("avro", "httpfs", "iceberg"):
        found = glob.glob(os.path.join(site, f"duckdb_extension_{name}", "extensions", "*", f"{name}.duckdb_extension"))
        engine.execute(f"LOAD '{found[0]}'")
    engine.execute(f"ATTACH 'lakeward' AS ice (TYPE iceberg, ENDPOINT '{catalog}', AUTHORIZATION_TYPE 'none')")
    return engine


def query(catalog, sql):
    """All rows of one query by DuckDB. A connection of its own: DuckDB caches a table's metadata within one."""
    with duck(catalog) as engine:
        return engine.execute(sql).fetchall()


def load(catalog, table):
    return load_catalog("e2e", type="rest", uri=catalog).load_table(tuple(table.split(".")))


def exists(catalog, table):
    return load_catalog("e2e", type="rest", uri=catalog).table_exists(tuple(table.split(".")))


def rows(catalog, table):
    """Rows by the table's own metadata; 0 before the table's first commit or while it is not there."""
    if not exists(catalog, table):
        return 0
    snapshot = load(catalog, table).current_snapshot()
    return int(snapshot.summary["total-records"]) if snapshot else 0


def quantities(catalog, table):
    """The `quantity` of every row, by DuckDB."""
    return [row[0] for row in query(catalog, f"SELECT quantity FROM ice.{table} ORDER BY 1")]


def check(catalog, table, trino=None):
    """`check-table` over the readers of LAKEWARD_E2E_READERS: `all`, or a comma list (duckdb,pyiceberg unless told)."""
    wanted = os.environ.get("LAKEWARD_E2E_READERS", "duckdb,pyiceberg")
    more = ["--trino", str(trino)] if trino and wanted == "all" else []
    return agreed(wanted, *more, "--catalog", catalog, "--brief", table)


def check_delta(*paths):
    """The same of Delta tables: DuckDB and delta-rs, with LAKEWARD_E2E_READERS=all Spark too."""
    wanted = os.environ.get("LAKEWARD_E2E_READERS")
    return agreed("all" if wanted == "all" else "duckdb,deltars", "--brief", "--delta", *map(str, paths))


def agreed(readers, *arguments):
    if readers == "all":
        command = [str(READERS / "check-table")]
    else:
        command = [sys.executable, str(READERS / "check_table.py"), "--readers", readers]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=600)
    print(done.stdout)
    assert done.returncode == 0, f"the readers disagree:\n{done.stdout}\n{done.stderr}"
    return done.stdout
