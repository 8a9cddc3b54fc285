//! Batch SQL over tables: `lakeward sql -e`. DataFusion is here and nowhere else.
//!
//! A query sees each table as it is when the query names it: `namespace.table`, or `catalog.namespace.table` where there are
//! several catalogs ([`Catalogs`]). A table is scanned at its current snapshot, or at one that the query asks for, deletes
//! applied, by Iceberg's own reader; `table$snapshots` and its like say what its commits say of themselves.
//! The dialect and the types are DataFusion's; scripts with `INSERT INTO` are pipelines and are not run here.
//!
//! What it is not: it writes nothing, plans no streams and caches nothing between queries.
//!
//! Read first: [`Engine`], [`Rows`], [`Catalogs`], [`QueryError`], [`rows_as_json`].
//!
//! Invariants: a query changes nothing; it takes no more memory than the [`Budget`] of all queries, and no longer than its
//! [`Limits`]; an answer that was cut off says so, and so does one
//! that something was left out of; identifiers are case-sensitive, as in scripts.
//!
//! Layer L3.

mod as_of;
mod direct;
mod engine;
mod equality;
mod error;
mod filter;
mod json;
mod left_out;
mod micros;
mod readers;
mod rows;
mod scan;
mod show;
mod snapshots_for;
mod system;
mod tables;
#[cfg(test)]
mod tests;
mod truncate;
mod views;

pub use engine::{Budget, Engine, Session};
pub use error::QueryError;
pub use json::rows_as_json;
pub use rows::{Limits, Rows};
pub use show::table_in_catalog;

pub use iceberg::TableIdent;
pub use iceberg::spec::ViewMetadata;

use lw_lakehouse::error::Kind;
use lw_lakehouse::{Catalog, CatalogError, TableCatalog};
use std::sync::Arc;

/// Where the tables of a query are looked for.
pub trait Catalogs: Send + Sync {
    /// Names that may stand before `namespace.table`.
    fn names(&self) -> Vec<String>;

    /// The catalog to ask for `table` (`namespace.table`): the one of this name, or the one that is meant where none is named.
    ///
    /// # Errors
    /// When that catalog cannot be reached.
    fn holding(
        &self,
        name: Option<&str>,
        table: &str,
    ) -> Result<Arc<dyn TableCatalog>, CatalogError>;

    /// All tables of the catalog of this name, or of the one that is meant where none is named.
    ///
    /// # Errors
    /// When that catalog cannot be reached or listed.
    fn list(&self, name: Option<&str>) -> Result<Vec<TableIdent>, CatalogError>;

    /// The view of this name in the catalog; `None` where there is none. Catalogs of others keep theirs to themselves.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    fn view(
        &self,
        name: Option<&str>,
        view: &TableIdent,
    ) -> Result<Option<ViewMetadata>, CatalogError>;

    /// All views of the catalog of this name, as [`Catalogs::list`] has tables.
    ///
    /// # Errors
    /// When they cannot be listed.
    fn list_views(&self, name: Option<&str>) -> Result<Vec<TableIdent>, CatalogError>;
}

/// The embedded catalog alone.
impl Catalogs for Catalog {
    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    fn holding(&self, _: Option<&str>, _: &str) -> Result<Arc<dyn TableCatalog>, CatalogError> {
        Ok(Arc::new(self.clone()))
    }

    fn list(&self, _: Option<&str>) -> Result<Vec<TableIdent>, CatalogError> {
        self.all_tables()
    }

    fn view(
        &self,
        _: Option<&str>,
        view: &TableIdent,
    ) -> Result<Option<ViewMetadata>, CatalogError> {
        match self.load_view(view) {
            Ok(loaded) => Ok(Some(loaded.metadata)),
            Err(error) if matches!(error.kind, Kind::NoSuchView | Kind::NoSuchNamespace) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn list_views(&self, _: Option<&str>) -> Result<Vec<TableIdent>, CatalogError> {
        self.all_views()
    }
}
