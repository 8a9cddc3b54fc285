//! Partitioned tables: which rows are in which file, how many files are open, and what a crash leaves. What each transform
//! makes of which value is judged by PyIceberg, in `tests/e2e/test_partitions.py`.

use super::world::{Pipeline, TABLE, World, batch, columns, ident, spec, splits};
use crate::TableView;
use crate::catalog::{NewTable, TableCatalog};
use crate::schema::table_schema;
use iceberg::spec::{FormatVersion, Transform, UnboundPartitionSpec};
use lw_graph::Schema;
use lw_runtime::connector::Sink;
use lw_runtime::manifest::TableChain;
use std::collections::BTreeSet;
use std::path::Path;

/// The table, by these fields of its columns `part`, `off` and `text`.
pub(super) fn make(world: &World, fields: &[(i32, &str, Transform)]) {
    let mut by = UnboundPartitionSpec::builder();
    for (column, name, transform) in fields {
        by = by
            .add_partition_field(*column, *name, *transform)
            .expect("fields have names of their own");
    }
    let table = ident(TABLE);
    world
        .catalog
        .ensure_namespace(&table.namespace)
        .expect("a namespace");
    let schema = table_schema(&Schema::new(columns()), &[], FormatVersion::V2);
    let new = NewTable {
        schema: schema.expect("columns with Iceberg types"),
        properties: Default::default(),
        format_version: FormatVersion::V2,
        partition_spec: Some(by.build()),
        location: None,
    };
    TableCatalog::create(&world.catalog, &table, new).expect("a new table");
}

fn pipeline(world: &World) -> Pipeline {
    Pipeline::new(world, world.network(), TableChain::default(), [0, 0])
}

/// Of a run: the partition of the log, first and last offset, rows, and whether other files have offsets in between.
type Told = (i32, i64, i64, u64, bool);

/// For each file, what its runs say.
fn runs(view: &TableView) -> Vec<Vec<Told>> {
    let mut files: Vec<_> = view.data_files.iter().collect();
    files.sort_by(|one, other| one.path.cmp(&other.path));
    let runs = files.iter().map(|file| {
        let runs = file.runs.as_ref().expect("our files have runs");
        let run = |run: &crate::writer::runs::Run| {
            (run.partition, run.first, run.last, run.rows, run.shared)
        };
        runs.iter().map(run).collect()
    });
    runs.collect()
}

#[test]
fn each_partition_has_files_of_its_own_whose_runs_say_that_they_share() {
    let world = World::new();
    make(
        &world,
        &[
            (2, "off_trunc", Transform::Truncate(3)),
            (1, "part", Transform::Identity),
        ],
    );
    let mut pipeline = pipeline(&world);
    pipeline.epoch([5, 2]);
    assert_eq!(world.rows(), pipeline.expected());
    let view = world.view();
    assert_eq!(
        runs(&view),
        [
            vec![(0, 0, 2, 3, true)],
            vec![(1, 0, 1, 2, true)],
            vec![(0, 3, 4, 2, true)],
        ]
    );
    let folder = format!("{}/data/", view.table().metadata.location());
    let mut folders: Vec<&str> = view
        .data_files
        .iter()
        .map(|file| {
            let inside = file.path.strip_prefix(&folder).expect("below the data");
            inside.rsplit_once('/').expect("in a folder").0
        })
        .collect();
    folders.sort_unstable();
    assert_eq!(
        folders,
        [
            "off_trunc=0/part=0",
            "off_trunc=0/part=1",
            "off_trunc=3/part=0"
        ]
    );
    let newest = &view.snapshots[0].summary;
    let changed = newest
        .iter()
        .find(|(key, _)| key == "changed-partition-count");
    assert_eq!(changed.map(|(_, count)| count.as_str()), Some("3"));
}

