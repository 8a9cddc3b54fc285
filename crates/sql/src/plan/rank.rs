//! `ROW_NUMBER() OVER (PARTITION BY window_start, window_end, … ORDER BY …)` with a condition on the number: the first rows of
//! each window.
//!
//! The number is a column behind those of the query's input; a condition on it, in the query around or in QUALIFY, says which ranks
//! there are. Without one the operator would have to keep every row.

use super::algebra::{Algebra, Attribute, Output, Ranks, Relation};
use super::expr::{Binder, run_on_flink};
use super::group::{Below, endless};
use crate::Result;
use crate::diagnostic::{Diagnostic, Span};
use lw_graph::{Expr, Function, SortKey, TypeKind, Value, WindowProperty, Windowing};
use sqlparser::ast;
use std::cell::RefCell;
use std::rc::Rc;

/// What is numbered in one SELECT.
pub(super) struct Numbers<'q> {
    named: &'q [ast::NamedWindowDefinition],
    asked: RefCell<Option<Asked>>,
}

#[derive(Clone, PartialEq)]
struct Asked {
    partition: Vec<Expr>,
    order: Vec<(Expr, bool, bool)>,
    span: Span,
}

/// Stands for the number's column until it is known how many columns there are.
const NUMBER: usize = usize::MAX;

