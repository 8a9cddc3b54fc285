//! Produce, Fetch and the offsets between them.

#![expect(
    clippy::disallowed_methods,
    reason = "a real broker on a real clock: long polls are measured, timestamps are of today"
)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use expect_test::{Expect, expect};
use lw_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use lw_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use lw_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use lw_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use lw_protocol::messages::{
    CreatePartitionsRequest, DeleteTopicsRequest, FetchRequest, InitProducerIdRequest,
    ListOffsetsRequest, MetadataRequest, ProduceRequest, TransactionalId,
};
use lw_protocol::{Batch, BatchBuilder, Compression, ErrorCode, batch};
use uuid::Uuid;

use crate::server::{Server, Socket, text, topic_name};

pub(crate) fn now() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_millis() as i64
}

fn records(count: usize, compression: Compression) -> BatchBuilder {
    let mut builder = BatchBuilder::new(compression);
    for index in 0..count {
        builder.push(
            now(),
            Some(b"key"),
            Some(format!("value {index}").as_bytes()),
            &[],
        );
    }
    builder
}

pub(crate) fn produce_bytes(
    socket: &mut Socket,
    topic: &str,
    partition: i32,
    bytes: Bytes,
) -> (ErrorCodeText, i64) {
    let data = PartitionProduceData::default()
        .with_index(partition)
        .with_records(Some(bytes));
    let data = TopicProduceData::default()
        .with_name(topic_name(topic))
        .with_partition_data(vec![data]);
    let request = ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(5000)
        .with_topic_data(vec![data]);
    let reply = socket.call(9, &request);
    let partition = &reply.responses[0].partition_responses[0];
    let text = partition
        .error_message
        .as_ref()
        .map(|text| text.to_string())
        .unwrap_or_default();
    (
        ErrorCodeText(ErrorCode::try_from_code(partition.error_code), text),
        partition.base_offset,
    )
}

/// A code and its text, as one line.
pub(crate) struct ErrorCodeText(Option<ErrorCode>, String);

impl std::fmt::Display for ErrorCodeText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            None => write!(f, "ok"),
            Some(code) => write!(f, "{code:?}: {}", self.1),
        }
    }
}

pub(crate) fn produce(socket: &mut Socket, topic: &str, batch: Batch) -> (String, i64) {
    let (error, offset) = produce_bytes(socket, topic, 0, batch.into_bytes());
    (error.to_string(), offset)
}

fn fetch_request(topic: &str, offset: i64, wait: i32) -> FetchRequest {
    let partition = FetchPartition::default()
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default()
        .with_topic(topic_name(topic))
        .with_partitions(vec![partition]);
    FetchRequest::default()
        .with_max_wait_ms(wait)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_topics(vec![topic])
}

/// Offsets of the records that one fetch brings.
fn fetch(socket: &mut Socket, topic: &str, offset: i64) -> Result<Vec<i64>, ErrorCode> {
    let reply = socket.call(11, &fetch_request(topic, offset, 0));
    let partition = &reply.responses[0].partitions[0];
    if let Some(code) = ErrorCode::try_from_code(partition.error_code) {
        return Err(code);
    }
    let batches = batch::batches(partition.records.clone().unwrap_or_default());
    Ok(batches
        .flat_map(|batch| {
            batch
                .unwrap()
                .records()
                .unwrap()
                .iter()
                .map(|r| r.unwrap().offset)
                .collect::<Vec<_>>()
        })
        .collect())
}

pub(crate) fn list_offset(socket: &mut Socket, topic: &str, timestamp: i64) -> (i64, i64) {
    let partition = ListOffsetsPartition::default().with_timestamp(timestamp);
    let topic = ListOffsetsTopic::default()
        .with_name(topic_name(topic))
        .with_partitions(vec![partition]);
    let reply = socket.call(7, &ListOffsetsRequest::default().with_topics(vec![topic]));
    let partition = &reply.topics[0].partitions[0];
    assert_eq!(partition.error_code, 0);
    (partition.offset, partition.timestamp)
}

