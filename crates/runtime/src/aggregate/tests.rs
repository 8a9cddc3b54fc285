//! Every aggregate against a plain reading of what it is, over random rows, groups, cuts and merges.

use super::*;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type};
use arrow_array::{BooleanArray, Float64Array, Int32Array, RecordBatch, StringArray};
use arrow_schema::{Field, Schema};
use lw_graph::{AggregateCall, AggregateFunction, TypeKind};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

type Row = (Option<i32>, Option<String>, bool);

fn some_rows() -> impl Strategy<Value = Vec<Row>> {
    let text = proptest::option::weighted(0.8, "[ab]{0,2}");
    let number = proptest::option::weighted(0.8, prop_oneof![-3..4, Just(i32::MAX)]);
    proptest::collection::vec((number, text, any::<bool>()), 0..60)
}

fn batch(rows: &[Row]) -> RecordBatch {
    let numbers: Int32Array = rows.iter().map(|row| row.0).collect();
    let texts: StringArray = rows.iter().map(|row| row.1.clone()).collect();
    let wanted: BooleanArray = rows.iter().map(|row| Some(row.2)).collect();
    RecordBatch::try_from_iter_with_nullable([
        ("n", Arc::new(numbers) as ArrayRef, true),
        ("s", Arc::new(texts) as ArrayRef, true),
        ("w", Arc::new(wanted) as ArrayRef, true),
    ])
    .expect("three columns")
}

fn call(function: AggregateFunction, column: usize, ty: TypeKind) -> AggregateCall {
    AggregateCall {
        function,
        arguments: vec![column],
        distinct: false,
        filter: None,
        ty: ty.nullable(),
    }
}

fn distinct(call: AggregateCall) -> AggregateCall {
    AggregateCall {
        distinct: true,
        ..call
    }
}

fn all_calls() -> Vec<AggregateCall> {
    use AggregateFunction::{Avg, Count, FirstValue, LastValue, Max, Min, Sum};
    let list = || AggregateFunction::ListAgg {
        separator: "+".into(),
    };
    let array = TypeKind::Array(Box::new(TypeKind::Int.nullable()));
    vec![
        AggregateCall {
            arguments: vec![],
            ..call(Count, 0, TypeKind::BigInt)
        },
        call(Count, 0, TypeKind::BigInt),
        distinct(call(Count, 1, TypeKind::BigInt)),
        call(Sum, 0, TypeKind::Int),
        distinct(call(Sum, 0, TypeKind::Int)),
        AggregateCall {
            filter: Some(2),
            ..call(Sum, 0, TypeKind::Int)
        },
        call(Avg, 0, TypeKind::Int),
        call(Min, 0, TypeKind::Int),
        call(Max, 1, TypeKind::string()),
        call(FirstValue, 1, TypeKind::string()),
        call(LastValue, 0, TypeKind::Int),
        call(list(), 1, TypeKind::string()),
        distinct(call(list(), 1, TypeKind::string())),
        call(AggregateFunction::ArrayAgg, 0, array),
    ]
}

/// What [`all_calls`] give for one group, as text.
fn plainly(rows: &[Row]) -> Vec<String> {
    fn show<T: std::fmt::Debug>(value: Option<T>) -> String {
        value.map_or("NULL".into(), |value| format!("{value:?}"))
    }
    fn once<T: PartialEq + Clone>(values: &[T]) -> Vec<T> {
        let mut once = Vec::new();
        for value in values {
            if !once.contains(value) {
                once.push(value.clone());
            }
        }
        once
    }
    let numbers: Vec<i32> = rows.iter().filter_map(|row| row.0).collect();
    let texts: Vec<String> = rows.iter().filter_map(|row| row.1.clone()).collect();
    let wanted: Vec<i32> = rows
        .iter()
        .filter(|row| row.2)
        .filter_map(|row| row.0)
        .collect();
    let sum = |of: &[i32]| of.iter().copied().reduce(i32::wrapping_add);
    let average = numbers
        .iter()
        .map(|n| i64::from(*n))
        .sum::<i64>()
        .checked_div(numbers.len() as i64);
    let join = |of: &[String]| (!of.is_empty()).then(|| of.join("+"));
    let array: Vec<Option<i32>> = rows.iter().map(|row| row.0).collect();
    vec![
        rows.len().to_string(),
        numbers.len().to_string(),
        once(&texts).len().to_string(),
        show(sum(&numbers)),
        show(sum(&once(&numbers))),
        show(sum(&wanted)),
        show(average),
        show(numbers.iter().min()),
        show(texts.iter().max()),
        show(texts.first()),
        show(numbers.last()),
        show(join(&texts)),
        show(join(&once(&texts))),
        format!("{array:?}"),
    ]
}

