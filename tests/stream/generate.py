"""Random queries over random records, within what is supported: what a seed makes is the same each time.

A query is a tree of [`Node`]s, so that what two engines disagree about can be made smaller: a part of it stands in the place of the
whole, or a constant in the place of a part.
"""
import json
import random
from dataclasses import dataclass, field, replace

COLUMNS = {
    "a": "INT",
    "b": "BIGINT",
    "c": "SMALLINT",
    "d": "DOUBLE",
    "n": "DECIMAL(10, 2)",
    "m": "DECIMAL(18, 6)",
    "s": "STRING",
    "w": "STRING",
    "p": "BOOLEAN",
    "x": "DATE",
    "ts": "TIMESTAMP(3)",
    "l": "TIMESTAMP_LTZ(3)",
    "xs": "ARRAY<INT>",
    "ss": "ARRAY<STRING>",
    "mp": "MAP<STRING, INT>",
    "j": "STRING",
}
# Times before 1970 are left out: Flink rounds them the other way, which is listed.
# What kind of values columns have; an expression of a kind may be of any type of it.
KINDS = {
    "int": ["a", "b", "c"],
    "double": ["d"],
    "decimal": ["n", "m"],
    "text": ["s", "w"],
    "bool": ["p"],
    "date": ["x"],
    "time": ["ts"],
    "instant": ["l"],
    "ints": ["xs"],
    "texts": ["ss"],
    "map": ["mp"],
    "json": ["j"],
}
CONSTANTS = {
    "int": ["0", "1", "-1", "2", "7", "100", "2147483647", "CAST(3 AS BIGINT)", "CAST(-5 AS SMALLINT)"],
    "double": ["0.0e0", "1.5e0", "-2.25e0", "1.0e10", "3.0e-3"],
    "decimal": ["0.5", "-1.25", "100.00", "0.001", "99999.99"],
    "text": ["''", "'a'", "'Ab c'", "'12'", "'-3.5'", "' x '", "'äß'", "'a,b,c'", "'2026-02-28'"],
    "bool": ["TRUE", "FALSE"],
    "date": ["DATE '2026-02-28'", "DATE '1969-12-31'", "DATE '2000-02-29'"],
    "time": ["TIMESTAMP '2026-03-31 23:59:59.999'", "TIMESTAMP '2024-02-29 12:00:00'"],
    "instant": ["TO_TIMESTAMP_LTZ(1772964000, 0)", "CAST(TIMESTAMP '2026-11-01 01:30:00' AS TIMESTAMP_LTZ(3))"],
    "ints": ["ARRAY[1, 7, 2]", "ARRAY[0]"],
    "texts": ["ARRAY['a', 'abc']", "ARRAY['']"],
    "map": ["MAP['k', 1, 'l', 2]", "MAP['q', 7]"],
    "json": ["'[1, 2]'", "'x'"],
}
VALUES = {
    "INT": [0, 1, -1, 2, 3, 7, 10, 42, -100, 2147483647, -2147483648],
    "BIGINT": [0, 1, -1, 5, 12, 1000, -77, 9223372036854775807, -9223372036854775808, 4294967296],
    "SMALLINT": [0, 1, -1, 9, 32767, -32768],
    "DOUBLE": [0.0, -0.0, 0.5, -1.5, 2.0, 3.14159, 1e10, -1e-7, 1e300, 123456.789],
    "DECIMAL(10, 2)": ["0.00", "1.00", "-1.50", "12.34", "99999999.99", "-0.01", "1000.10"],
    "DECIMAL(18, 6)": ["0.000000", "0.000001", "-2.500000", "123456789012.345678", "3.141592"],
    "STRING": ["", "a", "A", "abc", "Hello World", " x ", "12", "-3.5", "äöü", "a,b,c", "a_b%c", "2026-01-31", "10:11:12", "true", "it's", "xyzzy", "ABC abc"],
    "BOOLEAN": [True, False],
    "DATE": ["2026-01-01", "2026-02-28", "2024-02-29", "1970-01-01", "1969-12-31", "1999-12-31", "2026-12-27"],
    "TIMESTAMP(3)": ["2026-01-01 00:00:00", "2026-03-31 23:59:59.999", "2024-02-29 12:30:15.5", "1970-01-01 00:00:00", "2026-07-04 06:07:08.009"],
    "TIMESTAMP_LTZ(3)": ["2026-01-01 00:00:00Z", "2026-03-08 09:59:59.999Z", "2026-03-29 01:00:00Z", "2026-10-25 00:30:00Z", "2026-11-01 08:30:00Z", "2024-02-29 23:30:15.5Z", "2026-07-04 06:07:08.009Z"],
    "ARRAY<INT>": [[], [1], [3, 1, 2, 3], [None, 7], [-5, 0, 2147483647]],
    "ARRAY<STRING>": [[], ["a"], ["b", "a", "b"], [None, "x"], ["", "Hello World", "12"]],
    "MAP<STRING, INT>": [{}, {"k": 1}, {"q": None}],
}
NUMBERS = ["1", "-7", "+3", " 42 ", "007", "1.5", "abc", "2147483648", "1e3", "-0", "9223372036854775807", "32768", "--1", "1 2"]
# As text in CSV, by the types that it has.
FIELDS = {
    "INT": NUMBERS,
    "BIGINT": NUMBERS,
    "SMALLINT": NUMBERS,
    "DOUBLE": NUMBERS + [".5", "5.", "NaN", "Infinity", "-1e400", "1d", "0x10"],
    "DECIMAL(10, 2)": NUMBERS + ["0.005", "-0.005", "99999999.994", "99999999.995", ".5"],
    "DECIMAL(18, 6)": NUMBERS + ["0.0000005", "3.14159265"],
    "STRING": ["x", '"a,b"', '"say ""x"""', " y ", "it's", "äöü", '""', '" "', "a;b", "true", "12", "2026-01-31"],
    "BOOLEAN": ["true", "false", "TRUE", "False", " true ", "1", "0", "yes"],
    "DATE": ["2026-01-31", "1969-12-31", "2026-02-30", "2026-1-3", "20260131", "never", " 2026-01-31", "2026-01-31 10:00:00"],
    "TIMESTAMP(3)": ["2026-01-31 10:11:12", "2026-01-31 10:11:12.5", "2026-01-31T10:11:12", "2026-01-31", "2026-01-31 10:11", "never", "1971-01-01 00:00:00.001", "2026-13-01 00:00:00"],
    "TIMESTAMP_LTZ(3)": ["2026-01-31 10:11:12Z", "2026-03-29 01:30:00.123Z", "2026-01-31 10:11:12", "never"],
    "ARRAY<INT>": ["1;2;3", "7", ";", "1;x", '"1;2"'],
    "ARRAY<STRING>": ["a;b", "a", ";", '"a;b"', "a;;b"],
}
# What stands in the column that is JSON.
DOCUMENTS = ['{"a": 1, "b": "x"}', '{"a": {"b": [1, 2, "y"]}, "b": null}', "[1, 2, [3]]", "{}", "[]", '"text"', "7", "true", "no json", "", '{"a": "7", "b": {"a": false}}', '{"a": 1.50, "b": []}']
# In `x IN (…, y)` Flink casts y to the type of x, which is listed: here x has the widest.
# By the kind of the result: a text with the kinds of its parts in braces.
FORMS = {
    "int": [
        "CARDINALITY({ints})", "CARDINALITY({map})", "ARRAY_POSITION({texts}, {text})", "{map}['k']", "ARRAY_MAX({ints})", "ARRAY_MIN({ints})", "REGEXP_COUNT({text}, '[a-c]')", "REGEXP_INSTR({text}, '[0-9]')", "EXTRACT(HOUR FROM {instant})", "EXTRACT(DAY FROM {instant})", "TIMESTAMPDIFF(HOUR, {instant}, {instant})", "INSTR({text}, {text})", "TRY_CAST(JSON_VALUE({json}, '$.a') AS INT)", "CHAR_LENGTH({json})", "EXTRACT(QUARTER FROM {date})", "EXTRACT(ISODOW FROM {date})",
        "({int} + {int})", "({int} - {int})", "({int} * {int})", "-({int})", "ABS({int})", "({int} / NULLIF({int}, 0))", "MOD({int}, 7)",
        "CHAR_LENGTH({text})", "POSITION({text} IN {text})", "SIGN({int})", "COALESCE({int}, {int})", "NULLIF({int}, {int})",
        "CASE WHEN {bool} THEN {int} ELSE {int} END", "CASE WHEN {bool} THEN {int} END", "GREATEST({int}, {int})", "LEAST({int}, {int})",
        "CAST({decimal} AS INT)", "CAST({double} AS BIGINT)", "CAST({int} AS SMALLINT)", "CAST({int} AS BIGINT)", "TRY_CAST({text} AS INT)",
        "EXTRACT(DAY FROM {time})", "EXTRACT(MONTH FROM {date})", "EXTRACT(HOUR FROM {time})", "EXTRACT(DOW FROM {date})", "EXTRACT(WEEK FROM {date})", "EXTRACT(DOY FROM {date})",
        "TIMESTAMPDIFF(DAY, {time}, {time})", "TIMESTAMPDIFF(MINUTE, {time}, {time})", "TIMESTAMPDIFF(MONTH, {time}, {time})", "ASCII({text})", "LOCATE({text}, {text})", "CAST({bool} AS INT)",
        "IF({bool}, {int}, {int})",
    ],
    "double": [
        "({double} + {double})", "({double} - {double})", "({double} * {double})", "({double} / {double})", "-({double})", "ABS({double})", "FLOOR({double})",
        "CEIL({double})", "ROUND({double}, 2)", "CAST({int} AS DOUBLE)", "CAST({decimal} AS DOUBLE)", "TRY_CAST({text} AS DOUBLE)", "COALESCE({double}, {double})",
        "CASE WHEN {bool} THEN {double} ELSE {double} END", "({double} + {int})", "({int} * {double})", "SQRT(ABS({double}))",
    ],
    "decimal": [
        "({decimal} + {decimal})", "({decimal} - {decimal})", "({decimal} * {decimal})", "({decimal} / NULLIF({decimal}, 0))", "-({decimal})", "ABS({decimal})",
        "({decimal} + {int})", "({int} * {decimal})", "ROUND({decimal}, 1)", "FLOOR({decimal})", "CEIL({decimal})", "TRUNCATE({decimal}, 1)", "CAST({int} AS DECIMAL(12, 3))",
        "CAST({decimal} AS DECIMAL(8, 1))", "CAST({double} AS DECIMAL(20, 4))", "COALESCE({decimal}, {decimal})", "CASE WHEN {bool} THEN {decimal} ELSE {decimal} END", "SIGN({decimal})",
        "MOD({decimal}, 3)", "GREATEST({decimal}, {decimal})",
    ],
    "text": [
        "JSON_VALUE({json}, '$.a')", "JSON_VALUE({json}, '$.b.a' DEFAULT 'none' ON EMPTY)", "JSON_VALUE({json}, 'lax $[1]' NULL ON EMPTY DEFAULT 'bad' ON ERROR)", "JSON_QUERY({json}, '$.a')", "JSON_QUERY({json}, '$' WITH WRAPPER)", "JSON_QUERY({json}, 'lax $.b' EMPTY ARRAY ON EMPTY)", "JSON_OBJECT('i' VALUE {int}, 't' VALUE {text})", "JSON_OBJECT('t' VALUE {text} ABSENT ON NULL)", "JSON_ARRAY({text}, {bool}, {int})", "JSON_STRING({ints})", "JSON_STRING({text})", "JSON_QUOTE({text})", "JSON_UNQUOTE(JSON_QUOTE({text}))", "REGEXP_EXTRACT({text}, '([a-z]+)([0-9]*)', 1)", "REGEXP_REPLACE({text}, '[aeiou]', '_')", "REGEXP_SUBSTR({text}, '[A-Za-z]+')", "TRANSLATE({text}, 'abc', 'xy')", "ELT(2, {text}, {text})", "CAST({ints} AS STRING)", "CAST({texts} AS STRING)", "ARRAY_JOIN({texts}, '+')", "ARRAY_JOIN({texts}, '+', 'nil')", "ARRAY_JOIN(SPLIT({text}, ','), ';')", "CAST({instant} AS STRING)", "DATE_FORMAT({instant}, 'yyyy-MM-dd HH:mm')", "TO_BASE64({text})", "URL_ENCODE({text})", "SHA256({text})", "BTRIM({text}, 'a')", "CAST(MAP_KEYS({map}) AS STRING)", "CAST(ROW({int}, {text}) AS STRING)",
        "CONCAT({text}, {text})", "({text} || {text})", "UPPER({text})", "LOWER({text})", "TRIM({text})", "SUBSTRING({text}, 2)", "SUBSTRING({text} FROM {int} FOR 2)", "REVERSE({text})",
        "REPLACE({text}, {text}, '-')", "LPAD({text}, 5, '*')", "RPAD({text}, 4, 'ab')", "SPLIT_INDEX({text}, ',', 1)", "INITCAP({text})", "CAST({int} AS STRING)", "CAST({decimal} AS STRING)",
        "CAST({bool} AS STRING)", "CAST({date} AS STRING)", "CAST({time} AS STRING)", "CAST({double} AS STRING)", "COALESCE({text}, {text})", "CASE WHEN {bool} THEN {text} ELSE {text} END",
        "NULLIF({text}, {text})", "LEFT({text}, 2)", "RIGHT({text}, 2)", "CONCAT_WS('/', {text}, {text}, {text})", "DATE_FORMAT({time}, 'yyyy-MM-dd HH:mm:ss')", "LTRIM({text})", "RTRIM({text})",
        "CAST({text} AS VARCHAR(3))", "CAST({text} AS CHAR(4))", "REPEAT({text}, 2)", "OVERLAY({text} PLACING 'zz' FROM 2 FOR 1)", "IF({bool}, {text}, {text})", "MD5({text})",
    ],
    "bool": [
        "ARRAY_CONTAINS({ints}, 7)", "ARRAY_CONTAINS({texts}, {text})", "JSON_EXISTS({json}, '$.a')", "JSON_EXISTS({json}, 'strict $.b' UNKNOWN ON ERROR)", "({json} IS JSON)", "({json} IS JSON OBJECT)", "({json} IS NOT JSON ARRAY)", "REGEXP({text}, '[0-9]+')", "({text} SIMILAR TO '(a|A)%')", "STARTSWITH({text}, {text})", "ENDSWITH({text}, {text})", "({instant} < {instant})", "({ints} IS NULL)", "(({time}, {time}) OVERLAPS ({time}, {time}))",
        "({int} = {int})", "({int} < {int})", "({decimal} >= {decimal})", "({decimal} <> {int})", "({double} > {double})", "({text} = {text})", "({text} < {text})", "({date} <= {date})",
        "({time} > {time})", "({bool} AND {bool})", "({bool} OR {bool})", "(NOT {bool})", "({int} IS NULL)", "({text} IS NOT NULL)", "({bool} IS TRUE)", "({bool} IS NOT FALSE)",
        "({int} BETWEEN {int} AND {int})", "(CAST({int} AS BIGINT) IN (1, 7, {int}))", "(CONCAT({text}, '') IN ('a', 'abc', {text}))", "(CAST({int} AS BIGINT) NOT IN (0, {int}))", "({text} LIKE 'a%')", "({text} LIKE '%b_')",
        "({text} NOT LIKE '%c')", "({int} IS DISTINCT FROM {int})", "({text} IS NOT DISTINCT FROM {text})", "COALESCE({bool}, {bool})", "({double} = {decimal})", "({decimal} < {double})",
        "({date} IS NULL)", "({decimal} IN (1.00, 2.5))",
    ],
    "date": [
        "CAST({instant} AS DATE)",
        "CAST({time} AS DATE)", "({date} + INTERVAL '1' DAY)", "({date} - INTERVAL '1' MONTH)", "COALESCE({date}, {date})", "CASE WHEN {bool} THEN {date} ELSE {date} END", "FLOOR({date} TO MONTH)",
        "CEIL({date} TO YEAR)", "TIMESTAMPADD(DAY, 3, {date})", "TO_DATE(CAST({date} AS STRING))",
    ],
    "time": [
        "CAST({instant} AS TIMESTAMP(3))",
        "({time} + INTERVAL '90' MINUTE)", "({time} - INTERVAL '1' DAY)", "({time} + INTERVAL '1' MONTH)", "CAST({date} AS TIMESTAMP(3))", "COALESCE({time}, {time})",
        "CASE WHEN {bool} THEN {time} ELSE {time} END", "FLOOR({time} TO HOUR)", "FLOOR({time} TO DAY)", "CEIL({time} TO MINUTE)", "TIMESTAMPADD(HOUR, 5, {time})", "TO_TIMESTAMP({text})",
        "CAST({time} AS TIMESTAMP(0))",
    ],
    "instant": [
        "({instant} + INTERVAL '90' MINUTE)", "({instant} - INTERVAL '1' DAY)", "CAST({time} AS TIMESTAMP_LTZ(3))", "CAST({date} AS TIMESTAMP_LTZ(3))", "COALESCE({instant}, {instant})",
        "TO_TIMESTAMP_LTZ({int}, 3)", "CASE WHEN {bool} THEN {instant} ELSE {instant} END", "TIMESTAMPADD(HOUR, 5, {instant})",
    ],
    "ints": [
        "ARRAY_DISTINCT({ints})", "ARRAY_REVERSE({ints})", "ARRAY_SORT({ints})", "ARRAY_SORT({ints}, FALSE)", "ARRAY_SLICE({ints}, 2)", "ARRAY_SLICE({ints}, -2, 3)", "ARRAY_CONCAT({ints}, {ints})",
        "ARRAY_UNION({ints}, {ints})", "ARRAY_EXCEPT({ints}, {ints})", "ARRAY_INTERSECT({ints}, {ints})", "ARRAY_APPEND({ints}, CAST({int} AS INT))", "ARRAY_REMOVE({ints}, 1)", "COALESCE({ints}, {ints})",
        "MAP_VALUES({map})",
    ],
    "texts": [
        "SPLIT({text}, ',')", "ARRAY_DISTINCT({texts})", "ARRAY_SORT({texts})", "ARRAY_CONCAT({texts}, {texts})", "ARRAY_REVERSE({texts})", "ARRAY_PREPEND({texts}, {text})", "REGEXP_EXTRACT_ALL({text}, '[a-z]+', 0)",
        "ARRAY[{text}, {text}]", "MAP_KEYS({map})", "CASE WHEN {bool} THEN {texts} ELSE {texts} END",
    ],
    "map": ["MAP[COALESCE({text}, 'null'), CAST({int} AS INT)]", "COALESCE({map}, {map})"],
    "json": ["JSON_OBJECT('a' VALUE {text}, 'b' VALUE {int})", "JSON_ARRAY({int}, {text})", "COALESCE({json}, {json})"],
}


