//! Catalogs as DataFusion asks for them: namespaces as schemas, tables as streams of Iceberg's own reader.

use crate::Catalogs;
use crate::system::{self, System};
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, SchemaProvider, Session, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use futures::{StreamExt, TryStreamExt};
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::table::Table;
use iceberg::{NamespaceIdent, Runtime, TableIdent};
use lw_lakehouse::catalog::LoadedTable;
use lw_lakehouse::error::Kind;
use lw_lakehouse::{CatalogError, Files};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// A catalog: any namespace may be asked for, its tables are looked up by name.
pub(crate) struct Namespaces {
    catalogs: Arc<dyn Catalogs>,
    /// `None` where the query names no catalog.
    name: Option<String>,
}

impl Namespaces {
    pub(crate) fn new(catalogs: Arc<dyn Catalogs>, name: Option<String>) -> Namespaces {
        Namespaces { catalogs, name }
    }
}

impl fmt::Debug for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Namespaces({:?})", self.name)
    }
}

impl CatalogProvider for Namespaces {
    fn as_any(&self) -> &dyn Any {
        self
    }

    /// Only DataFusion's `information_schema` would ask, which is off.
    fn schema_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let namespace =
            NamespaceIdent::from_vec(name.split('.').map(str::to_owned).collect()).ok()?;
        Some(Arc::new(Tables {
            catalogs: self.catalogs.clone(),
            catalog: self.name.clone(),
            namespace,
        }))
    }
}

/// One namespace.
struct Tables {
    catalogs: Arc<dyn Catalogs>,
    catalog: Option<String>,
    namespace: NamespaceIdent,
}

impl Tables {
    /// The table that a name or the name of a system table means, and which system table; `None` where there is none.
    fn find(&self, name: &str) -> Result<Option<Found>, CatalogError> {
        let (name, system) = system::split(name);
        let ident = TableIdent::new(self.namespace.clone(), name.to_owned());
        let full_name = format!("{}.{name}", self.namespace.join("."));
        let catalog = self.catalogs.holding(self.catalog.as_deref(), &full_name)?;
        match catalog.load(&ident) {
            Ok(table) => Ok(Some(Found {
                table,
                system,
                files: catalog.files().clone(),
            })),
            Err(error) if matches!(error.kind, Kind::NoSuchTable | Kind::NoSuchNamespace) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

struct Found {
    table: LoadedTable,
    system: Option<System>,
    files: Files,
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tables({:?})", self.namespace)
    }
}

#[async_trait]
impl SchemaProvider for Tables {
    fn as_any(&self) -> &dyn Any {
        self
    }

    /// As [`CatalogProvider::schema_names`].
    fn table_names(&self) -> Vec<String> {
        Vec::new()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let Some(found) = self.find(name).map_err(external)? else {
            return Ok(None);
        };
        let loaded = found.table;
        if let Some(system) = found.system {
            return Ok(Some(system.table(&loaded)?));
        }
        let table = Table::builder()
            .identifier(loaded.ident)
            .metadata(loaded.metadata)
            .metadata_location(loaded.metadata_location.unwrap_or_default())
            .file_io(found.files.io())
            .runtime(Runtime::try_current().map_err(damaged)?)
            .readonly(true)
            .build()
            .map_err(damaged)?;
        let schema = schema_to_arrow_schema(table.metadata().current_schema()).map_err(damaged)?;
        Ok(Some(Arc::new(IcebergTable {
            schema: Arc::new(schema),
            table,
        })))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.find(name).is_ok_and(|found| found.is_some())
    }
}

/// A table at its current snapshot. Only the columns that a query needs are read.
struct IcebergTable {
    schema: SchemaRef,
    table: Table,
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

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let wanted: Vec<usize> = match projection {
            Some(wanted) => wanted.clone(),
            None => (0..self.schema.fields().len()).collect(),
        };
        // A query of no column at all (COUNT(*)) reads one and drops it: rows must be counted somehow.
        let read = if wanted.is_empty() {
            vec![0]
        } else {
            wanted.clone()
        };
        let kept: Vec<usize> = (0..wanted.len()).collect();
        let scan = Scan {
            schema: Arc::new(self.schema.project(&read)?),
            table: self.table.clone(),
        };
        let plan = StreamingTableExec::try_new(
            scan.schema.clone(),
            vec![Arc::new(scan)],
            Some(&kept),
            [],
            false,
            limit,
        )?;
        Ok(Arc::new(plan))
    }
}

/// A scan of some columns of a table's current snapshot.
struct Scan {
    schema: SchemaRef,
    table: Table,
}

impl fmt::Debug for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scan({})", self.table.identifier())
    }
}

impl PartitionStream for Scan {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let table = self.table.clone();
        let columns: Vec<String> = self
            .schema
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect();
        let rows = async move {
            let scan = table.scan().select(columns).build().map_err(damaged)?;
            let stream = scan.to_arrow().await.map_err(damaged)?;
            Ok::<_, DataFusionError>(stream.map_err(damaged))
        };
        let stream = futures::stream::once(rows).try_flatten();
        Box::pin(RecordBatchStreamAdapter::new(
            self.schema.clone(),
            stream.boxed(),
        ))
    }
}

fn damaged(error: iceberg::Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

fn external(error: CatalogError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
