//! The coordinator's shell: threads, storage and clocks around the sans-IO core. Nothing here decides anything.
//!
//! One lock guards the core. Whoever has an input (a handler, the timer thread, the WAL thread that reports a finished
//! write) steps the core under it, and carries out the outputs after letting go: answers are sent, writes are queued in
//! the core's order and handed to storage by one thread at a time, so that the order on disk is the core's.
//!
//! A core that panics is not trusted again. Whoever waits for it is let go without an answer (their connections close),
//! requests are told to come again, and as soon as storage has reported every write of the old core, a new one is made
//! of what is on disk, as after a crash: members join again, offsets stand. The same is done when the timer's thread
//! panics beside the core. One that fails again and again is given up, and [`Groups::trouble`] says so.

mod tables;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use lw_protocol::ErrorCode;
use lw_stdx::clock::Clock;
use lw_storage::{CommitError, Committed, Op, Storage};
use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::coordinator::Coordinator;
use super::record::Record;
use super::types::{
    CommitRequest, DeleteOffsetsRequest, GroupDescription, GroupId, GroupListing, GroupOffsets,
    Input, JoinReply, JoinRequest, LeaveReply, LeaveRequest, MemberRef, Now, Output,
    PartitionReply, Reply, Request, SyncReply, SyncRequest, Token, TopicRef, WriteId, WriteOutcome,
};
use crate::metrics::BrokerMetrics;
use tables::{load, op};

/// All consumer groups of the broker, as the API handlers use them.
pub(crate) struct Groups {
    shared: Arc<Shared>,
    timer: Option<JoinHandle<()>>,
}

struct Shared {
    storage: Storage,
    clock: Arc<dyn Clock>,
    metrics: Arc<BrokerMetrics>,
    state: Mutex<State>,
    /// Told when a deadline comes nearer, or when it is time to stop.
    sooner: Condvar,
    /// Held while writes go to storage; see [`Shared::send_writes`].
    sending: Mutex<()>,
    /// A planted bug, for the storm that must find it.
    #[cfg(test)]
    fault: Mutex<Option<storm::Fault>>,
}

struct State {
    core: Coordinator,
    /// The core panicked; it is left alone until a new one takes its place.
    broken: bool,
    /// Why no new one will take its place.
    given_up: Option<String>,
    /// When it panicked, in [`Now::elapsed_ms`], as far as it counts.
    failures: VecDeque<u64>,
    outbox: VecDeque<Outgoing>,
    /// Writes that storage was given and has not reported.
    under_way: usize,
    waiting: HashMap<Token, Answer>,
    last_token: u64,
    /// What the timer thread sleeps until.
    sleeps_until: u64,
    stopping: bool,
}

/// A write, with the topics that it remembers offsets of.
struct Outgoing {
    write: WriteId,
    ops: Vec<Op>,
    topics: BTreeSet<Uuid>,
}

type Answer = Box<dyn FnOnce(Reply) + Send>;

/// A coordinator that fails more often than this is given up: each start costs every client a rebalance.
const MOST_FAILURES: usize = 20;
const FAILURES_COUNT_FOR_MS: u64 = 60_000;

impl Groups {
    /// Reads back what groups left on disk, and starts the timer.
    pub(crate) fn open(
        storage: Storage,
        clock: Arc<dyn Clock>,
        metrics: Arc<BrokerMetrics>,
    ) -> Groups {
        let mut groups = Groups::open_stepped(storage, clock, metrics);
        let for_timer = groups.shared.clone();
        let timer = std::thread::Builder::new()
            .name("group-timer".to_owned())
            .spawn(move || for_timer.run_timer())
            .expect("a process that cannot start a thread cannot serve");
        groups.timer = Some(timer);
        groups
    }

    /// [`Groups::open`] without a timer of its own: time passes only when [`Shared::step`] is called, as a simulation
    /// does.
    fn open_stepped(
        storage: Storage,
        clock: Arc<dyn Clock>,
        metrics: Arc<BrokerMetrics>,
    ) -> Groups {
        let (core, outputs) = load(&storage, now(clock.as_ref()));
        let state = State {
            core,
            broken: false,
            given_up: None,
            failures: VecDeque::new(),
            outbox: VecDeque::new(),
            under_way: 0,
            waiting: HashMap::new(),
            last_token: 0,
            sleeps_until: 0,
            stopping: false,
        };
        let shared = Arc::new(Shared {
            storage,
            clock,
            metrics,
            state: Mutex::new(state),
            sooner: Condvar::new(),
            sending: Mutex::new(()),
            #[cfg(test)]
            fault: Mutex::new(None),
        });
        shared.step(|_, _| outputs);
        Groups {
            shared,
            timer: None,
        }
    }

