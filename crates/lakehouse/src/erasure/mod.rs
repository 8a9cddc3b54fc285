//! Erasure: the rows of a key leave a table for good, and no replay brings them back.
//!
//! ```text
//!   recorded ──► heads written anew ──► snapshots ended ──► files removed ──► done
//!   `record`      `heads`                `ends`              `ends`
//! ```
//!
//! 1. What is erased is written into a property of the table ([`record`]): hashes of a key's values, and up to which offsets. From then on
//!    nothing of ours writes such a row (`writer/erased.rs`), so every later step can be done again from any point.
//! 2. Each branch's head is written anew without the rows ([`heads`]).
//! 3. Every snapshot that held one ends, but those that a branch or a tag names, and the files go at once ([`ends`]).
//! 4. All files that the table has are looked into once more ([`look`]). When none has such a row, the erasure is done; else it says what
//!    stays, and why.
//!
//! What it is not: it takes nothing out of the log, whose records stay until retention takes them, and asks nobody who has copied the table.

mod ends;
mod error;
pub(crate) mod files;
mod heads;
mod look;
mod mentions;
mod predicate;
mod record;
mod values;

pub use error::EraseError;
pub use mentions::Mention;
pub use predicate::{Misread, Predicate};
pub(crate) use record::PROPERTY;
pub use record::{Entry, Erased, Stage};

use crate::catalog::{LoadedTable, TableCatalog};
use crate::commit::branch::Ref;
use crate::commit::change::Change;
use crate::commit::committer::property;
use crate::commit::listing::Listing;
use crate::commit::marker::to_ends;
use crate::commit::moves::MoveRef;
use crate::commit::publish::{Published, Publisher, Step};
use crate::commit::rules::Rules;
use crate::error::CatalogError;
use crate::ids::Ids;
use crate::replay::Kept;
use crate::upkeep::refs::Refs;
use arrow_array::RecordBatch;
use files::Part;
use heads::Copies;
use iceberg::TableIdent;
use iceberg::spec::{MAIN_BRANCH, TableMetadata};
use look::{Looked, Looker};
use lw_runtime::manifest::{Manifest, SplitOffset};
use lw_stdx::clock::Clock;
use record::New;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use uuid::Uuid;

/// So often a step is tried while others commit several times a second.
const ROUNDS: usize = 50;

/// Erases from tables of one catalog, which is this process's own: whoever compacts its tables has to wait meanwhile.
pub struct Eraser {
    publisher: Publisher,
    clock: Arc<dyn Clock>,
}

/// What an erasure did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Erasure {
    /// By branch, the rows that its head showed.
    pub rows: BTreeMap<String, u64>,
    /// Files that had some of those.
    pub files: u64,
    /// Snapshots that end.
    pub snapshots: u64,
    /// Files that were removed.
    pub removed: u64,
    /// Tags at snapshots that hold rows of the key, and these snapshots.
    pub tags: BTreeMap<String, i64>,
    /// Records from there on are new data.
    pub below: Vec<SplitOffset>,
    /// What has rows of the key yet.
    pub left: Vec<Left>,
}

/// What has rows of the key yet, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Left {
    pub what: String,
    pub why: String,
}

/// Where rows came from: topic, partition, an offset of the run, and whether that is the row's own.
pub type CameFrom = Vec<(String, i32, i64, bool)>;

/// What of pipelines has to be known before a file of theirs goes.
pub struct Pipelines<'a> {
    /// The manifests of all jobs that a pipeline has or had, by its id; `None` where they cannot be read.
    pub manifests: &'a dyn Fn(Uuid) -> Option<Vec<Manifest>>,
}

/// What becomes of tags at snapshots that hold rows of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tags {
    /// They stay, and what they name.
    Stay,
    Go,
}

impl Eraser {
    pub fn new(catalog: Arc<dyn TableCatalog>, clock: Arc<dyn Clock>, ids: Ids) -> Eraser {
        let mut publisher = Publisher::new(catalog, clock.clone(), ids, Rules::OURS);
        publisher.rounds = ROUNDS;
        Eraser { publisher, clock }
    }

