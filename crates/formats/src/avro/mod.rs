//! Avro: bare records whose schema is the table's (`avro`), and records framed with a registry id (`avro-confluent`).
//!
//! Both are one machine. A [`plan`](plan::plan) says for each field of the *writer's* schema which column it goes to or
//! how it is passed over; executing it appends to the columns. Bare `avro` has one plan, of the schema that Flink derives
//! from the DDL; `avro-confluent` has one per writer's id:
//!
//! ```text
//! avro             value
//! avro-confluent   00 | id, 4 bytes big-endian | value
//! ```
//!
//! A record must end where its value ends. A bare record read with a wrong DDL, or a framed one read as bare, usually
//! does not, and so is caught instead of becoming a wrong row.

mod columns;
mod cursor;
mod derive;
mod plan;
mod read;

pub use columns::{registered_columns, why_unreadable};
pub use derive::derived_schema;

use crate::error::{DecodeError, FormatError};
use crate::rows::Rows;
use crate::{Decoded, Decoder};
use arrow_array::RecordBatch;
use cursor::Cursor;
use lw_graph::{Field, Schema};
use lw_schemas::avro::ParseOptions;
use lw_schemas::{AvroSchema, SchemaLookup};
use plan::RecordPlan;
use std::collections::HashMap;
use std::sync::Arc;

/// Why the bytes of a record are not what the writer's schema says.
#[derive(Debug)]
enum Fault {
    Truncated,
    /// A number with more bytes or bits than its type has.
    Overlong,
    Boolean(u8),
    Length(i64),
    Union {
        index: i64,
        branches: usize,
    },
    Symbol(i64),
    Utf8,
    EmptyDecimal,
    Decimal,
    Time,
    MapKey,
    TooManyItems,
    TooManySteps,
    TooDeep,
    BatchFull,
    Unresolved(Box<str>),
}

impl Fault {
    fn code(&self) -> &'static str {
        match self {
            Fault::Truncated => "avro.truncated",
            Fault::Overlong => "avro.number",
            Fault::Boolean(_) => "avro.boolean",
            Fault::Length(_) => "avro.length",
            Fault::Union { .. } => "avro.union",
            Fault::Symbol(_) => "avro.enum",
            Fault::Utf8 => "avro.utf8",
            Fault::EmptyDecimal | Fault::Decimal => "avro.decimal",
            Fault::Time => "avro.time",
            Fault::MapKey => "avro.map_key",
            Fault::TooManyItems | Fault::TooManySteps => "avro.items",
            Fault::TooDeep => "avro.depth",
            Fault::BatchFull => "avro.size",
            Fault::Unresolved(_) => "avro.resolution",
        }
    }

    fn reason(&self) -> String {
        match self {
            Fault::Truncated => "the record ends within it".to_string(),
            Fault::Overlong => "a number is longer than its type allows".to_string(),
            Fault::Boolean(byte) => format!("a boolean is 0 or 1, not {byte}"),
            Fault::Length(length) => format!("a length cannot be {length}"),
            Fault::Union { index, branches } => {
                format!("a union of {branches} branches has no branch {index}")
            }
            Fault::Symbol(index) => format!("the enum has no symbol {index}"),
            Fault::Utf8 => "a string is not UTF-8".to_string(),
            Fault::EmptyDecimal => "a decimal without digits".to_string(),
            Fault::Decimal => "a decimal does not fit the declared type".to_string(),
            Fault::Time => "a time is out of range".to_string(),
            Fault::MapKey => "a map has the same key twice".to_string(),
            Fault::TooManyItems => {
                "an array or map claims more items than the record can hold".to_string()
            }
            Fault::TooManySteps => {
                "by the writer's schema it holds more values than its bytes can".to_string()
            }
            Fault::TooDeep => "values are nested too deep".to_string(),
            Fault::BatchFull => "the value does not fit into one batch".to_string(),
            Fault::Unresolved(reason) => reason.to_string(),
        }
    }
}

/// A writer's schema and what to do with its records.
struct Compiled {
    writer: AvroSchema,
    plan: RecordPlan,
}

impl Compiled {
    /// Reads one record that takes all of `bytes`; leaves nothing of it behind on an error.
    fn read(&self, bytes: &[u8], rows: &mut Rows) -> Result<Decoded, DecodeError> {
        let mut cursor = Cursor::new(bytes);
        let mut at = 0;
        let outcome = read::record(
            &self.plan,
            &self.writer,
            &mut cursor,
            &mut rows.columns,
            &mut at,
        );
        let error = match outcome {
            Ok(()) if cursor.left() == 0 => {
                rows.commit();
                return Ok(Decoded {
                    rounded: cursor.rounded,
                    ..Decoded::rows(1)
                });
            }
            Ok(()) => DecodeError::new(
                "avro.trailing",
                format!(
                    "{} bytes are left after the record; its writer used another schema",
                    cursor.left()
                ),
            ),
            Err(fault) => DecodeError::new(
                fault.code(),
                format!(
                    "field '{}', at byte {} of {}: {}",
                    self.plan.fields.get(at).map_or("", |field| &field.name),
                    bytes.len() - cursor.left(),
                    bytes.len(),
                    fault.reason()
                ),
            ),
        };
        rows.rollback(rows.rows);
        Err(error)
    }
}

