//! Savepoints: taken of pipelines that run and of those that do not, and started from.

use super::super::*;
use super::state::counting;
use super::world::*;
use crate::connector::{Standing, TableMarker};
use crate::job::Stop;
use crate::manifest::{Confirmed, Manifest, State};
use crate::savepoint::SavepointError;
use crate::state::{Link, OperatorState, StateFile, StoredRows, StoredSection};
use lw_graph::OperatorUid;
use lw_stdx::disk::write_atomic;
use std::path::{Path, PathBuf};

/// Takes one of the pipeline `p`.
fn take(pipelines: &Pipelines) -> PathBuf {
    let taken = pipelines.savepoint("p", None).expect("it is written");
    taken.folder.into()
}

fn refused(pipelines: &Pipelines, submission: &Submission, from: &Path) -> PipelineError {
    let refused = pipelines.submit_from(submission, from);
    refused.expect_err("it is refused")
}

#[test]
fn a_pipeline_goes_on_from_a_savepoint_of_another_that_ran_on() {
    let (world, pipelines) = running(&["lake.a"]);
    let taken = pipelines.savepoint("p", None).expect("it is written");
    assert_eq!((&taken.offsets, taken.state_bytes), (&vec![at(5)], 0));
    assert_eq!(pipelines.show("p").expect("it is there").state, "running");
    *world.script.log_end.lock() = 9;
    in_step(&world, &["lake.a"]);
    let id = pipelines.show("p").expect("it is there").id;
    pipelines.drop_pipeline("p").expect("it goes");

    // As if the table were where it was then: the fakes have none that could be asked.
    let outcome = pipelines.submit_from(&inserts(&["lake.a"]), Path::new(&taken.folder));
    assert_eq!(outcome.expect("it is taken"), Submitted::Created);
    let end = || world.script.tables.lock()["lake.a"].clone();
    wait(&pipelines, "read on", |_| end().len() == 3);
    assert_eq!(end(), [(0, 5), (5, 9), (5, 9)]);
    assert_ne!(pipelines.show("p").expect("it is there").id, id);
    // What it has not read is held.
    let id = pipelines.show("p").expect("it is there").id;
    assert!(
        world
            .storage
            .held(&crate::job::manifest_key(id, "lake.a", 0))
            .is_some()
    );
}

#[test]
fn a_savepoint_is_taken_of_whatever_the_pipeline_does() {
    let (world, pipelines) = running(&["lake.a", "lake.b"]);
    let folder = |name: &str| world.storage.folder().1.join(name);
    let to = folder("mine");
    let taken = pipelines.savepoint("p", Some(&to)).expect("it runs");
    assert_eq!(taken.offsets, [at(5), at(5)], "each job stands for itself");
    assert_eq!(PathBuf::from(&taken.folder), to);
    let again = pipelines
        .savepoint("p", Some(&to))
        .expect_err("one is there");
    assert_eq!(again.to_string(), format!("{} is not empty", to.display()));
    assert_eq!(
        again.hint(),
        "Give a folder that is not there yet, or is empty."
    );
    let unknown = pipelines.savepoint("q", None).expect_err("there is none");
    assert!(matches!(unknown, PipelineError::Unknown { .. }));

    let stopped = pipelines
        .stop_with_savepoint("p", Stop::Keeps, None)
        .expect("it stops");
    assert_eq!(stopped.offsets, [at(5), at(5)]);
    assert_eq!(pipelines.show("p").expect("it is there").state, "stopped");
    let at_rest = pipelines.savepoint("p", None).expect("it is stopped");
    assert_eq!(at_rest.offsets, stopped.offsets);
    pipelines.resume("p", None).expect("it goes on");
    *world.script.log_end.lock() = 9;
    in_step(&world, &["lake.a", "lake.b"]);
}

