//! Files of which little is needed: copied into small ones, at any moment of a crash without a loss.

use std::collections::BTreeMap;
use std::sync::Arc;

use lw_sim::{SimClock, SimDisk, Trouble};
use lw_stdx::disk::Disk;
use lw_storage::source::{LogSource, Order};
use lw_storage::{Config, ReadError, Storage, Uuid};
use tempfile::tempdir;

use crate::kit::{append, batch, create_with, open, records};

const KEEP: &[(&str, &str)] = &[("retention.ms", "-1")];
const SHORT: &[(&str, &str)] = &[("retention.ms", "-1"), ("retention.bytes", "20000")];

fn stepped(disk: &SimDisk) -> Storage {
    let config = Config {
        wal_file_bytes: 16 << 10,
        tail_bytes: 0, // so that reads go to the disk
        min_free_bytes: 0,
        ..Config::new("/data")
    };
    let clock = Arc::new(SimClock::new());
    let storage = Storage::open_stepped(Arc::new(disk.clone()), clock, config).unwrap();
    storage.holds_ready();
    storage
}

/// Appends to a topic that is kept, between a lot that is not.
fn write(storage: &Storage, kept: Uuid, short: Uuid, rounds: usize) {
    for n in 0..rounds {
        storage.append(kept, 0, batch(&[&format!("kept {n}")]), |r| {
            assert!(r.is_ok())
        });
        for _ in 0..7 {
            storage.append(short, 0, batch(&[&"s".repeat(900)]), |r| assert!(r.is_ok()));
            while storage.step() {}
        }
    }
}

fn names(disk: &SimDisk, kind: &str) -> Vec<String> {
    let entries = disk.list("/data/wal".as_ref()).unwrap();
    let names = entries.into_iter().map(|entry| entry.name);
    let mut names: Vec<String> = names.filter(|name| name.ends_with(kind)).collect();
    names.sort();
    names
}

/// What readers see: both logs, and the kept topic in WAL order.
fn seen(storage: &Storage, kept: Uuid, short: Uuid) -> (Vec<String>, Vec<String>, Vec<Order>) {
    let read = storage.read("kept", &BTreeMap::new(), 1 << 20).unwrap();
    let orders = read.iter().map(|batch| batch.order).collect();
    (
        records(storage, kept, 0),
        records(storage, short, 0),
        orders,
    )
}

#[test]
fn a_crash_between_any_two_steps_loses_nothing() {
    let disk = SimDisk::new(1, Arc::new(SimClock::new()));
    let storage = stepped(&disk);
    let kept = create_with(&storage, "kept", 1, KEEP);
    let short = create_with(&storage, "short", 1, SHORT);
    write(&storage, kept, short, 30);
    // Files of both kinds to begin with: some are rewritten already, more are due.
    storage.run_retention();
    while storage.step() {}
    storage.upkeep();
    write(&storage, kept, short, 12);
    storage.run_retention();
    while storage.step() {}
    let expected = seen(&storage, kept, short);
    assert_eq!((expected.0.len(), expected.2.len()), (42, 42));
    drop(storage);
    let begin = disk.changes();
    let mut rewritten = 0;
    for after in 1.. {
        let mut finished = false;
        for power_cut in [false, true] {
            let disk = disk.fork();
            let storage = stepped(&disk);
            disk.cause(Trouble::PowerOff { after });
            storage.upkeep();
            storage.upkeep();
            finished = !disk.is_off();
            drop(storage);
            match power_cut {
                true => disk.crash(),
                false => disk.revive(),
            }
            let storage = stepped(&disk);
            assert_eq!(
                seen(&storage, kept, short),
                expected,
                "after {after}, {power_cut}"
            );
            storage.upkeep();
            assert_eq!(
                seen(&storage, kept, short),
                expected,
                "after {after}, {power_cut}"
            );
            rewritten += usize::from(names(&disk, ".seg").len() > 1);
        }
        if finished {
            assert!(
                after > 12,
                "rewriting changes the disk often: {after} from {begin}"
            );
            break;
        }
    }
    assert!(rewritten > 5, "{rewritten}");
}

#[test]
fn a_topic_kept_for_ever_does_not_keep_the_files_around_it() {
    let dir = tempdir().unwrap();
    let storage = open(dir.path());
    let kept = create_with(&storage, "kept", 1, KEEP);
    let short = create_with(
        &storage,
        "short",
        1,
        &[("retention.ms", "-1"), ("retention.bytes", "1000000")],
    );
    let value = "s".repeat(100_000);
    for n in 0..20 {
        append(&storage, kept, 0, batch(&[&format!("kept {n}")])).unwrap();
        for _ in 0..10 {
            append(&storage, short, 0, batch(&[&value])).unwrap();
        }
    }
    let before = storage.stats();
    assert!(before.wal_bytes > 20_000_000, "{before:?}");
    storage.run_retention();
    // Retention's frame is durable before this one.
    append(&storage, kept, 0, batch(&["last"])).unwrap();
    (0..40).for_each(|_| storage.upkeep());
    let after = storage.stats();
    assert!(after.wal_bytes < 5_000_000, "{after:?}");
    let check = |storage: &Storage| {
        let log = records(storage, kept, 0);
        assert_eq!((log.len(), log[7].as_str()), (21, "7=kept 7"));
        assert_eq!(storage.offset_for_time(kept, 0, 0), Ok(Some((0, 1000))));
        assert!(storage.bounds(short, 0).unwrap().size_bytes < 2_100_000);
        records(storage, short, 0).len()
    };
    let left = check(&storage);
    drop(storage);
    assert_eq!(check(&open(dir.path())), left);
}

#[test]
fn a_damaged_batch_is_neither_copied_nor_dropped() {
    let disk = SimDisk::new(1, Arc::new(SimClock::new()));
    let storage = stepped(&disk);
    let kept = create_with(&storage, "kept", 1, KEEP);
    let short = create_with(&storage, "short", 1, SHORT);
    write(&storage, kept, short, 30);
    let first = "/data/wal/00000000000000000001.wal".as_ref();
    let bytes = lw_stdx::disk::read_all(&disk, first).unwrap();
    let hit = bytes
        .windows(6)
        .position(|window| window == b"kept 1")
        .unwrap();
    assert!(disk.flip(first, hit as u64, 3));
    storage.run_retention();
    while storage.step() {}
    (0..20).for_each(|_| storage.upkeep());
    assert_eq!(names(&disk, ".wal")[0], "00000000000000000001.wal");
    assert!(!names(&disk, ".seg").is_empty(), "the others are rewritten");
    assert!(matches!(
        storage.fetch(kept, 0, 1, 1),
        Err(ReadError::Corrupt { .. })
    ));
    assert_eq!(storage.fetch(kept, 0, 2, 1).unwrap().batches.len(), 1);
}
