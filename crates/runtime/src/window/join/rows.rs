//! The rows of one side of a window, by key.

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, SchemaRef};
use arrow_select::concat::concat_batches;

/// Rows of one side, numbered as they came.
#[derive(Default)]
pub(super) struct Rows {
    /// One behind the other, each less than half as long as the one before, or nearly.
    pieces: Vec<RecordBatch>,
    pub(super) count: usize,
    /// So many of them are in the last checkpoint.
    pub(super) written: usize,
    /// By group.
    by_group: Vec<Vec<u32>>,
}

impl Rows {
    pub(super) fn add(&mut self, rows: RecordBatch, groups: &[u32]) -> Result<(), ArrowError> {
        for group in groups {
            let group = *group as usize;
            if self.by_group.len() <= group {
                self.by_group.resize_with(group + 1, Vec::new);
            }
            self.by_group[group].push(u32::try_from(self.count).map_err(|_| too_many())?);
            self.count += 1;
        }
        self.pieces.push(rows);
        while let [.., before, last] = self.pieces.as_slice()
            && before.num_rows() <= 2 * last.num_rows()
        {
            let together = concat_batches(&before.schema(), [before, last])?;
            self.pieces.truncate(self.pieces.len() - 2);
            self.pieces.push(together);
        }
        Ok(())
    }

    pub(super) fn of(&self, group: u32) -> &[u32] {
        self.by_group.get(group as usize).map_or(&[], Vec::as_slice)
    }

    pub(super) fn all(&self, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
        concat_batches(schema, &self.pieces)
    }

    /// Those from a number on, at most `most` in a piece.
    pub(super) fn since(&self, number: usize, most: usize) -> impl Iterator<Item = RecordBatch> {
        let mut before = 0;
        self.pieces.iter().flat_map(move |piece| {
            let rows = piece.num_rows();
            let first = number.saturating_sub(before).min(rows);
            before += rows;
            let cuts = (first..rows).step_by(most);
            cuts.map(move |from| piece.slice(from, most.min(rows - from)))
        })
    }

    pub(super) fn size(&self) -> usize {
        let pieces = self.pieces.iter().map(RecordBatch::get_array_memory_size);
        let numbers = self
            .by_group
            .iter()
            .map(|rows| rows.capacity() * 4 + size_of::<Vec<u32>>());
        pieces.chain(numbers).sum()
    }
}

fn too_many() -> ArrowError {
    ArrowError::ComputeError("a window of a join has more than 4,294,967,295 rows".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;
    use arrow_array::{ArrayRef, Int64Array};
    use proptest::prelude::*;
    use std::sync::Arc;

    proptest! {
        #[test]
        fn rows_from_a_number_on_are_those_that_came_since(
            chunks in proptest::collection::vec(1..9_usize, 1..12),
            number in 0..60_usize,
            most in 1..7_usize,
        ) {
            let (mut rows, mut came) = (Rows::default(), 0_i64);
            for count in chunks {
                let column: ArrayRef = Arc::new(Int64Array::from_iter_values((came..).take(count)));
                let piece = RecordBatch::try_from_iter([("n", column)]).expect("one column");
                rows.add(piece, &vec![0; count]).expect("pieces fit");
                came += count as i64;
            }
            let pieces: Vec<RecordBatch> = rows.since(number, most).collect();
            prop_assert!(pieces.iter().all(|piece| (1..=most).contains(&piece.num_rows())));
            let since = pieces.iter().flat_map(|piece| piece.column(0).as_primitive::<Int64Type>().values().to_vec());
            prop_assert_eq!(since.collect::<Vec<i64>>(), (number as i64..came).collect::<Vec<i64>>());
        }
    }
}
