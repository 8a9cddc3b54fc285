//! A JSON document as a tree, for what looks into it: the JSON functions.
//!
//! Numbers stay the letters that they were written in, and objects keep the order of their members; of a key given twice the last
//! value counts.

use super::scan::{Scanner, Token};
use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Json<'a> {
    Null,
    Bool(bool),
    /// As it was written.
    Number(&'a str),
    Text(Cow<'a, str>),
    Array(Vec<Json<'a>>),
    Object(Vec<Member<'a>>),
}

/// A key and its value.
pub type Member<'a> = (Cow<'a, str>, Json<'a>);

/// Values within each other: as deep as a record of JSON may be, which the stack holds.
const MAX_DEPTH: usize = 1000;

impl<'a> Json<'a> {
    /// Reads one value, and whether text stands behind it; `None` for what is no JSON.
    pub fn parse(text: &'a str) -> Option<(Json<'a>, bool)> {
        let mut scanner = Scanner::of_text(text);
        let value = read(&mut scanner, MAX_DEPTH)?;
        let more = scanner.peek().is_some();
        Some((value, more))
    }

    /// Writes it without blanks.
    pub fn write(&self, out: &mut String) {
        match self {
            Json::Null => out.push_str("null"),
            Json::Bool(true) => out.push_str("true"),
            Json::Bool(false) => out.push_str("false"),
            Json::Number(digits) => out.push_str(digits),
            Json::Text(text) => write_json_string(text, out),
            Json::Array(elements) => {
                out.push('[');
                for (at, element) in elements.iter().enumerate() {
                    out.push_str(if at == 0 { "" } else { "," });
                    element.write(out);
                }
                out.push(']');
            }
            Json::Object(members) => {
                out.push('{');
                for (at, (key, value)) in members.iter().enumerate() {
                    out.push_str(if at == 0 { "" } else { "," });
                    write_json_string(key, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }

    /// The member of an object.
    pub fn member(&self, key: &str) -> Option<&Json<'a>> {
        match self {
            Json::Object(members) => members
                .iter()
                .find(|(known, _)| known == key)
                .map(|(_, value)| value),
            _ => None,
        }
    }
}

/// Writes text in quotes, with what JSON escapes escaped.
pub fn write_json_string(text: &str, out: &mut String) {
    lw_schemas::json::write_string(text, out);
}

fn read<'a>(scanner: &mut Scanner<'a>, depth: usize) -> Option<Json<'a>> {
    let depth = depth.checked_sub(1)?;
    Some(match scanner.token().ok()? {
        Token::Null => Json::Null,
        Token::Bool(value) => Json::Bool(value),
        Token::Number(digits) => Json::Number(digits),
        Token::Text(text) => Json::Text(text),
        Token::Array => {
            scanner.eat(b'[');
            let mut elements = Vec::new();
            if !scanner.eat(b']') {
                loop {
                    elements.push(read(scanner, depth)?);
                    if scanner.eat(b']') {
                        break;
                    }
                    scanner.expect(b',', "").ok()?;
                }
            }
            Json::Array(elements)
        }
        Token::Object => {
            scanner.eat(b'{');
            let mut members: Vec<Member<'a>> = Vec::new();
            if !scanner.eat(b'}') {
                loop {
                    let key = scanner.text().ok()?;
                    scanner.expect(b':', "").ok()?;
                    members.push((key, read(scanner, depth)?));
                    if scanner.eat(b'}') {
                        break;
                    }
                    scanner.expect(b',', "").ok()?;
                }
            }
            Json::Object(last_of_each(members))
        }
    })
}

/// A key given twice keeps its first place and its last value.
fn last_of_each<'a>(members: Vec<Member<'a>>) -> Vec<Member<'a>> {
    let mut places: HashMap<Cow<'a, str>, usize> = HashMap::with_capacity(members.len());
    let mut kept: Vec<Member<'a>> = Vec::with_capacity(members.len());
    for (key, value) in members {
        match places.entry(key.clone()) {
            Entry::Occupied(place) => kept[*place.get()].1 = value,
            Entry::Vacant(new) => {
                new.insert(kept.len());
                kept.push((key, value));
            }
        }
    }
    kept
}
