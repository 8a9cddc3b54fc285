//! From typed expressions to a tree of kernels, and the walk over it.
//!
//! Compiling brings the operands of a function to the type in which Flink computes it, by putting conversions between the
//! nodes; the kernels themselves then see equal types. Evaluation hands down which rows are [`Active`].

use super::arithmetic::{self, Arithmetic};
use super::cast::{self, Cast};
use super::compare::{self, Comparison};
use super::functions::Scalar;
use super::like::Like;
use super::operand::{Active, Operand, RowError};
use super::{KernelError, literal, logic, time};
use arrow_array::cast::AsArray;
use arrow_array::{RecordBatch, new_null_array};
use arrow_buffer::BooleanBuffer;
use lw_formats::arrow_type;
use lw_graph::{Expr, Function, LogicalType, TypeKind};

/// A compiled expression and its type.
pub(super) struct Node {
    pub(super) ty: LogicalType,
    op: Op,
}

enum Op {
    Column(usize),
    Literal(Operand),
    Field(Box<Node>, usize),
    Cast(Box<Node>, Cast),
    Arithmetic(Arithmetic, Box<Node>, Box<Node>),
    Negate(Box<Node>),
    Abs(Box<Node>),
    /// A date, time or timestamp and an interval.
    Shift {
        sign: i64,
        time: Box<Node>,
        interval: Box<Node>,
    },
    /// An interval and a BIGINT.
    Times {
        interval: Box<Node>,
        times: Box<Node>,
    },
    Compare(Comparison, Box<Node>, Box<Node>),
    IsNull(Box<Node>),
    IsNotNull(Box<Node>),
    /// `IS [NOT] TRUE` and `IS [NOT] FALSE`.
    Truth {
        value: Box<Node>,
        truth: bool,
        negated: bool,
    },
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Not(Box<Node>),
    Coalesce(Vec<Node>),
    /// The value, how it is converted to be compared, and with what.
    NullIf(Box<Node>, Option<Cast>, Box<Node>),
    Case(Vec<(Node, Node)>, Box<Node>),
    Like(Like, Vec<Node>),
    Scalar(Scalar, Vec<Node>),
}

pub(super) fn compile(expr: &Expr) -> Result<Node, KernelError> {
    let op = match expr {
        Expr::Column { index, ty, .. } => {
            supported(&ty.kind)?;
            Op::Column(*index)
        }
        Expr::Literal { value, ty } => {
            supported(&ty.kind)?;
            Op::Literal(Operand::constant(literal::array(value, ty)?))
        }
        Expr::Field { row, index, ty } => {
            supported(&ty.kind)?;
            Op::Field(Box::new(compile(row)?), *index)
        }
        Expr::Cast { expr, ty, or_null } => {
            supported(&ty.kind)?;
            let inner = compile(expr)?;
            let cast = cast::plan(&inner.ty, ty, *or_null)?;
            Op::Cast(Box::new(inner), cast)
        }
        Expr::Case {
            branches,
            otherwise,
            ty,
        } => {
            let branches = branches
                .iter()
                .map(|(condition, value)| Ok((compile(condition)?, convert(compile(value)?, ty)?)))
                .collect::<Result<_, KernelError>>()?;
            let otherwise = convert(compile(otherwise)?, ty)?;
            Op::Case(branches, Box::new(otherwise))
        }
        Expr::Call { function, args, ty } => {
            let args = args.iter().map(compile).collect::<Result<Vec<_>, _>>()?;
            call(*function, args, ty)?
        }
    };
    Ok(Node {
        ty: expr.ty().clone(),
        op,
    })
}

/// Microseconds are the finest that columns carry.
fn supported(kind: &TypeKind) -> Result<(), KernelError> {
    match kind {
        TypeKind::Time(p) | TypeKind::Timestamp(p) | TypeKind::TimestampLtz(p) if *p > 6 => {
            Err(KernelError::new(format!(
                "{kind} is not supported: at most 6 digits of a second are kept"
            )))
        }
        _ => Ok(()),
    }
}

/// Brings a node to exactly this kind of value, without loss of meaning.
fn convert(node: Node, to: &LogicalType) -> Result<Node, KernelError> {
    if arrow_type(&node.ty) == arrow_type(to) {
        return Ok(node);
    }
    let cast = cast::plan(&node.ty, to, false)?;
    Ok(Node {
        ty: to.clone(),
        op: Op::Cast(Box::new(node), cast),
    })
}

