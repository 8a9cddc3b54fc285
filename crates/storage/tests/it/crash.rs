//! The simulation: random clients over a disk that loses what was not synced, and what must be true after every crash.
//!
//! One seed is one history (`clients.rs`): idempotent producers with five batches in flight, lost answers, repeats and new
//! epochs behind which older ones go on; plain ones; compare-and-swap on a key; commits over two logs and a key;
//! DeleteRecords; a topic that is deleted and created again under its name; a pipeline that reads in the WAL's order and
//! holds what it has not read; readers, retention, files of a few kilobytes so that sealing and recycling happen all the
//! time, full disks, failed syncs, and crashes at any change of the disk, also inside rotation, checkpoint and recovery. A
//! crash is a power cut, or a mere kill after which unsynced bytes are still readable.
//!
//! The model knows only what clients know: what was acknowledged, and what a reader saw (`invariants.rs`).

mod clients;
mod invariants;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use lw_sim::{SimClock, SimDisk, Trouble, seeds};
use lw_stdx::disk::{Disk, read_all};
use lw_storage::source::Order;
use lw_storage::{Bounds, Config, Fault, Op, OpenError, Storage, Table, Uuid};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use clients::{Again, Pipeline, Producer, Reply, Start};
pub(crate) use invariants::read_log;

const TOPIC: Uuid = Uuid::from_u128(0x70);
/// Kept for ever: without rewriting it would pin every file that holds a batch of it.
const KEPT: Uuid = Uuid::from_u128(0x71);
/// The partitions of the first topic, and the only one of the second as one more.
const PARTITIONS: i32 = 3;
pub(crate) const LOGS: i32 = PARTITIONS + 1;

/// The topic that is created again: each generation has an id, and a log behind all others.
mod again {
    use lw_storage::Uuid;

    const FIRST_ID: u128 = 0x1000;
    const FIRST_LOG: i32 = 100;

    pub(super) fn id(generation: u64) -> Uuid {
        Uuid::from_u128(FIRST_ID + u128::from(generation))
    }

    pub(super) fn generation(id: Uuid) -> u64 {
        (id.as_u128() - FIRST_ID) as u64
    }

    pub(super) fn log_of(generation: u64) -> i32 {
        FIRST_LOG + generation as i32
    }

    pub(super) fn generation_of(log: i32) -> Option<u64> {
        u64::try_from(log - FIRST_LOG).ok()
    }
}

/// Topic and partition of a log.
pub(crate) fn log(n: i32) -> (Uuid, i32) {
    match again::generation_of(n) {
        Some(generation) => (again::id(generation), 0),
        None if n == PARTITIONS => (KEPT, 0),
        None => (TOPIC, n),
    }
}
const PRODUCERS: usize = 4;
pub(crate) const ROUNDS: usize = 14;

/// What went wrong, in words.
pub(crate) type Violation = String;

/// When a batch was appended, by the log's own time and by the wall clock.
type Times = (i64, Option<i64>);

/// Between two lives somebody sets the wall clock, by so many milliseconds: a little, by a day, by a year.
const LEAPS: [i64; 6] = [0, 40_000, -20_000, DAY, -DAY, -365 * DAY];
const DAY: i64 = 24 * 3600 * 1000;

/// What clients know.
#[derive(Default)]
pub(crate) struct Model {
    /// Per log: offset → value, of everything acknowledged or read. None of it may ever change.
    pub(crate) known: BTreeMap<(i32, i64), String>,
    /// Newest counter value that was acknowledged, and the newest sent.
    pub(crate) counter_acked: u64,
    counter_sent: u64,
    pairs_acked: u64,
    pairs_sent: u64,
    again: Again,
    starts: BTreeMap<i32, Start>,
    /// Retention ran when less was free than it leaves to readers.
    floor_was_met: bool,
    high_watermarks: BTreeMap<i32, i64>,
    /// Of every batch that was read its place in the WAL's order, and when it was appended.
    orders: BTreeMap<(i32, i64), (Order, Times)>,
    /// High watermarks and counter before the newest group: what later frames prove to have been synced.
    pub(crate) proven: (BTreeMap<i32, i64>, u64),
}

