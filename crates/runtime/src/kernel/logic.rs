//! Three-valued logic, NULL tests and the choice between arrays.

use super::operand::Operand;
use arrow_array::cast::AsArray;
use arrow_array::{Array, BooleanArray, make_array};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_select::nullif::nullif;
use arrow_select::zip::zip;
use std::sync::Arc;

pub(super) fn is_null(value: &Operand, wanted: bool) -> Operand {
    let nulls = value.array.logical_nulls();
    let valid = match nulls {
        Some(nulls) => nulls.inner().clone(),
        None => BooleanBuffer::new_set(value.array.len()),
    };
    let bits = if wanted { !&valid } else { valid };
    value.with(Arc::new(BooleanArray::new(bits, None)))
}

/// `IS [NOT] TRUE` (`truth`) and `IS [NOT] FALSE`.
pub(super) fn truth(value: &Operand, truth: bool, negated: bool) -> Operand {
    let bits = rows_equal(value.array.as_boolean(), truth);
    let bits = if negated { !&bits } else { bits };
    value.with(Arc::new(BooleanArray::new(bits, None)))
}

/// The rows for which a condition is TRUE: NULL counts as FALSE.
pub(super) fn true_rows(condition: &BooleanArray) -> BooleanBuffer {
    rows_equal(condition, true)
}

/// A field of a ROW, NULL where the row is.
pub(super) fn field(row: &Operand, index: usize) -> Operand {
    let rows = row.array.as_struct();
    let field = rows.column(index);
    let nulls = NullBuffer::union(rows.nulls(), field.nulls());
    let data = field.to_data().into_builder().nulls(nulls);
    let data = data
        .build()
        .expect("a ROW and its fields are of one length");
    row.with(make_array(data))
}

/// Where the value is known and is `truth`.
fn rows_equal(array: &BooleanArray, truth: bool) -> BooleanBuffer {
    let values = if truth {
        array.values().clone()
    } else {
        !array.values()
    };
    match array.nulls() {
        Some(nulls) => &values & nulls.inner(),
        None => values,
    }
}

/// The rows for which the other side of AND (`truth` = false) or OR (`truth` = true) still matters.
pub(super) fn rows_that_are_not(value: &Operand, truth: bool, rows: usize) -> BooleanBuffer {
    let bits = !&rows_equal(value.array.as_boolean(), truth);
    spread(bits, value.constant, rows)
}

pub(super) fn null_rows(value: &Operand, rows: usize) -> BooleanBuffer {
    let bits = match value.array.logical_nulls() {
        Some(nulls) => !nulls.inner(),
        None => BooleanBuffer::new_unset(value.array.len()),
    };
    spread(bits, value.constant, rows)
}

fn spread(bits: BooleanBuffer, constant: bool, rows: usize) -> BooleanBuffer {
    match (constant, constant && bits.value(0)) {
        (false, _) => bits,
        (true, true) => BooleanBuffer::new_set(rows),
        (true, false) => BooleanBuffer::new_unset(rows),
    }
}

pub(super) fn and(left: &Operand, right: &Operand) -> Operand {
    both(left, right, arrow_arith::boolean::and_kleene)
}

pub(super) fn or(left: &Operand, right: &Operand) -> Operand {
    both(left, right, arrow_arith::boolean::or_kleene)
}

fn both(
    left: &Operand,
    right: &Operand,
    kernel: impl Fn(&BooleanArray, &BooleanArray) -> Result<BooleanArray, arrow_schema::ArrowError>,
) -> Operand {
    let constant = left.constant && right.constant;
    let rows = if left.constant {
        right.array.len()
    } else {
        left.array.len()
    };
    let (left, right) = (
        left.clone().into_array(rows),
        right.clone().into_array(rows),
    );
    let result = kernel(left.as_boolean(), right.as_boolean()).expect("both sides have all rows");
    Operand {
        array: Arc::new(result),
        constant,
    }
}

pub(super) fn not(value: &Operand) -> Operand {
    let array = value.array.as_boolean();
    value.with(Arc::new(BooleanArray::new(
        !array.values(),
        array.nulls().cloned(),
    )))
}

/// NULL where `condition` is TRUE, else the value.
pub(super) fn null_where(value: &Operand, condition: &Operand) -> Operand {
    let constant = value.constant && condition.constant;
    let rows = if value.constant {
        condition.array.len()
    } else {
        value.array.len()
    };
    let array = value.clone().into_array(rows);
    let condition = condition.clone().into_array(rows);
    let result = nullif(&array, condition.as_boolean()).expect("both have all rows");
    Operand {
        array: result,
        constant,
    }
}

/// `then` where set in `rows`, else `otherwise`. Both hold the same type.
pub(super) fn choose(rows: &BooleanBuffer, then: &Operand, otherwise: &Operand) -> Operand {
    let mask = BooleanArray::new(rows.clone(), None);
    let array = zip(&mask, then, otherwise).expect("both sides have all rows and one type");
    Operand::column(array)
}
