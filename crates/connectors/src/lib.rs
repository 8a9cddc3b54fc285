//! Sources and sinks that are not tables: topics of the embedded log and of other Kafka clusters, rows that are made up, files, `print` and `blackhole`; and files before topics in one job.
//!
//! What it is not: it knows no broker (it reads through [`kafka::EmbeddedLog`], which the composition root hands in; of another
//! cluster it knows the protocol only) and no Iceberg (`lakehouse` is that connector).
//!
//! Read first: [`kafka::EmbeddedKafka`], [`kafka::EmbeddedLog`], [`kafka::RemoteLog`], [`print::Print`].
//!
//! Invariants: a source passes over every offset exactly once between two positionings, and says what became of it.
//!
//! Layer L3.

pub mod datagen;
pub mod filesystem;
pub mod in_turn;
pub mod kafka;
pub mod lookup;
pub mod print;

use lw_formats::FormatError;
use lw_runtime::connector::{ConnectorError, ErrorKind};

/// A table's format cannot decode its columns.
fn undecodable(error: FormatError) -> ConnectorError {
    ConnectorError::new(ErrorKind::Fix, &error)
        .detail(error.detail)
        .hint(error.hint)
}
