//! Pipelines over a real log of records and a source, sink and committer that are told where to panic.

use super::*;
use crate::batch::{Batch, DeadLetter, Split};
use crate::connector::{
    CommitOutcome, Connectors, ErrorKind, Owner, Polled, Progress, Sink, Source, Staged,
};
use crate::manifest::{SplitOffset, TableChain};
use crate::origins::Origin;
use lw_graph::{
    FormatSpec, IcebergSink, KafkaSource, Node, Operator, Schema, SinkSpec, SourceSpec, StartupMode,
};
use lw_sim::{SimClock, SimDisk, Trouble};
use lw_stdx::clock::SystemClock;
use lw_stdx::disk::RealDisk;
use lw_storage::{Config, Storage};

/// What the connectors do, shared with the test.
#[derive(Default)]
struct Script {
    /// The part that panics.
    panics: Mutex<&'static str>,
    /// Start and end of the one partition.
    log_start: Mutex<i64>,
    log_end: Mutex<i64>,
    topic: Mutex<Uuid>,
    /// Offsets `[from, to)` of commits.
    committed: Mutex<Vec<(i64, i64)>>,
    /// The same, by table.
    tables: Mutex<BTreeMap<String, Vec<(i64, i64)>>>,
    /// Scripts that a planner is asked for, with what it makes of them.
    planned: Mutex<BTreeMap<String, PlannedScript>>,
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
}

fn at(next: i64) -> SplitOffset {
    SplitOffset {
        topic: "in".into(),
        partition: 0,
        next,
    }
}

