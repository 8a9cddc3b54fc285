//! Numbers, dates and times as text, the way that Java and Flink read and print them.
//!
//! Shared by the JSON decoder and by `CAST`. Everything works on bytes and integers: no allocation, no calendar library.
//! The calendar is the proleptic Gregorian one, as in `java.time`.

use std::fmt::Write;

pub const MICROS_PER_SECOND: i64 = 1_000_000;
pub const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// 10 to the power of `exponent`.
///
/// # Panics
/// Above 38, which no decimal type reaches.
pub fn power_of_ten(exponent: u32) -> i128 {
    checked_power_of_ten(exponent).expect("decimal types have at most 38 digits")
}

/// 10 to the power of `exponent`, up to 38.
pub fn checked_power_of_ten(exponent: u32) -> Option<i128> {
    10_i128.checked_pow(exponent)
}

/// `value / divisor`, halves away from zero (Java's `HALF_UP`).
pub fn divide_half_up(value: i128, divisor: i128) -> i128 {
    let quotient = value / divisor;
    let rest = (value % divisor).unsigned_abs();
    // Not `2 * rest`: it may not fit.
    if rest >= divisor.unsigned_abs() - rest {
        quotient + value.signum() * divisor.signum()
    } else {
        quotient
    }
}

/// Text that is not a number at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Reads a number as `BigDecimal(text)` does and brings it to the scale, half up. `Ok(None)` when it has more digits than
/// `precision`.
///
/// # Errors
/// [`Malformed`] when the text is not a number.
pub fn parse_decimal(text: &[u8], precision: u8, scale: u8) -> Result<Option<i128>, Malformed> {
    let (negative, unsigned) = sign(text);
    let (mantissa, exponent) = match unsigned.iter().position(|b| matches!(b, b'e' | b'E')) {
        Some(at) => (&unsigned[..at], parse_exponent(&unsigned[at + 1..])?),
        None => (unsigned, 0),
    };
    let point = mantissa.iter().position(|byte| *byte == b'.');
    let whole = point.unwrap_or(mantissa.len());
    let digits = || {
        let fraction = mantissa.get(whole + 1..).unwrap_or(&[]);
        mantissa[..whole].iter().chain(fraction)
    };
    if digits().count() == 0 || !digits().all(u8::is_ascii_digit) {
        return Err(Malformed);
    }
    let zeros = digits().take_while(|byte| **byte == b'0').count();
    if zeros == digits().count() {
        return Ok(Some(0));
    }
    // How many digits, from the first that is not 0, stand left of the place where the scale cuts.
    let kept = as_i64(whole) - as_i64(zeros) + exponent + i64::from(scale);
    if kept < 0 {
        return Ok(Some(0));
    }
    if kept > 38 {
        return Ok(None);
    }
    let mut rest = digits().skip(zeros).map(|byte| i128::from(byte - b'0'));
    let mut unscaled: i128 = 0;
    for _ in 0..kept {
        unscaled = unscaled * 10 + rest.next().unwrap_or(0);
    }
    if rest.next().unwrap_or(0) >= 5 {
        unscaled += 1;
    }
    if unscaled >= power_of_ten(u32::from(precision)) {
        return Ok(None);
    }
    Ok(Some(if negative { -unscaled } else { unscaled }))
}

fn as_i64(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX / 4)
}

/// Exponents beyond a billion are as good as a billion.
fn parse_exponent(text: &[u8]) -> Result<i64, Malformed> {
    let (negative, digits) = sign(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Malformed);
    }
    let value = digits.iter().fold(0_i64, |value, byte| {
        (value * 10 + i64::from(byte - b'0')).min(1_000_000_000)
    });
    Ok(if negative { -value } else { value })
}

fn sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    }
}

/// Reads a number as `Double.parseDouble` does: blanks around it, a final `d` or `f`, `NaN` and `Infinity` are fine.
/// Hexadecimal numbers are not read.
pub fn parse_double(text: &str) -> Option<f64> {
    let (negative, unsigned) = java_number(text)?;
    let value: f64 = unsigned.parse().ok()?;
    Some(if negative { -value } else { value })
}

/// As [`parse_double`], rounded once to 32 bits.
pub fn parse_float(text: &str) -> Option<f32> {
    let (negative, unsigned) = java_number(text)?;
    let value: f32 = unsigned.parse().ok()?;
    Some(if negative { -value } else { value })
}

/// Sign, and what Rust may parse: Rust knows more spellings of infinity than Java.
fn java_number(text: &str) -> Option<(bool, &str)> {
    let text = text.trim_matches(|c: char| c <= ' ');
    let (negative, unsigned) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text),
    };
    if matches!(unsigned, "NaN" | "Infinity") {
        return Some((negative, unsigned));
    }
    let unsigned = unsigned
        .strip_suffix(['d', 'D', 'f', 'F'])
        .unwrap_or(unsigned);
    let known =
        |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-');
    (unsigned.bytes().all(known) && !unsigned.starts_with(['+', '-']))
        .then_some((negative, unsigned))
}

