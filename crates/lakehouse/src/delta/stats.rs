//! Statistics of a data file, by which readers skip it: how many rows, and for each column the least and the greatest value and the
//! number of NULLs; or the number of rows alone, where one of the columns has no such values, or there are many.
//!
//! They are Parquet's, of all row groups together, and text here, since a decimal may have more digits than JSON's numbers have elsewhere.
//! Times are rounded away from the values to milliseconds, as Delta writes them; texts are cut to 16 characters, the greatest one
//! raised. Of bytes and of nested columns nothing is said, and of nothing in a file with a NaN, which is greater than the
//! greatest that Parquet knows.

use super::schema::{Column, NTZ, Type, decimal};
use crate::writer::stats::{BOUND_CHARACTERS, raised_text};
use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_schema::DataType;
use lw_stdx::calendar;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::statistics::Statistics;
use serde_json::json;

/// As many as `delta.dataSkippingNumIndexedCols` says where it is not set.
const COLUMNS: usize = 32;
const FIRST_DAY: i64 = -719_528; // 0000-01-01
const LAST_DAY: i64 = 2_932_896; // 9999-12-31

/// Values by column, each as JSON has it.
#[derive(Default)]
struct Columns {
    least: Vec<(String, String)>,
    greatest: Vec<(String, String)>,
    nulls: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, PartialOrd)]
enum Bound {
    Boolean(bool),
    Whole(i128),
    Float(f64),
    Text(String),
}

/// Which way a value that has to be rounded goes.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    Least,
    Greatest,
}

/// The text for `add.stats`.
pub(super) fn of(parquet: &ParquetMetaData, columns: &[Column], has_nan: bool) -> String {
    let rows = parquet.file_metadata().num_rows();
    let known = columns.len() <= COLUMNS && !has_nan;
    match known.then(|| of_columns(parquet, columns)).flatten() {
        Some(Columns {
            least,
            greatest,
            nulls,
        }) => format!(
            r#"{{"numRecords":{rows},"minValues":{},"maxValues":{},"nullCount":{}}}"#,
            object(&least),
            object(&greatest),
            object(&nulls)
        ),
        None => json!({ "numRecords": rows }).to_string(),
    }
}

/// Whether a column of floats has a NaN, or may have one.
pub(super) fn has_nan(rows: &RecordBatch) -> bool {
    rows.columns()
        .iter()
        .any(|column| match column.data_type() {
            DataType::Float32 => {
                let mut values = column.as_primitive::<Float32Type>().values().iter();
                values.any(|value| value.is_nan())
            }
            DataType::Float64 => {
                let mut values = column.as_primitive::<Float64Type>().values().iter();
                values.any(|value| value.is_nan())
            }
            _ => false,
        })
}

fn object(members: &[(String, String)]) -> String {
    let members = members.iter();
    let members = members.map(|(name, value)| format!("{}:{value}", json!(name)));
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

/// `None` where a column lacks what others have: with delta-rs (1.6) no filter would find anything in it.
fn of_columns(parquet: &ParquetMetaData, columns: &[Column]) -> Option<Columns> {
    let mut all = Columns::default();
    for column in columns {
        let Type::Primitive(ty) = &column.ty else {
            continue;
        };
        if ty == "binary" {
            continue;
        }
        let (mut nulls, mut valued) = (0, Vec::new());
        for chunk in chunks(parquet, &column.name)? {
            let statistics = chunk.statistics()?;
            let none = statistics.null_count_opt()?;
            nulls += none;
            // A row group with nothing but NULLs has no bounds.
            if u64::try_from(chunk.num_values()) != Ok(none) {
                valued.push(statistics);
            }
        }
        let name = &column.name;
        all.nulls.push((name.clone(), nulls.to_string()));
        if valued.is_empty() {
            continue;
        }
        let least = widest(&valued, ty, Side::Least)?;
        let greatest = widest(&valued, ty, Side::Greatest)?;
        all.least
            .push((name.clone(), shown(ty, least, Side::Least)?));
        let greatest = shown(ty, greatest, Side::Greatest)?;
        all.greatest.push((name.clone(), greatest));
    }
    Some(all)
}

/// What is known of a column in each row group.
fn chunks<'a>(parquet: &'a ParquetMetaData, name: &str) -> Option<Vec<&'a ColumnChunkMetaData>> {
    let groups = parquet.row_groups().iter();
    let chunks = groups.map(|group| {
        let mut chunks = group.columns().iter();
        chunks.find(|chunk| chunk.column_path().parts() == [name])
    });
    chunks.collect()
}

