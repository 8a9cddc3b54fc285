//! Produce (0): record batches into partitions, acknowledged when they are on disk.
//!
//! 1. Every batch is checked by its 61-byte header and its CRC. Compressed records stay opaque unless the topic asks for
//!    more (another codec, log-append time, a bound on old timestamps) or the header is short of its maximum timestamp.
//! 2. Checked batches go to storage at once, in the order of the request: an idempotent producer's sequence numbers
//!    count on it. Storage gives offsets and calls back after its sync.
//!    A producer id that this server never gave is refused with INVALID_PRODUCER_ID_MAPPING, which ends a producer at
//!    once. (Kafka takes any id and remembers it for a day: who makes up ids can fill its memory.)
//! 3. The reply waits for all partitions. acks=1 and acks=all are the same on one node: after the sync. acks=0 is
//!    answered with nothing, or with a closed connection when a batch was refused, so that the client notices.
//!
//! Each partition fails alone, with its own code and text.

use std::sync::Arc;

use bytes::Bytes;
use lw_protocol::batch::{Batch, BatchError};
use lw_protocol::codec::CodecError;
use lw_protocol::frame::{self, RequestHead};
use lw_protocol::messages::produce_request::PartitionProduceData;
use lw_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use lw_protocol::messages::{ApiKey, ProduceRequest, ProduceResponse};
use lw_protocol::{Compression, ErrorCode, StrBytes};
use lw_storage::{AppendError, Appended, ProduceRules, Topic};
use tokio::sync::oneshot;
use tokio::task::block_in_place;

use super::{Cx, read_body, refuse, write_reply};
use crate::Fault;
use crate::topics::Refusal;
use crate::wire::{Answer, Hangup};

/// What the records of one batch may inflate to where they must be looked at. With the turns of [`crate::turns`] this
/// bounds the memory that compressed bytes of strangers can ask for.
const MAX_INFLATED: usize = 64 << 20;
/// A timestamp that the client left out.
const NO_TIMESTAMP: i64 = -1;

pub(super) fn answer(cx: Cx, head: RequestHead, body: Bytes) -> Answer {
    let checked =
        frame::check_produce_counts(&body, head.api_version).map_err(|source| Hangup::Unreadable {
            api: ApiKey::Produce,
            version: head.api_version,
            source,
        });
    let request = match checked.and_then(|()| read_body::<ProduceRequest>(head, body)) {
        Ok(request) => request,
        Err(hangup) => return refuse(hangup),
    };
    let acks = request.acks;
    let response = handle(cx, request);
    Box::pin(async move {
        let response = response.await;
        if acks != 0 {
            return write_reply(head, &response).map(Some);
        }
        match first_error(&response) {
            None => Ok(None),
            Some(code) => Err(Hangup::Unacknowledged {
                api: ApiKey::Produce,
                code,
            }),
        }
    })
}

fn first_error(response: &ProduceResponse) -> Option<ErrorCode> {
    let mut partitions = response
        .responses
        .iter()
        .flat_map(|topic| &topic.partition_responses);
    partitions.find_map(|partition| ErrorCode::try_from_code(partition.error_code))
}

/// Appends at the call; the future waits for the disk.
pub(crate) fn handle(
    cx: Cx,
    request: ProduceRequest,
) -> impl Future<Output = ProduceResponse> + Send + 'static {
    let refused = check_request(&request).err();
    let mut topics = Vec::with_capacity(request.topic_data.len());
    for data in request.topic_data {
        let topic = match &refused {
            Some(refusal) => Err(refusal.clone()),
            None => writable_topic(&cx, &data.name, data.topic_id),
        };
        let started: Vec<Started> = data
            .partition_data
            .into_iter()
            .map(|partition| match &topic {
                Ok(topic) => start(&cx, topic, partition),
                Err(refusal) => Started::refused(partition.index, refusal.clone()),
            })
            .collect();
        topics.push((data.name, data.topic_id, started));
    }
    async move {
        let mut responses = Vec::with_capacity(topics.len());
        for (name, topic_id, started) in topics {
            let mut partitions = Vec::with_capacity(started.len());
            for partition in started {
                partitions.push(partition.finish(&cx).await);
            }
            responses.push(
                TopicProduceResponse::default()
                    .with_name(name)
                    .with_topic_id(topic_id)
                    .with_partition_responses(partitions),
            );
        }
        ProduceResponse::default().with_responses(responses)
    }
}

