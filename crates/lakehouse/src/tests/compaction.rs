//! Compaction of tables that a pipeline writes: the same rows, runs and commits in fewer files, whatever comes between.

mod partitions;
mod sweeps;

use super::foreign::{Change, Engine, Reader, Row, THEIRS};
use super::world::{Fault, Pipeline, TABLE, World, ident};
use crate::TableCatalog;
use crate::commit::cached::Cached;
use crate::commit::manifests;
use crate::commit::marker::{is_upkeep, upholds};
use crate::error::Kind;
use crate::upkeep::compaction::{Compacted, Compactor, Effort, Outcome};
use crate::upkeep::leftovers::parse;
use iceberg::spec::{ManifestFile, Operation};
use lw_runtime::manifest::TableChain;
use std::collections::BTreeSet;

fn pipeline(world: &World) -> Pipeline {
    Pipeline::new(world, world.network(), TableChain::default(), [0, 0])
}

/// A table of so many commits, each with these rows.
fn filled(commits: usize, rows: [i64; 2]) -> (World, Pipeline) {
    let world = World::new();
    let pipeline = fill(&world, commits, rows);
    (world, pipeline)
}

fn fill(world: &World, commits: usize, rows: [i64; 2]) -> Pipeline {
    let mut pipeline = pipeline(world);
    for _ in 0..commits {
        pipeline.epoch(rows);
    }
    pipeline
}

/// As many small files as it takes.
fn five() -> (World, Pipeline) {
    filled(5, [2, 0])
}

fn compactor(world: &World) -> Compactor {
    Compactor::new(world.network(), world.clock.clone(), world.ids.clone())
}

fn compact(world: &World) -> Compacted {
    let done = compactor(world).compact(&ident(TABLE), Effort::Full, &mut || true);
    done.expect("it can be compacted")
}

/// The rows that a reader by the specification sees.
fn rows(world: &World) -> Vec<Row> {
    let metadata = world.metadata();
    let head = metadata.current_snapshot().expect("there is a head");
    let contents = Reader::default()
        .snapshot(world.catalog.files(), &metadata, head)
        .cloned();
    contents.expect("all is there").rows
}

fn engine(world: &World) -> Engine<'_> {
    Engine {
        catalog: &world.catalog,
        ids: &world.ids,
        totals: true,
    }
}

/// What the head lists.
fn listed(world: &World) -> Vec<ManifestFile> {
    let metadata = world.metadata();
    let head = metadata.current_snapshot().expect("there is a head");
    manifests::load_list(world.catalog.files(), &metadata, head).expect("a list")
}

/// Names of the files that compactions wrote, those that no snapshot lists among them.
fn copies(world: &World) -> BTreeSet<String> {
    let names = world.data_folder().into_iter();
    names.filter(|name| parse(name).is_some()).collect()
}

/// `partition:first-last` for each run of each file.
fn runs(world: &World) -> Vec<String> {
    let files = world.view().data_files;
    let runs = files.iter().map(|file| {
        let runs = file.runs.as_ref().expect("files of ours have runs").iter();
        let text = runs.map(|run| format!("{}:{}-{}", run.partition, run.first, run.last));
        text.collect::<Vec<_>>().join(" ")
    });
    runs.collect()
}

#[test]
fn small_files_become_one_with_the_same_rows_and_runs() {
    let (world, mut pipeline) = filled(6, [3, 1]);
    let before = world.metadata();
    let done = compact(&world);
    let told = (
        done.files_before,
        done.files_after,
        done.replaced,
        done.made,
        done.rows,
    );
    assert_eq!(told, (6, 1, 6, 1, 24));
    assert!(
        done.bytes_after
            .is_some_and(|after| after < done.bytes_before)
    );
    assert_eq!(rows(&world), pipeline.expected());
    let expected: Vec<String> = (0..6)
        .map(|epoch| format!("0:{}-{} 1:{epoch}-{epoch}", epoch * 3, epoch * 3 + 2))
        .collect();
    assert_eq!(runs(&world), [expected.join(" ")]);

    let after = world.metadata();
    let head = after.current_snapshot().expect("there is a head");
    assert!(is_upkeep(head));
    assert_eq!(upholds(head), before.current_snapshot_id());
    assert_eq!(head.summary().operation, Operation::Replace);
    for (key, value) in [
        ("total-data-files", "1"),
        ("total-records", "24"),
        ("added-data-files", "1"),
        ("deleted-data-files", "6"),
        ("added-records", "24"),
        ("deleted-records", "24"),
    ] {
        let said = head.summary().additional_properties.get(key);
        assert_eq!(said.map(String::as_str), Some(value), "{key}");
    }
    let bytes = head.summary().additional_properties.get("total-files-size");
    assert_eq!(
        bytes.cloned(),
        done.bytes_after.map(|bytes| bytes.to_string())
    );

    // It goes on as if nothing had been, and there is nothing more to do.
    pipeline.epoch([2, 2]);
    assert_eq!(rows(&world), pipeline.expected());
    let again = compact(&world);
    assert_eq!((again.commits, again.files_after), (0, 2));
    world
        .all_readable()
        .expect("older snapshots still have their files");
}

