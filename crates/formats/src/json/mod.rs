//! JSON, with Flink's reading of it (research: captured from Flink 2.3.0, see `tests.rs`).
//!
//! One pass over the record: keys are matched to columns as they come, values go straight into the columns, everything
//! else is passed over. There is no tree of values.
//!
//! Where Flink loses something without a word, we do not: bytes after the document, `{"i":1}{"i":2}`, fail the record, and
//! elements of a top-level array after a bad one are still read when errors are ignored.

mod scalar;
mod scan;
pub(crate) mod tree;
mod value;

use crate::arrow::MAX_FRACTION;
use crate::error::{DecodeError, FormatError};
use crate::rows::Rows;
use crate::{Decoded, Decoder};
use arrow_array::RecordBatch;
use lw_graph::{Field, LogicalType, Schema, TypeKind};
use scan::{Scanner, Syntax};
use value::{Fault, Members, Reader};

/// The options of `'format' = 'json'` that matter for reading.
pub(crate) struct Options {
    pub(crate) fail_on_missing_field: bool,
    pub(crate) ignore_parse_errors: bool,
    pub(crate) iso_timestamps: bool,
}

/// Decoder of `'format' = 'json'`.
pub(crate) fn decoder(
    schema: &Schema,
    projection: &[usize],
    options: Options,
) -> Result<Box<dyn Decoder>, FormatError> {
    if options.fail_on_missing_field && options.ignore_parse_errors {
        return Err(FormatError::new(
            "fail-on-missing-field and ignore-parse-errors shouldn't both be true.",
        )
        .hint("remove one of 'json.fail-on-missing-field' and 'json.ignore-parse-errors'"));
    }
    for field in &schema.fields {
        check(field, &field.ty)?;
    }
    let (rows, fields) = Rows::new(schema, projection);
    Ok(Box::new(Json {
        options,
        members: Members::new(&fields),
        rows,
    }))
}

fn check(column: &Field, ty: &LogicalType) -> Result<(), FormatError> {
    let refuse = |detail: String| {
        Err(FormatError::new(format!(
            "column '{}' of type {} cannot be read from json",
            column.name, column.ty.kind
        ))
        .detail(detail))
    };
    match &ty.kind {
        TypeKind::Time(p) | TypeKind::Timestamp(p) | TypeKind::TimestampLtz(p)
            if *p > MAX_FRACTION =>
        {
            refuse("At most 6 digits of a second are kept.".to_string())
        }
        TypeKind::Null | TypeKind::IntervalMonths | TypeKind::IntervalMillis => {
            refuse(format!("There is no JSON for {}.", ty.kind))
        }
        TypeKind::Array(of) => check(column, of),
        TypeKind::Map(key, _) if !key.kind.is_character() => refuse(format!(
            "JSON format doesn't support non-string as key type of map. The type is: {}",
            ty.kind
        )),
        TypeKind::Map(_, of) => check(column, of),
        TypeKind::Row(fields) => fields.iter().try_for_each(|field| check(column, &field.ty)),
        _ => Ok(()),
    }
}

struct Json {
    options: Options,
    members: Members,
    rows: Rows,
}

impl Json {
    /// Reads one object as one row; leaves nothing of it behind on an error.
    fn object(&mut self, scanner: &mut Scanner<'_>) -> Result<usize, DecodeError> {
        let mut reader = Reader {
            options: &self.options,
            ignored: 0,
            field: None,
        };
        match reader.members(scanner, &mut self.members, &mut self.rows.columns) {
            Ok(()) => {
                self.rows.commit();
                Ok(reader.ignored)
            }
            Err(fault) => {
                let field = reader.field.unwrap_or_default();
                self.rows.rollback(self.rows.rows);
                Err(explain(&fault, &field))
            }
        }
    }

    /// An array of rows. When errors are ignored a bad element is left out and the rest is read.
    fn array(&mut self, scanner: &mut Scanner<'_>) -> Result<Decoded, DecodeError> {
        let mut decoded = Decoded::default();
        scanner
            .expect(b'[', "'[' was expected")
            .map_err(malformed)?;
        if scanner.eat(b']') {
            return Ok(decoded);
        }
        loop {
            scanner.blanks();
            let start = scanner.at();
            match self.element(scanner) {
                Ok(ignored) => {
                    decoded.rows += 1;
                    decoded.ignored += ignored;
                }
                Err(error) if !self.options.ignore_parse_errors => return Err(error),
                Err(_) => {
                    decoded.ignored += 1;
                    scanner.go(start);
                    scanner.skip().map_err(malformed)?;
                }
            }
            if scanner.eat(b']') {
                return Ok(decoded);
            }
            scanner
                .expect(b',', "',' or ']' was expected")
                .map_err(malformed)?;
        }
    }

    fn element(&mut self, scanner: &mut Scanner<'_>) -> Result<usize, DecodeError> {
        match scanner.peek() {
            Some(b'{') => self.object(scanner),
            _ => Err(not_a_row()),
        }
    }

    fn document(&mut self, bytes: &[u8]) -> Result<Decoded, DecodeError> {
        let mut scanner = Scanner::new(bytes);
        let decoded = match scanner.peek() {
            Some(b'{') => Decoded {
                ignored: self.object(&mut scanner)?,
                ..Decoded::rows(1)
            },
            Some(b'[') => self.array(&mut scanner)?,
            _ => return Err(not_a_row()),
        };
        match scanner.peek() {
            None => Ok(decoded),
            Some(_) => Err(DecodeError::new(
                "json.trailing",
                format!("more follows the document, from byte {}", scanner.at()),
            )),
        }
    }
}

/// Flink's words where it has some.
fn explain(fault: &Fault, field: &str) -> DecodeError {
    match fault {
        Fault::Syntax(syntax) => malformed(*syntax),
        Fault::Field => DecodeError::new(
            "json.field",
            format!("Fail to deserialize at field: {field}."),
        ),
        Fault::Null => DecodeError::new(
            "json.null",
            format!("field '{field}' is declared NOT NULL and has no value"),
        ),
        Fault::Missing(name) => DecodeError::new(
            "json.missing",
            format!("field '{name}' is missing in the JSON data"),
        ),
        Fault::BatchFull => DecodeError::new("json.size", "the value does not fit into one batch"),
    }
}

fn malformed(syntax: Syntax) -> DecodeError {
    DecodeError::new(
        "json.syntax",
        format!("{}, at byte {}", syntax.reason, syntax.at),
    )
}

fn not_a_row() -> DecodeError {
    DecodeError::new("json.row", "a row is an object, not another JSON value")
}

impl Decoder for Json {
    fn push(&mut self, value: Option<&[u8]>) -> Result<Decoded, DecodeError> {
        let bytes = value.unwrap_or(&[]);
        if bytes.is_empty() {
            return Ok(Decoded::rows(0));
        }
        let rows = self.rows.rows;
        let outcome = self.document(bytes);
        if outcome.is_err() {
            self.rows.rollback(rows);
        }
        match outcome {
            Err(_) if self.options.ignore_parse_errors => Ok(Decoded {
                ignored: 1,
                ..Decoded::default()
            }),
            outcome => outcome,
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
