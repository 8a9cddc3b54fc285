//! `+ − × ÷ %`, negation and absolute value.
//!
//! Whole numbers wrap as Java's do. FLOAT and DOUBLE follow IEEE 754: division by zero gives an infinity or NaN. Decimals are
//! computed exactly and then rounded once, half up, to the result's scale; what has too many digits is NULL.

use super::KernelError;
use super::compile::Node;
use super::decimal::{self, Shape};
use super::operand::{Active, Fault, Operand, RowError};
use super::rows::{binary, unary};
use arrow_array::ArrowNativeTypeOp;
use arrow_array::types::{
    ArrowPrimitiveType, Decimal128Type, DurationMillisecondType, Float32Type, Float64Type,
    Int8Type, Int16Type, Int32Type, Int64Type, IntervalYearMonthType,
};
use arrow_schema::{DataType, TimeUnit};
use lw_formats::arrow_type;
use lw_graph::{Function, TypeKind};

/// A compiled operation over operands that [`operands`] prepared.
pub(super) struct Arithmetic {
    operation: Operation,
    kernel: Kernel,
    ty: DataType,
}

#[derive(Clone, Copy)]
enum Operation {
    Plus,
    Minus,
    Times,
    Divide,
    Mod,
}

enum Kernel {
    I8,
    I16,
    I32,
    I64,
    F32,
    F64,
    /// Computed in 64 bits, the result is FLOAT.
    F64AsF32,
    Decimal {
        left: u8,
        right: u8,
        result: Shape,
    },
    Months,
    Millis,
}

/// Brings both sides to the types in which Flink computes a result of kind `to`.
pub(super) fn operands(
    left: Node,
    right: Node,
    to: &TypeKind,
) -> Result<(Node, Node), KernelError> {
    let is_wide = |node: &Node| matches!(node.ty.kind, TypeKind::Double | TypeKind::Decimal { .. });
    match to {
        kind if kind.is_integer() => Ok((
            left.converted(kind.clone())?,
            right.converted(kind.clone())?,
        )),
        kind if kind.is_approximate() => {
            let wide = *kind == TypeKind::Double || is_wide(&left) || is_wide(&right);
            let compute = if wide {
                TypeKind::Double
            } else {
                TypeKind::Float
            };
            Ok((left.converted(compute.clone())?, right.converted(compute)?))
        }
        TypeKind::Decimal { .. } => Ok((exact(left)?, exact(right)?)),
        _ => Ok((left, right)),
    }
}

fn exact(node: Node) -> Result<Node, KernelError> {
    match node.ty.kind.as_decimal() {
        Some((precision, scale)) => node.converted(TypeKind::Decimal { precision, scale }),
        None => Ok(node),
    }
}

pub(super) fn plan(
    function: Function,
    left: &TypeKind,
    right: &TypeKind,
    to: &TypeKind,
) -> Result<Arithmetic, KernelError> {
    let kernel = match (to, left, right) {
        (TypeKind::TinyInt, ..) => Kernel::I8,
        (TypeKind::SmallInt, ..) => Kernel::I16,
        (TypeKind::Int, ..) => Kernel::I32,
        (TypeKind::BigInt, ..) => Kernel::I64,
        (TypeKind::Double, ..) => Kernel::F64,
        (TypeKind::Float, TypeKind::Float, _) => Kernel::F32,
        (TypeKind::Float, ..) => Kernel::F64AsF32,
        (
            TypeKind::Decimal { precision, scale },
            TypeKind::Decimal { scale: left, .. },
            TypeKind::Decimal { scale: right, .. },
        ) => Kernel::Decimal {
            left: *left,
            right: *right,
            result: Shape::new(*precision, *scale),
        },
        (TypeKind::IntervalMonths, ..) => Kernel::Months,
        (TypeKind::IntervalMillis, ..) => Kernel::Millis,
        _ => {
            return Err(KernelError::new(format!(
                "{left} {function} {right} is not supported"
            )));
        }
    };
    let operation = match function {
        Function::Plus => Operation::Plus,
        Function::Minus => Operation::Minus,
        Function::Times => Operation::Times,
        Function::Divide => Operation::Divide,
        _ => Operation::Mod,
    };
    let ty = arrow_type(&to.clone().nullable());
    Ok(Arithmetic {
        operation,
        kernel,
        ty,
    })
}

impl Arithmetic {
    pub(super) fn run(
        &self,
        left: &Operand,
        right: &Operand,
        active: &Active,
    ) -> Result<Operand, RowError> {
        match self.kernel {
            Kernel::I8 => self.whole::<Int8Type>(left, right, active),
            Kernel::I16 => self.whole::<Int16Type>(left, right, active),
            Kernel::I32 => self.whole::<Int32Type>(left, right, active),
            Kernel::I64 => self.whole::<Int64Type>(left, right, active),
            Kernel::Months => self.whole::<IntervalYearMonthType>(left, right, active),
            Kernel::Millis => self.whole::<DurationMillisecondType>(left, right, active),
            Kernel::F32 => self.approximate::<Float32Type, Float32Type>(left, right, active, |v| v),
            Kernel::F64 => self.approximate::<Float64Type, Float64Type>(left, right, active, |v| v),
            #[expect(clippy::cast_possible_truncation, reason = "the result is FLOAT")]
            Kernel::F64AsF32 => {
                self.approximate::<Float64Type, Float32Type>(left, right, active, |v| v as f32)
            }
            Kernel::Decimal {
                left: s1,
                right: s2,
                result,
            } => self.decimal(left, right, active, s1, s2, result),
        }
    }

