//! The scalar functions and operators, and the type that each gives under Flink 2.3's rules.
//!
//! A signature is checked and typed here, once; the runtime's kernels may rely on it. Decimal rules: `+ −` give scale
//! `max(s)` and precision `max(s) + max(p − s) + 1`; `×` gives `(p1 + p2 + 1, s1 + s2)`; `÷` gives scale
//! `max(6, s1 + p2 + 1)`; above 38 digits scale is dropped but at least 6 digits of it are kept (Flink
//! `LogicalTypeMerging`).

use crate::{LogicalType, TypeKind};
use serde::{Deserialize, Serialize};
use std::fmt;
use thiserror::Error;

/// A scalar function or operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Function {
    Plus,
    Minus,
    Times,
    Divide,
    /// `MOD(a, b)` and `a % b` of exact numbers; the sign follows the dividend. The planner brings whole numbers to one type
    /// and the result to that of `b`.
    Mod,
    Negate,
    Abs,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    IsDistinctFrom,
    IsNotDistinctFrom,
    IsNull,
    IsNotNull,
    IsTrue,
    IsNotTrue,
    IsFalse,
    IsNotFalse,
    And,
    Or,
    Not,
    /// Arguments already share one type.
    Coalesce,
    /// `NULLIF(a, b)`.
    NullIf,
    Upper,
    Lower,
    /// `TRIM(BOTH chars FROM s)`: (string, characters).
    Trim,
    TrimLeading,
    TrimTrailing,
    /// `SUBSTRING(s, from[, length])`, 1-based; a negative `from` counts from the end.
    Substring,
    /// `CONCAT(…)`: a STRING, NULL when any argument is NULL.
    Concat,
    /// `a || b`: as long as both together.
    Append,
    /// `s LIKE pattern [ESCAPE c]`: `_` does not match a newline.
    Like,
    CharLength,
}

/// A function was given arguments that it does not take.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("cannot apply '{function}' to arguments of type '{given}'")]
pub struct SignatureError {
    pub function: Function,
    /// The types given, as `(INT, STRING)`.
    pub given: String,
    /// What it takes, in words: "two numbers".
    pub expected: &'static str,
}

