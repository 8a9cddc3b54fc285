//! DeleteTopics (20): topics gone, with their records, by name or (version 6) by id.
//!
//! Durable when it is answered. A topic created later under the same name has another id, so that whoever still speaks
//! the old id is told UNKNOWN_TOPIC_ID instead of reading someone else's records.

use lw_protocol::messages::delete_topics_request::DeleteTopicState;
use lw_protocol::messages::delete_topics_response::DeletableTopicResult;
use lw_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse, TopicName};
use lw_protocol::{ErrorCode, StrBytes};
use lw_storage::Op;

use super::Cx;
use crate::topics::Refusal;

pub(crate) async fn handle(cx: Cx, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    // Before version 6 topics come as plain names.
    let named = request
        .topic_names
        .into_iter()
        .map(|name| DeleteTopicState::default().with_name(Some(name)));
    let mut results = Vec::new();
    for asked in request.topics.into_iter().chain(named) {
        let result = DeletableTopicResult::default()
            .with_name(asked.name.clone())
            .with_topic_id(asked.topic_id);
        results.push(match delete(&cx, &asked).await {
            Ok((name, id)) => result
                .with_name(Some(TopicName(StrBytes::from_string(name))))
                .with_topic_id(id),
            Err(refusal) => result
                .with_error_code(refusal.code.code())
                .with_error_message(Some(StrBytes::from_string(refusal.message))),
        });
    }
    DeleteTopicsResponse::default().with_responses(results)
}

async fn delete(cx: &Cx, asked: &DeleteTopicState) -> Result<(String, uuid::Uuid), Refusal> {
    let name = asked.name.as_ref().map_or("", |name| name.as_str());
    if !name.is_empty() && !asked.topic_id.is_nil() {
        return Err(Refusal::new(
            ErrorCode::InvalidRequest,
            "You may not specify both topic name and topic id.",
        ));
    }
    let _changes = cx.broker.topic_changes.lock().await;
    let topic = cx.broker.find_topic(name, asked.topic_id)?;
    if topic.internal {
        let message = format!("topic '{}' is internal and cannot be deleted", topic.name);
        return Err(Refusal::new(ErrorCode::InvalidTopicException, message));
    }
    cx.broker
        .commit(vec![Op::DeleteTopic { id: topic.id }])
        .await?;
    cx.broker.groups.topic_deleted(topic.id);
    tracing::info!(topic = %topic.name, client = ?cx.client_id, "deleted a topic");
    Ok((topic.name.clone(), topic.id))
}
