//! A section as it is stored: all of its rows, and what changed since.
//!
//! ```text
//! link 0   all rows
//! link 1   the rows of what changed since  │  what has none any more
//! …
//! ```
//!
//! A row is *of* something: a key, a window, both. The columns that name it are the section's *ids*. A later link has all rows that
//! its ids have now, and so those in the links before are of no account; what it says is dropped has none. A drop may name the
//! first ids alone: a window that fired takes all of its keys with it.
//!
//! Links are read from the newest to the oldest. When what changed has come to half of the first link, or the links are many, they
//! are folded into one, in the background, from what is stored.

use super::encoded::{StateFile, StoredRows, damaged, decode, encode};
use super::files::StateFiles;
use super::{Changes, Section, StateError, StateReader, StateWriter, Written};
use crate::aggregate::groups::Groups;
use crate::aggregate::key::KeyCodec;
use crate::pool::Pool;
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow_select::concat::concat_batches;
use arrow_select::filter::filter_record_batch;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// So many links are folded, however small.
const MOST_LINKS: usize = 64;

/// An operator's state in a manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorState {
    /// How far event time had come at the operator, milliseconds since 1970.
    pub watermark: Option<i64>,
    /// The memory that it took, about; 0 where that was not written down.
    #[serde(default)]
    pub memory: u64,
    pub sections: Vec<StoredSection>,
}

/// A section of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "before::AnySection")]
pub struct StoredSection {
    pub name: String,
    /// The first of its key groups, and the one behind the last.
    pub groups: (u16, u16),
    /// The oldest first; there is one.
    pub links: Vec<Link>,
}

/// What one checkpoint wrote of a section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// The columns that name what a row is of; empty where no link lies before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<u16>,
    /// One behind the other.
    pub rows: Vec<StoredRows>,
    /// Ids, or the first columns of them, that have no rows any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<StoredRows>,
}

impl Link {
    fn stored(&self) -> impl Iterator<Item = &StoredRows> {
        self.rows.iter().chain(&self.dropped)
    }

    fn bytes(&self) -> u64 {
        self.stored().map(StoredRows::bytes).sum()
    }
}

impl StoredSection {
    fn is(&self, name: &str, groups: &Range<u16>) -> bool {
        self.name == name && self.groups == (groups.start, groups.end)
    }

    /// The links when this has been written behind them.
    fn behind(
        links: &[Link],
        written: Written,
        to: &mut dyn Store,
    ) -> Result<Vec<Link>, StateError> {
        let is_delta = written.changes.is_some();
        let mut store = |rows: Vec<RecordBatch>| {
            let rows = rows.iter().filter(|rows| rows.num_rows() > 0);
            let stored = rows.map(|rows| to.store(encode(rows)?, rows.num_rows() as u64, is_delta));
            stored.collect::<Result<Vec<_>, _>>()
        };
        let Changes { ids, dropped } = written.changes.unwrap_or_default();
        if !is_delta || links.is_empty() {
            // Where nothing lies before, what changed is all, and there is nothing to drop.
            let rows = store(written.rows)?;
            let (ids, dropped) = (Vec::new(), Vec::new());
            let first = (!rows.is_empty()).then_some(Link { ids, rows, dropped });
            return Ok(first.into_iter().collect());
        }
        let (rows, dropped) = (store(written.rows)?, store(dropped)?);
        let says_something = !rows.is_empty() || !dropped.is_empty();
        let last = says_something.then_some(Link { ids, rows, dropped });
        Ok(links.iter().cloned().chain(last).collect())
    }

    /// Whether what changed is so much that it is better written anew as a whole.
    fn is_long(&self) -> bool {
        let (first, rest) = self.links.split_first().expect("S8: a section has a link");
        let changed: u64 = rest.iter().map(Link::bytes).sum();
        rest.len() >= MOST_LINKS || 2 * changed > first.bytes()
    }

    fn stored(&self) -> impl Iterator<Item = &StoredRows> {
        self.links.iter().flat_map(Link::stored)
    }

    fn read(&self, from: &StateFiles) -> Result<Vec<Section>, StateError> {
        let mut pieces = Vec::new();
        self.each(from, |rows| {
            pieces.push(Section {
                name: self.name.clone(),
                groups: self.groups.0..self.groups.1,
                rows,
            });
            Ok(())
        })?;
        Ok(pieces)
    }

