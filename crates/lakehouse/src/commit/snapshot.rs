//! The snapshot of a commit: a change and a table in, requirements and updates for the catalog out.
//!
//! One commit is `add-snapshot` + `set-snapshot-ref`, required to meet the table with this uuid and this head; an append also
//! has `set-properties` (the marker) and `remove-snapshots` (expiry). What became of it afterwards is `attempt`'s to find out.

use super::attempt::remove;
use super::branch::Ref;
use super::change::Change;
use super::manifests::{self, Manifests};
use super::rules::Rules;
use super::summary::summary;
use crate::error::{CatalogError, Kind};
use crate::staged::StagedFile;
use crate::storage::Files;
use crate::upkeep::expiry;
use crate::upkeep::refs::Refs;
use iceberg::spec::{
    DataFile, FormatVersion, ManifestFile, PartitionSpecRef, Snapshot, SnapshotReference,
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
        let Change::Append { marker, .. } = self.change else {
            unreachable!("a reference that moves has no snapshot");
        };
        updates.push(TableUpdate::SetProperties {
            updates: HashMap::from([(branch.marker_property(), marker.to_property())]),
        });
        let expired = (self.rules.expire)(metadata, &refs, now_ms);
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
        let Change::Append { marker, pending } = self.change else {
            unreachable!("a reference that moves has no snapshot");
        };
        let own = marker.to_summary(pending);
        let (listed, summary) = self.appended(manifests, listed, pending, own)?;
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
        let head = self.branch.head(self.metadata);
        let summary = summary(self.metadata, head, own, added.values().flatten());
        let mut listed = manifests.merged(listed)?;
        for (spec, files) in added {
            listed.push(manifests.added(spec_of(self.metadata, spec)?, files)?);
        }
        Ok((listed, summary))
    }
}

fn spec_of(metadata: &TableMetadata, spec: i32) -> Result<&PartitionSpecRef, CatalogError> {
    metadata.partition_spec_by_id(spec).ok_or_else(|| {
        CatalogError::new(
            Kind::BadRequest,
            format!("the table has no partition spec {spec} any more"),
        )
    })
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
