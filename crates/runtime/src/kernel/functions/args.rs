//! The arguments of a call: typed columns that are asked about one row at a time.

use super::members::Members;
use super::patterns::Patterns;
use super::{Value, json, time};
use crate::kernel::operand::{Fault, Operand};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, DurationMillisecondType, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, IntervalYearMonthType, Time64MicrosecondType,
    TimestampMicrosecondType,
};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, ListArray, MapArray, PrimitiveArray, StringArray,
};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;
use lw_graph::TypeKind;
use std::cell::{OnceCell, RefCell};
use std::rc::Rc;

/// The arguments of a call, typed, for one row at a time.
pub(in super::super) struct Args<'a> {
    pub(super) operands: &'a [Operand],
    kinds: &'a [TypeKind],
    pub(super) patterns: &'a Patterns,
    /// Those that write JSON, when they are asked for.
    json: OnceCell<Vec<OnceCell<json::Writer<'a>>>>,
    /// What ARRAYs and MAPs hold, when it is asked for.
    pub(super) members: OnceCell<Members>,
    pub(super) columns: Vec<Column<'a>>,
    nulls: Vec<Option<NullBuffer>>,
    /// The last pattern of dates that was read, which mostly is the only one.
    pattern: RefCell<Option<(String, Rc<time::Pattern>)>>,
}

pub(super) enum Column<'a> {
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
    Months(&'a PrimitiveArray<IntervalYearMonthType>),
    Millis(&'a PrimitiveArray<DurationMillisecondType>),
    Boolean(&'a BooleanArray),
    List(&'a ListArray),
    Map(&'a MapArray),
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
            DataType::Interval(_) => Column::Months(array.as_primitive()),
            DataType::Duration(_) => Column::Millis(array.as_primitive()),
            DataType::Boolean => Column::Boolean(array.as_boolean()),
            DataType::List(_) => Column::List(array.as_list()),
            DataType::Map(..) => Column::Map(array.as_map()),
            _ => Column::Other,
        }
    }
}

impl<'a> Args<'a> {
    pub(super) fn new(
        operands: &'a [Operand],
        kinds: &'a [TypeKind],
        patterns: &'a Patterns,
    ) -> Args<'a> {
        let nulls = operands.iter().map(|o| o.array.logical_nulls());
        Args {
            operands,
            kinds,
            patterns,
            json: OnceCell::new(),
            members: OnceCell::new(),
            columns: operands.iter().map(|o| Column::new(&o.array)).collect(),
            nulls: nulls.collect(),
            pattern: RefCell::new(None),
        }
    }

    pub(super) fn borrowed(&self) -> Vec<&'a Operand> {
        self.operands.iter().collect()
    }

    /// Writes the value as JSON.
    pub(super) fn write_json(&self, arg: usize, row: usize, out: &mut String) -> Result<(), Fault> {
        let writers = self
            .json
            .get_or_init(|| (0..self.len()).map(|_| OnceCell::new()).collect());
        let writer =
            writers[arg].get_or_init(|| json::writer(&self.kinds[arg], &self.operands[arg].array));
        writer(self.at(arg, row), out)
    }

    /// How many were given.
    pub(super) fn len(&self) -> usize {
        self.operands.len()
    }

    #[inline]
    pub(super) fn at(&self, arg: usize, row: usize) -> usize {
        self.operands[arg].at(row)
    }

    pub(super) fn kind(&self, arg: usize) -> &'a TypeKind {
        &self.kinds[arg]
    }

    pub(super) fn is_null(&self, arg: usize, row: usize) -> bool {
        let nulls = self.nulls[arg].as_ref();
        nulls.is_some_and(|nulls| nulls.is_null(self.at(arg, row)))
    }

    pub(super) fn any_null(&self, row: usize) -> bool {
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

    pub(super) fn boolean(&self, arg: usize, row: usize) -> bool {
        match self.columns[arg] {
            Column::Boolean(array) => array.value(self.at(arg, row)),
            _ => unreachable!("the function's row says that argument {arg} is BOOLEAN"),
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

    /// An interval, if the argument is one.
    pub(super) fn interval(&self, arg: usize, row: usize) -> Option<time::Interval> {
        let at = self.at(arg, row);
        match self.columns[arg] {
            Column::Months(array) => Some(time::Interval::Months(array.value(at))),
            Column::Millis(array) => Some(time::Interval::Millis(array.value(at))),
            _ => None,
        }
    }

    pub(super) fn is_time_of_day(&self, arg: usize) -> bool {
        matches!(self.columns[arg], Column::Time(_))
    }

    /// Microseconds of a timestamp.
    pub(super) fn micros(&self, arg: usize, row: usize) -> i64 {
        match self.columns[arg] {
            Column::Timestamp(array) => array.value(self.at(arg, row)),
            _ => unreachable!("the function's row says that argument {arg} is a timestamp"),
        }
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
