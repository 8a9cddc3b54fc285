"""Runs the cases of tests/stream on the real Apache Flink, and compares with what they say.

    oracle.py PATH… [--capture]              by way of `cargo xtask oracle [AREA|FILE]… [--capture]`
    oracle.py --generate N [--seed S] [--zones | --csv | --windows | --streams]        see random_cases.py

The case's script runs as it stands. Its records are produced to a broker of ours, Flink's own Kafka connector reads them from there, and
the registry of the same server has the schemas; `ALTER TABLE` says where that is, and puts a sink that prints in the place of each sink.
One JVM serves all cases. Where a job fails, it is run again for each record alone: those that fail are the ones that become dead
letters here; where a row comes of several records, the job then runs without them. Flink counts the rows that it drops as late, and
does not say which: runs over the first so many records do.

A case whose records say how long after each other they came is asked live: they are produced by the clock while Flink reads. That takes
the seconds that the case says, and a machine that is not busy beyond them.

Without `--capture` nothing is written; with it Flink's answers go into the cases.
"""
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import random_cases
from flink import HERE, STATEFUL, Flink, Refused, Script, World, cause, failed, late_count, quoted, take_rows, topics_of
from lakeward import BINARY

CAPTURED = "-- Captured from Apache Flink 2.3.0."


class Answers:
    """What Flink makes of a case's INSERTs, by table."""

    def __init__(self, script):
        self.rows = {table: [] for table in script.sinks}
        # What it says to each record that it fails at.
        self.failures = {table: {} for table in script.sinks}
        # Lines of the records that it drops as late.
        self.late = {table: [] for table in script.sinks}

    def take(self, told):
        take_rows(told, self.rows)


def run_inserts(flink, world, script):
    answers, again = Answers(script), []
    for insert in script.inserts:
        tables = [table.replace("`", "") for table in re.findall(r"INSERT\s+INTO\s+([\w.`]+)", insert, re.I)]
        told = world.ask(flink, insert + ";")
        error = failed(told)
        if world.live and (error or len(script.inserts) > 1):
            sys.exit(f"a case whose records come by the clock has one INSERT, which does not fail: {cause(error) if error else world.case['file']}")
        if not error:
            answers.take(told)
            for table in tables:
                answers.late[table] += late_rows(flink, world, script, insert, late_count(told))
            continue
        sources = script.sources_of(insert)
        # A job that is to fail is no job that makes dead letters.
        if len(sources) != 1 or world.case["refused"] is not None:
            raise Refused(cause(error))
        for record in world.records_of(script, sources[0]):
            world.only(flink, script, sources[0], record)
            told = flink.ask(insert + ";")
            error = failed(told)
            if not error and not re.search(STATEFUL, insert, re.I):
                answers.take(told)
            for table in tables if error else []:
                answers.failures[table][record["place"]] = cause(error)
        world.prepare(flink, script)
        if re.search(STATEFUL, insert, re.I):
            again.append((insert, tables))
    for insert, tables in again:
        # What is left makes rows together.
        with tempfile.TemporaryDirectory() as folder, World(world.case, Path(folder), answers.failures[tables[0]]) as left:
            left.prepare(flink, script)
            told = flink.ask(insert + ";")
            error = failed(told)
            if error:
                raise Refused("together, not alone: " + cause(error))
            answers.take(told)
            for table in tables:
                answers.late[table] += late_rows(flink, left, script, insert, late_count(told))
    return answers


def late_rows(flink, world, script, insert, count):
    """Which records a job dropped as late; of a live case only how many."""
    sources = script.sources_of(insert)
    if not count:
        return []
    if world.live:
        return [f"{count} rows"]
    if len(sources) != 1:
        return [f"{count} rows of several tables"]
    source = sources[0]
    records = world.records_of(script, source)
    times = event_times(flink, world, script, source, len(records))
    # Only what is behind the watermark can be late. OVER takes all that is before 1970 for late, on time or not.
    before_1970 = times and any(time and time[0] < "1970" for time in times)
    behind = [at for at in range(len(records)) if not times or before_1970 or (times[at] and times[at][0] <= times[at][1])]
    if len(behind) != count:
        behind = where_late(flink, world, script, insert, source, behind, count)
        world.prepare(flink, script)
    told = lambda at: f" {times[at][0]}, watermark {times[at][1]}" if times and not before_1970 else ""  # noqa: E731
    return [records[at]["place"] + told(at) for at in behind]


def where_late(flink, world, script, insert, source, candidates, count):
    """Those of the candidates with which the counter of late rows rises: runs over the first so many records say."""
    found = []

    def late_among(first):
        if first == len(candidates):
            return count
        world.first(flink, script, source, candidates[first])
        return late_count(flink.ask(insert + ";"))

    def search(low, late_low, high, late_high):
        if late_low == late_high:
            return
        if high - low == 1:
            # A record that is several rows may be several late ones.
            found.extend([candidates[low]] * (late_high - late_low))
            return
        middle = (low + high) // 2
        late_middle = late_among(middle)
        search(low, late_low, middle, late_middle)
        search(middle, late_middle, high, late_high)

    search(0, 0, len(candidates), count)
    return found


def event_times(flink, world, script, source, count):
    """Each record's event time and the watermark before it; nothing where records are not rows, one to one, in their order."""
    column = re.search(r"WATERMARK\s+FOR\s+([\w`]+)", script.sources[source], re.I).group(1)
    told = flink.ask(f"SET 'table.local-time-zone' = 'UTC'; SELECT {column} AS t, CURRENT_WATERMARK({column}) AS w FROM {source};")
    rows = [line["row"] for line in told if "row" in line]
    world.prepare(flink, script)
    if len(rows) != count or world.case["topics"][topics_of(script, source)[0]] > 1:
        return []
    shown = lambda time: time.replace(" ", "T") + "Z"  # noqa: E731
    return [(shown(row["t"]), shown(row["w"])) if row["t"] and row["w"] else None for row in rows]


