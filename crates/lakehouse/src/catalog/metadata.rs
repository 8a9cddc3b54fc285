//! Metadata files of tables and views: where they are, written once, those of tables read through a small cache.
//!
//! A metadata file never changes, so what was read once is true for ever. It is durable before a pointer names it; one that
//! no pointer came to name is removed, or stays after a crash: only space.

use super::document::{self, Texts};
use super::embedded::Creation;
use super::places::{Fence, tidy_location};
use super::views;
use crate::error::{CatalogError, Kind};
use crate::ids::Ids;
use crate::storage::Files;
use crate::upkeep::refs::Refs;
use iceberg::spec::{TableMetadata, TableMetadataBuilder, ViewMetadata};
use iceberg::{MetadataLocation, TableCreation};
use parking_lot::Mutex;
use serde_json::value::RawValue;
use std::collections::VecDeque;
use std::str::FromStr;
use std::sync::Arc;

/// Parsed metadata kept in memory, newest use last.
const CACHED: usize = 64;
const COMPRESSION: &str = "write.metadata.compression-codec";

/// The metadata files of a warehouse.
pub(super) struct MetadataFiles {
    pub(super) files: Files,
    /// `file:///…` or `s3://…`, no slash at the end.
    pub(super) warehouse: String,
    ids: Ids,
    cache: Mutex<VecDeque<(String, Arc<TableMetadata>)>>,
    texts: Texts,
}

impl MetadataFiles {
    /// # Errors
    /// When the warehouse is no place.
    pub(super) fn new(
        files: Files,
        warehouse: &str,
        ids: Ids,
    ) -> Result<MetadataFiles, CatalogError> {
        Ok(MetadataFiles {
            files,
            warehouse: tidy_location(warehouse)?,
            ids,
            cache: Mutex::default(),
            texts: Texts::default(),
        })
    }

    /// A new table's metadata, for a table at `location`; nothing is written.
    pub(super) fn create(
        &self,
        creation: Creation,
        location: String,
    ) -> Result<TableMetadata, CatalogError> {
        let format_version = match creation
            .properties
            .get("format-version")
            .map(String::as_str)
        {
            None | Some("2") => iceberg::spec::FormatVersion::V2,
            Some("1") => iceberg::spec::FormatVersion::V1,
            Some("3") => iceberg::spec::FormatVersion::V3,
            Some(other) => {
                return Err(CatalogError::new(
                    Kind::BadRequest,
                    format!("format-version {other} is not known: 1, 2 or 3"),
                ));
            }
        };
        let properties = creation
            .properties
            .into_iter()
            .filter(|(key, _)| key != "format-version");
        let metadata = TableMetadataBuilder::from_table_creation(
            TableCreation::builder()
                .name(creation.ident.name.clone())
                .location(location)
                .schema(creation.schema)
                .partition_spec_opt(creation.partition_spec)
                .sort_order_opt(creation.sort_order)
                .properties(properties)
                .format_version(format_version)
                .build(),
        )?
        .assign_uuid(self.ids.next())
        .build()?
        .metadata;
        Ok(metadata)
    }

    /// With a suffix when that folder was used before: files of a table that was renamed or dropped must never mix with those
    /// of its successor.
    pub(super) fn unused(&self, place: String) -> Result<String, CatalogError> {
        match self.files.exists(&place)? {
            true => Ok(self.beside(&place)),
            false => Ok(place),
        }
    }

    /// A place beside one that is somebody's.
    pub(super) fn beside(&self, place: &str) -> String {
        let suffix = &self.ids.next().simple().to_string()[..12];
        format!("{place}-{suffix}")
    }

    /// DuckDB writes into `data` and `metadata` and makes neither.
    pub(super) fn make_folders(&self, location: &str) -> Result<(), CatalogError> {
        self.files.make_folder_at(&format!("{location}/data"))?;
        self.files.make_folder_at(&format!("{location}/metadata"))?;
        Ok(())
    }

    fn write(&self, metadata: &TableMetadata, location: &str) -> Result<(), CatalogError> {
        let parts = MetadataLocation::from_str(location)?;
        if metadata.properties().contains_key(COMPRESSION) {
            futures::executor::block_on(metadata.write_to(&self.files.io(), &parts))?;
            return Ok(());
        }
        let text = document::text(metadata);
        self.files.write(location, text.get().as_bytes())?;
        self.texts.remember(location, &text);
        Ok(())
    }

    /// The document of metadata, for which `location` stands.
    pub(super) fn text(&self, location: &str, metadata: &TableMetadata) -> Arc<RawValue> {
        self.texts.of(location, metadata)
    }

    pub(super) fn refs(&self, location: &str, metadata: &TableMetadata) -> Refs {
        Refs::in_document(self.text(location, metadata).get())
    }

    /// A file that is there and whose writing failed (its folder could not be synced, say) is named by nobody.
    pub(super) fn write_or_nothing(
        &self,
        metadata: &TableMetadata,
        location: &str,
    ) -> Result<(), CatalogError> {
        self.write(metadata, location).inspect_err(|_| {
            let _ = self.files.remove(location);
        })
    }

    pub(super) fn read(&self, location: &str) -> Result<Arc<TableMetadata>, CatalogError> {
        let metadata =
            futures::executor::block_on(TableMetadata::read_from(&self.files.io(), location))?;
        Ok(Arc::new(metadata))
    }

