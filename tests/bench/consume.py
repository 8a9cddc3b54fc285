"""`cargo xtask bench consume`: librdkafka reading a topic that was just written, from Lakeward and from Apache Kafka.

Envelope: a hot fetch is one copy from the page cache to a socket, 10 GB/s and core, so librdkafka and Python are the limit
of the rate; look at the server's CPU seconds.
"""
import argparse

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from sides import Kafka, Lakeward, Measured, Sides, print_machine, report

TOPIC = "consume"


def fill(bootstrap, records, size, partitions):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(TOPIC, partitions, 1)])[TOPIC].result(30)
    client = Producer({"bootstrap.servers": bootstrap, "acks": "all", "linger.ms": 20, "queue.buffering.max.messages": 200_000,
                       "queue.buffering.max.kbytes": 1 << 20, "batch.num.messages": 10_000})
    for number in range(records):
        while True:
            try:
                client.produce(TOPIC, bytes(size), partition=number % partitions)
                break
            except BufferError:
                client.poll(0.01)
    assert client.flush(300) == 0


def consume(bootstrap, records, partitions, topic=TOPIC):
    # A queue that was full once makes librdkafka wait a second before its next fetch, which is as long as a round takes.
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "bench", "enable.auto.commit": False, "fetch.wait.max.ms": 100, "fetch.queue.backoff.ms": 1,
                         "queued.min.messages": 100_000, "queued.max.messages.kbytes": 262_144, "fetch.message.max.bytes": 4 << 20})
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
    seen = 0
    while seen < records:
        batch = consumer.consume(20_000, 10.0)
        assert batch, f"nothing more after {seen} of {records}"
        seen += len(batch)
    consumer.close()


def main():
    parser = argparse.ArgumentParser(prog="cargo xtask bench consume")
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--size", type=int, default=1000)
    parser.add_argument("--partitions", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sides", default="lakeward,kafka")
    args = parser.parse_args()
    print_machine()
    makers = {"lakeward": Lakeward, "kafka": Kafka}
    results = {}
    with Sides(*[makers[name] for name in args.sides.split(",")]) as sides:
        for side in sides.all:
            side.start()
            fill(side.bootstrap, args.records, args.size, args.partitions)
        for round_number in range(args.rounds + 1):
            for side in sides.all:
                with Measured(side.pid) as measured:
                    consume(side.bootstrap, args.records, args.partitions)
                if round_number:
                    results.setdefault(side.name, []).append((args.records, measured.seconds, measured.server_cpu, measured.client_cpu))
    print(f"\n{args.records} records of {args.size} bytes, {args.partitions} partitions, hot")
    report("records", results)


if __name__ == "__main__":
    main()
