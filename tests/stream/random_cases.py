"""Random queries on both engines: what differs is made small and told, what is equal becomes a case of `generated/`.

    oracle.py --generate N [--seed S] [--zones | --csv | --windows | --streams]        by way of `cargo xtask oracle --generate …`

Fifty expressions are one query to Flink, and one section of a case: over records in JSON, in a session's time zone, or over records in CSV
whose fields are not all what the columns say. With `--windows` fifty queries over windows, and OVER, are one job of Flink's; with
`--streams` fifty of UNION ALL, UNNEST and joins of windows are, where no row is late: Flink reads the sides of a join as they come.
What Flink or we refuse, or what fails for some record, is left out and counted.
"""
import collections
import re
import subprocess
import tempfile
from pathlib import Path

from flink import HERE, Flink, Script, World, late_count, take_rows
from generate import COLUMNS, FIELDS, Maker
from lakeward import BINARY

TOGETHER = 50
RECORDS = 8
SAME = "the same numbers, written otherwise"
# How often what differs is made smaller.
ROUNDS = 12
WITH = """ WITH (
  'connector' = 'kafka', 'topic' = 't', 'properties.bootstrap.servers' = 'kafka:9092',
  'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset', 'format' = 'json'
);"""
LISTED = ", ".join(f"{name} {ty}" for name, ty in COLUMNS.items())
TABLE = f"CREATE TABLE t (id INT, {LISTED}){WITH}"
OF_FIELDS = f"CREATE TABLE t (id INT, {', '.join(f'{name} {ty}' for name, ty in COLUMNS.items() if ty in FIELDS)}){WITH}".replace(
    "'format' = 'json'", "'format' = 'csv', 'csv.ignore-parse-errors' = 'true'"
)
TIMED = f"CREATE TABLE t (id INT, k STRING, {LISTED}, WATERMARK FOR ts AS ts - INTERVAL '3' SECOND){WITH}"


class Expressions:
    """Records, and the two engines' expressions over them."""

    def __init__(self, flink, asker, maker):
        self.flink, self.asker, self.records, self.table = flink, asker, maker.records(RECORDS), TABLE

    @staticmethod
    def one(maker):
        return maker.expression(maker.random.choice(maker.kinds()), maker.random.randint(2, 4))

    def compare(self, texts):
        """By text: what Flink gives, and what we give instead or None; only of those that Flink takes, and no record fails."""
        section = {"table": "t", "lines": [{"text": text, "line": at} for at, text in enumerate(texts)]}
        script = Script(self.table)
        with tempfile.TemporaryDirectory() as folder, World(listed(self.records), Path(folder)) as world:
            world.prepare(self.flink, script)
            results = self.asker(self.flink, world, script, section, failing="left out").results
        flinks = {text: results[at] for at, text in enumerate(texts) if ":" in results[at]}
        return {text: (result, ours.get(text)) for ours in [self.ours(flinks)] for text, result in flinks.items()}

    def text(self, flinks):
        lines = [f"{text} => {result}" for text, result in flinks.items()]
        return "\n".join([self.table, "", "---- records t", *self.records, "", "---- expressions t", *lines]) + "\n"

    def case(self, equal):
        return self.text(equal)

    def ours(self, flinks):
        """What we give where it is not what Flink gives."""
        told, found = tested({"random": self.text(flinks)}), {}
        for line in told.splitlines():
            line = line.strip()
            if line.startswith("+ ") and " => " in line:
                text, _, result = line[2:].partition(" => ")
                found.setdefault(text, SAME if same_numbers(flinks.get(text, ""), result) else result)
        if "FAIL" in told and " => " not in told:
            raise SystemExit(f"the case cannot be run:\n{told}")
        return found


    @staticmethod
    def told(node, pair, records):
        """The first record for which the results differ, and both values; or the types."""
        flinks, ours = pair
        (type_of, _, values), (our_type, _, our_values) = flinks.partition(": "), ours.partition(": ")
        if type_of != our_type:
            return [f"{node.sql()} is {type_of}; ours: {our_type}"]
        values, our_values = values.split(" | "), our_values.split(" | ")
        at = next((at for at, (a, b) in enumerate(zip(values, our_values)) if a != b), 0)
        return [f"{node.sql()} => {values[at]}; ours: {our_values[at]}", f"    {records[at]}"]


