//! The shell: threads, locks and the disk around the cores, and the seam that everyone else sees.
//!
//! Two threads. `wal` takes everything that is queued, writes it as one group, syncs, applies, answers; it starts the
//! next sync as soon as the last has ended, so an idle server acknowledges after one sync and a busy one lets hundreds of
//! requests share it. `upkeep` prepares the next WAL file, advances log starts by retention and takes dead files away.
//!
//! Lock order: `wal` → `core` → small ones. No lock is held while a callback runs.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use base64::Engine;
use bytes::{Bytes, BytesMut};
use lw_stdx::clock::Clock;
use lw_stdx::disk::{Disk, Lock, read_all, write_atomic};
use parking_lot::{Condvar, Mutex, RwLock};
use uuid::Uuid;

use crate::ahead::{Ahead, Placed, accept};
use crate::config::{Config, Fault};
use crate::folder::{FOLDER_FORMAT, Folder, Meta};
use crate::frame::{FRAME_HEADER, MAX_FILE, Place};
use crate::ops::{AppendError, Appended, CommitError, Committed, Op, StorageFull, Table};
use crate::read::IndexCache;
use crate::record::{LogId, Record};
use crate::recovery::{Damage, RecoveryError, recover};
use crate::retention;
use crate::state::State;
use crate::tail::Tail;
use crate::topic::Topic;
use crate::wal::{Room, Wal, WriteError, allocate};

/// How often upkeep looks around without being called.
const UPKEEP_EVERY: Duration = Duration::from_secs(1);

/// The durable state of one server. Cheap to clone; all methods may be called from any thread.
///
/// Callbacks (`done`, progress) run on the WAL thread and must be short. A request that is refused, or that repeats what
/// is durable already, gets its answer at once, on the caller's thread: hold no lock that the callback takes.
#[derive(Clone)]
pub struct Storage {
    pub(crate) shared: Arc<Shared>,
    /// Ends the threads when the last handle goes.
    _threads: Arc<Threads>,
}

/// Why a storage folder cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the data folder is in use by process {pid}")]
    Locked { pid: u32 },
    #[error("the data folder has format {found}; this version reads up to {known}")]
    NewerFormat { found: u32, known: u32 },
    #[error(
        "the data folder has format {found}, of an earlier version; this version reads format {known} only. Go on with the \
         version that wrote it, or begin a new folder"
    )]
    OlderFormat { found: u32, known: u32 },
    #[error("{file} is damaged: {reason}")]
    Corrupt { file: String, reason: String },
    /// Acknowledged records are missing from the log's end: cutting it there, as after a crash, would lose them silently.
    #[error("{0}")]
    Damaged(Damage),
    #[error("cannot {what}: {reason}")]
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

type Done = Box<dyn FnOnce(Result<Committed, CommitError>) + Send>;
type Listener = Arc<dyn Fn() + Send + Sync>;

/// Keeps a progress callback alive; dropping it unsubscribes.
pub struct Subscription {
    id: u64,
    shared: Weak<Shared>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.listeners.lock().remove(&self.id);
        }
    }
}

pub(crate) struct Shared {
    // Configuration.
    pub(crate) config: Config,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) folder: Arc<Folder>,
    cluster_id: String,
    // State.
    pub(crate) core: Mutex<Core>,
    wal: Mutex<Wal>,
    pub(crate) index_cache: IndexCache,
    listeners: Mutex<BTreeMap<u64, Listener>>,
    // Signals.
    work: Condvar,
    upkeep: Condvar,
    pub(crate) progressed: Condvar,
    /// Readers hold it shared from looking up a place to having read it; a file is recycled only when nobody does.
    pub(crate) readers: RwLock<()>,
    /// Held while the spare file is made or taken.
    spare: Mutex<()>,
    lock: Mutex<Option<Box<dyn Any + Send + Sync>>>,
}

