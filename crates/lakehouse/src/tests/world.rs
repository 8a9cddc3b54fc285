//! What the tests share: a server's storage and catalog in a folder, a pipeline over a made-up log, and a network between
//! committer and catalog that can lose replies.

use crate::catalog::{LoadedTable, NewTable, TableCatalog};
use crate::commit::manifests;
use crate::error::Kind;
use crate::upkeep::refs::Refs;
use crate::{
    Catalog, CatalogError, Files, IcebergCommitter, IcebergTableSink, Ids, TableView, parse_table,
};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Int64Array, RecordBatch, StringArray};
use futures::executor::block_on;
use iceberg::{NamespaceIdent, TableIdent, TableRequirement, TableUpdate};
use lw_graph::{Field, IcebergSink, Schema, TypeKind};
use lw_runtime::Origin;
use lw_runtime::chunk::{Chunk, Split};
use lw_runtime::connector::{
    CommitOutcome, Committer, ConnectorError, ErrorKind, Owner, Sink, Staged,
};
use lw_runtime::manifest::{Manifest, Pending, SplitOffset, SplitRange, TableChain};
use lw_runtime::pipelines::takeover::{Table, Tables};
use lw_stdx::clock::{Clock, SystemClock};
use lw_stdx::disk::{Disk, RealDisk};
use lw_storage::{Config, Storage};
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

pub(crate) const TABLE: &str = "lake.events";

/// A clock that only the test moves; its wall clock may also jump back.
pub(crate) struct HandClock {
    now_ms: AtomicI64,
    elapsed_ms: AtomicU64,
}

impl HandClock {
    /// Iceberg's library stamps tables with the machine's clock, and a table's times must not go back: so this one begins
    /// there. Ages are what the test makes them.
    pub(crate) fn new() -> Arc<HandClock> {
        HandClock::at(SystemClock::new().now_ms())
    }

    pub(crate) fn at(now_ms: i64) -> Arc<HandClock> {
        Arc::new(HandClock {
            now_ms: AtomicI64::new(now_ms),
            elapsed_ms: AtomicU64::new(0),
        })
    }

    pub(crate) fn go(&self, ms: i64) {
        self.now_ms.fetch_add(ms, Ordering::Relaxed);
        let passed = u64::try_from(ms).unwrap_or(0);
        self.elapsed_ms.fetch_add(passed, Ordering::Relaxed);
    }
}

impl Clock for HandClock {
    fn now_ms(&self) -> i64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.elapsed_ms.load(Ordering::Relaxed))
    }
}

/// A running server, as far as tables go.
pub(crate) struct World {
    pub(crate) catalog: Catalog,
    pub(crate) storage: Storage,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Ids,
    _folder: Option<tempfile::TempDir>,
}

impl World {
    pub(crate) fn new() -> World {
        World::at(HandClock::new())
    }

