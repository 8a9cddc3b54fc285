//! The operators between a source and its sinks, in one thread: watermark, filter, projection.
//!
//! What several sinks need is computed once: the graph is a tree, whose stem and branches a batch passes in the order of its
//! nodes. A failure in the stem is every sink's, one in a branch only of the sinks behind it.
//!
//! Semantics: rows pass in order; a filter keeps rows for which its condition is TRUE; a projection computes one column per
//! expression; a partition's watermark is `max(expression)` over its rows so far and only ever rises (Flink `WATERMARK FOR`),
//! the source's is the least of all its partitions', none before each of them has one.
//!
//! A row whose expression fails (division by zero, a failed CAST) never stops the chain: its record goes to the dead
//! letters and the others go on. The error names a row that fails; the rows before it are tried again, and how many are
//! tried at once grows with how many passed since the last failure. So `n` rows cost `O(n)`, however many of them fail. A
//! record that became several rows fails as a whole.

use crate::batch::{Batch, SplitId};
use crate::kernel::{Evaluator, RowError, filter_mask};
use crate::origins::{Origin, Run, Runs};
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow_schema::{ArrowError, DataType, SchemaRef, TimeUnit};
use arrow_select::filter::filter_record_batch;
use lw_formats::arrow_schema;
use lw_graph::{JobGraph, NodeId, Operator, OperatorUid};
use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use thiserror::Error;

/// The compiled operators of one job.
pub struct Chain {
    /// In the order of the graph; a node stands behind its input.
    nodes: Vec<Compiled>,
    /// By split, milliseconds since 1970; without those that had no row with an event time yet.
    watermarks: BTreeMap<SplitId, i64>,
    max_event_time: Option<i64>,
}

struct Compiled {
    /// `None` for the source.
    input: Option<NodeId>,
    work: Work,
    /// How many nodes it is the input of.
    consumers: usize,
}

enum Work {
    Source,
    Step(Step),
    Sink,
}

enum Step {
    Filter(Evaluator),
    Project(Vec<Evaluator>, SchemaRef),
    Watermark {
        column: usize,
        expression: Evaluator,
    },
}

/// What a batch became at one sink.
#[derive(Clone)]
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
    #[error("the job graph is not a tree from one source to its sinks")]
    NotATree,
    #[error("the job graph has two watermarks for one source")]
    TwoWatermarks,
    #[error("this version does not run {name} yet (operator {uid})")]
    NotYet {
        name: &'static str,
        uid: OperatorUid,
    },
    #[error("an expression cannot be compiled: {0}")]
    Expression(String),
    #[error("columns do not fit together: {0}")]
    Arrow(#[from] ArrowError),
}

impl Chain {
    /// Compiles the operators between the source and the sinks of `graph`.
    ///
    /// # Errors
    /// [`ChainError`] when the graph is no tree or an expression has no kernel.
    pub fn compile(graph: &JobGraph) -> Result<Chain, ChainError> {
        let mut nodes: Vec<Compiled> = Vec::with_capacity(graph.nodes.len());
        for (id, node) in graph.nodes.iter().enumerate() {
            let input = match (id, node.inputs.as_slice()) {
                (0, []) => None,
                (_, [input]) if *input < id => Some(*input),
                _ => return Err(ChainError::NotATree),
            };
            if let Some(input) = input {
                nodes[input].consumers += 1;
            }
            let work = match (&node.operator, id) {
                (Operator::Source(_), 0) => Work::Source,
                (Operator::Source(_), _) | (_, 0) => return Err(ChainError::NotATree),
                (Operator::Sink(_), _) => Work::Sink,
                (Operator::Filter(condition), _) => Work::Step(Step::Filter(compile(condition)?)),
                (Operator::Project(expressions), _) => {
                    let compiled = expressions.iter().map(compile).collect::<Result<_, _>>()?;
                    Work::Step(Step::Project(compiled, arrow_schema(&node.schema)))
                }
                (Operator::Watermark { column, expression }, _) => Work::Step(Step::Watermark {
                    column: *column,
                    expression: compile(expression)?,
                }),
                (
                    windowed @ (Operator::WindowAssign { .. }
                    | Operator::WindowAggregate { .. }
                    | Operator::WindowRank { .. }),
                    _,
                ) => {
                    let (name, uid) = windowed.windowed().expect("it is over windows");
                    return Err(ChainError::NotYet { name, uid });
                }
            };
            nodes.push(Compiled {
                input,
                work,
                consumers: 0,
            });
        }
        // What ends in nothing would be computed for nobody, and its failures would be nobody's.
        let ends = |node: &Compiled| node.consumers == 0;
        if !nodes
            .iter()
            .all(|node| ends(node) == matches!(node.work, Work::Sink))
        {
            return Err(ChainError::NotATree);
        }
        let times = |node: &&Compiled| matches!(node.work, Work::Step(Step::Watermark { .. }));
        if nodes.iter().filter(times).count() > 1 {
            return Err(ChainError::TwoWatermarks);
        }
        Ok(Chain {
            nodes,
            watermarks: BTreeMap::new(),
            max_event_time: None,
        })
    }

