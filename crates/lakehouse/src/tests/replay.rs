//! Replays: the branch is what `main` would be, `main` and its pipeline do not notice, and a crash anywhere is gone on from.

use super::foreign::{Change, Engine, Reader, Row, THEIRS};
use super::world::{Fault, Pipeline, TABLE, World, columns, ident, offsets, owner, spec};
use crate::commit::moves::{At, RefKind, RefMover, What, Wish};
use crate::replay::{Forked, ReplayError, ReplayRange, Replays, Wanted};
use crate::upkeep::compaction::{Compactor, Effort};
use crate::writer::replaced::Sealed;
use crate::{IcebergCommitter, IcebergTableSink, TableCatalog, view};
use lw_graph::IcebergSink;
use lw_runtime::connector::{CommitOutcome, Owner};
use lw_runtime::manifest::{Confirmed, Manifest, TableChain};
use std::sync::Arc;
use uuid::Uuid;

pub(super) const BRANCH: &str = "fix";

pub(super) fn replayer() -> Owner {
    Owner {
        pipeline: Uuid::from_u128(70),
        name: "lake.events@fix".to_owned(),
    }
}

pub(super) fn pipeline(world: &World, epochs: i64) -> Pipeline {
    let mut pipeline = Pipeline::new(world, world.network(), TableChain::default(), [0, 0]);
    for _ in 0..epochs {
        pipeline.epoch([5, 3]);
    }
    pipeline
}

pub(super) fn range(from: [i64; 2], until: [i64; 2]) -> ReplayRange {
    ReplayRange {
        from: offsets(from),
        until: offsets(until),
        from_the_beginning: from == [0, 0],
        to_the_end: false,
    }
}

pub(super) fn replays(world: &World, catalog: Arc<dyn TableCatalog>) -> Replays {
    Replays::new(catalog, world.clock.clone(), world.ids.clone())
}

fn fork_over(
    world: &World,
    catalog: Arc<dyn TableCatalog>,
    range: &ReplayRange,
    is_known: bool,
) -> Result<Forked, ReplayError> {
    let wanted = Wanted {
        branch: BRANCH,
        owner: &replayer(),
        range,
        head: world.metadata().current_snapshot_id().expect("a head"),
        is_known: &|_| is_known,
    };
    replays(world, catalog).fork(&ident(TABLE), &wanted)
}

pub(super) fn fork(world: &World, range: &ReplayRange) -> Result<Forked, ReplayError> {
    fork_over(world, world.network(), range, true)
}

/// The job of a replay, as it starts from its manifest.
pub(super) fn replay(world: &World, range: &ReplayRange, forked: &Forked) -> Pipeline {
    let sink = IcebergTableSink::open(
        &IcebergSink {
            branch: Some(BRANCH.to_owned()),
            ..spec(columns())
        },
        world.network(),
        &replayer(),
        None,
        world.clock.clone(),
        world.ids.clone(),
    );
    let mut replay = Pipeline::over(world, sink.expect("the sink opens"), world.network());
    let committer = IcebergCommitter::new(
        world.network(),
        replayer(),
        world.clock.clone(),
        world.ids.clone(),
    );
    replay.committer = committer.on_branch(BRANCH);
    replay.chain.last = Some(Confirmed {
        uuid: forked.commit,
        sequence: 0,
        ends: range.from.clone(),
    });
    let from = [range.from[0].next, range.from[1].next];
    (replay.read, replay.sealed) = (from, from);
    replay
}

/// What a reader by the specification sees of a branch.
pub(super) fn rows(world: &World, branch: &str) -> Vec<Row> {
    let metadata = world.metadata();
    let head = metadata
        .snapshot_for_ref(branch)
        .expect("there is the branch");
    let contents = Reader::default()
        .snapshot(world.catalog.files(), &metadata, head)
        .cloned();
    let mut rows = contents.expect("all is there").rows;
    rows.sort_unstable();
    rows
}

pub(super) fn without(rows: &[Row], range: &ReplayRange) -> Vec<Row> {
    let of_range = |(part, off): &Row| {
        let mut parts = range.parts();
        parts.any(|(from, until)| from.partition == *part && (from.next..until).contains(off))
    };
    rows.iter().filter(|row| !of_range(row)).copied().collect()
}

pub(super) fn engine(world: &World) -> Engine<'_> {
    Engine {
        catalog: &world.catalog,
        ids: &world.ids,
        totals: true,
    }
}

