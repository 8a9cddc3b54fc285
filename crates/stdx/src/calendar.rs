//! The calendar: days since 1970-01-01 as years, months and days, and back; moments as people read and type them.
//!
//! It is the proleptic Gregorian one of ISO 8601 and `java.time`, and everything is UTC. The one trick, Howard Hinnant's:
//! years begin in March, so that the day that comes and goes is the last of its year, and 400 years have 146,097 days.

const DAYS_OF_400_YEARS: i64 = 146_097;
/// From 0000-03-01 to 1970-01-01.
const DAYS_TO_1970: i64 = 719_468;
const MILLIS_OF_DAY: i64 = 86_400_000;

/// Days since 1970-01-01. The month must be 1 to 12; days beyond the month's end run on.
#[inline]
pub fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    debug_assert!((1..=12).contains(&month), "a month is 1 to 12");
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let from_march = i64::from((month + 9) % 12);
    let day_of_year = (153 * from_march + 2) / 5 + i64::from(day) - 1;
    era * DAYS_OF_400_YEARS + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year
        - DAYS_TO_1970
}

/// Year, month and day of a number of days since 1970-01-01.
#[inline]
pub fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let days = days + DAYS_TO_1970;
    let era = days.div_euclid(DAYS_OF_400_YEARS);
    let day_of_era = days.rem_euclid(DAYS_OF_400_YEARS);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * from_march + 2) / 5 + 1) as u32;
    let month = if from_march < 10 {
        from_march as u32 + 3
    } else {
        from_march as u32 - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// How many days the month has.
pub fn days_of_month(year: i64, month: u32) -> u32 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Milliseconds since 1970 as `2026-11-27T05:18:32.123Z`.
pub fn utc(millis: i64) -> String {
    let (year, month, day) = civil_from_days(millis.div_euclid(MILLIS_OF_DAY));
    let (seconds, millis) = (
        millis.rem_euclid(MILLIS_OF_DAY) / 1000,
        millis.rem_euclid(1000),
    );
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Milliseconds since 1970 of `2026-01-31`, `2026-01-31T12:00`, `2026-01-31T12:00:00` or with up to three digits of a
/// fraction, a `Z` behind the time or not. `None` when it is no such moment: a 30th of February is none.
pub fn parse_utc(text: &str) -> Option<i64> {
    let (date, time) = text.split_once('T').unwrap_or((text, "00:00"));
    let time = time.strip_suffix('Z').unwrap_or(time);
    let (clock, fraction) = match time.split_once('.') {
        Some((clock, fraction)) => (clock, Some(fraction)),
        None => (time, None),
    };
    let date: Vec<&str> = date.split('-').collect();
    let clock: Vec<&str> = clock.split(':').collect();
    let (&[year, month, day], (hour, minute, second)) = (
        date.as_slice(),
        match *clock.as_slice() {
            [hour, minute, second] => (hour, minute, second),
            // Without seconds there is nothing to take a fraction of.
            [hour, minute] if fraction.is_none() => (hour, minute, "0"),
            _ => return None,
        },
    ) else {
        return None;
    };
    let year = i64::from(digits(year, 4, 4)?);
    let (month, day) = (digits(month, 1, 2)?, digits(day, 1, 2)?);
    let real = (1..=12).contains(&month) && (1..=days_of_month(year, month)).contains(&day);
    let (hour, minute, second) = (
        digits(hour, 1, 2)?,
        digits(minute, 1, 2)?,
        digits(second, 1, 2)?,
    );
    if !real || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let fraction = fraction.unwrap_or("0");
    let millis = digits(fraction, 1, 3)? * 10_u32.pow(3 - fraction.len() as u32);
    let of_day = ((hour * 60 + minute) * 60 + second) * 1000 + millis;
    Some(days_from_civil(year, month, day) * MILLIS_OF_DAY + i64::from(of_day))
}

/// A number of so many digits, and nothing else: no sign, no space.
fn digits(text: &str, least: usize, most: usize) -> Option<u32> {
    let right =
        (least..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    right.then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counted day by day from year to year, which needs no trick.
    #[test]
    fn every_day_of_two_eras_is_the_one_after_the_day_before() {
        let mut days = days_from_civil(1599, 1, 1);
        for year in 1599..2401 {
            for month in 1..=12 {
                for day in 1..=days_of_month(year, month) {
                    assert_eq!(days_from_civil(year, month, day), days);
                    assert_eq!(civil_from_days(days), (year, month, day));
                    days += 1;
                }
            }
        }
        assert_eq!(civil_from_days(0), (1970, 1, 1));
        assert_eq!(civil_from_days(days_from_civil(-4712, 2, 29)).0, -4712);
    }

    #[test]
    fn moments_are_printed_and_read_as_utc() {
        let cases = [
            ("1970-01-01T00:00:00.000Z", 0),
            ("1969-12-31T23:59:59.999Z", -1),
            ("2024-02-29T12:00:00.007Z", 1_709_208_000_007),
            ("0001-01-01T00:00:00.000Z", -62_135_596_800_000),
            ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
        ];
        for (text, millis) in cases {
            assert_eq!(utc(millis), text);
            assert_eq!(parse_utc(text), Some(millis));
        }
        for (text, millis) in [
            ("2026-01-31T12:00:00.5Z", Some(1_769_860_800_500)),
            ("2026-01-31T12:00:00", Some(1_769_860_800_000)),
            ("2026-1-31T12:00", Some(1_769_860_800_000)),
            ("2026-01-31", Some(1_769_817_600_000)),
            ("2026-02-30T12:00:00", None),
            ("2026-02-29", None),
            ("2026-13-01", None),
            ("2026-01-31T24:00:00", None),
            ("2026-01-31T12:00:60", None),
            ("2026-01-31T12:00.5", None),
            ("2026-01-31T12:00:00.5000", None),
            ("2026-01-31T12:00:00ZZ", None),
            ("2026-01-31T+2:00:00", None),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(parse_utc(text), millis, "{text:?}");
        }
    }
}
