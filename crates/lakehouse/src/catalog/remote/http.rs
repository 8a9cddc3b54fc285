//! HTTP for callers that block: one thread owns the asynchronous client, and ends when [`Http`] is dropped.
//!
//! It knows nothing of tables, but it knows what an exchange proves. No connection, or a 401 that a fresh token answers:
//! nothing happened. No reply to a request that was sent: anything may have ([`Kind::Unknown`]). Redirects are not
//! followed: a client that turns a redirected POST into a GET would read the answer to another question as success.

use super::{Auth, encoded};
use crate::error::{CatalogError, Kind};
use serde::Deserialize;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;
use tokio::sync::mpsc;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(30);
/// A table with a hundred thousand snapshots fits.
const MAX_ANSWER: usize = 256 << 20;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Post,
}

/// An answer with its status, whatever that is.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

struct Call {
    method: Method,
    url: String,
    body: Option<Vec<u8>>,
    reply: SyncSender<Result<Answer, CatalogError>>,
}

pub(super) struct Http {
    /// Unbounded in type only: every caller waits for its answer before it calls again.
    calls: Option<mpsc::UnboundedSender<Call>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Http {
    pub(super) fn start(auth: Auth, headers: Vec<(String, String)>) -> Result<Http, CatalogError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("lakeward/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| {
                CatalogError::caused(Kind::Internal, "no HTTP client can be made", error)
            })?;
        let token = match &auth {
            Auth::Token(token) => Some(token.clone()),
            Auth::None | Auth::Credential { .. } => None,
        };
        let session = Session {
            client,
            auth,
            token,
            headers,
        };
        let (calls, queue) = mpsc::unbounded_channel();
        let thread = thread::Builder::new()
            .name("rest-catalog".to_owned())
            .spawn(move || runtime.block_on(session.serve(queue)))?;
        Ok(Http {
            calls: Some(calls),
            thread: Some(thread),
        })
    }

    pub(super) fn call(
        &self,
        method: Method,
        url: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Answer, CatalogError> {
        let gone = || CatalogError::new(Kind::Internal, "the HTTP thread has ended");
        let (reply, answer) = sync_channel(1);
        let call = Call {
            method,
            url: url.to_owned(),
            body,
            reply,
        };
        let calls = self.calls.as_ref().ok_or_else(gone)?;
        calls.send(call).map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())?
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        self.calls = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The client with its credentials.
struct Session {
    client: reqwest::Client,
    auth: Auth,
    token: Option<String>,
    headers: Vec<(String, String)>,
}

impl Session {
    async fn serve(mut self, mut queue: mpsc::UnboundedReceiver<Call>) {
        while let Some(call) = queue.recv().await {
            let answer = self.answer(&call).await;
            // The caller may be gone; then nobody wants the answer.
            let _ = call.reply.send(answer);
        }
    }

    /// With a credential, a refused token is exchanged for a new one, once.
    async fn answer(&mut self, call: &Call) -> Result<Answer, CatalogError> {
        let exchanges = matches!(self.auth, Auth::Credential { .. });
        if exchanges && self.token.is_none() {
            self.fetch_token().await?;
        }
        let answer = self.send(call).await?;
        if !exchanges || !matches!(answer.status, 401 | 419) {
            return Ok(answer);
        }
        self.fetch_token().await?;
        self.send(call).await
    }

    async fn send(&self, call: &Call) -> Result<Answer, CatalogError> {
        let mut request = match call.method {
            Method::Get => self.client.get(&call.url),
            Method::Post => self.client.post(&call.url),
        };
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = &call.body {
            request = request
                .header("content-type", "application/json")
                .body(body.clone());
        }
        exchange(request, &call.url).await
    }

    /// OAuth 2 client credentials, as Iceberg's clients ask for them.
    async fn fetch_token(&mut self) -> Result<(), CatalogError> {
        let Auth::Credential {
            client_id,
            client_secret,
            scope,
            server,
        } = &self.auth
        else {
            return Ok(());
        };
        let mut form = format!(
            "grant_type=client_credentials&client_secret={}&scope={}",
            encoded(client_secret),
            encoded(scope)
        );
        if let Some(id) = client_id {
            form.push_str(&format!("&client_id={}", encoded(id)));
        }
        let request = self
            .client
            .post(server)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form);
        // Whatever goes wrong here, the catalog has not been asked for anything yet.
        let answer = exchange(request, server).await.map_err(|mut error| {
            error.kind = Kind::Unavailable;
            error
        })?;
        let refused = |why: String| {
            let kind = match answer.status {
                400..500 => Kind::BadRequest,
                _ => Kind::Unavailable,
            };
            CatalogError::new(kind, format!("no token from {server}: {why}"))
        };
        if answer.status != 200 {
            let text = String::from_utf8_lossy(&answer.body);
            let shown: String = text.chars().take(200).collect();
            return Err(refused(format!("it answers {} {shown}", answer.status)));
        }
        let token: Token = serde_json::from_slice(&answer.body)
            .map_err(|error| refused(format!("its answer has none ({error})")))?;
        self.token = Some(token.access_token);
        Ok(())
    }
}

#[derive(Deserialize)]
struct Token {
    access_token: String,
}

async fn exchange(request: reqwest::RequestBuilder, url: &str) -> Result<Answer, CatalogError> {
    let lost = |error: reqwest::Error| {
        let kind = if error.is_connect() {
            Kind::Unavailable
        } else {
            Kind::Unknown
        };
        CatalogError::caused(kind, format!("no answer from {url}"), reason(&error))
    };
    let mut response = request.send().await.map_err(lost)?;
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await.map_err(lost)? {
        if body.len() + part.len() > MAX_ANSWER {
            let message = format!("the answer of {url} is longer than {MAX_ANSWER} bytes");
            return Err(CatalogError::new(Kind::Unknown, message));
        }
        body.extend_from_slice(&part);
    }
    Ok(Answer { status, body })
}

/// The innermost cause: "connection refused" says more than "error sending request".
fn reason(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
