//! Writes one table's data files.
//!
//! As for Iceberg tables (`writer::table`): batches collect in memory, are brought into runs by partition of the log, and go into
//! Parquet files, one for each partition of the table; at the target size, and at a seal, a file is durable and described. What differs is
//! what is Delta's: the columns of the partition are not in the files, and columns of the table that the sink does not have are left out.

use super::action::{Add, Metadata, PartitionValues};
use super::log::{DeltaLog, Snapshot};
use super::partition;
use super::schema::{self, Column};
use super::staged::{StagedFile, columns_of};
use super::table::Wanted;
use super::{orphans, stats};
use crate::error::CatalogError;
use crate::ids::Ids;
use crate::storage::DurableFile;
use crate::writer::names::{Began, Stamp};
use crate::writer::orphans::Swept;
use crate::writer::pieces::{LARGE, Piece, gathered, in_runs};
use crate::writer::runs::{FOOTER_KEY, Runs};
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, SchemaRef};
use arrow_select::take::take_record_batch;
use lw_runtime::chunk::{Chunk, Split};
use lw_runtime::connector::{ConnectorError, ErrorKind};
use lw_runtime::manifest::Manifest;
use lw_runtime::origins;
use lw_stdx::clock::Clock;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// Bytes in memory that are worth a stretch of runs in the file.
const FLUSH: usize = 32 << 20;
const TARGET: u64 = 128 << 20;
/// Files of partitions that are open at a time.
const MOST_OPEN: usize = 64;
/// Bytes that wait in them for a page or a row group to be whole.
const MOST_HELD: usize = 128 << 20;
const ROW_GROUP_ROWS: usize = 1 << 20;

pub(super) struct TableWriter {
    log: DeltaLog,
    wanted: Wanted,
    ids: Ids,
    clock: Arc<dyn Clock>,
    /// Stands in file names.
    began: Began,

    target: Option<Arc<Target>>,
    /// The table as it was looked at last.
    known: Option<Snapshot>,
    buffered: Vec<Chunk>,
    buffered_bytes: usize,
    /// By the partition that they are of; the one file of an unpartitioned table has an empty key.
    open: BTreeMap<Vec<u8>, OpenFile>,
    sealed: Vec<StagedFile>,
}

/// A table as it is written to during one epoch.
struct Target {
    /// Stands in file names.
    table: Uuid,
    /// Of the data files.
    columns: Vec<Column>,
    arrow: SchemaRef,
    /// Where each of them is in the sink's batches.
    places: Vec<usize>,
    partitioned_by: Vec<String>,
    partition_places: Vec<usize>,
    partition_types: Vec<DataType>,
    properties: WriterProperties,
    columns_of: String,
}

struct OpenFile {
    writer: ArrowWriter<DurableFile>,
    /// Below the table's folder.
    path: String,
    runs: Runs,
    values: PartitionValues,
    has_nan: bool,
}

impl OpenFile {
    fn write(&mut self, rows: &RecordBatch) -> Result<(), ConnectorError> {
        self.has_nan |= stats::has_nan(rows);
        self.writer.write(rows).map_err(write_failed)
    }

    /// Bytes that it holds in memory.
    fn held(&self) -> usize {
        self.writer.in_progress_size()
    }

    fn length(&self) -> u64 {
        (self.writer.bytes_written() + self.writer.in_progress_size()) as u64
    }
}

impl TableWriter {
    pub(super) fn new(
        log: DeltaLog,
        wanted: Wanted,
        ids: Ids,
        clock: Arc<dyn Clock>,
        began: Began,
    ) -> TableWriter {
        TableWriter {
            log,
            wanted,
            ids,
            clock,
            began,
            target: None,
            known: None,
            buffered: Vec::new(),
            buffered_bytes: 0,
            open: BTreeMap::new(),
            sealed: Vec::new(),
        }
    }

