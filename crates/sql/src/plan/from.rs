//! FROM: one table, or several beside each other.
//!
//! The first table is a relation; each further one is a step: an UNNEST of what stands before it, or a join. Their columns stand behind
//! each other in the order of the tables, so that a name means the same column in each step. What WHERE says is asked as early as it
//! can be: rows are not joined first and dropped then.

use super::Planner;
use super::algebra::{Attribute, Relation};
use super::coerce::{call, comparison, unify};
use super::expr::Binder;
use super::join::{Sides, columns_of, join};
use super::lookup::Lookup;
use super::query::{Around, keep};
use super::scope::{Merged, Scope, ScopeColumn};
use super::unnest::Unnest;
use crate::Result;
use crate::diagnostic::{Diagnostic, Span};
use lw_graph::{Expr, Function, JoinKind};
use sqlparser::ast::{self, JoinConstraint, JoinOperator, TableFactor};
use std::collections::BTreeSet;

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
    /// What rows are looked up in, with its columns.
    Lookup(JoinKind, Box<(Lookup, Relation)>),
}

/// What two tables are joined by.
#[derive(Clone, Copy)]
enum By<'q> {
    Nothing,
    On(&'q ast::Expr),
    /// What these columns of both, which are one behind the join, have in common.
    Using(&'q [ast::ObjectName]),
    /// All columns that are called alike.
    Natural,
}

/// A name that columns of both sides have, and which columns of either side they are.
type Pair = (String, [Vec<usize>; 2]);

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
        let (kind, by) = self.kind_of(operator, around)?;
        if let Some(unnest) = self.unnest(factor, from, kind, around)? {
            return self.unnest_step(from, unnest, by, span, around);
        }
        let looked_up = self.lookup(factor, from, kind, around)?;
        let (lookup, relation, scope) = match looked_up {
            Some((lookup, relation, scope)) => (Some(lookup), relation, scope),
            None => {
                let (relation, scope) = self.table_factor(factor, around)?;
                (None, relation, scope)
            }
        };
        let pairs = self.named_alike(by, [&from.scope, &scope], around)?;
        let left = from.scope.columns().len();
        from.beside(&relation, &scope, kind);
        let on = match by {
            By::Nothing => Vec::new(),
            By::Using(_) | By::Natural => from.merge((pairs, left), kind, span)?,
            By::On(on) => {
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
            what: match lookup {
                Some(lookup) => What::Lookup(kind, Box::new((lookup, relation))),
                None => What::Join(kind, relation),
            },
            on,
            span,
            width: from.columns.len(),
        });
        Ok(())
    }

    fn unnest_step(
        &mut self,
        from: &mut From,
        mut unnest: Unnest,
        by: By<'_>,
        span: Span,
        around: &Around,
    ) -> Result<()> {
        from.behind(&unnest);
        let on = match by {
            By::Nothing => Vec::new(),
            By::Using(_) | By::Natural => {
                let what = "an UNNEST that is joined by columns of its own is";
                return Err(Diagnostic::unsupported(span, what)
                    .hint("CROSS JOIN UNNEST(…) AS t (x), LEFT JOIN UNNEST(…) AS t (x) ON x = …"));
            }
            By::On(on) => {
                let scope = from.scope.clone();
                let binder = Binder::new(self.script, &scope, around.span);
                self.bound_conditions(on, "ON", &binder)
            }
        };
        let on = unnest.take_on(on, span)?;
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
    ) -> Result<(JoinKind, By<'q>)> {
        let (kind, constraint) = match operator {
            JoinOperator::Join(on) | JoinOperator::Inner(on) => (JoinKind::Inner, on),
            JoinOperator::Left(on) | JoinOperator::LeftOuter(on) => (JoinKind::Left, on),
            JoinOperator::Right(on) | JoinOperator::RightOuter(on) => (JoinKind::Right, on),
            JoinOperator::FullOuter(on) => (JoinKind::Full, on),
            JoinOperator::CrossJoin(JoinConstraint::None) => {
                return Ok((JoinKind::Inner, By::Nothing));
            }
            _ => return Err(self.refuse(around, "JOIN", "this kind of JOIN is")),
        };
        match constraint {
            JoinConstraint::On(on) => Ok((kind, By::On(on))),
            JoinConstraint::None => {
                let span = self.find_word(around, "JOIN").unwrap_or(around.span);
                let message = format!("{} JOIN needs a condition", kind.name());
                Err(Diagnostic::error("syntax", span, message)
                    .hint("ON a.key = b.key AND a.window_start = b.window_start AND a.window_end = b.window_end"))
            }
            JoinConstraint::Using(names) => Ok((kind, By::Using(names))),
            JoinConstraint::Natural => Ok((kind, By::Natural)),
        }
    }

    /// The columns that two sides are joined by because they are called alike, and their places on either side.
    fn named_alike(&self, by: By<'_>, sides: [&Scope; 2], around: &Around) -> Result<Vec<Pair>> {
        let names: Vec<String> = match by {
            By::Nothing | By::On(_) => Vec::new(),
            By::Using(names) => {
                let names = names.iter().filter_map(|name| name.0.last()?.as_ident());
                names.map(|name| name.value.clone()).collect()
            }
            By::Natural => {
                let [left, right] = sides.map(|side| side.all().map(|(name, _)| name));
                let right: BTreeSet<String> = right.collect();
                left.filter(|name| right.contains(name)).collect()
            }
        };
        let pair = |name: String| {
            let span = self.find_word(around, &name).unwrap_or(around.span);
            let [left, right] = sides.map(|side| side.places(&name, span));
            Ok((name, [left?, right?]))
        };
        names.into_iter().map(pair).collect()
    }
}

