//! Which rows of keys and of values meet.

use super::*;
use arrow_array::RecordBatch;
use arrow_cast::display::array_value_to_string;
use lw_graph::{Field, FormatSpec, KeySpec, Schema, StartupMode, TypeKind};

fn json(ignore_parse_errors: bool) -> FormatSpec {
    FormatSpec::Json {
        fail_on_missing_field: false,
        ignore_parse_errors,
        iso_timestamps: false,
    }
}

/// A table `id INT, v INT` of which `id` is in the key.
fn table(format: FormatSpec) -> KafkaSource {
    let kind = match format {
        FormatSpec::Raw => TypeKind::string(),
        _ => TypeKind::Int,
    };
    KafkaSource {
        table: "t".to_string(),
        topics: vec!["t".to_string()],
        bootstrap: "here".to_string(),
        group_id: None,
        startup: StartupMode::Earliest,
        bounded: false,
        format: json(false),
        value_schema: Schema::new(vec![Field::new("v", TypeKind::Int.nullable())]),
        key: Some(KeySpec {
            format,
            schema: Schema::new(vec![Field::new("id", kind.nullable())]),
            names: vec!["k_id".to_string()],
        }),
        columns: vec![SourceColumn::Key(0), SourceColumn::Value(0)],
    }
}

/// `key|value` of each row, and of each record that is none `! message`.
fn rows(spec: &KafkaSource, records: &[(Option<&str>, Option<&str>)]) -> Vec<String> {
    let columns: Vec<usize> = spec
        .columns
        .iter()
        .filter_map(|column| match column {
            SourceColumn::Value(at) => Some(*at),
            _ => None,
        })
        .collect();
    let values = lw_formats::decoder(&spec.format, &spec.value_schema, &columns, None);
    let mut values = values.expect("it can be decoded");
    let mut keys = Keys::new(spec, None)
        .expect("it can be decoded")
        .expect("the table has keys");
    let (mut count, mut lines) = (0, Vec::new());
    for (key, value) in records {
        match keys.push(
            key.map(str::as_bytes),
            value.map(str::as_bytes),
            &mut *values,
        ) {
            Ok(decoded) => count += decoded.rows,
            Err(error) => lines.push(format!("! {} {}", error.code, error.message)),
        }
    }
    let values: RecordBatch = values.finish();
    let (keys, values) = keys
        .finish(values.columns().to_vec())
        .expect("they are brought together");
    let text = |columns: &[ArrayRef], row: usize| {
        let column = columns
            .first()
            .map(|column| array_value_to_string(column, row));
        column.map_or("-".to_string(), |text| text.expect("it has a text"))
    };
    lines.extend((0..count).map(|row| format!("{}|{}", text(&keys, row), text(&values, row))));
    lines
}

#[test]
fn each_row_of_a_value_meets_each_row_of_its_key() {
    let records = [
        (Some(r#"{"id":1}"#), Some(r#"{"v":10}"#)),
        (None, Some(r#"{"v":20}"#)),
        (Some(r#"{"id":3}"#), None),
        (Some(r#"{"id":4}"#), Some(r#"[{"v":40},{"v":41}]"#)),
        (
            Some(r#"[{"id":5},{"id":6}]"#),
            Some(r#"[{"v":50},{"v":51}]"#),
        ),
        (Some("{}"), Some("{}")),
    ];
    let expected = ["1|10", "4|40", "4|41", "5|50", "6|50", "5|51", "6|51", "|"];
    assert_eq!(rows(&table(json(false)), &records), expected);
    // Without a key `raw` has a row.
    let raw = [(Some("a"), Some(r#"{"v":1}"#)), (None, Some(r#"{"v":2}"#))];
    assert_eq!(rows(&table(FormatSpec::Raw), &raw), ["a|1", "|2"]);
}

#[test]
fn of_a_record_that_is_none_nothing_is_left() {
    let records = [
        (Some("{"), Some(r#"{"v":1}"#)),
        (Some(r#"{"id":2}"#), Some(r#"{"v":"#)),
        (Some(r#"{"id":3}"#), Some(r#"{"v":3}"#)),
        (Some(r#"{"id":"x"}"#), Some(r#"{"v":4}"#)),
        (Some(r#"{"id":5}"#), Some(r#"{"v":5}"#)),
    ];
    let found = rows(&table(json(false)), &records);
    let (bad, good) = found.split_at(3);
    assert_eq!(good, ["3|3", "5|5"]);
    assert!(
        bad[0].contains("the key: ") && bad[2].contains("the key: "),
        "{bad:?}"
    );
    assert!(!bad[1].contains("the key: "), "{bad:?}");
    // A key that is ignored has no row, and so has its record.
    assert_eq!(rows(&table(json(true)), &[records[0], records[2]]), ["3|3"]);
}

#[test]
fn a_key_of_which_nothing_is_read_counts_all_the_same() {
    let spec = KafkaSource {
        columns: vec![SourceColumn::Value(0)],
        ..table(json(false))
    };
    let records = [(None, Some(r#"{"v":1}"#)), (Some("{}"), Some(r#"{"v":2}"#))];
    assert_eq!(rows(&spec, &records), ["-|2"]);
}
