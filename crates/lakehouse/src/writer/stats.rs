//! Parquet's statistics as Iceberg's, so that readers can skip a file without opening it.
//!
//! Bounds of text and bytes are cut, to 16 characters unless the table says otherwise: a lower bound by cutting, an upper bound
//! by cutting and raising the last character. Columns inside lists and maps have sizes only: bounds of repeated values
//! would claim more than is true.

use super::metrics::Metrics;
use crate::error::CatalogError;
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, PrimitiveType, Schema,
    Struct, Type,
};
use lw_graph::MetricsMode;
use parquet::basic::Type as Physical;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use std::collections::HashMap;

/// As Iceberg's default has it; Delta's bounds are cut so, too.
pub(crate) const BOUND_CHARACTERS: usize = 16;

/// Describes a Parquet file for a manifest.
pub(crate) fn data_file(
    (schema, metrics): (&Schema, &Metrics),
    (spec_id, partition): (i32, Struct),
    metadata: &ParquetMetaData,
    path: &str,
    length: u64,
) -> Result<DataFile, CatalogError> {
    let mut columns = Columns::default();
    for group in metadata.row_groups() {
        for chunk in group.columns() {
            columns.add(schema, metrics, chunk);
        }
    }
    let splits = metadata
        .row_groups()
        .iter()
        .filter_map(|group| group.columns().first())
        .map(|first| {
            first
                .dictionary_page_offset()
                .unwrap_or(first.data_page_offset())
        })
        .collect();
    let rows = metadata.file_metadata().num_rows();
    DataFileBuilder::default()
        .content(DataContentType::Data)
        .file_path(path.to_owned())
        .file_format(DataFileFormat::Parquet)
        .partition(partition)
        .partition_spec_id(spec_id)
        .record_count(u64::try_from(rows).expect("row counts are not negative"))
        .file_size_in_bytes(length)
        .column_sizes(columns.sizes)
        .value_counts(columns.values)
        .null_value_counts(columns.nulls)
        .lower_bounds(columns.lower)
        .upper_bounds(columns.upper)
        .split_offsets(Some(splits))
        .build()
        .map_err(|error| {
            CatalogError::caused(
                crate::error::Kind::Internal,
                "a data file cannot be described",
                error,
            )
        })
}

#[derive(Default)]
struct Columns {
    sizes: HashMap<i32, u64>,
    values: HashMap<i32, u64>,
    nulls: HashMap<i32, u64>,
    lower: HashMap<i32, Datum>,
    upper: HashMap<i32, Datum>,
    /// Columns with a row group that has no bound: then the file has none.
    unbounded: Vec<i32>,
}

impl Columns {
    fn add(&mut self, schema: &Schema, metrics: &Metrics, chunk: &ColumnChunkMetaData) {
        let info = chunk.column_descr().self_type().get_basic_info();
        if !info.has_id() {
            return;
        }
        let id = info.id();
        *self.sizes.entry(id).or_default() += u64::try_from(chunk.compressed_size()).unwrap_or(0);
        let mode = metrics.mode(id);
        if chunk.column_descr().max_rep_level() > 0 || mode == MetricsMode::Sizes {
            return;
        }
        let values = u64::try_from(chunk.num_values()).unwrap_or(0);
        *self.values.entry(id).or_default() += values;
        let statistics = chunk.statistics();
        let nulls = statistics.and_then(|statistics| statistics.null_count_opt());
        if let Some(nulls) = nulls {
            *self.nulls.entry(id).or_default() += nulls;
        }
        let MetricsMode::Bounds(length) = mode else {
            return;
        };
        if nulls == Some(values) {
            return;
        }
        let Some(Type::Primitive(ty)) = schema.field_by_id(id).map(|field| &*field.field_type)
        else {
            return;
        };
        let bounds = statistics.and_then(|statistics| {
            let physical = chunk.column_descr().physical_type();
            let low = lower_bound(ty, physical, length, statistics.min_bytes_opt()?)?;
            let high = upper_bound(ty, physical, length, statistics.max_bytes_opt()?)?;
            Some((low, high))
        });
        match bounds {
            Some((low, high)) if !self.unbounded.contains(&id) => {
                widen(&mut self.lower, id, low, |new, old| new < old);
                widen(&mut self.upper, id, high, |new, old| new > old);
            }
            _ => {
                self.unbounded.push(id);
                self.lower.remove(&id);
                self.upper.remove(&id);
            }
        }
    }
}

