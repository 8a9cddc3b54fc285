//! Whole attempts, source and sink task together, over a simulated disk: a source of timed records, and a table that
//! remembers every commit. A record's file entry is `[partition, offset]`, so the table can say what is in it twice.

use super::*;
use crate::batch::Origin;
use crate::connector::{CommitOutcome, ErrorKind, Owner, Polled, Progress, Staged};
use crate::job::JobSpec;
use crate::manifest::TableChain;
use arrow_array::{RecordBatch, TimestampMicrosecondArray};
use lw_formats::arrow_schema;
use lw_graph::{
    Expr, Field, FormatSpec, JobGraph, KafkaSource, Node, Operator, Schema, SinkSpec, SourceSpec,
    StartupMode, TypeKind,
};
use lw_sim::{SimClock, SimDisk, Trouble};
use lw_storage::{Config, Storage};
use parking_lot::Mutex;
use serde_json::json;
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
}

/// How a read ends.
#[derive(Clone, Copy, PartialEq)]
enum End {
    /// The source is bounded.
    Bounded,
    /// There is no more, and then the source fails.
    Failure,
}

struct TimedSource {
    records: Records,
    schema: Schema,
    end: End,
    next: Vec<i64>,
    ends: Vec<i64>,
}

fn offsets(next: &[i64]) -> Vec<SplitOffset> {
    let splits = (0..).zip(next);
    let at = |(partition, next): (i32, &i64)| SplitOffset {
        topic: "in".into(),
        partition,
        next: *next,
    };
    splits.map(at).collect()
}

