//! What the wall clock showed when a batch was appended is what every reading says of it, whatever clocks do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lw_sim::{SimClock, SimDisk};
use lw_stdx::clock::Clock;
use lw_storage::source::LogSource;
use lw_storage::{Config, Storage, Uuid};

use crate::kit::{batch, create_with};

const SECOND: i64 = 1000;
const HOUR: i64 = 3600 * SECOND;
const YEAR: i64 = 365 * 24 * HOUR;

struct Bench {
    disk: SimDisk,
    clock: Arc<SimClock>,
    topic: Uuid,
}

impl Bench {
    fn new() -> (Bench, Storage) {
        let clock = Arc::new(SimClock::new());
        let mut bench = Bench {
            disk: SimDisk::new(1, clock.clone()),
            clock,
            topic: Uuid::nil(),
        };
        let storage = bench.open();
        bench.topic = create_with(&storage, "t", 1, &[("retention.ms", "-1")]);
        (bench, storage)
    }

    fn open(&self) -> Storage {
        let config = Config {
            wal_file_bytes: 16 << 10,
            min_free_bytes: 0,
            retention_check_ms: 0,
            ..Config::new("/data")
        };
        let disk = Arc::new(self.disk.clone());
        let storage = Storage::open_stepped(disk, self.clock.clone(), config).unwrap();
        storage.holds_ready();
        storage
    }

    fn pass(&self, millis: i64) {
        let millis = u64::try_from(millis).expect("time only passes");
        self.clock.advance(Duration::from_millis(millis));
    }

    /// Appends a batch; what the clock showed.
    fn append(&self, storage: &Storage) -> i64 {
        let now = self.clock.now_ms();
        storage.append(self.topic, 0, batch(&[&"v".repeat(900)]), |result| {
            result.expect("the disk has room");
        });
        while storage.step() {}
        now
    }
}

fn walls(storage: &Storage) -> Vec<i64> {
    let (mut from, mut walls) = (BTreeMap::new(), Vec::new());
    loop {
        let read = storage.read("t", &from, 4000).unwrap();
        let Some(last) = read.last() else {
            return walls;
        };
        from.insert(0, last.next);
        let known = |wall: Option<i64>| wall.expect("every batch has a time");
        walls.extend(read.iter().map(|batch| known(batch.wall)));
    }
}

#[test]
fn the_time_that_the_server_was_off_has_passed_for_the_next_batch() {
    let (bench, mut storage) = Bench::new();
    let mut shown = Vec::new();
    for (life, off) in [(0, 8 * HOUR), (1, 3 * SECOND), (2, YEAR), (3, 0)] {
        shown.push(bench.append(&storage));
        bench.pass(1500);
        shown.push(bench.append(&storage));
        assert_eq!(walls(&storage), shown, "life {life}");
        // After a kill from the log, after an end from the checkpoint.
        match life % 2 {
            0 => drop(storage),
            _ => storage.close(),
        }
        bench.pass(off);
        storage = bench.open();
        assert_eq!(walls(&storage), shown, "after life {life}");
    }
}

#[test]
fn a_clock_that_was_a_year_wrong_is_followed_when_it_is_set_right() {
    for wrong in [YEAR, -YEAR] {
        let (bench, storage) = Bench::new();
        let mut shown = vec![bench.append(&storage)];
        for leap in [wrong, -wrong] {
            bench.clock.jump(leap);
            bench.pass(20);
            shown.push(bench.append(&storage));
        }
        assert_eq!(walls(&storage), shown, "by {wrong}");
        drop(storage);
        assert_eq!(walls(&bench.open()), shown, "by {wrong}, read again");
    }
}

#[test]
fn a_clock_that_is_set_back_a_little_lets_no_batch_be_of_before_another() {
    let (bench, storage) = Bench::new();
    let first = bench.append(&storage);
    bench.clock.jump(-5 * SECOND);
    // Two seconds after the first batch it was still believed, and stands there until the clock has come up.
    let stands = first + 2 * SECOND;
    let mut expected = vec![first];
    for _ in 0..4 {
        bench.pass(2 * SECOND);
        let shown = bench.append(&storage);
        expected.push(shown.max(stands));
    }
    assert_eq!(expected[3..], [stands, first + 3 * SECOND]);
    assert_eq!(walls(&storage), expected);
    drop(storage);
    assert_eq!(walls(&bench.open()), expected);
}

/// A time server that moves the clock a little makes no record, a leap makes one: what is written is bounded by what happens.
#[test]
fn while_the_clock_runs_nothing_is_written_of_it() {
    let (bench, storage) = Bench::new();
    let bytes_of_append = || {
        let before = storage.stats().group_bytes;
        bench.append(&storage);
        storage.stats().group_bytes - before
    };
    let first = bytes_of_append();
    let plain = bytes_of_append();
    assert_eq!(first - plain, 25, "the anchor of a folder's first append");
    bench.pass(HOUR);
    bench.clock.jump(90);
    assert_eq!(bytes_of_append(), plain);
    bench.clock.jump(90);
    assert_eq!(bytes_of_append(), first, "180 ms apart");
}

/// An anchor goes when no batch needs it; until then files that are sealed, rewritten and gone do not take it along.
#[test]
fn what_retention_leaves_keeps_its_time() {
    let (bench, mut storage) = Bench::new();
    let mut shown = Vec::new();
    for _ in 0..30 {
        for _ in 0..4 {
            bench.pass(20);
            shown.push(bench.append(&storage));
        }
        storage.upkeep();
        let op = lw_storage::Op::DeleteRecords {
            topic: bench.topic,
            partition: 0,
            before: (shown.len() as i64 - 9).max(0),
        };
        storage.commit_blocking(vec![op]).unwrap();
        storage.upkeep();
        let left = walls(&storage);
        assert_eq!(left, shown[shown.len() - left.len()..]);
        drop(storage);
        bench.pass(HOUR);
        storage = bench.open();
        assert_eq!(walls(&storage), left);
    }
    storage.close();
    let checkpoint = lw_stdx::disk::read_all(&bench.disk, "/data/checkpoint".as_ref()).unwrap();
    assert!(
        checkpoint.len() < 800,
        "of 30 starts those are remembered that a batch is left of: {} bytes",
        checkpoint.len()
    );
}