#[test]
fn what_is_pending_is_in_no_savepoint() {
    let world = World::new();
    *world.script.log_end.lock() = 5;
    let pipelines = world.start();
    *world.script.panics.lock() = "committer";
    pipelines.submit(inserts(&["lake.a"])).expect("it is taken");
    until(&pipelines, "failed");
    let refused = pipelines
        .savepoint("p", None)
        .expect_err("a commit is open");
    assert_eq!(
        refused.to_string(),
        "table 'lake.a' has not confirmed all commits of the pipeline"
    );
    assert!(refused.hint().starts_with("Resume the pipeline"));
    let refused = pipelines.stop_with_savepoint("p", Stop::Keeps, None);
    assert!(matches!(
        refused,
        Err(PipelineError::Savepoint(SavepointError::Pending { .. }))
    ));
    // Of what was begun nothing is left.
    let (disk, data) = world.storage.folder();
    let folder = data.join("savepoints");
    let left = |folder: &Path| disk.list(folder).unwrap_or_default();
    for begun in left(&folder) {
        assert_eq!(left(&folder.join(begun.name)), []);
    }
    *world.script.panics.lock() = "";
    pipelines.resume("p", None).expect("it starts again");
    committed(&pipelines);
    pipelines.savepoint("p", None).expect("nothing is open");
}

#[test]
fn a_name_that_is_taken_is_put_back_only_by_its_users_word() {
    let (world, pipelines) = running(&["lake.a"]);
    let from = take(&pipelines);
    let mut same = inserts(&["lake.a"]);
    same.replace = false;
    let error = refused(&pipelines, &same, &from);
    assert_eq!(error.to_string(), "pipeline 'p' is there already");
    assert!(
        error.hint().starts_with("Add --replace"),
        "{}",
        error.hint()
    );
    let mut other = same.clone();
    other.name = "q".into();
    other.jobs[0].graph.nodes[1].operator = lw_graph::Operator::Sink(table());
    other.jobs[0].inserts[0].table = "lake.t".into();
    pipelines
        .submit(inserting("r", table()))
        .expect("it is taken");
    let error = refused(&pipelines, &other, &from);
    assert_eq!(
        error.to_string(),
        "table 'lake.t' is written by pipeline 'r'"
    );

    *world.script.log_end.lock() = 9;
    in_step(&world, &["lake.a"]);
    let id = pipelines.show("p").expect("it is there").id;
    same.replace = true;
    let outcome = pipelines.submit_from(&same, &from).expect("its word");
    assert_eq!(outcome, Submitted::Replaced);
    assert_eq!(pipelines.show("p").expect("it is there").id, id);
    let end = || world.script.tables.lock()["lake.a"].clone();
    wait(&pipelines, "read again", |_| end().len() == 3);
    assert_eq!(end(), [(0, 5), (5, 9), (5, 9)]);
}

/// A table whose newest commit, and whose newest visible one, are of these numbers; 0 is none.
fn standing(newest: u128, visible: u128) -> Standing {
    let marker = |number: u128| {
        (number > 0).then(|| TableMarker {
            owner: crate::connector::Owner {
                pipeline: Uuid::from_u128(77),
                name: "another".into(),
            },
            uuid: Uuid::from_u128(number),
            sequence: 1,
            ends: vec![at(number as i64)],
        })
    };
    Standing {
        marker: marker(newest),
        visible: marker(visible),
        on_branch: newest == visible,
        complete: true,
        starts: Vec::new(),
        plans: BTreeSet::new(),
    }
}

/// A pipeline that has counted up to offset 5, which its commit of the number 5 has put into the table, and whose state is in a file.
fn counted(world: &World, pipelines: &Pipelines) -> (PathBuf, String) {
    pipelines.submit(counting("x")).expect("it is taken");
    pipelines.stop("p").expect("it ends");
    let record = pipelines.known("p").expect("it is there");
    let key = record.jobs[0].manifest_key(record.id);
    put_counted(world, &record, &key);
    (take(pipelines), key)
}

