//! The arithmetic of windows: where a row belongs, and when a window fires.
//!
//! Windows are cut on a wall clock: a TIMESTAMP is one already, a TIMESTAMP_LTZ is read on the session's. On it everything is a
//! grid; only firing goes back to instants, and that is where daylight saving time shows: an hour that is skipped is over when it
//! begins, an hour that comes twice is over when it has come twice (Flink's `TimeWindowUtil`).
//!
//! HOP and CUMULATE share **slices**, pieces of one step: a row is in one slice, a window is some that follow on each other.
//!
//! ```text
//! HOP       ├───┼───┼───┤ size                     CUMULATE  ├───┼───┼───┤ size
//!               ├───┼───┼───┤ one slide on                   ├───┤ first window
//!                   ├───┼───┼───┤                            ├───┼───┤ second
//!           a slice is in every window that covers it        ├───┼───┼───┤ last: a slice is in its own and all behind it
//! ```

use crate::zone::Zone;
use lw_graph::{Window, WindowShape};
use std::cell::Cell;

const HOUR: i64 = 3_600_000;
/// Where a zone's offset is the same at both ends of one, it is all the way.
const QUARTER: i64 = HOUR / 4;

/// A grid of windows that all keys share: TUMBLE, HOP or CUMULATE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    kind: Kind,
    /// Of a slice.
    step: i64,
    /// Of the longest window.
    size: i64,
    offset: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tumble,
    Hop,
    Cumulate,
}

impl Grid {
    /// `None` for sessions, which have no grid.
    pub(crate) fn new(window: &Window) -> Option<Grid> {
        let (kind, step, size) = match window.shape {
            WindowShape::Tumble { size } => (Kind::Tumble, size, size),
            WindowShape::Hop { slide, size } => (Kind::Hop, slide, size),
            WindowShape::Cumulate { step, size } => (Kind::Cumulate, step, size),
            WindowShape::Session { .. } => return None,
        };
        Some(Grid {
            kind,
            step,
            size,
            offset: window.offset,
        })
    }

    /// How long a slice is.
    pub(crate) fn step(&self) -> i64 {
        self.step
    }

    pub(crate) fn is_hop(&self) -> bool {
        self.kind == Kind::Hop
    }

    pub(crate) fn is_cumulate(&self) -> bool {
        self.kind == Kind::Cumulate
    }

    /// The end of the slice that a local time is in.
    pub(crate) fn slice_end(&self, local: i64) -> i64 {
        below(local, self.offset, self.step) + self.step
    }

    /// The start of the window that ends there.
    pub(crate) fn start(&self, end: i64) -> i64 {
        match self.kind {
            Kind::Tumble | Kind::Hop => end - self.size,
            Kind::Cumulate => below(end - 1, self.offset, self.size),
        }
    }

    /// The end of the last window that a slice is in.
    pub(crate) fn last_end(&self, slice_end: i64) -> i64 {
        match self.kind {
            Kind::Tumble => slice_end,
            Kind::Hop => slice_end - self.step + self.size,
            Kind::Cumulate => self.start(slice_end) + self.size,
        }
    }
}

/// The grid's line at or below a time.
fn below(time: i64, offset: i64, step: i64) -> i64 {
    time - (time - offset).rem_euclid(step)
}

/// The wall clock on which windows are cut.
#[derive(Clone, Debug)]
pub(crate) struct Wall {
    zone: Option<Zone>,
    /// A quarter of an hour in which the offset stays the same, and the offset: rows come one after the other.
    recent: Cell<Option<(i64, i64)>>,
}

impl Wall {
    /// `None`: the times are local already.
    pub(crate) fn new(zone: Option<Zone>) -> Wall {
        Wall {
            zone,
            recent: Cell::new(None),
        }
    }

    /// What the clock shows when a row's time is the instant.
    pub(crate) fn local(&self, instant: i64) -> i64 {
        let Some(zone) = &self.zone else {
            return instant;
        };
        let quarter = instant.div_euclid(QUARTER);
        if let Some((known, offset)) = self.recent.get()
            && known == quarter
        {
            return instant + offset;
        }
        let first = zone.offset_at(quarter * QUARTER);
        if first != zone.offset_at((quarter + 1) * QUARTER - 1) {
            return zone.local(instant);
        }
        self.recent.set(Some((quarter, first)));
        instant + first
    }

