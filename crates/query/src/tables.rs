//! Catalogs as DataFusion asks for them: namespaces as schemas, tables as streams of Iceberg's own reader.

use crate::Catalogs;
use crate::left_out::LeftOut;
use crate::scan::IcebergTable;
use crate::system::{self, System};
use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, SchemaProvider, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::TableType;
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::table::Table;
use iceberg::{NamespaceIdent, Runtime, TableIdent};
use lw_lakehouse::catalog::LoadedTable;
use lw_lakehouse::error::Kind;
use lw_lakehouse::{CatalogError, Files};
use std::any::Any;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// A catalog: any namespace may be asked for, its tables are looked up by name.
pub(crate) struct Namespaces {
    catalogs: Arc<dyn Catalogs>,
    /// `None` where the query names no catalog.
    name: Option<String>,
    listing: Arc<Listing>,
}

/// What a catalog holds: asked once a query, and only if the query asks (`information_schema` does).
struct Listing {
    tables: OnceLock<Vec<TableIdent>>,
    left_out: LeftOut,
}

impl Namespaces {
    pub(crate) fn new(
        catalogs: Arc<dyn Catalogs>,
        name: Option<String>,
        left_out: LeftOut,
    ) -> Namespaces {
        let tables = OnceLock::new();
        Namespaces {
            catalogs,
            name,
            listing: Arc::new(Listing { tables, left_out }),
        }
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

    /// For `information_schema`. A catalog that cannot be listed is left out, and the answer says so.
    fn schema_names(&self) -> Vec<String> {
        let tables = self.listing.of(&*self.catalogs, self.name.as_deref());
        let mut names: Vec<String> = tables
            .iter()
            .map(|table| table.namespace().join("."))
            .collect();
        names.dedup();
        names
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let namespace =
            NamespaceIdent::from_vec(name.split('.').map(str::to_owned).collect()).ok()?;
        Some(Arc::new(Tables {
            catalogs: self.catalogs.clone(),
            catalog: self.name.clone(),
            namespace,
            listing: self.listing.clone(),
        }))
    }
}

impl Listing {
    fn of(&self, catalogs: &dyn Catalogs, name: Option<&str>) -> &[TableIdent] {
        // A catalog may be elsewhere, and asking it blocks.
        let ask = || tokio::task::block_in_place(|| catalogs.list(name));
        self.tables.get_or_init(|| {
            ask().unwrap_or_else(|error| {
                let what = name.map_or_else(String::new, |name| format!(" of catalog '{name}'"));
                self.left_out.tell(&format!("the tables{what}"), &error);
                Vec::new()
            })
        })
    }
}

/// One namespace.
#[derive(Clone)]
struct Tables {
    catalogs: Arc<dyn Catalogs>,
    catalog: Option<String>,
    namespace: NamespaceIdent,
    listing: Arc<Listing>,
}

impl Tables {
    /// What a query calls the table.
    fn full_name(&self, name: &str) -> String {
        let within = self.catalog.iter().chain(self.namespace.iter());
        within.map(|part| format!("{part}.")).collect::<String>() + name
    }

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
        let tables = self.listing.of(&*self.catalogs, self.catalog.as_deref());
        let here = tables
            .iter()
            .filter(|table| *table.namespace() == self.namespace);
        here.map(|table| table.name().to_owned()).collect()
    }

    /// Without loading it: `information_schema.tables` asks this of every table.
    async fn table_type(&self, _: &str) -> Result<Option<TableType>> {
        Ok(Some(TableType::Base))
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        // A catalog may be elsewhere, and asking it blocks.
        let (tables, wanted) = (self.clone(), name.to_owned());
        let found = tokio::task::spawn_blocking(move || tables.find(&wanted)).await;
        let found = match found.map_err(|error| DataFusionError::External(Box::new(error)))? {
            Ok(found) => found,
            // A plan has its tables: now it is a list that asks, and it is about the others, too.
            Err(error) if self.listing.left_out.is_running() => {
                let table = format!("table '{}'", self.full_name(name));
                self.listing.left_out.tell(&table, &error);
                None
            }
            Err(error) => return Err(external(error)),
        };
        let Some(found) = found else {
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
        Ok(Some(Arc::new(IcebergTable::new(table, Arc::new(schema)))))
    }

    fn table_exist(&self, name: &str) -> bool {
        tokio::task::block_in_place(|| self.find(name)).is_ok_and(|found| found.is_some())
    }
}

pub(crate) fn damaged(error: iceberg::Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

fn external(error: CatalogError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
