"""Formats and expressions from end to end: JSON, Avro framed by Confluent's serializer, metadata columns, WHERE, functions."""
import json

from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

import tables
from lakeward import wait_until

SINK = """WITH ('connector' = 'iceberg', 'catalog-name' = 'hive', 'warehouse' = 's3://lakehouse/', 'format-version' = '2');
"""


def start(serve, folder):
    return serve(tables.mapping(folder), ["--commit-interval", "300 ms"])


def run(server, folder, name, script):
    path = folder / f"{name}.sql"
    path.write_text(script)
    return server.ok("run", path, "--detach")


def test_json_with_metadata_columns_a_filter_and_functions(serve, folder):
    server = start(serve, folder)
    server.create_topic("orders", 1)
    client = Producer({"bootstrap.servers": server.kafka})
    sent = [{"id": i, "who": f"  Customer {i % 3}", "price": i * 1.5, "at": f"2026-01-01 00:00:{i % 60:02d}.{i:03d}"} for i in range(100)]
    for order in sent:
        client.produce("orders", json.dumps(order).encode(), headers=[("trace", b"t")], timestamp=1_767_225_600_000 + order["id"])
    assert client.flush(10) == 0
    run(server, folder, "orders", """
CREATE TABLE orders (
  id INT, who STRING, price DOUBLE, `at` TIMESTAMP(3),
  part INT METADATA FROM 'partition' VIRTUAL, pos BIGINT METADATA FROM 'offset' VIRTUAL, sent TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL
) WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'kafka-1:9092,kafka-2:9092',
        'properties.group.id' = 'order-lag', 'scan.startup.mode' = 'earliest-offset', 'format' = 'json');
CREATE TABLE shop.orders (id INT, who STRING, kind STRING, price INT, part INT, pos BIGINT) """ + SINK + """
INSERT INTO shop.orders
SELECT id, UPPER(TRIM(who)), CASE WHEN price > 100 THEN 'dear' ELSE COALESCE(CAST(NULL AS STRING), 'cheap') END, CAST(price AS INT), part, pos
FROM orders WHERE MOD(id, 2) = 0 AND who LIKE '%stomer%';
""")
    wait_until(lambda: tables.rows(server.catalog, "shop.orders") == 50, "the even orders")
    rows = tables.query(server.catalog, "SELECT id, who, kind, price, part, pos FROM ice.shop.orders ORDER BY id")
    assert rows == [(i, f"CUSTOMER {i % 3}", "dear" if i * 1.5 > 100 else "cheap", int(i * 1.5), 0, i) for i in range(0, 100, 2)]
    report = server.audit("shop.orders")
    assert report["ok"] and report["totals"]["rows"] == 50 and report["totals"]["filtered"] == 50
    lag = wait_until(lambda: (lambda out: "order-lag" in out and out)(server.ok("group", "list")), "the group of properties.group.id")
    assert lag


def test_avro_framed_by_confluents_serializer_and_an_evolved_schema(serve, folder):
    server = start(serve, folder)
    server.create_topic("users", 1)
    registry = SchemaRegistryClient({"url": server.registry})
    old = {"type": "record", "name": "user", "fields": [{"name": "name", "type": "string"}, {"name": "age", "type": "int"}]}
    new = {"type": "record", "name": "user", "fields": [{"name": "age", "type": "int"}, {"name": "mail", "type": ["null", "string"], "default": None}, {"name": "name", "type": "string"}]}
    client = Producer({"bootstrap.servers": server.kafka})
    context = SerializationContext("users", MessageField.VALUE)
    for schema, users in ((old, [{"name": "ann", "age": 30}]), (new, [{"name": "bo", "age": 40, "mail": "b@x"}])):
        serialize = AvroSerializer(registry, json.dumps(schema))
        for user in users:
            client.produce("users", serialize(user, context))
    client.produce("users", b"not framed")
    assert client.flush(10) == 0
    run(server, folder, "users", f"""
CREATE TABLE users (name STRING, age INT)
WITH ('connector' = 'kafka', 'topic' = 'users', 'properties.bootstrap.servers' = 'kafka-1:9092,kafka-2:9092',
      'scan.startup.mode' = 'earliest-offset', 'format' = 'avro-confluent', 'avro-confluent.url' = '{server.registry}');
CREATE TABLE shop.users (name STRING, age INT) {SINK}
INSERT INTO shop.users SELECT name, age FROM users;
""")
    wait_until(lambda: tables.rows(server.catalog, "shop.users") == 2, "both users")
    assert tables.query(server.catalog, "SELECT name, age FROM ice.shop.users ORDER BY 1") == [("ann", 30), ("bo", 40)]
    wait_until(lambda: tables.rows(server.catalog, "shop.users__dead_letters") == 1, "the record without a frame")
    assert server.audit("shop.users")["ok"]


