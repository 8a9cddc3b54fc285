//! Group commit: from an accepted request to its durable answer.
//!
//! The `lw-wal` thread takes everything that is queued, writes it as one group, syncs, applies, answers; it starts the next
//! sync as soon as the last has ended, so an idle server acknowledges after one sync and a busy one lets hundreds of
//! requests share it. What can be done beside the way to an answer is left to `upkeep.rs`.
//!
//! Lock order: `wal` or `round` → `sealing` → `core` → small ones. No lock is held while a callback runs.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use lw_stdx::clock::Clock;
use parking_lot::{Condvar, Mutex, RwLock};

use crate::ahead::{Accepted, Ahead, MAX_APPEND, Placed, accept, restamp};
use crate::cache::IndexCache;
use crate::config::{Config, Fault};
use crate::folder::Folder;
use crate::frame::{FRAME_HEADER, Place};
use crate::holds::Holds;
use crate::ops::{AppendError, Appended, CommitError, Committed, Op, StorageFull, Table};
use crate::record::Record;
use crate::snapshot::Snapshot;
use crate::state::State;
use crate::storage::Stats;
use crate::tail::Tail;
use crate::time::{LogTime, Now};
use crate::wal::{Room, Wal, WriteError};

pub(crate) type Done = Box<dyn FnOnce(Result<Committed, CommitError>) + Send>;
pub(crate) type Listener = Arc<dyn Fn() + Send + Sync>;

pub(crate) struct Shared {
    // Configuration.
    pub(crate) config: Config,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) time: LogTime,
    pub(crate) folder: Arc<Folder>,
    pub(crate) cluster_id: String,
    // State.
    pub(crate) core: Mutex<Core>,
    pub(crate) wal: Mutex<Wal>,
    /// Of sealed files whose sidecar and checkpoint are still to be written; their entries are pinned in the cache.
    pub(crate) sealing: Mutex<VecDeque<Snapshot>>,
    pub(crate) index_cache: IndexCache,
    pub(crate) holds: Mutex<Holds>,
    pub(crate) listeners: Mutex<BTreeMap<u64, Listener>>,
    /// Whether some topic is of `LogAppendTime`, for those who do not hold `core`.
    pub(crate) stamps: AtomicBool,
    // Signals.
    pub(crate) work: Condvar,
    pub(crate) upkeep: Condvar,
    pub(crate) spare_work: Condvar,
    pub(crate) progressed: Condvar,
    /// Readers hold it shared from looking up a place to having read it; a file is recycled only when nobody does.
    pub(crate) readers: RwLock<()>,
    /// Held during a round of upkeep: two must not rewrite the same files. When producers are looked through next.
    pub(crate) round: Mutex<Duration>,
    /// Held while the name of the spare file is given or taken.
    pub(crate) spare: Mutex<()>,
    pub(crate) lock: Mutex<Option<Box<dyn Any + Send + Sync>>>,
}

pub(crate) struct Core {
    pub(crate) state: State,
    pub(crate) tail: Tail,
    pub(crate) active_file: u64,
    pub(crate) ahead: Ahead,
    pub(crate) queue: VecDeque<Pending>,
    pub(crate) ticket: u64,
    /// Requests accepted and not yet durable or refused.
    pub(crate) in_flight: usize,
    /// Bytes used and there in the active file.
    pub(crate) active_fill: (u64, u64),
    /// The WAL file in which replay begins after the newest checkpoint.
    pub(crate) checkpoint_file: u64,
    /// The same after the one before it: files before this one may go.
    pub(crate) keep_from: u64,
    pub(crate) spare_wanted: bool,
    /// Files that cannot be rewritten: something in them is damaged.
    pub(crate) stuck: BTreeSet<u64>,
    pub(crate) full: Option<StorageFull>,
    pub(crate) failed: Option<String>,
    pub(crate) stop: bool,
    pub(crate) next_listener: u64,
    pub(crate) stats: Stats,
}

/// A request on its way to the disk.
pub(crate) struct Pending {
    pub(crate) ticket: u64,
    pub(crate) records: Vec<Placed>,
    pub(crate) appended: Vec<Appended>,
    pub(crate) size: usize,
    /// Which part of the reserve it may use on a full disk.
    pub(crate) room: Room,
    pub(crate) done: Done,
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

