//! Another engine: what its appends, overwrites and deletes do to a table, and a reader that goes by the specification.
//!
//! Unlike [`World::try_foreign_commit`](super::world::World::try_foreign_commit), whose snapshots only stand in the way, these
//! write files: data files with their own names, manifests with deleted and existing entries, position deletes. A row is
//! `(part, off)` as everywhere in these tests; an engine's own rows are those of the partition [`THEIRS`].

use super::world::{TABLE, ident, set_head};
use crate::commit::manifests;
use crate::error::{CatalogError, Kind};
use crate::{Catalog, Files, Ids, TableCatalog};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Int32Array, Int64Array, RecordBatch, StringArray, new_null_array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use futures::executor::block_on;
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, ManifestContentType, ManifestFile,
    ManifestListWriter, ManifestWriter, ManifestWriterBuilder, Operation, Snapshot, Struct,
    Summary, TableMetadata,
};
use iceberg::{TableRequirement, TableUpdate};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::{ArrowWriter, PARQUET_FIELD_ID_META_KEY};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// `(part, off)`.
pub(crate) type Row = (i32, i64);

/// The partition that no topic has.
pub(crate) const THEIRS: i32 = 9;

/// Field ids that the specification reserves for position deletes.
const FILE_PATH: i32 = 2_147_483_546;
const POS: i32 = 2_147_483_545;

/// What another engine does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Append(Vec<Row>),
    /// Copy on write: the files that have these rows are written anew without them.
    Overwrite(Vec<Row>),
    /// Merge on read: a file says which rows of which files are gone.
    Delete(Vec<Row>),
    /// Compaction: all data files become one, deletes are carried out.
    Rewrite,
}

/// Another engine at its work on a table.
pub(crate) struct Engine<'a> {
    pub(crate) catalog: &'a Catalog,
    pub(crate) ids: &'a Ids,
    /// Whether its summaries have totals.
    pub(crate) totals: bool,
}

/// A snapshot being made.
struct Draft {
    metadata: Arc<TableMetadata>,
    snapshot_id: i64,
    sequence: i64,
    manifests: Vec<ManifestFile>,
}

