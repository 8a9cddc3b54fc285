"""examples/flights, by every engine that runs its script: each table is compared with what DuckDB makes of the flights, cell by cell."""
import os

import tables
from lakeward import REPOSITORY

FLIGHTS = REPOSITORY / "examples/flights"
UNTIL = os.environ.get("LAKEWARD_E2E_FLIGHTS_UNTIL")
NAMES = ("hourly", "rotations", "worst_routes")


def send(flights, server):
    """The flights into the topic `flights` of a server of ours: of the year, or until the day that LAKEWARD_E2E_FLIGHTS_UNTIL names."""
    return flights.send(flights.reported(seed=13, jitter_minutes=20, until=UNTIL), server.kafka, server.registry, "flights", 4)


def script(server):
    """The example's script, with the addresses of a server that stands on other ports than the example's."""
    text = (FLIGHTS / "flights.sql").read_text()
    for documented, ours in (("127.0.0.1:9092", server.kafka), ("http://127.0.0.1:8081", server.registry), ("http://127.0.0.1:8181", server.catalog)):
        assert documented in text, documented
        text = text.replace(documented, ours)
    return text


def truth(engine, flights, folder):
    """The views of truth.sql over the flights as they stand in the package."""
    with flights.archive() as packed:
        csv = packed.extract("flights.csv", folder)
    engine.execute(f"CREATE TABLE all_flights AS SELECT * FROM read_csv('{csv}', nullstr = 'NA', types = {{'time_hour': 'TIMESTAMP'}})")
    engine.execute(f"CREATE VIEW flights AS SELECT * FROM all_flights WHERE time_hour < '{UNTIL or 'infinity'}'")
    engine.execute((FLIGHTS / "truth.sql").read_text())


def compare(server, flights, folder, sent):
    with tables.duck(server.catalog) as engine:
        truth(engine, flights, folder)
        assert engine.execute("SELECT sum(flights) FROM hourly").fetchone() == (sent,)
        for name in NAMES:
            columns = ", ".join(row[0] for row in engine.execute(f"DESCRIBE {name}").fetchall())
            wanted, found = f"SELECT {columns} FROM {name}", f"SELECT {columns} FROM ice.nyc.{name}"
            missing = engine.execute(f"{wanted} EXCEPT ALL {found} ORDER BY ALL").fetchall()
            wrong = engine.execute(f"{found} EXCEPT ALL {wanted} ORDER BY ALL").fetchall()
            assert (missing, wrong) == ([], []), f"{name}: {len(missing)} rows are missing, {len(wrong)} are wrong: {missing[:3]}, {wrong[:3]}"


def test_flink_over_our_broker_registry_and_catalog_gives_duckdbs_tables(serve, flink, flights, folder):
    server = serve()
    sent = send(flights, server)
    flink.run(script(server))
    compare(server, flights, folder, sent)
