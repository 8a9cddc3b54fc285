//! `/schemas`: what an id means and where it is used.

use lw_schemas::Json;

use super::route::Query;
use super::subjects::{describe, formatted};
use super::{Answer, ApiError, Core, Outcome};

pub(super) fn list(core: &Core, query: &Query) -> Answer {
    let prefix = query.text("subjectPrefix").unwrap_or("");
    let prefix = prefix
        .strip_prefix(":*:")
        .or(prefix.strip_prefix(":.:"))
        .unwrap_or(prefix);
    let (deleted, latest) = (query.flag("deleted"), query.flag("latestOnly"));
    let mut found = Vec::new();
    for (subject, versions) in core
        .state
        .subjects()
        .filter(|(name, _)| name.starts_with(prefix))
    {
        let visible = versions
            .iter()
            .rev()
            .filter(|(_, version)| deleted || !version.deleted);
        let wanted = if latest { 1 } else { usize::MAX };
        let mut here: Vec<_> = visible
            .take(wanted)
            .map(|(number, version)| (subject, *number, version))
            .collect();
        here.reverse();
        found.extend(here);
    }
    let shown = query
        .page(found)
        .into_iter()
        .map(|(subject, number, version)| describe(core, subject, number, version, query));
    Outcome::read(Json::Array(shown.collect::<Result<_, _>>()?))
}

pub(super) fn by_id(core: &Core, id: u32, query: &Query) -> Answer {
    let schema = core
        .state
        .schema_by_id(id)
        .ok_or_else(|| ApiError::no_schema_with_id(id))?;
    let mut members = Vec::new();
    if schema.kind != crate::record::AVRO {
        members.push(("schemaType".to_owned(), Json::string(&schema.kind)));
    }
    members.push((
        "schema".to_owned(),
        Json::string(formatted(core, schema, query)?),
    ));
    let mut attributes = Vec::new();
    schema.write_attributes(&mut attributes);
    members.extend(
        attributes
            .into_iter()
            .filter(|(key, _)| key != "schemaType"),
    );
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
    Outcome::read(Json::Array(
        query.page(names.into_iter().map(Json::string).collect()),
    ))
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
    Outcome::read(Json::Array(query.page(pairs.collect())))
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
