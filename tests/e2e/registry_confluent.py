"""Confluent's own Python client and Avro serializers, unmodified, against a running registry.

    registry_confluent.py --registry http://127.0.0.1:8081 [--bootstrap 127.0.0.1:9092]

Prints one line, `N passed, M failed`; failures are explained on stderr. With --bootstrap records also travel through the
broker, and the topic `_schemas` is read as any Kafka client would read it. The subjects' names are new in every run, so the
same server may be asked again; the cases leave the global settings as they found them.
"""
import argparse
import datetime
import decimal
import json
import os
import re
import struct
import sys
import time
import traceback
import urllib.request
import uuid

from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.schema_registry.schema_registry_client import (
    ConfigCompatibilityLevel,
    ServerConfig,
)
from confluent_kafka.serialization import MessageField, SerializationContext, SerializationError

RUN = uuid.uuid4().hex[:8]
CASES = []


def case(function):
    CASES.append(function)
    return function


class Asked:
    """What a case needs: addresses, a fresh client, names nobody used before."""

    def __init__(self, registry, bootstrap):
        self.registry, self.bootstrap = registry, bootstrap

    def client(self):
        return SchemaRegistryClient({"url": self.registry})

    def topic(self, name):
        return f"registry-{name}-{RUN}"


def record(name, *fields):
    return json.dumps({"type": "record", "name": name, "namespace": "e2e", "fields": list(fields)})


ID = {"name": "id", "type": "int"}
USER_1 = record("User", ID, {"name": "name", "type": "string"})
USER_2 = record("User", ID, {"name": "name", "type": "string"}, {"name": "age", "type": ["null", "int"], "default": None})
USER_BROKEN = record("User", ID, {"name": "name", "type": "string"}, {"name": "age", "type": "int"})


def value_of(topic):
    return SerializationContext(topic, MessageField.VALUE)


def posted(asked, subject, body):
    """Registers past the client, which cannot send metadata: it fails to hash it. Reading it back it can."""
    url = f"{asked.registry}/subjects/{subject}/versions"
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request, timeout=30))


def refused(function, *arguments, **named):
    try:
        function(*arguments, **named)
    except SchemaRegistryError as error:
        return error
    raise AssertionError("the registry should have refused")


@case
def a_serializer_registers_and_a_deserializer_reads(asked):
    topic, client = asked.topic("plain"), asked.client()
    payload = AvroSerializer(client, USER_1)({"id": 7, "name": "Ada"}, value_of(topic))
    magic, schema_id = struct.unpack(">bI", payload[:5])
    assert magic == 0 and schema_id > 0, payload
    latest = client.get_latest_version(f"{topic}-value")
    assert (latest.schema_id, latest.version) == (schema_id, 1), latest
    back = AvroDeserializer(asked.client())(payload, value_of(topic))
    assert back == {"id": 7, "name": "Ada"}, back


@case
def the_same_schema_has_one_id_everywhere(asked):
    client = asked.client()
    spaced = json.dumps(json.loads(USER_1), indent=4)
    first = client.register_schema(asked.topic("same-a"), Schema(USER_1, "AVRO"))
    second = asked.client().register_schema(asked.topic("same-a"), Schema(spaced, "AVRO"))
    third = asked.client().register_schema(asked.topic("same-b"), Schema(USER_1, "AVRO"))
    assert first == second == third, (first, second, third)
    assert asked.client().get_versions(asked.topic("same-a")) == [1]


@case
def a_new_version_reads_old_records_with_its_default(asked):
    topic, client = asked.topic("evolve"), asked.client()
    old = AvroSerializer(client, USER_1)({"id": 1, "name": "Old"}, value_of(topic))
    new = AvroSerializer(client, USER_2)({"id": 2, "name": "New", "age": 30}, value_of(topic))
    assert client.get_versions(f"{topic}-value") == [1, 2]
    reader = AvroDeserializer(asked.client(), USER_2)
    assert reader(old, value_of(topic)) == {"id": 1, "name": "Old", "age": None}
    assert reader(new, value_of(topic)) == {"id": 2, "name": "New", "age": 30}
    assert AvroDeserializer(asked.client(), USER_1)(new, value_of(topic)) == {"id": 2, "name": "New"}


