//! Where reading begins and where it ends, and what it says when its log is another than before.

use super::*;

#[test]
fn every_startup_mode_begins_where_it_says() {
    let world = World::new(&[("t", 2)]);
    world.append("t", 0, &["a", "b", "c", "d"]);
    world.append("t", 1, &["x", "y"]);
    world.commit(Op::DeleteRecords {
        topic: world.id("t"),
        partition: 0,
        before: 1,
    });
    let specific =
        |offsets: &[(i32, i64)]| StartupMode::Specific(offsets.iter().copied().collect());
    type Case<'a> = (StartupMode, &'a [(i32, i64)], &'a str);
    let cases: [Case<'_>; 8] = [
        (
            StartupMode::Earliest,
            &[],
            "t/0@1=b t/0@2=c t/0@3=d t/1@0=x t/1@1=y",
        ),
        (StartupMode::Latest, &[], ""),
        (
            StartupMode::GroupOffsets,
            &[(0, 3)],
            "t/0@3=d t/1@0=x t/1@1=y",
        ),
        // Committed before retention went past it.
        (
            StartupMode::GroupOffsets,
            &[(0, 0), (1, 2)],
            "t/0@1=b t/0@2=c t/0@3=d",
        ),
        (
            StartupMode::Timestamp(1001),
            &[],
            "t/0@1=b t/0@2=c t/0@3=d t/1@1=y",
        ),
        (StartupMode::Timestamp(9999), &[], ""),
        // As in Flink, what is not named goes by the group's offsets.
        (specific(&[(0, 2)]), &[(1, 1)], "t/0@2=c t/0@3=d t/1@1=y"),
        (specific(&[(0, 0), (1, 2)]), &[], "t/0@1=b t/0@2=c t/0@3=d"),
    ];
    for (startup, committed, expected) in cases {
        let shown = format!("{startup:?}, committed {committed:?}");
        let spec = KafkaSource {
            startup,
            ..raw(&["t"])
        };
        let mut source = world.source(&spec, committed);
        source.open(&[], None).unwrap();
        assert_eq!(rows_of(&drain(&mut source, 1 << 20)), expected, "{shown}");
    }
    let spec = KafkaSource {
        startup: specific(&[(1, 3)]),
        ..raw(&["t"])
    };
    let error = world.source(&spec, &[]).open(&[], None).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Fix);
    assert_eq!(
        error.message,
        "'scan.startup.specific-offsets' begins partition 1 of 't' at 3, behind its end"
    );
}

#[test]
fn a_checkpoint_wins_over_the_startup_mode_and_may_stand_inside_a_batch() {
    let world = World::new(&[("t", 2)]);
    world.append("t", 0, &["a", "b", "c", "d"]);
    world.append("t", 1, &["x"]);
    let spec = KafkaSource {
        startup: StartupMode::Latest,
        ..raw(&["t"])
    };
    let mut source = world.source(&spec, &[]);
    source.open(&[at("t", 0, 2)], None).unwrap();
    // The checkpoint is not empty, so the partition that it does not know is new: nothing of it was read or passed over.
    assert_eq!(source.positions(), [at("t", 0, 2), at("t", 1, 0)]);
    assert_eq!(source.lag(), 3);
    let polls = drain(&mut source, 1 << 20);
    assert_eq!(rows_of(&polls), "t/0@2=c t/0@3=d t/1@0=x");
    assert_eq!(progress_of(&polls), ["0: 2..4 c0 s0", "1: 0..1 c0 s0"]);
    assert_eq!(source.positions(), [at("t", 0, 4), at("t", 1, 1)]);
}

#[test]
fn a_bounded_read_ends_where_the_log_ended_when_it_began() {
    let world = World::new(&[("t", 3)]);
    // Partition 0 is empty, 1 ends long before 2.
    world.append("t", 1, &["a"]);
    for value in ["b", "c", "d"] {
        world.append("t", 2, &[value]);
    }
    let spec = KafkaSource {
        bounded: true,
        ..raw(&["t"])
    };
    let mut source = world.source(&spec, &[]);
    source.open(&[], None).unwrap();
    world.append("t", 0, &["late"]);
    world.append("t", 2, &["late"]);
    let (mut polls, mut finished) = (Vec::new(), false);
    while !finished {
        let polled = source.poll(1, NOW).unwrap();
        finished = polled.finished;
        assert!(
            finished || !polled.progress.is_empty(),
            "a poll that neither moves nor ends"
        );
        polls.push(polled);
    }
    assert_eq!(rows_of(&polls), "t/1@0=a t/2@0=b t/2@1=c t/2@2=d");
    assert_eq!(
        source.positions(),
        [at("t", 0, 0), at("t", 1, 1), at("t", 2, 3)]
    );
}

#[test]
fn until_is_exact_inside_a_batch_and_nothing_is_read_of_other_partitions() {
    let world = World::new(&[("t", 3)]);
    for partition in 0..3 {
        world.append("t", partition, &["a", "b", "c", "d"]);
    }
    let from = [at("t", 0, 1), at("t", 1, 4)];
    let until = [at("t", 0, 3), at("t", 1, 4)];
    assert_eq!(
        world.read(&raw(&["t"]), &from, Some(&until)),
        "t/0@1=b t/0@2=c"
    );

    let mut source = world.source(&raw(&["t"]), &[]);
    source.open(&from, Some(&until)).unwrap();
    assert!(source.poll(1 << 20, NOW).unwrap().finished);
    // What the log does not have yet is never reached, nor taken for reached.
    for beyond in [at("t", 0, 5), at("t", 9, 1)] {
        source
            .open(&from, Some(std::slice::from_ref(&beyond)))
            .unwrap();
        assert!(
            !drain(&mut source, 1 << 20)
                .iter()
                .any(|polled| polled.finished),
            "{beyond:?}"
        );
    }
}

