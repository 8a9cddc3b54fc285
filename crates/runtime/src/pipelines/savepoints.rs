//! Savepoints of pipelines: how one is taken, and how a pipeline starts from one.
//!
//! Taking one. A job at work is asked for its manifest: it seals what it has read, holds its next seal back until all of that is
//! committed, and then hands it out between two inputs, with its files of state in place. A job at rest has it in the log. The jobs
//! of a pipeline fill different tables, so each is taken at a place of its own.
//!
//! Starting from one. Everything that can be refused is refused before anything changes: the folder is read and checked as a whole,
//! the script's operators are compared with the state that is there, and every table is asked where it stands. A table has to stand
//! where the savepoint left it, since records that it has already would come a second time, and those that it has not would be
//! missing:
//!
//! | the table | |
//! |---|---|
//! | its newest commit is the savepoint's last, and readers see it | goes on |
//! | a rollback has made the savepoint's last commit the newest that readers see | goes on; the marker is restated first |
//! | is new to the savepoint, and to all pipelines | begins as its source says |
//! | anything else | refused |
//!
//! Then: markers restated, files of state durable, and in one frame of the log the pipeline's record with all of its manifests. A crash
//! before the frame leaves no pipeline and files that the next start removes; a crash after it leaves the pipeline.

use super::record::{Desired, FORMAT, Record};
use super::state::{going_on, refuse_dropped};
use super::takeover::Table;
use super::words::{Restating, manifest_in, refuse_foreign};
use super::{
    Fate, PipelineError, Pipelines, StateFate, Submission, Submitted, arrange, offsets_text,
};
use crate::connector::Restate;
use crate::job::{Control, Job, JobState, Save, Stop};
use crate::manifest::{Confirmed, Manifest, SplitOffset};
use crate::savepoint::{self, Files, SavedInsert, Savepoint, SavepointError};
use crate::state::{StateFiles, folder as state_folder};
use crate::store::{StoreError, hold_all};
use crate::task::{refuse_ended, refuse_other};
use bytes::Bytes;
use lw_graph::{OperatorUid, SourceSpec};
use lw_stdx::disk::Disk;
use lw_storage::{CommitError, Expect, Op, Table as Kv};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// How long a savepoint waits for the commits before it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A savepoint as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SavepointView {
    pub folder: String,
    pub pipeline: String,
    /// Bytes of state in it.
    pub state_bytes: u64,
    /// Where the pipeline goes on from it.
    pub offsets: Vec<SplitOffset>,
}

/// A job's manifest, with the files of state that were copied for it.
type Taken = (Manifest, Files);

/// What is still to come of a job that was asked.
struct Asked {
    tables: String,
    answer: Receiver<Result<Taken, SavepointError>>,
    /// Nobody waits any more.
    given_up: Arc<AtomicBool>,
}

/// Where the manifest of a job comes from.
enum Given {
    At(Box<Taken>),
    Asked(Asked),
}

impl Pipelines {
    /// Writes a savepoint of a pipeline, which goes on as it was, into `to`; without it, into a new folder of the server's.
    ///
    /// # Errors
    /// [`PipelineError::Savepoint`]; what was written of it is removed then.
    pub fn savepoint(&self, name: &str, to: Option<&Path>) -> Result<SavepointView, PipelineError> {
        let (record, folder, given) = {
            let _change = self.changes.lock();
            let record = self.known(name)?;
            let folder = self.reserve(&record, to)?;
            let given = self.ask_all(&record, &folder);
            (record, folder, given)
        };
        let taken = given.and_then(|given| given.into_iter().map(Given::wait).collect());
        self.write_savepoint(&record, &folder, taken)
    }

    /// Stops a pipeline and writes a savepoint of where it then stands.
    ///
    /// # Errors
    /// As [`Pipelines::savepoint`]; the pipeline runs on then if it ran, unless event time has ended in it.
    pub fn stop_with_savepoint(
        &self,
        name: &str,
        how: Stop,
        to: Option<&Path>,
    ) -> Result<SavepointView, PipelineError> {
        let _change = self.changes.lock();
        let mut record = self.known(name)?;
        let folder = self.reserve(&record, to)?;
        let was_running = self.halt(name, how);
        let jobs = 0..record.jobs.len();
        let taken = jobs.map(|index| self.at_rest(&record, index, &folder));
        let written = self.write_savepoint(&record, &folder, taken.collect());
        if written.is_err() && was_running && how == Stop::Keeps {
            self.start(&record);
            return written;
        }
        self.end(name, how);
        record.desired = Desired::Stopped;
        self.save(&record)?;
        written
    }

