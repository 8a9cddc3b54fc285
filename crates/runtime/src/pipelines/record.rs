//! The durable record of a pipeline, and where it is kept.
//!
//! Layout: JSON under the pipeline's name, `format` = 3; that of a replay has format 4, which a version that knows no branches refuses:
//! it would fill `main`. Formats 1 and 2 had one `INSERT` in each job, and format 1 kept the
//! manifest of each under the position of its `INSERT`; [`carry_over`] turns such records and their manifests into this format's,
//! each in one frame, when the server starts. A record that cannot be read is never skipped: its pipeline is there, and says why
//! it does not run.

use super::arrange::Wanted;
use super::before::Before;
use super::plan::{PlanText, Planner};
use super::replay::{ReplayOf, narrowed};
use super::{PlannedInsert, PlannedJob};
use crate::connector::Owner;
use crate::manifest::sink_name;
use bytes::Bytes;
use lw_storage::{CommitError, Expect, Op, Storage, Table};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// The layout version that [`Record::format`] carries.
pub(super) const FORMAT: u32 = 3;
/// Of a record that is a replay's.
pub(super) const REPLAY_FORMAT: u32 = 4;

/// The durable record of a pipeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) format: u32,
    pub(super) id: Uuid,
    pub(super) name: String,
    pub(super) sql: String,
    pub(super) jobs: Vec<PlannedJob>,
    pub(super) settings: BTreeMap<String, String>,
    pub(super) desired: Desired,
    pub(super) created_ms: i64,
    /// The scripts that made the pipeline's commits, by plan id, oldest first.
    #[serde(default)]
    pub(super) plans: Vec<PlanText>,
    /// It fills a branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) replay: Option<ReplayOf>,
}

/// What the user wants of a pipeline; survives restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Desired {
    Running,
    Stopped,
    /// A bounded pipeline that is done.
    Finished,
}

/// A record that this version cannot read, and what can still be told of it.
#[derive(Clone, Debug)]
pub(super) struct Unreadable {
    pub(super) name: String,
    pub(super) reason: String,
    pub(super) id: Option<Uuid>,
    pub(super) tables: Vec<String>,
    pub(super) sql: Box<str>,
    /// The record without its jobs, where only these cannot be read: they can be planned again.
    pub(super) without_jobs: Option<Box<Record>>,
}

impl Record {
    /// The record under a name.
    pub(super) fn load(storage: &Storage, name: &str) -> Option<Result<Record, Unreadable>> {
        let bytes = storage.get(Table::Pipelines, name.as_bytes())?;
        Some(read(name.as_bytes(), &bytes))
    }

    /// All records, by name.
    pub(super) fn all(storage: &Storage) -> Vec<Result<Record, Unreadable>> {
        let all = storage.scan(Table::Pipelines, b"");
        all.iter().map(|(name, bytes)| read(name, bytes)).collect()
    }

    /// Durable when it returns.
    pub(super) fn save(&self, storage: &Storage) -> Result<(), CommitError> {
        storage.commit_blocking(vec![self.put()]).map(|_| ())
    }

    /// What [`Record::save`] does, for a frame that has more in it.
    pub(super) fn put(&self) -> Op {
        put(&self.name, Some(self.to_bytes()), Expect::Any)
    }

    /// Writes down that all of a bounded pipeline is read, unless its user has decided something else meanwhile.
    pub(super) fn finish(storage: &Storage, owner: &Owner) -> Result<(), CommitError> {
        loop {
            let Some(bytes) = storage.get(Table::Pipelines, owner.name.as_bytes()) else {
                return Ok(());
            };
            let Ok(mut record) = read(owner.name.as_bytes(), &bytes) else {
                return Ok(());
            };
            if record.id != owner.pipeline || record.desired != Desired::Running {
                return Ok(());
            }
            record.desired = Desired::Finished;
            let op = put(&record.name, Some(record.to_bytes()), Expect::Value(bytes));
            match storage.commit_blocking(vec![op]) {
                Err(CommitError::Conflict { .. }) => continue,
                done => return done.map(|_| ()),
            }
        }
    }

    /// Removes what stands under a name, readable or not.
    pub(super) fn remove(storage: &Storage, name: &str) -> Result<(), CommitError> {
        let op = put(name, None, Expect::Any);
        storage.commit_blocking(vec![op]).map(|_| ())
    }

    pub(super) fn owner(&self) -> Owner {
        Owner {
            pipeline: self.id,
            name: self.name.clone(),
        }
    }