fn shown(column: &ArrayRef, row: usize) -> String {
    if column.is_null(row) {
        return "NULL".into();
    }
    match column.data_type() {
        DataType::Utf8 => format!("{:?}", column.as_string::<i32>().value(row)),
        DataType::List(_) => {
            let values = column.as_list::<i32>().value(row);
            format!(
                "{:?}",
                values
                    .as_primitive::<Int32Type>()
                    .iter()
                    .collect::<Vec<_>>()
            )
        }
        _ => arrow_cast::display::array_value_to_string(column, row).expect("a number"),
    }
}

proptest! {
    /// Rows of three groups arrive in chunks; at some place all is written down and read again, into other group numbers, and at the
    /// end what two halves hold is merged.
    #[test]
    fn aggregates_are_what_they_say(rows in some_rows(), cut in 0..60_usize, merge in any::<bool>()) {
        let whole = batch(&rows);
        let calls = Calls::compile(&all_calls(), &whole.schema()).expect("all can be computed");
        let cut = cut.min(rows.len());
        let mut one = calls.start();
        let (front, back): (Vec<u32>, Vec<u32>) = (0..rows.len() as u32).partition(|row| (*row as usize) < cut);
        let groups = |rows: &[u32]| rows.iter().map(|row| row % 3).collect::<Vec<_>>();
        one.update(&whole, &front, &groups(&front), 3, 0);
        let mut other = calls.start();
        // Group g is now called 4 − g.
        let renamed = [4, 3, 2];
        let behind: Vec<u32> = groups(&back).iter().map(|group| 4 - group).collect();
        if merge {
            let mut late = calls.start();
            late.update(&whole, &back, &groups(&back), 3, 0);
            other.merge(&one.state(&[0, 1, 2]), &renamed, 5);
            other.merge(&late.state(&[0, 1, 2]), &renamed, 5);
        } else {
            other.merge(&one.state(&[0, 1, 2]), &renamed, 5);
            other.update(&whole, &back, &behind, 5, 0);
        }
        let results: Vec<ArrayRef> = other.finish(&renamed).collect::<Result<_, _>>().expect("nothing fails");
        for group in 0..3 {
            let mine: Vec<Row> = rows.iter().skip(group).step_by(3).cloned().collect();
            let mut expected = plainly(&mine);
            if mine.is_empty() {
                *expected.last_mut().expect("there are calls") = "NULL".into();
            }
            let found: Vec<String> = results.iter().map(|column| shown(column, group)).collect();
            prop_assert_eq!(found, expected, "group {}", group);
        }
    }

    /// Over rows in any order, as those of several keys are.
    #[test]
    fn stretches_of_rows_are_what_their_rows_are(
        rows in some_rows(),
        left_out in 2..5_u32,
        cuts in proptest::collection::vec((0..60_usize, 1..60_usize), 0..20),
    ) {
        let whole = batch(&rows);
        let calls = Calls::compile(&all_calls(), &whole.schema()).expect("all can be computed");
        let line: Vec<u32> = (0..rows.len() as u32).filter(|row| row % left_out != 0).collect();
        let cuts = cuts.into_iter().filter(|(from, _)| *from < line.len());
        let stretches: Vec<Range<usize>> = cuts.map(|(from, len)| from..(from + len).min(line.len())).collect();
        let mut aggregates = calls.start();
        prop_assert!(!aggregates.slides(), "most take each stretch anew");
        aggregates.slide(&whole, &line, &stretches);
        let numbers: Vec<u32> = (0..stretches.len() as u32).collect();
        let results: Vec<ArrayRef> = aggregates.finish(&numbers).collect::<Result<_, _>>().expect("nothing fails");
        for (number, stretch) in stretches.into_iter().enumerate() {
            let found: Vec<String> = results.iter().map(|column| shown(column, number)).collect();
            let mine: Vec<Row> = line[stretch].iter().map(|row| rows[*row as usize].clone()).collect();
            prop_assert_eq!(found, plainly(&mine));
        }
    }

    #[test]
    fn keys_are_found_again_and_keep_their_order(
        rows in proptest::collection::vec((proptest::option::of(-2..3_i64), proptest::option::of("[\\x00a]{0,3}"), proptest::option::of(prop_oneof![Just(0.0), Just(-0.0), Just(f64::NAN), -2.0..2.0])), 1..80),
        cut in 0..80_usize,
    ) {
        let numbers = arrow_array::Int64Array::from_iter(rows.iter().map(|row| row.0));
        let texts = StringArray::from_iter(rows.iter().map(|row| row.1.clone()));
        let floats = Float64Array::from_iter(rows.iter().map(|row| row.2));
        let columns: [ArrayRef; 3] = [Arc::new(numbers), Arc::new(texts), Arc::new(floats)];
        // As a whole, and each column alone.
        for wanted in [&columns[..], &columns[..1], &columns[1..2], &columns[2..], &[]] {
            let codec = key::KeyCodec::new(wanted.iter().map(|column| column.data_type())).expect("keys");
            let keys = codec.encode(wanted, rows.len());
            let mut table = codec.groups();
            let all: Vec<u32> = (0..rows.len() as u32).collect();
            let (front, back) = all.split_at(cut.min(rows.len()));
            let mut found = Vec::new();
            table.intern(&keys, front, &mut found);
            table.intern(&keys, back, &mut found);
            // A model: rows are of one group exactly where all their columns show the same.
            let show = |row: usize| -> Vec<String> { wanted.iter().map(|column| exactly(column, row)).collect() };
            let mut model: BTreeMap<Vec<String>, u32> = BTreeMap::new();
            for (row, group) in found.iter().enumerate() {
                let next = model.len() as u32;
                prop_assert_eq!(*group, *model.entry(show(row)).or_insert(next));
            }
            prop_assert_eq!(table.len(), model.len());
            // The key comes back as it was, and in order.
            let sorted = table.sorted();
            let decoded = codec.decode(&table, &sorted);
            for (at, group) in sorted.iter().enumerate() {
                let back: Vec<String> = decoded.iter().map(|column| exactly(column, at)).collect();
                prop_assert_eq!(model.get(&back), Some(group));
                for column in &decoded {
                    prop_assert!(at == 0 || decoded.len() > 1 || precedes(column, at - 1, at));
                }
            }
        }
    }
}

