//! Values as JSON, as Flink writes them: objects in the order of their keys, numbers as Java's `BigDecimal` prints them, times as ISO 8601
//! has them, bytes as base64.

use super::super::Fault;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lw_formats::{Json, text, write_json_string};
use lw_graph::TypeKind;
use std::cmp::Ordering;
use std::fmt::Write;
use std::ops::Range;

/// Writes the value at an index; NULL as `null`.
pub(in super::super) type Writer<'a> = Box<dyn Fn(usize, &mut String) -> Result<(), Fault> + 'a>;

/// # Panics
/// For a kind that the functions' rows do not take: DATE, TIME, INTERVAL.
pub(in super::super) fn writer<'a>(kind: &'a TypeKind, array: &'a ArrayRef) -> Writer<'a> {
    let known = known_writer(kind, array);
    Box::new(move |index, out| {
        if array.is_null(index) {
            out.push_str("null");
            return Ok(());
        }
        known(index, out)
    })
}

fn known_writer<'a>(kind: &'a TypeKind, array: &'a ArrayRef) -> Writer<'a> {
    macro_rules! whole {
        ($ty:ty) => {{
            let array = array.as_primitive::<$ty>();
            Box::new(move |index, out: &mut String| {
                let _ = write!(out, "{}", array.value(index));
                Ok(())
            })
        }};
    }
    match kind {
        TypeKind::Boolean => {
            let array = array.as_boolean();
            Box::new(move |index, out| {
                out.push_str(if array.value(index) { "true" } else { "false" });
                Ok(())
            })
        }
        TypeKind::TinyInt => whole!(Int8Type),
        TypeKind::SmallInt => whole!(Int16Type),
        TypeKind::Int => whole!(Int32Type),
        TypeKind::BigInt => whole!(Int64Type),
        TypeKind::Float => {
            let array = array.as_primitive::<Float32Type>();
            Box::new(move |index, out| write_double(f64::from(array.value(index)), out))
        }
        TypeKind::Double => {
            let array = array.as_primitive::<Float64Type>();
            Box::new(move |index, out| write_double(array.value(index), out))
        }
        TypeKind::Decimal { scale, .. } => {
            let array = array.as_primitive::<Decimal128Type>();
            Box::new(move |index, out| {
                let mut digits = String::new();
                text::write_decimal(array.value(index), *scale, &mut digits);
                write_number(&digits, out);
                Ok(())
            })
        }
        TypeKind::Char(_) | TypeKind::Varchar(_) => {
            let array = array.as_string::<i32>();
            Box::new(move |index, out| {
                write_json_string(array.value(index), out);
                Ok(())
            })
        }
        TypeKind::Binary(_) | TypeKind::Varbinary(_) => {
            let array = array.as_binary::<i32>();
            Box::new(move |index, out| {
                out.push('"');
                STANDARD.encode_string(array.value(index), out);
                out.push('"');
                Ok(())
            })
        }
        TypeKind::Timestamp(_) | TypeKind::TimestampLtz(_) => {
            let array = array.as_primitive::<TimestampMicrosecondType>();
            let zone = if matches!(kind, TypeKind::TimestampLtz(_)) {
                "Z"
            } else {
                ""
            };
            Box::new(move |index, out| {
                out.push('"');
                write_time(array.value(index), out);
                out.push_str(zone);
                out.push('"');
                Ok(())
            })
        }
        TypeKind::Array(of) => {
            let array = array.as_list::<i32>();
            let element = writer(&of.kind, array.values());
            Box::new(move |index, out| {
                out.push('[');
                for (at, place) in span(array.value_offsets(), index).enumerate() {
                    out.push_str(if at == 0 { "" } else { "," });
                    element(place, out)?;
                }
                out.push(']');
                Ok(())
            })
        }
        TypeKind::Map(_, value) => {
            let array = array.as_map();
            let keys = array.keys().as_string::<i32>();
            let value = writer(&value.kind, array.values());
            Box::new(move |index, out| {
                let mut places: Vec<usize> = span(array.value_offsets(), index).collect();
                places.sort_by(|a, b| order(keys.value(*a), keys.value(*b)));
                let members = places.iter().map(|place| (keys.value(*place), *place));
                write_object(members, out, |place, out| value(place, out))
            })
        }
        TypeKind::Row(fields) => {
            let array = array.as_struct();
            let mut members: Vec<(&str, Writer<'a>)> = fields
                .iter()
                .zip(array.columns())
                .map(|(field, column)| (field.name.as_str(), writer(&field.ty.kind, column)))
                .collect();
            members.sort_by(|a, b| order(a.0, b.0));
            Box::new(move |index, out| {
                let members = members.iter().map(|(name, write)| (*name, write));
                write_object(members, out, |write, out| write(index, out))
            })
        }
        other => unreachable!("the function's row takes no {other}"),
    }
}

fn span(offsets: &[i32], at: usize) -> Range<usize> {
    let place = |at: usize| usize::try_from(offsets[at]).expect("offsets are not negative");
    place(at)..place(at + 1)
}

/// As Java orders its strings.
pub(super) fn order(a: &str, b: &str) -> Ordering {
    a.encode_utf16().cmp(b.encode_utf16())
}

/// Members that are in order already.
pub(super) fn write_object<'k, V>(
    members: impl Iterator<Item = (&'k str, V)>,
    out: &mut String,
    write: impl Fn(V, &mut String) -> Result<(), Fault>,
) -> Result<(), Fault> {
    out.push('{');
    for (at, (key, value)) in members.enumerate() {
        out.push_str(if at == 0 { "" } else { "," });
        write_json_string(key, out);
        out.push(':');
        write(value, out)?;
    }
    out.push('}');
    Ok(())
}

/// A document that was read.
pub(super) fn write_json(json: &Json<'_>, out: &mut String) {
    match json {
        Json::Number(digits) => write_number(digits, out),
        Json::Array(elements) => {
            out.push('[');
            for (at, element) in elements.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { "," });
                write_json(element, out);
            }
            out.push(']');
        }
        Json::Object(members) => {
            let mut members: Vec<(&str, &Json<'_>)> = members
                .iter()
                .map(|(key, value)| (key.as_ref(), value))
                .collect();
            members.sort_by(|a, b| order(a.0, b.0));
            let written = write_object(members.into_iter(), out, |value, out| {
                write_json(value, out);
                Ok(())
            });
            written.expect("a document that was read can be written");
        }
        other => other.write(out),
    }
}

