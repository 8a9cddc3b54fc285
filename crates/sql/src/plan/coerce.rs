//! Flink's rules of what an operator takes and what it is turned into first: casts that the script does not write.
//!
//! Whatever the operands of a comparison, `CASE` or `COALESCE` share is cast to one type here, so that the runtime's kernels
//! never have to guess. Text and numbers are never converted into each other behind the author's back; text beside a time is
//! read as that time, as Flink does.

use super::expr::run_on_flink;
use super::literal::{self, cast};
use crate::Result;
use crate::diagnostic::{Diagnostic, Span};
use lw_graph::{Expr, Function, TypeKind, Value};

/// A call whose signature failure points at its place.
pub(super) fn call(function: Function, args: Vec<Expr>, span: Span) -> Result<Expr> {
    Expr::call(function, args).map_err(|error| {
        Diagnostic::error("type", span, error.to_string())
            .detail(format!("It takes {}.", error.expected))
            .hint("convert an argument with CAST(x AS type)")
    })
}

/// A call with every argument brought to what the function's parameter takes.
pub(super) fn call_with(function: Function, args: Vec<Expr>, span: Span) -> Result<Expr> {
    let types: Vec<_> = args.iter().map(Expr::ty).collect();
    let Some(wanted) = function.definition().conversions(&types) else {
        return call(function, args, span);
    };
    let brought = args.into_iter().zip(wanted).map(|(arg, kind)| match kind {
        Some(kind) => cast(arg, &kind),
        None => arg,
    });
    call(function, brought.collect(), span)
}

/// A negative number is one literal, not a negated one.
pub(super) fn negate(value: Expr, span: Span) -> Result<Expr> {
    if let Expr::Literal { value: held, ty } = &value {
        let negated = match held {
            Value::Integer(v) => v.checked_neg().map(Value::Integer),
            Value::Decimal(v) => Some(Value::Decimal(-v)),
            Value::Double(v) => Some(Value::Double(-v)),
            _ => None,
        };
        if let Some(value) = negated {
            let ty = ty.clone();
            return Ok(Expr::Literal { value, ty });
        }
    }
    call(Function::Negate, vec![value], span)
}

pub(super) fn must_be_boolean(condition: Expr, clause: &str, span: Span) -> Result<Expr> {
    match condition.ty().kind {
        TypeKind::Boolean => Ok(condition),
        TypeKind::Null => Ok(cast(condition, &TypeKind::Boolean)),
        ref other => Err(Diagnostic::error(
            "type",
            span,
            format!("{clause} needs a condition, this is {other}"),
        )
        .hint("compare it with something: column > 0, column = 'x', column IS NOT NULL")),
    }
}

/// `a = b` and the like, both in one type.
pub(super) fn comparison(f: Function, a: Expr, b: Expr, span: Span) -> Result<Expr> {
    if let TypeKind::Array(_) | TypeKind::Map(..) | TypeKind::Row(_) = a.ty().kind {
        let what = format!("comparing values of type {} is", a.ty().kind);
        return Err(run_on_flink(Diagnostic::unsupported(span, what)));
    }
    check_time_text(&a, &b, span)?;
    check_time_text(&b, &a, span)?;
    let (a, b) = align(a, b);
    call(f, vec![a, b], span)
}

/// Text beside a time is read as that time; a constant that is none would only fail when rows come.
fn check_time_text(time: &Expr, text: &Expr, span: Span) -> Result<()> {
    let Expr::Literal {
        value: Value::String(text),
        ..
    } = text
    else {
        return Ok(());
    };
    let kind = &time.ty().kind;
    if literal::reads_as(text, kind) {
        return Ok(());
    }
    let message = format!("'{text}' is not a {kind}");
    Err(
        Diagnostic::error("literal", span, message).hint(match kind {
            TypeKind::Date => "DATE '2026-01-31'",
            _ => "TIMESTAMP '2026-01-31 10:11:12.123'",
        }),
    )
}

/// Both sides of a comparison in one type, where there is one.
fn align(a: Expr, b: Expr) -> (Expr, Expr) {
    let is_time =
        |kind: &TypeKind| kind.is_timestamp() || matches!(kind, TypeKind::Date | TypeKind::Time(_));
    let (ka, kb) = (a.ty().kind.clone(), b.ty().kind.clone());
    if ka.is_character() && kb.is_character() {
        return (a, b);
    }
    if is_time(&ka) && kb.is_character() {
        let b = cast(b, &ka);
        return (a, b);
    }
    if is_time(&kb) && ka.is_character() {
        let a = cast(a, &kb);
        return (a, b);
    }
    let common = match (&ka, &kb) {
        (TypeKind::Timestamp(p), TypeKind::TimestampLtz(q))
        | (TypeKind::TimestampLtz(q), TypeKind::Timestamp(p)) => {
            Some(TypeKind::TimestampLtz(*p.max(q)))
        }
        _ => ka.common(&kb),
    };
    match common {
        Some(common) => (cast(a, &common), cast(b, &common)),
        None => (a, b),
    }
}

