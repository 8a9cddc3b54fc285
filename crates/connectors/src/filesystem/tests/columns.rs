//! Files of Parquet: which types are read as which, in pieces, from any row on.

use super::*;
use ::parquet::arrow::ArrowWriter;
use ::parquet::file::properties::WriterProperties;
use arrow_array::builder::{Int32Builder, ListBuilder};
use arrow_array::types::Int32Type;
use arrow_array::{
    BinaryArray, Date32Array, Decimal128Array, DictionaryArray, Float64Array, Int16Array,
    Int32Array, Int64Array, StringArray, StructArray, TimestampMillisecondArray,
    TimestampNanosecondArray, UInt32Array,
};
use arrow_schema::{DataType, Field as ArrowField};

fn write(folder: &Folder, name: &str, columns: &[(&str, ArrayRef)], group: usize) {
    let batch = RecordBatch::try_from_iter(columns.iter().cloned()).expect("a batch");
    let file = File::create(folder.0.path().join(name)).expect("a file");
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(group))
        .build();
    let writer = ArrowWriter::try_new(file, batch.schema(), Some(properties));
    let mut writer = writer.expect("a writer");
    writer.write(&batch).expect("written");
    writer.close().expect("written");
}

fn ints(values: &[i32]) -> ArrayRef {
    Arc::new(Int32Array::from(values.to_vec()))
}

fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

/// All of a folder's files as a table with these columns.
fn table(folder: &Folder, columns: &[(&str, lw_graph::LogicalType)]) -> Filesystem {
    let fields = columns
        .iter()
        .map(|(name, ty)| Field::new(*name, ty.clone()));
    let spec = FileSource {
        value_schema: Schema::new(fields.collect()),
        columns: (0..columns.len()).map(SourceColumn::Value).collect(),
        ..folder.table(FileFormat::Parquet)
    };
    Filesystem::new(&spec, Arc::new(SystemClock::new())).expect("it can be read")
}

fn all(folder: &Folder, columns: &[(&str, lw_graph::LogicalType)]) -> Vec<String> {
    let mut source = table(folder, columns);
    source.open(&[], None).expect("the files are there");
    read(folder, &mut source, 1 << 20)
}

fn refusal(folder: &Folder, columns: &[(&str, lw_graph::LogicalType)]) -> ConnectorError {
    let mut source = table(folder, columns);
    source.open(&[], None).expect("the files are there");
    source
        .poll(1 << 20, Duration::ZERO)
        .expect_err("it is refused")
}

