#!/usr/bin/env python3
"""Unmodified Iceberg engines on our REST catalog: DuckDB and PyIceberg write and read what they like, plain HTTP checks the rest.

Usage: catalog_readers.py --catalog http://127.0.0.1:8181 [--spark] [--trino] [CASE...]
Runs in the Python environment of `tests/peers/readers` (made on first use). Every case works in a namespace of its own and
drops it. `--spark` and `--trino` also ask those engines (slow to start). The last line is `N passed, M failed`; exit 1 unless M is 0."""
import argparse
import glob
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.error
import urllib.request
import uuid

READERS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "peers", "readers")
CASES = []


def into_environment():
    """Starts again in the readers' Python environment unless this is it."""
    try:
        import duckdb, pyiceberg  # noqa: F401, E401
    except ImportError:
        script = f"source {READERS}/lib.sh; venv"
        where = subprocess.run(["bash", "-c", script], check=True, capture_output=True, text=True).stdout.strip()
        python = os.path.join(where, "bin", "python")
        if os.environ.get("CATALOG_READERS_INSIDE"):
            raise
        os.environ["CATALOG_READERS_INSIDE"] = "1"
        os.execv(python, [python, *sys.argv])


def case(run):
    CASES.append(run)
    return run


class Http:
    """Plain requests: (status, parsed body)."""

    def __init__(self, base):
        self.base = base.rstrip("/") + "/v1"

    def __call__(self, method, path, body=None, headers=None):
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.base + path, data=data, method=method)
        for key, value in {"Content-Type": "application/json", **(headers or {})}.items():
            request.add_header(key, value)
        try:
            with urllib.request.urlopen(request) as answer:
                text = answer.read()
                self.headers = dict(answer.headers)
                return answer.status, json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            text = error.read()
            return error.code, json.loads(text) if text else None


