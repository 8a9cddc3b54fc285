//! The API over a real socket, real pipelines and a real log: each route's answers and refusals, status and body.

use super::*;
use lw_connectors::kafka::{EmbeddedKafka, EmbeddedLog};
use lw_connectors::print::{Blackhole, NothingToCommit};
use lw_graph::{
    Field, FormatSpec, JobGraph, KafkaSource, Node, Operator, Schema, SinkSpec, SourceColumn,
    SourceSpec, StartupMode, TypeKind,
};
use lw_runtime::connector::{ConnectorError, Connectors, NamedSink, Output, Owner, Source};
use lw_runtime::job::Surroundings;
use lw_runtime::manifest::SplitOffset;
use lw_runtime::pipelines::{PlannedInsert, PlannedScript, Planner};
use lw_runtime::pool::Pool;
use lw_stdx::clock::SystemClock;
use lw_stdx::disk::RealDisk;
use lw_storage::source::{LogSource, SourceError};
use lw_storage::{Config, Op, Storage};
use serde_json::json;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Connectors of a server without tables: the embedded log, and a sink that counts.
struct LogToBlackhole(Storage);

struct Log(Storage);

impl EmbeddedLog for Log {
    fn log(&self) -> &dyn LogSource {
        &self.0
    }

    fn offset_at(&self, _: &str, _: i32, _: i64) -> Result<Option<i64>, SourceError> {
        Ok(None)
    }

    fn committed(&self, _: &str, _: &str, _: i32) -> Result<Option<i64>, SourceError> {
        Ok(None)
    }
}

impl Connectors for LogToBlackhole {
    fn source(&self, spec: &SourceSpec, group: &str) -> Result<Box<dyn Source>, ConnectorError> {
        let SourceSpec::Kafka(kafka) = spec else {
            unreachable!("these jobs read topics")
        };
        let log = Arc::new(Log(self.0.clone()));
        let source = EmbeddedKafka::new(kafka, group, log, None, Arc::default())?;
        Ok(Box::new(source))
    }

    fn sink(&self, _: NamedSink<'_>, _: &Owner) -> Result<Output, ConnectorError> {
        Ok((
            Box::new(Blackhole::new("blackhole")),
            Box::new(NothingToCommit),
        ))
    }

    fn publish_offsets(&self, _: &str, _: &[SplitOffset]) {}
}

/// The plan of every script that plans: topic `events` to a blackhole.
fn job() -> PlannedJob {
    let schema = Schema::new(vec![Field::new("v", TypeKind::string().nullable())]);
    let source = KafkaSource {
        table: "events".to_string(),
        topics: vec!["events".to_string()],
        bootstrap: "here".to_string(),
        group_id: None,
        startup: StartupMode::Earliest,
        bounded: false,
        format: FormatSpec::Raw,
        key: None,
        value_schema: schema.clone(),
        columns: vec![SourceColumn::Value(0)],
    };
    let node = |operator, inputs| Node {
        operator,
        inputs,
        schema: schema.clone(),
    };
    PlannedJob {
        graph: JobGraph {
            nodes: vec![
                node(Operator::Source(SourceSpec::Kafka(source)), vec![]),
                node(Operator::Sink(SinkSpec::Blackhole), vec![0]),
            ],
        },
        inserts: vec![PlannedInsert {
            table: "blackhole".to_string(),
            occurrence: 0,
            alone: None,
            query: None,
        }],
        group: None,
    }
}

/// No record of these tests is unreadable.
struct NeverAsked;

impl Planner for NeverAsked {
    fn plan(&self, sql: &str) -> Result<PlannedScript, String> {
        Err(format!("nobody plans {sql} again"))
    }
}