    /// Metadata files never change, so what was read once is true for ever.
    pub(super) fn at(&self, location: &str) -> Result<Arc<TableMetadata>, CatalogError> {
        if let Some((_, metadata)) = self
            .cache
            .lock()
            .iter()
            .find(|(cached, _)| cached == location)
        {
            return Ok(metadata.clone());
        }
        let metadata = self.read(location).map_err(|error| {
            let message = format!("cannot read table metadata {location}");
            self.unreadable(location, message, error)
        })?;
        self.remember(location, &metadata);
        Ok(metadata)
    }

    /// That a file is still there, whatever the cache has: who loads a table is told at once, and not when it commits.
    pub(super) fn check_there(&self, location: &str) -> Result<(), CatalogError> {
        match self.files.exists(location)? {
            true => Ok(()),
            false => Err(gone(location)),
        }
    }

    fn unreadable(&self, location: &str, message: String, error: CatalogError) -> CatalogError {
        match self.check_there(location) {
            Err(gone) if gone.kind == Kind::NoSuchFile => gone,
            _ => CatalogError::caused(Kind::Internal, message, error),
        }
    }

    /// Views are small, and read when an engine plans a query: from the disk each time.
    pub(super) fn view_at(&self, location: &str) -> Result<ViewMetadata, CatalogError> {
        let read = self.files.read(location).map_err(CatalogError::from);
        let bytes = read.map_err(|error| {
            let message = format!("cannot read view metadata {location}");
            self.unreadable(location, message, error)
        })?;
        serde_json::from_slice(&bytes).map_err(|error| {
            let message = format!("cannot read view metadata {location}: {error}");
            CatalogError::caused(Kind::Internal, message, error)
        })
    }

    pub(super) fn write_view(
        &self,
        metadata: &ViewMetadata,
        location: &str,
    ) -> Result<(), CatalogError> {
        let bytes = serde_json::to_vec(&views::to_json(metadata)).expect("a document is JSON");
        let written = self.files.write(location, &bytes);
        Ok(written.inspect_err(|_| {
            let _ = self.files.remove(location);
        })?)
    }

    pub(super) fn remember(&self, location: &str, metadata: &Arc<TableMetadata>) {
        let mut cache = self.cache.lock();
        cache.retain(|(cached, _)| cached != location);
        cache.push_back((location.to_owned(), metadata.clone()));
        if cache.len() > CACHED {
            cache.pop_front();
        }
    }

    /// Deletes a dropped table's files: those behind its fence. What else its metadata names is somebody else's, or may be.
    ///
    /// # Errors
    /// When a deletion fails. Manifests that cannot be read are passed over: what they name stays, and is only space.
    pub(super) fn purge(
        &self,
        metadata: &TableMetadata,
        metadata_location: &str,
        fence: &Fence,
    ) -> Result<Purged, CatalogError> {
        let mut files: Vec<String> = Vec::new();
        let snapshots = metadata.snapshots();
        for snapshot in snapshots.filter(|snapshot| fence.admits(snapshot.manifest_list())) {
            let list = crate::commit::manifests::load_list(&self.files, metadata, snapshot);
            for manifest in list.into_iter().flatten() {
                if fence.admits(&manifest.manifest_path)
                    && let Ok(loaded) = crate::commit::manifests::load(&self.files, &manifest)
                {
                    let entries = loaded.entries().iter();
                    files.extend(entries.map(|entry| entry.file_path().to_owned()));
                }
                files.push(manifest.manifest_path);
            }
        }
        files.extend(
            metadata
                .snapshots()
                .map(|snapshot| snapshot.manifest_list().to_owned()),
        );
        files.extend(
            metadata
                .statistics_iter()
                .map(|file| file.statistics_path.clone()),
        );
        files.extend(
            metadata
                .partition_statistics_iter()
                .map(|file| file.statistics_path.clone()),
        );
        files.extend(
            metadata
                .metadata_log()
                .iter()
                .map(|entry| entry.metadata_file.clone()),
        );
        files.push(metadata_location.to_owned());
        files.sort_unstable();
        files.dedup();
        let mut purged = Purged::default();
        for file in files {
            if fence.remove(&file)? {
                purged.removed += 1;
            } else {
                purged.left.push(file);
            }
        }
        Ok(purged)
    }

    /// Removes a metadata file that surely nobody names.
    pub(super) fn discard(&self, location: &str, why: Kind) {
        if !matches!(why, Kind::Unknown | Kind::Internal) {
            let _ = self.files.remove(location);
        }
    }
}

/// In the words of Iceberg's own file readers.
fn gone(location: &str) -> CatalogError {
    CatalogError::new(
        Kind::NoSuchFile,
        format!("Failed to open input stream for file: {location}"),
    )
}

/// What a purge did.
#[derive(Debug, Default)]
pub(super) struct Purged {
    pub(super) removed: usize,
    /// Named by the table, and not in its folder.
    pub(super) left: Vec<String>,
}

/// The next metadata file, in the table's location as it is now. One that was registered under a foreign name starts our own
/// numbering.
pub(super) fn next_location(current: &str, metadata: &TableMetadata) -> String {
    let Ok(location) = MetadataLocation::from_str(current) else {
        return MetadataLocation::new_with_metadata(metadata.location(), metadata).to_string();
    };
    let next = location
        .with_next_version()
        .with_new_metadata(metadata)
        .to_string();
    match next.rsplit_once('/') {
        Some((_, name)) => format!("{}/metadata/{name}", metadata.location()),
        None => next,
    }
}
