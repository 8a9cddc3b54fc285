"""`cargo xtask bench soak`: what a server's memory, threads and files do while everything goes on at once, for minutes.

Small records through 48 partitions at a steady rate, the article's pipeline, windows of 10 seconds over the records' own
timestamps (20,000 keys, and 12 that hop), a consumer, a group whose members come and go, scrapes, and large records beside
them that seal a hundred WAL files; at the end, audits. Printed minute by minute: the resident size, threads, open files, files
of state, sealed WAL files and the state in memory; of the article's table its files on the disk, the live ones of data, snapshots
and the size of its metadata; then the resident size after each audit. sent = consumed = audited, each window recomputed, or it
fails. Judge by the slope, not the peak.
"""
import argparse
import faulthandler
import itertools
import json
import multiprocessing
import threading
import time
import urllib.request
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from sides import Lakeward, Sides, cpu_seconds, print_machine, resident_mib

import article
import inventory
import tables
from lakeward import wait_until

BALLAST = "ballast"
SINK = "('connector' = 'iceberg', 'catalog-name' = 'hive', 'catalog-database' = 'lakehouse', 'warehouse' = 's3://lakehouse/', 'catalog-table' = '{}')"
WINDOWS = f"""
SET 'pipeline.name' = 'windows';
CREATE TABLE events (sku STRING, warehouse_id STRING, event_type STRING, quantity INT, event_time TIMESTAMP(3), sent TIMESTAMP_LTZ(3) METADATA FROM 'timestamp',
  WATERMARK FOR sent AS sent - INTERVAL '1' SECOND) WITH (
  'connector' = 'kafka', 'topic' = '{inventory.TOPIC}', 'properties.bootstrap.servers' = 'kafka-1:9092,kafka-2:9092',
  'scan.startup.mode' = 'earliest-offset', 'format' = 'avro');
CREATE TABLE by_sku (sku STRING, window_end TIMESTAMP(3), n BIGINT, total INT) WITH {SINK.format("by_sku")};
CREATE TABLE by_warehouse (warehouse_id STRING, window_end TIMESTAMP(3), n BIGINT, total INT) WITH {SINK.format("by_warehouse")};
BEGIN STATEMENT SET;
INSERT INTO by_sku SELECT sku, window_end, COUNT(*), SUM(quantity)
  FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(sent), INTERVAL '10' SECOND)) GROUP BY sku, window_start, window_end;
INSERT INTO by_warehouse SELECT warehouse_id, window_end, COUNT(*), SUM(quantity)
  FROM TABLE(HOP(TABLE events, DESCRIPTOR(sent), INTERVAL '2' SECOND, INTERVAL '10' SECOND)) GROUP BY warehouse_id, window_start, window_end;
END;
"""


def paced(rate, seconds, size):
    """Yields when `size` more may go, until `seconds` are over."""
    begun = time.monotonic()
    for number in itertools.count():
        due = begun + number * size / rate
        if due > begun + seconds:
            return
        time.sleep(max(0.0, due - time.monotonic()))
        yield number


def send(bootstrap, partitions, rate, seconds, sent):
    client = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "acks": "all", "linger.ms": 5, "queue.buffering.max.messages": 1_000_000})
    values = [{"value": inventory.encoded(number)} for number in range(10_000)]
    for number in paced(rate, seconds, partitions):
        at = number * partitions % 9_000
        for partition in range(partitions):
            client.produce(inventory.TOPIC, values[at + partition]["value"], partition=partition)
        sent.value += partitions
        client.poll(0)
    assert client.flush(120) == 0


def send_ballast(bootstrap, bytes_per_second, seconds):
    client = Producer({"bootstrap.servers": bootstrap, "acks": "all", "linger.ms": 20, "queue.buffering.max.kbytes": 65_536})
    value = bytes(100_000)
    for number in paced(bytes_per_second, seconds, len(value)):
        client.produce(BALLAST, value, partition=number % 4)
        client.poll(0)
    assert client.flush(120) == 0


def read(bootstrap, partitions, consumed, until):
    client = Consumer({"bootstrap.servers": bootstrap, "group.id": "soak", "auto.offset.reset": "earliest", "fetch.wait.max.ms": 100})
    client.assign([TopicPartition(inventory.TOPIC, partition, 0) for partition in range(partitions)])
    while until.value < 0 or consumed.value < until.value:
        consumed.value += len(client.consume(20_000, 1.0))
    client.close()


def leave(member):
    """Out of the group first, then closed: librdkafka's close() waits for itself where a rebalance is told meanwhile, and in Python
    holds all other threads up with it."""
    member.unsubscribe()
    end = time.monotonic() + 10
    while member.assignment() and time.monotonic() < end:
        member.consume(1_000, 0.1)
    member.consume(1_000, 0.1)
    member.close()


def churn(bootstrap, going):
    """A group of two to four members, one of which leaves or comes every two seconds."""
    members, leaving = [], []

    def one_leaves():
        # Beside the others, which go on polling: a group that waits for them would hold who leaves.
        leaving.append(threading.Thread(target=leave, args=[members.pop(0)]))
        leaving[-1].start()

    while going.value:
        # A call that does not come back is told where it stands, and the run fails at its end.
        faulthandler.dump_traceback_later(60, repeat=True)
        if len(members) == 4:
            while len(members) > 2:
                one_leaves()
        members.append(Consumer({"bootstrap.servers": bootstrap, "group.id": "churn", "auto.offset.reset": "latest", "session.timeout.ms": 10_000}))
        members[-1].subscribe([inventory.TOPIC])
        end = time.monotonic() + 2
        while time.monotonic() < end:
            for member in members:
                member.consume(1_000, 0.05)
    while members:
        one_leaves()
    for thread in leaving:
        thread.join()
    faulthandler.cancel_dump_traceback_later()


