//! Text that nobody writes by hand: no panic, no overflow of the stack, no minutes of work, and a clear answer.
//!
//! A thread of a test has a stack of 2 MiB, as the server's threads have, and frames of this profile are several times larger
//! than in a release: what passes here has room there.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "what takes too long on a real clock is hostile too, and a case that overflows the stack can only be told before it does"
)]

use crate::World;
use lw_sql::plan_script;
use std::time::{Duration, Instant};

const TABLES: &str = "CREATE TABLE o (id BIGINT, s STRING, ok BOOLEAN) WITH ('connector' = 'kafka', 'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json');
CREATE TABLE b (id BIGINT) WITH ('connector' = 'blackhole');
";

/// The messages, or "planned".
fn verdict(text: &str) -> String {
    let start = Instant::now();
    let verdict = match plan_script(text, "h.sql", &World) {
        Ok(plan) => {
            for job in &plan.jobs {
                let json = serde_json::to_string(&job.graph).unwrap();
                let back: lw_graph::JobGraph =
                    serde_json::from_str(&json).expect("a stored plan can be read again");
                assert_eq!(back, job.graph);
            }
            "planned".to_string()
        }
        Err(diagnostics) => {
            let shown = diagnostics.render("h.sql", text);
            assert!(shown.len() < 100_000, "{} bytes of messages", shown.len());
            diagnostics.to_string()
        }
    };
    let took = start.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?} for {:.60}…", text);
    verdict
}

fn insert(query: &str) -> String {
    verdict(&format!("{TABLES}INSERT INTO b {query}"))
}

#[test]
fn what_opens_and_opens_is_refused() {
    const DEEP: usize = 20_000;
    let mut wrong = Vec::new();
    for (open, close) in [
        ("(", ")"),
        ("CASE WHEN ", " THEN 1 END"),
        ("CAST(", " AS INT)"),
        ("TRY_CAST(", " AS INT)"),
        ("UPPER(", ")"),
        ("COALESCE(1, ", ")"),
        ("- ", ""),
        ("+ ", ""),
        ("NOT ", ""),
        ("(SELECT ", ")"),
        ("EXISTS (SELECT ", ")"),
        ("ARRAY[", "]"),
        ("ROW(", ")"),
        ("INTERVAL ", " SECOND"),
        ("TRIM(", ")"),
        ("SUBSTRING(", ")"),
        ("EXTRACT(YEAR FROM ", ")"),
        ("POSITION(", ")"),
        ("1 + ", ""),
        ("1 = ", ""),
        ("ok AND ", ""),
        ("s || ", ""),
        ("s LIKE ", ""),
        ("id BETWEEN 1 AND ", ""),
        ("id IN (", ")"),
        ("x[", "]"),
        ("f(x => ", ")"),
        ("{", "}"),
        ("MAP[", "]"),
        ("CEIL(", ")"),
    ] {
        for depth in [28, DEEP] {
            println!("{open:?} {depth}");
            let expr = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            let said = insert(&format!("SELECT {expr} FROM o"));
            if depth == DEEP && said == "planned" {
                wrong.push(open);
            }
        }
    }
    assert_eq!(wrong, Vec::<&str>::new());
}

#[test]
fn what_goes_on_and_on_is_refused() {
    for link in [
        " IS NULL",
        " IS TRUE",
        " = 1",
        " + 1",
        " || 'x'",
        " :: INT",
        "[1]",
        ".x",
        " AND ok",
        " OR ok",
        " LIKE 'x'",
        " BETWEEN 1 AND 2",
        " IN (1)",
        " COLLATE x",
        " AT TIME ZONE 'x'",
        " -> 'x'",
        " & 1",
        " | 1",
        " ^ 1",
        " IS NOT DISTINCT FROM 1",
        " NOT NULL",
        " OVER w",
        " ESCAPE 'x'",
        " ISNULL",
        " # 1",
        " % 1",
        " IS JSON",
        " -1",
        " (1)",
    ] {
        println!("{link}");
        let said = insert(&format!("SELECT id FROM o WHERE ok{}", link.repeat(5_000)));
        assert_ne!(said, "planned", "{link}");
    }
    for link in [
        " UNION ALL SELECT id FROM o",
        " EXCEPT SELECT 1",
        " JOIN o ON TRUE",
        ", o",
        " CROSS JOIN o",
        " WHERE ok",
        " FOR SYSTEM_TIME AS OF x",
        " TABLESAMPLE (1)",
        " LEFT JOIN (o",
        " |> SELECT 1",
        " AS x",
    ] {
        println!("{link}");
        let said = insert(&format!("SELECT id FROM o{}", link.repeat(5_000)));
        assert_ne!(said, "planned", "{link}");
    }
}

