//! A job with state: windows of ten milliseconds are counted, and the process is gone at every step of a manifest's write.

use super::graph::SIZE;
use super::*;
use crate::job::Stop;
use crate::operator::SplitTimes;
use crate::state::{Budget, Changes, Frozen, Limits, OperatorState, StateWriter, groups_of};
use arrow_array::RecordBatch;
use lw_graph::OperatorUid;
use lw_storage::Storage;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// States stand in files, and are written by what changed.
const IN_FILES: Rules = Rules {
    state: Limits::NONE,
    ..Rules::OURS
};

/// Row by row: `[start, count]` of each window, and the records that came too late.
fn expected(records: &[&[i64]]) -> (Vec<String>, Vec<(usize, usize)>) {
    let (mut counts, mut late) = (BTreeMap::new(), Vec::new());
    let mut times = SplitTimes::awaiting((0..records.len() as u32).collect());
    let mut watermark = None;
    let longest = records.iter().map(|records| records.len()).max();
    for offset in 0..longest.unwrap_or(0) {
        let done = (0..records.len()).filter(|split| records[*split].len() <= offset);
        times.done(done.map(|split| split as u32).collect());
        for (split, records_of) in records.iter().enumerate() {
            watermark = watermark.max(times.watermark());
            let Some(time) = records_of.get(offset) else {
                continue;
            };
            let start = time.div_euclid(SIZE) * SIZE;
            match watermark.is_some_and(|watermark| watermark >= start + SIZE - 1) {
                true => late.push((split, offset)),
                false => *counts.entry(start).or_insert(0) += 1,
            }
            times.raise(split as u32, *time);
        }
    }
    let rows = counts.into_iter();
    let mut rows: Vec<String> = rows.map(|window| json!(window).to_string()).collect();
    rows.sort();
    (rows, late)
}

/// Some windows fire on the way, some at the end; a record of each partition is late.
const RECORDS: [&[i64]; 2] = [&[1, 12, 25, 3, 38], &[5, 21, 30, 9]];

fn world(sinks: usize) -> World {
    let mut world = World::new(&RECORDS);
    world.counts = true;
    world.other = (sinks == 2).then(Arc::default);
    world
}

/// Where a table is not what it has to be.
fn wrong(world: &World) -> Option<String> {
    let (rows, late) = expected(&RECORDS);
    let tables = [&world.table].into_iter().chain(&world.other);
    for table in tables {
        let table = table.lock();
        let files = table.iter().flat_map(|commit| &commit.files);
        let mut found: Vec<String> = files.map(ToString::to_string).collect();
        found.sort();
        if found != rows {
            return Some(format!("{found:?} instead of {rows:?}"));
        }
        let ranges = table.iter().flat_map(|commit| &commit.ranges);
        let count =
            |of: fn(&crate::manifest::SplitRange) -> u64| ranges.clone().map(of).sum::<u64>();
        let counted = (count(|range| range.late), count(|range| range.rows));
        let all: usize = RECORDS.iter().map(|records| records.len()).sum();
        if counted != (late.len() as u64, (all - late.len()) as u64) {
            return Some(format!("(late, in windows) is {counted:?}"));
        }
    }
    None
}

/// Files of a state that no manifest names.
fn left(world: &World) -> Option<String> {
    let after = u64::MAX / 2;
    world.disk.cause(Trouble::PowerOff { after });
    let storage = world.storage().expect("it opens");
    let files = world.files_there(&storage);
    let manifest = world.manifest(&storage);
    let named: BTreeSet<String> = manifest
        .states()
        .flat_map(OperatorState::files)
        .map(|file| file.name.clone())
        .collect();
    (files != named).then(|| format!("{files:?} are there, {named:?} are named"))
}

/// Cuts the power behind each change of the disk in turn; the first time at which something is wrong then, and how many cuts
/// there were.
fn kills(sinks: usize, rules: Rules) -> (Option<String>, u32) {
    kills_of(|| world(sinks), rules)
}