#[test]
fn what_is_acknowledged_is_read_back_in_every_codec() {
    let server = Server::start();
    let mut socket = server.with_topic("t", 1, &[]);
    for (round, codec) in Compression::ALL.into_iter().enumerate() {
        let (error, offset) = produce(&mut socket, "t", records(10, codec).build().unwrap());
        assert_eq!((error.as_str(), offset), ("ok", round as i64 * 10));
    }
    // From the middle of a batch the whole batch comes.
    assert_eq!(
        fetch(&mut socket, "t", 25).unwrap(),
        (20..50).collect::<Vec<_>>()
    );
    assert_eq!(fetch(&mut socket, "t", 50), Ok(Vec::new()));
    assert_eq!(
        fetch(&mut socket, "t", 51),
        Err(ErrorCode::OffsetOutOfRange)
    );
    assert_eq!(
        fetch(&mut socket, "t", -1),
        Err(ErrorCode::OffsetOutOfRange)
    );
    assert_eq!(list_offset(&mut socket, "t", -1), (50, -1));
    assert_eq!(list_offset(&mut socket, "t", -2), (0, -1));
    assert_eq!(list_offset(&mut socket, "t", now() + 1000), (-1, -1));
    assert_eq!(list_offset(&mut socket, "t", 0).0, 0);
}

#[test]
fn the_topics_codec_is_obeyed() {
    let server = Server::start();
    let mut socket = server.with_topic("t", 1, &[("compression.type", "lz4")]);
    for codec in Compression::ALL {
        assert_eq!(
            produce(&mut socket, "t", records(3, codec).build().unwrap()).0,
            "ok"
        );
    }
    let reply = socket.call(11, &fetch_request("t", 0, 0));
    let stored = reply.responses[0].partitions[0].records.clone().unwrap();
    let codecs: Vec<_> = batch::batches(stored)
        .map(|batch| batch.unwrap().header().compression().unwrap())
        .collect();
    assert_eq!(codecs, [Compression::Lz4; 5]);
}

#[test]
fn log_append_time_is_the_brokers() {
    let server = Server::start();
    let mut socket = server.with_topic("t", 1, &[("message.timestamp.type", "LogAppendTime")]);
    let mut builder = BatchBuilder::default();
    builder.push(5, None, Some(b"old"), &[]);
    let before = now();
    assert_eq!(produce(&mut socket, "t", builder.build().unwrap()).0, "ok");
    let reply = socket.call(11, &fetch_request("t", 0, 0));
    let mut stored = reply.responses[0].partitions[0].records.clone().unwrap();
    let batch = Batch::split_from(&mut stored).unwrap();
    batch.verify().unwrap();
    assert!(
        batch
            .records()
            .unwrap()
            .iter()
            .all(|record| record.unwrap().timestamp >= before)
    );
}