impl<'q> Numbers<'q> {
    pub(super) fn new(select: &'q ast::Select) -> Numbers<'q> {
        Numbers {
            named: &select.named_window,
            asked: RefCell::default(),
        }
    }

    /// A call with OVER.
    pub(super) fn call(&self, binder: &Binder<'_>, f: &ast::Function, span: Span) -> Result<Expr> {
        let name = f.name.to_string().to_ascii_uppercase();
        let spec = self.spec(f, span)?;
        if matches!(name.as_str(), "RANK" | "DENSE_RANK") {
            return Err(Diagnostic::unsupported(span, format!("{name} is"))
                .detail("Flink has only ROW_NUMBER for the first rows of a window.")
                .hint("ROW_NUMBER() OVER (PARTITION BY window_start, window_end ORDER BY …)"));
        }
        if name != "ROW_NUMBER" {
            let what = format!("{name} OVER is");
            return Err(run_on_flink(Diagnostic::unsupported(span, what)));
        }
        if spec.window_frame.is_some() || spec.window_name.is_some() {
            let message = "ROW_NUMBER has no frame: each row has one number";
            return Err(Diagnostic::error("rank", span, message));
        }
        if spec.order_by.is_empty() {
            return Err(Diagnostic::error("rank", span, "ROW_NUMBER needs an order")
                .hint("OVER (PARTITION BY window_start, window_end ORDER BY column DESC)"));
        }
        let partition = spec.partition_by.iter().map(|by| binder.bind(by));
        let partition = partition.collect::<Result<Vec<Expr>>>()?;
        let order = spec.order_by.iter().map(|by| {
            let ascending = by.options.asc.unwrap_or(true);
            // NULL is less than anything.
            let nulls_first = by.options.nulls_first.unwrap_or(ascending);
            Ok((binder.bind(&by.expr)?, ascending, nulls_first))
        });
        let asked = Asked {
            partition,
            order: order.collect::<Result<_>>()?,
            span,
        };
        let mut known = self.asked.borrow_mut();
        let same =
            |known: &Asked| (&known.partition, &known.order) == (&asked.partition, &asked.order);
        match known.as_ref().is_none_or(same) {
            true => drop(known.get_or_insert(asked)),
            false => {
                let what = "numbering the rows of a query in two orders is";
                return Err(
                    Diagnostic::unsupported(span, what).hint("number them in a subquery each")
                );
            }
        }
        Ok(Expr::Column {
            index: NUMBER,
            name: "ROW_NUMBER()".to_string(),
            ty: TypeKind::BigInt.not_null(),
        })
    }

    fn spec(&self, f: &'q ast::Function, span: Span) -> Result<&'q ast::WindowSpec> {
        match &f.over {
            Some(ast::WindowType::WindowSpec(spec)) => Ok(spec),
            Some(ast::WindowType::NamedWindow(name)) => {
                let named = self
                    .named
                    .iter()
                    .find(|window| window.0.value == name.value);
                match named {
                    Some(ast::NamedWindowDefinition(_, ast::NamedWindowExpr::WindowSpec(spec))) => {
                        Ok(spec)
                    }
                    _ => {
                        let message = format!("there is no window '{name}'");
                        Err(Diagnostic::error("window", span, message).hint(format!(
                            "FROM … WINDOW {name} AS (PARTITION BY … ORDER BY …)"
                        )))
                    }
                }
            }
            None => unreachable!("the caller has looked for OVER"),
        }
    }

    /// The numbered relation, and the column of the number.
    pub(super) fn finish(self, relation: Relation) -> Result<(Relation, Option<usize>)> {
        let Some(asked) = self.asked.into_inner() else {
            return Ok((relation, None));
        };
        let mut below = Below::default();
        for index in 0..relation.columns.len() {
            below.column(index, &relation);
        }
        let (start, end) = windowed(&asked, &relation)?;
        let of = relation.columns[start].window.as_ref();
        let windowing = Windowing::Attached {
            start,
            end,
            zone: of.and_then(|window| window.of.zone.clone()),
        };
        let is_of_window = |by: &&Expr| match by {
            Expr::Column { index, .. } => {
                [start, end].contains(index) || is_time_of(&relation, *index, start)
            }
            _ => false,
        };
        let keys = asked.partition.iter().filter(|by| !is_of_window(by));
        let keys: Vec<usize> = keys.map(|by| below.push("", by)).collect();
        let order = asked
            .order
            .iter()
            .map(|(by, ascending, nulls_first)| SortKey {
                column: below.push("", by),
                ascending: *ascending,
                nulls_first: *nulls_first,
            });
        let order: Vec<SortKey> = order.collect();
        let input = below.over(relation);
        let number = input.columns.len();
        let mut columns = input.columns.clone();
        columns.push(Attribute {
            name: "ROW_NUMBER()".to_string(),
            ty: Some(TypeKind::BigInt.not_null()),
            rowtime: false,
            window: None,
            span: asked.span,
        });
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
        Ok((relation, Some(number)))
    }
}

fn is_time_of(relation: &Relation, index: usize, start: usize) -> bool {
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
    let columns = || {
        asked.partition.iter().filter_map(|by| match by {
            Expr::Column { index, .. } => {
                let window = relation.columns.get(*index)?.window.as_ref()?;
                Some((*index, window))
            }
            _ => None,
        })
    };
    for (start, window) in columns().filter(|(_, w)| w.property == WindowProperty::Start) {
        let mut ends = columns().filter(|(_, w)| w.property == WindowProperty::End);
        if let Some((end, _)) = ends.find(|(_, end)| Rc::ptr_eq(&end.of, &window.of)) {
            return Ok((start, end));
        }
    }
    if columns().next().is_some() {
        let message = "PARTITION BY needs both window_start and window_end";
        return Err(Diagnostic::error("rank", asked.span, message)
            .detail("With one of them Flink takes it for a column like any other, keeps every row for ever, and corrects the ranks with each.")
            .hint("PARTITION BY window_start, window_end"));
    }
    Err(endless(asked.span, "ROW_NUMBER without a window is"))
}

/// The number's column in place of what stood for it.
pub(super) fn placed(expr: &Expr, number: Option<usize>) -> Expr {
    expr.map_columns(&mut |index| match index {
        NUMBER => number.expect("whoever names the number has asked for it"),
        index => index,
    })
}

pub(super) fn place_all(outputs: &mut [Output], number: Option<usize>) {
    for (_, expr) in outputs.iter_mut() {
        *expr = expr.take().map(|expr| placed(&expr, number));
    }
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
