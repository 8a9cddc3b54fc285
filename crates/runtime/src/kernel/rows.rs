//! Loops over the rows of one or two operands, for kernels that Arrow does not have.
//!
//! The function sees only values that are not NULL, and only rows that are active decide whether a fault is one.

use super::operand::{Active, Fault, Operand, RowError};
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrowPrimitiveType, PrimitiveArray};
use arrow_buffer::{NullBuffer, NullBufferBuilder};
use arrow_schema::DataType;
use std::sync::Arc;

/// How many values a kernel over these operands gives, and whether they are one constant.
pub(super) fn shape(operands: &[&Operand], active: &Active) -> (usize, bool) {
    if operands.iter().all(|operand| operand.constant) {
        (1, true)
    } else {
        (active.rows, false)
    }
}

/// Calls `f(index)` for every index and collects; `None` is NULL.
pub(super) fn collect<T: Default>(
    operands: &[&Operand],
    active: &Active,
    mut f: impl FnMut(usize) -> Result<Option<T>, Fault>,
) -> Result<(Vec<T>, Option<NullBuffer>, bool), RowError> {
    let (len, constant) = shape(operands, active);
    let mut values = Vec::with_capacity(len);
    let mut nulls = NullBufferBuilder::new(len);
    for index in 0..len {
        let result = active.settle(f(index), index, constant)?;
        nulls.append(result.is_some());
        values.push(result.unwrap_or_default());
    }
    Ok((values, nulls.finish(), constant))
}

/// One primitive to another.
pub(super) fn unary<A: ArrowPrimitiveType, R: ArrowPrimitiveType>(
    operand: &Operand,
    ty: &DataType,
    active: &Active,
    f: impl Fn(A::Native) -> Result<Option<R::Native>, Fault>,
) -> Result<Operand, RowError> {
    let input = operand.array.as_primitive::<A>();
    let (values, nulls, constant) = collect(&[operand], active, |row| {
        if input.is_null(row) {
            return Ok(None);
        }
        f(input.value(row))
    })?;
    Ok(primitive::<R>(values, nulls, constant, ty))
}

/// Two primitives to a third.
pub(super) fn binary<A: ArrowPrimitiveType, B: ArrowPrimitiveType, R: ArrowPrimitiveType>(
    left: &Operand,
    right: &Operand,
    ty: &DataType,
    active: &Active,
    f: impl Fn(A::Native, B::Native) -> Result<Option<R::Native>, Fault>,
) -> Result<Operand, RowError> {
    let (a, b) = (
        left.array.as_primitive::<A>(),
        right.array.as_primitive::<B>(),
    );
    let (values, nulls, constant) = collect(&[left, right], active, |row| {
        let (i, j) = (left.at(row), right.at(row));
        if a.is_null(i) || b.is_null(j) {
            return Ok(None);
        }
        f(a.value(i), b.value(j))
    })?;
    Ok(primitive::<R>(values, nulls, constant, ty))
}

fn primitive<R: ArrowPrimitiveType>(
    values: Vec<R::Native>,
    nulls: Option<NullBuffer>,
    constant: bool,
    ty: &DataType,
) -> Operand {
    let array = PrimitiveArray::<R>::new(values.into(), nulls).with_data_type(ty.clone());
    Operand {
        array: Arc::new(array),
        constant,
    }
}
