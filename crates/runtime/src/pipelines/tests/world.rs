//! The world of these tests: a real log of records, and a source, sinks and committers that are told where to panic.

use super::super::*;
use crate::chunk::{Chunk, DeadLetter, Split};
use crate::connector::{
    CommitOutcome, Committer, ConnectorError, Connectors, ErrorKind, NamedSink, Output, Owner,
    Polled, Progress, Restate, Sink, Source, Staged, Standing,
};
use crate::manifest::{Manifest, SplitOffset, TableChain};
use crate::origins::Origin;
use crate::pool::Pool;
use lw_graph::{
    FormatSpec, IcebergSink, JobGraph, KafkaSource, Node, Operator, Schema, SinkSpec, SourceSpec,
    StartupMode,
};
use lw_sim::{SimClock, SimDisk, Trouble};
use lw_stdx::clock::SystemClock;
use lw_stdx::disk::RealDisk;
use lw_storage::{Config, Storage};

/// What the connectors do, shared with the test.
#[derive(Default)]
pub(super) struct Script {
    /// The part that panics.
    pub(super) panics: Mutex<&'static str>,
    /// Somebody changed the table, and rows do not fit it.
    pub(super) misfit: Mutex<bool>,
    /// Start and end of the one partition.
    pub(super) log_start: Mutex<i64>,
    pub(super) log_end: Mutex<i64>,
    pub(super) topic: Mutex<Uuid>,
    /// Sources that were made.
    pub(super) opened: Mutex<usize>,
    /// Offsets `[from, to)` of commits.
    pub(super) committed: Mutex<Vec<(i64, i64)>>,
    /// The same, by table.
    pub(super) tables: Mutex<BTreeMap<String, Vec<(i64, i64)>>>,
    /// Scripts that a planner is asked for, with what it makes of them.
    pub(super) planned: Mutex<BTreeMap<String, PlannedScript>>,
    /// What tables say of themselves, by name.
    pub(super) standings: Mutex<BTreeMap<String, Standing>>,
    /// Markers that were restated.
    pub(super) restated: Mutex<Vec<(String, Restate)>>,
}

impl Script {
    fn reached(&self, part: &str) {
        assert!(*self.panics.lock() != part, "the {part} has a bug");
    }
}

struct Fakes(Arc<Script>);

struct FakeSource {
    script: Arc<Script>,
    bounded: bool,
    next: i64,
    end: i64,
    opened: Uuid,
    cuts: Vec<i64>,
}

pub(super) fn at(next: i64) -> SplitOffset {
    SplitOffset {
        topic: "in".into(),
        partition: 0,
        next,
    }
}

impl Source for FakeSource {
    fn cut_at(&mut self, cuts: &[SplitOffset]) {
        self.cuts = cuts.iter().map(|cut| cut.next).collect();
    }
    fn open(
        &mut self,
        offsets: &[SplitOffset],
        until: Option<&[SplitOffset]>,
    ) -> Result<(), ConnectorError> {
        self.next = offsets.first().map_or(0, |at| at.next);
        self.end = until.map_or(*self.script.log_end.lock(), |until| until[0].next);
        self.bounded |= until.is_some();
        self.opened = *self.script.topic.lock();
        Ok(())
    }
    fn topics(&self) -> BTreeMap<String, Uuid> {
        BTreeMap::from([("in".to_string(), self.opened)])
    }
    fn ends(&self) -> Option<Vec<SplitOffset>> {
        self.bounded.then(|| vec![at(self.end)])
    }
    fn splits(&self) -> Arc<[Split]> {
        Arc::from([Split {
            topic: "in".into(),
            partition: 0,
        }])
    }
    fn poll(&mut self, _: usize, _: Duration) -> Result<Polled, ConnectorError> {
        self.script.reached("source");
        if self.next < *self.script.log_start.lock() {
            return Err(ConnectorError::new(
                ErrorKind::Pause,
                "the log begins later",
            ));
        }
        let end = match self.bounded {
            true => self.end,
            false => *self.script.log_end.lock(),
        };
        let ahead = self.cuts.iter().filter(|cut| **cut > self.next);
        let end = ahead.copied().min().map_or(end, |cut| cut.min(end));
        let from = std::mem::replace(&mut self.next, end);
        let progress = Progress {
            split: 0,
            from,
            to: end,
            control: 0,
            skipped: u64::try_from(end - from).expect("forward"),
        };
        Ok(Polled {
            appended: Vec::new(),
            batches: Vec::new(),
            dead_letters: Vec::new(),
            progress: if from < end {
                vec![progress]
            } else {
                Vec::new()
            },
            finished: self.bounded,
        })
    }
    fn records(&mut self, _: &[Origin]) -> Result<Vec<DeadLetter>, ConnectorError> {
        Ok(Vec::new())
    }
    fn positions(&self) -> Vec<SplitOffset> {
        vec![at(self.next)]
    }
    fn lag(&self) -> u64 {
        0
    }
}