/// Prints as `Double.toString`: `1.0`, `1.0E10`, `1.0E-7`, `NaN`, `-Infinity`.
pub fn write_double(value: f64, out: &mut String) {
    if value.is_finite() {
        write_java_number(
            &format!("{value:e}"),
            value.abs() >= 1e-3 && value.abs() < 1e7,
            out,
        );
    } else {
        out.push_str(not_finite(value));
    }
}

/// Prints as `Float.toString`.
pub fn write_float(value: f32, out: &mut String) {
    if value.is_finite() {
        write_java_number(
            &format!("{value:e}"),
            value.abs() >= 1e-3 && value.abs() < 1e7,
            out,
        );
    } else {
        out.push_str(not_finite(f64::from(value)));
    }
}

fn not_finite(value: f64) -> &'static str {
    if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

/// `shortest` is Rust's `{:e}`: digits, perhaps a point, `e`, an exponent.
fn write_java_number(shortest: &str, plain: bool, out: &mut String) {
    let (mantissa, exponent) = shortest.split_once('e').expect("`{:e}` has an exponent");
    let exponent: i32 = exponent.parse().expect("`{:e}` has a whole exponent");
    let (minus, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    out.push_str(minus);
    let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    if digits == "0" {
        out.push_str("0.0");
    } else if !plain {
        let fraction = if digits.len() > 1 { &digits[1..] } else { "0" };
        let _ = write!(out, "{}.{fraction}E{exponent}", &digits[..1]);
    } else if exponent < 0 {
        let zeros = usize::try_from(-exponent - 1).expect("not negative");
        let _ = write!(out, "0.{}{digits}", "0".repeat(zeros));
    } else {
        let whole = usize::try_from(exponent).expect("not negative") + 1;
        let padded = format!("{digits:0<whole$}");
        let fraction = if padded.len() > whole {
            &padded[whole..]
        } else {
            "0"
        };
        let _ = write!(out, "{}.{fraction}", &padded[..whole]);
    }
}

/// Prints all digits of the scale and no exponent.
pub fn write_decimal(unscaled: i128, scale: u8, out: &mut String) {
    if unscaled < 0 {
        out.push('-');
    }
    let scale = usize::from(scale);
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    out.push_str(whole);
    if scale > 0 {
        out.push('.');
        out.push_str(fraction);
    }
}

/// Days since 1970-01-01. The month must be 1 to 12; days beyond the month's end run on.
pub fn days_from_civil(year: i32, month: u32, day: u32) -> i32 {
    // Years begin in March, so that the leap day is the last; 400 years have 146,097 days.
    let year = year - i32::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month = i32::try_from((month + 9) % 12).expect("below 12");
    let day_of_year = (153 * month + 2) / 5 + i32::try_from(day).expect("a day of a month") - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year, month and day of a number of days since 1970-01-01.
pub fn civil_from_days(days: i32) -> (i32, u32, u32) {
    let days = i64::from(days) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let small = |n: i64| u32::try_from(n).expect("a month or a day");
    (
        i32::try_from(year).expect("days of 32 bits are fewer than 2^31 years"),
        small(month),
        small(day),
    )
}

pub fn days_of_month(year: i32, month: u32) -> u32 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Whether `02-30` is an error or the last day of February, and `24:00:00` an error or midnight (`java.time`'s resolver
/// styles).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolve {
    Strict,
    Smart,
}

/// Reads digits off a text.
pub(crate) struct Digits<'a> {
    pub(crate) rest: &'a [u8],
}

impl Digits<'_> {
    /// Between `least` and `most` digits as a number.
    pub(crate) fn number(&mut self, least: usize, most: usize) -> Option<u32> {
        let len = self
            .rest
            .iter()
            .take(most)
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        if len < least {
            return None;
        }
        let (digits, rest) = self.rest.split_at(len);
        self.rest = rest;
        Some(
            digits
                .iter()
                .fold(0, |n, byte| n * 10 + u32::from(byte - b'0')),
        )
    }

    pub(crate) fn byte(&mut self, expected: u8) -> Option<()> {
        match self.rest.split_first() {
            Some((byte, rest)) if *byte == expected => {
                self.rest = rest;
                Some(())
            }
            _ => None,
        }
    }

    /// `.` and up to nine digits, if they are there, as nanoseconds.
    fn fraction(&mut self) -> Option<i64> {
        if self.byte(b'.').is_none() {
            return Some(0);
        }
        let before = self.rest.len();
        let value = i64::from(self.number(0, 9)?);
        let missing = 9 - u32::try_from(before - self.rest.len()).ok()?;
        Some(value * 10_i64.pow(missing))
    }
}

/// How many digits the parts of a date or time must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// `2026-01-02 03:04:05`.
    Two,
    /// `2026-1-2 3:4:5` is fine too.
    OneOrTwo,
}

