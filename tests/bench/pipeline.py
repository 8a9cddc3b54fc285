"""`cargo xtask bench pipeline`: a full topic through one job, by Lakeward and with `--peer flink` by Apache Flink beside it.

Both read a topic that is full when the job starts, bounded at its end, and are timed to the end of the job, the last commit
included. Lakeward reads its own log; Flink reads Apache Kafka and commits to Iceberg's reference catalog, with a warm JVM and
parallelism 1. A side's CPU seconds are those of its engine, its broker and its catalog; what of Flink's is Kafka's and the catalog's is
printed too. Beside them stands the bare loop (crates/lakehouse/examples/bare.rs): decode and encode in one thread, and nothing else.

Events: `small`, the demo's (five columns), or `wide`, the ones that the peers' figures are given for (seven columns, 207 bytes of
JSON, 105 of Avro). The schema of `avro-confluent` is in Lakeward's registry for both.

Jobs: `insert` into an Iceberg table; `blackhole`, which decodes all columns and drops the rows; `tumble` (1 min), `hop` (1 min every 10 s) and
`session` (20 s), which count and sum by a key and drop the result. `--keys few` are 20 of wide events and 12 of small ones, `many` are
10,000 and 20,000.

Rounds alternate between the sides. `--seconds 60 --warm-up 30` makes as many as take each side so long; without it there are `--rounds`, after one
that warms up.
"""
import argparse
import json
import subprocess
import urllib.request
from pathlib import Path

from confluent_kafka.admin import AdminClient, NewTopic

from sides import CATALOG, FLINK, Kafka, Lakeward, Measured, Sides, cpu_seconds, print_machine, report

import inventory
import orders
import tables
from lakeward import BINARY

TOPIC = "events"
SMALL = "sku STRING, warehouse_id STRING, event_type STRING, quantity INT, event_time TIMESTAMP(3)"
SOURCE = """CREATE TABLE src ({columns}, WATERMARK FOR event_time AS event_time - INTERVAL '5' SECOND) WITH (
  'connector' = 'kafka', 'topic' = 'events', 'properties.bootstrap.servers' = '{bootstrap}',
  'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset', {format});
"""
# In the JobManager's memory a checkpoint may have 5 MB, which windows over many keys pass.
SETTINGS = """SET 'execution.checkpointing.interval' = '10 s';
SET 'execution.checkpointing.storage' = 'filesystem';
SET 'execution.checkpointing.dir' = 'file://{checkpoints}';
SET 'table.exec.iceberg.use-v2-sink' = 'true';
"""
BLACKHOLE = """CREATE TABLE {table} ({columns}) WITH ('connector' = 'blackhole');
INSERT INTO {table} SELECT {names} FROM src;
"""
WINDOW = """CREATE TABLE {table} (k STRING, window_start TIMESTAMP(3), window_end TIMESTAMP(3), n BIGINT, total INT) WITH ('connector' = 'blackhole');
INSERT INTO {table} SELECT {key}, window_start, window_end, COUNT(*), SUM(quantity)
FROM TABLE(%s) GROUP BY {key}, window_start, window_end;
"""
# What both sides run as it stands; `insert` names its catalog in each side's own way.
JOBS = {
    "blackhole": BLACKHOLE,
    "tumble": WINDOW % "TUMBLE(TABLE src, DESCRIPTOR(event_time), INTERVAL '1' MINUTE)",
    "hop": WINDOW % "HOP(TABLE src, DESCRIPTOR(event_time), INTERVAL '10' SECOND, INTERVAL '1' MINUTE)",
    "session": WINDOW % "SESSION(TABLE src PARTITION BY {key}, DESCRIPTOR(event_time), INTERVAL '20' SECOND)",
}
LAKEWARD = JOBS | {
    "insert": """CREATE TABLE lakehouse.{table} ({columns}) WITH (
  'connector' = 'iceberg', 'catalog-name' = 'hive', 'warehouse' = 's3://lakehouse/', 'format-version' = '2');
INSERT INTO lakehouse.{table} SELECT {names} FROM src;
""",
}
FLINK_SQL = JOBS | {
    "insert": """CREATE CATALOG ice WITH ('type' = 'iceberg', 'catalog-type' = 'rest', 'uri' = '{catalog}');
CREATE DATABASE IF NOT EXISTS ice.lakehouse;
CREATE TABLE ice.lakehouse.{table} ({columns}) WITH ('format-version' = '2', 'write.parquet.compression-codec' = 'zstd');
INSERT INTO ice.lakehouse.{table} SELECT {names} FROM src;
""",
}
KEYS = {"wide": {"few": "route", "many": "customer"}, "small": {"few": "warehouse_id", "many": "sku"}}
BARE_EVENTS = 200_000