@dataclass
class Node:
    """An expression: a form with its parts, or a column or constant without any."""

    kind: str
    form: str
    parts: list = field(default_factory=list)

    def sql(self):
        parts = iter(self.parts)
        out, rest = "", self.form
        while "{" in rest:
            before, _, rest = rest.partition("{")
            out += before + next(parts).sql()
            rest = rest.partition("}")[2]
        return out + rest

    def columns(self):
        return {self.form} & COLUMNS.keys() | {column for part in self.parts for column in part.columns()}

    def size(self):
        return 1 + sum(part.size() for part in self.parts)

    def smaller(self):
        """Each expression of the same kind that is this one with less in it."""
        inside = list(self.parts)
        while inside:
            part = inside.pop()
            if part.kind == self.kind:
                yield part
            inside += part.parts
        for at, part in enumerate(self.parts):
            candidates = list(part.smaller())
            if part.parts:
                candidates += [Node(part.kind, column) for column in KINDS[part.kind]]
                candidates.append(Node(part.kind, CONSTANTS[part.kind][1]))
            for candidate in candidates:
                yield Node(self.kind, self.form, self.parts[:at] + [candidate] + self.parts[at + 1 :])


class Maker:
    """What one seed makes."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def expression(self, kind, depth):
        if depth == 0 or self.random.random() < 0.15:
            leaf = self.random.choice(KINDS[kind] if self.random.random() < 0.8 else CONSTANTS[kind])
            return Node(kind, leaf)
        form = self.random.choice(FORMS[kind])
        kinds = [part.partition("}")[0] for part in form.split("{")[1:]]
        return Node(kind, form, [self.expression(part, depth - 1) for part in kinds])

    def record(self, number):
        values = {"id": number}
        for column, ty in COLUMNS.items():
            if self.random.random() < 0.85:
                values[column] = self.random.choice(DOCUMENTS if column == "j" else VALUES[ty])
        return json.dumps(values, ensure_ascii=False)

    def fields(self, number):
        """A record of CSV: fields as they may come, right and wrong."""
        fields = [str(number)] + [self.random.choice(FIELDS[ty]) if self.random.random() < 0.9 else "" for ty in COLUMNS.values() if ty in FIELDS]
        # Cases do not keep a blank at a line's end.
        return ",".join(fields).rstrip()

    def records(self, count):
        return [self.record(number) for number in range(count)]

    def kinds(self):
        return list(FORMS)

    def zone(self):
        return self.random.choice(["UTC", "America/Los_Angeles", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe"])

    def timed_records(self, count):
        """Records whose time goes on, some of them behind others, a few by more than the watermark waits."""
        records, clock = [], 1767225600000
        for number in range(count):
            clock += self.random.choice([0, 1, 400, 1000, 1500, 3000, 9000])
            values = json.loads(self.record(number))
            values["k"] = self.random.choice(["a", "b", "c", None])
            values["ts"] = shown(clock - self.random.choice([0, 0, 0, 500, 2000, 4000, 12000]))
            records.append(json.dumps(values, ensure_ascii=False))
        return records

    def window_query(self):
        keys = [Node("text", "k")] if self.random.random() < 0.7 else []
        if self.random.random() < 0.3:
            kind = self.random.choice(["bool", "int", "text"])
            keys.append(self.expression(kind, 1))
        calls = [self.call() for _ in range(self.random.randint(1, 3))]
        where = self.expression("bool", 1) if self.random.random() < 0.3 else None
        having = Node("bool", "COUNT(*) > 1") if self.random.random() < 0.15 else None
        function = self.random.choice(WINDOWS)
        if "SESSION" in function:
            keys = [Node("text", "k")]
        return Query(function, keys, calls, where, having)

    def over_query(self):
        return self.filled(self.random.choice(OVER))

    def nested_query(self):
        return self.filled(self.random.choice(NESTED))

    def stream_query(self):
        return self.filled(self.random.choice(STREAMS))

    def filled(self, form):
        """A query: a text with the kinds of its expressions in braces."""
        kinds = [part.partition("}")[0] for part in form.split("{")[1:]]
        return Node("query", form, [self.expression(kind, self.random.randint(1, 2)) for kind in kinds])

    def call(self):
        function, kinds = self.random.choice(list(AGGREGATES.items()))
        # Of constants, which are never NULL, Flink's variances and lists of nothing are other ones, which is listed.
        parts = [next(part for part in iter(lambda: self.expression(self.random.choice(kinds), self.random.randint(0, 2)), None) if part.columns())] if kinds else []
        form = function
        if self.random.random() < 0.25:
            form += " FILTER (WHERE {bool})"
            parts.append(self.expression("bool", 1))
        return Node("call", form, parts)


FRAMES = [
    "", " ROWS BETWEEN 2 PRECEDING AND CURRENT ROW", " ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW", " RANGE BETWEEN INTERVAL '5' SECOND PRECEDING AND CURRENT ROW",
    " ROWS BETWEEN 0 PRECEDING AND CURRENT ROW",
]
# Over the table's rows in the order of their time.
OVER = [
    "SELECT id, " + ", ".join(f"{call} OVER w AS x{at}" for at, call in enumerate(calls)) + f" FROM t{where} WINDOW w AS (PARTITION BY {key} ORDER BY ts{frame})"
    for frame in FRAMES
    for calls, where, key in [
        (["COUNT(*)", "SUM({int})", "MAX({text})"], "", "k"),
        (["AVG({int})", "MIN({decimal})"], " WHERE {bool}", "k"),
        (["COUNT({text})", "FIRST_VALUE({int})", "LAST_VALUE({text})"], "", "k, {bool}"),
        (["SUM(CAST({int} AS BIGINT))", "MAX({time})"], "", "{text}"),
        (["ARRAY_AGG(CAST({int} AS INT))", "MIN({date})"], "", "k"),
    ]
] + [
    f"SELECT id, {call} OVER (PARTITION BY {key} ORDER BY ts) AS x FROM t{where}"
    for call, key, where in [
        ("LAG({int})", "k", ""), ("LAG({text}, 2)", "k", ""), ("LAG(CAST({int} AS INT), 1, -1)", "k", " WHERE {bool}"), ("ROW_NUMBER()", "k", ""), ("LAG({decimal}, 3)", "k, {bool}", ""),
        ("LAG({text}, 1, 'none')", "{text}", ""),
    ]
]
# Windows over windows, ranks in windows, grouping sets, and windows as Flink had them before there were table functions.
INNER = [
    f"(SELECT k, window_start AS s, window_end AS e, window_time AS rt, COUNT(*) AS c, {call} AS x FROM TABLE({window}) GROUP BY k, window_start, window_end, window_time)"
    for call in ["SUM(CAST({int} AS BIGINT))", "MAX({text})", "MIN({decimal})"]
    for window in [
        "TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '5' SECOND)", "HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '2' SECOND, INTERVAL '6' SECOND)",
        "CUMULATE(TABLE t, DESCRIPTOR(ts), INTERVAL '3' SECOND, INTERVAL '6' SECOND)", "SESSION(TABLE t PARTITION BY k, DESCRIPTOR(ts), INTERVAL '3' SECOND)",
    ]
]
BOUNDS = "window_start, window_end"
T10 = "TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND))"
H10 = "TABLE(HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '10' SECOND))"
C12 = "TABLE(CUMULATE(TABLE t, DESCRIPTOR(ts), INTERVAL '4' SECOND, INTERVAL '12' SECOND))"
NESTED = [
    f"WITH q AS {inner} SELECT k, {BOUNDS}, SUM(c) AS n, MAX(x) AS m FROM TABLE({outer}) GROUP BY k, {BOUNDS}"
    for inner in INNER
    for outer in ["TUMBLE(TABLE q, DESCRIPTOR(rt), INTERVAL '15' SECOND)", "HOP(TABLE q, DESCRIPTOR(rt), INTERVAL '5' SECOND, INTERVAL '10' SECOND)"]
] + [
    f"SELECT k, id, {BOUNDS}, x FROM (SELECT k, id, {BOUNDS}, {{int}} AS x, ROW_NUMBER() OVER (PARTITION BY {key}{BOUNDS} ORDER BY {order}) AS n FROM {window}) WHERE n {rank}"
    for window in [T10, H10, C12]
    for key in ["", "k, ", "{bool}, "]
    for order, rank in [("{int} DESC, id", "<= 2"), ("ts, id", "= 1"), ("ts", "= 1"), ("ts DESC", "<= 1"), ("{text}, id", "BETWEEN 2 AND 3"), ("{decimal} DESC, id", "<= 1")]
] + [
    f"SELECT k, (d > 0) AS g, {BOUNDS}, COUNT(*) AS c, SUM({{int}}) AS s FROM {window} GROUP BY {BOUNDS}, {sets}"
    for window in [T10, H10, C12]
    for sets in ["GROUPING SETS ((k), (d > 0), ())", "ROLLUP (k, (d > 0))", "CUBE (k, (d > 0))"]
] + [
    f"SELECT {start}_START(ts, {of}) AS s, {start}_END(ts, {of}) AS window_end, {key}COUNT(*) AS c, {call} AS x FROM t{where} GROUP BY {key}{start}(ts, {of})"
    for start, of in [("TUMBLE", "INTERVAL '7' SECOND"), ("HOP", "INTERVAL '4' SECOND, INTERVAL '8' SECOND"), ("SESSION", "INTERVAL '4' SECOND")]
    for key, where in [("", ""), ("k, ", ""), ("k, ", " WHERE {bool}")]
    for call in ["SUM({int})", "MAX({text})", "COUNT(DISTINCT {text})", "AVG({decimal})"]
]
SIDE = "(SELECT id, k, {kind} AS c, window_start, window_end FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND)) WHERE {bool})"
# Several rows for one of the table, from which windows are cut.
SEVERAL = [
    "SELECT k, ts, {int} AS x FROM t WHERE {bool} UNION ALL SELECT k, ts, {int} FROM t",
    "SELECT k, ts, CHAR_LENGTH({text}) AS x FROM t WHERE {bool} UNION ALL SELECT {text}, ts, 7 FROM t WHERE {bool}",
    "SELECT k, ts, e AS x FROM t CROSS JOIN UNNEST({ints}) AS u (e) WHERE {bool}",
    "SELECT k, ts, CHAR_LENGTH(e) AS x FROM t LEFT JOIN UNNEST({texts}) AS u (e) ON TRUE",
    "SELECT k, ts, v AS x FROM t LEFT JOIN UNNEST({map}) AS u (e, v) ON v > {int}",
]
SAME_WINDOW = "l.window_start = r.window_start AND l.window_end = r.window_end"
# Of rows, of several inputs, and of their elements.
STREAMS = [
    "SELECT id, {int} AS x, {text} AS y FROM t WHERE {bool} UNION ALL SELECT id, {int}, {text} FROM t WHERE {bool}",
    "SELECT id, {decimal} AS x FROM t UNION ALL SELECT id, {int} FROM t WHERE {bool} UNION ALL SELECT id, {decimal} FROM t WHERE {bool}",
    "SELECT id, {date} AS x, {bool} AS y FROM t UNION ALL SELECT id, {date}, {bool} FROM t WHERE {bool}",
    "SELECT id, e FROM t CROSS JOIN UNNEST({ints}) AS u (e)",
    "SELECT id, e, n FROM t CROSS JOIN UNNEST({texts}) WITH ORDINALITY AS u (e, n) WHERE {bool}",
    "SELECT id, e, n FROM t LEFT JOIN UNNEST({ints}) WITH ORDINALITY AS u (e, n) ON TRUE",
    "SELECT id, e, v FROM t LEFT JOIN UNNEST({map}) AS u (e, v) ON TRUE WHERE {bool}",
    "SELECT id, COALESCE(e, {text}) AS x FROM t LEFT JOIN UNNEST({texts}) AS u (e) ON TRUE",
    "SELECT id, e, f FROM t CROSS JOIN UNNEST({ints}) AS u (e) CROSS JOIN UNNEST({texts}) AS w (f)",
] + [
    f"SELECT {columns}, COALESCE(l.window_end, r.window_end) AS window_end FROM {SIDE} l {kind} JOIN {SIDE} r ON l.k = r.k AND {condition}{SAME_WINDOW}".replace("{kind}", "{" + of + "}")
    for kind, columns in [("INNER", "l.id AS i, r.id AS j, l.c AS c"), ("LEFT", "l.id AS i, r.id AS j, r.c AS c"), ("RIGHT", "l.id AS i, r.id AS j, l.c AS c"), ("FULL OUTER", "l.id AS i, r.id AS j, l.c AS c, r.c AS d")]
    for of, condition in [("int", ""), ("text", "l.c <= r.c AND "), ("int", "l.id < r.id AND ")]
] + [
    f"SELECT l.id AS i, l.c AS c, l.window_end AS window_end FROM {SIDE} l WHERE {kind} (SELECT * FROM {SIDE} r WHERE l.k = r.k AND l.id <> r.id AND {SAME_WINDOW})".replace("{kind}", "{int}")
    for kind in ["EXISTS", "NOT EXISTS"]
]
for window in [T10, H10, C12]:
    groups = [f"(SELECT k, COUNT(*) AS {name}, {call} AS {name}x, {BOUNDS} FROM {window}{where} GROUP BY k, {BOUNDS})" for name, call, where in [("c", "SUM({int})", ""), ("d", "MAX({text})", " WHERE {bool}")]]
    rows = [f"(SELECT id AS {name}, k, {BOUNDS} FROM {window} WHERE {{bool}})" for name in ("i", "j")]
    for of in ["INNER", "LEFT", "RIGHT", "FULL OUTER"]:
        STREAMS += [
            f"SELECT COALESCE(l.k, r.k) AS k, c, cx, d, dx, COALESCE(l.window_end, r.window_end) AS window_end FROM {groups[0]} l {of} JOIN {groups[1]} r ON l.k = r.k AND {SAME_WINDOW}",
            f"SELECT k, i, j, window_end FROM {rows[0]} {of} JOIN {rows[1]} USING (k, {BOUNDS})",
        ]
    STREAMS += [
        f"WITH q AS ({several}) SELECT k, {BOUNDS}, COUNT(*) AS c, {call} AS y FROM {window.replace('TABLE t', 'TABLE q')} GROUP BY k, {BOUNDS}"
        for several in SEVERAL
        for call in ["SUM(x)", "COUNT(DISTINCT x)", "MAX(x)"]
    ]
STREAMS += [
    f"WITH q AS ({several}) SELECT k, {BOUNDS}, COUNT(*) AS c, SUM(x) AS y FROM TABLE(SESSION(TABLE q PARTITION BY k, DESCRIPTOR(ts), INTERVAL '4' SECOND)) GROUP BY k, {BOUNDS}"
    for several in SEVERAL
] + [
    # What has the same time has the same frame, whatever came first.
    f"WITH q AS ({several}) SELECT k, x, COUNT(*) OVER w AS c, {call} OVER w AS y FROM q WINDOW w AS (PARTITION BY k ORDER BY ts)"
    for several in SEVERAL
    for call in ["SUM(x)", "MIN(x)"]
] + [
    f"SELECT k, i, j, h, window_end FROM (SELECT id AS i, k, {BOUNDS} FROM {T10} WHERE {{bool}}) JOIN (SELECT id AS j, k, {BOUNDS} FROM {T10}) USING (k, {BOUNDS}) JOIN (SELECT id AS h, k, {BOUNDS} FROM {T10} WHERE {{bool}}) USING (k, {BOUNDS})",
    "SELECT id, e FROM t LEFT JOIN UNNEST({ints}) AS u (e) ON e > {int}",
    "SELECT id, e, n FROM t LEFT JOIN UNNEST({texts}) WITH ORDINALITY AS u (e, n) ON {bool} AND n < 3",
    "SELECT id, e FROM t JOIN UNNEST({texts}) AS u (e) ON e <> {text} WHERE {bool}",
]
WINDOWS = [
    "TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND)",
    "TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '7' SECOND, INTERVAL '2' SECOND)",
    "TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' MINUTE)",
    "HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '3' SECOND, INTERVAL '9' SECOND)",
    "HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '20' SECOND)",
    "CUMULATE(TABLE t, DESCRIPTOR(ts), INTERVAL '4' SECOND, INTERVAL '12' SECOND)",
    "HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '4' SECOND, INTERVAL '8' SECOND, INTERVAL '-1' SECOND)",
    "CUMULATE(TABLE t, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '15' SECOND, INTERVAL '3' SECOND)",
    "SESSION(TABLE t PARTITION BY k, DESCRIPTOR(ts), INTERVAL '2' SECOND)",
    "SESSION(TABLE t PARTITION BY k, DESCRIPTOR(ts), INTERVAL '6' SECOND)",
]
# With the kinds that an argument may be of.
AGGREGATES = {
    "COUNT(*)": [],
    "COUNT({any})": ["int", "text", "decimal", "bool"],
    "COUNT(DISTINCT {any})": ["int", "text"],
    "SUM({any})": ["int", "decimal", "double"],
    "AVG({any})": ["int", "decimal", "double"],
    "MIN({any})": ["int", "decimal", "text", "time", "date"],
    "MAX({any})": ["int", "decimal", "text", "time", "date"],
    "SUM(DISTINCT {any})": ["int", "decimal"],
    "FIRST_VALUE({any})": ["int", "text", "decimal"],
    "LAST_VALUE({any})": ["int", "text", "decimal"],
    "STDDEV_POP({any})": ["int"],
    "VAR_SAMP({any})": ["int"],
    "LISTAGG({any})": ["text"],
    "ARRAY_AGG({any})": ["int", "text", "date"],
}


def shown(millis):
    seconds, millis = divmod(millis - 1767225600000, 1000)
    minutes, seconds = divmod(seconds, 60)
    return f"2026-01-01 00:{minutes:02d}:{seconds:02d}.{millis:03d}" if minutes >= 0 else f"2025-12-31 23:{60 + minutes:02d}:{seconds:02d}.{millis:03d}"


@dataclass
class Query:
    """Aggregates over the windows of the table."""

    function: str
    keys: list
    calls: list
    where: Node = None
    having: Node = None

    def sql(self):
        columns = [f"{key.sql()} AS k{at}" for at, key in enumerate(self.keys)] + ["window_start", "window_end"]
        columns += [f"{call.sql()} AS x{at}" for at, call in enumerate(self.calls)]
        grouped = [key.sql() for key in self.keys] + ["window_start", "window_end"]
        where = f" WHERE {self.where.sql()}" if self.where else ""
        having = f" HAVING {self.having.sql()}" if self.having else ""
        return f"SELECT {', '.join(columns)} FROM TABLE({self.function}){where} GROUP BY {', '.join(grouped)}{having}"

    def columns(self):
        return {"ts"}

    def size(self):
        parts = self.keys + self.calls + [part for part in (self.where, self.having) if part]
        return sum(part.size() for part in parts)

    def smaller(self):
        """Queries that are this one with less in it."""
        if self.having:
            yield replace(self, having=None)
        if self.where:
            yield replace(self, where=None)
            for where in self.where.smaller():
                yield replace(self, where=where)
        for name in ("keys", "calls"):
            parts = getattr(self, name)
            for at, part in enumerate(parts):
                if len(parts) > (name == "calls") and "SESSION" not in self.function:
                    yield replace(self, **{name: parts[:at] + parts[at + 1 :]})
                for smaller in part.smaller():
                    yield replace(self, **{name: parts[:at] + [smaller] + parts[at + 1 :]})
