//! Runs the jobs of a case, in ways that must make no difference.
//!
//! A job is the real one, from the log to the commit: only the table at its end keeps text, see [`super::table`]. It is stepped
//! in this thread, so a way says how much one poll reads, in how many shards keys are, where barriers are, and when the process is gone.

use super::Planned;
use super::format::{Case, What};
use super::table::{Gone, Line, Tables, TextCommitter, TextSink, late_of, letters_of};
use super::world::{Batching, Log, PlannedOnce, Schemas, World};
use crate::failure::failure;
use lw_connectors::kafka::EmbeddedKafka;
use lw_graph::{JobGraph, Operator, SourceSpec, StartupMode};
use lw_runtime::connector::{
    ConnectorError, Connectors, ErrorKind, NamedSink, Output, Owner, Source,
};
use lw_runtime::job::{InsertSpec, JobSpec, Settings, Surroundings};
use lw_runtime::manifest::SplitOffset;
use lw_runtime::pipelines::{PlannedInsert, PlannedJob};
use lw_runtime::pool::Pool;
use lw_runtime::{Commits, Ended, Rules, SteppedJob};
use lw_storage::Uuid;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

/// How a case is run. What comes of it must be the same in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Batches of records as producers make them, polls as the runtime asks for, one checkpoint at the end.
    Plain,
    /// Each poll reads one record.
    PollsOfOne,
    /// Each poll reads all that there is, in batches of one record.
    PollsOfAll,
    /// After each record there is a barrier, and the job starts anew from it, in another number of shards. In turn the process is
    /// also gone before the barrier, before its commit and after it.
    RestartAtEveryBarrier,
    /// As plainly, but so many instances share the work of every operator with keys.
    Shards(usize),
}

/// What the number of shards is at one start after the other.
const SHARDS: [usize; 3] = [1, 2, 7];

impl Way {
    /// Those in which all cases run.
    pub const ALL: [Way; 4] = [
        Way::Plain,
        Way::PollsOfOne,
        Way::PollsOfAll,
        Way::RestartAtEveryBarrier,
    ];

    /// Those of jobs: where nothing has keys, there is nothing to share.
    pub fn of(jobs: &[PlannedJob]) -> Vec<Way> {
        let mut nodes = jobs.iter().flat_map(|job| &job.graph.nodes);
        let shards: &[Way] = match nodes.any(|node| node.operator.state().is_some()) {
            true => &[Way::Shards(2), Way::Shards(7)],
            false => &[],
        };
        Way::ALL.into_iter().chain(shards.iter().copied()).collect()
    }

    fn batching(self) -> Batching {
        match self {
            Way::Plain | Way::Shards(_) => Batching::Runs,
            Way::PollsOfOne | Way::PollsOfAll | Way::RestartAtEveryBarrier => Batching::One,
        }
    }

    /// Bytes that a poll is asked for; none where each record has its barrier.
    fn poll_bytes(self) -> Option<usize> {
        match self {
            Way::Plain | Way::Shards(_) => Some(1 << 20),
            Way::PollsOfOne => Some(1),
            Way::PollsOfAll => Some(usize::MAX),
            Way::RestartAtEveryBarrier => None,
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Way::Plain => "run plainly",
            Way::PollsOfOne => "with polls of one record",
            Way::PollsOfAll => "with one poll of all records",
            Way::RestartAtEveryBarrier => "with a restart at every barrier",
            Way::Shards(shards) => return write!(f, "in {shards} shards"),
        })
    }
}

/// What a way of running made of a case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// By table of the script.
    pub tables: BTreeMap<String, Filled>,
}

/// What one table got.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filled {
    /// Names of the table's columns.
    pub columns: Vec<String>,
    pub rows: Vec<Line>,
    pub letters: Vec<Line>,
    pub late: Vec<Line>,
}

impl Filled {
    pub fn lines(&self, what: What) -> &[Line] {
        match what {
            What::Rows => &self.rows,
            What::DeadLetters => &self.letters,
            What::LateRows => &self.late,
        }
    }
}

/// The worlds of a case, made when they are needed: one for each way to batch its records.
pub struct Runner<'a> {
    case: &'a Case,
    /// What jobs stand on: [`Rules::OURS`], unless a test plants others.
    rules: Rules,
    runs: Option<World>,
    ones: Option<World>,
    /// Tells the pipelines of one world apart.
    pipelines: u128,
}

