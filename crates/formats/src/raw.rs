//! `raw`: the value's bytes as they are, in the table's only column.

use crate::column::Column;
use crate::error::{DecodeError, FormatError};
use crate::rows::Rows;
use crate::{Decoded, Decoder};
use arrow_array::RecordBatch;
use lw_graph::Schema;

/// Decoder of `'format' = 'raw'`.
pub(crate) fn decoder(
    schema: &Schema,
    projection: &[usize],
) -> Result<Box<dyn Decoder>, FormatError> {
    let [field] = schema.fields.as_slice() else {
        return Err(FormatError::new(format!(
            "format 'raw' reads exactly one column, the table has {}",
            schema.fields.len()
        ))
        .detail("The whole value of a record is that column.")
        .hint("declare one column of type BYTES or STRING beside the metadata columns"));
    };
    let kind = &field.ty.kind;
    if !kind.is_character() && !kind.is_binary() {
        return Err(FormatError::new(format!(
            "column '{}' of type {kind} cannot be read from raw",
            field.name
        ))
        .detail("Only BYTES and STRING are supported.")
        .hint(format!("declare `{}` BYTES or STRING", field.name)));
    }
    let text = kind.is_character();
    let (rows, _) = Rows::new(schema, projection);
    Ok(Box::new(Raw { text, rows }))
}

struct Raw {
    text: bool,
    rows: Rows,
}

impl Decoder for Raw {
    /// A tombstone is a row of NULL, as in Flink.
    fn push(&mut self, value: Option<&[u8]>) -> Result<Decoded, DecodeError> {
        if self.text && value.is_some_and(|bytes| std::str::from_utf8(bytes).is_err()) {
            return Err(DecodeError::new("raw.utf8", "the value is not UTF-8"));
        }
        if let [column] = self.rows.columns.as_mut_slice() {
            append(column, value)?;
        }
        self.rows.commit();
        Ok(Decoded::rows(1))
    }

    fn len(&self) -> usize {
        self.rows.rows
    }

    fn finish(&mut self) -> RecordBatch {
        self.rows.finish()
    }
}

fn append(column: &mut Column, value: Option<&[u8]>) -> Result<(), DecodeError> {
    match value {
        Some(bytes) => {
            let rows = column.len();
            column.push_bytes(bytes).map_err(|_| {
                column.truncate(rows);
                DecodeError::new("raw.size", "the value does not fit into one batch")
            })
        }
        None if column.nullable => {
            column.push_null();
            Ok(())
        }
        None => Err(DecodeError::new(
            "raw.null",
            "the record has no value, which the table declares NOT NULL",
        )),
    }
}

#[cfg(test)]
mod tests;
