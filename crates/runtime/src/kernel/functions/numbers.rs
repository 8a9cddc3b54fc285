//! Functions over numbers.
//!
//! Roots, powers, logarithms and angles are the platform's; where Java's last digit is another, the cases say so.

use super::super::operand::Fault;
use super::{Args, Kernel, Registered, Value};
use lw_formats::text::{checked_power_of_ten, divide_half_up, write_double};
use std::f64::consts;
use std::fmt::Write;

pub(super) const KERNELS: &[Registered] = &[
    math("SQRT", f64::sqrt),
    math("EXP", f64::exp),
    math("LN", f64::ln),
    math("LOG10", f64::log10),
    math("LOG2", |x| x.ln() / consts::LN_2),
    approximate("LOG", |a, row| {
        let x = a.double(a.len() - 1, row);
        let value = if a.len() == 1 {
            x.ln()
        } else {
            x.ln() / a.double(0, row).ln()
        };
        Ok(Some(value))
    }),
    approximate("POWER", |a, row| {
        Ok(Some(a.double(0, row).powf(a.double(1, row))))
    }),
    math("SIN", f64::sin),
    math("SINH", f64::sinh),
    math("COS", f64::cos),
    math("COSH", f64::cosh),
    math("TAN", f64::tan),
    math("TANH", f64::tanh),
    math("COT", |x| 1.0 / x.tan()),
    math("ASIN", f64::asin),
    math("ACOS", f64::acos),
    math("ATAN", f64::atan),
    approximate("ATAN2", |a, row| {
        Ok(Some(a.double(0, row).atan2(a.double(1, row))))
    }),
    math("DEGREES", f64::to_degrees),
    math("RADIANS", f64::to_radians),
    approximate("PI", |_, _| Ok(Some(consts::PI))),
    approximate("E", |_, _| Ok(Some(consts::E))),
    whole("CEIL", |a, row| Ok(Some(a.whole(0, row)))),
    whole("FLOOR", |a, row| Ok(Some(a.whole(0, row)))),
    approximate("CEIL", |a, row| Ok(Some(a.double(0, row).ceil()))),
    approximate("FLOOR", |a, row| Ok(Some(a.double(0, row).floor()))),
    decimal("CEIL", |a, row, _| {
        let (value, scale) = a.decimal(0, row);
        let unit = power_of_ten(scale);
        Ok(Some(-((-value).div_euclid(unit))))
    }),
    decimal("FLOOR", |a, row, _| {
        let (value, scale) = a.decimal(0, row);
        Ok(Some(value.div_euclid(power_of_ten(scale))))
    }),
    whole("SIGN", |a, row| Ok(Some(a.whole(0, row).signum()))),
    approximate("SIGN", |a, row| {
        let x = a.double(0, row);
        Ok(Some(if x == 0.0 || x.is_nan() {
            x
        } else {
            x.signum()
        }))
    }),
    decimal("SIGN", |a, row, scale| {
        Ok(Some(a.decimal(0, row).0.signum() * power_of_ten(scale)))
    }),
    whole("ROUND", |a, row| {
        Ok(Some(cut_whole(
            a.whole(0, row),
            places(a, row),
            divide_half_up,
        )))
    }),
    whole("TRUNCATE", |a, row| {
        Ok(Some(cut_whole(a.whole(0, row), places(a, row), |v, by| {
            v / by
        })))
    }),
    decimal("ROUND", |a, row, _| {
        let (value, scale) = a.decimal(0, row);
        Ok(Some(cut_decimal(
            value,
            scale,
            places(a, row),
            divide_half_up,
        )))
    }),
    decimal("TRUNCATE", |a, row, _| {
        let (value, scale) = a.decimal(0, row);
        Ok(Some(cut_decimal(value, scale, places(a, row), |v, by| {
            v / by
        })))
    }),
    approximate("ROUND", |a, row| {
        Ok(Some(cut_double(a.double(0, row), places(a, row), true)?))
    }),
    approximate("TRUNCATE", |a, row| {
        Ok(Some(cut_double(a.double(0, row), places(a, row), false)?))
    }),
    Registered::new(
        "HEX",
        Kernel::Text(|a, row, out| {
            if a.is_text(0) {
                for byte in a.bytes(0, row) {
                    let _ = write!(out, "{byte:02X}");
                }
            } else {
                let _ = write!(out, "{:X}", a.whole(0, row));
            }
            Ok(Some(()))
        }),
    ),
    Registered::new("UNHEX", Kernel::Bytes(unhex)),
    Registered::new(
        "BIN",
        Kernel::Text(|a, row, out| {
            let _ = write!(out, "{:b}", a.whole(0, row));
            Ok(Some(()))
        }),
    ),
];

