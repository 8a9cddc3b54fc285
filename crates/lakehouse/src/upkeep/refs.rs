//! Branches and tags of a table, parsed once per commit.
//!
//! Iceberg's type gives references out by name only, without their retention; its JSON has them all.

use iceberg::spec::{MAIN_BRANCH, SnapshotReference, SnapshotRetention, TableMetadata};
use serde::Deserialize;
use std::collections::BTreeMap;

pub(crate) struct Refs(BTreeMap<String, SnapshotReference>);

impl Refs {
    pub(crate) fn of(metadata: &TableMetadata) -> Refs {
        let text = serde_json::to_string(metadata).expect("metadata that was read can be written");
        Refs::in_document(&text)
    }

    /// Those of the metadata whose document this is.
    pub(crate) fn in_document(text: &str) -> Refs {
        #[derive(Deserialize)]
        struct Document {
            #[serde(default)]
            refs: BTreeMap<String, SnapshotReference>,
        }
        let document: Document = serde_json::from_str(text).expect("what was written is JSON");
        Refs(document.refs)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&SnapshotReference> {
        self.0.get(name)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &SnapshotReference)> {
        let all = self.0.iter();
        all.map(|(name, reference)| (name.as_str(), reference))
    }

    /// All but `main`.
    pub(crate) fn others(&self) -> impl Iterator<Item = (&str, &SnapshotReference)> {
        self.all().filter(|(name, _)| *name != MAIN_BRANCH)
    }
}

/// What a branch says of its own snapshots: how many stay at least, and for how many milliseconds.
pub(crate) fn retention(reference: &SnapshotReference) -> (Option<usize>, Option<i64>) {
    match &reference.retention {
        SnapshotRetention::Branch {
            min_snapshots_to_keep,
            max_snapshot_age_ms,
            ..
        } => (
            min_snapshots_to_keep.and_then(|count| usize::try_from(count).ok()),
            *max_snapshot_age_ms,
        ),
        SnapshotRetention::Tag { .. } => (None, None),
    }
}

/// For how many milliseconds the reference itself stays, where it says so.
pub(crate) fn max_age(reference: &SnapshotReference) -> Option<i64> {
    match &reference.retention {
        SnapshotRetention::Branch { max_ref_age_ms, .. }
        | SnapshotRetention::Tag { max_ref_age_ms } => *max_ref_age_ms,
    }
}
