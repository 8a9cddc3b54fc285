//! The operators of a job, compiled from its graph: from its scans to its sinks, in two parts.
//!
//! ```text
//!          source task                              driver
//! scan ─► watermark ─► filter … ─┬─────────────────────────────────────► sink
//!                                └──► outlet ──► aggregate ─► filter … ─► sink
//! scan ─► watermark ─► filter … ────► outlet ──────┴─► join ───────────► sink
//!        [`Upstream`]: no state           [`Downstream`]: what a checkpoint writes down
//! ```
//!
//! Everything up to the first operators with state is the source task's, which runs ahead of the driver. State is with the
//! driver, which seals: what it has written down at a barrier is of the rows that it was given, and no barrier lies inside of
//! what one poll gave.
//!
//! What several sinks need is computed once: a chunk passes stem and branches in the order of the graph's nodes. A failure in
//! the stem is every sink's, one in a branch only of the sinks behind it.
//!
//! Several scans are read as one, in the order of the log: a chunk is of one scan, and passes the operators that scan leads to. Where
//! scans come together, event time is the least of theirs ([`valve`]), and rows are in the order of the records that caused them. A scan
//! that nothing has come in for too long is not waited for; a chunk without rows says so ([`Chunk::idle`](crate::chunk::Chunk::idle)).

mod clock;
mod downstream;
mod shape;
#[cfg(test)]
mod tests;
mod upstream;
mod valve;

use super::event_time::EventTime;
use super::expand::Expand;
use super::filter::Filter;
use super::lookup::Lookup as LookupJoin;
use super::project::Project;
use super::sharded::{self, Parallelism};
use super::unnest::Unnest;
use super::{Operator, late::LateRow};
use crate::kernel::Evaluator;
use crate::lookup::Slot;
use crate::window;
use arrow_schema::SchemaRef;
pub(crate) use clock::{moment, step};
pub use downstream::{AtSinks, Downstream};
use lw_formats::arrow_schema;
use lw_graph::{JobGraph, JoinKind, Lookup, Node, NodeId, Operator as Op, OperatorUid, Windowing};
use shape::Shape;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use thiserror::Error;
pub use upstream::{AtOutlets, Landed, Meetings, Processed, Round, Upstream};
pub(crate) use valve::{Input, Kind, Ports};

/// The compiled operators of one job.
pub struct Flow {
    pub upstream: Upstream,
    pub downstream: Downstream,
}

/// The topics of which a sink gets something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Topics {
    All,
    Some(BTreeSet<String>),
}

impl Topics {
    pub(crate) fn has(&self, topic: &str) -> bool {
        match self {
            Topics::All => true,
            Topics::Some(topics) => topics.iter().any(|of| covers(of, topic)),
        }
    }
}

/// Whether a topic is the one that a scan names, or a file of the folder that it names: each file is a topic of its own.
pub(crate) fn covers(named: &str, topic: &str) -> bool {
    Path::new(topic).starts_with(named)
}

/// A job graph that this runtime cannot execute. The planner refuses such scripts first; seeing one is a bug.
#[derive(Debug, Error)]
pub enum FlowError {
    #[error("the job graph does not lead from scans to sinks")]
    NotAGraph,
    #[error("the job graph has two watermarks for one scan")]
    TwoWatermarks,
    #[error("the job graph reads topic '{0}' in two scans")]
    ScannedTwice(String),
    #[error("this version does not run {name} yet (operator {uid})")]
    NotYet {
        name: &'static str,
        uid: OperatorUid,
    },
    #[error("this version does not run {0} yet")]
    NoOperator(&'static str),
    #[error("rows are looked up in table '{0}', and nothing says in which version of it")]
    LookedUp(String),
    #[error("an expression cannot be compiled: {0}")]
    Expression(String),
}

/// Makes the operator of a node that has state, over columns of these schemas.
type Make<'a> = &'a dyn Fn(&[SchemaRef], &Node) -> Result<Box<dyn Operator>, FlowError>;

impl Flow {
    /// Compiles the operators between the scans and the sinks of `graph`.
    ///
    /// # Errors
    /// [`FlowError`] when the graph is none, or an expression has no kernel.
    pub fn compile(graph: &JobGraph) -> Result<Flow, FlowError> {
        Flow::parallel(graph, &Parallelism::none())
    }

    /// As [`Flow::compile`]; several instances share the work of an operator with keys.
    ///
    /// # Errors
    /// As [`Flow::compile`].
    pub fn parallel(graph: &JobGraph, parallelism: &Parallelism) -> Result<Flow, FlowError> {
        Flow::looking_up(graph, parallelism, &BTreeMap::new())
    }

    /// As [`Flow::parallel`]; rows are looked up in what stands in the slots of their joins.
    pub(crate) fn looking_up(
        graph: &JobGraph,
        parallelism: &Parallelism,
        slots: &BTreeMap<NodeId, Slot>,
    ) -> Result<Flow, FlowError> {
        let make: Make<'_> =
            &|inputs, node| sharded::instances(inputs, node, parallelism, stateful);
        Flow::compiled(graph, make, slots)
    }

