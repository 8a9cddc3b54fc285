//! Tables: made, staged, registered, renamed and dropped.

use super::Catalog;
use crate::catalog::places::spelled;
use crate::catalog::pointers::{self, Pointer, Relation};
use crate::catalog::{LoadedTable, document, names};
use crate::error::{CatalogError, Kind};
use crate::upkeep::{GC_ENABLED, gc_is_enabled};
use iceberg::spec::{SortOrder, TableMetadata, UnboundPartitionSpec};
use iceberg::{MetadataLocation, NamespaceIdent, TableIdent};
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::sync::Arc;

/// Staged creations remembered, so that their commit finds the place that was assigned.
const STAGED: usize = 256;

/// Creation as REST asks for it.
#[derive(Debug)]
pub struct Creation {
    pub ident: TableIdent,
    pub schema: iceberg::spec::Schema,
    pub partition_spec: Option<UnboundPartitionSpec>,
    pub sort_order: Option<SortOrder>,
    pub location: Option<String>,
    pub properties: HashMap<String, String>,
}

/// What becomes of a table that has the name of one that is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// There is none, or the registration is refused.
    New,
    /// It is forgotten; its files stay.
    Replace,
}

/// What becomes of a dropped table's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purge {
    Nothing,
    Files,
}

impl Catalog {
    pub fn list_tables(&self, namespace: &NamespaceIdent) -> Result<Vec<TableIdent>, CatalogError> {
        pointers::list(self.records(), Relation::Table, namespace)
    }

    pub fn table_exists(&self, table: &TableIdent) -> Result<bool, CatalogError> {
        Ok(pointers::pointer(self.records(), Relation::Table, table)?.is_some())
    }

    /// As `load`, for a client that is about to read the table's files: its metadata must still be among them.
    ///
    /// # Errors
    /// [`Kind::NoSuchFile`] when somebody removed it.
    pub fn load_stored(&self, table: &TableIdent) -> Result<LoadedTable, CatalogError> {
        let (_, pointer) = pointers::existing(self.records(), Relation::Table, table)?;
        let location = pointer.metadata_location;
        self.0.metadata.check_there(&location)?;
        Ok(LoadedTable {
            ident: table.clone(),
            metadata: self.0.metadata.at(&location)?,
            metadata_location: Some(location),
        })
    }

    /// A table's metadata as JSON.
    pub(in crate::catalog) fn document(&self, table: &LoadedTable) -> Arc<RawValue> {
        match &table.metadata_location {
            Some(location) => self.0.metadata.text(location, &table.metadata),
            None => document::text(&table.metadata),
        }
    }

    /// All that is asked of a new table before anything touches the disk.
    fn plan_table(&self, creation: Creation) -> Result<TableMetadata, CatalogError> {
        let ident = creation.ident.clone();
        names::check_name(&ident)?;
        pointers::namespace(self.records(), &ident.namespace)?;
        pointers::check_free(self.records(), Relation::Table, &ident)?;
        let location = match &creation.location {
            Some(wish) => spelled(wish)?,
            None => self.assign_location(&ident, &[])?,
        };
        let metadata = self.0.metadata.create(creation, location)?;
        self.0
            .places
            .check(&metadata, None, || self.taken(Some(&ident), &[]))?;
        Ok(metadata)
    }

    /// Makes the metadata of a new table and its folders; the table exists only after its commit.
    pub fn stage_table(&self, creation: Creation) -> Result<LoadedTable, CatalogError> {
        let ident = creation.ident.clone();
        let metadata = self.plan_table(creation)?;
        self.0.metadata.make_folders(metadata.location())?;
        let mut staged = self.0.staged.lock();
        staged.retain(|(other, _)| *other != ident);
        staged.push_back((ident.clone(), metadata.location().to_owned()));
        if staged.len() > STAGED {
            staged.pop_front();
        }
        Ok(LoadedTable {
            ident,
            metadata: Arc::new(metadata),
            metadata_location: None,
        })
    }

    pub fn create_table(&self, creation: Creation) -> Result<LoadedTable, CatalogError> {
        let ident = creation.ident.clone();
        let _placing = self.0.placing.lock();
        let metadata = Arc::new(self.plan_table(creation)?);
        self.0.metadata.make_folders(metadata.location())?;
        let location =
            MetadataLocation::new_with_metadata(metadata.location(), &metadata).to_string();
        self.0.metadata.write_or_nothing(&metadata, &location)?;
        let pointer = Pointer::to_table(&location, &metadata);
        self.swap_written(&location, || {
            let ops = pointers::add(self.records(), Relation::Table, &ident, &pointer)?;
            Ok((ops, ()))
        })?;
        self.0.metadata.remember(&location, &metadata);
        Ok(LoadedTable {
            ident,
            metadata,
            metadata_location: Some(location),
        })
    }

