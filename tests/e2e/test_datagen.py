"""Rows that are made up: the same ones over a kill, and in the audit that makes them again."""
import tables
from lakeward import wait_until

SCRIPT = """
CREATE TABLE made_up (n BIGINT, sensor INT, note VARCHAR(6))
WITH ('connector' = 'datagen', 'rows-per-second' = '1000', 'fields.n.kind' = 'sequence', 'fields.n.start' = '1', 'fields.n.end' = '3000',
      'fields.sensor.min' = '1', 'fields.sensor.max' = '5');
CREATE TABLE shop.made_up (n BIGINT, sensor INT, note STRING)
WITH ('connector' = 'iceberg', 'catalog-name' = 'hive', 'warehouse' = 's3://lakehouse/', 'format-version' = '2');
INSERT INTO shop.made_up SELECT n, sensor, note FROM made_up WHERE MOD(n, 2) = 0;
"""


def test_every_row_comes_once_over_a_kill_and_the_audit_makes_it_again(serve, folder):
    server = serve(tables.mapping(folder), ["--commit-interval", "200 ms"])
    path = folder / "made_up.sql"
    path.write_text(SCRIPT)
    server.ok("run", path, "--detach")
    wait_until(lambda: tables.rows(server.catalog, "shop.made_up") > 0, "the first rows")
    server.kill()
    server.start()
    wait_until(lambda: tables.rows(server.catalog, "shop.made_up") == 1500, "the even ones of 3000 rows")
    found = tables.query(server.catalog, "SELECT count(DISTINCT n), min(n), max(n), min(sensor), max(sensor), max(length(note)) FROM ice.shop.made_up")
    assert found == [(1500, 2, 3000, 1, 5, 6)]
    report = server.audit("shop.made_up")
    assert report["ok"] and report["totals"]["rows"] == 1500 and report["totals"]["filtered"] == 1500
