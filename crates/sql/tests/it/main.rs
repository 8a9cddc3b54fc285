//! Scripts and what becomes of them, as text.
//!
//! `tests/plan/*.sql` is a whole script; its `.plan` holds settings, job graphs, explanations and notices.
//! `tests/errors/*.sql` holds many scripts, each begun by a line `-- case: a fact`; what stands before the first case is put in
//! front of each of them. Its `.err` holds the rendered messages. `tests/check/*.sql` is a script that runs; its `.check` holds what
//! there is to say about it. `UPDATE_EXPECT=1` rewrites all of them; their diff is reviewed as code.
//!
//! The world of all cases: topics `orders`, `inventory-events` and `framed` (which has a registered schema); `lakeward.toml`
//! maps `localhost:9092` and `kafka-1:9092,kafka-2:9092` to this server, `elsewhere:9092` to another cluster, the catalogs
//! `hive` and `lake` to this server, `remote` to a REST catalog, and the warehouse `s3://lakehouse/`. `orders` has two partitions,
//! keeps records for a week and has a registered schema of five fields, of which no SMALLINT can be read; there is no zone Europe/Atlantis, and the engine does not take the pattern `no pattern(`.

mod broken;
mod hostile;
mod types;

use lw_graph::{Expr, Field, LogicalType, Node, NodeId, Operator, TypeKind};
use lw_sql::environment::{CatalogPlace, Cluster, Environment, Missing, Topic};
use lw_sql::{Located, Plan, StatementKind, explain, plan_script, statements};
use std::fmt::Write;
use std::path::{Path, PathBuf};

struct World;

const TOPICS: [&str; 3] = ["orders", "inventory-events", "framed"];

impl Environment for World {
    fn bootstrap(&self, servers: &str) -> Result<Cluster, Missing> {
        match servers {
            "localhost:9092" | "kafka-1:9092,kafka-2:9092" => Ok(Cluster::Embedded),
            "elsewhere:9092" => Ok(Cluster::External),
            _ => Err(Missing {
                known: vec!["localhost:9092".to_string()],
            }),
        }
    }

    fn registry_is_here(&self, url: &str) -> bool {
        url == "http://here:8081"
    }

    fn catalog(&self, name: &str) -> Result<CatalogPlace, Missing> {
        match name {
            "hive" | "lake" => Ok(CatalogPlace::Embedded),
            "remote" => Ok(CatalogPlace::Rest {
                uri: "http://catalog:8181".to_string(),
            }),
            _ => Err(Missing {
                known: vec!["hive".to_string(), "lake".to_string()],
            }),
        }
    }

    fn warehouse(&self, place: &str) -> Result<String, Missing> {
        match place.strip_prefix("s3://lakehouse/") {
            Some(rest) => Ok(format!("file:///warehouse/{rest}")),
            None => Err(Missing::default()),
        }
    }

    fn topic_exists(&self, topic: &str) -> bool {
        TOPICS.contains(&topic)
    }

    fn topics(&self) -> Vec<String> {
        TOPICS.map(str::to_string).to_vec()
    }

    fn topic(&self, topic: &str) -> Option<Topic> {
        let week = Some(7 * 86_400_000);
        match topic {
            "orders" => Some(Topic {
                partitions: 2,
                retention: week,
            }),
            "inventory-events" => Some(Topic {
                partitions: 4,
                retention: None,
            }),
            _ => None,
        }
    }

    fn problem_of(&self, expr: &Expr) -> Option<String> {
        let text = expr.to_string();
        text.contains("'no pattern('")
            .then(|| "the pattern 'no pattern(' is none".to_string())
    }

    fn problem_of_pattern(&self, pattern: &str) -> Option<String> {
        (pattern == "no pattern(").then(|| "it is no pattern".to_string())
    }

    fn has_zone(&self, zone: &str) -> bool {
        zone != "Europe/Atlantis"
    }

