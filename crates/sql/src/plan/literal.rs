//! Constants: what type a literal has under Flink's rules, and casts of literals done while planning.

use crate::Result;
use crate::diagnostic::{Diagnostic, Span};
use lw_graph::{Expr, LogicalType, TypeKind, Value};
use lw_stdx::calendar::{days_from_civil, days_of_month};
use sqlparser::ast;

pub(super) fn literal(value: Value, kind: TypeKind) -> Expr {
    let nullable = value == Value::Null;
    Expr::Literal {
        value,
        ty: kind.nullable().with_nullable(nullable),
    }
}

/// `1` is INT, or BIGINT where it does not fit; `1.50` is DECIMAL(3, 2); `1e0` is DOUBLE.
pub(super) fn number(digits: &str, span: Span) -> Result<Expr> {
    if digits.contains(['e', 'E']) {
        let parsed: Option<f64> = digits.parse().ok();
        let value = parsed.filter(|v| v.is_finite());
        return match value {
            Some(value) => Ok(literal(Value::Double(value), TypeKind::Double)),
            None => Err(out_of_range(digits, span)),
        };
    }
    let (sign, unsigned) = match digits.strip_prefix('-') {
        Some(unsigned) => ("-", unsigned),
        None => ("", digits),
    };
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    if fraction.is_empty() {
        let value: i64 = format!("{sign}{whole}")
            .parse()
            .map_err(|_| out_of_range(digits, span))?;
        let kind = match i32::try_from(value) {
            Ok(_) => TypeKind::Int,
            Err(_) => TypeKind::BigInt,
        };
        return Ok(literal(Value::Integer(value), kind));
    }
    // The zero before the point counts, but not as the 39th digit.
    let mut precision = whole.len() + fraction.len();
    if precision == 39 && whole == "0" {
        precision = 38;
    }
    let unscaled: Option<i128> = format!("{sign}{whole}{fraction}").parse().ok();
    match unscaled {
        Some(unscaled) if precision <= 38 => {
            let kind = TypeKind::Decimal {
                precision: precision as u8,
                scale: fraction.len() as u8,
            };
            Ok(literal(Value::Decimal(unscaled), kind))
        }
        _ => Err(out_of_range(digits, span)),
    }
}

fn out_of_range(digits: &str, span: Span) -> Diagnostic {
    Diagnostic::error(
        "literal",
        span,
        format!("the number {digits} is out of range"),
    )
    .hint(format!("CAST('{digits}' AS DECIMAL(38, 0))"))
}

pub(super) fn text(value: &str) -> Expr {
    let length = value.chars().count() as u32;
    literal(Value::String(value.to_string()), TypeKind::Char(length))
}

pub(super) fn hex(digits: &str, span: Span) -> Result<Expr> {
    let bytes: Option<Vec<u8>> = digits
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    match bytes {
        Some(bytes) if digits.len().is_multiple_of(2) => {
            let length = bytes.len() as u32;
            Ok(literal(Value::Bytes(bytes), TypeKind::Binary(length)))
        }
        _ => Err(Diagnostic::error(
            "literal",
            span,
            "a binary literal has pairs of hexadecimal digits",
        )
        .hint("X'48656C'")),
    }
}

/// `DATE '…'`, `TIME '…'`, `TIMESTAMP '…'`.
pub(super) fn typed(data_type: &ast::DataType, text: &str, span: Span) -> Result<Expr> {
    let bad = |what: &str, example: &str| {
        Diagnostic::error("literal", span, format!("'{text}' is not a {what}"))
            .hint(example.to_string())
    };
    match data_type {
        ast::DataType::Date => {
            let days = date(text).ok_or_else(|| bad("date", "DATE '2026-01-31'"))?;
            Ok(literal(Value::Date(days), TypeKind::Date))
        }
        ast::DataType::Time(..) => {
            let (nanos, digits) = time(text).ok_or_else(|| bad("time", "TIME '10:11:12'"))?;
            Ok(literal(Value::Time(nanos), TypeKind::Time(digits)))
        }
        ast::DataType::Timestamp(..) => {
            let (nanos, digits) = timestamp(text)
                .ok_or_else(|| bad("timestamp", "TIMESTAMP '2026-01-31 10:11:12.123'"))?;
            Ok(literal(
                Value::Timestamp(nanos),
                TypeKind::Timestamp(digits),
            ))
        }
        other => Err(Diagnostic::unsupported(
            span,
            format!("a literal of type {other} is"),
        )),
    }
}

