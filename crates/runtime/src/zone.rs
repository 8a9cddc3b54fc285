//! Time zones: what a clock on the wall shows at an instant, and the other way round, as `java.time` answers.
//!
//! A local time that is skipped when clocks go forward is read with the offset before, one that comes twice with the earlier
//! offset. The tables of the zones end with the 21st century; behind it a year has the rules of one with the same calendar.

use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveDateTime, Offset, TimeZone};
use chrono_tz::Tz;

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

/// A time zone. Times are in milliseconds; local ones count from 1970-01-01 00:00 on the wall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone {
    rules: Rules,
    /// Clocks are moved every year, as far as the rules go.
    pub(crate) saves_daylight: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rules {
    /// Always so many milliseconds before UTC.
    Fixed(i64),
    Named(Tz),
}

impl Zone {
    /// The zone that a session names as `table.local-time-zone`: `Europe/Berlin`, `UTC`, `GMT+08:00`. `None` for any other text.
    pub fn parse(text: &str) -> Option<Zone> {
        if let Some(offset) = fixed(text) {
            let rules = Rules::Fixed(offset);
            return Some(Zone {
                rules,
                saves_daylight: false,
            });
        }
        let zone: Tz = text.parse().ok()?;
        let rules = Rules::Named(zone);
        let in_month = |month| {
            let date = NaiveDate::from_ymd_opt(2060, month, 15).expect("a date");
            zone.offset_from_utc_date(&date).fix()
        };
        Some(Zone {
            rules,
            saves_daylight: in_month(1) != in_month(7),
        })
    }

    /// Local time less UTC at an instant.
    pub fn offset_at(&self, instant: i64) -> i64 {
        match self.rules {
            Rules::Fixed(offset) => offset,
            Rules::Named(zone) => {
                let offset = zone.offset_from_utc_datetime(&within_tables(instant)).fix();
                i64::from(offset.local_minus_utc()) * 1000
            }
        }
    }

    /// What the clock on the wall shows.
    pub fn local(&self, instant: i64) -> i64 {
        instant + self.offset_at(instant)
    }

    /// When the clock on the wall shows it.
    pub fn instant(&self, local: i64) -> i64 {
        // Whichever offset holds around here is that of a day ago, or of a day ahead.
        let (before, behind) = (self.offset_at(local - DAY), self.offset_at(local + DAY));
        let with = |offset: i64| (self.local(local - offset) == local).then_some(local - offset);
        with(before)
            .or_else(|| with(behind))
            .unwrap_or(local - before)
    }
}

/// `UTC`, `Z`, `+08:00`, `GMT+8`, `UTC-03:30`: in milliseconds.
fn fixed(text: &str) -> Option<i64> {
    if matches!(text, "UTC" | "GMT" | "UT" | "Z") {
        return Some(0);
    }
    let prefixes = ["GMT", "UTC", "UT"];
    let signed = prefixes.iter().find_map(|prefix| text.strip_prefix(prefix));
    let signed = signed.unwrap_or(text);
    let (sign, digits) = match signed.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = digits.split_once(':').unwrap_or((digits, "0"));
    let number = |text: &str, most: i64| {
        let digits = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        let number = text.parse::<i64>().ok();
        number.filter(|number| digits && *number <= most)
    };
    let offset = number(hours, 18)? * HOUR + number(minutes, 59)? * 60_000;
    (offset <= 18 * HOUR).then_some(sign * offset)
}

/// The instant, moved by whole weeks to a year of the same calendar that the tables know.
fn within_tables(instant: i64) -> NaiveDateTime {
    const KNOWN: i32 = 2090;
    let time = DateTime::from_timestamp_millis(instant).map(|time| time.naive_utc());
    let time = time.unwrap_or(if instant < 0 {
        NaiveDateTime::MIN
    } else {
        NaiveDateTime::MAX
    });
    if time.year() < KNOWN {
        return time;
    }
    let first = |year| NaiveDate::from_ymd_opt(year, 1, 1).expect("a date");
    let calendar = |year| (first(year).weekday(), first(year).leap_year());
    let alike = (KNOWN - 28..KNOWN).find(|year| calendar(*year) == calendar(time.year()));
    let alike = alike.expect("28 years of this century have every calendar");
    let day = first(alike) + Days::new(u64::from(time.ordinal0()));
    day.and_time(time.time())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(text: &str) -> i64 {
        let time = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M").expect("a time");
        time.and_utc().timestamp_millis()
    }

    #[test]
    fn clocks_that_go_forward_and_back() {
        let zone = Zone::parse("America/Los_Angeles").expect("a zone");
        assert!(zone.saves_daylight);
        for (local, instant) in [
            ("2021-03-14 01:59", "2021-03-14 09:59"),
            // Skipped: with the offset before.
            ("2021-03-14 02:30", "2021-03-14 10:30"),
            ("2021-03-14 03:00", "2021-03-14 10:00"),
            // Twice: the earlier one.
            ("2021-11-07 01:00", "2021-11-07 08:00"),
            ("2021-11-07 01:59", "2021-11-07 08:59"),
            ("2021-11-07 02:00", "2021-11-07 10:00"),
            // Behind the tables: the second Sunday of March.
            ("2150-03-08 02:30", "2150-03-08 10:30"),
            ("9999-07-01 00:00", "9999-07-01 07:00"),
        ] {
            assert_eq!(zone.instant(millis(local)), millis(instant), "{local}");
        }
        assert_eq!(
            zone.local(millis("2021-11-07 09:30")),
            millis("2021-11-07 01:30")
        );
        assert_eq!(
            zone.local(millis("2021-11-07 08:30")),
            millis("2021-11-07 01:30")
        );
    }

    #[test]
    fn every_local_time_that_there_is_comes_back() {
        for name in [
            "Europe/Berlin",
            "Australia/Lord_Howe",
            "Asia/Kolkata",
            "America/St_Johns",
            "GMT-03:30",
        ] {
            let zone = Zone::parse(name).expect("a zone");
            for half_hour in 0..2 * 24 * 800 {
                let instant = millis("2024-01-01 00:00") + half_hour * HOUR / 2;
                let local = zone.local(instant);
                assert_eq!(zone.local(zone.instant(local)), local, "{name} {local}");
                assert!(
                    zone.instant(local) <= instant,
                    "{name} {local}: the earlier of two"
                );
            }
        }
    }

    #[test]
    fn zones_by_their_names() {
        for (text, hours) in [
            ("UTC", 0),
            ("Z", 0),
            ("GMT+08:00", 8),
            ("-3", -3),
            ("Asia/Shanghai", 8),
        ] {
            let zone = Zone::parse(text).expect("a zone");
            assert_eq!(
                (zone.offset_at(0), zone.saves_daylight),
                (hours * HOUR, false),
                "{text}"
            );
        }
        for text in ["", "+", "GMT+19:00", "Mars/Olympus", "+1:2:3"] {
            assert_eq!(Zone::parse(text), None, "{text}");
        }
    }
}
