//! Manifests of formats 1 and 2: one sink, and beside its chain those of its side tables, by name only.
//!
//! Format 1 had no ids of topics, no end of a bounded read, no watermarks and no plan: it is read as a checkpoint that does not
//! know them yet.

use super::{
    FORMAT, Joined, Manifest, SinkSplit, SinkState, SplitOffset, SplitState, TableChain, sink_name,
    split_offset,
};
use crate::lookup::Pins;
use crate::operator::Meetings;
use serde::Deserialize;
use std::collections::BTreeMap;
use uuid::Uuid;

#[derive(Deserialize)]
struct Before {
    pipeline: Uuid,
    generation: u64,
    checkpoint_id: u64,
    created_ms: i64,
    offsets: Vec<SplitOffset>,
    #[serde(default)]
    begins: Vec<SplitOffset>,
    #[serde(default)]
    topics: BTreeMap<String, Uuid>,
    #[serde(default)]
    ends: Option<Vec<SplitOffset>>,
    #[serde(default)]
    watermarks: Vec<SplitWatermark>,
    #[serde(default)]
    plan: Option<String>,
    tables: BTreeMap<String, TableChain>,
}

#[derive(Deserialize)]
struct SplitWatermark {
    topic: String,
    partition: i32,
    watermark: i64,
}

/// A manifest of format 1 or 2 as this one's.
pub(super) fn read(bytes: &[u8], key: &str) -> Result<Manifest, serde_json::Error> {
    let before: Before = serde_json::from_slice(bytes)?;
    let splits = before.offsets.iter().map(|at| before.split(at)).collect();
    let name = sink_of(key);
    let mut sink = SinkState {
        plan: before.plan.clone(),
        splits: before.sink_splits(),
        ..SinkState::default()
    };
    for (table, chain) in before.tables {
        // What is no table stood under its connector's name.
        if table == name || ["print", "blackhole"].contains(&&*table) {
            sink.chain = chain;
        } else {
            sink.sides.insert(table, chain);
        }
    }
    go_on_with_chain(&mut sink);
    Ok(Manifest {
        format: FORMAT,
        pipeline: before.pipeline,
        generation: before.generation,
        checkpoint_id: before.checkpoint_id,
        created_ms: before.created_ms,
        topics: before.topics,
        place: None,
        marked: None,
        reached: None,
        marks: BTreeMap::new(),
        meetings: Meetings::default(),
        lookups: Pins::new(),
        splits,
        state: None,
        sinks: BTreeMap::from([(name, sink)]),
    })
}

/// The sink that the manifest under this key is of.
fn sink_of(key: &str) -> String {
    let mut parts = key.splitn(3, '/').skip(1);
    let occurrence = parts.next().and_then(|part| part.parse().ok());
    // Format 1 stood under `pipeline/position` until it was carried over.
    let table = parts.next().unwrap_or_default();
    sink_name(table, occurrence.unwrap_or(0))
}

/// What the chain has is written, whatever the offsets say: they forgot a topic that was not read any more, and began anew with
/// one that came back.
fn go_on_with_chain(sink: &mut SinkState) {
    for ((topic, partition), end) in sink.chain.ends() {
        let end = split_offset(&topic, partition, end);
        sink.begin_at(&end);
        let split = sink.split_mut(&end).expect("it has just begun there");
        split.written_until = split.written_until.max(end.next);
    }
}

impl Before {
    fn split(&self, at: &SplitOffset) -> SplitState {
        let mut ends = self.ends.iter().flatten();
        let mut watermarks = self.watermarks.iter();
        let watermark = watermarks.find(|w| w.topic == at.topic && w.partition == at.partition);
        SplitState {
            topic: at.topic.clone(),
            partition: at.partition,
            end: ends.find(|end| end.same_split(at)).map(|end| end.next),
            watermark: watermark.map(|found| found.watermark),
            came: None,
            joined: Joined::Unknown,
        }
    }

    /// Where a beginning is known but no offset, the partition is not read any more.
    fn sink_splits(&self) -> Vec<SinkSplit> {
        let begin_of = |at: &SplitOffset| {
            let mut begins = self.begins.iter();
            begins.find(|begin| begin.same_split(at))
        };
        let read = self.offsets.iter().map(|at| SinkSplit {
            topic: at.topic.clone(),
            partition: at.partition,
            begin: begin_of(at).map_or(at.next, |begin| begin.next),
            written_until: at.next,
        });
        let is_read = |begin: &&SplitOffset| self.offsets.iter().any(|at| at.same_split(begin));
        let left = self.begins.iter().filter(|begin| !is_read(begin));
        let left = left.map(|begin| SinkSplit {
            topic: begin.topic.clone(),
            partition: begin.partition,
            begin: begin.next,
            written_until: begin.next,
        });
        read.chain(left).collect()
    }
}
