//! What a pipeline cannot be faster than: records become columns, columns become Parquet, one thread, nothing else. No log, no engine, no commit.
//!
//!     bare FORMAT COLUMNS FILE [ROUNDS]       FORMAT: json or avro; COLUMNS: as `name TYPE, name TYPE`, with the types of bench's events
//!
//! FILE holds records, each behind its length as four bytes, little end first. Prints JSON: rows per second of processor, for decoding alone
//! and for decoding and encoding, the median of the rounds. `cargo xtask bench pipeline` prints it beside the engine's figures.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a shell: it measures, and prints what it found"
)]

use arrow_array::RecordBatch;
use lw_graph::{Field, FormatSpec, Schema, TypeKind};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use std::time::Instant;

/// Rows of a chunk, about as the engine makes them.
const CHUNK: usize = 8192;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [format, columns, file, rest @ ..] = &args[..] else {
        panic!("bare FORMAT COLUMNS FILE [ROUNDS]");
    };
    let rounds = rest
        .first()
        .map_or(5, |rounds| rounds.parse().expect("a number of rounds"));
    let schema = Schema::new(columns.split(", ").map(field).collect());
    let bytes = std::fs::read(file).expect("a readable file");
    let records = records(&bytes);
    let format = format_of(format);

    let (mut decoded, mut encoded) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        decoded.push(seconds(|| decode(&format, &schema, &records, |_| {})));
        encoded.push(seconds(|| encode(&format, &schema, &records)));
    }
    let rate = |mut seconds: Vec<f64>| {
        seconds.sort_by(f64::total_cmp);
        records.len() as f64 / seconds[seconds.len() / 2]
    };
    println!(
        r#"{{"rows":{},"decode":{:.0},"decode_encode":{:.0}}}"#,
        records.len(),
        rate(decoded),
        rate(encoded)
    );
}

fn field(column: &str) -> Field {
    let (name, ty) = column.split_once(' ').expect("a column is `name TYPE`");
    let ty = match ty {
        "STRING" => TypeKind::string(),
        "INT" => TypeKind::Int,
        "BIGINT" => TypeKind::BigInt,
        "DOUBLE" => TypeKind::Double,
        "TIMESTAMP(3)" => TypeKind::Timestamp(3),
        other => panic!("no event of the benchmarks has a column of type {other}"),
    };
    Field::new(name, ty.nullable())
}

fn format_of(name: &str) -> FormatSpec {
    match name {
        "avro" => FormatSpec::Avro {
            legacy_timestamps: true,
        },
        "json" => FormatSpec::Json {
            fail_on_missing_field: false,
            ignore_parse_errors: false,
            iso_timestamps: false,
        },
        other => panic!("the bare loop knows json and avro, not {other}"),
    }
}

fn records(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut records = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let (record, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
        records.push(record);
        bytes = rest;
    }
    records
}

fn decode(
    format: &FormatSpec,
    schema: &Schema,
    records: &[&[u8]],
    mut each: impl FnMut(RecordBatch),
) {
    let all: Vec<usize> = (0..schema.fields.len()).collect();
    let mut decoder = lw_formats::decoder(format, schema, &all, None).expect("supported");
    for chunk in records.chunks(CHUNK) {
        for record in chunk {
            decoder.push(Some(record)).expect("well-formed");
        }
        each(decoder.finish());
    }
}

fn encode(format: &FormatSpec, schema: &Schema, records: &[&[u8]]) {
    let level = ZstdLevel::default();
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .build();
    let arrow = lw_formats::arrow_schema(schema);
    let mut writer =
        ArrowWriter::try_new(Vec::new(), arrow, Some(properties)).expect("a Parquet schema");
    decode(format, schema, records, |batch| {
        writer.write(&batch).expect("memory takes it");
    });
    assert!(!writer.into_inner().expect("memory takes it").is_empty());
}

/// Seconds of processor that this thread spends on it: other processes do not count. Where the system does not tell, seconds that pass.
fn seconds(work: impl FnOnce()) -> f64 {
    let (begun, spent) = (Instant::now(), on_processor());
    work();
    match (spent, on_processor()) {
        (Some(before), Some(after)) => after - before,
        _ => begun.elapsed().as_secs_f64(),
    }
}

fn on_processor() -> Option<f64> {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds: u64 = told.split(' ').next()?.parse().ok()?;
    Some(nanoseconds as f64 / 1e9)
}
