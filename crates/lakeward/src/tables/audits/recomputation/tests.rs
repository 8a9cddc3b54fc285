//! What a checkpoint and the kept commits say of when a partition came, from where on a query can be executed, and what was late.

use super::*;
use lw_graph::{Node, Operator, OperatorUid, Schema, Window, WindowShape};
use lw_storage::Uuid;
use serde_json::{Value, json};

/// `partition@start-end` of each range.
fn commit(ranges: &str) -> Vec<SplitRange> {
    let range = |text: &str| {
        let (partition, offsets) = text.split_once('@').expect("partition@offsets");
        let (start, end) = offsets.split_once('-').expect("start-end");
        SplitRange {
            topic: "t".to_string(),
            partition: partition.parse().expect("a number"),
            start: start.parse().expect("a number"),
            end: end.parse().expect("a number"),
            rows: 0,
            filtered: 0,
            dead_letters: 0,
            control: 0,
            late: 0,
        }
    };
    ranges.split_whitespace().map(range).collect()
}

/// The partitions of these commits, oldest first, that the first with any offsets has none of.
fn joined_of(commits: &[&str]) -> Vec<i32> {
    let commits: Vec<Vec<SplitRange>> = commits.iter().map(|ranges| commit(ranges)).collect();
    let joined = not_in_the_first(commits.iter().map(|ranges| &**ranges));
    joined.into_iter().map(|(_, partition)| partition).collect()
}

#[test]
fn partitions_that_the_first_commit_has_nothing_of_may_have_come_later() {
    assert!(joined_of(&[]).is_empty());
    assert!(joined_of(&["0@0-5 1@0-2", "0@5-9", "1@2-3"]).is_empty());
    assert_eq!(joined_of(&["0@0-5", "0@5-9 1@0-3", "2@0-1"]), [1, 2]);
    // A commit without offsets is of time alone, or a foreign writer's.
    assert_eq!(joined_of(&["", "1@0-5", "", "0@0-1 1@5-6"]), [0]);
}

#[test]
fn the_checkpoint_says_which_partitions_were_waited_for() {
    let mut manifest = Manifest::new(Uuid::nil());
    manifest.reads("t", 0, Joined::AtStart);
    manifest.reads("t", 1, Joined::Later);
    manifest.reads("t", 2, Joined::Unknown);
    let split = |partition| ("t".to_string(), partition);
    assert_eq!(awaited(&manifest), BTreeSet::from([split(0), split(2)]));
    assert!(is_told(&manifest, &split(0)) && is_told(&manifest, &split(1)));
    assert!(!is_told(&manifest, &split(2)));
    assert!(!is_told(&manifest, &split(3)), "it is not in there");
}

/// The partitions that are waited for behind a commit that ends so, where rows with an event time are known of these.
fn waits_behind(ends: &[(i32, i64)], seen: &[i32]) -> Option<Vec<i32>> {
    let mut manifest = Manifest::new(Uuid::nil());
    manifest.reads("t", 0, Joined::AtStart);
    manifest.reads("t", 1, Joined::Later);
    let split = |partition: i32| ("t".to_string(), partition);
    let ends = ends
        .iter()
        .map(|(partition, end)| (split(*partition), *end));
    let seen = seen.iter().map(|partition| split(*partition)).collect();
    let awaited = awaited_behind(&ends.collect(), &seen, &manifest)?;
    Some(
        awaited
            .into_iter()
            .map(|(_, partition)| partition)
            .collect(),
    )
}

#[test]
fn behind_a_commit_event_time_waits_for_those_that_had_joined() {
    assert_eq!(waits_behind(&[(0, 5)], &[0]), Some(vec![0]));
    assert_eq!(waits_behind(&[(0, 5), (1, 2)], &[0, 1]), Some(vec![0, 1]));
    // It gave something, and nobody knows whether any of that had an event time.
    assert_eq!(waits_behind(&[(0, 5), (1, 2)], &[0]), None);
}

/// A commit of ours: its ranges, and how far event time had come.
pub(in super::super) fn snapshot(
    id: i64,
    ranges: &str,
    ends: Value,
    reached: Option<i64>,
) -> SnapshotView {
    let marker = json!({
        "pipeline": Uuid::nil(), "name": "p", "sequence": id, "uuid": Uuid::from_u128(id as u128),
        "previous": null, "snapshot_id": id, "ends": {"t": ends},
    });
    SnapshotView {
        id,
        parent: None,
        timestamp_ms: 0,
        operation: "append".to_string(),
        summary: Vec::new(),
        marker: Some(serde_json::from_value(marker).expect("a marker")),
        upkeep: false,
        follows: true,
        ranges: commit(ranges),
        max_event_time: None,
        watermark: None,
        reached,
        plan: None,
        lookups: Vec::new(),
    }
}

/// Three commits, newest first; the first is of a version that did not say how far event time had come.
fn three() -> [SnapshotView; 3] {
    let mut with_rows = snapshot(2, "0@5-9 1@0-2", json!({"0": 9, "1": 2}), Some(70));
    with_rows.ranges.iter_mut().for_each(|range| range.rows = 2);
    with_rows.ranges[1].late = 1;
    [
        snapshot(3, "0@9-12", json!({"0": 12, "1": 2}), Some(90)),
        with_rows,
        snapshot(1, "0@0-5", json!({"0": 5}), None),
    ]
}

#[test]
fn commits_that_say_how_far_event_time_had_come_are_bases() {
    let split = |partition| ("t".to_string(), partition);
    let mut manifest = Manifest::new(Uuid::nil());
    manifest.reads("t", 0, Joined::AtStart);
    manifest.reads("t", 1, Joined::Later);
    let shown: Vec<_> = bases(&three(), &manifest)
        .into_iter()
        .map(|base| (base.reached, base.ends[&split(0)], base.awaited))
        .collect();
    let both = BTreeSet::from([split(0), split(1)]);
    assert_eq!(shown, [(70, 9, both.clone()), (90, 12, both)]);
    // The second had nothing of which a time is known.
    let mut without = three();
    without[1].ranges.iter_mut().for_each(|range| {
        range.rows = 0;
        range.late = 0;
    });
    assert!(bases(&without, &manifest).is_empty());
}

#[test]
fn each_commit_says_how_many_of_its_records_were_late() {
    let told = late_of(&three());
    let told = told
        .iter()
        .map(|told| (told.partition, told.offsets.clone(), told.late));
    assert_eq!(
        told.collect::<Vec<_>>(),
        [(0, 9..12, 0), (0, 5..9, 0), (1, 0..2, 1), (0, 0..5, 0)]
    );
}

#[test]
fn why_no_commit_is_a_base_is_said() {
    let node = |operator| Node {
        operator,
        inputs: Vec::new(),
        schema: Schema::new(Vec::new()),
    };
    let tumble = Operator::WindowAssign {
        uid: OperatorUid::of("w"),
        window: Window {
            shape: WindowShape::Tumble { size: 10 },
            offset: 0,
            time: 0,
            zone: None,
        },
        partition: Vec::new(),
    };
    let check = |operator: Operator, start, expected: Option<&str>| {
        let nodes = vec![node(operator)];
        let said = baseless(&JobGraph { nodes }, start);
        let expected =
            expected.map(|why| format!("nor can it be computed from a later commit on: {why}"));
        assert_eq!(said, expected);
    };
    check(tumble.clone(), Some(0), None);
    check(
        tumble,
        None,
        Some("the table does not show where its windows begin"),
    );
    check(
        Operator::CurrentWatermark,
        Some(0),
        Some("CURRENT_WATERMARK is of all rows before"),
    );
}
