//! Whole attempts over a simulated disk, in steps and with threads: a source of timed records, and a table that remembers
//! every commit. A record's file entry is `[partition, offset]`, so the table can say what is in it twice.

mod apart;
mod graph;
mod state;
mod world;

use super::stepped::SteppedJob;
use super::*;
use crate::connector::{CommitOutcome, ErrorKind, Staged};
use crate::manifest::TableChain;
use lw_sim::Trouble;
use parking_lot::Mutex;
use uuid::Uuid;
use world::*;

#[test]
fn a_watermark_goes_on_from_its_checkpoint() {
    let world = World::new(&[&[100], &[50]]);
    assert_eq!(world.watermark_after(ReadsTo::Failure), Some(50));
    world.records.lock()[0].push(200);
    // Nothing new came in partition 1: how far it was is known from the checkpoint alone.
    assert_eq!(world.watermark_after(ReadsTo::Failure), Some(50));
    world.records.lock()[1].push(70);
    assert_eq!(world.watermark_after(ReadsTo::Failure), Some(70));
}

/// As when a topic leaves the script and comes back.
#[test]
fn a_partition_that_is_read_again_goes_on_where_it_was() {
    let world = World::new(&[&[1, 2, 3], &[4, 5]]);
    let storage = world.storage().expect("it opens");
    let finish = || {
        world.finishes(&storage);
    };
    finish();
    let key = crate::job::manifest_key(Uuid::from_u128(1), "lake.t", 0);
    let mut store = ManifestStore::open(storage.clone(), &key);
    let manifest = store.manifest().expect("it can be read");
    let mut manifest = manifest.expect("it is there");
    manifest.forget_ends();
    manifest.splits.retain(|split| split.partition == 0);
    store.save(&manifest).expect("durable");
    world.records.lock()[1].push(6);
    finish();
    world.check_exactly_once("partition 1 came back");
}

/// There are no windows that could have fired at the end of one of them.
#[test]
fn tables_without_state_are_read_on_beyond_their_ends() {
    let mut world = World::new(&[&[1, 2, 3], &[4, 5]]);
    world.tables = true;
    let storage = world.storage().expect("it opens");
    world.finishes(&storage);
    world.ends_anew(&storage);
    world.records.lock()[1].push(6);
    world.finishes(&storage);
    world.check_exactly_once("table 1 was read on");
}

#[test]
fn the_watermark_of_a_bounded_read_waits_for_no_partition_that_has_nothing_more() {
    // Partition 0 is empty, 2 ends before 1.
    let world = World::new(&[&[], &[100, 300, 400], &[200]]);
    assert_eq!(world.watermark_after(ReadsTo::Bounded), Some(400));
    let table = world.table.lock();
    let watermarks: Vec<_> = table.iter().map(|commit| commit.watermark).collect();
    assert_eq!(watermarks, [Some(100), Some(300), Some(400)]);
}

/// The manifest is the only thing that an attempt writes to this disk, so the power goes at every step of its writes.
#[test]
fn a_kill_at_any_step_of_a_manifests_write_loses_and_doubles_nothing() {
    kills_at_any_step(None);
}

#[test]
fn a_kill_at_any_step_leaves_two_sinks_of_one_scan_as_exact() {
    kills_at_any_step(Some(Arc::default));
}

fn kills_at_any_step(other: Option<fn() -> Commits>) {
    let mut kills = 0;
    for after in 1.. {
        let mut world = World::new(&[&[1, 2, 3], &[4, 5]]);
        world.other = other.map(|new| new());
        let storage = world.storage().expect("it opens");
        world.disk.cause(Trouble::PowerOff { after });
        let ended = world.attempt(&storage, ReadsTo::Bounded, "plan");
        drop(storage);
        let killed = world.disk.is_off();
        if killed {
            kills += 1;
            world.disk.crash();
            let storage = world.storage().expect("it opens again");
            world.finishes(&storage);
        } else {
            assert_eq!(ended.map_err(|error| error.message), Ok(Ended::Finished));
        }
        world.check_exactly_once(&format!("the power went after {after} changes"));
        if !killed {
            break;
        }
    }
    assert!(kills >= 10, "only {kills} places to be killed at");
}

#[test]
fn threads_lose_and_double_nothing() {
    let world = World::new(&[&[1; 40], &[2; 40]]);
    let storage = world.storage().expect("it opens");
    let attempt = world.prepared(&storage, ReadsTo::Bounded, "plan");
    let ended = attempt.run(&Arc::default());
    assert_eq!(ended.map_err(|error| error.message), Ok(Ended::Finished));
    world.check_exactly_once("with threads");
}

#[test]
fn a_disk_that_is_full_at_a_manifests_write_is_waited_out() {
    let mut refused = 0;
    for room in (4..64).map(|kib| kib * 1024) {
        let world = World::new(&[&[1; 40], &[2; 40]]);
        let storage = world.storage().expect("it opens");
        world.disk.cause(Trouble::Capacity(room));
        let ended = world.attempt(&storage, ReadsTo::Bounded, "plan");
        if let Err(error) = ended {
            refused += 1;
            assert_eq!(error.kind, ErrorKind::Retry, "{error:?}");
            assert_eq!(error.message, "the manifest cannot be written");
            assert!(error.detail.contains("full"), "{error:?}");
            world.disk.cause(Trouble::Capacity(u64::MAX));
            world.finishes(&storage);
        }
        world.check_exactly_once(&format!("{room} bytes"));
    }
    assert!(refused >= 10, "the disk was full {refused} times only");
}

