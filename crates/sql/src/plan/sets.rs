//! GROUPING SETS, ROLLUP and CUBE: one GROUP BY that stands for several.

use super::coerce::{case, comparison};
use super::literal;
use crate::Result;
use crate::diagnostic::{Diagnostic, Span};
use lw_graph::{Expr, Function, Operator, TypeKind, Value};
use sqlparser::ast;

/// More sets than this are a mistake: each row is counted once for each.
const MOST_SETS: usize = 64;

/// The lists of keys that one element of GROUP BY stands for.
pub(super) fn alternatives(
    element: &ast::Expr,
    span: Span,
) -> Result<Option<Vec<Vec<&ast::Expr>>>> {
    let sets: Vec<Vec<&ast::Expr>> = match element {
        ast::Expr::GroupingSets(sets) => sets.iter().map(|set| set.iter().collect()).collect(),
        ast::Expr::Rollup(parts) => {
            let lengths = (0..=parts.len()).rev();
            let begins = lengths.map(|length| parts[..length].iter().flatten().collect());
            begins.collect()
        }
        ast::Expr::Cube(parts) if parts.len() > MOST_SETS.ilog2() as usize => {
            return Err(too_many(span));
        }
        ast::Expr::Cube(parts) => {
            let picks = (0..1_usize << parts.len()).rev();
            let picked = picks.map(|pick| {
                let has = |at: &usize| pick >> (parts.len() - 1 - at) & 1 == 1;
                let picked = (0..parts.len()).filter(has);
                picked.flat_map(|at| &parts[at]).collect()
            });
            picked.collect()
        }
        _ => return Ok(None),
    };
    Ok(Some(sets))
}

/// Each of these lists with each of those: what two elements beside each other stand for.
pub(super) fn crossed(
    sets: &[Vec<usize>],
    more: &[Vec<usize>],
    span: Span,
) -> Result<Vec<Vec<usize>>> {
    if sets.len() * more.len() > MOST_SETS {
        return Err(too_many(span));
    }
    let crossed = sets.iter().flat_map(|set| {
        more.iter()
            .map(|more| set.iter().chain(more).copied().collect())
    });
    Ok(crossed.collect())
}

fn too_many(span: Span) -> Diagnostic {
    let message = format!("GROUP BY stands for more than {MOST_SETS} sets of keys");
    Diagnostic::error("group", span, message).detail("Each row is counted once for each of them.")
}

/// `GROUPING(key, …)`: a bit for each key, 1 where the set of a row is without it.
pub(super) fn grouping(
    number: Option<&Expr>,
    sets: &[Vec<bool>],
    keys: &[Option<usize>],
    span: Span,
) -> Result<Expr> {
    let big = |value: i64| {
        literal::cast(
            literal::literal(Value::Integer(value), TypeKind::BigInt),
            &TypeKind::BigInt,
        )
    };
    let Some(number) = number else {
        return Ok(big(0));
    };
    let value = |set: &Vec<bool>| {
        let has = keys.iter().map(|key| key.is_none_or(|key| set[key]));
        big(Operator::set_number(&has.collect::<Vec<bool>>()))
    };
    let (last, others) = sets.split_last().expect("there are two sets at least");
    let branches = others.iter().map(|set| {
        let is = big(Operator::set_number(set));
        Ok((
            comparison(Function::Equal, number.clone(), is, span)?,
            value(set),
        ))
    });
    case(branches.collect::<Result<_>>()?, value(last), span)
}
