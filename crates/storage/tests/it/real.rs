//! On the real disk, with the real threads: what each call promises.

#![expect(
    clippy::disallowed_methods,
    reason = "real threads wait here, and topics get ids as in life"
)]

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use lw_storage::source::{LogSource, NOTHING, SourceError, TopicBatch, TopicOffsets};
use lw_storage::{
    AppendError, CommitError, Expect, FetchFrom, Fetched, LogId, Op, OpenError, ReadError, Storage,
    Table, Uuid,
};
use tempfile::tempdir;

use crate::kit::*;

fn put(key: &str, value: Option<&str>, expect: Expect) -> Op {
    Op::Put {
        table: Table::Catalog,
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: value.map(|value| Bytes::copy_from_slice(value.as_bytes())),
        expect,
    }
}

#[test]
fn what_was_acknowledged_is_there_after_a_clean_close_and_after_none() {
    let dir = tempdir().unwrap();
    let storage = open(dir.path());
    let cluster = storage.cluster_id();
    assert_eq!(cluster.len(), 22);
    let topic = create(&storage, "events", 2);
    append(&storage, topic, 0, batch(&["a", "b"])).unwrap();
    append(&storage, topic, 1, batch(&["x"])).unwrap();
    let third = append(&storage, topic, 0, batch(&["c"])).unwrap();
    assert_eq!(
        (third.base_offset, third.last_offset, third.log_append_time),
        (2, 2, -1)
    );
    storage
        .commit_blocking(vec![put("k", Some("1"), Expect::Absent)])
        .unwrap();
    storage.close();
    // Dropped without close: as after kill -9, there is no checkpoint of the second life.
    for life in 0..3 {
        let storage = open(dir.path());
        assert_eq!(storage.cluster_id(), cluster);
        let mut expected = vec!["0=a".to_owned(), "1=b".into(), "2=c".into()];
        expected.extend((0..life).map(|n| format!("{}=life {n}", 3 + n)));
        assert_eq!(records(&storage, topic, 0), expected);
        assert_eq!(records(&storage, topic, 1), ["0=x"]);
        assert_eq!(storage.get(Table::Catalog, b"k").unwrap(), "1");
        append(&storage, topic, 0, batch(&[&format!("life {life}")])).unwrap();
    }
}

#[test]
fn many_files_are_read_back_in_order_after_sealing_and_restart() {
    let dir = tempdir().unwrap();
    let value = "v".repeat(10_000);
    let storage = open(dir.path());
    let topic = create(&storage, "big", 3);
    for n in 0..600 {
        append(&storage, topic, n % 3, batch(&[&value])).unwrap();
    }
    let count = |storage: &Storage| {
        assert!(
            storage.stats().wal_files > 4,
            "the test wants several files"
        );
        for partition in 0..3 {
            assert_eq!(records(storage, topic, partition).len(), 200);
        }
        let mut from = BTreeMap::new();
        let mut orders = Vec::new();
        loop {
            let read = storage.read("big", &from, 100_000).unwrap();
            if read.is_empty() {
                break;
            }
            for batch in read {
                orders.push((batch.order, batch.partition));
                *from.entry(batch.partition).or_insert(0) += 1;
            }
        }
        assert_eq!(orders.len(), 600);
        assert!(orders.is_sorted(), "WAL order");
        assert!(
            orders
                .iter()
                .enumerate()
                .all(|(n, (_, partition))| n as i32 % 3 == *partition)
        );
    };
    count(&storage);
    drop(storage);
    count(&open(dir.path()));
    // Lost and damaged sidecars are rebuilt.
    std::fs::remove_file(dir.path().join("wal/00000000000000000001.idx")).unwrap();
    std::fs::write(dir.path().join("wal/00000000000000000002.idx"), b"garbage").unwrap();
    count(&open(dir.path()));
}

