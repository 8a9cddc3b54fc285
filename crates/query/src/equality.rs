//! Rows that other writers deleted by their values (equality deletes).
//!
//! Iceberg's reader makes a condition of such a file, `v <> 'a' AND …`, which a row without a value does not meet: it would be
//! gone with the rows that were deleted. Here the values of a delete file are a set of keys, and NULL is a value like any other:
//!
//! 1. The columns that the file names by id are read beside those that the query wants.
//! 2. A row whose key is in a set is left out. Which files a delete is about (those before it, of its partition) the plan says.
//! 3. Keys are loaded once a scan, by whichever reader comes to them first, and are part of the memory of queries.

use crate::tables::damaged;
use arrow_array::{ArrayRef, BooleanArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::error::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use iceberg::arrow::ArrowReader;
use iceberg::scan::{FileScanTask, FileScanTaskDeleteFile};
use iceberg::spec::{DataContentType, NestedField, Schema, SchemaRef, TableMetadata};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::OnceCell;

/// Of one scan, shared by its readers.
pub(crate) struct EqualityDeletes {
    /// The columns that are read, and those that were dropped since and that a delete is about.
    schema: SchemaRef,
    files: HashMap<String, OnceCell<Arc<Keys>>>,
}

/// What one delete file deletes.
struct Keys {
    /// As [`to_rows`] writes them: the same columns give the same bytes for the same values.
    rows: HashSet<Box<[u8]>>,
    _memory: MemoryReservation,
}

fn is_equality(delete: &FileScanTaskDeleteFile) -> bool {
    delete.file_type == DataContentType::EqualityDeletes
}

/// Whether anything was deleted from a file by values.
pub(crate) fn concern(file: &FileScanTask) -> bool {
    file.deletes.iter().any(is_equality)
}

impl EqualityDeletes {
    /// # Errors
    /// When a delete file is about a column that the table never had.
    pub(crate) fn of(
        files: &[FileScanTask],
        schema: &SchemaRef,
        metadata: &TableMetadata,
    ) -> Result<EqualityDeletes> {
        let deletes = files.iter().flat_map(|file| &file.deletes);
        let deletes: Vec<_> = deletes.filter(|delete| is_equality(delete)).collect();
        let ids = deletes.iter().flat_map(|delete| ids(delete));
        let cells = deletes
            .iter()
            .map(|delete| (delete.file_path.clone(), OnceCell::new()));
        Ok(EqualityDeletes {
            schema: with_dropped(schema, ids, metadata)?,
            files: cells.collect(),
        })
    }

    /// The rows of a file that were not deleted; of their columns those that the file is to be read with.
    ///
    /// # Errors
    /// When a delete file cannot be read, or the memory of queries does not hold it.
    pub(crate) async fn read(
        self: Arc<EqualityDeletes>,
        reader: ArrowReader,
        mut file: FileScanTask,
        pool: Arc<dyn MemoryPool>,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let (equality, others) = file.deletes.into_iter().partition(is_equality);
        file.deletes = others;
        file.schema = self.schema.clone();
        let wanted: Vec<usize> = (0..file.project_field_ids.len()).collect();
        let mut sets: Vec<Deleted> = Vec::new();
        for delete in &equality {
            let keys = self.keys(&reader, delete, &pool).await?;
            let columns = columns_of(ids(delete), &mut file.project_field_ids);
            match sets.iter_mut().find(|set| set.columns == columns) {
                Some(set) => set.keys.push(keys),
                None => sets.push(Deleted {
                    columns,
                    keys: vec![keys],
                }),
            }
        }
        let rows = reader.read(futures::stream::iter([Ok(file)]).boxed());
        let rows = rows.map_err(damaged)?.stream();
        let rows = rows.map(move |batch| {
            let mut batch = batch.map_err(damaged)?;
            for set in &sets {
                batch = set.without(batch)?;
            }
            Ok(batch.project(&wanted)?)
        });
        Ok(rows.boxed())
    }

    async fn keys(
        &self,
        reader: &ArrowReader,
        delete: &FileScanTaskDeleteFile,
        pool: &Arc<dyn MemoryPool>,
    ) -> Result<Arc<Keys>> {
        let cell = &self.files[&delete.file_path];
        let keys = cell.get_or_try_init(|| self.load(reader.clone(), delete, pool));
        keys.await.cloned()
    }

    async fn load(
        &self,
        reader: ArrowReader,
        delete: &FileScanTaskDeleteFile,
        pool: &Arc<dyn MemoryPool>,
    ) -> Result<Arc<Keys>> {
        let file = FileScanTask::builder()
            .with_file_size_in_bytes(delete.file_size_in_bytes)
            .with_start(0)
            .with_length(delete.file_size_in_bytes)
            .with_data_file_path(delete.file_path.clone())
            .with_data_file_format(iceberg::spec::DataFileFormat::Parquet)
            .with_schema(self.schema.clone())
            .with_project_field_ids(ids(delete).to_vec())
            .with_case_sensitive(true)
            .build();
        let memory = MemoryConsumer::new("equality deletes").register(pool);
        let mut rows = HashSet::new();
        let read = reader.read(futures::stream::iter([Ok(file)]).boxed());
        let mut batches = read.map_err(damaged)?.stream();
        while let Some(batch) = batches.try_next().await.map_err(damaged)? {
            let keys = to_rows(batch.columns())?;
            memory.try_grow(keys.size())?;
            rows.extend(keys.iter().map(|key| Box::from(key.as_ref())));
        }
        Ok(Arc::new(Keys {
            rows,
            _memory: memory,
        }))
    }
}

fn ids(delete: &FileScanTaskDeleteFile) -> &[i32] {
    delete.equality_ids.as_deref().unwrap_or_default()
}

/// Where the columns of these ids are among those that are read; one that is missing is read as well.
fn columns_of(ids: &[i32], read: &mut Vec<i32>) -> Vec<usize> {
    let mut place = |id: &i32| {
        let known = read.iter().position(|known| known == id);
        known.unwrap_or_else(|| {
            read.push(*id);
            read.len() - 1
        })
    };
    ids.iter().map(&mut place).collect()
}

/// Sets of keys over the same columns.
struct Deleted {
    columns: Vec<usize>,
    keys: Vec<Arc<Keys>>,
}

impl Deleted {
    fn without(&self, batch: RecordBatch) -> Result<RecordBatch> {
        let columns: Vec<ArrayRef> = self
            .columns
            .iter()
            .map(|column| batch.column(*column).clone())
            .collect();
        let rows = to_rows(&columns)?;
        let stays = |row: &[u8]| !self.keys.iter().any(|keys| keys.rows.contains(row));
        let stays: BooleanArray = rows.iter().map(|row| Some(stays(row.as_ref()))).collect();
        Ok(filter_record_batch(&batch, &stays)?)
    }
}

fn to_rows(columns: &[ArrayRef]) -> Result<datafusion::arrow::row::Rows> {
    let fields = columns
        .iter()
        .map(|column| SortField::new(column.data_type().clone()));
    let converter = RowConverter::new(fields.collect())?;
    Ok(converter.convert_columns(columns)?)
}

/// The schema, and behind it the columns of these ids that it does not have, under names that nobody else has.
fn with_dropped<'a>(
    schema: &SchemaRef,
    ids: impl Iterator<Item = &'a i32>,
    metadata: &TableMetadata,
) -> Result<SchemaRef> {
    let known = |id: &i32| schema.as_struct().field_by_id(*id).is_some();
    let missing: HashSet<i32> = ids.filter(|id| !known(id)).copied().collect();
    if missing.is_empty() {
        return Ok(schema.clone());
    }
    let mut fields = schema.as_struct().fields().to_vec();
    for id in missing {
        let mut schemas = metadata.schemas_iter();
        let Some(dropped) = schemas.find_map(|schema| schema.as_struct().field_by_id(id)) else {
            return datafusion::common::plan_err!(
                "a delete file is about column {id}, which the table never had"
            );
        };
        let name = format!("dropped column {id}");
        let kind = dropped.field_type.as_ref().clone();
        fields.push(Arc::new(NestedField::optional(id, name, kind)));
    }
    let schema = Schema::builder().with_fields(fields).build();
    Ok(Arc::new(schema.map_err(damaged)?))
}
