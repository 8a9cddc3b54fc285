//! Runs the jobs of a case, in four ways that must make no difference.
//!
//! A job is the real one, from the log to the commit: only the table at its end keeps text, see [`super::table`], and the source
//! is metered, so that a way can say how much one poll reads and when an attempt ends.

use super::format::Case;
use super::table::{CRASH, Crash, Line, Tables, TextCommitter, TextSink, letters_of};
use super::world::{Batching, Log, PlannedOnce, World};
use crate::failure::failure;
use lw_connectors::kafka::EmbeddedKafka;
use lw_graph::{JobGraph, Operator, Schema, SinkSpec, SourceSpec, StartupMode};
use lw_lakehouse::Ids;
use lw_runtime::connector::{ConnectorError, Connectors, ErrorKind, Output, Owner, Polled, Source};
use lw_runtime::job::{InsertSpec, Job, JobSpec, JobState, Settings, Surroundings};
use lw_runtime::manifest::SplitOffset;
use lw_runtime::pipelines::PlannedJob;
use lw_runtime::{DeadLetter, Origin, Split};
use lw_storage::Uuid;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How a case is run. What comes of it must be the same in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Batches of records as producers make them, polls as the runtime asks for, one checkpoint at the end.
    Plain,
    /// Each poll reads one record.
    PollsOfOne,
    /// Each poll reads all that there is, in batches of one record.
    PollsOfAll,
    /// After each record there is a barrier, and the job starts anew from it. In turn the process is also gone before the barrier,
    /// before its commit and after it.
    RestartAtEveryBarrier,
}

impl Way {
    pub const ALL: [Way; 4] = [
        Way::Plain,
        Way::PollsOfOne,
        Way::PollsOfAll,
        Way::RestartAtEveryBarrier,
    ];

    fn batching(self) -> Batching {
        match self {
            Way::Plain => Batching::Runs,
            Way::PollsOfOne | Way::PollsOfAll | Way::RestartAtEveryBarrier => Batching::One,
        }
    }

    /// Bytes that a poll is asked for.
    fn poll_bytes(self, asked: usize) -> usize {
        match self {
            Way::Plain => asked,
            Way::PollsOfOne | Way::RestartAtEveryBarrier => 1,
            Way::PollsOfAll => usize::MAX,
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
    pub rows: Vec<Line>,
    pub letters: Vec<Line>,
}

/// The worlds of a case, made when they are needed: one for each way to batch its records.
pub struct Runner<'a> {
    case: &'a Case,
    runs: Option<World>,
    ones: Option<World>,
    /// Tells the pipelines of one world apart.
    pipelines: u128,
}

impl<'a> Runner<'a> {
    pub fn new(case: &'a Case) -> Runner<'a> {
        Runner {
            case,
            runs: None,
            ones: None,
            pipelines: 0,
        }
    }

    /// Runs jobs to their end.
    ///
    /// # Errors
    /// When a job fails: a case's records come to an end in rows and dead letters, or the case is wrong.
    pub fn run(&mut self, jobs: &[PlannedJob], way: Way) -> anyhow::Result<Outcome> {
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
        let mut outcome = Outcome::default();
        for (index, job) in jobs.iter().enumerate() {
            let before = jobs[..index].iter();
            let occurrence = before.filter(|other| other.table == job.table).count();
            let run = Run {
                job,
                owner: &owner,
                occurrence,
                world,
                way,
                tables: &tables,
            };
            run.to_end()?;
            outcome.tables.entry(job.table.clone()).or_default();
        }
        let tables = tables.lock();
        for (table, filled) in &mut outcome.tables {
            filled.rows = tables.lines(table).to_vec();
            filled.letters = tables.lines(&letters_of(table)).to_vec();
        }
        Ok(outcome)
    }
}

/// One job, one way.
struct Run<'a> {
    job: &'a PlannedJob,
    owner: &'a Owner,
    occurrence: usize,
    world: &'a World,
    way: Way,
    tables: &'a Arc<Mutex<Tables>>,
}

impl Run<'_> {
    fn to_end(&self) -> anyhow::Result<()> {
        if self.way != Way::RestartAtEveryBarrier {
            return self.attempt(End::Drained).map(drop);
        }
        let barriers = [
            End::Crash(Crash::BeforeSeal),
            End::Crash(Crash::BeforeCommit),
            End::BehindBarrier,
            End::Crash(Crash::AfterCommit),
        ];
        for end in barriers.into_iter().cycle() {
            if self.attempt(end)? {
                break;
            }
        }
        Ok(())
    }

