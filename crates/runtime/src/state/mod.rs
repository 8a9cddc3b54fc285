//! What operators know of the rows so far, as a checkpoint writes it down.
//!
//! State stands in sections: Arrow rows under a name of the operator's own, each of a range of key groups. A key is always in
//! the same one of [`GROUPS`] groups, whatever shards share the work, so state can be given to as many shards as there are.
//! It is written to the manifest that says which offsets it is of ([`encoded`]), or beside it where it is large ([`files`]).

mod encoded;
mod files;
mod group;

pub use encoded::{OperatorState, StateFile, StoredSection};
pub(crate) use files::StateFiles;
pub use group::{GROUPS, HASH, key_group};

use crate::connector::{ConnectorError, ErrorKind};
use arrow_array::RecordBatch;
use lw_graph::OperatorUid;
use std::collections::BTreeMap;
use std::ops::Range;
use thiserror::Error;

/// State that cannot be written down or gone on from.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StateError {
    /// A bug of ours, or damaged data.
    #[error("{0}")]
    Damaged(String),
    /// A file of it cannot be written or read.
    #[error("a file of the state cannot be written or read: {0}")]
    Disk(String),
    /// No operator of the job has this state.
    #[error(
        "the checkpoint has the state of operator {0}, which the script does not have any more"
    )]
    Unclaimed(OperatorUid),
}

impl StateError {
    pub fn new(message: impl Into<String>) -> StateError {
        StateError::Damaged(message.into())
    }
}

impl From<StateError> for ConnectorError {
    fn from(error: StateError) -> ConnectorError {
        let message = error.to_string();
        match error {
            StateError::Damaged(_) => ConnectorError::new(ErrorKind::Bug, message),
            StateError::Disk(_) => ConnectorError::new(ErrorKind::Retry, message),
            StateError::Unclaimed(_) => ConnectorError::new(ErrorKind::Fix, message)
                .detail("What it had of the records that are read already would be lost.")
                .hint("Run the script with the query that it had, or drop the pipeline and run the new one from the beginning."),
        }
    }
}

/// The states of a job's operators, by their names.
pub type States = BTreeMap<OperatorUid, OperatorState>;

/// Rows of an operator's state.
#[derive(Clone, Debug)]
pub struct Section {
    /// What the operator calls them.
    pub name: String,
    /// The key groups whose rows they are.
    pub groups: Range<u16>,
    pub rows: RecordBatch,
}

/// Where an operator writes its state.
#[derive(Debug, Default)]
pub struct StateWriter {
    watermark: Option<i64>,
    sections: Vec<Section>,
}

impl StateWriter {
    /// How far event time has come at the operator: what is late from now on hangs on it.
    pub fn watermark(&mut self, millis: Option<i64>) {
        self.watermark = millis;
    }

    /// Adds a section. One of no rows says nothing and is left out.
    ///
    /// # Panics
    /// When there are no such key groups.
    pub fn section(&mut self, name: &str, groups: Range<u16>, rows: RecordBatch) {
        assert!(
            groups.start < groups.end && groups.end <= GROUPS,
            "S1: a section is of key groups that there are, not {groups:?}"
        );
        if rows.num_rows() > 0 {
            self.sections.push(Section {
                name: name.to_string(),
                groups,
                rows,
            });
        }
    }

    pub fn finish(self) -> StateReader {
        StateReader {
            watermark: self.watermark,
            sections: self.sections,
        }
    }
}

/// What an operator goes on from.
#[derive(Clone, Debug, Default)]
pub struct StateReader {
    watermark: Option<i64>,
    sections: Vec<Section>,
}

impl StateReader {
    pub fn new(watermark: Option<i64>, sections: Vec<Section>) -> StateReader {
        StateReader {
            watermark,
            sections,
        }
    }

    /// As [`StateWriter::watermark`] was told.
    pub fn watermark(&self) -> Option<i64> {
        self.watermark
    }

    /// The sections of this name, in the order in which they were written.
    pub fn sections<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Section> {
        let sections = self.sections.iter();
        sections.filter(move |section| section.name == name)
    }

    pub fn all(&self) -> &[Section] {
        &self.sections
    }
}
