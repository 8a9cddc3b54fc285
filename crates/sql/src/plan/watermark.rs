//! `CURRENT_WATERMARK(event_time)`: a column behind those of FROM, which an operator puts there when somebody asks for it.
//!
//! It stands as low as it can, right above the table that is read: so it is the watermark of that table, and not of others that its rows are
//! united with, as in Flink. Behind state it is refused: there marks come with the chunks in which rows were worked on together, and between
//! which rows one stands would hang on how the log was read.

use super::algebra::{Algebra, Attribute, Relation};
use super::call::arguments;
use super::expr::Binder;
use super::group::stripped;
use crate::Result;
use crate::diagnostic::{Diagnostic, Span};
use lw_graph::{Expr, LogicalType, TypeKind, WindowShape};
use sqlparser::ast;
use std::cell::Cell;

/// The column that stands for the watermark.
pub(super) struct Watermarked {
    /// How many columns there are before it.
    width: usize,
    /// By column: its type, where it is the event time.
    times: Vec<Option<TypeKind>>,
    /// Where somebody asks for it.
    asked: Cell<Option<Span>>,
}

const NAME: &str = "CURRENT_WATERMARK";

impl Watermarked {
    pub(super) fn of(columns: &[Attribute]) -> Watermarked {
        let time = |column: &Attribute| {
            let ty = column.ty.as_ref().filter(|_| column.rowtime)?;
            Some(ty.kind.clone())
        };
        Watermarked {
            width: columns.len(),
            times: columns.iter().map(time).collect(),
            asked: Cell::new(None),
        }
    }

    /// Whether an expression reads the watermark.
    pub(super) fn is_in(&self, expr: &Expr) -> bool {
        let mut found = false;
        expr.visit_columns(&mut |column| found |= column == self.width);
        found
    }

    pub(super) fn bind(&self, binder: &Binder<'_>, f: &ast::Function, span: Span) -> Result<Expr> {
        let args = arguments(f).unwrap_or_default();
        let error = |message: String| {
            Diagnostic::error("watermark", span, message).hint("CURRENT_WATERMARK(event_time)")
        };
        let [time] = args.as_slice() else {
            return Err(error(format!("{NAME} takes one column, the event time")));
        };
        if binder.grouped.is_some() {
            let message = format!("{NAME} is of rows, not of groups");
            return Err(error(message).hint("MAX(CURRENT_WATERMARK(event_time))"));
        }
        let cast = matches!(stripped(time), ast::Expr::Cast { .. });
        let time = binder.bind(time)?;
        let kind = match &time {
            _ if cast => None,
            Expr::Column { index, .. } => self.times.get(*index).cloned().flatten(),
            _ => None,
        };
        let Some(kind) = kind else {
            let message = format!("{NAME} takes an event time, '{time}' is none");
            return Err(error(message)
                .detail("A column keeps its event time as long as it is handed on as it is; a CAST or a computation ends it."));
        };
        self.asked.set(Some(span));
        Ok(Expr::Column {
            index: self.width,
            name: NAME.to_string(),
            ty: of_time(&kind),
        })
    }

    /// The relation with the column, if somebody has asked for it and it is not there yet.
    ///
    /// # Errors
    /// Where it would stand behind an operator with state.
    pub(super) fn put(&self, relation: Relation) -> Result<Relation> {
        let Some(span) = self
            .asked
            .get()
            .filter(|_| relation.columns.len() == self.width)
        else {
            return Ok(relation);
        };
        if let Some(state) = relation.all().into_iter().find_map(Relation::state) {
            let what = format!("{NAME} behind {state} is");
            return Err(Diagnostic::unsupported(span, what)
                .detail("How far event time has come there is known by window, not by row.")
                .hint("ask for it below: SELECT …, CURRENT_WATERMARK(ts) AS w FROM t, and hand the column on"));
        }
        let kind = self.times.iter().flatten().next();
        let kind = kind.expect("who has asked has named an event time");
        Ok(relation.with_watermark(&of_time(kind)))
    }
}

fn of_time(kind: &TypeKind) -> LogicalType {
    match kind {
        TypeKind::TimestampLtz(_) => TypeKind::TimestampLtz(3).nullable(),
        _ => TypeKind::Timestamp(3).nullable(),
    }
}

impl Relation {
    /// What it is, where it keeps something of the rows before.
    pub(super) fn state(&self) -> Option<&'static str> {
        match &self.operator {
            Algebra::Aggregate { .. } => Some("an aggregate"),
            Algebra::Numbered { .. } => Some("ROW_NUMBER"),
            Algebra::Over { .. } => Some("OVER"),
            Algebra::Join { .. } => Some("a join"),
            Algebra::Windows { window, .. } => {
                let is_session = matches!(window.shape, WindowShape::Session { .. });
                is_session.then_some("SESSION")
            }
            Algebra::Scan(_)
            | Algebra::Project(..)
            | Algebra::Filter(..)
            | Algebra::Watermark { .. }
            | Algebra::Expand { .. }
            | Algebra::Union(_)
            | Algebra::Unnest { .. }
            | Algebra::Lookup { .. }
            | Algebra::CurrentWatermark(_) => None,
        }
    }

    /// The watermark before each row, behind its columns.
    fn with_watermark(self, ty: &LogicalType) -> Relation {
        let Relation {
            operator,
            mut columns,
        } = self;
        let span = columns
            .first()
            .map_or(Span::default(), |column| column.span);
        let added = Attribute {
            name: NAME.to_string(),
            ty: Some(ty.clone()),
            rowtime: false,
            window: None,
            span,
        };
        let operator = match operator {
            Algebra::Filter(input, condition) => {
                Algebra::Filter(Box::new(input.with_watermark(ty)), condition)
            }
            Algebra::Project(input, mut exprs) => {
                let input = input.with_watermark(ty);
                exprs.push(Expr::Column {
                    index: input.columns.len() - 1,
                    name: NAME.to_string(),
                    ty: ty.clone(),
                });
                Algebra::Project(Box::new(input), exprs)
            }
            Algebra::Union(inputs) => {
                let inputs = inputs.into_iter().map(|input| input.with_watermark(ty));
                Algebra::Union(inputs.collect())
            }
            operator => {
                let columns = columns.clone();
                Algebra::CurrentWatermark(Box::new(Relation { operator, columns }))
            }
        };
        columns.push(added);
        Relation { operator, columns }
    }
}
