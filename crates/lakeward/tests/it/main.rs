//! The binary as its user meets it: exit codes, what goes to which stream, and the one server that owns a folder.

#![expect(
    clippy::disallowed_methods,
    reason = "a real process is waited for, with a limit"
)]

mod cases;

use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn lakeward(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lakeward"))
        .args(args)
        .env_remove("LAKEWARD_SERVER")
        .output()
        .expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A server that ends with the test.
struct Server(Child);

impl Server {
    fn start(folder: &Path) -> Server {
        Server::start_with(folder, &[])
    }

    fn start_with(folder: &Path, arguments: &[&str]) -> Server {
        let ready = ready(folder);
        let child = up(folder)
            .args(arguments)
            .arg("--ready-file")
            .arg(&ready)
            .spawn()
            .expect("the binary runs");
        let server = Server(child);
        let begun = Instant::now();
        while !ready.exists() {
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "ready within 30 s"
            );
            std::thread::yield_now();
        }
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ready(folder: &Path) -> PathBuf {
    folder.join("ready.json")
}

fn address(folder: &Path, surface: &str) -> String {
    let status = std::fs::read(ready(folder)).expect("the ready file");
    let status: serde_json::Value = serde_json::from_slice(&status).expect("JSON");
    status[surface].as_str().expect("an address").to_owned()
}

fn up(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lakeward"));
    command
        .current_dir(folder)
        .arg("up")
        .args(["--kafka", "127.0.0.1:0", "--registry", "127.0.0.1:0"])
        .args(["--catalog", "127.0.0.1:0", "--http", "127.0.0.1:0"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

#[test]
fn wrong_usage_exits_with_two_and_says_what_exists() {
    let output = lakeward(&["tpoic", "list"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("similar subcommand exists: 'topic'"),
        "{}",
        text(&output.stderr)
    );
    assert!(output.stdout.is_empty());
}

#[test]
fn without_a_server_a_question_fails_with_something_to_type() {
    let output = lakeward(&["pipeline", "list", "--server", "http://127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(
        error.starts_with("error: no Lakeward server answers at http://127.0.0.1:1\n"),
        "{error}"
    );
    assert!(
        error.contains("hint: Start one with `lakeward up`"),
        "{error}"
    );
    assert!(output.stdout.is_empty());
}

#[test]
fn a_second_server_on_a_folder_is_refused_with_the_first_ones_pid() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let first = Server::start(folder.path());
    let second = up(folder.path()).output().expect("the binary runs");
    assert_eq!(second.status.code(), Some(1));
    let error = text(&second.stderr);
    assert!(
        error.contains(&format!("is in use by process {}", first.0.id())),
        "{error}"
    );
}

/// Queries that nobody waits for any more: before their first row, and in the middle of an endless answer.
#[test]
fn a_query_ends_with_its_client() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let _server = Server::start(folder.path());
    let http = address(folder.path(), "http");
    let numbers = |n: u64| format!("(SELECT value AS x FROM generate_series(1, {n}))");
    // It holds one side of the join in memory, and goes through the other one for hours.
    let (held, endless) = (numbers(1_000), numbers(1_000_000_000_000));
    for asked in [
        format!("SELECT COUNT(*) FROM {held} a CROSS JOIN {endless} b WHERE a.x + b.x = 7"),
        format!("SELECT a.x FROM {endless} a"),
    ] {
        ends_with_its_client(&http, &asked);
    }
}

fn ends_with_its_client(http: &str, asked: &str) {
    // As many as a server answers at once.
    let clients: Vec<TcpStream> = (0..8)
        .map(|_| {
            let host = http.trim_start_matches("http://");
            let mut socket = TcpStream::connect(host).expect("the server listens");
            let body = serde_json::json!({ "sql": asked, "timeout_ms": 3_600_000 });
            let body = body.to_string();
            write!(
                socket,
                "POST /api/v1/sql HTTP/1.1\r\nhost: localhost\r\naccept: application/x-ndjson\r\n\
                 content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )
            .expect("the server reads");
            socket
        })
        .collect();
    let one = |timeout: &str| {
        let ask = ["sql", "-e", "SELECT 1", "-o", "csv", "--server", http];
        lakeward(&[&ask[..], &["--timeout", timeout]].concat())
    };
    let begun = Instant::now();
    while one("200 ms").status.success() {
        assert!(begun.elapsed() < Duration::from_secs(60), "all turns taken");
    }
    drop(clients);
    let answer = one("60 s");
    assert!(answer.status.success(), "{asked}: {}", text(&answer.stderr));
}

/// The verbs of a server that asks for a token: each sends it, or is refused in words.
#[test]
fn every_verb_sends_the_token() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (right, wrong) = (folder.path().join("right"), folder.path().join("wrong"));
    std::fs::write(&right, "correct-horse-battery-staple\n").expect("written");
    std::fs::write(&wrong, "incorrect-horse-battery-staple\n").expect("written");
    let token = |file: &Path| file.display().to_string();
    let _server = Server::start_with(folder.path(), &["--token-file", &token(&right)]);
    let http = address(folder.path(), "http");
    let verbs: [&[&str]; 7] = [
        &["topic", "list"],
        &["group", "list"],
        &["schema", "list"],
        &["pipeline", "list"],
        &["table", "list"],
        &["sql", "-e", "SELECT 1"],
        &["sql", "-e", "SHOW TABLES", "-o", "json"],
    ];
    for verb in verbs {
        let ask = |more: &[&str]| lakeward(&[verb, &["--server", &http], more].concat());
        let given = ask(&["--token-file", &token(&right)]);
        assert!(given.status.success(), "{verb:?}: {}", text(&given.stderr));
        for (more, why) in [
            (vec![], "error: this server asks for a token\n"),
            (
                vec!["--token-file".to_owned(), token(&wrong)],
                "error: the token is not this server's\n",
            ),
        ] {
            let more: Vec<&str> = more.iter().map(String::as_str).collect();
            let refused = ask(&more);
            let error = text(&refused.stderr);
            assert_eq!(refused.status.code(), Some(1), "{verb:?}: {error}");
            assert!(error.starts_with(why), "{verb:?}: {error}");
        }
    }
    // A server that refuses us is there: `run` starts none of its own beside it.
    let script = folder.path().join("script.sql");
    std::fs::write(&script, "SHOW TABLES;").expect("written");
    let (script, own) = (script.display().to_string(), folder.path().join("own"));
    let run = ["run", &script, "--server", &http, "--data-dir"];
    let refused = lakeward(&[&run[..], &[&own.display().to_string()]].concat());
    let error = text(&refused.stderr);
    assert_eq!(
        error.lines().next(),
        Some("error: this server asks for a token")
    );
    assert!(!own.exists(), "{error}");
    let missing = lakeward(&["topic", "list", "--token-file", "nowhere"]);
    let error = text(&missing.stderr);
    assert!(
        error.starts_with("error: cannot read the token in nowhere: "),
        "{error}"
    );
}

/// What a script is told by a server that has its topics, and by nobody but the configuration.
#[test]
fn a_script_is_checked_with_a_server_and_without() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let config = "[bootstrap]\n\"kafka:9092\" = \"embedded\"\n";
    std::fs::write(path("lakeward.toml"), config).expect("written");
    let script = "CREATE TABLE o (id BIGINT) WITH ('connector' = 'kafka', 'topic' = 'orders',
        'properties.bootstrap.servers' = 'kafka:9092', 'scan.startup.mode' = 'earliest-offset', 'format' = 'json');
        CREATE TABLE b (id BIGINT) WITH ('connector' = 'blackhole');
        INSERT INTO b SELECT id FROM o;";
    std::fs::write(path("job.sql"), script).expect("written");
    let check = |server: &str, more: &[&str]| {
        let (script, config) = (path("job.sql"), path("lakeward.toml"));
        lakeward(
            &[
                &["check", &script, "--server", server, "--config", &config],
                more,
            ]
            .concat(),
        )
    };
    let alone = check("http://127.0.0.1:1", &[]);
    let said = text(&alone.stdout);
    assert!(alone.status.success(), "{}", text(&alone.stderr));
    assert!(said.contains("table 'o' has no watermark"), "{said}");
    assert!(
        said.ends_with("job.sql: writes 1 table, 1 notice\n"),
        "{said}"
    );
    let aside = "no server at http://127.0.0.1:1: topics and schemas were not looked up\n";
    assert_eq!(text(&alone.stderr), aside);
    let json = check("http://127.0.0.1:1", &["-o", "json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(json["messages"][0]["code"], "no-watermark");
    assert_eq!(json["messages"][0]["line"], 1);
    assert_eq!(json["tables"][0], "default_database.b");
    let server = folder.path().join("server");
    std::fs::create_dir(&server).expect("a folder");
    let _server = Server::start_with(&server, &["--config", &path("lakeward.toml")]);
    let http = address(&server, "http");
    let refused = check(&http, &[]);
    let error = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{error}");
    assert!(error.contains("there is no topic 'orders'"), "{error}");
    let created = lakeward(&["topic", "create", "orders", "--server", &http]);
    assert!(created.status.success(), "{}", text(&created.stderr));
    let checked = check(&http, &[]);
    assert_eq!(text(&checked.stderr), "");
    assert_eq!(text(&checked.stdout), said);
    let pipelines = lakeward(&["pipeline", "list", "--server", &http, "-o", "json"]);
    assert_eq!(text(&pipelines.stdout).trim(), "[]");
}
