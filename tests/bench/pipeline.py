"""`cargo xtask bench pipeline`: a full topic through one job, by Lakeward and with `--peer flink` by Apache Flink beside it.

Both read a topic that is full when the job starts, bounded at its end, and are timed to the end of the job, the last commit
included. Lakeward reads its own log; Flink reads Apache Kafka and commits to Iceberg's reference catalog, with a warm JVM and
parallelism 1. A side's CPU seconds are those of its engine, its broker and its catalog; what of Flink's is Kafka's and the catalog's is
printed too. Beside them stands the bare loop (crates/lakehouse/examples/bare.rs): decode and encode in one thread, and nothing else.

Events: `small`, the demo's (five columns), or `wide`, the ones that the peers' figures are given for (seven columns, 207 bytes of
JSON, 105 of Avro). The schema of `avro-confluent` is in Lakeward's registry for both.

Jobs: `insert` into an Iceberg table; `blackhole`, which decodes all columns and drops the rows; `tumble` (1 min), `hop` (1 min every 10 s) and
`session` (20 s), which count and sum by a key and drop the result. `--keys few` are 20 of wide events and 12 of small ones, `many` are
10,000 and 20,000. Before a job of windows is timed it runs once into a table, whose windows must be as many, of as many events, as
those that are counted here.

Rounds alternate between the sides. `--seconds 60 --warm-up 30` makes as many as take each side so long; without it there are `--rounds`, after one
that warms up.

    --table --peer flink       every job that something is asked of beside Flink, one after the other on the same servers, and one table of them
    --cores 1,2                Lakeward against itself, held to so many cores
"""
import argparse
import collections
import json
import statistics
import subprocess
import urllib.request
from pathlib import Path

from confluent_kafka.admin import AdminClient, NewTopic

from sides import FLINK, Kafka, Lakeward, Measured, ReferenceCatalog, Sides, cpu_seconds, print_machine, report

import inventory
import orders
import tables
from lakeward import BINARY

