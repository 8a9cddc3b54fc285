//! What a head has of a range: which files, how much of each, and whether somebody may have deleted rows of them.
//!
//! A file that has none of the range stays, whoever made it. What nobody can tell is refused: files of others that may hold rows of
//! ours, and files that cannot be cut where the range begins or ends.

use super::carve::{Kept, Offsets, Part, Whole, part};
use super::range::ReplayError;
use crate::commit::change::{Made, Removal};
use crate::commit::listing::{Listed, Listing};
use crate::error::CatalogError;
use crate::ids::Ids;
use crate::storage::Files;
use crate::upkeep::compaction::files::{Look, Origins, copy, look};
use crate::upkeep::compaction::folder;
use crate::upkeep::leftovers::{REACH, file_name};
use crate::view::Footers;
use crate::writer::runs::Run;
use iceberg::spec::{Operation, Snapshot, TableMetadata};
use std::collections::HashMap;
use std::thread;

/// So many threads look at files, each at no fewer than this.
const READERS: usize = 8;
const EACH: usize = 16;

/// A file by its path, or why it cannot be copied.
type Seen = (String, Result<Look, &'static str>);

/// Files that were looked at: none of them changes.
#[derive(Default)]
pub(crate) struct Looks {
    footers: Footers,
    by_path: HashMap<String, Result<Look, &'static str>>,
    /// What stays of files that were cut, with the sequence number that it was read by.
    copies: HashMap<String, (Kept, i64, Made)>,
}

/// The files that have some of a range.
pub(super) struct Survey {
    found: Vec<Found>,
}

struct Found {
    listed: Listed,
    look: Option<Look>,
    part: Part,
    is_hit: bool,
}

impl Looks {
    /// Looks at all files of a head. From a store each look takes as long as its answers, so there are several at a time.
    fn at(&mut self, files: &Files, listing: &Listing) -> Result<(), CatalogError> {
        let is_new = |(path, _): &(&String, &Listed)| !self.by_path.contains_key(*path);
        let new: Vec<(&String, &Listed)> = listing.data.iter().filter(is_new).collect();
        let each = new.len().div_ceil(READERS).max(EACH);
        let seen = thread::scope(|scope| {
            let parts = new.chunks(each);
            let readers: Vec<_> = parts
                .map(|part| scope.spawn(move || look_at(files, part)))
                .collect();
            let seen = readers.into_iter().map(|reader| {
                let seen = reader.join();
                seen.expect("a look at a file does not panic")
            });
            seen.collect::<Result<Vec<Vec<Seen>>, CatalogError>>()
        })?;
        self.by_path.extend(seen.into_iter().flatten());
        Ok(())
    }
}

fn look_at(files: &Files, part: &[(&String, &Listed)]) -> Result<Vec<Seen>, CatalogError> {
    let each = part.iter();
    each.map(|(path, listed)| Ok(((*path).clone(), look(files, listed)?)))
        .collect()
}

impl Survey {
    /// `is_all`: every row that came through a pipeline is of the range, aggregates too.
    ///
    /// # Errors
    /// What nobody can tell.
    pub(super) fn of(
        files: &Files,
        metadata: &TableMetadata,
        listing: &Listing,
        (range, is_all): (&Offsets, bool),
        looks: &mut Looks,
    ) -> Result<Survey, ReplayError> {
        let mut found = Vec::new();
        looks.at(files, listing)?;
        for (path, listed) in &listing.data {
            let look = looks.by_path[path].clone();
            let is_ours = || match &look {
                Ok(look) => Ok(look.origins != Origins::Foreign),
                Err(_) => looks.footers.runs(files, path).map(|runs| runs.is_some()),
            };
            let part = if is_all && is_ours()? {
                Part::All
            } else if look.is_err() && is_ours()? {
                // Rows of aggregates beside others, or a file that cannot be copied: which of its rows are of the range nobody can tell.
                return Err(ReplayError::Derived { path: path.clone() });
            } else if let Some(runs) = runs(metadata, listed, look.as_ref().ok())? {
                part(runs, range).map_err(|Whole(run)| uncut(path, &run, range))?
            } else {
                Part::Nothing
            };
            if part == Part::Nothing {
                continue;
            }
            if listing.doubled.contains(path) {
                return Err(ReplayError::Doubled { path: path.clone() });
            }
            found.push(Found {
                is_hit: listing.is_hit(listed),
                listed: listed.clone(),
                look: look.ok(),
                part,
            });
        }
        Ok(Survey { found })
    }

    /// Rows of the range, those included that deletes hide.
    pub(super) fn rows(&self) -> u64 {
        let rows = self.found.iter().map(|one| {
            let kept: u64 = match &one.part {
                Part::Some(kept) => kept.rows.iter().map(|rows| rows.end - rows.start).sum(),
                Part::All | Part::Nothing => 0,
            };
            one.listed.file.record_count() - kept
        });
        rows.sum()
    }

    /// A file of which somebody may have deleted rows.
    pub(super) fn hit(&self) -> Option<&str> {
        let hit = self.found.iter().find(|one| one.is_hit);
        hit.map(|one| one.listed.file.file_path())
    }

    /// The same, of those that have other rows, too.
    pub(super) fn cut_and_hit(&self) -> Option<&str> {
        let cut = |one: &&Found| one.is_hit && matches!(one.part, Part::Some(_));
        self.found
            .iter()
            .find(cut)
            .map(|one| one.listed.file.file_path())
    }

    /// What goes, with what stays of files that have other rows copied; `written` gets the files that are made for that.
    pub(super) fn removal(
        &self,
        (files, metadata): (&Files, &TableMetadata),
        head: &Snapshot,
        ids: &Ids,
        looks: &mut Looks,
        written: &mut Vec<String>,
    ) -> Result<Removal, CatalogError> {
        let mut removal = Removal {
            sequence: head.sequence_number(),
            removed: Vec::new(),
            copies: Vec::new(),
        };
        for one in &self.found {
            removal.removed.push(one.listed.clone());
            let (Part::Some(kept), Some(look)) = (&one.part, &one.look) else {
                continue;
            };
            let path = one.listed.file.file_path().to_owned();
            let known = looks.copies.get(&path).filter(|(same, at, _)| {
                // The sweep leaves it alone as long as a request of before could name it.
                same == kept && removal.sequence < at + REACH / 2
            });
            let made = match known {
                Some((_, _, made)) => made.clone(),
                None => {
                    let name = file_name(metadata.uuid(), removal.sequence, ids.next());
                    let location = format!("{}/{name}", folder(metadata, &one.listed));
                    written.push(location.clone());
                    let from = [(one.listed.clone(), look.clone())];
                    let copied = copy(files, metadata, &from, Some(kept), location, &mut || true)?;
                    let (made, _) = copied.expect("nobody told it to stop");
                    let copy = (kept.clone(), removal.sequence, made.clone());
                    looks.copies.insert(path, copy);
                    made
                }
            };
            removal.copies.push(made);
        }
        Ok(removal)
    }
}

/// The runs of a file of ours; `None` for one that another writer appended, which has nothing of the log.
fn runs<'a>(
    metadata: &TableMetadata,
    listed: &Listed,
    look: Option<&'a Look>,
) -> Result<Option<&'a [Run]>, ReplayError> {
    let path = || listed.file.file_path().to_owned();
    match look.map(|look| &look.origins) {
        Some(Origins::Listed(runs)) => Ok(Some(runs)),
        Some(Origins::Derived) => Err(ReplayError::Derived { path: path() }),
        Some(Origins::Foreign) | None => {
            let snapshot = metadata.snapshot_by_id(listed.snapshot);
            let operation = snapshot.map(|snapshot| snapshot.summary().operation.clone());
            match operation {
                Some(Operation::Append) => Ok(None),
                Some(other) => Err(ReplayError::Foreign {
                    path: path(),
                    snapshot: format!("of snapshot {} ({})", listed.snapshot, other.as_str()),
                }),
                None => Err(ReplayError::Foreign {
                    path: path(),
                    snapshot: format!("of snapshot {}, which is gone", listed.snapshot),
                }),
            }
        }
    }
}

/// Where the range would have to cut the run.
fn uncut(path: &str, run: &Run, offsets: &Offsets) -> ReplayError {
    let cut = offsets.get(&(run.topic.clone(), run.partition));
    let inside = |at: &i64| run.first < *at && *at <= run.last;
    let ends = cut.map(|cut| [cut.start, cut.end]).into_iter().flatten();
    ReplayError::Uncut {
        path: path.to_owned(),
        topic: run.topic.clone(),
        partition: run.partition,
        offset: ends.into_iter().find(inside).unwrap_or(run.first),
        first: run.first,
        last: run.last,
    }
}