impl Function {
    /// How a script writes it: the operator's sign or the function's name.
    pub fn name(self) -> &'static str {
        use Function::*;
        match self {
            Plus => "+",
            Minus | Negate => "-",
            Times => "*",
            Divide => "/",
            Mod => "MOD",
            Abs => "ABS",
            Equal => "=",
            NotEqual => "<>",
            Less => "<",
            LessOrEqual => "<=",
            Greater => ">",
            GreaterOrEqual => ">=",
            IsDistinctFrom => "IS DISTINCT FROM",
            IsNotDistinctFrom => "IS NOT DISTINCT FROM",
            IsNull => "IS NULL",
            IsNotNull => "IS NOT NULL",
            IsTrue => "IS TRUE",
            IsNotTrue => "IS NOT TRUE",
            IsFalse => "IS FALSE",
            IsNotFalse => "IS NOT FALSE",
            And => "AND",
            Or => "OR",
            Not => "NOT",
            Coalesce => "COALESCE",
            NullIf => "NULLIF",
            Upper => "UPPER",
            Lower => "LOWER",
            Trim => "TRIM",
            TrimLeading => "TRIM LEADING",
            TrimTrailing => "TRIM TRAILING",
            Substring => "SUBSTRING",
            Concat => "CONCAT",
            Append => "||",
            Like => "LIKE",
            CharLength => "CHAR_LENGTH",
        }
    }

    /// The type of the result for arguments of these types.
    ///
    /// # Errors
    /// [`SignatureError`] when the function does not take them. There are no implicit conversions between text and
    /// numbers: Flink refuses `'1' = 1` and so do we.
    pub fn result_type(self, args: &[&LogicalType]) -> Result<LogicalType, SignatureError> {
        use Function::*;
        let nullable = args.iter().any(|arg| arg.nullable);
        let boolean = || TypeKind::Boolean.with_nullable(nullable);
        let kinds: Vec<&TypeKind> = args.iter().map(|arg| &arg.kind).collect();
        match (self, kinds.as_slice()) {
            (Plus | Minus | Times | Divide | Mod, [a, b]) => arithmetic(self, a, b)
                .map(|kind| kind.with_nullable(nullable))
                .ok_or_else(|| {
                    let exact = "two exact numbers; FLOAT and DOUBLE have no remainder";
                    let any = "two numbers, or a time and an interval";
                    self.refuse(args, if self == Mod { exact } else { any })
                }),
            (Negate, [a]) if a.is_interval() => Ok(args[0].clone()),
            (Negate | Abs, [a]) if a.is_numeric() => Ok(args[0].clone()),
            (Negate | Abs, _) => Err(self.refuse(args, "one number")),
            (Equal | NotEqual | Less | LessOrEqual | Greater | GreaterOrEqual, [a, b])
                if comparable(a, b) =>
            {
                Ok(boolean())
            }
            (IsDistinctFrom | IsNotDistinctFrom, [a, b]) if comparable(a, b) => {
                Ok(TypeKind::Boolean.not_null())
            }
            (
                Equal | NotEqual | Less | LessOrEqual | Greater | GreaterOrEqual | IsDistinctFrom
                | IsNotDistinctFrom,
                _,
            ) => Err(self.refuse(args, "two values of the same kind; use CAST to convert one")),
            (IsNull | IsNotNull, [_]) => Ok(TypeKind::Boolean.not_null()),
            (IsTrue | IsNotTrue | IsFalse | IsNotFalse, [TypeKind::Boolean]) => {
                Ok(TypeKind::Boolean.not_null())
            }
            (And | Or, [a, b]) if is_boolean(a) && is_boolean(b) => Ok(boolean()),
            (Not, [a]) if is_boolean(a) => Ok(boolean()),
            (And | Or | Not | IsTrue | IsNotTrue | IsFalse | IsNotFalse, _) => {
                Err(self.refuse(args, "BOOLEAN"))
            }
            (Coalesce, [first, rest @ ..]) if rest.iter().all(|kind| kind == first) => Ok((*first)
                .clone()
                .with_nullable(args.iter().all(|arg| arg.nullable))),
            (NullIf, [a, b]) if comparable(a, b) => Ok((*a).clone().nullable()),
            (Coalesce | NullIf, _) => Err(self.refuse(args, "values of one type")),
            (Upper | Lower, [a]) if a.is_character() => Ok((*a).clone().with_nullable(nullable)),
            (Trim | TrimLeading | TrimTrailing, [a, b]) if a.is_character() && b.is_character() => {
                Ok(TypeKind::Varchar(length(a)).with_nullable(nullable))
            }
            // NULL where nothing is left, says Flink's type; it is '' in fact.
            (Substring, [a, numbers @ ..])
                if a.is_character()
                    && matches!(numbers.len(), 1 | 2)
                    && numbers.iter().all(|number| number.is_integer()) =>
            {
                Ok(TypeKind::Varchar(length(a)).nullable())
            }
            (Append, [a, b]) if a.is_character() && b.is_character() => {
                let both = length(a)
                    .saturating_add(length(b))
                    .min(TypeKind::STRING_LENGTH);
                let fixed = matches!((a, b), (TypeKind::Char(_), TypeKind::Char(_)));
                let kind = if fixed {
                    TypeKind::Char(both)
                } else {
                    TypeKind::Varchar(both)
                };
                Ok(kind.with_nullable(nullable))
            }
            (Concat, [_, ..]) if kinds.iter().all(|kind| kind.is_character()) => {
                Ok(a_string(nullable))
            }
            (Like, [a, b] | [a, b, _]) if a.is_character() && b.is_character() => Ok(boolean()),
            (CharLength, [a]) if a.is_character() => Ok(TypeKind::Int.with_nullable(nullable)),
            (Substring, _) => Err(self.refuse(args, "a string, then integers")),
            _ => Err(self.refuse(args, "strings")),
        }
    }

    fn refuse(self, args: &[&LogicalType], expected: &'static str) -> SignatureError {
        let given: Vec<String> = args.iter().map(|arg| arg.kind.to_string()).collect();
        SignatureError {
            function: self,
            given: format!("({})", given.join(", ")),
            expected,
        }
    }
}

impl TypeKind {
    fn with_nullable(self, nullable: bool) -> LogicalType {
        LogicalType {
            kind: self,
            nullable,
        }
    }

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
            _ => None,
        }
    }
}