pub(crate) struct World {
    pub(crate) rng: SmallRng,
    pub(crate) clock: Arc<SimClock>,
    pub(crate) disk: SimDisk,
    pub(crate) config: Config,
    producers: Vec<Producer>,
    pipeline: Pipeline,
    plain: u64,
    pub(crate) model: Model,
    pub(crate) history: String,
    replies: (Sender<Reply>, Receiver<Reply>),
}

/// Runs one seed; its history, or the invariant that broke.
fn run(seed: u64, fault: Option<Fault>) -> Result<String, Violation> {
    let mut world = World::new(seed, fault);
    let outcome = (0..ROUNDS).try_for_each(|round| world.life(round).map(drop));
    match outcome.and_then(|()| world.last_life()) {
        Ok(()) => Ok(world.history),
        Err(violation) => Err(format!("{violation}\n{}", world.history)),
    }
}

/// How a life ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The power went while opening, or while the disk was at work; or nothing could be written in the whole life, on a
    /// disk that was full: neither the mark behind the newest group nor a checkpoint.
    Unknown,
    Closed,
    /// Between two steps: what was written is still there.
    Killed,
    PowerCut,
}

impl World {
    pub(crate) fn new(seed: u64, fault: Option<Fault>) -> World {
        let clock = Arc::new(SimClock::new());
        let config = Config {
            wal_file_bytes: 8 << 10,
            min_free_bytes: 2 << 10,
            group_bytes: 4 << 10,
            tail_bytes: if seed.is_multiple_of(2) {
                6 << 10
            } else {
                40 << 10
            },
            index_cache_bytes: 2 << 10,
            // Else what is held is held on a full disk too.
            retention_floor: if seed.is_multiple_of(3) { 16 << 10 } else { 0 },
            fault,
            ..Config::new("/sim")
        };
        let mut rng = SmallRng::seed_from_u64(seed);
        let producers = (0..PRODUCERS).map(|n| Producer::new(n, rng.random_range(0..PARTITIONS)));
        let producers = producers.collect();
        World {
            disk: SimDisk::new(rng.random(), clock.clone()),
            rng,
            clock,
            config,
            producers,
            pipeline: Pipeline::default(),
            plain: 0,
            model: Model::default(),
            history: String::new(),
            replies: channel(),
        }
    }

    fn note(&mut self, text: std::fmt::Arguments<'_>) {
        writeln!(self.history, "{text}").expect("a string takes it");
    }

    /// Opens (perhaps dying on the way), checks what is there, works, and ends in one of four ways.
    pub(crate) fn life(&mut self, round: usize) -> Result<End, Violation> {
        let Some(storage) = self.open(true)? else {
            return Ok(End::Unknown);
        };
        self.check_all(&storage)?;
        let ends: Vec<i64> = self.model.high_watermarks.values().copied().collect();
        self.note(format_args!("opened with {ends:?}"));
        self.begin_trouble();
        let steps = self.rng.random_range(5..80);
        for _ in 0..steps {
            self.act(&storage)?;
            if self.disk.is_off() {
                break;
            }
        }
        self.settle(&storage)?;
        let is_off = self.disk.is_off();
        let wrote_nothing = storage.stats().frames == 0 && self.is_full();
        let end = match self.rng.random_range(0..4) {
            0 if !is_off => End::Closed,
            0 | 1 => End::Killed,
            _ => End::PowerCut,
        };
        self.note(format_args!(
            "round {round}: {end:?} at {}",
            self.disk.changes()
        ));
        match end {
            End::Closed => storage.close(),
            _ => drop(storage),
        }
        match end {
            End::PowerCut => self.disk.crash(),
            _ => self.disk.revive(),
        }
        self.forget_requests();
        self.clock.jump(LEAPS[round % LEAPS.len()]);
        Ok(match is_off || wrote_nothing {
            true => End::Unknown,
            false => end,
        })
    }

