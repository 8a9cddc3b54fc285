//! Why a text is not an Avro schema, told with its place.
//!
//! While a schema is built a fault knows only the JSON value it stands at: its address serves as the value's identity and is
//! never followed. The pointer, line and column are worked out once, for the one fault that ends the parse.

use std::fmt;

use crate::json::{self, Json, Step};

/// Why a text is not an Avro schema, and where.
///
/// `Display` prints it all in one line: `type "strin" is not known, at line 3, column 24 (/fields/1/type); did you mean "string"?`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaError {
    pub message: String,
    /// JSON pointer to the offending value; empty for the root and for texts that are not JSON.
    pub path: String,
    pub line: usize,
    pub column: usize,
    pub hint: Option<String>,
    /// Position in the list of references when the fault is in one of them.
    pub reference: Option<usize>,
}

impl SchemaError {
    /// An error of the text itself, at a byte of it.
    pub(super) fn in_text(text: &str, offset: usize, message: String) -> SchemaError {
        let (line, column) = json::line_and_column(text, offset);
        SchemaError {
            message,
            path: String::new(),
            line,
            column,
            hint: None,
            reference: None,
        }
    }
}

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = (self.line, self.column);
        write!(f, "{}, at line {line}, column {column}", self.message)?;
        if !self.path.is_empty() {
            write!(f, " ({})", self.path)?;
        }
        if let Some(reference) = self.reference {
            write!(f, " of reference {}", reference + 1)?;
        }
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for SchemaError {}

/// A fault before its place in the text is worked out.
pub(super) struct Fault {
    message: String,
    hint: Option<String>,
    at: Place,
}

/// Which JSON value, by address.
pub(super) type Place = *const Json;

pub(super) type Parsed<T> = Result<T, Fault>;

pub(super) fn fail<T>(at: Place, message: impl Into<String>) -> Parsed<T> {
    Err(Fault {
        message: message.into(),
        hint: None,
        at,
    })
}

pub(super) fn hinted<T>(
    at: Place,
    message: impl Into<String>,
    hint: impl Into<String>,
) -> Parsed<T> {
    Err(Fault {
        message: message.into(),
        hint: Some(hint.into()),
        at,
    })
}

impl Fault {
    /// Finds the place again in the text that `json` was parsed from.
    pub(super) fn locate(self, text: &str, json: &Json) -> SchemaError {
        let path = json.path_to(self.at).unwrap_or_default();
        SchemaError {
            path: pointer(&path),
            hint: self.hint,
            ..SchemaError::in_text(text, json::locate(text, &path), self.message)
        }
    }
}

fn pointer(path: &[Step]) -> String {
    let mut out = String::new();
    for step in path {
        out.push('/');
        match step {
            Step::Key(key) => out.push_str(&key.replace('~', "~0").replace('/', "~1")),
            Step::Index(i) => out.push_str(&i.to_string()),
        }
    }
    out
}
