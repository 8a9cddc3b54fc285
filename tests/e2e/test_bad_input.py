"""Bad input, sentence by sentence: what is refused, how it is said, and that everything else goes on."""
import json
import re
import shutil
import struct
import subprocess
import time

import pytest
import requests
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

import inventory
import tables
from lakeward import REPOSITORY, wait_until
from wire import Connection, request, string

PIPELINE = REPOSITORY / "examples/inventory/inventory.sql"
TABLE = inventory.TABLE
DEAD = f"{TABLE}__dead_letters"


# Frames.

FRAMES = {
    "an HTTP request": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a TLS hello": bytes.fromhex("160301020001000001fc0303") + bytes(600),
    "a negative size": struct.pack(">i", -5) + bytes(20),
    "two gigabytes announced": struct.pack(">i", 2**31 - 1) + bytes(64),
    "a frame of nothing": struct.pack(">i", 0),
    "a header cut short": struct.pack(">i", 3) + b"\x00\x12\x00",
    "an unknown API": request(9999, 0, 1, b""),
    "a produce request of rubbish": request(0, 9, 1, bytes(range(256)) * 4),
    "a fetch with a count of 2^31 topics": request(1, 4, 1, struct.pack(">iiiibi", -1, 1, 1, 1, 0, 2**31 - 1)),
}


@pytest.mark.parametrize("what", FRAMES)
def test_a_bad_frame_closes_that_connection_with_a_log_line_and_nothing_else(server, what):
    lines = len(server.log_text().splitlines())
    with Connection(server.kafka) as good, Connection(server.kafka) as bad:
        good.api_versions()
        bad.send(FRAMES[what])
        assert bad.closed(), "the connection stays open"
        assert good.api_versions()[:4] == struct.pack(">i", 7), "another connection suffers"
    wait_until(lambda: len(server.log_text().splitlines()) > lines, "a log line", seconds=5)
    said = server.log_text().splitlines()[lines:]
    assert len(said) <= 2 and not any("panicked" in line for line in said), said
    assert "127.0.0.1" in said[0], f"the line does not name the peer: {said[0]}"
    assert server.alive()


def test_a_truncated_frame_ends_with_its_connection(server):
    for cut in (1, 3, 4, 7, 12):
        with Connection(server.kafka) as connection:
            connection.send(request(18, 0, 1, b"")[:cut])
    with Connection(server.kafka) as connection:
        assert connection.api_versions()[:4] == struct.pack(">i", 7)
    assert "panicked" not in server.log_text()


def test_a_batch_with_a_broken_checksum_is_refused_as_corrupt(server):
    server.ok("topic", "create", "checked", "--partitions", "1")
    # One v2 batch of one record, its checksum left at 0.
    record = bytes.fromhex("10000000010276") + b"\x00"
    batch = struct.pack(">qiibIhiqqqhii", 0, 49 + len(record), -1, 2, 0, 0, 0, 0, 0, -1, -1, -1, 1) + record
    body = struct.pack(">hhi", -1, -1, 5000) + struct.pack(">i", 1) + string("checked") + struct.pack(">iii", 1, 0, len(batch)) + batch
    with Connection(server.kafka) as connection:
        connection.send(request(0, 3, 5, body))
        answer = connection.frame()
    (error,) = struct.unpack_from(">h", answer, 4 + 4 + 2 + len("checked") + 4 + 4)
    assert error == 2, f"error {error}, not CORRUPT_MESSAGE"


# Versions.


def test_an_unknown_version_of_api_versions_gets_the_v0_answer(server):
    with Connection(server.kafka) as connection:
        # As a client from the future would: header v2 ends in its tagged fields, then name, version, tagged fields.
        connection.send(request(18, 99, 3, b"\x00" + b"\x05wire" + b"\x021" + b"\x00"))
        correlation, error, apis = api_ranges(connection.frame())
        assert (correlation, error) == (3, 35)
        assert 18 in apis, "the answer does not say which versions of ApiVersions there are"
        # The same connection goes on, and the ranges hold the three entries that old librdkafka needs.
        _, error, apis = api_ranges(connection.api_versions())
        assert error == 0
        assert apis[0][0] == 0, "Produce is advertised from version 0, or old librdkafka stops compressing"
        assert apis[11][0] == 0, "JoinGroup is advertised from version 0, or old librdkafka does not join"
        assert max(apis) < 127, "a one-byte count is all that some clients read"


