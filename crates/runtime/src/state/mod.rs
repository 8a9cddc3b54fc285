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
pub(crate) use group::{groups_of, shard_of};

use crate::connector::{ConnectorError, ErrorKind};
use arrow_array::{BooleanArray, RecordBatch};
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
#[derive(Debug)]
pub struct StateWriter {
    /// The key groups that the operator has.
    groups: Range<u16>,
    watermark: Option<i64>,
    sections: Vec<Section>,
}

impl Default for StateWriter {
    /// Of an operator that has all keys.
    fn default() -> StateWriter {
        StateWriter::of(0..GROUPS)
    }
}

impl StateWriter {
    /// Of one of several instances of an operator, which has the keys of these groups.
    ///
    /// # Panics
    /// When there are no such groups.
    pub(crate) fn of(groups: Range<u16>) -> StateWriter {
        assert!(
            groups.start < groups.end && groups.end <= GROUPS,
            "S1: a section is of key groups that there are, not {groups:?}"
        );
        StateWriter {
            groups,
            watermark: None,
            sections: Vec::new(),
        }
    }

    /// How far event time has come at the operator: what is late from now on hangs on it.
    pub fn watermark(&mut self, millis: Option<i64>) {
        self.watermark = millis;
    }

    /// Adds a section. One of no rows says nothing and is left out.
    pub fn section(&mut self, name: &str, rows: RecordBatch) {
        if rows.num_rows() > 0 {
            self.sections.push(Section {
                name: name.to_string(),
                groups: self.groups.clone(),
                rows,
            });
        }
    }

    /// What another instance of the operator has.
    ///
    /// # Panics
    /// When event time has not come as far there.
    pub(crate) fn add(&mut self, part: StateWriter) {
        assert!(
            self.sections.is_empty() || self.watermark == part.watermark,
            "S2: all instances of an operator are told the same marks"
        );
        self.watermark = part.watermark;
        self.sections.extend(part.sections);
    }

    pub fn finish(self) -> StateReader {
        StateReader::new(self.watermark, self.sections)
    }
}

/// What an operator goes on from.
#[derive(Clone, Debug)]
pub struct StateReader {
    /// The key groups that the operator has; the sections may be of others as well.
    groups: Range<u16>,
    watermark: Option<i64>,
    sections: Vec<Section>,
}

impl StateReader {
    pub fn new(watermark: Option<i64>, sections: Vec<Section>) -> StateReader {
        StateReader {
            groups: 0..GROUPS,
            watermark,
            sections,
        }
    }

    /// The same for one of several instances of the operator, which has the keys of these groups.
    pub(crate) fn within(&self, groups: Range<u16>) -> StateReader {
        let sections = self.sections.iter();
        let touches = |section: &&Section| {
            section.groups.start < groups.end && groups.start < section.groups.end
        };
        StateReader {
            sections: sections.filter(touches).cloned().collect(),
            watermark: self.watermark,
            groups,
        }
    }

    /// Which rows of a section are the operator's, by the groups of their keys; `None` for all of them.
    pub(crate) fn mine(
        &self,
        section: &Section,
        groups: impl FnOnce() -> Result<Vec<u16>, StateError>,
    ) -> Result<Option<BooleanArray>, StateError> {
        let is_whole =
            self.groups.start <= section.groups.start && section.groups.end <= self.groups.end;
        if is_whole {
            return Ok(None);
        }
        let groups = groups()?.into_iter();
        let mine = groups.map(|group| Some(self.groups.contains(&group)));
        Ok(Some(mine.collect()))
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
