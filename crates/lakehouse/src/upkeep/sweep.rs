//! The sweep: data files that no snapshot lists any more are removed, a time after that was seen first.
//!
//! 1. The data folder is listed, and what is in it by a name of ours: [copies](super::leftovers) that no request can bring in any more,
//!    and files of the table's pipeline that [were sealed](crate::writer::replaced) and are not pending.
//! 2. Those that a kept snapshot lists, on whatever branch, stay. The order of looking is the proof: first the folder, then the
//!    manifest, then the table. What the folder had was sealed before, what the manifest calls confirmed the table had before.
//! 3. The others go when the sweep of [`GRACE`] before found them too. A query that began when their snapshot was still there
//!    reads them without asking the table again.
//!
//! Only one process at a time may do that to a catalog, its own. `gc.enabled`, unless `true`, forbids it.

use super::expiry::is_inside;
use super::{gc_is_enabled, leftovers};
use crate::catalog::TableCatalog;
use crate::commit::attempt::remove;
use crate::commit::listing::named_by_kept;
use crate::commit::rules::Rules;
use crate::error::CatalogError;
use crate::writer::orphans::{Found, data_folder, find, whole_name};
use crate::writer::replaced::{Sealed, is_of};
use iceberg::TableIdent;
use iceberg::spec::TableMetadata;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;
use uuid::Uuid;

/// How long a query may take that reads files of a snapshot which has expired meanwhile.
pub(crate) const GRACE: Duration = Duration::from_secs(60 * 60);

/// What a process has seen of files that nobody lists.
pub(crate) struct Sweeper {
    pub(crate) grace: Duration,
    /// By table: since when.
    unlisted: HashMap<Uuid, BTreeMap<String, Duration>>,
}

/// What a sweep goes by.
pub(crate) struct Within<'a> {
    pub(crate) catalog: &'a dyn TableCatalog,
    pub(crate) rules: &'a Rules,
    pub(crate) reach: i64,
    pub(crate) now: Duration,
}

impl Sweeper {
    pub(crate) fn new(grace: Duration) -> Sweeper {
        Sweeper {
            grace,
            unlisted: HashMap::new(),
        }
    }

    /// Sweeps one table; says how many files went. `None` of `sealed`: nothing is known of a pipeline, and its files stay.
    pub(crate) fn sweep(
        &mut self,
        ident: &TableIdent,
        within: &Within<'_>,
        sealed: impl FnOnce() -> Option<Sealed>,
    ) -> Result<usize, CatalogError> {
        let load = || within.catalog.load(ident);
        let (files, before) = (within.catalog.files(), load()?.metadata);
        let folder = data_folder(&before);
        if !gc_is_enabled(&before) || !is_inside(&before, &folder) {
            return Ok(0);
        }
        let uuid = before.uuid();
        let is_ours = |name: &str| is_of(name, uuid) || leftovers::parse(name).is_some();
        let mut found = find(files, &folder, &is_ours)?;
        let sealed = sealed();
        let table = load()?.metadata;
        if table.uuid() != uuid || !gc_is_enabled(&table) {
            return Ok(0);
        }
        let mut names = candidates(&found, &table, within, sealed.as_ref())?;
        if !names.is_empty() {
            for name in named_by_kept(files, table.clone(), &load, &names)? {
                names.remove(&name);
            }
        }
        found.retain(|one| names.contains(whole_name(&one.entry.name)));
        let unlisted = found.iter();
        let unlisted = unlisted.map(|one| format!("{}/{}", one.folder, one.entry.name));
        let gone = self.ripe(uuid, unlisted.collect(), within.now);
        assert!(
            gone.iter().all(|file| is_inside(&table, file)),
            "O1: nothing outside the table's location is swept"
        );
        remove(files, &gone);
        Ok(gone.len())
    }

    /// Of what nobody lists now, that which nobody listed long ago either.
    fn ripe(&mut self, table: Uuid, unlisted: Vec<String>, now: Duration) -> Vec<String> {
        let before = self.unlisted.remove(&table).unwrap_or_default();
        let mut waits = BTreeMap::new();
        let mut ripe = Vec::new();
        for path in unlisted {
            let since = before.get(&path).copied().unwrap_or(now);
            if now.saturating_sub(since) >= self.grace {
                ripe.push(path);
            } else {
                waits.insert(path, since);
            }
        }
        if !waits.is_empty() {
            self.unlisted.insert(table, waits);
        }
        ripe
    }
}

/// Names of files that go unless a snapshot lists them.
fn candidates(
    found: &[Found],
    table: &TableMetadata,
    within: &Within<'_>,
    sealed: Option<&Sealed>,
) -> Result<BTreeSet<String>, CatalogError> {
    let names = found.iter().map(|one| whole_name(&one.entry.name));
    let names = names.filter(|name| {
        leftovers::is_out_of_reach(name, table, within.reach)
            || sealed.is_some_and(|sealed| sealed.has_sealed(name, table.uuid()))
    });
    let mut names: BTreeSet<String> = names.map(str::to_owned).collect();
    for manifest in sealed.into_iter().flat_map(Sealed::manifests) {
        for name in (within.rules.pending)(manifest)? {
            names.remove(&name);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_goes_when_it_was_not_listed_for_an_hour() {
        let (table, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut sweeper = Sweeper::new(GRACE);
        let mut ripe = |table, minutes: u64, unlisted: &str| {
            let unlisted = unlisted.split_whitespace().map(str::to_owned).collect();
            let now = Duration::from_secs(60 * minutes);
            sweeper.ripe(table, unlisted, now).join(" ")
        };
        assert_eq!(ripe(table, 0, "a b"), "");
        assert_eq!(ripe(other, 10, "a"), "");
        assert_eq!(ripe(table, 30, "a c"), "");
        // One that was listed in between begins anew.
        assert_eq!(ripe(table, 60, "a b c"), "a");
        assert_eq!(ripe(table, 90, "b c"), "c");
        assert_eq!(ripe(other, 70, "a"), "a");
        assert_eq!(ripe(table, 120, "b"), "b");
        assert_eq!(ripe(table, 300, "b"), "");
    }
}