/// With NaN and the sign of 0.
fn exactly(column: &ArrayRef, row: usize) -> String {
    match column.data_type() {
        _ if column.is_null(row) => "NULL".into(),
        DataType::Float64 => column
            .as_primitive::<Float64Type>()
            .value(row)
            .to_bits()
            .to_string(),
        _ => shown(column, row),
    }
}

fn precedes(column: &ArrayRef, one: usize, next: usize) -> bool {
    let options = arrow_schema::SortOptions {
        descending: false,
        nulls_first: true,
    };
    arrow_ord::ord::make_comparator(column, column, options).expect("comparable")(one, next).is_lt()
}

#[test]
fn keys_of_every_type_come_back() {
    let int = |values: [Option<i64>; 3], ty: &DataType| {
        let values = arrow_array::Int64Array::from_iter(values);
        arrow_cast::cast(&values, ty).expect("a number underneath")
    };
    let micros = arrow_schema::TimeUnit::Microsecond;
    for ty in [
        DataType::Boolean,
        DataType::Int8,
        DataType::Int16,
        DataType::Int32,
        DataType::Int64,
        DataType::Float32,
        DataType::Float64,
        DataType::Date32,
        DataType::Time64(micros),
        DataType::Timestamp(micros, None),
        DataType::Timestamp(micros, Some("UTC".into())),
        DataType::Duration(arrow_schema::TimeUnit::Millisecond),
        DataType::Decimal128(38, 2),
        DataType::Utf8,
    ] {
        let column = int([Some(1), None, Some(0)], &ty);
        for columns in [vec![column.clone()], vec![column.clone(), column.clone()]] {
            let codec =
                key::KeyCodec::new(columns.iter().map(|column| column.data_type())).expect("a key");
            let mut table = codec.groups();
            let mut groups = Vec::new();
            table.intern(&codec.encode(&columns, 3), &[0, 1, 2], &mut groups);
            assert_eq!(groups, [0, 1, 2], "{ty}");
            assert_eq!(codec.decode(&table, &groups), columns, "{ty}");
            assert_eq!(table.sorted(), [1, 2, 0], "{ty}");
            let bytes = key::KeyCodec::of_bytes(columns.iter().map(|column| column.data_type()));
            let keys = bytes.expect("a key").encode(&columns, 3);
            let of_bytes = [0, 1, 2].map(|row| crate::state::key_group(keys.bytes_of(row)));
            assert_eq!(codec.key_groups(&columns, 3), of_bytes, "{ty}");
        }
    }
    let refused = key::KeyCodec::new([&DataType::Null]).expect_err("no key");
    assert_eq!(
        refused.to_string(),
        "rows cannot be grouped by a column of type Null"
    );
}