/// Its rows are as old as the snapshot that they were read from.
#[test]
fn a_copy_has_the_sequence_number_of_what_was_read() {
    let (world, mut pipeline) = filled(5, [1, 0]);
    let read = world.metadata().last_sequence_number();
    let mut compactor = compactor(&world);
    let copies = compactor
        .copies(&ident(TABLE))
        .expect("files can be written");
    pipeline.epoch([1, 0]);
    let outcome = compactor.publish(copies.expect("there are small files"));
    assert_eq!(outcome.expect("the catalog answers"), Outcome::Landed);
    let files = world.catalog.files();
    let mut found = Vec::new();
    for list in listed(&world) {
        for entry in manifests::load(files, &list).expect("a manifest").entries() {
            let name = entry.file_path().rsplit('/').next().expect("a name");
            if entry.is_alive() && parse(name).is_some() {
                found.push((entry.sequence_number(), entry.file_sequence_number));
            }
        }
    }
    assert_eq!(found, [(Some(read), Some(read + 2))]);
    assert_eq!(rows(&world), pipeline.expected());
}

#[test]
fn a_dry_run_writes_nothing() {
    let (world, _pipeline) = filled(6, [1, 1]);
    let before = world.metadata();
    let plan = compactor(&world)
        .plan(&ident(TABLE), Effort::Full)
        .expect("a plan");
    let told = (
        plan.files_before,
        plan.files_after,
        plan.replaced,
        plan.made,
        plan.rows,
    );
    assert_eq!((told, plan.bytes_after), ((6, 1, 6, 1, 12), None));
    assert_eq!(world.metadata(), before);
    assert_eq!(copies(&world), BTreeSet::new());
}

#[test]
fn files_with_deletes_and_files_of_others_beside_ours() {
    let (world, mut pipeline) = filled(6, [1, 0]);
    engine(&world)
        .commit(&Change::Delete(vec![(0, 1)]))
        .expect("a foreign delete");
    for off in 0..5 {
        engine(&world)
            .commit(&Change::Append(vec![(THEIRS, off)]))
            .expect("a foreign append");
    }
    let before = rows(&world);
    // The foreign delete's manifest says nothing of which files it is about; the file itself does, and that one stays.
    let steady = compactor(&world)
        .plan(&ident(TABLE), Effort::Steady)
        .expect("a plan");
    let left_out: Vec<(&str, u64)> = steady.left_out.into_iter().collect();
    assert_eq!(
        (steady.replaced, left_out),
        (
            5,
            vec![("of another writer", 5), ("rows may be deleted", 1)]
        )
    );
    let done = compact(&world);
    assert_eq!((done.replaced, done.made), (10, 2));
    assert_eq!(rows(&world), before);
    assert_eq!(
        world
            .view()
            .data_files
            .iter()
            .filter(|file| file.runs.is_none())
            .count(),
        1
    );
    // Later files of the pipeline are not older than the delete, and the copy of the others is small yet.
    for _ in 0..5 {
        pipeline.epoch([0, 1]);
    }
    assert_eq!(compact(&world).replaced, 6);
    let expected = pipeline.expected().into_iter().filter(|row| *row != (0, 1));
    let theirs = (0..5).map(|off| (THEIRS, off));
    assert_eq!(rows(&world), expected.chain(theirs).collect::<Vec<_>>());
}