class Zones(Expressions):
    """The same in a session's time zone."""

    def __init__(self, flink, asker, maker):
        super().__init__(flink, asker, maker)
        self.table = f"SET 'table.local-time-zone' = '{maker.zone()}';\n{TABLE}"


class Fields(Expressions):
    """The same over records in CSV, of which not every field is what its column says."""

    def __init__(self, flink, asker, maker):
        super().__init__(flink, asker, maker)
        self.records, self.table = [maker.fields(number) for number in range(RECORDS)], OF_FIELDS


class Windows:
    """Records with times, and the two engines' queries over their windows."""

    table = TIMED

    def __init__(self, flink, _, maker):
        self.flink, self.records = flink, maker.timed_records(RECORDS * 3)

    @staticmethod
    def one(maker):
        return maker.random.choice([maker.over_query, maker.window_query, maker.window_query, maker.nested_query])()

    def compare(self, texts):
        """By query: Flink's rows, and what we give instead or None."""
        script, self.sinks = Script(self.table), {}
        with tempfile.TemporaryDirectory() as folder, World(listed(self.records), Path(folder)) as world:
            world.prepare(self.flink, script)
            for at, text in enumerate(texts):
                columns = self.described(at, text)
                if columns:
                    self.sinks[text] = f"o{at}", columns
                    self.flink.ddl(f"CREATE TABLE o{at} ({columns}) WITH ('connector' = 'row-lines');")
            flinks, late = self.run(list(self.sinks))
            ours = self.ours(flinks)
            counted = {text: len(self.late_rows.get(text, [])) for text in flinks if text not in ours}
            if len(counted) < len(flinks) or sum(counted.values()) != late:
                for text, count in counted.items():
                    late = self.run([text])[1]
                    if late != count:
                        ours[text] = f"late rows: {late} in Flink, {count} in ours"
        return {text: (rows, ours.get(text)) for text, rows in flinks.items()}

    def described(self, at, text):
        view = f"CREATE TEMPORARY VIEW typed_{at} AS {text};\nDESCRIBE typed_{at};"
        told = self.flink.ask(view)
        if any("error" in line for line in told):
            return None
        columns = [line["row"] for line in told if "row" in line]
        return ", ".join(f"{column['name']} {column['type'].removesuffix(' *ROWTIME*')}" for column in columns)

    def run(self, texts):
        """Rows and the count of late rows by query, from one job if none fails."""
        if not texts:
            return {}, 0
        inserts = " ".join(f"INSERT INTO {self.sinks[text][0]} {text};" for text in texts)
        told = self.flink.ask(f"EXECUTE STATEMENT SET BEGIN {inserts} END;")
        if not any("error" in line for line in told):
            rows = {self.sinks[text][0]: [] for text in texts}
            take_rows(told, rows)
            return {text: rows[self.sinks[text][0]] for text in texts}, late_count(told)
        if len(texts) == 1:
            return {}, 0
        middle = len(texts) // 2
        (rows, late), (more, more_late) = self.run(texts[:middle]), self.run(texts[middle:])
        return rows | more, late + more_late

    def text(self, flinks, late=None):
        """One case of them all."""
        late = late or {}
        sinks = [f"CREATE TABLE {name} ({columns}) WITH ('connector' = 'print');" for name, columns in map(self.sinks.get, flinks)]
        inserts = [f"INSERT INTO {self.sinks[text][0]} {text};" for text in flinks]
        lines = [self.table, *sinks, "EXECUTE STATEMENT SET BEGIN", *inserts, "END;", "", "---- records t", *self.records]
        for text, rows in flinks.items():
            name, columns = self.sinks[text]
            order = "by window_end" if "window_end" in columns else "in any order"
            lines += ["", f"---- rows {name}, {order}", *rows]
            lines += ["", f"---- late rows {name}", *late[text]] if late.get(text) else []
        return "\n".join(lines) + "\n"

    def ours(self, flinks):
        """What we give where it is not what Flink gives. Late rows are compared by their number: Flink has one counter for all."""
        told = tested({self.sinks[text][0]: self.text({text: rows}) for text, rows in flinks.items()})
        found, self.late_rows = {}, {}
        for block in told.split("\nFAIL ")[1:]:
            block = block.split("\nok  ")[0]
            name = block.split()[0]
            text = next(text for text in flinks if self.sinks[text][0] == name)
            if "run plainly:" not in block and "polls" not in block and "restart" not in block:
                found[text] = "refused"
                continue
            parts = [line[5:] for line in block.splitlines() if line.startswith("     ")]
            heads = [at for at, part in enumerate(parts) if not part.startswith(" ") and part.endswith(":")]
            for head, end in zip(heads, heads[1:] + [len(parts)]):
                if parts[head].startswith("late rows"):
                    self.late_rows[text] = [part.strip().removeprefix("+ ") for part in parts[head + 1 : end] if part.strip().startswith("+ ")]
                else:
                    found.setdefault(text, "\n".join(parts[head:end]))
        return found

    def case(self, equal):
        return self.text(equal, self.late_rows)

    @staticmethod
    def told(node, pair, records):
        return [node.sql(), pair[1], *records]


