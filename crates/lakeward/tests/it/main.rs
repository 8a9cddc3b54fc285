//! The binary as its user meets it: exit codes, what goes to which stream, and the one server that owns a folder.

#![expect(
    clippy::disallowed_methods,
    reason = "a real process is waited for, with a limit"
)]

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

/// The verbs of a server that asks for a token: each sends it, or is refused in words.
#[test]
fn every_verb_sends_the_token() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (right, wrong) = (folder.path().join("right"), folder.path().join("wrong"));
    std::fs::write(&right, "correct-horse-battery-staple\n").expect("written");
    std::fs::write(&wrong, "incorrect-horse-battery-staple\n").expect("written");
    let token = |file: &Path| file.display().to_string();
    let _server = Server::start_with(folder.path(), &["--token-file", &token(&right)]);
    let status = std::fs::read(ready(folder.path())).expect("the ready file");
    let status: serde_json::Value = serde_json::from_slice(&status).expect("JSON");
    let http = status["http"].as_str().expect("an address");
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
        let ask = |more: &[&str]| lakeward(&[verb, &["--server", http], more].concat());
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
    let missing = lakeward(&["topic", "list", "--token-file", "nowhere"]);
    let error = text(&missing.stderr);
    assert!(
        error.starts_with("error: cannot read the token in nowhere: "),
        "{error}"
    );
}
