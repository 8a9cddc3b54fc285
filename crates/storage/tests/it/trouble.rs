//! Full disks and failing ones, step by step on the simulated disk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::channel;

use bytes::Bytes;
use lw_sim::{SimClock, SimDisk, Trouble};
use lw_stdx::disk::Disk;
use lw_storage::source::LogSource;
use lw_storage::{AppendError, CommitError, Config, Expect, Op, OpenError, Storage, Table, Uuid};

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
        self.try_open().unwrap()
    }

    fn try_open(&self) -> Result<Storage, OpenError> {
        let config = Config {
            wal_file_bytes: 32 << 10,
            min_free_bytes: 4 << 10,
            ..Config::new("/data")
        };
        Storage::open_stepped(Arc::new(self.disk.clone()), self.clock.clone(), config)
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

/// What goes on when writes of one kind find no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct GoesOn {
    appends: bool,
    small: bool,
}

/// Whatever it is that finds no room: what must wait is refused as a full disk, the rest goes on, nothing that was
/// acknowledged is lost by a power cut then, and with room all goes on without a restart.
#[test]
fn a_full_disk_at_each_kind_of_write_is_told_and_gets_well() {
    let all = GoesOn {
        appends: true,
        small: true,
    };
    let small = GoesOn {
        appends: false,
        ..all
    };
    let none = GoesOn {
        small: false,
        ..small
    };
    for (kind, names, goes_on) in [
        ("the log itself", &[".wal"] as &[_], none),
        ("the next file", &["late.tmp", "next.tmp"], small),
        ("the spare", &["next.tmp"], all),
        ("an index", &["00000000000000000001.tmp"], small),
        ("a checkpoint", &["checkpoint.tmp"], small),
        ("a rewritten file", &["rewrite.tmp"], all),
    ] {
        full_at(kind, names, goes_on);
    }
}

fn full_at(kind: &str, names: &[&'static str], goes_on: GoesOn) {
    let bench = Bench::new();
    let storage = bench.open();
    let (topic, kept) = (create(&storage, "t", 1), create(&storage, "kept", 1));
    append(&storage, kept, "kept").unwrap();
    let mut acked = Vec::new();
    let mut refused = None;
    for n in 0..120 {
        if n == 5 {
            let full = |name: &&'static str| bench.disk.cause(Trouble::NoRoomFor(name));
            names.iter().for_each(full);
        }
        let value = format!("{n} {}", "v".repeat(900));
        match append(&storage, topic, &value) {
            Ok(offset) => acked.push(format!("{offset}={value}")),
            Err(error) => {
                assert!(matches!(error, AppendError::Full(_)), "{kind}: {error}");
                refused = Some(error);
            }
        }
        storage.upkeep();
    }
    assert_eq!(refused.is_none(), goes_on.appends, "{kind}: {refused:?}");
    assert_eq!(put(&storage, 1).is_ok(), goes_on.small, "{kind}");
    assert_eq!(records(&storage, topic, 0), acked, "{kind}: reads go on");
    let copy = bench.disk.fork();
    copy.crash();
    if goes_on.small {
        let clock = bench.clock.clone();
        let copy = Bench { disk: copy, clock };
        assert_eq!(
            records(&copy.open(), topic, 0),
            acked,
            "{kind}: after a power cut"
        );
    }
    let free = |newest: usize, acked: &[String]| Op::DeleteRecords {
        topic,
        partition: 0,
        before: (acked.len() - newest) as i64,
    };
    let freed = storage.commit_blocking(vec![free(1, &acked)]);
    assert_eq!(freed.is_ok(), goes_on.small, "{kind}: {freed:?}");
    (0..9).for_each(|_| storage.upkeep());
    bench.disk.cause(Trouble::Capacity(u64::MAX));
    put(&storage, 2).unwrap();
    for n in 0..120 {
        let value = format!("after {n} {}", "v".repeat(900));
        let offset =
            append(&storage, topic, &value).unwrap_or_else(|error| panic!("{kind}: {error}"));
        acked.push(format!("{offset}={value}"));
        storage.upkeep();
    }
    assert!(!storage.stats().write_blocked && storage.stats().failed.is_none());
    storage.commit_blocking(vec![free(20, &acked)]).unwrap();
    (0..9).for_each(|_| storage.upkeep());
    let left = &acked[acked.len() - 20..];
    let check = |storage: &Storage| {
        assert_eq!(records(storage, topic, 0), left, "{kind}");
        assert_eq!(records(storage, kept, 0), ["0=kept"], "{kind}");
        assert_eq!(storage.get(Table::GroupOffsets, b"group").unwrap(), "2");
    };
    check(&storage);
    let rewritten = bench.disk.list("/data/wal".as_ref()).unwrap();
    let is_rewritten = rewritten.iter().any(|file| file.name.ends_with(".seg"));
    assert!(is_rewritten, "{kind}: the kept record stands alone by now");
    drop(storage);
    bench.disk.crash();
    check(&bench.open());
}

#[test]
fn a_checkpoint_that_finds_no_room_at_the_end_costs_the_next_start_a_replay() {
    let bench = Bench::new();
    let storage = bench.open();
    let topic = create(&storage, "t", 1);
    storage.close();
    let storage = bench.open();
    append(&storage, topic, "v").unwrap();
    bench.disk.cause(Trouble::NoRoomFor("checkpoint.tmp"));
    storage.close();
    bench.disk.crash();
    let storage = bench.open();
    assert_eq!(records(&storage, topic, 0), ["0=v"]);
    assert_eq!(append(&storage, topic, "w"), Ok(1));
}

#[test]
fn a_new_folder_that_finds_no_room_says_so_and_opens_when_there_is_some() {
    for (name, what) in [("meta.tmp", "write meta"), ("next.tmp", "begin the log")] {
        let bench = Bench::new();
        bench.disk.cause(Trouble::NoRoomFor(name));
        let refused = bench.try_open().err().map(|error| error.to_string());
        let expected = format!("cannot {what}: no storage space");
        assert_eq!(refused, Some(expected));
        bench.disk.cause(Trouble::Capacity(u64::MAX));
        let storage = bench.open();
        let topic = create(&storage, "t", 1);
        assert_eq!(append(&storage, topic, "v"), Ok(0));
    }
}
