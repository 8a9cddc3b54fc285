//! Columns in Delta's words: from the sink's types, in the JSON of `schemaString`, as Arrow's for the data files.
//!
//! | Flink SQL | Delta |
//! |---|---|
//! | `TINYINT`, `SMALLINT`, `INT`, `BIGINT` | `byte`, `short`, `integer`, `long` |
//! | `CHAR`, `VARCHAR`, `STRING`; `BINARY`, `VARBINARY`, `BYTES` | `string`; `binary` |
//! | `TIMESTAMP_LTZ(0..6)` | `timestamp` |
//! | `TIMESTAMP(0..6)` | `timestamp_ntz`, a feature that the table's protocol then names |
//! | `ARRAY`, `MAP`, `ROW` | `array`, `map`, `struct` |
//!
//! The others have the same name. `TIME`, intervals and nanoseconds Delta does not have: they are refused.

use crate::error::{CatalogError, Kind};
use arrow_schema::{DataType as Arrow, Field, Fields, Schema as ArrowSchema, TimeUnit};
use lw_graph::{LogicalType, Schema, TypeKind};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

pub(super) const NTZ: &str = "timestamp_ntz";
/// What a column's name cannot have without column mapping.
const NOT_IN_NAMES: &[char] = &[' ', ',', ';', '{', '}', '(', ')', '\n', '\t', '='];

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Column {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) ty: Type,
    pub(super) nullable: bool,
    #[serde(default)]
    pub(super) metadata: serde_json::Map<String, serde_json::Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Type {
    Primitive(String),
    Nested(Box<Nested>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "lowercase",
    rename_all_fields = "camelCase"
)]
pub(super) enum Nested {
    Struct {
        fields: Vec<Column>,
    },
    Array {
        element_type: Type,
        contains_null: bool,
    },
    Map {
        key_type: Type,
        value_type: Type,
        value_contains_null: bool,
    },
}

/// The columns of a `schemaString`.
pub(super) fn read(text: &str) -> Result<Vec<Column>, CatalogError> {
    let unreadable = |error: Option<serde_json::Error>| {
        let message = "the schema of the Delta table cannot be read";
        match error {
            Some(error) => CatalogError::caused(Kind::BadRequest, message, error),
            None => CatalogError::new(Kind::BadRequest, message),
        }
    };
    match serde_json::from_str(text).map_err(|error| unreadable(Some(error)))? {
        Nested::Struct { fields } => Ok(fields),
        _ => Err(unreadable(None)),
    }
}

pub(super) fn write(columns: &[Column]) -> String {
    let fields = columns.to_vec();
    serde_json::to_string(&Nested::Struct { fields }).expect("columns are plain data")
}

/// The sink's columns.
pub(super) fn of(schema: &Schema) -> Result<Vec<Column>, CatalogError> {
    let columns = schema.fields.iter();
    columns
        .map(|field| column(&field.name, &field.ty))
        .collect()
}

fn column(name: &str, ty: &LogicalType) -> Result<Column, CatalogError> {
    if name.is_empty() || name.contains(NOT_IN_NAMES) {
        return Err(CatalogError::new(
            Kind::BadRequest,
            format!(
                "a column of a Delta table cannot be called '{name}': no spaces, none of , ; {{ }} ( ) ="
            ),
        ));
    }
    Ok(Column {
        name: name.to_owned(),
        ty: delta_type(name, ty)?,
        nullable: ty.nullable,
        metadata: serde_json::Map::new(),
    })
}

