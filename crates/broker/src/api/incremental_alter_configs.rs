//! IncrementalAlterConfigs (44): single settings of a topic set, removed, or (lists) extended.
//!
//! The whole configuration is read, changed and stored under one lock, so that two clients that change different
//! settings at once both succeed.

use std::collections::{BTreeMap, BTreeSet};

use lw_protocol::messages::incremental_alter_configs_request::AlterableConfig;
use lw_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use lw_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};
use lw_protocol::{ErrorCode, StrBytes};
use lw_storage::settings::{self, Kind};
use lw_storage::{Op, TopicConfig};
use uuid::Uuid;

use super::Cx;
use super::describe_configs::{BROKER, TOPIC};
use crate::topics::{Changes, Refusal};

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

pub(crate) async fn handle(
    cx: Cx,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let validate_only = request.validate_only;
    let mut alterations = Alterations::begin(&cx).await;
    for resource in &request.resources {
        let change = |config| changed(config, &resource.configs);
        alterations.add(resource.resource_type, &resource.resource_name, change);
    }
    let outcomes = alterations.end(validate_only).await;
    let responses = request.resources.iter().zip(outcomes);
    let responses = responses.map(|(resource, outcome)| {
        answered(
            resource.resource_type,
            resource.resource_name.clone(),
            outcome,
        )
    });
    IncrementalAlterConfigsResponse::default().with_responses(responses.collect())
}

fn answered(
    resource_type: i8,
    name: StrBytes,
    outcome: Result<(), Refusal>,
) -> AlterConfigsResourceResponse {
    let response = AlterConfigsResourceResponse::default()
        .with_resource_type(resource_type)
        .with_resource_name(name);
    match outcome {
        Ok(()) => response.with_error_message(None),
        Err(refusal) => response
            .with_error_code(refusal.code.code())
            .with_error_message(Some(StrBytes::from_string(refusal.message))),
    }
}

/// Changed configurations of topics, all of which become durable in one frame.
pub(super) struct Alterations<'a> {
    cx: &'a Cx,
    changes: Changes,
    /// Configurations as the ones before in this request leave them.
    configs: BTreeMap<Uuid, BTreeMap<String, String>>,
    outcomes: Vec<Result<(), Refusal>>,
}

impl<'a> Alterations<'a> {
    pub(super) async fn begin(cx: &'a Cx) -> Alterations<'a> {
        Alterations {
            cx,
            changes: cx.broker.begin_changes().await,
            configs: BTreeMap::new(),
            outcomes: Vec::new(),
        }
    }

    /// Changes a topic's configuration as a whole; `change` turns the old one into the new one.
    pub(super) fn add(
        &mut self,
        resource_type: i8,
        name: &str,
        change: impl FnOnce(BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Refusal>,
    ) {
        let outcome = self.try_add(resource_type, name, change);
        self.outcomes.push(outcome);
    }

    fn try_add(
        &mut self,
        resource_type: i8,
        name: &str,
        change: impl FnOnce(BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Refusal>,
    ) -> Result<(), Refusal> {
        if resource_type == BROKER {
            let message = "the broker's settings are fixed at its start; set them in lakeward.toml";
            return Err(Refusal::new(ErrorCode::InvalidRequest, message));
        }
        if resource_type != TOPIC {
            let message = format!("resource type {resource_type} cannot be altered");
            return Err(Refusal::new(ErrorCode::InvalidRequest, message));
        }
        let topic = self
            .cx
            .broker
            .find_topic(name, Uuid::nil())
            .map_err(|code| Refusal::new(code, format!("The topic '{name}' does not exist.")))?;
        if topic.internal {
            let message = format!("topic '{name}' is internal: its configuration is fixed");
            return Err(Refusal::new(ErrorCode::InvalidTopicException, message));
        }
        let old = self.configs.get(&topic.id);
        let old = old.unwrap_or(topic.config.given());
        let config = change(old.clone())?;
        TopicConfig::parse(config.clone())?;
        self.configs.insert(topic.id, config);
        Ok(())
    }

    /// What became of each, in the order in which they were added.
    pub(super) async fn end(mut self, validate_only: bool) -> Vec<Result<(), Refusal>> {
        for (id, config) in self.configs {
            let topic = self.cx.broker.storage.topic_by_id(id);
            let differs = topic.is_some_and(|topic| *topic.config.given() != config);
            if differs && !validate_only {
                self.changes.push(Op::AlterConfig { id, config });
            }
        }
        let committed = self.changes.commit().await.map_err(Refusal::from);
        let outcomes = self.outcomes.into_iter();
        outcomes
            .map(|outcome| outcome.and_then(|()| committed.clone()))
            .collect()
    }
}

fn changed(
    mut config: BTreeMap<String, String>,
    changes: &[AlterableConfig],
) -> Result<BTreeMap<String, String>, Refusal> {
    let mut names = BTreeSet::new();
    if !changes
        .iter()
        .all(|change| names.insert(change.name.as_str()))
    {
        let message = "Error due to duplicate config keys";
        return Err(Refusal::new(ErrorCode::InvalidRequest, message));
    }
    for change in changes {
        let name = change.name.as_str();
        let given = change.value.as_ref().map(|value| value.as_str());
        let value = match (change.config_operation, given) {
            (DELETE, _) => {
                config.remove(name);
                continue;
            }
            (SET, Some(value)) => value.to_owned(),
            (operation @ (APPEND | SUBTRACT), Some(value)) => {
                if settings::find(name).is_some_and(|setting| setting.kind != Kind::List) {
                    let verb = if operation == APPEND {
                        "APPEND"
                    } else {
                        "SUBTRACT"
                    };
                    let message =
                        format!("Can't {verb} to key {name} because its type is not LIST.");
                    return Err(Refusal::new(ErrorCode::InvalidConfig, message));
                }
                edit_list(settings::value(&config, name), value, operation == APPEND)
            }
            (_, None) => {
                let message = format!("Null value not supported for config: {name}");
                return Err(Refusal::new(ErrorCode::InvalidRequest, message));
            }
            (operation, _) => {
                let message = format!("unknown operation {operation} on config {name}");
                return Err(Refusal::new(ErrorCode::InvalidRequest, message));
            }
        };
        config.insert(name.to_owned(), value);
    }
    Ok(config)
}

/// A comma-separated list with the words of another added or taken away.
fn edit_list(list: &str, words: &str, add: bool) -> String {
    let mut list: Vec<&str> = list.split(',').filter(|word| !word.is_empty()).collect();
    for word in words.split(',').map(str::trim) {
        list.retain(|present| *present != word);
        if add {
            list.push(word);
        }
    }
    list.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_grow_and_shrink_without_repeats() {
        assert_eq!(edit_list("a,b", "b,c", true), "a,b,c");
        assert_eq!(edit_list("a,b", "a", false), "b");
        assert_eq!(edit_list("", "a", true), "a");
    }

    #[test]
    fn only_lists_can_be_extended() {
        let append = AlterableConfig::default()
            .with_name(StrBytes::from_static_str("retention.ms"))
            .with_config_operation(APPEND)
            .with_value(Some(StrBytes::from_static_str("1")));
        let refusal = changed(BTreeMap::new(), &[append]).unwrap_err();
        assert_eq!(
            refusal.message,
            "Can't APPEND to key retention.ms because its type is not LIST."
        );
    }
}
