//! What never reaches a handler — an unknown path, a wrong method, a body that is no JSON or too long — is refused in the
//! shape of every other error, so that a client reads one kind of body.

use crate::Refusal;
use axum::extract::Request;
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// The framework's own reasons are a line or two.
const LONGEST_REASON: usize = 4096;

/// Middleware: errors that are not JSON become a [`Refusal`] with their text as its detail.
pub(crate) async fn in_one_shape(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = next.run(request).await;
    let status = response.status();
    let failed = status.is_client_error() || status.is_server_error();
    if !failed || is_json(&response) || method == Method::HEAD {
        return response;
    }
    let reason = axum::body::to_bytes(response.into_body(), LONGEST_REASON).await;
    let reason = String::from_utf8_lossy(&reason.unwrap_or_default()).into_owned();
    let refusal = match status {
        StatusCode::NOT_FOUND => Refusal::new(404, format!("there is nothing at {path}"))
            .hint("The API begins with /api/v1/; /healthz and /metrics are beside it."),
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
    refusal.into_response()
}

fn is_json(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"))
}
