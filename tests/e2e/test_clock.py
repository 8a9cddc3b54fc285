"""NOW() and its kin are when the log took a record in: the same over kills, in a table that is filled later, and in an audit."""
import datetime
import json

from confluent_kafka import Producer

import tables
from lakeward import wait_until

SCRIPT = """
CREATE TABLE orders (id INT, proc AS PROCTIME())
WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'kafka-1:9092,kafka-2:9092',
      'scan.startup.mode' = 'earliest-offset', 'format' = 'json');
CREATE TABLE shop.{table} (id INT, came TIMESTAMP_LTZ(3), proc TIMESTAMP_LTZ(3), unix BIGINT, came_on DATE)
WITH ('connector' = 'iceberg', 'catalog-name' = 'hive', 'warehouse' = 's3://lakehouse/', 'format-version' = '2');
INSERT INTO shop.{table} SELECT id, NOW(), proc, UNIX_TIMESTAMP(), CURRENT_DATE FROM orders WHERE NOW() > TIMESTAMP '2026-01-01 00:00:00';
"""
EACH = 500


def run(server, folder, table):
    path = folder / f"{table}.sql"
    path.write_text(SCRIPT.format(table=table))
    server.ok("run", path, "--detach")


def rows(server, table):
    return tables.query(server.catalog, f"SELECT id, epoch_ms(came), epoch_ms(proc), unix, came_on FROM ice.shop.{table} ORDER BY id")


def millis():
    return datetime.datetime.now(datetime.timezone.utc).timestamp() * 1000


def test_the_clock_is_the_logs(serve, folder):
    server = serve(tables.mapping(folder), ["--commit-interval", "100 ms"])
    server.create_topic("orders", 2)
    run(server, folder, "first")
    sent = []
    for life in range(3):
        client = Producer({"bootstrap.servers": server.kafka})
        before = millis()
        for number in range(life * EACH, (life + 1) * EACH):
            client.produce("orders", json.dumps({"id": number}).encode(), partition=number % 2)
        assert client.flush(10) == 0
        sent.append((before, millis()))
        server.kill()
        server.start()
    for table in ("first", "later"):
        if table == "later":
            run(server, folder, table)
        wait_until(lambda: tables.rows(server.catalog, f"shop.{table}") == 3 * EACH, f"all rows of {table}")
        report = server.audit(f"shop.{table}")
        assert report["verdict"] == "right" and report["totals"]["rows"] == 3 * EACH, report
    first = rows(server, "first")
    assert first == rows(server, "later"), "who reads later sees the same times"
    for number, came, proc, seconds, day in first:
        before, after = sent[number // EACH]
        # The anchor of a start may be 100 ms off, and clocks are read in whole milliseconds.
        assert before - 101 <= came <= after + 101, (number, came, sent)
        assert proc == came and seconds == came // 1000
        assert day == datetime.datetime.fromtimestamp(came / 1000, datetime.timezone.utc).date()
