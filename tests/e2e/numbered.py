"""A pipeline whose rows say where they come from, for cases of faults: each record, by partition and offset, is in the table once.

The rows carry the partition and offset of their record beside its number. What a table has to hold is what an unmodified consumer reads from the topic; what it
holds is read by DuckDB; and `lakeward audit` has to agree with both.
"""
import json

import pyarrow
from confluent_kafka import Consumer, Producer, TopicPartition

import tables
from lakeward import wait_until

PARTITIONS = 3
SCRIPT = """
SET 'pipeline.name' = '{name}';
CREATE TABLE source (n BIGINT, part INT METADATA FROM 'partition' VIRTUAL, off BIGINT METADATA FROM 'offset' VIRTUAL) WITH ('connector' = 'kafka', 'topic' = '{name}', 'properties.bootstrap.servers' = '{brokers}', 'scan.startup.mode' = 'earliest-offset', 'format' = 'json');
CREATE TABLE sink (n BIGINT, part INT, off BIGINT) WITH ('connector' = 'iceberg', 'catalog-name' = 'hive', 'catalog-database' = 'lake', 'catalog-table' = '{name}', 'warehouse' = 's3://lakehouse/', 'lakeward.compaction.enabled' = 'false', 'lakeward.compaction.min-input-files' = '2', 'lakeward.snapshots.keep' = '4', 'write.metadata.previous-versions-max' = '4'{more});
INSERT INTO sink SELECT n, part, off FROM source;
"""
PATIENT = {"enable.idempotence": True, "linger.ms": 1, "reconnect.backoff.ms": 10, "reconnect.backoff.max.ms": 50, "retry.backoff.ms": 10, "retry.backoff.max.ms": 50}
OURS = "kafka-1:9092,kafka-2:9092"


class Numbered:
    """One topic, one pipeline, one table of the same name. `catalog` is where others find the table, `log` whose topic it is."""

    def __init__(self, server, name, catalog=None, log=None, more=""):
        self.server, self.name, self.log = server, name, log or server
        self.catalog = catalog or (lambda: server.catalog)
        self.table = f"lake.{name}"
        self.client = self.client_of = None
        self.sent = self.theirs = 0  # `theirs`: rows that others added, of partition -1
        self.file = server.folder / f"{name}.sql"
        self.file.write_text(SCRIPT.format(name=name, brokers=self.log.kafka if log else OURS, more=more))
        self.log.create_topic(name, PARTITIONS)

    def run(self, *more):
        self.server.ok("run", self.file, "--detach", *more)
        return self

    def send(self, count=30):
        """Until all of it is acknowledged. A log that is killed on the way is started again."""
        if self.client is None or self.client_of != self.log.pid:
            # One that was connected to a process that is gone takes seconds to begin anew.
            self.client, self.client_of = Producer({"bootstrap.servers": self.log.kafka, "log_level": 0} | PATIENT), self.log.pid
        for number in range(self.sent, self.sent + count):
            self.client.produce(self.name, json.dumps({"n": number}).encode(), partition=number % PARTITIONS)
        self.sent += count
        while self.client.flush(0.2):
            if not self.log.alive():
                self.log.start()

    def add_theirs(self, count=2):
        """Another engine's append."""
        rows = pyarrow.table({"n": pyarrow.array([-1] * count, pyarrow.int64()), "part": pyarrow.array([-1] * count, pyarrow.int32()), "off": pyarrow.array(range(count), pyarrow.int64())})
        tables.load(self.catalog(), self.table).append(rows)
        self.theirs += count

    def rows(self):
        return tables.rows(self.catalog(), self.table)

    def landed(self, seconds=120):
        expected = self.sent + self.theirs
        wait_until(lambda: self.rows() == expected, f"{expected} rows in {self.table}", seconds)

    def shown(self):
        return self.server.json("pipeline", "show", self.name)["jobs"][0]

    def in_state(self, *states, seconds=60):
        return wait_until(lambda: (job := self.shown())["state"] in states and job, f"{self.name} is {' or '.join(states)}", seconds)

    def in_log(self):
        """(partition, offset, number) of every record."""
        consumer = Consumer({"bootstrap.servers": self.log.kafka, "group.id": "judge", "enable.auto.commit": False, "fetch.wait.max.ms": 10})
        try:
            of = lambda partition, *at: TopicPartition(self.name, partition, *at)
            bounds = [consumer.get_watermark_offsets(of(partition), timeout=10) for partition in range(PARTITIONS)]
            consumer.assign([of(partition, low) for partition, (low, _) in enumerate(bounds)])
            there, found = sum(high - low for low, high in bounds), []
            while len(found) < there:
                batch = consumer.consume(there - len(found), 5.0)
                assert batch, f"the log stops after {len(found)} of {there} records"
                found += [(one.partition(), one.offset(), json.loads(one.value())["n"]) for one in batch]
            return sorted(found)
        finally:
            consumer.close()

    def in_table(self):
        return tables.query(self.catalog(), f"SELECT part, off, n FROM ice.{self.table} WHERE part >= 0 ORDER BY part, off")

    def missing_and_doubled(self):
        """By partition and offset."""
        log, table = self.in_log(), self.in_table()
        there = set(table)
        assert there <= set(log), f"rows of no record: {sorted(there - set(log))[:5]}"
        return [row for row in log if row not in there], len(table) - len(there)

    def conserved(self):
        """Each record is there once, and the audit says so too."""
        missing, doubled = self.missing_and_doubled()
        assert not missing and not doubled, f"{len(missing)} records are missing, the first {missing[:3]}; {doubled} rows are there twice"
        report = self.server.audit(self.table)
        totals = report["totals"]
        assert report["ok"] and totals["rows"] == self.sent and totals["gaps"] == totals["duplicates"] == 0, report
