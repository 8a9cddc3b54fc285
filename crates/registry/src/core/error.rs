//! Refusals, with the codes and words that Confluent's clients expect.
//!
//! The HTTP status says the family, `error_code` the case; some clients even match on the message, so the texts of errors
//! that Confluent knows are Confluent's. Errors of our own (things not supported yet) say what to do instead.

use lw_schemas::Json;

use super::Event;
use crate::record::{Reference, Schema};

/// A refused request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    pub status: u16,
    pub code: u32,
    pub message: String,
    pub event: Option<Event>,
}

impl ApiError {
    fn new(status: u16, code: u32, message: impl Into<String>) -> ApiError {
        ApiError {
            status,
            code,
            message: message.into(),
            event: None,
        }
    }

    pub(super) fn body(&self) -> Json {
        Json::object([
            ("error_code", Json::int(self.code.into())),
            ("message", Json::string(&self.message)),
        ])
    }

    pub(super) fn no_route() -> ApiError {
        ApiError::new(404, 404, "HTTP 404 Not Found")
    }

    pub(super) fn method_not_allowed() -> ApiError {
        ApiError::new(405, 405, "HTTP 405 Method Not Allowed")
    }

    pub(super) fn bad_body(detail: &str) -> ApiError {
        ApiError::new(
            400,
            400,
            format!("the request body is not the JSON object that this route takes: {detail}"),
        )
    }

    pub(super) fn no_subject(subject: &str) -> ApiError {
        ApiError::new(404, 40401, format!("Subject '{subject}' not found."))
    }

    pub(super) fn no_version(version: i32) -> ApiError {
        ApiError::new(404, 40402, format!("Version {version} not found."))
    }

    pub(super) fn no_schema() -> ApiError {
        ApiError::new(404, 40403, "Schema not found")
    }

    pub(super) fn no_schema_with_id(id: u32) -> ApiError {
        ApiError::new(404, 40403, format!("Schema {id} not found"))
    }

    pub(super) fn subject_soft_deleted(subject: &str) -> ApiError {
        let message = format!(
            "Subject '{subject}' was soft deleted.Set permanent=true to delete permanently"
        );
        ApiError::new(404, 40404, message)
    }

    pub(super) fn subject_not_soft_deleted(subject: &str) -> ApiError {
        let message =
            format!("Subject '{subject}' was not deleted first before being permanently deleted");
        ApiError::new(404, 40405, message)
    }

    pub(super) fn version_soft_deleted(subject: &str, version: i32) -> ApiError {
        let message = format!(
            "Subject '{subject}' Version {version} was soft deleted.Set permanent=true to delete permanently"
        );
        ApiError::new(404, 40406, message)
    }

    pub(super) fn version_not_soft_deleted(subject: &str, version: i32) -> ApiError {
        let message = format!(
            "Subject '{subject}' Version {version} was not deleted first before being permanently deleted"
        );
        ApiError::new(404, 40407, message)
    }

    pub(super) fn no_subject_config(subject: &str) -> ApiError {
        ApiError::new(
            404,
            40408,
            format!("Subject '{subject}' does not have subject-level compatibility configured"),
        )
    }

    pub(super) fn no_subject_mode(subject: &str) -> ApiError {
        ApiError::new(
            404,
            40409,
            format!("Subject '{subject}' does not have subject-level mode configured"),
        )
    }

    pub(super) fn incompatible(code: u32, subject: &str, details: &[String]) -> ApiError {
        let message = format!(
            "Schema being registered is incompatible with an earlier schema for subject \"{subject}\", details: [{}]",
            details.join(", ")
        );
        ApiError {
            event: Some(Event::RefusedAsIncompatible),
            ..ApiError::new(409, code, message)
        }
    }

    pub(super) fn empty_schema() -> ApiError {
        ApiError::new(422, 42201, "Empty schema")
    }

    pub(super) fn invalid_schema(detail: impl Into<String>) -> ApiError {
        ApiError::new(422, 42201, detail)
    }

