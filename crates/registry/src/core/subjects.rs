//! `/subjects`: look up, list, delete. Registering has [a file of its own](super::register).

use lw_schemas::Json;

use super::posted::{Draft, resolved};
use super::route::Query;
use super::{Answer, ApiError, Core, Outcome, Version};
use crate::record::{AVRO, Mode, Record, Schema, SchemaValue};

/// Every change to a subject asks this first.
pub(super) fn check_writable(core: &Core, subject: &str) -> Result<(), ApiError> {
    match core.state.mode_in_scope(subject) {
        Mode::ReadOnly | Mode::ReadOnlyOverride | Mode::Forward => Err(ApiError::not_permitted(
            format!("Subject {subject} is in read-only mode"),
        )),
        Mode::ReadWrite | Mode::Import => Ok(()),
    }
}

/// Finds a schema under a subject; what it leaves out of a data contract is then taken from the latest version, as in
/// registering.
pub(super) fn look_up(core: &Core, subject: &str, body: &[u8], query: &Query) -> Answer {
    let deleted = query.flag("deleted");
    let versions = core.state.versions(subject);
    let visible = versions.filter(|(_, version)| deleted || !version.deleted);
    if visible.clone().next().is_none() {
        return Err(ApiError::no_subject(subject));
    }
    let mut draft = Draft::read(body)?;
    let posted = draft.clone().parse_leniently(core, subject, query)?;
    let mut found = posted.among(core, visible.clone());
    if let (None, Some((_, latest))) = (found, core.state.latest(subject))
        && draft.inherit(&latest.schema)
    {
        let posted = draft.parse_leniently(core, subject, query)?;
        found = posted.among(core, visible);
    }
    match found {
        Some((number, version)) => Outcome::read(describe(core, subject, number, version, query)?),
        None => Err(ApiError::no_schema()),
    }
}

pub(super) fn list(core: &Core, query: &Query) -> Answer {
    let prefix = query.text("subjectPrefix").unwrap_or("");
    let prefix = prefix
        .strip_prefix(":*:")
        .or(prefix.strip_prefix(":.:"))
        .unwrap_or(prefix);
    let (deleted, only) = (query.flag("deleted"), query.flag("deletedOnly"));
    let matching = core.state.subjects().filter(|(name, versions)| {
        let live = versions.values().any(|version| !version.deleted);
        name.starts_with(prefix) && if only { !live } else { live || deleted }
    });
    Outcome::read(Json::Array(
        query.page(matching.map(|(name, _)| Json::string(name)).collect()),
    ))
}

pub(super) fn versions(core: &Core, subject: &str, query: &Query) -> Answer {
    let (deleted, only, negative) = (
        query.flag("deleted"),
        query.flag("deletedOnly"),
        query.flag("deletedAsNegative"),
    );
    let visible = |version: &Version| deleted || only || negative || !version.deleted;
    if !core
        .state
        .versions(subject)
        .any(|(_, version)| visible(version))
    {
        return Err(ApiError::no_subject(subject));
    }
    let numbers = core
        .state
        .versions(subject)
        .filter(|(_, version)| visible(version) && (version.deleted || !only))
        .map(|(number, version)| {
            Json::int(
                if negative && version.deleted {
                    -number
                } else {
                    number
                }
                .into(),
            )
        });
    Outcome::read(Json::Array(query.page(numbers.collect())))
}

pub(super) fn version(core: &Core, subject: &str, wanted: &str, query: &Query) -> Answer {
    let (number, version) = find(core, subject, wanted, query.flag("deleted"))?;
    Outcome::read(describe(core, subject, number, version, query)?)
}

pub(super) fn text(core: &Core, subject: &str, wanted: &str, query: &Query) -> Answer {
    let (_, version) = find(core, subject, wanted, query.flag("deleted"))?;
    Outcome::raw(formatted(core, &version.schema, query)?)
}

