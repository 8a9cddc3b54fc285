//! Values as text, as `CAST(… AS STRING)` and the `print` sink give them.
//!
//! `TRUE`, `1.0E10`, `[1, NULL]`, `{a=1}`, `(1, x)`, `+0 01:30:00.000`.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, DurationMillisecondType, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, IntervalYearMonthType, Time64MicrosecondType,
    TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef};
use lw_formats::text;
use lw_graph::TypeKind;
use std::fmt::Write;

/// Writes the value in a row that is not NULL.
pub(super) type Writer<'a> = Box<dyn Fn(usize, &mut String) + 'a>;

/// A writer for the values of an array of this kind.
pub(super) fn writer<'a>(kind: &'a TypeKind, array: &'a ArrayRef) -> Writer<'a> {
    macro_rules! whole {
        ($ty:ty) => {{
            let array = array.as_primitive::<$ty>();
            Box::new(move |row, out| {
                let _ = write!(out, "{}", array.value(row));
            })
        }};
    }
    match kind {
        TypeKind::Null => Box::new(|_, _| {}),
        TypeKind::Boolean => {
            let array = array.as_boolean();
            Box::new(move |row, out| out.push_str(if array.value(row) { "TRUE" } else { "FALSE" }))
        }
        TypeKind::TinyInt => whole!(Int8Type),
        TypeKind::SmallInt => whole!(Int16Type),
        TypeKind::Int => whole!(Int32Type),
        TypeKind::BigInt => whole!(Int64Type),
        TypeKind::Float => {
            let array = array.as_primitive::<Float32Type>();
            Box::new(move |row, out| text::write_float(array.value(row), out))
        }
        TypeKind::Double => {
            let array = array.as_primitive::<Float64Type>();
            Box::new(move |row, out| text::write_double(array.value(row), out))
        }
        TypeKind::Decimal { scale, .. } => {
            let array = array.as_primitive::<Decimal128Type>();
            Box::new(move |row, out| text::write_decimal(array.value(row), *scale, out))
        }
        TypeKind::Char(_) | TypeKind::Varchar(_) => {
            let array = array.as_string::<i32>();
            Box::new(move |row, out| out.push_str(array.value(row)))
        }
        TypeKind::Binary(_) | TypeKind::Varbinary(_) => {
            let array = array.as_binary::<i32>();
            Box::new(move |row, out| out.push_str(&String::from_utf8_lossy(array.value(row))))
        }
        TypeKind::Date => {
            let array = array.as_primitive::<Date32Type>();
            Box::new(move |row, out| text::write_date(array.value(row), out))
        }
        TypeKind::Time(p) => {
            let array = array.as_primitive::<Time64MicrosecondType>();
            Box::new(move |row, out| text::write_time(array.value(row), *p, out))
        }
        TypeKind::Timestamp(p) | TypeKind::TimestampLtz(p) => {
            let array = array.as_primitive::<TimestampMicrosecondType>();
            Box::new(move |row, out| text::write_timestamp(array.value(row), *p, out))
        }
        TypeKind::IntervalMonths => {
            let array = array.as_primitive::<IntervalYearMonthType>();
            Box::new(move |row, out| write_months(array.value(row), out))
        }
        TypeKind::IntervalMillis => {
            let array = array.as_primitive::<DurationMillisecondType>();
            Box::new(move |row, out| write_millis(array.value(row), out))
        }
        TypeKind::Array(_) | TypeKind::Map(..) | TypeKind::Row(_) => nested(kind, array),
    }
}

fn nested<'a>(kind: &'a TypeKind, array: &'a ArrayRef) -> Writer<'a> {
    match kind {
        TypeKind::Array(of) => {
            let array = array.as_list::<i32>();
            let item = nullable(&of.kind, array.values());
            Box::new(move |row, out| {
                let (from, to) = span(array.value_offsets(), row);
                separated(out, ["[", "]"], from..to, |index, out| item(index, out));
            })
        }
        TypeKind::Map(key, value) => {
            let array = array.as_map();
            let key = nullable(&key.kind, array.keys());
            let value = nullable(&value.kind, array.values());
            Box::new(move |row, out| {
                let (from, to) = span(array.value_offsets(), row);
                separated(out, ["{", "}"], from..to, |index, out| {
                    key(index, out);
                    out.push('=');
                    value(index, out);
                });
            })
        }
        TypeKind::Row(fields) => {
            let array = array.as_struct();
            let members: Vec<Writer<'a>> = fields
                .iter()
                .zip(array.columns())
                .map(|(field, column)| nullable(&field.ty.kind, column))
                .collect();
            Box::new(move |row, out| {
                separated(out, ["(", ")"], 0..members.len(), |member, out| {
                    members[member](row, out);
                });
            })
        }
        other => unreachable!("{other} is not nested"),
    }
}

fn nullable<'a>(kind: &'a TypeKind, array: &'a ArrayRef) -> Writer<'a> {
    let write = writer(kind, array);
    Box::new(move |row, out| {
        if array.is_null(row) {
            out.push_str("NULL");
        } else {
            write(row, out);
        }
    })
}

fn separated(
    out: &mut String,
    [open, close]: [&str; 2],
    items: std::ops::Range<usize>,
    write: impl Fn(usize, &mut String),
) {
    out.push_str(open);
    for index in items.clone() {
        if index > items.start {
            out.push_str(", ");
        }
        write(index, out);
    }
    out.push_str(close);
}

fn span(offsets: &[i32], row: usize) -> (usize, usize) {
    let at = |index: usize| usize::try_from(offsets[index]).expect("offsets are not negative");
    (at(row), at(row + 1))
}

fn write_months(months: i32, out: &mut String) {
    let sign = if months < 0 { '-' } else { '+' };
    let months = months.unsigned_abs();
    let _ = write!(out, "{sign}{}-{:02}", months / 12, months % 12);
}

fn write_millis(millis: i64, out: &mut String) {
    let sign = if millis < 0 { '-' } else { '+' };
    let millis = millis.unsigned_abs();
    let (seconds, fraction) = (millis / 1000, millis % 1000);
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let (minutes, seconds) = (seconds / 60 % 60, seconds % 60);
    let _ = write!(
        out,
        "{sign}{days} {hours:02}:{minutes:02}:{seconds:02}.{fraction:03}"
    );
}
