//! What a snapshot lists: its live data files, and the deletes that hide rows of them.

use super::cached::Cached;
use super::manifests;
use crate::catalog::LoadedTable;
use crate::error::CatalogError;
use crate::storage::Files;
use iceberg::spec::{
    DataContentType, DataFile, DataFileFormat, Manifest, ManifestFile, PrimitiveLiteral, Snapshot,
    Struct, TableMetadata,
};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

/// The field id that the specification gives to the column of paths in a file of position deletes.
const DELETED_PATH: i32 = 2_147_483_546;

/// A live data file, and where its rows are in the table's history.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) spec_id: i32,
    /// The data sequence number: deletes of a later one hide rows of it.
    pub(crate) sequence: i64,
    /// The snapshot that added it.
    pub(crate) snapshot: i64,
    pub(crate) file: DataFile,
}

#[cfg(test)]
impl Listed {
    /// A file that is nowhere but in a test.
    pub(crate) fn made(path: &str, sequence: i64, partition: Struct, rows: usize) -> Listed {
        let file = iceberg::spec::DataFileBuilder::default()
            .content(DataContentType::Data)
            .file_path(path.to_owned())
            .file_format(DataFileFormat::Parquet)
            .partition(partition)
            .partition_spec_id(0)
            .record_count(rows as u64)
            .file_size_in_bytes(1)
            .build();
        Listed {
            spec_id: 0,
            sequence,
            snapshot: 0,
            file: file.expect("all that a file must say"),
        }
    }
}

/// A live file of deletes.
#[derive(Clone, Debug)]
pub(crate) struct Delete {
    pub(crate) hides: Hides,
    pub(crate) spec_id: i32,
    pub(crate) partition: Struct,
    pub(crate) sequence: i64,
}

/// Which rows it hides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hides {
    /// Those at places of files whose paths are between these, where it says so.
    Places {
        first: Option<String>,
        last: Option<String>,
    },
    /// Those at places of these files: it was opened, since its manifest does not say (DuckDB's, under another field's id).
    Files(Arc<BTreeSet<String>>),
    /// Those with certain values.
    Values,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Listing {
    pub(crate) data: BTreeMap<String, Listed>,
    /// Paths that are listed more than once, with all of their rows each time. Some writer's mistake, and not ours to mend.
    pub(crate) doubled: BTreeSet<String>,
    pub(crate) deletes: Vec<Delete>,
}

impl Listing {
    /// Of a snapshot; nothing of none.
    pub(crate) fn of(
        files: &Files,
        metadata: &TableMetadata,
        snapshot: Option<&Snapshot>,
    ) -> Result<Listing, CatalogError> {
        let mut listing = Listing::default();
        let cached = Cached::default();
        let hides = |deletes: &DataFile| Hides::of(deletes).opened(files, &cached, deletes);
        for manifest in list_of(files, metadata, snapshot)? {
            let read = manifests::load(files, &manifest)?;
            listing.add(&manifest, &read, |_| true, hides);
        }
        Ok(listing)
    }

    /// Of its data files only those at these paths.
    pub(crate) fn about(
        files: &Files,
        metadata: &TableMetadata,
        snapshot: Option<&Snapshot>,
        cached: &Cached,
        paths: &HashSet<&str>,
    ) -> Result<Listing, CatalogError> {
        let list = list_of(files, metadata, snapshot)?;
        let mut listing = Listing::default();
        let hides = |deletes: &DataFile| Hides::of(deletes).opened(files, cached, deletes);
        for (manifest, read) in list.iter().zip(cached.all(files, &list)?) {
            listing.add(manifest, &read, |path| paths.contains(path), hides);
        }
        Ok(listing)
    }

    fn add(
        &mut self,
        manifest: &ManifestFile,
        read: &Manifest,
        is_wanted: impl Fn(&str) -> bool,
        hides: impl Fn(&DataFile) -> Hides,
    ) {
        let spec_id = manifest.partition_spec_id;
        for entry in read.entries() {
            let is_data = entry.content_type() == DataContentType::Data;
            if !entry.is_alive() || is_data && !is_wanted(entry.file_path()) {
                continue;
            }
            let sequence = entry.sequence_number().unwrap_or(manifest.sequence_number);
            let file = entry.data_file().clone();
            if is_data {
                let path = file.file_path().to_owned();
                let listed = Listed {
                    spec_id,
                    sequence,
                    snapshot: entry.snapshot_id().unwrap_or(manifest.added_snapshot_id),
                    file,
                };
                if self.data.insert(path.clone(), listed).is_some() {
                    self.doubled.insert(path);
                }
            } else {
                self.deletes.push(Delete {
                    hides: hides(&file),
                    spec_id,
                    partition: file.partition().clone(),
                    sequence,
                });
            }
        }
    }

    /// Whether some delete may hide a row of the file.
    pub(crate) fn is_hit(&self, file: &Listed) -> bool {
        self.deletes.iter().any(|delete| delete.may_hit(file))
    }
}

