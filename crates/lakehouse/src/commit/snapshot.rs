//! The snapshot of a commit: a change and a table in, requirements and updates for the catalog out.
//!
//! One commit is `add-snapshot` + `set-snapshot-ref`, required to meet the table with this uuid and this head, and
//! `remove-snapshots` (expiry); an append, and a branch that begins, also has `set-properties` (the marker). A rewrite leaves the marker's property alone:
//! it names a snapshot that stays an ancestor, and the rewrite [says so itself](marker::UPHOLDS), should that one go. What became of it afterwards is `attempt`'s to find out.

use super::attempt::remove;
use super::branch::{Branch, Ref};
use super::cached::Cached;
use super::change::{Change, Erase, Made, Promote, Removal, Rewrite};
use super::listing::Listed;
use super::manifests::{self, Gone, Manifests, spec_of};
use super::marker::{self, BRANCH, Marker};
use super::rules::Rules;
use super::summary::{Moved, summary};
use crate::error::{CatalogError, Kind};
use crate::replay::Promotion;
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
            parent: self.head().map(Snapshot::snapshot_id),
            snapshot_id: self.snapshot_id,
            commit: self.commit,
            keep: self.rules.keep,
            gone: match self.change {
                Change::Erase(_) => Gone::Forgotten,
                _ => Gone::Told,
            },
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
        let expired = self.expired(&refs, now_ms);
        let stated: Option<&Marker> = match self.change {
            Change::Append { marker, .. } => Some(marker),
            Change::Fork { marker, .. } => Some(marker),
            Change::Promote(promote) => Some(&promote.marker),
            Change::Erase(erase) => erase.property.as_ref(),
            Change::MoveRef(_)
            | Change::Columns(_)
            | Change::Properties { .. }
            | Change::Expire { .. } => {
                unreachable!("it has no snapshot")
            }
            Change::Rewrite(_) => None,
        };
        updates.extend(stated.map(|marker| TableUpdate::SetProperties {
            updates: HashMap::from([(branch.marker_property(), marker.to_property())]),
        }));
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

    /// The snapshot that the new one follows.
    fn head(&self) -> Option<&Snapshot> {
        match self.change {
            Change::Fork { from, .. } => {
                let from = self.metadata.snapshot_by_id(*from);
                from.map(|snapshot| &**snapshot)
            }
            _ => self.branch.head(self.metadata),
        }
    }

    /// The snapshots that end with this one. Where nobody states the newest marker of `main` again, its snapshot stays.
    fn expired(&self, refs: &Refs, now_ms: i64) -> Vec<i64> {
        let states = match self.change {
            Change::Append { .. } | Change::Promote(_) => self.branch.is_main(),
            Change::Rewrite(_) => false,
            // A branch that begins needs what it begins from, and leaves the rest to the commits of `main`; an erasure says itself
            // which end.
            Change::Fork { .. }
            | Change::Erase(_)
            | Change::MoveRef(_)
            | Change::Columns(_)
            | Change::Expire { .. }
            | Change::Properties { .. } => return Vec::new(),
        };
        let mut expired = (self.rules.expire)(self.metadata, refs, now_ms);
        if !states {
            let newest = Branch::of(self.metadata).newest_marker();
            expired.retain(|id| newest.as_ref().is_none_or(|one| one.snapshot_id != *id));
        }
        expired
    }

    fn snapshot(&self, manifests: &mut Manifests<'_>) -> Result<Snapshot, CatalogError> {
        let metadata = self.metadata;
        let head = self.head();
        let mut listed = match head {
            Some(head) => manifests::load_list(manifests.files, metadata, head)?,
            None => Vec::new(),
        };
        listed.retain(self.rules.carry);
        let (listed, summary) = match self.change {
            Change::Append { marker, pending } => {
                let own = self.told(marker, pending);
                self.appended(manifests, listed, pending, own)?
            }
            Change::Fork {
                marker,
                says: (key, value),
                without,
                ..
            } => {
                let mut own = self.told(marker, &[]);
                own.insert((*key).to_owned(), value.clone());
                self.removed(manifests, listed, without, own)?
            }
            Change::Erase(erase) => {
                let own = self.erasing(erase);
                self.removed(manifests, listed, erase.without, own)?
            }
            Change::MoveRef(_)
            | Change::Columns(_)
            | Change::Properties { .. }
            | Change::Expire { .. } => {
                unreachable!("it has no snapshot")
            }
            Change::Rewrite(rewrite) => self.rewritten(manifests, listed, rewrite)?,
            Change::Promote(promote) => self.promoted(manifests, listed, promote)?,
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

    /// What a summary says of the commit; of one to another branch than `main` also which.
    fn told(&self, marker: &Marker, pending: &[Pending]) -> HashMap<String, String> {
        let mut own = marker.to_summary(pending);
        if !self.branch.is_main() {
            own.insert(BRANCH.to_owned(), self.branch.name().to_owned());
        }
        own
    }

    /// The same of an erasure: whose commit is stated once more, and what it says itself.
    fn erasing(&self, erase: &Erase<'_>) -> HashMap<String, String> {
        let mut own = match &erase.marker {
            Some(marker) => self.told(marker, &[]),
            None => HashMap::new(),
        };
        own.extend(erase.says.clone());
        own
    }

    fn removed(
        &self,
        manifests: &mut Manifests<'_>,
        listed: Vec<ManifestFile>,
        removal: &Removal,
        own: HashMap<String, String>,
    ) -> Result<(Vec<ManifestFile>, Summary), CatalogError> {
        let moved = Moved {
            added: removal.copies.iter().map(|made| &made.file).collect(),
            removed: removal.removed.iter().map(|one| &one.file).collect(),
        };
        let summary = summary(
            self.metadata,
            self.head(),
            Operation::Overwrite,
            own,
            &moved,
        );
        let listed = self.exchanged(
            manifests,
            listed,
            &removal.removed,
            &removal.copies,
            removal.sequence,
        )?;
        Ok((listed, summary))
    }

    fn promoted(
        &self,
        manifests: &mut Manifests<'_>,
        listed: Vec<ManifestFile>,
        promote: &Promote<'_>,
    ) -> Result<(Vec<ManifestFile>, Summary), CatalogError> {
        let pending = std::slice::from_ref(promote.pending);
        let mut own = self.told(&promote.marker, pending);
        let (key, value) = &promote.says;
        own.insert((*key).to_owned(), value.clone());
        let head = self.head();
        let Some(without) = &promote.without else {
            let nothing = Moved::default();
            let summary = summary(self.metadata, head, Operation::Append, own, &nothing);
            return Ok((listed, summary));
        };
        let added = added_files(self.metadata, pending)?;
        let copies = without.copies.iter().map(|made| &made.file);
        let moved = Moved {
            added: added.values().flatten().chain(copies).collect(),
            removed: without.removed.iter().map(|one| &one.file).collect(),
        };
        let summary = summary(self.metadata, head, Operation::Overwrite, own, &moved);
        let (removed, copies) = (&without.removed, &without.copies);
        let mut listed = self.exchanged(manifests, listed, removed, copies, without.sequence)?;
        for (spec, files) in added {
            listed.push(manifests.added(spec_of(self.metadata, spec)?, files, None)?);
        }
        Ok((listed, summary))
    }

    /// The manifests with these files in place of those, their rows as old as `sequence` says.
    fn exchanged(
        &self,
        manifests: &mut Manifests<'_>,
        listed: Vec<ManifestFile>,
        removed: &[Listed],
        made: &[Made],
        sequence: i64,
    ) -> Result<Vec<ManifestFile>, CatalogError> {
        let removed = removed.iter().map(|one| one.file.file_path());
        let mut listed = manifests.without(listed, &removed.collect())?;
        let mut added: BTreeMap<i32, Vec<DataFile>> = BTreeMap::new();
        for made in made {
            let of_spec = added.entry(made.spec_id).or_default();
            of_spec.push(made.file.clone());
        }
        for (spec, files) in added {
            let spec = spec_of(self.metadata, spec)?;
            listed.push(manifests.added(spec, files, Some(sequence))?);
        }
        Ok(listed)
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
        let listed = self.exchanged(
            manifests,
            listed,
            rewrite.removed(),
            rewrite.added(),
            rewrite.sequence(),
        )?;
        Ok((listed, summary))
    }
}

/// The files of the pending commits by partition spec.
fn added_files(
    metadata: &TableMetadata,
    pending: &[Pending],
) -> Result<BTreeMap<i32, Vec<DataFile>>, CatalogError> {
    let mut added: BTreeMap<i32, Vec<DataFile>> = BTreeMap::new();
    let files = pending.iter().flat_map(|pending| &pending.files);
    for file in files.filter(|file| !Promotion::is_one(file)) {
        let staged = StagedFile::from_json(file)?;
        added
            .entry(staged.spec_id)
            .or_default()
            .push(staged.data_file(metadata)?);
    }
    Ok(added)
}

/// The branch moves and keeps its own retention. `main`, where we begin it, asks other engines' expiry to keep some snapshots,
/// unless the table says how many.
fn reference(
    metadata: &TableMetadata,
    refs: &Refs,
    branch: &Ref,
    snapshot_id: i64,
) -> SnapshotReference {
    let retention = match refs.get(branch.name()) {
        Some(existing) => existing.retention.clone(),
        // What a branch of ours is compared with, and begins with, has to stay as long as it does.
        None if !branch.is_main() => SnapshotRetention::branch(None, None, None),
        None => {
            let said = metadata.properties().contains_key(expiry::MIN_KEPT);
            let kept = i32::try_from(expiry::kept_always(metadata)).expect("a small number");
            SnapshotRetention::branch((!said).then_some(kept), None, None)
        }
    };
    SnapshotReference::new(snapshot_id, retention)
}