/// Decoder of `'format' = 'avro'`.
pub(crate) fn bare(
    schema: &Schema,
    projection: &[usize],
    legacy_timestamps: bool,
) -> Result<Box<dyn Decoder>, FormatError> {
    let writer = writer_of(schema, legacy_timestamps)?;
    let (rows, fields) = Rows::new(schema, projection);
    let plan = plan::plan(&writer, &fields).map_err(FormatError::new)?;
    let compiled = Compiled { writer, plan };
    Ok(Box::new(Bare { compiled, rows }))
}

/// The derived schema, parsed: this is where names that Avro does not allow are found.
fn writer_of(schema: &Schema, legacy_timestamps: bool) -> Result<AvroSchema, FormatError> {
    let text = derived_schema(schema, legacy_timestamps)?;
    AvroSchema::parse(&text).map_err(|error| {
        FormatError::new("the columns do not make an Avro schema")
            .detail(format!("{}.", error.message))
            .hint("rename the column: Avro names hold letters, digits and '_', and do not begin with a digit")
    })
}

struct Bare {
    compiled: Compiled,
    rows: Rows,
}

impl Decoder for Bare {
    fn push(&mut self, value: Option<&[u8]>) -> Result<Decoded, DecodeError> {
        match value {
            Some(bytes) => self.compiled.read(bytes, &mut self.rows),
            None => Ok(Decoded::rows(0)),
        }
    }

    fn len(&self) -> usize {
        self.rows.rows
    }

    fn finish(&mut self) -> RecordBatch {
        self.rows.finish()
    }
}

/// Decoder of `'format' = 'avro-confluent'`.
pub(crate) fn confluent(
    schema: &Schema,
    projection: &[usize],
    lookup: Option<Arc<dyn SchemaLookup>>,
) -> Result<Box<dyn Decoder>, FormatError> {
    let Some(lookup) = lookup else {
        return Err(
            FormatError::new("format 'avro-confluent' needs a schema registry")
                .hint("set 'avro-confluent.url' to the registry's address"),
        );
    };
    // Flink refuses here what it refuses for bare avro, whatever the writer's schema is.
    writer_of(schema, true)?;
    let (rows, fields) = Rows::new(schema, projection);
    Ok(Box::new(Confluent {
        lookup,
        fields,
        compiled: Vec::new(),
        known: HashMap::new(),
        last: None,
        rows,
    }))
}

struct Confluent {
    lookup: Arc<dyn SchemaLookup>,
    fields: Vec<Field>,
    /// What is known of writers; the error is why none of a writer's records can be read.
    compiled: Vec<Result<Compiled, DecodeError>>,
    /// By the writer's id, where in `compiled` it is.
    known: HashMap<u32, usize>,
    /// The writer of the last record, with its place: most records have the writer of the one before.
    last: Option<(u32, usize)>,
    rows: Rows,
}

impl Confluent {
    /// Where the writer of this id is in `compiled`.
    fn writer(&mut self, id: u32) -> Result<usize, DecodeError> {
        if let Some((last, at)) = self.last
            && last == id
        {
            return Ok(at);
        }
        let at = match self.known.get(&id) {
            Some(at) => *at,
            None => {
                self.compiled.push(self.compile(id)?);
                let at = self.compiled.len() - 1;
                self.known.insert(id, at);
                at
            }
        };
        self.last = Some((id, at));
        Ok(at)
    }

    fn compile(&self, id: u32) -> Result<Result<Compiled, DecodeError>, DecodeError> {
        let Some(text) = self.lookup.schema_by_id(id) else {
            // Not remembered: it may be registered by the time the record is replayed.
            return Err(DecodeError::new(
                "avro.unknown_schema",
                format!("the registry has no schema with id {id}"),
            ));
        };
        let options = ParseOptions {
            validate_defaults: false,
            ..ParseOptions::default()
        };
        let unreadable =
            |reason: String| DecodeError::new("avro.resolution", format!("schema {id}: {reason}"));
        let compiled = AvroSchema::parse_with(&text, &[], options)
            .map_err(|error| unreadable(error.to_string()))
            .and_then(|writer| {
                let plan = plan::plan(&writer, &self.fields).map_err(unreadable)?;
                Ok(Compiled { writer, plan })
            });
        Ok(compiled)
    }
}

impl Decoder for Confluent {
    fn push(&mut self, value: Option<&[u8]>) -> Result<Decoded, DecodeError> {
        let Some(bytes) = value else {
            return Ok(Decoded::rows(0));
        };
        let Some((&[magic, a, b, c, d], payload)) = bytes.split_first_chunk::<5>() else {
            return Err(DecodeError::new(
                "avro.frame",
                format!("{} bytes are too few for a schema id", bytes.len()),
            ));
        };
        if magic != 0 {
            return Err(DecodeError::new(
                "avro.frame",
                format!("the first byte is {magic}, not 0: the record does not carry a schema id"),
            ));
        }
        let id = u32::from_be_bytes([a, b, c, d]);
        let at = self.writer(id)?;
        match &self.compiled[at] {
            Ok(compiled) => compiled.read(payload, &mut self.rows),
            Err(error) => Err(error.clone()),
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
