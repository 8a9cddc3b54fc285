//! A small blocking Kafka client: what the command line, the demo's producer and a pipeline over another cluster ask of a
//! broker, and no more.
//!
//! It speaks the newest version that both sides know, reconnects never, retries nothing, and follows partition leaders:
//! produce and fetch go to the broker that leads, group calls to the coordinator. It is not a consumer (no group
//! membership: the caller keeps the offsets) and not a batching producer: the caller builds batches.
//!
//! Read first: [`Client`], all of whose calls block the thread; no server may call it where it serves others. (A pipeline's
//! source has a thread of its own.)
//!
//! Invariants: no reply is read into memory beyond a fixed bound, and memory comes as its bytes do, not as they are declared.
//! The tests against a broker are that one's (`crates/broker/tests/it/client.rs`).
//!
//! Layer L1: uses `protocol`; std sockets.

mod admin;
mod connection;
mod fetch;

use std::collections::HashMap;
use std::fmt::Display;
use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes};
use lw_protocol::batch::{Batch, BatchError};
use lw_protocol::frame::FrameError;
use lw_protocol::messages::*;
use lw_protocol::{Decodable, ErrorCode, StrBytes};
use uuid::Uuid;

use crate::connection::Connection;

pub use fetch::{FETCH_BYTES, Fetched};

const TIMEOUT: Duration = Duration::from_secs(30);

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("cannot connect to {address}: {source}")]
    Connect { address: String, source: io::Error },
    #[error("{address} closed the connection or does not speak Kafka: {source}")]
    Io { address: String, source: io::Error },
    #[error("the broker does not serve {api:?} in a version that we know")]
    Unsupported { api: ApiKey },
    #[error("the broker's reply cannot be read: {0}")]
    Reply(#[from] FrameError),
    #[error("{what}: {code}{}", detail.as_deref().map_or(String::new(), |text| format!(" ({text})")))]
    Refused {
        what: String,
        code: ErrorCode,
        detail: Option<String>,
    },
    #[error("{0}")]
    Batch(#[from] BatchError),
}

/// One topic as Metadata tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicInfo {
    pub name: String,
    /// Nil when the broker is too old to have ids.
    pub id: Uuid,
    pub internal: bool,
    /// By partition: its leader's node id.
    pub partitions: Vec<PartitionInfo>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionInfo {
    pub index: i32,
    pub leader: i32,
    pub replicas: Vec<i32>,
    pub in_sync: Vec<i32>,
}

/// A topic's setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    pub name: String,
    pub value: Option<String>,
    pub is_default: bool,
}

/// A consumer group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupInfo {
    pub id: String,
    pub state: String,
    pub protocol_type: String,
    pub protocol: String,
    pub members: Vec<MemberInfo>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberInfo {
    pub id: String,
    pub client_id: String,
    pub host: String,
    pub assignment: Vec<(String, Vec<i32>)>,
}

/// Connections to a cluster.
pub struct Client {
    bootstrap: String,
    connections: HashMap<String, Connection>,
    /// Where each node is, from the last metadata.
    nodes: HashMap<i32, String>,
    /// Where each partition is, from the last metadata.
    topics: HashMap<String, TopicInfo>,
}

impl Client {
    /// Connects to the first of the comma-separated addresses that answers.
    ///
    /// # Errors
    /// When none does; the error is the last one's.
    pub fn connect(bootstrap: &str) -> Result<Client, ClientError> {
        let mut last = None;
        for address in bootstrap
            .split(',')
            .map(str::trim)
            .filter(|address| !address.is_empty())
        {
            match Connection::open(address) {
                Ok(connection) => {
                    return Ok(Client {
                        bootstrap: address.to_owned(),
                        connections: HashMap::from([(address.to_owned(), connection)]),
                        nodes: HashMap::new(),
                        topics: HashMap::new(),
                    });
                }
                Err(error) => last = Some(error),
            }
        }
        let source = io::Error::new(io::ErrorKind::InvalidInput, "no address given");
        Err(last.unwrap_or(ClientError::Connect {
            address: bootstrap.to_owned(),
            source,
        }))
    }

