"""Columns that PyIceberg changes under a running pipeline: rows go on into the same fields, or it pauses, says why, and loses none."""
import json
from decimal import Decimal

from confluent_kafka import Producer
from pyiceberg.catalog import load_catalog
from pyiceberg.types import DecimalType, DoubleType, IntegerType, LongType, StringType

import tables
from lakeward import wait_until

COLUMNS = "id BIGINT NOT NULL, n INT, ratio FLOAT, price DECIMAL(9, 2), name STRING"
SCRIPT = """
CREATE TABLE source (%s) WITH ('connector' = 'kafka', 'topic' = 'things', 'properties.bootstrap.servers' = 'kafka-1:9092,kafka-2:9092', 'scan.startup.mode' = 'earliest-offset', 'format' = 'json');
CREATE TABLE t (%s) PARTITIONED BY (n) WITH ('connector' = 'iceberg', 'catalog-name' = 'hive', 'catalog-database' = 'db', 'catalog-table' = 't', 'warehouse' = 's3://lakehouse/');
INSERT INTO t SELECT * FROM source;
""" % (COLUMNS, COLUMNS)
ROUND = 40


def thing(number):
    name = None if number % 7 == 6 else f"thing {number}"
    return {"id": number, "n": number % 3, "ratio": number / 4, "price": f"{number}.25", "name": name}


def row(number):
    return (number, number % 3, number / 4, Decimal(f"{number}.25"), thing(number)["name"])


class Table:
    """The table, its topic, and how much was sent to it."""

    def __init__(self, server):
        self.server, self.sent = server, 0
        self.catalog = load_catalog("e2e", type="rest", uri=server.catalog)

    def send(self):
        producer = Producer({"bootstrap.servers": self.server.kafka})
        for number in range(self.sent, self.sent + ROUND):
            producer.produce("things", json.dumps(thing(number)), partition=number % 2)
        assert producer.flush(10) == 0
        self.sent += ROUND

    def landed(self):
        wait_until(lambda: tables.rows(self.server.catalog, "db.t") == self.sent, f"{self.sent} rows")

    def update(self, change, **options):
        """Rows are under way meanwhile."""
        self.send()
        with self.catalog.load_table("db.t").update_schema(**options) as update:
            change(update)
        self.send()

    def refused(self, why):
        """The pipeline has paused, with nothing to say to it but that it go on."""
        job = wait_until(lambda: (job := self.server.json("pipeline", "show", "evolution")["jobs"][0])["state"] == "paused" and job, "a pause")
        assert job["words"] == [] and why in job["reason"] and "lakeward pipeline resume evolution" in job["reason"], job
        shown = self.server.ok("pipeline", "show", "evolution")
        assert why in shown and "--adopt" not in shown and "--skip-lost" not in shown


def test_rows_go_into_the_same_fields_whatever_others_do_to_them(serve, folder):
    server = serve(tables.mapping(folder), ["--commit-interval", "200 ms"])
    server.create_topic("things", 2)
    script = folder / "evolution.sql"
    script.write_text(SCRIPT)
    server.ok("run", script, "--detach")
    table = Table(server)
    table.send()
    table.landed()
    before = table.catalog.load_table("db.t").current_snapshot().snapshot_id

    # Renamed and moved; then another column takes the name that is free, and later the two swap their names.
    table.update(lambda update: update.rename_column("name", "label").move_first("name").move_after("id", "price"))
    table.update(lambda update: update.add_column("name", StringType()))
    # Wider, the partitions' own column too, and one that may be NULL.
    table.update(lambda update: update.update_column("n", LongType()).update_column("ratio", DoubleType()).update_column("price", DecimalType(18, 2)).make_column_optional("id"))
    for one, other in (("label", "between"), ("name", "label"), ("between", "name")):
        table.update(lambda update: update.rename_column(one, other))
    # Another process finds what names meant in the table alone.
    table.send()
    server.kill()
    server.start()
    table.update(lambda update: update.rename_column("name", "title").rename_column("id", "number"))
    table.landed()
    expected = [row(number) for number in range(table.sent)]
    read = lambda columns: tables.query(server.catalog, f"SELECT {columns} FROM ice.db.t ORDER BY 1")
    assert read("number, n, ratio, price, title") == expected
    assert read("COUNT(*), COUNT(label)") == [(table.sent, 0)]
    scan = table.catalog.load_table("db.t").scan
    theirs = scan(selected_fields=("number", "n", "ratio", "price", "title", "label")).to_arrow().select(["number", "n", "ratio", "price", "title", "label"])
    assert sorted(tuple(one.values()) for one in theirs.to_pylist()) == [one + (None,) for one in expected]
    assert server.json("sql", "-e", "SELECT COUNT(*), SUM(number), COUNT(title) FROM db.t")["rows"] == [[table.sent, sum(range(table.sent)), sum(one[4] is not None for one in expected)]]
    # Whoever reads what was before reads it as it was then.
    assert scan(snapshot_id=before).to_arrow().column_names == ["id", "n", "ratio", "price", "name"]
    audit = server.audit("db.t")
    assert audit["ok"] and audit["totals"]["rows"] == table.sent and audit["totals"]["unverified"] == 0, audit

    # What rows do not fit pauses it, until they do.
    table.update(lambda update: update.delete_column("ratio"))
    table.refused("The table has no column ratio (float).")
    table.catalog.load_table("db.t").update_schema().add_column("ratio", DoubleType()).commit()
    server.ok("pipeline", "resume", "evolution")
    table.landed()
    table.update(lambda update: update.add_column("more", IntegerType(), required=True), allow_incompatible_changes=True)
    table.refused("The sink has no column more, which the table requires.")
    server.stop()
    server.start()
    table.refused("The sink has no column more, which the table requires.")
    table.catalog.load_table("db.t").update_schema().make_column_optional("more").commit()
    server.ok("pipeline", "resume", "evolution")
    table.landed()
    expected = [row(number) for number in range(table.sent)]
    assert read("number, n, price, title") == [one[:2] + one[3:] for one in expected]
    # The column that was dropped took its values along: rows from the pause on have the new one.
    assert read("COUNT(*), COUNT(ratio), COUNT(more)")[0][0] == table.sent
    kept = dict(read("number, ratio"))
    assert kept[table.sent - 1] == (table.sent - 1) / 4 and kept[0] is None
    audit = server.audit("db.t")
    assert audit["ok"] and audit["totals"]["rows"] == table.sent, audit
