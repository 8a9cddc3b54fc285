//! How far back in event time what a window says can reach.

use crate::job::{JobGraph, Node, Operator};
use crate::window::{WindowShape, Windowing};

/// No clock of the world is further from UTC.
const FURTHEST_ZONE: i64 = 15 * 3_600_000;

impl JobGraph {
    /// Whether what comes of a part of the input is no part of the output: an operator keeps state, or rows show the watermark before
    /// them.
    pub fn needs_all_before(&self) -> bool {
        let shows_watermark = |node: &Node| matches!(node.operator, Operator::CurrentWatermark);
        self.has_state() || self.nodes.iter().any(shows_watermark)
    }

    /// So many milliseconds before a window's start, as its rows tell it, and no earlier, is a row that has a part in it. `None` where
    /// nothing bounds that: `OVER` goes on from row to row, and a window over sessions has rows of all that became one with them. Nor where
    /// partitions can be idle.
    ///
    /// A window over windows has rows of those that end in it. Where the table shows the start of an inner one the bound is only wider.
    pub fn reach_of_windows(&self) -> Option<i64> {
        let (mut reach, mut windows, mut sessions) = (0_i64, 0, 0);
        for node in &self.nodes {
            let window = match &node.operator {
                // So does a watermark that rows show: it is of rows before them, however long ago.
                Operator::Over { .. } | Operator::CurrentWatermark => return None,
                // Which partitions were idle behind a commit hangs on what came before it.
                Operator::Watermark { idle: Some(_), .. } => return None,
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
            reach = reach.checked_add(size)?.checked_add(zone)?;
        }
        let is_bounded = windows > 0 && (sessions == 0 || windows == 1);
        is_bounded.then_some(reach)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OperatorUid, Schema, Window};

    /// A job with these window functions, one over the other.
    fn reach(shapes: &[WindowShape], zone: Option<&str>) -> Option<i64> {
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
        assert_eq!(reach(&[], None), None);
        assert_eq!(reach(&[tumble], None), Some(10));
        assert_eq!(reach(&[tumble, tumble], None), Some(20));
        assert_eq!(reach(&[session], None), Some(5));
        assert_eq!(
            reach(&[session, tumble], None),
            None,
            "a session is as long as it is"
        );
        assert_eq!(reach(&[tumble], Some("UTC")), Some(10 + FURTHEST_ZONE));
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
        assert_eq!(graph.reach_of_windows(), None);
    }
}
