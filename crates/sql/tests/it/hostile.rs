//! Text that nobody writes by hand: no panic, no overflow of the stack, no minutes of work, and a clear answer.
//!
//! Work is what this thread ran on a processor, by the kernel's account: what else the machine does adds nothing to it.
//!
//! A thread of a test has a stack of 2 MiB, as the server's threads have, and frames of this profile are several times larger
//! than in a release: what passes here has room there.

#![expect(
    clippy::print_stdout,
    reason = "a case that overflows the stack can only be told before it does"
)]

use crate::World;
use lw_sql::plan_script;
use std::time::Duration;

const TABLES: &str = "CREATE TABLE o (id BIGINT, s STRING, ok BOOLEAN) WITH ('connector' = 'kafka', 'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json');
CREATE TABLE b (id BIGINT) WITH ('connector' = 'blackhole');
";

/// The messages, or "planned".
fn verdict(text: &str) -> String {
    let before = work();
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
    let took = work() - before;
    assert!(took < Duration::from_secs(20), "{took:?} for {:.60}…", text);
    verdict
}

/// What this thread has run on a processor so far.
fn work() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux counts it");
    let nanos = told.split_whitespace().next().map(str::parse);
    Duration::from_nanos(nanos.expect("the first number").expect("nanoseconds"))
}

/// What counts for nothing: below it, what a thread does beside the work that is looked at is too large a part.
const LITTLE: Duration = Duration::from_millis(100);

/// Whether the work grows faster than what it is done for. Four times as much of a thing takes four times the work, a bit more where it
/// is sorted, and sixteen times where each is compared with each.
fn outgrows(n: usize, mut work_for: impl FnMut(usize) -> Duration) -> bool {
    let fewer = work_for(n / 4);
    work_for(n) > LITTLE + fewer * 9
}

#[test]
fn what_looks_at_all_for_each_outgrows_what_there_is() {
    let micros = |micros: usize| Duration::from_micros(micros as u64);
    assert!(outgrows(1_000, |n| micros(n * n)));
    assert!(!outgrows(1_000_000, |n| micros(n * n.ilog2() as usize)));
    let before = work();
    // The kernel brings its account up to date when it interrupts the thread.
    assert!((0..1_000_000).any(|_| work() > before));
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

const KAFKA: &str = "WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json')";

fn many(n: usize, item: impl Fn(usize) -> String, separator: &str) -> String {
    (0..n).map(item).collect::<Vec<_>>().join(separator)
}

/// What is said of so many of something, which is planned or refused in a time that they, not their square, take.
fn many_of(n: usize, script: impl Fn(usize) -> String) -> String {
    let text = script(n);
    println!("{text:.60}…");
    // Scripts are made beforehand: what is looked at is the planner's work.
    let fewer = script(n / 4);
    let mut said = String::new();
    let outgrown = outgrows(n, |of| {
        let before = work();
        said = verdict(if of == n { &text } else { &fewer });
        work() - before
    });
    assert!(
        !outgrown,
        "four times as much is too much work: {text:.60}…"
    );
    said
}

#[test]
fn many_columns_and_options_take_work_by_their_number() {
    let said = many_of(30_000, |n| {
        let columns = many(n, |i| format!("c{i} INT"), ", ");
        let names = many(n, |i| format!("c{i}"), ", ");
        format!(
            "CREATE TABLE w ({columns}) {KAFKA}; CREATE TABLE v ({columns}) WITH ('connector' = 'blackhole'); INSERT INTO v SELECT {names} FROM w"
        )
    });
    assert_eq!(said, "planned");
    let said = many_of(20_000, |n| {
        let columns = many(n, |i| format!("c{i} INT"), ", ");
        let (names, fields) = (
            many(n, |i| format!("c{i}"), ", "),
            many(n, |i| format!("c{i}"), ";"),
        );
        let keyed = KAFKA.replace(
            "'topic'",
            &format!("'key.format' = 'json', 'key.fields' = '{fields}', 'value.fields-include' = 'EXCEPT_KEY', 'topic'"),
        );
        let files = format!(
            "PARTITIONED BY ({names}) WITH ('connector' = 'filesystem', 'path' = '/in', 'format' = 'json')"
        );
        format!(
            "CREATE TABLE w ({columns}, v INT) {keyed}; CREATE TABLE p ({columns}, v INT) {files}; CREATE TABLE b (i INT) WITH ('connector' = 'blackhole'); INSERT INTO b SELECT c7 + v FROM w; INSERT INTO b SELECT c7 + v FROM p"
        )
    });
    assert_eq!(said, "planned");
    let said = many_of(20_000, |n| {
        let computed = many(n, |i| format!("d{i} AS c + {i}"), ", ");
        format!(
            "CREATE TABLE w (c INT, {computed}) {KAFKA}; CREATE TABLE b (i INT) WITH ('connector' = 'blackhole'); INSERT INTO b SELECT d7 FROM w"
        )
    });
    assert_eq!(said, "planned");
    let said = many_of(30_000, |n| {
        let options = many(n, |i| format!("'o{i}' = 'x'"), ", ");
        format!("CREATE TABLE w (c INT) WITH ({options}); INSERT INTO w SELECT 1 FROM w")
    });
    assert_ne!(said, "planned");
}

#[test]
fn many_statements_and_mistakes_take_work_by_their_number() {
    let said = many_of(10_000, |n| {
        let inserts = many(n, |_| "INSERT INTO b SELECT id FROM o;".to_string(), "\n");
        format!("{TABLES}EXECUTE STATEMENT SET BEGIN {inserts} END")
    });
    assert_eq!(said, "planned");
    let said = many_of(40_000, |n| many(n, |_| "SELCT 1;".to_string(), " "));
    assert_eq!(said.matches("SELCT").count(), 20);
    let said = many_of(20_000, |n| {
        let hinted = "INSERT INTO b /*+ OPTIONS('x'='y') */ SELECT 1 FROM o /*+ ä */;";
        format!("{TABLES}{}", many(n, |_| hinted.to_string(), " "))
    });
    assert_ne!(said, "planned");
    // One line, every letter of it two bytes.
    let said = many_of(20_000, |n| {
        format!(
            "{TABLES}INSERT INTO b SELECT CHAR_LENGTH('{}') + {} FROM o",
            "ä".repeat(5 * n),
            many(n, |_| "ü".to_string(), ", ")
        )
    });
    assert_ne!(said, "planned");
}

#[test]
fn many_values_and_queries_take_work_by_their_number() {
    let query = |query: String| format!("{TABLES}INSERT INTO b {query}");
    let values = |n| many(n, |i| i.to_string(), ", ");
    let said = many_of(50_000, |n| {
        query(format!("SELECT id FROM o WHERE id IN ({})", values(n)))
    });
    assert_eq!(said, "planned");
    let said = many_of(50_000, |n| {
        query(format!(
            "SELECT id FROM o WHERE id + id + id + id + id IN ({})",
            values(n)
        ))
    });
    assert!(said.starts_with("the expression has grown"), "{said}");
    let said = many_of(3_000, |n| {
        query(many(n, |_| "SELECT id FROM o".to_string(), " UNION ALL "))
    });
    assert_eq!(said, "an expression of more than 300 AND and OR");
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
