"""`cargo xtask bench pipeline`: bare Avro from Kafka's log into an Iceberg table, by Lakeward and by Apache Flink.

Both read a topic that is full when the job starts, bounded at its end, and are timed to the end of the job, the last commit
included. Lakeward reads its own log; Flink reads Apache Kafka and commits to Iceberg's reference catalog, with a warm JVM and
parallelism 1. Flink's CPU seconds are the TaskManager's and the JobManager's; Kafka's and the catalog's come on top and are printed.
"""
import argparse
import subprocess

from confluent_kafka.admin import AdminClient, NewTopic

from sides import CATALOG, FLINK, Kafka, Lakeward, Measured, Sides, cpu_seconds, print_machine, report

import inventory
import tables

TOPIC = "events"
COLUMNS = "sku STRING, warehouse_id STRING, event_type STRING, quantity INT, event_time TIMESTAMP(3)"
SOURCE = """CREATE TABLE src ({columns}, WATERMARK FOR event_time AS event_time - INTERVAL '5' SECOND) WITH (
  'connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{bootstrap}',
  'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset', 'format' = 'avro');
"""
LAKEWARD = SOURCE + """CREATE TABLE lakehouse.{table} ({columns}) WITH (
  'connector' = 'iceberg', 'catalog-name' = 'hive', 'warehouse' = 's3://lakehouse/', 'format-version' = '2');
INSERT INTO lakehouse.{table} SELECT sku, warehouse_id, event_type, quantity, event_time FROM src;
"""
FLINK_SQL = """SET 'execution.checkpointing.interval' = '10 s';
SET 'table.exec.iceberg.use-v2-sink' = 'true';
""" + SOURCE + """CREATE CATALOG ice WITH ('type' = 'iceberg', 'catalog-type' = 'rest', 'uri' = '{catalog}');
CREATE DATABASE IF NOT EXISTS ice.lakehouse;
CREATE TABLE ice.lakehouse.{table} ({columns}) WITH ('format-version' = '2', 'write.parquet.compression-codec' = 'zstd');
INSERT INTO ice.lakehouse.{table} SELECT sku, warehouse_id, event_type, quantity, event_time FROM src;
"""


def fill(bootstrap, events, partitions):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(TOPIC, partitions, 1, config={"retention.ms": "-1"})])[TOPIC].result(30)
    inventory.send(bootstrap, range(events), TOPIC, partitions)


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


def run_lakeward(side, folder, table, events):
    """Seconds and CPU seconds of one bounded run, checked by the rows that the table has."""
    script = folder / f"{table}.sql"
    script.write_text(LAKEWARD.format(columns=COLUMNS, topic=TOPIC, bootstrap="kafka-1:9092,kafka-2:9092", table=table))
    with Measured(side.pid) as measured:
        side.server.ok("run", script, seconds=600)
    check_rows(side.server.catalog, table, events)
    return events, measured.seconds, measured.server_cpu, 0.0


def run_flink(flink, kafka, table, events):
    before, kafka_before = flink.cpu(), cpu_seconds(kafka.pid)
    seconds = flink.run(FLINK_SQL.format(columns=COLUMNS, topic=TOPIC, bootstrap=kafka.bootstrap, table=table, catalog=flink.catalog))
    check_rows(flink.catalog, table, events)
    return events, seconds, flink.cpu() - before, cpu_seconds(kafka.pid) - kafka_before


def check_rows(catalog, table, events):
    rows = tables.rows(catalog, f"lakehouse.{table}")
    assert rows == events, f"{rows} rows of {events}"


def main():
    parser = argparse.ArgumentParser(prog="cargo xtask bench pipeline")
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--partitions", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sides", default="lakeward,flink")
    args = parser.parse_args()
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
                fill(side.bootstrap, args.events, args.partitions)
            for number in range(args.rounds + 1):  # round 0 warms up
                for side in sides.all:
                    ours = side.name == "lakeward"
                    table = f"round_{number}"
                    figures = run_lakeward(side, sides.folder, table, args.events) if ours else run_flink(flink, side, table, args.events)
                    if number:
                        results.setdefault("lakeward" if ours else "flink", []).append(figures)
        finally:
            flink.stop()
    print(f"\n{args.events} bare Avro events, {args.partitions} partitions, into Iceberg; for Flink the last column is Kafka's CPU")
    report("rows", results)


main()