fn put_counted(world: &World, record: &Record, key: &str) {
    let mut manifest = world
        .manifest(key)
        .unwrap_or_else(|| Manifest::new(record.id));
    manifest.stand_at("lake.a", &[at(5)]);
    let sink = manifest.sinks.get_mut("lake.a").expect("it stands there");
    sink.splits.iter_mut().for_each(|split| split.begin = 0);
    sink.chain.last = Some(Confirmed {
        uuid: Uuid::from_u128(5),
        sequence: 1,
        ends: vec![at(5)],
    });
    let (disk, folder) = (
        world.storage.folder().0,
        crate::state::folder(&world.storage),
    );
    disk.create_dir_all(&folder).expect("it is there");
    let name = format!("{}-1-1-0.state", OperatorUid::of(key));
    write_atomic(&*disk, &folder.join(&name), b"rows").expect("it is written");
    let counts = OperatorState {
        watermark: Some(4),
        memory: 1,
        sections: vec![StoredSection {
            name: "windows".into(),
            groups: (0, 128),
            links: vec![Link {
                ids: Vec::new(),
                dropped: Vec::new(),
                rows: vec![StoredRows {
                    rows: 1,
                    inline: None,
                    file: Some(StateFile {
                        name,
                        bytes: 4,
                        check: crc32c::crc32c(b"rows"),
                    }),
                }],
            }],
        }],
    };
    manifest.state = Some(State::new(
        vec![at(5)],
        ["lake.a".to_string()].into(),
        [(OperatorUid::of("x"), counts)].into(),
    ));
    world.put_manifest(key, &manifest);
}

#[test]
fn a_table_has_to_stand_where_the_savepoint_left_it() {
    let world = World::new();
    *world.script.log_end.lock() = 5;
    let pipelines = world.start();
    let (from, _) = counted(&world, &pipelines);
    let says = |standing: Option<Standing>| {
        let mut standings = world.script.standings.lock();
        standings.clear();
        standings.extend(standing.map(|standing| ("lake.a".to_string(), standing)));
        drop(standings);
        let done = pipelines.submit_from(&counting("x"), &from);
        done.map_err(|error| (error.to_string(), error.detail()))
    };
    let elsewhere = "table 'lake.a' is not where the savepoint left it".to_string();
    for (newest, visible, table) in [
        (
            9,
            9,
            "its newest commit ends at in[0]@9, and readers see it up to in[0]@9",
        ),
        (
            9,
            3,
            "its newest commit ends at in[0]@9, and readers see it up to in[0]@3",
        ),
        (
            5,
            3,
            "its newest commit ends at in[0]@5, and readers see it up to in[0]@3",
        ),
        (
            0,
            0,
            "its newest commit ends at no offsets, and readers see it up to no offsets",
        ),
    ] {
        let (error, detail) = says(Some(standing(newest, visible))).expect_err(table);
        assert_eq!(error, elsewhere);
        assert_eq!(
            detail,
            format!(
                "The savepoint left it at in[0]@5; {table}. Going on would write records a second time, or leave some out."
            )
        );
        assert_eq!(world.script.restated.lock().len(), 0);
    }
    // It was rolled back to there: what came since is forgotten.
    says(Some(standing(9, 5))).expect("it is there");
    assert_eq!(
        *world.script.restated.lock(),
        [("lake.a".to_string(), crate::connector::Restate::Visible)]
    );
    says(Some(standing(5, 5))).expect("it is there");
    assert_eq!(world.script.restated.lock().len(), 1);
}

#[test]
fn state_goes_along_in_files_of_the_new_pipelines_own() {
    let world = World::new();
    *world.script.log_end.lock() = 5;
    let pipelines = world.start();
    let (from, key) = counted(&world, &pipelines);
    let mut other = counting("y");
    other.replace = true;
    let plan = pipelines.state_plan_from(&other, &from).expect("it fits");
    let fates: Vec<Fate> = plan.iter().map(|it| it.fate).collect();
    assert_eq!(fates, [Fate::BeginsEmpty, Fate::Dropped]);
    let error = refused(&pipelines, &other, &from);
    let uid = OperatorUid::of("x");
    assert!(error.hint().starts_with(&format!("Add --drop-state {uid}")));
    let elsewhere = pipelines.state_plan_from(&inserts(&["lake.b"]), &from);
    let elsewhere = elsewhere.expect("it fits");
    assert_eq!(elsewhere[0].fate, Fate::Dropped, "it is not in silence");

    pipelines.drop_pipeline("p").expect("it goes");
    assert_eq!(
        world.state_files(),
        [""; 0],
        "a pipeline that goes takes its state along"
    );
    let plan = pipelines
        .state_plan_from(&counting("x"), &from)
        .expect("it fits");
    assert_eq!(plan[0].fate, Fate::Kept);
    pipelines
        .submit_from(&counting("x"), &from)
        .expect("it is taken");
    let record = pipelines.known("p").expect("it is there");
    let new_key = record.jobs[0].manifest_key(record.id);
    assert_ne!(new_key, key);
    let files = world.state_files();
    let prefix = format!("{}-", OperatorUid::of(&new_key));
    assert!(
        files.len() == 1 && files[0].starts_with(&prefix),
        "{files:?}"
    );
}

