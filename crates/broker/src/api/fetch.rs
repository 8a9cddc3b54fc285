//! Fetch (1): whole batches from partitions, waiting a while when there is nothing yet.
//!
//! - Nothing past the high watermark is readable, and the high watermark is what the disk has.
//! - Batches are sent whole and as stored: the first may begin before the offset asked for.
//! - Partitions are served in the order of the request until the byte limits are reached, but the first batch found is
//!   always sent, however large: a consumer must not starve on its own limit.
//! - With less than `min_bytes` to send, the reply waits for one of its partitions to move, at most `max_wait_ms`.
//! - Fetch sessions (KIP-227) are declined by answering session id 0: the client then names all partitions each time.
//!
//! The reply is not copied together: [`encode`] writes the few bytes between the batches, and the batches follow as the
//! shared memory that storage read them into.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use lw_protocol::batch::BatchHeader;
use lw_protocol::frame::{self, RequestHead};
use lw_protocol::messages::{FetchRequest, FetchResponse, TopicName};
use lw_protocol::{ErrorCode, HeaderVersion};
use lw_storage::{FetchFrom, LogId, ReadError};
use tokio::task::block_in_place;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::{Cx, read_body, refuse};
use crate::LEADER_EPOCH;
use crate::budget::Held;
use crate::waiting::Waiter;
use crate::wire::{Answer, Reply};

/// The memory that a reply waits for when there is little.
const LEAST: usize = 64 << 10;
/// Batches below this are cheaper to copy together than to send as pieces of their own.
const SMALL: usize = 4096;

