//! Exact decimal arithmetic on unscaled 128-bit numbers, in 256 bits where the way leads through more digits.

use arrow_array::types::Decimal256Type;
use arrow_array::types::DecimalType;
use arrow_buffer::i256;
use lw_formats::text::{checked_power_of_ten, divide_half_up, power_of_ten};

/// What a result must look like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) scale: u8,
    /// 10 to the precision: the first magnitude that does not fit.
    limit: i128,
}

impl Shape {
    pub(super) fn new(precision: u8, scale: u8) -> Shape {
        Shape {
            scale,
            limit: power_of_ten(u32::from(precision)),
        }
    }

    pub(super) fn fit(self, unscaled: i128) -> Option<i128> {
        (unscaled.unsigned_abs() < self.limit.unsigned_abs()).then_some(unscaled)
    }

    fn fit_wide(self, unscaled: i256) -> Option<i128> {
        self.fit(unscaled.to_i128()?)
    }

    /// Brings a number of another scale to this shape, half up; `None` when it does not fit.
    pub(super) fn rescale(self, unscaled: i128, scale: u8) -> Option<i128> {
        if scale <= self.scale {
            let factor = checked_power_of_ten(u32::from(self.scale - scale))?;
            self.fit(unscaled.checked_mul(factor)?)
        } else {
            let divisor = power_of_ten(u32::from(scale - self.scale));
            self.fit(divide_half_up(unscaled, divisor))
        }
    }

    fn rescale_wide(self, unscaled: i256, scale: u32) -> Option<i128> {
        let to = u32::from(self.scale);
        if scale <= to {
            self.fit_wide(unscaled.checked_mul(ten(to - scale)?)?)
        } else {
            self.fit_wide(divide_wide_half_up(unscaled, ten(scale - to)?))
        }
    }
}

/// `None` above 10^76, the greatest power of ten in 256 bits.
fn ten(exponent: u32) -> Option<i256> {
    (exponent <= u32::from(Decimal256Type::MAX_PRECISION))
        .then(|| i256::from_i128(10).wrapping_pow(exponent))
}

fn magnitude(value: i256) -> i256 {
    if value < i256::ZERO {
        value.wrapping_neg()
    } else {
        value
    }
}

fn divide_wide_half_up(value: i256, divisor: i256) -> i256 {
    let quotient = value.wrapping_div(divisor);
    let rest = magnitude(value.wrapping_rem(divisor));
    let half_or_more = rest >= magnitude(divisor).wrapping_sub(rest);
    match (half_or_more, (value < i256::ZERO) == (divisor < i256::ZERO)) {
        (false, _) => quotient,
        (true, true) => quotient.wrapping_add(i256::ONE),
        (true, false) => quotient.wrapping_sub(i256::ONE),
    }
}

pub(super) fn add(a: i128, s1: u8, b: i128, s2: u8, to: Shape) -> Option<i128> {
    let scale = s1.max(s2);
    let narrow = || {
        let a = a.checked_mul(power_of_ten(u32::from(scale - s1)))?;
        let b = b.checked_mul(power_of_ten(u32::from(scale - s2)))?;
        a.checked_add(b)
    };
    if let Some(sum) = narrow() {
        return to.rescale(sum, scale);
    }
    // 38 digits moved by at most 38 places: below 10^76.
    let a = i256::from_i128(a).checked_mul(ten(u32::from(scale - s1))?)?;
    let b = i256::from_i128(b).checked_mul(ten(u32::from(scale - s2))?)?;
    to.rescale_wide(a.checked_add(b)?, u32::from(scale))
}

pub(super) fn multiply(a: i128, s1: u8, b: i128, s2: u8, to: Shape) -> Option<i128> {
    let scale = u32::from(s1) + u32::from(s2);
    if let (Some(product), Ok(scale)) = (a.checked_mul(b), u8::try_from(scale))
        && scale <= 38
    {
        return to.rescale(product, scale);
    }
    let product = i256::from_i128(a).checked_mul(i256::from_i128(b))?;
    to.rescale_wide(product, scale)
}