/// The process is gone at every step between the first copied file and the pipeline's record.
#[test]
fn a_kill_at_any_step_of_a_start_leaves_no_pipeline_or_all_of_it() {
    let mut outcomes = BTreeSet::new();
    let mut kills = 0;
    for after in 1.. {
        let world = World::simulated();
        let pipelines = world.open();
        let id = Uuid::from_u128(41);
        let submitted = counting("x");
        let record = Record {
            format: FORMAT,
            id,
            name: "p".into(),
            sql: submitted.sql.clone(),
            jobs: submitted.jobs.clone(),
            settings: BTreeMap::new(),
            desired: Desired::Stopped,
            created_ms: 0,
            plans: Vec::new(),
            replay: None,
        };
        record.save(&world.storage).expect("durable");
        put_counted(&world, &record, &record.jobs[0].manifest_key(id));
        let from = take(&pipelines);
        pipelines.drop_pipeline("p").expect("it goes");
        world.cut_the_power(after);
        let done = pipelines.take_over_from(&submitted, &from);
        let killed = world.is_off();
        if !killed {
            done.expect("nothing was in its way");
        }
        drop(pipelines);
        let world = world.restarted();
        let pipelines = world.open();
        let there = pipelines.stored("p").is_some();
        let manifests = world.storage.scan(Kv::Manifests, b"");
        let files = world.state_files();
        assert_eq!(
            (manifests.len(), files.len()),
            (usize::from(there), usize::from(there))
        );
        if there {
            let record = pipelines.known("p").expect("it can be read");
            let key = record.jobs[0].manifest_key(record.id);
            let manifest = world.manifest(&key).expect("it is there");
            let state = manifest.state.expect("it has counted");
            let files = state.operators.values().flat_map(OperatorState::files);
            let (disk, folder) = (
                world.storage.folder().0,
                crate::state::folder(&world.storage),
            );
            for file in files {
                file.read(&*disk, &folder).expect("it is there");
            }
            assert_eq!(
                manifest.sinks["lake.a"]
                    .chain
                    .last
                    .as_ref()
                    .map(|it| it.sequence),
                Some(1)
            );
        }
        outcomes.insert(there);
        if !killed {
            break;
        }
        kills += 1;
    }
    assert!(kills >= 6, "only {kills} places to be killed at");
    assert_eq!(outcomes.len(), 2, "{outcomes:?}");
}

#[test]
fn a_savepoint_of_another_log_is_refused() {
    let (world, pipelines) = running(&["lake.a"]);
    let from = take(&pipelines);
    pipelines.drop_pipeline("p").expect("it goes");
    *world.script.topic.lock() = Uuid::from_u128(2);
    let error = refused(&pipelines, &inserts(&["lake.a"]), &from);
    assert_eq!(error.to_string(), "the savepoint is of another topic 'in'");
    assert!(matches!(
        pipelines.show("p"),
        Err(PipelineError::Unknown { .. })
    ));
}

#[test]
fn a_savepoint_in_which_event_time_has_ended_is_refused_where_there_is_more_to_read() {
    let world = World::new();
    *world.script.log_end.lock() = 5;
    let pipelines = world.start();
    counted(&world, &pipelines);
    let record = pipelines.known("p").expect("it is there");
    let key = record.jobs[0].manifest_key(record.id);
    let mut manifest = world.manifest(&key).expect("it is there");
    let state = manifest.state.as_mut().expect("it has counted");
    let counts = state.operators.values_mut().next().expect("one");
    counts.watermark = Some(crate::chunk::Mark::END);
    world.put_manifest(&key, &manifest);
    let from = take(&pipelines);
    pipelines.drop_pipeline("p").expect("it goes");
    let error = refused(&pipelines, &counting("x"), &from);
    assert_eq!(
        error.to_string(),
        "event time has ended, and there is more to read"
    );
    assert!(error.hint().contains("without --drain"), "{}", error.hint());
}
