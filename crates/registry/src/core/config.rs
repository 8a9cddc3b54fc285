//! `/config`: how compatible the versions of a subject must be.
//!
//! A trap that clients depend on: PUT takes and answers `compatibility`, GET and DELETE answer `compatibilityLevel`.

use lw_schemas::Json;

use super::route::{Query, object};
use super::subjects::check_writable;
use super::{Answer, ApiError, Core, Outcome};
use crate::record::Record;

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
    ("NONE", Level::new(false, false, false)),
    ("BACKWARD", Level::new(true, false, false)),
    ("BACKWARD_TRANSITIVE", Level::new(true, false, true)),
    ("FORWARD", Level::new(false, true, false)),
    ("FORWARD_TRANSITIVE", Level::new(false, true, true)),
    ("FULL", Level::new(true, true, false)),
    ("FULL_TRANSITIVE", Level::new(true, true, true)),
];

const DEFAULT: &str = "BACKWARD";

// What the settings are called where they are stored.
const LEVEL: &str = "compatibilityLevel";
const NORMALIZE: &str = "normalize";

impl Level {
    const fn new(backward: bool, forward: bool, transitive: bool) -> Level {
        Level {
            backward,
            forward,
            transitive,
        }
    }

    fn from_word(word: &str) -> Option<(&'static str, Level)> {
        LEVELS
            .into_iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(word))
    }

    /// The level that governs a subject, with its name: its own, else the global one.
    pub(super) fn in_scope(core: &Core, subject: &str) -> (&'static str, Level) {
        let level = |value: &Json| Level::from_word(value.as_str()?);
        let stored = in_scope(core, subject, LEVEL).find_map(level);
        stored
            .or_else(|| Level::from_word(DEFAULT))
            .expect("the default is one of the levels")
    }
}

/// Tells whether a subject's schemas are normalized even where the request does not ask for it.
pub(super) fn normalizes(core: &Core, subject: &str) -> bool {
    let answer = in_scope(core, subject, NORMALIZE).find_map(Json::as_bool);
    answer.unwrap_or(false)
}

/// Lists what the settings of a subject say about a key: its own first, then the global ones.
fn in_scope<'a>(core: &'a Core, subject: &str, key: &str) -> impl Iterator<Item = &'a Json> {
    let scopes = [core.state.config(Some(subject)), core.state.config(None)];
    scopes
        .map(|settings| settings?.get(key))
        .into_iter()
        .flatten()
}

pub(super) fn get(core: &Core, subject: Option<&str>, query: &Query) -> Answer {
    match (core.state.config(subject), subject) {
        (Some(settings), _) => Outcome::read(shown(Some(settings), subject.is_none())),
        (None, Some(subject)) if !query.flag("defaultToGlobal") => {
            Err(ApiError::no_subject_config(subject))
        }
        (None, _) => Outcome::read(shown(core.state.config(None), true)),
    }
}

/// Settings as they are answered. Those that another registry wrote and nobody here heeds are told too.
fn shown(settings: Option<&Json>, is_global: bool) -> Json {
    let members = settings.and_then(Json::as_object).unwrap_or_default();
    let mut members = members.to_vec();
    members.retain(|(key, value)| key != "subject" && !value.is_null());
    if is_global && !members.iter().any(|(key, _)| key == LEVEL) {
        members.insert(0, (LEVEL.to_owned(), Json::string(DEFAULT)));
    }
    Json::Object(members)
}

/// Changes the settings that are given, and leaves the others as they are.
pub(super) fn put(core: &Core, subject: Option<&str>, body: &[u8]) -> Answer {
    let (body, none) = (object(body)?, Vec::new());
    let mut answer = Vec::new();
    let mut settings = match core.state.config(subject) {
        Some(Json::Object(members)) => members.clone(),
        _ => subject.map_or(none, |s| vec![("subject".to_owned(), Json::string(s))]),
    };
    for (key, given) in body.as_object().unwrap_or_default() {
        let (name, value) = match (key.as_str(), given) {
            ("compatibility" | LEVEL, Json::Null) => continue,
            ("compatibility" | LEVEL, _) => {
                let level = given.as_str().and_then(Level::from_word);
                let (word, _) = level.ok_or_else(ApiError::invalid_level)?;
                answer.push(("compatibility", Json::string(word)));
                (LEVEL, Json::string(word))
            }
            (NORMALIZE, Json::Bool(_)) => {
                answer.push((NORMALIZE, given.clone()));
                (NORMALIZE, given.clone())
            }
            // Null and false ask for nothing.
            (_, Json::Null | Json::Bool(false)) => continue,
            // A rule that is stored but not enforced would be a promise broken without a word.
            _ => return Err(ApiError::unknown_setting(key)),
        };
        settings.retain(|(key, _)| key != name);
        settings.push((name.to_owned(), value));
    }
    if answer.is_empty() {
        return Err(ApiError::invalid_level());
    }
    check_writable(core, subject.unwrap_or_default())?;
    let record = Record::Config {
        subject: subject.map(str::to_owned),
        value: Some(Json::Object(settings)),
    };
    Outcome::write(Json::object(answer), vec![record])
}

pub(super) fn delete(core: &Core, subject: Option<&str>) -> Answer {
    let settings = core.state.config(subject);
    if let (None, Some(subject)) = (settings, subject) {
        return Err(ApiError::no_subject(subject));
    }
    check_writable(core, subject.unwrap_or_default())?;
    let record = Record::Config {
        subject: subject.map(str::to_owned),
        value: None,
    };
    let records = settings.map(|_| record).into_iter().collect();
    Outcome::write(shown(settings, subject.is_none()), records)
}
