//! What groups leave in the tables of the log, and how it is read back.

use std::collections::BTreeSet;

use bytes::Bytes;
use lw_storage::{Expect, Op, Storage, Table};

use crate::group::GroupConfig;
use crate::group::coordinator::Coordinator;
use crate::group::record::{self, GroupRecord, OffsetKey, OffsetRecord, Record, RecordError};
use crate::group::types::{GroupId, Now, Output, TopicRef};

pub(super) fn op(record: &Record) -> Op {
    match record {
        Record::Group { group, value } => put(
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
            let key = OffsetKey::Identified {
                group: group.clone(),
                topic: topic.id,
                partition: *partition,
            };
            put(
                Table::GroupOffsets,
                key.encode(),
                value.as_ref().map(OffsetRecord::encode),
            )
        }
    }
}

pub(super) fn put(table: Table, key: Bytes, value: Option<Bytes>) -> Op {
    Op::Put {
        table,
        key,
        value,
        expect: Expect::Any,
    }
}

/// A core of what the tables hold. Offsets of topics that are gone are removed, offsets kept by name (as the first
/// version of their layout had it) are kept by the id of the topic that has the name now.
pub(super) fn load(storage: &Storage, now: Now) -> (Coordinator, Vec<Output>) {
    let mut found = ReadBack::default();
    found.groups(storage);
    found.offsets(storage);
    for mends in found.mends.chunks(MENDS_AT_ONCE) {
        storage.commit(mends.to_vec(), |result| {
            if let Err(error) = result {
                tracing::warn!(%error, "could not tidy up the offsets of consumer groups; the next start tries again");
            }
        });
    }
    Coordinator::load(GroupConfig::default(), now, found.records, found.unreadable)
}

/// Changes in one frame while loading: far below what a frame can hold.
const MENDS_AT_ONCE: usize = 10_000;

/// What the tables hold.
#[derive(Default)]
struct ReadBack {
    records: Vec<Record>,
    /// Groups that a newer build has written to.
    unreadable: BTreeSet<GroupId>,
    mends: Vec<Op>,
}

impl ReadBack {
    fn groups(&mut self, storage: &Storage) {
        for (key, value) in storage.scan(Table::Groups, &[]) {
            let Some(group) = readable_key(record::decode_group_key(&key)) else {
                continue;
            };
            match GroupRecord::decode(&value) {
                Ok(value) => self.records.push(Record::Group {
                    group,
                    value: Some(value),
                }),
                Err(error) => self.leave_alone(group, &error),
            }
        }
    }

    /// In key order, so that what is kept by name comes first and never covers what is kept by id.
    fn offsets(&mut self, storage: &Storage) {
        for (key, value) in storage.scan(Table::GroupOffsets, &[]) {
            let Some(decoded) = readable_key(OffsetKey::decode(&key)) else {
                continue;
            };
            let group = decoded.group().clone();
            let topic = match &decoded {
                OffsetKey::Identified { topic, .. } => storage.topic_by_id(*topic),
                OffsetKey::Named { topic, .. } => storage.topic(topic.as_str()),
            };
            let (OffsetKey::Identified { partition, .. } | OffsetKey::Named { partition, .. }) =
                decoded;
            let Some(topic) = topic else {
                self.mends.push(put(Table::GroupOffsets, key, None));
                continue;
            };
            let offset = match OffsetRecord::decode(&value) {
                Ok(offset) => offset,
                Err(error) => {
                    self.leave_alone(group, &error);
                    continue;
                }
            };
            let record = Record::Offset {
                group,
                topic: TopicRef::new(&topic.name, topic.id),
                partition,
                value: Some(offset),
            };
            if matches!(decoded, OffsetKey::Named { .. }) {
                self.mends.push(put(Table::GroupOffsets, key, None));
                match op(&record) {
                    Op::Put { table, key, .. } if storage.get(table, &key).is_some() => continue,
                    by_id => self.mends.push(by_id),
                }
            }
            self.records.push(record);
        }
    }

    fn leave_alone(&mut self, group: GroupId, error: &RecordError) {
        tracing::error!(%group, %error, "the group is not served; start the version that wrote it, or delete its data");
        self.unreadable.insert(group);
    }
}

fn readable_key<T>(key: Result<T, RecordError>) -> Option<T> {
    key.inspect_err(|error| {
        tracing::error!(%error, "a consumer group's key cannot be read; it is left alone");
    })
    .ok()
}
