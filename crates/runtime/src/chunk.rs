//! The unit that flows between operators: Arrow columns, how far event time has come between its rows, and where in the log
//! they came from.
//!
//! Origins travel with rows through filters and projections, because the sink writes them down (every offset is traceable).
//! What an aggregate makes of many rows has none. A `Chunk` in this version is insert-only; changelog row kinds join it with
//! the first updating operator.

use crate::origins::{Origin, Runs};
use arrow_array::{BooleanArray, RecordBatch};
use arrow_buffer::BooleanBuffer;
use arrow_schema::ArrowError;
use arrow_select::filter::filter_record_batch;
use std::ops::Range;
use std::sync::Arc;

/// One partition of one topic that a source reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Split {
    pub topic: Arc<str>,
    pub partition: i32,
}

/// Index of a [`Split`] in [`Chunk::splits`]. Stable while a task runs; new partitions are appended.
pub type SplitId = u32;

/// The watermark rose behind the first `row` rows of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// As many rows of the chunk stand before it.
    pub row: usize,
    /// Milliseconds since 1970; [`Mark::END`] when the input has ended.
    pub watermark: i64,
}

impl Mark {
    /// The watermark of an input that is at its end: no row follows.
    pub const END: i64 = i64::MAX;
}

/// Where a chunk's rows came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Each from a record of the log.
    Of(Runs),
    /// So many rows, each of many records.
    Derived(usize),
}

impl Origins {
    pub fn rows(&self) -> usize {
        match self {
            Origins::Of(runs) => runs.rows(),
            Origins::Derived(rows) => *rows,
        }
    }

    /// The records that the rows came from; `None` when they are of an aggregate.
    pub fn runs(&self) -> Option<&Runs> {
        match self {
            Origins::Of(runs) => Some(runs),
            Origins::Derived(_) => None,
        }
    }

    fn bytes(&self) -> usize {
        self.runs().map_or(0, Runs::bytes)
    }

    fn filter(&self, keep: &BooleanBuffer) -> Origins {
        match self {
            Origins::Of(runs) => Origins::Of(runs.filter(keep)),
            Origins::Derived(_) => Origins::Derived(keep.count_set_bits()),
        }
    }
}

/// Rows and their origins: `columns.num_rows() == origins.rows()`. Marks rise, and none stands behind the last row.
#[derive(Clone, Debug)]
pub struct Chunk {
    pub columns: RecordBatch,
    /// Where event time went on. Empty in a job that no operator asks for it.
    pub marks: Vec<Mark>,
    pub origins: Origins,
    pub splits: Arc<[Split]>,
    /// From here on nothing waits for what comes this way, because nothing has come for too long; or it is waited for again. `None`
    /// where nothing changes. Such a chunk has no rows.
    pub idle: Option<bool>,
    /// When its rows came, in milliseconds of the time that passes in the log; 0 in a job that nothing is forgotten in, and where
    /// nobody knows. One for all of its rows and marks.
    pub(crate) came: i64,
}

impl Chunk {
    /// Rows of the log.
    ///
    /// # Panics
    /// When the number of origins is not the number of rows.
    pub fn new(columns: RecordBatch, origins: Runs, splits: Arc<[Split]>) -> Chunk {
        Chunk::with(columns, Vec::new(), Origins::Of(origins), splits)
    }

    /// Rows that an operator made of many.
    ///
    /// # Panics
    /// When the marks do not rise, or stand behind the last row.
    pub fn derived(columns: RecordBatch, marks: Vec<Mark>, splits: Arc<[Split]>) -> Chunk {
        let rows = columns.num_rows();
        Chunk::with(columns, marks, Origins::Derived(rows), splits)
    }

    /// # Panics
    /// When the number of origins is not the number of rows, the marks do not rise, or they stand behind the last row.
    pub fn with(
        columns: RecordBatch,
        marks: Vec<Mark>,
        origins: Origins,
        splits: Arc<[Split]>,
    ) -> Chunk {
        assert_eq!(
            columns.num_rows(),
            origins.rows(),
            "every row has exactly one origin"
        );
        assert!(
            marks.is_sorted_by(|one, next| one.row <= next.row && one.watermark < next.watermark)
                && marks
                    .last()
                    .is_none_or(|last| last.row <= columns.num_rows()),
            "C2: marks rise, and stand between the rows of their chunk"
        );
        Chunk {
            columns,
            marks,
            origins,
            splits,
            idle: None,
            came: 0,
        }
    }

    /// The same, come then.
    pub(crate) fn come(self, came: i64) -> Chunk {
        Chunk { came, ..self }
    }

    pub fn rows(&self) -> usize {
        self.origins.rows()
    }

    /// Nothing in it means anything to an operator.
    pub fn is_empty(&self) -> bool {
        self.rows() == 0 && self.marks.is_empty() && self.idle.is_none()
    }

    /// Its rows, cut at the marks: each stretch with the mark behind it, the last one without.
    pub(crate) fn stretches(&self) -> impl Iterator<Item = (Range<usize>, Option<i64>)> {
        let ends = self
            .marks
            .iter()
            .map(|mark| (mark.row, Some(mark.watermark)));
        let mut from = 0;
        ends.chain([(self.rows(), None)])
            .map(move |(to, watermark)| (std::mem::replace(&mut from, to)..to, watermark))
    }

