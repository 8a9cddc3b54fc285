//! The coordinator's shell: threads, storage and clocks around the sans-IO core. Nothing here decides anything.
//!
//! One lock guards the core. Whoever has an input (a handler, the timer thread, the WAL thread that reports a finished
//! write) steps the core under it, and carries out the outputs after letting go: answers are sent, writes are queued in
//! the core's order and handed to storage by one thread at a time, so that the order on disk is the core's.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use lw_protocol::ErrorCode;
use lw_stdx::clock::Clock;
use lw_storage::{CommitError, Committed, Expect, Op, Storage, Table};
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::GroupConfig;
use super::coordinator::Coordinator;
use super::record::{self, GroupRecord, OffsetRecord, Record, RecordError};
use super::types::{
    CommitRequest, DeleteOffsetsRequest, GroupDescription, GroupId, GroupListing, GroupOffsets,
    Input, JoinReply, JoinRequest, LeaveReply, LeaveRequest, MemberRef, Now, OffsetCommit, Output,
    PartitionReply, Reply, Request, SyncReply, SyncRequest, Token, TopicName, WriteId,
    WriteOutcome,
};
use crate::Broker;

/// All consumer groups of the broker, as the API handlers use them.
pub(crate) struct Groups {
    shared: Arc<Shared>,
    timer: Option<JoinHandle<()>>,
}

struct Shared {
    storage: Storage,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Told when a deadline comes nearer, or when it is time to stop.
    sooner: Condvar,
    /// Held while writes go to storage; see [`Shared::send_writes`].
    sending: Mutex<()>,
}

struct State {
    core: Coordinator,
    outbox: VecDeque<(WriteId, Vec<Op>)>,
    waiting: HashMap<Token, Answer>,
    last_token: u64,
    /// What the timer thread sleeps until.
    sleeps_until: u64,
    stopping: bool,
}

type Answer = Box<dyn FnOnce(Reply) + Send>;

impl Groups {
    /// Reads back what groups left on disk, and starts the timer.
    pub(crate) fn open(storage: Storage, clock: Arc<dyn Clock>) -> Groups {
        let (records, unreadable) = read_back(&storage);
        let now = now(clock.as_ref());
        let (core, outputs) = Coordinator::load(GroupConfig::default(), now, records, unreadable);
        let state = State {
            core,
            outbox: VecDeque::new(),
            waiting: HashMap::new(),
            last_token: 0,
            sleeps_until: 0,
            stopping: false,
        };
        let shared = Arc::new(Shared {
            storage,
            clock,
            state: Mutex::new(state),
            sooner: Condvar::new(),
            sending: Mutex::new(()),
        });
        shared.step(|_, _| outputs);
        shared.forget_missing_topics();
        let for_timer = shared.clone();
        let timer = std::thread::Builder::new()
            .name("group-timer".to_owned())
            .spawn(move || for_timer.run_timer())
            .expect("a process that cannot start a thread cannot serve");
        Groups {
            shared,
            timer: Some(timer),
        }
    }

