//! The pipelines of a server: durable by name, resumed with the server, owned by a UUID that outlives restarts.
//!
//! | submitted | under a name that is new | same name, same text | same name, other text |
//! |---|---|---|---|
//! | plain | created | attached | refused with the difference |
//! | with `replace` | created | attached | replaced: same UUID, goes on at its offsets |
//!
//! A table has one owning pipeline. Where a table carries the marker of another one, submitting is refused unless `adopt`
//! is given; the new pipeline then goes on at the marker's offsets ([`takeover`]). `drop` forgets the UUID and the manifest, never the
//! table: running the same script again meets its own old marker as a stranger's, on purpose.
//!
//! State: one record per pipeline in the WAL's `Pipelines` table (JSON, `format` 3), written before anything runs.

mod arrange;
mod before;
mod error;
mod from_savepoint;
mod plan;
mod planned;
mod promote;
mod record;
mod replay;
mod savepoints;
mod state;
pub mod takeover;
mod view;
mod words;
mod writers;

pub use arrange::Disarray;
pub use error::{PipelineError, offsets_text};
pub(crate) use plan::PlanText;
pub use plan::{PlannedScript, Planner};
pub use planned::{PlannedInsert, PlannedJob, query_id};
pub use replay::{NewReplay, ReplayOf, ReplayView, narrowed, needs_all, replay_name};
pub use savepoints::SavepointView;
pub use state::{Fate, StateFate};
pub use view::View;
pub use words::Word;
pub use writers::Writer;

use crate::job::{Job, JobSpec, JobState, Settings, Stop, Surroundings};
use crate::store::{hold_all, release};
use bytes::Bytes;
use lw_storage::{Expect, Op, Table as Kv};
use parking_lot::Mutex;
use record::{Desired, FORMAT, Record, Unreadable, carry_over, plan_again};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use uuid::Uuid;
use view::view_unreadable;

/// What a user submits: a name, a script and what the planner made of it.
#[derive(Clone, Debug)]
pub struct Submission {
    pub name: String,
    pub sql: String,
    pub jobs: Vec<PlannedJob>,
    pub settings: BTreeMap<String, String>,
    /// Take the place of a pipeline of the same name with another text.
    pub replace: bool,
    /// Go on at the marker that another pipeline left in the table.
    pub adopt: bool,
    /// Uids of operators that the new text does not have, and whose state is to be dropped.
    pub drop_state: Vec<String>,
}

/// What became of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Submitted {
    Created,
    Attached,
    Replaced,
}

/// The shortest time between two checkpoints, as in Flink.
const LEAST_INTERVAL: Duration = Duration::from_millis(10);

/// All pipelines of a server.
pub struct Pipelines {
    around: Surroundings,
    /// Why the scripts of records that cannot be read do not help, by name.
    not_planned: BTreeMap<String, String>,
    commit_interval: Duration,
    running: Mutex<BTreeMap<String, Vec<Job>>>,
    /// One change at a time: submit, stop, resume and drop wait for each other.
    changes: Mutex<()>,
}

impl Pipelines {
    /// Opens the registry; nothing runs until [`Pipelines::resume_all`]. Records of older formats become this one's.
    pub fn open(around: Surroundings, commit_interval: Duration) -> Pipelines {
        carry_over(&around.storage);
        let not_planned = plan_again(&around.storage, &*around.planner);
        let pipelines = Pipelines {
            around,
            not_planned,
            commit_interval,
            running: Mutex::new(BTreeMap::new()),
            changes: Mutex::new(()),
        };
        let records = pipelines.records();
        for record in &records {
            // Told again, and to the user, when it is started.
            if let Err(error) = arrange::carry_out(&pipelines.around.storage, record) {
                tracing::error!(pipeline = record.name, %error, "the checkpoints do not fit the script");
            }
        }
        hold_all(&pipelines.around.storage, |key| {
            !records.iter().any(|record| record.dropped(key))
        });
        pipelines.sweep();
        pipelines
    }

    /// Starts every pipeline that was running when the server ended.
    pub fn resume_all(&self) {
        let _change = self.changes.lock();
        for record in self.records() {
            if record.desired == Desired::Running {
                self.start(&record);
            }
        }
    }

    /// Ends all jobs with a last commit; they stay `running` in the registry and resume with the server.
    pub fn drain(&self) {
        let _change = self.changes.lock();
        let running = std::mem::take(&mut *self.running.lock());
        std::thread::scope(|scope| {
            for job in running.values().flatten() {
                scope.spawn(|| job.stop(Stop::Keeps));
            }
        });
    }

