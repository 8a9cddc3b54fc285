//! The snapshot of a commit: pending commits and a table in, requirements and updates for the catalog out.
//!
//! One commit is `add-snapshot` + `set-snapshot-ref` + `set-properties` (the marker) + `remove-snapshots` (expiry), required
//! to meet the table with this uuid and this head. What became of it afterwards is `attempt`'s to find out.

use super::attempt::remove;
use super::branch::Ref;
use super::manifests::{self, Manifests};
use super::marker::Marker;
use super::rules::Rules;
use crate::error::{CatalogError, Kind};
use crate::staged::StagedFile;
use crate::storage::Files;
use crate::upkeep::expiry;
use crate::upkeep::refs::Refs;
use iceberg::spec::{
    DataFile, FormatVersion, Operation, Snapshot, SnapshotReference, SnapshotRetention,
    SnapshotSummaryCollector, Summary, TableMetadata,
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

/// The snapshot `marker.snapshot_id` on `branch`, which is to commit `pending`. Without pending commits it holds what the
/// head holds, and only the marker is new.
pub(crate) struct Draft<'a> {
    pub(crate) files: &'a Files,
    pub(crate) metadata: &'a TableMetadata,
    pub(crate) branch: Ref,
    pub(crate) marker: &'a Marker,
    pub(crate) pending: &'a [Pending],
    pub(crate) now_ms: i64,
    /// Makes names unique across attempts.
    pub(crate) commit: Uuid,
    pub(crate) rules: &'a Rules,
}

impl Draft<'_> {
    /// Writes its manifests; one that fails leaves none.
    pub(crate) fn produce(self) -> Result<Produced, CatalogError> {
        let (metadata, branch, marker) = (self.metadata, self.branch, self.marker);
        let mut manifests = Manifests {
            files: self.files,
            metadata,
            snapshot_id: marker.snapshot_id,
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
        let expired = (self.rules.expire)(metadata, &refs, snapshot.timestamp_ms());
        let sequence = snapshot.sequence_number();
        let mut updates = vec![
            TableUpdate::AddSnapshot { snapshot },
            TableUpdate::SetSnapshotRef {
                ref_name: branch.name.to_owned(),
                reference: reference(metadata, &refs, branch, marker.snapshot_id),
            },
            TableUpdate::SetProperties {
                updates: HashMap::from([(branch.marker.to_owned(), marker.to_property())]),
            },
        ];
        updates.extend(expiry::updates(metadata, &expired));
        Ok(Produced {
            snapshot_id: marker.snapshot_id,
            sequence,
            requirements: branch.requirements(metadata),
            updates,
            written: manifests.written,
            expired,
        })
    }

    fn snapshot(&self, manifests: &mut Manifests<'_>) -> Result<Snapshot, CatalogError> {
        let metadata = self.metadata;
        let added = added_files(metadata, self.pending)?;
        let summary = summary(
            metadata,
            self.marker.to_summary(self.pending),
            added.values().flatten(),
        );
        let mut all = match metadata.current_snapshot() {
            Some(head) => manifests::load_list(manifests.files, metadata, head)?,
            None => Vec::new(),
        };
        all.retain(self.rules.carry);
        let mut all = manifests.merged(all)?;
        for (spec, files) in added {
            let spec = metadata.partition_spec_by_id(spec).ok_or_else(|| {
                CatalogError::new(
                    Kind::BadRequest,
                    format!("the table has no partition spec {spec} any more"),
                )
            })?;
            all.push(manifests.added(metadata.current_schema().clone(), spec, files)?);
        }
        let sequence = metadata.next_sequence_number();
        let list = manifests.list(sequence, all)?;
        Ok(Snapshot::builder()
            .with_snapshot_id(manifests.snapshot_id)
            .with_parent_snapshot_id(metadata.current_snapshot_id())
            .with_sequence_number(sequence)
            // Snapshot times never go back, whatever the clock does.
            .with_timestamp_ms(self.now_ms.max(metadata.last_updated_ms() + 1))
            .with_manifest_list(list)
            .with_summary(summary)
            .with_schema_id(metadata.current_schema_id())
            .build())
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

fn summary<'a>(
    metadata: &TableMetadata,
    marker: HashMap<String, String>,
    added: impl Iterator<Item = &'a DataFile>,
) -> Summary {
    let mut collector = SnapshotSummaryCollector::default();
    for file in added {
        collector.add_file(
            file,
            metadata.current_schema().clone(),
            metadata.default_partition_spec().clone(),
        );
    }
    let mut properties = marker;
    properties.extend(collector.build());
    let previous = metadata
        .current_snapshot()
        .map(|head| &head.summary().additional_properties);
    for (total, added) in [
        ("total-records", "added-records"),
        ("total-data-files", "added-data-files"),
        ("total-files-size", "added-files-size"),
        ("total-delete-files", ""),
        ("total-position-deletes", ""),
        ("total-equality-deletes", ""),
    ] {
        // A head without totals (some writers leave them out) has none after us either: better none than a wrong one.
        let before = match previous {
            None => Some(0),
            Some(properties) => properties
                .get(total)
                .and_then(|text| text.parse::<u64>().ok()),
        };
        if let Some(before) = before {
            let added = properties
                .get(added)
                .and_then(|text| text.parse::<u64>().ok())
                .unwrap_or(0);
            properties.insert(total.to_owned(), (before + added).to_string());
        }
    }
    Summary {
        operation: Operation::Append,
        additional_properties: properties,
    }
}

/// The branch moves and keeps its own retention. One that we begin asks other engines' expiry to keep some snapshots, unless
/// the table says how many.
fn reference(
    metadata: &TableMetadata,
    refs: &Refs,
    branch: Ref,
    snapshot_id: i64,
) -> SnapshotReference {
    let retention = match refs.get(branch.name) {
        Some(existing) => existing.retention.clone(),
        None => {
            let said = metadata.properties().contains_key(expiry::MIN_KEPT);
            let kept = i32::try_from(expiry::kept_always(metadata)).expect("a small number");
            SnapshotRetention::branch((!said).then_some(kept), None, None)
        }
    };
    SnapshotReference::new(snapshot_id, retention)
}