    /// Whether it is right whatever became of the requests before it: it only takes away, and only what is durable.
    fn only_frees(&self) -> bool {
        let mut records = self.records.iter();
        let frees = |record: &Record<_>| {
            matches!(record, Record::LogStart { .. } | Record::DeleteTopic { .. })
        };
        !self.appends() && records.all(|placed| frees(&placed.record))
    }
}

/// Of a frame with several records the one that matters least decides.
fn room_of(records: &[Placed], repeats: bool) -> Room {
    let room = |placed: &Placed| match &placed.record {
        Record::Append { .. } => Room::Append,
        Record::Put { value: None, .. } | Record::LogStart { .. } => Room::Free,
        Record::Put {
            table: Table::Manifests | Table::Pipelines | Table::Catalog,
            ..
        } => Room::Checkpoint,
        Record::DeleteTopic { .. } => Room::Last,
        _ => Room::Small,
    };
    match repeats {
        true => Room::Append,
        false => records.iter().map(room).min().unwrap_or(Room::Last),
    }
}

pub(crate) struct Threads {
    pub(crate) shared: Arc<Shared>,
    pub(crate) handles: Mutex<Vec<JoinHandle<()>>>,
}

impl Threads {
    pub(crate) fn end(&self) {
        self.shared.core.lock().stop = true;
        self.shared.work.notify_all();
        self.shared.upkeep.notify_all();
        self.shared.spare_work.notify_all();
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

impl Shared {
    pub(crate) fn submit(&self, ops: Vec<Op>, done: Done) {
        self.submit_with(ops, None, done);
    }

    /// `room` is for who knows better than the records which part of the reserve they may use.
    pub(crate) fn submit_with(&self, ops: Vec<Op>, room: Option<Room>, done: Done) {
        let now = Now {
            wall: self.clock.now_ms(),
            log: self.log_now(),
        };
        let ops = match self.stamped(ops, now.wall) {
            Ok(ops) => ops,
            Err(error) => return done(Err(CommitError::Append(error))),
        };
        let mut core = self.core.lock();
        let accepted = match core.judge(ops, now, self.config.fault) {
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
        let of_records = room_of(&accepted.records, !accepted.appended.is_empty());
        core.queue.push_back(Pending {
            ticket,
            size: accepted.size,
            records: accepted.records,
            appended: accepted.appended,
            room: room.unwrap_or(of_records),
            done,
        });
        drop(core);
        self.work.notify_one();
    }

    /// Gives the batches for topics of `LogAppendTime` their time: copies and checksums are nothing to do under the lock.
    /// Where a topic becomes one in between, `accept` does it.
    fn stamped(&self, mut ops: Vec<Op>, now: i64) -> Result<Vec<Op>, AppendError> {
        if !self.stamps.load(Ordering::Relaxed) {
            return Ok(ops);
        }
        for op in &mut ops {
            let Op::Append { topic, batches, .. } = op else {
                continue;
            };
            let topic = self.core.lock().state.topics.get(topic).cloned();
            // What is too large is refused, and not copied before.
            let fits = batches.len() <= MAX_APPEND;
            if fits && topic.is_some_and(|topic| topic.is_log_append_time()) {
                *batches = restamp(std::mem::take(batches), now)?;
            }
        }
        Ok(ops)
    }

    pub(crate) fn log_now(&self) -> i64 {
        self.time.now(&*self.clock)
    }

    pub(crate) fn wal_thread(&self) {
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

    /// Writes one group: everything that is queued, up to a bound. False when nothing was. A panic on the way is answered
    /// as a failed disk: nobody waits for a thread that is not there any more.
    pub(crate) fn step(&self) -> bool {
        // Outside of what may panic: who is in here has no answer yet.
        let mut hand = VecDeque::new();
        let stepped = catch_unwind(AssertUnwindSafe(|| self.write_queued(&mut hand)));
        stepped.unwrap_or_else(|panic| {
            self.fail(&mut hand, panicked("log", &*panic));
            true
        })
    }

    /// Runs one round of another thread; false when it panicked, after which nothing is written any more.
    pub(crate) fn guard(&self, thread: &str, round: impl FnOnce()) -> bool {
        let outcome = catch_unwind(AssertUnwindSafe(round));
        if let Err(panic) = &outcome {
            self.fail(&mut VecDeque::new(), panicked(thread, &**panic));
        }
        outcome.is_ok()
    }

    fn write_queued(&self, hand: &mut VecDeque<Pending>) -> bool {
        let mut wal = self.wal.lock();
        *hand = self.core.lock().take_group(self.config.group_bytes);
        if hand.is_empty() {
            return false;
        }
        while !hand.is_empty() {
            let count = self.fitting(&wal, hand);
            if count == 0 {
                self.make_room(&mut wal, hand);
                continue;
            }
            match self.write_group(&mut wal, hand, count) {
                Ok(()) => {}
                Err(WriteError::Full(full)) => self.refuse_all(hand, &CommitError::Full(full)),
                Err(WriteError::Failed(reason)) => self.fail(hand, reason),
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
                let room = match full {
                    true => frame.room,
                    false => Room::Append,
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
        let ended = wal.place();
        let rotated = self
            .write_sealed()
            .map_err(|error| wal.classify(error, "write an index or the checkpoint"))
            .and_then(|()| {
                let _spare = self.spare.lock();
                wal.rotate(payload)
            });
        match rotated {
            Ok(()) => {
                let mut core = self.core.lock();
                let snapshot = Snapshot::sealing(&mut core.state, ended, self.log_now());
                if self.config.fault != Some(Fault::ForgetSealedPlaces) {
                    self.index_cache.pin(snapshot.file, snapshot.entries());
                }
                core.active_file = wal.place().file;
                core.active_fill = (wal.place().position, wal.capacity());
                core.full = None;
                core.spare_wanted = true;
                drop(core);
                self.sealing.lock().push_back(snapshot);
                self.spare_work.notify_one();
                self.upkeep.notify_one();
            }
            Err(WriteError::Failed(reason)) => self.fail(frames, reason),
            Err(WriteError::Full(full)) => {
                let first = self.core.lock().full.replace(full).is_none();
                if first {
                    tracing::warn!(%full, "appends are refused until there is space");
                }
                self.refuse_front(wal, frames, full);
            }
        }
    }

    /// The disk is full and the first frame found no room: refuses it unless it may use the reserve, and with it whatever
    /// may depend on it.
    fn refuse_front(&self, wal: &Wal, frames: &mut VecDeque<Pending>, full: StorageFull) {
        let front = frames.front().expect("there is a frame that found no room");
        if wal.fits(0, front.size, front.room) {
            return;
        }
        let victims = match (front.appends(), front.only_frees()) {
            (true, _) => Victims::Appends,
            (false, false) => Victims::AllButFrees,
            (false, true) => Victims::All,
        };
        self.refuse(frames, &CommitError::Full(full), victims);
    }

    /// Writes the first `count` frames as one group. They leave `frames` as they are answered.
    fn write_group(
        &self,
        wal: &mut Wal,
        frames: &mut VecDeque<Pending>,
        count: usize,
    ) -> Result<(), WriteError> {
        let group = || {
            let group = frames.iter().take(count);
            group.filter(|frame| !frame.records.is_empty())
        };
        let size: usize = group().map(|frame| FRAME_HEADER + frame.size).sum();
        if size == 0 {
            self.publish(frames, count, wal.place(), &Bytes::new(), &[]);
            return Ok(());
        }
        let before = wal.place();
        let (bytes, places) = wal.encode(group().map(|frame| frame.records.as_slice()), size);
        let end = *places.last().expect("size > 0: there is a frame");
        self.plant(Fault::PanicInWal);
        wal.write(&bytes)?;
        if self.config.fault == Some(Fault::AckBeforeFsync) {
            wal.advance(end);
            self.publish(frames, count, before, &bytes, &places);
            return wal.sync();
        }
        let start = self.clock.elapsed();
        wal.sync()?;
        let took = self.clock.elapsed().saturating_sub(start);
        wal.advance(end);
        {
            let stats = &mut self.core.lock().stats;
            stats.fsyncs += 1;
            stats.fsync_time += took;
            stats.fsync_max = stats.fsync_max.max(took);
        }
        self.plant(Fault::PanicInApply);
        self.publish(frames, count, before, &bytes, &places);
        Ok(())
    }

    /// A planted panic.
    pub(crate) fn plant(&self, fault: Fault) {
        assert!(self.config.fault != Some(fault), "{fault:?} was planted");
    }

    /// The group is durable: makes it readable, then answers in commit order, then wakes readers.
    fn publish(
        &self,
        frames: &mut VecDeque<Pending>,
        count: usize,
        before: Place,
        bytes: &Bytes,
        places: &[Place],
    ) {
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
            self.stamps.store(core.state.stamps, Ordering::Relaxed);
            let most = self.config.max_producers;
            let let_go = core.state.bound_producers(most);
            if let_go > 0 {
                tracing::warn!(
                    let_go,
                    most,
                    "more idempotent producers than are remembered: the oldest are unknown now"
                );
            }
            let (used, capacity) = core.active_fill;
            core.active_fill.0 = start;
            // Early enough for the slowest disk, late enough that an idle server does not pay for it.
            if used <= capacity / 8 && start > capacity / 8 {
                core.spare_wanted = true;
                self.spare_work.notify_one();
            }
            if !bytes.is_empty() {
                let keep = self.config.tail_bytes;
                core.tail.push(before.file, base, bytes.clone(), keep);
            }
            core.in_flight = core.in_flight.saturating_sub(count);
            core.ahead.settle(frames[count - 1].ticket);
            core.stats.groups += 1;
            core.stats.frames += places.len() as u64;
            core.stats.group_bytes += bytes.len() as u64;
            core.stats.largest_group_frames =
                core.stats.largest_group_frames.max(places.len() as u64);
        }
        for frame in frames.drain(..count) {
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

    /// Refuses frames, here and in the queue; those that go on stay in `frames`.
    fn refuse(&self, frames: &mut VecDeque<Pending>, error: &CommitError, victims: Victims) {
        let refused = {
            let mut core = self.core.lock();
            frames.append(&mut core.queue);
            // What was judged after a refused change may have been judged by it.
            let changes = |frame: &Pending| frame.appends() && frame.changes_more_than_logs();
            let victims = match victims {
                Victims::Appends if frames.iter().any(changes) => Victims::AllButFrees,
                victims => victims,
            };
            let is_victim = |frame: &Pending| match victims {
                Victims::Appends => frame.appends(),
                Victims::AllButFrees => !frame.only_frees(),
                Victims::All => true,
            };
            match victims {
                Victims::Appends => core.ahead.forget_appends(),
                Victims::AllButFrees | Victims::All => core.ahead.forget_all(),
            }
            let (refused, kept): (VecDeque<_>, _) =
                std::mem::take(frames).into_iter().partition(is_victim);
            *frames = kept;
            core.in_flight = frames.len();
            refused
        };
        for frame in refused {
            answer(frame.done, Err(error.clone()));
        }
    }

    fn refuse_all(&self, frames: &mut VecDeque<Pending>, error: &CommitError) {
        self.refuse(frames, error, Victims::All);
    }

    /// The disk failed, or we did: nothing that we know of these bytes can be trusted any more, so nothing more is written
    /// until a restart has looked at what is really there. Reads go on.
    fn fail(&self, frames: &mut VecDeque<Pending>, reason: String) {
        tracing::error!(%reason, "nothing is written any more until a restart");
        // The first reason is the one that tells most.
        let reason = self.core.lock().failed.get_or_insert(reason).clone();
        self.refuse_all(frames, &CommitError::Failed(reason));
    }
}

/// Whom a refusal takes along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victims {
    Appends,
    /// All but those that are right whatever becomes of the others.
    AllButFrees,
    All,
}

impl Core {
    fn judge(
        &mut self,
        ops: Vec<Op>,
        now: Now,
        fault: Option<Fault>,
    ) -> Result<Accepted, CommitError> {
        if let Some(reason) = &self.failed {
            return Err(CommitError::Failed(reason.clone()));
        }
        if self.stop {
            return Err(CommitError::Failed("the storage is closed".to_owned()));
        }
        self.ticket += 1;
        accept(&self.state, &mut self.ahead, ops, self.ticket, now, fault)
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

/// What a thread's panic said.
fn panicked(thread: &str, panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or(panic.downcast_ref::<&str>().copied());
    let text = text.unwrap_or("without a word");
    format!("the storage's {thread} thread panicked: {text}")
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