#[test]
fn a_number_hashes_as_its_bytes_do() {
    let column: ArrayRef = Arc::new(arrow_array::Int64Array::from(vec![
        Some(i64::MIN),
        Some(-1),
        None,
        Some(258),
    ]));
    let alone = key::KeyCodec::new([&DataType::Int64]).expect("a key");
    let bytes = key::KeyCodec::of_bytes([&DataType::Int64]).expect("a key");
    let columns = [column];
    assert_eq!(
        alone.encode(&columns, 4).hashes,
        bytes.encode(&columns, 4).hashes
    );
}

#[test]
fn sums_and_averages_of_decimals_are_flinks() {
    let digits = 10_i128.pow(38) - 1;
    let column =
        arrow_array::Decimal128Array::from(vec![Some(digits), Some(1), Some(5), None, Some(314)]);
    let column = column.with_precision_and_scale(38, 2).expect("a decimal");
    let batch =
        RecordBatch::try_from_iter([("d", Arc::new(column) as ArrayRef)]).expect("one column");
    let decimal = |scale| TypeKind::Decimal {
        precision: 38,
        scale,
    };
    let calls = [
        call(AggregateFunction::Sum, 0, decimal(2)),
        call(AggregateFunction::Avg, 0, decimal(6)),
    ];
    let calls = Calls::compile(&calls, &batch.schema()).expect("both can be computed");
    let mut both = calls.start();
    // Group 0: too many digits, and then 5. Group 1: 3.14 and 0.01. Group 2: nothing.
    both.update(&batch, &[0, 1, 2, 3], &[0, 0, 0, 0], 3, 0);
    both.update(&batch, &[4, 1], &[1, 1], 3, 4);
    let results: Vec<ArrayRef> = both
        .finish(&[0, 1, 2])
        .collect::<Result<_, _>>()
        .expect("nothing fails");
    let show =
        |column: &ArrayRef| -> Vec<String> { (0..3).map(|row| shown(column, row)).collect() };
    assert_eq!(
        show(&results[0]),
        ["NULL", "3.15", "NULL"],
        "a sum that became NULL stays"
    );
    assert_eq!(
        show(&results[1]),
        ["NULL", "1.575000", "NULL"],
        "an average that became NULL stays"
    );
}

/// Apache Flink 2.3.0 gave these (tests/stream/aggregates/avg-beside-variance), whose planner makes sums of such averages.
#[test]
fn an_average_beside_a_variance_is_of_what_its_sum_is() {
    let ints = Int32Array::from(vec![i32::MAX, i32::MAX - 7, 7, -20]);
    let floats = arrow_array::Float32Array::from(vec![16_777_216.0, 1.0, 1.0, 1.0]);
    let columns: [(&str, ArrayRef); 2] = [("i", Arc::new(ints)), ("f", Arc::new(floats))];
    let batch = RecordBatch::try_from_iter(columns).expect("two columns");
    let averages = [
        call(AggregateFunction::Avg, 0, TypeKind::Int),
        call(AggregateFunction::Avg, 1, TypeKind::Float),
    ];
    let variance = call(AggregateFunction::VarPop, 0, TypeKind::Int);
    let beside = [&averages[..], &[variance]].concat();
    let results = |calls: &[AggregateCall]| {
        let calls = Calls::of_groups(calls, &batch.schema()).expect("all can be computed");
        let (mut part, mut all) = (calls.start(), calls.start());
        part.update(&batch, &[0, 1], &[0, 0], 1, 0);
        all.merge(&part.state(&[0]), &[0], 1);
        all.update(&batch, &[2, 3], &[0, 0], 1, 2);
        let results = all.finish(&[0]).take(2).collect::<Result<Vec<_>, _>>();
        let results = results.expect("nothing fails");
        [shown(&results[0], 0), shown(&results[1], 0)]
    };
    assert_eq!(results(&averages), ["1073741818", "4194305.0"]);
    assert_eq!(results(&beside), ["-5", "4194304.0"]);
}