@case
def an_incompatible_schema_is_refused_before_a_record_is_made(asked):
    topic, client = asked.topic("refused"), asked.client()
    AvroSerializer(client, USER_1)({"id": 1, "name": "a"}, value_of(topic))
    try:
        AvroSerializer(client, USER_BROKEN)({"id": 1, "name": "a", "age": 3}, value_of(topic))
        raise AssertionError("the publish should have been blocked")
    except SchemaRegistryError as error:
        assert (error.http_status_code, error.error_code) == (409, 409), error
        pattern = f'Schema being registered is incompatible with an earlier schema for subject "{topic}-value"'
        assert re.search(pattern, str(error)), error
        assert "READER_FIELD_MISSING_DEFAULT_VALUE" in str(error) and "/fields/2" in str(error), error
    assert client.get_versions(f"{topic}-value") == [1]


@case
def compatibility_can_be_asked_without_registering(asked):
    subject, client = asked.topic("ask"), asked.client()
    client.register_schema(subject, Schema(USER_1, "AVRO"))
    assert client.test_compatibility(subject, Schema(USER_2, "AVRO")) is True
    assert client.test_compatibility(subject, Schema(USER_BROKEN, "AVRO")) is False
    assert client.test_compatibility(subject, Schema(USER_BROKEN, "AVRO"), version=1) is False
    assert client.test_compatibility_all_versions(subject, Schema(USER_2, "AVRO")) is True
    assert client.get_versions(subject) == [1]


@case
def levels_are_set_per_subject(asked):
    subject, client = asked.topic("levels"), asked.client()
    assert client.get_compatibility() == "BACKWARD"
    assert refused(client.get_compatibility, subject).error_code == 40408
    client.register_schema(subject, Schema(USER_1, "AVRO"))
    client.set_compatibility(subject, "NONE")
    assert client.get_compatibility(subject) == "NONE"
    client.register_schema(subject, Schema(USER_BROKEN, "AVRO"))
    answer = client.set_config(subject, ServerConfig(compatibility=ConfigCompatibilityLevel.FULL_TRANSITIVE))
    assert answer == {"compatibility": "FULL_TRANSITIVE"}, answer
    assert client.get_config(subject).compatibility_level == ConfigCompatibilityLevel.FULL_TRANSITIVE
    assert refused(client.register_schema, subject, Schema('"string"', "AVRO")).error_code == 409
    client.delete_config(subject)
    assert refused(client.get_config, subject).error_code == 40408
    assert refused(client.set_compatibility, subject, "SOMEHOW").error_code == 42203


@case
def schemas_are_found_by_id_version_and_content(asked):
    subject, client = asked.topic("find"), asked.client()
    schema_id = client.register_schema(subject, Schema(USER_1, "AVRO"))
    fetched = asked.client().get_schema(schema_id, subject_name=subject)
    assert json.loads(fetched.schema_str) == json.loads(USER_1) and fetched.schema_type == "AVRO", fetched
    found = asked.client().lookup_schema(subject, Schema(USER_1, "AVRO"))
    assert (found.schema_id, found.version, found.subject) == (schema_id, 1, subject), found
    assert asked.client().get_version(subject, 1).schema_id == schema_id
    assert subject in client.get_subjects()
    assert client.get_subjects(subject_prefix=subject) == [subject]
    assert subject in client.get_subjects_by_schema_id(schema_id)
    assert any(pair.subject == subject and pair.version == 1 for pair in client.get_schema_versions(schema_id))
    assert "AVRO" in client.get_schema_types()
    assert client.get_contexts() == ["."]


@case
def what_is_missing_has_confluents_codes(asked):
    nowhere, client = asked.topic("nowhere"), asked.client()
    for code, call in [
        (40401, lambda: client.get_versions(nowhere)),
        (40401, lambda: client.get_latest_version(nowhere)),
        (40401, lambda: client.lookup_schema(nowhere, Schema(USER_1, "AVRO"))),
        (40403, lambda: client.get_schema(2_000_000_000)),
        (42201, lambda: client.register_schema(nowhere, Schema('{"type":"recrod"}', "AVRO"))),
        (42201, lambda: client.register_schema(nowhere, Schema('syntax = "proto3";', "PROTOBUF"))),
        (42202, lambda: client.get_version(nowhere, 0)),
    ]:
        error = refused(call)
        assert error.error_code == code, (code, error)
    client.register_schema(nowhere, Schema(USER_1, "AVRO"))
    assert refused(client.get_version, nowhere, 9).error_code == 40402
    assert refused(client.lookup_schema, nowhere, Schema(USER_2, "AVRO")).error_code == 40403


