//! DeleteTopics (20): topics gone, with their records, by name or (version 6) by id.
//!
//! Durable when it is answered, all of them in one frame. A topic created later under the same name has another id, so that whoever still speaks
//! the old id is told UNKNOWN_TOPIC_ID instead of reading someone else's records.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lw_protocol::messages::delete_topics_request::DeleteTopicState;
use lw_protocol::messages::delete_topics_response::DeletableTopicResult;
use lw_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse, TopicName};
use lw_protocol::{ErrorCode, StrBytes};
use lw_storage::{Op, Topic};
use uuid::Uuid;

use super::Cx;
use crate::topics::Refusal;

pub(crate) async fn handle(cx: Cx, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    // Before version 6 topics come as plain names.
    let named = request
        .topic_names
        .into_iter()
        .map(|name| DeleteTopicState::default().with_name(Some(name)));
    let mut changes = cx.broker.begin_changes().await;
    let mut deleting = BTreeSet::new();
    let mut outcomes = Vec::new();
    let asked: Vec<_> = request.topics.into_iter().chain(named).collect();
    let mut times = BTreeMap::new();
    for asked in &asked {
        *times
            .entry((asked.name.clone(), asked.topic_id))
            .or_insert(0) += 1;
    }
    for asked in asked {
        let outcome = match times.remove(&(asked.name.clone(), asked.topic_id)) {
            Some(1) => find(&cx, &asked, &deleting),
            // Named twice: one answer for all of them.
            Some(_) => Err(Refusal::new(
                ErrorCode::InvalidRequest,
                "Duplicate topic name or id.",
            )),
            None => continue,
        };
        if let Ok(topic) = &outcome {
            deleting.insert(topic.id);
            changes.push(Op::DeleteTopic { id: topic.id });
        }
        outcomes.push((asked, outcome));
    }
    let committed = changes.commit().await.map_err(Refusal::from);
    let results = outcomes.into_iter().map(|(asked, outcome)| {
        let result = DeletableTopicResult::default()
            .with_name(asked.name)
            .with_topic_id(asked.topic_id);
        match outcome.and_then(|topic| committed.clone().map(|()| topic)) {
            Ok(topic) => {
                tracing::info!(topic = %topic.name, client = ?cx.client_id, "deleted a topic");
                let name = StrBytes::from_string(topic.name.clone());
                result
                    .with_name(Some(TopicName(name)))
                    .with_topic_id(topic.id)
            }
            Err(refusal) => result
                .with_error_code(refusal.code.code())
                .with_error_message(Some(StrBytes::from_string(refusal.message))),
        }
    });
    DeleteTopicsResponse::default().with_responses(results.collect())
}

/// A topic that may be deleted, and is not among those that are.
fn find(
    cx: &Cx,
    asked: &DeleteTopicState,
    deleting: &BTreeSet<Uuid>,
) -> Result<Arc<Topic>, Refusal> {
    let name = asked.name.as_ref().map_or("", |name| name.as_str());
    if !name.is_empty() && !asked.topic_id.is_nil() {
        return Err(Refusal::new(
            ErrorCode::InvalidRequest,
            "You may not specify both topic name and topic id.",
        ));
    }
    let topic = cx.broker.find_topic(name, asked.topic_id)?;
    if topic.internal {
        let message = format!("topic '{}' is internal and cannot be deleted", topic.name);
        return Err(Refusal::new(ErrorCode::InvalidTopicException, message));
    }
    if deleting.contains(&topic.id) {
        return Err(Refusal::new(
            ErrorCode::InvalidRequest,
            "The topic was named before, by its name or by its id.",
        ));
    }
    Ok(topic)
}
