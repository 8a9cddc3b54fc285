//! Files that have what is asked for just as the table has it: read by Parquet's own reader.
//!
//! Iceberg's reader fits any file to a table: types that were widened, columns that came later, rows that somebody deleted. It also tests the
//! filter on every row while it decodes, and its caller tests it again. Where many rows stay, or where the filter's columns are all that is read,
//! that costs twice what reading all of them does. A file with nothing to fit is read here:
//!
//! 1. Columns are found by field id, and have the table's type.
//! 2. Row groups that their statistics exclude are left out.
//! 3. The filter is tested while rows are decoded only where that spares more of the other columns' decoding than it costs ([`Filter::spares`]).

use crate::tables::damaged;
use arrow_array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow_schema::{ArrowError, DataType, Field, Schema as Columns, SchemaRef, TimeUnit};
use datafusion::arrow::compute::cast;
use datafusion::catalog::Session;
use datafusion::common::cast::as_boolean_array;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::utils::{conjunction, expr_to_columns};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::pruning::PruningPredicate;
use futures::StreamExt;
use futures::stream::BoxStream;
use iceberg::arrow::ArrowFileReader;
use iceberg::io::{FileIO, FileMetadata};
use iceberg::scan::FileScanTask;
use iceberg::spec::{DataFileFormat, Schema};
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::arrow::arrow_reader::{
    ArrowPredicateFn, ArrowReaderMetadata, ArrowReaderOptions, RowFilter,
};
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::arrow::{PARQUET_FIELD_ID_META_KEY, ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::basic::Type;
use parquet::errors::ParquetError;
use parquet::file::metadata::RowGroupMetaData;
use std::collections::HashSet;
use std::sync::Arc;

mod share;

/// What to decode a row's column for the filter, and again for the query, costs of decoding it once.
const TWICE: f64 = 2.5;
/// Of rows that stay here and there, so much more has to be decoded than their share.
const SCATTERED: f64 = 3.0;
/// Decoding a value takes as long as that of so many bytes, whatever its encoding.
const OF_NUMBER: f64 = 8.0;
const OF_BYTES: f64 = 16.0;

/// Columns of a table, with their field ids.
struct Wanted {
    schema: SchemaRef,
    ids: Vec<i32>,
}

impl Wanted {
    fn new(all: &SchemaRef, table: &Schema, columns: &[usize]) -> Result<Wanted> {
        let fields = table.as_struct().fields();
        Ok(Wanted {
            schema: Arc::new(all.project(columns)?),
            ids: columns.iter().map(|column| fields[*column].id).collect(),
        })
    }
}

/// A scan's columns and filter, as far as files are read directly.
pub(crate) struct Direct {
    wanted: Wanted,
    filter: Option<Filter>,
}

impl Direct {
    /// # Errors
    /// When there is no such column.
    pub(crate) fn new(
        session: &dyn Session,
        all: &SchemaRef,
        table: &Schema,
        columns: &[usize],
        filters: &[Expr],
    ) -> Result<Direct> {
        Ok(Direct {
            wanted: Wanted::new(all, table, columns)?,
            filter: Filter::of(session, all, table, filters),
        })
    }

    /// The rows of a file, those that the filter excludes among them; `None` where it has to be fitted to the table.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) async fn read(
        self: Arc<Direct>,
        io: FileIO,
        task: &FileScanTask,
        batch_rows: usize,
    ) -> Result<Option<BoxStream<'static, Result<RecordBatch>>>> {
        if !task.deletes.is_empty() || task.data_file_format != DataFileFormat::Parquet {
            return Ok(None);
        }
        let input = io.new_input(&task.data_file_path).map_err(damaged)?;
        let size = task.file_size_in_bytes;
        let bytes = input.reader().await.map_err(damaged)?;
        let mut bytes = ArrowFileReader::new(FileMetadata { size }, bytes);
        let metadata = bytes.get_metadata(None).await.map_err(unreadable)?;
        let Some(file) = File::of(ArrowReaderMetadata::try_new(
            metadata,
            // What the writer's library had in memory does not matter.
            ArrowReaderOptions::new().with_skip_arrow_metadata(true),
        ))?
        else {
            return Ok(None);
        };
        let Some(file) = self.fitting(file)? else {
            return Ok(None);
        };
        let groups = self.groups(&file, task)?;
        let mut rows =
            ParquetRecordBatchStreamBuilder::new_with_metadata(bytes, file.metadata.clone())
                .with_projection(file.mask(&file.read))
                .with_batch_size(batch_rows);
        if let Some(filter) = &self.filter
            && filter.spares(&file, &groups)
        {
            rows = rows.with_row_filter(filter.clone().of_rows(&file));
        }
        let rows = rows.with_row_groups(groups).build().map_err(unreadable)?;
        let order = file.order(&file.read);
        let rows = rows.map(move |batch| {
            let batch = batch.map_err(unreadable)?;
            Ok(reordered(&batch, &order, &self.wanted.schema)?)
        });
        Ok(Some(rows.boxed()))
    }

    /// Rows that another reader gave, as this one gives them.
    ///
    /// # Errors
    /// When they are of other columns.
    pub(crate) fn alike(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let schema = &self.wanted.schema;
        let columns = batch.columns().iter().zip(schema.fields());
        let columns = columns.map(|(column, field)| cast(column, field.data_type()));
        let columns = columns.collect::<std::result::Result<Vec<_>, _>>()?;
        let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(
            schema.clone(),
            columns,
            &rows,
        )?)
    }

    /// Finds the columns in the file; `None` where one is missing or has another type.
    fn fitting(&self, mut file: File) -> Result<Option<File>> {
        let filters = self.filter.as_ref().map(|filter| &*filter.wanted);
        let wanted = [Some(&self.wanted), filters];
        let mut fields: Vec<_> = file.metadata.schema().fields().to_vec();
        let mut found = [Vec::new(), Vec::new()];
        for (wanted, found) in wanted.into_iter().zip(&mut found) {
            let Some(wanted) = wanted else { continue };
            for (id, field) in wanted.ids.iter().zip(wanted.schema.fields()) {
                let Some(at) = file.ids.iter().position(|other| *other == Some(*id)) else {
                    return Ok(None);
                };
                if !same(fields[at].data_type(), field.data_type()) {
                    return Ok(None);
                }
                let named = fields[at].as_ref().clone();
                fields[at] = Arc::new(named.with_data_type(field.data_type().clone()));
                found.push(at);
            }
        }
        let options = ArrowReaderOptions::new().with_schema(Arc::new(Columns::new(fields)));
        let metadata = file.metadata.metadata().clone();
        file.metadata = ArrowReaderMetadata::try_new(metadata, options).map_err(unreadable)?;
        [file.read, file.filtered] = found;
        Ok(Some(file))
    }

    /// The row groups of this part of the file whose statistics do not exclude the filter.
    fn groups(&self, file: &File, task: &FileScanTask) -> Result<Vec<usize>> {
        let groups = file.metadata.metadata().row_groups();
        let mut at = 4; // behind the magic bytes
        let (start, end) = (task.start, task.start + task.length);
        let whole = task.start == 0 && task.length == 0;
        let mut some = Vec::new();
        for (number, group) in groups.iter().enumerate() {
            let bytes = u64::try_from(group.compressed_size()).unwrap_or(0);
            // A row group is of the part that its middle lies in, as Iceberg's reader has it.
            let middle = at + bytes / 2;
            if whole || (start <= middle && middle < end) {
                some.push(number);
            }
            at += bytes;
        }
        let Some(filter) = &self.filter else {
            return Ok(some);
        };
        let kept = filter.keeps(file, &some)?;
        Ok(some
            .into_iter()
            .zip(kept)
            .filter_map(|(group, kept)| kept.then_some(group))
            .collect())
    }
}

