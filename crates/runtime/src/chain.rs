//! The operators between a source and a sink, chained in one thread: watermark, filter, projection.
//!
//! Semantics: rows pass in order; a filter keeps rows for which its condition is TRUE; a projection computes one column per
//! expression; a watermark is `max(expression)` over the rows so far and only ever rises (Flink `WATERMARK FOR`).
//!
//! A row whose expression fails (division by zero, a failed CAST) never stops the chain: its record goes to the dead
//! letters and the others go on. The failing row is found by halving the batch, so a batch of `n` bad rows costs
//! `O(n log n)`, not `O(n²)`. A record that became several rows fails as a whole.

use crate::batch::{Batch, Origin};
use crate::kernel::{Evaluator, RowError, filter_mask};
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow_schema::{ArrowError, DataType, SchemaRef, TimeUnit};
use arrow_select::filter::filter_record_batch;
use lw_formats::arrow_schema;
use lw_graph::{JobGraph, Operator};
use std::collections::BTreeSet;
use thiserror::Error;

/// The compiled operators of one job.
pub struct Chain {
    steps: Vec<Step>,
    /// Milliseconds since 1970; `None` before the first row with an event time.
    watermark: Option<i64>,
    max_event_time: Option<i64>,
}

enum Step {
    Filter(Evaluator),
    Project(Vec<Evaluator>, SchemaRef),
    Watermark {
        column: usize,
        expression: Evaluator,
    },
}

/// What a batch became.
pub struct Processed {
    pub batch: Batch,
    /// Records that failed, by where they came from.
    pub failures: Vec<Failure>,
}

/// A record that an expression could not be computed for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub origin: Origin,
    pub code: String,
    pub message: String,
}

/// A job graph that this runtime cannot execute. The planner refuses such scripts first; seeing one is a bug.
#[derive(Debug, Error)]
pub enum ChainError {
    #[error("the job graph is not a chain from one source to one sink")]
    NotAChain,
    #[error("an expression cannot be compiled: {0}")]
    Expression(String),
    #[error("columns do not fit together: {0}")]
    Arrow(#[from] ArrowError),
}

impl Chain {
    /// Compiles the operators between the source and the sink of `graph`.
    ///
    /// # Errors
    /// [`ChainError`] when the graph is not linear or an expression has no kernel.
    pub fn compile(graph: &JobGraph) -> Result<Chain, ChainError> {
        let mut steps = Vec::new();
        for (id, node) in graph.nodes.iter().enumerate() {
            let expected: &[usize] = if id == 0 { &[] } else { &[id - 1] };
            if node.inputs != expected {
                return Err(ChainError::NotAChain);
            }
            match &node.operator {
                Operator::Source(_) if id == 0 => {}
                Operator::Sink(_) if id + 1 == graph.nodes.len() => {}
                Operator::Source(_) | Operator::Sink(_) => return Err(ChainError::NotAChain),
                Operator::Filter(condition) => steps.push(Step::Filter(compile(condition)?)),
                Operator::Project(expressions) => {
                    let compiled = expressions.iter().map(compile).collect::<Result<_, _>>()?;
                    steps.push(Step::Project(compiled, arrow_schema(&node.schema)));
                }
                Operator::Watermark { column, expression } => steps.push(Step::Watermark {
                    column: *column,
                    expression: compile(expression)?,
                }),
            }
        }
        Ok(Chain {
            steps,
            watermark: None,
            max_event_time: None,
        })
    }

    /// Milliseconds since 1970.
    pub fn watermark(&self) -> Option<i64> {
        self.watermark
    }

    /// Greatest event time seen, milliseconds since 1970.
    pub fn max_event_time(&self) -> Option<i64> {
        self.max_event_time
    }

