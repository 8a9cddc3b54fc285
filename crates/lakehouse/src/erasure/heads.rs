//! Heads of branches are written anew without the rows that are erased.
//!
//! One commit takes the files with such rows out of a branch, and puts copies in their place that have the others. It is a compaction's
//! commit in all but the number of rows ([`conflicts`](crate::commit::conflicts)), and states the branch's newest marker once more, since
//! the snapshot that has it ends next where that held such rows too. A branch whose head shows none, and whose marker stands in such a
//! snapshot, gets a commit that does no more than that; so does one whose manifests tell of such files that went before.
//!
//! A copy is made once: branches that share a file share what is left of it.

use super::Eraser;
use super::error::EraseError;
use super::files::Part;
use super::look::{Looked, Looker};
use crate::catalog::LoadedTable;
use crate::commit::branch::{Branch, Ref};
use crate::commit::change::{Change, Erase, Made, Removal};
use crate::commit::committer::property_of;
use crate::commit::conflicts::{Conflict, Verdict};
use crate::commit::listing::{Listed, Listing};
use crate::commit::marker::{Marker, erasing, erasure_of, is_base, upholds};
use crate::commit::publish::{Published, Step};
use crate::error::CatalogError;
use crate::replay::Kept;
use crate::upkeep::compaction::files::{Look, copy, look};
use crate::upkeep::compaction::folder;
use crate::upkeep::leftovers::{REACH, file_name};
use iceberg::TableIdent;
use iceberg::spec::{Snapshot, TableMetadata};
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

/// Looks at a head after which it is left to those who change it.
const LOOKS: usize = 10;

/// What is left of files, by their paths.
pub(super) type Copies = HashMap<String, Made>;

/// What was done to a branch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rewritten {
    pub(super) rows: u64,
    pub(super) files: u64,
}

impl Eraser {
    /// Takes what is erased out of a branch's head. `looked` is what the table had before.
    pub(super) fn rewrite(
        &mut self,
        ident: &TableIdent,
        branch: &Ref,
        looker: &mut Looker,
        looked: &Looked,
        copies: &mut Copies,
    ) -> Result<Rewritten, EraseError> {
        let mut done = Rewritten::default();
        let mut last = String::new();
        for _ in 0..LOOKS {
            let loaded = self.load(ident)?;
            let Some(removal) = self.removal(&loaded, branch, looker, looked, copies)? else {
                return Ok(done);
            };
            match self.send(&loaded, branch, &removal)? {
                Verdict::Landed => {
                    done.rows += removal.rows();
                    done.files += removal.removed.len() as u64;
                }
                Verdict::Conflict(why) => last = why.to_string(),
                Verdict::Fits => unreachable!("what fits is sent"),
            }
        }
        Err(EraseError::Busy(last))
    }

    /// What is to be taken out of a head, where that is anything; a removal of nothing states the marker.
    fn removal(
        &mut self,
        loaded: &LoadedTable,
        branch: &Ref,
        looker: &mut Looker,
        looked: &Looked,
        copies: &mut Copies,
    ) -> Result<Option<Removal>, EraseError> {
        let (files, metadata) = (self.publisher.catalog.files().clone(), &*loaded.metadata);
        let Some(head) = branch.head(metadata) else {
            return Ok(None);
        };
        let listing = Listing::of(&files, metadata, Some(head))?;
        let mut removal = Removal {
            sequence: head.sequence_number(),
            removed: Vec::new(),
            copies: Vec::new(),
        };
        let mut rows = 0;
        for (path, listed) in &listing.data {
            let part = looker.part(listed)?;
            if part == Part::Nothing {
                continue;
            }
            let path = path.clone();
            if listing.doubled.contains(&path) {
                return Err(EraseError::Doubled { path });
            }
            if listing.is_hit(listed) {
                return Err(EraseError::Hidden { path });
            }
            rows += part.rows();
            removal.removed.push(listed.clone());
            if let Part::Some(_, kept) = &part {
                if !copies.contains_key(&path) {
                    let made = self.copied(metadata, head, listed, kept)?;
                    copies.insert(path.clone(), made);
                }
                removal.copies.push(copies[&path].clone());
            }
        }
        assert_eq!(
            removal.rows(),
            rows,
            "E2: an erasure takes the rows that were found, and no other"
        );
        let has_to_say = || says_more(metadata, branch, looked);
        Ok((!removal.removed.is_empty() || has_to_say()).then_some(removal))
    }

