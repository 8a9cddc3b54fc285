//! `LIKE`, `SIMILAR TO` and `OVERLAPS`: conditions whose two sides are more than values.

use super::coerce::{arithmetic, call, case, comparison};
use super::expr::{Binder, not_if};
use crate::Result;
use crate::diagnostic::{Diagnostic, Span};
use lw_graph::{Expr, Function, TypeKind, Value};
use sqlparser::ast;

/// The calls in an expression that have a constant pattern or path.
pub(super) fn with_patterns(expr: &Expr) -> Vec<&Expr> {
    let (mut open, mut found) = (vec![expr], Vec::new());
    while let Some(expr) = open.pop() {
        match expr {
            Expr::Column { .. } | Expr::Literal { .. } => {}
            Expr::Field { row: inner, .. } | Expr::Cast { expr: inner, .. } => open.push(inner),
            Expr::Case {
                branches,
                otherwise,
                ..
            } => {
                open.extend(branches.iter().flat_map(|(when, then)| [when, then]));
                open.push(otherwise);
            }
            Expr::Call { function, args, .. } => {
                open.extend(args);
                let name = function.definition().name;
                let text = |arg: &Expr| {
                    matches!(
                        arg,
                        Expr::Literal {
                            value: Value::String(_),
                            ..
                        }
                    )
                };
                let takes = name.starts_with("REGEXP")
                    || [
                        "LIKE",
                        "SIMILAR TO",
                        "JSON_EXISTS",
                        "JSON_VALUE",
                        "JSON_QUERY",
                    ]
                    .contains(&name);
                if takes && args.iter().any(text) {
                    found.push(expr);
                }
            }
        }
    }
    found
}

impl Binder<'_> {
    pub(super) fn like(
        &self,
        expr: &ast::Expr,
        negated: bool,
        pattern: &ast::Expr,
        escape_char: Option<&ast::Value>,
        span: Span,
    ) -> Result<Expr> {
        let mut args = vec![self.bind(expr)?, self.bind(pattern)?];
        if let Some(escape) = escape_char {
            let escape = self.one_letter(escape, span)?;
            check_escapes(&args[1], &escape, span)?;
            args.push(escape);
        }
        not_if(negated, call(Function::Like, args, span)?, span)
    }

    pub(super) fn similar(
        &self,
        expr: &ast::Expr,
        negated: bool,
        pattern: &ast::Expr,
        escape_char: Option<&ast::Value>,
        span: Span,
    ) -> Result<Expr> {
        let mut args = vec![self.bind(expr)?, self.bind(pattern)?];
        if let Some(escape) = escape_char {
            args.push(self.one_letter(escape, span)?);
        }
        not_if(negated, call(Function::SimilarTo, args, span)?, span)
    }

    /// What stands behind ESCAPE.
    fn one_letter(&self, escape: &ast::Value, span: Span) -> Result<Expr> {
        let escape = self.value(escape, span)?;
        if *escape.ty() != TypeKind::Char(1).not_null() {
            let message = "an escape is one character";
            return Err(Diagnostic::error("type", span, message).hint("LIKE '50!%' ESCAPE '!'"));
        }
        Ok(escape)
    }

    /// `(a, b) OVERLAPS (c, d)`: two spans of time have a point in common; both ends belong to a span, which may be written from its end.
    pub(super) fn overlaps(&self, left: &ast::Expr, right: &ast::Expr, span: Span) -> Result<Expr> {
        let (start, end) = self.period(left)?;
        let (other_start, other_end) = self.period(right)?;
        let [a, b] = [start.ty(), other_start.ty()].map(|ty| ty.kind.clone());
        if a.common(&b).is_none() {
            let message = format!("a span of {a} and one of {b} are not compared");
            return Err(Diagnostic::error("type", span, message).hint("CAST(x AS TIMESTAMP(3))"));
        }
        let reaches = comparison(Function::GreaterOrEqual, end, other_start, span)?;
        let begins = comparison(Function::GreaterOrEqual, other_end, start, span)?;
        call(Function::And, vec![reaches, begins], span)
    }

    /// The earlier and the later end of `(start, end)` or `(start, interval)`.
    fn period(&self, expr: &ast::Expr) -> Result<(Expr, Expr)> {
        let span = self.place(expr);
        let (start, end) = match expr {
            ast::Expr::Tuple(ends) if ends.len() == 2 => {
                (self.bind(&ends[0])?, self.bind(&ends[1])?)
            }
            _ => {
                let message = "OVERLAPS compares two spans of time";
                return Err(Diagnostic::error("type", span, message)
                    .hint("(start, end) OVERLAPS (start, INTERVAL '1' HOUR)"));
            }
        };
        let time = &start.ty().kind;
        let is_time = time.is_timestamp() || matches!(time, TypeKind::Date | TypeKind::Time(_));
        let end = match end.ty().kind.is_interval() {
            true => arithmetic(Function::Plus, self.copy(&start, span)?, end, span)?,
            false => end,
        };
        if !is_time || end.ty().kind.common(time).is_none() {
            let message = format!("({time}, {}) is no span of time", end.ty().kind);
            return Err(Diagnostic::error("type", span, message)
                .hint("(start, end) OVERLAPS (start, INTERVAL '1' HOUR)"));
        }
        let in_order = || -> Result<Expr> {
            let (start, end) = (self.copy(&start, span)?, self.copy(&end, span)?);
            comparison(Function::LessOrEqual, start, end, span)
        };
        let first = case(
            vec![(in_order()?, self.copy(&start, span)?)],
            self.copy(&end, span)?,
            span,
        )?;
        let last = case(vec![(in_order()?, end.clone())], start.clone(), span)?;
        Ok((first, last))
    }
}

/// An escape stands before `%`, `_` or itself; a constant pattern where it does not would only fail when rows come.
fn check_escapes(pattern: &Expr, escape: &Expr, span: Span) -> Result<()> {
    let text = |expr: &Expr| match expr {
        Expr::Literal {
            value: Value::String(text),
            ..
        } => Some(text.clone()),
        _ => None,
    };
    let (Some(pattern), Some(escape)) = (text(pattern), text(escape)) else {
        return Ok(());
    };
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if !escape.starts_with(c) {
            continue;
        }
        if !chars
            .next()
            .is_some_and(|next| "%_".contains(next) || next == c)
        {
            let message = format!("the escape {c} in '{pattern}' escapes nothing");
            return Err(Diagnostic::error("literal", span, message)
                .hint(format!("write it before % or _, or twice: {c}{c}")));
        }
    }
    Ok(())
}
