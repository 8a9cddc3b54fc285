//! The pipelines of a server: durable by name, resumed with the server, owned by a UUID that outlives restarts.
//!
//! | submitted | under a name that is new | same name, same text | same name, other text |
//! |---|---|---|---|
//! | plain | created | attached | refused with the difference |
//! | with `replace` | created | attached | replaced: same UUID, goes on at its offsets |
//!
//! A table has one owning pipeline. Where a table carries the marker of another one, submitting is refused unless `adopt`
//! is given; the new pipeline then goes on at the marker's offsets. `drop` forgets the UUID and the manifest, never the
//! table: running the same script again meets its own old marker as a stranger's, on purpose.
//!
//! State: one record per pipeline in the WAL's `Pipelines` table (JSON, `format` 1), written before anything runs.

use crate::connector::{ConnectorError, Owner, TableMarker};
use crate::job::{Job, JobSpec, JobState, Settings, Status, Surroundings, manifest_key};
use crate::manifest::{Confirmed, Manifest, TableChain};
use crate::store::{FORMAT, ManifestStore, StoreError};
use bytes::Bytes;
use lw_graph::JobGraph;
use lw_storage::{CommitError, Expect, Op, Table};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use thiserror::Error;
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
}

/// What became of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Submitted {
    Created,
    Attached,
    Replaced,
}

/// The durable record of a pipeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Record {
    format: u32,
    id: Uuid,
    name: String,
    sql: String,
    jobs: Vec<PlannedJob>,
    settings: BTreeMap<String, String>,
    desired: Desired,
    created_ms: i64,
}

/// What the user wants of a pipeline; survives restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Desired {
    Running,
    Stopped,
    /// A bounded pipeline that is done.
    Finished,
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

