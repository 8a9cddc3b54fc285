//! The versions of a table: its snapshots on every branch, its branches and tags, and where an offset went.
//!
//! ```text
//!   begins      expired     the oldest kept range        ends
//!     ├───────────────────────────┼───────┬───────┬───────┤
//!      committed, by whom is gone   each offset in one snapshot
//! ```
//!
//! All of it comes from metadata alone: no manifest and no data file is opened.

use super::{SnapshotView, in_order, snapshot_view, snapshots};
use crate::catalog::LoadedTable;
use crate::commit::branch::ancestors;
use crate::commit::marker::Marker;
use crate::upkeep::refs::{Refs, max_age, retention};
use iceberg::spec::TableMetadata;
use std::collections::BTreeSet;

/// A branch or a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefView {
    pub name: String,
    pub is_branch: bool,
    pub snapshot_id: i64,
    pub max_reference_age_ms: Option<i64>,
    /// Of a branch.
    pub min_snapshots_to_keep: Option<usize>,
    pub max_snapshot_age_ms: Option<i64>,
}

/// All branches and tags, by name.
pub fn refs(metadata: &TableMetadata) -> Vec<RefView> {
    let refs = Refs::of(metadata);
    let view = |(name, reference): (&str, &iceberg::spec::SnapshotReference)| {
        let (min_snapshots_to_keep, max_snapshot_age_ms) = retention(reference);
        RefView {
            name: name.to_owned(),
            is_branch: reference.is_branch(),
            snapshot_id: reference.snapshot_id,
            max_reference_age_ms: max_age(reference),
            min_snapshots_to_keep,
            max_snapshot_age_ms,
        }
    };
    refs.all().map(view).collect()
}

/// Every snapshot that is kept, on whatever branch, newest first.
pub fn all_snapshots(table: &LoadedTable) -> Vec<SnapshotView> {
    let mut all: Vec<_> = table.metadata.snapshots().collect();
    all.sort_by_key(|snapshot| {
        std::cmp::Reverse((snapshot.sequence_number(), snapshot.timestamp_ms()))
    });
    all.into_iter()
        .map(|snapshot| snapshot_view(snapshot))
        .collect()
}

/// A snapshot and its ancestors, newest first, as far as they are kept.
pub fn snapshots_from(table: &LoadedTable, snapshot_id: i64) -> Vec<SnapshotView> {
    in_order(ancestors(&table.metadata, Some(snapshot_id)))
}

/// The snapshots that readers of `main` have seen in their time and can still go back to.
pub fn current_ancestors(metadata: &TableMetadata) -> BTreeSet<i64> {
    let head = metadata.current_snapshot_id();
    let ids = ancestors(metadata, head).map(|snapshot| snapshot.snapshot_id());
    ids.collect()
}

/// What `main` was at a time in milliseconds since 1970, as Iceberg's own readers find it: by the table's log of heads.
pub fn head_at(metadata: &TableMetadata, millis: i64) -> Option<i64> {
    let heads = metadata.history().iter().rev();
    let mut before = heads.filter(|head| head.timestamp_ms() <= millis);
    before.next().map(|head| head.snapshot_id)
}

/// Where an offset of a partition went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The snapshot that accounts for it; `None`: it is gone, and `main` shows what it committed.
    pub snapshot: Option<HeldBy>,
    /// `main` shows it.
    pub current: bool,
}

/// A snapshot that accounts for an offset, and with it for `[start, end)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldBy {
    pub id: i64,
    pub timestamp_ms: i64,
    pub start: i64,
    pub end: i64,
}

/// Which snapshots account for an offset: none where the table never had it, several where branches have it too.
pub fn holders(table: &LoadedTable, topic: &str, partition: i32, offset: i64) -> Vec<Held> {
    let shown = current_ancestors(&table.metadata);
    let mut held = Vec::new();
    for snapshot in all_snapshots(table) {
        let ranges = snapshot.ranges.iter();
        let range = ranges
            .filter(|range| range.topic == topic && range.partition == partition)
            .find(|range| (range.start..range.end).contains(&offset));
        let Some(range) = range else {
            continue;
        };
        held.push(Held {
            current: shown.contains(&snapshot.id),
            snapshot: Some(HeldBy {
                id: snapshot.id,
                timestamp_ms: snapshot.timestamp_ms,
                start: range.start,
                end: range.end,
            }),
        });
    }
    if !held.iter().any(|held| held.current) && expired(table, topic, partition, offset) {
        held.push(Held {
            snapshot: None,
            current: true,
        });
    }
    held
}

/// The offset lies between where the table begins and the oldest range that a kept snapshot of `main` tells.
fn expired(table: &LoadedTable, topic: &str, partition: i32, offset: i64) -> bool {
    let kept = snapshots(table);
    if kept.last().is_none_or(|oldest| oldest.parent.is_none()) {
        return false;
    }
    let ranges = kept.iter().flat_map(|snapshot| &snapshot.ranges);
    let here = ranges.filter(|range| range.topic == topic && range.partition == partition);
    let oldest = here.map(|range| range.start).min();
    let at = |offsets: Vec<lw_runtime::manifest::SplitOffset>| {
        let mut offsets = offsets.into_iter();
        let split = offsets.find(|at| at.topic == topic && at.partition == partition);
        split.map(|at| at.next)
    };
    let Ok(Some(marker)) = Marker::of_table(&table.metadata) else {
        return false;
    };
    let newest = kept.iter().find_map(|snapshot| snapshot.marker.as_ref());
    let end = oldest.or_else(|| at(newest?.ends()));
    match (at(marker.begins()), end) {
        (Some(begin), Some(end)) => (begin..end).contains(&offset),
        _ => false,
    }
}
