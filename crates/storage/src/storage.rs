//! The seam of this crate. (The core is being joined up; until then nothing opens.)

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use lw_stdx::clock::Clock;
use lw_stdx::disk::Disk;
use uuid::Uuid;

use crate::config::Config;
use crate::ops::{AppendError, Appended, CommitError, Committed, Op, ReadError, Table};
use crate::topic::Topic;

/// The durable state of one server. Cheap to clone; all methods may be called from any thread.
#[derive(Clone)]
pub struct Storage(Arc<()>);

/// Why a storage folder cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the data folder is in use by process {pid}")]
    Locked { pid: u32 },
    #[error("the data folder has format {found}; this version reads up to {known}")]
    NewerFormat { found: u32, known: u32 },
    #[error("{file} is damaged: {reason}")]
    Corrupt { file: String, reason: String },
    #[error("the disk failed at {what}: {reason}")]
    Io { what: String, reason: String },
}

/// What can be read of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub log_start: i64,
    /// The fsynced end, which is the last stable offset too: there are no transactions yet.
    pub high_watermark: i64,
    pub size_bytes: u64,
}

/// Whole batches of one partition; the first may start before the asked offset.
#[derive(Debug, Clone, Default)]
pub struct Fetched {
    pub batches: Vec<Bytes>,
    pub log_start: i64,
    pub high_watermark: i64,
}

impl Fetched {
    /// Bytes of all batches.
    pub fn size(&self) -> usize {
        self.batches.iter().map(Bytes::len).sum()
    }

    /// One record set; copies unless it is a single batch.
    pub fn into_bytes(mut self) -> Bytes {
        if self.batches.len() == 1 {
            return self.batches.swap_remove(0);
        }
        let mut all = BytesMut::with_capacity(self.size());
        for batch in &self.batches {
            all.extend_from_slice(batch);
        }
        all.freeze()
    }
}

/// Counters since open, and the state of the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Stats {
    pub fsyncs: u64,
    pub fsync_time: Duration,
    pub fsync_max: Duration,
    /// Group commits, the frames in them and their bytes.
    pub groups: u64,
    pub frames: u64,
    pub group_bytes: u64,
    pub largest_group_frames: u64,
    pub disk_free: u64,
    pub disk_total: u64,
    /// Appends are refused: the disk is full or failed.
    pub write_blocked: bool,
    pub wal_files: u64,
    pub wal_bytes: u64,
}

/// Keeps a progress callback alive; dropping it unsubscribes.
pub struct Subscription(
    #[expect(dead_code, reason = "dropping it is its use")] Box<dyn std::any::Any + Send + Sync>,
);

const NOT_IN: &str = "the storage core is not joined up yet";

impl Storage {
    pub fn open(
        _disk: Arc<dyn Disk>,
        _clock: Arc<dyn Clock>,
        _config: Config,
    ) -> Result<Storage, OpenError> {
        Err(OpenError::Io {
            what: "open".into(),
            reason: NOT_IN.into(),
        })
    }
    pub fn close(self) {}
    pub fn cluster_id(&self) -> String {
        String::new()
    }
    pub fn topic(&self, _name: &str) -> Option<Arc<Topic>> {
        None
    }
    pub fn topic_by_id(&self, _id: Uuid) -> Option<Arc<Topic>> {
        None
    }
    pub fn topics(&self) -> Vec<Arc<Topic>> {
        Vec::new()
    }
    pub fn commit(
        &self,
        _ops: Vec<Op>,
        done: impl FnOnce(Result<Committed, CommitError>) + Send + 'static,
    ) {
        done(Err(CommitError::Failed(NOT_IN.into())));
    }
    pub fn commit_blocking(&self, _ops: Vec<Op>) -> Result<Committed, CommitError> {
        Err(CommitError::Failed(NOT_IN.into()))
    }
    pub fn append(
        &self,
        _topic: Uuid,
        _partition: i32,
        _batches: Bytes,
        done: impl FnOnce(Result<Appended, AppendError>) + Send + 'static,
    ) {
        done(Err(AppendError::Failed(NOT_IN.into())));
    }
    pub fn fetch(
        &self,
        _topic: Uuid,
        _partition: i32,
        _offset: i64,
        _max_bytes: usize,
    ) -> Result<Fetched, ReadError> {
        Err(ReadError::UnknownPartition)
    }
    pub fn bounds(&self, _topic: Uuid, _partition: i32) -> Option<Bounds> {
        None
    }
    /// The first record at or after `timestamp`: (offset, its timestamp).
    pub fn offset_for_time(
        &self,
        _topic: Uuid,
        _partition: i32,
        _timestamp: i64,
    ) -> Result<Option<(i64, i64)>, ReadError> {
        Err(ReadError::UnknownPartition)
    }
    /// The record with the largest timestamp: (offset, timestamp).
    pub fn max_timestamp(
        &self,
        _topic: Uuid,
        _partition: i32,
    ) -> Result<Option<(i64, i64)>, ReadError> {
        Err(ReadError::UnknownPartition)
    }
    pub fn get(&self, _table: Table, _key: &[u8]) -> Option<Bytes> {
        None
    }
    pub fn scan(&self, _table: Table, _prefix: &[u8]) -> Vec<(Bytes, Bytes)> {
        Vec::new()
    }
    pub fn on_progress(&self, _f: Arc<dyn Fn() + Send + Sync>) -> Subscription {
        Subscription(Box::new(()))
    }
    pub fn stats(&self) -> Stats {
        Stats::default()
    }
    /// Advances log starts by time and size now; the timer does the same.
    pub fn run_retention(&self) {}
}

impl crate::source::LogSource for Storage {
    fn partitions(
        &self,
        topic: &str,
    ) -> Result<Vec<crate::source::PartitionBounds>, crate::source::SourceError> {
        Err(crate::source::SourceError::UnknownTopic {
            name: topic.into(),
            known: Vec::new(),
        })
    }
    fn read(
        &self,
        topic: &str,
        _from: &std::collections::BTreeMap<i32, i64>,
        _max_bytes: usize,
    ) -> Result<Vec<crate::source::SourceBatch>, crate::source::SourceError> {
        Err(crate::source::SourceError::UnknownTopic {
            name: topic.into(),
            known: Vec::new(),
        })
    }
    fn wait(
        &self,
        _topic: &str,
        _from: &std::collections::BTreeMap<i32, i64>,
        _timeout: Duration,
    ) -> bool {
        true
    }
}