    pub fn bytes(&self) -> usize {
        let marks = self.marks.len() * size_of::<Mark>();
        self.columns.get_array_memory_size() + self.origins.bytes() + marks
    }

    /// The same rows with other columns.
    pub(crate) fn with_columns(&self, columns: RecordBatch) -> Chunk {
        let (marks, origins) = (self.marks.clone(), self.origins.clone());
        Chunk::with(columns, marks, origins, self.splits.clone()).come(self.came)
    }

    /// Some of its rows, of which no marks stand between yet.
    ///
    /// # Panics
    /// When there are marks, or rows that no record of the log brought.
    pub(crate) fn part(&self, rows: Range<usize>) -> Chunk {
        assert!(self.marks.is_empty(), "C2: no mark is lost");
        let origins = self.origins.runs().expect("they are rows of the log");
        let columns = self.columns.slice(rows.start, rows.len());
        Chunk::new(columns, origins.slice(rows), self.splits.clone()).come(self.came)
    }

    /// The rows that are set in the mask, which has no NULL; all marks.
    ///
    /// # Errors
    /// When the mask has not as many values as there are rows.
    pub fn filter(&self, mask: &BooleanArray) -> Result<Chunk, ArrowError> {
        let kept = mask.true_count();
        if kept == self.rows() {
            return Ok(self.clone());
        }
        let columns = filter_record_batch(&self.columns, mask)?;
        let chunk = Chunk::with(
            columns,
            among(&self.marks, mask.values()),
            self.origins.filter(mask.values()),
            self.splits.clone(),
        );
        Ok(chunk.come(self.came))
    }
}

/// The marks when only the rows that are set are left. Of several that stand behind the same row the last one counts.
fn among(marks: &[Mark], set: &BooleanBuffer) -> Vec<Mark> {
    let mut left: Vec<Mark> = Vec::with_capacity(marks.len());
    let (mut from, mut rows) = (0, 0);
    for mark in marks {
        rows += set.slice(from, mark.row - from).count_set_bits();
        from = mark.row;
        push_mark(&mut left, rows, mark.watermark);
    }
    left
}

/// Adds a mark, which replaces one that stands behind the same row.
pub(crate) fn push_mark(marks: &mut Vec<Mark>, row: usize, watermark: i64) {
    match marks.last_mut().filter(|last| last.row == row) {
        Some(last) => last.watermark = watermark,
        None => marks.push(Mark { row, watermark }),
    }
}

/// The rows of a chunk whose records are wanted.
pub(crate) fn kept(chunk: Chunk, wanted: impl Fn(&Origin) -> bool) -> Result<Chunk, ArrowError> {
    let Some(runs) = chunk.origins.runs() else {
        return Ok(chunk);
    };
    let mask: BooleanArray = runs.iter().map(|at| Some(wanted(&at))).collect();
    chunk.filter(&mask)
}

/// A record that could not be decoded, as it is kept in `<table>__dead_letters`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: i64,
    /// The record's timestamp, milliseconds since 1970.
    pub timestamp: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    /// Where it failed: `decode` or `evaluate`.
    pub stage: &'static str,
    /// Short and stable, for grouping: `avro.truncated`.
    pub code: String,
    pub error: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::Int64Array;
    use proptest::prelude::*;

    fn chunk(rows: usize, marks: Vec<Mark>) -> Chunk {
        let column = Int64Array::from_iter_values(0..rows as i64);
        let columns = RecordBatch::try_from_iter([("n", Arc::new(column) as _)]);
        Chunk::derived(columns.expect("one column"), marks, Arc::new([]))
    }

    /// The watermark before each of the rows that are kept.
    fn before(chunk: &Chunk) -> Vec<Option<i64>> {
        let before = |row| {
            let marks = chunk.marks.iter().rev();
            let mut marks = marks.skip_while(|mark: &&Mark| mark.row > row);
            marks.next().map(|mark| mark.watermark)
        };
        (0..chunk.rows()).map(before).collect()
    }

    proptest! {
        #[test]
        fn a_filter_keeps_the_watermark_before_each_row(
            keep in proptest::collection::vec(any::<bool>(), 0..50),
            rises in proptest::collection::vec((0..50_usize, 1..9_i64), 0..30),
        ) {
            let (mut marks, mut row, mut watermark) = (Vec::new(), 0, 0);
            for (step, rise) in rises {
                row = keep.len().min(row + step / 8);
                watermark += rise;
                push_mark(&mut marks, row, watermark);
            }
            let whole = chunk(keep.len(), marks);
            let left = whole.filter(&BooleanArray::from(keep.clone())).expect("a mask for each row");
            let wanted = before(&whole).into_iter().zip(&keep).filter(|(_, keep)| **keep);
            prop_assert_eq!(before(&left), wanted.map(|(before, _)| before).collect::<Vec<_>>());
            prop_assert_eq!(left.marks.last().map(|mark| mark.watermark), whole.marks.last().map(|mark| mark.watermark));
        }
    }
}
