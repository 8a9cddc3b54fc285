//! The records of `flink.txt` were read by Apache Flink 2.3.0: `Capture.java` calls the format as a Kafka source does. A
//! row's columns stand one after the other, times as microseconds; `(none)` is a record without a row, `!` one that is
//! refused, `!!` a table that is.
//!
//! Where we read a record otherwise it stands in `differs.txt`, with both results; `UPDATE_EXPECT=1` rewrites it, and its
//! diff is reviewed. That two refusals have other words is no difference.

use super::*;
use crate::Decoded;
use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{Array, ArrayRef};
use expect_test::expect_file;
use lw_graph::FormatSpec;
use proptest::prelude::*;
use std::fmt::Write;

fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'n') => out.push(b'\n'),
            Some(b'r') => out.push(b'\r'),
            Some(b't') => out.push(b'\t'),
            Some(b'\\') => out.push(b'\\'),
            _ => {
                let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                let digits = std::str::from_utf8(&digits).unwrap();
                out.push(u8::from_str_radix(digits, 16).unwrap());
            }
        }
    }
    out
}

fn escape(bytes: &[u8]) -> String {
    let mut out = String::new();
    for byte in bytes {
        match byte {
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            b'\\' => out.push_str("\\\\"),
            b' '..=b'~' => out.push(char::from(*byte)),
            other => drop(write!(out, "\\x{other:02x}")),
        }
    }
    out
}

/// `a INT, b ROW<x INT>` at the commas that stand outside brackets.
fn fields(text: &str) -> Vec<Field> {
    let (mut depth, mut from, mut parts) = (0, 0, Vec::new());
    for (at, c) in text.char_indices() {
        depth += i32::from(matches!(c, '<' | '(')) - i32::from(matches!(c, '>' | ')'));
        if c == ',' && depth == 0 {
            parts.push(&text[from..at]);
            from = at + 1;
        }
    }
    parts.push(&text[from..]);
    let field = |part: &&str| {
        let (name, ty) = part.trim().split_once(' ').unwrap();
        Field::new(name, ty_of(ty))
    };
    parts.iter().map(field).collect()
}

fn ty_of(text: &str) -> LogicalType {
    if let Some(kind) = text.strip_suffix(" NOT NULL") {
        return ty_of(kind).with_nullable(false);
    }
    let inside = |open, close| {
        let inside = text.split_once(open)?.1.strip_suffix(close)?;
        Some((text.split_once(open)?.0, inside))
    };
    if let Some((name, inside)) = inside('<', '>') {
        let of = || Box::new(ty_of(inside));
        return match name {
            "ARRAY" => TypeKind::Array(of()).nullable(),
            "ROW" => TypeKind::Row(fields(inside)).nullable(),
            _ => {
                let (key, value) = inside.split_once(", ").unwrap();
                TypeKind::Map(Box::new(ty_of(key)), Box::new(ty_of(value))).nullable()
            }
        };
    }
    let (name, numbers) = inside('(', ')').unwrap_or((text, "0"));
    let numbers: Vec<u32> = numbers.split(", ").map(|n| n.parse().unwrap()).collect();
    let digits = numbers[0] as u8;
    let kind = match name {
        "BOOLEAN" => TypeKind::Boolean,
        "TINYINT" => TypeKind::TinyInt,
        "SMALLINT" => TypeKind::SmallInt,
        "INT" => TypeKind::Int,
        "BIGINT" => TypeKind::BigInt,
        "FLOAT" => TypeKind::Float,
        "DOUBLE" => TypeKind::Double,
        "DECIMAL" => TypeKind::Decimal {
            precision: digits,
            scale: numbers[1] as u8,
        },
        "STRING" => TypeKind::string(),
        "CHAR" => TypeKind::Char(numbers[0]),
        "VARCHAR" => TypeKind::Varchar(numbers[0]),
        "BYTES" => TypeKind::bytes(),
        "DATE" => TypeKind::Date,
        "TIME" => TypeKind::Time(digits),
        "TIMESTAMP" => TypeKind::Timestamp(digits),
        "TIMESTAMP_LTZ" => TypeKind::TimestampLtz(digits),
        other => panic!("{other}"),
    };
    kind.nullable()
}

