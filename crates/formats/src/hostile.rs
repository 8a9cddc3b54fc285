//! Bytes that nobody's serializer would write, to every format: a dead letter each, never a panic, a stall or much memory.
//!
//! Two kinds: cases made by hand, each with the error that it must give, and some ten thousand mutations of good records per
//! format, always the same ones. A mutation may still be a good record; whatever it is, the records before and after it
//! must come out untouched.

use crate::{Decoded, Decoder};
use lw_graph::{CsvSpec, Field, FormatSpec, LogicalType, Schema, TypeKind};
use lw_schemas::SchemaLookup;
use std::fmt::Write;
use std::sync::Arc;

const MUTATIONS: usize = 20_000;

fn schema(columns: &[(&str, LogicalType)]) -> Schema {
    let fields = columns
        .iter()
        .map(|(name, ty)| Field::new(*name, ty.clone()));
    Schema::new(fields.collect())
}

fn text() -> LogicalType {
    TypeKind::string().nullable()
}

fn list(of: LogicalType) -> LogicalType {
    TypeKind::Array(Box::new(of)).nullable()
}

fn map(of: LogicalType) -> LogicalType {
    TypeKind::Map(Box::new(TypeKind::string().not_null()), Box::new(of)).nullable()
}

/// One column of every shape.
fn every_shape() -> Schema {
    let decimal = TypeKind::Decimal {
        precision: 10,
        scale: 2,
    };
    let place = TypeKind::Row(vec![
        Field::new("x", TypeKind::Int.nullable()),
        Field::new("y", text()),
    ]);
    schema(&[
        ("s", text()),
        ("i", TypeKind::Int.nullable()),
        ("l", TypeKind::BigInt.nullable()),
        ("d", TypeKind::Double.nullable()),
        ("b", TypeKind::Boolean.nullable()),
        ("n", decimal.nullable()),
        ("day", TypeKind::Date.nullable()),
        ("at", TypeKind::Timestamp(3).nullable()),
        ("raw", TypeKind::bytes().nullable()),
        ("tags", list(text())),
        ("by", map(list(TypeKind::BigInt.nullable()))),
        ("place", place.nullable()),
    ])
}

fn avro() -> FormatSpec {
    FormatSpec::Avro {
        legacy_timestamps: true,
    }
}

fn json(ignore_parse_errors: bool) -> FormatSpec {
    FormatSpec::Json {
        fail_on_missing_field: false,
        ignore_parse_errors,
        iso_timestamps: false,
    }
}

fn csv(ignore_parse_errors: bool) -> FormatSpec {
    FormatSpec::Csv(CsvSpec {
        escape: Some('\\'),
        comments: true,
        null_literal: Some("none".to_string()),
        ignore_parse_errors,
        ..CsvSpec::default()
    })
}

const CSV_RECORD: &str = "\"a \"\"b\"\" \\n c\",-12,900000000000,1.5e3,true,12345.67,2026-01-31,2026-01-31 12:34:56.789,AQIDBA==,x;y;none,1;z\n";

fn open(format: &FormatSpec, schema: &Schema) -> Box<dyn Decoder> {
    let all: Vec<usize> = (0..schema.fields.len()).collect();
    crate::decoder(format, schema, &all, None).expect("supported")
}

/// A number as Avro writes it.
fn varint(value: i64) -> Vec<u8> {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    let mut out = Vec::new();
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
    out
}

/// A good record of [`every_shape`] in Avro: each column a union whose second branch it is.
fn avro_record() -> Vec<u8> {
    let mut out = Vec::new();
    let string = |text: &str| [varint(text.len() as i64), text.as_bytes().to_vec()].concat();
    let tags = [varint(2), varint(1), string("new"), varint(0), varint(0)].concat();
    let numbers = [varint(1), varint(1), varint(7), varint(0)].concat();
    let by = [varint(1), string("k"), varint(1), numbers, varint(0)].concat();
    for value in [
        string("SKU-1"),
        varint(-3),
        varint(i64::MAX),
        1.5_f64.to_le_bytes().to_vec(),
        vec![1],
        [varint(2), vec![0xff, 0x85]].concat(),
        varint(20_000),
        varint(1_767_225_600_123),
        [varint(3), vec![0, 0xff, 1]].concat(),
        tags,
        by,
        [varint(1), varint(4), varint(1), string("é")].concat(),
    ] {
        out.extend(varint(1));
        out.extend(value);
    }
    out
}

