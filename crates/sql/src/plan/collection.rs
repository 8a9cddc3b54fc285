//! ARRAYs, MAPs and ROWs: how they are made, and how the functions over them bring their arguments to one type.

use super::coerce::{call, unify};
use super::function::named;
use super::literal::cast;
use crate::Result;
use crate::diagnostic::{Diagnostic, Span};
use lw_graph::{Expr, Function, LogicalType, TypeKind, Value};

/// `ARRAY[a, b]`.
pub(super) fn array(values: Vec<Expr>, span: Span) -> Result<Expr> {
    if values.iter().all(|value| value.ty().kind == TypeKind::Null) {
        return Err(
            Diagnostic::error("type", span, "an ARRAY needs a value that has a type")
                .hint("ARRAY[1, 2], ARRAY[CAST(NULL AS INT)]"),
        );
    }
    call(Function::Array, unify(values, "ARRAY", span)?, span)
}

/// `MAP[key, value, …]`: keys and values, each in one type.
pub(super) fn map(entries: Vec<(Expr, Expr)>, span: Span) -> Result<Expr> {
    if entries.is_empty() {
        return Err(
            Diagnostic::error("type", span, "a MAP needs an entry").hint("MAP['a', 1, 'b', 2]")
        );
    }
    let (keys, values): (Vec<Expr>, Vec<Expr>) = entries.into_iter().unzip();
    for side in [&keys, &values] {
        if side.iter().all(|value| value.ty().kind == TypeKind::Null) {
            let message = "a MAP needs a key and a value that have types";
            return Err(
                Diagnostic::error("type", span, message).hint("MAP['a', CAST(NULL AS INT)]")
            );
        }
    }
    let keys = unify(keys, "MAP", span)?;
    let values = unify(values, "MAP", span)?;
    let args = keys.into_iter().zip(values);
    call(
        Function::Map,
        args.flat_map(|(key, value)| [key, value]).collect(),
        span,
    )
}

/// `array[index]`, `map[key]`.
pub(super) fn element_at(of: Expr, at: Expr, span: Span) -> Result<Expr> {
    if let (
        TypeKind::Array(_),
        Expr::Literal {
            value: Value::Integer(index),
            ..
        },
    ) = (&of.ty().kind, &at)
        && *index < 1
    {
        let message = format!("an array's elements are counted from 1, not {index}");
        return Err(Diagnostic::error("type", span, message));
    }
    let at = match &of.ty().kind {
        TypeKind::Map(key, _) if key.kind.is_numeric() && at.ty().kind.is_numeric() => {
            cast(at, &key.kind.clone())
        }
        _ => at,
    };
    call(Function::ElementAt, vec![of, at], span)
}

/// An ARRAY and a value, which is brought to the type of the ARRAY's elements where it fits into it.
pub(super) fn with_element(name: &str, mut args: Vec<Expr>, span: Span) -> Result<Expr> {
    if let [of, value] = &mut args[..]
        && let TypeKind::Array(element) = &of.ty().kind
        && fits(&element.kind, &value.ty().kind)
    {
        let kind = element.kind.clone();
        *value = cast(value.clone(), &kind);
    }
    call(named(name), args, span)
}

/// Whether a value is made one of the elements' type. A text is cut to their length, as Flink cuts it; one that may be of any length
/// is made no CHAR.
fn fits(element: &TypeKind, value: &TypeKind) -> bool {
    let to_fixed = matches!(element, TypeKind::Char(_)) && !matches!(value, TypeKind::Char(_));
    (element.is_character() && value.is_character() && !to_fixed)
        || element.common(value).as_ref() == Some(element)
}

/// ARRAYs or MAPs in the type that they have in common.
pub(super) fn alike(name: &str, args: Vec<Expr>, span: Span) -> Result<Expr> {
    call(named(name), unify(args, name, span)?, span)
}

/// An ARRAY and places in it.
pub(super) fn with_places(name: &str, args: Vec<Expr>, span: Span) -> Result<Expr> {
    let small = |ty: &LogicalType| matches!(ty.kind, TypeKind::TinyInt | TypeKind::SmallInt);
    let args = args.into_iter().map(|arg| match small(arg.ty()) {
        true => cast(arg, &TypeKind::Int),
        false => arg,
    });
    call(named(name), args.collect(), span)
}
