//! The embedded Iceberg catalog: pointers in the shared log, metadata in the warehouse.
//!
//! A commit, of one table or of many: (1) read the pointers and the metadata that they name, (2) check the requirements,
//! (3) apply the updates, (4) write the new metadata files durably, (5) swap all pointers in *one* frame of the log. When a
//! swap finds another value than it expects, everything is read and checked again: a requirement that no longer holds is a
//! conflict for the caller, one that still holds is not. What was written for nothing is removed.
//!
//! After a crash between (4) and (5) a metadata file stays that nobody names: only space.

use super::metadata::{MetadataFiles, next_location};
use super::places::{PLACE_PROPERTIES, Places, Taken, tidy_location};
use super::pointers::{self, Pointer, PropertiesChanged, Records};
use super::{LoadedTable, NewTable, TableCatalog, apply};
use crate::error::{CatalogError, Kind};
use crate::ids::Ids;
use crate::storage::Files;
use crate::upkeep::{GC_ENABLED, gc_is_enabled};
use iceberg::spec::{MetadataLog, SortOrder, TableMetadata, UnboundPartitionSpec};
use iceberg::{MetadataLocation, NamespaceIdent, TableIdent, TableRequirement, TableUpdate};
use lw_storage::{CommitError, Op, Storage};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

/// Tries of one commit against others that change the same records meanwhile.
const ATTEMPTS: usize = 20;
/// Staged creations remembered, so that their commit finds the place that was assigned.
const STAGED: usize = 256;

/// What a namespace's folder has behind its name where a table has the folder.
const BESIDE: &str = ".namespace";

const DELETE_AFTER_COMMIT: &str = "write.metadata.delete-after-commit.enabled";

/// The embedded catalog. Cheap to clone; all clones are one catalog.
#[derive(Clone)]
pub struct Catalog(Arc<Inner>);

struct Inner {
    storage: Storage,
    metadata: MetadataFiles,
    places: Places,
    /// Held from the look at all tables' places to the commit that takes one: two tables must not get the same.
    placing: Mutex<()>,
    ids: Ids,
    staged: Mutex<VecDeque<(TableIdent, String)>>,
}

/// A change to one table within a commit.
#[derive(Clone, Debug)]
pub struct TableChange {
    pub ident: TableIdent,
    pub requirements: Vec<TableRequirement>,
    pub updates: Vec<TableUpdate>,
}

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

/// One table's part of a commit, made and not yet swapped in.
struct Prepared {
    ident: TableIdent,
    ops: Vec<Op>,
    metadata: Arc<TableMetadata>,
    location: String,
    expired: Vec<MetadataLog>,
    /// A metadata file was written for it.
    written: bool,
}

impl Catalog {
    /// `warehouse` is a `file:` place; tables get folders below it.
    ///
    /// # Errors
    /// When the warehouse is not local.
    pub fn open(
        storage: Storage,
        files: Files,
        warehouse: &str,
        ids: Ids,
    ) -> Result<Catalog, CatalogError> {
        Catalog::open_allowing(storage, files, warehouse, &[], ids)
    }

    /// As [`Catalog::open`]; tables may be below the places `allowed` too.
    ///
    /// # Errors
    /// When one of them is not local.
    pub fn open_allowing(
        storage: Storage,
        files: Files,
        warehouse: &str,
        allowed: &[String],
        ids: Ids,
    ) -> Result<Catalog, CatalogError> {
        Ok(Catalog(Arc::new(Inner {
            storage,
            places: Places::new(files.clone(), warehouse, allowed)?,
            placing: Mutex::default(),
            metadata: MetadataFiles::new(files, warehouse, ids.clone())?,
            ids,
            staged: Mutex::default(),
        })))
    }

    pub fn warehouse(&self) -> &str {
        &self.0.metadata.warehouse
    }

    // Namespaces.

    pub fn list_namespaces(
        &self,
        parent: Option<&NamespaceIdent>,
    ) -> Result<Vec<NamespaceIdent>, CatalogError> {
        pointers::list_namespaces(self.records(), parent)
    }

