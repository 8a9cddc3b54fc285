//! What is asked of a request before its handler, and of an answer behind it.

use super::{Dialect, Policy};
use crate::Refusal;
use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::Response;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// The framework's own reasons are a line or two.
const LONGEST_REASON: usize = 4096;

/// Middleware: the whole of a [`Policy`].
pub(super) async fn guard(
    State(policy): State<Arc<Policy>>,
    request: Request,
    next: Next,
) -> Response {
    let dialect = policy.dialect;
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    match answer(&policy, request, next).await {
        Ok(response) => shaped(dialect, &method, &path, response).await,
        Err(refusal) => {
            let unauthorized = refusal.status == 401;
            let mut response = dialect.refuse(refusal);
            if unauthorized {
                let challenge = header::HeaderValue::from_static("Bearer");
                response
                    .headers_mut()
                    .insert(header::WWW_AUTHENTICATE, challenge);
            }
            response
        }
    }
}

async fn answer(policy: &Policy, request: Request, next: Next) -> Result<Response, Refusal> {
    check_host(policy, &request)?;
    check_origin(&request)?;
    check_token(policy, &request)?;
    let (head, body) = request.into_parts();
    let body = read(policy, &head.headers, body).await?;
    if !body.is_empty() && !policy.dialect.takes_forms(head.uri.path()) {
        check_json(&head.headers)?;
    }
    let request = Request::from_parts(head, Body::from(body));
    // A task of its own: its panic ends there, and it is cancelled with this one.
    let mut handler = JoinSet::new();
    handler.spawn(next.run(request));
    match timeout(policy.limits.handler_time, handler.join_next()).await {
        Ok(Some(Ok(response))) => Ok(response),
        Ok(panic) => {
            tracing::error!(?panic, "a request ended in a panic; please report it");
            Err(Refusal::new(500, "the server failed on this request")
                .hint("The server's log has the reason."))
        }
        Err(_) => Err(Refusal::new(
            504,
            format!("no answer within {:?}", policy.limits.handler_time),
        )
        .detail("What was asked for may still happen.")),
    }
}

/// A page under a name that was pointed at this machine names that name.
fn check_host(policy: &Policy, request: &Request) -> Result<(), Refusal> {
    let Some(host) = host_of(request) else {
        if request.version() == Version::HTTP_10 {
            return Ok(());
        }
        return Err(Refusal::new(400, "the request has no Host header"));
    };
    let name = without_port(&host);
    let known = name.eq_ignore_ascii_case("localhost")
        || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
        || policy
            .hosts
            .iter()
            .any(|own| own == "*" || own.eq_ignore_ascii_case(name));
    if known {
        return Ok(());
    }
    Err(Refusal::new(
        421,
        format!("this server is not called \"{}\"", name.escape_debug()),
    )
    .hint("If it is, add the name to `allowed-hosts` under [http] in lakeward.toml."))
}

/// Browsers say which page sends a request, unless it only reads or is the server's own.
fn check_origin(request: &Request) -> Result<(), Refusal> {
    let refused = || {
        Err(
            Refusal::new(403, "requests from other sites' pages are refused")
                .hint("Send it without a browser, or from a page of this server."),
        )
    };
    let headers = request.headers();
    if let Some(origin) = headers.get(header::ORIGIN) {
        let origin = origin.to_str().unwrap_or_default();
        let site = origin.split_once("://").map(|(_, site)| site);
        let host = host_of(request);
        if site.is_none()
            || site.map(str::to_ascii_lowercase) != host.map(|h| h.to_ascii_lowercase())
        {
            return refused();
        }
    }
    let changes = !matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    );
    let from = headers.get("sec-fetch-site").map(|value| value.as_bytes());
    match from {
        Some(b"cross-site" | b"same-site") if changes => refused(),
        _ => Ok(()),
    }
}

