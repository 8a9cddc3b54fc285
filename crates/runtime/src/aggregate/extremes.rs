//! `MIN`, `MAX`, `FIRST_VALUE` and `LAST_VALUE`: one of the values, by what it is or by when it came.
//!
//! NULLs are no values. A floating-point number replaces another only when it is smaller or greater as Java compares: NaN is
//! neither, so one that comes first stays. First and last are by the order in which rows arrived.

use super::{Accumulator, Rows};
use crate::kernel::RowError;
use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, BinaryType, ByteArrayType, UInt64Type, Utf8Type};
use arrow_array::{Array, ArrayRef, BooleanArray, GenericByteArray, PrimitiveArray, UInt64Array};
use arrow_schema::DataType;
use std::marker::PhantomData;
use std::sync::Arc;

/// One value per group, of one Arrow type.
pub(super) trait Cells: Send {
    type Column: Array + 'static;
    fn new(ty: &DataType) -> Self;
    fn grow(&mut self, groups: usize);
    fn set(&mut self, group: usize, column: &Self::Column, row: usize);
    /// Whether the column's value is smaller or greater than the one that is kept.
    fn is_less(&self, group: usize, column: &Self::Column, row: usize) -> bool;
    fn is_greater(&self, group: usize, column: &Self::Column, row: usize) -> bool;
    /// The values of groups; NULL for `None`.
    fn column(&self, groups: impl Iterator<Item = Option<usize>>) -> ArrayRef;
    fn size(&self) -> usize;
}

pub(super) struct Primitives<T: ArrowPrimitiveType> {
    ty: DataType,
    values: Vec<T::Native>,
}

impl<T: ArrowPrimitiveType> Cells for Primitives<T> {
    type Column = PrimitiveArray<T>;

    fn new(ty: &DataType) -> Self {
        Primitives {
            ty: ty.clone(),
            values: Vec::new(),
        }
    }

    fn grow(&mut self, groups: usize) {
        self.values.resize(groups, T::Native::default());
    }

    fn set(&mut self, group: usize, column: &Self::Column, row: usize) {
        self.values[group] = column.value(row);
    }

    fn is_less(&self, group: usize, column: &Self::Column, row: usize) -> bool {
        column.value(row) < self.values[group]
    }

    fn is_greater(&self, group: usize, column: &Self::Column, row: usize) -> bool {
        column.value(row) > self.values[group]
    }

    fn column(&self, groups: impl Iterator<Item = Option<usize>>) -> ArrayRef {
        let values = groups.map(|group| group.map(|group| self.values[group]));
        let column: PrimitiveArray<T> = values.collect();
        Arc::new(column.with_data_type(self.ty.clone()))
    }

    fn size(&self) -> usize {
        self.values.len() * size_of::<T::Native>()
    }
}

pub(super) struct Booleans {
    values: Vec<bool>,
}

impl Cells for Booleans {
    type Column = BooleanArray;

    fn new(_: &DataType) -> Self {
        Booleans { values: Vec::new() }
    }

    fn grow(&mut self, groups: usize) {
        self.values.resize(groups, false);
    }

    fn set(&mut self, group: usize, column: &Self::Column, row: usize) {
        self.values[group] = column.value(row);
    }

    fn is_less(&self, group: usize, column: &Self::Column, row: usize) -> bool {
        !column.value(row) && self.values[group]
    }

    fn is_greater(&self, group: usize, column: &Self::Column, row: usize) -> bool {
        column.value(row) && !self.values[group]
    }

    fn column(&self, groups: impl Iterator<Item = Option<usize>>) -> ArrayRef {
        let values = groups.map(|group| group.map(|group| self.values[group]));
        Arc::new(values.collect::<BooleanArray>())
    }

    fn size(&self) -> usize {
        self.values.len()
    }
}

/// Text or bytes.
pub(super) trait Bytewise: ByteArrayType<Offset = i32> {
    /// What was such a value, as one again.
    fn value(bytes: &[u8]) -> &Self::Native;
}

impl Bytewise for Utf8Type {
    fn value(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).expect("C2: it was text")
    }
}

impl Bytewise for BinaryType {
    fn value(bytes: &[u8]) -> &[u8] {
        bytes
    }
}

/// Text and bytes, compared byte by byte.
pub(super) struct ByteStrings<T: Bytewise> {
    values: Vec<Box<[u8]>>,
    bytes: usize,
    of: PhantomData<fn() -> T>,
}

