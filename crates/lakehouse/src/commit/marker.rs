//! Markers: what a commit of ours says about itself, in the snapshot's summary and in a property of the table.
//!
//! Layout (frozen; readers of the offset history depend on it). In the summary of every snapshot of ours:
//!
//! ```text
//! lakeward.pipeline-id, lakeward.pipeline    who
//! lakeward.sequence, lakeward.first-sequence the newest and the oldest pending commit that the snapshot merges
//! lakeward.uuid, lakeward.previous-uuid      the newest pending's uuid; the uuid before the oldest
//! lakeward.offsets                           {"topic":{"0":[start,end,rows,filtered,dead letters,control]}}, this snapshot;
//!                                            a seventh number, late, where there is one
//! lakeward.ends                              {"topic":{"0":end}}, all partitions up to here
//! lakeward.plan                              the newest pending's plan
//! lakeward.max-event-time, lakeward.watermark   milliseconds since 1970, where known
//! lakeward.reached                           the same: no event time that the job ever read up to here is greater, whatever
//!                                            process read it
//! lakeward.lookups                           [[{"topic":{"0":start}},{"catalog.namespace.table":"version"}], …]: from these offsets on rows
//!                                            were joined with these versions of tables; only where rows are looked up in some
//! ```
//!
//! In the property [`PROPERTY`], in the same commit: the same identity with the snapshot's id, as JSON. A rollback does not
//! take the property back, and expiry cannot remove it; that is what the decision rests on. A pending commit that brought
//! neither files nor progress still gets a snapshot, because only a snapshot can prove that it happened.
//!
//! A snapshot of our upkeep, which moves no row, has no marker. It says what it is, and which marker's snapshot is among its
//! ancestors, so that whoever expires that one does not cut the marker off:
//!
//! ```text
//! lakeward.upkeep                            compaction, erasure
//! lakeward.upholds                           the id of the snapshot with the newest marker below this one
//! ```
//!
//! An [erasure](crate::erasure) has both: it states the newest marker once more, because the snapshot that has it may end next, and
//! accounts for no offset. It upholds, on a replay's branch, the first snapshot of that. `lakeward.erasure` is which attempt it was.
//!
//! A commit to another branch than `main` says which; the first one of a [replay](crate::replay) also which offsets the branch is
//! about:
//!
//! ```text
//! lakeward.branch                            the branch
//! lakeward.replay                            {"from":{"topic":{"0":offset}},"until":{"topic":{"0":offset}}}
//! ```
//!
//! A commit that let `main` have the rows of such a branch says of which offsets, and by which plan; one that was to, and could not,
//! says why:
//!
//! ```text
//! lakeward.promoted                          a [`Promoted`], as JSON
//! lakeward.promotion-refused                 a sentence
//! ```
//!
//! Only the property tells the table's whole history, for the same reason: where each partition *begins* in the table, and
//! which plan made what, in which fields (its [`Stint`]s). Snapshots expire, and what they accounted for is still to be there.

mod promotions;
mod stints;

pub(crate) use promotions::MOST_PROMOTIONS;
pub use promotions::Promoted;
pub use stints::Stint;

use super::branch::{Branch, Ref};
use iceberg::spec::{Snapshot, TableMetadata};
use lw_runtime::Pins;
use lw_runtime::connector::{Owner, TableMarker};
use lw_runtime::manifest::{Pending, SplitOffset, SplitRange, TableChain};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use uuid::Uuid;

/// The property with the newest marker of the branch `main`.
pub const PROPERTY: &str = "lakeward.marker.main";
/// What the properties of all branches begin with.
pub(crate) const PROPERTIES: &str = "lakeward.marker.";

const PIPELINE_ID: &str = "lakeward.pipeline-id";
const PIPELINE: &str = "lakeward.pipeline";
const SEQUENCE: &str = "lakeward.sequence";
const FIRST_SEQUENCE: &str = "lakeward.first-sequence";
const UUID: &str = "lakeward.uuid";
const PREVIOUS: &str = "lakeward.previous-uuid";
const OFFSETS: &str = "lakeward.offsets";
const ENDS: &str = "lakeward.ends";
const MAX_EVENT_TIME: &str = "lakeward.max-event-time";
const WATERMARK: &str = "lakeward.watermark";
const REACHED: &str = "lakeward.reached";
const PLAN: &str = "lakeward.plan";
const LOOKUPS: &str = "lakeward.lookups";
const UPKEEP: &str = "lakeward.upkeep";
/// In the summary of a snapshot of our upkeep: the snapshot with the newest marker, which is one of its ancestors.
pub(crate) const UPHOLDS: &str = "lakeward.upholds";