pub(crate) struct Core {
    pub(crate) state: State,
    pub(crate) tail: Tail,
    pub(crate) active_file: u64,
    ahead: Ahead,
    queue: VecDeque<Pending>,
    ticket: u64,
    /// Requests accepted and not yet durable or refused.
    in_flight: usize,
    /// Bytes used and there in the active file.
    active_fill: (u64, u64),
    checkpoint_file: u64,
    full: Option<StorageFull>,
    failed: Option<String>,
    stop: bool,
    next_listener: u64,
    stats: Stats,
}

/// A request on its way to the disk.
struct Pending {
    ticket: u64,
    records: Vec<Placed>,
    appended: Vec<Appended>,
    size: usize,
    done: Done,
}

impl Pending {
    /// Whether its answer holds offsets: it appends, or waits for the append that it repeats.
    fn appends(&self) -> bool {
        !self.appended.is_empty()
    }

    fn changes_more_than_logs(&self) -> bool {
        let mut records = self.records.iter();
        records.any(|placed| !matches!(placed.record, Record::Append { .. }))
    }
}

struct Threads {
    shared: Arc<Shared>,
    handles: Mutex<Vec<JoinHandle<()>>>,
}

impl Threads {
    fn end(&self) {
        self.shared.core.lock().stop = true;
        self.shared.work.notify_all();
        self.shared.upkeep.notify_all();
        self.shared.progressed.notify_all();
        for handle in std::mem::take(&mut *self.handles.lock()) {
            // The last handle may be dropped inside a callback: a thread cannot wait for itself.
            if handle.thread().id() != thread::current().id() {
                let _ = handle.join();
            }
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.end();
    }
}

impl Storage {
    /// Opens the folder, creating it if it is not there. Returns when everything acknowledged is readable again.
    ///
    /// # Errors
    /// See [`OpenError`]. A damaged file is never repaired by forgetting acknowledged records.
    pub fn open(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        config: Config,
    ) -> Result<Storage, OpenError> {
        let storage = Storage::open_stepped(disk, clock, config)?;
        let mut handles = Vec::new();
        for (name, body) in [
            ("lw-wal", Shared::wal_thread as fn(&Shared)),
            ("lw-upkeep", Shared::upkeep_thread),
        ] {
            let shared = storage.shared.clone();
            let thread = thread::Builder::new().name(name.to_owned());
            let handle = thread
                .spawn(move || body(&shared))
                .map_err(|error| io("start a thread", &error))?;
            handles.push(handle);
        }
        *storage._threads.handles.lock() = handles;
        Ok(storage)
    }

    /// The same without threads: nothing happens until [`Storage::step`] and [`Storage::upkeep`]. For the simulator, in
    /// which a seed must decide the order of everything.
    #[doc(hidden)]
    pub fn open_stepped(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        mut config: Config,
    ) -> Result<Storage, OpenError> {
        config.wal_file_bytes = config.wal_file_bytes.min(MAX_FILE);
        let folder = Arc::new(Folder::new(disk, &config.dir));
        folder
            .disk
            .create_dir_all(&folder.wal)
            .map_err(|error| io("create the data folder", &error))?;
        let lock = match folder.disk.lock(&folder.lock_path()) {
            Ok(Lock::Held(lock)) => lock,
            Ok(Lock::Taken { pid }) => return Err(OpenError::Locked { pid }),
            Err(error) => return Err(io("lock the data folder", &error)),
        };
        let cluster_id = open_meta(&folder)?;
        let recovered = recover(&folder, config.fault).map_err(|error| match error {
            RecoveryError::Io(error) => io("read the data folder", &error),
            RecoveryError::Corrupt { file, reason } => OpenError::Corrupt { file, reason },
            RecoveryError::Damaged(damage) => OpenError::Damaged(damage),
        })?;
        let wal = Wal::open(folder.clone(), config.clone(), recovered.place)
            .map_err(|error| io("begin the log", &error))?;
        if config.fault != Some(Fault::SkipRecoverySync) {
            make_durable(&folder, &wal, recovered.replayed_from)
                .map_err(|error| io("sync the data folder", &error))?;
        }
        tracing::debug!(replayed = recovered.replayed, "storage recovered");
        let core = Core {
            state: recovered.state,
            tail: Tail::default(),
            active_file: wal.place().file,
            ahead: Ahead::default(),
            queue: VecDeque::new(),
            ticket: 0,
            in_flight: 0,
            active_fill: (wal.place().position, wal.capacity()),
            checkpoint_file: recovered.checkpoint_file,
            full: None,
            failed: None,
            stop: false,
            next_listener: 0,
            stats: Stats::default(),
        };
        let shared = Arc::new(Shared {
            index_cache: IndexCache::new(config.index_cache_bytes),
            config,
            clock,
            folder,
            cluster_id,
            core: Mutex::new(core),
            wal: Mutex::new(wal),
            listeners: Mutex::default(),
            work: Condvar::new(),
            upkeep: Condvar::new(),
            progressed: Condvar::new(),
            readers: RwLock::new(()),
            spare: Mutex::new(()),
            lock: Mutex::new(Some(lock)),
        });
        let threads = Threads {
            shared: shared.clone(),
            handles: Mutex::default(),
        };
        Ok(Storage {
            shared,
            _threads: Arc::new(threads),
        })
    }