    pub(crate) fn at(clock: Arc<HandClock>) -> World {
        let folder = tempfile::tempdir().expect("a folder");
        let mut world = World::open(Arc::new(RealDisk), folder.path(), clock, Ids::random());
        world._folder = Some(folder);
        world
    }

    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        folder: &Path,
        clock: Arc<dyn Clock>,
        ids: Ids,
    ) -> World {
        let storage =
            Storage::open(disk.clone(), clock.clone(), config(folder)).expect("storage opens");
        World::over(storage, disk, folder, clock, ids)
    }

    /// With its warehouse in a store, and a log on a disk.
    pub(crate) fn in_store(files: Files) -> World {
        let folder = tempfile::tempdir().expect("a folder");
        let (clock, ids) = (HandClock::new(), Ids::random());
        let storage = Storage::open(Arc::new(RealDisk), clock.clone(), config(folder.path()));
        let storage = storage.expect("storage opens");
        let catalog = Catalog::open(storage.clone(), files, "s3://b/w", ids.clone());
        World {
            catalog: catalog.expect("the catalog opens"),
            storage,
            clock,
            ids,
            _folder: Some(folder),
        }
    }

    /// Without threads, so that a seed decides everything.
    pub(crate) fn open_stepped(
        disk: Arc<dyn Disk>,
        folder: &Path,
        clock: Arc<dyn Clock>,
        ids: Ids,
    ) -> World {
        let storage = Storage::open_stepped(disk.clone(), clock.clone(), config(folder))
            .expect("storage opens");
        World::over(storage, disk, folder, clock, ids)
    }

    fn over(
        storage: Storage,
        disk: Arc<dyn Disk>,
        folder: &Path,
        clock: Arc<dyn Clock>,
        ids: Ids,
    ) -> World {
        let warehouse = folder.join("warehouse");
        let catalog = Catalog::open(
            storage.clone(),
            Files::new(disk),
            &warehouse.to_string_lossy(),
            ids.clone(),
        );
        World {
            catalog: catalog.expect("the catalog opens"),
            storage,
            clock,
            ids,
            _folder: None,
        }
    }

    pub(crate) fn network(&self) -> Arc<Network> {
        Arc::new(Network {
            catalog: self.catalog.clone(),
            ids: self.ids.clone(),
            faults: Mutex::default(),
            tagged: Mutex::default(),
            careless: AtomicBool::new(false),
        })
    }

    pub(crate) fn view(&self) -> TableView {
        TableView::open(&self.catalog, &ident(TABLE)).expect("the table can be read")
    }

    /// `(partition, offset)` of every row in the table, sorted.
    pub(crate) fn rows(&self) -> Vec<(i32, i64)> {
        self.try_rows().expect("committed files are there")
    }

    pub(crate) fn try_rows(&self) -> Result<Vec<(i32, i64)>, CatalogError> {
        let view = TableView::open(&self.catalog, &ident(TABLE))?;
        let mut rows = Vec::new();
        for file in &view.data_files {
            for batch in view.read_rows(file)? {
                let column = |name| batch.column_by_name(name).expect("all tables here have it");
                let partitions = column("part").as_primitive::<Int32Type>();
                let offsets = column("off").as_primitive::<Int64Type>();
                rows.extend(
                    partitions
                        .values()
                        .iter()
                        .copied()
                        .zip(offsets.values().iter().copied()),
                );
            }
        }
        rows.sort_unstable();
        Ok(rows)
    }

    /// The head's parent, if there is a head.
    pub(crate) fn head(&self) -> Result<Option<Option<i64>>, CatalogError> {
        let table = self.catalog.load(&ident(TABLE))?;
        Ok(table
            .metadata
            .current_snapshot()
            .map(|head| head.parent_snapshot_id()))
    }

    pub(crate) fn foreign_commit(&self) {
        self.try_foreign_commit().expect("a user may do that");
    }

    /// What another engine's append does to the metadata: a new snapshot without a marker.
    pub(crate) fn try_foreign_commit(&self) -> Result<(), CatalogError> {
        foreign_commit(&self.catalog, &self.ids).map(|_| ())
    }

    /// A table that another engine has written for long: so many snapshots of its own, a minute apart, all of them past.
    pub(crate) fn foreign_history(&self, count: i64) {
        let table = self.catalog.load(&ident(TABLE)).expect("there is a table");
        let metadata = &table.metadata;
        let list = format!("{}/metadata/snap-foreign.avro", metadata.location());
        let output = block_on(
            self.catalog
                .files()
                .io()
                .new_output(&list)
                .expect("a place")
                .writer(),
        );
        let writer = iceberg::spec::ManifestListWriter::v2(output.expect("a file"), 1, None, 1);
        block_on(writer.close()).expect("an empty list");
        let begin = self.clock.now_ms() - count * 60_000;
        let mut updates = Vec::new();
        let mut parent = None;
        for index in 0..count {
            let snapshot = iceberg::spec::Snapshot::builder()
                .with_snapshot_id(1_000 + index)
                .with_parent_snapshot_id(parent)
                .with_sequence_number(metadata.next_sequence_number() + index)
                .with_timestamp_ms(begin + index * 60_000)
                .with_manifest_list(list.clone())
                .with_summary(foreign_summary())
                .with_schema_id(metadata.current_schema_id())
                .build();
            parent = Some(snapshot.snapshot_id());
            updates.push(TableUpdate::AddSnapshot { snapshot });
        }
        updates.push(set_head(parent.expect("at least one")));
        // The table was made a moment ago; its history is older than that.
        let base = (*table.metadata).clone();
        let mut document = serde_json::to_value(&base).expect("plain data");
        document["last-updated-ms"] = (begin - 1).into();
        document["metadata-log"] = serde_json::json!([]);
        let older: iceberg::spec::TableMetadata =
            serde_json::from_value(document).expect("still a table");
        let mut builder = older.into_builder(None);
        for update in updates {
            builder = update.apply(builder).expect("a history");
        }
        let metadata = builder.build().expect("a table").metadata;
        let location = format!(
            "{}/metadata/00009-{}.metadata.json",
            base.location(),
            self.ids.next()
        );
        let bytes = serde_json::to_vec(&metadata).expect("plain data");
        self.catalog
            .files()
            .write(&location, &bytes)
            .expect("a file");
        let purge = crate::catalog::embedded::Purge::Nothing;
        self.catalog
            .drop_table(&ident(TABLE), purge)
            .expect("a table");
        self.catalog
            .register_table(
                &ident(TABLE),
                &location,
                crate::catalog::embedded::Register::New,
            )
            .expect("the table is registered");
    }

    pub(crate) fn metadata(&self) -> Arc<iceberg::spec::TableMetadata> {
        let table = self.catalog.load(&ident(TABLE));
        table.expect("there is a table").metadata
    }

    pub(crate) fn set_property(&self, key: &str, value: &str) {
        self.commit(vec![TableUpdate::SetProperties {
            updates: [(key.to_owned(), value.to_owned())].into(),
        }]);
    }

    /// Tags the snapshot.
    pub(crate) fn tag(&self, name: &str, snapshot_id: i64) {
        self.try_tag(name, snapshot_id).expect("a user may do that");
    }

    pub(crate) fn try_tag(&self, name: &str, snapshot_id: i64) -> Result<(), CatalogError> {
        tag(&self.catalog, name, snapshot_id)
    }

    /// What another engine's write to a branch does: `main` stays, the sequence number moves.
    pub(crate) fn try_branch_commit(&self, branch: &str) -> Result<(), CatalogError> {
        branch_commit(&self.catalog, &self.ids, branch)
    }

    /// Every snapshot that the table keeps can be read whole.
    pub(crate) fn all_readable(&self) -> Result<(), CatalogError> {
        let metadata = self.catalog.load(&ident(TABLE))?.metadata;
        let files = self.catalog.files();
        for snapshot in metadata.snapshots() {
            for list in manifests::load_list(files, &metadata, snapshot)? {
                for entry in manifests::load(files, &list)?.entries() {
                    if entry.is_alive() && !files.exists(entry.file_path())? {
                        let path = entry.file_path();
                        return Err(CatalogError::new(Kind::Internal, format!("{path} is gone")));
                    }
                }
            }
        }
        Ok(())
    }

    /// Files in the metadata folder that end so and that no kept snapshot names.
    pub(crate) fn unnamed(&self) -> Vec<String> {
        let metadata = self.metadata();
        let files = self.catalog.files();
        let mut named = Vec::new();
        for snapshot in metadata.snapshots() {
            named.push(snapshot.manifest_list().to_owned());
            let lists = manifests::load_list(files, &metadata, snapshot).expect("a list");
            named.extend(lists.into_iter().map(|list| list.manifest_path));
        }
        let folder = format!("{}/metadata", metadata.location());
        let entries = files.list(&folder).expect("a folder").into_iter();
        entries
            .map(|entry| entry.name)
            .filter(|name| name.ends_with(".avro"))
            .filter(|name| !named.contains(&format!("{folder}/{name}")))
            .collect()
    }

    pub(crate) fn roll_back(&self) {
        self.try_roll_back().expect("a user may do that");
    }

    /// What a user's rollback does: `main` moves to an older snapshot.
    pub(crate) fn try_roll_back(&self) -> Result<(), CatalogError> {
        let parent = self.head()?.flatten().expect("there is an older snapshot");
        self.change(vec![set_head(parent)])
    }

    pub(crate) fn commit(&self, updates: Vec<TableUpdate>) {
        self.change(updates).expect("a user may do that");
    }

    /// What a foreign maintenance job does: snapshots go, the marker among them or not.
    pub(crate) fn expire(&self, snapshots: Vec<i64>) {
        self.commit(vec![TableUpdate::RemoveSnapshots {
            snapshot_ids: snapshots,
        }]);
    }

    /// Names of the files in the table's data folder.
    pub(crate) fn data_folder(&self) -> Vec<String> {
        let table = self
            .catalog
            .load(&ident(TABLE))
            .expect("the table is there");
        let folder = format!("{}/data", table.metadata.location());
        let entries = self.catalog.files().list(&folder).expect("a folder");
        entries.into_iter().map(|entry| entry.name).collect()
    }

    fn change(&self, updates: Vec<TableUpdate>) -> Result<(), CatalogError> {
        TableCatalog::commit(&self.catalog, &ident(TABLE), Vec::new(), updates)?;
        Ok(())
    }
}

