//! The API's client, for the verbs: one request at a time, an error is a [`Failure`].

use crate::failure::{Failure, failure};
use anyhow::Context;
use lw_gateway::Refusal;
use lw_gateway::shell::Token;
use reqwest::Method;
use serde_json::Value;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

/// A server's API.
pub struct Client {
    base: String,
    runtime: tokio::runtime::Runtime,
    http: reqwest::Client,
}

/// The token that this invocation was given: one flag for every verb, so that none can forget to send it.
static TOKEN: OnceLock<Token> = OnceLock::new();

/// Reads the token that every client of this process sends, and that a server of this process asks for.
///
/// # Errors
/// When the file cannot be read, or has no token in it.
pub fn read_token(file: &Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read the token in {}", file.display()))?;
    let token = Token::parse(&text).ok_or_else(|| {
        failure(
            format!("{} has no token in it", file.display()),
            "Write one line of letters and digits into it: `openssl rand -hex 32` makes a good one.",
        )
    })?;
    let _ = TOKEN.set(token);
    Ok(())
}

/// The token that was read, if one was.
pub fn token() -> Option<Token> {
    TOKEN.get().cloned()
}

impl Client {
    pub fn new(base: &str) -> anyhow::Result<Client> {
        Ok(Client {
            base: base.trim_end_matches('/').to_string(),
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?,
            http: reqwest::Client::builder()
                .no_proxy()
                .connect_timeout(Duration::from_secs(3))
                .build()?,
        })
    }

    /// Whether a server of ours answers there: one that refuses us is not one that is not there.
    pub fn is_up(&self) -> bool {
        let asked = self.request(Method::GET, "/api/v1/status");
        let answer = self
            .runtime
            .block_on(async { asked.send().await?.json::<Value>().await });
        answer
            .is_ok_and(|answer| answer["kafka"].is_string() || answer["error"]["hint"].is_string())
    }

    pub fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.send(Method::GET, path, None)
    }

    pub fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.send(Method::POST, path, Some(body))
    }

    pub fn delete(&self, path: &str) -> anyhow::Result<Value> {
        self.send(Method::DELETE, path, None)
    }

    /// Posts, and hands on the answer's lines as they come.
    pub fn post_for_lines(
        &self,
        path: &str,
        body: &Value,
        mut line: impl FnMut(&str) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let request = self.request(Method::POST, path);
        let request = request.header("accept", "application/x-ndjson").json(body);
        self.runtime.block_on(async {
            let mut response = request.send().await.map_err(|error| self.silent(&error))?;
            let status = response.status();
            if !status.is_success() {
                let text = response.text().await?;
                let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
                return Err(anyhow::Error::new(Failure(refusal(
                    status.as_u16(),
                    &value,
                ))));
            }
            let mut rest = Vec::new();
            while let Some(chunk) = response.chunk().await? {
                rest.extend_from_slice(&chunk);
                let mut begin = 0;
                while let Some(length) = rest[begin..].iter().position(|byte| *byte == b'\n') {
                    line(std::str::from_utf8(&rest[begin..begin + length])?)?;
                    begin += length + 1;
                }
                rest.drain(..begin);
            }
            Ok(())
        })
    }

    /// The only place where requests begin: none goes without the token.
    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match TOKEN.get() {
            Some(token) => request.bearer_auth(token.reveal()),
            None => request,
        }
    }

    fn silent(&self, error: &reqwest::Error) -> anyhow::Error {
        failure(
            format!("no Lakeward server answers at {}", self.base),
            format!("Start one with `lakeward up`, or say where it is with --server. ({error})"),
        )
    }

    fn send(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = self.runtime.block_on(async {
            let response = request.send().await?;
            let status = response.status();
            Ok::<_, reqwest::Error>((status, response.text().await?))
        });
        let (status, text) = response.map_err(|error| self.silent(&error))?;
        let value: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        if status.is_success() {
            return Ok(value);
        }
        Err(anyhow::Error::new(Failure(refusal(
            status.as_u16(),
            &value,
        ))))
    }
}

/// The refusal in an error body: ours, or the registry's `{"error_code", "message"}`.
fn refusal(status: u16, body: &Value) -> Refusal {
    if let Ok(refusal) = serde_json::from_value::<Refusal>(body["error"].clone()) {
        return refusal;
    }
    match body["message"].as_str() {
        Some(message) => Refusal::new(status, message)
            .detail(format!("HTTP {status}, error code {}", body["error_code"])),
        None => Refusal::new(status, format!("the server answered {status}: {body}")),
    }
}

/// A path segment: everything but letters, digits and `.-_~` is escaped.
pub fn segment(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' => {
                (byte as char).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
