//! `/subjects`: register, look up, list, delete.
//!
//! Registering, in steps:
//! 1. The subject's mode must allow it.
//! 2. The text must parse, references resolved; from here on it is the canonical text that counts.
//! 3. A live version that already says the same is the answer; nothing is written.
//! 4. The schema must be compatible with the earlier ones, as the subject's level asks (imports are not asked).
//! 5. A schema known under another subject keeps its id, a new one gets the next; the version is one behind the highest.

use std::sync::Arc;

use lw_schemas::{AvroSchema, Json, ParseOptions};

use super::route::{Query, object};
use super::{Answer, ApiError, Core, Event, Outcome, State, Version, compatibility};
use crate::record::{AVRO, Mode, Record, Reference, Schema, SchemaValue};

/// A schema as a request brings it, parsed.
pub(super) struct Posted {
    pub(super) schema: Schema,
    pub(super) parsed: AvroSchema,
    /// Given by imports only.
    id: Option<u32>,
    version: Option<i32>,
}

pub(super) fn posted(
    core: &Core,
    subject: &str,
    body: &[u8],
    query: &Query,
) -> Result<Posted, ApiError> {
    let body = object(body)?;
    let text = body
        .get("schema")
        .and_then(Json::as_str)
        .unwrap_or_default();
    if text.trim().is_empty() {
        return Err(ApiError::empty_schema());
    }
    let present = |key: &str| body.get(key).filter(|part| !part.is_null()).cloned();
    let number = |key: &str| body.get(key).and_then(Json::as_i64);
    let kind = body
        .get("schemaType")
        .and_then(Json::as_str)
        .unwrap_or(AVRO)
        .to_owned();
    check_type(&kind)?;
    let references = Reference::list(body.get("references")).ok_or_else(|| {
        ApiError::bad_body("\"references\" is a list of {\"name\", \"subject\", \"version\"}")
    })?;
    let mut schema = Schema {
        kind,
        text: text.into(),
        references,
        metadata: present("metadata"),
        rule_set: present("ruleSet"),
        other: Vec::new(),
    };
    let parsed = parse(&core.state, &schema, ParseOptions::default())
        .map_err(|detail| ApiError::unparsable_schema(subject, &schema, &detail))?;
    let canonical = if query.flag("normalize") {
        parsed.normalized_text()
    } else {
        parsed.canonical_text()
    };
    schema.text = canonical.into();
    let id = number("id")
        .filter(|id| *id >= 0)
        .and_then(|id| u32::try_from(id).ok());
    let version = number("version")
        .filter(|v| *v > 0)
        .and_then(|v| i32::try_from(v).ok());
    Ok(Posted {
        schema,
        parsed,
        id,
        version,
    })
}

fn check_type(kind: &str) -> Result<(), ApiError> {
    match kind {
        AVRO => Ok(()),
        "PROTOBUF" | "JSON" => Err(ApiError::invalid_schema(format!(
            "Invalid schema type {kind}, details: {kind} schemas are not supported yet; register the schema as AVRO"
        ))),
        _ => Err(ApiError::invalid_schema(format!(
            "Invalid schema type {kind}"
        ))),
    }
}

/// Parses a schema with what it refers to.
pub(super) fn parse(
    state: &State,
    schema: &Schema,
    options: ParseOptions,
) -> Result<AvroSchema, String> {
    let texts = state.resolve(&schema.references)?;
    let texts: Vec<&str> = texts.iter().map(|text| &**text).collect();
    AvroSchema::parse_with(&schema.text, &texts, options).map_err(|error| error.to_string())
}

pub(super) fn register(core: &Core, subject: &str, body: &[u8], query: &Query) -> Answer {
    let posted = posted(core, subject, body, query)?;
    check_mode(core, subject, posted.id)?;
    let state = &core.state;
    let identity = posted.schema.identity();
    let same = state
        .live_versions(subject)
        .find(|(_, v)| v.schema.identity() == identity);
    if let Some((_, version)) = same
        && posted.id.is_none_or(|id| id == version.id)
    {
        return Outcome::read(registered(version.id));
    }
    let next = state
        .versions(subject)
        .next_back()
        .map_or(1, |(highest, _)| highest + 1);
    let (id, version) = match posted.id {
        Some(id) => (
            imported_id(core, id, &posted.schema)?,
            posted.version.unwrap_or(next),
        ),
        None => {
            if posted.version.is_some_and(|version| version != next) {
                return Err(ApiError::invalid_schema(
                    "Version is not one more than previous version",
                ));
            }
            compatibility::check_registration(core, subject, &posted)?;
            (
                state
                    .id_of(&posted.schema)
                    .unwrap_or(state.highest_id() + 1),
                next,
            )
        }
    };
    let value = SchemaValue {
        id,
        deleted: false,
        schema: Arc::new(posted.schema),
    };
    let record = Record::Schema {
        subject: subject.to_owned(),
        version,
        value: Some(value),
    };
    let outcome = Outcome::write(registered(id), vec![record])?;
    Ok(Outcome {
        event: Some(Event::Registered),
        ..outcome
    })
}