    fn whole<T: ArrowPrimitiveType>(
        &self,
        left: &Operand,
        right: &Operand,
        active: &Active,
    ) -> Result<Operand, RowError> {
        // A match per row would cost more than the operation.
        macro_rules! run {
            ($f:expr) => {
                binary::<T, T, T>(left, right, &self.ty, active, $f)
            };
        }
        match self.operation {
            Operation::Plus => run!(|a, b| Ok(Some(a.add_wrapping(b)))),
            Operation::Minus => run!(|a, b| Ok(Some(a.sub_wrapping(b)))),
            Operation::Times => run!(|a, b| Ok(Some(a.mul_wrapping(b)))),
            Operation::Divide => run!(|a, b| match b.is_zero() {
                true => Err(Fault::divide("/ by zero")),
                false => Ok(Some(a.div_wrapping(b))),
            }),
            Operation::Mod => run!(|a, b| match b.is_zero() {
                true => Err(Fault::divide("/ by zero")),
                false => Ok(Some(a.mod_wrapping(b))),
            }),
        }
    }

    fn approximate<T: ArrowPrimitiveType, R: ArrowPrimitiveType>(
        &self,
        left: &Operand,
        right: &Operand,
        active: &Active,
        narrow: impl Fn(T::Native) -> R::Native,
    ) -> Result<Operand, RowError> {
        let operation = self.operation;
        binary::<T, T, R>(left, right, &self.ty, active, |a, b| {
            let value = match operation {
                Operation::Plus => a.add_wrapping(b),
                Operation::Minus => a.sub_wrapping(b),
                Operation::Times => a.mul_wrapping(b),
                Operation::Divide => a.div_wrapping(b),
                Operation::Mod => a.mod_wrapping(b),
            };
            Ok(Some(narrow(value)))
        })
    }

    fn decimal(
        &self,
        left: &Operand,
        right: &Operand,
        active: &Active,
        s1: u8,
        s2: u8,
        result: Shape,
    ) -> Result<Operand, RowError> {
        let operation = self.operation;
        binary::<Decimal128Type, Decimal128Type, Decimal128Type>(
            left,
            right,
            &self.ty,
            active,
            |a, b| {
                if b == 0 && matches!(operation, Operation::Divide | Operation::Mod) {
                    return Err(Fault::divide("Division by zero"));
                }
                Ok(match operation {
                    Operation::Plus => decimal::add(a, s1, b, s2, result),
                    Operation::Minus => decimal::add(a, s1, -b, s2, result),
                    Operation::Times => decimal::multiply(a, s1, b, s2, result),
                    Operation::Divide => decimal::divide(a, s1, b, s2, result),
                    Operation::Mod => decimal::remainder(a, s1, b, s2, result),
                })
            },
        )
    }
}

pub(super) fn negate(value: &Operand) -> Operand {
    sign_kernel(value, Sign::Negate)
}

pub(super) fn abs(value: &Operand) -> Operand {
    sign_kernel(value, Sign::Abs)
}

#[derive(Clone, Copy)]
enum Sign {
    Negate,
    Abs,
}

/// Cannot fail: the least whole number is its own negative, as in Java.
fn sign_kernel(value: &Operand, sign: Sign) -> Operand {
    fn run<T: ArrowPrimitiveType>(value: &Operand, sign: Sign) -> Operand {
        let ty = value.array.data_type().clone();
        let all = Active::all(value.array.len());
        let zero = T::default_value();
        let result = unary::<T, T>(value, &ty, &all, |v| {
            let flip = match sign {
                Sign::Negate => true,
                Sign::Abs => v.is_lt(zero),
            };
            Ok(Some(if flip { v.neg_wrapping() } else { v }))
        });
        result.expect("the closure never fails")
    }
    match value.array.data_type() {
        DataType::Int8 => run::<Int8Type>(value, sign),
        DataType::Int16 => run::<Int16Type>(value, sign),
        DataType::Int32 => run::<Int32Type>(value, sign),
        DataType::Int64 => run::<Int64Type>(value, sign),
        DataType::Float32 => run::<Float32Type>(value, sign),
        DataType::Float64 => run::<Float64Type>(value, sign),
        DataType::Decimal128(..) => run::<Decimal128Type>(value, sign),
        DataType::Interval(_) => run::<IntervalYearMonthType>(value, sign),
        DataType::Duration(TimeUnit::Millisecond) => run::<DurationMillisecondType>(value, sign),
        other => unreachable!("{other} has no sign: the signature takes numbers and intervals"),
    }
}
