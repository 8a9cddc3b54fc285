"""`cargo xtask bench pipeline`: a full topic through one job, by Lakeward and by Apache Flink.

Both read a topic that is full when the job starts, bounded at its end, and are timed to the end of the job, the last commit
included. Lakeward reads its own log; Flink reads Apache Kafka and commits to Iceberg's reference catalog, with a warm JVM and
parallelism 1. Flink's CPU seconds are the TaskManager's and the JobManager's; Kafka's and the catalog's come on top and are printed.

Events: `small`, the demo's (five columns), or `wide`, the ones that the peers' figures are given for (seven columns, 207 bytes of
JSON, 105 of Avro). Jobs: `insert` into an Iceberg table, and `blackhole`, which decodes all columns and drops the rows. The schema of
`avro-confluent` is in Lakeward's registry for both.
"""
import argparse
import json
import subprocess
import urllib.request

from confluent_kafka.admin import AdminClient, NewTopic

from sides import CATALOG, FLINK, Kafka, Lakeward, Measured, Sides, cpu_seconds, print_machine, report

import inventory
import orders
import tables

TOPIC = "events"
SMALL = "sku STRING, warehouse_id STRING, event_type STRING, quantity INT, event_time TIMESTAMP(3)"
SOURCE = """CREATE TABLE src ({columns}, WATERMARK FOR event_time AS event_time - INTERVAL '5' SECOND) WITH (
  'connector' = 'kafka', 'topic' = 'events', 'properties.bootstrap.servers' = '{bootstrap}',
  'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset', {format});
"""
BLACKHOLE = """CREATE TABLE {table} ({columns}) WITH ('connector' = 'blackhole');
INSERT INTO {table} SELECT {names} FROM src;
"""
LAKEWARD = {
    "insert": SOURCE + """CREATE TABLE lakehouse.{table} ({columns}) WITH (
  'connector' = 'iceberg', 'catalog-name' = 'hive', 'warehouse' = 's3://lakehouse/', 'format-version' = '2');
INSERT INTO lakehouse.{table} SELECT {names} FROM src;
""",
    "blackhole": SOURCE + BLACKHOLE,
}
SETTINGS = """SET 'execution.checkpointing.interval' = '10 s';
SET 'table.exec.iceberg.use-v2-sink' = 'true';
"""
FLINK_SQL = {
    "insert": SETTINGS + SOURCE + """CREATE CATALOG ice WITH ('type' = 'iceberg', 'catalog-type' = 'rest', 'uri' = '{catalog}');
CREATE DATABASE IF NOT EXISTS ice.lakehouse;
CREATE TABLE ice.lakehouse.{table} ({columns}) WITH ('format-version' = '2', 'write.parquet.compression-codec' = 'zstd');
INSERT INTO ice.lakehouse.{table} SELECT {names} FROM src;
""",
    "blackhole": SETTINGS + SOURCE + BLACKHOLE,
}


