//! Topics as the handlers share them: names, lookups, creation.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use lw_protocol::ErrorCode;
use lw_storage::settings::InvalidSetting;
use lw_storage::{CommitError, Op, Topic, TopicConfig};
use tokio::sync::{OwnedMutexGuard, oneshot};
use uuid::Uuid;

use crate::Broker;

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

impl From<InvalidSetting> for Refusal {
    fn from(invalid: InvalidSetting) -> Refusal {
        Refusal::new(ErrorCode::InvalidConfig, invalid.to_string())
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

    /// Begins changes of topics: nobody else changes any until these are dropped or durable.
    pub(crate) async fn begin_changes(self: &Arc<Self>) -> Changes {
        Changes {
            broker: self.clone(),
            ops: Vec::new(),
            lock: self.topic_changes.clone().lock_owned().await,
        }
    }

    /// The names that are taken, as [`check_new_topic`] wants them.
    pub(crate) fn taken_names(&self) -> TakenNames {
        let topics = self.storage.topics();
        let names = topics.iter().map(|topic| topic.name.as_str());
        TakenNames(names.map(|name| (folded(name), name.to_owned())).collect())
    }

    /// Creates a topic; when it returns, the topic can be written.
    pub(crate) async fn create_topic(
        self: &Arc<Self>,
        topic: NewTopic,
    ) -> Result<Arc<Topic>, Refusal> {
        let mut changes = self.begin_changes().await;
        check_new_topic(&topic, &self.taken_names())?;
        let id = changes.create(&topic);
        changes.commit().await?;
        let vanished = || {
            Refusal::new(
                ErrorCode::UnknownTopicOrPartition,
                format!("Topic '{}' is already gone.", topic.name),
            )
        };
        self.storage.topic_by_id(id).ok_or_else(vanished)
    }
}

/// Changes of topics that one request asks for: decided under one lock, made durable in one frame.
///
/// The lock is let go by the log when the frame has ended, and not by the request: a client that hangs up meanwhile ends
/// its request, and whoever came next would decide on what was before the change.
pub(crate) struct Changes {
    broker: Arc<Broker>,
    ops: Vec<Op>,
    lock: OwnedMutexGuard<()>,
}

impl Changes {
    pub(crate) fn push(&mut self, op: Op) {
        self.ops.push(op);
    }

    /// The id that the topic will have.
    #[expect(
        clippy::disallowed_methods,
        reason = "ids of topics are made here, and nothing depends on which they are"
    )]
    pub(crate) fn create(&mut self, topic: &NewTopic) -> Uuid {
        let id = Uuid::new_v4();
        self.push(Op::CreateTopic {
            name: topic.name.clone(),
            id,
            partitions: topic.partitions,
            config: topic.config.clone(),
            internal: false,
        });
        id
    }

    /// Makes all of them durable, or none. They run to their end even when the future is dropped.
    pub(crate) async fn commit(self) -> Result<(), CommitError> {
        let Changes { broker, ops, lock } = self;
        if ops.is_empty() {
            return Ok(());
        }
        let deleted: Vec<Uuid> = ops
            .iter()
            .filter_map(|op| match op {
                Op::DeleteTopic { id } => Some(*id),
                _ => None,
            })
            .collect();
        let (done, committed) = oneshot::channel();
        let others = Arc::downgrade(&broker);
        broker.storage.commit(ops, move |outcome| {
            if outcome.is_ok()
                && let Some(broker) = others.upgrade()
            {
                deleted
                    .iter()
                    .for_each(|topic| broker.groups.topic_deleted(*topic));
            }
            drop(lock);
            // Whoever asked may have gone; the change stands all the same.
            let _ = done.send(outcome.map(drop));
        });
        committed
            .await
            .unwrap_or_else(|_| Err(CommitError::Failed("the log is closed".into())))
    }
}

/// Names that a new topic may not have, by what Kafka's metrics call them.
pub(crate) struct TakenNames(HashMap<String, String>);

impl TakenNames {
    pub(crate) fn insert(&mut self, name: &str) {
        self.0.insert(folded(name), name.to_owned());
    }
}

/// Names that differ only in '.' and '_' collide in Kafka's metric names, so Kafka refuses them.
fn folded(name: &str) -> String {
    name.replace('.', "_")
}

/// What is wrong with a topic that is to be created.
pub(crate) fn check_new_topic(topic: &NewTopic, taken: &TakenNames) -> Result<(), Refusal> {
    check_name(&topic.name)?;
    match taken.0.get(&folded(&topic.name)) {
        Some(other) if *other == topic.name => {
            let message = format!("Topic '{}' already exists.", topic.name);
            return Err(Refusal::new(ErrorCode::TopicAlreadyExists, message));
        }
        Some(other) => {
            let message = format!(
                "Topic '{}' collides with existing topic: {other}",
                topic.name
            );
            return Err(Refusal::new(ErrorCode::InvalidTopicException, message));
        }
        None => {}
    }
    if topic.partitions < 1 {
        let message = "Number of partitions was set to an invalid non-positive value.";
        return Err(Refusal::new(ErrorCode::InvalidPartitions, message));
    }
    if topic.partitions > MAX_PARTITIONS {
        let message = format!("A topic may have at most {MAX_PARTITIONS} partitions.");
        return Err(Refusal::new(ErrorCode::InvalidPartitions, message));
    }
    TopicConfig::parse(topic.config.clone())?;
    Ok(())
}

/// The protocol's word for why the log did not take a change.
pub(crate) fn commit_code(error: &CommitError) -> ErrorCode {
    match error {
        CommitError::TopicExists(_) => ErrorCode::TopicAlreadyExists,
        CommitError::UnknownTopic(_) => ErrorCode::UnknownTopicId,
        CommitError::InvalidConfig(_) => ErrorCode::InvalidConfig,
        CommitError::InvalidPartitions { .. } => ErrorCode::InvalidPartitions,
        CommitError::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        CommitError::Conflict { .. } => ErrorCode::UnknownServerError,
        CommitError::TooLarge { .. } => ErrorCode::MessageTooLarge,
        CommitError::Append(_) | CommitError::Full(_) | CommitError::Failed(_) => {
            ErrorCode::KafkaStorageError
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
