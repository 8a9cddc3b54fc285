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
//! State: one record per pipeline in the WAL's `Pipelines` table (JSON, `format` 2), written before anything runs.

mod arrange;
mod error;
mod plan;
mod record;
pub mod takeover;

pub use arrange::Disarray;
pub use error::{PipelineError, offsets_text};
pub use plan::{PlannedScript, Planner, query_id};

use crate::connector::{Committer, ConnectorError};
use crate::job::{InsertSpec, Job, JobSpec, JobState, JobStatus, Settings, Status, Surroundings};
use crate::manifest::Manifest;
use crate::store::{ManifestStore, hold_all, release};
use bytes::Bytes;
use lw_graph::{JobGraph, SinkSpec};
use lw_storage::{Expect, Op, Table as Kv};
use parking_lot::Mutex;
use plan::PlanText;
use record::{Desired, FORMAT, Record, Unreadable, carry_over, plan_again};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use takeover::{Plan, Table, Tables};
use uuid::Uuid;

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
}

/// One `INSERT INTO`, planned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedJob {
    pub graph: JobGraph,
    /// `namespace.table`.
    pub table: String,
    /// `properties.group.id`, else `lakeward-<pipeline>`.
    pub group: Option<String>,
    /// What the query means, as [`query_id`] has it; `None` in records from before it was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
}

/// What became of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Submitted {
    Created,
    Attached,
    Replaced,
}

/// A pipeline as it is shown.
#[derive(Clone, Debug, Serialize)]
pub struct View {
    pub name: String,
    pub id: Uuid,
    pub state: String,
    pub created_ms: i64,
    pub sql: String,
    pub jobs: Vec<Status>,
}

/// A job, as those see it who look at the table that it fills.
#[derive(Clone, Debug)]
pub struct Writer {
    /// The pipeline's name.
    pub name: String,
    /// The pipeline's id.
    pub pipeline: Uuid,
    pub job: PlannedJob,
    manifest_key: String,
}

fn writers_of(record: Record) -> Vec<Writer> {
    let writer = |(index, job): (usize, &PlannedJob)| Writer {
        name: record.name.clone(),
        pipeline: record.id,
        job: job.clone(),
        manifest_key: record.manifest_key(index),
    };
    record.jobs.iter().enumerate().map(writer).collect()
}

/// What the user says to a pipeline that paused because its table is not where it left it (see [`takeover`]), or because the log
/// begins behind what it has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Word {
    /// Accept the table as it is: what a rollback took away stays away.
    Adopt,
    /// Read again what the table does not show.
    Rewind,
    /// Go on where the log begins: what was removed before it was read is in no table, and stays out.
    SkipLost,
}

/// What a job needs to go on, worked out and not yet done.
struct Prepared {
    plan: Plan,
    before: Manifest,
    store: ManifestStore,
    committer: Box<dyn Committer>,
}

