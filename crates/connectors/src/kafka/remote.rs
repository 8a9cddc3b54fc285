//! Topics of another Kafka cluster: a [`LogSource`] whose reads are fetches over the network.
//!
//! The pipeline's rules are those of the embedded log: the offsets in its manifest say where it reads on, and the consumer
//! group is only shown them. What another cluster cannot give is one order of all partitions, so there is no place:
//! a run is repeatable for each partition by itself.
//!
//! 1. A read asks without waiting. A wait is a fetch that waits at the brokers; what it brings is kept for the next read.
//! 2. Records that a transaction took back, its markers, and what a compaction removed are not shown. Where only those are
//!    left of a fetch, an empty batch says how far the partition was read, or a bounded read would never come to its end.
//! 3. Leaders move and brokers restart: a call that fails in a way that may pass is made once more, over new connections and
//!    what the cluster says then. What fails again fails the attempt of the job, which starts anew after a while.
//!
//! Calls block; the source's thread is the only one that makes them. Offsets are committed over a connection of their own,
//! by the committer's thread.

use super::EmbeddedLog;
use lw_client::{Client, ClientError};
use lw_protocol::ErrorCode;
use lw_storage::source::{
    LogSource, NOTHING, Order, PartitionBounds, SourceBatch, SourceError, TopicBatch, TopicBounds,
    TopicOffsets,
};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// What stands for the start of a log where a time is asked for.
const START: i64 = -2;

/// The topics of the cluster at an address.
pub struct RemoteLog {
    bootstrap: String,
    reading: Mutex<Reading>,
    committing: Mutex<Connected>,
}

#[derive(Default)]
struct Reading {
    connected: Connected,
    /// As of the last look.
    ids: BTreeMap<String, Uuid>,
    /// What a wait brought, and from where on.
    ahead: Option<(TopicOffsets, Vec<TopicBatch>)>,
}

/// A client, from the first call on and as long as it works.
#[derive(Default)]
struct Connected(Option<Client>);

impl Connected {
    /// Makes a call, and once more when a failure may be one of this connection, or of what was known of the cluster.
    fn call<T>(
        &mut self,
        bootstrap: &str,
        mut call: impl FnMut(&mut Client) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let was_connected = self.0.is_some();
        let first = self.call_once(bootstrap, &mut call);
        match first {
            Err(error) if was_connected && may_pass(&error) => self.call_once(bootstrap, &mut call),
            first => first,
        }
    }

    fn call_once<T>(
        &mut self,
        bootstrap: &str,
        call: &mut impl FnMut(&mut Client) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let mut client = match self.0.take() {
            Some(client) => client,
            None => Client::connect(bootstrap)?,
        };
        let outcome = call(&mut client);
        if !outcome.as_ref().is_err_and(may_pass) {
            self.0 = Some(client);
        }
        outcome
    }
}

/// Whether the call may succeed over another connection, or when the cluster is asked anew where its partitions are.
fn may_pass(error: &ClientError) -> bool {
    match error {
        ClientError::Refused { code, .. } => matches!(
            code,
            ErrorCode::NotLeaderOrFollower
                | ErrorCode::LeaderNotAvailable
                | ErrorCode::FencedLeaderEpoch
                | ErrorCode::UnknownLeaderEpoch
                | ErrorCode::UnknownTopicId
                | ErrorCode::UnknownTopicOrPartition
                | ErrorCode::ReplicaNotAvailable
                | ErrorCode::OffsetNotAvailable
                | ErrorCode::KafkaStorageError
                | ErrorCode::CoordinatorNotAvailable
                | ErrorCode::CoordinatorLoadInProgress
                | ErrorCode::NotCoordinator
                | ErrorCode::NetworkException
                | ErrorCode::RequestTimedOut
        ),
        _ => true,
    }
}

fn is_refused(error: &ClientError, as_code: ErrorCode) -> bool {
    matches!(error, ClientError::Refused { code, .. } if *code == as_code)
}

impl RemoteLog {
    /// Connects at the first call.
    pub fn new(bootstrap: &str) -> RemoteLog {
        RemoteLog {
            bootstrap: bootstrap.to_string(),
            reading: Mutex::default(),
            committing: Mutex::default(),
        }
    }

    /// Shows a group's offsets to the cluster's tools.
    ///
    /// # Errors
    /// Why they were not taken.
    pub fn commit(
        &self,
        group: &str,
        topic: &str,
        offsets: &BTreeMap<i32, i64>,
    ) -> Result<(), String> {
        let offsets = offsets.iter();
        let offsets: Vec<(String, i32, i64)> = offsets
            .map(|(partition, offset)| (topic.to_string(), *partition, *offset))
            .collect();
        let mut committing = self.committing.lock();
        let committed = committing.call(&self.bootstrap, |client| {
            client.commit_offsets(group, &offsets)
        });
        committed.map_err(|error| self.named(&error))
    }

