//! A pipeline from its submission to its end.

use super::super::*;
use super::world::*;
use lw_graph::SinkSpec;

#[test]
fn a_panic_in_any_thread_is_a_failure_that_says_what_it_said() {
    for part in ["job", "source", "sink", "committer"] {
        let world = World::new();
        *world.script.panics.lock() = part;
        *world.script.log_end.lock() = 5;
        let pipelines = world.start();
        pipelines.submit(submission(false)).expect("it is taken");
        let view = until(&pipelines, "failed");
        let JobState::Failed { error, .. } = &view.jobs[0].state else {
            panic!("{view:?}");
        };
        assert!(error.ends_with(&format!("the {part} has a bug")), "{error}");
        // Nothing of it was lost or committed.
        *world.script.panics.lock() = "";
        pipelines.resume("p", None).expect("it starts again");
        committed(&pipelines);
        pipelines.stop("p").expect("it ends");
        assert_eq!(*world.script.committed.lock(), [(0, 5)], "{part}");
    }
}

#[test]
fn a_table_that_rows_do_not_fit_pauses_the_job_until_they_do() {
    let world = World::new();
    *world.script.log_end.lock() = 5;
    *world.script.misfit.lock() = true;
    let pipelines = world.start();
    pipelines.submit(submission(false)).expect("it is taken");
    let view = until(&pipelines, "paused");
    let JobState::Paused(pause) = &view.jobs[0].state else {
        panic!("{view:?}");
    };
    assert_eq!(
        pause.reason,
        "the table was changed. It has no column a. Change it back."
    );
    assert_eq!(pause.words, [], "there is nothing to decide");
    assert_eq!(*world.script.committed.lock(), []);
    *world.script.misfit.lock() = false;
    pipelines.resume("p", None).expect("it goes on");
    in_step(&world, &["lake.t"]);
    assert_eq!(*world.script.committed.lock(), [(0, 5)]);
}