# Names that a file cannot have as they are, and what Iceberg's own writers call such a column in one.
ODD_NAMES = {
    "sepal.length": "sepal_x2Elength",
    "9lives": "_9lives",
    "two words": "two_x20words",
    "größe": "größe",
    "名前": "名前",
    "हिन्दी": "ह_x93Fन_x94Dद_x940",
    "a-b": "a_x2Db",
    "😎": "_xD83D_xDE0E",
    "$": "_x24",
}


def test_readers_filter_on_columns_of_any_name(serve, folder):
    import pyarrow.parquet
    from pyiceberg.expressions import EqualTo, GreaterThanOrEqual

    server = start(serve, folder)
    server.create_topic("flowers", 1)
    client = Producer({"bootstrap.servers": server.kafka})
    for i in range(20):
        client.produce("flowers", json.dumps({name: i * 10 + at for at, name in enumerate(ODD_NAMES)}, ensure_ascii=False).encode())
    assert client.flush(10) == 0
    columns = ", ".join(f"`{name}` INT" for name in ODD_NAMES)
    run(server, folder, "flowers", f"""
CREATE TABLE flowers ({columns})
WITH ('connector' = 'kafka', 'topic' = 'flowers', 'properties.bootstrap.servers' = 'kafka-1:9092,kafka-2:9092',
      'properties.group.id' = 'flowers', 'scan.startup.mode' = 'earliest-offset', 'format' = 'json');
CREATE TABLE shop.flowers ({columns}) """ + SINK + """
INSERT INTO shop.flowers SELECT * FROM flowers;
""")
    wait_until(lambda: tables.rows(server.catalog, "shop.flowers") == 20, "the flowers")
    table = tables.load(server.catalog, "shop.flowers")
    assert [field.name for field in table.schema().fields] == list(ODD_NAMES)
    for task in table.scan().plan_files():
        stored = pyarrow.parquet.read_schema(task.file.file_path.removeprefix("file://")).names
        assert stored == list(ODD_NAMES.values())
    for at, name in enumerate(ODD_NAMES):
        # A filter on a value inside a file's bounds is one that the reader carries out itself.
        one = table.scan(row_filter=EqualTo(name, 70 + at)).to_arrow()
        assert one.column(name).to_pylist() == [70 + at], name
        some = table.scan(row_filter=GreaterThanOrEqual(name, 150 + at), selected_fields=(name,)).to_arrow()
        assert sorted(some.column(name).to_pylist()) == [i * 10 + at for i in range(15, 20)], name
        assert tables.query(server.catalog, f'SELECT "{name}" FROM ice.shop.flowers WHERE "{name}" = {70 + at}') == [(70 + at,)], name
        assert server.ok("sql", "-o", "csv", "-e", f'SELECT COUNT(*) AS n FROM shop.flowers WHERE "{name}" >= {150 + at}').split() == ["n", "5"], name
    tables.check(server.catalog, "shop.flowers")
    report = server.audit("shop.flowers")
    assert report["ok"] and report["totals"]["rows"] == 20