    fn disk(&self) -> Arc<dyn Disk> {
        self.around.storage.folder().0
    }

    /// The folder of a savepoint, which nothing else is in, and nobody else takes from now on.
    fn reserve(&self, record: &Record, to: Option<&Path>) -> Result<PathBuf, PipelineError> {
        let folder = to.map_or_else(|| self.own_folder(record), Path::to_path_buf);
        savepoint::reserve(&*self.disk(), &folder, &record.sql)?;
        Ok(folder)
    }

    /// `<data>/savepoints/<pipeline>-<milliseconds since 1970>`
    fn own_folder(&self, record: &Record) -> PathBuf {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        let name: String = record.name.chars().map(plain).collect();
        let data = self.around.storage.folder().1;
        data.join("savepoints")
            .join(format!("{name}-{}", self.around.clock.now_ms()))
    }

    /// Asks the jobs at work for their manifests, and takes those of the others.
    fn ask_all(&self, record: &Record, folder: &Path) -> Result<Vec<Given>, SavepointError> {
        let jobs = (0..record.jobs.len()).map(|index| {
            let running = self.running.lock();
            let job = running.get(&record.name).and_then(|jobs| jobs.get(index));
            let asked = job.and_then(|job| self.ask_job(job, folder));
            drop(running);
            match asked {
                Some(asked) => Ok(Given::Asked(asked)),
                None => {
                    let taken = self.at_rest(record, index, folder)?;
                    Ok(Given::At(Box::new(taken)))
                }
            }
        });
        jobs.collect()
    }

    /// `None` where the job is not at work.
    fn ask_job(&self, job: &Job, folder: &Path) -> Option<Asked> {
        let status = job.status.get();
        if !matches!(
            status.state,
            JobState::Starting | JobState::Running | JobState::Restarting { .. }
        ) {
            return None;
        }
        let (sender, answer) = channel();
        let given_up = Arc::new(AtomicBool::new(false));
        let save: Save = Box::new({
            let (disk, states) = (self.disk(), state_folder(&self.around.storage));
            let (folder, given_up) = (folder.to_path_buf(), given_up.clone());
            move |manifest| {
                if !given_up.load(Ordering::Acquire) {
                    let files = savepoint::write_state(&*disk, &states, &folder, manifest);
                    // Whoever has stopped waiting since removes what was written.
                    let _ = sender.send(files.map(|files| (manifest.clone(), files)));
                }
            }
        });
        let control: Arc<Control> = job.control();
        control.save(save).then(|| Asked {
            tables: status.tables(),
            answer,
            given_up,
        })
    }

    /// What a job that is not at work has in the log.
    fn at_rest(
        &self,
        record: &Record,
        index: usize,
        folder: &Path,
    ) -> Result<Taken, SavepointError> {
        let job = &record.jobs[index];
        let read = self.manifest_of(record, job);
        let (_, manifest) = read.map_err(|error| SavepointError::Job {
            tables: job.tables(),
            why: error.to_string(),
        })?;
        let states = state_folder(&self.around.storage);
        let files = savepoint::write_state(&*self.disk(), &states, folder, &manifest)?;
        Ok((manifest, files))
    }

    /// Writes what was taken down, or removes what was written of it.
    fn write_savepoint(
        &self,
        record: &Record,
        folder: &Path,
        taken: Result<Vec<Taken>, SavepointError>,
    ) -> Result<SavepointView, PipelineError> {
        let disk = self.disk();
        let written = taken.and_then(|taken| {
            let (mut jobs, mut files) = (Vec::new(), Files::new());
            for (job, (manifest, of_state)) in record.jobs.iter().zip(taken) {
                let key = job.manifest_key(record.id);
                let own = key.split_once('/').map_or(&*key, |(_, own)| own);
                jobs.push((own.to_string(), manifest));
                files.extend(of_state);
            }
            let view = view(record, folder, &jobs);
            let about = savepoint::Saved {
                id: record.id,
                name: &record.name,
                sql: &record.sql,
                plans: &record.plans,
                settings: &record.settings,
                inserts: saved_inserts(record),
                created_ms: self.around.clock.now_ms(),
            };
            savepoint::write(&*disk, folder, about, &jobs, files)?;
            Ok(view)
        });
        match &written {
            Ok(view) => {
                tracing::info!(
                    pipeline = view.pipeline,
                    folder = view.folder,
                    "savepoint written"
                );
            }
            Err(_) => savepoint::discard(&*disk, folder),
        }
        Ok(written?)
    }

