//! Checkpoints of the log: what they say, when they are written, and what goes with them.

use super::super::action::Add;
use super::foreign;
use super::pipeline::{Process, World, columns, spec};
use lw_runtime::connector::ErrorKind;
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[test]
fn a_checkpoint_says_all_that_the_log_said() {
    let world = World::new();
    let mut process = Process::open(&world, &spec(&columns())).expect("it opens");
    for epoch in 0..25 {
        process.epoch([1, epoch % 2]);
        if epoch == 4 {
            foreign(
                &world.log(),
                vec![json!({"txn": {"appId": "theirs", "version": 3, "lastUpdated": 9}})],
            );
        }
    }
    let log = world.log();
    let before = log.load().unwrap().unwrap();
    let files = log.contents(before.version).unwrap();
    assert_eq!(files.adds.len(), 25);
    let last = std::fs::read_to_string(world.path("_delta_log/_last_checkpoint")).unwrap();
    let last: Value = serde_json::from_str(&last).unwrap();
    assert_eq!(last["version"], 20);
    for version in 0..=20 {
        std::fs::remove_file(world.path(&format!("_delta_log/{version:020}.json"))).unwrap();
    }
    let after = log.load().unwrap().unwrap();
    assert_eq!(after.txns, before.txns);
    assert_eq!(after.txns["theirs"].version, 3);
    assert_eq!(
        (&after.protocol, &after.metadata),
        (&before.protocol, &before.metadata)
    );
    let contents = log.contents(before.version).unwrap();
    let without_change = |adds: &BTreeMap<String, Add>| {
        let adds = adds.values().cloned();
        adds.map(|add| Add {
            data_change: false,
            ..add
        })
        .collect::<Vec<_>>()
    };
    assert_eq!(without_change(&contents.adds), without_change(&files.adds));
    let mut next = Process::open(&world, &spec(&columns())).expect("it opens");
    (next.chain, next.read) = (process.chain.clone(), process.read);
    next.epoch([1, 1]);

    std::fs::remove_file(world.path(&format!("_delta_log/{:020}.json", 23))).unwrap();
    let damaged = log.load().unwrap_err();
    assert!(damaged.message.starts_with("version 23 is missing"));
}

#[test]
fn a_checkpoint_that_was_not_written_is_written_with_the_next_commit() {
    let world = World::new();
    let mut process = Process::open(&world, &spec(&columns())).expect("it opens");
    for _ in 0..9 {
        process.epoch([1, 0]);
    }
    let log = world.log();
    // Somebody else takes version 10, and writes none.
    foreign(
        &log,
        vec![json!({"txn": {"appId": "theirs", "version": 1}})],
    );
    assert_eq!(log.checkpointed().unwrap(), None);
    process.epoch([1, 0]);
    assert_eq!(log.checkpointed().unwrap(), Some(11));
    for _ in 0..8 {
        process.epoch([1, 0]);
    }
    assert_eq!(log.checkpointed().unwrap(), Some(11), "version 19");
    process.epoch([1, 0]);
    assert_eq!(log.checkpointed().unwrap(), Some(20));
}

#[test]
fn a_log_with_checkpoints_of_version_2_is_refused_where_nothing_else_says_it_all() {
    let world = World::new();
    let mut process = Process::open(&world, &spec(&columns())).expect("it opens");
    process.epoch([1, 0]);
    let v2 = format!("_delta_log/{:020}.checkpoint.0a1b.parquet", 1);
    std::fs::write(world.path(&v2), "x").unwrap();
    world.log().load().expect("all versions are there");
    std::fs::remove_file(world.path(&format!("_delta_log/{:020}.json", 0))).unwrap();
    let refused = Process::open(&world, &spec(&columns())).err().unwrap();
    assert_eq!(refused.kind, ErrorKind::Fix);
    let text = "has checkpoints of version 2, which this version does not read";
    assert!(refused.message.ends_with(text), "{refused}");
}

#[test]
fn old_versions_go_behind_a_checkpoint_and_removed_files_are_forgotten() {
    let day = 24 * 3600 * 1000;
    let world = World::new();
    let mut process = Process::open(&world, &spec(&columns())).expect("it opens");
    for _ in 0..12 {
        process.epoch([1, 0]);
    }
    let log = world.log();
    let at = log.load().unwrap().unwrap();
    let path = log.contents(at.version).unwrap().adds.into_keys().next();
    let removed = json!({"remove": {"path": path, "deletionTimestamp": 1_700_000_000_000_i64, "dataChange": true}});
    foreign(&log, vec![removed]);
    world.clock.go(8 * day);
    for _ in 0..8 {
        process.epoch([1, 0]);
    }
    let names = || {
        let names = std::fs::read_dir(world.path("_delta_log")).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name.starts_with('0')).collect();
        names.sort();
        names
    };
    let first = || names().first().expect("a file").clone();
    assert_eq!(first(), format!("{:020}.json", 0), "nothing is old enough");
    assert_eq!(log.contents(20).unwrap().removes.len(), 0, "a week is over");

    world.clock.go(23 * day);
    for _ in 0..10 {
        process.epoch([1, 0]);
    }
    assert_eq!(first(), format!("{:020}.checkpoint.parquet", 10));
    assert_eq!(
        names().len(),
        22 + 3,
        "versions 10 to 31, three checkpoints"
    );
    assert_eq!(world.rows(), 29);
    process.epoch([1, 0]);
}