    /// What [`begin`](Eraser::begin) and [`go_on`](Eraser::go_on) would do. Nothing is written.
    ///
    /// # Errors
    /// Why they would not.
    pub fn plan(&self, ident: &TableIdent, predicate: &Predicate) -> Result<Erasure, EraseError> {
        let metadata = self.load(ident)?.metadata;
        let entry = self.entry_of(predicate)(&metadata)?;
        let mut looker = self.looker(vec![entry.clone()]);
        check_end(&mut looker, &metadata, &entry)?;
        let looked = looker.table(&metadata)?;
        self.check_heads(&mut looker, &metadata, &looked)?;
        let free = looked.free(&Refs::of(&metadata));
        Ok(Erasure {
            // Heads hold the rows until they are written anew.
            snapshots: (free.len() + looked.rows.values().filter(|rows| **rows > 0).count()) as u64,
            below: entry.offsets_below(),
            ..told(&looked)
        })
    }

    /// Writes down what is erased; says which entry that is. One of the same key that is not done is gone on with.
    ///
    /// # Errors
    /// Why it is refused, or that nobody knows whether it was written.
    pub fn begin(&mut self, ident: &TableIdent, predicate: &Predicate) -> Result<Uuid, EraseError> {
        self.plan(ident, predicate)?;
        let (new, mut looker) = (self.entry_of(predicate), self.looker(Vec::new()));
        let mut written = None;
        let decide = |loaded: &LoadedTable, _: i64| -> Result<Step<'_, _>, CatalogError> {
            let metadata = &*loaded.metadata;
            let made = new(metadata).and_then(|entry| {
                let keys = predicate.keys(metadata.current_schema())?;
                check_end(&mut looker, metadata, &entry).map(|()| (entry, keys))
            });
            let (mut entry, keys) = match made {
                Ok(made) => made,
                Err(error) => return Ok(Step::Over(Err(error))),
            };
            let mut erased = Erased::of(metadata)?;
            if let Some(open) = erased.open().find(|open| open.is_of(&keys)) {
                return Ok(Step::Over(Ok(open.id)));
            }
            let before = erased.entries().iter().find(|before| before.is_of(&keys));
            if let Some(before) = before.cloned() {
                entry = entry.reaches_as_far_as(&before);
                erased = erased.without(before.id);
            }
            written = Some(entry.id);
            let erased = erased.with(entry).to_property();
            // Branches and tags have to be where they were, so that `below` is where the table ends.
            Ok(Step::Send(Change::Expire {
                gone: Vec::new(),
                set: HashMap::from([(PROPERTY.to_owned(), erased)]),
            }))
        };
        let id = match self.publisher.publish(ident, &Ref::main(), decide)? {
            Published::Over(answer) => answer?,
            Published::Landed(_) => written.expect("what landed was sent"),
            Published::Busy(error) => return Err(EraseError::Busy(error.to_string())),
        };
        Ok(id)
    }

    /// The erasures of a table that are not done.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn open(&self, ident: &TableIdent) -> Result<Vec<Uuid>, EraseError> {
        let metadata = self.publisher.catalog.load(ident)?.metadata;
        let erased = Erased::of(&metadata)?;
        Ok(erased.open().map(|entry| entry.id).collect())
    }

    /// Does what is left to be done of these entries.
    ///
    /// # Errors
    /// Why it ended early: then it can be gone on with.
    pub fn go_on(
        &mut self,
        ident: &TableIdent,
        ids: &[Uuid],
        tags: Tags,
        pipelines: &Pipelines<'_>,
    ) -> Result<Erasure, EraseError> {
        let metadata = self.load(ident)?.metadata;
        let erased = Erased::of(&metadata)?;
        let entries: Vec<Entry> = ids
            .iter()
            .filter_map(|id| erased.entry(*id))
            .cloned()
            .collect();
        let Some(first) = entries.first() else {
            return Err(EraseError::Nothing);
        };
        let below = first.offsets_below();
        check_not_taken_back(&metadata, &entries)?;
        let mut looker = self.looker(entries);
        let looked = looker.table(&metadata)?;
        self.check_heads(&mut looker, &metadata, &looked)?;
        if tags == Tags::Go {
            for tag in looked.tags.keys() {
                self.drop_tag(ident, tag)?;
            }
        }
        let mut copies = Copies::new();
        let others = looked.rows.keys().filter(|name| *name != MAIN_BRANCH);
        for branch in std::iter::once(MAIN_BRANCH).chain(others.map(String::as_str)) {
            let branch = Ref::named(branch);
            self.rewrite(ident, &branch, &mut looker, &looked, &mut copies)?;
        }
        let snapshots = self.expire(ident, ids, &mut looker)?;
        self.clear(ident, &copies)?;
        let (removed, mut left) = self.remove(ident, ids, pipelines)?;
        left.extend(still_there(&looker.table(&self.load(ident)?.metadata)?));
        if left.is_empty() {
            self.is_done(ident, ids)?;
        }
        Ok(Erasure {
            snapshots,
            removed,
            below,
            left,
            ..told(&looked)
        })
    }

    /// Shows the rows that these entries take out of `main`, with where they came from.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn rows_that_go(
        &self,
        ident: &TableIdent,
        ids: &[Uuid],
        see: &mut dyn FnMut(RecordBatch, CameFrom),
    ) -> Result<(), EraseError> {
        let (files, metadata) = (self.publisher.catalog.files(), self.load(ident)?.metadata);
        let erased = Erased::of(&metadata)?;
        let entries = ids.iter().filter_map(|id| erased.entry(*id)).cloned();
        let mut looker = self.looker(entries.collect());
        let head = Ref::main();
        let listing = Listing::of(files, &metadata, head.head(&metadata))?;
        for (path, listed) in &listing.data {
            let kept = match looker.part(listed)? {
                Part::Nothing => continue,
                Part::All(_) => Kept::default(),
                Part::Some(_, kept) => kept,
            };
            // Of those of other writers the log says nothing.
            let Some(runs) = looker.runs(path)? else {
                continue;
            };
            let origins = files::origins(&runs);
            for (places, rows) in files::gone(files, path, &kept)? {
                let from = places.into_iter().map(|place| {
                    let (run, offset, is_own) = origins[place];
                    (run.topic.clone(), run.partition, offset, is_own)
                });
                see(rows, from.collect());
            }
        }
        Ok(())
    }

    fn looker(&self, entries: Vec<Entry>) -> Looker {
        Looker::new(self.publisher.catalog.files().clone(), entries)
    }

    fn load(&self, ident: &TableIdent) -> Result<LoadedTable, EraseError> {
        let table = self.publisher.catalog.load(ident)?;
        ends::check(&table.metadata)?;
        Ok(table)
    }

    /// The entry that is to be written, for the table as it is.
    fn entry_of<'p>(
        &self,
        predicate: &'p Predicate,
    ) -> impl Fn(&TableMetadata) -> Result<Entry, EraseError> + use<'p> {
        let (id, salt) = (self.publisher.ids.next(), self.publisher.ids.next());
        let at = self.clock.now_ms();
        move |metadata| {
            let keys = predicate.keys(metadata.current_schema())?;
            let ends = property(metadata)?.map(|marker| marker.ends());
            let new = New {
                id,
                salt,
                at,
                below: to_ends(&ends.unwrap_or_default()),
                sequence: metadata.last_sequence_number(),
            };
            Ok(Entry::new(&keys, new))
        }
    }

    /// What nobody could take out of a head is refused before anything goes.
    fn check_heads(
        &self,
        looker: &mut Looker,
        metadata: &TableMetadata,
        looked: &Looked,
    ) -> Result<(), EraseError> {
        let files = self.publisher.catalog.files();
        for branch in looked.rows.iter().filter(|(_, rows)| **rows > 0) {
            let head = Ref::named(branch.0);
            let listing = Listing::of(files, metadata, head.head(metadata))?;
            for (path, listed) in &listing.data {
                if looker.part(listed)? == Part::Nothing {
                    continue;
                }
                let path = path.clone();
                if listing.doubled.contains(&path) {
                    return Err(EraseError::Doubled { path });
                }
                if listing.is_hit(listed) {
                    return Err(EraseError::Hidden { path });
                }
            }
        }
        Ok(())
    }

    fn drop_tag(&mut self, ident: &TableIdent, tag: &str) -> Result<(), EraseError> {
        let tag = Ref::named(tag);
        let decide = |loaded: &LoadedTable, _: i64| -> Result<Step<'_, ()>, CatalogError> {
            Ok(match tag.head(&loaded.metadata) {
                Some(_) => Step::Send(Change::MoveRef(MoveRef::gone())),
                None => Step::Over(()),
            })
        };
        match self.publisher.publish(ident, &tag, decide)? {
            Published::Over(()) | Published::Landed(_) => Ok(()),
            Published::Busy(error) => Err(EraseError::Busy(error.to_string())),
        }
    }

    fn is_done(&mut self, ident: &TableIdent, ids: &[Uuid]) -> Result<(), EraseError> {
        let decide = |loaded: &LoadedTable, _: i64| -> Result<Step<'_, ()>, CatalogError> {
            let mut erased = Erased::of(&loaded.metadata)?;
            let open = erased.open().filter(|entry| ids.contains(&entry.id));
            let open: Vec<Entry> = open.cloned().collect();
            if open.is_empty() {
                return Ok(Step::Over(()));
            }
            for mut entry in open {
                entry.stage = Stage::Done;
                entry.going.clear();
                erased = erased.with(entry);
            }
            Ok(Step::Send(Change::Properties {
                set: HashMap::from([(PROPERTY.to_owned(), erased.to_property())]),
                removed: Vec::new(),
            }))
        };
        match self.publisher.publish(ident, &Ref::main(), decide)? {
            Published::Over(()) | Published::Landed(_) => Ok(()),
            Published::Busy(error) => Err(EraseError::Busy(error.to_string())),
        }
    }
}

