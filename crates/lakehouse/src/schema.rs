//! Logical types as Iceberg types, and whether an existing table fits a sink.
//!
//! The mapping is Flink's: TINYINT and SMALLINT widen to `int`, every length of text is `string`, BINARY(n) is `fixed(n)`,
//! times and timestamps are microseconds. A table that exists must have each column of the sink, by name and with the same
//! type; columns that the sink does not have are filled with NULL where the table allows it.

use crate::error::{CatalogError, Kind};
use iceberg::spec::{
    FormatVersion, ListType, MapType, NestedField, NestedFieldRef, PrimitiveType, Schema,
    StructType, Type,
};
use lw_graph::{LogicalType, TypeKind};
use std::sync::Arc;

/// The Iceberg schema of a sink's table, with fresh field ids.
pub(crate) fn table_schema(
    columns: &lw_graph::Schema,
    primary_key: &[usize],
    version: FormatVersion,
) -> Result<Schema, CatalogError> {
    let mut ids = FieldIds { next: 0, version };
    let fields = columns
        .fields
        .iter()
        .map(|field| ids.field(&field.name, &field.ty))
        .collect::<Result<Vec<_>, _>>()?;
    let key = primary_key
        .iter()
        .map(|index| fields[*index].id)
        .collect::<Vec<_>>();
    Ok(Schema::builder()
        .with_fields(fields)
        .with_identifier_field_ids(key)
        .build()?)
}

/// What stands against writing `wanted` (the sink's columns) into `table`; one line per difference, empty when it fits.
pub(crate) fn differences(wanted: &Schema, table: &Schema) -> Vec<String> {
    let mut found = Vec::new();
    for column in wanted.as_struct().fields() {
        match table.as_struct().field_by_name(&column.name) {
            None => found.push(format!(
                "the table has no column {} ({})",
                column.name, column.field_type
            )),
            Some(other) if !same(&column.field_type, &other.field_type) => found.push(format!(
                "column {} is {} in the table and {} in the sink",
                column.name, other.field_type, column.field_type
            )),
            Some(other) if other.required && !column.required => found.push(format!(
                "column {} is required in the table and may be NULL in the sink",
                column.name
            )),
            Some(_) => {}
        }
    }
    for column in table.as_struct().fields() {
        if column.required && wanted.as_struct().field_by_name(&column.name).is_none() {
            found.push(format!(
                "the sink has no column {}, which the table requires",
                column.name
            ));
        }
    }
    found
}

/// The same type, whatever the field ids.
fn same(one: &Type, other: &Type) -> bool {
    match (one, other) {
        (Type::Primitive(one), Type::Primitive(other)) => one == other,
        (Type::List(one), Type::List(other)) => same(
            &one.element_field.field_type,
            &other.element_field.field_type,
        ),
        (Type::Map(one), Type::Map(other)) => {
            same(&one.key_field.field_type, &other.key_field.field_type)
                && same(&one.value_field.field_type, &other.value_field.field_type)
        }
        (Type::Struct(one), Type::Struct(other)) => {
            one.fields().len() == other.fields().len()
                && one.fields().iter().zip(other.fields()).all(|(one, other)| {
                    one.name == other.name && same(&one.field_type, &other.field_type)
                })
        }
        _ => false,
    }
}

struct FieldIds {
    next: i32,
    version: FormatVersion,
}

impl FieldIds {
    fn next(&mut self) -> i32 {
        self.next += 1;
        self.next
    }

    fn field(&mut self, name: &str, ty: &LogicalType) -> Result<NestedFieldRef, CatalogError> {
        let id = self.next();
        let field_type = self.ty(name, ty)?;
        Ok(Arc::new(NestedField::new(
            id,
            name,
            field_type,
            !ty.nullable,
        )))
    }

