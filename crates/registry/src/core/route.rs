//! From a method and a path to the handler.
//!
//! Routing is part of the core, not of the web framework, because clients depend on its details: percent-encoded subjects,
//! `TRUE` as a boolean, JSON bodies for unknown paths and wrong methods.

use lw_schemas::Json;

use super::{
    Answer, ApiError, Core, Outcome, Request, compatibility, config, delete, mode, register,
    schemas, subjects,
};

/// The query string, decoded. The last of repeated keys counts.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    fn parse(text: &str) -> Query {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Query(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(key, value)| {
                    (
                        decode(&key.replace('+', " ")),
                        decode(&value.replace('+', " ")),
                    )
                })
                .collect(),
        )
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .rev()
            .find(|(k, _)| k == key)
            .map(|(_, value)| value.as_str())
    }

    pub(super) fn flag(&self, key: &str) -> bool {
        self.text(key)
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// The subjects that a list is asked for. All are in the default context, which a prefix may name.
    pub(super) fn subject_prefix(&self) -> &str {
        let prefix = self.text("subjectPrefix").unwrap_or("");
        let inner = prefix.strip_prefix(":*:").or(prefix.strip_prefix(":.:"));
        inner.unwrap_or(prefix)
    }

    /// Answers with the part of a list that `offset` and `limit` ask for; a limit below one means all.
    pub(super) fn page(&self, items: impl Iterator<Item = Json>) -> Answer {
        Outcome::read(Json::Array(self.part(items, usize::MAX).collect()))
    }

    /// Takes the part of a list that is asked for, and never more than `most`.
    pub(super) fn part<T>(
        &self,
        items: impl Iterator<Item = T>,
        most: usize,
    ) -> impl Iterator<Item = T> {
        let number = |key: &str| {
            let number = self.text(key).and_then(|v| v.parse::<i64>().ok());
            number.and_then(|v| usize::try_from(v).ok())
        };
        let (offset, limit) = (number("offset"), number("limit"));
        let limit = limit.filter(|limit| *limit > 0).unwrap_or(most).min(most);
        items.skip(offset.unwrap_or(0)).take(limit)
    }
}

pub(super) fn route(core: &Core, request: &Request<'_>) -> Answer {
    let segments: Vec<String> = match request.path.trim_matches('/') {
        "" => Vec::new(),
        path => path.split('/').map(decode).collect(),
    };
    let mut path: Vec<&str> = segments.iter().map(String::as_str).collect();
    if path.contains(&"") {
        return Err(ApiError::no_route());
    }
    if let ["contexts", context, _, ..] = path[..] {
        if !matches!(context, "." | ":.:") {
            return Err(ApiError::no_contexts(context));
        }
        path.drain(..2);
    }
    let query = Query::parse(request.query);
    let body = request.body;
    // The server leaves the body of an answer to HEAD away.
    let method = match request.method {
        "HEAD" => "GET",
        method => method,
    };
    match (method, &path[..]) {
        ("GET" | "POST", []) => Outcome::read(Json::Object(Vec::new())),
        ("GET", ["contexts"]) => Outcome::read(Json::Array(vec![Json::string(".")])),
        ("GET", ["v1", "metadata", "id"]) => metadata_id(core),
        ("GET", ["v1", "metadata", "version"]) => metadata_version(),

        ("GET", ["subjects"]) => subjects::list(core, &query),
        ("POST", ["subjects", subject]) => subjects::look_up(core, &named(subject)?, body, &query),
        ("DELETE", ["subjects", subject]) => delete::subject(core, &named(subject)?, &query),
        ("GET", ["subjects", subject, "versions"]) => {
            subjects::versions(core, &named(subject)?, &query)
        }
        ("POST", ["subjects", subject, "versions"]) => {
            register::register(core, &named(subject)?, body, &query)
        }
        ("GET", ["subjects", subject, "versions", v]) => {
            subjects::version(core, &named(subject)?, v, &query)
        }
        ("DELETE", ["subjects", subject, "versions", v]) => {
            delete::version(core, &named(subject)?, v, &query)
        }
        ("GET", ["subjects", subject, "versions", v, "schema"]) => {
            subjects::text(core, &named(subject)?, v, &query)
        }
        ("GET", ["subjects", subject, "versions", v, "referencedby"]) => {
            subjects::referenced_by(core, &named(subject)?, v, &query)
        }

        ("GET", ["schemas"]) => schemas::list(core, &query),
        ("GET", ["schemas", "types"]) => {
            Outcome::read(Json::Array(vec![Json::string(crate::record::AVRO)]))
        }
        ("GET", ["schemas", "ids", id]) => schemas::by_id(core, number(id)?, &query),
        ("GET", ["schemas", "ids", id, "schema"]) => schemas::text(core, number(id)?, &query),
        ("GET", ["schemas", "ids", id, "subjects"]) => schemas::subjects(core, number(id)?, &query),
        ("GET", ["schemas", "ids", id, "versions"]) => schemas::versions(core, number(id)?, &query),

        ("GET", ["config"]) => config::get(core, None, &query),
        ("PUT", ["config"]) => config::put(core, None, body),
        ("DELETE", ["config"]) => config::delete(core, None),
        ("GET", ["config", subject]) => config::get(core, Some(&named(subject)?), &query),
        ("PUT", ["config", subject]) => config::put(core, Some(&named(subject)?), body),
        ("DELETE", ["config", subject]) => config::delete(core, Some(&named(subject)?)),

        ("GET", ["mode"]) => mode::get(core, None, &query),
        ("PUT", ["mode"]) => mode::put(core, None, body, &query),
        ("DELETE", ["mode"]) => mode::delete(core, None),
        ("GET", ["mode", subject]) => mode::get(core, Some(&named(subject)?), &query),
        ("PUT", ["mode", subject]) => mode::put(core, Some(&named(subject)?), body, &query),
        ("DELETE", ["mode", subject]) => mode::delete(core, Some(&named(subject)?)),

        ("POST", ["compatibility", "subjects", subject, "versions"]) => {
            compatibility::with_all(core, &named(subject)?, body, &query)
        }
        ("POST", ["compatibility", "subjects", subject, "versions", v]) => {
            compatibility::with_version(core, &named(subject)?, v, body, &query)
        }
        (_, path) if is_known(path) => Err(ApiError::method_not_allowed()),
        _ => Err(ApiError::no_route()),
    }
}

