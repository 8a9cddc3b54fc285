//! Functions over JSON: what a path finds in a document, and documents made of values.
//!
//! The planner writes the clauses of these functions as arguments: what to do `ON EMPTY` and `ON ERROR`, each with its default value.
//! A strict path that leads nowhere, or a text that is no JSON, is an error; to a lax path both are just empty.

mod path;
mod write;

use super::super::operand::Fault;
use super::{Args, Kernel, Registered, Value};
use lw_formats::{Json, text};
use path::Found;
pub(super) use path::{Path, Problem};
use std::fmt::Write;
pub(super) use write::{Writer, writer};
use write::{order, write_json, write_number, write_object};

pub(super) const KERNELS: &[Registered] = &[
    is("IS JSON VALUE", |a, row| is_json(a, row, |_| true)).sees_null(),
    is("IS JSON SCALAR", |a, row| is_json(a, row, is_scalar)).sees_null(),
    is("IS JSON ARRAY", |a, row| {
        is_json(a, row, |json| matches!(json, Json::Array(_)))
    })
    .sees_null(),
    is("IS JSON OBJECT", |a, row| {
        is_json(a, row, |json| matches!(json, Json::Object(_)))
    })
    .sees_null(),
    Registered::new("JSON_EXISTS", Kernel::Boolean(exists)),
    Registered::new(
        "JSON_VALUE",
        Kernel::Text(|a, row, out| {
            let read = |json: &Json<'_>| {
                let mut read = String::new();
                match json {
                    Json::Text(text) => read.push_str(text),
                    Json::Number(digits) => write_number(digits, &mut read),
                    other => other.write(&mut read),
                }
                Some(read)
            };
            let value = value(a, row, read, |arg| a.text(arg, row).to_string())?;
            Ok(value.map(|value| out.push_str(&value)))
        }),
    )
    .sees_null(),
    Registered::new(
        "JSON_VALUE",
        Kernel::Boolean(|a, row| {
            let read = |json: &Json<'_>| match json {
                Json::Bool(value) => Some(*value),
                _ => None,
            };
            value(a, row, read, |arg| a.boolean(arg, row))
        }),
    )
    .sees_null(),
    Registered::new(
        "JSON_VALUE",
        Kernel::Whole(|a, row| {
            let read = |json: &Json<'_>| match json {
                Json::Number(digits) => digits.parse::<i32>().ok().map(i64::from),
                _ => None,
            };
            value(a, row, read, |arg| a.whole(arg, row))
        }),
    )
    .sees_null(),
    Registered::new(
        "JSON_VALUE",
        Kernel::Approximate(|a, row| {
            let read = |json: &Json<'_>| match json {
                Json::Number(digits) => text::parse_double(digits),
                _ => None,
            };
            value(a, row, read, |arg| a.double(arg, row))
        }),
    )
    .sees_null(),
    Registered::new("JSON_QUERY", Kernel::Text(query)),
    Registered::new(
        "JSON_STRING",
        Kernel::Text(|a, row, out| a.write_json(0, row, out).map(Some)),
    ),
    Registered::new("JSON_OBJECT", Kernel::Text(object)).sees_null(),
    Registered::new("JSON_ARRAY", Kernel::Text(array)).sees_null(),
    Registered::new("JSON_QUOTE", Kernel::Text(quote)),
    Registered::new("JSON_UNQUOTE", Kernel::Text(unquote)),
];

const fn is(name: &'static str, f: fn(&Args<'_>, usize) -> Value<bool>) -> Registered {
    Registered::new(name, Kernel::Boolean(f))
}

fn is_scalar(json: &Json<'_>) -> bool {
    !matches!(json, Json::Array(_) | Json::Object(_))
}

fn is_json(a: &Args<'_>, row: usize, wanted: impl Fn(&Json<'_>) -> bool) -> Value<bool> {
    let document = (!a.is_null(0, row))
        .then(|| parse(a.text(0, row)))
        .flatten();
    Ok(Some(document.is_some_and(|json| wanted(&json))))
}

