"""Who did what to the table that everyone writes, as each engine was told of it.

An engine works off a hundred commits, one after the other: it inserts rows, changes rows that it inserted, deletes some of them. Each
attempt at a commit has a mark of its own, `engine.commit.attempt`, and leaves it in the rows: so of every row that is found at the end it can
be said which attempt made it, and whether the engine was told that this one was committed. A change also adds one to `quantity`: applied twice, it shows.
"""
import itertools
import os
import random
import time
from collections import Counter

import pyarrow as pa
from pyiceberg.catalog import load_catalog
from pyiceberg.expressions import In

import inventory
import tables

COMMITS, ROWS = int(os.environ.get("LAKEWARD_E2E_COMMITS", 100)), 5
# How long an engine may take, and how long it rests between two commits, so that the machine is not the subject.
SECONDS, REST = 600, 0.5
# By which an engine says that its commit did not happen. After any other word, the commit is looked for by its mark.
REFUSED = ("CommitFailedException", "ValidationException", "ICEBERG_COMMIT_ERROR", "Conflict", "409")
COLUMNS = "sku, warehouse_id, event_type, quantity"


class Sql:
    """The three kinds of commits in SQL, which is the same for three engines."""

    def __init__(self, table, run):
        self.table, self.run = table, run

    def insert(self, rows):
        values = ", ".join(f"('{sku}', '{changed}', '{made}', {times}, NULL)" for sku, (changed, made, times) in rows.items())
        self.run(f"INSERT INTO {self.table} VALUES {values}")

    def update(self, skus, mark):
        self.run(f"UPDATE {self.table} SET warehouse_id = '{mark}', quantity = quantity + 1 WHERE sku IN ({', '.join(map(repr, skus))})")

    def delete(self, skus):
        self.run(f"DELETE FROM {self.table} WHERE sku IN ({', '.join(map(repr, skus))})")


class PyIceberg:
    def __init__(self, uri):
        self.catalog = load_catalog("writer", type="rest", uri=uri)

    def load(self):
        return self.catalog.load_table(tuple(inventory.TABLE.split(".")))

    def insert(self, rows):
        table = self.load()
        made = [{"sku": sku, "warehouse_id": changed, "event_type": made, "quantity": times, "event_time": None} for sku, (changed, made, times) in rows.items()]
        table.append(pa.Table.from_pylist(made, table.schema().as_arrow()))

    def update(self, skus, mark):
        table, these = self.load(), In("sku", skus)
        rows = [{**row, "warehouse_id": mark, "quantity": row["quantity"] + 1} for row in table.scan(row_filter=these).to_arrow().to_pylist()]
        table.overwrite(pa.Table.from_pylist(rows, table.schema().as_arrow()), overwrite_filter=these)

    def delete(self, skus):
        self.load().delete(In("sku", skus))


class Ledger:
    """What one engine was told of its commits."""

    def __init__(self, name, engine, catalog):
        self.name, self.engine, self.catalog = name, engine, catalog
        self.rows, self.told, self.errors, self.seconds = {}, Counter(), Counter(), 0.0

    def work(self):
        begun = time.monotonic()
        self.until = begun + SECONDS
        for number in range(COMMITS):
            self.commit(number)
            time.sleep(REST)
        self.seconds = time.monotonic() - begun

    def skus(self, number):
        return [f"{self.name}-{number}-{row}" for row in range(ROWS)]

    def planned(self, number, mark):
        """One commit: how it is done, and the rows as they are after it."""
        kind = number % 10
        if kind == 6:
            skus = self.skus(number - 2)
            changed = {sku: (mark, made, times + 1) for sku, (_, made, times) in ((sku, self.rows[sku]) for sku in skus)}
            return lambda: self.engine.update(skus, mark), {**self.rows, **changed}
        if kind == 9:
            skus = self.skus(number - 2)
            return lambda: self.engine.delete(skus), {sku: row for sku, row in self.rows.items() if sku not in skus}
        new = {sku: ("-", mark, 0) for sku in self.skus(number)}
        return lambda: self.engine.insert(new), {**self.rows, **new}

    def commit(self, number):
        """Tries until it is told that the commit is there, or finds it."""
        chance = random.Random(f"{self.name} {number}")
        for attempt in itertools.takewhile(lambda _: time.monotonic() < self.until, itertools.count()):
            mark = f"{self.name}.{number}.{attempt}"
            do, after = self.planned(number, mark)
            try:
                do()
            except Exception as error:  # each engine has a kind of its own
                text = f"{type(error).__name__}: {error}"
                self.errors[" ".join(text.split())[:150]] += 1
                if any(word in text for word in REFUSED):
                    self.told["refused"] += 1
                    time.sleep(chance.uniform(0, 0.3))
                    continue
                self.told["unknown"] += 1
                if not self.found(number, mark):
                    continue
            self.rows = after
            self.told["committed"] += 1
            return
        raise AssertionError(f"{self.name} did not get commit {number} through within {SECONDS} s: {self.errors.most_common(5)}")

    def found(self, number, mark):
        """Whether a commit of unknown outcome is there."""
        if number % 10 == 9:
            gone = ", ".join(map(repr, self.skus(number - 2)))
            return tables.query(self.catalog, f"SELECT count(*) FROM ice.{inventory.TABLE} WHERE sku IN ({gone})") == [(0,)]
        return tables.query(self.catalog, f"SELECT count(*) FROM ice.{inventory.TABLE} WHERE '{mark}' IN (warehouse_id, event_type)") == [(ROWS,)]

    def expected(self):
        return Counter((sku, *row) for sku, row in self.rows.items())


def of_the_log(numbers):
    """The rows that the pipeline makes of these events."""
    return Counter((event["sku"], event["warehouse_id"], event["event_type"], event["quantity"]) for event in map(inventory.event, numbers))


def compared(found, expected):
    """Lost: told as committed, and not there. Doubled: there more than once. Phantom: there, and nobody was told that it is."""
    more = found - expected
    return {
        "lost": (expected - found).total(),
        "doubled": sum(count for row, count in more.items() if row in expected),
        "phantom": sum(count for row, count in more.items() if row not in expected),
    }
