//! Constants as the planner sees them: typed by the expression that holds them.

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