/// `INTERVAL '5' SECOND`, `INTERVAL '1-2' YEAR TO MONTH`, `INTERVAL '1 02:03:04' DAY TO SECOND`.
pub(super) fn interval(interval: &ast::Interval, span: Span) -> Result<Expr> {
    if let ast::Expr::UnaryOp {
        op: ast::UnaryOperator::Minus,
        expr,
    } = interval.value.as_ref()
    {
        let mut positive = interval.clone();
        positive.value = expr.clone();
        return Ok(match self::interval(&positive, span)? {
            Expr::Literal { value, ty } => Expr::Literal {
                value: match value {
                    Value::IntervalMonths(months) => Value::IntervalMonths(-months),
                    Value::IntervalMillis(millis) => Value::IntervalMillis(-millis),
                    other => other,
                },
                ty,
            },
            other => other,
        });
    }
    let ast::Expr::Value(ast::ValueWithSpan {
        value: ast::Value::SingleQuotedString(text) | ast::Value::Number(text, _),
        ..
    }) = interval.value.as_ref()
    else {
        return Err(
            Diagnostic::error("literal", span, "an interval's length is a constant")
                .hint("INTERVAL '5' SECOND"),
        );
    };
    let quoted = !matches!(
        interval.value.as_ref(),
        ast::Expr::Value(ast::ValueWithSpan {
            value: ast::Value::Number(..),
            ..
        })
    );
    let Some(first) = interval.leading_field.as_ref().and_then(unit) else {
        return Err(
            Diagnostic::error("literal", span, "an interval needs a unit").hint(
                "INTERVAL '5' SECOND; units: YEAR, QUARTER, MONTH, WEEK, DAY, HOUR, MINUTE, SECOND",
            ),
        );
    };
    let last = match &interval.last_field {
        None => first,
        Some(field) => unit(field).unwrap_or(first),
    };
    let bad = || {
        Diagnostic::error(
            "literal",
            span,
            format!("'{text}' is not a length of this interval"),
        )
        .hint("INTERVAL '5' SECOND, INTERVAL '1:30' HOUR TO MINUTE")
    };
    let (negative, digits) = match text.trim().strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.trim()),
    };
    let leading = digits.split(['-', ' ', ':', '.']).next().unwrap_or(digits);
    let most = interval.leading_precision.unwrap_or(2);
    if leading.trim_start_matches('0').len() as u64 > most && quoted {
        let message = format!("an interval of more than {most} digits");
        return Err(Diagnostic::error("literal", span, message).hint(
            "say how many: INTERVAL '100' SECOND(3); or use a greater unit: INTERVAL '1:40' MINUTE TO SECOND",
        ));
    }
    let length = if first == last {
        single(digits, first)
    } else {
        range(digits, first, last)
    };
    let length = length.ok_or_else(bad)?;
    let length = if negative { -length } else { length };
    if first.months() {
        let months = i32::try_from(length).map_err(|_| bad())?;
        return Ok(literal(
            Value::IntervalMonths(months),
            TypeKind::IntervalMonths,
        ));
    }
    Ok(literal(
        Value::IntervalMillis(length),
        TypeKind::IntervalMillis,
    ))
}

#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Unit {
    Year,
    Quarter,
    Month,
    Week,
    Day,
    Hour,
    Minute,
    Second,
}

impl Unit {
    fn months(self) -> bool {
        self <= Unit::Month
    }

    /// In months or in milliseconds.
    fn size(self) -> i64 {
        match self {
            Unit::Year => 12,
            Unit::Quarter => 3,
            Unit::Month => 1,
            Unit::Week => 7 * 86_400_000,
            Unit::Day => 86_400_000,
            Unit::Hour => 3_600_000,
            Unit::Minute => 60_000,
            Unit::Second => 1_000,
        }
    }
}

fn unit(field: &ast::DateTimeField) -> Option<Unit> {
    use ast::DateTimeField::*;
    Some(match field {
        Year | Years => Unit::Year,
        Quarter => Unit::Quarter,
        Month | Months => Unit::Month,
        Week(None) | Weeks => Unit::Week,
        Day | Days => Unit::Day,
        Hour | Hours => Unit::Hour,
        Minute | Minutes => Unit::Minute,
        Second | Seconds => Unit::Second,
        _ => return None,
    })
}