/// A planner of four words.
fn plan(script: &Script) -> Result<Planned, Refusal> {
    let mut planned = Planned {
        name: script.name.clone(),
        jobs: Vec::new(),
        settings: BTreeMap::new(),
        notices: vec!["a notice".to_string()],
        explanations: Vec::new(),
    };
    match script.sql.split_whitespace().next() {
        Some("INSERT") => planned.jobs.push(job()),
        Some("EXPLAIN") => planned.explanations.push("the plan".to_string()),
        Some("PANIC") => panic!("a bug in the planner"),
        Some("CREATE") => {}
        _ => {
            return Err(Refusal::new(400, "expected a statement")
                .detail(format!("In {}.", script.file))
                .hint("INSERT INTO …"));
        }
    }
    Ok(planned)
}

/// `SELECT n` has the rows 1 to n, `FAIL n` fails behind them, `SOME n` says that it has not all of them.
struct Numbers {
    left: Vec<i64>,
    most: usize,
    fails: bool,
    notices: Vec<String>,
}

fn numbers(question: &Question) -> Result<Box<dyn crate::Answer>, Refusal> {
    let (verb, n) = question.sql.split_once(' ').unwrap_or_default();
    let Ok(n) = n.parse::<i64>() else {
        return Err(Refusal::new(400, "no such column"));
    };
    Ok(Box::new(Numbers {
        left: (1..=n).rev().collect(),
        most: question.max_rows.map_or(usize::MAX, |most| most as usize),
        fails: verb == "FAIL",
        notices: Vec::from_iter((verb == "SOME").then(|| "one is left out".to_string())),
    }))
}

impl crate::Answer for Numbers {
    fn columns(&self) -> Vec<Column> {
        let column = |name: &str, kind: &str| Column {
            name: name.to_string(),
            kind: kind.to_string(),
        };
        vec![column("1", "Int64")]
    }

    fn next(&mut self) -> BoxFuture<'_, Option<Result<Vec<Value>, Refusal>>> {
        let next = if self.most > 0 { self.left.pop() } else { None };
        let row = next.map(|n| Ok(vec![json!([n])]));
        self.most = self.most.saturating_sub(row.is_some().into());
        let failed = self.fails && row.is_none();
        self.fails &= !failed;
        let failure = failed.then(|| Err(Refusal::new(400, "out of memory")));
        Box::pin(async move { row.or(failure) })
    }

    fn is_truncated(&self) -> bool {
        !self.left.is_empty()
    }

    fn notices(&self) -> Vec<String> {
        self.notices.clone()
    }
}

struct Server {
    address: SocketAddr,
    trouble: Arc<AtomicBool>,
    pipelines: Arc<Pipelines>,
    _runtime: tokio::runtime::Runtime,
    _folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.pipelines.drain();
    }
}

