//! What the API asks about tables: which there are, what their commits say, whether they agree with the log.
//!
//! A name `namespace.table` means the table that a pipeline of this server writes under it, in whatever catalog that is, else
//! the one in the embedded catalog. Queries may name a catalog in front: an entry of `[catalogs]`, or `embedded`.

use crate::connectors::Wiring;
use lw_gateway::Refusal;
use lw_graph::SinkSpec;
use lw_lakehouse::error::Kind;
use lw_lakehouse::writer::sink::DEAD_LETTERS;
use lw_lakehouse::{CatalogError, TableCatalog, TableView, parse_table};
use lw_ops::audit::{AuditedFile, Evidence, MarkedRange, RolledBack, Run, audit};
use lw_query::{Catalogs, TableIdent};
use lw_runtime::chain::Chain;
use lw_runtime::pipelines::Pipelines;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The tables that this server knows.
pub struct Tables {
    wiring: Arc<Wiring>,
    pipelines: Arc<Pipelines>,
}

impl Catalogs for Tables {
    fn names(&self) -> Vec<String> {
        self.wiring.catalog_names()
    }

    fn holding(
        &self,
        name: Option<&str>,
        table: &str,
    ) -> Result<Arc<dyn TableCatalog>, CatalogError> {
        match name {
            Some(name) => self.wiring.catalog_named(name),
            None => self.catalog_of(table),
        }
    }

    /// The embedded catalog's tables; another one is not asked for a list yet.
    fn list(&self, name: Option<&str>) -> Result<Vec<TableIdent>, CatalogError> {
        if let Some(name) = name
            && self.wiring.is_elsewhere(name)
        {
            let message = format!("the tables of the catalog '{name}' cannot be listed yet");
            return Err(CatalogError::new(Kind::Unsupported, message));
        }
        lw_query::all_tables(self.wiring.embedded())
    }
}

impl Tables {
    pub fn new(wiring: Arc<Wiring>, pipelines: Arc<Pipelines>) -> Tables {
        Tables { wiring, pipelines }
    }

    /// The catalog that a name without one means: where a pipeline of this server writes the table (or the one beside it),
    /// else the embedded one.
    fn catalog_of(&self, table: &str) -> Result<Arc<dyn TableCatalog>, CatalogError> {
        let main = table.strip_suffix(DEAD_LETTERS).unwrap_or(table);
        let writer = self.pipelines.writer_of(main);
        match writer.as_ref().and_then(|(_, _, job)| job.graph.sink()) {
            Some(SinkSpec::Iceberg(sink)) => self.wiring.catalog_of(sink),
            _ => Ok(Arc::new(self.wiring.embedded().clone())),
        }
    }

    fn view(&self, table: &str) -> Result<TableView, Refusal> {
        let ident = parse_table(table).map_err(refused)?;
        let catalog = self.catalog_of(table).map_err(refused)?;
        TableView::open(&*catalog, &ident).map_err(refused)
    }

    /// All tables of the embedded catalog.
    pub fn list(&self) -> Result<Value, Refusal> {
        let mut tables = Vec::new();
        let catalog = self.wiring.embedded();
        for namespace in catalog.list_namespaces(None).map_err(refused)? {
            for ident in catalog.list_tables(&namespace).map_err(refused)? {
                let name = format!("{}.{}", namespace.join("."), ident.name());
                let view = TableView::open(catalog, &ident).map_err(refused)?;
                tables.push(json!({
                    "table": name,
                    "rows": view.data_files.iter().map(|file| file.rows).sum::<u64>(),
                    "files": view.data_files.len(),
                    "snapshot_id": view.snapshots.first().map(|snapshot| snapshot.id),
                    "pipeline": view.marker.as_ref().map(|marker| marker.name.clone()),
                    "location": view.table().metadata.location(),
                }));
            }
        }
        Ok(Value::Array(tables))
    }

    /// One table: its snapshots, newest first, with the offsets that each holds.
    pub fn show(&self, table: &str) -> Result<Value, Refusal> {
        let view = self.view(table)?;
        let snapshots: Vec<Value> = view
            .snapshots
            .iter()
            .map(|snapshot| {
                json!({
                    "snapshot_id": snapshot.id,
                    "committed_at": snapshot.timestamp_ms,
                    "operation": snapshot.operation,
                    "pipeline": snapshot.marker.as_ref().map(|marker| marker.name.clone()),
                    "sequence": snapshot.marker.as_ref().map(|marker| marker.sequence),
                    "rows": snapshot.ranges.iter().map(|range| range.rows).sum::<u64>(),
                    "offsets": snapshot.ranges,
                })
            })
            .collect();
        Ok(
            json!({ "table": table, "location": view.table().metadata.location(), "snapshots": snapshots }),
        )
    }