fn a_string(nullable: bool) -> LogicalType {
    TypeKind::string().with_nullable(nullable)
}

fn is_boolean(kind: &TypeKind) -> bool {
    *kind == TypeKind::Boolean
}

/// Letters at most.
fn length(kind: &TypeKind) -> u32 {
    match kind {
        TypeKind::Char(n) | TypeKind::Varchar(n) => *n,
        _ => 0,
    }
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

fn comparable(a: &TypeKind, b: &TypeKind) -> bool {
    a.common(b).is_some()
        || matches!(
            (a, b),
            (TypeKind::Timestamp(_), TypeKind::TimestampLtz(_))
                | (TypeKind::TimestampLtz(_), TypeKind::Timestamp(_))
        )
}

fn arithmetic(function: Function, a: &TypeKind, b: &TypeKind) -> Option<TypeKind> {
    use Function::*;
    let time =
        |kind: &TypeKind| kind.is_timestamp() || matches!(kind, TypeKind::Date | TypeKind::Time(_));
    match (function, a, b) {
        (Plus | Minus, a, b) if time(a) && b.is_interval() => return Some(a.clone()),
        (Plus, a, b) if a.is_interval() && time(b) => return Some(b.clone()),
        (Plus | Minus, a, b) if a.is_interval() && a == b => return Some(a.clone()),
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
        return (function != Mod).then(|| approximate(a, b, a.clone()));
    };
    let (p1, s1, p2, s2) = (u32::from(p1), u32::from(s1), u32::from(p2), u32::from(s2));
    Some(match function {
        Plus | Minus => {
            let scale = s1.max(s2);
            bounded_decimal(scale + (p1 - s1).max(p2 - s2) + 1, scale)
        }
        Times => bounded_decimal(p1 + p2 + 1, s1 + s2),
        Divide => {
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

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    //! Golden types captured from Apache Flink 2.3.0 (columns `i INT`, `d DECIMAL(10,2)`, `f DOUBLE`).
    use super::*;

    fn check(function: Function, a: TypeKind, b: TypeKind, expected: &str) {
        let (a, b) = (a.nullable(), b.nullable());
        let got = match function.result_type(&[&a, &b]) {
            Ok(ty) => ty.to_string(),
            Err(error) => error.to_string(),
        };
        assert_eq!(got, expected, "{function} over {a} and {b}");
    }

    #[test]
    fn arithmetic_types_are_flinks() {
        let decimal = |precision, scale| TypeKind::Decimal { precision, scale };
        let d = || decimal(10, 2);
        check(Function::Plus, d(), d(), "DECIMAL(11, 2)");
        check(Function::Times, d(), d(), "DECIMAL(21, 4)");
        check(Function::Divide, d(), d(), "DECIMAL(23, 13)");
        check(Function::Mod, d(), d(), "DECIMAL(10, 2)");
        check(
            Function::Times,
            TypeKind::Int,
            decimal(2, 1),
            "DECIMAL(13, 1)",
        );
        check(
            Function::Plus,
            TypeKind::Int,
            decimal(2, 1),
            "DECIMAL(12, 1)",
        );
        check(
            Function::Divide,
            TypeKind::Int,
            decimal(2, 1),
            "DECIMAL(17, 6)",
        );
        check(
            Function::Times,
            decimal(4, 3),
            TypeKind::BigInt,
            "DECIMAL(24, 3)",
        );
        check(Function::Divide, TypeKind::Int, TypeKind::BigInt, "BIGINT");
        check(Function::Times, TypeKind::Double, TypeKind::Int, "DOUBLE");
        check(Function::Plus, TypeKind::Float, TypeKind::Double, "FLOAT");
        check(
            Function::Plus,
            TypeKind::string(),
            TypeKind::Int,
            "cannot apply '+' to arguments of type '(STRING, INT)'",
        );
    }

    #[test]
    fn text_and_numbers_do_not_compare() {
        check(
            Function::Equal,
            TypeKind::Char(1),
            TypeKind::Int,
            "cannot apply '=' to arguments of type '(CHAR(1), INT)'",
        );
        check(Function::Equal, TypeKind::Int, decimal_1_0(), "BOOLEAN");
    }

    fn decimal_1_0() -> TypeKind {
        TypeKind::Decimal {
            precision: 2,
            scale: 1,
        }
    }
}
