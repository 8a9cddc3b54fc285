"""Inventory events as a real producer would send them, and what a table must then hold.

Event i is a function of i alone, and `quantity` is i itself: whoever reads the table can say exactly which events are
missing or doubled, without remembering what was sent.
"""
import io
import random

import fastavro
from confluent_kafka import Producer

TOPIC = "inventory-events"
TABLE = "lakehouse.inventory_events"
# What Flink 2.3.0 derives from the article's DDL: every nullable column is a union with null first.
SCHEMA = fastavro.parse_schema({
    "type": "record", "name": "record", "namespace": "org.apache.flink.avro.generated",
    "fields": [
        {"name": "sku", "type": ["null", "string"], "default": None},
        {"name": "warehouse_id", "type": ["null", "string"], "default": None},
        {"name": "event_type", "type": ["null", "string"], "default": None},
        {"name": "quantity", "type": ["null", "int"], "default": None},
        {"name": "event_time", "type": ["null", {"type": "long", "logicalType": "timestamp-millis"}], "default": None},
    ],
})
KINDS = ("received", "reserved", "shipped", "returned", "counted")
BEGIN_MS = 1_767_225_600_000  # 2026-01-01


def event(number):
    # A tenth arrives out of order, by up to four seconds.
    early = (number * 7919) % 4000 if number % 10 == 0 else 0
    return {
        "sku": f"SKU-{number % 20_000:05d}",
        "warehouse_id": f"W{number % 12:02d}",
        "event_type": KINDS[number % len(KINDS)],
        "quantity": number,
        "event_time": BEGIN_MS + number * 2 - early,
    }


def encoded(number):
    out = io.BytesIO()
    fastavro.schemaless_writer(out, SCHEMA, event(number))
    return out.getvalue()


def decoded(value):
    return fastavro.schemaless_reader(io.BytesIO(value), SCHEMA)


def producer(bootstrap, **more):
    return Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "acks": "all", "linger.ms": 5,
                     "compression.type": "lz4", "queue.buffering.max.messages": 500_000} | more)


def send(bootstrap, numbers, topic=TOPIC, partitions=48):
    """Sends the events and waits for every acknowledgement; the events that were acknowledged."""
    acked, failed = [], []
    client = producer(bootstrap)

    def delivered(error, message):
        (failed if error else acked).append(error or int.from_bytes(message.key(), "big"))

    for number in numbers:
        while True:
            try:
                client.produce(topic, key=number.to_bytes(8, "big"), value=encoded(number), partition=number % partitions, on_delivery=delivered)
                break
            except BufferError:
                client.poll(0.05)
        client.poll(0)
    client.flush(120)
    assert not failed, f"{len(failed)} refused, the first with {failed[0]}"
    return acked


def shuffled(count, seed=1):
    numbers = list(range(count))
    random.Random(seed).shuffle(numbers)
    return numbers
