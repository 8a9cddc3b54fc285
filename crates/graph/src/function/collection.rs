//! Functions over arrays and maps.

use super::signature::{Definition, Family, Form, Parameter::*, Syntax, int};
use crate::TypeKind;

pub(super) const ROWS: &[Definition] = &[
    Definition::forms(
        Family::Collection,
        "CARDINALITY",
        "an ARRAY or a MAP",
        &[Form::new(&[Array], int), Form::new(&[Map], int)],
    )
    .never_fails(),
    // `array[1]` counts from 1; NULL where there is no such element or key. The planner brings a key to the map's.
    Definition::rule(
        Family::Collection,
        "ELEMENT AT",
        "an ARRAY and an integer, or a MAP and one of its keys",
        |args| match args {
            [of, at] => match &of.kind {
                TypeKind::Array(element) if at.kind.is_integer() => Some(element.kind.clone()),
                TypeKind::Map(key, value) => {
                    let texts = key.kind.is_character() && at.kind.is_character();
                    (texts || key.kind == at.kind).then(|| value.kind.clone())
                }
                _ => None,
            }
            .map(TypeKind::nullable),
            _ => None,
        },
    )
    .written(Syntax::Infix("[]"))
    .never_fails(),
];