impl Engine<'_> {
    /// Makes the snapshot; returns its id.
    pub(crate) fn commit(&self, change: &Change) -> Result<i64, CatalogError> {
        let metadata = self.catalog.load(&ident(TABLE))?.metadata;
        let mut draft = Draft {
            snapshot_id: self.ids.next_snapshot(),
            sequence: metadata.next_sequence_number(),
            manifests: match metadata.current_snapshot() {
                Some(head) => manifests::load_list(self.files(), &metadata, head)?,
                None => Vec::new(),
            },
            metadata,
        };
        let operation = match change {
            Change::Append(rows) => {
                self.add_data(&mut draft, rows)?;
                Operation::Append
            }
            Change::Overwrite(rows) => {
                self.overwrite(&mut draft, rows)?;
                Operation::Overwrite
            }
            Change::Delete(rows) => {
                self.delete(&mut draft, rows)?;
                Operation::Delete
            }
            Change::Rewrite => {
                self.rewrite(&mut draft)?;
                Operation::Replace
            }
        };
        self.publish(draft, operation)
    }

    fn files(&self) -> &Files {
        self.catalog.files()
    }

    fn add_data(&self, draft: &mut Draft, rows: &[Row]) -> Result<(), CatalogError> {
        let layout = schema_to_arrow_schema(draft.metadata.current_schema())?;
        let file = self.write(
            draft,
            "data",
            DataContentType::Data,
            table_rows(layout, rows),
        )?;
        let mut writer = self.manifest(draft, ManifestContentType::Data)?;
        writer.add_file(file, -1)?;
        draft
            .manifests
            .push(block_on(writer.write_manifest_file())?);
        Ok(())
    }

    fn overwrite(&self, draft: &mut Draft, gone: &[Row]) -> Result<(), CatalogError> {
        let mut reader = Reader::default();
        // Those that deletes took out are not written again.
        let live = reader.listed(self.files(), &draft.manifests)?.rows;
        let stays = |row: &&Row| live.contains(row) && !gone.contains(row);
        let (mut kept, mut rest) = (Vec::new(), Vec::new());
        for manifest in std::mem::take(&mut draft.manifests) {
            let entries = manifests::load(self.files(), &manifest)?;
            let mut hit = Vec::new();
            for entry in entries.entries().iter().filter(|entry| entry.is_alive()) {
                let data = manifest.content == ManifestContentType::Data;
                if data {
                    let rows = reader.data(self.files(), entry.file_path())?;
                    if rows.iter().any(|row| gone.contains(row)) {
                        rest.extend(rows.iter().filter(stays));
                        hit.push(entry.file_path().to_owned());
                    }
                }
            }
            if hit.is_empty() {
                kept.push(manifest);
                continue;
            }
            let mut writer = self.manifest(draft, ManifestContentType::Data)?;
            for entry in entries.entries().iter().filter(|entry| entry.is_alive()) {
                let added = entry.snapshot_id().unwrap_or(manifest.added_snapshot_id);
                let sequence = entry.sequence_number().unwrap_or(manifest.sequence_number);
                let in_file = Some(entry.file_sequence_number.unwrap_or(sequence));
                let file = entry.data_file().clone();
                if hit.iter().any(|path| path == entry.file_path()) {
                    writer.add_delete_file(file, sequence, in_file)?;
                } else {
                    writer.add_existing_file(file, added, sequence, in_file)?;
                }
            }
            kept.push(block_on(writer.write_manifest_file())?);
        }
        draft.manifests = kept;
        if !rest.is_empty() {
            self.add_data(draft, &rest)?;
        }
        Ok(())
    }

    fn delete(&self, draft: &mut Draft, gone: &[Row]) -> Result<(), CatalogError> {
        let mut reader = Reader::default();
        let (mut paths, mut positions) = (Vec::new(), Vec::new());
        for manifest in &draft.manifests {
            if manifest.content != ManifestContentType::Data {
                continue;
            }
            let entries = manifests::load(self.files(), manifest)?;
            for entry in entries.entries().iter().filter(|entry| entry.is_alive()) {
                let rows = reader.data(self.files(), entry.file_path())?;
                for (position, _) in rows
                    .iter()
                    .enumerate()
                    .filter(|(_, row)| gone.contains(row))
                {
                    paths.push(entry.file_path().to_owned());
                    positions.push(i64::try_from(position).expect("small"));
                }
            }
        }
        let id = |name: &str, kind, id: i32| {
            let id = (PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string());
            Field::new(name, kind, false).with_metadata(HashMap::from([id]))
        };
        let layout = Schema::new(vec![
            id("file_path", DataType::Utf8, FILE_PATH),
            id("pos", DataType::Int64, POS),
        ]);
        let columns = RecordBatch::try_new(
            Arc::new(layout),
            vec![
                Arc::new(StringArray::from(paths)),
                Arc::new(Int64Array::from(positions)),
            ],
        )
        .expect("columns of one length");
        let file = self.write(draft, "deletes", DataContentType::PositionDeletes, columns)?;
        let mut writer = self.manifest(draft, ManifestContentType::Deletes)?;
        writer.add_file(file, -1)?;
        draft
            .manifests
            .push(block_on(writer.write_manifest_file())?);
        Ok(())
    }

    fn rewrite(&self, draft: &mut Draft) -> Result<(), CatalogError> {
        let mut reader = Reader::default();
        let rows = reader.listed(self.files(), &draft.manifests)?.rows;
        let mut kept = Vec::new();
        for manifest in std::mem::take(&mut draft.manifests) {
            let mut writer = self.manifest(draft, manifest.content)?;
            let mut any = false;
            let entries = manifests::load(self.files(), &manifest)?;
            for entry in entries.entries().iter().filter(|entry| entry.is_alive()) {
                let sequence = entry.sequence_number().unwrap_or(manifest.sequence_number);
                let in_file = Some(entry.file_sequence_number.unwrap_or(sequence));
                writer.add_delete_file(entry.data_file().clone(), sequence, in_file)?;
                any = true;
            }
            if any {
                kept.push(block_on(writer.write_manifest_file())?);
            }
        }
        draft.manifests = kept;
        if !rows.is_empty() {
            self.add_data(draft, &rows)?;
        }
        Ok(())
    }

    /// A Parquet file of the engine's own name.
    fn write(
        &self,
        draft: &Draft,
        what: &str,
        content: DataContentType,
        columns: RecordBatch,
    ) -> Result<DataFile, CatalogError> {
        let folder = draft.metadata.location();
        let path = format!("{folder}/data/{what}-{}.parquet", self.ids.next());
        let mut bytes = Vec::new();
        let mut writer =
            ArrowWriter::try_new(&mut bytes, columns.schema(), None).map_err(broken)?;
        writer.write(&columns).map_err(broken)?;
        writer.close().map_err(broken)?;
        self.files().write(&path, &bytes)?;
        let file = DataFileBuilder::default()
            .content(content)
            .file_path(path)
            .file_format(DataFileFormat::Parquet)
            .partition(Struct::empty())
            .partition_spec_id(draft.metadata.default_partition_spec_id())
            .record_count(columns.num_rows() as u64)
            .file_size_in_bytes(bytes.len() as u64)
            .build();
        Ok(file.expect("all that a file must say"))
    }

    fn manifest(
        &self,
        draft: &Draft,
        content: ManifestContentType,
    ) -> Result<ManifestWriter, CatalogError> {
        let folder = draft.metadata.location();
        let path = format!("{folder}/metadata/theirs-{}.avro", self.ids.next());
        let builder = ManifestWriterBuilder::new(
            self.files().io().new_output(&path)?,
            Some(draft.snapshot_id),
            draft.metadata.current_schema().clone(),
            draft.metadata.default_partition_spec().as_ref().clone(),
        );
        Ok(match content {
            ManifestContentType::Data => builder.build_v2_data(),
            ManifestContentType::Deletes => builder.build_v2_deletes(),
        })
    }

    fn publish(&self, draft: Draft, operation: Operation) -> Result<i64, CatalogError> {
        let (metadata, id) = (&draft.metadata, draft.snapshot_id);
        let parent = metadata.current_snapshot_id();
        let list = format!("{}/metadata/their-list-{id}.avro", metadata.location());
        let output = block_on(self.files().io().new_output(&list)?.writer())?;
        let mut writer = ManifestListWriter::v2(output, id, parent, draft.sequence);
        writer.add_manifests(draft.manifests.clone().into_iter())?;
        block_on(writer.close())?;
        let mut properties = HashMap::new();
        if self.totals {
            let manifests = draft.manifests.iter();
            let data = manifests.filter(|one| one.content == ManifestContentType::Data);
            let count = |one: &ManifestFile| {
                one.added_files_count.unwrap_or(0) + one.existing_files_count.unwrap_or(0)
            };
            let files: u32 = data.map(count).sum();
            properties.insert("total-data-files".to_owned(), files.to_string());
        }
        let snapshot = Snapshot::builder()
            .with_snapshot_id(id)
            .with_parent_snapshot_id(parent)
            .with_sequence_number(draft.sequence)
            .with_timestamp_ms(metadata.last_updated_ms() + 1)
            .with_manifest_list(list)
            .with_summary(Summary {
                operation,
                additional_properties: properties,
            })
            .with_schema_id(metadata.current_schema_id())
            .build();
        let unmoved = TableRequirement::RefSnapshotIdMatch {
            r#ref: "main".to_owned(),
            snapshot_id: parent,
        };
        let updates = vec![TableUpdate::AddSnapshot { snapshot }, set_head(id)];
        TableCatalog::commit(self.catalog, &ident(TABLE), vec![unmoved], updates)?;
        Ok(id)
    }
}