/// Tells whether some method would have served the path.
fn is_known(path: &[&str]) -> bool {
    matches!(
        path,
        [] | ["contexts" | "subjects" | "schemas" | "config" | "mode"]
            | ["v1", "metadata", "id" | "version"]
            | ["schemas", "types"]
            | ["schemas", "ids", _]
            | ["schemas", "ids", _, "schema" | "subjects" | "versions"]
            | ["subjects" | "config" | "mode", _]
            | ["subjects", _, "versions"]
            | ["subjects", _, "versions", _]
            | ["subjects", _, "versions", _, "schema" | "referencedby"]
            | ["compatibility", "subjects", _, "versions"]
            | ["compatibility", "subjects", _, "versions", _]
    )
}

fn metadata_id(core: &Core) -> Answer {
    let clusters = Json::object([
        ("kafka-cluster", Json::string(&core.options.cluster_id)),
        ("schema-registry-cluster", Json::string("schema-registry")),
    ]);
    let scope = Json::object([("path", Json::Array(Vec::new())), ("clusters", clusters)]);
    Outcome::read(Json::object([("scope", scope), ("id", Json::string(""))]))
}

fn metadata_version() -> Answer {
    let version = Json::string(env!("CARGO_PKG_VERSION"));
    Outcome::read(Json::object([
        ("version", version),
        ("commitId", Json::string("")),
    ]))
}

/// Checks a subject's name and takes the default context off it.
fn named(subject: &str) -> Result<String, ApiError> {
    let name = subject.strip_prefix(":.:").unwrap_or(subject);
    if name.starts_with(":.") || name.starts_with(":*:") {
        return Err(ApiError::no_contexts(subject));
    }
    if name.is_empty()
        || name.chars().any(char::is_control)
        || matches!(name, "__GLOBAL" | "__EMPTY")
    {
        return Err(ApiError::invalid_subject(subject));
    }
    Ok(name.to_owned())
}

/// An id in a path; what is not a number is an unknown path.
fn number(id: &str) -> Result<u32, ApiError> {
    id.parse::<i32>()
        .ok()
        .and_then(|id| u32::try_from(id).ok())
        .ok_or_else(ApiError::no_route)
}

/// Undoes percent-encoding; what does not decode to UTF-8 stays readable.
fn decode(text: &str) -> String {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match rest {
            [b'%', high, low, ..] => digit(*high).zip(digit(*low)),
            _ => None,
        };
        bytes.push(escaped.map_or(*first, |(high, low)| high << 4 | low));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads a request body, which is always one JSON object.
pub(super) fn object(body: &[u8]) -> Result<Json, ApiError> {
    let text = std::str::from_utf8(body).map_err(|_| ApiError::bad_body("it is not UTF-8"))?;
    match Json::parse(text) {
        Ok(json @ Json::Object(_)) => Ok(json),
        Ok(other) => Err(ApiError::bad_body(&format!("it is {}", other.kind()))),
        Err(error) => Err(ApiError::bad_body(&format!(
            "{error}, at byte {}",
            error.offset
        ))),
    }
}
