//! How a join of windows stands in a checkpoint.
//!
//! ```text
//! ports                      how far each input's watermark has come │ whether it is idle
//! left rows, right rows      end and start of a window │ the number of a row there │ its columns
//! ```
//!
//! Rows of a window are numbered as they came and never change, so a checkpoint writes those that are new; a window that fired is
//! dropped with all of its rows.

use super::super::kept;
use super::super::place::Slice;
use super::{LEFT, RIGHT, WindowJoin};
use crate::operator::Input;
use crate::state::{Section, StateError, StateReader, StateWriter};
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, BooleanArray, Int64Array, RecordBatch};
use arrow_schema::ArrowError;
use arrow_select::concat::concat_batches;
use std::collections::BTreeMap;
use std::sync::Arc;

/// By side.
const SECTIONS: [&str; 2] = ["left rows", "right rows"];
/// Columns before those of the row.
const BEFORE: usize = 3;
/// As up to manifest format 5: without numbers, in their order, and always as a whole.
const SECTIONS_WITHOUT_NUMBERS: [&str; 2] = ["left", "right"];

impl WindowJoin {
    pub(super) fn write(&mut self, to: &mut StateWriter) -> Result<(), StateError> {
        to.watermark(self.ports.marked());
        let broken = |error: ArrowError| StateError::new(error.to_string());
        let inputs = self.ports.inputs().iter();
        let marked: Int64Array = inputs.clone().map(|input| input.marked).collect();
        let idle: BooleanArray = inputs.map(|input| Some(input.idle)).collect();
        let ports = RecordBatch::try_from_iter_with_nullable([
            ("watermark", Arc::new(marked) as ArrayRef, true),
            ("idle", Arc::new(idle) as ArrayRef, true),
        ]);
        to.section("ports", ports.map_err(broken)?);
        let gone = std::mem::take(&mut self.gone);
        if self.open.is_empty() {
            return Ok(());
        }
        for (side, gone) in gone.iter().enumerate() {
            let mut parts = kept::Parts::new(SECTIONS[side], 0..BEFORE, to);
            for (slice, window) in &mut self.open {
                let rows = &mut window.sides[side];
                let mut number = match parts.is_whole() {
                    true => 0,
                    false => rows.written,
                };
                for piece in rows.since(number, kept::PIECE) {
                    parts.add(written(*slice, number, &piece))?;
                    number += piece.num_rows();
                }
                rows.written = rows.count;
            }
            parts.finish(&kept::ids_of(gone))?;
        }
        Ok(())
    }

    pub(super) fn take_up(&mut self, from: &StateReader) -> Result<(), StateError> {
        let foreign = || StateError::new("the state of a window join is not of this query");
        for section in from.sections("ports") {
            let marked = section.rows.column(0).as_primitive_opt::<Int64Type>();
            let marked = marked
                .filter(|ports| ports.len() == 2)
                .ok_or_else(foreign)?;
            // Up to format 5 no input was idle.
            let idle = section.rows.columns().get(1);
            let idle = idle.map(|idle| idle.as_boolean_opt().ok_or_else(foreign));
            let idle = idle.transpose()?;
            let inputs = marked.iter().enumerate().map(|(port, marked)| Input {
                marked,
                idle: idle.is_some_and(|idle| idle.value(port)),
            });
            self.ports.go_on_from(inputs.collect(), from.watermark());
        }
        for side in [LEFT, RIGHT] {
            self.restore_rows(side, from.sections(SECTIONS_WITHOUT_NUMBERS[side]), 2, from)?;
            self.restore_rows(side, from.sections(SECTIONS[side]), BEFORE, from)?;
        }
        Ok(())
    }

    /// Takes rows of a checkpoint up, before whose own columns so many others stand. What was written last is read first: their numbers
    /// say in which order they came.
    fn restore_rows<'a>(
        &mut self,
        side: usize,
        sections: impl Iterator<Item = &'a Section>,
        before: usize,
        from: &StateReader,
    ) -> Result<(), StateError> {
        let foreign = || StateError::new("the state of a window join is not of this query");
        let broken = |error: ArrowError| StateError::new(error.to_string());
        let keys: Vec<usize> = self.sides[side]
            .keys
            .iter()
            .map(|key| key + before)
            .collect();
        let mine = sections.map(|section| kept::mine(from, section, &self.codec, &keys));
        let mine: Vec<RecordBatch> = mine.collect::<Result<_, _>>()?;
        let Some(first) = mine.first() else {
            return Ok(());
        };
        let columns = concat_batches(&first.schema(), &mine).map_err(broken)?;
        let (columns, count) = (columns.columns(), columns.num_rows());
        let number = |column: usize| columns.get(column)?.as_primitive_opt::<Int64Type>();
        let (ends, starts) = number(0).zip(number(1)).ok_or_else(foreign)?;
        let mut order: Vec<u32> = (0..count as u32).collect();
        if before == BEFORE {
            let numbers = number(2).ok_or_else(foreign)?;
            order.sort_by_key(|row| numbers.value(*row as usize));
        }
        let mut by_slice: BTreeMap<Slice, Vec<u32>> = BTreeMap::new();
        for row in order {
            let (end, start) = (ends.value(row as usize), starts.value(row as usize));
            by_slice.entry(Slice { end, start }).or_default().push(row);
        }
        let rows =
            RecordBatch::try_new(self.sides[side].schema.clone(), columns[before..].to_vec());
        let rows = rows.map_err(|_| foreign())?;
        let keys = self.keys(side, &rows);
        let added = self.add(side, &rows, by_slice, &keys);
        added.map_err(|error| StateError::new(error.to_string()))?;
        if before == BEFORE {
            let windows = self.open.values_mut();
            windows.for_each(|window| window.sides[side].written = window.sides[side].count);
        }
        Ok(())
    }
}

/// Rows of a window as they stand in a checkpoint, numbered from `first` on.
fn written(slice: Slice, first: usize, rows: &RecordBatch) -> Vec<ArrayRef> {
    let count = rows.num_rows();
    let mut columns = kept::ids_of(&vec![slice; count]);
    let numbers = (first as i64..).take(count);
    columns.push(Arc::new(Int64Array::from_iter_values(numbers)));
    columns.extend(rows.columns().iter().cloned());
    columns
}
