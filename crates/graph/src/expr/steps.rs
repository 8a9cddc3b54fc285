//! An expression as a list: every node behind its operands, as a stack machine would compute it.

use super::Expr;
use crate::{Function, LogicalType, Value};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A node of [`Expr`], with the number of its operands instead of the operands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Step {
    Column {
        index: usize,
        name: String,
        ty: LogicalType,
    },
    Literal {
        value: Value,
        ty: LogicalType,
    },
    Field {
        index: usize,
        ty: LogicalType,
    },
    Call {
        function: Function,
        args: usize,
        ty: LogicalType,
    },
    Cast {
        ty: LogicalType,
        or_null: bool,
    },
    /// Condition and value of each branch, then the value of ELSE.
    Case {
        branches: usize,
        ty: LogicalType,
    },
}

/// A list that is not one expression.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("an expression's steps end with {0} values instead of one")]
pub struct BadSteps(usize);

impl From<Expr> for Vec<Step> {
    fn from(expr: Expr) -> Vec<Step> {
        let mut steps = Vec::new();
        push(expr, &mut steps);
        steps
    }
}

fn push(expr: Expr, steps: &mut Vec<Step>) {
    let step = match expr {
        Expr::Column { index, name, ty } => Step::Column { index, name, ty },
        Expr::Literal { value, ty } => Step::Literal { value, ty },
        Expr::Field { row, index, ty } => {
            push(*row, steps);
            Step::Field { index, ty }
        }
        Expr::Call { function, args, ty } => {
            let count = args.len();
            args.into_iter().for_each(|arg| push(arg, steps));
            Step::Call {
                function,
                args: count,
                ty,
            }
        }
        Expr::Cast { expr, ty, or_null } => {
            push(*expr, steps);
            Step::Cast { ty, or_null }
        }
        Expr::Case {
            branches,
            otherwise,
            ty,
        } => {
            let count = branches.len();
            for (condition, value) in branches {
                push(condition, steps);
                push(value, steps);
            }
            push(*otherwise, steps);
            Step::Case {
                branches: count,
                ty,
            }
        }
    };
    steps.push(step);
}

impl TryFrom<Vec<Step>> for Expr {
    type Error = BadSteps;

    fn try_from(steps: Vec<Step>) -> Result<Expr, BadSteps> {
        let mut stack: Vec<Expr> = Vec::new();
        for step in steps {
            let expr = match step {
                Step::Column { index, name, ty } => Expr::Column { index, name, ty },
                Step::Literal { value, ty } => Expr::Literal { value, ty },
                Step::Field { index, ty } => {
                    let row = Box::new(one(&mut stack)?);
                    Expr::Field { row, index, ty }
                }
                Step::Call { function, args, ty } => {
                    let args = take(&mut stack, args)?;
                    Expr::Call { function, args, ty }
                }
                Step::Cast { ty, or_null } => {
                    let expr = Box::new(one(&mut stack)?);
                    Expr::Cast { expr, ty, or_null }
                }
                Step::Case { branches, ty } => {
                    let otherwise = Box::new(one(&mut stack)?);
                    let mut values = take(&mut stack, branches.saturating_mul(2))?.into_iter();
                    let mut branches = Vec::with_capacity(branches);
                    while let (Some(condition), Some(value)) = (values.next(), values.next()) {
                        branches.push((condition, value));
                    }
                    Expr::Case {
                        branches,
                        otherwise,
                        ty,
                    }
                }
            };
            stack.push(expr);
        }
        let expr = one(&mut stack)?;
        match stack.len() {
            0 => Ok(expr),
            more => Err(BadSteps(more + 1)),
        }
    }
}

/// The last values of the stack, in their order.
fn take(stack: &mut Vec<Expr>, count: usize) -> Result<Vec<Expr>, BadSteps> {
    let from = stack.len().checked_sub(count).ok_or(BadSteps(0))?;
    Ok(stack.split_off(from))
}

fn one(stack: &mut Vec<Expr>) -> Result<Expr, BadSteps> {
    stack.pop().ok_or(BadSteps(0))
}