    fn named(&self, error: &ClientError) -> String {
        format!("Kafka at '{}': {error}", self.bootstrap)
    }

    fn unreadable(&self, error: &ClientError) -> SourceError {
        SourceError::Unreadable(self.named(error))
    }

    /// Why a call about a topic failed.
    fn failed(&self, reading: &mut Reading, topic: &str, error: &ClientError) -> SourceError {
        if !is_refused(error, ErrorCode::UnknownTopicOrPartition) {
            return self.unreadable(error);
        }
        let known = reading
            .connected
            .call(&self.bootstrap, |client| client.topics(None));
        let known = known.unwrap_or_default().into_iter();
        SourceError::UnknownTopic {
            name: topic.to_string(),
            known: known
                .filter(|topic| !topic.internal)
                .map(|topic| topic.name)
                .collect(),
        }
    }

    fn look_at(&self, reading: &mut Reading, topic: &str) -> Result<TopicBounds, SourceError> {
        let found = reading.connected.call(&self.bootstrap, |client| {
            let found = client.topics(Some(&[topic]))?.pop();
            let id = found.map_or(Uuid::nil(), |found| found.id);
            let starts = client.list_offsets(topic, START)?;
            let ends: BTreeMap<i32, i64> = client.stable_ends(topic)?.into_iter().collect();
            let partitions = starts
                .into_iter()
                .map(|(partition, start)| PartitionBounds {
                    partition,
                    start,
                    // A partition without an answer was added in between.
                    end: ends.get(&partition).copied().unwrap_or(start),
                });
            Ok(TopicBounds {
                id,
                partitions: partitions.collect(),
            })
        });
        let found = found.map_err(|error| self.failed(reading, topic, &error))?;
        reading.ids.insert(topic.to_string(), found.id);
        Ok(found)
    }

    /// One fetch from each topic. `wait` is shared between them.
    fn fetch(
        &self,
        reading: &mut Reading,
        from: &TopicOffsets,
        wait: Duration,
    ) -> Result<Vec<TopicBatch>, SourceError> {
        let wanted = from.iter().filter_map(|(topic, offsets)| {
            let offsets = offsets.iter().filter(|(_, next)| **next != NOTHING);
            let offsets: BTreeMap<i32, i64> = offsets.map(|(p, next)| (*p, *next)).collect();
            (!offsets.is_empty()).then_some((topic, offsets))
        });
        let wanted: Vec<_> = wanted.collect();
        let wait = wait.as_millis() / wanted.len().max(1) as u128;
        let wait = i32::try_from(wait).unwrap_or(i32::MAX);
        let mut read = Vec::new();
        for (topic, offsets) in wanted {
            // Whoever has something does not wait for the others.
            let wait = if read.is_empty() { wait } else { 0 };
            let fetched = reading.connected.call(&self.bootstrap, |client| {
                client.fetch(topic, &offsets, wait)
            });
            let fetched = match fetched {
                Err(error) if is_refused(&error, ErrorCode::OffsetOutOfRange) => {
                    return Err(self.out_of_range(reading, topic, &offsets, &error));
                }
                fetched => fetched.map_err(|error| self.failed(reading, topic, &error))?,
            };
            let name: Arc<str> = topic.as_str().into();
            for fetched in fetched {
                // A broker may say what it was not asked; nobody waits for that.
                if let Some(from) = offsets.get(&fetched.partition) {
                    read.extend(batches(&name, *from, fetched));
                }
            }
        }
        Ok(read)
    }

    /// Which offset it was.
    fn out_of_range(
        &self,
        reading: &mut Reading,
        topic: &str,
        offsets: &BTreeMap<i32, i64>,
        error: &ClientError,
    ) -> SourceError {
        let bounds = match self.look_at(reading, topic) {
            Ok(bounds) => bounds,
            Err(error) => return error,
        };
        let outside = bounds.partitions.iter().find_map(|bounds| {
            let asked = *offsets.get(&bounds.partition)?;
            let outside = asked < bounds.start || asked > bounds.end;
            outside.then(|| SourceError::OutOfRange {
                topic: topic.to_string(),
                partition: bounds.partition,
                asked,
                start: bounds.start,
            })
        });
        outside.unwrap_or_else(|| self.unreadable(error))
    }
}

