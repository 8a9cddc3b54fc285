//! How event time comes on before the operators with state: with the rows of each scan, with the end of one, and with the time that the
//! log says has passed.
//!
//! Where a job has several scans, time passes for all of them with every batch, whichever scan it is of. A scan that nothing has come
//! in for longer than its timeout is asleep: where it meets others it is not waited for, until its next row. What that lets happen
//! happens before the first row of the batch whose time it is, so a chunk is cut there; and those that fall asleep do so in the
//! order of their times.

use super::super::shape::ScanId;
use super::super::valve::{Input, Valve};
use super::round::rows_of_log;
use super::{Round, Upstream, Work, only};
use crate::chunk::{Chunk, Mark, Split, SplitId};
use crate::connector::Appended;
use crate::operator::OperatorError;
use crate::operator::batches::pieces;
use crate::operator::split_times::SplitTimes;
use crate::operator::watermark::Watermark;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Where scans meet, in a job in which one of them may be asleep: what is known of it beside the marks of the scans.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meetings {
    /// The scans that nothing waits for, by their first topics.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub asleep: BTreeSet<String>,
    /// How far event time has come where they meet, by what meets there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub marked: BTreeMap<String, i64>,
}

impl Meetings {
    pub fn is_empty(&self) -> bool {
        self.asleep.is_empty() && self.marked.is_empty()
    }
}

/// How event time stands where rows leave the operators without state.
pub struct AtOutlets {
    /// By outlet.
    pub(crate) outlets: Vec<Input>,
    pub(crate) meetings: Meetings,
}

impl Upstream {
    /// Goes on where a checkpoint stood: how far event time had come in each split, the last mark of a scan, by its first topic, and
    /// what was known where scans meet.
    pub fn go_on_from(
        &mut self,
        times: &SplitTimes,
        splits: &[Split],
        marked: impl Fn(&str) -> Option<i64>,
        meetings: &Meetings,
    ) {
        for scan in 0..self.scans.len() {
            let own = times.only(|split| self.is_of(scan, splits, split));
            let name = self.scans[scan].name().to_string();
            let marked = marked(&name);
            self.scans[scan].marked = marked;
            if let Some(watermark) = self.watermark_mut(scan) {
                watermark.go_on_from(own, marked);
                // Where nobody knows when something came, it is waited for.
                let times = watermark.times_mut();
                if meetings.asleep.contains(&name) && times.sleeps_at().is_some() {
                    times.fall_asleep();
                }
            }
        }
        let (by_scan, met) = (self.by_scan(), &meetings.marked);
        for step in &mut self.steps {
            match &mut step.work {
                Work::Union(valve, _) | Work::Outlet(valve) => valve.go_on_from(&by_scan, met),
                Work::Port { all, own, .. } => {
                    all.go_on_from(&by_scan, met);
                    own.go_on_from(&by_scan, met);
                }
                Work::CurrentWatermark(operator, valve) => {
                    valve.go_on_from(&by_scan, met);
                    operator.go_on_from(valve.marked());
                }
                Work::Source | Work::Watermark(_) | Work::Operator(_) => {}
            }
        }
        let below = self.below.iter_mut();
        below.for_each(|valve| valve.go_on_from(&by_scan, met));
    }

    /// How event time stands at the outlets.
    pub fn at_outlets(&self) -> AtOutlets {
        let at = |work: &Work| match work {
            Work::Outlet(own) => Some(Input {
                marked: own.marked(),
                idle: own.is_idle(),
            }),
            Work::Port { all, own, .. } => Some(Input {
                marked: all.marked(),
                idle: own.is_idle(),
            }),
            _ => None,
        };
        AtOutlets {
            outlets: self
                .steps
                .iter()
                .filter_map(|step| at(&step.work))
                .collect(),
            meetings: self.meetings(),
        }
    }

