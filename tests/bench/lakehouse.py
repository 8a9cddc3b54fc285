"""`cargo xtask bench lakehouse`: queries over the same files by Lakeward and by DuckDB, and how long a list of many tables takes.

The promises: a scan with a filter within 1.5 times DuckDB's time, a list of 1,000 tables within 300 ms. The files are written by PyIceberg
into our catalog; DuckDB reads them where the catalog says that they are, with as many threads as there are cores, its metadata cached
(a connection is kept), ours loaded anew by every query. Both have the files in the machine's memory. Exit code 1 when a promise is broken.
"""
import argparse
import datetime
import statistics
import sys
import time

import duckdb
import pyarrow as pa
import requests
from pyiceberg.catalog import load_catalog

from sides import Lakeward, Sides, print_machine
from tables import duck

RATIO, LIST_MS = 1.5, 300
FILES = 10
DAY = 86_400_000_000
QUERIES = {
    "one row in a hundred": "SELECT COUNT(*), SUM(amount) FROM {t} WHERE amount >= 990",
    "half, by kind": "SELECT kind, COUNT(*), SUM(amount), MAX(id) FROM {t} WHERE amount < 500 GROUP BY kind ORDER BY kind",
    "one text": "SELECT COUNT(*), MIN(moment), MAX(moment) FROM {t} WHERE kind = 'kind-7'",
    "a day, left out by bounds": "SELECT COUNT(*), SUM(amount) FROM {t} WHERE moment >= TIMESTAMP '2026-01-05 00:00:00' AND moment < TIMESTAMP '2026-01-06 00:00:00'",
    "all rows": "SELECT SUM(amount), COUNT(DISTINCT kind) FROM {t}",
}


def fill(catalog, rows):
    """Ten files by time, ids rising, the rest in no order."""
    table = None
    for number in range(FILES):
        count = rows // FILES
        batch = duckdb.sql(f"""
            SELECT i AS id, TIMESTAMP '2026-01-{number + 1:02} 00:00:00' + INTERVAL ((i % {count}) * {DAY // count}) MICROSECOND AS moment,
                'kind-' || (hash(i) % 20) AS kind, (hash(i + 1) % 1000)::BIGINT AS amount, (hash(i + 2) % 1000000) / 1e6::DOUBLE AS price
            FROM range({number * count}, {(number + 1) * count}) AS r(i)""").to_arrow_table()
        if table is None:
            table = catalog.create_table("bench.scan", batch.schema)
        table.append(batch)


def best(rounds, ask):
    times, answer = [], None
    for _ in range(rounds):
        begun = time.perf_counter()
        answer = ask()
        times.append(time.perf_counter() - begun)
    return min(times), statistics.median(times), answer


def same(ours, theirs):
    """As texts, times with their milliseconds: JSON has no times."""
    def plain(value):
        return value.isoformat(" ", "milliseconds") if isinstance(value, datetime.datetime) else str(value)
    return [[plain(cell) for cell in row] for row in ours] == [[plain(cell) for cell in row] for row in theirs]


def scans(side, rounds, rows):
    catalog = load_catalog("bench", type="rest", uri=side.server.catalog)
    catalog.create_namespace("bench")
    fill(catalog, rows)
    url = side.server.ready["http"] + "/api/v1/sql"
    good = True
    print(f"\n{rows:,} rows in {FILES} files; seconds, best of {rounds} (median)")
    with duck(side.server.catalog) as engine, requests.Session() as http:
        for name, sql in QUERIES.items():
            def ours():
                answer = http.post(url, json={"sql": sql.format(t="bench.scan"), "max_rows": 0})
                answer.raise_for_status()
                return answer.json()["rows"]
            their_best, their_median, theirs = best(rounds, lambda: engine.execute(sql.format(t="ice.bench.scan")).fetchall())
            our_best, our_median, mine = best(rounds, ours)
            if not same(mine, theirs):
                raise SystemExit(f"{name}: the answers differ: {mine} and {theirs}")
            ratio = our_best / their_best
            good &= ratio <= RATIO
            print(f"  {name:28} lakeward {our_best:7.3f} ({our_median:.3f})   DuckDB {their_best:7.3f} ({their_median:.3f})   ratio {ratio:.2f}")
    return good


def lists(side, tables, rounds):
    catalog = load_catalog("bench", type="rest", uri=side.server.catalog)
    catalog.create_namespace("many")
    schema = pa.schema([("id", pa.int64()), ("moment", pa.timestamp("us")), ("kind", pa.string())])
    for number in range(tables):
        catalog.create_table(f"many.t{number}", schema)
    url = side.server.ready["http"] + "/api/v1/tables"
    fastest, median, answer = best(rounds, lambda: requests.get(url).json())
    assert len(answer) >= tables
    print(f"\nlist of {len(answer)} tables: best {fastest * 1000:.0f} ms, median {median * 1000:.0f} ms")
    return fastest * 1000 <= LIST_MS


def main():
    parser = argparse.ArgumentParser(prog="cargo xtask bench lakehouse")
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--tables", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    print_machine()
    with Sides(Lakeward) as sides:
        side = sides.all[0]
        side.start()
        good = scans(side, args.rounds, args.rows)
        good &= lists(side, args.tables, args.rounds)
    sys.exit(0 if good else 1)


main()
