//! `date_trunc` of timestamps in microseconds, in every year that a table holds.
//!
//! DataFusion's own counts months and weeks in nanoseconds, and beyond 1677 to 2262 it wraps without a word: the month of
//! `2300-05-17` was one of 1715; before 1970 it rounds parts of a day up. Here the calendar is asked. Other types, and time zones other than UTC, are left to DataFusion's.

use std::any::Any;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, TimestampMicrosecondArray};
use arrow_schema::{DataType, FieldRef, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::common::cast::as_timestamp_microsecond_array;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    sort_properties::{ExprProperties, SortProperties},
};
use lw_stdx::calendar::{civil_from_days, days_from_civil};

/// In front of DataFusion's function of this name.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct DateTrunc {
    of_datafusion: Arc<ScalarUDF>,
}

impl DateTrunc {
    pub(crate) fn before(of_datafusion: Arc<ScalarUDF>) -> ScalarUDF {
        ScalarUDF::new_from_impl(DateTrunc { of_datafusion })
    }
}

impl ScalarUDFImpl for DateTrunc {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        self.of_datafusion.name()
    }

    fn aliases(&self) -> &[String] {
        self.of_datafusion.aliases()
    }

    fn signature(&self) -> &Signature {
        self.of_datafusion.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.of_datafusion.return_type(arguments)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef> {
        self.of_datafusion.return_field_from_args(arguments)
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        self.of_datafusion.output_ordering(inputs)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [unit, value] = arguments.args.as_slice() else {
            return self.of_datafusion.invoke_with_args(arguments);
        };
        let (Some(unit), true) = (unit_of(unit), is_utc_micros(&value.data_type())) else {
            return self.of_datafusion.invoke_with_args(arguments);
        };
        Ok(match value {
            ColumnarValue::Scalar(ScalarValue::TimestampMicrosecond(micros, zone)) => {
                let begun = micros.map(|micros| begin(unit, micros)).transpose()?;
                ColumnarValue::Scalar(ScalarValue::TimestampMicrosecond(begun, zone.clone()))
            }
            value => {
                let array = value.to_array(arguments.number_rows)?;
                ColumnarValue::Array(begin_all(unit, &array)?)
            }
        })
    }
}

#[derive(Debug, Clone, Copy)]
enum Unit {
    /// So many microseconds, counted from 1970.
    Even(i64),
    /// From Monday.
    Week,
    /// So many months, counted from January.
    Months(u32),
}

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// `None` where DataFusion's own has an error, or an answer, of its own.
fn unit_of(unit: &ColumnarValue) -> Option<Unit> {
    let ColumnarValue::Scalar(unit) = unit else {
        return None;
    };
    let name = unit.try_as_str().flatten()?.to_lowercase();
    Some(match name.as_str() {
        "microsecond" => Unit::Even(1),
        "millisecond" => Unit::Even(1000),
        "second" => Unit::Even(SECOND),
        "minute" => Unit::Even(60 * SECOND),
        "hour" => Unit::Even(3600 * SECOND),
        "day" => Unit::Even(DAY),
        "week" => Unit::Week,
        "month" => Unit::Months(1),
        "quarter" => Unit::Months(3),
        "year" => Unit::Months(12),
        _ => return None,
    })
}

fn is_utc_micros(ty: &DataType) -> bool {
    let DataType::Timestamp(TimeUnit::Microsecond, zone) = ty else {
        return false;
    };
    zone.as_deref()
        .is_none_or(|zone| ["UTC", "Z", "+00:00", "+00"].contains(&zone))
}

fn begin_all(unit: Unit, array: &dyn Array) -> Result<ArrayRef> {
    let micros = as_timestamp_microsecond_array(array)?;
    let begun: TimestampMicrosecondArray = micros.try_unary(|micros| begin(unit, micros))?;
    Ok(Arc::new(
        begun.with_timezone_opt(micros.timezone().map(str::to_owned)),
    ))
}

