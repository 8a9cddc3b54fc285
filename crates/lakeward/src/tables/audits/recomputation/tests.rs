//! What a checkpoint and the kept commits say of when a partition came.

use super::*;
use lw_storage::Uuid;

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
