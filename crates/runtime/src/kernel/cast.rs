//! `CAST` and `TRY_CAST`, and the conversions that other kernels need.
//!
//! What Flink does where Java would surprise: an approximate number becomes an INT by cutting and saturating, and a smaller
//! integer by way of INT, wrapping; whole numbers narrow by wrapping; a decimal that does not fit is NULL; text that is not
//! a number, a date or a truth is an error (NULL for `TRY_CAST`). Timestamps are cut, never rounded. Where Flink reads
//! rubbish as a number (`'1.9x'` AS DECIMAL is 1.9) it is an error here.

mod nested;

use super::decimal::{Shape, to_double};
use super::operand::{Active, Fault, Operand, RowError};
use super::rows::{collect, unary};
use super::{KernelError, show};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, Time64MicrosecondType, TimestampMicrosecondType,
};
use arrow_array::{Array, BinaryArray, BooleanArray, PrimitiveArray, StringArray, new_null_array};
use arrow_schema::DataType;
use lw_formats::arrow_type;
use lw_formats::text::{self, MICROS_PER_DAY, Resolve, Width};
use lw_graph::{LogicalType, TypeKind};
use std::sync::Arc;

/// A conversion that exists.
pub(super) struct Cast {
    from: TypeKind,
    to: TypeKind,
    ty: DataType,
    or_null: bool,
    /// The casts of what an ARRAY, a MAP or a ROW holds.
    members: Vec<Cast>,
}

/// Finds the conversion.
///
/// # Errors
/// [`KernelError`] when there is none.
pub(super) fn plan(
    from: &LogicalType,
    to: &LogicalType,
    or_null: bool,
) -> Result<Cast, KernelError> {
    let ty = arrow_type(to);
    if !from.kind.casts_to(&to.kind) && arrow_type(from) != ty {
        return Err(KernelError::new(format!(
            "CAST from {} to {} is not supported",
            from.kind, to.kind
        )));
    }
    let pairs: Vec<(&LogicalType, &LogicalType)> = match (&from.kind, &to.kind) {
        (from, to) if from == to => Vec::new(),
        (TypeKind::Array(from), TypeKind::Array(to)) => vec![(from, to)],
        (TypeKind::Map(key, value), TypeKind::Map(to_key, to_value)) => {
            vec![(key, to_key), (value, to_value)]
        }
        (TypeKind::Row(from), TypeKind::Row(to)) => (from.iter().zip(to))
            .map(|(from, to)| (&from.ty, &to.ty))
            .collect(),
        _ => Vec::new(),
    };
    if or_null && !pairs.is_empty() {
        let message = format!("TRY_CAST to {} is not supported", to.kind);
        return Err(KernelError::new(message));
    }
    let members = pairs.into_iter().map(|(from, to)| plan(from, to, false));
    Ok(Cast {
        members: members.collect::<Result<_, _>>()?,
        from: from.kind.clone(),
        to: to.kind.clone(),
        ty,
        or_null,
    })
}