    /// Whether the source is read to its end.
    fn attempt(&self, end: End) -> anyhow::Result<bool> {
        let metered = Arc::new(Metered {
            world: Parts {
                log: Arc::new(Log(self.world.storage.clone())),
                schemas: self.world.schemas.clone(),
                tables: self.tables.clone(),
            },
            table: self.job.table.clone(),
            schema: sink_schema(&self.job.graph),
            way: self.way,
            end,
            drained: Arc::default(),
        });
        let spec = JobSpec {
            owner: self.owner.clone(),
            inserts: vec![InsertSpec {
                table: self.job.table.clone(),
                occurrence: self.occurrence,
                plan: self.job.query.clone().unwrap_or_default(),
            }],
            graph: bounded(&self.job.graph),
            group: "case".to_string(),
            settings: Settings {
                commit_interval: FOREVER,
            },
            finished: Arc::new(|| ()),
        };
        let ids = Ids::random();
        let around = Surroundings {
            storage: self.world.storage.clone(),
            connectors: metered.clone(),
            planner: Arc::new(PlannedOnce),
            clock: self.world.clock.clone(),
            new_id: Arc::new(move || ids.next()),
        };
        match Job::start(spec, around).ended() {
            JobState::Finished => Ok(metered.drained.load(Ordering::Acquire)),
            JobState::Failed { error, .. } if matches!(end, End::Crash(_)) && error == CRASH => {
                Ok(false)
            }
            JobState::Failed {
                error,
                detail,
                hint,
            } => Err(failure(format!("{error}. {detail}"), hint)),
            other => Err(failure(format!("the job ended {other:?}"), "")),
        }
    }
}

/// Checkpoints come at the end of an attempt, and at no time of its own.
const FOREVER: Duration = Duration::from_secs(1 << 30);

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

/// The columns of the table that a job fills.
fn sink_schema(graph: &JobGraph) -> Option<Schema> {
    let (id, _) = graph.sinks().next()?;
    Some(graph.nodes[id].schema.clone())
}

/// When an attempt ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Drained,
    /// After the first poll that gave something; its checkpoint is taken.
    BehindBarrier,
    /// As that, but the process does not live to its end.
    Crash(Crash),
}

/// Connectors of one attempt.
struct Metered {
    world: Parts,
    table: String,
    schema: Option<Schema>,
    way: Way,
    end: End,
    /// The source has nothing more to read.
    drained: Arc<AtomicBool>,
}

struct Parts {
    log: Arc<Log>,
    schemas: Arc<super::world::Schemas>,
    tables: Arc<Mutex<Tables>>,
}

impl Connectors for Metered {
    fn source(&self, spec: &SourceSpec, group: &str) -> Result<Box<dyn Source>, ConnectorError> {
        let SourceSpec::Kafka(kafka) = spec;
        let (log, schemas) = (self.world.log.clone(), self.world.schemas.clone());
        let inner = EmbeddedKafka::new(kafka, group, log, Some(schemas), Arc::default());
        let inner = inner.map_err(for_good)?;
        Ok(Box::new(MeteredSource {
            inner,
            way: self.way,
            end: self.end,
            drained: self.drained.clone(),
        }))
    }

    fn sink(&self, _: &SinkSpec, _: &Owner) -> Result<Output, ConnectorError> {
        let schema = self
            .schema
            .as_ref()
            .ok_or_else(|| ConnectorError::new(ErrorKind::Bug, "the job's graph has no sink"))?;
        let crash = match self.end {
            End::Crash(crash) => Some(crash),
            End::Drained | End::BehindBarrier => None,
        };
        let sink = TextSink::new(&self.table, schema, crash)?;
        let tables = self.world.tables.clone();
        let committer = TextCommitter { tables, crash };
        Ok((Box::new(sink), Box::new(committer)))
    }

    fn publish_offsets(&self, _group: &str, _offsets: &[SplitOffset]) {}
}

/// Nothing passes by itself in a world that stands still: what a server would try again is the case's failure.
fn for_good(error: ConnectorError) -> ConnectorError {
    let kind = match error.kind {
        ErrorKind::Retry => ErrorKind::Fix,
        kind => kind,
    };
    ConnectorError { kind, ..error }
}

/// A source whose polls are as large as the way of running says.
struct MeteredSource {
    inner: EmbeddedKafka,
    way: Way,
    end: End,
    drained: Arc<AtomicBool>,
}

impl Source for MeteredSource {
    fn open(
        &mut self,
        offsets: &[SplitOffset],
        until: Option<&[SplitOffset]>,
    ) -> Result<(), ConnectorError> {
        self.inner.open(offsets, until).map_err(for_good)
    }

    fn cut_at(&mut self, cuts: &[SplitOffset]) {
        self.inner.cut_at(cuts);
    }

    fn topics(&self) -> BTreeMap<String, Uuid> {
        self.inner.topics()
    }

    fn ends(&self) -> Option<Vec<SplitOffset>> {
        self.inner.ends()
    }

    fn splits(&self) -> Arc<[Split]> {
        self.inner.splits()
    }

    fn poll(&mut self, max_bytes: usize, timeout: Duration) -> Result<Polled, ConnectorError> {
        let polled = self.inner.poll(self.way.poll_bytes(max_bytes), timeout);
        let mut polled = polled.map_err(for_good)?;
        self.drained.store(polled.finished, Ordering::Release);
        if self.end != End::Drained && !polled.progress.is_empty() {
            polled.finished = true;
        }
        Ok(polled)
    }

    fn records(&mut self, origins: &[Origin]) -> Result<Vec<DeadLetter>, ConnectorError> {
        self.inner.records(origins).map_err(for_good)
    }

    fn positions(&self) -> Vec<SplitOffset> {
        self.inner.positions()
    }

    fn lag(&self) -> u64 {
        self.inner.lag()
    }
}
