//! May a schema become the next version? Asked by registration, and by `/compatibility` without consequences.
//!
//! A level that is not transitive looks at the latest version only; a transitive one goes from the newest to the oldest and
//! stops at the first that fails. Messages, their order and their tail are Confluent's: FULL lists what old readers cannot
//! do first and tells the old schema only when the new reader fails too.

use lw_schemas::{AvroSchema, Json, compat};

use super::config::Level;
use super::error::{SHOWN_BYTES, cut};
use super::posted::{Draft, Posted};
use super::route::Query;
use super::subjects::{find, version_number};
use super::{Answer, ApiError, Core, Outcome, Version};
use crate::record::AVRO;

pub(super) fn check_registration(
    core: &Core,
    subject: &str,
    posted: &Posted,
) -> Result<(), ApiError> {
    let earlier = core.state.live_versions(subject).rev();
    let messages = check(core, subject, posted, earlier)?;
    if messages.is_empty() {
        return Ok(());
    }
    Err(ApiError::incompatible(
        core.options.incompatible_code,
        subject,
        &messages,
    ))
}

pub(super) fn with_all(core: &Core, subject: &str, body: &[u8], query: &Query) -> Answer {
    let posted = Draft::read(body)?.parse(core, subject, query)?;
    let messages = check(
        core,
        subject,
        &posted,
        core.state.live_versions(subject).rev(),
    )?;
    verdict(messages, query)
}

pub(super) fn with_version(
    core: &Core,
    subject: &str,
    wanted: &str,
    body: &[u8],
    query: &Query,
) -> Answer {
    let number = version_number(wanted)?;
    let found = match find(core, subject, wanted, false) {
        Ok(found) => Some(found),
        // Nothing is there yet that a first version could contradict.
        Err(_) if number.is_none() => None,
        Err(_) => return Err(ApiError::no_version(number.unwrap_or_default())),
    };
    let posted = Draft::read(body)?.parse(core, subject, query)?;
    let messages = check(core, subject, &posted, found.into_iter())?;
    verdict(messages, query)
}

fn verdict(messages: Vec<String>, query: &Query) -> Answer {
    let mut members = vec![("is_compatible", Json::Bool(messages.is_empty()))];
    if query.flag("verbose") {
        members.push((
            "messages",
            Json::Array(messages.into_iter().map(Json::String).collect()),
        ));
    }
    Outcome::read(Json::object(members))
}

/// Compares with earlier versions, newest first.
fn check<'a>(
    core: &Core,
    subject: &str,
    posted: &Posted,
    earlier: impl Iterator<Item = (i32, &'a Version)>,
) -> Result<Vec<String>, ApiError> {
    let (name, level) = Level::in_scope(core, subject);
    if !level.backward && !level.forward {
        return Ok(Vec::new());
    }
    let count = if level.transitive { usize::MAX } else { 1 };
    for (number, version) in earlier.take(count) {
        let mut messages = compare(core, level, &posted.parsed, number, version)?;
        if !messages.is_empty() {
            messages.push(format!(
                "{{validateFields: 'false', compatibility: '{name}'}}"
            ));
            return Ok(messages);
        }
    }
    Ok(Vec::new())
}

fn compare(
    core: &Core,
    level: Level,
    new: &AvroSchema,
    number: i32,
    version: &Version,
) -> Result<Vec<String>, ApiError> {
    let schema = &version.schema;
    let mut messages = Vec::new();
    let tail = |messages: &mut Vec<String>| {
        messages.push(format!("{{oldSchemaVersion: {number}}}"));
        messages.push(shown(&schema.text));
    };
    if schema.kind != AVRO {
        messages.push("Incompatible because of different schema type".to_owned());
        tail(&mut messages);
        return Ok(messages);
    }
    let old = core.parsed.get(&core.state, schema).map_err(|detail| {
        ApiError::invalid_schema(format!(
            "the earlier version {number} cannot be read, details: {detail}"
        ))
    })?;
    if level.forward {
        messages.extend(
            compat::check(&old, new)
                .iter()
                .map(|finding| finding.describe("old", "new")),
        );
        if !messages.is_empty() && !level.backward {
            tail(&mut messages);
        }
    }
    if level.backward {
        let findings = compat::check(new, &old);
        messages.extend(
            findings
                .iter()
                .map(|finding| finding.describe("new", "old")),
        );
        if !findings.is_empty() {
            tail(&mut messages);
        }
    }
    Ok(messages)
}

fn shown(text: &str) -> String {
    if text.len() <= SHOWN_BYTES {
        return format!("{{oldSchema: '{text}'}}");
    }
    let start = cut(text);
    format!("{{oldSchema: <truncated to {SHOWN_BYTES} characters> '{start}'}}")
}