    pub(super) fn too_large(size: usize, limit: usize) -> ApiError {
        let message = format!(
            "Register operation failed because schema is too large: it has {size} bytes, the limit is {limit}"
        );
        ApiError::new(422, 42209, message)
    }

    /// Ids and versions can run out only behind an import that chose the highest.
    pub(super) fn exhausted(what: &str, highest: u32) -> ApiError {
        ApiError::not_permitted(format!(
            "no {what} is left: the highest one, {highest}, is taken"
        ))
    }

    /// Confluent prints the whole request back before the reason; here long ones are cut.
    pub(super) fn unparsable_schema(subject: &str, schema: &Schema, detail: &str) -> ApiError {
        let refs: Vec<String> = schema.references.iter().map(reference_text).collect();
        let (kind, refs) = (&schema.kind, refs.join(", "));
        let part = |json: &Option<Json>| json.as_ref().map_or("null".to_owned(), Json::to_string);
        let message = format!(
            "Invalid schema {{subject={subject},version=0,id=-1,schemaType={kind},references=[{}],metadata={},\
             ruleSet={},schema={}}} with refs [{}] of type {kind}, details: {}",
            cut(&refs),
            cut(&part(&schema.metadata)),
            cut(&part(&schema.rule_set)),
            cut(&schema.text),
            cut(&refs),
            cut(detail),
        );
        ApiError::invalid_schema(message)
    }

    pub(super) fn invalid_version(version: &str) -> ApiError {
        let message = format!(
            "The specified version '{version}' is not a valid version id. Allowed values are between [1, 2^31-1] and the \
             string \"latest\""
        );
        ApiError::new(422, 42202, message)
    }

    pub(super) fn invalid_level() -> ApiError {
        let message = "Invalid compatibility level. Valid values are none, backward, forward, full, backward_transitive, \
                       forward_transitive, and full_transitive";
        ApiError::new(422, 42203, message)
    }

    pub(super) fn unknown_setting(key: &str) -> ApiError {
        ApiError::not_permitted(format!(
            "the setting '{key}' is not supported yet; leave it out"
        ))
    }

    pub(super) fn invalid_mode() -> ApiError {
        ApiError::new(
            422,
            42204,
            "Invalid mode. Valid values are READWRITE, READONLY, READONLY_OVERRIDE, and IMPORT.",
        )
    }

    pub(super) fn not_permitted(message: impl Into<String>) -> ApiError {
        ApiError::new(422, 42205, message)
    }

    pub(super) fn reference_exists(subject: &str, version: i32) -> ApiError {
        let message = format!(
            "One or more references exist to the schema {{magic=1,keytype=SCHEMA,subject={subject},version={version}}}."
        );
        ApiError::new(422, 42206, message)
    }

    pub(super) fn invalid_subject(subject: &str) -> ApiError {
        ApiError::new(
            422,
            42208,
            format!("The specified subject '{subject}' is not a valid subject."),
        )
    }

    pub(super) fn no_contexts(subject: &str) -> ApiError {
        let message = format!(
            "The specified subject '{subject}' is not a valid subject: contexts other than the default one are not \
             supported yet; use the name without its context"
        );
        ApiError::new(422, 42208, message)
    }

    /// The log refused the records: nothing has changed.
    pub(crate) fn store(detail: &str) -> ApiError {
        ApiError::new(
            500,
            50001,
            format!("the change could not be written to the _schemas topic: {detail}"),
        )
    }

    pub(crate) fn outcome(self) -> super::Outcome {
        super::Outcome {
            status: self.status,
            body: self.body().to_string(),
            records: Vec::new(),
            event: self.event,
        }
    }
}

/// Texts longer than this are cut in messages.
pub(super) const SHOWN_BYTES: usize = 10 * 1024;

pub(super) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(SHOWN_BYTES)]
}

fn reference_text(reference: &Reference) -> String {
    format!(
        "{{name='{}', subject='{}', version={}}}",
        reference.name, reference.subject, reference.version
    )
}
