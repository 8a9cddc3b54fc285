//! Where a source is: the next offset of every partition that it reads, and where a bounded read ends.
//!
//! Splits are only ever appended, so a [`SplitId`] stays what it is between two openings.

use lw_runtime::manifest::SplitOffset;
use lw_runtime::{Split, SplitId};
use lw_storage::source::{NOTHING, TopicOffsets};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Default)]
pub(super) struct Positions {
    splits: Arc<[Split]>,
    /// By topic and partition.
    ids: BTreeMap<Arc<str>, BTreeMap<i32, SplitId>>,
    /// By split.
    next: Vec<i64>,
    /// By split; [`NOTHING`] where there is no end.
    ends: Vec<i64>,
    /// Offsets that no poll reads over.
    cuts: BTreeSet<(SplitId, i64)>,
    /// The end is in a partition that does not exist.
    never_done: bool,
}

impl Positions {
    pub(super) fn add(&mut self, topic: &str, partition: i32, next: i64) -> SplitId {
        let id = SplitId::try_from(self.splits.len()).expect("partitions are fewer than 2^32");
        let topic = match self.ids.get_key_value(topic) {
            Some((known, _)) => known.clone(),
            None => topic.into(),
        };
        let partitions = self.ids.entry(topic.clone()).or_default();
        let before = partitions.insert(partition, id);
        assert!(before.is_none(), "a partition is added once");
        let added = Split { topic, partition };
        self.splits = self.splits.iter().cloned().chain([added]).collect();
        self.next.push(next);
        self.ends.push(NOTHING);
        id
    }

    pub(super) fn find(&self, topic: &str, partition: i32) -> Option<SplitId> {
        self.ids.get(topic)?.get(&partition).copied()
    }

    pub(super) fn splits(&self) -> Arc<[Split]> {
        self.splits.clone()
    }

    pub(super) fn next(&self, split: SplitId) -> i64 {
        self.next[split as usize]
    }

    /// # Panics
    /// When that would be back: offsets would be read twice.
    pub(super) fn advance(&mut self, split: SplitId, to: i64) {
        let next = &mut self.next[split as usize];
        assert!(
            *next <= to,
            "a source only goes forward between positionings"
        );
        *next = to;
    }

    /// Reading ends at this offset, [`NOTHING`] when nowhere.
    pub(super) fn end(&self, split: SplitId) -> i64 {
        self.ends[split as usize]
    }

    pub(super) fn end_at(&mut self, split: SplitId, end: i64) {
        self.ends[split as usize] = end;
    }

    pub(super) fn cut_at(&mut self, split: SplitId, offset: i64) {
        self.cuts.insert((split, offset));
    }

    /// Up to where one poll reads that begins here.
    pub(super) fn limit(&self, split: SplitId) -> i64 {
        let ahead = (split, self.next(split).saturating_add(1))..=(split, i64::MAX);
        let cut = self.cuts.range(ahead).next();
        cut.map_or(self.end(split), |(_, cut)| self.end(split).min(*cut))
    }

    pub(super) fn never_done(&mut self) {
        self.never_done = true;
    }

    /// Every partition has been read to its end.
    pub(super) fn done(&self) -> bool {
        let mut positions = self.next.iter().zip(&self.ends);
        !self.never_done && positions.all(|(next, end)| next >= end)
    }

    /// What to ask the log for.
    pub(super) fn wanted(&self) -> TopicOffsets {
        let mut wanted = TopicOffsets::new();
        for (topic, partitions) in &self.ids {
            let next = partitions.iter().map(|(partition, split)| {
                let next = self.next(*split);
                let finished = next >= self.end(*split);
                (*partition, if finished { NOTHING } else { next })
            });
            wanted.insert(topic.to_string(), next.collect());
        }
        wanted
    }

    /// Where a bounded read ends.
    pub(super) fn ends(&self) -> Vec<SplitOffset> {
        let ends = self.splits.iter().zip(&self.ends);
        ends.map(|(split, end)| SplitOffset {
            topic: split.topic.to_string(),
            partition: split.partition,
            next: *end,
        })
        .collect()
    }

    pub(super) fn offsets(&self) -> Vec<SplitOffset> {
        let positions = self.splits.iter().zip(&self.next);
        positions
            .map(|(split, next)| SplitOffset {
                topic: split.topic.to_string(),
                partition: split.partition,
                next: *next,
            })
            .collect()
    }
}
