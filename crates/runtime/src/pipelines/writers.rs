//! Who writes a table, and by which query: what those ask who look at the tables (audits, metrics, queries).

use super::record::Record;
use super::{PipelineError, Pipelines, PlannedInsert, PlannedJob};
use crate::manifest::Manifest;
use crate::store::ManifestStore;
use bytes::Bytes;
use lw_graph::{JobGraph, SinkSpec};
use lw_storage::Table as Kv;
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

/// An `INSERT` of a pipeline, as those see it who look at the table that it fills.
#[derive(Clone, Debug)]
pub struct Writer {
    /// The pipeline's name.
    pub name: String,
    /// The pipeline's id.
    pub pipeline: Uuid,
    pub table: String,
    /// The `INSERT` by itself.
    pub graph: JobGraph,
    manifest_key: String,
}

impl Writer {
    /// Where its rows go.
    pub fn sink(&self) -> Option<&SinkSpec> {
        self.graph.sink()
    }
}

/// A replay writes no table: `main` is not its.
fn writers_of(record: Record) -> Vec<Writer> {
    if record.replay.is_some() {
        return Vec::new();
    }
    let of_job = |job: &PlannedJob| {
        let writer = |index: usize| Writer {
            name: record.name.clone(),
            pipeline: record.id,
            table: job.inserts[index].table.clone(),
            graph: job.alone(index).clone(),
            manifest_key: job.manifest_key(record.id),
        };
        (0..job.inserts.len()).map(writer).collect::<Vec<Writer>>()
    };
    record.jobs.iter().flat_map(of_job).collect()
}

/// The `INSERT` whose plan has this id, by itself.
fn named(
    jobs: &[PlannedJob],
    plan: &str,
    sql: &str,
    settings: &BTreeMap<String, String>,
) -> Option<JobGraph> {
    let is_it = |insert: &PlannedInsert| insert.is_plan(plan, sql, settings);
    jobs.iter().find_map(|job| {
        let index = job.inserts.iter().position(is_it)?;
        Some(job.alone(index).clone())
    })
}

impl Pipelines {
    /// The script that a plan id in a table's marker means.
    pub fn script_of_plan(&self, pipeline: Uuid, plan: &str) -> Option<String> {
        let record = self.records().into_iter().find(|r| r.id == pipeline)?;
        let mut plans = record.plans.into_iter();
        let named = plans.find(|text| text.ids.iter().any(|id| id == plan))?;
        Some(named.sql)
    }

    /// The `INSERT` by itself that a plan id in a table's marker means: one of the present ones, or one that its script made.
    ///
    /// # Errors
    /// Why there is none: an audit must not judge by another.
    pub fn graph_of_plan(&self, pipeline: Uuid, plan: &str) -> Result<JobGraph, String> {
        let record = self.records().into_iter().find(|r| r.id == pipeline);
        let record = record.ok_or("the pipeline is gone")?;
        if let Some(graph) = named(&record.jobs, plan, &record.sql, &record.settings) {
            return Ok(graph);
        }
        let sql = self.script_of_plan(pipeline, plan);
        let sql = sql.ok_or("its script is not kept any more")?;
        let mut planned = self.around.planner.plan(&sql)?;
        if let Some(graph) = named(&planned.jobs, plan, &sql, &planned.settings) {
            return Ok(graph);
        }
        // Ids that were made before it was known what a query means.
        for insert in planned.jobs.iter_mut().flat_map(|job| &mut job.inserts) {
            insert.query = None;
        }
        let graph = named(&planned.jobs, plan, &sql, &planned.settings);
        graph.ok_or_else(|| "its script makes another plan now".to_string())
    }

    /// The manifest of a pipeline's `index`-th job.
    ///
    /// # Errors
    /// [`PipelineError`] when there is no such pipeline or the manifest is damaged.
    pub fn manifest(&self, name: &str, index: usize) -> Result<Option<Manifest>, PipelineError> {
        let record = self.known(name)?;
        let key = record.jobs[index].manifest_key(record.id);
        let store = ManifestStore::open(self.around.storage.clone(), &key);
        Ok(store.manifest()?)
    }

    /// All `INSERT`s that fill a table, whether they run or not.
    pub fn writers(&self) -> Vec<Writer> {
        let records = self.records().into_iter();
        records.flat_map(writers_of).collect()
    }

    /// The one that writes a table.
    pub fn writer_of(&self, table: &str) -> Option<Writer> {
        let mut writers = self.writers().into_iter();
        writers.find(|writer| writer.table == table)
    }

    /// Where the job of an `INSERT` stands; `None` where nothing can be said of it.
    pub fn manifest_of_writer(&self, writer: &Writer) -> Option<Manifest> {
        let storage = self.around.storage.clone();
        let store = ManifestStore::open(storage, &writer.manifest_key);
        store.manifest().ok().flatten()
    }

    /// The manifests of all jobs that a pipeline has or had; `None` where one of them cannot be read.
    pub fn manifests_of(&self, pipeline: Uuid) -> Option<Vec<Manifest>> {
        let prefix = format!("{pipeline}/");
        let stored = self.around.storage.scan(Kv::Manifests, prefix.as_bytes());
        let read = |(key, bytes): (Bytes, Bytes)| {
            Manifest::read(&bytes, &String::from_utf8_lossy(&key)).ok()
        };
        stored.into_iter().map(read).collect()
    }

    /// How long until retention would take what the job of an `INSERT` has not read, if it did not wait for it.
    pub fn time_to_loss(&self, writer: &Writer) -> Option<Duration> {
        self.around.storage.time_to_loss(&writer.manifest_key)
    }
}
