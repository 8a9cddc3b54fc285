//! The order in which topics are read, while the log goes on under the reader.
//!
//! A read of several files holds no lock while bytes come from the disk. So the disk here has something happen whenever
//! it is read: batches are appended, partitions appear, files are sealed. Whatever that is, a reader that follows the log
//! must have seen what one sees that reads all of it afterwards, in the same order: results are a function of the log.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use lw_sim::{SimClock, SimDisk, seeds};
use lw_stdx::disk::{Disk, Entry, File};
use lw_storage::source::{LogSource, Order, TopicBatch, TopicOffsets};
use lw_storage::{Config, Op, Storage, Uuid};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::kit::batch;

/// What happens at the next reads of the disk, one at each; nothing while a thing happens.
type Plan = Arc<Mutex<VecDeque<Box<dyn FnOnce() + Send>>>>;

/// A disk that has something happen before it gives bytes.
struct Meddled {
    disk: SimDisk,
    plan: Plan,
}

struct MeddledFile {
    file: Arc<dyn File>,
    plan: Plan,
}

impl Meddled {
    fn file(&self, file: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(MeddledFile {
            file,
            plan: self.plan.clone(),
        })
    }
}

impl Disk for Meddled {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(self.file(self.disk.create(path)?))
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(self.file(self.disk.open(path)?))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.disk.list(dir)
    }
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir_all(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.disk.free_bytes(dir)
    }
    fn total_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.disk.total_bytes(dir)
    }
    fn exists(&self, path: &Path) -> bool {
        self.disk.exists(path)
    }
}

impl File for MeddledFile {
    fn read_at(&self, into: &mut [u8], position: u64) -> io::Result<usize> {
        let next = self.plan.lock().unwrap().pop_front();
        if let Some(happens) = next {
            // Reads of its own are left alone.
            let rest = std::mem::take(&mut *self.plan.lock().unwrap());
            happens();
            *self.plan.lock().unwrap() = rest;
        }
        self.file.read_at(into, position)
    }
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.file.write_at(bytes, position)
    }
    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.file.allocate(len)
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.truncate(len)
    }
}

const TOPICS: [(&str, Uuid); 2] = [("a", Uuid::from_u128(1)), ("b", Uuid::from_u128(2))];
const KEPT: (&str, &str) = ("retention.ms", "-1");

#[derive(Debug, Clone, Copy)]
enum Event {
    Append(usize, i32),
    Grow(usize),
}

/// A log of two topics on the meddled disk; it knows how many partitions they have by now.
struct World {
    storage: Storage,
    plan: Plan,
    partitions: [i32; 2],
}

impl World {
    fn new(seed: u64) -> World {
        let clock = Arc::new(SimClock::new());
        let plan = Plan::default();
        let disk = Meddled {
            disk: SimDisk::new(seed, clock.clone()),
            plan: plan.clone(),
        };
        let config = Config {
            wal_file_bytes: 4 << 10,
            tail_bytes: 0, // so that reads go to the disk
            min_free_bytes: 0,
            ..Config::new("/data")
        };
        let storage = Storage::open_stepped(Arc::new(disk), clock, config).unwrap();
        for (name, id) in TOPICS {
            let create = Op::CreateTopic {
                name: name.to_owned(),
                id,
                partitions: 1,
                config: BTreeMap::from([(KEPT.0.to_owned(), KEPT.1.to_owned())]),
                internal: false,
            };
            storage.commit_blocking(vec![create]).unwrap();
        }
        World {
            storage,
            plan,
            partitions: [1, 1],
        }
    }

    /// Draws what happens next. A partition may be appended to as soon as its topic is asked to have it.
    fn draw(&mut self, rng: &mut SmallRng) -> Event {
        let topic = rng.random_range(0..2);
        let partitions = &mut self.partitions[topic];
        match rng.random_bool(0.1) && *partitions < 6 {
            true => {
                *partitions += 1;
                Event::Grow(topic)
            }
            false => Event::Append(topic, rng.random_range(0..*partitions)),
        }
    }