/// The first microsecond of the unit that a moment is in.
///
/// # Errors
/// When that is before what 64 bits of microseconds hold, 290,000 years ago.
fn begin(unit: Unit, micros: i64) -> Result<i64> {
    let days = micros.div_euclid(DAY);
    let days = match unit {
        Unit::Even(size) => {
            let into = micros.rem_euclid(size);
            return micros.checked_sub(into).ok_or_else(|| outside(micros));
        }
        // 1970 began on a Thursday.
        Unit::Week => days - (days + 3).rem_euclid(7),
        Unit::Months(months) => {
            let (year, month, _) = civil_from_days(days);
            days_from_civil(year, (month - 1) / months * months + 1, 1)
        }
    };
    days.checked_mul(DAY).ok_or_else(|| outside(micros))
}

fn outside(micros: i64) -> DataFusionError {
    DataFusionError::Execution(format!(
        "date_trunc: {micros} microseconds are too long ago to have a beginning"
    ))
}

#[cfg(test)]
mod tests {
    use crate::{as_of, micros};
    use datafusion::prelude::SessionContext;

    async fn text(sql: &str) -> String {
        let context = SessionContext::new();
        micros::teach(&context).expect("it has one of its own");
        let query = as_of::statement(&context, sql).await.expect(sql);
        let plan = micros::plan(&context, query).await.expect(sql);
        let frame = context.execute_logical_plan(plan).await.expect(sql);
        let batches = frame.collect().await.expect(sql);
        let cell = arrow_cast::display::array_value_to_string(batches[0].column(0), 0);
        cell.expect("it can be shown")
    }

    /// The expected moments are PostgreSQL's rules read off a calendar; of a scalar and of a column alike.
    #[tokio::test]
    async fn moments_begin_in_every_year() {
        for (unit, moment, begin) in [
            ("month", "2300-05-17 10:11:12.345678", "2300-05-01T00:00:00"),
            ("QUARTER", "2300-05-17 10:11:12", "2300-04-01T00:00:00"),
            ("year", "9999-12-31 23:59:59", "9999-01-01T00:00:00"),
            ("month", "0001-01-31 01:00:00", "0001-01-01T00:00:00"),
            ("week", "2026-11-27 01:00:00", "2026-11-23T00:00:00"),
            ("week", "2026-11-23 00:00:00", "2026-11-23T00:00:00"),
            ("week", "1969-12-31 23:00:00", "1969-12-29T00:00:00"),
            ("day", "1500-02-28 23:59:59", "1500-02-28T00:00:00"),
            (
                "second",
                "1960-02-29 23:59:59.999999",
                "1960-02-29T23:59:59",
            ),
            ("hour", "9999-12-31 23:59:59", "9999-12-31T23:00:00"),
            ("second", "0001-01-01 00:00:00.5", "0001-01-01T00:00:00"),
            (
                "millisecond",
                "2300-01-01 00:00:00.123456",
                "2300-01-01T00:00:00.123",
            ),
        ] {
            let scalar = format!("SELECT date_trunc('{unit}', TIMESTAMP '{moment}')");
            assert_eq!(text(&scalar).await, begin, "{scalar}");
            let column = format!(
                "SELECT date_trunc('{unit}', t) FROM (VALUES (TIMESTAMP '{moment}'), (NULL)) AS v(t)"
            );
            assert_eq!(text(&column).await, begin, "{column}");
        }
    }

    /// What DataFusion's own answers near today is what ours answers. (Before 1970 it takes the end of a unit for its beginning.)
    #[tokio::test]
    async fn near_today_it_is_datafusions() {
        let context = SessionContext::new();
        for unit in [
            "microsecond",
            "millisecond",
            "second",
            "minute",
            "hour",
            "day",
            "week",
            "month",
            "quarter",
            "year",
        ] {
            for moment in [
                "2000-02-29 23:59:59.999999",
                "1970-01-01 00:00:00",
                "2024-02-29 12:34:56.789012",
                "2026-12-31 23:00:00",
            ] {
                let theirs = format!(
                    "SELECT date_trunc('{unit}', arrow_cast('{moment}', 'Timestamp(Microsecond, None)'))"
                );
                let batches = context
                    .sql(&theirs)
                    .await
                    .expect("planned")
                    .collect()
                    .await
                    .expect("run");
                let theirs = arrow_cast::display::array_value_to_string(batches[0].column(0), 0)
                    .expect("shown");
                let ours = text(&format!(
                    "SELECT date_trunc('{unit}', TIMESTAMP '{moment}')"
                ))
                .await;
                assert_eq!(ours, theirs, "{unit} of {moment}");
            }
        }
    }
}
