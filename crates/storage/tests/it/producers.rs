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
        let disk = Arc::new(self.disk.clone());
        Storage::open_stepped(disk, self.clock.clone(), Config::new("/data")).unwrap()
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
fn producers_that_are_not_seen_for_a_day_are_let_go_while_running_and_across_starts() {
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
