//! Timestamps in microseconds, as tables hold them: the years 1 to 9999 and more.
//!
//! DataFusion's own unit is the nanosecond, which ends in 2262 and begins in 1677: `TIMESTAMP '2300-01-01 00:00:00'` would be an error,
//! and so would a comparison of a table's row of such a year with a date. These places choose that unit, and all are told otherwise:
//! a `TIMESTAMP` in the text that says no precision; the common type of a timestamp and a DATE, in comparisons, differences, `CASE`,
//! functions like `COALESCE`, and the branches of a `UNION`; `to_timestamp`, of a text or of whole seconds.
//! `date_trunc` has a module of its own. (Not `to_timestamp` with a format or of a fraction: these end in 2262.)

use arrow_schema::{DataType, TimeUnit};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    BinaryExpr, Cast, Expr, ExprSchemable, LogicalPlan, Operator, Projection, Union,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{self, visit_expressions_mut};
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::truncate::DateTrunc;

/// Makes a context one that [`plan`] plans in.
///
/// # Errors
/// When DataFusion has no `date_trunc`.
pub(crate) fn teach(context: &SessionContext) -> Result<()> {
    context.add_analyzer_rule(Arc::new(CompareInMicros));
    context.register_udf(DateTrunc::before(context.udf("date_trunc")?));
    Ok(())
}

/// Plans a query.
///
/// # Errors
/// As DataFusion plans it.
pub(crate) async fn plan(context: &SessionContext, mut query: Statement) -> Result<LogicalPlan> {
    say_precision(&mut query);
    dates_as_micros(context.state().statement_to_plan(query).await?)
}

/// Where a DATE meets a timestamp of microseconds, casts it to one, before DataFusion looks for a type that both have.
fn dates_as_micros(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(|plan| {
        let plan = match plan {
            LogicalPlan::Union(union) => widen_union(union)?,
            other => other,
        };
        let schema = merge_schema(&plan.inputs());
        let names = NamePreserver::new(&plan);
        let mapped = plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let met = expr.transform_up(|expr| meet(expr, &schema))?;
            Ok(met.update_data(|expr| name.restore(expr)))
        })?;
        // Also where only the types below have changed.
        mapped.map_data(LogicalPlan::recompute_schema)
    })?;
    Ok(plan.data)
}

const MICROS: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// Functions whose arguments have one type, which is the result's.
const OF_ONE_TYPE: [&str; 5] = ["coalesce", "nullif", "nvl", "greatest", "least"];

fn meet(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let ty = |expr: &Expr| expr.get_type(schema).ok();
    Ok(match expr {
        Expr::BinaryExpr(mut binary) if binary.op == Operator::Minus => {
            let BinaryExpr { left, right, .. } = &mut binary;
            let cast = cast_dates(vec![&mut **left, &mut **right], schema);
            Transformed::new_transformed(Expr::BinaryExpr(binary), cast)
        }
        Expr::Case(mut case) => {
            let branches = case.when_then_expr.iter_mut().map(|(_, then)| &mut **then);
            let values = branches.chain(case.else_expr.as_deref_mut()).collect();
            let cast = cast_dates(values, schema);
            Transformed::new_transformed(Expr::Case(case), cast)
        }
        Expr::ScalarFunction(mut call) => match (call.name(), call.args.as_slice()) {
            ("to_timestamp", [text]) if ty(text).is_some_and(|ty| ty.is_string()) => {
                Transformed::yes(cast(text.clone(), MICROS))
            }
            ("to_timestamp", [seconds]) if ty(seconds).is_some_and(|ty| ty.is_integer()) => {
                let whole = DataType::Timestamp(TimeUnit::Second, None);
                let seconds = cast(cast(seconds.clone(), DataType::Int64), whole);
                Transformed::yes(cast(seconds, MICROS))
            }
            (name, _) if OF_ONE_TYPE.contains(&name) => {
                let cast = cast_dates(call.args.iter_mut().collect(), schema);
                Transformed::new_transformed(Expr::ScalarFunction(call), cast)
            }
            _ => Transformed::no(Expr::ScalarFunction(call)),
        },
        other => Transformed::no(other),
    })
}

fn cast(expr: Expr, ty: DataType) -> Expr {
    Expr::Cast(Cast::new(Box::new(expr), ty))
}

/// Casts the dates among the expressions to the timestamps of microseconds among them; says whether there were both.
fn cast_dates(expressions: Vec<&mut Expr>, schema: &DFSchema) -> bool {
    let ty = |expr: &Expr| expr.get_type(schema).ok();
    let micros = expressions
        .iter()
        .find_map(|expr| ty(expr).filter(is_micros));
    let Some(micros) = micros else {
        return false;
    };
    let mut any = false;
    for expr in expressions {
        if ty(expr) == Some(DataType::Date32) {
            *expr = cast(std::mem::take(expr), micros.clone());
            any = true;
        }
    }
    any
}

