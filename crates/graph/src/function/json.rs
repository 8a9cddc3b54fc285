//! Functions over JSON. Their clauses are arguments, which the planner writes: see each.

use super::signature::{Definition, Family, Form, Parameter::*, Syntax, boolean, string};
use crate::TypeKind;

pub(super) const ROWS: &[Definition] = &[
    is_json("IS JSON VALUE"),
    is_json("IS JSON SCALAR"),
    is_json("IS JSON ARRAY"),
    is_json("IS JSON OBJECT"),
    // The third is what an error gives: TRUE, FALSE, UNKNOWN or ERROR.
    row(
        "JSON_EXISTS",
        "a string and a path, and what an error gives",
        &[Form::new(&[Text, Text, Text], boolean).nullable()],
    )
    .written(Syntax::Special),
    // On empty and its default, on error and its default. The defaults have the type that is given.
    Definition::rule(
        Family::Json,
        "JSON_VALUE",
        "a string and a path, a type, and what is given for nothing and for an error",
        |args| match args {
            [text, path, on_empty, empty, on_error, error] => {
                let texts = [text, path, on_empty, on_error];
                let kinds = [
                    TypeKind::string(),
                    TypeKind::Boolean,
                    TypeKind::Int,
                    TypeKind::Double,
                ];
                (texts.iter().all(|text| text.kind.is_character())
                    && empty.kind == error.kind
                    && kinds.contains(&empty.kind))
                .then(|| empty.kind.clone().nullable())
            }
            _ => None,
        },
    )
    .written(Syntax::Special),
    // The wrapper (WITHOUT, CONDITIONAL, UNCONDITIONAL), on empty, on error.
    row(
        "JSON_QUERY",
        "a string and a path, a wrapper, and what is given for nothing and for an error",
        &[Form::new(&[Text, Text, Text, Text, Text], string).nullable()],
    )
    .written(Syntax::Special),
    Definition::rule(Family::Json, "JSON_STRING", WRITTEN, |args| match args {
        [value] if is_written(&value.kind) => {
            Some(TypeKind::string().nullable().with_nullable(value.nullable))
        }
        _ => None,
    }),
    // What becomes of NULL (NULL, ABSENT); then keys, each with a form (VALUE, or JSON for what is JSON already) and a value.
    Definition::rule(Family::Json, "JSON_OBJECT", WRITTEN, |args| {
        let (on_null, members) = args.split_first()?;
        let whole = members.len() % 3 == 0;
        let members = members.chunks_exact(3).all(|member| {
            let texts = member[..2].iter().all(|text| text.kind.is_character());
            texts && !member[0].nullable && is_written(&member[2].kind)
        });
        (on_null.kind.is_character() && whole && members).then(|| TypeKind::string().not_null())
    })
    .written(Syntax::Special),
    // What becomes of NULL; then values, each with its form.
    Definition::rule(Family::Json, "JSON_ARRAY", WRITTEN, |args| {
        let (on_null, members) = args.split_first()?;
        let whole = members.len() % 2 == 0;
        let members = members
            .chunks_exact(2)
            .all(|member| member[0].kind.is_character() && is_written(&member[1].kind));
        (on_null.kind.is_character() && whole && members).then(|| TypeKind::string().not_null())
    })
    .written(Syntax::Special),
    row("JSON_QUOTE", "a string", &[Form::new(&[Text], string)]).never_fails(),
    row("JSON_UNQUOTE", "a string", &[Form::new(&[Text], string)]),
];

const fn row(name: &'static str, takes: &'static str, forms: &'static [Form]) -> Definition {
    Definition::forms(Family::Json, name, takes, forms)
}

const fn is_json(name: &'static str) -> Definition {
    const FORMS: &[Form] = &[Form::new(&[Text], boolean).not_null()];
    row(name, "a string", FORMS)
        .written(Syntax::Postfix(name))
        .never_fails()
}

const WRITTEN: &str = "values of text, BOOLEAN, numbers, timestamps, BYTES, and ARRAYs, MAPs and ROWs of them; keys are text that is NOT NULL";

/// Whether JSON is written of values of this kind.
fn is_written(kind: &TypeKind) -> bool {
    match kind {
        TypeKind::Array(of) => is_written(&of.kind),
        TypeKind::Map(key, value) => key.kind.is_character() && is_written(&value.kind),
        TypeKind::Row(fields) => fields.iter().all(|field| is_written(&field.ty.kind)),
        TypeKind::Boolean => true,
        kind => kind.is_numeric() || kind.is_character() || kind.is_binary() || kind.is_timestamp(),
    }
}