#[test]
fn a_frame_is_all_or_nothing() {
    let dir = tempdir().unwrap();
    let storage = open(dir.path());
    let topic = create(&storage, "t", 1);
    let value = |text: &'static str| Expect::Value(Bytes::from_static(text.as_bytes()));
    storage
        .commit_blocking(vec![
            put("a", Some("1"), Expect::Absent),
            put("b", Some("1"), Expect::Any),
        ])
        .unwrap();
    let append_op = Op::Append {
        topic,
        partition: 0,
        batches: batch(&["never"]),
    };
    let refused = storage.commit_blocking(vec![
        append_op,
        put("a", Some("2"), value("1")),
        put("b", None, value("0")),
    ]);
    let conflict = CommitError::Conflict {
        table: Table::Catalog,
        key: Bytes::from_static(b"b"),
    };
    assert_eq!(refused, Err(conflict));
    assert_eq!(records(&storage, topic, 0), Vec::<String>::new());
    assert_eq!(storage.get(Table::Catalog, b"a").unwrap(), "1");
    // Steps see those before them in the same frame.
    let id = Uuid::new_v4();
    let create = Op::CreateTopic {
        name: "n".into(),
        id,
        partitions: 1,
        config: BTreeMap::new(),
        internal: true,
    };
    let first = Op::Append {
        topic: id,
        partition: 0,
        batches: batch(&["first"]),
    };
    let committed = storage.commit_blocking(vec![
        create,
        first,
        put("a", Some("2"), value("1")),
        put("a", None, value("2")),
    ]);
    assert_eq!(committed.unwrap().appended[0].base_offset, 0);
    assert_eq!(records(&storage, id, 0), ["0=first"]);
    assert_eq!(storage.get(Table::Catalog, b"a"), None);
    assert_eq!(
        storage.scan(Table::Catalog, b""),
        [(Bytes::from_static(b"b"), Bytes::from_static(b"1"))]
    );
}

#[test]
fn idempotent_producers_are_answered_as_kafka_answers() {
    let dir = tempdir().unwrap();
    let storage = open(dir.path());
    let topic = create(&storage, "t", 1);
    let send = |storage: &Storage, epoch, sequence, values: &[&str]| {
        let batches = idempotent(7, epoch, sequence, values);
        match append(storage, topic, 0, batches) {
            Ok(appended) if appended.duplicate => format!("again {}", appended.base_offset),
            Ok(appended) => format!("at {}", appended.base_offset),
            Err(AppendError::OutOfOrderSequence { expected, .. }) => {
                format!("hole, {expected} is due")
            }
            Err(AppendError::InvalidProducerEpoch { current, .. }) => {
                format!("fenced by {current}")
            }
            Err(other) => other.to_string(),
        }
    };
    let cases: &[(i16, i32, &[&str], &str)] = &[
        (0, 40, &["a", "b"], "at 0"), // unknown: any sequence
        (0, 42, &["c"], "at 2"),
        (0, 40, &["a", "b"], "again 0"),
        (0, 40, &["a"], "hole, 43 is due"), // overlaps, but is not the same batch
        (0, 44, &["e"], "hole, 43 is due"),
        (1, 5, &["x"], "hole, 0 is due"),
        (1, 0, &["x"], "at 3"),
        (0, 43, &["d"], "fenced by 1"),
        (1, 1, &["1"], "at 4"),
        (1, 2, &["2"], "at 5"),
        (1, 3, &["3"], "at 6"),
        (1, 4, &["4"], "at 7"),
        (1, 5, &["5"], "at 8"),
        (1, 0, &["x"], "hole, 6 is due"), // fell out of the window of five
        (1, 1, &["1"], "again 4"),
    ];
    for (epoch, sequence, values, expected) in cases {
        assert_eq!(
            send(&storage, *epoch, *sequence, values),
            *expected,
            "{epoch} {sequence}"
        );
    }
    drop(storage);
    let storage = open(dir.path());
    assert_eq!(
        send(&storage, 1, 3, &["3"]),
        "again 6",
        "known after a crash"
    );
    storage.close();
    let storage = open(dir.path());
    assert_eq!(
        send(&storage, 1, 3, &["3"]),
        "again 6",
        "known after a checkpoint"
    );
    assert_eq!(send(&storage, 1, 6, &["6"]), "at 9");
}

