//! Equal rows give equal hashes whichever file they stand in; rows that differ in anything a reader sees do not.

use super::*;
use arrow_array::builder::{Int32Builder, MapBuilder, StringBuilder};
use arrow_array::{
    Decimal128Array, Float32Array, Float64Array, Int32Array, Int64Array, StringArray, StructArray,
};
use std::collections::HashMap;
use std::sync::Arc;

fn one(array: impl Array + 'static) -> u64 {
    let column: ArrayRef = Arc::new(array);
    row_hashes(&[(1, column)], 1).unwrap()[0]
}

fn field(name: &str, id: i32, ty: DataType) -> Field {
    let metadata = HashMap::from([(FIELD_ID.to_string(), id.to_string())]);
    Field::new(name, ty, true).with_metadata(metadata)
}

fn map(entries: &[(&str, Option<i32>)]) -> impl Array + 'static {
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    for (key, value) in entries {
        map.keys().append_value(key);
        map.values().append_option(*value);
    }
    map.append(true).unwrap();
    map.finish()
}

#[test]
fn nan_zero_and_null_are_told_apart() {
    let float = |value: Option<f64>| one(Float64Array::from(vec![value]));
    let distinct = [Some(f64::NAN), Some(0.0), Some(-0.0), Some(1.0), None].map(float);
    for (at, hash) in distinct.iter().enumerate() {
        assert!(!distinct[..at].contains(hash), "value {at}");
    }
    let quiet = f64::from_bits(f64::NAN.to_bits() | 1);
    assert_eq!(
        float(Some(f64::NAN)),
        float(Some(quiet)),
        "one NaN for readers"
    );
}

#[test]
fn widened_columns_keep_their_hashes() {
    assert_eq!(
        one(Int32Array::from(vec![-7])),
        one(Int64Array::from(vec![-7]))
    );
    assert_eq!(
        one(Float32Array::from(vec![0.1])),
        one(Float64Array::from(vec![f64::from(0.1_f32)]))
    );
    let decimal = |precision| {
        let array = Decimal128Array::from(vec![12_345]);
        one(array.with_precision_and_scale(precision, 2).unwrap())
    };
    assert_eq!(decimal(8), decimal(30));
}

#[test]
fn columns_count_by_field_id_not_by_place_or_name() {
    let a: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    let b: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    let nothing: ArrayRef = Arc::new(StringArray::from(vec![None::<&str>]));
    let key = |name, id| key_of(&field(name, id, DataType::Int32));
    let hash = |columns: &[(u64, ArrayRef)]| row_hashes(columns, 1).unwrap()[0];
    let before = hash(&[(key("a", 1), a.clone()), (key("b", 2), b.clone())]);
    let moved = hash(&[(key("renamed", 2), b.clone()), (key("a", 1), a.clone())]);
    let added = [
        (key("a", 1), a.clone()),
        (key("b", 2), b.clone()),
        (key("c", 3), nothing),
    ];
    assert_eq!(before, moved);
    assert_eq!(before, hash(&added));
    assert_ne!(
        before,
        hash(&[(key("a", 2), a), (key("b", 1), b)]),
        "values swapped"
    );
}

#[test]
fn entries_of_a_map_have_no_order_and_each_counts() {
    let two = one(map(&[("a", Some(1)), ("b", Some(2))]));
    assert_eq!(two, one(map(&[("b", Some(2)), ("a", Some(1))])));
    for other in [
        one(map(&[("a", Some(2)), ("b", Some(1))])),
        one(map(&[("a", Some(1))])),
        one(map(&[("a", Some(1)), ("b", None)])),
        one(map(&[])),
    ] {
        assert_ne!(two, other);
    }
}

#[test]
fn a_struct_of_nulls_is_not_null_and_each_field_counts() {
    let row = |a: Option<i32>, there: bool| {
        let fields = vec![
            field("a", 4, DataType::Int32),
            field("b", 5, DataType::Int32),
        ];
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from(vec![a])),
            Arc::new(Int32Array::from(vec![None])),
        ];
        let nulls = arrow_array::BooleanArray::from(vec![there])
            .values()
            .clone();
        one(StructArray::new(fields.into(), columns, Some(nulls.into())))
    };
    assert_ne!(row(None, true), row(None, false));
    assert_ne!(row(Some(1), true), row(Some(2), true));
}

#[test]
fn the_numbers_are_frozen() {
    assert_eq!(
        (
            one(Int32Array::from(vec![1])),
            one(StringArray::from(vec!["abc"]))
        ),
        (16_053_173_441_385_649_397, 17_212_013_619_908_041_196)
    );
}
