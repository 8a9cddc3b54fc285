#!/usr/bin/env python3
"""Asks Apache Flink 2.3.0 for the type and the values of every expression of the .txt files here, and writes them below it.

The table is `table.sql` over `rows.jsonl`, which Flink reads as a file. Below an expression stands `    TYPE => [value of row 1, …]`, as
CAST(… AS STRING) gives them, `    TYPE => fails: why` where the job fails, or `    refused`. A line `    ours: …` is what this engine
says instead; it is left to `UPDATE_EXPECT=1`. With names of files only those are asked again.
"""
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
GROUP = 24
FLINK = HERE.parents[5] / "tests/peers/flink/flink"


def main():
    names = {name for name in sys.argv[1:] if not name.startswith("-")}
    paths = [path for path in sorted(HERE.glob("*.txt")) if not names or path.stem in names]
    files = {path: path.read_text().splitlines() for path in paths}
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(HERE / "rows.jsonl", folder)
        for setting in sorted({setting_of(lines) for lines in files.values()}):
            alike = {path: lines for path, lines in files.items() if setting_of(lines) == setting}
            asked = sorted({line for lines in alike.values() for line in lines if is_expression(line)})
            verdicts = ask(asked, folder, setting)
            for path, lines in alike.items():
                path.write_text("".join(line + "\n" for line in rewritten(lines, verdicts)))


def setting_of(lines):
    """The session's time zone: `-- SET …` in a file's first line, or UTC."""
    return lines[0][3:] if lines[0].startswith("-- SET ") else "SET 'table.local-time-zone' = 'UTC'"


def is_expression(line):
    return bool(line) and not line.startswith(("--", " "))


def rewritten(lines, verdicts):
    for line in lines:
        if line.startswith(" "):
            continue
        yield line
        if is_expression(line):
            yield f"    {verdicts[line]}"


def ask(expressions, folder, setting):
    """Three scripts: one for the types, one for many values at once, and one for what stood beside a failure."""
    failed, rows = run(folder, setting, [[f"CREATE TEMPORARY VIEW e AS SELECT {x} AS x FROM t", "DESCRIBE e", "DROP TEMPORARY VIEW e"] for x in expressions])
    types, verdicts = {}, {}
    for n, expression in enumerate(expressions):
        if rows[n]:
            column = rows[n][0]
            types[expression] = column["type"] + ("" if column["null"] in (True, "TRUE", "true") else " NOT NULL")
        else:
            verdicts[expression] = "refused"
            if "-v" in sys.argv:
                print(f"{expression}: {cause(failed[n])}", file=sys.stderr)
    groups = [list(types)[at : at + GROUP] for at in range(0, len(types), GROUP)]
    alone = []
    for group, (error, values) in zip(groups, select(folder, setting, groups)):
        if error:
            alone += [[expression] for expression in group]
        for n, expression in enumerate(group):
            verdicts[expression] = shown(types[expression], [row[f"x{n}"] for row in values])
    for [expression], (error, values) in zip(alone, select(folder, setting, alone)):
        ty = types[expression]
        verdicts[expression] = f"{ty} => fails: {cause(error)}" if error else shown(ty, [row["x0"] for row in values])
    return verdicts


def shown(ty, values):
    return f"{ty} => " + json.dumps(values, ensure_ascii=False)


def select(folder, setting, groups):
    columns = lambda group: ", ".join(f"CAST({x} AS STRING) AS x{n}" for n, x in enumerate(group))
    failed, rows = run(folder, setting, [[f"SELECT {columns(group)} FROM t"] for group in groups]) if groups else ([], [])
    return zip(failed, rows)


def run(folder, setting, scripts):
    """The error and the rows of each script's statements."""
    table = (HERE / "table.sql").read_text().strip().rstrip(";")
    source = f"'connector' = 'filesystem', 'path' = '{folder}', 'format' = 'json', 'json.timestamp-format.standard' = 'SQL'"
    statements = [setting, f"{table} WITH ({source})"]
    owner = {}
    for n, script in enumerate(scripts):
        for statement in script:
            statements.append(statement)
            owner[len(statements)] = n
    text = ";\n".join(statements) + ";\n"
    done = subprocess.run([FLINK, "sql", "-", "--keep-going"], input=text, capture_output=True, text=True)
    failed, rows, current = [None] * len(scripts), [[] for _ in scripts], None
    for line in map(json.loads, filter(None, done.stdout.splitlines())):
        if "error" in line:
            if line["statement"] not in owner:
                sys.exit(f"Flink did not answer: {line['error']}")
            failed[owner[line["statement"]]] = failed[owner[line["statement"]]] or line["error"]
        elif "statement" in line:
            current = line["statement"]
        elif "row" in line:
            rows[owner[current]].append(line["row"])
    return failed, rows


def cause(errors):
    return re.sub(r"\s+", " ", errors[-1])[:160] if errors else "?"


main()
