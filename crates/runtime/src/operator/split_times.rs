//! How far event time has come in each split of a scan, and in the scan: the least of the splits that count.
//!
//! | a split | counts |
//! |---|---|
//! | was there when reading began | from the beginning on: before it has a row there is no watermark |
//! | appeared later | from its first row with an event time on |
//! | is read to the end of a bounded read | not any more |
//!
//! When a split was *found* is nobody's business: that hangs on how often the log was looked at, and whoever reads the log again
//! finds all of them at once. Where its first row stands is the log's own word.

use crate::chunk::SplitId;
use std::collections::{BTreeMap, BTreeSet};

/// The watermarks of a scan's splits, milliseconds since 1970.
#[derive(Clone, Debug, Default)]
pub struct SplitTimes {
    /// Without those that had no row with an event time yet.
    by_split: BTreeMap<SplitId, i64>,
    /// Those that were there when reading began.
    awaited: BTreeSet<SplitId>,
    done: BTreeSet<SplitId>,
}

/// What the splits that count, but for one, allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Others {
    /// There are none.
    None,
    /// One has no watermark yet.
    Missing,
    Least(i64),
}

impl SplitTimes {
    /// Nothing has been read; these are waited for.
    pub fn awaiting(splits: BTreeSet<SplitId>) -> SplitTimes {
        SplitTimes {
            awaited: splits,
            ..SplitTimes::default()
        }
    }

    /// Goes on where a checkpoint stood.
    pub(crate) fn at(self, by_split: BTreeMap<SplitId, i64>) -> SplitTimes {
        SplitTimes { by_split, ..self }
    }

    pub fn by_split(&self) -> &BTreeMap<SplitId, i64> {
        &self.by_split
    }

    /// The scan's watermark holds at or below that of this split, or waits for its first row.
    pub fn counts(&self, split: SplitId) -> bool {
        let is_known = self.awaited.contains(&split) || self.by_split.contains_key(&split);
        is_known && !self.done.contains(&split)
    }

    pub fn is_done(&self, split: SplitId) -> bool {
        self.done.contains(&split)
    }

    /// These splits are read to the end of a bounded read.
    pub(crate) fn done(&mut self, done: BTreeSet<SplitId>) {
        self.done = done;
    }

    /// Raises a split's watermark.
    pub(crate) fn raise(&mut self, split: SplitId, to: i64) {
        let known = self.by_split.entry(split).or_insert(to);
        *known = (*known).max(to);
    }

    /// The scan's. Once nothing counts any more, event time has come as far as it ever will.
    pub fn watermark(&self) -> Option<i64> {
        match self.least_of(|_| true) {
            Others::Least(least) => Some(least),
            Others::Missing => None,
            Others::None => self.by_split.values().max().copied(),
        }
    }

    pub(super) fn least_of_others(&self, split: SplitId) -> Others {
        self.least_of(|other| other != split)
    }

    fn least_of(&self, which: impl Fn(SplitId) -> bool) -> Others {
        let known = self.by_split.keys().filter(|id| !self.awaited.contains(id));
        let counted = self.awaited.iter().chain(known);
        let mut least = Others::None;
        for id in counted.filter(|id| which(**id) && !self.done.contains(id)) {
            least = match (least, self.by_split.get(id)) {
                (_, None) => return Others::Missing,
                (Others::Least(least), Some(own)) => Others::Least(least.min(*own)),
                (_, Some(own)) => Others::Least(*own),
            };
        }
        least
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(awaited: u32, by_split: &[(SplitId, i64)]) -> SplitTimes {
        let times = SplitTimes::awaiting((0..awaited).collect());
        times.at(by_split.iter().copied().collect())
    }

    #[test]
    fn a_scans_watermark_is_the_least_of_its_splits() {
        assert_eq!(times(2, &[(0, 9)]).watermark(), None, "one has no row yet");
        assert_eq!(times(2, &[(0, 9), (1, 3)]).watermark(), Some(3));
        assert_eq!(times(3, &[(0, 9), (1, 3)]).watermark(), None);
        assert_eq!(times(0, &[]).watermark(), None);
    }

    /// As Flink, whose splits give up their output when they are read to their end.
    #[test]
    fn a_partition_that_is_read_to_its_end_holds_no_watermark_back() {
        let after = |done: &[SplitId]| {
            let mut times = times(3, &[(0, 9), (1, 3)]);
            times.done(done.iter().copied().collect());
            times.watermark()
        };
        assert_eq!(after(&[]), None, "2 has something to read and no row yet");
        assert_eq!(after(&[2]), Some(3), "2 was empty");
        assert_eq!(after(&[1, 2]), Some(9), "1 had less than 0");
        assert_eq!(after(&[0, 1, 2]), Some(9));
        assert_eq!(after(&[0, 1]), None);
    }

    #[test]
    fn one_that_appeared_later_is_waited_for_from_its_first_row_on() {
        let mut times = times(1, &[(0, 9)]);
        assert!(!times.counts(1));
        assert_eq!(times.watermark(), Some(9));
        assert_eq!(times.least_of_others(0), Others::None);
        times.raise(1, 4);
        assert!(times.counts(1));
        assert_eq!(times.watermark(), Some(4));
        assert_eq!(times.least_of_others(0), Others::Least(4));
    }
}
