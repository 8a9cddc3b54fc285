//! The embedded Iceberg catalog: pointers in the shared log, metadata in the warehouse.
//!
//! A commit, of one table or of many: (1) read the pointers and the metadata that they name, (2) check the requirements,
//! (3) apply the updates, (4) write the new metadata files durably, (5) swap all pointers in *one* frame of the log. When a
//! swap finds another value than it expects, everything is read and checked again: a requirement that no longer holds is a
//! conflict for the caller, one that still holds is not. What was written for nothing is removed.
//!
//! After a crash between (4) and (5) a metadata file stays that nobody names: only space.

mod commit;
mod once;
pub mod recover;
mod tables;
mod views;

pub use commit::TableChange;
pub use once::{LIFETIME, Request};
pub use tables::{Creation, Purge, Register};
pub use views::LoadedView;

use super::metadata::MetadataFiles;
use super::names::folder_name;
use super::places::{Places, Taken, tidy_location};
use super::pointers::{self, PropertiesChanged, Records, Relation};
use super::{LoadedTable, NewTable, TableCatalog};
use crate::error::{CatalogError, Kind};
use crate::ids::Ids;
use crate::storage::Files;
use commit::Prepared;
use iceberg::{NamespaceIdent, TableIdent, TableRequirement, TableUpdate};
use lw_storage::{CommitError, Op, Storage};
use once::{Keys, Swap};
use parking_lot::Mutex;
use serde::Deserialize;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Tries of one commit against others that change the same records meanwhile.
const ATTEMPTS: usize = 20;
/// What a namespace's folder has behind its name where a table has the folder.
const BESIDE: &str = ".namespace";

/// The embedded catalog, for one request with a key or for all without. Cheap to clone; all clones are one catalog.
#[derive(Clone)]
pub struct Catalog(Arc<Inner>, Option<Arc<Request>>);

struct Inner {
    storage: Storage,
    metadata: MetadataFiles,
    places: Places,
    /// Held from the look at all places to the commit that takes one: two tables or views must not get the same.
    placing: Mutex<()>,
    ids: Ids,
    staged: Mutex<VecDeque<(TableIdent, String)>>,
    keys: Mutex<Keys>,
    reports: Reports,
}

/// What clients told of their own work, since the start.
#[derive(Debug, Default)]
struct Reports {
    scans: AtomicU64,
    commits: AtomicU64,
}

/// What a client tells of its own work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Report {
    ScanReport,
    CommitReport,
}

impl Catalog {
    /// `warehouse` is a `file:` place, or one in a store; tables get folders below it.
    ///
    /// # Errors
    /// When the warehouse is no place.
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
    /// When one of them is no place.
    pub fn open_allowing(
        storage: Storage,
        files: Files,
        warehouse: &str,
        allowed: &[String],
        ids: Ids,
    ) -> Result<Catalog, CatalogError> {
        let inner = Inner {
            storage,
            places: Places::new(files.clone(), warehouse, allowed)?,
            placing: Mutex::default(),
            metadata: MetadataFiles::new(files, warehouse, ids.clone())?,
            ids,
            staged: Mutex::default(),
            keys: Mutex::default(),
            reports: Reports::default(),
        };
        Ok(Catalog(Arc::new(inner), None))
    }

    pub fn warehouse(&self) -> &str {
        &self.0.metadata.warehouse
    }

    // Reports.

    /// Counts a report of a client's.
    ///
    /// # Errors
    /// When there is no such table.
    pub fn count_report(&self, table: &TableIdent, report: Report) -> Result<(), CatalogError> {
        pointers::existing(self.records(), Relation::Table, table)?;
        let reports = &self.0.reports;
        let counter = match report {
            Report::ScanReport => &reports.scans,
            Report::CommitReport => &reports.commits,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// How many scans and how many commits were reported since the start.
    pub fn reports(&self) -> (u64, u64) {
        let reports = &self.0.reports;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (count(&reports.scans), count(&reports.commits))
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
            folder = format!("{folder}/{}", folder_name(level));
            while self.0.places.is_taken(&folder, taken)? {
                folder.push_str(BESIDE);
            }
        }
        Ok(folder)
    }

    /// Where a new table or view goes that does not say where.
    fn assign_location(
        &self,
        name: &TableIdent,
        so_far: &[Prepared],
    ) -> Result<String, CatalogError> {
        let taken = self.taken(None, so_far)?;
        let folder = self.folder_of(&name.namespace, &taken)?;
        let place = format!("{folder}/{}", folder_name(&name.name));
        // One of another name may be there, with its folder or, where somebody removed that, without.
        match self.0.places.is_taken(&place, &taken)? {
            true => Ok(self.0.metadata.beside(&place)),
            false => self.0.metadata.unused(place),
        }
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
        for _ in 0..ATTEMPTS {
            let (ops, changed) =
                pointers::update_namespace(self.records(), name, removals, updates)?;
            if self.take_changed(ops, changed.clone())? == Swap::Done {
                return Ok(changed);
            }
        }
        Err(too_slow())
    }

    pub fn drop_namespace(&self, name: &NamespaceIdent) -> Result<(), CatalogError> {
        self.swap(|| Ok((pointers::drop_namespace(self.records(), name)?, ())))
    }

    // Places.

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

    /// The folders of all tables and views but `except`, as they will be when `so_far` is swapped in.
    fn taken(
        &self,
        except: Option<&TableIdent>,
        so_far: &[Prepared],
    ) -> Result<Vec<Taken>, CatalogError> {
        let mut taken: Vec<Taken> = so_far
            .iter()
            .map(|one| Taken {
                relation: Relation::Table,
                ident: one.ident.clone(),
                location: one.metadata.location().to_owned(),
            })
            .collect();
        for (relation, ident, pointer) in pointers::all(self.records())? {
            if Some(&ident) == except || taken.iter().any(|other| other.ident == ident) {
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
            taken.push(Taken {
                relation,
                ident,
                location,
            });
        }
        Ok(taken)
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
            if self.take(ops)? == Swap::Done {
                return Ok(answer);
            }
        }
        Err(too_slow())
    }

    /// Swaps in what was written to `location`; unless that comes about, the file goes again.
    fn swap_written<T>(
        &self,
        location: &str,
        plan: impl Fn() -> Result<(Vec<Op>, T), CatalogError>,
    ) -> Result<T, CatalogError> {
        self.swap(plan)
            .inspect_err(|error| self.0.metadata.discard(location, error.kind))
    }
}

impl TableCatalog for Catalog {
    fn load(&self, table: &TableIdent) -> Result<LoadedTable, CatalogError> {
        let (_, pointer) = pointers::existing(self.records(), Relation::Table, table)?;
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
            partition_spec: new.partition_spec,
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

fn too_slow() -> CatalogError {
    CatalogError::new(
        Kind::CommitFailed,
        format!("{ATTEMPTS} others changed the same records first: try again"),
    )
}

fn log_failed(error: CommitError) -> CatalogError {
    let kind = match error {
        // After a failed sync nobody knows what is on the disk.
        CommitError::Failed(_) => Kind::Unknown,
        _ => Kind::Unavailable,
    };
    CatalogError::caused(kind, "the log did not take the commit", error)
}