fn config(folder: &Path) -> Config {
    Config {
        dir: folder.join("data"),
        wal_file_bytes: 1 << 20,
        ..Config::default()
    }
}

fn foreign_summary() -> iceberg::spec::Summary {
    iceberg::spec::Summary {
        operation: iceberg::spec::Operation::Append,
        additional_properties: std::collections::HashMap::new(),
    }
}

/// A snapshot on top of the head that changes nothing; returns its id.
pub(crate) fn foreign_commit(catalog: &Catalog, ids: &Ids) -> Result<i64, CatalogError> {
    let metadata = catalog.load(&ident(TABLE))?.metadata;
    let head = metadata.current_snapshot().expect("there is a snapshot");
    let snapshot = iceberg::spec::Snapshot::builder()
        .with_snapshot_id(ids.next_snapshot())
        .with_parent_snapshot_id(Some(head.snapshot_id()))
        .with_sequence_number(metadata.next_sequence_number())
        .with_timestamp_ms(metadata.last_updated_ms() + 1)
        .with_manifest_list(head.manifest_list().to_owned())
        .with_summary(foreign_summary())
        .with_schema_id(metadata.current_schema_id())
        .build();
    let id = snapshot.snapshot_id();
    let updates = vec![TableUpdate::AddSnapshot { snapshot }, set_head(id)];
    TableCatalog::commit(catalog, &ident(TABLE), Vec::new(), updates)?;
    Ok(id)
}

