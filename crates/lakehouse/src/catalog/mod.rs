//! Catalogs: who knows where a table's current metadata is, and changes that atomically.
//!
//! [`TableCatalog`] is all that writer and committer need. Two stand behind it: the [`embedded`] one, whose pointers are
//! records in the shared log, and any other REST catalog ([`remote`]). [`rest`] serves the embedded one to the world. Views
//! are the embedded catalog's alone: engines keep them there, and no pipeline of ours reads one.

mod apply;
mod document;
pub mod embedded;
mod metadata;
mod names;
mod places;
mod pointers;
pub mod remote;
mod requirements;
pub mod rest;
#[cfg(test)]
pub(crate) mod tests;
mod views;

use crate::error::CatalogError;
use crate::storage::Files;
use iceberg::spec::{FormatVersion, Schema, TableMetadata, UnboundPartitionSpec};
use iceberg::{NamespaceIdent, TableIdent, TableRequirement, TableUpdate};
use std::collections::HashMap;
use std::sync::Arc;

pub use embedded::{Catalog, recover};
pub use views::{ViewCreation, ViewRequirement};

/// A table as a catalog has it.
#[derive(Clone, Debug)]
pub struct LoadedTable {
    pub ident: TableIdent,
    pub metadata: Arc<TableMetadata>,
    /// Where the metadata is; `None` for a table that is only staged.
    pub metadata_location: Option<String>,
}

/// What is asked of a new table.
#[derive(Clone, Debug)]
pub struct NewTable {
    pub schema: Schema,
    pub properties: HashMap<String, String>,
    pub format_version: FormatVersion,
    /// `None`: not partitioned.
    pub partition_spec: Option<UnboundPartitionSpec>,
    /// Where its files go; `None` leaves it to the catalog.
    pub location: Option<String>,
}

/// The catalog operations that writing a table takes. Calls block; not to be used from async tasks.
pub trait TableCatalog: Send + Sync {
    fn load(&self, table: &TableIdent) -> Result<LoadedTable, CatalogError>;
    /// Creates the namespace if it is missing.
    fn ensure_namespace(&self, namespace: &NamespaceIdent) -> Result<(), CatalogError>;
    fn create(&self, table: &TableIdent, new: NewTable) -> Result<LoadedTable, CatalogError>;
    /// Changes a table if all requirements hold.
    ///
    /// # Errors
    /// [`Kind::CommitFailed`](crate::error::Kind::CommitFailed) when one does not; [`Kind::Unknown`](crate::error::Kind::Unknown)
    /// when the change may or may not have happened. After both the caller must look again.
    fn commit(
        &self,
        table: &TableIdent,
        requirements: Vec<TableRequirement>,
        updates: Vec<TableUpdate>,
    ) -> Result<LoadedTable, CatalogError>;
    /// All tables, in namespaces of any depth, by name.
    ///
    /// # Errors
    /// When the catalog cannot be reached or read. A namespace that is dropped meanwhile is none.
    fn all_tables(&self) -> Result<Vec<TableIdent>, CatalogError>;
    /// Where the table's files are.
    fn files(&self) -> &Files;
}

/// Walks down the namespaces of a catalog, for [`TableCatalog::all_tables`].
fn walk(
    namespaces: impl Fn(Option<&NamespaceIdent>) -> Result<Vec<NamespaceIdent>, CatalogError>,
    tables: impl Fn(&NamespaceIdent) -> Result<Vec<TableIdent>, CatalogError>,
) -> Result<Vec<TableIdent>, CatalogError> {
    /// What is gone by the time it is asked for has nothing in it.
    fn unless_gone<T>(found: Result<Vec<T>, CatalogError>) -> Result<Vec<T>, CatalogError> {
        match found {
            Err(error) if error.kind == crate::error::Kind::NoSuchNamespace => Ok(Vec::new()),
            found => found,
        }
    }
    let mut found = Vec::new();
    let mut open = namespaces(None)?;
    while let Some(namespace) = open.pop() {
        open.extend(unless_gone(namespaces(Some(&namespace)))?);
        found.extend(unless_gone(tables(&namespace))?);
    }
    found.sort();
    Ok(found)
}

/// `a.b.t` as a table `t` in the namespace `a.b`.
///
/// # Errors
/// When there is no namespace or a part is empty.
pub fn parse_table(name: &str) -> Result<TableIdent, CatalogError> {
    let parts: Vec<&str> = name.split('.').collect();
    if parts.len() < 2 || parts.iter().any(|part| part.is_empty()) {
        return Err(CatalogError::new(
            crate::error::Kind::BadRequest,
            format!("\"{name}\" is not the name of a table: expected namespace.table"),
        ));
    }
    Ok(TableIdent::from_strs(parts)?)
}