fn delta_type(name: &str, ty: &LogicalType) -> Result<Type, CatalogError> {
    let refused = |why: &str| {
        CatalogError::new(
            Kind::BadRequest,
            format!("column {name} cannot be {}: {why}", ty.kind),
        )
    };
    let primitive = match &ty.kind {
        TypeKind::Boolean => "boolean",
        TypeKind::TinyInt => "byte",
        TypeKind::SmallInt => "short",
        TypeKind::Int => "integer",
        TypeKind::BigInt => "long",
        TypeKind::Float => "float",
        TypeKind::Double => "double",
        TypeKind::Decimal { precision, scale } => {
            return Ok(Type::Primitive(format!("decimal({precision},{scale})")));
        }
        TypeKind::Char(_) | TypeKind::Varchar(_) => "string",
        TypeKind::Binary(_) | TypeKind::Varbinary(_) => "binary",
        TypeKind::Date => "date",
        TypeKind::TimestampLtz(0..=6) => "timestamp",
        TypeKind::Timestamp(0..=6) => NTZ,
        TypeKind::Timestamp(_) | TypeKind::TimestampLtz(_) => {
            return Err(refused("Delta's timestamps have microseconds"));
        }
        TypeKind::Null
        | TypeKind::Time(_)
        | TypeKind::IntervalMonths
        | TypeKind::IntervalMillis => return Err(refused("Delta has no such type")),
        TypeKind::Array(of) => {
            return Ok(Type::Nested(Box::new(Nested::Array {
                element_type: delta_type(name, of)?,
                contains_null: of.nullable,
            })));
        }
        TypeKind::Map(key, value) => {
            return Ok(Type::Nested(Box::new(Nested::Map {
                key_type: delta_type(name, key)?,
                value_type: delta_type(name, value)?,
                value_contains_null: value.nullable,
            })));
        }
        TypeKind::Row(fields) => {
            let fields = fields.iter().map(|field| column(&field.name, &field.ty));
            let fields = fields.collect::<Result<_, _>>()?;
            return Ok(Type::Nested(Box::new(Nested::Struct { fields })));
        }
    };
    Ok(Type::Primitive(primitive.to_owned()))
}

/// The columns as data files have them.
pub(super) fn to_arrow<'a>(
    columns: impl IntoIterator<Item = &'a Column>,
) -> Result<ArrowSchema, CatalogError> {
    let fields = columns.into_iter().map(arrow_field);
    Ok(ArrowSchema::new(fields.collect::<Result<Fields, _>>()?))
}

fn arrow_field(column: &Column) -> Result<Field, CatalogError> {
    let ty = arrow_type(&column.ty)?;
    Ok(Field::new(&column.name, ty, column.nullable))
}

fn arrow_type(ty: &Type) -> Result<Arrow, CatalogError> {
    let micros = TimeUnit::Microsecond;
    let name = match ty {
        Type::Primitive(name) => name.as_str(),
        Type::Nested(nested) => {
            return Ok(match &**nested {
                Nested::Struct { fields } => {
                    let fields = fields.iter().map(arrow_field);
                    Arrow::Struct(fields.collect::<Result<_, _>>()?)
                }
                Nested::Array {
                    element_type,
                    contains_null,
                } => {
                    let element = Field::new("element", arrow_type(element_type)?, *contains_null);
                    Arrow::List(Arc::new(element))
                }
                Nested::Map {
                    key_type,
                    value_type,
                    value_contains_null,
                } => {
                    let key = Field::new("key", arrow_type(key_type)?, false);
                    let value = Field::new("value", arrow_type(value_type)?, *value_contains_null);
                    let entries = Arrow::Struct(vec![key, value].into());
                    Arrow::Map(Arc::new(Field::new("key_value", entries, false)), false)
                }
            });
        }
    };
    Ok(match name {
        "boolean" => Arrow::Boolean,
        "byte" => Arrow::Int8,
        "short" => Arrow::Int16,
        "integer" => Arrow::Int32,
        "long" => Arrow::Int64,
        "float" => Arrow::Float32,
        "double" => Arrow::Float64,
        "string" => Arrow::Utf8,
        "binary" => Arrow::Binary,
        "date" => Arrow::Date32,
        "timestamp" => Arrow::Timestamp(micros, Some("UTC".into())),
        NTZ => Arrow::Timestamp(micros, None),
        other => match decimal(other) {
            Some((precision, scale)) => Arrow::Decimal128(precision, scale),
            None => {
                return Err(CatalogError::new(
                    Kind::BadRequest,
                    format!("Delta type {other} is not known to this version"),
                ));
            }
        },
    })
}

/// Precision and scale of `decimal(9,2)`.
pub(super) fn decimal(name: &str) -> Option<(u8, i8)> {
    let inside = name.strip_prefix("decimal(")?.strip_suffix(')')?;
    let (precision, scale) = inside.split_once(',')?;
    Some((precision.trim().parse().ok()?, scale.trim().parse().ok()?))
}

/// Whether a column, or something in it, is of this primitive type.
pub(super) fn has(columns: &[Column], primitive: &str) -> bool {
    let mut columns = columns.iter();
    columns.any(|column| column.ty.primitives().contains(&primitive))
}

impl Type {
    pub(super) fn is_text(&self) -> bool {
        matches!(self, Type::Primitive(name) if name == "string")
    }