#[test]
fn no_more_files_are_open_than_may_be() {
    let world = World::new();
    make(&world, &[(2, "off", Transform::Identity)]);
    let mut pipeline = pipeline(&world);
    // Rows of about 32 MiB, which are dealt out without waiting for a seal.
    for first in (0..200).step_by(10) {
        let rows: Vec<(i32, i64)> = (first..first + 10).map(|off| (0, off)).collect();
        pipeline.sink.write(wide(&rows)).expect("rows are written");
    }
    let table = world.catalog.load(&ident(TABLE)).expect("the table");
    let folder = format!("{}/data", table.metadata.location());
    let path = crate::storage::local_path(&folder).expect("a local folder");
    let (mut open, mut finished) = (0, 0);
    count(&path, &mut open, &mut finished);
    assert!(open < 64, "{open} files are open");
    assert!(finished > 100, "{finished} files are finished");
    let staged = pipeline.sink.seal().expect("all of it is sealed");
    assert_eq!((staged[0].files.len(), staged[0].rows), (200, 200));
}

/// The same with texts of 200 kB.
fn wide(rows: &[(i32, i64)]) -> lw_runtime::Chunk {
    let narrow = batch(rows);
    let mut columns = narrow.columns.columns().to_vec();
    let text = |(part, off): &(i32, i64)| format!("{part} {off} ").repeat(40_000);
    columns[2] = std::sync::Arc::new(arrow_array::StringArray::from_iter_values(
        rows.iter().map(text),
    ));
    let columns = arrow_array::RecordBatch::try_new(narrow.columns.schema(), columns);
    let origins = rows.iter().map(|(part, offset)| lw_runtime::Origin {
        split: u32::try_from(*part).expect("small"),
        offset: *offset,
    });
    lw_runtime::Chunk::new(
        columns.expect("columns of one length"),
        origins.collect(),
        splits(),
    )
}

fn count(folder: &Path, open: &mut usize, finished: &mut usize) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            count(&path, open, finished);
        } else if path.extension().is_some_and(|kind| kind == "part") {
            *open += 1;
        } else {
            *finished += 1;
        }
    }
}

#[test]
fn files_of_aborted_checkpoints_are_swept_out_of_the_folders_of_partitions() {
    let world = World::new();
    make(&world, &[(2, "off", Transform::Identity)]);
    let mut manifest = {
        let mut first = pipeline(&world);
        first.epoch([3, 0]);
        let manifest = first.manifest();
        first.read([4, 0]);
        // Sealed for a checkpoint that is not made.
        first.sink.seal().expect("files");
        manifest
    };
    let before = files_of(&world);
    let second = Pipeline::take_over(&world, &mut manifest);
    let after = files_of(&world);
    assert_eq!((before.len(), after.len()), (7, 3));
    assert_eq!(world.rows(), second.expected());
}

fn files_of(world: &World) -> BTreeSet<String> {
    let table = world.catalog.load(&ident(TABLE)).expect("the table");
    let folder = format!("{}/data", table.metadata.location());
    let files = world.catalog.files();
    let mut found = BTreeSet::new();
    for folder in files.list(&folder).expect("a folder") {
        let inside = format!("{}/data/{}", table.metadata.location(), folder.name);
        let names = files.list(&inside).expect("a folder");
        found.extend(names.into_iter().map(|entry| entry.name));
    }
    found
}

#[test]
fn a_spec_that_cannot_be_written_is_refused_in_words() {
    let world = World::new();
    make(&world, &[(2, "off_bucket", Transform::Bucket(0))]);
    let refused = crate::IcebergTableSink::open(
        &spec(columns()),
        world.network(),
        &super::world::owner(),
        None,
        world.clock.clone(),
        world.ids.clone(),
    );
    let refused = refused.err().expect("there are no zero buckets");
    assert_eq!(
        (refused.message.as_str(), refused.detail.as_str()),
        (
            "the partitions of lake.events cannot be written",
            "Its partition field off_bucket is bucket[0]."
        )
    );
}