struct FakeSink(Arc<Script>, String);

impl Sink for FakeSink {
    fn table(&self) -> &str {
        &self.1
    }
    fn write(&mut self, _: Chunk) -> Result<(), ConnectorError> {
        Ok(())
    }
    fn dead_letters(&mut self, _: Vec<DeadLetter>) -> Result<(), ConnectorError> {
        Ok(())
    }
    fn buffered_bytes(&self) -> usize {
        0
    }
    fn seal(&mut self) -> Result<Vec<Staged>, ConnectorError> {
        self.0.reached("sink");
        if *self.0.misfit.lock() {
            let error = ConnectorError::new(ErrorKind::Misfit, "the table was changed");
            return Err(error.detail("It has no column a.").hint("Change it back."));
        }
        Ok(Vec::new())
    }
}

struct FakeCommitter(Arc<Script>);

impl Committer for FakeCommitter {
    fn commit(&mut self, table: &str, chain: &TableChain) -> Result<CommitOutcome, ConnectorError> {
        self.0.reached("committer");
        for pending in &chain.chain {
            assert!(pending.plan.is_some() && !pending.begins.is_empty());
            let ranges = pending.ranges.iter().map(|range| (range.start, range.end));
            self.0.committed.lock().extend(ranges.clone());
            let mut tables = self.0.tables.lock();
            tables.entry(table.to_string()).or_default().extend(ranges);
        }
        Ok(CommitOutcome::Confirmed {
            confirmed: chain.chain.len(),
            snapshot_id: None,
        })
    }
    fn standing(&mut self, table: &str) -> Result<Option<Standing>, ConnectorError> {
        Ok(self.0.standings.lock().get(table).cloned())
    }
    fn restate(&mut self, table: &str, which: Restate) -> Result<(), ConnectorError> {
        self.0.restated.lock().push((table.to_string(), which));
        Ok(())
    }
}

impl Connectors for Fakes {
    fn source(&self, spec: &SourceSpec, _: &str) -> Result<Box<dyn Source>, ConnectorError> {
        self.0.reached("job");
        *self.0.opened.lock() += 1;
        let SourceSpec::Kafka(kafka) = spec else {
            unreachable!("these jobs read topics")
        };
        Ok(Box::new(FakeSource {
            script: self.0.clone(),
            bounded: kafka.bounded,
            next: 0,
            end: 0,
            opened: Uuid::nil(),
            cuts: Vec::new(),
        }))
    }
    fn sink(&self, sink: NamedSink<'_>, _: &Owner) -> Result<Output, ConnectorError> {
        let committer = FakeCommitter(self.0.clone());
        let sink = FakeSink(self.0.clone(), sink.table.to_string());
        Ok((Box::new(sink), Box::new(committer)))
    }
    fn publish_offsets(&self, _: &str, _: &[SplitOffset]) {}
}

impl Planner for Script {
    fn plan(&self, sql: &str) -> Result<PlannedScript, String> {
        let planned = self.planned.lock();
        let planned = planned.get(sql).cloned();
        planned.ok_or_else(|| "there is no table 'src'".to_string())
    }
}

/// 1, 2, 3, …
pub(super) fn new_id() -> Uuid {
    static LAST: AtomicUsize = AtomicUsize::new(0);
    let last = LAST.fetch_add(1, Ordering::Relaxed);
    Uuid::from_u128(last as u128 + 1)
}

pub(super) struct World {
    pub(super) storage: Storage,
    pub(super) script: Arc<Script>,
    on: On,
}

/// The disk of a world.
enum On {
    /// A folder of the machine, which goes with the world.
    Machine {
        _folder: tempfile::TempDir,
    },
    Simulated(SimDisk),
}

