"""A pipeline of windows is saved, killed, and goes on from its savepoint elsewhere: no window has a row twice or too few."""
import inventory
import tables
from lakeward import wait_until
from test_windows import PARTITIONS, SCRIPT, TABLE, audited


def test_windows_go_on_from_a_savepoint_after_a_kill(serve, folder):
    server = serve(tables.mapping(folder), ["--commit-interval", "300 ms"])
    server.create_topic(inventory.TOPIC, PARTITIONS)
    file = folder / "windows.sql"
    file.write_text(SCRIPT.format(size=2))
    server.ok("run", file, "--detach")
    inventory.send(server.kafka, range(6000), partitions=PARTITIONS)
    audited(server, 6000)
    live = folder / "live"
    taken = server.json("pipeline", "savepoint", "windows", "--to", live)
    assert taken["folder"] == str(live) and sum(at["next"] for at in taken["offsets"]) == 6000, taken

    # It ran on: a start from there would write these rows a second time.
    inventory.send(server.kafka, range(6000, 12_000), partitions=PARTITIONS)
    audited(server, 12_000)
    refused = server.run("run", file, "--detach", "--from-savepoint", live)
    assert refused.returncode != 0 and "pipeline 'windows' is there already" in refused.stderr, refused.stderr
    refused = server.run("run", file, "--detach", "--from-savepoint", live, "--replace")
    assert refused.returncode != 0 and f"table '{TABLE}' is not where the savepoint left it" in refused.stderr, refused.stderr

    # Stopped with one, forgotten, and started from it, with a kill between any two of these; windows are open all the time.
    stopped = folder / "stopped"
    said = server.ok("pipeline", "stop", "windows", "--savepoint", "--to", stopped)
    assert f"savepoint: {stopped}" in said and "stopped" in said, said
    server.kill()
    server.start()
    server.ok("pipeline", "drop", "windows")
    inventory.send(server.kafka, range(12_000, 18_000), partitions=PARTITIONS)
    server.kill()
    server.start()
    file.write_text("SET 'parallelism.default' = '2';\n" + SCRIPT.format(size=2))
    started = server.run("run", file, "--detach", "--from-savepoint", stopped)
    assert started.returncode == 0, started.stderr
    assert "state of WindowAggregate" in started.stderr and f"({TABLE}): kept" in started.stderr, started.stderr
    server.kill()
    server.start()
    report = audited(server, 18_000)
    assert report["windows"]["compared"] >= 12 and report["windows"]["differ"] == 0 and report["totals"]["unverified"] == 0, report

    # A byte of it changes.
    state = stopped / "manifest-0.json"
    state.write_bytes(state.read_bytes().replace(b"kafka", b"kofka").replace(b'"rows"', b'"rowz"'))
    refused = server.run("run", file, "--detach", "--from-savepoint", stopped, "--replace")
    assert refused.returncode != 0 and "is damaged: manifest-0.json is not what it was" in refused.stderr, refused.stderr

    # Drained, every window has fired, and there is nothing left to go on in.
    drained = folder / "drained"
    server.ok("pipeline", "stop", "windows", "--savepoint", "--drain", "--to", drained)
    counted = tables.query(server.catalog, f"SELECT sum(n) FROM ice.{TABLE}")[0][0]
    assert counted == 18_000, "every record is in a window that has fired"
    server.ok("pipeline", "drop", "windows")
    refused = server.run("run", file, "--detach", "--from-savepoint", drained)
    assert refused.returncode != 0 and "event time has ended, and there is more to read" in refused.stderr, refused.stderr