/// The rows in the table's own layout.
fn table_rows(layout: Schema, rows: &[Row]) -> RecordBatch {
    let columns = layout
        .fields()
        .iter()
        .map(|field| match field.name().as_str() {
            "part" => Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.0))) as _,
            "off" => Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1))) as _,
            _ => new_null_array(field.data_type(), rows.len()),
        })
        .collect();
    RecordBatch::try_new(SchemaRef::new(layout), columns).expect("columns of one length")
}

/// What a snapshot holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contents {
    /// Sorted.
    pub(crate) rows: Vec<Row>,
    /// Live data files.
    pub(crate) data_files: usize,
    /// Every file that must be there: manifests, live data and delete files.
    pub(crate) needs: Vec<String>,
    /// Names of all files that its manifests list, alive or not.
    pub(crate) listed: BTreeSet<String>,
}

/// Reads snapshots by the specification: live data files without the rows that position deletes of the same or a later
/// sequence number name. What was read once is remembered: files do not change.
#[derive(Default)]
pub(crate) struct Reader {
    data: HashMap<String, Vec<Row>>,
    deletes: HashMap<String, Vec<(String, i64)>>,
    snapshots: BTreeMap<i64, Contents>,
}

impl Reader {
    pub(crate) fn snapshot(
        &mut self,
        files: &Files,
        metadata: &TableMetadata,
        snapshot: &Snapshot,
    ) -> Result<&Contents, CatalogError> {
        let id = snapshot.snapshot_id();
        if !self.snapshots.contains_key(&id) {
            let list = manifests::load_list(files, metadata, snapshot)?;
            let mut contents = self.listed(files, &list)?;
            contents.needs.push(snapshot.manifest_list().to_owned());
            self.snapshots.insert(id, contents);
        }
        Ok(&self.snapshots[&id])
    }

