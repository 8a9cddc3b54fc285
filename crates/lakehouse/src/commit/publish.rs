//! The loop by which every change of ours comes into a table: load → decide → produce → commit → see what became of it.
//!
//! It never retries blindly. Each round loads the table, settles what became of earlier attempts, and asks for a decision
//! about the table as it now is. A conflict only starts another round; after an unknown reply the next round looks whether the
//! commit landed, and sends nothing more: whoever called comes again, later and later.
//!
//! Any refusal of a commit whose table has moved since it was loaded is a conflict, whatever the catalog calls it: a commit
//! to another branch leaves `main` where it was and still makes our sequence number stale, which catalogs answer by 400.

use super::alter;
use super::attempt::{Attempt, Fate, remove};
use super::branch::Ref;
use super::cached::Cached;
use super::change::Change;
use super::rules::Rules;
use super::snapshot::{Produced, SnapshotProducer};
use crate::catalog::{LoadedTable, TableCatalog};
use crate::error::{CatalogError, Kind};
use crate::ids::Ids;
use crate::upkeep::expiry;
use iceberg::TableIdent;
use iceberg::spec::TableMetadata;
use lw_stdx::clock::Clock;
use std::sync::Arc;

/// Rounds of one call, unless its owner has more patience. A table that others change faster than this is left for the next call.
pub(crate) const ROUNDS: usize = 10;
/// Attempts whose fate is asked for. Some stay open for good (the table was replaced, or is of version 1, which has no sequence
/// numbers): the oldest is then forgotten, and its files stay.
const OPEN: usize = 32;

/// Commits to tables of one catalog, and what became of it.
pub(crate) struct Publisher {
    pub(crate) catalog: Arc<dyn TableCatalog>,
    clock: Arc<dyn Clock>,
    pub(crate) ids: Ids,
    pub(crate) rules: Rules,
    pub(crate) rounds: usize,
    /// Manifests that `decide` has read; only for as long as one call takes.
    pub(crate) cached: Cached,
    /// Sent, not confirmed, and not known to be dead.
    attempts: Vec<Attempt>,
}

/// What is to be done about a table as it was loaded.
pub(crate) enum Step<'a, T> {
    Over(T),
    Send(Change<'a>),
}

/// How the loop ended.
pub(crate) enum Published<T> {
    Over(T),
    /// The change is in the table, as this snapshot where it makes one.
    Landed(i64),
    /// Others were faster each time.
    Busy(CatalogError),
}

impl Publisher {
    pub(crate) fn new(
        catalog: Arc<dyn TableCatalog>,
        clock: Arc<dyn Clock>,
        ids: Ids,
        rules: Rules,
    ) -> Publisher {
        Publisher {
            catalog,
            clock,
            ids,
            rules,
            rounds: ROUNDS,
            cached: Cached::default(),
            attempts: Vec::new(),
        }
    }

