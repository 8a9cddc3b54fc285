"""A statement set over one topic: read once, several tables, each exact by itself whatever happens to the process or the script."""
import inventory
import tables
from lakeward import wait_until

PARTITIONS = 4
SOURCE = f"""
CREATE TABLE events (sku STRING, warehouse_id STRING, event_type STRING, quantity INT, event_time TIMESTAMP(3)) WITH (
  'connector' = 'kafka', 'topic' = '{inventory.TOPIC}', 'properties.bootstrap.servers' = 'kafka-1:9092,kafka-2:9092',
  'scan.startup.mode' = 'earliest-offset', 'format' = 'avro');
"""
INSERTS = {
    "everything": "SELECT sku, quantity FROM events",
    "shipped": "SELECT sku, quantity FROM events WHERE event_type = 'shipped'",
    # A number that is divisible by 1000 cannot be computed: its record is a dead letter of this table alone.
    "checked": "SELECT sku, 1000000 / (quantity % 1000) AS quantity FROM events",
}


def script(*names):
    text = "SET 'pipeline.name' = 'fan-out';\n" + SOURCE
    for name in names:
        text += f"CREATE TABLE {name} (sku STRING, quantity INT) WITH ('connector' = 'iceberg', 'catalog-name' = 'hive', 'catalog-database' = 'lakehouse', 'catalog-table' = '{name}', 'warehouse' = 's3://lakehouse/');\n"
    inserts = "\n".join(f"INSERT INTO {name} {INSERTS[name]};" for name in names)
    return text + f"EXECUTE STATEMENT SET BEGIN\n{inserts}\nEND;\n"


def expected(name, numbers):
    match name:
        case "everything":
            return len(numbers), 0
        case "shipped":
            return sum(inventory.event(number)["event_type"] == "shipped" for number in numbers), 0
        case "checked":
            dead = sum(number % 1000 == 0 for number in numbers)
            return len(numbers) - dead, dead


def assert_exact(server, name, numbers):
    rows, dead = expected(name, numbers)
    wait_until(lambda: tables.rows(server.catalog, f"lakehouse.{name}") >= rows, f"{rows} rows in {name}")
    report = wait_until(lambda: (report := server.audit(f"lakehouse.{name}"))["totals"]["offsets"] == len(numbers) and report, f"{name} accounts for all")
    assert report["ok"], report
    totals = report["totals"]
    assert (totals["rows"], totals["dead_letters"], totals["duplicates"], totals["gaps"]) == (rows, dead, 0, 0), (name, totals)


def jobs(server):
    return server.json("pipeline", "show", "fan-out")["jobs"]


def test_a_statement_set_is_read_once_and_each_table_of_it_is_exact(serve, folder):
    server = serve(tables.mapping(folder), ["--commit-interval", "300 ms"])
    server.create_topic(inventory.TOPIC, PARTITIONS)
    inventory.send(server.kafka, range(2500), partitions=PARTITIONS)
    file = folder / "set.sql"
    file.write_text(script("everything", "shipped"))
    server.ok("run", file, "--detach")
    for name in ("everything", "shipped"):
        assert_exact(server, name, range(2500))
    (job,) = jobs(server)
    assert [sink["table"] for sink in job["sinks"]] == ["lakehouse.everything", "lakehouse.shipped"]
    assert job["records_in"] == 2500, "it is read once"

    # A third table joins: it has all that its table asks for, and nothing comes into the others a second time.
    file.write_text(script("shipped", "checked", "everything"))
    server.ok("run", file, "--detach", "--replace")
    for name in INSERTS:
        assert_exact(server, name, range(2500))

    for kill in range(3):
        inventory.send(server.kafka, range(2500 + 500 * kill, 3000 + 500 * kill), partitions=PARTITIONS)
        server.kill()
        server.start()
    for name in INSERTS:
        assert_exact(server, name, range(4000))
    (job,) = jobs(server)
    assert len(job["sinks"]) == 3

    # One leaves; the others go on.
    file.write_text(script("shipped", "checked"))
    server.ok("run", file, "--detach", "--replace")
    inventory.send(server.kafka, range(4000, 4500), partitions=PARTITIONS)
    for name in ("shipped", "checked"):
        assert_exact(server, name, range(4500))
    assert tables.rows(server.catalog, "lakehouse.everything") == 4000