#[test]
fn queries_within_queries_are_refused() {
    for (open, close) in [
        ("SELECT * FROM (", ")"),
        ("(", ")"),
        ("WITH x AS (", ") SELECT 1"),
        ("SELECT * FROM ((", "))"),
        ("SELECT 1 UNION (", ")"),
        ("SELECT id FROM o WHERE id IN (", ")"),
        ("SELECT * FROM o JOIN (", ") ON TRUE"),
        ("SELECT * FROM TABLE(", ")"),
        ("SELECT * FROM UNNEST(", ")"),
        ("SELECT * FROM LATERAL (", ")"),
    ] {
        for depth in [3, 28, 10_000] {
            println!("{open} {depth}");
            insert(&format!(
                "{}SELECT id FROM o{}",
                open.repeat(depth),
                close.repeat(depth)
            ));
        }
    }
    for depth in [5, 28, 45, 100_000] {
        println!("parens {depth}");
        let (open, close) = ("(".repeat(depth), ")".repeat(depth));
        insert(&format!("SELECT id FROM {open}o{close}"));
        insert(&format!("SELECT id FROM {open}o"));
        insert(&open);
    }
}

#[test]
fn types_within_types_are_refused() {
    for (open, close) in [
        ("ARRAY<", ">"),
        ("MAP<INT, ", ">"),
        ("ROW<a ", ">"),
        ("ROW(a ", ")"),
    ] {
        for (depth, expected) in [(15, "planned"), (50_000, "a type is nested too deeply")] {
            let ty = format!("{}INT{}", open.repeat(depth), close.repeat(depth));
            let table = "WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json')";
            let said = verdict(&format!(
                "CREATE TABLE n (a {ty}) {table}; CREATE TABLE m (a {ty}) WITH ('connector' = 'blackhole'); INSERT INTO m SELECT a FROM n"
            ));
            assert!(said.starts_with(expected), "{open} {depth}: {said:.200}");
        }
        let ty = format!("{}INT", open.repeat(50_000));
        assert_ne!(
            insert(&format!("SELECT CAST(id AS {ty}) FROM o")),
            "planned"
        );
    }
    let said = verdict(&format!(
        "CREATE TABLE n (a INT{})",
        " ARRAY".repeat(100_000)
    ));
    assert_eq!(said, "a type is nested too deeply");
}

/// A column that is used twice is computed once; but not where it may fail for a row that does not need it, and fourteen views that
/// double such a column would hold 16,384 of it.
#[test]
fn views_that_double_their_columns_are_planned_or_refused() {
    let doubling = |views: usize, column: &str| {
        let mut text = format!("{TABLES}CREATE VIEW v0 AS SELECT id, id AS x FROM o;\n");
        for i in 1..=views {
            text += &format!(
                "CREATE VIEW v{i} AS SELECT id, {column} AS x FROM v{};\n",
                i - 1
            );
        }
        verdict(&format!("{text}INSERT INTO b SELECT x FROM v{views}"))
    };
    assert_eq!(doubling(14, "x * x * x"), "planned");
    let guarded = "CASE WHEN id > 1 THEN x / (x + x - x / x) END";
    assert_eq!(doubling(4, guarded), "planned");
    let said = doubling(14, guarded);
    assert!(said.starts_with("the expression has grown"), "{said}");
    let ctes: Vec<String> = (1..15)
        .map(|i| format!("w{i} AS (SELECT x || x || x AS x FROM w{})", i - 1))
        .collect();
    let said = insert(&format!(
        "WITH w0 AS (SELECT s AS x FROM o), {} SELECT CHAR_LENGTH(x) FROM w14",
        ctes.join(", ")
    ));
    assert_eq!(said, "planned");
    let ctes: Vec<String> = (1..2_000)
        .map(|i| format!("w{i} AS (SELECT x FROM w{})", i - 1))
        .collect();
    assert_eq!(
        insert(&format!(
            "WITH w0 AS (SELECT id AS x FROM o), {} SELECT x FROM w1999",
            ctes.join(", ")
        )),
        "more than 16 queries within each other"
    );
    let chain: Vec<String> = (1..10)
        .map(|i| {
            format!(
                "CREATE VIEW u{i} AS SELECT x{} AS x FROM u{};",
                " + 1".repeat(100),
                i - 1
            )
        })
        .collect();
    let said = verdict(&format!(
        "{TABLES}CREATE VIEW u0 AS SELECT id AS x FROM o; {} INSERT INTO b SELECT x FROM u9",
        chain.join("\n")
    ));
    assert!(said.starts_with("the expression has grown"), "{said}");
}

