//! What operators know of the rows so far, as a checkpoint writes it down.
//!
//! State stands in sections: Arrow rows under a name of the operator's own, each of a range of key groups. A key is always in
//! the same one of [`GROUPS`] groups, whatever shards share the work, so state can be given to as many shards as there are.
//! It is written to the manifest that says which offsets it is of ([`encoded`]), or beside it where it is large ([`files`]): all of
//! it, or what changed since the last checkpoint ([`chain`]).

mod budget;
mod chain;
mod changed;
mod encoded;
mod files;
mod group;
#[cfg(test)]
pub(crate) mod tests;

pub use budget::Budget;
pub(crate) use budget::Share;
pub use chain::{Link, OperatorState, StoredSection};
pub(crate) use changed::Changed;
pub use encoded::{StateFile, StoredRows};
pub use files::Limits;
pub(crate) use files::{Leftovers, StateFiles, folder, sweep};
pub(crate) use group::key_group_of;
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
    /// It would take more memory than there is for states.
    #[error(
        "the state of the checkpoint takes about {} MiB, and of the {} MiB for all states {} are taken",
        bytes.div_ceil(1 << 20), limit >> 20, taken.div_ceil(1 << 20)
    )]
    Budget { bytes: u64, taken: u64, limit: u64 },
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
            StateError::Budget { .. } => ConnectorError::new(ErrorKind::Fix, message)
                .detail("Nothing of it was read, and the checkpoint stays as it is.")
                .hint("Start the server with more memory for states (`lakeward up --state-memory`), or stop another pipeline and resume this one."),
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

/// What operators wrote down, not yet as bytes.
pub type Frozen = BTreeMap<OperatorUid, StateWriter>;

/// Where an operator writes its state: all of it, or where that is asked for, what changed since it was asked last. A section that it
/// does not write has no rows.
#[derive(Debug)]
pub struct StateWriter {
    /// The key groups that the operator has.
    groups: Range<u16>,
    is_delta: bool,
    watermark: Option<i64>,
    memory: u64,
    /// What is written so far.
    pub sections: Vec<Written>,
}

impl Default for StateWriter {
    /// Of an operator that has all keys, which is to write all.
    fn default() -> StateWriter {
        StateWriter::of(0..GROUPS)
    }
}

/// What an operator wrote of a section.
#[derive(Debug)]
pub struct Written {
    pub name: String,
    pub groups: Range<u16>,
    pub rows: Vec<RecordBatch>,
    /// `None` where the rows are all of the section.
    pub changes: Option<Changes>,
}

/// How rows that changed take the place of those before.
#[derive(Debug, Default)]
pub struct Changes {
    /// The columns that name what a row is of.
    pub ids: Vec<u16>,
    /// What has no rows any more.
    pub dropped: Vec<RecordBatch>,
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
            is_delta: false,
            watermark: None,
            memory: 0,
            sections: Vec::new(),
        }
    }

    /// What one of several instances of the operator is to write, which has the keys of these groups.
    pub(crate) fn part(&self, groups: Range<u16>) -> StateWriter {
        StateWriter {
            is_delta: self.is_delta,
            ..StateWriter::of(groups)
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

    /// The same, asking for what changed.
    pub(crate) fn asking_for_changes(self) -> StateWriter {
        StateWriter {
            is_delta: true,
            ..self
        }
    }

    /// What changed is asked for, not all.
    pub fn is_delta(&self) -> bool {
        self.is_delta
    }

    /// How far event time has come at the operator: what is late from now on hangs on it.
    pub fn watermark(&mut self, millis: Option<i64>) {
        self.watermark = millis;
    }

    /// The memory that the state takes.
    pub(crate) fn memory(&mut self, bytes: usize) {
        self.memory = bytes as u64;
    }

    /// All rows of a section, or more of them.
    ///
    /// # Panics
    /// When of the same section what changed was written.
    pub fn section(&mut self, name: &str, rows: RecordBatch) {
        let section = self.named(name);
        assert!(
            section.changes.is_none(),
            "S6: a section is written as a whole or by what changed"
        );
        section.rows.push(rows);
    }

    /// Says of a section that it is written by what changed: the columns `ids` name what a row is of.
    ///
    /// # Panics
    /// When all is asked for, or rows of the section were written as all of it.
    pub fn changes(&mut self, name: &str, ids: &[u16]) -> ChangesOf<'_> {
        assert!(
            self.is_delta,
            "S7: what changed is not written where all is asked for"
        );
        let section = self.named(name);
        assert!(
            section.changes.is_some() || section.rows.is_empty(),
            "S6: a section is written as a whole or by what changed"
        );
        let changes = section.changes.get_or_insert_with(|| Changes {
            ids: ids.to_vec(),
            dropped: Vec::new(),
        });
        ChangesOf {
            rows: &mut section.rows,
            dropped: &mut changes.dropped,
        }
    }

    fn named(&mut self, name: &str) -> &mut Written {
        let groups = self.groups.clone();
        let mut sections = self.sections.iter();
        let at = sections.position(|section| section.name == name && section.groups == groups);
        let at = at.unwrap_or_else(|| {
            self.sections.push(Written {
                name: name.to_string(),
                groups,
                rows: Vec::new(),
                changes: None,
            });
            self.sections.len() - 1
        });
        &mut self.sections[at]
    }

    /// What was written, where that was all.
    ///
    /// # Panics
    /// When it is what changed.
    pub fn finish(self) -> StateReader {
        assert!(!self.is_delta, "S7: what changed is no whole state");
        let mut sections = Vec::new();
        for Written {
            name, groups, rows, ..
        } in self.sections
        {
            let rows = rows.into_iter().filter(|rows| rows.num_rows() > 0);
            sections.extend(rows.map(|rows| Section {
                name: name.clone(),
                groups: groups.clone(),
                rows,
            }));
        }
        StateReader::new(self.watermark, sections)
    }
}

/// Where what changed of a section is written.
pub struct ChangesOf<'a> {
    rows: &'a mut Vec<RecordBatch>,
    dropped: &'a mut Vec<RecordBatch>,
}

impl ChangesOf<'_> {
    /// All rows that there are now of each thing that these are of.
    pub fn rows(&mut self, rows: RecordBatch) {
        self.rows.push(rows);
    }

    /// What has no rows any more, by all ids or the first of them; what was written as changed is not dropped by it.
    pub fn dropped(&mut self, ids: RecordBatch) {
        self.dropped.push(ids);
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