fn kills_of(world: impl Fn() -> World, rules: Rules) -> (Option<String>, u32) {
    let mut kills = 0;
    for after in 1.. {
        let world = world();
        let storage = world.storage().expect("it opens");
        world.disk.cause(Trouble::PowerOff { after });
        let run = |storage: &Storage| {
            let run = || world.attempt_by(storage, ReadsTo::Bounded, "plan", rules);
            match std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)) {
                Ok(ended) => ended.map_err(|error| error.message),
                Err(panic) => Err(format!("{:?}", panic.downcast_ref::<String>())),
            }
        };
        let mut ended = run(&storage);
        drop(storage);
        let killed = world.disk.is_off();
        if killed {
            kills += 1;
            world.disk.crash();
            let storage = world.storage().expect("it opens again");
            ended = run(&storage);
        }
        let wrong = match ended {
            Ok(Ended::Finished) => wrong(&world).or_else(|| left(&world)),
            other => Some(format!("{other:?}")),
        };
        if wrong.is_some() || !killed {
            return (wrong, kills);
        }
    }
    unreachable!("the last cut comes after everything")
}

#[test]
fn a_kill_at_any_step_loses_and_doubles_no_row_of_a_window() {
    for (sinks, rules) in [(1, Rules::OURS), (2, Rules::OURS), (1, IN_FILES)] {
        let (wrong, kills) = kills(sinks, rules);
        assert_eq!(wrong, None);
        assert!(kills >= 10, "only {kills} places to be killed at");
    }
}

/// Each table has a watermark of its own, and the windows wait for both: what comes of two partitions of one table.
#[test]
fn a_kill_at_any_step_loses_and_doubles_no_row_of_two_tables() {
    let world = |sinks: usize| {
        let mut world = world(sinks);
        world.tables = true;
        world
    };
    for sinks in [1, 2] {
        let (wrong, kills) = kills_of(|| world(sinks), Rules::OURS);
        assert_eq!(wrong, None);
        assert!(kills >= 10, "only {kills} places to be killed at");
    }
}

/// Windows and late records of a job whose partition 1 appears while it runs; it is found `found` polls before its first row
/// comes. With a restart behind each poll, or without.
fn with_a_newcomer(found: usize, restarts: bool) -> (Vec<String>, u64) {
    let mut world = World::new(&[&[1, 12, 25, 38]]);
    world.counts = true;
    let storage = world.storage().expect("it opens");
    let begin = || world.begun(&storage, ReadsTo::Failure, Rules::OURS);
    let mut job = begin();
    for polls in 0..5 {
        if polls + found == 2 {
            world.records.lock().push(Vec::new());
        }
        match polls {
            2 => world.records.lock()[1].extend([13, 27, 50]),
            4 => world.records.lock()[0].push(60),
            _ => {}
        }
        job.poll(1).expect("it reads");
        job.checkpoint().expect("it is written down");
        if restarts {
            drop(job);
            job = begin();
        }
    }
    let table = world.table.lock();
    let files = table.iter().flat_map(|commit| &commit.files);
    let rows = files.map(ToString::to_string).collect();
    let late = table.iter().flat_map(|commit| &commit.ranges);
    (rows, late.map(|range| range.late).sum())
}

/// Whoever reads the log again finds all partitions at once: what was late must be late again.
#[test]
fn when_a_new_partition_is_found_makes_no_difference() {
    // [0, 10) and [10, 20) fire though partition 1 has no row, so that its 13 is late; from then on it holds the others back.
    let rows = ["[0,1]", "[10,1]", "[20,2]", "[30,1]"].map(String::from);
    let expected = (rows.to_vec(), 1);
    for found in [0, 1, 2] {
        for restarts in [false, true] {
            let what = format!("found {found} polls before, restarts: {restarts}");
            assert_eq!(with_a_newcomer(found, restarts), expected, "{what}");
        }
    }
}

#[test]
fn a_late_row_is_counted_and_shown_with_its_record() {
    let world = world(1);
    let storage = world.storage().expect("it opens");
    let mut job = world.begun(&storage, ReadsTo::Bounded, Rules::OURS);
    while job.ended().is_none() {
        job.poll(1).expect("it reads");
    }
    let (_, late) = expected(&RECORDS);
    assert_eq!(late, [(0, 3), (1, 3)]);
    let status = job.status().get();
    let shown = status.sinks[0].last_late.iter();
    let shown = shown.map(|late| (late.partition as usize, late.offset as usize));
    assert_eq!(shown.collect::<Vec<_>>(), late);
    assert_eq!(status.sinks[0].late_rows, 2);
}

