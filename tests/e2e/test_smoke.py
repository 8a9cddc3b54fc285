"""Smoke: start, create a topic, produce, run the article's script, read the table back. A minute, most of it start-up."""
import inventory
import tables
from lakeward import REPOSITORY, wait_until

PIPELINE = REPOSITORY / "examples/inventory/inventory.sql"


def test_smoke_events_become_rows_that_duckdb_reads(serve, folder):
    server = serve(tables.mapping(folder), ["--commit-interval", "1 s"])
    server.ok("topic", "create", inventory.TOPIC, "--partitions", "6")
    acked = inventory.send(server.kafka, range(1000), partitions=6)
    server.ok("run", PIPELINE, "--detach")
    wait_until(lambda: tables.rows(server.catalog, inventory.TABLE) == 1000, "1,000 rows in the table")
    assert tables.quantities(server.catalog, inventory.TABLE) == sorted(acked)
    row = tables.query(server.catalog, f"SELECT sku, warehouse_id, event_type, epoch_ms(event_time) FROM ice.{inventory.TABLE} WHERE quantity = 77")
    sent = inventory.event(77)
    assert row == [(sent["sku"], sent["warehouse_id"], sent["event_type"], sent["event_time"])]
    assert server.audit(inventory.TABLE)["ok"]
    assert server.stop() == 0