/// A table whose catalog answers only when `rows` more rows have come to the sink than were there when it was first asked.
struct SlowTable {
    table: MemoryTable,
    written: Arc<Written>,
    wants: usize,
}

#[derive(Default)]
struct Written {
    rows: Mutex<usize>,
    changed: parking_lot::Condvar,
}

impl Committer for SlowTable {
    fn commit(&mut self, table: &str, chain: &TableChain) -> Result<CommitOutcome, ConnectorError> {
        let mut rows = self.written.rows.lock();
        while *rows < self.wants {
            let waited = self
                .written
                .changed
                .wait_for(&mut rows, Duration::from_secs(10));
            if waited.timed_out() {
                return Err(ConnectorError::new(
                    ErrorKind::Fix,
                    "nothing came meanwhile",
                ));
            }
        }
        drop(rows);
        self.table.commit(table, chain)
    }
}

struct CountingSink(MemorySink, Arc<Written>);

impl Sink for CountingSink {
    fn table(&self) -> &str {
        self.0.table()
    }
    fn write(&mut self, batch: Chunk) -> Result<(), ConnectorError> {
        *self.1.rows.lock() += batch.rows();
        self.1.changed.notify_all();
        self.0.write(batch)
    }
    fn dead_letters(&mut self, letters: Vec<DeadLetter>) -> Result<(), ConnectorError> {
        self.0.dead_letters(letters)
    }
    fn buffered_bytes(&self) -> usize {
        0
    }
    fn seal(&mut self) -> Result<Vec<Staged>, ConnectorError> {
        self.0.seal()
    }
}

/// The first epoch is one record. Its commit is over when all five records are written, so the next epoch must not wait for it.
#[test]
fn the_next_epoch_is_computed_while_one_is_committed() {
    let world = World::new(&[&[1, 2, 3, 4, 5]]);
    let storage = world.storage().expect("it opens");
    let written: Arc<Written> = Arc::default();
    let mut attempt = world.prepared(&storage, ReadsTo::Bounded, "plan");
    attempt.outputs[0].sink = Box::new(CountingSink(MemorySink::new("lake.t"), written.clone()));
    attempt.outputs[0].committer = Box::new(SlowTable {
        table: MemoryTable(world.table.clone()),
        written,
        wants: 5,
    });
    let ended = attempt.run(&Arc::default());
    assert_eq!(ended.map_err(|error| error.message), Ok(Ended::Finished));
    world.check_exactly_once("a slow catalog");
    assert_eq!(world.table.lock().len(), 2, "one record, then the others");
}

struct Panics;

impl Committer for Panics {
    fn commit(&mut self, _: &str, _: &TableChain) -> Result<CommitOutcome, ConnectorError> {
        panic!("the committer's own words")
    }
}

#[test]
fn a_panic_of_the_committer_fails_the_attempt_with_what_it_said() {
    let world = World::new(&[&[1]]);
    let storage = world.storage().expect("it opens");
    let mut attempt = world.prepared(&storage, ReadsTo::Bounded, "plan");
    attempt.outputs[0].committer = Box::new(Panics);
    let error = attempt.run(&Arc::default()).expect_err("it panicked");
    assert_eq!(error.kind, ErrorKind::Bug);
    assert_eq!(
        error.message,
        "the committer panicked: the committer's own words"
    );
}

/// `partition@start-end=files` of each range that a table's commits account for.
fn accounted(table: &Commits) -> Vec<String> {
    let table = table.lock();
    let ranges = table.iter().flat_map(|commit| {
        let files = &commit.files;
        commit.ranges.iter().map(move |range| {
            let of = files.iter().filter(|file| file[0] == range.partition);
            let (partition, start, end) = (range.partition, range.start, range.end);
            format!("{partition}@{start}-{end}={}", of.count())
        })
    });
    ranges.collect()
}

/// What was read again for the sake of another sink is not in its files, and not in what its commits account for.
#[test]
fn a_sink_that_is_ahead_of_the_others_gets_nothing_twice() {
    let mut world = World::new(&[&[1, 2, 3], &[4, 5]]);
    world.other = Some(Arc::default());
    let storage = world.storage().expect("it opens");
    let mut attempt = world.prepared(&storage, ReadsTo::Bounded, "plan");
    attempt.manifest.stand_at("lake.t", &offsets(&[0, 0]));
    attempt.manifest.stand_at("lake.u", &offsets(&[2, 0]));
    let mut job = SteppedJob::of(attempt, stepped::Commits::AtOnce, Rules::OURS).expect("begins");
    while job.ended().is_none() {
        job.poll(1).expect("it reads");
    }
    world.check_table(&world.table, "the sink behind");
    let other = world.other.as_ref().expect("there are two");
    assert_eq!(accounted(other), ["1@0-1=1", "1@1-2=1", "0@2-3=1"]);
    assert_eq!(
        accounted(&world.table),
        ["0@0-1=1", "1@0-1=1", "0@1-2=1", "1@1-2=1", "0@2-3=1"]
    );
}

#[test]
fn a_sink_that_joins_others_begins_where_its_startup_mode_says() {
    let mut world = World::new(&[&[1, 2, 3], &[4, 5]]);
    let storage = world.storage().expect("it opens");
    let finish = |world: &World| {
        world.finishes(&storage);
    };
    finish(&world);
    world.other = Some(Arc::default());
    finish(&world);
    world.check_table(&world.table, "the sink that was there");
    let other = world.other.as_ref().expect("there are two");
    world.check_table(other, "the one that joined");
}
