//! Values as they are hashed: the same in whatever width their column is in a file, in the table, or in a query's answer.
//!
//! Frozen, since the hashes stand in tables: a letter for the kind, the length in four bytes, the value. Whole numbers are eight bytes,
//! decimals sixteen and their scale, days four, little endian; texts are their bytes.

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Decimal128Type, Int64Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Date32Array, Decimal128Array, Int64Array, StringArray,
};
use arrow_cast::cast;
use arrow_schema::DataType;
use iceberg::spec::{PrimitiveType, Type};
use lw_stdx::calendar::parse_utc;

const MILLIS_OF_DAY: i64 = 24 * 60 * 60 * 1000;

/// A column of a batch.
pub(super) enum Values {
    Boolean(BooleanArray),
    Whole(Int64Array),
    Day(Date32Array),
    Decimal(Decimal128Array),
    Text(StringArray),
}

impl Values {
    /// # Errors
    /// When it is of a type that is no key, in words.
    pub(super) fn of(column: &ArrayRef) -> Result<Values, String> {
        use DataType as T;
        let as_type = |ty: &T| cast(column, ty).map_err(|error| error.to_string());
        Ok(match column.data_type() {
            T::Boolean => Values::Boolean(column.as_boolean().clone()),
            T::Int8 | T::Int16 | T::Int32 | T::Int64 => {
                Values::Whole(as_type(&T::Int64)?.as_primitive::<Int64Type>().clone())
            }
            T::Date32 => Values::Day(column.as_primitive::<Date32Type>().clone()),
            T::Decimal128(..) => Values::Decimal(column.as_primitive::<Decimal128Type>().clone()),
            T::Utf8 | T::LargeUtf8 | T::Utf8View => {
                Values::Text(as_type(&T::Utf8)?.as_string::<i32>().clone())
            }
            other => return Err(format!("{other} is not the type of a key")),
        })
    }

    /// Adds a row's value; `false`: it is NULL, which equals nothing.
    pub(super) fn put(&self, row: usize, out: &mut Vec<u8>) -> bool {
        let is_null = match self {
            Values::Boolean(values) => values.is_null(row),
            Values::Whole(values) => values.is_null(row),
            Values::Day(values) => values.is_null(row),
            Values::Decimal(values) => values.is_null(row),
            Values::Text(values) => values.is_null(row),
        };
        if is_null {
            return false;
        }
        match self {
            Values::Boolean(values) => put(out, b'b', &[u8::from(values.value(row))]),
            Values::Whole(values) => put(out, b'i', &values.value(row).to_le_bytes()),
            Values::Day(values) => put(out, b'd', &values.value(row).to_le_bytes()),
            Values::Decimal(values) => put_decimal(out, values.value(row), values.scale()),
            Values::Text(values) => put(out, b's', values.value(row).as_bytes()),
        }
        true
    }
}

fn put(out: &mut Vec<u8>, kind: u8, value: &[u8]) {
    let length = u32::try_from(value.len()).expect("a value has less than 4 GiB");
    out.push(kind);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(value);
}

fn put_decimal(out: &mut Vec<u8>, unscaled: i128, scale: i8) {
    let mut value = unscaled.to_le_bytes().to_vec();
    value.extend_from_slice(&scale.to_le_bytes());
    put(out, b'm', &value);
}

/// How a literal is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    Number,
    Text,
    Boolean,
    Date,
}

/// A literal as a value of a column.
///
/// # Errors
/// How values of that column are written.
pub(super) fn literal(written: Written, text: &str, ty: &Type) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let Type::Primitive(ty) = ty else {
        return Err("is a list, a map or a struct, which are no keys".to_owned());
    };
    let is_it = match (ty, written) {
        (PrimitiveType::Boolean, Written::Boolean) => {
            let value = u8::from(text.eq_ignore_ascii_case("true"));
            put(&mut out, b'b', &[value]);
            true
        }
        (PrimitiveType::Int | PrimitiveType::Long, Written::Number) => {
            let value = text.parse::<i64>();
            value.is_ok_and(|value| {
                put(&mut out, b'i', &value.to_le_bytes());
                true
            })
        }
        (PrimitiveType::Decimal { scale, .. }, Written::Number) => unscaled(text, *scale)
            .zip(i8::try_from(*scale).ok())
            .is_some_and(|(value, scale)| {
                put_decimal(&mut out, value, scale);
                true
            }),
        (PrimitiveType::Date, Written::Date | Written::Text) => {
            let millis = parse_utc(text).filter(|_| !text.contains('T'));
            let day = millis.and_then(|millis| i32::try_from(millis / MILLIS_OF_DAY).ok());
            day.is_some_and(|day| {
                put(&mut out, b'd', &day.to_le_bytes());
                true
            })
        }
        (PrimitiveType::String, Written::Text) => {
            put(&mut out, b's', text.as_bytes());
            true
        }
        (
            PrimitiveType::Boolean
            | PrimitiveType::Int
            | PrimitiveType::Long
            | PrimitiveType::Decimal { .. }
            | PrimitiveType::Date
            | PrimitiveType::String,
            _,
        ) => false,
        (other, _) => return Err(format!("is of type {other}, which is not that of a key")),
    };
    let example = match ty {
        PrimitiveType::Boolean => "TRUE",
        PrimitiveType::Int | PrimitiveType::Long => "7",
        PrimitiveType::Decimal { .. } => "7.50",
        PrimitiveType::Date => "DATE '2026-01-31'",
        _ => "'text'",
    };
    match is_it {
        true => Ok(out),
        false => Err(format!(
            "is of type {ty}: its values are written as {example}"
        )),
    }
}

/// The digits of a number, in this scale; `None` where it has more of them, or is none.
fn unscaled(text: &str, scale: u32) -> Option<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = fraction.bytes().all(|byte| byte.is_ascii_digit());
    let missing = usize::try_from(scale).ok()?.checked_sub(fraction.len())?;
    let digits = format!("{whole}{fraction}{}", "0".repeat(missing));
    digits.parse().ok().filter(|_| is_number)
}