impl<'a> Runner<'a> {
    pub fn new(case: &'a Case, rules: Rules) -> Runner<'a> {
        Runner {
            case,
            rules,
            runs: None,
            ones: None,
            pipelines: 0,
        }
    }

    /// Runs jobs to their end.
    ///
    /// # Errors
    /// When a job fails: a case's records come to an end in rows and dead letters, or the case is wrong.
    pub fn run(&mut self, planned: &Planned, way: Way) -> anyhow::Result<Outcome> {
        let place = match way.batching() {
            Batching::Runs => &mut self.runs,
            Batching::One => &mut self.ones,
        };
        if place.is_none() {
            *place = Some(World::open(self.case, way.batching())?);
        }
        let world = place.as_ref().expect("opened above");
        self.pipelines += 1;
        let owner = Owner {
            pipeline: Uuid::from_u128(self.pipelines),
            name: "case".to_string(),
        };
        let tables: Arc<Mutex<Tables>> = Arc::default();
        for job in &planned.jobs {
            let run = Run {
                job,
                zone: planned.zone.as_deref(),
                owner: &owner,
                world,
                tables: &tables,
                rules: self.rules,
            };
            run.to_end(way)?;
        }
        let mut outcome = Outcome::default();
        let tables = tables.lock();
        for (insert, columns) in planned.jobs.iter().flat_map(columns_of) {
            let sink = insert.sink_name();
            let filled = outcome.tables.entry(insert.table.clone()).or_default();
            filled.columns = columns;
            filled.rows.extend_from_slice(tables.lines(&sink));
            let letters = tables.lines(&letters_of(&sink));
            filled.letters.extend_from_slice(letters);
            filled.late.extend_from_slice(tables.lines(&late_of(&sink)));
        }
        Ok(outcome)
    }
}

/// One job.
struct Run<'a> {
    job: &'a PlannedJob,
    zone: Option<&'a str>,
    owner: &'a Owner,
    world: &'a World,
    tables: &'a Arc<Mutex<Tables>>,
    rules: Rules,
}

impl Run<'_> {
    fn to_end(&self, way: Way) -> anyhow::Result<()> {
        let Some(bytes) = way.poll_bytes() else {
            let stops = Stop::ALL.into_iter().cycle();
            for (stop, shards) in stops.zip(SHARDS.into_iter().cycle()) {
                if self.up_to(stop, shards)? {
                    break;
                }
            }
            return Ok(());
        };
        let shards = match way {
            Way::Shards(shards) => shards,
            _ => 1,
        };
        let mut job = self.start(Commits::AtOnce, None, shards).map_err(told)?;
        let mut ended = finished(&job)?;
        while !ended {
            job.poll(bytes).map_err(told)?;
            ended = finished(&job)?;
        }
        Ok(())
    }

    /// One record and its barrier, as far as the process lives; whether the job came to its end.
    fn up_to(&self, stop: Stop, shards: usize) -> anyhow::Result<bool> {
        // A commit may be made in the moment of its order: what the job has not done by then, it never does.
        let commits = match stop {
            Stop::InCommit => Commits::AtOnce,
            Stop::BeforeBarrier | Stop::BeforeCommit | Stop::BehindCommit => Commits::WhenAsked,
        };
        let step = || -> Result<SteppedJob, ConnectorError> {
            let mut job = self.start(commits, Some(stop), shards)?;
            // What the process before left is committed before anything is read.
            while job.commit()? {}
            job.poll(1)?;
            if stop != Stop::BeforeBarrier && job.ended().is_none() {
                job.checkpoint()?;
            }
            if stop == Stop::BehindCommit {
                while job.commit()? {}
            }
            Ok(job)
        };
        match catch_unwind(AssertUnwindSafe(step)) {
            Err(gone) if gone.is::<Gone>() => Ok(false),
            Err(panic) => resume_unwind(panic),
            Ok(Err(error)) => Err(told(error)),
            Ok(Ok(job)) => finished(&job),
        }
    }

    fn start(
        &self,
        commits: Commits,
        stop: Option<Stop>,
        shards: usize,
    ) -> Result<SteppedJob, ConnectorError> {
        let spec = JobSpec {
            owner: self.owner.clone(),
            inserts: self.job.inserts.iter().map(insert_spec).collect(),
            graph: bounded(&self.job.graph),
            group: "case".to_string(),
            settings: Settings {
                shards: Some(shards),
                ..Settings::default()
            },
            finished: Arc::new(|| ()),
        };
        let ids = self.world.ids.clone();
        let around = Surroundings {
            storage: self.world.storage.clone(),
            connectors: Arc::new(Parts {
                log: Arc::new(Log(self.world.storage.clone())),
                schemas: self.world.schemas.clone(),
                tables: self.tables.clone(),
                zone: self.zone.map(str::to_string),
                crash: stop == Some(Stop::InCommit),
            }),
            planner: Arc::new(PlannedOnce),
            clock: self.world.clock.clone(),
            memory: lw_runtime::state::Budget::none(),
            new_id: Arc::new(move || ids.next()),
            pool: Pool::none(),
        };
        SteppedJob::start(&spec, &around, commits, self.rules)
    }
}

