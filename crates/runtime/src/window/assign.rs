//! A window function by itself: each row once for each window that it is in, with the window's columns behind its own.
//!
//! Without state: late rows pass too. HOP gives a row's windows from the last to the first, the others from the first, as Flink does.

use super::place::{Of, Slice, Windows};
use crate::chunk::{Chunk, Mark, Origins};
use crate::operator::{FlowError, Operator, OperatorError, Out};
use arrow_array::{ArrayRef, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use arrow_schema::SchemaRef;
use arrow_select::take::take_arrays;
use lw_graph::{Window, Windowing};
use std::sync::Arc;

pub(crate) struct WindowAssign {
    windows: Windows,
    output: SchemaRef,
}

impl WindowAssign {
    /// # Errors
    /// [`FlowError`] when the window is none of a grid.
    pub(crate) fn new(
        window: &Window,
        (input, output): (SchemaRef, SchemaRef),
    ) -> Result<WindowAssign, FlowError> {
        let windows = Windows::new(&Windowing::Assign(window.clone()), &input);
        Ok(WindowAssign {
            windows: windows.map_err(|error| FlowError::Expression(error.to_string()))?,
            output,
        })
    }

    /// The windows of a row's slice, in the order in which they are given.
    fn windows_of(&self, slice: Slice, into: &mut Vec<Slice>) {
        let Of::Time { grid, .. } = &self.windows.of else {
            unreachable!("a window function cuts time itself");
        };
        let from = into.len();
        let last = grid.last_end(slice.end);
        let mut end = slice.end;
        while end <= last {
            let start = grid.start(end);
            into.push(Slice { end, start });
            end += grid.step();
        }
        if grid.is_hop() {
            into[from..].reverse();
        }
    }

    /// The rows' columns, each row `times` as often, and those of the windows.
    fn columns(
        &self,
        chunk: &Chunk,
        rows: Option<Vec<u32>>,
        windows: &[Slice],
    ) -> Result<RecordBatch, OperatorError> {
        let mut columns = match rows {
            None => chunk.columns.columns().to_vec(),
            Some(rows) => take_arrays(chunk.columns.columns(), &UInt32Array::from(rows), None)?,
        };
        let time = |column: usize, millis: &dyn Fn(&Slice) -> i64| -> ArrayRef {
            let times = windows.iter().map(|window| millis(window) * 1000);
            let times = TimestampMicrosecondArray::from_iter_values(times);
            let ty = self.output.field(column).data_type().clone();
            Arc::new(times.with_data_type(ty))
        };
        let first = columns.len();
        columns.push(time(first, &|window| window.start));
        columns.push(time(first + 1, &|window| window.end));
        let wall = &self.windows.wall;
        columns.push(time(first + 2, &|window| wall.instant(window.end - 1)));
        Ok(RecordBatch::try_new(self.output.clone(), columns)?)
    }
}

impl Operator for WindowAssign {
    fn data(&mut self, _: usize, chunk: Chunk, out: &mut Out) -> Result<(), OperatorError> {
        let slices = self.windows.slices(&chunk)?;
        let mut windows = Vec::with_capacity(slices.len());
        // Behind each row: how many there are by then.
        let mut counts = Vec::with_capacity(slices.len() + 1);
        counts.push(0);
        for slice in &slices {
            self.windows_of(*slice, &mut windows);
            counts.push(windows.len());
        }
        if windows.len() == slices.len() {
            let columns = self.columns(&chunk, None, &windows)?;
            out.emit(chunk.with_columns(columns));
            return Ok(());
        }
        let times = |row: usize| counts[row + 1] - counts[row];
        let rows = (0..slices.len()).flat_map(|row| std::iter::repeat_n(row as u32, times(row)));
        let columns = self.columns(&chunk, Some(rows.collect()), &windows)?;
        let marks = chunk.marks.iter().map(|mark| Mark {
            row: counts[mark.row],
            ..*mark
        });
        let origins = match &chunk.origins {
            Origins::Derived(_) => Origins::Derived(windows.len()),
            Origins::Of(runs) => {
                let rows = runs.iter().enumerate();
                let rows = rows.flat_map(|(row, origin)| std::iter::repeat_n(origin, times(row)));
                Origins::Of(rows.collect())
            }
        };
        let marks = marks.collect();
        out.emit(Chunk::with(columns, marks, origins, chunk.splits.clone()));
        Ok(())
    }
}
