"""The guide's pages, done as they are written: their SQL is taken out of them, and what they say of its rows has to come; their commands run."""
import json
import os
import re
import subprocess
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition

import inventory
import tables
from lakeward import BINARY, REPOSITORY, wait_until

GUIDE = REPOSITORY / "docs/guide"
EVENT_TIME = (GUIDE / "event-time.md").read_text()
DECLARATION, COUNTS, WRONG_CLOCK, ARRIVAL = re.findall(r"```sql\n(.*?)```", EVENT_TIME, re.DOTALL)
KAFKA = """'connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = 'kafka-1:9092,kafka-2:9092',
  'scan.startup.mode' = 'earliest-offset', 'format' = 'json'"""
LAKE = """WITH ('connector' = 'iceberg', 'catalog-name' = 'hive', 'catalog-database' = 'shop', 'catalog-table' = '{name}', 'warehouse' = 's3://lakehouse/',
  'lakeward.late' = 'side-table');
"""
WINDOW = "window_start TIMESTAMP(3), window_end TIMESTAMP(3), n BIGINT, total INT"
BOUNDS = "window_start, window_end"
# The first column of the page's table of windows, by the tables that they are written to here.
SHAPES = {f"{shape.split('(')[0].lower()}_windows": shape.replace("TABLE t", "TABLE sales") for shape in re.findall(r"^\| `([A-Z]+\(TABLE t.*?)` \|", EVENT_TIME, re.M)}
# The rows of "What a watermark does".
ROWS = [("a", 1, "00:01"), ("b", 2, "00:04"), ("a", 4, "00:05"), ("a", 8, "00:12"), ("b", 16, "00:03"), ("a", 32, "00:09.999"), ("b", 64, "00:21"), ("a", 128, "00:10")]


def sink(name, columns):
    return f"CREATE TABLE {name} ({columns}) {LAKE.format(name=name)}"


def everything():
    """One script with each statement of the page over the table of its beginning."""
    source = DECLARATION.replace("'connector' = 'kafka', …", KAFKA.format(topic="sales"))
    counts = COUNTS.strip().rstrip(";").replace("k, window_start,", "k, window_start, window_end,", 1)
    script = "SET 'pipeline.name' = 'guide';\n" + source + sink("counts", f"k STRING, {WINDOW}")
    inserts = [f"INSERT INTO counts {counts};"]
    for name, function in SHAPES.items():
        script += sink(name, f"k STRING, {WINDOW}")
        inserts.append(f"INSERT INTO {name} SELECT k, {BOUNDS}, COUNT(*), SUM(v) FROM TABLE({function}) GROUP BY k, {BOUNDS};")
    return script + "BEGIN STATEMENT SET;\n" + "\n".join(inserts) + "\nEND;\n"


def guarded():
    """The declaration for clocks that are wrong, in its own table, read through the view that the page names, with a partition that may be silent."""
    column = WRONG_CLOCK.strip().rstrip(",")
    view = re.search(r"a view with `(.*?)`", EVENT_TIME).group(1)
    timeout = re.search(r"`(SET 'table.exec.source.idle-timeout' = '.*?')`", EVENT_TIME).group(1)
    return f"""SET 'pipeline.name' = 'guarded';
{timeout};
CREATE TABLE clocks (k STRING, v INT, ts TIMESTAMP(3), {column}) WITH ({KAFKA.format(topic="clocks")});
CREATE VIEW dated AS SELECT * FROM clocks {view};
{sink("dated_counts", f"k STRING, {WINDOW}")}
INSERT INTO dated_counts SELECT k, {BOUNDS}, COUNT(*), SUM(v) FROM TABLE(TUMBLE(TABLE dated, DESCRIPTOR(et), INTERVAL '10' SECOND)) GROUP BY k, {BOUNDS};
"""


def arriving():
    """The declaration for rows that tell no time of their own, in its own table."""
    return f"""SET 'pipeline.name' = 'arriving';
CREATE TABLE comes (k STRING, v INT, {ARRIVAL.strip()}) WITH ({KAFKA.format(topic="comes")});
{sink("arrivals", f"k STRING, {WINDOW}")}
INSERT INTO arrivals SELECT k, {BOUNDS}, COUNT(*), SUM(v) FROM TABLE(TUMBLE(TABLE comes, DESCRIPTOR(came), INTERVAL '1' SECOND)) GROUP BY k, {BOUNDS};
"""


