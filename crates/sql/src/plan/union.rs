//! `UNION ALL`: the rows of several queries, in the types that their columns have in common.
//!
//! The names are those of the first query. A column is the event time where it is that of all of them, and of a window where it is of
//! one that all of them cut in the same way. `UNION` without ALL is each row once: that is a grouping, and so one of windows.

use super::Planner;
use super::algebra::{Algebra, Attribute, Output, Relation, WindowColumn, WindowOf};
use super::distinct::distinct;
use super::group::endless;
use super::literal::cast;
use super::query::Around;
use crate::Result;
use crate::diagnostic::{Diagnostic, Span};
use lw_graph::{Expr, LogicalType, TypeKind};
use sqlparser::ast::{SetExpr, SetOperator, SetQuantifier};
use std::rc::Rc;

impl Planner<'_> {
    /// What a set operation, whose left side may be another, makes of its queries.
    pub(super) fn set_operation(&mut self, body: &SetExpr, around: &Around) -> Result<Relation> {
        // `a UNION ALL b UNION ALL c` is nested to the left, however long.
        let (mut rest, mut operations) = (body, Vec::new());
        while let SetExpr::SetOperation {
            op,
            set_quantifier,
            left,
            right,
        } = rest
        {
            let all = self.union(*op, *set_quantifier, around)?;
            operations.push((all, &**right));
            rest = left;
        }
        let mut united = vec![self.operand(rest, around)?];
        let span = self.find_word(around, "UNION").unwrap_or(around.span);
        for (all, right) in operations.into_iter().rev() {
            united.push(self.operand(right, around)?);
            if !all {
                let each = distinct(Relation::union(united, span)?, span);
                let what = "UNION without window_start and window_end is";
                united = vec![each.map_err(|_| endless(span, what).hint("UNION ALL"))?];
            }
        }
        match united.len() {
            1 => Ok(united.remove(0)),
            _ => Relation::union(united, span),
        }
    }

    fn operand(&mut self, body: &SetExpr, around: &Around) -> Result<Relation> {
        match body {
            SetExpr::Select(select) => self.select(select, around),
            SetExpr::Query(query) => self.query(query, around),
            SetExpr::Values(_) => Err(self
                .refuse(around, "VALUES", "VALUES in a UNION is")
                .hint("produce the rows to a topic; a pipeline reads topics")),
            _ => Err(self.refuse(around, "TABLE", "this form of query is")),
        }
    }

    /// Whether all rows are given.
    fn union(&self, op: SetOperator, quantifier: SetQuantifier, around: &Around) -> Result<bool> {
        match (op, quantifier) {
            (SetOperator::Union, SetQuantifier::All) => Ok(true),
            (SetOperator::Union, SetQuantifier::None | SetQuantifier::Distinct) => Ok(false),
            (SetOperator::Union, _) => Err(self.refuse(around, "UNION", "UNION BY NAME is")),
            (op, _) => {
                let word = op.to_string();
                let error = self.refuse(around, &word, &format!("{word} is"));
                Err(error
                    .detail("Each row of both queries would have to be kept for ever.")
                    .hint("rows of one window: WHERE [NOT] EXISTS (SELECT * FROM … WHERE … AND a.window_start = b.window_start AND a.window_end = b.window_end)"))
            }
        }
    }
}

impl Relation {
    fn union(inputs: Vec<Relation>, span: Span) -> Result<Relation> {
        let width = inputs[0].columns.len();
        if let Some(other) = inputs.iter().find(|input| input.columns.len() != width) {
            let message = format!(
                "the queries of a UNION have {width} and {} columns",
                other.columns.len()
            );
            return Err(Diagnostic::error("type", span, message));
        }
        let refused = inputs.iter().flat_map(|input| &input.columns);
        if let Some(refused) = refused.into_iter().find(|column| column.ty.is_none()) {
            return Err(Diagnostic::told_before(refused.span));
        }
        let mut columns = (0..width).map(|at| column(&inputs, at));
        let mut columns = columns.by_ref().collect::<Result<Vec<Attribute>>>()?;
        hand_windows_on(&inputs, &mut columns);
        let inputs = inputs.into_iter().map(|input| input.brought_to(&columns));
        Ok(Relation {
            operator: Algebra::Union(inputs.collect()),
            columns,
        })
    }

