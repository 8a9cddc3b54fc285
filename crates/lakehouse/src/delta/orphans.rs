//! Data files that a process wrote for a checkpoint that it did not live to make: they go when the next one takes over.
//!
//! The rule, and why it is safe, is that of Iceberg tables (`writer::orphans`): the name says this pipeline, this table, a lower
//! generation and a checkpoint beyond the manifest's, so no manifest and no commit can name the file. That no version of the
//! table does is looked at all the same.

use super::log::{Contents, DeltaLog};
use crate::commit::listing::last_name;
use crate::error::CatalogError;
use crate::writer::names::Stamp;
use crate::writer::orphans::{Found, Swept, find, whole_name};
use crate::writer::replaced::pending;
use lw_runtime::manifest::Manifest;
use std::collections::BTreeSet;

/// Removes what processes before `now` left.
pub(super) fn sweep(
    log: &DeltaLog,
    version: i64,
    manifest: &Manifest,
    now: &Stamp,
) -> Result<Swept, CatalogError> {
    log.sweep_parts(version)?;
    let mut swept = Swept::default();
    let mut abandoned = abandoned(log, now)?;
    if abandoned.is_empty() {
        return Ok(swept);
    }
    let Contents { adds, removes } = log.contents(version)?;
    let mut named = pending(manifest)?;
    let listed = adds.keys().chain(removes.keys());
    named.extend(listed.map(|path| last_name(path).to_owned()));
    abandoned.retain(|one| !named.contains(whole_name(&one.entry.name)));
    let mut emptied = BTreeSet::new();
    for Found { folder, entry } in abandoned {
        log.files.remove(&format!("{folder}/{}", entry.name))?;
        swept.files += 1;
        swept.bytes += entry.len;
        emptied.insert(folder);
    }
    // Or a crash would bring them back, when the checkpoint that they were meant for has been made.
    for folder in emptied {
        log.files.sync_folder(&folder)?;
    }
    Ok(swept)
}

/// By their names. The table's folder is its own, but for the log and what else readers pass over: folders that begin with `_` and are of no
/// partition.
fn abandoned(log: &DeltaLog, now: &Stamp) -> Result<Vec<Found>, CatalogError> {
    let is_abandoned = |name: &str| Stamp::parse(name).is_some_and(|stamp| stamp.is_abandoned(now));
    let mut found = Vec::new();
    for entry in log.files.list(&log.location)? {
        let folder = log.location.clone();
        if !entry.is_dir {
            if is_abandoned(whole_name(&entry.name)) {
                found.push(Found { folder, entry });
            }
        } else if !entry.name.starts_with('_') || entry.name.contains('=') {
            let below = format!("{folder}/{}", entry.name);
            found.extend(find(&log.files, &below, &is_abandoned)?);
        }
    }
    Ok(found)
}
