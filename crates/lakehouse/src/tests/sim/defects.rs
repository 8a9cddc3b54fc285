//! Planted bugs: each is one decision of the committer taken too lightly, and must break the invariant that is about it.

use super::Machine;
use crate::commit::attempt::{Attempt, Fate};
use crate::commit::branch::ancestors;
use crate::commit::decide::Decision;
use crate::commit::marker::Marker;
use crate::commit::rules::Rules;
use crate::error::CatalogError;
use crate::storage::Files;
use crate::upkeep::refs::Refs;
use iceberg::spec::{ManifestContentType, ManifestFile, Snapshot, TableMetadata};
use std::panic::{AssertUnwindSafe, catch_unwind};

const SEEDS: u64 = 100;

/// Asserts that some history ends with a violation that begins so. A broken assert of the product is one as well.
fn is_caught(rules: Rules, by: &[&str]) {
    let mut others = Vec::new();
    for seed in 0..SEEDS {
        let run = catch_unwind(AssertUnwindSafe(|| {
            let ended = Machine::new(seed, rules).run();
            ended.err().map(|(what, _)| what)
        }));
        let what = run.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Some(text.unwrap_or_default())
        });
        match what {
            Some(what) if by.iter().any(|name| what.contains(name)) => return,
            Some(what) => others.push(what),
            None => {}
        }
    }
    panic!("{by:?} catch nothing in {SEEDS} seeds; the others: {others:#?}");
}

#[test]
fn sim_catches_a_blind_recommit() {
    let rules = Rules {
        decide: |_| Decision::Commit { done: 0 },
        ..Rules::OURS
    };
    is_caught(rules, &["S1: "]);
}

/// A reply is believed: what the table says is not looked at.
#[test]
fn sim_catches_files_removed_on_a_reply() {
    fn dead(_: &Attempt, _: &Files, _: &TableMetadata) -> Result<Fate, CatalogError> {
        Ok(Fate::Dead)
    }
    let rules = Rules {
        fate: dead,
        ..Rules::OURS
    };
    is_caught(rules, &["S7: ", "C1: "]);
}

/// Our own snapshots beyond the newest, whatever refers to them.
fn without_regard_for_tags(metadata: &TableMetadata, _: &Refs, _: i64) -> Vec<i64> {
    let own = metadata.snapshots().map(|snapshot| &**snapshot);
    let mut own: Vec<&Snapshot> = own
        .filter(|snapshot| Marker::of_snapshot(snapshot).is_some())
        .collect();
    own.sort_unstable_by_key(|snapshot| -snapshot.sequence_number());
    own.iter()
        .skip(2)
        .filter(|snapshot| Some(snapshot.snapshot_id()) != metadata.current_snapshot_id())
        .map(|snapshot| snapshot.snapshot_id())
        .collect()
}

#[test]
fn sim_catches_an_expiry_that_ignores_tags() {
    let rules = Rules {
        expire: without_regard_for_tags,
        ..Rules::OURS
    };
    is_caught(rules, &["S8: "]);
}

/// The oldest ancestors, whoever made them: what Lakeward did once.
fn without_regard_for_others(metadata: &TableMetadata, refs: &Refs, _: i64) -> Vec<i64> {
    let tagged: Vec<i64> = refs.others().map(|(_, one)| one.snapshot_id).collect();
    ancestors(metadata, metadata.current_snapshot_id())
        .skip(2)
        .map(Snapshot::snapshot_id)
        .filter(|id| !tagged.contains(id))
        .collect()
}

#[test]
fn sim_catches_an_expiry_of_foreign_snapshots() {
    let rules = Rules {
        expire: without_regard_for_others,
        ..Rules::OURS
    };
    is_caught(rules, &["S10: "]);
}

#[test]
fn sim_catches_a_commit_that_undoes_deletes() {
    fn data_alone(manifest: &ManifestFile) -> bool {
        manifest.content == ManifestContentType::Data && (Rules::OURS.carry)(manifest)
    }
    let rules = Rules {
        carry: data_alone,
        ..Rules::OURS
    };
    is_caught(rules, &["S9: "]);
}

#[test]
fn sim_catches_a_merge_that_brings_deleted_files_back() {
    let rules = Rules {
        keep: |_| true,
        ..Rules::OURS
    };
    is_caught(rules, &["S1: ", "S9: "]);
}

#[test]
fn sim_catches_a_commit_to_version_3() {
    let rules = Rules {
        admit: |_, _| Ok(()),
        ..Rules::OURS
    };
    is_caught(rules, &["S11: ", "M1: "]);
}
