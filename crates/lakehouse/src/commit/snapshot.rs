//! The snapshot of a commit: a change and a table in, requirements and updates for the catalog out.
//!
//! One commit is `add-snapshot` + `set-snapshot-ref`, required to meet the table with this uuid and this head, and
//! `remove-snapshots` (expiry); an append also has `set-properties` (the marker). A rewrite leaves the marker's property alone:
//! it names a snapshot that stays an ancestor, and the rewrite [says so itself](marker::UPHOLDS), should that one go. What became of it afterwards is `attempt`'s to find out.

use super::attempt::remove;
use super::branch::{Branch, Ref};
use super::cached::Cached;
use super::change::{Change, Rewrite};
use super::manifests::{self, Manifests, spec_of};
use super::marker;
use super::rules::Rules;
use super::summary::{Moved, summary};
use crate::error::{CatalogError, Kind};
use crate::staged::StagedFile;
use crate::storage::Files;
use crate::upkeep::expiry;
use crate::upkeep::refs::Refs;
use iceberg::spec::{
    DataFile, FormatVersion, ManifestFile, Operation, Snapshot, SnapshotReference,
    SnapshotRetention, Summary, TableMetadata,
};
use iceberg::{TableIdent, TableRequirement, TableUpdate};
use lw_runtime::manifest::Pending;
use std::collections::{BTreeMap, HashMap};
use uuid::Uuid;

/// A commit, ready for the catalog.
pub(crate) struct Produced {
    pub(crate) snapshot_id: i64,
    pub(crate) sequence: i64,
    pub(crate) requirements: Vec<TableRequirement>,
    pub(crate) updates: Vec<TableUpdate>,
    /// Files that nobody names should the commit not come about.
    pub(crate) written: Vec<String>,
    /// Snapshots that end with it.
    pub(crate) expired: Vec<i64>,
}

/// # Errors
/// When the table's format version is one that we would not write right.
pub(crate) fn check_version(
    table: &TableIdent,
    metadata: &TableMetadata,
) -> Result<(), CatalogError> {
    if metadata.format_version() < FormatVersion::V3 {
        return Ok(());
    }
    let version = metadata.format_version() as u8;
    Err(CatalogError::new(
        Kind::Unsupported,
        format!(
            "the table {table} has Iceberg format version {version}, and Lakeward writes version 2: \
             not all readers understand row lineage and deletion vectors yet"
        ),
    ))
}

/// The snapshot `snapshot_id` on `branch`, which is to make `change`.
pub(crate) struct SnapshotProducer<'a> {
    pub(crate) files: &'a Files,
    pub(crate) cached: &'a Cached,
    pub(crate) metadata: &'a TableMetadata,
    pub(crate) branch: &'a Ref,
    pub(crate) change: &'a Change<'a>,
    pub(crate) snapshot_id: i64,
    pub(crate) now_ms: i64,
    /// Makes names unique across attempts.
    pub(crate) commit: Uuid,
    pub(crate) rules: &'a Rules,
}

