//! Views: made, replaced, registered, renamed and dropped.
//!
//! A view is a pointer and a metadata file, as a table is, and shares names and places with tables. It has no data: what a
//! dropped view, or one that was replaced, leaves is metadata files of some kilobytes, as other Iceberg catalogs leave them.

use super::once::Swap;
use super::{ATTEMPTS, Catalog, too_slow};
use crate::catalog::names;
use crate::catalog::places::spelled;
use crate::catalog::pointers::{self, Pointer, Relation};
use crate::catalog::views::{self, ViewCreation, ViewRequirement, metadata_folder, next_file};
use crate::error::{CatalogError, Kind};
use iceberg::spec::ViewMetadata;
use iceberg::{NamespaceIdent, TableIdent, ViewUpdate};

/// A view as the catalog has it.
#[derive(Clone, Debug)]
pub struct LoadedView {
    pub ident: TableIdent,
    pub metadata: ViewMetadata,
    pub metadata_location: String,
}

impl Catalog {
    pub fn list_views(&self, namespace: &NamespaceIdent) -> Result<Vec<TableIdent>, CatalogError> {
        pointers::list(self.records(), Relation::View, namespace)
    }

    /// In namespaces of any depth, by name.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn all_views(&self) -> Result<Vec<TableIdent>, CatalogError> {
        crate::catalog::walk(
            |parent| self.list_namespaces(parent),
            |namespace| self.list_views(namespace),
        )
    }

    pub fn view_exists(&self, view: &TableIdent) -> Result<bool, CatalogError> {
        Ok(pointers::pointer(self.records(), Relation::View, view)?.is_some())
    }

    pub fn load_view(&self, view: &TableIdent) -> Result<LoadedView, CatalogError> {
        let (_, pointer) = pointers::existing(self.records(), Relation::View, view)?;
        Ok(LoadedView {
            ident: view.clone(),
            metadata: self.0.metadata.view_at(&pointer.metadata_location)?,
            metadata_location: pointer.metadata_location,
        })
    }

    pub fn create_view(&self, creation: ViewCreation) -> Result<LoadedView, CatalogError> {
        let ident = creation.ident.clone();
        names::check_name(&ident)?;
        pointers::namespace(self.records(), &ident.namespace)?;
        pointers::check_free(self.records(), Relation::View, &ident)?;
        let _placing = self.0.placing.lock();
        let location = match &creation.location {
            Some(wish) => spelled(wish)?,
            None => self.assign_location(&ident, &[])?,
        };
        let metadata = views::create(creation, location, self.0.ids.next())?;
        self.check_view_places(&ident, &metadata, None)?;
        let file = next_file(None, &metadata, self.0.ids.next());
        self.0.metadata.write_view(&metadata, &file)?;
        let pointer = Pointer::to_view(&file, &metadata);
        self.swap_written(&file, || {
            let ops = pointers::add(self.records(), Relation::View, &ident, &pointer)?;
            Ok((ops, ()))
        })?;
        Ok(LoadedView {
            ident,
            metadata,
            metadata_location: file,
        })
    }

    /// Changes a view if all requirements hold. When others change it meanwhile, the updates are applied to what they made.
    pub fn commit_view(
        &self,
        view: &TableIdent,
        requirements: &[ViewRequirement],
        updates: &[ViewUpdate],
    ) -> Result<LoadedView, CatalogError> {
        let _placing = self.0.placing.lock();
        for _ in 0..ATTEMPTS {
            let (old, pointer) = pointers::existing(self.records(), Relation::View, view)?;
            let base = self.0.metadata.view_at(&pointer.metadata_location)?;
            views::check(requirements, &base)?;
            let Some(metadata) = views::update(&base, updates.to_vec())? else {
                return Ok(LoadedView {
                    ident: view.clone(),
                    metadata: base,
                    metadata_location: pointer.metadata_location,
                });
            };
            self.check_view_places(view, &metadata, Some(&base))?;
            let current = Some(pointer.metadata_location.as_str());
            let file = next_file(current, &metadata, self.0.ids.next());
            self.0.metadata.write_view(&metadata, &file)?;
            let new = Pointer::to_view(&file, &metadata);
            let swap = pointers::swap(Relation::View, view, old, &new);
            match self.take(vec![swap]) {
                Ok(Swap::Done) => {
                    return Ok(LoadedView {
                        ident: view.clone(),
                        metadata,
                        metadata_location: file,
                    });
                }
                Ok(Swap::Lost) => self.0.metadata.discard(&file, Kind::CommitFailed),
                Err(error) => {
                    self.0.metadata.discard(&file, error.kind);
                    return Err(error);
                }
            }
        }
        Err(too_slow())
    }

    /// Takes in a view whose metadata is there already.
    ///
    /// # Errors
    /// When there is none, or a place of it is not one that the view may have.
    pub fn register_view(
        &self,
        view: &TableIdent,
        metadata_location: &str,
    ) -> Result<LoadedView, CatalogError> {
        names::check_name(view)?;
        pointers::namespace(self.records(), &view.namespace)?;
        pointers::check_free(self.records(), Relation::View, view)?;
        let places = &self.0.places;
        places.check_allowed("the metadata", metadata_location)?;
        let read = self.0.metadata.view_at(metadata_location);
        let metadata = read.map_err(|error| {
            let message = format!("cannot register {view}: no metadata at {metadata_location}");
            CatalogError::caused(Kind::BadRequest, message, error)
        })?;
        let _placing = self.0.placing.lock();
        self.check_view_places(view, &metadata, None)?;
        let pointer = Pointer::to_view(metadata_location, &metadata);
        self.swap(|| {
            let ops = pointers::add(self.records(), Relation::View, view, &pointer)?;
            Ok((ops, ()))
        })?;
        Ok(LoadedView {
            ident: view.clone(),
            metadata,
            metadata_location: metadata_location.to_owned(),
        })
    }

    pub fn rename_view(&self, from: &TableIdent, to: &TableIdent) -> Result<(), CatalogError> {
        self.swap(|| {
            let ops = pointers::rename(self.records(), Relation::View, from, to)?;
            Ok((ops, ()))
        })
    }

    pub fn drop_view(&self, view: &TableIdent) -> Result<(), CatalogError> {
        self.swap(|| {
            let (ops, _) = pointers::remove(self.records(), Relation::View, view)?;
            Ok((ops, ()))
        })
    }

    /// That a view may be where its metadata says, unless it was there `before`.
    fn check_view_places(
        &self,
        view: &TableIdent,
        metadata: &ViewMetadata,
        before: Option<&ViewMetadata>,
    ) -> Result<(), CatalogError> {
        let folder = metadata_folder(metadata);
        let stays = before.is_some_and(|before| {
            before.location() == metadata.location() && metadata_folder(before) == folder
        });
        if stays {
            return Ok(());
        }
        let taken = self.taken(Some(view), &[])?;
        let places = &self.0.places;
        places.check_view(metadata.location(), &folder, &taken)
    }
}
