//! System tables: what a table's commits say about themselves.
//!
//! `<table>$snapshots` has a row per snapshot, `<table>$offsets` a row per snapshot and partition: which snapshot holds
//! offset X, and which offsets made snapshot S.

use arrow_array::builder::{
    Int32Builder, Int64Builder, StringBuilder, TimestampMillisecondBuilder, UInt64Builder,
};
use arrow_array::{ArrayRef, RecordBatch};
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use datafusion::error::Result;
use lw_lakehouse::catalog::LoadedTable;
use lw_lakehouse::view::{SnapshotView, snapshots};
use std::sync::Arc;

#[derive(Clone, Copy)]
pub(crate) enum System {
    Snapshots,
    Offsets,
}

/// A name, and which system table of it is meant.
pub(crate) fn split(name: &str) -> (&str, Option<System>) {
    match name.rsplit_once('$') {
        Some((table, "snapshots")) => (table, Some(System::Snapshots)),
        Some((table, "offsets")) => (table, Some(System::Offsets)),
        _ => (name, None),
    }
}

impl System {
    pub(crate) fn table(self, table: &LoadedTable) -> Result<Arc<dyn TableProvider>> {
        let snapshots = snapshots(table);
        let batch = match self {
            System::Snapshots => snapshot_rows(&snapshots)?,
            System::Offsets => offset_rows(&snapshots)?,
        };
        Ok(Arc::new(MemTable::try_new(
            batch.schema(),
            vec![vec![batch]],
        )?))
    }
}

fn snapshot_rows(snapshots: &[SnapshotView]) -> Result<RecordBatch> {
    let mut id = Int64Builder::new();
    let mut parent = Int64Builder::new();
    let mut committed = time();
    let mut operation = StringBuilder::new();
    let mut pipeline = StringBuilder::new();
    let mut sequence = UInt64Builder::new();
    let mut max_event_time = time();
    let mut watermark = time();
    for snapshot in snapshots {
        id.append_value(snapshot.id);
        parent.append_option(snapshot.parent);
        committed.append_value(snapshot.timestamp_ms);
        operation.append_value(&snapshot.operation);
        pipeline.append_option(snapshot.marker.as_ref().map(|marker| &marker.name));
        sequence.append_option(snapshot.marker.as_ref().map(|marker| marker.sequence));
        max_event_time.append_option(snapshot.max_event_time);
        watermark.append_option(snapshot.watermark);
    }
    batch(vec![
        ("snapshot_id", Arc::new(id.finish())),
        ("parent_id", Arc::new(parent.finish())),
        ("committed_at", Arc::new(committed.finish())),
        ("operation", Arc::new(operation.finish())),
        ("pipeline", Arc::new(pipeline.finish())),
        ("sequence", Arc::new(sequence.finish())),
        ("max_event_time", Arc::new(max_event_time.finish())),
        ("watermark", Arc::new(watermark.finish())),
    ])
}

fn offset_rows(snapshots: &[SnapshotView]) -> Result<RecordBatch> {
    let mut id = Int64Builder::new();
    let mut committed = time();
    let mut topic = StringBuilder::new();
    let mut partition = Int32Builder::new();
    let (mut start, mut end) = (Int64Builder::new(), Int64Builder::new());
    let (mut rows, mut filtered) = (UInt64Builder::new(), UInt64Builder::new());
    let (mut dead_letters, mut control) = (UInt64Builder::new(), UInt64Builder::new());
    for snapshot in snapshots {
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
    ])
}

fn time() -> TimestampMillisecondBuilder {
    TimestampMillisecondBuilder::new().with_timezone("UTC")
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> Result<RecordBatch> {
    Ok(RecordBatch::try_from_iter_with_nullable(
        columns
            .into_iter()
            .map(|(name, column)| (name, column, true)),
    )?)
}