    /// Writes everything queued, then a checkpoint, and lets go of the folder. Other handles find it closed.
    pub fn close(self) {
        self._threads.end();
        while self.shared.step() {}
        let wal = self.shared.wal.lock();
        let mut core = self.shared.core.lock();
        if core.failed.is_none() {
            // A checkpoint that cannot be written costs the next start a replay, nothing else.
            let snapshot = wal.snapshot(&core.state, self.shared.clock.now_ms());
            if let Err(error) = wal.write_snapshot(&snapshot) {
                tracing::warn!(?error, "no checkpoint on close");
            }
            core.failed = Some("the storage is closed".to_owned());
        }
        self.shared.lock.lock().take();
    }

    /// 22 characters, the same for the folder's whole life.
    pub fn cluster_id(&self) -> String {
        self.shared.cluster_id.clone()
    }

    pub fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        let core = self.shared.core.lock();
        let id = core.state.names.get(name)?;
        core.state.topics.get(id).cloned()
    }

    pub fn topic_by_id(&self, id: Uuid) -> Option<Arc<Topic>> {
        self.shared.core.lock().state.topics.get(&id).cloned()
    }

    /// All topics, by name.
    pub fn topics(&self) -> Vec<Arc<Topic>> {
        let mut topics: Vec<Arc<Topic>> = {
            let core = self.shared.core.lock();
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
        self.shared.submit(ops, Box::new(done));
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
        if self._threads.handles.lock().is_empty() {
            while self.shared.step() {}
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
                Err(other) => Err(AppendError::Failed(other.to_string())),
            });
        });
    }

    pub fn bounds(&self, topic: Uuid, partition: i32) -> Option<Bounds> {
        let core = self.shared.core.lock();
        let log = core.state.logs.get(&LogId { topic, partition })?;
        Some(Bounds {
            log_start: log.start,
            high_watermark: log.end,
            size_bytes: log.bytes,
        })
    }

    pub fn get(&self, table: Table, key: &[u8]) -> Option<Bytes> {
        let core = self.shared.core.lock();
        core.state.tables.get(&table)?.get(key).cloned()
    }

    /// All entries whose key begins with `prefix`, in key order.
    pub fn scan(&self, table: Table, prefix: &[u8]) -> Vec<(Bytes, Bytes)> {
        let core = self.shared.core.lock();
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

    /// Calls `f` after every durable advance of anything, on the WAL thread.
    pub fn on_progress(&self, f: Listener) -> Subscription {
        let id = {
            let mut core = self.shared.core.lock();
            core.next_listener += 1;
            core.next_listener
        };
        self.shared.listeners.lock().insert(id, f);
        Subscription {
            id,
            shared: Arc::downgrade(&self.shared),
        }
    }

    pub fn stats(&self) -> Stats {
        let folder = &self.shared.folder;
        let mut stats = {
            let core = self.shared.core.lock();
            let mut stats = core.stats;
            stats.write_blocked = core.full.is_some() || core.failed.is_some();
            stats
        };
        for entry in folder.disk.list(&folder.wal).unwrap_or_default() {
            if entry.name.ends_with(".wal") {
                stats.wal_files += 1;
                stats.wal_bytes += entry.len;
            }
        }
        stats.disk_free = folder.disk.free_bytes(&folder.dir).unwrap_or(0);
        stats.disk_total = folder.disk.total_bytes(&folder.dir).unwrap_or(0);
        stats
    }

    /// Advances log starts by time and size now; the timer does the same.
    pub fn run_retention(&self) {
        self.shared.run_retention();
    }

    /// One group commit, when there are no threads; false when nothing was queued.
    #[doc(hidden)]
    pub fn step(&self) -> bool {
        self.shared.step()
    }

    /// One round of the upkeep thread.
    #[doc(hidden)]
    pub fn upkeep(&self) {
        self.shared.upkeep();
    }
}

