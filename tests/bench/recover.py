"""`cargo xtask bench recover`: kill -9 of the whole process under load, and the time until a table shows rows that were sent after it.

One statement set, so one job: the events into one table, windows of a second by warehouse into another. A producer never stops. The clock
runs from the kill: it has in it the start of the process, the recovery of the log, the restore of the windows' state, the reading from the
checkpoint on, and the first commit of new rows. New is what no event that can have been sent before the kill has made. When
the first event after it was acknowledged is told beside: until then the producer was looking for its broker.

The promise: under 2 s. (Apache Flink 2.3.0 on three processes, its TaskManager killed and started again, took 17 to 27 s.)
"""
import argparse
import statistics
import subprocess
import sys
import time

from sides import Lakeward, REPOSITORY, Sides, print_machine

import inventory
import tables
from lakeward import wait_until

PROMISE_S = 2
PARTITIONS = 6
EVENTS, WINDOWS = "lakehouse.events", "lakehouse.windows"
ICEBERG = "WITH ('connector' = 'iceberg', 'catalog-name' = 'hive', 'warehouse' = 's3://lakehouse/')"
SCRIPT = f"""SET 'pipeline.name' = 'recover';
CREATE TABLE src (sku STRING, warehouse_id STRING, event_type STRING, quantity INT, event_time TIMESTAMP(3),
  WATERMARK FOR event_time AS event_time - INTERVAL '5' SECOND) WITH (
  'connector' = 'kafka', 'topic' = '{inventory.TOPIC}', 'properties.bootstrap.servers' = 'kafka-1:9092,kafka-2:9092',
  'scan.startup.mode' = 'earliest-offset', 'format' = 'avro');
CREATE TABLE {EVENTS} (sku STRING, warehouse_id STRING, event_type STRING, quantity INT, event_time TIMESTAMP(3)) {ICEBERG};
CREATE TABLE {WINDOWS} (warehouse_id STRING, window_start TIMESTAMP(3), window_end TIMESTAMP(3), n BIGINT) {ICEBERG};
BEGIN STATEMENT SET;
INSERT INTO {EVENTS} SELECT sku, warehouse_id, event_type, quantity, event_time FROM src;
INSERT INTO {WINDOWS} SELECT warehouse_id, window_start, window_end, COUNT(*)
FROM TABLE(TUMBLE(TABLE src, DESCRIPTOR(event_time), INTERVAL '1' SECOND)) GROUP BY warehouse_id, window_start, window_end;
END;
"""
WAREHOUSES, MS_OF_AN_EVENT = 12, 2


def most_rows(sent):
    """What each table can have at most of so many events. The watermark is five seconds behind them."""
    return {EVENTS: sent, WINDOWS: max(0, sent * MS_OF_AN_EVENT - 5_000) // 1_000 * WAREHOUSES}


def kill_once(server, acked_file, sent_by):
    """What → seconds from the kill to it; for each table, to its first new rows. `sent_by` says how many events can have been sent by then:
    some of those that were on their way are in the log without an acknowledgement, and their rows are not new."""
    server.kill()
    killed = time.monotonic()
    acked = acked_file.stat().st_size
    bounds = most_rows(sent_by(killed))
    server.start()
    found = {"ready": time.monotonic() - killed}
    while not found.keys() >= bounds.keys():
        if "acknowledged" not in found and acked_file.stat().st_size > acked:
            found["acknowledged"] = time.monotonic() - killed
        for table, most in bounds.items():
            if table not in found and tables.rows(server.catalog, table) > most:
                found[table] = time.monotonic() - killed
        assert time.monotonic() < killed + 120, f"no new rows: {found}; {server.log_tail()}"
        time.sleep(0.01)
    return found


def main():
    parser = argparse.ArgumentParser(prog="cargo xtask bench recover")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--rate", type=int, default=4000, help="events a second")
    parser.add_argument("--commit-interval", default="500 ms")
    args = parser.parse_args()
    print_machine()
    with Sides(lambda folder: Lakeward(folder, tables.mapping(folder), ["--commit-interval", args.commit_interval])) as sides:
        server = sides.all[0].server
        sides.all[0].start()
        server.create_topic(inventory.TOPIC, PARTITIONS)
        script, acked_file = sides.folder / "recover.sql", sides.folder / "acked"
        script.write_text(SCRIPT)
        server.ok("run", script, "--detach")
        begun = time.monotonic()
        sent_by = lambda when: int((when - begun) * args.rate) + 1  # noqa: E731
        load = subprocess.Popen([sys.executable, str(REPOSITORY / "tests/e2e/load.py"), server.kafka, inventory.TOPIC, str(PARTITIONS), str(acked_file), str(args.rate)])
        times = {EVENTS: [], WINDOWS: []}
        try:
            for kill in range(args.kills):
                wait_until(lambda: all(tables.rows(server.catalog, table) for table in times), "rows of each table", 60)
                time.sleep(1 + 0.37 * (kill % 4))
                assert load.poll() is None, f"the producer gave up before kill {kill}"
                found = kill_once(server, acked_file, sent_by)
                print(f"kill {kill + 1:2}, seconds: " + ", ".join(f"{what} {seconds:.2f}" for what, seconds in found.items()), flush=True)
                for table, of_table in times.items():
                    of_table.append(found[table])
        finally:
            load.kill()
            load.wait()
        for table in times:
            report = server.audit(table, 600)
            assert report["ok"], report
            print(f"{table:18} median {statistics.median(times[table]):.2f} s, worst {max(times[table]):.2f} s; audit clean: {report['totals']['verified']:,} offsets")
    sys.exit(0 if max(statistics.median(of_table) for of_table in times.values()) < PROMISE_S else 1)


main()