    fn registered(&self, topic: &str) -> Vec<(String, Option<LogicalType>)> {
        let column = |name: &str, kind: TypeKind| (name.to_string(), Some(kind.nullable()));
        match topic {
            "orders" => vec![
                column("id", TypeKind::BigInt),
                column("note", TypeKind::string()),
                ("colour".to_string(), None),
                column("ts", TypeKind::Timestamp(3)),
                column("lines", TypeKind::Array(Box::new(TypeKind::Int.nullable()))),
            ],
            _ => Vec::new(),
        }
    }

    fn problem_of_columns(&self, _: &str, columns: &[Field]) -> Option<String> {
        let narrow = columns
            .iter()
            .find(|column| column.ty.kind == TypeKind::SmallInt)?;
        Some(format!(
            "field '{}': the writer's long cannot be read as SMALLINT",
            narrow.name
        ))
    }

    fn subject_of(&self, topic: &str) -> Option<String> {
        (topic == "framed").then(|| "framed-value".to_string())
    }
}

#[test]
fn plans_are_as_written() {
    check_folder("tests/plan", "plan", |name, text| {
        match plan_script(text, name, &World) {
            Ok(plan) => show(&plan, name, text),
            Err(diagnostics) => format!("refused:\n{}", diagnostics.render(name, text)),
        }
    });
}

#[test]
fn advice_is_as_written() {
    check_folder("tests/check", "check", |name, text| {
        let plan = plan_script(text, name, &World).map_err(|d| d.render(name, text));
        let plan = plan.unwrap_or_else(|refused| panic!("{refused}"));
        assert!(plan.notices.is_empty(), "{:?}", plan.notices);
        let said = plan.advice.iter().map(|said| said.render(name, text));
        said.collect::<Vec<_>>().join("\n")
    });
}

#[test]
fn refusals_are_as_written() {
    check_folder("tests/errors", "err", |_, text| {
        let mut sections = text.split("-- case: ");
        let prelude = sections.next().unwrap_or_default();
        let prelude: Vec<&str> = prelude
            .lines()
            .filter(|line| !line.starts_with("--"))
            .collect();
        let prelude = prelude.join("\n").trim().to_string();
        let mut out = String::new();
        for section in sections {
            let (fact, script) = section.split_once('\n').unwrap_or((section, ""));
            let script = format!("{prelude}\n{}", script.trim_end());
            let script = script.trim_start();
            writeln!(out, "== {fact}").unwrap();
            match plan_script(script, "case.sql", &World) {
                Ok(plan) => out += &format!("planned:\n{}\n", show(&plan, "case.sql", script)),
                Err(diagnostics) => out += &format!("{}\n", diagnostics.render("case.sql", script)),
            }
        }
        out
    });
}

/// The listing as the article prints it: on one line, and with a comment that is no SQL anywhere.
const ARTICLE: &str = "// Flink SQL: ingest Kafka events and write to Iceberg CREATE TABLE inventory_events ( sku STRING, warehouse_id STRING, event_type STRING, quantity INT, event_time TIMESTAMP(3), WATERMARK FOR event_time AS event_time - INTERVAL '5' SECOND ) WITH ( 'connector' = 'kafka', 'topic' = 'inventory-events', 'properties.bootstrap.servers' = 'kafka-1:9092,kafka-2:9092', 'format' = 'avro' ); CREATE TABLE lakehouse.inventory_events ( sku STRING, warehouse_id STRING, event_type STRING, quantity INT, event_time TIMESTAMP(3) ) WITH ( 'connector' = 'iceberg', 'catalog-name' = 'hive', 'warehouse' = 's3://lakehouse/', 'format-version' = '2' ); INSERT INTO lakehouse.inventory_events SELECT sku, warehouse_id, event_type, quantity, event_time FROM inventory_events;";

/// `plan/article.sql` is the article's text in lines; the example differs from it by a comment that Flink reads too.
#[test]
fn the_example_is_the_articles_script_word_for_word() {
    let article = include_str!("../plan/article.sql");
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(words(article), ARTICLE);
    let example = include_str!("../../../../examples/inventory/inventory.sql");
    assert_eq!(example, article.replacen("//", "--", 1));
}