const JSON_RECORD: &str = r#"{"s":"SKU-é\n\u00e9","i":-3,"l":9223372036854775807,"d":1.5e3,"b":true,"n":"-1.23","day":"2026-01-02","at":"2026-01-02 03:04:05.678","raw":"AP8B","tags":["new",null],"by":{"k":[7]},"place":{"x":4,"y":"z"},"more":[{"deep":[1,{}]}]}"#;

/// Small, fast, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below.max(1) as u64) as usize
    }

    fn mutate(&mut self, record: &[u8]) -> Vec<u8> {
        let mut bytes = record.to_vec();
        for _ in 0..=self.roll(4) {
            let at = self.roll(bytes.len());
            let end = (at + 1 + self.roll(24)).min(bytes.len());
            match self.roll(8) {
                0 => bytes.truncate(at),
                1 => drop(bytes.drain(at..end)),
                2 => {
                    let copied = bytes[at..end].to_vec();
                    bytes.splice(at..at, copied);
                }
                3 => {
                    let limits = [
                        i64::MIN,
                        i64::MAX,
                        -1,
                        1 << 31,
                        1 << 20,
                        i64::from(i32::MIN),
                    ];
                    bytes.splice(at..end, varint(limits[self.roll(limits.len())]));
                }
                4 => {
                    let marks = br#"{}[]",:\-.e0u""#;
                    bytes.insert(at, marks[self.roll(marks.len())]);
                }
                5 => {
                    let numbers = [
                        "1e999",
                        "-0",
                        "99999999999999999999",
                        "0.0000000000000001",
                        "null",
                        "\"\\ud800\"",
                    ];
                    let number = numbers[self.roll(numbers.len())];
                    bytes.splice(at..end, number.bytes());
                }
                _ if bytes.is_empty() => {}
                6 => bytes[at] ^= 1 << self.roll(8),
                _ => bytes[at] = [0, 1, 2, 0x7f, 0x80, 0xfe, 0xff][self.roll(7)],
            }
            if bytes.is_empty() {
                break;
            }
        }
        bytes
    }
}

#[test]
fn mutated_records_neither_panic_nor_leave_a_trace_nor_grow() {
    let (avro_record, json_record) = (avro_record(), JSON_RECORD.as_bytes().to_vec());
    let rows = format!("[{JSON_RECORD},{{}},{JSON_RECORD}]").into_bytes();
    let csv_record = CSV_RECORD.as_bytes().to_vec();
    for (format, record) in [
        (avro(), &avro_record),
        (csv(false), &csv_record),
        (csv(true), &csv_record),
        (json(false), &json_record),
        (json(true), &json_record),
        (json(true), &rows),
    ] {
        let mut schema = every_shape();
        if matches!(format, FormatSpec::Csv(_)) {
            schema.fields.retain(|field| field.name != "by"); // it has no maps
        }
        let mut decoder = open(&format, &schema);
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        let good = decoder.push(Some(record)).expect("a good record");
        let expected = decoder.finish();
        let mut refused = 0;
        for n in 0..MUTATIONS {
            let bytes = dice.mutate(record);
            decoder.push(Some(record)).expect("a good record");
            let between = decoder.push(Some(&bytes));
            decoder.push(Some(record)).expect("a good record");
            let batch = decoder.finish();
            let middle = between.as_ref().map_or(0, |decoded| decoded.rows);
            let whole = batch.num_rows() == middle + 2 * good.rows
                && batch.slice(0, good.rows) == expected
                && batch.slice(good.rows + middle, good.rows) == expected;
            assert!(
                whole,
                "{format:?}, mutation {n}: {bytes:02x?} gave {between:?}"
            );
            // Three records of some hundred bytes; an Avro item without bytes may add a few.
            let memory = batch.get_array_memory_size();
            assert!(
                memory < 1 << 20,
                "{format:?}, mutation {n}: {memory} bytes of {bytes:02x?}"
            );
            refused += usize::from(between.is_err());
        }
        let strict = match &format {
            FormatSpec::Json {
                ignore_parse_errors,
                ..
            } => !ignore_parse_errors,
            FormatSpec::Csv(spec) => !spec.ignore_parse_errors,
            _ => true,
        };
        let enough = MUTATIONS / 4;
        assert!(
            !strict || refused > enough,
            "{format:?} takes nearly everything: {refused}"
        );
    }
}

