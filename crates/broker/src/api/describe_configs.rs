//! DescribeConfigs (32): every setting of a topic or of the broker, with where its value comes from.
//!
//! Connect, Streams, UIs and `kafka-configs` read all of them back, so all are there: what the topic set itself, and
//! Kafka's defaults for the rest. The broker's own settings are the few that it has; they are read only.

use lw_protocol::messages::describe_configs_request::DescribeConfigsResource;
use lw_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use lw_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use lw_protocol::{ErrorCode, StrBytes};
use lw_storage::Topic;
use lw_storage::settings::{Kind, SETTINGS, Setting};
use uuid::Uuid;

use super::Cx;
use crate::topics::Refusal;
use crate::{Broker, NODE_ID};

pub(super) const TOPIC: i8 = 2;
pub(super) const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
const FROM_TOPIC: i8 = 1;
const FROM_START: i8 = 4;
const FROM_DEFAULT: i8 = 5;

pub(crate) async fn handle(cx: Cx, request: DescribeConfigsRequest) -> DescribeConfigsResponse {
    let results = request.resources.iter().map(|asked| {
        let result = DescribeConfigsResult::default()
            .with_resource_type(asked.resource_type)
            .with_resource_name(asked.resource_name.clone());
        match describe(&cx, asked, request.include_synonyms) {
            Ok(mut configs) => {
                // No list and an empty one both ask for everything.
                if let Some(wanted) = asked
                    .configuration_keys
                    .as_ref()
                    .filter(|keys| !keys.is_empty())
                {
                    configs.retain(|config| wanted.contains(&config.name));
                }
                result.with_error_message(None).with_configs(configs)
            }
            Err(refusal) => result
                .with_error_code(refusal.code.code())
                .with_error_message(Some(StrBytes::from_string(refusal.message))),
        }
    });
    DescribeConfigsResponse::default().with_results(results.collect())
}

fn describe(
    cx: &Cx,
    asked: &DescribeConfigsResource,
    synonyms: bool,
) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    match asked.resource_type {
        TOPIC => {
            let topic = cx.broker.find_topic(&asked.resource_name, Uuid::nil())?;
            Ok(SETTINGS
                .iter()
                .map(|setting| topic_setting(&topic, setting, synonyms))
                .collect())
        }
        BROKER => {
            // The empty name asks for defaults of the whole cluster, which nobody can set here.
            if asked.resource_name.is_empty() {
                return Ok(Vec::new());
            }
            check_node(&asked.resource_name)?;
            Ok(broker_settings(&cx.broker))
        }
        BROKER_LOGGER => {
            check_node(&asked.resource_name)?;
            Ok(Vec::new())
        }
        other => {
            let message = format!("resource type {other} cannot be described");
            Err(Refusal::new(ErrorCode::InvalidRequest, message))
        }
    }
}

pub(super) fn check_node(name: &str) -> Result<(), Refusal> {
    match name.parse::<i32>() {
        Ok(NODE_ID) => Ok(()),
        _ => {
            let message = format!("Unexpected broker id, expected {NODE_ID}, but received {name}");
            Err(Refusal::new(ErrorCode::InvalidRequest, message))
        }
    }
}

fn topic_setting(
    topic: &Topic,
    setting: &Setting,
    synonyms: bool,
) -> DescribeConfigsResourceResult {
    let own = topic.config.given().get(setting.name).map(String::as_str);
    let mut result = DescribeConfigsResourceResult::default()
        .with_name(StrBytes::from_static_str(setting.name))
        .with_value(Some(text(own.unwrap_or(setting.default))))
        .with_config_source(if own.is_some() {
            FROM_TOPIC
        } else {
            FROM_DEFAULT
        })
        .with_config_type(setting.kind as i8)
        .with_documentation(None);
    if synonyms {
        let synonym = |name: &'static str, value: &str, source| {
            DescribeConfigsSynonym::default()
                .with_name(StrBytes::from_static_str(name))
                .with_value(Some(text(value)))
                .with_source(source)
        };
        result
            .synonyms
            .extend(own.map(|value| synonym(setting.name, value, FROM_TOPIC)));
        if !setting.broker_name.is_empty() {
            result
                .synonyms
                .push(synonym(setting.broker_name, setting.default, FROM_DEFAULT));
        }
    }
    result
}

fn broker_settings(broker: &Broker) -> Vec<DescribeConfigsResourceResult> {
    let config = &broker.config;
    let started = |name: &'static str, kind: Kind, value: String| (name, kind, value, FROM_START);
    let own = [
        started(
            "auto.create.topics.enable",
            Kind::Boolean,
            config.auto_create_topics.to_string(),
        ),
        started("broker.id", Kind::Int, NODE_ID.to_string()),
        started(
            "connections.max.idle.ms",
            Kind::Long,
            config.max_idle.as_millis().to_string(),
        ),
        started("default.replication.factor", Kind::Int, "1".into()),
        started("delete.topic.enable", Kind::Boolean, "true".into()),
        started(
            "fetch.max.bytes",
            Kind::Int,
            config.max_fetch_bytes.to_string(),
        ),
        started("log.dirs", Kind::String, config.log_dir.clone()),
        started("node.id", Kind::Int, NODE_ID.to_string()),
        started(
            "num.partitions",
            Kind::Int,
            config.default_partitions.to_string(),
        ),
        started("offsets.topic.replication.factor", Kind::Int, "1".into()),
        started(
            "socket.request.max.bytes",
            Kind::Int,
            config.max_request_bytes.to_string(),
        ),
    ];
    let defaults = SETTINGS
        .iter()
        .filter(|setting| !setting.broker_name.is_empty());
    let defaults = defaults.map(|setting| {
        (
            setting.broker_name,
            setting.kind,
            setting.default.to_owned(),
            FROM_DEFAULT,
        )
    });
    own.into_iter()
        .chain(defaults)
        .map(|(name, kind, value, source)| {
            DescribeConfigsResourceResult::default()
                .with_name(StrBytes::from_static_str(name))
                .with_value(Some(StrBytes::from_string(value)))
                .with_read_only(true)
                .with_config_source(source)
                .with_config_type(kind as i8)
                .with_documentation(None)
        })
        .collect()
}

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}
