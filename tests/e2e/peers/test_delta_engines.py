"""Spark, DuckDB and delta-rs on one Delta table of a pipeline: all read the same, and what Spark and delta-rs write between its commits stays."""
import shutil
import subprocess
from collections import Counter

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

import tables
from lakeward import wait_until
from test_delta import SOURCE, read, run, send, start

ALL = "duckdb,deltars,spark"


@pytest.fixture
def spark():
    """spark(script): Spark's statements over Delta tables by path."""
    for program in ("java", "mvn"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed: Apache Spark was not run")

    def sql(script):
        done = subprocess.run([str(tables.READERS / "spark"), "sql", script], capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return sql


def agree(*paths):
    command = [str(tables.READERS / "check-table"), "--readers", ALL, "--brief", "--delta", *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"the readers disagree:\n{done.stdout}\n{done.stderr}"


def test_spark_duckdb_and_delta_rs_read_alike_and_write_between_the_commits(serve, folder, spark):
    server = start(serve, folder)
    ours, theirs = folder / "ours", folder / "theirs"
    spark(f"CREATE TABLE delta.`{theirs}` (n BIGINT, kind STRING, amount DOUBLE) USING delta PARTITIONED BY (kind); INSERT INTO delta.`{theirs}` VALUES (-1, 'spark', 0.5)")
    columns = "n BIGINT, kind STRING, amount DOUBLE"
    place = "CREATE TABLE {0} ({1}) {2} WITH ('connector' = 'delta', 'table-path' = '{3}', 'delta.checkpointInterval' = '5');\n"
    done = run(server, SOURCE.format(columns=columns) + place.format("ours", columns, "PARTITIONED BY (kind)", ours) + place.format("theirs", columns, "", theirs)
               + "EXECUTE STATEMENT SET BEGIN INSERT INTO ours SELECT * FROM events; INSERT INTO theirs SELECT * FROM events; END;")
    assert done.returncode == 0, done.stderr
    sent = 0

    def more(count):
        nonlocal sent
        send(server, [{"n": n, "kind": ["a b", "c/d", None][n % 3], "amount": n / 4} for n in range(sent, sent + count)])
        sent += count
        wait_until(lambda: all(set(range(sent)) <= set(read(path)["n"].to_pylist()) for path in (ours, theirs)), f"{sent} events")

    for _ in range(7):
        more(10)
    agree(ours, theirs)
    spark("; ".join(f"INSERT INTO delta.`{path}` VALUES (-2, 'spark', 1.5), (-3, 'spark', NULL); DELETE FROM delta.`{path}` WHERE n = -3; OPTIMIZE delta.`{path}`" for path in (ours, theirs)))
    for path in (ours, theirs):
        write_deltalake(str(path), pa.table({"n": pa.array([-4], pa.int64()), "kind": ["deltars"], "amount": [2.5]}), mode="append")
    for _ in range(7):
        more(10)
    agree(ours, theirs)
    numbers = Counter(range(sent)) + Counter([-2, -4])
    assert Counter(read(ours)["n"].to_pylist()) == numbers
    assert Counter(read(theirs)["n"].to_pylist()) == numbers + Counter([-1])
    # By a filter Spark looks at the statistics of files.
    assert spark(f"SELECT count(*) AS c FROM delta.`{ours}` WHERE amount >= 30 AND n < 135").strip() == '{"c":15}'
    assert DeltaTable(str(ours)).transaction_version("lakeward/begin/0/events") == 0
