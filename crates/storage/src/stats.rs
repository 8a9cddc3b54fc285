//! What the storage counts for those who watch it.

use std::time::Duration;

/// Counters since open, and the state of the disk.
#[derive(Debug, Clone, Default, PartialEq)]
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
    /// Why nothing is written any more until a restart: a failed sync, or a panic of one of the storage's threads.
    pub failed: Option<String>,
    /// Idempotent producers known, once for each partition that they write to.
    pub producers: u64,
    pub wal_files: u64,
    pub wal_bytes: u64,
}
