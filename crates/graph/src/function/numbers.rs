//! Functions over numbers.

use super::Function;
use super::operators::number;
use super::signature::{Definition, Family, Form, Parameter::*, bytes, double, first, string};
use crate::{LogicalType, TypeKind};

pub(super) const ROWS: &[Definition] = &[
    Definition::rule(
        Family::Arithmetic,
        "MOD",
        // The sign follows the dividend. The planner brings whole numbers to one type and the result to that of the divisor.
        "two exact numbers; FLOAT and DOUBLE have no remainder",
        |args| number(Function::Mod, args),
    ),
    Definition::rule(Family::Arithmetic, "ABS", "one number", |args| match args {
        [a] if a.kind.is_numeric() => Some((*a).clone()),
        _ => None,
    }),
    one("SQRT"),
    one("EXP"),
    one("LN"),
    one("LOG10"),
    one("LOG2"),
    // The base first, where there are two.
    row(
        "LOG",
        "one number or two",
        &[Form::new(&[Double, Double], double).optional(1)],
    ),
    row(
        "POWER",
        "two numbers",
        &[Form::new(&[Double, Double], double)],
    ),
    one("SIN"),
    one("SINH"),
    one("COS"),
    one("COSH"),
    one("TAN"),
    one("TANH"),
    one("COT"),
    one("ASIN"),
    one("ACOS"),
    one("ATAN"),
    row(
        "ATAN2",
        "two numbers",
        &[Form::new(&[Double, Double], double)],
    ),
    one("DEGREES"),
    one("RADIANS"),
    row("PI", "nothing", &[Form::new(&[], double)]),
    row("E", "nothing", &[Form::new(&[], double)]),
    row("CEIL", "a number", WHOLE_PART).also(&["CEILING"]),
    row("FLOOR", "a number", WHOLE_PART),
    row(
        "SIGN",
        "a number",
        &[
            Form::new(&[Whole], first),
            Form::new(&[Decimal], first),
            Form::new(&[Approximate], first),
        ],
    ),
    row("ROUND", "a number, and to how many places", PLACES).may_fail(),
    row("TRUNCATE", "a number, and to how many places", PLACES).may_fail(),
    row(
        "HEX",
        "a whole number or a string",
        &[Form::new(&[BigInt], string), Form::new(&[Text], string)],
    ),
    row("UNHEX", "a string", &[Form::new(&[Text], bytes).nullable()]),
    row("BIN", "a whole number", &[Form::new(&[BigInt], string)]),
];

const WHOLE_PART: &[Form] = &[
    Form::new(&[Whole], first),
    Form::new(&[Decimal], |args| match args[0].kind {
        TypeKind::Decimal { precision, .. } => TypeKind::Decimal {
            precision,
            scale: 0,
        },
        ref other => other.clone(),
    }),
    Form::new(&[Approximate], first),
];

/// The type of a DECIMAL's result depends on how many places are asked for: the planner casts to it.
const PLACES: &[Form] = &[
    Form::new(&[Whole, Int], first).optional(1),
    Form::new(&[Decimal, Int], first).optional(1),
    Form::new(&[Approximate, Int], first).optional(1),
];

const fn row(name: &'static str, takes: &'static str, forms: &'static [Form]) -> Definition {
    Definition::forms(Family::Arithmetic, name, takes, forms).never_fails()
}

/// A function of one number, computed as DOUBLE.
const fn one(name: &'static str) -> Definition {
    const DOUBLE: &[Form] = &[Form::new(&[Double], double)];
    row(name, "a number", DOUBLE)
}

/// The type of `ROUND(x, places)` and `TRUNCATE(x, places)` for a DECIMAL (Flink `findRoundDecimalType`).
pub fn rounded_decimal(ty: &LogicalType, places: i64) -> Option<TypeKind> {
    let TypeKind::Decimal { precision, scale } = ty.kind else {
        return None;
    };
    let (whole, most) = (i64::from(precision - scale), i64::from(scale));
    if places >= most {
        return Some(ty.kind.clone());
    }
    let kept = places.max(0);
    let digits = if places < 0 {
        whole + 1
    } else {
        whole + 1 + kept
    };
    Some(TypeKind::Decimal {
        precision: u8::try_from(digits.clamp(1, 38)).ok()?,
        scale: u8::try_from(kept).ok()?,
    })
}
