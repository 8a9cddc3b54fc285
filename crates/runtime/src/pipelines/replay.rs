//! Replays: pipelines that compute a range of offsets once more, into a branch of a table whose `main` another pipeline fills.
//!
//! A replay is a pipeline in all that matters: it has an id, a manifest and a group of its own, survives the server, and is shown with
//! the others. What is different:
//!
//! 1. Its job is one `INSERT` of its script, and the sink of that has a branch ([`narrowed`]).
//! 2. Where it begins and ends is written into its manifest before anything runs, in one frame with its record: a job that opens its
//!    source later finds both decided, as after any restart.
//! 3. Where it ends event time does not: windows that are open there stay open, as they are in the table that it is compared with.
//! 4. It begins behind a commit that is in the branch already, the one that made it. So the rule of commits needs no exception: a
//!    branch that was dropped, or made again, does not know that commit, and the replay pauses.
//! 5. It owns no table, and nobody who asks who writes a table hears of it.

use super::planned::states_of;
use super::record::{Desired, REPLAY_FORMAT, Record};
use super::{PipelineError, Pipelines, PlannedJob};
use crate::connector::Owner;
use crate::manifest::{
    Confirmed, Joined, Manifest, SinkSplit, SinkState, SplitOffset, SplitState, TableChain,
};
use crate::store::{ManifestStore, hold_all};
use bytes::Bytes;
use lw_graph::{Operator, SchemaChange, SinkSpec, SourceSpec};
use lw_storage::{CommitError, Expect, Op, Table as Kv};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// What a replay is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayOf {
    /// `namespace.table`.
    pub table: String,
    pub branch: String,
    /// The range as it was asked for: whoever asks again means the same replay.
    pub asked: String,
    /// Where each partition begins and ends, the end exclusive. Of a partition where both are the same nothing is read.
    pub from: Vec<SplitOffset>,
    pub until: Vec<SplitOffset>,
    /// The snapshot of `main` that the branch was made from, and the first one of the branch.
    pub fork: i64,
    pub base: i64,
    /// The pending commit by which `main` is to get its rows, or has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promotion: Option<Uuid>,
}

/// A replay that is to run.
pub struct NewReplay {
    pub owner: Owner,
    pub of: ReplayOf,
    pub sql: String,
    /// As [`narrowed`] made it.
    pub job: PlannedJob,
    pub settings: BTreeMap<String, String>,
    /// The commit that made the branch.
    pub base: Uuid,
    /// The ids of the topics that the offsets are of.
    pub topics: BTreeMap<String, Uuid>,
    /// Nothing lies before the range: no event time was read before it.
    pub from_the_beginning: bool,
}

/// How far a replay is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReplayView {
    #[serde(flatten)]
    pub of: ReplayOf,
    /// Offsets in all, and those of them whose rows are durable.
    pub offsets: u64,
    pub done: u64,
}

/// What a replay's pipeline is called.
pub fn replay_name(table: &str, branch: &str) -> String {
    format!("{table}@{branch}")
}

/// The one job of a script that fills a table, with a branch of that in its place.
///
/// # Errors
/// Why the script cannot be replayed, in a sentence.
pub fn narrowed(jobs: &[PlannedJob], table: &str, branch: &str) -> Result<PlannedJob, String> {
    let all = jobs
        .iter()
        .flat_map(|job| (0..job.inserts.len()).map(move |index| (job, index)));
    let mut its = all.filter(|(job, index)| job.inserts[*index].table == table);
    let (job, index) = match (its.next(), its.next()) {
        (Some(one), None) => one,
        (None, _) => return Err(format!("The script has no INSERT INTO {table}.")),
        (Some(_), Some(_)) => return Err(format!("The script has several INSERTs into {table}.")),
    };
    let mut graph = job.alone(index).clone();
    for node in &mut graph.nodes {
        match &mut node.operator {
            Operator::Sink(SinkSpec::Iceberg(sink)) => {
                sink.branch = Some(branch.to_string());
                // Columns are the table's, and `main` has them too.
                sink.schema_change = SchemaChange::Pause;
            }
            Operator::Sink(_) => {
                return Err(format!(
                    "{table} is not an Iceberg table, and only these have branches."
                ));
            }
            // Its offsets are nobody's progress.
            Operator::Source(SourceSpec::Kafka(source)) => source.group_id = None,
            Operator::Source(source) => {
                let table = source.table();
                return Err(format!(
                    "{table} is not read from a topic, and only topics have offsets to go back to."
                ));
            }
            _ => {}
        }
    }
    let mut insert = job.inserts[index].clone();
    insert.alone = None;
    Ok(PlannedJob {
        graph,
        inserts: vec![insert],
        group: None,
    })
}

/// What makes of a job's query one that is replayed as a whole or not at all: what it gives for a row depends on those before it.
pub fn needs_all(job: &PlannedJob) -> Option<&'static str> {
    let mut states = states_of(&job.graph).into_iter();
    let operator = states.next().map(|(operator, _)| operator);
    let why = operator.unwrap_or("CURRENT_WATERMARK");
    job.graph.needs_all_before().then_some(why)
}

