//! Functions over numbers.

use super::Function;
use super::operators::number;
use super::signature::{Definition, Family};

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
];