#[test]
fn avro_that_claims_what_it_does_not_hold_is_refused() {
    let schema = schema(&[
        ("s", text()),
        ("tags", list(TypeKind::BigInt.nullable())),
        ("by", map(text())),
    ]);
    let (null, some) = (varint(0), varint(1));
    let record = |s: &[u8], tags: &[u8], by: &[u8]| [s, tags, by].concat();
    let tags = |head: &[i64]| {
        let head: Vec<u8> = head.iter().flat_map(|number| varint(*number)).collect();
        record(&null, &[some.clone(), head].concat(), &null)
    };
    let cases = [
        ("avro.truncated", vec![]),
        ("avro.union", record(&varint(2), &null, &null)),
        ("avro.union", record(&varint(-1), &null, &null)),
        ("avro.length", [&some[..], &varint(-5)].concat()),
        ("avro.truncated", [&some[..], &varint(i64::MAX)].concat()),
        ("avro.utf8", [&some[..], &varint(2), b"\xc3\x28"].concat()),
        // Counts that no memory holds, plain and with a size in front.
        ("avro.items", tags(&[i64::MAX])),
        ("avro.items", tags(&[i64::MIN, 8])),
        ("avro.items", tags(&[1 << 40])),
        ("avro.length", tags(&[-2, -1])),
        ("avro.truncated", tags(&[60_000])),
        ("avro.truncated", tags(&[-3, i64::MAX])),
        // A number of eleven bytes, and one of more bits than there are.
        ("avro.number", [vec![2], vec![0x80; 11]].concat()),
        ("avro.number", [vec![2], vec![0xff; 9], vec![0x7f]].concat()),
        (
            "avro.map_key",
            [
                &null[..],
                &null,
                &some,
                &varint(2),
                &varint(1),
                b"k",
                &null,
                &varint(1),
                b"k",
                &null,
                &null,
            ]
            .concat(),
        ),
        (
            "avro.trailing",
            record(&null, &null, &[null.clone(), vec![0]].concat()),
        ),
    ];
    let mut decoder = open(&avro(), &schema);
    for (code, bytes) in cases {
        let error = decoder.push(Some(&bytes)).unwrap_err();
        assert_eq!(error.code, code, "{bytes:02x?}: {}", error.message);
        assert_eq!(decoder.finish().num_rows(), 0);
    }
    // Blocks with sizes, and empty ones that are the end, are fine.
    let good = tags(&[-1, 2, 1, 7, 2, 0, 0, 0]);
    assert_eq!(decoder.push(Some(&good)), Ok(Decoded::rows(1)));
}

#[test]
fn times_that_no_calendar_has_are_refused() {
    let schema = schema(&[
        ("t", TypeKind::Time(3).nullable()),
        ("at", TypeKind::Timestamp(3).nullable()),
    ]);
    let mut decoder = open(&avro(), &schema);
    let mut push = |time: i64, at: i64| {
        let bytes = [varint(1), varint(time), varint(1), varint(at)].concat();
        decoder.push(Some(&bytes)).map_err(|error| error.code)
    };
    assert_eq!(push(86_399_999, i64::MAX / 1000), Ok(Decoded::rows(1)));
    for (time, at) in [(86_400_000, 0), (-1, 0), (0, i64::MAX), (0, i64::MIN)] {
        assert_eq!(push(time, at), Err("avro.time"), "{time} {at}");
    }
}

struct One(String);

impl SchemaLookup for One {
    fn schema_by_id(&self, _: u32) -> Option<Arc<str>> {
        Some(self.0.as_str().into())
    }

    fn subject_latest(&self, _: &str) -> Option<(u32, i32, Arc<str>)> {
        None
    }

    fn has_subject(&self, _: &str) -> bool {
        true
    }
}

/// A writer's schema with the table's `i` and beside it `more`.
fn of_writer(more: &str) -> Box<dyn Decoder> {
    let writer = format!(
        r#"{{"type":"record","name":"W","fields":[{{"name":"more","type":{more}}},{{"name":"i","type":"int"}}]}}"#
    );
    let schema = schema(&[("i", TypeKind::Int.nullable())]);
    let format = FormatSpec::AvroConfluent {
        url: None,
        subject: None,
    };
    let lookup = Arc::new(One(writer));
    crate::decoder(&format, &schema, &[0], Some(lookup)).expect("supported")
}

