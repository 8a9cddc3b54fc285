//! A table at its current snapshot, as DataFusion reads it.
//!
//! The files are planned when the query is: what the manifests say then decides what is read. Files whose bounds exclude the
//! filter are left out, `LIMIT` stops at enough files, and where neither filter nor delete files come between, the row count
//! is known without reading any. Only the columns that a query needs are read.

use crate::filter;
use crate::tables::damaged;
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, Statistics};
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
    SendableRecordBatchStream,
};
use futures::{StreamExt, TryStreamExt};
use iceberg::Runtime;
use iceberg::arrow::ArrowReaderBuilder;
use iceberg::scan::FileScanTask;
use iceberg::table::Table;
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// A table of a catalog.
pub(crate) struct IcebergTable {
    schema: SchemaRef,
    table: Table,
}

impl IcebergTable {
    pub(crate) fn new(table: Table, schema: SchemaRef) -> IcebergTable {
        IcebergTable { schema, table }
    }

    /// The files that may hold what is asked for, in the order of their names.
    async fn files(&self, columns: &[usize], filters: &[Expr]) -> Result<Vec<FileScanTask>> {
        let schema = self.table.metadata().current_schema();
        let mut scan = self.table.scan().select_empty();
        if let Some(predicate) = filter::predicate(filters, &self.table) {
            scan = scan.with_filter(predicate);
        }
        let planned = scan.build().map_err(damaged)?.plan_files().await;
        let planned = planned.map_err(damaged)?.try_collect().await;
        let mut files: Vec<FileScanTask> = planned.map_err(damaged)?;
        files.sort_by(|a, b| a.data_file_path.cmp(&b.data_file_path));
        // Files are read by the table's schema, not by that of its last snapshot: a column that was added since is NULL.
        let fields = schema.as_struct().fields();
        for file in &mut files {
            file.schema = schema.clone();
            file.project_field_ids = columns.iter().map(|column| fields[*column].id).collect();
        }
        Ok(files)
    }
}

impl fmt::Debug for IcebergTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IcebergTable({})", self.table.identifier())
    }
}

#[async_trait]
impl TableProvider for IcebergTable {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// What can be said to Iceberg leaves out files and row groups; DataFusion filters the rows that are left.
    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let wanted: Vec<usize> = match projection {
            Some(wanted) => wanted.clone(),
            None => (0..self.schema.fields().len()).collect(),
        };
        // Rows without columns must still be counted where files have to be read: by a column that is dropped again.
        let read = if wanted.is_empty() {
            vec![0]
        } else {
            wanted.clone()
        };
        let mut files = self.files(&read, filters).await?;
        let rows = exact_rows(&files).filter(|_| filters.is_empty());
        if let (Some(limit), Some(_)) = (limit, rows) {
            files.truncate(enough(&files, limit as u64));
        }
        let schema = Arc::new(self.schema.project(&wanted)?);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema.clone()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        Ok(Arc::new(IcebergScan {
            schema,
            kept: wanted.len(),
            table: self.table.clone(),
            rows: exact_rows(&files).filter(|_| filters.is_empty()),
            files,
            limit,
            properties: Arc::new(properties),
        }))
    }
}

/// Rows of the files, where the manifests know: no delete file takes any away.
fn exact_rows(files: &[FileScanTask]) -> Option<u64> {
    files
        .iter()
        .map(|file| file.record_count.filter(|_| file.deletes.is_empty()))
        .sum()
}

/// How many of the files hold `limit` rows.
fn enough(files: &[FileScanTask], limit: u64) -> usize {
    let mut rows = 0;
    let full = files.iter().position(|file| {
        rows += file.record_count.unwrap_or(0);
        rows >= limit
    });
    full.map_or(files.len(), |last| last + 1)
}

/// A scan of some columns of some files.
struct IcebergScan {
    schema: SchemaRef,
    /// Columns that are given on; one is read even if none is.
    kept: usize,
    table: Table,
    files: Vec<FileScanTask>,
    /// Rows, where they are known without reading.
    rows: Option<u64>,
    limit: Option<usize>,
    properties: Arc<PlanProperties>,
}

impl fmt::Debug for IcebergScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (table, files) = (self.table.identifier(), self.files.len());
        write!(f, "IcebergScan({table}, {files} files)")
    }
}

impl DisplayAs for IcebergScan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (table, files) = (self.table.identifier(), self.files.len());
        write!(f, "IcebergScan: table={table}, files={files}")?;
        let filtered = self.files.first().and_then(|file| file.predicate.as_ref());
        if let Some(predicate) = filtered {
            write!(f, ", filter={predicate}")?;
        }
        self.limit
            .map_or(Ok(()), |limit| write!(f, ", limit={limit}"))
    }
}

impl ExecutionPlan for IcebergScan {
    fn name(&self) -> &'static str {
        "IcebergScan"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn partition_statistics(&self, _: Option<usize>) -> Result<Statistics> {
        let limited = self.limit.is_some();
        let num_rows = match self.rows {
            Some(rows) if !limited => Precision::Exact(rows as usize),
            _ => Precision::Absent,
        };
        Ok(Statistics {
            num_rows,
            total_byte_size: Precision::Absent,
            column_statistics: vec![ColumnStatistics::new_unknown(); self.schema.fields().len()],
        })
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let runtime = Runtime::try_current().map_err(damaged)?;
        // One file at a time: a file's row group is in memory while it is read.
        let reader = ArrowReaderBuilder::new(self.table.file_io().clone(), runtime)
            .with_data_file_concurrency_limit(1)
            .build();
        let files = futures::stream::iter(self.files.clone().into_iter().map(Ok)).boxed();
        let kept: Vec<usize> = (0..self.kept).collect();
        let rows = reader.read(files).map_err(damaged)?.stream();
        let rows = rows.map(move |batch| Ok(batch.map_err(damaged)?.project(&kept)?));
        let limit = self.limit.unwrap_or(usize::MAX);
        let rows = up_to(limit, rows.boxed());
        let rows = RecordBatchStreamAdapter::new(self.schema.clone(), rows);
        Ok(make_cooperative(Box::pin(rows)))
    }
}

type Batches = futures::stream::BoxStream<'static, Result<arrow_array::RecordBatch>>;

/// The first rows of a stream.
fn up_to(limit: usize, rows: Batches) -> Batches {
    let first = futures::stream::try_unfold((limit, rows), async |(left, mut rows)| {
        if left == 0 {
            return Ok(None);
        }
        let Some(batch) = rows.try_next().await? else {
            return Ok(None);
        };
        let batch = batch.slice(0, batch.num_rows().min(left));
        let left = left - batch.num_rows();
        Ok(Some((batch, (left, rows))))
    });
    first.boxed()
}
