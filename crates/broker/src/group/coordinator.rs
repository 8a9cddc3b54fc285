//! All groups of the broker: finds the group of a request, owns committed offsets, turns decisions into durable writes.
//!
//! The [`ClassicGroup`] decides about members; this file decides about everything that outlives them. A change of
//! durable state takes two steps, so that nothing is shown before it is on disk (G7): a request makes an
//! [`Output::Write`], and [`Input::Written`] applies its records ([`Coordinator::apply`], the same function that
//! replays them at start) and answers.

mod group;
mod write;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use lw_protocol::ErrorCode;
use uuid::Uuid;

use super::GroupConfig;
use super::classic::{ClassicGroup, Effect, Effects};
use super::record::{OffsetRecord, Record};
use super::types::{
    CommitRequest, DeleteOffsetsRequest, GroupDescription, GroupId, GroupListing, GroupOffsets,
    Input, JoinReply, JoinRequest, MemberId, Now, OffsetCommit, Output, PartitionReply, Reply,
    Request, Token, WriteId, WriteOutcome,
};
use group::Group;
use write::{Then, Write};

/// What a commit leaves on disk.
fn kept(commit: OffsetCommit, now: Now) -> OffsetRecord {
    OffsetRecord {
        offset: commit.offset,
        leader_epoch: commit.leader_epoch,
        metadata: commit.metadata,
        committed_ms: now.wall_ms,
        expires_ms: commit
            .retention_ms
            .map(|retention| now.wall_ms.saturating_add(retention)),
    }
}

/// What Java calls a string's length, which is what `offset.metadata.max.bytes` bounds in spite of its name.
fn utf16_units(text: &str) -> usize {
    text.encode_utf16().count()
}

/// Strings carry a 15-bit length in the older versions; a longer name could not be told to clients that speak those.
const MAX_NAME: usize = 32_767;

#[derive(Debug)]
pub(crate) struct Coordinator {
    config: GroupConfig,
    groups: BTreeMap<GroupId, Group>,
    /// Groups with records of a later layout: left alone, so that a newer build finds them as they were.
    unreadable: BTreeSet<GroupId>,
    timers: BTreeSet<(u64, GroupId)>,
    next_expiry: u64,
    writes: HashMap<WriteId, Write>,
    last_write: u64,
}

impl Coordinator {
    /// A coordinator that remembers what `records` say. Groups that had members when the broker stopped are empty
    /// from now on; the outputs record that.
    pub(crate) fn load(
        config: GroupConfig,
        now: Now,
        records: Vec<Record>,
        unreadable: BTreeSet<GroupId>,
    ) -> (Coordinator, Vec<Output>) {
        let mut coordinator = Coordinator {
            next_expiry: now.elapsed_ms + config.expiry_check_ms,
            config,
            groups: BTreeMap::new(),
            unreadable,
            timers: BTreeSet::new(),
            writes: HashMap::new(),
            last_write: 0,
        };
        let mut abandoned = Vec::new();
        for record in records {
            if let Record::Group {
                group,
                value: Some(value),
            } = &record
            {
                if value.empty_since_ms.is_none() {
                    abandoned.push(group.clone());
                }
                coordinator
                    .groups
                    .insert(group.clone(), Group::restore(value, now));
            }
            coordinator.apply(record, now);
        }
        let mut out = Vec::new();
        for group in abandoned {
            let value = coordinator
                .groups
                .get(&group)
                .map(|group| group.classic.record());
            let record = Record::Group {
                group: group.clone(),
                value,
            };
            coordinator.write(&group, vec![record], Then::Nothing, &mut out);
        }
        (coordinator, out)
    }

    pub(crate) fn handle(&mut self, now: Now, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        match input {
            Input::Request { token, request } => self.request(now, token, request, &mut out),
            Input::TopicDeleted { topic } => self.forget_topic(topic, &mut out),
            Input::Written { write, outcome } => self.written(now, write, outcome, &mut out),
        }
        out
    }

