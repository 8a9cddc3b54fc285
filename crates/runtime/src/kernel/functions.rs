//! Functions that are no more than a value out of values: their kernels, by the names of `lw_graph`'s registry.
//!
//! A kernel is a line or a few: it computes one row into a buffer that all rows share, or whole columns at once where Arrow can. The
//! loop around it, NULL in and NULL out, and which rows may fail are here. The planner has brought the arguments to the types that
//! the function's row says, so a kernel asks for them without looking.

mod text;

use super::KernelError;
use super::operand::{Active, Fault, Operand, RowError};
use super::rows::{collect, shape};
use arrow_array::builder::StringBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, Int32Array, Int64Array, PrimitiveArray, StringArray};
use arrow_buffer::NullBuffer;
use lw_formats::arrow_type;
use lw_graph::{Function, LogicalType};
use std::sync::Arc;

/// The value of a row: NULL is `None`.
pub(super) type Value<T> = Result<Option<T>, Fault>;

/// How a function is computed.
pub(super) enum Kernel {
    /// Appends the row's text.
    Text(fn(&Args<'_>, usize, &mut String) -> Value<()>),
    Int(fn(&Args<'_>, usize) -> Value<i32>),
}

/// A kernel under its function's name.
pub(super) struct Registered {
    pub(super) name: &'static str,
    kernel: Kernel,
}

const fn text(name: &'static str, f: fn(&Args<'_>, usize, &mut String) -> Value<()>) -> Registered {
    let kernel = Kernel::Text(f);
    Registered { name, kernel }
}

const fn int(name: &'static str, f: fn(&Args<'_>, usize) -> Value<i32>) -> Registered {
    let kernel = Kernel::Int(f);
    Registered { name, kernel }
}

/// All of them.
pub(super) fn registered() -> impl Iterator<Item = &'static Registered> {
    [text::KERNELS].into_iter().flatten()
}

/// A function with its kernel and the type of its result.
pub(super) struct Scalar {
    kernel: &'static Kernel,
    ty: LogicalType,
}

impl Scalar {
    /// # Errors
    /// [`KernelError`] when there is no kernel of this name.
    pub(super) fn new(function: Function, ty: &LogicalType) -> Result<Scalar, KernelError> {
        let found = registered().find(|registered| registered.name == function.key());
        let registered = found
            .ok_or_else(|| KernelError::new(format!("the function {function} has no kernel")))?;
        Ok(Scalar {
            kernel: &registered.kernel,
            ty: ty.clone(),
        })
    }

    /// # Errors
    /// [`RowError`] for the first active row that has no value.
    pub(super) fn run(&self, operands: &[Operand], active: &Active) -> Result<Operand, RowError> {
        let args = Args::new(operands);
        let borrowed: Vec<&Operand> = operands.iter().collect();
        match self.kernel {
            Kernel::Text(f) => {
                let mut scratch = String::new();
                let (rows, constant) = shape(&borrowed, active);
                let mut out = StringBuilder::with_capacity(rows, 0);
                for row in 0..rows {
                    scratch.clear();
                    let value = if args.any_null(row) {
                        Ok(None)
                    } else {
                        f(&args, row, &mut scratch)
                    };
                    match active.settle(value, row, constant)? {
                        Some(()) => out.append_value(&scratch),
                        None => out.append_null(),
                    }
                }
                let array = Arc::new(out.finish());
                Ok(Operand { array, constant })
            }
            Kernel::Int(f) => {
                let (values, nulls, constant) = collect(&borrowed, active, |row| {
                    if args.any_null(row) {
                        return Ok(None);
                    }
                    f(&args, row)
                })?;
                let array = PrimitiveArray::<Int32Type>::new(values.into(), nulls)
                    .with_data_type(arrow_type(&self.ty));
                let array = Arc::new(array);
                Ok(Operand { array, constant })
            }
        }
    }
}

/// The arguments of a call, typed, for one row at a time.
pub(super) struct Args<'a> {
    columns: Vec<Column<'a>>,
    nulls: Vec<Option<NullBuffer>>,
    constant: Vec<bool>,
}

enum Column<'a> {
    Text(&'a StringArray),
    Int(&'a Int32Array),
    Long(&'a Int64Array),
    Other,
}

impl<'a> Args<'a> {
    fn new(operands: &'a [Operand]) -> Args<'a> {
        let column = |operand: &'a Operand| {
            let array = &operand.array;
            if let Some(array) = array.as_string_opt::<i32>() {
                Column::Text(array)
            } else if let Some(array) = array.as_primitive_opt::<Int32Type>() {
                Column::Int(array)
            } else if let Some(array) = array.as_primitive_opt::<Int64Type>() {
                Column::Long(array)
            } else {
                Column::Other
            }
        };
        Args {
            columns: operands.iter().map(column).collect(),
            nulls: operands.iter().map(|o| o.array.logical_nulls()).collect(),
            constant: operands.iter().map(|operand| operand.constant).collect(),
        }
    }

    /// How many were given.
    pub(super) fn len(&self) -> usize {
        self.columns.len()
    }

    #[inline]
    fn at(&self, arg: usize, row: usize) -> usize {
        if self.constant[arg] { 0 } else { row }
    }

    pub(super) fn is_null(&self, arg: usize, row: usize) -> bool {
        let nulls = self.nulls[arg].as_ref();
        nulls.is_some_and(|nulls| nulls.is_null(self.at(arg, row)))
    }

    fn any_null(&self, row: usize) -> bool {
        (0..self.len()).any(|arg| self.is_null(arg, row))
    }

    pub(super) fn text(&self, arg: usize, row: usize) -> &'a str {
        match self.columns[arg] {
            Column::Text(array) => array.value(self.at(arg, row)),
            _ => unreachable!("the function's row says that argument {arg} is text"),
        }
    }

    /// A whole number of 32 or 64 bits.
    pub(super) fn whole(&self, arg: usize, row: usize) -> i64 {
        match self.columns[arg] {
            Column::Int(array) => i64::from(array.value(self.at(arg, row))),
            Column::Long(array) => array.value(self.at(arg, row)),
            _ => unreachable!("the function's row says that argument {arg} is INT or BIGINT"),
        }
    }
}
