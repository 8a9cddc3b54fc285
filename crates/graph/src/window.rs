//! Windows of event time, and the operators' parts that stand for them in a job graph.
//!
//! Times and lengths are in milliseconds. A window is half open, `[start, end)`, and fires when the watermark has reached its last
//! millisecond. What the arithmetic is (grids, daylight saving time, the merging of sessions) is the runtime's business; here is
//! what a script asked for, already checked: sizes are positive, and the size of a `Hop` or `Cumulate` is a multiple of its step.

use serde::{Deserialize, Serialize};

/// How event time is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum WindowShape {
    /// Windows of one size, one behind the other.
    Tumble { size: i64 },
    /// Windows of one size, one beginning every `slide`.
    Hop { slide: i64, size: i64 },
    /// Windows that begin together every `size` and end one `step` after the other.
    Cumulate { step: i64, size: i64 },
    /// A window ends when there was nothing for `gap`.
    Session { gap: i64 },
}

/// A window function over a column of its input.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Window {
    pub shape: WindowShape,
    /// By how much the grid is moved.
    pub offset: i64,
    /// The column of the input whose time is cut: TIMESTAMP(p) or TIMESTAMP_LTZ(p), p ≤ 3.
    pub time: usize,
    /// Of a TIMESTAMP_LTZ: the session's time zone, in which the grid is. `None` is UTC arithmetic.
    pub zone: Option<String>,
}

/// Where an operator over windows has each row's window from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Windowing {
    /// It gives each row its windows itself. A `Session` is one of the operator's keys.
    Assign(Window),
    /// An operator below has: they are columns of the input, TIMESTAMP(3).
    Attached {
        start: usize,
        end: usize,
        /// The time zone in which they are shown, when the event time is a TIMESTAMP_LTZ: it says at which instant the window ends.
        zone: Option<String>,
    },
}

/// What an operator tells of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum WindowProperty {
    /// TIMESTAMP(3), shown in the session's time zone.
    Start,
    /// TIMESTAMP(3), shown in the session's time zone.
    End,
    /// The window's last millisecond, in the type of the event time: the event time behind the window.
    Time,
}

/// One column by which rows are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SortKey {
    pub column: usize,
    pub ascending: bool,
    pub nulls_first: bool,
}

/// Up to which row an OVER reaches back, from its own row on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Frame {
    pub unit: FrameUnit,
    /// Rows, or milliseconds; both ends are in. `None`: as far as there are rows.
    pub preceding: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FrameUnit {
    /// By the order of event time, and of arrival where that is the same.
    Rows,
    /// By event time: rows of one time are in each other's frame.
    Range,
}

impl Frame {
    /// So many milliseconds of event time it reaches back, where that bounds it.
    pub fn interval(self) -> Option<i64> {
        match self.unit {
            FrameUnit::Range => self.preceding,
            FrameUnit::Rows => None,
        }
    }
}

impl WindowShape {
    pub fn name(self) -> &'static str {
        match self {
            WindowShape::Tumble { .. } => "TUMBLE",
            WindowShape::Hop { .. } => "HOP",
            WindowShape::Cumulate { .. } => "CUMULATE",
            WindowShape::Session { .. } => "SESSION",
        }
    }
}
