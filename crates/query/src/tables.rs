//! Catalogs as DataFusion asks for them: namespaces as schemas, tables as streams of Iceberg's own reader.

use crate::Catalogs;
use crate::as_of::{self, Seen, Version};
use crate::engine::Session;
use crate::left_out::LeftOut;
use crate::scan::IcebergTable;
use crate::system::{self, System};
use crate::views::View;
use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, SchemaProvider, TableProvider};
use datafusion::common::plan_err;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::TableType;
use iceberg::spec::ViewMetadata;
use iceberg::table::Table;
use iceberg::{NamespaceIdent, Runtime, TableIdent};
use lw_lakehouse::catalog::LoadedTable;
use lw_lakehouse::error::Kind;
use lw_lakehouse::{CatalogError, Files};
use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// What asks for all tables at once.
const LISTS: &str = "information_schema";

/// A catalog: any namespace may be asked for, its tables are looked up by name.
pub(crate) struct Namespaces {
    session: Session,
    /// `None` where the query names no catalog.
    name: Option<String>,
    listing: Arc<Listing>,
    /// The views that are being planned.
    within: Vec<String>,
}

/// What a catalog holds: asked once a query, and only if the query asks (`information_schema` does).
struct Listing {
    relations: OnceLock<BTreeMap<TableIdent, TableType>>,
    left_out: LeftOut,
}

impl Namespaces {
    pub(crate) fn new(
        session: Session,
        name: Option<String>,
        left_out: LeftOut,
        within: Vec<String>,
    ) -> Namespaces {
        let relations = OnceLock::new();
        Namespaces {
            session,
            name,
            listing: Arc::new(Listing {
                relations,
                left_out,
            }),
            within,
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
        let relations = self
            .listing
            .of(&*self.session.catalogs, self.name.as_deref());
        let mut names: Vec<String> = relations
            .keys()
            .map(|relation| relation.namespace().join("."))
            .collect();
        names.dedup();
        names
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let namespace =
            NamespaceIdent::from_vec(name.split('.').map(str::to_owned).collect()).ok()?;
        Some(Arc::new(Tables {
            session: self.session.clone(),
            catalog: self.name.clone(),
            namespace,
            listing: self.listing.clone(),
            within: self.within.clone(),
        }))
    }
}

impl Listing {
    /// Tables and views, by name.
    fn of(&self, catalogs: &dyn Catalogs, name: Option<&str>) -> &BTreeMap<TableIdent, TableType> {
        let ask = || {
            let tables = catalogs
                .list(name)?
                .into_iter()
                .map(|table| (table, TableType::Base));
            let views = catalogs
                .list_views(name)?
                .into_iter()
                .map(|view| (view, TableType::View));
            Ok(tables.chain(views).collect())
        };
        self.relations.get_or_init(|| {
            // A catalog may be elsewhere, and asking it blocks.
            tokio::task::block_in_place(ask).unwrap_or_else(|error: CatalogError| {
                let what = name.map_or_else(String::new, |name| format!(" of catalog '{name}'"));
                self.left_out
                    .tell(LISTS, &format!("the tables{what}"), &error);
                BTreeMap::new()
            })
        })
    }
}

/// One namespace.
#[derive(Clone)]
struct Tables {
    session: Session,
    catalog: Option<String>,
    namespace: NamespaceIdent,
    listing: Arc<Listing>,
    within: Vec<String>,
}

impl Tables {
    /// What a query calls the table.
    fn full_name(&self, name: &str) -> String {
        let within = self.catalog.iter().chain(self.namespace.iter());
        within.map(|part| format!("{part}.")).collect::<String>() + name
    }

    /// The table that a name means, which of its system tables, and as of when; `None` where there is none.
    fn find(&self, name: &str) -> Result<Option<Found>, CatalogError> {
        let (name, version) = as_of::split(name);
        let (name, system) = system::split(name);
        let ident = TableIdent::new(self.namespace.clone(), name.to_owned());
        let full_name = format!("{}.{name}", self.namespace.join("."));
        let catalogs = &self.session.catalogs;
        let catalog = catalogs.holding(self.catalog.as_deref(), &full_name)?;
        match catalog.load(&ident) {
            Ok(table) => Ok(Some(Found::Table(FoundTable {
                table,
                name: self.full_name(name),
                version,
                system,
                files: catalog.files().clone(),
            }))),
            Err(error) if matches!(error.kind, Kind::NoSuchTable | Kind::NoSuchNamespace) => {
                let view = catalogs.view(self.catalog.as_deref(), &ident)?;
                let view = view.filter(|_| system.is_none());
                Ok(view.map(|view| Found::View { view, version }))
            }
            Err(error) => Err(error),
        }
    }

    /// # Errors
    /// When a view has an error in it, or there is no such version.
    async fn provide(&self, name: &str, found: Found) -> Result<Arc<dyn TableProvider>> {
        let view = match found {
            Found::Table(table) => return table.provide().await,
            Found::View { view, version } => match version {
                None => view,
                Some(_) => {
                    return plan_err!(
                        "'{}' is a view, and has no versions of its own",
                        self.full_name(as_of::split(name).0)
                    );
                }
            },
        };
        let view = View {
            name: self.full_name(name),
            catalog: self.catalog.clone(),
            metadata: &view,
        };
        view.provide(&self.session, &self.listing.left_out, &self.within)
            .await
    }
}

/// What a name means.
enum Found {
    Table(FoundTable),
    View {
        view: ViewMetadata,
        version: Option<Version>,
    },
}

struct FoundTable {
    table: LoadedTable,
    /// What a query calls the table.
    name: String,
    version: Option<Version>,
    system: Option<System>,
    files: Files,
}

impl FoundTable {
    async fn provide(self) -> Result<Arc<dyn TableProvider>> {
        let seen = Seen::of(self.version.as_ref(), &self.name, &self.table.metadata)?;
        let loaded = self.table;
        let table = Table::builder()
            .identifier(loaded.ident.clone())
            .metadata(loaded.metadata.clone())
            .metadata_location(loaded.metadata_location.clone().unwrap_or_default())
            .file_io(self.files.io())
            .runtime(Runtime::try_current().map_err(damaged)?)
            .readonly(true)
            .build()
            .map_err(damaged)?;
        if let Some(system) = self.system {
            let version = self.version.as_ref();
            return system
                .provide(&self.name, version, &loaded, &table, &seen)
                .await;
        }
        Ok(Arc::new(IcebergTable::new(self.name, table, seen)?))
    }
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
        let relations = self
            .listing
            .of(&*self.session.catalogs, self.catalog.as_deref());
        let here = relations
            .keys()
            .filter(|table| *table.namespace() == self.namespace);
        here.map(|table| table.name().to_owned()).collect()
    }

    /// Without loading it: `information_schema.tables` asks this of every table.
    async fn table_type(&self, name: &str) -> Result<Option<TableType>> {
        let relations = self
            .listing
            .of(&*self.session.catalogs, self.catalog.as_deref());
        let ident = TableIdent::new(self.namespace.clone(), name.to_owned());
        Ok(relations.get(&ident).copied())
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
                self.listing.left_out.tell(LISTS, &table, &error);
                None
            }
            Err(error) => return Err(external(error)),
        };
        let Some(found) = found else {
            return Ok(None);
        };
        self.provide(name, found).await.map(Some)
    }

    fn table_exist(&self, name: &str) -> bool {
        tokio::task::block_in_place(|| self.find(name)).is_ok_and(|found| found.is_some())
    }
}

pub(crate) fn damaged(error: iceberg::Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

pub(crate) fn external(error: CatalogError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
