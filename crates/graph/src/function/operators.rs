//! Comparison, logic and arithmetic: what a script writes with signs and words between the operands.

use super::Function;
use super::merge::{arithmetic, comparable};
use super::signature::{Definition, Family, Syntax};
use crate::{LogicalType, TypeKind};

pub(super) const ROWS: &[Definition] = &[
    compared("EQUAL", "="),
    compared("NOT EQUAL", "<>"),
    compared("LESS", "<"),
    compared("LESS OR EQUAL", "<="),
    compared("GREATER", ">"),
    compared("GREATER OR EQUAL", ">="),
    told_apart("IS DISTINCT FROM"),
    told_apart("IS NOT DISTINCT FROM"),
    known("IS NULL"),
    known("IS NOT NULL"),
    truth("IS TRUE"),
    truth("IS NOT TRUE"),
    truth("IS FALSE"),
    truth("IS NOT FALSE"),
    logic("AND", Syntax::Infix("AND")),
    logic("OR", Syntax::Infix("OR")),
    Definition::rule(Family::Logical, "NOT", "BOOLEAN", |args| match args {
        [a] if is_boolean(&a.kind) => Some(boolean(args)),
        _ => None,
    })
    .written(Syntax::Prefix("NOT"))
    .never_fails(),
    computed("PLUS", "+", NUMBERS_OR_TIMES, |args| {
        number(Function::Plus, args)
    }),
    computed("MINUS", "-", NUMBERS_OR_TIMES, |args| {
        number(Function::Minus, args)
    }),
    computed("TIMES", "*", NUMBERS_OR_TIMES, |args| {
        number(Function::Times, args)
    }),
    computed("DIVIDE", "/", NUMBERS_OR_TIMES, |args| {
        number(Function::Divide, args)
    }),
    Definition::rule(
        Family::Arithmetic,
        "NEGATE",
        "one number",
        |args| match args {
            [a] if a.kind.is_interval() || a.kind.is_numeric() => Some((*a).clone()),
            _ => None,
        },
    )
    .written(Syntax::Prefix("-")),
];

const NUMBERS_OR_TIMES: &str = "two numbers, or a time and an interval";

const fn compared(name: &'static str, sign: &'static str) -> Definition {
    const TAKES: &str = "two values of the same kind; use CAST to convert one";
    Definition::rule(Family::Comparison, name, TAKES, |args| match args {
        [a, b] if comparable(&a.kind, &b.kind) => Some(boolean(args)),
        _ => None,
    })
    .written(Syntax::Infix(sign))
    .never_fails()
}

const fn told_apart(name: &'static str) -> Definition {
    const TAKES: &str = "two values of the same kind; use CAST to convert one";
    Definition::rule(Family::Comparison, name, TAKES, |args| match args {
        [a, b] if comparable(&a.kind, &b.kind) => Some(TypeKind::Boolean.not_null()),
        _ => None,
    })
    .written(Syntax::Infix(name))
    .never_fails()
}

const fn known(name: &'static str) -> Definition {
    Definition::rule(Family::Comparison, name, "one value", |args| {
        (args.len() == 1).then(|| TypeKind::Boolean.not_null())
    })
    .written(Syntax::Postfix(name))
    .never_fails()
}

const fn truth(name: &'static str) -> Definition {
    Definition::rule(Family::Logical, name, "BOOLEAN", |args| match args {
        [a] if is_boolean(&a.kind) => Some(TypeKind::Boolean.not_null()),
        _ => None,
    })
    .written(Syntax::Postfix(name))
    .never_fails()
}

const fn logic(name: &'static str, syntax: Syntax) -> Definition {
    Definition::rule(Family::Logical, name, "BOOLEAN", |args| match args {
        [a, b] if is_boolean(&a.kind) && is_boolean(&b.kind) => Some(boolean(args)),
        _ => None,
    })
    .written(syntax)
    .never_fails()
}

const fn computed(
    name: &'static str,
    sign: &'static str,
    takes: &'static str,
    rule: fn(&[&LogicalType]) -> Option<LogicalType>,
) -> Definition {
    Definition::rule(Family::Arithmetic, name, takes, rule).written(Syntax::Infix(sign))
}

/// `a + b` and the like.
pub(super) fn number(function: Function, args: &[&LogicalType]) -> Option<LogicalType> {
    let [a, b] = args else { return None };
    let kind = arithmetic(function, &a.kind, &b.kind)?;
    Some(kind.nullable().with_nullable(a.nullable || b.nullable))
}

fn is_boolean(kind: &TypeKind) -> bool {
    *kind == TypeKind::Boolean
}

fn boolean(args: &[&LogicalType]) -> LogicalType {
    let nullable = args.iter().any(|arg| arg.nullable);
    TypeKind::Boolean.nullable().with_nullable(nullable)
}
