//! What share of the rows a condition keeps, guessed: of a range by the bounds, of anything else by what it is.

use arrow_array::ArrayRef;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_schema::DataType;
use datafusion::arrow::compute::cast;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator};

/// Of rows with one value.
const OF_ONE: f64 = 0.05;
/// Of a range whose bounds are not known, and of whatever else is no equality.
const OF_SOME: f64 = 0.35;

/// Low and high of a column, where they are known.
type Range<'a> = &'a dyn Fn(&str) -> Option<(f64, f64)>;

pub(super) fn of(condition: &Expr, range: Range<'_>) -> f64 {
    let share = match condition {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
            Operator::And => of(left, range) * of(right, range),
            Operator::Or => of(left, range) + of(right, range),
            Operator::Eq => OF_ONE,
            Operator::NotEq => 1.0,
            Operator::Lt | Operator::LtEq => below(left, right, range),
            Operator::Gt | Operator::GtEq => below(right, left, range),
            _ => OF_SOME,
        },
        Expr::Between(Between {
            expr,
            negated: false,
            low,
            high,
        }) => below(expr, high, range) + below(low, expr, range) - 1.0,
        Expr::InList(InList {
            list,
            negated: false,
            ..
        }) => OF_ONE * list.len() as f64,
        Expr::IsNull(_) => OF_ONE,
        Expr::IsNotNull(_) | Expr::InList(_) => 1.0,
        Expr::Not(inner) => 1.0 - of(inner, range),
        _ => OF_SOME,
    };
    share.clamp(0.0, 1.0)
}

/// Of the rows where one is below the other.
fn below(one: &Expr, other: &Expr, range: Range<'_>) -> f64 {
    let of_column = |column: &Expr, value: &Expr| {
        let Expr::Column(column) = column else {
            return None;
        };
        let Expr::Literal(value, _) = value else {
            return None;
        };
        let value = number(value)?;
        let (low, high) = range(&column.name)?;
        Some(if high > low {
            ((value - low) / (high - low)).clamp(0.0, 1.0)
        } else {
            1.0
        })
    };
    let share = of_column(one, other).or_else(|| Some(1.0 - of_column(other, one)?));
    share.unwrap_or(OF_SOME)
}

fn number(value: &ScalarValue) -> Option<f64> {
    numbers(&value.to_array().ok()?)?.next()
}

/// Those that are known, of a column of whole numbers or times.
pub(super) fn numbers(values: &ArrayRef) -> Option<impl Iterator<Item = f64>> {
    let wide = match values.data_type() {
        DataType::Date32 => cast(&cast(values, &DataType::Int32).ok()?, &DataType::Int64),
        DataType::Int32 | DataType::Int64 | DataType::Timestamp(..) => {
            cast(values, &DataType::Int64)
        }
        _ => return None,
    };
    let known: Vec<f64> = wide
        .ok()?
        .as_primitive::<Int64Type>()
        .iter()
        .flatten()
        .map(|value| value as f64)
        .collect();
    Some(known.into_iter())
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::prelude::{col, lit};

    #[test]
    fn shares_are_guessed_from_bounds() {
        let range = |column: &str| (column == "n").then_some((0.0, 1000.0));
        let check = |condition: Expr, expected: f64| {
            let share = of(&condition, &range);
            assert!((share - expected).abs() < 1e-9, "{condition}: {share}");
        };
        check(col("n").lt(lit(250_i64)), 0.25);
        check(lit(250_i64).lt(col("n")), 0.75);
        check(col("n").gt_eq(lit(990_i64)), 0.01);
        check(col("n").gt(lit(2000_i64)), 0.0);
        check(col("n").between(lit(100_i64), lit(300_i64)), 0.2);
        check(
            col("n").lt(lit(500_i64)).and(col("n").gt(lit(500_i64))),
            0.25,
        );
        check(col("m").lt(lit(250_i64)), OF_SOME);
        check(col("m").eq(lit("x")), OF_ONE);
        check(col("m").eq(lit("x")).or(col("n").lt(lit(500_i64))), 0.55);
        check(col("m").in_list(vec![lit("x"), lit("y")], false), 0.1);
        check(col("m").in_list(vec![lit("x")], true), 1.0);
        check(col("m").is_not_null(), 1.0);
    }
}
