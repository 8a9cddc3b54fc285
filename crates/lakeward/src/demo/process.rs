//! The demo's server as a process of its own.

use crate::failure::failure;
use anyhow::Context;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a start may take before the demo gives up.
const START: Duration = Duration::from_secs(30);

pub struct Server {
    folder: PathBuf,
    child: Option<Child>,
    pub kafka: String,
    pub registry: String,
    pub catalog: String,
    pub http: String,
    /// From launch until all sockets answered.
    pub ready: Duration,
}

impl Server {
    /// Starts `lakeward up` on free ports in `folder`.
    pub fn start(folder: &Path) -> anyhow::Result<Server> {
        let mut server = Server {
            folder: folder.to_path_buf(),
            child: None,
            kafka: "127.0.0.1:0".into(),
            registry: "http://127.0.0.1:0".into(),
            catalog: "http://127.0.0.1:0".into(),
            http: "http://127.0.0.1:0".into(),
            ready: Duration::ZERO,
        };
        server.launch()?;
        Ok(server)
    }

    /// SIGKILL, then a new process on the same folder and the same ports.
    pub fn kill_and_restart(&mut self) -> anyhow::Result<Duration> {
        if let Some(mut child) = self.child.take() {
            child.kill().context("the server cannot be killed")?;
            child.wait()?;
        }
        self.launch()?;
        Ok(self.ready)
    }

    fn launch(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        let ready = self.folder.join("ready.json");
        let _ = std::fs::remove_file(&ready);
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.join("server.log"))?;
        let bare = |url: &str| url.trim_start_matches("http://").to_string();
        let child = Command::new(std::env::current_exe()?)
            .arg("up")
            .arg("--data-dir")
            .arg(self.folder.join("data"))
            .arg("--config")
            .arg(self.folder.join("lakeward.toml"))
            .args(["--kafka", &self.kafka, "--registry", &bare(&self.registry)])
            .args([
                "--catalog",
                &bare(&self.catalog),
                "--http",
                &bare(&self.http),
            ])
            .args(["--commit-interval", "2 s"])
            .arg("--ready-file")
            .arg(&ready)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("the server cannot be started")?;
        self.child = Some(child);
        let status = self.wait(&ready)?;
        let text = |key: &str| status[key].as_str().unwrap_or_default().to_string();
        (self.kafka, self.registry) = (text("kafka"), text("registry"));
        (self.catalog, self.http) = (text("catalog"), text("http"));
        self.ready = begun.elapsed();
        Ok(())
    }

    fn wait(&mut self, ready: &Path) -> anyhow::Result<Value> {
        let begun = Instant::now();
        loop {
            if let Ok(bytes) = std::fs::read(ready) {
                return Ok(serde_json::from_slice(&bytes)?);
            }
            let ended = self
                .child
                .as_mut()
                .and_then(|child| child.try_wait().ok().flatten());
            if ended.is_some() || begun.elapsed() > START {
                let log =
                    std::fs::read_to_string(self.folder.join("server.log")).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(5).collect();
                return Err(failure(
                    "the server did not start",
                    last.into_iter().rev().collect::<Vec<_>>().join("\n"),
                ));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Asks the server to end, and waits for it.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            if let Some(pid) = rustix::process::Pid::from_raw(child.id() as i32) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
            let _ = child.wait();
        }
    }

    /// Leaves the server running; returns its process id.
    pub fn leave(&mut self) -> u32 {
        self.child.take().map_or(0, |child| child.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
