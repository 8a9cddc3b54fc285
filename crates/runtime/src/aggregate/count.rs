//! `COUNT(*)` and `COUNT(x)`: rows, or those in which no argument is NULL.

use super::{Accumulator, Rows};
use crate::kernel::RowError;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, Int64Array};
use arrow_buffer::NullBuffer;
use std::ops::Range;
use std::sync::Arc;

#[derive(Default)]
pub(super) struct Count {
    counts: Vec<i64>,
}

impl Count {
    fn of(&self, groups: &[u32]) -> ArrayRef {
        let counts = groups.iter().map(|group| self.counts[*group as usize]);
        Arc::new(Int64Array::from_iter_values(counts))
    }
}

impl Accumulator for Count {
    fn grow(&mut self, groups: usize) {
        self.counts.resize(groups, 0);
    }

    fn update(&mut self, rows: &Rows<'_>) {
        let nulls = rows
            .arguments
            .iter()
            .filter_map(|column| column.logical_nulls());
        let nulls: Vec<_> = nulls.collect();
        if nulls.is_empty() {
            for group in rows.groups {
                self.counts[*group as usize] += 1;
            }
            return;
        }
        for (row, group) in rows.pairs() {
            self.counts[group] += i64::from(nulls.iter().all(|nulls| nulls.is_valid(row)));
        }
    }

    fn slides(&self) -> bool {
        true
    }

    fn slide(&mut self, rows: &Rows<'_>, stretches: &[Range<usize>]) {
        let nulls = rows.arguments.iter();
        let nulls: Vec<_> = nulls.filter_map(|column| column.logical_nulls()).collect();
        let counts = rows.rows.iter().scan(0, |count, row| {
            let is_valid = |nulls: &NullBuffer| nulls.is_valid(*row as usize);
            *count += i64::from(nulls.iter().all(is_valid));
            Some(*count)
        });
        let counts: Vec<i64> = [0].into_iter().chain(counts).collect();
        for (group, stretch) in stretches.iter().enumerate() {
            self.counts[group] = counts[stretch.end] - counts[stretch.start];
        }
    }

    fn state(&self, groups: &[u32]) -> Vec<ArrayRef> {
        vec![self.of(groups)]
    }

    fn merge(&mut self, state: &[ArrayRef], groups: &[u32]) {
        let counts = state[0].as_primitive::<Int64Type>().values();
        for (count, group) in counts.iter().zip(groups) {
            self.counts[*group as usize] += count;
        }
    }

    fn finish(&self, groups: &[u32]) -> Result<ArrayRef, RowError> {
        Ok(self.of(groups))
    }

    fn size(&self) -> usize {
        self.counts.len() * 8
    }
}
