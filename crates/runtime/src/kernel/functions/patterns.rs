//! Regular expressions and paths that a call was given: each is read once, however many rows have it.

use super::super::KernelError;
use super::super::compile::Node;
use super::super::java_regex::{JavaRegex, Problem};
use super::super::operand::Fault;
use super::super::similar::of_similar;
use super::Args;
use super::json::{self, Path};
use crate::zone::Zone;
use arrow_array::Array;
use arrow_array::cast::AsArray;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// A pattern that the rows bring is kept as long as there are not more than this.
const MOST_KEPT: usize = 64;

/// What was read under each text.
struct Kept<T, E>(Mutex<HashMap<String, Result<Arc<T>, E>>>);

impl<T, E> Default for Kept<T, E> {
    fn default() -> Kept<T, E> {
        Kept(Mutex::new(HashMap::new()))
    }
}

impl<T, E: Clone> Kept<T, E> {
    fn read(&self, text: &str, read: impl FnOnce(&str) -> Result<T, E>) -> Result<Arc<T>, E> {
        let mut known = self.0.lock();
        if let Some(read) = known.get(text) {
            return read.clone();
        }
        if known.len() == MOST_KEPT {
            known.clear();
        }
        let read = read(text).map(Arc::new);
        known.insert(text.to_string(), read.clone());
        read
    }
}

/// Those of one call.
#[derive(Default)]
pub(super) struct Patterns {
    regexes: Kept<JavaRegex, Problem>,
    paths: Kept<Path, json::Problem>,
}

impl Args<'_> {
    /// The regular expression of an argument; `None` where Java refuses it.
    pub(super) fn regex(&self, arg: usize, row: usize) -> Result<Option<Arc<JavaRegex>>, Fault> {
        self.regex_of(self.text(arg, row))
    }

    pub(super) fn regex_of(&self, pattern: &str) -> Result<Option<Arc<JavaRegex>>, Fault> {
        match self.patterns.regexes.read(pattern, JavaRegex::new) {
            Ok(regex) => Ok(Some(regex)),
            Err(Problem::Invalid) => Ok(None),
            Err(Problem::Unsupported(message)) => Err(fault(message)),
        }
    }

    /// The path into JSON of an argument; `None` for what is none.
    pub(super) fn path(&self, arg: usize, row: usize) -> Result<Option<Arc<Path>>, Fault> {
        match self.patterns.paths.read(self.text(arg, row), Path::parse) {
            Ok(path) => Ok(Some(path)),
            Err(json::Problem::Invalid) => Ok(None),
            Err(json::Problem::Unsupported(message)) => Err(fault(message)),
        }
    }

    /// The pattern of `SIMILAR TO`, which takes all of a text, with the escape that may stand behind it.
    pub(super) fn similar(&self, arg: usize, row: usize) -> Result<Arc<JavaRegex>, Fault> {
        let escape = (self.len() > arg + 1).then(|| self.text(arg + 1, row));
        let read = |pattern: &str| similar(pattern, escape);
        match self.patterns.regexes.read(self.text(arg, row), read) {
            Ok(regex) => Ok(regex),
            Err(Problem::Invalid) => Err(fault("no pattern of SIMILAR TO".to_string())),
            Err(Problem::Unsupported(message)) => Err(fault(message)),
        }
    }
}

fn similar(pattern: &str, escape: Option<&str>) -> Result<JavaRegex, Problem> {
    let escape = escape.and_then(|escape| escape.chars().next());
    let regex = of_similar(pattern, escape).map_err(Problem::Unsupported)?;
    JavaRegex::new(&format!(r"\A(?:{regex})\z"))
}

fn fault(message: String) -> Fault {
    Fault {
        code: "pattern",
        message,
    }
}

/// Refuses a constant that this version cannot work with, before any row comes.
///
/// # Errors
/// [`KernelError`] that says what is not supported.
pub(super) fn check(function: &str, args: &[Node]) -> Result<(), KernelError> {
    let constant = |arg: usize| {
        let value = &args.get(arg)?.literal()?.array;
        let texts = value.as_string_opt::<i32>()?;
        texts.is_valid(0).then(|| texts.value(0))
    };
    let Some(pattern) = constant(1) else {
        return Ok(());
    };
    let read = match function {
        "LOCAL TIME" | "INSTANT" => {
            return match Zone::parse(pattern) {
                Some(_) => Ok(()),
                None => Err(KernelError::new(format!(
                    "there is no time zone '{pattern}'"
                ))),
            };
        }
        "SIMILAR TO" => similar(pattern, constant(2)),
        name if name.starts_with("REGEXP") => JavaRegex::new(pattern),
        "JSON_EXISTS" | "JSON_VALUE" | "JSON_QUERY" => {
            return match Path::parse(pattern) {
                Err(json::Problem::Unsupported(message)) => Err(KernelError::new(message)),
                _ => Ok(()),
            };
        }
        _ => return Ok(()),
    };
    match read {
        Err(Problem::Unsupported(message)) => Err(KernelError::new(message)),
        _ => Ok(()),
    }
}