/// What each planted mistake is found by.
fn is_caught(rules: Rules) -> String {
    let (wrong, _) = kills(1, rules);
    wrong.expect("the mistake is noticed")
}

#[test]
fn a_barrier_inside_of_a_ticket_is_caught() {
    let found = is_caught(Rules {
        lands_first: false,
        ..Rules::OURS
    });
    assert!(found.contains("instead of"), "{found}");
}

#[test]
fn a_late_row_that_counts_twice_is_caught() {
    let found = is_caught(Rules {
        late: |rows| [rows, rows].concat(),
        ..Rules::OURS
    });
    assert!(found.contains("late, in windows"), "{found}");
}

#[test]
fn a_watermark_that_is_not_restored_is_caught() {
    let found = is_caught(Rules {
        frozen: |mut frozen| {
            frozen.values_mut().for_each(|state| state.watermark(None));
            frozen
        },
        ..Rules::OURS
    });
    assert!(found.contains("instead of"), "{found}");
}

#[test]
fn state_that_is_lost_is_caught() {
    let found = is_caught(Rules {
        frozen: |mut frozen| {
            let states = frozen.values_mut();
            states.for_each(|state| state.sections.clear());
            frozen
        },
        ..Rules::OURS
    });
    assert!(found.contains("instead of"), "{found}");
}

/// Each section that is written by what changed is so written with a mistake.
fn with_changes(mut frozen: Frozen, mistake: fn(&mut Vec<RecordBatch>, &mut Changes)) -> Frozen {
    for written in frozen.values_mut().flat_map(|state| &mut state.sections) {
        if let Some(changes) = &mut written.changes {
            mistake(&mut written.rows, changes);
        }
    }
    frozen
}

#[test]
fn changes_that_are_lost_are_caught() {
    let found = is_caught(Rules {
        frozen: |frozen| with_changes(frozen, |rows, _| rows.clear()),
        ..IN_FILES
    });
    assert!(found.contains("instead of"), "{found}");
}

#[test]
fn a_drop_that_is_forgotten_is_caught() {
    let found = is_caught(Rules {
        frozen: |frozen| with_changes(frozen, |_, changes| changes.dropped.clear()),
        ..IN_FILES
    });
    assert!(found.contains("instead of"), "{found}");
}

#[test]
fn a_script_without_the_operator_that_has_state_is_refused() {
    let mut world = world(1);
    let storage = world.storage().expect("it opens");
    drop(world.written_down(&storage, Rules::OURS));
    world.counts = false;
    let error = world.refused(&storage);
    let uid = OperatorUid::of("counts");
    assert_eq!(
        error.message,
        format!(
            "the checkpoint has the state of operator {uid}, which the script does not have any more"
        )
    );
}

/// As a pipeline that is resumed when it has finished.
#[test]
fn what_comes_behind_the_end_of_time_is_not_dropped_in_silence() {
    let world = world(1);
    let storage = world.storage().expect("it opens");
    for _ in 0..2 {
        // Nothing has come: it ends as it did.
        world.finishes(&storage);
    }
    world.records.lock()[0].push(100);
    world.ends_anew(&storage);
    assert_eq!(
        world.refused(&storage).message,
        "event time has ended, and there is more to read"
    );
}

/// A bounded read has nothing more of one table while it has of the other.
#[test]
fn of_two_tables_the_one_that_has_ended_is_not_read_on() {
    for (table, is_refused) in [(0, false), (1, true)] {
        let mut world = World::new(&[&[1, 12, 25, 38], &[5, 21]]);
        (world.counts, world.tables) = (true, true);
        let storage = world.storage().expect("it opens");
        let mut job = world.begun(&storage, ReadsTo::Bounded, Rules::OURS);
        for _ in 0..3 {
            job.poll(1).expect("it reads");
        }
        drop(job);
        world.ends_anew(&storage);
        world.records.lock()[table].push(60);
        let ended = world.attempt(&storage, ReadsTo::Bounded, "plan");
        let ended = ended.map_err(|error| error.message);
        match is_refused {
            false => assert_eq!(ended, Ok(Ended::Finished)),
            true => assert_eq!(
                ended,
                Err("event time has ended, and there is more to read".to_string())
            ),
        }
    }
}