impl Shared {
    fn submit(&self, ops: Vec<Op>, done: Done) {
        let now = self.clock.now_ms();
        let mut core = self.core.lock();
        let accepted = match core.judge(ops, now) {
            Ok(accepted) => accepted,
            Err(error) => {
                drop(core);
                return done(Err(error));
            }
        };
        if accepted.records.is_empty() && core.in_flight == 0 {
            // Nothing to write, and nothing on its way that the answer depends on.
            let committed = Committed {
                lsn: core.state.lsn,
                appended: accepted.appended,
            };
            drop(core);
            return done(Ok(committed));
        }
        let ticket = core.ticket;
        core.in_flight += 1;
        core.queue.push_back(Pending {
            ticket,
            size: accepted.records.iter().map(|p| p.record.size()).sum(),
            records: accepted.records,
            appended: accepted.appended,
            done,
        });
        drop(core);
        self.work.notify_one();
    }

    fn wal_thread(&self) {
        loop {
            {
                let mut core = self.core.lock();
                while core.queue.is_empty() && !core.stop {
                    self.work.wait(&mut core);
                }
                if core.queue.is_empty() {
                    return;
                }
            }
            self.step();
        }
    }

    /// Writes one group: everything that is queued, up to a bound. False when nothing was.
    fn step(&self) -> bool {
        let mut wal = self.wal.lock();
        let mut frames = self.core.lock().take_group(self.config.group_bytes);
        if frames.is_empty() {
            return false;
        }
        while !frames.is_empty() {
            let count = self.fitting(&wal, &frames);
            if count == 0 {
                self.make_room(&mut wal, &mut frames);
                continue;
            }
            let group: Vec<Pending> = frames.drain(..count).collect();
            match self.write_group(&mut wal, group) {
                Ok(()) => {}
                Err((WriteError::Full(full), group)) => {
                    frames.extend(group);
                    self.refuse_all(std::mem::take(&mut frames), &CommitError::Full(full));
                }
                Err((WriteError::Failed(reason), group)) => {
                    frames.extend(group);
                    self.fail(std::mem::take(&mut frames), reason);
                }
            }
        }
        let core = self.core.lock();
        // Where another group follows at once, that one says how far the log is synced.
        let idle = core.queue.is_empty() && core.failed.is_none();
        drop(core);
        if idle {
            wal.mark();
        }
        true
    }

    /// How many of the frames go into the active file.
    fn fitting(&self, wal: &Wal, frames: &VecDeque<Pending>) -> usize {
        let full = self.core.lock().full.is_some();
        let mut size = 0;
        frames
            .iter()
            .take_while(|frame| {
                if frame.records.is_empty() {
                    return true;
                }
                let room = match full && !frame.appends() {
                    true => Room::WithReserve,
                    false => Room::Common,
                };
                let fits = wal.fits(size, frame.size, room);
                size += (FRAME_HEADER + frame.size) as u64;
                fits
            })
            .count()
    }