    /// A namespace's properties. Trino puts new tables below the `location`, and breaks without one.
    pub fn namespace(
        &self,
        name: &NamespaceIdent,
    ) -> Result<BTreeMap<String, String>, CatalogError> {
        let mut properties = pointers::namespace(self.records(), name)?.properties;
        if !properties.contains_key("location") {
            let folder = self.folder_of(name, &self.taken(None, &[])?)?;
            properties.insert("location".to_owned(), folder);
        }
        Ok(properties)
    }

    /// `<warehouse>/<namespace>`, a folder for each level. Where a table has one of them (a table `n.b` beside a namespace
    /// `n.b`), the namespace gets another: what is in it would be inside the table.
    fn folder_of(
        &self,
        namespace: &NamespaceIdent,
        taken: &[Taken],
    ) -> Result<String, CatalogError> {
        let mut folder = self.0.metadata.warehouse.clone();
        for level in namespace.iter() {
            folder = format!("{folder}/{level}");
            while self.0.places.is_taken(&folder, taken)? {
                folder.push_str(BESIDE);
            }
        }
        Ok(folder)
    }

    /// Where a table goes that does not say where.
    fn assign_location(
        &self,
        table: &TableIdent,
        so_far: &[Prepared],
    ) -> Result<String, CatalogError> {
        let taken = self.taken(Some(table), so_far)?;
        let folder = self.folder_of(&table.namespace, &taken)?;
        self.0.metadata.unused(format!("{folder}/{}", table.name))
    }

    pub fn create_namespace(
        &self,
        name: &NamespaceIdent,
        properties: BTreeMap<String, String>,
    ) -> Result<(), CatalogError> {
        self.check_default_place(&properties)?;
        self.swap(|| {
            Ok((
                pointers::create_namespace(self.records(), name, properties.clone())?,
                (),
            ))
        })
    }

    pub fn update_namespace(
        &self,
        name: &NamespaceIdent,
        removals: &[String],
        updates: &BTreeMap<String, String>,
    ) -> Result<PropertiesChanged, CatalogError> {
        self.check_default_place(updates)?;
        self.swap(|| pointers::update_namespace(self.records(), name, removals, updates))
    }

    pub fn drop_namespace(&self, name: &NamespaceIdent) -> Result<(), CatalogError> {
        self.swap(|| Ok((pointers::drop_namespace(self.records(), name)?, ())))
    }

    // Tables.

    pub fn list_tables(&self, namespace: &NamespaceIdent) -> Result<Vec<TableIdent>, CatalogError> {
        pointers::list_tables(self.records(), namespace)
    }

    pub fn table_exists(&self, table: &TableIdent) -> Result<bool, CatalogError> {
        Ok(pointers::pointer(self.records(), table)?.is_some())
    }

    /// Engines put new tables below a namespace's `location`: one that no table may have is refused at once.
    fn check_default_place(
        &self,
        properties: &BTreeMap<String, String>,
    ) -> Result<(), CatalogError> {
        if let Some(place) = properties.get("location") {
            self.0.places.check_allowed("the location", place)?;
        }
        Ok(())
    }

    /// The folders of all tables but `except`, as they will be when `so_far` is swapped in.
    fn taken(
        &self,
        except: Option<&TableIdent>,
        so_far: &[Prepared],
    ) -> Result<Vec<Taken>, CatalogError> {
        let mut taken: Vec<Taken> = so_far
            .iter()
            .map(|one| Taken {
                ident: one.ident.clone(),
                location: one.metadata.location().to_owned(),
            })
            .collect();
        for (ident, pointer) in pointers::all_tables(self.records(), except)? {
            if taken.iter().any(|other| other.ident == ident) {
                continue;
            }
            let location = match pointer.location {
                Some(location) => location,
                None => match self.0.metadata.at(&pointer.metadata_location) {
                    Ok(metadata) => metadata.location().to_owned(),
                    // Unreadable metadata still tells where the table is, as good as its name.
                    Err(_) => around_metadata(&pointer.metadata_location),
                },
            };
            taken.push(Taken { ident, location });
        }
        Ok(taken)
    }

