//! Commits: changes to one table or to many, all of them or none.

use super::once::Swap;
use super::{ATTEMPTS, Catalog, too_slow};
use crate::catalog::metadata::next_location;
use crate::catalog::places::{PLACE_PROPERTIES, spelled};
use crate::catalog::pointers::{self, Pointer, Relation};
use crate::catalog::{LoadedTable, apply, names, requirements};
use crate::error::{CatalogError, Kind};
use iceberg::spec::{MetadataLog, TableMetadata};
use iceberg::{MetadataLocation, TableIdent, TableRequirement, TableUpdate};
use lw_storage::Op;
use std::sync::Arc;

const DELETE_AFTER_COMMIT: &str = "write.metadata.delete-after-commit.enabled";

/// A change to one table within a commit.
#[derive(Clone, Debug)]
pub struct TableChange {
    pub ident: TableIdent,
    pub requirements: Vec<TableRequirement>,
    pub updates: Vec<TableUpdate>,
}

/// One table's part of a commit, made and not yet swapped in.
pub(super) struct Prepared {
    pub(super) ident: TableIdent,
    ops: Vec<Op>,
    pub(super) metadata: Arc<TableMetadata>,
    location: String,
    expired: Vec<MetadataLog>,
    /// A metadata file was written for it.
    written: bool,
}

impl Catalog {
    /// Changes tables, all of them or none.
    pub fn commit_tables(
        &self,
        changes: Vec<TableChange>,
    ) -> Result<Vec<LoadedTable>, CatalogError> {
        let changes = merged(changes);
        for change in &changes {
            names::check_name(&change.ident)?;
        }
        let _placing = changes.iter().any(places).then(|| self.0.placing.lock());
        for _ in 0..ATTEMPTS {
            let prepared = self.prepare_all(&changes)?;
            match self.swap_prepared(&prepared) {
                Ok(Swap::Done) => return Ok(self.finish(prepared)),
                Ok(Swap::Lost) => self.withdraw(&prepared, Kind::CommitFailed),
                Err(error) => {
                    self.withdraw(&prepared, error.kind);
                    return Err(error);
                }
            }
        }
        Err(too_slow())
    }

    fn prepare_all(&self, changes: &[TableChange]) -> Result<Vec<Prepared>, CatalogError> {
        let mut prepared = Vec::with_capacity(changes.len());
        for change in changes {
            match self.prepare(change, &prepared) {
                Ok(one) => prepared.push(one),
                Err(error) => {
                    self.withdraw(&prepared, Kind::CommitFailed);
                    return Err(error);
                }
            }
        }
        Ok(prepared)
    }

    fn prepare(&self, change: &TableChange, so_far: &[Prepared]) -> Result<Prepared, CatalogError> {
        let ident = change.ident.clone();
        match pointers::pointer(self.records(), Relation::Table, &ident)? {
            None => {
                if !change.requirements.contains(&TableRequirement::NotExist) {
                    return Err(Relation::Table.missing(&ident));
                }
                pointers::namespace(self.records(), &ident.namespace)?;
                requirements::check(&ident, &change.requirements, None)?;
                pointers::check_free(self.records(), Relation::Table, &ident)?;
                self.prepare_new(ident, change.updates.clone(), so_far)
            }
            Some((old, pointer)) => {
                let base = self.0.metadata.at(&pointer.metadata_location)?;
                requirements::check(&ident, &change.requirements, Some(&base))?;
                let built = apply::update(
                    &base,
                    &pointer.metadata_location,
                    change.updates.clone(),
                    || self.0.metadata.refs(&pointer.metadata_location, &base),
                )?;
                if built.changes.is_empty() {
                    // Nothing changes, but what was required must still hold when the others commit.
                    let ops = vec![pointers::swap(Relation::Table, &ident, old, &pointer)];
                    return Ok(Prepared {
                        ident,
                        ops,
                        metadata: base,
                        location: pointer.metadata_location,
                        expired: Vec::new(),
                        written: false,
                    });
                }
                self.0.places.check(&built.metadata, Some(&base), || {
                    self.taken(Some(&ident), so_far)
                })?;
                let location = next_location(&pointer.metadata_location, &built.metadata);
                self.prepared(
                    ident,
                    Some(old),
                    built.metadata,
                    location,
                    built.expired_metadata_logs,
                )
            }
        }
    }

