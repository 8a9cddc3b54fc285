//! Dates, times and timestamps moved by intervals.
//!
//! Months keep the day where the month has it and take its last day where not (`2026-03-31 - 1 MONTH` is `2026-02-28`);
//! times of day go round the clock.

use super::operand::{Active, Fault, Operand, RowError};
use super::rows::binary;
use arrow_array::types::{
    Date32Type, DurationMillisecondType, Int64Type, IntervalYearMonthType, Time64MicrosecondType,
    TimestampMicrosecondType,
};
use arrow_schema::{DataType, IntervalUnit};
use lw_formats::text::{MICROS_PER_DAY, civil_from_days, days_from_civil, days_of_month};

const MILLIS_PER_DAY: i64 = 86_400_000;

/// `time + sign * interval`.
pub(super) fn shift(
    time: &Operand,
    interval: &Operand,
    sign: i64,
    active: &Active,
) -> Result<Operand, RowError> {
    let ty = time.array.data_type().clone();
    let months = matches!(
        interval.array.data_type(),
        DataType::Interval(IntervalUnit::YearMonth)
    );
    match (&ty, months) {
        (DataType::Date32, true) => binary::<Date32Type, IntervalYearMonthType, Date32Type>(
            time,
            interval,
            &ty,
            active,
            |days, months| add_months(days, i64::from(months) * sign).map(Some),
        ),
        (DataType::Date32, false) => binary::<Date32Type, DurationMillisecondType, Date32Type>(
            time,
            interval,
            &ty,
            active,
            |days, millis| {
                let moved = i64::from(days) + sign * (millis / MILLIS_PER_DAY);
                i32::try_from(moved).map(Some).map_err(|_| out_of_range())
            },
        ),
        (DataType::Time64(_), true) => Ok(time.clone()),
        (DataType::Time64(_), false) => binary::<
            Time64MicrosecondType,
            DurationMillisecondType,
            Time64MicrosecondType,
        >(time, interval, &ty, active, |micros, millis| {
            let millis = millis % MILLIS_PER_DAY;
            Ok(Some(
                (micros + sign * millis * 1000).rem_euclid(MICROS_PER_DAY),
            ))
        }),
        (_, true) => binary::<
            TimestampMicrosecondType,
            IntervalYearMonthType,
            TimestampMicrosecondType,
        >(time, interval, &ty, active, |micros, months| {
            let days =
                i32::try_from(micros.div_euclid(MICROS_PER_DAY)).map_err(|_| out_of_range())?;
            let moved = add_months(days, i64::from(months) * sign)?;
            i64::from(moved)
                .checked_mul(MICROS_PER_DAY)
                .and_then(|day| day.checked_add(micros.rem_euclid(MICROS_PER_DAY)))
                .map(Some)
                .ok_or_else(out_of_range)
        }),
        (_, false) => binary::<
            TimestampMicrosecondType,
            DurationMillisecondType,
            TimestampMicrosecondType,
        >(time, interval, &ty, active, |micros, millis| {
            millis
                .checked_mul(1000 * sign)
                .and_then(|moved| micros.checked_add(moved))
                .map(Some)
                .ok_or_else(out_of_range)
        }),
    }
}

/// `interval * times`, which wraps as whole numbers do.
#[expect(
    clippy::cast_possible_truncation,
    reason = "months wrap as Java's int does"
)]
pub(super) fn times(
    interval: &Operand,
    times: &Operand,
    active: &Active,
) -> Result<Operand, RowError> {
    let ty = interval.array.data_type().clone();
    match ty {
        DataType::Interval(_) => binary::<IntervalYearMonthType, Int64Type, IntervalYearMonthType>(
            interval,
            times,
            &ty,
            active,
            |months, times| Ok(Some(months.wrapping_mul(times as i32))),
        ),
        _ => binary::<DurationMillisecondType, Int64Type, DurationMillisecondType>(
            interval,
            times,
            &ty,
            active,
            |millis, times| Ok(Some(millis.wrapping_mul(times))),
        ),
    }
}

pub(super) fn add_months(days: i32, months: i64) -> Result<i32, Fault> {
    let (year, month, day) = civil_from_days(days);
    let total = i64::from(year) * 12 + i64::from(month) - 1 + months;
    let year = i32::try_from(total.div_euclid(12)).map_err(|_| out_of_range())?;
    if !(-9_999..=99_999).contains(&year) {
        return Err(out_of_range());
    }
    let month = u32::try_from(total.rem_euclid(12)).expect("below 12") + 1;
    Ok(days_from_civil(
        year,
        month,
        day.min(days_of_month(year, month)),
    ))
}

fn out_of_range() -> Fault {
    Fault {
        code: "out_of_range",
        message: "the time is out of range".to_string(),
    }
}