impl<T: Bytewise> Cells for ByteStrings<T> {
    type Column = GenericByteArray<T>;

    fn new(_: &DataType) -> Self {
        ByteStrings {
            values: Vec::new(),
            bytes: 0,
            of: PhantomData,
        }
    }

    fn grow(&mut self, groups: usize) {
        self.values.resize(groups, Box::default());
    }

    fn set(&mut self, group: usize, column: &Self::Column, row: usize) {
        let value: &[u8] = column.value(row).as_ref();
        self.bytes += value.len();
        self.bytes -= self.values[group].len();
        self.values[group] = value.into();
    }

    fn is_less(&self, group: usize, column: &Self::Column, row: usize) -> bool {
        let value: &[u8] = column.value(row).as_ref();
        *value < *self.values[group]
    }

    fn is_greater(&self, group: usize, column: &Self::Column, row: usize) -> bool {
        let value: &[u8] = column.value(row).as_ref();
        *value > *self.values[group]
    }

    fn column(&self, groups: impl Iterator<Item = Option<usize>>) -> ArrayRef {
        let mut builder = arrow_array::builder::GenericByteBuilder::<T>::new();
        for group in groups {
            match group {
                Some(group) => builder.append_value(T::value(&self.values[group])),
                None => builder.append_null(),
            }
        }
        Arc::new(builder.finish())
    }

    fn size(&self) -> usize {
        self.values.len() * size_of::<Box<[u8]>>() + self.bytes
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Least,
    Greatest,
    First,
    Last,
}

/// One of a group's values, the `choice`.
pub(super) struct Chosen<C: Cells> {
    choice: Choice,
    cells: C,
    /// As which of the operator's rows a group's value came; [`NONE`] where there is none.
    came: Vec<u64>,
}

const NONE: u64 = u64::MAX;

impl<C: Cells> Chosen<C> {
    pub(super) fn new(choice: Choice, ty: &DataType) -> Chosen<C> {
        Chosen {
            choice,
            cells: C::new(ty),
            came: Vec::new(),
        }
    }

    fn take(&mut self, group: usize, column: &C::Column, row: usize, came: u64) {
        let kept = self.came[group];
        let better = kept == NONE
            || match self.choice {
                Choice::Least => self.cells.is_less(group, column, row),
                Choice::Greatest => self.cells.is_greater(group, column, row),
                Choice::First => came < kept,
                Choice::Last => came > kept,
            };
        if better {
            self.cells.set(group, column, row);
            self.came[group] = came;
        }
    }

    fn of(&self, groups: &[u32]) -> ArrayRef {
        let groups = groups.iter().map(|group| self.present(*group as usize));
        self.cells.column(groups)
    }

    fn present(&self, group: usize) -> Option<usize> {
        (self.came[group] != NONE).then_some(group)
    }
}

impl<C: Cells> Accumulator for Chosen<C> {
    fn grow(&mut self, groups: usize) {
        self.cells.grow(groups);
        self.came.resize(groups, NONE);
    }

    fn update(&mut self, rows: &Rows<'_>) {
        let column = rows.arguments[0].as_any();
        let column = column
            .downcast_ref::<C::Column>()
            .expect("C2: an argument is of its type");
        for (row, group) in rows.of_values(column) {
            self.take(group, column, row, rows.first + row as u64);
        }
    }

    fn state(&self, groups: &[u32]) -> Vec<ArrayRef> {
        let came = groups.iter().map(|group| self.came[*group as usize]);
        vec![
            self.of(groups),
            Arc::new(UInt64Array::from_iter_values(came)),
        ]
    }

    fn merge(&mut self, state: &[ArrayRef], groups: &[u32]) {
        let column = state[0].as_any();
        let column = column
            .downcast_ref::<C::Column>()
            .expect("C2: a state is of its type");
        let came = state[1].as_primitive::<UInt64Type>().values();
        for (row, group) in groups.iter().enumerate() {
            if came[row] != NONE {
                self.take(*group as usize, column, row, came[row]);
            }
        }
    }

    fn finish(&self, groups: &[u32]) -> Result<ArrayRef, RowError> {
        Ok(self.of(groups))
    }

    fn size(&self) -> usize {
        self.cells.size() + self.came.len() * 8
    }
}