/// Whether a file's column is read as the table's without a change of its values.
fn same(file: &DataType, table: &DataType) -> bool {
    match (file, table) {
        // A zone's name does not matter to an instant.
        (
            DataType::Timestamp(TimeUnit::Microsecond, Some(_)),
            DataType::Timestamp(TimeUnit::Microsecond, Some(_)),
        ) => true,
        (DataType::Utf8, DataType::Utf8View) => true,
        _ => file == table && !file.is_nested(),
    }
}

fn reordered(
    batch: &RecordBatch,
    order: &[usize],
    schema: &SchemaRef,
) -> std::result::Result<RecordBatch, ArrowError> {
    let columns = order.iter().map(|at| batch.column(*at).clone()).collect();
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &rows)
}

fn unreadable(error: ParquetError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// A file's footer, and where the columns are among its top-level fields.
struct File {
    metadata: ArrowReaderMetadata,
    /// Of each field.
    ids: Vec<Option<i32>>,
    read: Vec<usize>,
    filtered: Vec<usize>,
}

impl File {
    /// `None` where the fields have no ids.
    fn of(metadata: parquet::errors::Result<ArrowReaderMetadata>) -> Result<Option<File>> {
        let metadata = metadata.map_err(unreadable)?;
        let id = |field: &Arc<Field>| {
            field
                .metadata()
                .get(PARQUET_FIELD_ID_META_KEY)?
                .parse()
                .ok()
        };
        let ids: Vec<Option<i32>> = metadata.schema().fields().iter().map(id).collect();
        Ok(ids.iter().any(Option::is_some).then_some(File {
            metadata,
            ids,
            read: Vec::new(),
            filtered: Vec::new(),
        }))
    }

    fn mask(&self, fields: &[usize]) -> ProjectionMask {
        ProjectionMask::roots(self.metadata.parquet_schema(), fields.iter().copied())
    }

    /// Where each of the fields is among those that are read: they come in the file's order.
    fn order(&self, fields: &[usize]) -> Vec<usize> {
        let before = |field: &usize| {
            let others: HashSet<_> = fields.iter().filter(|other| *other < field).collect();
            others.len()
        };
        fields.iter().map(before).collect()
    }

    /// What it takes to decode these fields: each value, and the bytes before they were compressed.
    fn work(&self, groups: &[usize], fields: impl Fn(usize) -> bool) -> f64 {
        let schema = self.metadata.parquet_schema();
        let all = self.metadata.metadata().row_groups();
        let columns = groups
            .iter()
            .flat_map(|group| all[*group].columns().iter().enumerate());
        let ours = columns.filter(|(leaf, _)| fields(schema.get_column_root_idx(*leaf)));
        let work = ours.map(|(_, column)| {
            let value = match column.column_type() {
                Type::BYTE_ARRAY | Type::FIXED_LEN_BYTE_ARRAY => OF_BYTES,
                _ => OF_NUMBER,
            };
            column.uncompressed_size() as f64 + value * column.num_values() as f64
        });
        work.sum()
    }
}

/// A condition on rows, with the columns that it names.
#[derive(Clone)]
struct Filter {
    wanted: Arc<Wanted>,
    /// Over these columns alone, in this order.
    condition: Arc<dyn PhysicalExpr>,
    /// As it was written, to guess from.
    written: Arc<Expr>,
    excludes: Option<Arc<PruningPredicate>>,
}

impl Filter {
    /// `None` where there is none, or none that the rows of one table decide.
    fn of(
        session: &dyn Session,
        all: &SchemaRef,
        table: &Schema,
        filters: &[Expr],
    ) -> Option<Filter> {
        let written = conjunction(filters.iter().cloned())?;
        let mut names = HashSet::new();
        expr_to_columns(&written, &mut names).ok()?;
        let columns = names.iter().map(|column| all.index_of(&column.name).ok());
        let mut columns = columns.collect::<Option<Vec<usize>>>()?;
        columns.sort_unstable();
        let wanted = Wanted::new(all, table, &columns).ok()?;
        let schema = DFSchema::try_from(wanted.schema.as_ref().clone()).ok()?;
        let condition = session
            .create_physical_expr(written.clone(), &schema)
            .ok()?;
        let excludes = PruningPredicate::try_new(condition.clone(), wanted.schema.clone());
        Some(Filter {
            wanted: Arc::new(wanted),
            condition,
            written: Arc::new(written),
            excludes: excludes
                .ok()
                .filter(|excludes| !excludes.always_true())
                .map(Arc::new),
        })
    }

    /// Of each of the row groups, whether it may have a row that meets the condition.
    fn keeps(&self, file: &File, groups: &[usize]) -> Result<Vec<bool>> {
        match &self.excludes {
            Some(excludes) => excludes.prune(&self.statistics(file, groups)),
            None => Ok(vec![true; groups.len()]),
        }
    }

    fn statistics<'a>(&'a self, file: &'a File, groups: &[usize]) -> GroupStatistics<'a> {
        let all = file.metadata.metadata().row_groups();
        GroupStatistics {
            filter: self,
            file,
            groups: groups.iter().map(|group| &all[*group]).collect(),
        }
    }

    /// Whether testing rows while they are decoded spares more of the other columns' decoding than it costs.
    fn spares(&self, file: &File, groups: &[usize]) -> bool {
        let own = file.work(groups, |field| file.filtered.contains(&field));
        let rest = file.work(groups, |field| {
            file.read.contains(&field) && !file.filtered.contains(&field)
        });
        let statistics = self.statistics(file, groups);
        let share = share::of(&self.written, &|column| statistics.range(column));
        (1.0 - SCATTERED * share) * rest > (TWICE - 1.0) * own
    }

    fn of_rows(self, file: &File) -> RowFilter {
        let order = file.order(&file.filtered);
        let test = move |batch: RecordBatch| {
            let batch = reordered(&batch, &order, &self.wanted.schema)?;
            let stays = self
                .condition
                .evaluate(&batch)?
                .into_array(batch.num_rows())?;
            Ok(as_boolean_array(&stays)?.clone())
        };
        RowFilter::new(vec![Box::new(ArrowPredicateFn::new(
            file.mask(&file.filtered),
            test,
        ))])
    }
}

/// What the footer says of row groups. Of floats nothing: NaN has no place in bounds.
struct GroupStatistics<'a> {
    filter: &'a Filter,
    file: &'a File,
    groups: Vec<&'a RowGroupMetaData>,
}