    /// When the clock shows it.
    pub(crate) fn instant(&self, local: i64) -> i64 {
        self.zone.as_ref().map_or(local, |zone| zone.instant(local))
    }

    /// The least watermark at which a window with this end fires: a row of it that comes behind is late.
    pub(crate) fn fires(&self, end: i64) -> i64 {
        let last = end - 1;
        let Some(zone) = &self.zone else {
            return last;
        };
        let instant = zone.instant(last);
        if !zone.saves_daylight {
            return instant;
        }
        match zone.instant(last + HOUR) - instant {
            // The clock never shows it.
            0 => instant - instant % HOUR,
            // The clock shows it twice.
            passes if passes > HOUR => instant + HOUR,
            _ => instant,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::NaiveDateTime;
    use proptest::prelude::*;

    fn window(shape: WindowShape, offset: i64) -> Window {
        Window {
            shape,
            offset,
            time: 0,
            zone: None,
        }
    }

    fn some_shape() -> impl Strategy<Value = WindowShape> {
        (1..20_i64, 1..6_i64, 0..3).prop_map(|(step, times, kind)| match kind {
            0 => WindowShape::Tumble { size: step },
            1 => WindowShape::Hop {
                slide: step,
                size: step * times,
            },
            _ => WindowShape::Cumulate {
                step,
                size: step * times,
            },
        })
    }

    /// All windows `[start, end)` that hold the time, by the definition of the shape.
    fn holding(shape: WindowShape, offset: i64, time: i64) -> Vec<(i64, i64)> {
        let mut all = Vec::new();
        for line in -400..400 {
            match shape {
                WindowShape::Tumble { size } => all.push((line * size, (line + 1) * size)),
                WindowShape::Hop { slide, size } => all.push((line * slide, line * slide + size)),
                WindowShape::Cumulate { step, size } => {
                    let ends = (1..=size / step).map(|n| (line * size, line * size + n * step));
                    all.extend(ends);
                }
                WindowShape::Session { .. } => {}
            }
        }
        let moved = all.into_iter();
        let moved = moved.map(|(start, end)| (start + offset, end + offset));
        moved
            .filter(|(start, end)| *start <= time && time < *end)
            .collect()
    }

    proptest! {
        #[test]
        fn a_row_is_in_the_windows_that_hold_its_time(shape in some_shape(), offset in -19..20_i64, time in -300..300_i64) {
            let grid = Grid::new(&window(shape, offset)).expect("a grid");
            let slice = grid.slice_end(time);
            let ends = (0..).map(|n| slice + n * grid.step());
            let ends = ends.take_while(|end| *end <= grid.last_end(slice));
            let mut mine: Vec<_> = ends.map(|end| (grid.start(end), end)).collect();
            mine.sort_unstable();
            prop_assert_eq!(mine, holding(shape, offset, time));
        }
    }

    fn millis(text: &str) -> i64 {
        let time = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M").expect("a time");
        time.and_utc().timestamp_millis()
    }

    /// The worked examples of Flink's TimeWindowUtil, Los Angeles 2021: a window of an hour, and the watermark that fires it.
    #[test]
    fn windows_fire_around_daylight_saving_time() {
        let wall = Wall::new(Zone::parse("America/Los_Angeles"));
        for (end, fires) in [
            ("2021-03-14 02:00", millis("2021-03-14 10:00") - 1),
            // [02:00, 03:00) is never on the clock: it is over when 03:00 is.
            ("2021-03-14 03:00", millis("2021-03-14 10:00")),
            ("2021-03-14 04:00", millis("2021-03-14 11:00") - 1),
            ("2021-11-07 01:00", millis("2021-11-07 08:00") - 1),
            // [01:00, 02:00) is there twice.
            ("2021-11-07 02:00", millis("2021-11-07 10:00") - 1),
            ("2021-11-07 03:00", millis("2021-11-07 11:00") - 1),
        ] {
            assert_eq!(wall.fires(millis(end)), fires, "{end}");
        }
        assert_eq!(Wall::new(None).fires(10), 9);
    }

    #[test]
    fn the_clock_is_the_same_whatever_was_asked_before() {
        let zone = Zone::parse("Australia/Lord_Howe").expect("a zone");
        let wall = Wall::new(Some(zone));
        for minute in 0..60 * 24 * 200 {
            let instant = millis("2024-01-01 00:07") + (minute * 7919 % 400_000) * 60_000;
            assert_eq!(wall.local(instant), zone.local(instant));
        }
    }
}
