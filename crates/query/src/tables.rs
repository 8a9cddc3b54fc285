//! The catalog as DataFusion asks for it: namespaces as schemas, tables as streams of Iceberg's own reader.

use crate::system;
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
use lw_lakehouse::error::Kind;
use lw_lakehouse::{Catalog, CatalogError, TableCatalog};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// The embedded catalog.
pub(crate) struct Namespaces {
    catalog: Catalog,
}

impl Namespaces {
    pub(crate) fn new(catalog: Catalog) -> Namespaces {
        Namespaces { catalog }
    }
}

impl fmt::Debug for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Namespaces")
    }
}

impl CatalogProvider for Namespaces {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn schema_names(&self) -> Vec<String> {
        let namespaces = self.catalog.list_namespaces(None).unwrap_or_default();
        namespaces
            .iter()
            .map(|namespace| namespace.join("."))
            .collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let namespace =
            NamespaceIdent::from_vec(name.split('.').map(str::to_owned).collect()).ok()?;
        self.catalog.namespace(&namespace).ok()?;
        Some(Arc::new(Tables {
            catalog: self.catalog.clone(),
            namespace,
        }))
    }
}

/// One namespace.
struct Tables {
    catalog: Catalog,
    namespace: NamespaceIdent,
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

    fn table_names(&self) -> Vec<String> {
        let tables = self
            .catalog
            .list_tables(&self.namespace)
            .unwrap_or_default();
        tables.iter().map(|table| table.name().to_owned()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let (name, system) = system::split(name);
        let ident = TableIdent::new(self.namespace.clone(), name.to_owned());
        let loaded = match self.catalog.load(&ident) {
            Ok(loaded) => loaded,
            Err(error) if error.kind == Kind::NoSuchTable => return Ok(None),
            Err(error) => return Err(external(error)),
        };
        if let Some(system) = system {
            return Ok(Some(system.table(&loaded)?));
        }
        let table = Table::builder()
            .identifier(ident)
            .metadata(loaded.metadata)
            .metadata_location(loaded.metadata_location.unwrap_or_default())
            .file_io(self.catalog.files().io())
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
        let (name, _) = system::split(name);
        let ident = TableIdent::new(self.namespace.clone(), name.to_owned());
        self.catalog.table_exists(&ident).unwrap_or(false)
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