    /// What a checkpoint has to say of the places where scans meet.
    pub fn meetings(&self) -> Meetings {
        let mut meetings = Meetings::default();
        if !self.is_timed {
            return meetings;
        }
        for (scan, at) in self.scans.iter().zip(self.by_scan()) {
            meetings
                .asleep
                .extend(at.idle.then(|| scan.name().to_string()));
        }
        let valves = self.steps.iter().filter_map(|step| match &step.work {
            Work::Union(valve, _) | Work::Port { all: valve, .. } => Some(valve),
            _ => None,
        });
        let valves = valves.chain(&self.below);
        valves.for_each(|valve: &Valve| valve.tell(&mut meetings.marked));
        meetings
    }

    /// How far event time has come in each scan, and whether it is waited for.
    pub(super) fn by_scan(&self) -> Vec<Input> {
        let scans = self.scans.iter().enumerate();
        let by_scan = scans.map(|(id, scan)| Input {
            marked: scan.marked,
            idle: self.times_of(id).is_some_and(SplitTimes::is_asleep),
        });
        by_scan.collect()
    }

    /// These splits are read to the end of a bounded read; said before the next chunk.
    pub fn done(&mut self, done: &BTreeSet<SplitId>, splits: &[Split]) {
        for scan in 0..self.scans.len() {
            let mut own = (0..splits.len() as SplitId).filter(|id| self.is_of(scan, splits, *id));
            self.scans[scan].is_done = own.all(|split| done.contains(&split));
            if let Some(watermark) = self.watermark_mut(scan) {
                watermark.times_mut().done(done.clone());
            }
        }
    }

    /// Scans that a bounded read has nothing more of, while it has of others: their event time has ended, and they hold nothing back.
    ///
    /// # Errors
    /// As [`Upstream::process`].
    pub fn end_scans(&mut self, splits: &Arc<[Split]>) -> Result<Vec<Round>, OperatorError> {
        let mut rounds = Vec::new();
        if self.scans.iter().all(|scan| scan.is_done) {
            return Ok(rounds);
        }
        for scan in 0..self.scans.len() {
            let (is_done, marked) = (self.scans[scan].is_done, self.scans[scan].marked);
            if is_done && marked != Some(Mark::END) {
                rounds.push(self.without_rows(scan, Some(Mark::END), splits)?);
            }
        }
        Ok(rounds)
    }

    /// What comes of a scan without a row of it: of how far its event time is, or of whether it is waited for.
    fn without_rows(
        &mut self,
        scan: ScanId,
        watermark: Option<i64>,
        splits: &Arc<[Split]>,
    ) -> Result<Round, OperatorError> {
        let mark = watermark.map(|watermark| Mark { row: 0, watermark });
        let marks = mark.into_iter().collect();
        let nothing = only(marks, &self.scans[scan].schema, splits);
        self.behind_head(scan, nothing)
    }

    /// Whether what it gives hangs on when batches were appended.
    pub fn goes_by_time(&self) -> bool {
        self.watermarks_of_scans().any(Watermark::goes_by_time)
    }

    /// When the batches that the next rows are of were appended.
    pub fn appended(&mut self, appended: &[Appended]) {
        if let Some(clock) = &mut self.clock {
            clock.appended(appended);
        }
        for scan in 0..self.scans.len() {
            if let Some(watermark) = self.watermark_mut(scan) {
                watermark.appended(appended.to_vec());
            }
        }
        if self.is_timed {
            self.appended = appended.to_vec();
        }
    }

    /// Takes a chunk of a scan through the operators, cut where the time that passes with its batches changes what is waited for.
    pub(super) fn process_by_time(
        &mut self,
        scan: ScanId,
        chunk: &Chunk,
    ) -> Result<Vec<Round>, OperatorError> {
        let batches = pieces(rows_of_log(chunk), &self.appended);
        let (mut rounds, mut from, mut row) = (Vec::new(), 0, 0);
        let mut before = None;
        for batch in batches {
            if self.is_news(scan, batch.at, before) {
                if from < row {
                    rounds.extend(self.process_rows(scan, chunk.part(from..row))?);
                    from = row;
                }
                self.time_passes(scan, batch.at, &chunk.splits, &mut rounds)?;
            }
            row += batch.rows;
            before = Some(batch.at);
        }
        rounds.extend(self.process_rows(scan, chunk.part(from..row))?);
        Ok(rounds)
    }

