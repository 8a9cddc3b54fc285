//! The registry on a real log: what survives a restart, what others write, and what HTTP adds.

mod hostile;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use expect_test::expect;
use lw_protocol::{Batch, BatchBuilder};
use lw_registry::{Registry, Request, SCHEMAS_TOPIC};
use lw_schemas::{AvroSchema, SchemaLookup};
use lw_stdx::clock::SystemClock;
use lw_stdx::disk::RealDisk;
use lw_storage::{Config, Storage};

struct Server {
    folder: tempfile::TempDir,
    storage: Option<Storage>,
    registry: Option<Registry>,
}

impl Server {
    fn new() -> Server {
        let folder = tempfile::tempdir().unwrap();
        let mut server = Server {
            folder,
            storage: None,
            registry: None,
        };
        server.start();
        server
    }

    fn start(&mut self) {
        let config = Config {
            wal_file_bytes: 1 << 20,
            ..Config::new(self.folder.path())
        };
        let storage =
            Storage::open(Arc::new(RealDisk), Arc::new(SystemClock::new()), config).unwrap();
        self.registry = Some(Registry::open(storage.clone()).unwrap());
        self.storage = Some(storage);
    }

    fn restart(&mut self) {
        self.registry = None;
        self.storage.take().unwrap().close();
        self.start();
    }

    fn registry(&self) -> &Registry {
        self.registry.as_ref().unwrap()
    }

    fn ask(&self, method: &str, target: &str, body: &str) -> String {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let outcome = self.registry().handle(&Request {
            method,
            path,
            query,
            body: body.as_bytes(),
        });
        format!("{} {}", outcome.status, outcome.body)
    }

    fn register(&self, subject: &str, schema: &str) -> String {
        let body =
            lw_schemas::Json::object([("schema", lw_schemas::Json::string(schema))]).to_string();
        self.ask("POST", &format!("/subjects/{subject}/versions"), &body)
    }

    /// Writes records as another producer would.
    fn produce(&self, records: &[(Option<&str>, Option<&str>)]) {
        self.append(batch(records).into_bytes());
    }

    fn append(&self, batch: Bytes) {
        let storage = self.storage.as_ref().unwrap();
        let topic = storage.topic(SCHEMAS_TOPIC).unwrap().id;
        let (done, wait) = std::sync::mpsc::channel();
        storage.append(topic, 0, batch, move |r| done.send(r).unwrap());
        wait.recv().unwrap().unwrap();
    }
}

fn batch(records: &[(Option<&str>, Option<&str>)]) -> Batch {
    let mut builder = BatchBuilder::default();
    for (key, value) in records {
        builder.push(0, key.map(str::as_bytes), value.map(str::as_bytes), &[]);
    }
    builder.build().unwrap()
}

const USER: &str = r#"{"type":"record","name":"U","fields":[{"name":"id","type":"int"}]}"#;
const BROKEN: &str = r#"{"type":"record","name":"U","fields":[{"name":"id","type":"int"},{"name":"x","type":"int"}]}"#;

