//! JSON that keeps what a schema registry must not lose: the order of keys and the spelling of numbers.
//!
//! A schema's text is its identity: `{"b":1,"a":2.50}` must come back with `b` first, byte for byte as Jackson (the JSON
//! library of Confluent's registry) writes it, since stored texts are compared with texts that Jackson wrote. So this parses
//! into a small tree and writes it so.
//!
//! Why not `serde_json`: here it sorts keys and rounds what does not fit 64 bits (the features that would not are switched
//! for every crate of a build, DataFusion's too), it takes a key twice, and it cannot say where in the text a value stands.
//! Errors need that: they carry a byte offset, and [`locate`] finds the offset of any value again by its path, so that the
//! tree itself needs no spans.

use std::collections::HashSet;
use std::fmt;

/// A JSON value. Objects keep the order of their keys; keys are unique.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// A number as it was spelled.
#[derive(Debug, Clone, PartialEq)]
pub struct Number(String);

/// One step from a value to a value inside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Key(String),
    Index(usize),
}

/// Why a text is not JSON, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonError {
    pub message: String,
    /// Byte offset into the text.
    pub offset: usize,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for JsonError {}

/// Arrays and objects may nest this deep. Deeper text is refused, since every reader of the tree recurses.
pub const MAX_DEPTH: usize = 512;

impl Json {
    /// Parses one JSON value that fills the whole text.
    pub fn parse(text: &str) -> Result<Json, JsonError> {
        let mut parser = Parser::new(text);
        let value = parser.value(0)?;
        parser.end()?;
        Ok(value)
    }

    /// Parses a schema's text as Avro's Java parser does: `/* … */` and `// …` stand wherever space may.
    pub fn parse_with_comments(text: &str) -> Result<Json, JsonError> {
        let mut parser = Parser::new(text);
        parser.comments = true;
        let value = parser.value(0)?;
        parser.end()?;
        Ok(value)
    }

    /// The same value with the members of every object sorted by their keys: equal texts, equal values.
    pub fn sorted(&self) -> Json {
        match self {
            Json::Array(items) => Json::Array(items.iter().map(Json::sorted).collect()),
            Json::Object(members) => {
                let mut members: Vec<(String, Json)> = members
                    .iter()
                    .map(|(key, value)| (key.clone(), value.sorted()))
                    .collect();
                members.sort_by(|(one, _), (other, _)| one.cmp(other));
                Json::Object(members)
            }
            other => other.clone(),
        }
    }

    /// Builds a string value.
    pub fn string(text: impl Into<String>) -> Json {
        Json::String(text.into())
    }

    /// Builds an integer value.
    pub fn int(value: i64) -> Json {
        Json::Number(Number(value.to_string()))
    }

    /// Builds a number; what JSON cannot spell becomes a word, as Jackson writes it.
    pub fn double(value: f64) -> Json {
        if value.is_finite() {
            Json::Number(Number(java_double(value)))
        } else if value.is_nan() {
            Json::string("NaN")
        } else {
            Json::string(if value > 0.0 { "Infinity" } else { "-Infinity" })
        }
    }

    /// Builds an object from keys and values; the order stays.
    pub fn object<K: Into<String>>(members: impl IntoIterator<Item = (K, Json)>) -> Json {
        Json::Object(members.into_iter().map(|(k, v)| (k.into(), v)).collect())
    }