#[test]
fn reads_stay_between_log_start_and_high_watermark() {
    let dir = tempdir().unwrap();
    let storage = open(dir.path());
    let topic = create(&storage, "t", 1);
    append(&storage, topic, 0, batch(&["a", "b", "c"])).unwrap();
    append(&storage, topic, 0, batch(&["d"])).unwrap();
    let out = |asked| {
        Err(ReadError::OutOfRange {
            asked,
            start: 2,
            end: 4,
        })
    };
    let delete = Op::DeleteRecords {
        topic,
        partition: 0,
        before: 2,
    };
    storage.commit_blocking(vec![delete]).unwrap();
    let bases = |offset, max| {
        storage
            .fetch(topic, 0, offset, max)
            .map(|f| f.batches.len())
    };
    assert_eq!(bases(1, 1 << 20), out(1));
    assert_eq!(bases(5, 1 << 20), out(5));
    assert_eq!(bases(2, 1 << 20), Ok(2));
    assert_eq!(bases(2, 1), Ok(1), "one whole batch even when it is larger");
    assert_eq!(bases(4, 1 << 20), Ok(0));
    assert_eq!(storage.offset_for_time(topic, 0, 0), Ok(Some((2, 1002))));
    assert_eq!(storage.offset_for_time(topic, 0, 1001), Ok(Some((2, 1002))));
    assert_eq!(storage.offset_for_time(topic, 0, 1003), Ok(None));
    assert_eq!(storage.max_timestamp(topic, 0), Ok(Some((2, 1002))));
    let unknown = Storage::fetch(&storage, topic, 9, 0, 1).map(|f| f.batches.len());
    assert_eq!(unknown, Err(ReadError::UnknownPartition));
    let too_far = Op::DeleteRecords {
        topic,
        partition: 0,
        before: 9,
    };
    let refused = storage.commit_blocking(vec![too_far]);
    assert_eq!(
        refused,
        Err(CommitError::OffsetOutOfRange {
            asked: 9,
            start: 2,
            end: 4
        })
    );
}

#[test]
fn times_are_looked_up_among_the_records_that_are_left() {
    let dir = tempdir().unwrap();
    let storage = open(dir.path());
    let topic = create(&storage, "t", 1);
    // Timestamps 1000, 1001, … in each: offset 2 has the largest, 1002.
    for values in [&["a", "b", "c"][..], &["d", "e"], &["f"], &["g", "h"]] {
        append(&storage, topic, 0, batch(values)).unwrap();
    }
    let check = |storage: &Storage, before, largest, at_1001, at_1002| {
        let delete = Op::DeleteRecords {
            topic,
            partition: 0,
            before,
        };
        storage.commit_blocking(vec![delete]).unwrap();
        assert_eq!(storage.max_timestamp(topic, 0), Ok(largest), "{before}");
        let found = [1001, 1002].map(|at| storage.offset_for_time(topic, 0, at).unwrap());
        assert_eq!(found, [at_1001, at_1002], "{before}");
    };
    let at = |offset, time| Some((offset, time));
    check(&storage, 1, at(2, 1002), at(1, 1001), at(2, 1002));
    check(&storage, 3, at(4, 1001), at(4, 1001), None);
    // The same where the batches stand in a sealed file.
    let value = "v".repeat(100_000);
    let other = create(&storage, "other", 1);
    for _ in 0..30 {
        append(&storage, other, 0, batch(&[&value])).unwrap();
    }
    check(&storage, 4, at(4, 1001), at(4, 1001), None);
    check(&storage, 5, at(7, 1001), at(7, 1001), None);
    check(&storage, 7, at(7, 1001), at(7, 1001), None);
    check(&storage, 8, None, None, None);
}

