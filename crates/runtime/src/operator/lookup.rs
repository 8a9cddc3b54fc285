//! Each row with the rows of a table that have its keys: the input's columns, then the table's.
//!
//! A key with NULL in it is equal to none. A row that finds nothing, or nothing that meets the condition, is gone, or stands once with
//! NULL behind it (`LEFT JOIN`). The table is as it was at one of its versions; another one comes between two chunks.

use super::row_wise::{RowWise, each_row};
use super::spread::{On, spread};
use super::{Operator, OperatorError, Out};
use crate::chunk::Chunk;
use crate::kernel::{Evaluator, RowError};
use crate::lookup::{Held, Slot};
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow_schema::{ArrowError, SchemaRef};
use arrow_select::take::take;

pub(super) struct Lookup {
    table: Slot,
    /// Columns of the input.
    keys: Vec<usize>,
    /// A row that finds nothing is there once.
    outer: bool,
    on: Option<On>,
    output: SchemaRef,
}

/// Rows with what they are joined with, one behind the other.
struct Pairs {
    rows: Vec<u32>,
    /// Places in the table.
    found: Vec<Option<u32>>,
    /// How many there are before each row, and at the end.
    before: Vec<usize>,
}

impl Pairs {
    fn with_capacity(rows: usize) -> Pairs {
        Pairs {
            rows: Vec::with_capacity(rows),
            found: Vec::with_capacity(rows),
            before: Vec::with_capacity(rows + 1),
        }
    }

    /// What a row found; nothing stands once, where that is wanted.
    fn add(&mut self, row: usize, found: impl Iterator<Item = u32>, outer: bool) {
        let before = self.rows.len();
        self.before.push(before);
        for found in found {
            self.rows.push(row as u32);
            self.found.push(Some(found));
        }
        if outer && self.rows.len() == before {
            self.rows.push(row as u32);
            self.found.push(None);
        }
    }

    fn end(mut self) -> Pairs {
        self.before.push(self.rows.len());
        self
    }

    /// What was found, in the table's columns.
    fn of_table(&self, held: &Held) -> Result<Vec<ArrayRef>, ArrowError> {
        let found = UInt32Array::from(self.found.clone());
        let columns = held.columns.columns().iter();
        columns.map(|column| take(column, &found, None)).collect()
    }

    fn only(&self, kept: &BooleanArray, outer: bool) -> Pairs {
        let mut left = Pairs::with_capacity(self.rows.len());
        for (row, of_row) in self.before.windows(2).enumerate() {
            let pairs = of_row[0]..of_row[1];
            let found = pairs.filter(|pair| kept.value(*pair));
            left.add(row, found.filter_map(|pair| self.found[pair]), outer);
        }
        left.end()
    }
}

impl Lookup {
    /// Over an input whose columns the output begins with.
    pub(super) fn new(table: Slot, keys: Vec<usize>, outer: bool, output: SchemaRef) -> Lookup {
        Lookup {
            table,
            keys,
            outer,
            on: None,
            output,
        }
    }

    /// Only pairs for which the condition is TRUE, over these columns of the input and those of the table.
    pub(super) fn on(self, reads: &[usize], is: Evaluator, table: &SchemaRef) -> Lookup {
        Lookup {
            on: Some(On::new(reads, is, &self.output, table.fields())),
            ..self
        }
    }

    /// What rows find; or a row whose condition cannot be computed.
    fn pairs(&self, of: &RecordBatch, held: &Held) -> Result<Result<Pairs, RowError>, ArrowError> {
        let Some(on) = &self.on else {
            return Ok(Ok(self.of_keys(of, held, self.outer)));
        };
        let all = self.of_keys(of, held, false);
        let kept = on.holds(of, &all.rows, all.of_table(held)?)?;
        Ok(kept.map(|kept| all.only(&kept, self.outer)))
    }

    fn of_keys(&self, of: &RecordBatch, held: &Held, outer: bool) -> Pairs {
        let keys = self.keys.iter().map(|key| of.column(*key).clone());
        let keys: Vec<ArrayRef> = keys.collect();
        let encoded = held.encode(&keys, of.num_rows());
        let with_null: Vec<&ArrayRef> = keys.iter().filter(|key| key.null_count() > 0).collect();
        let mut pairs = Pairs::with_capacity(of.num_rows());
        for row in 0..of.num_rows() {
            let found = match with_null.iter().any(|key| key.is_null(row)) {
                true => &[][..],
                false => held.rows_of(&encoded, row),
            };
            pairs.add(row, found.iter().copied(), outer);
        }
        pairs.end()
    }
}

impl RowWise for Lookup {
    fn apply(&mut self, chunk: &Chunk) -> Result<Result<Chunk, RowError>, ArrowError> {
        let held = self.table.lock().clone();
        let pairs = match self.pairs(&chunk.columns, &held)? {
            Ok(pairs) => pairs,
            Err(error) => return Ok(Err(error)),
        };
        let rows = (&pairs.rows[..], &pairs.before[..]);
        let behind = pairs.of_table(&held)?;
        Ok(Ok(spread(chunk, rows, behind, &self.output)?))
    }

    fn of_none(&self, empty: Chunk) -> Chunk {
        empty.with_columns(RecordBatch::new_empty(self.output.clone()))
    }
}

impl Operator for Lookup {
    fn data(&mut self, _: usize, chunk: Chunk, out: &mut Out) -> Result<(), OperatorError> {
        each_row(self, chunk, out)
    }
}
