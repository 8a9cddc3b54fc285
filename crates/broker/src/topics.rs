//! Topics as the handlers share them: names, lookups, creation.

use std::collections::BTreeMap;
use std::sync::Arc;

use lw_protocol::ErrorCode;
use lw_storage::{CommitError, Op, Topic};
use uuid::Uuid;

use crate::{Broker, topic_config};

/// More than any sensible topic has; each partition costs memory for ever.
pub(crate) const MAX_PARTITIONS: i32 = 10_000;
const MAX_NAME: usize = 249;
const KAFKAS_OWN: [&str; 4] = [
    "__cluster_metadata",
    "__consumer_offsets",
    "__share_group_state",
    "__transaction_state",
];

/// All operations that exist on a topic, as authorized: bits 3 to 8, 10 and 11.
pub(crate) const TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;
/// The same for the cluster: create, alter, describe, cluster action, both config operations, idempotent write.
pub(crate) const CLUSTER_OPERATIONS: i32 = 0b1_1111_1010_0000;

/// A request's part that is answered with an error: the code for the client's program, the text for its reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Refusal {
        Refusal {
            code,
            message: message.into(),
        }
    }
}

/// A code that needs no more words than Kafka's.
impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Refusal {
        match code {
            ErrorCode::UnknownTopicOrPartition => {
                Refusal::new(code, "This server does not host this topic-partition.")
            }
            ErrorCode::UnknownTopicId => {
                Refusal::new(code, "This server does not host this topic ID.")
            }
            other => Refusal::new(other, other.to_string()),
        }
    }
}

impl From<CommitError> for Refusal {
    fn from(error: CommitError) -> Refusal {
        Refusal::new(commit_code(&error), error.to_string())
    }
}

/// What a topic that is to be created will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewTopic {
    pub(crate) name: String,
    pub(crate) partitions: i32,
    pub(crate) config: BTreeMap<String, String>,
}

/// Kafka's rule for names, and the names of its own topics: whoever looks for one must not find an empty impostor.
pub(crate) fn check_name(name: &str) -> Result<(), Refusal> {
    let invalid = |why: String| Err(Refusal::new(ErrorCode::InvalidTopicException, why));
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    match name {
        "" => invalid("Topic name is invalid: the empty string is not allowed".into()),
        "." | ".." => invalid(format!("Topic name is invalid: '{name}' is not allowed")),
        _ if name.len() > MAX_NAME => invalid(format!(
            "Topic name is invalid: the length of '{name}' is longer than the max allowed length {MAX_NAME}"
        )),
        _ if !name.bytes().all(legal) => invalid(format!(
            "Topic name is invalid: '{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
        )),
        _ if KAFKAS_OWN.contains(&name) => invalid(format!(
            "Topic name '{name}' is reserved: what Kafka keeps in it is not kept in a topic here"
        )),
        _ => Ok(()),
    }
}

impl Broker {
    /// A topic by id when the request's version speaks ids, else by name.
    pub(crate) fn find_topic(&self, name: &str, id: Uuid) -> Result<Arc<Topic>, ErrorCode> {
        if id.is_nil() {
            return self
                .storage
                .topic(name)
                .ok_or(ErrorCode::UnknownTopicOrPartition);
        }
        self.storage
            .topic_by_id(id)
            .ok_or(ErrorCode::UnknownTopicId)
    }

    /// What [`Broker::create_topic`] would refuse, without creating.
    pub(crate) fn check_new_topic(&self, topic: &NewTopic) -> Result<(), Refusal> {
        check_name(&topic.name)?;
        if self.storage.topic(&topic.name).is_some() {
            let message = format!("Topic '{}' already exists.", topic.name);
            return Err(Refusal::new(ErrorCode::TopicAlreadyExists, message));
        }
        // Names that differ only in '.' and '_' collide in Kafka's metric names, so Kafka refuses them.
        let folded = topic.name.replace('.', "_");
        if let Some(other) = self
            .storage
            .topics()
            .iter()
            .find(|other| other.name.replace('.', "_") == folded)
        {
            let message = format!(
                "Topic '{}' collides with existing topic: {}",
                topic.name, other.name
            );
            return Err(Refusal::new(ErrorCode::InvalidTopicException, message));
        }
        if topic.partitions < 1 {
            let message = "Number of partitions was set to an invalid non-positive value.";
            return Err(Refusal::new(ErrorCode::InvalidPartitions, message));
        }
        if topic.partitions > MAX_PARTITIONS {
            let message = format!("A topic may have at most {MAX_PARTITIONS} partitions.");
            return Err(Refusal::new(ErrorCode::InvalidPartitions, message));
        }
        for (name, value) in &topic.config {
            topic_config::check(name, value)
                .map_err(|message| Refusal::new(ErrorCode::InvalidConfig, message))?;
        }
        Ok(())
    }

    /// Creates a topic; when it returns, the topic can be written.
    pub(crate) async fn create_topic(&self, topic: NewTopic) -> Result<Arc<Topic>, Refusal> {
        let _changes = self.topic_changes.lock().await;
        self.check_new_topic(&topic)?;
        let NewTopic {
            name,
            partitions,
            config,
        } = topic;
        let id = Uuid::new_v4();
        self.commit(vec![Op::CreateTopic {
            name: name.clone(),
            id,
            partitions,
            config,
            internal: false,
        }])
        .await?;
        let vanished = || {
            Refusal::new(
                ErrorCode::UnknownTopicOrPartition,
                format!("Topic '{name}' is already gone."),
            )
        };
        self.storage.topic_by_id(id).ok_or_else(vanished)
    }
}

/// The protocol's word for why the log did not take a change.
pub(crate) fn commit_code(error: &CommitError) -> ErrorCode {
    match error {
        CommitError::TopicExists(_) => ErrorCode::TopicAlreadyExists,
        CommitError::UnknownTopic(_) => ErrorCode::UnknownTopicId,
        CommitError::InvalidPartitions { .. } => ErrorCode::InvalidPartitions,
        CommitError::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        CommitError::Conflict { .. } => ErrorCode::UnknownServerError,
        CommitError::TooLarge { .. } => ErrorCode::MessageTooLarge,
        CommitError::Append(_) | CommitError::Full(_) | CommitError::Failed(_) => {
            ErrorCode::KafkaStorageError
        }
    }
}