def scrape(url, going):
    while going.value:
        urllib.request.urlopen(url + "/metrics", timeout=10).read()
        time.sleep(1)


def sealed_files(data):
    return max(int("".join(filter(str.isdigit, path.stem)) or 0) for path in Path(data).rglob("*.wal"))


def held(pid):
    """Threads and open files of a process."""
    threads = Path(f"/proc/{pid}/status").read_text().split("Threads:")[1].split()[0]
    return int(threads), len(list(Path(f"/proc/{pid}/fd").iterdir()))


def in_state(server):
    """Files of state in the data folder, and MiB of state in memory."""
    folder = Path(server.data) / "state"
    files = len(list(folder.iterdir())) if folder.exists() else 0
    (job,) = server.json("pipeline", "show", "windows")["jobs"]
    return files, job["state_bytes"] / (1 << 20)


def in_lake(server):
    """Of the article's table: files on the disk, live files of data, snapshots, KiB of metadata."""
    with urllib.request.urlopen(f"{server.catalog.rstrip('/')}/v1/namespaces/lakehouse/tables/inventory_events", timeout=30) as reply:
        text = reply.read()
    metadata = json.loads(text)["metadata"]
    there = sum(path.is_file() for path in Path(metadata["location"].removeprefix("file://")).rglob("*"))
    live = [it["summary"]["total-data-files"] for it in metadata.get("snapshots", []) if it["snapshot-id"] == metadata.get("current-snapshot-id")]
    return f"{there:10} {live[0] if live else 0:>10} {len(metadata.get('snapshots', [])):9} {len(text) >> 10:12}"


def line(side, minutes, sent, consumed):
    threads, files = held(side.pid)
    state_files, state_mib = in_state(side.server)
    lake = in_lake(side.server)
    print(f"{minutes:8.1f} {resident_mib(side.pid):13.1f} {threads:8} {files:6} {state_files:12} {state_mib:10.2f} {sealed_files(side.server.data):9} "
          f"{sent:11,} {consumed:11,} {cpu_seconds(side.pid):13.1f} {lake}", flush=True)


def main():
    parser = argparse.ArgumentParser(prog="cargo xtask bench soak")
    parser.add_argument("--minutes", type=float, default=12)
    parser.add_argument("--rate", type=int, default=10_000, help="small records a second")
    parser.add_argument("--ballast", type=int, default=10_000_000, help="bytes of large records a second")
    parser.add_argument("--partitions", type=int, default=48)
    parser.add_argument("--audits", type=int, default=10)
    args = parser.parse_args()
    print_machine()
    seconds = args.minutes * 60
    with Sides(Lakeward) as sides:
        side = sides.all[0]
        side.server.config.write_text(tables.mapping(sides.folder))
        side.start()
        admin = AdminClient({"bootstrap.servers": side.bootstrap})
        made = admin.create_topics([NewTopic(inventory.TOPIC, args.partitions, 1), NewTopic(BALLAST, 4, 1, config={"retention.bytes": str(64 << 20)})])
        [future.result(30) for future in made.values()]
        for name, text in (("soak", article.SCRIPT), ("windows", WINDOWS)):
            script = sides.folder / f"{name}.sql"
            script.write_text(text)
            side.server.ok("run", script, "--detach")
        own = multiprocessing.get_context("spawn")  # librdkafka's threads do not come through a fork
        sent, consumed, until, going = (own.Value("q", value) for value in (0, 0, -1, 1))
        start = [own.Process(target=target, args=words) for target, words in (
            (send, (side.bootstrap, args.partitions, args.rate, seconds, sent)), (send_ballast, (side.bootstrap, args.ballast, seconds)),
            (read, (side.bootstrap, args.partitions, consumed, until)), (churn, (side.bootstrap, going)), (scrape, (side.server.ready["http"].rstrip("/"), going)))]
        for process in start:
            process.start()
        begun = time.monotonic()
        print(f"{'minute':>8} {'resident MiB':>13} {'threads':>8} {'files':>6} {'state files':>12} {'state MiB':>10} {'WAL file':>9} {'sent':>11} {'consumed':>11} {'server CPU s':>13} {'lake files':>10} {'data files':>10} {'snapshots':>9} {'metadata KiB':>12}")
        while any(process.is_alive() for process in start[:2]):
            line(side, (time.monotonic() - begun) / 60, sent.value, consumed.value)
            time.sleep(min(60, max(1, seconds / 12)))
        until.value, going.value = sent.value, 0
        for process in start:
            process.join(120)
            process.kill()
        assert all(process.exitcode == 0 for process in start), [process.exitcode for process in start]
        print(f"sent {sent.value:,} = consumed {consumed.value:,}; {resident_mib(side.pid):.1f} MiB")
        wait_until(lambda: side.server.audit(inventory.TABLE)["totals"]["verified"] == sent.value, "every record in the table", 60)
        for table in ("by_sku", "by_warehouse"):
            report = side.server.audit(f"lakehouse.{table}", 1800)
            assert report["ok"] and report["windows"]["differ"] == 0 < report["windows"]["compared"], report
            print(f"{table}: {report['windows']['compared']:,} windows recomputed, {report['totals']['late']:,} late; {resident_mib(side.pid):.1f} MiB", flush=True)
        for number in range(args.audits):
            begun = time.monotonic()
            totals = side.server.audit(inventory.TABLE, 600)["totals"]
            assert totals["verified"] == sent.value, totals
            print(f"audit {number + 1:2} of {totals['verified']:,} offsets: {time.monotonic() - begun:.1f} s, {resident_mib(side.pid):.1f} MiB", flush=True)


if __name__ == "__main__":
    main()
