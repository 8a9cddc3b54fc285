//! The world of these tests: a source of timed records, and tables that remember every commit.

use super::super::*;
use super::graph::{counted, graph, over_two_tables};
use crate::chunk::Split;
use crate::connector::{CommitOutcome, ErrorKind, Owner, Polled, Progress, Staged};
use crate::job::{InsertSpec, JobSpec, JobStatus};
use crate::lookup::Lookups;
use crate::manifest::TableChain;
use crate::operator::Parallelism;
use crate::origins::Origin;
use crate::pool::Pool;
use crate::state::Budget;
use crate::task::stepped::SteppedJob;
use arrow_array::cast::AsArray;
use arrow_array::{Int64Array, RecordBatch, TimestampMicrosecondArray};
use lw_formats::arrow_schema;
use lw_graph::{Field, Schema, TypeKind};
use lw_sim::{SimClock, SimDisk};
use lw_storage::{Config, Storage};
use parking_lot::Mutex;
use serde_json::json;
use std::sync::atomic::{AtomicU64, Ordering};
use uuid::Uuid;

/// Event times in milliseconds, by partition and offset.
pub(super) type Records = Arc<Mutex<Vec<Vec<i64>>>>;

/// What a table was told, oldest first.
pub(super) type Commits = Arc<Mutex<Vec<crate::manifest::Pending>>>;

pub(super) struct World {
    pub(super) clock: Arc<SimClock>,
    pub(super) disk: SimDisk,
    pub(super) records: Records,
    pub(super) table: Commits,
    /// That of the second sink, where there is one.
    pub(super) other: Option<Commits>,
    /// Windows are counted.
    pub(super) counts: bool,
    /// By their times, that is.
    pub(super) by_time: bool,
    /// How many share the work on these.
    pub(super) shards: usize,
    /// For states.
    pub(super) memory: Budget,
    /// Each partition is a topic, of a table of its own.
    pub(super) tables: bool,
    /// Commits whose ids were given out.
    pub(super) ids: Arc<AtomicU64>,
}

/// How a read ends.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum ReadsTo {
    /// The source is bounded.
    Bounded,
    /// There is no more, and then the source fails.
    Failure,
}

pub(super) struct TimedSource {
    records: Records,
    tables: bool,
    schema: Schema,
    end: ReadsTo,
    next: Vec<i64>,
    ends: Vec<i64>,
}

/// Topic and partition of a split.
pub(super) fn split_of(tables: bool, n: usize) -> (String, i32) {
    match tables {
        false => ("in".to_string(), n as i32),
        true => (format!("in{n}"), 0),
    }
}

pub(super) fn offsets(next: &[i64]) -> Vec<SplitOffset> {
    offsets_of(false, next)
}

