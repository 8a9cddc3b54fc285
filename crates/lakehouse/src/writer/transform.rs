//! Iceberg's partition transforms over Arrow columns, and their values as text.
//!
//! `bucket`, and `truncate` of text and bytes are the library's. Its `day` is a day late for moments before 1970 that are
//! less than a second before midnight, and its numbers overflow where Java's wrap; so times and numbers are computed
//! here, all by flooring division.

use crate::error::{CatalogError, Kind};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, Int32Array, new_null_array};
use arrow_schema::{DataType, TimeUnit};
use iceberg::spec::{Literal, PrimitiveLiteral, PrimitiveType, Transform, Type};
use iceberg::transform::create_transform_function;
use lw_stdx::calendar::civil_from_days;
use std::sync::Arc;

const MICROS_OF_HOUR: i64 = 3_600_000_000;
const MICROS_OF_DAY: i64 = 24 * MICROS_OF_HOUR;
const EPOCH_YEAR: i64 = 1970;

/// The values of a partition field.
///
/// # Errors
/// When the column has a type that the transform is not of, which the spec should have said.
pub(super) fn apply(transform: &Transform, column: ArrayRef) -> Result<ArrayRef, CatalogError> {
    match transform {
        Transform::Identity => Ok(column),
        Transform::Void => Ok(new_null_array(column.data_type(), column.len())),
        Transform::Truncate(width) => truncated(*width, column),
        Transform::Year => Ok(Arc::new(by_day(&column, transform, |day| {
            civil_from_days(day).0 - EPOCH_YEAR
        })?)),
        Transform::Month => Ok(Arc::new(by_day(&column, transform, |day| {
            let (year, month, _) = civil_from_days(day);
            (year - EPOCH_YEAR) * 12 + i64::from(month) - 1
        })?)),
        Transform::Day => {
            let days: Int32Array = by_day(&column, transform, |day| day)?;
            Ok(Arc::new(days.reinterpret_cast::<Date32Type>()))
        }
        Transform::Hour => match column.data_type() {
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                let micros = column.as_primitive::<TimestampMicrosecondType>();
                let hours = micros
                    .unary::<_, Int32Type>(|micros| narrow(micros.div_euclid(MICROS_OF_HOUR)));
                Ok(Arc::new(hours))
            }
            other => Err(no_such(transform, other)),
        },
        Transform::Bucket(_) | Transform::Unknown => library(transform, column),
    }
}

fn library(transform: &Transform, column: ArrayRef) -> Result<ArrayRef, CatalogError> {
    Ok(create_transform_function(transform)?.transform(column)?)
}

fn no_such(transform: &Transform, ty: &DataType) -> CatalogError {
    CatalogError::new(
        Kind::Internal,
        format!("a column of type {ty} has no {transform}"),
    )
}

/// Something of the day that a date or a moment is on.
fn by_day(
    column: &ArrayRef,
    transform: &Transform,
    of: impl Fn(i64) -> i64,
) -> Result<Int32Array, CatalogError> {
    match column.data_type() {
        DataType::Date32 => {
            let days = column.as_primitive::<Date32Type>();
            Ok(days.unary(|day| narrow(of(i64::from(day)))))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let micros = column.as_primitive::<TimestampMicrosecondType>();
            Ok(micros.unary(|micros| narrow(of(micros.div_euclid(MICROS_OF_DAY)))))
        }
        other => Err(no_such(transform, other)),
    }
}

/// As Java makes an `int` of a `long`: hours of moments that are 240,000 years away wrap.
fn narrow(value: i64) -> i32 {
    value as i32
}

fn truncated(width: u32, column: ArrayRef) -> Result<ArrayRef, CatalogError> {
    let (long, wide) = (i64::from(width), i128::from(width));
    Ok(match column.data_type() {
        DataType::Int32 => {
            let values = column.as_primitive::<Int32Type>();
            Arc::new(values.unary::<_, Int32Type>(|value| {
                let value = i64::from(value);
                narrow(value - value.rem_euclid(long))
            }))
        }
        DataType::Int64 => {
            let values = column.as_primitive::<Int64Type>();
            Arc::new(
                values.unary::<_, Int64Type>(|value| value.wrapping_sub(value.rem_euclid(long))),
            )
        }
        DataType::Decimal128(..) => {
            let values = column.as_primitive::<Decimal128Type>();
            let truncated = values
                .unary::<_, Decimal128Type>(|value| value.wrapping_sub(value.rem_euclid(wide)));
            Arc::new(truncated.with_data_type(column.data_type().clone()))
        }
        _ => library(&Transform::Truncate(width), column)?,
    })
}

