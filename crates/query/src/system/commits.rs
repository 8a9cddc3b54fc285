//! Tables of commits: from metadata alone.

use super::{About, batch, time};
use arrow_array::RecordBatch;
use arrow_array::builder::{
    BooleanBuilder, Int32Builder, Int64Builder, MapBuilder, StringBuilder, UInt64Builder,
};
use datafusion::error::Result;
use lw_lakehouse::view::{self, RefView, SnapshotView};
use std::sync::Arc;

/// Spark's columns, then who committed what of ours.
pub(super) fn snapshots(about: &About<'_>) -> Result<RecordBatch> {
    let metadata = &about.loaded.metadata;
    let mut committed = time();
    let (mut id, mut parent) = (Int64Builder::new(), Int64Builder::new());
    let (mut operation, mut list) = (StringBuilder::new(), StringBuilder::new());
    let mut summary = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    let mut pipeline = StringBuilder::new();
    let mut sequence = UInt64Builder::new();
    let (mut max_event_time, mut watermark) = (time(), time());
    for snapshot in view::all_snapshots(about.loaded) {
        committed.append_value(snapshot.timestamp_ms);
        id.append_value(snapshot.id);
        parent.append_option(snapshot.parent);
        operation.append_value(&snapshot.operation);
        let kept = metadata.snapshot_by_id(snapshot.id);
        list.append_option(kept.map(|kept| kept.manifest_list()));
        for (key, value) in &snapshot.summary {
            summary.keys().append_value(key);
            summary.values().append_value(value);
        }
        summary.append(true)?;
        pipeline.append_option(snapshot.marker.as_ref().map(|marker| &marker.name));
        sequence.append_option(snapshot.marker.as_ref().map(|marker| marker.sequence));
        max_event_time.append_option(snapshot.max_event_time);
        watermark.append_option(snapshot.watermark);
    }
    batch(vec![
        ("committed_at", Arc::new(committed.finish())),
        ("snapshot_id", Arc::new(id.finish())),
        ("parent_id", Arc::new(parent.finish())),
        ("operation", Arc::new(operation.finish())),
        ("manifest_list", Arc::new(list.finish())),
        ("summary", Arc::new(summary.finish())),
        ("pipeline", Arc::new(pipeline.finish())),
        ("sequence", Arc::new(sequence.finish())),
        ("max_event_time", Arc::new(max_event_time.finish())),
        ("watermark", Arc::new(watermark.finish())),
    ])
}

/// What was current, from when on: a rollback stands here as a head that is no ancestor any more.
pub(super) fn history(about: &About<'_>) -> Result<RecordBatch> {
    let metadata = &about.loaded.metadata;
    let ancestors = view::current_ancestors(metadata);
    let mut made_current = time();
    let (mut id, mut parent) = (Int64Builder::new(), Int64Builder::new());
    let mut is_ancestor = BooleanBuilder::new();
    for head in metadata.history() {
        made_current.append_value(head.timestamp_ms());
        id.append_value(head.snapshot_id);
        let snapshot = metadata.snapshot_by_id(head.snapshot_id);
        parent.append_option(snapshot.and_then(|snapshot| snapshot.parent_snapshot_id()));
        is_ancestor.append_value(ancestors.contains(&head.snapshot_id));
    }
    batch(vec![
        ("made_current_at", Arc::new(made_current.finish())),
        ("snapshot_id", Arc::new(id.finish())),
        ("parent_id", Arc::new(parent.finish())),
        ("is_current_ancestor", Arc::new(is_ancestor.finish())),
    ])
}

pub(super) fn refs(refs: &[RefView]) -> Result<RecordBatch> {
    let (mut name, mut kind) = (StringBuilder::new(), StringBuilder::new());
    let mut id = Int64Builder::new();
    let (mut max_reference_age, mut max_snapshot_age) = (Int64Builder::new(), Int64Builder::new());
    let mut min_to_keep = Int32Builder::new();
    for found in refs {
        name.append_value(&found.name);
        kind.append_value(if found.is_branch { "BRANCH" } else { "TAG" });
        id.append_value(found.snapshot_id);
        max_reference_age.append_option(found.max_reference_age_ms);
        min_to_keep.append_option(
            found
                .min_snapshots_to_keep
                .and_then(|count| i32::try_from(count).ok()),
        );
        max_snapshot_age.append_option(found.max_snapshot_age_ms);
    }
    batch(vec![
        ("name", Arc::new(name.finish())),
        ("type", Arc::new(kind.finish())),
        ("snapshot_id", Arc::new(id.finish())),
        (
            "max_reference_age_in_ms",
            Arc::new(max_reference_age.finish()),
        ),
        ("min_snapshots_to_keep", Arc::new(min_to_keep.finish())),
        (
            "max_snapshot_age_in_ms",
            Arc::new(max_snapshot_age.finish()),
        ),
    ])
}

/// Which offsets made the table: those of `main`, or of the ancestors of the version that is asked for.
pub(super) fn offsets(about: &About<'_>) -> Result<RecordBatch> {
    let line: Vec<SnapshotView> = match &about.seen.snapshot {
        Some(snapshot) => view::snapshots_from(about.loaded, snapshot.snapshot_id()),
        None => Vec::new(),
    };
    let mut id = Int64Builder::new();
    let mut committed = time();
    let mut topic = StringBuilder::new();
    let mut partition = Int32Builder::new();
    let (mut start, mut end) = (Int64Builder::new(), Int64Builder::new());
    let (mut rows, mut filtered) = (UInt64Builder::new(), UInt64Builder::new());
    let (mut dead_letters, mut control) = (UInt64Builder::new(), UInt64Builder::new());
    let mut late = UInt64Builder::new();
    for snapshot in &line {
        for range in &snapshot.ranges {
            id.append_value(snapshot.id);
            committed.append_value(snapshot.timestamp_ms);
            topic.append_value(&range.topic);
            partition.append_value(range.partition);
            start.append_value(range.start);
            end.append_value(range.end);
            rows.append_value(range.rows);
            filtered.append_value(range.filtered);
            dead_letters.append_value(range.dead_letters);
            control.append_value(range.control);
            late.append_value(range.late);
        }
    }
    batch(vec![
        ("snapshot_id", Arc::new(id.finish())),
        ("committed_at", Arc::new(committed.finish())),
        ("topic", Arc::new(topic.finish())),
        ("partition", Arc::new(partition.finish())),
        ("start", Arc::new(start.finish())),
        ("end", Arc::new(end.finish())),
        ("rows", Arc::new(rows.finish())),
        ("filtered", Arc::new(filtered.finish())),
        ("dead_letters", Arc::new(dead_letters.finish())),
        ("control", Arc::new(control.finish())),
        ("late", Arc::new(late.finish())),
    ])
}
