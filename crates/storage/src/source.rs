//! The processor's view of the log: batches of topics in the WAL's order, across topics and partitions.
//!
//! That order is what makes lateness repeatable: it is fixed when the batches are written, so a pipeline that restarts
//! or replays sees partitions interleave exactly as the first time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

pub use crate::numbers::Order;

/// Next offset to read, by topic and partition.
pub type TopicOffsets = BTreeMap<String, BTreeMap<i32, i64>>;

/// As the next offset of a partition: nothing of it.
pub const NOTHING: i64 = i64::MAX;

/// A durable log that can be read in one repeatable order.
pub trait LogSource: Send + Sync {
    /// The topics with their partitions, ascending, and what can be read of each, all in one look: the ends that it gives are
    /// those of one place in the log.
    ///
    /// # Errors
    /// [`SourceError::UnknownTopic`].
    fn look(&self, topics: &[String]) -> Result<Vec<TopicBounds>, SourceError>;

    /// The partitions of one topic.
    ///
    /// # Errors
    /// As [`LogSource::look`].
    fn partitions(&self, topic: &str) -> Result<Vec<PartitionBounds>, SourceError> {
        let mut found = self.look(&[topic.to_owned()])?;
        Ok(found.pop().expect("one was asked for").partitions)
    }

    /// The id of the topic that has this name now: one that was deleted and created again has another.
    ///
    /// # Errors
    /// [`SourceError::UnknownTopic`].
    fn topic_id(&self, topic: &str) -> Result<Uuid, SourceError>;

    /// Batches in WAL order from the given offsets on (a missing partition: from its log start; one at [`NOTHING`]: not at
    /// all), about `max_bytes` of them, at least one if there is any. The first batch of a partition may start before the asked offset: the caller
    /// skips those records. Batches share memory with each other and with the log's tail.
    ///
    /// # Errors
    /// [`SourceError::OutOfRange`] when retention overtook an asked offset; [`SourceError::Unreadable`] when the disk
    /// fails or the bytes are damaged.
    fn read(
        &self,
        topic: &str,
        from: &BTreeMap<i32, i64>,
        max_bytes: usize,
    ) -> Result<Vec<SourceBatch>, SourceError>;

    /// Blocks until [`LogSource::read`] would return something (then true) or `timeout` is over. True at once for a topic
    /// that is gone, so that the caller's next read says so.
    fn wait(&self, topic: &str, from: &BTreeMap<i32, i64>, timeout: Duration) -> bool;

    /// As [`LogSource::read`], over several topics in one order.
    ///
    /// # Errors
    /// As [`LogSource::read`].
    fn read_topics(
        &self,
        from: &TopicOffsets,
        max_bytes: usize,
    ) -> Result<Vec<TopicBatch>, SourceError>;

    /// As [`LogSource::wait`], for any of several topics.
    fn wait_topics(&self, from: &TopicOffsets, timeout: Duration) -> bool;
}

/// A topic as one look saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicBounds {
    /// One that was deleted and created again has another.
    pub id: Uuid,
    pub partitions: Vec<PartitionBounds>,
}

/// What can be read of one partition: `start <= offset < end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionBounds {
    pub partition: i32,
    pub start: i64,
    /// The high watermark.
    pub end: i64,
}

/// One record batch of format v2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceBatch {
    pub partition: i32,
    /// Place in the WAL: grows from batch to batch, the same in every reading.
    pub order: Order,
    /// When it was appended, in milliseconds of the log's own time, which never goes back and stands still while nobody has the
    /// log open; 0 where that is not known (an older version wrote the index).
    pub appended_at: i64,
    /// What the wall clock showed then, in milliseconds since 1970, the same at every reading; `None` where nobody wrote it down (an older
    /// version, another cluster).
    pub wall: Option<i64>,
    /// Where the partition is read on: behind the batch, or further where no reader is shown what follows.
    pub next: i64,
    /// Empty when nothing before `next` is shown.
    pub bytes: Bytes,
}

/// A batch and the topic that it is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicBatch {
    pub topic: Arc<str>,
    pub batch: SourceBatch,
}

/// Why a source could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    #[error("there is no topic `{name}`")]
    UnknownTopic { name: String, known: Vec<String> },
    #[error(
        "`{topic}`, partition {partition}: offset {asked} is outside the log, which starts at {start}"
    )]
    OutOfRange {
        topic: String,
        partition: i32,
        asked: i64,
        start: i64,
    },
    #[error("the log cannot be read: {0}")]
    Unreadable(String),
}
