//! `LISTAGG`, `ARRAY_AGG` and `COLLECT`: all of a group's values, in the order in which they came.
//!
//! `LISTAGG` and `COLLECT` take no NULLs, `ARRAY_AGG` does. `COLLECT` is each value with how often it came.

use super::distinct::{Seen, flattened, lists_of};
use super::key::KeyCodec;
use super::{Accumulator, Rows};
use crate::kernel::RowError;
use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, Int32Array, ListArray, MapArray, StringArray, StructArray};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, FieldRef};
use std::sync::Arc;

/// `LISTAGG(text, separator)`.
pub(super) struct Listed {
    separator: String,
    lists: Vec<Option<String>>,
    bytes: usize,
}

impl Listed {
    pub(super) fn new(separator: &str) -> Listed {
        Listed {
            separator: separator.to_string(),
            lists: Vec::new(),
            bytes: 0,
        }
    }

    fn add(&mut self, group: usize, text: &str) {
        self.bytes += text.len();
        match &mut self.lists[group] {
            Some(list) => {
                self.bytes += self.separator.len();
                list.push_str(&self.separator);
                list.push_str(text);
            }
            none => *none = Some(text.to_string()),
        }
    }

    fn of(&self, groups: &[u32]) -> ArrayRef {
        let lists = groups
            .iter()
            .map(|group| self.lists[*group as usize].as_ref());
        Arc::new(lists.collect::<StringArray>())
    }
}

impl Accumulator for Listed {
    fn grow(&mut self, groups: usize) {
        self.lists.resize(groups, None);
    }

    fn update(&mut self, rows: &Rows<'_>) {
        let texts = rows.arguments[0].as_string::<i32>();
        for (row, group) in rows.of_values(texts) {
            self.add(group, texts.value(row));
        }
    }

    fn state(&self, groups: &[u32]) -> Vec<ArrayRef> {
        vec![self.of(groups)]
    }

    fn merge(&mut self, state: &[ArrayRef], groups: &[u32]) {
        for (list, group) in state[0].as_string::<i32>().iter().zip(groups) {
            if let Some(list) = list {
                self.add(*group as usize, list);
            }
        }
    }

    fn finish(&self, groups: &[u32]) -> Result<ArrayRef, RowError> {
        Ok(self.of(groups))
    }

    fn size(&self) -> usize {
        self.lists.len() * size_of::<Option<String>>() + self.bytes
    }
}

/// `ARRAY_AGG`.
pub(super) struct Gathered {
    element: FieldRef,
    values: KeyCodec,
    /// By group: the encoded values.
    lists: Vec<Vec<Box<[u8]>>>,
    bytes: usize,
}

impl Gathered {
    /// # Panics
    /// When the result is no list, which the planner never asks for.
    pub(super) fn new(values: KeyCodec, result: &DataType) -> Gathered {
        let DataType::List(element) = result else {
            unreachable!("ARRAY_AGG gives an ARRAY");
        };
        Gathered {
            element: element.clone(),
            values,
            lists: Vec::new(),
            bytes: 0,
        }
    }

    fn of(&self, groups: &[u32]) -> ArrayRef {
        let lists = groups.iter().map(|group| &self.lists[*group as usize]);
        let lists: Vec<&Vec<Box<[u8]>>> = lists.collect();
        let offsets = OffsetBuffer::from_lengths(lists.iter().map(|list| list.len()));
        let flat = lists
            .iter()
            .flat_map(|list| list.iter().map(|value| &**value));
        let values = self.values.read(flat.collect()).remove(0);
        let nulls: NullBuffer = lists.iter().map(|list| !list.is_empty()).collect();
        let element = self.element.clone();
        Arc::new(ListArray::new(element, offsets, values, Some(nulls)))
    }
}

impl Accumulator for Gathered {
    fn grow(&mut self, groups: usize) {
        self.lists.resize(groups, Vec::new());
    }

    fn update(&mut self, rows: &Rows<'_>) {
        let keys = self.values.encode(rows.arguments, rows.arguments[0].len());
        for (row, group) in rows.pairs() {
            let value = keys.bytes_of(row);
            self.bytes += value.len() + size_of::<Box<[u8]>>();
            self.lists[group].push(value.into());
        }
    }

    fn state(&self, groups: &[u32]) -> Vec<ArrayRef> {
        vec![self.of(groups)]
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
        Ok(self.of(groups))
    }

    fn size(&self) -> usize {
        self.lists.len() * size_of::<Vec<u8>>() + self.bytes
    }
}

/// `COLLECT`: a MAP of values and counts.
pub(super) struct Collected {
    entries: FieldRef,
    seen: Seen,
    /// By pair of group and value.
    counts: Vec<i32>,
    groups: usize,
}

impl Collected {
    /// # Panics
    /// When the result is no map, which the planner never asks for.
    pub(super) fn new(values: KeyCodec, result: &DataType) -> Collected {
        let DataType::Map(entries, _) = result else {
            unreachable!("COLLECT gives a MAP");
        };
        Collected {
            entries: entries.clone(),
            seen: Seen::new(values),
            counts: Vec::new(),
            groups: 0,
        }
    }

    fn add(&mut self, group: usize, value: &[u8], count: i32) {
        let (pair, new) = self.seen.see(group, value);
        if new {
            self.counts.push(0);
        }
        self.counts[pair as usize] += count;
    }

    fn counts(&self, lists: &[Vec<u32>]) -> ArrayRef {
        let counts = lists
            .iter()
            .flatten()
            .map(|pair| self.counts[*pair as usize]);
        Arc::new(Int32Array::from_iter_values(counts))
    }
}

impl Accumulator for Collected {
    fn grow(&mut self, groups: usize) {
        self.groups = groups;
    }

    fn update(&mut self, rows: &Rows<'_>) {
        let column = &rows.arguments[0];
        let keys = self.seen.codec().encode(rows.arguments, column.len());
        for (row, group) in rows.of_values(column) {
            self.add(group, keys.bytes_of(row), 1);
        }
    }

    fn state(&self, groups: &[u32]) -> Vec<ArrayRef> {
        let lists = self.seen.by_group(groups, self.groups);
        let mut flat = self.seen.values(&lists);
        flat.push(self.counts(&lists));
        lists_of(flat, lists.iter().map(Vec::len))
    }

    fn merge(&mut self, state: &[ArrayRef], groups: &[u32]) {
        let (columns, groups) = flattened(state, groups);
        let keys = self.seen.codec().encode(&columns[..1], groups.len());
        let counts = columns[1].as_primitive::<Int32Type>();
        for (row, group) in groups.iter().enumerate() {
            self.add(*group as usize, keys.bytes_of(row), counts.value(row));
        }
    }

    fn finish(&self, groups: &[u32]) -> Result<ArrayRef, RowError> {
        let lists = self.seen.by_group(groups, self.groups);
        let DataType::Struct(fields) = self.entries.data_type() else {
            unreachable!("a map's entries are pairs");
        };
        let columns = vec![self.seen.values(&lists).remove(0), self.counts(&lists)];
        let entries = StructArray::new(fields.clone(), columns, None);
        let offsets = OffsetBuffer::from_lengths(lists.iter().map(Vec::len));
        let map = MapArray::new(self.entries.clone(), offsets, entries, None, false);
        Ok(Arc::new(map))
    }

    fn size(&self) -> usize {
        self.seen.size() + self.counts.len() * 4
    }
}
