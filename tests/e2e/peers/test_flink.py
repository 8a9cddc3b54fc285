"""What Apache Flink's connectors do besides the flights' script: they write to our topics, our registry and our catalog, and change tables."""
import json

import tables
from confluent_kafka import Consumer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

ORDERS = "(1, 'a', 10), (2, 'b', 20), (3, 'a', 30), (4, 'c', 40)"
SCRIPT = """
CREATE VIEW orders AS SELECT CAST(id AS BIGINT) AS id, CAST(k AS STRING) AS k, q FROM (VALUES {orders}) AS v (id, k, q);
CREATE TABLE plain (k STRING, id BIGINT, sent TIMESTAMP_LTZ(3) METADATA FROM 'timestamp', h MAP<STRING, BYTES> METADATA FROM 'headers') WITH (
  'connector' = 'kafka', 'topic' = 'plain', {kafka}, 'key.format' = 'raw', 'key.fields' = 'k', 'format' = 'json');
CREATE TABLE framed (id BIGINT, made TIMESTAMP(3), r ROW<q INT, k STRING>) WITH (
  'connector' = 'kafka', 'topic' = 'framed', {kafka}, 'format' = 'avro-confluent', 'avro-confluent.url' = '{registry}');
CREATE TABLE latest (k STRING, n BIGINT, PRIMARY KEY (k) NOT ENFORCED) WITH (
  'connector' = 'upsert-kafka', 'topic' = 'latest', {kafka}, 'key.format' = 'json', 'value.format' = 'json');
CREATE TABLE once (id BIGINT) WITH (
  'connector' = 'kafka', 'topic' = 'plain', {kafka}, 'format' = 'json', 'sink.delivery-guarantee' = 'exactly-once', 'sink.transactional-id-prefix' = 'x');
INSERT INTO plain SELECT k, id, TO_TIMESTAMP_LTZ(1767225600000 + id, 3), MAP['trace', X'4142'] FROM orders;
INSERT INTO framed SELECT id, TIMESTAMP '2026-01-01 00:00:00.5', ROW(q, k) FROM orders;
INSERT INTO latest SELECT k, COUNT(*) FROM orders GROUP BY k;
INSERT INTO once SELECT id FROM orders;
CREATE CATALOG lake WITH ('type' = 'iceberg', 'catalog-type' = 'rest', 'uri' = '{catalog}');
CREATE DATABASE lake.shop;
CREATE TABLE lake.shop.orders (id BIGINT, k STRING, q INT, d DATE, m MAP<STRING, INT>, r ROW<x INT>) PARTITIONED BY (k) WITH ('format-version' = '2');
INSERT INTO lake.shop.orders SELECT id, k, q, DATE '2026-01-01', MAP[k, q], ROW(q) FROM orders;
INSERT OVERWRITE lake.shop.orders SELECT id, k, q + 1, DATE '2026-01-02', MAP[k, q], ROW(q) FROM orders WHERE k = 'a';
ALTER TABLE lake.shop.orders ADD note STRING;
ALTER TABLE lake.shop.orders SET ('write.parquet.compression-codec' = 'snappy');
ALTER TABLE lake.shop.orders RENAME TO kept;
SELECT id, q, r.x, note FROM lake.shop.kept ORDER BY id;
CREATE TABLE lake.shop.counts (k STRING, n BIGINT, PRIMARY KEY (k) NOT ENFORCED) WITH ('format-version' = '2', 'write.upsert.enabled' = 'true');
INSERT INTO lake.shop.counts SELECT k, COUNT(*) FROM orders GROUP BY k;
INSERT INTO lake.shop.counts VALUES ('a', CAST(9 AS BIGINT)), ('d', CAST(1 AS BIGINT));
SELECT k, n FROM lake.shop.counts ORDER BY k;
DROP DATABASE lake.shop;
CREATE TABLE lake.shop.gone LIKE lake.shop.kept;
DROP TABLE lake.shop.gone;
SHOW TABLES IN lake.shop
"""


def records(server, topic, count):
    """All records of a topic, as (key, value, timestamp, headers), ordered."""
    consumer = Consumer({"bootstrap.servers": server.kafka, "group.id": f"read-{topic}", "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    found = []
    while len(found) < count:
        message = consumer.poll(30)
        assert message is not None, f"{len(found)} of {count} records of {topic}"
        assert not message.error(), message.error()
        found.append((message.key(), message.value(), message.timestamp()[1], message.headers()))
    consumer.close()
    return sorted(found, key=lambda record: (record[0] or b"", record[1] or b""))


def test_flink_writes_our_topics_registry_and_tables(serve, flink):
    server = serve()
    for topic in ("plain", "framed", "latest"):
        server.create_topic(topic, 2)
    script = SCRIPT.format(orders=ORDERS, kafka=f"'properties.bootstrap.servers' = '{server.kafka}'", registry=server.registry, catalog=server.catalog)
    rows, errors = flink.batch(script)
    statements = [statement.split()[:3] for statement in script.split(";\n")]

    # Transactions are not there yet, and a database with tables is not dropped; nothing else fails.
    refused = {" ".join(statements[number - 1]): error for number, error in errors.items()}
    assert set(refused) == {"INSERT INTO once", "DROP DATABASE lake.shop"}, refused
    assert "not empty" in refused["DROP DATABASE lake.shop"]

    plain = records(server, "plain", 4)
    assert [(key, json.loads(value)) for key, value, _, _ in plain] == [
        (b"a", {"k": "a", "id": 1}), (b"a", {"k": "a", "id": 3}), (b"b", {"k": "b", "id": 2}), (b"c", {"k": "c", "id": 4})]
    assert {record[2] for record in plain} == {1_767_225_600_000 + number for number in range(1, 5)}
    assert all(record[3] == [("trace", b"AB")] for record in plain)

    decode = AvroDeserializer(SchemaRegistryClient({"url": server.registry}))
    framed = [decode(record[1], SerializationContext("framed", MessageField.VALUE)) for record in records(server, "framed", 4)]
    assert sorted((row["id"], row["made"].microsecond, row["r"]["q"], row["r"]["k"]) for row in framed) == [
        (1, 500_000, 10, "a"), (2, 500_000, 20, "b"), (3, 500_000, 30, "a"), (4, 500_000, 40, "c")]

    assert [(json.loads(key), json.loads(value)) for key, value, _, _ in records(server, "latest", 3)] == [
        ({"k": "a"}, {"k": "a", "n": 2}), ({"k": "b"}, {"k": "b", "n": 1}), ({"k": "c"}, {"k": "c", "n": 1})]

    answers = list(rows.values())
    kept, counts = [(1, 11, 10, None), (2, 20, 20, None), (3, 31, 30, None), (4, 40, 40, None)], [("a", 9), ("b", 1), ("c", 1), ("d", 1)]
    assert answers == [kept, counts, [("counts",), ("kept",)]]
    assert tables.query(server.catalog, "SELECT id, q, r.x, note FROM ice.shop.kept ORDER BY id") == kept
    assert tables.query(server.catalog, "SELECT k, n FROM ice.shop.counts ORDER BY k") == counts
