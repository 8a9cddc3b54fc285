//! `/subjects`: look up and list. [Registering](super::register) and [deleting](super::delete) are files of their own.

use lw_schemas::Json;

use super::posted::{Draft, resolved};
use super::route::Query;
use super::{Answer, ApiError, Core, Outcome, Version};
use crate::record::{AVRO, Mode, Schema};

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
    let (deleted, only) = (query.flag("deleted"), query.flag("deletedOnly"));
    let prefix = query.subject_prefix();
    let matching = core.state.subjects().filter(|(name, versions)| {
        let live = versions.values().any(|version| !version.deleted);
        name.starts_with(prefix) && if only { !live } else { live || deleted }
    });
    query.page(matching.map(|(name, _)| Json::string(name)))
}

pub(super) fn versions(core: &Core, subject: &str, query: &Query) -> Answer {
    let (deleted, only) = (query.flag("deleted"), query.flag("deletedOnly"));
    let negative = query.flag("deletedAsNegative");
    let all = core.state.versions(subject);
    let mut visible = all
        .filter(|(_, version)| deleted || only || negative || !version.deleted)
        .peekable();
    if visible.peek().is_none() {
        return Err(ApiError::no_subject(subject));
    }
    let listed = visible.filter(|(_, version)| version.deleted || !only);
    query.page(listed.map(|(number, version)| {
        let sign = if negative && version.deleted { -1 } else { 1 };
        Json::int((sign * number).into())
    }))
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
    query.page(ids.into_iter().map(|id| Json::int(id.into())))
}

/// Finds a version by its number or by `latest`.
pub(super) fn find<'a>(
    core: &'a Core,
    subject: &str,
    wanted: &str,
    deleted: bool,
) -> Result<(i32, &'a Version), ApiError> {
    let number = version_number(wanted)?;
    let all = core.state.versions(subject);
    let mut visible = all.filter(|(_, version)| deleted || !version.deleted);
    if visible.clone().next().is_none() {
        return Err(ApiError::no_subject(subject));
    }
    let found = match number {
        None => core.state.latest(subject),
        Some(wanted) => visible.find(|(number, _)| *number == wanted),
    };
    found.ok_or_else(|| ApiError::no_version(number.unwrap_or(-1)))
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
