//! What becomes of the state of operators when another script takes a pipeline's place.
//!
//! State stands under a hash of what its operator computes and of all below it. An operator that the new script has too goes on
//! with it; one that it has not would lose what it counted of records that are read already, so such a script is refused unless
//! its user says so, operator by operator.

use super::planned::states_of;
use super::record::Record;
use super::{PipelineError, Pipelines, PlannedInsert, PlannedJob, Submission, arrange};
use crate::manifest::{Manifest, State};
use lw_graph::OperatorUid;
use lw_storage::{Expect, Op, Table};
use serde::Serialize;

/// What becomes of one operator's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StateFate {
    /// `WindowAggregate`, …
    pub operator: String,
    pub uid: OperatorUid,
    /// The tables of its job.
    pub tables: Vec<String>,
    pub fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It goes on with what it has.
    Kept,
    /// It begins with nothing, and so does the reading.
    New,
    /// It begins with nothing where the reading goes on: its first windows miss what is read already.
    BeginsEmpty,
    /// What it has is lost.
    Dropped,
}

impl Pipelines {
    /// What becomes of the state of a pipeline's operators if this is submitted. Nothing, for one that is not there yet.
    ///
    /// # Errors
    /// When its checkpoints cannot be read, or do not fit the new script.
    pub fn state_plan(&self, submission: &Submission) -> Result<Vec<StateFate>, PipelineError> {
        match self.stored(&submission.name) {
            Some(Ok(existing)) if existing.sql != submission.sql => {
                let after = Record {
                    jobs: submission.jobs.clone(),
                    ..existing.clone()
                };
                self.fates(&existing, &after)
            }
            _ => Ok(Vec::new()),
        }
    }

    fn fates(&self, before: &Record, after: &Record) -> Result<Vec<StateFate>, PipelineError> {
        let had = arrange::arranged(&self.around.storage, before)?;
        let has = arrange::arranged(&self.around.storage, after)?;
        let mut fates = Vec::new();
        for job in &after.jobs {
            fates.extend(going_on(job, has.get(&job.manifest_key(after.id))));
        }
        for job in &before.jobs {
            let state = had.get(&job.manifest_key(before.id));
            let state = state.and_then(|manifest| manifest.state.as_ref());
            fates.extend(state.iter().flat_map(|state| lost(job, state, after)));
        }
        Ok(fates)
    }

    /// Refuses a script that would drop state that nobody said is to be dropped.
    pub(super) fn refuse_loss(
        &self,
        before: &Record,
        after: &Record,
        drop_state: &[String],
    ) -> Result<(), PipelineError> {
        let fates = self.fates(before, after)?;
        refuse_dropped(&after.name, fates, drop_state)
    }

    /// Writes the record down, and in the same frame lets go the state that its jobs have no operator for.
    pub(super) fn save_without_lost_state(&self, record: &Record) -> Result<(), PipelineError> {
        let mut ops = vec![record.put()];
        for job in &record.jobs {
            let key = job.manifest_key(record.id);
            let Some(bytes) = self.around.storage.get(Table::Manifests, key.as_bytes()) else {
                continue;
            };
            let mut manifest =
                Manifest::read(&bytes, &key).map_err(crate::store::StoreError::from)?;
            let Some(state) = &mut manifest.state else {
                continue;
            };
            let had = state.operators.len();
            let has: Vec<OperatorUid> = job.states().map(|(_, uid)| uid).collect();
            state.operators.retain(|uid, _| has.contains(uid));
            if state.operators.len() == had {
                continue;
            }
            if state.operators.is_empty() {
                manifest.state = None;
            }
            manifest.check();
            let after = serde_json::to_vec(&manifest).expect("a manifest has only string keys");
            ops.push(Op::Put {
                table: Table::Manifests,
                key: key.into(),
                value: Some(after.into()),
                expect: Expect::Value(bytes),
            });
        }
        let saved = self.around.storage.commit_blocking(ops);
        saved.map(|_| ()).map_err(PipelineError::Storage)
    }
}

/// Refuses what drops state that nobody said is to be dropped.
pub(super) fn refuse_dropped(
    name: &str,
    fates: Vec<StateFate>,
    drop_state: &[String],
) -> Result<(), PipelineError> {
    let dropped = fates.into_iter().filter(|it| it.fate == Fate::Dropped);
    let dropped: Vec<StateFate> = dropped.collect();
    let is_dropped = |uid: &String| dropped.iter().any(|it| it.uid.to_string() == *uid);
    if let Some(unknown) = drop_state.iter().find(|uid| !is_dropped(uid)) {
        return Err(PipelineError::NoState {
            uid: unknown.clone(),
            dropped,
        });
    }
    let kept_from: Vec<StateFate> = dropped
        .into_iter()
        .filter(|it| !drop_state.contains(&it.uid.to_string()))
        .collect();
    match kept_from.is_empty() {
        true => Ok(()),
        false => Err(PipelineError::WouldDropState {
            name: name.to_string(),
            dropped: kept_from,
        }),
    }
}

/// The operators of a job of the new script, with what they find.
pub(super) fn going_on(job: &PlannedJob, manifest: Option<&Manifest>) -> Vec<StateFate> {
    let state = manifest.and_then(|manifest| manifest.state.as_ref());
    let sinks = manifest.iter().flat_map(|manifest| manifest.sinks.values());
    let mut splits = sinks.flat_map(|sink| &sink.splits);
    let has_read = splits.any(|split| split.written_until > split.begin);
    let fate = |(operator, uid): (&str, OperatorUid)| {
        let known = state.is_some_and(|state| state.operators.contains_key(&uid));
        StateFate {
            operator: operator.to_string(),
            uid,
            tables: job
                .inserts
                .iter()
                .map(|insert| insert.table.clone())
                .collect(),
            fate: match (known, has_read) {
                (true, _) => Fate::Kept,
                (false, true) => Fate::BeginsEmpty,
                (false, false) => Fate::New,
            },
        }
    };
    job.states().map(fate).collect()
}

/// The state that an `INSERT` of the old script has, which is in the new one too and has no operator for it any more. One that
/// is in the script no more loses nothing: its checkpoint stays.
fn lost(job: &PlannedJob, state: &State, after: &Record) -> Vec<StateFate> {
    let mut lost: Vec<StateFate> = Vec::new();
    for (index, insert) in job.inserts.iter().enumerate() {
        let now = after.jobs.iter().find_map(|job| {
            let same = |it: &PlannedInsert| it.sink_name() == insert.sink_name();
            let index = job.inserts.iter().position(same)?;
            Some(states_of(job.alone(index)))
        });
        let Some(now) = now else { continue };
        for (operator, uid) in states_of(job.alone(index)) {
            if now.iter().any(|(_, kept)| *kept == uid) || !state.operators.contains_key(&uid) {
                continue;
            }
            match lost.iter_mut().find(|it| it.uid == uid) {
                Some(known) => known.tables.push(insert.table.clone()),
                None => lost.push(StateFate {
                    operator: operator.to_string(),
                    uid,
                    tables: vec![insert.table.clone()],
                    fate: Fate::Dropped,
                }),
            }
        }
    }
    lost
}
