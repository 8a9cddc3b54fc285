//! Pointers made anew from what is in a warehouse, when the data folder that had them is lost.
//!
//! 1. A folder with `metadata/….metadata.json` below the place is a table's or a view's; nothing inside it is looked at.
//! 2. Its newest metadata has the highest number. Of several with that number one was never pointed to (a commit that a crash cut off)
//!    or the other lost to it: the one that was written last is taken, and it is said.
//! 3. Its name is its folder's: levels of the namespace, then the table. A folder that was taken got a suffix; of folders that differ
//!    by that alone the one changed last has the name, and each other one the folder's whole name, if nobody has that.
//!
//! What the folders do not know is not there afterwards: properties of namespaces, names that were given by renaming, and that a table
//! was dropped while its files stayed. What the catalog has already stays as it is, so it may be run again.

use super::{BESIDE, Catalog, Register};
use crate::catalog::TableCatalog;
use crate::catalog::pointers::{self, Relation};
use crate::error::{CatalogError, Kind};
use iceberg::spec::TableMetadata;
use iceberg::{NamespaceIdent, TableIdent};
use std::collections::BTreeMap;
use std::sync::Arc;

const METADATA: &str = ".metadata.json";
/// Characters of the suffix of a folder beside one that is taken.
const SUFFIX: usize = 12;

/// A table or a view that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    pub name: TableIdent,
    pub is_view: bool,
    pub metadata_location: String,
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    TakenIn,
    /// Taken in, and there was other metadata of the same number.
    ChosenOf(usize),
    /// The catalog had it.
    WasThere,
    /// Why it is not in the catalog.
    Failed(String),
}

/// A folder with metadata.
struct Found {
    /// Below the place.
    levels: Vec<String>,
    metadata_location: String,
    of_same_number: usize,
    is_view: bool,
    changed_ms: i64,
}

impl Catalog {
    /// Takes in every table and view below `place` that is not here.
    ///
    /// # Errors
    /// When the place cannot be listed. What cannot be taken in is told by [`Outcome::Failed`].
    pub fn recover(&self, place: &str) -> Result<Vec<Recovered>, CatalogError> {
        let place = place.trim_end_matches('/');
        let mut found = Vec::new();
        self.find(place, &mut Vec::new(), &mut found)?;
        let names = names(&found);
        let mut named: Vec<_> = found.into_iter().zip(names).collect();
        // Who has a name by right comes before who would take it otherwise.
        named.sort_by_key(|(_, (_, rank))| *rank);
        let named = named.into_iter();
        Ok(named
            .map(|(one, (name, _))| self.take_in(one, name))
            .collect())
    }

    fn find(
        &self,
        folder: &str,
        levels: &mut Vec<String>,
        found: &mut Vec<Found>,
    ) -> Result<(), CatalogError> {
        let entries = self.files().list(folder)?;
        let mut below: Vec<String> = entries
            .into_iter()
            .filter(|entry| entry.is_dir)
            .map(|entry| entry.name)
            .collect();
        below.sort();
        if !levels.is_empty() && below.iter().any(|name| name == "metadata") {
            let here = self.look(&format!("{folder}/metadata"), levels)?;
            if let Some(here) = here {
                found.push(here);
                return Ok(());
            }
        }
        for name in below {
            levels.push(name);
            let folder = format!("{folder}/{}", levels.last().expect("it was pushed"));
            self.find(&folder, levels, found)?;
            levels.pop();
        }
        Ok(())
    }

    /// The newest metadata in a folder, if there is any.
    fn look(&self, folder: &str, levels: &[String]) -> Result<Option<Found>, CatalogError> {
        let entries = self.files().list(folder)?;
        let mut numbered: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        for entry in entries {
            if let Some(number) = number_of(&entry.name) {
                numbered.entry(number).or_default().push(entry.name);
            }
        }
        let Some((_, mut names)) = numbered.pop_last() else {
            return Ok(None);
        };
        names.sort();
        let mut newest: Option<Found> = None;
        for name in &names {
            let metadata_location = format!("{folder}/{name}");
            let (is_view, changed_ms) = self.describe(&metadata_location);
            if newest
                .as_ref()
                .is_none_or(|one| one.changed_ms <= changed_ms)
            {
                newest = Some(Found {
                    levels: levels.to_vec(),
                    metadata_location,
                    of_same_number: names.len(),
                    is_view,
                    changed_ms,
                });
            }
        }
        Ok(newest)
    }

