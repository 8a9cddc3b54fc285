//! The kind that two kinds have in common, and the kind of a sum, a product, a quotient.
//!
//! Decimal rules: `+ −` give scale `max(s)` and precision `max(s) + max(p − s) + 1`; `×` gives `(p1 + p2 + 1, s1 + s2)`; `÷` gives
//! scale `max(6, s1 + p2 + 1)`; above 38 digits scale is dropped but at least 6 digits of it are kept (Flink
//! `LogicalTypeMerging`).

use super::Function;
use super::signature::length;
use crate::{Field, LogicalType, TypeKind};

impl TypeKind {
    /// The type that values of both types fit into, as `CASE`, `COALESCE` and `UNION` need it.
    pub fn common(&self, other: &TypeKind) -> Option<TypeKind> {
        if self == other {
            return Some(self.clone());
        }
        match (self, other) {
            (TypeKind::Null, kind) | (kind, TypeKind::Null) => Some(kind.clone()),
            (a, b) if a.is_integer() && b.is_integer() => {
                Some(if rank(a) >= rank(b) { a } else { b }.clone())
            }
            (a, b) if a.is_numeric() && b.is_numeric() => match (a.as_decimal(), b.as_decimal()) {
                (Some((p1, s1)), Some((p2, s2))) => {
                    let scale = s1.max(s2);
                    let whole = (p1 - s1).max(p2 - s2);
                    Some(bounded_decimal(
                        u32::from(whole) + u32::from(scale),
                        u32::from(scale),
                    ))
                }
                _ => Some(approximate(a, b, TypeKind::Double)),
            },
            (a, b) if a.is_character() && b.is_character() => {
                Some(TypeKind::Varchar(length(a).max(length(b))))
            }
            (a, b) if a.is_binary() && b.is_binary() => Some(TypeKind::bytes()),
            (TypeKind::Timestamp(a), TypeKind::Timestamp(b)) => {
                Some(TypeKind::Timestamp(*a.max(b)))
            }
            (TypeKind::TimestampLtz(a), TypeKind::TimestampLtz(b)) => {
                Some(TypeKind::TimestampLtz(*a.max(b)))
            }
            (TypeKind::Time(a), TypeKind::Time(b)) => Some(TypeKind::Time(*a.max(b))),
            (TypeKind::Array(a), TypeKind::Array(b)) => Some(TypeKind::Array(members(a, b)?)),
            (TypeKind::Map(key, value), TypeKind::Map(other_key, other_value)) => Some(
                TypeKind::Map(members(key, other_key)?, members(value, other_value)?),
            ),
            (TypeKind::Row(a), TypeKind::Row(b)) if a.len() == b.len() => {
                // The names are the first's.
                let fields = a.iter().zip(b).map(|(a, b)| {
                    let ty = *members(&a.ty, &b.ty)?;
                    Some(Field::new(a.name.clone(), ty))
                });
                Some(TypeKind::Row(fields.collect::<Option<_>>()?))
            }
            _ => None,
        }
    }
}

/// What the members of two ARRAYs, MAPs or ROWs have in common.
fn members(a: &LogicalType, b: &LogicalType) -> Option<Box<LogicalType>> {
    let kind = a.kind.common(&b.kind)?;
    Some(Box::new(
        kind.nullable().with_nullable(a.nullable || b.nullable),
    ))
}

/// Two numbers of which one is FLOAT or DOUBLE. A DECIMAL takes FLOAT to DOUBLE, a whole number does not; `both` is the answer to
/// FLOAT and DOUBLE together.
fn approximate(a: &TypeKind, b: &TypeKind, both: TypeKind) -> TypeKind {
    match (a, b) {
        (TypeKind::Float, TypeKind::Float) => TypeKind::Float,
        (a, b) if a.is_approximate() && b.is_approximate() && a != b => both,
        (TypeKind::Float, exact) | (exact, TypeKind::Float) if exact.is_integer() => {
            TypeKind::Float
        }
        _ => TypeKind::Double,
    }
}

fn rank(kind: &TypeKind) -> u8 {
    match kind {
        TypeKind::TinyInt => 1,
        TypeKind::SmallInt => 2,
        TypeKind::Int => 3,
        _ => 4,
    }
}

pub(super) fn comparable(a: &TypeKind, b: &TypeKind) -> bool {
    a.common(b).is_some()
        || matches!(
            (a, b),
            (TypeKind::Timestamp(_), TypeKind::TimestampLtz(_))
                | (TypeKind::TimestampLtz(_), TypeKind::Timestamp(_))
        )
}

pub(super) fn arithmetic(function: Function, a: &TypeKind, b: &TypeKind) -> Option<TypeKind> {
    let time =
        |kind: &TypeKind| kind.is_timestamp() || matches!(kind, TypeKind::Date | TypeKind::Time(_));
    match (function, a, b) {
        (Function::Plus | Function::Minus, a, b) if time(a) && b.is_interval() => {
            return Some(a.clone());
        }
        (Function::Plus, a, b) if a.is_interval() && time(b) => return Some(b.clone()),
        (Function::Plus | Function::Minus, a, b) if a.is_interval() && a == b => {
            return Some(a.clone());
        }
        (Function::Times, a, b) if a.is_interval() && b.is_integer() => return Some(a.clone()),
        (Function::Times, a, b) if a.is_integer() && b.is_interval() => return Some(b.clone()),
        _ => {}
    }
    if !a.is_numeric() || !b.is_numeric() {
        return None;
    }
    if a.is_integer() && b.is_integer() {
        return a.common(b);
    }
    let (Some((p1, s1)), Some((p2, s2))) = (a.as_decimal(), b.as_decimal()) else {
        // MOD is for exact numbers; FLOAT + DOUBLE is FLOAT and DOUBLE + FLOAT is DOUBLE (sic, in Flink 2.3.0).
        return (function != Function::Mod).then(|| approximate(a, b, a.clone()));
    };
    let (p1, s1, p2, s2) = (u32::from(p1), u32::from(s1), u32::from(p2), u32::from(s2));
    Some(match function {
        Function::Plus | Function::Minus => {
            let scale = s1.max(s2);
            bounded_decimal(scale + (p1 - s1).max(p2 - s2) + 1, scale)
        }
        Function::Times => bounded_decimal(p1 + p2 + 1, s1 + s2),
        Function::Divide => {
            let scale = (s1 + p2 + 1).max(6);
            bounded_decimal(p1 - s1 + s2 + scale, scale)
        }
        _ => {
            let scale = s1.max(s2);
            bounded_decimal((p1 - s1).min(p2 - s2) + scale, scale)
        }
    })
}

/// A DECIMAL of at most 38 digits: surplus digits come off the scale, of which at least 6 (or all it has) stay.
fn bounded_decimal(precision: u32, scale: u32) -> TypeKind {
    const MAX: u32 = 38;
    if precision <= MAX {
        return TypeKind::Decimal {
            precision: precision as u8,
            scale: scale as u8,
        };
    }
    let whole = precision - scale;
    let kept = scale.min(6).max(MAX.saturating_sub(whole));
    TypeKind::Decimal {
        precision: MAX as u8,
        scale: kept.min(scale) as u8,
    }
}