    /// What makes a new member's id its own.
    #[expect(
        clippy::disallowed_methods,
        reason = "the shell is where the core's randomness comes from"
    )]
    pub(crate) fn fresh(&self) -> String {
        Uuid::new_v4().to_string()
    }

    pub(crate) async fn join(&self, request: JoinRequest) -> JoinReply {
        match self.ask(Request::Join(request)).await {
            Reply::Join(reply) => reply,
            other => unreachable!("a join is answered by a join, not by {other:?}"),
        }
    }

    pub(crate) async fn sync(&self, request: SyncRequest) -> Result<SyncReply, ErrorCode> {
        match self.ask(Request::Sync(request)).await {
            Reply::Sync(reply) => reply,
            other => unreachable!("a sync is answered by a sync, not by {other:?}"),
        }
    }

    pub(crate) async fn heartbeat(&self, who: MemberRef) -> Result<(), ErrorCode> {
        match self.ask(Request::Heartbeat(who)).await {
            Reply::Heartbeat(reply) => reply,
            other => unreachable!("a heartbeat is answered by a heartbeat, not by {other:?}"),
        }
    }

    pub(crate) async fn leave(&self, request: LeaveRequest) -> Result<Vec<LeaveReply>, ErrorCode> {
        match self.ask(Request::Leave(request)).await {
            Reply::Leave(reply) => reply,
            other => unreachable!("a leave is answered by a leave, not by {other:?}"),
        }
    }

    pub(crate) async fn commit(&self, request: CommitRequest) -> Vec<PartitionReply> {
        match self.ask(Request::Commit(request)).await {
            Reply::Commit(reply) => reply,
            other => unreachable!("a commit is answered by a commit, not by {other:?}"),
        }
    }

    pub(crate) async fn delete_offsets(
        &self,
        request: DeleteOffsetsRequest,
    ) -> Result<Vec<PartitionReply>, ErrorCode> {
        match self.ask(Request::DeleteOffsets(request)).await {
            Reply::DeleteOffsets(reply) => reply,
            other => {
                unreachable!("a deletion of offsets is answered by its like, not by {other:?}")
            }
        }
    }

    pub(crate) async fn delete(&self, group: GroupId) -> Result<(), ErrorCode> {
        match self.ask(Request::DeleteGroup(group)).await {
            Reply::DeleteGroup(reply) => reply,
            other => unreachable!("a deletion is answered by a deletion, not by {other:?}"),
        }
    }

    async fn ask(&self, request: Request) -> Reply {
        let (answer, reply) = oneshot::channel();
        // A client that hangs up drops the receiver; its answer is nobody's then.
        self.shared
            .request(request, Box::new(move |reply| drop(answer.send(reply))));
        reply
            .await
            .expect("G4: every request is answered, unless the coordinator itself failed")
    }

    /// [`Groups::commit`], waiting for the disk; not for async code. `None` when the coordinator failed meanwhile.
    pub(crate) fn commit_blocking(&self, request: CommitRequest) -> Option<Vec<PartitionReply>> {
        let (answer, reply) = std::sync::mpsc::channel();
        self.shared.request(
            Request::Commit(request),
            Box::new(move |reply| drop(answer.send(reply))),
        );
        match reply.recv() {
            Ok(Reply::Commit(replies)) => Some(replies),
            Ok(other) => unreachable!("a commit is answered by a commit, not by {other:?}"),
            Err(_) => None,
        }
    }

    /// The group's offsets, for as long as `read` looks at them.
    pub(crate) fn offsets<T>(
        &self,
        group: &GroupId,
        read: impl FnOnce(Option<&GroupOffsets>) -> T,
    ) -> Result<T, ErrorCode> {
        let state = self.shared.state.lock();
        if state.broken {
            return Err(state.refusal());
        }
        state.core.offsets(group).map(read)
    }

    /// Hands every committed offset to `visit`. The lock is taken group by group and never held while `visit` works: a
    /// scrape of ten thousand offsets must not hold up the threads that acknowledge records.
    pub(crate) fn each_offset(&self, mut visit: impl FnMut(&GroupId, &TopicRef, i32, i64)) {
        let ids = self.shared.state.lock().core.group_ids();
        let mut rows = Vec::new();
        for id in ids {
            if let Ok(Some(offsets)) = self.shared.state.lock().core.offsets(&id) {
                for (topic, partitions) in offsets {
                    let of_topic = partitions.iter();
                    rows.extend(
                        of_topic
                            .map(|(partition, offset)| (topic.clone(), *partition, offset.offset)),
                    );
                }
            }
            for (topic, partition, offset) in rows.drain(..) {
                visit(&id, &topic, partition, offset);
            }
        }
    }

    pub(crate) fn describe(&self, group: &GroupId) -> Option<GroupDescription> {
        self.shared.state.lock().core.describe(group)
    }

    pub(crate) fn list(&self) -> Vec<GroupListing> {
        self.shared.state.lock().core.list()
    }

    /// A topic is gone: so are all offsets in it.
    pub(crate) fn topic_deleted(&self, topic: Uuid) {
        self.shared.topic_deleted(topic);
    }

    /// Why groups are not served any more, if that is so.
    pub(crate) fn trouble(&self) -> Option<String> {
        let why = self.shared.state.lock().given_up.clone()?;
        Some(format!("consumer groups are not served any more: {why}"))
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        self.shared.state.lock().stopping = true;
        self.shared.sooner.notify_all();
        if let Some(timer) = self.timer.take()
            && timer.join().is_err()
        {
            tracing::error!("the timer of the consumer groups had failed; this is a bug");
        }
    }
}