/// A response whose records are still the pieces that storage gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Fetched {
    error_code: i16,
    topics: Vec<FetchedTopic>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct FetchedTopic {
    name: TopicName,
    id: Uuid,
    partitions: Vec<FetchedPartition>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct FetchedPartition {
    index: i32,
    error_code: i16,
    high_watermark: i64,
    log_start: i64,
    records: Vec<Bytes>,
}

pub(super) fn answer(cx: Cx, head: RequestHead, body: Bytes) -> Answer {
    let request = match read_body::<FetchRequest>(head, body) {
        Ok(request) => request,
        Err(hangup) => return refuse(hangup),
    };
    Box::pin(async move {
        let (fetched, held) = handle(cx, request).await;
        let mut reply = encode(head, &fetched);
        reply.hold(held);
        Ok(Some(reply))
    })
}

/// The records, and the memory that they take until they are sent.
async fn handle(cx: Cx, request: FetchRequest) -> (Fetched, Held) {
    let replies = cx.broker.replies.clone();
    if request.session_id != 0 {
        // We never gave a session: the client falls back to a full request.
        let fetched = Fetched {
            error_code: ErrorCode::FetchSessionIdNotFound.code(),
            topics: Vec::new(),
        };
        return (fetched, replies.take(0).await);
    }
    let wait = Duration::from_millis(request.max_wait_ms.max(0) as u64);
    let deadline = Instant::now() + wait;
    let limit = (request.max_bytes.max(0) as usize).min(cx.broker.config.max_fetch_bytes);
    let mut last = wait.is_zero();
    let mut waiter: Option<Waiter> = None;
    loop {
        // Without memory for a reply there is nothing to say yet, however long the client meant to wait.
        let mut held = replies.take(LEAST.min(limit)).await;
        held.grow(limit);
        let room = limit.min(held.bytes());
        let round = read_all(&cx, &request, room);
        // More than the most that may be sent would be waited for in vain.
        let enough = (request.min_bytes.max(0) as usize).min(room);
        if last || round.bytes >= enough || round.failed || request.topics.is_empty() {
            held.settle(round.bytes);
            count(&cx, &round.fetched);
            return (round.fetched, held);
        }
        drop(held);
        // A topic that was created again is another one, with other logs.
        match waiter.take_if(|waiter| waiter.is_at(&round.logs)) {
            Some(there) => {
                last = timeout_at(deadline, there.moved()).await.is_err();
                waiter = Some(there);
            }
            None => waiter = Some(Waiter::at(&cx.broker.storage, round.logs)),
        }
    }
}

/// One look at all partitions of a request.
struct Round {
    fetched: Fetched,
    bytes: usize,
    failed: bool,
    /// All logs that were looked at.
    logs: Vec<LogId>,
}

/// One look at the log for all partitions: bounds and batches are of one moment. Only when memory does not have what is
/// asked for is the disk asked, which may be slow: the other connections of this thread must not wait with it.
fn read_all(cx: &Cx, request: &FetchRequest, limit: usize) -> Round {
    let (places, asked) = places(cx, request);
    let storage = &cx.broker.storage;
    let found = storage
        .fetch_resident(&asked, limit)
        .unwrap_or_else(|| block_in_place(|| storage.fetch_many(&asked, limit)));
    let mut found = found.into_iter();
    let mut round = Round {
        fetched: Fetched::default(),
        bytes: 0,
        failed: false,
        logs: asked.iter().map(FetchFrom::log).collect(),
    };
    for (topic, places) in request.topics.iter().zip(places) {
        let answers = topic.partitions.iter().zip(places).map(|(asked, place)| {
            let outcome = place.and_then(|()| {
                let found = found.next().expect("an answer for each place");
                found.map_err(|error| read_code(&error))
            });
            match outcome {
                Ok(found) => {
                    round.bytes += found.size();
                    FetchedPartition {
                        index: asked.partition,
                        error_code: 0,
                        high_watermark: found.high_watermark,
                        log_start: found.log_start,
                        records: found.batches,
                    }
                }
                Err(code) => {
                    round.failed = true;
                    failed(asked.partition, code)
                }
            }
        });
        round.fetched.topics.push(FetchedTopic {
            name: topic.topic.clone(),
            id: topic.topic_id,
            partitions: answers.collect(),
        });
    }
    round
}

/// Per topic and partition whether storage is asked, and what it is asked.
type Places = Vec<Vec<Result<(), ErrorCode>>>;

fn places(cx: &Cx, request: &FetchRequest) -> (Places, Vec<FetchFrom>) {
    let mut asked = Vec::new();
    let topics = request.topics.iter().map(|topic| {
        let known = cx.broker.find_topic(&topic.topic, topic.topic_id);
        let known = known.map(|topic| topic.id);
        let partitions = topic.partitions.iter().map(|partition| {
            let topic = known?;
            if partition.current_leader_epoch > LEADER_EPOCH {
                return Err(ErrorCode::UnknownLeaderEpoch);
            }
            asked.push(FetchFrom {
                topic,
                partition: partition.partition,
                offset: partition.fetch_offset,
                max_bytes: partition.partition_max_bytes.max(0) as usize,
            });
            Ok(())
        });
        partitions.collect()
    });
    (topics.collect(), asked)
}

fn failed(index: i32, code: ErrorCode) -> FetchedPartition {
    FetchedPartition {
        index,
        error_code: code.code(),
        high_watermark: -1,
        log_start: -1,
        records: Vec::new(),
    }
}

fn read_code(error: &ReadError) -> ErrorCode {
    match error {
        ReadError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        ReadError::UnknownPartition => ErrorCode::UnknownTopicOrPartition,
        ReadError::Corrupt { .. } | ReadError::Io(_) => ErrorCode::KafkaStorageError,
    }
}

fn count(cx: &Cx, fetched: &Fetched) {
    let (mut bytes, mut records) = (0, 0);
    let partitions = fetched.topics.iter().flat_map(|topic| &topic.partitions);
    for piece in partitions.flat_map(|partition| &partition.records) {
        bytes += piece.len() as u64;
        let mut rest = piece.as_ref();
        while let Ok(header) = BatchHeader::parse(rest) {
            records += header.record_count.max(0) as u64;
            rest = rest.get(header.total_len()..).unwrap_or_default();
        }
    }
    cx.broker.metrics().fetched_bytes.add(bytes);
    cx.broker.metrics().fetched_records.add(records);
}

/// Writes a FetchResponse of any version from 4 to 18.
pub(crate) fn encode(head: RequestHead, fetched: &Fetched) -> Reply {
    let version = head.api_version;
    let mut writer = Writer {
        reply: Reply::default(),
        between: BytesMut::new(),
        flexible: version >= 12,
    };
    frame::put_response_header(
        &mut writer.between,
        head.correlation_id,
        FetchResponse::header_version(version),
    );
    writer.between.put_i32(0); // throttle time
    if version >= 7 {
        writer.between.put_i16(fetched.error_code);
        writer.between.put_i32(0); // session id: none
    }
    writer.array_len(fetched.topics.len());
    for topic in &fetched.topics {
        writer.topic(version, topic);
    }
    writer.tagged_fields();
    writer.finish()
}

struct Writer {
    reply: Reply,
    /// What was written since the last batch.
    between: BytesMut,
    flexible: bool,
}

impl Writer {
    fn topic(&mut self, version: i16, topic: &FetchedTopic) {
        if version >= 13 {
            self.between.put_slice(topic.id.as_bytes());
        } else if self.flexible {
            self.unsigned(topic.name.len() + 1);
            self.between.put_slice(topic.name.as_bytes());
        } else {
            self.between.put_i16(topic.name.len() as i16);
            self.between.put_slice(topic.name.as_bytes());
        }
        self.array_len(topic.partitions.len());
        for partition in &topic.partitions {
            self.partition(version, partition);
        }
        self.tagged_fields();
    }

    fn partition(&mut self, version: i16, partition: &FetchedPartition) {
        self.between.put_i32(partition.index);
        self.between.put_i16(partition.error_code);
        self.between.put_i64(partition.high_watermark);
        self.between.put_i64(partition.high_watermark); // the last stable offset: there are no transactions
        if version >= 5 {
            self.between.put_i64(partition.log_start);
        }
        self.array_len(0); // aborted transactions
        if version >= 11 {
            self.between.put_i32(-1); // preferred read replica
        }
        let length: usize = partition.records.iter().map(Bytes::len).sum();
        if self.flexible {
            self.unsigned(length + 1);
        } else {
            self.between.put_i32(length as i32);
        }
        for piece in &partition.records {
            if piece.len() < SMALL {
                self.between.put_slice(piece);
                continue;
            }
            self.reply.push(self.between.split().freeze());
            self.reply.push(piece.clone());
        }
        self.tagged_fields();
    }

    fn array_len(&mut self, length: usize) {
        if self.flexible {
            self.unsigned(length + 1);
        } else {
            self.between.put_i32(length as i32);
        }
    }

    fn tagged_fields(&mut self) {
        if self.flexible {
            self.between.put_u8(0);
        }
    }

    fn unsigned(&mut self, value: usize) {
        frame::put_unsigned(&mut self.between, value as u64);
    }

    /// Puts the frame's length before everything.
    fn finish(mut self) -> Reply {
        use bytes::Buf;
        self.reply.push(self.between.freeze());
        let length = self.reply.remaining() as u32;
        self.reply
            .push_front(Bytes::copy_from_slice(&length.to_be_bytes()));
        self.reply
    }
}

#[cfg(test)]
mod tests;
