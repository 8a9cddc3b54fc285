"""Events of examples/inventory/governed.sql as a real producer sends them: some late, some sent again, all of them written to a file.

Event i is a function of i alone. The file has one line for each delivery, so that its reader can say what a table must hold without
asking anything of ours.
"""
import json
import threading
from datetime import datetime, timezone

from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

TOPIC = "inventory-governed"
BRONZE = "bronze.inventory_events"
SCHEMA = json.dumps({
    "type": "record", "name": "inventory_event", "namespace": "lakeward.examples",
    "fields": [
        {"name": "event_id", "type": "string"},
        {"name": "sku", "type": "string"},
        {"name": "warehouse_id", "type": "string"},
        {"name": "event_type", "type": "string"},
        {"name": "quantity", "type": "int"},
        {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    ],
})
KINDS = ("received", "reserved", "shipped", "returned", "counted")
BEGIN_MS = 1_767_225_600_000  # 2026-01-01
DAY_MS = 86_400_000
LATE, AGAIN = 50, 100  # one event of 50 is late, one of 100 is sent again


def event(number):
    # A day is over after 500 events; what is late is of one of the two days before its own.
    time_ms = BEGIN_MS + 3 * DAY_MS + number * (DAY_MS // 500)
    late = number % LATE == LATE - 1
    return {
        "event_id": f"e-{number:07d}",
        "sku": f"SKU-{number % 40:03d}",
        "warehouse_id": f"W{number % 12:02d}",
        "event_type": KINDS[number % len(KINDS)],
        "quantity": number % 97 + 1,
        "event_time": time_ms - (DAY_MS + number % 1000 * 60_000 if late else 0),
    }


class Stream:
    """A producer: `send` by hand, or `start` to go on in a thread of its own until `stop`."""

    def __init__(self, server, file):
        self.produced = open(file, "w")
        self.client = Producer({"bootstrap.servers": server.kafka, "enable.idempotence": True, "acks": "all", "linger.ms": 5})
        self.serialize = AvroSerializer(SchemaRegistryClient({"url": server.registry}), SCHEMA)
        self.context = SerializationContext(TOPIC, MessageField.VALUE)
        self.sent = self.deliveries = 0
        self.refused = []
        self.going = threading.Event()
        self.thread = None

    def send(self, count):
        """The next events, each acknowledged when this returns."""
        for number in range(self.sent, self.sent + count):
            self.deliver(event(number))
            if number % AGAIN == AGAIN - 1:
                self.deliver(event(number - 70))
        self.sent += count
        assert self.client.flush(30) == 0 and not self.refused, self.refused[:3]
        self.produced.flush()

    def deliver(self, one):
        value = self.serialize({**one, "event_time": datetime.fromtimestamp(one["event_time"] / 1000, timezone.utc)}, self.context)
        self.client.produce(TOPIC, key=one["sku"], value=value, on_delivery=lambda error, _: error and self.refused.append(str(error)))
        self.produced.write(json.dumps(one) + "\n")
        self.deliveries += 1

    def start(self, each=20, pause=0.05):
        """Goes on by itself, so many events after each pause."""
        def go():
            while not self.going.wait(pause):
                self.send(each)

        self.thread = threading.Thread(target=go)
        self.thread.start()

    def stop(self):
        self.going.set()
        self.thread.join()
        assert not self.refused, self.refused[:3]