#[test]
fn a_restart_changes_nothing() {
    let mut server = Server::new();
    assert_eq!(server.register("a", USER), r#"200 {"id":1}"#);
    assert_eq!(server.register("b", "\"string\""), r#"200 {"id":2}"#);
    server.ask("PUT", "/config/a", r#"{"compatibility":"FULL"}"#);
    server.ask("DELETE", "/subjects/b/versions/1", "");
    server.ask("PUT", "/mode/c", r#"{"mode":"READONLY"}"#);
    let questions = [
        "/schemas?deleted=true",
        "/subjects?deleted=true",
        "/config/a",
        "/mode/c",
        "/schemas/ids/2",
    ];
    let before = questions.map(|q| server.ask("GET", q, ""));
    server.restart();
    assert_eq!(questions.map(|q| server.ask("GET", q, "")), before);
    assert_eq!(
        server.register("n", "\"long\""),
        r#"200 {"id":3}"#,
        "ids go on where they were"
    );
    assert_eq!(server.register("a", USER), r#"200 {"id":1}"#);
}

#[test]
fn the_topic_is_internal_and_has_one_partition() {
    let server = Server::new();
    let topic = server
        .storage
        .as_ref()
        .unwrap()
        .topic(SCHEMAS_TOPIC)
        .unwrap();
    assert_eq!((topic.partitions, topic.internal), (1, true));
    assert_eq!(
        topic
            .config
            .given()
            .get("cleanup.policy")
            .map(String::as_str),
        Some("compact")
    );
}

#[test]
fn what_others_produce_is_there_at_the_next_question() {
    let mut server = Server::new();
    server.register("own", USER);
    server.produce(&[
        (Some(r#"{"keytype":"NOOP","magic":0}"#), None),
        (
            Some(r#"{"keytype":"SCHEMA","subject":"mirrored","version":5,"magic":1}"#),
            Some(
                r#"{"subject":"mirrored","version":5,"id":70,"schema":"\"long\"","deleted":false}"#,
            ),
        ),
        (Some("not json"), Some("{}")),
        (None, Some("no key")),
    ]);
    assert_eq!(
        server.ask("GET", "/subjects", ""),
        r#"200 ["mirrored","own"]"#
    );
    assert_eq!(
        server.registry().schema_by_id(70).as_deref(),
        Some("\"long\"")
    );
    assert_eq!(
        server
            .registry()
            .metrics()
            .skipped_records
            .load(Ordering::Relaxed),
        2
    );
    assert_eq!(
        server.register("mirrored", "\"double\""),
        r#"200 {"id":71}"#
    );
    assert_eq!(
        server.ask("GET", "/subjects/mirrored/versions", ""),
        "200 [5,6]"
    );
    server.restart();
    assert_eq!(
        server.ask("GET", "/subjects/mirrored/versions", ""),
        "200 [5,6]"
    );
}

/// Each of these batches holds one good record behind or before something that nobody can read.
#[test]
fn what_cannot_be_read_is_counted_and_does_not_stop_the_start() {
    let mut server = Server::new();
    server.register("own", USER);
    let key = r#"{"keytype":"SCHEMA","subject":"lost","version":1,"magic":1}"#;
    let value = r#"{"subject":"lost","version":1,"id":9,"schema":"\"int\"","deleted":false}"#;
    let good = batch(&[(Some(key), Some(value))]).into_bytes();
    let damaged = |at: usize, byte: u8| {
        let mut bytes = good.to_vec();
        bytes[at] = byte;
        // The storage would find a wrong checksum itself; this one is made right again.
        let batch = Batch::split_from(&mut Bytes::from(bytes)).unwrap();
        batch.with_log_append_time(0).into_bytes()
    };
    let (attributes, first_record) = (22, 61);
    for codec in 1..=5 {
        server.append(damaged(attributes, codec));
    }
    for length in [0, 1, 0x7f, 0xff] {
        server.append(damaged(first_record, length));
    }
    let nested = "[".repeat(100_000);
    let (deep_key, big) = (r#"{"keytype":"SCHEMA"}"#, "x".repeat(1 << 20));
    for (key, value) in [
        (key, &*nested),
        (&*nested, "{}"),
        (deep_key, "{}"),
        (&*big, "{}"),
    ] {
        server.produce(&[
            (Some(key), Some(value)),
            (Some(r#"{"keytype":"NOOP"}"#), None),
        ]);
    }
    let skipped = |server: &Server| {
        let metrics = server.registry().metrics();
        metrics.skipped_records.load(Ordering::Relaxed)
    };
    assert_eq!(server.ask("GET", "/subjects", ""), r#"200 ["own"]"#);
    assert_eq!(skipped(&server), 5 + 4 + 4);
    assert_eq!(server.register("after", "\"long\""), r#"200 {"id":2}"#);
    server.restart();
    assert_eq!(server.ask("GET", "/subjects", ""), r#"200 ["after","own"]"#);
    assert_eq!(skipped(&server), 5 + 4 + 4, "the replay counts them again");
}

#[test]
fn registrations_at_once_get_one_id_for_each_schema() {
    let server = Server::new();
    let ids: Vec<String> = std::thread::scope(|scope| {
        let work = |i: usize| {
            let server = &server;
            let schema = format!(r#"{{"type":"fixed","name":"F","size":{}}}"#, i % 4);
            scope.spawn(move || server.register(&format!("s{}", i % 4), &schema))
        };
        let threads: Vec<_> = (0..32).map(work).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    for (i, id) in ids.iter().enumerate() {
        assert_eq!(*id, ids[i % 4], "the same schema has the same id");
    }
    assert_eq!(
        ids[..4]
            .iter()
            .collect::<std::collections::BTreeSet<_>>()
            .len(),
        4
    );
    let metrics = server.registry().metrics();
    assert_eq!(
        metrics.registrations.load(Ordering::Relaxed),
        4,
        "the other 28 found theirs"
    );
}

#[test]
fn decoders_get_schemas_that_stand_alone() {
    let server = Server::new();
    server.register(
        "money",
        r#"{"type":"record","name":"Money","fields":[{"name":"cents","type":"long"}]}"#,
    );
    let order = r#"{"schema":"{\"type\":\"record\",\"name\":\"Order\",\"fields\":[{\"name\":\"price\",\"type\":\"Money\"}]}","references":[{"name":"Money","subject":"money","version":1}]}"#;
    assert_eq!(
        server.ask("POST", "/subjects/order/versions", order),
        r#"200 {"id":2}"#
    );
    let (id, version, text) = server.registry().subject_latest("order").unwrap();
    assert_eq!((id, version), (2, 1));
    AvroSchema::parse(&text).expect("the references are written out");
    assert_eq!(server.registry().schema_by_id(2), Some(text));
    assert!(server.registry().has_subject("money") && !server.registry().has_subject("nobody"));
    assert_eq!(server.registry().schema_by_id(99), None);
}

#[test]
fn refusals_are_counted() {
    let server = Server::new();
    server.register("s", USER);
    assert!(server.register("s", BROKEN).starts_with("409 "));
    let metrics = server.registry().metrics();
    assert_eq!(metrics.incompatible.load(Ordering::Relaxed), 1);
    assert_eq!(metrics.registrations.load(Ordering::Relaxed), 1);
}

/// The connection of a request that panics gets an answer, and its server goes on.
#[tokio::test]
async fn a_request_that_panics_is_answered_over_http() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SystemClock::new());
    let config = Config::new(folder.path());
    let storage = Storage::open(Arc::new(RealDisk), clock.clone(), config).unwrap();
    let options = lw_registry::Options {
        fault: Some(lw_registry::Fault::PanicInHandler(
            "/subjects/bad/versions".into(),
        )),
        ..lw_registry::Options::default()
    };
    let registry = Registry::open_with(storage, clock, options).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = registry.router();
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });
    let asked = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        let request = |path: &str, close: &str| {
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{close}\r\n")
        };
        // Both on one connection: the panic is the request's own affair.
        let bad = request("/subjects/bad/versions", "");
        let good = request("/subjects", "Connection: close\r\n");
        stream.write_all((bad + &good).as_bytes()).unwrap();
        let mut replies = String::new();
        stream.read_to_string(&mut replies).unwrap();
        replies
    });
    let replies = asked.await.unwrap();
    let (bad, good) = replies.split_once("HTTP/1.1 200 OK").expect(&replies);
    assert!(bad.starts_with("HTTP/1.1 500 "), "{replies}");
    assert!(
        bad.ends_with(r#"{"error_code":500,"message":"HTTP 500 Internal Server Error"}"#),
        "{replies}"
    );
    assert!(good.ends_with("[]"), "{replies}");
    serving.abort();
}

#[tokio::test]
async fn http_speaks_the_registrys_media_types() {
    let server = Server::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = server.registry().router();
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });
    let ask = |request: String| {
        tokio::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut reply = String::new();
            stream.read_to_string(&mut reply).unwrap();
            // The date is the only thing that differs from run to run.
            let lines = reply.lines().filter(|l| {
                !l.is_empty() && !l.starts_with("date:") && !l.starts_with("connection:")
            });
            lines.collect::<Vec<_>>().join("\n")
        })
    };
    let get = |path: &str, headers: &str| {
        ask(format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n"
        ))
    };
    let mut shown = Vec::new();
    let body = r#"{"schema":"\"int\""}"#;
    let length = body.len();
    shown.push(
        ask(format!(
            "POST /subjects/a%2Fb/versions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/vnd.schemaregistry.v1+json\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
        .await
        .unwrap(),
    );
    shown.push(
        get("/subjects", "Accept: text/html, application/json;q=0.5\r\n")
            .await
            .unwrap(),
    );
    shown.push(get("/subjects", "Accept: text/html\r\n").await.unwrap());
    shown.push(
        get("/subjects?subjectPrefix=a%2Fb", "Accept: */*\r\n")
            .await
            .unwrap(),
    );
    shown.push(get("/nope", "").await.unwrap());
    shown.push(
        ask("HEAD /subjects HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".into())
            .await
            .unwrap(),
    );
    let oversized = 9 << 20;
    shown.push(
        ask(format!(
            "POST /subjects/s/versions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {oversized}\r\n\r\n"
        ))
        .await
        .unwrap(),
    );
    serving.abort();
    expect![[r#"
        HTTP/1.1 200 OK
        content-type: application/vnd.schemaregistry.v1+json
        content-length: 8
        {"id":1}

        HTTP/1.1 200 OK
        content-type: application/json
        content-length: 7
        ["a/b"]

        HTTP/1.1 406 Not Acceptable
        content-type: application/json
        content-length: 54
        {"error_code":406,"message":"HTTP 406 Not Acceptable"}

        HTTP/1.1 200 OK
        content-type: application/vnd.schemaregistry.v1+json
        content-length: 7
        ["a/b"]

        HTTP/1.1 404 Not Found
        content-type: application/vnd.schemaregistry.v1+json
        content-length: 49
        {"error_code":404,"message":"HTTP 404 Not Found"}

        HTTP/1.1 200 OK
        content-type: application/vnd.schemaregistry.v1+json
        content-length: 7

        HTTP/1.1 413 Payload Too Large
        content-type: application/vnd.schemaregistry.v1+json
        content-length: 98
        {"error_code":413,"message":"the request body is over the limit of 8388608 bytes, or was cut off"}
    "#]].assert_eq(&(shown.join("\n\n") + "\n"));
}
