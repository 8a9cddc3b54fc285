//! Data files that a process wrote for a checkpoint that it did not live to make: they go when the next one takes over.
//!
//! The rule, and why it is safe, is that of Iceberg tables (`writer::orphans`): the name says this pipeline, this table, a lower
//! generation and a checkpoint beyond the manifest's, so no manifest and no commit can name the file. That no version of the
//! table does is looked at all the same.

use super::log::{Contents, DeltaLog};
use super::staged::StagedFile;
use crate::error::CatalogError;
use crate::writer::names::Stamp;
use lw_runtime::manifest::Manifest;
use std::collections::HashSet;

/// Removes them; returns how many, and their bytes.
pub(super) fn sweep(
    log: &DeltaLog,
    version: i64,
    manifest: &Manifest,
    now: &Stamp,
) -> Result<(usize, u64), CatalogError> {
    let mut abandoned = Vec::new();
    collect(log, &log.location, now, &mut abandoned)?;
    if abandoned.is_empty() {
        return Ok((0, 0));
    }
    let Contents { adds, removes } = log.contents(version)?;
    let pending = manifest.chains().flat_map(|(_, chain)| &chain.chain);
    let pending: Vec<StagedFile> = pending
        .flat_map(|pending| &pending.files)
        .filter_map(|file| StagedFile::from_json(file).ok())
        .collect();
    let mut named: HashSet<&str> = HashSet::new();
    named.extend(adds.keys().chain(removes.keys()).map(|path| last(path)));
    named.extend(pending.iter().map(|file| last(&file.add.path)));
    let (mut files, mut bytes) = (0, 0);
    let mut folders = HashSet::new();
    for Abandoned { folder, name, len } in &abandoned {
        if named.contains(whole_name(name)) {
            continue;
        }
        log.files.remove(&format!("{folder}/{name}"))?;
        folders.insert(folder);
        files += 1;
        bytes += len;
    }
    // Or a crash would bring them back, when the checkpoint that they were meant for has been made.
    for folder in folders {
        log.files.sync_folder(folder)?;
    }
    Ok((files, bytes))
}

struct Abandoned {
    folder: String,
    name: String,
    len: u64,
}

/// Those in a folder and below it. Folders of the log's, and others that readers pass over, begin with `_`.
fn collect(
    log: &DeltaLog,
    folder: &str,
    now: &Stamp,
    into: &mut Vec<Abandoned>,
) -> Result<(), CatalogError> {
    for entry in log.files.list(folder)? {
        if entry.is_dir {
            if !entry.name.starts_with('_') {
                collect(log, &format!("{folder}/{}", entry.name), now, into)?;
            }
            continue;
        }
        let stamp = Stamp::parse(whole_name(&entry.name));
        if stamp.is_some_and(|stamp| stamp.is_abandoned(now)) {
            into.push(Abandoned {
                folder: folder.to_owned(),
                name: entry.name,
                len: entry.len,
            });
        }
    }
    Ok(())
}

/// The name that a file would have had, were it finished.
fn whole_name(name: &str) -> &str {
    let part = name
        .strip_prefix('.')
        .and_then(|name| name.strip_suffix(".part"));
    part.unwrap_or(name)
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