    /// Creates, attaches to or replaces a pipeline; see the table at the head of this file.
    ///
    /// # Errors
    /// [`PipelineError`]; what ran before goes on then.
    pub fn submit(&self, submission: Submission) -> Result<Submitted, PipelineError> {
        let _change = self.changes.lock();
        if submission.jobs.is_empty() {
            return Err(PipelineError::Nothing);
        }
        let existing = match self.stored(&submission.name) {
            Some(Err(unreadable)) => return Err(unreadable.into()),
            Some(Ok(record)) => Some(record),
            None => None,
        };
        self.refuse_replay(&submission.name)?;
        let outcome = match &existing {
            Some(record) if record.sql == submission.sql => {
                if !self.running.lock().contains_key(&record.name)
                    && record.desired == Desired::Running
                {
                    self.start(record);
                }
                return Ok(Submitted::Attached);
            }
            Some(record) if !submission.replace => {
                return Err(PipelineError::Differs {
                    name: submission.name,
                    difference: difference(&record.sql, &submission.sql),
                });
            }
            Some(_) => Submitted::Replaced,
            None => Submitted::Created,
        };
        self.refuse_owned_tables(&submission)?;
        let made_by = existing.as_ref().map(|record| record.plans.clone());
        let mut record = self.record(&submission, existing.as_ref(), made_by.unwrap_or_default());
        if PlanText::too_long(&record.plans) {
            let named = self.plans_named(&record)?;
            PlanText::forget(&mut record.plans, &named);
        }
        if !submission.adopt {
            self.refuse_foreign_markers(&record)?;
        }
        if let Some(existing) = &existing {
            self.refuse_loss(existing, &record, &submission.drop_state)?;
        }
        let was_running = self.halt(&record.name, Stop::Keeps);
        let taken = self.take_over(&record, submission.adopt);
        if let (Err(_), Some(existing)) = (&taken, &existing)
            && was_running
        {
            self.start(existing);
        }
        taken?;
        if let Some(existing) = &existing {
            self.let_go(existing, &record);
        }
        self.start(&record);
        Ok(outcome)
    }

    /// What is to be kept of a pipeline whose tables were made by these plans. One that is new has a new id.
    fn record(
        &self,
        submission: &Submission,
        existing: Option<&Record>,
        made_by: Vec<PlanText>,
    ) -> Record {
        let around = &self.around;
        let mut record = Record {
            format: FORMAT,
            id: existing.map_or_else(|| (around.new_id)(), |record| record.id),
            name: submission.name.clone(),
            sql: submission.sql.clone(),
            jobs: submission.jobs.clone(),
            settings: submission.settings.clone(),
            desired: Desired::Running,
            created_ms: existing.map_or_else(|| around.clock.now_ms(), |record| record.created_ms),
            plans: Vec::new(),
            replay: None,
        };
        record.remember_plans(made_by);
        record
    }

    /// Lets the pipeline be what the record says, whose jobs go on where its manifests say.
    fn take_over(&self, record: &Record, adopt: bool) -> Result<(), PipelineError> {
        arrange::carry_out(&self.around.storage, record)?;
        if adopt {
            let prepared = self.prepare(record, Word::Adopt)?;
            self.carry_out(record, prepared)?;
        }
        self.save_without_lost_state(record)
    }

    /// What an `INSERT` that is in the script no more has not read need not be kept for it. Its manifest stays: should the
    /// `INSERT` come back, it goes on there.
    fn let_go(&self, before: &Record, after: &Record) {
        let kept = after.manifest_keys();
        for key in before.manifest_keys().difference(&kept) {
            release(&self.around.storage, key.as_bytes());
        }
    }

    /// Removes the files of state that no manifest can name.
    fn sweep(&self) {
        let manifests = self.around.storage.scan(Kv::Manifests, b"");
        let keys = manifests
            .iter()
            .map(|(key, _)| String::from_utf8_lossy(key));
        let keys: Vec<_> = keys.collect();
        crate::state::sweep(&self.around.storage, keys.iter().map(|key| &**key));
    }

    /// Ends a pipeline with a last commit; it stays, and [`Pipelines::resume`] goes on where it ended.
    ///
    /// # Errors
    /// [`PipelineError::Unknown`].
    pub fn stop(&self, name: &str) -> Result<(), PipelineError> {
        let _change = self.changes.lock();
        let mut record = self.known(name)?;
        self.end(name, Stop::Keeps);
        record.desired = Desired::Stopped;
        self.save(&record)
    }

