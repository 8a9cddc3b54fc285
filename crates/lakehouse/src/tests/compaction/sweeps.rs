//! What becomes of data files that no snapshot lists any more.

use super::{compact, compactor, copies, five, pipeline, rows};
use crate::TableCatalog;
use crate::commit::listing::{named_by_any, named_by_kept};
use crate::commit::rules::Rules;
use crate::tests::world::{HandClock, Pipeline, TABLE, World, ident};
use crate::upkeep::compaction::Compactor;
use crate::upkeep::leftovers::{self, Leftover};
use crate::writer::replaced::Sealed;
use lw_runtime::manifest::Manifest;
use std::collections::BTreeSet;
use std::sync::Arc;

#[test]
fn what_a_dead_process_left_is_found_by_its_name() {
    let (world, mut pipeline) = five();
    let mut dead = compactor(&world);
    dead.copies(&ident(TABLE)).expect("files can be written");
    drop(dead);
    let sweep = |reach| {
        let rules = Rules::OURS;
        let mut compactor = compactor(&world).with_rules(rules, reach);
        let swept = compactor.sweep(&ident(TABLE), || None);
        swept.expect("it can be looked at");
        copies(&world).len()
    };
    assert_eq!(sweep(3), 1, "a request of its may be under way");
    for _ in 0..3 {
        pipeline.epoch([1, 0]);
    }
    assert_eq!(sweep(4), 1);
    assert_eq!(sweep(3), 0);
    assert_eq!(rows(&world), pipeline.expected());
}

/// A pipeline's table that keeps few snapshots, and its compactor.
struct Kept {
    clock: Arc<HandClock>,
    world: World,
    pipeline: Pipeline,
    compactor: Compactor,
    /// As it was when the last of five commits was pending.
    before: Manifest,
}

impl Kept {
    /// Compacted, and the snapshots expired that list what was replaced, but for the first of the hour: with it one file of the five.
    fn new() -> Kept {
        let clock = HandClock::new();
        let world = World::at(clock.clone());
        let mut pipeline = pipeline(&world);
        world.set_property("lakeward.snapshots.keep", "2");
        for _ in 0..4 {
            pipeline.epoch([2, 0]);
        }
        pipeline.read([2, 0]);
        pipeline.checkpoint();
        let before = pipeline.manifest();
        pipeline.commit();
        compact(&world);
        let compactor = compactor(&world);
        let mut kept = Kept {
            clock,
            world,
            pipeline,
            compactor,
            before,
        };
        assert_eq!(kept.sweep(5, 0), 0, "the snapshot below lists them");
        for _ in 0..3 {
            kept.pipeline.epoch([1, 0]);
        }
        kept
    }

    /// So many minutes later, with the manifest after so many seals.
    fn sweep(&mut self, seals: u64, minutes: i64) -> usize {
        self.sweep_beside(seals, minutes, Vec::new())
    }

    fn sweep_beside(&mut self, seals: u64, minutes: i64, beside: Vec<Manifest>) -> usize {
        self.clock.go(minutes * 60_000);
        let mut manifest = self.pipeline.manifest();
        manifest.checkpoint_id = seals;
        let sealed = Sealed { manifest, beside };
        let swept = self.compactor.sweep(&ident(TABLE), || Some(sealed));
        let swept = swept.expect("it can be looked at");
        let readable = self.world.all_readable();
        readable.expect("all that is kept has its files");
        swept
    }
}

#[test]
fn replaced_files_go_an_hour_after_the_last_snapshot_that_lists_them() {
    let mut kept = Kept::new();
    kept.pipeline.read([0, 2]);
    kept.pipeline.checkpoint();
    assert_eq!(kept.sweep(9, 0), 0);
    assert_eq!(kept.sweep(9, 59), 0, "a query may read them yet");
    assert_eq!(kept.sweep(9, 1), 4);
    assert_eq!(kept.sweep(9, 120), 0);
    // What was pending stayed.
    kept.pipeline.commit();
    assert_eq!(rows(&kept.world), kept.pipeline.expected());
}

/// An `INSERT` that is not in the script any more may come back, and go on where its manifest is.
#[test]
fn what_another_manifest_of_the_pipeline_has_pending_stays() {
    let mut kept = Kept::new();
    let before = kept.before.clone();
    for (minutes, gone) in [(0, 0), (120, 3)] {
        assert_eq!(kept.sweep_beside(8, minutes, vec![before.clone()]), gone);
    }
}

#[test]
fn where_gc_is_off_nothing_is_swept() {
    let mut kept = Kept::new();
    kept.world.set_property("gc.enabled", "false");
    assert_eq!(kept.sweep(8, 0) + kept.sweep(8, 120), 0);
}

/// Lists go with their snapshots, also while somebody reads one after the other.
#[test]
fn snapshots_that_end_while_they_are_looked_at_stop_no_sweep() {
    let world = World::new();
    let mut pipeline = pipeline(&world);
    world.set_property("lakeward.snapshots.keep", "1");
    for _ in 0..2 {
        pipeline.epoch([1, 0]);
    }
    let before = world.metadata();
    for _ in 0..3 {
        pipeline.epoch([1, 0]);
    }
    let files = world.catalog.files();
    let names: BTreeSet<String> = world.data_folder().into_iter().collect();
    named_by_any(files, &before, &names).expect_err("a list is gone");
    let load = || world.catalog.load(&ident(TABLE));
    let named = named_by_kept(files, before, &load, &names);
    assert_eq!(named.expect("the new ones are looked at"), names);
}

/// The same while it is asked whether the copies of a compaction that gave up have landed.
#[test]
fn snapshots_that_end_meanwhile_keep_no_leftover() {
    let world = World::new();
    let mut pipeline = pipeline(&world);
    world.set_property("lakeward.snapshots.keep", "1");
    for _ in 0..2 {
        pipeline.epoch([1, 0]);
    }
    let before = world.metadata();
    for _ in 0..3 {
        pipeline.epoch([1, 0]);
    }
    let name = leftovers::file_name(before.uuid(), 1, world.ids.next());
    let path = format!("{}/data/{name}", before.location());
    let written = world.catalog.files().write(&path, b"a copy");
    written.expect("a file can be written");
    assert_eq!(copies(&world).len(), 1);
    let leftover = Leftover {
        table: before.uuid(),
        paths: vec![path],
        asked: Some(before.last_sequence_number()),
    };
    compactor(&world).give_up(&ident(TABLE), leftover, &before);
    assert_eq!(copies(&world).len(), 0);
}