    /// Whether it is a view's, and when it was changed. What cannot be read is told when it is taken in.
    fn describe(&self, location: &str) -> (bool, i64) {
        let metadata = &self.0.metadata;
        if let Ok(table) = metadata.read(location) {
            return (false, changed(&table));
        }
        let view = metadata.view_at(location);
        let newest = view.ok().map(|view| view.current_version().timestamp_ms());
        (newest.is_some(), newest.unwrap_or(i64::MIN))
    }

    fn take_in(&self, found: Found, name: TableIdent) -> Recovered {
        let outcome = self.try_take_in(&found, &name);
        Recovered {
            name,
            is_view: found.is_view,
            metadata_location: found.metadata_location,
            outcome: outcome.unwrap_or_else(|error| Outcome::Failed(error.to_string())),
        }
    }

    fn try_take_in(&self, found: &Found, name: &TableIdent) -> Result<Outcome, CatalogError> {
        let location = &found.metadata_location;
        for relation in [Relation::Table, Relation::View] {
            let there = pointers::pointer(self.records(), relation, name)?;
            if there.is_some_and(|(_, pointer)| same_folder(&pointer.metadata_location, location)) {
                return Ok(Outcome::WasThere);
            }
        }
        let levels: Vec<String> = name.namespace.iter().cloned().collect();
        for depth in 1..=levels.len() {
            let namespace = NamespaceIdent::from_strs(&levels[..depth])?;
            self.ensure_namespace(&namespace)?;
        }
        match found.is_view {
            true => self.register_view(name, location).map(drop)?,
            false => self
                .register_table(name, location, Register::New)
                .map(drop)?,
        }
        Ok(match found.of_same_number {
            1 => Outcome::TakenIn,
            several => Outcome::ChosenOf(several),
        })
    }
}

fn changed(table: &Arc<TableMetadata>) -> i64 {
    table.last_updated_ms()
}

fn same_folder(one: &str, other: &str) -> bool {
    let folder = |location: &str| {
        location
            .rsplit_once('/')
            .map(|(folder, _)| folder.to_owned())
    };
    folder(one) == folder(other)
}

/// `00005-….metadata.json`, and `v5.metadata.json` of tables that Hadoop's catalog made.
fn number_of(name: &str) -> Option<u64> {
    let stem = name.strip_suffix(METADATA)?;
    let stem = stem.strip_prefix('v').unwrap_or(stem);
    let digits = stem.split(['-', '.']).next()?;
    digits.parse().ok()
}

/// How good a folder's claim to its name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    First,
    Other,
}

/// The names of the folders, in their order.
fn names(found: &[Found]) -> Vec<(TableIdent, Rank)> {
    let mut newest: BTreeMap<TableIdent, (i64, usize)> = BTreeMap::new();
    for (at, one) in found.iter().enumerate() {
        let entry = newest.entry(short(one)).or_insert((one.changed_ms, at));
        if entry.0 < one.changed_ms {
            *entry = (one.changed_ms, at);
        }
    }
    let names = found.iter().enumerate();
    names
        .map(|(at, one)| match newest[&short(one)].1 == at {
            true => (short(one), Rank::First),
            false => (whole(one), Rank::Other),
        })
        .collect()
}

/// The name without the suffix of a folder beside another.
fn short(found: &Found) -> TableIdent {
    let mut name = whole(found);
    if let Some((own, suffix)) = name.name.rsplit_once('-')
        && suffix.len() == SUFFIX
        && suffix
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        && !own.is_empty()
    {
        name.name = own.to_owned();
    }
    name
}

