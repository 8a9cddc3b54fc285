"""Topics of another Kafka cluster: the same script, read over the network, with the offsets in the pipeline's own manifest.

Once the other cluster is a second server of ours, once it is the real Apache Kafka (which has transactions and compaction).
"""
import json
import shutil
import subprocess

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, Producer
from confluent_kafka.admin import AdminClient, NewTopic

import tables
from kafka_tools import SCRIPT
from lakeward import wait_until

ADDRESS = "kafka-1:9092,kafka-2:9092"


class ApacheKafka:
    """The real one, in a folder; `kill` and `start` keep its port and its data."""

    def __init__(self, folder):
        self.folder = folder
        self.bootstrap = None

    def start(self):
        port = self.bootstrap.rsplit(":", 1)[1] if self.bootstrap else "0"
        subprocess.run([SCRIPT, "up", self.folder, "--port", port], check=True, stdout=subprocess.DEVNULL, timeout=120)
        self.bootstrap = (self.folder / "bootstrap").read_text().strip()
        return self

    def kill(self):
        subprocess.run([SCRIPT, "kill9", self.folder], check=True, stdout=subprocess.DEVNULL, timeout=60)


class Ours:
    def __init__(self, serve):
        self.server = serve(name="elsewhere")
        self.bootstrap = self.server.kafka

    def start(self):
        self.server.start()

    def kill(self):
        self.server.kill()


@pytest.fixture(params=["lakeward", "apache-kafka"])
def other(request, serve, folder):
    if request.param == "lakeward":
        yield Ours(serve)
        return
    for program in ("java", "mvn"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed: the real Apache Kafka was not read")
    kafka = ApacheKafka(folder / "kafka").start()
    yield kafka
    subprocess.run([SCRIPT, "kill9", kafka.folder], stdout=subprocess.DEVNULL, timeout=60)


def serve_over(serve, folder, other):
    config = tables.mapping(folder).replace("[catalogs]", f'"{other.bootstrap}" = "external"\n[catalogs]')
    return serve(config, ["--commit-interval", "300 ms"])


def produce(other, topic, numbers, **options):
    client = Producer({"bootstrap.servers": other.bootstrap})
    for number in numbers:
        client.produce(topic, json.dumps({"id": number}).encode(), **options)
    assert client.flush(30) == 0


def create_topic(other, topic, partitions, **config):
    admin = AdminClient({"bootstrap.servers": other.bootstrap})
    admin.create_topics([NewTopic(topic, partitions, 1, config=config)])[topic].result(30)


def script(other, bounded=False):
    mode = "'scan.bounded.mode' = 'latest-offset'," if bounded else ""
    table = "shop.bounded" if bounded else "shop.events"
    return f"""
CREATE TABLE events (id INT, part INT METADATA FROM 'partition' VIRTUAL, pos BIGINT METADATA FROM 'offset' VIRTUAL)
WITH ('connector' = 'kafka', 'topic' = 'events', 'properties.bootstrap.servers' = '{other.bootstrap}', {mode}
      'properties.group.id' = 'lake', 'scan.startup.mode' = 'earliest-offset', 'format' = 'json');
CREATE TABLE {table} (id INT, part INT, pos BIGINT)
WITH ('connector' = 'iceberg', 'catalog-name' = 'hive', 'warehouse' = 's3://lakehouse/', 'format-version' = '2');
INSERT INTO {table} SELECT id, part, pos FROM events;
"""


def run(server, folder, name, text, *arguments):
    path = folder / f"{name}.sql"
    path.write_text(text)
    return server.ok("run", path, *arguments)


def committed(other, group):
    admin = AdminClient({"bootstrap.servers": other.bootstrap})
    offsets = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group].result(30)
    return {(at.topic, at.partition): at.offset for at in offsets.topic_partitions}


def test_another_cluster_is_read_exactly_once_over_kills_on_both_sides(serve, folder, other):
    create_topic(other, "events", 3)
    produce(other, "events", range(2000))
    server = serve_over(serve, folder, other)
    run(server, folder, "events", script(other), "--detach")
    wait_until(lambda: tables.rows(server.catalog, "shop.events") == 2000, "the first rows")

    server.kill()
    produce(other, "events", range(2000, 4000))
    server.start()
    wait_until(lambda: tables.rows(server.catalog, "shop.events") == 4000, "the rows of before the start")

    other.kill()
    other.start()
    produce(other, "events", range(4000, 5000))
    wait_until(lambda: tables.rows(server.catalog, "shop.events") == 5000, "the rows of after the other's start", seconds=120)
    found = tables.query(server.catalog, "SELECT count(*), count(DISTINCT id), count(DISTINCT (part, pos)), max(id) FROM ice.shop.events")
    assert found == [(5000, 5000, 5000, 4999)]

    ends = tables.query(server.catalog, "SELECT part, max(pos) + 1 FROM ice.shop.events GROUP BY part")
    # It reads the other cluster again.
    report = server.audit("shop.events")
    assert report["ok"] and report["totals"]["rows"] == 5000, report
    wait_until(lambda: committed(other, "lake") == {("events", part): end for part, end in ends}, "the group's offsets over there")
    # Not a topic of this server's own, and no group of its own either.
    assert "events" not in server.ok("topic", "list")


def test_transactions_that_were_aborted_are_not_read_and_a_bounded_read_ends_behind_them(serve, folder, other):
    if isinstance(other, Ours):
        pytest.skip("our own broker has no transactions yet")
    create_topic(other, "events", 1)
    produce(other, "events", range(100))
    for number, commits in enumerate([True, False]):
        client = Producer({"bootstrap.servers": other.bootstrap, "transactional.id": f"t{number}"})
        client.init_transactions(30)
        client.begin_transaction()
        for i in range(100):
            client.produce("events", json.dumps({"id": 1000 * (number + 1) + i}).encode())
        client.flush(30)
        (client.commit_transaction if commits else client.abort_transaction)(30)
    server = serve_over(serve, folder, other)
    # Markers and what was aborted are the last offsets of the topic: the read comes to its end all the same.
    run(server, folder, "bounded", script(other, bounded=True))
    found = tables.query(server.catalog, "SELECT count(*), min(id), max(id), max(pos) FROM ice.shop.bounded")
    assert found == [(200, 0, 1099, 199)]


def test_a_cluster_that_is_not_there_and_a_topic_that_is_not_are_told(serve, folder, other):
    create_topic(other, "events", 1)
    server = serve_over(serve, folder, other)
    path = folder / "missing.sql"
    path.write_text(script(other).replace("'topic' = 'events'", "'topic' = 'evnets'"))
    server.ok("run", path, "--detach")
    def error():
        return server.json("pipeline", "show", "missing")["jobs"][0].get("error", "")

    wait_until(lambda: error() == "there is no topic `evnets`", "that the topic is not there")
    other.kill()
    wait_until(lambda: f"Kafka at '{other.bootstrap}': cannot connect" in error(), "that the cluster is gone")


def test_an_address_is_this_server_or_another_as_the_configuration_says(serve, folder):
    server = serve(tables.mapping(folder))
    path = folder / "nowhere.sql"
    path.write_text(script(type("", (), {"bootstrap": "nowhere:9092"})))
    done = server.run("run", path, "--detach")
    assert done.returncode != 0 and '"nowhere:9092" = "embedded"' in done.stderr and '"external"' in done.stderr