/// What is wrong with the request as a whole; it is then said of every partition.
fn check_request(request: &ProduceRequest) -> Result<(), Refusal> {
    if !matches!(request.acks, -1..=1) {
        let message = format!("acks must be 0, 1 or -1 (all), not {}", request.acks);
        return Err(Refusal::new(ErrorCode::InvalidRequiredAcks, message));
    }
    if request.transactional_id.is_some() {
        return Err(Refusal::new(
            ErrorCode::InvalidTxnState,
            "transactions are not supported yet",
        ));
    }
    Ok(())
}

fn writable_topic(cx: &Cx, name: &str, id: uuid::Uuid) -> Result<Arc<Topic>, Refusal> {
    let topic = cx.broker.find_topic(name, id)?;
    if topic.internal {
        let message = format!(
            "topic '{}' is internal: only the server writes to it",
            topic.name
        );
        return Err(Refusal::new(ErrorCode::InvalidTopicException, message));
    }
    Ok(topic)
}

/// One partition's part: refused already, or on its way to the disk.
struct Started {
    index: i32,
    state: State,
}

enum State {
    Refused(Refusal),
    Appending {
        appended: oneshot::Receiver<Result<Appended, AppendError>>,
        records: u64,
        bytes: u64,
    },
}

impl Started {
    fn refused(index: i32, refusal: Refusal) -> Started {
        Started {
            index,
            state: State::Refused(refusal),
        }
    }

    async fn finish(self, cx: &Cx) -> PartitionProduceResponse {
        let reply = PartitionProduceResponse::default().with_index(self.index);
        let outcome = match self.state {
            State::Refused(refusal) => Err(refusal),
            State::Appending {
                appended,
                records,
                bytes,
            } => match appended.await {
                Ok(Ok(appended)) => {
                    cx.broker.metrics().produced_records.add(records);
                    cx.broker.metrics().produced_bytes.add(bytes);
                    Ok(appended)
                }
                Ok(Err(error)) => Err(append_refusal(&error)),
                Err(_) => Err(Refusal::new(
                    ErrorCode::KafkaStorageError,
                    "the log is closed",
                )),
            },
        };
        match outcome {
            Ok(appended) => reply
                .with_base_offset(appended.base_offset)
                .with_log_append_time_ms(appended.log_append_time)
                .with_log_start_offset(appended.log_start),
            Err(refusal) => {
                let metrics = cx.broker.metrics();
                metrics.rejected_batches.add(1);
                if refusal.code == ErrorCode::KafkaStorageError {
                    metrics.rejected_disk_full.add(1);
                }
                log_refusal(cx, self.index, &refusal);
                reply
                    .with_error_code(refusal.code.code())
                    .with_base_offset(-1)
                    .with_error_message(Some(StrBytes::from_string(refusal.message)))
            }
        }
    }
}

/// The reason, for whoever runs the server: older clients are told no more than a code. What clients bring about day by
/// day and mend by themselves (a topic that is gone, a sequence sent again) is nobody's business.
fn log_refusal(cx: &Cx, partition: i32, refusal: &Refusal) {
    let everyday = matches!(
        refusal.code,
        ErrorCode::UnknownTopicOrPartition
            | ErrorCode::UnknownTopicId
            | ErrorCode::OutOfOrderSequenceNumber
            | ErrorCode::InvalidProducerEpoch
    );
    let (peer, client, code, reason) = (cx.peer, &cx.client_id, refusal.code, &refusal.message);
    if everyday {
        tracing::debug!(%peer, ?client, partition, ?code, reason, "refused a batch");
    } else if let Some(unsaid) = cx
        .broker
        .refusals_said
        .now(cx.broker.config.clock.elapsed())
    {
        tracing::warn!(%peer, ?client, partition, ?code, reason, unsaid, "refused a batch");
    }
}

