//! What a seal becomes in the manifest: a pending commit per table, and the sink moved on. Pure.
//!
//! The main table's commit accounts for every offset that was read since the last seal, also when no row came of it: a
//! table whose offsets have a hole could not be told from one that lost a commit. A side table gets a commit only when
//! something was staged for it, which then reaches back to its last one.

use super::account::Standing;
use crate::chunk::{Split, SplitId};
use crate::connector::{LATE, Staged};
use crate::lookup::Pins;
use crate::manifest::{Joined, Manifest, Pending, SinkState, SplitRange, SplitState, TableChain};
use crate::operator::SplitTimes;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// What a sink made durable of what was read and computed since its last seal.
pub(super) struct Sealed<'a> {
    /// `namespace.table` of the main output, as the sink says it.
    pub(super) main: &'a str,
    pub(super) staged: Vec<Staged>,
    pub(super) ranges: Vec<SplitRange>,
    /// The source's.
    pub(super) watermark: Option<i64>,
    pub(super) max_event_time: Option<i64>,
    pub(super) reached: Option<i64>,
    /// With what its rows were joined.
    pub(super) lookups: Pins,
}

/// Appends what was sealed to the chains of a sink's tables, and moves the sink on.
///
/// # Panics
/// When a range does not begin where the sink stands (L2).
pub(super) fn enlist(sink: &mut SinkState, sealed: Sealed<'_>, mut new_uuid: impl FnMut() -> Uuid) {
    let Sealed { main, ranges, .. } = sealed;
    ranges.iter().for_each(|range| sink.move_on(range));
    let (plan, begins) = (sink.plan.clone(), sink.begins());
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
            reached: sealed.reached,
            schema_id,
            plan: plan.clone(),
            begins: begins.clone(),
            lookups: sealed.lookups.clone(),
        });
    };
    let mut by_table: BTreeMap<String, Staged> = sealed
        .staged
        .into_iter()
        .map(|staged| (staged.table.clone(), staged))
        .collect();
    let main_staged = by_table.remove(main);
    for (table, staged) in by_table {
        let rows = match table.ends_with(LATE) {
            true => |range: &SplitRange| range.late,
            false => |range: &SplitRange| range.dead_letters,
        };
        let chain = sink.sides.entry(table).or_default();
        let ranges = side_ranges(chain, &ranges, rows);
        push(chain, Some(staged), ranges);
    }
    push(&mut sink.chain, main_staged, ranges);
}

/// What is the whole job's of a checkpoint: how far event time has come, and the place of the last batch.
pub(super) fn pass(manifest: &mut Manifest, standing: Standing) {
    let Standing { splits, times, .. } = &standing;
    let known = manifest.splits.iter();
    let known: BTreeSet<(&str, i32)> = known.map(|at| (&*at.topic, at.partition)).collect();
    let is_new = |split: &&Split| !known.contains(&(&*split.topic, split.partition));
    let new: Vec<&Split> = splits.iter().filter(is_new).collect();
    for split in new {
        manifest.reads(&split.topic, split.partition, Joined::Later);
    }
    // Time alone can let rows be sealed, before anything was read.
    if !splits.is_empty() {
        let ids = (0..).zip(splits.iter());
        let ids = ids.map(|(id, split)| ((&*split.topic, split.partition), id));
        let ids: BTreeMap<(&str, i32), SplitId> = ids.collect();
        for state in &mut manifest.splits {
            let split = ids.get(&(&*state.topic, state.partition)).copied();
            state.watermark = split.and_then(|split| times.by_split().get(&split).copied());
            state.came = split.and_then(|split| times.came(split));
        }
        let place = standing.place;
        manifest.place = place.max(manifest.place.filter(|_| place.is_some()));
        manifest.meetings = standing.meetings;
    }
    manifest.marked = manifest.marked.max(standing.marked);
    for (scan, marked) in standing.marks {
        let known = manifest.marks.entry(scan).or_insert(marked);
        *known = marked.max(*known);
    }
    manifest.checkpoint_id += 1;
}

/// The split of a topic's partition.
pub(super) fn position(splits: &[Split], topic: &str, partition: i32) -> Option<SplitId> {
    let mut splits = splits.iter();
    let found = splits.position(|split| *split.topic == *topic && split.partition == partition);
    found.map(|split| split as SplitId)
}

/// How far event time had come in each split at the checkpoint, and which of them it waits for.
pub(super) fn times(states: &[SplitState], splits: &[Split]) -> SplitTimes {
    let known = states.iter().filter_map(|state| {
        let split = position(splits, &state.topic, state.partition)?;
        Some((split, state))
    });
    let awaited = known.clone().filter(|(_, state)| state.joined.is_awaited());
    let times = SplitTimes::awaiting(awaited.map(|(split, _)| split).collect());
    let came = known
        .clone()
        .filter_map(|(split, state)| Some((split, state.came?)));
    let came: BTreeMap<SplitId, i64> = came.collect();
    let by_split = known.filter_map(|(split, state)| Some((split, state.watermark?)));
    times.at(by_split.collect()).since(came)
}

/// Where the chains of a sink's side tables end, by topic and partition.
pub(super) fn side_ends(sink: Option<&SinkState>) -> BTreeMap<(String, i32), i64> {
    let sides = sink.into_iter().flat_map(|sink| sink.sides.values());
    sides.flat_map(TableChain::ends).collect()
}

/// A side table's commit covers everything since its last one, so that its chain has no hole either. After a rewind of the
/// main table it may be ahead: then there is nothing to cover yet.
fn side_ranges(
    chain: &TableChain,
    ranges: &[SplitRange],
    rows: fn(&SplitRange) -> u64,
) -> Vec<SplitRange> {
    let ends = chain.ends();
    let covered = ranges.iter().map(|range| SplitRange {
        start: *ends
            .get(&(range.topic.clone(), range.partition))
            .unwrap_or(&range.start),
        rows: rows(range),
        filtered: 0,
        dead_letters: 0,
        control: 0,
        late: 0,
        ..range.clone()
    });
    covered.filter(|range| range.start < range.end).collect()
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
            late: 0,
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
        side_ranges(side, ranges, |range| range.dead_letters)
            .iter()
            .map(text)
            .collect()
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
        let mut sink = SinkState::default();
        sink.move_on(&range(3, 7, 9, 0));
        sink.move_on(&range(3, 9, 12, 0));
        let split = sink.split("t", 3).expect("it is read");
        assert_eq!((split.begin, split.written_until), (7, 12));
    }
}