/// What a path finds in a document.
enum Looked<'j, 'a> {
    /// The value NULL.
    Null,
    /// Nothing, to a lax path.
    Empty,
    Error(String),
    Found(Found<'j, 'a>),
}

/// Argument 0 is the document, argument 1 the path.
fn look<'j, 'a>(path: Option<&Path>, document: Option<&'j Json<'a>>) -> Looked<'j, 'a> {
    let Some(path) = path else {
        return Looked::Error("the path is none".to_string());
    };
    match document.map(|document| path.find(document)) {
        None | Some(Err(_)) if path.lax => Looked::Empty,
        None => Looked::Error("the text is no JSON".to_string()),
        Some(Err(_)) => Looked::Error("the path leads to nothing".to_string()),
        Some(Ok(Found::One(Json::Null))) => Looked::Null,
        Some(Ok(found)) => Looked::Found(found),
    }
}

/// The document that a text begins with.
fn parse(text: &str) -> Option<Json<'_>> {
    Json::parse(text).map(|(json, _)| json)
}

fn is_lax(path: Option<&Path>) -> bool {
    path.is_some_and(|path| path.lax)
}

fn fault(message: String) -> Fault {
    Fault {
        code: "json",
        message,
    }
}

/// `JSON_EXISTS(text, path, 'TRUE' | 'FALSE' | 'UNKNOWN' | 'ERROR')`: the last is for an error.
fn exists(a: &Args<'_>, row: usize) -> Value<bool> {
    let path = a.path(1, row)?;
    let document = parse(a.text(0, row));
    match look(path.as_deref(), document.as_ref()) {
        Looked::Empty | Looked::Null => Ok(Some(false)),
        Looked::Found(_) => Ok(Some(true)),
        Looked::Error(message) => match a.text(2, row) {
            "TRUE" => Ok(Some(true)),
            "FALSE" => Ok(Some(false)),
            "UNKNOWN" => Ok(None),
            _ => Err(fault(message)),
        },
    }
}