    /// Hands its rows over, a piece at a time, so that no more than one of them is in memory; those of the newest link come first.
    fn each(
        &self,
        from: &StateFiles,
        mut take: impl FnMut(RecordBatch) -> Result<(), StateError>,
    ) -> Result<(), StateError> {
        let read = |stored: &StoredRows| {
            let bytes = from.bytes(&self.name, stored)?;
            decode(&self.name, stored, &bytes)
        };
        let (first, later) = self.links.split_first().expect("S8: a section has a link");
        let Some(newest) = later.last() else {
            return first.rows.iter().try_for_each(|rows| take(read(rows)?));
        };
        let mut known = Known::new(&self.name, newest)?;
        for link in later.iter().rev() {
            let mut changed = Vec::new();
            for rows in &link.rows {
                let rows = read(rows)?;
                changed.push(known.ids_of(&rows, known.ids.len())?);
                known.unknown(rows)?.map_or(Ok(()), &mut take)?;
            }
            for dropped in &link.dropped {
                known.add_dropped(&read(dropped)?)?;
            }
            for ids in changed {
                known.add_changed(&ids)?;
            }
        }
        for rows in &first.rows {
            known.unknown(read(rows)?)?.map_or(Ok(()), &mut take)?;
        }
        Ok(())
    }
}

/// What newer links say something of.
struct Known<'a> {
    name: &'a str,
    ids: Vec<usize>,
    changed: Option<Named>,
    /// Drops by how many columns they name.
    dropped: Vec<(usize, Named)>,
}

/// Names of columns, each once.
struct Named {
    codec: KeyCodec,
    groups: Groups,
}

impl Named {
    fn new(columns: &[ArrayRef]) -> Result<Named, String> {
        let types = columns.iter().map(|column| column.data_type());
        let codec = KeyCodec::new(types).map_err(|error| error.to_string())?;
        let groups = codec.groups();
        Ok(Named { codec, groups })
    }

    fn add(&mut self, columns: &[ArrayRef], rows: usize) {
        let keys = self.codec.encode(columns, rows);
        let all: Vec<u32> = (0..rows as u32).collect();
        self.groups
            .intern(&keys, &all, &mut Vec::with_capacity(rows));
    }

    /// Adds to each of `known` whether its name is here.
    fn find(&self, columns: &[ArrayRef], known: &mut [bool]) {
        let keys = self.codec.encode(columns, known.len());
        for (row, known) in known.iter_mut().enumerate() {
            *known = *known || self.groups.has(&keys, row);
        }
    }
}

