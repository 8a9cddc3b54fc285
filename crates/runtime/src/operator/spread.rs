//! What operators have in common that make none, one or several rows of each.

use crate::chunk::{Chunk, Mark, Origins, push_mark};
use crate::kernel::{Evaluator, RowError, filter_mask};
use crate::origins::{Origin, Runs};
use arrow_array::{ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow_schema::{ArrowError, FieldRef, Schema, SchemaRef};
use arrow_select::take::take;
use std::sync::Arc;

/// Which of the rows stay that came of a row: a condition over columns of the input and those that come behind them.
pub(super) struct On {
    /// Columns of the input.
    reads: Vec<usize>,
    is: Evaluator,
    schema: SchemaRef,
}

impl On {
    /// `input` may have more than the input's columns.
    pub(super) fn new(
        reads: &[usize],
        is: Evaluator,
        input: &SchemaRef,
        behind: &[FieldRef],
    ) -> On {
        let read = reads.iter().map(|column| input.fields()[*column].clone());
        let fields: Vec<FieldRef> = read.chain(behind.iter().cloned()).collect();
        On {
            reads: reads.to_vec(),
            is,
            schema: Arc::new(Schema::new(fields)),
        }
    }

    /// For which of `rows` of the input, each with what is behind it, it is TRUE; or a row of the input for which it cannot be
    /// computed.
    pub(super) fn holds(
        &self,
        input: &RecordBatch,
        rows: &[u32],
        behind: Vec<ArrayRef>,
    ) -> Result<Result<BooleanArray, RowError>, ArrowError> {
        let at = UInt32Array::from_iter_values(rows.iter().copied());
        let read = self.reads.iter();
        let read = read.map(|column| take(input.column(*column), &at, None));
        let mut columns: Vec<ArrayRef> = read.collect::<Result<_, _>>()?;
        columns.extend(behind);
        let asked = RecordBatch::try_new(self.schema.clone(), columns)?;
        Ok(filter_mask(&self.is, &asked).map_err(|error| RowError {
            row: rows[error.row] as usize,
            ..error
        }))
    }
}

/// A chunk whose rows came of the rows `rows` of `chunk`; `before` says how many of them are before each row, and at the end.
/// `behind` are the columns behind the input's.
pub(super) fn spread(
    chunk: &Chunk,
    (rows, before): (&[u32], &[usize]),
    behind: Vec<ArrayRef>,
    output: &SchemaRef,
) -> Result<Chunk, ArrowError> {
    let at = UInt32Array::from_iter_values(rows.iter().copied());
    let columns = chunk.columns.columns().iter();
    let columns = columns.map(|column| take(column, &at, None));
    let mut columns: Vec<ArrayRef> = columns.collect::<Result<_, _>>()?;
    columns.extend(behind);
    let columns = RecordBatch::try_new(output.clone(), columns)?;
    let mut marks: Vec<Mark> = Vec::with_capacity(chunk.marks.len());
    for mark in &chunk.marks {
        push_mark(&mut marks, before[mark.row], mark.watermark);
    }
    let origins = match &chunk.origins {
        Origins::Derived(_) => Origins::Derived(rows.len()),
        Origins::Of(runs) => {
            let origins: Vec<Origin> = runs.iter().collect();
            let origins = rows.iter().map(|row| origins[*row as usize]);
            Origins::Of(origins.collect::<Runs>())
        }
    };
    Ok(Chunk::with(columns, marks, origins, chunk.splits.clone()))
}