@case
def references_to_other_subjects_are_resolved(asked):
    topic, client = asked.topic("order"), asked.client()
    money = asked.topic("money")
    client.register_schema(money, Schema(record("Money", {"name": "cents", "type": "long"}), "AVRO"))
    order = Schema(
        record("Order", ID, {"name": "price", "type": "e2e.Money"}),
        "AVRO",
        [SchemaReference("e2e.Money", money, 1)],
    )
    payload = AvroSerializer(client, order)({"id": 1, "price": {"cents": 995}}, value_of(topic))
    back = AvroDeserializer(asked.client())(payload, value_of(topic))
    assert back == {"id": 1, "price": {"cents": 995}}, back
    assert client.get_latest_version(f"{topic}-value").schema.references[0].subject == money
    assert refused(client.delete_subject, money).error_code == 42206
    broken = Schema(order.schema_str, "AVRO", [SchemaReference("e2e.Money", asked.topic("nobody"), 1)])
    assert refused(client.register_schema, asked.topic("dangling"), broken).error_code == 42201


@case
def logical_types_survive_the_round_trip(asked):
    topic = asked.topic("logical")
    schema = record(
        "Logical",
        {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "key", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["A", "B"], "default": "A"}},
        {"name": "tags", "type": {"type": "map", "values": "string"}, "default": {}},
    )
    written = {
        "amount": decimal.Decimal("12345.67"),
        "at": datetime.datetime(2026, 2, 3, 4, 5, 6, 789, tzinfo=datetime.timezone.utc),
        "day": datetime.date(2026, 2, 3),
        "key": uuid.UUID(int=7),
        "kind": "B",
        "tags": {"a": "é😀"},
    }
    payload = AvroSerializer(asked.client(), schema)(written, value_of(topic))
    back = AvroDeserializer(asked.client())(payload, value_of(topic))
    assert back == written, back


@case
def latest_version_without_registering(asked):
    topic, client = asked.topic("latest"), asked.client()
    frozen = {"auto.register.schemas": False}
    try:
        AvroSerializer(client, USER_1, conf=frozen)({"id": 1, "name": "a"}, value_of(topic))
        raise AssertionError("nothing is registered yet")
    except (SchemaRegistryError, SerializationError):
        pass
    schema_id = client.register_schema(f"{topic}-value", Schema(USER_2, "AVRO"))
    latest = AvroSerializer(client, USER_1, conf={**frozen, "use.latest.version": True})
    payload = latest({"id": 1, "name": "a", "age": None}, value_of(topic))
    assert struct.unpack(">bI", payload[:5]) == (0, schema_id)


@case
def normalized_registration_finds_the_same_schema(asked):
    topic = asked.topic("normal")
    conf = {"normalize.schemas": True}
    one = '{"type":"string","zeta":1,"alpha":2}'
    two = '{"alpha":2,"zeta":1,"type":"string"}'
    first = AvroSerializer(asked.client(), one, conf=conf)("a", value_of(topic))
    second = AvroSerializer(asked.client(), two, conf=conf)("a", value_of(topic))
    assert first == second


@case
def data_contracts_come_back_as_they_were(asked):
    subject = asked.topic("contract")
    body = {
        "schema": USER_1,
        "metadata": {"properties": {"owner": "data"}, "tags": {"e2e.User.name": ["PII"]}},
        "ruleSet": {"domainRules": [{"name": "r", "kind": "CONDITION", "mode": "WRITE", "type": "CEL", "expr": "true"}]},
    }
    posted(asked, subject, body)
    back = asked.client().get_latest_version(subject).schema.to_dict()
    assert back["metadata"]["properties"] == {"owner": "data"}, back
    assert back["metadata"]["tags"] == {"e2e.User.name": ["PII"]}, back
    assert back["ruleSet"]["domainRules"][0]["expr"] == "true", back