fn widen(
    bounds: &mut HashMap<i32, Datum>,
    id: i32,
    new: Datum,
    wider: impl Fn(&Datum, &Datum) -> bool,
) {
    match bounds.get(&id) {
        Some(old) if !wider(&new, old) => {}
        _ => {
            bounds.insert(id, new);
        }
    }
}

/// `length` in characters or bytes; `None` for all of it.
fn lower_bound(
    ty: &PrimitiveType,
    physical: Physical,
    length: Option<usize>,
    bytes: &[u8],
) -> Option<Datum> {
    let length = length.unwrap_or(usize::MAX);
    match ty {
        PrimitiveType::String => {
            let text = std::str::from_utf8(bytes).ok()?;
            Some(Datum::string(text.chars().take(length).collect::<String>()))
        }
        PrimitiveType::Binary => Some(Datum::binary(bytes.iter().take(length).copied())),
        _ => exact(ty, physical, bytes),
    }
}

fn upper_bound(
    ty: &PrimitiveType,
    physical: Physical,
    length: Option<usize>,
    bytes: &[u8],
) -> Option<Datum> {
    let length = length.unwrap_or(usize::MAX);
    match ty {
        PrimitiveType::String => {
            let text = std::str::from_utf8(bytes).ok()?;
            Some(Datum::string(raised_text(text, length)?))
        }
        PrimitiveType::Binary => Some(Datum::binary(raised_bytes(bytes, length)?)),
        _ => exact(ty, physical, bytes),
    }
}

/// The least cut text that is not below `text`.
pub(crate) fn raised_text(text: &str, length: usize) -> Option<String> {
    if text.chars().count() <= length {
        return Some(text.to_owned());
    }
    let mut cut: Vec<char> = text.chars().take(length).collect();
    while let Some(last) = cut.pop() {
        // The next scalar value; surrogates lie between D7FF and E000.
        let next = match last {
            '\u{d7ff}' => Some('\u{e000}'),
            other => char::from_u32(other as u32 + 1),
        };
        if let Some(next) = next {
            cut.push(next);
            return Some(cut.into_iter().collect());
        }
    }
    None
}

fn raised_bytes(bytes: &[u8], length: usize) -> Option<Vec<u8>> {
    if bytes.len() <= length {
        return Some(bytes.to_vec());
    }
    let mut cut = bytes[..length].to_vec();
    while let Some(last) = cut.pop() {
        if last < u8::MAX {
            cut.push(last + 1);
            return Some(cut);
        }
    }
    None
}

/// Numbers, times and fixed bytes: Parquet's plain form is Iceberg's, but for decimals in integers.
fn exact(ty: &PrimitiveType, physical: Physical, bytes: &[u8]) -> Option<Datum> {
    let big_endian = match (ty, physical) {
        (PrimitiveType::Decimal { .. }, Physical::INT32 | Physical::INT64) => {
            bytes.iter().rev().copied().collect()
        }
        _ => bytes.to_vec(),
    };
    let datum = Datum::try_from_bytes(&big_endian, ty.clone()).ok()?;
    (!datum.is_nan()).then_some(datum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upper_bounds_are_never_below_the_value() {
        let cases = [
            ("short", Some("short")),
            ("exactly 16 chars", Some("exactly 16 chars")),
            ("more than 16 characters", Some("more than 16 chb")),
            ("aaaaaaaaaaaaaaa\u{d7ff}x", Some("aaaaaaaaaaaaaaa\u{e000}")),
            ("aaaaaaaaaaaaaaa\u{10ffff}x", Some("aaaaaaaaaaaaaab")),
        ];
        for (text, expected) in cases {
            assert_eq!(raised_text(text, 16).as_deref(), expected, "{text}");
            assert!(expected.is_none_or(|bound| bound >= text), "{text}");
        }
        assert_eq!(raised_text(&"\u{10ffff}".repeat(17), 16), None);
        assert_eq!(raised_bytes(&[255; 17], 16), None);
        assert_eq!(
            raised_bytes(&[[1; 16].as_slice(), &[9]].concat(), 16),
            Some([[1; 15].as_slice(), &[2]].concat())
        );
    }
}
