//! Columns of ARRAYs and MAPs, row by row: where each row's list ends, and what is in it.

use super::members::{self, Entries, Place};
use super::{Args, Scalar, Value};
use crate::kernel::operand::{Active, Fault, Operand, RowError};
use crate::kernel::rows::shape;
use arrow_array::builder::{ArrayBuilder, StringBuilder};
use arrow_array::{ArrayRef, ListArray, MapArray, StructArray};
use arrow_buffer::{NullBuffer, NullBufferBuilder, OffsetBuffer};
use arrow_schema::DataType;
use std::collections::HashMap;
use std::sync::Arc;

impl Scalar {
    pub(super) fn array(
        &self,
        args: &Args<'_>,
        active: &Active,
        f: fn(&Args<'_>, usize, &mut Vec<Place>) -> Value<()>,
    ) -> Result<Operand, RowError> {
        let DataType::List(element) = &self.ty else {
            unreachable!("it was found because it gives an ARRAY")
        };
        let (rows, constant) = shape(&args.borrowed(), active);
        let (mut lists, mut elements, mut scratch) = (Lists::new(rows), Vec::new(), Vec::new());
        for row in 0..rows {
            scratch.clear();
            let value = self.ask(args, row, |args, row| f(args, row, &mut scratch));
            let value = value.and_then(|value| match value {
                Some(()) => args.hold(&scratch, element.is_nullable()),
                None => Ok(None),
            });
            let value = value.and_then(|value| self.room(value, elements.len() + scratch.len()));
            if active.settle(value, row, constant)?.is_some() {
                elements.extend(scratch.iter().copied().map(Some));
                lists.close(elements.len(), true);
            } else {
                lists.close(elements.len(), false);
            }
        }
        let values = args
            .members()
            .take(elements.into_iter(), element.data_type());
        let (offsets, nulls) = lists.finish();
        let array = Arc::new(ListArray::new(element.clone(), offsets, values, nulls));
        Ok(Operand { array, constant })
    }

    pub(super) fn map(
        &self,
        args: &Args<'_>,
        active: &Active,
        f: fn(&Args<'_>, usize, &mut Entries) -> Value<()>,
    ) -> Result<Operand, RowError> {
        let DataType::Map(entry, _) = &self.ty else {
            unreachable!("it was found because it gives a MAP")
        };
        let DataType::Struct(fields) = entry.data_type() else {
            unreachable!("a MAP's entries have a key and a value")
        };
        let (rows, constant) = shape(&args.borrowed(), active);
        let (mut lists, mut scratch) = (Lists::new(rows), Vec::new());
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for row in 0..rows {
            scratch.clear();
            let value = self.ask(args, row, |args, row| f(args, row, &mut scratch));
            if let Ok(Some(())) = value {
                members::keep_last(args.members(), &mut scratch);
            }
            let value = value.and_then(|value| match value {
                Some(()) => {
                    let [of_keys, of_values] = [0, 1].map(|n| fields[n].is_nullable());
                    let (keys, values): (Vec<_>, Vec<_>) = scratch.iter().copied().unzip();
                    args.hold(&keys, of_keys)?;
                    args.hold(&values, of_values)
                }
                None => Ok(None),
            });
            let value = value.and_then(|value| self.room(value, keys.len() + scratch.len()));
            let known = active.settle(value, row, constant)?.is_some();
            if known {
                keys.extend(scratch.iter().map(|(key, _)| Some(*key)));
                values.extend(scratch.iter().map(|(_, value)| Some(*value)));
            }
            lists.close(keys.len(), known);
        }
        let keys = args.members().take(keys.into_iter(), fields[0].data_type());
        let values = args
            .members()
            .take(values.into_iter(), fields[1].data_type());
        let entries = StructArray::new(fields.clone(), vec![keys, values], None);
        let (offsets, nulls) = lists.finish();
        let array = Arc::new(MapArray::new(entry.clone(), offsets, entries, nulls, false));
        Ok(Operand { array, constant })
    }

    pub(super) fn texts(
        &self,
        args: &Args<'_>,
        active: &Active,
        f: fn(&Args<'_>, usize, &mut Texts) -> Value<()>,
    ) -> Result<Operand, RowError> {
        let (rows, constant) = shape(&args.borrowed(), active);
        let (mut lists, mut scratch) = (Lists::new(rows), Texts::default());
        let mut columns = match &self.ty {
            DataType::Map(..) => vec![StringBuilder::new(), StringBuilder::new()],
            _ => vec![StringBuilder::new()],
        };
        for row in 0..rows {
            scratch.clear();
            let value = self.ask(args, row, |args, row| f(args, row, &mut scratch));
            if let Ok(Some(())) = value
                && columns.len() == 2
            {
                scratch.keep_last();
            }
            let held: usize = columns
                .iter()
                .map(|column| column.values_slice().len())
                .sum();
            let value = value.and_then(|value| self.bounded(value, held, &scratch.text));
            let known = active.settle(value, row, constant)?.is_some();
            if known {
                let count = columns.len();
                for (at, text) in scratch.iter().enumerate() {
                    columns[at % count].append_option(text);
                }
            }
            lists.close(columns[0].len(), known);
        }
        let (offsets, nulls) = lists.finish();
        let columns = columns
            .iter_mut()
            .map(|column| Arc::new(column.finish()) as ArrayRef);
        let mut columns: Vec<ArrayRef> = columns.collect();
        let array: ArrayRef = match &self.ty {
            DataType::Map(entry, _) => {
                let DataType::Struct(fields) = entry.data_type() else {
                    unreachable!("a MAP's entries have a key and a value")
                };
                let entries = StructArray::new(fields.clone(), columns, None);
                Arc::new(MapArray::new(entry.clone(), offsets, entries, nulls, false))
            }
            DataType::List(element) => {
                let values = columns.remove(0);
                Arc::new(ListArray::new(element.clone(), offsets, values, nulls))
            }
            other => unreachable!("{other} holds no texts"),
        };
        Ok(Operand { array, constant })
    }

    /// A column of ARRAYs holds 2³¹ elements at most.
    fn room(&self, value: Option<()>, elements: usize) -> Value<()> {
        if i32::try_from(elements).is_err() {
            return Err(Fault::too_long(self.registered.name));
        }
        Ok(value)
    }
}

/// The texts of one row.
#[derive(Default)]
pub(in super::super) struct Texts {
    text: String,
    /// Where each ends, and whether it is none but NULL.
    ends: Vec<(usize, bool)>,
}

impl Texts {
    pub(super) fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push((self.text.len(), false));
    }

    pub(super) fn push_option(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.push(text),
            None => self.ends.push((self.text.len(), true)),
        }
    }

    fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }

    fn iter(&self) -> impl Iterator<Item = Option<&str>> {
        let mut from = 0;
        self.ends.iter().map(move |(end, null)| {
            let text = &self.text[from..*end];
            from = *end;
            (!null).then_some(text)
        })
    }

    /// Of keys and values in turn: of each key the last value, at the place of the first.
    fn keep_last(&mut self) {
        let texts: Vec<Option<&str>> = self.iter().collect();
        let mut places: HashMap<&str, usize> = HashMap::new();
        let mut kept = Texts::default();
        let mut values: Vec<Option<&str>> = Vec::new();
        let mut keys: Vec<&str> = Vec::new();
        for entry in texts.chunks_exact(2) {
            let key = entry[0].unwrap_or_default();
            match places.get(key) {
                Some(place) => values[*place] = entry[1],
                None => {
                    places.insert(key, keys.len());
                    keys.push(key);
                    values.push(entry[1]);
                }
            }
        }
        for (key, value) in keys.iter().zip(values) {
            kept.push(key);
            kept.push_option(value);
        }
        *self = kept;
    }
}

/// Where each row's list ends.
struct Lists {
    offsets: Vec<i32>,
    nulls: NullBufferBuilder,
}

impl Lists {
    fn new(rows: usize) -> Lists {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Lists {
            offsets,
            nulls: NullBufferBuilder::new(rows),
        }
    }

    fn close(&mut self, end: usize, known: bool) {
        let end = i32::try_from(end).expect("there was room");
        self.offsets.push(end);
        self.nulls.append(known);
    }

    fn finish(mut self) -> (OffsetBuffer<i32>, Option<NullBuffer>) {
        (OffsetBuffer::new(self.offsets.into()), self.nulls.finish())
    }
}
