"""Queries over two tables at once, with the process killed on the way: each is read once, and every row has its place in the order of the log."""
import inventory
import tables
from lakeward import wait_until

PARTITIONS = 3
TOPICS = ("stock", "returned")
COLUMNS = """(sku STRING, warehouse_id STRING, event_type STRING, quantity INT, event_time TIMESTAMP(3),
  WATERMARK FOR event_time AS event_time - INTERVAL '5' SECOND)"""
TABLE = """CREATE TABLE {name} {columns} WITH (
  'connector' = 'kafka', 'topic' = '{name}', 'properties.bootstrap.servers' = 'kafka-1:9092,kafka-2:9092',
  'scan.startup.mode' = 'earliest-offset', 'format' = 'avro'{group});
"""
# One table shows how far it is read under a group of its own, the other under the pipeline's.
GROUPS = {"stock": ", 'properties.group.id' = 'stock-readers'", "returned": ""}
SINK = """CREATE TABLE {name} ({columns}) WITH ('connector' = 'iceberg', 'catalog-name' = 'hive',
  'catalog-database' = 'lakehouse', 'catalog-table' = '{name}', 'warehouse' = 's3://lakehouse/');
"""
SCRIPT = (
    "SET 'pipeline.name' = 'together';\n"
    + "".join(TABLE.format(name=topic, columns=COLUMNS, group=GROUPS[topic]) for topic in TOPICS)
    + SINK.format(name="all_events", columns="origin STRING, quantity INT")
    + SINK.format(name="counts", columns="warehouse_id STRING, window_start TIMESTAMP(3), window_end TIMESTAMP(3), n BIGINT")
    + """
CREATE VIEW both_tables AS SELECT warehouse_id, event_time FROM stock UNION ALL SELECT warehouse_id, event_time FROM returned;
EXECUTE STATEMENT SET BEGIN
INSERT INTO all_events SELECT 'stock', quantity FROM stock UNION ALL SELECT 'returned', quantity FROM returned WHERE quantity > 100;
INSERT INTO counts SELECT warehouse_id, window_start, window_end, COUNT(*)
  FROM TABLE(TUMBLE(TABLE both_tables, DESCRIPTOR(event_time), INTERVAL '2' SECOND)) GROUP BY warehouse_id, window_start, window_end;
END;
"""
)


def audited(server, table, offsets):
    """The audit once the table accounts for so many offsets."""
    wait_until(lambda: tables.exists(server.catalog, table), "the table")
    report = wait_until(lambda: (report := server.audit(table))["totals"]["offsets"] == offsets and report, f"{offsets} offsets of {table}")
    assert report["ok"], report
    return report


def shown(server, group):
    """How many records of which topic the offsets of a group stand behind."""
    found = {}
    for at in server.json("group", "show", group)["partitions"]:
        found[at["topic"]] = found.get(at["topic"], 0) + at["committed"]
    return found


def test_two_tables_are_read_as_one_through_kills(serve, folder):
    server = serve(tables.mapping(folder), ["--commit-interval", "300 ms"])
    for topic in TOPICS:
        server.create_topic(topic, PARTITIONS)
    file = folder / "together.sql"
    file.write_text(SCRIPT)
    server.ok("run", file, "--detach")
    for step in range(4):
        numbers = range(4000 * step, 4000 * (step + 1))
        for first in range(numbers.start, numbers.stop, 1000):
            inventory.send(server.kafka, range(first, first + 1000, 2), topic=TOPICS[0], partitions=PARTITIONS)
            inventory.send(server.kafka, range(first + 1, first + 1000, 2), topic=TOPICS[1], partitions=PARTITIONS)
        if step == 1:
            audited(server, "lakehouse.counts", 8000)
        server.kill()
        server.start()
    audited(server, "lakehouse.all_events", 16_000)
    rows = tables.query(server.catalog, "SELECT origin, count(*), count(DISTINCT quantity), min(quantity), max(quantity) FROM ice.lakehouse.all_events GROUP BY origin ORDER BY origin")
    assert rows == [("returned", 7950, 7950, 101, 15_999), ("stock", 8000, 8000, 0, 15_998)], rows
    report = audited(server, "lakehouse.counts", 16_000)
    fired = tables.query(server.catalog, "SELECT count(DISTINCT window_start), sum(n), epoch_ms(max(window_end)) FROM ice.lakehouse.counts")[0]
    # 32 s of events, 5 s held back.
    assert report["windows"] == {"compared": fired[0], "differ": 0} and fired[0] >= 10, (report, fired)
    assert report["totals"]["late"] == 0
    assert fired[1] == sum(1 for number in range(16_000) if inventory.event(number)["event_time"] < fired[2]), "every record of a fired window is in it once"
    (job,) = server.json("pipeline", "show", "together")["jobs"]
    assert {(it["topic"], it["partition"]) for it in job["partitions"]} == {(topic, partition) for topic in TOPICS for partition in range(PARTITIONS)}
    assert job["watermark"] == min(it["watermark"] for it in job["partitions"])
    wait_until(lambda: shown(server, "stock-readers") == {"stock": 8000}, "the offsets of stock under its own group")
    wait_until(lambda: shown(server, "lakeward-together") == {"returned": 8000}, "those of the other under the pipeline's")