/// In the summary of the first snapshot of a replay's branch: the range.
pub(crate) const REPLAY: &str = "lakeward.replay";
/// In the summary of a snapshot that was committed to another branch than `main`: which.
pub(crate) const BRANCH: &str = "lakeward.branch";

/// In the summary of a snapshot that promoted a branch: what, or why it did not.
pub(crate) const PROMOTED: &str = "lakeward.promoted";
pub(crate) const PROMOTION_REFUSED: &str = "lakeward.promotion-refused";

pub(crate) type Ends = BTreeMap<String, BTreeMap<i32, i64>>;
/// Start, end, rows, filtered, dead letters, control; late where some were.
type Offsets = BTreeMap<String, BTreeMap<i32, Vec<i64>>>;

/// Who committed what, and where the table ends with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    pub pipeline: Uuid,
    pub name: String,
    pub sequence: u64,
    pub uuid: Uuid,
    pub previous: Option<Uuid>,
    pub snapshot_id: i64,
    ends: Ends,
    /// Where the table begins; tables of older versions do not say.
    #[serde(default, skip_serializing_if = "Ends::is_empty")]
    begins: Ends,
    /// Oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    stints: Vec<Stint>,
    /// Oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    promotions: Vec<Promoted>,
}

impl Marker {
    /// The marker for committing all of `chain` but the first `done`, which are in the table; `before` is the table's marker.
    ///
    /// # Panics
    /// When nothing is left to commit.
    pub fn new(
        owner: &Owner,
        before: Option<&Marker>,
        chain: &TableChain,
        done: usize,
        snapshot_id: i64,
    ) -> Marker {
        let pending = &chain.chain[done..];
        let newest = pending.last().expect("a marker needs a commit");
        let mut after = chain.clone();
        after.confirm(chain.chain.len());
        let confirmed = after.last.expect("something was confirmed");
        Marker {
            pipeline: owner.pipeline,
            name: owner.name.clone(),
            sequence: newest.sequence,
            uuid: newest.uuid,
            previous: chain.chain[done].previous,
            snapshot_id,
            ends: to_ends(&confirmed.ends),
            begins: begins(before, pending),
            stints: stints::stints(before, owner.pipeline, pending),
            promotions: before.map_or_else(Vec::new, |before| before.promotions.clone()),
        }
    }

    /// The marker of a branch that a pipeline begins to fill from these offsets on.
    pub(crate) fn begun(
        owner: &Owner,
        uuid: Uuid,
        snapshot_id: i64,
        from: &[SplitOffset],
    ) -> Marker {
        Marker {
            pipeline: owner.pipeline,
            name: owner.name.clone(),
            sequence: 0,
            uuid,
            previous: None,
            snapshot_id,
            ends: to_ends(from),
            begins: Ends::new(),
            stints: Vec::new(),
            promotions: Vec::new(),
        }
    }

    /// This marker with the history that `newest`, made after it, has of the offsets up to here.
    pub(crate) fn with_history_of(self, newest: Option<&Marker>) -> Marker {
        let Some(newest) = newest else {
            return self;
        };
        let mut begins = newest.begins.clone();
        keep_below(&mut begins, &self.ends);
        let mut stints = newest.stints.clone();
        for stint in &mut stints {
            keep_below(&mut stint.from, &self.ends);
        }
        stints.retain(|stint| !stint.from.is_empty());
        Marker {
            begins,
            stints,
            ..self
        }
    }

    /// The snapshot says with which versions of other tables its rows were joined.
    pub(crate) fn is_joined(snapshot: &Snapshot) -> bool {
        let summary = &snapshot.summary().additional_properties;
        summary.contains_key(LOOKUPS)
    }

    /// This commit lets the branch have these rows.
    pub(crate) fn promotes(&mut self, promoted: Promoted) {
        self.promotions.push(promoted);
    }

    /// This marker with those promotions alone that readers of the branch see; `newest` is the one that was made last.
    pub(crate) fn with_promotions_of(
        self,
        metadata: &TableMetadata,
        branch: &Branch<'_>,
        newest: Option<&Marker>,
    ) -> Marker {
        Marker {
            promotions: promotions::visible(metadata, branch, newest),
            ..self
        }
    }

