//! Full disks and failing ones, step by step on the simulated disk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::channel;

use bytes::Bytes;
use lw_sim::{SimClock, SimDisk, Trouble};
use lw_stdx::disk::Disk;
use lw_storage::source::LogSource;
use lw_storage::{AppendError, CommitError, Config, Expect, Op, Storage, Table, Uuid};

use crate::kit::{batch, create, records};

struct Bench {
    disk: SimDisk,
    clock: Arc<SimClock>,
}

impl Bench {
    fn new() -> Bench {
        let clock = Arc::new(SimClock::new());
        Bench {
            disk: SimDisk::new(1, clock.clone()),
            clock,
        }
    }

    fn open(&self) -> Storage {
        let config = Config {
            wal_file_bytes: 32 << 10,
            min_free_bytes: 4 << 10,
            ..Config::new("/data")
        };
        Storage::open_stepped(Arc::new(self.disk.clone()), self.clock.clone(), config).unwrap()
    }
}

fn append(storage: &Storage, topic: Uuid, value: &str) -> Result<i64, AppendError> {
    let (sender, receiver) = channel();
    storage.append(topic, 0, batch(&[value]), move |result| {
        sender.send(result).unwrap()
    });
    storage.step();
    receiver
        .try_recv()
        .unwrap()
        .map(|appended| appended.base_offset)
}

fn put(storage: &Storage, value: u32) -> Result<(), CommitError> {
    let op = Op::Put {
        table: Table::GroupOffsets,
        key: Bytes::from_static(b"group"),
        value: Some(Bytes::from(value.to_string())),
        expect: Expect::Any,
    };
    storage.commit_blocking(vec![op]).map(drop)
}

