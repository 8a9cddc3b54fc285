//! A running job: its thread, its control and what it shows of itself.
//!
//! A job restarts by itself after failures that can pass (a full disk, a catalog that is down), with growing pauses; what
//! the user must change makes it `failed` or `paused`, with the reason and something to type.

#![expect(
    clippy::disallowed_methods,
    reason = "a shell: a job's own thread and its pauses between attempts"
)]

mod control;
mod groups;
mod status;

pub(crate) use control::Save;
pub use control::{Control, Stop};
pub use status::{
    JobState, JobStatus, LateView, LookupStatus, OperatorStatus, PartitionStatus, PauseView,
    SinkStatus, Status,
};

use crate::connector::{ConnectorError, Connectors, ErrorKind, NamedSink, Owner, Pause};
use crate::lookup::Lookups;
use crate::manifest::{Manifest, Unreadable};
use crate::operator::{Flow, Parallelism};
use crate::pipelines::{Planner, Word};
use crate::pool::Pool;
use crate::state::Budget;
use crate::store::{ManifestStore, StoreError};
use crate::task::rules::Rules;
use crate::task::{Attempt, Ended, Output};
use lw_graph::{JobGraph, LateRows, SourceSpec};
use lw_stdx::clock::Clock;
use lw_storage::Storage;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How often a job commits, and how its work is shared.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long rows may wait before their table is committed: a checkpoint is a commit.
    pub commit_interval: Duration,
    /// How many instances share the work of an operator with keys; `None` for as many as pieces of work are done at a time.
    pub shards: Option<usize>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            commit_interval: Duration::from_secs(10),
            shards: None,
        }
    }
}

/// The `INSERT`s of a pipeline that read one scan.
#[derive(Clone)]
pub struct JobSpec {
    pub owner: Owner,
    /// In the order of the graph's sinks, at least one. The job's manifest stands under the key of the first.
    pub inserts: Vec<InsertSpec>,
    pub graph: JobGraph,
    /// Consumer group under which offsets are published of tables that name none of their own.
    pub group: String,
    pub settings: Settings,
    /// Called once when a bounded source is read to its end.
    pub finished: Arc<dyn Fn() + Send + Sync>,
}

/// One `INSERT INTO`. It is the same one as long as pipeline and table are the same, wherever it stands.
#[derive(Clone, Debug)]
pub struct InsertSpec {
    /// `namespace.table` of the sink.
    pub table: String,
    /// Which of the `INSERT`s into the same sink it is; 0 wherever the sink is a table.
    pub occurrence: usize,
    /// Id of the plan, which the commits name.
    pub plan: String,
}

impl JobSpec {
    fn topics(&self) -> Vec<String> {
        self.graph.sources().flat_map(SourceSpec::topics).collect()
    }

    /// Key of the job's manifest.
    ///
    /// # Panics
    /// Without an `INSERT`.
    pub fn manifest_key(&self) -> String {
        let InsertSpec {
            table, occurrence, ..
        } = &self.inserts[0];
        manifest_key(self.owner.pipeline, table, *occurrence)
    }

    /// It fills a branch: how far it has read is nothing for tools that watch a group's lag.
    fn is_replay(&self) -> bool {
        let mut sinks = self.graph.sinks();
        sinks.any(|(_, sink)| sink.branch().is_some())
    }

    fn tables(&self) -> impl Iterator<Item = String> {
        self.inserts.iter().map(|insert| insert.table.clone())
    }
}

/// Key of the manifest of a pipeline's job, which is that of its first sink. (Format 1 had `pipeline/position`.)
pub fn manifest_key(pipeline: Uuid, table: &str, occurrence: usize) -> String {
    format!("{pipeline}/{occurrence}/{table}")
}

/// What a job runs in.
#[derive(Clone)]
pub struct Surroundings {
    pub storage: Storage,
    pub connectors: Arc<dyn Connectors>,
    pub planner: Arc<dyn Planner>,
    pub clock: Arc<dyn Clock>,
    /// For the states of all jobs.
    pub memory: Budget,
    /// Ids of pipelines and of commits that no reading made.
    pub new_id: Arc<dyn Fn() -> Uuid + Send + Sync>,
    /// Does the work that is cut into pieces, of all jobs.
    pub pool: Pool,
}

