//! Functions over dates and times.
//!
//! Before 1970 everything is cut towards the past, as after it; Flink counts some units from the other side.

mod pattern;

use super::super::cast;
use super::super::operand::Fault;
use super::super::time::add_months;
use super::{Args, Kernel, Registered, Value};
use crate::zone::Zone;
use lw_formats::text;
use lw_graph::TypeKind;
use lw_stdx::calendar::{civil_from_days, days_from_civil};
pub(super) use pattern::Pattern;

pub(super) const KERNELS: &[Registered] = &[
    whole("EXTRACT", |a, row| {
        let unit = unit(a.text(0, row))?;
        match a.interval(1, row) {
            Some(interval) => Ok(Some(of_interval(unit, interval))),
            None => extract(unit, a.moment(1, row)),
        }
    }),
    whole("YEAR", |a, row| extract(Unit::Year, a.moment(0, row))),
    whole("QUARTER", |a, row| extract(Unit::Quarter, a.moment(0, row))),
    whole("MONTH", |a, row| extract(Unit::Month, a.moment(0, row))),
    whole("WEEK", |a, row| extract(Unit::Week, a.moment(0, row))),
    whole("DAYOFYEAR", |a, row| {
        extract(Unit::DayOfYear, a.moment(0, row))
    }),
    whole("DAYOFMONTH", |a, row| extract(Unit::Day, a.moment(0, row))),
    whole("DAYOFWEEK", |a, row| {
        extract(Unit::DayOfWeek, a.moment(0, row))
    }),
    whole("HOUR", |a, row| extract(Unit::Hour, a.moment(0, row))),
    whole("MINUTE", |a, row| extract(Unit::Minute, a.moment(0, row))),
    whole("SECOND", |a, row| extract(Unit::Second, a.moment(0, row))),
    whole("FLOOR TO", |a, row| {
        let moment = a.moment(0, row);
        a.raw(0, floor(unit(a.text(1, row))?, moment)?)
    }),
    whole("CEIL TO", |a, row| {
        let (moment, unit) = (a.moment(0, row), unit(a.text(1, row))?);
        let below = floor(unit, moment)?;
        let above = if below == moment {
            moment
        } else {
            add(unit, 1, below)?
        };
        if a.is_time_of_day(0) && above.days > 0 {
            return Err(Fault::out_of_range("a time of day ends before 24:00:00"));
        }
        a.raw(0, above)
    }),
    whole("TIMESTAMPADD", |a, row| {
        let moved = add(unit(a.text(0, row))?, a.whole(1, row), a.moment(2, row))?;
        a.raw(2, moved)
    }),
    whole("TIMESTAMPDIFF", |a, row| {
        between(unit(a.text(0, row))?, a.moment(1, row), a.moment(2, row)).map(Some)
    }),
    whole("UNIX SECONDS", |a, row| {
        Ok(Some(a.micros(0, row).div_euclid(1_000_000)))
    }),
    Registered::new("DATE_FORMAT", Kernel::Text(date_format)),
    whole("TO_DATE", to_date),
    whole("TO_TIMESTAMP", to_timestamp),
    whole("TO_TIMESTAMP_LTZ", |a, row| {
        if a.is_text(0) {
            let Some(local) = to_timestamp(a, row)? else {
                // Without a pattern what is no time is an error: so it is in Flink.
                return match a.len() {
                    1 => Err(Fault::cast(format!(
                        "Text '{}' could not be parsed at index 0",
                        a.text(0, row)
                    ))),
                    _ => Ok(None),
                };
            };
            return match a.len() {
                3 => instant(zone(a.text(2, row))?, local).map(Some),
                _ => Ok(Some(local)),
            };
        }
        let digits = if a.len() > 1 { a.whole(1, row) } else { 3 };
        let unit = u32::try_from(digits).ok();
        let Some(unit) = unit.and_then(text::checked_power_of_ten) else {
            return Err(Fault::out_of_range("the number of digits is out of range"));
        };
        if *a.kind(0) == TypeKind::Double {
            return Ok(Some(of_seconds(a.double(0, row), unit)));
        }
        let millis = (i128::from(a.whole(0, row)) * 1_000).div_euclid(unit);
        // From the year 0 to the year 9999.
        let in_range = (-62_167_219_200_000..=253_402_300_799_999).contains(&millis);
        Ok(i64::try_from(millis)
            .ok()
            .filter(|_| in_range)
            .map(|millis| millis * 1_000))
    }),
    whole("LOCAL TIME", |a, row| {
        let (micros, zone) = (a.micros(0, row), zone(a.text(1, row))?);
        let millis = zone.local(micros.div_euclid(1_000));
        Ok(Some(millis * 1_000 + micros.rem_euclid(1_000)))
    }),
    whole("INSTANT", |a, row| {
        instant(zone(a.text(1, row))?, a.micros(0, row)).map(Some)
    }),
    Registered::new("CONVERT_TZ", Kernel::Text(convert_zone)),
    whole("UNIX_TIMESTAMP", unix_timestamp),
    whole("UNIX_TIMESTAMP IN", unix_timestamp),
    Registered::new("FROM_UNIXTIME", Kernel::Text(from_unix_time)),
    Registered::new("FROM_UNIXTIME IN", Kernel::Text(from_unix_time)),
];