fn tag(catalog: &Catalog, name: &str, snapshot_id: i64) -> Result<(), CatalogError> {
    let retention = iceberg::spec::SnapshotRetention::Tag {
        max_ref_age_ms: None,
    };
    let update = TableUpdate::SetSnapshotRef {
        ref_name: name.to_owned(),
        reference: iceberg::spec::SnapshotReference::new(snapshot_id, retention),
    };
    TableCatalog::commit(catalog, &ident(TABLE), Vec::new(), vec![update])?;
    Ok(())
}

pub(crate) fn branch_commit(
    catalog: &Catalog,
    ids: &Ids,
    branch: &str,
) -> Result<(), CatalogError> {
    let metadata = catalog.load(&ident(TABLE))?.metadata;
    let base = metadata
        .snapshot_for_ref(branch)
        .or(metadata.current_snapshot())
        .expect("there is a snapshot");
    let snapshot = iceberg::spec::Snapshot::builder()
        .with_snapshot_id(ids.next_snapshot())
        .with_parent_snapshot_id(Some(base.snapshot_id()))
        .with_sequence_number(metadata.next_sequence_number())
        .with_timestamp_ms(metadata.last_updated_ms() + 1)
        .with_manifest_list(base.manifest_list().to_owned())
        .with_summary(foreign_summary())
        .with_schema_id(metadata.current_schema_id())
        .build();
    let reference = iceberg::spec::SnapshotReference::new(
        snapshot.snapshot_id(),
        iceberg::spec::SnapshotRetention::branch(None, None, None),
    );
    let updates = vec![
        TableUpdate::AddSnapshot { snapshot },
        TableUpdate::SetSnapshotRef {
            ref_name: branch.to_owned(),
            reference,
        },
    ];
    TableCatalog::commit(catalog, &ident(TABLE), Vec::new(), updates)?;
    Ok(())
}