const fn math(name: &'static str, f: fn(f64) -> f64) -> Registered {
    Registered::new(name, Kernel::Math(f))
}

const fn approximate(name: &'static str, f: fn(&Args<'_>, usize) -> Value<f64>) -> Registered {
    Registered::new(name, Kernel::Approximate(f))
}

const fn whole(name: &'static str, f: fn(&Args<'_>, usize) -> Value<i64>) -> Registered {
    Registered::new(name, Kernel::Whole(f))
}

const fn decimal(name: &'static str, f: fn(&Args<'_>, usize, u8) -> Value<i128>) -> Registered {
    Registered::new(name, Kernel::Decimal(f))
}

fn power_of_ten(scale: u8) -> i128 {
    lw_formats::text::power_of_ten(u32::from(scale))
}

/// The places that ROUND and TRUNCATE keep: none where they are not told.
fn places(a: &Args<'_>, row: usize) -> i64 {
    if a.len() > 1 { a.whole(1, row) } else { 0 }
}

/// Digits before the point become 0; what does not fit wraps.
#[expect(
    clippy::cast_possible_truncation,
    reason = "whole numbers wrap as in Java"
)]
fn cut_whole(value: i64, places: i64, divide: impl Fn(i128, i128) -> i128) -> i64 {
    if places >= 0 {
        return value;
    }
    match u32::try_from(-places).ok().and_then(checked_power_of_ten) {
        Some(unit) => divide(i128::from(value), unit).wrapping_mul(unit) as i64,
        None => 0,
    }
}

fn cut_decimal(value: i128, scale: u8, places: i64, divide: impl Fn(i128, i128) -> i128) -> i128 {
    let dropped = i64::from(scale).saturating_sub(places);
    if dropped <= 0 {
        return value;
    }
    match u32::try_from(dropped).ok().and_then(checked_power_of_ten) {
        Some(unit) => divide(value, unit).saturating_mul(unit),
        None => 0,
    }
}

/// As `BigDecimal.valueOf(x)` is rounded: by the digits with which the number prints.
fn cut_double(value: f64, places: i64, half_up: bool) -> Result<f64, Fault> {
    if !value.is_finite() {
        return Ok(value);
    }
    let places = i32::try_from(places)
        .ok()
        .filter(|places| (-1_000..=1_000).contains(places))
        .ok_or_else(|| Fault::out_of_range("the number of places is out of range"))?;
    let mut printed = String::new();
    write_double(value.abs(), &mut printed);
    let (mantissa, exponent) = printed.split_once('E').unwrap_or((&printed, "0"));
    let exponent: i32 = exponent
        .parse()
        .expect("a DOUBLE prints with a whole exponent");
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    // value = digits · 10^power, at most 17 digits and the zeros of what prints without an exponent.
    let digits: i128 = format!("{whole}{fraction}")
        .parse()
        .expect("digits of a DOUBLE");
    let power = exponent - i32::try_from(fraction.len()).expect("a few digits");
    let dropped = -(power + places);
    let (kept, power) = match u32::try_from(dropped) {
        Err(_) | Ok(0) => return Ok(if value == 0.0 { 0.0 } else { value }),
        Ok(dropped) => match checked_power_of_ten(dropped) {
            Some(unit) if half_up => (divide_half_up(digits, unit), -places),
            Some(unit) => (digits / unit, -places),
            None => (0, 0),
        },
    };
    let sign = if value < 0.0 && kept != 0 { "-" } else { "" };
    let rounded = format!("{sign}{kept}e{power}");
    Ok(rounded.parse().expect("digits and an exponent"))
}

/// Pairs of digits from the end; a digit before them is checked and gives a zero byte, as in Flink.
#[expect(clippy::unnecessary_wraps, reason = "a kernel")]
fn unhex(a: &Args<'_>, row: usize, out: &mut Vec<u8>) -> Value<()> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let text = a.bytes(0, row);
    let (odd, pairs) = text.split_at(text.len() % 2);
    if let [first] = odd {
        if digit(*first).is_none() {
            return Ok(None);
        }
        out.push(0);
    }
    for pair in pairs.chunks_exact(2) {
        let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else {
            return Ok(None);
        };
        out.push(u8::try_from(high << 4 | low).expect("two digits of four bits"));
    }
    Ok(Some(()))
}