/// As `Capture.java` shows it.
fn show(column: &ArrayRef, ty: &LogicalType, row: usize) -> String {
    if column.is_null(row) {
        return "NULL".to_string();
    }
    macro_rules! number {
        ($ty:ty) => {
            column.as_primitive::<$ty>().value(row).to_string()
        };
    }
    let mut out = String::new();
    match &ty.kind {
        TypeKind::Boolean => column.as_boolean().value(row).to_string(),
        TypeKind::TinyInt => number!(Int8Type),
        TypeKind::SmallInt => number!(Int16Type),
        TypeKind::Int => number!(Int32Type),
        TypeKind::BigInt => number!(Int64Type),
        TypeKind::Float => {
            crate::text::write_float(column.as_primitive::<Float32Type>().value(row), &mut out);
            out
        }
        TypeKind::Double => {
            crate::text::write_double(column.as_primitive::<Float64Type>().value(row), &mut out);
            out
        }
        TypeKind::Decimal { scale, .. } => {
            let unscaled = column.as_primitive::<Decimal128Type>().value(row);
            crate::text::write_decimal(unscaled, *scale, &mut out);
            out
        }
        TypeKind::Char(_) | TypeKind::Varchar(_) => {
            let text = column.as_string::<i32>().value(row);
            format!("'{}'", escape(text.as_bytes()))
        }
        TypeKind::Binary(_) | TypeKind::Varbinary(_) => {
            let bytes = column.as_binary::<i32>().value(row);
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("x'{hex}'")
        }
        TypeKind::Date => number!(Date32Type),
        TypeKind::Time(_) => {
            let micros = column.as_primitive::<Time64MicrosecondType>().value(row);
            (micros / 1000).to_string()
        }
        TypeKind::Timestamp(_) | TypeKind::TimestampLtz(_) => number!(TimestampMicrosecondType),
        TypeKind::Array(of) => {
            let items = column.as_list::<i32>().value(row);
            let items: Vec<String> = (0..items.len()).map(|n| show(&items, of, n)).collect();
            format!("[{}]", items.join(";"))
        }
        TypeKind::Row(fields) => {
            let members = column.as_struct().columns().iter().zip(fields);
            let members = members.map(|(member, field)| show(member, &field.ty, row));
            format!("({})", members.collect::<Vec<_>>().join(";"))
        }
        other => panic!("{other}"),
    }
}

/// The table of a section and its decoder.
#[derive(Default)]
struct Table {
    columns: Vec<Field>,
    spec: CsvSpec,
    projection: Vec<usize>,
}

impl Table {
    fn option(&mut self, option: &str) {
        let (key, value) = option.split_once('=').unwrap();
        let only = || match value {
            "\\t" => '\t',
            "\\u0001" => '\u{1}',
            value => value.chars().next().unwrap(),
        };
        let spec = &mut self.spec;
        match key {
            "field-delimiter" => spec.delimiter = only(),
            "quote-character" => spec.quote = Some(only()),
            "disable-quote-character" => spec.quote = None,
            "escape-character" => spec.escape = Some(only()),
            "array-element-delimiter" => spec.element_delimiter = only(),
            "null-literal" => spec.null_literal = Some(value.to_string()),
            "allow-comments" => spec.comments = true,
            "ignore-parse-errors" => spec.ignore_parse_errors = true,
            other => panic!("{other}"),
        }
    }

    fn decoder(&self) -> Result<Box<dyn Decoder>, FormatError> {
        let format = FormatSpec::Csv(self.spec.clone());
        let schema = Schema::new(self.columns.clone());
        crate::decoder(&format, &schema, &self.projection, None)
    }

