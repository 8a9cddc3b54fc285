//! What the API asks about tables: which there are, what their commits say, whether they agree with the log.
//!
//! A name `namespace.table` means the table that a pipeline of this server writes under it, in whatever catalog that is, else
//! the one in the embedded catalog. Queries may name a catalog in front: an entry of `[catalogs]`, or `embedded`.

use crate::connectors::Wiring;
use lw_gateway::Refusal;
use lw_graph::SinkSpec;
use lw_lakehouse::error::Kind;
use lw_lakehouse::view::{Accounted, Footers, list};
use lw_lakehouse::writer::sink::DEAD_LETTERS;
use lw_lakehouse::{CatalogError, TableCatalog, TableView, parse_table};
use lw_ops::audit::{AuditedFile, Evidence, Letters, MarkedRange, RolledBack, Run, audit};
use lw_query::{Catalogs, TableIdent};
use lw_runtime::chain::Chain;
use lw_runtime::manifest::Manifest;
use lw_runtime::pipelines::Pipelines;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// The tables that this server knows.
pub struct Tables {
    wiring: Arc<Wiring>,
    pipelines: Arc<Pipelines>,
    footers: Footers,
    /// One audit at a time: each reads a table and its log from end to end.
    audits: Mutex<()>,
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

    fn list(&self, name: Option<&str>) -> Result<Vec<TableIdent>, CatalogError> {
        match name {
            Some(name) => self.wiring.catalog_named(name)?.all_tables(),
            None => self.wiring.embedded().all_tables(),
        }
    }
}

impl Tables {
    pub fn new(wiring: Arc<Wiring>, pipelines: Arc<Pipelines>) -> Tables {
        Tables {
            wiring,
            pipelines,
            footers: Footers::default(),
            audits: Mutex::new(()),
        }
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
        TableView::open_with(&*catalog, &ident, &self.footers).map_err(refused)
    }

    /// All tables of the embedded catalog, in namespaces of any depth. One that cannot be read says why in its place.
    pub fn list(&self) -> Result<Value, Refusal> {
        let tables = list(self.wiring.embedded()).map_err(refused)?;
        Ok(json!(tables))
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

    /// The audit of a table against the log. It ends early once `cancelled`.
    pub fn audit(&self, table: &str, cancelled: &dyn Fn() -> bool) -> Result<Value, Refusal> {
        let _one = self.audits.lock();
        let Some((name, _, job)) = self.pipelines.writer_of(table) else {
            return Err(nobody_writes(table));
        };
        let view = self.view(table)?;
        // The order matters: what the manifest has no more to commit is in the dead letters that are looked at after it.
        let pending = self.pending_letters(&name, table);
        let letters = self.letters(table, pending)?;
        let bug = |error: &dyn std::fmt::Display| {
            Refusal::new(500, format!("the audit cannot be made: {error}"))
        };
        let spec = job
            .graph
            .sources()
            .next()
            .ok_or_else(|| bug(&"the plan has no source"))?;
        let columns = match job.graph.sink() {
            Some(SinkSpec::Iceberg(sink)) => sink.schema.fields.iter(),
            _ => return Err(bug(&"the plan writes no table")),
        };
        let evidence = Evidence {
            table: table.to_string(),
            ranges: view.accounted().into_iter().map(marked).collect(),
            rolled_back: rolled_back(&view),
            files: files(&view)?,
            read_file: Box::new(|file| {
                let found = view.data_files.iter().find(|found| found.path == file.path);
                let found = found.ok_or("it is not in the table")?;
                let batches = view.batches(found, &[]).map_err(in_words)?;
                Ok(Box::new(batches.map(|batch| batch.map_err(in_words))))
            }),
            source: self
                .wiring
                .reader(spec, &format!("lakeward-{name}"))
                .map_err(|error| bug(&error))?,
            chain: Chain::compile(&job.graph).map_err(|error| bug(&error))?,
            columns: columns.map(|field| field.name.to_string()).collect(),
            letters: Some(letters),
            cancelled,
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

    /// What the pipeline has yet to commit to the table's dead letters.
    fn pending_letters(&self, pipeline: &str, table: &str) -> BTreeMap<Split, Vec<Range<i64>>> {
        let mut pending: BTreeMap<Split, Vec<Range<i64>>> = BTreeMap::new();
        let Some(manifest) = self.manifest_of(pipeline, table) else {
            return pending;
        };
        let chain = manifest.tables.get(&format!("{table}{DEAD_LETTERS}"));
        let commits = chain.into_iter().flat_map(|chain| &chain.chain);
        for range in commits.flat_map(|commit| &commit.ranges) {
            let split = (range.topic.clone(), range.partition);
            pending
                .entry(split)
                .or_default()
                .push(range.start..range.end);
        }
        pending
    }

    fn manifest_of(&self, pipeline: &str, table: &str) -> Option<Manifest> {
        // A pipeline has a job for each of its tables, and none behind the last.
        for index in 0.. {
            let manifest = self.pipelines.manifest(pipeline, index).ok()??;
            if manifest.tables.contains_key(table) {
                return Some(manifest);
            }
        }
        None
    }

    /// The dead letters of a table; without a table of them there are none.
    fn letters(
        &self,
        table: &str,
        pending: BTreeMap<Split, Vec<Range<i64>>>,
    ) -> Result<Letters, Refusal> {
        let name = format!("{table}{DEAD_LETTERS}");
        let ident = parse_table(&name).map_err(refused)?;
        let catalog = self.catalog_of(&name).map_err(refused)?;
        let mut letters = Letters {
            table: name,
            offsets: BTreeMap::new(),
            pending,
        };
        let view = match TableView::open_with(&*catalog, &ident, &self.footers) {
            Err(error) if error.kind == Kind::NoSuchTable => return Ok(letters),
            other => other.map_err(refused)?,
        };
        letters.offsets = view.letter_offsets().map_err(refused)?;
        Ok(letters)
    }
}

type Split = (String, i32);

fn nobody_writes(table: &str) -> Refusal {
    let refusal = Refusal::new(404, format!("no pipeline writes table '{table}'"));
    match table.strip_suffix(DEAD_LETTERS) {
        Some(main) => refusal
            .detail("Dead letters are audited together with the table that they stand beside.")
            .hint(format!("lakeward audit {main}")),
        None => refusal
            .detail("The audit executes the pipeline's query again; without the pipeline there is nothing to compare with.")
            .hint("`lakeward pipeline list` shows the pipelines and their tables."),
    }
}

fn marked(range: Accounted) -> MarkedRange {
    MarkedRange {
        topic: range.topic,
        partition: range.partition,
        start: range.start,
        end: range.end,
        follows: range.follows,
    }
}

fn in_words(error: CatalogError) -> String {
    match &error.source {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
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
                    skipped: run.skipped.clone(),
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