    /// Whether a batch of a scan that was appended at `at` changes what is waited for. `before` is the time of the batch before it, if
    /// its rows are still to be processed.
    fn is_news(&mut self, scan: ScanId, at: i64, before: Option<i64>) -> bool {
        let mut is_news = false;
        for other in 0..self.scans.len() {
            let Some(watermark) = self.watermark_mut(other) else {
                continue;
            };
            let times = watermark.times();
            is_news |= match (other == scan, before) {
                (true, None) => {
                    times.is_asleep() || times.sleeps_at().is_some_and(|sleeps| sleeps < at)
                }
                (true, Some(before)) => times.sleeps_behind(before).is_some_and(|then| then < at),
                (false, _) if times.changes_by(at) => true,
                (false, _) => {
                    watermark.passes(at);
                    false
                }
            };
        }
        is_news
    }

    /// Time has come to `at` with a batch of a scan, whose rows follow.
    fn time_passes(
        &mut self,
        scan: ScanId,
        at: i64,
        splits: &Arc<[Split]>,
        rounds: &mut Vec<Round>,
    ) -> Result<(), OperatorError> {
        for other in 0..self.scans.len() {
            let watermark = self.watermark_mut(other);
            if let Some(to) = watermark.and_then(|watermark| watermark.passes(at)) {
                rounds.push(self.without_rows(other, Some(to), splits)?);
            }
        }
        let sleepers = (0..self.scans.len()).filter_map(|id| {
            let sleeps = self.times_of(id)?.sleeps_at()?;
            (sleeps < at).then_some((sleeps, id))
        });
        let mut sleepers: Vec<(i64, ScanId)> = sleepers.collect();
        sleepers.sort_unstable();
        for (_, sleeper) in sleepers {
            let watermark = self.watermark_mut(sleeper).expect("its time is known");
            watermark.times_mut().fall_asleep();
            rounds.push(self.without_rows(sleeper, None, splits)?);
        }
        if self.times_of(scan).is_some_and(SplitTimes::is_asleep) {
            let watermark = self.watermark_mut(scan).expect("its time is known");
            watermark.times_mut().wake();
            rounds.push(self.without_rows(scan, None, splits)?);
        }
        Ok(())
    }

    fn times_of(&self, scan: ScanId) -> Option<&SplitTimes> {
        let last = *self.scans[scan].head.last().expect("a scan is a step");
        match &self.steps[last].work {
            Work::Watermark(watermark) => Some(watermark.times()),
            _ => None,
        }
    }

    fn watermark_mut(&mut self, scan: ScanId) -> Option<&mut Watermark> {
        let last = *self.scans[scan].head.last().expect("a scan is a step");
        match &mut self.steps[last].work {
            Work::Watermark(watermark) => Some(watermark),
            _ => None,
        }
    }

    fn watermarks_of_scans(&self) -> impl Iterator<Item = &Watermark> {
        self.steps.iter().filter_map(|step| match &step.work {
            Work::Watermark(watermark) => Some(&**watermark),
            _ => None,
        })
    }

    /// How far event time has come in each split; `None` where there is no event time.
    pub fn times(&self) -> Option<Cow<'_, SplitTimes>> {
        let mut of_scans = self.watermarks_of_scans().map(Watermark::times);
        let first = Cow::Borrowed(of_scans.next()?);
        Some(of_scans.fold(first, |all, times| Cow::Owned(all.with(times))))
    }

    /// The last mark, milliseconds since 1970, where there is one scan.
    pub fn marked(&self) -> Option<i64> {
        match self.scans.as_slice() {
            [scan] => scan.marked,
            _ => None,
        }
    }

    /// The last mark of each scan, by its first topic, where there are several.
    pub fn marks(&self) -> BTreeMap<String, i64> {
        if self.scans.len() == 1 {
            return BTreeMap::new();
        }
        let scans = self.scans.iter();
        let marked = scans.filter_map(|scan| Some((scan.topics.first()?.clone(), scan.marked?)));
        marked.collect()
    }

    /// Greatest event time seen, milliseconds since 1970.
    pub fn max_event_time(&self) -> Option<i64> {
        let scans = self.watermarks_of_scans();
        scans.filter_map(Watermark::max_event_time).max()
    }
}
