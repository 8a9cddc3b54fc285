//! DescribeTopicPartitions (75): topics with their partitions, a page at a time. `kafka-topics --describe` asks it.
//!
//! Topics come sorted by name. A page ends after `response_partition_limit` partitions; the cursor names the first one
//! that is left, and the next request begins there.

use lw_protocol::messages::describe_topic_partitions_request::Cursor as From;
use lw_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use lw_protocol::messages::{
    BrokerId, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, TopicName,
};
use lw_protocol::{ErrorCode, StrBytes};
use uuid::Uuid;

use super::Cx;
use crate::topics::TOPIC_OPERATIONS;
use crate::{LEADER_EPOCH, NODE_ID};

/// Kafka's own limit (`max.request.partition.size.limit`).
const MAX_PAGE: i32 = 2000;

pub(crate) async fn handle(
    cx: Cx,
    request: DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let mut names: Vec<String> = match request.topics.is_empty() {
        true => cx
            .broker
            .storage
            .topics()
            .iter()
            .map(|topic| topic.name.clone())
            .collect(),
        false => request
            .topics
            .iter()
            .map(|topic| topic.name.to_string())
            .collect(),
    };
    names.sort_unstable();
    names.dedup();
    let begin = request
        .cursor
        .unwrap_or_else(|| From::default().with_partition_index(0));
    names.retain(|name| name.as_str() >= begin.topic_name.as_str());

    let mut left = request.response_partition_limit.clamp(1, MAX_PAGE);
    let mut response = DescribeTopicPartitionsResponse::default();
    for name in names {
        let first = if name == begin.topic_name.as_str() {
            begin.partition_index.max(0)
        } else {
            0
        };
        if left == 0 {
            return response.with_next_cursor(Some(cursor(name, 0)));
        }
        let Ok(topic) = cx.broker.find_topic(&name, Uuid::nil()) else {
            response.topics.push(unknown(name));
            continue;
        };
        let last = topic.partitions.min(first.saturating_add(left));
        left -= (last - first).max(0);
        response.topics.push(
            DescribeTopicPartitionsResponseTopic::default()
                .with_name(Some(TopicName(StrBytes::from_string(name.clone()))))
                .with_topic_id(topic.id)
                .with_is_internal(topic.internal)
                .with_topic_authorized_operations(TOPIC_OPERATIONS)
                .with_partitions((first..last).map(partition).collect()),
        );
        if last < topic.partitions {
            return response.with_next_cursor(Some(cursor(name, last)));
        }
    }
    response
}

fn partition(index: i32) -> DescribeTopicPartitionsResponsePartition {
    DescribeTopicPartitionsResponsePartition::default()
        .with_partition_index(index)
        .with_leader_id(BrokerId(NODE_ID))
        .with_leader_epoch(LEADER_EPOCH)
        .with_replica_nodes(vec![BrokerId(NODE_ID)])
        .with_isr_nodes(vec![BrokerId(NODE_ID)])
        .with_eligible_leader_replicas(Some(Vec::new()))
        .with_last_known_elr(Some(Vec::new()))
}

fn unknown(name: String) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic::default()
        .with_error_code(ErrorCode::UnknownTopicOrPartition.code())
        .with_name(Some(TopicName(StrBytes::from_string(name))))
}

fn cursor(name: String, partition: i32) -> Cursor {
    Cursor::default()
        .with_topic_name(TopicName(StrBytes::from_string(name)))
        .with_partition_index(partition)
}
