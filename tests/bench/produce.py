"""`cargo xtask bench produce`: librdkafka against Lakeward, Apache Kafka as shipped, and Kafka flushing every append.

Envelope: a 1,000 byte record costs one copy into the WAL and a share of an fdatasync (0.13 ms per 64 KiB preallocated), so
a disk of 300 MB/s bounds Lakeward near 300,000 records/s; Kafka without fsync acknowledges from memory.
"""
import argparse

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from sides import Kafka, Lakeward, Measured, Sides, print_machine, report


def produce(bootstrap, topic, records, size, codec):
    # One call per thousand records: Python must not be what is measured.
    message = {"value": bytes(size)}
    refused = []
    client = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "acks": "all", "linger.ms": 5, "compression.type": codec,
                       "queue.buffering.max.messages": records + 1, "queue.buffering.max.kbytes": 2_000_000, "batch.num.messages": 10_000,
                       "delivery.report.only.error": True, "error_cb": refused.append})
    for _ in range(records // 1000):
        assert client.produce_batch(topic, [message] * 1000) == 1000
        client.poll(0)
    assert client.flush(300) == 0 and not refused, refused[:3]


def main():
    parser = argparse.ArgumentParser(prog="cargo xtask bench produce")
    parser.add_argument("--records", type=int, default=500_000)
    parser.add_argument("--size", type=int, default=1000)
    parser.add_argument("--partitions", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--codec", default="none")
    parser.add_argument("--sides", default="lakeward,kafka,kafka fsync")
    args = parser.parse_args()
    print_machine()
    makers = {"lakeward": Lakeward, "kafka": Kafka, "kafka fsync": lambda folder: Kafka(folder, fsync=True)}
    results = {}
    with Sides(*[makers[name] for name in args.sides.split(",")]) as sides:
        for side in sides.all:
            side.start()
        for round_number in range(args.rounds + 1):
            for side in sides.all:
                topic = f"produce-{round_number}"
                admin = AdminClient({"bootstrap.servers": side.bootstrap})
                admin.create_topics([NewTopic(topic, args.partitions, 1)])[topic].result(30)
                records = args.records // (1 if round_number else 5) // 1000 * 1000  # round 0 warms up
                with Measured(side.pid) as measured:
                    produce(side.bootstrap, topic, records, args.size, args.codec)
                admin.delete_topics([topic])[topic].result(30)
                if round_number:
                    results.setdefault(side.name, []).append((records, measured.seconds, measured.server_cpu, measured.client_cpu))
    print(f"\n{args.records} records of {args.size} bytes, {args.partitions} partitions, idempotent, acks=all, linger 5 ms, codec {args.codec}")
    report("records", results)


if __name__ == "__main__":
    main()
