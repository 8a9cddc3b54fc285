//! Compaction of a table with partitions.

use super::{compact, fill, listed, rows};
use crate::TableCatalog;
use crate::commit::manifests;
use crate::tests::partitions::make;
use crate::tests::world::World;
use iceberg::spec::Transform;
use std::collections::BTreeSet;

#[test]
fn partitions_stay_apart_and_keep_their_values() {
    let world = World::new();
    make(&world, &[(1, "part", Transform::Identity)]);
    let mut pipeline = fill(&world, 5, [2, 1]);
    let values = |world: &World| -> BTreeSet<String> {
        let files = world.catalog.files();
        let mut values = BTreeSet::new();
        for list in listed(world) {
            for entry in manifests::load(files, &list).expect("a manifest").entries() {
                if entry.is_alive() {
                    let folder = entry.file_path().rsplit('/').nth(1).expect("a folder");
                    let partition = entry.data_file().partition();
                    values.insert(format!("{folder} {partition:?} {}", entry.record_count()));
                }
            }
        }
        values
    };
    assert_eq!(compact(&world).made, 2);
    let found = values(&world);
    assert_eq!(found.len(), 2, "{found:?}");
    for (folder, rows) in [("part=0 ", " 10"), ("part=1 ", " 5")] {
        let is_there = |one: &String| one.starts_with(folder) && one.ends_with(rows);
        assert!(found.iter().any(is_there), "{found:?}");
    }
    assert_eq!(rows(&world), pipeline.expected());
    pipeline.epoch([1, 1]);
    assert_eq!(rows(&world), pipeline.expected());
}

/// There may be thousands of them.
#[test]
fn partitions_with_too_few_small_files_are_not_looked_into() {
    let world = World::new();
    make(&world, &[(1, "part", Transform::Identity)]);
    let mut pipeline = fill(&world, 3, [1, 0]);
    for _ in 0..2 {
        pipeline.epoch([1, 1]);
    }
    let there = world.view().data_files;
    let few = there.iter().filter(|one| one.path.contains("/part=1/"));
    for file in few {
        let removed = world.catalog.files().remove(&file.path);
        removed.expect("it was there");
    }
    let done = compact(&world);
    assert_eq!((done.replaced, done.made, done.files_after), (5, 1, 3));
}
