//! Functions that are no more than a value out of values: their kernels, by the names of `lw_graph`'s registry.
//!
//! A kernel is a line or a few: it computes one row into a buffer that all rows share, or whole columns at once where Arrow can. The
//! loop around it, NULL in and NULL out, and which rows may fail are here. The planner has brought the arguments to the types that
//! the function's row says, so a kernel asks for them without looking.

mod args;
mod collection;
mod conditional;
mod hash;
mod json;
mod lists;
mod members;
mod numbers;
mod patterns;
mod regexp;
mod text;
mod time;

pub use hash::sha256_of;

use super::KernelError;
use super::operand::{Active, Fault, Operand, RowError};
use super::rows::{collect, shape};
use args::Args;
use arrow_array::builder::{BinaryBuilder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, Time64MicrosecondType, TimestampMicrosecondType,
};
use arrow_array::{BooleanArray, PrimitiveArray};
use arrow_schema::DataType;
use lists::Texts;
use lw_formats::arrow_type;
use lw_graph::{Function, LogicalType, TypeKind};
use members::{Entries, Place};
use patterns::Patterns;
use std::sync::Arc;
use text::long;

/// The value of a row: NULL is `None`.
pub(super) type Value<T> = Result<Option<T>, Fault>;

/// How a function is computed; which one fits follows from the type of the result.
pub(super) enum Kernel {
    /// Appends the row's text.
    Text(fn(&Args<'_>, usize, &mut String) -> Value<()>),
    /// Appends the row's bytes.
    Bytes(fn(&Args<'_>, usize, &mut Vec<u8>) -> Value<()>),
    Boolean(fn(&Args<'_>, usize) -> Value<bool>),
    /// A whole number, cut to the bits of the result.
    Whole(fn(&Args<'_>, usize) -> Value<i64>),
    /// DOUBLE, or rounded to FLOAT.
    Approximate(fn(&Args<'_>, usize) -> Value<f64>),
    /// Unscaled, in the scale of the result; NULL where it has too many digits.
    Decimal(fn(&Args<'_>, usize, u8) -> Value<i128>),
    /// One DOUBLE to another: no row can fail, so whole columns at once.
    Math(fn(f64) -> f64),
    /// Names the places of the elements of an ARRAY.
    Array(fn(&Args<'_>, usize, &mut Vec<Place>) -> Value<()>),
    /// Names the places of the entries of a MAP. Of a key named twice the last value stays.
    Map(fn(&Args<'_>, usize, &mut Entries) -> Value<()>),
    /// Appends the elements of an ARRAY of text.
    Texts(fn(&Args<'_>, usize, &mut Texts) -> Value<()>),
    /// Appends keys and values of a MAP of text, in turn.
    TextMap(fn(&Args<'_>, usize, &mut Texts) -> Value<()>),
    /// Names the place of one value.
    Member(fn(&Args<'_>, usize) -> Value<Place>),
    /// Whole columns.
    Columns(fn(&[Operand], &Active, &DataType) -> Result<Operand, RowError>),
}

/// A kernel under its function's name. A function whose forms give different kinds has one for each.
pub(super) struct Registered {
    pub(super) name: &'static str,
    kernel: Kernel,
    /// Whether it is asked about rows in which an argument is NULL, too.
    sees_null: bool,
}

impl Registered {
    const fn new(name: &'static str, kernel: Kernel) -> Registered {
        Registered {
            name,
            kernel,
            sees_null: false,
        }
    }

    const fn sees_null(mut self) -> Registered {
        self.sees_null = true;
        self
    }

    fn gives(&self, kind: &TypeKind) -> bool {
        match self.kernel {
            Kernel::Text(_) => kind.is_character(),
            Kernel::Bytes(_) => kind.is_binary(),
            Kernel::Boolean(_) => *kind == TypeKind::Boolean,
            Kernel::Whole(_) => {
                kind.is_integer()
                    || kind.is_timestamp()
                    || matches!(kind, TypeKind::Date | TypeKind::Time(_))
            }
            Kernel::Approximate(_) | Kernel::Math(_) => kind.is_approximate(),
            Kernel::Decimal(_) => matches!(kind, TypeKind::Decimal { .. }),
            Kernel::Array(_) | Kernel::Texts(_) => matches!(kind, TypeKind::Array(_)),
            Kernel::Map(_) | Kernel::TextMap(_) => matches!(kind, TypeKind::Map(..)),
            Kernel::Member(_) | Kernel::Columns(_) => true,
        }
    }
}

/// All of them.
pub(super) fn registered() -> impl Iterator<Item = &'static Registered> {
    [
        conditional::KERNELS,
        numbers::KERNELS,
        text::KERNELS,
        regexp::KERNELS,
        json::KERNELS,
        time::KERNELS,
        collection::KERNELS,
        hash::KERNELS,
    ]
    .into_iter()
    .flatten()
}

/// A function with its kernel and the type of its result.
pub(super) struct Scalar {
    registered: &'static Registered,
    kind: TypeKind,
    ty: DataType,
    /// The kinds of the arguments.
    kinds: Vec<TypeKind>,
    patterns: Patterns,
}

impl Scalar {
    /// # Errors
    /// [`KernelError`] when there is no kernel of this name, or a constant argument is none that it could work with.
    pub(super) fn new(
        function: Function,
        args: &[super::compile::Node],
        ty: &LogicalType,
    ) -> Result<Scalar, KernelError> {
        let found = registered().find(|r| r.name == function.key() && r.gives(&ty.kind));
        let registered = found
            .ok_or_else(|| KernelError::new(format!("the function {function} has no kernel")))?;
        let patterns = Patterns::default();
        patterns::check(function.key(), args)?;
        Ok(Scalar {
            registered,
            kind: ty.kind.clone(),
            ty: arrow_type(ty),
            kinds: args.iter().map(|arg| arg.ty.kind.clone()).collect(),
            patterns,
        })
    }

    /// # Errors
    /// [`RowError`] for the first active row that has no value.
    pub(super) fn run(&self, operands: &[Operand], active: &Active) -> Result<Operand, RowError> {
        let args = Args::new(operands, &self.kinds, &self.patterns);
        match self.registered.kernel {
            Kernel::Text(f) => self.text(&args, active, f),
            Kernel::Bytes(f) => self.bytes(&args, active, f),
            Kernel::Boolean(f) => {
                let (values, nulls, constant) =
                    collect(&args.borrowed(), active, |row| self.ask(&args, row, f))?;
                let array = Arc::new(BooleanArray::new(values.into(), nulls));
                Ok(Operand { array, constant })
            }
            Kernel::Whole(f) => self.whole(&args, active, f),
            Kernel::Approximate(f) if self.kind == TypeKind::Float =>
            {
                #[expect(clippy::cast_possible_truncation, reason = "the result is FLOAT")]
                self.primitive::<Float32Type>(&args, active, |row| {
                    Ok(self.ask(&args, row, f)?.map(|v| v as f32))
                })
            }
            Kernel::Approximate(f) => {
                self.primitive::<Float64Type>(&args, active, |row| self.ask(&args, row, f))
            }
            Kernel::Decimal(f) => {
                let TypeKind::Decimal { precision, scale } = self.kind else {
                    unreachable!("it was found because it gives DECIMAL")
                };
                let shape = super::decimal::Shape::new(precision, scale);
                self.primitive::<Decimal128Type>(&args, active, |row| {
                    let value = self.ask(&args, row, |args, row| f(args, row, scale))?;
                    Ok(value.and_then(|unscaled| shape.fit(unscaled)))
                })
            }
            Kernel::Math(f) => {
                let array = operands[0].array.as_primitive::<Float64Type>();
                let result: PrimitiveArray<Float64Type> = array.unary(f);
                Ok(operands[0].with(Arc::new(result)))
            }
            Kernel::Array(f) => self.array(&args, active, f),
            Kernel::Map(f) => self.map(&args, active, f),
            Kernel::Texts(f) | Kernel::TextMap(f) => self.texts(&args, active, f),
            Kernel::Member(f) => {
                let (rows, constant) = shape(&args.borrowed(), active);
                let mut places = Vec::with_capacity(rows);
                for row in 0..rows {
                    places.push(active.settle(self.ask(&args, row, f), row, constant)?);
                }
                let array = args.members().take(places.into_iter(), &self.ty);
                Ok(Operand { array, constant })
            }
            Kernel::Columns(f) => f(operands, active, &self.ty),
        }
    }

    fn ask<T>(
        &self,
        args: &Args<'_>,
        row: usize,
        f: impl FnOnce(&Args<'_>, usize) -> Value<T>,
    ) -> Value<T> {
        if !self.registered.sees_null && args.any_null(row) {
            return Ok(None);
        }
        f(args, row)
    }

    fn text(
        &self,
        args: &Args<'_>,
        active: &Active,
        f: fn(&Args<'_>, usize, &mut String) -> Value<()>,
    ) -> Result<Operand, RowError> {
        let mut scratch = String::new();
        let (rows, constant) = shape(&args.borrowed(), active);
        let mut out = StringBuilder::with_capacity(rows, 0);
        for row in 0..rows {
            scratch.clear();
            let value = self.ask(args, row, |args, row| f(args, row, &mut scratch));
            let value =
                value.and_then(|value| self.bounded(value, out.values_slice().len(), &scratch));
            match active.settle(value, row, constant)? {
                Some(()) => out.append_value(&scratch),
                None => out.append_null(),
            }
        }
        let array = Arc::new(out.finish());
        Ok(Operand { array, constant })
    }

    /// A column holds 2 GiB of text at most.
    fn bounded(&self, value: Option<()>, before: usize, text: &str) -> Value<()> {
        if i32::try_from(before + text.len()).is_err() {
            return Err(Fault::too_long(self.registered.name));
        }
        Ok(value)
    }

    fn bytes(
        &self,
        args: &Args<'_>,
        active: &Active,
        f: fn(&Args<'_>, usize, &mut Vec<u8>) -> Value<()>,
    ) -> Result<Operand, RowError> {
        let mut scratch = Vec::new();
        let (rows, constant) = shape(&args.borrowed(), active);
        let mut out = BinaryBuilder::with_capacity(rows, 0);
        for row in 0..rows {
            scratch.clear();
            let value = self.ask(args, row, |args, row| f(args, row, &mut scratch));
            match active.settle(value, row, constant)? {
                Some(()) => out.append_value(&scratch),
                None => out.append_null(),
            }
        }
        let array = Arc::new(out.finish());
        Ok(Operand { array, constant })
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "whole numbers wrap as in Java"
    )]
    fn whole(
        &self,
        args: &Args<'_>,
        active: &Active,
        f: fn(&Args<'_>, usize) -> Value<i64>,
    ) -> Result<Operand, RowError> {
        macro_rules! give {
            ($ty:ty, $narrow:expr) => {
                self.primitive::<$ty>(args, active, |row| Ok(self.ask(args, row, f)?.map($narrow)))
            };
        }
        match &self.ty {
            DataType::Int8 => give!(Int8Type, |v| v as i8),
            DataType::Int16 => give!(Int16Type, |v| v as i16),
            DataType::Int32 => give!(Int32Type, |v| v as i32),
            DataType::Int64 => give!(Int64Type, |v| v),
            DataType::Date32 => give!(Date32Type, |v| v as i32),
            DataType::Time64(_) => give!(Time64MicrosecondType, |v| v),
            _ => give!(TimestampMicrosecondType, |v| v),
        }
    }

    fn primitive<T: ArrowPrimitiveType>(
        &self,
        args: &Args<'_>,
        active: &Active,
        f: impl Fn(usize) -> Value<T::Native>,
    ) -> Result<Operand, RowError> {
        let (values, nulls, constant) = collect(&args.borrowed(), active, f)?;
        let array = PrimitiveArray::<T>::new(values.into(), nulls).with_data_type(self.ty.clone());
        let array = Arc::new(array);
        Ok(Operand { array, constant })
    }
}

#[cfg(test)]
mod tests;
