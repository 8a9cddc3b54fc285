//! Whole attempts over a simulated disk, in steps and with threads: a source of timed records, and a table that remembers
//! every commit. A record's file entry is `[partition, offset]`, so the table can say what is in it twice.

mod state;

use super::stepped::SteppedJob;
use super::*;
use crate::chunk::Split;
use crate::connector::{CommitOutcome, ErrorKind, Owner, Polled, Progress, Staged};
use crate::job::{InsertSpec, JobSpec};
use crate::manifest::TableChain;
use crate::origins::Origin;
use crate::state::Budget;
use arrow_array::cast::AsArray;
use arrow_array::{Int64Array, RecordBatch, TimestampMicrosecondArray};
use lw_formats::arrow_schema;
use lw_graph::{
    Expr, Field, FormatSpec, JobGraph, KafkaSource, Node, Operator, Schema, SinkSpec, SourceSpec,
    StartupMode, TypeKind,
};
use lw_sim::{SimClock, SimDisk, Trouble};
use lw_storage::{Config, Storage};
use parking_lot::Mutex;
use serde_json::json;
use std::sync::atomic::{AtomicU64, Ordering};
use uuid::Uuid;

/// Event times in milliseconds, by partition and offset.
type Records = Arc<Mutex<Vec<Vec<i64>>>>;

/// What a table was told, oldest first.
type Commits = Arc<Mutex<Vec<crate::manifest::Pending>>>;

struct World {
    clock: Arc<SimClock>,
    disk: SimDisk,
    records: Records,
    table: Commits,
    /// That of the second sink, where there is one.
    other: Option<Commits>,
    /// Windows are counted.
    counts: bool,
    /// For states.
    memory: Budget,
    /// Each partition is a topic, of a table of its own.
    tables: bool,
    /// Commits whose ids were given out.
    ids: Arc<AtomicU64>,
}

/// How a read ends.
#[derive(Clone, Copy, PartialEq)]
enum ReadsTo {
    /// The source is bounded.
    Bounded,
    /// There is no more, and then the source fails.
    Failure,
}

struct TimedSource {
    records: Records,
    tables: bool,
    schema: Schema,
    end: ReadsTo,
    next: Vec<i64>,
    ends: Vec<i64>,
}

/// Topic and partition of a split.
fn split_of(tables: bool, n: usize) -> (String, i32) {
    match tables {
        false => ("in".to_string(), n as i32),
        true => (format!("in{n}"), 0),
    }
}

fn offsets(next: &[i64]) -> Vec<SplitOffset> {
    offsets_of(false, next)
}

fn offsets_of(tables: bool, next: &[i64]) -> Vec<SplitOffset> {
    let at = |(n, next): (usize, &i64)| {
        let (topic, partition) = split_of(tables, n);
        SplitOffset {
            topic,
            partition,
            next: *next,
        }
    };
    next.iter().enumerate().map(at).collect()
}

