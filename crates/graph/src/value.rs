//! Constants as the planner sees them: typed by the expression that holds them.

use crate::TypeKind;
use lw_stdx::calendar::civil_from_days;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A literal. Its exact type stands in [`crate::Expr::Literal`]; the variant is how it is held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Value {
    Null,
    Boolean(bool),
    /// TINYINT to BIGINT.
    Integer(i64),
    /// Unscaled digits; the type has the scale.
    Decimal(i128),
    /// FLOAT and DOUBLE.
    Double(f64),
    String(String),
    Bytes(Vec<u8>),
    /// Days since 1970-01-01.
    Date(i32),
    /// Nanoseconds of the day.
    Time(i64),
    /// Nanoseconds since 1970-01-01 00:00:00, TIMESTAMP and TIMESTAMP_LTZ.
    Timestamp(i128),
    IntervalMonths(i32),
    IntervalMillis(i64),
}

impl Value {
    /// As a script writes a literal of this type: a DECIMAL with its point, a time with its digits.
    pub(crate) fn write(&self, f: &mut fmt::Formatter<'_>, kind: &TypeKind) -> fmt::Result {
        match (self, kind) {
            (Value::Decimal(v), TypeKind::Decimal { scale, .. }) if *scale > 0 => {
                let unit = 10u128.pow(u32::from(*scale));
                let sign = if *v < 0 { "-" } else { "" };
                let (whole, part) = (v.unsigned_abs() / unit, v.unsigned_abs() % unit);
                write!(
                    f,
                    "{sign}{whole}.{part:0width$}",
                    width = usize::from(*scale)
                )
            }
            (Value::Date(days), _) => {
                f.write_str("DATE '")?;
                write_date(f, i64::from(*days))?;
                f.write_str("'")
            }
            (Value::Time(nanos), TypeKind::Time(digits)) => {
                f.write_str("TIME '")?;
                write_time(f, *nanos, *digits)?;
                f.write_str("'")
            }
            (
                Value::Timestamp(nanos),
                TypeKind::Timestamp(digits) | TypeKind::TimestampLtz(digits),
            ) => {
                let (days, nanos) = (nanos.div_euclid(DAY), nanos.rem_euclid(DAY));
                f.write_str("TIMESTAMP '")?;
                write_date(f, days as i64)?;
                f.write_str(" ")?;
                write_time(f, nanos as i64, *digits)?;
                f.write_str("'")
            }
            _ => write!(f, "{self}"),
        }
    }
}

/// Nanoseconds.
const DAY: i128 = 86_400_000_000_000;

fn write_date(f: &mut fmt::Formatter<'_>, days: i64) -> fmt::Result {
    let (year, month, day) = civil_from_days(days);
    write!(f, "{year:04}-{month:02}-{day:02}")
}

fn write_time(f: &mut fmt::Formatter<'_>, nanos: i64, digits: u8) -> fmt::Result {
    let seconds = nanos / 1_000_000_000;
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    write!(f, "{hour:02}:{minute:02}:{second:02}")?;
    if digits == 0 {
        return Ok(());
    }
    let fraction = nanos % 1_000_000_000 / 10i64.pow(9 - u32::from(digits.min(9)));
    write!(f, ".{fraction:0width$}", width = usize::from(digits))
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("NULL"),
            Value::Boolean(v) => f.write_str(if *v { "TRUE" } else { "FALSE" }),
            Value::Integer(v) => write!(f, "{v}"),
            Value::Decimal(v) => write!(f, "{v}"),
            Value::Double(v) => write!(f, "{v:e}"),
            Value::String(v) => write!(f, "'{}'", v.replace('\'', "''")),
            Value::Bytes(v) => {
                f.write_str("X'")?;
                v.iter().try_for_each(|byte| write!(f, "{byte:02X}"))?;
                f.write_str("'")
            }
            Value::Date(v) => write!(f, "DATE {v}"),
            Value::Time(v) => write!(f, "TIME {v}"),
            Value::Timestamp(v) => write!(f, "TIMESTAMP {v}"),
            Value::IntervalMonths(v) => write!(f, "{v} MONTH"),
            Value::IntervalMillis(v) => write!(f, "{v} ms"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Expr;

    #[test]
    fn literals_print_as_a_script_writes_them() {
        let decimal = TypeKind::Decimal {
            precision: 3,
            scale: 2,
        };
        for (value, kind, expected) in [
            (Value::Decimal(-5), decimal.clone(), "-0.05"),
            (Value::Decimal(150), decimal, "1.50"),
            (Value::Date(20_535), TypeKind::Date, "DATE '2026-03-23'"),
            (Value::Date(-1), TypeKind::Date, "DATE '1969-12-31'"),
            (
                Value::Timestamp(-1_000_000),
                TypeKind::Timestamp(3),
                "TIMESTAMP '1969-12-31 23:59:59.999'",
            ),
            (
                Value::Timestamp(0),
                TypeKind::Timestamp(0),
                "TIMESTAMP '1970-01-01 00:00:00'",
            ),
            (
                Value::Time(36_672_500_000_000),
                TypeKind::Time(1),
                "TIME '10:11:12.5'",
            ),
            (
                Value::String("it's".to_string()),
                TypeKind::string(),
                "'it''s'",
            ),
        ] {
            let ty = kind.not_null();
            assert_eq!(Expr::Literal { value, ty }.to_string(), expected);
        }
    }
}
