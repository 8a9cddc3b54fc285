"""What an audit can say of a table whose query was replaced, and of one whose log is gone."""
import json

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

import tables
from lakeward import wait_until

TABLE = "shop.orders"
SCRIPT = """
CREATE TABLE orders (id INT, price INT)
WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'kafka-1:9092,kafka-2:9092',
      'scan.startup.mode' = 'earliest-offset', 'format' = 'json');
CREATE TABLE shop.orders (id INT, price INT)
WITH ('connector' = 'iceberg', 'catalog-name' = 'hive', 'warehouse' = 's3://lakehouse/', 'format-version' = '2');
INSERT INTO shop.orders SELECT id, price FROM orders WHERE price >= 0;
"""


def send(server, numbers):
    client = Producer({"bootstrap.servers": server.kafka})
    for number in numbers:
        client.produce("orders", json.dumps({"id": number, "price": number % 10 - 1}).encode(), partition=number % 2)
    assert client.flush(10) == 0


def run(server, folder, script, *more):
    path = folder / "orders.sql"
    path.write_text(script)
    server.ok("run", path, "--detach", *more)


@pytest.fixture
def filled(serve, folder):
    """100 orders, of which the query leaves ten out, and a record that is none."""
    server = serve(tables.mapping(folder), ["--commit-interval", "300 ms"])
    server.create_topic("orders", 2)
    run(server, folder, SCRIPT)
    send(server, range(100))
    client = Producer({"bootstrap.servers": server.kafka})
    client.produce("orders", b"no order", partition=0)
    assert client.flush(10) == 0
    wait_until(lambda: tables.rows(server.catalog, TABLE) == 90, "the orders")
    wait_until(lambda: tables.rows(server.catalog, f"{TABLE}__dead_letters") == 1, "the record that is none")
    return server


def test_each_part_of_a_table_is_judged_by_the_query_that_made_it(filled, folder):
    run(filled, folder, SCRIPT.replace("SELECT id, price FROM", "SELECT id, price + 1000 FROM"), "--replace")
    send(filled, range(100, 200))
    wait_until(lambda: tables.rows(filled.catalog, TABLE) == 180, "the orders since")
    report = filled.audit(TABLE)
    assert report["verdict"] == "right", report
    assert report["totals"]["verified"] == 201 and report["totals"]["rows"] == 180
    # The settings and the tables of the script are the query's too: what stands beside it is not.
    run(filled, folder, "-- again\n" + SCRIPT, "--replace")
    send(filled, range(200, 210))
    wait_until(lambda: tables.rows(filled.catalog, TABLE) == 189, "the newest orders")
    assert filled.audit(TABLE)["ok"]


def delete_all_records(server):
    admin = AdminClient({"bootstrap.servers": server.kafka})
    wanted = [TopicPartition("orders", partition, -1) for partition in (0, 1)]
    for future in admin.delete_records(wanted).values():
        future.result(10)


def test_what_was_audited_before_the_log_went_stays_verified(filled):
    assert filled.audit(TABLE)["ok"]
    # A day of records is old at once; they are held until they are audited.
    filled.ok("topic", "alter", "orders", "--config", "retention.ms=1")
    wait_until(lambda: "audited before retention takes it" in filled.log_text(), "an audit ahead of retention")
    delete_all_records(filled)
    report = filled.audit(TABLE)
    assert report["verdict"] == "right", report
    assert report["totals"] | {"duplicates": 0} == {
        "offsets": 101, "verified": 101, "rows": 90, "table_rows": 90, "filtered": 10, "late": 0, "dead_letters": 1,
        "control": 0, "open": 0, "unverified": 0, "gaps": 0, "duplicates": 0, "erased": 0}
    # The ledger is durable, and the holds are stated anew.
    filled.stop()
    filled.start()
    assert filled.audit(TABLE)["verdict"] == "right"


def test_what_went_before_it_was_audited_is_not_verified(filled):
    delete_all_records(filled)
    report = filled.audit(TABLE)
    assert report["verdict"] == "right_as_far_as_verified" and report["totals"]["verified"] == 0, report


def test_retention_does_not_wait_for_a_table_that_is_damaged(filled, folder):
    files = [file for file in (folder / "warehouse").rglob("*.parquet") if "dead_letters" not in str(file)]
    assert files
    files[0].write_bytes(b"no parquet")
    filled.ok("topic", "alter", "orders", "--config", "retention.ms=1")
    said = wait_until(lambda: "retention does not wait" in filled.log_text() and filled.log_text(), "an audit that cannot be made")
    assert files[0].name in said or "cannot be read" in said


def change(server, statement):
    with tables.duck(server.catalog) as engine:
        engine.execute(statement)


def test_what_other_engines_did_to_the_table_is_told_apart(filled):
    # Rows of their own, of which some are gone again: nothing is asked of them.
    change(filled, f"INSERT INTO ice.{TABLE} SELECT i, -1 FROM range(1000, 1010) r(i)")
    change(filled, f"DELETE FROM ice.{TABLE} WHERE id >= 1007")
    report = filled.audit(TABLE)
    assert report["ok"], report
    assert (report["foreign_rows"], report["rewritten_rows"], len(report["foreign_snapshots"])) == (7, 0, 2)
    assert "7 rows are other writers': they came through no pipeline" in filled.ok("audit", TABLE)

    # Copy on write: what stays of the pipeline's files is written anew, and found again.
    tables.load(filled.catalog, TABLE).delete("id == 1003 or id == 11")
    report = filled.audit(TABLE)
    gaps = [partition["gaps"] for partition in report["partitions"]]
    assert (report["foreign_rows"], sum(gaps), report["totals"]["rows"]) == (6, 1, 89), report
    assert report["rewritten_rows"] > 0 and not report["ok"]
    assert report["findings"] == ["orders[1]: 1 offsets give rows that the table does not hold"]


def test_a_row_of_the_pipeline_that_another_engine_deleted_is_told_by_its_offset(filled):
    change(filled, f"DELETE FROM ice.{TABLE} WHERE id IN (11, 13)")
    done = filled.run("audit", TABLE)
    # Of partition 1 the n-th record is of order 2n + 1.
    assert done.returncode == 1 and "orders[1]: another writer deleted 2 rows, of offsets 5, 6" in done.stdout, done.stdout