    /// Brings about what `decide` asks for; it learns the table and the id that the next snapshot would have.
    ///
    /// # Errors
    /// What loading the table or deciding ended with, a refusal, or no reply.
    pub(crate) fn publish<'a, T>(
        &mut self,
        ident: &TableIdent,
        branch: &Ref,
        decide: impl FnMut(&LoadedTable, i64) -> Result<Step<'a, T>, CatalogError>,
    ) -> Result<Published<T>, CatalogError> {
        let published = self.go_round(ident, branch, decide);
        self.cached.forget();
        published
    }

    fn go_round<'a, T>(
        &mut self,
        ident: &TableIdent,
        branch: &Ref,
        mut decide: impl FnMut(&LoadedTable, i64) -> Result<Step<'a, T>, CatalogError>,
    ) -> Result<Published<T>, CatalogError> {
        let mut last: Option<CatalogError> = None;
        for _ in 0..self.rounds {
            let table = self.catalog.load(ident)?;
            self.settle(ident, &table.metadata);
            let id = self.ids.next_snapshot();
            let change = match decide(&table, id)? {
                Step::Over(over) => return Ok(Published::Over(over)),
                Step::Send(change) => change,
            };
            match last.take() {
                Some(error) if error.kind == Kind::Unknown => return Err(error),
                _ => {}
            }
            match self.send(&table, branch, &change, id)? {
                None => return Ok(Published::Landed(id)),
                Some(error) => last = Some(error),
            }
        }
        let last = last.expect("each round ended with an error");
        match last.kind {
            Kind::Unknown => Err(last),
            _ => Ok(Published::Busy(last)),
        }
    }

    /// `Some`: a conflict, or no reply.
    fn send(
        &mut self,
        table: &LoadedTable,
        branch: &Ref,
        change: &Change<'_>,
        id: i64,
    ) -> Result<Option<CatalogError>, CatalogError> {
        let (ident, metadata) = (&table.ident, &table.metadata);
        let produced = self.produce(table, branch, change, id)?;
        // What writes nothing leaves nothing.
        if !produced.written.is_empty() {
            self.attempts.push(Attempt {
                table: ident.clone(),
                table_uuid: metadata.uuid(),
                snapshot_id: produced.snapshot_id,
                sequence: produced.sequence,
                written: produced.written,
                before: metadata.clone(),
                expired: produced.expired,
            });
        }
        if self.attempts.len() > OPEN {
            self.attempts.remove(0);
        }
        let sent = self
            .catalog
            .commit(ident, produced.requirements, produced.updates);
        match sent {
            Ok(after) => {
                self.settle(ident, &after.metadata);
                Ok(None)
            }
            Err(error) if matches!(error.kind, Kind::CommitFailed | Kind::Unknown) => {
                Ok(Some(error))
            }
            Err(error) if matches!(error.kind, Kind::BadRequest | Kind::Unprocessable) => {
                if self.catalog.load(ident)?.metadata == *metadata {
                    return Err(error);
                }
                let message = error.message.clone();
                let moved = CatalogError::caused(Kind::CommitFailed, message, error);
                Ok(Some(moved))
            }
            Err(error) => Err(error),
        }
    }

    /// Makes the snapshot, where the change has one, and sends nothing.
    pub(crate) fn produce(
        &self,
        table: &LoadedTable,
        branch: &Ref,
        change: &Change<'_>,
        snapshot_id: i64,
    ) -> Result<Produced, CatalogError> {
        match change {
            Change::MoveRef(moved) => {
                return Ok(moved.produce(&table.metadata, branch, snapshot_id));
            }
            Change::Columns(schema) => {
                return Ok(alter::produce(&table.metadata, schema, snapshot_id));
            }
            Change::Properties { set, removed } => {
                let metadata = &table.metadata;
                return Ok(alter::produce_properties(
                    metadata,
                    set,
                    removed,
                    snapshot_id,
                ));
            }
            Change::Expire { gone, set } => {
                return Ok(expiry::produce(&table.metadata, gone, set, snapshot_id));
            }
            Change::Append { .. }
            | Change::Rewrite(_)
            | Change::Fork { .. }
            | Change::Promote(_)
            | Change::Erase(_) => {}
        }
        (self.rules.admit)(&table.ident, &table.metadata)?;
        SnapshotProducer {
            files: self.catalog.files(),
            cached: &self.cached,
            metadata: &table.metadata,
            branch,
            change,
            snapshot_id,
            now_ms: self.clock.now_ms(),
            commit: self.ids.next(),
            rules: &self.rules,
        }
        .produce()
    }

    /// Removes what attempts left: those that can no longer land, what they wrote; those that did, the files of the snapshots
    /// that they expired.
    fn settle(&mut self, ident: &TableIdent, metadata: &TableMetadata) {
        let files = self.catalog.files();
        let rules = self.rules;
        self.attempts.retain(|attempt| {
            if attempt.table != *ident {
                return true;
            }
            match (rules.fate)(attempt, files, metadata) {
                Ok(Fate::Dead) => {
                    let named =
                        |file: &String| metadata.snapshots().any(|one| one.manifest_list() == file);
                    assert!(
                        !attempt.written.iter().any(named),
                        "C1: no manifest list that the table names is removed"
                    );
                    remove(files, &attempt.written);
                    false
                }
                Ok(Fate::Landed) => {
                    match expiry::unnamed(files, &attempt.before, metadata, &attempt.expired) {
                        Ok(unnamed) => remove(files, &unnamed),
                        Err(error) => {
                            tracing::warn!(table = %ident, %error, "files of expired snapshots stay");
                        }
                    }
                    false
                }
                Ok(Fate::Open) => true,
                Err(error) => {
                    tracing::warn!(table = %ident, %error, "files of an earlier commit stay");
                    true
                }
            }
        });
    }
}