    fn ty(&mut self, column: &str, ty: &LogicalType) -> Result<Type, CatalogError> {
        let primitive = match &ty.kind {
            TypeKind::Boolean => PrimitiveType::Boolean,
            TypeKind::TinyInt | TypeKind::SmallInt | TypeKind::Int => PrimitiveType::Int,
            TypeKind::BigInt => PrimitiveType::Long,
            TypeKind::Float => PrimitiveType::Float,
            TypeKind::Double => PrimitiveType::Double,
            TypeKind::Decimal { precision, scale } => PrimitiveType::Decimal {
                precision: u32::from(*precision),
                scale: u32::from(*scale),
            },
            TypeKind::Char(_) | TypeKind::Varchar(_) => PrimitiveType::String,
            TypeKind::Binary(length) => PrimitiveType::Fixed(u64::from(*length)),
            TypeKind::Varbinary(_) => PrimitiveType::Binary,
            TypeKind::Date => PrimitiveType::Date,
            TypeKind::Time(0..=6) => PrimitiveType::Time,
            TypeKind::Timestamp(0..=6) => PrimitiveType::Timestamp,
            TypeKind::TimestampLtz(0..=6) => PrimitiveType::Timestamptz,
            TypeKind::Timestamp(_) if self.version >= FormatVersion::V3 => {
                PrimitiveType::TimestampNs
            }
            TypeKind::TimestampLtz(_) if self.version >= FormatVersion::V3 => {
                PrimitiveType::TimestamptzNs
            }
            TypeKind::Timestamp(_) | TypeKind::TimestampLtz(_) => {
                return Err(refused(column, ty, "nanoseconds need format-version 3"));
            }
            TypeKind::Time(_) => {
                return Err(refused(column, ty, "Iceberg's time has microseconds"));
            }
            TypeKind::Null | TypeKind::IntervalMonths | TypeKind::IntervalMillis => {
                return Err(refused(column, ty, "Iceberg has no such type"));
            }
            TypeKind::Array(of) => {
                let id = self.next();
                let element = NestedField::list_element(id, self.ty(column, of)?, !of.nullable);
                return Ok(Type::List(ListType::new(Arc::new(element))));
            }
            TypeKind::Map(key, value) => {
                let (key_id, value_id) = (self.next(), self.next());
                let key = NestedField::map_key_element(key_id, self.ty(column, key)?);
                let value = NestedField::map_value_element(
                    value_id,
                    self.ty(column, value)?,
                    !value.nullable,
                );
                return Ok(Type::Map(MapType::new(Arc::new(key), Arc::new(value))));
            }
            TypeKind::Row(fields) => {
                let fields = fields
                    .iter()
                    .map(|field| self.field(&field.name, &field.ty))
                    .collect::<Result<Vec<_>, _>>()?;
                return Ok(Type::Struct(StructType::new(fields)));
            }
        };
        Ok(Type::Primitive(primitive))
    }
}

fn refused(column: &str, ty: &LogicalType, why: &str) -> CatalogError {
    CatalogError::new(
        Kind::BadRequest,
        format!("column {column} cannot be {}: {why}", ty.kind),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use lw_graph::Field;

    fn schema(columns: &[(&str, LogicalType)]) -> lw_graph::Schema {
        lw_graph::Schema::new(
            columns
                .iter()
                .map(|(name, ty)| Field::new(*name, ty.clone()))
                .collect(),
        )
    }

    #[test]
    fn types_are_flinks() {
        let cases = [
            (TypeKind::TinyInt, "int"),
            (TypeKind::BigInt, "long"),
            (
                TypeKind::Decimal {
                    precision: 10,
                    scale: 2,
                },
                "decimal(10, 2)",
            ),
            (TypeKind::Varchar(7), "string"),
            (TypeKind::Binary(3), "fixed(3)"),
            (TypeKind::bytes(), "binary"),
            (TypeKind::Time(0), "time"),
            (TypeKind::Timestamp(3), "timestamp"),
            (TypeKind::TimestampLtz(3), "timestamptz"),
            (
                TypeKind::Timestamp(9),
                "column c cannot be TIMESTAMP(9): nanoseconds need format-version 3",
            ),
        ];
        for (kind, expected) in cases {
            let got = match table_schema(&schema(&[("c", kind.nullable())]), &[], FormatVersion::V2)
            {
                Ok(schema) => schema.as_struct().fields()[0].field_type.to_string(),
                Err(error) => error.to_string(),
            };
            assert_eq!(got, expected);
        }
    }

    #[test]
    fn differences_name_each_column() {
        let wanted = [
            ("a", TypeKind::Int.nullable()),
            ("b", TypeKind::string().nullable()),
            ("c", TypeKind::Date.nullable()),
        ];
        let table = [
            ("a", TypeKind::BigInt.nullable()),
            ("b", TypeKind::string().not_null()),
            ("d", TypeKind::Int.not_null()),
        ];
        let wanted = table_schema(&schema(&wanted), &[], FormatVersion::V2).unwrap();
        let table = table_schema(&schema(&table), &[], FormatVersion::V2).unwrap();
        assert_eq!(
            differences(&wanted, &table),
            [
                "column a is long in the table and int in the sink",
                "column b is required in the table and may be NULL in the sink",
                "the table has no column c (date)",
                "the sink has no column d, which the table requires",
            ]
        );
    }
}