impl World {
    pub(super) fn new() -> World {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Arc::new(SystemClock::new());
        let config = Config::new(folder.path());
        World {
            storage: Storage::open(Arc::new(RealDisk), clock, config).expect("opens"),
            script: Arc::default(),
            on: On::Machine { _folder: folder },
        }
    }

    /// Over a disk whose power can be cut.
    pub(super) fn simulated() -> World {
        let clock = Arc::new(SimClock::new());
        World::over(SimDisk::new(7, clock), Arc::default())
    }

    fn over(disk: SimDisk, script: Arc<Script>) -> World {
        let config = Config::new("/data");
        let clock = Arc::new(SimClock::new());
        let storage = Storage::open_stepped(Arc::new(disk.clone()), clock, config);
        World {
            storage: storage.expect("it opens"),
            script,
            on: On::Simulated(disk),
        }
    }

    fn disk(&self) -> &SimDisk {
        match &self.on {
            On::Simulated(disk) => disk,
            On::Machine { .. } => panic!("nobody cuts the machine's power"),
        }
    }

    /// After so many more changes of the disk.
    pub(super) fn cut_the_power(&self, after: u64) {
        self.disk().cause(Trouble::PowerOff { after });
    }

    pub(super) fn is_off(&self) -> bool {
        self.disk().is_off()
    }

    /// What a power cut leaves.
    pub(super) fn restarted(self) -> World {
        let (disk, script) = (self.disk().clone(), self.script.clone());
        drop(self);
        disk.crash();
        World::over(disk, script)
    }

    /// As a server start does.
    pub(super) fn start(&self) -> Pipelines {
        let pipelines = self.open();
        pipelines.resume_all();
        pipelines
    }

    /// The registry, with nothing running.
    pub(super) fn open(&self) -> Pipelines {
        let around = Surroundings {
            storage: self.storage.clone(),
            connectors: Arc::new(Fakes(self.script.clone())),
            planner: self.script.clone(),
            clock: Arc::new(SystemClock::new()),
            memory: crate::state::Budget::none(),
            new_id: Arc::new(new_id),
            pool: Pool::none(),
        };
        Pipelines::open(around, LEAST_INTERVAL)
    }

    /// The manifest under a key, as a job would read it.
    pub(super) fn manifest(&self, key: &str) -> Option<Manifest> {
        let bytes = self.storage.get(Kv::Manifests, key.as_bytes());
        bytes.map(|bytes| Manifest::read(&bytes, key).expect("it can be read"))
    }

    pub(super) fn put_manifest(&self, key: &str, manifest: &Manifest) {
        let bytes = serde_json::to_vec(manifest).expect("plain data");
        self.put(Kv::Manifests, key, &bytes);
    }

    /// The names of the files that states are in.
    pub(super) fn state_files(&self) -> Vec<String> {
        let (disk, folder) = (self.storage.folder().0, crate::state::folder(&self.storage));
        let there = disk.list(&folder).unwrap_or_default().into_iter();
        there.map(|entry| entry.name).collect()
    }

    pub(super) fn put(&self, table: Kv, key: &str, value: &[u8]) {
        let op = Op::Put {
            table,
            key: Bytes::copy_from_slice(key.as_bytes()),
            value: Some(Bytes::copy_from_slice(value)),
            expect: Expect::Any,
        };
        self.storage.commit_blocking(vec![op]).expect("durable");
    }
}

pub(super) fn submission(bounded: bool) -> Submission {
    let schema = Schema::new(Vec::new());
    let source = KafkaSource {
        table: "t".into(),
        topics: vec!["in".into()],
        bootstrap: "b".into(),
        group_id: None,
        startup: StartupMode::Earliest,
        bounded,
        format: FormatSpec::Raw,
        key: None,
        value_schema: schema.clone(),
        columns: Vec::new(),
    };
    let node = |operator, inputs| Node {
        operator,
        inputs,
        schema: schema.clone(),
    };
    let nodes = vec![
        node(Operator::Source(SourceSpec::Kafka(source)), vec![]),
        node(Operator::Sink(SinkSpec::Blackhole), vec![0]),
    ];
    Submission {
        name: "p".into(),
        sql: "INSERT INTO lake.t".into(),
        jobs: vec![PlannedJob {
            graph: JobGraph { nodes },
            inserts: vec![PlannedInsert {
                table: "lake.t".into(),
                occurrence: 0,
                alone: None,
                query: None,
            }],
            group: None,
        }],
        settings: BTreeMap::new(),
        replace: false,
        adopt: false,
        drop_state: Vec::new(),
    }
}

