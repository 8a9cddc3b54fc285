//! A table is looked at without its data files: they are overwritten or gone, and nobody notices.

use super::foreign::{Change, Engine, THEIRS};
use super::world::{HandClock, Pipeline, TABLE, World, ident};
use crate::catalog::NewTable;
use crate::storage::local_path;
use crate::view::{Batches, Footers, Listed, list};
use crate::{Catalog, Ids, TableCatalog, TableView};
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use iceberg::{TableIdent, TableUpdate};
use lw_runtime::connector::{Committer, Restate};
use lw_runtime::manifest::TableChain;
use lw_sim::{SimClock, SimDisk};
use lw_stdx::disk::{Disk, Entry, File, RealDisk};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

fn written() -> World {
    let world = World::new();
    write(&world);
    world
}

/// Two files, of 302 and 3 rows.
fn write(world: &World) {
    let mut pipeline = Pipeline::new(world, world.network(), TableChain::default(), [0, 0]);
    pipeline.epoch([300, 2]);
    pipeline.epoch([3, 0]);
}

#[test]
fn only_the_footer_of_a_data_file_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Watched::over(RealDisk);
    let world = World::open(disk.clone(), folder.path(), HandClock::new(), Ids::random());
    write(&world);
    disk.forget();
    let view = world.view();
    let rows: u64 = view.data_files.iter().map(|file| file.rows).sum();
    assert_eq!(rows, 305);
    for file in &view.data_files {
        assert!(file.runs.is_some());
        let path = local_path(&file.path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        // A Parquet file ends with its metadata, the metadata's length in four bytes, and PAR1.
        let (before, length) = bytes[..bytes.len() - 4].split_last_chunk::<4>().unwrap();
        let begins = before.len() - u32::from_le_bytes(*length) as usize;
        assert_eq!(
            disk.lowest_read(&path),
            Some(begins as u64),
            "{}",
            file.path
        );
    }
}

#[test]
fn footers_that_were_read_are_not_read_again() {
    let world = written();
    let footers = Footers::default();
    let open = || TableView::open_with(&world.catalog, &ident(TABLE), &footers);
    let before = open().unwrap();
    for file in &before.data_files {
        std::fs::remove_file(local_path(&file.path).unwrap()).unwrap();
    }
    let after = open().unwrap();
    assert_eq!(before.data_files.len(), after.data_files.len());
    assert!(after.data_files.iter().all(|file| file.runs.is_some()));
}

#[test]
fn a_list_of_tables_needs_no_data_file() {
    let world = written();
    for file in &world.view().data_files {
        std::fs::remove_file(local_path(&file.path).unwrap()).unwrap();
    }
    let tables = list(&world.catalog).unwrap();
    let sizes: Vec<_> = tables
        .iter()
        .map(|table| (table.table.as_str(), table.rows, table.files))
        .collect();
    assert_eq!(sizes, [(TABLE, Some(305), Some(2))]);
}

#[test]
fn batches_are_those_of_the_file_and_of_the_columns_that_were_named() {
    let world = written();
    let view = world.view();
    let file = view
        .data_files
        .iter()
        .find(|file| file.rows == 302)
        .unwrap();
    let mut rows = 0;
    for batch in view.batches(file, &["off".into()]).unwrap() {
        let batch = batch.unwrap();
        assert_eq!(
            (batch.num_columns(), batch.schema().field(0).name().as_str()),
            (1, "off")
        );
        rows += batch.num_rows();
    }
    assert_eq!(rows, 302);
}

#[test]
fn what_another_engine_deleted_is_hidden() {
    let world = written();
    let engine = Engine {
        catalog: &world.catalog,
        ids: &world.ids,
        totals: true,
    };
    engine
        .commit(&Change::Append(vec![(THEIRS, 1), (THEIRS, 2), (THEIRS, 3)]))
        .unwrap();
    engine
        .commit(&Change::Delete(vec![(0, 0), (0, 299), (1, 1), (THEIRS, 2)]))
        .unwrap();
    let view = world.view();
    assert_eq!((view.position_deletes.len(), view.equality_deletes), (1, 0));
    let hidden = view.hidden().unwrap();
    let file = |rows: u64, ours: bool| {
        let mut files = view.data_files.iter();
        files
            .find(|file| file.rows == rows && file.runs.is_some() == ours)
            .unwrap()
    };
    assert_eq!(hidden[&file(302, true).path].len(), 3);
    assert_eq!(hidden.get(&file(3, true).path), None);
    let theirs = file(3, false);
    let places = &hidden[&theirs.path];
    assert_eq!(places.iter().collect::<Vec<_>>(), [&1]);
    let offsets = |batches: Batches| -> Vec<i64> {
        let columns = batches.map(|batch| batch.unwrap().column_by_name("off").unwrap().clone());
        columns
            .flat_map(|column| column.as_primitive::<Int64Type>().values().to_vec())
            .collect()
    };
    assert_eq!(offsets(view.visible(theirs, places).unwrap()), [1, 3]);
    let none = BTreeSet::from([0, 1, 2, 7]);
    assert_eq!(
        offsets(view.visible(theirs, &none).unwrap()),
        Vec::<i64>::new()
    );
}

