//! Schema resolution: what to do with each value of a writer's record, decided once per writer's schema.
//!
//! The reader's side is the table's columns. Avro's rules hold (fields by name, `int → long → float → double`,
//! `string ↔ bytes`, what the writer lacks becomes the default, NULL), and names of records do not matter, as in Java.
//! A branch of a union that cannot be read is only an error of the records that use it.
//!
//! Where Java would misread silently we do not: a writer's `timestamp-micros` is brought to milliseconds, and a decimal
//! of another scale is rescaled.

use crate::text::power_of_ten;
use lw_graph::{Field, LogicalType, TypeKind};
use lw_schemas::AvroSchema;
use lw_schemas::avro::{Kind, Logical, Record, TypeId};

/// What becomes of a writer's record.
pub(crate) struct RecordPlan {
    /// In the writer's order.
    pub(crate) fields: Vec<FieldPlan>,
    /// Columns that the writer does not know: NULL.
    pub(crate) absent: Vec<usize>,
}

pub(crate) struct FieldPlan {
    pub(crate) name: Box<str>,
    pub(crate) action: Action,
}

pub(crate) enum Action {
    Skip(Skip),
    Into(usize, Node),
}

/// How to pass over a value.
pub(crate) enum Skip {
    Fixed(usize),
    Varint,
    /// A length, then as many bytes.
    Spans,
    NullOr {
        null_at: u8,
        other: Box<Skip>,
    },
    /// Anything else, by walking the writer's schema.
    Type(TypeId),
}

/// How to read one value into its column.
pub(crate) enum Node {
    Null,
    /// The writer's null where the table says NOT NULL, or a branch that does not resolve.
    Refuse(Box<str>),
    Boolean,
    /// A writer's `int` or `long` into any numeric column.
    Int,
    Long,
    Float,
    Double,
    /// A `string`, or `bytes` that must be UTF-8.
    Text,
    Bytes,
    Decimal(Decimal),
    /// A number of units to microseconds, cut to `step` of them; 1 for nothing to cut.
    Time {
        long: bool,
        unit: Unit,
        step: i64,
        /// A time of day, so less than a day.
        of_day: bool,
    },
    List(Box<Node>),
    Map(Box<Node>),
    Row(RecordPlan),
    /// `["null", x]` or `[x, "null"]`.
    NullOr {
        null_at: u8,
        other: Box<Node>,
    },
    Union(Vec<Node>),
}

#[derive(Clone, Copy)]
pub(crate) enum Unit {
    Millis,
    Micros,
    Nanos,
}

#[derive(Clone, Copy)]
pub(crate) struct Decimal {
    /// 10 to the column's precision.
    pub(crate) limit: i128,
    pub(crate) from_scale: u32,
    pub(crate) to_scale: u32,
}

/// Plans how the writer's schema becomes the columns `fields`.
///
/// # Errors
/// Why no record of this writer can be read.
pub(crate) fn plan(writer: &AvroSchema, fields: &[Field]) -> Result<RecordPlan, String> {
    match &writer.root().kind {
        Kind::Record(record) => record_plan(writer, record, fields),
        other => Err(format!(
            "the writer's schema is {}, not a record",
            other.word()
        )),
    }
}

fn record_plan(
    writer: &AvroSchema,
    record: &Record,
    columns: &[Field],
) -> Result<RecordPlan, String> {
    let mut fields = Vec::with_capacity(record.fields.len());
    for field in &record.fields {
        let column = columns.iter().position(|column| column.name == field.name);
        let action = match column {
            None => Action::Skip(skip(writer, field.ty)),
            Some(index) => Action::Into(
                index,
                node(writer, field.ty, &columns[index].ty)
                    .map_err(|reason| format!("field '{}': {reason}", field.name))?,
            ),
        };
        fields.push(FieldPlan {
            name: field.name.as_str().into(),
            action,
        });
    }
    let absent: Vec<usize> = (0..columns.len())
        .filter(|index| record.field(&columns[*index].name).is_none())
        .collect();
    match absent.iter().find(|index| !columns[**index].ty.nullable) {
        None => Ok(RecordPlan { fields, absent }),
        Some(index) => Err(format!(
            "the writer's schema has no field '{}', which the table declares NOT NULL",
            columns[*index].name
        )),
    }
}

