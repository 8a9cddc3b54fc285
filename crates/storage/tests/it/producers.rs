//! What is known of idempotent producers grows old by running time, and by nothing else.

use std::sync::Arc;
use std::time::Duration;

use lw_sim::{SimClock, SimDisk};
use lw_storage::{Config, Storage, Uuid};

use crate::kit::{create, idempotent};

const HOUR: Duration = Duration::from_secs(3600);
const YEAR_MS: i64 = 365 * 24 * 3600 * 1000;

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
        self.open_with(Config::new("/data"))
    }

    fn open_with(&self, config: Config) -> Storage {
        let disk = Arc::new(self.disk.clone());
        Storage::open_stepped(disk, self.clock.clone(), config).unwrap()
    }
}

/// Whether the batch was taken for a repeat.
fn is_repeat(storage: &Storage, topic: Uuid, producer: i64, sequence: i32) -> bool {
    let (sender, receiver) = std::sync::mpsc::channel();
    let bytes = idempotent(producer, 0, sequence, &["v"]);
    storage.append(topic, 0, bytes, move |result| {
        sender.send(result.unwrap().duplicate).unwrap();
    });
    while storage.step() {}
    receiver.try_recv().unwrap()
}

#[test]
fn a_clock_that_leaps_does_not_void_idempotence() {
    for leap in [25 * 3600 * 1000, YEAR_MS, -YEAR_MS] {
        let bench = Bench::new();
        let storage = bench.open();
        let topic = create(&storage, "t", 1);
        assert!(!is_repeat(&storage, topic, 7, 0));
        bench.clock.jump(leap);
        storage.upkeep();
        assert!(is_repeat(&storage, topic, 7, 0), "{leap}");
        assert!(!is_repeat(&storage, topic, 7, 1));
        bench.clock.jump(-leap);
        assert!(is_repeat(&storage, topic, 7, 1), "{leap} and back");
        // The same across a start, from the WAL and from a checkpoint.
        bench.clock.jump(leap);
        drop(storage);
        let storage = bench.open();
        assert!(is_repeat(&storage, topic, 7, 1), "{leap}, replayed");
        storage.close();
        bench.clock.jump(leap);
        let storage = bench.open();
        assert!(
            is_repeat(&storage, topic, 7, 1),
            "{leap}, from a checkpoint"
        );
    }
}

#[test]
fn producers_that_are_not_seen_for_a_day_are_let_go_while_running() {
    let bench = Bench::new();
    let storage = bench.open();
    let topic = create(&storage, "t", 1);
    for producer in 0..100 {
        assert!(!is_repeat(&storage, topic, producer, 0));
    }
    bench.clock.advance(23 * HOUR);
    assert!(!is_repeat(&storage, topic, 7, 1));
    storage.upkeep();
    assert_eq!(storage.stats().producers, 100);
    bench.clock.advance(2 * HOUR);
    storage.upkeep();
    assert_eq!(storage.stats().producers, 1);
    assert!(is_repeat(&storage, topic, 7, 1));
}

#[test]
fn producers_that_are_not_seen_for_a_day_are_let_go_across_starts() {
    let bench = Bench::new();
    let mut storage = bench.open();
    let topic = create(&storage, "t", 1);
    for producer in 0..100 {
        assert!(!is_repeat(&storage, topic, producer, 0));
    }
    assert_eq!(storage.stats().producers, 100);
    for hour in 0..26 {
        bench.clock.advance(HOUR);
        assert!(!is_repeat(&storage, topic, 7, 1 + hour));
        storage.upkeep();
        // Starts must not make anyone young again, or a server that is restarted daily would keep them all.
        if hour % 5 == 0 {
            storage.close();
            storage = bench.open();
        }
    }
    assert_eq!(storage.stats().producers, 1);
    assert!(is_repeat(&storage, topic, 7, 26));
    assert!(!is_repeat(&storage, topic, 8, 40), "unknown: any sequence");
}

/// Each short-lived process takes an id, and each id is known to every partition that it writes to.
#[test]
fn of_too_many_producers_those_that_were_not_seen_for_longest_are_let_go() {
    let bench = Bench::new();
    let config = Config {
        max_producers: 80,
        ..Config::new("/data")
    };
    let storage = bench.open_with(config.clone());
    let topics = [create(&storage, "a", 1), create(&storage, "b", 1)];
    let write = |storage: &Storage, producer: i64, sequence: i32| -> bool {
        bench.clock.advance(Duration::from_millis(1));
        is_repeat(storage, topics[producer as usize % 2], producer, sequence)
    };
    for producer in 0..500 {
        assert!(!write(&storage, producer, 0));
        // The one that is busy is not among them.
        assert!(!write(&storage, 1000, producer as i32));
        assert!(storage.stats().producers <= 80);
    }
    assert!(storage.stats().producers >= 70);
    for recent in 440..500 {
        assert!(write(&storage, recent, 0), "{recent} is known");
    }
    assert!(write(&storage, 1000, 499));
    assert!(!write(&storage, 3, 7), "unknown: any sequence");
    drop(storage);
    let storage = bench.open_with(config.clone());
    assert!((70..=80).contains(&storage.stats().producers), "replayed");
    storage.close();
    let smaller = Config {
        max_producers: 10,
        ..config
    };
    assert_eq!(bench.open_with(smaller).stats().producers, 9);
}
