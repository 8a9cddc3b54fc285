//! What one frame of the WAL can do, and how each of it can be refused.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use uuid::Uuid;

use crate::numbers::Lsn;
use crate::settings::InvalidSetting;

/// The key-value tables. Small state only: they live whole in memory and are snapshotted with each checkpoint.
/// The numbers stand in files and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Table {
    GroupOffsets = 1,
    Groups = 2,
    ProducerIds = 3,
    Catalog = 4,
    Pipelines = 5,
    Manifests = 6,
    Registry = 7,
    Cluster = 8,
}

impl Table {
    /// Every table.
    pub const ALL: [Table; 8] = [
        Table::GroupOffsets,
        Table::Groups,
        Table::ProducerIds,
        Table::Catalog,
        Table::Pipelines,
        Table::Manifests,
        Table::Registry,
        Table::Cluster,
    ];

    pub(crate) fn from_id(id: u8) -> Option<Table> {
        Table::ALL.into_iter().find(|table| *table as u8 == id)
    }
}

/// One step of an atomic commit. Steps see the effect of those before them in the same frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    CreateTopic {
        name: String,
        id: Uuid,
        partitions: i32,
        config: BTreeMap<String, String>,
        internal: bool,
    },
    DeleteTopic {
        id: Uuid,
    },
    /// Grows a topic to `total` partitions.
    CreatePartitions {
        id: Uuid,
        total: i32,
    },
    /// Replaces all explicit configs.
    AlterConfig {
        id: Uuid,
        config: BTreeMap<String, String>,
    },
    /// Advances the log start to `before` (-1 = the high watermark). Never moves it back.
    DeleteRecords {
        topic: Uuid,
        partition: i32,
        before: i64,
    },
    Append {
        topic: Uuid,
        partition: i32,
        batches: Bytes,
    },
    /// Sets or deletes (`None`) a key.
    Put {
        table: Table,
        key: Bytes,
        value: Option<Bytes>,
        expect: Expect,
    },
}

/// The compare part of compare-and-swap, against the newest accepted value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    Any,
    Absent,
    Value(Bytes),
}

/// A frame that is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Place of the frame in the one history.
    pub lsn: Lsn,
    /// One for each [`Op::Append`], in order.
    pub appended: Vec<Appended>,
}

/// Batches that are durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    pub base_offset: i64,
    pub last_offset: i64,
    /// -1 unless the topic is `LogAppendTime`.
    pub log_append_time: i64,
    pub log_start: i64,
    /// The batches were here before; the offsets are those of the first time.
    pub duplicate: bool,
}

/// No space for a new WAL file. Reads go on; appends work again by themselves when there is space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the disk is full: {free} bytes free, {needed} needed")]
pub struct StorageFull {
    pub free: u64,
    pub needed: u64,
}

/// Why batches were not appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    #[error("there is no such partition")]
    UnknownPartition,
    /// Not one whole batch after the other; `protocol` checks that before.
    #[error("the batches are malformed: {0}")]
    Malformed(String),
    #[error("{bytes} bytes in one append; at most {limit} are taken")]
    TooLarge { bytes: usize, limit: usize },
    /// Each batch is numbered inside its frame.
    #[error("{found} batches in one append; at most {limit} are taken")]
    TooManyBatches { found: usize, limit: usize },
    #[error("producer {producer_id}: sequence {got} where {expected} was due")]
    OutOfOrderSequence {
        producer_id: i64,
        expected: i32,
        got: i32,
    },
    #[error("producer {producer_id}: epoch {got} is older than {current}")]
    InvalidProducerEpoch {
        producer_id: i64,
        current: i16,
        got: i16,
    },
    #[error("{0}")]
    Full(StorageFull),
    /// The disk failed us or the storage is closed: nothing more is written until a restart.
    #[error("{0}")]
    Failed(String),
}

/// What of a commit is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooLarge {
    Bytes,
    Batches,
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TooLarge::Bytes => "bytes",
            TooLarge::Batches => "batches",
        })
    }
}

/// Why a commit did not happen. Nothing of it did.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    #[error("{table:?}: the value is not the expected one")]
    Conflict { table: Table, key: Bytes },
    #[error("topic `{0}` exists already")]
    TopicExists(String),
    #[error("there is no topic with id {0}")]
    UnknownTopic(Uuid),
    #[error("{0}")]
    InvalidConfig(InvalidSetting),
    #[error("a topic's partitions can only grow: it has {has}, {asked} were asked for")]
    InvalidPartitions { has: i32, asked: i32 },
    /// `before` of [`Op::DeleteRecords`] lies outside the log.
    #[error("offset {asked} is outside the log, which is {start} to {end}")]
    OffsetOutOfRange { asked: i64, start: i64, end: i64 },
    /// More than one frame can hold.
    #[error("{found} {what} in one commit; at most {limit} are taken")]
    TooLarge {
        what: TooLarge,
        found: usize,
        limit: usize,
    },
    #[error("{0}")]
    Append(AppendError),
    #[error("{0}")]
    Full(StorageFull),
    #[error("{0}")]
    Failed(String),
}

/// Why bytes could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("there is no such partition")]
    UnknownPartition,
    #[error("offset {asked} is outside the log, which is {start} to {end}")]
    OutOfRange { asked: i64, start: i64, end: i64 },
    /// The bytes on disk are not those that were acknowledged.
    #[error("the log is damaged in {file} at byte {position}: {reason}")]
    Corrupt {
        file: String,
        position: u64,
        reason: String,
    },
    #[error("the disk failed: {0}")]
    Io(String),
}
