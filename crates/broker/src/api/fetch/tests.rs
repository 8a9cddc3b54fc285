//! What a reply looks like on the wire, and who is woken by what: on a log that writes when it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Buf;
use lw_protocol::messages::ApiKey;
use lw_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use lw_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use lw_protocol::{BatchBuilder, Compression, StrBytes};
use lw_storage::{Op, Storage};
use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::topics::tests::cx;

/// Our encoder writes what the generated one writes, in every version.
#[test]
fn the_reply_is_what_the_protocol_crate_would_write() {
    let records = vec![Bytes::from(vec![7u8; SMALL]), Bytes::from_static(b"more")];
    let id = Uuid::from_u128(5);
    for version in 4..=18 {
        let name = if version < 13 {
            TopicName(StrBytes::from_static_str("t"))
        } else {
            TopicName::default()
        };
        let id = if version < 13 { Uuid::nil() } else { id };
        let partition = |index, records: &[Bytes]| FetchedPartition {
            index,
            error_code: 0,
            high_watermark: 9,
            log_start: 3,
            records: records.to_vec(),
        };
        let partitions = vec![
            partition(0, &records),
            partition(1, &[]),
            failed(2, ErrorCode::OffsetOutOfRange),
        ];
        let expected = partitions.iter().map(|p| {
            PartitionData::default()
                .with_partition_index(p.index)
                .with_error_code(p.error_code)
                .with_high_watermark(p.high_watermark)
                .with_last_stable_offset(p.high_watermark)
                .with_log_start_offset(p.log_start)
                .with_aborted_transactions(Some(Vec::new()))
                .with_records(Some(p.records.concat().into()))
        });
        let topic = FetchableTopicResponse::default()
            .with_topic(name.clone())
            .with_topic_id(id)
            .with_partitions(expected.collect());
        let expected = FetchResponse::default().with_responses(vec![topic]);
        let expected = frame::encode_response(77, version, &expected).unwrap();

        let topics = vec![FetchedTopic {
            name,
            id,
            partitions,
        }];
        let head = RequestHead {
            api_key: ApiKey::Fetch as i16,
            api_version: version,
            correlation_id: 77,
        };
        let mut reply = encode(
            head,
            &Fetched {
                error_code: 0,
                topics,
            },
        );
        assert_eq!(
            reply.copy_to_bytes(reply.remaining()),
            expected,
            "version {version}"
        );
    }
}

/// How often somebody was woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A poll for topic `t` from its start, which waits for a minute at most.
struct LongPoll {
    answer: std::pin::Pin<Box<dyn Future<Output = (Fetched, Held)>>>,
    woken: Arc<Woken>,
    /// Its clock stands still: nobody drives it.
    runtime: Runtime,
}

impl LongPoll {
    fn begin(cx: &Cx) -> LongPoll {
        LongPoll::for_bytes(cx, 1)
    }

    fn for_bytes(cx: &Cx, min_bytes: i32) -> LongPoll {
        let topic = FetchTopic::default()
            .with_topic(TopicName(StrBytes::from_static_str("t")))
            .with_partitions(vec![
                FetchPartition::default().with_partition_max_bytes(1 << 20),
            ]);
        let request = FetchRequest::default()
            .with_max_wait_ms(60_000)
            .with_min_bytes(min_bytes)
            .with_max_bytes(1 << 20)
            .with_topics(vec![topic]);
        let mut runtime = Builder::new_current_thread();
        LongPoll {
            answer: Box::pin(handle(cx.clone(), request)),
            woken: Arc::default(),
            runtime: runtime.enable_time().build().unwrap(),
        }
    }

    fn answered(&mut self) -> Option<Fetched> {
        let _clock = self.runtime.enter();
        let waker = Waker::from(self.woken.clone());
        match self.answer.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready((fetched, _)) => Some(fetched),
            Poll::Pending => None,
        }
    }

    /// How many batches the answer has; `None` when there is no answer yet.
    fn poll(&mut self) -> Option<usize> {
        let fetched = self.answered()?;
        Some(fetched.topics[0].partitions[0].records.len())
    }

    fn woken(&self) -> usize {
        self.woken.0.load(Ordering::SeqCst)
    }
}

fn append(storage: &Storage, topic: Uuid) {
    let mut batch = BatchBuilder::new(Compression::None);
    batch.push(1000, None, Some(b"v"), &[]);
    let batches = batch.build().unwrap().into_bytes();
    let append = Op::Append {
        topic,
        partition: 0,
        batches,
    };
    storage.commit_blocking(vec![append]).unwrap();
}

fn create(name: &str, id: Uuid) -> Op {
    Op::CreateTopic {
        name: name.to_owned(),
        id,
        partitions: 1,
        config: Default::default(),
        internal: false,
    }
}

#[test]
fn a_long_poll_is_woken_by_its_own_partitions_alone() {
    let cx = cx();
    let storage = cx.broker.storage.clone();
    let other = Uuid::from_u128(2);
    storage.commit_blocking(vec![create("u", other)]).unwrap();
    let mut waits = LongPoll::begin(&cx);
    assert_eq!(waits.poll(), None);
    append(&storage, other);
    assert_eq!(
        waits.woken(),
        0,
        "another topic's records are nothing to it"
    );
    append(&storage, storage.topic("t").unwrap().id);
    assert_eq!(waits.woken(), 1);
    assert_eq!(waits.poll(), Some(1));
}

#[test]
fn a_long_poll_goes_over_to_the_topic_that_has_the_name_now() {
    let cx = cx();
    let storage = cx.broker.storage.clone();
    let mut waits = LongPoll::begin(&cx);
    assert_eq!(waits.poll(), None);
    let old = storage.topic("t").unwrap().id;
    let new = Uuid::from_u128(2);
    let again = vec![Op::DeleteTopic { id: old }, create("t", new)];
    storage.commit_blocking(again).unwrap();
    assert_eq!(waits.woken(), 1, "its partition is gone");
    assert_eq!(waits.poll(), None, "the new one has nothing yet");
    append(&storage, new);
    assert_eq!(waits.woken(), 2);
    assert_eq!(waits.poll(), Some(1));
}

#[test]
fn a_long_poll_whose_records_are_deleted_is_told() {
    let cx = cx();
    let storage = cx.broker.storage.clone();
    let topic = storage.topic("t").unwrap().id;
    append(&storage, topic);
    let mut waits = LongPoll::for_bytes(&cx, 10_000);
    assert_eq!(waits.poll(), None, "one record is not enough");
    let delete = Op::DeleteRecords {
        topic,
        partition: 0,
        before: -1,
    };
    storage.commit_blocking(vec![delete]).unwrap();
    assert_eq!(waits.woken(), 1);
    let fetched = waits.answered().expect("the offset is out of range");
    let code = fetched.topics[0].partitions[0].error_code;
    assert_eq!(code, ErrorCode::OffsetOutOfRange.code());
}

#[test]
fn a_poll_that_does_not_wait_is_answered_at_once() {
    let cx = cx();
    let request = FetchRequest::default().with_topics(vec![
        FetchTopic::default()
            .with_topic(TopicName(StrBytes::from_static_str("t")))
            .with_partitions(vec![FetchPartition::default()]),
    ]);
    let request = request.with_max_wait_ms(0).with_min_bytes(1);
    let answer = futures::FutureExt::now_or_never(handle(cx, request));
    assert!(answer.is_some());
}
