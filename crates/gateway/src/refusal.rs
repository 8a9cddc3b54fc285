//! An error as every client of the API sees it.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use lw_runtime::connector::ErrorKind;
use lw_runtime::pipelines::PipelineError;
use lw_runtime::savepoint::SavepointError;
use serde::{Deserialize, Serialize};

/// What was refused, why, and something to type.
///
/// `rendered` is boxed, since this is the error of many small functions: a byte less than 128 of it is moved about.
///
/// On the wire: `{"error": {"message", "detail", "hint", "rendered", "diagnostics"}}` with a 4xx or 5xx status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    #[serde(skip)]
    pub status: u16,
    /// Short, lower case, no full stop.
    pub message: String,
    #[serde(default)]
    pub detail: String,
    #[serde(default)]
    pub hint: String,
    /// The whole as people read it, with the place in the script; empty when there is no place.
    #[serde(default)]
    pub rendered: Box<str>,
    /// What is wrong with a script, one message each with its `file`, `line` and `column`, for programs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<serde_json::Value>,
}

impl Refusal {
    pub fn new(status: u16, message: impl std::fmt::Display) -> Refusal {
        Refusal {
            status,
            message: message.to_string(),
            detail: String::new(),
            hint: String::new(),
            rendered: Box::default(),
            diagnostics: Vec::new(),
        }
    }

    pub fn detail(mut self, detail: impl Into<String>) -> Refusal {
        self.detail = detail.into();
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Refusal {
        self.hint = hint.into();
        self
    }
}

impl From<PipelineError> for Refusal {
    fn from(error: PipelineError) -> Refusal {
        let status = match &error {
            PipelineError::Unknown { .. } => 404,
            PipelineError::Differs { .. }
            | PipelineError::Owned { .. }
            | PipelineError::ForeignMarker { .. }
            | PipelineError::CannotRewind { .. }
            | PipelineError::HasState { .. }
            | PipelineError::WouldDropState { .. }
            | PipelineError::NoState { .. }
            | PipelineError::Exists { .. }
            | PipelineError::IsReplay { .. }
            | PipelineError::NotPromoted { .. }
            | PipelineError::TableElsewhere { .. }
            | PipelineError::OtherLog { .. }
            | PipelineError::Unreadable { .. } => 409,
            PipelineError::Connector(error) if error.kind == ErrorKind::Retry => 503,
            PipelineError::Nothing | PipelineError::Connector(_) => 400,
            PipelineError::Savepoint(error) => match error {
                SavepointError::Disk { .. } | SavepointError::State(_) => 500,
                SavepointError::Pending { .. } | SavepointError::Ended { .. } => 503,
                _ => 409,
            },
            PipelineError::Storage(_) | PipelineError::Manifest(_) => 500,
        };
        Refusal::new(status, &error)
            .detail(error.detail())
            .hint(error.hint())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(serde_json::json!({ "error": self }))).into_response()
    }
}
