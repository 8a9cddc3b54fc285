"""Replay: a wrong transformation runs for a while, is found, and is computed again into a branch, while its pipeline goes on and the server is killed."""
import json
import random
import subprocess
import threading
import time

import duckdb
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

import tables
from lakeward import BINARY, wait_until

TABLE, TOPIC, PARTITIONS = "lake.orders", "orders", 3
SCRIPT = """
CREATE TABLE source (id BIGINT, country STRING, cents BIGINT) WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'kafka-1:9092,kafka-2:9092', 'properties.group.id' = 'orders-to-lake', 'scan.startup.mode' = 'earliest-offset', 'format' = 'json');
CREATE TABLE orders (id BIGINT, country STRING, net BIGINT) WITH ('connector' = 'iceberg', 'catalog-name' = 'hive', 'catalog-database' = 'lake', 'catalog-table' = 'orders', 'warehouse' = 's3://lakehouse/');
INSERT INTO orders SELECT id, country, CASE country WHEN 'DE' THEN cents - 19 {fr} ELSE cents END FROM source WHERE cents <> 13;
"""
WRONG, RIGHT = SCRIPT.format(fr=""), SCRIPT.format(fr="WHEN 'FR' THEN cents - 20")
# Event n is at partition n % 3, offset n // 3.
EVENTS = "SELECT n AS id, ['DE', 'FR', 'US'][1 + (n * 7) % 3] AS country, n % 1000 AS cents, n % 3 AS part, n // 3 AS off FROM range({count}) AS t(n)"
NET = "CASE country WHEN 'DE' THEN cents - 19 {fr} ELSE cents END"
COUNTRIES = ("DE", "FR", "US")


def event(n):
    return json.dumps({"id": n, "country": COUNTRIES[n * 7 % 3], "cents": n % 1000}).encode()


class Orders:
    """Produces on and on, a little at a time, also while the server is away."""

    def __init__(self, server):
        self.sent, self.over = 0, False
        self.client = Producer({"bootstrap.servers": server.kafka, "enable.idempotence": True, "linger.ms": 5, "queue.buffering.max.messages": 500_000})

    def send(self, count):
        for _ in range(count):
            self.client.produce(TOPIC, event(self.sent), partition=self.sent % PARTITIONS)
            self.sent += 1
        self.client.poll(0)

    def trickle(self):
        def run():
            while not self.over:
                self.send(30)
                time.sleep(0.02)
        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def stop(self):
        self.over = True
        self.thread.join()
        assert self.client.flush(60) == 0


def expected(count, fr, where="true"):
    """What the query makes of the events, by DuckDB."""
    net = NET.format(fr=fr)
    return duckdb.sql(f"SELECT id, country, {net} AS net FROM ({EVENTS.format(count=count)}) WHERE cents <> 13 AND ({where}) ORDER BY id").fetchall()


def within(ranges):
    one = lambda r: f"part = {r['partition']} AND off >= {r['from']} AND off < {r['until']}"
    return " OR ".join(f"({one(r)})" for r in ranges)


def rows_at(server, snapshot_id):
    scanned = tables.load(server.catalog, TABLE).scan(snapshot_id=snapshot_id).to_arrow()
    return duckdb.sql("SELECT id, country, net FROM scanned ORDER BY id").fetchall()


