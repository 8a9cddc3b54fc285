//! How far back in event time what a window says can reach.

use crate::job::{JobGraph, Node, Operator};
use crate::window::{WindowShape, Windowing};
use std::fmt;

/// No clock of the world is further from UTC.
const FURTHEST_ZONE: i64 = 15 * 3_600_000;

impl JobGraph {
    /// Whether what comes of a part of the input is no part of the output: an operator keeps state, or rows show the watermark before
    /// them.
    pub fn needs_all_before(&self) -> bool {
        let shows_watermark = |node: &Node| matches!(node.operator, Operator::CurrentWatermark);
        self.has_state() || self.nodes.iter().any(shows_watermark)
    }

    /// So many milliseconds before a window's start, as its rows tell it, and no earlier, is a row that has a part in it.
    ///
    /// A window over windows has rows of those that end in it. Where the table shows the start of an inner one the bound is only wider.
    ///
    /// # Errors
    /// What is not bounded so.
    pub fn reach_of_windows(&self) -> Result<i64, Unbounded> {
        let (mut reach, mut windows, mut sessions) = (0_i64, 0_u32, 0_u32);
        for node in &self.nodes {
            let window = match &node.operator {
                Operator::Over { .. } => return Err(Unbounded::Over),
                Operator::CurrentWatermark => return Err(Unbounded::CurrentWatermark),
                Operator::Watermark { idle: Some(_), .. } => return Err(Unbounded::Idle),
                Operator::WindowAssign { window, .. } => window,
                Operator::WindowAggregate { windowing, .. }
                | Operator::WindowRank { windowing, .. } => match windowing {
                    Windowing::Assign(window) => window,
                    Windowing::Attached { .. } => continue,
                },
                _ => continue,
            };
            windows += 1;
            let size = match window.shape {
                WindowShape::Tumble { size }
                | WindowShape::Hop { size, .. }
                | WindowShape::Cumulate { size, .. } => size,
                WindowShape::Session { gap } => {
                    sessions += 1;
                    gap
                }
            };
            let zone = window.zone.as_ref().map_or(0, |_| FURTHEST_ZONE);
            reach = reach.saturating_add(size).saturating_add(zone);
        }
        match (windows, sessions) {
            (0, _) => Err(Unbounded::NoWindow),
            (2.., 1..) => Err(Unbounded::OverSessions),
            _ => Ok(reach),
        }
    }
}

/// What can have a part in a row, however long before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unbounded {
    /// It goes on from row to row.
    Over,
    /// It is of all rows before.
    CurrentWatermark,
    /// Which partitions are idle hangs on when something came in each of them.
    Idle,
    /// A session has all rows that became one with it.
    OverSessions,
    /// Nothing says when a row belongs to.
    NoWindow,
}

impl fmt::Display for Unbounded {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Unbounded::Over => "OVER goes on from row to row, however long ago the first one was",
            Unbounded::CurrentWatermark => "CURRENT_WATERMARK is of all rows before",
            Unbounded::Idle => {
                "which partitions were idle hangs on when something had come in each of them"
            }
            Unbounded::OverSessions => {
                "a window over sessions has all rows that became one with them, however long ago they were"
            }
            Unbounded::NoWindow => "nothing says which window a row is of",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OperatorUid, Schema, Window};

    /// A job with these window functions, one over the other.
    fn reach(shapes: &[WindowShape], zone: Option<&str>) -> Result<i64, Unbounded> {
        let node = |shape: &WindowShape| Node {
            operator: Operator::WindowAssign {
                uid: OperatorUid::of("w"),
                window: Window {
                    shape: *shape,
                    offset: 0,
                    time: 0,
                    zone: zone.map(str::to_string),
                },
                partition: Vec::new(),
            },
            inputs: Vec::new(),
            schema: Schema::new(Vec::new()),
        };
        let nodes = shapes.iter().map(node).collect();
        JobGraph { nodes }.reach_of_windows()
    }

    #[test]
    fn a_window_reaches_back_by_the_windows_below_it() {
        let (tumble, session) = (
            WindowShape::Tumble { size: 10 },
            WindowShape::Session { gap: 5 },
        );
        assert_eq!(reach(&[], None), Err(Unbounded::NoWindow));
        assert_eq!(reach(&[tumble], None), Ok(10));
        assert_eq!(reach(&[tumble, tumble], None), Ok(20));
        assert_eq!(reach(&[session], None), Ok(5));
        assert_eq!(
            reach(&[session, tumble], None),
            Err(Unbounded::OverSessions),
            "a session is as long as it is"
        );
        assert_eq!(reach(&[tumble], Some("UTC")), Ok(10 + FURTHEST_ZONE));
    }

    #[test]
    fn a_watermark_that_rows_show_is_of_all_before_them() {
        let node = Node {
            operator: Operator::CurrentWatermark,
            inputs: Vec::new(),
            schema: Schema::new(Vec::new()),
        };
        let nodes = vec![node];
        let graph = JobGraph { nodes };
        assert!(graph.needs_all_before() && !graph.has_state());
        assert_eq!(graph.reach_of_windows(), Err(Unbounded::CurrentWatermark));
    }
}
