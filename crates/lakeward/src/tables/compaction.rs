//! Compactions: those that somebody asks for, and those by which the server keeps up the tables that its pipelines fill.
//!
//! By itself it looks at a table of the embedded catalog when that has had [`COMMITS`] commits since there was nothing more to
//! do, unless the table says `lakeward.compaction.enabled = false`. It works for a [`SHARE`] of the time, and stands back for
//! whoever asks. Now and then it removes data files that no snapshot lists any more. Catalogs elsewhere have others who look after
//! their tables.

use super::periodic::Turn;
use super::{Tables, refused};
use crate::connectors::Wiring;
use lw_gateway::{Compaction, Refusal};
use lw_graph::SinkSpec;
use lw_lakehouse::upkeep::compaction::{Compacted, Compactor, Effort, is_enabled};
use lw_lakehouse::writer::replaced::Sealed;
use lw_lakehouse::writer::sink::DEAD_LETTERS;
use lw_lakehouse::{CatalogError, Ids, TableCatalog, parse_table};
use lw_query::{Catalogs, TableIdent, table_in_catalog};
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
/// How often it is looked for files that no snapshot lists any more.
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
    /// By a table's uuid, the last sequence number at which there was nothing more to do, or no doing it.
    done: Mutex<HashMap<u128, i64>>,
    /// When such files were looked for last.
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

    pub(super) fn asked_for(&self) -> MutexGuard<'_, Compactor> {
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
        let names = self.names();
        let (within, table) = table_in_catalog(&names, table);
        if within.is_none() {
            self.refuse_delta(table)?;
        }
        let ident = parse_table(table).map_err(refused)?;
        let elsewhere = match within {
            None => self.elsewhere(table),
            Some(name) if self.wiring.keeps_views(Some(name)) => None,
            Some(name) => Some(self.wiring.catalog_named(name)),
        };
        let elsewhere = elsewhere.transpose().map_err(refused)?;
        let mut turn = self.compactions.asked_for();
        let mut own =
            elsewhere.map(|catalog| Compactor::new(catalog, self.wiring.clock(), Ids::random()));
        let is_embedded = own.is_none();
        let compactor = own.as_mut().unwrap_or(&mut turn);
        if how == Compaction::Planned {
            let plan = compactor.plan(&ident, Effort::Full);
            return Ok(json!(plan.map_err(refused)?));
        }
        let done = compactor.compact(&ident, Effort::Full, &mut || !cancelled());
        let done = done.map_err(refused)?;
        // Those that pipelines fill are swept anyway.
        if is_embedded && self.kept_up().iter().all(|(other, _)| *other != ident) {
            let swept = compactor.sweep(&ident, || None);
            if let Err(error) = swept {
                tracing::warn!(table = %ident, %error, "files of old compactions stay");
            }
        }
        Ok(json!(done))
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
                Ok(commits) => again |= commits > 0,
                Err(error) => {
                    let cause = error.source.as_ref().map(ToString::to_string);
                    tracing::warn!(%table, %error, cause, "a table could not be compacted; it is tried again after more commits");
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

    /// Now and then, removes the table's files that no snapshot lists any more.
    fn sweep(&self, table: &TableIdent, writer: &Writer) -> Result<(), CatalogError> {
        let now = self.wiring.clock().elapsed();
        let last = self.compactions.swept.lock().get(table).copied();
        if now < last.unwrap_or_default() + SWEEPS {
            return Ok(());
        }
        let Some(mut compactor) = self.compactions.embedded.try_lock() else {
            return Ok(());
        };
        self.compactions.swept.lock().insert(table.clone(), now);
        let files = compactor.sweep(table, || self.sealed(writer))?;
        if files > 0 {
            tracing::info!(%table, files, "files that no snapshot lists were removed");
        }
        Ok(())
    }

    /// `None` where several jobs fill the table: what one of them is about to seal another's manifest does not tell.
    fn sealed(&self, writer: &Writer) -> Option<Sealed> {
        let writers = self.pipelines.writers().into_iter();
        let alone = writers.filter(|other| other.table == writer.table).count() == 1;
        let manifest = self
            .pipelines
            .manifest_of_writer(writer)
            .filter(|_| alone)?;
        let beside = self.pipelines.manifests_of(writer.pipeline)?;
        Some(Sealed { manifest, beside })
    }

    /// How many commits it took.
    fn keep_up_one(&self, table: &TableIdent, turn: &Turn<'_>) -> Result<u64, CatalogError> {
        let metadata = self.wiring.embedded().load(table)?.metadata;
        let (uuid, at) = (metadata.uuid().as_u128(), metadata.last_sequence_number());
        let done = self.compactions.done.lock().get(&uuid).copied();
        if at < done.unwrap_or(0) + COMMITS || !is_enabled(&metadata) {
            return Ok(0);
        }
        let Some(mut compactor) = self.compactions.embedded.try_lock() else {
            return Ok(0);
        };
        let clock = self.wiring.clock();
        let (mut since, mut stopped) = (clock.elapsed(), false);
        let mut go_on = || {
            let worked = clock.elapsed().saturating_sub(since);
            if worked < WORKS {
                return true;
            }
            stopped = !turn.pause(worked * SHARE) || self.compactions.is_wanted();
            since = clock.elapsed();
            !stopped
        };
        let compacted = compactor.compact(table, Effort::Steady, &mut go_on);
        let looked = || {
            self.compactions.done.lock().insert(uuid, at);
        };
        let Compacted {
            replaced,
            made,
            rows,
            commits,
            gave_up,
            ..
        } = compacted.inspect_err(|_| looked())?;
        match gave_up {
            Some(why) => {
                tracing::warn!(%table, why, "a compaction gave way to others; it is tried again");
            }
            None if commits > 0 => {
                tracing::info!(%table, replaced, made, rows, "small files were compacted");
            }
            None if stopped => {}
            None => looked(),
        }
        Ok(commits)
    }
}