#[test]
fn a_writers_schema_cannot_make_a_short_record_endless() {
    // R0 is empty; every other record holds the one before twice: 2^40 of them in no byte at all. Counted out, they would
    // keep this test for hours.
    let mut doubled = r#"{"type":"record","name":"R0","fields":[]}"#.to_string();
    for level in 1..=40 {
        let before = level - 1;
        doubled = format!(
            r#"{{"type":"record","name":"R{level}","fields":[{{"name":"a","type":{doubled}}},{{"name":"b","type":"R{before}"}}]}}"#
        );
    }
    let error = of_writer(&doubled)
        .push(Some(&[0, 0, 0, 0, 1, 8]))
        .unwrap_err();
    assert_eq!(error.code, "avro.items", "{}", error.message);

    // A schema that holds itself nests as deep as its data likes.
    let chain = r#"{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}"#;
    let nested = |levels: usize| [vec![0, 0, 0, 0, 1], vec![2; levels], vec![0, 8]].concat();
    let mut decoder = of_writer(chain);
    assert_eq!(decoder.push(Some(&nested(50))), Ok(Decoded::rows(1)));
    assert_eq!(
        decoder.push(Some(&nested(1_000_000))).unwrap_err().code,
        "avro.depth"
    );
    // Many small records in one array are honest work.
    let pairs = r#"{"type":"array","items":{"type":"record","name":"P","fields":[{"name":"a","type":"null"},{"name":"b","type":"boolean"}]}}"#;
    let many = [
        vec![0, 0, 0, 0, 1],
        varint(500_000),
        vec![1; 500_000],
        vec![0, 8],
    ]
    .concat();
    assert_eq!(of_writer(pairs).push(Some(&many)), Ok(Decoded::rows(1)));
}

#[test]
fn json_that_is_deep_broken_or_out_of_range_is_refused() {
    let schema = every_shape();
    let deep = |open: &str, close: &str| {
        let (open, close) = (open.repeat(200_000), close.repeat(200_000));
        format!(r#"{{"more":{open}{close}}}"#)
    };
    let mut wide = String::from("{");
    for n in 0..50_000 {
        let _ = write!(wide, r#""k{n}":[],"#);
    }
    let cases = [
        ("json.syntax", deep("[", "]")),
        ("json.syntax", deep(r#"{"a":"#, "}")),
        ("json.syntax", format!(r#"{{"s":{}"#, "[".repeat(500))),
        ("json.syntax", wide.clone()),
        ("json.syntax", r#"{"s":"half"#.to_string()),
        ("json.syntax", r#"{"s":"\x"}"#.to_string()),
        ("json.syntax", r#"{"s":"\u12"}"#.to_string()),
        ("json.syntax", r#"{"i":01}"#.to_string()),
        ("json.syntax", r#"{"i":1.}"#.to_string()),
        ("json.syntax", r#"{"i":NaN}"#.to_string()),
        ("json.row", "7".to_string()),
        ("json.row", "[[]]".to_string()),
        ("json.trailing", "{}{}".to_string()),
        ("json.field", r#"{"i":2147483648}"#.to_string()),
        ("json.field", r#"{"l":9223372036854775808}"#.to_string()),
        ("json.field", r#"{"l":1e300}"#.to_string()),
        ("json.field", r#"{"day":"2026-02-30"}"#.to_string()),
        ("json.field", r#"{"at":"2026-01-01 25:00:00"}"#.to_string()),
        ("json.field", r#"{"raw":"no base64!"}"#.to_string()),
        ("json.field", r#"{"place":[]}"#.to_string()),
        ("json.field", r#"{"by":{"k":7}}"#.to_string()),
        (
            "json.field",
            format!(r#"{{"n":"{}x"}}"#, "9".repeat(100_000)),
        ),
    ];
    let (mut strict, mut lenient) = (open(&json(false), &schema), open(&json(true), &schema));
    for (code, record) in cases {
        let shown: String = record.chars().take(60).collect();
        let error = strict.push(Some(record.as_bytes())).unwrap_err();
        assert_eq!(error.code, code, "{shown}: {}", error.message);
        let ignored = lenient
            .push(Some(record.as_bytes()))
            .expect("errors are ignored")
            .ignored;
        assert_eq!(ignored, 1, "{shown}");
    }
    let error = strict.push(Some(b"{\"s\":\"\xff\"}")).unwrap_err();
    assert_eq!(error.message, "a string is not UTF-8, at byte 6");
    // Large, but JSON.
    wide.pop();
    wide.push('}');
    assert_eq!(strict.push(Some(wide.as_bytes())), Ok(Decoded::rows(1)));
    // As in Flink: a double has an end, a decimal that does not fit is NULL.
    let large = format!(r#"{{"d":1e999,"n":{}}}"#, "9".repeat(100_000));
    assert_eq!(strict.push(Some(large.as_bytes())), Ok(Decoded::rows(1)));
}
