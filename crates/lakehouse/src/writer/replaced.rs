//! Data files of a pipeline that compactions replaced: they go once no snapshot that is kept lists them.
//!
//! As with [`orphans`](super::orphans), the name and the manifest decide. A file of this pipeline and table, of a generation and
//! checkpoint that are no later than the manifest's, was sealed into a manifest. If it is not pending any more, its commit
//! was confirmed, or a word gave it up; either way nothing will commit it again, because the catalog is this
//! process's own: no request of before is under way to it. If no kept snapshot lists it then, nobody can read it.
//!
//! The order of looking is the proof: first the folder, then the manifest, then the table. What the folder had was
//! sealed before, what the manifest calls confirmed the table had before.

use super::names::Stamp;
use super::orphans::{data_folder, find, whole_name};
use crate::catalog::LoadedTable;
use crate::commit::attempt::remove;
use crate::commit::listing::{last_name, named_by_any};
use crate::error::CatalogError;
use crate::staged;
use crate::storage::Files;
use crate::upkeep::expiry::is_inside;
use crate::upkeep::gc_is_enabled;
use lw_runtime::manifest::Manifest;
use std::collections::BTreeSet;
use uuid::Uuid;

/// Whether a file of this name was sealed into the manifest or one before it, for this table.
pub(crate) fn was_sealed(name: &str, table: Uuid, manifest: &Manifest) -> bool {
    Stamp::parse(name).is_some_and(|stamp| {
        stamp.pipeline == manifest.pipeline
            && stamp.table == table
            && stamp.generation <= manifest.generation
            && stamp.checkpoint <= manifest.checkpoint_id
    })
}

/// Names of the files that pending commits name, to whichever tables of the job.
pub(crate) fn pending(manifest: &Manifest) -> Result<BTreeSet<String>, CatalogError> {
    let commits = manifest.chains().flat_map(|(_, chain)| &chain.chain);
    let files = commits.flat_map(|pending| &pending.files);
    files
        .map(|file| Ok(last_name(staged::path(file)?).to_owned()))
        .collect()
}

/// Removes them; says how many there were. `None` of a manifest: its pipeline is gone, and nothing is known.
pub(crate) fn sweep(
    files: &Files,
    load: impl Fn() -> Result<LoadedTable, CatalogError>,
    manifest: impl FnOnce() -> Option<Manifest>,
    pending: fn(&Manifest) -> Result<BTreeSet<String>, CatalogError>,
) -> Result<usize, CatalogError> {
    let before = load()?.metadata;
    let folder = data_folder(&before);
    if !gc_is_enabled(&before) || !is_inside(&before, &folder) {
        return Ok(0);
    }
    let is_ours = |name: &str| Stamp::parse(name).is_some_and(|one| one.table == before.uuid());
    let found = find(files, &folder, &is_ours)?;
    let Some(manifest) = manifest() else {
        return Ok(0);
    };
    let table = load()?.metadata;
    if table.uuid() != before.uuid() || !gc_is_enabled(&table) {
        return Ok(0);
    }
    let mut names: BTreeSet<String> = found
        .iter()
        .map(|one| whole_name(&one.entry.name).to_owned())
        .filter(|name| was_sealed(name, table.uuid(), &manifest))
        .collect();
    for name in pending(&manifest)? {
        names.remove(&name);
    }
    for name in named_by_any(files, &table, &names)? {
        names.remove(&name);
    }
    let unnamed = found
        .iter()
        .filter(|one| names.contains(whole_name(&one.entry.name)));
    let unnamed: Vec<String> = unnamed
        .map(|one| format!("{}/{}", one.folder, one.entry.name))
        .collect();
    assert!(
        unnamed.iter().all(|file| is_inside(&table, file)),
        "O1: nothing outside the table's location is swept"
    );
    remove(files, &unnamed);
    Ok(unnamed.len())
}
