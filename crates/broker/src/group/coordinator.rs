//! All groups of the broker: finds the group of a request, owns committed offsets, turns decisions into durable writes.
//!
//! The [`ClassicGroup`] decides about members; this file decides about everything that outlives them. A change of
//! durable state takes two steps, so that nothing is shown before it is on disk (G7): a request makes an
//! [`Output::Write`], and [`Input::Written`] applies its records ([`Coordinator::apply`], the same function that
//! replays them at start) and answers.

mod group;
mod requests;
mod write;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use lw_protocol::ErrorCode;
use uuid::Uuid;

use super::GroupConfig;
use super::classic::{ClassicGroup, Effect, Effects};
use super::record::Record;
use super::types::{
    GroupDescription, GroupId, GroupListing, GroupOffsets, Input, JoinReply, Now, Output, Reply,
    Token, WriteId, WriteOutcome,
};
use group::Group;
use write::{Then, Write};

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

    // ---- forgetting -------------------------------------------------------------------------------------------

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
