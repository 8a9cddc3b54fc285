//! What a seal becomes in the manifest: a pending commit per table, and the offsets moved on. Pure.
//!
//! The main table's commit accounts for every offset that was read since the last seal, also when no row came of it: a
//! table whose offsets have a hole could not be told from one that lost a commit. A side table gets a commit only when
//! something was staged for it, which then reaches back to its last one.

use crate::batch::{Split, SplitId};
use crate::connector::Staged;
use crate::manifest::{Manifest, Pending, SplitOffset, SplitRange, SplitWatermark, TableChain};
use std::collections::BTreeMap;
use uuid::Uuid;

/// What was read, computed and made durable since the last seal.
pub(super) struct Sealed<'a> {
    /// `namespace.table` of the main output.
    pub(super) main: &'a str,
    pub(super) staged: Vec<Staged>,
    pub(super) ranges: Vec<SplitRange>,
    pub(super) splits: &'a [Split],
    /// By split, at the ends of `ranges`.
    pub(super) watermarks: &'a BTreeMap<SplitId, i64>,
    /// The source's.
    pub(super) watermark: Option<i64>,
    pub(super) max_event_time: Option<i64>,
}

/// Appends what was sealed to the chains of its tables, and moves the offsets on.
///
/// # Panics
/// When a range does not begin where the manifest stands (L2).
pub(super) fn enlist(
    manifest: &mut Manifest,
    sealed: Sealed<'_>,
    mut new_uuid: impl FnMut() -> Uuid,
) {
    let Sealed { main, ranges, .. } = sealed;
    for range in &ranges {
        set_offset(manifest, range);
    }
    let (plan, begins) = (manifest.plan.clone(), manifest.begins.clone());
    let mut push = |chain: &mut TableChain, staged: Option<Staged>, ranges: Vec<SplitRange>| {
        let (files, schema_id) = match staged {
            Some(staged) => (staged.files, staged.schema_id),
            None => (Vec::new(), 0),
        };
        chain.chain.push(Pending {
            sequence: chain.next_sequence(),
            uuid: new_uuid(),
            previous: chain.head(),
            files,
            ranges,
            max_event_time: sealed.max_event_time,
            watermark: sealed.watermark,
            schema_id,
            plan: plan.clone(),
            begins: begins.clone(),
        });
    };
    let mut by_table: BTreeMap<String, Staged> = sealed
        .staged
        .into_iter()
        .map(|staged| (staged.table.clone(), staged))
        .collect();
    let main_staged = by_table.remove(main);
    for (table, staged) in by_table {
        let chain = manifest.tables.entry(table).or_default();
        let ranges = letter_ranges(chain, &ranges);
        push(chain, Some(staged), ranges);
    }
    let chain = manifest.tables.entry(main.to_string()).or_default();
    push(chain, main_staged, ranges);
    let watermarks = sealed.watermarks.iter().map(|(split, watermark)| {
        let Split { topic, partition } = &sealed.splits[*split as usize];
        SplitWatermark {
            topic: topic.to_string(),
            partition: *partition,
            watermark: *watermark,
        }
    });
    manifest.watermarks = watermarks.collect();
    manifest.checkpoint_id += 1;
}

/// The checkpoint's watermarks, by split.
pub(super) fn watermarks(manifest: &Manifest, splits: &[Split]) -> BTreeMap<SplitId, i64> {
    let mut found = BTreeMap::new();
    for at in &manifest.watermarks {
        let split = splits
            .iter()
            .position(|split| *split.topic == *at.topic && split.partition == at.partition);
        if let Some(split) = split {
            found.insert(split as SplitId, at.watermark);
        }
    }
    found
}

/// Where the side tables' chains end, by topic and partition.
pub(super) fn side_ends(manifest: &Manifest, main: &str) -> BTreeMap<(String, i32), i64> {
    let sides = manifest.tables.iter().filter(|(table, _)| *table != main);
    sides.flat_map(|(_, chain)| chain.ends()).collect()
}

/// A side table's commit covers everything since its last one, so that its chain has no hole either. After a rewind of the
/// main table it may be ahead: then there is nothing to cover yet.
fn letter_ranges(chain: &TableChain, ranges: &[SplitRange]) -> Vec<SplitRange> {
    let ends = chain.ends();
    let covered = ranges.iter().map(|range| SplitRange {
        start: *ends
            .get(&(range.topic.clone(), range.partition))
            .unwrap_or(&range.start),
        rows: range.dead_letters,
        filtered: 0,
        dead_letters: 0,
        control: 0,
        ..range.clone()
    });
    covered.filter(|range| range.start < range.end).collect()
}

/// Moves the manifest on to the range's end.
///
/// # Panics
/// When the range does not begin where the manifest stands (L2).
fn set_offset(manifest: &mut Manifest, range: &SplitRange) {
    let split = |next| SplitOffset {
        topic: range.topic.clone(),
        partition: range.partition,
        next,
    };
    manifest.begin_at(&[split(range.start)]);
    let known = manifest
        .offsets
        .iter_mut()
        .find(|at| at.topic == range.topic && at.partition == range.partition);
    match known {
        Some(at) => {
            assert_eq!(
                at.next, range.start,
                "L2: a commit begins where the manifest stands"
            );
            at.next = range.end;
        }
        None => manifest.offsets.push(split(range.end)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(partition: i32, start: i64, end: i64, dead_letters: u64) -> SplitRange {
        SplitRange {
            topic: "t".into(),
            partition,
            start,
            end,
            rows: 10,
            filtered: 0,
            dead_letters,
            control: 0,
        }
    }

    fn pending(ranges: Vec<SplitRange>) -> TableChain {
        TableChain {
            last: None,
            chain: vec![Pending {
                sequence: 1,
                uuid: Uuid::nil(),
                previous: None,
                files: Vec::new(),
                ranges,
                ..Pending::default()
            }],
        }
    }

    /// `partition@start-end=rows`
    fn covered(side: &TableChain, ranges: &[SplitRange]) -> Vec<String> {
        let text = |range: &SplitRange| {
            let SplitRange {
                partition,
                start,
                end,
                rows,
                ..
            } = range;
            format!("{partition}@{start}-{end}={rows}")
        };
        letter_ranges(side, ranges).iter().map(text).collect()
    }

    #[test]
    fn a_side_table_covers_all_since_its_last_commit() {
        let side = pending(vec![range(0, 0, 5, 1)]);
        let ranges = [range(0, 20, 30, 2), range(1, 7, 9, 0)];
        assert_eq!(covered(&side, &ranges), ["0@5-30=2", "1@7-9=0"]);
    }

    #[test]
    fn a_side_table_that_is_ahead_after_a_rewind_covers_nothing_twice() {
        let side = pending(vec![range(0, 0, 25, 1), range(1, 0, 40, 1)]);
        let ranges = [range(0, 10, 30, 2), range(1, 10, 20, 1)];
        assert_eq!(covered(&side, &ranges), ["0@25-30=2"]);
    }

    #[test]
    fn where_reading_began_is_remembered_once() {
        let mut manifest = Manifest::new(Uuid::nil());
        set_offset(&mut manifest, &range(3, 7, 9, 0));
        set_offset(&mut manifest, &range(3, 9, 12, 0));
        let next = |offsets: &[SplitOffset]| offsets[0].next;
        assert_eq!((next(&manifest.begins), next(&manifest.offsets)), (7, 12));
    }
}