    /// Whether there is no room for one more log file.
    fn is_full(&self) -> bool {
        let free = self.disk.free_bytes("/sim".as_ref());
        free.is_ok_and(|free| free < self.config.wal_file_bytes + self.config.min_free_bytes)
    }

    /// A calm end: everything in flight is sent again, everything known must be there.
    fn last_life(&mut self) -> Result<(), Violation> {
        self.disk.crash();
        self.disk.cause(Trouble::Capacity(u64::MAX));
        let storage = self.open(false)?.ok_or("a calm disk opens")?;
        self.check_all(&storage)?;
        // Answers get lost here as well, but not for ever.
        for _ in 0..60 {
            for n in 0..PRODUCERS {
                if !self.producers[n].is_answered() {
                    self.send(&storage, n);
                }
            }
            self.settle(&storage)?;
        }
        self.check_all(&storage)?;
        if !self.producers.iter().all(Producer::is_answered) {
            return Err("a calm disk answers every producer".to_owned());
        }
        storage.close();
        let storage = self.open(false)?.ok_or("a calm disk opens")?;
        self.check_all(&storage)
    }

    fn open(&mut self, may_die: bool) -> Result<Option<Storage>, Violation> {
        if may_die && self.rng.random_bool(0.2) {
            let after = self.rng.random_range(1..12);
            self.disk.cause(Trouble::PowerOff { after });
        }
        let opened = Storage::open_stepped(
            Arc::new(self.disk.clone()),
            self.clock.clone(),
            self.config.clone(),
        );
        let storage = match opened {
            Ok(storage) => {
                self.start_pipeline(&storage);
                storage
            }
            Err(OpenError::Io { .. }) if self.disk.is_off() => {
                self.note(format_args!("died opening at {}", self.disk.changes()));
                match self.rng.random_bool(0.5) {
                    true => self.disk.crash(),
                    false => self.disk.revive(),
                }
                return Ok(None);
            }
            Err(error) => return Err(format!("cannot open: {error}")),
        };
        if storage.topic("t").is_none() {
            let config = BTreeMap::from([
                ("retention.bytes".to_owned(), "12000".to_owned()),
                ("retention.ms".to_owned(), "-1".to_owned()),
            ]);
            let keep = BTreeMap::from([("retention.ms".to_owned(), "-1".to_owned())]);
            let create = [("t", TOPIC, PARTITIONS, config), ("kept", KEPT, 1, keep)];
            let create = create.map(|(name, id, partitions, config)| Op::CreateTopic {
                name: name.to_owned(),
                id,
                partitions,
                config,
                internal: false,
            });
            if let Err(error) = storage.commit_blocking(create.to_vec()) {
                if !self.disk.is_off() {
                    return Err(format!("cannot create the topic: {error}"));
                }
                drop(storage);
                self.disk.crash();
                return Ok(None);
            }
        }
        Ok(Some(storage))
    }

    fn begin_trouble(&mut self) {
        match self.rng.random_range(0..8) {
            0..4 => {
                let after = self.rng.random_range(1..80);
                self.disk.cause(Trouble::PowerOff { after });
            }
            4 => self.disk.cause(Trouble::FailedSync),
            5 => {
                let bytes = self.rng.random_range(10_000..60_000);
                self.disk.cause(Trouble::Capacity(bytes));
            }
            6 => self
                .disk
                .cause(Trouble::SlowSync(Duration::from_millis(50))),
            _ => {}
        }
    }

    fn settle(&mut self, storage: &Storage) -> Result<(), Violation> {
        while self.step(storage) {}
        self.take_replies(storage)
    }

    fn step(&mut self, storage: &Storage) -> bool {
        let before = (high_watermarks(storage), counter(storage));
        let frames = storage.stats().frames;
        let stepped = storage.step();
        let stats = storage.stats();
        if stats.frames > frames {
            self.model.proven = before;
        }
        if let Some(why) = stats.failed.filter(|why| why.contains("panicked")) {
            panic!("{why}");
        }
        stepped
    }
}

fn high_watermarks(storage: &Storage) -> BTreeMap<i32, i64> {
    let of = |partition| Some((partition, bounds(storage, partition).ok()?.high_watermark));
    (0..LOGS).filter_map(of).collect()
}

