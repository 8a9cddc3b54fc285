//! Compactions: those that somebody asks for, and those by which the server keeps up the tables that its pipelines fill.
//!
//! By itself it looks at a table of the embedded catalog when that has had [`COMMITS`] commits since there was nothing more to
//! do, unless the table says `lakeward.compaction.enabled = false`. It works for a [`SHARE`] of the time, and stands back for
//! whoever asks. Catalogs elsewhere have others who look after their tables.

use super::periodic::Turn;
use super::{Tables, refused};
use crate::connectors::Wiring;
use lw_gateway::{Compaction, Refusal};
use lw_graph::SinkSpec;
use lw_lakehouse::upkeep::compaction::{Compacted, Compactor, Effort, is_enabled};
use lw_lakehouse::writer::sink::DEAD_LETTERS;
use lw_lakehouse::{CatalogError, Ids, TableCatalog, parse_table};
use lw_query::TableIdent;
use lw_runtime::connector::LATE;
use lw_runtime::pipelines::Writer;
use parking_lot::{Mutex, MutexGuard};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Commits after which it is looked whether a table has small files.
const COMMITS: i64 = 8;
/// How often it is looked for files that were replaced and that nobody can read any more.
const SWEEPS: Duration = Duration::from_secs(10 * 60);
/// It works one part of the time, and pauses so many.
const SHARE: u32 = 3;
/// How long it works between two pauses.
const WORKS: Duration = Duration::from_millis(10);

/// One compaction at a time: each reads and writes as fast as it can. One that somebody waits for goes first.
pub(super) struct Compactions {
    /// Of the embedded catalog. It remembers what of its own may still be under way.
    embedded: Mutex<Compactor>,
    waiting: AtomicUsize,
    /// By table, the last sequence number at which there was nothing more to do.
    done: Mutex<HashMap<TableIdent, i64>>,
    /// When replaced files were looked for last.
    swept: Mutex<HashMap<TableIdent, Duration>>,
}

impl Compactions {
    pub(super) fn new(wiring: &Wiring) -> Compactions {
        let catalog = Arc::new(wiring.embedded().clone());
        Compactions {
            embedded: Mutex::new(Compactor::new(catalog, wiring.clock(), Ids::random())),
            waiting: AtomicUsize::new(0),
            done: Mutex::default(),
            swept: Mutex::default(),
        }
    }

    fn asked_for(&self) -> MutexGuard<'_, Compactor> {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let turn = self.embedded.lock();
        self.waiting.fetch_sub(1, Ordering::AcqRel);
        turn
    }

    fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
    }
}

impl Tables {
    /// How often it is looked which tables have small files.
    pub const COMPACTS_EVERY: Duration = Duration::from_secs(5);

    /// Makes a table's small files few, or says what that would do. It ends early once `cancelled`, with what is done until then.
    pub fn compact(
        &self,
        table: &str,
        how: Compaction,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Value, Refusal> {
        let ident = parse_table(table).map_err(refused)?;
        let catalog = self.elsewhere(table).transpose().map_err(refused)?;
        let mut turn = self.compactions.asked_for();
        let mut elsewhere =
            catalog.map(|catalog| Compactor::new(catalog, self.wiring.clock(), Ids::random()));
        let compactor = elsewhere.as_mut().unwrap_or(&mut turn);
        let done = match how {
            Compaction::Planned => compactor.plan(&ident, Effort::Full),
            Compaction::Done => compactor.compact(&ident, Effort::Full, &mut || !cancelled()),
        };
        Ok(json!(done.map_err(refused)?))
    }

    /// Compacts what has become many small files. Says whether there may be more of it already.
    pub fn keep_up(&self, turn: &Turn<'_>) -> bool {
        let mut again = false;
        for (table, writer) in self.kept_up() {
            if turn.is_over() || self.compactions.is_wanted() {
                return false;
            }
            let done = self.keep_up_one(&table, turn);
            match done.and_then(|done| self.sweep(&table, &writer).map(|()| done)) {
                Ok(done) => again |= done.is_some_and(|done| done.commits > 0),
                Err(error) => {
                    let cause = error.source.as_ref().map(ToString::to_string);
                    tracing::warn!(%table, %error, cause, "a table could not be compacted; it is tried again");
                }
            }
        }
        again
    }

    /// The tables of the embedded catalog that pipelines fill, and those beside them.
    fn kept_up(&self) -> Vec<(TableIdent, Writer)> {
        let is_embedded = |writer: &Writer| matches!(writer.sink(), Some(SinkSpec::Iceberg(sink)) if sink.uri.is_none());
        let is_there = |table: &TableIdent| {
            let embedded = self.wiring.embedded();
            embedded.table_exists(table).unwrap_or(false)
        };
        let writers = self.pipelines.writers().into_iter().filter(is_embedded);
        let tables = writers.flat_map(|writer| {
            let sides = ["", DEAD_LETTERS, LATE].map(|side| writer.table.clone() + side);
            let tables = sides.into_iter().filter_map(|name| parse_table(&name).ok());
            let tables: Vec<TableIdent> = tables.filter(is_there).collect();
            tables.into_iter().map(move |table| (table, writer.clone()))
        });
        tables.collect()
    }

    /// Now and then, removes the pipeline's files that were replaced. Not of a table that several jobs fill: what one of them has
    /// still to commit the others do not know.
    fn sweep(&self, table: &TableIdent, writer: &Writer) -> Result<(), CatalogError> {
        let now = self.wiring.clock().elapsed();
        let last = self.compactions.swept.lock().get(table).copied();
        let writers = self.pipelines.writers().into_iter();
        let alone = writers.filter(|other| other.table == writer.table).count() == 1;
        if !alone || last.is_some_and(|last| now < last + SWEEPS) {
            return Ok(());
        }
        let Some(compactor) = self.compactions.embedded.try_lock() else {
            return Ok(());
        };
        let manifest = || self.pipelines.manifest_of_writer(writer);
        let files = compactor.remove_replaced(table, manifest)?;
        if files > 0 {
            tracing::info!(%table, files, "replaced files were removed");
        }
        self.compactions.swept.lock().insert(table.clone(), now);
        Ok(())
    }

    /// `None`: there was nothing to look at.
    fn keep_up_one(
        &self,
        table: &TableIdent,
        turn: &Turn<'_>,
    ) -> Result<Option<Compacted>, CatalogError> {
        let metadata = self.wiring.embedded().load(table)?.metadata;
        let at = metadata.last_sequence_number();
        let done = self.compactions.done.lock().get(table).copied();
        if at < done.unwrap_or(0) + COMMITS || !is_enabled(&metadata) {
            return Ok(None);
        }
        let Some(mut compactor) = self.compactions.embedded.try_lock() else {
            return Ok(None);
        };
        let clock = self.wiring.clock();
        let mut since = clock.elapsed();
        let mut go_on = || {
            let worked = clock.elapsed().saturating_sub(since);
            if worked < WORKS {
                return true;
            }
            let goes_on = turn.pause(worked * SHARE) && !self.compactions.is_wanted();
            since = clock.elapsed();
            goes_on
        };
        let compacted = compactor.compact(table, Effort::Steady, &mut go_on)?;
        if compacted.commits == 0 {
            self.compactions.done.lock().insert(table.clone(), at);
        } else {
            let Compacted {
                replaced,
                made,
                rows,
                ..
            } = &compacted;
            tracing::info!(%table, replaced, made, rows, "small files were compacted");
        }
        Ok(Some(compacted))
    }
}