/// Checks one partition's batch and hands it to storage. It stays on the thread that reads the connection until then: the
/// next request of the connection must not overtake it.
fn start(cx: &Cx, topic: &Topic, data: PartitionProduceData) -> Started {
    let index = data.index;
    let batch = match prepare(cx, topic, data) {
        Ok(prepared) => prepared,
        Err(refusal) => return Started::refused(index, refusal),
    };
    let (records, bytes) = (
        batch.header().record_count as u64,
        batch.bytes().len() as u64,
    );
    let (done, appended) = oneshot::channel();
    let held = cx.held.clone();
    let panics = cx.broker.config.fault == Some(Fault::PanicInAcknowledgement);
    cx.broker
        .storage
        .append(topic.id, index, batch.into_bytes(), move |outcome| {
            // The connection may be gone; the records are not, nor is the memory that they took until now.
            drop(held);
            assert!(!panics, "it was planted");
            let _ = done.send(outcome);
        });
    Started {
        index,
        state: State::Appending {
            appended,
            records,
            bytes,
        },
    }
}

/// The batch as the topic wants it stored. (A log-append time is storage's to write: it knows the moment.)
fn prepare(cx: &Cx, topic: &Topic, data: PartitionProduceData) -> Result<Batch, Refusal> {
    let rules = &topic.config.produce();
    if data.index < 0 || data.index >= topic.partitions {
        let code = ErrorCode::UnknownTopicOrPartition;
        let message = format!(
            "topic '{}' has partitions 0 to {}",
            topic.name,
            topic.partitions - 1
        );
        return Err(Refusal::new(code, message));
    }
    let batch = only_batch(data.records.unwrap_or_default())?;
    check_header(cx, &batch)?;
    // Before any byte of it is inflated: what is too large as it came is too large, as in Kafka.
    check_size(rules, &batch)?;
    if !opens_records(rules, &batch) {
        batch.verify().map_err(|error| batch_refusal(&error))?;
        check_timestamps(rules, &batch, cx.broker.now_ms())?;
        return Ok(batch);
    }
    // Other connections of this thread are served by another one meanwhile.
    block_in_place(|| {
        let _turn = cx.broker.inflating.enter();
        batch.verify().map_err(|error| batch_refusal(&error))?;
        let batch = batch
            .with_true_timestamps(MAX_INFLATED)
            .and_then(|batch| recompress(rules, batch))
            .map_err(|error| batch_refusal(&error))?;
        check_size(rules, &batch)?;
        check_timestamps(rules, &batch, cx.broker.now_ms())?;
        Ok(batch)
    })
}

/// Whether the records themselves have to be looked at, inflated if they are compressed.
fn opens_records(rules: &ProduceRules, batch: &Batch) -> bool {
    let header = batch.header();
    header.max_timestamp < header.base_timestamp
        || header.is_log_append_time()
        || rules
            .compression
            .is_some_and(|codec| header.compression() != Ok(codec))
        || (rules.before_max_ms.is_some() && !rules.is_log_append_time)
}

fn check_size(rules: &ProduceRules, batch: &Batch) -> Result<(), Refusal> {
    let limit = rules.max_bytes;
    let size = batch.bytes().len();
    if size as i64 <= limit {
        return Ok(());
    }
    let message =
        format!("the batch has {size} bytes, more than the topic's max.message.bytes of {limit}");
    Err(Refusal::new(ErrorCode::MessageTooLarge, message))
}

/// Since format v2 a request carries exactly one batch per partition.
fn only_batch(mut records: Bytes) -> Result<Batch, Refusal> {
    if records.is_empty() {
        return Err(Refusal::new(ErrorCode::InvalidRecord, "no records"));
    }
    let batch = Batch::split_from(&mut records).map_err(|error| batch_refusal(&error))?;
    match records.len() {
        0 => Ok(batch),
        _ => Err(Refusal::new(
            ErrorCode::InvalidRecord,
            "a partition takes exactly one record batch per request",
        )),
    }
}