impl SnapshotProducer<'_> {
    /// Writes its manifests; one that fails leaves none.
    pub(crate) fn produce(self) -> Result<Produced, CatalogError> {
        let (metadata, branch) = (self.metadata, self.branch);
        let mut manifests = Manifests {
            files: self.files,
            cached: self.cached,
            metadata,
            parent: branch.head(metadata).map(Snapshot::snapshot_id),
            snapshot_id: self.snapshot_id,
            commit: self.commit,
            keep: self.rules.keep,
            written: Vec::new(),
        };
        let snapshot = match self.snapshot(&mut manifests) {
            Ok(snapshot) => snapshot,
            Err(error) => {
                remove(self.files, &manifests.written);
                return Err(error);
            }
        };
        let refs = Refs::of(metadata);
        let (now_ms, sequence) = (snapshot.timestamp_ms(), snapshot.sequence_number());
        let mut updates = vec![
            TableUpdate::AddSnapshot { snapshot },
            TableUpdate::SetSnapshotRef {
                ref_name: branch.name().to_owned(),
                reference: reference(metadata, &refs, branch, self.snapshot_id),
            },
        ];
        let mut expired = (self.rules.expire)(metadata, &refs, now_ms);
        match self.change {
            Change::Append { marker, .. } => updates.push(TableUpdate::SetProperties {
                updates: HashMap::from([(branch.marker_property(), marker.to_property())]),
            }),
            Change::MoveRef(_) | Change::Columns(_) | Change::Properties { .. } => {
                unreachable!("it has no snapshot")
            }
            // Nobody states the newest marker again: it stays.
            Change::Rewrite(_) => {
                let newest = Branch::of(metadata).newest_marker();
                expired.retain(|id| newest.as_ref().is_none_or(|one| one.snapshot_id != *id));
            }
        }
        updates.extend(expiry::updates(metadata, &expired));
        Ok(Produced {
            snapshot_id: self.snapshot_id,
            sequence,
            requirements: branch.requirements(metadata),
            updates,
            written: manifests.written,
            expired,
        })
    }

    fn snapshot(&self, manifests: &mut Manifests<'_>) -> Result<Snapshot, CatalogError> {
        let metadata = self.metadata;
        let head = self.branch.head(metadata);
        let mut listed = match head {
            Some(head) => manifests::load_list(manifests.files, metadata, head)?,
            None => Vec::new(),
        };
        listed.retain(self.rules.carry);
        let (listed, summary) = match self.change {
            Change::Append { marker, pending } => {
                let own = marker.to_summary(pending);
                self.appended(manifests, listed, pending, own)?
            }
            Change::MoveRef(_) | Change::Columns(_) | Change::Properties { .. } => {
                unreachable!("it has no snapshot")
            }
            Change::Rewrite(rewrite) => self.rewritten(manifests, listed, rewrite)?,
        };
        let sequence = metadata.next_sequence_number();
        let list = manifests.list(sequence, listed)?;
        Ok(Snapshot::builder()
            .with_snapshot_id(manifests.snapshot_id)
            .with_parent_snapshot_id(manifests.parent)
            .with_sequence_number(sequence)
            // Snapshot times never go back, whatever the clock does.
            .with_timestamp_ms(self.now_ms.max(metadata.last_updated_ms() + 1))
            .with_manifest_list(list)
            .with_summary(summary)
            .with_schema_id(metadata.current_schema_id())
            .build())
    }

    fn appended(
        &self,
        manifests: &mut Manifests<'_>,
        listed: Vec<ManifestFile>,
        pending: &[Pending],
        own: HashMap<String, String>,
    ) -> Result<(Vec<ManifestFile>, Summary), CatalogError> {
        let added = added_files(self.metadata, pending)?;
        let moved = Moved {
            added: added.values().flatten().collect(),
            ..Moved::default()
        };
        let head = self.branch.head(self.metadata);
        let summary = summary(self.metadata, head, Operation::Append, own, &moved);
        let mut listed = manifests.merged(listed)?;
        for (spec, files) in added {
            listed.push(manifests.added(spec_of(self.metadata, spec)?, files, None)?);
        }
        Ok((listed, summary))
    }

    fn rewritten(
        &self,
        manifests: &mut Manifests<'_>,
        listed: Vec<ManifestFile>,
        rewrite: &Rewrite,
    ) -> Result<(Vec<ManifestFile>, Summary), CatalogError> {
        let metadata = self.metadata;
        let moved = Moved {
            added: rewrite.added().iter().map(|made| &made.file).collect(),
            removed: rewrite.removed().iter().map(|one| &one.file).collect(),
        };
        let own = marker::upheld(Branch::of(metadata).newest_marker().as_ref());
        let head = self.branch.head(metadata);
        let summary = summary(metadata, head, Operation::Replace, own, &moved);
        let removed = moved.removed.iter().map(|file| file.file_path());
        let mut listed = manifests.without(listed, &removed.collect())?;
        let mut added: BTreeMap<i32, Vec<DataFile>> = BTreeMap::new();
        for made in rewrite.added() {
            let of_spec = added.entry(made.spec_id).or_default();
            of_spec.push(made.file.clone());
        }
        let sequence = Some(rewrite.sequence());
        for (spec, files) in added {
            listed.push(manifests.added(spec_of(metadata, spec)?, files, sequence)?);
        }
        Ok((listed, summary))
    }
}

/// The files of the pending commits by partition spec.
fn added_files(
    metadata: &TableMetadata,
    pending: &[Pending],
) -> Result<BTreeMap<i32, Vec<DataFile>>, CatalogError> {
    let mut added: BTreeMap<i32, Vec<DataFile>> = BTreeMap::new();
    for file in pending.iter().flat_map(|pending| &pending.files) {
        let staged = StagedFile::from_json(file)?;
        added
            .entry(staged.spec_id)
            .or_default()
            .push(staged.data_file(metadata)?);
    }
    Ok(added)
}

/// The branch moves and keeps its own retention. One that we begin asks other engines' expiry to keep some snapshots, unless
/// the table says how many.
fn reference(
    metadata: &TableMetadata,
    refs: &Refs,
    branch: &Ref,
    snapshot_id: i64,
) -> SnapshotReference {
    let retention = match refs.get(branch.name()) {
        Some(existing) => existing.retention.clone(),
        None => {
            let said = metadata.properties().contains_key(expiry::MIN_KEPT);
            let kept = i32::try_from(expiry::kept_always(metadata)).expect("a small number");
            SnapshotRetention::branch((!said).then_some(kept), None, None)
        }
    };
    SnapshotReference::new(snapshot_id, retention)
}