class Work:
    """What is read and what is done with it, the same for both sides."""

    def __init__(self, args):
        self.job, self.format, self.events, self.partitions = args.job, args.format, args.events, args.partitions
        self.wide = args.event == "wide"
        if not self.wide and self.format != "avro":
            raise SystemExit("bench pipeline: small events are bare Avro; --format json and avro-confluent want --event wide")
        self.columns = orders.COLUMNS if self.wide else SMALL
        self.names = ", ".join(column.split()[0] for column in self.columns.split(", "))
        self.key = KEYS[args.event][args.keys]
        self.registry = None

    def declare(self, registry):
        """Registers the schema, once, where the format needs one."""
        body = json.dumps({"schema": json.dumps(orders.DECLARED)}).encode()
        request = urllib.request.Request(f"{registry}/subjects/{TOPIC}-value/versions", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            self.schema_id = json.load(answer)["id"]
        self.registry = registry

    def bare(self, folder):
        """What one thread decodes, and decodes and encodes, of these events: rows per second of processor."""
        encode = (orders.as_json if self.format == "json" else orders.as_avro) if self.wide else inventory.encoded
        file = folder / "events"
        with open(file, "wb") as out:
            for number in range(BARE_EVENTS):
                event = encode(number)
                out.write(len(event).to_bytes(4, "little") + event)
        command = [Path(BINARY).parent / "examples/bare", self.format.removesuffix("-confluent"), self.columns, file]
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)

    def fill(self, bootstrap):
        admin = AdminClient({"bootstrap.servers": bootstrap})
        admin.create_topics([NewTopic(TOPIC, self.partitions, 1, config={"retention.ms": "-1"})])[TOPIC].result(30)
        if not self.wide:
            inventory.send(bootstrap, range(self.events), TOPIC, self.partitions)
            return
        encode = {"json": orders.as_json, "avro": orders.as_avro}.get(self.format) or orders.framed(self.schema_id)
        orders.send(bootstrap, self.events, TOPIC, self.partitions, encode)

    def script(self, before, texts, bootstrap, **more):
        format = f"'format' = '{self.format}'"
        if self.format == "avro-confluent":
            format += f", 'avro-confluent.url' = '{self.registry}'"
        text = before + SOURCE + texts[self.job]
        return text.format(columns=self.columns, names=self.names, key=self.key, bootstrap=bootstrap, format=format, **more)