impl<'a> Known<'a> {
    fn new(name: &'a str, newest: &Link) -> Result<Known<'a>, StateError> {
        if newest.ids.is_empty() {
            return Err(damaged(name, "a link does not say what its rows are of"));
        }
        Ok(Known {
            name,
            ids: newest.ids.iter().map(|id| usize::from(*id)).collect(),
            changed: None,
            dropped: Vec::new(),
        })
    }

    fn broken(&self, why: impl std::fmt::Display) -> StateError {
        damaged(self.name, why)
    }

    fn ids_of(&self, rows: &RecordBatch, count: usize) -> Result<Vec<ArrayRef>, StateError> {
        let column = |id: &usize| rows.columns().get(*id).cloned();
        let ids: Option<Vec<ArrayRef>> = self.ids[..count].iter().map(column).collect();
        ids.ok_or_else(|| self.broken("it lacks the columns that name its rows"))
    }

    /// The rows that nothing newer says something of, if there are any.
    fn unknown(&self, rows: RecordBatch) -> Result<Option<RecordBatch>, StateError> {
        let mut known = vec![false; rows.num_rows()];
        if let Some(changed) = &self.changed {
            changed.find(&self.ids_of(&rows, self.ids.len())?, &mut known);
        }
        for (count, dropped) in &self.dropped {
            dropped.find(&self.ids_of(&rows, *count)?, &mut known);
        }
        if !known.contains(&true) {
            return Ok(Some(rows));
        }
        let wanted: BooleanArray = known.iter().map(|known| Some(!known)).collect();
        let rows = filter_record_batch(&rows, &wanted).map_err(|error| self.broken(error))?;
        Ok((rows.num_rows() > 0).then_some(rows))
    }

    fn add_changed(&mut self, ids: &[ArrayRef]) -> Result<(), StateError> {
        let rows = ids.first().map_or(0, |ids| ids.len());
        let mut changed = match self.changed.take() {
            Some(changed) => changed,
            None => Named::new(ids).map_err(|why| self.broken(why))?,
        };
        changed.add(ids, rows);
        self.changed = Some(changed);
        Ok(())
    }

    fn add_dropped(&mut self, dropped: &RecordBatch) -> Result<(), StateError> {
        let (columns, rows) = (dropped.columns(), dropped.num_rows());
        if columns.is_empty() || columns.len() > self.ids.len() {
            return Err(self.broken("a drop names no rows of it"));
        }
        let mut before = self.dropped.iter_mut();
        if let Some((_, named)) = before.find(|(count, _)| *count == columns.len()) {
            named.add(columns, rows);
            return Ok(());
        }
        let mut named = Named::new(columns).map_err(|why| self.broken(why))?;
        named.add(columns, rows);
        self.dropped.push((columns.len(), named));
        Ok(())
    }
}

/// Rows that are to be stored, and where: [`StateFiles`] for those that are large.
pub(crate) trait Store {
    /// `delta`: more of them come until they are folded.
    fn store(&mut self, bytes: Vec<u8>, rows: u64, delta: bool) -> Result<StoredRows, StateError>;
}

impl OperatorState {
    /// What stands when an operator has written this behind what stood `before`.
    ///
    /// # Errors
    /// When rows cannot be encoded or stored.
    pub(crate) fn behind(
        before: Option<&OperatorState>,
        written: StateWriter,
        to: &mut dyn Store,
    ) -> Result<OperatorState, StateError> {
        let mut sections = Vec::new();
        for written in written.sections {
            let known = before.into_iter().flat_map(|before| &before.sections);
            let mut known = known.filter(|section| section.is(&written.name, &written.groups));
            let links = known.next().map_or(&[][..], |section| &section.links);
            let name = written.name.clone();
            let groups = (written.groups.start, written.groups.end);
            let links = StoredSection::behind(links, written, to)?;
            if !links.is_empty() {
                sections.push(StoredSection {
                    name,
                    groups,
                    links,
                });
            }
        }
        Ok(OperatorState {
            watermark: written.watermark,
            memory: written.memory,
            sections,
        })
    }

    /// Reads the sections, as many at a time as `pool` does.
    ///
    /// # Errors
    /// When what is stored is gone or damaged.
    pub(crate) fn read(&self, from: &StateFiles, pool: &Pool) -> Result<StateReader, StateError> {
        let readings = self.sections.iter().map(|stored| {
            let (stored, from) = (stored.clone(), from.clone());
            move || stored.read(&from)
        });
        let read = pool.run(readings.collect()).into_iter();
        let sections = read.collect::<Result<Vec<_>, _>>()?;
        Ok(StateReader::new(self.watermark, sections.concat()))
    }

    /// The files that it stands in.
    pub fn files(&self) -> impl Iterator<Item = &StateFile> {
        let stored = self.sections.iter().flat_map(StoredSection::stored);
        stored.filter_map(|stored| stored.file.as_ref())
    }

    /// As [`OperatorState::files`], for one that goes on in other files of the same bytes.
    pub(crate) fn files_mut(&mut self) -> impl Iterator<Item = &mut StateFile> {
        self.stored_mut().filter_map(|stored| stored.file.as_mut())
    }

    pub(super) fn stored_mut(&mut self) -> impl Iterator<Item = &mut StoredRows> {
        let links = self
            .sections
            .iter_mut()
            .flat_map(|section| &mut section.links);
        links.flat_map(|link| link.rows.iter_mut().chain(&mut link.dropped))
    }

    /// The memory that it takes, about. Format 4 did not say it: as if its rows were not compressed well.
    pub(crate) fn memory(&self) -> u64 {
        match self.memory {
            0 => self.bytes(),
            memory => memory,
        }
    }

    /// How many bytes its compressed rows are.
    pub fn bytes(&self) -> u64 {
        let stored = self.sections.iter().flat_map(StoredSection::stored);
        stored.map(StoredRows::bytes).sum()
    }

