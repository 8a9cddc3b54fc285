//! Functions over text.

use super::signature::{
    Definition, Family, Form, Parameter::*, Syntax, as_long_as_first, boolean, bytes, first, int,
    length, string,
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
    .written(Syntax::Infix("LIKE"))
    .may_fail(),
    row("CHAR_LENGTH", "strings", &[Form::new(&[Text], int)]).also(&["CHARACTER_LENGTH"]),
    // What is looked for, in what, and from which place on.
    row(
        "LOCATE",
        "two strings, and perhaps a place",
        &[Form::new(&[Text, Text, Int], int).optional(1)],
    ),
    row("POSITION", "strings", &[Form::new(&[Text, Text], int)]).written(Syntax::Special),
    // In what, what is looked for, from which place on (from the end where it is negative), and the how manieth.
    row(
        "INSTR",
        "two strings, and perhaps a place and a count",
        &[Form::new(&[Text, Text, Int, Int], int).optional(2)],
    )
    .may_fail(),
    row(
        "REPLACE",
        "three strings",
        &[Form::new(&[Text, Text, Text], string)],
    ),
    row(
        "TRANSLATE",
        "three strings",
        &[Form::new(&[Text, Text, Text], string)],
    ),
    row(
        "OVERLAY",
        "a string, another, a place, and perhaps a length",
        &[Form::new(&[Text, Text, BigInt, BigInt], appended_varchar).optional(1)],
    )
    .written(Syntax::Special),
    row(
        "LEFT",
        "a string and an INT",
        &[Form::new(&[Text, Int], as_long_as_first).nullable()],
    ),
    row(
        "RIGHT",
        "a string and an INT",
        &[Form::new(&[Text, Int], as_long_as_first).nullable()],
    ),
    row(
        "LPAD",
        "a string, an INT and a string",
        &[Form::new(&[Text, Int, Text], string)],
    )
    .may_fail(),
    row(
        "RPAD",
        "a string, an INT and a string",
        &[Form::new(&[Text, Int, Text], string)],
    )
    .may_fail(),
    row(
        "REPEAT",
        "a string and an INT",
        &[Form::new(&[Text, Int], string)],
    )
    .may_fail(),
    row(
        "REVERSE",
        "strings",
        &[Form::new(&[Text], string).nullable()],
    ),
    row("INITCAP", "strings", &[Form::new(&[Text], first)]),
    // NULL among what is joined is left out.
    row(
        "CONCAT_WS",
        "strings",
        &[Form::new(&[Text, Text], string).repeats()],
    ),
    // A regular expression of Java's that is found somewhere in the text.
    row(
        "REGEXP",
        TEXT_AND_PATTERN,
        &[Form::new(&[Text, Text], boolean)],
    )
    .may_fail(),
    // The third is the escape.
    row(
        "SIMILAR TO",
        "a string and a pattern",
        &[Form::new(&[Text, Text, Text], boolean).optional(1)],
    )
    .written(Syntax::Infix("SIMILAR TO"))
    .may_fail(),
    row(
        "REGEXP_REPLACE",
        "a string, a pattern and a string",
        &[Form::new(&[Text, Text, Text], string)],
    )
    .may_fail(),
    // The group, or the whole.
    row(
        "REGEXP_EXTRACT",
        "a string, a pattern and perhaps an INT",
        &[Form::new(&[Text, Text, Int], string).optional(1).nullable()],
    )
    .may_fail(),
    // The group, or the first.
    row(
        "REGEXP_EXTRACT_ALL",
        "a string, a pattern and perhaps an INT",
        &[Form::new(&[Text, Text, Int], strings)
            .optional(1)
            .nullable()],
    )
    .may_fail(),
    row(
        "REGEXP_COUNT",
        TEXT_AND_PATTERN,
        &[Form::new(&[Text, Text], int).nullable()],
    )
    .may_fail(),
    row(
        "REGEXP_INSTR",
        TEXT_AND_PATTERN,
        &[Form::new(&[Text, Text], int).nullable()],
    )
    .may_fail(),
    row(
        "REGEXP_SUBSTR",
        TEXT_AND_PATTERN,
        &[Form::new(&[Text, Text], string).nullable()],
    )
    .may_fail(),
    row("SPLIT", "two strings", &[Form::new(&[Text, Text], strings)]),
    // What stands between entries, and what between key and value: regular expressions.
    row(
        "STR_TO_MAP",
        "a string, or three",
        &[
            Form::new(&[Text], map_of_strings).nullable(),
            Form::new(&[Text, Text, Text], map_of_strings).nullable(),
        ],
    )
    .may_fail(),
    // HOST, PATH, QUERY, REF, PROTOCOL, AUTHORITY, FILE or USERINFO; of QUERY perhaps a key.
    row(
        "PARSE_URL",
        "two strings or three",
        &[Form::new(&[Text, Text, Text], string)
            .optional(1)
            .nullable()],
    ),
    // The separator is text, or the number of a letter.
    row(
        "SPLIT_INDEX",
        "a string, a separator and an INT",
        &[
            Form::new(&[Text, Text, Int], string).nullable(),
            Form::new(&[Text, Int, Int], string).nullable(),
        ],
    ),
    // Which, and of what.
    row(
        "ELT",
        "an integer, then strings",
        &[Form::new(&[BigInt, Text], of_the_choice)
            .repeats()
            .nullable()],
    ),
    row("ASCII", "a string", &[Form::new(&[Text], int)]),
    row(
        "CHR",
        "an integer",
        &[Form::new(&[BigInt], string).nullable()],
    ),
    row(
        "STARTSWITH",
        TWO,
        &[
            Form::new(&[Text, Text], boolean),
            Form::new(&[Bytes, Bytes], boolean),
        ],
    ),
    row(
        "ENDSWITH",
        TWO,
        &[
            Form::new(&[Text, Text], boolean),
            Form::new(&[Bytes, Bytes], boolean),
        ],
    ),
    // FALSE for NULL.
    row(
        "IS_ALPHA",
        "a string",
        &[Form::new(&[Text], boolean).not_null()],
    ),
    row(
        "IS_DIGIT",
        "a string",
        &[Form::new(&[Text], boolean).not_null()],
    ),
    row(
        "IS_DECIMAL",
        "a string",
        &[Form::new(&[Text], boolean).not_null()],
    ),
    row(
        "TO_BASE64",
        "a string or BYTES",
        &[Form::new(&[Text], string), Form::new(&[Bytes], string)],
    ),
    row("FROM_BASE64", "a string", &[Form::new(&[Text], string)]).may_fail(),
    // The second is the name of an encoding.
    row("ENCODE", "two strings", &[Form::new(&[Text, Text], bytes)]).may_fail(),
    row(
        "DECODE",
        "BYTES and a string",
        &[Form::new(&[Bytes, Text], string)],
    )
    .may_fail(),
    row("URL_ENCODE", "a string", &[Form::new(&[Text], string)]),
    row(
        "URL_DECODE",
        "a string",
        &[Form::new(&[Text], string).nullable()],
    ),
];

const fn row(name: &'static str, takes: &'static str, forms: &'static [Form]) -> Definition {
    Definition::forms(Family::Text, name, takes, forms).never_fails()
}

const TEXT_AND_PATTERN: &str = "a string and a regular expression";

fn strings(_: &[&LogicalType]) -> TypeKind {
    TypeKind::Array(Box::new(TypeKind::string().nullable()))
}

fn map_of_strings(_: &[&LogicalType]) -> TypeKind {
    let text = TypeKind::string().nullable();
    TypeKind::Map(Box::new(text.clone()), Box::new(text))
}

const TWO: &str = "two strings, or two values of BYTES";

fn appended_varchar(args: &[&LogicalType]) -> TypeKind {
    match appended(args) {
        TypeKind::Char(n) => TypeKind::Varchar(n),
        other => other,
    }
}

/// The kind that all strings of ELT share.
fn of_the_choice(args: &[&LogicalType]) -> TypeKind {
    let kinds = args[1..].iter().map(|arg| arg.kind.clone());
    kinds
        .reduce(|a, b| a.common(&b).unwrap_or(TypeKind::string()))
        .unwrap_or(TypeKind::string())
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
