//! What one `INSERT` of a job has done: how far each partition is, and the commits of its tables.

use super::{SplitOffset, SplitRange, TableChain, split_offset};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What one `INSERT` of a job has done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SinkState {
    /// Id of the plan that computed what was written last.
    pub plan: Option<String>,
    /// Every partition that it was ever written from, those included that are not read any more: should one come back, it goes
    /// on where it was.
    pub splits: Vec<SinkSplit>,
    /// The commits of its table.
    pub chain: TableChain,
    /// Those of the tables beside it (dead letters), by their names.
    pub sides: BTreeMap<String, TableChain>,
}

/// How far one partition is in one sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SinkSplit {
    pub topic: String,
    pub partition: i32,
    /// Where reading began: a rewind to the beginning must not ask the startup mode again, whose answer (`latest-offset`, a
    /// group's committed offsets) has moved on.
    pub begin: i64,
    /// Everything from there to here is in the sink's chain, confirmed or pending.
    pub written_until: i64,
}

/// What manifests call a sink: its table. Only sinks that are no tables take several `INSERT`s of one script; from the second on
/// the name says which, as no table's does, since none has a `/` in it.
pub fn sink_name(table: &str, occurrence: usize) -> String {
    match occurrence {
        0 => table.to_string(),
        n => format!("{n}/{table}"),
    }
}

impl SinkState {
    /// Where reading began, per partition.
    pub fn begins(&self) -> Vec<SplitOffset> {
        let splits = self.splits.iter();
        let begin = |at: &SinkSplit| split_offset(&at.topic, at.partition, at.begin);
        splits.map(begin).collect()
    }

    /// It is filled, and by nothing of this topic.
    pub(super) fn gets_nothing_of(&self, topic: &str) -> bool {
        !self.splits.is_empty() && self.splits.iter().all(|split| split.topic != topic)
    }

    /// Remembers where a partition begins that it has nothing of yet.
    pub fn begin_at(&mut self, at: &SplitOffset) {
        if self.split(&at.topic, at.partition).is_none() {
            self.splits.push(SinkSplit {
                topic: at.topic.clone(),
                partition: at.partition,
                begin: at.next,
                written_until: at.next,
            });
        }
    }

    /// Moves on to the end of a range.
    ///
    /// # Panics
    /// When the range does not begin where the sink stands (L2).
    pub fn move_on(&mut self, range: &SplitRange) {
        let start = split_offset(&range.topic, range.partition, range.start);
        self.begin_at(&start);
        let split = self.split_mut(&start).expect("it has just begun there");
        assert_eq!(
            split.written_until, range.start,
            "L2: a commit begins where the sink stands"
        );
        split.written_until = range.end;
    }

    /// How far a partition is.
    pub fn split(&self, topic: &str, partition: i32) -> Option<&SinkSplit> {
        let mut splits = self.splits.iter();
        splits.find(|at| at.topic == topic && at.partition == partition)
    }

    pub(super) fn split_mut(&mut self, of: &SplitOffset) -> Option<&mut SinkSplit> {
        let mut splits = self.splits.iter_mut();
        splits.find(|at| at.topic == of.topic && at.partition == of.partition)
    }

    pub(super) fn named(&self) -> impl Iterator<Item = (&str, i32)> {
        self.splits.iter().map(|at| (&*at.topic, at.partition))
    }

    /// A partition in which the sink does not stand where its chain ends, and where that is.
    pub(super) fn astray(&self) -> Option<((String, i32), i64)> {
        let mut ends = self.chain.ends().into_iter();
        ends.find(|((topic, partition), end)| {
            let split = self.split(topic, *partition);
            split.is_none_or(|at| at.written_until != *end)
        })
    }
}