impl Shared {
    fn request(self: &Arc<Self>, request: Request, answer: Answer) {
        let token = {
            let mut state = self.state.lock();
            if state.broken {
                let error = state.refusal();
                drop(state);
                return answer(request.refused(error));
            }
            state.last_token += 1;
            let token = Token(state.last_token);
            state.waiting.insert(token, answer);
            token
        };
        self.step(|core, now| core.handle(now, Input::Request { token, request }));
    }

    fn topic_deleted(self: &Arc<Self>, topic: Uuid) {
        self.step(|core, now| core.handle(now, Input::TopicDeleted { topic }));
    }

    /// Lets the core take one step, then carries out what it wants.
    fn step(self: &Arc<Self>, act: impl FnOnce(&mut Coordinator, Now) -> Vec<Output>) {
        let mut answers = Vec::new();
        {
            let mut state = self.state.lock();
            if state.broken {
                return;
            }
            let now = now(self.clock.as_ref());
            let Ok(outputs) = catch_unwind(AssertUnwindSafe(|| act(&mut state.core, now))) else {
                return self.break_down(state);
            };
            for output in outputs {
                match output {
                    Output::Reply { token, reply } => {
                        let answer = state
                            .waiting
                            .remove(&token)
                            .expect("G4: a token is answered once");
                        answers.push((answer, reply));
                    }
                    Output::Write { write, records } => {
                        state.outbox.push_back(outgoing(write, &records));
                    }
                }
            }
            if state.core.poll_timeout() < state.sleeps_until {
                self.sooner.notify_one();
            }
        }
        for (answer, reply) in answers {
            answer(reply);
        }
        self.send_writes();
    }

    /// The core panicked in the middle of a step, or what carries out its outputs did.
    fn break_down(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        if state.broken {
            return;
        }
        self.metrics.panics.add(1);
        state.broken = true;
        state.outbox.clear();
        let waiting = std::mem::take(&mut state.waiting);
        let now = now(self.clock.as_ref()).elapsed_ms;
        state
            .failures
            .retain(|at| at.saturating_add(FAILURES_COUNT_FOR_MS) > now);
        state.failures.push_back(now);
        if state.failures.len() > MOST_FAILURES {
            let why = format!(
                "their coordinator failed {} times in a minute",
                MOST_FAILURES + 1
            );
            state.give_up(why);
        } else {
            tracing::error!(
                "the coordinator of the consumer groups failed; this is a bug. It starts again from what is on disk"
            );
        }
        let idle = state.under_way == 0 && state.given_up.is_none();
        #[cfg(test)]
        let idle = idle || self.planted(storm::Fault::StartingAmidWrites);
        drop(state);
        // Each of these is a request whose handler ends with this, and with it its connection.
        drop(waiting);
        if idle {
            self.start_again();
        }
    }

    /// A new core in the place of the broken one; all writes of the old one have ended.
    fn start_again(self: &Arc<Self>) {
        let outputs = {
            let mut state = self.state.lock();
            let now = now(self.clock.as_ref());
            let loading = AssertUnwindSafe(|| load(&self.storage, now));
            let Ok((core, outputs)) = catch_unwind(loading) else {
                self.metrics.panics.add(1);
                let why = "their coordinator cannot start again from what is on disk";
                return state.give_up(why.to_owned());
            };
            state.core = core;
            state.broken = false;
            outputs
        };
        self.sooner.notify_one();
        self.step(|_, _| outputs);
    }

