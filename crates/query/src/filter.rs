//! A query's filters, as far as Iceberg can use them to leave out files and row groups.
//!
//! Whatever has no counterpart is left out: the rows are filtered again above the scan, so saying less to Iceberg is slower
//! but never wrong. That is why a conjunct may be dropped, and an `OR` only as a whole.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator};
use iceberg::expr::{Predicate, Reference};
use iceberg::spec::{Datum, PrimitiveType, Schema, Type};

/// What all `filters` together say, if Iceberg can use any of it.
///
/// Queries name columns as `read` does, and Iceberg looks for them as `written` does, the snapshot's schema. A column that
/// was renamed since is found by its id; under its old name may be another one, and one that came later excludes nothing.
pub(crate) fn predicate(filters: &[Expr], read: &Schema, written: &Schema) -> Option<Predicate> {
    let columns = Columns { read, written };
    let said = filters.iter().filter_map(|filter| one(filter, columns));
    said.reduce(Predicate::and)
}

#[derive(Clone, Copy)]
struct Columns<'a> {
    read: &'a Schema,
    written: &'a Schema,
}

fn one(filter: &Expr, columns: Columns<'_>) -> Option<Predicate> {
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
            Operator::And => match (one(left, columns), one(right, columns)) {
                (Some(left), Some(right)) => Some(left.and(right)),
                (left, right) => left.or(right),
            },
            Operator::Or => Some(one(left, columns)?.or(one(right, columns)?)),
            _ => match (column(left, columns), column(right, columns)) {
                (Some(column), None) => compare(column, *op, right),
                (None, Some(column)) => compare(column, op.swap()?, left),
                _ => None,
            },
        },
        Expr::IsNull(inner) => Some(column(inner, columns)?.0.is_null()),
        Expr::IsNotNull(inner) => Some(column(inner, columns)?.0.is_not_null()),
        Expr::InList(InList {
            expr,
            list,
            negated: false,
        }) => {
            let (reference, kind) = column(expr, columns)?;
            let values = list.iter().map(|value| literal(value, kind));
            Some(reference.is_in(values.collect::<Option<Vec<_>>>()?))
        }
        Expr::Between(Between {
            expr,
            negated: false,
            low,
            high,
        }) => {
            let low = compare(column(expr, columns)?, Operator::GtEq, low)?;
            Some(low.and(compare(column(expr, columns)?, Operator::LtEq, high)?))
        }
        _ => None,
    }
}

fn compare(
    (column, kind): (Reference, &PrimitiveType),
    op: Operator,
    value: &Expr,
) -> Option<Predicate> {
    let value = literal(value, kind)?;
    Some(match op {
        Operator::Eq => column.equal_to(value),
        Operator::NotEq => column.not_equal_to(value),
        Operator::Lt => column.less_than(value),
        Operator::LtEq => column.less_than_or_equal_to(value),
        Operator::Gt => column.greater_than(value),
        Operator::GtEq => column.greater_than_or_equal_to(value),
        _ => return None,
    })
}

/// A top-level column of a type whose order is the same here and there. Floats are not: NaN has no place in bounds.
fn column<'a>(expr: &Expr, columns: Columns<'a>) -> Option<(Reference, &'a PrimitiveType)> {
    let Expr::Column(column) = expr else {
        return None;
    };
    let fields = columns.read.as_struct().fields();
    let id = fields.iter().find(|field| field.name == column.name)?.id;
    let field = columns.written.as_struct().field_by_id(id)?;
    match field.field_type.as_ref() {
        Type::Primitive(
            kind @ (PrimitiveType::Int
            | PrimitiveType::Long
            | PrimitiveType::String
            | PrimitiveType::Boolean
            | PrimitiveType::Date
            | PrimitiveType::Timestamp
            | PrimitiveType::Timestamptz),
        ) => Some((Reference::new(&field.name), kind)),
        _ => None,
    }
}

/// The value as one of the column's own type, never rounded.
fn literal(expr: &Expr, kind: &PrimitiveType) -> Option<Datum> {
    let Expr::Literal(value, _) = expr else {
        return None;
    };
    Some(match (kind, value) {
        (PrimitiveType::Int, ScalarValue::Int32(Some(value))) => Datum::int(*value),
        // A column that was widened since: a value beyond what it could hold excludes nothing.
        (PrimitiveType::Int, ScalarValue::Int64(Some(value))) => {
            Datum::int(i32::try_from(*value).ok()?)
        }
        (PrimitiveType::Long, ScalarValue::Int64(Some(value))) => Datum::long(*value),
        (
            PrimitiveType::String,
            ScalarValue::Utf8(Some(value))
            | ScalarValue::LargeUtf8(Some(value))
            | ScalarValue::Utf8View(Some(value)),
        ) => Datum::string(value),
        (PrimitiveType::Boolean, ScalarValue::Boolean(Some(value))) => Datum::bool(*value),
        (PrimitiveType::Date, ScalarValue::Date32(Some(days))) => Datum::date(*days),
        (PrimitiveType::Timestamp, ScalarValue::TimestampMicrosecond(Some(micros), None)) => {
            Datum::timestamp_micros(*micros)
        }
        (PrimitiveType::Timestamptz, ScalarValue::TimestampMicrosecond(Some(micros), Some(_))) => {
            Datum::timestamptz_micros(*micros)
        }
        _ => return None,
    })
}
