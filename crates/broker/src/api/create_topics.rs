//! CreateTopics (19): topics with partitions and configuration, answered when they can be written. All that can be created
//! become durable in one frame.
//!
//! There is one node. A replication factor above 1 is taken, so that scripts written for clusters run unchanged; the
//! topic is created with one replica, describe says so, and the log warns. Everything else that cannot be done is
//! refused per topic, with Kafka's code and a text.

use std::collections::{BTreeMap, HashMap};

use lw_protocol::ErrorCode;
use lw_protocol::StrBytes;
use lw_protocol::messages::create_topics_request::CreatableTopic;
use lw_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use lw_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};
use lw_storage::settings::{SETTINGS, value};
use uuid::Uuid;

use super::Cx;
use crate::NODE_ID;
use crate::topics::{NewTopic, Refusal, check_new_topic};

pub(crate) async fn handle(cx: Cx, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let mut times = HashMap::new();
    for topic in &request.topics {
        *times.entry(topic.name.clone()).or_insert(0) += 1;
    }
    let mut changes = cx.broker.begin_changes().await;
    let mut taken = cx.broker.taken_names();
    let mut outcomes = Vec::with_capacity(times.len());
    for asked in &request.topics {
        let outcome = match times.remove(&asked.name) {
            Some(1) => new_topic(asked, cx.broker.config.default_partitions).and_then(|topic| {
                check_new_topic(&topic, &taken)?;
                taken.insert(&topic.name);
                let id = match request.validate_only {
                    true => Uuid::nil(),
                    false => changes.create(&topic),
                };
                Ok((topic, id))
            }),
            // Named twice: one answer for all of them.
            Some(_) => Err(Refusal::new(
                ErrorCode::InvalidRequest,
                "Duplicate topic name.",
            )),
            None => continue,
        };
        outcomes.push((asked, outcome));
    }
    let committed = changes.commit().await.map_err(Refusal::from);
    let results = outcomes.into_iter().map(|(asked, outcome)| {
        match outcome.and_then(|topic| committed.clone().map(|()| topic)) {
            Ok((topic, id)) => {
                warn_of_replicas(asked, request.validate_only);
                created(asked, &topic, id)
            }
            Err(refusal) => failed(asked, refusal),
        }
    });
    CreateTopicsResponse::default().with_topics(results.collect())
}

fn warn_of_replicas(asked: &CreatableTopic, validate_only: bool) {
    if asked.replication_factor > 1 && !validate_only {
        let (topic, asked) = (asked.name.as_str(), asked.replication_factor);
        tracing::warn!(
            topic,
            asked,
            "created with replication factor 1: there is one node"
        );
    }
}

/// Partitions and configuration asked for; the name and the values are checked by whoever creates.
fn new_topic(asked: &CreatableTopic, default_partitions: i32) -> Result<NewTopic, Refusal> {
    let mut config = BTreeMap::new();
    for entry in &asked.configs {
        let Some(value) = &entry.value else {
            let message = format!("Null value not supported for topic configs: {}", entry.name);
            return Err(Refusal::new(ErrorCode::InvalidConfig, message));
        };
        config.insert(entry.name.to_string(), value.to_string());
    }
    let partitions = match asked.assignments.is_empty() {
        true => asked_partitions(asked, default_partitions)?,
        false => assigned_partitions(asked)?,
    };
    Ok(NewTopic {
        name: asked.name.to_string(),
        partitions,
        config,
    })
}

fn asked_partitions(asked: &CreatableTopic, default_partitions: i32) -> Result<i32, Refusal> {
    if asked.replication_factor == 0 || asked.replication_factor < -1 {
        let message = "Replication factor must be larger than 0, or -1 to use the default value.";
        return Err(Refusal::new(ErrorCode::InvalidReplicationFactor, message));
    }
    Ok(if asked.num_partitions == -1 {
        default_partitions
    } else {
        asked.num_partitions
    })
}

/// A manual assignment may only name this node, and must name every partition from 0 on.
fn assigned_partitions(asked: &CreatableTopic) -> Result<i32, Refusal> {
    for (given, what) in [
        (i32::from(asked.replication_factor), "replication factor"),
        (asked.num_partitions, "numPartitions"),
    ] {
        if given != -1 {
            let message = format!(
                "A manual partition assignment was specified, but {what} was not set to -1."
            );
            return Err(Refusal::new(ErrorCode::InvalidRequest, message));
        }
    }
    let invalid = |message: String| Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
    let mut indexes: Vec<i32> = asked
        .assignments
        .iter()
        .map(|assignment| assignment.partition_index)
        .collect();
    indexes.sort_unstable();
    if !indexes.iter().copied().eq(0..indexes.len() as i32) {
        return invalid("partitions should be a consecutive 0-based integer sequence".into());
    }
    for assignment in &asked.assignments {
        let nodes = &assignment.broker_ids;
        if let Some(other) = nodes.iter().find(|id| id.0 != NODE_ID) {
            let other = other.0;
            return invalid(format!(
                "The manual partition assignment includes broker {other}, but no such broker is registered."
            ));
        }
        if nodes.len() != 1 {
            let how = if nodes.is_empty() {
                "an empty replica list"
            } else {
                "the broker 1 more than once"
            };
            return invalid(format!("The manual partition assignment includes {how}."));
        }
    }
    Ok(indexes.len() as i32)
}

fn created(asked: &CreatableTopic, topic: &NewTopic, id: Uuid) -> CreatableTopicResult {
    let configs = SETTINGS.iter().map(|setting| {
        let own = topic.config.contains_key(setting.name);
        CreatableTopicConfigs::default()
            .with_name(StrBytes::from_static_str(setting.name))
            .with_value(Some(StrBytes::from_string(
                value(&topic.config, setting.name).into(),
            )))
            .with_config_source(if own { 1 } else { 5 })
    });
    CreatableTopicResult::default()
        .with_name(asked.name.clone())
        .with_topic_id(id)
        .with_error_message(None)
        .with_num_partitions(topic.partitions)
        .with_replication_factor(1)
        .with_configs(Some(configs.collect()))
}

fn failed(asked: &CreatableTopic, refusal: Refusal) -> CreatableTopicResult {
    CreatableTopicResult::default()
        .with_name(asked.name.clone())
        .with_error_code(refusal.code.code())
        .with_error_message(Some(StrBytes::from_string(refusal.message)))
        .with_num_partitions(-1)
        .with_replication_factor(-1)
}
