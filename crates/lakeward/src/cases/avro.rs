//! JSON to Avro's binary encoding, so that the records of a case can be read where they stand.
//!
//! Not Avro's own JSON encoding, which tags the branches of unions: a value goes to the first branch that takes it. Logical
//! types are written as what they are underneath (a timestamp as its number); bytes and fixed as text of code points 0 to 255.

use lw_schemas::Json;
use lw_schemas::avro::{AvroSchema, Kind, TypeId};

/// Arrays and maps are one block of all their items, and then the empty one.
const END_OF_BLOCKS: u8 = 0;

/// Encodes `json` by the schema.
///
/// # Errors
/// What does not fit, with the path to it.
pub fn encode(schema: &AvroSchema, json: &Json) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    write(schema, schema.root_id(), json, "$", &mut out)?;
    Ok(out)
}

fn write(
    schema: &AvroSchema,
    id: TypeId,
    json: &Json,
    path: &str,
    out: &mut Vec<u8>,
) -> Result<(), String> {
    let kind = &schema.get(id).kind;
    let wrong = || format!("{path}: {json} is no {}", kind.word());
    match (kind, json) {
        (Kind::Null, Json::Null) => {}
        (Kind::Boolean, Json::Bool(value)) => out.push(u8::from(*value)),
        (Kind::Int, Json::Number(_)) => {
            let value = json.as_i64().and_then(|value| i32::try_from(value).ok());
            write_long(value.ok_or_else(wrong)?.into(), out);
        }
        (Kind::Long, Json::Number(_)) => write_long(json.as_i64().ok_or_else(wrong)?, out),
        (Kind::Float, Json::Number(_)) => {
            let value: f32 = json.to_string().parse().map_err(|_| wrong())?;
            out.extend(value.to_le_bytes());
        }
        (Kind::Double, Json::Number(_)) => {
            let value: f64 = json.to_string().parse().map_err(|_| wrong())?;
            out.extend(value.to_le_bytes());
        }
        (Kind::String, Json::String(text)) => write_bytes(text.as_bytes(), out),
        (Kind::Bytes, Json::String(text)) => write_bytes(&latin(text).ok_or_else(wrong)?, out),
        (Kind::Fixed(fixed), Json::String(text)) => {
            let bytes = latin(text).filter(|bytes| bytes.len() == fixed.size);
            out.extend(bytes.ok_or_else(wrong)?);
        }
        (Kind::Enum(symbols), Json::String(text)) => {
            let mut symbols = symbols.symbols.iter();
            let index = symbols.position(|symbol| symbol == text);
            write_long(index.ok_or_else(wrong)? as i64, out);
        }
        (Kind::Array(item), Json::Array(values)) => {
            if !values.is_empty() {
                write_long(values.len() as i64, out);
            }
            for (index, value) in values.iter().enumerate() {
                write(schema, *item, value, &format!("{path}[{index}]"), out)?;
            }
            out.push(END_OF_BLOCKS);
        }
        (Kind::Map(item), Json::Object(entries)) => {
            if !entries.is_empty() {
                write_long(entries.len() as i64, out);
            }
            for (key, value) in entries {
                write_bytes(key.as_bytes(), out);
                write(schema, *item, value, &format!("{path}.{key}"), out)?;
            }
            out.push(END_OF_BLOCKS);
        }
        (Kind::Record(record), Json::Object(entries)) => {
            for field in &record.fields {
                let path = format!("{path}.{}", field.name);
                let value = json.get(&field.name).or(field.default.as_ref());
                let value = value.ok_or_else(|| format!("{path} is missing"))?;
                write(schema, field.ty, value, &path, out)?;
            }
            let known = |key: &str| record.fields.iter().any(|field| field.name == key);
            if let Some((key, _)) = entries.iter().find(|(key, _)| !known(key)) {
                return Err(format!("{path}.{key} is no field of the schema"));
            }
        }
        (Kind::Union(branches), _) => return write_branch(schema, branches, json, path, out),
        _ => return Err(wrong()),
    }
    Ok(())
}

/// Into the first branch that takes the value.
fn write_branch(
    schema: &AvroSchema,
    branches: &[TypeId],
    json: &Json,
    path: &str,
    out: &mut Vec<u8>,
) -> Result<(), String> {
    for (index, branch) in branches.iter().enumerate() {
        let mut value = Vec::new();
        if write(schema, *branch, json, path, &mut value).is_ok() {
            write_long(index as i64, out);
            out.extend(value);
            return Ok(());
        }
    }
    Err(format!("{path}: no branch of the union takes {json}"))
}

fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    write_long(bytes.len() as i64, out);
    out.extend(bytes);
}

/// Zigzag, seven bits to a byte.
fn write_long(value: i64, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Each character is a byte.
fn latin(text: &str) -> Option<Vec<u8>> {
    text.chars()
        .map(|c| u8::try_from(u32::from(c)).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(schema: &str, json: &str) -> Result<Vec<u8>, String> {
        let schema = AvroSchema::parse(schema).expect("a schema");
        encode(&schema, &Json::parse(json).expect("JSON"))
    }

    /// The bytes are those of Avro's specification, "Binary encoding".
    #[test]
    fn values_are_written_as_the_specification_says() {
        let record = r#"{"type":"record","name":"test","fields":[{"name":"a","type":"long"},{"name":"b","type":"string"}]}"#;
        let array = r#"{"type":"array","items":"long"}"#;
        let union = r#"["null","string"]"#;
        let cases: [(&str, &str, &[u8]); 11] = [
            (
                record,
                r#"{"a": 27, "b": "foo"}"#,
                &[0x36, 0x06, 0x66, 0x6f, 0x6f],
            ),
            (array, "[3, 27]", &[4, 6, 54, 0]),
            (array, "[]", &[0]),
            (union, "null", &[0]),
            (union, "\"a\"", &[2, 2, 0x61]),
            ("\"long\"", "-1", &[1]),
            ("\"long\"", "1", &[2]),
            ("\"long\"", "-64", &[0x7f]),
            ("\"long\"", "64", &[0x80, 1]),
            ("\"boolean\"", "true", &[1]),
            ("\"double\"", "1.5", &[0, 0, 0, 0, 0, 0, 0xf8, 0x3f]),
        ];
        for (schema, json, bytes) in cases {
            assert_eq!(encoded(schema, json).as_deref(), Ok(bytes), "{json}");
        }
    }

    #[test]
    fn what_does_not_fit_is_named_with_its_path() {
        let record = r#"{"type":"record","name":"r","fields":[{"name":"a","type":{"type":"array","items":"int"}}]}"#;
        let refused = |json: &str| encoded(record, json).unwrap_err();
        assert_eq!(refused(r#"{"a": [1, "x"]}"#), "$.a[1]: \"x\" is no int");
        assert_eq!(
            refused(r#"{"a": [3000000000]}"#),
            "$.a[0]: 3000000000 is no int"
        );
        assert_eq!(refused("{}"), "$.a is missing");
        assert_eq!(
            refused(r#"{"a": [], "b": 1}"#),
            "$.b is no field of the schema"
        );
    }
}
