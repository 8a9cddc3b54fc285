"""The real Apache Flink with the records of a case: one JVM, a broker and a registry of ours, and the case's script.

The script runs as it stands. Flink's own Kafka connector reads the records from our broker; `ALTER TABLE` says where that is, and puts
a sink that prints in the place of each sink.
"""
import collections
import json
import re
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))
import requests  # noqa: E402
from confluent_kafka import Producer  # noqa: E402
from confluent_kafka.admin import AdminClient, NewTopic  # noqa: E402
from lakeward import Server  # noqa: E402

FLINK = HERE.parent / "peers/flink/flink"


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
    """Flink does not run a script: it says so before the job begins."""


def failed(told):
    """The error of a job that failed. What was refused before there was a job is raised."""
    error = next((line for line in told if "error" in line), None)
    if error and not any("JobExecutionException" in text for text in error["error"]):
        raise Refused(cause(error))
    return error


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
                like = re.search(r"\bLIKE\s+([\w.`]+)", statement, re.I)
                if like and not re.search(r"'connector'\s*=", statement):
                    # Behind its own options are those of the other.
                    statement += " " + self.sources.get(like.group(1).replace("`", ""), "")
                if re.search(r"'connector'\s*=\s*'kafka'", statement):
                    self.sources[name] = statement
        text = " ".join(self.inserts)
        self.sinks = {name.replace("`", "") for name in re.findall(r"INSERT\s+INTO\s+([\w.`]+)", text, re.I)}

    def order_of(self, table):
        """What a new section says of the order of a table's rows."""
        inserts = [insert for insert in self.inserts if re.search(rf"INSERT\s+INTO\s+{re.escape(table)}\b", insert.replace("`", ""), re.I)]
        if any(re.search(r"\bUNION\b", insert, re.I) for insert in inserts):
            return ", in any order"
        if not any(re.search(STATEFUL, insert + " ".join(self.before), re.I) for insert in inserts):
            return ", in any order" if any(len(self.sources_of(insert)) > 1 or "UNION" in self.behind(insert) for insert in inserts) else ""
        return ", by window_end" if "window_end" in self.names_of(table) else ", in any order"

    def names_of(self, table):
        """The columns of a table that the script creates."""
        ddl = next(ddl for ddl in self.before if re.match(rf"CREATE\s+TABLE\s+{re.escape(table)}\b", ddl.replace("`", ""), re.I))
        columns = re.split(r"\)\s*WITH\s*\(", ddl[ddl.index("(") + 1 :], flags=re.I)[0]
        while re.search(r"[(<][^()<>]*[)>]", columns):
            columns = re.sub(r"[(<][^()<>]*[)>]", "", columns)
        return [column.split()[0].strip("`") for column in columns.split(",")]

    def columns(self, table, names):
        """Where columns stand in a table's rows."""
        return None if names is None else [self.names_of(table).index(name) for name in names]

    def sources_of(self, insert):
        """The Kafka tables that a statement names, by itself or through a view."""
        words = re.sub(r"'[^']*'", "", self.behind(insert)).replace("`", "")
        return sorted(set(re.findall(r"[\w.]+", words)) & self.sources.keys())

    def behind(self, insert):
        """A statement without the sink's name, and the texts of the views that are behind it."""
        views = {}
        for statement in self.before:
            view = re.match(r"CREATE\s+(?:TEMPORARY\s+)?VIEW\s+(?:IF\s+NOT\s+EXISTS\s+)?([\w.`]+)(.*)", statement, re.I | re.DOTALL)
            if view:
                views[view.group(1).replace("`", "")] = view.group(2)
        texts = [re.sub(r"INSERT\s+INTO\s+[\w.`]+", " ", insert, flags=re.I)]
        for text in texts:
            words = set(re.findall(r"[\w.]+", re.sub(r"'[^']*'", "", text).replace("`", "")))
            texts += [views.pop(word) for word in words & views.keys()]
        return " ".join(texts)


# Operators whose rows come of several records.
STATEFUL = r"\b(TUMBLE|HOP|CUMULATE|SESSION|OVER|GROUP\s+BY)\b"


# Seconds between the records of a live case that say nothing else: Flink has read the one when the next comes.
APART = 0.3


