//! What is told of a row behind state that cannot be computed: no record can be named for it, so its key and its window are.

use arrow_array::{Array, RecordBatch};
use arrow_cast::display::array_value_to_string;
use lw_graph::{JobGraph, NodeId, WindowProperty};

/// Where the rows that a node gives say what they are of.
pub(super) struct Named {
    keys: Vec<(usize, String)>,
    windows: Vec<(usize, String)>,
}

impl Named {
    pub(super) fn of(graph: &JobGraph, node: NodeId) -> Named {
        let fields = &graph.nodes[node].schema.fields;
        let named = |column: usize| (column, fields[column].name.clone());
        let mut windows = graph.window_columns(node);
        // Its last millisecond tells nothing more.
        let is_bound = |property: &WindowProperty| *property != WindowProperty::Time;
        if windows.iter().any(|(_, property)| is_bound(property)) {
            windows.retain(|(_, property)| is_bound(property));
        }
        let windows = windows.into_iter();
        Named {
            keys: graph.key_columns(node).into_iter().map(named).collect(),
            windows: windows.map(|(column, _)| named(column)).collect(),
        }
    }

    /// `key (k = b), window (window_end = 2026-01-01T00:00:10)`; nothing where neither is in the columns.
    pub(super) fn row(&self, columns: &RecordBatch, row: usize) -> String {
        let shown = |(column, name): &(usize, String)| {
            let column = columns.column(*column);
            let value = match column.is_null(row) {
                true => "NULL".to_string(),
                false => {
                    array_value_to_string(column, row).unwrap_or_else(|error| error.to_string())
                }
            };
            format!("{name} = {value}")
        };
        let keys: Vec<String> = self.keys.iter().map(shown).collect();
        let windows: Vec<String> = self.windows.iter().map(shown).collect();
        let parts = [("key", keys), ("window", windows)];
        let parts = parts.iter().filter(|(_, shown)| !shown.is_empty());
        let parts = parts.map(|(what, shown)| format!("{what} ({})", shown.join(", ")));
        parts.collect::<Vec<String>>().join(", ")
    }
}
