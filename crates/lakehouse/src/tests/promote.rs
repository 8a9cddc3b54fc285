//! Promotions: `main` has the rows of the branch once, whatever requests, processes and other writers do, and goes on.

use super::foreign::Change;
use super::replay::{BRANCH, engine, fork, pipeline, range, replay, replayer, replays, rows};
use super::world::{Fault, Pipeline, TABLE, World, asked, ident, owner};
use crate::TableCatalog;
use crate::commit::marker::{Marker, PROMOTED};
use crate::commit::moves::{At, RefMover};
use crate::replay::{Became, Forked, ReplayError, ReplayRange, ToPromote};
use crate::upkeep::compaction::{Compactor, Effort};
use lw_runtime::connector::{CommitOutcome, Committer};
use lw_runtime::manifest::Pending;
use lw_runtime::pipelines::takeover;
use serde_json::Value;
use std::collections::BTreeSet;
use uuid::Uuid;

/// A pipeline of four commits, a replay of what is in the middle of them, done.
struct Scene {
    world: World,
    live: Pipeline,
    range: ReplayRange,
    forked: Forked,
}

impl Scene {
    /// Which no commit of it begins or ends with.
    fn new() -> Scene {
        Scene::of([7, 0], [13, 9])
    }

    /// The second and the third.
    fn whole() -> Scene {
        Scene::of([5, 3], [15, 9])
    }

    fn of(from: [i64; 2], until: [i64; 2]) -> Scene {
        let world = World::new();
        let mut live = pipeline(&world, 0);
        live.plan = Some("wrong");
        for _ in 0..4 {
            live.epoch([5, 3]);
        }
        let range = range(from, until);
        let forked = fork(&world, &range).expect("it can be had");
        let mut filler = replay(&world, &range, &forked);
        filler.epoch([2, 4]);
        filler.epoch([until[0] - from[0] - 2, until[1] - from[1] - 4]);
        Scene {
            world,
            live,
            range,
            forked,
        }
    }

    fn promotion(&self, discard: &[i64]) -> Result<Vec<Value>, ReplayError> {
        replays(&self.world, self.world.network()).promotion(
            &ident(TABLE),
            &ToPromote {
                branch: BRANCH,
                replay: replayer().pipeline,
                from: &self.range.from,
                until: &self.range.until,
                fork: self.forked.fork,
                base: self.forked.base,
                plan: "right".to_owned(),
                discard,
            },
        )
    }

    /// As the runtime does it, behind what is pending.
    fn enlist(&mut self, files: Vec<Value>) -> Uuid {
        let uuid = self.world.ids.next();
        let chain = &mut self.live.chain;
        chain.chain.push(Pending {
            sequence: chain.next_sequence(),
            uuid,
            previous: chain.head(),
            files,
            plan: self.live.plan.map(str::to_owned),
            ..Pending::default()
        });
        uuid
    }

    fn ask(&mut self) -> Uuid {
        let files = self.promotion(&[]).expect("it can be promoted");
        self.enlist(files)
    }

    /// Commits until nothing is pending.
    fn settle(&mut self) {
        for _ in 0..5 {
            if self.live.chain.chain.is_empty() {
                return;
            }
            let outcome = self.live.commit();
            assert!(
                matches!(outcome, CommitOutcome::Confirmed { .. }),
                "{outcome:?}"
            );
        }
        panic!("something is pending: {:?}", self.live.chain);
    }

    fn became(&self, uuid: Uuid) -> Became {
        let replays = replays(&self.world, self.world.network());
        replays
            .became(&ident(TABLE), uuid)
            .expect("the table can be read")
    }

    fn compact(&self) {
        let world = &self.world;
        let mut compactor = Compactor::new(world.network(), world.clock.clone(), world.ids.clone());
        let done = compactor.compact(&ident(TABLE), Effort::Full, &mut || true);
        assert_eq!(done.expect("it can be compacted").made, 1);
    }

    fn made_by(&self) -> Vec<String> {
        let marker = self.world.view().marker.expect("it has one");
        let made = marker.made_by().into_iter();
        made.map(|stint| {
            let from = stint.from().into_iter();
            let from: Vec<String> = from
                .map(|at| format!("{}@{}", at.partition, at.next))
                .collect();
            format!("{} {}", stint.plan.unwrap_or_default(), from.join(" "))
        })
        .collect()
    }