impl Source for TimedSource {
    fn cut_at(&mut self, _: &[SplitOffset]) {}
    fn open(
        &mut self,
        offsets: &[SplitOffset],
        until: Option<&[SplitOffset]>,
    ) -> Result<(), ConnectorError> {
        let records = self.records.lock();
        let of = |offsets: &[SplitOffset], n: usize| {
            let (topic, partition) = split_of(self.tables, n);
            let mut found = offsets.iter();
            let found = found.find(|at| at.topic == topic && at.partition == partition);
            found.map(|at| at.next)
        };
        let splits = 0..records.len();
        let next = splits
            .clone()
            .map(|p| of(offsets, p).unwrap_or(0))
            .collect();
        let end = |p: usize| until.and_then(|until| of(until, p));
        let ends = splits
            .map(|p| end(p).unwrap_or(records[p].len() as i64))
            .collect();
        drop(records);
        (self.next, self.ends) = (next, ends);
        Ok(())
    }
    fn ends(&self) -> Option<Vec<SplitOffset>> {
        (self.end == ReadsTo::Bounded).then(|| offsets_of(self.tables, &self.ends))
    }
    fn splits(&self) -> Arc<[Split]> {
        let split = |n| {
            let (topic, partition) = split_of(self.tables, n);
            let topic = topic.into();
            Split { topic, partition }
        };
        (0..self.next.len()).map(split).collect()
    }
    /// One record of each partition.
    fn poll(&mut self, _: usize, _: Duration) -> Result<Polled, ConnectorError> {
        let records = self.records.lock();
        if self.end == ReadsTo::Failure {
            // What has come since, in new partitions too.
            self.next.resize(records.len(), 0);
            self.ends = records.iter().map(|of| of.len() as i64).collect();
        }
        let mut polled = Polled {
            appended: Vec::new(),
            batches: Vec::new(),
            dead_letters: Vec::new(),
            progress: Vec::new(),
            finished: false,
        };
        let splits = self.splits();
        for (split, next) in self.next.iter_mut().enumerate() {
            if *next == self.ends[split] {
                continue;
            }
            let micros = vec![records[split][*next as usize] * 1000];
            let columns = RecordBatch::try_new(
                arrow_schema(&self.schema),
                vec![Arc::new(TimestampMicrosecondArray::from(micros))],
            );
            let origin = Origin {
                split: split as u32,
                offset: *next,
            };
            let columns = columns.expect("one column");
            let batch = Chunk::new(columns, [origin].into_iter().collect(), splits.clone());
            polled.batches.push(batch);
            polled.progress.push(Progress {
                split: split as u32,
                from: *next,
                to: *next + 1,
                control: 0,
                skipped: 0,
            });
            *next += 1;
        }
        polled.finished = self.end == ReadsTo::Bounded && self.next == self.ends;
        if polled.progress.is_empty() && !polled.finished {
            return Err(ConnectorError::new(ErrorKind::Retry, "no more records"));
        }
        Ok(polled)
    }
    fn records(&mut self, _: &[Origin]) -> Result<Vec<DeadLetter>, ConnectorError> {
        unreachable!("nothing fails")
    }
    fn positions(&self) -> Vec<SplitOffset> {
        offsets_of(self.tables, &self.next)
    }
    fn lag(&self) -> u64 {
        0
    }
}

struct MemorySink {
    table: &'static str,
    rows: Vec<serde_json::Value>,
}

impl Sink for MemorySink {
    fn table(&self) -> &str {
        self.table
    }
    fn write(&mut self, batch: Chunk) -> Result<(), ConnectorError> {
        match batch.origins.runs() {
            Some(rows) => {
                let rows = rows.iter();
                self.rows
                    .extend(rows.map(|at| json!([at.split, at.offset])));
            }
            None => self.rows.extend(counts(&batch)),
        }
        Ok(())
    }
    fn dead_letters(&mut self, _: Vec<DeadLetter>) -> Result<(), ConnectorError> {
        unreachable!("nothing fails")
    }
    fn buffered_bytes(&self) -> usize {
        0
    }
    fn seal(&mut self) -> Result<Vec<Staged>, ConnectorError> {
        Ok(vec![Staged {
            table: self.table().to_string(),
            rows: self.rows.len() as u64,
            files: std::mem::take(&mut self.rows),
            bytes: 0,
            schema_id: 0,
        }])
    }
}

/// `[start of the window in milliseconds, count]`
fn counts(chunk: &Chunk) -> Vec<serde_json::Value> {
    let counts: &Int64Array = chunk.columns.column(0).as_primitive();
    let starts: &TimestampMicrosecondArray = chunk.columns.column(1).as_primitive();
    let rows = starts.values().iter().zip(counts.values());
    rows.map(|(start, count)| json!([start / 1000, count]))
        .collect()
}

impl MemorySink {
    fn new(table: &'static str) -> MemorySink {
        MemorySink {
            table,
            rows: Vec::new(),
        }
    }
}

struct MemoryTable(Commits);

