//! The wall time of the log: what the machine's clock showed when a batch was appended, the same at every reading.
//!
//! A batch carries the log's own time (`time.rs`), which stands still while nobody has the log open. An *anchor* says what the
//! wall clock showed at a moment of it; from there on the wall time runs at the log's pace. One is written before an append, in
//! its frame, where the clock shows something else than the newest anchor says: at the first append, at the first after a
//! start, and when somebody has set the clock. So no batch is without one, and none costs a sync of its own.
//!
//! ```text
//! log's time   100 … 900 │ off for a day │ 900 … 950 … 1200
//! anchors      (100, Mon 09:00)            (900, Tue 17:00)        a batch at 950 is of Tuesday, a little after 17:00
//! ```
//!
//! - A batch's wall time is by the last anchor before it *in the log*, not by the clock of whoever reads.
//! - A clock that is set back by no more than an hour makes the wall time stand still until it has come up again: what comes
//!   later is not earlier. One that is set back by more had been wrong, and is followed: else a single bad reading, a year
//!   ahead, would be every batch's time for a year.
//! - Batches of before the first anchor (folders of format 4 and older) have no wall time.
//!
//! An anchor is forgotten when all files that hold batches behind it, and before the next one, are gone.

use std::sync::Arc;

use crate::codec::{Damaged, Reader, Writer};
use crate::numbers::{FileNumber, Lsn, Order};
use crate::time::Now;

/// How far the clock and what an anchor says may be apart, in milliseconds: what a step of a time server moves, and more than
/// two readings of two clocks one behind the other are apart.
const APART: u64 = 100;
/// How far the clock may be set back without being followed, in milliseconds.
const SET_BACK: i64 = 60 * 60 * 1000;

/// What the wall clock showed at a moment of the log's time. All in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Anchor {
    pub(crate) at: i64,
    pub(crate) wall: i64,
    /// No batch behind it is earlier.
    pub(crate) not_before: i64,
}

impl Anchor {
    /// What has to be written before an append of `now`, where `newest` does not say it already.
    pub(crate) fn due(newest: Option<&Anchor>, now: Now) -> Option<Anchor> {
        let not_before = match newest {
            None => i64::MIN,
            Some(newest) if newest.runs_to(now.log).abs_diff(now.wall) <= APART => return None,
            Some(newest) => {
                let said = newest.wall_at(now.log);
                match said.saturating_sub(now.wall) > SET_BACK {
                    true => i64::MIN,
                    false => said,
                }
            }
        };
        Some(Anchor {
            at: now.log,
            wall: now.wall,
            not_before,
        })
    }

    fn runs_to(&self, log: i64) -> i64 {
        self.wall.saturating_add(log.saturating_sub(self.at))
    }

    fn wall_at(&self, log: i64) -> i64 {
        self.runs_to(log).max(self.not_before)
    }

    pub(crate) fn encode(&self, out: &mut Writer) {
        out.i64(self.at);
        out.i64(self.wall);
        out.i64(self.not_before);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Anchor, Damaged> {
        Ok(Anchor {
            at: reader.i64("anchor's time")?,
            wall: reader.i64("anchor's wall time")?,
            not_before: reader.i64("anchor's bound")?,
        })
    }
}

/// An anchor, and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Placed {
    frame: Lsn,
    /// [`FileNumber::NONE`] until the file is sealed.
    file: FileNumber,
    anchor: Anchor,
}

/// The anchors of the batches that are there, in the order of the log. Cheap to clone: who reads takes them along.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Anchors(Arc<Vec<Placed>>);

impl Anchors {
    pub(crate) fn push(&mut self, frame: Lsn, anchor: Anchor) {
        let placed = Placed {
            frame,
            file: FileNumber::NONE,
            anchor,
        };
        Arc::make_mut(&mut self.0).push(placed);
    }

    pub(crate) fn newest(&self) -> Option<&Anchor> {
        self.0.last().map(|placed| &placed.anchor)
    }

    /// The wall time of a batch that was appended at a moment of the log's time.
    pub(crate) fn wall_of(&self, batch: Order, appended_at: i64) -> Option<i64> {
        let behind = self
            .0
            .partition_point(|placed| placed.frame <= batch.frame());
        let placed = &self.0[behind.checked_sub(1)?];
        Some(placed.anchor.wall_at(appended_at))
    }

    /// The active file became this one, which is sealed.
    pub(crate) fn seal(&mut self, file: FileNumber) {
        let open = |placed: &&mut Placed| placed.file == FileNumber::NONE;
        if self
            .0
            .last()
            .is_some_and(|last| last.file == FileNumber::NONE)
        {
            let placed = Arc::make_mut(&mut self.0).iter_mut();
            placed.filter(open).for_each(|placed| placed.file = file);
        }
    }

    /// All batches of files before this one are gone.
    pub(crate) fn forget_before(&mut self, oldest: FileNumber) {
        // One is needed as long as a batch may stand before the next.
        let is_passed = |next: &Placed| next.file != FileNumber::NONE && next.file < oldest;
        let others = self.0.get(1..).unwrap_or_default();
        let passed = others.iter().take_while(|next| is_passed(next)).count();
        if passed > 0 {
            Arc::make_mut(&mut self.0).drain(..passed);
        }
    }

