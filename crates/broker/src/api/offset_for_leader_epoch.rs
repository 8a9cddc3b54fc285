//! OffsetForLeaderEpoch (23): where an epoch ended, so that a consumer notices a truncated log.
//!
//! Our log is never cut behind a reader, so there is one epoch and it ends at the high watermark. An epoch that never
//! was is answered with −1, which clients read as "unknown".

use lw_protocol::ErrorCode;
use lw_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use lw_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use lw_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use uuid::Uuid;

use super::Cx;
use crate::LEADER_EPOCH;

pub(crate) async fn handle(
    cx: Cx,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let topics = request.topics.into_iter().map(|asked| {
        let topic = cx
            .broker
            .find_topic(&asked.topic, Uuid::nil())
            .map(|topic| topic.id);
        let partitions = asked.partitions.iter().map(|partition| {
            let high_watermark = topic.and_then(|id| {
                let bounds = cx.broker.storage.bounds(id, partition.partition);
                bounds
                    .map(|bounds| bounds.high_watermark)
                    .ok_or(ErrorCode::UnknownTopicOrPartition)
            });
            end_of_epoch(partition, high_watermark)
        });
        let partitions = partitions.collect();
        OffsetForLeaderTopicResult::default()
            .with_topic(asked.topic)
            .with_partitions(partitions)
    });
    OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
}

fn end_of_epoch(
    asked: &OffsetForLeaderPartition,
    high_watermark: Result<i64, ErrorCode>,
) -> EpochEndOffset {
    let reply = EpochEndOffset::default().with_partition(asked.partition);
    match high_watermark {
        Err(code) => reply.with_error_code(code.code()),
        Ok(_) if asked.current_leader_epoch > LEADER_EPOCH => {
            reply.with_error_code(ErrorCode::UnknownLeaderEpoch.code())
        }
        Ok(end) if asked.leader_epoch == LEADER_EPOCH => {
            reply.with_leader_epoch(LEADER_EPOCH).with_end_offset(end)
        }
        Ok(_) => reply.with_leader_epoch(-1).with_end_offset(-1),
    }
}
