//! Manifests and manifest lists: read, written, and merged when they grow many.
//!
//! Each commit adds one manifest, and every reader opens all of them; so when small data manifests get many, they become
//! few, none larger than the target, which also bounds what a merge holds in memory. Manifests of deletes do not count, nor do
//! those of half the target or more, or a table with a hundred of them would be rewritten with every commit. Entries are carried on as `Existing` with the snapshot and the sequence numbers that they
//! had: to every reader the table is the same.

use super::cached::Cached;
use crate::error::{CatalogError, Kind};
use crate::staged;
use crate::storage::Files;
use futures::executor::block_on;
use iceberg::spec::{
    DataFile, FormatVersion, Manifest, ManifestContentType, ManifestEntry, ManifestFile,
    ManifestList, ManifestListWriter, ManifestWriter, ManifestWriterBuilder, PartitionSpecRef,
    SchemaRef, Snapshot, StructType, TableMetadata,
};
use std::collections::{BTreeSet, HashSet};

/// So many small manifests are merged, unless the table has `commit.manifest.min-count-to-merge`.
const MANY: usize = 100;
/// Merged manifests have at most about this many bytes, unless the table has `commit.manifest.target-size-bytes`.
const TARGET: i64 = 8 << 20;

/// Where a table's manifests go.
pub(crate) fn folder(metadata: &TableMetadata) -> String {
    match metadata.properties().get("write.metadata.path") {
        Some(path) => path.trim_end_matches('/').to_owned(),
        None => format!("{}/metadata", metadata.location()),
    }
}

/// The manifests of a snapshot.
pub(crate) fn load_list(
    files: &Files,
    metadata: &TableMetadata,
    snapshot: &Snapshot,
) -> Result<Vec<ManifestFile>, CatalogError> {
    let bytes = files.read(snapshot.manifest_list())?;
    let list = ManifestList::parse_with_version(&bytes, metadata.format_version())?;
    Ok(list.consume_entries().into_iter().collect())
}

/// A manifest's entries, with what they inherit from the list filled in.
pub(crate) fn load(files: &Files, manifest: &ManifestFile) -> Result<Manifest, CatalogError> {
    Ok(block_on(manifest.load_manifest(&files.io()))?)
}

/// Writes the manifests of one new snapshot, and remembers what it wrote.
pub(crate) struct Manifests<'a> {
    pub(crate) files: &'a Files,
    /// What of the head was read already.
    pub(crate) cached: &'a Cached,
    pub(crate) metadata: &'a TableMetadata,
    /// The head that the snapshot is made for.
    pub(crate) parent: Option<i64>,
    pub(crate) snapshot_id: i64,
    /// Makes names unique across attempts.
    pub(crate) commit: uuid::Uuid,
    /// Which entries a merge keeps.
    pub(crate) keep: fn(&ManifestEntry) -> bool,
    pub(crate) gone: Gone,
    pub(crate) written: Vec<String>,
}

/// What a manifest says of files that went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gone {
    /// That they did, with this snapshot.
    Told,
    /// Nothing, nor of those that went before: what is said of a file has values of its rows.
    Forgotten,
}

