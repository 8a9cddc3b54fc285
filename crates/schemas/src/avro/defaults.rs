//! Does a field's default fit its type? Asked when the whole schema is known, since a recursive type needs all of itself.
//!
//! A value tried against unions of records inside unions of records costs a power of its depth, in Java too. Ours has a
//! budget for all defaults of a schema; one that would need more is refused as too complex.

use super::error::{Parsed, Place, fail, hinted};
use super::{Kind, Type, TypeId};
use crate::json::Json;

/// A field with a default, by its place in its record.
pub(super) struct DefaultToCheck {
    /// The records around the field, its own last.
    pub(super) around: Vec<TypeId>,
    pub(super) position: usize,
    pub(super) at: Place,
}

/// Comparisons of a value with a type, and members looked through, in one schema.
pub(super) const MAX_STEPS: usize = 1 << 22;

/// Checks the defaults in the order in which they were found.
pub(super) fn check(types: &[Type], defaults: &[DefaultToCheck]) -> Parsed<()> {
    let mut steps = MAX_STEPS;
    for check in defaults {
        check_one(types, check, &mut steps)?;
    }
    Ok(())
}

fn check_one(types: &[Type], check: &DefaultToCheck, steps: &mut usize) -> Parsed<()> {
    let own = check.around.last().expect("a field stands in a record");
    let Kind::Record(record) = &types[own.index()].kind else {
        unreachable!("declared as a record")
    };
    let field = &record.fields[check.position];
    let Some(default) = &field.default else {
        return Ok(());
    };
    let mut fitting = Fitting {
        types,
        around: &check.around,
        steps,
    };
    if fitting.fits(field.ty, default) {
        return Ok(());
    }
    let name = &field.name;
    if *steps == 0 {
        let message = format!("the default of field \"{name}\" is too complex to check");
        return fail(check.at, message);
    }
    let wanted = describe(types, field.ty);
    let message =
        format!("the default {default} of field \"{name}\" does not fit its type, {wanted}");
    match (&types[field.ty.index()].kind, default) {
        (_, Json::String(text)) if text == "null" => {
            hinted(check.at, message, "write null without quotes")
        }
        (kind, Json::Null) if !matches!(kind, Kind::Union(_)) => {
            let hint = format!("make the type [\"null\",\"{}\"] to allow null", kind.word());
            hinted(check.at, message, hint)
        }
        _ => fail(check.at, message),
    }
}

struct Fitting<'a> {
    types: &'a [Type],
    /// These records have no defaults yet: a value of theirs could need itself without end.
    around: &'a [TypeId],
    steps: &'a mut usize,
}

impl Fitting<'_> {
    /// Tells whether a default's JSON is in Avro's mapping of the type. For unions any branch will do, as in Avro 1.12.
    fn fits(&mut self, id: TypeId, value: &Json) -> bool {
        if !self.spend(1) {
            return false;
        }
        let types = self.types;
        match (&types[id.index()].kind, value) {
            (Kind::Null, Json::Null) | (Kind::Boolean, Json::Bool(_)) => true,
            (Kind::Int, Json::Number(_)) => {
                value.as_i64().is_some_and(|v| i32::try_from(v).is_ok())
            }
            (Kind::Long, Json::Number(_)) => value.as_i64().is_some(),
            (Kind::Float | Kind::Double, Json::Number(_)) => true,
            (Kind::Float | Kind::Double, Json::String(text)) => {
                matches!(text.as_str(), "NaN" | "Infinity" | "-Infinity")
            }
            (Kind::Bytes | Kind::String | Kind::Fixed(_) | Kind::Enum(_), Json::String(_)) => true,
            (Kind::Array(item), Json::Array(values)) => values.iter().all(|v| self.fits(*item, v)),
            (Kind::Map(of), Json::Object(members)) => {
                members.iter().all(|(_, v)| self.fits(*of, v))
            }
            (Kind::Union(branches), _) => branches.iter().any(|b| self.fits(*b, value)),
            (Kind::Record(_), Json::Object(_)) if self.around.contains(&id) => false,
            (Kind::Record(record), Json::Object(members)) => record.fields.iter().all(|field| {
                // A field that the value leaves out takes its own default, which is checked where it stands.
                self.spend(members.len())
                    && value
                        .get(&field.name)
                        .map_or(field.default.is_some(), |v| self.fits(field.ty, v))
            }),
            _ => false,
        }
    }

    fn spend(&mut self, steps: usize) -> bool {
        *self.steps = self.steps.saturating_sub(steps);
        *self.steps > 0
    }
}

fn describe(types: &[Type], id: TypeId) -> String {
    let ty = &types[id.index()];
    match (&ty.kind, ty.name()) {
        (Kind::Union(branches), _) => {
            let branches: Vec<String> = branches.iter().map(|b| describe(types, *b)).collect();
            format!("a union of {}", branches.join(", "))
        }
        (kind, Some(name)) => format!("{} {}", kind.word(), name.full()),
        (kind, None) => kind.word().to_owned(),
    }
}
