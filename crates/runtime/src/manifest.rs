//! The checkpoint manifest: the only write-ahead record of a pipeline.
//!
//! It carries the position in the log and *all commits not yet confirmed* per table, and is replaced by compare-and-swap
//! with a generation fence. The order that it serves:
//!
//! 1. data files durable → 2. manifest durable → 3. catalog commits → 4. the next manifest drops what is confirmed
//!    → 5. group offsets.
//!
//! Layout: JSON, field names as below, `format` = 2; a newer format number is refused. Format 1 had no ids of topics, no end of a
//! bounded read, no watermarks and no plan: it is read as a checkpoint that does not know them yet.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// The layout version that [`Manifest::format`] carries.
pub const FORMAT: u32 = 2;

/// The manifest of one job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this layout; 2.
    pub format: u32,
    pub pipeline: Uuid,
    /// Raised by every process that takes the pipeline over; a manifest of a lower generation can no longer be written.
    pub generation: u64,
    pub checkpoint_id: u64,
    /// Wall clock, milliseconds since 1970.
    pub created_ms: i64,
    /// Next offset to read per partition: everything below is in `tables` (confirmed or pending).
    pub offsets: Vec<SplitOffset>,
    /// Where reading began, per partition: a rewind to the beginning must not ask the startup mode again, whose answer
    /// (`latest-offset`, a group's committed offsets) has moved on.
    #[serde(default)]
    pub begins: Vec<SplitOffset>,
    /// The topics that `offsets` are of. A topic that was deleted and created again under its name has another id, and none of
    /// these offsets mean anything in it.
    #[serde(default)]
    pub topics: BTreeMap<String, Uuid>,
    /// Where a bounded read ends, decided once, before it begins; `None` for a read without an end.
    #[serde(default)]
    pub ends: Option<Vec<SplitOffset>>,
    /// Watermark of each partition that has one, at `offsets`.
    #[serde(default)]
    pub watermarks: Vec<SplitWatermark>,
    /// Id of the plan that computed what was read last.
    #[serde(default)]
    pub plan: Option<String>,
    /// Per table (`namespace.table`): what is committed last and what still has to be.
    pub tables: BTreeMap<String, TableChain>,
}

impl Manifest {
    /// The manifest of a pipeline that has not read anything yet.
    pub fn new(pipeline: Uuid) -> Manifest {
        Manifest {
            format: FORMAT,
            pipeline,
            generation: 0,
            checkpoint_id: 0,
            created_ms: 0,
            offsets: Vec::new(),
            begins: Vec::new(),
            topics: BTreeMap::new(),
            ends: None,
            watermarks: Vec::new(),
            plan: None,
            tables: BTreeMap::new(),
        }
    }

    /// Reads a manifest of this or an older format.
    ///
    /// # Errors
    /// [`Unreadable`]; never a manifest that was half understood, nor one that would lose or double rows.
    pub fn read(bytes: &[u8]) -> Result<Manifest, Unreadable> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let damaged = |error: serde_json::Error| Unreadable::Damaged(error.to_string());
        let Version { format } = serde_json::from_slice(bytes).map_err(damaged)?;
        if !(1..=FORMAT).contains(&format) {
            return Err(Unreadable::Newer { found: format });
        }
        let mut manifest: Manifest = serde_json::from_slice(bytes).map_err(damaged)?;
        manifest.format = FORMAT;
        match manifest.broken() {
            Some(invariant) => Err(Unreadable::Damaged(invariant)),
            None => Ok(manifest),
        }
    }

    /// Asserts what has to hold of every manifest that becomes durable.
    ///
    /// # Panics
    /// When it does not hold.
    pub fn check(&self) {
        if let Some(invariant) = self.broken() {
            panic!("{invariant}");
        }
    }

    /// The invariant that this manifest breaks.
    fn broken(&self) -> Option<String> {
        for (table, chain) in &self.tables {
            let mut before = chain.last.as_ref().map(|last| last.uuid);
            for pending in &chain.chain {
                // Nothing before the chain: the table was made again, and was adopted so.
                if before.is_some() && pending.previous != before {
                    return Some(format!(
                        "M1: in the chain of {table} each commit follows on the one before it"
                    ));
                }
                before = Some(pending.uuid);
            }
        }
        for (n, at) in self.offsets.iter().enumerate() {
            if self.offsets[..n].iter().any(|other| other.same_split(at)) {
                let (topic, partition) = (&at.topic, at.partition);
                return Some(format!(
                    "M2: one offset per partition, {topic}[{partition}] has two"
                ));
            }
        }
        None
    }

    /// Remembers where partitions begin that have none yet.
    pub fn begin_at(&mut self, positions: &[SplitOffset]) {
        for at in positions {
            if !self.begins.iter().any(|begin| begin.same_split(at)) {
                self.begins.push(at.clone());
            }
        }
    }
}

/// Why a manifest cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("the manifest cannot be read: {0}")]
    Damaged(String),
    #[error("the manifest has format {found}; this version reads formats 1 to {FORMAT}")]
    Newer { found: u32 },
}

/// How far event time has come in one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitWatermark {
    pub topic: String,
    pub partition: i32,
    /// Milliseconds since 1970.
    pub watermark: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitOffset {
    pub topic: String,
    pub partition: i32,
    pub next: i64,
}

impl SplitOffset {
    /// Both are of one partition of one topic.
    pub fn same_split(&self, other: &SplitOffset) -> bool {
        self.topic == other.topic && self.partition == other.partition
    }
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
    /// Iceberg schema id that the files were written with.
    pub schema_id: i32,
    /// Id of the plan that computed the rows; commits of older versions do not say.
    #[serde(default)]
    pub plan: Option<String>,
    /// Where the job's reading began, per partition.
    #[serde(default)]
    pub begins: Vec<SplitOffset>,
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
            let end = |((topic, partition), next)| SplitOffset {
                topic,
                partition,
                next,
            };
            self.last = Some(Confirmed {
                uuid: newest.uuid,
                sequence: newest.sequence,
                ends: ends.into_iter().map(end).collect(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_format_is_refused_and_not_half_understood() {
        let mut manifest = Manifest::new(Uuid::nil());
        manifest.format = 3;
        let bytes = serde_json::to_vec(&manifest).expect("plain data");
        let refused = Manifest::read(&bytes).map_err(|error| error.to_string());
        assert_eq!(
            refused,
            Err("the manifest has format 3; this version reads formats 1 to 2".to_string())
        );
    }

    #[test]
    #[should_panic(expected = "M1")]
    fn a_chain_with_a_hole_is_not_gone_on_from() {
        let mut manifest = Manifest::new(Uuid::nil());
        let pending = |uuid| Pending {
            uuid: Uuid::from_u128(uuid),
            previous: None,
            ..Pending::default()
        };
        let chain = TableChain {
            last: None,
            chain: vec![pending(1), pending(2)],
        };
        manifest.tables.insert("t".to_string(), chain);
        manifest.check();
    }
}
