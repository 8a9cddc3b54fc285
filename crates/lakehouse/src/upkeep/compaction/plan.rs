//! What a look at a table's head found: which files there are, and which of them may become one.

use super::bins::Limits;
use super::files::Look;
use super::{Compacted, Effort, MIN_FILES, MIN_INPUT_FILES};
use crate::catalog::LoadedTable;
use crate::commit::listing::{Listed, Listing};
use crate::writer::orphans::data_folder;
use crate::writer::settings::target_bytes;
use iceberg::TableIdent;
use iceberg::spec::{Struct, TableMetadata};
use std::collections::{BTreeMap, HashMap};

/// What is to become one file.
pub(super) struct Bin {
    pub(super) files: Vec<(Listed, Look)>,
}

/// What a look at the head found.
pub(super) struct Plan {
    pub(super) table: LoadedTable,
    pub(super) sequence: i64,
    pub(super) bins: Vec<Bin>,
    pub(super) found: Found,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) left_out: BTreeMap<&'static str, u64>,
}

impl Found {
    pub(super) fn of(listing: &Listing) -> Found {
        let data = listing.data.values();
        Found {
            files: listing.data.len() as u64,
            bytes: data.map(|one| one.file.file_size_in_bytes()).sum(),
            left_out: BTreeMap::new(),
        }
    }

    pub(super) fn report(&self, ident: &TableIdent) -> Compacted {
        Compacted {
            table: ident.to_string(),
            files_before: self.files,
            bytes_before: self.bytes,
            left_out: self.left_out.clone(),
            ..Compacted::default()
        }
    }
}

/// Partitions whose small files are too few: nobody need open those.
pub(super) struct Lonely<'a> {
    /// Files and bytes.
    small: HashMap<(i32, &'a Struct), (usize, u64)>,
    limits: Limits,
}

impl<'a> Lonely<'a> {
    pub(super) fn among(files: &[&'a Listed], limits: Limits) -> Lonely<'a> {
        let mut small: HashMap<(i32, &Struct), (usize, u64)> = HashMap::new();
        for listed in files {
            let partition = (listed.spec_id, listed.file.partition());
            let (files, bytes) = small.entry(partition).or_default();
            *files += 1;
            *bytes += listed.file.file_size_in_bytes();
        }
        Lonely { small, limits }
    }

    pub(super) fn has(&self, listed: &Listed) -> bool {
        let partition = (listed.spec_id, listed.file.partition());
        let known = self.small.get(&partition);
        known.is_none_or(|(files, bytes)| !self.limits.are_worth_it(*files, *bytes))
    }
}

/// Which files may become one, numbered as they are seen.
#[derive(Default)]
pub(super) struct Groups {
    count: usize,
    by_partition: HashMap<(i32, Struct), Vec<(usize, Look)>>,
}

impl Groups {
    pub(super) fn of(&mut self, listed: &Listed, look: &Look) -> usize {
        let partition = (listed.spec_id, listed.file.partition().clone());
        let known = self.by_partition.entry(partition).or_default();
        if let Some((group, _)) = known.iter().find(|(_, other)| other.is_like(look)) {
            return *group;
        }
        self.count += 1;
        known.push((self.count - 1, look.clone()));
        self.count - 1
    }
}

pub(super) fn limits(metadata: &TableMetadata, effort: Effort) -> Limits {
    let min_files = metadata.properties().get(MIN_INPUT_FILES);
    Limits {
        target: target_bytes(metadata.properties()),
        min_files: min_files
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(MIN_FILES)
            .max(2),
        by_tiers: effort == Effort::Steady,
    }
}

/// Where a file goes that takes the place of this one: beside it, where that is in the table's data folder.
pub(crate) fn folder(metadata: &TableMetadata, beside: &Listed) -> String {
    let folder = data_folder(metadata);
    let path = beside.file.file_path();
    match path.rsplit_once('/') {
        Some((above, _)) if path.starts_with(&format!("{folder}/")) => above.to_owned(),
        _ => folder,
    }
}
