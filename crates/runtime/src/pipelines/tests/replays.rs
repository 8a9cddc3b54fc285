//! Replays beside the pipeline whose table they fill a branch of.

use super::super::*;
use super::world::*;
use crate::manifest::Confirmed;
use lw_graph::{Frame, FrameUnit, Operator, OperatorUid, SinkSpec};

const NAME: &str = "lake.t@fix";

/// The offsets `[from, until)` of the one partition.
fn replay(from: i64, until: i64) -> NewReplay {
    let submitted = inserting("live", table());
    let id = new_id();
    NewReplay {
        owner: crate::connector::Owner {
            pipeline: id,
            name: replay_name("lake.t", "fix"),
        },
        of: ReplayOf {
            table: "lake.t".into(),
            branch: "fix".into(),
            asked: "asked".into(),
            from: vec![at(from)],
            until: vec![at(until)],
            fork: 5,
            base: 6,
            promotion: None,
        },
        sql: "replayed".into(),
        job: narrowed(&submitted.jobs, "lake.t", "fix").expect("it can be replayed"),
        settings: BTreeMap::new(),
        base: Uuid::from_u128(9),
        topics: BTreeMap::from([("in".to_string(), Uuid::nil())]),
        from_the_beginning: from == 0,
    }
}

fn done(pipelines: &Pipelines, state: &str) -> View {
    let control = crate::job::Control::default();
    for _ in 0..1000 {
        let view = pipelines.show(NAME).expect("it is there");
        if view.state == state {
            return view;
        }
        control.wait(Duration::from_millis(10));
    }
    panic!("never {state}: {:?}", pipelines.show(NAME));
}

/// A pipeline that has read five records, and a replay of three of them.
fn beside() -> (World, Pipelines) {
    let world = World::new();
    *world.script.log_end.lock() = 5;
    let pipelines = world.start();
    let live = pipelines.submit(inserting("live", table()));
    live.expect("it is taken");
    in_step(&world, &["lake.t"]);
    (world, pipelines)
}

#[test]
fn a_replay_reads_its_range_alone_and_once_and_is_no_writer_of_the_table() {
    let (world, pipelines) = beside();
    let new = replay(1, 4);
    pipelines.begin_replay(&new).expect("it starts");
    let view = done(&pipelines, "finished");
    let shown = view.replay.expect("it is one");
    assert_eq!((shown.offsets, shown.done), (3, 3));
    assert_eq!(world.script.tables.lock()["lake.t"], [(0, 5), (1, 4)]);
    let writers = pipelines.writers();
    let writers: Vec<&str> = writers.iter().map(|writer| &*writer.name).collect();
    assert_eq!(writers, ["live"]);
    assert!(pipelines.has(new.owner.pipeline));
    let refused = pipelines.resume(NAME, None).expect_err("it is done");
    assert_eq!(refused.to_string(), "pipeline 'lake.t@fix' is a replay");
    assert!(
        refused
            .hint()
            .contains("`lakeward replay lake.t --branch fix`")
    );
    // Nobody else reads on; what comes is not its.
    pipelines.drain();
    drop(pipelines);
    *world.script.log_end.lock() = 9;
    let restarted = world.start();
    assert_eq!(restarted.show(NAME).expect("it is there").state, "finished");
    in_step(&world, &["lake.t"]);
    restarted.drain();
    assert_eq!(
        world.script.tables.lock()["lake.t"],
        [(0, 5), (1, 4), (5, 9)]
    );
}

#[test]
fn a_replay_goes_on_with_the_server_where_it_stood() {
    let (world, pipelines) = beside();
    *world.script.panics.lock() = "committer";
    pipelines.begin_replay(&replay(2, 5)).expect("it starts");
    done(&pipelines, "failed");
    drop(pipelines);
    *world.script.panics.lock() = "";
    let restarted = world.start();
    done(&restarted, "finished");
    assert_eq!(world.script.tables.lock()["lake.t"], [(0, 5), (2, 5)]);
}

