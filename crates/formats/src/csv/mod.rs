//! CSV: a record is one row, as Flink's Kafka source reads it (captured from Flink 2.3.0, see `tests.rs`).
//!
//! 1. `fields.rs` takes one field after the other off the record: quotes and escapes are undone in a buffer, a plain field
//!    is a piece of the record.
//! 2. Each field is converted by the type of the column at its place, and at once put into it; fields of columns that the
//!    plan does not need are passed over, whatever they hold.
//! 3. Behind the row nothing may follow but ends of lines. Flink reads the first row and drops the rest without a word.

mod fields;
mod value;

use crate::arrow::MAX_FRACTION;
use crate::error::{DecodeError, FormatError};
use crate::rows::Rows;
use crate::{Decoded, Decoder};
use arrow_array::RecordBatch;
use fields::{Fields, Syntax};
use lw_graph::{CsvSpec, Field, LogicalType, Schema, TypeKind};
use value::{Fault, Reader};

/// Decoder of `'format' = 'csv'`.
pub(crate) fn decoder(
    schema: &Schema,
    projection: &[usize],
    spec: &CsvSpec,
) -> Result<Box<dyn Decoder>, FormatError> {
    if spec.quote.is_some_and(|quote| quote == spec.delimiter) {
        return Err(FormatError::new(format!(
            "'{}' cannot both quote a field and stand between two",
            spec.delimiter
        ))
        .hint("set 'csv.field-delimiter' or 'csv.quote-character' to another character"));
    }
    for field in &schema.fields {
        check(field)?;
    }
    let (rows, fields) = Rows::new(schema, projection);
    let column_of = |name: &str| fields.iter().position(|field| field.name == name);
    let places = schema.fields.iter().map(|field| column_of(&field.name));
    Ok(Box::new(Csv {
        places: places.collect(),
        types: fields,
        spec: spec.clone(),
        rows,
    }))
}

fn check(column: &Field) -> Result<(), FormatError> {
    let nested = match &column.ty.kind {
        TypeKind::Array(of) => std::slice::from_ref(&**of).iter().collect(),
        TypeKind::Row(fields) => fields.iter().map(|field| &field.ty).collect(),
        _ => {
            return match unreadable(&column.ty) {
                Some(why) => Err(refuse(column, why)),
                None => Ok(()),
            };
        }
    };
    let nested: Vec<&LogicalType> = nested;
    let deep = |ty: &&LogicalType| matches!(ty.kind, TypeKind::Array(_) | TypeKind::Row(_));
    if let Some(ty) = nested.iter().copied().find(deep) {
        let why = format!(
            "Only simple types are supported in the second level nesting, not {}.",
            ty.kind
        );
        return Err(refuse(column, why));
    }
    let why = nested.into_iter().find_map(unreadable);
    why.map_or(Ok(()), |why| Err(refuse(column, why)))
}

fn refuse(column: &Field, why: String) -> FormatError {
    FormatError::new(format!(
        "column '{}' of type {} cannot be read from csv",
        column.name, column.ty.kind
    ))
    .detail(why)
}

/// Why no field becomes a value of this type, which is not nested.
fn unreadable(ty: &LogicalType) -> Option<String> {
    match &ty.kind {
        TypeKind::Time(p) if *p > 3 => Some(format!(
            "Csv does not support TIME type with precision: {p}, it only supports precision 0 ~ 3."
        )),
        TypeKind::Timestamp(p) | TypeKind::TimestampLtz(p) if *p > MAX_FRACTION => {
            Some("At most 6 digits of a second are kept.".to_string())
        }
        TypeKind::Map(..)
        | TypeKind::Null
        | TypeKind::IntervalMonths
        | TypeKind::IntervalMillis => Some(format!("There is no CSV for {}.", ty.kind)),
        _ => None,
    }
}

struct Csv {
    spec: CsvSpec,
    /// By place in the row: which of the columns it is, if any.
    places: Vec<Option<usize>>,
    /// Of the columns.
    types: Vec<Field>,
    rows: Rows,
}