    pub(crate) fn encode(&self, out: &mut Writer) {
        out.count(self.0.len());
        for placed in &*self.0 {
            out.u64(placed.frame.0);
            out.u64(placed.file.0);
            placed.anchor.encode(out);
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Anchors, Damaged> {
        let count = reader.u32("anchor count")?;
        let mut anchors: Vec<Placed> = Vec::new();
        for _ in 0..count {
            let placed = Placed {
                frame: Lsn(reader.u64("anchor's frame")?),
                file: FileNumber(reader.u64("anchor's file")?),
                anchor: Anchor::decode(reader)?,
            };
            if anchors
                .last()
                .is_some_and(|last| last.frame >= placed.frame)
            {
                return Err(Damaged("anchors are not in their order"));
            }
            anchors.push(placed);
        }
        Ok(Anchors(Arc::new(anchors)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = SET_BACK;
    const YEAR: i64 = 365 * 24 * HOUR;

    /// What appends are given, one after the other, and how many anchors it took. Each is at a moment of the log's time, under
    /// what a clock shows.
    fn appended(moments: &[(i64, i64)]) -> (Vec<i64>, usize) {
        let mut anchors = Anchors::default();
        let given = (1..).map(Lsn).zip(moments).map(|(frame, (log, wall))| {
            let now = Now {
                stamp: *wall,
                wall: *wall,
                log: *log,
            };
            if let Some(anchor) = Anchor::due(anchors.newest(), now) {
                anchors.push(frame, anchor);
            }
            let order = Order::of(frame, 0).unwrap();
            anchors
                .wall_of(order, *log)
                .expect("no append is without an anchor")
        });
        (given.collect(), anchors.0.len())
    }

    #[test]
    fn one_anchor_says_the_time_while_the_clock_runs() {
        let moments = [(5, 1000), (6, 1001), (500, 1495), (90_000, 90_995 + 99)];
        let (given, anchors) = appended(&moments);
        assert_eq!(given, [1000, 1001, 1495, 90_995]);
        assert_eq!(anchors, 1);
    }

    #[test]
    fn the_time_that_the_server_was_off_is_in_it() {
        let moments = [(5, 1000), (10, 1005), (10, YEAR), (20, YEAR + 10)];
        assert_eq!(appended(&moments), (vec![1000, 1005, YEAR, YEAR + 10], 2));
    }

    #[test]
    fn a_clock_that_is_set_back_a_little_is_waited_for() {
        let moments = [
            (0, HOUR),
            (10, HOUR + 10 - 5000),
            (2000, HOUR + 2000 - 5000),
            (6000, HOUR + 6000 - 5000),
            (6010, HOUR + 6010 - 5000),
        ];
        let (given, anchors) = appended(&moments);
        let stands = HOUR + 10;
        assert_eq!(given, [HOUR, stands, stands, HOUR + 1000, HOUR + 1010]);
        assert_eq!(anchors, 2, "one says for all of them that it stands still");
    }

    #[test]
    fn one_that_was_a_year_ahead_is_believed_when_it_is_set_right() {
        let moments = [(0, HOUR), (10, YEAR), (20, HOUR + 20), (30, HOUR + 30)];
        let (given, _) = appended(&moments);
        assert_eq!(given, [HOUR, YEAR, HOUR + 20, HOUR + 30]);
    }

    #[test]
    fn a_batch_is_of_the_last_anchor_before_it_in_the_log() {
        let mut anchors = Anchors::default();
        let anchor = |at, wall| Anchor {
            at,
            wall,
            not_before: i64::MIN,
        };
        let of = |anchors: &Anchors, frame, batch, at| {
            anchors.wall_of(Order::of(Lsn(frame), batch).unwrap(), at)
        };
        anchors.push(Lsn(4), anchor(100, 5000));
        anchors.push(Lsn(8), anchor(200, 90_000));
        assert_eq!(of(&anchors, 3, 7, 90), None, "of before the first");
        assert_eq!(of(&anchors, 4, 0, 100), Some(5000));
        assert_eq!(of(&anchors, 7, 1, 200), Some(5100));
        assert_eq!(of(&anchors, 8, 0, 200), Some(90_000));
    }

    #[test]
    fn an_anchor_is_forgotten_with_the_last_batch_behind_it() {
        let mut anchors = Anchors::default();
        for (frame, file) in [(1, 1), (5, 1), (9, 3)] {
            let anchor = Anchor {
                at: 0,
                wall: frame as i64,
                not_before: i64::MIN,
            };
            anchors.push(Lsn(frame), anchor);
            anchors.seal(FileNumber(file));
        }
        let walls = |anchors: &Anchors| {
            let walls = anchors.0.iter().map(|placed| placed.anchor.wall);
            walls.collect::<Vec<i64>>()
        };
        anchors.forget_before(FileNumber(1));
        assert_eq!(walls(&anchors), [1, 5, 9]);
        anchors.forget_before(FileNumber(2));
        assert_eq!(
            walls(&anchors),
            [5, 9],
            "file 1 is gone, and the second was in it"
        );
        anchors.forget_before(FileNumber(3));
        assert_eq!(walls(&anchors), [5, 9], "file 3 begins under it");
        anchors.forget_before(FileNumber(7));
        assert_eq!(walls(&anchors), [9]);
        let active = Anchor {
            at: 0,
            wall: 11,
            not_before: i64::MIN,
        };
        anchors.push(Lsn(11), active);
        anchors.forget_before(FileNumber(8));
        assert_eq!(
            walls(&anchors),
            [9, 11],
            "nobody knows yet which file it is in"
        );
    }
}