/// Every refusal of a batch: the code for programs, the text for people.
#[test]
fn bad_batches_are_refused_with_their_reason() {
    let server = Server::start();
    let mut socket = server.with_topic("t", 1, &[("max.message.bytes", "500")]);
    let good = || records(1, Compression::None).build().unwrap().into_bytes();
    let edited = |at: usize, with: &[u8]| {
        let mut bytes = good().to_vec();
        bytes[at..at + with.len()].copy_from_slice(with);
        Bytes::from(bytes)
    };
    let mut future = BatchBuilder::default();
    future.push(i64::MAX, None, None, &[]);
    let mut large = BatchBuilder::default();
    large.push(now(), None, Some(&[0; 1000]), &[]);
    let mut control = BatchBuilder::default().control();
    control.push(now(), None, None, &[]);
    let mut transactional = BatchBuilder::default().transactional();
    transactional.push(now(), None, None, &[]);
    let cases = [
        ("good", 0, good()),
        ("no such partition", 7, good()),
        ("empty", 0, Bytes::new()),
        ("cut short", 0, good().slice(..70)),
        ("old format", 0, edited(16, &[1])),
        ("wrong length", 0, edited(8, &[0, 0, 0, 9])),
        ("two batches", 0, [good(), good()].concat().into()),
        ("too large", 0, large.build().unwrap().into_bytes()),
        ("control", 0, control.build().unwrap().into_bytes()),
        (
            "transactional",
            0,
            transactional.build().unwrap().into_bytes(),
        ),
    ];
    let mut lines = Vec::new();
    for (name, partition, bytes) in cases {
        lines.push(format!(
            "{name}: {}",
            produce_bytes(&mut socket, "t", partition, bytes).0
        ));
    }
    check(
        &lines,
        expect![[r#"
            good: ok
            no such partition: UnknownTopicOrPartition: topic 't' has partitions 0 to 0
            empty: InvalidRecord: no records
            cut short: InvalidRecord: the batch ends early: 70 of 78 bytes
            old format: InvalidRecord: message format v1 is not supported; producers since Kafka 0.11 send v2
            wrong length: InvalidRecord: batch length 9 is impossible
            two batches: InvalidRecord: a partition takes exactly one record batch per request
            too large: MessageTooLarge: the batch has 1070 bytes, more than the topic's max.message.bytes of 500
            control: InvalidRecord: clients may not write control records
            transactional: InvalidTxnState: transactions are not supported yet"#]],
    );
    // These texts hold a number that changes.
    let (error, _) = produce(&mut socket, "t", future.build().unwrap());
    assert!(
        error.starts_with("InvalidTimestamp: timestamp 9223372036854775807 is outside of"),
        "{error}"
    );
    let (error, _) = produce_bytes(&mut socket, "t", 0, edited(64, b"?"));
    assert!(
        error
            .to_string()
            .starts_with("CorruptMessage: CRC mismatch"),
        "{error}"
    );
    assert_eq!(server.broker.metrics().rejected_batches.get(), 11);
    assert_eq!(
        list_offset(&mut socket, "t", -1),
        (1, -1),
        "nothing but the good one was stored"
    );
}

fn check(lines: &[String], expected: Expect) {
    expected.assert_eq(&lines.join("\n"));
}

#[test]
fn a_batch_sent_twice_is_stored_once() {
    let server = Server::start();
    let mut socket = server.with_topic("t", 1, &[]);
    let id = socket
        .call(
            4,
            &InitProducerIdRequest::default().with_transactional_id(None),
        )
        .producer_id
        .0;
    let batch = |sequence| {
        let mut builder = BatchBuilder::default().producer(id, 0, sequence);
        builder.push(now(), None, Some(b"once"), &[]);
        builder.push(now(), None, Some(b"twice"), &[]);
        builder.build().unwrap()
    };
    let first = batch(0);
    assert_eq!(produce(&mut socket, "t", first.clone()), ("ok".into(), 0));
    assert_eq!(produce(&mut socket, "t", first), ("ok".into(), 0));
    assert_eq!(produce(&mut socket, "t", batch(2)), ("ok".into(), 2));
    let (error, _) = produce(&mut socket, "t", batch(9));
    assert!(error.starts_with("OutOfOrderSequenceNumber"), "{error}");
    assert_eq!(list_offset(&mut socket, "t", -1), (4, -1));
}

#[test]
fn producer_ids_are_never_given_twice() {
    let server = Server::start();
    let mut ids = std::collections::BTreeSet::new();
    let mut ask = |socket: &mut Socket| {
        let reply = socket.call(
            1,
            &InitProducerIdRequest::default().with_transactional_id(None),
        );
        assert_eq!((reply.error_code, reply.producer_epoch), (0, 0));
        assert!(
            ids.insert(reply.producer_id.0),
            "{} was given before",
            reply.producer_id.0
        );
    };
    let mut socket = server.connect();
    (0..1500).for_each(|_| ask(&mut socket));
    // As after a restart: nothing is known but what is on disk.
    let mut socket = server.second_broker();
    (0..1500).for_each(|_| ask(&mut socket));
}

#[test]
fn transactions_are_refused_clearly() {
    let server = Server::start();
    let mut socket = server.connect();
    let id = TransactionalId(text("my-app"));
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(id))
        .with_transaction_timeout_ms(1000);
    assert_eq!(
        socket.call(4, &request).error_code,
        ErrorCode::InvalidRequest.code()
    );
}

#[test]
fn a_long_poll_ends_when_records_come() {
    let server = Server::start();
    let mut writer = server.with_topic("t", 1, &[]);
    let mut reader = server.connect();
    let begun = Instant::now();
    reader.send(11, &fetch_request("t", 0, 15_000));
    // Nothing to read yet: the poll waits, while another connection is served.
    assert_eq!(
        produce(
            &mut writer,
            "t",
            records(1, Compression::None).build().unwrap()
        )
        .0,
        "ok"
    );
    let frame = reader.read_frame().unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "woken by the record, not by the clock"
    );
    assert!(frame.len() > batch::HEADER_LEN);
}

