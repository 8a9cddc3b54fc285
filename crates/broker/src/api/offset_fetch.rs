//! OffsetFetch (9): where a group has got to, as far as the disk knows.
//!
//! "Nothing committed" is offset -1 and no error, for an unknown group too. Null topics ask for everything that the
//! group has. Since version 8 one request asks for many groups. `require_stable` asks for no offset that a transaction
//! still holds; while there are no transactions, every offset is stable.

use std::collections::BTreeMap;

use lw_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use lw_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use lw_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse, TopicName};
use lw_protocol::{ErrorCode, StrBytes};

use super::Cx;
use crate::group::{GroupOffsets, OffsetRecord, TopicRef};

/// Topic by topic the partitions that are asked for; `None`: all there are.
type Asked = Option<Vec<(TopicName, Vec<i32>)>>;
type Answer = Vec<(TopicName, Vec<(i32, Option<OffsetRecord>)>)>;

pub(crate) async fn handle(cx: Cx, request: OffsetFetchRequest) -> OffsetFetchResponse {
    if cx.version >= 8 {
        let groups = request
            .groups
            .into_iter()
            .map(|group| one_of_many(&cx, group))
            .collect();
        return OffsetFetchResponse::default().with_groups(groups);
    }
    let asked = request.topics.map(|topics| {
        topics
            .into_iter()
            .map(|topic| (topic.name, topic.partition_indexes))
            .collect()
    });
    match look_up(&cx, request.group_id.as_str(), asked.clone()) {
        Ok(found) => {
            OffsetFetchResponse::default().with_topics(found.into_iter().map(only_group).collect())
        }
        // Version 1 has no place for an error but the partitions.
        Err(error) if cx.version < 2 => {
            let topics = asked
                .unwrap_or_default()
                .into_iter()
                .map(|(name, partitions)| {
                    let failed = |index| partition(index, None).with_error_code(error.code());
                    OffsetFetchResponseTopic::default()
                        .with_name(name)
                        .with_partitions(partitions.into_iter().map(failed).collect())
                });
            OffsetFetchResponse::default().with_topics(topics.collect())
        }
        Err(error) => OffsetFetchResponse::default().with_error_code(error.code()),
    }
}

fn one_of_many(cx: &Cx, group: OffsetFetchRequestGroup) -> OffsetFetchResponseGroup {
    let asked = group.topics.map(|topics| {
        topics
            .into_iter()
            .map(|topic| (topic.name, topic.partition_indexes))
            .collect()
    });
    let found = look_up(cx, group.group_id.as_str(), asked);
    let response = OffsetFetchResponseGroup::default().with_group_id(group.group_id);
    match found {
        Ok(found) => response.with_topics(found.into_iter().map(of_group).collect()),
        Err(error) => response.with_error_code(error.code()),
    }
}

fn look_up(cx: &Cx, group: &str, asked: Asked) -> Result<Answer, ErrorCode> {
    let storage = &cx.broker.storage;
    let alive = |topic: &TopicRef| storage.topic_by_id(topic.id).is_some();
    // The topics that have the names now: what was committed in an earlier one of the same name is not theirs (G9).
    let asked = asked.map(|topics| {
        let known = |(name, partitions): (TopicName, _)| {
            let topic = storage.topic(name.as_str());
            let topic = topic.map(|topic| TopicRef::new(&topic.name, topic.id));
            (name, topic, partitions)
        };
        topics.into_iter().map(known).collect()
    });
    let found = cx
        .broker
        .groups
        .offsets(&group.into(), |offsets| find(offsets, asked))?;
    Ok(found
        .into_iter()
        .filter(|(_, topic, _)| topic.as_ref().is_none_or(alive))
        .map(|(name, _, partitions)| (name, partitions))
        .collect())
}

/// Topic by topic what was found, with the topic when it was not asked for by name.
type Found = Vec<(
    TopicName,
    Option<TopicRef>,
    Vec<(i32, Option<OffsetRecord>)>,
)>;

/// A topic as the request named it, what it is here, and the partitions asked for.
type Looked = (TopicName, Option<TopicRef>, Vec<i32>);

fn find(offsets: Option<&GroupOffsets>, asked: Option<Vec<Looked>>) -> Found {
    let nothing = GroupOffsets::new();
    let offsets = offsets.unwrap_or(&nothing);
    let Some(asked) = asked else {
        let all = |partitions: &BTreeMap<i32, OffsetRecord>| {
            partitions
                .iter()
                .map(|(index, offset)| (*index, Some(offset.clone())))
                .collect()
        };
        return offsets
            .iter()
            .map(|(topic, partitions)| {
                (
                    name(topic.name.as_str()),
                    Some(topic.clone()),
                    all(partitions),
                )
            })
            .collect();
    };
    let mut found = Vec::with_capacity(asked.len());
    for (name, topic, indexes) in asked {
        let partitions = topic.and_then(|topic| offsets.get(&topic));
        let offset = |index: i32| {
            (
                index,
                partitions
                    .and_then(|partitions| partitions.get(&index))
                    .cloned(),
            )
        };
        found.push((name, None, indexes.into_iter().map(offset).collect()));
    }
    found
}

fn only_group(
    (name, partitions): (TopicName, Vec<(i32, Option<OffsetRecord>)>),
) -> OffsetFetchResponseTopic {
    let partitions = partitions
        .into_iter()
        .map(|(index, offset)| partition(index, offset))
        .collect();
    OffsetFetchResponseTopic::default()
        .with_name(name)
        .with_partitions(partitions)
}

fn partition(index: i32, offset: Option<OffsetRecord>) -> OffsetFetchResponsePartition {
    let offset = offset.unwrap_or_else(OffsetRecord::nothing);
    OffsetFetchResponsePartition::default()
        .with_partition_index(index)
        .with_committed_offset(offset.offset)
        .with_committed_leader_epoch(offset.leader_epoch)
        .with_metadata(Some(StrBytes::from_string(offset.metadata)))
}

/// The same in the words of version 8, which has types of its own for it.
fn of_group(
    (name, partitions): (TopicName, Vec<(i32, Option<OffsetRecord>)>),
) -> OffsetFetchResponseTopics {
    let partition = |(index, offset)| {
        let old = partition(index, offset);
        OffsetFetchResponsePartitions::default()
            .with_partition_index(index)
            .with_committed_offset(old.committed_offset)
            .with_committed_leader_epoch(old.committed_leader_epoch)
            .with_metadata(old.metadata)
    };
    OffsetFetchResponseTopics::default()
        .with_name(name)
        .with_partitions(partitions.into_iter().map(partition).collect())
}

fn name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}
