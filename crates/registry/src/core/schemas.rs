//! `/schemas`: what an id means and where it is used.

use lw_schemas::Json;

use super::route::Query;
use super::subjects::{describe, formatted};
use super::{Answer, ApiError, Core, Outcome};

/// Confluent's registry lists no more schemas at once either; `offset` leads to the others.
const MOST_LISTED: usize = 1_000;

pub(super) fn list(core: &Core, query: &Query) -> Answer {
    let prefix = query.subject_prefix();
    let (deleted, latest) = (query.flag("deleted"), query.flag("latestOnly"));
    let subjects = core.state.subjects();
    let matching = subjects.filter(|(name, _)| name.starts_with(prefix));
    let versions = matching.flat_map(|(name, versions)| {
        let visible = versions.iter().filter(move |(_, v)| deleted || !v.deleted);
        let passed_over = if latest {
            visible.clone().count().saturating_sub(1)
        } else {
            0
        };
        visible.skip(passed_over).map(move |found| (name, found))
    });
    let shown = query
        .part(versions, MOST_LISTED)
        .map(|(name, (number, version))| describe(core, name, *number, version, query));
    Outcome::read(Json::Array(shown.collect::<Result<_, _>>()?))
}

pub(super) fn by_id(core: &Core, id: u32, query: &Query) -> Answer {
    let schema = core
        .state
        .schema_by_id(id)
        .ok_or_else(|| ApiError::no_schema_with_id(id))?;
    let mut members = Vec::new();
    schema.write_attributes(&mut members);
    let text = Json::string(formatted(core, schema, query)?);
    members.push(("schema".to_owned(), text));
    if query.flag("fetchMaxId") {
        members.push((
            "maxId".to_owned(),
            Json::int(core.state.highest_id().into()),
        ));
    }
    Outcome::read(Json::Object(members))
}

pub(super) fn text(core: &Core, id: u32, query: &Query) -> Answer {
    let schema = core
        .state
        .schema_by_id(id)
        .ok_or_else(|| ApiError::no_schema_with_id(id))?;
    Outcome::raw(formatted(core, schema, query)?)
}

pub(super) fn subjects(core: &Core, id: u32, query: &Query) -> Answer {
    let mut names: Vec<&str> = uses(core, id, query)?
        .into_iter()
        .map(|(subject, _)| subject)
        .collect();
    names.dedup();
    query.page(names.into_iter().map(Json::string))
}

pub(super) fn versions(core: &Core, id: u32, query: &Query) -> Answer {
    let pairs = uses(core, id, query)?
        .into_iter()
        .map(|(subject, version)| {
            Json::object([
                ("subject", Json::string(subject)),
                ("version", Json::int(version.into())),
            ])
        });
    query.page(pairs)
}

fn uses<'a>(core: &'a Core, id: u32, query: &Query) -> Result<Vec<(&'a str, i32)>, ApiError> {
    if core.state.schema_by_id(id).is_none() {
        return Err(ApiError::no_schema());
    }
    let (deleted, subject) = (
        query.flag("deleted"),
        query.text("subject").filter(|s| !s.is_empty()),
    );
    let wanted = |name: &str, gone: bool| (deleted || !gone) && subject.is_none_or(|s| s == name);
    Ok(core
        .state
        .uses(id)
        .filter(|(name, _, gone)| wanted(name, *gone))
        .map(|(name, v, _)| (name, v))
        .collect())
}