fn call(function: Function, args: Vec<Node>, ty: &LogicalType) -> Result<Op, KernelError> {
    type F = Function;
    let given = args.len();
    let wrong = || KernelError::new(format!("{function} does not take {given} arguments"));
    let mut args = args.into_iter();
    let mut next = || args.next().ok_or_else(wrong);
    Ok(match function {
        F::Plus | F::Minus | F::Times | F::Divide | F::Mod => {
            binary(function, next()?, next()?, ty)?
        }
        F::Negate => Op::Negate(Box::new(next()?)),
        F::Abs => Op::Abs(Box::new(next()?)),
        F::IsNull => Op::IsNull(Box::new(next()?)),
        F::IsNotNull => Op::IsNotNull(Box::new(next()?)),
        F::IsTrue | F::IsNotTrue | F::IsFalse | F::IsNotFalse => Op::Truth {
            value: boolean(next()?)?,
            truth: matches!(function, F::IsTrue | F::IsNotTrue),
            negated: matches!(function, F::IsNotTrue | F::IsNotFalse),
        },
        F::And => Op::And(boolean(next()?)?, boolean(next()?)?),
        F::Or => Op::Or(boolean(next()?)?, boolean(next()?)?),
        F::Not => Op::Not(boolean(next()?)?),
        F::Coalesce => Op::Coalesce(args.map(|arg| convert(arg, ty)).collect::<Result<_, _>>()?),
        F::NullIf => null_if(next()?, next()?)?,
        F::Like => {
            let args: Vec<Node> = args.collect();
            Op::Like(Like::new(&args)?, args)
        }
        _ => match compare::comparison(function) {
            Some(comparison) => {
                let (left, right) = comparable(next()?, next()?)?;
                Op::Compare(comparison, left, right)
            }
            None => {
                let args = brought(function, args.collect())?;
                Op::Scalar(Scalar::new(function, &args, ty)?, args)
            }
        },
    })
}

/// The arguments as the function's row wants them. The planner writes these casts; plans that an earlier version stored have none.
fn brought(function: Function, args: Vec<Node>) -> Result<Vec<Node>, KernelError> {
    let types: Vec<&LogicalType> = args.iter().map(|arg| &arg.ty).collect();
    let wanted = function.definition().conversions(&types).ok_or_else(|| {
        KernelError::new(format!("{function} does not take arguments of these types"))
    })?;
    args.into_iter()
        .zip(wanted)
        .map(|(arg, kind)| match kind {
            Some(kind) => arg.converted(kind),
            None => Ok(arg),
        })
        .collect()
}

impl Node {
    /// The value of a constant expression that is just a literal.
    pub(super) fn literal(&self) -> Option<&Operand> {
        match &self.op {
            Op::Literal(value) => Some(value),
            _ => None,
        }
    }

    pub(super) fn converted(self, kind: TypeKind) -> Result<Node, KernelError> {
        let to = LogicalType {
            kind,
            nullable: self.ty.nullable,
        };
        convert(self, &to)
    }
}

fn boolean(node: Node) -> Result<Box<Node>, KernelError> {
    node.converted(TypeKind::Boolean).map(Box::new)
}

fn binary(
    function: Function,
    left: Node,
    right: Node,
    ty: &LogicalType,
) -> Result<Op, KernelError> {
    let sign = if function == Function::Minus { -1 } else { 1 };
    let is_time = |node: &Node| !node.ty.kind.is_interval() && !node.ty.kind.is_numeric();
    if right.ty.kind.is_interval() && is_time(&left) {
        return Ok(Op::Shift {
            sign,
            time: Box::new(left),
            interval: Box::new(right),
        });
    }
    if left.ty.kind.is_interval() && is_time(&right) {
        return Ok(Op::Shift {
            sign,
            time: Box::new(right),
            interval: Box::new(left),
        });
    }
    if function == Function::Times && left.ty.kind.is_interval() {
        return Ok(Op::Times {
            interval: Box::new(left),
            times: Box::new(right.converted(TypeKind::BigInt)?),
        });
    }
    let (left, right) = arithmetic::operands(left, right, &ty.kind)?;
    let plan = arithmetic::plan(function, &left.ty.kind, &right.ty.kind, &ty.kind)?;
    Ok(Op::Arithmetic(plan, Box::new(left), Box::new(right)))
}

fn comparable(left: Node, right: Node) -> Result<(Box<Node>, Box<Node>), KernelError> {
    let (to_left, to_right) = compare::conversions(&left.ty.kind, &right.ty.kind)?;
    let bring = |node: Node, kind: Option<TypeKind>| match kind {
        Some(kind) => node.converted(kind),
        None => Ok(node),
    };
    Ok((
        Box::new(bring(left, to_left)?),
        Box::new(bring(right, to_right)?),
    ))
}

/// The value is given as it is, but compared in the type that both share.
fn null_if(value: Node, other: Node) -> Result<Op, KernelError> {
    let (to_value, to_other) = compare::conversions(&value.ty.kind, &other.ty.kind)?;
    let cast = match to_value {
        Some(kind) if kind != value.ty.kind => {
            Some(cast::plan(&value.ty, &kind.nullable(), false)?)
        }
        _ => None,
    };
    let other = match to_other {
        Some(kind) => other.converted(kind)?,
        None => other,
    };
    Ok(Op::NullIf(Box::new(value), cast, Box::new(other)))
}

