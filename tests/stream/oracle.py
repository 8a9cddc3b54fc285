"""Runs the cases of tests/stream on the real Apache Flink, and compares with what they say.

    oracle.py PATH… [--capture]        by way of `cargo xtask oracle [AREA|FILE]… [--capture]`

The case's script runs as it stands. Its records are produced to a broker of ours, Flink's own Kafka connector reads them from there, and
the registry of the same server has the schemas; `ALTER TABLE` says where that is, and puts a sink that prints in the place of each sink.
One JVM serves all cases. Where a job fails, it is run again for each record alone: those that fail are the ones that become dead
letters here.

Without `--capture` nothing is written; with it Flink's answers go into the cases.
"""
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))
import requests  # noqa: E402
from confluent_kafka import Producer  # noqa: E402
from confluent_kafka.admin import AdminClient, NewTopic  # noqa: E402
from lakeward import BINARY, Server  # noqa: E402

FLINK = HERE.parent / "peers/flink/flink"
CAPTURED = "-- Captured from Apache Flink 2.3.0."


class Flink:
    """One JVM that runs script after script."""

    def __init__(self):
        self.log = tempfile.TemporaryFile("w+")
        self.jvm = subprocess.Popen([FLINK, "sql", "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True)

    def ask(self, script, reset=False):
        """What a script printed: JSON lines. With `reset` it runs in a new environment."""
        self.jvm.stdin.write(script.rstrip() + "\n" + (";;reset" if reset else ";;") + "\n")
        self.jvm.stdin.flush()
        lines = []
        for line in self.jvm.stdout:
            # Numbers are text: 1.50 is not 1.5.
            told = json.loads(line, parse_float=str, parse_int=str)
            if told.get("done"):
                return lines
            lines.append(told)
        self.log.seek(0)
        sys.exit(f"Flink ended: {self.log.read()[-3000:]}")

    def ddl(self, script, reset=False):
        """Runs statements that must not fail."""
        for line in self.ask(script, reset):
            if "error" in line:
                raise Refused(cause(line))

    def close(self):
        self.jvm.stdin.close()
        self.jvm.wait()


class Refused(Exception):
    pass


def cause(line):
    """The innermost failure, as `Class: message`, in one line."""
    text = line["error"][-1]
    name, _, message = text.partition(": ")
    message = re.sub(r" at \[Source: .*", "", " ".join(message.split()))
    return f"{name.rsplit('.', 1)[-1].rsplit('$', 1)[-1]}: {message}"[:300]


def statements(script):
    """Splits at semicolons outside quotes and comments; comments are left out."""
    parts, current = [], ""
    for token in re.findall(r"--[^\n]*|/\*(?!\+).*?\*/|'(?:[^']|'')*'|`[^`]*`|;|[^-/'`;]+|.", script, re.DOTALL):
        if token == ";":
            opened = re.match(r"\s*(EXECUTE\s+STATEMENT\s+SET\s+BEGIN|BEGIN\s+STATEMENT\s+SET)\b", current, re.I)
            if opened and not re.search(r"\bEND\s*$", current, re.I):
                current += token
                continue
            parts.append(current)
            current = ""
        elif not token.startswith("--") and not (token.startswith("/*") and not token.startswith("/*+")):
            current += token
    return [part.strip() for part in parts + [current] if part.strip()]


class Script:
    """A case's script, taken apart."""

    def __init__(self, sql):
        self.before, self.inserts, self.sources, self.databases = [], [], {}, set()
        for statement in statements(sql):
            if re.match(r"INSERT\s", statement, re.I):
                self.inserts.append(statement)
                continue
            together = re.match(r"(?:EXECUTE\s+STATEMENT\s+SET\s+BEGIN|BEGIN\s+STATEMENT\s+SET\s*;)(.*)\bEND$", statement, re.I | re.DOTALL)
            if together:
                # A record that fails one INSERT of a set ends the job of all: each is asked for by itself.
                self.inserts += statements(together.group(1))
                continue
            self.before.append(statement)
            created = re.match(r"CREATE\s+TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?([\w.`]+)", statement, re.I)
            if created:
                name = created.group(1).replace("`", "")
                if "." in name:
                    self.databases.add(name.rsplit(".", 1)[0])
                if re.search(r"'connector'\s*=\s*'kafka'", statement):
                    self.sources[name] = statement
        text = " ".join(self.inserts)
        self.sinks = {name.replace("`", "") for name in re.findall(r"INSERT\s+INTO\s+([\w.`]+)", text, re.I)}

    def sources_of(self, insert):
        """The Kafka tables that a statement names, by itself or through a view."""
        views = {}
        for statement in self.before:
            view = re.match(r"CREATE\s+(?:TEMPORARY\s+)?VIEW\s+(?:IF\s+NOT\s+EXISTS\s+)?([\w.`]+)(.*)", statement, re.I | re.DOTALL)
            if view:
                views[view.group(1).replace("`", "")] = view.group(2)
        found, texts = set(), [re.sub(r"INSERT\s+INTO\s+[\w.`]+", " ", insert, flags=re.I)]
        while texts:
            words = set(re.findall(r"[\w.]+", re.sub(r"'[^']*'", "", texts.pop()).replace("`", "")))
            found |= words & self.sources.keys()
            texts += [views.pop(word) for word in words & views.keys()]
        return sorted(found)


class World:
    """A server of ours with the records of one case."""

    def __init__(self, case, folder):
        self.case = case
        self.server = Server(folder).start()
        admin = AdminClient({"bootstrap.servers": self.server.kafka})
        topics = [NewTopic(name, count, 1, config={"retention.ms": "-1"}) for name, count in case["topics"].items()]
        for made in admin.create_topics(topics).values() if topics else []:
            made.result()
        for number, (subject, text) in enumerate(case["schemas"], 1):
            answer = requests.post(f"{self.server.registry}/subjects/{subject}/versions", json={"schema": text})
            assert answer.json().get("id") == number, f"schema {subject}: {answer.text}"
        producer = Producer({"bootstrap.servers": self.server.kafka, "linger.ms": 0})
        self.next = {}
        for record in case["records"]:
            place = (record["topic"], record["partition"])
            record["offset"] = self.next.get(place, 0)
            self.next[place] = record["offset"] + 1
            producer.produce(
                record["topic"],
                partition=record["partition"],
                timestamp=record["timestamp"],
                key=None if record["key"] is None else bytes.fromhex(record["key"]),
                value=None if record["value"] is None else bytes.fromhex(record["value"]),
                headers=[(name, bytes.fromhex(value)) for name, value in record["headers"]],
            )
            # One after the other: the order of the case is the order of the log.
            assert producer.flush(30) == 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.kill()

    def prepare(self, flink, script):
        """Creates the tables, and says where they really are."""
        flink.ddl("SET 'table.local-time-zone' = 'UTC';", reset=True)
        for database in sorted(script.databases):
            flink.ddl(f"CREATE DATABASE IF NOT EXISTS {database};")
        flink.ddl(";\n".join(script.before) + ";")
        for table, ddl in script.sources.items():
            options = {"properties.bootstrap.servers": self.server.kafka}
            if "scan.startup.mode" not in ddl:
                options["scan.startup.mode"] = "earliest-offset"
            if "scan.bounded.mode" not in ddl:
                options["scan.bounded.mode"] = "latest-offset"
            if "WATERMARK" in ddl:
                options["scan.watermark.emit.strategy"] = "on-event"
            if "avro-confluent" in ddl:
                prefix = "value." if "'value.format'" in ddl else ""
                options[f"{prefix}avro-confluent.url"] = self.server.registry
            flink.ddl(alter(table, options))
        for table in script.sinks:
            flink.ddl(alter(table, {"connector": "row-lines"}))

    def only(self, flink, script, table, record):
        """Makes a table read one record and no other."""
        topic = re.search(r"'topic'\s*=\s*'([^']*)'", script.sources[table]).group(1)
        offsets = lambda more: ";".join(  # noqa: E731
            f"partition:{p},offset:{record['offset'] + more if p == record['partition'] else 0}" for p in range(self.case["topics"][topic])
        )
        options = {"scan.startup.mode": "specific-offsets", "scan.startup.specific-offsets": offsets(0)}
        options |= {"scan.bounded.mode": "specific-offsets", "scan.bounded.specific-offsets": offsets(1)}
        flink.ddl(alter(table, options))

    def records_of(self, script, table):
        topics = re.search(r"'topic'\s*=\s*'([^']*)'", script.sources[table]).group(1).split(";")
        return [record for record in self.case["records"] if record["topic"] in topics]


def alter(table, options):
    options = ", ".join(f"'{key}' = '{value}'" for key, value in options.items())
    return f"ALTER TABLE {table} SET ({options});"


def place(record):
    return f"{record['topic']}/{record['partition']}@{record['offset']}"


def quoted(text):
    """A text as cases show it."""
    if not re.search(r"[\x00-\x1f\x7f-\x9f]", text):
        return "'" + text.replace("'", "''") + "'"
    show = lambda c: "''" if c == "'" else "\\\\" if c == "\\" else f"\\{ord(c):04X}" if re.match(r"[\x00-\x1f\x7f-\x9f]", c) else c  # noqa: E731
    return "U&'" + "".join(map(show, text)) + "'"


def run_inserts(flink, world, script):
    """Rows by table, and by table what Flink says to each record that it fails at."""
    rows = {table: [] for table in script.sinks}
    failures = {table: {} for table in script.sinks}
    for insert in script.inserts:
        told = flink.ask(insert + ";")
        error = next((line for line in told if "error" in line), None)
        if not error:
            take_rows(told, rows)
            continue
        sources = script.sources_of(insert)
        if len(sources) != 1:
            raise Refused(cause(error))
        for record in world.records_of(script, sources[0]):
            world.only(flink, script, sources[0], record)
            told = flink.ask(insert + ";")
            error = next((line for line in told if "error" in line), None)
            if not error:
                take_rows(told, rows)
            for table in re.findall(r"INSERT\s+INTO\s+([\w.`]+)", insert, re.I) if error else []:
                failures[table.replace("`", "")][place(record)] = cause(error)
        world.prepare(flink, script)
    return rows, failures


def take_rows(told, rows):
    for line in told:
        if "table" in line:
            cells = ["NULL" if cell is None else quoted(cell["value"]) if cell["text"] else cell["value"] for cell in line["cells"]]
            name = next(table for table in rows if table.rsplit(".", 1)[-1] == line["table"])
            rows[name].append(f"{line['kind']}[{', '.join(cells)}]")


class Expressions:
    """The expressions of one section, asked together as far as none fails."""

    def __init__(self, flink, world, script, section):
        self.flink, self.world, self.script, self.table = flink, world, script, section["table"]
        self.results = {}
        for number, line in enumerate(section["lines"]):
            described = self.describe(number, line["text"])
            self.results[line["line"]] = described or "refused"
        accepted = [line for line in section["lines"] if self.results[line["line"]] != "refused"]
        self.whole(accepted)

    def describe(self, number, text):
        view = f"CREATE TEMPORARY VIEW typed_{number} AS SELECT {text} AS x FROM {self.table};\nDESCRIBE typed_{number};"
        for line in self.flink.ask(view):
            if "error" in line:
                return None
            if "row" in line and line["row"]["name"] == "x":
                return line["row"]["type"] + ("" if str(line["row"]["null"]).upper() == "TRUE" else " NOT NULL")
        return None

    def select(self, lines):
        """Values of each record for each expression; None when the query fails."""
        columns = ", ".join(f"{line['text']} AS x{n}" for n, line in enumerate(lines))
        told = self.flink.ask(f"SELECT {columns} FROM {self.table};")
        if any("error" in line for line in told):
            return None
        types = next(line["columns"] for line in told if "columns" in line)
        rows = [line["row"] for line in told if "row" in line]
        return [[value(row[f"x{n}"], types[f"x{n}"]) for row in rows] for n in range(len(lines))]

    def whole(self, lines):
        if not lines:
            return
        values = self.select(lines)
        if values:
            for line, column in zip(lines, values):
                self.results[line["line"]] += ": " + " | ".join(column)
        elif len(lines) > 1:
            self.whole(lines[: len(lines) // 2])
            self.whole(lines[len(lines) // 2 :])
        else:
            self.each(lines[0])

    def each(self, line):
        """One expression that fails: record by record."""
        column = []
        source = self.script.sources_of(self.table)[0]
        for record in self.world.records_of(self.script, source):
            self.world.only(self.flink, self.script, source, record)
            values = self.select([line])
            column += values[0] if values else ["!"]
        self.world.prepare(self.flink, self.script)
        self.results[line["line"]] += ": " + " | ".join(column)


def value(told, ty):
    if told is None:
        return "NULL"
    if isinstance(told, bool):
        return str(told).upper()
    return quoted(told) if re.match(r"CHAR|VARCHAR|STRING", ty) else told


def judge(flink, case, capture):
    """What differs, as lines; with `capture` it is written into the case instead."""
    script = Script(case["script"])
    with tempfile.TemporaryDirectory() as folder, World(case, Path(folder)) as world:
        world.prepare(flink, script)
        rows, failures = run_inserts(flink, world, script)
        results = {}
        for section in case["expressions"]:
            results |= Expressions(flink, world, script, section).results
    differences = []
    text = Text(case["file"])
    for section in case["expected"]:
        table = next((table for table in rows if table == section["table"]), None)
        if table is None:
            continue
        if section["what"] == "rows":
            got, expected = rows[table], section["lines"]
            if len(world.next) > 1:  # splits: Flink reads them in an order of its own
                got, expected = sorted(got), sorted(expected)
            if got != expected:
                differences += difference(f"rows {table}", expected, got)
                text.rows(section, rows[table])
        else:
            expected = [line.split(" ")[0] for line in section["lines"]]
            if sorted(expected) != sorted(failures[table]):
                differences += difference(f"dead letters {table}", expected, sorted(failures[table]))
            text.letters(section, failures[table])
    for table, failed in failures.items():
        if failed and not any(s["what"] == "dead letters" and s["table"] == table for s in case["expected"]):
            differences += difference(f"dead letters {table}", [], sorted(failed))
            text.new_letters(table, failed)
    for section in case["expressions"]:
        for line in section["lines"]:
            if results[line["line"]] != line["result"]:
                differences += [f"- {line['text']} => {line['result']}", f"+ {line['text']} => {results[line['line']]}"]
            text.expression(line, results[line["line"]])
    if capture:
        text.write()
    return differences


def difference(what, expected, got):
    return [f"{what}:"] + [f"- {line}" for line in expected if line not in got] + [f"+ {line}" for line in got if line not in expected]


class Text:
    """A case's text, with Flink's answers put in."""

    def __init__(self, file):
        self.path = Path(file)
        self.lines = self.path.read_text().splitlines()
        # By line, counted from 1: what stands there instead.
        self.instead = {}
        self.end = []

    def body(self, section):
        """Numbers of the lines below a section's head."""
        number = section["line"] + 1
        while number <= len(self.lines) and not self.lines[number - 1].startswith("---- "):
            yield number
            number += 1

    def rows(self, section, rows):
        for number in self.body(section):
            line = self.lines[number - 1]
            if line and not line.startswith("#"):
                self.instead[number] = []
        head = section["line"]
        comments = [n for n in self.body(section) if self.lines[n - 1].startswith("#")]
        last = comments[-1] if comments else head
        self.instead[last] = [self.lines[last - 1]] + rows

    def letters(self, section, failed):
        left = dict(failed)
        for number in self.body(section):
            line = self.lines[number - 1]
            if line.startswith("    Flink: "):
                self.instead[number] = []
            elif line and not line.startswith("#"):
                said = left.pop(line.split(" ")[0], None)
                self.instead[number] = [line] + ([f"    Flink: {said}"] if said else [])
        if left:
            head = section["line"]
            new = [entry for where, said in sorted(left.items()) for entry in (f"{where} fails", f"    Flink: {said}")]
            self.instead[head] = [self.lines[head - 1]] + new

    def new_letters(self, table, failed):
        self.end += ["", f"---- dead letters {table}"]
        self.end += [entry for where, said in sorted(failed.items()) for entry in (f"{where} fails", f"    Flink: {said}")]

    def expression(self, line, result):
        self.instead[line["line"]] = [f"{line['text']} => {result}"]

    def write(self):
        lines = []
        for number, line in enumerate(self.lines, 1):
            lines += self.instead.get(number, [line])
        lines += self.end
        if not any(line.startswith("-- Captured from Apache Flink") for line in lines):
            # Below the comment that the case begins with.
            comment = next((n for n, line in enumerate(lines) if not line.startswith("--")), 0)
            lines[comment:comment] = ["--", CAPTURED] if comment else [CAPTURED]
        self.path.write_text("\n".join(lines) + "\n")


def main():
    capture = "--capture" in sys.argv
    paths = [path for path in sys.argv[1:] if not path.startswith("--")]
    # A word is an area.
    paths = [path if os.path.exists(path) else str(HERE / path) for path in paths] or [str(HERE)]
    listed = subprocess.run([BINARY, "test", "--list", *paths], capture_output=True, text=True)
    if listed.returncode:
        sys.exit(listed.stderr)
    flink, failed = Flink(), 0
    for case in json.loads(listed.stdout):
        try:
            differences = judge(flink, case, capture)
        except Refused as refused:
            differences = [f"Flink does not run it: {refused}"]
        failed += bool(differences)
        word = "ok  " if not differences else "took" if capture else "DIFF"
        print("\n     ".join([f"{word} {case['name']}"] + differences), flush=True)
    flink.close()
    print(f"{failed} cases differ" if not capture else f"{failed} cases changed")
    sys.exit(1 if failed and not capture else 0)


main()