pub(super) fn arithmetic(function: Function, a: Expr, b: Expr, span: Span) -> Result<Expr> {
    let result = call(function, vec![a.clone(), b.clone()], span)?;
    let (ka, kb) = (&a.ty().kind, &b.ty().kind);
    if function == Function::Mod && result.ty().kind.is_integer() {
        // No remainder is greater than the divisor, so it fits the divisor's type, which is Flink's.
        let (wide, narrow) = (result.ty().kind.clone(), kb.clone());
        let remainder = call(function, vec![cast(a, &wide), cast(b, &wide)], span)?;
        return Ok(cast(remainder, &narrow));
    }
    let as_decimal = |kind: &TypeKind| {
        kind.as_decimal()
            .map(|(precision, scale)| TypeKind::Decimal { precision, scale })
    };
    let (to_a, to_b) = match &result.ty().kind {
        // An interval comes first, and is multiplied by a BIGINT.
        kind if kind.is_interval() && function == Function::Times => {
            let (interval, times) = if ka.is_interval() { (a, b) } else { (b, a) };
            return call(
                function,
                vec![interval, cast(times, &TypeKind::BigInt)],
                span,
            );
        }
        kind if kind.is_integer() => (Some(kind.clone()), Some(kind.clone())),
        TypeKind::Decimal { .. } => (as_decimal(ka), as_decimal(kb)),
        kind if kind.is_approximate() && !(ka.is_approximate() && kb.is_approximate()) => {
            (Some(kind.clone()), Some(kind.clone()))
        }
        _ => (None, None),
    };
    let to = |expr: Expr, kind: Option<TypeKind>| match kind {
        Some(kind) => cast(expr, &kind),
        None => expr,
    };
    let whole = |kind: &TypeKind| kind.as_decimal().is_some_and(|(_, scale)| scale == 0);
    let divisor = (function == Function::Mod && whole(ka) && whole(kb)).then(|| kb.clone());
    let result = call(function, vec![to(a, to_a), to(b, to_b)], span)?;
    // As above: a remainder of whole decimals has the divisor's type.
    Ok(to(result, divisor))
}

/// All values in the one type that they fit into.
pub(super) fn unify(values: Vec<Expr>, what: &str, span: Span) -> Result<Vec<Expr>> {
    let mut kinds = values.iter().map(|value| value.ty().kind.clone());
    let first = kinds.next().unwrap_or(TypeKind::Null);
    let common = kinds.try_fold(first, |common, kind| {
        common_of(&common, &kind, what).ok_or_else(|| {
            Diagnostic::error(
                "type",
                span,
                format!("the values of {what} have no common type: {common} and {kind}"),
            )
            .hint("convert one of them with CAST(x AS type)")
        })
    })?;
    Ok(values
        .into_iter()
        .map(|value| cast(value, &common))
        .collect())
}

/// COALESCE and IFNULL follow other rules than CASE and IF in two places; in both the order matters. GREATEST and LEAST follow them in
/// the second.
fn common_of(a: &TypeKind, b: &TypeKind, what: &str) -> Option<TypeKind> {
    let coalesce = matches!(what, "COALESCE" | "IFNULL");
    match (a, b) {
        (TypeKind::Decimal { .. }, TypeKind::Float) if coalesce => Some(TypeKind::Float),
        (TypeKind::Timestamp(p), TypeKind::TimestampLtz(q))
            if !coalesce && !matches!(what, "GREATEST" | "LEAST") =>
        {
            Some(TypeKind::Timestamp(*p.max(q)))
        }
        (TypeKind::Timestamp(p), TypeKind::TimestampLtz(q))
        | (TypeKind::TimestampLtz(q), TypeKind::Timestamp(p)) => {
            Some(TypeKind::TimestampLtz(*p.max(q)))
        }
        _ => a.common(b),
    }
}

pub(super) fn case(branches: Vec<(Expr, Expr)>, otherwise: Expr, span: Span) -> Result<Expr> {
    let (conditions, mut values): (Vec<Expr>, Vec<Expr>) = branches.into_iter().unzip();
    values.push(otherwise);
    let mut values = unify(values, "CASE", span)?;
    let nullable = values.iter().any(|value| value.ty().nullable);
    let otherwise = values.pop().expect("the ELSE value was pushed above");
    let ty = otherwise.ty().clone().with_nullable(nullable);
    Ok(Expr::Case {
        branches: conditions.into_iter().zip(values).collect(),
        otherwise: Box::new(otherwise),
        ty,
    })
}

pub(super) fn refuse_cast(from: &TypeKind, to: &TypeKind, span: Span) -> Diagnostic {
    let error = Diagnostic::error("type", span, format!("{from} cannot be cast to {to}"));
    if from.is_numeric() && to.is_timestamp() {
        return error
            .detail("Flink does not say whether the number would be seconds or milliseconds.");
    }
    if from.is_timestamp() && to.is_numeric() {
        return error.hint("write the time itself, and convert it when reading the table");
    }
    error
}
