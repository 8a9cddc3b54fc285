//! What aborted checkpoints leave behind goes with the next start, and nothing else does.

use super::world::{Pipeline, TABLE, World, asked};
use crate::TableCatalog;
use lw_runtime::connector::{Committer, Sink};
use lw_runtime::manifest::Manifest;
use lw_runtime::pipelines::takeover::rewind;
use std::collections::BTreeSet;

pub(super) fn folder(world: &World) -> BTreeSet<String> {
    world.data_folder().into_iter().collect()
}

/// Two commits, a pending one, and a seal that no manifest came to know: the state that a kill -9 leaves.
pub(super) fn aborted(world: &World) -> (Manifest, BTreeSet<String>) {
    let mut manifest = Pipeline::new(world, world.network(), Default::default(), [0, 0]).manifest();
    let mut pipeline = Pipeline::take_over(world, &mut manifest);
    pipeline.epoch([1, 1]);
    pipeline.epoch([1, 1]);
    pipeline.read([1, 1]);
    pipeline.checkpoint();
    let manifest = Manifest {
        generation: manifest.generation,
        checkpoint_id: 3,
        ..pipeline.manifest()
    };
    let known = folder(world);
    pipeline.read([1, 1]);
    pipeline.sink.seal().expect("the disk is well");
    (manifest, known)
}

#[test]
fn a_file_that_no_manifest_names_goes_with_the_next_start() {
    let world = World::new();
    let (mut manifest, known) = aborted(&world);
    assert_eq!(folder(&world).len(), known.len() + 1);
    let mut next = Pipeline::take_over(&world, &mut manifest);
    assert_eq!(folder(&world), known, "committed and pending files stay");
    next.commit();
    assert_eq!(world.rows(), next.expected());
}

#[test]
fn a_half_written_file_goes_too() {
    let world = World::new();
    let (mut manifest, known) = aborted(&world);
    let orphan = folder(&world)
        .difference(&known)
        .next()
        .cloned()
        .expect("there is one");
    let table = world.view().table().metadata.location().to_owned();
    let files = world.catalog.files();
    files.remove(&format!("{table}/data/{orphan}")).unwrap();
    files
        .write(&format!("{table}/data/.{orphan}.part"), b"PAR1")
        .unwrap();
    Pipeline::take_over(&world, &mut manifest);
    assert_eq!(folder(&world), known);
}

#[test]
fn foreign_names_and_other_pipelines_files_stay() {
    let world = World::new();
    let (mut manifest, known) = aborted(&world);
    let orphan = folder(&world)
        .difference(&known)
        .next()
        .cloned()
        .expect("there is one");
    let table = world.view().table().metadata.location().to_owned();
    let other_pipeline = orphan.replacen('0', "1", 1);
    // The pipeline's job for another table, which shares the folder: it has generations and checkpoints of its own.
    let (pipeline, rest) = orphan.split_once('-').expect("our form");
    let (_, numbers) = rest.split_once('-').expect("our form");
    let other_table = format!("{pipeline}-{}-{numbers}", "5".repeat(32));
    // As names were before: whose it is cannot be told.
    let before = format!("{pipeline}-{numbers}");
    let names = [
        "part-00000.parquet",
        "notes.txt",
        &other_pipeline,
        &other_table,
        &before,
    ];
    for name in names {
        world
            .catalog
            .files()
            .write(&format!("{table}/data/{name}"), b"x")
            .unwrap();
    }
    Pipeline::take_over(&world, &mut manifest);
    assert_eq!(folder(&world).len(), known.len() + names.len());
}

#[test]
fn a_data_folder_outside_the_table_is_not_swept() {
    let world = World::new();
    let (mut manifest, known) = aborted(&world);
    let orphan = folder(&world)
        .difference(&known)
        .next()
        .cloned()
        .expect("one");
    let table = world.view().table().metadata.location().to_owned();
    let shared = format!("{table}-shared");
    let files = world.catalog.files();
    files
        .write(&format!("{shared}/{orphan}"), b"x")
        .expect("a file");
    world.set_property("write.data.path", &shared);
    Pipeline::take_over(&world, &mut manifest);
    assert_eq!(files.list(&shared).expect("a folder").len(), 1);
}

/// Someone puts an older copy of the manifest back: by its numbers everything since looks aborted, but the table knows better.
#[test]
fn what_the_table_lists_stays_whatever_the_manifest_says() {
    let world = World::new();
    let (manifest, known) = aborted(&world);
    let mut older = Manifest {
        checkpoint_id: 0,
        ..manifest
    };
    let sink = older.sinks.get_mut(TABLE).expect("its chain");
    let pending = std::mem::take(&mut sink.chain.chain);
    Pipeline::take_over(&world, &mut older);
    assert_eq!(folder(&world).len(), known.len() - pending[0].files.len());
    assert_eq!(world.rows().len(), 4, "all committed rows can be read");
}

/// A rolled back snapshot is still kept: its files are the user's way forward again.
#[test]
fn files_of_a_rolled_back_snapshot_stay() {
    let world = World::new();
    let (mut manifest, known) = aborted(&world);
    world.roll_back();
    let mut committer =
        Pipeline::new(&world, world.network(), Default::default(), [0, 0]).committer;
    let tables = asked(&mut committer, &manifest).expect("the table answers");
    let plan = rewind(&manifest, &tables).expect("nothing is cut");
    for (table, which) in &plan.restate {
        committer
            .restate(table, *which)
            .expect("the catalog is well");
    }
    manifest = plan.manifest;
    Pipeline::take_over(&world, &mut manifest);
    assert_eq!(folder(&world), known);
}
