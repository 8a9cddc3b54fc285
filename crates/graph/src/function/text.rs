//! Functions over text.

use super::signature::{
    Definition, Family, Form, Parameter::*, Syntax, as_long_as_first, boolean, first, int, length,
    string,
};
use crate::{LogicalType, TypeKind};

pub(super) const ROWS: &[Definition] = &[
    row("UPPER", "strings", &[Form::new(&[Text], first)]),
    row("LOWER", "strings", &[Form::new(&[Text], first)]),
    // (string, characters); so are the other two.
    row(
        "TRIM",
        "strings",
        &[Form::new(&[Text, Text], as_long_as_first)],
    )
    .also(&["BTRIM"]),
    row(
        "TRIM LEADING",
        "strings",
        &[Form::new(&[Text, Text], as_long_as_first)],
    )
    .also(&["LTRIM"]),
    row(
        "TRIM TRAILING",
        "strings",
        &[Form::new(&[Text, Text], as_long_as_first)],
    )
    .also(&["RTRIM"]),
    // 1-based; a negative place counts from the end. NULL where nothing is left, says Flink's type; it is '' in fact.
    row(
        "SUBSTRING",
        "a string, then integers",
        &[Form::new(&[Text, BigInt, BigInt], as_long_as_first)
            .optional(1)
            .nullable()],
    )
    .also(&["SUBSTR"]),
    row("CONCAT", "strings", &[Form::new(&[Text], string).repeats()]),
    // As long as both together.
    row("APPEND", "strings", &[Form::new(&[Text, Text], appended)]).written(Syntax::Infix("||")),
    // `_` does not match the end of a line. The third is the escape.
    row(
        "LIKE",
        "strings",
        &[Form::new(&[Text, Text, Text], boolean).optional(1)],
    )
    .written(Syntax::Infix("LIKE")),
    row("CHAR_LENGTH", "strings", &[Form::new(&[Text], int)]).also(&["CHARACTER_LENGTH"]),
];

const fn row(name: &'static str, takes: &'static str, forms: &'static [Form]) -> Definition {
    Definition::forms(Family::Text, name, takes, forms)
}

fn appended(args: &[&LogicalType]) -> TypeKind {
    let [a, b] = [&args[0].kind, &args[1].kind];
    let both = length(a)
        .saturating_add(length(b))
        .min(TypeKind::STRING_LENGTH);
    match (a, b) {
        (TypeKind::Char(_), TypeKind::Char(_)) => TypeKind::Char(both),
        _ => TypeKind::Varchar(both),
    }
}
