//! A Delta table as the audit sees it: what its log says of itself, which files hold which runs, and the rows themselves.
//!
//! As with Iceberg tables ([`view`](crate::view)) nothing here trusts a counter: runs come from the footers of the files that the log lists,
//! rows from the files. The columns of partitions are not in the files; what the log says of them is put beside what is.

use super::action::{Add, Metadata, PartitionValues};
use super::log::DeltaLog;
use super::marker::Marker;
use super::schema;
use crate::commit::marker::Stint;
use crate::error::{CatalogError, Kind};
use crate::ids::Ids;
use crate::storage::Files;
use crate::view::{Footers, LetterView, builder, damaged, show_letters};
use crate::writer::runs::Run;
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray, new_null_array};
use arrow_cast::cast;
use arrow_schema::{ArrowError, Field, Schema};
use lw_runtime::manifest::SplitOffset;
use std::sync::Arc;

/// A live data file.
#[derive(Clone, Debug)]
pub struct DeltaFile {
    pub path: String,
    pub rows: u64,
    /// `None`: no footer of ours, so another writer made the file.
    pub runs: Option<Arc<Vec<Run>>>,
    values: PartitionValues,
}

/// A table at its newest version.
pub struct DeltaView {
    files: Files,
    metadata: Metadata,
    marker: Option<Marker>,
    pub data_files: Vec<DeltaFile>,
}

impl DeltaView {
    /// Reads a table's log and the footers of its files; `None` where there is no table.
    ///
    /// # Errors
    /// When something of it cannot be read, or rows are hidden by deletion vectors.
    pub fn open(
        files: &Files,
        location: &str,
        footers: &Footers,
    ) -> Result<Option<DeltaView>, CatalogError> {
        let log = DeltaLog::new(files.clone(), location, Ids::random());
        let Some(at) = log.load()? else {
            return Ok(None);
        };
        let mut view = DeltaView {
            files: files.clone(),
            marker: Marker::of(&at.txns)?,
            metadata: at.metadata,
            data_files: Vec::new(),
        };
        for add in log.contents(at.version)?.adds.into_values() {
            view.data_files.push(data_file(&log, add, footers)?);
        }
        Ok(Some(view))
    }

    /// What Delta calls the table.
    pub fn id(&self) -> &str {
        &self.metadata.id
    }

    /// Where the table begins, per partition; nothing where no pipeline has written it.
    pub fn begins(&self) -> Vec<SplitOffset> {
        self.marker.as_ref().map(Marker::begins).unwrap_or_default()
    }

    /// Where it ends.
    pub fn ends(&self) -> Vec<SplitOffset> {
        self.marker.as_ref().map(Marker::ends).unwrap_or_default()
    }

    /// Which plan made what, oldest first.
    pub fn stints(&self) -> Vec<Stint> {
        self.marker.as_ref().map(Marker::stints).unwrap_or_default()
    }

    /// The columns of partitions that are texts: an empty one is NULL in the table.
    pub fn partition_texts(&self) -> Result<Vec<String>, CatalogError> {
        let columns = schema::read(&self.metadata.schema_string)?.into_iter();
        let by = &self.metadata.partition_columns;
        let texts = columns.filter(|column| by.contains(&column.name) && column.ty.is_text());
        Ok(texts.map(|column| column.name).collect())
    }

    /// The rows of a file in their order, a batch at a time, with the columns of its partition.
    pub fn batches(
        &self,
        file: &DeltaFile,
    ) -> Result<impl Iterator<Item = Result<RecordBatch, CatalogError>> + use<>, CatalogError> {
        let columns = schema::read(&self.metadata.schema_string)?;
        let by = self.metadata.partition_columns.iter();
        let by = by.filter_map(|name| columns.iter().find(|column| column.name == *name));
        let fields = schema::to_arrow(by)?.fields;
        let values: Vec<Option<String>> = fields
            .iter()
            .map(|field| file.values.get(field.name()).cloned().flatten())
            .collect();
        let path = file.path.clone();
        let reader = builder(&self.files, &path)?.build();
        let reader = reader.map_err(|error| damaged(&path, error))?;
        Ok(reader.map(move |batch| {
            let batch = batch.map_err(|error| damaged(&path, error))?;
            let whole = with_columns(&batch, fields.iter().zip(&values));
            whole.map_err(|error| damaged(&path, error))
        }))
    }

    /// Shows each letter of this table of dead letters.
    ///
    /// # Errors
    /// When it is no table of dead letters, or a file cannot be read.
    pub fn letters(&self, mut each: impl FnMut(LetterView<'_>)) -> Result<(), CatalogError> {
        for file in &self.data_files {
            for batch in self.batches(file)? {
                show_letters(&batch?, &file.path, &mut each)?;
            }
        }
        Ok(())
    }
}

fn data_file(log: &DeltaLog, add: Add, footers: &Footers) -> Result<DeltaFile, CatalogError> {
    let path = add.location(&log.location);
    if add.deletion_vector.is_some() {
        return Err(CatalogError::new(
            Kind::Unsupported,
            format!(
                "rows of {path} are hidden by a deletion vector, which this version does not read"
            ),
        ));
    }
    let parquet = builder(&log.files, &path)?;
    let rows = parquet.metadata().file_metadata().num_rows();
    Ok(DeltaFile {
        rows: u64::try_from(rows).unwrap_or(0),
        runs: footers.runs(&log.files, &path)?,
        values: add.partition_values,
        path,
    })
}

/// The batch, and columns with the same value in each row.
fn with_columns<'a>(
    batch: &RecordBatch,
    columns: impl Iterator<Item = (&'a Arc<Field>, &'a Option<String>)>,
) -> Result<RecordBatch, ArrowError> {
    let (mut fields, mut arrays) = (batch.schema().fields.to_vec(), batch.columns().to_vec());
    let rows = batch.num_rows();
    for (field, value) in columns {
        let array: ArrayRef = match value {
            Some(value) => {
                let texts = StringArray::from(vec![value.as_str(); rows]);
                cast(&texts, field.data_type())?
            }
            None => new_null_array(field.data_type(), rows),
        };
        fields.push(Arc::new(field.as_ref().clone().with_nullable(true)));
        arrays.push(array);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
}
