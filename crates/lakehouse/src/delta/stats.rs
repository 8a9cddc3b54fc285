//! Statistics of a data file, by which readers skip it: how many rows, and for each column the least and the greatest value and the
//! number of NULLs; or the number of rows alone, where one of the columns has no such values, or there are many.
//!
//! They are Parquet's, of all row groups together. Times are rounded away from the values to milliseconds, as Delta writes them;
//! texts are cut to 16 characters, the greatest one raised. Of floats there are no values, because a NaN is greater than the greatest
//! that Parquet knows; nor of decimals that a JSON number would not hold exactly, nor of nested columns.

use super::schema::{Column, NTZ, Type, decimal};
use crate::writer::stats::{BOUND_CHARACTERS, raised_text};
use lw_stdx::calendar;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::statistics::Statistics;
use serde_json::{Map, Value, json};

/// As many as `delta.dataSkippingNumIndexedCols` says where it is not set.
const COLUMNS: usize = 32;
/// Digits that a JSON number holds in any reader.
const EXACT_DIGITS: u8 = 15;
const FIRST_DAY: i64 = -719_528; // 0000-01-01
const LAST_DAY: i64 = 2_932_896; // 9999-12-31

#[derive(Clone, Debug, PartialEq, PartialOrd)]
enum Bound {
    Whole(i128),
    Text(String),
}

/// The text for `add.stats`.
pub(super) fn of(parquet: &ParquetMetaData, columns: &[Column]) -> String {
    let rows = parquet.file_metadata().num_rows();
    // To delta-rs (1.6) a column without bounds beside others that have some is one that no filter finds anything in.
    let no_more = json!({ "numRecords": rows }).to_string();
    if columns.len() > COLUMNS {
        return no_more;
    }
    let (mut least, mut greatest, mut nulls) = (Map::new(), Map::new(), Map::new());
    for column in columns {
        let Type::Primitive(ty) = &column.ty else {
            continue;
        };
        let chunks: Option<Vec<&ColumnChunkMetaData>> = parquet
            .row_groups()
            .iter()
            .map(|group| {
                let mut chunks = group.columns().iter();
                chunks.find(|chunk| chunk.column_path().parts() == [column.name.as_str()])
            })
            .collect();
        let Some(chunks) = chunks else { return no_more };
        let found: Option<Vec<&Statistics>> =
            chunks.iter().map(|chunk| chunk.statistics()).collect();
        let Some(found) = found else { return no_more };
        let counts: Option<Vec<u64>> = found.iter().map(|one| one.null_count_opt()).collect();
        let Some(counts) = counts else { return no_more };
        nulls.insert(column.name.clone(), json!(counts.iter().sum::<u64>()));
        // Row groups with nothing but NULLs have no bounds.
        let valued: Vec<&Statistics> = chunks
            .iter()
            .zip(found)
            .zip(counts)
            .filter(|((chunk, _), nulls)| u64::try_from(chunk.num_values()) != Ok(*nulls))
            .map(|((_, statistics), _)| statistics)
            .collect();
        if valued.is_empty() {
            continue;
        }
        let low = all(&valued, |one| lower(ty, one), |one, other| one < other);
        let high = all(&valued, |one| upper(ty, one), |one, other| one > other);
        let low = low.and_then(|bound| shown(ty, bound, Rounded::Down));
        let high = high.and_then(|bound| shown(ty, bound, Rounded::Up));
        let (Some(low), Some(high)) = (low, high) else {
            return no_more;
        };
        least.insert(column.name.clone(), low);
        greatest.insert(column.name.clone(), high);
    }
    json!({
        "numRecords": rows,
        "minValues": least,
        "maxValues": greatest,
        "nullCount": nulls,
    })
    .to_string()
}

/// The bound of all row groups; `None` where one of them has none.
fn all(
    groups: &[&Statistics],
    of: impl Fn(&Statistics) -> Option<Bound>,
    wider: impl Fn(&Bound, &Bound) -> bool,
) -> Option<Bound> {
    let mut widest: Option<Bound> = None;
    for group in groups {
        let bound = of(group)?;
        if widest.as_ref().is_none_or(|widest| wider(&bound, widest)) {
            widest = Some(bound);
        }
    }
    widest
}

fn lower(ty: &str, statistics: &Statistics) -> Option<Bound> {
    match (ty, statistics) {
        ("string", Statistics::ByteArray(values)) => {
            let text = std::str::from_utf8(values.min_opt()?.data()).ok()?;
            Some(Bound::Text(text.chars().take(BOUND_CHARACTERS).collect()))
        }
        (_, Statistics::Int32(values)) => whole(ty, i128::from(*values.min_opt()?)),
        (_, Statistics::Int64(values)) => whole(ty, i128::from(*values.min_opt()?)),
        _ => None,
    }
}

fn upper(ty: &str, statistics: &Statistics) -> Option<Bound> {
    match (ty, statistics) {
        ("string", Statistics::ByteArray(values)) => {
            let text = std::str::from_utf8(values.max_opt()?.data()).ok()?;
            Some(Bound::Text(raised_text(text)?))
        }
        (_, Statistics::Int32(values)) => whole(ty, i128::from(*values.max_opt()?)),
        (_, Statistics::Int64(values)) => whole(ty, i128::from(*values.max_opt()?)),
        _ => None,
    }
}

fn whole(ty: &str, value: i128) -> Option<Bound> {
    let is_whole = matches!(
        ty,
        "byte" | "short" | "integer" | "long" | "date" | "timestamp" | NTZ
    ) || decimal(ty).is_some();
    is_whole.then_some(Bound::Whole(value))
}

#[derive(Clone, Copy)]
enum Rounded {
    Down,
    Up,
}

fn shown(ty: &str, bound: Bound, rounded: Rounded) -> Option<Value> {
    let number = match bound {
        Bound::Text(text) => return Some(Value::from(text)),
        Bound::Whole(number) => i64::try_from(number).ok()?,
    };
    match ty {
        "date" => day(number).map(Value::from),
        "timestamp" | NTZ => {
            let millis = match rounded {
                Rounded::Down => number.div_euclid(1000),
                Rounded::Up => number.div_euclid(1000) + i64::from(number.rem_euclid(1000) > 0),
            };
            day(millis.div_euclid(86_400_000))?;
            let text = calendar::utc(millis);
            let text = match ty {
                NTZ => text.trim_end_matches('Z'),
                _ => text.as_str(),
            };
            Some(Value::from(text))
        }
        _ => match decimal(ty) {
            None => Some(Value::from(number)),
            Some((precision, scale)) if precision <= EXACT_DIGITS => {
                // Both are exact, so the quotient is the number that is nearest to the decimal, and is shown as it.
                let quotient = number as f64 / 10f64.powi(i32::from(scale));
                serde_json::Number::from_f64(quotient).map(Value::Number)
            }
            Some(_) => None,
        },
    }
}

/// A day as text; `None` where the year would not have four digits.
fn day(days: i64) -> Option<String> {
    if !(FIRST_DAY..=LAST_DAY).contains(&days) {
        return None;
    }
    let (year, month, day) = calendar::civil_from_days(days);
    Some(format!("{year:04}-{month:02}-{day:02}"))
}