/// Copies that are made, then something happens, then they are to take their place.
fn between(happens: impl FnOnce(&World, &mut Pipeline)) -> Outcome {
    let (world, mut pipeline) = five();
    let mut compactor = compactor(&world);
    let prepared = compactor
        .copies(&ident(TABLE))
        .expect("files can be written");
    happens(&world, &mut pipeline);
    let before = rows(&world);
    let outcome = compactor.publish(prepared.expect("there are small files"));
    let outcome = outcome.expect("the catalog answers");
    assert_eq!(rows(&world), before);
    let left = copies(&world).len();
    let landed = usize::from(outcome == Outcome::Landed);
    assert_eq!(left, landed, "what was given up is gone");
    pipeline.epoch([1, 1]);
    outcome
}

#[test]
fn appends_are_no_obstacles() {
    let others: [fn(&World, &mut Pipeline); 3] = [
        |_, pipeline| pipeline.epoch([3, 3]),
        |world, _| world.foreign_commit(),
        |world, _| world.try_branch_commit("audit").expect("a branch"),
    ];
    for happens in others {
        assert_eq!(between(happens), Outcome::Landed);
    }
}

#[test]
fn deletes_and_overwrites_are_obstacles() {
    for change in [
        Change::Delete(vec![(0, 3)]),
        Change::Overwrite(vec![(0, 3)]),
        Change::Rewrite,
    ] {
        let outcome = between(|world, _| {
            engine(world).commit(&change).expect("a foreign change");
        });
        assert!(matches!(outcome, Outcome::Conflict(_)), "{outcome:?}");
    }
}

/// A network with these faults, and what becomes of a compaction over it.
fn over(faults: &[Fault]) -> (World, Pipeline, Compactor, Result<Outcome, Kind>) {
    let (world, pipeline) = five();
    let network = world.network();
    network
        .faults
        .lock()
        .expect("nothing panics there")
        .extend(faults.iter().copied().map(Some));
    let mut compactor = Compactor::new(network, world.clock.clone(), world.ids.clone());
    let prepared = compactor
        .copies(&ident(TABLE))
        .expect("files can be written");
    let outcome = compactor.publish(prepared.expect("there are small files"));
    (
        world,
        pipeline,
        compactor,
        outcome.map_err(|error| error.kind),
    )
}

#[test]
fn a_compaction_that_landed_is_known_whatever_the_reply_said() {
    for fault in [Fault::ReplyLost, Fault::Resent] {
        let (world, mut pipeline, mut compactor, outcome) = over(&[fault]);
        assert_eq!(outcome, Ok(Outcome::Landed), "{fault:?}");
        assert_eq!(copies(&world).len(), 1);
        pipeline.epoch([1, 1]);
        assert_eq!(rows(&world), pipeline.expected());
        // And it is not undone later.
        let again = compactor.compact(&ident(TABLE), Effort::Full, &mut || true);
        assert_eq!(again.expect("it can be compacted").commits, 0);
        assert_eq!(rows(&world), pipeline.expected());
    }
}

#[test]
fn somebody_else_first_is_no_end() {
    for fault in [Fault::Raced, Fault::Overtaken] {
        // More often than a pipeline would bear it: the copies are there.
        let (world, pipeline, _, outcome) = over(&[fault; 15]);
        assert_eq!(outcome, Ok(Outcome::Landed), "{fault:?}");
        assert_eq!(rows(&world), pipeline.expected());
    }
}

#[test]
fn one_that_is_never_first_gives_up_and_says_so() {
    let (world, pipeline, _, outcome) = over(&[Fault::Raced; 50]);
    let Ok(Outcome::Conflict(why)) = outcome else {
        panic!("{outcome:?}");
    };
    let expected = "other commits were faster 50 times: ";
    assert!(why.starts_with(expected), "{why}");
    assert_eq!(copies(&world), BTreeSet::new());
    assert_eq!(rows(&world), pipeline.expected());
}

