//! Markers: what a commit of ours says about itself, in the snapshot's summary and in a property of the table.
//!
//! Layout (frozen; readers of the offset history depend on it). In the summary of every snapshot of ours:
//!
//! ```text
//! lakeward.pipeline-id, lakeward.pipeline    who
//! lakeward.sequence, lakeward.first-sequence the newest and the oldest pending commit that the snapshot merges
//! lakeward.uuid, lakeward.previous-uuid      the newest pending's uuid; the uuid before the oldest
//! lakeward.offsets                           {"topic":{"0":[start,end,rows,filtered,dead letters,control]}}, this snapshot
//! lakeward.ends                              {"topic":{"0":end}}, all partitions up to here
//! lakeward.max-event-time, lakeward.watermark   milliseconds since 1970, where known
//! ```
//!
//! In the property [`PROPERTY`], in the same commit: the same identity with the snapshot's id, as JSON. A rollback does not
//! take the property back, and expiry cannot remove it; that is what the decision rests on. A pending commit that brought
//! neither files nor progress still gets a snapshot, because only a snapshot can prove that it happened.

use iceberg::spec::{Snapshot, TableMetadata};
use lw_runtime::connector::{Owner, TableMarker};
use lw_runtime::manifest::{Pending, SplitOffset, SplitRange, TableChain};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use uuid::Uuid;

/// The property with the newest marker of the branch `main`.
pub const PROPERTY: &str = "lakeward.marker.main";

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

type Ends = BTreeMap<String, BTreeMap<i32, i64>>;
/// Start, end, rows, filtered, dead letters, control.
type Offsets = BTreeMap<String, BTreeMap<i32, [i64; 6]>>;

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
}

impl Marker {
    /// The marker for committing all of `chain` but the first `done`, which are in the table.
    ///
    /// # Panics
    /// When nothing is left to commit.
    pub fn new(owner: &Owner, chain: &TableChain, done: usize, snapshot_id: i64) -> Marker {
        let newest = chain.chain[done..].last().expect("a marker needs a commit");
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
        metadata
            .properties()
            .get(PROPERTY)
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
        if let Some(time) = merged.iter().filter_map(|pending| pending.watermark).max() {
            summary.insert(WATERMARK.to_owned(), time.to_string());
        }
        summary
    }

    pub fn ends(&self) -> Vec<SplitOffset> {
        let mut ends = Vec::new();
        for (topic, partitions) in &self.ends {
            for (partition, next) in partitions {
                ends.push(SplitOffset {
                    topic: topic.clone(),
                    partition: *partition,
                    next: *next,
                });
            }
        }
        ends
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
        for (partition, [start, end, rows, filtered, dead_letters, control]) in partitions {
            ranges.push(SplitRange {
                topic: topic.clone(),
                partition,
                start,
                end,
                rows: rows.unsigned_abs(),
                filtered: filtered.unsigned_abs(),
                dead_letters: dead_letters.unsigned_abs(),
                control: control.unsigned_abs(),
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

fn to_ends(offsets: &[SplitOffset]) -> Ends {
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
            .or_insert([range.start, range.start, 0, 0, 0, 0]);
        entry[0] = entry[0].min(range.start);
        entry[1] = entry[1].max(range.end);
        for (total, count) in entry[2..].iter_mut().zip([
            range.rows,
            range.filtered,
            range.dead_letters,
            range.control,
        ]) {
            *total += i64::try_from(count).expect("counts of records are offsets apart");
        }
    }
    offsets
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("maps of numbers")
}
