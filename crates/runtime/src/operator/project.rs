//! Computes one column for each expression, row by row.

use super::row_wise::{RowWise, each_row};
use super::{Operator, OperatorError, Out};
use crate::chunk::Chunk;
use crate::kernel::{Evaluator, RowError};
use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::{ArrowError, SchemaRef};

pub(super) struct Project {
    pub(super) expressions: Vec<Evaluator>,
    pub(super) schema: SchemaRef,
}

impl RowWise for Project {
    fn apply(&mut self, chunk: &Chunk) -> Result<Result<Chunk, RowError>, ArrowError> {
        let mut arrays = Vec::with_capacity(self.expressions.len());
        for (expression, column) in self.expressions.iter().zip(self.schema.fields()) {
            match expression.evaluate_into(&chunk.columns, column) {
                Ok(array) => arrays.push(array),
                Err(error) => return Ok(Err(error)),
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(chunk.rows()));
        let columns = RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)?;
        Ok(Ok(chunk.with_columns(columns)))
    }

    fn of_none(&self, empty: Chunk) -> Chunk {
        empty.with_columns(RecordBatch::new_empty(self.schema.clone()))
    }
}

impl Operator for Project {
    fn data(&mut self, _: usize, chunk: Chunk, out: &mut Out) -> Result<(), OperatorError> {
        each_row(self, chunk, out)
    }
}