    /// What a start of this script from a savepoint would make of the state in it; nothing changes.
    ///
    /// # Errors
    /// As [`Pipelines::submit_from`], but for the tables, which are not asked.
    pub fn state_plan_from(
        &self,
        submission: &Submission,
        from: &Path,
    ) -> Result<Vec<StateFate>, PipelineError> {
        let savepoint = Savepoint::open(&*self.disk(), from)?;
        let record = self.record_from(submission, &savepoint, None);
        Ok(Start::of(&savepoint, &record)?.fates)
    }

    /// Starts a pipeline that goes on where a savepoint stands. One of the same name is put back to it with `replace` only.
    ///
    /// # Errors
    /// [`PipelineError`]; nothing has changed then, and what ran before goes on.
    pub fn submit_from(
        &self,
        submission: &Submission,
        from: &Path,
    ) -> Result<Submitted, PipelineError> {
        let _change = self.changes.lock();
        let (record, submitted) = self.take_over_from(submission, from)?;
        self.start(&record);
        Ok(submitted)
    }

    /// As [`Pipelines::submit_from`], but for the start.
    pub(super) fn take_over_from(
        &self,
        submission: &Submission,
        from: &Path,
    ) -> Result<(Record, Submitted), PipelineError> {
        if submission.jobs.is_empty() {
            return Err(PipelineError::Nothing);
        }
        let existing = self.stored(&submission.name).transpose()?;
        if existing.is_some() && !submission.replace {
            let name = submission.name.clone();
            return Err(PipelineError::Exists { name });
        }
        self.refuse_owned_tables(submission)?;
        let savepoint = Savepoint::open(&*self.disk(), from)?;
        let record = self.record_from(submission, &savepoint, existing.as_ref());
        let start = Start::of(&savepoint, &record)?;
        refuse_dropped(&record.name, start.fates.clone(), &submission.drop_state)?;
        self.refuse_other_reading(&record, &start.manifests)?;
        self.where_tables_stand(&record, &start.manifests)?;
        let was_running = self.halt(&record.name, Stop::Keeps);
        let put = self
            .where_tables_stand(&record, &start.manifests)
            .and_then(|restate| self.put_back(&record, &savepoint, start.manifests, restate));
        if let (Err(_), Some(existing), true) = (&put, &existing, was_running) {
            self.start(existing);
        }
        put?;
        let submitted = match existing {
            Some(_) => Submitted::Replaced,
            None => Submitted::Created,
        };
        Ok((record, submitted))
    }

    /// A pipeline that is new has a new id: the one that the savepoint is of may be there still, here or elsewhere.
    fn record_from(
        &self,
        submission: &Submission,
        savepoint: &Savepoint,
        existing: Option<&Record>,
    ) -> Record {
        let mut record = Record {
            format: FORMAT,
            id: existing.map_or_else(|| (self.around.new_id)(), |record| record.id),
            name: submission.name.clone(),
            sql: submission.sql.clone(),
            jobs: submission.jobs.clone(),
            settings: submission.settings.clone(),
            desired: Desired::Running,
            created_ms: existing
                .map_or_else(|| self.around.clock.now_ms(), |record| record.created_ms),
            plans: Vec::new(),
        };
        // What the tables hold was made by these.
        let mut plans = savepoint.plans.clone();
        plans.extend(existing.map_or_else(Vec::new, |record| record.plans.clone()));
        record.remember_plans(plans);
        record
    }

    /// Refuses offsets that are of another topic than the one that would be read, and windows that have all fired.
    fn refuse_other_reading(
        &self,
        record: &Record,
        manifests: &BTreeMap<String, Manifest>,
    ) -> Result<(), PipelineError> {
        for job in &record.jobs {
            let manifest = manifest_in(manifests, record, job);
            let specs: Vec<&SourceSpec> = job.graph.sources().collect();
            let source = self.around.connectors.scans(&specs, &job.group(&record.name));
            let mut source = source.map_err(PipelineError::Connector)?;
            let opened = source.open(&manifest.known(), manifest.ends().as_deref());
            opened.map_err(PipelineError::Connector)?;
            refuse_other(&manifest, &*source).map_err(PipelineError::Connector)?;
            let mut topics = source.topics().into_iter();
            let other = topics.find(|(topic, id)| {
                let read = manifest.topics.get(topic);
                read.is_some_and(|read| read != id)
            });
            if let Some((topic, _)) = other {
                return Err(PipelineError::OtherLog { topic });
            }
            if job.states().next().is_some() {
                let scans: Vec<Vec<String>> = specs.iter().map(|spec| spec.topics()).collect();
                let ended = refuse_ended(&manifest, &scans, &*source);
                ended.map_err(PipelineError::Connector)?;
            }
        }
        Ok(())
    }