const SECONDS: &str = "yyyy-MM-dd HH:mm:ss";

fn from_unix_time(a: &Args<'_>, row: usize, out: &mut String) -> Value<()> {
    let millis = a.whole(0, row).wrapping_mul(1_000);
    let millis = match a.len() {
        3 => zone(a.text(2, row))?.local(millis),
        _ => millis,
    };
    let moment = Moment {
        days: millis.div_euclid(86_400_000),
        micros: millis.rem_euclid(86_400_000) * 1_000,
    };
    let format = if a.len() > 1 { a.text(1, row) } else { SECONDS };
    a.pattern(format)?.format(moment, out)
}

/// Seconds; the least number for what does not follow the pattern.
fn unix_timestamp(a: &Args<'_>, row: usize) -> Value<i64> {
    let format = if a.len() > 1 { a.text(1, row) } else { SECONDS };
    let read = a
        .pattern(format)?
        .parse(a.text(0, row), pattern::Reading::Lenient)?;
    let Some(local) = read.and_then(Moment::in_micros) else {
        return Ok(Some(i64::MIN));
    };
    let millis = local.div_euclid(1_000);
    let millis = match a.len() {
        3 => instant_of_winter(zone(a.text(2, row))?, millis),
        _ => millis,
    };
    Ok(Some(millis.div_euclid(1_000)))
}

/// `CONVERT_TZ(text, from, to)`.
fn convert_zone(a: &Args<'_>, row: usize, out: &mut String) -> Value<()> {
    let read = a
        .pattern(SECONDS)?
        .parse(a.text(0, row), pattern::Reading::Lenient)?;
    let Some(local) = read.and_then(Moment::in_micros) else {
        return Ok(None);
    };
    let [from, to] = [1, 2].map(|arg| named_or_utc(a.text(arg, row)));
    let millis = to.local(instant_of_winter(from, local.div_euclid(1_000)));
    let moment = Moment::of_micros(millis * 1_000);
    a.pattern(SECONDS)?.format(moment, out)
}

fn zone(name: &str) -> Result<Zone, Fault> {
    Zone::parse(name).ok_or_else(|| Fault {
        code: "time-zone",
        message: format!("there is no time zone '{name}'"),
    })
}

/// As `java.util.TimeZone` has it: an offset needs GMT before it, and what is none is UTC.
fn named_or_utc(name: &str) -> Zone {
    let signed = name.contains(['+', '-']);
    let bare = name.starts_with(['+', '-']) || (signed && name.starts_with("UT"));
    let zone = Zone::parse(name).filter(|_| !bare);
    zone.or_else(|| Zone::parse("UTC")).expect("UTC is a zone")
}

