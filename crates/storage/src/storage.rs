//! The seam that everyone else sees: [`Storage`], what can be asked of it and what it answers.
//!
//! Opening is in `open.rs`, writing in `commit.rs`, reading in `read.rs` and `in_order.rs`, the housekeeping in `upkeep.rs`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use lw_stdx::disk::Disk;
use uuid::Uuid;

use crate::engine::{Engine, Threads};
use crate::holds::Hold;
use crate::numbers::Offset;
use crate::ops::{AppendError, Appended, CommitError, Committed, Op, Table, TooLarge};
use crate::record::LogId;
use crate::retention;
use crate::stats::Stats;
use crate::topic::Topic;
use crate::watches::{Watch, Watches};

/// The durable state of one server. Cheap to clone; all methods may be called from any thread.
///
/// Callbacks (`done`, watches) run on the WAL thread and must be short. A request that is refused, or that repeats what
/// is durable already, gets its answer at once, on the caller's thread: hold no lock that the callback takes.
#[derive(Clone)]
pub struct Storage {
    pub(crate) engine: Arc<Engine>,
    /// Ends the threads when the last handle goes.
    pub(crate) threads: Arc<Threads>,
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
    /// Where undecided transactions begin: the high watermark, as long as there are none. Of the same moment as it.
    pub last_stable_offset: i64,
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

impl Storage {
    /// The folder and its disk: for files that values in the tables name. The log's own names are `lock`, `meta`, `checkpoint` and
    /// `wal`.
    pub fn folder(&self) -> (Arc<dyn Disk>, PathBuf) {
        let folder = &self.engine.folder;
        (folder.disk.clone(), folder.dir.clone())
    }

    /// 22 characters, the same for the folder's whole life.
    pub fn cluster_id(&self) -> String {
        self.engine.cluster_id.clone()
    }

    pub fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        let core = self.engine.core.lock();
        let id = core.state.names.get(name)?;
        core.state.topics.get(id).cloned()
    }

    pub fn topic_by_id(&self, id: Uuid) -> Option<Arc<Topic>> {
        self.engine.core.lock().state.topics.get(&id).cloned()
    }

    /// All topics, by name.
    pub fn topics(&self) -> Vec<Arc<Topic>> {
        let mut topics: Vec<Arc<Topic>> = {
            let core = self.engine.core.lock();
            core.state.topics.values().cloned().collect()
        };
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        topics
    }

    /// Commits all of `ops` or nothing. `done` runs after the fdatasync, in commit order.
    pub fn commit(
        &self,
        ops: Vec<Op>,
        done: impl FnOnce(Result<Committed, CommitError>) + Send + 'static,
    ) {
        self.engine.submit(ops, Box::new(done));
    }

    /// [`Storage::commit`], waiting for its end. Not to be called from a callback: the WAL thread would wait for itself.
    ///
    /// # Errors
    /// See [`CommitError`]; nothing was written then.
    pub fn commit_blocking(&self, ops: Vec<Op>) -> Result<Committed, CommitError> {
        let (sender, receiver) = mpsc::channel();
        self.commit(ops, move |result| {
            let _ = sender.send(result);
        });
        if self.threads.handles.lock().is_empty() {
            while self.engine.step() {}
        }
        receiver
            .recv()
            .unwrap_or_else(|_| Err(CommitError::Failed("the storage is closed".to_owned())))
    }

    /// Appends whole batches to one partition. Their headers and CRCs were verified by `protocol`; offsets and epoch are
    /// patched here, in the copy that goes to disk.
    pub fn append(
        &self,
        topic: Uuid,
        partition: i32,
        batches: Bytes,
        done: impl FnOnce(Result<Appended, AppendError>) + Send + 'static,
    ) {
        let op = Op::Append {
            topic,
            partition,
            batches,
        };
        self.commit(vec![op], move |result| {
            done(match result {
                Ok(committed) => Ok(committed.appended[0]),
                Err(CommitError::Append(error)) => Err(error),
                Err(CommitError::Full(full)) => Err(AppendError::Full(full)),
                Err(CommitError::TooLarge {
                    what: TooLarge::Batches,
                    found,
                    limit,
                }) => Err(AppendError::TooManyBatches { found, limit }),
                Err(CommitError::TooLarge {
                    what: TooLarge::Bytes,
                    found: bytes,
                    limit,
                }) => Err(AppendError::TooLarge { bytes, limit }),
                Err(other) => Err(AppendError::Failed(other.to_string())),
            });
        });
    }

