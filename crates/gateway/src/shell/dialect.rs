//! How each protocol says no.

use super::Limits;
use crate::Refusal;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use std::time::Duration;

/// The protocols that share the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Our API: `{"error": {"message", "detail", "hint"}}`.
    Api,
    /// Confluent's: `{"error_code", "message"}`.
    Registry,
    /// Iceberg REST: `{"error": {"message", "type", "code"}}`.
    Catalog,
}

const REGISTRY_JSON: &str = "application/vnd.schemaregistry.v1+json";
/// Confluent's code for an operation that took too long; its status is 500.
const REGISTRY_TIMED_OUT: u16 = 50002;

impl Dialect {
    pub(super) fn limits(self) -> Limits {
        let (body, handler) = match self {
            // The largest script; audits and queries have limits of their own.
            Dialect::Api => (2 << 20, 900),
            // The largest schema text, with every character escaped.
            Dialect::Registry => (8 << 20, 60),
            // A commit of a wide table with many snapshots is some megabytes.
            Dialect::Catalog => (64 << 20, 120),
        };
        Limits {
            connections: 1024,
            body,
            head_time: Duration::from_secs(30),
            body_time: Duration::from_secs(60),
            handler_time: Duration::from_secs(handler),
        }
    }

    /// Paths that take no token: probes have none, and who asks for one cannot have it yet.
    pub(super) fn is_open(self, path: &str) -> bool {
        match self {
            Dialect::Api => path == "/healthz",
            Dialect::Registry => false,
            Dialect::Catalog => self.takes_forms(path),
        }
    }

    /// Paths whose body is a form, as OAuth has it.
    pub(super) fn takes_forms(self, path: &str) -> bool {
        self == Dialect::Catalog && path == "/v1/oauth/tokens"
    }

    pub(super) fn refuse(self, refusal: Refusal) -> Response {
        let status = refusal.status;
        let words = [&refusal.message, &refusal.detail, &refusal.hint];
        let words: Vec<&str> = words
            .into_iter()
            .map(|part| part.trim().trim_end_matches('.'))
            .filter(|part| !part.is_empty())
            .collect();
        let message = words.join(". ");
        match self {
            Dialect::Api => refusal.into_response(),
            Dialect::Registry => {
                let (status, code) = match status {
                    504 => (500, REGISTRY_TIMED_OUT),
                    status => (status, status),
                };
                let body = json!({ "error_code": code, "message": message });
                answer(status, REGISTRY_JSON, &body)
            }
            Dialect::Catalog => {
                let kind = catalog_type(status);
                let body = json!({ "error": { "message": message, "type": kind, "code": status } });
                answer(status, "application/json", &body)
            }
        }
    }
}

fn answer(status: u16, media_type: &'static str, body: &serde_json::Value) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let head = [(header::CONTENT_TYPE, media_type)];
    (status, head, body.to_string()).into_response()
}

/// Java clients go by the status, others by this word.
fn catalog_type(status: u16) -> &'static str {
    match status {
        401 => "NotAuthorizedException",
        403 | 421 => "ForbiddenException",
        404 => "NotFoundException",
        405 | 406 => "UnsupportedOperationException",
        408 => "RequestTimeoutException",
        413 => "PayloadTooLargeException",
        415 => "UnsupportedMediaTypeException",
        503 => "ServiceUnavailableException",
        // A commit may have happened.
        504 => "CommitStateUnknownException",
        status if status >= 500 => "InternalServerError",
        _ => "BadRequestException",
    }
}
