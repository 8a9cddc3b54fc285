//! Comparisons: Arrow's where it orders as Flink does, our own for numbers with NaN and for decimals of different scale.
//!
//! NaN equals nothing, itself included, and is neither less nor greater; `-0.0` equals `0.0`. Text compares by code point, which for
//! UTF-8 is by byte, blanks included: `'a' = 'a '` is false.

use super::KernelError;
use super::decimal::widened;
use super::operand::{Active, Operand};
use super::rows::collect;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Decimal128Type, Decimal256Type, Float32Type, Float64Type,
};
use arrow_array::{Array, ArrayRef, BooleanArray, Decimal128Array, PrimitiveArray};
use arrow_ord::cmp;
use arrow_schema::{ArrowError, DataType};
use lw_graph::{Function, TypeKind};
use std::cmp::Ordering;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Distinct,
    NotDistinct,
}

/// The comparison that a function is, if it is one.
pub(super) fn comparison(function: Function) -> Option<Comparison> {
    Some(match function {
        Function::Equal => Comparison::Equal,
        Function::NotEqual => Comparison::NotEqual,
        Function::Less => Comparison::Less,
        Function::LessOrEqual => Comparison::LessOrEqual,
        Function::Greater => Comparison::Greater,
        Function::GreaterOrEqual => Comparison::GreaterOrEqual,
        Function::IsDistinctFrom => Comparison::Distinct,
        Function::IsNotDistinctFrom => Comparison::NotDistinct,
        _ => return None,
    })
}

/// What each side must be converted to before it is compared; `None` stays as it is.
pub(super) type Conversions = (Option<TypeKind>, Option<TypeKind>);

pub(super) fn conversions(a: &TypeKind, b: &TypeKind) -> Result<Conversions, KernelError> {
    use TypeKind::*;
    let both = |kind: TypeKind| Ok((Some(kind.clone()), Some(kind)));
    match (a, b) {
        (Null, Null) => both(Boolean),
        (Null, kind) => Ok((Some(kind.clone()), None)),
        (kind, Null) => Ok((None, Some(kind.clone()))),
        (Array(_) | Map(..) | Row(_), _) => Err(KernelError::new(format!(
            "values of type {a} cannot be compared yet"
        ))),
        (Float, Float) => Ok((None, None)),
        (a, b) if a.is_approximate() || b.is_approximate() => both(Double),
        (a, b) if a.is_integer() && b.is_integer() => match a.common(b) {
            Some(kind) => both(kind),
            None => Ok((None, None)),
        },
        (a, b) if a.is_numeric() && b.is_numeric() => Ok((decimal_of(a), decimal_of(b))),
        (Date, Timestamp(_) | TimestampLtz(_))
        | (Timestamp(_) | TimestampLtz(_), Date)
        | (Timestamp(_), TimestampLtz(_))
        | (TimestampLtz(_), Timestamp(_)) => both(Timestamp(6)),
        _ => Ok((None, None)),
    }
}

fn decimal_of(kind: &TypeKind) -> Option<TypeKind> {
    let (precision, scale) = kind.as_decimal()?;
    Some(TypeKind::Decimal { precision, scale })
}

pub(super) fn equal(left: &Operand, right: &Operand) -> Operand {
    run(Comparison::Equal, left, right)
}

/// Both sides are of one type, decimals perhaps of different scale.
pub(super) fn run(comparison: Comparison, left: &Operand, right: &Operand) -> Operand {
    match (left.array.data_type(), right.array.data_type()) {
        (DataType::Float32, _) => by_order::<Float32Type>(comparison, left, right),
        (DataType::Float64, _) => by_order::<Float64Type>(comparison, left, right),
        (DataType::Decimal128(_, s1), DataType::Decimal128(_, s2)) => {
            let (left, right) = aligned(left, *s1, right, *s2);
            by_arrow(comparison, &left, &right)
        }
        _ => by_arrow(comparison, left, right),
    }
}

fn by_arrow(comparison: Comparison, left: &Operand, right: &Operand) -> Operand {
    type Kernel =
        fn(&dyn arrow_array::Datum, &dyn arrow_array::Datum) -> Result<BooleanArray, ArrowError>;
    let kernel: Kernel = match comparison {
        Comparison::Equal => cmp::eq,
        Comparison::NotEqual => cmp::neq,
        Comparison::Less => cmp::lt,
        Comparison::LessOrEqual => cmp::lt_eq,
        Comparison::Greater => cmp::gt,
        Comparison::GreaterOrEqual => cmp::gt_eq,
        Comparison::Distinct => cmp::distinct,
        Comparison::NotDistinct => cmp::not_distinct,
    };
    let result =
        kernel(left, right).expect("both sides have one type, which was checked to be comparable");
    Operand {
        array: Arc::new(result),
        constant: left.constant && right.constant,
    }
}

fn by_order<T: ArrowPrimitiveType>(
    comparison: Comparison,
    left: &Operand,
    right: &Operand,
) -> Operand {
    let (a, b) = (
        left.array.as_primitive::<T>(),
        right.array.as_primitive::<T>(),
    );
    let rows = if left.constant { b.len() } else { a.len() };
    let (values, nulls, constant) = collect(&[left, right], &Active::all(rows), |row| {
        let (i, j) = (left.at(row), right.at(row));
        Ok(match (a.is_null(i), b.is_null(j)) {
            (false, false) => Some(holds(comparison, a.value(i).partial_cmp(&b.value(j)))),
            (x, y) => match comparison {
                Comparison::Distinct => Some(x != y),
                Comparison::NotDistinct => Some(x == y),
                _ => None,
            },
        })
    })
    .expect("the closure never fails");
    Operand {
        array: Arc::new(BooleanArray::new(values.into(), nulls)),
        constant,
    }
}

/// `None` beside a NaN, which is neither less than anything nor equal to it, itself included.
fn holds(comparison: Comparison, order: Option<Ordering>) -> bool {
    match comparison {
        Comparison::Equal | Comparison::NotDistinct => order == Some(Ordering::Equal),
        Comparison::NotEqual | Comparison::Distinct => order != Some(Ordering::Equal),
        Comparison::Less => order.is_some_and(Ordering::is_lt),
        Comparison::LessOrEqual => order.is_some_and(Ordering::is_le),
        Comparison::Greater => order.is_some_and(Ordering::is_gt),
        Comparison::GreaterOrEqual => order.is_some_and(Ordering::is_ge),
    }
}

/// Decimals as numbers of one scale.
fn aligned(left: &Operand, s1: i8, right: &Operand, s2: i8) -> (Operand, Operand) {
    if s1 == s2 {
        // Arrow compares equal types only; the precision plays no part.
        let same = |operand: &Operand| {
            let array: Decimal128Array = operand.array.as_primitive::<Decimal128Type>().clone();
            operand.with(Arc::new(array.with_data_type(DataType::Decimal128(38, s1))))
        };
        return (same(left), same(right));
    }
    let scale = s1.max(s2);
    let wide = |operand: &Operand, from: i8| {
        let places = u8::try_from(scale - from).expect("scale is the greater one");
        let array = operand.array.as_primitive::<Decimal128Type>();
        let wide: PrimitiveArray<Decimal256Type> = array.unary(|value| widened(value, places));
        let wide: ArrayRef = Arc::new(wide.with_data_type(DataType::Decimal256(76, scale)));
        operand.with(wide)
    };
    (wide(left, s1), wide(right, s2))
}