    /// Takes the table over from earlier processes: files are named anew, and what those left behind goes.
    pub(super) fn begin(&mut self, manifest: &Manifest) -> Result<(), ConnectorError> {
        self.began = Began::of(manifest);
        let chain = manifest.chain(&self.wanted.name);
        if chain.is_some_and(|chain| !chain.chain.is_empty()) {
            // Someone may have removed it, and a commit needs a table to decide about.
            self.prepare()?;
        }
        let Some(table) = self.log.load()? else {
            return Ok(());
        };
        let now = self.began.stamp(table_id(&table.metadata));
        let (pipeline, table_name) = (manifest.pipeline, &self.wanted.name);
        match orphans::sweep(&self.log, table.version, manifest, &now) {
            Ok(Swept { files: 0, .. }) => {}
            Ok(Swept { files, bytes }) => {
                tracing::info!(%pipeline, table = table_name, files, bytes, "files of aborted checkpoints were removed");
            }
            Err(error) => {
                tracing::warn!(%pipeline, table = table_name, %error, "files of aborted checkpoints stay");
            }
        }
        Ok(())
    }

    /// Creates the table if it is missing, and checks that it fits.
    pub(super) fn prepare(&mut self) -> Result<(), ConnectorError> {
        if self.target.is_none() {
            let (log, known) = (&self.log, self.known.take());
            let table = self
                .wanted
                .load_or_create(log, known, &self.ids, &*self.clock)?;
            self.target = Some(Arc::new(self.target(&table)?));
            self.known = Some(table);
        }
        Ok(())
    }

    pub(super) fn write(&mut self, batch: Chunk) -> Result<(), ConnectorError> {
        self.buffered_bytes += batch.bytes();
        self.buffered.push(batch);
        if self.buffered_bytes >= FLUSH {
            self.flush()?;
        }
        Ok(())
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        self.buffered_bytes + self.open.values().map(OpenFile::held).sum::<usize>()
    }

    /// Makes everything durable. The next epoch looks at the table again.
    pub(super) fn seal(&mut self) -> Result<Vec<StagedFile>, ConnectorError> {
        self.flush()?;
        while let Some((_, open)) = self.open.pop_first() {
            self.finish(open)?;
        }
        self.target = None;
        self.began.checkpoint += 1;
        Ok(std::mem::take(&mut self.sealed))
    }

    fn target(&self, table: &Snapshot) -> Result<Target, ConnectorError> {
        let metadata = &table.metadata;
        let all = schema::read(&metadata.schema_string)?;
        let by = &metadata.partition_columns;
        let place = |name: &str| {
            let mut wanted = self.wanted.columns.iter();
            wanted.position(|column| column.name == name)
        };
        let (mut columns, mut places) = (Vec::new(), Vec::new());
        for column in all.iter().filter(|column| !by.contains(&column.name)) {
            if let Some(place) = place(&column.name) {
                places.push(place);
                columns.push(column.clone());
            }
        }
        if columns.is_empty() {
            let message = format!(
                "the Delta table {} has no column beside those of its partitions",
                self.wanted.name
            );
            return Err(ConnectorError::new(ErrorKind::Fix, message)
                .hint("Add a column, or leave one out of PARTITIONED BY."));
        }
        let (mut partition_places, mut partition_columns) = (Vec::new(), Vec::new());
        for name in by {
            let column = all.iter().find(|column| column.name == *name);
            let (Some(column), Some(place)) = (column, place(name)) else {
                let message = format!("the table has no column {name} to be partitioned by");
                return Err(ConnectorError::new(ErrorKind::Fix, message));
            };
            partition::check(column)?;
            partition_places.push(place);
            partition_columns.push(column);
        }
        let partition_types = schema::to_arrow(partition_columns)?;
        let partition_types = partition_types.fields().iter();
        Ok(Target {
            table: table_id(metadata),
            arrow: Arc::new(schema::to_arrow(&columns)?),
            columns,
            places,
            partitioned_by: by.clone(),
            partition_places,
            partition_types: partition_types
                .map(|field| field.data_type().clone())
                .collect(),
            properties: WriterProperties::builder()
                .set_compression(Compression::ZSTD(ZstdLevel::default()))
                .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
                .set_created_by(concat!("lakeward ", env!("CARGO_PKG_VERSION")).to_owned())
                .build(),
            columns_of: columns_of(metadata),
        })
    }

