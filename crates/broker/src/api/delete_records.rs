//! DeleteRecords (21): forget everything before an offset. −1 means everything that there is.

use lw_protocol::ErrorCode;
use lw_protocol::messages::delete_records_request::DeleteRecordsPartition;
use lw_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use lw_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};
use lw_storage::Op;
use uuid::Uuid;

use super::Cx;
use crate::topics::commit_code;

const ALL: i64 = -1;

pub(crate) async fn handle(cx: Cx, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for asked in request.topics {
        let topic = cx.broker.find_topic(&asked.name, Uuid::nil());
        let mut partitions = Vec::with_capacity(asked.partitions.len());
        for partition in &asked.partitions {
            let outcome = match &topic {
                Ok(topic) if topic.internal => Err(ErrorCode::InvalidTopicException),
                Ok(topic) => delete(&cx, topic.id, partition).await,
                Err(code) => Err(*code),
            };
            let reply = DeleteRecordsPartitionResult::default()
                .with_partition_index(partition.partition_index);
            partitions.push(match outcome {
                Ok(low_watermark) => reply.with_low_watermark(low_watermark),
                Err(code) => reply.with_low_watermark(-1).with_error_code(code.code()),
            });
        }
        topics.push(
            DeleteRecordsTopicResult::default()
                .with_name(asked.name)
                .with_partitions(partitions),
        );
    }
    DeleteRecordsResponse::default().with_topics(topics)
}

/// The offset that the partition starts at afterwards.
async fn delete(cx: &Cx, topic: Uuid, asked: &DeleteRecordsPartition) -> Result<i64, ErrorCode> {
    let partition = asked.partition_index;
    let bounds = cx
        .broker
        .storage
        .bounds(topic, partition)
        .ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let before = if asked.offset == ALL {
        bounds.high_watermark
    } else {
        asked.offset
    };
    if before < 0 || before > bounds.high_watermark {
        return Err(ErrorCode::OffsetOutOfRange);
    }
    if before <= bounds.log_start {
        return Ok(bounds.log_start);
    }
    let ops = vec![Op::DeleteRecords {
        topic,
        partition,
        before,
    }];
    cx.broker
        .commit(ops)
        .await
        .map_err(|error| commit_code(&error))?;
    Ok(before)
}