impl<'a> GroupStatistics<'a> {
    fn of<T>(
        &self,
        column: &str,
        ask: impl FnOnce(
            StatisticsConverter<'a>,
            Vec<&'a RowGroupMetaData>,
        ) -> parquet::errors::Result<T>,
    ) -> Option<T> {
        let at = self.filter.wanted.schema.index_of(column).ok()?;
        let schema = self.file.metadata.schema();
        let field = schema.field(self.file.filtered[at]);
        if field.data_type().is_floating() {
            return None;
        }
        let parquet = self.file.metadata.parquet_schema();
        let converter = StatisticsConverter::try_new(field.name(), schema, parquet).ok()?;
        let converter = converter.with_missing_null_counts_as_zero(false);
        ask(converter, self.groups.clone()).ok()
    }

    /// Between what two values a column of numbers or times is, over all the row groups.
    fn range(&self, column: &str) -> Option<(f64, f64)> {
        let low = self.min_values(&Column::from_name(column))?;
        let high = self.max_values(&Column::from_name(column))?;
        let low = share::numbers(&low)?.reduce(f64::min)?;
        let high = share::numbers(&high)?.reduce(f64::max)?;
        Some((low, high))
    }
}

impl PruningStatistics for GroupStatistics<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.of(&column.name, |converter, groups| {
            converter.row_group_mins(groups)
        })
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.of(&column.name, |converter, groups| {
            converter.row_group_maxes(groups)
        })
    }

    fn num_containers(&self) -> usize {
        self.groups.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let counts = self.of(&column.name, |converter, groups| {
            converter.row_group_null_counts(groups)
        });
        counts.map(|counts| Arc::new(counts) as ArrayRef)
    }

    fn row_counts(&self, column: &Column) -> Option<ArrayRef> {
        let counts = self.of(&column.name, |converter, groups| {
            converter.row_group_row_counts(groups)
        });
        counts?.map(|counts| Arc::new(counts) as ArrayRef)
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

#[cfg(test)]
mod tests;