#[test]
fn the_name_of_a_replay_is_taken_and_its_record_is_for_those_who_know_branches() {
    let (world, pipelines) = beside();
    pipelines.begin_replay(&replay(0, 5)).expect("it starts");
    done(&pipelines, "finished");
    let again = pipelines
        .begin_replay(&replay(0, 5))
        .expect_err("it is there");
    assert!(matches!(again, PipelineError::Exists { .. }), "{again}");
    let named = Submission {
        name: NAME.into(),
        replace: true,
        ..submission(false)
    };
    let refused = pipelines.submit(named).expect_err("it would fill main");
    assert!(
        matches!(refused, PipelineError::IsReplay { .. }),
        "{refused}"
    );
    let stored = world.storage.get(Kv::Pipelines, NAME.as_bytes());
    let stored: serde_json::Value =
        serde_json::from_slice(&stored.expect("it is there")).expect("JSON");
    assert_eq!(stored["format"], 4);
    // The live pipeline may have another script: the replay owns nothing of it.
    let other = Submission {
        sql: "another".into(),
        replace: true,
        ..inserting("live", table())
    };
    assert_eq!(
        pipelines.submit(other).expect("it is taken"),
        Submitted::Replaced
    );
    pipelines.drop_pipeline(NAME).expect("it goes");
    assert_eq!(world.storage.scan(Kv::Manifests, b"").len(), 1);
}

/// What is planned again of a replay's script fills the branch as before.
#[test]
fn a_replay_whose_job_cannot_be_read_is_planned_again_as_a_replay() {
    let (world, pipelines) = beside();
    *world.script.panics.lock() = "source";
    let new = replay(1, 4);
    pipelines.begin_replay(&new).expect("it starts");
    done(&pipelines, "failed");
    drop(pipelines);
    let stored = world.storage.get(Kv::Pipelines, NAME.as_bytes());
    let mut stored: serde_json::Value =
        serde_json::from_slice(&stored.expect("it is there")).expect("JSON");
    stored["jobs"][0]["graph"] = serde_json::json!({ "vertices": [] });
    world.put(Kv::Pipelines, NAME, stored.to_string().as_bytes());
    let planned = PlannedScript {
        jobs: inserting("live", table()).jobs,
        settings: BTreeMap::new(),
    };
    let planned = world.script.planned.lock().insert(new.sql, planned);
    assert!(planned.is_none());
    *world.script.panics.lock() = "";
    let restarted = world.start();
    done(&restarted, "finished");
    let record = restarted.known(NAME).expect("it is there");
    assert_eq!(
        record.jobs[0].graph.sink().and_then(SinkSpec::branch),
        Some("fix")
    );
    assert_eq!(world.script.tables.lock()["lake.t"], [(0, 5), (1, 4)]);
}

/// The first commit of the job follows on the one that made the branch.
#[test]
fn a_replay_begins_behind_the_commit_that_made_its_branch() {
    let (world, pipelines) = beside();
    *world.script.panics.lock() = "source";
    let new = replay(1, 4);
    pipelines.begin_replay(&new).expect("it starts");
    done(&pipelines, "failed");
    let key = new.job.manifest_key(new.owner.pipeline);
    let manifest = world.manifest(&key).expect("it is there");
    let last = Confirmed {
        uuid: new.base,
        sequence: 0,
        ends: vec![at(1)],
    };
    assert_eq!(manifest.sinks["lake.t"].chain.last, Some(last));
    assert_eq!(manifest.ends(), Some(vec![at(4)]));
    assert_eq!(manifest.reached, None, "others read what lies before it");
}