    /// Returns the member of an object.
    pub fn get(&self, key: &str) -> Option<&Json> {
        match self {
            Json::Object(members) => members.iter().find(|(k, _)| k == key).map(|(_, v)| v),
            _ => None,
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Json::String(s) => Some(s),
            _ => None,
        }
    }

    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Json::Bool(b) => Some(*b),
            _ => None,
        }
    }

    pub fn as_array(&self) -> Option<&[Json]> {
        match self {
            Json::Array(items) => Some(items),
            _ => None,
        }
    }

    pub fn as_object(&self) -> Option<&[(String, Json)]> {
        match self {
            Json::Object(members) => Some(members),
            _ => None,
        }
    }

    /// Returns the number if it is spelled as an integer and fits.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Json::Number(n) if n.is_integer() => n.0.parse().ok(),
            _ => None,
        }
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Json::Null)
    }

    /// Finds the way to a value inside this one, which is told by its address.
    pub(crate) fn path_to(&self, wanted: *const Json) -> Option<Vec<Step>> {
        fn walk(here: &Json, wanted: *const Json, path: &mut Vec<Step>) -> bool {
            if std::ptr::eq(here, wanted) {
                return true;
            }
            let mut enter = |step: Step, inner: &Json| {
                path.push(step);
                let found = walk(inner, wanted, path);
                if !found {
                    path.pop();
                }
                found
            };
            match here {
                Json::Array(items) => items
                    .iter()
                    .enumerate()
                    .any(|(i, item)| enter(Step::Index(i), item)),
                Json::Object(members) => members
                    .iter()
                    .any(|(key, value)| enter(Step::Key(key.clone()), value)),
                _ => false,
            }
        }
        let mut path = Vec::new();
        walk(self, wanted, &mut path).then_some(path)
    }

    /// Says what kind of value this is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "a boolean",
            Json::Number(_) => "a number",
            Json::String(_) => "a string",
            Json::Array(_) => "an array",
            Json::Object(_) => "an object",
        }
    }

    /// Appends the value's compact text.
    pub fn write(&self, out: &mut String) {
        match self {
            Json::Null => out.push_str("null"),
            Json::Bool(true) => out.push_str("true"),
            Json::Bool(false) => out.push_str("false"),
            Json::Number(n) => n.write(out),
            Json::String(s) => write_string(s, out),
            Json::Array(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Json::Object(members) => {
                out.push('{');
                for (i, (key, value)) in members.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    write_string(key, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        self.write(&mut out);
        f.write_str(&out)
    }
}

impl Number {
    fn is_integer(&self) -> bool {
        !self.0.contains(['.', 'e', 'E'])
    }

    /// Writes integers as spelled and others as `Double.toString` of Java spells them: `1e3` is `1000.0`, `1e10` is `1.0E10`.
    fn write(&self, out: &mut String) {
        match self.0.parse::<f64>() {
            Ok(value) if !self.is_integer() => match Json::double(value) {
                Json::Number(number) => out.push_str(&number.0),
                word => word.write(out),
            },
            _ => out.push_str(&self.0),
        }
    }
}

/// Spells a finite double as Java does: plain between 10⁻³ and 10⁷, scientific outside, shortest digits that read back.
fn java_double(value: f64) -> String {
    if value == 0.0 {
        return if value.is_sign_negative() {
            "-0.0".into()
        } else {
            "0.0".into()
        };
    }
    let magnitude = value.abs();
    if (1e-3..1e7).contains(&magnitude) {
        return format!("{value:?}");
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific
        .split_once('e')
        .expect("`{:e}` always prints an exponent");
    let point = if mantissa.contains('.') { "" } else { ".0" };
    format!("{mantissa}{point}E{exponent}")
}

/// Appends a JSON string. Only quotes, backslashes and control characters are escaped, as Jackson does.
pub fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' => out.push_str(&format!("\\u{:04X}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Finds where in the text the value at `path` starts. When the path ends early, the deepest value found on it.
pub fn locate(text: &str, path: &[Step]) -> usize {
    let mut parser = Parser::new(text);
    parser.comments = true;
    parser.space();
    let mut found = parser.at;
    for step in path {
        match parser.enter(step) {
            Ok(true) => found = parser.at,
            Ok(false) | Err(_) => break,
        }
    }
    found
}

/// Turns a byte offset into a line and a column, both counted from 1; the column counts characters.
pub fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let mut end = offset.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = &text[..end];
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |i| i + 1);
    (line, before[start..].chars().count() + 1)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    comments: bool,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Parser<'a> {
        Parser {
            text,
            at: 0,
            comments: false,
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        loop {
            while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
                self.at += 1;
            }
            if !self.comments || !self.comment() {
                return;
            }
        }
    }

    /// Passes over one comment; one that does not end is none, and then not a value either.
    fn comment(&mut self) -> bool {
        let rest = &self.text[self.at..];
        let length = if rest.starts_with("//") {
            rest.find(['\n', '\r']).unwrap_or(rest.len())
        } else if let Some(inside) = rest.strip_prefix("/*") {
            match inside.find("*/") {
                Some(end) => end + 4,
                None => return false,
            }
        } else {
            return false;
        };
        self.at += length;
        true
    }

    fn fail<T>(&self, message: impl Into<String>) -> Result<T, JsonError> {
        Err(JsonError {
            message: message.into(),
            offset: self.at,
        })
    }

    fn unexpected<T>(&self, wanted: &str) -> Result<T, JsonError> {
        match self.text[self.at..].chars().next() {
            Some(c) => self.fail(format!("expected {wanted}, found '{c}'")),
            None => self.fail(format!("expected {wanted}, but the text ends")),
        }
    }

    fn end(&mut self) -> Result<(), JsonError> {
        self.space();
        if self.at == self.text.len() {
            Ok(())
        } else {
            self.unexpected("the end of the text")
        }
    }

    fn byte(&mut self, wanted: u8, what: &str) -> Result<(), JsonError> {
        self.space();
        if self.peek() != Some(wanted) {
            return self.unexpected(what);
        }
        self.at += 1;
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Result<Json, JsonError> {
        if depth > MAX_DEPTH {
            return self.fail(format!("nested deeper than {MAX_DEPTH} levels"));
        }
        self.space();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(Json::String),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'n') => self.word("null", Json::Null),
            _ => self.unexpected("a JSON value"),
        }
    }

    fn word(&mut self, word: &str, value: Json) -> Result<Json, JsonError> {
        if !self.text[self.at..].starts_with(word) {
            return self.unexpected("a JSON value");
        }
        self.at += word.len();
        Ok(value)
    }

    fn object(&mut self, depth: usize) -> Result<Json, JsonError> {
        self.at += 1;
        let mut members: Vec<(String, Json)> = Vec::new();
        let mut seen = HashSet::new();
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Json::Object(members));
        }
        loop {
            self.space();
            let start = self.at;
            if self.peek() != Some(b'"') {
                return self.unexpected("a key in quotes");
            }
            let key = self.string()?;
            if !seen.insert(key.clone()) {
                return Err(JsonError {
                    message: format!("the key \"{key}\" appears twice"),
                    offset: start,
                });
            }
            self.byte(b':', "':' after the key")?;
            let value = self.value(depth + 1)?;
            members.push((key, value));
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Json::Object(members));
                }
                _ => return self.unexpected("',' or '}'"),
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json, JsonError> {
        self.at += 1;
        let mut items = Vec::new();
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Json::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Json::Array(items));
                }
                _ => return self.unexpected("',' or ']'"),
            }
        }
    }

    fn string(&mut self) -> Result<String, JsonError> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let rest = &self.text[self.at..];
            let plain = rest
                .find(|c: char| c == '"' || c == '\\' || c < ' ')
                .unwrap_or(rest.len());
            out.push_str(&rest[..plain]);
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => out.push(self.escape()?),
                Some(_) => return self.fail("a control character inside a string must be escaped"),
                None => return self.fail("a string is not closed"),
            }
        }
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        self.at += 1;
        let Some(kind) = self.peek() else {
            return self.fail("a string is not closed");
        };
        let c = match kind {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(),
            _ => return self.unexpected("an escape (one of \" \\ / b f n r t u)"),
        };
        self.at += 1;
        Ok(c)
    }

    /// Reads `uXXXX`, and a second one when the first is half of a surrogate pair.
    fn unicode(&mut self) -> Result<char, JsonError> {
        let first = self.hex4()?;
        let code = if (0xD800..0xDC00).contains(&first) {
            if !self.text[self.at..].starts_with("\\u") {
                return self.fail("half of a surrogate pair");
            }
            self.at += 1;
            let second = self.hex4()?;
            if !(0xDC00..0xE000).contains(&second) {
                return self.fail("half of a surrogate pair");
            }
            0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)
        } else {
            first
        };
        char::from_u32(code).map_or_else(|| self.fail("half of a surrogate pair"), Ok)
    }

    fn hex4(&mut self) -> Result<u32, JsonError> {
        let digits = self
            .text
            .get(self.at + 1..self.at + 5)
            .filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        let Some(digits) = digits else {
            return self.fail("\\u needs four hexadecimal digits");
        };
        self.at += 5;
        Ok(u32::from_str_radix(digits, 16).expect("four hexadecimal digits were checked above"))
    }

    fn number(&mut self) -> Result<Json, JsonError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(Json::Number(Number(self.text[start..self.at].to_owned())))
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return self.unexpected("a digit");
        }
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        Ok(())
    }

    /// Moves from the start of a container to the start of the value at `step`; false when there is none.
    fn enter(&mut self, step: &Step) -> Result<bool, JsonError> {
        let close = match (self.peek(), step) {
            (Some(b'{'), Step::Key(_)) => b'}',
            (Some(b'['), Step::Index(_)) => b']',
            _ => return Ok(false),
        };
        self.at += 1;
        for position in 0.. {
            self.space();
            if self.peek() == Some(close) {
                return Ok(false);
            }
            let here = match step {
                Step::Key(wanted) => {
                    let key = self.string()?;
                    self.byte(b':', "':'")?;
                    key == *wanted
                }
                Step::Index(wanted) => position == *wanted,
            };
            self.space();
            if here {
                return Ok(true);
            }
            self.value(0)?;
            self.space();
            if self.peek() == Some(b',') {
                self.at += 1;
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests;