impl Hides {
    fn of(deletes: &DataFile) -> Hides {
        if deletes.content_type() == DataContentType::EqualityDeletes {
            return Hides::Values;
        }
        if let Some(path) = deletes.referenced_data_file() {
            let (first, last) = (Some(path.clone()), Some(path));
            return Hides::Places { first, last };
        }
        let text = |bounds: &std::collections::HashMap<i32, iceberg::spec::Datum>| match bounds
            .get(&DELETED_PATH)?
            .literal()
        {
            PrimitiveLiteral::String(path) => Some(path.clone()),
            _ => None,
        };
        Hides::Places {
            first: text(deletes.lower_bounds()),
            last: text(deletes.upper_bounds()),
        }
    }

    /// Where the manifest does not say of which files it hides rows, what the file of deletes itself says; where that cannot be
    /// had, it may be any.
    fn opened(self, files: &Files, cached: &Cached, deletes: &DataFile) -> Hides {
        let is_silent = match &self {
            Hides::Places { first, last } => first.is_none() || last.is_none(),
            Hides::Files(_) | Hides::Values => false,
        };
        if !is_silent || deletes.file_format() != DataFileFormat::Parquet {
            return self;
        }
        match cached.files_hit(files, deletes.file_path()) {
            Some(hit) => Hides::Files(hit),
            None => self,
        }
    }
}

impl Delete {
    /// By the specification's rule; where it cannot be told, the answer is yes.
    fn may_hit(&self, file: &Listed) -> bool {
        let in_partition = self.spec_id == file.spec_id && self.partition == *file.file.partition();
        let path = file.file.file_path();
        match &self.hides {
            Hides::Places { first, last } => {
                let before = first.as_ref().is_some_and(|first| path < first.as_str());
                let behind = last.as_ref().is_some_and(|last| path > last.as_str());
                self.sequence >= file.sequence && in_partition && !before && !behind
            }
            Hides::Files(hit) => {
                self.sequence >= file.sequence && in_partition && hit.contains(path)
            }
            // One without a partition is about all of the table.
            Hides::Values => {
                let everywhere = self.partition.fields().is_empty();
                self.sequence > file.sequence && (in_partition || everywhere)
            }
        }
    }
}

fn list_of(
    files: &Files,
    metadata: &TableMetadata,
    snapshot: Option<&Snapshot>,
) -> Result<Vec<ManifestFile>, CatalogError> {
    match snapshot {
        Some(snapshot) => manifests::load_list(files, metadata, snapshot),
        None => Ok(Vec::new()),
    }
}

/// Which of these names of data files some snapshot that the table keeps lists, live or not. Names are unique, so folders need
/// not be compared.
pub(crate) fn named_by_any(
    files: &Files,
    metadata: &TableMetadata,
    names: &BTreeSet<String>,
) -> Result<BTreeSet<String>, CatalogError> {
    let mut named = Named::of(names);
    for snapshot in metadata.snapshots() {
        named.look(files, metadata, snapshot)?;
    }
    Ok(named.found)
}

/// The same of a table that others change meanwhile, and expire snapshots of, whose lists then go: every snapshot that the table
/// had when it was loaded last was looked at.
pub(crate) fn named_by_kept(
    files: &Files,
    mut table: Arc<TableMetadata>,
    load: &dyn Fn() -> Result<LoadedTable, CatalogError>,
    names: &BTreeSet<String>,
) -> Result<BTreeSet<String>, CatalogError> {
    let mut named = Named::of(names);
    let mut looked = HashSet::new();
    loop {
        let is_new = |one: &&Arc<Snapshot>| !looked.contains(&one.snapshot_id());
        let Some(snapshot) = table.snapshots().find(is_new).cloned() else {
            return Ok(named.found);
        };
        let id = snapshot.snapshot_id();
        if let Err(error) = named.look(files, &table, &snapshot) {
            let now = load()?.metadata;
            if now.uuid() != table.uuid() || now.snapshot_by_id(id).is_some() {
                return Err(error);
            }
            table = now;
        }
        looked.insert(id);
    }
}

struct Named<'a> {
    names: &'a BTreeSet<String>,
    /// Manifests that were looked at.
    read: BTreeSet<String>,
    found: BTreeSet<String>,
}

impl Named<'_> {
    fn of(names: &BTreeSet<String>) -> Named<'_> {
        Named {
            names,
            read: BTreeSet::new(),
            found: BTreeSet::new(),
        }
    }

    fn look(
        &mut self,
        files: &Files,
        metadata: &TableMetadata,
        snapshot: &Snapshot,
    ) -> Result<(), CatalogError> {
        for manifest in manifests::load_list(files, metadata, snapshot)? {
            if self.read.contains(&manifest.manifest_path) {
                continue;
            }
            let entries = manifests::load(files, &manifest)?;
            let listed = entries.entries().iter();
            let listed = listed.map(|entry| last_name(entry.file_path()));
            let wanted = listed.filter(|name| self.names.contains(*name));
            self.found.extend(wanted.map(str::to_owned));
            self.read.insert(manifest.manifest_path);
        }
        Ok(())
    }
}

pub(crate) fn last_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
