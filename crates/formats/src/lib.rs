//! Bytes to Arrow: how the value of a record becomes columns.
//!
//! A [`Decoder`] is made for one source: the format, the columns of the DDL and which of them the plan needs. It appends
//! rows to typed columns as records come in and hands them over as one `RecordBatch`. Nothing is parsed that the plan does
//! not ask for.
//!
//! What it is not: it reads no topics and knows no offsets; a record that cannot be decoded is an error of that record and
//! the caller keeps its bytes. It writes no format.
//!
//! Read first: [`Decoder`], [`decoder`], `Column` (rows that can be taken back).
//!
//! Invariants: after a failed [`Decoder::push`] the decoder is as if that record had never come; whatever bytes a record
//! holds, decoding ends in time and memory proportional to its length, and never panics.
//!
//! Layer L1.

mod arrow;
mod avro;
mod column;
mod csv;
mod error;
#[cfg(test)]
mod hostile;
mod json;
mod raw;
mod rows;
pub mod text;

pub use arrow::{arrow_field, arrow_schema, arrow_type};
pub use avro::{derived_schema, registered_columns, why_unreadable};
pub use error::{DecodeError, FormatError};
pub use json::tree::{Json, Member, write_json_string};

use arrow_array::RecordBatch;
use lw_graph::{FormatSpec, Schema};
use lw_schemas::SchemaLookup;
use std::sync::Arc;

/// Turns the values of records into columns.
pub trait Decoder: Send {
    /// Appends the rows of one record; `None` is a record without a value (a tombstone).
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are not what the format says. No trace of the record is left.
    fn push(&mut self, value: Option<&[u8]>) -> Result<Decoded, DecodeError>;

    /// Rows since the last [`Decoder::finish`].
    fn len(&self) -> usize;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Hands the rows over and starts anew.
    fn finish(&mut self) -> RecordBatch;
}

/// What one record gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// 0 for a tombstone, more than 1 for a JSON array of rows.
    pub rows: usize,
    /// Fields set to NULL and rows left out because the script says to ignore errors (`'json.ignore-parse-errors' = 'true'`).
    pub ignored: usize,
    /// Decimals that had more digits behind the point than their columns, none of them 0 only: they were rounded.
    pub rounded: usize,
}

impl Decoded {
    pub(crate) fn rows(rows: usize) -> Decoded {
        Decoded {
            rows,
            ..Decoded::default()
        }
    }
}

/// Makes the decoder for the columns `projection` (indexes into `schema`, in the order of the output) of records whose
/// value holds the columns of `schema`. `lookup` finds the writer's schemas of `avro-confluent`.
///
/// # Errors
/// [`FormatError`] when the format cannot carry a column's type (as Flink refuses it), or needs what is not there.
pub fn decoder(
    format: &FormatSpec,
    schema: &Schema,
    projection: &[usize],
    lookup: Option<Arc<dyn SchemaLookup>>,
) -> Result<Box<dyn Decoder>, FormatError> {
    match format {
        FormatSpec::Avro { legacy_timestamps } => {
            avro::bare(schema, projection, *legacy_timestamps)
        }
        FormatSpec::AvroConfluent { .. } => avro::confluent(schema, projection, lookup),
        FormatSpec::Json {
            fail_on_missing_field,
            ignore_parse_errors,
            iso_timestamps,
        } => json::decoder(
            schema,
            projection,
            json::Options {
                fail_on_missing_field: *fail_on_missing_field,
                ignore_parse_errors: *ignore_parse_errors,
                iso_timestamps: *iso_timestamps,
            },
        ),
        FormatSpec::Csv(spec) => csv::decoder(schema, projection, spec),
        FormatSpec::Raw => raw::decoder(schema, projection),
    }
}
