//! Logical types as Iceberg types, and whether an existing table fits a sink.
//!
//! The mapping is Flink's: TINYINT and SMALLINT widen to `int`, every length of text is `string`, BINARY(n) is `fixed(n)`,
//! times and timestamps are microseconds. A table that exists must have each column of the sink ([`places`](lw_graph::places)
//! says which one that is), with the same type or a wider one; columns that the sink does not have are filled with NULL where
//! the table allows it.

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
    let mut ids = FieldIds::behind(0, version);
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

/// What stands against writing `wanted` (the sink's columns) into `table`, where each is at its place; one line per difference,
/// empty when it fits.
pub(crate) fn differences(
    wanted: &Schema,
    table: &Schema,
    places: &[Option<usize>],
) -> Vec<String> {
    let mut found = Vec::new();
    let fields = table.as_struct().fields();
    for (column, place) in wanted.as_struct().fields().iter().zip(places) {
        let Some(other) = place.map(|place| &fields[place]) else {
            let (name, ty) = (&column.name, in_words(&column.field_type));
            found.push(format!("the table has no column {name} ({ty})"));
            continue;
        };
        let name = match other.name == column.name {
            true => other.name.clone(),
            false => format!("{} ({} in the sink)", other.name, column.name),
        };
        if !takes(&other.field_type, &column.field_type) {
            found.push(format!(
                "column {name} is {} in the table and {} in the sink",
                in_words(&other.field_type),
                in_words(&column.field_type)
            ));
        } else if other.required && !column.required {
            found.push(format!(
                "column {name} is required in the table and may be NULL in the sink"
            ));
        }
    }
    for (place, column) in fields.iter().enumerate() {
        if column.required && !places.contains(&Some(place)) {
            let name = &column.name;
            found.push(format!(
                "the sink has no column {name}, which the table requires"
            ));
        }
    }
    found
}

/// A type with what is inside of it, which Iceberg's own text leaves away.
pub(crate) fn in_words(ty: &Type) -> String {
    match ty {
        Type::Primitive(primitive) => primitive.to_string(),
        Type::List(list) => format!("list<{}>", in_words(&list.element_field.field_type)),
        Type::Map(map) => {
            let (key, value) = (&map.key_field.field_type, &map.value_field.field_type);
            format!("map<{}, {}>", in_words(key), in_words(value))
        }
        Type::Struct(fields) => {
            let fields = fields.fields().iter();
            let fields =
                fields.map(|field| format!("{}: {}", field.name, in_words(&field.field_type)));
            format!("struct<{}>", fields.collect::<Vec<_>>().join(", "))
        }
    }
}

/// Values of `other` can stand in a column of type `table`, whatever the field ids.
fn takes(table: &Type, other: &Type) -> bool {
    match (table, other) {
        (Type::Primitive(table), Type::Primitive(other)) => table == other || widens(other, table),
        (Type::List(table), Type::List(other)) => takes(
            &table.element_field.field_type,
            &other.element_field.field_type,
        ),
        (Type::Map(table), Type::Map(other)) => {
            takes(&table.key_field.field_type, &other.key_field.field_type)
                && takes(&table.value_field.field_type, &other.value_field.field_type)
        }
        (Type::Struct(table), Type::Struct(other)) => {
            let mut pairs = table.fields().iter().zip(other.fields());
            table.fields().len() == other.fields().len()
                && pairs.all(|(table, other)| {
                    table.name == other.name && takes(&table.field_type, &other.field_type)
                })
        }
        _ => false,
    }
}

/// The type as wide as `to`, with the ids and names that it has; `None` where a value that is there would not fit, or `to` has other
/// fields.
pub(crate) fn widened(from: &Type, to: &Type) -> Option<Type> {
    merged(from, to, Merge::Widen)
}

/// The narrowest type that takes the values of both, with the ids and names of the table's; `None` where there is none.
pub(crate) fn joined(table: &Type, other: &Type) -> Option<Type> {
    merged(table, other, Merge::Join)
}

#[derive(Clone, Copy, PartialEq)]
enum Merge {
    /// As wide as the second, which is no narrower.
    Widen,
    /// As wide as the wider.
    Join,
}

fn merged(one: &Type, other: &Type, how: Merge) -> Option<Type> {
    Some(match (one, other) {
        (Type::Primitive(from), Type::Primitive(to)) if from == to || widens(from, to) => {
            other.clone()
        }
        (Type::Primitive(from), Type::Primitive(to)) if how == Merge::Join && widens(to, from) => {
            one.clone()
        }
        (Type::List(one), Type::List(other)) => {
            let element = merged_field(&one.element_field, &other.element_field, how)?;
            Type::List(ListType::new(element))
        }
        // Keys are what they are: two that differ must not become one.
        (Type::Map(one), Type::Map(other)) => {
            let key = merged_field(&one.key_field, &other.key_field, how)?;
            let value = merged_field(&one.value_field, &other.value_field, how)?;
            if key != one.key_field {
                return None;
            }
            Type::Map(MapType::new(key, value))
        }
        (Type::Struct(one), Type::Struct(other)) if one.fields().len() == other.fields().len() => {
            let pairs = one.fields().iter().zip(other.fields());
            let fields = pairs.map(|(one, other)| {
                let one = Some(one).filter(|one| one.name == other.name)?;
                merged_field(one, other, how)
            });
            Type::Struct(StructType::new(fields.collect::<Option<Vec<_>>>()?))
        }
        _ => return None,
    })
}