pub(super) fn referenced_by(core: &Core, subject: &str, wanted: &str, query: &Query) -> Answer {
    let (number, _) = find(core, subject, wanted, true)?;
    let ids = core.state.referenced_by(subject, number);
    Outcome::read(Json::Array(
        query.page(ids.into_iter().map(|id| Json::int(id.into())).collect()),
    ))
}

/// Finds a version by its number or by `latest`.
pub(super) fn find<'a>(
    core: &'a Core,
    subject: &str,
    wanted: &str,
    deleted: bool,
) -> Result<(i32, &'a Version), ApiError> {
    let visible = |(_, version): &(i32, &Version)| deleted || !version.deleted;
    let number = version_number(wanted)?;
    if !core.state.versions(subject).any(|v| visible(&v)) {
        return Err(ApiError::no_subject(subject));
    }
    match number {
        None => core
            .state
            .latest(subject)
            .ok_or_else(|| ApiError::no_version(-1)),
        Some(number) => {
            let found = core
                .state
                .versions(subject)
                .find(|v| v.0 == number && visible(v));
            found.ok_or_else(|| ApiError::no_version(number))
        }
    }
}

/// Reads a version in a path; `None` is the latest.
pub(super) fn version_number(wanted: &str) -> Result<Option<i32>, ApiError> {
    if wanted.eq_ignore_ascii_case("latest") || wanted == "-1" {
        return Ok(None);
    }
    match wanted.parse::<i32>() {
        Ok(number) if number > 0 => Ok(Some(number)),
        _ => Err(ApiError::invalid_version(wanted)),
    }
}

pub(super) fn describe(
    core: &Core,
    subject: &str,
    number: i32,
    version: &Version,
    query: &Query,
) -> Result<Json, ApiError> {
    let mut members = vec![
        ("subject".to_owned(), Json::string(subject)),
        ("version".to_owned(), Json::int(number.into())),
        ("id".to_owned(), Json::int(version.id.into())),
    ];
    version.schema.write_attributes(&mut members);
    members.push((
        "schema".to_owned(),
        Json::string(formatted(core, &version.schema, query)?),
    ));
    Ok(Json::Object(members))
}

/// Returns the text in the format asked for; formats that nobody knows mean the stored one, as in Confluent's registry.
pub(super) fn formatted(core: &Core, schema: &Schema, query: &Query) -> Result<String, ApiError> {
    if query.text("format") != Some("resolved") || schema.kind != AVRO {
        return Ok(schema.text.to_string());
    }
    resolved(&core.state, schema).map_err(ApiError::invalid_schema)
}

pub(super) fn delete(core: &Core, subject: &str, query: &Query) -> Answer {
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
    check_unreferenced(core, subject, &going)?;
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
    Outcome::write(
        Json::Array(
            going
                .into_iter()
                .map(|number| Json::int(number.into()))
                .collect(),
        ),
        records,
    )
}

pub(super) fn delete_version(core: &Core, subject: &str, wanted: &str, query: &Query) -> Answer {
    let permanent = query.flag("permanent");
    let (number, version) = find(core, subject, wanted, true)?;
    if version.deleted && !permanent {
        return Err(ApiError::version_soft_deleted(subject, number));
    }
    check_writable(core, subject)?;
    check_unreferenced(core, subject, &[number])?;
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
        if core
            .state
            .live_versions(subject)
            .all(|(other, _)| other == number)
        {
            records.extend(forget_settings(core, subject));
        }
    }
    Outcome::write(Json::int(number.into()), records)
}

fn check_unreferenced(core: &Core, subject: &str, going: &[i32]) -> Result<(), ApiError> {
    let referenced = core.state.referenced_versions(subject);
    match going.iter().find(|number| referenced.contains(*number)) {
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
fn forget_settings(core: &Core, subject: &str) -> Vec<Record> {
    let mut records = Vec::new();
    if core.state.mode(Some(subject)).is_some() {
        records.push(Record::Mode {
            subject: Some(subject.to_owned()),
            mode: None,
        });
    }
    if core.state.config(Some(subject)).is_some() {
        records.push(Record::Config {
            subject: Some(subject.to_owned()),
            value: None,
        });
    }
    records
}