def api_ranges(answer):
    """Correlation id, error, and api → (min, max) of an ApiVersions v0 answer."""
    correlation, error, count = struct.unpack_from(">ihi", answer)
    entries = [struct.unpack_from(">hhh", answer, 10 + 6 * i) for i in range(count)]
    return correlation, error, {api: versions for api, *versions in entries}


# SQL.

SCRIPTS = {
    "a misspelt keyword": ("CREATE TABEL t (a INT);", "TABEL", "TABLE"),
    "an unknown option": (PIPELINE.read_text().replace("'topic' =", "'topics' ="), "'topics'", "'topic'"),
    "an unknown column": (PIPELINE.read_text().replace("  sku,\n  warehouse_id,\n  event_type", "  skew,\n  warehouse_id,\n  event_type"), "skew", "sku"),
    "an unknown connector": (PIPELINE.read_text().replace("'kafka'", "'kafak'"), "'kafak'", "'kafka'"),
    "an unmapped bootstrap server": (PIPELINE.read_text().replace("kafka-1:9092,", "kafka-9:9092,"), "'kafka-9:9092,kafka-2:9092'", "[bootstrap]"),
    "a statement that is not supported": ("ALTER TABLE t RENAME TO u;", "ALTER", "CREATE statement"),
}


@pytest.mark.parametrize("what", SCRIPTS)
def test_a_bad_script_points_at_the_token_and_says_what_exists(serve, folder, what):
    server = serve(tables.mapping(folder))
    server.ok("topic", "create", inventory.TOPIC, "--partitions", "1")
    text, token, hint = SCRIPTS[what]
    script = folder / "bad.sql"
    script.write_text(text)
    done = server.run("run", script, "--detach")
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    before = text[: text.index(token)]
    line, column = 1 + before.count("\n"), len(before) - before.rfind("\n")
    assert f"bad.sql:{line}:{column}" in said, f"it does not name bad.sql:{line}:{column}: {said}"
    assert token in said and hint in said, said
    assert f"· {' ' * (column - 1)}{'─' * len(token)}\n" in said, f"{token} is not underlined: {said}"
    assert "panicked" not in said
    refused = server.run("run", script, "--detach", "-o", "json")
    assert refused.returncode == 1
    (place,) = json.loads(refused.stdout)["error"]["diagnostics"]
    assert (place["file"], place["line"], place["column"]) == (str(script), line, column)
    assert token in place["message"] and hint in place.get("hint", "")
    assert server.json("pipeline", "list") in ([], {"pipelines": []}), "a refused script left a pipeline behind"


def test_bare_avro_on_a_topic_with_a_registered_subject_is_refused(serve, folder):
    server = serve(tables.mapping(folder))
    server.ok("topic", "create", inventory.TOPIC, "--partitions", "1")
    schema = '{"type":"record","name":"e","fields":[{"name":"sku","type":"string"}]}'
    requests.post(f"{server.registry}/subjects/{inventory.TOPIC}-value/versions", json={"schema": schema}, timeout=5).raise_for_status()
    done = server.run("run", PIPELINE, "--detach")
    assert done.returncode == 1
    assert "avro-confluent" in done.stdout + done.stderr, "it does not name the line to change"


# Records.