fn merged_field(
    one: &NestedFieldRef,
    other: &NestedFieldRef,
    how: Merge,
) -> Option<NestedFieldRef> {
    if how == Merge::Widen && other.required && !one.required {
        return None;
    }
    let mut field = NestedField::clone(one);
    field.field_type = Box::new(merged(&one.field_type, &other.field_type, how)?);
    field.required &= other.required;
    Some(Arc::new(field))
}

/// Iceberg's promotions: no value changes by them.
fn widens(from: &PrimitiveType, to: &PrimitiveType) -> bool {
    use PrimitiveType::{Decimal, Double, Float, Int, Long};
    match (from, to) {
        (Int, Long) | (Float, Double) => true,
        (
            Decimal { precision, scale },
            Decimal {
                precision: wider,
                scale: same,
            },
        ) => scale == same && precision <= wider,
        _ => false,
    }
}

pub(crate) struct FieldIds {
    next: i32,
    version: FormatVersion,
}

impl FieldIds {
    /// Those that come after `last`.
    pub(crate) fn behind(last: i32, version: FormatVersion) -> FieldIds {
        FieldIds {
            next: last,
            version,
        }
    }

    fn next(&mut self) -> i32 {
        self.next += 1;
        self.next
    }

    /// The field with new ids, its own and those inside of it.
    pub(crate) fn anew(&mut self, field: &NestedField) -> NestedFieldRef {
        let mut field = field.clone();
        field.id = self.next();
        let inside = match &*field.field_type {
            Type::Primitive(_) => return Arc::new(field),
            Type::List(list) => Type::List(ListType::new(self.anew(&list.element_field))),
            Type::Map(map) => {
                let key = self.anew(&map.key_field);
                Type::Map(MapType::new(key, self.anew(&map.value_field)))
            }
            Type::Struct(fields) => {
                let fields = fields.fields().iter().map(|field| self.anew(field));
                Type::Struct(StructType::new(fields.collect()))
            }
        };
        field.field_type = Box::new(inside);
        Arc::new(field)
    }

    pub(crate) fn field(
        &mut self,
        name: &str,
        ty: &LogicalType,
    ) -> Result<NestedFieldRef, CatalogError> {
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
            ("a", TypeKind::BigInt.nullable()),
            ("b", TypeKind::string().nullable()),
            ("c", TypeKind::Date.nullable()),
            ("e", TypeKind::string().nullable()),
        ];
        let table = [
            ("a", TypeKind::Int.nullable()),
            ("b", TypeKind::string().not_null()),
            ("d", TypeKind::Int.not_null()),
            ("renamed", TypeKind::Date.nullable()),
        ];
        let wanted = table_schema(&schema(&wanted), &[], FormatVersion::V2).unwrap();
        let table = table_schema(&schema(&table), &[], FormatVersion::V2).unwrap();
        assert_eq!(
            differences(&wanted, &table, &[Some(0), Some(1), None, Some(3)]),
            [
                "column a is int in the table and long in the sink",
                "column b is required in the table and may be NULL in the sink",
                "the table has no column c (date)",
                "column renamed (e in the sink) is date in the table and string in the sink",
                "the sink has no column d, which the table requires",
            ]
        );
    }

    #[test]
    fn a_table_takes_what_is_narrower() {
        let decimal = |precision, scale| TypeKind::Decimal { precision, scale };
        let list = |of: TypeKind| TypeKind::Array(Box::new(of.nullable()));
        let row = |of: TypeKind| TypeKind::Row(vec![Field::new("x", of.nullable())]);
        let cases = [
            (TypeKind::BigInt, TypeKind::SmallInt, true),
            (TypeKind::Int, TypeKind::BigInt, false),
            (TypeKind::Double, TypeKind::Float, true),
            (TypeKind::Float, TypeKind::Double, false),
            (TypeKind::Double, TypeKind::Int, false),
            (decimal(12, 2), decimal(10, 2), true),
            (decimal(10, 2), decimal(12, 2), false),
            (decimal(12, 3), decimal(10, 2), false),
            (list(TypeKind::BigInt), list(TypeKind::Int), true),
            (row(TypeKind::Double), row(TypeKind::Float), true),
            (row(TypeKind::Float), row(TypeKind::Double), false),
            (TypeKind::string(), TypeKind::Int, false),
        ];
        for (table, other, expected) in cases {
            let of = |kind: &TypeKind| {
                let columns = schema(&[("c", kind.clone().nullable())]);
                table_schema(&columns, &[], FormatVersion::V2).unwrap()
            };
            let found = differences(&of(&other), &of(&table), &[Some(0)]);
            assert_eq!(found.is_empty(), expected, "{other:?} into {table:?}");
        }
    }
}
