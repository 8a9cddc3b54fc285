"""`cargo xtask bench lakehouse`: the catalog, compactions and queries, beside Iceberg's reference catalog and DuckDB. `--parts` for some of it.

    scans       a scan with a filter within 1.5 times DuckDB's time. The files are written by PyIceberg into our catalog; DuckDB reads them where
                the catalog says that they are, with as many threads as there are cores, its metadata cached (a connection is kept), ours
                loaded anew by every query. Both have the files in the machine's memory.
    lists       a list of 1,000 tables within 300 ms
    commits     a commit of a snapshot, to a table that keeps a hundred: a median within 2 ms. Ours has synced the disk by then.
    compaction  files of 50,000 rows into few, at least 50 MB of Arrow for each second of a core
    replay      a topic computed again into a branch, its pipeline at rest, at 0.8 times the rate at which the pipeline computed it

Exit code 1 when a promise is broken. A table over a simulated week is `cargo xtask bench week`.
"""
import argparse
import datetime
import http.client
import json
import statistics
import sys
import time
import urllib.parse

import duckdb
import pyarrow as pa
import requests
from pyiceberg.catalog import load_catalog

import inventory
import tables
from sides import Lakeward, Measured, ReferenceCatalog, Sides, print_machine
from tables import duck

PARTS = ("scans", "lists", "commits", "compaction", "replay")
RATIO, LIST_MS, COMMIT_MS, MB_PER_CORE, REPLAYED = 1.5, 300, 2, 50, 0.8
PIPELINE = """SET 'pipeline.name' = 'fill';
CREATE TABLE source (sku STRING, warehouse_id STRING, event_type STRING, quantity INT, event_time TIMESTAMP(3)) WITH (
  'connector' = 'kafka', 'topic' = 'inventory-events', 'properties.bootstrap.servers' = 'kafka-1:9092,kafka-2:9092',
  'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset', 'format' = 'avro');
CREATE TABLE target (sku STRING, warehouse_id STRING, event_type STRING, quantity INT, event_time TIMESTAMP(3)) WITH (
  'connector' = 'iceberg', 'catalog-name' = 'hive', 'catalog-database' = 'replays', 'catalog-table' = 't{round}', 'warehouse' = 's3://lakehouse/');
INSERT INTO target SELECT * FROM source;
"""
KEPT = 100
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
            good &= ratio <= RATIO or "WHERE" not in sql  # nothing is promised of the last one
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


class Commits:
    """Snapshots of one table, one after the other, as a writer asks for them by HTTP."""

    def __init__(self, url):
        catalog = load_catalog("bench", type="rest", uri=url)
        catalog.create_namespace("commits")
        self.schema = pa.schema([("id", pa.int64())])
        table = catalog.create_table("commits.t", self.schema)
        table.append(pa.table({"id": [1]}, schema=self.schema))
        head, self.uuid = table.current_snapshot(), str(table.metadata.table_uuid)
        self.list, self.ids, self.sequence = head.manifest_list, [head.snapshot_id], head.sequence_number
        config = requests.get(f"{url}/v1/config").json()
        prefix = (config["defaults"] | config["overrides"]).get("prefix")
        at = urllib.parse.urlsplit(url)
        self.path = f"{at.path.rstrip('/')}/v1/{prefix + '/' if prefix else ''}namespaces/commits/tables/t"
        # One connection, and no library that costs as much as a commit.
        self.http = http.client.HTTPConnection(at.hostname, at.port)

    def ask(self, method, body=None):
        """The answer, and the seconds that it took."""
        begun = time.perf_counter()
        self.http.request(method, self.path, body, {"Content-Type": "application/json"})
        answer = self.http.getresponse()
        text = answer.read()
        took = time.perf_counter() - begun
        assert answer.status == 200, text
        return text, took

    def look(self):
        """Seconds for an answer of the same size, for which nothing is written."""
        return self.ask("GET")[1]

    def commit(self):
        """Seconds that it took."""
        self.sequence += 1
        snapshot = {
            "snapshot-id": self.ids[-1] + 1, "parent-snapshot-id": self.ids[-1], "sequence-number": self.sequence, "schema-id": 0,
            "timestamp-ms": time.time_ns() // 1_000_000, "manifest-list": self.list, "summary": {"operation": "append", "total-records": "1"},
        }
        updates = [{"action": "add-snapshot", "snapshot": snapshot},
                   {"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": snapshot["snapshot-id"]}]
        if len(self.ids) == KEPT:
            updates.append({"action": "remove-snapshots", "snapshot-ids": [self.ids.pop(0)]})
        requirements = [{"type": "assert-table-uuid", "uuid": self.uuid},
                        {"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": self.ids[-1]}]
        text, took = self.ask("POST", json.dumps({"requirements": requirements, "updates": updates}))
        assert json.loads(text)["metadata"]["current-snapshot-id"] == snapshot["snapshot-id"]
        self.ids.append(snapshot["snapshot-id"])
        return took