fn start() -> Server {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SystemClock::new());
    let config = Config::new(folder.path());
    let storage = Storage::open(Arc::new(RealDisk), clock.clone(), config).unwrap();
    let topic = Op::CreateTopic {
        name: "events".to_string(),
        id: uuid::Uuid::from_u128(1),
        partitions: 1,
        config: BTreeMap::new(),
        internal: false,
    };
    storage.commit_blocking(vec![topic]).unwrap();
    let around = Surroundings {
        storage: storage.clone(),
        connectors: Arc::new(LogToBlackhole(storage)),
        planner: Arc::new(NeverAsked),
        clock,
        memory: lw_runtime::state::Budget::none(),
        new_id: Arc::new(|| uuid::Uuid::from_u128(7)),
        pool: Pool::none(),
    };
    let pipelines = Arc::new(Pipelines::open(around, Duration::from_secs(1)));
    let trouble = Arc::new(AtomicBool::new(false));
    let parts = Parts {
        pipelines: pipelines.clone(),
        plan: Box::new(plan),
        check: Box::new(|script| {
            let planned = plan(script)?;
            Ok(json!({ "file": script.file, "jobs": planned.jobs.len() }))
        }),
        query: Box::new(|question| Box::pin(async move { numbers(&question) })),
        tables: Box::new(|| Ok(json!([{ "table": "a.t" }]))),
        table: Box::new(|table| match table {
            "a.t" => Ok(json!({ "table": table })),
            _ => Err(Refusal::new(404, format!("there is no table {table}"))),
        }),
        change_ref: Box::new(|table, change| Ok(json!([table, format!("{change:?}")]))),
        roll_back: Box::new(|table, back| Ok(json!([table, format!("{back:?}")]))),
        replay: Box::new(|table, asked| Ok(json!([table, format!("{asked:?}"), asked.range()]))),
        promote: Box::new(|table, asked| Ok(json!([table, format!("{asked:?}")]))),
        erase: Box::new(|table, asked| Ok(json!([table, format!("{asked:?}")]))),
        compact: Box::new(|table, how, _cancelled| {
            Ok(json!({ "table": table, "how": format!("{how:?}") }))
        }),
        audit: Box::new(|table, _cancelled| match table {
            "a.t" => Ok(json!({ "table": table, "ok": true })),
            _ => Err(Refusal::new(
                404,
                format!("no pipeline writes table '{table}'"),
            )),
        }),
        output: Box::new(|pipeline, from| (vec![format!("{pipeline} {from}")], from + 1)),
        metrics: Box::new(|| "# EOF\n".to_string()),
        trouble: {
            let trouble = trouble.clone();
            Box::new(move || {
                let full = trouble.load(Ordering::Relaxed);
                full.then(|| "writes are refused".to_string())
            })
        },
        status: Status {
            version: "1.2.3",
            pid: 42,
            kafka: "127.0.0.1:1".to_string(),
            registry: "http://127.0.0.1:2".to_string(),
            catalog: "http://127.0.0.1:3".to_string(),
            http: "http://127.0.0.1:4".to_string(),
            warehouse: "file:///w".to_string(),
        },
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"));
    let listener = listener.unwrap();
    let address = listener.local_addr().unwrap();
    let policy = shell::Policy::new(shell::Dialect::Api);
    let served = shell::guarded(router(Arc::new(parts)), policy);
    runtime.spawn(async move { axum::serve(listener, served).await });
    Server {
        address,
        trouble,
        pipelines,
        _runtime: runtime,
        _folder: folder,
    }
}

/// Status, head and body of one request.
struct Answer {
    status: u16,
    head: String,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        let kind = "content-type: application/json";
        assert!(self.head.contains(kind), "{} {}", self.head, self.text);
        serde_json::from_str(&self.text).unwrap()
    }

    /// Status and message of a refusal, whose body has all four members.
    fn refusal(&self) -> (u16, String) {
        let error = &self.json()["error"];
        for member in ["message", "detail", "hint", "rendered"] {
            assert!(error[member].is_string(), "{member} in {error}");
        }
        (self.status, error["message"].as_str().unwrap().to_string())
    }
}

impl Server {
    fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let mut socket = TcpStream::connect(self.address).unwrap();
        let length = body.len();
        write!(socket, "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        let (head, text) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer {
            status,
            head: head.to_ascii_lowercase(),
            text: text.to_string(),
        }
    }

    fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "", "")
    }

    fn post(&self, path: &str, body: &Value) -> Answer {
        let headers = "content-type: application/json\r\n";
        self.send("POST", path, headers, &body.to_string())
    }

    fn submit(&self, name: &str, sql: &str) -> Answer {
        self.post("/api/v1/pipelines", &json!({ "name": name, "sql": sql }))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a real server takes real time; the wait has an end"
    )]
    fn wait_for_state(&self, name: &str, state: &str) {
        let begun = Instant::now();
        loop {
            let shown = self.get(&format!("/api/v1/pipelines/{name}")).json();
            if shown["state"] == state {
                return;
            }
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "{state} never came: {shown}"
            );
        }
    }
}