class World:
    """A server of ours with the records of one case, or with those that are not told to be left out.

    A case is live whose records say how long after each other they came (`@after`): there is no record before Flink reads, each comes when
    its time is there, and the last of a partition ends the reading of it.
    """

    def __init__(self, case, folder, without=()):
        self.case = case
        self.live = any(record.get("after_ms") for record in case["records"])
        self.server = Server(folder).start()
        admin = AdminClient({"bootstrap.servers": self.server.kafka})
        topics = [NewTopic(name, count, 1, config={"retention.ms": "-1"}) for name, count in case["topics"].items()]
        for made in admin.create_topics(topics).values() if topics else []:
            made.result()
        for number, (subject, text) in enumerate(case["schemas"], 1):
            answer = requests.post(f"{self.server.registry}/subjects/{subject}/versions", json={"schema": text})
            assert answer.json().get("id") == number, f"schema {subject}: {answer.text}"
        self.producer = Producer({"bootstrap.servers": self.server.kafka, "linger.ms": 0})
        self.next, self.records = {}, []
        counted = collections.Counter()
        for record in case["records"]:
            split = (record["topic"], record["partition"])
            # Its place is the one that it has in the case, also where records before it are left out.
            record = record | {"place": f"{split[0]}/{split[1]}@{counted[split]}", "offset": self.next.get(split, 0)}
            counted[split] += 1
            if record["place"] in without:
                continue
            self.next[split] = record["offset"] + 1
            self.records.append(record)
            if not self.live:
                self.send(record)

    def send(self, record):
        self.producer.produce(
            record["topic"],
            partition=record["partition"],
            timestamp=record["timestamp"],
            key=None if record["key"] is None else bytes.fromhex(record["key"]),
            value=None if record["value"] is None else bytes.fromhex(record["value"]),
            headers=[(name, bytes.fromhex(value)) for name, value in record["headers"]],
        )
        # One after the other: the order of the case is the order of the log.
        assert self.producer.flush(30) == 0

    def ask(self, flink, statement):
        """What Flink makes of a statement that reads; the records of a live case come while it does."""
        if not self.live:
            return flink.ask(statement)
        over = threading.Event()
        player = threading.Thread(target=self.play, args=(over,))
        player.start()
        told = flink.ask(statement)
        over.set()
        player.join()
        return told

    def play(self, over):
        """Sends the records by the clock, once they are waited for, unless nobody does any more."""
        while not self.fetched():
            if over.wait(0.05):
                return
        for record in self.records:
            if over.wait(max(record["after_ms"] / 1000, APART)):
                return
            self.send(record)

    def fetched(self):
        try:
            metrics = requests.get(f"{self.server.ready['http']}/metrics").text
        except requests.ConnectionError:
            return False  # the server is gone: nobody reads any more
        counted = re.search(r'^lakeward_kafka_requests_total\{api="Fetch"\} ([0-9]+)', metrics, re.M)
        return counted and int(counted.group(1)) > 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.kill()

    def prepare(self, flink, script):
        """Creates the tables, and says where they really are."""
        # In one phase every late row is counted; in two, what is left of several may be one.
        flink.ddl("SET 'table.local-time-zone' = 'UTC'; SET 'table.optimizer.agg-phase-strategy' = 'ONE_PHASE';", reset=True)
        for database in sorted(script.databases):
            flink.ddl(f"CREATE DATABASE IF NOT EXISTS {database};")
        flink.ddl(";\n".join(script.before) + ";")
        for table, ddl in script.sources.items():
            options = {"properties.bootstrap.servers": self.server.kafka}
            if "scan.startup.mode" not in ddl:
                options["scan.startup.mode"] = "earliest-offset"
            if self.live:
                options |= {"scan.bounded.mode": "specific-offsets", "scan.bounded.specific-offsets": self.ends(script, table)}
            elif "scan.bounded.mode" not in ddl:
                options["scan.bounded.mode"] = "latest-offset"
            if "WATERMARK" in ddl:
                options["scan.watermark.emit.strategy"] = "on-event"
            if "avro-confluent" in ddl:
                prefix = "value." if "'value.format'" in ddl else ""
                options[f"{prefix}avro-confluent.url"] = self.server.registry
            flink.ddl(alter(table, options))
        for table in script.sinks:
            flink.ddl(alter(table, {"connector": "row-lines"}))

    def ends(self, script, table):
        """Where the partitions of a table's topic end when all records have come."""
        topic = topics_of(script, table)[0]
        return ";".join(f"partition:{p},offset:{self.next.get((topic, p), 0)}" for p in range(self.case["topics"][topic]))

    def only(self, flink, script, table, record):
        """Makes a table read one record and no other."""
        topic = re.search(r"'topic'\s*=\s*'([^']*)'", script.sources[table]).group(1)
        offsets = lambda more: ";".join(  # noqa: E731
            f"partition:{p},offset:{record['offset'] + more if p == record['partition'] else 0}" for p in range(self.case["topics"][topic])
        )
        options = {"scan.startup.mode": "specific-offsets", "scan.startup.specific-offsets": offsets(0)}
        options |= {"scan.bounded.mode": "specific-offsets", "scan.bounded.specific-offsets": offsets(1)}
        flink.ddl(alter(table, options))

    def first(self, flink, script, table, count):
        """Makes a table read the first so many of its records."""
        ends = {}
        for record in self.records_of(script, table)[:count]:
            ends[record["partition"]] = record["offset"] + 1
        topic = topics_of(script, table)[0]
        offsets = ";".join(f"partition:{p},offset:{ends.get(p, 0)}" for p in range(self.case["topics"][topic]))
        flink.ddl(alter(table, {"scan.bounded.mode": "specific-offsets", "scan.bounded.specific-offsets": offsets}))

    def records_of(self, script, table):
        topics = topics_of(script, table)
        return [record for record in self.records if record["topic"] in topics]


def topics_of(script, table):
    return re.search(r"'topic'\s*=\s*'([^']*)'", script.sources[table]).group(1).split(";")


def alter(table, options):
    options = ", ".join(f"'{key}' = '{value}'" for key, value in options.items())
    return f"ALTER TABLE {table} SET ({options});"


def quoted(text):
    """A text as cases show it."""
    if not re.search(r"[\x00-\x1f\x7f-\x9f]", text):
        return "'" + text.replace("'", "''") + "'"
    show = lambda c: "''" if c == "'" else "\\\\" if c == "\\" else f"\\{ord(c):04X}" if re.match(r"[\x00-\x1f\x7f-\x9f]", c) else c  # noqa: E731
    return "U&'" + "".join(map(show, text)) + "'"


def take_rows(told, rows):
    for line in told:
        if "table" in line:
            cells = ["NULL" if cell is None else quoted(cell["value"]) if cell["text"] else cell["value"] for cell in line["cells"]]
            name = next(table for table in rows if table.rsplit(".", 1)[-1] == line["table"])
            rows[name].append(f"{line['kind']}[{', '.join(cells)}]")


def late_count(told):
    counters = [line["counters"] for line in told if "counters" in line]
    # A join of windows has a counter for each side.
    return sum(int(count) for counted in counters for name, count in counted.items() if name.lower().endswith("numlaterecordsdropped"))