impl Node {
    pub(super) fn evaluate(
        &self,
        batch: &RecordBatch,
        active: &Active,
    ) -> Result<Operand, RowError> {
        let run = |node: &Node| node.evaluate(batch, active);
        match &self.op {
            Op::Column(index) => Ok(Operand::column(batch.column(*index).clone())),
            Op::Literal(value) => Ok(value.clone()),
            Op::Field(row, index) => Ok(logic::field(&run(row)?, *index)),
            Op::Cast(inner, cast) => cast.run(&run(inner)?, active),
            Op::Arithmetic(plan, left, right) => plan.run(&run(left)?, &run(right)?, active),
            Op::Negate(inner) => Ok(arithmetic::negate(&run(inner)?)),
            Op::Abs(inner) => Ok(arithmetic::abs(&run(inner)?)),
            Op::Shift {
                sign,
                time,
                interval,
            } => time::shift(&run(time)?, &run(interval)?, *sign, active),
            Op::Times { interval, times } => time::times(&run(interval)?, &run(times)?, active),
            Op::Compare(comparison, left, right) => {
                Ok(compare::run(*comparison, &run(left)?, &run(right)?))
            }
            Op::IsNull(inner) => Ok(logic::is_null(&run(inner)?, true)),
            Op::IsNotNull(inner) => Ok(logic::is_null(&run(inner)?, false)),
            Op::Truth {
                value,
                truth,
                negated,
            } => Ok(logic::truth(&run(value)?, *truth, *negated)),
            Op::And(left, right) => {
                let left = run(left)?;
                let open = active.and(&logic::rows_that_are_not(&left, false, active.rows));
                let right = right.evaluate(batch, &open)?;
                Ok(logic::and(&left, &right))
            }
            Op::Or(left, right) => {
                let left = run(left)?;
                let open = active.and(&logic::rows_that_are_not(&left, true, active.rows));
                let right = right.evaluate(batch, &open)?;
                Ok(logic::or(&left, &right))
            }
            Op::Not(inner) => Ok(logic::not(&run(inner)?)),
            Op::Coalesce(args) => self.coalesce(args, batch, active),
            Op::NullIf(value, cast, other) => {
                let value = run(value)?;
                let compared = match cast {
                    Some(cast) => cast.run(&value, active)?,
                    None => value.clone(),
                };
                let equal = compare::equal(&compared, &run(other)?);
                Ok(logic::null_where(&value, &equal))
            }
            Op::Case(branches, otherwise) => self.case(branches, otherwise, batch, active),
            Op::Like(like, args) => {
                let args = args.iter().map(run).collect::<Result<Vec<_>, _>>()?;
                like.run(&args, active)
            }
            Op::Scalar(scalar, args) => {
                let args = args.iter().map(run).collect::<Result<Vec<_>, _>>()?;
                scalar.run(&args, active)
            }
        }
    }

    fn coalesce(
        &self,
        args: &[Node],
        batch: &RecordBatch,
        active: &Active,
    ) -> Result<Operand, RowError> {
        let mut result = Operand::constant(new_null_array(&arrow_type(&self.ty), 1));
        let mut open = active.clone();
        for arg in args {
            if open.is_empty() {
                break;
            }
            let value = arg.evaluate(batch, &open)?;
            let missing = logic::null_rows(&result, active.rows);
            result = logic::choose(&missing, &value, &result);
            open = open.and(&logic::null_rows(&value, active.rows));
        }
        Ok(result)
    }

    fn case(
        &self,
        branches: &[(Node, Node)],
        otherwise: &Node,
        batch: &RecordBatch,
        active: &Active,
    ) -> Result<Operand, RowError> {
        let mut open = active.clone();
        let mut taken: Vec<(BooleanBuffer, Operand)> = Vec::new();
        for (condition, value) in branches {
            if open.is_empty() {
                break;
            }
            let condition = condition.evaluate(batch, &open)?.into_array(active.rows);
            let hit = logic::true_rows(condition.as_boolean());
            let chosen = open.and(&hit);
            if !chosen.is_empty() {
                taken.push((hit.clone(), value.evaluate(batch, &chosen)?));
            }
            open = open.and(&!&hit);
        }
        let mut result = if open.is_empty() {
            Operand::constant(new_null_array(&arrow_type(&self.ty), 1))
        } else {
            otherwise.evaluate(batch, &open)?
        };
        for (hit, value) in taken.iter().rev() {
            result = logic::choose(hit, value, &result);
        }
        Ok(result)
    }
}
