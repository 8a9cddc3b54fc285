"""The command line's verbs against what a user has beside them: kcat where it is installed, and kafka-python."""
import csv
import io
import json
import os
import pty
import shutil
import subprocess

import pytest
from confluent_kafka import Producer
from kafka import KafkaConsumer, TopicPartition

import inventory
import tables
from lakeward import BINARY, REPOSITORY, wait_until


def feed(server, text, *arguments):
    """A verb with something on its standard input."""
    done = subprocess.run([BINARY, *arguments, "--server", server.ready["http"]], input=text, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_produce_wrote_is_read_by_everybody(server):
    server.create_topic("words", 3)
    sent = [(f"k{i}", f"v{i}") for i in range(500)]
    feed(server, "".join(f"{k}:{v}\n" for k, v in sent), "topic", "produce", "words", "-K", ":", "-z", "zstd")

    consumer = KafkaConsumer(bootstrap_servers=server.kafka, auto_offset_reset="earliest", consumer_timeout_ms=5000)
    consumer.assign([TopicPartition("words", p) for p in range(3)])
    theirs = []
    for record in consumer:
        theirs.append((record.key.decode(), record.value.decode(), record.partition))
        if len(theirs) == len(sent):
            break
    consumer.close()
    assert sorted((k, v) for k, v, _ in theirs) == sorted(sent)

    ours = server.ok("topic", "consume", "words", "-e", "-f", r"%k %s %p\n").splitlines()
    assert sorted(ours) == sorted(f"{k} {v} {p}" for k, v, p in theirs)


def test_formats_are_kcats(server):
    """Every field of a format string, over keys and values that are missing, empty and no text, and headers."""
    if not shutil.which("kcat"):
        pytest.skip("kcat is not installed: its formats were not compared with ours")
    server.create_topic("odd", 2)
    producer = Producer({"bootstrap.servers": server.kafka})
    for number in range(100):
        key = [None, b"", b"k%d" % number][number % 3]
        value = [b"v%d" % number, None, b"", b"\xff\xfe|"][number % 4]
        producer.produce("odd", value, key, headers=[("h", b"1"), ("g", None), ("h", b"")][: number % 4], partition=number % 2)
    assert producer.flush(30) == 0
    for form in (r"%t %p %o %k %s %T %S %K %h\n", r"%o%%\t%s\x41\n", r"%p:%K:%S\n"):
        theirs = subprocess.run(["kcat", "-b", server.kafka, "-C", "-t", "odd", "-e", "-q", "-f", form], capture_output=True, timeout=60)
        ours = subprocess.run([BINARY, "topic", "consume", "odd", "-e", "-f", form, "--server", server.ready["http"]], capture_output=True, timeout=60)
        assert sorted(ours.stdout.split(b"\n")) == sorted(theirs.stdout.split(b"\n")), form


def test_consume_begins_and_ends_where_it_is_told(server):
    server.create_topic("numbers", 1)
    feed(server, "".join(f"{i}\n" for i in range(10)), "topic", "produce", "numbers")
    assert server.ok("topic", "consume", "numbers", "-o", "-2", "-e").split() == ["8", "9"]
    assert server.ok("topic", "consume", "numbers", "-o", "3", "-c", "2").split() == ["3", "4"]
    (line,) = server.ok("topic", "consume", "numbers", "-o", "9", "-o", "json", "-e").splitlines()
    assert json.loads(line)["value"] == "9" and json.loads(line)["offset"] == 9
    written = json.loads(line)["timestamp"]
    assert server.ok("topic", "consume", "numbers", "-o", f"s@{written}", "-e").split()[-1] == "9"
    assert server.ok("topic", "consume", "numbers", "-o", f"s@{written + 1}", "-e") == ""
    assert len(server.ok("topic", "consume", "numbers", "-o", "s@2001-01-01T00:00:00", "-e").split()) == 10
    assert "is not a time" in server.run("topic", "consume", "numbers", "-o", "s@noon", "-e").stderr
    missing = server.run("topic", "consume", "nombers", "-e")
    assert missing.returncode == 1 and "Did you mean 'numbers'?" in missing.stderr
    assert server.run("topic", "consume", "numbers", "-f", "%q").returncode == 1
    assert server.run("topic", "consume").returncode == 2


def test_a_topic_is_altered(server):
    server.create_topic("words", 1)
    server.ok("topic", "alter", "words", "--config", "retention.ms=1234567", "--partitions", "4")
    shown = server.json("topic", "show", "words")
    assert shown["config"] == {"retention.ms": "1234567"} and len(shown["partitions"]) == 4
    server.ok("topic", "alter", "words", "--delete-config", "retention.ms")
    assert server.json("topic", "show", "words")["config"] == {}
    assert server.run("topic", "alter", "words", "--partitions", "2").returncode == 1


def test_a_group_is_reset_only_when_told_and_without_members(server):
    server.create_topic("numbers", 1)
    feed(server, "".join(f"{i}\n" for i in range(10)), "topic", "produce", "numbers")
    group = dict(bootstrap_servers=server.kafka, group_id="readers", auto_offset_reset="earliest", enable_auto_commit=False)
    consumer = KafkaConsumer("numbers", **group)
    wait_until(lambda: any(consumer.poll(500).values()), "the group reads")
    consumer.commit()
    busy = server.run("group", "reset-offsets", "readers", "--topic", "numbers", "--to-earliest", "--execute")
    assert busy.returncode == 1 and "members" in busy.stderr
    consumer.close()
    reset = ("group", "reset-offsets", "readers", "--topic", "numbers:0", "--shift-by", "-4")
    assert server.json(*reset)["partitions"] == [{"topic": "numbers", "partition": 0, "committed": 10, "new": 6}]
    assert server.json("group", "show", "readers")["partitions"][0]["committed"] == 10, "a dry run changed something"
    server.ok(*reset, "--execute")
    assert server.json("group", "show", "readers")["partitions"][0]["committed"] == 6
    server.ok("group", "delete", "readers")
    assert "readers" in server.json("group", "list")
    server.ok("group", "delete", "readers", "--execute")
    assert "readers" not in server.json("group", "list")
    server.ok("group", "reset-offsets", "fresh", "--topic", "numbers", "--to-offset", "3", "--execute")
    assert server.json("group", "show", "fresh")["partitions"][0]["committed"] == 3, "a group that did not exist is made, as by Kafka's tool"
    assert server.run("group", "delete", "nobody", "--execute").returncode == 1


def test_queries_from_files_as_csv_and_bounded(serve, folder):
    server = serve(tables.mapping(folder), ["--commit-interval", "1 s", "--query-memory", "16 MiB"])
    server.create_topic(inventory.TOPIC, 3)
    inventory.send(server.kafka, range(300), partitions=3)
    server.ok("run", REPOSITORY / "examples/inventory/inventory.sql", "--detach")
    wait_until(lambda: tables.rows(server.catalog, inventory.TABLE) == 300, "300 rows")
    assert inventory.TABLE in server.ok("sql", "-e", "SHOW TABLES")
    assert "quantity" in server.ok("sql", "-e", f"DESCRIBE {inventory.TABLE}")
    script = folder / "q.sql"
    script.write_text(f"SELECT count(*) AS n FROM {inventory.TABLE};\nSELECT 'a,\"b' AS t, NULL AS u -- ;\n")
    rows = list(csv.reader(io.StringIO(server.ok("sql", "-f", script, "-o", "csv"))))
    assert rows == [["n"], ["300"], ["t", "u"], ['a,"b', ""]]
    assert feed(server, "SELECT 1 AS one", "sql", "-f", "-", "-o", "csv") == "one\n1\n"
    cut = server.run("sql", "-e", f"SELECT quantity FROM {inventory.TABLE}", "--max-rows", "7", "-o", "json")
    assert len(json.loads(cut.stdout)["rows"]) == 7 and json.loads(cut.stdout)["truncated"]
    assert "only the first 7 rows" in cut.stderr
    big = "(SELECT value AS x FROM generate_series(1, 20000000))"
    greedy = server.run("sql", "-e", f"SELECT count(*) FROM {big} a JOIN {big} b ON a.x = b.x")
    assert greedy.returncode == 1 and "more memory" in greedy.stderr, greedy.stderr
    endless = server.run("sql", "-e", f"SELECT count(*) FROM {big} a CROSS JOIN {big} b WHERE a.x + b.x = 7", "--timeout", "1 s")
    assert endless.returncode == 1 and ("longer than 1 s" in endless.stderr or "more memory" in endless.stderr), endless.stderr
    assert server.json("sql", "-e", f"SELECT count(*) AS n FROM {inventory.TABLE}")["rows"] == [[300]]
    assert server.alive()


def test_a_catalog_that_is_down_is_left_out_of_the_lists_and_told(serve):
    server = serve('[catalogs]\nwest = { uri = "http://127.0.0.1:1" }\n')
    server.ok("sql", "-e", "SELECT 1")
    asked = "SELECT count(*) AS n FROM information_schema.{} WHERE table_schema <> 'information_schema'"
    for listed in ("tables", "columns"):
        answer = server.run("sql", "-e", asked.format(listed), "-o", "json")
        assert answer.returncode == 0 and json.loads(answer.stdout)["rows"] == [[0]], answer.stderr
        notice = "left out of information_schema: the tables of catalog 'west': no answer from http://127.0.0.1:1/v1/config"
        assert json.loads(answer.stdout)["notices"] == [notice]
        assert f"notice: {notice}\n" in answer.stderr
    named = server.run("sql", "-e", "SHOW TABLES IN west")
    assert named.returncode == 1 and named.stderr.startswith("error: no answer from"), named.stderr


def test_a_prompt_on_a_terminal(server):
    """A query may take several lines, a mistake is told and the next query asked for, \\q leaves."""
    ours, theirs = pty.openpty()
    prompt = subprocess.Popen([BINARY, "sql", "--server", server.ready["http"]], stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    os.close(theirs)
    os.write(ours, b"SHOW TABLES;\nSELECT nothing;\nSELECT 6 *\n  7 AS answer; SELECT 'a;b' AS t;\n\\q\n")
    out, told = prompt.communicate(timeout=60)
    os.close(ours)
    assert prompt.returncode == 0, told
    assert [line.strip() for line in out.splitlines()] == ["table", "answer", "42", "t", "a;b"], out
    assert "error: No field named nothing" in told and told.count("sql> ") == 4 and told.count("  -> ") == 1, told


def test_a_configuration_that_was_named_must_be_there(folder):
    done = subprocess.run([BINARY, "up", "--data-dir", folder / "data", "--config", folder / "nowhere.toml"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1 and "there is no configuration at" in done.stderr
