//! Logical types as Arrow types: the one mapping that decoders, kernels and sinks share.
//!
//! Fractions of seconds are microseconds throughout, which is what Iceberg v2 stores. Types with 7 to 9 digits map to
//! nanoseconds so that the mapping is total, but decoders and kernels refuse them by name.

use arrow_schema::{DataType, Field, Fields, IntervalUnit, Schema, SchemaRef, TimeUnit};
use lw_graph::{LogicalType, TypeKind};
use std::sync::Arc;

/// The most digits of a fraction of a second that are carried through.
pub(crate) const MAX_FRACTION: u8 = 6;

/// The Arrow type that values of this logical type are held in.
pub fn arrow_type(ty: &LogicalType) -> DataType {
    match &ty.kind {
        TypeKind::Null => DataType::Null,
        TypeKind::Boolean => DataType::Boolean,
        TypeKind::TinyInt => DataType::Int8,
        TypeKind::SmallInt => DataType::Int16,
        TypeKind::Int => DataType::Int32,
        TypeKind::BigInt => DataType::Int64,
        TypeKind::Float => DataType::Float32,
        TypeKind::Double => DataType::Float64,
        TypeKind::Decimal { precision, scale } => {
            let scale = i8::try_from(*scale).expect("a scale is at most 38");
            DataType::Decimal128(*precision, scale)
        }
        TypeKind::Char(_) | TypeKind::Varchar(_) => DataType::Utf8,
        TypeKind::Binary(_) | TypeKind::Varbinary(_) => DataType::Binary,
        TypeKind::Date => DataType::Date32,
        TypeKind::Time(p) => DataType::Time64(unit(*p)),
        TypeKind::Timestamp(p) => DataType::Timestamp(unit(*p), None),
        TypeKind::TimestampLtz(p) => DataType::Timestamp(unit(*p), Some("UTC".into())),
        TypeKind::IntervalMonths => DataType::Interval(IntervalUnit::YearMonth),
        TypeKind::IntervalMillis => DataType::Duration(TimeUnit::Millisecond),
        TypeKind::Array(of) => DataType::List(Arc::new(arrow_field("element", of))),
        TypeKind::Map(key, value) => {
            let key = key.as_ref().clone().with_nullable(false);
            let entries = Fields::from(vec![arrow_field("key", &key), arrow_field("value", value)]);
            let entries = Field::new("key_value", DataType::Struct(entries), false);
            DataType::Map(Arc::new(entries), false)
        }
        TypeKind::Row(fields) => DataType::Struct(
            fields
                .iter()
                .map(|field| arrow_field(&field.name, &field.ty))
                .collect(),
        ),
    }
}

/// A named Arrow field of this logical type.
pub fn arrow_field(name: &str, ty: &LogicalType) -> Field {
    Field::new(name, arrow_type(ty), ty.nullable)
}

/// The Arrow schema of an operator's output.
pub fn arrow_schema(schema: &lw_graph::Schema) -> SchemaRef {
    let fields: Fields = schema
        .fields
        .iter()
        .map(|field| arrow_field(&field.name, &field.ty))
        .collect();
    Arc::new(Schema::new(fields))
}

fn unit(fraction_digits: u8) -> TimeUnit {
    if fraction_digits <= MAX_FRACTION {
        TimeUnit::Microsecond
    } else {
        TimeUnit::Nanosecond
    }
}
