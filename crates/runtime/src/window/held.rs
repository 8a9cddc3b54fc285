//! Rows that an operator holds back, in the chunks that they came in.

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, SchemaRef};
use arrow_select::interleave::interleave_record_batch;

/// Chunk and row.
pub(super) type At = (usize, usize);

pub(super) struct Held {
    schema: SchemaRef,
    pieces: Vec<RecordBatch>,
    /// How many of the rows in the pieces are still wanted.
    pub(super) wanted: usize,
}

impl Held {
    pub(super) fn new(schema: SchemaRef) -> Held {
        Held {
            schema,
            pieces: Vec::new(),
            wanted: 0,
        }
    }

    /// Its number.
    pub(super) fn push(&mut self, rows: RecordBatch) -> usize {
        self.pieces.push(rows);
        self.pieces.len() - 1
    }

    pub(super) fn rows(&self, wanted: &[At]) -> Result<RecordBatch, ArrowError> {
        if wanted.is_empty() {
            return Ok(RecordBatch::new_empty(self.schema.clone()));
        }
        let pieces: Vec<&RecordBatch> = self.pieces.iter().collect();
        interleave_record_batch(&pieces, wanted)
    }

    /// Most of what the pieces hold is no longer wanted, or they are many.
    pub(super) fn is_sparse(&self) -> bool {
        const MANY: usize = 64;
        let rows: usize = self.pieces.iter().map(RecordBatch::num_rows).sum();
        self.pieces.len() >= MANY || rows >= 2 * self.wanted + 1024
    }

    /// Brings the rows together that are wanted: the first of them is row 0 of piece 0, and so on.
    pub(super) fn gather(&mut self, wanted: &[At]) -> Result<(), ArrowError> {
        assert_eq!(
            wanted.len(),
            self.wanted,
            "W2: a row that is waited for is not lost"
        );
        self.pieces = vec![self.rows(wanted)?];
        Ok(())
    }

    pub(super) fn size(&self) -> usize {
        self.pieces
            .iter()
            .map(RecordBatch::get_array_memory_size)
            .sum()
    }
}