fn check_token(policy: &Policy, request: &Request) -> Result<(), Refusal> {
    let Some(token) = &policy.token else {
        return Ok(());
    };
    let given = request.headers().get(header::AUTHORIZATION);
    let right = given.is_some_and(|header| token.is_in(header.as_bytes()));
    if right || policy.dialect.is_open(request.uri().path()) {
        return Ok(());
    }
    let what = match given {
        None => "this server asks for a token",
        Some(_) => "the token is not this server's",
    };
    Err(Refusal::new(401, what).hint(
        "Send `Authorization: Bearer TOKEN` (the registry also takes it as the password of any user); lakeward's own verbs read it from --token-file.",
    ))
}

/// A page may send a form or plain text to any server unasked, but not JSON.
fn check_json(headers: &HeaderMap) -> Result<(), Refusal> {
    let given = headers.get(header::CONTENT_TYPE);
    let given = given.and_then(|value| value.to_str().ok()).unwrap_or("");
    let kind = given
        .split(';')
        .next()
        .unwrap_or("")
        .trim()
        .to_ascii_lowercase();
    let json = kind
        .strip_prefix("application/")
        .is_some_and(|kind| kind == "json" || kind.ends_with("+json"));
    if json {
        return Ok(());
    }
    Err(Refusal::new(415, "the request is not JSON")
        .hint("Send the header Content-Type: application/json."))
}

async fn read(policy: &Policy, headers: &HeaderMap, body: Body) -> Result<Bytes, Refusal> {
    let limits = &policy.limits;
    let too_long = || {
        Refusal::new(413, "the request is too long")
            .detail(format!("A body has at most {} bytes.", limits.body))
    };
    // A declared length is judged before the first byte of it is waited for.
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<u64>().ok());
    if declared.is_some_and(|length| length > limits.body as u64) {
        let _ = timeout(limits.body_time, pass_over(body, limits.body * 2)).await;
        return Err(too_long());
    }
    match timeout(limits.body_time, to_bytes(body, limits.body)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) if declared.is_some() => Err(Refusal::new(400, "the request was cut off")),
        Ok(Err(_)) => Err(too_long()),
        Err(_) => Err(Refusal::new(
            408,
            format!("the request was not whole within {:?}", limits.body_time),
        )),
    }
}

/// A client that is still sending sees a broken connection instead of the answer: a little more is read and forgotten.
async fn pass_over(mut body: Body, most: usize) {
    let mut left = most;
    while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

/// Refusals of the framework are plain text; they become the protocol's own.
async fn shaped(dialect: Dialect, method: &Method, path: &str, response: Response) -> Response {
    let status = response.status();
    let failed = status.is_client_error() || status.is_server_error();
    if !failed || is_json(&response) || *method == Method::HEAD {
        return response;
    }
    let reason = to_bytes(response.into_body(), LONGEST_REASON).await;
    let reason = String::from_utf8_lossy(&reason.unwrap_or_default()).into_owned();
    let refusal = match status {
        StatusCode::NOT_FOUND => Refusal::new(404, format!("there is nothing at {path}")),
        StatusCode::METHOD_NOT_ALLOWED => Refusal::new(405, format!("{method} is not for {path}"))
            .hint("The answer's header Allow says what it takes."),
        StatusCode::PAYLOAD_TOO_LARGE => {
            Refusal::new(413, "the request is too long").detail(reason)
        }
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Refusal::new(415, "the request is not JSON")
            .detail(reason)
            .hint("Send the header Content-Type: application/json."),
        _ => Refusal::new(status.as_u16(), "the request is not understood").detail(reason),
    };
    let refusal = if status == StatusCode::NOT_FOUND && dialect == Dialect::Api {
        refusal.hint("The API begins with /api/v1/; /healthz and /metrics are beside it.")
    } else {
        refusal
    };
    // (The header Allow of a 405 is the router's own, and comes to whatever passes here.)
    dialect.refuse(refusal)
}

fn is_json(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE);
    kind.and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.starts_with("application/") && kind.contains("json"))
}

/// The absolute form of a request's target counts before the header, as RFC 9112 has it.
fn host_of(request: &Request) -> Option<String> {
    if let Some(authority) = request.uri().authority() {
        return Some(authority.as_str().to_owned());
    }
    let host = request.headers().get(header::HOST)?;
    Some(String::from_utf8_lossy(host.as_bytes()).into_owned())
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}
