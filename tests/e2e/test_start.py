"""Starting, stopping, and how little it takes: loose bounds here, figures by `cargo xtask bench start`."""
import json

import requests

from lakeward import wait_until


def test_ready_file_names_sockets_that_answer(server):
    assert server.ready["pid"] == server.pid
    assert server.ready["warehouse"].startswith("file://")
    assert requests.get(server.ready["http"] + "/healthz", timeout=5).status_code == 200
    assert requests.get(server.registry + "/subjects", timeout=5).json() == []
    assert "defaults" in requests.get(server.catalog + "/v1/config", timeout=5).json()
    assert json.loads(server.ok("topic", "list", "-o", "json")) is not None
    # Ten times the promise: a loaded machine must not fail the suite, a start that waits for something must.
    assert server.ready_seconds < 3.0
    assert server.resident_bytes() < 200 << 20


def test_metrics_are_openmetrics_with_our_prefix(server):
    answer = requests.get(server.ready["http"] + "/metrics", timeout=5)
    assert answer.status_code == 200
    names = {line.split("{")[0].split(" ")[0] for line in answer.text.splitlines() if line and not line.startswith("#")}
    assert names and all(name.startswith("lakeward_") for name in names), sorted(names)[:10]
    assert answer.text.rstrip().endswith("# EOF")


def test_sigterm_ends_it_and_a_second_start_finds_everything(server):
    server.ok("topic", "create", "kept", "--partitions", "3")
    assert server.stop() == 0
    server.start()
    assert {"topic": "kept", "partitions": 3, "internal": False} in server.json("topic", "list")


def test_a_client_verb_without_a_server_says_what_to_start(server):
    server.stop()
    done = server.run("topic", "list")
    assert done.returncode == 1
    assert "lakeward up" in done.stderr and not done.stdout


def test_an_unknown_flag_is_a_usage_error(server):
    done = server.run("topic", "list", "--no-such-flag")
    assert done.returncode == 2
    wait_until(server.alive, "the server goes on", seconds=1)
