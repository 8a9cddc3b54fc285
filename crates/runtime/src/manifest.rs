//! The checkpoint manifest: the only write-ahead record of a pipeline.
//!
//! It carries the position in the log and *all commits not yet confirmed* per table, and is replaced by compare-and-swap
//! with a generation fence. The order that it serves:
//!
//! 1. data files durable → 2. manifest durable → 3. catalog commits → 4. the next manifest drops what is confirmed
//!    → 5. group offsets.
//!
//! Layout: JSON, field names as below, `format` = 1. Unknown fields are kept out: a newer format number is refused.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// The manifest of one pipeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this layout; 1.
    pub format: u32,
    pub pipeline: Uuid,
    /// Raised by every process that takes the pipeline over; a manifest of a lower generation can no longer be written.
    pub generation: u64,
    pub checkpoint_id: u64,
    /// Wall clock, milliseconds since 1970.
    pub created_ms: i64,
    /// Next offset to read per partition: everything below is in `tables` (confirmed or pending).
    pub offsets: Vec<SplitOffset>,
    /// Per table (`namespace.table`): what is committed last and what still has to be.
    pub tables: BTreeMap<String, TableChain>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitOffset {
    pub topic: String,
    pub partition: i32,
    pub next: i64,
}

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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pending {
    /// Counts a table's commits from 1.
    pub sequence: u64,
    pub uuid: Uuid,
    pub previous: Option<Uuid>,
    /// Data files as the lakehouse layer described them; opaque here.
    pub files: Vec<serde_json::Value>,
    pub ranges: Vec<SplitRange>,
    /// Greatest event time in the files, milliseconds since 1970.
    pub max_event_time: Option<i64>,
    /// Watermark at the seal, milliseconds since 1970.
    pub watermark: Option<i64>,
    /// Iceberg schema id that the files were written with.
    pub schema_id: i32,
}

/// The offsets `[start, end)` of one partition that a commit accounts for, and what became of them:
/// `end − start = rows + filtered + dead_letters + control + gaps`.
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
}

impl TableChain {
    /// The uuid that the next pending commit follows.
    pub fn head(&self) -> Option<Uuid> {
        match self.chain.last() {
            Some(pending) => Some(pending.uuid),
            None => self.last.as_ref().map(|confirmed| confirmed.uuid),
        }
    }

    /// The sequence number of the next pending commit.
    pub fn next_sequence(&self) -> u64 {
        let newest = match self.chain.last() {
            Some(pending) => Some(pending.sequence),
            None => self.last.as_ref().map(|confirmed| confirmed.sequence),
        };
        newest.map_or(1, |sequence| sequence + 1)
    }

    /// Drops the first `confirmed` entries, which are now known to be in the table.
    pub fn confirm(&mut self, confirmed: usize) {
        let mut ends: BTreeMap<(String, i32), i64> = match &self.last {
            Some(last) => last
                .ends
                .iter()
                .map(|end| ((end.topic.clone(), end.partition), end.next))
                .collect(),
            None => BTreeMap::new(),
        };
        for pending in self.chain.drain(..confirmed) {
            for range in &pending.ranges {
                ends.insert((range.topic.clone(), range.partition), range.end);
            }
            self.last = Some(Confirmed {
                uuid: pending.uuid,
                sequence: pending.sequence,
                ends: ends
                    .iter()
                    .map(|((topic, partition), next)| SplitOffset {
                        topic: topic.clone(),
                        partition: *partition,
                        next: *next,
                    })
                    .collect(),
            });
        }
    }
}
