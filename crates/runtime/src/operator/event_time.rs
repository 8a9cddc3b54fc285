//! Passes the rows that have an event time; a record without one is a dead letter.
//!
//! It stands before the first operator that sorts rows by time: there a row that belongs nowhere has no place, and behind it
//! no record could be given up for it.

use super::{Operator, OperatorError, Out};
use crate::chunk::Chunk;
use arrow_array::{Array, BooleanArray};
use arrow_buffer::BooleanBuffer;

pub(super) struct EventTime {
    pub(super) column: usize,
    /// Its name.
    pub(super) name: String,
}

impl Operator for EventTime {
    fn data(&mut self, _: usize, chunk: Chunk, out: &mut Out) -> Result<(), OperatorError> {
        let times = chunk.columns.column(self.column);
        let (Some(valid), Some(runs)) = (times.logical_nulls(), chunk.origins.runs()) else {
            out.emit(chunk);
            return Ok(());
        };
        let valid: &BooleanBuffer = valid.inner();
        for (row, origin) in runs.iter().enumerate() {
            if !valid.value(row) {
                let message = format!("column '{}' is NULL, and a window needs a time", self.name);
                out.fail(origin, "window.no-event-time", message);
            }
        }
        let kept = chunk.filter(&BooleanArray::new(valid.clone(), None))?;
        out.emit(kept);
        Ok(())
    }
}