/// The pipeline's manifest has it before the pipeline goes on, and it reads on from where it stood.
#[test]
fn a_promotion_is_a_pending_commit_of_the_pipeline_that_fills_main() {
    let (world, pipelines) = beside();
    let new = replay(1, 4);
    pipelines.begin_replay(&new).expect("it starts");
    done(&pipelines, "finished");
    let files = || vec![serde_json::json!({ "path": "", "promotion": {} })];
    // The next commit fails for good: what is pending stays, and can be looked at.
    *world.script.panics.lock() = "committer";
    let uuid = pipelines.promote(NAME, files()).expect("it is taken");
    let again = pipelines.promote(NAME, files()).expect("it is there");
    assert_eq!(uuid, again, "it is one promotion");
    let live = pipelines.known("live").expect("it is there");
    let key = live.jobs[0].manifest_key(live.id);
    let chain = world.manifest(&key).expect("it is there").sinks["lake.t"]
        .chain
        .clone();
    assert_eq!(chain.chain.len(), 1);
    assert_eq!((chain.chain[0].uuid, chain.chain[0].files.len()), (uuid, 1));
    assert!(chain.chain[0].ranges.is_empty());
    assert!(pipelines.is_promoting("lake.t", uuid));
    let plan = pipelines.plan_of_replay(NAME).expect("it has one");
    assert_eq!(
        pipelines.script_of_plan(live.id, &plan).as_deref(),
        Some("replayed")
    );
    drop(pipelines);
    *world.script.panics.lock() = "";
    *world.script.log_end.lock() = 9;
    let restarted = world.start();
    in_step(&world, &["lake.t"]);
    assert_eq!(
        world.script.tables.lock()["lake.t"],
        [(0, 5), (1, 4), (5, 9)],
        "what is promoted is read by nobody again"
    );
    let control = crate::job::Control::default();
    for _ in 0..1000 {
        if !restarted.is_promoting("lake.t", uuid) {
            break;
        }
        control.wait(Duration::from_millis(10));
    }
    assert!(!restarted.is_promoting("lake.t", uuid));
    restarted
        .forget_promotion(NAME, new_id())
        .expect("it is another one");
    let of = |pipelines: &Pipelines| {
        pipelines
            .replay(NAME)
            .expect("it is there")
            .map(|(of, _)| of.promotion)
    };
    assert_eq!(of(&restarted), Some(Some(uuid)));
    restarted
        .forget_promotion(NAME, uuid)
        .expect("it can be written");
    assert_eq!(of(&restarted), Some(None));
}

#[test]
fn what_does_not_run_or_is_not_done_is_not_promoted() {
    let (world, pipelines) = beside();
    *world.script.panics.lock() = "source";
    pipelines.begin_replay(&replay(1, 4)).expect("it starts");
    done(&pipelines, "failed");
    let why = |pipelines: &Pipelines| {
        let refused = pipelines
            .promote(NAME, Vec::new())
            .expect_err("it is not done");
        assert_eq!(
            refused.to_string(),
            "replay 'lake.t@fix' cannot be promoted"
        );
        refused.detail()
    };
    assert_eq!(why(&pipelines), "The replay is not done.");
    *world.script.panics.lock() = "";
    pipelines.resume(NAME, None).expect("it goes on");
    done(&pipelines, "finished");
    pipelines.stop("live").expect("it stops");
    let stopped = "Pipeline 'live', which fills its table, does not run.";
    assert_eq!(why(&pipelines), stopped);
    pipelines.drop_pipeline("live").expect("it goes");
    assert_eq!(why(&pipelines), "No pipeline fills its table.");
    let unknown = pipelines.promote("lake.t@other", Vec::new());
    assert!(matches!(unknown, Err(PipelineError::Unknown { .. })));
}

#[test]
fn scripts_that_cannot_be_replayed_say_why() {
    let why =
        |jobs: &[PlannedJob], table: &str| narrowed(jobs, table, "fix").expect_err("it is refused");
    let live = inserting("live", table()).jobs;
    assert_eq!(
        why(&live, "lake.u"),
        "The script has no INSERT INTO lake.u."
    );
    let twice = [live.clone(), live.clone()].concat();
    assert_eq!(
        why(&twice, "lake.t"),
        "The script has several INSERTs into lake.t."
    );
    let printed = submission(false).jobs;
    assert!(why(&printed, "lake.t").contains("only these have branches"));
    assert_eq!(needs_all(&live[0]), None);
    let mut counted = live[0].clone();
    let over = Operator::Over {
        uid: OperatorUid::of("o"),
        keys: Vec::new(),
        time: 0,
        frame: Frame {
            unit: FrameUnit::Rows,
            preceding: None,
        },
        aggregates: Vec::new(),
        ttl: None,
    };
    counted.graph.nodes[0].operator = over;
    assert_eq!(needs_all(&counted), Some("Over"));
    counted.graph.nodes[0].operator = Operator::CurrentWatermark;
    assert_eq!(needs_all(&counted), Some("CURRENT_WATERMARK"));
}