def test_a_malformed_record_becomes_a_dead_letter_and_stops_nothing(serve, folder):
    server = serve(tables.mapping(folder), ["--commit-interval", "500 ms"])
    server.ok("topic", "create", inventory.TOPIC, "--partitions", "2")
    inventory.send(server.kafka, range(100), partitions=2)
    rubbish = [b"\xff\xff\xff", b"", b"{}", inventory.encoded(1)[:-3]]
    client = Producer({"bootstrap.servers": server.kafka})
    for value in rubbish:
        client.produce(inventory.TOPIC, value=value, partition=0)
    assert client.flush(10) == 0
    inventory.send(server.kafka, range(100, 200), partitions=2)

    server.ok("run", PIPELINE, "--detach")
    wait_until(lambda: tables.rows(server.catalog, TABLE) == 200, "the good records")
    wait_until(lambda: tables.rows(server.catalog, DEAD) == len(rubbish), "the dead letters")
    columns = [row[0] for row in tables.query(server.catalog, f"DESCRIBE SELECT * FROM ice.{DEAD}")]
    assert {"topic", "partition", "offset", "error"} <= set(columns), columns
    letters = tables.query(server.catalog, f"SELECT topic, \"partition\", \"offset\", error FROM ice.{DEAD} ORDER BY 3")
    assert [letter[:3] for letter in letters] == [(inventory.TOPIC, 0, 50 + i) for i in range(len(rubbish))]
    assert all(letter[3] for letter in letters)
    report = server.audit(TABLE)
    assert report["ok"] and report["totals"]["rows"] == 200 and report["totals"]["dead_letters"] == len(rubbish)
    assert server.json("pipeline", "show", "inventory")["state"] == "running"


# What a pipeline stands on.

COUNTED = f"""
SET 'pipeline.name' = 'counted';
CREATE TABLE events (sku STRING, warehouse_id STRING, event_type STRING, quantity INT, event_time TIMESTAMP(3),
  WATERMARK FOR event_time AS event_time - INTERVAL '5' SECOND) WITH (
  'connector' = 'kafka', 'topic' = '{inventory.TOPIC}', 'properties.bootstrap.servers' = 'kafka-1:9092,kafka-2:9092',
  'scan.startup.mode' = 'earliest-offset', 'format' = 'avro');
CREATE TABLE counted (quantity INT, window_end TIMESTAMP(3), n BIGINT) WITH ('connector' = 'iceberg', 'catalog-name' = 'hive',
  'catalog-database' = 'lakehouse', 'catalog-table' = 'counted', 'warehouse' = 's3://lakehouse/');
INSERT INTO counted SELECT quantity, window_end, COUNT(*)
  FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(event_time), INTERVAL '1' DAY)) GROUP BY quantity, window_start, window_end;
"""


def counting(server, folder):
    server.ok("topic", "create", inventory.TOPIC, "--partitions", "1")
    script = folder / "counted.sql"
    script.write_text(COUNTED)
    server.ok("run", script, "--detach")


def job_of(server, pipeline="counted"):
    return server.json("pipeline", "show", pipeline)["jobs"][0]


def test_a_topic_that_is_deleted_under_a_pipeline_is_told_and_another_of_its_name_is_not_read_as_if_it_were_the_same(serve, folder):
    server = serve(tables.mapping(folder), ["--commit-interval", "200 ms"])
    counting(server, folder)
    inventory.send(server.kafka, range(100), partitions=1)
    wait_until(lambda: tables.exists(server.catalog, "lakehouse.counted") and server.audit("lakehouse.counted")["totals"]["offsets"] == 100, "the first records")
    server.ok("topic", "delete", inventory.TOPIC)
    wait_until(lambda: f"there is no topic `{inventory.TOPIC}`" in job_of(server).get("error", ""), "that the topic is gone")
    server.kill()
    server.start()
    server.ok("topic", "create", inventory.TOPIC, "--partitions", "1")
    inventory.send(server.kafka, range(200), partitions=1)
    wait_until(lambda: "was deleted and created again" in job_of(server).get("error", ""), "that it is another topic")
    assert server.json("pipeline", "show", "counted")["state"] == "failed"


