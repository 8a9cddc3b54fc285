//! How a replay's branch begins: as `main` is, less the rows of the range.
//!
//! 1. The head of `main` is listed. A file that has none of the range stays, whoever made it; one that has only rows of the range is
//!    left out; one that has both is copied without them.
//! 2. What nobody can tell is refused: files of others that may hold rows of ours, files of which rows were deleted, files that cannot
//!    be cut where the range begins or ends.
//! 3. One commit makes the branch and its first snapshot, with a marker of the replay: where each partition of the range begins, and
//!    which range it is. The replay's job goes on behind it ([`crate::commit::decide`]).
//!
//! `main` may move on meanwhile; the branch follows on the head by which the range was chosen. A branch that nothing was committed to, of a replay
//! that nobody knows, is what a crash has left between this and the replay's record: it is dropped, and made anew.

use super::range::{Facts, ReplayError, ReplayRange};
use super::survey::{Looks, Survey};
use crate::catalog::{LoadedTable, TableCatalog};
use crate::commit::attempt::remove;
use crate::commit::branch::{Branch, Ref, ancestors};
use crate::commit::change::{Change, Removal};
use crate::commit::committer::{property, property_of, starts};
use crate::commit::listing::Listing;
use crate::commit::marker::{Ends, Marker, REPLAY, is_upkeep, to_ends};
use crate::commit::moves::{At, MoveRef, RefError};
use crate::commit::publish::{Published, Publisher, Step};
use crate::commit::rules::Rules;
use crate::error::{CatalogError, Kind};
use crate::ids::Ids;
use crate::upkeep::leftovers::REACH;
use crate::upkeep::refs::Refs;
use iceberg::TableIdent;
use iceberg::spec::{MAIN_BRANCH, Operation, Snapshot, TableMetadata};
use lw_runtime::connector::Owner;
use lw_runtime::manifest::SplitOffset;
use lw_stdx::clock::Clock;
use serde::Serialize;
use std::sync::Arc;
use uuid::Uuid;

/// So often a branch is tried to begin while a pipeline commits several times a second.
const ROUNDS: usize = 50;

/// Begins the branches of replays, of tables of one catalog.
pub struct Replays {
    pub(super) publisher: Publisher,
}

/// A branch that is to begin.
pub struct Wanted<'a> {
    pub branch: &'a str,
    /// The replay's.
    pub owner: &'a Owner,
    pub range: &'a ReplayRange,
    /// The snapshot of `main` that the range was chosen by.
    pub head: i64,
    /// Whether a pipeline is there, by its id.
    pub is_known: &'a dyn Fn(Uuid) -> bool,
}

/// A branch that has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forked {
    /// The commit that made it.
    pub commit: Uuid,
    /// Its first snapshot, and that of `main` it was made from.
    pub base: i64,
    pub fork: i64,
    /// Rows of the range in `main`, which it has not.
    pub rows: u64,
    /// Files that were left out, and of them those that were copied in part.
    pub files: u64,
    pub cut: u64,
    /// Snapshots by which others took rows out of `main`, or changed some, and what those did: where such rows are of the range, they
    /// come back.
    pub others: Vec<(i64, String)>,
}

/// The ids of a branch's snapshots, as far as they are kept.
pub fn branch_ids(table: &LoadedTable, branch: &str) -> Vec<i64> {
    Branch::named(&table.metadata, &Ref::named(branch)).ids()
}

/// What the first snapshot of a branch says of the replay.
#[derive(Serialize)]
struct Says {
    from: Ends,
    until: Ends,
}

enum Outcome {
    Landed(i64),
    Exists(i64),
    /// What it was made from is gone, or too long ago.
    Stale,
}

impl Replays {
    pub fn new(catalog: Arc<dyn TableCatalog>, clock: Arc<dyn Clock>, ids: Ids) -> Replays {
        let mut publisher = Publisher::new(catalog, clock, ids, Rules::OURS);
        publisher.rounds = ROUNDS;
        Replays { publisher }
    }

