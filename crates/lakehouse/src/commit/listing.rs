//! What a snapshot lists: its live data files, and the deletes that hide rows of them.

use super::manifests;
use crate::error::CatalogError;
use crate::storage::Files;
use iceberg::spec::{DataContentType, DataFile, PrimitiveLiteral, Snapshot, Struct, TableMetadata};
use std::collections::{BTreeMap, BTreeSet};

/// The field id that the specification gives to the column of paths in a file of position deletes.
const DELETED_PATH: i32 = 2_147_483_546;

/// A live data file, and where its rows are in the table's history.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) spec_id: i32,
    /// The data sequence number: deletes of a later one hide rows of it.
    pub(crate) sequence: i64,
    pub(crate) file: DataFile,
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
        let Some(snapshot) = snapshot else {
            return Ok(listing);
        };
        for manifest in manifests::load_list(files, metadata, snapshot)? {
            let spec_id = manifest.partition_spec_id;
            for entry in manifests::load(files, &manifest)?.entries() {
                if !entry.is_alive() {
                    continue;
                }
                let sequence = entry.sequence_number().unwrap_or(manifest.sequence_number);
                let file = entry.data_file().clone();
                if file.content_type() == DataContentType::Data {
                    let path = file.file_path().to_owned();
                    let listed = Listed {
                        spec_id,
                        sequence,
                        file,
                    };
                    if listing.data.insert(path.clone(), listed).is_some() {
                        listing.doubled.insert(path);
                    }
                } else {
                    listing.deletes.push(Delete {
                        hides: Hides::of(&file),
                        spec_id,
                        partition: file.partition().clone(),
                        sequence,
                    });
                }
            }
        }
        Ok(listing)
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
}

impl Delete {
    /// By the specification's rule; where it would take a look into the file, the answer is yes.
    fn may_hit(&self, file: &Listed) -> bool {
        let in_partition = self.spec_id == file.spec_id && self.partition == *file.file.partition();
        let path = file.file.file_path();
        match &self.hides {
            Hides::Places { first, last } => {
                let before = first.as_ref().is_some_and(|first| path < first.as_str());
                let behind = last.as_ref().is_some_and(|last| path > last.as_str());
                self.sequence >= file.sequence && in_partition && !before && !behind
            }
            // One without a partition is about all of the table.
            Hides::Values => {
                let everywhere = self.partition.fields().is_empty();
                self.sequence > file.sequence && (in_partition || everywhere)
            }
        }
    }
}

/// Which of these names of data files some snapshot that the table keeps lists, live or not. Names are unique, so folders need
/// not be compared.
pub(crate) fn named_by_any(
    files: &Files,
    metadata: &TableMetadata,
    names: &BTreeSet<String>,
) -> Result<BTreeSet<String>, CatalogError> {
    let (mut read, mut named) = (BTreeSet::new(), BTreeSet::new());
    for snapshot in metadata.snapshots() {
        for manifest in manifests::load_list(files, metadata, snapshot)? {
            if !read.insert(manifest.manifest_path.clone()) {
                continue;
            }
            let entries = manifests::load(files, &manifest)?;
            let listed = entries.entries().iter();
            let listed = listed.map(|entry| last_name(entry.file_path()));
            named.extend(
                listed
                    .filter(|name| names.contains(*name))
                    .map(str::to_owned),
            );
        }
    }
    Ok(named)
}

pub(crate) fn last_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