#[test]
fn a_table_that_cannot_be_read_says_why_beside_the_others() {
    let world = written();
    let deep = iceberg::NamespaceIdent::from_vec(vec!["a".into(), "b".into()]).unwrap();
    world.catalog.ensure_namespace(&deep).unwrap();
    let new = NewTable {
        schema: iceberg::spec::Schema::builder().build().unwrap(),
        properties: Default::default(),
        partition_spec: None,
        format_version: iceberg::spec::FormatVersion::V2,
        location: None,
    };
    let broken = TableIdent::new(deep, "t".into());
    let made = world.catalog.create(&broken, new).unwrap();
    std::fs::remove_file(local_path(&made.metadata_location.unwrap()).unwrap()).unwrap();
    // Another catalog over the same pointers: it has not read the metadata before.
    let place = made.metadata.location();
    let files = world.catalog.files().clone();
    let fresh = Catalog::open(world.storage.clone(), files, place, world.ids.clone()).unwrap();
    let tables = list(&fresh).unwrap();
    let errors: Vec<_> = tables
        .iter()
        .map(|table| (table.table.as_str(), table.error.is_some()))
        .collect();
    assert_eq!(errors, [("a.b.t", true), (TABLE, false)]);
}

/// The offsets of partition 0 that the table accounts for, from the lowest to the highest.
fn accounted(view: &TableView) -> (i64, i64) {
    let ranges = view.accounted();
    let of_0 = ranges.iter().filter(|range| range.partition == 0);
    let (starts, ends): (Vec<i64>, Vec<i64>) = of_0.map(|range| (range.start, range.end)).unzip();
    let start = starts.into_iter().min().expect("it is accounted for");
    (start, ends.into_iter().max().expect("it is accounted for"))
}

#[test]
fn a_front_that_is_lost_is_asked_for_though_its_snapshots_are_gone() {
    let world = World::new();
    let mut pipeline = Pipeline::new(&world, world.network(), TableChain::default(), [4, 0]);
    (0..3).for_each(|_| pipeline.epoch([3, 2]));
    let old: Vec<i64> = world.view().snapshots[1..]
        .iter()
        .map(|old| old.id)
        .collect();
    world.expire(old);
    let mut view = world.view();
    assert_eq!(accounted(&view), (4, 13));
    // Another writer took them, or the disk did.
    view.data_files.clear();
    assert_eq!(accounted(&view), (4, 13));
    assert!(view.without_begin().is_empty());
}

#[test]
fn a_rewind_takes_the_history_back_with_the_marker() {
    let world = World::new();
    let mut pipeline = Pipeline::new(&world, world.network(), TableChain::default(), [0, 0]);
    for plan in ["a", "b"] {
        pipeline.read([3, 2]);
        pipeline.checkpoint();
        let newest = pipeline.chain.chain.last_mut().unwrap();
        newest.plan = Some(plan.to_owned());
        pipeline.commit();
    }
    let plans = |world: &World| -> Vec<Option<String>> {
        let marker = world.view().marker.expect("it was committed to");
        marker
            .stints()
            .iter()
            .map(|stint| stint.plan.clone())
            .collect()
    };
    let said = |plan: &str| Some(plan.to_owned());
    assert_eq!(plans(&world), [said("a"), said("b")]);
    world.roll_back();
    pipeline.committer.restate(TABLE, Restate::Visible).unwrap();
    assert_eq!(plans(&world), [said("a")]);
    assert_eq!(accounted(&world.view()), (0, 3));
}