    /// Starts a pipeline that is stopped, paused or failed; with a [`Word`], from where that word says.
    ///
    /// # Errors
    /// [`PipelineError`]; the pipeline is then as it was, running or not.
    pub fn resume(&self, name: &str, word: Option<Word>) -> Result<(), PipelineError> {
        let _change = self.changes.lock();
        let mut record = self.known(name)?;
        let was_running = self.halt(name, Stop::Keeps);
        if record.desired == Desired::Finished {
            // A replay has its range, and is done with it.
            self.refuse_replay(name)?;
            self.read_on(&record)?;
        }
        let resumed = match word {
            Some(Word::SkipLost) => self.skip_lost(&record),
            Some(word) => self
                .prepare(&record, word)
                .and_then(|prepared| self.carry_out(&record, prepared)),
            None => Ok(()),
        };
        if let Err(error) = resumed {
            if was_running {
                self.start(&record);
            }
            return Err(error);
        }
        record.desired = Desired::Running;
        self.save(&record)?;
        self.start(&record);
        Ok(())
    }

    /// Ends a pipeline and forgets it: its UUID, its checkpoint. Its table stays.
    ///
    /// # Errors
    /// [`PipelineError::Unknown`].
    pub fn drop_pipeline(&self, name: &str) -> Result<(), PipelineError> {
        let _change = self.changes.lock();
        let id = match self.stored(name) {
            None => return Err(self.unknown(name)),
            Some(Ok(record)) => Some(record.id),
            Some(Err(unreadable)) => unreadable.id,
        };
        self.end(name, Stop::Keeps);
        Record::remove(&self.around.storage, name).map_err(PipelineError::Storage)?;
        if let Some(id) = id {
            self.forget_manifests(id).map_err(PipelineError::Storage)?;
        }
        Ok(())
    }

    /// Removes the manifests of all jobs that a pipeline has or had.
    fn forget_manifests(&self, pipeline: Uuid) -> Result<(), lw_storage::CommitError> {
        let prefix = format!("{pipeline}/");
        let stored = self.around.storage.scan(Kv::Manifests, prefix.as_bytes());
        let remove = |key: Bytes| Op::Put {
            table: Kv::Manifests,
            key,
            value: None,
            expect: Expect::Any,
        };
        let keys: Vec<Bytes> = stored.into_iter().map(|(key, _)| key).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let ops = keys.iter().cloned().map(remove).collect();
        self.around.storage.commit_blocking(ops)?;
        for key in keys {
            release(&self.around.storage, &key);
        }
        self.sweep();
        Ok(())
    }

    pub fn list(&self) -> Vec<View> {
        let all = Record::all(&self.around.storage).into_iter();
        all.map(|stored| match stored {
            Ok(record) => self.view(&record),
            Err(unreadable) => view_unreadable(self.told(unreadable)),
        })
        .collect()
    }

    /// With why its script does not help, where that was tried.
    fn told(&self, mut unreadable: Unreadable) -> Unreadable {
        if let Some(reason) = self.not_planned.get(&unreadable.name) {
            unreadable.reason += &format!("; {reason}");
        }
        unreadable
    }

    /// # Errors
    /// [`PipelineError::Unknown`].
    pub fn show(&self, name: &str) -> Result<View, PipelineError> {
        match self.stored(name) {
            None => Err(self.unknown(name)),
            Some(Ok(record)) => Ok(self.view(&record)),
            Some(Err(unreadable)) => Ok(view_unreadable(unreadable)),
        }
    }

    fn start(&self, record: &Record) {
        let unfinished = Arc::new(AtomicUsize::new(record.jobs.len()));
        let arranged = arrange::carry_out(&self.around.storage, record);
        let jobs = record.jobs.iter().map(|job| {
            let spec = JobSpec {
                owner: record.owner(),
                inserts: job.specs(&record.sql, &record.settings),
                graph: job.graph.clone(),
                group: job.group(&record.name),
                settings: self.settings(record),
                finished: self.when_finished(record, unfinished.clone()),
            };
            match &arranged {
                Ok(()) => Job::start(spec, self.around.clone()),
                Err(error) => Job::failed(&spec, error.to_string(), error.hint()),
            }
        });
        let jobs = jobs.collect();
        self.running.lock().insert(record.name.clone(), jobs);
    }

    /// What a job does when it has read all of its bounded source: the last one of a pipeline writes down that it is done.
    fn when_finished(
        &self,
        record: &Record,
        unfinished: Arc<AtomicUsize>,
    ) -> Arc<dyn Fn() + Send + Sync> {
        let (storage, owner) = (self.around.storage.clone(), record.owner());
        Arc::new(move || {
            if unfinished.fetch_sub(1, Ordering::AcqRel) > 1 {
                return;
            }
            if let Err(error) = Record::finish(&storage, &owner) {
                // Its manifests say the same: the next start finds nothing left to read.
                tracing::warn!(pipeline = owner.name, %error, "that the pipeline is finished could not be written down");
            }
        })
    }

