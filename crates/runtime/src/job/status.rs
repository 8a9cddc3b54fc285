//! What a job shows of itself, shared between its threads and its readers.

use super::JobSpec;
use crate::manifest::SplitOffset;
use crate::pipelines::Word;
use parking_lot::{Condvar, Mutex};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// Where a job is in its life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum JobState {
    Starting,
    Running,
    /// A failure that can pass; the next attempt begins by itself.
    Restarting {
        error: String,
    },
    Finished,
    Stopped,
    Paused(PauseView),
    Failed {
        error: String,
        detail: String,
        hint: String,
    },
    /// Another process runs it.
    Fenced,
}

/// A pause as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PauseView {
    pub table: String,
    pub reason: String,
    /// Where the visible table ends.
    pub table_offsets: Vec<SplitOffset>,
    /// Where the newest commit ever made ended.
    pub marker_offsets: Vec<SplitOffset>,
    pub checkpoint_offsets: Vec<SplitOffset>,
    /// What can be said to it.
    pub words: Vec<Word>,
}

/// What a job shows of itself; counters since the process started.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    #[serde(flatten)]
    pub state: JobState,
    /// In the order of the job's `INSERT`s.
    pub sinks: Vec<SinkStatus>,
    pub topics: Vec<String>,
    pub group: String,
    pub records_in: u64,
    /// Records between the position and the end of the log.
    pub lag: u64,
    /// Memory that the state of operators takes.
    pub state_bytes: u64,
    /// The same by operator.
    pub operators: Vec<OperatorStatus>,
    /// No rows are taken: the states of all jobs take more memory than there is for them.
    pub waits_for_memory: bool,
    /// Milliseconds since 1970.
    pub watermark: Option<i64>,
    /// How far event time has come in each partition. Empty while none has a row with an event time.
    pub partitions: Vec<PartitionStatus>,
    /// The tables that rows are looked up in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lookups: Vec<LookupStatus>,
    pub checkpoint_id: u64,
    /// Milliseconds since 1970; 0 before the first.
    pub checkpoint_at_ms: i64,
    pub checkpoint_duration: Duration,
    pub restarts: u64,
    pub last_error: Option<String>,
}

/// An operator with state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OperatorStatus {
    /// As EXPLAIN shows it.
    pub uid: String,
    /// Memory that its state takes.
    pub state_bytes: u64,
    /// How many instances share its keys.
    pub shards: usize,
}

/// A table that rows are looked up in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LookupStatus {
    /// As checkpoints call it.
    pub table: String,
    /// The version that rows are joined with.
    pub version: String,
    /// How many rows of it are in memory.
    pub rows: u64,
    pub bytes: u64,
    /// Milliseconds since 1970.
    pub loaded_at_ms: i64,
    /// What is not as it should be.
    pub note: Option<String>,
}

/// How far event time has come in one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartitionStatus {
    pub topic: Arc<str>,
    pub partition: i32,
    /// Milliseconds since 1970; `None` before its first row with an event time: until then the source has no watermark.
    pub watermark: Option<i64>,
    /// A bounded read has all of it: it holds nothing back any more.
    pub done: bool,
    /// The source's watermark waits for it: not for one that is done, nor for one that appeared later and has no row yet.
    pub counts: bool,
    /// Nothing came in it for longer than it is waited for.
    pub idle: bool,
}

/// What a job shows of one of its `INSERT`s.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SinkStatus {
    pub table: String,
    pub rows_out: u64,
    pub dead_letters: u64,
    /// Rows that came when all that they belong to had fired.
    pub late_rows: u64,
    /// The newest of them.
    pub last_late: Vec<LateView>,
    pub commits: u64,
    pub committed_rows: u64,
    /// Milliseconds since 1970; 0 before the first.
    pub commit_at_ms: i64,
    pub commit_duration: Duration,
    pub commit_retries: u64,
    /// Newest event time in the table, milliseconds since 1970.
    pub committed_event_time: Option<i64>,
    pub snapshot_id: Option<i64>,
}

/// A late row as it is shown: where its record stands, and how late it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LateView {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds since 1970.
    pub event_time: i64,
    /// The one before it, milliseconds since 1970.
    pub watermark: i64,
}

impl Status {
    pub(crate) fn of(tables: impl IntoIterator<Item = String>, state: JobState) -> Status {
        let sink = |table| SinkStatus {
            table,
            ..SinkStatus::default()
        };
        Status {
            state,
            sinks: tables.into_iter().map(sink).collect(),
            topics: Vec::new(),
            group: String::new(),
            records_in: 0,
            lag: 0,
            state_bytes: 0,
            operators: Vec::new(),
            waits_for_memory: false,
            watermark: None,
            partitions: Vec::new(),
            lookups: Vec::new(),
            checkpoint_id: 0,
            checkpoint_at_ms: 0,
            checkpoint_duration: Duration::ZERO,
            restarts: 0,
            last_error: None,
        }
    }

    /// The tables that the job fills, as they are told.
    pub fn tables(&self) -> String {
        let tables: Vec<&str> = self.sinks.iter().map(|sink| &*sink.table).collect();
        tables.join(", ")
    }
}

/// A job's [`Status`], shared between its threads and its readers.
pub struct JobStatus {
    status: Mutex<Status>,
    changed: Condvar,
}

impl JobStatus {
    pub(crate) fn new(spec: &JobSpec) -> JobStatus {
        JobStatus {
            status: Mutex::new(Status {
                topics: spec.topics(),
                group: spec.group.clone(),
                ..Status::of(spec.tables(), JobState::Starting)
            }),
            changed: Condvar::new(),
        }
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.status.lock());
        self.changed.notify_all();
    }

    pub(crate) fn update_sink(&self, sink: usize, change: impl FnOnce(&mut SinkStatus)) {
        self.update(|status| change(&mut status.sinks[sink]));
    }

    pub fn get(&self) -> Status {
        self.status.lock().clone()
    }
}