def send(server, topic, rows):
    client = Producer({"bootstrap.servers": server.kafka})
    for k, v, ts in rows:
        ts = ts if ts is None or len(ts) > 12 else f"2026-01-01 00:{ts}"
        client.produce(topic, json.dumps({"k": k, "v": v, "ts": ts}).encode(), partition=0)
    assert client.flush(10) == 0


def shown(server, table):
    """Rows of windows, as the page writes its times."""
    columns = "k, strftime(window_start, '%M:%S') AS s, strftime(window_end, '%M:%S') AS e, n, total"
    return tables.query(server.catalog, f"SELECT {columns} FROM ice.shop.{table} ORDER BY s, e, k")


def run(server, folder, name, script):
    path = folder / f"{name}.sql"
    path.write_text(script)
    checked = server.run("check", path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    server.ok("run", path, "--detach")


def test_event_time_is_as_its_page_says(serve, folder):
    assert list(SHAPES) == ["tumble_windows", "hop_windows", "cumulate_windows", "session_windows"], SHAPES
    server = serve(tables.mapping(folder), ["--commit-interval", "200 ms"])
    server.create_topic("sales", 1)
    run(server, folder, "guide", everything())
    send(server, "sales", ROWS)
    # What the page's table says fires, and no more: the stream has only gone quiet.
    first = [("a", "00:00", "00:10", 2, 5), ("b", "00:00", "00:10", 1, 2)]
    wait_until(lambda: tables.rows(server.catalog, "shop.counts") and shown(server, "counts") == first, "the first window")
    wait_until(lambda: tables.rows(server.catalog, "shop.counts__late") == 2, "the late rows")
    late = tables.query(server.catalog, 'SELECT "offset" FROM ice.shop.counts__late ORDER BY 1')
    assert late == [(4,), (5,)], late
    told = server.ok("pipeline", "show", "guide")
    assert "watermark 2026-01-01T00:00:19" in told, told
    server.kill()
    server.start()
    # A row far ahead, and all that was open fires: as the end of the input in the page's last line.
    send(server, "sales", [("c", 256, "59:00")])
    for name in ["counts", *SHAPES]:
        report = wait_until(lambda: (report := server.audit(f"shop.{name}"))["totals"]["offsets"] == len(ROWS) + 1 and report, f"all records in {name}")
        assert report["ok"] and report["windows"]["differ"] == 0 and report["windows"]["compared"] > 0, (name, report)
    assert shown(server, "counts") == first + [("a", "00:10", "00:20", 2, 136), ("b", "00:20", "00:30", 1, 64)]
    tumbled, hopped, cumulated, sessions = (shown(server, name) for name in SHAPES)
    assert tumbled == [("a", "00:00", "00:20", 5, 173), ("b", "00:00", "00:20", 2, 18), ("b", "00:20", "00:40", 1, 64)], tumbled
    # A row is late when every window of it has fired: two rows are in one of their two windows.
    assert sum(n for *_, n, _ in hopped) == 2 * len(ROWS) - 2, hopped
    assert [row for row in cumulated if row[2] == "00:30"] == [("a", "00:00", "00:30", 5, 173), ("b", "00:00", "00:30", 3, 82)], cumulated
    assert sessions == [("a", "00:01", "00:22", 5, 173), ("b", "00:03", "00:14", 2, 18), ("b", "00:21", "00:31", 1, 64)], sessions


def test_a_clock_that_is_wrong_lifts_nothing_where_the_page_guards_against_it(serve, folder):
    server = serve(tables.mapping(folder), ["--commit-interval", "200 ms"])
    server.create_topic("clocks", 1)
    run(server, folder, "guarded", guarded())
    send(server, "clocks", [("a", 1, "00:01"), ("a", 2, "9999-01-01 00:00:00"), ("a", 4, None), ("a", 8, "00:05"), ("a", 16, "00:12")])
    wait_until(lambda: tables.rows(server.catalog, "shop.dated_counts") and shown(server, "dated_counts") == [("a", "00:00", "00:10", 2, 9)], "the first window")
    report = wait_until(lambda: (report := server.audit("shop.dated_counts"))["totals"]["offsets"] == 5 and report, "all records")
    assert report["ok"] and report["totals"]["filtered"] == 2 and report["totals"]["late"] == 0, report


def test_nothing_is_late_by_arrival(serve, folder):
    server = serve(tables.mapping(folder), ["--commit-interval", "200 ms"])
    server.create_topic("comes", 1)
    run(server, folder, "arriving", arriving())

    def fired():
        send(server, "comes", [("a", 1, "00:30"), ("b", 2, "00:01")])
        return tables.rows(server.catalog, "shop.arrivals") >= 2

    wait_until(fired, "a window of arrival")
    report = server.audit("shop.arrivals")
    assert report["ok"] and report["totals"]["late"] == 0 and report["windows"]["differ"] == 0 and report["windows"]["compared"] > 0, report


def commands(page):
    """The commands of a page, by the heading that they stand under."""
    found, under, whole = {}, None, ""
    for line in page.read_text().splitlines():
        if line.startswith("## "):
            under = line[3:]
        elif line.startswith("    "):
            whole += line.strip().removesuffix("\\")
            if not line.endswith("\\"):
                found.setdefault(under, []).append(whole)
                whole = ""
    return found


def shell(server, command):
    """What a command of the page prints; the address that it names is this server's."""
    programs = server.folder / "bin"
    if not programs.exists():
        programs.mkdir()
        (programs / "lakeward").symlink_to(Path(BINARY).resolve())
    environment = dict(os.environ, PATH=f"{programs}:{os.environ['PATH']}", LAKEWARD_SERVER=server.ready["http"], NO_COLOR="1")
    command = command.replace("http://127.0.0.1:8080", server.ready["http"].rstrip("/"))
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=server.folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_first_hour_works_as_it_is_written(serve, folder):
    server = serve(tables.mapping(folder), ["--commit-interval", "200 ms"])
    page = commands(GUIDE / "first-hour.md")
    assert set(page) == {"Records", "Groups", "Scripts", "Queries", "Dead letters"}, list(page)
    *made, altered = page["Records"]
    said = [shell(server, command) for command in made][-1]
    assert sorted(line.split()[3:5] for line in said.splitlines()) == [["a", "one"], ["a", "three"], ["b", "two"]], said
    shell(server, altered)
    assert server.json("topic", "show", "words")["config"] == {"retention.ms": "86400000"}

    readers = Consumer({"bootstrap.servers": server.kafka, "group.id": "readers"})
    readers.commit(offsets=[TopicPartition("words", partition, 0) for partition in range(6)], asynchronous=False)
    readers.close()
    for command in page["Groups"]:
        shell(server, command)
    assert "readers" not in server.json("group", "list")

    server.create_topic(inventory.TOPIC, 2)
    inventory.send(server.kafka, range(100), partitions=2)
    (server.folder / "orders.sql").write_text((REPOSITORY / "examples/inventory/inventory.sql").read_text())
    (server.folder / "report.sql").write_text(f"SELECT count(*) AS n FROM {inventory.TABLE}")
    for command in page["Scripts"]:
        shell(server, command)
    wait_until(lambda: tables.rows(server.catalog, inventory.TABLE) == 100, "the table's rows")

    prompt, *queries = page["Queries"]
    assert prompt.split("#")[0].strip() == "lakeward sql", "a prompt needs a terminal, and has its own case"
    said = [shell(server, command) for command in queries]
    assert "inventory_events" in said[0]
    assert (server.folder / "report.csv").read_text() == "n\n100\n"
    lines = [json.loads(line) for line in said[-1].splitlines()]
    assert len(lines) == 102 and "end" in lines[-1], (lines[0], lines[-1])

    producer = Producer({"bootstrap.servers": server.kafka})
    producer.produce(inventory.TOPIC, b"no event", partition=0)
    assert producer.flush(30) == 0
    wait_until(lambda: tables.rows(server.catalog, f"{inventory.TABLE}__dead_letters") == 1, "a dead letter")
    (server.folder / "good").write_bytes(inventory.encoded(100))
    mend = server.folder / "mend"
    mend.write_text("#!/bin/sh\ncat > seen && cat good\n")
    mend.chmod(0o755)
    for command in page["Dead letters"]:
        shell(server, command)
    assert (server.folder / "seen").read_bytes() == b"no event"
    assert tables.rows(server.catalog, inventory.TABLE) == 100
    both = (server.folder / "orders.sql").read_text().replace("'inventory-events'", "'inventory-events;inventory-retry'")
    (server.folder / "orders.sql").write_text(both)
    shell(server, "lakeward run orders.sql --replace --detach")
    wait_until(lambda: tables.rows(server.catalog, inventory.TABLE) == 101, "the mended event")