/// Some records were read, and windows are open.
fn stopped(world: &World, storage: &Storage, how: Stop) -> Vec<String> {
    let mut job = world.begun(storage, ReadsTo::Failure, Rules::OURS);
    for _ in 0..2 {
        job.poll(1).expect("it reads");
    }
    job.stop(how).expect("it ends");
    assert_eq!(job.ended(), Some(&Ended::Stopped));
    let table = world.table.lock();
    let files = table.iter().flat_map(|commit| &commit.files);
    files.map(ToString::to_string).collect()
}

#[test]
fn a_drain_lets_every_window_fire_and_a_stop_none() {
    let kept = world(1);
    let storage = kept.storage().expect("it opens");
    // Read are 1, 5, 12 and 21.
    assert_eq!(stopped(&kept, &storage, Stop::Keeps), ["[0,2]"]);
    kept.finishes(&storage);
    assert_eq!(wrong(&kept), None, "it goes on");

    let drained = world(1);
    let storage = drained.storage().expect("it opens");
    let rows = stopped(&drained, &storage, Stop::Drains);
    assert_eq!(rows, ["[0,2]", "[10,1]", "[20,1]"]);
    assert_eq!(
        drained.refused(&storage).message,
        "event time has ended, and there is more to read"
    );
}

#[test]
fn a_job_beyond_the_budget_takes_no_rows_until_there_is_room() {
    let mut world = world(1);
    world.memory = Budget::of(10_000);
    let mut other = world.memory.share();
    let storage = world.storage().expect("it opens");
    let mut job = world.begun(&storage, ReadsTo::Bounded, Rules::OURS);
    other.take(10_000);
    while job.poll(1).expect("it reads") {}
    assert!(job.ended().is_none() && job.status().get().waits_for_memory);
    let operators = job.status().get().operators;
    assert_eq!(operators.len(), 1);
    assert_eq!(operators[0].state_bytes, job.status().get().state_bytes);
    // What it has is written down meanwhile.
    job.checkpoint().expect("it is written down");
    assert!(!job.poll(1).expect("it reads nothing"));
    other.take(0);
    while job.ended().is_none() {
        job.poll(1).expect("it reads");
    }
    assert!(!job.status().get().waits_for_memory);
    assert_eq!(wrong(&world), None);
    drop(job);
    drop(other);
    assert_eq!(world.memory.taken(), 0);
}

#[test]
fn a_state_beyond_the_budget_is_not_restored() {
    let mut world = world(1);
    let storage = world.storage().expect("it opens");
    let job = world.written_down(&storage, Rules::OURS);
    let bytes = job.status().get().state_bytes;
    drop(job);
    world.memory = Budget::of(bytes - 1);
    let error = world.refused(&storage);
    assert_eq!(error.kind, ErrorKind::Fix);
    let said = "the state of the checkpoint takes about 1 MiB";
    assert!(error.message.starts_with(said), "{}", error.message);
    world.memory = Budget::of(1 << 20);
    let job = world.begun(&storage, ReadsTo::Bounded, Rules::OURS);
    let shown = job.status().get().state_bytes;
    assert_eq!((shown, world.memory.taken()), (bytes, bytes));
    drop(job);
    world.finishes(&storage);
    assert_eq!(wrong(&world), None);
}

#[test]
fn an_insert_cannot_join_others_that_have_state() {
    let mut world = world(1);
    let storage = world.storage().expect("it opens");
    world.finishes(&storage);
    world.other = Some(Arc::default());
    assert_eq!(
        world.refused(&storage).message,
        "an INSERT cannot join others that have the state of aggregates"
    );
}

#[test]
fn a_file_of_state_that_is_gone_or_damaged_is_not_gone_on_from() {
    let world = world(1);
    let storage = world.storage().expect("it opens");
    drop(world.written_down(&storage, IN_FILES));
    let (disk, data) = storage.folder();
    let name = world.files_there(&storage).into_iter().next();
    let path = data.join("state").join(name.expect("state is in a file"));
    let error = || {
        let ended = world.attempt_by(&storage, ReadsTo::Bounded, "plan", IN_FILES);
        ended.expect_err("its state is not there").message
    };
    lw_stdx::disk::write_atomic(&*disk, &path, b"other bytes").expect("it is written");
    assert!(error().ends_with("is damaged"));
    disk.remove(&path).expect("it is there");
    assert!(error().starts_with("a file of the state cannot be written or read"));
}

