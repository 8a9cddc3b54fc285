"""Dead letters are worked off: browsed, mended by a command on the way to a retry topic that the pipeline reads, once each."""
import json

from confluent_kafka import Producer

import tables
from lakeward import wait_until

TABLE = "shop.orders"
SCRIPT = """SET 'pipeline.name' = 'orders';
CREATE TABLE orders (id INT, price INT, sent TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL) WITH (
  'connector' = 'kafka', 'topic' = '{topics}', 'properties.bootstrap.servers' = 'kafka-1:9092,kafka-2:9092',
  'scan.startup.mode' = 'earliest-offset', 'format' = 'json');
CREATE TABLE shop.orders (id INT, price INT, sent TIMESTAMP_LTZ(3)) WITH
  ('connector' = 'iceberg', 'catalog-name' = 'hive', 'warehouse' = 's3://lakehouse/', 'format-version' = '2');
INSERT INTO shop.orders SELECT id, price, sent FROM orders;
"""
SENT_MS = 1_767_225_600_000


def run(server, topics, *arguments):
    path = server.folder / "orders.sql"
    path.write_text(SCRIPT.format(topics=topics))
    server.ok("run", path, "--detach", *arguments)


def landed(server):
    return sorted(row for row in tables.query(server.catalog, f"SELECT id, price, CAST(epoch_ms(sent) AS BIGINT) FROM ice.{TABLE}"))


def test_letters_are_mended_and_sent_again_once(serve, folder):
    server = serve(tables.mapping(folder), ["--commit-interval", "300 ms"])
    server.create_topic("orders", 2)
    server.create_topic("orders-retry", 1)
    client = Producer({"bootstrap.servers": server.kafka})
    values = [b'{"id": 0, "price": 10}', b'{"id": 1, "price": "dear"}', b"\xff\x00", b'{"id": 3, "price": 30}', b'{"id": 4, "price": "dear"}']
    for number, value in enumerate(values):
        client.produce("orders", value, b"key", partition=number % 2, timestamp=SENT_MS + number)
    assert client.flush(30) == 0
    run(server, "orders")
    wait_until(lambda: tables.rows(server.catalog, f"{TABLE}__dead_letters") == 3, "three letters")

    listed = server.json("dlq", "list")
    assert {entry["table"] for entry in listed} == {TABLE} and sum(entry["letters"] for entry in listed) == 3, listed
    shown = server.json("dlq", "show", TABLE)
    assert [(letter["topic"], letter["partition"], letter["offset"]) for letter in shown] == [("orders", 0, 1), ("orders", 0, 2), ("orders", 1, 0)]
    assert [letter.get("value", letter.get("value_hex")) for letter in shown] == ["ff00", '{"id": 4, "price": "dear"}', '{"id": 1, "price": "dear"}']
    assert [letter["timestamp"] for letter in shown] == [SENT_MS + 2, SENT_MS + 4, SENT_MS + 1]
    assert len(server.json("dlq", "show", TABLE, "--limit", 1)) == 1
    (one,) = server.json("dlq", "show", TABLE, "-p", 1, "--offset", 0)
    assert one["key"] == "key" and len(server.json("dlq", "show", TABLE, "--error-code", one["error_code"])) == 2

    # What cannot be mended stays, and is told; without --execute nothing is sent.
    mend = ["dlq", "retry", TABLE, "--to", "orders-retry", "--with", """grep -a '"price"' | sed 's/"dear"/40/'""", "-o", "json"]
    preview = server.run(*mend)
    told = json.loads(preview.stdout)
    assert preview.returncode == 1 and (told["retried"], told["not_mended"], told["executed"]) == (2, 1, False), told
    assert server.ok("topic", "consume", "orders-retry", "-e") == ""
    sent = json.loads(server.run(*mend, "--execute").stdout)
    assert (sent["letters"], sent["retried"], sent["already_there"], sent["not_mended"]) == (3, 2, 0, 1), sent
    after = json.loads(server.run(*mend, "--execute").stdout)
    assert (after["retried"], after["already_there"], after["not_mended"]) == (0, 2, 1), after
    headers = server.ok("topic", "consume", "orders-retry", "-e", "-f", r"%h\n").split()
    assert sorted(headers) == ["lakeward.dead-letter=orders/0@2", "lakeward.dead-letter=orders/1@0"]

    # The pipeline reads the retry topic from now on, across a kill -9.
    assert landed(server) == [(0, 10, SENT_MS), (3, 30, SENT_MS + 3)]
    assert "no pipeline reads orders-retry" in server.run("dlq", "retry", TABLE, "--to", "orders-retry").stderr
    run(server, "orders;orders-retry", "--replace")
    server.kill()
    server.start()
    mended = [(0, 10, SENT_MS), (1, 40, SENT_MS + 1), (3, 30, SENT_MS + 3), (4, 40, SENT_MS + 4)]
    wait_until(lambda: landed(server) == mended, f"the mended orders: {landed(server)}")
    assert "no pipeline reads" not in server.run("dlq", "retry", TABLE, "--to", "orders-retry").stderr
    report = server.audit(TABLE)
    assert report["ok"] and (report["totals"]["rows"], report["totals"]["dead_letters"]) == (4, 3), report


def test_what_is_not_there_is_told(serve, folder):
    server = serve(tables.mapping(folder), [])
    assert server.json("dlq", "list") == []
    for arguments in (("show", TABLE), ("retry", TABLE, "--to", "nowhere")):
        refused = server.run("dlq", *arguments)
        assert refused.returncode == 1 and "the dead letters of shop.orders cannot be read" in refused.stderr and "not found" in refused.stderr, refused.stderr
    assert server.run("dlq", "show", TABLE, "--offset", 3).returncode == 2, "an offset is one of a partition"