    /// Its jobs, by what their manifests are called and have.
    pub(super) fn wanted(&self) -> Vec<Wanted> {
        let wanted = self.jobs.iter().map(|job| Wanted {
            key: job.manifest_key(self.id),
            sinks: job.inserts.iter().map(PlannedInsert::sink_name).collect(),
            states: job.states().map(|(_, uid)| uid).collect(),
        });
        wanted.collect()
    }

    /// All of its `INSERT`s, job by job.
    pub(super) fn inserts(&self) -> impl Iterator<Item = &PlannedInsert> {
        self.jobs.iter().flat_map(|job| &job.inserts)
    }

    /// The keys of the manifests of all its jobs.
    pub(super) fn manifest_keys(&self) -> BTreeSet<String> {
        let jobs = self.jobs.iter();
        jobs.map(|job| job.manifest_key(self.id)).collect()
    }

    /// Whether the key is that of a manifest whose `INSERT` is not in the script any more.
    pub(super) fn dropped(&self, key: &str) -> bool {
        key.starts_with(&format!("{}/", self.id)) && !self.manifest_keys().contains(key)
    }

    /// Keeps the text of the present plans, beside those of the plans before.
    pub(super) fn remember_plans(&mut self, before: Vec<PlanText>) {
        let mut plans = before;
        for insert in self.inserts() {
            let id = insert.plan_id(&self.sql, &self.settings);
            PlanText::keep(&mut plans, &id, &self.sql);
        }
        self.plans = plans;
    }

    fn to_bytes(&self) -> Bytes {
        serde_json::to_vec(self)
            .expect("a record has only string keys")
            .into()
    }
}

/// Turns the records of formats 1 and 2 into this format's, those of format 1 with the manifests of their jobs in one frame. One
/// for which that fails stays as it is, and is unreadable until the next start.
pub(super) fn carry_over(storage: &Storage) {
    for (name, bytes) in storage.scan(Table::Pipelines, b"") {
        let Ok(before) = serde_json::from_slice::<Before>(&bytes) else {
            continue;
        };
        let format = before.format;
        if ![1, 2].contains(&format) {
            continue;
        }
        let mut record = before.carried_over();
        let mut ops = Vec::new();
        if format == 1 {
            record.remember_plans(Vec::new());
            move_manifests(storage, &record, &mut ops);
        }
        ops.push(put(
            &record.name,
            Some(record.to_bytes()),
            Expect::Value(bytes),
        ));
        let name = String::from_utf8_lossy(&name).into_owned();
        match storage.commit_blocking(ops) {
            Ok(_) => tracing::info!(
                pipeline = name,
                "the pipeline's record is now of format {FORMAT}"
            ),
            Err(error) => {
                tracing::error!(pipeline = name, %error, "the pipeline's record stays of format {format}")
            }
        }
    }
}

/// Where format 1 had the manifests of its jobs, they are under their names.
fn move_manifests(storage: &Storage, record: &Record, ops: &mut Vec<Op>) {
    for (index, job) in record.jobs.iter().enumerate() {
        let old = Bytes::from(format!("{}/{index}", record.id));
        if let Some(manifest) = storage.get(Table::Manifests, &old) {
            let new = Bytes::from(job.manifest_key(record.id));
            ops.push(manifest_op(new, Some(manifest.clone()), Expect::Absent));
            ops.push(manifest_op(old, None, Expect::Value(manifest)));
        }
    }
}

fn manifest_op(key: Bytes, value: Option<Bytes>, expect: Expect) -> Op {
    Op::Put {
        table: Table::Manifests,
        key,
        value,
        expect,
    }
}

fn put(name: &str, value: Option<Bytes>, expect: Expect) -> Op {
    Op::Put {
        table: Table::Pipelines,
        key: Bytes::copy_from_slice(name.as_bytes()),
        value,
        expect,
    }
}

fn read(name: &[u8], bytes: &[u8]) -> Result<Record, Unreadable> {
    let name = String::from_utf8_lossy(name).into_owned();
    let value: Value = serde_json::from_slice(bytes).unwrap_or(Value::Null);
    let reason = match value["format"].as_u64() {
        Some(3 | 4) => match serde_json::from_slice::<Record>(bytes) {
            Ok(record) => return Ok(record),
            Err(error) => format!("its record cannot be read: {error}"),
        },
        Some(format @ (1 | 2)) => match serde_json::from_slice::<Before>(bytes) {
            Ok(_) => {
                format!("its record has format {format} and could not be carried over to format 3")
            }
            Err(error) => format!("its record cannot be read: {error}"),
        },
        Some(format) => {
            format!("its record has format {format}; this version reads formats 1 to 4")
        }
        None => "its record is damaged".to_string(),
    };
    let inserts = stored_inserts(&value["jobs"]).into_iter();
    Err(Unreadable {
        name,
        reason,
        id: value["id"].as_str().and_then(|id| id.parse().ok()),
        tables: match value["replay"].is_null() {
            true => inserts.map(|insert| insert.table).collect(),
            // It fills a branch, and owns nothing.
            false => Vec::new(),
        },
        sql: value["sql"].as_str().unwrap_or_default().into(),
        without_jobs: without_jobs(value).map(Box::new),
    })
}

