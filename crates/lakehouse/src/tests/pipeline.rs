//! What a pipeline relies on, case by case.

use super::world::{
    Fault, Network, Pipeline, TABLE, World, batch, columns, ident, offsets, owner, spec,
};
use crate::{IcebergCommitter, IcebergTableSink, TableCatalog, TableView};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use lw_graph::{Field, TypeKind};
use lw_runtime::chunk::DeadLetter;
use lw_runtime::connector::{CommitOutcome, Committer, Owner, Pause, Sink};
use lw_runtime::manifest::TableChain;
use std::sync::Arc;

fn pipeline(world: &World) -> (Pipeline, Arc<Network>) {
    let network = world.network();
    (
        Pipeline::new(world, network.clone(), TableChain::default(), [0, 0]),
        network,
    )
}

fn paused(outcome: CommitOutcome) -> Pause {
    match outcome {
        CommitOutcome::Paused(pause) => pause,
        other => panic!("expected a pause, got {other:?}"),
    }
}

#[test]
fn rows_land_in_runs_and_every_reader_can_count_them() {
    let world = World::new();
    let (mut pipeline, _) = pipeline(&world);
    pipeline.read([3, 2]);
    pipeline.read([1, 4]);
    pipeline.checkpoint();
    pipeline.commit();
    pipeline.epoch([2, 0]);
    assert_eq!(world.rows(), pipeline.expected());

    let view = world.view();
    let runs: Vec<Vec<(i32, i64, i64, u64)>> = view
        .data_files
        .iter()
        .map(|file| {
            let runs = file.runs.as_ref().expect("our files have runs");
            runs.iter()
                .map(|run| (run.partition, run.first, run.last, run.rows))
                .collect()
        })
        .collect();
    let mut sorted = runs.clone();
    sorted.sort();
    assert_eq!(
        sorted,
        [vec![(0, 0, 3, 4), (1, 0, 5, 6)], vec![(0, 4, 5, 2)]]
    );
    let second = view
        .data_files
        .iter()
        .find(|file| file.rows == 10)
        .expect("the first epoch's file");
    let batches = view.read_run(second, 1).expect("the run is there");
    assert_eq!(
        batches.iter().map(|batch| batch.num_rows()).sum::<usize>(),
        6
    );

    let newest = &view.snapshots[0];
    let summary = |key: &str| {
        newest
            .summary
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    };
    assert_eq!(summary("added-records"), Some("2"));
    assert_eq!(summary("total-records"), Some("12"));
    assert_eq!(summary("total-data-files"), Some("2"));
    assert_eq!(
        summary("lakeward.offsets"),
        Some(r#"{"in":{"0":[4,6,2,0,0,0],"1":[6,6,0,0,0,0]}}"#)
    );
    assert_eq!(summary("lakeward.ends"), Some(r#"{"in":{"0":6,"1":6}}"#));
    assert_eq!(
        view.marker.as_ref().map(|marker| marker.snapshot_id),
        Some(newest.id)
    );
}

#[test]
fn readers_get_bounds_and_counts() {
    let world = World::new();
    let (mut pipeline, _) = pipeline(&world);
    pipeline.epoch([5, 3]);
    let table = world.catalog.load(&ident(TABLE)).unwrap();
    let head = table.metadata.current_snapshot().unwrap();
    let manifests =
        crate::commit::manifests::load_list(world.catalog.files(), &table.metadata, head).unwrap();
    let manifest = crate::commit::manifests::load(world.catalog.files(), &manifests[0]).unwrap();
    let file = manifest.entries()[0].data_file();
    let bound = |bounds: &std::collections::HashMap<i32, iceberg::spec::Datum>, id| {
        bounds[&id].to_human_string()
    };
    assert_eq!(
        (bound(file.lower_bounds(), 2), bound(file.upper_bounds(), 2)),
        ("0".into(), "4".into())
    );
    assert_eq!(
        (bound(file.lower_bounds(), 3), bound(file.upper_bounds(), 3)),
        ("row 0 of 0".into(), "row 4 of 0".into())
    );
    assert_eq!(
        (file.value_counts()[&1], file.null_value_counts()[&3]),
        (8, 0)
    );
    assert_eq!(file.split_offsets(), Some([4].as_slice()));
}

#[test]
fn a_lost_reply_and_a_lost_request_are_told_apart() {
    for fault in [Fault::ReplyLost, Fault::RequestLost] {
        let world = World::new();
        let (mut pipeline, network) = pipeline(&world);
        network.faults.lock().unwrap().push_back(Some(fault));
        pipeline.epoch([2, 2]);
        pipeline.epoch([1, 1]);
        assert_eq!(world.rows(), pipeline.expected(), "{fault:?}");
        assert_eq!(world.view().snapshots.len(), 2, "{fault:?}");
    }
}

#[test]
fn a_restart_recognises_what_had_landed() {
    let world = World::new();
    let (mut first, _) = pipeline(&world);
    first.read([2, 2]);
    first.checkpoint();
    let manifest = first.chain.clone();
    first.commit();
    // The process died before the next manifest: the chain is still pending, and grows.
    let mut second = Pipeline::new(&world, world.network(), manifest, [2, 2]);
    second.read([1, 0]);
    second.checkpoint();
    assert!(matches!(
        second.commit(),
        CommitOutcome::Confirmed { confirmed: 2, .. }
    ));
    assert_eq!(world.rows(), second.expected());
}

#[test]
fn pending_commits_coalesce_into_one_snapshot() {
    let world = World::new();
    let (mut pipeline, _) = pipeline(&world);
    for _ in 0..3 {
        pipeline.read([1, 1]);
        pipeline.checkpoint();
    }
    assert!(matches!(
        pipeline.commit(),
        CommitOutcome::Confirmed { confirmed: 3, .. }
    ));
    let view = world.view();
    assert_eq!(
        (view.snapshots.len(), view.snapshots[0].ranges[0].end),
        (1, 3)
    );
    assert_eq!(view.marker.as_ref().map(|marker| marker.sequence), Some(3));
    assert_eq!(world.rows(), pipeline.expected());
}

#[test]
fn offsets_without_rows_are_committed_too() {
    let world = World::new();
    let (mut pipeline, _) = pipeline(&world);
    pipeline.read = [5, 0];
    pipeline.push(Vec::new());
    pipeline.commit();
    let view = world.view();
    assert_eq!((view.snapshots.len(), view.data_files.len()), (1, 0));
    assert_eq!(
        view.marker.as_ref().map(|marker| marker.ends()[0].next),
        Some(5)
    );
}

#[test]
fn foreign_commits_in_between_do_no_harm() {
    let world = World::new();
    let (mut pipeline, _) = pipeline(&world);
    pipeline.epoch([1, 1]);
    world.foreign_commit();
    pipeline.epoch([1, 1]);
    world.foreign_commit();
    assert_eq!(world.rows(), pipeline.expected());
    let ours: Vec<bool> = world
        .view()
        .snapshots
        .iter()
        .map(|snapshot| snapshot.marker.is_some())
        .collect();
    assert_eq!(ours, [false, true, false, true]);
}

#[test]
fn a_rollback_pauses_with_all_three_offset_vectors() {
    let world = World::new();
    let (mut pipeline, _) = pipeline(&world);
    pipeline.epoch([1, 1]);
    pipeline.epoch([1, 1]);
    world.roll_back();
    pipeline.read([1, 1]);
    pipeline.checkpoint();
    let pause = paused(pipeline.commit());
    assert_eq!(
        pause.reason,
        "the table was rolled back below the last commit of this pipeline, or that snapshot was expired"
    );
    assert_eq!(pause.table_offsets, offsets([1, 1]));
    assert_eq!(pause.marker_offsets, offsets([2, 2]));
    assert_eq!(pause.checkpoint_offsets, offsets([3, 3]));
    assert_eq!(world.rows(), [(0, 0), (1, 0)], "nothing was undone");
}

#[test]
fn an_older_checkpoint_a_foreign_owner_and_a_dropped_table_pause() {
    let world = World::new();
    let (mut first, _) = pipeline(&world);
    first.epoch([1, 1]);
    let old = first.chain.clone();
    first.epoch([1, 1]);

    let mut restored = Pipeline::new(&world, world.network(), old, [1, 1]);
    restored.read([2, 2]);
    restored.checkpoint();
    assert_eq!(
        paused(restored.commit()).reason,
        "the table is ahead of the checkpoint: an older checkpoint was restored"
    );

    let stranger = Owner {
        pipeline: uuid::Uuid::from_u128(8),
        name: "stranger".to_owned(),
    };
    let mut foreign = Pipeline::new(&world, world.network(), TableChain::default(), [0, 0]);
    foreign.committer = IcebergCommitter::new(
        world.network(),
        stranger,
        world.clock.clone(),
        world.ids.clone(),
    );
    foreign.read([1, 1]);
    foreign.checkpoint();
    let reason = paused(foreign.commit()).reason;
    assert_eq!(
        reason,
        format!(
            "the table belongs to the pipeline \"test\" ({})",
            owner().pipeline
        )
    );
    let standing = foreign.committer.standing(TABLE).unwrap().unwrap();
    assert_eq!(standing.marker.map(|marker| marker.owner), Some(owner()));

    first.read([1, 1]);
    first.checkpoint();
    world
        .catalog
        .drop_table(&ident(TABLE), crate::catalog::embedded::Purge::Nothing)
        .unwrap();
    assert_eq!(paused(first.commit()).reason, "the table was dropped");
    let fresh = Pipeline::new(&world, world.network(), TableChain::default(), [0, 0]);
    drop(fresh);
    assert_eq!(
        paused(first.commit()).reason,
        "the table does not know this pipeline's last commit: it was dropped and created again, or replaced"
    );
}

#[test]
fn long_histories_stay_small() {
    let world = World::new();
    let (mut pipeline, _) = pipeline(&world);
    for _ in 0..220 {
        pipeline.epoch([1, 1]);
    }
    let table = world.catalog.load(&ident(TABLE)).unwrap();
    let head = table.metadata.current_snapshot().unwrap();
    let manifests =
        crate::commit::manifests::load_list(world.catalog.files(), &table.metadata, head).unwrap();
    let kept = table.metadata.snapshots().count();
    assert!(
        (101..=102).contains(&kept),
        "the newest 100, and the first of the hour, not {kept}"
    );
    assert!(manifests.len() <= 101, "{} manifests", manifests.len());
    let folder = format!("{}/metadata", table.metadata.location());
    let entries = world.catalog.files().list(&folder).unwrap();
    let ending = |suffix: &str| {
        entries
            .iter()
            .filter(|entry| entry.name.ends_with(suffix))
            .count()
    };
    // A manifest list per snapshot; the Iceberg manifests that the oldest kept snapshots list, and no older ones.
    let avro = ending(".avro");
    assert!(
        avro <= 102 + 204,
        "{avro} lists and manifests for 102 snapshots"
    );
    assert!(ending(".json") <= 21);
    for snapshot in table.metadata.snapshots() {
        let files = world.catalog.files();
        for manifest in
            crate::commit::manifests::load_list(files, &table.metadata, snapshot).unwrap()
        {
            crate::commit::manifests::load(files, &manifest).expect("a kept snapshot can be read");
        }
    }
    assert_eq!(table.metadata.metadata_log().len(), 20);
    assert_eq!(world.rows(), pipeline.expected());
    let view = world.view();
    let total = view.snapshots[0]
        .summary
        .iter()
        .find(|(key, _)| key == "total-records")
        .cloned();
    assert_eq!(total, Some(("total-records".to_owned(), "440".to_owned())));
    // Merged manifests still say which snapshot added a file.
    assert!(
        view.data_files
            .iter()
            .any(|file| table.metadata.snapshot_by_id(file.snapshot_id).is_none())
    );
    assert!(
        view.data_files
            .iter()
            .any(|file| file.snapshot_id == head.snapshot_id())
    );
}

#[test]
fn a_table_that_does_not_fit_is_refused_with_the_differences() {
    let world = World::new();
    let (mut pipeline, _) = pipeline(&world);
    pipeline.epoch([1, 1]);
    let mut other = columns();
    other[1] = Field::new("off", TypeKind::string().nullable());
    other.push(Field::new("more", TypeKind::Double.nullable()));
    let refused = IcebergTableSink::open(
        &spec(other),
        world.network(),
        &owner(),
        None,
        world.clock.clone(),
        world.ids.clone(),
    );
    let error = refused.err().expect("it does not fit");
    assert_eq!(error.message, "the table lake.events does not fit the sink");
    assert_eq!(
        error.detail,
        "column off is long in the table and string in the sink; the table has no column more (double)."
    );
}

#[test]
fn a_column_that_was_added_meanwhile_is_null() {
    let world = World::new();
    let (mut pipeline, _) = pipeline(&world);
    pipeline.epoch([1, 1]);
    let table = world.catalog.load(&ident(TABLE)).unwrap();
    let added = iceberg::spec::NestedField::optional(
        9,
        "note",
        iceberg::spec::Type::Primitive(iceberg::spec::PrimitiveType::String),
    );
    let mut fields = table
        .metadata
        .current_schema()
        .as_struct()
        .fields()
        .to_vec();
    fields.insert(0, Arc::new(added));
    let schema = iceberg::spec::Schema::builder()
        .with_schema_id(1)
        .with_fields(fields)
        .build()
        .unwrap();
    world.commit(vec![
        iceberg::TableUpdate::AddSchema { schema },
        iceberg::TableUpdate::SetCurrentSchema { schema_id: -1 },
    ]);
    pipeline.epoch([1, 1]);
    let view = world.view();
    assert_eq!(view.data_files.iter().map(|file| file.rows).sum::<u64>(), 4);
    let newest = view
        .data_files
        .iter()
        .find(|file| file.snapshot_id == view.snapshots[0].id)
        .unwrap();
    let batches = view.read_rows(newest).unwrap();
    assert_eq!(batches[0].schema().field(0).name(), "note");
    assert_eq!(batches[0].column(0).null_count(), 2);
}

#[test]
fn dead_letters_get_a_table_with_their_first_row() {
    let world = World::new();
    let (mut pipeline, network) = pipeline(&world);
    let letters = ident("lake.events__dead_letters");
    pipeline.sink.write(batch(&[(0, 0)])).unwrap();
    assert_eq!(pipeline.sink.seal().unwrap().len(), 1);
    assert!(!world.catalog.table_exists(&letters).unwrap());

    let letter = |offset| DeadLetter {
        topic: Arc::from("in"),
        partition: 1,
        offset,
        timestamp: if offset == 8 {
            i64::MAX
        } else {
            1_700_000_000_000
        },
        key: None,
        value: Some(vec![0, 159, 146, 150]),
        stage: "decode",
        code: "avro.truncated".to_owned(),
        error: "unexpected end".to_owned(),
    };
    pipeline
        .sink
        .dead_letters(vec![letter(7), letter(8)])
        .unwrap();
    let staged = pipeline.sink.seal().unwrap();
    assert_eq!(
        (staged.len(), staged[0].table.as_str(), staged[0].rows),
        (1, "lake.events__dead_letters", 2)
    );
    pipeline.read = [0, 9];
    pipeline.push(staged);
    let mut committer =
        IcebergCommitter::new(network, owner(), world.clock.clone(), world.ids.clone());
    committer
        .commit("lake.events__dead_letters", &pipeline.chain)
        .unwrap();
    let view = TableView::open(&world.catalog, &letters).unwrap();
    let file = &view.data_files[0];
    assert_eq!(
        file.runs.as_ref().map(|runs| (runs[0].first, runs[0].last)),
        Some((7, 8))
    );
    assert_eq!(
        view.read_rows(file).unwrap()[0].column(3).null_count(),
        1,
        "a time that is none is NULL"
    );
}

#[test]
fn odd_column_names_are_stored_as_iceberg_stores_them() {
    let world = World::new();
    let mut odd = columns();
    odd[2].name = "sepal.length".to_owned();
    let sink = IcebergTableSink::open(
        &spec(odd),
        world.network(),
        &owner(),
        None,
        world.clock.clone(),
        world.ids.clone(),
    );
    let mut pipeline = Pipeline::over(&world, sink.expect("the names are fine"), world.network());
    pipeline.read([2, 1]);
    pipeline.checkpoint();
    let chain = pipeline.chain.chain.clone();
    assert!(pipeline.committer.can_commit(TABLE, &chain).unwrap());
    pipeline.commit();
    let view = world.view();
    let batches = view.read_rows(&view.data_files[0]).unwrap();
    assert_eq!(batches[0].schema().field(2).name(), "sepal_x2Elength");
    let table = world.metadata();
    let names = table.current_schema().as_struct().fields().iter();
    assert_eq!(
        names.last().map(|field| field.name.as_str()),
        Some("sepal.length")
    );
}

/// Merged manifests are not merged into ever larger ones: what a merge reads and writes is bounded.
#[test]
fn merged_manifests_stay_below_the_target_size() {
    let world = World::new();
    let mut pipeline = Pipeline::new(&world, world.network(), TableChain::default(), [0, 0]);
    pipeline.epoch([1, 1]);
    let lengths = || {
        let metadata = world.metadata();
        let head = metadata.current_snapshot().expect("a head");
        let list =
            crate::commit::manifests::load_list(world.catalog.files(), &metadata, head).unwrap();
        let lengths = list.iter().map(|manifest| manifest.manifest_length);
        lengths.collect::<Vec<_>>()
    };
    let one = lengths()[0];
    // A manifest is mostly its schema: so many entries fit into three times one.
    world.set_property("commit.manifest.target-size-bytes", &(3 * one).to_string());
    world.set_property("commit.manifest.min-count-to-merge", "200");
    for _ in 0..210 {
        pipeline.epoch([1, 1]);
    }
    let lengths = lengths();
    let large = lengths.iter().filter(|length| **length > 3 * one).count();
    assert_eq!(large, 0, "{lengths:?} of {one}");
    assert!(lengths.len() < 120, "{} manifests", lengths.len());
    assert_eq!(world.rows(), pipeline.expected());
}

/// Pieces that are written as they are, pieces that are brought together, and rows that are picked one by one.
#[test]
fn however_rows_come_a_file_has_them_by_partition_and_in_order() {
    let blocks = |lengths: &[(i32, i64)]| {
        let mut next = [0, 0];
        let mut rows = Vec::new();
        for (part, length) in lengths {
            let from = &mut next[usize::try_from(*part).expect("0 or 1")];
            rows.extend((*from..*from + length).map(|off| (*part, off)));
            *from += length;
        }
        rows
    };
    let large = blocks(&[(0, 5000), (1, 4500), (0, 10)]);
    let medium = blocks(&[(1, 300), (0, 200), (1, 100), (0, 50)]);
    let single: Vec<(i32, i64)> = blocks(&[(0, 1), (1, 1)].repeat(60));
    for rows in [large, medium, single] {
        // In one batch, and in several that cut the stretches.
        for size in [rows.len(), 7, 4999] {
            let world = World::new();
            let (mut pipeline, _) = pipeline(&world);
            for part in rows.chunks(size) {
                pipeline.sink.write(batch(part)).unwrap();
            }
            let in_order = |part| rows.iter().filter(move |row| row.0 == part).copied();
            let wanted: Vec<(i32, i64)> = in_order(0).chain(in_order(1)).collect();
            pipeline.read = [0, 1].map(|part| in_order(part).count() as i64);
            pipeline.checkpoint();
            pipeline.commit();
            let view = world.view();
            let file = &view.data_files[0];
            let runs = file.runs.as_ref().expect("our files have runs").iter();
            let runs: Vec<(i32, u64)> = runs.map(|run| (run.partition, run.rows)).collect();
            let count = |part| in_order(part).count() as u64;
            assert_eq!(runs, [(0, count(0)), (1, count(1))]);
            let mut read = Vec::new();
            for batch in view.read_rows(file).unwrap() {
                let part = batch
                    .column(0)
                    .as_primitive::<Int32Type>()
                    .values()
                    .to_vec();
                let off = batch
                    .column(1)
                    .as_primitive::<Int64Type>()
                    .values()
                    .to_vec();
                read.extend(part.into_iter().zip(off));
            }
            assert!(read == wanted, "batches of {size}");
        }
    }
}
