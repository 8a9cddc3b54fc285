//! The files of a compaction: a look at those that are there, and the one that takes their place.
//!
//! A copy changes nothing but where rows stand: the new file has the very Parquet schema of the old ones, whatever the table's
//! schema is by now, and its rows in their order. In everything else it is as the table asks for its files (`writer::settings`).
//! So files of different schemas are not put together, and the audit hashes a row as before. What footers say of the rows' origins is put together in the same order.

use crate::commit::change::Made;
use crate::commit::listing::Listed;
use crate::error::{CatalogError, Kind};
use crate::replay::Kept;
use crate::storage::Files;
use crate::view::footers::runs_of;
use crate::view::{builder, damaged};
use crate::writer::runs::{FOOTER_KEY, Run};
use crate::writer::settings::Settings;
use crate::writer::stats;
use arrow_array::{Array, RecordBatch};
use arrow_schema::{Schema, SchemaRef};
use iceberg::spec::{DataFileFormat, TableMetadata};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::RowSelection;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::Type as Physical;
use parquet::file::metadata::KeyValue;
use parquet::schema::types::{SchemaDescriptor, TypePtr};
use std::ops::Range;
use std::sync::Arc;

/// Rows that are read at a time.
const BATCH: usize = 8192;
/// What a row group may hold in memory.
const MOST_HELD: usize = 64 << 20;

/// What a data file's rows say of where they came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origins {
    /// A run of offsets for each row.
    Listed(Vec<Run>),
    /// Aggregates: of ours, and of no record.
    Derived,
    /// Another writer made them.
    Foreign,
}

/// A data file, as it can be copied.
#[derive(Clone)]
pub(crate) struct Look {
    pub(crate) origins: Origins,
    schema: Arc<SchemaDescriptor>,
    arrow: SchemaRef,
}

impl Look {
    /// The rows of both can stand in one file.
    pub(super) fn is_like(&self, other: &Look) -> bool {
        let kind = |look: &Look| std::mem::discriminant(&look.origins);
        let fields = |look: &Look| look.schema.root_schema().get_fields().to_vec();
        kind(self) == kind(other)
            && fields(self) == fields(other)
            && self.arrow.fields() == other.arrow.fields()
    }
}

/// Looks at a data file; `Err` inside: why it stays as it is.
pub(crate) fn look(
    files: &Files,
    listed: &Listed,
) -> Result<Result<Look, &'static str>, CatalogError> {
    let file = &listed.file;
    if file.file_format() != DataFileFormat::Parquet {
        return Ok(Err("not Parquet"));
    }
    if file.key_metadata().is_some() {
        return Ok(Err("encrypted"));
    }
    let path = file.file_path();
    let builder = builder(files, path)?;
    let metadata = builder.metadata();
    let schema = metadata.file_metadata().schema_descr_ptr();
    if !has_ids(schema.root_schema().get_fields()) {
        return Ok(Err("columns without field ids"));
    }
    let columns = schema.columns().iter();
    if columns
        .into_iter()
        .any(|column| column.physical_type() == Physical::INT96)
    {
        return Ok(Err("times of 96 bits"));
    }
    let rows = u64::try_from(metadata.file_metadata().num_rows()).unwrap_or(0);
    if rows != file.record_count() {
        return Ok(Err("not as many rows as the table says"));
    }
    let origins = match runs_of(metadata, path)? {
        None => Origins::Foreign,
        Some(runs) if runs.is_empty() => Origins::Derived,
        Some(runs) => {
            if runs.iter().map(|run| run.rows).sum::<u64>() != rows {
                return Ok(Err("rows of records and of aggregates"));
            }
            Origins::Listed(runs)
        }
    };
    // What a footer says beside the columns is not theirs.
    let arrow = Schema::new(builder.schema().fields().clone());
    Ok(Ok(Look {
        origins,
        schema,
        arrow: Arc::new(arrow),
    }))
}

fn has_ids(fields: &[TypePtr]) -> bool {
    // The levels between a list or a map and its elements have none.
    let own = fields.iter().all(|field| field.get_basic_info().has_id());
    own && fields
        .iter()
        .filter(|field| field.is_group() && field.get_basic_info().logical_type_ref().is_none())
        .all(|field| has_ids(field.get_fields()))
}

