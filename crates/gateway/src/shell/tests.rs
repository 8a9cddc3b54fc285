//! The shell's refusals as tables: one case for each protocol, over a real socket.

use super::{Dialect, Limits, Policy, Token, serve};
use axum::Router;
use axum::extract::{Path, Query};
use axum::routing::{get, post};
use serde::Deserialize;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

struct Served {
    address: SocketAddr,
    runtime: tokio::runtime::Runtime,
    ended: watch::Sender<bool>,
    serving: JoinHandle<()>,
    gate: Arc<Gate>,
}

/// A handler that says when it has begun, and waits.
#[derive(Default)]
struct Gate {
    begun: Notify,
    open: Notify,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    page_size: Option<usize>,
}

fn router(gate: Arc<Gate>) -> Router {
    let wait = || async move {
        gate.begun.notify_one();
        gate.open.notified().await;
        "through"
    };
    Router::new()
        .route("/gate", get(wait))
        .route("/ok", get(|| async { "ok" }).post(|| async { "done" }))
        .route(
            "/page",
            get(|Query(page): Query<Page>| async move { format!("{:?}", page.page_size) }),
        )
        .route(
            "/name/{name}",
            get(|Path(name): Path<String>| async { name }),
        )
        .route("/hang", get(std::future::pending::<&str>))
        .route("/panic", get(panics))
        .route("/healthz", get(|| async { "well" }))
        .route("/v1/oauth/tokens", post(|| async { "token" }))
}

async fn panics() -> &'static str {
    panic!("a planted panic");
}

fn served(policy: Policy) -> Served {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
        .unwrap();
    let address = listener.local_addr().unwrap();
    let (ended, ending) = watch::channel(false);
    let gate = Arc::new(Gate::default());
    let serving = runtime.spawn(serve(listener, router(gate.clone()), policy, ending));
    Served {
        address,
        runtime,
        ended,
        serving,
        gate,
    }
}

