//! What an aggregate of windows gives: keys, results and what is told of the windows.

use super::place::Slice;
use super::shape::Wall;
use crate::chunk::{Chunk, Mark, Split};
use crate::kernel::RowError;
use crate::operator::{OperatorError, Places};
use arrow_array::{Array, ArrayRef, RecordBatch, TimestampMicrosecondArray, new_null_array};
use arrow_cast::display::array_value_to_string;
use arrow_schema::{ArrowError, SchemaRef};
use arrow_select::concat::concat;
use lw_graph::WindowProperty;
use lw_stdx::calendar::utc;
use std::sync::Arc;

pub(super) struct Output {
    pub(super) schema: SchemaRef,
    pub(super) properties: Vec<WindowProperty>,
    /// How many columns are keys.
    pub(super) keys: usize,
}

/// A value that is not there.
struct Missing {
    row: usize,
    column: usize,
    what: String,
    hint: &'static str,
}

impl Output {
    /// The output's columns: one row for each of the windows, which their keys and results belong to.
    ///
    /// # Errors
    /// When a column that has no NULL has no value: of the first row that has such a column, the first of them.
    pub(super) fn columns(
        &self,
        mut columns: Vec<ArrayRef>,
        results: impl Iterator<Item = Result<ArrayRef, RowError>>,
        windows: &[Slice],
        wall: &Wall,
    ) -> Result<Vec<ArrayRef>, OperatorError> {
        let mut missing: Vec<Missing> = Vec::new();
        for result in results {
            let column = columns.len();
            columns.push(result.unwrap_or_else(|error| {
                missing.push(Missing {
                    row: error.row,
                    column,
                    what: error.message,
                    hint: "cast what is aggregated to another type",
                });
                new_null_array(self.schema.field(column).data_type(), windows.len())
            }));
        }
        for property in &self.properties {
            let millis = |window: &Slice| match property {
                WindowProperty::Start => window.start,
                WindowProperty::End => window.end,
                WindowProperty::Time => wall.instant(window.end - 1),
            };
            let times = windows.iter().map(|window| millis(window) * 1000);
            let times = TimestampMicrosecondArray::from_iter_values(times);
            let ty = self.schema.field(columns.len()).data_type();
            columns.push(Arc::new(times.with_data_type(ty.clone())));
        }
        for (at, (column, field)) in columns.iter().zip(self.schema.fields()).enumerate() {
            let is_told = missing.iter().any(|missing| missing.column == at);
            if !is_told && !field.is_nullable() && column.null_count() > 0 {
                let row = (0..column.len()).find(|row| column.is_null(*row));
                missing.push(Missing {
                    row: row.unwrap_or(0),
                    column: at,
                    what: "it is NOT NULL, and a number has more digits than its type".to_string(),
                    hint: "cast what is aggregated to fewer digits",
                });
            }
        }
        let first = missing.into_iter();
        let first = first.min_by_key(|missing| (missing.row, missing.column));
        match first {
            Some(missing) => Err(self.no_value(missing, &columns, windows)),
            None => Ok(columns),
        }
    }

    fn no_value(&self, missing: Missing, columns: &[ArrayRef], windows: &[Slice]) -> OperatorError {
        let Missing {
            row,
            column,
            what,
            hint,
        } = missing;
        let shown = columns[..self.keys].iter().map(|column| {
            array_value_to_string(column, row).unwrap_or_else(|error| error.to_string())
        });
        let key = shown.collect::<Vec<_>>().join(", ");
        let (name, window) = (self.schema.field(column).name(), windows[row]);
        let (start, end) = (utc(window.start), utc(window.end));
        OperatorError::Value {
            message: format!(
                "column '{name}' has no value: {what} (key ({key}), window from {start} to {end})"
            ),
            hint: hint.to_string(),
            place: Places::alone(&[window.end, window.start], &columns[..self.keys], row),
        }
    }

    /// What fired at a mark, as one chunk.
    pub(super) fn chunk(
        &self,
        fired: &[Vec<ArrayRef>],
        watermark: i64,
        splits: &Arc<[Split]>,
    ) -> Result<Chunk, ArrowError> {
        let rows = match fired {
            [] => RecordBatch::new_empty(self.schema.clone()),
            [one] => RecordBatch::try_new(self.schema.clone(), one.clone())?,
            _ => RecordBatch::try_new(self.schema.clone(), joined(fired)?)?,
        };
        let row = rows.num_rows();
        let mark = Mark { row, watermark };
        Ok(Chunk::derived(rows, vec![mark], splits.clone()))
    }
}

/// Several times the same columns as one, the rows one behind the other.
pub(super) fn joined(parts: &[Vec<ArrayRef>]) -> Result<Vec<ArrayRef>, ArrowError> {
    let count = parts.first().map_or(0, Vec::len);
    let column = |column: usize| {
        let of: Vec<&dyn Array> = parts.iter().map(|part| &*part[column]).collect();
        concat(&of)
    };
    (0..count).map(column).collect()
}
