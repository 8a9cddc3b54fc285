//! How a table wants its files: the `write.*` properties, as settings of the Parquet writer and of what manifests say of columns.
//!
//! Which properties are obeyed, and which a table must not have, is [`lw_graph::heed`]'s to say. A table that cannot be written as
//! its properties ask is not written, nor compacted: rows in files that are otherwise than their owner set them would be found too late.

use super::metrics::Metrics;
use crate::storage::DurableFile;
use arrow_array::RecordBatch;
use iceberg::spec::Schema;
use lw_graph::{Heed, heed};
use parquet::arrow::ArrowWriter;
use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::{ColumnPath, SchemaDescriptor};
use std::collections::HashMap;

/// `write.target-file-size-bytes` where the table has none.
const TARGET: u64 = 128 << 20;
/// Rows of a row group where the table does not say how many bytes it has.
const ROW_GROUP_ROWS: usize = 1 << 20;
/// Values of a column that are written at a time.
const VALUES: usize = 1024;
/// Iceberg's bound for a Bloom filter, and how often it may be wrong.
const BLOOM_BYTES: u64 = 1 << 20;
const BLOOM_FPP: f64 = 0.01;
/// Statistics in a file are cut to so many bytes: enough for the bounds of 16 characters that manifests have by default.
const CUT: usize = 64;

pub(crate) struct Settings {
    pub(crate) parquet: WriterProperties,
    /// Rows that a file takes at once: a row group is only looked at in between.
    at_once: usize,
    pub(super) target_bytes: u64,
    pub(crate) metrics: Metrics,
    /// What the table asks for and does not get, and why.
    pub(super) kept: Vec<String>,
}

impl Settings {
    /// `columns` are those of a file, which may have other names than the table gives them.
    ///
    /// # Errors
    /// Which property cannot be obeyed, in a sentence.
    pub(crate) fn of(
        properties: &HashMap<String, String>,
        schema: &Schema,
        columns: &SchemaDescriptor,
    ) -> Result<Settings, String> {
        let mut kept = check(properties)?;
        let metrics = Metrics::of(properties, schema);
        let number = |key: &str| properties.get(key).and_then(|text| text.parse().ok());
        let size = |key: &str| number(key).and_then(|bytes: u64| usize::try_from(bytes).ok());
        let row_group = size("write.parquet.row-group-size-bytes");
        let mut builder = WriterProperties::builder()
            .set_compression(compression(properties)?)
            .set_max_row_group_bytes(row_group)
            .set_max_row_group_row_count(row_group.is_none().then_some(ROW_GROUP_ROWS))
            .set_statistics_truncate_length((!metrics.need_more_than(CUT / 4)).then_some(CUT))
            .set_created_by(concat!("lakeward ", env!("CARGO_PKG_VERSION")).to_owned());
        if let Some(bytes) = size("write.parquet.page-size-bytes") {
            builder = builder.set_data_page_size_limit(bytes);
        }
        if let Some(rows) = size("write.parquet.page-row-limit") {
            // The limit is looked at behind each batch of values.
            builder = builder
                .set_data_page_row_count_limit(rows)
                .set_write_batch_size(rows.min(VALUES));
        }
        if let Some(bytes) = size("write.parquet.dict-size-bytes") {
            builder = builder.set_dictionary_page_size_limit(bytes);
        }
        let bloom = number("write.parquet.bloom-filter-max-bytes").unwrap_or(BLOOM_BYTES);
        builder = of_columns(
            builder,
            properties,
            bloom,
            &paths(schema, columns),
            &mut kept,
        );
        kept.sort();
        Ok(Settings {
            parquet: builder.build(),
            at_once: row_group.map_or(usize::MAX, |_| VALUES),
            target_bytes: target_bytes(properties),
            metrics,
            kept,
        })
    }

    pub(crate) fn write(
        &self,
        writer: &mut ArrowWriter<DurableFile>,
        columns: &RecordBatch,
    ) -> parquet::errors::Result<()> {
        let rows = columns.num_rows();
        for from in (0..rows).step_by(self.at_once) {
            writer.write(&columns.slice(from, self.at_once.min(rows - from)))?;
        }
        Ok(())
    }
}

/// How large a data file is to be.
pub(crate) fn target_bytes(properties: &HashMap<String, String>) -> u64 {
    let property = properties.get("write.target-file-size-bytes");
    property
        .and_then(|text| text.parse().ok())
        .unwrap_or(TARGET)
}

/// What is kept and not obeyed.
///
/// # Errors
/// Which property cannot be obeyed, in a sentence.
pub(crate) fn check(properties: &HashMap<String, String>) -> Result<Vec<String>, String> {
    let mut kept = Vec::new();
    let mut sorted: Vec<_> = properties.iter().collect();
    sorted.sort();
    for (key, value) in sorted {
        match heed(key, value) {
            Some(Heed::Refused(why)) => {
                return Err(format!("its property {key} is '{value}'. {why}"));
            }
            Some(Heed::Bad(takes)) => {
                return Err(format!(
                    "its property {key} is '{value}', and takes {takes}."
                ));
            }
            Some(Heed::Kept(why)) => kept.push(format!("{key} = '{value}': {why}")),
            Some(Heed::Obeyed | Heed::OfOthers) | None => {}
        }
    }
    compression(properties)?;
    Ok(kept)
}