impl Source for FakeSource {
    fn cut_at(&mut self, _: &[SplitOffset]) {}
    fn open(
        &mut self,
        offsets: &[SplitOffset],
        until: Option<&[SplitOffset]>,
    ) -> Result<(), ConnectorError> {
        self.next = offsets.first().map_or(0, |at| at.next);
        self.end = until.map_or(*self.script.log_end.lock(), |until| until[0].next);
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
        let from = std::mem::replace(&mut self.next, end);
        let progress = Progress {
            split: 0,
            from,
            to: end,
            control: 0,
            skipped: u64::try_from(end - from).expect("forward"),
        };
        Ok(Polled {
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
    fn write(&mut self, _: Batch) -> Result<(), ConnectorError> {
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
}

impl Connectors for Fakes {
    fn source(&self, spec: &SourceSpec, _: &str) -> Result<Box<dyn Source>, ConnectorError> {
        self.0.reached("job");
        let SourceSpec::Kafka(kafka) = spec;
        Ok(Box::new(FakeSource {
            script: self.0.clone(),
            bounded: kafka.bounded,
            next: 0,
            end: 0,
            opened: Uuid::nil(),
        }))
    }
    fn sink(
        &self,
        spec: &SinkSpec,
        _: &Owner,
    ) -> Result<(Box<dyn Sink>, Box<dyn Committer>), ConnectorError> {
        let table = match spec {
            SinkSpec::Print { identifier } => identifier.clone(),
            _ => "lake.t".to_string(),
        };
        let sink = FakeSink(self.0.clone(), table);
        let committer = FakeCommitter(self.0.clone());
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
fn new_id() -> Uuid {
    static LAST: AtomicUsize = AtomicUsize::new(0);
    let last = LAST.fetch_add(1, Ordering::Relaxed);
    Uuid::from_u128(last as u128 + 1)
}

struct World {
    storage: Storage,
    script: Arc<Script>,
    _folder: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Arc::new(SystemClock::new());
        let config = Config::new(folder.path());
        World {
            storage: Storage::open(Arc::new(RealDisk), clock, config).expect("opens"),
            script: Arc::default(),
            _folder: folder,
        }
    }

    /// As a server start does.
    fn start(&self) -> Pipelines {
        let around = Surroundings {
            storage: self.storage.clone(),
            connectors: Arc::new(Fakes(self.script.clone())),
            planner: self.script.clone(),
            clock: Arc::new(SystemClock::new()),
            new_id: Arc::new(new_id),
        };
        let pipelines = Pipelines::open(around, LEAST_INTERVAL);
        pipelines.resume_all();
        pipelines
    }

    fn put(&self, table: Kv, key: &str, value: &[u8]) {
        let op = Op::Put {
            table,
            key: Bytes::copy_from_slice(key.as_bytes()),
            value: Some(Bytes::copy_from_slice(value)),
            expect: Expect::Any,
        };
        self.storage.commit_blocking(vec![op]).expect("durable");
    }
}

fn submission(bounded: bool) -> Submission {
    let schema = Schema::new(Vec::new());
    let source = KafkaSource {
        table: "t".into(),
        topics: vec!["in".into()],
        bootstrap: "b".into(),
        group_id: None,
        startup: StartupMode::Earliest,
        bounded,
        format: FormatSpec::Raw,
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
            table: "lake.t".into(),
            group: None,
            query: None,
        }],
        settings: BTreeMap::new(),
        replace: false,
        adopt: false,
    }
}

/// A script of one `INSERT` into each of these tables, in this order, that takes the place of another.
fn inserts(tables: &[&str]) -> Submission {
    let one = submission(false);
    let job = |table: &&str| {
        let mut job = one.jobs[0].clone();
        let identifier = table.to_string();
        job.graph.nodes[1].operator = Operator::Sink(SinkSpec::Print { identifier });
        job.table = table.to_string();
        job.query = Some(query_id(table));
        job
    };
    Submission {
        sql: format!("INSERT INTO {tables:?}"),
        jobs: tables.iter().map(job).collect(),
        replace: true,
        ..one
    }
}

/// Polls what a job shows until it is there; a job that hangs fails the test.
fn until(pipelines: &Pipelines, state: &str) -> View {
    wait(pipelines, state, |view| view.state == state)
}

fn committed(pipelines: &Pipelines) {
    wait(pipelines, "committed", |view| {
        view.jobs.iter().any(|job| job.commits > 0)
    });
}

fn wait(pipelines: &Pipelines, what: &str, there: impl Fn(&View) -> bool) -> View {
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

#[test]
fn a_panic_in_any_thread_is_a_failure_that_says_what_it_said() {
    for part in ["job", "source", "sink", "committer"] {
        let world = World::new();
        *world.script.panics.lock() = part;
        *world.script.log_end.lock() = 5;
        let pipelines = world.start();
        pipelines.submit(submission(false)).expect("it is taken");
        let view = until(&pipelines, "failed");
        let JobState::Failed { error, .. } = &view.jobs[0].state else {
            panic!("{view:?}");
        };
        assert!(error.ends_with(&format!("the {part} has a bug")), "{error}");
        // Nothing of it was lost or committed.
        *world.script.panics.lock() = "";
        pipelines.resume("p", None).expect("it starts again");
        committed(&pipelines);
        pipelines.stop("p").expect("it ends");
        assert_eq!(*world.script.committed.lock(), [(0, 5)], "{part}");
    }
}

/// A pipeline of one `INSERT` into this sink.
fn inserting(name: &str, sink: SinkSpec) -> Submission {
    let mut one = submission(false);
    one.name = name.into();
    one.sql = name.into();
    one.jobs[0].graph.nodes[1].operator = Operator::Sink(sink);
    one
}

/// The table `lake.t`.
fn table() -> SinkSpec {
    SinkSpec::Iceberg(IcebergSink {
        catalog: "c".into(),
        uri: None,
        namespace: "lake".into(),
        table: "t".into(),
        warehouse: None,
        format_version: 2,
        schema: Schema::new(Vec::new()),
        primary_key: Vec::new(),
        properties: BTreeMap::new(),
    })
}

#[test]
fn a_table_has_one_pipeline_and_what_is_printed_any_number() {
    let world = World::new();
    let pipelines = world.start();
    for (name, sink) in [
        ("one", SinkSpec::Blackhole),
        ("two", SinkSpec::Blackhole),
        ("three", table()),
    ] {
        pipelines.submit(inserting(name, sink)).expect(name);
    }
    let refused = pipelines.submit(inserting("four", table()));
    let Err(PipelineError::Owned { table, owner }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((&*table, &*owner), ("lake.t", "three"));
}

#[test]
fn a_bounded_pipeline_ends_once_and_stays_finished() {
    let world = World::new();
    *world.script.log_end.lock() = 5;
    *world.script.panics.lock() = "committer";
    let pipelines = world.start();
    pipelines.submit(submission(true)).expect("it is taken");
    until(&pipelines, "failed");
    // The end is where it was when reading began, whatever comes meanwhile.
    *world.script.log_end.lock() = 9;
    *world.script.panics.lock() = "";
    pipelines.resume("p", None).expect("it starts again");
    until(&pipelines, "finished");
    assert_eq!(*world.script.committed.lock(), [(0, 5)]);
    drop(pipelines);

    let restarted = world.start();
    let view = restarted.show("p").expect("it is there");
    assert_eq!((view.state.as_str(), view.jobs.len()), ("finished", 0));
    assert_eq!(
        restarted.submit(submission(true)).expect("the same text"),
        Submitted::Attached
    );
    assert_eq!(*world.script.committed.lock(), [(0, 5)]);
    // Told to go on, it reads what came since.
    restarted.resume("p", None).expect("it goes on");
    until(&restarted, "finished");
    assert_eq!(*world.script.committed.lock(), [(0, 5), (5, 9)]);
}

#[test]
fn what_is_unread_is_held_against_retention_until_the_pipeline_is_dropped() {
    let world = World::new();
    *world.script.log_end.lock() = 5;
    let pipelines = world.start();
    pipelines.submit(submission(false)).expect("it is taken");
    committed(&pipelines);
    pipelines.stop("p").expect("it ends");
    let id = pipelines.show("p").expect("it is there").id;
    let key = crate::job::manifest_key(id, "lake.t", 0);
    let offsets = || {
        let held = world.storage.held(&key);
        held.map(|held| held.iter().map(|hold| hold.offset).collect::<Vec<_>>())
    };
    assert_eq!(offsets(), Some(vec![5]), "a stopped pipeline goes on there");
    drop(pipelines);
    world.storage.release(&key);
    let restarted = world.start();
    assert_eq!(offsets(), Some(vec![5]), "a start states it anew");
    restarted.drop_pipeline("p").expect("it goes");
    assert_eq!(offsets(), None);
}

/// Until each of the tables has all of the log.
fn in_step(world: &World, tables: &[&str]) {
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

#[test]
fn inserts_that_change_places_keep_their_offsets() {
    let world = World::new();
    *world.script.log_end.lock() = 5;
    let pipelines = world.start();
    pipelines.submit(inserts(&["lake.a"])).expect("it is taken");
    in_step(&world, &["lake.a"]);
    *world.script.log_end.lock() = 9;
    let swapped = pipelines.submit(inserts(&["lake.b", "lake.a"]));
    assert_eq!(swapped.expect("it is taken"), Submitted::Replaced);
    in_step(&world, &["lake.a", "lake.b"]);
    pipelines
        .submit(inserts(&["lake.a", "lake.b"]))
        .expect("it is taken");
    *world.script.log_end.lock() = 12;
    in_step(&world, &["lake.a", "lake.b"]);
    pipelines.stop("p").expect("it ends");
    for (table, commits) in &*world.script.tables.lock() {
        let mut at = 0;
        for (from, to) in commits {
            assert_eq!(*from, at, "{table}: {commits:?}");
            at = *to;
        }
    }
}

/// A manifest of two sinks, as a version with statement sets leaves it: each goes on where it is, in a manifest of its own.
#[test]
fn inserts_part_in_one_frame_and_go_on_where_each_of_them_was() {
    let world = World::new();
    *world.script.log_end.lock() = 5;
    let pipelines = world.start();
    pipelines
        .submit(inserts(&["lake.a", "lake.b"]))
        .expect("it is taken");
    in_step(&world, &["lake.a", "lake.b"]);
    pipelines.drain();
    let record = pipelines.known("p").expect("it is there");
    drop(pipelines);
    let stored = |index| {
        let key = record.manifest_key(index);
        let bytes = world.storage.get(Kv::Manifests, key.as_bytes());
        bytes.map(|bytes| Manifest::read(&bytes, &key).expect("it can be read"))
    };
    let mut both = stored(0).expect("it is there");
    let mut b = stored(1).expect("it is there");
    both.sinks.append(&mut b.sinks);
    let bytes = serde_json::to_vec(&both).expect("plain data");
    world.put(Kv::Manifests, &record.manifest_key(0), &bytes);
    let op = Op::Put {
        table: Kv::Manifests,
        key: record.manifest_key(1).into(),
        value: None,
        expect: Expect::Any,
    };
    world.storage.commit_blocking(vec![op]).expect("durable");

    *world.script.log_end.lock() = 9;
    let restarted = world.start();
    in_step(&world, &["lake.a", "lake.b"]);
    restarted.stop("p").expect("it ends");
    for (index, table) in ["lake.a", "lake.b"].into_iter().enumerate() {
        assert_eq!(world.script.tables.lock()[table], [(0, 5), (5, 9)]);
        let manifest = stored(index).expect("it has one of its own");
        assert_eq!(manifest.sinks.keys().collect::<Vec<_>>(), [table]);
    }
}

/// The power goes at every step of the frame that lets two `INSERT`s part.
#[test]
fn a_kill_while_inserts_part_leaves_all_as_it_was_or_as_it_is_to_be() {
    let both = inserts(&["lake.a", "lake.b"]);
    let record = Record {
        format: FORMAT,
        id: Uuid::from_u128(1),
        name: both.name,
        sql: both.sql,
        jobs: both.jobs,
        settings: BTreeMap::new(),
        desired: Desired::Stopped,
        created_ms: 0,
        plans: Vec::new(),
    };
    let keys = [0, 1].map(|index| record.manifest_key(index));
    let mut together = Manifest::new(record.id);
    together.stand_at("lake.a", &[at(5)]);
    together.stand_at("lake.b", &[at(9)]);
    let sinks = |storage: &Storage| {
        keys.clone().map(|key| {
            let bytes = storage.get(Kv::Manifests, key.as_bytes());
            let manifest = bytes.map(|b| Manifest::read(&b, &key).expect("it can be read"));
            manifest.map_or(0, |manifest| manifest.sinks.len())
        })
    };
    let (mut kills, mut seen) = (0, BTreeSet::new());
    for after in 1.. {
        let clock = Arc::new(SimClock::new());
        let disk = SimDisk::new(7, clock.clone());
        let open = || {
            let (disk, config) = (Arc::new(disk.clone()), Config::new("/data"));
            Storage::open_stepped(disk, clock.clone(), config).expect("it opens")
        };
        let storage = open();
        let mut store = ManifestStore::open(storage.clone(), &keys[0]);
        store.save(&together).expect("durable");
        disk.cause(Trouble::PowerOff { after });
        let done = arrange::carry_out(&storage, &record);
        if !disk.is_off() {
            done.expect("nothing was in its way");
            seen.insert(sinks(&storage));
            break;
        }
        kills += 1;
        drop((storage, store));
        disk.crash();
        let storage = open();
        let left = sinks(&storage);
        assert!([[2, 0], [1, 1]].contains(&left), "{left:?}");
        seen.insert(left);
        arrange::carry_out(&storage, &record).expect("the next start does it");
        assert_eq!(sinks(&storage), [1, 1]);
    }
    assert!(kills >= 3, "only {kills} places to be killed at");
    assert_eq!(seen.len(), 2, "{seen:?}");
}

#[test]
fn a_job_that_may_have_begun_elsewhere_does_not_begin_again() {
    let world = World::new();
    *world.script.log_end.lock() = 5;
    let pipelines = world.start();
    pipelines.submit(inserts(&["lake.a"])).expect("it is taken");
    in_step(&world, &["lake.a"]);
    let id = pipelines.known("p").expect("it is there").id;
    // Left by a newer version, for an INSERT that is in the script no more.
    let newer = br#"{"format":9,"sinks":{"lake.b":{}}}"#;
    world.put(Kv::Manifests, &format!("{id}/0/lake.c"), newer);
    let refused = pipelines.submit(inserts(&["lake.a", "lake.b"]));
    let refused = refused.expect_err("lake.b may be in it");
    assert_eq!(
        refused.to_string(),
        "where lake.b stands may be in a checkpoint that cannot be read: the manifest has format 9; this version reads formats 1 to 3"
    );
    assert!(refused.hint().starts_with("Start the version"));
    *world.script.log_end.lock() = 9;
    in_step(&world, &["lake.a"]);
}

#[test]
fn an_insert_that_is_in_the_script_no_more_holds_nothing() {
    let world = World::new();
    *world.script.log_end.lock() = 5;
    let pipelines = world.start();
    pipelines
        .submit(inserts(&["lake.a", "lake.b"]))
        .expect("it is taken");
    in_step(&world, &["lake.a", "lake.b"]);
    let id = pipelines.show("p").expect("it is there").id;
    let held = |table: &str| world.storage.held(&crate::job::manifest_key(id, table, 0));
    assert!(held("lake.a").is_some() && held("lake.b").is_some());
    pipelines.submit(inserts(&["lake.a"])).expect("it is taken");
    assert!(held("lake.a").is_some());
    assert_eq!(held("lake.b"), None);
    pipelines.drain();
    drop(pipelines);
    world
        .storage
        .release(&crate::job::manifest_key(id, "lake.a", 0));
    let restarted = world.start();
    assert!(held("lake.a").is_some());
    assert_eq!(held("lake.b"), None, "nor after a start");
    // It comes back, and goes on where it was.
    *world.script.log_end.lock() = 9;
    restarted
        .submit(inserts(&["lake.a", "lake.b"]))
        .expect("it is taken");
    in_step(&world, &["lake.a", "lake.b"]);
    assert!(held("lake.b").is_some());
    assert_eq!(world.script.tables.lock()["lake.b"], [(0, 5), (5, 9)]);
}

#[test]
fn a_pipeline_that_was_overtaken_pauses_until_it_is_told_to_skip() {
    let world = World::new();
    let topic = Uuid::from_u128(9);
    let create = Op::CreateTopic {
        name: "in".into(),
        id: topic,
        partitions: 1,
        config: BTreeMap::new(),
        internal: false,
    };
    world
        .storage
        .commit_blocking(vec![create])
        .expect("durable");
    *world.script.topic.lock() = topic;
    let append = |records: i64| {
        let mut batch = lw_protocol::BatchBuilder::new(lw_protocol::Compression::None);
        for n in 0..records {
            batch.push(n, None, Some(b"v"), &[]);
        }
        let batches = batch.build().expect("a batch").into_bytes();
        let append = Op::Append {
            topic,
            partition: 0,
            batches,
        };
        world
            .storage
            .commit_blocking(vec![append])
            .expect("durable");
        *world.script.log_end.lock() += records;
    };
    append(5);
    let pipelines = world.start();
    pipelines.submit(submission(false)).expect("it is taken");
    committed(&pipelines);
    pipelines.stop("p").expect("it ends");
    append(10);
    let delete = Op::DeleteRecords {
        topic,
        partition: 0,
        before: 12,
    };
    world
        .storage
        .commit_blocking(vec![delete])
        .expect("durable");
    *world.script.log_start.lock() = 12;
    for word in [None, Some(Word::Adopt), Some(Word::Rewind)] {
        pipelines.resume("p", word).expect("it starts");
        let view = until(&pipelines, "paused");
        let JobState::Paused(pause) = &view.jobs[0].state else {
            panic!("{view:?}");
        };
        assert!(
            pause.reason.starts_with("the log begins later"),
            "{pause:?}"
        );
        assert_eq!(pause.words, [Word::SkipLost], "{word:?} does not help");
        assert_eq!(*world.script.committed.lock(), [(0, 5)]);
    }
    pipelines
        .resume("p", Some(Word::SkipLost))
        .expect("it starts");
    in_step(&world, &["lake.t"]);
    // What is lost is accounted for in the table, with no row; the chain has no hole.
    assert_eq!(*world.script.committed.lock(), [(0, 5), (5, 12), (12, 15)]);
    pipelines.stop("p").expect("it ends");
    let manifest = pipelines.manifest("p", 0).expect("it can be read");
    assert_eq!(manifest.expect("it is there").position(), [at(15)]);
}

#[test]
fn a_plan_is_named_by_what_its_query_means() {
    let world = World::new();
    let pipelines = world.start();
    let first = inserts(&["lake.a", "lake.b"]);
    pipelines.submit(first.clone()).expect("it is taken");
    let record = pipelines.known("p").expect("it is there");
    let (a, b) = (record.plan_id(0), record.plan_id(1));
    // The script grows and turns round; then one of its queries changes.
    pipelines
        .submit(inserts(&["lake.c", "lake.b", "lake.a"]))
        .expect("it is taken");
    let record = pipelines.known("p").expect("it is there");
    assert_eq!(
        (record.plan_id(2), record.plan_id(1)),
        (a.clone(), b.clone())
    );
    let mut changed = inserts(&["lake.a"]);
    changed.jobs[0].query = Some(query_id("another"));
    pipelines.submit(changed).expect("it is taken");
    let record = pipelines.known("p").expect("it is there");
    assert_ne!(record.plan_id(0), a);
    // An audit of the old ranges gets the old jobs, from the script that made them.
    let planned = PlannedScript {
        jobs: first.jobs.clone(),
        settings: BTreeMap::new(),
    };
    world
        .script
        .planned
        .lock()
        .insert(first.sql.clone(), planned);
    assert_eq!(
        pipelines.job_of_plan(record.id, &b),
        Ok(first.jobs[1].clone())
    );
    assert_eq!(
        pipelines.job_of_plan(record.id, &record.plan_id(0)),
        Ok(record.jobs[0].clone())
    );
    assert_eq!(
        pipelines.job_of_plan(record.id, "0"),
        Err("its script is not kept any more".to_string())
    );
}

/// As after an upgrade that reads graphs of another shape: the script says what the pipeline is.
#[test]
fn a_record_whose_graph_alone_cannot_be_read_is_planned_again() {
    let world = World::new();
    *world.script.log_end.lock() = 5;
    let submitted = submission(false);
    let pipelines = world.start();
    pipelines.submit(submitted.clone()).expect("it is taken");
    committed(&pipelines);
    let plan = pipelines.known("p").expect("it is there").plan_id(0);
    pipelines.drain();
    drop(pipelines);
    let stored = world.storage.get(Kv::Pipelines, b"p").expect("it is there");
    let mut stored: serde_json::Value = serde_json::from_slice(&stored).expect("JSON");
    stored["jobs"][0]["graph"] = serde_json::json!({ "vertices": [] });
    world.put(Kv::Pipelines, "p", stored.to_string().as_bytes());

    // Not while its script cannot be planned, and it says so.
    let restarted = world.start();
    assert_eq!(restarted.show("p").expect("it is there").state, "failed");
    let error = restarted
        .resume("p", None)
        .expect_err("refused")
        .to_string();
    assert!(
        error.ends_with("; its script cannot be planned any more: there is no table 'src'"),
        "{error}"
    );
    drop(restarted);

    // Nor when its script fills other tables now.
    let mut job = submitted.jobs[0].clone();
    job.query = Some(query_id("what it means"));
    job.table = "lake.other".into();
    let mut planned = PlannedScript {
        jobs: vec![job],
        settings: BTreeMap::new(),
    };
    let script = || world.script.planned.lock();
    script().insert(submitted.sql.clone(), planned.clone());
    let restarted = world.start();
    let error = restarted
        .resume("p", None)
        .expect_err("refused")
        .to_string();
    assert!(
        error.ends_with("; its script fills other tables now"),
        "{error}"
    );
    drop(restarted);

    planned.jobs[0].table = "lake.t".into();
    script().insert(submitted.sql.clone(), planned);
    *world.script.log_end.lock() = 9;
    let restarted = world.start();
    in_step(&world, &["lake.t"]);
    assert_eq!(*world.script.committed.lock(), [(0, 5), (5, 9)]);
    let record = restarted.known("p").expect("it can be read");
    assert_eq!(record.plan_id(0), plan, "it is the plan that it was");
}

#[test]
fn a_topic_that_was_made_again_is_told_and_not_read() {
    let world = World::new();
    *world.script.log_end.lock() = 5;
    let pipelines = world.start();
    pipelines.submit(submission(false)).expect("it is taken");
    committed(&pipelines);
    pipelines.stop("p").expect("it ends");
    *world.script.topic.lock() = Uuid::from_u128(2);
    *world.script.log_end.lock() = 500;
    pipelines.resume("p", None).expect("it starts");
    let view = until(&pipelines, "failed");
    let JobState::Failed { error, detail, .. } = &view.jobs[0].state else {
        panic!("{view:?}");
    };
    assert_eq!(error, "topic 'in' was deleted and created again");
    assert_eq!(
        detail,
        "The checkpoint stands at in[0]@5 of the topic that is gone; nothing was read of the new one."
    );
    assert_eq!(*world.script.committed.lock(), [(0, 5)]);
}

/// What the version before wrote: two `INSERT`s, each with a pending commit, known by their positions.
#[test]
fn pipelines_of_format_1_go_on_under_the_names_of_their_tables() {
    let world = World::new();
    let id = "958de919-4985-4453-89d0-ef1e78b325f6";
    world.put(Kv::Pipelines, "orders", include_bytes!("v1/record.json"));
    for (index, manifest) in [
        include_bytes!("v1/manifest-0.json").as_slice(),
        include_bytes!("v1/manifest-1.json").as_slice(),
    ]
    .into_iter()
    .enumerate()
    {
        world.put(Kv::Manifests, &format!("{id}/{index}"), manifest);
    }
    carry_over(&world.storage);
    carry_over(&world.storage);
    let record = Record::load(&world.storage, "orders")
        .expect("it is there")
        .expect("it can be read");
    let tables: Vec<&str> = record.jobs.iter().map(|job| job.table.as_str()).collect();
    assert_eq!(tables, ["lake.twos", "lake.ones"]);
    let keys: Vec<String> = world
        .storage
        .scan(Kv::Manifests, b"")
        .iter()
        .map(|(key, _)| String::from_utf8_lossy(key).into_owned())
        .collect();
    assert_eq!(
        keys,
        [format!("{id}/0/lake.ones"), format!("{id}/0/lake.twos")]
    );
    for (index, table) in tables.iter().enumerate() {
        let store = ManifestStore::open(world.storage.clone(), &record.manifest_key(index));
        let manifest = store.manifest().expect("it can be read").expect("it moved");
        assert_eq!(manifest.position()[0], at(3));
        assert_eq!((manifest.format, manifest.ends()), (3, None));
        assert_eq!(manifest.sinks[*table].chain.chain.len(), 1);
        let plan = record.plan_id(index);
        let kept = record.plans.iter().find(|text| text.ids.contains(&plan));
        assert_eq!(kept.map(|text| &text.sql), Some(&record.sql));
    }
}

#[test]
fn a_record_that_cannot_be_read_keeps_its_name_and_says_why() {
    let world = World::new();
    let text =
        r#"{"format":9,"id":"958de919-4985-4453-89d0-ef1e78b325f6","jobs":[{"table":"lake.t"}]}"#;
    world.put(Kv::Pipelines, "newer", text.as_bytes());
    let pipelines = world.start();
    let view = &pipelines.list()[0];
    assert_eq!(
        (view.name.as_str(), view.state.as_str()),
        ("newer", "failed")
    );
    let named = Submission {
        name: "newer".into(),
        replace: true,
        ..submission(false)
    };
    for refused in [
        pipelines.submit(named).map(drop),
        pipelines.stop("newer"),
        pipelines.resume("newer", None),
    ] {
        assert_eq!(
            refused.expect_err("refused").to_string(),
            "pipeline 'newer' cannot be read: its record has format 9; this version reads format 2"
        );
    }
    // Its table is not given away either.
    let error = pipelines
        .submit(inserting("other", table()))
        .expect_err("refused");
    assert_eq!(
        error.to_string(),
        "table 'lake.t' is written by pipeline 'newer'"
    );
    pipelines
        .drop_pipeline("newer")
        .expect("it is the user's word");
    assert!(pipelines.list().is_empty());
}

#[test]
fn the_checkpointing_interval_is_the_cadence_of_commits() {
    let world = World::new();
    let pipelines = world.start();
    let cadence = |settings: &[(&str, &str)]| {
        let mut submission = submission(false);
        submission.settings = settings
            .iter()
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .collect();
        submission.replace = true;
        submission.sql = format!("{settings:?}");
        pipelines.submit(submission).expect("it is taken");
        let record = pipelines.known("p").expect("it is there");
        pipelines.settings(&record).commit_interval
    };
    assert_eq!(cadence(&[]), LEAST_INTERVAL);
    let interval = ("execution.checkpointing.interval", "3 s");
    assert_eq!(cadence(&[interval]), Duration::from_secs(3));
    let ours = ("lakeward.commit.interval", "7 s");
    assert_eq!(cadence(&[interval, ours]), Duration::from_secs(7));
}

#[test]
fn the_difference_names_the_first_line_that_differs() {
    assert_eq!(
        difference("a\nb\nc", "a\nx\nc"),
        "First difference, line 2:\n- b\n+ x"
    );
    assert_eq!(
        difference("a", "a\nb"),
        "First difference, line 2:\n- (end of the script)\n+ b"
    );
}
