//! ListOffsets (2): the offset at a time, or at one of the ends.
//!
//! Times below zero are names: −1 the end (the high watermark), −2 the start, −3 the record with the largest timestamp
//! (version 7+), −4 the start of what is local, which is all of it (8+), −5 the end of what is in a tier below, which is
//! nothing: offset −1 (9+). A name that its version does not know is UNSUPPORTED_VERSION. A time after the last record
//! answers offset −1, which clients read as "none". The isolation level changes nothing while there are no
//! transactions: the last stable offset is the high watermark.

use lw_protocol::ErrorCode;
use lw_protocol::messages::list_offsets_request::ListOffsetsPartition;
use lw_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use lw_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use lw_storage::ReadError;
use tokio::task::block_in_place;
use uuid::Uuid;

use super::Cx;
use crate::LEADER_EPOCH;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const NONE: (i64, i64) = (-1, -1);

pub(crate) async fn handle(cx: Cx, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let topics = request.topics.into_iter().map(|asked| {
        let topic = cx
            .broker
            .find_topic(&asked.name, Uuid::nil())
            .map(|topic| topic.id);
        let partitions = asked.partitions.iter().map(|partition| {
            let found = topic.and_then(|id| find(&cx, id, partition));
            reply(cx.version, partition.partition_index, found)
        });
        let partitions = partitions.collect();
        ListOffsetsTopicResponse::default()
            .with_name(asked.name)
            .with_partitions(partitions)
    });
    ListOffsetsResponse::default().with_topics(topics.collect())
}

/// Offset and timestamp.
fn find(cx: &Cx, topic: Uuid, asked: &ListOffsetsPartition) -> Result<(i64, i64), ErrorCode> {
    let storage = &cx.broker.storage;
    let index = asked.partition_index;
    let bounds = storage
        .bounds(topic, index)
        .ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if asked.current_leader_epoch > LEADER_EPOCH {
        return Err(ErrorCode::UnknownLeaderEpoch);
    }
    // Times are in the batches: these look-ups may wait for a disk, and other connections must not wait with them.
    let read = |find: &dyn Fn() -> Result<Option<(i64, i64)>, ReadError>| match block_in_place(find)
    {
        Ok(found) => Ok(found.unwrap_or(NONE)),
        Err(_) => Err(ErrorCode::KafkaStorageError),
    };
    match asked.timestamp {
        LATEST => Ok((bounds.high_watermark, -1)),
        EARLIEST => Ok((bounds.log_start, -1)),
        MAX_TIMESTAMP if cx.version >= 7 => read(&|| storage.max_timestamp(topic, index)),
        EARLIEST_LOCAL if cx.version >= 8 => Ok((bounds.log_start, -1)),
        LATEST_TIERED if cx.version >= 9 => Ok(NONE),
        time if time >= 0 => read(&|| storage.offset_for_time(topic, index, time)),
        _ => Err(ErrorCode::UnsupportedVersion),
    }
}

fn reply(
    version: i16,
    index: i32,
    found: Result<(i64, i64), ErrorCode>,
) -> ListOffsetsPartitionResponse {
    let reply = ListOffsetsPartitionResponse::default().with_partition_index(index);
    match found {
        Ok((offset, timestamp)) => {
            // Version 4 brought the epoch; before, saying anything but "unknown" is an error.
            let epoch = if offset >= 0 && version >= 4 {
                LEADER_EPOCH
            } else {
                -1
            };
            reply
                .with_offset(offset)
                .with_timestamp(timestamp)
                .with_leader_epoch(epoch)
        }
        Err(code) => reply
            .with_error_code(code.code())
            .with_offset(-1)
            .with_timestamp(-1),
    }
}