/// Where a process is gone that is to start anew at every barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// What was read since the last barrier is read again.
    BeforeBarrier,
    /// The manifest is durable, and the table has not heard of it.
    BeforeCommit,
    BehindCommit,
    /// The table has the commit, and the manifest does not know it.
    InCommit,
}

impl Stop {
    const ALL: [Stop; 4] = [
        Stop::BeforeBarrier,
        Stop::BeforeCommit,
        Stop::BehindCommit,
        Stop::InCommit,
    ];
}

/// Whether all was read and committed.
fn finished(job: &SteppedJob) -> anyhow::Result<bool> {
    match job.ended() {
        None => Ok(false),
        Some(Ended::Finished) => Ok(true),
        Some(other) => Err(failure(format!("the job ended {other:?}"), "")),
    }
}

/// What ended a job, as it is told.
fn told(error: ConnectorError) -> anyhow::Error {
    let ConnectorError {
        message,
        detail,
        hint,
        ..
    } = error;
    failure(format!("{message}. {detail}").trim_end(), hint)
}

/// The graph with a source that reads what is there from its beginning and then ends, as a case has no live records.
fn bounded(graph: &JobGraph) -> JobGraph {
    let mut graph = graph.clone();
    for node in &mut graph.nodes {
        if let Operator::Source(SourceSpec::Kafka(kafka)) = &mut node.operator {
            kafka.bounded = true;
            if matches!(
                kafka.startup,
                StartupMode::Latest | StartupMode::GroupOffsets
            ) {
                kafka.startup = StartupMode::Earliest;
            }
        }
    }
    graph
}

/// The `INSERT`s of a job, with the names of their tables' columns.
fn columns_of(job: &PlannedJob) -> impl Iterator<Item = (&PlannedInsert, Vec<String>)> {
    let sinks = job.inserts.iter().zip(job.graph.sinks());
    sinks.map(|(insert, (node, _))| {
        let fields = job.graph.nodes[node].schema.fields.iter();
        (insert, fields.map(|field| field.name.clone()).collect())
    })
}

/// Cases name no plans: what the text says of the query stands for one.
fn insert_spec(insert: &PlannedInsert) -> InsertSpec {
    InsertSpec {
        table: insert.table.clone(),
        occurrence: insert.occurrence,
        plan: insert.query.clone().unwrap_or_default(),
    }
}

/// Connectors of one job.
struct Parts {
    log: Arc<Log>,
    schemas: Arc<Schemas>,
    tables: Arc<Mutex<Tables>>,
    zone: Option<String>,
    /// The process is gone when the table has the commit.
    crash: bool,
}

impl Connectors for Parts {
    fn source(&self, spec: &SourceSpec, group: &str) -> Result<Box<dyn Source>, ConnectorError> {
        self.scans(&[spec], group)
    }

    fn scans(&self, specs: &[&SourceSpec], group: &str) -> Result<Box<dyn Source>, ConnectorError> {
        let mut tables = Vec::with_capacity(specs.len());
        for spec in specs {
            let SourceSpec::Kafka(kafka) = spec else {
                let message = format!("table '{}' makes its rows up", spec.table());
                return Err(ConnectorError::new(ErrorKind::Fix, message)
                    .detail("A case gives the records of its tables.")
                    .hint("write it with 'connector' = 'kafka' here"));
            };
            tables.push((kafka, Arc::default()));
        }
        let (log, schemas) = (self.log.clone(), self.schemas.clone());
        let source = EmbeddedKafka::of_tables(&tables, group, log, Some(schemas))?;
        Ok(Box::new(source))
    }

    fn sink(&self, sink: NamedSink<'_>, _: &Owner) -> Result<Output, ConnectorError> {
        let committer = TextCommitter {
            tables: self.tables.clone(),
            crash: self.crash,
        };
        Ok((
            Box::new(TextSink::new(
                &sink.name(),
                sink.schema,
                self.zone.as_deref(),
            )?),
            Box::new(committer),
        ))
    }

    fn publish_offsets(&self, _group: &str, _offsets: &[SplitOffset]) {}
}
