//! A table at one snapshot, as DataFusion reads it.
//!
//! The files are planned when the query is: what the manifests say then decides what is read. Files whose bounds exclude the
//! filter are left out, `LIMIT` stops at enough files, and where neither filter nor delete files come between, the row count
//! is known without reading any. Only the columns that a query needs are read.
//!
//! One reader gives the rows in the order of the files' names. Where a query has more to do with the rows than to hand
//! them on, and there are enough of them, each thread has a reader of its own ([`Readers`]), and there is no order.

use crate::as_of::Seen;
use crate::direct::Direct;
use crate::equality::{self, EqualityDeletes};
use crate::filter;
use crate::readers::Readers;
use crate::tables::damaged;
use arrow_schema::{DataType, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, Statistics, plan_err};
use datafusion::config::ConfigOptions;
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
use iceberg::arrow::{ArrowReader, ArrowReaderBuilder, schema_to_arrow_schema};
use iceberg::io::FileIO;
use iceberg::scan::FileScanTask;
use iceberg::spec::{
    DataFileFormat, FormatVersion, ManifestContentType, ManifestEntryRef, ManifestFile, SnapshotRef,
};
use iceberg::table::Table;
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// A state of a table of a catalog.
pub(crate) struct IcebergTable {
    /// What a query calls it.
    name: String,
    schema: SchemaRef,
    table: Table,
    seen: Seen,
}

impl IcebergTable {
    pub(crate) fn new(name: String, table: Table, seen: Seen) -> Result<IcebergTable> {
        let schema = Arc::new(with_views(
            schema_to_arrow_schema(&seen.schema).map_err(damaged)?,
        ));
        Ok(IcebergTable {
            name,
            schema,
            table,
            seen,
        })
    }

    /// The files that may hold what is asked for, in the order of their names.
    async fn files(&self, columns: &[usize], filters: &[Expr]) -> Result<Vec<FileScanTask>> {
        let Some(snapshot) = &self.seen.snapshot else {
            return Ok(Vec::new());
        };
        let schema = &self.seen.schema;
        let mut scan = self
            .table
            .scan()
            .select_empty()
            .snapshot_id(snapshot.snapshot_id());
        let written = snapshot.schema(self.table.metadata()).map_err(damaged)?;
        if let Some(predicate) = filter::predicate(filters, schema, &written) {
            scan = scan.with_filter(predicate);
        }
        let planned = scan.build().map_err(damaged)?.plan_files().await;
        let planned = planned.map_err(damaged)?.try_collect().await;
        let mut files: Vec<FileScanTask> = planned.map_err(damaged)?;
        files.sort_by(|a, b| a.data_file_path.cmp(&b.data_file_path));
        self.refuse_deletion_vectors(snapshot, &files).await?;
        // Files are read by the columns that are asked for, not by the snapshot's: one that was added since is NULL.
        let fields = schema.as_struct().fields();
        for file in &mut files {
            file.schema = schema.clone();
            file.project_field_ids = columns.iter().map(|column| fields[*column].id).collect();
        }
        Ok(files)
    }

    /// Rows that a deletion vector takes away would be there again, since the reader knows position deletes only.
    async fn refuse_deletion_vectors(
        &self,
        snapshot: &SnapshotRef,
        files: &[FileScanTask],
    ) -> Result<()> {
        let metadata = self.table.metadata();
        if metadata.format_version() < FormatVersion::V3
            || files.iter().all(|file| file.deletes.is_empty())
        {
            return Ok(());
        }
        let list = self.table.manifest_list_reader(snapshot).load().await;
        for manifest in list.map_err(damaged)?.entries() {
            if manifest.content != ManifestContentType::Deletes {
                continue;
            }
            let entries = entries(&self.table, manifest).await?;
            let mut live = entries.iter().filter(|entry| entry.is_alive());
            if live.any(|entry| entry.file_format() == DataFileFormat::Puffin) {
                return plan_err!(
                    "table '{}' has deletion vectors (Iceberg format version 3), which queries do not apply yet; rewrite its data files without them to read it here",
                    self.name
                );
            }
        }
        Ok(())
    }
}

/// All entries of a manifest.
pub(crate) async fn entries(
    table: &Table,
    manifest: &ManifestFile,
) -> Result<Vec<ManifestEntryRef>> {
    let loaded = manifest.load_manifest(table.file_io()).await;
    Ok(loaded.map_err(damaged)?.entries().to_vec())
}

impl fmt::Debug for IcebergTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IcebergTable({})", self.name)
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
        session: &dyn Session,
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
        let direct = Direct::new(session, &self.schema, &self.seen.schema, &read, filters)?;
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
            deletes: Arc::new(EqualityDeletes::of(
                &files,
                &self.seen.schema,
                self.table.metadata(),
            )?),
            direct: Arc::new(direct),
            readers: Readers::one(files),
            limit,
            properties: Arc::new(properties),
        }))
    }
}