/// Copies files into one at `location`, and tells the bytes of its rows in memory; of one file, where it is said, only some rows.
/// `None`: it was told to stop, and nothing is there.
pub(crate) fn copy(
    files: &Files,
    metadata: &TableMetadata,
    from: &[(Listed, Look)],
    only: Option<&Kept>,
    location: String,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<Option<(Made, u64)>, CatalogError> {
    let (first, look) = from.first().expect("a bin has files");
    assert!(
        only.is_none() || from.len() == 1,
        "C6: some rows are of one file"
    );
    let schema = metadata.current_schema();
    let settings = Settings::of(metadata.properties(), schema, &look.schema);
    let settings = settings.map_err(|why| CatalogError::new(Kind::BadRequest, why))?;
    let options = ArrowWriterOptions::new()
        .with_properties(settings.parquet.clone())
        .with_parquet_schema((*look.schema).clone());
    let file = files.create(&location)?;
    let writer = ArrowWriter::try_new_with_options(file, look.arrow.clone(), options);
    let mut writer = writer.map_err(not_written)?;
    let (mut runs, mut bytes) = (Vec::new(), 0);
    for (listed, its) in from {
        assert!(look.is_like(its), "C5: files of one kind alone become one");
        let path = listed.file.file_path();
        let mut builder = builder(files, path)?.with_batch_size(BATCH);
        let mut expected = listed.file.record_count();
        if let Some(kept) = only {
            let selected = kept.rows.iter().cloned().map(places);
            let all = places(0..expected).end;
            expected = kept.rows.iter().map(|rows| rows.end - rows.start).sum();
            let selection = RowSelection::from_consecutive_ranges(selected, all);
            builder = builder.with_row_selection(selection);
        }
        let reader = builder.build().map_err(|error| damaged(path, error))?;
        let mut rows = 0;
        for batch in reader {
            if !go_on() {
                return Ok(None);
            }
            let batch = batch.map_err(|error| damaged(path, error))?;
            rows += batch.num_rows() as u64;
            bytes += in_memory(&batch);
            let batch = RecordBatch::try_new(look.arrow.clone(), batch.columns().to_vec());
            let batch = batch.map_err(|error| damaged(path, error))?;
            settings.write(&mut writer, &batch).map_err(not_written)?;
            if writer.in_progress_size() >= MOST_HELD {
                writer.flush().map_err(not_written)?;
            }
        }
        if rows != expected {
            return Err(damaged(
                path,
                format!("it has {rows} rows, and not {expected}"),
            ));
        }
        match (&its.origins, only) {
            (_, Some(kept)) => runs.extend(kept.runs.iter().cloned()),
            (Origins::Listed(its), None) => runs.extend(its.iter().cloned()),
            (Origins::Derived | Origins::Foreign, None) => {}
        }
    }
    if look.origins != Origins::Foreign {
        let runs = serde_json::to_string(&runs).expect("runs are plain data");
        let entry = KeyValue::new(FOOTER_KEY.to_owned(), runs);
        writer.append_key_value_metadata(entry);
    }
    let parquet = writer.finish().map_err(not_written)?;
    let length = writer.inner_mut().finish()?;
    let file = stats::data_file(
        (schema, &settings.metrics),
        (first.spec_id, first.file.partition().clone()),
        &parquet,
        &location,
        length,
    )?;
    let made = Made {
        spec_id: first.spec_id,
        file,
    };
    Ok(Some((made, bytes)))
}

fn places(rows: Range<u64>) -> Range<usize> {
    let place = |row| usize::try_from(row).expect("rows of a file fit the address space");
    place(rows.start)..place(rows.end)
}

/// Bytes of a batch's values.
fn in_memory(batch: &RecordBatch) -> u64 {
    let sizes = batch.columns().iter().map(|column| {
        let size = column.to_data().get_slice_memory_size();
        size.unwrap_or(0) as u64
    });
    sizes.sum()
}

fn not_written(error: parquet::errors::ParquetError) -> CatalogError {
    CatalogError::caused(Kind::Unavailable, "a data file cannot be written", error)
}
