//! A snapshot's summary: what it added and took away, and with that what the table holds, exactly.
//!
//! Totals are those of the head, plus what was added, less what went. A head without totals (some writers leave them out) has none after us
//! either: better none than a wrong one.

use iceberg::spec::{
    DataFile, Operation, PartitionSpec, Snapshot, SnapshotSummaryCollector, Summary, TableMetadata,
};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Which total grows by what, and shrinks by what.
const TOTALS: [(&str, &str, &str); 6] = [
    ("total-records", "added-records", "deleted-records"),
    ("total-data-files", "added-data-files", "deleted-data-files"),
    ("total-files-size", "added-files-size", "removed-files-size"),
    ("total-delete-files", "", ""),
    ("total-position-deletes", "", ""),
    ("total-equality-deletes", "", ""),
];

/// The data files that a snapshot adds and takes away.
#[derive(Default)]
pub(super) struct Moved<'a> {
    pub(super) added: Vec<&'a DataFile>,
    pub(super) removed: Vec<&'a DataFile>,
}

/// The summary of a snapshot on top of `head`, with `properties` beside the counts.
pub(super) fn summary(
    metadata: &TableMetadata,
    head: Option<&Snapshot>,
    operation: Operation,
    mut properties: HashMap<String, String>,
    moved: &Moved<'_>,
) -> Summary {
    let mut collector = SnapshotSummaryCollector::default();
    let schema = metadata.current_schema();
    // Files may be of several specs, and the collector names partitions by one: it is asked for sums alone.
    let no_spec = Arc::new(PartitionSpec::unpartition_spec());
    for file in &moved.added {
        collector.add_file(file, schema.clone(), no_spec.clone());
    }
    for file in &moved.removed {
        collector.remove_file(file, schema.clone(), no_spec.clone());
    }
    let files = moved.added.iter().chain(&moved.removed);
    let partitions: HashSet<_> = files
        .map(|file| file.partition())
        .filter(|partition| !partition.fields().is_empty())
        .collect();
    properties.extend(collector.build());
    if !partitions.is_empty() {
        let changed = partitions.len().to_string();
        properties.insert("changed-partition-count".to_owned(), changed);
    }
    let number = |properties: &HashMap<String, String>, key: &str| -> Option<u64> {
        properties.get(key)?.parse().ok()
    };
    for (total, added, removed) in TOTALS {
        let before = match head {
            None => Some(0),
            Some(head) => number(&head.summary().additional_properties, total),
        };
        let moved = |key| number(&properties, key).unwrap_or(0);
        // A head that says less than what it has says nothing.
        let after = before.and_then(|before| (before + moved(added)).checked_sub(moved(removed)));
        if let Some(after) = after {
            properties.insert(total.to_owned(), after.to_string());
        }
    }
    Summary {
        operation,
        additional_properties: properties,
    }
}
