//! Retention and those who still have to read: nothing that is held goes while the disk has room.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lw_sim::{SimClock, SimDisk, Trouble};
use lw_stdx::disk::Disk;
use lw_storage::source::{LogSource, SourceError};
use lw_storage::{Config, Hold, Op, Storage, Uuid};

use crate::kit::{batch, create_with};

const HOUR: &[(&str, &str)] = &[("retention.ms", "3600000")];
const ONE_BATCH: &[(&str, &str)] = &[("retention.ms", "-1"), ("retention.bytes", "1")];

struct Bench {
    disk: SimDisk,
    storage: Storage,
}

impl Bench {
    fn new() -> Bench {
        let clock = Arc::new(SimClock::new());
        let disk = SimDisk::new(1, clock.clone());
        let storage = open(&disk, clock);
        Bench { disk, storage }
    }

    /// A topic with five batches of one record each, all of them long past any retention.
    fn topic(&self, name: &str, configs: &[(&str, &str)]) -> Uuid {
        let topic = create_with(&self.storage, name, 1, configs);
        for _ in 0..5 {
            self.storage
                .append(topic, 0, batch(&["v"]), |r| assert!(r.is_ok()));
        }
        while self.storage.step() {}
        topic
    }

    fn start_after_retention(&self, topic: Uuid) -> i64 {
        self.storage.run_retention();
        while self.storage.step() {}
        self.storage.bounds(topic, 0).unwrap().log_start
    }
}

fn open(disk: &SimDisk, clock: Arc<SimClock>) -> Storage {
    let config = Config {
        wal_file_bytes: 64 << 10,
        min_free_bytes: 0,
        retention_floor: 100_000,
        ..Config::new("/data")
    };
    Storage::open_stepped(Arc::new(disk.clone()), clock, config).unwrap()
}

fn hold(topic: Uuid, offset: i64) -> Hold {
    Hold {
        topic,
        partition: 0,
        offset,
    }
}

#[test]
fn what_is_held_stays_until_it_is_released() {
    for configs in [HOUR, ONE_BATCH] {
        let bench = Bench::new();
        let (storage, topic) = (&bench.storage, bench.topic("t", configs));
        assert_eq!(
            bench.start_after_retention(topic),
            0,
            "nobody has said yet what is held"
        );
        storage.hold("a", vec![hold(topic, 2)]);
        storage.hold("b", vec![hold(topic, 1), hold(topic, 3)]);
        storage.holds_ready();
        assert_eq!(bench.start_after_retention(topic), 1);
        storage.hold("b", vec![hold(topic, 3)]);
        assert_eq!(bench.start_after_retention(topic), 2, "the other one's");
        storage.release("a");
        assert_eq!(bench.start_after_retention(topic), 3);
        // An offset of nothing must not become the -1 that means everything.
        storage.hold("b", vec![hold(topic, -1)]);
        assert_eq!(bench.start_after_retention(topic), 3);
        let delete = Op::DeleteRecords {
            topic,
            partition: 0,
            before: 4,
        };
        storage.commit_blocking(vec![delete]).unwrap();
        assert_eq!(
            storage.bounds(topic, 0).unwrap().log_start,
            4,
            "a user is obeyed"
        );
        storage.release("b");
        let end = if configs == HOUR { 5 } else { 4 };
        assert_eq!(bench.start_after_retention(topic), end);
    }
}

/// Below the floor the oldest files of what is held go, as many as are needed, and the reader learns the range.
#[test]
fn below_the_floor_retention_takes_as_many_files_as_are_needed() {
    let bench = Bench::new();
    let storage = &bench.storage;
    let topic = create_with(storage, "t", 1, HOUR);
    let value = "v".repeat(1000);
    for _ in 0..400 {
        storage.append(topic, 0, batch(&[&value]), |r| assert!(r.is_ok()));
        storage.step();
        storage.upkeep();
    }
    assert!(storage.stats().wal_files >= 7, "{:?}", storage.stats());
    storage.hold("a", vec![hold(topic, 1)]);
    storage.holds_ready();
    assert_eq!(bench.start_after_retention(topic), 1);
    let dir = Path::new("/data/wal");
    let room = 1 << 30;
    bench.disk.cause(Trouble::Capacity(room));
    let used = room - bench.disk.free_bytes(dir).unwrap();
    // 90,000 bytes are missing to the floor, and a file has 65,536.
    bench.disk.cause(Trouble::Capacity(used + 10_000));
    let start = bench.start_after_retention(topic);
    // A file has 54 of these, and a reserve.
    assert!((100..=170).contains(&start), "{start}");
    let again = bench.start_after_retention(topic);
    assert_eq!(again, start, "those are on their way off the disk");
    storage.upkeep();
    let spare_and_all = bench.disk.free_bytes(dir).unwrap();
    assert!(spare_and_all >= 100_000, "{spare_and_all} bytes are free");
    assert_eq!(bench.start_after_retention(topic), start);
    let read = storage.read("t", &BTreeMap::from([(0, 1)]), 1);
    let gone = SourceError::OutOfRange {
        topic: "t".into(),
        partition: 0,
        asked: 1,
        start,
    };
    assert_eq!(read, Err(gone));
}

/// The active file cannot go, nor one that somebody else needs: its reader would lose records for nothing.
#[test]
fn below_the_floor_nothing_is_taken_that_frees_nothing() {
    let bench = Bench::new();
    let (storage, topic) = (&bench.storage, bench.topic("t", HOUR));
    storage.hold("a", vec![hold(topic, 1)]);
    storage.holds_ready();
    bench.disk.cause(Trouble::Capacity(150_000));
    assert_eq!(bench.start_after_retention(topic), 1);
    bench.disk.cause(Trouble::Capacity(u64::MAX));
    // As much of each file is another topic's, which is kept.
    let other = create_with(storage, "kept", 1, &[("retention.ms", "-1")]);
    let value = "v".repeat(1000);
    for n in 0..400 {
        let topic = [topic, other][n % 2];
        storage.append(topic, 0, batch(&[&value]), |r| assert!(r.is_ok()));
        storage.step();
        storage.upkeep();
    }
    bench.disk.cause(Trouble::Capacity(150_000));
    assert_eq!(bench.start_after_retention(topic), 1);
    storage.release("a");
    assert_eq!(bench.start_after_retention(topic), 205);
}

#[test]
fn the_time_to_loss_is_told_before_and_after_only_the_hold_keeps_it() {
    let clock = Arc::new(SimClock::new());
    let storage = open(&SimDisk::new(1, clock.clone()), clock.clone());
    let configs = [HOUR[0], ("message.timestamp.type", "LogAppendTime")];
    let topic = create_with(&storage, "t", 1, &configs);
    for _ in 0..2 {
        storage.append(topic, 0, batch(&["v"]), |r| assert!(r.is_ok()));
        clock.advance(Duration::from_secs(600));
    }
    while storage.step() {}
    let minutes = |n: u64| Some(Duration::from_secs(n * 60));
    storage.hold("a", vec![hold(topic, 0)]);
    assert_eq!(storage.time_to_loss("a"), minutes(40));
    storage.hold("a", vec![hold(topic, 1)]);
    assert_eq!(storage.time_to_loss("a"), minutes(50));
    clock.advance(Duration::from_secs(7200));
    assert_eq!(storage.time_to_loss("a"), minutes(0));
    storage.hold("a", vec![hold(topic, 2)]);
    assert_eq!(storage.time_to_loss("a"), None, "all of it was read");
    assert_eq!(storage.time_to_loss("b"), None);
}