#[test]
fn a_pipeline_is_submitted_shown_stopped_resumed_and_dropped() {
    let server = start();
    let made = server.submit("p", "INSERT 1");
    let made_json = made.json();
    assert_eq!((made.status, &made_json["pipeline"]), (200, &json!("p")));
    assert_eq!(made_json["outcome"], "created");
    assert_eq!(made_json["notices"], json!(["a notice"]));
    assert_eq!(server.submit("p", "INSERT 1").json()["outcome"], "attached");
    server.wait_for_state("p", "running");
    let listed = server.get("/api/v1/pipelines").json();
    assert_eq!(
        (&listed[0]["name"], &listed[0]["sql"]),
        (&json!("p"), &json!("INSERT 1"))
    );
    assert_eq!(listed[0]["jobs"][0]["sinks"][0]["table"], "blackhole");

    let other = server.submit("p", "INSERT 2");
    let differs = (409, "pipeline 'p' exists with another script".to_string());
    assert_eq!(other.refusal(), differs);
    assert_eq!(
        other.json()["error"]["detail"],
        "First difference, line 1:\n- INSERT 1\n+ INSERT 2"
    );
    let replace = json!({ "name": "p", "sql": "INSERT 2", "replace": true });
    let replaced = server.post("/api/v1/pipelines", &replace);
    assert_eq!(replaced.json()["outcome"], "replaced");

    let stopped = server.post("/api/v1/pipelines/p/stop", &json!({}));
    assert_eq!(
        (stopped.status, &stopped.json()["state"]),
        (200, &json!("stopped"))
    );
    // Without a body, as curl sends it.
    let resumed = server.send("POST", "/api/v1/pipelines/p/resume", "", "");
    assert_eq!(
        (resumed.status, &resumed.json()["name"]),
        (200, &json!("p"))
    );
    server.wait_for_state("p", "running");
    let dropped = server.send("DELETE", "/api/v1/pipelines/p", "", "");
    assert_eq!(
        (dropped.status, dropped.json()),
        (200, json!({ "dropped": "p" }))
    );
    assert_eq!(server.get("/api/v1/pipelines").json(), json!([]));
}

#[test]
fn a_pipeline_that_is_not_there_is_said_to_be_unknown_by_every_verb() {
    let server = start();
    server.submit("known", "INSERT 1");
    for (method, path) in [
        ("GET", "/api/v1/pipelines/unknown"),
        ("POST", "/api/v1/pipelines/unknown/stop"),
        ("POST", "/api/v1/pipelines/unknown/resume"),
        ("DELETE", "/api/v1/pipelines/unknown"),
    ] {
        let answer = server.send(method, path, "", "");
        let expected = (404, "there is no pipeline 'unknown'".to_string());
        assert_eq!(answer.refusal(), expected, "{method} {path}");
        assert_eq!(answer.json()["error"]["hint"], "Pipelines: known.");
    }
}

#[test]
fn a_script_is_checked_and_not_run() {
    let server = start();
    let checked = json!({ "file": "dir/p.sql", "sql": "INSERT" });
    let checked = server.post("/api/v1/check", &checked).json();
    assert_eq!(checked, json!({ "file": "dir/p.sql", "jobs": 1 }));
    assert_eq!(server.get("/api/v1/pipelines").json(), json!([]));
    let bad = json!({ "file": "dir/p.sql", "sql": "nonsense" });
    let bad = server.post("/api/v1/check", &bad);
    assert_eq!(bad.refusal(), (400, "expected a statement".to_string()));
}

#[test]
fn a_script_is_refused_explained_or_has_nothing_to_run() {
    let server = start();
    let bad = json!({ "name": "p", "file": "dir/p.sql", "sql": "nonsense" });
    let bad = server.post("/api/v1/pipelines", &bad);
    assert_eq!(bad.refusal(), (400, "expected a statement".to_string()));
    assert_eq!(bad.json()["error"]["detail"], "In dir/p.sql.");
    assert_eq!(bad.json()["error"]["hint"], "INSERT INTO …");
    let nothing = "the script has no INSERT INTO, so there is nothing to run".to_string();
    assert_eq!(server.submit("p", "CREATE").refusal(), (400, nothing));
    let explained = server.submit("p", "EXPLAIN").json();
    assert_eq!(
        explained,
        json!({ "explanations": ["the plan"], "notices": ["a notice"] })
    );
    let panicked = server.submit("p", "PANIC");
    let failed = "the server failed on this request".to_string();
    assert_eq!(panicked.refusal(), (500, failed));
    assert_eq!(
        server.get("/api/v1/pipelines").json(),
        json!([]),
        "and it goes on"
    );
}