    /// All topics, or those named. Never creates one.
    pub fn topics(&mut self, names: Option<&[&str]>) -> Result<Vec<TopicInfo>, ClientError> {
        let topics = names.map(|names| {
            let topic = |name: &&str| {
                metadata_request::MetadataRequestTopic::default().with_name(Some(topic_name(name)))
            };
            names.iter().map(topic).collect()
        });
        let request = MetadataRequest::default()
            .with_topics(topics)
            .with_allow_auto_topic_creation(false);
        let reply = self.bootstrap()?.call(&request)?;
        for broker in &reply.brokers {
            self.nodes
                .insert(broker.node_id.0, address(&broker.host, broker.port));
        }
        let mut found = Vec::with_capacity(reply.topics.len());
        for topic in reply.topics {
            let name = topic
                .name
                .as_ref()
                .map(|name| name.to_string())
                .unwrap_or_default();
            refused(topic.error_code, None, || format!("topic '{name}'"))?;
            let mut partitions: Vec<PartitionInfo> = topic
                .partitions
                .iter()
                .map(|partition| PartitionInfo {
                    index: partition.partition_index,
                    leader: partition.leader_id.0,
                    replicas: partition.replica_nodes.iter().map(|node| node.0).collect(),
                    in_sync: partition.isr_nodes.iter().map(|node| node.0).collect(),
                })
                .collect();
            partitions.sort_by_key(|partition| partition.index);
            let info = TopicInfo {
                name: name.clone(),
                id: topic.topic_id,
                internal: topic.is_internal,
                partitions,
            };
            self.topics.insert(name, info.clone());
            found.push(info);
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// Creates a topic; −1 takes the broker's default count or factor.
    pub fn create_topic(
        &mut self,
        name: &str,
        partitions: i32,
        replication_factor: i16,
        config: &[(String, String)],
    ) -> Result<(), ClientError> {
        let configs = config.iter().map(|(name, value)| {
            create_topics_request::CreatableTopicConfig::default()
                .with_name(text(name))
                .with_value(Some(text(value)))
        });
        let topic = create_topics_request::CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(partitions)
            .with_replication_factor(replication_factor)
            .with_configs(configs.collect());
        let request = CreateTopicsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(timeout_ms());
        let reply = self.controller()?.call(&request)?;
        for topic in reply.topics {
            refused(topic.error_code, topic.error_message.as_ref(), || {
                format!("creating topic '{name}'")
            })?;
        }
        Ok(())
    }

    pub fn delete_topic(&mut self, name: &str) -> Result<(), ClientError> {
        let request = DeleteTopicsRequest::default()
            .with_topics(vec![
                delete_topics_request::DeleteTopicState::default()
                    .with_name(Some(topic_name(name))),
            ])
            .with_topic_names(vec![topic_name(name)])
            .with_timeout_ms(timeout_ms());
        let controller = self.controller()?;
        // Topics moved from one field to another at version 6; only one of them may be filled.
        let version = controller.version_of::<DeleteTopicsRequest>()?;
        let request = match version {
            ..6 => request.with_topics(Vec::new()),
            _ => request.with_topic_names(Vec::new()),
        };
        for topic in controller.call(&request)?.responses {
            refused(topic.error_code, topic.error_message.as_ref(), || {
                format!("deleting topic '{name}'")
            })?;
        }
        self.topics.remove(name);
        Ok(())
    }

    /// A topic's settings, defaults included.
    pub fn topic_config(&mut self, name: &str) -> Result<Vec<ConfigEntry>, ClientError> {
        const TOPIC: i8 = 2;
        const DEFAULT_CONFIG: i8 = 5;
        let resource = describe_configs_request::DescribeConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text(name))
            .with_configuration_keys(None);
        let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
        let mut entries = Vec::new();
        for result in self.bootstrap()?.call(&request)?.results {
            refused(result.error_code, result.error_message.as_ref(), || {
                format!("describing topic '{name}'")
            })?;
            entries.extend(result.configs.into_iter().map(|config| ConfigEntry {
                name: config.name.to_string(),
                value: config.value.map(|value| value.to_string()),
                is_default: config.config_source == DEFAULT_CONFIG,
            }));
        }
        Ok(entries)
    }

    /// Offset of each partition at `timestamp`: −1 for the end, −2 for the start.
    pub fn list_offsets(
        &mut self,
        topic: &str,
        timestamp: i64,
    ) -> Result<Vec<(i32, i64)>, ClientError> {
        self.offsets_at(topic, timestamp, 0)
    }

    /// Up to where each partition can be read: its end, or where an open transaction begins.
    pub fn stable_ends(&mut self, topic: &str) -> Result<Vec<(i32, i64)>, ClientError> {
        self.offsets_at(topic, -1, fetch::READ_COMMITTED)
    }

    fn offsets_at(
        &mut self,
        topic: &str,
        timestamp: i64,
        isolation: i8,
    ) -> Result<Vec<(i32, i64)>, ClientError> {
        let info = self.topic(topic)?;
        let mut by_leader: HashMap<i32, Vec<i32>> = HashMap::new();
        for partition in &info.partitions {
            by_leader
                .entry(partition.leader)
                .or_default()
                .push(partition.index);
        }
        let mut offsets = Vec::with_capacity(info.partitions.len());
        for (leader, partitions) in by_leader {
            let asked = partitions.into_iter().map(|index| {
                list_offsets_request::ListOffsetsPartition::default()
                    .with_partition_index(index)
                    .with_current_leader_epoch(-1)
                    .with_timestamp(timestamp)
            });
            let asked = list_offsets_request::ListOffsetsTopic::default()
                .with_name(topic_name(topic))
                .with_partitions(asked.collect());
            let request = ListOffsetsRequest::default()
                .with_replica_id(BrokerId(-1))
                .with_isolation_level(isolation)
                .with_topics(vec![asked]);
            for partition in self
                .node(leader)?
                .call(&request)?
                .topics
                .into_iter()
                .flat_map(|topic| topic.partitions)
            {
                let index = partition.partition_index;
                refused(partition.error_code, None, || {
                    format!("offsets of '{topic}' {index}")
                })?;
                offsets.push((index, partition.offset));
            }
        }
        offsets.sort_unstable();
        Ok(offsets)
    }

    /// Asks for a producer id and its epoch, for idempotent batches.
    pub fn init_producer(&mut self) -> Result<(i64, i16), ClientError> {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(timeout_ms())
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        let reply = self.bootstrap()?.call(&request)?;
        refused(reply.error_code, None, || "asking for a producer id".into())?;
        Ok((reply.producer_id.0, reply.producer_epoch))
    }

    /// Sends one batch with acks=all; the offset of its first record.
    pub fn produce(
        &mut self,
        topic: &str,
        partition: i32,
        batch: &Batch,
    ) -> Result<i64, ClientError> {
        let info = self.topic(topic)?;
        let leader = leader(&info, partition)?;
        let data = produce_request::PartitionProduceData::default()
            .with_index(partition)
            .with_records(Some(batch.bytes().clone()));
        let data = produce_request::TopicProduceData::default()
            .with_name(topic_name(topic))
            .with_topic_id(info.id)
            .with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_acks(-1)
            .with_timeout_ms(timeout_ms())
            .with_topic_data(vec![data]);
        // Topics are named by id from version 13 on, which needs a broker that gave one.
        let newest = if info.id.is_nil() { 12 } else { i16::MAX };
        let reply = self.node(leader)?.call_up_to(&request, newest)?;
        let mut partitions = reply
            .responses
            .into_iter()
            .flat_map(|topic| topic.partition_responses);
        let reply = partitions
            .next()
            .ok_or_else(|| missing("the partition that was produced to"))?;
        refused(reply.error_code, reply.error_message.as_ref(), || {
            format!("producing to '{topic}' {partition}")
        })?;
        Ok(reply.base_offset)
    }

    /// Ids of all groups, of all brokers.
    pub fn groups(&mut self) -> Result<Vec<String>, ClientError> {
        self.topics(Some(&[]))?;
        let mut ids = Vec::new();
        let nodes: Vec<i32> = self.nodes.keys().copied().collect();
        for node in nodes {
            let reply = self.node(node)?.call(&ListGroupsRequest::default())?;
            refused(reply.error_code, None, || "listing groups".into())?;
            ids.extend(
                reply
                    .groups
                    .into_iter()
                    .map(|group| group.group_id.to_string()),
            );
        }
        ids.sort_unstable();
        Ok(ids)
    }

    pub fn describe_group(&mut self, group: &str) -> Result<GroupInfo, ClientError> {
        let request = DescribeGroupsRequest::default().with_groups(vec![GroupId(text(group))]);
        let reply = self.coordinator(group)?.call(&request)?;
        let group_info = reply
            .groups
            .into_iter()
            .next()
            .ok_or_else(|| missing("the group that was described"))?;
        let what = || format!("describing group '{group}'");
        refused(
            group_info.error_code,
            group_info.error_message.as_ref(),
            what,
        )?;
        let members = group_info.members.into_iter().map(|member| MemberInfo {
            id: member.member_id.to_string(),
            client_id: member.client_id.to_string(),
            host: member.client_host.to_string(),
            assignment: assignment(member.member_assignment),
        });
        Ok(GroupInfo {
            id: group.to_owned(),
            state: group_info.group_state.to_string(),
            protocol_type: group_info.protocol_type.to_string(),
            protocol: group_info.protocol_data.to_string(),
            members: members.collect(),
        })
    }

    /// Everything that the group committed: topic, partition, offset.
    pub fn committed_offsets(
        &mut self,
        group: &str,
    ) -> Result<Vec<(String, i32, i64)>, ClientError> {
        let asked = offset_fetch_request::OffsetFetchRequestGroup::default()
            .with_group_id(GroupId(text(group)))
            .with_topics(None);
        // Groups moved into a list at version 8; only one of the two places may be filled.
        let coordinator = self.coordinator(group)?;
        let version = coordinator.version_of::<OffsetFetchRequest>()?.min(9);
        let request = match version {
            ..8 => OffsetFetchRequest::default()
                .with_group_id(GroupId(text(group)))
                .with_topics(None),
            _ => OffsetFetchRequest::default().with_groups(vec![asked]),
        };
        let reply = coordinator.call_up_to(&request, 9)?;
        let what = || format!("offsets of group '{group}'");
        refused(reply.error_code, None, what)?;
        let mut offsets = Vec::new();
        for topic in reply.topics {
            let name = topic.name.as_str();
            let partitions = topic.partitions.iter();
            offsets.extend(
                partitions.map(|p| (name.to_owned(), p.partition_index, p.committed_offset)),
            );
        }
        for group in reply.groups {
            refused(group.error_code, None, what)?;
            for topic in group.topics {
                let name = topic.name.as_str();
                let partitions = topic.partitions.iter();
                offsets.extend(
                    partitions.map(|p| (name.to_owned(), p.partition_index, p.committed_offset)),
                );
            }
        }
        offsets.retain(|(_, _, offset)| *offset >= 0);
        offsets.sort_unstable();
        Ok(offsets)
    }

    fn topic(&mut self, name: &str) -> Result<TopicInfo, ClientError> {
        if let Some(info) = self.topics.get(name) {
            return Ok(info.clone());
        }
        self.topics(Some(&[name]))?;
        self.topics
            .get(name)
            .cloned()
            .ok_or_else(|| missing("the topic that was asked for"))
    }

    fn bootstrap(&mut self) -> Result<&mut Connection, ClientError> {
        let address = self.bootstrap.clone();
        self.at(address)
    }

    fn controller(&mut self) -> Result<&mut Connection, ClientError> {
        let request = MetadataRequest::default().with_topics(Some(Vec::new()));
        let reply = self.bootstrap()?.call(&request)?;
        let controller = reply
            .brokers
            .iter()
            .find(|broker| broker.node_id == reply.controller_id);
        let address = controller.map_or(self.bootstrap.clone(), |broker| {
            address(&broker.host, broker.port)
        });
        self.at(address)
    }

    fn coordinator(&mut self, group: &str) -> Result<&mut Connection, ClientError> {
        // The one group moved into a list at version 4; both filled in is what every version reads.
        let request = FindCoordinatorRequest::default()
            .with_key(text(group))
            .with_coordinator_keys(vec![text(group)]);
        let bootstrap = self.bootstrap()?;
        let request = match bootstrap.version_of::<FindCoordinatorRequest>()? {
            ..4 => request.with_coordinator_keys(Vec::new()),
            _ => request.with_key(text("")),
        };
        let reply = bootstrap.call(&request)?;
        let what = || format!("finding the coordinator of group '{group}'");
        refused(reply.error_code, reply.error_message.as_ref(), what)?;
        let place = match reply.coordinators.first() {
            Some(found) => {
                refused(found.error_code, found.error_message.as_ref(), what)?;
                address(&found.host, found.port)
            }
            None => address(&reply.host, reply.port),
        };
        self.at(place)
    }

    fn node(&mut self, id: i32) -> Result<&mut Connection, ClientError> {
        let address = self
            .nodes
            .get(&id)
            .cloned()
            .ok_or_else(|| missing("the address of the partition's leader"))?;
        self.at(address)
    }

    fn at(&mut self, address: String) -> Result<&mut Connection, ClientError> {
        if !self.connections.contains_key(&address) {
            self.connections
                .insert(address.clone(), Connection::open(&address)?);
        }
        Ok(self
            .connections
            .get_mut(&address)
            .expect("it was just put there"))
    }
}

/// Reads a member's assignment (a version and topics with partitions); none when it is not the consumer protocol's.
fn assignment(mut bytes: Bytes) -> Vec<(String, Vec<i32>)> {
    let Ok(version) = bytes.try_get_i16() else {
        return Vec::new();
    };
    let Ok(decoded) = ConsumerProtocolAssignment::decode(&mut bytes, version.clamp(0, 3)) else {
        return Vec::new();
    };
    decoded
        .assigned_partitions
        .into_iter()
        .map(|topic| (topic.topic.to_string(), topic.partitions))
        .collect()
}

fn leader(info: &TopicInfo, partition: i32) -> Result<i32, ClientError> {
    match info
        .partitions
        .iter()
        .find(|known| known.index == partition)
    {
        Some(known) => Ok(known.leader),
        None => Err(ClientError::Refused {
            what: format!("partition {partition} of topic '{}'", info.name),
            code: ErrorCode::UnknownTopicOrPartition,
            detail: None,
        }),
    }
}

fn refused(
    code: i16,
    message: Option<&StrBytes>,
    what: impl Fn() -> String,
) -> Result<(), ClientError> {
    match ErrorCode::try_from_code(code) {
        None => Ok(()),
        Some(code) => Err(ClientError::Refused {
            what: what(),
            code,
            detail: message.map(|message| message.to_string()),
        }),
    }
}

fn missing(what: impl Display) -> ClientError {
    ClientError::Reply(FrameError::Body(format!("it lacks {what}")))
}

/// Host and port as an address; an IPv6 host gets its brackets.
fn address(host: &str, port: i32) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

fn timeout_ms() -> i32 {
    TIMEOUT.as_millis() as i32
}
