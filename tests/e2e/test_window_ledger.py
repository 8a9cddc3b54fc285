"""Tables of windows, of OVER and the like when the log that they were made from is gone: the ledger has its word, and the audit goes on from there."""
import inventory
import tables
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from lakeward import wait_until

PARTITIONS = 3
SINK = """CREATE TABLE {name} ({columns}) WITH ('connector' = 'iceberg', 'catalog-name' = 'hive',
  'catalog-database' = 'lakehouse', 'catalog-table' = '{name}', 'warehouse' = 's3://lakehouse/', 'lakeward.late' = 'side-table');
"""
# Some events are later than the watermark waits for.
SCRIPT = f"""
SET 'pipeline.name' = 'ledger';
CREATE TABLE events (sku STRING, warehouse_id STRING, event_type STRING, quantity INT, event_time TIMESTAMP(3),
  WATERMARK FOR event_time AS event_time - INTERVAL '1' SECOND) WITH (
  'connector' = 'kafka', 'topic' = '{inventory.TOPIC}', 'properties.bootstrap.servers' = 'kafka-1:9092,kafka-2:9092',
  'scan.startup.mode' = 'earliest-offset', 'format' = 'avro');
""" + SINK.format(name="counts", columns="warehouse_id STRING, window_start TIMESTAMP(3), window_end TIMESTAMP(3), n BIGINT") + SINK.format(
    name="balances", columns="warehouse_id STRING, quantity INT, n BIGINT, total BIGINT") + SINK.format(
    name="marks", columns="quantity INT, mark TIMESTAMP(3)") + SINK.format(
    name="sessions", columns="window_start TIMESTAMP(3), window_end TIMESTAMP(3), n BIGINT") + SINK.format(
    name="pairs", columns="warehouse_id STRING, window_start TIMESTAMP(3), window_end TIMESTAMP(3), received BIGINT, shipped BIGINT") + """
CREATE TEMPORARY VIEW of_kind AS SELECT warehouse_id, event_type, window_start, window_end, COUNT(*) AS n
  FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(event_time), INTERVAL '2' SECOND)) GROUP BY warehouse_id, event_type, window_start, window_end;
CREATE TEMPORARY VIEW by_sku AS SELECT sku, window_time AS closed
  FROM TABLE(SESSION(TABLE events PARTITION BY sku, DESCRIPTOR(event_time), INTERVAL '1' SECOND)) GROUP BY sku, window_start, window_end, window_time;
EXECUTE STATEMENT SET BEGIN
INSERT INTO counts SELECT warehouse_id, window_start, window_end, COUNT(*)
  FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(event_time), INTERVAL '2' SECOND)) GROUP BY warehouse_id, window_start, window_end;
INSERT INTO balances SELECT warehouse_id, quantity, COUNT(*) OVER (PARTITION BY warehouse_id ORDER BY event_time),
  SUM(CAST(quantity AS BIGINT)) OVER (PARTITION BY warehouse_id ORDER BY event_time) FROM events;
INSERT INTO marks SELECT quantity, CURRENT_WATERMARK(event_time) FROM events;
INSERT INTO sessions SELECT window_start, window_end, COUNT(*)
  FROM TABLE(TUMBLE(TABLE by_sku, DESCRIPTOR(closed), INTERVAL '2' SECOND)) GROUP BY window_start, window_end;
INSERT INTO pairs SELECT l.warehouse_id, l.window_start, l.window_end, l.n, r.n
  FROM (SELECT * FROM of_kind WHERE event_type = 'received') l JOIN (SELECT * FROM of_kind WHERE event_type = 'shipped') r
  ON l.warehouse_id = r.warehouse_id AND l.window_start = r.window_start AND l.window_end = r.window_end;
END;
"""
TABLES = tuple(f"lakehouse.{name}" for name in ("counts", "balances", "marks", "sessions", "pairs"))


def right(server, table, offsets):
    """The audit once the table accounts for so many offsets: all of them are verified."""
    report = wait_until(lambda: (report := server.audit(table))["totals"]["offsets"] == offsets and report, f"{offsets} offsets of {table}")
    assert report["verdict"] == "right" and report["totals"]["verified"] == offsets, report
    return report


def looks(server, table):
    return sum(1 for line in server.log_text().splitlines() if "audited before retention takes it" in line and table in line)


def delete_all_records(server):
    admin = AdminClient({"bootstrap.servers": server.kafka})
    wanted = [TopicPartition(inventory.TOPIC, partition, -1) for partition in range(PARTITIONS)]
    for future in admin.delete_records(wanted).values():
        future.result(10)


def test_tables_of_windows_stay_verified_when_their_log_is_gone(serve, folder):
    server = serve(tables.mapping(folder), ["--commit-interval", "300 ms"])
    server.create_topic(inventory.TOPIC, PARTITIONS)
    file = folder / "ledger.sql"
    file.write_text(SCRIPT)
    server.ok("run", file, "--detach")
    inventory.send(server.kafka, range(6000), partitions=PARTITIONS)
    wait_until(lambda: all(tables.exists(server.catalog, table) for table in TABLES), "the tables")
    before = {table: right(server, table, 6000) for table in TABLES}
    assert before["lakehouse.counts"]["totals"]["late"] > 0 and before["lakehouse.counts"]["windows"]["compared"] >= 4, before
    # A day of records is old at once; they are held until they are audited.
    server.ok("topic", "alter", inventory.TOPIC, "--config", "retention.ms=1")
    wait_until(lambda: all(looks(server, table) for table in TABLES), "an audit ahead of retention of all tables")
    delete_all_records(server)
    for table in TABLES:
        after = right(server, table, 6000)
        assert (after["totals"], after["windows"]) == (before[table]["totals"], before[table]["windows"])
    # The ledger is durable, and what comes goes on from its word: windows that were open when the log went fire with what they had.
    server.kill()
    server.start()
    seen = {table: looks(server, table) for table in TABLES}
    inventory.send(server.kafka, range(6000, 12_000), partitions=PARTITIONS)
    after = {table: right(server, table, 12_000) for table in TABLES}
    assert after["lakehouse.counts"]["windows"]["compared"] >= before["lakehouse.counts"]["windows"]["compared"] + 4
    # And once more, behind a word that went on from the first one.
    wait_until(lambda: all(looks(server, table) > seen[table] for table in TABLES), "a second audit ahead of retention of all tables")
    right_again = {table: right(server, table, 12_000) for table in TABLES}
    assert {table: report["totals"] for table, report in right_again.items()} == {table: report["totals"] for table, report in after.items()}