#[test]
fn a_long_poll_ends_in_time_without_records() {
    let server = Server::start();
    let mut socket = server.with_topic("t", 1, &[]);
    let begun = Instant::now();
    let reply = socket.call(11, &fetch_request("t", 0, 300));
    assert_eq!(
        reply.responses[0].partitions[0].records.as_deref(),
        Some(&[][..])
    );
    assert!(begun.elapsed() >= Duration::from_millis(300));
}

#[test]
fn the_first_batch_is_sent_however_small_the_limits() {
    let server = Server::start();
    let mut socket = server.with_topic("t", 2, &[]);
    for partition in [0, 1] {
        let batch = records(50, Compression::None).build().unwrap();
        assert_eq!(
            produce_bytes(&mut socket, "t", partition, batch.into_bytes())
                .0
                .to_string(),
            "ok"
        );
    }
    let partition = |index| {
        FetchPartition::default()
            .with_partition(index)
            .with_partition_max_bytes(1)
    };
    // The request's order rules: partition 1 first.
    let topic = FetchTopic::default()
        .with_topic(topic_name("t"))
        .with_partitions(vec![partition(1), partition(0)]);
    let request = FetchRequest::default()
        .with_max_wait_ms(0)
        .with_max_bytes(1)
        .with_topics(vec![topic]);
    let reply = socket.call(11, &request);
    let sizes: Vec<_> = reply.responses[0]
        .partitions
        .iter()
        .map(|partition| {
            (
                partition.partition_index,
                partition.records.as_ref().map_or(0, Bytes::len) > 0,
            )
        })
        .collect();
    assert_eq!(sizes, [(1, true), (0, false)]);
}

#[test]
fn produce_requests_overlap_and_their_replies_keep_their_order() {
    let server = Server::start();
    let mut socket = server.with_topic("t", 1, &[]);
    for _ in 0..200 {
        let data = PartitionProduceData::default().with_records(Some(
            records(1, Compression::None).build().unwrap().into_bytes(),
        ));
        let data = TopicProduceData::default()
            .with_name(topic_name("t"))
            .with_partition_data(vec![data]);
        socket.send(
            9,
            &ProduceRequest::default()
                .with_acks(1)
                .with_topic_data(vec![data]),
        );
    }
    socket.send(1, &MetadataRequest::default());
    for expected in 2..=202 {
        let frame = socket.read_frame().unwrap();
        assert_eq!(i32::from_be_bytes(*frame.first_chunk().unwrap()), expected);
    }
    assert_eq!(list_offset(&mut socket, "t", -1), (200, -1));
}

#[test]
fn without_acks_nothing_is_answered_and_errors_hang_up() {
    let server = Server::start();
    let mut socket = server.with_topic("t", 1, &[]);
    let request = |topic: &str| {
        let data = PartitionProduceData::default().with_records(Some(
            records(1, Compression::None).build().unwrap().into_bytes(),
        ));
        let data = TopicProduceData::default()
            .with_name(topic_name(topic))
            .with_partition_data(vec![data]);
        ProduceRequest::default()
            .with_acks(0)
            .with_topic_data(vec![data])
    };
    socket.send(9, &request("t"));
    // The next reply on this connection is the next request's.
    assert_eq!(list_offset(&mut socket, "t", -1), (1, -1));
    socket.send(9, &request("nowhere"));
    assert!(socket.is_closed());
}

