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
    let mut steps_left = MAX_STEPS;
    for check in defaults {
        check_one(types, check, &mut steps_left)?;
    }
    Ok(())
}

fn check_one(types: &[Type], check: &DefaultToCheck, steps_left: &mut usize) -> Parsed<()> {
    let own = check.around.last().expect("a field stands in a record");
    let Kind::Record(record) = &types[own.index()].kind else {
        unreachable!("declared as a record")
    };
    let field = &record.fields[check.position];
    let Some(default) = &field.default else {
        return Ok(());
    };
    let kind = &types[field.ty.index()].kind;
    if matches!(kind, Kind::Float | Kind::Double)
        && default.as_str().and_then(number_in_text).is_some()
    {
        return Ok(());
    }
    let mut fitting = Fitting {
        types,
        around: &check.around,
        steps_left,
        stop: None,
    };
    if fitting.fits(field.ty, default) {
        return Ok(());
    }
    let name = &field.name;
    if matches!(fitting.stop, Some(Stop::TooComplex)) {
        let message = format!("the default of field \"{name}\" is too complex to check");
        return fail(check.at, message);
    }
    let wanted = describe(types, field.ty);
    let message =
        format!("the default {default} of field \"{name}\" does not fit its type, {wanted}");
    match (kind, default) {
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

/// Reads the text that a float or double field has for its default: Java takes `"1.5"`, `"+1"`, `" 2d"` and the three
/// numbers that JSON cannot spell, which stay words. Only there: inside arrays and unions text is text.
pub(super) fn number_in_text(text: &str) -> Option<Json> {
    let text = text.trim_matches(|c| c <= ' ');
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_negative = text.starts_with('-');
    Some(match unsigned {
        "NaN" => Json::string("NaN"),
        "Infinity" if is_negative => Json::string("-Infinity"),
        "Infinity" => Json::string("Infinity"),
        digits => {
            let digits = digits.strip_suffix(['f', 'F', 'd', 'D']).unwrap_or(digits);
            // Rust reads words too, and a second sign.
            if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
                return None;
            }
            let value: f64 = digits.parse().ok()?;
            Json::double(if is_negative { -value } else { value })
        }
    })
}

struct Fitting<'a> {
    types: &'a [Type],
    around: &'a [TypeId],
    steps_left: &'a mut usize,
    stop: Option<Stop>,
}

/// What ends the search, so that no other branch of a union is tried.
enum Stop {
    TooComplex,
    /// The value would be one of a record around the field, which could need itself without end. Java fails there.
    Unfinished,
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
            (Kind::Bytes | Kind::String | Kind::Fixed(_) | Kind::Enum(_), Json::String(_)) => true,
            (Kind::Array(item), Json::Array(values)) => values.iter().all(|v| self.fits(*item, v)),
            (Kind::Map(of), Json::Object(members)) => {
                members.iter().all(|(_, v)| self.fits(*of, v))
            }
            (Kind::Union(branches), _) => branches
                .iter()
                .any(|branch| self.stop.is_none() && self.fits(*branch, value)),
            (Kind::Record(_), Json::Object(_)) if self.around.contains(&id) => {
                self.stop = Some(Stop::Unfinished);
                false
            }
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
        match self.steps_left.checked_sub(steps) {
            Some(left) => *self.steps_left = left,
            None => self.stop = Some(Stop::TooComplex),
        }
        self.stop.is_none()
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
