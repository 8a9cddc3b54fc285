//! Writes one table's data files.
//!
//! 1. Batches collect in memory.
//! 2. When they are [`FLUSH`] bytes, their rows are brought into runs (stably, by partition of the log) and go into the open
//!    Parquet file. Rows that stand together already are not copied for it.
//! 3. Where the table is partitioned, each partition has an open file of its own, and the rows are dealt out to them in that
//!    same order. No more than [`MOST_OPEN`] are open at a time, nor more than [`MOST_HELD`] bytes in them: the largest is
//!    finished then, and a row that comes later begins another.
//! 4. A file that reaches the target size is finished, durable, and described.
//! 5. A seal does the same with what is left.
//!
//! The field ids are those of the table's current schema, looked up anew for each epoch, so a table that was changed
//! meanwhile is written as it now is, or refused with the differences.

use super::columns;
use super::names::Began;
use super::orphans::{self, Swept};
use super::partition::{Parted, Partitioning};
use super::pieces::{LARGE, Piece, gathered, in_runs};
use super::runs::{FOOTER_KEY, Runs};
use super::stats;
use crate::catalog::{LoadedTable, NewTable, TableCatalog};
use crate::commit::snapshot;
use crate::error::{CatalogError, Kind};
use crate::ids::Ids;
use crate::schema::differences;
use crate::staged::StagedFile;
use crate::storage::{DurableFile, local_path};
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::SchemaRef;
use arrow_select::take::take_record_batch;
use iceberg::TableIdent;
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::spec::{FormatVersion, Schema, Struct, TableMetadata, UnboundPartitionSpec};
use lw_runtime::chunk::{Chunk, Split};
use lw_runtime::connector::{ConnectorError, ErrorKind};
use lw_runtime::manifest::Manifest;
use lw_runtime::origins;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Bytes in memory that are worth a stretch of runs in the file.
const FLUSH: usize = 32 << 20;
/// `write.target-file-size-bytes` where the table has none.
const TARGET: u64 = 128 << 20;
/// Files of partitions that are open at a time.
const MOST_OPEN: usize = 64;
/// Bytes that wait in them for a page or a row group to be whole.
const MOST_HELD: usize = 128 << 20;
const ROW_GROUP_ROWS: usize = 1 << 20;
/// Options of every table that we create, unless the script sets them.
const DEFAULTS: [(&str, &str); 3] = [
    ("write.parquet.compression-codec", "zstd"),
    ("write.metadata.previous-versions-max", "20"),
    ("write.metadata.delete-after-commit.enabled", "true"),
];

/// The table that a writer is for, as it is made where it is missing.
pub(super) struct Wanted {
    pub(super) ident: TableIdent,
    pub(super) schema: Schema,
    pub(super) properties: HashMap<String, String>,
    pub(super) version: FormatVersion,
    pub(super) partition_spec: Option<UnboundPartitionSpec>,
    /// `None` leaves it to the catalog.
    pub(super) location: Option<String>,
}

pub(super) struct TableWriter {
    catalog: Arc<dyn TableCatalog>,
    wanted: Wanted,
    ids: Ids,
    /// Stands in file names.
    began: Began,

    target: Option<Arc<Target>>,
    buffered: Vec<Chunk>,
    buffered_bytes: usize,
    /// By the partition that they are of, as [`Parted`] names it; the one file of an unpartitioned table has an empty key.
    open: BTreeMap<Vec<u8>, OpenFile>,
    sealed: Vec<StagedFile>,
}

/// A table as it is written to during one epoch.
struct Target {
    metadata: Arc<TableMetadata>,
    /// The table's columns, by their names in files.
    arrow: SchemaRef,
    /// For each column of the table: where it is in the sink's batches.
    columns: Vec<Option<usize>>,
    properties: WriterProperties,
    target_bytes: u64,
    /// `None` where the table is not partitioned.
    partitioning: Option<Partitioning>,
}