#[test]
fn a_nan_that_comes_first_stays_the_least() {
    let column: ArrayRef = Arc::new(Float64Array::from(vec![f64::NAN, 1.0, 2.0, f64::NAN]));
    let batch = RecordBatch::try_from_iter([("f", column)]).expect("one column");
    let calls = [
        call(AggregateFunction::Min, 0, TypeKind::Double),
        call(AggregateFunction::Max, 0, TypeKind::Double),
    ];
    let calls = Calls::compile(&calls, &batch.schema()).expect("both can be computed");
    let mut both = calls.start();
    both.update(&batch, &[0, 1, 2, 3], &[0, 0, 1, 1], 2, 0);
    let results: Vec<ArrayRef> = both
        .finish(&[0, 1])
        .collect::<Result<_, _>>()
        .expect("nothing fails");
    let show =
        |column: &ArrayRef| -> Vec<String> { (0..2).map(|row| shown(column, row)).collect() };
    assert_eq!(show(&results[0]), ["NaN", "2.0"]);
    assert_eq!(show(&results[1]), ["NaN", "2.0"]);
}

#[test]
fn an_aggregate_that_cannot_be_computed_is_named() {
    let input = Schema::new(vec![Field::new("m", DataType::Null, true)]);
    let refused = Calls::compile(&[call(AggregateFunction::Sum, 0, TypeKind::Int)], &input);
    assert_eq!(
        refused.err().map(|error| error.to_string()).as_deref(),
        Some("SUM of Null is not supported")
    );
}

/// Apache Flink 2.3.0 gave these (tests/stream/aggregates: stddev-and-variance, stddev-of-doubles, decimal-deviation).
#[test]
fn variances_are_flinks() {
    let ints = Int32Array::from(vec![Some(3), None, Some(-7), Some(5), Some(9)]);
    let doubles = Float64Array::from(vec![Some(1.5), Some(2.25), Some(-4.0), None, Some(7.0)]);
    let decimals = vec![Some(-1), Some(-2), None, None, Some(314)];
    let decimals = arrow_array::Decimal128Array::from(decimals);
    let decimals = decimals.with_precision_and_scale(10, 2).expect("decimals");
    let columns: [(&str, ArrayRef); 3] = [
        ("i", Arc::new(ints)),
        ("d", Arc::new(doubles)),
        ("dc", Arc::new(decimals)),
    ];
    let batch = RecordBatch::try_from_iter(columns).expect("three columns");
    use AggregateFunction::{StddevPop, StddevSamp, VarPop, VarSamp};
    let decimal = TypeKind::Decimal {
        precision: 38,
        scale: 6,
    };
    let types = [TypeKind::Int, TypeKind::Double, decimal];
    let forms = [StddevPop, StddevSamp, VarPop, VarSamp];
    let of =
        |(column, ty): (usize, &TypeKind)| forms.clone().map(|form| call(form, column, ty.clone()));
    let calls: Vec<AggregateCall> = types.iter().enumerate().flat_map(of).collect();
    let calls = Calls::compile(&calls, &batch.schema()).expect("all can be computed");
    let mut all = calls.start();
    all.update(&batch, &[0, 1, 2, 3, 4], &[0, 0, 0, 0, 1], 2, 0);
    let mut merged = calls.start();
    merged.merge(&all.state(&[0, 1]), &[0, 1], 2);
    let results = merged.finish(&[0, 1]).collect::<Result<Vec<_>, _>>();
    let results = results.expect("nothing fails");
    let of_group = |group| results.iter().map(|column| shown(column, group)).collect();
    let (several, alone): (Vec<String>, Vec<String>) = (of_group(0), of_group(1));
    let doubles = "2.786375582883415 3.412599204907212 7.763888888888889 11.645833333333334";
    let decimals = "0.005000 0.007071 0.000025 0.000050";
    assert_eq!(several.join(" "), format!("5 6 27 41 {doubles} {decimals}"));
    let alone = alone.join(" ");
    assert_eq!(
        alone,
        "0 NULL 0 NULL 0.0 NULL 0.0 NULL 0.000000 NULL 0.000000 NULL"
    );
}

#[test]
fn a_hash_is_of_eight_bytes_at_a_time_and_what_is_left_with_the_length() {
    let key = b"\0\xffa key of more than twice eight bytes";
    let word = |bytes: &[u8]| {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        u64::from_be_bytes(word)
    };
    for length in 0..key.len() {
        let key = &key[..length];
        let (words, left) = key.split_at(length / 8 * 8);
        let words = words.chunks(8).map(word);
        let words = words.chain([word(left) | length as u64]);
        let hash = key::finish(words.fold(key::SEED, key::round));
        assert_eq!(key::hash_of(key), hash, "{length}");
    }
}
