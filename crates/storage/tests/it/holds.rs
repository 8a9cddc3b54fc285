//! Retention and those who still have to read: nothing that is held goes while the disk has room.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lw_sim::{SimClock, SimDisk, Trouble};
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

#[test]
fn below_the_floor_retention_goes_on_and_the_reader_learns_the_range() {
    let bench = Bench::new();
    let (storage, topic) = (&bench.storage, bench.topic("t", HOUR));
    storage.hold("a", vec![hold(topic, 1)]);
    storage.holds_ready();
    assert_eq!(bench.start_after_retention(topic), 1);
    bench.disk.cause(Trouble::Capacity(150_000));
    assert_eq!(bench.start_after_retention(topic), 5);
    let read = storage.read("t", &BTreeMap::from([(0, 1)]), 1);
    let gone = SourceError::OutOfRange {
        topic: "t".into(),
        partition: 0,
        asked: 1,
        start: 5,
    };
    assert_eq!(read, Err(gone));
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