/// The bound of all row groups; `None` where one of them has none.
fn widest(groups: &[&Statistics], ty: &str, side: Side) -> Option<Bound> {
    let bounds = groups.iter().map(|group| bound(ty, group, side));
    let bounds = bounds.collect::<Option<Vec<Bound>>>()?.into_iter();
    bounds.reduce(|one, other| match side {
        Side::Least if other < one => other,
        Side::Greatest if other > one => other,
        _ => one,
    })
}

fn bound(ty: &str, statistics: &Statistics, side: Side) -> Option<Bound> {
    macro_rules! at {
        ($values:expr) => {
            match side {
                Side::Least => $values.min_opt()?,
                Side::Greatest => $values.max_opt()?,
            }
        };
    }
    Some(match (ty, statistics) {
        ("string", Statistics::ByteArray(values)) => {
            let text = std::str::from_utf8(at!(values).data()).ok()?;
            Bound::Text(match side {
                Side::Least => text.chars().take(BOUND_CHARACTERS).collect(),
                Side::Greatest => raised_text(text, BOUND_CHARACTERS)?,
            })
        }
        ("boolean", Statistics::Boolean(values)) => Bound::Boolean(*at!(values)),
        ("float", Statistics::Float(values)) => Bound::Float(f64::from(*at!(values))),
        ("double", Statistics::Double(values)) => Bound::Float(*at!(values)),
        (_, Statistics::Int32(values)) => Bound::Whole(i128::from(*at!(values))),
        (_, Statistics::Int64(values)) => Bound::Whole(i128::from(*at!(values))),
        (_, Statistics::FixedLenByteArray(values)) if decimal(ty).is_some() => {
            Bound::Whole(big_endian(at!(values).data())?)
        }
        _ => return None,
    })
}

/// A signed number of up to 16 bytes.
fn big_endian(bytes: &[u8]) -> Option<i128> {
    let sign = if bytes.first()? & 0x80 == 0 { 0 } else { 0xff };
    let mut whole = [sign; 16];
    let from = whole.len().checked_sub(bytes.len())?;
    whole[from..].copy_from_slice(bytes);
    Some(i128::from_be_bytes(whole))
}

/// As JSON has it; `None` where it has no form.
fn shown(ty: &str, bound: Bound, side: Side) -> Option<String> {
    let number = match bound {
        Bound::Text(text) => return Some(json!(text).to_string()),
        Bound::Boolean(truth) => return Some(truth.to_string()),
        Bound::Float(number) => {
            return serde_json::Number::from_f64(number).map(|number| number.to_string());
        }
        Bound::Whole(number) => number,
    };
    match ty {
        "byte" | "short" | "integer" | "long" => Some(number.to_string()),
        "date" => Some(format!("\"{}\"", day(i64::try_from(number).ok()?)?)),
        "timestamp" | NTZ => {
            let micros = i64::try_from(number).ok()?;
            let more = micros.rem_euclid(1000) > 0 && side == Side::Greatest;
            let millis = micros.div_euclid(1000) + i64::from(more);
            day(millis.div_euclid(86_400_000))?;
            let text = calendar::utc(millis);
            let text = match ty {
                NTZ => text.trim_end_matches('Z'),
                _ => text.as_str(),
            };
            Some(format!("\"{text}\""))
        }
        _ => decimal(ty).map(|(_, scale)| with_point(number, usize::try_from(scale).unwrap_or(0))),
    }
}

