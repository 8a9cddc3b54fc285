//! DeleteRecords (21): forget everything before an offset. −1 means everything that there is.

use std::collections::BTreeMap;

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
    let mut cuts = BTreeMap::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for asked in request.topics {
        let topic = cx.broker.find_topic(&asked.name, Uuid::nil());
        let plan = |partition: &DeleteRecordsPartition| {
            let outcome = match &topic {
                Ok(topic) if topic.internal => Err(ErrorCode::InvalidTopicException),
                Ok(topic) => plan(&cx, topic.id, partition),
                Err(code) => Err(*code),
            };
            if let Ok(Planned { cut: Some(cut), to }) = outcome {
                let before = cuts.entry(cut).or_insert(to);
                *before = to.max(*before);
            }
            (partition.partition_index, outcome)
        };
        let partitions: Vec<_> = asked.partitions.iter().map(plan).collect();
        topics.push((asked.name, partitions));
    }
    let refused = cut(&cx, cuts).await;
    let answer = |(index, outcome): (i32, Result<Planned, ErrorCode>)| {
        let reply = DeleteRecordsPartitionResult::default().with_partition_index(index);
        let error = |cut: &Option<Log>| cut.and_then(|cut| refused.get(&cut).copied());
        match outcome.and_then(|planned| error(&planned.cut).map_or(Ok(planned.to), Err)) {
            Ok(low_watermark) => reply.with_low_watermark(low_watermark),
            Err(code) => reply.with_low_watermark(-1).with_error_code(code.code()),
        }
    };
    let topics = topics.into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(answer);
        DeleteRecordsTopicResult::default()
            .with_name(name)
            .with_partitions(partitions.collect())
    });
    DeleteRecordsResponse::default().with_topics(topics.collect())
}

/// Topic and partition.
type Log = (Uuid, i32);

/// Where a partition will start, and whether something has to be cut off for that.
#[derive(Clone, Copy)]
struct Planned {
    to: i64,
    cut: Option<Log>,
}

fn plan(cx: &Cx, topic: Uuid, asked: &DeleteRecordsPartition) -> Result<Planned, ErrorCode> {
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
    Ok(match before <= bounds.log_start {
        true => Planned {
            to: bounds.log_start,
            cut: None,
        },
        false => Planned {
            to: before,
            cut: Some((topic, partition)),
        },
    })
}

/// Cuts all in one frame; only where that is refused (a topic is deleted at the same time, say) each by itself. Returns
/// those that were refused.
async fn cut(cx: &Cx, cuts: BTreeMap<Log, i64>) -> BTreeMap<Log, ErrorCode> {
    let op = |((topic, partition), before): (&Log, &i64)| Op::DeleteRecords {
        topic: *topic,
        partition: *partition,
        before: *before,
    };
    let mut refused = BTreeMap::new();
    if cuts.is_empty()
        || cx
            .broker
            .commit(cuts.iter().map(op).collect())
            .await
            .is_ok()
    {
        return refused;
    }
    for (log, before) in &cuts {
        if let Err(error) = cx.broker.commit(vec![op((log, before))]).await {
            refused.insert(*log, commit_code(&error));
        }
    }
    refused
}