    /// Brings what is in memory into runs, and writes it.
    fn flush(&mut self) -> Result<(), ConnectorError> {
        if self.buffered.is_empty() {
            return Ok(());
        }
        self.prepare()?;
        let target = self.prepared();
        let batches = std::mem::take(&mut self.buffered);
        self.buffered_bytes = 0;
        let (pieces, origins) = in_runs(&batches);
        let splits = batches.last().expect("there is one").splits.clone();
        if target.partitioned_by.is_empty() {
            let mut open = match self.open.pop_first() {
                Some((_, open)) => open,
                None => self.create(PartitionValues::new(), None)?,
            };
            open.runs.add(&origins, &splits);
            for together in pieces.chunk_by(|one, next| one.rows.max(next.rows) < LARGE) {
                open.write(&target.rows(&batches, together)?)?;
            }
            return self.keep(Vec::new(), open);
        }
        let rows = target.rows(&batches, &pieces)?;
        let columns = target.partition_columns(&batches, &pieces)?;
        let parted = partition::split(&target.partitioned_by, &columns).map_err(bad_batch)?;
        self.deal_out(&rows, parted, &origins, &splits)
    }

    /// Each partition's rows to its file, in the order in which they stand.
    fn deal_out(
        &mut self,
        rows: &RecordBatch,
        parted: partition::Parted,
        origins: &origins::Runs,
        splits: &[Split],
    ) -> Result<(), ConnectorError> {
        // Rows of aggregates stand first, and came from no record.
        let derived = rows.num_rows() - origins.rows();
        let mut of_part = vec![origins::Runs::default(); parted.parts.len()];
        for (part, origin) in parted.of_row[derived..].iter().zip(origins.iter()) {
            of_part[*part as usize].push(origin, 1);
        }
        for (part, origins) in parted.parts.into_iter().zip(of_part) {
            let mut open = match self.open.remove(&part.key) {
                Some(open) => open,
                None => self.create(part.values, Some(&part.folder))?,
            };
            open.runs.add(&origins, splits);
            if part.rows.len() == rows.num_rows() {
                open.write(rows)?;
            } else {
                let of_part = UInt32Array::from(part.rows);
                open.write(&take_record_batch(rows, &of_part).map_err(bad_batch)?)?;
            }
            self.keep(part.key, open)?;
            self.make_room()?;
        }
        Ok(())
    }

    /// Finishes files until one more may be opened.
    fn make_room(&mut self) -> Result<(), ConnectorError> {
        while self.open.len() >= MOST_OPEN
            || self.open.values().map(OpenFile::held).sum::<usize>() > MOST_HELD
        {
            let largest = self.open.iter().max_by_key(|(_, open)| open.length());
            let largest = largest.map(|(key, _)| key.clone());
            let Some(open) = largest.and_then(|key| self.open.remove(&key)) else {
                break;
            };
            self.finish(open)?;
        }
        Ok(())
    }

    /// A file that is large enough is finished, any other stays open.
    fn keep(&mut self, key: Vec<u8>, open: OpenFile) -> Result<(), ConnectorError> {
        if open.length() >= TARGET {
            return self.finish(open);
        }
        self.open.insert(key, open);
        Ok(())
    }