SMALL = "sku STRING, warehouse_id STRING, event_type STRING, quantity INT, event_time TIMESTAMP(3)"
SOURCE = """CREATE TABLE src ({columns}, WATERMARK FOR event_time AS event_time - INTERVAL '5' SECOND) WITH (
  'connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{bootstrap}',
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
WINDOW_COLUMNS = "k STRING, window_start TIMESTAMP(3), window_end TIMESTAMP(3), n BIGINT, total INT"
WINDOW = """CREATE TABLE {table} (%s) WITH ('connector' = 'blackhole');
INSERT INTO {table} SELECT {key}, window_start, window_end, COUNT(*), SUM(quantity)
FROM TABLE(%s) GROUP BY {key}, window_start, window_end;
"""
ICEBERG = "'connector' = 'iceberg', 'catalog-name' = 'hive', 'warehouse' = 's3://lakehouse/', 'format-version' = '2'"
WINDOWS = {
    "tumble": "TUMBLE(TABLE src, DESCRIPTOR(event_time), INTERVAL '1' MINUTE)",
    "hop": "HOP(TABLE src, DESCRIPTOR(event_time), INTERVAL '10' SECOND, INTERVAL '1' MINUTE)",
    "session": "SESSION(TABLE src PARTITION BY {key}, DESCRIPTOR(event_time), INTERVAL '20' SECOND)",
}
# What both sides run as it stands; a table of Iceberg is named in each side's own way.
JOBS = {"blackhole": BLACKHOLE} | {job: WINDOW % (WINDOW_COLUMNS, window) for job, window in WINDOWS.items()}
TO_ICEBERG = {"insert": BLACKHOLE} | {job: JOBS[job] for job in WINDOWS}
FLINK_CATALOG = """CREATE CATALOG ice WITH ('type' = 'iceberg', 'catalog-type' = 'rest', 'uri' = '{catalog}');
CREATE DATABASE IF NOT EXISTS ice.lakehouse;
"""


def on_lakeward(text):
    return text.replace("{table}", "lakehouse.{table}").replace("'connector' = 'blackhole'", ICEBERG)


def on_flink(text):
    options = "'format-version' = '2', 'write.parquet.compression-codec' = 'zstd'"
    return FLINK_CATALOG + text.replace("{table}", "ice.lakehouse.{table}").replace("'connector' = 'blackhole'", options)


# Job, events, format, keys: how many times Flink's rows per CPU second.
ASKED = {
    ("insert", "small", "avro", "few"): 9.8,
    ("insert", "wide", "json", "few"): 5,
    ("insert", "wide", "avro", "few"): 6,
    ("tumble", "wide", "json", "few"): 5,
    ("tumble", "wide", "avro", "few"): 6,
    ("tumble", "wide", "json", "many"): 6,
    ("tumble", "wide", "avro", "many"): 8,
    ("hop", "wide", "json", "few"): 8,
    ("hop", "wide", "avro", "few"): 8,
    ("session", "wide", "json", "few"): 8,
    ("session", "wide", "avro", "few"): 8,
}
# What the bare loop makes per CPU second, an insert makes so much of.
OF_BARE = 0.77
KEYS = {"wide": {"few": "route", "many": "customer"}, "small": {"few": "warehouse_id", "many": "sku"}}
BARE_EVENTS = 200_000


class Work:
    """What is read and what is done with it, the same for both sides."""

    def __init__(self, args, job, event, format, keys):
        self.name, self.job, self.format = (job, event, format, keys), job, format
        self.events, self.partitions, self.topic = args.events, args.partitions, f"{event}-{format}"
        self.wide = event == "wide"
        if not self.wide and self.format != "avro":
            raise SystemExit("bench pipeline: small events are bare Avro; --format json and avro-confluent want --event wide")
        self.columns = orders.COLUMNS if self.wide else SMALL
        self.names = ", ".join(column.split()[0] for column in self.columns.split(", "))
        self.key = KEYS[event][keys]
        self.registry = None

    def declare(self, registry):
        """Registers the schema, once, where the format needs one."""
        body = json.dumps({"schema": json.dumps(orders.DECLARED)}).encode()
        request = urllib.request.Request(f"{registry}/subjects/{self.topic}-value/versions", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            self.schema_id = json.load(answer)["id"]
        self.registry = registry

    def fill(self, bootstrap):
        admin = AdminClient({"bootstrap.servers": bootstrap})
        admin.create_topics([NewTopic(self.topic, self.partitions, 1, config={"retention.ms": "-1"})])[self.topic].result(30)
        if not self.wide:
            inventory.send(bootstrap, range(self.events), self.topic, self.partitions)
            return
        encode = {"json": orders.as_json, "avro": orders.as_avro}.get(self.format) or orders.framed(self.schema_id)
        orders.send(bootstrap, self.events, self.topic, self.partitions, encode)

    def windows(self):
        """How many windows have events, and of how many events they are together. Nothing of these events is late: they are out of
        order by less than the watermark stays behind."""
        event = orders.event if self.wide else inventory.event
        times = collections.defaultdict(list)
        for number in range(self.events):
            row = event(number)
            times[row[self.key]].append(row["event_time"])
        if self.job == "session":
            gaps = 0
            for of_key in times.values():
                of_key.sort()
                gaps += sum(after - before > 20_000 for before, after in zip(of_key, of_key[1:]))
            return len(times) + gaps, self.events
        step, per_window = (60_000, 1) if self.job == "tumble" else (10_000, 6)
        windows = (len({time // step + back for time in of_key for back in range(per_window)}) for of_key in times.values())
        return sum(windows), self.events * per_window

    def script(self, before, text, bootstrap, **more):
        format = f"'format' = '{self.format}'"
        if self.format == "avro-confluent":
            format += f", 'avro-confluent.url' = '{self.registry}'"
        text = before + SOURCE + text
        return text.format(columns=self.columns, names=self.names, key=self.key, bootstrap=bootstrap, format=format, topic=self.topic, **more)


class FlinkCluster:
    def __init__(self, folder):
        self.folder, self.tables = folder / "flink", ReferenceCatalog(folder)

    def start(self):
        subprocess.run([str(FLINK), "cluster", "up", str(self.folder)], check=True)
        self.tables.start()
        self.catalog = self.tables.catalog

    def cpu(self):
        return sum(cpu_seconds(int((self.folder / f"{name}.pid").read_text())) for name in ("taskmanager-1", "jobmanager"))

    def catalog_cpu(self):
        return cpu_seconds(self.tables.pid)

    def run(self, script):
        """Seconds of the INSERT alone, as the runner times it: its own JVM's start is not the job's."""
        done = subprocess.run([str(FLINK), "submit", str(self.folder), "-"], input=script, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stdout + done.stderr
        return next(float(line.split()[1]) for line in done.stderr.splitlines() if "INSERT INTO" in line)

    def stop(self):
        if self.folder.exists():
            subprocess.run([str(FLINK), "cluster", "down", str(self.folder)], check=False)
        self.tables.stop()


def run_lakeward(side, folder, table, work, text):
    """Seconds and CPU seconds of one bounded run."""
    script = folder / f"{table}.sql"
    script.write_text(work.script("", text, "kafka-1:9092,kafka-2:9092", table=table))
    with Measured(side.pid) as measured:
        side.server.ok("run", script, seconds=600)
    return work.events, measured.seconds, measured.server_cpu, 0.0


def run_flink(flink, kafka, table, work, text):
    beside = lambda: cpu_seconds(kafka.pid) + flink.catalog_cpu()  # noqa: E731
    before, beside_before = flink.cpu(), beside()
    seconds = flink.run(work.script(SETTINGS, text, kafka.bootstrap, table=table, catalog=flink.catalog, checkpoints=flink.folder / "checkpoints"))
    of_others = beside() - beside_before
    return work.events, seconds, flink.cpu() - before + of_others, of_others


class Runner:
    """Runs a job on any side, into a table of its own."""

    def __init__(self, sides, flink):
        self.folder, self.flink, self.number = sides.folder, flink, 0

    def run(self, side, work, to_iceberg):
        self.number += 1
        table = f"round_{self.number}"
        if isinstance(side, Lakeward):
            text = on_lakeward(TO_ICEBERG[work.job]) if to_iceberg else JOBS[work.job]
            return table, run_lakeward(side, self.folder, table, work, text)
        text = on_flink(TO_ICEBERG[work.job]) if to_iceberg else JOBS[work.job]
        return table, run_flink(self.flink, side, table, work, text)

    def catalog(self, side):
        return side.server.catalog if isinstance(side, Lakeward) else self.flink.catalog

    def round(self, side, work):
        """Figures of one run, checked by the rows that its table has if it has one."""
        table, figures = self.run(side, work, to_iceberg=work.job == "insert")
        if work.job == "insert":
            rows = tables.rows(self.catalog(side), f"lakehouse.{table}")
            assert rows == work.events, f"{side.name}: {rows} rows of {work.events}"
        return figures

    def check_windows(self, side, work, expected):
        table, _ = self.run(side, work, to_iceberg=True)
        found = tables.query(self.catalog(side), f"SELECT count(*), sum(n)::BIGINT FROM ice.lakehouse.{table}")[0]
        assert tuple(found) == expected, f"{side.name}: windows and their events are {found}, and should be {expected}"


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


class Bare:
    """What one thread decodes, and decodes and encodes, of these events, in rows per second of processor: measured after each turn of
    the sides, and the median of all, for the machine is not equally fast from one minute to the next."""

    def __init__(self, work, folder):
        encode = (orders.as_json if work.format == "json" else orders.as_avro) if work.wide else inventory.encoded
        file = folder / "events"
        with open(file, "wb") as out:
            for number in range(BARE_EVENTS):
                event = encode(number)
                out.write(len(event).to_bytes(4, "little") + event)
        self.command = [Path(BINARY).parent / "examples/bare", work.format.removesuffix("-confluent"), work.columns, file]
        self.rounds = []

    def round(self):
        self.rounds.append(json.loads(subprocess.run(self.command, check=True, stdout=subprocess.PIPE).stdout))

    def median(self, of):
        return statistics.median(figures[of] for figures in self.rounds)


def measure(sides, runner, work, args, bare):
    """Side → figures of its rounds."""
    if work.job in WINDOWS:
        expected = work.windows()
        for side in sides.all:
            runner.check_windows(side, work, expected)
        print(f"windows of {work.job}, as counted here: {expected[0]:,} of {expected[1]:,} events", flush=True)
    rounds = Rounds(args)
    while any(rounds.wants(side.name) for side in sides.all):
        for side in filter(lambda side: rounds.wants(side.name), sides.all):
            rounds.add(side.name, runner.round(side, work))
        bare.round()
    return {"flink" if side == "kafka" else side: figures for side, figures in rounds.measured.items()}


class Pinned(Lakeward):
    """Held to so many cores."""

    def __init__(self, folder, cores):
        self.name = f"lakeward-on-{cores}"
        super().__init__(folder)
        self.server.under = ["taskset", "-c", f"0-{cores - 1}"]


def works_of(args):
    names = list(ASKED) if args.table else [(args.job, args.event, args.format, args.keys)]
    return [Work(args, *name) for name in names]


def fill(sides, works):
    """Each topic once. The schema is registered where it has to be, before events name it."""
    schemas = [side.server.registry for side in sides.all if isinstance(side, Lakeward)]
    filled = set()
    for work in works:
        if work.format == "avro-confluent":
            work.declare(schemas[0])
        for side in sides.all if work.topic not in filled else ():
            work.fill(side.bootstrap)
        filled.add(work.topic)


def tell(work, args, results, bare):
    """Prints a job's figures; what of them the table of all jobs wants."""
    job, event, format, keys = work.name
    by_key = f" by {keys} keys" if job in WINDOWS else ""
    print(f"\n{args.events} {event} events, {format}, {args.partitions} partitions, {job}{by_key}; the last column is what of it is Kafka's and the catalog's CPU")
    summary = report("rows", results, last="beside the engine")
    for side, figures in summary.items():
        print(f"{side}: {len(results[side])} rounds, {figures['per_server_cpu_s'] / bare.median('decode_encode'):.2f} of the bare loop's rows per CPU second")
    if args.cores:
        rates = [figures["median"] for figures in summary.values()]
        print(f"rows/s beside the first: {', '.join(f'{rate / rates[0]:.2f}' for rate in rates)}")
    print(f"the bare loop, rows per CPU second of one thread: decode {bare.median('decode'):,.0f}, decode and encode {bare.median('decode_encode'):,.0f}", flush=True)
    return summary


