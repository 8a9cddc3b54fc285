//! Decimals and floating point numbers as text, as `BigDecimal`, `Double` and `Float` have them.

use std::fmt::Write;

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

/// Without the blanks around it, as `String.trim` does.
pub(crate) fn java_trim(text: &str) -> &str {
    text.trim_matches(|c: char| c <= ' ')
}

/// Why a text is no whole number of 64 bits.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Whole {
    NotWhole,
    TooLarge,
}

/// Reads digits with a sign before them or none, as `Long.parseLong` does; digits of other scripts are none.
pub(crate) fn integer(text: &str) -> Result<i64, Whole> {
    let (negative, digits) = sign(text.as_bytes());
    let (mut number, mut digit_beyond) = (0_i64, digits.is_empty());
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        digit_beyond |= digit > 9;
        number = number.wrapping_mul(10).wrapping_add(i64::from(digit));
    }
    if digit_beyond {
        return Err(Whole::NotWhole);
    }
    match digits.len() {
        // They cannot have wrapped.
        ..=18 => Ok(if negative { -number } else { number }),
        _ => text.parse().map_err(|_| Whole::TooLarge),
    }
}

/// Reads a number as `Double.parseDouble` does: blanks around it, a final `d` or `f`, `NaN` and `Infinity` are fine, and so is
/// `0x1.8p3`, a hexadecimal number with a power of two.
pub fn parse_double(text: &str) -> Option<f64> {
    let (negative, unsigned) = java_number(text)?;
    let value: f64 = match hexadecimal(unsigned) {
        Some(digits) => power_of_two(digits, 53, -1022)?,
        None => unsigned.parse().ok()?,
    };
    Some(if negative { -value } else { value })
}

/// As [`parse_double`], rounded once to 32 bits.
pub fn parse_float(text: &str) -> Option<f32> {
    let (negative, unsigned) = java_number(text)?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "rounded to 24 bits already"
    )]
    let value: f32 = match hexadecimal(unsigned) {
        Some(digits) => power_of_two(digits, 24, -126)? as f32,
        None => unsigned.parse().ok()?,
    };
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
    if hexadecimal(unsigned).is_some() {
        return Some((negative, unsigned));
    }
    let known =
        |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-');
    (unsigned.bytes().all(known) && !unsigned.starts_with(['+', '-']))
        .then_some((negative, unsigned))
}

/// What follows `0x`.
fn hexadecimal(text: &str) -> Option<&str> {
    text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))
}

/// Reads `1.8p3`: hexadecimal digits and the power of two that they are multiplied by, which is not optional. Rounded once, half to
/// even, to `bits` of precision; numbers below 2^`least` have fewer.
fn power_of_two(text: &str, bits: i64, least: i64) -> Option<f64> {
    let (digits, power) = text.split_once(['p', 'P'])?;
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut mantissa: u64 = 0;
    let mut exponent = parse_exponent(power.as_bytes()).ok()?;
    exponent -= 4 * as_i64(fraction.len());
    for digit in whole.chars().chain(fraction.chars()) {
        let digit = u64::from(digit.to_digit(16)?);
        if mantissa >> 60 == 0 {
            mantissa = mantissa << 4 | digit;
        } else {
            // What does not fit is only asked whether it is more than nothing.
            mantissa |= u64::from(digit != 0);
            exponent += 4;
        }
    }
    if mantissa == 0 {
        return Some(0.0);
    }
    let top = exponent + 63 - i64::from(mantissa.leading_zeros());
    let lowest = (top - (bits - 1)).max(least - (bits - 1));
    let (kept, lowest) = match lowest - exponent {
        ..=0 => (mantissa, exponent),
        cut @ 1..=63 => {
            let (kept, rest) = (mantissa >> cut, mantissa & ((1 << cut) - 1));
            let half = 1 << (cut - 1);
            let up = rest > half || rest == half && kept & 1 == 1;
            (kept + u64::from(up), lowest)
        }
        64 => (u64::from(mantissa > 1 << 63), lowest),
        _ => (0, lowest),
    };
    // In two steps, both exact: a power of two as small as the result may not be a number by itself.
    let half = i32::try_from(lowest.clamp(-4_000, 4_000) / 2).expect("clamped");
    let other = i32::try_from(lowest.clamp(-4_000, 4_000)).expect("clamped") - half;
    #[expect(
        clippy::cast_precision_loss,
        reason = "at most 53 bits are set, and a 54th that carried"
    )]
    Some(kept as f64 * 2_f64.powi(half) * 2_f64.powi(other))
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whole_numbers_are_those_that_rust_parses(text in "[+-]?[0-9]{0,21}[x.]?", near in -3..3_i128) {
            for text in [text, (i128::from(i64::MAX) + near).to_string(), (i128::from(i64::MIN) + near).to_string()] {
                let digits = text.strip_prefix(['+', '-']).unwrap_or(&text);
                let whole = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
                let parsed = text.parse().map_err(|_| if whole { Whole::TooLarge } else { Whole::NotWhole });
                prop_assert_eq!(integer(&text), parsed, "{}", text);
            }
        }
    }

    /// Captured from Apache Flink 2.3.0: `TRY_CAST(text AS DOUBLE)`, `… AS FLOAT`.
    #[test]
    fn hexadecimal_numbers_are_javas() {
        for (text, double) in [
            ("0x1p3", Some(8.0)),
            ("0X1.8P1", Some(3.0)),
            ("-0x1p3d", Some(-8.0)),
            ("0x.8p1", Some(1.0)),
            ("0x1.p1", Some(2.0)),
            (" 0x1p3f ", Some(8.0)),
            ("0x1.fffffffffffff8p0", Some(2.0)),
            ("0x1p-1075", Some(0.0)),
            ("0x1p1024", Some(f64::INFINITY)),
            ("0x10", None),
            ("0x1", None),
            ("0xp1", None),
        ] {
            assert_eq!(parse_double(text), double, "{text}");
            assert_eq!(parse_float(text).map(f64::from), double, "{text}");
        }
        assert_eq!(parse_float("0x1.0000010001p0"), Some(1.000_000_1));
        assert_eq!(parse_double("0x1p-1074"), Some(f64::from_bits(1)));
        assert_eq!(parse_double("0x3p-1075"), Some(f64::from_bits(2)));
        assert_eq!(parse_double("0x1.fffffffffffffp1023"), Some(f64::MAX));
        assert_eq!(parse_double("0x1.00000000000008p0"), Some(1.0));
        assert_eq!(
            parse_double("0x1.000000000000080000000000001p0"),
            Some(1.0 + f64::EPSILON)
        );
    }
}