fn add_column(catalog: &Catalog, name: &str) -> Result<(), CatalogError> {
    let metadata = catalog.load(&ident(TABLE))?.metadata;
    let mut fields = metadata.current_schema().as_struct().fields().to_vec();
    let ty = iceberg::spec::Type::Primitive(iceberg::spec::PrimitiveType::String);
    let field = iceberg::spec::NestedField::optional(metadata.last_column_id() + 1, name, ty);
    fields.push(Arc::new(field));
    let schema = iceberg::spec::Schema::builder();
    let schema = schema.with_schema_id(1).with_fields(fields).build()?;
    let updates = vec![
        TableUpdate::AddSchema { schema },
        TableUpdate::SetCurrentSchema { schema_id: -1 },
    ];
    TableCatalog::commit(catalog, &ident(TABLE), Vec::new(), updates)?;
    Ok(())
}

pub(crate) fn set_head(id: i64) -> TableUpdate {
    TableUpdate::SetSnapshotRef {
        ref_name: "main".to_owned(),
        reference: iceberg::spec::SnapshotReference::new(
            id,
            iceberg::spec::SnapshotRetention::branch(None, None, None),
        ),
    }
}

pub(crate) fn ident(table: &str) -> TableIdent {
    parse_table(table).expect("a name")
}

/// What happens to a commit request on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is done and the answer is lost.
    ReplyLost,
    /// It never arrives, and the sender cannot know that.
    RequestLost,
    /// It is done; a proxy sends it again and hands on the answer to the second, which is a conflict.
    Resent,
    /// Someone commits to another branch just before.
    Overtaken,
    /// Someone commits to `main` just before.
    Raced,
    /// Just before, someone tags what the commit would expire.
    Tagged,
    /// Just before, someone adds a column.
    Widened(&'static str),
}

/// The way between a committer and the catalog.
pub(crate) struct Network {
    catalog: Catalog,
    ids: Ids,
    /// For the next commits, in order.
    pub(crate) faults: Mutex<VecDeque<Option<Fault>>>,
    /// What [`Fault::Tagged`] tagged.
    pub(crate) tagged: Mutex<Vec<i64>>,
    /// The catalog is one that removes a snapshot with the tags that name it, as some do, instead of refusing.
    pub(crate) careless: AtomicBool,
}

impl Network {
    fn without_tags(
        &self,
        table: &TableIdent,
        updates: Vec<TableUpdate>,
    ) -> Result<Vec<TableUpdate>, CatalogError> {
        let metadata = self.catalog.load(table)?.metadata;
        let refs = Refs::of(&metadata);
        let mut all = Vec::new();
        for update in updates {
            if let TableUpdate::RemoveSnapshots { snapshot_ids } = &update {
                let named = refs
                    .others()
                    .filter(|(_, reference)| snapshot_ids.contains(&reference.snapshot_id));
                all.extend(named.map(|(name, _)| TableUpdate::RemoveSnapshotRef {
                    ref_name: name.to_owned(),
                }));
            }
            all.push(update);
        }
        Ok(all)
    }