    fn create(
        &self,
        values: PartitionValues,
        folder: Option<&str>,
    ) -> Result<OpenFile, ConnectorError> {
        let target = self.prepared();
        let stamp: Stamp = self.began.stamp(target.table);
        let name = stamp.file_name(self.ids.next());
        let path = match folder {
            Some(folder) => format!("{folder}/{name}"),
            None => name,
        };
        let location = format!("{}/{path}", self.log.location);
        let file = self.log.files.create(&location);
        let file = file.map_err(CatalogError::from)?;
        let properties = target.properties.clone();
        let writer = ArrowWriter::try_new(file, target.arrow.clone(), Some(properties))
            .map_err(write_failed)?;
        let runs = match folder {
            Some(_) => Runs::shared(),
            None => Runs::default(),
        };
        Ok(OpenFile {
            writer,
            path,
            runs,
            values,
            has_nan: false,
        })
    }

    fn prepared(&self) -> Arc<Target> {
        self.target.clone().expect("it was prepared")
    }

    fn finish(&mut self, mut open: OpenFile) -> Result<(), ConnectorError> {
        let target = self.prepared();
        open.writer
            .append_key_value_metadata(KeyValue::new(FOOTER_KEY.to_owned(), open.runs.to_json()));
        let parquet = open.writer.finish().map_err(write_failed)?;
        let length = open.writer.inner_mut().finish();
        let length = length.map_err(CatalogError::from)?;
        let rows = parquet.file_metadata().num_rows();
        self.sealed.push(StagedFile {
            add: Add {
                // As a URI has it; nothing else in it is written otherwise there.
                path: open.path.replace('%', "%25"),
                partition_values: open.values,
                size: i64::try_from(length).expect("a file is shorter than 2^63"),
                modification_time: self.clock.now_ms(),
                data_change: true,
                stats: Some(stats::of(&parquet, &target.columns, open.has_nan)),
                tags: None,
                deletion_vector: None,
            },
            rows: u64::try_from(rows).expect("row counts are not negative"),
            columns: target.columns_of.clone(),
        });
        Ok(())
    }
}

impl Target {
    /// The pieces, one behind the other, with the columns and types of the data files.
    fn rows(&self, batches: &[Chunk], pieces: &[Piece]) -> Result<RecordBatch, ConnectorError> {
        let rows = pieces.iter().map(|piece| piece.rows).sum();
        let types = self.arrow.fields().iter().map(|field| field.data_type());
        let columns = self.places.iter().zip(types);
        let columns = columns.map(|(place, ty)| column(batches, *place, pieces, ty));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.arrow.clone(), columns, &options).map_err(bad_batch)
    }

    fn partition_columns(
        &self,
        batches: &[Chunk],
        pieces: &[Piece],
    ) -> Result<Vec<ArrayRef>, ConnectorError> {
        let columns = self.partition_places.iter().zip(&self.partition_types);
        let columns = columns.map(|(place, ty)| column(batches, *place, pieces, ty));
        columns.collect()
    }
}

fn column(
    batches: &[Chunk],
    place: usize,
    pieces: &[Piece],
    ty: &DataType,
) -> Result<ArrayRef, ConnectorError> {
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let values = gathered(batches, place, pieces).map_err(bad_batch)?;
    if values.data_type() == ty {
        return Ok(values);
    }
    cast_with_options(&values, ty, &options).map_err(bad_batch)
}

/// What stands for the table in the names of its files. An id of Delta's is a uuid, though nothing says that it must be.
fn table_id(metadata: &Metadata) -> Uuid {
    Uuid::try_parse(&metadata.id).unwrap_or_default()
}

/// The disk may be full; what was in memory is read from the log again after a restart of the pipeline.
fn write_failed(error: parquet::errors::ParquetError) -> ConnectorError {
    ConnectorError::new(ErrorKind::Retry, "a data file cannot be written").detail(error.to_string())
}

fn bad_batch(error: arrow_schema::ArrowError) -> ConnectorError {
    ConnectorError::new(ErrorKind::Bug, "a batch does not have the sink's columns")
        .detail(error.to_string())
}
