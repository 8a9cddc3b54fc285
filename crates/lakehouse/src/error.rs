//! What can go wrong between us and a catalog, by what its receiver does about it.

use lw_runtime::connector;
use serde::{Deserialize, Serialize};
use std::io;
use thiserror::Error;

/// An error of a catalog operation. The kinds are those of the REST protocol, so that the embedded catalog and a remote one
/// are told apart by nobody.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct CatalogError {
    pub kind: Kind,
    pub message: String,
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Their names stand in the log, in the refusals that are kept: frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    NoSuchNamespace,
    NoSuchTable,
    NoSuchView,
    /// The catalog has it, and the file of its metadata is gone.
    NoSuchFile,
    AlreadyExists,
    NamespaceNotEmpty,
    /// A requirement does not hold: reload and decide again.
    CommitFailed,
    /// The same request, by its key, is being carried out.
    Repeated,
    /// It cannot be read.
    Malformed,
    /// It can be read, and what it asks for breaks a rule.
    BadRequest,
    Unprocessable,
    /// The operation is not offered here.
    Unsupported,
    /// It may have happened or not: reload and decide again.
    Unknown,
    /// Nothing happened; the catalog cannot be reached or is not well.
    Unavailable,
    Internal,
}

impl CatalogError {
    pub fn new(kind: Kind, message: impl Into<String>) -> CatalogError {
        CatalogError {
            kind,
            message: message.into(),
            source: None,
        }
    }

    pub fn caused(
        kind: Kind,
        message: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> CatalogError {
        CatalogError {
            kind,
            message: message.into(),
            source: Some(source.into()),
        }
    }
}

/// A store that does not answer, or is not well: no disk says this.
const STORE_IS_AWAY: io::ErrorKind = io::ErrorKind::HostUnreachable;

impl From<io::Error> for CatalogError {
    fn from(error: io::Error) -> CatalogError {
        let kind = match error.kind() {
            io::ErrorKind::Unsupported => Kind::BadRequest,
            STORE_IS_AWAY => Kind::Unavailable,
            _ => Kind::Internal,
        };
        CatalogError::caused(kind, error.to_string(), error)
    }
}

/// Iceberg's own errors: a broken requirement is a conflict, bad input stays bad input.
impl From<iceberg::Error> for CatalogError {
    fn from(error: iceberg::Error) -> CatalogError {
        let kind = match error.kind() {
            iceberg::ErrorKind::CatalogCommitConflicts => Kind::CommitFailed,
            iceberg::ErrorKind::DataInvalid | iceberg::ErrorKind::PreconditionFailed => {
                Kind::BadRequest
            }
            iceberg::ErrorKind::FeatureUnsupported => Kind::Unsupported,
            iceberg::ErrorKind::TableNotFound => Kind::NoSuchTable,
            iceberg::ErrorKind::NamespaceNotFound => Kind::NoSuchNamespace,
            _ if is_away(&error) => Kind::Unavailable,
            _ => Kind::Internal,
        };
        CatalogError::caused(kind, error.message().to_owned(), error)
    }
}

/// Whether a store is what did not answer.
fn is_away(error: &iceberg::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.kind() == STORE_IS_AWAY;
        }
        cause = error.source();
    }
    false
}

/// For the runtime: what it retries, what the user must change.
impl From<CatalogError> for connector::ConnectorError {
    fn from(error: CatalogError) -> connector::ConnectorError {
        let kind = match error.kind {
            Kind::CommitFailed
            | Kind::NoSuchFile
            | Kind::Repeated
            | Kind::Unknown
            | Kind::Unavailable
            | Kind::Internal => connector::ErrorKind::Retry,
            _ => connector::ErrorKind::Fix,
        };
        let detail = error
            .source
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        let detail = if detail == error.message {
            String::new()
        } else {
            detail
        };
        connector::ConnectorError::new(kind, error.message).detail(detail)
    }
}
