"""Files of JSON into a table: every record once over kills, audited against the files, and a file that was changed is not gone on with."""
import json

import tables
from lakeward import wait_until

FILES, RECORDS = 5, 60_000
SCRIPT = """
CREATE TABLE readings (n BIGINT, sensor INT, note STRING)
WITH ('connector' = 'filesystem', 'path' = 'file://{folder}', 'format' = 'json');
CREATE TABLE shop.readings (n BIGINT, sensor INT, note STRING)
WITH ('connector' = 'iceberg', 'catalog-name' = 'hive', 'warehouse' = 's3://lakehouse/', 'format-version' = '2');
INSERT INTO shop.readings SELECT n, sensor, note FROM readings WHERE MOD(n, 2) = 0;
"""
TABLE = "shop.readings"


def write(path, numbers):
    lines = [json.dumps({"n": n, "sensor": n % 7, "note": f"note {n}"}) for n in numbers]
    path.write_text("\n".join(lines) + "\n")


def count(server):
    return tables.query(server.catalog, f"SELECT count(*), count(DISTINCT n) FROM ice.{TABLE}")[0]


def test_files_are_read_once_over_kills_and_refused_when_they_change(serve, folder):
    server = serve(tables.mapping(folder), ["--commit-interval", "50 ms"])
    there = folder / "in"
    there.mkdir()
    for file in range(FILES):
        write(there / f"{file}.json", range(file * RECORDS, (file + 1) * RECORDS))
    (there / "_SUCCESS").write_text("")
    bad = there / "bad.json"
    bad.write_text('{"n": 1}\n{"n": \n')
    script = folder / "readings.sql"
    script.write_text(SCRIPT.format(folder=there))
    server.ok("run", script, "--detach")
    for _ in range(3):
        wait_until(lambda: tables.exists(server.catalog, TABLE), "the table")
        server.kill()
        server.start()
    half = FILES * RECORDS // 2
    wait_until(lambda: tables.rows(server.catalog, TABLE) == half, "the even ones of all files")
    assert count(server) == (half, half)
    wait_until(lambda: server.json("pipeline", "show", "readings")["state"] == "finished", "the end of the files")
    report = server.audit(TABLE)
    assert report["ok"] and report["totals"]["rows"] == half and report["totals"]["dead_letters"] == 1, report
    letters = tables.query(server.catalog, f'SELECT topic, "offset" FROM ice.{TABLE}__dead_letters')
    assert letters == [(str(bad), 1)], letters

    # Told to go on, it reads what came since, unless what it has read is something else now.
    first = there / "0.json"
    kept = first.read_text()
    first.write_text(kept.replace("note 7", "note 8", 1))
    write(there / "later.json", range(FILES * RECORDS, (FILES + 1) * RECORDS))
    server.ok("pipeline", "resume", "readings")
    failed = wait_until(lambda: (shown := server.json("pipeline", "show", "readings"))["state"] == "failed" and shown, "its refusal")
    assert failed["jobs"][0]["error"] == f"file '{first}' was changed", failed
    first.write_text(kept)
    server.ok("pipeline", "resume", "readings")
    wait_until(lambda: tables.rows(server.catalog, TABLE) == half + RECORDS // 2, "the new file")
    assert count(server) == (half + RECORDS // 2,) * 2
    assert server.audit(TABLE)["ok"]