fn single(text: &str, unit: Unit) -> Option<i64> {
    if unit == Unit::Second {
        return seconds(text);
    }
    let number: u32 = text.parse().ok()?;
    i64::from(number).checked_mul(unit.size())
}

/// Seconds with a fraction, in milliseconds.
fn seconds(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole: u32 = whole.parse().ok()?;
    let millis = fraction_nanos(fraction)? / 1_000_000;
    Some(i64::from(whole) * 1_000 + millis)
}

/// `1-2` for months, `1 02:03:04.5` for days to seconds; from `first` to `last`.
fn range(text: &str, first: Unit, last: Unit) -> Option<i64> {
    if first.months() {
        let (years, months) = text.split_once('-')?;
        let (years, months): (u32, u32) = (years.parse().ok()?, months.parse().ok()?);
        return Some(i64::from(years) * 12 + i64::from(months));
    }
    let units: Vec<Unit> = [Unit::Day, Unit::Hour, Unit::Minute, Unit::Second]
        .into_iter()
        .filter(|unit| (first..=last).contains(unit))
        .collect();
    let parts: Vec<&str> = text.split([' ', ':']).collect();
    if parts.len() != units.len() {
        return None;
    }
    parts.iter().zip(units).try_fold(0i64, |sum, (part, unit)| {
        sum.checked_add(single(part, unit)?)
    })
}

/// Days since 1970-01-01.
fn date(text: &str) -> Option<i32> {
    let mut parts = text.trim().splitn(3, '-');
    let mut next = || -> Option<i64> {
        let part = parts.next()?;
        part.bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| part.parse().ok())?
    };
    let (year, month, day) = (next()?, next()?, next()?);
    let (month, day) = (u32::try_from(month).ok()?, u32::try_from(day).ok()?);
    if !(1..=9999).contains(&year) || !(1..=12).contains(&month) {
        return None;
    }
    if !(1..=days_of_month(year, month)).contains(&day) {
        return None;
    }
    i32::try_from(days_from_civil(year, month, day)).ok()
}

