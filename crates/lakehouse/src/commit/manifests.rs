//! Manifests and manifest lists: read, written, and merged when they grow many.
//!
//! Each commit adds one manifest, and every reader opens all of them; so when small data manifests get many, they become
//! few, none larger than the target, which also bounds what a merge holds in memory. Manifests of deletes do not count, nor do
//! those of half the target or more, or a table with a hundred of them would be rewritten with every commit. Entries are carried on as `Existing` with the snapshot and the sequence numbers that they
//! had: to every reader the table is the same.

use crate::error::CatalogError;
use crate::storage::Files;
use futures::executor::block_on;
use iceberg::spec::{
    DataFile, FormatVersion, Manifest, ManifestContentType, ManifestEntry, ManifestFile,
    ManifestList, ManifestListWriter, ManifestWriter, ManifestWriterBuilder, PartitionSpecRef,
    SchemaRef, Snapshot, TableMetadata,
};

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
    pub(crate) metadata: &'a TableMetadata,
    /// The head that the snapshot is made for.
    pub(crate) parent: Option<i64>,
    pub(crate) snapshot_id: i64,
    /// Makes names unique across attempts.
    pub(crate) commit: uuid::Uuid,
    /// Which entries a merge keeps.
    pub(crate) keep: fn(&ManifestEntry) -> bool,
    pub(crate) written: Vec<String>,
}

impl Manifests<'_> {
    pub(crate) fn added(
        &mut self,
        spec: &PartitionSpecRef,
        added: Vec<DataFile>,
    ) -> Result<ManifestFile, CatalogError> {
        let mut writer = self.writer(self.metadata.current_schema().clone(), spec)?;
        for file in added {
            // A negative sequence number is inherited from the snapshot.
            writer.add_file(file, -1)?;
        }
        Ok(block_on(writer.write_manifest_file())?)
    }

    /// The same files in fewer manifests, if there are many small ones.
    pub(crate) fn merged(
        &mut self,
        manifests: Vec<ManifestFile>,
    ) -> Result<Vec<ManifestFile>, CatalogError> {
        let property = |key: &str| self.metadata.properties().get(key);
        let target: i64 = property("commit.manifest.target-size-bytes")
            .and_then(|text| text.parse().ok())
            .unwrap_or(TARGET);
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
        let mut specs: Vec<i32> = small
            .iter()
            .map(|manifest| manifest.partition_spec_id)
            .collect();
        specs.sort_unstable();
        specs.dedup();
        for spec in specs {
            let of_spec = small
                .iter()
                .filter(|manifest| manifest.partition_spec_id == spec);
            let known = self.metadata.partition_spec_by_id(spec);
            for bin in bins(of_spec, target) {
                match (bin.as_slice(), known) {
                    ([_, _, ..], Some(spec)) => kept.push(self.merge(&bin, &spec.clone())?),
                    _ => kept.extend(bin.into_iter().cloned()),
                }
            }
        }
        Ok(kept)
    }

    fn merge(
        &mut self,
        manifests: &[&ManifestFile],
        spec: &PartitionSpecRef,
    ) -> Result<ManifestFile, CatalogError> {
        let mut writer = self.writer(self.metadata.current_schema().clone(), spec)?;
        for manifest in manifests {
            for entry in load(self.files, manifest)?
                .entries()
                .iter()
                .filter(|entry| (self.keep)(entry))
            {
                let snapshot = entry.snapshot_id().unwrap_or(manifest.added_snapshot_id);
                let sequence = entry.sequence_number().unwrap_or(manifest.sequence_number);
                let file_sequence = entry.file_sequence_number.unwrap_or(sequence);
                writer.add_existing_file(
                    entry.data_file().clone(),
                    snapshot,
                    sequence,
                    Some(file_sequence),
                )?;
            }
        }
        Ok(block_on(writer.write_manifest_file())?)
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