fn node(writer: &AvroSchema, id: TypeId, target: &LogicalType) -> Result<Node, String> {
    let ty = writer.get(id);
    let mismatch = || {
        Err(format!(
            "the writer's {} cannot be read as {}",
            ty.kind.word(),
            target.kind
        ))
    };
    Ok(match (&ty.kind, &target.kind) {
        (Kind::Union(branches), _) => union(writer, branches, target),
        (Kind::Null, _) if target.nullable => Node::Null,
        (Kind::Null, _) => return Err("the writer's null cannot be read as NOT NULL".to_string()),
        (Kind::Boolean, TypeKind::Boolean) => Node::Boolean,
        (Kind::Int, TypeKind::Time(p)) => time(false, ty.logical, *p, true),
        (Kind::Int, TypeKind::Date) => Node::Int,
        (Kind::Int, kind) if kind.is_integer() || kind.is_approximate() => Node::Int,
        (Kind::Int, TypeKind::Timestamp(p) | TypeKind::TimestampLtz(p)) => {
            time(false, ty.logical, *p, false)
        }
        (Kind::Long, TypeKind::Timestamp(p) | TypeKind::TimestampLtz(p)) => {
            time(true, ty.logical, *p, false)
        }
        (Kind::Long, kind) if *kind == TypeKind::BigInt || kind.is_approximate() => Node::Long,
        (Kind::Float, kind) if kind.is_approximate() => Node::Float,
        (Kind::Double, TypeKind::Double) => Node::Double,
        (Kind::String | Kind::Bytes, kind) if kind.is_character() => Node::Text,
        (Kind::String | Kind::Bytes, kind) if kind.is_binary() => Node::Bytes,
        (Kind::String | Kind::Bytes, TypeKind::Decimal { precision, scale }) => {
            let to_scale = u32::from(*scale);
            let from_scale = match ty.logical {
                Some(Logical::Decimal { scale, .. }) => scale,
                _ => to_scale,
            };
            Node::Decimal(Decimal {
                limit: power_of_ten(u32::from(*precision)),
                from_scale,
                to_scale,
            })
        }
        (Kind::Array(items), TypeKind::Array(of)) => {
            Node::List(Box::new(node(writer, *items, of)?))
        }
        (Kind::Map(values), TypeKind::Map(_, of)) => {
            Node::Map(Box::new(node(writer, *values, of)?))
        }
        (Kind::Record(record), TypeKind::Row(fields)) => {
            Node::Row(record_plan(writer, record, fields)?)
        }
        _ => return mismatch(),
    })
}

fn union(writer: &AvroSchema, branches: &[TypeId], target: &LogicalType) -> Node {
    let mut nodes: Vec<Node> = branches
        .iter()
        .map(|branch| match node(writer, *branch, target) {
            Ok(node) => node,
            Err(reason) => Node::Refuse(reason.into()),
        })
        .collect();
    match nodes.as_slice() {
        [Node::Null, _] => Node::NullOr {
            null_at: 0,
            other: Box::new(nodes.remove(1)),
        },
        [_, Node::Null] => Node::NullOr {
            null_at: 1,
            other: Box::new(nodes.remove(0)),
        },
        _ => Node::Union(nodes),
    }
}

fn time(long: bool, logical: Option<Logical>, precision: u8, of_day: bool) -> Node {
    let unit = match logical {
        Some(Logical::TimestampMicros | Logical::LocalTimestampMicros | Logical::TimeMicros) => {
            Unit::Micros
        }
        Some(Logical::TimestampNanos | Logical::LocalTimestampNanos) => Unit::Nanos,
        // A number without a meaning is read as milliseconds, as Flink does.
        _ => Unit::Millis,
    };
    let step = match (unit, 10_i64.pow(u32::from(6_u8.saturating_sub(precision)))) {
        // Whole milliseconds have nothing to cut.
        (Unit::Millis, ..=1000) => 1,
        (_, step) => step,
    };
    Node::Time {
        long,
        unit,
        step,
        of_day,
    }
}

fn skip(writer: &AvroSchema, id: TypeId) -> Skip {
    match &writer.get(id).kind {
        Kind::Null => Skip::Fixed(0),
        Kind::Boolean => Skip::Fixed(1),
        Kind::Float => Skip::Fixed(4),
        Kind::Double => Skip::Fixed(8),
        Kind::Fixed(fixed) => Skip::Fixed(fixed.size),
        Kind::Int | Kind::Long => Skip::Varint,
        Kind::String | Kind::Bytes => Skip::Spans,
        Kind::Union(_) => match writer.nullable(id) {
            Some((position, other)) => Skip::NullOr {
                null_at: if position == 0 { 1 } else { 0 },
                other: Box::new(skip_flat(writer, other)),
            },
            None => Skip::Type(id),
        },
        _ => Skip::Type(id),
    }
}

/// A union directly inside a union is not Avro, so this goes one level deep.
fn skip_flat(writer: &AvroSchema, id: TypeId) -> Skip {
    match &writer.get(id).kind {
        Kind::Union(_) => Skip::Type(id),
        _ => skip(writer, id),
    }
}