/// The number with so many of its digits behind the point.
fn with_point(number: i128, scale: usize) -> String {
    let sign = if number < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", number.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    match fraction {
        "" => format!("{sign}{whole}"),
        _ => format!("{sign}{whole}.{fraction}"),
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

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{
        ArrayRef, BinaryArray, BooleanArray, Decimal128Array, Float64Array, StringArray,
        TimestampMicrosecondArray,
    };
    use parquet::arrow::ArrowWriter;
    use std::sync::Arc;

    /// What is said of a file with two row groups of these rows.
    fn said(rows: [RecordBatch; 2], columns: &[(&str, &str)]) -> String {
        let mut writer = ArrowWriter::try_new(Vec::new(), rows[0].schema(), None).expect("rows");
        let mut has_nan = false;
        for rows in rows {
            has_nan |= super::has_nan(&rows);
            writer.write(&rows).expect("memory");
            writer.flush().expect("a row group");
        }
        let parquet = writer.finish().expect("a file");
        let columns = columns.iter().map(|(name, ty)| Column {
            name: (*name).to_owned(),
            ty: Type::Primitive((*ty).to_owned()),
            nullable: true,
            metadata: serde_json::Map::new(),
        });
        of(&parquet, &columns.collect::<Vec<_>>(), has_nan)
    }

    fn rows<const N: usize>(columns: [(&str, ArrayRef); N]) -> RecordBatch {
        let columns = columns.map(|(name, values)| (name, values, true));
        RecordBatch::try_from_iter_with_nullable(columns).expect("columns")
    }

    #[test]
    fn all_columns_have_bounds_or_none() {
        let wide = |values: Vec<Option<i128>>| {
            let values = Decimal128Array::from(values).with_precision_and_scale(30, 4);
            Arc::new(values.expect("30 digits")) as ArrayRef
        };
        let times = |values: Vec<i64>| {
            Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC")) as ArrayRef
        };
        let group = |ratio: Vec<Option<f64>>, price, at, name: &str| {
            rows([
                ("ratio", Arc::new(Float64Array::from(ratio)) as ArrayRef),
                ("price", wide(price)),
                ("at", times(at)),
                ("name", Arc::new(StringArray::from(vec![name, "b"]))),
                ("flag", Arc::new(BooleanArray::from(vec![None, Some(true)]))),
                ("bytes", Arc::new(BinaryArray::from(vec![&b"x"[..], b"y"]))),
            ])
        };
        let columns = [
            ("ratio", "double"),
            ("price", "decimal(30,4)"),
            ("at", "timestamp"),
            ("name", "string"),
            ("flag", "boolean"),
            ("bytes", "binary"),
        ];
        let one = || {
            let prices = vec![Some(1_234_567_890_123_456_789_012_345_000), None];
            let times = vec![-1, 1_700_000_000_000_001];
            group(
                vec![Some(0.5), None],
                prices,
                times,
                "a \"quoted\" and long name",
            )
        };
        let two = |ratio| {
            group(
                vec![Some(ratio), Some(-1.5)],
                vec![None, Some(-5)],
                vec![0, 1],
                "z",
            )
        };
        expect_test::expect![[r#"{"numRecords":4,"minValues":{"ratio":-1.5,"price":-0.0005,"at":"1969-12-31T23:59:59.999Z","name":"a \"quoted\" and l","flag":true},"maxValues":{"ratio":1e+300,"price":123456789012345678901234.5000,"at":"2023-11-14T22:13:20.001Z","name":"z","flag":true},"nullCount":{"ratio":1,"price":2,"at":0,"name":0,"flag":2}}"#]]
        .assert_eq(&said([one(), two(1e300)], &columns));
        // A NaN is greater than what Parquet says is the greatest, and JSON has no infinity.
        for odd in [f64::NAN, f64::INFINITY] {
            assert_eq!(said([one(), two(odd)], &columns), r#"{"numRecords":4}"#);
        }
    }

    #[test]
    fn decimals_have_all_their_digits() {
        let cases = [
            (0, 0, "0"),
            (-5, 0, "-5"),
            (-5, 2, "-0.05"),
            (1_065, 2, "10.65"),
            (
                1_234_567_890_123_456_789_012_345_000,
                4,
                "123456789012345678901234.5000",
            ),
        ];
        for (number, scale, expected) in cases {
            assert_eq!(with_point(number, scale), expected);
        }
        let numbers = [-213_000_i128, 5, i128::MIN];
        for number in numbers {
            assert_eq!(big_endian(&number.to_be_bytes()), Some(number));
        }
        assert_eq!(big_endian(&[0xff, 0xfe]), Some(-2));
    }
}