/// The batch that the log's start cuts has the largest time of all, but not in a record that is left.
#[test]
fn a_time_that_only_deleted_records_have_does_not_end_the_search() {
    for sealed in [false, true] {
        let dir = tempdir().unwrap();
        let storage = open(dir.path());
        let topic = create(&storage, "t", 1);
        for times in [&[1002, 1000][..], &[1001]] {
            append(&storage, topic, 0, batch_of_times(times)).unwrap();
        }
        if sealed {
            let value = "v".repeat(100_000);
            let other = create(&storage, "other", 1);
            for _ in 0..30 {
                append(&storage, other, 0, batch(&[&value])).unwrap();
            }
        }
        let delete = Op::DeleteRecords {
            topic,
            partition: 0,
            before: 1,
        };
        storage.commit_blocking(vec![delete]).unwrap();
        let by_time = storage.offset_for_time(topic, 0, 1001);
        assert_eq!(by_time, Ok(Some((2, 1001))), "sealed: {sealed}");
        let newest = storage.max_timestamp(topic, 0);
        assert_eq!(newest, Ok(Some((2, 1001))), "sealed: {sealed}");
    }
}

#[test]
fn a_fetch_of_many_shares_one_budget_and_one_moment() {
    let dir = tempdir().unwrap();
    let storage = open(dir.path());
    let topic = create(&storage, "t", 4);
    for partition in [0, 1, 1, 2] {
        append(&storage, topic, partition, batch(&["0123456789"])).unwrap();
    }
    let size = storage.fetch(topic, 0, 0, 1).unwrap().size();
    let from = |partition, offset, max_bytes| FetchFrom {
        topic,
        partition,
        offset,
        max_bytes,
    };
    let all = |max| {
        [
            from(3, 0, max),
            from(1, 0, max),
            from(0, 0, max),
            from(2, 0, max),
        ]
    };
    let counts = |asked: &[FetchFrom], max| -> Vec<usize> {
        let fetched = storage.fetch_many(asked, max);
        assert_eq!(
            storage.fetch_resident(asked, max).unwrap().len(),
            asked.len()
        );
        let count = |f: &Result<Fetched, _>| f.as_ref().unwrap().batches.len();
        fetched.iter().map(count).collect()
    };
    assert_eq!(counts(&all(1 << 20), 1 << 20), [0, 2, 1, 1]);
    assert_eq!(
        counts(&all(1 << 20), 1),
        [0, 1, 0, 0],
        "the first comes in any case"
    );
    assert_eq!(
        counts(&all(size), 1 << 20),
        [0, 1, 1, 1],
        "a partition's own bound"
    );
    assert_eq!(counts(&all(1), 1 << 20), [0, 1, 0, 0]);
    assert_eq!(counts(&all(1 << 20), 3 * size), [0, 2, 1, 0]);
    let odd = storage.fetch_many(&[from(0, 9, 1), from(9, 0, 1), from(2, 0, 1)], 1);
    let out = ReadError::OutOfRange {
        asked: 9,
        start: 0,
        end: 1,
    };
    assert_eq!(odd[0].as_ref().err(), Some(&out));
    assert_eq!(odd[1].as_ref().err(), Some(&ReadError::UnknownPartition));
    let last = odd[2].as_ref().unwrap();
    assert_eq!(
        (
            last.batches.len(),
            last.high_watermark,
            last.last_stable_offset
        ),
        (1, 1, 1)
    );
    storage.close();
    // After a restart nothing is in memory.
    let storage = open(dir.path());
    assert!(storage.fetch_resident(&all(1 << 20), 1 << 20).is_none());
    assert_eq!(
        storage.fetch_many(&all(1 << 20), 3 * size)[1]
            .as_ref()
            .unwrap()
            .size(),
        2 * size
    );
}

#[test]
fn log_append_time_is_stamped_and_summed_anew() {
    let dir = tempdir().unwrap();
    let storage = open(dir.path());
    let topic = create_with(
        &storage,
        "t",
        1,
        &[("message.timestamp.type", "LogAppendTime")],
    );
    let appended = append(&storage, topic, 0, batch(&["a"])).unwrap();
    assert!(appended.log_append_time > 1_700_000_000_000);
    assert_eq!(records(&storage, topic, 0), ["0=a"]);
    let at = appended.log_append_time;
    assert_eq!(storage.offset_for_time(topic, 0, at), Ok(Some((0, at))));
}

