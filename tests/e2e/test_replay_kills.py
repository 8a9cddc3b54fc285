"""Replays and promotions of a table in a store, with a kill -9 at each step of them: main and branches have every row once, of the right script."""
import os
import random
import subprocess
import time

import tables
from faults import ANSWERED, BEFORE, DONE
from lakeward import BINARY, wait_until
from s3_store import BUCKET, KEY, SECRET, Store
from test_replay import PARTITIONS, SCRIPT, TABLE, TOPIC, WRONG, Orders, expected, rows_at, within

KILLS = int(os.environ.get("LAKEWARD_E2E_KILLS", 4))
SEED = int(os.environ.get("LAKEWARD_E2E_SEED", 13))
MOST_PROMOTIONS = 32
# What is written, the how manieth of it since the command was typed, and when of that request, ANSWERED some milliseconds behind it: what comes then
# (the catalog's pointer, the replay's record) is no request. Or about so many seconds behind the command.
# A branch begins with copies of what is cut, manifests, their list, metadata, and then the replay's record; it goes on with data, manifests, …
REPLAYING = [
    ("copy", 1, BEFORE), ("copy", 1, DONE), ("manifest", 1, DONE), ("list", 1, BEFORE), ("metadata", 1, BEFORE), ("metadata", 1, DONE), ("metadata", 1, ANSWERED),
    ("metadata", 1, ANSWERED), ("data", 1, BEFORE), ("data", 1, DONE), ("data", 2, ANSWERED), ("list", 2, DONE), ("metadata", 2, BEFORE), ("metadata", 2, DONE), ("metadata", 2, ANSWERED),
    0.01, 0.1, 0.4,
]
# The pipeline is halted, its frame written, and started; then it commits.
PROMOTING = [
    ("copy", 1, BEFORE), ("copy", 1, DONE), ("copy", 1, ANSWERED), ("manifest", 1, BEFORE), ("manifest", 1, DONE), ("list", 1, DONE), ("list", 1, ANSWERED),
    ("metadata", 1, BEFORE), ("metadata", 1, DONE), ("metadata", 1, ANSWERED), 0.05, 0.1, 0.15, 0.2, 0.3, 0.4,
]


def typed_and_killed(server, store, dice, moment, *command):
    """Whether the server was killed there; otherwise the command was through before, and it is killed then."""
    environment = {"LAKEWARD_SERVER": server.ready["http"], "NO_COLOR": "1", "PATH": "/usr/bin:/bin"}
    fault, later = None, dice.uniform(0, 0.012)
    if isinstance(moment, tuple):
        step, nth, at = moment
        fault = store.gate.kill(server, step, at, nth) if at != ANSWERED else store.gate.arm(step, at, lambda: (time.sleep(later), server.kill()), nth=nth)
    typed = subprocess.Popen([BINARY, *map(str, command)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if fault:
        wait_until(lambda: fault.struck.is_set() or typed.poll() is not None, f"{moment} of {command[:3]}", 60, every=0.005)
    else:
        time.sleep(moment * dice.uniform(0.5, 1.5))
    store.gate.lift()
    server.kill()
    typed.wait(60)
    server.start()
    return not fault or fault.struck.is_set()


def test_a_kill_at_any_step_of_a_replay_and_a_promotion_is_no_matter(serve, folder):
    dice = random.Random(SEED)
    replaying, promoting = (dice.sample(steps, len(steps)) for steps in (REPLAYING, PROMOTING))
    with Store() as store:
        server = serve(store.config(), ["--warehouse", f"s3://{BUCKET}/w", "--commit-interval", "200 ms"])
        server.create_topic(TOPIC, PARTITIONS)
        (folder / "orders.sql").write_text(WRONG)
        server.ok("run", folder / "orders.sql", "--detach")
        orders = Orders(server)
        landed = lambda: tables.rows(server.catalog, TABLE) == len(expected(orders.sent, ""))  # noqa: E731
        for _ in range(3):
            orders.send(2000)
            assert orders.client.flush(60) == 0
            wait_until(landed, "the first orders")
        store.refuses = store.loses = 0.02
        right, struck = {}, 0
        for number in range(min(-(-KILLS // 2), MOST_PROMOTIONS)):
            tax = f"WHEN 'FR' THEN cents - {20 + number}"
            (folder / "right.sql").write_text(SCRIPT.format(fr=tax))
            begins = [f"{part}@{dice.randrange(700)}" for part in dice.sample(range(PARTITIONS), dice.choice([1, PARTITIONS]))]
            ends = ["--to", ",".join(f"{part}@{dice.randrange(900, 2000)}" for part in range(PARTITIONS))] if dice.random() < 0.7 else []
            replay = ["replay", TABLE, "--from", ",".join(begins), *ends, "--script", folder / "right.sql", "--branch", f"tax{number}"]
            # Every other time the pipeline has something to commit as well.
            orders.send(300 * (number % 2))
            struck += typed_and_killed(server, store, dice, replaying[number % len(replaying)], *replay)
            done = server.json(*replay)
            assert done["state"] == "finished", done
            branch = f"tax{number}"
            head = tables.load(server.catalog, TABLE).metadata.refs[branch].snapshot_id
            before = {row[0]: row for row in rows_at(server, int(done["main_snapshot"]))}
            its = {row[0]: row for row in expected(orders.sent, tax, within(done["ranges"]))}
            changed = sum(before.get(key) != row for key, row in its.items())
            assert server.json("replay", "diff", TABLE, "--branch", branch, "--key", "id")["keys"] == {"only_in_main": 0, "only_in_branch": 0, "changed": changed}
            assert set(its) <= set(before) and rows_at(server, head) == sorted({**before, **its}.values()), (done, replaying[number % len(replaying)])

            orders.send(300 * (number % 2))
            promote = ["replay", "promote", TABLE, "--branch", branch]
            struck += typed_and_killed(server, store, dice, promoting[number % len(promoting)], *promote)
            assert server.json(*promote)["state"] == "promoted"
            right |= its
            assert orders.client.flush(60) == 0
            wait_until(landed, "the pipeline goes on")
            wanted = {row[0]: row for row in expected(orders.sent, "")} | right
            found = tables.query(server.catalog, f"SELECT id, country, net FROM ice.{TABLE} ORDER BY id")
            assert found == sorted(wanted.values()), promoting[number % len(promoting)]
            server.ok("pipeline", "drop", f"{TABLE}@{branch}")
            server.ok("table", "branch", TABLE, branch, "--drop")
        assert min(store.met.values()) > 0, f"the network was too well: {store.met}"
        print(f"{struck} kills at the step that was meant, {orders.sent} orders, {store.met}")
        store.heal()
        server.ok("table", "compact", TABLE)
        assert rows_at(server, tables.load(server.catalog, TABLE).current_snapshot().snapshot_id) == sorted(wanted.values())
        report = server.audit(TABLE)
        assert report["ok"] and report["findings"] == [] and report["totals"]["rows"] == len(wanted), report
        assert store.uploads() == 0
        assert SECRET not in server.log_text() and KEY not in server.log_text()
