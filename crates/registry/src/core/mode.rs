//! `/mode`: may a subject be written, and may ids be given from outside.

use lw_schemas::Json;

use super::route::{Query, object};
use super::{Answer, ApiError, Core, Outcome};
use crate::record::{Mode, Record};

pub(super) fn get(core: &Core, subject: Option<&str>, query: &Query) -> Answer {
    let mode = match subject {
        None => core.state.mode(None).unwrap_or(Mode::ReadWrite),
        Some(subject) if query.flag("defaultToGlobal") => core.state.mode_in_scope(subject),
        Some(subject) => core
            .state
            .mode(Some(subject))
            .ok_or_else(|| ApiError::no_subject_mode(subject))?,
    };
    Outcome::read(show(mode))
}

pub(super) fn put(core: &Core, subject: Option<&str>, body: &[u8], query: &Query) -> Answer {
    let body = object(body)?;
    let mode = match body
        .get("mode")
        .and_then(Json::as_str)
        .and_then(Mode::from_word)
    {
        None | Some(Mode::Forward) => return Err(ApiError::invalid_mode()),
        Some(mode) => mode,
    };
    let owned = subject.map(str::to_owned);
    let mut records = Vec::new();
    let enters_import = mode == Mode::Import && core.state.mode(subject) != Some(Mode::Import);
    if enters_import && !query.flag("force") {
        let live = match subject {
            Some(subject) => core.state.latest(subject).is_some(),
            None => core
                .state
                .subjects()
                .any(|(_, versions)| versions.values().any(|v| !v.deleted)),
        };
        if live {
            return Err(ApiError::not_permitted(
                "Cannot import since found existing subjects",
            ));
        }
        // Ids to come may be those of versions that are deleted but still there.
        records.push(Record::ClearSubject {
            subject: owned.clone(),
        });
    }
    records.push(Record::Mode {
        subject: owned,
        mode: Some(mode),
    });
    Outcome::write(show(mode), records)
}

pub(super) fn delete(core: &Core, subject: Option<&str>) -> Answer {
    let mode = match (core.state.mode(subject), subject) {
        (Some(mode), _) => mode,
        (None, Some(subject)) => return Err(ApiError::no_subject(subject)),
        (None, None) => return Outcome::read(show(Mode::ReadWrite)),
    };
    let record = Record::Mode {
        subject: subject.map(str::to_owned),
        mode: None,
    };
    Outcome::write(show(mode), vec![record])
}

fn show(mode: Mode) -> Json {
    Json::object([("mode", Json::string(mode.word()))])
}