    fn tag_what_goes(&self, updates: &[TableUpdate]) -> Result<(), CatalogError> {
        let goes = updates.iter().find_map(|update| match update {
            TableUpdate::RemoveSnapshots { snapshot_ids } => snapshot_ids.first().copied(),
            _ => None,
        });
        if let Some(id) = goes {
            tag(&self.catalog, &format!("late-{id}"), id)?;
            self.tagged.lock().expect("no test panics here").push(id);
        }
        Ok(())
    }
}

impl TableCatalog for Network {
    fn load(&self, table: &TableIdent) -> Result<LoadedTable, CatalogError> {
        self.catalog.load(table)
    }

    fn ensure_namespace(&self, namespace: &NamespaceIdent) -> Result<(), CatalogError> {
        self.catalog.ensure_namespace(namespace)
    }

    fn create(&self, table: &TableIdent, new: NewTable) -> Result<LoadedTable, CatalogError> {
        self.catalog.create(table, new)
    }

    fn commit(
        &self,
        table: &TableIdent,
        requirements: Vec<TableRequirement>,
        updates: Vec<TableUpdate>,
    ) -> Result<LoadedTable, CatalogError> {
        let fault = self
            .faults
            .lock()
            .expect("no test panics here")
            .pop_front()
            .flatten();
        let updates = match self.careless.load(Ordering::Relaxed) {
            true => self.without_tags(table, updates)?,
            false => updates,
        };
        let lost = || {
            Err(CatalogError::new(
                Kind::Unknown,
                "no answer from the catalog",
            ))
        };
        match fault {
            Some(Fault::RequestLost) => lost(),
            Some(Fault::Resent) => {
                TableCatalog::commit(&self.catalog, table, requirements, updates)?;
                Err(CatalogError::new(
                    Kind::CommitFailed,
                    "the branch has moved",
                ))
            }
            Some(Fault::Overtaken) => {
                branch_commit(&self.catalog, &self.ids, "audit")?;
                TableCatalog::commit(&self.catalog, table, requirements, updates)
            }
            Some(Fault::Raced) => {
                foreign_commit(&self.catalog, &self.ids)?;
                TableCatalog::commit(&self.catalog, table, requirements, updates)
            }
            Some(Fault::Widened(name)) => {
                add_column(&self.catalog, name)?;
                TableCatalog::commit(&self.catalog, table, requirements, updates)
            }
            Some(Fault::Tagged) => {
                self.tag_what_goes(&updates)?;
                TableCatalog::commit(&self.catalog, table, requirements, updates)
            }
            Some(Fault::ReplyLost) => {
                TableCatalog::commit(&self.catalog, table, requirements, updates)?;
                lost()
            }
            None => TableCatalog::commit(&self.catalog, table, requirements, updates),
        }
    }

    fn all_tables(&self) -> Result<Vec<TableIdent>, CatalogError> {
        self.catalog.all_tables()
    }

    fn files(&self) -> &Files {
        self.catalog.files()
    }
}

/// What a job's tables say, as the runtime asks for it before a word is carried out.
pub(crate) fn asked(
    committer: &mut IcebergCommitter,
    manifest: &Manifest,
) -> Result<Tables, ConnectorError> {
    let standing = committer.standing(TABLE)?.expect("a table can be asked");
    let sink = manifest.sinks.get(TABLE);
    let pending = sink.map_or(&[][..], |sink| &sink.chain.chain);
    let can_commit = committer.can_commit(TABLE, pending)?;
    Ok(Tables {
        main: Table {
            name: TABLE.to_owned(),
            standing,
            can_commit,
        },
        sides: Vec::new(),
    })
}

