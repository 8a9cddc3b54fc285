//! Typed scalar expressions over the columns of one operator's input.
//!
//! Serialised, an expression is the list of its nodes, operands before operators (`steps`): a tree of a hundred levels is a list,
//! where nested JSON would be more than its readers open.

mod steps;

pub use self::steps::BadSteps;
use self::steps::Step;
use crate::{Function, LogicalType, SignatureError, Syntax, TypeKind, Value};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A scalar expression. Its type is fixed when it is built and follows Flink's rules, not the kernel library's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "Vec<Step>", try_from = "Vec<Step>")]
pub enum Expr {
    /// The input's column at `index`.
    Column {
        index: usize,
        name: String,
        ty: LogicalType,
    },
    Literal {
        value: Value,
        ty: LogicalType,
    },
    /// A field of a ROW; NULL where the row is. Build with [`Expr::field`].
    Field {
        row: Box<Expr>,
        index: usize,
        ty: LogicalType,
    },
    /// Build with [`Expr::call`].
    Call {
        function: Function,
        args: Vec<Expr>,
        ty: LogicalType,
    },
    /// `CAST` fails the row's batch where a value does not fit, `TRY_CAST` (`or_null`) gives NULL.
    Cast {
        expr: Box<Expr>,
        ty: LogicalType,
        or_null: bool,
    },
    /// `CASE WHEN c THEN v … ELSE e END`; branches are already of type `ty`.
    Case {
        branches: Vec<(Expr, Expr)>,
        otherwise: Box<Expr>,
        ty: LogicalType,
    },
}

impl Expr {
    /// Applies `function`, typed by its signature.
    ///
    /// # Errors
    /// [`SignatureError`] when the function does not take arguments of these types.
    pub fn call(function: Function, args: Vec<Expr>) -> Result<Expr, SignatureError> {
        let types: Vec<&LogicalType> = args.iter().map(Expr::ty).collect();
        let ty = function.result_type(&types)?;
        Ok(Expr::Call { function, args, ty })
    }

    /// The field at `index` of a ROW.
    ///
    /// # Panics
    /// When `row` is not a ROW with such a field.
    pub fn field(row: Expr, index: usize) -> Expr {
        let TypeKind::Row(fields) = &row.ty().kind else {
            panic!("only a ROW has fields: {row}");
        };
        let of = &fields[index].ty;
        let ty = of.clone().with_nullable(of.nullable || row.ty().nullable);
        Expr::Field {
            row: Box::new(row),
            index,
            ty,
        }
    }

    pub fn ty(&self) -> &LogicalType {
        match self {
            Expr::Column { ty, .. }
            | Expr::Literal { ty, .. }
            | Expr::Field { ty, .. }
            | Expr::Call { ty, .. }
            | Expr::Cast { ty, .. }
            | Expr::Case { ty, .. } => ty,
        }
    }

    /// How large the tree is: its nodes, and the levels of the deepest.
    pub fn extent(&self) -> (usize, usize) {
        let of = |children: &mut dyn Iterator<Item = &Expr>| {
            children.fold((1, 1), |(nodes, levels), child| {
                let (more, below) = child.extent();
                (nodes + more, levels.max(below + 1))
            })
        };
        match self {
            Expr::Column { .. } | Expr::Literal { .. } => (1, 1),
            Expr::Call { args, .. } => of(&mut args.iter()),
            Expr::Cast { expr, .. } | Expr::Field { row: expr, .. } => {
                of(&mut std::iter::once(&**expr))
            }
            Expr::Case {
                branches,
                otherwise,
                ..
            } => {
                let branches = branches.iter().flat_map(|(when, then)| [when, then]);
                of(&mut branches.chain([&**otherwise]))
            }
        }
    }

