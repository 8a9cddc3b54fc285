//! `[NOT] EXISTS (…)` and `[NOT] IN (…)` in WHERE: the rows of a window that have one like them in another table's, or none.
//!
//! Each is a join of windows whose right side only decides. A subquery's names are those of its own tables, and where there is none of that
//! name, of the query around it.

use super::Planner;
use super::algebra::Relation;
use super::coerce::comparison;
use super::expr::Binder;
use super::from::From;
use super::join::{columns_of, join, or_unknown};
use super::query::{Around, keep};
use super::scope::{Merged, Scope, ScopeColumn};
use crate::Result;
use crate::diagnostic::Diagnostic;
use lw_graph::{Expr, Function, JoinKind};
use sqlparser::ast::{self, SetExpr};

/// A condition of WHERE that asks another table.
pub(super) struct Asked<'q> {
    negated: bool,
    /// What must be among the subquery's rows; `None` for EXISTS.
    value: Option<&'q ast::Expr>,
    query: &'q ast::Query,
}

impl<'q> Asked<'q> {
    pub(super) fn of(condition: &'q ast::Expr) -> Option<Asked<'q>> {
        match condition {
            ast::Expr::Nested(inner) => Asked::of(inner),
            ast::Expr::UnaryOp {
                op: ast::UnaryOperator::Not,
                expr,
            } => {
                let asked = Asked::of(expr)?;
                let negated = !asked.negated;
                Some(Asked { negated, ..asked })
            }
            ast::Expr::Exists { subquery, negated } => Some(Asked {
                negated: *negated,
                value: None,
                query: subquery,
            }),
            ast::Expr::InSubquery {
                expr,
                subquery,
                negated,
            } => Some(Asked {
                negated: *negated,
                value: Some(expr),
                query: subquery,
            }),
            _ => None,
        }
    }
}

/// The rows of a subquery, and what ties them to those around it, over both's columns.
struct Inner {
    relation: Relation,
    conditions: Vec<Expr>,
    /// What IN compares with.
    items: Vec<Expr>,
}

impl Planner<'_> {
    /// The rows for which the condition holds.
    pub(super) fn asked(
        &mut self,
        relation: Relation,
        scope: &Scope,
        asked: &Asked<'_>,
        around: &Around,
    ) -> Result<Relation> {
        let word = if asked.value.is_some() {
            "IN"
        } else {
            "EXISTS"
        };
        let span = self.find_word(around, word).unwrap_or(around.span);
        let width = relation.columns.len();
        let inner = match simple(asked.query) {
            Some(select) => self.correlated(select, scope, width, around)?,
            None => self.apart(asked.query, width, around)?,
        };
        let Inner {
            relation: right,
            mut conditions,
            items,
        } = inner;
        if let Some(value) = asked.value {
            let binder = Binder::new(self.script, scope, around.span);
            let values = match value {
                ast::Expr::Tuple(values) => values.iter().map(|value| binder.bind(value)).collect(),
                value => binder.bind(value).map(|value| vec![value]),
            };
            let values: Vec<Expr> = values?;
            if values.len() != items.len() {
                let message = format!(
                    "IN compares {} values with {} columns",
                    values.len(),
                    items.len()
                );
                return Err(Diagnostic::error("type", span, message));
            }
            for (value, item) in values.into_iter().zip(items) {
                let equal = comparison(Function::Equal, value.clone(), item.clone(), span)?;
                conditions.push(match asked.negated {
                    true => or_unknown(equal, [value, item], span)?,
                    false => equal,
                });
            }
        }
        let kind = match asked.negated {
            true => JoinKind::Anti,
            false => JoinKind::Semi,
        };
        join((relation, right), kind, conditions, span)
    }

    /// A subquery whose conditions may name what is around it.
    fn correlated(
        &mut self,
        select: &ast::Select,
        outer: &Scope,
        width: usize,
        around: &Around,
    ) -> Result<Inner> {
        let from: From = self.from(select, around)?;
        let own = moved(&from.scope, width);
        let scope = own.clone().within(outer.clone());
        let binder = Binder::new(self.script, &scope, around.span);
        let said = match &select.selection {
            None => Vec::new(),
            Some(condition) => self.bound_conditions(condition, "WHERE", &binder),
        };
        let is_own = |condition: &Expr| columns_of(condition).iter().all(|at| *at >= width);
        let (of_own, conditions): (Vec<Expr>, Vec<Expr>) = said.into_iter().partition(is_own);
        let of_own = of_own
            .iter()
            .map(|condition| condition.map_columns(&mut |column| column - width));
        let (relation, left) = from.finish(of_own.collect(), around.span)?;
        let relation = keep(relation, left, around.span)?;
        let mut items = Vec::new();
        for item in &select.projection {
            match item {
                ast::SelectItem::UnnamedExpr(expr)
                | ast::SelectItem::ExprWithAlias { expr, .. } => {
                    // What EXISTS gives is read by nobody.
                    items.extend(self.told.settle(binder.bind(expr)));
                }
                _ => {
                    items.extend(own.all().filter_map(|(_, expr)| expr));
                }
            }
        }
        Ok(Inner {
            relation,
            conditions,
            items,
        })
    }

    /// A subquery by itself.
    fn apart(&mut self, query: &ast::Query, width: usize, around: &Around) -> Result<Inner> {
        let relation = self.query(query, around)?;
        let columns = (0..relation.columns.len()).filter_map(|index| relation.column(index));
        let items = columns.map(|column| column.map_columns(&mut |at| at + width));
        Ok(Inner {
            items: items.collect(),
            relation,
            conditions: Vec::new(),
        })
    }
}

/// A query that only says which rows of its tables there are.
fn simple(query: &ast::Query) -> Option<&ast::Select> {
    let plain = query.with.is_none()
        && query.order_by.is_none()
        && query.limit_clause.is_none()
        && query.fetch.is_none();
    let SetExpr::Select(select) = query.body.as_ref() else {
        return None;
    };
    let ungrouped =
        matches!(&select.group_by, ast::GroupByExpr::Expressions(by, _) if by.is_empty());
    let rows = select.having.is_none() && select.distinct.is_none() && select.qualify.is_none();
    (plain && ungrouped && rows).then_some(select)
}

/// Columns that stand behind so many others.
fn moved(scope: &Scope, width: usize) -> Scope {
    let moved = |expr: &Option<Expr>| {
        let expr = expr.as_ref();
        expr.map(|expr| expr.map_columns(&mut |at| at + width))
    };
    let columns = scope.columns().iter().map(|column| ScopeColumn {
        expr: moved(&column.expr),
        ..column.clone()
    });
    let merged = scope.merged().iter().map(|of| Merged {
        expr: moved(&of.expr),
        ..of.clone()
    });
    Scope::new(columns.collect()).merging(merged.collect())
}
