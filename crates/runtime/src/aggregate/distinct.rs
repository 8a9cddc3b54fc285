//! `DISTINCT`: each value of a group counts once.
//!
//! A table of (group, value) lets a value pass when it is new. What it holds is enough to compute the aggregate anew, so a state is the
//! lists of values, and merging is taking them one by one.

use super::groups::Groups;
use super::key::{KeyCodec, hash_of};
use super::{Accumulator, Rows};
use crate::kernel::RowError;
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, ListArray};
use arrow_buffer::OffsetBuffer;
use arrow_schema::Field;
use std::sync::Arc;

pub(super) struct Distinct {
    seen: Seen,
    inner: Box<dyn Accumulator>,
    groups: usize,
}

/// The combinations of group and value so far.
pub(super) struct Seen {
    values: KeyCodec,
    pairs: Groups,
    /// The group's number before the value's bytes.
    key: Vec<u8>,
}

impl Seen {
    pub(super) fn new(values: KeyCodec) -> Seen {
        Seen {
            pairs: values.groups(),
            values,
            key: Vec::new(),
        }
    }

    /// The number of the pair, and whether it is new.
    pub(super) fn see(&mut self, group: usize, value: &[u8]) -> (u32, bool) {
        let group = u32::try_from(group).expect("groups are counted in 32 bits");
        self.key.clear();
        self.key.extend(group.to_be_bytes());
        self.key.extend(value);
        self.pairs.bytes(hash_of(&self.key), &self.key)
    }

    pub(super) fn codec(&self) -> &KeyCodec {
        &self.values
    }

    /// The pairs of each wanted group, in the order in which they came.
    pub(super) fn by_group(&self, wanted: &[u32], groups: usize) -> Vec<Vec<u32>> {
        let mut pairs = vec![Vec::new(); groups];
        for pair in 0..self.pairs.len() as u32 {
            let (group, _) = self.split(pair);
            pairs[group].push(pair);
        }
        wanted
            .iter()
            .map(|group| std::mem::take(&mut pairs[*group as usize]))
            .collect()
    }

    fn split(&self, pair: u32) -> (usize, &[u8]) {
        let (group, value) = self
            .pairs
            .bytes_of(pair)
            .split_first_chunk()
            .expect("C2: four bytes are the group");
        (u32::from_be_bytes(*group) as usize, value)
    }

    /// The values of lists of pairs, one behind the other, by column.
    pub(super) fn values(&self, lists: &[Vec<u32>]) -> Vec<ArrayRef> {
        self.values.read(
            lists
                .iter()
                .flatten()
                .map(|pair| self.split(*pair).1)
                .collect(),
        )
    }

    pub(super) fn size(&self) -> usize {
        self.pairs.size()
    }
}

/// Columns of lists over flat columns.
pub(super) fn lists_of(flat: Vec<ArrayRef>, lengths: impl Iterator<Item = usize>) -> Vec<ArrayRef> {
    let offsets = OffsetBuffer::from_lengths(lengths);
    let list = |values: ArrayRef| -> ArrayRef {
        let field = Field::new_list_field(values.data_type().clone(), true);
        Arc::new(ListArray::new(
            Arc::new(field),
            offsets.clone(),
            values,
            None,
        ))
    };
    flat.into_iter().map(list).collect()
}

/// The flat columns of lists, and the group of each value.
pub(super) fn flattened(state: &[ArrayRef], groups: &[u32]) -> (Vec<ArrayRef>, Vec<u32>) {
    let lists: Vec<&ListArray> = state.iter().map(|column| column.as_list()).collect();
    let offsets = lists[0].offsets();
    let of_list =
        |(pair, group): (&[i32], &u32)| std::iter::repeat_n(*group, (pair[1] - pair[0]) as usize);
    let group_of = offsets.windows(2).zip(groups).flat_map(of_list).collect();
    let flat = |list: &&ListArray| {
        let (from, to) = (offsets[0] as usize, offsets[offsets.len() - 1] as usize);
        list.values().slice(from, to - from)
    };
    (lists.iter().map(flat).collect(), group_of)
}

impl Distinct {
    pub(super) fn new(values: KeyCodec, inner: Box<dyn Accumulator>) -> Distinct {
        Distinct {
            seen: Seen::new(values),
            inner,
            groups: 0,
        }
    }
}

impl Accumulator for Distinct {
    fn grow(&mut self, groups: usize) {
        self.groups = groups;
        self.inner.grow(groups);
    }

    fn update(&mut self, rows: &Rows<'_>) {
        let keys = self
            .seen
            .values
            .encode(rows.arguments, rows.arguments[0].len());
        let (mut new_rows, mut new_groups) = (Vec::new(), Vec::new());
        for (row, group) in rows.pairs() {
            if self.seen.see(group, keys.bytes_of(row)).1 {
                new_rows.push(row as u32);
                new_groups.push(group as u32);
            }
        }
        self.inner.update(&Rows {
            rows: &new_rows,
            groups: &new_groups,
            ..*rows
        });
    }

    fn state(&self, groups: &[u32]) -> Vec<ArrayRef> {
        let lists = self.seen.by_group(groups, self.groups);
        lists_of(self.seen.values(&lists), lists.iter().map(Vec::len))
    }

    fn merge(&mut self, state: &[ArrayRef], groups: &[u32]) {
        let (arguments, groups) = flattened(state, groups);
        let rows: Vec<u32> = (0..groups.len() as u32).collect();
        self.update(&Rows {
            arguments: &arguments,
            rows: &rows,
            groups: &groups,
            first: 0,
        });
    }

    fn finish(&self, groups: &[u32]) -> Result<ArrayRef, RowError> {
        self.inner.finish(groups)
    }

    fn size(&self) -> usize {
        self.seen.size() + self.inner.size()
    }
}
