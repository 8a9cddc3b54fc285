//! FROM: one table, or several beside each other.
//!
//! The first table is a relation; each further one is a step: an UNNEST of what stands before it, or a join. Their columns stand behind
//! each other in the order of the tables, so that a name means the same column in each step. What WHERE says is asked as early as it
//! can be: rows are not joined first and dropped then.

use super::Planner;
use super::algebra::{Attribute, Relation};
use super::expr::Binder;
use super::join::{Sides, columns_of, join};
use super::query::{Around, keep};
use super::scope::{Scope, ScopeColumn};
use super::unnest::Unnest;
use crate::Result;
use crate::diagnostic::{Diagnostic, Span};
use lw_graph::{Expr, JoinKind};
use sqlparser::ast::{self, JoinConstraint, JoinOperator, TableFactor};

/// The tables of a FROM, before it is known what WHERE says of them.
pub(super) struct From {
    first: Relation,
    steps: Vec<Step>,
    pub scope: Scope,
    /// What it gives.
    pub columns: Vec<Attribute>,
}

struct Step {
    what: What,
    /// Conditions of ON, over all columns up to its own.
    on: Vec<Expr>,
    span: Span,
    /// How many columns there are behind it.
    width: usize,
}

enum What {
    Unnest(Unnest),
    Join(JoinKind, Relation),
}

impl Planner<'_> {
    pub(super) fn from(&mut self, select: &ast::Select, around: &Around) -> Result<From> {
        let Some((first, others)) = select.from.split_first() else {
            return Err(self.refuse_no_from(around));
        };
        let (relation, scope) = self.table_factor(&first.relation, around)?;
        let mut from = From {
            columns: relation.columns.clone(),
            first: relation,
            steps: Vec::new(),
            scope,
        };
        for join in &first.joins {
            self.step(&mut from, join, around)?;
        }
        for table in others {
            let beside = JoinOperator::CrossJoin(JoinConstraint::None);
            self.table_step(&mut from, &table.relation, &beside, around)?;
            for join in &table.joins {
                self.step(&mut from, join, around)?;
            }
        }
        Ok(from)
    }

    fn step(&mut self, from: &mut From, join: &ast::Join, around: &Around) -> Result<()> {
        if join.global {
            return Err(self.refuse(around, "GLOBAL", "GLOBAL JOIN is"));
        }
        self.table_step(from, &join.relation, &join.join_operator, around)
    }

    fn table_step(
        &mut self,
        from: &mut From,
        factor: &TableFactor,
        operator: &JoinOperator,
        around: &Around,
    ) -> Result<()> {
        let span = self.factor_span(factor, around);
        let (kind, on) = self.kind_of(operator, around)?;
        if let Some(unnest) = self.unnest(factor, from, kind, around)? {
            return self.unnest_step(from, unnest, on, span, around);
        }
        let (relation, scope) = self.table_factor(factor, around)?;
        from.beside(&relation, &scope, kind);
        let on = match on {
            None => Vec::new(),
            Some(on) => {
                let scope = from.scope.clone();
                let binder = Binder::new(self.script, &scope, around.span);
                let errors = self.told.errors();
                let on = self.bound_conditions(on, "ON", &binder);
                if self.told.errors() > errors {
                    // What it is a join by is not known.
                    return Err(Diagnostic::told_before(span));
                }
                on
            }
        };
        from.steps.push(Step {
            what: What::Join(kind, relation),
            on,
            span,
            width: from.columns.len(),
        });
        Ok(())
    }

    fn unnest_step(
        &mut self,
        from: &mut From,
        unnest: Unnest,
        on: Option<&ast::Expr>,
        span: Span,
        around: &Around,
    ) -> Result<()> {
        from.behind(&unnest);
        let on = match on {
            None => Vec::new(),
            Some(on) => {
                let scope = from.scope.clone();
                let binder = Binder::new(self.script, &scope, around.span);
                self.bound_conditions(on, "ON", &binder)
            }
        };
        let on = unnest.check_on(on, span)?;
        from.steps.push(Step {
            what: What::Unnest(unnest),
            on,
            span,
            width: from.columns.len(),
        });
        Ok(())
    }

    fn kind_of<'q>(
        &self,
        operator: &'q JoinOperator,
        around: &Around,
    ) -> Result<(JoinKind, Option<&'q ast::Expr>)> {
        let (kind, constraint) = match operator {
            JoinOperator::Join(on) | JoinOperator::Inner(on) => (JoinKind::Inner, on),
            JoinOperator::Left(on) | JoinOperator::LeftOuter(on) => (JoinKind::Left, on),
            JoinOperator::Right(on) | JoinOperator::RightOuter(on) => (JoinKind::Right, on),
            JoinOperator::FullOuter(on) => (JoinKind::Full, on),
            JoinOperator::CrossJoin(JoinConstraint::None) => return Ok((JoinKind::Inner, None)),
            _ => return Err(self.refuse(around, "JOIN", "this kind of JOIN is")),
        };
        match constraint {
            JoinConstraint::On(on) => Ok((kind, Some(on))),
            JoinConstraint::None => {
                let span = self.find_word(around, "JOIN").unwrap_or(around.span);
                let message = format!("{} JOIN needs a condition", kind.name());
                Err(Diagnostic::error("syntax", span, message)
                    .hint("ON a.key = b.key AND a.window_start = b.window_start AND a.window_end = b.window_end"))
            }
            JoinConstraint::Using(_) => Err(self
                .refuse(around, "USING", "JOIN … USING is")
                .hint("ON a.key = b.key AND …")),
            JoinConstraint::Natural => Err(self
                .refuse(around, "NATURAL", "NATURAL JOIN is")
                .hint("JOIN … ON a.key = b.key AND …")),
        }
    }
}