impl Source for TimedSource {
    fn open(
        &mut self,
        offsets: &[SplitOffset],
        until: Option<&[SplitOffset]>,
    ) -> Result<(), ConnectorError> {
        let records = self.records.lock();
        let of = |offsets: &[SplitOffset], partition: usize| {
            let mut found = offsets.iter();
            let found = found.find(|at| at.partition == partition as i32);
            found.map(|at| at.next)
        };
        let splits = 0..records.len();
        self.next = splits
            .clone()
            .map(|p| of(offsets, p).unwrap_or(0))
            .collect();
        let end = |p: usize| until.and_then(|until| of(until, p));
        self.ends = splits
            .map(|p| end(p).unwrap_or(records[p].len() as i64))
            .collect();
        Ok(())
    }
    fn ends(&self) -> Option<Vec<SplitOffset>> {
        (self.end == End::Bounded).then(|| offsets(&self.ends))
    }
    fn splits(&self) -> Arc<[Split]> {
        let split = |partition| Split {
            topic: "in".into(),
            partition,
        };
        (0..self.next.len() as i32).map(split).collect()
    }
    /// One record of each partition.
    fn poll(&mut self, _: usize, _: Duration) -> Result<Polled, ConnectorError> {
        let records = self.records.lock();
        let mut polled = Polled {
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
            let batch = Batch::new(columns, vec![origin], splits.clone());
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
        polled.finished = self.end == End::Bounded && self.next == self.ends;
        if polled.progress.is_empty() && !polled.finished {
            return Err(ConnectorError::new(ErrorKind::Retry, "no more records"));
        }
        Ok(polled)
    }
    fn records(&mut self, _: &[Origin]) -> Result<Vec<DeadLetter>, ConnectorError> {
        unreachable!("nothing fails")
    }
    fn positions(&self) -> Vec<SplitOffset> {
        offsets(&self.next)
    }
    fn lag(&self) -> u64 {
        0
    }
}

#[derive(Default)]
struct MemorySink {
    rows: Vec<serde_json::Value>,
}

impl Sink for MemorySink {
    fn table(&self) -> &str {
        "lake.t"
    }
    fn write(&mut self, batch: Batch) -> Result<(), ConnectorError> {
        let rows = batch.origins.iter();
        self.rows
            .extend(rows.map(|at| json!([at.split, at.offset])));
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

fn graph(schema: &Schema) -> JobGraph {
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
    };
    let operators = [
        Operator::Source(SourceSpec::Kafka(source)),
        watermark,
        Operator::Sink(SinkSpec::Blackhole),
    ];
    let nodes = operators.into_iter().enumerate();
    let nodes = nodes.map(|(id, operator)| Node {
        operator,
        inputs: if id == 0 { Vec::new() } else { vec![id - 1] },
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
    fn attempt(&self, storage: &Storage, end: End, plan: &str) -> Result<Ended, ConnectorError> {
        let schema = Schema::new(vec![Field::new("at", TypeKind::Timestamp(3).nullable())]);
        let graph = graph(&schema);
        let pipeline = Uuid::from_u128(1);
        let spec = JobSpec {
            owner: Owner {
                pipeline,
                name: "p".into(),
            },
            occurrence: 0,
            plan: plan.into(),
            graph: graph.clone(),
            table: "lake.t".into(),
            group: "g".into(),
            settings: Settings::default(),
            finished: Arc::new(|| {}),
        };
        let store = ManifestStore::open(storage.clone(), &spec.manifest_key());
        let manifest = store.manifest().expect("it can be read");
        Attempt {
            source: Box::new(TimedSource {
                records: self.records.clone(),
                schema,
                end,
                next: Vec::new(),
                ends: Vec::new(),
            }),
            chain: Chain::compile(&graph).expect("a chain"),
            sink: Box::new(MemorySink::default()),
            committer: Box::new(MemoryTable(self.table.clone())),
            manifest: manifest.unwrap_or_else(|| Manifest::new(pipeline)),
            name: spec.sink_name(),
            store,
            plan: plan.into(),
            settings: Settings {
                commit_interval: Duration::ZERO,
            },
            control: Arc::default(),
            status: Arc::new(JobStatus::new(&spec)),
            clock: self.clock.clone(),
            publish: Box::new(|_| {}),
        }
        .run()
    }

    /// Reads to where the log ends now, and gives the watermark of the newest commit.
    fn watermark_after(&self, end: End) -> Option<i64> {
        let storage = self.storage().expect("it opens");
        match (self.attempt(&storage, end, "plan"), end) {
            (Ok(Ended::Finished), End::Bounded) => {}
            (Err(error), End::Failure) => assert_eq!(error.message, "no more records"),
            (other, _) => panic!("{other:?}"),
        }
        self.table.lock().last().expect("a commit").watermark
    }

    /// Every record of the log is in the table, and none twice.
    fn check_exactly_once(&self, after: &str) {
        let table = self.table.lock();
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
    assert_eq!(world.watermark_after(End::Failure), Some(50));
    world.records.lock()[0].push(200);
    // Nothing new came in partition 1: how far it was is known from the checkpoint alone.
    assert_eq!(world.watermark_after(End::Failure), Some(50));
    world.records.lock()[1].push(70);
    assert_eq!(world.watermark_after(End::Failure), Some(70));
}

#[test]
fn the_watermark_of_a_bounded_read_waits_for_no_partition_that_has_nothing_more() {
    // Partition 0 is empty, 2 ends before 1.
    let world = World::new(&[&[], &[100, 300, 400], &[200]]);
    assert_eq!(world.watermark_after(End::Bounded), Some(400));
    let table = world.table.lock();
    let watermarks: Vec<_> = table.iter().map(|commit| commit.watermark).collect();
    assert_eq!(watermarks, [Some(100), Some(300), Some(400)]);
}

/// The manifest is the only thing that an attempt writes to this disk, so the power goes at every step of its writes.
#[test]
fn a_kill_at_any_step_of_a_manifests_write_loses_and_doubles_nothing() {
    let mut kills = 0;
    for after in 1.. {
        let world = World::new(&[&[1, 2, 3], &[4, 5]]);
        let storage = world.storage().expect("it opens");
        world.disk.cause(Trouble::PowerOff { after });
        let ended = world.attempt(&storage, End::Bounded, "plan");
        drop(storage);
        let killed = world.disk.is_off();
        if killed {
            kills += 1;
            world.disk.crash();
            let storage = world.storage().expect("it opens again");
            let ended = world.attempt(&storage, End::Bounded, "plan");
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
fn a_disk_that_is_full_at_a_manifests_write_is_waited_out() {
    let mut refused = 0;
    for room in (4..64).map(|kib| kib * 1024) {
        let world = World::new(&[&[1; 40], &[2; 40]]);
        let storage = world.storage().expect("it opens");
        world.disk.cause(Trouble::Capacity(room));
        let ended = world.attempt(&storage, End::Bounded, "plan");
        if let Err(error) = ended {
            refused += 1;
            assert_eq!(error.kind, ErrorKind::Retry, "{error:?}");
            assert_eq!(error.message, "the manifest cannot be written");
            assert!(error.detail.contains("full"), "{error:?}");
            world.disk.cause(Trouble::Capacity(u64::MAX));
            let ended = world.attempt(&storage, End::Bounded, "plan");
            assert_eq!(ended.map_err(|error| error.message), Ok(Ended::Finished));
        }
        world.check_exactly_once(&format!("{room} bytes"));
    }
    assert!(refused >= 10, "the disk was full {refused} times only");
}