/// As `BigDecimal.divide` to 38 significant digits and then to the scale, half up both times; the divisor is not 0.
pub(super) fn divide(a: i128, s1: u8, b: i128, s2: u8, to: Shape) -> Option<i128> {
    let negative = (a < 0) != (b < 0);
    let (a, b) = (magnitude(i256::from_i128(a)), magnitude(i256::from_i128(b)));
    let up = i32::from(to.scale) + i32::from(s2) - i32::from(s1);
    let (quotient, rest, divisor) = if up < 0 {
        let divisor = b.checked_mul(ten(up.unsigned_abs())?)?;
        (a.wrapping_div(divisor), a.wrapping_rem(divisor), divisor)
    } else {
        let (quotient, rest) = long_division(a, b, up.unsigned_abs())?;
        (quotient, rest, b)
    };
    let quotient = quotient.to_i128()?;
    let rounded = if rounds_up(quotient, rest, divisor) {
        quotient.checked_add(1)?
    } else {
        quotient
    };
    to.fit(if negative { -rounded } else { rounded })
}

/// `a · 10^up / b` and what is left; `None` when the quotient has more than 76 digits.
fn long_division(a: i256, b: i256, up: u32) -> Option<(i256, i256)> {
    if let Some(scaled) = ten(up).and_then(|factor| a.checked_mul(factor)) {
        return Some((scaled.wrapping_div(b), scaled.wrapping_rem(b)));
    }
    let ten = i256::from_i128(10);
    let (mut quotient, mut rest) = (a.wrapping_div(b), a.wrapping_rem(b));
    for _ in 0..up {
        // The rest is below b, so below 10^38.
        let dividend = rest.wrapping_mul(ten);
        quotient = quotient
            .checked_mul(ten)?
            .checked_add(dividend.wrapping_div(b))?;
        rest = dividend.wrapping_rem(b);
    }
    Some((quotient, rest))
}

/// Whether rounding first to 38 significant digits and then to the quotient's last digit goes up.
///
/// The first rounding matters only where the digits that follow are 4999…, as many as are left of the 38, and then 5 or
/// more: it makes them 5, and the second rounding takes them up.
fn rounds_up(quotient: i128, rest: i256, divisor: i256) -> bool {
    let below_half = divisor.wrapping_sub(rest).wrapping_sub(rest);
    if below_half <= i256::ZERO {
        return true;
    }
    let digits = if quotient == 0 {
        0
    } else {
        quotient.ilog10() + 1
    };
    match 38_u32.checked_sub(digits) {
        None | Some(0) => false,
        Some(left) => ten(left)
            .and_then(|factor| below_half.checked_mul(factor))
            .is_some_and(|scaled| scaled <= divisor),
    }
}

/// The sign follows the dividend; the divisor is not 0.
pub(super) fn remainder(a: i128, s1: u8, b: i128, s2: u8, to: Shape) -> Option<i128> {
    let scale = s1.max(s2);
    let a = i256::from_i128(a).checked_mul(ten(u32::from(scale - s1))?)?;
    let b = i256::from_i128(b).checked_mul(ten(u32::from(scale - s2))?)?;
    to.rescale_wide(a.wrapping_rem(b), u32::from(scale))
}

/// The nearest DOUBLE, as `BigDecimal.doubleValue` gives it.
pub(super) fn to_double(unscaled: i128, scale: u8) -> f64 {
    const EXACT: u128 = 1 << 53;
    if unscaled.unsigned_abs() <= EXACT && scale <= 22 {
        // Both numbers are exact, so the quotient is rounded once.
        #[expect(clippy::cast_precision_loss, reason = "at most 53 bits")]
        return unscaled as f64 / 10_f64.powi(i32::from(scale));
    }
    format!("{unscaled}e-{scale}")
        .parse()
        .expect("digits and an exponent")
}

/// The same numbers with another count of places, for comparisons: 76 digits hold both.
pub(super) fn widened(unscaled: i128, places: u8) -> i256 {
    i256::from_i128(unscaled).wrapping_mul(i256::from_i128(power_of_ten(u32::from(places))))
}