/// What `lakeward run -o json` prints of a refused script.
#[test]
fn programs_get_the_place_as_line_and_column() {
    let text = "-- größer\nINSERT INTO nowhere SELECT 1 FROM src";
    let diagnostics = plan_script(text, "j.sql", &World).unwrap_err();
    let located = diagnostics.located("jobs/j.sql", text);
    let json = serde_json::to_string_pretty(&located).unwrap();
    expect_test::expect![[r#"
        [
          {
            "file": "jobs/j.sql",
            "line": 2,
            "column": 13,
            "severity": "error",
            "code": "unknown-table",
            "message": "there is no table 'nowhere'",
            "hint": "declare it with CREATE TABLE before it is used",
            "span": {
              "start": 24,
              "end": 31
            }
          },
          {
            "file": "jobs/j.sql",
            "line": 2,
            "column": 35,
            "severity": "error",
            "code": "unknown-table",
            "message": "there is no table 'src'",
            "hint": "declare it with CREATE TABLE before it is used",
            "span": {
              "start": 46,
              "end": 49
            }
          }
        ]"#]]
    .assert_eq(&json);
    let back: Vec<Located> = serde_json::from_str(&json).unwrap();
    assert_eq!(back, located);
}

#[test]
fn a_script_is_cut_into_statements_of_known_kinds() {
    let text = "-- a; comment\nSET 'a' = 'x;y';\n// one more; comment\nCREATE TEMPORARY TABLE `t;` (a INT);
        EXECUTE STATEMENT SET BEGIN INSERT INTO a SELECT 1; INSERT INTO b SELECT 2; END;
        /* ; */ SELECT ';';; SHOW TABLES; with x as (select 1) select * from x";
    let cut: Vec<(StatementKind, usize)> = statements(text)
        .unwrap()
        .into_iter()
        .map(|s| (s.kind, s.text.lines().count()))
        .collect();
    assert_eq!(
        cut,
        [
            (StatementKind::Set, 1),
            (StatementKind::CreateTable, 1),
            (StatementKind::StatementSet, 1),
            (StatementKind::Query, 1),
            (StatementKind::Show, 1),
            (StatementKind::Query, 1),
        ]
    );
}

/// Depth is bounded where recursion would overflow the stack, and length is not where it need not be.
#[test]
fn long_expressions_are_planned_or_refused_within_the_stack() {
    let plan = |condition: String| {
        let text = format!(
            "CREATE TABLE o (id BIGINT, s STRING) WITH ('connector' = 'kafka', 'topic' = 'orders',
             'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json');
             CREATE TABLE b (id BIGINT) WITH ('connector' = 'blackhole');
             INSERT INTO b SELECT id FROM o WHERE {condition}"
        );
        match plan_script(&text, "long.sql", &World) {
            Ok(_) => "planned".to_string(),
            Err(diagnostics) => diagnostics.to_string(),
        }
    };
    let values: Vec<String> = (0..10_000).map(|i| i.to_string()).collect();
    assert_eq!(plan(format!("id IN ({})", values.join(", "))), "planned");
    assert_eq!(plan(vec!["id = 1"; 300].join(" OR ")), "planned");
    assert_eq!(
        plan(vec!["id = 1"; 10_000].join(" OR ")),
        "an expression of more than 300 AND and OR"
    );
    assert_eq!(
        plan(format!("0 = {}", vec!["id"; 101].join(" + "))),
        "planned"
    );
    assert_eq!(
        plan(format!("0 = {}", vec!["id"; 10_000].join(" + "))),
        "an expression of more than 120 operators"
    );
    assert_eq!(
        plan(format!("{}id = 1{}", "(".repeat(500), ")".repeat(500))),
        "the expression is nested too deeply"
    );
    assert_eq!(
        plan("NOT ".repeat(10_000) + "id = 1"),
        "an expression of more than 120 operators"
    );
}

/// Every script of both folders, errors one by one, with what stands before it.
fn all_cases() -> Vec<(String, String)> {
    [plans(), mistakes()].concat()
}

fn plans() -> Vec<(String, String)> {
    let files = scripts("tests/plan").into_iter();
    files.map(|file| (String::new(), read(&file))).collect()
}

fn mistakes() -> Vec<(String, String)> {
    let mut cases = Vec::new();
    for file in scripts("tests/errors") {
        let text = read(&file);
        let mut sections = text.split("-- case: ");
        let prelude = sections.next().unwrap_or_default();
        cases.extend(sections.map(|section| (prelude.to_string(), format!("-- {section}"))));
    }
    cases
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap()
}

fn show(plan: &Plan, name: &str, text: &str) -> String {
    let mut out = String::new();
    for (key, value) in &plan.settings {
        writeln!(out, "set {key} = {value}").unwrap();
    }
    if let Some(name) = &plan.pipeline_name {
        writeln!(out, "pipeline {name}").unwrap();
    }
    for job in &plan.jobs {
        let tables: Vec<&str> = job.inserts.iter().map(|i| i.table.as_str()).collect();
        writeln!(
            out,
            "job into {}\n{}",
            tables.join(", "),
            explain(&job.graph)
        )
        .unwrap();
        let sinks: Vec<NodeId> = job.graph.sinks().map(|(sink, _)| sink).collect();
        let inserts: Vec<NodeId> = job.inserts.iter().map(|insert| insert.sink).collect();
        assert_eq!(sinks, inserts);
        // What is shared may be NULL whatever its type says; only a sink decides whether that is a mistake.
        for (id, node) in job.graph.nodes.iter().enumerate() {
            let into_sink = |n: &Node| n.inputs == [id] && matches!(n.operator, Operator::Sink(_));
            if let (Operator::Project(exprs), false) =
                (&node.operator, job.graph.nodes.iter().any(into_sink))
            {
                for (expr, field) in exprs.iter().zip(&node.schema.fields) {
                    let kept = matches!(expr, Expr::Column { .. });
                    assert!(kept || field.ty.nullable, "{} of {text}", field.name);
                }
            }
        }
        for insert in &job.inserts {
            // Alone an INSERT writes the same rows.
            let (_, spec) = insert.graph.sinks().next().unwrap();
            assert_eq!(insert.graph.sinks().count(), 1);
            assert_eq!(
                Operator::Sink(spec.clone()),
                job.graph.nodes[insert.sink].operator
            );
        }
        let json = serde_json::to_string(&job.graph).unwrap();
        assert_eq!(
            serde_json::from_str::<lw_graph::JobGraph>(&json).unwrap(),
            job.graph
        );
    }
    for explanation in &plan.explanations {
        writeln!(out, "explain\n{}", explanation.text).unwrap();
    }
    for notice in &plan.notices {
        writeln!(out, "{}", notice.render(name, text)).unwrap();
    }
    out
}

fn check_folder(folder: &str, extension: &str, check: impl Fn(&str, &str) -> String) {
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let mut wrong = Vec::new();
    for file in scripts(folder) {
        let text = std::fs::read_to_string(&file).unwrap();
        let name = file.file_name().unwrap().to_str().unwrap();
        let got = check(name, &text);
        let golden = file.with_extension(extension);
        if update {
            std::fs::write(&golden, &got).unwrap();
        } else if std::fs::read_to_string(&golden).unwrap_or_default() != got {
            wrong.push(format!("{}:\n{got}", golden.display()));
        }
    }
    assert!(
        wrong.is_empty(),
        "differs (UPDATE_EXPECT=1 rewrites):\n{}",
        wrong.join("\n")
    );
}

fn scripts(folder: &str) -> Vec<PathBuf> {
    scripts_with(folder, "sql")
}

fn scripts_with(folder: &str, extension: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut scripts: Vec<PathBuf> = files
        .filter(|f| f.extension().is_some_and(|e| e == extension))
        .collect();
    scripts.sort();
    assert!(!scripts.is_empty(), "no scripts");
    scripts
}

/// What a plan id is made of: it follows the query, and nothing else of the script.
#[test]
fn a_definition_is_what_the_insert_means() {
    const SRC: &str = "CREATE TABLE src (a INT, s STRING) WITH ('connector'='kafka', 'topic'='orders', \
        'properties.bootstrap.servers'='localhost:9092', 'format'='json');";
    const OTHER: &str = "CREATE TABLE other (a INT) WITH ('connector'='blackhole');";
    const SINK: &str = "CREATE TABLE snk (a INT) WITH ('connector'='blackhole');";
    let definition = |parts: &[&str]| {
        let text = parts.join("\n");
        let plan = plan_script(&text, "d.sql", &World).map_err(|d| d.render("d.sql", &text));
        let jobs = plan.unwrap_or_else(|error| panic!("{error}")).jobs;
        let mut inserts = jobs.into_iter().flat_map(|job| job.inserts);
        let insert = inserts.find(|insert| insert.table.ends_with("snk"));
        insert.expect("an INSERT INTO snk").definition
    };
    let view = "CREATE VIEW v AS SELECT a FROM src WHERE a > 1;";
    let insert = "INSERT INTO snk SELECT a FROM v;";
    let base = definition(&[SRC, SINK, view, insert]);
    // Comments, layout, order, and INSERTs and tables that have nothing to do with it.
    for same in [
        vec![
            SINK,
            "-- why\n",
            SRC,
            view,
            "INSERT INTO snk /* of all */\n SELECT a\nFROM v;",
        ],
        vec![
            SRC,
            OTHER,
            SINK,
            view,
            "INSERT INTO other SELECT a FROM src;",
            insert,
        ],
    ] {
        assert_eq!(definition(&same), base, "{same:?}");
    }
    // What a view reads, what a hint says, in which database names are looked up.
    let wider = SRC.replace("s STRING", "s STRING, b INT");
    let fewer = "CREATE VIEW v AS SELECT a FROM src WHERE a > 2;";
    let hinted =
        "INSERT INTO snk SELECT a FROM src /*+ OPTIONS('scan.startup.mode'='latest-offset') */;";
    let plain = "INSERT INTO snk SELECT a FROM src;";
    // What a table is like is part of it, also when that is gone.
    let alike = "CREATE TABLE copy LIKE src; DROP TABLE src; CREATE VIEW v AS SELECT a FROM copy;";
    let copied = definition(&[SRC, SINK, alike, insert]);
    // And what a table has from its catalog.
    let catalog =
        "CREATE CATALOG lake WITH ('type' = 'iceberg'); CREATE TABLE lake.db.snk (a INT);";
    let elsewhere = "CREATE CATALOG lake WITH ('type' = 'iceberg', 'catalog-type' = 'rest', 'uri' = 'http://c'); CREATE TABLE lake.db.snk (a INT);";
    let landed = "INSERT INTO lake.db.snk SELECT a FROM src;";
    for (one, other) in [
        (
            vec![SRC, elsewhere, landed],
            definition(&[SRC, catalog, landed]),
        ),
        (vec![&wider, SINK, alike, insert], copied),
        (vec![&wider, SINK, view, insert], base.clone()),
        (vec![SRC, SINK, fewer, insert], base.clone()),
        (
            vec![SRC, SINK, view, hinted],
            definition(&[SRC, SINK, view, plain]),
        ),
        (
            vec!["CREATE DATABASE d; USE d;", SRC, SINK, view, insert],
            base.clone(),
        ),
    ] {
        assert_ne!(definition(&one), other, "{one:?}");
    }
    expect_test::expect![[r#"
        default_database.snk: CREATE TABLE snk ( a INT ) WITH ( 'connector' = 'blackhole' );
        default_database.src: CREATE TABLE src ( a INT , s STRING ) WITH ( 'connector' = 'kafka' , 'topic' = 'orders' , 'properties.bootstrap.servers' = 'localhost:9092' , 'format' = 'json' );
        default_database.v: CREATE VIEW v AS SELECT a FROM src WHERE a > 1;
        default_database: INSERT INTO snk SELECT a FROM v"#]].assert_eq(&base);
}