/// A value as the folder of its partition is called.
pub(super) fn text(transform: &Transform, ty: &Type, value: &Literal) -> String {
    let (Type::Primitive(ty), Literal::Primitive(value)) = (ty, value) else {
        return String::new();
    };
    match (transform, value) {
        (Transform::Year, PrimitiveLiteral::Int(years)) => {
            (EPOCH_YEAR + i64::from(*years)).to_string()
        }
        (Transform::Month, PrimitiveLiteral::Int(months)) => {
            let months = i64::from(*months);
            let year = EPOCH_YEAR + months.div_euclid(12);
            format!("{year:04}-{:02}", months.rem_euclid(12) + 1)
        }
        (Transform::Hour, PrimitiveLiteral::Int(hours)) => {
            let hours = i64::from(*hours);
            format!("{}-{:02}", date(hours.div_euclid(24)), hours.rem_euclid(24))
        }
        _ => primitive(ty, value),
    }
}

fn primitive(ty: &PrimitiveType, value: &PrimitiveLiteral) -> String {
    match (ty, value) {
        (PrimitiveType::Date, PrimitiveLiteral::Int(days)) => date(i64::from(*days)),
        (PrimitiveType::Time, PrimitiveLiteral::Long(micros)) => clock(*micros),
        (PrimitiveType::Timestamp, PrimitiveLiteral::Long(micros)) => moment(*micros),
        (PrimitiveType::Timestamptz, PrimitiveLiteral::Long(micros)) => {
            format!("{}+00:00", moment(*micros))
        }
        (PrimitiveType::Decimal { scale, .. }, PrimitiveLiteral::Int128(unscaled)) => {
            decimal(*unscaled, *scale as usize)
        }
        (PrimitiveType::Uuid, PrimitiveLiteral::UInt128(uuid)) => {
            uuid::Uuid::from_u128(*uuid).to_string()
        }
        (_, PrimitiveLiteral::Boolean(value)) => value.to_string(),
        (_, PrimitiveLiteral::Int(value)) => value.to_string(),
        (_, PrimitiveLiteral::Long(value)) => value.to_string(),
        (_, PrimitiveLiteral::Float(value)) => value.to_string(),
        (_, PrimitiveLiteral::Double(value)) => value.to_string(),
        (_, PrimitiveLiteral::String(value)) => value.clone(),
        (_, PrimitiveLiteral::Binary(bytes)) => {
            bytes.iter().map(|byte| format!("{byte:02x}")).collect()
        }
        (_, PrimitiveLiteral::Int128(value)) => value.to_string(),
        (_, PrimitiveLiteral::UInt128(value)) => value.to_string(),
        (_, PrimitiveLiteral::AboveMax | PrimitiveLiteral::BelowMin) => String::new(),
    }
}

fn date(days: i64) -> String {
    let (year, month, day) = civil_from_days(days);
    format!("{year:04}-{month:02}-{day:02}")
}

fn clock(micros: i64) -> String {
    let (seconds, fraction) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let whole = format!("{hours:02}:{minutes:02}:{seconds:02}");
    match fraction {
        0 => whole,
        fraction => format!("{whole}.{fraction:06}"),
    }
}

fn moment(micros: i64) -> String {
    let day = date(micros.div_euclid(MICROS_OF_DAY));
    format!("{day}T{}", clock(micros.rem_euclid(MICROS_OF_DAY)))
}