    /// Whether an operator with these key groups can go on writing what changed since: the sections are of the same groups, and of
    /// one name and the same groups there is one.
    pub(crate) fn goes_on(&self, groups: &[Range<u16>]) -> bool {
        let mut all: Vec<(&str, (u16, u16))> = self
            .sections
            .iter()
            .map(|section| (&*section.name, section.groups))
            .collect();
        let of_ours = |(_, of): &(&str, (u16, u16))| groups.contains(&(of.0..of.1));
        let (count, fits) = (all.len(), all.iter().all(of_ours));
        all.sort_unstable();
        all.dedup();
        fits && all.len() == count
    }

    /// The first section that is to be folded, as it stands.
    pub(crate) fn long_section(&self) -> Option<&StoredSection> {
        self.sections.iter().find(|section| section.is_long())
    }

    /// Puts what links were folded into in their place; whether they still are there.
    pub(crate) fn fold(&mut self, links: &StoredSection, folded: Vec<StoredRows>) -> bool {
        let same = |section: &&mut StoredSection| {
            section.name == links.name
                && section.groups == links.groups
                && section.links.starts_with(&links.links)
        };
        let Some(section) = self.sections.iter_mut().find(same) else {
            return false;
        };
        let link = Link {
            ids: Vec::new(),
            rows: folded,
            dropped: Vec::new(),
        };
        section.links.splice(..links.links.len(), [link]);
        true
    }
}

impl StoredSection {
    /// All of its links as one.
    ///
    /// # Errors
    /// When what is stored is gone or damaged, or cannot be stored anew.
    pub(crate) fn folded(
        &self,
        from: &StateFiles,
        to: &mut dyn Store,
    ) -> Result<Vec<StoredRows>, StateError> {
        let mut folded = Folded {
            name: &self.name,
            to,
            joining: Vec::new(),
            rows: 0,
            stored: Vec::new(),
        };
        self.each(from, |rows| folded.add(rows))?;
        folded.store()?;
        Ok(folded.stored)
    }
}

/// Rows are folded into pieces of so many: small ones are joined.
const PIECE: usize = 1 << 18;

/// What links are folded into.
struct Folded<'a> {
    name: &'a str,
    to: &'a mut dyn Store,
    joining: Vec<RecordBatch>,
    rows: usize,
    stored: Vec<StoredRows>,
}

impl Folded<'_> {
    fn add(&mut self, rows: RecordBatch) -> Result<(), StateError> {
        if self.rows + rows.num_rows() > PIECE {
            self.store()?;
        }
        self.rows += rows.num_rows();
        self.joining.push(rows);
        Ok(())
    }

    fn store(&mut self) -> Result<(), StateError> {
        let (joining, rows) = (std::mem::take(&mut self.joining), self.rows);
        self.rows = 0;
        if let Some(first) = joining.first() {
            let joined = concat_batches(&first.schema(), &joining);
            let joined = joined.map_err(|error| damaged(self.name, error))?;
            let bytes = encode(&joined)?;
            self.stored.push(self.to.store(bytes, rows as u64, false)?);
        }
        Ok(())
    }
}

mod before {
    //! Sections as format 4 had them: one link, its rows beside the name.

    use super::*;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct AnySection {
        name: String,
        groups: (u16, u16),
        #[serde(default)]
        links: Vec<Link>,
        rows: Option<u64>,
        inline: Option<super::super::encoded::Bytes>,
        file: Option<StateFile>,
    }

    impl TryFrom<AnySection> for StoredSection {
        type Error = String;

        fn try_from(any: AnySection) -> Result<StoredSection, String> {
            let AnySection {
                name,
                groups,
                links,
                rows,
                inline,
                file,
            } = any;
            let links = match rows {
                Some(rows) if links.is_empty() => vec![Link {
                    ids: Vec::new(),
                    rows: vec![StoredRows { rows, inline, file }],
                    dropped: Vec::new(),
                }],
                None if !links.is_empty() => links,
                _ => {
                    return Err(format!(
                        "the section '{name}' of a state has no rows, or has them twice"
                    ));
                }
            };
            Ok(StoredSection {
                name,
                groups,
                links,
            })
        }
    }
}
