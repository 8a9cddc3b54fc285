//! How copies come into their table, and what becomes of those that do not.
//!
//! The pipeline goes on meanwhile, and its commits do not matter to a rewrite: so whenever it was faster, the same copies are offered to the
//! new head, of which only what is new is read. What can be in the way for good is a delete or an overwrite.

use super::leftovers::Leftover;
use super::{Compacted, Compactor, DOUBTFUL};
use crate::catalog::LoadedTable;
use crate::commit::attempt::Fate;
use crate::commit::branch::Ref;
use crate::commit::change::{Change, Rewrite};
use crate::commit::conflicts::{Conflict, Verdict};
use crate::commit::listing::Listing;
use crate::commit::publish::{Published, Step};
use crate::error::CatalogError;
use iceberg::TableIdent;
use iceberg::spec::TableMetadata;
use std::collections::HashSet;
use std::sync::Arc;
use uuid::Uuid;

/// Files that were written, to be brought into their table.
pub(crate) struct Prepared {
    pub(super) ident: TableIdent,
    pub(super) table: Uuid,
    pub(super) rewrite: Rewrite,
    pub(super) arrow_bytes: u64,
    /// Nothing that the look found is left for another commit.
    pub(super) is_all: bool,
}

impl Prepared {
    /// What it adds to the report of a compaction.
    pub(super) fn report(&self) -> Compacted {
        let removed = self.rewrite.removed();
        Compacted {
            replaced: removed.len() as u64,
            rows: removed.iter().map(|one| one.file.record_count()).sum(),
            made: self.rewrite.added().len() as u64,
            arrow_bytes: self.arrow_bytes,
            ..Compacted::default()
        }
    }
}

/// What became of them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Landed,
    Conflict(String),
}

impl Compactor {
    /// Brings the copies into the table.
    ///
    /// # Errors
    /// When the table cannot be loaded, refuses us, or does not answer: then they may land yet.
    pub(crate) fn publish(&mut self, prepared: Prepared) -> Result<Outcome, CatalogError> {
        let Prepared {
            ident,
            table,
            rewrite,
            ..
        } = prepared;
        let publisher = &self.publisher;
        let (files, rules) = (publisher.catalog.files().clone(), publisher.rules);
        let (branch, cached) = (Ref::main(), publisher.cached.clone());
        let (reach, rewrite) = (self.reach, &rewrite);
        let paths = paths(rewrite);
        let mut asked = None;
        let decide = |loaded: &LoadedTable, _: i64| -> Result<Step<'_, Verdict>, CatalogError> {
            let metadata = &loaded.metadata;
            if metadata.uuid() != table {
                return Ok(Step::Over(Verdict::Conflict(Conflict::Replaced)));
            }
            let head = branch.head(metadata);
            let head = Listing::about(&files, metadata, head, &cached, &paths)?;
            let change = Change::Rewrite(rewrite);
            let next = metadata.next_sequence_number();
            Ok(match (rules.conflict)(&head, &change) {
                Verdict::Fits if next > rewrite.sequence() + reach => {
                    Step::Over(Verdict::Conflict(Conflict::Late))
                }
                Verdict::Fits => {
                    asked = Some(next);
                    Step::Send(change)
                }
                verdict => Step::Over(verdict),
            })
        };
        let published = self.publisher.publish(&ident, &branch, decide);
        let why = match published {
            Ok(Published::Landed(_) | Published::Over(Verdict::Landed)) => {
                return Ok(Outcome::Landed);
            }
            Ok(Published::Over(Verdict::Conflict(conflict))) => Ok(conflict.to_string()),
            Ok(Published::Over(Verdict::Fits)) => unreachable!("what fits is sent"),
            Ok(Published::Busy(error)) => {
                let rounds = self.publisher.rounds;
                Ok(format!("other commits were faster {rounds} times: {error}"))
            }
            Err(error) => Err(error),
        };
        let added = rewrite.added().iter();
        let leftover = Leftover {
            table,
            paths: added.map(|made| made.file.file_path().to_owned()).collect(),
            asked,
        };
        match self.publisher.catalog.load(&ident) {
            Ok(loaded) => self.give_up(&ident, leftover, &loaded.metadata),
            Err(_) => self.doubtful.push((ident, leftover)),
        }
        why.map(Outcome::Conflict)
    }

    /// What came into no table goes, as soon as it can be told.
    pub(crate) fn give_up(
        &mut self,
        ident: &TableIdent,
        leftover: Leftover,
        metadata: &Arc<TableMetadata>,
    ) {
        self.doubtful.push((ident.clone(), leftover));
        if self.doubtful.len() > DOUBTFUL {
            self.doubtful.remove(0);
        }
        self.settle(ident, metadata);
    }

    /// Removes the files of this process's compactions that can no longer land.
    pub(super) fn settle(&mut self, ident: &TableIdent, metadata: &Arc<TableMetadata>) {
        let catalog = &self.publisher.catalog;
        let load = || catalog.load(ident);
        let fate = self.publisher.rules.leftover;
        self.doubtful.retain(|(table, leftover)| {
            if table != ident {
                return true;
            }
            match leftover.settle(catalog.files(), metadata, &load, fate) {
                Ok(fate) => fate == Fate::Open,
                Err(error) => {
                    tracing::warn!(table = %ident, %error, "files of a compaction stay");
                    true
                }
            }
        });
    }
}

/// Of the files that go and those that come.
fn paths(rewrite: &Rewrite) -> HashSet<&str> {
    let removed = rewrite.removed().iter().map(|one| &one.file);
    let added = rewrite.added().iter().map(|one| &one.file);
    removed.chain(added).map(|file| file.file_path()).collect()
}
