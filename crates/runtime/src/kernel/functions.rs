//! Functions that are no more than a value out of values: their kernels, by the names of `lw_graph`'s registry.
//!
//! A kernel is a line or a few: it computes one row into a buffer that all rows share, or whole columns at once where Arrow can. The
//! loop around it, NULL in and NULL out, and which rows may fail are here. The planner has brought the arguments to the types that
//! the function's row says, so a kernel asks for them without looking.

mod collection;
mod conditional;
mod hash;
mod numbers;
mod text;
mod time;

use super::KernelError;
use super::operand::{Active, Fault, Operand, RowError};
use super::rows::{collect, shape};
use arrow_array::builder::{BinaryBuilder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, Time64MicrosecondType, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, BinaryArray, BooleanArray, PrimitiveArray, StringArray};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;
use lw_formats::arrow_type;
use lw_graph::{Function, LogicalType, TypeKind};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

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
    /// Whole columns.
    Columns(fn(&[Operand], &Active) -> Result<Operand, RowError>),
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
            Kernel::Columns(_) => true,
        }
    }
}

/// All of them.
pub(super) fn registered() -> impl Iterator<Item = &'static Registered> {
    [
        conditional::KERNELS,
        numbers::KERNELS,
        text::KERNELS,
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
}

impl Scalar {
    /// # Errors
    /// [`KernelError`] when there is no kernel of this name.
    pub(super) fn new(function: Function, ty: &LogicalType) -> Result<Scalar, KernelError> {
        let found = registered().find(|r| r.name == function.key() && r.gives(&ty.kind));
        let registered = found
            .ok_or_else(|| KernelError::new(format!("the function {function} has no kernel")))?;
        Ok(Scalar {
            registered,
            kind: ty.kind.clone(),
            ty: arrow_type(ty),
        })
    }

