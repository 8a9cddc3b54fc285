//! Registering, in steps:
//! 1. The subject's mode must allow it.
//! 2. What the request leaves out is taken over from the latest version: metadata and rules, even the text.
//! 3. The text must parse, references resolved; from here on it is the canonical text that counts.
//! 4. A live version that already says the same is the answer; nothing is written.
//! 5. The schema must be compatible with the earlier ones, as the subject's level asks.
//! 6. A schema known under another subject keeps its id, a new one gets the next; the version is one behind the highest.
//!
//! Imports bring ids and versions with them and are history: steps 2 and 5 are left out, and defaults need not fit.

use std::sync::Arc;

use lw_schemas::Json;

use super::delete::tombstone;
use super::posted::{Draft, Posted};
use super::route::Query;
use super::subjects::check_writable;
use super::{Answer, ApiError, Core, Event, Outcome, compatibility};
use crate::record::{Mode, Record, Schema, SchemaValue};

/// Ids and versions are signed 32-bit numbers to clients.
const HIGHEST: u32 = i32::MAX as u32;

pub(super) fn register(core: &Core, subject: &str, body: &[u8], query: &Query) -> Answer {
    let mut draft = Draft::read(body)?;
    let (id, version) = (draft.id, draft.version);
    check_mode(core, subject, id)?;
    let latest = core.state.latest(subject);
    let inherited = match latest {
        Some((_, latest)) if id.is_none() => draft.inherit(&latest.schema),
        _ => false,
    };
    let posted = match id {
        None => draft.parse(core, subject, query)?,
        Some(_) => draft.parse_leniently(core, subject, query)?,
    };
    if let Some((number, same)) = posted.among(core, core.state.live_versions(subject))
        && id.is_none_or(|id| id == same.id && version.is_none_or(|version| version == number))
    {
        return Outcome::read(registered(
            same.id,
            inherited.then_some((number, &*same.schema)),
        ));
    }
    let (id, version) = match id {
        Some(id) => imported(core, subject, id, version, &posted.schema)?,
        None => new(core, subject, version, &posted)?,
    };
    let mut records = superseded(core, subject, id, version);
    // R2: an id has one text, however the members of its properties are ordered here.
    let schema = match core.state.schema_by_id(id) {
        Some(known) if known.identity() == posted.schema.identity() => known.clone(),
        _ => Arc::new(posted.schema),
    };
    let value = SchemaValue {
        id,
        deleted: false,
        schema,
    };
    let shown = inherited.then_some((version, &*value.schema));
    let answer = registered(id, shown);
    records.push(Record::Schema {
        subject: subject.to_owned(),
        version,
        value: Some(value),
    });
    Ok(Outcome {
        event: Some(Event::Registered),
        ..Outcome::write(answer, records)?
    })
}

/// Tells the id, and the schema too where it is not the one that was sent.
fn registered(id: u32, changed: Option<(i32, &Schema)>) -> Json {
    let mut members = vec![("id".to_owned(), Json::int(id.into()))];
    if let Some((version, schema)) = changed {
        members.push(("version".to_owned(), Json::int(version.into())));
        schema.write_attributes(&mut members);
        members.push(("schema".to_owned(), Json::string(&*schema.text)));
    }
    Json::Object(members)
}

fn check_mode(core: &Core, subject: &str, id: Option<u32>) -> Result<(), ApiError> {
    check_writable(core, subject)?;
    match (core.state.mode_in_scope(subject), id) {
        (Mode::Import, Some(_)) | (Mode::ReadWrite, None) => Ok(()),
        (_, Some(_)) => Err(ApiError::not_permitted(format!(
            "Subject {subject} is not in import mode"
        ))),
        (_, None) => Err(ApiError::not_permitted(format!(
            "Subject {subject} is not in read-write mode"
        ))),
    }
}

/// Chooses id and version of a schema that the subject does not have.
fn new(
    core: &Core,
    subject: &str,
    wanted: Option<i32>,
    posted: &Posted,
) -> Result<(u32, i32), ApiError> {
    compatibility::check_registration(core, subject, posted)?;
    let next = next_version(core, subject)?;
    if wanted.is_some_and(|version| version != next) {
        let message = "Version is not one more than previous version";
        return Err(ApiError::invalid_schema(message));
    }
    let known = core.state.ids_of(&posted.schema);
    let id = match known.and_then(|ids| ids.first()) {
        Some(id) => *id,
        None if core.state.highest_id() < HIGHEST => core.state.highest_id() + 1,
        None => return Err(ApiError::exhausted("id", HIGHEST)),
    };
    Ok((id, next))
}

/// An id that is taken may be given again only to the schema that has it.
fn imported(
    core: &Core,
    subject: &str,
    id: u32,
    version: Option<i32>,
    schema: &Schema,
) -> Result<(u32, i32), ApiError> {
    match core.state.schema_by_id(id) {
        Some(known) if known.identity() != schema.identity() => {
            return Err(ApiError::not_permitted(format!(
                "Overwrite new schema with id {id} is not permitted."
            )));
        }
        _ => {}
    }
    let version = version.map_or_else(|| next_version(core, subject), Ok)?;
    Ok((id, version))
}

fn next_version(core: &Core, subject: &str) -> Result<i32, ApiError> {
    match core.state.versions(subject).next_back() {
        None => Ok(1),
        Some((highest, _)) => highest
            .checked_add(1)
            .ok_or_else(|| ApiError::exhausted("version", HIGHEST)),
    }
}

/// Soft-deleted versions of the same schema end when it comes back, unless a reference, deleted or not, needs their number.
fn superseded(core: &Core, subject: &str, id: u32, version: i32) -> Vec<Record> {
    let earlier = core.state.versions(subject);
    let same = earlier.filter(|(number, v)| v.deleted && v.id == id && *number < version);
    same.map(|(number, _)| number)
        .filter(|number| !core.state.is_referenced(subject, *number))
        .map(|number| tombstone(subject, number))
        .collect()
}