    /// Every row is there once, and by the branch's files where they are of the range.
    fn is_promoted(&self) {
        assert_eq!(rows(&self.world, "main"), self.live.expected());
        let view = self.world.view();
        let all = view
            .data_files
            .iter()
            .flat_map(|file| file.runs.as_deref().into_iter().flatten());
        let mut runs: Vec<(i32, i64, i64)> = all
            .map(|run| (run.partition, run.first, run.last))
            .collect();
        runs.sort_unstable();
        let mut end = (-1, -1);
        for (partition, first, last) in runs {
            let begin = if end.0 == partition { end.1 } else { 0 };
            assert_eq!(first, begin, "one run follows on the other");
            end = (partition, last + 1);
        }
        let from = self.range.from.iter().map(|at| at.next).collect::<Vec<_>>();
        let made = self.made_by();
        match from[1] {
            0 => assert_eq!(made, ["wrong 0@0", "right 0@7 1@0", "wrong 0@13 1@9"]),
            _ => assert_eq!(made, ["wrong 0@0 1@0", "right 0@5 1@3", "wrong 0@15 1@9"]),
        }
    }

    fn is_as_it_was(&self) {
        assert!(
            self.world
                .view()
                .marker
                .expect("it has one")
                .promotions()
                .is_empty()
        );
        let made: Vec<String> = self.made_by();
        assert_eq!(made, ["wrong 0@0 1@0"]);
    }
}

fn names(world: &World, branch: &str) -> BTreeSet<String> {
    let metadata = world.metadata();
    let head = metadata.snapshot_for_ref(branch).expect("it is there");
    let files = world.catalog.files();
    let listing = crate::commit::listing::Listing::of(files, &metadata, Some(&**head));
    listing.expect("it can be read").data.into_keys().collect()
}

#[test]
fn main_gets_the_rows_of_the_branch_and_goes_on() {
    let mut scene = Scene::new();
    scene.live.epoch([2, 2]);
    let main = names(&scene.world, "main");
    let its: BTreeSet<String> = names(&scene.world, BRANCH)
        .difference(&main)
        .cloned()
        .collect();
    // Between commits that were pending before, and one that comes behind.
    scene.live.read([1, 1]);
    scene.live.checkpoint();
    let uuid = scene.ask();
    scene.live.read([1, 0]);
    scene.live.checkpoint();
    scene.settle();
    scene.live.epoch([0, 3]);
    scene.is_promoted();
    let now = names(&scene.world, "main");
    assert_eq!(
        its.iter().filter(|path| now.contains(*path)).count(),
        2,
        "the replay's files, and not its cut ones"
    );
    assert_eq!(scene.became(uuid), Became::Promoted);
    assert_eq!(scene.world.view().rolled_back(), None);
    assert!(scene.world.view().snapshots.iter().all(|one| one.follows));
    let again = scene.promotion(&[]).expect_err("it has them");
    assert!(matches!(again, ReplayError::Promoted { .. }), "{again}");
    // Nobody misses the branch.
    scene.compact();
    scene.is_promoted();
}

#[test]
fn it_lands_once_whatever_the_reply_said_and_whoever_dies() {
    for fault in [
        Fault::ReplyLost,
        Fault::RequestLost,
        Fault::Resent,
        Fault::Raced,
        Fault::Overtaken,
    ] {
        for dies in [false, true] {
            let mut scene = Scene::new();
            let uuid = scene.ask();
            let network = scene.world.network();
            *network.faults.lock().expect("nothing panics there") = [Some(fault)].into();
            let owner = owner();
            let (clock, ids) = (scene.world.clock.clone(), scene.world.ids.clone());
            scene.live.committer = crate::IcebergCommitter::new(network, owner, clock, ids);
            let _ = scene.live.committer.commit(TABLE, &scene.live.chain);
            if dies {
                let mut manifest = scene.live.manifest();
                let read = scene.live.read;
                scene.live = Pipeline::take_over(&scene.world, &mut manifest);
                (scene.live.plan, scene.live.read) = (Some("wrong"), read);
            }
            scene.settle();
            scene.live.epoch([1, 1]);
            scene.is_promoted();
            assert_eq!(scene.became(uuid), Became::Promoted, "{fault:?} {dies}");
        }
    }
}

/// Its rows are in other files by then, also such as have rows beside the range.
#[test]
fn a_compaction_between_asking_and_committing_does_not_matter() {
    let mut scene = Scene::new();
    for _ in 0..2 {
        scene.live.epoch([1, 1]);
    }
    scene.ask();
    scene.compact();
    scene.settle();
    scene.live.epoch([1, 1]);
    scene.is_promoted();
    scene
        .world
        .all_readable()
        .expect("all that is kept can be read");
}

