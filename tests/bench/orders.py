"""Events of seven columns as the peers' figures are given for: 207 bytes of JSON, 105 bytes of Avro.

Event i is a function of i alone; two milliseconds of event time lie between an event and the next, a tenth of them up to four
seconds late. `route` has 20 values, `customer` 10,000: few keys and many.
"""
import io
import json
from datetime import datetime, timezone

import fastavro

from inventory import BEGIN_MS, producer

TOPIC = "orders"
COLUMNS = "order_number BIGINT, customer STRING, route STRING, status STRING, quantity INT, price DOUBLE, event_time TIMESTAMP(3)"
NAMES = [column.split()[0] for column in COLUMNS.split(", ")]
AVRO = {"BIGINT": "long", "STRING": "string", "INT": "int", "DOUBLE": "double", "TIMESTAMP(3)": {"type": "long", "logicalType": "timestamp-millis"}}
# What Flink 2.3.0 derives from these columns.
DECLARED = {
    "type": "record", "name": "record", "namespace": "org.apache.flink.avro.generated",
    "fields": [{"name": name, "type": ["null", AVRO[kind]], "default": None} for name, kind in (column.split() for column in COLUMNS.split(", "))],
}
SCHEMA = fastavro.parse_schema(DECLARED)
STATES = ("created", "picked", "packed", "shipped", "settled")


def event(number):
    late = (number * 7919) % 4000 if number % 10 == 0 else 0
    return {
        "order_number": 1_000_000_000 + number,
        "customer": f"customer-{number * 7919 % 10_000:05d}",
        "route": f"warehouse-{number % 20:02d}/berlin-kreuzberg/loading-dock-north/lane-{number % 20 % 7}",
        "status": STATES[number % len(STATES)],
        "quantity": number % 100,
        "price": (number * 37 % 100_000) / 100 + 0.5,
        "event_time": BEGIN_MS + number * 2 - late,
    }


def as_json(number):
    row = event(number)
    at = datetime.fromtimestamp(row["event_time"] / 1000, timezone.utc)
    row["event_time"] = at.strftime("%Y-%m-%d %H:%M:%S.") + f"{row['event_time'] % 1000:03d}"
    return json.dumps(row, separators=(",", ":")).encode()


def as_avro(number):
    out = io.BytesIO()
    fastavro.schemaless_writer(out, SCHEMA, event(number))
    return out.getvalue()


def framed(schema_id):
    head = b"\0" + schema_id.to_bytes(4, "big")
    return lambda number: head + as_avro(number)


def send(bootstrap, count, topic, partitions, encode):
    """Sends the first `count` events and waits for every acknowledgement."""
    failed = []
    client = producer(bootstrap)

    def delivered(error, _):
        if error:
            failed.append(error)

    for number in range(count):
        while True:
            try:
                client.produce(topic, value=encode(number), partition=number % partitions, on_delivery=delivered)
                break
            except BufferError:
                client.poll(0.05)
        client.poll(0)
    client.flush(300)
    assert not failed, f"{len(failed)} refused, the first with {failed[0]}"
