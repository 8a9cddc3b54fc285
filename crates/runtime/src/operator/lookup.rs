//! Each row with the rows of a table that have its keys: the input's columns, then the table's.
//!
//! A key with NULL in it is equal to none. A row that finds nothing, or nothing that meets the condition, is gone, or stands once with
//! NULL behind it (`LEFT JOIN`). The table is as it was at one of its versions; another one comes between two chunks.

use super::row_wise::{RowWise, each_row};
use super::{Operator, OperatorError, Out};
use crate::chunk::{Chunk, Mark, Origins, push_mark};
use crate::kernel::{Evaluator, RowError, filter_mask};
use crate::lookup::{Held, Slot};
use crate::origins::{Origin, Runs};
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow_schema::{ArrowError, Schema, SchemaRef};
use arrow_select::take::take;
use std::sync::Arc;

pub(super) struct Lookup {
    table: Slot,
    /// Columns of the input.
    keys: Vec<usize>,
    /// A row that finds nothing is there once.
    outer: bool,
    on: Option<On>,
    output: SchemaRef,
}

/// With which rows of its keys a row is joined.
struct On {
    /// Columns of the input.
    reads: Vec<usize>,
    /// Over these and those of the table.
    is: Evaluator,
    schema: SchemaRef,
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
        let fields = self.output.fields();
        let read = reads.iter().map(|column| fields[*column].clone());
        let schema = Schema::new(
            read.chain(table.fields().iter().cloned())
                .collect::<Vec<_>>(),
        );
        Lookup {
            on: Some(On {
                reads: reads.to_vec(),
                is,
                schema: Arc::new(schema),
            }),
            ..self
        }
    }

    /// What rows find; or a row whose condition cannot be computed.
    fn pairs(&self, of: &RecordBatch, held: &Held) -> Result<Result<Pairs, RowError>, ArrowError> {
        let Some(on) = &self.on else {
            return Ok(Ok(self.of_keys(of, held, self.outer)));
        };
        let all = self.of_keys(of, held, false);
        let rows = UInt32Array::from_iter_values(all.rows.iter().copied());
        let found = UInt32Array::from(all.found.clone());
        let read = on.reads.iter().map(|at| take(of.column(*at), &rows, None));
        let of_table = held.columns.columns().iter();
        let of_table = of_table.map(|column| take(column, &found, None));
        let columns: Vec<ArrayRef> = read.chain(of_table).collect::<Result<_, _>>()?;
        let asked = RecordBatch::try_new(on.schema.clone(), columns)?;
        Ok(match filter_mask(&on.is, &asked) {
            Ok(kept) => Ok(all.only(&kept, self.outer)),
            Err(error) => Err(RowError {
                row: all.rows[error.row] as usize,
                ..error
            }),
        })
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
        let rows = UInt32Array::from_iter_values(pairs.rows.iter().copied());
        let of_row = chunk.columns.columns().iter();
        let of_row = of_row.map(|column| take(column, &rows, None));
        let found = UInt32Array::from(pairs.found);
        let of_table = held.columns.columns().iter();
        let of_table = of_table.map(|column| take(column, &found, None));
        let columns: Vec<ArrayRef> = of_row.chain(of_table).collect::<Result<_, _>>()?;
        let columns = RecordBatch::try_new(self.output.clone(), columns)?;
        let mut marks: Vec<Mark> = Vec::with_capacity(chunk.marks.len());
        for mark in &chunk.marks {
            push_mark(&mut marks, pairs.before[mark.row], mark.watermark);
        }
        let origins = match &chunk.origins {
            Origins::Derived(_) => Origins::Derived(pairs.rows.len()),
            Origins::Of(runs) => {
                let of_rows: Vec<Origin> = runs.iter().collect();
                let of_pairs = pairs.rows.iter().map(|row| of_rows[*row as usize]);
                Origins::Of(of_pairs.collect::<Runs>())
            }
        };
        let splits = chunk.splits.clone();
        Ok(Ok(Chunk::with(columns, marks, origins, splits)))
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