    /// Begins the next file, or refuses what cannot go on without one.
    fn make_room(&self, wal: &mut Wal, frames: &mut VecDeque<Pending>) {
        let payload = frames.front().map_or(0, |frame| frame.size);
        let snapshot = {
            let core = self.core.lock();
            wal.snapshot(&core.state, self.clock.now_ms())
        };
        let rotated = {
            let _spare = self.spare.lock();
            wal.rotate(&snapshot, payload)
        };
        match rotated {
            Ok(()) => {
                let mut core = self.core.lock();
                core.state.seal(&snapshot.head);
                core.checkpoint_file = core.active_file;
                core.active_file = wal.place().file;
                core.active_fill = (wal.place().position, wal.capacity());
                core.full = None;
                self.upkeep.notify_one();
            }
            Err(WriteError::Failed(reason)) => self.fail(std::mem::take(frames), reason),
            Err(WriteError::Full(full)) => {
                let first = self.core.lock().full.replace(full).is_none();
                if first {
                    tracing::warn!(%full, "appends are refused until there is space");
                }
                let front = frames.front().expect("there is a frame that found no room");
                if !front.appends() && wal.fits(0, front.size, Room::WithReserve) {
                    return;
                }
                let all = !front.appends();
                self.refuse(std::mem::take(frames), &CommitError::Full(full), all)
                    .into_iter()
                    .for_each(|kept| frames.push_back(kept));
            }
        }
    }

    fn write_group(
        &self,
        wal: &mut Wal,
        group: Vec<Pending>,
    ) -> Result<(), (WriteError, Vec<Pending>)> {
        let frames = || group.iter().filter(|frame| !frame.records.is_empty());
        let size: usize = frames().map(|frame| FRAME_HEADER + frame.size).sum();
        if size == 0 {
            self.publish(group, wal.place(), &Bytes::new(), &[]);
            return Ok(());
        }
        let before = wal.place();
        let (bytes, places) = wal.encode(frames().map(|frame| frame.records.as_slice()), size);
        let end = *places.last().expect("size > 0: there is a frame");
        if let Err(error) = wal.write(&bytes) {
            return Err((error, group));
        }
        if self.config.fault == Some(Fault::AckBeforeFsync) {
            wal.advance(end);
            self.publish(group, before, &bytes, &places);
            return wal.sync().map_err(|error| (error, Vec::new()));
        }
        let start = self.clock.elapsed();
        if let Err(error) = wal.sync() {
            return Err((error, group));
        }
        let took = self.clock.elapsed().saturating_sub(start);
        wal.advance(end);
        {
            let stats = &mut self.core.lock().stats;
            stats.fsyncs += 1;
            stats.fsync_time += took;
            stats.fsync_max = stats.fsync_max.max(took);
        }
        self.publish(group, before, &bytes, &places);
        Ok(())
    }

    /// The group is durable: makes it readable, then answers in commit order, then wakes readers.
    fn publish(&self, group: Vec<Pending>, before: Place, bytes: &Bytes, places: &[Place]) {
        let base = before.position;
        let mut lsn = before.lsn;
        {
            let mut core = self.core.lock();
            let mut start = base;
            for place in places {
                let payload_at = start + FRAME_HEADER as u64;
                let payload =
                    &bytes[(payload_at - base) as usize..(place.position - base) as usize];
                core.state
                    .apply(place.lsn, payload_at, payload)
                    .expect("we can read what we have just written");
                start = place.position;
            }
            let (used, capacity) = core.active_fill;
            core.active_fill.0 = start;
            if used <= capacity / 2 && start > capacity / 2 {
                self.upkeep.notify_one();
            }
            if !bytes.is_empty() {
                let keep = self.config.tail_bytes;
                core.tail.push(before.file, base, bytes.clone(), keep);
            }
            core.in_flight -= group.len();
            let newest = group.last().map_or(0, |frame| frame.ticket);
            core.ahead.settle(newest);
            core.stats.groups += 1;
            core.stats.frames += places.len() as u64;
            core.stats.group_bytes += bytes.len() as u64;
            core.stats.largest_group_frames =
                core.stats.largest_group_frames.max(places.len() as u64);
        }
        for frame in group {
            lsn += u64::from(!frame.records.is_empty());
            let committed = Committed {
                lsn,
                appended: frame.appended,
            };
            answer(frame.done, Ok(committed));
        }
        self.progressed.notify_all();
        let listeners: Vec<Listener> = self.listeners.lock().values().cloned().collect();
        for listener in listeners {
            guarded(|| listener());
        }
    }

