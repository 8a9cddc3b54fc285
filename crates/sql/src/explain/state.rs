//! What a job keeps from one row to the next, and what bounds it: the last part of `EXPLAIN`.

use super::Names;
use lw_graph::{JobGraph, Node, Operator, WindowShape, Windowing};

/// One line for each operator with state, behind one on what becomes of rows that were written, and one on who shares the work.
pub(crate) fn state(graph: &JobGraph, shards: Option<u32>) -> String {
    let kept = graph.nodes.iter().filter_map(|node| {
        let (name, uid) = node.operator.windowed()?;
        let kept = kept(graph, node)?;
        Some(format!("{name} {uid}: {kept}\n"))
    });
    let mut kept: String = kept.collect();
    if kept.is_empty() {
        kept = "None: each row is computed by itself.\n".to_string();
    }
    let mut keys = graph.nodes.iter().map(|node| node.operator.shard_keys());
    if let Some(shards) = shards.filter(|_| keys.any(|keys| keys.is_some())) {
        kept +=
            &format!("Work on keys is shared among {shards}: each has those of some key groups.\n");
    }
    format!("Changelog mode [I]: a row that was written is never changed.\n{kept}")
}

/// `None` where nothing is kept.
fn kept(graph: &JobGraph, node: &Node) -> Option<String> {
    let input = &graph.nodes[node.inputs[0]].schema;
    let names = Names(input.names().map(String::from).collect());
    let of_each = |keys: &[usize]| match keys {
        [] => String::new(),
        keys => format!(" of each ({})", names.names(keys)),
    };
    Some(match &node.operator {
        Operator::WindowAssign {
            window, partition, ..
        } => match window.shape {
            WindowShape::Session { gap } => format!(
                "the rows{} until nothing came for {gap} ms",
                of_each(partition)
            ),
            _ => return None,
        },
        Operator::WindowAggregate {
            windowing, keys, ..
        } => {
            let (what, until) = entries(windowing);
            let keys = of_each(keys);
            format!("{what}{keys}, {until}")
        }
        Operator::WindowJoin { keys, .. } => {
            let keys: Vec<usize> = keys.iter().map(|(left, _)| *left).collect();
            let keys = of_each(&keys);
            format!(
                "the rows of both inputs{keys} in a window, until the watermark reaches its end"
            )
        }
        Operator::WindowRank { keys, last, .. } => {
            let keys = of_each(keys);
            format!("{last} rows{keys} in a window, until the watermark reaches its end")
        }
        Operator::Over {
            keys, frame, ttl, ..
        } => {
            let rows = "rows that the watermark has not reached";
            let back = match frame.interval() {
                Some(millis) => format!("those of {millis} ms before it"),
                None => {
                    let (what, them) = match frame.preceding {
                        Some(count) => (format!("{count} before it"), "it"),
                        None => ("the aggregates".to_string(), "them"),
                    };
                    let bound = match ttl {
                        Some(ttl) => format!(", until nothing came for {ttl} ms"),
                        None => format!(": nothing bounds {them}"),
                    };
                    format!("{what}{}{bound}", of_each(keys))
                }
            };
            format!("{rows}, and {back}")
        }
        _ => return None,
    })
}

fn entries(windowing: &Windowing) -> (String, String) {
    let end = "until the watermark reaches its end".to_string();
    match windowing {
        Windowing::Attached { .. } => ("one entry for each window".to_string(), end),
        Windowing::Assign(window) => match window.shape {
            WindowShape::Tumble { .. } => ("one entry for each window".to_string(), end),
            WindowShape::Hop { slide: step, .. } | WindowShape::Cumulate { step, .. } => (
                format!("one entry for each {step} ms"),
                "until the watermark reaches the end of the last window with them".to_string(),
            ),
            WindowShape::Session { gap } => (
                "one entry for each session".to_string(),
                format!("until the watermark is {gap} ms behind its last row"),
            ),
        },
    }
}