impl Csv {
    /// Reads the row; what it leaves behind on an error is the caller's to take back.
    fn row(&mut self, text: &str) -> Result<Decoded, DecodeError> {
        let mut fields = Fields::new(text, &self.spec);
        if self.spec.comments {
            fields.pass_comments();
        }
        if fields.is_at_end() {
            return Err(DecodeError::new("csv.empty", "the record holds no row"));
        }
        let mut reader = Reader {
            spec: &self.spec,
            ignored: 0,
        };
        let width = self.places.len();
        let mut count = 0;
        let mut first = true;
        while let Some(field) = fields.next(first).map_err(malformed)? {
            first = false;
            match self.places.get(count) {
                Some(Some(column)) => {
                    let (of, column) = (&self.types[*column], &mut self.rows.columns[*column]);
                    let converted = reader.field(&field, &of.ty, column);
                    converted.map_err(|fault| explain(fault, &of.name))?;
                }
                Some(None) => {}
                // A delimiter may follow the last field, but nothing behind it.
                None if count == width && field.trim().is_empty() => {}
                None => return Err(too_many(width)),
            }
            count += 1;
        }
        if count < width {
            if !self.spec.ignore_parse_errors {
                let message =
                    format!("Row length mismatch. {width} fields expected but was {count}.");
                return Err(DecodeError::new("csv.width", message));
            }
            for column in self.places[count..].iter().flatten() {
                let fault = reader.missing(&mut self.rows.columns[*column]);
                fault.map_err(|fault| explain(fault, &self.types[*column].name))?;
            }
            reader.ignored += 1;
        }
        if !fields.only_blanks_follow() {
            if !self.spec.ignore_parse_errors {
                let message = "more follows the row: a record is one row";
                return Err(DecodeError::new("csv.trailing", message));
            }
            reader.ignored += 1;
        }
        let ignored = reader.ignored;
        self.rows.commit();
        Ok(Decoded {
            ignored,
            ..Decoded::rows(1)
        })
    }
}

/// Flink's words where it has some.
fn explain(fault: Fault, field: &str) -> DecodeError {
    match fault {
        Fault::Field => DecodeError::new(
            "csv.field",
            format!("Fail to deserialize at field: {field}."),
        ),
        Fault::Null => DecodeError::new(
            "csv.null",
            format!("field '{field}' is declared NOT NULL and has no value"),
        ),
        Fault::BatchFull => DecodeError::new("csv.size", "the value does not fit into one batch"),
    }
}

fn too_many(width: usize) -> DecodeError {
    DecodeError::new(
        "csv.width",
        format!("Too many entries: expected at most {width}"),
    )
}

fn malformed(syntax: Syntax) -> DecodeError {
    DecodeError::new(
        "csv.syntax",
        format!("{}, at byte {}", syntax.reason, syntax.at),
    )
}

impl Decoder for Csv {
    fn push(&mut self, value: Option<&[u8]>) -> Result<Decoded, DecodeError> {
        let Some(bytes) = value else {
            return Ok(Decoded::rows(0));
        };
        let rows = self.rows.rows;
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let decoded = match std::str::from_utf8(bytes) {
            Ok(text) => self.row(text),
            Err(error) => {
                let message = format!("the record is not UTF-8, from byte {}", error.valid_up_to());
                Err(DecodeError::new("csv.utf8", message))
            }
        };
        if decoded.is_err() {
            self.rows.rollback(rows);
        }
        match decoded {
            Err(_) if self.spec.ignore_parse_errors => Ok(Decoded {
                ignored: 1,
                ..Decoded::default()
            }),
            decoded => decoded,
        }
    }

    fn len(&self) -> usize {
        self.rows.rows
    }

    fn finish(&mut self) -> RecordBatch {
        self.rows.finish()
    }
}

#[cfg(test)]
mod tests;