#[test]
fn rows_are_read_by_the_names_of_columns_from_any_of_them_on() {
    let folder = Folder::of(&[]);
    let numbers: Vec<i32> = (0..10).collect();
    let names: Vec<String> = numbers.iter().map(|n| format!("n{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    // The file's order is another one, and it has more.
    let columns = [
        ("b", texts(&names)),
        ("more", ints(&numbers)),
        ("a", ints(&numbers)),
    ];
    write(&folder, "one.parquet", &columns, 3);
    write(&folder, "two.parquet", &[("a", ints(&[100]))], 3);
    let kinds = [
        ("a", TypeKind::Int.nullable()),
        ("b", TypeKind::string().nullable()),
    ];
    let mut expected: Vec<String> = (0..10)
        .map(|n| format!("one.parquet@{n}: {n}|n{n}"))
        .collect();
    expected.push("two.parquet@0: 100|".to_string());
    assert_eq!(all(&folder, &kinds), expected);
    for before in 0..=expected.len() {
        let mut source = table(&folder, &kinds);
        source.open(&[], None).expect("the files are there");
        let mut lines: Vec<String> = Vec::new();
        for _ in 0..before {
            let polled = source.poll(1, Duration::ZERO).expect("it reads");
            assert_eq!(polled.progress[0].to - polled.progress[0].from, 1);
            lines.push(expected[lines.len()].clone());
        }
        let (positions, ends) = (source.positions(), source.ends().expect("it is bounded"));
        let mut again = table(&folder, &kinds);
        again
            .open(&positions, Some(&ends))
            .expect("it is as it was");
        assert_eq!(again.lag(), (expected.len() - before) as u64);
        lines.extend(read(&folder, &mut again, 1 << 20));
        assert_eq!(lines, expected);
    }
}

#[test]
fn no_poll_of_rows_reads_over_a_cut() {
    let folder = Folder::of(&[]);
    write(&folder, "a.parquet", &[("a", ints(&[1, 2, 3, 4]))], 10);
    let mut source = table(&folder, &[("a", TypeKind::Int.nullable())]);
    source.open(&[], None).expect("the files are there");
    let cut = SplitOffset {
        next: 3,
        ..source.positions()[0].clone()
    };
    source.cut_at(&[cut]);
    let polled = source.poll(1 << 20, Duration::ZERO).expect("it reads");
    assert_eq!((polled.progress[0].to, polled.finished), (3, false));
    let polled = source.poll(1 << 20, Duration::ZERO).expect("it reads");
    assert_eq!((polled.progress[0].from, polled.finished), (3, true));
}

#[test]
fn types_are_those_that_flink_reads() {
    let folder = Folder::of(&[]);
    let decimal = Decimal128Array::from(vec![12_345]).with_precision_and_scale(9, 2);
    let nested = StructArray::from(vec![
        (
            Arc::new(ArrowField::new("y", DataType::Utf8, true)),
            texts(&["in"]),
        ),
        (
            Arc::new(ArrowField::new("x", DataType::Int32, true)),
            ints(&[5]),
        ),
    ]);
    let mut list = ListBuilder::new(Int32Builder::new());
    list.append_value([Some(1), None, Some(3)]);
    let coded: DictionaryArray<Int32Type> = vec!["coded"].into_iter().collect();
    // A microsecond before 1970, and the day before.
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("small", Arc::new(Int16Array::from(vec![-7]))),
        ("big", Arc::new(Int64Array::from(vec![1_i64 << 40]))),
        ("double", Arc::new(Float64Array::from(vec![1.5]))),
        ("decimal", Arc::new(decimal.expect("it has so many digits"))),
        ("text", Arc::new(coded)),
        (
            "bytes",
            Arc::new(BinaryArray::from_vec(vec![b"as text".as_slice()])),
        ),
        ("day", Arc::new(Date32Array::from(vec![-1]))),
        (
            "millis",
            Arc::new(TimestampMillisecondArray::from(vec![1_234]).with_timezone("UTC")),
        ),
        (
            "nanos",
            Arc::new(TimestampNanosecondArray::from(vec![-1_i64])),
        ),
        ("row", Arc::new(nested)),
        ("list", Arc::new(list.finish())),
    ];
    write(&folder, "a.parquet", &columns, 10);
    let decimal = TypeKind::Decimal {
        precision: 12,
        scale: 2,
    };
    let row = TypeKind::Row(vec![
        Field::new("x", TypeKind::Int.nullable()),
        Field::new("z", TypeKind::Int.nullable()),
        Field::new("y", TypeKind::string().nullable()),
    ]);
    let kinds = [
        ("small", TypeKind::SmallInt),
        ("big", TypeKind::BigInt),
        ("double", TypeKind::Double),
        ("decimal", decimal),
        ("text", TypeKind::string()),
        ("bytes", TypeKind::string()),
        ("day", TypeKind::Date),
        ("millis", TypeKind::TimestampLtz(2)),
        ("nanos", TypeKind::Timestamp(6)),
        ("row", row),
        ("list", TypeKind::Array(Box::new(TypeKind::Int.nullable()))),
        ("absent", TypeKind::Int),
    ];
    let kinds = kinds.map(|(name, kind)| (name, kind.nullable()));
    assert_eq!(
        all(&folder, &kinds),
        [
            "a.parquet@0: -7|1099511627776|1.5|123.45|coded|as text|1969-12-31|\
          1970-01-01T00:00:01.230Z|1969-12-31T23:59:59.999999|\
          {x: 5, z: , y: in}|[1, , 3]|"
        ]
    );
}

#[test]
fn a_column_of_another_type_is_refused_with_the_one_that_it_is_read_as() {
    let folder = Folder::of(&[]);
    let decimal = Decimal128Array::from(vec![1]).with_precision_and_scale(9, 2);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("a", ints(&[1])),
        ("d", Arc::new(decimal.expect("it has so many digits"))),
    ];
    write(&folder, "a.parquet", &columns, 10);
    let narrow = TypeKind::Decimal {
        precision: 5,
        scale: 2,
    };
    for (column, kind, hint) in [
        ("a", TypeKind::BigInt, "Declare `a` as INT,"),
        ("a", TypeKind::string(), "Declare `a` as INT,"),
        ("d", narrow, "Declare `d` as DECIMAL(9, 2),"),
        ("d", TypeKind::Double, "Declare `d` as DECIMAL(9, 2),"),
    ] {
        let refused = refusal(&folder, &[(column, kind.nullable())]);
        assert!(
            refused
                .message
                .starts_with(&format!("column '{column}' of file ")),
            "{refused}"
        );
        assert!(refused.hint.starts_with(hint), "{}", refused.hint);
        assert_eq!(refused.kind, ErrorKind::Fix);
    }
    let refused = refusal(&folder, &[("none", TypeKind::Int.not_null())]);
    assert!(
        refused.message.ends_with("has no column 'none'"),
        "{refused}"
    );
}

#[test]
fn rows_with_values_that_do_not_fit_are_dead_letters() {
    let folder = Folder::of(&[]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "a",
            Arc::new(UInt32Array::from(vec![
                Some(1),
                Some(u32::MAX),
                None,
                Some(4),
            ])),
        ),
        (
            "b",
            Arc::new(BinaryArray::from_vec(vec![
                b"ok".as_slice(),
                b"ok",
                b"ok",
                b"\xff",
            ])),
        ),
    ];
    write(&folder, "a.parquet", &columns, 2);
    let kinds = [
        ("a", TypeKind::Int.not_null()),
        ("b", TypeKind::string().nullable()),
    ];
    let lines: BTreeSet<String> = all(&folder, &kinds).into_iter().collect();
    let expected = [
        "a.parquet@0: 1|ok",
        "a.parquet@1! parquet.value",
        "a.parquet@2! parquet.null",
        "a.parquet@3! parquet.value",
    ];
    assert_eq!(lines, expected.map(String::from).into());
}

#[test]
fn what_is_no_parquet_says_so() {
    let folder = Folder::of(&[("a.parquet", "a,b\n1,2\n")]);
    let mut source = table(&folder, &[("a", TypeKind::Int.nullable())]);
    let refused = source.open(&[], None).expect_err("it is text");
    assert!(
        refused.message.contains("a.parquet' cannot be read"),
        "{refused}"
    );
    assert_eq!(refused.kind, ErrorKind::Fix);
}