impl Committer for MemoryTable {
    /// As a table's marker tells what of the chain is in it already.
    fn commit(&mut self, _: &str, chain: &TableChain) -> Result<CommitOutcome, ConnectorError> {
        let mut commits = self.0.lock();
        let known = |uuid| commits.iter().any(|commit| commit.uuid == uuid);
        let new = chain.chain.iter().filter(|pending| !known(pending.uuid));
        let new: Vec<_> = new.cloned().collect();
        commits.extend(new);
        Ok(CommitOutcome::Confirmed {
            confirmed: chain.chain.len(),
            snapshot_id: None,
        })
    }
}

/// Source, watermark, and so many sinks behind it.
fn graph(schema: &Schema, sinks: usize) -> JobGraph {
    let source = KafkaSource {
        table: "t".into(),
        topics: vec!["in".into()],
        bootstrap: "b".into(),
        group_id: None,
        startup: StartupMode::Earliest,
        bounded: false,
        format: FormatSpec::Raw,
        value_schema: schema.clone(),
        columns: Vec::new(),
    };
    let expression = Expr::Column {
        index: 0,
        name: "at".into(),
        ty: schema.fields[0].ty.clone(),
    };
    let watermark = Operator::Watermark {
        column: 0,
        expression,
        idle: None,
    };
    let mut operators = vec![
        (Operator::Source(SourceSpec::Kafka(source)), Vec::new()),
        (watermark, vec![0]),
    ];
    let sink = || (Operator::Sink(SinkSpec::Blackhole), vec![1]);
    operators.extend(std::iter::repeat_with(sink).take(sinks));
    let nodes = operators.into_iter();
    let nodes = nodes.map(|(operator, inputs)| Node {
        operator,
        inputs,
        schema: schema.clone(),
    });
    JobGraph {
        nodes: nodes.collect(),
    }
}

impl World {
    fn new(records: &[&[i64]]) -> World {
        let clock = Arc::new(SimClock::new());
        World {
            disk: SimDisk::new(7, clock.clone()),
            clock,
            records: Arc::new(Mutex::new(records.iter().map(|p| p.to_vec()).collect())),
            table: Arc::default(),
            other: None,
            counts: false,
            memory: Budget::none(),
            tables: false,
            ids: Arc::default(),
        }
    }

    fn storage(&self) -> Result<Storage, String> {
        let config = Config {
            wal_file_bytes: 16 << 10,
            min_free_bytes: 4 << 10,
            ..Config::new("/data")
        };
        Storage::open_stepped(Arc::new(self.disk.clone()), self.clock.clone(), config)
            .map_err(|error| error.to_string())
    }

    /// One attempt, which commits after every poll.
    fn attempt(
        &self,
        storage: &Storage,
        end: ReadsTo,
        plan: &str,
    ) -> Result<Ended, ConnectorError> {
        self.attempt_by(storage, end, plan, Rules::OURS)
    }

    fn attempt_by(
        &self,
        storage: &Storage,
        end: ReadsTo,
        plan: &str,
        rules: Rules,
    ) -> Result<Ended, ConnectorError> {
        let attempt = self.prepared(storage, end, plan);
        let mut job = SteppedJob::of(attempt, stepped::Commits::AtOnce, rules)?;
        loop {
            if let Some(ended) = job.ended() {
                return Ok(ended.clone());
            }
            job.poll(1)?;
        }
    }