/// What the tables of a job say, and who asked them.
type Asked = (Tables, Box<dyn Committer>);

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
                scope.spawn(|| job.stop());
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
        let mut record = Record {
            format: FORMAT,
            id: existing
                .as_ref()
                .map_or_else(|| (self.around.new_id)(), |record| record.id),
            name: submission.name.clone(),
            sql: submission.sql.clone(),
            jobs: submission.jobs.clone(),
            settings: submission.settings.clone(),
            desired: Desired::Running,
            created_ms: existing
                .as_ref()
                .map_or_else(|| self.around.clock.now_ms(), |record| record.created_ms),
            plans: Vec::new(),
        };
        let before = existing.as_ref().map(|record| record.plans.clone());
        record.remember_plans(before.unwrap_or_default());
        if PlanText::too_long(&record.plans) {
            let named = self.plans_named(&record)?;
            PlanText::forget(&mut record.plans, &named);
        }
        if !submission.adopt {
            self.refuse_foreign_markers(&record)?;
        }
        let was_running = self.halt(&record.name);
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

    /// Lets the pipeline be what the record says, whose jobs go on where its manifests say.
    fn take_over(&self, record: &Record, adopt: bool) -> Result<(), PipelineError> {
        arrange::carry_out(&self.around.storage, record)?;
        if adopt {
            let plans = self.plans(record, Word::Adopt)?;
            self.carry_out(record, plans)?;
        }
        self.save(record)
    }

    /// What an `INSERT` that is in the script no more has not read need not be kept for it. Its manifest stays: should the
    /// `INSERT` come back, it goes on there.
    fn let_go(&self, before: &Record, after: &Record) {
        let kept = after.manifest_keys();
        for key in before.manifest_keys().difference(&kept) {
            release(&self.around.storage, key.as_bytes());
        }
    }

    /// Ends a pipeline with a last commit; it stays, and [`Pipelines::resume`] goes on where it ended.
    ///
    /// # Errors
    /// [`PipelineError::Unknown`].
    pub fn stop(&self, name: &str) -> Result<(), PipelineError> {
        let _change = self.changes.lock();
        let mut record = self.known(name)?;
        self.end(name);
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
        let was_running = self.halt(name);
        if record.desired == Desired::Finished {
            self.read_on(&record)?;
        }
        let resumed = match word {
            Some(Word::SkipLost) => self.skip_lost(&record),
            Some(word) => self
                .plans(&record, word)
                .and_then(|plans| self.carry_out(&record, plans)),
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
        self.end(name);
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
        Ok(())
    }

    /// Puts each job that was overtaken by retention or a deletion of records to where its log begins. The table's next commit
    /// accounts for the offsets between, with no row of them: whoever audits the table finds how many they were.
    fn skip_lost(&self, record: &Record) -> Result<(), PipelineError> {
        for index in 0..record.jobs.len() {
            let (mut store, before) = self.manifest_of(record, index)?;
            let lost = store.lost(&before);
            if lost.is_empty() {
                continue;
            }
            let mut after = takeover::skip(&before, &lost, &*self.around.new_id);
            after.created_ms = self.around.clock.now_ms();
            store.save(&after)?;
            tracing::warn!(
                pipeline = record.name,
                table = record.jobs[index].table,
                from = offsets_text(&before.position()),
                to = offsets_text(&after.position()),
                "records that were removed before they were read are passed over"
            );
        }
        Ok(())
    }

    /// A finished pipeline that is told to go on reads up to where its topics end now.
    fn read_on(&self, record: &Record) -> Result<(), PipelineError> {
        for index in 0..record.jobs.len() {
            let (mut store, mut manifest) = self.manifest_of(record, index)?;
            if manifest.forget_ends() {
                store.save(&manifest)?;
            }
        }
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

    /// The script that a plan id in a table's marker means.
    pub fn script_of_plan(&self, pipeline: Uuid, plan: &str) -> Option<String> {
        let record = self.records().into_iter().find(|r| r.id == pipeline)?;
        let mut plans = record.plans.into_iter();
        let named = plans.find(|text| text.ids.iter().any(|id| id == plan))?;
        Some(named.sql)
    }

    /// The job that a plan id in a table's marker means: the present one, or the one that its script made.
    ///
    /// # Errors
    /// Why there is none: an audit must not judge by another.
    pub fn job_of_plan(&self, pipeline: Uuid, plan: &str) -> Result<PlannedJob, String> {
        let record = self.records().into_iter().find(|r| r.id == pipeline);
        let record = record.ok_or("the pipeline is gone")?;
        let named = |jobs: &[PlannedJob], sql: &str, settings: &BTreeMap<String, String>| {
            let mut all = 0..jobs.len();
            let found = all.find(|index| plan::id_of(jobs, *index, sql, settings) == plan)?;
            Some(jobs[found].clone())
        };
        if let Some(job) = named(&record.jobs, &record.sql, &record.settings) {
            return Ok(job);
        }
        let sql = self.script_of_plan(pipeline, plan);
        let sql = sql.ok_or("its script is not kept any more")?;
        let mut planned = self.around.planner.plan(&sql)?;
        if let Some(job) = named(&planned.jobs, &sql, &planned.settings) {
            return Ok(job);
        }
        // Ids that were made before it was known what a query means.
        for job in &mut planned.jobs {
            job.query = None;
        }
        let job = named(&planned.jobs, &sql, &planned.settings);
        job.ok_or_else(|| "its script makes another plan now".to_string())
    }

    /// The manifest of a pipeline's `index`-th job.
    ///
    /// # Errors
    /// [`PipelineError`] when there is no such pipeline or the manifest is damaged.
    pub fn manifest(&self, name: &str, index: usize) -> Result<Option<Manifest>, PipelineError> {
        let record = self.known(name)?;
        let store = ManifestStore::open(self.around.storage.clone(), &record.manifest_key(index));
        Ok(store.manifest()?)
    }

    /// All jobs, whether they run or not.
    pub fn writers(&self) -> Vec<Writer> {
        let records = self.records().into_iter();
        records.flat_map(writers_of).collect()
    }

    /// Where a job stands; `None` where nothing can be said of it.
    pub fn manifest_of_writer(&self, writer: &Writer) -> Option<Manifest> {
        let storage = self.around.storage.clone();
        let store = ManifestStore::open(storage, &writer.manifest_key);
        store.manifest().ok().flatten()
    }

    /// How long until retention would take what a job has not read, if it did not wait for it.
    pub fn time_to_loss(&self, writer: &Writer) -> Option<Duration> {
        self.around.storage.time_to_loss(&writer.manifest_key)
    }

    /// The plan that writes a table now, by the pipeline's name; for `audit`.
    pub fn writer_of(&self, table: &str) -> Option<(String, Uuid, PlannedJob)> {
        self.records().into_iter().find_map(|record| {
            let job = record.jobs.iter().find(|job| job.table == table)?.clone();
            Some((record.name, record.id, job))
        })
    }

    fn view(&self, record: &Record) -> View {
        let running = self.running.lock();
        let jobs: Vec<Status> = running
            .get(&record.name)
            .map(|jobs| jobs.iter().map(|job| job.status.get()).collect())
            .unwrap_or_default();
        View {
            name: record.name.clone(),
            id: record.id,
            state: state_text(record.desired, &jobs).to_string(),
            created_ms: record.created_ms,
            sql: record.sql.clone(),
            jobs,
        }
    }

    fn start(&self, record: &Record) {
        let unfinished = Arc::new(AtomicUsize::new(record.jobs.len()));
        let arranged = arrange::carry_out(&self.around.storage, record);
        let jobs = record.jobs.iter().enumerate().map(|(index, job)| {
            let group = job.group.clone();
            let spec = JobSpec {
                owner: record.owner(),
                inserts: vec![InsertSpec {
                    table: job.table.clone(),
                    occurrence: record.occurrence(index),
                    plan: record.plan_id(index),
                }],
                graph: job.graph.clone(),
                group: group.unwrap_or_else(|| format!("lakeward-{}", record.name)),
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
        Settings {
            commit_interval: cadence.unwrap_or(self.commit_interval).max(LEAST_INTERVAL),
        }
    }

    /// Ends the threads of a pipeline and keeps what they show; says whether any was still at work.
    fn halt(&self, name: &str) -> bool {
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
        jobs.iter().for_each(Job::stop);
        self.running.lock().insert(name.to_owned(), jobs);
        was_running
    }

    fn end(&self, name: &str) {
        let jobs = self.running.lock().remove(name);
        for job in jobs.into_iter().flatten() {
            job.stop();
        }
    }

    /// Refuses a table that another pipeline writes. What is printed or dropped is nobody's.
    fn refuse_owned_tables(&self, submission: &Submission) -> Result<(), PipelineError> {
        let wanted: BTreeSet<&str> = tables_of(&submission.jobs).collect();
        for stored in Record::all(&self.around.storage) {
            let (owner, table) = match &stored {
                Ok(record) => {
                    let taken = tables_of(&record.jobs).find(|table| wanted.contains(table));
                    (&record.name, taken)
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

    /// Refuses tables that carry the marker of another pipeline. One that this pipeline's checkpoint knows was adopted
    /// before, whoever made it.
    fn refuse_foreign_markers(&self, record: &Record) -> Result<(), PipelineError> {
        let manifests = arrange::arranged(&self.around.storage, record)?;
        for index in 0..record.jobs.len() {
            let manifest = manifest_in(&manifests, record, index);
            let Some((tables, _)) = self.tables(record, index, &manifest)? else {
                continue;
            };
            for table in std::iter::once(&tables.main).chain(&tables.sides) {
                let Some(marker) = table.standing.newest() else {
                    continue;
                };
                let chain = manifest.chain(&table.name);
                let mine = marker.owner.pipeline == record.id
                    || chain.is_some_and(|chain| chain.contains(marker.uuid));
                if !mine {
                    return Err(PipelineError::ForeignMarker {
                        table: table.name.clone(),
                        owner: marker.owner.name.clone(),
                        ends: marker.ends.clone(),
                    });
                }
            }
        }
        Ok(())
    }

    /// The plans that the tables of a pipeline, or what is still to be committed to them, name.
    fn plans_named(&self, record: &Record) -> Result<BTreeSet<String>, PipelineError> {
        let mut named = BTreeSet::new();
        let manifests = arrange::arranged(&self.around.storage, record)?;
        for index in 0..record.jobs.len() {
            let manifest = manifest_in(&manifests, record, index);
            let pending = manifest.chains().flat_map(|(_, chain)| &chain.chain);
            named.extend(pending.filter_map(|pending| pending.plan.clone()));
            if let Some((tables, _)) = self.tables(record, index, &manifest)? {
                named.extend(tables.main.standing.plans);
            }
        }
        Ok(named)
    }

    /// What adopting or rewinding takes, for each job; nothing has changed yet.
    fn plans(&self, record: &Record, word: Word) -> Result<Vec<Prepared>, PipelineError> {
        let mut plans = Vec::new();
        for index in 0..record.jobs.len() {
            let (store, before) = self.manifest_of(record, index)?;
            let Some((tables, committer)) = self.tables(record, index, &before)? else {
                continue;
            };
            let plan = match word {
                Word::Adopt => takeover::adopt(&before, &tables),
                Word::SkipLost => continue,
                Word::Rewind => takeover::rewind(&before, &tables).map_err(|refusal| {
                    PipelineError::CannotRewind {
                        name: record.name.clone(),
                        refusal,
                    }
                })?,
            };
            plans.push(Prepared {
                plan,
                before,
                store,
                committer,
            });
        }
        Ok(plans)
    }

    fn carry_out(&self, record: &Record, plans: Vec<Prepared>) -> Result<(), PipelineError> {
        for mut one in plans {
            for (table, which) in &one.plan.restate {
                let restated = one.committer.restate(table, *which);
                restated.map_err(PipelineError::Connector)?;
                tracing::info!(
                    pipeline = record.name,
                    table,
                    ?which,
                    "the table's marker was restated"
                );
            }
            if one.plan.manifest != one.before {
                one.plan.manifest.created_ms = self.around.clock.now_ms();
                one.store.save(&one.plan.manifest)?;
                let offsets = offsets_text(&one.plan.manifest.position());
                tracing::info!(
                    pipeline = record.name,
                    offsets,
                    "the pipeline goes on from other offsets"
                );
            }
        }
        Ok(())
    }

    fn manifest_of(
        &self,
        record: &Record,
        index: usize,
    ) -> Result<(ManifestStore, Manifest), PipelineError> {
        let key = record.manifest_key(index);
        let store = ManifestStore::open(self.around.storage.clone(), &key);
        let manifest = store.manifest()?;
        Ok((store, manifest.unwrap_or_else(|| Manifest::new(record.id))))
    }

    /// Asks a job's tables where they stand; `None` where its sink has none to ask.
    fn tables(
        &self,
        record: &Record,
        index: usize,
        manifest: &Manifest,
    ) -> Result<Option<Asked>, PipelineError> {
        let Some(spec) = record.jobs[index].graph.sink() else {
            return Ok(None);
        };
        let connectors = &self.around.connectors;
        let opened = connectors.sink(spec, &record.owner());
        let (sink, mut committer) = opened.map_err(PipelineError::Connector)?;
        let mut ask = |name: &str| -> Result<Option<Table>, ConnectorError> {
            let Some(standing) = committer.standing(name)? else {
                return Ok(None);
            };
            let chain = manifest.chain(name);
            let pending = chain.map_or(&[][..], |chain| &chain.chain);
            // Only a table that knows nothing of us can be another one than the files were written for.
            let can_commit = standing.newest().is_some() || committer.can_commit(name, pending)?;
            Ok(Some(Table {
                name: name.to_owned(),
                standing,
                can_commit,
            }))
        };
        let asked = ask(sink.table()).map_err(PipelineError::Connector)?;
        let Some(main) = asked else {
            return Ok(None);
        };
        let mut sides = Vec::new();
        for name in sink.side_tables() {
            sides.extend(ask(&name).map_err(PipelineError::Connector)?);
        }
        Ok(Some((Tables { main, sides }, committer)))
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

/// The tables that jobs write.
fn tables_of(jobs: &[PlannedJob]) -> impl Iterator<Item = &str> {
    let written = jobs.iter().filter(|job| match job.graph.sink() {
        Some(SinkSpec::Print { .. } | SinkSpec::Blackhole) => false,
        Some(SinkSpec::Iceberg(_)) | None => true,
    });
    written.map(|job| job.table.as_str())
}

/// The manifest of a job, among those of its pipeline.
fn manifest_in(manifests: &BTreeMap<String, Manifest>, record: &Record, index: usize) -> Manifest {
    let manifest = manifests.get(&record.manifest_key(index)).cloned();
    manifest.unwrap_or_else(|| Manifest::new(record.id))
}

/// A pipeline whose record cannot be read: it is there, it does not run, and it says why.
fn view_unreadable(unreadable: Unreadable) -> View {
    let error = PipelineError::from(unreadable.clone());
    let failed = JobState::Failed {
        error: error.to_string(),
        detail: error.detail(),
        hint: error.hint(),
    };
    View {
        name: unreadable.name,
        id: unreadable.id.unwrap_or_default(),
        state: "failed".to_string(),
        created_ms: 0,
        sql: unreadable.sql.into(),
        jobs: vec![JobStatus::failed(unreadable.tables.join(", "), failed)],
    }
}

fn state_text(desired: Desired, jobs: &[Status]) -> &'static str {
    let any = |matches: fn(&JobState) -> bool| jobs.iter().any(|job| matches(&job.state));
    if any(|state| matches!(state, JobState::Failed { .. })) {
        "failed"
    } else if any(|state| matches!(state, JobState::Paused(_))) {
        "paused"
    } else if any(|state| matches!(state, JobState::Restarting { .. })) {
        "restarting"
    } else if jobs
        .iter()
        .any(|job| matches!(job.state, JobState::Running | JobState::Starting))
    {
        "running"
    } else if desired == Desired::Stopped {
        "stopped"
    } else if !jobs.is_empty() && jobs.iter().all(|job| job.state == JobState::Finished)
        || desired == Desired::Finished
    {
        "finished"
    } else {
        "stopped"
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
