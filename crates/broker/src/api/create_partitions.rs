//! CreatePartitions (37): more partitions for a topic. Never fewer: offsets would be lost.

use std::collections::BTreeMap;

use lw_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use lw_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use lw_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};
use lw_protocol::{ErrorCode, StrBytes};
use lw_storage::Op;
use uuid::Uuid;

use super::Cx;
use crate::NODE_ID;
use crate::topics::{MAX_PARTITIONS, Refusal};

pub(crate) async fn handle(cx: Cx, request: CreatePartitionsRequest) -> CreatePartitionsResponse {
    let mut changes = cx.broker.begin_changes().await;
    let mut times = BTreeMap::new();
    for topic in &request.topics {
        *times.entry(topic.name.clone()).or_insert(0) += 1;
    }
    let mut outcomes = Vec::with_capacity(times.len());
    for asked in &request.topics {
        let outcome = match times.remove(&asked.name) {
            Some(1) => grow(&cx, asked),
            // Named twice: one answer for all of them.
            Some(_) => Err(Refusal::new(
                ErrorCode::InvalidRequest,
                "Duplicate topic name.",
            )),
            None => continue,
        };
        if let Ok(op) = &outcome
            && !request.validate_only
        {
            changes.push(op.clone());
        }
        outcomes.push((asked, outcome));
    }
    let committed = changes.commit().await.map_err(Refusal::from);
    let results = outcomes.into_iter().map(|(asked, outcome)| {
        let result = CreatePartitionsTopicResult::default().with_name(asked.name.clone());
        match outcome.and_then(|_| committed.clone()) {
            Ok(()) => result,
            Err(refusal) => result
                .with_error_code(refusal.code.code())
                .with_error_message(Some(StrBytes::from_string(refusal.message))),
        }
    });
    CreatePartitionsResponse::default().with_results(results.collect())
}

fn grow(cx: &Cx, asked: &CreatePartitionsTopic) -> Result<Op, Refusal> {
    let topic = cx.broker.find_topic(&asked.name, Uuid::nil())?;
    if topic.internal {
        let message = format!(
            "topic '{}' is internal: its partitions are fixed",
            topic.name
        );
        return Err(Refusal::new(ErrorCode::InvalidTopicException, message));
    }
    check(asked, topic.partitions)?;
    Ok(Op::CreatePartitions {
        id: topic.id,
        total: asked.count,
    })
}

fn check(asked: &CreatePartitionsTopic, now: i32) -> Result<(), Refusal> {
    let invalid = |message: String| Err(Refusal::new(ErrorCode::InvalidPartitions, message));
    let total = asked.count;
    if total < now {
        return invalid(format!(
            "The topic {} currently has {now} partition(s); {total} would not be an increase.",
            asked.name.as_str()
        ));
    }
    if total == now {
        return invalid(format!("Topic already has {now} partition(s)."));
    }
    if total > MAX_PARTITIONS {
        return invalid(format!(
            "A topic may have at most {MAX_PARTITIONS} partitions."
        ));
    }
    let Some(assignments) = &asked.assignments else {
        return Ok(());
    };
    let ours = assignments
        .iter()
        .all(|assignment| assignment.broker_ids.iter().map(|id| id.0).eq([NODE_ID]));
    if assignments.len() as i32 != total - now || !ours {
        let message = format!(
            "each of the {} new partitions takes broker {NODE_ID}, the only one",
            total - now
        );
        return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
    }
    Ok(())
}
