"""Apache Kafka's own command line tools, through tests/peers/kafka, against any server."""
import os
import subprocess

from confluent_kafka.admin import AdminClient, NewTopic

from lakeward import REPOSITORY

SCRIPT = REPOSITORY / "tests/peers/kafka/kafka"


class KafkaTools:
    def fetch(self):
        """The first use on a machine downloads 130 MB: before a case's clock runs."""
        subprocess.run([str(SCRIPT), "classpath"], check=True, stdout=subprocess.DEVNULL, timeout=900)

    def run(self, bootstrap, tool, *arguments, seconds=180, stdin=None):
        environment = dict(os.environ, BOOTSTRAP=bootstrap)
        return subprocess.run([str(SCRIPT), tool, *map(str, arguments)], env=environment, input=stdin, capture_output=True, text=True, timeout=seconds)

    def ok(self, bootstrap, tool, *arguments, **options):
        done = self.run(bootstrap, tool, *arguments, **options)
        assert done.returncode == 0, f"kafka-{tool} {' '.join(map(str, arguments))} exited {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        return done.stdout

    def lags(self, bootstrap, group):
        """Partition → lag, as `kafka-consumer-groups --describe` prints it."""
        text = self.ok(bootstrap, "consumer-groups", "--describe", "--group", group)
        rows = [line.split() for line in text.splitlines() if line.strip()]
        header = next(row for row in rows if "LAG" in row)
        at = {name: header.index(name) for name in ("TOPIC", "PARTITION", "LAG")}
        # The tool prints `-` where nothing is committed.
        return {(row[at["TOPIC"]], int(row[at["PARTITION"]])): row[at["LAG"]] for row in rows[rows.index(header) + 1 :]}


class ForeignCluster:
    """Another system's broker, as far as the cases of test_clients.py look at one."""

    def __init__(self, bootstrap):
        self.kafka = bootstrap

    def create_topic(self, name, partitions):
        admin = AdminClient({"bootstrap.servers": self.kafka})  # its futures end with it
        admin.create_topics([NewTopic(name, partitions, 1)])[name].result(30)