    /// Goes on where a checkpoint stood.
    pub fn go_on_from(&mut self, watermarks: BTreeMap<SplitId, i64>) {
        self.watermarks = watermarks;
    }

    /// How far event time has come in each split, milliseconds since 1970.
    pub fn watermarks(&self) -> &BTreeMap<SplitId, i64> {
        &self.watermarks
    }

    /// Greatest event time seen, milliseconds since 1970.
    pub fn max_event_time(&self) -> Option<i64> {
        self.max_event_time
    }

    /// Takes the batch through all operators: what it became at each sink, in their order.
    ///
    /// # Errors
    /// [`ChainError::Arrow`] when arrays do not fit together, which is a bug.
    pub fn process(&mut self, batch: Batch) -> Result<Vec<Processed>, ChainError> {
        let mut sinks = Vec::new();
        // By node: what it gave, with all that failed on the way, and how many still want it.
        let mut given: Vec<Option<(Processed, usize)>> = Vec::with_capacity(self.nodes.len());
        let mut source = Some(batch);
        for node in &self.nodes {
            let mut current = match node.input {
                None => Processed {
                    batch: source.take().expect("there is one source"),
                    failures: Vec::new(),
                },
                Some(input) => take(&mut given[input]),
            };
            if let Work::Step(step) = &node.work {
                let (failures, times) = (&mut current.failures, &mut self.watermarks);
                current.batch = apply_to_all(step, current.batch, failures, times)?;
                if let Step::Watermark { column, .. } = step {
                    let event_time = greatest_millis(current.batch.columns.column(*column));
                    self.max_event_time = self.max_event_time.max(event_time);
                }
            }
            given.push(match node.work {
                Work::Sink => {
                    sinks.push(settled(current)?);
                    None
                }
                Work::Source | Work::Step(_) => Some((current, node.consumers)),
            });
        }
        Ok(sinks)
    }
}

/// What a node gave, for one of those that want it.
fn take(given: &mut Option<(Processed, usize)>) -> Processed {
    match given.take() {
        Some((last, 1)) => last,
        Some((shared, wanted)) => {
            *given = Some((shared.clone(), wanted - 1));
            shared
        }
        None => unreachable!("a node has as many consumers as were counted"),
    }
}

/// A record fails as a whole, and once: rows of it can fail in different steps, and the first failure is the record's.
fn settled(mut done: Processed) -> Result<Processed, ChainError> {
    if !done.failures.is_empty() {
        done.batch = without_failed(done.batch, &done.failures)?;
        let mut buried = BTreeSet::new();
        done.failures.retain(|failure| {
            let Origin { split, offset } = failure.origin;
            buried.insert((split, offset))
        });
        let place = |failure: &Failure| (failure.origin.split, failure.origin.offset);
        done.failures.sort_by_key(place);
    }
    Ok(done)
}

/// The watermark of a source of `splits` partitions: the least of those that still have something to read, none before each
/// of them has one. A partition that a bounded read is done with holds nothing back, whether it ever had a row or not; once
/// all are `done`, event time has come as far as it ever will.
pub fn source_watermark(
    watermarks: &BTreeMap<SplitId, i64>,
    splits: usize,
    done: &BTreeSet<SplitId>,
) -> Option<i64> {
    if done.len() == splits {
        return watermarks.values().max().copied();
    }
    let open = watermarks.iter().filter(|(split, _)| !done.contains(split));
    let least = open.clone().map(|(_, watermark)| *watermark).min();
    least.filter(|_| open.count() == splits - done.len())
}

fn compile(expression: &lw_graph::Expr) -> Result<Evaluator, ChainError> {
    Evaluator::new(expression).map_err(|error| ChainError::Expression(error.to_string()))
}