/// A script of one `INSERT` into each of these tables, in this order and each by itself, that takes the place of another.
pub(super) fn inserts(tables: &[&str]) -> Submission {
    let jobs: Vec<&[&str]> = tables.chunks(1).collect();
    sets(&jobs)
}

/// A pipeline of one `INSERT` into each of these tables, all of which have the five records that are in the log.
pub(super) fn running(tables: &[&str]) -> (World, Pipelines) {
    let world = World::new();
    *world.script.log_end.lock() = 5;
    let pipelines = world.start();
    pipelines.submit(inserts(tables)).expect("it is taken");
    in_step(&world, tables);
    (world, pipelines)
}

/// A script of these statement sets, each over one scan, that takes the place of another.
pub(super) fn sets(sets: &[&[&str]]) -> Submission {
    Submission {
        sql: format!("INSERT INTO {sets:?}"),
        jobs: sets.iter().map(|tables| set(tables)).collect(),
        replace: true,
        ..submission(false)
    }
}

fn set(tables: &[&str]) -> PlannedJob {
    let mut job = submission(false).jobs.remove(0);
    let graph = |tables: &[&str]| {
        let mut nodes = vec![job.graph.nodes[0].clone()];
        nodes.extend(tables.iter().map(|table| Node {
            operator: Operator::Sink(SinkSpec::Print {
                identifier: table.to_string(),
            }),
            ..job.graph.nodes[1].clone()
        }));
        JobGraph { nodes }
    };
    let insert = |table: &&str| PlannedInsert {
        table: table.to_string(),
        occurrence: 0,
        alone: (tables.len() > 1).then(|| graph(&[table])),
        query: Some(query_id(table)),
    };
    let inserts = tables.iter().map(insert).collect();
    job = PlannedJob {
        graph: graph(tables),
        inserts,
        ..job
    };
    job
}

/// Polls what a job shows until it is there; a job that hangs fails the test.
pub(super) fn until(pipelines: &Pipelines, state: &str) -> View {
    wait(pipelines, state, |view| view.state == state)
}

pub(super) fn committed(pipelines: &Pipelines) {
    wait(pipelines, "committed", |view| {
        view.jobs.iter().any(|job| job.sinks[0].commits > 0)
    });
}

pub(super) fn wait(pipelines: &Pipelines, what: &str, there: impl Fn(&View) -> bool) -> View {
    let control = crate::job::Control::default();
    for _ in 0..1000 {
        let view = pipelines.show("p").expect("it is there");
        if there(&view) {
            return view;
        }
        control.wait(Duration::from_millis(10));
    }
    panic!("never {what}: {:?}", pipelines.show("p"));
}

/// A pipeline of one `INSERT` into this sink.
pub(super) fn inserting(name: &str, sink: SinkSpec) -> Submission {
    let mut one = submission(false);
    one.name = name.into();
    one.sql = name.into();
    one.jobs[0].graph.nodes[1].operator = Operator::Sink(sink);
    one
}

/// The table `lake.t`.
pub(super) fn table() -> SinkSpec {
    SinkSpec::Iceberg(IcebergSink {
        catalog: "c".into(),
        uri: None,
        late: lw_graph::LateRows::Drop,
        schema_change: lw_graph::SchemaChange::Pause,
        namespace: "lake".into(),
        table: "t".into(),
        warehouse: None,
        format_version: 2,
        schema: Schema::new(Vec::new()),
        primary_key: Vec::new(),
        partitioned_by: Vec::new(),
        branch: None,
        properties: BTreeMap::new(),
    })
}

/// Until each of the tables has all of the log.
pub(super) fn in_step(world: &World, tables: &[&str]) {
    let control = crate::job::Control::default();
    let end = *world.script.log_end.lock();
    let there = || {
        let committed = world.script.tables.lock();
        let ends = |table: &&str| committed.get(*table).and_then(|c| c.last()).map(|c| c.1);
        tables.iter().all(|table| ends(table) == Some(end))
    };
    for _ in 0..1000 {
        if there() {
            return;
        }
        control.wait(Duration::from_millis(10));
    }
    panic!("never in step: {:?}", world.script.tables.lock());
}