    /// When [`Coordinator::on_timer`] wants to be called next, in [`Now::elapsed_ms`].
    pub(crate) fn poll_timeout(&self) -> u64 {
        self.timers
            .first()
            .map_or(self.next_expiry, |(deadline, _)| {
                self.next_expiry.min(*deadline)
            })
    }

    /// Lets everything happen that is due.
    pub(crate) fn on_timer(&mut self, now: Now) -> Vec<Output> {
        let mut out = Vec::new();
        while let Some((deadline, id)) = self.timers.first().cloned() {
            if deadline > now.elapsed_ms {
                break;
            }
            self.timers.pop_first();
            if let Some(group) = self.groups.get_mut(&id) {
                group.scheduled = None;
            }
            self.on_classic(now, &id, &mut out, ClassicGroup::on_timer);
        }
        if self.next_expiry <= now.elapsed_ms {
            self.next_expiry = now.elapsed_ms + self.config.expiry_check_ms;
            self.expire(now, &mut out);
        }
        out
    }

    // ---- requests ---------------------------------------------------------------------------------------------

    fn request(&mut self, now: Now, token: Token, request: Request, out: &mut Vec<Output>) {
        let id = request.group().clone();
        let mut refuse = |request: &Request, error| {
            out.push(Output::Reply {
                token,
                reply: request.refused(error),
            })
        };
        if id.as_str().len() > MAX_NAME || (id.as_str().is_empty() && request.needs_a_name()) {
            return refuse(&request, ErrorCode::InvalidGroupId);
        }
        if self.unreadable.contains(&id) {
            return refuse(&request, ErrorCode::CoordinatorNotAvailable);
        }
        if self.groups.get(&id).is_some_and(|group| group.deleting) {
            // Over in a moment; every client asks again.
            return refuse(&request, ErrorCode::CoordinatorLoadInProgress);
        }
        match request {
            Request::Join(request) => self.join(now, token, &request, out),
            Request::Commit(request) => self.commit(now, token, request, out),
            Request::DeleteOffsets(request) => self.delete_offsets(token, &request, out),
            Request::DeleteGroup(_) => self.delete_group(token, &id, out),
            request if !self.groups.contains_key(&id) => {
                refuse(&request, ErrorCode::UnknownMemberId)
            }
            Request::Sync(request) => {
                self.on_classic(now, &id, out, |group, fx| group.sync(token, &request, fx))
            }
            Request::Heartbeat(who) => self.on_classic(now, &id, out, |group, fx| {
                let reply = Reply::Heartbeat(group.heartbeat(&who, fx.now));
                fx.out.push(Effect::Reply(token, reply));
            }),
            Request::Leave(request) => self.on_classic(now, &id, out, |group, fx| {
                let reply = Reply::Leave(Ok(group.leave(&request.members, fx)));
                fx.out.push(Effect::Reply(token, reply));
            }),
        }
    }

    fn join(&mut self, now: Now, token: Token, request: &JoinRequest, out: &mut Vec<Output>) {
        let asked_as = request.member.as_ref().map_or("", MemberId::as_str);
        let session = i64::from(request.session_timeout_ms);
        let problem = if !self.config.session_timeout_ms.contains(&session) {
            Some(ErrorCode::InvalidSessionTimeout)
        } else if request.names().any(|name| name.len() > MAX_NAME) {
            Some(ErrorCode::InvalidRequest)
        } else if request.member.is_some() && !self.groups.contains_key(&request.group) {
            Some(ErrorCode::UnknownMemberId)
        } else {
            None
        };
        if let Some(error) = problem {
            let reply = Reply::Join(JoinReply::refused(asked_as, error));
            return out.push(Output::Reply { token, reply });
        }
        self.groups
            .entry(request.group.clone())
            .or_insert_with(|| Group::new(now));
        self.on_classic(now, &request.group, out, |group, fx| {
            group.join(token, request, fx)
        });
    }