    /// The same commit, stated at another snapshot.
    pub(crate) fn named_by(self, snapshot_id: i64) -> Marker {
        Marker {
            snapshot_id,
            ..self
        }
    }

    /// The newest marker ever committed.
    ///
    /// # Errors
    /// When there is a property and it cannot be understood: deciding without it would be guessing.
    pub fn of_table(metadata: &TableMetadata) -> Result<Option<Marker>, serde_json::Error> {
        Marker::of_branch(metadata, &Ref::main())
    }

    /// The same of another branch.
    pub(crate) fn of_branch(
        metadata: &TableMetadata,
        branch: &Ref,
    ) -> Result<Option<Marker>, serde_json::Error> {
        metadata
            .properties()
            .get(&branch.marker_property())
            .map(|text| serde_json::from_str(text))
            .transpose()
    }

    /// The marker in a snapshot's summary, if the snapshot is of ours.
    pub fn of_snapshot(snapshot: &Snapshot) -> Option<Marker> {
        let summary = &snapshot.summary().additional_properties;
        Some(Marker {
            pipeline: summary.get(PIPELINE_ID)?.parse().ok()?,
            name: summary.get(PIPELINE)?.clone(),
            sequence: summary.get(SEQUENCE)?.parse().ok()?,
            uuid: summary.get(UUID)?.parse().ok()?,
            previous: summary.get(PREVIOUS).and_then(|text| text.parse().ok()),
            snapshot_id: snapshot.snapshot_id(),
            ends: serde_json::from_str(summary.get(ENDS)?).ok()?,
            begins: Ends::new(),
            stints: Vec::new(),
            promotions: Vec::new(),
        })
    }

    pub fn to_property(&self) -> String {
        serde_json::to_string(self).expect("a marker is plain data")
    }

    /// The entries of the snapshot's summary.
    pub fn to_summary(&self, merged: &[Pending]) -> HashMap<String, String> {
        let mut summary = HashMap::from([
            (PIPELINE_ID.to_owned(), self.pipeline.to_string()),
            (PIPELINE.to_owned(), self.name.clone()),
            (SEQUENCE.to_owned(), self.sequence.to_string()),
            (UUID.to_owned(), self.uuid.to_string()),
            (OFFSETS.to_owned(), json(&to_offsets(merged))),
            (ENDS.to_owned(), json(&self.ends)),
        ]);
        if let Some(first) = merged.first() {
            summary.insert(FIRST_SEQUENCE.to_owned(), first.sequence.to_string());
        }
        if let Some(plan) = merged.last().and_then(|newest| newest.plan.clone()) {
            summary.insert(PLAN.to_owned(), plan);
        }
        let lookups = to_lookups(merged);
        if !lookups.is_empty() {
            summary.insert(LOOKUPS.to_owned(), json(&lookups));
        }
        if let Some(previous) = self.previous {
            summary.insert(PREVIOUS.to_owned(), previous.to_string());
        }
        if let Some(time) = merged
            .iter()
            .filter_map(|pending| pending.max_event_time)
            .max()
        {
            summary.insert(MAX_EVENT_TIME.to_owned(), time.to_string());
        }
        if let Some(time) = merged.last().and_then(|newest| newest.reached) {
            summary.insert(REACHED.to_owned(), time.to_string());
        }
        if let Some(time) = merged.iter().filter_map(|pending| pending.watermark).max() {
            summary.insert(WATERMARK.to_owned(), time.to_string());
        }
        summary
    }

    pub fn ends(&self) -> Vec<SplitOffset> {
        to_offsets_of_splits(&self.ends)
    }

    /// Where the table begins, per partition.
    pub fn begins(&self) -> Vec<SplitOffset> {
        to_offsets_of_splits(&self.begins)
    }

    /// The ranges that branches gave, oldest first.
    pub fn promotions(&self) -> &[Promoted] {
        &self.promotions
    }

    /// Which plan made what of the rows that are there, oldest first: as an audit has to judge them.
    pub fn made_by(&self) -> Vec<Stint> {
        promotions::made_by(&self.stints, &self.promotions)
    }

    /// Which plan read what, oldest first. Before the first one nothing is known.
    pub fn stints(&self) -> &[Stint] {
        &self.stints
    }

