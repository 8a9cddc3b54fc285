"""Stock dbt on a live stream: bronze is streamed, dbt makes silver and gold of it in rounds, and gold is what the produced file says."""
import glob
import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from datetime import datetime, timezone
from pathlib import Path

import duckdb
import pytest

import governed
import tables
from lakeward import REPOSITORY, wait_until

SCRIPT = REPOSITORY / "examples/inventory/governed.sql"
PINS = REPOSITORY / "dbt/requirements.txt"
ROUNDS = int(os.environ.get("LAKEWARD_E2E_DBT_ROUNDS", 3))
SILVER, GOLD = "silver.inventory_events", "gold.daily_movements"


@pytest.fixture(scope="session")
def dbt_environment():
    """dbt in an environment of its own (it would pull the cases' pins about), with the folder that DuckDB finds its extensions in."""
    place = Path(os.environ["LAKEWARD_CACHE"]) / f"e2e-dbt-{hashlib.sha256(PINS.read_bytes()).hexdigest()[:16]}"
    if not (place / "complete").exists():
        shutil.rmtree(place, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        subprocess.run([str(place / "bin/pip"), "install", "--quiet", "--requirement", str(PINS)], check=True)
        (place / "complete").touch()
    extensions = place / "extensions"
    site = Path(duckdb.__file__).parent.parent
    for file in glob.glob(str(site / "duckdb_extension_*/extensions/*/*.duckdb_extension")):
        version = Path(file).parent.name
        platform = duckdb.sql("PRAGMA platform").fetchone()[0]
        there = extensions / version / platform / Path(file).name
        if not there.exists():
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, there)
    return {
        "PATH": f"{place / 'bin'}:{os.environ['PATH']}", "DUCKDB_EXTENSION_DIRECTORY": str(extensions),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false", "DBT_PROFILES_DIR": ".",
    }


class Project:
    """What `lakeward dbt init` wrote, with its packages installed."""

    def __init__(self, server, folder, environment, catalog=None):
        self.place = folder / "project"
        server.ok("dbt", "init", self.place)
        self.environment = {**os.environ, **environment, "LAKEWARD_CATALOG": catalog or server.catalog}
        self.ok("dbt", "deps")

    def run(self, *command):
        return subprocess.run(command, cwd=self.place, env=self.environment, capture_output=True, text=True, timeout=300)

    def ok(self, *command):
        done = self.run(*command)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def build(self, *arguments):
        return self.ok(sys.executable, "build.py", *arguments)


@pytest.fixture
def streamed(serve, folder):
    """A server whose pipeline `governed` has 1,000 events in bronze, and the producer that has more."""
    server = serve(tables.mapping(folder), ["--commit-interval", "500 ms"])
    server.create_topic(governed.TOPIC, 4)
    stream = governed.Stream(server, folder / "produced.jsonl")
    stream.send(1000)
    server.ok("run", SCRIPT, "--detach")
    wait_until(lambda: tables.rows(server.catalog, governed.BRONZE) == stream.deliveries, "the first events in bronze")
    return server, stream


def truth(folder):
    """Gold as the produced file says it."""
    file, seeds = folder / "produced.jsonl", REPOSITORY / "examples/inventory/dbt/seeds/warehouses.csv"
    return duckdb.sql(f"""
        SELECT make_timestamp(event_time * 1000)::DATE AS day, warehouse_id, city, count(*) AS events,
               sum(CASE event_type WHEN 'received' THEN quantity WHEN 'returned' THEN quantity WHEN 'shipped' THEN -quantity ELSE 0 END)::BIGINT AS movement
        FROM (SELECT DISTINCT * FROM read_json('{file}', format = 'newline_delimited')) LEFT JOIN read_csv('{seeds}') USING (warehouse_id)
        GROUP BY ALL ORDER BY ALL""").fetchall()


def gold(server):
    return tables.query(server.catalog, f"SELECT day, warehouse_id, city, events, movement FROM ice.{GOLD} ORDER BY ALL")


def by_hour(server):
    return tables.query(server.catalog, "SELECT hour, warehouse_id, deliveries, repeated FROM ice.gold.deliveries_by_hour ORDER BY ALL")