impl Served {
    /// Sends a head (its lines) and a body, returns the status and the whole answer.
    fn ask(&self, head: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let head = head.replace('\n', "\r\n");
        let request = format!("{head}\r\nConnection: close\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).unwrap();
        answer(&mut stream)
    }
}

fn answer(stream: &mut TcpStream) -> (u16, String) {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let status = text.get(9..12).and_then(|status| status.parse().ok());
    (status.unwrap_or(0), text)
}

fn quick(dialect: Dialect) -> Policy {
    Policy {
        limits: Limits {
            connections: 8,
            body: 64,
            head_time: Duration::from_millis(300),
            body_time: Duration::from_millis(300),
            handler_time: Duration::from_millis(300),
        },
        ..Policy::new(dialect)
    }
}

/// What an error of each protocol has in its body.
fn shape(dialect: Dialect, status: u16) -> String {
    match dialect {
        Dialect::Api => r#"{"error":{"#.to_owned(),
        Dialect::Registry if status == 504 => r#""error_code":50002"#.to_owned(),
        Dialect::Registry => format!(r#""error_code":{status}"#),
        Dialect::Catalog => format!(r#""code":{status}"#),
    }
}

#[test]
fn every_refusal_has_its_protocols_shape() {
    let long = "x".repeat(65);
    let json =
        "POST /ok HTTP/1.1\nHost: localhost\nContent-Type: application/json\nContent-Length:";
    let cases: [(u16, String, &str); 16] = [
        (404, "GET /nowhere HTTP/1.1\nHost: localhost".into(), ""),
        (405, "DELETE /ok HTTP/1.1\nHost: localhost".into(), ""),
        (
            400,
            "GET /page?pageSize=-1 HTTP/1.1\nHost: localhost".into(),
            "",
        ),
        (400, "GET /name/%ff HTTP/1.1\nHost: localhost".into(), ""),
        (413, format!("{json} 65"), &long),
        (408, format!("{json} 20"), "{"),
        (
            415,
            "POST /ok HTTP/1.1\nHost: localhost\nContent-Type: text/plain\nContent-Length: 2"
                .into(),
            "{}",
        ),
        (
            415,
            "POST /ok HTTP/1.1\nHost: localhost\nContent-Length: 2".into(),
            "{}",
        ),
        (421, "GET /ok HTTP/1.1\nHost: evil.example:8080".into(), ""),
        (
            421,
            "GET http://evil.example/ok HTTP/1.1\nHost: localhost".into(),
            "",
        ),
        (400, "GET /ok HTTP/1.1\nAccept: */*".into(), ""),
        (
            403,
            "POST /ok HTTP/1.1\nHost: localhost\nOrigin: https://evil.example".into(),
            "",
        ),
        (
            403,
            "POST /ok HTTP/1.1\nHost: localhost:1\nOrigin: http://localhost:2".into(),
            "",
        ),
        (
            403,
            "POST /ok HTTP/1.1\nHost: localhost\nOrigin: null".into(),
            "",
        ),
        (500, "GET /panic HTTP/1.1\nHost: localhost".into(), ""),
        (504, "GET /hang HTTP/1.1\nHost: localhost".into(), ""),
    ];
    for dialect in [Dialect::Api, Dialect::Registry, Dialect::Catalog] {
        let served = served(quick(dialect));
        for (status, head, body) in &cases {
            let (got, text) = served.ask(head, body);
            let expected = match (dialect, status) {
                (Dialect::Registry, 504) => 500,
                _ => *status,
            };
            assert_eq!(got, expected, "{dialect:?}: {head}\n{text}");
            let shape = shape(dialect, *status);
            assert!(text.contains(&shape), "{dialect:?}: {head}\n{text}");
            assert_eq!(*status == 405, text.contains("allow: "), "{text}");
        }
        let (status, _) = served.ask("GET /ok HTTP/1.1\nHost: localhost", "");
        assert_eq!(status, 200, "{dialect:?} goes on after all that");
    }
}

#[test]
fn what_real_clients_send_passes() {
    let mut policy = quick(Dialect::Catalog);
    policy.hosts = vec!["lake.example".into()];
    let served = served(policy);
    let heads = [
        "GET /ok HTTP/1.1\nHost: 127.0.0.1:8181",
        "GET /ok HTTP/1.1\nHost: [::1]:8181",
        "GET /ok HTTP/1.1\nHost: 192.0.2.7",
        "GET /ok HTTP/1.1\nHost: LAKE.example:80",
        "GET /ok HTTP/1.0",
        "POST /ok HTTP/1.1\nHost: localhost\nContent-Length: 0",
        "POST /ok HTTP/1.1\nHost: localhost:1\nOrigin: http://localhost:1",
        "GET /ok HTTP/1.1\nHost: localhost\nSec-Fetch-Site: cross-site",
    ];
    for head in heads {
        assert_eq!(served.ask(head, "").0, 200, "{head}");
    }
    for kind in [
        "application/json",
        "application/json; charset=utf-8",
        "application/vnd.schemaregistry.v1+json",
        "Application/Vnd.SchemaRegistry+JSON",
    ] {
        let head =
            format!("POST /ok HTTP/1.1\nHost: localhost\nContent-Type: {kind}\nContent-Length: 2");
        assert_eq!(served.ask(&head, "{}").0, 200, "{kind}");
    }
    let form = "POST /v1/oauth/tokens HTTP/1.1\nHost: localhost\nContent-Type: application/x-www-form-urlencoded\nContent-Length: 3";
    assert_eq!(served.ask(form, "a=b").0, 200);
}

#[test]
fn a_token_is_taken_as_bearer_and_as_basic_password() {
    let mut policy = quick(Dialect::Api);
    policy.token = Token::parse(" secret-7\n");
    let served = served(policy);
    let cases = [
        ("Authorization: Bearer secret-7", 200),
        ("authorization: bearer secret-7", 200),
        ("Authorization: Basic YW55Ym9keTpzZWNyZXQtNw==", 200),
        ("Authorization: Bearer secret-8", 401),
        ("Authorization: Bearer secret-", 401),
        ("Authorization: Bearer secret-77", 401),
        ("Authorization: Basic c2VjcmV0LTc=", 401),
        ("Authorization: Basic %%%", 401),
        ("Authorization: Bearer", 401),
        ("X-Nothing: 1", 401),
    ];
    for (header, expected) in cases {
        let (status, text) =
            served.ask(&format!("GET /ok HTTP/1.1\nHost: localhost\n{header}"), "");
        assert_eq!(status, expected, "{header}");
        assert_eq!(
            status == 401,
            text.contains("www-authenticate: Bearer"),
            "{text}"
        );
    }
    let probe = served.ask("GET /healthz HTTP/1.1\nHost: localhost", "");
    assert_eq!(probe.0, 200, "probes have no token");
    assert!(Token::parse(" \n").is_none());
}

#[test]
fn a_slow_head_ends_and_a_full_house_waits() {
    let mut policy = quick(Dialect::Api);
    policy.limits.connections = 1;
    let served = served(policy);
    let mut slow = TcpStream::connect(served.address).unwrap();
    slow.write_all(b"GET /ok HTTP/1.1\r\nHost: loc").unwrap();
    // The one place is taken until the slow head's time is over; then the next is served.
    let (status, _) = served.ask("GET /ok HTTP/1.1\nHost: localhost", "");
    assert_eq!(status, 200);
    slow.set_nonblocking(true).unwrap();
    let mut bytes = Vec::new();
    let ended = slow.read_to_end(&mut bytes);
    assert!(ended.is_ok(), "the next came in beside it: {ended:?}");
    let text = String::from_utf8_lossy(&bytes);
    assert!(!text.contains("200"), "{text}");
}

#[test]
fn the_end_comes_after_the_answers() {
    let patient = Duration::from_secs(20);
    let mut policy = quick(Dialect::Api);
    policy.limits.head_time = patient;
    policy.limits.handler_time = patient;
    let served = served(policy);
    let connect = || {
        let stream = TcpStream::connect(served.address).unwrap();
        stream.set_read_timeout(Some(patient)).unwrap();
        stream
    };
    // One that was served and may ask again, and one that waits for its answer.
    let mut idle = connect();
    let ok = "GET /ok HTTP/1.1\r\nHost: localhost\r\n\r\n";
    idle.write_all(ok.as_bytes()).unwrap();
    let mut status = [0; 12];
    idle.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
    let mut asking = connect();
    let wait = "GET /gate HTTP/1.1\r\nHost: localhost\r\n\r\n";
    asking.write_all(wait.as_bytes()).unwrap();
    let begun = async { timeout(patient, served.gate.begun.notified()).await };
    served.runtime.block_on(begun).expect("the handler begins");
    served.ended.send(true).unwrap();
    let mut rest = String::new();
    let closed = idle.read_to_string(&mut rest);
    assert!(closed.is_ok(), "nobody waits for it: {closed:?}");
    assert!(rest.ends_with("ok"), "{rest}");
    assert!(
        !served.serving.is_finished(),
        "somebody waits for an answer"
    );
    served.gate.open.notify_one();
    let (status, text) = answer(&mut asking);
    assert_eq!(status, 200, "{text}");
    assert!(text.ends_with("through"), "{text}");
    let ended = async { timeout(patient, served.serving).await };
    let ended = served.runtime.block_on(ended);
    ended.expect("it ends with the last answer").unwrap();
    assert!(TcpStream::connect(served.address).is_err(), "it is closed");
}