    #[cfg(test)]
    pub(super) fn compile_with(graph: &JobGraph, make: Make<'_>) -> Result<Flow, FlowError> {
        Flow::compiled(graph, make, &BTreeMap::new())
    }

    fn compiled(
        graph: &JobGraph,
        make: Make<'_>,
        slots: &BTreeMap<NodeId, Slot>,
    ) -> Result<Flow, FlowError> {
        let shape = Shape::of(graph)?;
        let downstream = Downstream::compile(graph, &shape, make)?;
        let upstream = Upstream::compile(graph, &shape, downstream.outlets_together(), slots)?;
        Ok(Flow {
            upstream,
            downstream,
        })
    }

    /// By sink: the topics that it gets something of, where a job has several scans.
    pub(crate) fn topics_of_sinks(&self) -> Vec<Topics> {
        let of_outlets = self.upstream.topics_of_outlets();
        let of_sinks = self.downstream.outlets_of_sinks().into_iter();
        let topics = |outlets: Vec<usize>| {
            let of_outlets = outlets.iter().map(|outlet| of_outlets[*outlet].clone());
            of_outlets.flatten().collect()
        };
        let topics = of_sinks.map(|outlets| match self.upstream.scans().len() {
            1 => Topics::All,
            _ => Topics::Some(topics(outlets)),
        });
        topics.collect()
    }
}

/// The columns of a node's inputs.
fn inputs(graph: &JobGraph, node: &Node) -> Vec<SchemaRef> {
    let inputs = node.inputs.iter();
    inputs
        .map(|input| arrow_schema(&graph.nodes[*input].schema))
        .collect()
}

fn compile(expression: &lw_graph::Expr) -> Result<Evaluator, FlowError> {
    Evaluator::new(expression).map_err(|error| FlowError::Expression(error.to_string()))
}

/// An operator of one input whose rows stand each for itself.
fn stateless(inputs: &[SchemaRef], node: &Node) -> Result<Box<dyn Operator>, FlowError> {
    Ok(match &node.operator {
        Op::Filter(condition) => Box::new(Filter(compile(condition)?)),
        Op::Project(expressions) => Box::new(Project {
            expressions: expressions.iter().map(compile).collect::<Result<_, _>>()?,
            schema: arrow_schema(&node.schema),
        }),
        Op::Expand { keys, sets } => Box::new(Expand {
            keys: keys.clone(),
            sets: sets.clone(),
            schema: arrow_schema(&node.schema),
        }),
        Op::Unnest {
            column,
            outer,
            ordinality,
            on,
        } => {
            let output = arrow_schema(&node.schema);
            let unnest = Unnest::new(*column, (*outer, *ordinality), &inputs[0], output);
            let unnest = unnest.ok_or(FlowError::NotAGraph)?;
            Box::new(match on {
                Some(on) => unnest.on(&on.reads, compile(&on.is)?),
                None => unnest,
            })
        }
        Op::WindowAssign { .. } => return stateful(inputs, node),
        Op::Lookup(_) => {
            return Err(FlowError::NoOperator(
                "looking rows up behind an aggregate, a join or OVER",
            ));
        }
        Op::CurrentWatermark => {
            return Err(FlowError::NoOperator(
                "CURRENT_WATERMARK behind an aggregate, a join or OVER",
            ));
        }
        Op::Source(_)
        | Op::Sink(_)
        | Op::Watermark { .. }
        | Op::Union
        | Op::WindowAggregate { .. }
        | Op::WindowRank { .. }
        | Op::WindowJoin { .. }
        | Op::Over { .. } => return Err(FlowError::NotAGraph),
    })
}

/// A join of rows with those of a table.
fn lookup(spec: &Lookup, slot: &Slot, node: &Node) -> Result<LookupJoin, FlowError> {
    let keys = spec.keys.iter().map(|(of_row, _)| *of_row).collect();
    let outer = spec.kind == JoinKind::Left;
    let join = LookupJoin::new(slot.clone(), keys, outer, arrow_schema(&node.schema));
    Ok(match &spec.on {
        Some(on) => join.on(&on.reads, compile(&on.is)?, &arrow_schema(&spec.columns)),
        None => join,
    })
}

/// An operator with state.
fn stateful(inputs: &[SchemaRef], node: &Node) -> Result<Box<dyn Operator>, FlowError> {
    let (name, uid) = node.operator.windowed().ok_or(FlowError::NotAGraph)?;
    let operator = window::operator(inputs, node)?;
    operator.ok_or(FlowError::NotYet { name, uid })
}

/// The column whose time an operator sorts rows by, where it has to be looked for: one that another operator made is there.
fn event_time(graph: &JobGraph, id: NodeId) -> Option<EventTime> {
    let node = &graph.nodes[id];
    let time = match &node.operator {
        Op::WindowAssign { window, .. } => window.time,
        Op::WindowAggregate { windowing, .. } | Op::WindowRank { windowing, .. } => match windowing
        {
            Windowing::Assign(window) => window.time,
            Windowing::Attached { .. } => return None,
        },
        Op::Over { time, .. } => *time,
        _ => return None,
    };
    let column = &graph.nodes[node.inputs[0]].schema.fields[time];
    Some(EventTime {
        column: time,
        name: column.name.clone(),
    })
}
