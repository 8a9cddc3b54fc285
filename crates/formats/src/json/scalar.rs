//! Numbers, truths, dates, times and bytes in JSON, as Flink's `JsonParserToRowDataConverters` convert them: text is parsed
//! where a number, date or truth is declared.

use super::scan::Token;
use super::value::Fault;
use crate::column::{Column, Data};
use crate::text::{self, Resolve, Whole, Width, integer, java_trim};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lw_graph::TypeKind;

/// Puts a value that is not nested into one more row of the column. STRING is not its business: any value becomes text there.
pub(super) fn scalar(
    kind: &TypeKind,
    token: &Token<'_>,
    column: &mut Column,
    iso_timestamps: bool,
) -> Result<(), Fault> {
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
    match kind {
        TypeKind::Boolean => {
            let truth = boolean(token);
            if let Data::Boolean(values) = &mut column.data {
                values.append(truth);
            }
            column.settle();
            Ok(())
        }
        TypeKind::TinyInt => put!(
            I8,
            literal(token).and_then(|s| integer(s).ok()?.try_into().ok())
        ),
        TypeKind::SmallInt => put!(
            I16,
            literal(token).and_then(|s| integer(s).ok()?.try_into().ok())
        ),
        TypeKind::Int => put!(I32, whole(token).and_then(|n| n.try_into().ok())),
        TypeKind::BigInt => put!(I64, whole(token)),
        TypeKind::Float => put!(F32, literal(token).and_then(text::parse_float)),
        TypeKind::Double => put!(F64, literal(token).and_then(text::parse_double)),
        TypeKind::Decimal { precision, scale } => {
            let digits = literal(token).ok_or(Fault::Field)?;
            match text::parse_decimal(digits.as_bytes(), *precision, *scale) {
                Err(_) => Err(Fault::Field),
                Ok(Some(unscaled)) => put!(I128, Some(unscaled)),
                // Flink gives NULL for a decimal that does not fit.
                Ok(None) if column.nullable => {
                    column.push_null();
                    Ok(())
                }
                Ok(None) => Err(Fault::Null),
            }
        }
        TypeKind::Binary(_) | TypeKind::Varbinary(_) => {
            let bytes = quoted(token).and_then(|s| STANDARD.decode(s).ok());
            column
                .push_bytes(&bytes.ok_or(Fault::Field)?)
                .map_err(|_| Fault::BatchFull)
        }
        TypeKind::Date => put!(
            I32,
            quoted(token).and_then(|s| text::parse_date(s.as_bytes(), Width::Two, Resolve::Strict))
        ),
        TypeKind::Time(p) => put!(
            I64,
            quoted(token).and_then(|s| text::parse_time(s.as_bytes(), Width::Two, *p))
        ),
        TypeKind::Timestamp(p) => {
            put!(
                I64,
                quoted(token).and_then(|s| text::local_time(s.as_bytes(), iso_timestamps, *p))
            )
        }
        TypeKind::TimestampLtz(p) => {
            put!(
                I64,
                quoted(token).and_then(|s| text::instant(s.as_bytes(), iso_timestamps, *p))
            )
        }
        _ => Err(Fault::Field),
    }
}

/// Anything but `true` is false, in text too.
fn boolean(token: &Token<'_>) -> bool {
    match token {
        Token::Bool(truth) => *truth,
        Token::Text(text) => java_trim(text).eq_ignore_ascii_case("true"),
        _ => false,
    }
}

/// A number's literal, or a string's content without the blanks around it.
fn literal<'t>(token: &'t Token<'_>) -> Option<&'t str> {
    match token {
        Token::Number(literal) => Some(literal),
        Token::Text(text) => Some(java_trim(text)),
        _ => None,
    }
}

fn quoted<'t>(token: &'t Token<'_>) -> Option<&'t str> {
    match token {
        Token::Text(text) => Some(text),
        _ => None,
    }
}

/// A number is cut to its whole part (`1.9` is 1, `1e2` is 100); text must be whole already.
fn whole(token: &Token<'_>) -> Option<i64> {
    match token {
        Token::Number(literal) => match integer(literal) {
            Ok(number) => Some(number),
            Err(Whole::TooLarge) => None,
            Err(Whole::NotWhole) => cut_number(literal),
        },
        Token::Text(text) => integer(java_trim(text)).ok(),
        _ => None,
    }
}

/// By way of a double, as Jackson's `getIntValue` and `getLongValue` do.
fn cut_number(literal: &str) -> Option<i64> {
    let number: f64 = literal.parse().ok()?;
    let bound = 9_223_372_036_854_775_808.0;
    #[expect(clippy::cast_possible_truncation, reason = "the range was checked")]
    (number >= -bound && number < bound).then_some(number as i64)
}
