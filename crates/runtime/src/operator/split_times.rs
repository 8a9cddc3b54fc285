//! How far event time has come in each split of a scan, and in the scan: the least of the splits that count.
//!
//! | a split | counts |
//! |---|---|
//! | was there when reading began | from the beginning on: before it has a row there is no watermark |
//! | appeared later | from its first row with an event time on |
//! | is read to the end of a bounded read | not any more |
//! | is idle | not until its next row |
//!
//! When a split was *found* is nobody's business: that hangs on how often the log was looked at, and whoever reads the log again
//! finds all of them at once. Where its first row stands is the log's own word.
//!
//! A split is **idle** when nothing came in it for longer than a timeout, while others went on. The time that passes is that of the
//! appends, as the log keeps it for each batch: it goes on with the batches that are read, so whoever reads them again sees it pass
//! again, whichever of the job's scans they are of. Among the splits of a scan the one that something came in last holds the watermark
//! where it is, as in Flink the last one that becomes idle raises nothing: then the scan is **asleep**, and where it meets others it is
//! not waited for (`flow::valve`) until its next row. Where nothing comes at all, no time passes.

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
    /// A split is idle when it had no row for longer, in milliseconds.
    timeout: Option<i64>,
    /// The log's own time, in milliseconds, at the newest batch; 0 before any batch says one.
    now: i64,
    /// When something came in each split, where that is of any use.
    came: BTreeMap<SplitId, i64>,
    /// All that count, where all of them are idle.
    asleep: BTreeSet<SplitId>,
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

    /// Goes on from when something came in each split.
    pub(crate) fn since(self, came: BTreeMap<SplitId, i64>) -> SplitTimes {
        let now = came.values().max().copied().unwrap_or(0);
        SplitTimes { now, came, ..self }
    }

    /// Splits are idle behind so many milliseconds without a row.
    pub(super) fn idle_after(self, timeout: Option<i64>) -> SplitTimes {
        SplitTimes { timeout, ..self }
    }

    /// It was there when reading began.
    pub(crate) fn is_awaited(&self, split: SplitId) -> bool {
        self.awaited.contains(&split)
    }

    pub(crate) fn came(&self, split: SplitId) -> Option<i64> {
        self.came.get(&split).copied()
    }

    /// Rows of a batch come that was appended at `at`; 0 where nobody knows when. Says whether splits may have become idle.
    pub(super) fn passes(&mut self, at: i64) -> bool {
        if self.timeout.is_none() || at <= self.now {
            return false;
        }
        if self.now == 0 {
            // Time begins: nobody knows how long ago anything came.
            let splits = self.awaited.iter().chain(self.by_split.keys());
            self.came = splits.map(|split| (*split, at)).collect();
        }
        self.now = at;
        true
    }

    /// Something comes in a split now.
    pub(super) fn comes(&mut self, split: SplitId) {
        if self.timeout.is_some() {
            self.came.insert(split, self.now);
        }
    }

    /// Those that count whether they are idle or not.
    fn open(&self) -> impl Iterator<Item = SplitId> {
        let known = self.by_split.keys().filter(|id| !self.awaited.contains(id));
        let open = self.awaited.iter().chain(known).copied();
        open.filter(|id| !self.done.contains(id))
    }

    /// A split that nothing came in from then on is idle.
    fn active_from(&self) -> Option<i64> {
        let timeout = self.timeout?;
        let last = self.open().filter_map(|split| self.came(split)).max()?;
        Some(last.min(self.now.saturating_sub(timeout)))
    }

    /// When the scan will be asleep if nothing comes; `None` where it already is, or never will be.
    pub(super) fn sleeps_at(&self) -> Option<i64> {
        let last = self.open().filter_map(|split| self.came(split)).max()?;
        let at = last.saturating_add(self.timeout?);
        (!self.is_asleep()).then_some(at)
    }

    /// As [`SplitTimes::sleeps_at`], if what came last came at `last`.
    pub(super) fn sleeps_behind(&self, last: i64) -> Option<i64> {
        self.open().next()?;
        Some(last.saturating_add(self.timeout?))
    }

    /// Whether a split that is waited for is idle when time has come to `at` and nothing else.
    pub(super) fn changes_by(&self, at: i64) -> bool {
        let (Some(timeout), Some(from)) = (self.timeout, self.active_from()) else {
            return false;
        };
        let mut awake = self.open().filter(|split| !self.asleep.contains(split));
        let becomes_idle = |came: i64| from <= came && came < at.saturating_sub(timeout);
        awake.any(|split| self.came(split).is_some_and(becomes_idle))
    }

    /// Whether nothing came in any split for too long.
    pub(super) fn is_asleep(&self) -> bool {
        !self.asleep.is_empty()
    }

    /// Nothing came in any split for too long.
    pub(super) fn fall_asleep(&mut self) {
        self.asleep = self.open().collect();
    }

    pub(super) fn wake(&mut self) {
        self.asleep.clear();
    }

    /// Nothing came in it for too long.
    pub fn is_idle(&self, split: SplitId) -> bool {
        if self.asleep.contains(&split) {
            return true;
        }
        let came = self.came(split).zip(self.active_from());
        came.is_some_and(|(came, from)| came < from)
    }

    /// Of these splits alone.
    pub(super) fn only(&self, which: impl Fn(SplitId) -> bool) -> SplitTimes {
        let all = |times: &BTreeMap<SplitId, i64>| {
            let own = times.iter().filter(|(id, _)| which(**id));
            own.map(|(id, at)| (*id, *at)).collect()
        };
        let of = |splits: &BTreeSet<SplitId>| {
            let own = splits.iter().filter(|id| which(**id));
            own.copied().collect()
        };
        let own = SplitTimes {
            by_split: all(&self.by_split),
            awaited: of(&self.awaited),
            done: of(&self.done),
            asleep: of(&self.asleep),
            timeout: self.timeout,
            ..SplitTimes::default()
        };
        own.since(all(&self.came))
    }

    /// Those of two scans together.
    pub(super) fn with(&self, other: &SplitTimes) -> SplitTimes {
        let mut both = self.clone();
        both.by_split.extend(&other.by_split);
        both.awaited.extend(&other.awaited);
        both.done.extend(&other.done);
        both.came.extend(&other.came);
        both.asleep.extend(&other.asleep);
        both.now = self.now.max(other.now);
        both.timeout = self.timeout.or(other.timeout);
        both
    }

    pub fn by_split(&self) -> &BTreeMap<SplitId, i64> {
        &self.by_split
    }

    /// The scan's watermark holds at or below that of this split, or waits for its first row.
    pub fn counts(&self, split: SplitId) -> bool {
        let is_known = self.awaited.contains(&split) || self.by_split.contains_key(&split);
        is_known && !self.done.contains(&split) && !self.is_idle(split)
    }

    pub fn is_done(&self, split: SplitId) -> bool {
        self.done.contains(&split)
    }

    /// These splits are read to the end of a bounded read.
    pub(crate) fn done(&mut self, done: BTreeSet<SplitId>) {
        self.asleep.retain(|split| !done.contains(split));
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
        let from = self.active_from();
        let is_idle = |id: &SplitId| {
            let came = self.came(*id).zip(from);
            came.is_some_and(|(came, from)| came < from)
        };
        let mut least = Others::None;
        for id in self.open().filter(|id| which(*id) && !is_idle(id)) {
            least = match (least, self.by_split.get(&id)) {
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
    use proptest::prelude::*;

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

    #[test]
    fn a_split_that_nothing_comes_in_is_not_waited_for_until_something_does() {
        let mut times = times(3, &[(0, 43), (1, 20)]).idle_after(Some(10));
        assert!(times.passes(100));
        times.comes(0);
        assert_eq!(times.watermark(), None, "2 has no row yet");
        times.passes(110);
        assert_eq!(times.watermark(), None, "no longer than the timeout");
        times.comes(0);
        times.passes(111);
        assert!(times.is_idle(1) && times.is_idle(2) && !times.counts(1));
        assert_eq!(times.watermark(), Some(43));
        times.comes(1);
        assert_eq!(times.watermark(), Some(20));
        // The last one to become idle raises nothing.
        times.passes(1_000);
        assert_eq!(times.watermark(), Some(20));
        assert!(times.is_idle(0) && !times.is_idle(1));
    }

    #[test]
    fn a_batch_that_does_not_say_when_it_came_lets_no_time_pass() {
        let mut times = times(2, &[(0, 9)]).idle_after(Some(10));
        assert!(!times.passes(0));
        times.comes(0);
        // The first that says so: nobody knows how long ago the others were.
        times.passes(5_000);
        assert_eq!(times.watermark(), None);
        times.comes(0);
        times.passes(5_011);
        times.comes(0);
        assert_eq!(times.watermark(), Some(9));
        // A clock that runs back is none of ours; such a batch comes now.
        assert!(!times.passes(4_000));
        let mut untold = SplitTimes::awaiting(BTreeSet::from([0]));
        assert!(!untold.passes(7), "nobody asks for idle splits");
    }

    /// Flink's combined watermark, driven by a timer for each millisecond: a split's output becomes idle as soon as it was silent
    /// for longer than the timeout, and the least of those that are not is told as long as there is one.
    fn by_a_timer(rows: &[(i64, SplitId, i64)], splits: u32, timeout: i64) -> Vec<Option<i64>> {
        let mut by_split: Vec<(i64, i64, bool)> = vec![(i64::MIN, 0, false); splits as usize];
        let (mut combined, mut told, mut now) = (i64::MIN, Vec::new(), 0);
        for (row, (at, split, millis)) in rows.iter().enumerate() {
            if row == 0 {
                now = *at;
                by_split.iter_mut().for_each(|split| split.1 = *at);
            }
            while now < *at {
                now += 1;
                for split in &mut by_split {
                    split.2 |= now - split.1 > timeout;
                }
                let active = by_split.iter().filter(|split| !split.2);
                combined = active
                    .map(|split| split.0)
                    .min()
                    .map_or(combined, |least| least.max(combined));
            }
            let before = (combined > i64::MIN).then_some(combined);
            told.push(before);
            let of = &mut by_split[*split as usize];
            *of = (of.0.max(*millis), now, false);
            let active = by_split.iter().filter(|split| !split.2);
            combined = active
                .map(|split| split.0)
                .min()
                .map_or(combined, |least| least.max(combined));
        }
        told
    }

    proptest! {
        #[test]
        fn idle_splits_are_told_as_by_a_timer(
            rows in proptest::collection::vec((0..12_i64, 0..3_u32, 0..40_i64), 1..40),
            timeout in 1..15_i64,
        ) {
            let mut at = 100;
            let rows: Vec<_> = rows.into_iter().map(|(pause, split, millis)| {
                at += pause;
                (at, split, millis)
            }).collect();
            let mut times = times(3, &[]).idle_after(Some(timeout));
            let (mut marked, mut told) = (None, Vec::new());
            for (at, split, millis) in &rows {
                times.passes(*at);
                marked = marked.max(times.watermark());
                told.push(marked);
                times.comes(*split);
                times.raise(*split, *millis);
                marked = marked.max(times.watermark());
            }
            prop_assert_eq!(told, by_a_timer(&rows, 3, timeout));
        }
    }
}
