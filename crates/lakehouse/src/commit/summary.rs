//! A snapshot's summary: what it added, and with that what the table holds, exactly.
//!
//! Totals are those of the head, plus what was added. A head without totals (some writers leave them out) has none after us
//! either: better none than a wrong one.

use iceberg::spec::{
    DataFile, Operation, PartitionSpec, Snapshot, SnapshotSummaryCollector, Summary, TableMetadata,
};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Which total grows by what.
const TOTALS: [(&str, &str); 6] = [
    ("total-records", "added-records"),
    ("total-data-files", "added-data-files"),
    ("total-files-size", "added-files-size"),
    ("total-delete-files", ""),
    ("total-position-deletes", ""),
    ("total-equality-deletes", ""),
];

/// The summary of an append on top of `head`, with `properties` beside the counts.
pub(super) fn summary<'a>(
    metadata: &TableMetadata,
    head: Option<&Snapshot>,
    mut properties: HashMap<String, String>,
    added: impl Iterator<Item = &'a DataFile>,
) -> Summary {
    let mut collector = SnapshotSummaryCollector::default();
    let schema = metadata.current_schema();
    // Files may be of several specs, and the collector names partitions by one: it is asked for sums alone.
    let no_spec = Arc::new(PartitionSpec::unpartition_spec());
    let mut partitions = HashSet::new();
    for file in added {
        collector.add_file(file, schema.clone(), no_spec.clone());
        if !file.partition().fields().is_empty() {
            partitions.insert(file.partition());
        }
    }
    properties.extend(collector.build());
    if !partitions.is_empty() {
        let changed = partitions.len().to_string();
        properties.insert("changed-partition-count".to_owned(), changed);
    }
    let number = |properties: &HashMap<String, String>, key: &str| -> Option<u64> {
        properties.get(key)?.parse().ok()
    };
    for (total, added) in TOTALS {
        let before = match head {
            None => Some(0),
            Some(head) => number(&head.summary().additional_properties, total),
        };
        if let Some(before) = before {
            let added = number(&properties, added).unwrap_or(0);
            properties.insert(total.to_owned(), (before + added).to_string());
        }
    }
    Summary {
        operation: Operation::Append,
        additional_properties: properties,
    }
}