    /// Refuses the frames that append (or all), here and in the queue; returns those of `frames` that go on.
    fn refuse(&self, frames: VecDeque<Pending>, error: &CommitError, all: bool) -> Vec<Pending> {
        let (refused, kept) = {
            let mut core = self.core.lock();
            let waiting = std::mem::take(&mut core.queue);
            let mut everything: Vec<Pending> = frames.into_iter().chain(waiting).collect();
            // What was judged after a refused change may have been judged by it.
            let all = all
                || everything
                    .iter()
                    .any(|frame| frame.appends() && frame.changes_more_than_logs());
            let kept = match all {
                true => Vec::new(),
                false => everything
                    .extract_if(.., |frame| !frame.appends())
                    .collect(),
            };
            match all {
                true => core.ahead.forget_all(),
                false => core.ahead.forget_appends(),
            }
            core.in_flight -= everything.len();
            (everything, kept)
        };
        for frame in refused {
            answer(frame.done, Err(error.clone()));
        }
        kept
    }

    fn refuse_all(&self, frames: VecDeque<Pending>, error: &CommitError) {
        self.refuse(frames, error, true);
    }

    /// The disk failed: nothing that it says about these bytes can be trusted any more, so nothing more is written until a
    /// restart has looked at what is really there. Reads go on.
    fn fail(&self, frames: VecDeque<Pending>, reason: String) {
        tracing::error!(%reason, "the log cannot be written; restart after the disk is well");
        self.core.lock().failed = Some(reason.clone());
        self.refuse_all(frames, &CommitError::Failed(reason));
    }

    fn upkeep_thread(&self) {
        let every = Duration::from_millis(self.config.retention_check_ms);
        let mut next_retention = self.clock.elapsed() + every;
        loop {
            {
                let mut core = self.core.lock();
                if !core.stop {
                    self.upkeep.wait_for(&mut core, UPKEEP_EVERY);
                }
                if core.stop {
                    return;
                }
            }
            if !every.is_zero() && self.clock.elapsed() >= next_retention {
                self.run_retention();
                next_retention = self.clock.elapsed() + every;
            }
            self.upkeep();
        }
    }

    fn upkeep(&self) {
        if let Err(error) = self.remove_dead_files() {
            tracing::warn!(%error, "cannot remove dead log files");
        }
        let (used, capacity) = self.core.lock().active_fill;
        if used > capacity / 2
            && let Err(error) = self.prepare_spare()
        {
            tracing::warn!(%error, "cannot prepare the next log file");
        }
        let free = || self.folder.disk.free_bytes(&self.folder.wal).unwrap_or(0);
        let mut core = self.core.lock();
        if core.full.is_some_and(|full| free() >= full.needed) {
            tracing::info!("there is space again");
            core.full = None;
        }
    }

    fn prepare_spare(&self) -> std::io::Result<()> {
        let _spare = self.spare.lock();
        let folder = &self.folder;
        let len = self.config.wal_file_bytes;
        let room = folder.disk.free_bytes(&folder.wal)? >= len + self.config.min_free_bytes;
        if room && !folder.disk.exists(&folder.spare()) {
            allocate(folder, len)?;
        }
        Ok(())
    }

    /// Takes files away that no log needs and no replay starts in; one becomes the spare.
    fn remove_dead_files(&self) -> std::io::Result<()> {
        let dead: Vec<u64> = {
            let mut core = self.core.lock();
            let before = core.checkpoint_file;
            let sealed = core.state.sealed.iter();
            let dead: Vec<u64> = sealed
                .filter(|(id, users)| **users == 0 && **id < before)
                .map(|(id, _)| *id)
                .collect();
            for id in &dead {
                core.state.sealed.remove(id);
            }
            dead
        };
        if dead.is_empty() {
            return Ok(());
        }
        // Whoever looked up a place before it was dead has read it after this.
        drop(self.readers.write());
        let folder = &self.folder;
        for id in dead {
            tracing::info!(file = id, "log file is past retention");
            folder.forget(id);
            self.index_cache.forget(id);
            let (path, sidecar) = (folder.file(id), folder.sidecar(id));
            if folder.disk.exists(&sidecar) {
                folder.disk.remove(&sidecar)?;
            }
            let _spare = self.spare.lock();
            let len = folder.disk.open(&path)?.len()?;
            if len == self.config.wal_file_bytes && !folder.disk.exists(&folder.spare()) {
                folder.disk.rename(&path, &folder.spare())?;
                // Durable before the content changes, else a crash shows the old name on foreign bytes.
                folder.disk.sync_dir(&folder.wal)?;
            } else {
                folder.disk.remove(&path)?;
            }
        }
        Ok(())
    }