    pub fn bounds(&self, topic: Uuid, partition: i32) -> Option<Bounds> {
        let core = self.engine.core.lock();
        let log = core.state.logs.get(&LogId { topic, partition })?;
        Some(Bounds {
            log_start: log.start.0,
            high_watermark: log.end.0,
            size_bytes: log.bytes,
        })
    }

    pub fn get(&self, table: Table, key: &[u8]) -> Option<Bytes> {
        let core = self.engine.core.lock();
        core.state.tables.get(&table)?.get(key).cloned()
    }

    /// All entries whose key begins with `prefix`, in key order.
    pub fn scan(&self, table: Table, prefix: &[u8]) -> Vec<(Bytes, Bytes)> {
        let core = self.engine.core.lock();
        let Some(entries) = core.state.tables.get(&table) else {
            return Vec::new();
        };
        let from = Bytes::copy_from_slice(prefix);
        entries
            .range(from..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    /// Calls `moved` on the WAL thread when one of these logs has another end or start, or is gone, or its topic has grown.
    /// Who looks at the logs before this misses what moves in between: look again after it.
    pub fn watch(&self, logs: Vec<LogId>, moved: impl Fn() + Send + Sync + 'static) -> Watch {
        Watches::begin(&self.engine.watches, logs, Arc::new(moved))
    }

    pub fn stats(&self) -> Stats {
        let folder = &self.engine.folder;
        let mut stats = {
            let core = self.engine.core.lock();
            let mut stats = core.stats.clone();
            stats.write_blocked = core.full.is_some() || core.failed.is_some();
            stats.failed = core.failed.clone();
            stats.producers = core.state.producers as u64;
            stats
        };
        for entry in folder.disk.list(&folder.wal).unwrap_or_default() {
            if entry.name.ends_with(".wal") || entry.name.ends_with(".seg") {
                stats.wal_files += 1;
                stats.wal_bytes += entry.len;
            }
        }
        stats.disk_free = folder.disk.free_bytes(&folder.dir).unwrap_or(0);
        stats.disk_total = folder.disk.total_bytes(&folder.dir).unwrap_or(0);
        stats
    }

    /// Keeps retention from taking what `holder` still has to read; replaces all that it held before. In memory: a holder
    /// states it anew after a start, before [`Storage::holds_ready`].
    pub fn hold(&self, holder: &str, at: Vec<Hold>) {
        let mut holds = self.engine.holds.lock();
        holds.by_holder.insert(holder.to_owned(), at);
    }

    /// What `holder` holds; `None` when it has said nothing.
    pub fn held(&self, holder: &str) -> Option<Vec<Hold>> {
        self.engine.holds.lock().by_holder.get(holder).cloned()
    }

    /// `holder` needs nothing any more.
    pub fn release(&self, holder: &str) {
        self.engine.holds.lock().by_holder.remove(holder);
    }

    /// Everyone who needs something after a start has said so: retention begins.
    pub fn holds_ready(&self) {
        self.engine.holds.lock().ready = true;
    }

    /// The log's own time in milliseconds: it never goes back, and stands still while the storage is closed.
    pub fn log_time(&self) -> i64 {
        self.engine.log_now()
    }

    /// How long until retention would have taken something that `holder` needs, were it not held: zero when only the hold
    /// keeps it already; `None` when nothing of it is ever to go.
    pub fn time_to_loss(&self, holder: &str) -> Option<Duration> {
        let held = self.engine.holds.lock().by_holder.get(holder)?.clone();
        let now = self.engine.clock.now_ms();
        let core = self.engine.core.lock();
        let state = &core.state;
        held.iter()
            .filter_map(|hold| {
                let topic = state.topics.get(&hold.topic)?;
                let log = state.logs.get(&hold.log())?;
                retention::until_taken(topic, log, Offset(hold.offset), now)
            })
            .min()
    }

    /// Advances log starts by time and size now; the timer does the same. Nothing before [`Storage::holds_ready`].
    pub fn run_retention(&self) {
        self.engine.run_retention();
    }

    /// One group commit, when there are no threads; false when nothing was queued.
    #[doc(hidden)]
    pub fn step(&self) -> bool {
        self.engine.step()
    }

    /// One round of the upkeep thread, and of the one that makes the spare.
    #[doc(hidden)]
    pub fn upkeep(&self) {
        self.engine.upkeep();
        self.engine.prepare_spare();
    }
}