def hours_of_bronze(server):
    """The same, of the rows that are there, by arithmetic in Python."""
    deliveries = {}
    for stamp, warehouse, event in tables.query(server.catalog, f"SELECT epoch_ms(recorded_at), warehouse_id, event_id FROM ice.{governed.BRONZE}"):
        hour = datetime.fromtimestamp(stamp // 3_600_000 * 3600, timezone.utc).replace(tzinfo=None)
        deliveries.setdefault((hour, warehouse), []).append(event)
    return sorted((*key, len(events), len(events) - len(set(events))) for key, events in deliveries.items())


def test_gold_is_what_was_produced_late_and_repeated_events_too(streamed, folder, dbt_environment):
    server, stream = streamed
    project = Project(server, folder, dbt_environment)
    stream.start()
    try:
        for _ in range(ROUNDS):
            project.build("--vars", "article: true")
    finally:
        stream.stop()
    project.ok("dbt", "source", "freshness")
    wait_until(lambda: tables.rows(server.catalog, governed.BRONZE) == stream.deliveries, "the whole stream in bronze")
    project.build("--vars", "article: true")
    assert gold(server) == truth(folder)
    assert by_hour(server) == hours_of_bronze(server)
    held = tables.query(server.catalog, f"SELECT count(*), count(DISTINCT event_id) FROM ice.{SILVER}")
    assert held == [(stream.sent, stream.sent)]

    # The article's own filter read none of the late events that came after its first build.
    lost = tables.query(server.catalog, f"SELECT event_id FROM ice.{SILVER} EXCEPT SELECT event_id FROM ice.article.inventory_by_time ORDER BY 1")
    late = [int(event_id.removeprefix("e-")) % governed.LATE == governed.LATE - 1 for event_id, in lost]
    assert sum(late) >= 5 and sum(late) > len(late) / 2, (sum(late), len(late))

    # DuckDB gives times with a zone to Python through a module that is not there.
    silver = f"SELECT * REPLACE (epoch_us(recorded_at) AS recorded_at) FROM ice.{SILVER} ORDER BY event_id"
    before = tables.query(server.catalog, silver)
    project.build("--full-refresh")
    assert gold(server) == truth(folder)
    assert tables.query(server.catalog, silver) == before
    assert server.audit(governed.BRONZE)["ok"]


def test_the_projects_test_notices_an_event_that_a_model_has_not_kept(streamed, folder, dbt_environment):
    server, _ = streamed
    project = Project(server, folder, dbt_environment)
    project.build()
    with tables.duck(server.catalog) as engine:
        engine.execute(f"DELETE FROM ice.{SILVER} WHERE event_id IN ('e-0000007', 'e-0000008')")
    done = project.run("dbt", "test")
    assert done.returncode == 1 and "Got 2 results" in done.stdout and "holds_what_it_read" in done.stdout, done.stdout


class Refusing:
    """A catalog in front of ours that refuses the next so many commits of a table's data, as if another writer had been first."""

    def __init__(self, catalog):
        self.catalog, self.refusals, self.refused = catalog, 0, []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                length = int(self.headers.get("Content-Length") or 0)
                status, kind, body = outer.ask(self.command, self.path, dict(self.headers), self.rfile.read(length))
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_DELETE = do_HEAD = answer

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def ask(self, method, path, headers, body):
        if self.refusals and method == "POST" and b"add-snapshot" in body:
            self.refusals -= 1
            self.refused.append(path)
            error = {"message": "Requirement failed: branch main has changed", "type": "CommitFailedException", "code": 409}
            return 409, "application/json", json.dumps({"error": error}).encode()
        forwarded = {name: value for name, value in headers.items() if name.lower() not in ("host", "content-length", "connection")}
        request = urllib.request.Request(self.catalog + path, body or None, forwarded, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as done:
                return done.status, done.headers.get("Content-Type", "application/json"), done.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers.get("Content-Type", "application/json"), error.read()


def test_a_model_that_lost_a_race_is_run_again(streamed, folder, dbt_environment):
    server, stream = streamed
    catalog = Refusing(server.catalog)
    project = Project(server, folder, dbt_environment, catalog.address)
    catalog.refusals = 2
    done = project.run(sys.executable, "build.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(catalog.refused) == 2 and "another writer was first" in done.stderr
    assert gold(server) == truth(folder)

    # Another failure is nobody's race: it is not tried again.
    (project.place / "models/gold/broken.sql").write_text("select no_such_column from {{ ref('inventory_events') }}")
    done = project.run(sys.executable, "build.py")
    assert done.returncode == 1 and "another writer" not in done.stderr, done.stdout + done.stderr
