//! What the table and the log have of each window, and which windows differ.

use super::{Recomputation, TOLD};
use crate::audit::hash::Sum;
use crate::audit::replay::places_in;
use crate::audit::{AuditError, Windows};
use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_cast::cast;
use arrow_schema::{DataType, TimeUnit};
use lw_graph::ColumnName;
use lw_stdx::calendar::utc;
use std::collections::BTreeMap;

/// The window of a row: microseconds since 1970, as the table shows them.
pub(super) type Window = Vec<Option<i64>>;

/// By window.
#[derive(Default)]
pub(super) struct Lots {
    pub(super) windows: BTreeMap<Window, Both>,
    /// Windows up to one of them that have one sum, and how many they are.
    pub(super) older: Option<(Window, u64, Both)>,
}

#[derive(Default)]
pub(super) struct Both {
    pub(super) table: Sum,
    pub(super) log: Sum,
}

impl Both {
    fn differ(&self) -> bool {
        self.table != self.log
    }
}

impl Lots {
    pub(super) fn of(&mut self, window: Window) -> &mut Both {
        self.windows.entry(window).or_default()
    }

    /// How many rows the table has.
    pub(super) fn table_rows(&self) -> u64 {
        self.windows.values().map(|both| both.table.rows).sum()
    }

    /// Says which windows differ.
    pub(super) fn tell(&self, how: &Recomputation, findings: &mut Vec<String>) -> Windows {
        let older = self.older.iter().map(|(up_to, _, both)| {
            let what = match up_to.is_empty() {
                true => "the table".to_string(),
                false => format!("the windows up to {}", shown(up_to, how)),
            };
            (what, both)
        });
        let each = self.windows.iter().map(|(window, both)| {
            let what = match window.is_empty() {
                true => "the table".to_string(),
                false => format!("window {}", shown(window, how)),
            };
            (what, both)
        });
        let differ = older.chain(each).filter(|(_, both)| both.differ());
        let differ: Vec<(String, &Both)> = differ.collect();
        for (what, both) in differ.iter().take(TOLD) {
            let (table, log) = (both.table.rows, both.log.rows);
            findings.push(match table == log {
                true => format!("{what}: its {table} rows are not those that the log gives"),
                false => format!("{what}: the table holds {table} rows, the log gives {log}"),
            });
        }
        if differ.len() > TOLD {
            let more = differ.len() - TOLD;
            findings.push(format!("{more} more windows differ"));
        }
        let older = self.older.as_ref().map_or(0, |(_, windows, _)| *windows);
        Windows {
            compared: self.windows.len() as u64 + older,
            differ: differ.len() as u64,
            unverified: 0,
        }
    }
}

/// The window of each row.
pub(super) fn windows_of(
    batch: &RecordBatch,
    how: &Recomputation,
) -> Result<Vec<Window>, AuditError> {
    let schema = batch.schema();
    let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
    let mut windows = vec![Window::new(); batch.num_rows()];
    for place in places_in(&schema, &how.windows).into_iter().flatten() {
        let column = cast(batch.column(place), &micros)?;
        let column = column.as_primitive::<TimestampMicrosecondType>();
        for (window, value) in windows.iter_mut().zip(column) {
            window.push(value);
        }
    }
    Ok(windows)
}

/// `window_start 2026-01-01T00:00:00.000Z, window_end …`
fn shown(window: &Window, how: &Recomputation) -> String {
    let parts =
        how.windows
            .iter()
            .zip(window)
            .map(|(ColumnName { name, .. }, micros)| match micros {
                // What a window says of itself is local time.
                Some(micros) => {
                    let time = utc(micros.div_euclid(1000));
                    format!("{name} {}", time.trim_end_matches('Z'))
                }
                None => format!("{name} NULL"),
            });
    parts.collect::<Vec<String>>().join(", ")
}