    /// Asks every table whether it stands where the savepoint left it; the markers that have to change first.
    fn where_tables_stand(
        &self,
        record: &Record,
        manifests: &BTreeMap<String, Manifest>,
    ) -> Result<Vec<Restating>, PipelineError> {
        let mut restate = Vec::new();
        for job in &record.jobs {
            let manifest = manifest_in(manifests, record, job);
            for sink in job.sinks() {
                let is_new = !manifest.sinks.contains_key(&sink.name());
                let Some((tables, committer)) = self.ask(record, sink, &manifest)? else {
                    continue;
                };
                let mut rolled_back = Vec::new();
                for table in std::iter::once(&tables.main).chain(&tables.sides) {
                    if is_new {
                        refuse_foreign(record, table, &manifest)?;
                        continue;
                    }
                    let chain = manifest.chain(&table.name);
                    let last = chain.and_then(|chain| chain.last.as_ref());
                    match stands(table, last) {
                        Stands::Here => {}
                        Stands::RolledBack => {
                            rolled_back.push((table.name.clone(), Restate::Visible));
                        }
                        Stands::Elsewhere => return Err(elsewhere(table, last)),
                    }
                }
                restate.push((rolled_back, committer));
            }
        }
        Ok(restate)
    }

    /// Lets the pipeline be what the savepoint says.
    fn put_back(
        &self,
        record: &Record,
        savepoint: &Savepoint,
        manifests: BTreeMap<String, Manifest>,
        restate: Vec<Restating>,
    ) -> Result<(), PipelineError> {
        let storage = &self.around.storage;
        for (tables, mut committer) in restate {
            for (table, which) in tables {
                let restated = committer.restate(&table, which);
                restated.map_err(PipelineError::Connector)?;
            }
        }
        let before = arrange::stored(storage, record.id);
        let generations = before.iter().filter_map(|(key, bytes)| {
            let manifest = Manifest::read(bytes, key).ok()?;
            Some(manifest.generation)
        });
        let generation = generations.max().unwrap_or(0);
        let mut after = BTreeMap::new();
        for (key, mut manifest) in manifests {
            manifest.pipeline = record.id;
            // No file of a process before has a name of this one.
            manifest.generation = manifest.generation.max(generation) + 1;
            manifest.created_ms = self.around.clock.now_ms();
            let copied = StateFiles::of(storage, &key).copy(&savepoint.states(), &mut manifest);
            copied.map_err(|error| PipelineError::Connector(error.into()))?;
            manifest.check();
            let bytes = serde_json::to_vec(&manifest).expect("a manifest has only string keys");
            after.insert(key, Bytes::from(bytes));
        }
        let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        let ops = keys.into_iter().map(|key| Op::Put {
            table: Kv::Manifests,
            key: Bytes::copy_from_slice(key.as_bytes()),
            value: after.get(key).cloned(),
            expect: match before.get(key) {
                Some(bytes) => Expect::Value(bytes.clone()),
                None => Expect::Absent,
            },
        });
        let ops = std::iter::once(record.put()).chain(ops).collect();
        match storage.commit_blocking(ops) {
            Ok(_) => {}
            Err(CommitError::Conflict { .. }) => return Err(StoreError::Fenced.into()),
            Err(error) => return Err(PipelineError::Storage(error)),
        }
        hold_all(storage, |key| after.contains_key(key));
        tracing::info!(
            pipeline = record.name,
            folder = %savepoint.folder.display(),
            "the pipeline starts from a savepoint"
        );
        Ok(())
    }
}

impl Given {
    fn wait(self) -> Result<Taken, SavepointError> {
        let asked = match self {
            Given::At(taken) => return Ok(*taken),
            Given::Asked(asked) => asked,
        };
        match asked.answer.recv_timeout(PATIENCE) {
            Ok(taken) => taken,
            Err(RecvTimeoutError::Disconnected) => Err(SavepointError::Ended {
                tables: asked.tables,
            }),
            Err(RecvTimeoutError::Timeout) => {
                asked.given_up.store(true, Ordering::Release);
                Err(SavepointError::Pending {
                    table: asked.tables,
                })
            }
        }
    }
}