/// Over every range of small steps: aligned to commits, across them, of one partition alone.
#[test]
fn a_branch_begins_as_main_without_the_range_and_ends_as_main() {
    for (from, until) in [
        ([0, 0], [20, 12]),
        ([5, 3], [10, 6]),
        ([7, 0], [8, 0]),
        ([3, 4], [17, 11]),
        ([12, 12], [20, 12]),
    ] {
        let world = World::new();
        let mut live = pipeline(&world, 4);
        let theirs = Change::Append(vec![(THEIRS, 1), (THEIRS, 2)]);
        engine(&world).commit(&theirs).expect("others append");
        let before = rows(&world, "main");
        let range = range(from, until);
        let forked = fork(&world, &range).expect("it can be had");
        assert_eq!(
            rows(&world, BRANCH),
            without(&before, &range),
            "{from:?} {until:?}"
        );
        let gone = before.len() - without(&before, &range).len();
        assert_eq!(forked.rows, gone as u64);

        // The live pipeline goes on between the steps of the replay.
        let mut replay = replay(&world, &range, &forked);
        live.epoch([2, 2]);
        let half = [0, 1].map(|part| (until[part] - from[part]) / 2);
        replay.epoch(half);
        live.epoch([1, 0]);
        replay.epoch([0, 1].map(|part| until[part] - from[part] - half[part]));
        live.epoch([0, 3]);
        assert_eq!(rows(&world, BRANCH), before, "{from:?} {until:?}");
        let mut expected = live.expected();
        expected.extend([(THEIRS, 1), (THEIRS, 2)]);
        assert_eq!(rows(&world, "main"), expected);
        undisturbed(&world, &live);
    }
}

/// Nobody who looks at `main` sees anything of the branch.
fn undisturbed(world: &World, live: &Pipeline) {
    let main = world.view();
    assert_eq!(main.rolled_back(), None);
    let marker = main.marker.as_ref().expect("it has one");
    assert_eq!(marker.pipeline, owner().pipeline);
    assert_eq!(marker.ends(), offsets(live.read));
    assert_eq!(marker.begins(), offsets([0, 0]));
    let shown = main.snapshots.iter().filter_map(|one| one.marker.as_ref());
    let owners: Vec<Uuid> = shown.map(|marker| marker.pipeline).collect();
    assert!(owners.iter().all(|id| *id == owner().pipeline));
    assert!(main.snapshots.iter().all(|snapshot| snapshot.follows));
    let table = world.catalog.load(&ident(TABLE)).expect("it is there");
    let held = view::holders(&table, "in", 0, 0);
    assert_eq!(held.iter().filter(|held| held.current).count(), 1);
}

/// Runs are carried on: a replay of a branch's copies, and the audit of them, know each row.
#[test]
fn compacted_files_are_cut_at_the_very_row() {
    let world = World::new();
    let mut live = pipeline(&world, 6);
    let mut compactor = Compactor::new(world.network(), world.clock.clone(), world.ids.clone());
    let done = compactor.compact(&ident(TABLE), Effort::Full, &mut || true);
    assert_eq!(done.expect("it can be compacted").made, 1);
    let range = range([11, 2], [13, 9]);
    let forked = fork(&world, &range).expect("it can be had");
    assert_eq!((forked.files, forked.cut), (1, 1));
    let before = live.expected();
    assert_eq!(rows(&world, BRANCH), without(&before, &range));
    let mut replay = replay(&world, &range, &forked);
    replay.epoch([2, 7]);
    assert_eq!(rows(&world, BRANCH), before);
    // What the server's upkeep of `main` removes is nothing that the branch lists.
    live.epoch([1, 1]);
    let mut manifest = live.manifest();
    manifest.generation = 9;
    let sealed = || {
        Some(Sealed {
            manifest,
            beside: Vec::new(),
        })
    };
    let mut sweeper = Compactor::new(world.network(), world.clock.clone(), world.ids.clone())
        .with_rules(crate::commit::rules::Rules::OURS, 0);
    for _ in 0..3 {
        sweeper
            .sweep(&ident(TABLE), || None)
            .expect("it can be swept");
    }
    sweeper
        .sweep(&ident(TABLE), sealed)
        .expect("it can be swept");
    assert_eq!(rows(&world, BRANCH), before);
    assert_eq!(rows(&world, "main"), live.expected());
    undisturbed(&world, &live);
}