struct OpenFile {
    writer: ArrowWriter<DurableFile>,
    location: String,
    runs: Runs,
    partition: Struct,
}

impl OpenFile {
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
        catalog: Arc<dyn TableCatalog>,
        mut wanted: Wanted,
        ids: Ids,
        began: Began,
    ) -> TableWriter {
        for (key, value) in DEFAULTS {
            let property = wanted.properties.entry(key.to_owned());
            property.or_insert_with(|| value.to_owned());
        }
        TableWriter {
            catalog,
            wanted,
            ids,
            began,
            target: None,
            buffered: Vec::new(),
            buffered_bytes: 0,
            open: BTreeMap::new(),
            sealed: Vec::new(),
        }
    }

    /// Takes the table over from earlier processes: files are named anew, and what those left behind goes.
    pub(super) fn begin(&mut self, manifest: &Manifest) -> Result<(), ConnectorError> {
        self.began = Began::of(manifest);
        let chain = manifest.chain(&self.wanted.ident.to_string());
        if chain.is_some_and(|chain| !chain.chain.is_empty()) {
            // Someone may have dropped it, and a commit needs a table to decide about.
            self.prepare()?;
        }
        let table = match self.catalog.load(&self.wanted.ident) {
            Err(error) if matches!(error.kind, Kind::NoSuchTable | Kind::NoSuchNamespace) => {
                return Ok(());
            }
            other => other?,
        };
        let (pipeline, table_name) = (manifest.pipeline, &self.wanted.ident);
        let now = self.began.stamp(table.metadata.uuid());
        match orphans::sweep(self.catalog.files(), &table, manifest, &now) {
            Ok(Swept { files: 0, .. }) => {}
            Ok(Swept { files, bytes }) => {
                tracing::info!(%pipeline, table = %table_name, files, bytes, "files of aborted checkpoints were removed");
            }
            Err(error) => {
                tracing::warn!(%pipeline, table = %table_name, %error, "files of aborted checkpoints stay");
            }
        }
        Ok(())
    }

    /// Creates the table if it is missing, and checks that it fits.
    pub(super) fn prepare(&mut self) -> Result<(), ConnectorError> {
        if self.target.is_none() {
            let table = self.load_or_create()?;
            self.target = Some(Arc::new(self.target(&table)?));
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

    fn load_or_create(&self) -> Result<LoadedTable, CatalogError> {
        let wanted = &self.wanted;
        match self.catalog.load(&self.wanted.ident) {
            Err(error) if matches!(error.kind, Kind::NoSuchTable | Kind::NoSuchNamespace) => {}
            other => return other,
        }
        self.catalog
            .ensure_namespace(&self.wanted.ident.namespace)?;
        let new = NewTable {
            schema: wanted.schema.clone(),
            properties: wanted.properties.clone(),
            format_version: wanted.version,
            partition_spec: wanted.partition_spec.clone(),
            location: wanted.location.clone(),
        };
        compression(&wanted.properties)?;
        match self.catalog.create(&wanted.ident, new) {
            // Someone else was faster, or our own reply was lost.
            Err(error)
                if matches!(
                    error.kind,
                    Kind::AlreadyExists | Kind::Unknown | Kind::CommitFailed
                ) =>
            {
                match self.catalog.load(&wanted.ident) {
                    // It was the request that was lost: what can be tried again is no fault of the script.
                    Err(none) if none.kind == Kind::NoSuchTable => Err(error),
                    other => other,
                }
            }
            other => other,
        }
    }

    fn target(&self, table: &LoadedTable) -> Result<Target, ConnectorError> {
        let metadata = table.metadata.clone();
        if let Err(error) = snapshot::check_version(&self.wanted.ident, &metadata) {
            return Err(
                ConnectorError::from(error).hint("Write to a new table; it is made in version 2.")
            );
        }
        let folder = orphans::data_folder(&metadata);
        if let Err(error) = local_path(&folder) {
            return Err(ConnectorError::new(
                ErrorKind::Fix,
                format!("the data files of {} cannot be written", self.wanted.ident),
            )
            .detail(format!(
                "Its property write.data.path says {folder}: {error}."
            ))
            .hint("Remove the property, or write to another table."));
        }
        let schema = metadata.current_schema();
        let differences = differences(&self.wanted.schema, schema);
        if !differences.is_empty() {
            return Err(ConnectorError::new(
                ErrorKind::Fix,
                format!("the table {} does not fit the sink", self.wanted.ident),
            )
            .detail(format!("{}.", differences.join("; ")))
            .hint("Change the sink's columns or the table, or write to a new table."));
        }
        let arrow = Arc::new(schema_to_arrow_schema(schema).map_err(CatalogError::from)?);
        let wanted = self.wanted.schema.as_struct().fields();
        let places = arrow
            .fields()
            .iter()
            .map(|field| {
                wanted
                    .iter()
                    .position(|column| column.name == *field.name())
            })
            .collect();
        let stored = columns::stored(&arrow).map_err(|why| {
            ConnectorError::new(
                ErrorKind::Fix,
                format!("the table {} cannot be written", self.wanted.ident),
            )
            .detail(format!(
                "Its columns have no names for a Parquet file: {why}."
            ))
            .hint("Rename the column.")
        })?;
        let partitioning = Partitioning::of(&metadata, &stored).map_err(|why| {
            ConnectorError::new(
                ErrorKind::Fix,
                format!("the partitions of {} cannot be written", self.wanted.ident),
            )
            .detail(format!("{why}."))
            .hint("Change the table's partition spec, or write to another table.")
        })?;
        Ok(Target {
            partitioning,
            arrow: stored,
            columns: places,
            properties: properties(&metadata)?,
            target_bytes: target_bytes(&metadata),
            metadata,
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
        let Some(partitioning) = &target.partitioning else {
            let mut open = match self.open.pop_first() {
                Some((_, open)) => open,
                None => self.create(Struct::empty(), None)?,
            };
            open.runs.add(&origins, &splits);
            for together in pieces.chunk_by(|one, next| one.rows.max(next.rows) < LARGE) {
                let columns = target.write_form(&batches, together)?;
                open.writer.write(&columns).map_err(write_failed)?;
            }
            return self.keep(Vec::new(), open);
        };
        let columns = target.write_form(&batches, &pieces)?;
        let parts = partitioning.split(&columns)?;
        self.deal_out(&columns, parts, &origins, &splits)
    }

    /// Each partition's rows to its file, in the order in which they stand.
    fn deal_out(
        &mut self,
        columns: &RecordBatch,
        parted: Parted,
        origins: &origins::Runs,
        splits: &[Split],
    ) -> Result<(), ConnectorError> {
        // Rows of aggregates stand first, and came from no record.
        let derived = columns.num_rows() - origins.rows();
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
            let written = if part.rows.len() == columns.num_rows() {
                open.writer.write(columns)
            } else {
                let rows = UInt32Array::from(part.rows);
                let rows = take_record_batch(columns, &rows).map_err(bad_batch)?;
                open.writer.write(&rows)
            };
            written.map_err(write_failed)?;
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
        if open.length() >= self.prepared().target_bytes {
            return self.finish(open);
        }
        self.open.insert(key, open);
        Ok(())
    }

    fn create(&self, partition: Struct, inside: Option<&str>) -> Result<OpenFile, ConnectorError> {
        let target = self.prepared();
        let mut folder = orphans::data_folder(&target.metadata);
        if let Some(inside) = inside {
            folder = format!("{folder}/{inside}");
        }
        let stamp = self.began.stamp(target.metadata.uuid());
        let location = format!("{folder}/{}", stamp.file_name(self.ids.next()));
        let file = self
            .catalog
            .files()
            .create(&location)
            .map_err(CatalogError::from)?;
        let properties = target.properties.clone();
        let writer = ArrowWriter::try_new(file, target.arrow.clone(), Some(properties))
            .map_err(write_failed)?;
        let runs = match inside {
            Some(_) => Runs::shared(),
            None => Runs::default(),
        };
        Ok(OpenFile {
            writer,
            location,
            runs,
            partition,
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
        let length = open
            .writer
            .inner_mut()
            .finish()
            .map_err(CatalogError::from)?;
        let metadata = &target.metadata;
        let spec = metadata.default_partition_spec_id();
        let file = stats::data_file(
            metadata.current_schema(),
            (spec, open.partition),
            &parquet,
            &open.location,
            length,
        )?;
        let staged = StagedFile::new(metadata, metadata.current_schema_id(), spec, file)?;
        self.sealed.push(staged);
        Ok(())
    }
}

impl Target {
    /// The pieces, one behind the other, with the table's columns and types.
    fn write_form(
        &self,
        batches: &[Chunk],
        pieces: &[Piece],
    ) -> Result<RecordBatch, ConnectorError> {
        let options = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        let rows = pieces.iter().map(|piece| piece.rows).sum();
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.columns.len());
        for (field, column) in self.arrow.fields().iter().zip(&self.columns) {
            let Some(column) = column else {
                columns.push(new_null_array(field.data_type(), rows));
                continue;
            };
            let values = gathered(batches, *column, pieces).map_err(bad_batch)?;
            columns.push(if values.data_type() == field.data_type() {
                values
            } else {
                cast_with_options(&values, field.data_type(), &options).map_err(bad_batch)?
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.arrow.clone(), columns, &options).map_err(bad_batch)
    }
}

/// How large a data file is to be.
pub(crate) fn target_bytes(metadata: &TableMetadata) -> u64 {
    let property = metadata.properties().get("write.target-file-size-bytes");
    property
        .and_then(|text| text.parse().ok())
        .unwrap_or(TARGET)
}

/// How Parquet files of the table are written.
///
/// # Errors
/// When the table asks for a compression that is not there.
pub(crate) fn properties(metadata: &TableMetadata) -> Result<WriterProperties, CatalogError> {
    let properties = WriterProperties::builder()
        .set_compression(compression(metadata.properties())?)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_created_by(concat!("lakeward ", env!("CARGO_PKG_VERSION")).to_owned());
    Ok(properties.build())
}

fn compression(properties: &HashMap<String, String>) -> Result<Compression, CatalogError> {
    let level = properties
        .get("write.parquet.compression-level")
        .and_then(|text| text.parse().ok());
    match properties
        .get("write.parquet.compression-codec")
        .map(String::as_str)
    {
        None | Some("zstd") => {
            let level = level.map_or(Ok(ZstdLevel::default()), ZstdLevel::try_new);
            let level =
                level.map_err(|error| CatalogError::new(Kind::BadRequest, error.to_string()))?;
            Ok(Compression::ZSTD(level))
        }
        Some("snappy") => Ok(Compression::SNAPPY),
        Some("uncompressed" | "none") => Ok(Compression::UNCOMPRESSED),
        Some(other) => Err(CatalogError::new(
            Kind::BadRequest,
            format!(
                "write.parquet.compression-codec cannot be {other}: zstd, snappy or uncompressed"
            ),
        )),
    }
}

/// The disk may be full; what was in memory is read from the log again after a restart of the pipeline.
fn write_failed(error: parquet::errors::ParquetError) -> ConnectorError {
    ConnectorError::new(ErrorKind::Retry, "a data file cannot be written").detail(error.to_string())
}

fn bad_batch(error: arrow_schema::ArrowError) -> ConnectorError {
    ConnectorError::new(ErrorKind::Bug, "a batch does not have the sink's columns")
        .detail(error.to_string())
}