    /// With columns of these types.
    fn brought_to(self, columns: &[Attribute]) -> Relation {
        let fits = |(own, wanted): (&Attribute, &Attribute)| {
            own.ty.as_ref().map(|ty| &ty.kind) == wanted.ty.as_ref().map(|ty| &ty.kind)
        };
        if self.columns.iter().zip(columns).all(fits) {
            return self;
        }
        let outputs = columns.iter().enumerate().map(|(index, wanted)| {
            let own = &self.columns[index];
            let ty = own.ty.clone().expect("a refused column was told");
            let column = Expr::Column {
                index,
                name: own.name.clone(),
                ty,
            };
            let wanted = wanted.ty.as_ref().expect("it has a type");
            let expr = cast(column, &wanted.kind);
            let mut attribute = own.clone();
            attribute.rowtime &= fits((own, &columns[index]));
            attribute.ty = Some(expr.ty().clone());
            (attribute, Some(expr))
        });
        let outputs: Vec<Output> = outputs.collect();
        self.project(outputs)
    }
}

fn column(inputs: &[Relation], at: usize) -> Result<Attribute> {
    let first = &inputs[0].columns[at];
    let mut ty = first.ty.clone().expect("a refused column was told");
    let mut rowtime = first.rowtime;
    for input in &inputs[1..] {
        let other = &input.columns[at];
        let of_other = other.ty.as_ref().expect("a refused column was told");
        let Some(kind) = common(&ty.kind, &of_other.kind) else {
            let message = format!(
                "column {} of a UNION is {} in one query and {} in another",
                at + 1,
                ty.kind,
                of_other.kind
            );
            return Err(Diagnostic::error("type", other.span, message)
                .detail("Columns meet by position, not by name.")
                .hint(format!("CAST({} AS {})", other.name, ty.kind)));
        };
        rowtime &= other.rowtime && ty.kind == of_other.kind;
        ty = LogicalType {
            kind,
            nullable: ty.nullable || of_other.nullable,
        };
    }
    Ok(Attribute {
        name: first.name.clone(),
        ty: Some(ty),
        rowtime,
        window: None,
        span: first.span,
    })
}

fn common(a: &TypeKind, b: &TypeKind) -> Option<TypeKind> {
    match (a, b) {
        (TypeKind::Timestamp(p), TypeKind::TimestampLtz(q))
        | (TypeKind::TimestampLtz(q), TypeKind::Timestamp(p)) => {
            Some(TypeKind::TimestampLtz(*p.max(q)))
        }
        _ => a.common(b),
    }
}

/// Columns that tell the same of windows that are cut in the same way tell it of what is united.
fn hand_windows_on(inputs: &[Relation], columns: &mut [Attribute]) {
    let mut known: Vec<(Vec<Rc<WindowOf>>, Rc<WindowOf>)> = Vec::new();
    for (at, column) in columns.iter_mut().enumerate() {
        let of_inputs = inputs.iter().map(|input| input.columns[at].window.clone());
        let Some(of_inputs) = of_inputs.collect::<Option<Vec<WindowColumn>>>() else {
            continue;
        };
        let first = &of_inputs[0];
        let alike =
            |other: &WindowColumn| other.property == first.property && other.of.is_same(&first.of);
        if !of_inputs[1..].iter().all(alike) {
            continue;
        }
        let property = first.property;
        let calls: Vec<Rc<WindowOf>> = of_inputs.iter().map(|of| of.of.clone()).collect();
        let same = |known: &[Rc<WindowOf>]| {
            let mut pairs = known.iter().zip(&calls);
            pairs.all(|(a, b)| Rc::ptr_eq(a, b))
        };
        let of = match known.iter().find(|(known, _)| same(known)) {
            Some((_, of)) => of.clone(),
            None => {
                let of = Rc::new(WindowOf {
                    zone: first.of.zone.clone(),
                    cut: first.of.cut,
                });
                known.push((calls, of.clone()));
                of
            }
        };
        column.window = Some(WindowColumn { of, property });
    }
}
