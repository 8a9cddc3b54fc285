//! Orphans: data files that a process wrote for a checkpoint that it did not live to make.
//!
//! A file becomes part of a table in three steps: written and durable → named by the manifest → named by a snapshot. A crash
//! after the first leaves it to nobody, and the rows are read again from the log. When the next process has taken the
//! pipeline over, it removes such files, by this rule alone:
//!
//! 1. The name is exactly of our form and says this pipeline and table, a lower generation, and a checkpoint beyond the
//!    manifest's.
//!    Only the process of that generation would have put the file into a manifest; it is fenced (the manifest is swapped by
//!    generation), and its checkpoints end where the manifest that was taken over ends. So no manifest has named the file or
//!    will, and no commit without one: not even a request that is still under way in a network.
//! 2. The manifest's pending commits do not name it, and no snapshot that the table keeps does, on whatever branch. After 1
//!    that follows, unless someone put an older copy of the data folder back: then the table knows better than the manifest.
//!
//! A data folder outside the table's own location (`write.data.path`) is not swept at all. Everything else stays, whatever it
//! is: space is cheaper than a row.

use super::names::Stamp;
use super::replaced::pending;
use crate::catalog::LoadedTable;
use crate::commit::listing::named_by_any;
use crate::error::CatalogError;
use crate::storage::Files;
use crate::upkeep::expiry::is_inside;
use iceberg::spec::TableMetadata;
use lw_runtime::manifest::Manifest;
use lw_stdx::disk::Entry;
use std::collections::BTreeSet;

/// What a sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    pub(crate) files: usize,
    pub(crate) bytes: u64,
}

/// Removes what processes before `now` left in the table's data folder.
pub(super) fn sweep(
    files: &Files,
    table: &LoadedTable,
    manifest: &Manifest,
    now: &Stamp,
) -> Result<Swept, CatalogError> {
    let folder = data_folder(&table.metadata);
    let mut swept = Swept::default();
    if !is_inside(&table.metadata, &folder) {
        return Ok(swept);
    }
    let is_abandoned = |name: &str| Stamp::parse(name).is_some_and(|stamp| stamp.is_abandoned(now));
    let mut abandoned = find(files, &folder, &is_abandoned)?;
    if abandoned.is_empty() {
        return Ok(swept);
    }
    spare_named(&mut abandoned, files, table, manifest)?;
    let mut emptied = BTreeSet::new();
    for Found { folder, entry } in abandoned {
        let file = format!("{folder}/{}", entry.name);
        assert!(
            is_inside(&table.metadata, &file),
            "O1: nothing outside the table's location is swept"
        );
        files.remove(&file)?;
        swept.files += 1;
        swept.bytes += entry.len;
        emptied.insert(folder);
    }
    // Or a crash would bring them back, when the checkpoint that they were meant for has been made.
    for folder in emptied {
        files.sync_folder(&folder)?;
    }
    Ok(swept)
}

/// A file of a data folder.
pub(crate) struct Found {
    pub(crate) folder: String,
    pub(crate) entry: Entry,
}

/// The files of these names, finished or not, in a folder and, for the partitions, in the folders below it.
pub(crate) fn find(
    files: &Files,
    folder: &str,
    is_wanted: &dyn Fn(&str) -> bool,
) -> Result<Vec<Found>, CatalogError> {
    let mut found = Vec::new();
    files.visit(folder, &mut |folder, entry| {
        if is_wanted(whole_name(&entry.name)) {
            let folder = folder.to_owned();
            found.push(Found { folder, entry });
        }
    })?;
    Ok(found)
}

/// Where a table's data files go.
pub(crate) fn data_folder(metadata: &TableMetadata) -> String {
    let properties = metadata.properties();
    // The second is what it was called once; engines still obey it.
    let path = properties.get("write.data.path");
    match path.or_else(|| properties.get("write.folder-storage.path")) {
        Some(path) => path.trim_end_matches('/').to_owned(),
        None => format!("{}/data", metadata.location()),
    }
}

/// The name that a file would have had, were it finished.
pub(crate) fn whole_name(name: &str) -> &str {
    let part = name
        .strip_prefix('.')
        .and_then(|name| name.strip_suffix(".part"));
    part.unwrap_or(name)
}

/// Takes out what the manifest or a kept snapshot lists. Names are unique, so folders need not be compared. Only the names of
/// candidates are held, however many files the table has.
fn spare_named(
    candidates: &mut Vec<Found>,
    files: &Files,
    table: &LoadedTable,
    manifest: &Manifest,
) -> Result<(), CatalogError> {
    let names = candidates.iter().map(|one| whole_name(&one.entry.name));
    let mut unnamed: BTreeSet<String> = names.map(str::to_owned).collect();
    for name in pending(manifest)? {
        unnamed.remove(&name);
    }
    let named = named_by_any(files, &table.metadata, &unnamed)?;
    unnamed.retain(|name| !named.contains(name));
    candidates.retain(|one| unnamed.contains(whole_name(&one.entry.name)));
    Ok(())
}