/// A disk that writes down what is opened.
struct Watched {
    disk: Arc<dyn Disk>,
    opened: Mutex<Vec<PathBuf>>,
    /// The lowest place of each file that was read.
    lowest: Arc<Mutex<BTreeMap<PathBuf, u64>>>,
}

impl Watched {
    fn over(disk: impl Disk) -> Arc<Watched> {
        Arc::new(Watched {
            disk: Arc::new(disk),
            opened: Mutex::default(),
            lowest: Arc::default(),
        })
    }

    fn forget(&self) {
        self.opened.lock().unwrap().clear();
        self.lowest.lock().unwrap().clear();
    }

    fn lowest_read(&self, path: &Path) -> Option<u64> {
        self.lowest.lock().unwrap().get(path).copied()
    }
}

struct WatchedFile {
    file: Arc<dyn File>,
    path: PathBuf,
    lowest: Arc<Mutex<BTreeMap<PathBuf, u64>>>,
}

impl File for WatchedFile {
    fn read_at(&self, into: &mut [u8], position: u64) -> io::Result<usize> {
        let mut lowest = self.lowest.lock().unwrap();
        let lowest = lowest.entry(self.path.clone()).or_insert(position);
        *lowest = position.min(*lowest);
        self.file.read_at(into, position)
    }
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.file.write_at(bytes, position)
    }
    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.file.allocate(len)
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.truncate(len)
    }
}

impl Disk for Watched {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.opened.lock().unwrap().push(path.to_owned());
        Ok(Arc::new(WatchedFile {
            file: self.disk.open(path)?,
            path: path.to_owned(),
            lowest: self.lowest.clone(),
        }))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.disk.create(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.disk.list(dir)
    }
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir_all(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.disk.free_bytes(dir)
    }
    fn total_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.disk.total_bytes(dir)
    }
    fn exists(&self, path: &Path) -> bool {
        self.disk.exists(path)
    }
}

/// A table whose head says that it has a hundred files. None of them is there, nor is a manifest.
fn large_table(catalog: &Catalog, ident: &TableIdent, number: i64) {
    let new = NewTable {
        schema: iceberg::spec::Schema::builder().build().unwrap(),
        properties: Default::default(),
        partition_spec: None,
        format_version: iceberg::spec::FormatVersion::V2,
        location: None,
    };
    let made = catalog.create(ident, new).unwrap().metadata;
    let totals = [("total-records", "4200"), ("total-data-files", "100")];
    let snapshot = iceberg::spec::Snapshot::builder()
        .with_snapshot_id(1 + number)
        .with_sequence_number(made.next_sequence_number())
        .with_timestamp_ms(made.last_updated_ms() + 1)
        .with_manifest_list(format!("{}/metadata/snap.avro", made.location()))
        .with_summary(iceberg::spec::Summary {
            operation: iceberg::spec::Operation::Append,
            additional_properties: totals
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        })
        .with_schema_id(made.current_schema_id())
        .build();
    let updates = vec![
        TableUpdate::AddSnapshot { snapshot },
        super::world::set_head(1 + number),
    ];
    TableCatalog::commit(catalog, ident, Vec::new(), updates).unwrap();
}

#[test]
fn a_list_of_a_thousand_tables_of_a_hundred_files_opens_a_thousand_small_files() {
    let disk = Watched::over(SimDisk::new(7, Arc::new(SimClock::new())));
    let (clock, ids) = (HandClock::new(), Ids::random());
    let folder = Path::new("/tables");
    let world = World::open_stepped(disk.clone(), folder, clock, ids.clone());
    for number in 0..1000 {
        let table = ident(&format!("lake{}.t{number}", number % 10));
        world.catalog.ensure_namespace(table.namespace()).unwrap();
        large_table(&world.catalog, &table, number);
    }
    // Another catalog over the same pointers has nothing in memory.
    let files = world.catalog.files().clone();
    let fresh = Catalog::open(world.storage.clone(), files, "/tables/warehouse", ids).unwrap();
    disk.forget();
    let tables = list(&fresh).unwrap();
    assert_eq!(tables.len(), 1000);
    let right = |table: &Listed| (table.rows, table.files) == (Some(4200), Some(100));
    assert!(tables.iter().all(right), "{:?}", tables[0]);
    let opened = disk.opened.lock().unwrap();
    let metadata = |path: &PathBuf| path.to_string_lossy().ends_with(".metadata.json");
    assert!(opened.iter().all(metadata), "{opened:?}");
    assert_eq!(opened.len(), 1000, "each table's metadata once");
}
