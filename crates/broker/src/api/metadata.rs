//! Metadata (3): where topics live. Every client asks it first and again when something fails.
//!
//! The one broker is named by the address that this client dialled. Asking for an unknown topic creates it when the
//! client allows it (always before version 4, which could not say); the reply then already names the new partitions,
//! because creation is durable before it is answered.

use lw_protocol::ErrorCode;
use lw_protocol::StrBytes;
use lw_protocol::messages::metadata_request::MetadataRequestTopic;
use lw_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use lw_protocol::messages::{BrokerId, MetadataRequest, MetadataResponse, TopicName};
use lw_storage::Topic;

use super::Cx;
use crate::topics::{CLUSTER_OPERATIONS, NewTopic, TOPIC_OPERATIONS, check_name};
use crate::{LEADER_EPOCH, NODE_ID};

pub(crate) async fn handle(cx: Cx, request: MetadataRequest) -> MetadataResponse {
    let mut topics = Vec::new();
    match &request.topics {
        // Version 0 cannot say "none"; its empty list means all.
        Some(asked) if cx.version > 0 || !asked.is_empty() => {
            for topic in asked {
                topics.push(describe_asked(&cx, &request, topic).await);
            }
        }
        _ => topics.extend(
            cx.broker
                .storage
                .topics()
                .iter()
                .map(|topic| describe(topic)),
        ),
    }
    if request.include_topic_authorized_operations {
        for topic in &mut topics {
            topic.topic_authorized_operations = TOPIC_OPERATIONS;
        }
    }
    let broker = MetadataResponseBroker::default()
        .with_node_id(BrokerId(NODE_ID))
        .with_host(cx.endpoint.host.clone())
        .with_port(cx.endpoint.port);
    let mut response = MetadataResponse::default()
        .with_brokers(vec![broker])
        .with_cluster_id(Some(StrBytes::from_string(cx.broker.storage.cluster_id())))
        .with_controller_id(BrokerId(NODE_ID))
        .with_topics(topics);
    if request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    response
}

async fn describe_asked(
    cx: &Cx,
    request: &MetadataRequest,
    asked: &MetadataRequestTopic,
) -> MetadataResponseTopic {
    let name = asked.name.clone();
    match cx
        .broker
        .find_topic(name.as_deref().map_or("", |name| name), asked.topic_id)
    {
        Ok(topic) => return describe(&topic),
        Err(code) if !asked.topic_id.is_nil() => return absent(cx, asked, code),
        Err(_) => {}
    }
    let name = name.unwrap_or_default();
    if let Err(refusal) = check_name(&name) {
        return absent(cx, asked, refusal.code);
    }
    let may_create = cx.broker.config.auto_create_topics
        && (cx.version < 4 || request.allow_auto_topic_creation);
    if !may_create {
        return absent(cx, asked, ErrorCode::UnknownTopicOrPartition);
    }
    let partitions = cx.broker.config.default_partitions;
    let topic = NewTopic {
        name: name.to_string(),
        partitions,
        config: Default::default(),
    };
    match cx.broker.create_topic(topic).await {
        Ok(topic) => {
            tracing::info!(topic = %topic.name, partitions, client = ?cx.client_id, "created a topic that was asked for");
            describe(&topic)
        }
        // Two clients asked at once: the other's is as good.
        Err(refusal) if refusal.code == ErrorCode::TopicAlreadyExists => {
            match cx.broker.storage.topic(&name) {
                Some(topic) => describe(&topic),
                None => absent(cx, asked, ErrorCode::UnknownTopicOrPartition),
            }
        }
        Err(refusal) => absent(cx, asked, refusal.code),
    }
}

fn absent(cx: &Cx, asked: &MetadataRequestTopic, code: ErrorCode) -> MetadataResponseTopic {
    // Before version 12 a name cannot be null, not even beside an id that nobody knows.
    let name = asked
        .name
        .clone()
        .or((cx.version < 12).then(TopicName::default));
    MetadataResponseTopic::default()
        .with_error_code(code.code())
        .with_name(name)
        .with_topic_id(asked.topic_id)
}

fn describe(topic: &Topic) -> MetadataResponseTopic {
    let partitions = (0..topic.partitions).map(|index| {
        MetadataResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(BrokerId(NODE_ID))
            .with_leader_epoch(LEADER_EPOCH)
            .with_replica_nodes(vec![BrokerId(NODE_ID)])
            .with_isr_nodes(vec![BrokerId(NODE_ID)])
    });
    MetadataResponseTopic::default()
        .with_name(Some(TopicName(StrBytes::from_string(topic.name.clone()))))
        .with_topic_id(topic.id)
        .with_is_internal(topic.internal)
        .with_partitions(partitions.collect())
}