fn decimal(unscaled: i128, scale: usize) -> String {
    let sign = if unscaled < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    match fraction {
        "" => format!("{sign}{whole}"),
        fraction => format!("{sign}{whole}.{fraction}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{
        Date32Array, Decimal128Array, Int64Array, StringArray, TimestampMicrosecondArray,
    };

    fn check(transform: Transform, column: impl Array + 'static, expected: &str) {
        let column: ArrayRef = Arc::new(column);
        let values = apply(&transform, column).expect("a column of the transform's type");
        let shown: Vec<String> = (0..values.len())
            .map(|row| {
                arrow_cast::display::array_value_to_string(&values, row).expect("a value has text")
            })
            .collect();
        assert_eq!(shown.join(" "), expected, "{transform}");
    }

    #[test]
    fn times_are_floored_before_1970_too() {
        let day = MICROS_OF_DAY;
        let moments = || {
            TimestampMicrosecondArray::from(vec![
                Some(0),
                Some(-1),
                Some(-day),
                Some(-day - 1),
                Some(-2 * day - 500_000),
                Some(day - 1),
                None,
            ])
        };
        check(Transform::Year, moments(), "0 -1 -1 -1 -1 0 ");
        check(Transform::Month, moments(), "0 -1 -1 -1 -1 0 ");
        check(
            Transform::Day,
            moments(),
            "1970-01-01 1969-12-31 1969-12-31 1969-12-30 1969-12-29 1970-01-01 ",
        );
        check(Transform::Hour, moments(), "0 -1 -24 -25 -49 23 ");
        let dates = Date32Array::from(vec![Some(-1), Some(-365), Some(-366), Some(31), None]);
        check(Transform::Month, dates, "-1 -12 -13 1 ");
    }

    #[test]
    fn numbers_are_floored_and_wrap_as_javas() {
        let ints = Int32Array::from(vec![Some(9), Some(-1), Some(-10), Some(i32::MIN), None]);
        check(Transform::Truncate(10), ints, "0 -10 -10 2147483646 ");
        let longs = Int64Array::from(vec![Some(-1), Some(i64::MIN)]);
        check(Transform::Truncate(10), longs, "-10 9223372036854775806");
        let decimals = Decimal128Array::from(vec![Some(1065), Some(-1065), None])
            .with_precision_and_scale(9, 2)
            .expect("they fit");
        check(Transform::Truncate(50), decimals, "10.50 -11.00 ");
        let texts = StringArray::from(vec![Some("aéß𝄞z"), Some(""), None]);
        check(Transform::Truncate(4), texts, "aéß𝄞  ");
    }

    /// The specification's appendix B.
    #[test]
    fn buckets_are_the_specifications() {
        let bucket = |hash: i32| (hash & i32::MAX) % 1000;
        let check_one = |column: ArrayRef, hash: i32| {
            let values = apply(&Transform::Bucket(1000), column).expect("a column with buckets");
            assert_eq!(values.as_primitive::<Int32Type>().value(0), bucket(hash));
        };
        check_one(Arc::new(Int32Array::from(vec![34])), 2_017_239_379);
        check_one(Arc::new(Int64Array::from(vec![34])), 2_017_239_379);
        check_one(Arc::new(StringArray::from(vec!["iceberg"])), 1_210_000_089);
        let decimal = Decimal128Array::from(vec![1420]).with_precision_and_scale(9, 2);
        check_one(Arc::new(decimal.expect("it fits")), -500_754_589);
    }

    #[test]
    fn values_are_written_as_people_read_them() {
        let int = |value| Literal::int(value);
        let of = |ty| Type::Primitive(ty);
        let cases = [
            (Transform::Year, PrimitiveType::Int, int(-1), "1969"),
            (Transform::Month, PrimitiveType::Int, int(-1), "1969-12"),
            (
                Transform::Hour,
                PrimitiveType::Int,
                int(-1),
                "1969-12-31-23",
            ),
            (Transform::Day, PrimitiveType::Date, int(-1), "1969-12-31"),
            (Transform::Bucket(4), PrimitiveType::Int, int(3), "3"),
            (
                Transform::Identity,
                PrimitiveType::Timestamptz,
                Literal::long(-500_000),
                "1969-12-31T23:59:59.500000+00:00",
            ),
            (
                Transform::Identity,
                PrimitiveType::Decimal {
                    precision: 38,
                    scale: 2,
                },
                Literal::decimal(-5),
                "-0.05",
            ),
        ];
        for (transform, ty, value, expected) in cases {
            assert_eq!(text(&transform, &of(ty), &value), expected);
        }
    }
}
