//! Flink's logical types: what a column is, whether it may be NULL, and how its name prints.
//!
//! The text of a type is Flink's own (`TIMESTAMP(3)`, `DECIMAL(10, 2)`, `STRING`), because it appears in `DESCRIBE`, in
//! error messages and in scripts.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A kind of value and whether NULL is one of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LogicalType {
    pub kind: TypeKind,
    pub nullable: bool,
}

/// The kinds of values, after Flink's `LogicalTypeRoot`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TypeKind {
    /// The type of a bare `NULL` literal.
    Null,
    Boolean,
    TinyInt,
    SmallInt,
    Int,
    BigInt,
    Float,
    Double,
    /// 1 ≤ precision ≤ 38, 0 ≤ scale ≤ precision.
    Decimal {
        precision: u8,
        scale: u8,
    },
    /// Fixed length in characters.
    Char(u32),
    /// Greatest length in characters; [`TypeKind::STRING_LENGTH`] is `STRING`.
    Varchar(u32),
    /// Fixed length in bytes.
    Binary(u32),
    /// Greatest length in bytes; [`TypeKind::STRING_LENGTH`] is `BYTES`.
    Varbinary(u32),
    Date,
    /// Digits of a fraction of a second, 0 to 9.
    Time(u8),
    /// Without a zone; digits of a fraction of a second, 0 to 9.
    Timestamp(u8),
    /// An instant, shown in the session's zone; digits of a fraction of a second, 0 to 9.
    TimestampLtz(u8),
    /// A length of time in months (`INTERVAL YEAR TO MONTH`).
    IntervalMonths,
    /// A length of time in milliseconds (`INTERVAL DAY TO SECOND`).
    IntervalMillis,
    Array(Box<LogicalType>),
    Map(Box<LogicalType>, Box<LogicalType>),
    Row(Vec<Field>),
}

/// A named column or row member.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Field {
    pub name: String,
    pub ty: LogicalType,
}

/// The columns of a table or of an operator's output, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Schema {
    pub fields: Vec<Field>,
}

impl TypeKind {
    /// The length that `STRING` and `BYTES` stand for, `VARCHAR(2147483647)`.
    pub const STRING_LENGTH: u32 = 2_147_483_647;

    pub fn string() -> TypeKind {
        TypeKind::Varchar(Self::STRING_LENGTH)
    }

    pub fn bytes() -> TypeKind {
        TypeKind::Varbinary(Self::STRING_LENGTH)
    }

    pub fn nullable(self) -> LogicalType {
        LogicalType {
            kind: self,
            nullable: true,
        }
    }

    pub fn not_null(self) -> LogicalType {
        LogicalType {
            kind: self,
            nullable: false,
        }
    }

    pub fn is_integer(&self) -> bool {
        matches!(
            self,
            TypeKind::TinyInt | TypeKind::SmallInt | TypeKind::Int | TypeKind::BigInt
        )
    }

    pub fn is_approximate(&self) -> bool {
        matches!(self, TypeKind::Float | TypeKind::Double)
    }

    pub fn is_numeric(&self) -> bool {
        self.is_integer() || self.is_approximate() || matches!(self, TypeKind::Decimal { .. })
    }

    pub fn is_character(&self) -> bool {
        matches!(self, TypeKind::Char(_) | TypeKind::Varchar(_))
    }

    pub fn is_binary(&self) -> bool {
        matches!(self, TypeKind::Binary(_) | TypeKind::Varbinary(_))
    }

    pub fn is_timestamp(&self) -> bool {
        matches!(self, TypeKind::Timestamp(_) | TypeKind::TimestampLtz(_))
    }

    pub fn is_interval(&self) -> bool {
        matches!(self, TypeKind::IntervalMonths | TypeKind::IntervalMillis)
    }

    /// Whether `CAST` takes a value to the other type (Flink `LogicalTypeCasts`, explicit).
    pub fn casts_to(&self, to: &TypeKind) -> bool {
        let time = |kind: &TypeKind| {
            kind.is_timestamp() || matches!(kind, TypeKind::Date | TypeKind::Time(_))
        };
        match (self, to) {
            (a, b) if a == b => true,
            (TypeKind::Null, _) => true,
            (_, to) if to.is_character() => true,
            (from, to) if from.is_character() => {
                to.is_numeric() || to.is_binary() || time(to) || *to == TypeKind::Boolean
            }
            (from, to) if from.is_numeric() && to.is_numeric() => true,
            (TypeKind::Boolean, to) => to.is_numeric(),
            (from, TypeKind::Boolean) => from.is_numeric(),
            (from, to) if from.is_binary() && to.is_binary() => true,
            (from, to) if from.is_timestamp() => time(to),
            (TypeKind::Date, to) => to.is_timestamp(),
            (TypeKind::Time(_), TypeKind::Time(_)) => true,
            (TypeKind::Array(from), TypeKind::Array(to)) => from.casts_within(to),
            (TypeKind::Map(key, value), TypeKind::Map(to_key, to_value)) => {
                key.casts_within(to_key) && value.casts_within(to_value)
            }
            (TypeKind::Row(from), TypeKind::Row(to)) => {
                from.len() == to.len()
                    && (from.iter().zip(to)).all(|(from, to)| from.ty.casts_within(&to.ty))
            }
            _ => false,
        }
    }

