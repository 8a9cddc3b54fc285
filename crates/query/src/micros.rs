//! Timestamps in microseconds, as tables hold them: the years 1 to 9999 and more.
//!
//! DataFusion's own unit is the nanosecond, which ends in 2262 and begins in 1677: `TIMESTAMP '2300-01-01 00:00:00'` would be an error,
//! and so would a comparison of a table's row of such a year with a date. Two places choose that unit, and both are told otherwise:
//! a `TIMESTAMP` in the text that says no precision, and the common type of a timestamp and a DATE.

use arrow_schema::{DataType, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, LogicalPlan, Operator};
use datafusion::optimizer::AnalyzerRule;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{self, visit_expressions_mut};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Plans a query.
///
/// # Errors
/// As DataFusion plans it.
pub(crate) async fn plan(context: &SessionContext, sql: &str) -> Result<LogicalPlan> {
    context.add_analyzer_rule(Arc::new(CompareInMicros));
    let state = context.state();
    let dialect = state.config_options().sql_parser.dialect;
    let mut statement = state.sql_to_statement(sql, &dialect)?;
    say_precision(&mut statement);
    state.statement_to_plan(statement).await
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
