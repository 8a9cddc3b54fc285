//! Group commit: from an accepted request to its durable answer.
//!
//! The `lw-wal` thread takes everything that is queued, writes it as one group, syncs, applies, answers; it starts the next
//! sync as soon as the last has ended, so an idle server acknowledges after one sync and a busy one lets hundreds of
//! requests share it. What can be done beside the way to an answer is left to `upkeep.rs`.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

use bytes::Bytes;

use crate::ahead::{MAX_APPEND, restamp};
use crate::config::Fault;
use crate::engine::Engine;
use crate::frame::{FRAME_HEADER, Place};
use crate::ops::{AppendError, CommitError, Committed, Op, StorageFull};
use crate::queue::{Done, Pending, Victims};
use crate::snapshot::Snapshot;
use crate::time::Now;
use crate::wal::{Room, Wal, WriteError};
use crate::watches::guarded;

impl Engine {
    pub(crate) fn submit(&self, ops: Vec<Op>, done: Done) {
        self.submit_with(ops, None, done);
    }

    /// `room` is for who knows better than the records which part of the reserve they may use.
    pub(crate) fn submit_with(&self, ops: Vec<Op>, room: Option<Room>, done: Done) {
        let stamp = self.clock.now_ms();
        let ops = match self.stamped(ops, stamp) {
            Ok(ops) => ops,
            Err(error) => return done(Err(CommitError::Append(error))),
        };
        let mut guard = self.core.lock();
        let core = &mut *guard;
        // Under the lock: the log's time goes the way that its frames go.
        let now = Now {
            stamp,
            wall: self.clock.now_ms(),
            log: self.log_now(),
        };
        let judged = core
            .is_open()
            .and_then(|()| core.queue.judge(&core.state, ops, now, self.config.fault));
        let accepted = match judged {
            Ok(accepted) => accepted,
            Err(error) => {
                drop(guard);
                return done(Err(error));
            }
        };
        if accepted.records.is_empty() && core.queue.is_idle() {
            // Nothing to write, and nothing on its way that the answer depends on.
            let committed = Committed {
                lsn: core.state.lsn,
                appended: accepted.appended,
            };
            drop(guard);
            return done(Ok(committed));
        }
        core.queue.push(accepted, room, done);
        drop(guard);
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
            if fits && topic.is_some_and(|topic| topic.config.produce().is_log_append_time) {
                *batches = restamp(std::mem::take(batches), now)?;
            }
        }
        Ok(ops)
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
        *hand = self.core.lock().queue.take_group(self.config.group_bytes);
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
                let _spare = self.spare.name();
                wal.rotate(payload)
            });
        match rotated {
            Ok(()) => {
                let mut core = self.core.lock();
                let snapshot = Snapshot::sealing(&mut core.state, ended, self.log_now());
                if self.config.fault != Some(Fault::ForgetSealedPlaces) {
                    self.sealing.pin(&snapshot);
                }
                core.files.active = wal.place().file;
                core.files.fill = (wal.place().position, wal.capacity());
                core.full = None;
                drop(core);
                self.sealing.push(snapshot);
                self.spare.want();
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
        let victims = front.victims();
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
        let moved = {
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
            let wanted = core.files.want_spare();
            core.files.fill.0 = start;
            if !wanted && core.files.want_spare() {
                self.spare.want();
            }
            if !bytes.is_empty() {
                let keep = self.config.tail_bytes;
                core.tail.push(before.file, base, bytes.clone(), keep);
            }
            core.queue.settle(frames, count);
            core.stats.groups += 1;
            core.stats.frames += places.len() as u64;
            core.stats.group_bytes += bytes.len() as u64;
            core.stats.largest_group_frames =
                core.stats.largest_group_frames.max(places.len() as u64);
            core.state.take_moved()
        };
        for frame in frames.drain(..count) {
            if !frame.records.is_empty() {
                lsn = lsn.next();
            }
            let committed = Committed {
                lsn,
                appended: frame.appended,
            };
            answer(frame.done, Ok(committed));
        }
        self.watches.call(&moved);
    }

    /// Refuses frames, here and in the queue; those that go on stay in `frames`.
    fn refuse(&self, frames: &mut VecDeque<Pending>, error: &CommitError, victims: Victims) {
        let refused = self.core.lock().queue.refuse(frames, victims);
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