    fn settings(&self, record: &Record) -> Settings {
        let millis = |key: &str| {
            let value = record.settings.get(key)?;
            lw_stdx::duration::parse(value)
        };
        let cadence = millis("lakeward.commit.interval")
            .or_else(|| millis("execution.checkpointing.interval"));
        let shards = |key: &str| {
            let shards = record.settings.get(key)?.parse::<usize>().ok();
            shards.filter(|shards| *shards > 0)
        };
        Settings {
            commit_interval: cadence.unwrap_or(self.commit_interval).max(LEAST_INTERVAL),
            shards: shards("table.exec.resource.default-parallelism")
                .or_else(|| shards("parallelism.default")),
        }
    }

    /// Ends the threads of a pipeline and keeps what they show; says whether any was still at work.
    fn halt(&self, name: &str, how: Stop) -> bool {
        let Some(jobs) = self.running.lock().remove(name) else {
            return false;
        };
        let at_work = |job: &Job| {
            let state = job.status.get().state;
            matches!(
                state,
                JobState::Starting | JobState::Running | JobState::Restarting { .. }
            )
        };
        let was_running = jobs.iter().any(at_work);
        jobs.iter().for_each(|job| job.stop(how));
        self.running.lock().insert(name.to_owned(), jobs);
        was_running
    }

    fn end(&self, name: &str, how: Stop) {
        let jobs = self.running.lock().remove(name);
        for job in jobs.into_iter().flatten() {
            job.stop(how);
        }
    }

    /// Refuses a table that another pipeline writes. What is printed or dropped is nobody's.
    fn refuse_owned_tables(&self, submission: &Submission) -> Result<(), PipelineError> {
        let jobs = submission.jobs.iter();
        let wanted: BTreeSet<&str> = jobs.flat_map(PlannedJob::owned_tables).collect();
        for stored in Record::all(&self.around.storage) {
            let (owner, table) = match &stored {
                Ok(record) => {
                    let mut tables = record.jobs.iter().flat_map(PlannedJob::owned_tables);
                    (&record.name, tables.find(|table| wanted.contains(table)))
                }
                // Its graphs are not known: a name may be a table's.
                Err(unreadable) => {
                    let mut tables = unreadable.tables.iter().map(String::as_str);
                    (
                        &unreadable.name,
                        tables.find(|table| wanted.contains(table)),
                    )
                }
            };
            if let Some(table) = table
                && *owner != submission.name
            {
                return Err(PipelineError::Owned {
                    table: table.to_owned(),
                    owner: owner.clone(),
                });
            }
        }
        Ok(())
    }

    /// Refuses a name that is a replay's.
    fn refuse_replay(&self, name: &str) -> Result<(), PipelineError> {
        match self.replay(name)? {
            Some((of, _)) => Err(PipelineError::IsReplay {
                name: name.to_string(),
                table: of.table,
                branch: of.branch,
            }),
            None => Ok(()),
        }
    }

    fn known(&self, name: &str) -> Result<Record, PipelineError> {
        match self.stored(name) {
            Some(stored) => Ok(stored?),
            None => Err(self.unknown(name)),
        }
    }

    fn unknown(&self, name: &str) -> PipelineError {
        let stored = self.around.storage.scan(Kv::Pipelines, b"");
        let known = stored
            .iter()
            .map(|(name, _)| String::from_utf8_lossy(name).into_owned());
        PipelineError::Unknown {
            name: name.to_string(),
            known: known.collect(),
        }
    }

    fn stored(&self, name: &str) -> Option<Result<Record, Unreadable>> {
        let stored = Record::load(&self.around.storage, name)?;
        Some(stored.map_err(|unreadable| self.told(unreadable)))
    }

    /// The records that can be read.
    fn records(&self) -> Vec<Record> {
        let all = Record::all(&self.around.storage);
        all.into_iter().filter_map(Result::ok).collect()
    }

    fn save(&self, record: &Record) -> Result<(), PipelineError> {
        let saved = record.save(&self.around.storage);
        saved.map_err(PipelineError::Storage)
    }
}

/// The first line in which two scripts differ, both versions of it.
fn difference(old: &str, new: &str) -> String {
    let (mut old_lines, mut new_lines) = (old.lines(), new.lines());
    let mut line = 0;
    loop {
        line += 1;
        match (old_lines.next(), new_lines.next()) {
            (Some(a), Some(b)) if a == b => {}
            (None, None) => return "The texts differ only in their line ends.".into(),
            (a, b) => {
                return format!(
                    "First difference, line {line}:\n- {}\n+ {}",
                    a.unwrap_or("(end of the script)"),
                    b.unwrap_or("(end of the script)")
                );
            }
        }
    }
}

#[cfg(test)]
mod tests;
