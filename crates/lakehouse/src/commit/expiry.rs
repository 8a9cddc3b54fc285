//! Expiry: old snapshots of `main` end with the commit that makes them too many, and take their own files with them.
//!
//! Only metadata goes: a manifest list has one snapshot, and an Iceberg manifest goes with the last snapshot that lists it.
//! Data files of an appended table are always in its head. A crash between the commit and the removal leaves files that
//! nobody names: only space.

use super::branch::ancestors;
use super::manifests;
use super::snapshot::refs;
use crate::error::CatalogError;
use crate::storage::Files;
use iceberg::spec::{MAIN_BRANCH, ManifestFile, Snapshot, TableMetadata};
use std::collections::HashSet;

/// Snapshots kept on the branch, unless the table says otherwise.
const KEPT: usize = 100;
const KEEP_PROPERTY: &str = "lakeward.snapshots.keep";

/// Snapshots of `main` beyond those kept, when one more is made. Whatever another branch or a tag can reach stays, and so
/// does the newest marker's snapshot: it is the one being made.
pub(super) fn expired(metadata: &TableMetadata) -> Vec<i64> {
    let keep = metadata
        .properties()
        .get(KEEP_PROPERTY)
        .and_then(|text| text.parse().ok())
        .unwrap_or(KEPT)
        .max(1);
    let reachable: HashSet<i64> = refs(metadata)
        .into_iter()
        .filter(|(name, _)| name != MAIN_BRANCH)
        .flat_map(|(_, reference)| ancestors(metadata, Some(reference.snapshot_id)))
        .map(Snapshot::snapshot_id)
        .collect();
    ancestors(metadata, metadata.current_snapshot_id())
        .skip(keep - 1)
        .map(Snapshot::snapshot_id)
        .filter(|id| !reachable.contains(id))
        .collect()
}

/// The files that only the snapshots named which `after` no longer has.
pub(super) fn unnamed(
    files: &Files,
    before: &TableMetadata,
    after: &TableMetadata,
) -> Result<Vec<String>, CatalogError> {
    let gone = |snapshot: &&Snapshot| after.snapshot_by_id(snapshot.snapshot_id()).is_none();
    let gone: Vec<&Snapshot> = before
        .snapshots()
        .map(|snapshot| &**snapshot)
        .filter(gone)
        .collect();
    let mut unnamed = listed(files, before, gone.iter().copied())?;
    // Most commits only add a manifest, so the snapshot above usually lists them all and the others need not be read.
    let oldest = ancestors(after, after.current_snapshot_id()).last();
    let others = after.snapshots().map(|snapshot| &**snapshot);
    for snapshot in oldest.into_iter().chain(others) {
        if unnamed.is_empty() {
            break;
        }
        let named = listed(files, after, [snapshot])?;
        unnamed.retain(|manifest| !named.contains(manifest));
    }
    let lists = gone
        .iter()
        .map(|snapshot| snapshot.manifest_list().to_owned());
    Ok(unnamed.into_iter().chain(lists).collect())
}

fn listed<'a>(
    files: &Files,
    metadata: &TableMetadata,
    snapshots: impl IntoIterator<Item = &'a Snapshot>,
) -> Result<HashSet<String>, CatalogError> {
    let mut listed = HashSet::new();
    for snapshot in snapshots {
        let manifests = manifests::load_list(files, metadata, snapshot)?;
        listed.extend(
            manifests
                .into_iter()
                .map(|manifest: ManifestFile| manifest.manifest_path),
        );
    }
    Ok(listed)
}