fn registered(id: u32) -> Json {
    Json::object([("id", Json::int(id.into()))])
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

/// Every change to a subject asks this first.
pub(super) fn check_writable(core: &Core, subject: &str) -> Result<(), ApiError> {
    match core.state.mode_in_scope(subject) {
        Mode::ReadOnly | Mode::ReadOnlyOverride | Mode::Forward => Err(ApiError::not_permitted(
            format!("Subject {subject} is in read-only mode"),
        )),
        Mode::ReadWrite | Mode::Import => Ok(()),
    }
}

/// An id that is taken may be given again only to the schema that has it.
fn imported_id(core: &Core, id: u32, schema: &Schema) -> Result<u32, ApiError> {
    match core.state.schema_by_id(id) {
        Some(known) if known.identity() != schema.identity() => Err(ApiError::not_permitted(
            format!("Overwrite new schema with id {id} is not permitted."),
        )),
        _ => Ok(id),
    }
}

pub(super) fn look_up(core: &Core, subject: &str, body: &[u8], query: &Query) -> Answer {
    let deleted = query.flag("deleted");
    let visible = |version: &Version| deleted || !version.deleted;
    if !core
        .state
        .versions(subject)
        .any(|(_, version)| visible(version))
    {
        return Err(ApiError::no_subject(subject));
    }
    let identity = posted(core, subject, body, query)?.schema.identity();
    let mut versions = core
        .state
        .versions(subject)
        .rev()
        .filter(|(_, version)| visible(version));
    match versions.find(|(_, version)| version.schema.identity() == identity) {
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
    let numbers: Vec<Json> = core
        .state
        .versions(subject)
        .filter(|(_, version)| {
            if only {
                version.deleted
            } else {
                deleted || negative || !version.deleted
            }
        })
        .map(|(number, version)| {
            Json::int(
                if negative && version.deleted {
                    -number
                } else {
                    number
                }
                .into(),
            )
        })
        .collect();
    if numbers.is_empty() {
        return Err(ApiError::no_subject(subject));
    }
    Outcome::read(Json::Array(query.page(numbers)))
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
            .ok_or_else(|| ApiError::no_subject(subject)),
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

/// Returns a text that needs no references.
pub(super) fn resolved(state: &State, schema: &Schema) -> Result<String, String> {
    if schema.references.is_empty() {
        return Ok(schema.text.to_string());
    }
    let lenient = ParseOptions {
        validate_defaults: false,
        ..ParseOptions::default()
    };
    parse(state, schema, lenient).map(|parsed| parsed.resolved_text())
}

pub(super) fn delete(core: &Core, subject: &str, query: &Query) -> Answer {
    check_writable(core, subject)?;
    let permanent = query.flag("permanent");
    let all: Vec<(i32, &Version)> = core.state.versions(subject).collect();
    let live = all.iter().any(|(_, version)| !version.deleted);
    match (all.is_empty(), live, permanent) {
        (true, ..) => return Err(ApiError::no_subject(subject)),
        (_, false, false) => return Err(ApiError::subject_soft_deleted(subject)),
        (_, true, true) => return Err(ApiError::subject_not_soft_deleted(subject)),
        _ => {}
    }
    let going: Vec<i32> = all
        .iter()
        .filter(|(_, v)| permanent || !v.deleted)
        .map(|(number, _)| *number)
        .collect();
    for number in &going {
        check_unreferenced(core, subject, *number)?;
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
    check_writable(core, subject)?;
    let permanent = query.flag("permanent");
    let (number, version) = find(core, subject, wanted, true)?;
    match (permanent, version.deleted) {
        (false, true) => return Err(ApiError::version_soft_deleted(subject, number)),
        (true, false) => return Err(ApiError::version_not_soft_deleted(subject, number)),
        _ => {}
    }
    check_unreferenced(core, subject, number)?;
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

fn check_unreferenced(core: &Core, subject: &str, number: i32) -> Result<(), ApiError> {
    if core.state.referenced_by(subject, number).is_empty() {
        return Ok(());
    }
    Err(ApiError::reference_exists(subject, number))
}

fn tombstone(subject: &str, version: i32) -> Record {
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