#[test]
fn a_fork_is_known_whatever_the_reply_said() {
    for fault in [
        Fault::ReplyLost,
        Fault::Resent,
        Fault::Raced,
        Fault::Overtaken,
    ] {
        let world = World::new();
        let mut live = pipeline(&world, 3);
        let network = world.network();
        let faults = [Some(fault)].into();
        *network.faults.lock().expect("nothing panics there") = faults;
        let range = range([4, 2], [9, 5]);
        let forked = fork_over(&world, network, &range, true).expect("it arrives");
        let mut replay = replay(&world, &range, &forked);
        replay.epoch([5, 3]);
        assert_eq!(rows(&world, BRANCH), live.expected(), "{fault:?}");
        live.epoch([1, 1]);
        undisturbed(&world, &live);
    }
}

/// The process dies between the branch and the replay's record, or nobody knows whether its request arrived.
#[test]
fn what_a_crash_has_left_is_made_anew_and_nothing_else() {
    let world = World::new();
    let live = pipeline(&world, 3);
    let network = world.network();
    let faults = [Some(Fault::RequestLost)].into();
    *network.faults.lock().expect("nothing panics there") = faults;
    let range = range([4, 2], [9, 5]);
    let silent = fork_over(&world, network.clone(), &range, false);
    assert!(matches!(silent, Err(ReplayError::Catalog(_))), "{silent:?}");
    let first = fork_over(&world, network.clone(), &range, false).expect("this time it arrives");
    // It is of a replay that is there.
    let there = fork_over(&world, network.clone(), &range, true);
    assert!(
        matches!(there, Err(ReplayError::Exists { .. })),
        "{there:?}"
    );
    let again = fork_over(&world, network.clone(), &range, false).expect("nobody knows of it");
    assert_ne!(first.commit, again.commit);
    // Something was computed: somebody has to decide.
    let mut replay = replay(&world, &range, &again);
    replay.epoch([2, 2]);
    let there = fork_over(&world, network, &range, false);
    assert!(
        matches!(there, Err(ReplayError::Exists { .. })),
        "{there:?}"
    );
    replay.epoch([3, 1]);
    assert_eq!(rows(&world, BRANCH), live.expected());
}

#[test]
fn a_users_own_branch_or_tag_is_left_alone() {
    let world = World::new();
    pipeline(&world, 2);
    let range = range([0, 0], [4, 2]);
    let mut mover = RefMover::new(world.network(), world.clock.clone(), world.ids.clone());
    for (kind, expected) in [
        (RefKind::Branch, "is there already"),
        (RefKind::Tag, "there is a tag of this name"),
    ] {
        let put = |what| Wish {
            kind,
            name: BRANCH.to_owned(),
            what,
        };
        let made = What::Put {
            at: None,
            replace: false,
            retention: Default::default(),
        };
        mover.set(&ident(TABLE), &put(made)).expect("it is made");
        let refused = fork_over(&world, world.network(), &range, false);
        let refused = refused.expect_err("it is not a replay's").to_string();
        assert!(refused.contains(expected), "{refused}");
        mover.set(&ident(TABLE), &put(What::Drop)).expect("it goes");
    }
}

/// Where others changed files of the range, or may have, no branch is made and no file is left.
#[test]
fn files_that_others_changed_are_refused_where_they_may_be_of_the_range() {
    for (change, expected) in [
        (
            Change::Delete(vec![(0, 6)]),
            "may have been deleted by somebody else",
        ),
        (
            Change::Overwrite(vec![(0, 6)]),
            "was written by somebody else",
        ),
        (Change::Rewrite, "was written by somebody else"),
    ] {
        let world = World::new();
        let mut live = pipeline(&world, 3);
        engine(&world).commit(&change).expect("a foreign change");
        live.epoch([1, 1]);
        let files = world.data_folder();
        let refused = fork(&world, &range([4, 2], [9, 5])).expect_err("it cannot be told");
        assert!(refused.to_string().contains(expected), "{refused}");
        assert_eq!(world.data_folder(), files, "{change:?}");
        assert!(world.metadata().snapshot_for_ref(BRANCH).is_none());
    }
}