    /// What the table accounts for; where the log begins is not the table's to say.
    ///
    /// # Errors
    /// When nothing was committed to it, or it cannot be read.
    pub fn facts(&self, table: &TableIdent) -> Result<Facts, ReplayError> {
        let metadata = self.publisher.catalog.load(table)?.metadata;
        let visible = Branch::of(&metadata).newest_marker();
        let ends = visible.ok_or(ReplayError::NoSnapshot)?.ends();
        let begins = property(&metadata)?.map(|marker| marker.begins());
        let mut begins = begins.unwrap_or_default();
        // Tables of older versions do not say where they begin.
        for start in starts(&metadata, &Ref::main()) {
            if !begins.iter().any(|begin| begin.same_split(&start)) {
                begins.push(start);
            }
        }
        Ok(Facts {
            begins,
            ends,
            head: metadata.current_snapshot_id().unwrap_or_default(),
            log: Vec::new(),
        })
    }

    /// Where the table ended at a place of its history.
    ///
    /// # Errors
    /// When there is no such place, or nothing of the pipeline was there.
    pub fn ends_at(&self, table: &TableIdent, at: &At) -> Result<Vec<SplitOffset>, RefError> {
        let metadata = self.publisher.catalog.load(table)?.metadata;
        let snapshot = at.snapshot(&metadata)?;
        let marker = Branch::at(&metadata, Some(snapshot)).newest_marker();
        Ok(marker.ok_or(RefError::Empty)?.ends())
    }

    /// Makes the branch.
    ///
    /// # Errors
    /// Why it is not made. After an error of the catalog it may be there nevertheless.
    pub fn fork(&mut self, table: &TableIdent, wanted: &Wanted<'_>) -> Result<Forked, ReplayError> {
        self.check_name(table, wanted)?;
        let commit = self.publisher.ids.next();
        let loaded = self.publisher.catalog.load(table)?;
        let head = loaded.metadata.snapshot_by_id(wanted.head);
        let head = head.ok_or_else(gone)?;
        let mut written = Vec::new();
        let removal = self.removal(&loaded, head, wanted.range, &mut written);
        let removal = removal.inspect_err(|_| {
            // No request was made that names them.
            remove(self.publisher.catalog.files(), &written);
        })?;
        // What no request of ours can bring in any more is found by the sweep, by its name.
        match self.publish(&loaded, head, &removal, commit, wanted)? {
            Outcome::Landed(base) => Ok(forked(&loaded.metadata, head, commit, base, &removal)),
            Outcome::Stale => Err(gone()),
            Outcome::Exists(snapshot_id) => Err(ReplayError::Exists {
                branch: wanted.branch.to_owned(),
                snapshot_id,
            }),
        }
    }

    /// Lets the name be free in a table that stands beside another, which may not be there.
    ///
    /// # Errors
    /// As [`Replays::fork`].
    pub fn clear(&mut self, table: &TableIdent, wanted: &Wanted<'_>) -> Result<(), ReplayError> {
        match self.free(table, wanted, |_, _| true) {
            Err(ReplayError::Catalog(error)) if error.kind == Kind::NoSuchTable => Ok(()),
            freed => freed,
        }
    }

    fn check_name(&mut self, table: &TableIdent, wanted: &Wanted<'_>) -> Result<(), ReplayError> {
        if wanted.branch.is_empty() || wanted.branch == MAIN_BRANCH {
            return Err(ReplayError::Name(
                "a replay's branch needs a name, other than main",
            ));
        }
        // What a crash has left has nothing in it.
        self.free(table, wanted, |marker, head| {
            marker.sequence == 0 && marker.snapshot_id == head
        })
    }