/// Why a request about a pipeline was refused.
#[derive(Debug, Error)]
pub enum PipelineError {
    #[error("there is no pipeline '{name}'")]
    Unknown { name: String, known: Vec<String> },
    #[error("pipeline '{name}' exists with another script")]
    Differs { name: String, difference: String },
    #[error("table '{table}' is written by pipeline '{owner}'")]
    Owned { table: String, owner: String },
    #[error("table '{table}' carries the marker of pipeline '{owner}'")]
    ForeignMarker {
        table: String,
        owner: String,
        ends: Vec<crate::manifest::SplitOffset>,
    },
    #[error("the script has no INSERT INTO, so there is nothing to run")]
    Nothing,
    #[error("{0}")]
    Connector(ConnectorError),
    #[error("the pipeline's record cannot be written")]
    Storage(#[source] CommitError),
    #[error("{0}")]
    Manifest(#[from] StoreError),
}

impl PipelineError {
    /// Something to type.
    pub fn hint(&self) -> String {
        match self {
            PipelineError::Unknown { known, .. } if known.is_empty() => "No pipeline exists yet: `lakeward run FILE.sql` makes one.".into(),
            PipelineError::Unknown { known, .. } => format!("Pipelines: {}.", known.join(", ")),
            PipelineError::Differs { .. } => "Add --replace to let the new text take over at the same offsets, or give it another name with SET 'pipeline.name' = '…'.".into(),
            PipelineError::Owned { owner, .. } => format!("One pipeline writes a table. `lakeward pipeline drop {owner}` ends the other one."),
            PipelineError::ForeignMarker { .. } => "Add --adopt to go on at the marker's offsets, or write to another table.".into(),
            PipelineError::Connector(error) => error.hint.clone(),
            PipelineError::Nothing => "Add an INSERT INTO … SELECT statement, or use `lakeward sql -e` for a query.".into(),
            PipelineError::Storage(_) | PipelineError::Manifest(_) => String::new(),
        }
    }

    /// Sentences with more.
    pub fn detail(&self) -> String {
        match self {
            PipelineError::Differs { difference, .. } => difference.clone(),
            PipelineError::ForeignMarker { ends, .. } => format!(
                "The table ends at {}. A new pipeline would write those records a second time.",
                offsets_text(ends)
            ),
            PipelineError::Connector(error) => error.detail.clone(),
            PipelineError::Storage(error) => error.to_string(),
            _ => String::new(),
        }
    }
}

/// `topic[0]@5, topic[1]@7`, shortened after eight partitions.
pub fn offsets_text(offsets: &[crate::manifest::SplitOffset]) -> String {
    const SHOWN: usize = 8;
    if offsets.is_empty() {
        return "no offsets".into();
    }
    let mut shown: Vec<String> = offsets
        .iter()
        .take(SHOWN)
        .map(|offset| format!("{}[{}]@{}", offset.topic, offset.partition, offset.next))
        .collect();
    if offsets.len() > SHOWN {
        shown.push(format!("… ({} partitions)", offsets.len()));
    }
    shown.join(", ")
}

/// All pipelines of a server.
pub struct Pipelines {
    around: Surroundings,
    commit_interval: Duration,
    running: Mutex<BTreeMap<String, Vec<Job>>>,
    /// One change at a time: submit, stop, resume and drop wait for each other.
    changes: Mutex<()>,
}

impl Pipelines {
    /// Opens the registry; nothing runs until [`Pipelines::resume_all`].
    pub fn open(around: Surroundings, commit_interval: Duration) -> Pipelines {
        Pipelines {
            around,
            commit_interval,
            running: Mutex::new(BTreeMap::new()),
            changes: Mutex::new(()),
        }
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
    /// [`PipelineError`]; nothing has changed then.
    pub fn submit(&self, submission: Submission) -> Result<Submitted, PipelineError> {
        let _change = self.changes.lock();
        if submission.jobs.is_empty() {
            return Err(PipelineError::Nothing);
        }
        let existing = self.record(&submission.name);
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
        let record = Record {
            format: FORMAT,
            id: existing
                .as_ref()
                .map_or_else(Uuid::new_v4, |record| record.id),
            name: submission.name.clone(),
            sql: submission.sql.clone(),
            jobs: submission.jobs.clone(),
            settings: submission.settings.clone(),
            desired: Desired::Running,
            created_ms: existing
                .as_ref()
                .map_or_else(|| self.around.clock.now_ms(), |record| record.created_ms),
        };
        let markers = self.markers(&record, submission.adopt)?;
        self.end(&record.name);
        self.put(&record.name, Some(&record))?;
        for (index, marker) in markers {
            self.adopt(&record, index, marker)?;
        }
        self.start(&record);
        Ok(outcome)
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
        self.put(name, Some(&record))
    }

    /// Starts a pipeline that is stopped, paused or failed. With `adopt` it accepts its table as it now is and goes on at
    /// the offsets that the table says.
    ///
    /// # Errors
    /// [`PipelineError`].
    pub fn resume(&self, name: &str, adopt: bool) -> Result<(), PipelineError> {
        let _change = self.changes.lock();
        let mut record = self.known(name)?;
        self.end(name);
        if adopt {
            for index in 0..record.jobs.len() {
                if let Some(marker) = self.restate(&record, index)? {
                    self.adopt(&record, index, marker)?;
                }
            }
        }
        record.desired = Desired::Running;
        self.put(name, Some(&record))?;
        self.start(&record);
        Ok(())
    }

    /// Ends a pipeline and forgets it: its UUID, its checkpoint. Its table stays.
    ///
    /// # Errors
    /// [`PipelineError::Unknown`].
    pub fn drop_pipeline(&self, name: &str) -> Result<(), PipelineError> {
        let _change = self.changes.lock();
        let record = self.known(name)?;
        self.end(name);
        self.put(name, None)?;
        for index in 0..record.jobs.len() {
            let mut store =
                ManifestStore::open(self.around.storage.clone(), &manifest_key(record.id, index));
            store.remove()?;
        }
        Ok(())
    }

    pub fn list(&self) -> Vec<View> {
        self.records()
            .iter()
            .map(|record| self.view(record))
            .collect()
    }

    /// # Errors
    /// [`PipelineError::Unknown`].
    pub fn show(&self, name: &str) -> Result<View, PipelineError> {
        self.known(name).map(|record| self.view(&record))
    }

    /// The manifest of a pipeline's `index`-th job.
    ///
    /// # Errors
    /// [`PipelineError`] when there is no such pipeline or the manifest is damaged.
    pub fn manifest(&self, name: &str, index: usize) -> Result<Option<Manifest>, PipelineError> {
        let record = self.known(name)?;
        let store =
            ManifestStore::open(self.around.storage.clone(), &manifest_key(record.id, index));
        Ok(store.manifest()?)
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
        let jobs = record
            .jobs
            .iter()
            .enumerate()
            .map(|(index, job)| {
                let spec = JobSpec {
                    owner: owner(record),
                    index,
                    graph: job.graph.clone(),
                    table: job.table.clone(),
                    group: job
                        .group
                        .clone()
                        .unwrap_or_else(|| format!("lakeward-{}", record.name)),
                    settings: self.settings(record),
                };
                Job::start(spec, self.around.clone())
            })
            .collect();
        self.running.lock().insert(record.name.clone(), jobs);
    }

    fn settings(&self, record: &Record) -> Settings {
        let millis = |key: &str| {
            let value = record.settings.get(key)?;
            lw_stdx::duration::parse(value)
        };
        let defaults = Settings::default();
        Settings {
            checkpoint_interval: millis("execution.checkpointing.interval")
                .unwrap_or(defaults.checkpoint_interval),
            commit_interval: millis("lakeward.commit.interval").unwrap_or(self.commit_interval),
        }
    }

    fn end(&self, name: &str) {
        let jobs = self.running.lock().remove(name);
        for job in jobs.into_iter().flatten() {
            job.stop();
        }
    }

    fn refuse_owned_tables(&self, submission: &Submission) -> Result<(), PipelineError> {
        for record in self.records() {
            for job in &record.jobs {
                let wanted = submission.jobs.iter().any(|mine| mine.table == job.table);
                if wanted && record.name != submission.name {
                    return Err(PipelineError::Owned {
                        table: job.table.clone(),
                        owner: record.name,
                    });
                }
            }
        }
        Ok(())
    }

    /// The markers to adopt, by job; refuses those of other pipelines unless `adopt`.
    fn markers(
        &self,
        record: &Record,
        adopt: bool,
    ) -> Result<Vec<(usize, TableMarker)>, PipelineError> {
        let mut adopted = Vec::new();
        for (index, job) in record.jobs.iter().enumerate() {
            let Some(sink) = job.graph.sink() else {
                continue;
            };
            let (_, mut committer) = self
                .around
                .connectors
                .sink(sink, &owner(record))
                .map_err(PipelineError::Connector)?;
            let marker = committer
                .marker(&job.table)
                .map_err(PipelineError::Connector)?;
            match marker {
                Some(marker) if marker.owner.pipeline == record.id => {}
                Some(marker) if adopt => adopted.push((index, marker)),
                Some(marker) => {
                    return Err(PipelineError::ForeignMarker {
                        table: job.table.clone(),
                        owner: marker.owner.name,
                        ends: marker.ends,
                    });
                }
                None => {}
            }
        }
        Ok(adopted)
    }

    /// Makes the table's newest visible marker the one that the pipeline goes on from.
    fn restate(&self, record: &Record, index: usize) -> Result<Option<TableMarker>, PipelineError> {
        let job = &record.jobs[index];
        let Some(sink) = job.graph.sink() else {
            return Ok(None);
        };
        let (_, mut committer) = self
            .around
            .connectors
            .sink(sink, &owner(record))
            .map_err(PipelineError::Connector)?;
        committer
            .restate(&job.table)
            .map_err(PipelineError::Connector)
    }

    /// Writes a manifest that stands where the marker ends.
    fn adopt(
        &self,
        record: &Record,
        index: usize,
        marker: TableMarker,
    ) -> Result<(), PipelineError> {
        let mut store =
            ManifestStore::open(self.around.storage.clone(), &manifest_key(record.id, index));
        let before = store.manifest()?;
        let chain = TableChain {
            last: Some(Confirmed {
                uuid: marker.uuid,
                sequence: marker.sequence,
                ends: marker.ends.clone(),
            }),
            chain: Vec::new(),
        };
        let manifest = Manifest {
            format: FORMAT,
            pipeline: record.id,
            generation: before.as_ref().map_or(0, |manifest| manifest.generation),
            checkpoint_id: before.as_ref().map_or(0, |manifest| manifest.checkpoint_id),
            created_ms: self.around.clock.now_ms(),
            offsets: marker.ends,
            tables: BTreeMap::from([(record.jobs[index].table.clone(), chain)]),
        };
        Ok(store.save(&manifest)?)
    }

    fn known(&self, name: &str) -> Result<Record, PipelineError> {
        self.record(name).ok_or_else(|| PipelineError::Unknown {
            name: name.to_string(),
            known: self
                .records()
                .into_iter()
                .map(|record| record.name)
                .collect(),
        })
    }

    fn record(&self, name: &str) -> Option<Record> {
        let bytes = self.around.storage.get(Table::Pipelines, name.as_bytes())?;
        read_record(&bytes)
    }

    fn records(&self) -> Vec<Record> {
        let all = self.around.storage.scan(Table::Pipelines, b"");
        all.iter()
            .filter_map(|(_, bytes)| read_record(bytes))
            .collect()
    }

    fn put(&self, name: &str, record: Option<&Record>) -> Result<(), PipelineError> {
        let value = record.map(|record| {
            Bytes::from(serde_json::to_vec(record).expect("a record has only string keys"))
        });
        let op = Op::Put {
            table: Table::Pipelines,
            key: Bytes::copy_from_slice(name.as_bytes()),
            value,
            expect: Expect::Any,
        };
        self.around
            .storage
            .commit_blocking(vec![op])
            .map_err(PipelineError::Storage)?;
        Ok(())
    }
}

fn owner(record: &Record) -> Owner {
    Owner {
        pipeline: record.id,
        name: record.name.clone(),
    }
}

fn read_record(bytes: &[u8]) -> Option<Record> {
    match serde_json::from_slice::<Record>(bytes) {
        Ok(record) => Some(record),
        Err(error) => {
            tracing::error!(%error, "the record of a pipeline cannot be read; it is left alone");
            None
        }
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
mod tests {
    use super::*;

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
}
