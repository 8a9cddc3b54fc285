//! Puts the watermark before each row behind its columns: that of its event time, as far as it had come when the row did.

use super::{Operator, OperatorError, Out};
use crate::chunk::Chunk;
use arrow_array::builder::TimestampMicrosecondBuilder;
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::SchemaRef;
use std::sync::Arc;

pub(super) struct CurrentWatermark {
    output: SchemaRef,
    /// The last mark, milliseconds since 1970.
    marked: Option<i64>,
}

impl CurrentWatermark {
    pub(super) fn new(output: SchemaRef) -> CurrentWatermark {
        CurrentWatermark {
            output,
            marked: None,
        }
    }

    /// Goes on where a checkpoint stood.
    pub(super) fn go_on_from(&mut self, marked: Option<i64>) {
        self.marked = marked;
    }

    fn before_rows(&mut self, chunk: &Chunk) -> ArrayRef {
        let rows = chunk.rows();
        let mut times = TimestampMicrosecondBuilder::with_capacity(rows);
        let mut marks = chunk.marks.iter().peekable();
        for row in 0..=rows {
            while let Some(mark) = marks.next_if(|mark| mark.row <= row) {
                self.marked = Some(mark.watermark);
            }
            if row < rows {
                times.append_option(self.marked.map(|millis| millis.saturating_mul(1000)));
            }
        }
        let ty = self.output.fields().last().map(|field| field.data_type());
        let ty = ty.expect("there is a column behind the input's").clone();
        Arc::new(times.finish().with_data_type(ty))
    }
}

impl Operator for CurrentWatermark {
    fn data(&mut self, _: usize, chunk: Chunk, out: &mut Out) -> Result<(), OperatorError> {
        let mut columns = chunk.columns.columns().to_vec();
        columns.push(self.before_rows(&chunk));
        let columns = RecordBatch::try_new(self.output.clone(), columns)?;
        out.emit(chunk.with_columns(columns));
        Ok(())
    }
}
