//! Functions that choose between values.

use super::merge::comparable;
use super::signature::{Definition, Family};
use crate::{LogicalType, TypeKind};

const ONE_TYPE: &str = "values of one type";

/// CASE is a form of expression of its own, and IF and IFNULL are planned as CASE and COALESCE.
pub(super) const ROWS: &[Definition] = &[
    // The arguments already share one type.
    Definition::rule(Family::Conditional, "COALESCE", ONE_TYPE, |args| {
        let nullable = args.iter().all(|arg| arg.nullable);
        of_one_kind(args).map(|kind| kind.nullable().with_nullable(nullable))
    })
    .never_fails(),
    Definition::rule(Family::Conditional, "NULLIF", ONE_TYPE, |args| match args {
        [a, b] if comparable(&a.kind, &b.kind) => Some(a.kind.clone().nullable()),
        _ => None,
    }),
    Definition::rule(Family::Conditional, "GREATEST", ORDERED, ordered),
    Definition::rule(Family::Conditional, "LEAST", ORDERED, ordered),
];

const ORDERED: &str = "numbers, strings, BOOLEANs or times, all of one kind";

fn of_one_kind(args: &[&LogicalType]) -> Option<TypeKind> {
    let (first, rest) = args.split_first()?;
    let same = rest.iter().all(|arg| arg.kind == first.kind);
    same.then(|| first.kind.clone())
}

/// NULL where an argument is.
fn ordered(args: &[&LogicalType]) -> Option<LogicalType> {
    let kind = of_one_kind(args)?;
    let in_order = kind.is_numeric()
        || kind.is_character()
        || kind.is_timestamp()
        || matches!(kind, TypeKind::Boolean | TypeKind::Date | TypeKind::Time(_));
    let nullable = args.iter().any(|arg| arg.nullable);
    in_order.then(|| kind.nullable().with_nullable(nullable))
}