/// What a name means behind a join of two columns that are called so.
fn merged(kind: JoinKind, [left, right]: [Expr; 2], span: Span) -> Result<Expr> {
    let is_alike = left.ty().kind == right.ty().kind;
    match kind {
        JoinKind::Right if is_alike => Ok(right),
        JoinKind::Inner if is_alike && left.ty().nullable => Ok(match right.ty().nullable {
            true => left,
            false => right,
        }),
        JoinKind::Inner | JoinKind::Left if is_alike => Ok(left),
        _ => {
            let both = unify(vec![left, right], "COALESCE", span)?;
            call(Function::Coalesce, both, span)
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
        let of_left = self.scope.merged().iter().map(|of| Merged {
            expr: of.expr.as_ref().map(|expr| sides.moved(expr, 0)),
            ..of.clone()
        });
        let of_right = scope.merged().iter().map(|of| Merged {
            name: of.name.clone(),
            of: of.of.iter().map(|at| at + left).collect(),
            expr: of.expr.as_ref().map(|expr| sides.moved(expr, 1)),
        });
        let merged = of_left.chain(of_right).collect();
        let scope = Scope::new(columns.collect()).merging(merged);
        self.columns = sides.columns();
        self.scope = scope;
    }

    /// Columns of both sides that are called alike are equal, and one; `left` scope columns are of the left side. Gives the conditions.
    fn merge(
        &mut self,
        (pairs, left): (Vec<Pair>, usize),
        kind: JoinKind,
        span: Span,
    ) -> Result<Vec<Expr>> {
        let (mut conditions, mut together) = (Vec::new(), Vec::new());
        let mut known = self.scope.merged().to_vec();
        for (name, [of_left, of_right]) in pairs {
            let of_right: Vec<usize> = of_right.iter().map(|at| at + left).collect();
            let of_both = [&of_left, &of_right].map(|of| self.scope.meant(of));
            let [Some(one), Some(other)] = of_both else {
                return Err(Diagnostic::told_before(span));
            };
            let equal = comparison(Function::Equal, one.clone(), other.clone(), span)?;
            conditions.push(equal);
            known.retain(|of| of.of != of_left && of.of != of_right);
            together.push(Merged {
                name,
                expr: Some(merged(kind, [one, other], span)?),
                of: [of_left, of_right].concat(),
            });
        }
        together.append(&mut known);
        self.scope = std::mem::take(&mut self.scope).merging(together);
        Ok(conditions)
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
        let merged = self.scope.merged().to_vec();
        self.scope = Scope::new(columns).merging(merged);
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
                    What::Unnest(_) | What::Lookup(..) => false,
                };
            }
            before = step.width;
        }
        false
    }

    /// Whether a column is a processing time.
    pub(super) fn is_proctime(&self, column: usize) -> bool {
        let first = self.first.columns.len();
        if column < first {
            return self.first.is_proctime(column);
        }
        let mut before = first;
        for step in &self.steps {
            if column < step.width {
                return match &step.what {
                    What::Join(_, relation) => relation.is_proctime(column - before),
                    What::Unnest(_) | What::Lookup(..) => false,
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
                What::Lookup(kind, looked_up) => {
                    if kind == JoinKind::Inner {
                        on.append(&mut of_step);
                    }
                    let joined = relation.lookup(*looked_up, kind, on, step.span)?;
                    keep(joined, of_step, span)?
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