impl Cast {
    pub(super) fn run(&self, value: &Operand, active: &Active) -> Result<Operand, RowError> {
        use TypeKind::*;
        match (&self.from, &self.to) {
            (from, to) if from == to => Ok(value.clone()),
            (Array(_) | Map(..) | Row(_), Array(_) | Map(..) | Row(_)) => {
                self.nested(value, active)
            }
            (Null, _) => Ok(Operand::constant(new_null_array(&self.ty, 1))),
            (from, to) if from.is_character() && *to == TypeKind::string() => Ok(value.clone()),
            (from, to) if from.is_character() && to.is_character() => {
                self.text(value, active, |row, out| {
                    out.push_str(value.array.as_string::<i32>().value(row));
                })
            }
            (_, to) if to.is_character() => {
                let writer = show::writer(&self.from, &value.array);
                self.text(value, active, |row, out| writer(row, out))
            }
            (from, _) if from.is_character() => self.parse(value, active),
            (from, to) if from.is_binary() && to.is_binary() => self.binary(value, active, |row| {
                value.array.as_binary::<i32>().value(row).to_vec()
            }),
            (from, Boolean) if from.is_integer() => {
                let wide = self.widen(value, &DataType::Int64);
                let numbers = wide.array.as_primitive::<Int64Type>();
                self.booleans(value, active, |row| Ok(Some(numbers.value(row) != 0)))
            }
            (from, Boolean) if from.is_approximate() => {
                let wide = self.widen(value, &DataType::Float64);
                let numbers = wide.array.as_primitive::<Float64Type>();
                self.booleans(value, active, |row| Ok(Some(numbers.value(row) != 0.0)))
            }
            (Decimal { .. }, Boolean) => {
                let numbers = value.array.as_primitive::<Decimal128Type>();
                self.booleans(value, active, |row| Ok(Some(numbers.value(row) != 0)))
            }
            (Boolean, to) if to.is_numeric() => {
                let bits = value.array.as_boolean();
                let ones: PrimitiveArray<Int64Type> =
                    bits.iter().map(|bit| bit.map(i64::from)).collect();
                self.whole_number(&value.with(Arc::new(ones)), active)
            }
            (from, _) if from.is_integer() => {
                self.whole_number(&self.widen(value, &DataType::Int64), active)
            }
            (from, _) if from.is_approximate() => self.approximate(value, active),
            (Decimal { scale, .. }, _) => self.decimal(value, *scale, active),
            (Time(_) | Timestamp(_) | TimestampLtz(_), _) => self.micros(value, active),
            (Date, Timestamp(_) | TimestampLtz(_)) => {
                unary::<Date32Type, TimestampMicrosecondType>(value, &self.ty, active, |days| {
                    Ok(Some(i64::from(days) * MICROS_PER_DAY))
                })
            }
            _ => Ok(value.clone()),
        }
    }

    fn widen(&self, value: &Operand, to: &DataType) -> Operand {
        let array = arrow_cast::cast(&value.array, to).expect("numbers widen without loss");
        value.with(array)
    }

    /// `Ok(None)` in place of a fault when it is `TRY_CAST`.
    fn settle<T>(&self, result: Result<Option<T>, Fault>) -> Result<Option<T>, Fault> {
        match result {
            Err(_) if self.or_null => Ok(None),
            result => result,
        }
    }