/// Strings as views: of a column whose values repeat, each is in memory once.
pub(crate) fn with_views(schema: Schema) -> Schema {
    let fields = schema.fields().iter().map(|field| match field.data_type() {
        DataType::Utf8 => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8View)),
        _ => field.clone(),
    });
    Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata)
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
#[derive(Clone)]
struct IcebergScan {
    schema: SchemaRef,
    /// Columns that are given on; one is read even if none is.
    kept: usize,
    table: Table,
    readers: Readers,
    direct: Arc<Direct>,
    deletes: Arc<EqualityDeletes>,
    /// Rows, where they are known without reading.
    rows: Option<u64>,
    limit: Option<usize>,
    properties: Arc<PlanProperties>,
}

impl fmt::Debug for IcebergScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (table, files) = (self.table.identifier(), self.readers.files);
        write!(f, "IcebergScan({table}, {files} files)")
    }
}

impl DisplayAs for IcebergScan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (table, files) = (self.table.identifier(), self.readers.files);
        write!(f, "IcebergScan: table={table}, files={files}")?;
        if self.readers.count() > 1 {
            write!(f, ", readers={}", self.readers.count())?;
        }
        let filtered = self
            .readers
            .first()
            .and_then(|file| file.predicate.as_ref());
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

    /// With as many readers as there is work for. A limit is for one that stops.
    fn repartitioned(
        &self,
        most: usize,
        _: &ConfigOptions,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let readers = match (self.limit, self.readers.count()) {
            (None, 1) => self.readers.split(most),
            _ => return Ok(None),
        };
        if readers.count() == 1 {
            return Ok(None);
        }
        let partitioning = Partitioning::UnknownPartitioning(readers.count());
        let properties = self
            .properties
            .as_ref()
            .clone()
            .with_partitioning(partitioning);
        Ok(Some(Arc::new(IcebergScan {
            readers,
            properties: Arc::new(properties),
            ..self.clone()
        })))
    }

    fn partition_statistics(&self, reader: Option<usize>) -> Result<Statistics> {
        let limited = self.limit.is_some() || (reader.is_some() && self.readers.count() > 1);
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

    fn execute(
        &self,
        reader: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let runtime = Runtime::try_current().map_err(damaged)?;
        let files = self.readers.of(reader);
        // One file at a time: a file's row group is in memory while it is read.
        let reader = ArrowReaderBuilder::new(self.table.file_io().clone(), runtime)
            .with_data_file_concurrency_limit(1)
            .with_batch_size(context.session_config().batch_size())
            .build();
        let kept: Vec<usize> = (0..self.kept).collect();
        let rows = self.rows(reader, files, &context);
        let rows = rows.map(move |batch| Ok(batch?.project(&kept)?));
        let limit = self.limit.unwrap_or(usize::MAX);
        let rows = up_to(limit, rows.boxed());
        let rows = RecordBatchStreamAdapter::new(self.schema.clone(), rows);
        Ok(make_cooperative(Box::pin(rows)))
    }
}

impl IcebergScan {
    /// The rows of these files that nobody deleted.
    fn rows(
        &self,
        reader: ArrowReader,
        files: Vec<FileScanTask>,
        context: &Arc<TaskContext>,
    ) -> Batches {
        let reads = Reads {
            direct: self.direct.clone(),
            deletes: self.deletes.clone(),
            io: self.table.file_io().clone(),
            reader,
            context: context.clone(),
        };
        let rows = futures::stream::iter(files).then(move |file| reads.clone().file(file));
        rows.try_flatten().boxed()
    }
}

/// What a file is read with.
#[derive(Clone)]
struct Reads {
    direct: Arc<Direct>,
    deletes: Arc<EqualityDeletes>,
    io: FileIO,
    reader: ArrowReader,
    context: Arc<TaskContext>,
}

impl Reads {
    async fn file(self, file: FileScanTask) -> Result<Batches> {
        let batch_rows = self.context.session_config().batch_size();
        let direct = self.direct.clone();
        if let Some(rows) = direct.read(self.io, &file, batch_rows).await? {
            return Ok(rows);
        }
        let rows = if equality::concern(&file) {
            let pool = self.context.memory_pool().clone();
            self.deletes.read(self.reader, file, pool).await?
        } else {
            let file = futures::stream::iter([Ok(file)]).boxed();
            let rows = self.reader.read(file).map_err(damaged)?.stream();
            rows.map_err(damaged).boxed()
        };
        Ok(rows.map(move |batch| self.direct.alike(&batch?)).boxed())
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