def duck(context):
    import duckdb

    engine = duckdb.connect(config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"})
    for name in ("avro", "httpfs", "iceberg"):
        where = os.path.join(os.path.dirname(duckdb.__file__), "..", f"duckdb_extension_{name}", "extensions", "*", f"{name}.duckdb_extension")
        engine.execute(f"LOAD '{glob.glob(where)[0]}'")
    engine.execute(f"ATTACH 'wh' AS ice (TYPE iceberg, ENDPOINT '{context.catalog}', AUTHORIZATION_TYPE 'none')")
    return engine


def pyice(context):
    from pyiceberg.catalog import load_catalog

    return load_catalog("ours", type="rest", uri=context.catalog)


def same(got, expected):
    assert got == expected, f"got {got!r}, expected {expected!r}"


def rows(engine, query):
    return engine.execute(query).fetchall()


def table_body(name, **more):
    fields = [{"id": 1, "name": "id", "required": False, "type": "long"}, {"id": 2, "name": "v", "required": False, "type": "string"}]
    return {"name": name, "schema": {"type": "struct", "schema-id": 0, "fields": fields}, **more}


# DuckDB.


@case
def duckdb_creates_inserts_updates_deletes(context, ns):
    engine = duck(context)
    engine.execute(f"CREATE TABLE ice.{ns}.t (id BIGINT, v VARCHAR, d DATE)")
    engine.execute(f"INSERT INTO ice.{ns}.t SELECT i, 'v' || i, DATE '2026-01-01' FROM range(1000) r(i)")
    engine.execute(f"UPDATE ice.{ns}.t SET v = 'changed' WHERE id < 10")
    engine.execute(f"DELETE FROM ice.{ns}.t WHERE id >= 990")
    same(rows(engine, f"SELECT count(*), count(*) FILTER (v = 'changed'), max(id) FROM ice.{ns}.t"), [(990, 10, 989)])
    same(pyice(context).load_table((ns, "t")).scan().to_arrow().num_rows, 990)


@case
def duckdb_merges(context, ns):
    engine = duck(context)
    engine.execute(f"CREATE TABLE ice.{ns}.t (id BIGINT, v VARCHAR)")
    engine.execute(f"INSERT INTO ice.{ns}.t VALUES (1, 'a'), (2, 'b'), (3, 'c')")
    engine.execute(f"""MERGE INTO ice.{ns}.t USING (VALUES (2, 'B'), (4, 'D')) s(id, v) ON t.id = s.id
                       WHEN MATCHED THEN UPDATE SET v = s.v WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.v)""")
    same(rows(engine, f"SELECT * FROM ice.{ns}.t ORDER BY id"), [(1, "a"), (2, "B"), (3, "c"), (4, "D")])


@case
def duckdb_creates_as_select_and_partitions(context, ns):
    engine = duck(context)
    engine.execute(f"CREATE TABLE ice.{ns}.c AS SELECT i AS id, i % 3 AS k FROM range(100) r(i)")
    same(rows(engine, f"SELECT k, count(*) FROM ice.{ns}.c GROUP BY k ORDER BY k"), [(0, 34), (1, 33), (2, 33)])
    engine.execute(f"CREATE TABLE ice.{ns}.p (id BIGINT, d DATE) PARTITIONED BY (month(d), bucket(4, id))")
    engine.execute(f"INSERT INTO ice.{ns}.p SELECT i, DATE '2026-01-01' + (i % 90)::INT FROM range(500) r(i)")
    engine.execute(f"DELETE FROM ice.{ns}.p WHERE id % 2 = 1")
    same(rows(engine, f"SELECT count(*) FROM ice.{ns}.p"), [(250,)])
    same(pyice(context).load_table((ns, "p")).scan(row_filter="d >= '2026-02-01'").to_arrow().num_rows,
         rows(engine, f"SELECT count(*) FROM ice.{ns}.p WHERE d >= DATE '2026-02-01'")[0][0])


@case
def duckdb_alters_renames_drops(context, ns):
    engine = duck(context)
    engine.execute(f"CREATE TABLE ice.{ns}.t (id BIGINT, v VARCHAR)")
    engine.execute(f"INSERT INTO ice.{ns}.t VALUES (1, 'a')")
    engine.execute(f"ALTER TABLE ice.{ns}.t ADD COLUMN extra INTEGER")
    engine.execute(f"ALTER TABLE ice.{ns}.t RENAME COLUMN v TO w")
    engine.execute(f"INSERT INTO ice.{ns}.t VALUES (2, 'b', 7)")
    same(rows(engine, f"SELECT id, w, extra FROM ice.{ns}.t ORDER BY id"), [(1, "a", None), (2, "b", 7)])
    engine.execute(f"ALTER TABLE ice.{ns}.t RENAME TO u")
    same(rows(engine, f"SELECT count(*) FROM ice.{ns}.u"), [(2,)])
    # The old name is free, and its next table shares nothing with the renamed one.
    engine.execute(f"CREATE TABLE ice.{ns}.t (id BIGINT)")
    engine.execute(f"DROP TABLE ice.{ns}.t")
    same(rows(duck(context), f"SELECT count(*) FROM ice.{ns}.u"), [(2,)])
    same([name for _, name in pyice(context).list_tables(ns)], ["u"])


@case
def duckdb_transactions_span_tables(context, ns):
    engine = duck(context)
    engine.execute(f"CREATE TABLE ice.{ns}.a (id BIGINT)")
    engine.execute("BEGIN")
    engine.execute(f"INSERT INTO ice.{ns}.a VALUES (1)")
    engine.execute(f"CREATE TABLE ice.{ns}.b AS SELECT 2 AS id")
    engine.execute("COMMIT")
    engine.execute("BEGIN")
    engine.execute(f"INSERT INTO ice.{ns}.a VALUES (9)")
    engine.execute("ROLLBACK")
    same(rows(engine, f"SELECT * FROM ice.{ns}.a UNION ALL SELECT * FROM ice.{ns}.b"), [(1,), (2,)])


# PyIceberg.


@case
def pyiceberg_writes_what_duckdb_reads(context, ns):
    import pyarrow as pa

    catalog = pyice(context)
    schema = pa.schema([("id", pa.int64()), ("name", pa.string()), ("at", pa.timestamp("us", "UTC")), ("amount", pa.decimal128(10, 2)), ("tags", pa.list_(pa.string()))])
    table = catalog.create_table((ns, "t"), schema=schema)
    from decimal import Decimal
    from datetime import datetime, timezone

    at = datetime(2026, 1, 1, tzinfo=timezone.utc)
    table.append(pa.Table.from_pylist([{"id": i, "name": f"n{i}", "at": at, "amount": Decimal("1.25"), "tags": ["x", None]} for i in range(50)], schema))
    table.delete("id < 10")
    table.upsert(pa.Table.from_pylist([{"id": 10, "name": "ten", "at": at, "amount": Decimal("2.50"), "tags": []}, {"id": 99, "name": "new", "at": None, "amount": None, "tags": None}], schema), join_cols=["id"])
    engine = duck(context)
    same(rows(engine, f"SELECT count(*), sum(amount)::VARCHAR, max(name) FILTER (id = 10) FROM ice.{ns}.t"), [(41, "51.25", "ten")])
    with table.update_schema() as update:
        update.add_column("note", __import__("pyiceberg.types", fromlist=["StringType"]).StringType())
        update.rename_column("name", "label")
    with table.transaction() as transaction:
        transaction.set_properties({"a": "b"})
    same(catalog.load_table((ns, "t")).properties.get("a"), "b")
    same(rows(duck(context), f"SELECT label, note FROM ice.{ns}.t WHERE id = 10"), [("ten", None)])


@case
def pyiceberg_namespaces_and_tables(context, ns):
    import pyarrow as pa
    from pyiceberg.exceptions import NamespaceAlreadyExistsError, NamespaceNotEmptyError, NoSuchNamespaceError, NoSuchTableError, TableAlreadyExistsError

    catalog = pyice(context)

    def raises(kind, run):
        try:
            run()
        except kind:
            return
        raise AssertionError(f"no {kind.__name__}")

    raises(NamespaceAlreadyExistsError, lambda: catalog.create_namespace(ns))
    raises(NoSuchNamespaceError, lambda: catalog.list_tables("nowhere"))
    nested = (ns, "inner")
    catalog.create_namespace(nested, {"k": "v"})
    properties = lambda: {key: value for key, value in catalog.load_namespace_properties(nested).items() if key != "location"}
    same(properties(), {"k": "v"})
    same(catalog.list_namespaces(ns), [nested])
    catalog.update_namespace_properties(nested, removals={"k"}, updates={"l": "w"})
    same(properties(), {"l": "w"})
    table = catalog.create_table((*nested, "t"), schema=pa.schema([("id", pa.int64())]))
    raises(TableAlreadyExistsError, lambda: catalog.create_table((*nested, "t"), schema=pa.schema([("id", pa.int64())])))
    raises(NamespaceNotEmptyError, lambda: catalog.drop_namespace(nested))
    raises(NoSuchTableError, lambda: catalog.load_table((ns, "none")))
    same(catalog.table_exists((*nested, "t")), True)
    catalog.rename_table((*nested, "t"), (ns, "moved"))
    table = catalog.load_table((ns, "moved"))
    catalog.drop_table((ns, "moved"))
    catalog.register_table((ns, "again"), table.metadata_location)
    same(catalog.load_table((ns, "again")).metadata.table_uuid, table.metadata.table_uuid)
    catalog.purge_table((ns, "again"))
    same(os.path.exists(table.metadata_location.removeprefix("file://")), False)
    catalog.drop_namespace(nested)
    same(catalog.namespace_exists(nested), False)


@case
def concurrent_writers_lose_nothing(context, ns):
    import pyarrow as pa

    catalog = pyice(context)
    catalog.create_table((ns, "t"), schema=pa.schema([("writer", pa.int64()), ("n", pa.int64())]))
    done, lock = [], threading.Lock()

    def append(writer):
        table = pyice(context).load_table((ns, "t"))
        for n in range(5):
            try:
                table.refresh().append(pa.table({"writer": [writer], "n": [n]}))
                with lock:
                    done.append((writer, n))
            except Exception as error:  # a refusal is allowed, a lie is not
                assert "CommitFailed" in type(error).__name__ or "409" in str(error) or "changed" in str(error), error

    def insert(writer):
        engine = duck(context)
        for n in range(5):
            try:
                engine.execute(f"INSERT INTO ice.{ns}.t VALUES ({writer}, {n})")
                with lock:
                    done.append((writer, n))
            except Exception as error:
                assert "ommit" in str(error), error

    threads = [threading.Thread(target=append, args=(w,)) for w in (1, 2)] + [threading.Thread(target=insert, args=(w,)) for w in (3, 4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    got = sorted(tuple(row.values()) for row in catalog.load_table((ns, "t")).scan().to_arrow().to_pylist())
    same(got, sorted(done))
    assert len(done) >= 5, f"only {len(done)} of 20 got through"


# Plain HTTP.


@case
def configuration_and_errors_are_the_protocols(context, ns):
    http = context.http
    status, config = http("GET", "/config?warehouse=anything")
    same((status, config["overrides"]["warehouse"].startswith("file:///")), (200, True))
    assert "POST /v1/{prefix}/transactions/commit" in config["endpoints"], config
    same(http("POST", "/oauth/tokens")[1]["token_type"], "bearer")
    same(http("HEAD", f"/namespaces/{ns}")[0], 204)
    same(http("HEAD", "/namespaces/none")[0], 404)
    missing = http("GET", f"/namespaces/{ns}/tables/none")
    same(missing, (404, {"error": {"message": f"Table does not exist: {ns}.none", "type": "NoSuchTableException", "code": 404}}))
    same(http("GET", f"/namespaces/{ns}/views")[1], {"identifiers": [], "next-page-token": None})
    same(http("GET", f"/namespaces/{ns}/views/v")[1]["error"]["type"], "NoSuchViewException")
    same(http("POST", f"/namespaces/{ns}/tables", {"nonsense": 1})[1]["error"]["type"], "BadRequestException")
    same(http("POST", "/namespaces", {"namespace": [ns]})[1]["error"]["type"], "AlreadyExistsException")
    same(http("POST", f"/namespaces/{ns}/properties", {"removals": ["a"], "updates": {"a": "b"}})[0], 422)
    same(http("POST", f"/namespaces/{ns}/tables", table_body("../y"))[0], 400)
    same(http("GET", "/nowhere")[1]["error"]["type"], "BadRequestException")


@case
def lists_come_in_pages(context, ns):
    http = context.http
    for i in range(7):
        same(http("POST", f"/namespaces/{ns}/tables", table_body(f"t{i}"))[0], 200)
    seen, token = [], ""
    while token is not None:
        _, page = http("GET", f"/namespaces/{ns}/tables?pageSize=3&pageToken={token}")
        assert len(page["identifiers"]) <= 3, page
        seen += [table["name"] for table in page["identifiers"]]
        token = page["next-page-token"]
    same(seen, [f"t{i}" for i in range(7)])


@case
def unchanged_tables_are_not_sent_again(context, ns):
    http = context.http
    http("POST", f"/namespaces/{ns}/tables", table_body("t"))
    same(http("GET", f"/namespaces/{ns}/tables/t")[0], 200)
    tag = {key.lower(): value for key, value in http.headers.items()}["etag"]
    same(http("GET", f"/namespaces/{ns}/tables/t", headers={"If-None-Match": tag})[0], 304)


@case
def a_transaction_is_all_or_nothing(context, ns):
    http = context.http
    uuids = {}
    for name in ("a", "b"):
        uuids[name] = http("POST", f"/namespaces/{ns}/tables", table_body(name))[1]["metadata"]["table-uuid"]

    def change(name, table_uuid):
        return {"identifier": {"namespace": [ns], "name": name}, "requirements": [{"type": "assert-table-uuid", "uuid": table_uuid}],
                "updates": [{"action": "set-properties", "updates": {"mark": "1"}}]}

    status, body = http("POST", "/transactions/commit", {"table-changes": [change("a", uuids["a"]), change("b", str(uuid.uuid4()))]})
    same((status, body["error"]["type"]), (409, "CommitFailedException"))
    marks = [http("GET", f"/namespaces/{ns}/tables/{name}")[1]["metadata"].get("properties", {}).get("mark") for name in ("a", "b")]
    same(marks, [None, None])
    same(http("POST", "/transactions/commit", {"table-changes": [change("a", uuids["a"]), change("b", uuids["b"])]})[0], 204)
    marks = [http("GET", f"/namespaces/{ns}/tables/{name}")[1]["metadata"]["properties"].get("mark") for name in ("a", "b")]
    same(marks, ["1", "1"])


@case
def every_requirement_is_checked(context, ns):
    http = context.http
    _, made = http("POST", f"/namespaces/{ns}/tables", table_body("t"))
    good = [
        {"type": "assert-table-uuid", "uuid": made["metadata"]["table-uuid"]},
        {"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": None},
        {"type": "assert-last-assigned-field-id", "last-assigned-field-id": 2},
        {"type": "assert-current-schema-id", "current-schema-id": 0},
        {"type": "assert-last-assigned-partition-id", "last-assigned-partition-id": 999},
        {"type": "assert-default-spec-id", "default-spec-id": 0},
        {"type": "assert-default-sort-order-id", "default-sort-order-id": 0},
    ]
    bad = [
        {"type": "assert-create"},
        {"type": "assert-table-uuid", "uuid": str(uuid.uuid4())},
        {"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": 5},
        {"type": "assert-last-assigned-field-id", "last-assigned-field-id": 9},
        {"type": "assert-current-schema-id", "current-schema-id": 9},
        {"type": "assert-last-assigned-partition-id", "last-assigned-partition-id": 9},
        {"type": "assert-default-spec-id", "default-spec-id": 9},
        {"type": "assert-default-sort-order-id", "default-sort-order-id": 9},
    ]
    path, updates = f"/namespaces/{ns}/tables/t", [{"action": "set-properties", "updates": {"k": "v"}}]
    same(http("POST", path, {"requirements": good, "updates": updates})[0], 200)
    for requirement in bad:
        status, body = http("POST", path, {"requirements": [requirement], "updates": updates})
        same((requirement["type"], status, body["error"]["type"]), (requirement["type"], 409, "CommitFailedException"))
    same(http("POST", path, {"requirements": [{"type": "assert-moon-phase"}], "updates": []})[0], 400)
    same(http("POST", path, {"requirements": [], "updates": [{"action": "paint-it-black"}]})[0], 400)


def view_body(name, sql, number=1):
    version = {"version-id": number, "schema-id": 0, "timestamp-ms": int(time.time() * 1000), "summary": {}, "default-namespace": [],
               "representations": [{"type": "sql", "sql": sql, "dialect": "spark"}]}
    return {"name": name, "schema": table_body(name)["schema"], "view-version": version, "properties": {}}


@case
def views_are_kept_beside_tables(context, ns):
    http, catalog = context.http, pyice(context)
    made = http("POST", f"/namespaces/{ns}/views", view_body("v", "SELECT 1"))
    same((made[0], made[1]["metadata"]["location"].startswith("file:///")), (200, True))
    same(http("POST", f"/namespaces/{ns}/tables", table_body("v"))[1]["error"]["message"], f"View with same name already exists: {ns}.v")
    updates = [{"action": "add-view-version", "view-version": view_body("v", "SELECT 2", 2)["view-version"]}, {"action": "set-current-view-version", "view-version-id": -1}]
    requirements = [{"type": "assert-view-uuid", "uuid": made[1]["metadata"]["view-uuid"]}]
    same(http("POST", f"/namespaces/{ns}/views/v", {"requirements": requirements, "updates": updates})[0], 200)
    loaded = http("GET", f"/namespaces/{ns}/views/v")[1]["metadata"]
    same([version["representations"][0]["sql"] for version in loaded["versions"]], ["SELECT 1", "SELECT 2"])
    source, destination = ({"namespace": [ns], "name": name} for name in "vw")
    same(http("POST", "/views/rename", {"source": source, "destination": destination})[0], 204)
    same((catalog.view_exists((ns, "v")), catalog.view_exists((ns, "w"))), (False, True))
    same(catalog.list_views(ns), [(ns, "w")])
    same(catalog.list_tables(ns), [])
    catalog.drop_view((ns, "w"))
    same(http("HEAD", f"/namespaces/{ns}/views/w")[0], 404)


@case
def staged_tables_exist_only_after_their_commit(context, ns):
    http = context.http
    status, staged = http("POST", f"/namespaces/{ns}/tables", table_body("s", **{"stage-create": True}))
    same((status, "metadata-location" in staged), (200, False))
    location = staged["metadata"]["location"]
    same(os.path.isdir(location.removeprefix("file://") + "/metadata"), True)
    same(http("HEAD", f"/namespaces/{ns}/tables/s")[0], 404)
    updates = [
        {"action": "assign-uuid", "uuid": staged["metadata"]["table-uuid"]},
        {"action": "upgrade-format-version", "format-version": 2},
        {"action": "add-schema", "schema": staged["metadata"]["schemas"][0], "last-column-id": 2},
        {"action": "set-current-schema", "schema-id": -1},
        {"action": "add-spec", "spec": {"spec-id": 0, "fields": []}},
        {"action": "set-default-spec", "spec-id": -1},
        {"action": "add-sort-order", "sort-order": {"order-id": 0, "fields": []}},
        {"action": "set-default-sort-order", "sort-order-id": -1},
    ]
    status, made = http("POST", f"/namespaces/{ns}/tables/s", {"requirements": [{"type": "assert-create"}], "updates": updates})
    same((status, made["metadata"]["location"], made["metadata"]["table-uuid"]), (200, location, staged["metadata"]["table-uuid"]))
    same(http("POST", f"/namespaces/{ns}/tables/s", {"requirements": [{"type": "assert-create"}], "updates": updates})[0], 409)


@case
def metadata_files_do_not_pile_up(context, ns):
    http = context.http
    properties = {"write.metadata.previous-versions-max": "3", "write.metadata.delete-after-commit.enabled": "true"}
    _, made = http("POST", f"/namespaces/{ns}/tables", table_body("t", properties=properties))
    for i in range(10):
        http("POST", f"/namespaces/{ns}/tables/t", {"requirements": [], "updates": [{"action": "set-properties", "updates": {"k": str(i)}}]})
    folder = made["metadata"]["location"].removeprefix("file://") + "/metadata"
    same(len([name for name in os.listdir(folder) if name.endswith(".metadata.json")]), 4)


# Spark and Trino, when asked.


def all_readers(context, ns, table, reader_arguments):
    answer = subprocess.run([os.path.join(READERS, "check-table"), "--catalog", context.catalog, "--brief", *reader_arguments, f"{ns}.{table}"], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def spark_reads_and_writes(context, ns):
    engine = duck(context)
    engine.execute(f"CREATE TABLE ice.{ns}.t AS SELECT i AS id, 'v' || i AS v FROM range(100) r(i)")
    engine.execute(f"DELETE FROM ice.{ns}.t WHERE id < 5")
    script = f"CREATE TABLE {ns}.s (id BIGINT, v STRING) USING iceberg; INSERT INTO {ns}.s SELECT * FROM {ns}.t; ALTER TABLE {ns}.s ADD COLUMN w INT; DELETE FROM {ns}.s WHERE id >= 95; SELECT count(*) AS n FROM {ns}.s"
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        answer = subprocess.run([os.path.join(READERS, "spark"), "sql", "--catalog", context.catalog, file.name], capture_output=True, text=True)
    assert answer.returncode == 0 and json.loads(answer.stdout.strip().splitlines()[-1]) == {"n": 90}, answer.stdout + answer.stderr[-2000:]
    all_readers(context, ns, "s", [])


def trino_reads_and_writes(context, ns):
    engine = duck(context)
    engine.execute(f"CREATE TABLE ice.{ns}.t AS SELECT i AS id, 'v' || i AS v FROM range(100) r(i)")
    with tempfile.TemporaryDirectory() as folder:
        trino = os.path.join(READERS, "trino")
        subprocess.run([trino, "up", folder, "--catalog", context.catalog], check=True, capture_output=True)
        try:
            for query in (f"CREATE TABLE {ns}.s AS SELECT * FROM {ns}.t", f"DELETE FROM {ns}.s WHERE id < 10", f"INSERT INTO {ns}.s VALUES (1000, 'x')"):
                answer = subprocess.run([trino, "sql", folder, query], capture_output=True, text=True)
                assert answer.returncode == 0, answer.stdout + answer.stderr
            all_readers(context, ns, "s", ["--trino", folder, "--readers", "duckdb,pyiceberg,trino"])
        finally:
            subprocess.run([trino, "down", folder], capture_output=True)


def clean(context, ns):
    catalog = pyice(context)
    for table in catalog.list_tables(ns):
        catalog.purge_table(table)
    for nested in catalog.list_namespaces(ns):
        catalog.drop_namespace(nested)
    catalog.drop_namespace(ns)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help="only these")
    parser.add_argument("--catalog", required=True, metavar="URL")
    parser.add_argument("--spark", action="store_true")
    parser.add_argument("--trino", action="store_true")
    context = parser.parse_args()
    context.http = Http(context.catalog)
    cases = CASES + [spark_reads_and_writes] * context.spark + [trino_reads_and_writes] * context.trino
    passed = failed = 0
    for number, run in enumerate(cases):
        if context.cases and run.__name__ not in context.cases:
            continue
        ns, begun = f"case{number}_{os.getpid()}", time.time()
        try:
            pyice(context).create_namespace(ns)
            run(context, ns)
            clean(context, ns)
            passed += 1
            print(f"ok      {run.__name__} ({time.time() - begun:.1f} s)", flush=True)
        except Exception:
            failed += 1
            print(f"FAILED  {run.__name__}\n{traceback.format_exc()}", flush=True)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    into_environment()
    main()
