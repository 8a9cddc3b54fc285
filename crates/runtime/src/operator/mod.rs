//! Operators: what a job does between its source and its sinks, each with one sentence of semantics at its head.
//!
//! An operator is called with chunks in the order of the log and says what came of them. It has no clock, no thread and no
//! file: what it knows is what it was given, so a job that is gone on with from a checkpoint gives what it would have given.
//! A row stands behind all marks before it; what a mark lets happen, happens between the rows that it stands between.

mod batches;
mod behind;
mod current_watermark;
mod event_time;
mod expand;
mod filter;
mod flow;
mod late;
mod lookup;
mod places;
mod project;
mod row_wise;
pub(crate) mod sharded;
mod split_times;
mod spread;
#[cfg(test)]
mod tests;
mod union;
mod unnest;
mod watermark;

pub use flow::{
    AtOutlets, AtSinks, Downstream, Flow, FlowError, Landed, Meetings, Processed, Round, Upstream,
};
pub(crate) use flow::{Input, Kind, Ports, Topics, covers, moment, step};
pub use late::{LateRow, late_records};
pub(crate) use places::Places;
pub use sharded::Parallelism;
pub use split_times::SplitTimes;

use crate::chunk::Chunk;
use crate::connector::{ConnectorError, ErrorKind};
use crate::origins::Origin;
use crate::state::{GROUPS, StateError, StateReader, StateWriter};
use arrow_schema::ArrowError;
use std::ops::Range;
use thiserror::Error;

/// A step of a job.
pub trait Operator: Send {
    /// Takes a chunk of an input in. A row is late by the mark before it; an operator whose timers fire inside of a chunk
    /// looks for the places itself.
    ///
    /// # Errors
    /// What the job cannot go on after.
    fn data(&mut self, port: usize, chunk: Chunk, out: &mut Out) -> Result<(), OperatorError>;

    /// A bounded input is at its end: no row can be late any more, and every timer fires.
    ///
    /// # Errors
    /// As [`Operator::data`].
    fn end(&mut self, _port: usize, _out: &mut Out) -> Result<(), OperatorError> {
        Ok(())
    }

    /// An input of several is not waited for, because nothing has come there for too long; or it is again.
    ///
    /// # Errors
    /// As [`Operator::data`].
    fn idles(&mut self, _port: usize, _idle: bool, _out: &mut Out) -> Result<(), OperatorError> {
        Ok(())
    }

    /// The key groups that its sections are of.
    fn groups(&self) -> Vec<Range<u16>> {
        std::iter::once(0..GROUPS).collect()
    }

    /// Writes down what it has of the rows so far, or what changed since it wrote last or was restored. Without state: nothing.
    ///
    /// # Errors
    /// When the state cannot be written.
    fn snapshot(&mut self, _to: &mut StateWriter) -> Result<(), StateError> {
        Ok(())
    }

    /// Goes on from what a snapshot wrote down; called before anything else, if at all.
    ///
    /// # Errors
    /// When it cannot be understood.
    fn restore(&mut self, _from: &StateReader) -> Result<(), StateError> {
        Ok(())
    }

    /// Memory that its state takes, as far as it is known.
    fn state_bytes(&self) -> usize {
        0
    }
}

/// Where an operator says what came of a chunk.
#[derive(Default)]
pub struct Out {
    pub(crate) chunks: Vec<Chunk>,
    failures: Vec<Failure>,
    pub(crate) late: Vec<Late>,
    /// Where the rows of the chunks stand, if it is asked for.
    pub(crate) places: Option<Places>,
}

impl Out {
    /// For an operator that has only some of the keys: it tells of every row that it gives where it stands among those of others.
    pub(crate) fn with_places() -> Out {
        Out {
            places: Some(Places::default()),
            ..Out::default()
        }
    }

    /// Hands rows and marks on. Marks that came in go out again, behind what they let happen.
    pub fn emit(&mut self, chunk: Chunk) {
        self.chunks.push(chunk);
    }

    /// A record that the operator could not compute: it becomes a dead letter, and the others go on.
    pub fn fail(&mut self, origin: Origin, code: impl Into<String>, message: impl Into<String>) {
        self.failures.push(Failure {
            origin,
            code: code.into(),
            message: message.into(),
        });
    }

    /// A row that came too late for everything that it belongs to: it is counted and located, and in no result.
    pub fn late(&mut self, late: Late) {
        self.late.push(late);
    }
}

/// A row that came too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Late {
    /// Its place in the chunk that the operator was given.
    pub row: usize,
    /// Milliseconds since 1970.
    pub event_time: i64,
    /// The one before it, milliseconds since 1970.
    pub watermark: i64,
}

/// A record that an expression could not be computed for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub origin: Origin,
    pub code: String,
    pub message: String,
}

/// What a job cannot go on after.
#[derive(Debug, Error)]
pub enum OperatorError {
    /// A bug of ours.
    #[error("columns do not fit together: {0}")]
    Arrow(#[from] ArrowError),
    /// Behind the first state no record can be given up for a row: many became one.
    #[error("a row behind an aggregate cannot be computed: {message}")]
    Row {
        /// Its place in the chunk that the operator was given.
        row: usize,
        code: String,
        message: String,
    },
    /// A value that an operator with state cannot compute; names the key and the window.
    #[error("{message}")]
    Value {
        message: String,
        hint: String,
        /// Of several instances that come upon one, the least is told: that of the row that is given first.
        place: Vec<u8>,
    },
}

impl OperatorError {
    /// Where an instance came upon it, among those that others came upon.
    pub(crate) fn place(&self) -> &[u8] {
        match self {
            OperatorError::Value { place, .. } => place,
            OperatorError::Arrow(_) | OperatorError::Row { .. } => &[],
        }
    }
}

impl From<OperatorError> for ConnectorError {
    fn from(error: OperatorError) -> ConnectorError {
        let message = error.to_string();
        match error {
            OperatorError::Arrow(_) => ConnectorError::new(ErrorKind::Bug, message),
            OperatorError::Row { code, .. } => ConnectorError::new(ErrorKind::Fix, message)
                .detail(format!("Its code is {code}. Nothing of this checkpoint is in the table."))
                .hint("Let the expression give NULL where it has no value (TRY_CAST, NULLIF), or compute it below the aggregate, where a record that fails becomes a dead letter."),
            OperatorError::Value { hint, .. } => {
                ConnectorError::new(ErrorKind::Fix, message).hint(hint)
            }
        }
    }
}
