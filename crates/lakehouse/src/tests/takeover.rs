//! Adopt and rewind against real tables: each way in which a table is not where its pipeline left it × each word × a crash
//! between the table's marker and the manifest. Never a doubled row, and a missing one only where adopting said so.

use super::world::{
    Pipeline, TABLE, World, asked, columns, ident, offsets, owner, position, set_head, spec,
};
use crate::catalog::embedded::Purge;
use crate::commit::branch::Branch;
use crate::commit::marker::PROPERTY;
use crate::{IcebergTableSink, TableCatalog};
use iceberg::TableUpdate;
use lw_runtime::connector::{CommitOutcome, Committer};
use lw_runtime::manifest::Manifest;
use lw_runtime::pipelines::Word;
use lw_runtime::pipelines::takeover::{Refusal, adopt, rewind};
use std::ops::Range;

/// Rows per partition that the log has in the end.
const LOG: i64 = 6;

/// What was done to the table, or to the checkpoint.
struct Meddled {
    manifest: Manifest,
    /// Offsets whose rows were taken out, in both partitions.
    taken: Range<i64>,
}

/// The rows 0 and 1 of each partition are committed, the rows 2 are pending. What then happens:
type Meddling = fn(&World, Pipeline) -> Meddled;
const CASES: [(&str, Meddling); 13] = [
    ("nothing", |_, pipeline| meddled(pipeline, 0..0)),
    ("rolled back", |world, pipeline| {
        world.roll_back();
        meddled(pipeline, 1..2)
    }),
    (
        "rolled back, and the pending commit had landed",
        |world, pipeline| {
            let manifest = landed(pipeline);
            world.roll_back();
            Meddled {
                manifest,
                taken: 2..3,
            }
        },
    ),
    (
        "rolled back by two, and the pending commit had landed",
        |world, pipeline| {
            let manifest = landed(pipeline);
            world.roll_back();
            world.roll_back();
            Meddled {
                manifest,
                taken: 1..3,
            }
        },
    ),
    ("an older checkpoint restored", |_, pipeline| Meddled {
        manifest: older(&pipeline),
        taken: 0..0,
    }),
    (
        "an older checkpoint restored, and rolled back",
        |world, pipeline| {
            let manifest = older(&pipeline);
            landed(pipeline);
            world.roll_back();
            Meddled {
                manifest,
                taken: 2..3,
            }
        },
    ),
    ("dropped and created again", |world, pipeline| {
        drop_table(world);
        create(world, &[0, 1, 2]);
        meddled(pipeline, 0..2)
    }),
    (
        "dropped and created again with other field ids",
        |world, pipeline| {
            drop_table(world);
            create(world, &[1, 0, 2]);
            meddled(pipeline, 0..2)
        },
    ),
    ("emptied: the branch is gone", |world, pipeline| {
        world.commit(vec![TableUpdate::RemoveSnapshotRef {
            ref_name: "main".to_owned(),
        }]);
        meddled(pipeline, 0..2)
    }),
    ("the marker removed", |world, pipeline| {
        let manifest = landed(pipeline);
        world.commit(vec![TableUpdate::RemoveProperties {
            removals: vec![PROPERTY.to_owned()],
        }]);
        Meddled {
            manifest,
            taken: 0..0,
        }
    }),
    (
        "moved forward, to a commit that a rewind gave up",
        |world, pipeline| {
            let head = world.metadata().current_snapshot_id();
            world.roll_back();
            let mut manifest = pipeline.manifest();
            say(world, Word::Rewind, &mut manifest, Crash::Never).expect("nothing is cut");
            world.commit(vec![set_head(head.expect("two commits were made"))]);
            Meddled {
                manifest,
                taken: 0..0,
            }
        },
    ),
    (
        "moved to a fork that goes further than what was made instead",
        |world, pipeline| {
            let mut manifest = landed(pipeline);
            let head = world.metadata().current_snapshot_id();
            world.roll_back();
            world.roll_back();
            say(world, Word::Rewind, &mut manifest, Crash::Never).expect("nothing is cut");
            let mut pipeline = Pipeline::take_over(world, &mut manifest);
            pipeline.epoch([1, 1]);
            let manifest = Manifest {
                generation: manifest.generation,
                ..pipeline.manifest()
            };
            world.commit(vec![set_head(head.expect("three commits were made"))]);
            Meddled {
                manifest,
                taken: 0..0,
            }
        },
    ),
    (CUT, |world, pipeline| {
        world.foreign_commit();
        world.foreign_commit();
        let table = world.catalog.load(&ident(TABLE)).unwrap();
        let older = Branch::of(&table.metadata).ids().split_off(1);
        world.expire(older);
        meddled(pipeline, 0..0)
    }),
];
const CUT: &str = "all snapshots of ours expired by another writer";