    fn prepare_new(
        &self,
        ident: TableIdent,
        updates: Vec<TableUpdate>,
        so_far: &[Prepared],
    ) -> Result<Prepared, CatalogError> {
        let staged = self
            .0
            .staged
            .lock()
            .iter()
            .find(|(other, _)| *other == ident)
            .map(|(_, place)| place.clone());
        let place = match (apply::wishes(&updates).1, staged) {
            (Some(wish), _) => spelled(wish)?,
            (None, Some(staged)) => staged,
            (None, None) => self.assign_location(&ident, so_far)?,
        };
        let mut metadata = apply::create(updates, &place)?;
        if metadata.uuid().is_nil() {
            metadata = metadata
                .into_builder(None)
                .assign_uuid(self.0.ids.next())
                .build()?
                .metadata;
        }
        self.0
            .places
            .check(&metadata, None, || self.taken(Some(&ident), so_far))?;
        self.0.metadata.make_folders(metadata.location())?;
        let location =
            MetadataLocation::new_with_metadata(metadata.location(), &metadata).to_string();
        self.prepared(ident, None, metadata, location, Vec::new())
    }

    fn prepared(
        &self,
        ident: TableIdent,
        old: Option<bytes::Bytes>,
        metadata: TableMetadata,
        location: String,
        expired: Vec<MetadataLog>,
    ) -> Result<Prepared, CatalogError> {
        let pointer = Pointer::to_table(&location, &metadata);
        let ops = match old {
            Some(old) => vec![pointers::swap(Relation::Table, &ident, old, &pointer)],
            None => pointers::add(self.records(), Relation::Table, &ident, &pointer)?,
        };
        self.0.metadata.write_or_nothing(&metadata, &location)?;
        Ok(Prepared {
            ident,
            ops,
            metadata: Arc::new(metadata),
            location,
            expired,
            written: true,
        })
    }

    /// One frame for all tables. A namespace that two new tables touch is swapped once.
    fn swap_prepared(&self, prepared: &[Prepared]) -> Result<Swap, CatalogError> {
        let mut ops: Vec<Op> = Vec::new();
        for op in prepared.iter().flat_map(|one| &one.ops) {
            let key = |op: &Op| match op {
                Op::Put { key, .. } => Some(key.clone()),
                _ => None,
            };
            if !ops.iter().any(|other| key(other) == key(op)) {
                ops.push(op.clone());
            }
        }
        self.take(ops)
    }

    fn finish(&self, prepared: Vec<Prepared>) -> Vec<LoadedTable> {
        let mut loaded = Vec::with_capacity(prepared.len());
        for one in prepared {
            self.0.metadata.remember(&one.location, &one.metadata);
            self.0
                .staged
                .lock()
                .retain(|(other, _)| *other != one.ident);
            if one
                .metadata
                .properties()
                .get(DELETE_AFTER_COMMIT)
                .is_some_and(|value| value == "true")
            {
                self.remove_old_metadata(&one);
            }
            loaded.push(LoadedTable {
                ident: one.ident,
                metadata: one.metadata,
                metadata_location: Some(one.location),
            });
        }
        loaded
    }

    /// Best effort: the commit stands.
    fn remove_old_metadata(&self, one: &Prepared) {
        let fence = match self
            .taken(Some(&one.ident), &[])
            .and_then(|taken| self.0.places.fence(one.metadata.location(), &taken))
        {
            Ok(fence) => fence,
            Err(error) => {
                tracing::warn!(table = %one.ident, %error, "old metadata files stay");
                return;
            }
        };
        for old in &one.expired {
            match fence.remove(&old.metadata_file) {
                Ok(true) => {}
                Ok(false) => {
                    tracing::warn!(table = %one.ident, file = old.metadata_file, "an old metadata file is outside the table's location: it stays");
                }
                Err(error) => {
                    tracing::warn!(table = %one.ident, file = old.metadata_file, %error, "an old metadata file stays");
                }
            }
        }
    }

    /// Removes what was written for a commit that did not come about.
    fn withdraw(&self, prepared: &[Prepared], why: Kind) {
        for one in prepared.iter().filter(|one| one.written) {
            self.0.metadata.discard(&one.location, why);
        }
    }
}

/// Whether a change may give a table a place that it did not have.
fn places(change: &TableChange) -> bool {
    change.requirements.contains(&TableRequirement::NotExist)
        || change.updates.iter().any(|update| match update {
            TableUpdate::SetLocation { .. } => true,
            TableUpdate::SetProperties { updates } => PLACE_PROPERTIES
                .iter()
                .any(|name| updates.contains_key(*name)),
            _ => false,
        })
}

/// Changes to the same table become one, in their order.
fn merged(changes: Vec<TableChange>) -> Vec<TableChange> {
    let mut merged: Vec<TableChange> = Vec::new();
    for change in changes {
        match merged.iter_mut().find(|other| other.ident == change.ident) {
            Some(other) => {
                other.requirements.extend(change.requirements);
                other.updates.extend(change.updates);
            }
            None => merged.push(change),
        }
    }
    merged
}
