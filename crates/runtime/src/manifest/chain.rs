//! The commits of a table: those that are pending, and the newest that is known to be in it.

use super::{SplitOffset, split_offset};
use crate::lookup::Pins;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// The commits of one table that are not yet known to be in it, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TableChain {
    /// The newest commit known to be in the table; `None` before the first.
    pub last: Option<Confirmed>,
    /// Each entry's `previous` is the uuid of the one before it (of `last` for the first).
    pub chain: Vec<Pending>,
}

/// What is remembered of a confirmed commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmed {
    pub uuid: Uuid,
    pub sequence: u64,
    /// End of each partition after it (exclusive).
    pub ends: Vec<SplitOffset>,
}

/// A commit whose files are durable and whose place in the table is not confirmed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pending {
    /// Counts a table's commits from 1.
    pub sequence: u64,
    pub uuid: Uuid,
    pub previous: Option<Uuid>,
    /// Data files as the lakehouse layer described them; opaque here.
    pub files: Vec<serde_json::Value>,
    pub ranges: Vec<SplitRange>,
    /// Greatest event time read so far, milliseconds since 1970.
    pub max_event_time: Option<i64>,
    /// Watermark at the seal, the least of all partitions', milliseconds since 1970.
    pub watermark: Option<i64>,
    /// No event time that was ever read is greater, see [`Manifest::reached`]; older versions do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reached: Option<i64>,
    /// Iceberg schema id that the files were written with.
    pub schema_id: i32,
    /// Id of the plan that computed the rows; commits of older versions do not say.
    #[serde(default)]
    pub plan: Option<String>,
    /// Where the job's reading began, per partition.
    #[serde(default)]
    pub begins: Vec<SplitOffset>,
    /// With which versions of the tables that rows are looked up in its rows were joined.
    #[serde(default, skip_serializing_if = "Pins::is_empty")]
    pub lookups: Pins,
}

/// The offsets `[start, end)` of one partition that a commit accounts for, and what became of them:
/// `end − start = rows + filtered + dead_letters + control + late + gaps`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitRange {
    pub topic: String,
    pub partition: i32,
    pub start: i64,
    pub end: i64,
    pub rows: u64,
    pub filtered: u64,
    pub dead_letters: u64,
    pub control: u64,
    /// Records that came too late for all that they belong to.
    #[serde(default)]
    pub late: u64,
}

impl TableChain {
    /// Whether a commit does not follow on the one before it.
    pub(super) fn has_hole(&self) -> bool {
        let mut before = self.last.as_ref().map(|last| last.uuid);
        self.chain.iter().any(|pending| {
            // Nothing before the chain: the table was made again, and was adopted so.
            let hole = before.is_some() && pending.previous != before;
            before = Some(pending.uuid);
            hole
        })
    }

    /// The uuid that the next pending commit follows.
    pub fn head(&self) -> Option<Uuid> {
        match self.chain.last() {
            Some(pending) => Some(pending.uuid),
            None => self.last.as_ref().map(|confirmed| confirmed.uuid),
        }
    }

    /// Whether the commit is pending here or the newest that was confirmed.
    pub fn contains(&self, uuid: Uuid) -> bool {
        let pending = self.chain.iter().any(|pending| pending.uuid == uuid);
        pending || self.last.as_ref().is_some_and(|last| last.uuid == uuid)
    }

    /// The sequence number of the next pending commit.
    pub fn next_sequence(&self) -> u64 {
        let newest = match self.chain.last() {
            Some(pending) => Some(pending.sequence),
            None => self.last.as_ref().map(|confirmed| confirmed.sequence),
        };
        newest.map_or(1, |sequence| sequence + 1)
    }

    /// Where each partition ends once all of the chain is in the table.
    pub fn ends(&self) -> BTreeMap<(String, i32), i64> {
        let confirmed = self.last.iter().flat_map(|last| &last.ends);
        let confirmed = confirmed.map(|end| ((end.topic.clone(), end.partition), end.next));
        let pending = self.chain.iter().flat_map(|pending| &pending.ranges);
        let pending = pending.map(|range| ((range.topic.clone(), range.partition), range.end));
        confirmed.chain(pending).collect()
    }

    /// Drops the first `confirmed` entries, which are now known to be in the table.
    pub fn confirm(&mut self, confirmed: usize) {
        let rest = self.chain.split_off(confirmed);
        let ends = self.ends();
        let newest = self.chain.pop();
        self.chain = rest;
        if let Some(newest) = newest {
            let end = |((topic, partition), next): ((String, i32), i64)| {
                split_offset(&topic, partition, next)
            };
            self.last = Some(Confirmed {
                uuid: newest.uuid,
                sequence: newest.sequence,
                ends: ends.into_iter().map(end).collect(),
            });
        }
    }
}