#[test]
fn the_id_of_a_deleted_topic_stays_dead() {
    let server = Server::start();
    let mut socket = server.with_topic("t", 1, &[]);
    let id_of = |socket: &mut Socket| {
        let reply = socket.call(12, &MetadataRequest::default().with_topics(None));
        reply
            .topics
            .iter()
            .find(|topic| topic.name == Some(topic_name("t")))
            .unwrap()
            .topic_id
    };
    let old = id_of(&mut socket);
    let deletion = DeleteTopicsRequest::default()
        .with_topic_names(vec![topic_name("t")])
        .with_timeout_ms(1000);
    assert_eq!(socket.call(5, &deletion).responses[0].error_code, 0);
    let mut socket = server.with_topic("t", 1, &[]);
    let new = id_of(&mut socket);
    assert_ne!(old, new);
    let by_id = |socket: &mut Socket, id: Uuid| {
        let topic = FetchTopic::default()
            .with_topic_id(id)
            .with_partitions(vec![FetchPartition::default()]);
        let reply = socket.call(
            13,
            &FetchRequest::default()
                .with_max_wait_ms(0)
                .with_topics(vec![topic]),
        );
        reply.responses[0].partitions[0].error_code
    };
    assert_eq!(by_id(&mut socket, new), 0);
    assert_eq!(by_id(&mut socket, old), ErrorCode::UnknownTopicId.code());
    let data = PartitionProduceData::default().with_records(Some(
        records(1, Compression::None).build().unwrap().into_bytes(),
    ));
    let data = TopicProduceData::default()
        .with_topic_id(old)
        .with_partition_data(vec![data]);
    let reply = socket.call(
        13,
        &ProduceRequest::default()
            .with_acks(-1)
            .with_topic_data(vec![data]),
    );
    assert_eq!(
        reply.responses[0].partition_responses[0].error_code,
        ErrorCode::UnknownTopicId.code()
    );
}

/// What a producer without a maximum timestamp sends (sarama before 1.43), and one that forges the broker's mark.
#[test]
fn retention_and_look_ups_do_not_hang_on_a_producers_header() {
    let server = Server::start();
    let mut socket = server.with_topic("t", 1, &[]);
    let stamped = |at: usize, with: &[u8]| {
        let mut bytes = records(3, Compression::Gzip)
            .build()
            .unwrap()
            .into_bytes()
            .to_vec();
        bytes[at..at + with.len()].copy_from_slice(with);
        let crc = crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        Bytes::from(bytes)
    };
    let begun = now();
    let (error, _) = produce_bytes(&mut socket, "t", 0, stamped(35, &(-1_i64).to_be_bytes()));
    assert_eq!(error.to_string(), "ok");
    let (offset, newest) = list_offset(&mut socket, "t", -3);
    assert!(offset >= 0 && newest >= begun, "{offset} at {newest}");
    assert_eq!(list_offset(&mut socket, "t", begun).0, 0);
    // The mark would make every record as old as the maximum says.
    let (error, _) = produce_bytes(&mut socket, "t", 0, stamped(21, &[0, 1 | 8]));
    assert_eq!(error.to_string(), "ok");
    let reply = socket.call(11, &fetch_request("t", 3, 0));
    let stored = reply.responses[0].partitions[0].records.clone().unwrap();
    let batch = batch::batches(stored).next().unwrap().unwrap();
    assert!(!batch.header().is_log_append_time());
}

pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
    let byte = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), step);
    !bytes.iter().fold(!0, byte)
}