fn meddled(pipeline: Pipeline, taken: Range<i64>) -> Meddled {
    Meddled {
        manifest: pipeline.manifest(),
        taken,
    }
}

/// The pending commit lands, and the process dies before it writes that down.
fn landed(mut pipeline: Pipeline) -> Manifest {
    let manifest = pipeline.manifest();
    pipeline.commit();
    manifest
}

/// The checkpoint after the first commit.
fn older(pipeline: &Pipeline) -> Manifest {
    let mut manifest = pipeline.manifest();
    let sink = manifest.sinks.get_mut(TABLE).expect("it has a chain");
    sink.chain.chain.clear();
    let last = sink.chain.last.as_mut().expect("two commits were made");
    last.uuid = pipeline.first_commit.expect("it was remembered");
    last.sequence = 1;
    last.ends.iter_mut().for_each(|end| end.next = 1);
    manifest.stand_at(TABLE, &offsets([1, 1]));
    manifest
}

fn drop_table(world: &World) {
    world
        .catalog
        .drop_table(&ident(TABLE), Purge::Nothing)
        .unwrap();
}

/// Creates the table with its columns in this order; field ids count from 1.
fn create(world: &World, order: &[usize]) {
    let all = columns();
    let columns = order.iter().map(|index| all[*index].clone()).collect();
    let (clock, ids) = (world.clock.clone(), world.ids.clone());
    IcebergTableSink::open(&spec(columns), world.network(), &owner(), None, clock, ids).unwrap();
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Crash {
    Never,
    /// After the table's marker was restated, before the manifest was written.
    Between,
}

/// Says a word about the manifest as it is stored.
fn say(world: &World, word: Word, manifest: &mut Manifest, crash: Crash) -> Result<(), Refusal> {
    let at = position(manifest);
    let mut committer = Pipeline::new(world, world.network(), Default::default(), at).committer;
    let tables = asked(&mut committer, manifest).unwrap();
    let plan = match word {
        Word::Adopt => adopt(manifest, &tables),
        Word::Rewind => rewind(manifest, &tables)?,
        Word::SkipLost => unreachable!("it is said of the log, not of a table"),
    };
    for (table, which) in &plan.restate {
        committer.restate(table, *which).unwrap();
    }
    if crash == Crash::Never {
        *manifest = plan.manifest;
    }
    Ok(())
}

/// Starts from the manifest, and reads and commits up to the log's end. `false`: it paused.
fn runs(world: &World, manifest: &mut Manifest) -> bool {
    let mut pipeline = Pipeline::take_over(world, manifest);
    if let CommitOutcome::Paused(_) = pipeline.commit() {
        return false;
    }
    pipeline.read([0, 1].map(|part: usize| LOG - pipeline.read[part]));
    pipeline.checkpoint();
    let generation = manifest.generation;
    *manifest = Manifest {
        generation,
        ..pipeline.manifest()
    };
    let outcome = pipeline.commit();
    matches!(outcome, CommitOutcome::Confirmed { .. })
}

fn meddle(world: &World, case: fn(&World, Pipeline) -> Meddled) -> Meddled {
    let mut pipeline = Pipeline::new(world, world.network(), Default::default(), [0, 0]);
    pipeline.epoch([1, 1]);
    pipeline.first_commit = pipeline.chain.head();
    pipeline.epoch([1, 1]);
    pipeline.read([1, 1]);
    pipeline.checkpoint();
    case(world, pipeline)
}

fn all_but(taken: &Range<i64>) -> Vec<(i32, i64)> {
    let rows = |part| {
        (0..LOG)
            .filter(|off| !taken.contains(off))
            .map(move |off| (part, off))
    };
    rows(0).chain(rows(1)).collect()
}

#[test]
fn each_word_keeps_what_it_says_even_across_a_crash() {
    for (name, case) in CASES {
        for word in [Word::Adopt, Word::Rewind] {
            for crash in [Crash::Never, Crash::Between] {
                let world = World::new();
                let mut meddled = meddle(&world, case);
                let context = format!("{name}, {word:?}, crash {crash:?}");
                let said = say(&world, word, &mut meddled.manifest, crash);
                if (name, word) == (CUT, Word::Rewind) {
                    let refusal = said.expect_err("it cannot know what is there").to_string();
                    assert!(refusal.contains("older snapshots are gone"), "{refusal}");
                    continue;
                }
                said.unwrap_or_else(|refusal| panic!("{context}: {refusal}"));
                let manifest = &mut meddled.manifest;
                if !runs(&world, manifest) {
                    assert_eq!(
                        crash,
                        Crash::Between,
                        "{context}: the word was given, and it pauses"
                    );
                    say(&world, word, manifest, Crash::Never).expect("it was taken before");
                    assert!(runs(&world, manifest), "{context}: it pauses for ever");
                }
                let expected = match word {
                    Word::Adopt => all_but(&meddled.taken),
                    Word::Rewind => all_but(&(0..0)),
                    Word::SkipLost => unreachable!("it is said of the log, not of a table"),
                };
                assert_eq!(world.rows(), expected, "{context}");
            }
        }
    }
}

#[test]
fn without_a_word_nothing_that_was_meddled_with_goes_on() {
    for (name, case) in CASES {
        let world = World::new();
        let mut meddled = meddle(&world, case);
        let before = world.rows();
        let goes_on = runs(&world, &mut meddled.manifest);
        assert_eq!(goes_on, name == "nothing", "{name}");
        if !goes_on {
            assert_eq!(world.rows(), before, "{name}");
        }
    }
}

/// To the checkpoint nothing was ever committed, and the table lost the property that would contradict: its snapshots do.
#[test]
fn a_first_commit_whose_marker_was_removed_is_not_made_again() {
    let world = World::new();
    let mut pipeline = Pipeline::new(&world, world.network(), Default::default(), [0, 0]);
    pipeline.read([2, 2]);
    pipeline.checkpoint();
    let mut manifest = landed(pipeline);
    world.commit(vec![TableUpdate::RemoveProperties {
        removals: vec![PROPERTY.to_owned()],
    }]);
    assert!(!runs(&world, &mut manifest), "it commits on");
    say(&world, Word::Adopt, &mut manifest, Crash::Never).expect("nothing is cut");
    assert!(runs(&world, &mut manifest), "it pauses for ever");
    assert_eq!(world.rows(), all_but(&(0..0)));
}

/// Another word after a crash in the middle of the first: which rows come may be either word's, but none twice.
#[test]
fn changing_ones_mind_after_a_crash_doubles_nothing() {
    for (name, case) in CASES {
        for (first, second) in [(Word::Adopt, Word::Rewind), (Word::Rewind, Word::Adopt)] {
            let world = World::new();
            let mut meddled = meddle(&world, case);
            let manifest = &mut meddled.manifest;
            if name == CUT {
                continue;
            }
            say(&world, first, manifest, Crash::Between).expect("nothing is cut");
            say(&world, second, manifest, Crash::Never).expect("nothing is cut");
            assert!(
                runs(&world, manifest),
                "{name}, {first:?} then {second:?}: it pauses for ever"
            );
            let rows = world.rows();
            let mut distinct = rows.clone();
            distinct.dedup();
            assert_eq!(rows, distinct, "{name}, {first:?} then {second:?}");
            let missing: Vec<i64> = (0..LOG).filter(|off| !rows.contains(&(0, *off))).collect();
            assert!(
                missing.iter().all(|off| meddled.taken.contains(off)),
                "{name}, {first:?} then {second:?}: {missing:?} are missing"
            );
        }
    }
}

#[test]
fn the_view_says_what_a_rollback_took_and_when_it_was_adopted() {
    let world = World::new();
    let mut meddled = meddle(&world, CASES[1].1);
    let ends = |world: &World| {
        let rolled_back = world.view().rolled_back()?;
        let ends = rolled_back
            .offsets
            .iter()
            .map(|(start, end)| (*start, end.next));
        Some((rolled_back.adopted, ends.collect::<Vec<_>>()))
    };
    let follows = |world: &World| -> Vec<bool> {
        let snapshots = world.view().snapshots;
        snapshots.iter().map(|snapshot| snapshot.follows).collect()
    };
    assert_eq!(ends(&world), Some((false, vec![(1, 2), (1, 2)])));
    say(&world, Word::Adopt, &mut meddled.manifest, Crash::Never).expect("nothing is cut");
    assert_eq!(ends(&world), Some((true, vec![(1, 2), (1, 2)])));
    assert_eq!(follows(&world), [true]);
    assert!(runs(&world, &mut meddled.manifest));
    assert_eq!(ends(&world), None);
    assert_eq!(follows(&world), [true, false, true], "newest first");
}