def test_a_state_beyond_its_memory_takes_no_rows_and_says_so(serve, folder):
    server = serve(tables.mapping(folder), ["--commit-interval", "200 ms", "--state-memory", "2 MiB"])
    counting(server, folder)
    # A key for each event, and a window that none of them ends.
    sent = 100_000
    inventory.send(server.kafka, range(sent), partitions=1)
    wait_until(lambda: job_of(server).get("waits_for_memory"), "that it waits for memory")
    told = server.ok("pipeline", "show", "counted")
    assert "no rows are taken" in told and "--state-memory" in told, told
    metrics = requests.get(server.ready["http"] + "/metrics", timeout=5).text
    assert re.search(r"^lakeward_pipeline_waits_for_memory\{.*\} 1", metrics, re.M), metrics
    # With more of it everything is there.
    server.stop()
    server.arguments[server.arguments.index("2 MiB")] = "256 MiB"
    server.start()
    report = wait_until(lambda: tables.exists(server.catalog, "lakehouse.counted") and (report := server.audit("lakehouse.counted"))["totals"]["offsets"] == sent and report, "all records")
    assert report["ok"] and report["totals"]["rows"] == sent and not job_of(server).get("waits_for_memory"), report


# One folder, one server.


def test_a_second_server_on_the_same_folder_is_refused_with_the_firsts_pid(serve, server, folder):
    with pytest.raises(AssertionError, match=rf"ended with 1: (?s:.)*\b{server.pid}\b"):
        serve(name="second", data=server.data)
    with Connection(server.kafka) as connection:
        connection.api_versions()
    server.kill()
    server.start()


# Full disk.


@pytest.fixture
def small_disk(folder):
    place = folder / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512m", "none", str(place)], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"no small disk can be mounted here, so the full disk was not tried: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_refuses_produce_serves_reads_and_recovers(serve, small_disk):
    server = serve(data=small_disk / "data")
    server.ok("topic", "create", "t", "--partitions", "1")
    payload = b"x" * 100_000

    def produce(count, timeout_ms=4000):
        """(acknowledged, errors) of some records, without retries."""
        acked, errors = [], []
        client = Producer({"bootstrap.servers": server.kafka, "retries": 0, "message.timeout.ms": timeout_ms, "compression.type": "none"})
        for _ in range(count):
            client.produce("t", value=payload, partition=0, on_delivery=lambda error, message: (errors if error else acked).append(error))
        client.flush(30)
        return len(acked), errors

    acked, errors = produce(50)
    assert acked == 50 and not errors
    free = shutil.disk_usage(small_disk).free
    filler = small_disk / "filler"
    with open(filler, "wb") as out:
        for _ in range(free // (1 << 20) + 1):
            try:
                out.write(bytes(1 << 20))
                out.flush()
            except OSError:
                break

    refused = []

    def refuses():
        nonlocal acked
        more, errors = produce(200)
        acked += more
        refused.extend(errors)
        return refused

    wait_until(refuses, "produce is refused", seconds=60)
    assert {error.code() for error in refused} == {KafkaError.KAFKA_STORAGE_ERROR}, refused[:3]
    assert len(read_all(server, "t")) == acked, "what was acknowledged is not what can be read"
    assert "lakeward_" in requests.get(server.ready["http"] + "/metrics", timeout=5).text

    filler.unlink()
    wait_until(lambda: produce(5)[0] == 5, "produce works again, without a restart", seconds=30)
    assert server.alive()


def read_all(server, topic):
    consumer = Consumer({"bootstrap.servers": server.kafka, "group.id": "reader", "enable.auto.commit": False})
    try:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=10)
        consumer.assign([TopicPartition(topic, 0, low)])
        found = []
        deadline = time.monotonic() + 30
        while len(found) < high - low and time.monotonic() < deadline:
            found += [message.value() for message in consumer.consume(100, 1.0) if not message.error()]
        return found
    finally:
        consumer.close()


# A pipeline's identity.


@pytest.fixture
def running(serve, folder):
    """A server whose pipeline has landed 300 events."""
    server = serve(tables.mapping(folder), ["--commit-interval", "300 ms"])
    server.ok("topic", "create", inventory.TOPIC, "--partitions", "3")
    inventory.send(server.kafka, range(300), partitions=3)
    server.ok("run", PIPELINE, "--detach")
    wait_until(lambda: tables.rows(server.catalog, TABLE) == 300, "the first 300 events")
    return server


