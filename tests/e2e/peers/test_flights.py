"""examples/flights, by every engine that runs its script: each table is compared with what DuckDB makes of the flights, cell by cell."""
import os
import subprocess
import sys
from pathlib import Path

import tables
from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from lakeward import REPOSITORY, wait_until

FLIGHTS = REPOSITORY / "examples/flights"
UNTIL = os.environ.get("LAKEWARD_E2E_FLIGHTS_UNTIL")
NAMES = ("hourly", "rotations", "worst_routes")
PARTITIONS = 4
KILLS = 3
# The example's addresses are the ones that it is served on; here every server has ports of its own.
KAFKA, REGISTRY, CATALOG = "127.0.0.1:9092", "http://127.0.0.1:8081", "http://127.0.0.1:8181"
MAPPING = f"""
[bootstrap]
"{KAFKA}" = "embedded"
"""


def send(flights, bootstrap, registry):
    """The flights into the topic `flights`: of the year, or until the day that LAKEWARD_E2E_FLIGHTS_UNTIL names."""
    flights.send(flights.reported(seed=13, jitter_minutes=20, until=UNTIL), bootstrap, registry, "flights", PARTITIONS)


def script(**places):
    """The example's script, with other addresses in the places of its own."""
    text = (FLIGHTS / "flights.sql").read_text()
    for documented, place in ((KAFKA, places.get("kafka")), (REGISTRY, places.get("registry")), (CATALOG, places.get("catalog"))):
        assert documented in text, documented
        text = text.replace(documented, place or documented)
    return text


def truth(engine, flights, folder):
    """The views of truth.sql over the flights as they stand in the package."""
    with flights.archive() as packed:
        csv = packed.extract("flights.csv", folder)
    engine.execute(f"CREATE TABLE all_flights AS SELECT * FROM read_csv('{csv}', nullstr = 'NA', types = {{'time_hour': 'TIMESTAMP'}})")
    engine.execute(f"CREATE VIEW flights AS SELECT * FROM all_flights WHERE time_hour < '{UNTIL or 'infinity'}'")
    engine.execute((FLIGHTS / "truth.sql").read_text())


def run_here(server, text):
    """The script as pipelines of the server itself."""
    file = server.folder / "flights.sql"
    file.write_text(text)
    server.ok("run", file, "--detach")


def end_the_year(server, flights):
    """A flight of the next year in each partition: no watermark is in the old year any more, and the windows of these flights stay open."""
    context = SerializationContext("flights", MessageField.VALUE)
    last = dict(flights.flight(next(flights.rows())), tailnum=None, scheduled=1_391_212_800_000)  # 2014-02-01
    value = AvroSerializer(SchemaRegistryClient({"url": server.registry}), flights.SCHEMA)(last, context)
    producer = Producer({"bootstrap.servers": server.kafka})
    for partition in range(PARTITIONS):
        producer.produce("flights", value, partition=partition, timestamp=1_391_212_800_000)
    assert producer.flush(30) == 0


def counted(server):
    return {name: tables.rows(server.catalog, f"nyc.{name}") for name in NAMES}


def compare(server, flights, folder):
    with tables.duck(server.catalog) as engine:
        truth(engine, flights, folder)
        for name in NAMES:
            columns = ", ".join(row[0] for row in engine.execute(f"DESCRIBE {name}").fetchall())
            wanted, found = f"SELECT {columns} FROM {name}", f"SELECT {columns} FROM ice.nyc.{name}"
            missing = engine.execute(f"{wanted} EXCEPT ALL {found} ORDER BY ALL").fetchall()
            wrong = engine.execute(f"{found} EXCEPT ALL {wanted} ORDER BY ALL").fetchall()
            assert (missing, wrong) == ([], []), f"{name}: {len(missing)} rows are missing, {len(wrong)} are wrong: {missing[:3]}, {wrong[:3]}"


def settle(server, flights, folder):
    """Waits until the tables have as many rows as they must, compares them, and audits them."""
    with tables.duck(server.catalog) as engine:
        truth(engine, flights, folder)
        wanted = {name: engine.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in NAMES}
    wait_until(lambda: counted(server) == wanted, f"the tables have {wanted}", seconds=300, every=1)
    compare(server, flights, folder)
    for name in NAMES:
        report = server.audit(f"nyc.{name}", seconds=300)
        assert report["ok"], report


def test_flink_over_our_broker_registry_and_catalog_gives_duckdbs_tables(serve, flink, flights, folder):
    server = serve()
    send(flights, server.kafka, server.registry)
    flink.run(script(kafka=server.kafka, registry=server.registry, catalog=server.catalog))
    compare(server, flights, folder)


def test_lakeward_gives_duckdbs_tables(serve, flights, folder):
    server = serve(MAPPING, ["--commit-interval", "500 ms"])
    send(flights, server.kafka, server.registry)
    run_here(server, script(catalog=server.catalog))
    settle(server, flights, folder)


def test_lakeward_gives_duckdbs_tables_while_flights_come_in_and_it_is_killed(serve, flights, folder):
    server = serve(MAPPING, ["--commit-interval", "300 ms"])
    command = [sys.executable, str(FLIGHTS / "produce.py"), "--bootstrap", server.kafka, "--registry", server.registry, "--partitions", str(PARTITIONS)]
    if UNTIL:
        command += ["--until", UNTIL]
    place = str(Path(flights.archive().filename).parents[2])
    with subprocess.Popen(command, env=dict(os.environ, PYTHONPATH=place)) as producer:
        try:
            wait_until(lambda: "flights" in server.ok("topic", "list"), "the topic")
            live = script(catalog=server.catalog)
            bounded = "  'scan.bounded.mode' = 'latest-offset',\n"
            assert bounded in live
            run_here(server, live.replace(bounded, ""))
            for kill in range(KILLS):
                before = counted(server)["hourly"]
                wait_until(lambda: counted(server)["hourly"] > before, f"rows before kill {kill}", seconds=120, every=0.2)
                server.kill()
                server.start()
            assert producer.wait(300) == 0
        finally:
            producer.kill()
    end_the_year(server, flights)
    settle(server, flights, folder)


def test_lakeward_reads_them_from_apache_kafka(serve, kafka, flights, folder):
    server = serve(f'[bootstrap]\n"{kafka}" = "external"\n[registries]\n"{REGISTRY}" = "embedded"\n', ["--commit-interval", "500 ms"])
    send(flights, kafka, server.registry)
    run_here(server, script(kafka=kafka, catalog=server.catalog))
    settle(server, flights, folder)
