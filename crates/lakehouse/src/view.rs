//! A table as the audit sees it: which snapshots say what, which files hold which runs, and the rows themselves.
//!
//! Nothing here trusts a counter. Runs come from the footers of the files that the snapshot lists, rows from the files. A
//! footer is read by itself, never the file around it, and once: files do not change, so [`Footers`] keeps what it says.

mod accounted;
mod erased;
pub(crate) mod footers;
mod hidden;
mod letters;
mod listed;
mod versions;

pub use accounted::Accounted;
pub use footers::Footers;
pub(crate) use hidden::files_hit;
pub use hidden::{Batches, Hidden};
pub use letters::LetterView;
pub(crate) use letters::show_letters;
pub use listed::{Listed, list};
pub use versions::{
    Held, HeldBy, RefView, all_snapshots, current_ancestors, head_at, holders, refs, snapshots_from,
};

use crate::catalog::{LoadedTable, TableCatalog};
use crate::commit::branch::{Branch, Ref};
use crate::commit::marker::{
    Marker, is_upkeep, lookups_of_snapshot, plan_of_snapshot, ranges_of_snapshot,
    reached_by_snapshot, times_of_snapshot,
};
use crate::commit::{committer, manifests};
use crate::error::{CatalogError, Kind};
use crate::naming::places_in_file;
use crate::storage::Files;
use crate::writer::runs::Run;
use arrow_array::RecordBatch;
use footers::Ranged;
use iceberg::TableIdent;
use iceberg::spec::{DataContentType, MAIN_BRANCH};
use lw_graph::ColumnName;
use lw_runtime::Pins;
use lw_runtime::manifest::{SplitOffset, SplitRange};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use std::sync::Arc;

/// A snapshot, and what its commit says of itself.
#[derive(Clone, Debug)]
pub struct SnapshotView {
    pub id: i64,
    pub parent: Option<i64>,
    /// Milliseconds since 1970.
    pub timestamp_ms: i64,
    pub operation: String,
    pub summary: Vec<(String, String)>,
    /// `None` when a foreign writer made it, or our upkeep.
    pub marker: Option<Marker>,
    /// Our upkeep made it: it moved no row.
    pub upkeep: bool,
    /// The commit that this one followed is the next older one of ours that is visible. `false`: it was rolled back, and the
    /// table was adopted without it. Where older snapshots are gone nothing speaks against it.
    pub follows: bool,
    /// Offsets that this snapshot accounts for.
    pub ranges: Vec<SplitRange>,
    /// Milliseconds since 1970.
    pub max_event_time: Option<i64>,
    pub watermark: Option<i64>,
    /// No event time that was ever read up to it is greater, milliseconds since 1970.
    pub reached: Option<i64>,
    /// The plan that computed its rows.
    pub plan: Option<String>,
    /// With which versions of tables they were joined, and from which offsets on.
    pub lookups: Vec<(Vec<SplitOffset>, Pins)>,
}

/// What a rollback took away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolledBack {
    /// The pipeline was told to go on without it.
    pub adopted: bool,
    /// From where the head shows, up to the newest commit's end.
    pub offsets: Vec<(i64, SplitOffset)>,
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
    pub runs: Option<Arc<Vec<Run>>>,
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
    /// Files of position deletes, by foreign writers: [`TableView::hidden`] says what is in them.
    pub position_deletes: Vec<String>,
    /// How many files of equality deletes there are.
    pub equality_deletes: u64,
}

impl TableView {
    /// Reads a table's metadata and the footers of its files.
    pub fn open(catalog: &dyn TableCatalog, table: &TableIdent) -> Result<TableView, CatalogError> {
        TableView::open_with(catalog, table, &Footers::default())
    }

    /// The same, for those who look again and again: footers that were read before are not read again.
    pub fn open_with(
        catalog: &dyn TableCatalog,
        table: &TableIdent,
        footers: &Footers,
    ) -> Result<TableView, CatalogError> {
        TableView::open_branch(catalog, table, MAIN_BRANCH, footers)
    }