/// When a clock shows the time; in microseconds.
fn instant(zone: Zone, local: i64) -> Result<i64, Fault> {
    let millis = zone.instant(local.div_euclid(1_000));
    millis
        .checked_mul(1_000)
        .map(|micros| micros + local.rem_euclid(1_000))
        .ok_or_else(|| Fault::out_of_range("the time is out of range"))
}

/// As `java.util.Calendar` reads a time that comes twice: the later of both. In milliseconds.
fn instant_of_winter(zone: Zone, local: i64) -> i64 {
    const DAY: i64 = 86_400_000;
    let later = local - zone.offset_at(local + DAY);
    if zone.local(later) == local {
        later
    } else {
        zone.instant(local)
    }
}

/// Seconds since 1970 of a number whose unit is so many to the second, to the millisecond; beyond the range of nanoseconds the last of them.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "Java's casts saturate"
)]
fn of_seconds(value: f64, unit: i128) -> i64 {
    let nanos = (value * (1_000_000_000.0 / unit as f64)) as i64;
    text::cut(nanos.div_euclid(1_000), 3)
}

const fn whole(name: &'static str, f: fn(&Args<'_>, usize) -> Value<i64>) -> Registered {
    Registered::new(name, Kernel::Whole(f))
}

/// A point in time, or a day or a time of day alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct Moment {
    /// Since 1970-01-01.
    pub(super) days: i64,
    /// Of the day.
    pub(super) micros: i64,
}

impl Moment {
    pub(super) fn of_micros(micros: i64) -> Moment {
        Moment {
            days: micros.div_euclid(text::MICROS_PER_DAY),
            micros: micros.rem_euclid(text::MICROS_PER_DAY),
        }
    }

    fn midnight(days: i64) -> Moment {
        Moment { days, micros: 0 }
    }