def test_the_same_script_twice_attaches(running):
    before = running.json("pipeline", "show", "inventory")
    running.ok("run", PIPELINE, "--detach")
    after = running.json("pipeline", "show", "inventory")
    assert after["id"] == before["id"]
    inventory.send(running.kafka, range(300, 400), partitions=3)
    wait_until(lambda: tables.rows(running.catalog, TABLE) == 400, "the later events, once")
    assert tables.quantities(running.catalog, TABLE) == list(range(400))


def test_another_text_under_the_same_name_is_refused_with_the_difference(running, folder):
    other = folder / "inventory.sql"
    other.write_text(PIPELINE.read_text().replace("FROM inventory_events;", "FROM inventory_events WHERE quantity > 5;"))
    done = running.run("run", other, "--detach")
    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert "WHERE quantity > 5" in said and "--replace" in said, said
    assert running.json("pipeline", "show", "inventory")["state"] == "running"


def test_dropped_and_run_again_is_refused_unless_it_adopts(running):
    running.ok("pipeline", "drop", "inventory")
    done = running.run("run", PIPELINE, "--detach")
    assert done.returncode == 1
    assert "--adopt" in done.stdout + done.stderr
    inventory.send(running.kafka, range(300, 350), partitions=3)
    running.ok("run", PIPELINE, "--detach", "--adopt")
    wait_until(lambda: tables.rows(running.catalog, TABLE) == 350, "the events since, and none twice")
    assert tables.quantities(running.catalog, TABLE) == list(range(350))
    assert running.audit(TABLE)["ok"]


@pytest.fixture
def rolled_back(running):
    """300 events of the second round (and three dead letters) are rolled away, 100 more are sent, and the pipeline has paused."""
    inventory.send(running.kafka, range(300, 600), partitions=3)
    client = Producer({"bootstrap.servers": running.kafka})
    for partition in range(3):
        client.produce(inventory.TOPIC, value=b"\xff\xff", partition=partition)
    assert client.flush(10) == 0
    wait_until(lambda: tables.rows(running.catalog, TABLE) == 600, "a second round of events")
    wait_until(lambda: tables.rows(running.catalog, DEAD) == 3, "the dead letters")
    table = tables.load(running.catalog, TABLE)
    first = min(table.metadata.snapshots, key=lambda snapshot: snapshot.sequence_number)
    namespace, name = TABLE.split(".")
    change = {"requirements": [], "updates": [{"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": first.snapshot_id}]}
    requests.post(f"{running.catalog}/v1/namespaces/{namespace}/tables/{name}", json=change, timeout=10).raise_for_status()
    inventory.send(running.kafka, range(600, 700), partitions=3)
    wait_until(lambda: job(running)["state"] == "paused", "the pipeline pauses")
    return running


def job(server):
    (job,) = server.json("pipeline", "show", "inventory")["jobs"]
    return job


def test_a_table_rolled_back_under_a_running_pipeline_pauses_it_and_shows_where_everything_stands(rolled_back):
    paused = job(rolled_back)
    vectors = ("table_offsets", "marker_offsets", "checkpoint_offsets")
    ends = {name: {at["partition"]: at["next"] for at in paused[name]} for name in vectors}
    assert all(set(at) == {0, 1, 2} for at in ends.values()), ends
    assert [sum(ends[name].values()) for name in vectors] == [300, 603, 703]
    said = rolled_back.ok("pipeline", "show", "inventory")
    for word in ("rolled back", "the table ends at", "the last commit ended at", "the checkpoint stands at", "--adopt", "--rewind"):
        assert word in said, said
    assert tables.rows(rolled_back.catalog, TABLE) == 300, "it committed on top of a table that was rolled back"
    report = rolled_back.audit(TABLE)
    assert not report["ok"] and report["totals"]["gaps"] == 300 and report["totals"]["rows"] == 300
    assert any("rolled back" in finding for finding in report["findings"]), report["findings"]
    both = rolled_back.run("pipeline", "resume", "inventory", "--adopt", "--rewind")
    assert both.returncode == 2 and "cannot be used with" in both.stderr