fn is_micros(ty: &DataType) -> bool {
    matches!(ty, DataType::Timestamp(TimeUnit::Microsecond, _))
}

/// A column that is a DATE in some branches and a timestamp of microseconds in others is such a timestamp in all of them.
fn widen_union(union: Union) -> Result<LogicalPlan> {
    let columns = union.schema.fields().len();
    let ty = |input: &LogicalPlan, at: usize| {
        let fields = input.schema().fields();
        fields.get(at).map(|field| field.data_type().clone())
    };
    let of_column = |at: usize| {
        let mut types = union.inputs.iter().filter_map(|input| ty(input, at));
        types.find(is_micros)
    };
    let micros: Vec<Option<DataType>> = (0..columns).map(of_column).collect();
    let inputs = union.inputs.iter().map(|input| {
        let is_date =
            |at: &usize| micros[*at].is_some() && ty(input, *at) == Some(DataType::Date32);
        if !(0..columns).any(|at| is_date(&at)) {
            return Ok(input.clone());
        }
        let columns = input.schema().columns().into_iter().enumerate();
        let projected = columns.map(|(at, column)| {
            let name = column.name.clone();
            let column = Expr::Column(column);
            match (is_date(&at), &micros[at]) {
                (true, Some(micros)) => cast(column, micros.clone()).alias(name),
                _ => column,
            }
        });
        let projection = Projection::try_new(projected.collect(), input.clone())?;
        Ok(Arc::new(LogicalPlan::Projection(projection)))
    });
    let inputs = inputs.collect::<Result<Vec<_>>>()?;
    Ok(LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?))
}

/// `TIMESTAMP` is `TIMESTAMP(6)`, in literals and in casts.
fn say_precision(statement: &mut Statement) {
    match statement {
        Statement::Statement(statement) => {
            let _ = visit_expressions_mut(statement, |expr: &mut ast::Expr| {
                let ty = match expr {
                    ast::Expr::TypedString(typed) => Some(&mut typed.data_type),
                    ast::Expr::Cast { data_type, .. } => Some(data_type),
                    _ => None,
                };
                if let Some(ast::DataType::Timestamp(precision @ None, _)) = ty {
                    *precision = Some(6);
                }
                ControlFlow::<()>::Continue(())
            });
        }
        Statement::Explain(explain) => say_precision(&mut explain.statement),
        _ => {}
    }
}

/// A DATE and a timestamp of microseconds meet in microseconds. (After DataFusion's own coercion, which took nanoseconds.)
#[derive(Debug)]
struct CompareInMicros;

impl AnalyzerRule for CompareInMicros {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(|plan| {
            plan.map_expressions(|expr| expr.transform_up(|expr| Ok(in_micros(expr))))
        })?;
        Ok(plan.data)
    }

    fn name(&self) -> &str {
        "compare_in_micros"
    }
}

fn in_micros(expr: Expr) -> Transformed<Expr> {
    match expr {
        Expr::BinaryExpr(mut binary) if is_comparison(binary.op) => {
            let BinaryExpr { left, right, .. } = &mut binary;
            let changed = narrow_all(&mut [left, right]);
            Transformed::new_transformed(Expr::BinaryExpr(binary), changed)
        }
        Expr::Between(mut between) => {
            let changed = narrow_all(&mut [&mut between.expr, &mut between.low, &mut between.high]);
            Transformed::new_transformed(Expr::Between(between), changed)
        }
        Expr::InList(mut list) => {
            let mut all = vec![&mut *list.expr];
            all.extend(list.list.iter_mut());
            let changed = narrow_all(&mut all);
            Transformed::new_transformed(Expr::InList(list), changed)
        }
        other => Transformed::no(other),
    }
}

fn is_comparison(operator: Operator) -> bool {
    use Operator::*;
    matches!(
        operator,
        Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom
    )
}

/// Takes the nanoseconds back where coercion alone brought them in: all sides are casts to them.
fn narrow_all(sides: &mut [&mut (impl std::borrow::BorrowMut<Expr> + ?Sized)]) -> bool {
    let widened = |side: &Expr| {
        matches!(
            side,
            Expr::Cast(Cast {
                data_type: DataType::Timestamp(TimeUnit::Nanosecond, _),
                ..
            })
        )
    };
    if !sides.iter().all(|side| widened((**side).borrow())) {
        return false;
    }
    for side in sides {
        if let Expr::Cast(Cast {
            data_type: DataType::Timestamp(unit, _),
            ..
        }) = (**side).borrow_mut()
        {
            *unit = TimeUnit::Microsecond;
        }
    }
    true
}

#[cfg(test)]
mod tests;