    /// An exact number as (precision, scale): INT is (10, 0), BIGINT is (19, 0). `None` for anything else.
    pub fn as_decimal(&self) -> Option<(u8, u8)> {
        match self {
            TypeKind::TinyInt => Some((3, 0)),
            TypeKind::SmallInt => Some((5, 0)),
            TypeKind::Int => Some((10, 0)),
            TypeKind::BigInt => Some((19, 0)),
            TypeKind::Decimal { precision, scale } => Some((*precision, *scale)),
            _ => None,
        }
    }
}

impl LogicalType {
    /// Whether a member of an ARRAY, MAP or ROW becomes one of this type. NULL does not become a value.
    fn casts_within(&self, to: &LogicalType) -> bool {
        (to.nullable || !self.nullable) && self.kind.casts_to(&to.kind)
    }

    /// Types within each other: `INT` is 1, `ARRAY<INT>` is 2.
    pub fn nesting(&self) -> usize {
        1 + match &self.kind {
            TypeKind::Array(of) => of.nesting(),
            TypeKind::Map(key, value) => key.nesting().max(value.nesting()),
            TypeKind::Row(fields) => fields.iter().map(|f| f.ty.nesting()).max().unwrap_or(0),
            _ => 0,
        }
    }

    pub fn with_nullable(mut self, nullable: bool) -> LogicalType {
        self.nullable = nullable;
        self
    }
}

impl Schema {
    pub fn new(fields: Vec<Field>) -> Schema {
        Schema { fields }
    }

    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.name == name)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|field| field.name.as_str())
    }
}

impl Field {
    pub fn new(name: impl Into<String>, ty: LogicalType) -> Field {
        Field {
            name: name.into(),
            ty,
        }
    }
}

impl fmt::Display for TypeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TypeKind::Null => f.write_str("NULL"),
            TypeKind::Boolean => f.write_str("BOOLEAN"),
            TypeKind::TinyInt => f.write_str("TINYINT"),
            TypeKind::SmallInt => f.write_str("SMALLINT"),
            TypeKind::Int => f.write_str("INT"),
            TypeKind::BigInt => f.write_str("BIGINT"),
            TypeKind::Float => f.write_str("FLOAT"),
            TypeKind::Double => f.write_str("DOUBLE"),
            TypeKind::Decimal { precision, scale } => write!(f, "DECIMAL({precision}, {scale})"),
            TypeKind::Char(n) => write!(f, "CHAR({n})"),
            TypeKind::Varchar(Self::STRING_LENGTH) => f.write_str("STRING"),
            TypeKind::Varchar(n) => write!(f, "VARCHAR({n})"),
            TypeKind::Binary(n) => write!(f, "BINARY({n})"),
            TypeKind::Varbinary(Self::STRING_LENGTH) => f.write_str("BYTES"),
            TypeKind::Varbinary(n) => write!(f, "VARBINARY({n})"),
            TypeKind::Date => f.write_str("DATE"),
            TypeKind::Time(p) => write!(f, "TIME({p})"),
            TypeKind::Timestamp(p) => write!(f, "TIMESTAMP({p})"),
            TypeKind::TimestampLtz(p) => write!(f, "TIMESTAMP_LTZ({p})"),
            TypeKind::IntervalMonths => f.write_str("INTERVAL MONTH"),
            TypeKind::IntervalMillis => f.write_str("INTERVAL SECOND(3)"),
            TypeKind::Array(of) => write!(f, "ARRAY<{of}>"),
            TypeKind::Map(key, value) => write!(f, "MAP<{key}, {value}>"),
            TypeKind::Row(fields) => {
                f.write_str("ROW<")?;
                for (i, field) in fields.iter().enumerate() {
                    let comma = if i == 0 { "" } else { ", " };
                    write!(f, "{comma}`{}` {}", field.name, field.ty)?;
                }
                f.write_str(">")
            }
        }
    }
}

impl fmt::Display for LogicalType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        if self.nullable {
            Ok(())
        } else {
            f.write_str(" NOT NULL")
        }
    }
}
