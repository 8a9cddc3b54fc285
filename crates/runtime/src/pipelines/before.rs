//! Records of formats 1 and 2: each `INSERT` was a job of its own, and which of those into one table it was, was counted in
//! their order. So it stays, until another script takes the pipeline's place.

use super::record::{Desired, FORMAT, Record};
use super::{PlanText, PlannedInsert, PlannedJob};
use lw_graph::JobGraph;
use serde::Deserialize;
use std::collections::BTreeMap;
use uuid::Uuid;

#[derive(Deserialize)]
pub(super) struct Before {
    pub(super) format: u32,
    id: Uuid,
    name: String,
    sql: String,
    jobs: Vec<JobBefore>,
    settings: BTreeMap<String, String>,
    desired: Desired,
    created_ms: i64,
    #[serde(default)]
    plans: Vec<PlanText>,
}

#[derive(Deserialize)]
struct JobBefore {
    graph: JobGraph,
    table: String,
    group: Option<String>,
    #[serde(default)]
    query: Option<String>,
}

impl Before {
    /// The record as this version's.
    pub(super) fn carried_over(self) -> Record {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let job = |job: JobBefore| {
            let count = counts.entry(job.table.clone()).or_default();
            let occurrence = *count;
            *count += 1;
            PlannedJob {
                graph: job.graph,
                inserts: vec![PlannedInsert {
                    table: job.table,
                    occurrence,
                    alone: None,
                    query: job.query,
                }],
                group: job.group,
            }
        };
        Record {
            format: FORMAT,
            id: self.id,
            name: self.name,
            sql: self.sql,
            jobs: self.jobs.into_iter().map(job).collect(),
            settings: self.settings,
            desired: self.desired,
            created_ms: self.created_ms,
            plans: self.plans,
            replay: None,
        }
    }
}