    /// The rows of a file that stay, in one of their own.
    fn copied(
        &self,
        metadata: &TableMetadata,
        head: &Snapshot,
        listed: &Listed,
        kept: &Kept,
    ) -> Result<Made, EraseError> {
        let files = self.publisher.catalog.files();
        let look: Look = look(files, listed)?
            .map_err(|why| super::files::closed(listed.file.file_path(), why))?;
        let id = self.publisher.ids.next();
        let name = file_name(metadata.uuid(), head.sequence_number(), id);
        let location = format!("{}/{name}", folder(metadata, listed));
        let from = [(listed.clone(), look)];
        let copied = copy(files, metadata, &from, Some(kept), location, &mut || true)?;
        let (made, _) = copied.expect("nobody told it to stop");
        Ok(made)
    }

    fn send(
        &mut self,
        loaded: &LoadedTable,
        branch: &Ref,
        removal: &Removal,
    ) -> Result<Verdict, EraseError> {
        let publisher = &self.publisher;
        let (files, rules) = (publisher.catalog.files().clone(), publisher.rules);
        let (cached, attempt) = (publisher.cached.clone(), publisher.ids.next());
        let (ident, uuid) = (loaded.ident.clone(), loaded.metadata.uuid());
        let paths = paths(removal);
        let decide = |loaded: &LoadedTable, id: i64| -> Result<Step<'_, Verdict>, CatalogError> {
            let metadata = &*loaded.metadata;
            if metadata.uuid() != uuid {
                return Ok(Step::Over(Verdict::Conflict(Conflict::Replaced)));
            }
            let line = Branch::named(metadata, branch);
            if line.snapshots().any(|one| erasure_of(one) == Some(attempt)) {
                return Ok(Step::Over(Verdict::Landed));
            }
            let head = branch.head(metadata);
            let head = Listing::about(&files, metadata, head, &cached, &paths)?;
            let erase = erase(metadata, branch, (attempt, id), removal)?;
            let change = Change::Erase(Box::new(erase));
            let next = metadata.next_sequence_number();
            Ok(match (rules.conflict)(&head, &change) {
                Verdict::Fits if next > removal.sequence + REACH => {
                    Step::Over(Verdict::Conflict(Conflict::Late))
                }
                Verdict::Fits => Step::Send(change),
                verdict => Step::Over(verdict),
            })
        };
        Ok(match self.publisher.publish(&ident, branch, decide)? {
            Published::Landed(_) => Verdict::Landed,
            Published::Over(verdict) => verdict,
            Published::Busy(error) => return Err(EraseError::Busy(error.to_string())),
        })
    }
}

/// Of the files that go and those that come.
fn paths(removal: &Removal) -> HashSet<&str> {
    let removed = removal.removed.iter().map(|one| one.file.file_path());
    let copies = removal.copies.iter().map(|made| made.file.file_path());
    removed.chain(copies).collect()
}

/// The change, as it is for this table: which commit it states once more.
fn erase<'a>(
    metadata: &TableMetadata,
    branch: &Ref,
    (attempt, id): (Uuid, i64),
    removal: &'a Removal,
) -> Result<Erase<'a>, CatalogError> {
    let line = Branch::named(metadata, branch);
    let newest = property_of(metadata, branch)?.filter(|marker| line.holds(marker));
    let has_marker = |one: &&Snapshot| Marker::of_snapshot(one).is_some();
    let of = line.snapshots().find(has_marker);
    let upholds = match branch.is_main() {
        true => newest.as_ref().map(|marker| marker.snapshot_id),
        false => base(&line),
    };
    let stated = newest.map(|marker| marker.named_by(id));
    let seen = || line.newest_marker().map(|marker| marker.named_by(id));
    Ok(Erase {
        marker: stated.clone().or_else(seen),
        property: stated,
        says: erasing(attempt, upholds, of),
        without: removal,
    })
}

/// The first snapshot of a replay's branch, kept or upheld.
fn base(line: &Branch<'_>) -> Option<i64> {
    let base = line.snapshots().find(|one| is_base(one));
    let base = base.map(Snapshot::snapshot_id);
    base.or_else(|| line.snapshots().find_map(upholds))
}

/// What the branch is known by stands in a snapshot that ends, or its head tells of what went.
fn says_more(metadata: &TableMetadata, branch: &Ref, looked: &Looked) -> bool {
    let line = Branch::named(metadata, branch);
    let head = branch.head(metadata).map(Snapshot::snapshot_id);
    let holds = |id: i64| looked.holding.contains(&id);
    let ends = |id: i64| holds(id) && Some(id) != head;
    let marker = line.newest_marker().map(|marker| marker.snapshot_id);
    let first = line.snapshots().find(|one| is_base(one));
    let first = first.map(Snapshot::snapshot_id);
    let is_upheld = |id: i64| line.snapshots().any(|one| upholds(one) == Some(id));
    head.is_some_and(holds)
        || marker.is_some_and(ends)
        || first.is_some_and(|id| ends(id) && !is_upheld(id))
}
