//! OffsetCommit (8): a group remembers how far it has read. Answered after the fsync.
//!
//! A member commits in its generation; a client without group management commits with generation -1, which is taken as
//! long as the group has no members. Errors stand at each partition: the group's verdict is the same at all of them, an
//! unknown topic or metadata that is too long concerns one.

use lw_protocol::StrBytes;
use lw_protocol::messages::offset_commit_request::OffsetCommitRequestTopic;
use lw_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use lw_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};

use super::Cx;
use super::verdicts::Verdicts;
use crate::group::{CommitRequest, MemberRef, OffsetCommit, PartitionReply, TopicRef};

pub(crate) async fn handle(cx: Cx, request: OffsetCommitRequest) -> OffsetCommitResponse {
    let commit = parse(&cx, &request);
    let replies = cx.broker.groups.commit(commit).await;
    respond(request.topics, &replies)
}

/// Topics that do not exist are left out: [`respond`] finds no verdict for them.
fn parse(cx: &Cx, request: &OffsetCommitRequest) -> CommitRequest {
    let retention_ms = (request.retention_time_ms >= 0).then_some(request.retention_time_ms);
    let mut offsets = Vec::new();
    for topic in &request.topics {
        let Some(known) = cx.broker.storage.topic(topic.name.as_str()) else {
            continue;
        };
        let known = TopicRef::new(&known.name, known.id);
        offsets.extend(topic.partitions.iter().map(|partition| {
            OffsetCommit {
                topic: known.clone(),
                partition: partition.partition_index,
                offset: partition.committed_offset,
                leader_epoch: partition.committed_leader_epoch,
                metadata: partition
                    .committed_metadata
                    .as_ref()
                    .map_or("", StrBytes::as_str)
                    .to_owned(),
                retention_ms,
            }
        }));
    }
    CommitRequest {
        who: MemberRef::new(
            &request.group_id,
            &request.member_id,
            request.group_instance_id.as_ref(),
            request.generation_id_or_member_epoch,
        ),
        knows_group_id_not_found: cx.version >= 9,
        offsets,
    }
}

fn respond(
    topics: Vec<OffsetCommitRequestTopic>,
    replies: &[PartitionReply],
) -> OffsetCommitResponse {
    let verdicts = Verdicts::of(replies);
    let answer = |topic: OffsetCommitRequestTopic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let index = asked.partition_index;
            OffsetCommitResponsePartition::default()
                .with_partition_index(index)
                .with_error_code(verdicts.code(&topic.name, index))
        });
        let partitions = partitions.collect();
        OffsetCommitResponseTopic::default()
            .with_name(topic.name)
            .with_partitions(partitions)
    };
    OffsetCommitResponse::default().with_topics(topics.into_iter().map(answer).collect())
}