pub(super) fn offsets_of(tables: bool, next: &[i64]) -> Vec<SplitOffset> {
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

pub(super) struct MemorySink {
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

/// `[start of the window in milliseconds, count]`, behind what they are counted by.
pub(super) fn counts(chunk: &Chunk) -> Vec<serde_json::Value> {
    let columns = &chunk.columns;
    let keys = columns.num_columns() - 2;
    let counts: &Int64Array = columns.column(keys).as_primitive();
    let starts: &TimestampMicrosecondArray = columns.column(keys + 1).as_primitive();
    let rows = starts.values().iter().zip(counts.values());
    rows.map(|(start, count)| json!([start / 1000, count]))
        .collect()
}

impl MemorySink {
    pub(super) fn new(table: &'static str) -> MemorySink {
        MemorySink {
            table,
            rows: Vec::new(),
        }
    }
}

pub(super) struct MemoryTable(pub(super) Commits);

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

impl World {
    pub(super) fn new(records: &[&[i64]]) -> World {
        let clock = Arc::new(SimClock::new());
        World {
            disk: SimDisk::new(7, clock.clone()),
            clock,
            records: Arc::new(Mutex::new(records.iter().map(|p| p.to_vec()).collect())),
            table: Arc::default(),
            other: None,
            counts: false,
            by_time: false,
            shards: 1,
            memory: Budget::none(),
            tables: false,
            ids: Arc::default(),
        }
    }

    pub(super) fn storage(&self) -> Result<Storage, String> {
        let config = Config {
            wal_file_bytes: 16 << 10,
            min_free_bytes: 4 << 10,
            ..Config::new("/data")
        };
        Storage::open_stepped(Arc::new(self.disk.clone()), self.clock.clone(), config)
            .map_err(|error| error.to_string())
    }

    /// One attempt, which commits after every poll.
    pub(super) fn attempt(
        &self,
        storage: &Storage,
        end: ReadsTo,
        plan: &str,
    ) -> Result<Ended, ConnectorError> {
        self.attempt_by(storage, end, plan, Rules::OURS)
    }

    pub(super) fn attempt_by(
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

    /// A job in steps, whose commits are made in the moment of the order.
    pub(super) fn begun(&self, storage: &Storage, end: ReadsTo, rules: Rules) -> SteppedJob {
        let attempt = self.prepared(storage, end, "plan");
        SteppedJob::of(attempt, stepped::Commits::AtOnce, rules).expect("begins")
    }

    /// A job that has read the first record of each partition, and written down what came of them.
    pub(super) fn written_down(&self, storage: &Storage, rules: Rules) -> SteppedJob {
        let mut job = self.begun(storage, ReadsTo::Bounded, rules);
        job.poll(1).expect("it reads");
        job.checkpoint().expect("it is written down");
        job
    }

    /// A bounded read comes to its end.
    pub(super) fn finishes(&self, storage: &Storage) {
        let ended = self.attempt(storage, ReadsTo::Bounded, "plan");
        assert_eq!(ended.map_err(|error| error.message), Ok(Ended::Finished));
    }

    /// As a pipeline that is resumed when it has finished: the next bounded read ends where the log does then.
    pub(super) fn ends_anew(&self, storage: &Storage) {
        let mut attempt = self.prepared(storage, ReadsTo::Bounded, "plan");
        assert!(attempt.manifest.forget_ends());
        attempt.store.save(&attempt.manifest).expect("durable");
    }

    /// What keeps an attempt from going on.
    pub(super) fn refused(&self, storage: &Storage) -> ConnectorError {
        let ended = self.attempt(storage, ReadsTo::Bounded, "plan");
        ended.expect_err("it is refused")
    }

    pub(super) fn prepared(&self, storage: &Storage, end: ReadsTo, plan: &str) -> Attempt {
        let schema = Schema::new(vec![Field::new("at", TypeKind::Timestamp(3).nullable())]);
        let tables = std::iter::once(("lake.t", &self.table));
        let tables = tables.chain(self.other.iter().map(|other| ("lake.u", other)));
        let tables: Vec<(&'static str, &Commits)> = tables.collect();
        let mut graph = graph(&schema, tables.len());
        if self.counts {
            graph = counted(graph, (0..usize::from(self.by_time)).collect());
        }
        if self.tables {
            graph = over_two_tables(graph);
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
        let shards = Parallelism::of(self.shards, &Pool::none());
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
        let status = Arc::new(JobStatus::new(&spec));
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
            pool: Pool::none(),
            flow: Flow::parallel(&graph, &shards).expect("a tree"),
            lookups: Lookups::none(status.clone(), self.clock.clone()),
            outputs,
            manifest: manifest.unwrap_or_else(|| Manifest::new(pipeline)),
            store,
            ends_open: false,
            settings: Settings {
                commit_interval: Duration::ZERO,
                ..Settings::default()
            },
            status,
            clock: self.clock.clone(),
            memory: self.memory.share(),
            new_id: Arc::new(move || Uuid::from_u128(ids.fetch_add(1, Ordering::Relaxed).into())),
            publish: Box::new(|_| {}),
        }
    }

    /// Reads to where the log ends now, and gives the watermark of the newest commit.
    pub(super) fn watermark_after(&self, end: ReadsTo) -> Option<i64> {
        let storage = self.storage().expect("it opens");
        match (self.attempt(&storage, end, "plan"), end) {
            (Ok(Ended::Finished), ReadsTo::Bounded) => {}
            (Err(error), ReadsTo::Failure) => assert_eq!(error.message, "no more records"),
            (other, _) => panic!("{other:?}"),
        }
        self.table.lock().last().expect("a commit").watermark
    }

    /// Every record of the log is in each table, and none twice.
    pub(super) fn check_exactly_once(&self, after: &str) {
        for table in [&self.table].into_iter().chain(&self.other) {
            self.check_table(table, after);
        }
    }

    pub(super) fn check_table(&self, table: &Commits, after: &str) {
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