    pub(super) fn in_micros(self) -> Option<i64> {
        self.days
            .checked_mul(text::MICROS_PER_DAY)?
            .checked_add(self.micros)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Millennium,
    Century,
    Decade,
    Year,
    IsoYear,
    Quarter,
    Month,
    Week,
    Day,
    DayOfYear,
    DayOfWeek,
    IsoDayOfWeek,
    Hour,
    Minute,
    Second,
    Millisecond,
    Microsecond,
    Nanosecond,
    Epoch,
}

fn unit(name: &str) -> Result<Unit, Fault> {
    Ok(match name {
        "MILLENNIUM" => Unit::Millennium,
        "CENTURY" => Unit::Century,
        "DECADE" => Unit::Decade,
        "YEAR" => Unit::Year,
        "ISOYEAR" => Unit::IsoYear,
        "QUARTER" => Unit::Quarter,
        "MONTH" => Unit::Month,
        "WEEK" => Unit::Week,
        "DAY" => Unit::Day,
        "DOY" => Unit::DayOfYear,
        "DOW" => Unit::DayOfWeek,
        "ISODOW" => Unit::IsoDayOfWeek,
        "HOUR" => Unit::Hour,
        "MINUTE" => Unit::Minute,
        "SECOND" => Unit::Second,
        "MILLISECOND" => Unit::Millisecond,
        "MICROSECOND" => Unit::Microsecond,
        "NANOSECOND" => Unit::Nanosecond,
        "EPOCH" => Unit::Epoch,
        _ => {
            return Err(Fault {
                code: "argument",
                message: format!("there is no unit {name}"),
            });
        }
    })
}

/// Microseconds of the units that are always as long.
fn length(unit: Unit) -> Option<i64> {
    Some(match unit {
        Unit::Week => 7 * text::MICROS_PER_DAY,
        Unit::Day => text::MICROS_PER_DAY,
        Unit::Hour => 3_600_000_000,
        Unit::Minute => 60_000_000,
        Unit::Second => 1_000_000,
        Unit::Millisecond => 1_000,
        Unit::Microsecond => 1,
        _ => return None,
    })
}

fn months(unit: Unit) -> Option<i64> {
    Some(match unit {
        Unit::Millennium => 12_000,
        Unit::Century => 1_200,
        Unit::Decade => 120,
        Unit::Year => 12,
        Unit::Quarter => 3,
        Unit::Month => 1,
        _ => return None,
    })
}

/// Sunday is 0.
fn weekday(days: i64) -> i64 {
    (days + 4).rem_euclid(7)
}

pub(super) fn day_of_year(days: i64) -> i64 {
    let (year, _, _) = civil_from_days(days);
    days - days_from_civil(year, 1, 1) + 1
}

/// The year and the week that ISO 8601 counts a day to: those of its Thursday.
fn iso_week(days: i64) -> (i64, i64) {
    let thursday = days - (weekday(days) + 6) % 7 + 3;
    let (year, _, _) = civil_from_days(thursday);
    (year, (day_of_year(thursday) - 1) / 7 + 1)
}

fn extract(unit: Unit, moment: Moment) -> Value<i64> {
    let (year, month, day) = civil_from_days(moment.days);
    let month = i64::from(month);
    Ok(Some(match unit {
        Unit::Millennium => (year + 999).div_euclid(1_000),
        Unit::Century => (year + 99).div_euclid(100),
        Unit::Decade => year.div_euclid(10),
        Unit::Year => year,
        Unit::IsoYear => iso_week(moment.days).0,
        Unit::Quarter => (month - 1) / 3 + 1,
        Unit::Month => month,
        Unit::Week => iso_week(moment.days).1,
        Unit::Day => i64::from(day),
        Unit::DayOfYear => day_of_year(moment.days),
        Unit::DayOfWeek => weekday(moment.days) + 1,
        Unit::IsoDayOfWeek => (weekday(moment.days) + 6) % 7 + 1,
        Unit::Hour => moment.micros / 3_600_000_000,
        Unit::Minute => moment.micros / 60_000_000 % 60,
        Unit::Second => moment.micros / 1_000_000 % 60,
        Unit::Millisecond => moment.micros / 1_000 % 1_000,
        Unit::Microsecond => moment.micros % 1_000_000,
        Unit::Nanosecond => moment.micros % 1_000_000 * 1_000,
        Unit::Epoch => moment.days * 86_400 + moment.micros / 1_000_000,
    }))
}

/// Months, or milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Interval {
    Months(i32),
    Millis(i64),
}

/// With the sign of the interval; whole days are all in DAY, what is left of them in HOUR and so on.
fn of_interval(unit: Unit, interval: Interval) -> i64 {
    match interval {
        Interval::Months(months) => i64::from(match unit {
            Unit::Year => months / 12,
            Unit::Quarter => months % 12 / 3,
            _ => months % 12,
        }),
        Interval::Millis(millis) => match unit {
            Unit::Week => millis / 604_800_000,
            Unit::Day => millis / 86_400_000,
            Unit::Hour => millis / 3_600_000 % 24,
            Unit::Minute => millis / 60_000 % 60,
            Unit::Second => millis / 1_000 % 60,
            _ => millis % 1_000,
        },
    }
}

/// The beginning of the unit that the moment is in. Weeks begin on Sunday; a century on the first day of its year 1.
fn floor(unit: Unit, moment: Moment) -> Result<Moment, Fault> {
    let (year, month, _) = civil_from_days(moment.days);
    let day = |year, month| Moment::midnight(days_from_civil(year, month, 1));
    Ok(match unit {
        Unit::Millennium => day((year - 1).div_euclid(1_000) * 1_000 + 1, 1),
        Unit::Century => day((year - 1).div_euclid(100) * 100 + 1, 1),
        Unit::Decade => day(year.div_euclid(10) * 10, 1),
        Unit::Year => day(year, 1),
        Unit::Quarter => day(year, (month - 1) / 3 * 3 + 1),
        Unit::Month => day(year, month),
        Unit::Week => Moment::midnight(moment.days - weekday(moment.days)),
        unit => match length(unit) {
            Some(length) => Moment {
                micros: moment.micros - moment.micros % length,
                ..moment
            },
            None => return Err(Fault::out_of_range("time is not cut to this unit")),
        },
    })
}