#[test]
fn a_full_disk_refuses_appends_keeps_reading_and_recovers_by_itself() {
    let bench = Bench::new();
    let storage = bench.open();
    let topic = create(&storage, "t", 1);
    let value = "v".repeat(300);
    append(&storage, topic, &value).unwrap();
    bench.disk.cause(Trouble::Capacity(40_000));
    let mut taken = 1;
    let refused = loop {
        match append(&storage, topic, &value) {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(
        matches!(refused, AppendError::Full(full) if full.free < full.needed),
        "{refused}"
    );
    assert!(storage.stats().write_blocked);
    assert_eq!(records(&storage, topic, 0).len(), taken, "reads go on");
    for n in 0..10 {
        put(&storage, n).expect("offset commits go on in the reserve");
    }
    storage
        .commit_blocking(vec![Op::DeleteRecords {
            topic,
            partition: 0,
            before: 1,
        }])
        .unwrap();
    bench.disk.cause(Trouble::Capacity(u64::MAX));
    assert_eq!(
        append(&storage, topic, "after"),
        Ok(taken as i64),
        "no restart needed"
    );
    assert!(!storage.stats().write_blocked);
    drop(storage);
    bench.disk.crash();
    let storage = bench.open();
    assert_eq!(
        records(&storage, topic, 0).last().unwrap(),
        &format!("{taken}=after")
    );
    assert_eq!(storage.get(Table::GroupOffsets, b"group").unwrap(), "9");
}

#[test]
fn the_reserve_ends_too_and_says_so() {
    let bench = Bench::new();
    let storage = bench.open();
    bench.disk.cause(Trouble::Capacity(40_000));
    let refused = (0..5000).find_map(|n| put(&storage, n).err());
    assert!(matches!(refused, Some(CommitError::Full(_))), "{refused:?}");
    bench.disk.cause(Trouble::Capacity(u64::MAX));
    put(&storage, 7).unwrap();
    assert_eq!(storage.get(Table::GroupOffsets, b"group").unwrap(), "7");
}

/// Offset commits go on until no room is left for them; what frees space must still find some, and then all goes on.
#[test]
fn a_full_disk_always_has_room_for_what_frees_space() {
    type Free = fn(&Storage, Uuid);
    let by_deleting: Free = |storage, topic| {
        let end = storage.bounds(topic, 0).unwrap().high_watermark;
        let op = Op::DeleteRecords {
            topic,
            partition: 0,
            before: end,
        };
        storage.commit_blocking(vec![op]).unwrap();
    };
    let by_topic: Free = |storage, topic| {
        storage
            .commit_blocking(vec![Op::DeleteTopic { id: topic }])
            .unwrap();
    };
    let by_retention: Free = |storage, topic| {
        // All of this was written in 1970, but the topic was to be kept until now.
        storage.holds_ready();
        storage.run_retention();
        while storage.step() {}
        let bounds = storage.bounds(topic, 0).unwrap();
        assert_eq!(bounds.log_start, bounds.high_watermark);
    };
    for free in [by_deleting, by_topic, by_retention] {
        let bench = Bench::new();
        let storage = bench.open();
        let (topic, other) = (create(&storage, "t", 1), create(&storage, "o", 1));
        bench.disk.cause(Trouble::Capacity(110_000));
        let value = "v".repeat(900);
        while append(&storage, topic, &value).is_ok() {
            storage.upkeep();
        }
        while put(&storage, 1).is_ok() {}
        let manifest = |n: u32| {
            let op = Op::Put {
                table: Table::Manifests,
                key: Bytes::from_static(b"m"),
                value: Some(Bytes::from(n.to_string())),
                expect: Expect::Any,
            };
            storage.commit_blocking(vec![op])
        };
        manifest(0).expect("a pipeline's checkpoint finds room when offset commits do not");
        while manifest(1).is_ok() {}
        free(&storage, topic);
        storage.upkeep();
        storage.upkeep();
        assert_eq!(append(&storage, other, "after"), Ok(0));
        put(&storage, 2).unwrap();
    }
}

/// A free that waits behind an offset commit must not be refused with it.
#[test]
fn frees_in_the_same_group_as_what_finds_no_room_are_carried_out() {
    let bench = Bench::new();
    let storage = bench.open();
    let topic = create(&storage, "t", 1);
    bench.disk.cause(Trouble::Capacity(40_000));
    while append(&storage, topic, &"v".repeat(300)).is_ok() {}
    while put(&storage, 1).is_ok() {}
    let (sender, receiver) = channel();
    let offsets = Op::Put {
        table: Table::GroupOffsets,
        key: Bytes::from_static(b"group"),
        value: Some(Bytes::from_static(b"2")),
        expect: Expect::Any,
    };
    for (name, op) in [
        ("offsets", offsets),
        ("delete", Op::DeleteTopic { id: topic }),
    ] {
        let sender = sender.clone();
        storage.commit(vec![op], move |result| {
            sender.send((name, result.is_ok())).unwrap();
        });
    }
    while storage.step() {}
    let answers: Vec<_> = receiver.try_iter().collect();
    assert_eq!(answers, [("offsets", false), ("delete", true)]);
    assert!(storage.topic("t").is_none());
}

#[test]
fn after_a_failed_sync_nothing_is_written_until_a_restart() {
    let bench = Bench::new();
    let storage = bench.open();
    let topic = create(&storage, "t", 1);
    append(&storage, topic, "kept").unwrap();
    bench.disk.cause(Trouble::FailedSync);
    assert!(matches!(
        append(&storage, topic, "lost"),
        Err(AppendError::Failed(_))
    ));
    assert!(matches!(
        append(&storage, topic, "too"),
        Err(AppendError::Failed(_))
    ));
    assert!(matches!(put(&storage, 1), Err(CommitError::Failed(_))));
    let stats = storage.stats();
    assert!(stats.write_blocked && stats.failed.is_some_and(|why| why.contains("sync")));
    assert_eq!(records(&storage, topic, 0), ["0=kept"], "reads go on");
    drop(storage);
    bench.disk.crash();
    let storage = bench.open();
    assert_eq!(append(&storage, topic, "again"), Ok(1));
    assert_eq!(records(&storage, topic, 0), ["0=kept", "1=again"]);
}

#[test]
fn a_repeat_of_a_batch_in_flight_is_answered_after_its_sync() {
    let bench = Bench::new();
    let storage = bench.open();
    let topic = create(&storage, "t", 1);
    let (sender, receiver) = channel();
    for name in ["first", "repeat"] {
        let sender = sender.clone();
        let bytes = crate::kit::idempotent(1, 0, 0, &["x"]);
        storage.append(topic, 0, bytes, move |result| {
            sender.send((name, result.unwrap().duplicate)).unwrap();
        });
    }
    assert!(receiver.try_recv().is_err(), "neither is durable");
    assert_eq!(
        storage.bounds(topic, 0).unwrap().high_watermark,
        0,
        "nor readable"
    );
    storage.step();
    assert_eq!(
        receiver.try_iter().collect::<Vec<_>>(),
        [("first", false), ("repeat", true)]
    );
    assert_eq!(storage.stats().fsyncs, 2, "the topic and one group");
}

#[test]
fn compare_and_swap_sees_what_is_in_flight() {
    let bench = Bench::new();
    let storage = bench.open();
    let (sender, receiver) = channel();
    for value in ["a", "b"] {
        let sender = sender.clone();
        let op = Op::Put {
            table: Table::Manifests,
            key: Bytes::from_static(b"k"),
            value: Some(Bytes::from_static(value.as_bytes())),
            expect: Expect::Absent,
        };
        storage.commit(vec![op], move |result| {
            sender.send((value, result.is_ok())).unwrap()
        });
    }
    assert_eq!(
        receiver.try_iter().collect::<Vec<_>>(),
        [("b", false)],
        "the second loses at once"
    );
    assert_eq!(storage.get(Table::Manifests, b"k"), None);
    storage.step();
    assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [("a", true)]);
    assert_eq!(storage.get(Table::Manifests, b"k").unwrap(), "a");
}

/// Appends until a second file has begun, and nothing beside the way to an answer has happened yet.
fn fill_a_file(bench: &Bench) -> (Storage, Uuid, usize) {
    let storage = bench.open();
    let topic = create(&storage, "t", 1);
    let value = "v".repeat(900);
    let count = (1..).find(|_| {
        append(&storage, topic, &value).unwrap();
        storage.stats().wal_files == 2
    });
    (storage, topic, count.unwrap())
}

#[test]
fn an_ack_waits_neither_for_the_spare_nor_for_the_index_of_the_file_before() {
    let bench = Bench::new();
    let (storage, topic, count) = fill_a_file(&bench);
    let beside = [
        "/data/wal/spare",
        "/data/wal/00000000000000000001.idx",
        "/data/checkpoint",
    ];
    let exist = |disk: &SimDisk| beside.map(|path| disk.exists(path.as_ref()));
    assert_eq!(exist(&bench.disk), [false; 3]);
    let check = |storage: &Storage| {
        assert_eq!(records(storage, topic, 0).len(), count);
        assert_eq!(storage.offset_for_time(topic, 0, 0), Ok(Some((0, 1000))));
        assert_eq!(
            storage.read("t", &BTreeMap::new(), 1 << 20).unwrap().len(),
            count
        );
    };
    check(&storage);
    let copy = bench.disk.fork();
    storage.upkeep();
    check(&storage);
    assert_eq!(exist(&bench.disk), [true; 3]);
    // A power cut before all that.
    copy.crash();
    let bench = Bench {
        disk: copy,
        ..bench
    };
    check(&bench.open());
}

#[test]
fn a_restart_on_a_full_disk_needs_no_room_for_the_index_of_a_sealed_file() {
    let bench = Bench::new();
    let (storage, topic, count) = fill_a_file(&bench);
    drop(storage);
    bench.disk.revive();
    bench.disk.cause(Trouble::Capacity(0));
    let storage = bench.open();
    assert_eq!(records(&storage, topic, 0).len(), count);
    storage.upkeep();
    assert!(
        !bench
            .disk
            .exists("/data/wal/00000000000000000001.idx".as_ref())
    );
    bench.disk.cause(Trouble::Capacity(u64::MAX));
    storage.upkeep();
    assert!(
        bench
            .disk
            .exists("/data/wal/00000000000000000001.idx".as_ref())
    );
    assert_eq!(records(&storage, topic, 0).len(), count);
}
