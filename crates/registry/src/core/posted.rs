//! A schema as a request brings it: read, parsed, and found among those that a subject has.

use std::sync::Arc;

use lw_schemas::{AvroSchema, Json, ParseOptions};

use super::route::{Query, object};
use super::{ApiError, Core, State, Version, config};
use crate::record::{AVRO, Reference, Schema};

/// A request's body, not parsed yet.
#[derive(Clone)]
pub(super) struct Draft {
    pub(super) schema: Schema,
    /// Given by imports only.
    pub(super) id: Option<u32>,
    pub(super) version: Option<i32>,
}

/// A schema that parses. Its text is the canonical one, and from here on only that counts.
pub(super) struct Posted {
    pub(super) schema: Schema,
    pub(super) parsed: AvroSchema,
}

impl Draft {
    pub(super) fn read(body: &[u8]) -> Result<Draft, ApiError> {
        let body = object(body)?;
        let kind = text(&body, "schemaType")?.unwrap_or(AVRO).to_owned();
        let references = Reference::list(body.get("references")).ok_or_else(|| {
            ApiError::bad_body("\"references\" is a list of {\"name\", \"subject\", \"version\"}")
        })?;
        let schema = Schema {
            text: text(&body, "schema")?.unwrap_or_default().into(),
            kind,
            references,
            metadata: part(&body, "metadata")?,
            rule_set: part(&body, "ruleSet")?,
            other: Vec::new(),
        };
        // Clients say −1 for "no id" and 0 or −1 for "the next version".
        let id = number(&body, "id")?.and_then(|id| u32::try_from(id).ok());
        let version = number(&body, "version")?.filter(|version| *version > 0);
        Ok(Draft {
            schema,
            id,
            version,
        })
    }

    /// Takes over what the request leaves out: a data contract goes on until somebody changes it. Tells whether it did.
    pub(super) fn inherit(&mut self, earlier: &Schema) -> bool {
        let own = &mut self.schema;
        let mut inherited = false;
        if own.text.trim().is_empty() {
            own.text = earlier.text.clone();
            own.kind.clone_from(&earlier.kind);
            own.references.clone_from(&earlier.references);
            inherited = true;
        }
        for (own, earlier) in [
            (&mut own.metadata, &earlier.metadata),
            (&mut own.rule_set, &earlier.rule_set),
        ] {
            if own.is_none() && earlier.is_some() {
                own.clone_from(earlier);
                inherited = true;
            }
        }
        inherited
    }

    /// Parses a schema that is to be registered now: its defaults must fit.
    pub(super) fn parse(
        self,
        core: &Core,
        subject: &str,
        query: &Query,
    ) -> Result<Posted, ApiError> {
        posted(core, subject, self.schema, query, ParseOptions::default())
    }

    /// Parses a schema that was registered before, here or elsewhere, by whatever rules held then.
    pub(super) fn parse_leniently(
        self,
        core: &Core,
        subject: &str,
        query: &Query,
    ) -> Result<Posted, ApiError> {
        posted(core, subject, self.schema, query, lenient())
    }
}

