//! How fast records become columns: rows per second on one core, `cargo run --release -p lw-formats --example decode`.
//!
//! Expectation: a record of five fields and 40 bytes is about 15 branches and two short copies, so 50–100 ns in Avro and
//! 100–150 ns in JSON; one of seven fields and 207 bytes of JSON, of which a window over a key wants three, is 207 bytes looked at
//! eight at a time: 100–150 ns too.

#![expect(clippy::disallowed_methods, reason = "a shell: it measures")]

use lw_graph::{Field, FormatSpec, Schema, TypeKind};
use std::time::Instant;

const ROWS: usize = 10_000;

fn main() {
    let schema = Schema::new(vec![
        Field::new("event_id", TypeKind::string().nullable()),
        Field::new("sku", TypeKind::string().nullable()),
        Field::new("warehouse", TypeKind::Int.nullable()),
        Field::new("quantity", TypeKind::BigInt.nullable()),
        Field::new("event_time", TypeKind::Timestamp(3).nullable()),
    ]);
    let avro: Vec<Vec<u8>> = (0..ROWS).map(avro).collect();
    let json: Vec<Vec<u8>> = (0..ROWS).map(json).collect();
    let bare = FormatSpec::Avro {
        legacy_timestamps: true,
    };
    let text = FormatSpec::Json {
        fail_on_missing_field: false,
        ignore_parse_errors: false,
        iso_timestamps: false,
    };
    for (name, format, records) in [("avro", &bare, &avro), ("json", &text, &json)] {
        for projection in [vec![0, 1, 2, 3, 4], vec![1, 3]] {
            measure(name, format, &schema, &projection, records);
        }
    }
    let wide = Schema::new(vec![
        Field::new("order_number", TypeKind::BigInt.nullable()),
        Field::new("customer", TypeKind::string().nullable()),
        Field::new("route", TypeKind::string().nullable()),
        Field::new("status", TypeKind::string().nullable()),
        Field::new("quantity", TypeKind::Int.nullable()),
        Field::new("price", TypeKind::Double.nullable()),
        Field::new("event_time", TypeKind::Timestamp(3).nullable()),
    ]);
    let records: Vec<Vec<u8>> = (0..ROWS).map(wide_json).collect();
    for projection in [vec![0, 1, 2, 3, 4, 5, 6], vec![2, 4, 6]] {
        measure("json", &text, &wide, &projection, &records);
    }
}

fn measure(
    name: &str,
    format: &FormatSpec,
    schema: &Schema,
    projection: &[usize],
    records: &[Vec<u8>],
) {
    let mut decoder = lw_formats::decoder(format, schema, projection, None).expect("supported");
    let mut best = f64::MAX;
    for _ in 0..30 {
        let begun = Instant::now();
        for record in records {
            decoder.push(Some(record)).expect("well-formed");
        }
        assert_eq!(decoder.finish().num_rows(), records.len());
        best = best.min(begun.elapsed().as_secs_f64());
    }
    let rate = records.len() as f64 / best / 1e6;
    let bytes = records[0].len();
    eprintln!(
        "{name}: {rate:.2} M rows/s, {} of {} columns, {bytes} bytes a record, best of 30",
        projection.len(),
        schema.fields.len()
    );
}

fn avro(row: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let long = |out: &mut Vec<u8>, value: i64| {
        let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
        while rest >= 0x80 {
            out.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
    };
    for text in [format!("evt-{row:08}"), format!("SKU-{:04}", row % 1000)] {
        out.push(2);
        long(&mut out, text.len() as i64);
        out.extend(text.as_bytes());
    }
    for value in [
        row as i64 % 48,
        row as i64 * 7,
        1_767_225_600_000 + row as i64,
    ] {
        out.push(2);
        long(&mut out, value);
    }
    out
}

fn json(row: usize) -> Vec<u8> {
    format!(
        r#"{{"event_id":"evt-{row:08}","sku":"SKU-{:04}","warehouse":{},"quantity":{},"event_time":"2026-01-01 00:00:{:02}.{:03}"}}"#,
        row % 1000,
        row % 48,
        row * 7,
        row % 60,
        row % 1000
    )
    .into_bytes()
}

/// As `cargo xtask bench pipeline --event wide` sends them.
fn wide_json(row: usize) -> Vec<u8> {
    format!(
        r#"{{"order_number":{},"customer":"customer-{:05}","route":"warehouse-{:02}/berlin-kreuzberg/loading-dock-north/lane-{}","status":"shipped","quantity":{},"price":{}.5,"event_time":"2026-01-01 00:00:{:02}.{:03}"}}"#,
        1_000_000_000 + row,
        row * 7919 % 10_000,
        row % 20,
        row % 20 % 7,
        row % 100,
        row * 37 % 1_000,
        row % 60,
        row % 1000
    )
    .into_bytes()
}