    /// The audit of a table against the log.
    pub fn audit(&self, table: &str) -> Result<Value, Refusal> {
        let view = self.view(table)?;
        let Some((name, _, job)) = self.pipelines.writer_of(table) else {
            return Err(Refusal::new(404, format!("no pipeline writes table '{table}'"))
                .detail("The audit executes the pipeline's query again; without the pipeline there is nothing to compare with.")
                .hint("`lakeward pipeline list` shows the pipelines and their tables."));
        };
        let bug = |error: &dyn std::fmt::Display| {
            Refusal::new(500, format!("the audit cannot be made: {error}"))
        };
        let spec = job
            .graph
            .sources()
            .next()
            .ok_or_else(|| bug(&"the plan has no source"))?;
        let source = self
            .wiring
            .reader(spec, &format!("lakeward-{name}"))
            .map_err(|error| bug(&error))?;
        let chain = Chain::compile(&job.graph).map_err(|error| bug(&error))?;
        let evidence = Evidence {
            table: table.to_string(),
            ranges: ranges(&view),
            rolled_back: rolled_back(&view),
            files: files(&view)?,
            read_file: Box::new(|file| {
                let found = view.data_files.iter().find(|found| found.path == file.path);
                let found = found.ok_or("it is not in the table")?;
                view.read_rows(found).map_err(|error| error.to_string())
            }),
            source,
            chain,
            log_starts: self.wiring.log_starts(spec),
            delete_files: view.delete_files,
            foreign_snapshots: view
                .snapshots
                .iter()
                .filter(|snapshot| snapshot.marker.is_none())
                .map(|snapshot| snapshot.id)
                .collect(),
        };
        let report = audit(evidence).map_err(|error| bug(&error))?;
        Ok(json!(report))
    }
}

/// What the commits account for. Where old snapshots have expired, the files' own runs say where the table begins.
fn ranges(view: &TableView) -> Vec<MarkedRange> {
    let mut ranges: Vec<MarkedRange> = Vec::new();
    for snapshot in &view.snapshots {
        ranges.extend(snapshot.ranges.iter().map(|range| MarkedRange {
            topic: range.topic.clone(),
            partition: range.partition,
            start: range.start,
            end: range.end,
            follows: snapshot.follows,
        }));
    }
    let oldest = view.snapshots.last();
    if oldest.is_none_or(|oldest| oldest.parent.is_none()) {
        return ranges;
    }
    // The first offset that a kept commit accounts for, by partition.
    let mut commits: BTreeMap<(String, i32), i64> = BTreeMap::new();
    for range in &ranges {
        let start = commits
            .entry((range.topic.clone(), range.partition))
            .or_insert(range.start);
        *start = range.start.min(*start);
    }
    // The rows that the table holds, below that or, where no commit is kept, at all.
    let mut begins: BTreeMap<(String, i32), (i64, i64)> = BTreeMap::new();
    for run in view
        .data_files
        .iter()
        .filter_map(|file| file.runs.as_ref())
        .flatten()
    {
        let key = (run.topic.clone(), run.partition);
        let end = commits.get(&key).copied().unwrap_or(run.last + 1);
        let begin = begins.entry(key).or_insert((run.first, end));
        *begin = (begin.0.min(run.first), begin.1.max(end));
    }
    for ((topic, partition), (start, end)) in begins {
        if start < end {
            ranges.push(MarkedRange {
                topic,
                partition,
                start,
                end,
                follows: true,
            });
        }
    }
    ranges
}

/// Offsets that the newest commit accounted for and the head does not.
fn rolled_back(view: &TableView) -> Option<RolledBack> {
    let rolled_back = view.rolled_back()?;
    let offsets = rolled_back.offsets.into_iter();
    Some(RolledBack {
        adopted: rolled_back.adopted,
        ranges: offsets
            .map(|(start, end)| MarkedRange {
                topic: end.topic,
                partition: end.partition,
                start,
                end: end.next,
                follows: true,
            })
            .collect(),
    })
}

/// The data files with their runs.
///
/// # Errors
/// When a file has no runs: a foreign writer made it, and its rows came from no log of ours.
fn files(view: &TableView) -> Result<Vec<AuditedFile>, Refusal> {
    let mut files = Vec::new();
    for file in &view.data_files {
        let Some(runs) = &file.runs else {
            return Err(Refusal::new(409, format!("{} lists no offsets: another writer made it", file.path))
                .detail("Rows that did not come through a pipeline cannot be compared with the log.")
                .hint("Audit a table that only Lakeward writes, or keep foreign rows in a table of their own."));
        };
        files.push(AuditedFile {
            path: file.path.clone(),
            runs: runs
                .iter()
                .map(|run| Run {
                    topic: run.topic.clone(),
                    partition: run.partition,
                    first: run.first,
                    last: run.last,
                    rows: run.rows,
                })
                .collect(),
        });
    }
    Ok(files)
}

fn refused(error: CatalogError) -> Refusal {
    let status = match error.kind {
        Kind::NoSuchNamespace | Kind::NoSuchTable | Kind::NoSuchView => 404,
        Kind::AlreadyExists | Kind::NamespaceNotEmpty | Kind::CommitFailed => 409,
        Kind::BadRequest | Kind::Unprocessable | Kind::Unsupported => 400,
        Kind::Unknown | Kind::Unavailable => 503,
        Kind::Internal => 500,
    };
    let cause = error.source.as_ref().map(ToString::to_string);
    Refusal::new(status, &error).detail(cause.unwrap_or_default())
}
