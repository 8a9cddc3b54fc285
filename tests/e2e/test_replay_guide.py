"""docs/guide/replay.md, done as it is written, on the flights: its commands run, and each number in it is DuckDB's of the produced flights."""
import re
import threading
import time

import tables
from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from lakeward import REPOSITORY, wait_until
from test_guide import commands, shell

PAGE = REPOSITORY / "docs/guide/replay.md"
TABLE, PARTITIONS = "nyc.departures", 4
KAFKA, REGISTRY = "127.0.0.1:9092", "http://127.0.0.1:8081"
WRONG, CASE = re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)
MENDED = re.sub(r"CASE WHEN COALESCE.*? END", CASE.strip(), WRONG)


def told(heading):
    """The numbers of the tables under a heading of the page, row by row."""
    text = PAGE.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return {row[0]: tuple(map(int, row[1:])) for row in rows if re.fullmatch(r"[\d]+", row[-1])}


def numbers(sentence):
    """Those of the one sentence of the page that looks like this."""
    found = re.findall(sentence, PAGE.read_text().replace("\n", " "))
    assert len(found) == 1, sentence
    return tuple(map(int, found[0]))


class Airport:
    """Flights that are reported one after the other, while everything else happens."""

    def __init__(self, server, flights, reports):
        self.reports, self.over = reports, False
        encode = AvroSerializer(SchemaRegistryClient({"url": server.registry}), flights.SCHEMA)
        context = SerializationContext("flights", MessageField.VALUE)
        producer = Producer({"bootstrap.servers": server.kafka, "enable.idempotence": True, "linger.ms": 5})

        def run():
            for number, (at, one) in enumerate(self.reports):
                producer.produce("flights", encode(one, context), key=(one["tailnum"] or "").encode(), timestamp=int(at.timestamp() * 1000))
                producer.poll(0)
                if not self.over and number % 40 == 0:
                    time.sleep(0.02)
            assert producer.flush(60) == 0

        self.thread = threading.Thread(target=run)
        self.thread.start()

    def land(self):
        self.over = True
        self.thread.join()


class Readers:
    """Ask again and again: rows never get fewer, and of the first two weeks either none or all of the cancelled flights are there."""

    def __init__(self, server):
        self.seen, self.over, self.wrong = [], False, []

        def run():
            while not self.over:
                sql = f"SELECT COUNT(*), COUNT(*) FILTER (WHERE status = 'cancelled' AND scheduled < TIMESTAMP '2013-01-16') FROM {TABLE}"
                rows = server.ok("sql", "-e", sql, "-o", "csv").splitlines()[1].split(",")
                self.seen.append(tuple(map(int, rows)))
                time.sleep(0.1)

        self.thread = threading.Thread(target=run)
        self.thread.start()

    def stop(self):
        self.over = True
        self.thread.join()
        return self.seen


def by_status(engine, case, where="true"):
    return dict(engine.execute(f"SELECT {case} AS status, count(*) FROM produced WHERE {where} GROUP BY ALL").fetchall())


def test_the_guide_to_replays_works_as_it_is_written(serve, flights, folder):
    mapping = tables.mapping(folder).replace("[bootstrap]", f'[bootstrap]\n"{KAFKA}" = "embedded"')
    server = serve(mapping, ["--commit-interval", "200 ms"])
    for name, script in (("departures.sql", WRONG), ("mended.sql", MENDED)):
        assert REGISTRY in script
        (server.folder / name).write_text(script.replace(REGISTRY, server.registry))
    month = flights.reported(seed=13, jitter_minutes=20, until="2013-02-01")
    first = [one for one in month if one[1]["scheduled"].isoformat() < "2013-01-16"]
    second = [one for one in month if one[1]["scheduled"].isoformat() >= "2013-01-16"]
    page = commands(PAGE)
    assert list(page) == [None, "It is found", "What it should have been", "Exchanged", "Proved"], list(page)

    with tables.duck(server.catalog) as engine:
        with flights.archive() as packed:
            csv = packed.extract("flights.csv", folder)
        engine.execute(f"CREATE TABLE produced AS SELECT * FROM read_csv('{csv}', nullstr = 'NA', types = {{'time_hour': 'TIMESTAMP'}}) WHERE time_hour < '2013-02-01'")
        half = "time_hour < '2013-01-16'"
        mistaken = by_status(engine, re.search(r"CASE WHEN COALESCE.*? END", WRONG).group(0), half)
        right = by_status(engine, CASE, half)
        all_of_it = by_status(engine, CASE)
    flown = lambda counts: {status: (count,) for status, count in counts.items()}  # noqa: E731
    assert told("It is found") == flown(mistaken) and told("Exchanged") == flown(right)
    cancelled = right["cancelled"]
    differ = {status: (mistaken.get(status, 0), right[status], max(0, mistaken.get(status, 0) - right[status]), max(0, right[status] - mistaken.get(status, 0))) for status in right}
    assert told("What it should have been") == differ
    assert numbers(r"before anything does: (\d+) rows of (\d+), in") == (cancelled, len(first))
    assert numbers(r"there are (\d+) flights, (\d+) of them") == (len(month), all_of_it["cancelled"])

    assert flights.send(first, server.kafka, server.registry, "flights", PARTITIONS) == sum(right.values())
    shell(server, page[None][0])
    wait_until(lambda: tables.rows(server.catalog, TABLE) == len(first), "the first two weeks")
    asked, replaced = page["It is found"]

    def answer(command):
        rows = [re.split(r"\s{2,}|\s*\|\s*", line.strip(" |")) for line in shell(server, command).splitlines()]
        return {row[0]: int(row[-1]) for row in rows if row[-1].isdigit()}

    assert answer(asked) == mistaken
    shell(server, replaced)
    replay, diff = page["What it should have been"]
    readers = Readers(server)
    replaying = threading.Thread(target=shell, args=(server, replay))
    replaying.start()
    # Where it ends is decided when its branch begins; what is reported from then on is the pipeline's alone.
    wait_until(lambda: "mended" in tables.load(server.catalog, TABLE).metadata.refs, "the branch begins", every=0.01)
    airport = Airport(server, flights, second)
    replaying.join()
    shown = shell(server, diff)
    for status, (main, branch, gone, come) in differ.items():
        assert re.search(rf"^{status}\b.*\b{main}\b.*\b{branch}\b.*\b{gone}\b.*\b{come}\b", shown.replace("|", " "), re.M), shown
    assert f"changed columns: status {cancelled}" in shown, shown
    promote, again = page["Exchanged"]
    shell(server, promote)
    assert answer(again) == right
    airport.land()
    wait_until(lambda: tables.rows(server.catalog, TABLE) == len(month), "the month")
    seen = readers.stop()
    assert [rows for rows, _ in seen] == sorted(rows for rows, _ in seen) and {told for _, told in seen} == {0, cancelled}, seen
    for command in page["Proved"]:
        shell(server, command)
    report = server.audit(TABLE)
    assert report["ok"] and report["totals"]["rows"] == len(month) and report["findings"] == [], report
    with tables.duck(server.catalog) as engine:
        assert dict(engine.execute("SELECT status, count(*) FROM ice.nyc.departures GROUP BY ALL").fetchall()) == all_of_it
