//! One group as the coordinator keeps it: its members, its offsets, and what of both is on its way to disk.

use std::collections::{BTreeMap, BTreeSet};

use crate::group::classic::ClassicGroup;
use crate::group::record::{GroupRecord, OffsetRecord, Record};
use crate::group::types::{GroupOffsets, Now, TopicRef, WriteId};

#[derive(Debug)]
pub(super) struct Group {
    pub(super) classic: ClassicGroup,
    pub(super) offsets: GroupOffsets,
    /// Offsets whose write is under way, with the number of such writes.
    pub(super) unwritten: BTreeMap<(TopicRef, i32), u32>,
    pub(super) writes: u32,
    /// The newest generation is on its way to disk by this write; who is told it must wait for that (G5).
    pub(super) telling: Option<WriteId>,
    /// A group record is on disk, or on its way there.
    pub(super) recorded: bool,
    pub(super) deleting: bool,
    pub(super) scheduled: Option<u64>,
}

impl Group {
    pub(super) fn new(now: Now) -> Group {
        let blank = GroupRecord {
            generation: 0,
            protocol_type: None,
            empty_since_ms: Some(now.wall_ms),
        };
        Group {
            recorded: false,
            ..Group::restore(&blank, now)
        }
    }

    pub(super) fn restore(record: &GroupRecord, now: Now) -> Group {
        Group {
            classic: ClassicGroup::restore(record, now),
            offsets: GroupOffsets::new(),
            unwritten: BTreeMap::new(),
            writes: 0,
            telling: None,
            recorded: true,
            deleting: false,
            scheduled: None,
        }
    }

    pub(super) fn end_write(&mut self, records: &[Record]) {
        self.writes -= 1;
        for record in records {
            let Record::Offset {
                topic,
                partition,
                value: Some(_),
                ..
            } = record
            else {
                continue;
            };
            let key = (topic.clone(), *partition);
            if let Some(count) = self.unwritten.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    self.unwritten.remove(&key);
                }
            }
        }
    }

    pub(super) fn has_offset(&self, topic: &TopicRef, partition: i32) -> bool {
        self.offsets
            .get(topic)
            .is_some_and(|partitions| partitions.contains_key(&partition))
            || self.unwritten.contains_key(&(topic.clone(), partition))
    }

    /// Every partition with an offset, or with one on its way to disk.
    pub(super) fn partitions(&self) -> BTreeSet<(TopicRef, i32)> {
        let written = self.offsets.iter().flat_map(|(topic, partitions)| {
            partitions
                .keys()
                .map(move |partition| (topic.clone(), *partition))
        });
        written.chain(self.unwritten.keys().cloned()).collect()
    }

    /// Offsets past their time. The clock starts when the group becomes empty; for a group that never had members,
    /// and for topics that its members no longer read, at the commit.
    pub(super) fn expired(&self, now_ms: i64, retention_ms: i64) -> Vec<(TopicRef, i32)> {
        let empty_since = self.classic.empty_since_ms();
        let subscribed = self.classic.subscribed_topics();
        if empty_since.is_none() && subscribed.is_none() {
            return Vec::new();
        }
        let subscribed = subscribed.unwrap_or_default();
        let start = |offset: &OffsetRecord| match empty_since {
            Some(since) if self.classic.has_protocol_type() => since,
            _ => offset.committed_ms,
        };
        let over = |offset: &OffsetRecord| match offset.expires_ms {
            Some(at) => at <= now_ms,
            None => now_ms.saturating_sub(start(offset)) >= retention_ms,
        };
        let unread = self
            .offsets
            .iter()
            .filter(|(topic, _)| !subscribed.contains(&topic.name));
        unread
            .flat_map(|(topic, partitions)| {
                partitions
                    .iter()
                    .map(move |(partition, offset)| (topic, *partition, offset))
            })
            .filter(|(_, _, offset)| over(offset))
            .map(|(topic, partition, _)| (topic.clone(), partition))
            .collect()
    }
}