pub(crate) fn bounds(storage: &Storage, partition: i32) -> Result<Bounds, Violation> {
    let (topic, number) = log(partition);
    let bounds = storage.bounds(topic, number);
    bounds.ok_or_else(|| "the partition is gone".to_owned())
}

pub(crate) fn counter(storage: &Storage) -> u64 {
    number(storage, Table::Cluster, b"counter")
}

fn number(storage: &Storage, table: Table, key: &[u8]) -> u64 {
    let value = storage.get(table, key);
    value.map_or(0, |value| {
        String::from_utf8_lossy(&value)
            .parse()
            .expect("we wrote a number")
    })
}

pub(crate) fn short(value: &str) -> &str {
    value.split(' ').next().unwrap_or(value)
}

#[test]
fn sim_acknowledged_records_survive_every_crash() {
    for seed in seeds(300) {
        if let Err(violation) = run(seed, None) {
            panic!("seed {seed}: {violation}\nagain: cargo xtask sim --seed {seed}");
        }
    }
}

/// Else the simulation would say nothing about rewriting.
#[test]
fn sim_histories_rewrite_files_and_join_rewritten_ones() {
    let (mut rewritten, mut joined) = (0, 0);
    for seed in 1..=50 {
        let mut world = World::new(seed, None);
        for round in 0..ROUNDS {
            world.life(round).unwrap();
            let names = world.disk.list("/sim/wal".as_ref()).unwrap();
            for entry in names
                .into_iter()
                .filter(|entry| entry.name.ends_with(".seg"))
            {
                let path = std::path::Path::new("/sim/wal").join(&entry.name);
                let head = read_all(&world.disk, &path).unwrap();
                let number = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().unwrap());
                rewritten += 1;
                joined += usize::from(number(20) > number(12) + 1);
            }
        }
    }
    assert!(rewritten > 100 && joined > 10, "{rewritten} {joined}");
}

#[test]
fn sim_the_same_seed_gives_the_same_history() {
    for seed in [1, 7, 23] {
        let history = run(seed, None).unwrap();
        assert!(history.lines().count() > 50, "{history}");
        assert_eq!(history, run(seed, None).unwrap());
    }
}

/// Asserts that `run` fails under a planted bug, and says how first; a violation may also show as a broken assert inside
/// the storage.
pub(crate) fn is_caught(fault: Fault, run: impl Fn(u64) -> Result<(), Violation>) -> String {
    let caught = (1..=200).find_map(|seed| match catch_unwind(AssertUnwindSafe(|| run(seed))) {
        Ok(outcome) => outcome.err(),
        Err(_) => Some("an assert".to_owned()),
    });
    let violation = caught.unwrap_or_else(|| panic!("{fault:?} was not caught in 200 seeds"));
    violation.lines().next().unwrap_or_default().to_owned()
}

/// A simulation that finds nothing proves something only if it finds what was planted.
#[test]
fn sim_planted_bugs_are_caught() {
    for fault in [
        Fault::AckBeforeFsync,
        Fault::SkipRecoverySync,
        Fault::ForgetSealedPlaces,
        Fault::RewriteWithoutSync,
        Fault::KeepOldPlaces,
    ] {
        is_caught(fault, |seed| run(seed, Some(fault)).map(drop));
    }
}

/// Each by the invariant that is about it.
#[test]
fn sim_planted_bugs_of_what_clients_do_are_caught() {
    for (fault, words) in [
        (Fault::WindowOfFour, "kept the rules and got: producer"),
        (Fault::ForgetEpochs, "was taken behind a newer one"),
        (Fault::ForgetLogStarts, "I4: log start"),
        (Fault::ForgetDeletions, "was deleted and is there"),
        (Fault::SplitCommits, "I5: "),
        (Fault::IgnoreHolds, "were asked for"),
        (Fault::ForgetAnchors, "was appended at "),
    ] {
        let violation = is_caught(fault, |seed| run(seed, Some(fault)).map(drop));
        assert!(violation.contains(words), "{fault:?}: {violation}");
    }
}
