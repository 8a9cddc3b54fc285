//! Functions that choose between values.

use super::merge::comparable;
use super::signature::{Definition, Family};

const ONE_TYPE: &str = "values of one type";

/// CASE is a form of expression of its own, and IF and IFNULL are planned as CASE and COALESCE.
pub(super) const ROWS: &[Definition] = &[
    // The arguments already share one type.
    Definition::rule(Family::Conditional, "COALESCE", ONE_TYPE, |args| {
        let (first, rest) = args.split_first()?;
        let nullable = args.iter().all(|arg| arg.nullable);
        rest.iter()
            .all(|arg| arg.kind == first.kind)
            .then(|| (*first).clone().with_nullable(nullable))
    }),
    Definition::rule(Family::Conditional, "NULLIF", ONE_TYPE, |args| match args {
        [a, b] if comparable(&a.kind, &b.kind) => Some(a.kind.clone().nullable()),
        _ => None,
    }),
];
