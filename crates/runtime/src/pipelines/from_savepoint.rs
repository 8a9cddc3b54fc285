//! How a pipeline starts from a savepoint.
//!
//! Everything that can be refused is refused before anything changes: the folder is read and checked as a whole,
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

use super::record::Record;
use super::state::{going_on, refuse_dropped};
use super::takeover::Table;
use super::words::{Restating, manifest_in, refuse_foreign};
use super::{
    Fate, PipelineError, Pipelines, StateFate, Submission, Submitted, arrange, offsets_text,
};
use crate::connector::Restate;
use crate::job::Stop;
use crate::manifest::{Confirmed, Manifest, SplitOffset};
use crate::savepoint::Savepoint;
use crate::state::StateFiles;
use crate::store::{StoreError, hold_all};
use crate::task::{refuse_ended, refuse_other};
use bytes::Bytes;
use lw_graph::{OperatorUid, SourceSpec};
use lw_storage::{CommitError, Expect, Op, Table as Kv};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

impl Pipelines {
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
        self.refuse_replay(&submission.name)?;
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

    /// A pipeline that is new has not the savepoint's id: that one may be there still, here or elsewhere.
    fn record_from(
        &self,
        submission: &Submission,
        savepoint: &Savepoint,
        existing: Option<&Record>,
    ) -> Record {
        // What the tables hold was made by these.
        let mut made_by = savepoint.plans.clone();
        made_by.extend(existing.map_or_else(Vec::new, |record| record.plans.clone()));
        self.record(submission, existing, made_by)
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
            let source = self
                .around
                .connectors
                .scans(&specs, &job.group(&record.name));
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