/// A job with its thread.
pub struct Job {
    pub status: Arc<JobStatus>,
    control: Arc<Control>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl Job {
    /// Starts the job's thread.
    pub fn start(spec: JobSpec, around: Surroundings) -> Job {
        let status = Arc::new(JobStatus::new(&spec));
        let control = Arc::new(Control::default());
        let supervisor = Supervisor {
            spec,
            around,
            status: status.clone(),
            control: control.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("job".into())
            .spawn(move || supervisor.run())
            .expect("the system has a thread for each job");
        Job {
            status,
            control,
            thread: Mutex::new(Some(thread)),
        }
    }

    /// A job that cannot be started, and says why.
    pub(crate) fn failed(spec: &JobSpec, error: String, hint: String) -> Job {
        let status = JobStatus::new(spec);
        let detail = "Nothing of it was read or written.".to_string();
        tracing::error!(
            pipeline = spec.owner.name,
            table = status.get().tables(),
            error,
            "job cannot be started"
        );
        status.update(|status| {
            status.state = JobState::Failed {
                error,
                detail,
                hint,
            };
        });
        Job {
            status: Arc::new(status),
            control: {
                let control = Control::default();
                control.over();
                Arc::new(control)
            },
            thread: Mutex::new(None),
        }
    }

    /// What its threads are told by.
    pub(crate) fn control(&self) -> Arc<Control> {
        self.control.clone()
    }

    /// Asks the job to commit what it has read and end; returns when it has.
    pub fn stop(&self, how: Stop) {
        self.control.stop(how);
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}

struct Supervisor {
    spec: JobSpec,
    around: Surroundings,
    status: Arc<JobStatus>,
    control: Arc<Control>,
}

impl Supervisor {
    fn run(self) {
        let mut backoff = Duration::from_millis(200);
        loop {
            let begun = Instant::now();
            let state = match self.attempt_or_panic() {
                Ok(Ended::Finished) => JobState::Finished,
                Ok(Ended::Stopped) => JobState::Stopped,
                Ok(Ended::Paused(pause)) => JobState::Paused(view(pause)),
                Ok(Ended::Fenced) => JobState::Fenced,
                Err(error) if error.kind == ErrorKind::Pause => {
                    JobState::Paused(self.told(&error, vec![Word::SkipLost]))
                }
                // What helps is no word: the hint says it.
                Err(error) if error.kind == ErrorKind::Misfit => {
                    JobState::Paused(self.told(&error, Vec::new()))
                }
                Err(error) if error.kind == ErrorKind::Retry && !self.control.stopping() => {
                    if begun.elapsed() > Duration::from_secs(60) {
                        backoff = Duration::from_millis(200);
                    }
                    self.restart_after(&error, backoff);
                    backoff = (backoff * 2).min(Duration::from_secs(30));
                    continue;
                }
                Err(error) => JobState::Failed {
                    error: error.message,
                    detail: error.detail,
                    hint: error.hint,
                },
            };
            self.report(&state);
            if state == JobState::Finished {
                (self.spec.finished)();
            }
            self.status.update(|status| status.state = state);
            self.control.over();
            return;
        }
    }

    /// A pause that is none of a commit.
    fn told(&self, error: &ConnectorError, words: Vec<Word>) -> PauseView {
        PauseView {
            table: self.status.get().tables(),
            reason: format!("{}. {} {}", error.message, error.detail, error.hint),
            table_offsets: Vec::new(),
            marker_offsets: Vec::new(),
            checkpoint_offsets: Vec::new(),
            words,
        }
    }

    /// A panic anywhere in the job's own thread (job, sink, committer) is a failure like any other, with what it said.
    fn attempt_or_panic(&self) -> Result<Ended, ConnectorError> {
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.attempt()));
        caught.unwrap_or_else(|payload| Err(panicked("the job", &*payload)))
    }

    fn restart_after(&self, error: &ConnectorError, backoff: Duration) {
        tracing::warn!(pipeline = self.spec.owner.name, table = self.status.get().tables(), %error, detail = error.detail, "job failed; restarting from its checkpoint");
        self.status.update(|status| {
            status.restarts += 1;
            status.last_error = Some(error.to_string());
            status.state = JobState::Restarting {
                error: error.to_string(),
            };
        });
        self.control.wait(backoff);
    }

    fn report(&self, state: &JobState) {
        let (pipeline, table) = (&self.spec.owner.name, self.status.get().tables());
        match state {
            JobState::Failed {
                error,
                detail,
                hint,
            } => {
                tracing::error!(pipeline, table, error, detail, hint, "job failed");
            }
            JobState::Paused(pause) => {
                tracing::error!(pipeline, table, reason = pause.reason, "job paused");
            }
            _ => tracing::info!(pipeline, table, ?state, "job ended"),
        }
    }

    fn attempt(&self) -> Result<Ended, ConnectorError> {
        match Attempt::prepare(&self.spec, &self.around, self.status.clone(), Rules::OURS)? {
            Ok(attempt) => {
                self.status
                    .update(|status| status.state = JobState::Running);
                attempt.run(&self.control)
            }
            Err(ended) => Ok(ended),
        }
    }
}

impl Attempt {
    /// Takes the job over, and makes what it runs with; `Ended` where another process was faster.
    pub(crate) fn prepare(
        spec: &JobSpec,
        around: &Surroundings,
        status: Arc<JobStatus>,
        rules: Rules,
    ) -> Result<Result<Attempt, Ended>, ConnectorError> {
        let mut store = ManifestStore::open(around.storage.clone(), &spec.manifest_key());
        let manifest = match take_over(&mut store, spec, &*around.clock) {
            Ok(manifest) => manifest,
            Err(StoreError::Fenced) => return Ok(Err(Ended::Fenced)),
            Err(error) => return Err(ConnectorError::new(kind(&error), &error)),
        };
        let scans: Vec<&SourceSpec> = spec.graph.sources().collect();
        let source = around.connectors.scans(&scans, &spec.group)?;
        let mut outputs = Vec::new();
        let inserts = spec.inserts.iter();
        let named = inserts.map(|it| (&*it.table, it.occurrence, Some(&*it.plan)));
        for (insert, sink) in spec.inserts.iter().zip(NamedSink::all(&spec.graph, named)) {
            let name = sink.name();
            let (sink, committer) = around.connectors.sink(sink, &spec.owner)?;
            outputs.push(Output {
                name,
                plan: insert.plan.clone(),
                sink,
                committer,
            });
        }
        if outputs.is_empty() || spec.graph.sinks().count() != spec.inserts.len() {
            return Err(not_a_chain("it has not one sink for each INSERT"));
        }
        let keeps_late = |output: &Output| output.sink.late_rows() == LateRows::SideTable;
        let letters = match outputs.iter().any(keeps_late) {
            true => Some(around.connectors.scans(&scans, &spec.group)?),
            false => None,
        };
        let parallelism = match spec.settings.shards {
            Some(shards) => Parallelism::of(shards, &around.pool),
            None => Parallelism::of_state(manifest.memory(), &around.pool),
        };
        let parallelism = Parallelism {
            in_order: rules.gathers_in_order,
            ..parallelism
        };
        let lookups = Lookups::open(
            &spec.graph,
            &*around.connectors,
            &manifest.lookups,
            status.clone(),
            around.clock.clone(),
        )?;
        let flow = Flow::looking_up(&spec.graph, &parallelism, lookups.slots())
            .map_err(|error| ConnectorError::new(ErrorKind::Bug, error))?;
        Ok(Ok(Attempt {
            source,
            letters,
            flow,
            lookups,
            outputs,
            files: store.files(),
            pool: around.pool.clone(),
            store,
            manifest,
            settings: spec.settings.clone(),
            ends_open: spec.is_replay(),
            status,
            clock: around.clock.clone(),
            memory: around.memory.share(),
            new_id: around.new_id.clone(),
            publish: match spec.is_replay() {
                true => Box::new(|_| ()),
                false => groups::publish(&scans, &spec.group, around.connectors.clone()),
            },
        }))
    }
}

/// Raises the generation, so that a process that ran this job before can no longer checkpoint.
fn take_over(
    store: &mut ManifestStore,
    spec: &JobSpec,
    clock: &dyn Clock,
) -> Result<Manifest, StoreError> {
    let manifest = store.manifest()?;
    let mut manifest = manifest.unwrap_or_else(|| Manifest::new(spec.owner.pipeline));
    manifest.generation += 1;
    manifest.created_ms = clock.now_ms();
    store.save(&manifest)?;
    Ok(manifest)
}

fn kind(error: &StoreError) -> ErrorKind {
    match error {
        StoreError::Storage(_) | StoreError::Fenced => ErrorKind::Retry,
        StoreError::Unreadable(Unreadable::Damaged(_)) => ErrorKind::Bug,
        StoreError::Unreadable(Unreadable::Newer { .. } | Unreadable::State)
        | StoreError::Disarray(_) => ErrorKind::Fix,
    }
}

/// The failure that a panic is, with what it said. Nothing of the attempt is gone on with: the next one starts from the
/// manifest.
pub(crate) fn panicked(what: &str, payload: &(dyn std::any::Any + Send)) -> ConnectorError {
    let said = payload
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| payload.downcast_ref::<String>().cloned());
    let said = said.unwrap_or_else(|| "it left no message".to_string());
    ConnectorError::new(ErrorKind::Bug, format!("{what} panicked: {said}"))
        .detail("This is a bug. Nothing was committed beyond the last checkpoint; the table is as it was.")
        .hint("`lakeward pipeline resume` tries again from the last checkpoint. Please report it with the server's log.")
}

fn not_a_chain(why: &str) -> ConnectorError {
    ConnectorError::new(
        ErrorKind::Bug,
        format!("the job graph cannot be run: {why}"),
    )
}

fn view(pause: Pause) -> PauseView {
    PauseView {
        table: pause.table,
        reason: pause.reason,
        table_offsets: pause.table_offsets,
        marker_offsets: pause.marker_offsets,
        checkpoint_offsets: pause.checkpoint_offsets,
        words: vec![Word::Adopt, Word::Rewind],
    }
}
