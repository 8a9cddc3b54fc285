//! What the API asks about tables: which there are, what their commits say, whether they agree with the log.
//!
//! A name `namespace.table` means the table that a pipeline of this server writes under it, in whatever catalog that is, else
//! the one in the embedded catalog. Queries may name a catalog in front: an entry of `[catalogs]`, or `embedded`.

mod ahead;
mod alter;
mod audits;
mod compaction;
mod erase;
mod ledgers;
mod periodic;
mod promote;
mod refs;
mod replay;

pub use ahead::{AuditTrouble, AuditsAhead};
pub use periodic::Periodic;

use crate::connectors::Wiring;
use audits::Turns;
use compaction::Compactions;
use lw_gateway::Refusal;
use lw_graph::SinkSpec;
use lw_lakehouse::error::Kind;
use lw_lakehouse::view::{Footers, list};
use lw_lakehouse::writer::sink::DEAD_LETTERS;
use lw_lakehouse::{CatalogError, TableCatalog, TableView, parse_table};
use lw_query::{Catalogs, TableIdent, ViewMetadata};
use lw_runtime::pipelines::{Pipelines, Writer};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The tables that this server knows.
pub struct Tables {
    wiring: Arc<Wiring>,
    pipelines: Arc<Pipelines>,
    footers: Footers,
    turns: Turns,
    compactions: Compactions,
    /// One replay begins at a time.
    replays: Mutex<()>,
    /// What was begun before this server was started has been gone on with.
    erasures: AtomicBool,
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

    fn view(
        &self,
        name: Option<&str>,
        view: &TableIdent,
    ) -> Result<Option<ViewMetadata>, CatalogError> {
        match self.wiring.keeps_views(name) {
            true => self.wiring.embedded().view(None, view),
            false => Ok(None),
        }
    }

    fn list_views(&self, name: Option<&str>) -> Result<Vec<TableIdent>, CatalogError> {
        match self.wiring.keeps_views(name) {
            true => self.wiring.embedded().all_views(),
            false => Ok(Vec::new()),
        }
    }
}

impl Tables {
    pub fn new(wiring: Arc<Wiring>, pipelines: Arc<Pipelines>) -> Tables {
        Tables {
            compactions: Compactions::new(&wiring),
            wiring,
            pipelines,
            footers: Footers::default(),
            turns: Turns::default(),
            replays: Mutex::default(),
            erasures: AtomicBool::new(false),
        }
    }

    pub fn pipelines(&self) -> &Arc<Pipelines> {
        &self.pipelines
    }

    /// The catalog that a name without one means: where a pipeline of this server writes the table (or the one beside it),
    /// else the embedded one.
    fn catalog_of(&self, table: &str) -> Result<Arc<dyn TableCatalog>, CatalogError> {
        match self.elsewhere(table) {
            Some(catalog) => catalog,
            None => Ok(Arc::new(self.wiring.embedded().clone())),
        }
    }

    /// The catalog that such a name means, where it is not the embedded one.
    fn elsewhere(&self, table: &str) -> Option<Result<Arc<dyn TableCatalog>, CatalogError>> {
        let main = table.strip_suffix(DEAD_LETTERS).unwrap_or(table);
        let writer = self.pipelines.writer_of(main);
        match writer.as_ref().and_then(Writer::sink) {
            Some(SinkSpec::Iceberg(sink)) if sink.uri.is_some() => {
                Some(self.wiring.catalog_of(sink))
            }
            _ => None,
        }
    }

    fn refuse_delta(&self, table: &str) -> Result<(), Refusal> {
        let main = table.strip_suffix(DEAD_LETTERS).unwrap_or(table);
        let writer = self.pipelines.writer_of(main);
        match writer.as_ref().and_then(Writer::sink) {
            Some(SinkSpec::Delta(_)) => Err(not_of_delta(table)),
            _ => Ok(()),
        }
    }

    fn view(&self, table: &str) -> Result<TableView, Refusal> {
        self.refuse_delta(table)?;
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
}

/// A Delta table is in no catalog of ours, and what it says of itself is in its log alone.
fn not_of_delta(table: &str) -> Refusal {
    Refusal::new(400, format!("{table} is a Delta table, whose versions this version does not show"))
        .detail("What a Delta table accounts for is in its own log: the transaction identifiers 'lakeward/…', and 'lakeward' in each commit's information.")
        .hint("Look into it with a reader of Delta; `lakeward audit` verifies it.")
}

fn refused(error: CatalogError) -> Refusal {
    let status = match error.kind {
        Kind::NoSuchNamespace | Kind::NoSuchTable | Kind::NoSuchView => 404,
        Kind::AlreadyExists | Kind::NamespaceNotEmpty | Kind::CommitFailed | Kind::Repeated => 409,
        Kind::Malformed | Kind::BadRequest | Kind::Unprocessable | Kind::Unsupported => 400,
        Kind::Unknown | Kind::Unavailable => 503,
        Kind::NoSuchFile | Kind::Internal => 500,
    };
    let cause = error.source.as_ref().map(ToString::to_string);
    Refusal::new(status, &error).detail(cause.unwrap_or_default())
}
