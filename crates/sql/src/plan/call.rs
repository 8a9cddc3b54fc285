//! Calls of aggregates, wherever they stand, and what an operator needs of its input for them.

use super::algebra::{Attribute, Output, Relation};
use super::coerce::must_be_boolean;
use super::expr::Binder;
use super::query::output;
use crate::Result;
use crate::diagnostic::{Diagnostic, Span};
use lw_graph::{AggregateCall, AggregateFunction, Expr, LogicalType, Value};
use sqlparser::ast::{self, FunctionArg, FunctionArgExpr, FunctionArguments};

/// An aggregate over expressions of the input.
#[derive(Clone, PartialEq)]
pub(super) struct Call {
    function: AggregateFunction,
    argument: Option<Expr>,
    /// Of LAG: what there is where no row was so many before.
    default: Option<Expr>,
    distinct: bool,
    filter: Option<Expr>,
    pub ty: LogicalType,
}

impl Call {
    pub(super) fn bind(
        binder: &Binder<'_>,
        mut function: AggregateFunction,
        f: &ast::Function,
        span: Span,
    ) -> Result<Call> {
        let (name, takes) = (function.name(), function.takes());
        let wrong = |given: &str| {
            let message = format!("{name} does not take {given}");
            Diagnostic::error("type", span, message).detail(format!("It takes {takes}."))
        };
        let unsupported =
            |clause: &str| Diagnostic::unsupported(span, format!("{clause} of {name} is"));
        let FunctionArguments::List(list) = &f.args else {
            return Err(wrong("no argument"));
        };
        if f.null_treatment.is_some() || !list.clauses.is_empty() {
            return Err(unsupported("this clause"));
        }
        if !f.within_group.is_empty() {
            return Err(unsupported("WITHIN GROUP"));
        }
        let argument = match list.args.as_slice() {
            [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)] => None,
            [FunctionArg::Unnamed(FunctionArgExpr::Expr(one))] => Some(binder.bind(one)?),
            [
                FunctionArg::Unnamed(FunctionArgExpr::Expr(one)),
                FunctionArg::Unnamed(FunctionArgExpr::Expr(between)),
            ] if matches!(function, AggregateFunction::ListAgg { .. }) => {
                match binder.bind(between)? {
                    Expr::Literal {
                        value: Value::String(separator),
                        ..
                    } => function = AggregateFunction::ListAgg { separator },
                    other => return Err(wrong(&format!("{other} between two texts"))),
                }
                Some(binder.bind(one)?)
            }
            args => return Err(wrong(&format!("{} arguments", args.len()))),
        };
        let filter = match &f.filter {
            None => None,
            Some(filter) => {
                let place = binder.place(filter.as_ref());
                Some(must_be_boolean(binder.bind(filter)?, "FILTER", place)?)
            }
        };
        let of = argument.as_ref().map(Expr::ty);
        let Some(ty) = function.result_type(of, filter.is_some()) else {
            let given = of.map_or("*".to_string(), |of| of.kind.to_string());
            return Err(wrong(&given));
        };
        let once = matches!(function, AggregateFunction::Min | AggregateFunction::Max);
        let distinct = list.duplicate_treatment == Some(ast::DuplicateTreatment::Distinct);
        Ok(Call {
            function,
            argument,
            default: None,
            distinct: distinct && !once,
            filter,
            ty,
        })
    }

    /// `LAG(value, rows, default)`.
    pub(super) fn lag(binder: &Binder<'_>, f: &ast::Function, span: Span) -> Result<Call> {
        let wrong = |message: &str| {
            Diagnostic::error("over", span, message)
                .hint("LAG(value), LAG(value, 2), LAG(value, 2, 0)")
        };
        let FunctionArguments::List(list) = &f.args else {
            return Err(wrong("LAG takes a value"));
        };
        let ignores = f.null_treatment == Some(ast::NullTreatment::IgnoreNulls);
        if ignores || list.duplicate_treatment.is_some() || !list.clauses.is_empty() {
            return Err(Diagnostic::unsupported(span, "this clause of LAG is"));
        }
        let args = arguments(f).unwrap_or_default();
        let (value, rows, default) = match args.as_slice() {
            [value] => (value, None, None),
            [value, rows] => (value, Some(rows), None),
            [value, rows, default] => (value, Some(rows), Some(default)),
            _ => {
                return Err(wrong(
                    "LAG takes a value, how many rows before it is asked for, and what there is where none was",
                ));
            }
        };
        let argument = binder.bind(value)?;
        let offset = match rows.map(|rows| binder.bind(rows)).transpose()? {
            None => 1,
            Some(Expr::Literal {
                value: Value::Integer(rows),
                ..
            }) => match u32::try_from(rows) {
                Ok(rows) => rows,
                Err(_) => return Err(wrong("LAG looks back by a number of rows from 0 on")),
            },
            Some(_) => {
                let what = "LAG by a number of rows that is not constant is";
                return Err(Diagnostic::unsupported(span, what).hint("LAG(value, 2)"));
            }
        };
        let default = default.map(|default| binder.bind(default)).transpose()?;
        let mut ty = argument.ty().clone().with_nullable(true);
        if let Some(default) = &default {
            let (kind, wanted) = (&default.ty().kind, &argument.ty().kind);
            if kind != wanted && !(kind.is_character() && wanted.is_character()) {
                let message = format!("LAG of {wanted} has a default of {kind}");
                return Err(wrong(&message).hint(format!("CAST({default} AS {wanted})")));
            }
            ty.nullable = default.ty().nullable;
        }
        Ok(Call {
            function: AggregateFunction::Lag { offset },
            argument: Some(argument),
            default,
            distinct: false,
            filter: None,
            ty,
        })
    }

    /// How many rows there are.
    pub(super) fn of_rows() -> Call {
        let ty = AggregateFunction::Count.result_type(None, false);
        Call {
            function: AggregateFunction::Count,
            argument: None,
            default: None,
            distinct: false,
            filter: None,
            ty: ty.expect("rows are counted"),
        }
    }

    /// The same, of rows that there may be none of.
    pub(super) fn of_any(self) -> Call {
        let argument = self.argument.as_ref().map(Expr::ty);
        let ty = self.function.result_type(argument, true);
        Call {
            ty: ty.expect("it was typed before"),
            ..self
        }
    }

    /// The call over columns of a projection.
    pub(super) fn over(self, below: &mut Below) -> AggregateCall {
        AggregateCall {
            arguments: self
                .argument
                .iter()
                .chain(&self.default)
                .map(|of| below.push("", of))
                .collect(),
            filter: self.filter.as_ref().map(|filter| below.push("", filter)),
            function: self.function,
            distinct: self.distinct,
            ty: self.ty,
        }
    }
}