    fn to_primitive<A: ArrowPrimitiveType, R: ArrowPrimitiveType>(
        &self,
        value: &Operand,
        active: &Active,
        f: impl Fn(A::Native) -> Result<Option<R::Native>, Fault>,
    ) -> Result<Operand, RowError> {
        unary::<A, R>(value, &self.ty, active, |v| self.settle(f(v)))
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "whole numbers wrap and round as in Java"
    )]
    fn whole_number(&self, value: &Operand, active: &Active) -> Result<Operand, RowError> {
        macro_rules! to {
            ($r:ty, $f:expr) => {
                self.to_primitive::<Int64Type, $r>(value, active, $f)
            };
        }
        match &self.to {
            TypeKind::TinyInt => to!(Int8Type, |v| Ok(Some(v as i8))),
            TypeKind::SmallInt => to!(Int16Type, |v| Ok(Some(v as i16))),
            TypeKind::Int => to!(Int32Type, |v| Ok(Some(v as i32))),
            TypeKind::Float => to!(Float32Type, |v| Ok(Some(v as f32))),
            TypeKind::Double => to!(Float64Type, |v| Ok(Some(v as f64))),
            TypeKind::Decimal { precision, scale } => {
                let shape = Shape::new(*precision, *scale);
                to!(Decimal128Type, |v| Ok(shape.rescale(i128::from(v), 0)))
            }
            _ => to!(Int64Type, |v| Ok(Some(v))),
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "Java's casts cut and saturate"
    )]
    fn approximate(&self, value: &Operand, active: &Active) -> Result<Operand, RowError> {
        let value = &self.widen(value, &DataType::Float64);
        macro_rules! to {
            ($r:ty, $f:expr) => {
                self.to_primitive::<Float64Type, $r>(value, active, $f)
            };
        }
        match &self.to {
            // By way of INT, which saturates; then the number wraps.
            TypeKind::TinyInt => to!(Int8Type, |v| Ok(Some(v as i32 as i8))),
            TypeKind::SmallInt => to!(Int16Type, |v| Ok(Some(v as i32 as i16))),
            TypeKind::Int => to!(Int32Type, |v| Ok(Some(v as i32))),
            TypeKind::BigInt => to!(Int64Type, |v| Ok(Some(v as i64))),
            TypeKind::Float => to!(Float32Type, |v| Ok(Some(v as f32))),
            TypeKind::Decimal { precision, scale } => to!(Decimal128Type, |v| {
                let mut digits = String::new();
                text::write_double(v, &mut digits);
                text::parse_decimal(digits.as_bytes(), *precision, *scale)
                    .map_err(|_| Fault::cast(format!("{digits} is not a decimal")))
            }),
            _ => to!(Float64Type, |v| Ok(Some(v))),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "Java's longValue wraps")]
    fn decimal(&self, value: &Operand, scale: u8, active: &Active) -> Result<Operand, RowError> {
        macro_rules! to {
            ($r:ty, $f:expr) => {
                self.to_primitive::<Decimal128Type, $r>(value, active, $f)
            };
        }
        let divisor = text::power_of_ten(u32::from(scale));
        match &self.to {
            TypeKind::TinyInt => to!(Int8Type, |v| Ok(Some((v / divisor) as i8))),
            TypeKind::SmallInt => to!(Int16Type, |v| Ok(Some((v / divisor) as i16))),
            TypeKind::Int => to!(Int32Type, |v| Ok(Some((v / divisor) as i32))),
            TypeKind::BigInt => to!(Int64Type, |v| Ok(Some((v / divisor) as i64))),
            TypeKind::Float => to!(Float32Type, |v| Ok(Some(to_double(v, scale) as f32))),
            TypeKind::Double => to!(Float64Type, |v| Ok(Some(to_double(v, scale)))),
            TypeKind::Decimal {
                precision,
                scale: to,
            } => {
                let shape = Shape::new(*precision, *to);
                to!(Decimal128Type, |v| Ok(shape.rescale(v, scale)))
            }
            other => unreachable!("no plan from DECIMAL to {other}"),
        }
    }

    /// From a time of day or a timestamp. Zones do not matter: the session's is UTC.
    fn micros(&self, value: &Operand, active: &Active) -> Result<Operand, RowError> {
        type Micros = TimestampMicrosecondType;
        match &self.to {
            TypeKind::Date => self.to_primitive::<Micros, Date32Type>(value, active, |v| {
                i32::try_from(v.div_euclid(MICROS_PER_DAY))
                    .map(Some)
                    .map_err(|_| Fault::cast("the date is out of range"))
            }),
            TypeKind::Time(p) if matches!(self.from, TypeKind::Time(_)) => self
                .to_primitive::<Time64MicrosecondType, Time64MicrosecondType>(
                value,
                active,
                |v| Ok(Some(text::cut(v, *p))),
            ),
            TypeKind::Time(p) => {
                self.to_primitive::<Micros, Time64MicrosecondType>(value, active, |v| {
                    Ok(Some(text::cut(v.rem_euclid(MICROS_PER_DAY), *p)))
                })
            }
            TypeKind::Timestamp(p) | TypeKind::TimestampLtz(p) => {
                self.to_primitive::<Micros, Micros>(value, active, |v| Ok(Some(text::cut(v, *p))))
            }
            other => unreachable!("no plan from a time to {other}"),
        }
    }

    fn booleans(
        &self,
        value: &Operand,
        active: &Active,
        f: impl Fn(usize) -> Result<Option<bool>, Fault>,
    ) -> Result<Operand, RowError> {
        let (values, nulls, constant) = collect(&[value], active, |row| {
            if value.array.is_null(row) {
                return Ok(None);
            }
            self.settle(f(row))
        })?;
        Ok(Operand {
            array: Arc::new(BooleanArray::new(values.into(), nulls)),
            constant,
        })
    }

    /// From text to what is not text.
    fn parse(&self, value: &Operand, active: &Active) -> Result<Operand, RowError> {
        let strings = value.array.as_string::<i32>();
        macro_rules! to {
            ($r:ty, $f:expr) => {{
                let (values, nulls, constant) = collect(&[value], active, |row| {
                    if strings.is_null(row) {
                        return Ok(None);
                    }
                    let parse = $f;
                    self.settle(parse(strings.value(row)))
                })?;
                let array = PrimitiveArray::<$r>::new(values.into(), nulls);
                Ok(Operand {
                    array: Arc::new(array.with_data_type(self.ty.clone())),
                    constant,
                })
            }};
        }
        match &self.to {
            TypeKind::Boolean => self.booleans(value, active, |row| {
                parse_boolean(strings.value(row)).map(Some)
            }),
            TypeKind::TinyInt => to!(Int8Type, |s| parse_integer::<i8>(s).map(Some)),
            TypeKind::SmallInt => to!(Int16Type, |s| parse_integer::<i16>(s).map(Some)),
            TypeKind::Int => to!(Int32Type, |s| parse_integer::<i32>(s).map(Some)),
            TypeKind::BigInt => to!(Int64Type, |s| parse_integer::<i64>(s).map(Some)),
            TypeKind::Float => to!(Float32Type, |s| text::parse_float(s)
                .map(Some)
                .ok_or_else(|| not_a_number(s))),
            TypeKind::Double => to!(Float64Type, |s| text::parse_double(s)
                .map(Some)
                .ok_or_else(|| not_a_number(s))),
            TypeKind::Decimal { precision, scale } => to!(Decimal128Type, |s: &str| {
                let trimmed = s.trim_matches(|c: char| c <= ' ');
                match text::parse_decimal(trimmed.as_bytes(), *precision, *scale) {
                    Ok(Some(unscaled)) => Ok(Some(unscaled)),
                    _ => Err(Fault::cast(format!("For input string: '{s}'. Overflow."))),
                }
            }),
            TypeKind::Date => to!(Date32Type, |s| parse_date(s)
                .map(Some)
                .ok_or_else(|| Fault::cast(format!("For input string: '{s}'.")))),
            TypeKind::Time(p) => to!(Time64MicrosecondType, |s| {
                parse_time(s, *p)
                .map(Some)
                .ok_or_else(|| Fault::cast(format!(
                    "Invalid time format: '{s}'. Expected format: HH:mm:ss[.fff] where HH is 00-23, mm is 00-59, ss is 00-59"
                )))
            }),
            TypeKind::Timestamp(p) | TypeKind::TimestampLtz(p) => {
                to!(TimestampMicrosecondType, |s: &str| {
                    text::parse_timestamp(s.as_bytes(), *p)
                        .map(Some)
                        .ok_or_else(|| {
                            Fault::cast(format!("Text '{s}' could not be parsed at index 0"))
                        })
                })
            }
            kind if kind.is_binary() => {
                self.binary(value, active, |row| strings.value(row).as_bytes().to_vec())
            }
            other => unreachable!("no plan from text to {other}"),
        }
    }

    /// Text of the declared length: cut to it, and padded for CHAR.
    fn text(
        &self,
        value: &Operand,
        active: &Active,
        mut write: impl FnMut(usize, &mut String),
    ) -> Result<Operand, RowError> {
        let (limit, pad) = match self.to {
            TypeKind::Char(n) => (n as usize, true),
            TypeKind::Varchar(n) => (n as usize, false),
            _ => unreachable!("only text has a length in characters"),
        };
        let (values, _, constant) = collect(&[value], active, |row| {
            if value.array.is_null(row) {
                return Ok(None);
            }
            let mut text = String::new();
            write(row, &mut text);
            if text.len() > limit
                && let Some((end, _)) = text.char_indices().nth(limit)
            {
                text.truncate(end);
            }
            if pad {
                let missing = limit.saturating_sub(text.chars().count());
                text.extend(std::iter::repeat_n(' ', missing));
            }
            Ok(Some(Some(text)))
        })?;
        Ok(Operand {
            array: Arc::new(values.into_iter().collect::<StringArray>()),
            constant,
        })
    }

    /// Bytes of the declared length: cut to it, and padded with zeros for BINARY.
    fn binary(
        &self,
        value: &Operand,
        active: &Active,
        read: impl Fn(usize) -> Vec<u8>,
    ) -> Result<Operand, RowError> {
        let (limit, pad) = match self.to {
            TypeKind::Binary(n) => (n as usize, true),
            TypeKind::Varbinary(n) => (n as usize, false),
            _ => unreachable!("only binary types have a length in bytes"),
        };
        let (values, _, constant) = collect(&[value], active, |row| {
            if value.array.is_null(row) {
                return Ok(None);
            }
            let mut bytes = read(row);
            if bytes.len() > limit || pad {
                bytes.resize(limit, 0);
            }
            Ok(Some(Some(bytes)))
        })?;
        Ok(Operand {
            array: Arc::new(values.into_iter().collect::<BinaryArray>()),
            constant,
        })
    }
}