    fn listed(&mut self, files: &Files, list: &[ManifestFile]) -> Result<Contents, CatalogError> {
        let mut contents = Contents::default();
        let (mut data, mut gone) = (Vec::new(), Vec::new());
        for manifest in list {
            contents.needs.push(manifest.manifest_path.clone());
            for entry in manifests::load(files, manifest)?.entries() {
                let path = entry.file_path().to_owned();
                contents.listed.insert(path.clone());
                if !entry.is_alive() {
                    continue;
                }
                contents.needs.push(path.clone());
                let sequence = entry.sequence_number().unwrap_or(manifest.sequence_number);
                match manifest.content {
                    ManifestContentType::Data => data.push((path, sequence)),
                    ManifestContentType::Deletes => {
                        let deletes = self.deletes(files, &path)?.iter();
                        gone.extend(deletes.map(|(path, at)| (path.clone(), *at, sequence)));
                    }
                }
            }
        }
        contents.data_files = data.len();
        for (path, sequence) in data {
            let rows = self.data(files, &path)?.iter().enumerate();
            let stays = |position: usize| {
                !gone.iter().any(|(other, at, deleted)| {
                    *other == path && usize::try_from(*at) == Ok(position) && *deleted >= sequence
                })
            };
            let kept = rows.filter(|(position, _)| stays(*position));
            contents.rows.extend(kept.map(|(_, row)| *row));
        }
        contents.rows.sort_unstable();
        Ok(contents)
    }

    fn data(&mut self, files: &Files, path: &str) -> Result<&[Row], CatalogError> {
        if !self.data.contains_key(path) {
            let mut rows = Vec::new();
            for batch in batches(files, path)? {
                let column = |name| batch.column_by_name(name).expect("all tables here have it");
                let parts = column("part").as_primitive::<Int32Type>().values().iter();
                let offs = column("off").as_primitive::<Int64Type>().values().iter();
                rows.extend(parts.copied().zip(offs.copied()));
            }
            self.data.insert(path.to_owned(), rows);
        }
        Ok(&self.data[path])
    }

    fn deletes(&mut self, files: &Files, path: &str) -> Result<&[(String, i64)], CatalogError> {
        if !self.deletes.contains_key(path) {
            let mut deletes = Vec::new();
            for batch in batches(files, path)? {
                let paths = batch.column(0).as_string::<i32>().iter().flatten();
                let positions = batch.column(1).as_primitive::<Int64Type>().values().iter();
                deletes.extend(paths.map(str::to_owned).zip(positions.copied()));
            }
            self.deletes.insert(path.to_owned(), deletes);
        }
        Ok(&self.deletes[path])
    }
}

fn batches(files: &Files, path: &str) -> Result<Vec<RecordBatch>, CatalogError> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(files.read(path)?).map_err(broken)?;
    let batches = reader.build().map_err(broken)?;
    batches
        .collect::<Result<_, _>>()
        .map_err(|error| CatalogError::new(Kind::Internal, error.to_string()))
}

fn broken(error: parquet::errors::ParquetError) -> CatalogError {
    CatalogError::new(Kind::Internal, error.to_string())
}