class Expressions:
    """The expressions of one section, asked together as far as none fails; one that does is asked for record by record, or left out."""

    def __init__(self, flink, world, script, section, failing="by record"):
        self.failing = failing
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
        elif self.failing == "by record":
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
    script, text = Script(case["script"]), Text(case["file"])
    try:
        with tempfile.TemporaryDirectory() as folder, World(case, Path(folder)) as world:
            world.prepare(flink, script)
            answers = run_inserts(flink, world, script)
            results = {}
            for section in case["expressions"]:
                results |= Expressions(flink, world, script, section).results
    except Refused as refused:
        if case["refused"] is None:
            text.add("refused", [f"    Flink: {refused}"])
        if capture:
            text.write()
        return [] if case["refused"] is not None else [f"Flink does not run it: {refused}"]
    differences = [] if case["refused"] is None else ["Flink runs it"]
    sections = {(section["what"], section["table"]): section for section in case["expected"]}
    for table in answers.rows:
        differences += judge_table(table, answers, sections, script, text, len(world.next) > 1)
    for section in case["expressions"]:
        for line in section["lines"]:
            if results[line["line"]] != line["result"]:
                differences += [f"- {line['text']} => {line['result']}", f"+ {line['text']} => {results[line['line']]}"]
            text.expression(line, results[line["line"]])
    if capture:
        text.write()
    return differences


def judge_table(table, answers, sections, script, text, splits):
    differences = []
    section, got = sections.get(("rows", table)), answers.rows[table]
    if not section:
        differences += difference(f"rows {table}", [], got)
        text.add(f"rows {table}{script.order_of(table)}", got)
    else:
        # Splits: Flink reads them in an order of its own.
        ordered = (lambda lines: sorted(lines)) if splits else (lambda lines: in_groups(lines, script.columns(table, section["order"])))
        if ordered(got) != ordered(section["lines"]):
            differences += difference(f"rows {table}", section["lines"], got)
            text.rows(section, got)
    section, failures = sections.get(("dead letters", table)), answers.failures[table]
    expected = [line.split(" ")[0] for line in section["lines"]] if section else []
    if sorted(expected) != sorted(failures):
        differences += difference(f"dead letters {table}", expected, sorted(failures))
    if section:
        text.letters(section, failures)
    elif failures:
        text.add(f"dead letters {table}", [line for where, said in sorted(failures.items()) for line in (f"{where} fails", f"    Flink: {said}")])
    section, late = sections.get(("late rows", table)), answers.late[table]
    expected = section["lines"] if section else []
    if late == [f"{len(expected)} rows"]:
        late = expected
    # Where records are not rows one to one, Flink's times are not known.
    if late and " " not in late[0] and sorted(line.split(" ")[0] for line in expected) == sorted(late):
        late = expected
    if sorted(expected) != sorted(late):
        differences += difference(f"late rows {table}", expected, late)
        if section:
            text.rows(section, late)
        else:
            text.add(f"late rows {table}", late)
    return differences


def in_groups(lines, columns):
    """Rows with those sorted that follow each other and are equal in some columns."""
    if columns is None:
        return lines
    groups = []
    for line in lines:
        cells = cells_of(line)
        key = [cells[column] for column in columns]
        if not groups or groups[-1][0] != key:
            groups.append((key, []))
        groups[-1][1].append(line)
    return [line for _, group in groups for line in sorted(group)]


def cells_of(line):
    """The columns of a row as text."""
    return re.findall(r"(?:U&)?'(?:[^']|'')*'|\[[^\]]*\]|\{[^}]*\}|\([^)]*\)|[^,\s\[\]][^,]*", line[line.index("[") + 1 : -1])


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

    def add(self, head, lines):
        """A section that the case does not have."""
        self.end += ["", f"---- {head}", *lines]

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
    if "--generate" in sys.argv:
        number = lambda word, otherwise: int(sys.argv[sys.argv.index(word) + 1]) if word in sys.argv else otherwise  # noqa: E731
        kinds = {"--zones": random_cases.Zones, "--csv": random_cases.Fields, "--windows": random_cases.Windows, "--streams": random_cases.Streams}
        what = next((kinds[word] for word in sys.argv if word in kinds), random_cases.Expressions)
        sys.exit(0 if random_cases.generate(number("--generate", 0), number("--seed", 1), what, Expressions) else 1)
    capture = "--capture" in sys.argv
    paths = [path for path in sys.argv[1:] if not path.startswith("--")]
    # A word is an area.
    paths = [path if os.path.exists(path) else str(HERE / path) for path in paths] or [str(HERE)]
    listed = subprocess.run([BINARY, "test", "--list", *paths], capture_output=True, text=True)
    if listed.returncode:
        sys.exit(listed.stderr)
    flink, failed = Flink(), 0
    for case in json.loads(listed.stdout):
        differences = judge(flink, case, capture)
        failed += bool(differences)
        word = "ok  " if not differences else "took" if capture else "DIFF"
        print("\n     ".join([f"{word} {case['name']}"] + differences), flush=True)
    flink.close()
    print(f"{failed} cases differ" if not capture else f"{failed} cases changed")
    sys.exit(1 if failed and not capture else 0)


main()