fn write_double(value: f64, out: &mut String) -> Result<(), Fault> {
    if !value.is_finite() {
        return Err(super::fault(
            "JSON has no infinite numbers and no NaN".to_string(),
        ));
    }
    let mut digits = String::new();
    text::write_double(value, &mut digits);
    write_number(&digits, out);
    Ok(())
}

/// Digits, perhaps with a point and an exponent, as `BigDecimal` prints them: `1.50`, `1E+3`; whole numbers as they are.
pub(super) fn write_number(digits: &str, out: &mut String) {
    let (sign, unsigned) = match digits.strip_prefix('-') {
        Some(unsigned) => ("-", unsigned),
        None => ("", digits),
    };
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let joined = format!("{whole}{fraction}");
    let unscaled = match joined.trim_start_matches('0') {
        "" => "0",
        unscaled => unscaled,
    };
    let Ok(exponent) = exponent.parse::<i64>() else {
        out.push_str(digits);
        return;
    };
    let places = i64::try_from(fraction.len()).unwrap_or(i64::MAX);
    let scale = places.saturating_sub(exponent);
    let count = i64::try_from(unscaled.len()).unwrap_or(i64::MAX);
    let adjusted = (count - 1).saturating_sub(scale);
    out.push_str(if unscaled == "0" { "" } else { sign });
    if scale == 0 {
        out.push_str(unscaled);
    } else if scale > 0 && adjusted >= -6 {
        let padded = format!(
            "{unscaled:0>width$}",
            width = usize::try_from(scale + 1).unwrap_or(0)
        );
        let point = padded.len() - usize::try_from(scale).unwrap_or(0);
        let _ = write!(out, "{}.{}", &padded[..point], &padded[point..]);
    } else {
        let (first, rest) = unscaled.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        let _ = write!(out, "{first}{point}{rest}");
        if adjusted != 0 {
            let _ = write!(out, "E{adjusted:+}");
        }
    }
}

/// `2026-01-31T10:11:12.5`: as many digits of a second as it has.
fn write_time(micros: i64, out: &mut String) {
    let start = out.len();
    text::write_timestamp(micros, 6, out);
    let written = out.split_off(start).replace(' ', "T");
    let written = written.trim_end_matches('0');
    match written.strip_suffix('.') {
        Some(whole) => out.push_str(whole),
        None => out.push_str(written),
    }
}