#[test]
fn what_others_changed_since_is_not_undone_unless_it_is_named() {
    let changes = [
        (
            Change::Delete(vec![(0, 10)]),
            "others changed rows of the range",
        ),
        (
            Change::Overwrite(vec![(1, 4)]),
            "was written by somebody else",
        ),
        (Change::Rewrite, "was written by somebody else"),
    ];
    for (change, expected) in changes {
        // Before it is asked for.
        let mut scene = Scene::whole();
        let uuid = scene.ask();
        scene.live.chain.chain.pop();
        let id = engine(&scene.world)
            .commit(&change)
            .expect("a foreign change");
        let refused = scene.promotion(&[]).expect_err("it is not named");
        assert!(refused.to_string().contains(expected), "{refused}");
        assert_eq!(scene.became(uuid), Became::Gone);
        let named = scene.promotion(&[id]);
        assert_eq!(
            named.is_ok(),
            matches!(change, Change::Delete(_)),
            "{named:?}"
        );

        // Behind that: it is given up, and the pipeline goes on.
        let mut scene = Scene::new();
        let uuid = scene.ask();
        scene.live.read([1, 1]);
        scene.live.checkpoint();
        engine(&scene.world)
            .commit(&change)
            .expect("a foreign change");
        let before = rows(&scene.world, "main");
        scene.settle();
        let mut expected_rows = before;
        expected_rows.extend([(0, 20), (1, 12)]);
        expected_rows.sort_unstable();
        assert_eq!(rows(&scene.world, "main"), expected_rows);
        scene.is_as_it_was();
        match scene.became(uuid) {
            Became::Refused(why) => assert!(why.contains(expected), "{why}"),
            other => panic!("{other:?}"),
        }
        scene.live.epoch([1, 1]);
    }
    // Named, the deleted row is there again.
    let mut scene = Scene::whole();
    let id = engine(&scene.world).commit(&Change::Delete(vec![(0, 10)]));
    let files = scene
        .promotion(&[id.expect("a foreign change")])
        .expect("it is named");
    scene.enlist(files);
    scene.settle();
    scene.is_promoted();
    // Of a file with rows beside the range nothing is brought back.
    let scene = Scene::new();
    let id = engine(&scene.world).commit(&Change::Delete(vec![(0, 6)]));
    let refused = scene
        .promotion(&[id.expect("a foreign change")])
        .expect_err("it is cut");
    assert!(matches!(refused, ReplayError::Deleted { .. }), "{refused}");
    // Rows that others appended, or deleted beside the range, are no matter.
    let mut scene = Scene::new();
    let theirs = Change::Append(vec![(super::foreign::THEIRS, 1)]);
    engine(&scene.world).commit(&theirs).expect("others append");
    scene.ask();
    scene.settle();
    let mut expected = scene.live.expected();
    expected.push((super::foreign::THEIRS, 1));
    assert_eq!(rows(&scene.world, "main"), expected);
}

#[test]
fn a_branch_that_is_not_the_replays_alone_is_refused() {
    let world = World::new();
    let live = pipeline(&world, 4);
    let range = range([7, 0], [13, 9]);
    let forked = fork(&world, &range).expect("it can be had");
    let mut filler = replay(&world, &range, &forked);
    filler.epoch([2, 4]);
    let scene = Scene {
        world,
        live,
        range,
        forked,
    };
    let half = scene.promotion(&[]).expect_err("it is not done");
    assert!(
        half.to_string().contains("does not have all of the replay"),
        "{half}"
    );
    filler.epoch([4, 5]);
    scene.promotion(&[]).expect("it is done");
    scene
        .world
        .try_branch_commit(BRANCH)
        .expect("somebody may do that");
    let refused = scene.promotion(&[]).expect_err("it is theirs too");
    assert!(
        refused
            .to_string()
            .contains("somebody else committed snapshot"),
        "{refused}"
    );
}

/// An audit goes by the versions that commits name, also where their rows are not there any more.
#[test]
fn a_table_with_rows_that_were_looked_up_is_refused() {
    let mut scene = Scene::new();
    scene.live.read([1, 1]);
    scene.live.checkpoint();
    let newest = scene.live.chain.chain.last_mut().expect("it is pending");
    newest.lookups = [("hive.shop.goods".to_owned(), "7".to_owned())].into();
    scene.settle();
    let refused = scene.promotion(&[]).expect_err("rows were joined");
    let expected = "versions of other tables";
    assert!(refused.to_string().contains(expected), "{refused}");
}