impl From {
    /// Another table's columns behind those that are there.
    fn beside(&mut self, relation: &Relation, scope: &Scope, kind: JoinKind) {
        let left = self.columns.len();
        let sides = Sides::new(kind, &self.columns, &relation.columns);
        let columns = self.scope.columns().iter().chain(scope.columns());
        let columns = columns.enumerate().map(|(at, column)| {
            let expr = column.expr.as_ref().map(|expr| match at.checked_sub(left) {
                None => sides.seen(expr, 0, at),
                Some(at) => sides.seen(expr, 1, at),
            });
            ScopeColumn {
                name: column.name.clone(),
                qualifier: column.qualifier.clone(),
                expr,
            }
        });
        let scope = Scope::new(columns.collect());
        self.columns = sides.columns();
        self.scope = scope;
    }

    /// The columns of elements behind those that are there.
    fn behind(&mut self, unnest: &Unnest) {
        let mut columns = self.scope.columns().to_vec();
        for attribute in &unnest.columns {
            let expr = attribute.ty.clone().map(|ty| Expr::Column {
                index: self.columns.len(),
                name: attribute.name.clone(),
                ty,
            });
            columns.push(ScopeColumn {
                name: attribute.name.clone(),
                qualifier: unnest.alias.iter().cloned().collect(),
                expr,
            });
            self.columns.push(attribute.clone());
        }
        self.scope = Scope::new(columns);
    }

    /// Whether a column is what COLLECT gathered.
    pub(super) fn collected(&self, column: usize) -> bool {
        let first = self.first.columns.len();
        if column < first {
            return self.first.is_collected(column);
        }
        let mut before = first;
        for step in &self.steps {
            if column < step.width {
                return match &step.what {
                    What::Join(_, relation) => relation.is_collected(column - before),
                    What::Unnest(_) => false,
                };
            }
            before = step.width;
        }
        false
    }

    /// The relation, and of the conditions of WHERE those that are still to be asked.
    pub(super) fn finish(self, mut asked: Vec<Expr>, span: Span) -> Result<(Relation, Vec<Expr>)> {
        // Behind which step no row is there that is only there because the others have none like it.
        let pads_left = |step: &Step| matches!(step.what, What::Join(kind, _) if kind.pads()[0]);
        let safe = self
            .steps
            .iter()
            .rposition(pads_left)
            .map_or(0, |at| at + 1);
        let mut relation = self.first;
        if self.steps.is_empty() {
            return Ok((relation, asked));
        }
        let first_width = relation.columns.len();
        let mut ready = |width: usize, at: usize| -> Vec<Expr> {
            let of_it = |expr: &Expr| at >= safe && columns_of(expr).iter().all(|c| *c < width);
            let (ready, later) = std::mem::take(&mut asked).into_iter().partition(of_it);
            asked = later;
            ready
        };
        relation = keep(relation, ready(first_width, 0), span)?;
        for (at, step) in self.steps.into_iter().enumerate() {
            let mut of_step = ready(step.width, at + 1);
            let mut on = step.on;
            relation = match step.what {
                What::Unnest(unnest) => {
                    on.append(&mut of_step);
                    keep(relation.unnest(unnest), on, span)?
                }
                What::Join(kind, right) => {
                    if kind == JoinKind::Inner {
                        on.append(&mut of_step);
                    }
                    let joined = join((relation, right), kind, on, step.span)?;
                    keep(joined, of_step, span)?
                }
            };
        }
        Ok((relation, asked))
    }
}
