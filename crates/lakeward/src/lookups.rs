//! Tables that rows are looked up in (`FOR SYSTEM_TIME AS OF`): an Iceberg table at one of its snapshots, read by the query engine,
//! which knows deletes, old files under a new schema and places in stores.

use lw_graph::{IcebergSink, Schema};
use lw_lakehouse::catalog::LoadedTable;
use lw_lakehouse::error::Kind;
use lw_lakehouse::{CatalogError, TableCatalog};
use lw_query::{Catalogs, Engine, Limits, QueryError, TableIdent, ViewMetadata};
use lw_runtime::connector::{ConnectorError, ErrorKind, LookupSource};
use lw_stdx::suggest::nearest;
use std::sync::Arc;
use std::time::Duration;

/// The version of a table that nothing was ever written to.
const EMPTY: &str = "none";
/// How long a load may take.
const PATIENCE: Duration = Duration::from_secs(3600);

/// An Iceberg table, by its snapshots' ids.
pub struct IcebergLookup {
    place: IcebergSink,
    ident: TableIdent,
    catalog: Arc<dyn TableCatalog>,
    engine: Arc<Engine>,
}

impl IcebergLookup {
    /// # Errors
    /// When its name is none.
    pub fn new(
        place: IcebergSink,
        catalog: Arc<dyn TableCatalog>,
        engine: Arc<Engine>,
    ) -> Result<IcebergLookup, ConnectorError> {
        let name = format!("{}.{}", place.namespace, place.table);
        Ok(IcebergLookup {
            ident: lw_lakehouse::parse_table(&name)?,
            place,
            catalog,
            engine,
        })
    }

    fn name(&self) -> String {
        format!("{}.{}", self.place.namespace, self.place.table)
    }

    fn load(&self) -> Result<LoadedTable, ConnectorError> {
        self.catalog
            .load(&self.ident)
            .map_err(|error| match error.kind {
                Kind::NoSuchTable | Kind::NoSuchNamespace => self.not_there(),
                _ => error.into(),
            })
    }

    fn not_there(&self) -> ConnectorError {
        let (name, catalog) = (self.name(), &self.place.catalog);
        let message =
            format!("table '{name}', in which rows are looked up, is not in catalog '{catalog}'");
        ConnectorError::new(ErrorKind::Fix, message)
            .detail("A pipeline makes the tables that it writes, not those that it looks rows up in.")
            .hint("`lakeward table list` shows what there is. Make the table and put rows into it, with any engine; then `lakeward pipeline resume`.")
    }

    /// # Errors
    /// When a version does not have a column.
    fn check_columns(&self, version: &str, columns: &Schema) -> Result<(), ConnectorError> {
        let metadata = self.load()?.metadata;
        let snapshot = version
            .parse()
            .ok()
            .and_then(|id| metadata.snapshot_by_id(id));
        let schema = match snapshot {
            None => metadata.current_schema().clone(),
            Some(snapshot) => snapshot
                .schema(&metadata)
                .map_err(|error| ConnectorError::new(ErrorKind::Fix, error))?,
        };
        let has = |name: &str| {
            schema
                .as_struct()
                .fields()
                .iter()
                .any(|field| field.name == name)
        };
        let Some(missing) = columns.names().find(|name| !has(name)) else {
            return Ok(());
        };
        let names = schema.as_struct().fields().iter().map(|field| &*field.name);
        let message = format!(
            "table '{}', in which rows are looked up, has no column '{missing}'",
            self.name()
        );
        let error = ConnectorError::new(ErrorKind::Fix, message);
        Err(match nearest(missing, names.clone()) {
            Some(near) => error.hint(format!("did you mean '{near}'?")),
            None => error.hint(format!("it has {}", names.collect::<Vec<_>>().join(", "))),
        })
    }

    fn failed(&self, error: &QueryError) -> ConnectorError {
        let kind = match error {
            QueryError::Panic(_) => ErrorKind::Bug,
            // A store or a catalog that is down comes back; what does not is told with each attempt.
            _ => ErrorKind::Retry,
        };
        let message = format!(
            "table '{}', in which rows are looked up, cannot be read: {error}",
            self.name()
        );
        ConnectorError::new(kind, message)
    }
}

impl LookupSource for IcebergLookup {
    fn newest(&mut self) -> Result<String, ConnectorError> {
        let snapshot = self.load()?.metadata.current_snapshot_id();
        Ok(snapshot.map_or_else(|| EMPTY.to_string(), |id| id.to_string()))
    }

    fn has(&mut self, version: &str) -> Result<bool, ConnectorError> {
        let metadata = self.load()?.metadata;
        Ok(match version.parse() {
            Ok(id) => metadata.snapshot_by_id(id).is_some(),
            Err(_) => metadata.current_snapshot_id().is_none(),
        })
    }

    fn read(
        &mut self,
        version: &str,
        columns: &Schema,
        take: &mut dyn FnMut(arrow_array::RecordBatch) -> Result<(), ConnectorError>,
    ) -> Result<(), ConnectorError> {
        self.check_columns(version, columns)?;
        let Ok(snapshot) = version.parse::<i64>() else {
            return Ok(());
        };
        let names: Vec<String> = columns.names().map(quoted).collect();
        let sql = format!(
            "SELECT {} FROM {}.{} FOR SYSTEM_VERSION AS OF {snapshot}",
            names.join(", "),
            quoted(&self.place.namespace),
            quoted(&self.place.table)
        );
        let session = self.engine.session(Arc::new(One(self.catalog.clone())));
        let limits = Limits {
            max_rows: None,
            timeout: PATIENCE,
        };
        let name = self.name();
        self.engine.block_on(async {
            let rows = session.query(&sql, limits).await;
            let mut rows = rows.map_err(|error| self.failed(&error))?;
            while let Some(batch) = rows.next().await {
                let batch = batch.map_err(|error| self.failed(&error))?;
                take(lw_connectors::lookup::declared(&batch, columns, &name)?)?;
            }
            Ok(())
        })
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The catalog of a table, whatever it is called.
struct One(Arc<dyn TableCatalog>);

impl Catalogs for One {
    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    fn holding(&self, _: Option<&str>, _: &str) -> Result<Arc<dyn TableCatalog>, CatalogError> {
        Ok(self.0.clone())
    }

    fn list(&self, _: Option<&str>) -> Result<Vec<TableIdent>, CatalogError> {
        Ok(Vec::new())
    }

    fn view(&self, _: Option<&str>, _: &TableIdent) -> Result<Option<ViewMetadata>, CatalogError> {
        Ok(None)
    }

    fn list_views(&self, _: Option<&str>) -> Result<Vec<TableIdent>, CatalogError> {
        Ok(Vec::new())
    }
}