fn view(record: &Record, folder: &Path, jobs: &[(String, Manifest)]) -> SavepointView {
    let states = jobs.iter().flat_map(|(_, manifest)| manifest.states());
    SavepointView {
        folder: folder.display().to_string(),
        pipeline: record.name.clone(),
        state_bytes: states.map(|state| state.bytes()).sum(),
        offsets: jobs
            .iter()
            .flat_map(|(_, manifest)| manifest.position())
            .collect(),
    }
}

fn saved_inserts(record: &Record) -> Vec<SavedInsert> {
    let of_job = |job: &super::PlannedJob| {
        let insert = |index: usize| SavedInsert {
            sink: job.inserts[index].sink_name(),
            plan: job.inserts[index].plan_id(&record.sql, &record.settings),
            states: super::planned::states_of(job.alone(index))
                .into_iter()
                .map(|(operator, uid)| (uid, operator.to_string()))
                .collect(),
        };
        (0..job.inserts.len()).map(insert).collect::<Vec<_>>()
    };
    record.jobs.iter().flat_map(of_job).collect()
}

/// What a script makes of a savepoint.
struct Start {
    /// The manifests of its jobs, by key.
    manifests: BTreeMap<String, Manifest>,
    fates: Vec<StateFate>,
}

impl Start {
    fn of(savepoint: &Savepoint, record: &Record) -> Result<Start, PipelineError> {
        let stored = savepoint.manifests.iter();
        let stored = stored.map(|(key, manifest)| {
            let key = format!("{}/{key}", record.id);
            (key, Ok(manifest.clone()))
        });
        let mut manifests = arrange::arranged_of(stored.collect(), record)?;
        let keys = record.manifest_keys();
        manifests.retain(|key, _| keys.contains(key));
        let mut fates = Vec::new();
        let mut kept: BTreeSet<OperatorUid> = BTreeSet::new();
        for job in &record.jobs {
            let manifest = manifests.get_mut(&job.manifest_key(record.id));
            fates.extend(going_on(job, manifest.as_deref()));
            let Some(manifest) = manifest else { continue };
            let has: BTreeSet<OperatorUid> = job.states().map(|(_, uid)| uid).collect();
            if let Some(state) = &mut manifest.state {
                state.operators.retain(|uid, _| has.contains(uid));
                kept.extend(state.operators.keys());
            }
            manifest.state = manifest.state.take().filter(|it| !it.operators.is_empty());
        }
        fates.extend(left(savepoint, &kept));
        Ok(Start { manifests, fates })
    }
}

/// The state that is in a savepoint and not gone on with.
fn left(savepoint: &Savepoint, kept: &BTreeSet<OperatorUid>) -> Vec<StateFate> {
    let mut left: Vec<StateFate> = Vec::new();
    let states = savepoint.manifests.values();
    let states = states.filter_map(|manifest| manifest.state.as_ref());
    let there: BTreeSet<&OperatorUid> = states.flat_map(|state| state.operators.keys()).collect();
    for insert in &savepoint.about.inserts {
        for (uid, operator) in &insert.states {
            if kept.contains(uid) || !there.contains(uid) {
                continue;
            }
            match left.iter_mut().find(|it| it.uid == *uid) {
                Some(known) => known.tables.push(insert.sink.clone()),
                None => left.push(StateFate {
                    operator: operator.clone(),
                    uid: *uid,
                    tables: vec![insert.sink.clone()],
                    fate: Fate::Dropped,
                }),
            }
        }
    }
    left
}

/// Where a table stands, seen from a savepoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stands {
    Here,
    /// Readers see what the savepoint left; commits were made since and taken away again.
    RolledBack,
    Elsewhere,
}

fn stands(table: &Table, last: Option<&Confirmed>) -> Stands {
    let standing = &table.standing;
    let last = last.map(|last| last.uuid);
    let newest = standing.newest().map(|marker| marker.uuid);
    let visible = standing.visible.as_ref().map(|marker| marker.uuid);
    if newest == last && (last.is_none() || standing.is_intact()) {
        Stands::Here
    } else if last.is_some() && visible == last {
        Stands::RolledBack
    } else {
        Stands::Elsewhere
    }
}

fn elsewhere(table: &Table, last: Option<&Confirmed>) -> PipelineError {
    let ends = |ends: Option<&Vec<SplitOffset>>| ends.map_or_else(Vec::new, Clone::clone);
    let standing = &table.standing;
    PipelineError::TableElsewhere {
        table: table.name.clone(),
        savepoint: offsets_text(&ends(last.map(|last| &last.ends))),
        newest: offsets_text(&ends(standing.newest().map(|marker| &marker.ends))),
        visible: offsets_text(&ends(standing.visible.as_ref().map(|marker| &marker.ends))),
    }
}