/// What can be told of the `INSERT`s of a record, whatever else is in it.
struct StoredInsert {
    table: String,
    occurrence: usize,
    query: Option<String>,
}

fn stored_inserts(jobs: &Value) -> Vec<StoredInsert> {
    let jobs = jobs.as_array().into_iter().flatten();
    // Before format 3 a job was an INSERT.
    let inserts = jobs.flat_map(|job| match job["inserts"].as_array() {
        Some(inserts) => inserts.iter().collect(),
        None => vec![job],
    });
    let mut stored: Vec<StoredInsert> = Vec::new();
    for insert in inserts {
        let Some(table) = insert["table"].as_str() else {
            continue;
        };
        let before = stored.iter().filter(|other| other.table == table).count();
        let told = insert["occurrence"].as_u64();
        stored.push(StoredInsert {
            table: table.to_string(),
            occurrence: told.map_or(before, |told| told as usize),
            query: insert["query"].as_str().map(ToString::to_string),
        });
    }
    stored
}

/// The record with no jobs in it, if the rest can be read.
fn without_jobs(mut value: Value) -> Option<Record> {
    *value.get_mut("jobs")? = Value::Array(Vec::new());
    match value["format"].as_u64()? {
        2 => Some(serde_json::from_value::<Before>(value).ok()?.carried_over()),
        3 | 4 => serde_json::from_value(value).ok(),
        _ => None,
    }
}

/// Plans the script of each record again whose jobs alone cannot be read: what is durable of a pipeline is its script. Gives the
/// records that stay unreadable, by name, each with the reason why its script does not help.
pub(super) fn plan_again(storage: &Storage, planner: &dyn Planner) -> BTreeMap<String, String> {
    let mut refused = BTreeMap::new();
    for (name, bytes) in storage.scan(Table::Pipelines, b"") {
        let Err(unreadable) = read(&name, &bytes) else {
            continue;
        };
        let Some(record) = unreadable.without_jobs else {
            continue;
        };
        let name = unreadable.name;
        let stored = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        let done = planned_again(*record, &stored["jobs"], planner).and_then(|record| {
            let op = put(&name, Some(record.to_bytes()), Expect::Value(bytes));
            let done = storage.commit_blocking(vec![op]);
            done.map_err(|error| format!("its record cannot be written: {error}"))
        });
        match done {
            Ok(_) => tracing::warn!(
                pipeline = name,
                reason = unreadable.reason,
                "the pipeline was planned again from its script"
            ),
            Err(reason) => {
                tracing::error!(
                    pipeline = name,
                    reason,
                    "the pipeline cannot be planned again"
                );
                refused.insert(name, reason);
            }
        }
    }
    refused
}

/// The record with the jobs that its script makes now. Its `INSERT`s have to be the same, each going on at the offsets of the one
/// that it stands for, in whatever jobs they are.
fn planned_again(
    mut record: Record,
    stored: &Value,
    planner: &dyn Planner,
) -> Result<Record, String> {
    let planned = planner.plan(&record.sql);
    record.jobs = planned
        .map_err(|error| format!("its script cannot be planned any more: {error}"))?
        .jobs;
    if let Some(of) = &record.replay {
        record.jobs = vec![narrowed(&record.jobs, &of.table, &of.branch)?];
    }
    let stored = stored_inserts(stored).into_iter();
    let mut queries: BTreeMap<String, Option<String>> = stored
        .map(|insert| (sink_name(&insert.table, insert.occurrence), insert.query))
        .collect();
    for insert in record.jobs.iter_mut().flat_map(|job| &mut job.inserts) {
        let query = queries.remove(&insert.sink_name());
        // The plan is what it was: bounded reads end where they said, commits go on naming it.
        insert.query = query.ok_or("its script fills other tables now")?;
    }
    match queries.is_empty() {
        true => Ok(record),
        false => Err("its script fills other tables now".to_string()),
    }
}