fn check_header(cx: &Cx, batch: &Batch) -> Result<(), Refusal> {
    let header = batch.header();
    if header.is_control() {
        return Err(Refusal::new(
            ErrorCode::InvalidRecord,
            "clients may not write control records",
        ));
    }
    if header.is_transactional() {
        return Err(Refusal::new(
            ErrorCode::InvalidTxnState,
            "transactions are not supported yet",
        ));
    }
    if header.base_offset != 0 {
        return Err(Refusal::new(
            ErrorCode::InvalidRecord,
            "the base offset of a produced batch is 0",
        ));
    }
    if header.is_idempotent() && header.base_sequence < 0 {
        return Err(Refusal::new(
            ErrorCode::InvalidRecord,
            "a producer id without a sequence number",
        ));
    }
    if header.is_idempotent() && !cx.broker.producer_ids.was_given(header.producer_id) {
        let message = format!(
            "producer id {} was not given by this server; a producer that outlived the server's data must start anew",
            header.producer_id
        );
        return Err(Refusal::new(ErrorCode::InvalidProducerIdMapping, message));
    }
    if header.is_idempotent() && header.producer_epoch < 0 {
        return Err(Refusal::new(
            ErrorCode::InvalidProducerEpoch,
            "a producer id without an epoch",
        ));
    }
    if cx.version < 7 && header.compression() == Ok(Compression::Zstd) {
        let message = "zstd needs Produce version 7 or later";
        return Err(Refusal::new(ErrorCode::UnsupportedCompressionType, message));
    }
    Ok(())
}

/// Obeys `compression.type`. `producer`, the default, leaves the bytes alone.
fn recompress(rules: &ProduceRules, batch: Batch) -> Result<Batch, BatchError> {
    match rules.compression {
        None => Ok(batch),
        Some(codec) => batch.recompress(codec, MAX_INFLATED),
    }
}

/// Holds the producer's timestamps to `message.timestamp.{before,after}.max.ms`, unless they are going to be replaced.
fn check_timestamps(rules: &ProduceRules, batch: &Batch, now: i64) -> Result<(), Refusal> {
    if rules.is_log_append_time {
        return Ok(());
    }
    let before = rules.before_max_ms.unwrap_or(i64::MAX);
    let earliest = now.saturating_sub(before);
    let latest = now.saturating_add(rules.after_max_ms);
    let outside = |timestamp: i64| {
        let message =
            format!("timestamp {timestamp} is outside of the topic's {earliest} to {latest}");
        Err(Refusal::new(ErrorCode::InvalidTimestamp, message))
    };
    if batch.header().max_timestamp > latest {
        return outside(batch.header().max_timestamp);
    }
    // The header does not know the smallest timestamp; the default bound lies before all of them.
    if rules.before_max_ms.is_some() {
        let records = batch
            .records_within(MAX_INFLATED)
            .map_err(|error| batch_refusal(&error))?;
        for record in records.iter() {
            let timestamp = record.map_err(|error| batch_refusal(&error))?.timestamp;
            if timestamp < earliest && timestamp != NO_TIMESTAMP {
                return outside(timestamp);
            }
        }
    }
    Ok(())
}

/// CORRUPT_MESSAGE has a client send the same again, which is right only when the bytes changed on their way.
fn batch_refusal(error: &BatchError) -> Refusal {
    let code = match error {
        BatchError::Crc { .. } => ErrorCode::CorruptMessage,
        BatchError::Codec(CodecError::DependentBlocks) => ErrorCode::UnknownServerError,
        BatchError::Codec(CodecError::TooLarge { .. }) => ErrorCode::MessageTooLarge,
        BatchError::Truncated { .. }
        | BatchError::BadLength(_)
        | BatchError::OldFormat { .. }
        | BatchError::Inconsistent(_)
        | BatchError::Codec(_) => ErrorCode::InvalidRecord,
    };
    Refusal::new(code, error.to_string())
}

fn append_refusal(error: &AppendError) -> Refusal {
    let code = match error {
        AppendError::UnknownPartition => ErrorCode::UnknownTopicOrPartition,
        AppendError::Malformed(_) => ErrorCode::InvalidRecord,
        AppendError::TooLarge { .. } | AppendError::TooManyBatches { .. } => {
            ErrorCode::MessageTooLarge
        }
        AppendError::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
        AppendError::InvalidProducerEpoch { .. } => ErrorCode::InvalidProducerEpoch,
        AppendError::Full(_) | AppendError::Failed(_) => ErrorCode::KafkaStorageError,
    };
    Refusal::new(code, error.to_string())
}
