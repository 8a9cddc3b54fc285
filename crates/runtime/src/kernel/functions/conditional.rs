//! The greatest and the least of values of one type.

use super::super::compare::{self, Comparison};
use super::super::logic;
use super::super::operand::{Active, Operand, RowError};
use super::{Kernel, Registered};
use arrow_array::cast::AsArray;
use arrow_buffer::BooleanBuffer;

pub(super) const KERNELS: &[Registered] = &[
    Registered::new(
        "GREATEST",
        Kernel::Columns(|args, active, _| chosen(args, active, Comparison::GreaterOrEqual)),
    ),
    Registered::new(
        "LEAST",
        Kernel::Columns(|args, active, _| chosen(args, active, Comparison::LessOrEqual)),
    ),
];

/// Keeps the value so far where it compares so with the next; NULL where any is.
#[expect(clippy::unnecessary_wraps, reason = "a kernel")]
fn chosen(args: &[Operand], active: &Active, keep: Comparison) -> Result<Operand, RowError> {
    let (first, rest) = args
        .split_first()
        .expect("the function's row wants one value");
    let mut best = first.clone();
    let mut nulls = logic::null_rows(first, active.rows);
    for next in rest {
        let kept = compare::run(keep, &best, next).into_array(active.rows);
        let kept = logic::true_rows(kept.as_boolean());
        best = logic::choose(&kept, &best, next);
        nulls = &nulls | &logic::null_rows(next, active.rows);
    }
    Ok(null_in(&nulls, best, active.rows))
}

fn null_in(rows: &BooleanBuffer, value: Operand, count: usize) -> Operand {
    if rows.count_set_bits() == 0 {
        return value;
    }
    let value = Operand::column(value.into_array(count));
    let nowhere = arrow_array::BooleanArray::new(rows.clone(), None);
    logic::null_where(&value, &Operand::column(std::sync::Arc::new(nowhere)))
}