/// A pipeline over a log of two partitions whose rows are their own positions.
pub(crate) struct Pipeline {
    pub(crate) sink: IcebergTableSink,
    pub(crate) committer: IcebergCommitter,
    /// What the manifest says of the table.
    pub(crate) chain: TableChain,
    /// Next offset per partition: read, and sealed.
    pub(crate) read: [i64; 2],
    pub(crate) sealed: [i64; 2],
    /// For cases that go back to it.
    pub(crate) first_commit: Option<uuid::Uuid>,
    /// What its commits name.
    pub(crate) plan: Option<&'static str>,
    ids: Ids,
}

pub(crate) fn owner() -> Owner {
    Owner {
        pipeline: uuid::Uuid::from_u128(7),
        name: "test".to_owned(),
    }
}

pub(crate) fn spec(columns: Vec<Field>) -> IcebergSink {
    IcebergSink {
        catalog: "embedded".to_owned(),
        uri: None,
        late: lw_graph::LateRows::Drop,
        schema_change: lw_graph::SchemaChange::Pause,
        namespace: "lake".to_owned(),
        table: "events".to_owned(),
        warehouse: None,
        format_version: 2,
        schema: Schema::new(columns),
        primary_key: Vec::new(),
        partitioned_by: Vec::new(),
        branch: None,
        properties: BTreeMap::new(),
    }
}

pub(crate) fn columns() -> Vec<Field> {
    vec![
        Field::new("part", TypeKind::Int.not_null()),
        Field::new("off", TypeKind::BigInt.not_null()),
        Field::new("text", TypeKind::string().nullable()),
    ]
}

pub(crate) fn splits() -> Arc<[Split]> {
    [0, 1]
        .map(|partition| Split {
            topic: Arc::from("in"),
            partition,
        })
        .into()
}

/// Both partitions of the log, next to be read there.
pub(crate) fn offsets(next: [i64; 2]) -> Vec<SplitOffset> {
    let at = |partition: usize| SplitOffset {
        topic: "in".to_owned(),
        partition: i32::try_from(partition).expect("small"),
        next: next[partition],
    };
    vec![at(0), at(1)]
}

/// A manifest that began at the beginning and stands here.
pub(crate) fn manifest(at: [i64; 2], chain: TableChain) -> Manifest {
    let mut manifest = Manifest::new(owner().pipeline);
    manifest.stand_at(TABLE, &offsets([0, 0]));
    manifest.stand_at(TABLE, &offsets(at));
    let sink = manifest.sinks.get_mut(TABLE);
    sink.expect("it stands there").chain = chain;
    manifest
}

/// Where a manifest stands, by partition.
pub(crate) fn position(manifest: &Manifest) -> [i64; 2] {
    let position = manifest.position();
    [0, 1].map(|part| {
        let mut at = position.iter();
        let at = at.find(|at| at.partition == part);
        at.expect("both are read").next
    })
}

/// The rows of the log at these positions, as the processing hands them over.
pub(crate) fn batch(positions: &[(i32, i64)]) -> Chunk {
    let part = arrow_array::Int32Array::from_iter_values(positions.iter().map(|(part, _)| *part));
    let off = Int64Array::from_iter_values(positions.iter().map(|(_, off)| *off));
    let text = StringArray::from_iter_values(
        positions
            .iter()
            .map(|(part, off)| format!("row {off} of {part}")),
    );
    let columns = RecordBatch::try_from_iter_with_nullable([
        ("part", Arc::new(part) as _, false),
        ("off", Arc::new(off) as _, false),
        ("text", Arc::new(text) as _, true),
    ])
    .expect("columns of one length");
    let origins = positions
        .iter()
        .map(|(part, off)| Origin {
            split: u32::try_from(*part).expect("small"),
            offset: *off,
        })
        .collect();
    Chunk::new(columns, origins, splits())
}

impl Pipeline {
    pub(crate) fn new(
        world: &World,
        catalog: Arc<dyn TableCatalog>,
        chain: TableChain,
        at: [i64; 2],
    ) -> Pipeline {
        let sink = IcebergTableSink::open(
            &spec(columns()),
            catalog.clone(),
            &owner(),
            None,
            world.clock.clone(),
            world.ids.clone(),
        );
        Pipeline {
            chain,
            read: at,
            sealed: at,
            ..Pipeline::over(world, sink.expect("the sink opens"), catalog)
        }
    }

