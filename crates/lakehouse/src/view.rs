//! A table as the audit sees it: which snapshots say what, which files hold which runs, and the rows themselves.
//!
//! Nothing here trusts a counter. Runs come from the footers of the files that the snapshot lists, rows from the files.

use crate::catalog::{LoadedTable, TableCatalog};
use crate::commit::manifests;
use crate::commit::marker::{Marker, ranges_of_snapshot, times_of_snapshot};
use crate::commit::snapshot::ancestors;
use crate::error::{CatalogError, Kind};
use crate::storage::Files;
use crate::writer::runs::{FOOTER_KEY, Run};
use arrow_array::RecordBatch;
use iceberg::TableIdent;
use iceberg::spec::DataContentType;
use lw_runtime::manifest::SplitRange;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

/// A snapshot of `main`.
#[derive(Clone, Debug)]
pub struct SnapshotView {
    pub id: i64,
    pub parent: Option<i64>,
    /// Milliseconds since 1970.
    pub timestamp_ms: i64,
    pub operation: String,
    pub summary: Vec<(String, String)>,
    /// `None` when a foreign writer made it.
    pub marker: Option<Marker>,
    /// Offsets that this snapshot accounts for.
    pub ranges: Vec<SplitRange>,
    /// Milliseconds since 1970.
    pub max_event_time: Option<i64>,
    pub watermark: Option<i64>,
}

/// A live data file.
#[derive(Clone, Debug)]
pub struct FileView {
    pub path: String,
    pub rows: u64,
    pub bytes: u64,
    /// The snapshot that added it.
    pub snapshot_id: i64,
    /// `None`: no footer of ours, so a foreign writer made the file.
    pub runs: Option<Vec<Run>>,
}

/// A table at its head.
pub struct TableView {
    files: Files,
    table: LoadedTable,
    /// Newest first, as far as they are kept.
    pub snapshots: Vec<SnapshotView>,
    /// The newest marker ever committed, wherever the head is.
    pub marker: Option<Marker>,
    pub data_files: Vec<FileView>,
    /// Position and equality delete files: rows of `data_files` that foreign writers deleted are in these.
    pub delete_files: u64,
}

impl TableView {
    /// Reads a table's metadata and the footers of its files.
    pub fn open(catalog: &dyn TableCatalog, table: &TableIdent) -> Result<TableView, CatalogError> {
        let files = catalog.files().clone();
        let table = catalog.load(table)?;
        let metadata = table.metadata.clone();
        let marker = Marker::of_table(&metadata).map_err(|error| {
            CatalogError::caused(Kind::BadRequest, "the table's marker cannot be read", error)
        })?;
        let snapshots = snapshots(&table);
        let mut view = TableView {
            files,
            table,
            snapshots,
            marker,
            data_files: Vec::new(),
            delete_files: 0,
        };
        view.read_files()?;
        Ok(view)
    }

    pub fn table(&self) -> &LoadedTable {
        &self.table
    }

    /// The rows of a file, in their order.
    pub fn read_rows(&self, file: &FileView) -> Result<Vec<RecordBatch>, CatalogError> {
        reader(&self.files, &file.path, None)?
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| damaged(&file.path, error))
    }

    /// The rows of one run of a file.
    ///
    /// # Errors
    /// When the file has no such run.
    pub fn read_run(&self, file: &FileView, run: usize) -> Result<Vec<RecordBatch>, CatalogError> {
        let runs = file.runs.as_deref().unwrap_or_default();
        let Some(wanted) = runs.get(run) else {
            return Err(CatalogError::new(
                Kind::BadRequest,
                format!("{} has no run {run}", file.path),
            ));
        };
        let before: u64 = runs[..run].iter().map(|run| run.rows).sum();
        let range = (index(before), index(wanted.rows));
        reader(&self.files, &file.path, Some(range))?
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| damaged(&file.path, error))
    }

    fn read_files(&mut self) -> Result<(), CatalogError> {
        let metadata = self.table.metadata.clone();
        let Some(head) = metadata.current_snapshot() else {
            return Ok(());
        };
        for manifest in manifests::load_list(&self.files, &metadata, head)? {
            for entry in manifests::load(&self.files, &manifest)?
                .entries()
                .iter()
                .filter(|entry| entry.is_alive())
            {
                if entry.content_type() != DataContentType::Data {
                    self.delete_files += 1;
                    continue;
                }
                self.data_files.push(FileView {
                    path: entry.file_path().to_owned(),
                    rows: entry.record_count(),
                    bytes: entry.file_size_in_bytes(),
                    snapshot_id: entry.snapshot_id().unwrap_or(manifest.added_snapshot_id),
                    runs: runs(&self.files, entry.file_path())?,
                });
            }
        }
        Ok(())
    }
}

/// The snapshots of `main`, newest first, as far as they are kept.
pub fn snapshots(table: &LoadedTable) -> Vec<SnapshotView> {
    let metadata = &table.metadata;
    ancestors(metadata, metadata.current_snapshot_id())
        .map(snapshot_view)
        .collect()
}

fn snapshot_view(snapshot: &iceberg::spec::Snapshot) -> SnapshotView {
    let (max_event_time, watermark) = times_of_snapshot(snapshot);
    let mut summary: Vec<(String, String)> = snapshot
        .summary()
        .additional_properties
        .clone()
        .into_iter()
        .collect();
    summary.sort_unstable();
    SnapshotView {
        id: snapshot.snapshot_id(),
        parent: snapshot.parent_snapshot_id(),
        timestamp_ms: snapshot.timestamp_ms(),
        operation: snapshot.summary().operation.as_str().to_owned(),
        summary,
        marker: Marker::of_snapshot(snapshot),
        ranges: ranges_of_snapshot(snapshot),
        max_event_time,
        watermark,
    }
}

/// The runs in a file's footer; `None` when it has none or is no Parquet file.
fn runs(files: &Files, path: &str) -> Result<Option<Vec<Run>>, CatalogError> {
    if !path.ends_with(".parquet") {
        return Ok(None);
    }
    let builder = ParquetRecordBatchReaderBuilder::try_new(files.read(path)?)
        .map_err(|error| damaged(path, error))?;
    let entry = builder
        .metadata()
        .file_metadata()
        .key_value_metadata()
        .and_then(|entries| entries.iter().find(|entry| entry.key == FOOTER_KEY))
        .and_then(|entry| entry.value.as_deref());
    entry
        .map(|text| serde_json::from_str(text).map_err(|error| damaged(path, error)))
        .transpose()
}

fn reader(
    files: &Files,
    path: &str,
    range: Option<(usize, usize)>,
) -> Result<ParquetRecordBatchReader, CatalogError> {
    let mut builder = ParquetRecordBatchReaderBuilder::try_new(files.read(path)?)
        .map_err(|error| damaged(path, error))?;
    if let Some((offset, limit)) = range {
        builder = builder.with_offset(offset).with_limit(limit);
    }
    builder.build().map_err(|error| damaged(path, error))
}

fn index(count: u64) -> usize {
    usize::try_from(count).expect("rows of a file fit the address space")
}

fn damaged(path: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> CatalogError {
    CatalogError::caused(
        Kind::Internal,
        format!("the data file {path} cannot be read"),
        error,
    )
}
