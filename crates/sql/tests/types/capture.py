#!/usr/bin/env python3
"""Asks Apache Flink 2.3.0 again for the verdict on every expression of the .txt files here, and writes it into them.

A line is `expression => TYPE`, `=> refused` or, where the script is accepted and its code cannot be made, `=> fails`; or it is
`column INTO TYPE => taken`, for what an INSERT casts by itself. `expression BY WINDOW` is of the windows of a table function,
`expression BY TUMBLE` of those of the older form. A line
`    ours: …` below it is what this planner says instead; it is left to `UPDATE_EXPECT=1 cargo test -p lw-sql`.
"""
import json
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
FLINK = HERE.parents[3] / "tests/peers/flink/flink"


def main():
    files = {path: path.read_text().splitlines() for path in sorted(HERE.glob("*.txt"))}
    asked = {line.split(" => ")[0] for lines in files.values() for line in lines if is_expression(line)}
    verdicts = ask(sorted(asked))
    for path, lines in files.items():
        path.write_text("".join(rewritten(line, verdicts) + "\n" for line in lines))


def is_expression(line):
    return line and not line.startswith(("--", " "))


def rewritten(line, verdicts):
    expression = line.split(" => ")[0]
    return f"{expression} => {verdicts[expression]}" if is_expression(line) else line


WINDOWED = "CREATE TABLE w (rt TIMESTAMP(3), lt TIMESTAMP_LTZ(3), WATERMARK FOR rt AS rt) LIKE t"
FROM = {
    "WINDOW": "TABLE(TUMBLE(TABLE w, DESCRIPTOR(rt), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end, window_time",
    "TUMBLE": "w GROUP BY TUMBLE(rt, INTERVAL '1' MINUTE)",
}


def query(expression):
    value, _, windows = expression.partition(" BY ")
    return f"SELECT {value} AS x FROM {FROM.get(windows, 't')}"


def ask(expressions):
    statements = [(HERE / "table.sql").read_text().strip().rstrip(";"), WINDOWED]
    for n, expression in enumerate(expressions):
        value, _, target = expression.partition(" INTO ")
        if target:
            sink = f"CREATE TEMPORARY TABLE e{n} (x {target}) WITH ('connector' = 'blackhole')"
            statements += [sink, f"DESCRIBE e{n}", f"EXPLAIN JSON_EXECUTION_PLAN INSERT INTO e{n} SELECT {value} FROM t"]
            continue
        statements += [f"CREATE TEMPORARY VIEW e{n} AS {query(expression)}", f"DESCRIBE e{n}", f"EXPLAIN JSON_EXECUTION_PLAN SELECT * FROM e{n}"]
    done = subprocess.run([FLINK, "sql", "-", "--keep-going"], input=";\n".join(statements) + ";\n", capture_output=True, text=True)
    failed, types, current = {}, {}, None
    for line in map(json.loads, filter(None, done.stdout.splitlines())):
        if "error" in line:
            failed[line["statement"]] = line["error"]
        elif "statement" in line:
            current = line["statement"]
        elif "row" in line:
            types.setdefault(current, line["row"])
    if 1 in failed or not types:
        sys.exit(f"Flink did not answer: {failed.get(1)}\n{done.stderr[-2000:]}")
    verdicts = {}
    for n, expression in enumerate(expressions):
        view = 3 + 3 * n
        row = types.get(view + 1)
        if " INTO " in expression and view not in failed:
            verdicts[expression] = "refused" if view + 2 in failed else "taken"
        elif view in failed or not row:
            verdicts[expression] = "refused"
        elif view + 2 in failed:
            verdicts[expression] = "fails"
        else:
            verdicts[expression] = row["type"] + ("" if row["null"] in (True, "TRUE", "true") else " NOT NULL")
        if "-v" in sys.argv and (view in failed or view + 2 in failed):
            error = (failed.get(view) or failed.get(view + 2))[-1]
            print(f"{expression}: {re.sub(chr(10), ' ', error)[:300]}", file=sys.stderr)
    return verdicts


main()