#[test]
fn more_than_may_be_sent_is_not_waited_for() {
    let server = Server::start();
    let mut socket = server.with_topic("t", 1, &[]);
    let batch = records(10, Compression::None).build().unwrap();
    assert_eq!(produce(&mut socket, "t", batch).0, "ok");
    let begun = Instant::now();
    let request = fetch_request("t", 0, 15_000)
        .with_min_bytes(i32::MAX)
        .with_max_bytes(100);
    let reply = socket.call(11, &request);
    assert!(
        !reply.responses[0].partitions[0]
            .records
            .as_ref()
            .unwrap()
            .is_empty()
    );
    let nothing = FetchRequest::default()
        .with_max_wait_ms(15_000)
        .with_min_bytes(1);
    assert_eq!(socket.call(11, &nothing).responses.len(), 0);
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "nothing was to be waited for"
    );
}

#[test]
fn names_of_offsets_are_known_from_some_version_on() {
    let server = Server::start();
    let mut socket = server.with_topic("t", 1, &[]);
    let mut code = |version, timestamp| {
        let partition = ListOffsetsPartition::default().with_timestamp(timestamp);
        let topic = ListOffsetsTopic::default().with_name(topic_name("t"));
        let request =
            ListOffsetsRequest::default().with_topics(vec![topic.with_partitions(vec![partition])]);
        socket.call(version, &request).topics[0].partitions[0].error_code
    };
    for (timestamp, since) in [
        (-1, 1),
        (-2, 1),
        (-3, 7),
        (-4, 8),
        (-5, 9),
        (-6, 11),
        (i64::MIN, 11),
    ] {
        for version in 1..=10 {
            let expected = if version < since {
                ErrorCode::UnsupportedVersion.code()
            } else {
                0
            };
            assert_eq!(
                code(version, timestamp),
                expected,
                "{timestamp} in version {version}"
            );
        }
    }
}

/// `_schemas` feeds the registry: clients read it, and the server alone changes it.
#[test]
fn an_internal_topic_is_read_but_not_changed_by_clients() {
    let server = Server::start();
    let id = Uuid::from_u128(9);
    let create = lw_storage::Op::CreateTopic {
        name: "_schemas".into(),
        id,
        partitions: 1,
        config: Default::default(),
        internal: true,
    };
    let batch = || records(2, Compression::None).build().unwrap().into_bytes();
    server.storage.commit_blocking(vec![create]).unwrap();
    let (done, appended) = std::sync::mpsc::channel();
    server
        .storage
        .append(id, 0, batch(), move |outcome| drop(done.send(outcome)));
    appended.recv().unwrap().unwrap();

    let mut socket = server.connect();
    assert_eq!(fetch(&mut socket, "_schemas", 0).unwrap(), [0, 1]);
    assert_eq!(list_offset(&mut socket, "_schemas", -1), (2, -1));
    let (written, _) = produce_bytes(&mut socket, "_schemas", 0, batch());
    let grown = CreatePartitionsTopic::default()
        .with_name(topic_name("_schemas"))
        .with_count(2)
        .with_assignments(None);
    let grown = CreatePartitionsRequest::default().with_topics(vec![grown]);
    let grown = socket.call(3, &grown).results.remove(0);
    let deleted = DeleteTopicsRequest::default().with_topic_names(vec![topic_name("_schemas")]);
    let deleted = socket.call(5, &deleted).responses.remove(0);
    let name = |code| ErrorCode::try_from_code(code);
    let lines = [
        written.to_string(),
        ErrorCodeText(
            name(grown.error_code),
            grown.error_message.unwrap_or_default().to_string(),
        )
        .to_string(),
        ErrorCodeText(
            name(deleted.error_code),
            deleted.error_message.unwrap_or_default().to_string(),
        )
        .to_string(),
    ];
    check(
        &lines,
        expect![[r#"
        InvalidTopicException: topic '_schemas' is internal: only the server writes to it
        InvalidTopicException: topic '_schemas' is internal: its partitions are fixed
        InvalidTopicException: topic '_schemas' is internal and cannot be deleted"#]],
    );
    assert_eq!(server.storage.topic("_schemas").unwrap().partitions, 1);
    // Old clients get no text: the reason stands in the log, which `tests/e2e` reads.
}
