//! Dates and times of day as text, over the calendar of [`lw_stdx::calendar`].

use lw_stdx::calendar;
use std::fmt::Write;

pub const MICROS_PER_SECOND: i64 = 1_000_000;
pub const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// Days since 1970-01-01, as Arrow counts them: in 32 bits. The month must be 1 to 12; days beyond the month's end run on.
pub fn days_from_civil(year: i32, month: u32, day: u32) -> i32 {
    let days = calendar::days_from_civil(i64::from(year), month, day);
    i32::try_from(days).expect("the years of DATE are fewer than 2^31 days")
}

/// Year, month and day of a number of days since 1970-01-01.
pub fn civil_from_days(days: i32) -> (i32, u32, u32) {
    let (year, month, day) = calendar::civil_from_days(i64::from(days));
    let year = i32::try_from(year).expect("days of 32 bits are fewer than 2^31 years");
    (year, month, day)
}

pub fn days_of_month(year: i32, month: u32) -> u32 {
    calendar::days_of_month(i64::from(year), month)
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

/// Reads `yyyy-[m]m-[d]d`, all of the text, as `java.sql.Date.valueOf` does: a day beyond the month's end runs on into the next
/// month, and the ten days that the calendar of 1582 left out are the ten behind them.
pub(crate) fn sql_date(text: &[u8]) -> Option<i32> {
    let mut digits = Digits { rest: text };
    let year = i32::try_from(digits.number(4, 4)?).ok()?;
    digits.byte(b'-')?;
    let month = digits.number(1, 2)?;
    digits.byte(b'-')?;
    let day = digits.number(1, 2)?;
    let known = year > 0 && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !known || !digits.rest.is_empty() {
        return None;
    }
    let left_out = (year, month) == (1582, 10) && (5..=14).contains(&day);
    Some(days_from_civil(year, month, day) + if left_out { 10 } else { 0 })
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

/// Reads `2026-01-01 00:00:00.5`, or with `T` by ISO-8601, which is stricter about days but does without seconds, as microseconds
/// since 1970, cut to `precision` digits: a TIMESTAMP of Flink's text formats.
pub(crate) fn local_time(text: &[u8], iso: bool, precision: u8) -> Option<i64> {
    let between = if iso { b'T' } else { b' ' };
    plain(text, between, precision).or_else(|| any_local_time(text, iso, precision))
}

/// The spelling that nearly all have: each part with all its digits, seconds too, each in its range. For any other it is `None`, and
/// whether that is a time is [`any_local_time`]'s to say.
fn plain(text: &[u8], between: u8, precision: u8) -> Option<i64> {
    let (head, fraction) = text.split_first_chunk::<19>()?;
    let mut bad =
        head[4] ^ b'-' | head[7] ^ b'-' | head[10] ^ between | head[13] ^ b':' | head[16] ^ b':';
    let mut two = |at: usize| {
        let (tens, ones) = (head[at].wrapping_sub(b'0'), head[at + 1].wrapping_sub(b'0'));
        bad |= u8::from(tens > 9) | u8::from(ones > 9);
        u32::from(tens) * 10 + u32::from(ones)
    };
    let (century, year, month, day) = (two(0), two(2), two(5), two(8));
    let (hour, minute, second) = (two(11), two(14), two(17));
    let in_range = bad == 0
        && (1..=12).contains(&month)
        && (1..=28).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !in_range {
        return None;
    }
    let year = i64::from(century * 100 + year);
    let days = calendar::days_from_civil(year, month, day);
    let seconds = days * 86_400 + i64::from((hour * 60 + minute) * 60 + second);
    let micros = micros_of(fraction)?;
    let step = STEPS[usize::from(precision.min(6))];
    Some(seconds * MICROS_PER_SECOND + i64::from(micros - micros % step))
}

/// Microseconds of a second of a fraction as it is written: the point and up to nine digits, or nothing.
fn micros_of(fraction: &[u8]) -> Option<u32> {
    let digits = match fraction {
        [] => return Some(0),
        [b'.', digits @ ..] if digits.len() <= 9 => digits,
        _ => return None,
    };
    let (mut number, mut beyond) = (0, false);
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        beyond |= digit > 9;
        number = number * 10 + u32::from(digit);
    }
    match digits.len() {
        _ if beyond => None,
        few @ ..=6 => Some(number * STEPS[few]),
        many => Some(number / 10_u32.pow(many as u32 - 6)),
    }
}

/// Microseconds of the last digit, by how many digits there are.
const STEPS: [u32; 7] = [1_000_000, 100_000, 10_000, 1_000, 100, 10, 1];

fn any_local_time(text: &[u8], iso: bool, precision: u8) -> Option<i64> {
    let resolve = if iso { Resolve::Strict } else { Resolve::Smart };
    let mut digits = Digits { rest: text };
    let days = date(&mut digits, Width::Two, resolve)?;
    if iso {
        digits.byte(b'T').or_else(|| digits.byte(b't'))?;
    } else {
        digits.byte(b' ')?;
    }
    let seconds = if iso {
        Seconds::Optional
    } else {
        Seconds::Required
    };
    let nanos = time(&mut digits, Width::Two, resolve, seconds)?;
    let micros = i64::from(days) * MICROS_PER_DAY + nanos / 1000;
    digits.rest.is_empty().then_some(cut(micros, precision))
}

/// The same with a `Z` at its end: a TIMESTAMP_LTZ.
pub(crate) fn instant(text: &[u8], iso: bool, precision: u8) -> Option<i64> {
    local_time(text.strip_suffix(b"Z")?, iso, precision)
}

/// Cuts microseconds to `precision` digits of a second, towards the past.
pub fn cut(micros: i64, precision: u8) -> i64 {
    let step = i64::from(STEPS[usize::from(precision.min(6))]);
    micros.saturating_sub(micros.rem_euclid(step))
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_usual_spelling_of_a_time_says_what_any_does(
            parts in (0..10_001_u32, 0..14_u32, 0..33_u32, 0..26_u32, 0..62_u32, 0..62_u32),
            fraction in "([.][0-9]{0,10}|Z|[.]5Z|)",
            damaged in proptest::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>())),
            iso in any::<bool>(),
            precision in 0..7_u8,
        ) {
            let (year, month, day, hour, minute, second) = parts;
            let between = if iso { 'T' } else { ' ' };
            let text = format!("{year:04}-{month:02}-{day:02}{between}{hour:02}:{minute:02}:{second:02}{fraction}");
            let mut text = text.into_bytes();
            if let Some((at, byte)) = damaged {
                let at = at.index(text.len());
                text[at] = byte;
            }
            let any = any_local_time(&text, iso, precision);
            prop_assert_eq!(local_time(&text, iso, precision), any);
            let usual = damaged.is_none() && (1..=12).contains(&month) && (1..=28).contains(&day) && hour < 24 && minute < 60 && second < 60;
            if usual && year < 10_000 && fraction.len() < 2 + 9 && !fraction.ends_with('Z') {
                prop_assert_eq!(plain(&text, between as u8, precision), any, "and it needs no second look");
            }
        }
    }
}