class Work:
    """What is read and what is done with it, the same for both sides."""

    def __init__(self, args):
        self.job, self.format, self.events, self.partitions = args.job, args.format, args.events, args.partitions
        self.wide = args.event == "wide"
        if not self.wide and self.format != "avro":
            raise SystemExit("bench pipeline: small events are bare Avro; --format json and avro-confluent want --event wide")
        self.columns = orders.COLUMNS if self.wide else SMALL
        self.names = ", ".join(column.split()[0] for column in self.columns.split(", "))
        self.registry = None

    def declare(self, registry):
        """Registers the schema, once, where the format needs one."""
        body = json.dumps({"schema": json.dumps(orders.DECLARED)}).encode()
        request = urllib.request.Request(f"{registry}/subjects/{TOPIC}-value/versions", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            self.schema_id = json.load(answer)["id"]
        self.registry = registry

    def fill(self, bootstrap):
        admin = AdminClient({"bootstrap.servers": bootstrap})
        admin.create_topics([NewTopic(TOPIC, self.partitions, 1, config={"retention.ms": "-1"})])[TOPIC].result(30)
        if not self.wide:
            inventory.send(bootstrap, range(self.events), TOPIC, self.partitions)
            return
        encode = {"json": orders.as_json, "avro": orders.as_avro}.get(self.format) or orders.framed(self.schema_id)
        orders.send(bootstrap, self.events, TOPIC, self.partitions, encode)

    def script(self, texts, bootstrap, **more):
        format = f"'format' = '{self.format}'"
        if self.format == "avro-confluent":
            format += f", 'avro-confluent.url' = '{self.registry}'"
        return texts[self.job].format(columns=self.columns, names=self.names, bootstrap=bootstrap, format=format, **more)


class FlinkCluster:
    def __init__(self, folder):
        self.folder, self.catalog_folder = folder / "flink", folder / "catalog"

    def start(self):
        subprocess.run([str(FLINK), "cluster", "up", str(self.folder)], check=True)
        out = subprocess.run([str(CATALOG), "up", str(self.catalog_folder)], check=True, stdout=subprocess.PIPE, text=True)
        self.catalog = out.stdout.strip()

    def cpu(self):
        return sum(cpu_seconds(int((self.folder / f"{name}.pid").read_text())) for name in ("taskmanager-1", "jobmanager"))

    def run(self, script):
        """Seconds of the INSERT alone, as the runner times it: its own JVM's start is not the job's."""
        done = subprocess.run([str(FLINK), "submit", str(self.folder), "-"], input=script, capture_output=True, text=True)
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
    script.write_text(work.script(LAKEWARD, "kafka-1:9092,kafka-2:9092", table=table))
    with Measured(side.pid) as measured:
        side.server.ok("run", script, seconds=600)
    check_rows(side.server.catalog, table, work)
    return work.events, measured.seconds, measured.server_cpu, 0.0


def run_flink(flink, kafka, table, work):
    before, kafka_before = flink.cpu(), cpu_seconds(kafka.pid)
    seconds = flink.run(work.script(FLINK_SQL, kafka.bootstrap, table=table, catalog=flink.catalog))
    check_rows(flink.catalog, table, work)
    return work.events, seconds, flink.cpu() - before, cpu_seconds(kafka.pid) - kafka_before


def check_rows(catalog, table, work):
    if work.job == "insert":
        rows = tables.rows(catalog, f"lakehouse.{table}")
        assert rows == work.events, f"{rows} rows of {work.events}"


def main():
    parser = argparse.ArgumentParser(prog="cargo xtask bench pipeline")
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--partitions", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sides", default="lakeward,flink")
    parser.add_argument("--event", choices=("small", "wide"), default="small")
    parser.add_argument("--format", choices=("avro", "json", "avro-confluent"), default="avro")
    parser.add_argument("--job", choices=tuple(LAKEWARD), default="insert")
    args = parser.parse_args()
    work = Work(args)
    if work.format == "avro-confluent" and "lakeward" not in args.sides:
        raise SystemExit("bench pipeline: the schemas of avro-confluent are in Lakeward's registry, so it has to be a side")
    wanted = args.sides.split(",")
    print_machine()
    results = {}
    makers = [maker for name, maker in (("lakeward", Lakeward), ("flink", Kafka)) if name in wanted]
    with Sides(*makers) as sides:
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
            for number in range(args.rounds + 1):  # round 0 warms up
                for side in sides.all:
                    ours = side.name == "lakeward"
                    table = f"round_{number}"
                    figures = run_lakeward(side, sides.folder, table, work) if ours else run_flink(flink, side, table, work)
                    if number:
                        results.setdefault("lakeward" if ours else "flink", []).append(figures)
        finally:
            flink.stop()
    goal = {"insert": "into Iceberg", "blackhole": "decoded and dropped"}[args.job]
    print(f"\n{args.events} {args.event} events, {args.format}, {args.partitions} partitions, {goal}; for Flink the last column is Kafka's CPU")
    report("rows", results)


main()