    /// The same, with the files of a branch: none where there is no such branch. All else is of `main`.
    pub fn open_branch(
        catalog: &dyn TableCatalog,
        table: &TableIdent,
        branch: &str,
        footers: &Footers,
    ) -> Result<TableView, CatalogError> {
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
            position_deletes: Vec::new(),
            equality_deletes: 0,
        };
        view.read_files(&Ref::named(branch), footers)?;
        Ok(view)
    }

    pub fn table(&self) -> &LoadedTable {
        &self.table
    }

    /// The offsets that the newest commit accounted for and the head does not: a rollback took them away. `None` when the
    /// newest commit is the newest that the head shows. An adopted rollback stays one until the next commit, whose snapshot
    /// does not [follow](SnapshotView::follows) on the one before it.
    pub fn rolled_back(&self) -> Option<RolledBack> {
        let marker = self.marker.as_ref()?;
        let branch = Branch::of(&self.table.metadata);
        let shown = self
            .snapshots
            .iter()
            .find(|snapshot| snapshot.id == marker.snapshot_id);
        let adopted = match shown {
            Some(snapshot) => {
                let own = snapshot.marker.as_ref().map(|marker| marker.uuid);
                if own == Some(marker.uuid) {
                    return None;
                }
                true
            }
            // Just below the horizon: everything above it followed.
            None if branch.holds(marker) => return None,
            None => false,
        };
        let visible = branch
            .newest_marker()
            .map(|marker| marker.ends())
            .unwrap_or_default();
        let (begins, starts) = (
            marker.begins(),
            committer::starts(&self.table.metadata, &Ref::main()),
        );
        let known = |end: &SplitOffset| {
            let mut known = visible.iter().chain(&begins).chain(&starts);
            known
                .find(|at| at.same_split(end))
                .map_or(end.next, |at| at.next)
        };
        let offsets = marker.ends().into_iter().map(|end| (known(&end), end));
        Some(RolledBack {
            adopted,
            offsets: offsets.filter(|(start, end)| *start < end.next).collect(),
        })
    }

    /// The rows of a file, in their order.
    pub fn read_rows(&self, file: &FileView) -> Result<Vec<RecordBatch>, CatalogError> {
        reader(&self.files, &file.path, None)?
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| damaged(&file.path, error))
    }

    /// The rows of a file in their order, a batch at a time; of `columns` alone, where any are named.
    pub fn batches(
        &self,
        file: &FileView,
        columns: &[ColumnName],
    ) -> Result<impl Iterator<Item = Result<RecordBatch, CatalogError>> + use<>, CatalogError> {
        let mut builder = builder(&self.files, &file.path)?;
        if !columns.is_empty() {
            let places = places_in_file(columns, builder.schema())
                .into_iter()
                .flatten();
            let mask = ProjectionMask::roots(builder.parquet_schema(), places);
            builder = builder.with_projection(mask);
        }
        let path = file.path.clone();
        let reader = builder.build().map_err(|error| damaged(&path, error))?;
        Ok(reader.map(move |batch| batch.map_err(|error| damaged(&path, error))))
    }

    /// The rows of one run of a file.
    ///
    /// # Errors
    /// When the file has no such run.
    pub fn read_run(&self, file: &FileView, run: usize) -> Result<Vec<RecordBatch>, CatalogError> {
        let runs = file.runs.as_deref().map_or(&[][..], Vec::as_slice);
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

    fn read_files(&mut self, branch: &Ref, footers: &Footers) -> Result<(), CatalogError> {
        let metadata = self.table.metadata.clone();
        let Some(head) = branch.head(&metadata) else {
            return Ok(());
        };
        for manifest in manifests::load_list(&self.files, &metadata, head)? {
            for entry in manifests::load(&self.files, &manifest)?
                .entries()
                .iter()
                .filter(|entry| entry.is_alive())
            {
                match entry.content_type() {
                    DataContentType::Data => {}
                    DataContentType::PositionDeletes => {
                        self.position_deletes.push(entry.file_path().to_owned());
                        continue;
                    }
                    DataContentType::EqualityDeletes => {
                        self.equality_deletes += 1;
                        continue;
                    }
                }
                self.data_files.push(FileView {
                    path: entry.file_path().to_owned(),
                    rows: entry.record_count(),
                    bytes: entry.file_size_in_bytes(),
                    snapshot_id: entry.snapshot_id().unwrap_or(manifest.added_snapshot_id),
                    runs: footers.runs(&self.files, entry.file_path())?,
                });
            }
        }
        Ok(())
    }
}

/// The newest event time that the head states, milliseconds since 1970; `None` where none of ours is visible, or none has one.
pub fn event_time(table: &LoadedTable) -> Option<i64> {
    let branch = Branch::of(&table.metadata);
    let head = branch
        .snapshots()
        .find(|snapshot| Marker::of_snapshot(snapshot).is_some())?;
    times_of_snapshot(head).0
}

/// The snapshots of `main`, newest first, as far as they are kept.
pub fn snapshots(table: &LoadedTable) -> Vec<SnapshotView> {
    in_order(Branch::of(&table.metadata).snapshots())
}

/// The snapshots of a line, newest first, each with whether it follows on the one before it.
fn in_order<'a>(line: impl Iterator<Item = &'a iceberg::spec::Snapshot>) -> Vec<SnapshotView> {
    let mut views: Vec<SnapshotView> = line.map(snapshot_view).collect();
    let mut older: Option<uuid::Uuid> = None;
    for view in views.iter_mut().rev() {
        if let Some(marker) = &view.marker {
            // An erasure states the same commit once more.
            let again = older == Some(marker.uuid);
            view.follows = older.is_none() || again || marker.previous == older;
            older = Some(marker.uuid);
        }
    }
    views
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
        upkeep: is_upkeep(snapshot),
        follows: true,
        ranges: ranges_of_snapshot(snapshot),
        max_event_time,
        watermark,
        reached: reached_by_snapshot(snapshot),
        plan: plan_of_snapshot(snapshot),
        lookups: lookups_of_snapshot(snapshot),
    }
}

pub(crate) fn builder(
    files: &Files,
    path: &str,
) -> Result<ParquetRecordBatchReaderBuilder<Ranged>, CatalogError> {
    let ranged = Ranged::open(files, path)?;
    ParquetRecordBatchReaderBuilder::try_new(ranged).map_err(|error| damaged(path, error))
}

fn reader(
    files: &Files,
    path: &str,
    range: Option<(usize, usize)>,
) -> Result<ParquetRecordBatchReader, CatalogError> {
    let mut builder = builder(files, path)?;
    if let Some((offset, limit)) = range {
        builder = builder.with_offset(offset).with_limit(limit);
    }
    builder.build().map_err(|error| damaged(path, error))
}

fn index(count: u64) -> usize {
    usize::try_from(count).expect("rows of a file fit the address space")
}

pub(crate) fn damaged(
    path: &str,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> CatalogError {
    CatalogError::caused(
        Kind::Internal,
        format!("the data file {path} cannot be read"),
        error,
    )
}