    /// Takes the batch through all operators.
    ///
    /// # Errors
    /// [`ChainError::Arrow`] when arrays do not fit together, which is a bug.
    pub fn process(&mut self, batch: Batch) -> Result<Processed, ChainError> {
        let mut failures = Vec::new();
        let mut current = batch;
        for step in &self.steps {
            current = apply_or_halve(step, current, &mut failures)?;
            if let Step::Watermark { column, .. } = step {
                let (watermark, event_time) = event_times(step, *column, &current)?;
                self.watermark = self.watermark.max(watermark);
                self.max_event_time = self.max_event_time.max(event_time);
            }
        }
        if !failures.is_empty() {
            current = without_failed(current, &failures)?;
            failures.dedup_by(|a, b| a.origin == b.origin);
        }
        Ok(Processed {
            batch: current,
            failures,
        })
    }
}

fn compile(expression: &lw_graph::Expr) -> Result<Evaluator, ChainError> {
    Evaluator::new(expression).map_err(|error| ChainError::Expression(error.to_string()))
}

/// Applies one operator; where a row fails, halves the batch until that row stands alone.
fn apply_or_halve(
    step: &Step,
    batch: Batch,
    failures: &mut Vec<Failure>,
) -> Result<Batch, ChainError> {
    let error = match apply(step, &batch)? {
        Ok(done) => return Ok(done),
        Err(error) => error,
    };
    if batch.rows() == 1 {
        failures.push(Failure {
            origin: batch.origins[0],
            code: error.code.to_string(),
            message: error.message,
        });
        return Ok(slice(&batch, 0, 0)).and_then(|empty| empty_like(step, empty));
    }
    let half = batch.rows() / 2;
    let left = apply_or_halve(step, slice(&batch, 0, half), failures)?;
    let right = apply_or_halve(step, slice(&batch, half, batch.rows() - half), failures)?;
    concat(left, right)
}

fn apply(step: &Step, batch: &Batch) -> Result<Result<Batch, RowError>, ChainError> {
    let columns = match step {
        Step::Watermark { expression, .. } => {
            return Ok(expression.evaluate(&batch.columns).map(|_| batch.clone()));
        }
        Step::Filter(condition) => {
            let mask = match filter_mask(condition, &batch.columns) {
                Ok(mask) => mask,
                Err(error) => return Ok(Err(error)),
            };
            return keep(batch, &mask).map(Ok);
        }
        Step::Project(expressions, schema) => {
            let mut arrays = Vec::with_capacity(expressions.len());
            for (expression, column) in expressions.iter().zip(schema.fields()) {
                match expression.evaluate_into(&batch.columns, column) {
                    Ok(array) => arrays.push(array),
                    Err(error) => return Ok(Err(error)),
                }
            }
            let options = RecordBatchOptions::new().with_row_count(Some(batch.rows()));
            RecordBatch::try_new_with_options(schema.clone(), arrays, &options)?
        }
    };
    Ok(Ok(Batch::new(
        columns,
        batch.origins.clone(),
        batch.splits.clone(),
    )))
}

/// The operator's output for no rows: it has the output's columns.
fn empty_like(step: &Step, empty: Batch) -> Result<Batch, ChainError> {
    match step {
        Step::Project(_, schema) => Ok(Batch::new(
            RecordBatch::new_empty(schema.clone()),
            Vec::new(),
            empty.splits,
        )),
        Step::Filter(_) | Step::Watermark { .. } => Ok(empty),
    }
}

fn keep(batch: &Batch, mask: &BooleanArray) -> Result<Batch, ChainError> {
    if mask.true_count() == batch.rows() {
        return Ok(batch.clone());
    }
    let columns = filter_record_batch(&batch.columns, mask)?;
    let origins = mask
        .values()
        .set_indices()
        .map(|row| batch.origins[row])
        .collect();
    Ok(Batch::new(columns, origins, batch.splits.clone()))
}

fn slice(batch: &Batch, from: usize, rows: usize) -> Batch {
    Batch::new(
        batch.columns.slice(from, rows),
        batch.origins[from..from + rows].to_vec(),
        batch.splits.clone(),
    )
}

fn concat(left: Batch, right: Batch) -> Result<Batch, ChainError> {
    let columns = arrow_select::concat::concat_batches(
        &left.columns.schema(),
        [&left.columns, &right.columns],
    )?;
    let mut origins = left.origins;
    origins.extend(right.origins);
    Ok(Batch::new(columns, origins, left.splits))
}

/// Drops the rows of failed records that other rows of the same record left behind.
fn without_failed(batch: Batch, failures: &[Failure]) -> Result<Batch, ChainError> {
    let failed: BTreeSet<(u32, i64)> = failures
        .iter()
        .map(|failure| (failure.origin.split, failure.origin.offset))
        .collect();
    let mask: BooleanArray = batch
        .origins
        .iter()
        .map(|origin| Some(!failed.contains(&(origin.split, origin.offset))))
        .collect();
    keep(&batch, &mask)
}

/// Greatest watermark expression and greatest event time of a batch, in milliseconds.
fn event_times(
    step: &Step,
    column: usize,
    batch: &Batch,
) -> Result<(Option<i64>, Option<i64>), ChainError> {
    let Step::Watermark { expression, .. } = step else {
        return Ok((None, None));
    };
    let watermark = match expression.evaluate(&batch.columns) {
        Ok(array) => greatest_millis(array.as_ref()),
        Err(_) => None,
    };
    Ok((watermark, greatest_millis(batch.columns.column(column))))
}

fn greatest_millis(array: &dyn Array) -> Option<i64> {
    match array.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let micros =
                arrow_arith::aggregate::max(array.as_primitive::<TimestampMicrosecondType>())?;
            Some(micros.div_euclid(1000))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
