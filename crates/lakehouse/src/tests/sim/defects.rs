//! Planted bugs: each is one decision of the committer or of the runtime taken too lightly, and must break the invariant that is
//! about it.

use super::{Machine, cut_everywhere};
use crate::commit::attempt::{Attempt, Fate};
use crate::commit::branch::ancestors;
use crate::commit::change::Change;
use crate::commit::conflicts::{self, Conflict, Verdict};
use crate::commit::decide::Decision;
use crate::commit::listing::Listing;
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
    let seeds = 0..SEEDS;
    let histories = seeds.map(|seed| move || run(seed, rules, lw_runtime::Rules::OURS));
    some_end_with(histories, by);
}

/// As [`is_caught`], for a bug of the runtime.
fn engine_is_caught(engine: lw_runtime::Rules, by: &[&str]) {
    let seeds = (0..SEEDS).map(Some);
    let histories = std::iter::once(None).chain(seeds).map(|seed| {
        move || match seed {
            None => cut_everywhere(Rules::OURS, engine).err(),
            Some(seed) => run(seed, Rules::OURS, engine),
        }
    });
    some_end_with(histories, by);
}

type Violation = Option<(String, Vec<String>)>;

fn run(seed: u64, rules: Rules, engine: lw_runtime::Rules) -> Violation {
    Machine::new(seed, rules, engine).run().err()
}

fn some_end_with<H: FnOnce() -> Violation>(histories: impl Iterator<Item = H>, by: &[&str]) {
    let mut others = Vec::new();
    for history in histories {
        let ended = catch_unwind(AssertUnwindSafe(|| history().map(|(what, _)| what)));
        let what = ended.unwrap_or_else(|panic| {
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

/// Deletes that came after the rows were read are not looked at: they do not speak of the new file.
#[test]
fn sim_catches_a_compaction_that_undoes_deletes() {
    fn data_alone(head: &Listing, change: &Change<'_>) -> Verdict {
        let blind = Listing {
            data: head.data.clone(),
            ..Listing::default()
        };
        conflicts::check(&blind, change)
    }
    let rules = Rules {
        conflict: data_alone,
        ..Rules::OURS
    };
    is_caught(rules, &["S9: ", "S3: "]);
}

/// A compaction that landed is taken for one that others were in the way of, and its files for leftovers.
#[test]
fn sim_catches_a_compaction_that_does_not_know_itself() {
    fn conflict(head: &Listing, change: &Change<'_>) -> Verdict {
        match conflicts::check(head, change) {
            Verdict::Landed => Verdict::Conflict(Conflict::Late),
            other => other,
        }
    }
    let rules = Rules {
        conflict,
        leftover: |_| Fate::Dead,
        ..Rules::OURS
    };
    is_caught(rules, &["S7: "]);
}

/// Files that no snapshot lists go, also those that are yet to be committed.
#[test]
fn sim_catches_pending_files_taken_for_replaced_ones() {
    let rules = Rules {
        pending: |_| Ok(Default::default()),
        ..Rules::OURS
    };
    is_caught(rules, &["S7: "]);
}

/// Nobody asks whether the rows that were read are still those of the table.
#[test]
fn sim_catches_a_compaction_that_asks_nothing() {
    let rules = Rules {
        conflict: |_, _| Verdict::Fits,
        ..Rules::OURS
    };
    is_caught(rules, &["S1: ", "S9: ", "C4: "]);
}

#[test]
fn sim_catches_a_commit_to_version_3() {
    let rules = Rules {
        admit: |_, _| Ok(()),
        ..Rules::OURS
    };
    is_caught(rules, &["S11: ", "M1: "]);
}

#[test]
fn sim_catches_a_manifest_after_its_commit() {
    let engine = lw_runtime::Rules {
        saves_first: false,
        ..lw_runtime::Rules::OURS
    };
    engine_is_caught(engine, &["S2: ", "S5: "]);
}

#[test]
fn sim_catches_a_letter_that_is_kept_twice() {
    let engine = lw_runtime::Rules {
        is_buried: |_, _| false,
        ..lw_runtime::Rules::OURS
    };
    engine_is_caught(engine, &["S12: "]);
}

#[test]
fn sim_catches_offsets_beyond_their_files() {
    let engine = lw_runtime::Rules {
        seal: |sink| sink.seal().map(|_| Vec::new()),
        ..lw_runtime::Rules::OURS
    };
    engine_is_caught(engine, &["S1, ", "S9: "]);
}

/// Epochs that were sealed while a commit was under way go with it.
#[test]
fn sim_catches_a_confirmation_of_what_was_not_committed() {
    let engine = lw_runtime::Rules {
        dropped_by: |_, pending| pending,
        ..lw_runtime::Rules::OURS
    };
    engine_is_caught(engine, &["S1, ", "S5: "]);
}
