//! Kernels: typed expressions to Arrow arrays, with Flink's results.
//!
//! [`Evaluator::new`] compiles an expression once: types are checked, operands brought to the type in which Flink computes.
//! [`Evaluator::evaluate`] then works column by column. What sets these kernels apart from a general library's:
//!
//! - *Flink's arithmetic*: whole numbers wrap, decimals that do not fit are NULL, NaN equals nothing, casts cut.
//! - *Laziness without rows*: `CASE`, `COALESCE`, `AND` and `OR` compute both sides over whole columns but with a set of
//!   [`Active`] rows. Only an active row can fail, so `CASE WHEN a <> 0 THEN 10 / a END` never divides by zero.
//! - *Constants stay constants*: a literal is one value ([`Operand`]) however many rows there are.
//!
//! What it is not: it does not check that an expression is typed by Flink's rules; `lw_graph` did.

mod compile;
mod operand;
mod rows;

mod arithmetic;
mod cast;
mod compare;
mod decimal;
mod functions;
mod java_regex;
mod like;
mod literal;
mod logic;
mod show;
mod similar;
mod time;

pub use functions::sha256_of;
pub use operand::RowError;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch};
use java_regex::{JavaRegex, Problem};
use lw_graph::{Expr, LogicalType};
use operand::Active;
use thiserror::Error;

/// An expression that has no kernel. Shown to the user when the pipeline is planned.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct KernelError {
    /// Short, lower case, no full stop.
    pub message: String,
}

impl KernelError {
    fn new(message: impl Into<String>) -> KernelError {
        KernelError {
            message: message.into(),
        }
    }
}

/// A pattern that a text matches as a whole, as Java's `String.matches`.
#[derive(Clone, Debug)]
pub struct WholePattern(JavaRegex);

impl WholePattern {
    /// # Errors
    /// [`KernelError`] when it is no pattern, or one that is not supported.
    pub fn new(pattern: &str) -> Result<WholePattern, KernelError> {
        let told = |problem| match problem {
            Problem::Invalid => KernelError::new("it is no regular expression of Java's"),
            Problem::Unsupported(message) => KernelError::new(message),
        };
        // By itself first: a parenthesis too many would close the one around it.
        JavaRegex::new(pattern).map_err(told)?;
        let whole = JavaRegex::new(&format!(r"\A(?:{pattern})\z"));
        whole.map(WholePattern).map_err(told)
    }

    pub fn matches(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

/// An expression, compiled.
pub struct Evaluator {
    node: compile::Node,
}

impl Evaluator {
    /// Compiles an expression over the columns of an operator's input.
    ///
    /// # Errors
    /// [`KernelError`] when a part of it has no kernel.
    pub fn new(expr: &Expr) -> Result<Evaluator, KernelError> {
        let node = compile::compile(expr)?;
        Ok(Evaluator { node })
    }

    /// The type of the result.
    pub fn ty(&self) -> &LogicalType {
        &self.node.ty
    }

    /// Computes the expression for every row: one array of as many values as the batch has rows.
    ///
    /// # Errors
    /// [`RowError`] names a row for which the expression has no value (x / 0, a failed CAST).
    pub fn evaluate(&self, batch: &RecordBatch) -> Result<ArrayRef, RowError> {
        let rows = batch.num_rows();
        let result = self.node.evaluate(batch, &Active::all(rows))?;
        Ok(result.into_array(rows))
    }

    /// As [`Evaluator::evaluate`], for an output column that is declared NOT NULL perhaps.
    ///
    /// A type says NOT NULL by Flink's rules, which give that to arithmetic over DECIMAL although what has too many digits is NULL.
    /// Such a row has no value for its column, whichever kernel the NULL came from.
    ///
    /// # Errors
    /// As [`Evaluator::evaluate`]; and for the first NULL where the column has none.
    pub fn evaluate_into(
        &self,
        batch: &RecordBatch,
        column: &arrow_schema::Field,
    ) -> Result<ArrayRef, RowError> {
        let array = self.evaluate(batch)?;
        if column.is_nullable() || array.logical_null_count() == 0 {
            return Ok(array);
        }
        let row = (0..array.len()).find(|row| array.is_null(*row));
        Err(RowError {
            row: row.unwrap_or(0),
            code: "not_null",
            message: format!(
                "column '{}' is NOT NULL, and its value is NULL: a number has more digits than its type",
                column.name()
            ),
        })
    }
}

/// `dividend / divisor` of a DECIMAL by a whole number that is not 0, with `to` places and 38 digits; NULL where those do not suffice.
pub(crate) fn divide_decimal(dividend: i128, places: u8, divisor: i64, to: u8) -> Option<i128> {
    let shape = decimal::Shape::new(38, to);
    decimal::divide(dividend, places, i128::from(divisor), 0, shape)
}

/// The rows for which the condition is TRUE: NULL counts as FALSE.
///
/// # Errors
/// As [`Evaluator::evaluate`].
///
/// # Panics
/// When the expression is not BOOLEAN.
pub fn filter_mask(condition: &Evaluator, batch: &RecordBatch) -> Result<BooleanArray, RowError> {
    let array = condition.evaluate(batch)?;
    Ok(BooleanArray::new(
        logic::true_rows(array.as_boolean()),
        None,
    ))
}

#[cfg(test)]
mod tests;
