//! The Avro schema that Flink derives from a table's columns (`AvroSchemaConverter`), and what it refuses.
//!
//! For bare `avro` this schema *is* the writer's: nothing in the record says otherwise. So it must be Flink's to the
//! letter, union orders included:
//!
//! ```text
//! s STRING            {"name":"s","type":["null","string"],"default":null}
//! s STRING NOT NULL   {"name":"s","type":"string"}
//! r ROW<x INT>        {"name":"r","type":["null",{"type":"record","name":"record_r","fields":[…]}],"default":null}
//! ```

use crate::error::FormatError;
use lw_graph::{Field, LogicalType, Schema, TypeKind};
use lw_schemas::json::write_string;
use std::fmt::Write;

const ROOT: &str = "record";
const NAMESPACE: &str = "org.apache.flink.avro.generated";

/// The text of the schema derived from the columns. `legacy_timestamps` is `'avro.timestamp_mapping.legacy'`.
///
/// # Errors
/// [`FormatError`] naming the column whose type Avro cannot carry, with Flink's reason.
pub fn derived_schema(schema: &Schema, legacy_timestamps: bool) -> Result<String, FormatError> {
    let mut writer = Writer {
        out: String::new(),
        legacy_timestamps,
    };
    writer.record(ROOT, Some(NAMESPACE), &schema.fields)?;
    Ok(writer.out)
}

struct Writer {
    out: String,
    legacy_timestamps: bool,
}

impl Writer {
    fn record(
        &mut self,
        name: &str,
        namespace: Option<&str>,
        fields: &[Field],
    ) -> Result<(), FormatError> {
        self.out.push_str(r#"{"type":"record","name":"#);
        write_string(name, &mut self.out);
        if let Some(namespace) = namespace {
            let _ = write!(self.out, r#","namespace":"{namespace}""#);
        }
        self.out.push_str(r#","fields":["#);
        for (i, field) in fields.iter().enumerate() {
            if i > 0 {
                self.out.push(',');
            }
            self.field(name, field)?;
        }
        self.out.push_str("]}");
        Ok(())
    }

    fn field(&mut self, record: &str, field: &Field) -> Result<(), FormatError> {
        self.out.push_str(r#"{"name":"#);
        write_string(&field.name, &mut self.out);
        self.out.push_str(r#","type":"#);
        self.nullable(&format!("{record}_{}", field.name), &field.ty)
            .map_err(|reason| refuse(field, reason))?;
        if field.ty.nullable {
            self.out.push_str(r#","default":null"#);
        }
        self.out.push('}');
        Ok(())
    }

    fn nullable(&mut self, name: &str, ty: &LogicalType) -> Result<(), Reason> {
        if !ty.nullable {
            return self.kind(name, &ty.kind);
        }
        self.out.push_str(r#"["null","#);
        self.kind(name, &ty.kind)?;
        self.out.push(']');
        Ok(())
    }

    /// `name` is what a record here is called.
    fn kind(&mut self, name: &str, kind: &TypeKind) -> Result<(), Reason> {
        match kind {
            TypeKind::Boolean => self.primitive("boolean"),
            TypeKind::TinyInt | TypeKind::SmallInt | TypeKind::Int => self.primitive("int"),
            TypeKind::BigInt => self.primitive("long"),
            TypeKind::Float => self.primitive("float"),
            TypeKind::Double => self.primitive("double"),
            TypeKind::Char(_) | TypeKind::Varchar(_) => self.primitive("string"),
            TypeKind::Binary(_) | TypeKind::Varbinary(_) => self.primitive("bytes"),
            TypeKind::Decimal { precision, scale } => {
                let _ = write!(
                    self.out,
                    r#"{{"type":"bytes","logicalType":"decimal","precision":{precision},"scale":{scale}}}"#
                );
            }
            TypeKind::Date => self.logical("int", "date"),
            TypeKind::Time(0..=3) => self.logical("int", "time-millis"),
            TypeKind::Time(p) => return Err(too_precise("TIME", *p, 3)),
            TypeKind::Timestamp(p) => self.timestamp(*p)?,
            TypeKind::TimestampLtz(p) => self.instant(*p, kind)?,
            TypeKind::Array(of) => {
                self.out.push_str(r#"{"type":"array","items":"#);
                self.nullable(name, of)?;
                self.out.push('}');
            }
            TypeKind::Map(key, _) if !key.kind.is_character() => {
                return Err(Reason::Type(format!(
                    "Avro format doesn't support non-string as key type of map. The key type is: {}",
                    key.kind
                )));
            }
            TypeKind::Map(_, value) => {
                self.out.push_str(r#"{"type":"map","values":"#);
                self.nullable(name, value)?;
                self.out.push('}');
            }
            TypeKind::Row(fields) => self.record(name, None, fields).map_err(Reason::Inner)?,
            TypeKind::Null | TypeKind::IntervalMonths | TypeKind::IntervalMillis => {
                return Err(underivable(kind));
            }
        }
        Ok(())
    }

    fn timestamp(&mut self, p: u8) -> Result<(), Reason> {
        match (self.legacy_timestamps, p) {
            (true, 0..=3) => self.logical("long", "timestamp-millis"),
            (true, p) => return Err(too_precise("TIMESTAMP", p, 3)),
            (false, 0..=3) => self.logical("long", "local-timestamp-millis"),
            (false, 4..=6) => self.logical("long", "local-timestamp-micros"),
            (false, p) => return Err(too_precise("LOCAL TIMESTAMP", p, 6)),
        }
        Ok(())
    }

    fn instant(&mut self, p: u8, kind: &TypeKind) -> Result<(), Reason> {
        match (self.legacy_timestamps, p) {
            (true, _) => return Err(underivable(kind)),
            (false, 0..=3) => self.logical("long", "timestamp-millis"),
            (false, 4..=6) => self.logical("long", "timestamp-micros"),
            (false, p) => return Err(too_precise("TIMESTAMP", p, 6)),
        }
        Ok(())
    }

    fn primitive(&mut self, word: &str) {
        let _ = write!(self.out, r#""{word}""#);
    }

    fn logical(&mut self, word: &str, logical: &str) {
        let _ = write!(self.out, r#"{{"type":"{word}","logicalType":"{logical}"}}"#);
    }
}

/// Why a type has no Avro schema: its own reason, or that of a column inside it, which names itself.
enum Reason {
    Type(String),
    Inner(FormatError),
}

fn too_precise(what: &str, precision: u8, most: u8) -> Reason {
    Reason::Type(format!(
        "Avro does not support {what} type with precision: {precision}, it only supports precision less than {most}."
    ))
}

fn underivable(kind: &TypeKind) -> Reason {
    Reason::Type(format!("Unsupported to derive Schema for type: {kind}"))
}

fn refuse(field: &Field, reason: Reason) -> FormatError {
    match reason {
        Reason::Inner(error) => error,
        Reason::Type(detail) => {
            let error = FormatError::new(format!(
                "column '{}' of type {} cannot be read from avro",
                field.name, field.ty.kind
            ))
            .detail(detail);
            match &field.ty.kind {
                TypeKind::TimestampLtz(_) | TypeKind::Timestamp(4..=6) => error.hint(format!(
                    "declare `{}` TIMESTAMP(3), or set 'avro.timestamp_mapping.legacy' = 'false' where the producer used the newer mapping",
                    field.name
                )),
                _ => error,
            }
        }
    }
}