#[test]
fn a_partition_that_appears_is_read_from_its_start() {
    let world = World::new(&[("t", 1)]);
    let spec = KafkaSource {
        startup: StartupMode::Latest,
        ..raw(&["t"])
    };
    let mut source = world.source(&spec, &[]);
    source.open(&[], None).unwrap();
    world.commit(Op::CreatePartitions {
        id: world.id("t"),
        total: 2,
    });
    world.append("t", 1, &["a", "b"]);
    // Sooner than the next look for new partitions.
    assert_eq!(rows_of(&drain(&mut source, 1 << 20)), "t/1@0=a t/1@1=b");
    assert_eq!(source.splits().len(), 2);

    // A crash before the first checkpoint that knows it, or partitions that were added while nobody read.
    let mut reopened = world.source(&spec, &[]);
    reopened.open(&[at("t", 0, 0)], None).unwrap();
    assert_eq!(rows_of(&drain(&mut reopened, 1 << 20)), "t/1@0=a t/1@1=b");

    let mut bounded = world.source(
        &KafkaSource {
            bounded: true,
            ..spec
        },
        &[],
    );
    bounded.open(&[], None).unwrap();
    world.commit(Op::CreatePartitions {
        id: world.id("t"),
        total: 3,
    });
    world.append("t", 2, &["x"]);
    assert_eq!(rows_of(&drain(&mut bounded, 1 << 20)), "");
}

#[test]
fn where_a_bounded_read_ends_can_be_said_again() {
    let world = World::new(&[("t", 1)]);
    world.append("t", 0, &["a", "b"]);
    let spec = KafkaSource {
        bounded: true,
        ..raw(&["t"])
    };
    let mut source = world.source(&spec, &[]);
    source.open(&[], None).unwrap();
    let ends = source.ends().unwrap();
    world.append("t", 0, &["later"]);
    assert_eq!(world.read(&spec, &[], Some(&ends)), "t/0@0=a t/0@1=b");
}

#[test]
fn errors_say_what_happened_to_the_log() {
    let world = World::new(&[("orders", 1)]);
    let error = world
        .source(&raw(&["ordres"]), &[])
        .open(&[], None)
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Retry);
    assert_eq!(error.message, "there is no topic `ordres`");
    assert_eq!(
        error.hint,
        "Did you mean 'orders'? Otherwise create it: lakeward topic create ordres --partitions 1"
    );

    world.append("orders", 0, &["a", "b"]);
    world.commit(Op::DeleteRecords {
        topic: world.id("orders"),
        partition: 0,
        before: 1,
    });
    let mut source = world.source(&raw(&["orders"]), &[]);
    for (next, detail) in [
        (
            0,
            "The records of 'orders', partition 0, from 0 to 1 were removed before this pipeline read them: they are in no table.",
        ),
        (
            7,
            "The checkpoint is behind the end of the log: 'orders' was deleted and created again.",
        ),
    ] {
        source.open(&[at("orders", 0, next)], None).unwrap();
        let error = source.poll(1 << 20, NOW).unwrap_err();
        let lost = next == 0;
        assert_eq!(error.kind == ErrorKind::Pause, lost);
        assert_eq!(
            error.message,
            format!("`orders`, partition 0: offset {next} is outside the log, which starts at 1")
        );
        assert_eq!(error.detail, detail);
    }
}

#[test]
fn a_topic_that_is_made_again_under_a_running_source_is_told() {
    let world = World::new(&[("t", 1)]);
    world.append("t", 0, &["a", "b"]);
    let mut source = world.source(&raw(&["t"]), &[]);
    source.open(&[], None).unwrap();
    assert_eq!(rows_of(&drain(&mut source, 1 << 20)), "t/0@0=a t/0@1=b");
    let before = source.topics();
    world.commit(Op::DeleteTopic { id: world.id("t") });
    world.create("t", 1);
    world.append("t", 0, &["c", "d", "e"]);
    let error = source.poll(1 << 20, NOW).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Fix);
    assert_eq!(error.message, "topic 't' was deleted and created again");
    source.open(&[], None).unwrap();
    assert_ne!(source.topics(), before);
}

#[test]
fn a_topic_that_is_deleted_under_a_running_source_is_told() {
    let world = World::new(&[("orders", 1), ("clicks", 1)]);
    world.append("orders", 0, &["a"]);
    let mut source = world.source(&raw(&["orders", "clicks"]), &[]);
    source.open(&[], None).unwrap();
    assert_eq!(rows_of(&drain(&mut source, 1 << 20)), "orders/0@0=a");
    world.commit(Op::DeleteTopic {
        id: world.id("orders"),
    });
    world.append("clicks", 0, &["b"]);
    let error = source.poll(1 << 20, NOW).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Retry);
    assert_eq!(error.message, "there is no topic `orders`");
    assert_eq!(
        error.hint,
        "Create it: lakeward topic create orders --partitions 1"
    );
}