impl Width {
    fn least(self) -> usize {
        match self {
            Width::Two => 2,
            Width::OneOrTwo => 1,
        }
    }
}

/// Reads the date that the text begins with.
pub(crate) fn date(digits: &mut Digits<'_>, width: Width, resolve: Resolve) -> Option<i32> {
    let year = i32::try_from(digits.number(4, 4)?).ok()?;
    digits.byte(b'-')?;
    let month = digits.number(width.least(), 2)?;
    digits.byte(b'-')?;
    let day = digits.number(width.least(), 2)?;
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let last = days_of_month(year, month);
    if day > last && resolve == Resolve::Strict {
        return None;
    }
    Some(days_from_civil(year, month, day.min(last)))
}

/// Reads the time of day that the text begins with, as nanoseconds; 24:00:00 gives a whole day.
pub(crate) fn time(
    digits: &mut Digits<'_>,
    width: Width,
    resolve: Resolve,
    seconds: Seconds,
) -> Option<i64> {
    let hour = digits.number(width.least(), 2)?;
    digits.byte(b':')?;
    let minute = digits.number(width.least(), 2)?;
    let (second, nanos) = match seconds {
        Seconds::Optional if digits.rest.first() != Some(&b':') => (0, 0),
        _ => {
            digits.byte(b':')?;
            (digits.number(width.least(), 2)?, digits.fraction()?)
        }
    };
    let day_end = hour == 24 && minute == 0 && second == 0 && nanos == 0;
    if minute > 59 || second > 59 || hour > 23 && !(day_end && resolve == Resolve::Smart) {
        return None;
    }
    Some(i64::from(hour * 3600 + minute * 60 + second) * 1_000_000_000 + nanos)
}

/// Whether `10:11` is a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seconds {
    Required,
    Optional,
}

/// Reads `yyyy-MM-dd`, all of the text.
pub fn parse_date(text: &[u8], width: Width, resolve: Resolve) -> Option<i32> {
    let mut digits = Digits { rest: text };
    let days = date(&mut digits, width, resolve)?;
    digits.rest.is_empty().then_some(days)
}

/// Reads `HH:mm:ss[.fraction]` as microseconds of the day, cut to `precision` digits.
pub fn parse_time(text: &[u8], width: Width, precision: u8) -> Option<i64> {
    let mut digits = Digits { rest: text };
    let nanos = time(&mut digits, width, Resolve::Smart, Seconds::Required)?;
    let micros = (nanos / 1000).rem_euclid(MICROS_PER_DAY);
    digits.rest.is_empty().then_some(cut(micros, precision))
}

/// Reads `yyyy-MM-dd[ HH:mm:ss[.fraction]]`, all of the text, as microseconds since 1970, cut to `precision` digits.
pub fn parse_timestamp(text: &[u8], precision: u8) -> Option<i64> {
    let mut digits = Digits { rest: text };
    let days = date(&mut digits, Width::OneOrTwo, Resolve::Smart)?;
    let nanos = if digits.rest.is_empty() {
        0
    } else {
        digits.byte(b' ')?;
        time(
            &mut digits,
            Width::OneOrTwo,
            Resolve::Smart,
            Seconds::Required,
        )?
    };
    let micros = i64::from(days) * MICROS_PER_DAY + nanos / 1000;
    digits.rest.is_empty().then_some(cut(micros, precision))
}

/// Cuts microseconds to `precision` digits of a second, towards the past.
pub fn cut(micros: i64, precision: u8) -> i64 {
    let step = 10_i64.pow(u32::from(6_u8.saturating_sub(precision)));
    micros - micros.rem_euclid(step)
}

/// Prints `2026-01-02`.
pub fn write_date(days: i32, out: &mut String) {
    let (year, month, day) = civil_from_days(days);
    let _ = write!(out, "{year:04}-{month:02}-{day:02}");
}

/// Prints `10:11:12` and `precision` digits of a fraction.
pub fn write_time(micros: i64, precision: u8, out: &mut String) {
    let seconds = micros.div_euclid(MICROS_PER_SECOND);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let _ = write!(out, "{hour:02}:{minute:02}:{second:02}");
    let fraction = micros.rem_euclid(MICROS_PER_SECOND) * 1000;
    if precision > 0 {
        let digits = format!("{fraction:09}");
        let _ = write!(out, ".{}", &digits[..usize::from(precision.min(9))]);
    }
}

/// Prints `2026-01-02 10:11:12` and `precision` digits of a fraction.
pub fn write_timestamp(micros: i64, precision: u8, out: &mut String) {
    let days = micros.div_euclid(MICROS_PER_DAY);
    write_date(
        i32::try_from(days).expect("microseconds of 64 bits are fewer than 2^31 days"),
        out,
    );
    out.push(' ');
    write_time(micros.rem_euclid(MICROS_PER_DAY), precision, out);
}
