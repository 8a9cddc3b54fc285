//! Deleting a version or a whole subject, softly first and then for good.
//!
//! What is asked, in this order: is it there; may the subject be written; does a schema refer to it (a live one, or for good any);
//! was it deleted softly before. A subject without live versions keeps no settings. Ids answer as long as any version carries them.

use lw_schemas::Json;

use super::route::Query;
use super::subjects::{check_writable, find};
use super::{Answer, ApiError, Core, Outcome};
use crate::record::{Record, SchemaValue};

pub(super) fn subject(core: &Core, subject: &str, query: &Query) -> Answer {
    let permanent = query.flag("permanent");
    let all = core.state.versions(subject);
    let live = core.state.latest(subject).is_some();
    match (all.clone().next(), live || permanent) {
        (None, _) => return Err(ApiError::no_subject(subject)),
        (_, false) => return Err(ApiError::subject_soft_deleted(subject)),
        _ => check_writable(core, subject)?,
    }
    let going: Vec<i32> = all
        .filter(|(_, version)| permanent || !version.deleted)
        .map(|(number, _)| number)
        .collect();
    check_unreferenced(core, subject, &going, permanent)?;
    if permanent && live {
        return Err(ApiError::subject_not_soft_deleted(subject));
    }
    let mut records = Vec::new();
    if permanent {
        records.extend(going.iter().map(|number| tombstone(subject, *number)));
    } else {
        let up_to_version = *going.last().expect("a live version was found above");
        records.push(Record::DeleteSubject {
            subject: subject.to_owned(),
            up_to_version,
        });
        records.extend(forget_settings(core, subject));
    }
    let numbers = going.into_iter().map(|number| Json::int(number.into()));
    Outcome::write(Json::Array(numbers.collect()), records)
}

pub(super) fn version(core: &Core, subject: &str, wanted: &str, query: &Query) -> Answer {
    let permanent = query.flag("permanent");
    let (number, version) = find(core, subject, wanted, true)?;
    if version.deleted && !permanent {
        return Err(ApiError::version_soft_deleted(subject, number));
    }
    check_writable(core, subject)?;
    check_unreferenced(core, subject, &[number], permanent)?;
    if permanent && !version.deleted {
        return Err(ApiError::version_not_soft_deleted(subject, number));
    }
    let mut records = Vec::new();
    if permanent {
        records.push(tombstone(subject, number));
    } else {
        let value = SchemaValue {
            deleted: true,
            ..version.clone()
        };
        records.push(Record::Schema {
            subject: subject.to_owned(),
            version: number,
            value: Some(value),
        });
        let mut live = core.state.live_versions(subject);
        if live.all(|(other, _)| other == number) {
            records.extend(forget_settings(core, subject));
        }
    }
    Outcome::write(Json::int(number.into()), records)
}

/// A version that is gone for good gives its number away: then even a deleted schema must not refer to it, since old records
/// with that schema's id would be read by another one (R2).
fn check_unreferenced(
    core: &Core,
    subject: &str,
    going: &[i32],
    permanent: bool,
) -> Result<(), ApiError> {
    let live = core.state.referenced_versions(subject);
    let refused = |number: &&i32| {
        live.contains(*number) || (permanent && core.state.is_referenced(subject, **number))
    };
    match going.iter().find(refused) {
        Some(number) => Err(ApiError::reference_exists(subject, *number)),
        None => Ok(()),
    }
}

pub(super) fn tombstone(subject: &str, version: i32) -> Record {
    Record::Schema {
        subject: subject.to_owned(),
        version,
        value: None,
    }
}

/// A subject without live versions keeps no settings.
fn forget_settings(core: &Core, subject: &str) -> impl Iterator<Item = Record> {
    let (state, name) = (&core.state, Some(subject.to_owned()));
    let mode = state.mode(Some(subject)).map(|_| Record::Mode {
        subject: name.clone(),
        mode: None,
    });
    let config = state.config(Some(subject)).map(|_| Record::Config {
        subject: name,
        value: None,
    });
    mode.into_iter().chain(config)
}