impl Manifests<'_> {
    /// New files. Their rows are as old as `sequence` says, or as the snapshot.
    pub(crate) fn added(
        &mut self,
        spec: &PartitionSpecRef,
        added: Vec<DataFile>,
        sequence: Option<i64>,
    ) -> Result<ManifestFile, CatalogError> {
        let (schema, values) = values_of(self.metadata, spec)?;
        let mut writer = self.writer(schema, spec)?;
        for file in added {
            let file = staged::widened(file, spec.spec_id(), &values)?;
            // A negative sequence number is inherited from the snapshot.
            writer.add_file(file, sequence.unwrap_or(-1))?;
        }
        Ok(block_on(writer.write_manifest_file())?)
    }

    /// The same manifests without these files. Those that listed one are written anew, few of them where there were many, and
    /// tell what went.
    pub(crate) fn without(
        &mut self,
        manifests: Vec<ManifestFile>,
        removed: &HashSet<&str>,
    ) -> Result<Vec<ManifestFile>, CatalogError> {
        let (mut kept, mut touched) = (Vec::new(), Vec::new());
        let mut found = 0;
        for manifest in manifests {
            let (mut hits, mut went) = (0, false);
            if manifest.content == ManifestContentType::Data {
                for entry in self.cached.one(self.files, &manifest)?.entries() {
                    let is_hit = entry.is_alive() && removed.contains(entry.file_path());
                    hits += usize::from(is_hit);
                    went |= !entry.is_alive();
                }
            }
            found += hits;
            match hits > 0 || went && self.gone == Gone::Forgotten {
                false => kept.push(manifest),
                true => touched.push(manifest),
            }
        }
        assert_eq!(
            found,
            removed.len(),
            "C4: each file that goes was listed, and once"
        );
        let target = self.target();
        for spec in specs_of(&touched) {
            let of_spec = touched.iter().filter(|one| one.partition_spec_id == spec);
            let known = spec_of(self.metadata, spec)?.clone();
            for bin in bins(of_spec, target) {
                if self.gone == Gone::Told || self.lists_more(&bin, removed)? {
                    kept.push(self.carried(&bin, &known, removed)?);
                }
            }
        }
        Ok(kept)
    }

    /// The same files in fewer manifests, if there are many small ones.
    pub(crate) fn merged(
        &mut self,
        manifests: Vec<ManifestFile>,
    ) -> Result<Vec<ManifestFile>, CatalogError> {
        let property = |key: &str| self.metadata.properties().get(key);
        let target = self.target();
        let many = property("commit.manifest.min-count-to-merge")
            .and_then(|text| text.parse().ok())
            .unwrap_or(MANY);
        let mergeable = |manifest: &ManifestFile| {
            manifest.content == ManifestContentType::Data && manifest.manifest_length < target / 2
        };
        let off = property("commit.manifest-merge.enabled").is_some_and(|on| on == "false");
        if off || manifests.iter().filter(|one| mergeable(one)).count() < many.max(2) {
            return Ok(manifests);
        }
        let (small, mut kept): (Vec<_>, Vec<_>) = manifests.into_iter().partition(mergeable);
        for spec in specs_of(&small) {
            let of_spec = small
                .iter()
                .filter(|manifest| manifest.partition_spec_id == spec);
            let known = self.metadata.partition_spec_by_id(spec);
            for bin in bins(of_spec, target) {
                match (bin.as_slice(), known) {
                    ([_, _, ..], Some(spec)) => {
                        kept.push(self.carried(&bin, &spec.clone(), &HashSet::new())?)
                    }
                    _ => kept.extend(bin.into_iter().cloned()),
                }
            }
        }
        Ok(kept)
    }

    /// Whether they list files beside those that go.
    fn lists_more(
        &self,
        manifests: &[&ManifestFile],
        removed: &HashSet<&str>,
    ) -> Result<bool, CatalogError> {
        for manifest in manifests {
            let read = self.cached.one(self.files, manifest)?;
            let mut entries = read.entries().iter().filter(|entry| (self.keep)(entry));
            if entries.any(|entry| !removed.contains(entry.file_path())) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// One manifest for several: what they list, and of the files that go that they did, where that is told.
    fn carried(
        &mut self,
        manifests: &[&ManifestFile],
        spec: &PartitionSpecRef,
        removed: &HashSet<&str>,
    ) -> Result<ManifestFile, CatalogError> {
        let (schema, values) = values_of(self.metadata, spec)?;
        let mut writer = self.writer(schema, spec)?;
        for manifest in manifests {
            let read = self.cached.one(self.files, manifest)?;
            for entry in read.entries().iter().filter(|entry| (self.keep)(entry)) {
                let snapshot = entry.snapshot_id().unwrap_or(manifest.added_snapshot_id);
                let sequence = entry.sequence_number().unwrap_or(manifest.sequence_number);
                let in_file = Some(entry.file_sequence_number.unwrap_or(sequence));
                let file = entry.data_file().clone();
                let file = staged::widened(file, spec.spec_id(), &values)?;
                match (removed.contains(entry.file_path()), self.gone) {
                    (true, Gone::Told) => writer.add_delete_file(file, sequence, in_file)?,
                    (true, Gone::Forgotten) => {}
                    (false, _) => writer.add_existing_file(file, snapshot, sequence, in_file)?,
                }
            }
        }
        Ok(block_on(writer.write_manifest_file())?)
    }

    /// How large a manifest may be that is made of others.
    fn target(&self) -> i64 {
        let property = self
            .metadata
            .properties()
            .get("commit.manifest.target-size-bytes");
        property
            .and_then(|text| text.parse().ok())
            .unwrap_or(TARGET)
    }

    fn writer(
        &mut self,
        schema: SchemaRef,
        spec: &PartitionSpecRef,
    ) -> Result<ManifestWriter, CatalogError> {
        let location = format!(
            "{}/{}-m{}.avro",
            folder(self.metadata),
            self.commit,
            self.written.len()
        );
        let output = self.files.io().new_output(&location)?;
        self.written.push(location);
        let builder = ManifestWriterBuilder::new(
            output,
            Some(self.snapshot_id),
            schema,
            spec.as_ref().clone(),
        );
        Ok(match self.metadata.format_version() {
            FormatVersion::V1 => builder.build_v1(),
            FormatVersion::V2 => builder.build_v2_data(),
            FormatVersion::V3 => unreachable!("M1: no manifest of ours in a table of version 3"),
        })
    }

    /// Writes the manifest list; returns its place.
    pub(crate) fn list(
        &mut self,
        sequence: i64,
        manifests: Vec<ManifestFile>,
    ) -> Result<String, CatalogError> {
        let location = format!(
            "{}/snap-{}-0-{}.avro",
            folder(self.metadata),
            self.snapshot_id,
            self.commit
        );
        let output = block_on(self.files.io().new_output(&location)?.writer())?;
        self.written.push(location.clone());
        let parent = self.parent;
        let mut writer = match self.metadata.format_version() {
            FormatVersion::V1 => ManifestListWriter::v1(output, self.snapshot_id, parent),
            FormatVersion::V2 => ManifestListWriter::v2(output, self.snapshot_id, parent, sequence),
            FormatVersion::V3 => unreachable!("M1: no manifest of ours in a table of version 3"),
        };
        writer.add_manifests(manifests.into_iter())?;
        block_on(writer.close())?;
        Ok(location)
    }
}

/// The partition specs of these manifests, each once.
fn specs_of(manifests: &[ManifestFile]) -> BTreeSet<i32> {
    let specs = manifests.iter().map(|manifest| manifest.partition_spec_id);
    specs.collect()
}

pub(crate) fn spec_of(
    metadata: &TableMetadata,
    spec: i32,
) -> Result<&PartitionSpecRef, CatalogError> {
    metadata.partition_spec_by_id(spec).ok_or_else(|| {
        CatalogError::new(
            Kind::BadRequest,
            format!("the table has no partition spec {spec} any more"),
        )
    })
}

/// The types that a spec's values have, by the newest schema that has all of the columns that they are of: those of an old
/// spec may have been dropped.
fn values_of(
    metadata: &TableMetadata,
    spec: &PartitionSpecRef,
) -> Result<(SchemaRef, StructType), CatalogError> {
    let has_all = |schema: &&SchemaRef| {
        let mut sources = spec.fields().iter().map(|field| field.source_id);
        sources.all(|id| schema.field_by_id(id).is_some())
    };
    let current = metadata.current_schema();
    let schemas = metadata.schemas_iter().filter(has_all);
    let newest = schemas.max_by_key(|schema| schema.schema_id());
    let schema = Some(current).filter(has_all).or(newest).unwrap_or(current);
    Ok((schema.clone(), spec.partition_type(schema)?))
}

/// Neighbours together, as far as they fit into `target` bytes.
fn bins<'a>(
    manifests: impl Iterator<Item = &'a ManifestFile>,
    target: i64,
) -> Vec<Vec<&'a ManifestFile>> {
    let mut bins: Vec<Vec<&ManifestFile>> = Vec::new();
    let mut size = 0;
    for manifest in manifests {
        size += manifest.manifest_length;
        match bins.last_mut() {
            Some(bin) if size <= target => bin.push(manifest),
            _ => {
                size = manifest.manifest_length;
                bins.push(vec![manifest]);
            }
        }
    }
    bins
}