/// A rollback below it takes it back as a whole: the rows of before, and the plan that made them.
#[test]
fn what_a_rollback_takes_out_is_not_promoted_any_more() {
    for rewinds in [false, true] {
        let mut scene = Scene::new();
        let before = scene
            .world
            .metadata()
            .current_snapshot_id()
            .expect("a head");
        let uuid = scene.ask();
        scene.settle();
        scene.live.epoch([2, 2]);
        let mut mover = RefMover::new(
            scene.world.network(),
            scene.world.clock.clone(),
            scene.world.ids.clone(),
        );
        let to = At::Version(before.to_string());
        mover
            .roll_back(&ident(TABLE), &to, true)
            .expect("it is done");
        // The property still names it.
        assert_eq!(scene.became(uuid), Became::Gone);
        scene.live.read([1, 1]);
        scene.live.checkpoint();
        assert!(matches!(scene.live.commit(), CommitOutcome::Paused(_)));
        let manifest = scene.live.manifest();
        let tables = asked(&mut scene.live.committer, &manifest).expect("they answer");
        let plan = match rewinds {
            true => takeover::rewind(&manifest, &tables).expect("it can be rewound"),
            false => takeover::adopt(&manifest, &tables),
        };
        for (table, which) in plan.restate {
            scene
                .live
                .committer
                .restate(&table, which)
                .expect("the catalog answers");
        }
        let mut manifest = plan.manifest;
        scene.live = Pipeline::take_over(&scene.world, &mut manifest);
        scene.live.plan = Some("wrong");
        scene.settle();
        scene.live.epoch([1, 1]);
        scene.is_as_it_was();
        assert_eq!(scene.became(uuid), Became::Gone);
        // The rows of before are there again, once, and it can be promoted anew.
        scene.ask();
        scene.settle();
        let marker = scene.world.view().marker.expect("it has one");
        assert_eq!(marker.promotions().len(), 1);
    }
}

/// Somebody takes `main` forward again, to a promotion that a rewind gave up: its snapshot says what it was.
#[test]
fn a_promotion_that_comes_back_is_known_by_its_snapshot() {
    let mut scene = Scene::new();
    let before = scene
        .world
        .metadata()
        .current_snapshot_id()
        .expect("a head");
    scene.ask();
    scene.settle();
    scene.live.epoch([2, 2]);
    let after = scene
        .world
        .metadata()
        .current_snapshot_id()
        .expect("a head");
    let heads = [(before, true), (after, false)];
    for (head, rewinds) in heads {
        scene.world.commit(vec![super::world::set_head(head)]);
        let manifest = scene.live.manifest();
        let tables = asked(&mut scene.live.committer, &manifest).expect("they answer");
        let plan = match rewinds {
            true => takeover::rewind(&manifest, &tables).expect("it can be rewound"),
            false => takeover::adopt(&manifest, &tables),
        };
        for (table, which) in plan.restate {
            scene
                .live
                .committer
                .restate(&table, which)
                .expect("the catalog answers");
        }
        let mut manifest = plan.manifest;
        scene.live = Pipeline::take_over(&scene.world, &mut manifest);
        scene.live.plan = Some("wrong");
    }
    scene.live.epoch([1, 1]);
    scene.is_promoted();
}

/// It stays known once its snapshot is gone.
#[test]
fn the_property_says_it_for_good() {
    let mut scene = Scene::new();
    let uuid = scene.ask();
    scene.settle();
    scene.live.epoch([1, 1]);
    let metadata = scene.world.metadata();
    let told = metadata.snapshots().filter(|one| {
        let summary = &one.summary().additional_properties;
        summary.contains_key(PROMOTED)
    });
    let told: Vec<i64> = told.map(|one| one.snapshot_id()).collect();
    assert_eq!(told.len(), 1);
    scene.world.expire(told);
    scene.live.epoch([1, 1]);
    let metadata = scene.world.metadata();
    assert_eq!(scene.became(uuid), Became::Promoted);
    scene.is_promoted();
    let newest = Marker::of_table(&metadata).expect("it can be read");
    assert_eq!(newest.expect("there is one").plans().count(), 2);
}