    fn commit(&mut self, now: Now, token: Token, request: CommitRequest, out: &mut Vec<Output>) {
        let id = request.who.group.clone();
        let verdict = match self.groups.get_mut(&id) {
            Some(group) => group.classic.check_commit(&request.who, now),
            None if request.who.generation < 0 => Ok(()),
            None if request.knows_group_id_not_found => Err(ErrorCode::GroupIdNotFound),
            None => Err(ErrorCode::IllegalGeneration),
        };
        let limit = self.config.max_offset_metadata;
        let judge = |commit: &OffsetCommit| {
            verdict?;
            if utf16_units(&commit.metadata) > limit {
                Err(ErrorCode::OffsetMetadataTooLarge)
            } else {
                Ok(())
            }
        };
        let mut replies = Vec::with_capacity(request.offsets.len());
        let mut records = Vec::with_capacity(request.offsets.len());
        for commit in request.offsets {
            let result = judge(&commit);
            replies.push(PartitionReply {
                topic: commit.topic.clone(),
                partition: commit.partition,
                result,
            });
            if result.is_ok() {
                records.push(Record::Offset {
                    group: id.clone(),
                    topic: commit.topic.clone(),
                    partition: commit.partition,
                    value: Some(kept(commit, now)),
                });
            }
        }
        if records.is_empty() {
            out.push(Output::Reply {
                token,
                reply: Reply::Commit(replies),
            });
        } else {
            let group = self
                .groups
                .entry(id.clone())
                .or_insert_with(|| Group::new(now));
            if !group.recorded {
                records.insert(
                    0,
                    Record::Group {
                        group: id.clone(),
                        value: Some(group.classic.record()),
                    },
                );
            }
            self.write(&id, records, Then::AnswerCommit(token, replies), out);
        }
        self.settle(&id);
    }

    fn delete_offsets(
        &mut self,
        token: Token,
        request: &DeleteOffsetsRequest,
        out: &mut Vec<Output>,
    ) {
        let Some(group) = self.groups.get(&request.group) else {
            let reply = Reply::DeleteOffsets(Err(ErrorCode::GroupIdNotFound));
            return out.push(Output::Reply { token, reply });
        };
        let subscribed = group.classic.subscribed_topics();
        if !group.classic.is_empty() && subscribed.is_none() {
            let reply = Reply::DeleteOffsets(Err(ErrorCode::NonEmptyGroup));
            return out.push(Output::Reply { token, reply });
        }
        let subscribed = subscribed.unwrap_or_default();
        let mut replies = Vec::new();
        let mut records = Vec::new();
        for (topic, partition) in &request.partitions {
            let busy = subscribed.contains(&topic.name);
            let result = if busy {
                Err(ErrorCode::GroupSubscribedToTopic)
            } else {
                Ok(())
            };
            replies.push(PartitionReply {
                topic: topic.clone(),
                partition: *partition,
                result,
            });
            if !busy && group.has_offset(topic, *partition) {
                records.push(Record::tombstone(&request.group, topic, *partition));
            }
        }
        if records.is_empty() {
            out.push(Output::Reply {
                token,
                reply: Reply::DeleteOffsets(Ok(replies)),
            });
        } else {
            self.write(
                &request.group,
                records,
                Then::AnswerDeleteOffsets(token, replies),
                out,
            );
        }
    }

    fn delete_group(&mut self, token: Token, id: &GroupId, out: &mut Vec<Output>) {
        let verdict = match self.groups.get(id) {
            None => Err(ErrorCode::GroupIdNotFound),
            Some(group) if !group.classic.is_empty() => Err(ErrorCode::NonEmptyGroup),
            Some(_) => Ok(()),
        };
        match verdict {
            Ok(()) => self.write_deletion(id, Then::AnswerDeleteGroup(token), out),
            Err(error) => out.push(Output::Reply {
                token,
                reply: Reply::DeleteGroup(Err(error)),
            }),
        }
    }

    /// Deletes an empty group with all its offsets, also those whose write is still under way: they come first.
    fn write_deletion(&mut self, id: &GroupId, then: Then, out: &mut Vec<Output>) {
        let group = self
            .groups
            .get_mut(id)
            .expect("the caller has seen the group");
        group.deleting = true;
        let mut records = vec![Record::Group {
            group: id.clone(),
            value: None,
        }];
        for (topic, partition) in group.partitions() {
            records.push(Record::tombstone(id, &topic, partition));
        }
        self.write(id, records, then, out);
    }