def commits(side, rounds, each=100):
    with Sides(ReferenceCatalog) as others:
        reference = others.all[0]
        reference.start()
        writers = {"lakeward": Commits(side.server.catalog), "reference": Commits(reference.catalog)}
        took = {name: [] for name in writers}
        looks = {name: [] for name in writers}
        for number in range(rounds + 1):
            for name, writer in writers.items():
                times = [writer.commit() for _ in range(each)]
                looks[name] += [writer.look() for _ in range(each)] if number else []
                took[name] += times if number else []  # the first round is for the reference's JVM, and until a hundred are kept
    print(f"\ncommits to a table of {KEPT} snapshots, {rounds * each} each; ms")
    medians = {}
    for name, times in took.items():
        times.sort()
        medians[name] = statistics.median(times) * 1000
        print(f"  {name:10} median {medians[name]:6.2f}   99 % {times[len(times) * 99 // 100] * 1000:6.2f}   worst {times[-1] * 1000:6.2f}"
              f"   a look at the table {statistics.median(looks[name]) * 1000:6.2f}")
    print(f"  ratio {medians['lakeward'] / medians['reference']:.2f}")
    return medians["lakeward"] <= COMMIT_MS


def compaction(side, files, rows=50_000):
    catalog = load_catalog("bench", type="rest", uri=side.server.catalog)
    catalog.create_namespace("small")
    table = None
    for number in range(files):
        batch = duckdb.sql(f"""
            SELECT i AS id, TIMESTAMP '2026-01-01 00:00:00' + INTERVAL (i) SECOND AS moment, 'kind-' || (hash(i) % 20) AS kind,
                (hash(i + 1) % 1000)::BIGINT AS amount, (hash(i + 2) % 1000000) / 1e6::DOUBLE AS price, 'customer ' || hash(i + 3) % 100000 AS customer
            FROM range({number * rows}, {(number + 1) * rows}) AS r(i)""").to_arrow_table()
        table = table or catalog.create_table("small.files", batch.schema)
        table.append(batch)
    with Measured(side.pid) as measured:
        done = side.server.json("table", "compact", "small.files", seconds=600)
    [done] = done if isinstance(done, list) else [done]
    assert done["rows"] == files * rows and done["gave_up"] is None, done
    with duck(side.server.catalog) as engine:
        assert engine.execute("SELECT count(*), sum(id) FROM ice.small.files").fetchone() == (files * rows, files * rows * (files * rows - 1) // 2)
    megabytes = done["arrow_bytes"] / 1e6
    print(f"\ncompaction of {done['replaced']} files of {rows:,} rows into {done['made']}: {megabytes:.0f} MB of Arrow in {measured.seconds:.2f} s, "
          f"{measured.server_cpu:.2f} CPU s: {megabytes / measured.server_cpu:.0f} MB for each second of a core")
    return megabytes / measured.server_cpu >= MB_PER_CORE


def replay(side, rounds, events):
    """Each round fills a table of its own, and replays it."""
    side.server.create_topic(inventory.TOPIC, 8)
    inventory.send(side.server.kafka, range(events), partitions=8)
    took = {"pipeline": [], "replay": []}
    for number in range(rounds):
        script, table = side.server.folder / "fill.sql", f"replays.t{number}"
        script.write_text(PIPELINE.format(round=number).replace("'fill'", f"'fill-{number}'"))
        for name, typed in {"pipeline": ("run", script), "replay": ("replay", table, "--from", "beginning")}.items():
            with Measured(side.pid) as measured:
                side.server.ok(*typed, seconds=600)
            took[name].append((events, measured.seconds, measured.server_cpu, measured.client_cpu))
        branch = tables.load(side.server.catalog, table).snapshot_by_name("replay")
        assert int(branch.summary["total-records"]) == tables.rows(side.server.catalog, table) == events
    rates = {name: statistics.median(units / seconds for units, seconds, _, _ in rounds) for name, rounds in took.items()}
    ratio = rates["replay"] / rates["pipeline"]
    print(f"\n{events:,} events by the pipeline {rates['pipeline']:,.0f}/s, again by its replay {rates['replay']:,.0f}/s (medians of {rounds}): ratio {ratio:.2f}")
    return ratio >= REPLAYED


def main():
    parser = argparse.ArgumentParser(prog="cargo xtask bench lakehouse")
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--tables", type=int, default=1000)
    parser.add_argument("--files", type=int, default=100)
    parser.add_argument("--events", type=int, default=3_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parts", default=",".join(PARTS))
    args = parser.parse_args()
    parts = args.parts.split(",")
    if set(parts) - set(PARTS):
        raise SystemExit(f"bench lakehouse: the parts are {', '.join(PARTS)}")
    print_machine()
    with Sides(lambda folder: Lakeward(folder, tables.mapping(folder))) as sides:
        side = sides.all[0]
        side.start()
        work = {
            "scans": lambda: scans(side, args.rounds, args.rows),
            "lists": lambda: lists(side, args.tables, args.rounds),
            "commits": lambda: commits(side, args.rounds),
            "compaction": lambda: compaction(side, args.files),
            "replay": lambda: replay(side, args.rounds, args.events),
        }
        short = [part for part in parts if not work[part]()]
    if short:
        print(f"\nfalls short: {', '.join(short)}")
    sys.exit(1 if short else 0)


main()