#[test]
fn tables_queries_audits_and_output_pass_through() {
    let server = start();
    assert_eq!(
        server.get("/api/v1/tables").json(),
        json!([{ "table": "a.t" }])
    );
    assert_eq!(
        server.get("/api/v1/tables/a.t").json(),
        json!({ "table": "a.t" })
    );
    assert_eq!(
        server.get("/api/v1/tables/a.u").refusal(),
        (404, "there is no table a.u".to_string())
    );
    let change = json!({ "kind": "tag", "name": "t", "at": "7", "max_ref_age_ms": 9 });
    let passed = server.post("/api/v1/tables/a.t/refs", &change).json();
    let said = passed[1].as_str().expect("a text");
    for part in [
        "Tag",
        "Some(\"7\")",
        "drop: false",
        "max_ref_age_ms: Some(9)",
    ] {
        assert!(said.contains(part), "{part} in {passed}");
    }
    let back = json!({ "to": "7" });
    assert_eq!(
        server.post("/api/v1/tables/a.t/rollback", &back).json()[1],
        "Rollback { to: Some(\"7\"), as_of_ms: None, execute: false }"
    );
    let unknown = json!({ "to": "7", "force": true });
    let refused = server.post("/api/v1/tables/a.t/rollback", &unknown);
    assert!(
        refused.refusal().0 >= 400,
        "what is not understood is not passed over"
    );
    let erase = json!({ "where": "id = 7", "and_tags": true });
    assert_eq!(
        server.post("/api/v1/tables/a.t/erase", &erase).json()[1],
        "Erase { predicate: Some(\"id = 7\"), go_on: false, and_tags: true, execute: false }"
    );
    for (request, how) in [(json!({}), "Done"), (json!({ "dry_run": true }), "Planned")] {
        let passed = server.post("/api/v1/tables/a.t/compact", &request).json();
        assert_eq!(passed, json!({ "table": "a.t", "how": how }));
    }
    let unknown = json!({ "dry": true });
    let refused = server.post("/api/v1/tables/a.t/compact", &unknown);
    assert!(refused.refusal().0 >= 400, "and nothing is compacted");
    assert_eq!(
        server.get("/api/v1/audit/a.t").json(),
        json!({ "table": "a.t", "ok": true })
    );
    assert_eq!(server.get("/api/v1/audit/a.u").refusal().0, 404);
    let rows = server.post("/api/v1/sql", &json!({ "sql": "SELECT 1" }));
    assert_eq!(
        rows.json(),
        json!({ "columns": ["1"], "rows": [[1]], "truncated": false, "notices": [] })
    );
    let cut = json!({ "sql": "SELECT 3", "max_rows": 2 });
    assert_eq!(
        server.post("/api/v1/sql", &cut).json(),
        json!({ "columns": ["1"], "rows": [[1], [2]], "truncated": true, "notices": [] })
    );
    let some = json!({ "sql": "SOME 1" });
    assert_eq!(
        server.post("/api/v1/sql", &some).json(),
        json!({ "columns": ["1"], "rows": [[1]], "truncated": false, "notices": ["one is left out"] })
    );
    // A whole answer that fails has the status of its failure, a stream that does says so in its last line.
    let fails = json!({ "sql": "FAIL 1" });
    let failed = server.post("/api/v1/sql", &fails);
    assert_eq!(failed.refusal(), (400, "out of memory".to_string()));
    let lines = "content-type: application/json\r\naccept: application/x-ndjson\r\n";
    let streamed = |body: &Value| server.send("POST", "/api/v1/sql", lines, &body.to_string());
    let text = streamed(&cut).text;
    assert!(
        text.contains(r#"{"columns":[{"name":"1","type":"Int64"}]}"#),
        "{text}"
    );
    assert!(
        text.contains(r#"{"end":{"notices":[],"rows":2,"truncated":true}}"#),
        "{text}"
    );
    let text = streamed(&some).text;
    assert!(
        text.contains(r#"{"end":{"notices":["one is left out"],"rows":1,"truncated":false}}"#),
        "{text}"
    );
    let text = streamed(&fails).text;
    assert!(text.contains(r#""message":"out of memory""#), "{text}");
    assert!(!text.contains(r#"{"end""#), "{text}");
    let wrong = server.post("/api/v1/sql", &json!({ "sql": "SELECT x" }));
    assert_eq!(wrong.refusal(), (400, "no such column".to_string()));
    let output = server.get("/api/v1/pipelines/p/output?from=7").json();
    assert_eq!(output, json!({ "lines": ["p 7"], "next": 8 }));
    assert_eq!(server.get("/api/v1/pipelines/p/output").json()["next"], 1);
    let status = server.get("/api/v1/status").json();
    assert_eq!(
        (&status["version"], &status["pid"]),
        (&json!("1.2.3"), &json!(42))
    );
}

#[test]
fn health_and_metrics_are_for_machines() {
    let server = start();
    let well = server.get("/healthz");
    assert_eq!((well.status, well.json()), (200, json!({ "status": "ok" })));
    server.trouble.store(true, Ordering::Relaxed);
    let ill = server.get("/healthz");
    let expected = json!({ "status": "degraded", "reason": "writes are refused" });
    assert_eq!((ill.status, ill.json()), (503, expected));
    let metrics = server.get("/metrics");
    assert_eq!((metrics.status, metrics.text.as_str()), (200, "# EOF\n"));
    let kind = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert!(metrics.head.contains(kind), "{}", metrics.head);
}

#[test]
fn what_never_reaches_a_handler_is_refused_in_the_same_shape() {
    let server = start();
    let json_type = "content-type: application/json\r\n";
    // One byte over the limit, so that the server has read all of it when it answers.
    let long = format!(r#"{{"sql":"{}"}}"#, "x".repeat((2 << 20) - 9));
    let cases = [
        ("GET", "/api/v2", "", "", 404, "there is nothing at /api/v2"),
        (
            "PUT",
            "/api/v1/sql",
            json_type,
            "{}",
            405,
            "PUT is not for /api/v1/sql",
        ),
        (
            "POST",
            "/api/v1/sql",
            "",
            r#"{"sql":""}"#,
            415,
            "the request is not JSON",
        ),
        (
            "POST",
            "/api/v1/sql",
            json_type,
            "{",
            400,
            "the request is not understood",
        ),
        (
            "POST",
            "/api/v1/sql",
            json_type,
            r#"{"q":1}"#,
            422,
            "the request is not understood",
        ),
        (
            "POST",
            "/api/v1/sql",
            json_type,
            &long,
            413,
            "the request is too long",
        ),
        (
            "GET",
            "/api/v1/pipelines/p/output?from=x",
            "",
            "",
            400,
            "the request is not understood",
        ),
        (
            "GET",
            "/api/v1/tables/%ff",
            "",
            "",
            400,
            "the request is not understood",
        ),
    ];
    for (method, path, headers, body, status, message) in cases {
        let answer = server.send(method, path, headers, body);
        let expected = (status, message.to_string());
        assert_eq!(answer.refusal(), expected, "{method} {path}");
    }
    let allowed = server.send("PUT", "/api/v1/sql", "", "");
    assert!(allowed.head.contains("allow: post"), "{}", allowed.head);
    let unfinished = server.send("POST", "/api/v1/sql", json_type, "{");
    let detail = unfinished.json()["error"]["detail"].to_string();
    assert!(detail.contains("line 1"), "{detail}");
}
