//! The session's time zone, written into expressions.
//!
//! A TIMESTAMP_LTZ is an instant, whose day and hour are those of a clock on the wall of the session. In another zone than UTC every place
//! that looks at such a clock says so: a CAST between an instant and a time or a text, EXTRACT and the like, FLOOR and CEIL, DATE_FORMAT, and
//! the functions over seconds since 1970. The zone is a constant of the plan, so a plan means the same wherever it runs.

use super::algebra::{Algebra, Relation};
use super::coerce::call;
use super::literal::text;
use crate::Result;
use crate::diagnostic::{Diagnostic, Span};
use lw_graph::{Expr, Function, LogicalType, TypeKind, Value};

/// Writes the zone into all expressions of a query.
///
/// # Errors
/// A CAST of instants inside an ARRAY, a MAP or a ROW.
pub(super) fn localise(relation: &mut Relation, zone: &str, span: Span) -> Result<()> {
    if zone == "UTC" {
        return Ok(());
    }
    let of = Zone { name: zone, span };
    for input in relation.inputs_mut() {
        localise(input, zone, span)?;
    }
    match &mut relation.operator {
        Algebra::Project(_, exprs) => exprs.iter_mut().try_for_each(|expr| of.expr(expr)),
        Algebra::Filter(_, expr)
        | Algebra::Watermark {
            expression: expr, ..
        } => of.expr(expr),
        Algebra::Join { condition, .. } => condition.iter_mut().try_for_each(|expr| of.expr(expr)),
        Algebra::Unnest { on, .. } => on.iter_mut().try_for_each(|on| of.expr(&mut on.is)),
        Algebra::Lookup { lookup, .. } => {
            let keys = lookup.keys.iter_mut().map(|(_, of_table)| of_table);
            let filter = lookup.filter.iter_mut();
            let on = lookup.on.iter_mut().map(|on| &mut on.is);
            keys.chain(filter)
                .chain(on)
                .try_for_each(|expr| of.expr(expr))
        }
        Algebra::Scan(_)
        | Algebra::Expand { .. }
        | Algebra::Windows { .. }
        | Algebra::Aggregate { .. }
        | Algebra::Numbered { .. }
        | Algebra::Union(_)
        | Algebra::CurrentWatermark(_)
        | Algebra::Over { .. } => Ok(()),
    }
}

#[derive(Clone, Copy)]
struct Zone<'z> {
    name: &'z str,
    span: Span,
}

impl Zone<'_> {
    fn expr(self, expr: &mut Expr) -> Result<()> {
        match expr {
            Expr::Column { .. } => {}
            Expr::Literal { value, ty } => {
                // A constant of this type was read from a clock.
                if let (Value::Timestamp(_), TypeKind::TimestampLtz(digits)) = (&*value, &ty.kind) {
                    let shown = Expr::Literal {
                        value: value.clone(),
                        ty: TypeKind::Timestamp(*digits)
                            .nullable()
                            .with_nullable(ty.nullable),
                    };
                    *expr = self.instant(shown)?;
                }
            }
            Expr::Field { row, .. } => self.expr(row)?,
            Expr::Case {
                branches,
                otherwise,
                ..
            } => {
                for (condition, value) in branches {
                    self.expr(condition)?;
                    self.expr(value)?;
                }
                self.expr(otherwise)?;
            }
            Expr::Cast {
                expr: inner,
                ty,
                or_null,
            } => {
                self.expr(inner)?;
                let cast = self.cast((**inner).clone(), ty.clone(), *or_null)?;
                *expr = cast;
            }
            Expr::Call { args, .. } => {
                args.iter_mut().try_for_each(|arg| self.expr(arg))?;
                if let Some(zoned) = self.call(expr)? {
                    *expr = zoned;
                }
            }
        }
        Ok(())
    }

    fn cast(self, inner: Expr, ty: LogicalType, or_null: bool) -> Result<Expr> {
        let cast = |expr: Expr, ty: LogicalType| Expr::Cast {
            expr: Box::new(expr),
            ty,
            or_null,
        };
        let from = &inner.ty().kind;
        match (from, &ty.kind) {
            (TypeKind::TimestampLtz(_), TypeKind::TimestampLtz(_)) => Ok(cast(inner, ty)),
            (TypeKind::TimestampLtz(digits), _) => {
                let (digits, local) = (*digits, self.local(inner)?);
                // A cast to its own type is none.
                Ok(match ty.kind == TypeKind::Timestamp(digits) {
                    true => local,
                    false => cast(local, ty),
                })
            }
            (_, TypeKind::TimestampLtz(digits)) if *from != TypeKind::Null => {
                let shown = TypeKind::Timestamp(*digits);
                let nullable = ty.nullable;
                match *from == shown {
                    true => self.instant(inner),
                    false => self.instant(cast(inner, shown.nullable().with_nullable(nullable))),
                }
            }
            (from, to) if holds_instants(from) && from != to => {
                let what = format!("a CAST from {from} to {to} in another time zone than UTC is");
                Err(Diagnostic::unsupported(self.span, what)
                    .hint("CAST its members, and make the ARRAY, MAP or ROW of them"))
            }
            _ => Ok(cast(inner, ty)),
        }
    }

    fn call(self, expr: &Expr) -> Result<Option<Expr>> {
        let Expr::Call { function, args, .. } = expr else {
            return Ok(None);
        };
        let function = *function;
        let instant = args
            .iter()
            .position(|arg| matches!(arg.ty().kind, TypeKind::TimestampLtz(_)));
        let zone = || text(self.name);
        let unix = |given: Function, inner: Function| -> Result<Option<Expr>> {
            if function != given {
                return Ok(None);
            }
            let mut args = args.clone();
            if args.len() == 1 {
                args.push(text("yyyy-MM-dd HH:mm:ss"));
            }
            args.push(zone());
            call(inner, args, self.span).map(Some)
        };
        let Some(at) = instant else {
            return Ok(unix(Function::FromUnixTime, Function::FromUnixTimeIn)?
                .or(unix(Function::UnixTimestamp, Function::UnixTimestampIn)?));
        };
        let cut = matches!(function, Function::FloorTo | Function::CeilTo);
        if !cut && !ON_THE_WALL.contains(&function.key()) {
            return Ok(None);
        }
        let mut args = args.clone();
        args[at] = self.local(args[at].clone())?;
        let shown = call(function, args, self.span)?;
        Ok(Some(if cut { self.instant(shown)? } else { shown }))
    }

    fn local(self, instant: Expr) -> Result<Expr> {
        call(
            Function::LocalTime,
            vec![instant, text(self.name)],
            self.span,
        )
    }

    fn instant(self, shown: Expr) -> Result<Expr> {
        call(Function::Instant, vec![shown, text(self.name)], self.span)
    }
}

/// Functions that see of an instant what a clock shows.
const ON_THE_WALL: &[&str] = &[
    "EXTRACT",
    "YEAR",
    "QUARTER",
    "MONTH",
    "WEEK",
    "DAYOFYEAR",
    "DAYOFMONTH",
    "DAYOFWEEK",
    "HOUR",
    "MINUTE",
    "SECOND",
    "DATE_FORMAT",
];

fn holds_instants(kind: &TypeKind) -> bool {
    match kind {
        TypeKind::TimestampLtz(_) => true,
        TypeKind::Array(of) => holds_instants(&of.kind),
        TypeKind::Map(key, value) => holds_instants(&key.kind) || holds_instants(&value.kind),
        TypeKind::Row(fields) => fields.iter().any(|field| holds_instants(&field.ty.kind)),
        _ => false,
    }
}