/// The first checkpoint writes what changed behind what was written down at the start, and no row waits for all of it.
#[test]
fn another_number_of_shards_makes_no_checkpoint_greater() {
    const BY_CHANGES: Rules = Rules {
        frozen: |frozen| {
            let mut states = frozen.values();
            assert!(states.all(StateWriter::is_delta), "all of it is written");
            frozen
        },
        ..IN_FILES
    };
    let mut world = world(1);
    world.by_time = true;
    let storage = world.storage().expect("it opens");
    drop(world.written_down(&storage, IN_FILES));
    for shards in [2, 7, 1] {
        world.shards = shards;
        let job = world.written_down(&storage, BY_CHANGES);
        let sections = job.manifest().states().flat_map(|state| &state.sections);
        let of: Vec<(u16, u16)> = sections.map(|section| section.groups).collect();
        let ours: Vec<(u16, u16)> = (0..shards)
            .map(|shard| groups_of(shard, shards))
            .map(|groups| (groups.start, groups.end))
            .collect();
        assert!(!of.is_empty() && of.iter().all(|groups| ours.contains(groups)));
    }
    let ended = world.attempt_by(&storage, ReadsTo::Bounded, "plan", IN_FILES);
    assert_eq!(ended.map_err(|error| error.message), Ok(Ended::Finished));
    drop(storage);
    assert_eq!(left(&world), None);
    // Each record by itself, for no two of a window have the same time.
    let (_, late) = expected(&RECORDS);
    let mut rows = Vec::new();
    for (split, records) in RECORDS.iter().enumerate() {
        for (offset, time) in records.iter().enumerate() {
            if !late.contains(&(split, offset)) {
                rows.push(json!([time.div_euclid(SIZE) * SIZE, 1]).to_string());
            }
        }
    }
    rows.sort();
    let table = world.table.lock();
    let files = table.iter().flat_map(|commit| &commit.files);
    let mut found: Vec<String> = files.map(ToString::to_string).collect();
    found.sort();
    assert_eq!(found, rows);
}

/// As when a script changes, and the operator stands in another job.
#[test]
fn a_file_that_another_manifest_names_stays() {
    let world = world(1);
    let storage = world.storage().expect("it opens");
    drop(world.written_down(&storage, IN_FILES));
    let (files, mut manifest) = (world.files_there(&storage), world.manifest(&storage));
    assert!(!files.is_empty());
    let mut other = ManifestStore::open(storage.clone(), "p/0/lake.other");
    other.save(&manifest).expect("durable");
    manifest.state = None;
    let mut attempt = world.prepared(&storage, ReadsTo::Bounded, "plan");
    attempt.store.save(&manifest).expect("durable");
    let begins = || {
        drop(world.begun(&storage, ReadsTo::Bounded, IN_FILES));
        world.files_there(&storage)
    };
    assert_eq!(begins(), files);
    manifest.state = None;
    other.save(&manifest).expect("durable");
    assert!(begins().is_empty());
}

#[test]
fn a_manifest_that_is_removed_takes_its_files_with_it() {
    let world = world(1);
    let storage = world.storage().expect("it opens");
    drop(world.written_down(&storage, IN_FILES));
    assert!(!world.files_there(&storage).is_empty());
    let mut attempt = world.prepared(&storage, ReadsTo::Bounded, "plan");
    attempt.store.remove().expect("it is durable");
    assert!(world.files_there(&storage).is_empty());
}

impl World {
    fn files_there(&self, storage: &Storage) -> BTreeSet<String> {
        let (disk, data) = storage.folder();
        let files = disk.list(&data.join("state")).unwrap_or_default();
        files.into_iter().map(|entry| entry.name).collect()
    }

    fn manifest(&self, storage: &Storage) -> Manifest {
        self.prepared(storage, ReadsTo::Bounded, "plan").manifest
    }
}