/// Where no file has a record behind the table's end, what comes later is new. A table that was taken back, or whose topic was made again,
/// has some.
fn check_end(
    looker: &mut Looker,
    metadata: &TableMetadata,
    entry: &Entry,
) -> Result<(), EraseError> {
    let ends = looker.ends(metadata)?;
    let is_behind =
        |((topic, partition), end): (&(String, i32), &i64)| *end > entry.below(topic, *partition);
    match ends.iter().any(is_behind) {
        true => Err(EraseError::Behind),
        false => Ok(()),
    }
}

/// Behind the marker's end stand all files that were sealed before the record; a table that was taken back, and that its pipeline reads again,
/// may get some that do not obey it.
fn check_not_taken_back(metadata: &TableMetadata, entries: &[Entry]) -> Result<(), EraseError> {
    let ends = property(metadata)?.map(|marker| marker.ends());
    let ends = ends.unwrap_or_default();
    let is_there = |below: &SplitOffset| {
        let mut ends = ends.iter().filter(|end| end.same_split(below));
        ends.any(|end| end.next >= below.next)
    };
    let mut below = entries.iter().flat_map(Entry::offsets_below);
    match below.all(|below| is_there(&below)) {
        true => Ok(()),
        false => Err(EraseError::Behind),
    }
}

fn told(looked: &Looked) -> Erasure {
    Erasure {
        rows: looked.rows.clone(),
        files: looked.files,
        tags: looked.tags.clone(),
        ..Erasure::default()
    }
}

fn still_there(looked: &Looked) -> Vec<Left> {
    let tags = looked.tags.iter().map(|(tag, snapshot)| Left {
        what: format!("tag {tag}"),
        why: format!("it names snapshot {snapshot}, which holds rows of the key"),
    });
    let rows = looked.rows.iter().filter(|(_, rows)| **rows > 0);
    let heads = rows.map(|(branch, rows)| Left {
        what: format!("branch {branch}"),
        why: format!("it shows {rows} rows of the key: it was made, or moved, meanwhile"),
    });
    let mut left: Vec<Left> = tags.chain(heads).collect();
    if left.is_empty() && !looked.holding.is_empty() {
        let count = looked.holding.len();
        left.push(Left {
            what: format!("{count} snapshots"),
            why: "others made them meanwhile".to_owned(),
        });
    }
    left
}