    fn prepared(&self, storage: &Storage, end: ReadsTo, plan: &str) -> Attempt {
        let schema = Schema::new(vec![Field::new("at", TypeKind::Timestamp(3).nullable())]);
        let tables = std::iter::once(("lake.t", &self.table));
        let tables = tables.chain(self.other.iter().map(|other| ("lake.u", other)));
        let tables: Vec<(&'static str, &Commits)> = tables.collect();
        let mut graph = graph(&schema, tables.len());
        if self.counts {
            graph = state::counted(graph);
        }
        if self.tables {
            graph = state::over_two_tables(graph);
        }
        let inserts = tables.iter().map(|(table, _)| InsertSpec {
            table: table.to_string(),
            occurrence: 0,
            plan: plan.into(),
        });
        let outputs = tables.iter().map(|(table, commits)| Output {
            name: table.to_string(),
            plan: plan.into(),
            sink: Box::new(MemorySink::new(table)),
            committer: Box::new(MemoryTable((*commits).clone())),
        });
        let outputs = outputs.collect();
        let pipeline = Uuid::from_u128(1);
        let spec = JobSpec {
            owner: Owner {
                pipeline,
                name: "p".into(),
            },
            inserts: inserts.collect(),
            graph: graph.clone(),
            group: "g".into(),
            settings: Settings::default(),
            finished: Arc::new(|| {}),
        };
        let store = ManifestStore::open(storage.clone(), &spec.manifest_key());
        let manifest = store.manifest().expect("it can be read");
        let ids = self.ids.clone();
        Attempt {
            source: Box::new(TimedSource {
                records: self.records.clone(),
                tables: self.tables,
                schema,
                end,
                next: Vec::new(),
                ends: Vec::new(),
            }),
            letters: None,
            files: store.files(),
            flow: Flow::compile(&graph).expect("a tree"),
            outputs,
            manifest: manifest.unwrap_or_else(|| Manifest::new(pipeline)),
            store,
            settings: Settings {
                commit_interval: Duration::ZERO,
                ..Settings::default()
            },
            status: Arc::new(JobStatus::new(&spec)),
            clock: self.clock.clone(),
            memory: self.memory.share(),
            new_id: Arc::new(move || Uuid::from_u128(ids.fetch_add(1, Ordering::Relaxed).into())),
            publish: Box::new(|_| {}),
        }
    }

    /// Reads to where the log ends now, and gives the watermark of the newest commit.
    fn watermark_after(&self, end: ReadsTo) -> Option<i64> {
        let storage = self.storage().expect("it opens");
        match (self.attempt(&storage, end, "plan"), end) {
            (Ok(Ended::Finished), ReadsTo::Bounded) => {}
            (Err(error), ReadsTo::Failure) => assert_eq!(error.message, "no more records"),
            (other, _) => panic!("{other:?}"),
        }
        self.table.lock().last().expect("a commit").watermark
    }

    /// Every record of the log is in each table, and none twice.
    fn check_exactly_once(&self, after: &str) {
        for table in [&self.table].into_iter().chain(&self.other) {
            self.check_table(table, after);
        }
    }

    fn check_table(&self, table: &Commits, after: &str) {
        let table = table.lock();
        let mut rows: Vec<String> = table
            .iter()
            .flat_map(|commit| &commit.files)
            .map(ToString::to_string)
            .collect();
        rows.sort();
        let records = self.records.lock();
        let logged = records.iter().enumerate().flat_map(|(partition, records)| {
            (0..records.len()).map(move |offset| json!([partition, offset]).to_string())
        });
        let mut logged: Vec<String> = logged.collect();
        logged.sort();
        assert_eq!(rows, logged, "{after}");
    }
}

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
        let ended = world.attempt(&storage, ReadsTo::Bounded, "plan");
        assert_eq!(ended.map_err(|error| error.message), Ok(Ended::Finished));
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
            let ended = world.attempt(&storage, ReadsTo::Bounded, "plan");
            assert_eq!(ended.map_err(|error| error.message), Ok(Ended::Finished));
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
            let ended = world.attempt(&storage, ReadsTo::Bounded, "plan");
            assert_eq!(ended.map_err(|error| error.message), Ok(Ended::Finished));
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
        let ended = world.attempt(&storage, ReadsTo::Bounded, "plan");
        assert_eq!(ended.map_err(|error| error.message), Ok(Ended::Finished));
    };
    finish(&world);
    world.other = Some(Arc::default());
    finish(&world);
    world.check_table(&world.table, "the sink that was there");
    let other = world.other.as_ref().expect("there are two");
    world.check_table(other, "the one that joined");
}