/// Where each column's values are in files, by the column's name in the table (`address.city`).
fn paths(schema: &Schema, columns: &SchemaDescriptor) -> HashMap<String, ColumnPath> {
    let mut paths = HashMap::new();
    for column in columns.columns() {
        let info = column.self_type().get_basic_info();
        let name = info.has_id().then(|| schema.name_by_field_id(info.id()));
        if let Some(name) = name.flatten() {
            paths.insert(name.to_owned(), column.path().clone());
        }
    }
    paths
}

fn of_columns(
    mut builder: WriterPropertiesBuilder,
    properties: &HashMap<String, String>,
    bloom_bytes: u64,
    paths: &HashMap<String, ColumnPath>,
    kept: &mut Vec<String>,
) -> WriterPropertiesBuilder {
    for (key, value) in properties {
        let Some((what, name)) = key
            .strip_prefix("write.parquet.")
            .and_then(|rest| rest.split_once(".column."))
        else {
            continue;
        };
        let Some(path) = paths.get(name) else {
            kept.push(format!(
                "{key} = '{value}': There is no such column of values."
            ));
            continue;
        };
        let is_on = value.eq_ignore_ascii_case("true");
        match what {
            "stats-enabled" if !is_on => {
                builder =
                    builder.set_column_statistics_enabled(path.clone(), EnabledStatistics::None);
            }
            "bloom-filter-enabled" if is_on => {
                let fpp = format!("write.parquet.bloom-filter-fpp.column.{name}");
                let fpp = properties.get(&fpp).and_then(|text| text.parse().ok());
                let fpp = fpp.unwrap_or(BLOOM_FPP);
                builder = builder
                    .set_column_bloom_filter_enabled(path.clone(), true)
                    .set_column_bloom_filter_fpp(path.clone(), fpp)
                    .set_column_bloom_filter_ndv(path.clone(), values_of(bloom_bytes, fpp));
            }
            _ => {}
        }
    }
    builder
}

/// How many distinct values a Bloom filter of so many bytes has room for; the writer rounds up to a power of two, so this
/// goes by the next one below.
fn values_of(bytes: u64, fpp: f64) -> u64 {
    let bits = (8u64 << bytes.max(32).ilog2()) as f64;
    let values = -bits * (1.0 - fpp.powf(1.0 / 8.0)).ln() / 8.0;
    (values as u64).max(1)
}

/// As Iceberg's Java and Python libraries: `lz4` is what other programs call LZ4_RAW.
fn compression(properties: &HashMap<String, String>) -> Result<Compression, String> {
    let codec = properties.get("write.parquet.compression-codec");
    let codec = codec.map_or("zstd".to_owned(), |codec| codec.to_ascii_lowercase());
    let level = properties.get("write.parquet.compression-level");
    let level = level.and_then(|text| text.parse::<i32>().ok());
    let positive = level.map(|level| u32::try_from(level).unwrap_or(u32::MAX));
    let made = match codec.as_str() {
        "zstd" => level
            .map_or(Ok(ZstdLevel::default()), ZstdLevel::try_new)
            .map(Compression::ZSTD),
        "gzip" => positive
            .map_or(Ok(GzipLevel::default()), GzipLevel::try_new)
            .map(Compression::GZIP),
        "brotli" => positive
            .map_or(Ok(BrotliLevel::default()), BrotliLevel::try_new)
            .map(Compression::BROTLI),
        "snappy" => Ok(Compression::SNAPPY),
        "lz4" => Ok(Compression::LZ4_RAW),
        _ => Ok(Compression::UNCOMPRESSED),
    };
    made.map_err(|_| {
        let level = level.unwrap_or_default();
        format!("its property write.parquet.compression-level is '{level}', which {codec} does not have.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bloom_filter_stays_below_its_bound() {
        for (bytes, fpp) in [(1 << 20, 0.01), (1 << 20, 0.2), (1000, 0.01), (64, 0.001)] {
            let bits = -8.0 * values_of(bytes, fpp) as f64 / (1.0 - fpp.powf(1.0 / 8.0)).ln();
            let made = ((bits as u64) / 8).max(32).next_power_of_two();
            assert!(made <= bytes, "{made} of {bytes}");
        }
    }

    #[test]
    fn levels_are_those_of_the_codec() {
        let made = |codec: &str, level: &str| {
            compression(&HashMap::from([
                (
                    "write.parquet.compression-codec".to_owned(),
                    codec.to_owned(),
                ),
                (
                    "write.parquet.compression-level".to_owned(),
                    level.to_owned(),
                ),
            ]))
        };
        assert_eq!(
            made("ZSTD", "9"),
            Ok(Compression::ZSTD(ZstdLevel::try_new(9).unwrap()))
        );
        assert_eq!(
            made("gzip", "9"),
            Ok(Compression::GZIP(GzipLevel::try_new(9).unwrap()))
        );
        assert_eq!(made("snappy", "9"), Ok(Compression::SNAPPY));
        let refused =
            "its property write.parquet.compression-level is '40', which zstd does not have.";
        assert_eq!(made("zstd", "40"), Err(refused.to_owned()));
        assert!(made("gzip", "-1").is_err());
    }
}
