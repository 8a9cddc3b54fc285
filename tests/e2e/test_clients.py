"""Unmodified clients: each produces with all four codecs and consumes everything back in a group.

Record i has the key `k<i>` and the value `v<i>`, so a client that mixes up, loses or doubles records is told by a number.
One topic per client; a quarter of its records travels in each codec.
"""
import asyncio
import json
import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest
import requests
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions

import article
from lakeward import wait_until

RECORDS = int(os.environ.get("LAKEWARD_E2E_RECORDS", 100_000))
CODECS = ("gzip", "snappy", "lz4", "zstd")
PARTITIONS = 6


def quarter(codec):
    """The numbers that travel in a codec."""
    index = CODECS.index(codec)
    return range(index * RECORDS // 4, (index + 1) * RECORDS // 4)


class Seen:
    """What a consumer got, against what was sent."""

    def __init__(self):
        self.records, self.keys, self.wrong = 0, set(), 0

    def take(self, key, value):
        self.records += 1
        self.keys.add(key)
        self.wrong += value != b"v" + key[1:]

    def check(self):
        assert self.wrong == 0
        assert len(self.keys) == RECORDS, f"{RECORDS - len(self.keys)} records are missing"
        assert self.records == RECORDS, f"{self.records - RECORDS} records came twice"


def committed(cluster, topic, group):
    """The group's committed offsets, all partitions together."""
    consumer = Consumer({"bootstrap.servers": cluster.kafka, "group.id": group})
    try:
        found = consumer.committed([TopicPartition(topic, p) for p in range(PARTITIONS)], timeout=10)
        return sum(max(0, part.offset) for part in found)
    finally:
        consumer.close()


def check_committed(cluster, topic, group):
    wait_until(lambda: committed(cluster, topic, group) == RECORDS, f"{group} has committed all of {topic}", seconds=10)


@pytest.fixture
def topic(cluster, request):
    name = request.node.name.split("_")[1] + "-records"
    cluster.create_topic(name, PARTITIONS)
    return name


def test_confluent_kafka_and_a_group_of_two(cluster, topic):
    for codec in CODECS:
        producer = Producer({"bootstrap.servers": cluster.kafka, "compression.type": codec, "enable.idempotence": True,
                             "queue.buffering.max.messages": RECORDS + 1})
        for i in quarter(codec):
            producer.produce(topic, key=f"k{i}", value=f"v{i}")
        assert producer.flush(60) == 0

    seen, lock, done = Seen(), threading.Lock(), threading.Event()
    shares = [set(), set()]

    def member(index):
        consumer = Consumer({"bootstrap.servers": cluster.kafka, "group.id": "confluent", "auto.offset.reset": "earliest",
                             "partition.assignment.strategy": "cooperative-sticky", "enable.auto.commit": False})
        joined = threading.Event()
        consumer.subscribe([topic], on_assign=lambda _, parts: joined.set())
        while not done.is_set():
            batch = [message for message in consumer.consume(5000, 0.2) if not message.error()]
            shares[index].update(part.partition for part in consumer.assignment())
            with lock:
                for message in batch:
                    seen.take(message.key(), message.value())
                if seen.records >= RECORDS and both_joined():
                    done.set()
        try:
            consumer.commit(asynchronous=False)
        finally:
            consumer.close()

    def both_joined():
        return all(shares)

    threads = [threading.Thread(target=member, args=(index,)) for index in (0, 1)]
    for thread in threads:
        thread.start()
    done.wait(120)
    done.set()
    for thread in threads:
        thread.join()
    assert both_joined(), f"one member never got a partition: {shares}"
    # A partition that moved between the members before a commit is read twice: at least once is what a group promises.
    assert seen.wrong == 0 and len(seen.keys) == RECORDS


def test_kafkapython(cluster, topic):
    from kafka import KafkaConsumer, KafkaProducer

    for codec in CODECS:
        producer = KafkaProducer(bootstrap_servers=cluster.kafka, compression_type=codec, acks="all", enable_idempotence=True, linger_ms=20, batch_size=1 << 17)
        for i in quarter(codec):
            producer.send(topic, key=b"k%d" % i, value=b"v%d" % i)
        producer.flush(60)
        producer.close()
    seen = Seen()
    consumer = KafkaConsumer(topic, bootstrap_servers=cluster.kafka, group_id="kafkapython", auto_offset_reset="earliest", enable_auto_commit=False, consumer_timeout_ms=20_000)
    for message in consumer:
        seen.take(message.key, message.value)
        if seen.records >= RECORDS:
            break
    consumer.commit()
    consumer.close()
    seen.check()
    check_committed(cluster, topic, "kafkapython")


def test_aiokafka(cluster, topic):
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

    async def produce(codec):
        async with AIOKafkaProducer(bootstrap_servers=cluster.kafka, compression_type=codec, acks="all", enable_idempotence=True, linger_ms=20, max_batch_size=1 << 17) as producer:
            pending = [await producer.send(topic, key=b"k%d" % i, value=b"v%d" % i) for i in quarter(codec)]
            await asyncio.gather(*pending)

    async def consume(seen):
        consumer = AIOKafkaConsumer(topic, bootstrap_servers=cluster.kafka, group_id="aiokafka", auto_offset_reset="earliest", enable_auto_commit=False)
        async with consumer:
            while seen.records < RECORDS:
                for batch in (await asyncio.wait_for(consumer.getmany(timeout_ms=1000), 30)).values():
                    for message in batch:
                        seen.take(message.key, message.value)
            await consumer.commit()

    async def main():
        for codec in CODECS:
            await produce(codec)
        seen = Seen()
        await asyncio.wait_for(consume(seen), 120)
        seen.check()

    asyncio.run(main())
    check_committed(cluster, topic, "aiokafka")


def test_kafkajs(cluster, topic):
    if not (shutil.which("node") and os.environ.get("LAKEWARD_NODE")):
        pytest.skip("node and npm are not installed: kafkajs was not run")
    client = ["node", str(Path(__file__).parent / "node/client.js")]
    subprocess.run([*client, "produce", cluster.kafka, topic, str(RECORDS)], check=True, timeout=180)
    out = subprocess.run([*client, "consume", cluster.kafka, topic, str(RECORDS), "kafkajs"], check=True, timeout=180, stdout=subprocess.PIPE, text=True).stdout
    assert json.loads(out) == {"records": RECORDS, "distinct": RECORDS, "wrong": 0}
    check_committed(cluster, topic, "kafkajs")


def test_kcat(cluster, topic, folder):
    if not shutil.which("kcat"):
        pytest.skip("kcat is not installed: it was not run")
    for codec in CODECS:
        lines = folder / f"{codec}.txt"
        lines.write_text("".join(f"k{i}:v{i}\n" for i in quarter(codec)))
        subprocess.run(["kcat", "-P", "-b", cluster.kafka, "-t", topic, "-z", codec, "-K:", "-l", "-X", "enable.idempotence=true", str(lines)], check=True, timeout=120)
    out = subprocess.run(["kcat", "-b", cluster.kafka, "-G", "kcat", "-c", str(RECORDS), "-K:", "-q", "-X", "auto.offset.reset=earliest", topic],
                         check=True, timeout=120, stdout=subprocess.PIPE).stdout
    seen = Seen()
    for line in out.splitlines():
        seen.take(*line.split(b":"))
    seen.check()
    check_committed(cluster, topic, "kcat")


def test_java_by_kafkas_own_tools(cluster, topic, folder, kafka_tools):
    for codec in CODECS:
        config = folder / f"{codec}.properties"
        config.write_text(f"compression.type={codec}\nlinger.ms=5\n")
        out = kafka_tools.ok(cluster.kafka, "verifiable-producer", "--topic", topic, "--max-messages", RECORDS // 4, "--acks", "-1",
                             "--value-prefix", CODECS.index(codec), "--command-config", config)
        assert json.loads(out.splitlines()[-1])["acked"] == RECORDS // 4
    out = kafka_tools.ok(cluster.kafka, "console-consumer", "--topic", topic, "--group", "java", "--from-beginning", "--max-messages", RECORDS, "--timeout-ms", 60_000)
    expected = {f"{codec}.{i}" for codec in range(4) for i in range(RECORDS // 4)}
    got = out.split()
    assert len(got) == RECORDS and set(got) == expected
    lags = kafka_tools.lags(cluster.kafka, "java")
    assert len(lags) == PARTITIONS and set(lags.values()) == {"0"}


def test_javaperf_producer_and_consumer(cluster, topic, kafka_tools):
    out = kafka_tools.ok(cluster.kafka, "producer-perf-test", "--topic", topic, "--num-records", RECORDS, "--record-size", 100, "--throughput", -1,
                         "--command-property", "acks=all", "--command-property", "compression.type=lz4")
    assert f"{RECORDS} records sent" in out.splitlines()[-1]
    out = kafka_tools.ok(cluster.kafka, "consumer-perf-test", "--topic", topic, "--num-records", RECORDS, "--group", "javaperf", "--timeout", 60_000)
    # The data row: start, end, MB, MB/s, records, …
    assert int(float(out.splitlines()[-1].split(",")[4])) >= RECORDS


def test_the_articles_topic_command_word_for_word(server, kafka_tools):
    kafka_tools.ok(server.kafka, "topics", *article.create_topic_arguments())
    described = kafka_tools.ok(server.kafka, "topics", "--describe", "--topic", "inventory-events")
    head = described.splitlines()[0]
    assert "PartitionCount: 48" in head and "ReplicationFactor: 1" in head
    for config in ("retention.ms=259200000", "cleanup.policy=delete", "compression.type=lz4"):
        assert config in head
    assert described.count("Leader:") == 48 and "Isr: none" not in described
    warned = [line for line in server.log_text().splitlines() if "inventory-events" in line and "replication" in line]
    assert warned, "the log does not warn about the replication factor"
    again = kafka_tools.run(server.kafka, "topics", *article.create_topic_arguments())
    assert again.returncode == 1 and "already exists" in again.stdout + again.stderr


def test_the_topics_codec_is_obeyed(server, kafka_tools):
    """compression.type=lz4 on the topic: whatever the producer sends is stored, and served, as LZ4."""
    kafka_tools.ok(server.kafka, "topics", *article.create_topic_arguments())
    producer = Producer({"bootstrap.servers": server.kafka, "compression.type": "gzip"})
    for _ in range(2000):
        producer.produce("inventory-events", value=b"x" * 500, partition=0)
    assert producer.flush(30) == 0
    raw = fetch_first_batch(server.kafka, "inventory-events")
    assert raw["attributes"] & 7 == 3, f"codec {raw['attributes'] & 7}, not LZ4"


def fetch_first_batch(bootstrap, topic):
    """The header of the first batch of partition 0, from a Fetch v4 written by hand."""
    from wire import Connection

    with Connection(bootstrap) as connection:
        return connection.first_batch(topic, 0)


def register_two_schemas(server):
    """The keys of `_schemas` afterwards, as the registry wrote them."""
    for subject in ("one-value", "two-value"):
        posted = requests.post(f"{server.registry}/subjects/{subject}/versions", json={"schema": '"string"'}, timeout=10)
        assert posted.status_code == 200, posted.text
    return {"one-value", "two-value"}


def subjects_of(keys):
    return {json.loads(key).get("subject") for key in keys} - {None}


def test_every_client_reads_the_schemas_topic(server):
    from aiokafka import AIOKafkaConsumer
    from kafka import KafkaConsumer

    expected = register_two_schemas(server)
    consumer = Consumer({"bootstrap.servers": server.kafka, "group.id": "rd", "auto.offset.reset": "earliest"})
    consumer.subscribe(["_schemas"])
    keys = []
    wait_until(lambda: keys.extend(m.key() for m in consumer.consume(10, 0.2) if not m.error()) or subjects_of(keys) == expected, "librdkafka to read the subjects")
    consumer.close()

    consumer = KafkaConsumer("_schemas", bootstrap_servers=server.kafka, group_id="py", auto_offset_reset="earliest", consumer_timeout_ms=5000)
    assert subjects_of(message.key for message in consumer) == expected
    consumer.close()

    async def read():
        consumer = AIOKafkaConsumer("_schemas", bootstrap_servers=server.kafka, group_id="aio", auto_offset_reset="earliest")
        async with consumer:
            keys = []
            while subjects_of(keys) != expected:
                for batch in (await consumer.getmany(timeout_ms=500)).values():
                    keys.extend(message.key for message in batch)

    asyncio.run(asyncio.wait_for(read(), 30))


def test_java_reads_the_schemas_topic(server, kafka_tools):
    expected = register_two_schemas(server)
    out = kafka_tools.ok(server.kafka, "console-consumer", "--topic", "_schemas", "--group", "java", "--from-beginning", "--max-messages", len(expected),
                         "--timeout-ms", 60_000, "--formatter-property", "print.key=true")
    assert subjects_of(line.split("\t")[0] for line in out.splitlines() if "\t" in line) == expected


def test_no_client_changes_the_schemas_topic_and_the_log_says_why(server):
    """A second partition would keep the registry from opening at the next start."""
    expected = register_two_schemas(server)
    refusals = []
    producer = Producer({"bootstrap.servers": server.kafka})
    producer.produce("_schemas", b"{}", b"{}", partition=0, on_delivery=lambda error, _: refusals.append(error))
    assert producer.flush(30) == 0
    assert refusals[0].name() == "TOPIC_EXCEPTION"
    wait_until(lambda: "topic '_schemas' is internal: only the server writes to it" in server.log_text(), "the reason in the log", seconds=5)
    admin = AdminClient({"bootstrap.servers": server.kafka})
    for future in (admin.create_partitions([NewPartitions("_schemas", 2)]) | admin.delete_topics(["_schemas"])).values():
        with pytest.raises(KafkaException) as refused:
            future.result(30)
        assert refused.value.args[0].name() == "TOPIC_EXCEPTION"
    assert server.stop() == 0
    server.start()
    assert set(requests.get(server.registry + "/subjects", timeout=5).json()) == expected


def test_compaction_is_refused_until_it_exists(server, kafka_tools):
    done = kafka_tools.run(server.kafka, "topics", "--create", "--topic", "compacted", "--partitions", 1, "--replication-factor", 1, "--config", "cleanup.policy=compact")
    assert done.returncode == 1
    assert "compact" in done.stdout + done.stderr
    assert "compacted" not in kafka_tools.ok(server.kafka, "topics", "--list")