/// Nanoseconds of the day, and the digits of the fraction.
fn time(text: &str) -> Option<(i64, u8)> {
    let (clock, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    let mut parts = clock.splitn(3, ':');
    let mut next = |limit: i64| -> Option<i64> {
        let value: i64 = parts.next()?.parse().ok()?;
        (0..limit).contains(&value).then_some(value)
    };
    let (hour, minute, second) = (next(24)?, next(60)?, next(60)?);
    let seconds = hour * 3_600 + minute * 60 + second;
    let nanos = fraction_nanos(fraction)?;
    Some((seconds * 1_000_000_000 + nanos, fraction.len() as u8))
}

fn fraction_nanos(fraction: &str) -> Option<i64> {
    if fraction.is_empty() {
        return Some(0);
    }
    // Columns carry microseconds.
    if fraction.len() > 6 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let value: i64 = fraction.parse().ok()?;
    Some(value * 10i64.pow(9 - fraction.len() as u32))
}

/// Nanoseconds since 1970 and the digits of the fraction; a date alone is its midnight.
fn timestamp(text: &str) -> Option<(i128, u8)> {
    let (day, clock) = text
        .trim()
        .split_once(' ')
        .unwrap_or((text.trim(), "00:00:00"));
    let (nanos, digits) = time(clock)?;
    Some((
        i128::from(date(day)?) * 86_400_000_000_000 + i128::from(nanos),
        digits,
    ))
}

/// Whether text can be compared with a time of this type; anything can with any other type.
pub(super) fn reads_as(text: &str, kind: &TypeKind) -> bool {
    match kind {
        TypeKind::Date => date(text.get(..10).unwrap_or(text)).is_some(),
        TypeKind::Timestamp(_) => timestamp(text).is_some(),
        _ => true,
    }
}

/// The literal in another type, where that loses nothing; otherwise the cast is left to the runtime.
pub(super) fn convert(value: &Value, from: &TypeKind, to: &TypeKind) -> Option<Value> {
    match (value, to) {
        (Value::Null, _) => Some(Value::Null),
        (Value::Integer(v), TypeKind::TinyInt) => i8::try_from(*v).ok().map(|_| value.clone()),
        (Value::Integer(v), TypeKind::SmallInt) => i16::try_from(*v).ok().map(|_| value.clone()),
        (Value::Integer(v), TypeKind::Int) => i32::try_from(*v).ok().map(|_| value.clone()),
        (Value::Integer(_), TypeKind::BigInt) => Some(value.clone()),
        (Value::Integer(v), TypeKind::Float | TypeKind::Double) if v.unsigned_abs() < 1 << 24 => {
            Some(Value::Double(*v as f64))
        }
        (Value::Integer(v), TypeKind::Decimal { precision, scale }) => {
            rescale(i128::from(*v), 0, *precision, *scale)
        }
        (Value::Decimal(v), TypeKind::Decimal { precision, scale }) => {
            let (_, from_scale) = from.as_decimal()?;
            rescale(*v, from_scale, *precision, *scale)
        }
        (Value::Decimal(v), TypeKind::Double) => {
            let (_, scale) = from.as_decimal()?;
            format!("{v}e-{scale}").parse().ok().map(Value::Double)
        }
        (Value::Double(_), TypeKind::Double) => Some(value.clone()),
        (Value::String(s), TypeKind::Varchar(n)) if s.chars().count() <= *n as usize => {
            Some(value.clone())
        }
        (Value::String(s), TypeKind::Date) => date(s).map(Value::Date),
        (Value::String(s), TypeKind::Timestamp(p)) => {
            let (nanos, digits) = timestamp(s)?;
            (digits <= *p).then_some(Value::Timestamp(nanos))
        }
        (Value::Timestamp(_), TypeKind::Timestamp(p)) => match from {
            TypeKind::Timestamp(q) if q <= p => Some(value.clone()),
            _ => None,
        },
        (Value::Date(days), TypeKind::Timestamp(_)) => {
            Some(Value::Timestamp(i128::from(*days) * 86_400_000_000_000))
        }
        _ => None,
    }
}

fn rescale(unscaled: i128, from: u8, precision: u8, to: u8) -> Option<Value> {
    let shift = 10i128.checked_pow(u32::from(to.checked_sub(from)?))?;
    let value = unscaled.checked_mul(shift)?;
    let limit = 10i128.checked_pow(u32::from(precision))?;
    (value.checked_abs()? < limit).then_some(Value::Decimal(value))
}

/// A DECIMAL that does not fit its type becomes NULL, not an error.
pub(super) fn may_overflow(from: &TypeKind, to: &TypeKind) -> bool {
    let TypeKind::Decimal { precision, scale } = to else {
        return false;
    };
    match from.as_decimal() {
        Some((p, s)) => p - s > precision - scale,
        None => true,
    }
}

/// `expr` in another kind; its nullability is kept, unless the kind itself can fail to hold it.
pub(super) fn cast(expr: Expr, to: &TypeKind) -> Expr {
    if expr.ty().kind == *to {
        return expr;
    }
    let nullable = expr.ty().nullable || may_overflow(&expr.ty().kind, to);
    let ty: LogicalType = to.clone().nullable().with_nullable(nullable);
    if let Expr::Literal { value, ty: from } = &expr
        && let Some(value) = convert(value, &from.kind, to)
    {
        let nullable = value == Value::Null;
        let ty = ty.with_nullable(nullable);
        return Expr::Literal { value, ty };
    }
    Expr::Cast {
        expr: Box::new(expr),
        ty,
        or_null: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_days_since_1970() {
        assert_eq!(date("1970-01-01"), Some(0));
        assert_eq!(date("2026-03-23"), Some(20_535));
        assert_eq!(date("1969-12-31"), Some(-1));
        assert_eq!(date("2024-02-29"), Some(19_782));
        assert_eq!(date("2026-02-29"), None);
        assert_eq!(date("2026-13-01"), None);
    }

    #[test]
    fn timestamps_carry_the_digits_of_their_fraction() {
        assert_eq!(timestamp("1970-01-01 00:00:01.5"), Some((1_500_000_000, 1)));
        assert_eq!(timestamp("1970-01-02"), Some((86_400_000_000_000, 0)));
        assert_eq!(timestamp("1970-01-01 24:00:00"), None);
    }

    #[test]
    fn ranges_of_units_are_added_up() {
        assert_eq!(
            range("1 02:03:04.5", Unit::Day, Unit::Second),
            Some(93_784_500)
        );
        assert_eq!(range("1:30", Unit::Hour, Unit::Minute), Some(5_400_000));
        assert_eq!(range("1-2", Unit::Year, Unit::Month), Some(14));
        assert_eq!(range("1", Unit::Hour, Unit::Minute), None);
    }
}