    /// Drops the branch where it is of a replay that nobody knows, and `may_go` says that of its marker and head.
    fn free(
        &mut self,
        table: &TableIdent,
        wanted: &Wanted<'_>,
        may_go: fn(&Marker, i64) -> bool,
    ) -> Result<(), ReplayError> {
        let metadata = self.publisher.catalog.load(table)?.metadata;
        let refs = Refs::of(&metadata);
        let Some(there) = refs.get(wanted.branch) else {
            return Ok(());
        };
        if !there.is_branch() {
            return Err(ReplayError::Name("there is a tag of this name"));
        }
        let branch = Ref::named(wanted.branch);
        let marker = property_of(&metadata, &branch)?;
        let is_left = marker.is_some_and(|marker| {
            may_go(&marker, there.snapshot_id) && !(wanted.is_known)(marker.pipeline)
        });
        if !is_left {
            return Err(ReplayError::Exists {
                branch: wanted.branch.to_owned(),
                snapshot_id: there.snapshot_id,
            });
        }
        let at = there.snapshot_id;
        let decide = |loaded: &LoadedTable, _: i64| -> Result<Step<'_, ()>, CatalogError> {
            let now = branch.head(&loaded.metadata).map(Snapshot::snapshot_id);
            Ok(match now == Some(at) {
                true => Step::Send(Change::MoveRef(MoveRef::gone())),
                false => Step::Over(()),
            })
        };
        match self.publisher.publish(table, &branch, decide)? {
            Published::Over(()) | Published::Landed(_) => Ok(()),
            Published::Busy(error) => Err(ReplayError::Busy(error.to_string())),
        }
    }

    fn publish(
        &mut self,
        table: &LoadedTable,
        head: &Snapshot,
        removal: &Removal,
        commit: Uuid,
        wanted: &Wanted<'_>,
    ) -> Result<Outcome, ReplayError> {
        let branch = Ref::named(wanted.branch);
        let (uuid, fork) = (table.metadata.uuid(), head.snapshot_id());
        let says = Says {
            from: to_ends(&wanted.range.from),
            until: to_ends(&wanted.range.until),
        };
        let says = serde_json::to_string(&says).expect("maps of numbers");
        let decide = |loaded: &LoadedTable, id: i64| -> Result<Step<'_, Outcome>, CatalogError> {
            let metadata = &loaded.metadata;
            if let Some(there) = branch.head(metadata) {
                let marker = property_of(metadata, &branch)?;
                let own = marker.filter(|marker| marker.uuid == commit);
                return Ok(Step::Over(match own {
                    Some(marker) => Outcome::Landed(marker.snapshot_id),
                    None => Outcome::Exists(there.snapshot_id()),
                }));
            }
            let is_late = metadata.next_sequence_number() > removal.sequence + REACH;
            if metadata.uuid() != uuid || is_late || metadata.snapshot_by_id(fork).is_none() {
                return Ok(Step::Over(Outcome::Stale));
            }
            Ok(Step::Send(Change::Fork {
                marker: Box::new(Marker::begun(wanted.owner, commit, id, &wanted.range.from)),
                says: (REPLAY, says.clone()),
                from: fork,
                without: removal,
            }))
        };
        match self.publisher.publish(&table.ident, &branch, decide)? {
            Published::Over(outcome) => Ok(outcome),
            Published::Landed(base) => Ok(Outcome::Landed(base)),
            Published::Busy(error) => Err(ReplayError::Busy(error.to_string())),
        }
    }

    /// The rows of the range in this head; what has to be copied is copied.
    fn removal(
        &self,
        table: &LoadedTable,
        head: &Snapshot,
        range: &ReplayRange,
        written: &mut Vec<String>,
    ) -> Result<Removal, ReplayError> {
        let (files, metadata) = (self.publisher.catalog.files(), &table.metadata);
        let listing = Listing::of(files, metadata, Some(head))?;
        let range = (&range.offsets(), range.is_all());
        let mut looks = Looks::default();
        let survey = Survey::of(files, metadata, &listing, range, &mut looks)?;
        if let Some(path) = survey.hit() {
            let path = path.to_owned();
            return Err(ReplayError::Deleted { path });
        }
        let (table, ids) = ((files, &**metadata), &self.publisher.ids);
        Ok(survey.removal(table, head, ids, &mut looks, written)?)
    }
}

fn gone() -> ReplayError {
    ReplayError::Busy("the snapshot that the branch was to begin from is gone".to_owned())
}

/// Somebody else took rows out, or changed some.
pub(super) fn is_of_others(snapshot: &&Snapshot) -> bool {
    Marker::of_snapshot(snapshot).is_none()
        && !is_upkeep(snapshot)
        && snapshot.summary().operation != Operation::Append
}

fn forked(
    metadata: &TableMetadata,
    head: &Snapshot,
    commit: Uuid,
    base: i64,
    removal: &Removal,
) -> Forked {
    let gone = removal.removed.iter().map(|one| one.file.record_count());
    let copied = removal.copies.iter().map(|made| made.file.record_count());
    let others = ancestors(metadata, Some(head.snapshot_id())).filter(is_of_others);
    Forked {
        commit,
        base,
        fork: head.snapshot_id(),
        rows: gone.sum::<u64>() - copied.sum::<u64>(),
        files: removal.removed.len() as u64,
        cut: removal.copies.len() as u64,
        others: others
            .map(|one| {
                (
                    one.snapshot_id(),
                    one.summary().operation.as_str().to_owned(),
                )
            })
            .collect(),
    }
}