#[test]
fn retention_by_size_and_time_takes_whole_files_off_the_disk() {
    let dir = tempdir().unwrap();
    let storage = open(dir.path());
    let value = "v".repeat(10_000);
    // Timestamps of 1970 are past any retention in milliseconds, so time is off for the first topic.
    let sized = create_with(
        &storage,
        "sized",
        1,
        &[("retention.ms", "-1"), ("retention.bytes", "1000000")],
    );
    let timed = create_with(&storage, "timed", 1, &[("retention.ms", "1000")]);
    let kept = create_with(&storage, "kept", 1, &[("retention.ms", "-1")]);
    append(&storage, timed, 0, batch(&["old"])).unwrap();
    for _ in 0..500 {
        append(&storage, sized, 0, batch(&[&value])).unwrap();
    }
    let files = storage.stats().wal_files;
    storage.run_retention();
    append(&storage, kept, 0, batch(&["after"])).unwrap(); // retention's frame stands before this one
    storage.upkeep();
    let bounds = storage.bounds(sized, 0).unwrap();
    assert!(
        (1_000_000..2_100_000).contains(&bounds.size_bytes),
        "{bounds:?}"
    );
    assert!(bounds.log_start > 250);
    assert_eq!(storage.bounds(timed, 0).unwrap().log_start, 1);
    assert!(storage.stats().wal_files < files);
    assert_eq!(
        records(&storage, sized, 0).len() as i64,
        500 - bounds.log_start
    );
    drop(storage);
    let storage = open(dir.path());
    assert_eq!(storage.bounds(sized, 0).unwrap(), bounds);
    assert_eq!(records(&storage, kept, 0), ["0=after"]);
    for _ in 0..300 {
        append(&storage, sized, 0, batch(&[&value])).unwrap();
    }
    assert_eq!(storage.bounds(sized, 0).unwrap().high_watermark, 800);
    assert_eq!(
        records(&storage, sized, 0).len() as i64,
        800 - bounds.log_start
    );
}

#[test]
fn the_second_opener_learns_the_first_ones_pid() {
    let dir = tempdir().unwrap();
    let storage = open(dir.path());
    match try_open(config(dir.path())) {
        Err(OpenError::Locked { pid }) => assert_eq!(pid, std::process::id()),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("two owners"),
    }
    let other = storage.clone();
    storage.close();
    let reopened = open(dir.path());
    let refused = append(&other, Uuid::nil(), 0, batch(&["late"]));
    assert_eq!(
        refused,
        Err(AppendError::Failed("the storage is closed".into()))
    );
    reopened.close();
}

