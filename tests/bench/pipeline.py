"""`cargo xtask bench pipeline`: bare Avro from Kafka's log into an Iceberg table, by Lakeward and by Apache Flink.

Both read a topic that is full when the job starts, bounded at its end, and are timed to the end of the job, the last commit
included. Lakeward reads its own log; Flink reads Apache Kafka and commits to Iceberg's reference catalog, with a warm JVM and
parallelism 1. Flink's CPU seconds are the TaskManager's and the JobManager's; Kafka's and the catalog's come on top and are printed.
"""
import argparse
import shutil
import subprocess

from confluent_kafka.admin import AdminClient, NewTopic

from sides import CATALOG, FLINK, Kafka, Lakeward, Measured, Sides, cpu_seconds, print_machine, report

import inventory
import tables

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


def fill(bootstrap, topic, events, partitions):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, partitions, 1, config={"retention.ms": "-1"})])[topic].result(30)
    inventory.send(bootstrap, range(events), topic, partitions)


class FlinkCluster:
    def __init__(self, folder):
        self.folder, self.catalog_folder = folder / "flink", folder / "catalog"

    def start(self):
        subprocess.run([str(FLINK), "cluster", "up", str(self.folder)], check=True)
        out = subprocess.run([str(CATALOG), "up", str(self.catalog_folder)], check=True, stdout=subprocess.PIPE, text=True)
        self.catalog = out.stdout.strip()

    def pids(self):
        return [int((self.folder / f"{name}.pid").read_text()) for name in ("taskmanager-1", "jobmanager")]

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


def main():
    parser = argparse.ArgumentParser(prog="cargo xtask bench pipeline")
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--partitions", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-flink", action="store_true")
    args = parser.parse_args()
    if shutil.which("mvn") is None:
        args.no_flink = True
    print_machine()
    results = {}
    with Sides(*([Lakeward] if args.no_flink else [Lakeward, Kafka])) as sides:
        lakeward = sides.all[0]
        lakeward.server.config.write_text(tables.mapping(sides.folder))
        flink = FlinkCluster(sides.folder)
        try:
            for side in sides.all:
                side.start()
                fill(side.bootstrap, "events", args.events, args.partitions)
            if not args.no_flink:
                flink.start()
            for number in range(args.rounds + 1):  # round 0 warms up
                table = f"round_{number}"
                script = sides.folder / f"{table}.sql"
                script.write_text(LAKEWARD.format(columns=COLUMNS, topic="events", bootstrap="kafka-1:9092,kafka-2:9092", table=table))
                with Measured(lakeward.pid) as measured:
                    lakeward.server.ok("run", script, seconds=600)
                rows = tables.rows(lakeward.server.catalog, f"lakehouse.{table}")
                assert rows == args.events, f"{rows} rows of {args.events}"
                if number:
                    results.setdefault("lakeward", []).append((args.events, measured.seconds, measured.server_cpu, 0.0))
                if args.no_flink:
                    continue
                before, kafka_before = [cpu_seconds(pid) for pid in flink.pids()], cpu_seconds(sides.all[1].pid)
                seconds = flink.run(FLINK_SQL.format(columns=COLUMNS, topic="events", bootstrap=sides.all[1].bootstrap, table=table, catalog=flink.catalog))
                cpu = sum(cpu_seconds(pid) for pid in flink.pids()) - sum(before)
                rows = tables.rows(flink.catalog, f"lakehouse.{table}")
                assert rows == args.events, f"Flink landed {rows} rows of {args.events}"
                if number:
                    results.setdefault("flink", []).append((args.events, seconds, cpu, cpu_seconds(sides.all[1].pid) - kafka_before))
        finally:
            flink.stop()
    print(f"\n{args.events} bare Avro events, {args.partitions} partitions, into Iceberg; for Flink the last column is Kafka's CPU")
    report("rows", results)


main()