class Streams(Windows):
    """The same records, none of them late, and queries of several inputs and of elements."""

    table = TIMED.replace("INTERVAL '3' SECOND", "INTERVAL '20' SECOND")

    @staticmethod
    def one(maker):
        return maker.stream_query()


def same_numbers(flinks, ours):
    """Java 17 writes some DOUBLEs with more digits than it takes to tell them apart, which is listed."""
    flinks, ours = re.split(r" \| |: |'", flinks), re.split(r" \| |: |'", ours)
    number = re.compile(r"-?\d+\.\d+(E-?\d+)?$")
    same = lambda a, b: a == b or (number.match(a) and number.match(b) and float(a) == float(b))  # noqa: E731
    return len(flinks) == len(ours) and all(map(same, flinks, ours))


def listed(records):
    """Records as a case lists them."""
    record = {"topic": "t", "partition": 0, "key": None, "headers": []}
    records = [record | {"timestamp": 1767225600000 + at, "value": text.encode().hex()} for at, text in enumerate(records)]
    return {"topics": {"t": 1}, "schemas": [], "records": records, "refused": None}


def tested(cases):
    """What `lakeward test` says of cases, by their names."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in cases.items():
            (Path(folder) / f"{name}.case").write_text(text)
        return "\n" + subprocess.run([BINARY, "test", folder], capture_output=True, text=True).stdout


def shrunk(batch, node):
    """The smallest found that still differs, with what the two engines give."""
    text = node.sql()
    best = node, batch.compare([text]).get(text)
    for _ in range(ROUNDS):
        candidates = {}
        for smaller in sorted(best[0].smaller(), key=lambda node: node.size()):
            candidates.setdefault(smaller.sql(), smaller)
        candidates = dict(list(candidates.items())[:TOGETHER])
        results = batch.compare(list(candidates)) if candidates else {}
        differing = [text for text, (_, ours) in results.items() if ours not in (None, SAME, "refused")]
        if not differing:
            break
        best = candidates[differing[0]], results[differing[0]]
    return best


def generate(count, seed, what, asker):
    """Compares so many expressions or queries; whether all were equal."""
    flink, left, told, number = Flink(), count, collections.Counter(), 0
    while left > 0:
        maker = Maker(f"{what.__name__}-{seed}-{number}")
        batch, nodes = what(flink, asker, maker), {}
        while len(nodes) < min(left, TOGETHER):
            node = what.one(maker)
            if node.columns():
                nodes.setdefault(node.sql(), node)
        results = batch.compare(list(nodes))
        equal = {text: flinks for text, (flinks, ours) in results.items() if ours is None}
        told["equal"] += len(equal)
        told["left out by Flink"] += len(nodes) - len(results)
        write(f"{what.__name__.lower()}-{seed}-{number}", batch, equal)
        for text, (flinks, ours) in results.items():
            if ours == SAME:
                told[SAME] += 1
            elif ours == "refused":
                told["refused by us"] += 1
                print(f"refused: {text}", flush=True)
            elif ours is not None:
                told["different"] += 1
                node, pair = shrunk(batch, nodes[text])
                print("\n     ".join(["DIFF", *batch.told(node, pair or (flinks, ours), batch.records)]), flush=True)
        left, number = left - len(nodes), number + 1
        print(", ".join(f"{count} {what}" for what, count in told.items()), flush=True)
    flink.close()
    return told["different"] == 0


def write(name, batch, equal):
    folder = HERE / "generated"
    folder.mkdir(exist_ok=True)
    head = "-- What a seed made.\n--\n-- Captured from Apache Flink 2.3.0.\n\n"
    (folder / f"{name}.case").write_text(head + batch.case(equal))