    fn read(&self, record: &[u8]) -> String {
        let mut decoder = match self.decoder() {
            Ok(decoder) => decoder,
            Err(error) => return format!("!! {error}: {}", error.detail),
        };
        match decoder.push(Some(record)) {
            Ok(Decoded {
                rows: 0, ignored, ..
            }) => {
                assert!(ignored > 0, "a record without a row is counted");
                "(none)".to_string()
            }
            Ok(_) => {
                let batch = decoder.finish();
                let columns = batch.columns().iter().zip(&self.projection);
                let shown = columns.map(|(column, n)| show(column, &self.columns[*n].ty, 0));
                shown.collect::<Vec<_>>().join("|")
            }
            Err(error) => {
                assert_eq!(decoder.finish().num_rows(), 0, "a trace was left");
                format!("! {}: {}", error.code, error.message)
            }
        }
    }
}

fn is_same(flink: &str, here: &str) -> bool {
    let refused = |text: &str| {
        text.split(' ')
            .next()
            .filter(|mark| mark.starts_with('!'))
            .map(str::to_owned)
    };
    match (refused(flink), refused(here)) {
        (None, None) => flink == here,
        (flink, here) => flink == here,
    }
}

#[test]
fn records_read_as_flink_reads_them_but_for_those_that_are_listed() {
    let mut lines = include_str!("flink.txt").lines().peekable();
    let (mut table, mut head, mut told) = (Table::default(), String::new(), String::new());
    let (mut count, mut out) = (0, String::new());
    while let Some(line) = lines.next() {
        if let Some(columns) = line.strip_prefix("columns ") {
            let columns = fields(columns);
            table = Table {
                projection: (0..columns.len()).collect(),
                columns,
                ..Table::default()
            };
            head = format!("{line}\n");
        } else if let Some(option) = line.strip_prefix("option ") {
            table.option(option);
            let _ = writeln!(head, "{line}");
        } else if let Some(projection) = line.strip_prefix("project ") {
            table.projection = projection.split(' ').map(|n| n.parse().unwrap()).collect();
            let _ = writeln!(head, "{line}");
        } else if let Some(record) = line.strip_prefix("> ") {
            let flink = lines.next().expect("a record has a result").trim_start();
            let here = table.read(&unescape(record));
            count += 1;
            if !is_same(flink, &here) {
                if told != head {
                    let _ = write!(out, "{head}");
                    told.clone_from(&head);
                }
                let _ = writeln!(out, "{line}\n    Flink: {flink}\n    here:  {here}");
            }
        }
    }
    assert!(count > 300, "{count} records");
    expect_file!["./differs.txt"].assert_eq(&out);
}

#[test]
fn a_tombstone_has_no_row() {
    let table = Table {
        columns: fields("a INT"),
        projection: vec![0],
        ..Table::default()
    };
    let mut decoder = table.decoder().unwrap();
    assert_eq!(decoder.push(None), Ok(Decoded::default()));
    assert!(decoder.is_empty());
}

#[test]
fn a_quote_that_is_the_delimiter_is_refused() {
    let mut table = Table {
        columns: fields("a INT"),
        ..Table::default()
    };
    table.spec.quote = Some(',');
    let error = table.decoder().err().unwrap();
    assert_eq!(
        error.message,
        "',' cannot both quote a field and stand between two"
    );
}

proptest! {
    /// What a writer quotes comes back, whatever it holds.
    #[test]
    fn quoted_text_comes_back(values in prop::collection::vec(".*", 3), crlf in any::<bool>()) {
        let quoted: Vec<String> = values.iter().map(|v| format!("\"{}\"", v.replace('"', "\"\""))).collect();
        let record = format!("{}{}", quoted.join(","), if crlf { "\r\n" } else { "" });
        let table = Table {
            columns: fields("a STRING, b STRING, c STRING"),
            projection: vec![0, 1, 2],
            ..Table::default()
        };
        let shown = values.iter().map(|v| format!("'{}'", escape(v.as_bytes())));
        prop_assert_eq!(table.read(record.as_bytes()), shown.collect::<Vec<_>>().join("|"));
    }
}
