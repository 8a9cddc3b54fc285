//! Writes one table's data files.
//!
//! 1. Batches collect in memory.
//! 2. When they are [`FLUSH`] bytes, their rows are brought into runs (stably, by partition) and go into the open Parquet file.
//!    Rows that stand together already are not copied for it.
//! 3. A file that reaches the target size is finished, durable, and described.
//! 4. A seal does the same with what is left.
//!
//! The field ids are those of the table's current schema, looked up anew for each epoch, so a table that was changed
//! meanwhile is written as it now is, or refused with the differences.

use super::columns;
use super::names::Began;
use super::orphans::{self, Swept};
use super::runs::{FOOTER_KEY, Runs};
use super::stats;
use crate::catalog::{LoadedTable, NewTable, TableCatalog};
use crate::commit::snapshot;
use crate::error::{CatalogError, Kind};
use crate::ids::Ids;
use crate::schema::differences;
use crate::staged::StagedFile;
use crate::storage::{DurableFile, local_path};
use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::SchemaRef;
use arrow_select::concat::concat;
use arrow_select::interleave::interleave;
use iceberg::TableIdent;
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::spec::{FormatVersion, Schema, TableMetadata};
use lw_runtime::chunk::{Chunk, Split};
use lw_runtime::connector::{ConnectorError, ErrorKind};
use lw_runtime::manifest::Manifest;
use lw_runtime::origins;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use std::collections::HashMap;
use std::sync::Arc;

/// Bytes in memory that are worth a stretch of runs in the file.
const FLUSH: usize = 32 << 20;
/// `write.target-file-size-bytes` where the table has none.
const TARGET: u64 = 128 << 20;
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
    /// `None` leaves it to the catalog.
    pub(super) location: Option<String>,
}

pub(super) struct TableWriter {
    catalog: Arc<dyn TableCatalog>,
    wanted: Wanted,
    ids: Ids,
    /// Stands in file names.
    began: Began,

    target: Option<Target>,
    buffered: Vec<Chunk>,
    buffered_bytes: usize,
    open: Option<OpenFile>,
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
}

struct OpenFile {
    writer: ArrowWriter<DurableFile>,
    location: String,
    runs: Runs,
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
            open: None,
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
            self.target = Some(self.target(&table)?);
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
        let encoding = self
            .open
            .as_ref()
            .map_or(0, |open| open.writer.in_progress_size());
        self.buffered_bytes + encoding
    }

    /// Makes everything durable. The next epoch looks at the table again.
    pub(super) fn seal(&mut self) -> Result<Vec<StagedFile>, ConnectorError> {
        self.flush()?;
        self.finish_file()?;
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
        if !metadata.default_partition_spec().is_unpartitioned() {
            return Err(ConnectorError::new(
                ErrorKind::Fix,
                format!(
                    "the table {} is partitioned, which is not supported yet",
                    self.wanted.ident
                ),
            )
            .detail(
                "Lakeward writes unpartitioned tables; a file's column bounds let readers skip it.",
            )
            .hint("Write to a table without PARTITIONED BY."));
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
        let target_bytes = metadata
            .properties()
            .get("write.target-file-size-bytes")
            .and_then(|text| text.parse().ok())
            .unwrap_or(TARGET);
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
        Ok(Target {
            arrow: stored,
            columns: places,
            properties: WriterProperties::builder()
                .set_compression(compression(metadata.properties())?)
                .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
                .set_created_by(concat!("lakeward ", env!("CARGO_PKG_VERSION")).to_owned())
                .build(),
            target_bytes,
            metadata,
        })
    }

    /// Brings what is in memory into runs, and writes it.
    fn flush(&mut self) -> Result<(), ConnectorError> {
        if self.buffered.is_empty() {
            return Ok(());
        }
        self.prepare()?;
        let target = self.target.as_ref().expect("it was prepared");
        let batches = std::mem::take(&mut self.buffered);
        self.buffered_bytes = 0;
        let (pieces, origins) = in_runs(&batches);
        if self.open.is_none() {
            self.open = Some(self.create(target)?);
        }
        let open = self.open.as_mut().expect("it was opened");
        let splits = &batches.last().expect("there is one").splits;
        open.runs.add(&origins, splits);
        for together in pieces.chunk_by(|one, next| one.rows.max(next.rows) < LARGE) {
            let columns = target.write_form(&batches, together)?;
            open.writer.write(&columns).map_err(write_failed)?;
        }
        let length = open.writer.bytes_written() + open.writer.in_progress_size();
        if length as u64 >= target.target_bytes {
            self.finish_file()?;
        }
        Ok(())
    }

    fn create(&self, target: &Target) -> Result<OpenFile, ConnectorError> {
        let folder = orphans::data_folder(&target.metadata);
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
        Ok(OpenFile {
            writer,
            location,
            runs: Runs::default(),
        })
    }

    fn finish_file(&mut self) -> Result<(), ConnectorError> {
        let Some(mut open) = self.open.take() else {
            return Ok(());
        };
        let target = self
            .target
            .as_ref()
            .expect("a file was opened for a target");
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
            spec,
            &parquet,
            &open.location,
            length,
        )?;
        self.sealed.push(StagedFile::new(
            metadata,
            metadata.current_schema_id(),
            spec,
            file,
        )?);
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

/// Rows of one batch that stand together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    batch: usize,
    from: usize,
    rows: usize,
}