fn whole(found: &Found) -> TableIdent {
    let (own, above) = found.levels.split_last().expect("it is below the place");
    let above = above.iter().map(|level| {
        let mut level = level.as_str();
        while let Some(shorter) = level.strip_suffix(BESIDE) {
            level = shorter;
        }
        level.to_owned()
    });
    let above: Vec<String> = above.collect();
    let namespace = match above.is_empty() {
        // A table that is in the warehouse itself has no namespace that could be told.
        true => NamespaceIdent::new("default".to_owned()),
        false => NamespaceIdent::from_vec(above).expect("it has a level"),
    };
    TableIdent::new(namespace, own.clone())
}

/// That a place in a store is this catalog's, from now on or still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    Ours,
    /// Another's, by its id.
    Anothers(String),
}

/// What says whose a place is.
const OWNER: &str = ".lakeward-owner";

impl Catalog {
    /// Claims a place in a store for the catalog whose id is `own`. Two catalogs over one place would each take the other's files for
    /// its own leftovers.
    ///
    /// # Errors
    /// As the store says.
    pub fn claim(
        files: &crate::Files,
        place: &str,
        own: &str,
        ids: &crate::Ids,
    ) -> Result<Claim, CatalogError> {
        let owner = format!("{}/{OWNER}", place.trim_end_matches('/'));
        if files.write_new(&owner, own.as_bytes(), ids.next())? {
            return Ok(Claim::Ours);
        }
        let there = String::from_utf8_lossy(&files.read(&owner)?).into_owned();
        Ok(match there == own {
            true => Claim::Ours,
            false => Claim::Anothers(there),
        })
    }

    /// Claims it although it is another's, who must be gone.
    ///
    /// # Errors
    /// As the store says; also when somebody else was faster.
    pub fn take_over(
        files: &crate::Files,
        place: &str,
        own: &str,
        ids: &crate::Ids,
    ) -> Result<(), CatalogError> {
        if Catalog::claim(files, place, own, ids)? == Claim::Ours {
            return Ok(());
        }
        files.remove(&format!("{}/{OWNER}", place.trim_end_matches('/')))?;
        match Catalog::claim(files, place, own, ids)? {
            Claim::Ours => Ok(()),
            Claim::Anothers(other) => {
                let message = format!("{place} was taken over by {other} meanwhile");
                Err(CatalogError::new(Kind::CommitFailed, message))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(levels: &[&str], changed_ms: i64) -> Found {
        Found {
            levels: levels.iter().map(ToString::to_string).collect(),
            metadata_location: String::new(),
            of_same_number: 1,
            is_view: false,
            changed_ms,
        }
    }

    #[test]
    fn a_folder_tells_the_name() {
        let all = [
            found(&["n", "t"], 1),
            found(&["n", "t-0123456789ab"], 2),
            found(&["n", "u-0123456789ab"], 1),
            found(&["n", "a-b"], 1),
            found(&["n.namespace", "m", "t"], 1),
            found(&["t"], 1),
        ];
        let names = names(&all)
            .into_iter()
            .map(|(name, rank)| (name.to_string(), rank));
        let expected = [
            // The one that was changed last has the name.
            ("n.t", Rank::Other),
            ("n.t", Rank::First),
            ("n.u", Rank::First),
            ("n.a-b", Rank::First),
            ("n.m.t", Rank::First),
            ("default.t", Rank::First),
        ];
        assert!(names.eq(expected.map(|(name, rank)| (name.to_owned(), rank))));
    }

    #[test]
    fn metadata_is_told_by_its_name() {
        let cases = [
            ("00005-0b.metadata.json", Some(5)),
            ("v12.metadata.json", Some(12)),
            ("00012-0b.gz.metadata.json", Some(12)),
            ("snap-1.avro", None),
            ("x.metadata.json", None),
        ];
        for (name, expected) in cases {
            assert_eq!(number_of(name), expected, "{name}");
        }
    }
}