    /// Calls `visit` with the index of every input column that the expression reads.
    pub fn visit_columns(&self, visit: &mut impl FnMut(usize)) {
        match self {
            Expr::Column { index, .. } => visit(*index),
            Expr::Literal { .. } => {}
            Expr::Call { args, .. } => args.iter().for_each(|arg| arg.visit_columns(visit)),
            Expr::Cast { expr, .. } | Expr::Field { row: expr, .. } => expr.visit_columns(visit),
            Expr::Case {
                branches,
                otherwise,
                ..
            } => {
                for (condition, value) in branches {
                    condition.visit_columns(visit);
                    value.visit_columns(visit);
                }
                otherwise.visit_columns(visit);
            }
        }
    }
}

impl Expr {
    /// The same expression with every input column's index replaced by `to(index)`.
    pub fn map_columns(&self, to: &mut impl FnMut(usize) -> usize) -> Expr {
        let mut mapped = self.clone();
        mapped.map_in_place(to);
        mapped
    }

    fn map_in_place(&mut self, to: &mut impl FnMut(usize) -> usize) {
        match self {
            Expr::Column { index, .. } => *index = to(*index),
            Expr::Literal { .. } => {}
            Expr::Call { args, .. } => args.iter_mut().for_each(|arg| arg.map_in_place(to)),
            Expr::Cast { expr, .. } | Expr::Field { row: expr, .. } => expr.map_in_place(to),
            Expr::Case {
                branches,
                otherwise,
                ..
            } => {
                for (condition, value) in branches {
                    condition.map_in_place(to);
                    value.map_in_place(to);
                }
                otherwise.map_in_place(to);
            }
        }
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expr::Column { name, .. } => f.write_str(name),
            Expr::Literal { value, ty } => value.write(f, &ty.kind),
            Expr::Field { row, index, .. } => match &row.ty().kind {
                TypeKind::Row(fields) => write!(f, "{row}.{}", fields[*index].name),
                _ => write!(f, "{row}.{index}"),
            },
            Expr::Call { function, args, .. } => write_call(f, *function, args),
            Expr::Cast { expr, ty, or_null } => {
                let name = if *or_null { "TRY_CAST" } else { "CAST" };
                write!(f, "{name}({expr} AS {ty})")
            }
            Expr::Case {
                branches,
                otherwise,
                ..
            } => {
                f.write_str("CASE")?;
                for (condition, value) in branches {
                    write!(f, " WHEN {condition} THEN {value}")?;
                }
                write!(f, " ELSE {otherwise} END")
            }
        }
    }
}

/// Operators as a script writes them (in parentheses, so that no precedence is needed), the rest as functions.
fn write_call(f: &mut fmt::Formatter<'_>, function: Function, args: &[Expr]) -> fmt::Result {
    match (function.definition().syntax, args) {
        (_, [of, at]) if function == Function::ElementAt => write!(f, "{of}[{at}]"),
        _ if matches!(function, Function::Array | Function::Map) => {
            write!(f, "{function}[")?;
            write_list(f, args)?;
            f.write_str("]")
        }
        (Syntax::Word, []) => write!(f, "{function}"),
        (Syntax::Postfix(sign), [a]) => write!(f, "({a} {sign})"),
        (Syntax::Prefix(sign), [a]) if function == Function::Negate => write!(f, "({sign}{a})"),
        (Syntax::Prefix(sign), [a]) => write!(f, "({sign} {a})"),
        (Syntax::Infix(sign), [a, b]) => write!(f, "({a} {sign} {b})"),
        (Syntax::Infix(sign), [a, b, escape]) => write!(f, "({a} {sign} {b} ESCAPE {escape})"),
        _ => {
            write!(f, "{function}(")?;
            write_list(f, args)?;
            f.write_str(")")
        }
    }
}

fn write_list(f: &mut fmt::Formatter<'_>, args: &[Expr]) -> fmt::Result {
    for (i, arg) in args.iter().enumerate() {
        let comma = if i == 0 { "" } else { ", " };
        write!(f, "{comma}{arg}")?;
    }
    Ok(())
}