    fn forget_topic(&mut self, gone: Uuid, out: &mut Vec<Output>) {
        let mut found: Vec<(GroupId, Vec<Record>)> = Vec::new();
        for (id, group) in &self.groups {
            let stale = group
                .partitions()
                .into_iter()
                .filter(|(topic, _)| topic.id == gone);
            let records: Vec<_> = stale
                .map(|(topic, partition)| Record::tombstone(id, &topic, partition))
                .collect();
            if !records.is_empty() {
                found.push((id.clone(), records));
            }
        }
        for (id, records) in found {
            self.write(&id, records, Then::Nothing, out);
        }
    }

    /// Removes offsets that nobody came back for, and groups that have nothing left.
    fn expire(&mut self, now: Now, out: &mut Vec<Output>) {
        let retention = self.config.offsets_retention_ms;
        let idle =
            |group: &Group| !group.deleting && group.unwritten.is_empty() && group.writes == 0;
        let ids: Vec<GroupId> = self
            .groups
            .iter()
            .filter(|(_, g)| idle(g))
            .map(|(id, _)| id.clone())
            .collect();
        for id in ids {
            let group = &self.groups[&id];
            let expired = group.expired(now.wall_ms, retention);
            let all: usize = group.offsets.values().map(BTreeMap::len).sum();
            if group.classic.is_idle() && expired.len() == all {
                self.write_deletion(&id, Then::Nothing, out);
            } else if !expired.is_empty() {
                let records = expired
                    .iter()
                    .map(|(topic, partition)| Record::tombstone(&id, topic, *partition))
                    .collect();
                self.write(&id, records, Then::Nothing, out);
            }
        }
    }

    // ---- durable state ----------------------------------------------------------------------------------------

    fn write(
        &mut self,
        id: &GroupId,
        records: Vec<Record>,
        then: Then,
        out: &mut Vec<Output>,
    ) -> WriteId {
        let group = self
            .groups
            .get_mut(id)
            .expect("writes are made for groups that exist");
        group.writes += 1;
        for record in &records {
            match record {
                Record::Group { value, .. } => group.recorded = value.is_some(),
                Record::Offset {
                    topic,
                    partition,
                    value: Some(_),
                    ..
                } => {
                    *group
                        .unwritten
                        .entry((topic.clone(), *partition))
                        .or_default() += 1;
                }
                Record::Offset { .. } => {}
            }
        }
        self.last_write += 1;
        let write = WriteId(self.last_write);
        self.writes.insert(
            write,
            Write {
                group: id.clone(),
                records: records.clone(),
                then,
            },
        );
        out.push(Output::Write { write, records });
        write
    }

    fn written(&mut self, now: Now, write: WriteId, outcome: WriteOutcome, out: &mut Vec<Output>) {
        let Write {
            group: id,
            records,
            then,
        } = self.writes.remove(&write).expect("a write ends once");
        if let Some(group) = self.groups.get_mut(&id) {
            group.end_write(&records);
            if outcome == WriteOutcome::Refused {
                group.deleting = false;
                group.recorded &= !records
                    .iter()
                    .any(|record| matches!(record, Record::Group { .. }));
            }
        }
        if outcome == WriteOutcome::Durable {
            records
                .into_iter()
                .for_each(|record| self.apply(record, now));
        }
        then.answer(outcome, out);
        self.settle(&id);
    }

    /// Takes over one durable change: at start from disk, later from a finished write.
    fn apply(&mut self, record: Record, now: Now) {
        match record {
            Record::Group {
                group,
                value: Some(_),
            } => {
                // What it says is older than what memory knows, but for the fact that it is there.
                self.groups
                    .entry(group)
                    .or_insert_with(|| Group::new(now))
                    .recorded = true;
            }
            Record::Group { group, value: None } => {
                if let Some(group) = self.groups.remove(&group) {
                    assert!(
                        group.classic.is_empty(),
                        "G6: a deleted group has no members"
                    );
                }
            }
            Record::Offset {
                group,
                topic,
                partition,
                value: Some(value),
            } => {
                let group = self.groups.entry(group).or_insert_with(|| Group::new(now));
                group
                    .offsets
                    .entry(topic)
                    .or_default()
                    .insert(partition, value);
            }
            Record::Offset {
                group,
                topic,
                partition,
                value: None,
            } => {
                let Some(group) = self.groups.get_mut(&group) else {
                    return;
                };
                if let Some(partitions) = group.offsets.get_mut(&topic) {
                    partitions.remove(&partition);
                    if partitions.is_empty() {
                        group.offsets.remove(&topic);
                    }
                }
            }
        }
    }

