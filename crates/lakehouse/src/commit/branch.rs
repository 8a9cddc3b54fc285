//! What the head of a branch shows: its ancestors as far as they are kept, and the newest commit of ours among them.
//!
//! Everyone who asks "is this commit in the table?" asks here: the committer before it decides, the pause that shows where
//! the table ends, the audit. A commit that is not among the ancestors was rolled back, or its snapshot is gone.

use super::decide::on_branch;
use super::marker::{Marker, PROPERTIES, upholds};
use iceberg::TableRequirement;
use iceberg::spec::{MAIN_BRANCH, Snapshot, TableMetadata};

/// A branch that commits go to, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ref(String);

impl Ref {
    pub(crate) fn main() -> Ref {
        Ref(MAIN_BRANCH.to_owned())
    }

    /// A branch or tag of this name.
    pub(crate) fn named(name: &str) -> Ref {
        Ref(name.to_owned())
    }

    pub(crate) fn name(&self) -> &str {
        &self.0
    }

    pub(crate) fn is_main(&self) -> bool {
        self.0 == MAIN_BRANCH
    }

    /// The property of the table that holds the branch's newest marker.
    pub(crate) fn marker_property(&self) -> String {
        format!("{PROPERTIES}{}", self.0)
    }

    pub(crate) fn head<'a>(&self, metadata: &'a TableMetadata) -> Option<&'a Snapshot> {
        metadata.snapshot_for_ref(&self.0).map(|head| &**head)
    }

    /// The table must be this one, and the branch where it is.
    pub(crate) fn requirements(&self, metadata: &TableMetadata) -> Vec<TableRequirement> {
        vec![
            TableRequirement::UuidMatch {
                uuid: metadata.uuid(),
            },
            TableRequirement::RefSnapshotIdMatch {
                r#ref: self.0.clone(),
                snapshot_id: self.head(metadata).map(Snapshot::snapshot_id),
            },
        ]
    }
}

pub(crate) struct Branch<'a> {
    /// Newest first.
    ancestors: Vec<&'a Snapshot>,
}

impl<'a> Branch<'a> {
    /// `main`.
    pub(crate) fn of(metadata: &'a TableMetadata) -> Branch<'a> {
        Branch::named(metadata, &Ref::main())
    }

    pub(crate) fn named(metadata: &'a TableMetadata, branch: &Ref) -> Branch<'a> {
        Branch::at(metadata, branch.head(metadata).map(Snapshot::snapshot_id))
    }

    /// What a branch would show if this were its head.
    pub(crate) fn at(metadata: &'a TableMetadata, head: Option<i64>) -> Branch<'a> {
        Branch {
            ancestors: ancestors(metadata, head).collect(),
        }
    }

    /// Head first.
    pub(crate) fn snapshots(&self) -> impl Iterator<Item = &'a Snapshot> {
        self.ancestors.iter().copied()
    }

    /// Of the ancestors that are kept, and of those that our upkeep upholds: who begot whom does not change, so they are
    /// ancestors whether or not anybody still keeps them.
    pub(crate) fn ids(&self) -> Vec<i64> {
        let own = self.snapshots().map(Snapshot::snapshot_id);
        own.chain(self.snapshots().filter_map(upholds)).collect()
    }

    /// The parent that the oldest kept ancestor names: the last thing that is known.
    pub(crate) fn horizon(&self) -> Option<i64> {
        self.ancestors.last()?.parent_snapshot_id()
    }

    /// All snapshots down to the first are kept, or there is none: what is not seen is not there.
    pub(crate) fn is_complete(&self) -> bool {
        self.horizon().is_none()
    }

    /// The newest commit of ours that readers of the head see.
    pub(crate) fn newest_marker(&self) -> Option<Marker> {
        self.snapshots().find_map(Marker::of_snapshot)
    }

    /// Readers of the head see a commit of ours that ends behind the marker, which was taken back before, or removed.
    pub(crate) fn outruns(&self, marker: Option<&Marker>) -> bool {
        let marker = marker.map(Marker::to_table_marker);
        self.newest_marker()
            .is_some_and(|seen| marker.is_none_or(|marker| seen.to_table_marker().outruns(&marker)))
    }

    /// The snapshot that the marker names is the head or an ancestor of it.
    pub(crate) fn holds(&self, marker: &Marker) -> bool {
        on_branch(&marker.snapshot_id, &self.ids(), self.horizon().as_ref())
    }
}

/// A snapshot and its ancestors as far as they are kept, newest first.
pub(crate) fn ancestors(
    metadata: &TableMetadata,
    from: Option<i64>,
) -> impl Iterator<Item = &Snapshot> {
    let first = from.and_then(|id| metadata.snapshot_by_id(id));
    std::iter::successors(first, |snapshot| {
        snapshot
            .parent_snapshot_id()
            .and_then(|parent| metadata.snapshot_by_id(parent))
    })
    .map(|snapshot| &**snapshot)
}
