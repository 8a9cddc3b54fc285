//! `LAG`: the value of a row so many rows before, in the order of `OVER`; NULLs are values.
//!
//! Kept are the last values, as many as are looked back over and the row's own. Rows of one time share a `RANGE`, and so they are all
//! taken before there is a result: it is that of the last of them, as in Flink. What stands for a row that is not there is the last row's.

use super::distinct::{flattened, lists_of};
use super::key::KeyCodec;
use super::{Accumulator, Rows};
use crate::kernel::RowError;
use arrow_array::ArrayRef;
use std::collections::VecDeque;

pub(super) struct Lag {
    offset: usize,
    values: KeyCodec,
    by_group: Vec<Last>,
    bytes: usize,
}

/// Of one group; all values encoded.
#[derive(Clone, Default)]
struct Last {
    values: VecDeque<Box<[u8]>>,
    otherwise: Option<Box<[u8]>>,
}

/// A value that is NULL, encoded.
const NULL: &[u8] = &[0];

impl Lag {
    pub(super) fn new(offset: u32, values: KeyCodec) -> Lag {
        Lag {
            offset: offset as usize,
            values,
            by_group: Vec::new(),
            bytes: 0,
        }
    }

    fn push(&mut self, group: usize, value: &[u8]) {
        let last = &mut self.by_group[group].values;
        last.push_back(value.into());
        self.bytes += value.len();
        if last.len() > self.offset + 1 {
            let first = last.pop_front();
            self.bytes -= first.map_or(0, |value| value.len());
        }
    }

    fn column<'a>(&self, values: impl Iterator<Item = &'a [u8]>) -> ArrayRef {
        self.values.read(values.collect()).remove(0)
    }

    fn last(&self, groups: &[u32]) -> impl Iterator<Item = &Last> {
        groups.iter().map(|group| &self.by_group[*group as usize])
    }
}

impl Last {
    fn otherwise(&self) -> &[u8] {
        self.otherwise.as_deref().unwrap_or(NULL)
    }
}

impl Accumulator for Lag {
    fn grow(&mut self, groups: usize) {
        self.by_group.resize(groups, Last::default());
    }

    fn update(&mut self, rows: &Rows<'_>) {
        let count = rows.arguments[0].len();
        let of = |column: &ArrayRef| self.values.encode(std::slice::from_ref(column), count);
        let (values, otherwise) = (of(&rows.arguments[0]), rows.arguments.get(1).map(of));
        for (row, group) in rows.pairs() {
            self.push(group, values.bytes_of(row));
            if let Some(otherwise) = &otherwise {
                self.by_group[group].otherwise = Some(otherwise.bytes_of(row).into());
            }
        }
    }

    fn state(&self, groups: &[u32]) -> Vec<ArrayRef> {
        let values = self.last(groups).flat_map(|last| &last.values);
        let values = self.column(values.map(|value| &**value));
        let lengths = self.last(groups).map(|last| last.values.len());
        let mut columns = lists_of(vec![values], lengths);
        columns.push(self.column(self.last(groups).map(Last::otherwise)));
        columns
    }

    fn merge(&mut self, state: &[ArrayRef], groups: &[u32]) {
        let (flat, of_values) = flattened(&state[..1], groups);
        let values = self.values.encode(&flat, of_values.len());
        for (row, group) in of_values.iter().enumerate() {
            self.push(*group as usize, values.bytes_of(row));
        }
        let otherwise = self.values.encode(&state[1..], groups.len());
        for (row, group) in groups.iter().enumerate() {
            self.by_group[*group as usize].otherwise = Some(otherwise.bytes_of(row).into());
        }
    }

    fn finish(&self, groups: &[u32]) -> Result<ArrayRef, RowError> {
        let before = self
            .last(groups)
            .map(|last| match last.values.len() > self.offset {
                true => &*last.values[0],
                false => last.otherwise(),
            });
        Ok(self.column(before))
    }

    fn size(&self) -> usize {
        let held: usize = self.by_group.iter().map(|last| last.values.len()).sum();
        self.by_group.len() * size_of::<Last>() + held * size_of::<Box<[u8]>>() + self.bytes
    }
}
