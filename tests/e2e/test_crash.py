"""kill -9 of the whole process, again and again, under load: nothing acknowledged is lost, nothing is doubled."""
import os
import random
import subprocess
import sys
import time
from collections import Counter

from confluent_kafka import Consumer, TopicPartition

import inventory
import tables
from lakeward import REPOSITORY, wait_until

KILLS = int(os.environ.get("LAKEWARD_E2E_KILLS", 20))
PARTITIONS = 12
PIPELINE = REPOSITORY / "examples/inventory/inventory.sql"


def read_log(bootstrap, topic, partitions):
    """(partition, offset) → event number, of the whole topic."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "log-reader", "enable.auto.commit": False})
    found = {}
    try:
        for partition in range(partitions):
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
            if high == low:
                continue
            consumer.assign([TopicPartition(topic, partition, low)])
            position = low
            while position < high:
                batch = consumer.consume(min(10_000, high - position), 5.0)
                assert batch, f"partition {partition} stops at {position} before {high}"
                for message in batch:
                    assert not message.error(), message.error()
                    found[(partition, message.offset())] = inventory.decoded(message.value())["quantity"]
                    position = message.offset() + 1
    finally:
        consumer.close()
    return found


def test_twenty_kills_under_load_lose_and_double_nothing(serve, folder):
    seed = int(os.environ.get("LAKEWARD_E2E_SEED", random.randrange(2**32)))
    print(f"replay the moments of the kills with LAKEWARD_E2E_SEED={seed}")
    chance = random.Random(seed)
    server = serve(tables.mapping(folder), ["--commit-interval", "300 ms"])
    server.ok("topic", "create", inventory.TOPIC, "--partitions", str(PARTITIONS))
    server.ok("run", PIPELINE, "--detach")
    acked_file = folder / "acked"
    load = subprocess.Popen([sys.executable, str(REPOSITORY / "tests/e2e/load.py"), server.kafka, inventory.TOPIC, str(PARTITIONS), str(acked_file), "4000"])
    try:
        wait_until(lambda: acked_file.exists() and acked_file.stat().st_size > 0, "the first acknowledgement")
        slowest = 0.0
        for kill in range(KILLS):
            time.sleep(chance.uniform(0.2, 2.0))
            assert load.poll() is None, f"the producer gave up before kill {kill}"
            server.kill()
            server.start()
            slowest = max(slowest, server.ready_seconds)
            if tables.exists(server.catalog, inventory.TABLE):
                report = server.audit(inventory.TABLE)
                assert report["ok"], f"audit after kill {kill}: {report}"
        before = acked_file.stat().st_size
        wait_until(lambda: acked_file.stat().st_size > before, "acknowledgements after the last kill")
        load.terminate()
        assert load.wait(90) == 0
    finally:
        if load.poll() is None:
            load.kill()
            load.wait()

    acked = [tuple(map(int, line.split())) for line in acked_file.read_text().splitlines()]
    assert len(acked) > 1000
    log = read_log(server.kafka, inventory.TOPIC, PARTITIONS)
    # librdkafka reports offset -1 for a retried batch that the broker recognised as a duplicate.
    misplaced = [(number, partition, offset) for number, partition, offset in acked if offset >= 0 and log.get((partition, offset)) != number]
    assert not misplaced, f"{len(misplaced)} acknowledged events are not where they were acknowledged: {misplaced[:5]}"
    in_log = Counter(log.values())
    lost = [number for number, _, _ in acked if number not in in_log]
    assert not lost, f"{len(lost)} acknowledged events are not in the log: {lost[:5]}"
    doubled = [number for number, times in in_log.items() if times > 1]
    assert not doubled, f"{len(doubled)} events of an idempotent producer stand twice in the log: {doubled[:5]}"

    wait_until(lambda: tables.rows(server.catalog, inventory.TABLE) >= len(log), f"{len(log)} rows", seconds=60)
    assert Counter(tables.quantities(server.catalog, inventory.TABLE)) == in_log
    report = server.audit(inventory.TABLE)
    assert report["ok"] and report["totals"]["rows"] == len(log)
    print(f"{KILLS} kills, {len(acked)} events acknowledged, slowest restart {slowest * 1000:.0f} ms")
