//! Rows as JSON: numbers, booleans, NULL, lists, rows and maps as such, everything else as its text.
//!
//! JSON has no number for NaN and the infinities. They are text (`"NaN"`, `"Infinity"`, `"-Infinity"`), since `null` is NULL.

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    UInt64Type,
};
use arrow_array::{
    Array, ArrayRef, GenericListArray, MapArray, OffsetSizeTrait, PrimitiveArray, StructArray,
};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{ArrowError, DataType};
use serde_json::Value;

/// One JSON array per row.
///
/// # Errors
/// When a column's type cannot be written as text.
pub fn rows_as_json(batches: &[RecordBatch]) -> Result<Vec<Value>, ArrowError> {
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<Vec<Value>> = batch
            .columns()
            .iter()
            .map(column)
            .collect::<Result<_, _>>()?;
        rows.extend(
            (0..batch.num_rows()).map(|row| {
                Value::Array(columns.iter().map(|column| column[row].clone()).collect())
            }),
        );
    }
    Ok(rows)
}

fn column(array: &ArrayRef) -> Result<Vec<Value>, ArrowError> {
    macro_rules! numbers {
        ($kind:ty) => {
            array
                .as_primitive::<$kind>()
                .iter()
                .map(|value| value.map_or(Value::Null, Value::from))
                .collect()
        };
    }
    Ok(match array.data_type() {
        DataType::Null => vec![Value::Null; array.len()],
        DataType::Boolean => array
            .as_boolean()
            .iter()
            .map(|value| value.map_or(Value::Null, Value::from))
            .collect(),
        DataType::Int8 => numbers!(Int8Type),
        DataType::Int16 => numbers!(Int16Type),
        DataType::Int32 => numbers!(Int32Type),
        DataType::Int64 => numbers!(Int64Type),
        DataType::UInt64 => numbers!(UInt64Type),
        DataType::List(_) => lists(array.as_list::<i32>())?,
        DataType::LargeList(_) => lists(array.as_list::<i64>())?,
        DataType::Struct(_) => structs(array.as_struct())?,
        DataType::Map(_, _) => maps(array.as_map())?,
        DataType::Float32 => approximate(array.as_primitive::<Float32Type>()),
        DataType::Float64 => approximate(array.as_primitive::<Float64Type>()),
        _ => {
            let options =
                FormatOptions::default().with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.3f"));
            let formatter = ArrayFormatter::try_new(array.as_ref(), &options)?;
            let text = |row: usize| match array.is_null(row) {
                true => Value::Null,
                false => Value::String(formatter.value(row).to_string()),
            };
            (0..array.len()).map(text).collect()
        }
    })
}

fn lists<O: OffsetSizeTrait>(array: &GenericListArray<O>) -> Result<Vec<Value>, ArrowError> {
    let list = |list: Option<ArrayRef>| {
        list.map_or(Ok(Value::Null), |list| column(&list).map(Value::Array))
    };
    array.iter().map(list).collect()
}

fn structs(array: &StructArray) -> Result<Vec<Value>, ArrowError> {
    let columns = array.columns().iter().map(column);
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let row = |row: usize| {
        let fields = array.column_names().into_iter().zip(&columns);
        let object = fields.map(|(name, column)| (name.to_owned(), column[row].clone()));
        match array.is_null(row) {
            true => Value::Null,
            false => Value::Object(object.collect()),
        }
    };
    Ok((0..array.len()).map(row).collect())
}

/// An object: its keys are texts.
fn maps(array: &MapArray) -> Result<Vec<Value>, ArrowError> {
    let object = |entries: Option<StructArray>| {
        let Some(entries) = entries else {
            return Ok(Value::Null);
        };
        let (keys, values) = (column(entries.column(0))?, column(entries.column(1))?);
        let key = |key: Value| match key {
            Value::String(text) => text,
            other => other.to_string(),
        };
        Ok(Value::Object(
            keys.into_iter().map(key).zip(values).collect(),
        ))
    };
    array.iter().map(object).collect()
}