    /// Hands queued writes to storage, in order. One thread does it; another that comes meanwhile leaves its write in
    /// the queue, which the first looks at again after letting go. Storage may report a failure from inside `commit`:
    /// that step comes back here, finds the door locked and goes on.
    fn send_writes(self: &Arc<Self>) {
        loop {
            {
                let Some(_sending) = self.sending.try_lock() else {
                    return;
                };
                while let Some(next) = self.next_write() {
                    let Outgoing { write, ops, topics } = next;
                    let shared = Arc::downgrade(self);
                    self.storage.commit(ops, move |result| {
                        let Some(shared) = shared.upgrade() else {
                            return;
                        };
                        let ended = AssertUnwindSafe(|| shared.written(write, &topics, result));
                        if catch_unwind(ended).is_err() {
                            // Nobody else would ever answer those who wait for this write.
                            shared.break_down(shared.state.lock());
                        }
                    });
                }
            }
            if self.state.lock().outbox.is_empty() {
                return;
            }
        }
    }

    #[cfg(test)]
    fn planted(&self, fault: storm::Fault) -> bool {
        *self.fault.lock() == Some(fault)
    }

    /// Once.
    #[cfg(test)]
    fn panic_if_planted(&self, wanted: storm::Fault) {
        let planted = self.fault.lock().take_if(|fault| *fault == wanted);
        assert_eq!(planted, None, "it was planted");
    }

    fn next_write(&self) -> Option<Outgoing> {
        let mut state = self.state.lock();
        let next = state.outbox.pop_front()?;
        state.under_way += 1;
        Some(next)
    }

    fn written(
        self: &Arc<Self>,
        write: WriteId,
        topics: &BTreeSet<Uuid>,
        result: Result<Committed, CommitError>,
    ) {
        if let Err(error) = &result {
            tracing::warn!(%error, "could not save the state of a consumer group");
            self.metrics.refused_group_writes.add(1);
        }
        let (broken, last) = {
            let mut state = self.state.lock();
            state.under_way -= 1;
            let last = state.under_way == 0 && state.given_up.is_none();
            (state.broken, last)
        };
        if broken {
            if last {
                self.start_again();
            }
            return;
        }
        #[cfg(test)]
        self.panic_if_planted(storm::Fault::PanickingCallback);
        let outcome = match result {
            Ok(_) => WriteOutcome::Durable,
            Err(_) => WriteOutcome::Refused,
        };
        self.step(|core, now| core.handle(now, Input::Written { write, outcome }));
        #[cfg(test)]
        if self.planted(storm::Fault::ForgettingLateCommits) {
            return;
        }
        // A commit may have been on its way while its topic was deleted, and then landed behind the deletion.
        for topic in topics {
            if self.storage.topic_by_id(*topic).is_none() {
                self.topic_deleted(*topic);
            }
        }
    }

    /// Steps the core whenever something is due. Without this thread no rebalance would end and no session: it outlives
    /// every panic.
    fn run_timer(self: Arc<Self>) {
        loop {
            let tick = AssertUnwindSafe(|| {
                let due = self.wait_until_due();
                if due {
                    #[cfg(test)]
                    self.panic_if_planted(storm::Fault::PanickingTimer);
                    self.step(Coordinator::on_timer);
                }
                due
            });
            match catch_unwind(tick) {
                Ok(true) => {}
                Ok(false) => return,
                Err(_) => self.break_down(self.state.lock()),
            }
        }
    }

    /// False when it is time to stop.
    fn wait_until_due(&self) -> bool {
        let mut state = self.state.lock();
        loop {
            if state.stopping {
                return false;
            }
            if state.broken {
                self.sooner.wait(&mut state);
                continue;
            }
            let due = state.core.poll_timeout();
            let now_ms = now(self.clock.as_ref()).elapsed_ms;
            if due <= now_ms {
                return true;
            }
            state.sleeps_until = due;
            self.sooner
                .wait_for(&mut state, Duration::from_millis(due - now_ms));
        }
    }
}

impl State {
    /// What those are told who come while there is no coordinator.
    fn refusal(&self) -> ErrorCode {
        match self.given_up {
            None => ErrorCode::CoordinatorLoadInProgress,
            Some(_) => ErrorCode::CoordinatorNotAvailable,
        }
    }

    fn give_up(&mut self, why: String) {
        tracing::error!(
            why,
            "consumer groups are not served any more; this is a bug"
        );
        self.given_up = Some(why);
    }
}

fn now(clock: &dyn Clock) -> Now {
    Now {
        elapsed_ms: clock.elapsed().as_millis() as u64,
        wall_ms: clock.now_ms(),
    }
}

fn outgoing(write: WriteId, records: &[Record]) -> Outgoing {
    let topics = records.iter().filter_map(|record| match record {
        Record::Offset {
            topic,
            value: Some(_),
            ..
        } => Some(topic.id),
        _ => None,
    });
    Outgoing {
        write,
        ops: records.iter().map(op).collect(),
        topics: topics.collect(),
    }
}

#[cfg(test)]
mod storm;
#[cfg(test)]
mod tests;