    fn happen(storage: &Storage, event: Event) {
        let op = match event {
            Event::Append(topic, partition) => Op::Append {
                topic: TOPICS[topic].1,
                partition,
                batches: batch(&[&"x".repeat(300)]),
            },
            Event::Grow(topic) => {
                let id = TOPICS[topic].1;
                let total = storage.topic_by_id(id).unwrap().partitions + 1;
                Op::CreatePartitions { id, total }
            }
        };
        storage.commit_blocking(vec![op]).unwrap();
    }

    fn plan(&mut self, events: Vec<Event>) {
        let mut plan = self.plan.lock().unwrap();
        for event in events {
            let storage = self.storage.clone();
            plan.push_back(Box::new(move || World::happen(&storage, event)));
        }
    }

    /// What the reads did not come to happens now: what was drawn counts on it.
    fn catch_up(&self) {
        let left = std::mem::take(&mut *self.plan.lock().unwrap());
        left.into_iter().for_each(|happens| happens());
    }
}

/// Reads on from where it is.
#[derive(Default)]
struct Reader {
    from: TopicOffsets,
    seen: Vec<(Order, String)>,
}

impl Reader {
    fn new() -> Reader {
        Reader {
            from: TOPICS
                .map(|(name, _)| (name.to_owned(), BTreeMap::new()))
                .into(),
            seen: Vec::new(),
        }
    }

    /// Whether there was something.
    fn read(&mut self, storage: &Storage, max_bytes: usize) -> bool {
        let read = storage.read_topics(&self.from, max_bytes).unwrap();
        for TopicBatch { topic, batch } in &read {
            let next = self.from.get_mut(&**topic).unwrap();
            let next = next.entry(batch.partition).or_default();
            let place = format!("{topic}/{}@{next}", batch.partition);
            self.seen.push((batch.order, place));
            *next += 1; // batches of one record
        }
        !read.is_empty()
    }
}

fn in_order(seen: &[(Order, String)]) -> bool {
    seen.is_sorted_by(|(before, _), (after, _)| before < after)
}

#[test]
fn a_partition_that_appears_between_two_files_is_read_in_its_place() {
    let mut world = World::new(1);
    // Two files and a bit: the first read comes from a sealed one.
    for _ in 0..20 {
        World::happen(&world.storage, Event::Append(0, 0));
    }
    let during = [
        Event::Grow(0),
        Event::Append(0, 1),
        Event::Append(0, 0),
        Event::Append(0, 1),
    ];
    world.plan(vec![during[0]]);
    let storage = world.storage.clone();
    world.plan.lock().unwrap().push_back(Box::new(move || {
        during[1..]
            .iter()
            .for_each(|event| World::happen(&storage, *event));
    }));
    let (mut live, mut after) = (Reader::new(), Reader::new());
    while live.read(&world.storage, 1 << 20) {}
    world.catch_up();
    while live.read(&world.storage, 1 << 20) {}
    while after.read(&world.storage, 1) {}
    assert!(in_order(&after.seen));
    assert_eq!(live.seen, after.seen);
    assert_eq!(live.seen.len(), 23);
}

#[test]
fn what_happens_during_a_read_never_changes_the_order() {
    let mut during_reads = 0;
    for seed in seeds(200) {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut world = World::new(seed);
        let mut live = Reader::new();
        for _ in 0..rng.random_range(3..12) {
            for _ in 0..rng.random_range(0..15) {
                let event = world.draw(&mut rng);
                World::happen(&world.storage, event);
            }
            if rng.random_bool(0.3) {
                world.storage.upkeep();
            }
            let drawn = (0..rng.random_range(0..12)).map(|_| world.draw(&mut rng));
            let drawn: Vec<Event> = drawn.collect();
            let planned = drawn.len();
            world.plan(drawn);
            live.read(
                &world.storage,
                [1, 900, 3000, 1 << 20][rng.random_range(0..4)],
            );
            during_reads += planned - world.plan.lock().unwrap().len();
            world.catch_up();
        }
        while live.read(&world.storage, 1 << 20) {}
        let mut after = Reader::new();
        while after.read(&world.storage, 1 << 20) {}
        assert!(in_order(&after.seen), "seed {seed}");
        assert_eq!(live.seen, after.seen, "seed {seed}");
    }
    assert!(during_reads > 500, "{during_reads} things in all");
}
