//! `/config`: how compatible the versions of a subject must be.
//!
//! A trap that clients depend on: PUT takes and answers `compatibility`, GET and DELETE answer `compatibilityLevel`.

use lw_schemas::Json;

use super::route::{Query, object};
use super::subjects::check_writable;
use super::{Answer, ApiError, Core, Outcome};
use crate::record::{Record, with_subject};

/// What a new version must be to earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Level {
    /// The new schema reads old data.
    pub(super) backward: bool,
    /// The old schemas read new data.
    pub(super) forward: bool,
    /// All earlier versions count, not only the latest.
    pub(super) transitive: bool,
}

const LEVELS: [(&str, Level); 7] = [
    (
        "NONE",
        Level {
            backward: false,
            forward: false,
            transitive: false,
        },
    ),
    (
        "BACKWARD",
        Level {
            backward: true,
            forward: false,
            transitive: false,
        },
    ),
    (
        "BACKWARD_TRANSITIVE",
        Level {
            backward: true,
            forward: false,
            transitive: true,
        },
    ),
    (
        "FORWARD",
        Level {
            backward: false,
            forward: true,
            transitive: false,
        },
    ),
    (
        "FORWARD_TRANSITIVE",
        Level {
            backward: false,
            forward: true,
            transitive: true,
        },
    ),
    (
        "FULL",
        Level {
            backward: true,
            forward: true,
            transitive: false,
        },
    ),
    (
        "FULL_TRANSITIVE",
        Level {
            backward: true,
            forward: true,
            transitive: true,
        },
    ),
];

const DEFAULT: &str = "BACKWARD";

impl Level {
    fn from_word(word: &str) -> Option<(&'static str, Level)> {
        LEVELS
            .into_iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(word))
    }

    /// The level that governs a subject, with its name: its own, else the global one.
    pub(super) fn in_scope(core: &Core, subject: &str) -> (&'static str, Level) {
        let words = [
            stored(core, Some(subject)),
            stored(core, None),
            Some(DEFAULT),
        ];
        words
            .into_iter()
            .flatten()
            .find_map(Level::from_word)
            .expect("the default is one of the levels")
    }
}

fn stored<'a>(core: &'a Core, subject: Option<&str>) -> Option<&'a str> {
    core.state
        .config(subject)?
        .get("compatibilityLevel")?
        .as_str()
}

pub(super) fn get(core: &Core, subject: Option<&str>, query: &Query) -> Answer {
    let level = match subject {
        None => stored(core, None).unwrap_or(DEFAULT),
        Some(subject) => match stored(core, Some(subject)) {
            Some(level) => level,
            None if query.flag("defaultToGlobal") => stored(core, None).unwrap_or(DEFAULT),
            None => return Err(ApiError::no_subject_config(subject)),
        },
    };
    Outcome::read(Json::object([("compatibilityLevel", Json::string(level))]))
}

pub(super) fn put(core: &Core, subject: Option<&str>, body: &[u8]) -> Answer {
    let body = object(body)?;
    // A rule that is stored but not enforced would be a promise broken without a word.
    let members = body.as_object().unwrap_or_default();
    let stranger = members.iter().find(|(key, value)| {
        !matches!(key.as_str(), "compatibility" | "compatibilityLevel") && !is_default(value)
    });
    if let Some((key, _)) = stranger {
        return Err(ApiError::not_permitted(format!(
            "the setting '{key}' is not supported yet; leave it out"
        )));
    }
    let word = body
        .get("compatibility")
        .or(body.get("compatibilityLevel"))
        .and_then(Json::as_str);
    let (word, _) = word
        .and_then(Level::from_word)
        .ok_or_else(ApiError::invalid_level)?;
    check_writable(core, subject.unwrap_or_default())?;
    let level = ("compatibilityLevel", Json::string(word));
    let record = Record::Config {
        subject: subject.map(str::to_owned),
        value: Some(with_subject(subject, level)),
    };
    Outcome::write(
        Json::object([("compatibility", Json::string(word))]),
        vec![record],
    )
}

/// Null and false ask for nothing.
fn is_default(value: &Json) -> bool {
    matches!(value, Json::Null | Json::Bool(false))
}

pub(super) fn delete(core: &Core, subject: Option<&str>) -> Answer {
    let level = match (stored(core, subject), subject) {
        (Some(level), _) => level,
        (None, Some(subject)) => return Err(ApiError::no_subject(subject)),
        (None, None) => DEFAULT,
    };
    check_writable(core, subject.unwrap_or_default())?;
    let record = Record::Config {
        subject: subject.map(str::to_owned),
        value: None,
    };
    let records = if core.state.config(subject).is_some() {
        vec![record]
    } else {
        Vec::new()
    };
    Outcome::write(
        Json::object([("compatibilityLevel", Json::string(level))]),
        records,
    )
}
