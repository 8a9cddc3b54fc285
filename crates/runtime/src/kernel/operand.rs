//! What kernels take and give: columns that may be one value for all rows, and the rows that count.

use arrow_array::{Array, ArrayRef, Datum, UInt32Array};
use arrow_buffer::BooleanBuffer;
use std::fmt;
use thiserror::Error;

/// An expression has no value for one row of the batch.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct RowError {
    pub row: usize,
    /// Short and stable, for grouping: `divide_by_zero`, `cast`.
    pub code: &'static str,
    /// Flink's words where it has some: `/ by zero`.
    pub message: String,
}

/// Why a value cannot be computed, before it is known in which row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl Fault {
    pub(super) fn cast(message: impl fmt::Display) -> Fault {
        Fault {
            code: "cast",
            message: message.to_string(),
        }
    }

    pub(super) fn out_of_range(message: &str) -> Fault {
        Fault {
            code: "out_of_range",
            message: message.to_string(),
        }
    }

    pub(super) fn too_long(function: &str) -> Fault {
        Fault {
            code: "too_long",
            message: format!("the result of {function} is too long"),
        }
    }

    pub(super) fn divide(message: &str) -> Fault {
        Fault {
            code: "divide_by_zero",
            message: message.to_string(),
        }
    }
}

/// A column, or one value that stands for every row.
#[derive(Clone)]
pub(super) struct Operand {
    pub(super) array: ArrayRef,
    pub(super) constant: bool,
}

impl Operand {
    pub(super) fn column(array: ArrayRef) -> Operand {
        Operand {
            array,
            constant: false,
        }
    }

    /// `array` has exactly one value.
    pub(super) fn constant(array: ArrayRef) -> Operand {
        debug_assert_eq!(array.len(), 1, "a constant is one value");
        Operand {
            array,
            constant: true,
        }
    }

    /// The place of a row's value in the array.
    #[inline]
    pub(super) fn at(&self, row: usize) -> usize {
        if self.constant { 0 } else { row }
    }

    /// Writes a constant out for every row.
    pub(super) fn into_array(self, rows: usize) -> ArrayRef {
        if !self.constant {
            return self.array;
        }
        let zeros = UInt32Array::from(vec![0; rows]);
        arrow_select::take::take(&self.array, &zeros, None).expect("index 0 exists")
    }

    /// The same kind of operand with another array.
    pub(super) fn with(&self, array: ArrayRef) -> Operand {
        Operand {
            array,
            constant: self.constant,
        }
    }
}

impl Datum for Operand {
    fn get(&self) -> (&dyn Array, bool) {
        (self.array.as_ref(), self.constant)
    }
}

/// The rows whose result is wanted. The others may hold anything and cannot fail.
#[derive(Clone)]
pub(super) struct Active {
    pub(super) rows: usize,
    /// `None` is all rows.
    mask: Option<BooleanBuffer>,
}

impl Active {
    pub(super) fn all(rows: usize) -> Active {
        Active { rows, mask: None }
    }

    pub(super) fn has(&self, row: usize) -> bool {
        self.mask.as_ref().is_none_or(|mask| mask.value(row))
    }

    pub(super) fn is_empty(&self) -> bool {
        match &self.mask {
            Some(mask) => mask.count_set_bits() == 0,
            None => self.rows == 0,
        }
    }

    /// Those of the active rows that are set in `rows`.
    pub(super) fn and(&self, rows: &BooleanBuffer) -> Active {
        let mask = match &self.mask {
            Some(mask) => mask & rows,
            None => rows.clone(),
        };
        Active {
            rows: self.rows,
            mask: Some(mask),
        }
    }

    /// A fault in a row that is not active is a NULL that nobody looks at.
    pub(super) fn settle<T>(
        &self,
        value: Result<Option<T>, Fault>,
        index: usize,
        constant: bool,
    ) -> Result<Option<T>, RowError> {
        match value {
            Ok(value) => Ok(value),
            Err(fault) => match self.owner(index, constant) {
                Some(row) => Err(RowError {
                    row,
                    code: fault.code,
                    message: fault.message,
                }),
                None => Ok(None),
            },
        }
    }

    /// The row that a fault of the value at `index` of an operand belongs to; `None` when no active row needs it.
    pub(super) fn owner(&self, index: usize, constant: bool) -> Option<usize> {
        if constant {
            (0..self.rows).find(|row| self.has(*row))
        } else {
            self.has(index).then_some(index)
        }
    }
}