fn posted(
    core: &Core,
    subject: &str,
    mut schema: Schema,
    query: &Query,
    options: ParseOptions,
) -> Result<Posted, ApiError> {
    if schema.text.trim().is_empty() {
        return Err(ApiError::empty_schema());
    }
    check_type(&schema.kind)?;
    let parts = [&schema.metadata, &schema.rule_set];
    let parts = parts
        .into_iter()
        .flatten()
        .map(|part| part.to_string().len());
    let (size, limit) = (
        schema.text.len() + parts.sum::<usize>(),
        options.limits.bytes,
    );
    if size > limit {
        return Err(ApiError::too_large(size, limit));
    }
    // R2: a reference to the latest version means the one that is the latest now.
    for reference in &mut schema.references {
        if let (-1, Some((number, _))) = (reference.version, core.state.latest(&reference.subject))
        {
            reference.version = number;
        }
    }
    let parsed = parse(&core.state, &schema, options)
        .map_err(|detail| ApiError::unparsable_schema(subject, &schema, &detail))?;
    let canonical = if query.flag("normalize") || config::normalizes(core, subject) {
        parsed.normalized_text()
    } else {
        parsed.canonical_text()
    };
    let text = canonical.into();
    let schema = Schema { text, ..schema };
    Ok(Posted { schema, parsed })
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

impl Posted {
    /// Finds the newest version of a subject that says the same.
    pub(super) fn among<'a, V>(&self, core: &'a Core, versions: V) -> Option<(i32, &'a Version)>
    where
        V: DoubleEndedIterator<Item = (i32, &'a Version)> + Clone,
    {
        let ids = core.state.ids_of(&self.schema);
        let same = |(_, version): &(i32, &Version)| ids.is_some_and(|i| i.contains(&version.id));
        if let Some(found) = versions.clone().rev().find(same) {
            return Some(found);
        }
        // Serializers of generated classes know a schema only with its references written out.
        if !self.schema.references.is_empty() {
            return None;
        }
        let written_out = self.parsed.resolved_text();
        let same = |(_, version): &(i32, &Version)| {
            let (ours, theirs) = (&self.schema, &*version.schema);
            !theirs.references.is_empty()
                && (&ours.metadata, &ours.rule_set) == (&theirs.metadata, &theirs.rule_set)
                && resolved(&core.state, theirs).is_ok_and(|text| text == written_out)
        };
        versions.rev().find(same)
    }
}

/// Parses a schema with what it refers to.
pub(super) fn parse(
    state: &State,
    schema: &Schema,
    options: ParseOptions,
) -> Result<AvroSchema, String> {
    let texts: Vec<Arc<str>> = state.resolve(&schema.references)?;
    let texts: Vec<&str> = texts.iter().map(|text| &**text).collect();
    AvroSchema::parse_with(&schema.text, &texts, options).map_err(|error| error.to_string())
}

/// Returns a text that needs no references.
pub(super) fn resolved(state: &State, schema: &Schema) -> Result<String, String> {
    if schema.references.is_empty() {
        return Ok(schema.text.to_string());
    }
    parse(state, schema, lenient()).map(|parsed| parsed.resolved_text())
}

pub(super) fn lenient() -> ParseOptions {
    ParseOptions {
        validate_defaults: false,
        ..ParseOptions::default()
    }
}

fn present<'a>(body: &'a Json, key: &str) -> Option<&'a Json> {
    body.get(key).filter(|value| !value.is_null())
}

fn text<'a>(body: &'a Json, key: &str) -> Result<Option<&'a str>, ApiError> {
    let wrong = |value: &Json| {
        let (kind, hint) = (value.kind(), "a string with the schema's text inside");
        let hint = if key == "schema" { hint } else { "a string" };
        ApiError::bad_body(&format!("\"{key}\" is {hint}, not {kind}"))
    };
    present(body, key)
        .map(|value| value.as_str().ok_or_else(|| wrong(value)))
        .transpose()
}

fn part(body: &Json, key: &str) -> Result<Option<Json>, ApiError> {
    let wrong =
        |value: &Json| ApiError::bad_body(&format!("\"{key}\" is an object, not {}", value.kind()));
    present(body, key)
        .map(|value| match value {
            Json::Object(_) => Ok(value.clone()),
            other => Err(wrong(other)),
        })
        .transpose()
}

/// Reads a number that fits what clients store ids and versions in, 32 bits with a sign.
fn number(body: &Json, key: &str) -> Result<Option<i32>, ApiError> {
    let wrong = |_| ApiError::bad_body(&format!("\"{key}\" is a whole number up to {}", i32::MAX));
    present(body, key)
        .map(|value| {
            let number = value.as_i64().ok_or(()).map_err(wrong)?;
            i32::try_from(number).map_err(|_| wrong(()))
        })
        .transpose()
}