#[test]
fn a_replay_whose_branch_is_gone_pauses() {
    let world = World::new();
    pipeline(&world, 2);
    let range = range([0, 0], [10, 6]);
    let forked = fork(&world, &range).expect("it can be had");
    let mut replay = replay(&world, &range, &forked);
    replay.epoch([2, 2]);
    let mut mover = RefMover::new(world.network(), world.clock.clone(), world.ids.clone());
    let gone = Wish {
        kind: RefKind::Branch,
        name: BRANCH.to_owned(),
        what: What::Drop,
    };
    mover.set(&ident(TABLE), &gone).expect("it goes");
    replay.read([2, 2]);
    replay.checkpoint();
    match replay.commit() {
        CommitOutcome::Paused(pause) => {
            assert!(
                pause.reason.contains("the branch 'fix' was dropped"),
                "{}",
                pause.reason
            );
        }
        other => panic!("{other:?}"),
    }
    assert!(world.metadata().snapshot_for_ref(BRANCH).is_none());
}

/// With one snapshot kept, a commit to the branch is the one that expires those of `main`: the newest marker's never.
#[test]
fn commits_to_a_branch_do_not_cut_main_off_from_its_marker() {
    let world = World::new();
    let mut live = pipeline(&world, 6);
    world.set_property("lakeward.snapshots.keep", "1");
    let range = range([0, 0], [10, 6]);
    let forked = fork(&world, &range).expect("it can be had");
    let mut compactor = Compactor::new(world.network(), world.clock.clone(), world.ids.clone());
    let done = compactor.compact(&ident(TABLE), Effort::Full, &mut || true);
    assert_eq!(done.expect("it can be compacted").commits, 1);
    let mut replay = replay(&world, &range, &forked);
    replay.epoch([5, 3]);
    let marker = world.view().marker.expect("it has one");
    let metadata = world.metadata();
    assert!(metadata.snapshot_by_id(marker.snapshot_id).is_some());
    live.epoch([1, 1]);
    replay.epoch([5, 3]);
    assert_eq!(rows(&world, "main"), live.expected());
    world.all_readable().expect("all that is kept can be read");
}

/// A rollback of `main` is judged as if there were no branch.
#[test]
fn main_is_rolled_back_and_rewound_beside_a_branch() {
    let world = World::new();
    let mut live = pipeline(&world, 2);
    let range = range([0, 0], [10, 6]);
    let forked = fork(&world, &range).expect("it can be had");
    let mut replay = replay(&world, &range, &forked);
    replay.epoch([5, 3]);
    let head = world.metadata().current_snapshot_id().expect("a head");
    live.epoch([1, 1]);
    let mut mover = RefMover::new(world.network(), world.clock.clone(), world.ids.clone());
    let to = At::Version(head.to_string());
    let back = mover
        .roll_back(&ident(TABLE), &to, true)
        .expect("it is done");
    let writing = back.writing.expect("a pipeline writes it");
    assert_eq!(writing.owner, owner());
    assert_eq!(writing.table_ends, offsets([10, 6]));
    replay.epoch([5, 3]);
    assert_eq!(rows(&world, BRANCH), rows(&world, "main"));
}

/// An aborted file of the replay goes when it starts again; `main`'s pipeline takes none of its.
#[test]
fn files_of_a_replay_that_came_to_nothing_go_with_its_next_start() {
    let world = World::new();
    let live = pipeline(&world, 2);
    let range = range([0, 0], [10, 6]);
    let forked = fork(&world, &range).expect("it can be had");
    let mut first = replay(&world, &range, &forked);
    let mut manifest = Manifest::new(replayer().pipeline);
    manifest.stand_at(TABLE, &offsets([0, 0]));
    manifest.generation = 1;
    lw_runtime::connector::Sink::begin(&mut first.sink, &manifest).expect("the disk is well");
    first.read([5, 3]);
    // Sealed, and the process dies before the manifest.
    lw_runtime::connector::Sink::seal(&mut first.sink).expect("files can be written");
    let files = world.data_folder().len();
    let mut taken_over = live.manifest();
    Pipeline::take_over(&world, &mut taken_over);
    assert_eq!(world.data_folder().len(), files, "they are not main's");
    manifest.generation = 2;
    let mut second = replay(&world, &range, &forked);
    lw_runtime::connector::Sink::begin(&mut second.sink, &manifest).expect("the disk is well");
    assert_eq!(world.data_folder().len(), files - 1);
    second.epoch([10, 6]);
    assert_eq!(rows(&world, BRANCH), live.expected());
}
