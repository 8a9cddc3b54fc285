//! One field into one column, as Flink's `CsvToRowDataConverters` convert it.
//!
//! What does not convert is a [`Fault::Field`]; `'csv.ignore-parse-errors'` turns it into NULL at the innermost place that may
//! be NULL.

use crate::column::{Column, Data, TooLarge};
use crate::text::{self, Resolve, Seconds, Width, integer, java_trim};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lw_graph::{CsvSpec, LogicalType, TypeKind};

/// Why a field did not become a column's value.
pub(super) enum Fault {
    /// It does not convert to the declared type.
    Field,
    /// NULL where the table declares NOT NULL.
    Null,
    BatchFull,
}

impl From<TooLarge> for Fault {
    fn from(_: TooLarge) -> Fault {
        Fault::BatchFull
    }
}

pub(super) struct Reader<'o> {
    pub(super) spec: &'o CsvSpec,
    /// Faults turned into NULL.
    pub(super) ignored: usize,
}

impl Reader<'_> {
    /// Puts a field into one more row of the column.
    pub(super) fn field(
        &mut self,
        field: &str,
        ty: &LogicalType,
        column: &mut Column,
    ) -> Result<(), Fault> {
        let rows = column.len();
        match self.convert(field, ty, column) {
            Err(Fault::Field) if self.spec.ignore_parse_errors && column.nullable => {
                self.ignored += 1;
                column.truncate(rows);
                column.push_null();
                Ok(())
            }
            other => other,
        }
    }

    /// The row has no field for this column.
    pub(super) fn missing(&mut self, column: &mut Column) -> Result<(), Fault> {
        null(column)
    }

    fn convert(&mut self, field: &str, ty: &LogicalType, column: &mut Column) -> Result<(), Fault> {
        match &ty.kind {
            TypeKind::Array(of) => self.list(field, of, column),
            TypeKind::Row(fields) => {
                let types: Vec<&LogicalType> = fields.iter().map(|field| &field.ty).collect();
                self.row(field, &types, column)
            }
            _ if self.spec.null_literal.as_deref() == Some(field) => null(column),
            kind => scalar(kind, field, column),
        }
    }

    /// An empty field is an array without elements, and no array is NULL.
    fn list(&mut self, field: &str, of: &LogicalType, column: &mut Column) -> Result<(), Fault> {
        if let Data::List(_, items) = &mut column.data
            && !field.is_empty()
        {
            for element in field.split(self.spec.element_delimiter) {
                self.field(element, of, items)?;
            }
        }
        Ok(column.close_items()?)
    }

    /// An empty field is NULL. Elements beyond the members are passed over.
    fn row(
        &mut self,
        field: &str,
        types: &[&LogicalType],
        column: &mut Column,
    ) -> Result<(), Fault> {
        if field.is_empty() {
            return null(column);
        }
        let Data::Row(members) = &mut column.data else {
            return Err(Fault::Field);
        };
        let mut elements = field.split(self.spec.element_delimiter);
        for (ty, member) in types.iter().zip(members) {
            match elements.next() {
                Some(element) => self.field(element, ty, member)?,
                None if self.spec.ignore_parse_errors => {
                    self.ignored += 1;
                    self.missing(member)?;
                }
                None => return Err(Fault::Field),
            }
        }
        column.settle();
        Ok(())
    }
}

fn null(column: &mut Column) -> Result<(), Fault> {
    if !column.nullable {
        return Err(Fault::Null);
    }
    column.push_null();
    Ok(())
}

fn scalar(kind: &TypeKind, field: &str, column: &mut Column) -> Result<(), Fault> {
    macro_rules! put {
        ($variant:ident, $value:expr) => {{
            let value = $value.ok_or(Fault::Field)?;
            if let Data::$variant(values) = &mut column.data {
                values.push(value);
            }
            column.settle();
            Ok(())
        }};
    }
    let whole = |field| integer(java_trim(field)).ok();
    match kind {
        TypeKind::Boolean => {
            // Anything but `true` is false.
            let truth = java_trim(field).eq_ignore_ascii_case("true");
            if let Data::Boolean(values) = &mut column.data {
                values.append(truth);
            }
            column.settle();
            Ok(())
        }
        TypeKind::TinyInt => put!(I8, whole(field).and_then(|n| n.try_into().ok())),
        TypeKind::SmallInt => put!(I16, whole(field).and_then(|n| n.try_into().ok())),
        TypeKind::Int => put!(I32, whole(field).and_then(|n| n.try_into().ok())),
        TypeKind::BigInt => put!(I64, whole(field)),
        TypeKind::Float => put!(F32, text::parse_float(field)),
        TypeKind::Double => put!(F64, text::parse_double(field)),
        TypeKind::Decimal { precision, scale } => {
            match text::parse_decimal(field.as_bytes(), *precision, *scale) {
                Err(_) => Err(Fault::Field),
                Ok(Some(unscaled)) => put!(I128, Some(unscaled)),
                // Flink gives NULL for a decimal that does not fit.
                Ok(None) => null(column),
            }
        }
        TypeKind::Char(_) | TypeKind::Varchar(_) => Ok(column.push_bytes(field.as_bytes())?),
        TypeKind::Binary(_) | TypeKind::Varbinary(_) => {
            let bytes = STANDARD.decode(field).map_err(|_| Fault::Field)?;
            Ok(column.push_bytes(&bytes)?)
        }
        TypeKind::Date => put!(I32, text::sql_date(field.as_bytes())),
        TypeKind::Time(p) => put!(I64, time_of_day(field.as_bytes(), *p)),
        // A time is trimmed, an instant is not.
        TypeKind::Timestamp(p) => {
            put!(
                I64,
                text::local_time(java_trim(field).as_bytes(), false, *p)
            )
        }
        TypeKind::TimestampLtz(p) => put!(I64, text::instant(field.as_bytes(), false, *p)),
        _ => Err(Fault::Field),
    }
}

/// `12:34[:56[.789]]`, as `LocalTime.parse` reads it: microseconds, cut to `precision` digits.
fn time_of_day(field: &[u8], precision: u8) -> Option<i64> {
    let mut digits = text::Digits { rest: field };
    let nanos = text::time(&mut digits, Width::Two, Resolve::Strict, Seconds::Optional)?;
    let micros = text::cut(nanos / 1000, precision);
    digits.rest.is_empty().then_some(micros)
}
