//! The two ways a format can fail: for a whole table, at planning; for one record, at run time.

use thiserror::Error;

/// A format cannot read this table. Shown to the user when the pipeline is planned.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct FormatError {
    /// Short, lower case, no full stop.
    pub message: String,
    /// A sentence with the reason; may be empty.
    pub detail: String,
    /// What to write instead; may be empty.
    pub hint: String,
}

impl FormatError {
    pub(crate) fn new(message: impl Into<String>) -> FormatError {
        FormatError {
            message: message.into(),
            detail: String::new(),
            hint: String::new(),
        }
    }

    pub(crate) fn detail(mut self, detail: impl Into<String>) -> FormatError {
        self.detail = detail.into();
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> FormatError {
        self.hint = hint.into();
        self
    }
}

/// One record cannot be decoded. It goes to the dead letters under `code`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct DecodeError {
    /// Short and stable, for grouping: `avro.truncated`.
    pub code: &'static str,
    pub message: String,
}

impl DecodeError {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> DecodeError {
        DecodeError {
            code,
            message: message.into(),
        }
    }
}