@case
def a_data_contract_survives_the_serializers(asked):
    """They send only the text: metadata and rules of the version before go on."""
    topic = asked.topic("kept")
    contract = {"schema": USER_1, "metadata": {"properties": {"owner": "data"}}}
    schema_id = posted(asked, f"{topic}-value", contract)["id"]
    payload = AvroSerializer(asked.client(), USER_1)({"id": 1, "name": "a"}, value_of(topic))
    assert struct.unpack(">bI", payload[:5]) == (0, schema_id)
    AvroSerializer(asked.client(), USER_2)({"id": 1, "name": "a", "age": 3}, value_of(topic))
    latest = asked.client().get_latest_version(f"{topic}-value")
    assert (latest.version, latest.schema.to_dict()["metadata"]["properties"]) == (2, {"owner": "data"}), latest
    frozen = {"auto.register.schemas": False}
    AvroSerializer(asked.client(), USER_2, conf=frozen)({"id": 1, "name": "a", "age": 3}, value_of(topic))


@case
def a_schema_with_its_references_written_out_is_the_same(asked):
    subject, client, money = asked.topic("written-out"), asked.client(), asked.topic("cents")
    cents = {"type": "record", "name": "Money", "namespace": "e2e", "fields": [{"name": "cents", "type": "long"}]}
    client.register_schema(money, Schema(json.dumps(cents), "AVRO"))
    order = Schema(record("Order", {"name": "price", "type": "e2e.Money"}), "AVRO", [SchemaReference("e2e.Money", money, -1)])
    schema_id = client.register_schema(subject, order)
    assert asked.client().get_latest_version(subject).schema.references[0].version == 1, "latest means the one that is latest now"
    whole = Schema(record("Order", {"name": "price", "type": cents}), "AVRO")
    assert asked.client().lookup_schema(subject, whole).schema_id == schema_id
    assert asked.client().register_schema(subject, whole) == schema_id
    assert asked.client().get_versions(subject) == [1]


@case
def deleting_is_soft_first(asked):
    subject, client = asked.topic("delete"), asked.client()
    schema_id = client.register_schema(subject, Schema(USER_1, "AVRO"))
    client.register_schema(subject, Schema(USER_2, "AVRO"))
    assert client.delete_version(subject, 1) == 1
    assert asked.client().get_versions(subject) == [2]
    assert asked.client().get_schema(schema_id).schema_str, "old records still find their schema"
    assert client.delete_subject(subject) == [2]
    assert subject not in asked.client().get_subjects()
    assert subject in asked.client().get_subjects(deleted=True)
    assert refused(asked.client().get_versions, subject).error_code == 40401
    assert asked.client().register_schema(subject, Schema(USER_1, "AVRO")) == schema_id
    assert asked.client().get_versions(subject) == [3], "numbers are not used again"
    assert refused(client.delete_subject, subject, permanent=True).error_code == 40405
    assert client.delete_subject(subject) == [3]
    assert client.delete_subject(subject, permanent=True) == [2, 3], "the schema that came back ended its first version"
    assert subject not in asked.client().get_subjects(deleted=True)


@case
def a_read_only_subject_takes_nothing(asked):
    subject, client = asked.topic("readonly"), asked.client()
    assert client.get_global_mode() == "READWRITE"
    client.update_mode(subject, "READONLY")
    assert client.get_mode(subject) == "READONLY"
    assert refused(client.register_schema, subject, Schema(USER_1, "AVRO")).error_code == 42205
    client.update_mode(subject, "READWRITE")
    assert client.register_schema(subject, Schema(USER_1, "AVRO")) > 0


@case
def names_with_any_character_work(asked):
    subject, client = asked.topic("a/b c+é%"), asked.client()
    schema_id = client.register_schema(subject, Schema(USER_1, "AVRO"))
    assert asked.client().get_latest_version(subject).schema_id == schema_id
    assert subject in asked.client().get_subjects()


@case
def producers_at_once_agree_on_the_ids(asked):
    import concurrent.futures

    subject = asked.topic("race")
    schemas = [record("R", *[{"name": f"f{i}", "type": "int", "default": 0} for i in range(n)]) for n in range(1, 9)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(asked.client().register_schema, subject, Schema(schemas[i % 8], "AVRO")) for i in range(64)]
        ids = [job.result() for job in jobs]
    by_schema = {i: {ids[j] for j in range(64) if j % 8 == i} for i in range(8)}
    assert all(len(found) == 1 for found in by_schema.values()), by_schema
    assert len(set(ids)) == 8, ids
    assert asked.client().get_versions(subject) == list(range(1, 9))