    /// The ids of the plans that made what is in the table.
    pub fn plans(&self) -> impl Iterator<Item = String> {
        let stints = self.stints.iter();
        let stints = stints.filter_map(|stint| stint.plan.clone());
        let promotions = self.promotions.iter();
        stints.chain(promotions.filter_map(|one| one.plan().cloned()))
    }

    /// This marker's end is the start of `ranges` on every partition that both name.
    pub fn continued_by(&self, ranges: &[SplitRange]) -> bool {
        ranges.iter().all(|range| {
            let end = self
                .ends
                .get(&range.topic)
                .and_then(|partitions| partitions.get(&range.partition));
            end.is_none_or(|end| *end == range.start)
        })
    }

    pub fn to_table_marker(&self) -> TableMarker {
        TableMarker {
            owner: Owner {
                pipeline: self.pipeline,
                name: self.name.clone(),
            },
            uuid: self.uuid,
            sequence: self.sequence,
            ends: self.ends(),
        }
    }
}

/// The entries of the summary of a compaction, above `newest`.
pub(crate) fn upheld(newest: Option<&Marker>) -> HashMap<String, String> {
    let mut summary = HashMap::from([(UPKEEP.to_owned(), "compaction".to_owned())]);
    if let Some(newest) = newest {
        summary.insert(UPHOLDS.to_owned(), newest.snapshot_id.to_string());
    }
    summary
}

/// In the summary of an erasure's snapshot: which attempt it was.
const ERASURE: &str = "lakeward.erasure";

/// The entries of the summary of an erasure beside its marker, which the snapshot `of` had.
pub(crate) fn erasing(
    attempt: Uuid,
    upholds: Option<i64>,
    of: Option<&Snapshot>,
) -> HashMap<String, String> {
    let mut summary = HashMap::from([
        (UPKEEP.to_owned(), "erasure".to_owned()),
        (ERASURE.to_owned(), attempt.to_string()),
    ]);
    if let Some(upholds) = upholds {
        summary.insert(UPHOLDS.to_owned(), upholds.to_string());
    }
    for key in [PLAN, MAX_EVENT_TIME, WATERMARK, REACHED] {
        let said = of.and_then(|of| of.summary().additional_properties.get(key));
        summary.extend(said.map(|value| (key.to_owned(), value.clone())));
    }
    summary
}

/// Which attempt of an erasure the snapshot is of.
pub(crate) fn erasure_of(snapshot: &Snapshot) -> Option<Uuid> {
    let summary = &snapshot.summary().additional_properties;
    summary.get(ERASURE)?.parse().ok()
}

/// The snapshot is the first one of a replay's branch.
pub(crate) fn is_base(snapshot: &Snapshot) -> bool {
    let summary = &snapshot.summary().additional_properties;
    summary.contains_key(REPLAY)
}

/// The snapshot is one of our upkeep: it moved no row, or those of an erasure.
pub fn is_upkeep(snapshot: &Snapshot) -> bool {
    let summary = &snapshot.summary().additional_properties;
    summary.contains_key(UPKEEP)
}

/// The branch that a snapshot was committed to, where that is not `main`.
pub(crate) fn branch_of_snapshot(snapshot: &Snapshot) -> Option<&str> {
    let summary = &snapshot.summary().additional_properties;
    summary.get(BRANCH).map(String::as_str)
}

/// The ancestor that a snapshot of our upkeep speaks for.
pub(crate) fn upholds(snapshot: &Snapshot) -> Option<i64> {
    let summary = &snapshot.summary().additional_properties;
    summary.get(UPHOLDS)?.parse().ok()
}

/// The offsets that a snapshot's summary lists.
pub fn ranges_of_snapshot(snapshot: &Snapshot) -> Vec<SplitRange> {
    let summary = &snapshot.summary().additional_properties;
    let Some(offsets) = summary
        .get(OFFSETS)
        .and_then(|text| serde_json::from_str::<Offsets>(text).ok())
    else {
        return Vec::new();
    };
    let mut ranges = Vec::new();
    for (topic, partitions) in offsets {
        for (partition, numbers) in partitions {
            let [start, end, ref counts @ ..] = *numbers else {
                continue;
            };
            let count = |n: usize| counts.get(n).map_or(0, |count| count.unsigned_abs());
            ranges.push(SplitRange {
                topic: topic.clone(),
                partition,
                start,
                end,
                rows: count(0),
                filtered: count(1),
                dead_letters: count(2),
                control: count(3),
                late: count(4),
            });
        }
    }
    ranges
}