fn add(unit: Unit, count: i64, moment: Moment) -> Result<Moment, Fault> {
    let out_of_range = || Fault::out_of_range("the time is out of range");
    if let Some(months) = months(unit) {
        let days = i32::try_from(moment.days).map_err(|_| out_of_range())?;
        let moved = count.checked_mul(months).ok_or_else(out_of_range)?;
        return Ok(Moment {
            days: i64::from(add_months(days, moved)?),
            ..moment
        });
    }
    let length = length(unit).ok_or_else(out_of_range)?;
    let micros = i128::from(count) * i128::from(length)
        + i128::from(moment.days) * i128::from(text::MICROS_PER_DAY)
        + i128::from(moment.micros);
    i64::try_from(micros)
        .map(Moment::of_micros)
        .map_err(|_| out_of_range())
}

/// Whole units from one moment to another, cut towards 0.
fn between(unit: Unit, from: Moment, to: Moment) -> Result<i64, Fault> {
    if let Some(months) = months(unit) {
        return Ok(months_between(from, to)? / months);
    }
    let length =
        length(unit).ok_or_else(|| Fault::out_of_range("time is not counted in this unit"))?;
    // Flink counts in milliseconds.
    let millis = |moment: Moment| moment.days * 86_400_000 + moment.micros / 1_000;
    Ok((millis(to) - millis(from)) / (length / 1_000))
}

/// As many months as the earlier day can be moved by without passing the later; a month less where only the time of day passes it.
fn months_between(from: Moment, to: Moment) -> Result<i64, Fault> {
    let days = |days: i64| {
        i32::try_from(days).map_err(|_| Fault::out_of_range("the time is out of range"))
    };
    let whole = |early: i64, late: i64| -> Result<i64, Fault> {
        let (from, to) = (civil_from_days(early), civil_from_days(late));
        let months = (to.0 - from.0) * 12 + i64::from(to.1) - i64::from(from.1);
        let passes = i64::from(add_months(days(early)?, months)?) > late;
        Ok(if passes { months - 1 } else { months })
    };
    let months = if to.days < from.days {
        -whole(to.days, from.days)?
    } else {
        whole(from.days, to.days)?
    };
    let lands = i64::from(add_months(days(from.days)?, months)?);
    Ok(
        if lands == to.days && to.micros / 1_000 < from.micros / 1_000 {
            months - 1
        } else {
            months
        },
    )
}

fn date_format(a: &Args<'_>, row: usize, out: &mut String) -> Value<()> {
    let moment = if a.is_text(0) {
        match text::parse_timestamp(a.text(0, row).as_bytes(), 6) {
            Some(micros) => Moment::of_micros(micros),
            None => return Ok(None),
        }
    } else {
        a.moment(0, row)
    };
    a.pattern(a.text(1, row))?.format(moment, out)
}

/// NULL for what is no date; with a pattern, days beyond a month's end run on and text behind the date is ignored.
fn to_date(a: &Args<'_>, row: usize) -> Value<i64> {
    let text = a.text(0, row);
    if a.len() > 1 {
        let found = a
            .pattern(a.text(1, row))?
            .parse(text, pattern::Reading::Lenient)?;
        return Ok(found.map(|moment| moment.days));
    }
    Ok(cast::parse_date(text).map(i64::from))
}

/// NULL for what is no timestamp; what does not follow the pattern may still be one as it is usually written.
fn to_timestamp(a: &Args<'_>, row: usize) -> Value<i64> {
    let text = a.text(0, row);
    if a.len() > 1
        && let Some(moment) = a
            .pattern(a.text(1, row))?
            .parse(text, pattern::Reading::Smart)?
    {
        return Ok(moment.in_micros().map(|micros| text::cut(micros, 3)));
    }
    Ok(text::parse_timestamp(text.trim().as_bytes(), 3))
}