fn approximate<T>(array: &PrimitiveArray<T>) -> Vec<Value>
where
    T: ArrowPrimitiveType,
    T::Native: Into<f64> + Into<Value>,
{
    let number = |value: T::Native| match value.into() {
        number if f64::is_finite(number) => value.into(),
        number if number.is_nan() => Value::from("NaN"),
        number if number > 0.0 => Value::from("Infinity"),
        _ => Value::from("-Infinity"),
    };
    array
        .iter()
        .map(|value| value.map_or(Value::Null, number))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::builder::{Int64Builder, ListBuilder, MapBuilder, StringBuilder};
    use arrow_array::{
        Decimal128Array, Float32Array, Float64Array, Int64Array, TimestampMicrosecondArray,
    };
    use arrow_schema::Field;
    use std::sync::Arc;

    #[test]
    fn numbers_stay_numbers_and_times_become_text() {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("n", Arc::new(Int64Array::from(vec![Some(7), None]))),
            (
                "t",
                Arc::new(TimestampMicrosecondArray::from(vec![
                    1_767_225_600_123_000,
                    0,
                ])),
            ),
            (
                "d",
                Arc::new(
                    Decimal128Array::from(vec![150, -1])
                        .with_precision_and_scale(10, 2)
                        .expect("fits"),
                ),
            ),
        ];
        let batch = RecordBatch::try_from_iter(columns).expect("three columns");
        let rows = rows_as_json(&[batch]).expect("all types print");
        let text = serde_json::to_string(&rows).expect("JSON");
        assert_eq!(
            text,
            r#"[[7,"2026-01-01 00:00:00.123","1.50"],[null,"1970-01-01 00:00:00.000","-0.01"]]"#
        );
    }

    #[test]
    fn lists_rows_and_maps_are_their_json() {
        let mut map = MapBuilder::new(None, Int64Builder::new(), StringBuilder::new());
        map.keys().append_value(1);
        map.values().append_value("a");
        map.append(true).expect("a key has a value");
        map.append(false).expect("none");
        let mut list = ListBuilder::new(Int64Builder::new());
        list.append_value([Some(1), None]);
        list.append_null();
        let (map, list): (ArrayRef, ArrayRef) = (Arc::new(map.finish()), Arc::new(list.finish()));
        let field = |name, array: &ArrayRef| Field::new(name, array.data_type().clone(), true);
        let fields = vec![field("l", &list), field("m", &map)];
        let nulls = Some(vec![true, false].into());
        let row = StructArray::new(fields.into(), vec![list.clone(), map.clone()], nulls);
        let columns = [("l", list), ("m", map), ("r", Arc::new(row) as ArrayRef)];
        let batch = RecordBatch::try_from_iter(columns).expect("three columns");
        let rows = rows_as_json(&[batch]).expect("all types print");
        let text = serde_json::to_string(&rows).expect("JSON");
        assert_eq!(
            text,
            r#"[[[1,null],{"1":"a"},{"l":[1,null],"m":{"1":"a"}}],[null,null,null]]"#
        );
    }

    #[test]
    fn what_is_no_number_is_not_null() {
        let values = [Some(f64::NAN), Some(f64::NEG_INFINITY), Some(1.5), None];
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("d", Arc::new(Float64Array::from(values.to_vec()))),
            (
                "f",
                Arc::new(Float32Array::from(vec![
                    Some(f32::INFINITY),
                    Some(f32::NAN),
                    Some(0.5),
                    None,
                ])),
            ),
        ];
        let batch = RecordBatch::try_from_iter(columns).expect("two columns");
        let rows = rows_as_json(&[batch]).expect("all types print");
        let text = serde_json::to_string(&rows).expect("JSON");
        assert_eq!(
            text,
            r#"[["NaN","Infinity"],["-Infinity","NaN"],[1.5,0.5],[null,null]]"#
        );
    }
}