    /// Takes in a table whose metadata is there already; with [`Register::Replace`] in the place of one that is there.
    ///
    /// # Errors
    /// When there is no metadata, or a place of it is not one that the table may have.
    pub fn register_table(
        &self,
        table: &TableIdent,
        metadata_location: &str,
        how: Register,
    ) -> Result<LoadedTable, CatalogError> {
        names::check_name(table)?;
        pointers::namespace(self.records(), &table.namespace)?;
        if how == Register::New {
            pointers::check_free(self.records(), Relation::Table, table)?;
        }
        self.0
            .places
            .check_allowed("the metadata", metadata_location)?;
        let metadata = self.0.metadata.read(metadata_location).map_err(|error| {
            CatalogError::caused(
                Kind::BadRequest,
                format!("cannot register {table}: no metadata at {metadata_location}"),
                error,
            )
        })?;
        let pointer = Pointer::to_table(metadata_location, &metadata);
        let _placing = self.0.placing.lock();
        self.swap(|| {
            self.0
                .places
                .check(&metadata, None, || self.taken(Some(table), &[]))?;
            let there = pointers::pointer(self.records(), Relation::Table, table)?;
            let ops = match there.filter(|_| how == Register::Replace) {
                Some((old, _)) => vec![pointers::swap(Relation::Table, table, old, &pointer)],
                None => pointers::add(self.records(), Relation::Table, table, &pointer)?,
            };
            Ok((ops, ()))
        })?;
        Ok(LoadedTable {
            ident: table.clone(),
            metadata,
            metadata_location: Some(metadata_location.to_owned()),
        })
    }

    pub fn rename_table(&self, from: &TableIdent, to: &TableIdent) -> Result<(), CatalogError> {
        self.swap(|| {
            let ops = pointers::rename(self.records(), Relation::Table, from, to)?;
            Ok((ops, ()))
        })
    }

    /// Forgets a table; with [`Purge::Files`] its files go too: those inside its own location, and outside every other's.
    ///
    /// # Errors
    /// A purge of a table with `gc.enabled=false` is refused, as Iceberg's engines refuse it: its files may be another's.
    pub fn drop_table(&self, table: &TableIdent, purge: Purge) -> Result<(), CatalogError> {
        let (pointer, metadata) = self.swap(|| {
            let (ops, pointer) = pointers::remove(self.records(), Relation::Table, table)?;
            let metadata = match purge {
                Purge::Files => Some(self.purgeable(table, &pointer)?),
                Purge::Nothing => None,
            };
            Ok((ops, (pointer, metadata)))
        })?;
        let Some(metadata) = metadata else {
            return Ok(());
        };
        // No other table gets this place while its files go.
        let _placing = self.0.placing.lock();
        let purged = self
            .taken(Some(table), &[])
            .and_then(|taken| self.0.places.fence(metadata.location(), &taken))
            .and_then(|fence| {
                let files = &self.0.metadata;
                files.purge(&metadata, &pointer.metadata_location, &fence)
            });
        match purged {
            Ok(purged) if purged.left.is_empty() => {}
            Ok(purged) => {
                let (left, removed) = (purged.left.len(), purged.removed);
                let first = &purged.left[0];
                tracing::warn!(%table, removed, left, first, "a dropped table named files outside its location: they stay");
            }
            // The table is dropped; files that could not be removed only take space.
            Err(error) => tracing::warn!(%table, %error, "some files of a dropped table stay"),
        }
        Ok(())
    }

    fn purgeable(
        &self,
        table: &TableIdent,
        pointer: &Pointer,
    ) -> Result<Arc<TableMetadata>, CatalogError> {
        let metadata = self.0.metadata.at(&pointer.metadata_location)?;
        if !gc_is_enabled(&metadata) {
            return Err(CatalogError::new(
                Kind::BadRequest,
                format!(
                    "cannot purge {table}: {GC_ENABLED} is false (deleting files may corrupt other tables); drop it without purge, or set the property"
                ),
            ));
        }
        Ok(metadata)
    }
}
