//! Keeps the rows for which a condition is TRUE, in their order; NULL is not TRUE.

use super::row_wise::{RowWise, each_row};
use super::{Operator, OperatorError, Out};
use crate::chunk::Chunk;
use crate::kernel::{Evaluator, RowError, filter_mask};
use arrow_schema::ArrowError;

pub(super) struct Filter(pub(super) Evaluator);

impl RowWise for Filter {
    fn apply(&mut self, chunk: &Chunk) -> Result<Result<Chunk, RowError>, ArrowError> {
        match filter_mask(&self.0, &chunk.columns) {
            Ok(mask) => chunk.filter(&mask).map(Ok),
            Err(error) => Ok(Err(error)),
        }
    }

    fn of_none(&self, empty: Chunk) -> Chunk {
        empty
    }
}

impl Operator for Filter {
    fn data(&mut self, _: usize, chunk: Chunk, out: &mut Out) -> Result<(), OperatorError> {
        each_row(self, chunk, out)
    }
}
