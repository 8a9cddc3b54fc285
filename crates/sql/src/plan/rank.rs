//! `ROW_NUMBER() OVER (PARTITION BY window_start, window_end, … ORDER BY …)` with a condition on the number: the first rows of
//! each window.
//!
//! The number is a column behind those of the query's input; a condition on it, in the query around or in QUALIFY, says which ranks
//! there are. Without one the operator would have to keep every row.

use super::algebra::{Algebra, Ranks, Relation, WindowColumn};
use super::call::Below;
use super::over::{Asked, number_column};
use crate::Result;
use crate::diagnostic::Diagnostic;
use lw_graph::{Expr, Function, SortKey, Value, WindowProperty, Windowing};
use std::rc::Rc;

/// Whether rows are numbered in windows, or somebody tried.
pub(super) fn is_windowed(asked: &Asked, relation: &Relation) -> bool {
    window_columns(asked, relation).next().is_some()
}

/// The columns of windows that rows are numbered by.
fn window_columns<'r>(
    asked: &'r Asked,
    relation: &'r Relation,
) -> impl Iterator<Item = (usize, &'r WindowColumn)> {
    asked.partition.iter().filter_map(|by| match by {
        Expr::Column { index, .. } => {
            let window = relation.columns.get(*index)?.window.as_ref()?;
            Some((*index, window))
        }
        _ => None,
    })
}

/// The numbered relation, and the column of the number.
pub(super) fn numbered(asked: &Asked, relation: Relation) -> Result<(Relation, usize)> {
    let mut below = Below::all(&relation);
    let (start, end) = windowed(asked, &relation)?;
    let of = relation.columns[start].window.as_ref();
    let windowing = Windowing::Attached {
        start,
        end,
        zone: of.and_then(|window| window.of.zone.clone()),
    };
    let is_of_window = |by: &&Expr| match by {
        Expr::Column { index, .. } => is_of_same(&relation, *index, start),
        _ => false,
    };
    let keys = asked.partition.iter().filter(|by| !is_of_window(by));
    let keys: Vec<usize> = keys.map(|by| below.push("", by)).collect();
    let order = asked.order.iter().map(|order| SortKey {
        column: below.push("", &order.by),
        ascending: order.ascending,
        nulls_first: order.nulls_first,
    });
    let order: Vec<SortKey> = order.collect();
    let input = below.over(relation);
    let number = input.columns.len();
    let mut columns = input.columns.clone();
    columns.push(number_column(asked.span));
    let relation = Relation {
        operator: Algebra::Numbered {
            input: Box::new(input),
            windowing,
            keys,
            order,
            ranks: Ranks::ALL,
            span: asked.span,
        },
        columns,
    };
    Ok((relation, number))
}

fn is_of_same(relation: &Relation, index: usize, start: usize) -> bool {
    match (
        &relation.columns[index].window,
        &relation.columns[start].window,
    ) {
        (Some(a), Some(b)) => Rc::ptr_eq(&a.of, &b.of),
        _ => false,
    }
}

/// The start and the end of the window that rows are numbered in.
fn windowed(asked: &Asked, relation: &Relation) -> Result<(usize, usize)> {
    let columns = || window_columns(asked, relation);
    for (start, window) in columns().filter(|(_, w)| w.property == WindowProperty::Start) {
        let mut ends = columns().filter(|(_, w)| w.property == WindowProperty::End);
        if let Some((end, _)) = ends.find(|(_, end)| Rc::ptr_eq(&end.of, &window.of)) {
            return Ok((start, end));
        }
    }
    let message = "PARTITION BY needs both window_start and window_end";
    Err(Diagnostic::error("rank", asked.span, message)
        .detail("With one of them Flink takes it for a column like any other, keeps every row for ever, and corrects the ranks with each.")
        .hint("PARTITION BY window_start, window_end"))
}

/// The column and its range, where a condition says that it is in one.
pub(super) fn range(condition: &Expr) -> Option<(usize, Ranks)> {
    let Expr::Call { function, args, .. } = condition else {
        return None;
    };
    let [a, b] = args.as_slice() else {
        return None;
    };
    if *function == Function::And {
        let ((column, ranks), (other, more)) = (range(a)?, range(b)?);
        return (column == other).then(|| (column, ranks.and(more)));
    }
    let (column, function, bound) = match (a, b) {
        (Expr::Column { index, .. }, Expr::Literal { value, .. }) => (index, *function, value),
        (Expr::Literal { value, .. }, Expr::Column { index, .. }) => {
            (index, turned(*function)?, value)
        }
        _ => return None,
    };
    let Value::Integer(bound) = bound else {
        return None;
    };
    let bound = u64::try_from(*bound).unwrap_or(0);
    let until = |last: u64| Ranks {
        first: 1,
        last: Some(last),
    };
    let from = |first: u64| Ranks { first, last: None };
    let ranks = match function {
        Function::Equal => from(bound.max(1)).and(until(bound)),
        Function::Less => until(bound.saturating_sub(1)),
        Function::LessOrEqual => until(bound),
        Function::Greater => from(bound + 1),
        Function::GreaterOrEqual => from(bound.max(1)),
        _ => return None,
    };
    Some((*column, ranks))
}

/// `5 > rn` is `rn < 5`.
fn turned(function: Function) -> Option<Function> {
    match function {
        Function::Equal => Some(Function::Equal),
        Function::Less => Some(Function::Greater),
        Function::LessOrEqual => Some(Function::GreaterOrEqual),
        Function::Greater => Some(Function::Less),
        Function::GreaterOrEqual => Some(Function::LessOrEqual),
        _ => None,
    }
}
