//! Constants as arrays of one value.

use super::KernelError;
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DurationMillisecondArray,
    Float32Array, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array,
    IntervalYearMonthArray, StringArray, Time64MicrosecondArray, TimestampMicrosecondArray,
    new_null_array,
};
use lw_formats::arrow_type;
use lw_formats::text::cut;
use lw_graph::{LogicalType, TypeKind, Value};
use std::sync::Arc;

/// One value of this type.
///
/// # Errors
/// When the value is not one of the type, or out of the range that columns carry.
pub(super) fn array(value: &Value, ty: &LogicalType) -> Result<ArrayRef, KernelError> {
    let mismatch = || KernelError::new(format!("the literal {value} is not a value of {ty}"));
    let fits = |fits: Option<i64>| fits.ok_or_else(mismatch);
    Ok(match (value, &ty.kind) {
        (Value::Null, _) => new_null_array(&arrow_type(ty), 1),
        (Value::Boolean(v), TypeKind::Boolean) => Arc::new(BooleanArray::from(vec![*v])),
        (Value::Integer(v), TypeKind::TinyInt) => Arc::new(Int8Array::from(vec![
            narrow::<i8>(*v).ok_or_else(mismatch)?,
        ])),
        (Value::Integer(v), TypeKind::SmallInt) => Arc::new(Int16Array::from(vec![
            narrow::<i16>(*v).ok_or_else(mismatch)?,
        ])),
        (Value::Integer(v), TypeKind::Int) => Arc::new(Int32Array::from(vec![
            narrow::<i32>(*v).ok_or_else(mismatch)?,
        ])),
        (Value::Integer(v), TypeKind::BigInt) => Arc::new(Int64Array::from(vec![*v])),
        (Value::Decimal(v), TypeKind::Decimal { .. }) => {
            Arc::new(Decimal128Array::from(vec![*v]).with_data_type(arrow_type(ty)))
        }
        #[expect(clippy::cast_possible_truncation, reason = "the type says FLOAT")]
        (Value::Double(v), TypeKind::Float) => Arc::new(Float32Array::from(vec![*v as f32])),
        (Value::Double(v), TypeKind::Double) => Arc::new(Float64Array::from(vec![*v])),
        (Value::String(v), kind) if kind.is_character() => {
            Arc::new(StringArray::from(vec![v.as_str()]))
        }
        (Value::Bytes(v), kind) if kind.is_binary() => {
            Arc::new(BinaryArray::from(vec![v.as_slice()]))
        }
        (Value::Date(v), TypeKind::Date) => Arc::new(Date32Array::from(vec![*v])),
        (Value::Time(v), TypeKind::Time(p)) => Arc::new(Time64MicrosecondArray::from(vec![cut(
            v.div_euclid(1000),
            *p,
        )])),
        (Value::Timestamp(v), TypeKind::Timestamp(p) | TypeKind::TimestampLtz(p)) => {
            let micros = fits(i64::try_from(v.div_euclid(1000)).ok())?;
            let array = TimestampMicrosecondArray::from(vec![cut(micros, *p)]);
            Arc::new(array.with_data_type(arrow_type(ty)))
        }
        (Value::IntervalMonths(v), TypeKind::IntervalMonths) => {
            Arc::new(IntervalYearMonthArray::from_iter_values([*v]))
        }
        (Value::IntervalMillis(v), TypeKind::IntervalMillis) => {
            Arc::new(DurationMillisecondArray::from_iter_values([*v]))
        }
        _ => return Err(mismatch()),
    })
}

fn narrow<T: TryFrom<i64>>(value: i64) -> Option<T> {
    T::try_from(value).ok()
}