impl NewReplay {
    fn record(&self, now_ms: i64) -> Record {
        let mut record = Record {
            format: REPLAY_FORMAT,
            id: self.owner.pipeline,
            name: self.owner.name.clone(),
            sql: self.sql.clone(),
            jobs: vec![self.job.clone()],
            settings: self.settings.clone(),
            desired: Desired::Running,
            created_ms: now_ms,
            plans: Vec::new(),
            replay: Some(self.of.clone()),
        };
        record.remember_plans(Vec::new());
        record
    }

    /// What the job finds when it starts: all is decided, and nothing is read yet.
    fn manifest(&self, now_ms: i64) -> Manifest {
        let mut manifest = Manifest::new(self.owner.pipeline);
        manifest.created_ms = now_ms;
        manifest.topics = self.topics.clone();
        if !self.from_the_beginning {
            manifest.reached = None;
        }
        let end = |at: &SplitOffset| {
            let mut until = self.of.until.iter();
            let end = until.find(|end| end.same_split(at));
            end.map_or(at.next, |end| end.next)
        };
        let from = self.of.from.iter();
        manifest.splits = from
            .clone()
            .map(|at| SplitState {
                topic: at.topic.clone(),
                partition: at.partition,
                end: Some(end(at)),
                watermark: None,
                joined: Joined::AtStart,
                came: None,
            })
            .collect();
        let sink = SinkState {
            plan: None,
            splits: from
                .map(|at| SinkSplit {
                    topic: at.topic.clone(),
                    partition: at.partition,
                    begin: at.next,
                    written_until: at.next,
                })
                .collect(),
            chain: TableChain {
                last: Some(Confirmed {
                    uuid: self.base,
                    sequence: 0,
                    ends: self.of.from.clone(),
                }),
                chain: Vec::new(),
            },
            sides: BTreeMap::new(),
        };
        let name = self.job.inserts[0].sink_name();
        manifest.sinks.insert(name, sink);
        manifest
    }
}

impl Pipelines {
    /// Starts a replay whose branch is there.
    ///
    /// # Errors
    /// When something has its name already, or nothing can be written.
    pub fn begin_replay(&self, new: &NewReplay) -> Result<(), PipelineError> {
        let _change = self.changes.lock();
        let name = &new.owner.name;
        if self.stored(name).is_some() {
            return Err(PipelineError::Exists { name: name.clone() });
        }
        let now_ms = self.around.clock.now_ms();
        let (record, manifest) = (new.record(now_ms), new.manifest(now_ms));
        manifest.check();
        let key = new.job.manifest_key(new.owner.pipeline);
        let bytes = serde_json::to_vec(&manifest).expect("a manifest has only string keys");
        let storage = &self.around.storage;
        let written = Op::Put {
            table: Kv::Manifests,
            key: Bytes::copy_from_slice(key.as_bytes()),
            value: Some(bytes.into()),
            expect: Expect::Absent,
        };
        match storage.commit_blocking(vec![record.put(), written]) {
            Ok(_) => {}
            Err(CommitError::Conflict { .. }) => {
                return Err(PipelineError::Exists { name: name.clone() });
            }
            Err(error) => return Err(PipelineError::Storage(error)),
        }
        hold_all(storage, |held| *held == *key);
        self.start(&record);
        Ok(())
    }

    /// What the replay of this name is of, and the text of its script.
    ///
    /// # Errors
    /// When its record cannot be read.
    pub fn replay(&self, name: &str) -> Result<Option<(ReplayOf, String)>, PipelineError> {
        let record = self.stored(name).transpose()?;
        Ok(record.and_then(|record| Some((record.replay?, record.sql))))
    }

    /// The script of a pipeline.
    ///
    /// # Errors
    /// [`PipelineError::Unknown`].
    pub fn script(&self, name: &str) -> Result<String, PipelineError> {
        Ok(self.known(name)?.sql)
    }

    /// Whether there is a pipeline of this id, running or not.
    pub fn has(&self, pipeline: Uuid) -> bool {
        self.list().iter().any(|view| view.id == pipeline)
    }

    /// How far it is, by its manifest.
    pub(super) fn replay_view(&self, record: &Record) -> Option<ReplayView> {
        let of = record.replay.clone()?;
        let key = record.jobs.first()?.manifest_key(record.id);
        let store = ManifestStore::open(self.around.storage.clone(), &key);
        let position = store.manifest().ok().flatten();
        let position = position.map(|manifest| manifest.position());
        let sum = |to: &[SplitOffset]| -> u64 {
            let each = of.from.iter().map(|from| {
                let to = to.iter().find(|to| to.same_split(from));
                to.map_or(0, |to| u64::try_from(to.next - from.next).unwrap_or(0))
            });
            each.sum()
        };
        Some(ReplayView {
            offsets: sum(&of.until),
            done: sum(position.as_deref().unwrap_or_default()),
            of,
        })
    }
}