    /// What makes a new member's id its own.
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
        reply.await.expect("G4: every request is answered")
    }

    /// The group's offsets, for as long as `read` looks at them.
    pub(crate) fn offsets<T>(
        &self,
        group: &GroupId,
        read: impl FnOnce(Option<&GroupOffsets>) -> T,
    ) -> Result<T, ErrorCode> {
        self.shared.state.lock().core.offsets(group).map(read)
    }

    pub(crate) fn describe(&self, group: &GroupId) -> Option<GroupDescription> {
        self.shared.state.lock().core.describe(group)
    }

    pub(crate) fn list(&self) -> Vec<GroupListing> {
        self.shared.state.lock().core.list()
    }

    /// A topic is gone: so are all offsets in it.
    pub(crate) fn topic_deleted(&self, topic: &str) {
        let topic = topic.into();
        self.shared
            .step(|core, now| core.handle(now, Input::TopicDeleted { topic }));
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
            state.last_token += 1;
            let token = Token(state.last_token);
            state.waiting.insert(token, answer);
            token
        };
        self.step(|core, now| core.handle(now, Input::Request { token, request }));
    }

    /// Lets the core take one step, then carries out what it wants.
    fn step(self: &Arc<Self>, act: impl FnOnce(&mut Coordinator, Now) -> Vec<Output>) {
        let mut answers = Vec::new();
        {
            let mut state = self.state.lock();
            let now = now(self.clock.as_ref());
            for output in act(&mut state.core, now) {
                match output {
                    Output::Reply { token, reply } => {
                        let answer = state
                            .waiting
                            .remove(&token)
                            .expect("G4: a token is answered once");
                        answers.push((answer, reply));
                    }
                    Output::Write { write, records } => {
                        state
                            .outbox
                            .push_back((write, records.iter().map(op).collect()));
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

    /// Hands queued writes to storage, in order. One thread does it; another that comes meanwhile leaves its write in
    /// the queue, which the first looks at again after letting go. Storage may report a failure from inside `commit`:
    /// that step comes back here, finds the door locked and goes on.
    fn send_writes(self: &Arc<Self>) {
        loop {
            {
                let Some(_sending) = self.sending.try_lock() else {
                    return;
                };
                while let Some((write, ops)) = self.next_write() {
                    let shared = Arc::downgrade(self);
                    self.storage.commit(ops, move |result| {
                        if let Some(shared) = shared.upgrade() {
                            shared.written(write, result);
                        }
                    });
                }
            }
            if self.state.lock().outbox.is_empty() {
                return;
            }
        }
    }

    fn next_write(&self) -> Option<(WriteId, Vec<Op>)> {
        self.state.lock().outbox.pop_front()
    }

    fn written(self: &Arc<Self>, write: WriteId, result: Result<Committed, CommitError>) {
        let outcome = match result {
            Ok(_) => WriteOutcome::Durable,
            Err(error) => {
                tracing::warn!(%error, "could not save the state of a consumer group");
                WriteOutcome::Refused
            }
        };
        self.step(|core, now| core.handle(now, Input::Written { write, outcome }));
    }

    /// Topics that were deleted just before a crash.
    fn forget_missing_topics(self: &Arc<Self>) {
        let known: BTreeSet<TopicName> = self
            .storage
            .topics()
            .iter()
            .map(|topic| topic.name.as_str().into())
            .collect();
        let missing: BTreeSet<TopicName> = {
            let state = self.state.lock();
            let named = state
                .core
                .all_offsets()
                .flat_map(|(_, offsets)| offsets.keys());
            named
                .filter(|topic| !known.contains(*topic))
                .cloned()
                .collect()
        };
        for topic in missing {
            self.step(|core, now| core.handle(now, Input::TopicDeleted { topic }));
        }
    }

    fn run_timer(self: Arc<Self>) {
        loop {
            {
                let mut state = self.state.lock();
                loop {
                    if state.stopping {
                        return;
                    }
                    let due = state.core.poll_timeout();
                    let now_ms = now(self.clock.as_ref()).elapsed_ms;
                    if due <= now_ms {
                        break;
                    }
                    state.sleeps_until = due;
                    self.sooner
                        .wait_for(&mut state, Duration::from_millis(due - now_ms));
                }
            }
            self.step(Coordinator::on_timer);
        }
    }
}

fn now(clock: &dyn Clock) -> Now {
    Now {
        elapsed_ms: clock.elapsed().as_millis() as u64,
        wall_ms: clock.now_ms(),
    }
}

fn op(record: &Record) -> Op {
    let (table, key, value) = match record {
        Record::Group { group, value } => (
            Table::Groups,
            record::group_key(group),
            value.as_ref().map(GroupRecord::encode),
        ),
        Record::Offset {
            group,
            topic,
            partition,
            value,
        } => {
            let key = record::offset_key(group, topic, *partition);
            (
                Table::GroupOffsets,
                key,
                value.as_ref().map(OffsetRecord::encode),
            )
        }
    };
    Op::Put {
        table,
        key,
        value,
        expect: Expect::Any,
    }
}

/// What the tables hold, and the groups that a newer build has written to.
fn read_back(storage: &Storage) -> (Vec<Record>, BTreeSet<GroupId>) {
    let mut records = Vec::new();
    let mut unreadable = BTreeSet::new();
    let mut take = |group: Result<GroupId, RecordError>, record: Result<Record, RecordError>| {
        let error = match record {
            Ok(record) => return records.push(record),
            Err(error) => error,
        };
        let Ok(group) = group else {
            return tracing::error!(%error, "a consumer group's key cannot be read; it is left alone");
        };
        tracing::error!(%group, %error, "the group is not served; start the version that wrote it, or delete its data");
        unreadable.insert(group);
    };
    for (key, value) in storage.scan(Table::Groups, &[]) {
        take(record::decode_group_key(&key), group_record(&key, &value));
    }
    for (key, value) in storage.scan(Table::GroupOffsets, &[]) {
        take(
            record::decode_offset_key(&key).map(|(group, _, _)| group),
            offset_record(&key, &value),
        );
    }
    (records, unreadable)
}

fn group_record(key: &Bytes, value: &Bytes) -> Result<Record, RecordError> {
    Ok(Record::Group {
        group: record::decode_group_key(key)?,
        value: Some(GroupRecord::decode(value)?),
    })
}

fn offset_record(key: &Bytes, value: &Bytes) -> Result<Record, RecordError> {
    let (group, topic, partition) = record::decode_offset_key(key)?;
    Ok(Record::Offset {
        group,
        topic,
        partition,
        value: Some(OffsetRecord::decode(value)?),
    })
}

/// How far a group has read one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupLag {
    pub group: String,
    pub topic: String,
    pub partition: i32,
    pub committed: i64,
    pub high_watermark: i64,
    /// Records between the two; 0 when the group is past the end, as after a restore of an older log.
    pub lag: i64,
}

/// A consumer group as metrics and the console list it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSummary {
    pub group: String,
    /// Kafka's name of the state: `Empty`, `PreparingRebalance`, `CompletingRebalance`, `Stable`.
    pub state: &'static str,
    pub generation: i32,
    pub protocol_type: String,
    pub members: usize,
}

/// Why a pipeline's offsets were not published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    #[error("group `{group}` has live consumers; only they may commit its offsets")]
    HasMembers { group: String },
    #[error("there is no topic `{topic}`")]
    UnknownTopic { topic: String },
    #[error("the offsets of group `{group}` were not saved: {reason}")]
    NotSaved { group: String, reason: ErrorCode },
}

impl Broker {
    /// Commits a pipeline's offsets as `group`, so that Kafka's own tools show its progress and lag. Waits for the disk;
    /// not for async code.
    ///
    /// # Errors
    /// When consumers have joined the group (their commits and ours would overwrite each other), the topic does not
    /// exist, or the disk refuses.
    pub fn publish_offsets(
        &self,
        group: &str,
        topic: &str,
        offsets: &BTreeMap<i32, i64>,
    ) -> Result<(), PublishError> {
        if self.storage.topic(topic).is_none() {
            return Err(PublishError::UnknownTopic {
                topic: topic.to_owned(),
            });
        }
        let request = Request::Commit(CommitRequest {
            who: MemberRef {
                group: group.into(),
                member: "".into(),
                instance: None,
                generation: -1,
            },
            knows_group_id_not_found: true,
            offsets: offsets
                .iter()
                .map(|(partition, offset)| published(topic, *partition, *offset))
                .collect(),
        });
        let (answer, reply) = std::sync::mpsc::channel();
        self.groups
            .shared
            .request(request, Box::new(move |reply| drop(answer.send(reply))));
        let Ok(Reply::Commit(replies)) = reply.recv() else {
            unreachable!("G4: a commit is answered by a commit");
        };
        match replies.into_iter().find_map(|reply| reply.result.err()) {
            None => Ok(()),
            Some(ErrorCode::UnknownMemberId) => Err(PublishError::HasMembers {
                group: group.to_owned(),
            }),
            Some(reason) => Err(PublishError::NotSaved {
                group: group.to_owned(),
                reason,
            }),
        }
    }

    /// Every group, for metrics.
    pub fn groups(&self) -> Vec<GroupSummary> {
        let summary = |group: GroupListing| GroupSummary {
            group: group.group.to_string(),
            state: group.state,
            generation: group.generation,
            protocol_type: group.protocol_type,
            members: group.members,
        };
        self.groups.list().into_iter().map(summary).collect()
    }

    /// The lag of every group in every partition that it has committed. Partitions that are gone are left out.
    pub fn group_lag(&self) -> Vec<GroupLag> {
        let mut lags = Vec::new();
        for (group, topic, partition, committed) in self.groups.committed() {
            let Some(id) = self.storage.topic(&topic).map(|topic| topic.id) else {
                continue;
            };
            let Some(bounds) = self.storage.bounds(id, partition) else {
                continue;
            };
            let high_watermark = bounds.high_watermark;
            let lag = (high_watermark - committed).max(0);
            lags.push(GroupLag {
                group,
                topic,
                partition,
                committed,
                high_watermark,
                lag,
            });
        }
        lags
    }
}

impl Groups {
    fn committed(&self) -> Vec<(String, String, i32, i64)> {
        let state = self.shared.state.lock();
        let mut found = Vec::new();
        for (group, offsets) in state.core.all_offsets() {
            for (topic, partitions) in offsets {
                let rows = partitions
                    .iter()
                    .map(|(partition, offset)| (*partition, offset.offset));
                found.extend(rows.map(|(partition, offset)| {
                    (group.to_string(), topic.to_string(), partition, offset)
                }));
            }
        }
        found
    }
}

fn published(topic: &str, partition: i32, offset: i64) -> OffsetCommit {
    OffsetCommit {
        topic: topic.into(),
        partition,
        offset,
        leader_epoch: -1,
        metadata: String::new(),
        retention_ms: None,
    }
}

#[cfg(test)]
mod tests;