/// What a partition gave, and how far that is.
fn batches(
    topic: &Arc<str>,
    from: i64,
    fetched: lw_client::Fetched,
) -> impl Iterator<Item = TopicBatch> {
    let lw_client::Fetched {
        partition,
        batches,
        next,
        ..
    } = fetched;
    let shown = batches.last().map(|batch| batch.header().last_offset() + 1);
    let rest = (shown.unwrap_or(from) < next).then(|| (next, bytes::Bytes::new()));
    let batches = batches
        .into_iter()
        .map(|batch| (batch.header().last_offset() + 1, batch.bytes().clone()));
    let topic = topic.clone();
    batches.chain(rest).map(move |(next, bytes)| TopicBatch {
        topic: topic.clone(),
        batch: SourceBatch {
            partition,
            order: Order::default(),
            appended_at: 0,
            wall: None,
            next,
            bytes,
        },
    })
}

impl LogSource for RemoteLog {
    fn look(&self, topics: &[String]) -> Result<Vec<TopicBounds>, SourceError> {
        let mut reading = self.reading.lock();
        let found = topics.iter().map(|topic| self.look_at(&mut reading, topic));
        found.collect()
    }

    /// As of the last look: a fetch names the topic by its id, so of another one nothing is read.
    fn topic_id(&self, topic: &str) -> Result<Uuid, SourceError> {
        let mut reading = self.reading.lock();
        match reading.ids.get(topic) {
            Some(id) => Ok(*id),
            None => self.look_at(&mut reading, topic).map(|bounds| bounds.id),
        }
    }

    fn read(
        &self,
        topic: &str,
        from: &BTreeMap<i32, i64>,
        max_bytes: usize,
    ) -> Result<Vec<SourceBatch>, SourceError> {
        let from = TopicOffsets::from([(topic.to_string(), from.clone())]);
        let read = self.read_topics(&from, max_bytes)?;
        Ok(read.into_iter().map(|read| read.batch).collect())
    }

    fn wait(&self, topic: &str, from: &BTreeMap<i32, i64>, timeout: Duration) -> bool {
        let from = TopicOffsets::from([(topic.to_string(), from.clone())]);
        self.wait_topics(&from, timeout)
    }

    /// Of partitions that are not named nothing is read: a look finds those that are new.
    fn read_topics(
        &self,
        from: &TopicOffsets,
        max_bytes: usize,
    ) -> Result<Vec<TopicBatch>, SourceError> {
        let mut reading = self.reading.lock();
        let mut read = match reading.ahead.take() {
            Some((asked, batches)) if asked == *from => batches,
            _ => self.fetch(&mut reading, from, Duration::ZERO)?,
        };
        // What is over is asked for again.
        let mut size = 0;
        let over = read.iter().position(|read| {
            size += read.batch.bytes.len();
            size > max_bytes
        });
        read.truncate(over.map_or(read.len(), |over| over.max(1)));
        Ok(read)
    }

    fn wait_topics(&self, from: &TopicOffsets, timeout: Duration) -> bool {
        let mut reading = self.reading.lock();
        match self.fetch(&mut reading, from, timeout) {
            Ok(read) if read.is_empty() => false,
            Ok(read) => {
                reading.ahead = Some((from.clone(), read));
                true
            }
            // The read that follows says so.
            Err(_) => true,
        }
    }
}

impl EmbeddedLog for RemoteLog {
    fn log(&self) -> &dyn LogSource {
        self
    }

    fn offset_at(
        &self,
        topic: &str,
        partition: i32,
        timestamp: i64,
    ) -> Result<Option<i64>, SourceError> {
        let mut reading = self.reading.lock();
        let found = reading.connected.call(&self.bootstrap, |client| {
            client.list_offsets(topic, timestamp)
        });
        let found = found.map_err(|error| self.failed(&mut reading, topic, &error))?;
        let of_it = found.into_iter().find(|(found, _)| *found == partition);
        Ok(of_it
            .map(|(_, offset)| offset)
            .filter(|offset| *offset >= 0))
    }

    fn committed(
        &self,
        group: &str,
        topic: &str,
        partition: i32,
    ) -> Result<Option<i64>, SourceError> {
        let mut reading = self.reading.lock();
        let committed = reading
            .connected
            .call(&self.bootstrap, |client| client.committed_offsets(group));
        let committed = committed.map_err(|error| self.unreadable(&error))?;
        let mut of_it = committed
            .into_iter()
            .filter(|(of, number, _)| of == topic && *number == partition);
        Ok(of_it.next().map(|(_, _, offset)| offset))
    }

    fn in_one_order(&self) -> bool {
        false
    }
}