/// A piece of so many rows is written as it is; smaller ones are brought together first.
const LARGE: usize = 4096;
/// Below so many rows to a piece it is quicker to pick them one by one.
const SMALL: usize = 8;

/// One column of the pieces. A single one is not copied.
fn gathered(
    batches: &[Chunk],
    column: usize,
    pieces: &[Piece],
) -> Result<ArrayRef, arrow_schema::ArrowError> {
    let of = |batch: &Chunk| batch.columns.column(column).clone();
    let slice = |piece: &Piece| of(&batches[piece.batch]).slice(piece.from, piece.rows);
    let rows: usize = pieces.iter().map(|piece| piece.rows).sum();
    if let [piece] = pieces {
        return Ok(slice(piece));
    }
    if rows >= SMALL * pieces.len() {
        let slices: Vec<ArrayRef> = pieces.iter().map(slice).collect();
        let slices: Vec<&dyn Array> = slices.iter().map(|slice| &**slice).collect();
        return concat(&slices);
    }
    let places = |piece: &Piece| {
        let Piece { batch, from, rows } = *piece;
        (from..from + rows).map(move |row| (batch, row))
    };
    let places: Vec<(usize, usize)> = pieces.iter().flat_map(places).collect();
    let arrays: Vec<ArrayRef> = batches.iter().map(of).collect();
    let arrays: Vec<&dyn Array> = arrays.iter().map(|array| &**array).collect();
    interleave(&arrays, &places)
}

/// All rows by partition, within a partition as they came, and where they came from; those of aggregates as they came.
fn in_runs(batches: &[Chunk]) -> (Vec<Piece>, origins::Runs) {
    let splits: &[Split] = &batches.last().expect("there is a batch").splits;
    let mut by_split: Vec<(Vec<Piece>, origins::Runs)> = vec![Default::default(); splits.len()];
    let mut derived = Vec::new();
    for (batch, rows) in batches.iter().enumerate() {
        let mut from = 0;
        let Some(runs) = rows.origins.runs() else {
            let rows = rows.rows();
            derived.push(Piece { batch, from, rows });
            continue;
        };
        for run in runs.runs() {
            let (pieces, origins) = &mut by_split[run.split as usize];
            let goes_on = |last: &&mut Piece| last.batch == batch && last.from + last.rows == from;
            match pieces.last_mut().filter(goes_on) {
                Some(last) => last.rows += run.rows(),
                None => pieces.push(Piece {
                    batch,
                    from,
                    rows: run.rows(),
                }),
            }
            origins.append(*run);
            from += run.rows();
        }
    }
    let (mut all, mut origins) = (derived, origins::Runs::default());
    for (pieces, of_split) in by_split {
        all.extend(pieces);
        origins.extend(&of_split);
    }
    (all, origins)
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