    /// All that is asked of a new table before anything touches the disk.
    fn plan_table(&self, creation: Creation) -> Result<TableMetadata, CatalogError> {
        let ident = creation.ident.clone();
        pointers::check_table(&ident)?;
        pointers::namespace(self.records(), &ident.namespace)?;
        if self.table_exists(&ident)? {
            return Err(pointers::already_exists(&ident));
        }
        let location = match &creation.location {
            Some(wish) => tidy_location(wish)?,
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
        let pointer = Pointer::to(&location, &metadata);
        let created = self.swap(|| {
            if self.table_exists(&ident)? {
                return Err(pointers::already_exists(&ident));
            }
            Ok((
                pointers::set_pointer(self.records(), &ident, None, &pointer)?,
                (),
            ))
        });
        if let Err(error) = created {
            self.0.metadata.discard(&location, error.kind);
            return Err(error);
        }
        self.0.metadata.remember(&location, &metadata);
        Ok(LoadedTable {
            ident,
            metadata,
            metadata_location: Some(location),
        })
    }

    pub fn register_table(
        &self,
        table: &TableIdent,
        metadata_location: &str,
    ) -> Result<LoadedTable, CatalogError> {
        pointers::check_table(table)?;
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
        let pointer = Pointer::to(metadata_location, &metadata);
        let _placing = self.0.placing.lock();
        self.swap(|| {
            pointers::namespace(self.records(), &table.namespace)?;
            if self.table_exists(table)? {
                return Err(pointers::already_exists(table));
            }
            self.0
                .places
                .check(&metadata, None, || self.taken(Some(table), &[]))?;
            Ok((
                pointers::set_pointer(self.records(), table, None, &pointer)?,
                (),
            ))
        })?;
        Ok(LoadedTable {
            ident: table.clone(),
            metadata,
            metadata_location: Some(metadata_location.to_owned()),
        })
    }

    pub fn rename_table(&self, from: &TableIdent, to: &TableIdent) -> Result<(), CatalogError> {
        self.swap(|| Ok((pointers::rename_table(self.records(), from, to)?, ())))
    }

    /// Forgets a table; with [`Purge::Files`] its files go too: those inside its own location, and outside every other's.
    ///
    /// # Errors
    /// A purge of a table with `gc.enabled=false` is refused, as Iceberg's engines refuse it: its files may be another's.
    pub fn drop_table(&self, table: &TableIdent, purge: Purge) -> Result<(), CatalogError> {
        let (pointer, metadata) = self.swap(|| {
            let (ops, pointer) = pointers::drop_table(self.records(), table)?;
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

    /// Changes tables, all of them or none.
    pub fn commit_tables(
        &self,
        changes: Vec<TableChange>,
    ) -> Result<Vec<LoadedTable>, CatalogError> {
        let changes = merged(changes);
        for change in &changes {
            pointers::check_table(&change.ident)?;
        }
        let _placing = changes.iter().any(places).then(|| self.0.placing.lock());
        for _ in 0..ATTEMPTS {
            let prepared = self.prepare_all(&changes)?;
            match self.swap_prepared(&prepared) {
                Ok(()) => return Ok(self.finish(prepared)),
                Err(CommitError::Conflict { .. }) => {
                    prepared.iter().for_each(|one| self.withdraw(one))
                }
                Err(error) => return Err(log_failed(error)),
            }
        }
        Err(CatalogError::new(
            Kind::CommitFailed,
            format!("{} others changed these tables first: try again", ATTEMPTS),
        ))
    }

    fn prepare_all(&self, changes: &[TableChange]) -> Result<Vec<Prepared>, CatalogError> {
        let mut prepared = Vec::with_capacity(changes.len());
        for change in changes {
            match self.prepare(change, &prepared) {
                Ok(one) => prepared.push(one),
                Err(error) => {
                    prepared.iter().for_each(|one| self.withdraw(one));
                    return Err(error);
                }
            }
        }
        Ok(prepared)
    }

    fn prepare(&self, change: &TableChange, so_far: &[Prepared]) -> Result<Prepared, CatalogError> {
        let ident = change.ident.clone();
        match pointers::pointer(self.records(), &ident)? {
            None => {
                let creates = change.requirements.contains(&TableRequirement::NotExist);
                if !creates {
                    return Err(pointers::no_table(&ident));
                }
                pointers::namespace(self.records(), &ident.namespace)?;
                apply::check(&change.requirements, None)?;
                self.prepare_new(ident, change.updates.clone(), so_far)
            }
            Some((old, pointer)) => {
                let base = self.0.metadata.at(&pointer.metadata_location)?;
                apply::check(&change.requirements, Some(&base))?;
                let built =
                    apply::update(&base, &pointer.metadata_location, change.updates.clone())?;
                if built.changes.is_empty() {
                    // Nothing changes, but what was required must still hold when the others commit.
                    let ops = pointers::set_pointer(self.records(), &ident, Some(old), &pointer)?;
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
            (Some(wish), _) => tidy_location(wish)?,
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
        let pointer = Pointer::to(&location, &metadata);
        let ops = pointers::set_pointer(self.records(), &ident, old, &pointer)?;
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
    fn swap_prepared(&self, prepared: &[Prepared]) -> Result<(), CommitError> {
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
        self.0.storage.commit_blocking(ops).map(|_| ())
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

    fn withdraw(&self, one: &Prepared) {
        if one.written {
            self.0.metadata.discard(&one.location, Kind::CommitFailed);
        }
    }

    // The log.

    fn records(&self) -> &dyn Records {
        &self.0.storage
    }

    /// Plans and swaps until nobody else was faster.
    fn swap<T>(
        &self,
        plan: impl Fn() -> Result<(Vec<Op>, T), CatalogError>,
    ) -> Result<T, CatalogError> {
        for _ in 0..ATTEMPTS {
            let (ops, answer) = plan()?;
            match self.0.storage.commit_blocking(ops) {
                Ok(_) => return Ok(answer),
                Err(CommitError::Conflict { .. }) => {}
                Err(error) => return Err(log_failed(error)),
            }
        }
        Err(CatalogError::new(
            Kind::CommitFailed,
            "others changed the same records first: try again",
        ))
    }
}

/// What becomes of a dropped table's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purge {
    Nothing,
    Files,
}

impl TableCatalog for Catalog {
    fn load(&self, table: &TableIdent) -> Result<LoadedTable, CatalogError> {
        let (_, pointer) = pointers::existing(self.records(), table)?;
        Ok(LoadedTable {
            ident: table.clone(),
            metadata: self.0.metadata.at(&pointer.metadata_location)?,
            metadata_location: Some(pointer.metadata_location),
        })
    }

    fn ensure_namespace(&self, namespace: &NamespaceIdent) -> Result<(), CatalogError> {
        match self.create_namespace(namespace, BTreeMap::new()) {
            Err(error) if error.kind == Kind::AlreadyExists => Ok(()),
            other => other,
        }
    }

    fn create(&self, table: &TableIdent, new: NewTable) -> Result<LoadedTable, CatalogError> {
        let mut properties = new.properties;
        properties.insert(
            "format-version".to_owned(),
            (new.format_version as u8).to_string(),
        );
        self.create_table(Creation {
            ident: table.clone(),
            schema: new.schema,
            partition_spec: None,
            sort_order: None,
            location: new
                .location
                .map(|place| self.0.metadata.unused(tidy_location(&place)?))
                .transpose()?,
            properties,
        })
    }

    fn commit(
        &self,
        table: &TableIdent,
        requirements: Vec<TableRequirement>,
        updates: Vec<TableUpdate>,
    ) -> Result<LoadedTable, CatalogError> {
        let change = TableChange {
            ident: table.clone(),
            requirements,
            updates,
        };
        let mut loaded = self.commit_tables(vec![change])?;
        Ok(loaded.remove(0))
    }

    fn all_tables(&self) -> Result<Vec<TableIdent>, CatalogError> {
        super::walk(
            |parent| self.list_namespaces(parent),
            |namespace| self.list_tables(namespace),
        )
    }

    fn files(&self) -> &Files {
        &self.0.metadata.files
    }
}

/// The folder of a table whose metadata is at `location`, going by the usual layout.
fn around_metadata(location: &str) -> String {
    let folder = location
        .rsplit_once('/')
        .map_or(location, |(folder, _)| folder);
    folder
        .strip_suffix("/metadata")
        .unwrap_or(folder)
        .to_owned()
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

fn log_failed(error: CommitError) -> CatalogError {
    let kind = match error {
        // After a failed sync nobody knows what is on the disk.
        CommitError::Failed(_) => Kind::Unknown,
        _ => Kind::Unavailable,
    };
    CatalogError::caused(kind, "the log did not take the commit", error)
}