class FlinkCluster:
    def __init__(self, folder):
        self.folder, self.catalog_folder = folder / "flink", folder / "catalog"

    def start(self):
        subprocess.run([str(FLINK), "cluster", "up", str(self.folder)], check=True)
        out = subprocess.run([str(CATALOG), "up", str(self.catalog_folder)], check=True, stdout=subprocess.PIPE, text=True)
        self.catalog = out.stdout.strip()

    def cpu(self):
        return sum(cpu_seconds(int((self.folder / f"{name}.pid").read_text())) for name in ("taskmanager-1", "jobmanager"))

    def catalog_cpu(self):
        return cpu_seconds(int((self.catalog_folder / "pid").read_text()))

    def run(self, script):
        """Seconds of the INSERT alone, as the runner times it: its own JVM's start is not the job's."""
        done = subprocess.run([str(FLINK), "submit", str(self.folder), "-"], input=script, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stdout + done.stderr
        return next(float(line.split()[1]) for line in done.stderr.splitlines() if "INSERT INTO" in line)

    def stop(self):
        if self.folder.exists():
            subprocess.run([str(FLINK), "cluster", "down", str(self.folder)], check=False)
        if self.catalog_folder.exists():
            subprocess.run([str(CATALOG), "down", str(self.catalog_folder)], check=False)


def run_lakeward(side, folder, table, work):
    """Seconds and CPU seconds of one bounded run, checked by the rows that the table has."""
    script = folder / f"{table}.sql"
    script.write_text(work.script("", LAKEWARD, "kafka-1:9092,kafka-2:9092", table=table))
    with Measured(side.pid) as measured:
        side.server.ok("run", script, seconds=600)
    check_rows(side.server.catalog, table, work)
    return work.events, measured.seconds, measured.server_cpu, 0.0


def run_flink(flink, kafka, table, work):
    beside = lambda: cpu_seconds(kafka.pid) + flink.catalog_cpu()  # noqa: E731
    before, beside_before = flink.cpu(), beside()
    seconds = flink.run(work.script(SETTINGS, FLINK_SQL, kafka.bootstrap, table=table, catalog=flink.catalog, checkpoints=flink.folder / "checkpoints"))
    check_rows(flink.catalog, table, work)
    of_others = beside() - beside_before
    return work.events, seconds, flink.cpu() - before + of_others, of_others


def check_rows(catalog, table, work):
    if work.job == "insert":
        rows = tables.rows(catalog, f"lakehouse.{table}")
        assert rows == work.events, f"{rows} rows of {work.events}"


class Rounds:
    """How often each side runs: a number of rounds after one that warms up, or until it ran long enough."""

    def __init__(self, args):
        self.count, self.warm_up, self.seconds = args.rounds, args.warm_up, args.seconds
        self.warmed, self.measured = {}, {}

    def wants(self, side):
        warmed, measured = self.warmed.get(side, []), self.measured.get(side, [])
        if self.seconds:
            return sum(figures[1] for figures in measured) < self.seconds
        return not warmed or len(measured) < self.count

    def add(self, side, figures):
        warmed = self.warmed.setdefault(side, [])
        warm = sum(figures[1] for figures in warmed) >= self.warm_up if self.seconds else len(warmed) > 0
        (self.measured.setdefault(side, []) if warm else warmed).append(figures)


def run(sides, flink, work, rounds):
    number = 0
    while any(rounds.wants(side.name) for side in sides.all):
        for side in filter(lambda side: rounds.wants(side.name), sides.all):
            table = f"round_{number}"
            ours = side.name == "lakeward"
            rounds.add(side.name, run_lakeward(side, sides.folder, table, work) if ours else run_flink(flink, side, table, work))
        number += 1


def main():
    parser = argparse.ArgumentParser(prog="cargo xtask bench pipeline")
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--partitions", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, help="run each side at least so long, instead of --rounds")
    parser.add_argument("--warm-up", type=float, default=30, help="seconds of each side that are not counted; with --seconds")
    parser.add_argument("--peer", choices=("flink",), help="run this one too, in turns")
    parser.add_argument("--only-peer", action="store_true", help="leave Lakeward out")
    parser.add_argument("--event", choices=tuple(KEYS), default="small")
    parser.add_argument("--keys", choices=("few", "many"), default="few")
    parser.add_argument("--format", choices=("avro", "json", "avro-confluent"), default="avro")
    parser.add_argument("--job", choices=tuple(LAKEWARD), default="insert")
    args = parser.parse_args()
    work = Work(args)
    if args.only_peer and (not args.peer or work.format == "avro-confluent"):
        raise SystemExit("bench pipeline: --only-peer wants --peer, and a format whose schemas are not in Lakeward's registry")
    print_machine()
    rounds = Rounds(args)
    makers = ([] if args.only_peer else [Lakeward]) + ([Kafka] if args.peer else [])
    with Sides(*makers) as sides:
        bare = work.bare(sides.folder)
        flink = FlinkCluster(sides.folder)
        try:
            for side in sides.all:
                if side.name == "lakeward":
                    side.server.config.write_text(tables.mapping(sides.folder))
                else:
                    flink.start()
                side.start()
                if side.name == "lakeward" and work.format == "avro-confluent":
                    work.declare(side.server.registry)
                work.fill(side.bootstrap)
            run(sides, flink, work, rounds)
        finally:
            flink.stop()
    by_key = "" if args.job in ("insert", "blackhole") else f" by {args.keys} keys"
    print(f"\n{args.events} {args.event} events, {args.format}, {args.partitions} partitions, {args.job}{by_key}; the last column is what of it is Kafka's and the catalog's CPU")
    results = {"flink" if side == "kafka" else side: figures for side, figures in rounds.measured.items()}
    summary = report("rows", results, last="beside the engine")
    for side, figures in summary.items():
        print(f"{side}: {len(results[side])} rounds, {figures['per_server_cpu_s'] / bare['decode_encode']:.2f} of the bare loop's rows per CPU second")
    print(f"the bare loop, rows per CPU second of one thread: decode {bare['decode']:,}, decode and encode {bare['decode_encode']:,}")


main()