    /// At the beginning, with a sink of its own.
    pub(crate) fn over(
        world: &World,
        sink: IcebergTableSink,
        catalog: Arc<dyn TableCatalog>,
    ) -> Pipeline {
        Pipeline {
            sink,
            committer: IcebergCommitter::new(
                catalog,
                owner(),
                world.clock.clone(),
                world.ids.clone(),
            ),
            chain: TableChain::default(),
            read: [0, 0],
            sealed: [0, 0],
            first_commit: None,
            plan: None,
            ids: world.ids.clone(),
        }
    }

    /// A process that takes over what another one left.
    pub(crate) fn take_over(world: &World, manifest: &mut Manifest) -> Pipeline {
        manifest.generation += 1;
        let at = position(manifest);
        let chain = manifest.sinks[TABLE].chain.clone();
        let mut pipeline = Pipeline::new(world, world.network(), chain, at);
        pipeline.sink.begin(manifest).expect("the disk is well");
        pipeline
    }

    /// What the checkpoint says.
    pub(crate) fn manifest(&self) -> Manifest {
        manifest(self.sealed, self.chain.clone())
    }

    pub(crate) fn read(&mut self, rows: [i64; 2]) {
        let mut positions = Vec::new();
        for step in 0..rows[0].max(rows[1]) {
            for (part, count) in rows.into_iter().enumerate() {
                if step < count {
                    positions.push((i32::try_from(part).expect("small"), self.read[part] + step));
                }
            }
        }
        self.sink.write(batch(&positions)).expect("rows are taken");
        self.read[0] += rows[0];
        self.read[1] += rows[1];
    }

    /// Seals what was read into a new pending commit.
    pub(crate) fn checkpoint(&mut self) {
        let staged = self.sink.seal().expect("files can be written");
        self.push(staged);
    }

    pub(crate) fn push(&mut self, staged: Vec<Staged>) {
        let ranges = (0..2)
            .map(|part| SplitRange {
                topic: "in".to_owned(),
                partition: i32::try_from(part).expect("small"),
                start: self.sealed[part],
                end: self.read[part],
                rows: (self.read[part] - self.sealed[part]).unsigned_abs(),
                filtered: 0,
                dead_letters: 0,
                control: 0,
                late: 0,
            })
            .collect();
        let files: Vec<_> = staged.into_iter().flat_map(|staged| staged.files).collect();
        self.chain.chain.push(Pending {
            sequence: self.chain.next_sequence(),
            uuid: self.ids.next(),
            previous: self.chain.head(),
            files,
            ranges,
            plan: self.plan.map(str::to_owned),
            ..Pending::default()
        });
        self.sealed = self.read;
    }

    pub(crate) fn commit(&mut self) -> CommitOutcome {
        // As the runtime does it: what may be tried again is tried again.
        let outcome = (0..3)
            .find_map(|_| match self.committer.commit(TABLE, &self.chain) {
                Err(error) if error.kind == ErrorKind::Retry => None,
                other => Some(other),
            })
            .expect("the catalog answers at last")
            .expect("the catalog answers");
        if let CommitOutcome::Confirmed { confirmed, .. } = outcome {
            self.chain.confirm(confirmed);
        }
        outcome
    }

    /// Reads, seals and commits.
    pub(crate) fn epoch(&mut self, rows: [i64; 2]) {
        self.read(rows);
        self.checkpoint();
        assert!(
            matches!(self.commit(), CommitOutcome::Confirmed { .. }),
            "an undisturbed commit"
        );
    }

    /// Every row up to where the pipeline is.
    pub(crate) fn expected(&self) -> Vec<(i32, i64)> {
        (0..2)
            .flat_map(|part: usize| (0..self.read[part]).map(move |off| (part as i32, off)))
            .collect()
    }
}