/// `JSON_VALUE(text, path, on empty, its default, on error, its default)`, of a type that `read` makes of a scalar.
fn value<T>(
    a: &Args<'_>,
    row: usize,
    read: impl FnOnce(&Json<'_>) -> Option<T>,
    default: impl FnOnce(usize) -> T,
) -> Value<T> {
    if a.is_null(0, row) || a.is_null(1, row) {
        return Ok(None);
    }
    let path = a.path(1, row)?;
    let document = parse(a.text(0, row));
    let (case, message) = match look(path.as_deref(), document.as_ref()) {
        Looked::Found(Found::One(json)) if is_scalar(json) => match read(json) {
            Some(value) => return Ok(Some(value)),
            // What ON ERROR says is not about this: so it is in Flink.
            None => {
                return Err(fault(
                    "the value is not of the type that is wanted".to_string(),
                ));
            }
        },
        Looked::Null | Looked::Found(_) if !is_lax(path.as_deref()) => {
            (4, "the value is no scalar".to_string())
        }
        Looked::Error(message) => (4, message),
        Looked::Empty | Looked::Null | Looked::Found(_) => {
            (2, "the path leads to no scalar".to_string())
        }
    };
    match a.text(case, row) {
        "ERROR" => Err(fault(message)),
        "DEFAULT" if !a.is_null(case + 1, row) => Ok(Some(default(case + 1))),
        _ => Ok(None),
    }
}

/// `JSON_QUERY(text, path, wrapper, on empty, on error)`.
fn query(a: &Args<'_>, row: usize, out: &mut String) -> Value<()> {
    let path = a.path(1, row)?;
    let document = parse(a.text(0, row));
    let looked = look(path.as_deref(), document.as_ref());
    let wrapped = match (&looked, a.text(2, row)) {
        (Looked::Found(_), "UNCONDITIONAL") => true,
        (Looked::Found(Found::One(json)), "CONDITIONAL") => !matches!(json, Json::Array(_)),
        _ => false,
    };
    let (case, message) = match looked {
        Looked::Found(Found::One(json)) if wrapped || !is_scalar(json) => {
            out.push_str(if wrapped { "[" } else { "" });
            write_json(json, out);
            out.push_str(if wrapped { "]" } else { "" });
            return Ok(Some(()));
        }
        Looked::Found(Found::Many(values)) => {
            out.push_str(if wrapped { "[[" } else { "[" });
            for (at, json) in values.into_iter().enumerate() {
                out.push_str(if at == 0 { "" } else { "," });
                write_json(json, out);
            }
            out.push_str(if wrapped { "]]" } else { "]" });
            return Ok(Some(()));
        }
        Looked::Found(_) if !is_lax(path.as_deref()) => (4, "the value is a scalar".to_string()),
        Looked::Error(message) => (4, message),
        Looked::Empty | Looked::Null | Looked::Found(_) => {
            (3, "the path leads to no array or object".to_string())
        }
    };
    match a.text(case, row) {
        "EMPTY ARRAY" => out.push_str("[]"),
        "EMPTY OBJECT" => out.push_str("{}"),
        "ERROR" => return Err(fault(message)),
        _ => return Ok(None),
    }
    Ok(Some(()))
}

/// `JSON_OBJECT(on null, key, form, value, …)`: of a key given twice the last value counts.
fn object(a: &Args<'_>, row: usize, out: &mut String) -> Value<()> {
    let absent = a.text(0, row) == "ABSENT";
    let mut members: Vec<(&str, String)> = Vec::new();
    for key in (1..a.len()).step_by(3) {
        let value = key + 2;
        if a.is_null(key, row) {
            return Err(fault("a key of JSON_OBJECT is NULL".to_string()));
        }
        if absent && a.is_null(value, row) {
            continue;
        }
        let mut written = String::new();
        write_member(a, value, row, &mut written)?;
        members.push((a.text(key, row), written));
    }
    // Stable, so that the last of equal keys is the last still.
    members.sort_by(|a, b| order(a.0, b.0));
    members.reverse();
    members.dedup_by(|a, b| a.0 == b.0);
    members.reverse();
    let members = members.iter().map(|(key, value)| (*key, value));
    write_object(members, out, |value, out| {
        out.push_str(value);
        Ok(())
    })?;
    Ok(Some(()))
}

/// `JSON_ARRAY(on null, form, value, …)`.
fn array(a: &Args<'_>, row: usize, out: &mut String) -> Value<()> {
    let absent = a.text(0, row) == "ABSENT";
    out.push('[');
    for value in (2..a.len()).step_by(2) {
        if absent && a.is_null(value, row) {
            continue;
        }
        if out.len() > 1 {
            out.push(',');
        }
        write_member(a, value, row, out)?;
    }
    out.push(']');
    Ok(Some(()))
}

/// A value, or JSON, as the argument before it says.
fn write_member(a: &Args<'_>, value: usize, row: usize, out: &mut String) -> Result<(), Fault> {
    if a.text(value - 1, row) != "JSON" || a.is_null(value, row) {
        return a.write_json(value, row, out);
    }
    match parse(a.text(value, row)) {
        Some(json) => {
            write_json(&json, out);
            Ok(())
        }
        None => Err(fault("the text in JSON(…) is no JSON".to_string())),
    }
}

/// In quotes, with everything escaped that is not ASCII.
fn quote(a: &Args<'_>, row: usize, out: &mut String) -> Value<()> {
    out.push('"');
    for c in a.text(0, row).chars() {
        match c {
            '"' | '\\' | '/' => out.extend(['\\', c]),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            ' '..='~' => out.push(c),
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out.push('"');
    Ok(Some(()))
}

/// Text in quotes without them, its escapes read; anything else as it is.
fn unquote(a: &Args<'_>, row: usize, out: &mut String) -> Value<()> {
    let text = a.text(0, row);
    match Json::parse(text) {
        Some((Json::Text(inside), false)) => out.push_str(&inside),
        _ => out.push_str(text),
    }
    Ok(Some(()))
}