#[test]
fn many_of_anything_take_seconds_at_most() {
    let table = "WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json')";
    let many = |n: usize, item: &dyn Fn(usize) -> String, separator: &str| -> String {
        (0..n).map(item).collect::<Vec<_>>().join(separator)
    };
    let columns = many(30_000, &|i| format!("c{i} INT"), ", ");
    let names = many(30_000, &|i| format!("c{i}"), ", ");
    assert_eq!(
        verdict(&format!(
            "CREATE TABLE w ({columns}) {table}; CREATE TABLE v ({columns}) WITH ('connector' = 'blackhole'); INSERT INTO v SELECT {names} FROM w"
        )),
        "planned"
    );
    let computed = many(20_000, &|i| format!("d{i} AS c + {i}"), ", ");
    assert_eq!(
        verdict(&format!(
            "CREATE TABLE w (c INT, {computed}) {table}; CREATE TABLE b (i INT) WITH ('connector' = 'blackhole'); INSERT INTO b SELECT d7 FROM w"
        )),
        "planned"
    );
    let options = many(30_000, &|i| format!("'o{i}' = 'x'"), ", ");
    assert_ne!(
        verdict(&format!(
            "CREATE TABLE w (c INT) WITH ({options}); INSERT INTO w SELECT 1 FROM w"
        )),
        "planned"
    );
    let inserts = many(
        10_000,
        &|_| "INSERT INTO b SELECT id FROM o;".to_string(),
        "\n",
    );
    assert_eq!(
        verdict(&format!(
            "{TABLES}EXECUTE STATEMENT SET BEGIN {inserts} END"
        )),
        "planned"
    );
    let mistakes = many(40_000, &|_| "SELCT 1;".to_string(), " ");
    assert_eq!(verdict(&mistakes).matches("SELCT").count(), 20);
    let hints = many(
        20_000,
        &|_| "INSERT INTO b /*+ OPTIONS('x'='y') */ SELECT 1 FROM o /*+ ä */;".to_string(),
        " ",
    );
    assert_ne!(verdict(&format!("{TABLES}{hints}")), "planned");
    let ins = many(50_000, &|i| i.to_string(), ", ");
    assert_eq!(
        insert(&format!("SELECT id FROM o WHERE id IN ({ins})")),
        "planned"
    );
    assert!(
        insert(&format!(
            "SELECT id FROM o WHERE id + id + id + id + id IN ({ins})"
        ))
        .starts_with("the expression has grown")
    );
    let unions = many(3_000, &|_| "SELECT id FROM o".to_string(), " UNION ALL ");
    assert_eq!(insert(&unions), "an expression of more than 300 AND and OR");
    // One line, every letter of it two bytes.
    let text = format!(
        "{TABLES}INSERT INTO b SELECT CHAR_LENGTH('{}') + {} FROM o",
        "ä".repeat(100_000),
        many(20_000, &|_| "ü".to_string(), ", ")
    );
    assert_ne!(verdict(&text), "planned");
}

#[test]
fn letters_that_nobody_sees_are_named() {
    for (letter, named) in [
        ("\0", "\\u{0}"),
        ("\u{200b}", "\\u{200b}"),
        ("\u{202e}", "\\u{202e}"),
        ("\u{1b}", "\\u{1b}"),
    ] {
        let text = format!("{TABLES}INSERT INTO b SELECT {letter} FROM o");
        let shown = plan_script(&text, "h.sql", &World)
            .unwrap_err()
            .render("h.sql", &text);
        assert!(!shown.contains(letter), "{shown:?}");
        assert!(shown.contains(&format!("unexpected `{named}`")), "{shown}");
        assert!(shown.contains("delete the character"), "{shown}");
    }
    let text = format!("\u{feff}{TABLES}INSERT INTO b SELECT id FROM o");
    assert_eq!(
        verdict(&text),
        "planned",
        "the mark with which some editors begin a file"
    );
}

#[test]
fn ten_megabytes_are_refused_by_their_size() {
    let text = format!(
        "-- {}\nINSERT INTO b SELECT id FROM o",
        "x".repeat(10 << 20)
    );
    assert_eq!(
        insert(&text),
        format!(
            "the script has {} bytes",
            TABLES.len() + "INSERT INTO b ".len() + text.len()
        )
    );
}

/// Words of all cases in any order: a parser meets there what no case has thought of.
#[test]
fn words_in_any_order_are_planned_or_refused() {
    let cases: Vec<String> = crate::all_cases()
        .into_iter()
        .map(|(prelude, script)| prelude + &script)
        .collect();
    let words: Vec<&str> = cases
        .iter()
        .flat_map(|case| case.split_inclusive([' ', '(', ')', ',']))
        .collect();
    let scripts: u64 = std::env::var("LAKEWARD_SQL_SCRIPTS").map_or(2_000, |n| n.parse().unwrap());
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = move |below: usize| {
        // xorshift64: the same scripts in every run.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for _ in 0..scripts {
        let mut text = cases[next(cases.len())].clone();
        for _ in 0..1 + next(4) {
            let at = text.floor_char_boundary(next(text.len() + 1));
            let to = text.floor_char_boundary((at + next(20)).min(text.len()));
            let from = next(words.len());
            let few = words[from..(from + next(6)).min(words.len())].concat();
            text.replace_range(at..to, &few);
        }
        verdict(&text);
    }
}