/// The columns that aggregates over an input give.
pub(super) fn call_columns(
    calls: &[AggregateCall],
    input: &Relation,
    span: Span,
) -> Vec<Attribute> {
    let columns = calls.iter().map(|call| Attribute {
        name: call_name(call, input),
        ty: Some(call.ty.clone()),
        rowtime: false,
        window: None,
        span,
    });
    columns.collect()
}

fn call_name(call: &AggregateCall, input: &Relation) -> String {
    let arguments = call.arguments.iter();
    let names: Vec<&str> = arguments
        .map(|at| input.columns[*at].name.as_str())
        .collect();
    match names.as_slice() {
        [] => format!("{}(*)", call.function.name()),
        names => format!("{}({})", call.function.name(), names.join(", ")),
    }
}

/// The plain arguments of a call.
pub(super) fn arguments(call: &ast::Function) -> Option<Vec<&ast::Expr>> {
    let FunctionArguments::List(list) = &call.args else {
        return None;
    };
    let args = list.args.iter().map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    });
    args.collect()
}

/// What an operator needs of its input, each once, as a projection below it.
#[derive(Default)]
pub(super) struct Below(Vec<Output>);

impl Below {
    /// All columns of a relation, each in its place.
    pub(super) fn all(relation: &Relation) -> Below {
        let columns = relation.columns.iter().enumerate();
        let columns = columns.map(|(index, attribute)| {
            let column = attribute.ty.clone().map(|ty| Expr::Column {
                index,
                name: attribute.name.clone(),
                ty,
            });
            (attribute.clone(), column)
        });
        Below(columns.collect())
    }

    pub(super) fn push(&mut self, name: &str, expr: &Expr) -> usize {
        let known = self
            .0
            .iter()
            .position(|(_, known)| known.as_ref() == Some(expr));
        known.unwrap_or_else(|| {
            let named = match expr {
                Expr::Column { name, .. } => name,
                _ => name,
            };
            let name = match named {
                "" => expr.to_string(),
                named => named.to_string(),
            };
            self.0
                .push(output(name, Some(expr.clone()), Span::default()));
            self.0.len() - 1
        })
    }

    /// A column with all that is known of it.
    pub(super) fn column(&mut self, index: usize, relation: &Relation) -> usize {
        let attribute = &relation.columns[index];
        let column = Expr::Column {
            index,
            name: attribute.name.clone(),
            ty: attribute.ty.clone().expect("it was checked"),
        };
        let at = self.push(&attribute.name, &column);
        self.0[at].0 = attribute.clone();
        at
    }

    pub(super) fn over(self, relation: Relation) -> Relation {
        relation.project(self.0)
    }
}