/// Applies one operator to all rows for which it can be computed; the others fail, see the head of this file.
fn apply_to_all(
    step: &Step,
    batch: Batch,
    failures: &mut Vec<Failure>,
    watermarks: &mut BTreeMap<SplitId, i64>,
) -> Result<Batch, ChainError> {
    let rows = batch.rows();
    let (mut at, mut size, mut passed) = (0, rows, 0);
    let mut parts = Vec::new();
    // A row that is known to fail, with its error.
    let mut bad: Option<(usize, RowError)> = None;
    // By row, once some of them have to be told apart.
    let origins = LazyCell::new(|| batch.origins.iter().collect::<Vec<Origin>>());
    loop {
        if let Some((_, error)) = bad.take_if(|(row, _)| *row == at) {
            failures.push(Failure {
                origin: origins[at],
                code: error.code.to_string(),
                message: error.message,
            });
            at += 1;
            size = 2 * passed + 1;
            passed = 0;
        }
        if at == rows {
            break;
        }
        let until = bad.as_ref().map_or(rows, |(row, _)| *row);
        let take = size.min(until - at);
        let whole = take == rows;
        let part = if whole {
            batch.clone()
        } else {
            part_of(&batch, &origins, at..at + take)
        };
        match apply(step, &part, watermarks)? {
            Ok(done) if whole => return Ok(done),
            Ok(done) => {
                parts.push(done);
                at += take;
                passed += take;
                size = 2 * take;
            }
            Err(error) => {
                assert!(
                    error.row < take,
                    "C1: an error names a row of the batch that it is of"
                );
                size = error.row.max(1);
                bad = Some((at + error.row, error));
            }
        }
    }
    match parts.is_empty() {
        true if rows == 0 => apply(step, &batch, watermarks)?.or_else(|_| empty_like(step, batch)),
        true => empty_like(step, part_of(&batch, &[], 0..0)),
        false => concat(parts),
    }
}

fn apply(
    step: &Step,
    batch: &Batch,
    watermarks: &mut BTreeMap<SplitId, i64>,
) -> Result<Result<Batch, RowError>, ChainError> {
    let columns = match step {
        Step::Watermark { expression, .. } => {
            return Ok(expression.evaluate(&batch.columns).map(|times| {
                rise(watermarks, &times, &batch.origins);
                batch.clone()
            }));
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
            Runs::default(),
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
    let origins = batch.origins.filter(mask.values());
    Ok(Batch::new(columns, origins, batch.splits.clone()))
}

/// Some rows of a batch, whose rows came from `origins`.
fn part_of(batch: &Batch, origins: &[Origin], rows: Range<usize>) -> Batch {
    Batch::new(
        batch.columns.slice(rows.start, rows.len()),
        origins[rows].iter().copied().collect(),
        batch.splits.clone(),
    )
}

/// # Panics
/// Without parts.
fn concat(mut parts: Vec<Batch>) -> Result<Batch, ChainError> {
    if parts.len() == 1 {
        return Ok(parts.remove(0));
    }
    let columns = parts.iter().map(|part| &part.columns);
    let columns = arrow_select::concat::concat_batches(&parts[0].columns.schema(), columns)?;
    let mut origins = Runs::default();
    parts.iter().for_each(|part| origins.extend(&part.origins));
    Ok(Batch::new(columns, origins, parts[0].splits.clone()))
}

/// The rows of a batch that are wanted.
pub(crate) fn kept(batch: Batch, wanted: impl Fn(&Origin) -> bool) -> Result<Batch, ChainError> {
    let mask: BooleanArray = batch.origins.iter().map(|at| Some(wanted(&at))).collect();
    keep(&batch, &mask)
}

/// Drops the rows of failed records that other rows of the same record left behind.
fn without_failed(batch: Batch, failures: &[Failure]) -> Result<Batch, ChainError> {
    let failed: BTreeSet<(u32, i64)> = failures
        .iter()
        .map(|failure| (failure.origin.split, failure.origin.offset))
        .collect();
    kept(batch, |origin| {
        !failed.contains(&(origin.split, origin.offset))
    })
}

/// Raises each split's watermark to the greatest of its rows'.
fn rise(watermarks: &mut BTreeMap<SplitId, i64>, times: &dyn Array, origins: &Runs) {
    let mut from = 0;
    for of_split in origins.runs().chunk_by(|one, next| one.split == next.split) {
        let rows = of_split.iter().map(Run::rows).sum();
        if let Some(greatest) = greatest_millis(&*times.slice(from, rows)) {
            let known = watermarks.entry(of_split[0].split).or_insert(greatest);
            *known = greatest.max(*known);
        }
        from += rows;
    }
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