/// Milliseconds since 1970 in the summary: the greatest event time, the watermark.
pub fn times_of_snapshot(snapshot: &Snapshot) -> (Option<i64>, Option<i64>) {
    let time = |key| {
        snapshot
            .summary()
            .additional_properties
            .get(key)?
            .parse()
            .ok()
    };
    (time(MAX_EVENT_TIME), time(WATERMARK))
}

/// No event time that was read up to the snapshot is greater; older versions do not say.
pub fn reached_by_snapshot(snapshot: &Snapshot) -> Option<i64> {
    let summary = &snapshot.summary().additional_properties;
    summary.get(REACHED)?.parse().ok()
}

/// The plan that computed what a snapshot brought last.
pub fn plan_of_snapshot(snapshot: &Snapshot) -> Option<String> {
    let summary = &snapshot.summary().additional_properties;
    summary.get(PLAN).cloned()
}

/// With which versions of tables what a snapshot brought was joined, and from which offsets on.
pub fn lookups_of_snapshot(snapshot: &Snapshot) -> Vec<(Vec<SplitOffset>, Pins)> {
    let summary = &snapshot.summary().additional_properties;
    let lookups = summary.get(LOOKUPS);
    let lookups = lookups.and_then(|text| serde_json::from_str::<Vec<(Ends, Pins)>>(text).ok());
    let lookups = lookups.unwrap_or_default().into_iter();
    lookups
        .map(|(from, pins)| (to_offsets_of_splits(&from), pins))
        .collect()
}

/// What pending commits were joined with; nothing, where none of them was joined with anything.
fn to_lookups(merged: &[Pending]) -> Vec<(Ends, Pins)> {
    let mut lookups: Vec<(Ends, Pins)> = Vec::new();
    if merged.iter().all(|pending| pending.lookups.is_empty()) {
        return lookups;
    }
    for pending in merged {
        if lookups
            .last()
            .is_none_or(|(_, pins)| *pins != pending.lookups)
        {
            lookups.push((Ends::new(), pending.lookups.clone()));
        }
        let (from, _) = lookups.last_mut().expect("one was pushed");
        pending
            .ranges
            .iter()
            .for_each(|range| begin_at(from, range));
    }
    lookups
}

/// Where a table begins that goes on with these commits: with the first offset that was ever committed to it. A table of an
/// older version does not know, but its pipeline knows where its reading began.
fn begins(before: Option<&Marker>, pending: &[Pending]) -> Ends {
    let mut begins = before.map_or_else(Ends::new, |before| before.begins.clone());
    if let Some(before) = before.filter(|before| before.begins.is_empty()) {
        begins = to_ends(pending.last().map_or(&[], |newest| &newest.begins));
        keep_below(&mut begins, &before.ends);
    }
    for range in pending.iter().flat_map(|pending| &pending.ranges) {
        begin_at(&mut begins, range);
    }
    begins
}

fn begin_at(begins: &mut Ends, range: &SplitRange) {
    let topic = begins.entry(range.topic.clone()).or_default();
    topic.entry(range.partition).or_insert(range.start);
}

/// Keeps what lies below the ends of its partition.
fn keep_below(offsets: &mut Ends, ends: &Ends) {
    for (topic, partitions) in offsets.iter_mut() {
        partitions.retain(|partition, at| {
            let end = ends.get(topic).and_then(|ends| ends.get(partition));
            end.is_some_and(|end| *at < *end)
        });
    }
    offsets.retain(|_, partitions| !partitions.is_empty());
}

pub(crate) fn to_offsets_of_splits(offsets: &Ends) -> Vec<SplitOffset> {
    let of_topic = |(topic, partitions): (&String, &BTreeMap<i32, i64>)| {
        let at = |(partition, next): (&i32, &i64)| SplitOffset {
            topic: topic.clone(),
            partition: *partition,
            next: *next,
        };
        partitions.iter().map(at).collect::<Vec<_>>()
    };
    offsets.iter().flat_map(of_topic).collect()
}

pub(crate) fn to_ends(offsets: &[SplitOffset]) -> Ends {
    let mut ends = Ends::new();
    for offset in offsets {
        ends.entry(offset.topic.clone())
            .or_default()
            .insert(offset.partition, offset.next);
    }
    ends
}