    /// What it is made of in the end.
    fn primitives(&self) -> Vec<&str> {
        match self {
            Type::Primitive(name) => vec![name.as_str()],
            Type::Nested(nested) => match &**nested {
                Nested::Struct { fields } => {
                    let fields = fields.iter();
                    fields.flat_map(|field| field.ty.primitives()).collect()
                }
                Nested::Array { element_type, .. } => element_type.primitives(),
                Nested::Map {
                    key_type,
                    value_type,
                    ..
                } => [key_type.primitives(), value_type.primitives()].concat(),
            },
        }
    }

    /// The fields of structs in it.
    pub(super) fn fields(&self) -> Vec<&Column> {
        match self {
            Type::Primitive(_) => Vec::new(),
            Type::Nested(nested) => match &**nested {
                Nested::Struct { fields } => fields.iter().collect(),
                Nested::Array { element_type, .. } => element_type.fields(),
                Nested::Map {
                    key_type,
                    value_type,
                    ..
                } => [key_type.fields(), value_type.fields()].concat(),
            },
        }
    }
}

/// How an existing table takes the sink's columns.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Fit {
    /// What stands against it, in words.
    pub(super) differences: Vec<String>,
    /// Columns of the sink that the table does not have.
    pub(super) new: Vec<Column>,
}

/// Columns of the table that the sink does not have are NULL in its rows.
pub(super) fn fit(sink: &[Column], table: &[Column]) -> Fit {
    let mut fit = Fit::default();
    for wanted in sink {
        let name = &wanted.name;
        let Some(known) = table.iter().find(|column| column.name == *name) else {
            let alike = table
                .iter()
                .find(|column| column.name.eq_ignore_ascii_case(name));
            match alike {
                Some(alike) => fit.differences.push(format!(
                    "column {name} is called {} in the table, and Delta does not tell names apart by case",
                    alike.name
                )),
                None => fit.new.push(wanted.clone()),
            }
            continue;
        };
        if !same(&known.ty, &wanted.ty) {
            fit.differences.push(format!(
                "column {name} is {} in the table and {} in the sink",
                known.ty, wanted.ty
            ));
        } else if wanted.nullable && !known.nullable {
            fit.differences.push(format!(
                "column {name} is required in the table and may be NULL in the sink"
            ));
        }
    }
    for column in table.iter().filter(|column| !column.nullable) {
        if !sink.iter().any(|wanted| wanted.name == column.name) {
            fit.differences.push(format!(
                "the sink has no column {}, which the table requires",
                column.name
            ));
        }
    }
    fit
}

/// What is inside may say less of itself in the table: a sink's values may be NULL where the table's may.
fn same(table: &Type, sink: &Type) -> bool {
    match (table, sink) {
        (Type::Primitive(table), Type::Primitive(sink)) => {
            table == sink || decimal(table).is_some() && decimal(table) == decimal(sink)
        }
        (Type::Nested(table), Type::Nested(sink)) => match (&**table, &**sink) {
            (Nested::Struct { fields: table }, Nested::Struct { fields: sink }) => {
                let alike = |(table, sink): (&Column, &Column)| {
                    table.name == sink.name
                        && same(&table.ty, &sink.ty)
                        && (table.nullable || !sink.nullable)
                };
                table.len() == sink.len() && table.iter().zip(sink).all(alike)
            }
            (
                Nested::Array {
                    element_type: table,
                    contains_null: table_null,
                },
                Nested::Array {
                    element_type: sink,
                    contains_null: sink_null,
                },
            ) => same(table, sink) && (*table_null || !sink_null),
            (
                Nested::Map {
                    key_type: table_key,
                    value_type: table_value,
                    value_contains_null: table_null,
                },
                Nested::Map {
                    key_type: sink_key,
                    value_type: sink_value,
                    value_contains_null: sink_null,
                },
            ) => {
                same(table_key, sink_key)
                    && same(table_value, sink_value)
                    && (*table_null || !sink_null)
            }
            _ => false,
        },
        _ => false,
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Primitive(name) => f.write_str(name),
            Type::Nested(nested) => match &**nested {
                Nested::Struct { fields } => {
                    f.write_str("struct<")?;
                    for (index, field) in fields.iter().enumerate() {
                        let comma = if index == 0 { "" } else { ", " };
                        write!(f, "{comma}{} {}", field.name, field.ty)?;
                    }
                    f.write_str(">")
                }
                Nested::Array { element_type, .. } => write!(f, "array<{element_type}>"),
                Nested::Map {
                    key_type,
                    value_type,
                    ..
                } => write!(f, "map<{key_type}, {value_type}>"),
            },
        }
    }
}
