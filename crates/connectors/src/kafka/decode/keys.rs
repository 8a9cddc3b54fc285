//! Columns of the records' keys, beside those of their values.
//!
//! As in Flink each row of a value is there once for each row of its key: not at all where the key has none (no key, but where the
//! format is `raw`, for which that is NULL), and more than once where a key in JSON is an array of rows. Where key or value cannot
//! be decoded, or has no row, rows of the other are left over; so it is written down which of them meet, and they are brought
//! together once, for a whole piece.

use arrow_array::{ArrayRef, UInt32Array};
use arrow_schema::ArrowError;
use arrow_select::take::take;
use lw_formats::{DecodeError, Decoded, Decoder, FormatError};
use lw_graph::{KafkaSource, SourceColumn};
use lw_schemas::SchemaLookup;
use std::sync::Arc;

pub(super) struct Keys {
    decoder: Box<dyn Decoder>,
    of_key: Met,
    of_value: Met,
}

/// By row of what is given: which row of a decoder it has.
#[derive(Default)]
struct Met {
    rows: Vec<u32>,
    /// Rows of the decoder, met or not.
    decoded: usize,
}

impl Keys {
    /// The decoder of the keys that a table reads; without `'key.format'` there is none. Where no column of it is read either, it
    /// says how many rows a record is.
    ///
    /// # Errors
    /// When the format cannot decode the columns.
    pub(super) fn new(
        spec: &KafkaSource,
        lookup: Option<Arc<dyn SchemaLookup>>,
    ) -> Result<Option<Keys>, FormatError> {
        let Some(key) = &spec.key else {
            return Ok(None);
        };
        let columns = spec.columns.iter().filter_map(|column| match column {
            SourceColumn::Key(index) => Some(*index),
            SourceColumn::Value(_) | SourceColumn::Metadata(_) | SourceColumn::Appended => None,
        });
        let columns: Vec<usize> = columns.collect();
        let decoder = lw_formats::decoder(&key.format, &key.schema, &columns, lookup)?;
        Ok(Some(Keys {
            decoder,
            of_key: Met::default(),
            of_value: Met::default(),
        }))
    }

    /// Decodes a record whose value `values` decodes.
    pub(super) fn push(
        &mut self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        values: &mut dyn Decoder,
    ) -> Result<Decoded, DecodeError> {
        let key = self.decoder.push(key).map_err(|error| DecodeError {
            message: format!("the key: {}", error.message),
            ..error
        })?;
        let first_key = self.of_key.decodes(key.rows);
        let value = values.push(value)?;
        let first_value = self.of_value.decodes(value.rows);
        for of_value in 0..value.rows {
            for of_key in 0..key.rows {
                self.of_key.meets(first_key + of_key);
                self.of_value.meets(first_value + of_value);
            }
        }
        Ok(Decoded {
            rows: key.rows * value.rows,
            ignored: key.ignored + value.ignored,
            rounded: key.rounded + value.rounded,
        })
    }

    /// The columns of the keys and, beside them, those of the values.
    pub(super) fn finish(
        &mut self,
        values: Vec<ArrayRef>,
    ) -> Result<(Vec<ArrayRef>, Vec<ArrayRef>), ArrowError> {
        let keys = self.decoder.finish().columns().to_vec();
        let of_key = std::mem::take(&mut self.of_key);
        let of_value = std::mem::take(&mut self.of_value);
        Ok((of_key.bring(keys)?, of_value.bring(values)?))
    }
}

impl Met {
    /// So many more rows were decoded; the number of the first.
    fn decodes(&mut self, rows: usize) -> usize {
        let first = self.decoded;
        self.decoded += rows;
        first
    }

    fn meets(&mut self, row: usize) {
        let row = u32::try_from(row).expect("a piece has few rows");
        self.rows.push(row);
    }

    fn bring(self, columns: Vec<ArrayRef>) -> Result<Vec<ArrayRef>, ArrowError> {
        let all = (0..)
            .zip(&self.rows)
            .all(|(at, row): (u32, &u32)| at == *row);
        if all && self.rows.len() == self.decoded {
            return Ok(columns);
        }
        let rows = UInt32Array::from(self.rows);
        columns
            .iter()
            .map(|column| take(column, &rows, None))
            .collect()
    }
}

#[cfg(test)]
mod tests;