fn not_a_number(text: &str) -> Fault {
    Fault::cast(format!("For input string: \"{text}\""))
}

fn parse_boolean(text: &str) -> Result<bool, Fault> {
    const TRUE: [&str; 5] = ["t", "true", "y", "yes", "1"];
    const FALSE: [&str; 5] = ["f", "false", "n", "no", "0"];
    let is = |words: [&str; 5]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    match (is(TRUE), is(FALSE)) {
        (true, _) => Ok(true),
        (_, true) => Ok(false),
        _ => Err(Fault::cast(format!("Cannot parse '{text}' as BOOLEAN."))),
    }
}

/// Blanks around it and a fraction, which is dropped, are fine: `' 1.9 '` is 1, and `'.'` is 0.
fn parse_integer<T: TryFrom<i64>>(text: &str) -> Result<T, Fault> {
    let fault = |what: &str| Fault::cast(format!("For input string: '{text}'. {what}"));
    let trimmed = text.trim_matches(' ');
    let (negative, digits) = match trimmed.as_bytes() {
        [] => return Err(fault("Input is empty.")),
        [b'-' | b'+'] => return Err(fault("Invalid character found.")),
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        all => (false, all),
    };
    let point = digits.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = digits.split_at(point.unwrap_or(digits.len()));
    let fraction = fraction.strip_prefix(b".").unwrap_or(fraction);
    if !whole.iter().chain(fraction).all(u8::is_ascii_digit) {
        return Err(fault("Invalid character found."));
    }
    let mut value: i64 = 0;
    for byte in whole {
        let digit = i64::from(byte - b'0');
        value = value
            .checked_mul(10)
            // Downwards, because the least number has no positive counterpart.
            .and_then(|value| value.checked_sub(digit))
            .ok_or_else(|| fault("Overflow."))?;
    }
    let value = if negative {
        Some(value)
    } else {
        value.checked_neg()
    };
    value
        .and_then(|value| T::try_from(value).ok())
        .ok_or_else(|| fault("Overflow."))
}

