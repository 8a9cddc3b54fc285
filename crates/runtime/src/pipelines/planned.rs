//! A script, planned: its jobs, and the `INSERT`s of each.
//!
//! A job is what is read, computed and written as one: the `INSERT`s of a statement set that share a scan. Each of them stays
//! itself through every change of the script around it: its table says which one it is, and where several go into one, its
//! number among them; not its place, and not its job.

use super::plan::{FNV_OFFSET, fnv, plan_id};
use crate::connector::NamedSink;
use crate::job::{InsertSpec, manifest_key};
use crate::manifest::sink_name;
use lw_graph::{JobGraph, Operator, OperatorUid, SinkSpec};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// `INSERT`s that read one scan, planned as one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedJob {
    pub graph: JobGraph,
    /// In the order of the graph's sinks, at least one.
    pub inserts: Vec<PlannedInsert>,
    /// `properties.group.id` of the one table that it reads; of several each has its own.
    pub group: Option<String>,
}

/// One `INSERT INTO` of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedInsert {
    /// `namespace.table`.
    pub table: String,
    /// Which of the script's `INSERT`s into this table it is. Only sinks that are no tables take several.
    pub occurrence: usize,
    /// The `INSERT` by itself, as an audit runs it again; `None` where it has the job for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alone: Option<JobGraph>,
    /// What the query means, as [`query_id`] has it; `None` in records from before it was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
}

/// Settings that say how a query is executed and change no row of it: with another value it is the same plan.
const OF_NO_QUERY: &[&str] = &[
    "parallelism.default",
    "table.exec.resource.default-parallelism",
];

/// What [`PlannedInsert::query`] holds of the text that says what an `INSERT` means: 32 hexadecimal digits.
pub fn query_id(definition: &str) -> String {
    let hash = fnv(FNV_OFFSET, definition.as_bytes());
    format!("{hash:032x}")
}

impl PlannedInsert {
    /// What manifests call its sink.
    pub fn sink_name(&self) -> String {
        sink_name(&self.table, self.occurrence)
    }

    /// The id of its plan, which commits name. Where it is not known what the query means, the whole script stands for it.
    pub(super) fn plan_id(&self, sql: &str, settings: &BTreeMap<String, String>) -> String {
        let mut settings = settings.clone();
        settings.retain(|key, _| !OF_NO_QUERY.contains(&key.as_str()));
        self.plan_id_of_all(sql, &settings)
    }

    /// As [`PlannedInsert::plan_id`] was before it was known that some settings change no row.
    fn plan_id_of_all(&self, sql: &str, settings: &BTreeMap<String, String>) -> String {
        let query = self.query.as_deref().unwrap_or(sql);
        plan_id(query, &self.table, self.occurrence, settings)
    }

    /// Whether its plan has this id.
    pub(super) fn is_plan(&self, id: &str, sql: &str, settings: &BTreeMap<String, String>) -> bool {
        self.plan_id(sql, settings) == id || self.plan_id_of_all(sql, settings) == id
    }
}

/// The operators of a graph that have state, with what they are called. One that several sinks need is there once, and in each of
/// the `INSERT`s by itself under the same uid.
pub(super) fn states_of(graph: &JobGraph) -> Vec<(&'static str, OperatorUid)> {
    let operators = graph.nodes.iter().map(|node| &node.operator);
    let operators = operators.filter(|operator| operator.state().is_some());
    operators.filter_map(Operator::windowed).collect()
}

impl PlannedJob {
    /// The key of the job's manifest, which is that of its first sink.
    ///
    /// # Panics
    /// Without an `INSERT`.
    pub(super) fn manifest_key(&self, pipeline: Uuid) -> String {
        let first = &self.inserts[0];
        manifest_key(pipeline, &first.table, first.occurrence)
    }

    /// The consumer group of tables that name none of their own.
    pub(super) fn group(&self, pipeline: &str) -> String {
        // Of several tables, records of before have here the first group that any of them named.
        let is_of_all = self.graph.sources().count() == 1;
        let named = self.group.clone().filter(|_| is_of_all);
        named.unwrap_or_else(|| format!("lakeward-{pipeline}"))
    }

    /// The `index`-th `INSERT` by itself.
    pub fn alone(&self, index: usize) -> &JobGraph {
        self.inserts[index].alone.as_ref().unwrap_or(&self.graph)
    }

    pub(super) fn sinks(&self) -> impl Iterator<Item = NamedSink<'_>> {
        let inserts = self.inserts.iter();
        let named = inserts.map(|insert| (&*insert.table, insert.occurrence, None));
        NamedSink::all(&self.graph, named)
    }

    /// Its operators with state, with what they are called.
    pub(super) fn states(&self) -> impl Iterator<Item = (&'static str, OperatorUid)> {
        states_of(&self.graph).into_iter()
    }

    /// What it fills, as it is told.
    pub(super) fn tables(&self) -> String {
        let tables: Vec<&str> = self.inserts.iter().map(|it| &*it.table).collect();
        tables.join(", ")
    }

    /// The tables that it fills. What is printed or dropped is nobody's, and who fills a branch does not own the table.
    pub(super) fn owned_tables(&self) -> impl Iterator<Item = &str> {
        let owned = self.sinks().filter(|sink| match sink.spec {
            SinkSpec::Print { .. } | SinkSpec::Blackhole => false,
            SinkSpec::Iceberg(_) | SinkSpec::Delta(_) => sink.spec.branch().is_none(),
        });
        owned.map(|sink| sink.table)
    }

    /// All of its `INSERT`s, as a running job has them.
    pub(super) fn specs(&self, sql: &str, settings: &BTreeMap<String, String>) -> Vec<InsertSpec> {
        let spec = |insert: &PlannedInsert| InsertSpec {
            table: insert.table.clone(),
            occurrence: insert.occurrence,
            plan: insert.plan_id(sql, settings),
        };
        self.inserts.iter().map(spec).collect()
    }
}