    /// # Errors
    /// [`RowError`] for the first active row that has no value.
    pub(super) fn run(&self, operands: &[Operand], active: &Active) -> Result<Operand, RowError> {
        let args = Args::new(operands);
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
            Kernel::Columns(f) => f(operands, active),
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

/// The arguments of a call, typed, for one row at a time.
pub(super) struct Args<'a> {
    operands: &'a [Operand],
    columns: Vec<Column<'a>>,
    nulls: Vec<Option<NullBuffer>>,
    /// The last pattern of dates that was read, which mostly is the only one.
    pattern: RefCell<Option<(String, Rc<time::Pattern>)>>,
}

enum Column<'a> {
    Text(&'a StringArray),
    Bytes(&'a BinaryArray),
    I8(&'a PrimitiveArray<Int8Type>),
    I16(&'a PrimitiveArray<Int16Type>),
    I32(&'a PrimitiveArray<Int32Type>),
    I64(&'a PrimitiveArray<Int64Type>),
    F32(&'a PrimitiveArray<Float32Type>),
    F64(&'a PrimitiveArray<Float64Type>),
    Decimal(&'a PrimitiveArray<Decimal128Type>, u8),
    Date(&'a PrimitiveArray<Date32Type>),
    Time(&'a PrimitiveArray<Time64MicrosecondType>),
    Timestamp(&'a PrimitiveArray<TimestampMicrosecondType>),
    Other,
}

impl<'a> Column<'a> {
    fn new(array: &'a ArrayRef) -> Column<'a> {
        match array.data_type() {
            DataType::Utf8 => Column::Text(array.as_string()),
            DataType::Binary => Column::Bytes(array.as_binary()),
            DataType::Int8 => Column::I8(array.as_primitive()),
            DataType::Int16 => Column::I16(array.as_primitive()),
            DataType::Int32 => Column::I32(array.as_primitive()),
            DataType::Int64 => Column::I64(array.as_primitive()),
            DataType::Float32 => Column::F32(array.as_primitive()),
            DataType::Float64 => Column::F64(array.as_primitive()),
            DataType::Decimal128(_, scale) => {
                let scale = u8::try_from(*scale).expect("DECIMAL has no negative scale");
                Column::Decimal(array.as_primitive(), scale)
            }
            DataType::Date32 => Column::Date(array.as_primitive()),
            DataType::Time64(_) => Column::Time(array.as_primitive()),
            DataType::Timestamp(..) => Column::Timestamp(array.as_primitive()),
            _ => Column::Other,
        }
    }
}

impl<'a> Args<'a> {
    fn new(operands: &'a [Operand]) -> Args<'a> {
        let nulls = operands.iter().map(|o| o.array.logical_nulls());
        Args {
            operands,
            columns: operands.iter().map(|o| Column::new(&o.array)).collect(),
            nulls: nulls.collect(),
            pattern: RefCell::new(None),
        }
    }

    fn borrowed(&self) -> Vec<&'a Operand> {
        self.operands.iter().collect()
    }

    /// How many were given.
    pub(super) fn len(&self) -> usize {
        self.operands.len()
    }

    #[inline]
    fn at(&self, arg: usize, row: usize) -> usize {
        self.operands[arg].at(row)
    }

    pub(super) fn is_null(&self, arg: usize, row: usize) -> bool {
        let nulls = self.nulls[arg].as_ref();
        nulls.is_some_and(|nulls| nulls.is_null(self.at(arg, row)))
    }

    fn any_null(&self, row: usize) -> bool {
        (0..self.len()).any(|arg| self.is_null(arg, row))
    }

    /// Whether the argument is text.
    pub(super) fn is_text(&self, arg: usize) -> bool {
        matches!(self.columns[arg], Column::Text(_))
    }

    pub(super) fn text(&self, arg: usize, row: usize) -> &'a str {
        match self.columns[arg] {
            Column::Text(array) => array.value(self.at(arg, row)),
            _ => unreachable!("the function's row says that argument {arg} is text"),
        }
    }

    /// The bytes of BYTES, or of text.
    pub(super) fn bytes(&self, arg: usize, row: usize) -> &'a [u8] {
        match self.columns[arg] {
            Column::Bytes(array) => array.value(self.at(arg, row)),
            Column::Text(array) => array.value(self.at(arg, row)).as_bytes(),
            _ => unreachable!("the function's row says that argument {arg} is bytes or text"),
        }
    }

    /// A whole number of any size.
    pub(super) fn whole(&self, arg: usize, row: usize) -> i64 {
        let at = self.at(arg, row);
        match self.columns[arg] {
            Column::I8(array) => i64::from(array.value(at)),
            Column::I16(array) => i64::from(array.value(at)),
            Column::I32(array) => i64::from(array.value(at)),
            Column::I64(array) => array.value(at),
            _ => unreachable!("the function's row says that argument {arg} is a whole number"),
        }
    }

    /// FLOAT or DOUBLE.
    pub(super) fn double(&self, arg: usize, row: usize) -> f64 {
        let at = self.at(arg, row);
        match self.columns[arg] {
            Column::F32(array) => f64::from(array.value(at)),
            Column::F64(array) => array.value(at),
            _ => unreachable!("the function's row says that argument {arg} is FLOAT or DOUBLE"),
        }
    }

    /// A DECIMAL's digits and its scale.
    pub(super) fn decimal(&self, arg: usize, row: usize) -> (i128, u8) {
        match self.columns[arg] {
            Column::Decimal(array, scale) => (array.value(self.at(arg, row)), scale),
            _ => unreachable!("the function's row says that argument {arg} is DECIMAL"),
        }
    }

    pub(super) fn is_time_of_day(&self, arg: usize) -> bool {
        matches!(self.columns[arg], Column::Time(_))
    }

    /// A date's midnight, a time of the first day, or a timestamp.
    pub(super) fn moment(&self, arg: usize, row: usize) -> time::Moment {
        let at = self.at(arg, row);
        match self.columns[arg] {
            Column::Date(array) => time::Moment {
                days: i64::from(array.value(at)),
                micros: 0,
            },
            Column::Time(array) => time::Moment {
                days: 0,
                micros: array.value(at),
            },
            Column::Timestamp(array) => time::Moment::of_micros(array.value(at)),
            _ => unreachable!("the function's row says that argument {arg} is a date or a time"),
        }
    }

    /// The moment as a value of the argument's type: what a day, a time of day or a timestamp has of it.
    pub(super) fn raw(&self, arg: usize, moment: time::Moment) -> Value<i64> {
        let raw = match self.columns[arg] {
            Column::Date(_) => i32::try_from(moment.days).ok().map(i64::from),
            Column::Time(_) => Some(moment.micros),
            _ => moment.in_micros(),
        };
        raw.map(Some)
            .ok_or_else(|| Fault::out_of_range("the time is out of range"))
    }

    pub(super) fn pattern(&self, text: &str) -> Result<Rc<time::Pattern>, Fault> {
        let mut held = self.pattern.borrow_mut();
        match &*held {
            Some((known, pattern)) if known == text => Ok(pattern.clone()),
            _ => {
                let pattern = Rc::new(time::Pattern::new(text)?);
                *held = Some((text.to_string(), pattern.clone()));
                Ok(pattern)
            }
        }
    }
}

#[cfg(test)]
mod tests;