    fn run_retention(&self) {
        let now = self.clock.now_ms();
        let due = retention::due(&self.core.lock().state, now);
        if due.is_empty() {
            return;
        }
        let ops: Vec<Op> = due
            .into_iter()
            .map(|(log, before)| Op::DeleteRecords {
                topic: log.topic,
                partition: log.partition,
                before,
            })
            .collect();
        let report = |result: Result<Committed, CommitError>| match result {
            Ok(_) => tracing::debug!("log starts advanced"),
            Err(error) => tracing::warn!(%error, "retention has to wait"),
        };
        self.submit(ops, Box::new(report));
    }
}

impl Core {
    fn judge(&mut self, ops: Vec<Op>, now: i64) -> Result<crate::ahead::Accepted, CommitError> {
        if let Some(reason) = &self.failed {
            return Err(CommitError::Failed(reason.clone()));
        }
        if self.stop {
            return Err(CommitError::Failed("the storage is closed".to_owned()));
        }
        self.ticket += 1;
        accept(&self.state, &mut self.ahead, ops, self.ticket, now)
    }

    fn take_group(&mut self, bound: usize) -> VecDeque<Pending> {
        let mut size = 0;
        let count = self
            .queue
            .iter()
            .take_while(|frame| {
                let room = size < bound;
                size += frame.size;
                room
            })
            .count();
        self.queue.drain(..count).collect()
    }
}

fn answer(done: Done, result: Result<Committed, CommitError>) {
    guarded(|| done(result));
}

/// A callback's panic is its owner's bug; the log must go on for everyone else.
fn guarded(callback: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(callback)).is_err() {
        tracing::error!("a callback of the log panicked");
    }
}

/// After a mere process crash we have read bytes and names that the next power cut may still take; from here on nobody may
/// see what can be taken (I4).
fn make_durable(folder: &Folder, wal: &Wal, replayed_from: u64) -> std::io::Result<()> {
    wal.rewrite(replayed_from)?;
    folder.disk.sync_dir(&folder.wal)?;
    folder.disk.sync_dir(&folder.dir)
}

fn open_meta(folder: &Folder) -> Result<String, OpenError> {
    let path = folder.meta();
    if folder.disk.exists(&path) {
        let bytes = read_all(&*folder.disk, &path).map_err(|error| io("read meta", &error))?;
        let meta: Meta = serde_json::from_slice(&bytes).map_err(|error| OpenError::Corrupt {
            file: "meta".to_owned(),
            reason: error.to_string(),
        })?;
        if meta.format > FOLDER_FORMAT {
            return Err(OpenError::NewerFormat {
                found: meta.format,
                known: FOLDER_FORMAT,
            });
        }
        if meta.format < FOLDER_FORMAT {
            return Err(OpenError::OlderFormat {
                found: meta.format,
                known: FOLDER_FORMAT,
            });
        }
        return Ok(meta.cluster_id);
    }
    let id = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(Uuid::new_v4().as_bytes());
    let meta = Meta {
        format: FOLDER_FORMAT,
        cluster_id: id.clone(),
    };
    let bytes = serde_json::to_vec(&meta).expect("two plain fields serialise");
    write_atomic(&*folder.disk, &path, &bytes).map_err(|error| io("write meta", &error))?;
    Ok(id)
}

fn io(what: &str, error: &std::io::Error) -> OpenError {
    OpenError::Io {
        what: what.to_owned(),
        reason: error.to_string(),
    }
}