def with_broker(function):
    def run(asked):
        if asked.bootstrap:
            function(asked)

    run.__name__ = function.__name__
    run.needs_broker = True
    return case(run)


def create(asked, topic):
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": asked.bootstrap})
    for future in admin.create_topics([NewTopic(topic, 1, 1)]).values():
        future.result(30)


@with_broker
def records_travel_through_the_broker(asked):
    from confluent_kafka import Consumer, Producer

    topic, client = asked.topic("travel"), asked.client()
    create(asked, topic)
    producer, serialize = Producer({"bootstrap.servers": asked.bootstrap}), AvroSerializer(client, USER_2)
    for i in range(100):
        producer.produce(topic, serialize({"id": i, "name": f"n{i}", "age": i}, value_of(topic)))
    assert producer.flush(30) == 0
    settings = {"bootstrap.servers": asked.bootstrap, "group.id": topic, "auto.offset.reset": "earliest"}
    consumer, read = Consumer(settings), AvroDeserializer(asked.client(), USER_1)
    consumer.subscribe([topic])
    got, deadline = [], time.monotonic() + 60
    while len(got) < 100 and time.monotonic() < deadline:
        message = consumer.poll(1.0)
        if message is not None and message.error() is None:
            got.append(read(message.value(), value_of(topic)))
    consumer.close()
    assert got == [{"id": i, "name": f"n{i}"} for i in range(100)], len(got)


@with_broker
def the_schemas_topic_is_confluents(asked):
    from confluent_kafka import Consumer, TopicPartition

    subject, client = asked.topic("log"), asked.client()
    schema_id = client.register_schema(subject, Schema(USER_1, "AVRO"))
    consumer = Consumer({"bootstrap.servers": asked.bootstrap, "group.id": subject, "enable.auto.commit": False})
    consumer.assign([TopicPartition("_schemas", 0, 0)])
    _, end = consumer.get_watermark_offsets(TopicPartition("_schemas", 0), timeout=30)
    found, offset, deadline = None, 0, time.monotonic() + 60
    while offset < end and time.monotonic() < deadline:
        message = consumer.poll(1.0)
        if message is None or message.error() is not None:
            continue
        offset = message.offset() + 1
        if message.key() == b'{"keytype":"SCHEMA","subject":"%s","version":1,"magic":1}' % subject.encode():
            found = json.loads(message.value())
    consumer.close()
    assert found is not None, f"read to {offset} of {end}"
    assert (found["subject"], found["version"], found["id"]) == (subject, 1, schema_id), found
    assert found["deleted"] is False and json.loads(found["schema"]) == json.loads(USER_1), found


@with_broker
def only_the_server_writes_to_schemas(asked):
    """A record that came in past the registry would come in past its compatibility check: the broker refuses it."""
    from confluent_kafka import KafkaError, Producer

    subject, client, refusals = asked.topic("smuggled"), asked.client(), []
    key = {"keytype": "SCHEMA", "subject": subject, "version": 4, "magic": 1}
    value = {"subject": subject, "version": 4, "id": 1_000_000, "schema": USER_1, "deleted": False}
    producer = Producer({"bootstrap.servers": asked.bootstrap})
    producer.produce("_schemas", json.dumps(value), json.dumps(key), partition=0, on_delivery=lambda error, _: refusals.append(error))
    assert producer.flush(30) == 0
    assert [error and error.code() for error in refusals] == [KafkaError.TOPIC_EXCEPTION], refusals
    assert refused(client.get_versions, subject).error_code == 40401


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--registry", default=os.environ.get("REGISTRY"))
    parser.add_argument("--bootstrap", default=os.environ.get("BOOTSTRAP"))
    parser.add_argument("addresses", nargs="*", help="registry and bootstrap, in place of the options")
    arguments = parser.parse_args()
    given = arguments.addresses + [None, None]
    registry, bootstrap = arguments.registry or given[0], arguments.bootstrap or given[1]
    if not registry:
        parser.error("--registry is needed")
    asked, failed, ran = Asked(registry, bootstrap), 0, 0
    for function in CASES:
        if getattr(function, "needs_broker", False) and not bootstrap:
            continue
        ran += 1
        try:
            function(asked)
        except Exception:
            failed += 1
            print(f"FAILED {function.__name__}\n{traceback.format_exc()}", file=sys.stderr)
    print(f"{ran - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