#[test]
fn a_table_has_one_pipeline_and_what_is_printed_any_number() {
    let world = World::new();
    let pipelines = world.start();
    for (name, sink) in [
        ("one", SinkSpec::Blackhole),
        ("two", SinkSpec::Blackhole),
        ("three", table()),
    ] {
        pipelines.submit(inserting(name, sink)).expect(name);
    }
    let refused = pipelines.submit(inserting("four", table()));
    let Err(PipelineError::Owned { table, owner }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((&*table, &*owner), ("lake.t", "three"));
}

#[test]
fn a_bounded_pipeline_ends_once_and_stays_finished() {
    let world = World::new();
    *world.script.log_end.lock() = 5;
    *world.script.panics.lock() = "committer";
    let pipelines = world.start();
    pipelines.submit(submission(true)).expect("it is taken");
    until(&pipelines, "failed");
    // The end is where it was when reading began, whatever comes meanwhile.
    *world.script.log_end.lock() = 9;
    *world.script.panics.lock() = "";
    pipelines.resume("p", None).expect("it starts again");
    until(&pipelines, "finished");
    assert_eq!(*world.script.committed.lock(), [(0, 5)]);
    drop(pipelines);

    let restarted = world.start();
    let view = restarted.show("p").expect("it is there");
    assert_eq!((view.state.as_str(), view.jobs.len()), ("finished", 0));
    assert_eq!(
        restarted.submit(submission(true)).expect("the same text"),
        Submitted::Attached
    );
    assert_eq!(*world.script.committed.lock(), [(0, 5)]);
    // Told to go on, it reads what came since.
    restarted.resume("p", None).expect("it goes on");
    until(&restarted, "finished");
    assert_eq!(*world.script.committed.lock(), [(0, 5), (5, 9)]);
}

#[test]
fn what_is_unread_is_held_against_retention_until_the_pipeline_is_dropped() {
    let world = World::new();
    *world.script.log_end.lock() = 5;
    let pipelines = world.start();
    pipelines.submit(submission(false)).expect("it is taken");
    committed(&pipelines);
    pipelines.stop("p").expect("it ends");
    let id = pipelines.show("p").expect("it is there").id;
    let key = crate::job::manifest_key(id, "lake.t", 0);
    let offsets = || {
        let held = world.storage.held(&key);
        held.map(|held| held.iter().map(|hold| hold.offset).collect::<Vec<_>>())
    };
    assert_eq!(offsets(), Some(vec![5]), "a stopped pipeline goes on there");
    drop(pipelines);
    world.storage.release(&key);
    let restarted = world.start();
    assert_eq!(offsets(), Some(vec![5]), "a start states it anew");
    restarted.drop_pipeline("p").expect("it goes");
    assert_eq!(offsets(), None);
}

#[test]
fn a_pipeline_that_was_overtaken_pauses_until_it_is_told_to_skip() {
    let world = World::new();
    let topic = Uuid::from_u128(9);
    let create = Op::CreateTopic {
        name: "in".into(),
        id: topic,
        partitions: 1,
        config: BTreeMap::new(),
        internal: false,
    };
    world
        .storage
        .commit_blocking(vec![create])
        .expect("durable");
    *world.script.topic.lock() = topic;
    let append = |records: i64| {
        let mut batch = lw_protocol::BatchBuilder::new(lw_protocol::Compression::None);
        for n in 0..records {
            batch.push(n, None, Some(b"v"), &[]);
        }
        let batches = batch.build().expect("a batch").into_bytes();
        let append = Op::Append {
            topic,
            partition: 0,
            batches,
        };
        world
            .storage
            .commit_blocking(vec![append])
            .expect("durable");
        *world.script.log_end.lock() += records;
    };
    append(5);
    let pipelines = world.start();
    pipelines.submit(submission(false)).expect("it is taken");
    committed(&pipelines);
    pipelines.stop("p").expect("it ends");
    append(10);
    let delete = Op::DeleteRecords {
        topic,
        partition: 0,
        before: 12,
    };
    world
        .storage
        .commit_blocking(vec![delete])
        .expect("durable");
    *world.script.log_start.lock() = 12;
    for word in [None, Some(Word::Adopt), Some(Word::Rewind)] {
        pipelines.resume("p", word).expect("it starts");
        let view = until(&pipelines, "paused");
        let JobState::Paused(pause) = &view.jobs[0].state else {
            panic!("{view:?}");
        };
        assert!(
            pause.reason.starts_with("the log begins later"),
            "{pause:?}"
        );
        assert_eq!(pause.words, [Word::SkipLost], "{word:?} does not help");
        assert_eq!(*world.script.committed.lock(), [(0, 5)]);
    }
    pipelines
        .resume("p", Some(Word::SkipLost))
        .expect("it starts");
    in_step(&world, &["lake.t"]);
    // What is lost is accounted for in the table, with no row; the chain has no hole.
    assert_eq!(*world.script.committed.lock(), [(0, 5), (5, 12), (12, 15)]);
    pipelines.stop("p").expect("it ends");
    let manifest = pipelines.manifest("p", 0).expect("it can be read");
    assert_eq!(manifest.expect("it is there").position(), [at(15)]);
}

#[test]
fn a_topic_that_was_made_again_is_told_and_not_read() {
    let world = World::new();
    *world.script.log_end.lock() = 5;
    let pipelines = world.start();
    pipelines.submit(submission(false)).expect("it is taken");
    committed(&pipelines);
    pipelines.stop("p").expect("it ends");
    *world.script.topic.lock() = Uuid::from_u128(2);
    *world.script.log_end.lock() = 500;
    pipelines.resume("p", None).expect("it starts");
    let view = until(&pipelines, "failed");
    let JobState::Failed { error, detail, .. } = &view.jobs[0].state else {
        panic!("{view:?}");
    };
    assert_eq!(error, "topic 'in' was deleted and created again");
    assert_eq!(
        detail,
        "The checkpoint stands at in[0]@5 of the topic that is gone; nothing was read of the new one."
    );
    assert_eq!(*world.script.committed.lock(), [(0, 5)]);
}

#[test]
fn settings_say_how_often_a_job_commits_and_in_how_many_shards_it_works() {
    let world = World::new();
    let pipelines = world.start();
    let settings = |settings: &[(&str, &str)]| {
        let mut submission = submission(false);
        submission.settings = settings
            .iter()
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .collect();
        submission.replace = true;
        submission.sql = format!("{settings:?}");
        pipelines.submit(submission).expect("it is taken");
        let record = pipelines.known("p").expect("it is there");
        pipelines.settings(&record)
    };
    let cadence = |of: &[(&str, &str)]| settings(of).commit_interval;
    assert_eq!(cadence(&[]), LEAST_INTERVAL);
    let interval = ("execution.checkpointing.interval", "3 s");
    assert_eq!(cadence(&[interval]), Duration::from_secs(3));
    let ours = ("lakeward.commit.interval", "7 s");
    assert_eq!(cadence(&[interval, ours]), Duration::from_secs(7));

    let shards = |of: &[(&str, &str)]| settings(of).shards;
    assert_eq!(shards(&[]), None);
    let parallelism = ("parallelism.default", "3");
    assert_eq!(shards(&[parallelism]), Some(3));
    let key = "table.exec.resource.default-parallelism";
    assert_eq!(shards(&[parallelism, (key, "5")]), Some(5));
    assert_eq!(shards(&[parallelism, (key, "-1")]), Some(3));
}

#[test]
fn the_difference_names_the_first_line_that_differs() {
    assert_eq!(
        difference("a\nb\nc", "a\nx\nc"),
        "First difference, line 2:\n- b\n+ x"
    );
    assert_eq!(
        difference("a", "a\nb"),
        "First difference, line 2:\n- (end of the script)\n+ b"
    );
}