    // ---- reading ----------------------------------------------------------------------------------------------

    /// What the group has committed, durably. `None`: no such group.
    ///
    /// # Errors
    /// COORDINATOR_NOT_AVAILABLE when its records are of a later layout: "nothing committed" would be a lie.
    pub(crate) fn offsets(&self, group: &GroupId) -> Result<Option<&GroupOffsets>, ErrorCode> {
        if self.unreadable.contains(group) {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        Ok(self.groups.get(group).map(|group| &group.offsets))
    }

    /// All groups, by id.
    pub(crate) fn group_ids(&self) -> Vec<GroupId> {
        self.groups.keys().cloned().collect()
    }

    pub(crate) fn describe(&self, group: &GroupId) -> Option<GroupDescription> {
        self.groups.get(group).map(|group| group.classic.describe())
    }

    pub(crate) fn list(&self) -> Vec<GroupListing> {
        self.groups
            .iter()
            .map(|(id, group)| group.classic.listing(id))
            .collect()
    }

    // ---- plumbing ---------------------------------------------------------------------------------------------

    /// Runs one step of a group and carries out its effects. An unknown group is nobody's business any more.
    fn on_classic(
        &mut self,
        now: Now,
        id: &GroupId,
        out: &mut Vec<Output>,
        step: impl FnOnce(&mut ClassicGroup, &mut Effects<'_>),
    ) {
        let Some(group) = self.groups.get_mut(id) else {
            return;
        };
        let mut fx = Effects {
            now,
            config: &self.config,
            out: Vec::new(),
        };
        step(&mut group.classic, &mut fx);
        for effect in fx.out {
            match effect {
                Effect::Reply(token, reply) => match self.write_to_wait_for(id, &reply) {
                    Some(held) => held.push((token, reply)),
                    None => out.push(Output::Reply { token, reply }),
                },
                Effect::Generation { record, held } => {
                    let record = Record::Group {
                        group: id.clone(),
                        value: Some(record),
                    };
                    let write = self.write(id, vec![record], Then::AnswerJoins(held), out);
                    self.groups
                        .get_mut(id)
                        .expect("it was just written")
                        .telling = Some(write);
                }
            }
        }
        self.settle(id);
    }

    /// A member that asks again while its generation is on the way to disk waits with those that were first.
    fn write_to_wait_for(
        &mut self,
        id: &GroupId,
        reply: &Reply,
    ) -> Option<&mut Vec<(Token, Reply)>> {
        let Reply::Join(JoinReply { error: None, .. }) = reply else {
            return None;
        };
        let write = self.groups.get(id)?.telling?;
        match &mut self.writes.get_mut(&write)?.then {
            Then::AnswerJoins(held) => Some(held),
            _ => None,
        }
    }

    /// After each step: the group's next timer stands in the index, and a group that never became one is dropped.
    fn settle(&mut self, id: &GroupId) {
        let Some(group) = self.groups.get_mut(id) else {
            return self.timers.retain(|(_, other)| other != id);
        };
        if cfg!(any(debug_assertions, test)) {
            group.classic.check();
        }
        let next = group.classic.next_deadline();
        if group.scheduled != next {
            if let Some(before) = group.scheduled {
                self.timers.remove(&(before, id.clone()));
            }
            if let Some(next) = next {
                self.timers.insert((next, id.clone()));
            }
            group.scheduled = next;
        }
        if group.classic.is_blank()
            && !group.recorded
            && group.writes == 0
            && group.offsets.is_empty()
        {
            self.groups.remove(id);
        }
    }
}