/// Rows of other files are overwritten whenever files are copied.
#[test]
fn one_that_others_are_in_the_way_of_says_what_it_met() {
    let (world, _pipeline) = filled(40, [2, 0]);
    let (mut asked, mut overwritten) = (0, 0);
    let mut meddles = || {
        asked += 1;
        // It is asked with each file.
        if asked % 10 == 1 {
            let change = Change::Overwrite(vec![(0, 2 * overwritten)]);
            engine(&world).commit(&change).expect("a foreign overwrite");
            overwritten += 1;
        }
        true
    };
    let done = compactor(&world).compact(&ident(TABLE), Effort::Full, &mut meddles);
    let done = done.expect("it can be compacted");
    assert_eq!((done.commits, done.conflicts), (0, 3));
    let why = done.gave_up.expect("it says why");
    assert!(why.ends_with("is not in the table any more"), "{why}");
    let undisturbed = compact(&world);
    assert_eq!((undisturbed.commits, undisturbed.gave_up), (1, None));
}

#[test]
fn a_manifest_that_was_read_is_not_read_again() {
    let (world, mut pipeline) = five();
    let (files, cached) = (world.catalog.files(), Cached::default());
    let before = listed(&world);
    cached.all(files, &before).expect("all are there");
    pipeline.epoch([1, 0]);
    for manifest in &before {
        files.remove(&manifest.manifest_path).expect("it was there");
    }
    let after = listed(&world);
    assert_eq!(after.len(), before.len() + 1);
    let all = cached.all(files, &after).expect("the new one is read");
    assert_eq!(all.len(), after.len());
    // Those that the head does not list any more are let go.
    let newest = &after[after.len() - 1..];
    cached.all(files, newest).expect("it is known");
    assert!(cached.all(files, &before).is_err());
}

#[test]
fn files_of_a_request_that_may_be_under_way_stay_until_it_cannot_be() {
    let (world, mut pipeline, mut compactor, outcome) = over(&[Fault::RequestLost]);
    assert_eq!(outcome, Err(Kind::Unknown));
    let doubtful = copies(&world);
    assert_eq!(doubtful.len(), 1, "it may land yet");
    pipeline.epoch([1, 1]);
    let done = compactor.compact(&ident(TABLE), Effort::Full, &mut || true);
    assert_eq!(done.expect("it can be compacted").commits, 1);
    let left = copies(&world);
    assert_eq!((left.len(), left.is_disjoint(&doubtful)), (1, true));
    assert_eq!(rows(&world), pipeline.expected());
}

#[test]
fn one_that_is_told_to_stop_leaves_nothing() {
    let (world, _pipeline) = filled(6, [2, 0]);
    let mut asked = 0;
    let mut go_on = || {
        asked += 1;
        asked < 4
    };
    let done = compactor(&world).compact(&ident(TABLE), Effort::Full, &mut go_on);
    assert_eq!(done.expect("it can be compacted").commits, 0);
    assert_eq!(copies(&world), BTreeSet::new());
    assert!(
        world
            .data_folder()
            .iter()
            .all(|name| !name.ends_with(".part"))
    );
}

#[test]
fn a_rollback_of_a_compaction_alone_is_none_of_rows() {
    let (world, mut pipeline) = five();
    compact(&world);
    world.roll_back();
    assert_eq!(rows(&world), pipeline.expected());
    pipeline.epoch([1, 0]);
    assert_eq!(rows(&world), pipeline.expected());
}

/// Another engine keeps only the head: what it cut off, the compaction upholds.
#[test]
fn expiry_by_others_below_a_compaction_stops_no_pipeline() {
    let (world, mut pipeline) = five();
    compact(&world);
    world.foreign_commit();
    let metadata = world.metadata();
    let head = metadata.current_snapshot_id();
    let kept = [
        head,
        metadata
            .current_snapshot()
            .and_then(|head| head.parent_snapshot_id()),
    ];
    let rest = metadata.snapshots().map(|snapshot| snapshot.snapshot_id());
    world.expire(rest.filter(|id| !kept.contains(&Some(*id))).collect());
    pipeline.epoch([1, 0]);
    assert_eq!(rows(&world), pipeline.expected());
}

/// However few snapshots are to be kept, the one with the newest marker is.
#[test]
fn our_own_expiry_keeps_the_newest_marker_below_a_compaction() {
    let (world, mut pipeline) = five();
    world.set_property("lakeward.snapshots.keep", "1");
    world.set_property("lakeward.compaction.min-input-files", "2");
    compact(&world);
    let view = world.view();
    assert!(view.snapshots.iter().any(|one| one.marker.is_some()));
    assert_eq!(view.rolled_back(), None);
    pipeline.epoch([1, 0]);
    assert_eq!(rows(&world), pipeline.expected());
}