/// The ranges of several commits as one: they follow on each other, so starts are the least and ends the greatest.
fn to_offsets(merged: &[Pending]) -> Offsets {
    let mut offsets = Offsets::new();
    for range in merged.iter().flat_map(|pending| &pending.ranges) {
        let entry = offsets
            .entry(range.topic.clone())
            .or_default()
            .entry(range.partition)
            .or_insert_with(|| vec![range.start, range.start, 0, 0, 0, 0]);
        entry[0] = entry[0].min(range.start);
        entry[1] = entry[1].max(range.end);
        if range.late > 0 {
            entry.resize(7, 0);
        }
        for (total, count) in entry[2..].iter_mut().zip([
            range.rows,
            range.filtered,
            range.dead_letters,
            range.control,
            range.late,
        ]) {
            *total += i64::try_from(count).expect("counts of records are offsets apart");
        }
    }
    offsets
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("maps of numbers")
}

#[cfg(test)]
mod tests {
    use super::stints::MOST;
    use super::*;
    use crate::naming::Bound;

    /// One commit: its plan, and `partition@start-end` for each range.
    fn commit(plan: &str, ranges: &str) -> Pending {
        let range = |text: &str| {
            let (partition, offsets) = text.split_once('@').expect("partition@offsets");
            let (start, end) = offsets.split_once('-').expect("start-end");
            SplitRange {
                topic: "t".to_owned(),
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
        Pending {
            plan: Some(plan.to_owned()).filter(|plan| !plan.is_empty()),
            ranges: ranges.split_whitespace().map(range).collect(),
            ..Pending::default()
        }
    }

    /// The marker behind these commits to a table with the marker `before`.
    fn marker(before: Option<&Marker>, pipeline: u128, commits: &[Pending]) -> Marker {
        let owner = Owner {
            pipeline: Uuid::from_u128(pipeline),
            name: "p".to_owned(),
        };
        let mut chain = TableChain {
            last: before.map(|before| lw_runtime::manifest::Confirmed {
                uuid: before.uuid,
                sequence: before.sequence,
                ends: before.ends(),
            }),
            chain: Vec::new(),
        };
        for commit in commits {
            chain.chain.push(Pending {
                sequence: chain.next_sequence(),
                previous: chain.head(),
                ..commit.clone()
            });
        }
        Marker::new(&owner, before, &chain, 0, 1)
    }

    fn text(offsets: &[SplitOffset]) -> String {
        let text = |at: &SplitOffset| format!("{}@{}", at.partition, at.next);
        offsets.iter().map(text).collect::<Vec<_>>().join(" ")
    }

    /// `begins | pipeline:plan from … | …`
    fn check(marker: &Marker, expected: &str) {
        let stint = |stint: &Stint| {
            let plan = stint.plan.as_deref().unwrap_or("?");
            format!(
                "{}:{plan} {}",
                stint.pipeline.as_u128(),
                text(&stint.from())
            )
        };
        let mut parts = vec![text(&marker.begins())];
        parts.extend(marker.stints().iter().map(stint));
        assert_eq!(parts.join(" | "), expected);
        let read: Marker = serde_json::from_str(&marker.to_property()).expect("a marker");
        assert_eq!(read, *marker);
    }

    #[test]
    fn a_snapshot_says_with_which_versions_each_commit_in_it_was_joined() {
        let joined = |version: &str, ranges: &str| Pending {
            lookups: Pins::from([("d".to_owned(), version.to_owned())]),
            ..commit("p", ranges)
        };
        let merged = [
            joined("1", "0@3-5"),
            joined("1", "0@5-7 1@0-2"),
            joined("2", "0@7-8"),
        ];
        let summary = marker(None, 1, &merged).to_summary(&merged);
        let stated = r#"[[{"t":{"0":3,"1":0}},{"d":"1"}],[{"t":{"0":7}},{"d":"2"}]]"#;
        assert_eq!(summary[LOOKUPS], stated);
        let plain = [commit("p", "0@0-3")];
        let summary = marker(None, 1, &plain).to_summary(&plain);
        assert!(!summary.contains_key(LOOKUPS));
    }

    #[test]
    fn a_table_begins_with_the_first_offset_that_was_committed_to_it() {
        let first = marker(None, 7, &[commit("a", "0@3-5"), commit("a", "0@5-9 1@2-4")]);
        check(&first, "0@3 1@2 | 7:a 0@3 1@2");
        let next = marker(Some(&first), 7, &[commit("a", "0@9-12 2@0-1")]);
        check(&next, "0@3 1@2 2@0 | 7:a 0@3 1@2 2@0");
    }

    #[test]
    fn each_plan_has_its_stint_and_so_has_each_pipeline() {
        let first = marker(None, 7, &[commit("a", "0@0-5 1@0-5"), commit("b", "0@5-9")]);
        check(&first, "0@0 1@0 | 7:a 0@0 1@0 | 7:b 0@5");
        let next = marker(
            Some(&first),
            7,
            &[commit("b", "1@5-6"), commit("a", "0@9-10")],
        );
        check(&next, "0@0 1@0 | 7:a 0@0 1@0 | 7:b 0@5 1@5 | 7:a 0@9");
        let adopted = marker(Some(&next), 8, &[commit("a", "0@10-11")]);
        let expected = "0@0 1@0 | 7:a 0@0 1@0 | 7:b 0@5 1@5 | 7:a 0@9 | 8:a 0@10";
        check(&adopted, expected);
    }

    /// The fields that its names mean stand with each stint; where they come to mean others, another begins.
    #[test]
    fn a_stint_says_what_names_mean() {
        let meaning = |ranges: &str, columns: &[(&str, i32)]| {
            let columns = columns.iter().map(|(name, id)| ((*name).to_owned(), *id));
            let columns: Bound = columns.collect();
            let files = vec![serde_json::json!({ "columns": columns })];
            Pending {
                files,
                ..commit("a", ranges)
            }
        };
        // A version that did not say, then one that does, and a commit without files.
        let commits = [
            commit("a", "0@0-1"),
            meaning("0@1-2", &[("x", 1)]),
            commit("a", "0@2-3"),
        ];
        let first = marker(None, 7, &commits);
        check(&first, "0@0 | 7:a 0@0");
        assert_eq!(first.stints()[0].columns["x"], 1);
        let again = [meaning("0@3-4", &[("x", 1)]), meaning("0@4-5", &[("x", 9)])];
        let next = marker(Some(&first), 7, &again);
        check(&next, "0@0 | 7:a 0@0 | 7:a 0@4");
        let meant = next.stints().iter().map(|stint| stint.columns["x"]);
        assert_eq!(meant.collect::<Vec<_>>(), [1, 9]);
    }

    #[test]
    fn what_an_older_version_committed_begins_where_reading_did() {
        let mut old = marker(None, 7, &[commit("", "0@3-5")]);
        check(&old, "0@3");
        old.begins = Ends::new();
        let mut next = commit("a", "0@5-9 1@4-5");
        let begin = |partition, next| SplitOffset {
            topic: "t".to_owned(),
            partition,
            next,
        };
        next.begins = vec![begin(0, 2), begin(1, 0)];
        // Of partition 1 nothing was committed before.
        check(&marker(Some(&old), 7, &[next]), "0@2 1@4 | 7:a 0@5 1@4");
    }

    /// A property as it was written before it told the history.
    #[test]
    fn a_property_of_an_older_version_is_read_as_knowing_no_history() {
        let text = r#"{"pipeline":"00000000-0000-0000-0000-000000000007","name":"p","sequence":2,"uuid":"00000000-0000-0000-0000-000000000009","previous":null,"snapshot_id":5,"ends":{"t":{"0":9}}}"#;
        let marker: Marker = serde_json::from_str(text).expect("a marker");
        check(&marker, "");
        assert_eq!(marker.to_property(), text);
    }

    #[test]
    fn an_older_marker_gets_the_history_up_to_itself() {
        let first = marker(None, 7, &[commit("a", "0@0-5")]);
        let bare = Marker {
            begins: Ends::new(),
            stints: Vec::new(),
            ..first.clone()
        };
        let second = marker(Some(&first), 7, &[commit("b", "0@5-9 1@0-4")]);
        check(&bare.with_history_of(Some(&second)), "0@0 | 7:a 0@0");
    }

    #[test]
    fn the_oldest_stints_give_way_where_there_are_too_many() {
        let mut before: Option<Marker> = None;
        for round in 0..MOST as i64 + 2 {
            let ranges = format!("0@{round}-{}", round + 1);
            let plan = round.to_string();
            before = Some(marker(before.as_ref(), 7, &[commit(&plan, &ranges)]));
        }
        let stints = before.expect("there were commits").stints;
        assert_eq!(stints.len(), MOST);
        assert_eq!(stints[0].plan.as_deref(), Some("2"));
    }
}
