//! OffsetDelete (47): a group forgets its offsets in some partitions. Answered after the fsync.
//!
//! GROUP_SUBSCRIBED_TO_TOPIC protects topics that live members read. A group whose members speak a protocol that we
//! cannot look into is NON_EMPTY_GROUP as a whole.

use lw_protocol::messages::offset_delete_request::OffsetDeleteRequestTopic;
use lw_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use lw_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};

use super::Cx;
use super::verdicts::Verdicts;
use crate::group::{DeleteOffsetsRequest, PartitionReply, TopicRef};

pub(crate) async fn handle(cx: Cx, request: OffsetDeleteRequest) -> OffsetDeleteResponse {
    let mut partitions = Vec::new();
    for topic in &request.topics {
        let Some(known) = cx.broker.storage.topic(topic.name.as_str()) else {
            continue;
        };
        let known = TopicRef::new(&known.name, known.id);
        partitions.extend(
            topic
                .partitions
                .iter()
                .map(|asked| (known.clone(), asked.partition_index)),
        );
    }
    let deletion = DeleteOffsetsRequest {
        group: request.group_id.as_str().into(),
        partitions,
    };
    match cx.broker.groups.delete_offsets(deletion).await {
        Ok(replies) => respond(request.topics, &replies),
        Err(error) => OffsetDeleteResponse::default().with_error_code(error.code()),
    }
}

fn respond(
    topics: Vec<OffsetDeleteRequestTopic>,
    replies: &[PartitionReply],
) -> OffsetDeleteResponse {
    let verdicts = Verdicts::of(replies);
    let answer = |topic: OffsetDeleteRequestTopic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let index = asked.partition_index;
            OffsetDeleteResponsePartition::default()
                .with_partition_index(index)
                .with_error_code(verdicts.code(&topic.name, index))
        });
        let partitions = partitions.collect();
        OffsetDeleteResponseTopic::default()
            .with_name(topic.name)
            .with_partitions(partitions)
    };
    OffsetDeleteResponse::default().with_topics(topics.into_iter().map(answer).collect())
}