/// `2026`, `2026-1` and `2026-01-01 whatever` are dates.
pub(super) fn parse_date(text: &str) -> Option<i32> {
    let trimmed = text.trim_matches(|c: char| c <= ' ');
    let day = trimmed.split(' ').next()?;
    let mut parts = day.splitn(3, '-').map(|part| {
        let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| part.parse::<u32>().ok()).flatten()
    });
    let year = parts.next()??;
    let month = parts.next().unwrap_or(Some(1))?;
    let day = parts.next().unwrap_or(Some(1))?;
    if year > 9999 {
        return None;
    }
    let canonical = format!("{year:04}-{month:02}-{day:02}");
    text::parse_date(canonical.as_bytes(), Width::Two, Resolve::Strict)
}

/// `10`, `10:11` and `1:2:3.5` are times.
fn parse_time(text: &str, precision: u8) -> Option<i64> {
    let trimmed = text.trim_matches(|c: char| c <= ' ');
    let full = match trimmed.bytes().filter(|byte| *byte == b':').count() {
        0 => format!("{trimmed}:00:00"),
        1 => format!("{trimmed}:00"),
        _ => trimmed.to_string(),
    };
    if full.starts_with("24") {
        return None;
    }
    text::parse_time(full.as_bytes(), Width::OneOrTwo, precision)
}