def table_of(found):
    """The jobs that something is asked of, one line each."""
    print(f"\n| {'job':34} | {'lakeward':>12} | {'flink':>12} | {'times':>6} | {'asked':>6} | {'of bare':>8} | {'asked':>6} |")
    print(f"|{'---|' * 7}")
    for (name, summary, bare) in found:
        ours = summary["lakeward"]["per_server_cpu_s"]
        flink = summary.get("flink", {}).get("per_server_cpu_s")
        times = f"{ours / flink:.1f}" if flink else ""
        of_bare, asked = (f"{ours / bare.median('decode_encode'):.2f}", OF_BARE) if name[0] == "insert" else ("", "")
        print(f"| {' '.join(name):34} | {ours:12,.0f} | {flink or 0:12,.0f} | {times:>6} | {ASKED[name]:6} | {of_bare:>8} | {asked:6} |")
    print("rows per CPU second of engine, broker and catalog")


def main():
    parser = argparse.ArgumentParser(prog="cargo xtask bench pipeline")
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--partitions", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, help="run each side at least so long, instead of --rounds")
    parser.add_argument("--warm-up", type=float, default=30, help="seconds of each side that are not counted; with --seconds")
    parser.add_argument("--peer", choices=("flink",), help="run this one too, in turns")
    parser.add_argument("--only-peer", action="store_true", help="leave Lakeward out")
    parser.add_argument("--table", action="store_true", help="all jobs that something is asked of")
    parser.add_argument("--cores", help="Lakeward held to so many cores, several ways: 1,2")
    parser.add_argument("--event", choices=tuple(KEYS), default="small")
    parser.add_argument("--keys", choices=("few", "many"), default="few")
    parser.add_argument("--format", choices=("avro", "json", "avro-confluent"), default="avro")
    parser.add_argument("--job", choices=("insert", *JOBS), default="insert")
    args = parser.parse_args()
    works = works_of(args)
    if args.only_peer and (not args.peer or args.table or any(work.format == "avro-confluent" for work in works)):
        raise SystemExit("bench pipeline: --only-peer wants --peer, one job, and a format whose schemas are not in Lakeward's registry")
    if args.cores and (args.peer or args.table):
        raise SystemExit("bench pipeline: --cores is Lakeward against itself, in one job")
    print_machine()
    pinned = [lambda folder, cores=int(cores): Pinned(folder, cores) for cores in (args.cores or "").split(",") if cores]
    makers = pinned or ([] if args.only_peer else [Lakeward]) + ([Kafka] if args.peer else [])
    found = []
    with Sides(*makers) as sides:
        flink = FlinkCluster(sides.folder)
        try:
            for side in sides.all:
                if isinstance(side, Lakeward):
                    side.server.config.write_text(tables.mapping(sides.folder / side.name))
                else:
                    flink.start()
                side.start()
            fill(sides, works)
            runner = Runner(sides, flink)
            for work in works:
                bare = Bare(work, sides.folder)
                results = measure(sides, runner, work, args, bare)
                found.append((work.name, tell(work, args, results, bare), bare))
        finally:
            flink.stop()
    if args.table:
        table_of(found)


main()
