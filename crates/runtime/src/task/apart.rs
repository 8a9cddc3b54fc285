//! A flow that is executed outside of any job, and goes on later where it was: what an audit knows of a log that is about to go.
//!
//! A [`FlowState`] is what a manifest says of a job's flow, without its sinks. Rows of states that are large stand in files, in a folder
//! of their own ([`Shelf`]): a job removes the files that no manifest names.

use super::enlist;
use crate::chunk::{Split, SplitId};
use crate::manifest::{Joined, SplitState};
use crate::operator::{Flow, Meetings, SplitTimes};
use crate::pool::Pool;
use crate::state::{Leftovers, OperatorState, StateError, StateFiles, States};
use lw_stdx::disk::Disk;
use lw_storage::Storage;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// How far a flow had come. Layout: JSON, field names as below; states as manifests have them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowState {
    /// How far event time had come in each partition.
    splits: Vec<SplitState>,
    /// The last mark, where there is one scan.
    marked: Option<i64>,
    /// The last mark of each of several scans, by its first topic.
    marks: BTreeMap<String, i64>,
    /// What is known where scans meet, where one may be asleep.
    #[serde(default, skip_serializing_if = "Meetings::is_empty")]
    meetings: Meetings,
    operators: States,
}

/// Where the states of one flow stand that are large.
#[derive(Clone)]
pub struct Shelf(pub(super) StateFiles);

impl fmt::Debug for Shelf {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Shelf").finish_non_exhaustive()
    }
}

impl Shelf {
    /// The one of this name, beside the log.
    pub fn of(storage: &Storage, name: &str) -> Shelf {
        let (disk, data) = storage.folder();
        Shelf::under(disk, &data, name)
    }

    /// The one of this name in the folder of a log.
    pub fn under(disk: Arc<dyn Disk>, data: &Path, name: &str) -> Shelf {
        Shelf(StateFiles::under(disk, &data.join("audit"), name))
    }

    /// Removes the files that none of these names.
    pub fn keep_only<'a>(&self, states: impl Iterator<Item = &'a FlowState>) {
        let states = states.flat_map(|state| state.operators.values());
        Leftovers::of(&self.0).keep(states);
    }
}

impl Flow {
    /// Writes down how far it has come. Its files are durable when it returns; their names are of `number`, which is never that of a
    /// state that is still to be read.
    ///
    /// # Errors
    /// When a state cannot be written.
    pub fn write_down(
        &mut self,
        splits: &[Split],
        shelf: &Shelf,
        number: u64,
    ) -> Result<FlowState, StateError> {
        let mut to = shelf.0.writing(number, "flow");
        let frozen = self.downstream.freeze(None, &shelf.0.limits)?.into_iter();
        let operators = frozen.map(|(uid, written)| {
            let state = OperatorState::behind(None, written, &mut to)?;
            Ok((uid, state))
        });
        let operators: States = operators.collect::<Result<_, StateError>>()?;
        let times: SplitTimes = self
            .upstream
            .times()
            .map(Cow::into_owned)
            .unwrap_or_default();
        let state = |(id, split): (SplitId, &Split)| SplitState {
            topic: split.topic.to_string(),
            partition: split.partition,
            end: None,
            watermark: times.by_split().get(&id).copied(),
            joined: match times.is_awaited(id) {
                true => Joined::AtStart,
                false => Joined::Later,
            },
            came: times.came(id),
        };
        Ok(FlowState {
            splits: (0..).zip(splits).map(state).collect(),
            marked: self.upstream.marked(),
            marks: self.upstream.marks(),
            meetings: self.upstream.meetings(),
            operators,
        })
    }

    /// Has the states that were written down.
    ///
    /// # Errors
    /// When one is gone or damaged, or is of an operator that is not here.
    pub fn restore(&mut self, from: &FlowState, shelf: &Shelf) -> Result<(), StateError> {
        let alone = Pool::none();
        self.downstream.restore(&from.operators, &shelf.0, &alone)
    }

    /// Goes on where it was, over these splits; behind [`Flow::restore`].
    pub fn go_on_from(&mut self, from: &FlowState, splits: &[Split]) {
        let times = enlist::times(&from.splits, splits);
        let alone = self.upstream.scans().len() == 1;
        let marked = |scan: &str| match alone {
            true => from.marked,
            false => from.marks.get(scan).copied(),
        };
        let meetings = &from.meetings;
        self.upstream.go_on_from(&times, splits, marked, meetings);
        self.downstream.go_on_from(&self.upstream.at_outlets());
    }
}