def promoted_while_the_server_is_killed(server, environment, dice, orders, ranges):
    """Main has the branch's rows, once, and all else stays, whenever the server dies; its pipeline goes on."""
    typed = [BINARY, "replay", "promote", TABLE, "--branch", "tax"]
    other = [BINARY, "replay", "promote", TABLE]
    assert "fills the branch 'replay'" in subprocess.run(other, env=environment, capture_output=True, text=True).stderr
    for _ in range(4):
        promote = subprocess.Popen(typed, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(dice.uniform(0.005, 0.25))
        server.kill()
        promote.wait(60)
        server.start()
        orders.send(30)
    for _ in range(2):
        assert server.json("replay", "promote", TABLE, "--branch", "tax")["state"] == "promoted"
    orders.send(3000)
    assert orders.client.flush(60) == 0
    right = {row[0]: row for row in expected(orders.sent, "WHEN 'FR' THEN cents - 20", within(ranges))}
    wanted = {**{row[0]: row for row in expected(orders.sent, "")}, **right}
    wait_until(lambda: tables.rows(server.catalog, TABLE) == len(wanted), "the pipeline goes on")
    assert rows_at(server, tables.load(server.catalog, TABLE).current_snapshot().snapshot_id) == sorted(wanted.values())
    report = server.audit(TABLE)
    assert report["ok"] and report["findings"] == [] and report["totals"]["rows"] == len(wanted), report
    for verb in ("show", "offsets", "snapshots"):
        server.ok("table", verb, TABLE)
    # Once it is there nobody needs the replay.
    server.ok("pipeline", "drop", f"{TABLE}@tax")
    server.ok("table", "branch", TABLE, "tax", "--drop")
    server.ok("table", "compact", TABLE)
    assert server.audit(TABLE)["ok"]


def test_a_wrong_transformation_is_replayed_into_a_branch_while_the_pipeline_goes_on(serve, folder):
    server = serve(tables.mapping(folder), ["--commit-interval", "100 ms"])
    server.create_topic(TOPIC, PARTITIONS)
    (folder / "orders.sql").write_text(WRONG)
    (folder / "right.sql").write_text(RIGHT)
    server.ok("run", folder / "orders.sql", "--detach")
    orders = Orders(server)
    orders.send(150_000)
    assert orders.client.flush(60) == 0
    wait_until(lambda: tables.rows(server.catalog, TABLE) == len(expected(150_000, "")), "the first orders")
    orders.trickle()

    # Found: France pays no tax since these orders. What is typed is typed again after each kill.
    replay = ["replay", TABLE, "--from", "orders[0]@1000,orders[1]@777,2@40000", "--script", folder / "right.sql", "--branch", "tax"]
    environment = {"LAKEWARD_SERVER": server.ready["http"], "NO_COLOR": "1", "PATH": "/usr/bin:/bin"}
    dice = random.Random(12)
    for _ in range(4):
        typed = subprocess.Popen([BINARY, *map(str, replay)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(dice.uniform(0.02, 0.35))
        server.kill()
        typed.wait(60)
        server.start()
    done = server.json(*replay)
    assert done["state"] == "finished" and done["branch"] == "tax", done
    ranges = {(r["partition"]): r for r in done["ranges"]}
    assert [ranges[p]["from"] for p in range(3)] == [1000, 777, 40000]
    shown = server.json("pipeline", "show", done["pipeline"])
    assert shown["replay"]["done"] == shown["replay"]["offsets"] == sum(r["until"] - r["from"] for r in done["ranges"])
    # Again is the same.
    assert server.json(*replay)["outcome"] == "attached"

    # The branch is what main would have been: every row of it, by another reader.
    refs = tables.load(server.catalog, TABLE).metadata.refs
    branch = rows_at(server, refs["tax"].snapshot_id)
    main = rows_at(server, int(done["main_snapshot"]))
    wrong = {row[0]: row for row in main}
    right = {row[0]: row for row in expected(orders.sent, "WHEN 'FR' THEN cents - 20", within(done["ranges"]))}
    assert branch == sorted({**wrong, **right}.values())

    # The diff shows exactly the wrong rows.
    bad = expected(orders.sent, "", f"country = 'FR' AND ({within(done['ranges'])})")
    diff = server.json("replay", "diff", TABLE, "--branch", "tax", "--key", "id", "--by", "country", "--rows", 1_000_000)
    assert diff["rows"] == {"main": len(main), "branch": len(branch), "only_in_main": len(bad), "only_in_branch": len(bad)}
    assert diff["keys"] == {"only_in_main": 0, "only_in_branch": 0, "changed": len(bad)} and diff["changed_columns"] == {"net": len(bad)}
    assert [group["only_in_main"] for group in diff["by"]] == [0, len(bad), 0] and [group["value"] for group in diff["by"]] == list(COUNTRIES)
    shown = [(one["row"]["id"], one["row"]["country"], one["row"]["net"]) for one in diff["sample"] if one["main"] > one["branch"]]
    assert shown == bad
    text = server.ok("replay", "diff", TABLE, "--branch", "tax", "--key", "id,country", "--rows", 2)
    assert "changed columns: net" in text and text.count("\n-") == 1 and text.count("\n+") == 1, text

    # Main and its pipeline know nothing of it.
    orders.stop()
    wait_until(lambda: tables.rows(server.catalog, TABLE) == len(expected(orders.sent, "")), "all orders")
    assert rows_at(server, tables.load(server.catalog, TABLE).current_snapshot().snapshot_id) == expected(orders.sent, "")
    report = server.audit(TABLE)
    assert report["ok"] and report["findings"] == [], report
    group = server.json("group", "show", "orders-to-lake")
    assert [at["committed"] for at in group["partitions"]] == [(orders.sent + 2 - part) // 3 for part in range(3)], group
    server.ok("table", "compact", TABLE)
    assert rows_at(server, refs["tax"].snapshot_id) == branch

    # Another range or script under that name is another replay.
    for other, word in (([*replay[:3], "beginning", *replay[4:]], "another range"), ([*replay[:5], folder / "orders.sql", *replay[6:]], "another script")):
        refused = server.run(*other)
        assert refused.returncode == 1 and word in refused.stderr and "--branch" in refused.stderr, refused.stderr
    promoted_while_the_server_is_killed(server, environment, dice, orders, done["ranges"])
    # What the log has lost is said before anything starts, with what is there.
    admin = AdminClient({"bootstrap.servers": server.kafka})
    for future in admin.delete_records([TopicPartition(TOPIC, 1, 900)]).values():
        future.result(30)
    refused = server.run("replay", TABLE, "--from", "beginning", "--branch", "later")
    assert refused.returncode == 1 and "orders[1]@900" in refused.stderr, refused.stderr
    assert "later" not in tables.load(server.catalog, TABLE).metadata.refs


def test_windows_are_replayed_as_a_whole_and_those_that_are_open_stay_open(serve, folder):
    server = serve(tables.mapping(folder), ["--commit-interval", "100 ms"])
    server.create_topic(TOPIC, PARTITIONS)
    script = folder / "counted.sql"
    script.write_text("""
CREATE TABLE source (id BIGINT, ordered TIMESTAMP(3), WATERMARK FOR ordered AS ordered) WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'kafka-1:9092,kafka-2:9092', 'scan.startup.mode' = 'earliest-offset', 'format' = 'json');
CREATE TABLE counted (ends TIMESTAMP(3), n BIGINT, most BIGINT) WITH ('connector' = 'iceberg', 'catalog-name' = 'hive', 'catalog-database' = 'lake', 'catalog-table' = 'counted', 'warehouse' = 's3://lakehouse/');
INSERT INTO counted SELECT window_end, COUNT(*), MAX(id) FROM TABLE(TUMBLE(TABLE source, DESCRIPTOR(ordered), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end;
""")
    client = Producer({"bootstrap.servers": server.kafka})

    def send(numbers):
        for n in numbers:
            ordered = f"2026-01-01 {n // 3600:02d}:{n // 60 % 60:02d}:{n % 60:02d}"
            client.produce(TOPIC, json.dumps({"id": n, "ordered": ordered}).encode(), partition=n % PARTITIONS)
        assert client.flush(30) == 0

    send(range(3000))
    server.ok("run", script, "--detach")
    # Of 50 minutes the last is open.
    wait_until(lambda: tables.rows(server.catalog, "lake.counted") == 49, "the windows that are whole")
    for part in (["--from", "orders[0]@10"], ["--from", "beginning", "--to", "orders[0]@10"]):
        refused = server.run("replay", "lake.counted", *part)
        assert refused.returncode == 1 and "cannot be replayed in part" in refused.stderr and "WindowAggregate" in refused.stderr, refused.stderr
    done = server.json("replay", "lake.counted", "--from", "beginning")
    assert done["state"] == "finished" and done["replaces"]["rows"] == 49, done
    send(range(3000, 3600))
    wait_until(lambda: tables.rows(server.catalog, "lake.counted") == 59, "the live pipeline goes on")
    diff = server.json("replay", "diff", "lake.counted", "--key", "ends")
    assert diff["rows"] == {"main": 49, "branch": 49, "only_in_main": 0, "only_in_branch": 0} and diff["sample"] == [], diff
    assert server.audit("lake.counted")["ok"]
    refused = server.run("replay", "lake.nothing", "--from", "beginning")
    assert refused.returncode == 1 and "no pipeline of this server fills lake.nothing" in refused.stderr