#[test]
fn a_newer_format_is_refused() {
    let dir = tempdir().unwrap();
    open(dir.path()).close();
    std::fs::write(dir.path().join("meta"), br#"{"format":6,"cluster_id":"x"}"#).unwrap();
    match try_open(config(dir.path())) {
        Err(OpenError::NewerFormat { found: 6, known: 5 }) => {}
        other => panic!("{:?}", other.err()),
    }
}

#[test]
fn a_flipped_bit_on_disk_is_an_error_and_never_a_record() {
    let dir = tempdir().unwrap();
    let storage = open(dir.path());
    let topic = create(&storage, "t", 1);
    let value = "v".repeat(50_000);
    for _ in 0..60 {
        append(&storage, topic, 0, batch(&[&value])).unwrap();
    }
    storage.close();
    let first = dir.path().join("wal/00000000000000000001.wal");
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(first)
        .unwrap();
    file.write_all_at(b"X", 30_000).unwrap();
    let storage = open(dir.path());
    match storage.fetch(topic, 0, 0, 1) {
        Err(ReadError::Corrupt { reason, .. }) => assert!(reason.contains("CRC"), "{reason}"),
        other => panic!("{:?}", other.map(|f| f.batches.len())),
    }
    assert_eq!(
        storage.fetch(topic, 0, 1, 1).unwrap().batches.len(),
        1,
        "its neighbour is well"
    );
    assert!(matches!(
        storage.read("t", &BTreeMap::new(), 1),
        Err(SourceError::Unreadable(_))
    ));
}

#[test]
fn readers_are_woken_after_the_sync() {
    let dir = tempdir().unwrap();
    let storage = open(dir.path());
    let topic = create(&storage, "t", 2);
    let none = BTreeMap::new();
    assert!(!storage.wait("t", &none, Duration::from_millis(1)));
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let logs = [0, 1].map(|partition| LogId { topic, partition });
    let watch = storage.watch(logs.to_vec(), move || {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    let waiter = {
        let storage = storage.clone();
        std::thread::spawn(move || {
            storage.wait(
                "t",
                &BTreeMap::from([(0, 0), (1, 0)]),
                Duration::from_secs(60),
            )
        })
    };
    append(&storage, topic, 1, batch(&["x"])).unwrap();
    assert!(waiter.join().unwrap());
    assert!(storage.wait("t", &none, Duration::ZERO));
    assert!(!storage.wait("t", &BTreeMap::from([(1, 1)]), Duration::from_millis(1)));
    drop(watch);
    let before = calls.load(Ordering::SeqCst);
    append(&storage, topic, 1, batch(&["y"])).unwrap();
    assert!(
        calls.load(Ordering::SeqCst) <= before + 1,
        "at most the call that was on its way"
    );
    let far = storage.read("t", &BTreeMap::from([(0, 5)]), 1);
    assert_eq!(
        far,
        Err(SourceError::OutOfRange {
            topic: "t".into(),
            partition: 0,
            asked: 5,
            start: 0
        })
    );
    let known = vec!["t".to_owned()];
    assert_eq!(
        storage.partitions("x"),
        Err(SourceError::UnknownTopic {
            name: "x".into(),
            known
        })
    );
}

#[test]
fn a_batch_larger_than_a_file_gets_a_file_of_its_own() {
    let dir = tempdir().unwrap();
    let storage = open(dir.path());
    let topic = create(&storage, "t", 1);
    let huge = "h".repeat(5 << 20);
    append(&storage, topic, 0, batch(&["before"])).unwrap();
    append(&storage, topic, 0, batch(&[&huge])).unwrap();
    append(&storage, topic, 0, batch(&["after"])).unwrap();
    drop(storage);
    let storage = open(dir.path());
    let lengths: Vec<usize> = records(&storage, topic, 0)
        .iter()
        .map(String::len)
        .collect();
    assert_eq!(lengths, [8, 2 + (5 << 20), 7]);
}

#[test]
fn a_topic_deleted_and_created_again_is_another_one() {
    let dir = tempdir().unwrap();
    let storage = open(dir.path());
    let first = create(&storage, "t", 1);
    append(&storage, first, 0, batch(&["old"])).unwrap();
    let again = Op::CreateTopic {
        name: "t".into(),
        id: Uuid::new_v4(),
        partitions: 1,
        config: BTreeMap::new(),
        internal: false,
    };
    assert_eq!(
        storage.commit_blocking(vec![again]),
        Err(CommitError::TopicExists("t".into()))
    );
    storage
        .commit_blocking(vec![Op::DeleteTopic { id: first }])
        .unwrap();
    assert!(storage.topic("t").is_none());
    assert_eq!(
        append(&storage, first, 0, batch(&["late"])),
        Err(AppendError::UnknownPartition)
    );
    let second = create(&storage, "t", 1);
    storage
        .commit_blocking(vec![Op::CreatePartitions {
            id: second,
            total: 3,
        }])
        .unwrap();
    drop(storage);
    let storage = open(dir.path());
    assert_eq!(storage.topic("t").unwrap().id, second);
    assert_eq!(storage.topic("t").unwrap().partitions, 3);
    assert_eq!(records(&storage, second, 0), Vec::<String>::new());
    assert!(storage.topic_by_id(first).is_none());
}

#[test]
fn several_topics_are_read_in_one_order_and_partitions_can_be_left_out() {
    let dir = tempdir().unwrap();
    let storage = open(dir.path());
    let (a, b) = (create(&storage, "a", 2), create(&storage, "b", 1));
    let mut expected = Vec::new();
    for round in 0..30 {
        let (topic, name, partition) = match round * 7 % 5 {
            0 | 3 => (a, "a", 1),
            1 => (a, "a", 0),
            _ => (b, "b", 0),
        };
        append(&storage, topic, partition, batch(&["x"])).unwrap();
        expected.push((name.to_owned(), partition));
    }
    let read = |mut from: TopicOffsets, max_bytes| {
        let mut seen = Vec::new();
        loop {
            let batches = storage.read_topics(&from, max_bytes).unwrap();
            if batches.is_empty() {
                return seen;
            }
            for TopicBatch { topic, batch } in batches {
                let next = from.get_mut(&*topic).unwrap();
                *next.entry(batch.partition).or_default() += 1;
                seen.push((topic.to_string(), batch.partition));
            }
        }
    };
    let all = || TopicOffsets::from([("a".into(), BTreeMap::new()), ("b".into(), BTreeMap::new())]);
    // The order does not depend on the size of the reads.
    assert_eq!(read(all(), 1), expected);
    assert_eq!(read(all(), 1 << 20), expected);
    let mut without = all();
    without.get_mut("a").unwrap().insert(1, NOTHING);
    expected.retain(|(topic, partition)| (topic.as_str(), *partition) != ("a", 1));
    assert_eq!(read(without, 1 << 20), expected);
    let silent = TopicOffsets::from([("b".into(), BTreeMap::from([(0, NOTHING)]))]);
    assert!(!storage.wait_topics(&silent, Duration::ZERO));
    assert!(storage.wait_topics(&all(), Duration::ZERO));
}

#[test]
fn a_reader_hears_of_a_partition_that_was_added_while_it_waited() {
    let dir = tempdir().unwrap();
    let storage = open(dir.path());
    let id = create(&storage, "t", 1);
    let waiter = {
        let storage = storage.clone();
        let at_the_end = BTreeMap::from([(0, 0)]);
        std::thread::spawn(move || storage.wait("t", &at_the_end, Duration::from_secs(60)))
    };
    let grow = Op::CreatePartitions { id, total: 2 };
    storage.commit_blocking(vec![grow]).unwrap();
    append(&storage, id, 1, batch(&["x"])).unwrap();
    assert!(waiter.join().unwrap());
}

#[test]
fn a_configuration_is_judged_where_it_is_set_and_read_again_at_a_restart() {
    let dir = tempdir().unwrap();
    let storage = open(dir.path());
    let given = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
    let create = |name: &str, internal, config| Op::CreateTopic {
        name: name.to_owned(),
        id: Uuid::new_v4(),
        partitions: 1,
        config,
        internal,
    };
    let refused = |op: Op| match storage.commit_blocking(vec![op]) {
        Err(CommitError::InvalidConfig(invalid)) => invalid.to_string(),
        other => panic!("{other:?}"),
    };
    let compact = given("cleanup.policy", "compact");
    assert!(
        refused(create("t", false, compact.clone())).contains("compact is not supported yet"),
        "it would never be done"
    );
    assert!(storage.topic("t").is_none());
    let topic = create_with(&storage, "t", 1, &[("retention.ms", "5")]);
    let config = given("retention.ms", "a week");
    let refusal = refused(Op::AlterConfig { id: topic, config });
    assert!(refusal.ends_with("Not a number of type LONG"), "{refusal}");
    // What a topic of ours says of itself is not obeyed.
    storage
        .commit_blocking(vec![create("_ours", true, compact.clone())])
        .unwrap();
    drop(storage);
    let storage = open(dir.path());
    let config = |name: &str| storage.topic(name).unwrap().config.clone();
    assert_eq!(config("t").retention().ms, Some(5));
    assert_eq!(*config("_ours").given(), compact);
}