def test_a_rewind_reads_again_what_a_rollback_took_away(rolled_back):
    rolled_back.ok("pipeline", "resume", "inventory", "--rewind")
    wait_until(lambda: tables.rows(rolled_back.catalog, TABLE) == 700, "everything after the point of the rollback comes again")
    assert tables.quantities(rolled_back.catalog, TABLE) == list(range(700))
    report = rolled_back.audit(TABLE)
    assert report["ok"] and report["totals"]["rows"] == 700 and report["totals"]["dead_letters"] == 3
    assert tables.rows(rolled_back.catalog, DEAD) == 3, "the dead letters were read again, but not kept twice"


def test_an_adopted_rollback_stays_and_the_audit_says_so(rolled_back):
    rolled_back.ok("pipeline", "resume", "inventory", "--adopt")
    wait_until(lambda: tables.rows(rolled_back.catalog, TABLE) == 400, "the events after the last commit")
    inventory.send(rolled_back.kafka, range(700, 750), partitions=3)
    wait_until(lambda: tables.rows(rolled_back.catalog, TABLE) == 450, "the pipeline goes on")
    assert tables.quantities(rolled_back.catalog, TABLE) == [*range(300), *range(600, 750)]
    report = rolled_back.audit(TABLE)
    assert not report["ok"] and report["totals"]["gaps"] == 300 and report["totals"]["duplicates"] == 0
    assert any("adopted" in finding for finding in report["findings"]), report["findings"]
    assert job(rolled_back)["state"] == "running"


def test_a_pipeline_that_the_log_has_overtaken_says_what_is_lost_and_goes_on_when_it_is_told_to(running):
    running.ok("pipeline", "stop", "inventory")
    inventory.send(running.kafka, range(300, 400), partitions=3)
    everything = [TopicPartition(inventory.TOPIC, partition, -1) for partition in range(3)]
    admin = AdminClient({"bootstrap.servers": running.kafka})
    for deleted in admin.delete_records(everything).values():
        deleted.result(10)
    for words in ([], ["--adopt"]):
        running.ok("pipeline", "resume", "inventory", *words)
        wait_until(lambda: job(running)["state"] == "paused", "the pipeline pauses")
    said = running.ok("pipeline", "show", "inventory")
    assert "were removed before this pipeline read them" in said and "--skip-lost" in said, said
    assert "--adopt" not in said and "--rewind" not in said, said
    running.ok("pipeline", "resume", "inventory", "--skip-lost")
    inventory.send(running.kafka, range(400, 450), partitions=3)
    wait_until(lambda: tables.rows(running.catalog, TABLE) == 350, "what came after")
    assert tables.quantities(running.catalog, TABLE) == [*range(300), *range(400, 450)]
    report = running.audit(TABLE)
    assert not report["ok"] and report["totals"]["duplicates"] == 0, report
    for partition in report["partitions"]:
        parts = ("rows", "filtered", "late", "dead_letters", "control", "open", "unverified", "gaps")
        assert partition["end"] - partition["start"] == sum(partition[name] for name in parts), partition


def test_a_dropped_pipeline_with_dead_letters_can_be_adopted_and_meets_more_of_them(rolled_back):
    rolled_back.ok("pipeline", "drop", "inventory")
    rolled_back.ok("run", PIPELINE, "--detach", "--adopt")
    wait_until(lambda: tables.rows(rolled_back.catalog, TABLE) == 400, "the new pipeline takes the rolled back table over")
    client = Producer({"bootstrap.servers": rolled_back.kafka})
    client.produce(inventory.TOPIC, value=b"\xff\xff", partition=0)
    assert client.flush(10) == 0
    wait_until(lambda: tables.rows(rolled_back.catalog, DEAD) == 4, "the dead letters' table was taken over too")
    assert job(rolled_back)["state"] == "running"
