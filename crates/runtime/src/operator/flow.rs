//! The operators of a job, compiled from its graph: a tree from one source to its sinks, in two parts.
//!
//! ```text
//!            source task                              driver
//! source ─► watermark ─► filter … ─┬─────────────────────────────────────► sink
//!                                  └──► outlet ──► aggregate ─► filter … ─► sink
//!          [`Upstream`]: no state           [`Downstream`]: what a checkpoint writes down
//! ```
//!
//! Everything up to the first operators with state is the source task's, which runs ahead of the driver. State is with the
//! driver, which seals: what it has written down at a barrier is of the rows that it was given, and no barrier lies inside of
//! what one poll gave.
//!
//! What several sinks need is computed once: a chunk passes stem and branches in the order of the graph's nodes. A failure in
//! the stem is every sink's, one in a branch only of the sinks behind it.

use super::behind::Named;
use super::event_time::EventTime;
use super::expand::Expand;
use super::filter::Filter;
use super::late::LateRow;
use super::project::Project;
use super::sharded::{self, Parallelism};
use super::split_times::SplitTimes;
use super::watermark::Watermark;
use super::{Failure, Late, Operator, OperatorError, Out};
use crate::chunk::{Chunk, Split, SplitId, kept};
use crate::connector::Appended;
use crate::job::OperatorStatus;
use crate::kernel::Evaluator;
use crate::origins::{Origin, Runs};
use crate::state::{Frozen, Limits, OperatorState, StateError, StateFiles, StateWriter};
use crate::window;
use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use lw_formats::arrow_schema;
use lw_graph::{JobGraph, Node, NodeId, Operator as Op, OperatorUid, Schema, Windowing};
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;

/// The compiled operators of one job.
pub struct Flow {
    pub upstream: Upstream,
    pub downstream: Downstream,
}

/// A job graph that this runtime cannot execute. The planner refuses such scripts first; seeing one is a bug.
#[derive(Debug, Error)]
pub enum FlowError {
    #[error("the job graph is not a tree from one source to its sinks")]
    NotATree,
    #[error("the job graph has two watermarks for one source")]
    TwoWatermarks,
    #[error("this version does not run {name} yet (operator {uid})")]
    NotYet {
        name: &'static str,
        uid: OperatorUid,
    },
    #[error("this version does not run {0} yet")]
    NoOperator(&'static str),
    #[error("an expression cannot be compiled: {0}")]
    Expression(String),
}

/// The operators without state, from the source on.
pub struct Upstream {
    /// In the order of the graph; a step stands behind its input.
    steps: Vec<Step>,
    /// What leaves it, in the order of the graph's nodes that take it.
    outlets: usize,
}

struct Step {
    /// `None` for the source.
    input: Option<usize>,
    work: Work,
    /// How many steps it is the input of.
    consumers: usize,
}

enum Work {
    Source,
    Watermark(Box<Watermark>),
    Operator(Box<dyn Operator>),
    Outlet,
}

/// What a chunk became at one outlet.
#[derive(Clone)]
pub struct Processed {
    pub chunk: Chunk,
    /// Records that failed, by where they came from.
    pub failures: Vec<Failure>,
}

/// The operators from the first ones with state to the sinks.
pub struct Downstream {
    steps: Vec<Below>,
    /// By outlet of [`Upstream`]: where what leaves it goes.
    outlets: Vec<To>,
    sinks: usize,
}

struct Below {
    /// Name of its state.
    uid: Option<OperatorUid>,
    operator: Box<dyn Operator>,
    /// What it is given.
    input: Named,
    consumers: Vec<To>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    /// A step of [`Downstream`].
    Step(usize),
    /// A sink, in the order of the graph's.
    Sink(usize),
}

/// What came of chunks behind the first operators with state.
#[derive(Default)]
pub struct AtSinks {
    /// By sink.
    pub rows: Vec<Vec<Chunk>>,
    /// By sink: the rows that came too late to be in what it gets.
    pub late: Vec<Vec<LateRow>>,
}

/// Makes the operator of a node that has state, over columns of the first schema.
type Make<'a> = &'a dyn Fn(&Schema, &Node) -> Result<Box<dyn Operator>, FlowError>;

impl Flow {
    /// Compiles the operators between the source and the sinks of `graph`.
    ///
    /// # Errors
    /// [`FlowError`] when the graph is no tree or an expression has no kernel.
    pub fn compile(graph: &JobGraph) -> Result<Flow, FlowError> {
        Flow::parallel(graph, &Parallelism::none())
    }

    /// As [`Flow::compile`]; several instances share the work of an operator with keys.
    ///
    /// # Errors
    /// As [`Flow::compile`].
    pub fn parallel(graph: &JobGraph, parallelism: &Parallelism) -> Result<Flow, FlowError> {
        Flow::compile_with(graph, &|input, node| {
            sharded::instances(input, node, parallelism, stateful)
        })
    }

    pub(super) fn compile_with(graph: &JobGraph, make: Make<'_>) -> Result<Flow, FlowError> {
        let shape = Shape::of(graph)?;
        Ok(Flow {
            upstream: Upstream::compile(graph, &shape)?,
            downstream: Downstream::compile(graph, &shape, make)?,
        })
    }
}

/// What is where in a graph.
struct Shape {
    /// By node: it has state, or something with state stands before it.
    is_below: Vec<bool>,
}

impl Shape {
    fn of(graph: &JobGraph) -> Result<Shape, FlowError> {
        let mut is_below: Vec<bool> = Vec::with_capacity(graph.nodes.len());
        let mut is_input = vec![false; graph.nodes.len()];
        for (id, node) in graph.nodes.iter().enumerate() {
            let input = match (id, node.inputs.as_slice()) {
                (1.., []) if matches!(node.operator, Op::Source(_)) => {
                    return Err(FlowError::NoOperator("a job over several tables"));
                }
                (_, [_, _, ..]) => return Err(FlowError::NoOperator(several(&node.operator))),
                (0, []) => None,
                (_, [input]) if *input < id => Some(*input),
                _ => return Err(FlowError::NotATree),
            };
            let is_source = matches!(node.operator, Op::Source(_));
            if is_source != (id == 0) {
                return Err(FlowError::NotATree);
            }
            is_below.push(
                node.operator.state().is_some() || input.is_some_and(|input| is_below[input]),
            );
            input.into_iter().for_each(|input| is_input[input] = true);
        }
        // What ends in nothing would be computed for nobody, and its failures would be nobody's.
        let ends = graph.nodes.iter().zip(&is_input);
        let mut ends =
            ends.map(|(node, is_input)| matches!(node.operator, Op::Sink(_)) != *is_input);
        if !ends.all(|fits| fits) {
            return Err(FlowError::NotATree);
        }
        let watermarks = graph.nodes.iter();
        let watermarks = watermarks.filter(|node| matches!(node.operator, Op::Watermark { .. }));
        if watermarks.count() > 1 {
            return Err(FlowError::TwoWatermarks);
        }
        Ok(Shape { is_below })
    }

    /// The edges between the parts, and those to sinks: where one leaves [`Upstream`], by the node that takes it.
    fn outlets<'a>(&'a self, graph: &'a JobGraph) -> impl Iterator<Item = (NodeId, &'a Node)> {
        let nodes = graph.nodes.iter().enumerate();
        nodes.filter(|(id, node)| {
            let mut inputs = node.inputs.iter();
            let takes = self.is_below[*id] || matches!(node.operator, Op::Sink(_));
            takes && inputs.any(|input| !self.is_below[*input])
        })
    }
}

impl Upstream {
    fn compile(graph: &JobGraph, shape: &Shape) -> Result<Upstream, FlowError> {
        // Only what has state looks at them.
        let marks = shape.is_below.contains(&true);
        let mut steps: Vec<Step> = Vec::new();
        // By node: its step.
        let mut at: Vec<usize> = Vec::with_capacity(graph.nodes.len());
        let mut add = |input: Option<usize>, work: Work| {
            input
                .into_iter()
                .for_each(|input: usize| steps[input].consumers += 1);
            steps.push(Step {
                input,
                work,
                consumers: 0,
            });
            steps.len() - 1
        };
        let mut outlets = 0;
        let leaves: BTreeSet<NodeId> = shape.outlets(graph).map(|(id, _)| id).collect();
        for (id, node) in graph.nodes.iter().enumerate() {
            let mut input = node.inputs.first().map(|input| at[*input]);
            if leaves.contains(&id) {
                if let Some(guard) = event_time(graph, id) {
                    input = Some(add(input, Work::Operator(Box::new(guard))));
                }
                outlets += 1;
                at.push(add(input, Work::Outlet));
            } else if shape.is_below[id] {
                at.push(usize::MAX);
            } else {
                let work = match &node.operator {
                    Op::Source(_) => Work::Source,
                    Op::Watermark {
                        column,
                        expression,
                        idle,
                    } => {
                        let watermark = Watermark::new(*column, compile(expression)?, marks);
                        Work::Watermark(Box::new(watermark.with_idle(*idle)))
                    }
                    _ => Work::Operator(stateless(&graph.nodes[node.inputs[0]].schema, node)?),
                };
                if let Some(guard) = event_time(graph, id) {
                    input = Some(add(input, Work::Operator(Box::new(guard))));
                }
                at.push(add(input, work));
            }
        }
        Ok(Upstream { steps, outlets })
    }

    /// How many outlets it has.
    pub fn outlets(&self) -> usize {
        self.outlets
    }

    fn watermark(&self) -> Option<&Watermark> {
        self.steps.iter().find_map(|step| match &step.work {
            Work::Watermark(watermark) => Some(&**watermark),
            _ => None,
        })
    }

    fn watermark_mut(&mut self) -> Option<&mut Watermark> {
        self.steps.iter_mut().find_map(|step| match &mut step.work {
            Work::Watermark(watermark) => Some(&mut **watermark),
            _ => None,
        })
    }

    /// Goes on where a checkpoint stood: how far event time had come in each split, and the last mark.
    pub fn go_on_from(&mut self, times: SplitTimes, marked: Option<i64>) {
        if let Some(watermark) = self.watermark_mut() {
            watermark.go_on_from(times, marked);
        }
    }

    /// These splits are read to the end of a bounded read; said before the next chunk.
    pub fn done(&mut self, done: BTreeSet<SplitId>) {
        if let Some(watermark) = self.watermark_mut() {
            watermark.times_mut().done(done);
        }
    }

    /// When the batches that the next rows are of were appended.
    pub fn appended(&mut self, appended: Vec<Appended>) {
        if let Some(watermark) = self.watermark_mut() {
            watermark.appended(appended);
        }
    }

    /// How far event time has come in each split; `None` where there is no event time.
    pub fn times(&self) -> Option<&SplitTimes> {
        self.watermark().map(Watermark::times)
    }

    /// The last mark, milliseconds since 1970.
    pub fn marked(&self) -> Option<i64> {
        self.watermark()?.marked()
    }

    /// Greatest event time seen, milliseconds since 1970.
    pub fn max_event_time(&self) -> Option<i64> {
        self.watermark()?.max_event_time()
    }

    /// Takes a chunk through all operators: what it became at each outlet, in their order.
    ///
    /// # Errors
    /// When arrays do not fit together, which is a bug.
    pub fn process(&mut self, chunk: Chunk) -> Result<Vec<Processed>, OperatorError> {
        let mut outlets = Vec::with_capacity(self.outlets);
        // By step: what it gave, with all that failed on the way, and how many still want it.
        let mut given: Vec<Option<(Processed, usize)>> = Vec::with_capacity(self.steps.len());
        let mut source = Some(chunk);
        for step in &mut self.steps {
            let current = match step.input {
                None => Processed {
                    chunk: source.take().expect("there is one source"),
                    failures: Vec::new(),
                },
                Some(input) => take(&mut given[input]),
            };
            let current = match &mut step.work {
                Work::Source => current,
                Work::Watermark(watermark) => apply(&mut **watermark, current)?,
                Work::Operator(operator) => apply(&mut **operator, current)?,
                Work::Outlet => {
                    outlets.push(settled(current)?);
                    given.push(None);
                    continue;
                }
            };
            given.push(Some((current, step.consumers)));
        }
        Ok(outlets)
    }
}

/// What a step gave, for one of those that want it.
fn take(given: &mut Option<(Processed, usize)>) -> Processed {
    match given.take() {
        Some((last, 1)) => last,
        Some((shared, wanted)) => {
            *given = Some((shared.clone(), wanted - 1));
            shared
        }
        None => unreachable!("a step has as many consumers as were counted"),
    }
}

/// Takes a chunk through an operator without state.
fn apply(operator: &mut dyn Operator, current: Processed) -> Result<Processed, OperatorError> {
    let mut out = Out {
        failures: current.failures,
        ..Out::default()
    };
    operator.data(0, current.chunk, &mut out)?;
    let chunk = out.chunks.pop();
    assert!(
        out.chunks.is_empty() && out.late.is_empty(),
        "C3: an operator without state gives one chunk for one, and finds nothing late"
    );
    Ok(Processed {
        chunk: chunk.expect("C3: an operator without state gives one chunk for one"),
        failures: out.failures,
    })
}

/// A record fails as a whole, and once: rows of it can fail in different steps, and the first failure is the record's.
fn settled(mut done: Processed) -> Result<Processed, ArrowError> {
    if !done.failures.is_empty() {
        let mut failed = BTreeSet::new();
        let place = |failure: &Failure| (failure.origin.split, failure.origin.offset);
        done.failures
            .retain(|failure| failed.insert(place(failure)));
        done.chunk = kept(done.chunk, |at| !failed.contains(&(at.split, at.offset)))?;
        done.failures.sort_by_key(place);
    }
    Ok(done)
}

impl Downstream {
    fn compile(graph: &JobGraph, shape: &Shape, make: Make<'_>) -> Result<Downstream, FlowError> {
        let (mut steps, mut sinks): (Vec<Below>, usize) = (Vec::new(), 0);
        // By node: where it stands.
        let mut at: Vec<Option<To>> = Vec::with_capacity(graph.nodes.len());
        for (id, node) in graph.nodes.iter().enumerate() {
            let to = match &node.operator {
                Op::Sink(_) => {
                    sinks += 1;
                    Some(To::Sink(sinks - 1))
                }
                _ if !shape.is_below[id] => None,
                operator => {
                    let uid = operator.state();
                    let operator = match uid {
                        Some(_) => make(&graph.nodes[node.inputs[0]].schema, node)?,
                        None => stateless(&graph.nodes[node.inputs[0]].schema, node)?,
                    };
                    let consumers = Vec::new();
                    steps.push(Below {
                        uid,
                        operator,
                        input: Named::of(graph, node.inputs[0]),
                        consumers,
                    });
                    Some(To::Step(steps.len() - 1))
                }
            };
            let input = node.inputs.first().and_then(|input| at[*input]);
            if let (Some(to), Some(To::Step(input))) = (to, input) {
                steps[input].consumers.push(to);
            }
            at.push(to);
        }
        let outlets = shape.outlets(graph);
        let outlets = outlets.map(|(id, _)| at[id].expect("it takes what leaves the source task"));
        Ok(Downstream {
            outlets: outlets.collect(),
            steps,
            sinks,
        })
    }

    /// Whether nothing of the job has state.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// By sink: the outlet that what it gets comes from.
    pub fn outlet_of_sinks(&self) -> Vec<usize> {
        let mut of_sinks = vec![0; self.sinks];
        for outlet in 0..self.outlets.len() {
            for sink in self.sinks_behind(outlet) {
                of_sinks[sink] = outlet;
            }
        }
        of_sinks
    }

    /// The sinks that get what leaves an outlet, in no order.
    pub fn sinks_behind(&self, outlet: usize) -> Vec<usize> {
        self.sinks_of(self.outlets[outlet])
    }

    fn sinks_of(&self, to: To) -> Vec<usize> {
        let (mut open, mut sinks) = (vec![to], Vec::new());
        while let Some(to) = open.pop() {
            match to {
                To::Step(step) => open.extend(&self.steps[step].consumers),
                To::Sink(sink) => sinks.push(sink),
            }
        }
        sinks
    }

    /// Whether an outlet leads straight to a sink.
    pub fn is_sink(&self, outlet: usize) -> bool {
        matches!(self.outlets[outlet], To::Sink(_))
    }

    /// An empty account of what comes to the sinks.
    pub fn at_sinks(&self) -> AtSinks {
        AtSinks {
            rows: vec![Vec::new(); self.sinks],
            late: vec![Vec::new(); self.sinks],
        }
    }

    /// Takes what left an outlet to the sinks.
    ///
    /// # Errors
    /// What the job cannot go on after.
    pub fn take(
        &mut self,
        outlet: usize,
        chunk: Chunk,
        at: &mut AtSinks,
    ) -> Result<(), OperatorError> {
        self.hand(self.outlets[outlet], chunk, at)
    }

    fn hand(&mut self, to: To, chunk: Chunk, at: &mut AtSinks) -> Result<(), OperatorError> {
        let step = match to {
            To::Sink(sink) => {
                if chunk.rows() > 0 {
                    at.rows[sink].push(chunk);
                }
                return Ok(());
            }
            To::Step(step) => step,
        };
        let (origins, splits) = (chunk.origins.clone(), chunk.splits.clone());
        let (columns, mut out) = (chunk.columns.clone(), Out::default());
        let Below {
            operator, input, ..
        } = &mut self.steps[step];
        let done = operator.data(0, chunk, &mut out);
        done.map_err(|error| named(error, input, &columns))?;
        if !out.late.is_empty() {
            let late = located(&out.late, origins.runs(), &splits);
            for sink in self.sinks_of(to) {
                at.late[sink].extend_from_slice(&late);
            }
        }
        self.hand_on(step, out, at)
    }

    fn hand_on(&mut self, step: usize, out: Out, at: &mut AtSinks) -> Result<(), OperatorError> {
        assert!(
            out.failures.is_empty(),
            "C4: behind state a row that fails ends the job, and is no dead letter"
        );
        for chunk in out.chunks.into_iter().filter(|chunk| !chunk.is_empty()) {
            for consumer in 0..self.steps[step].consumers.len() {
                self.hand(self.steps[step].consumers[consumer], chunk.clone(), at)?;
            }
        }
        Ok(())
    }

    /// The bounded input is at its end.
    ///
    /// # Errors
    /// As [`Downstream::take`].
    pub fn end(&mut self, at: &mut AtSinks) -> Result<(), OperatorError> {
        // An operator stands behind its input: it has all of it when its own turn comes.
        for step in 0..self.steps.len() {
            let mut out = Out::default();
            self.steps[step].operator.end(0, &mut out)?;
            self.hand_on(step, out, at)?;
        }
        Ok(())
    }

    /// What its operators have of the rows so far, by the names of their states. Of one that stands in `before`, and can go on from
    /// there, what changed since; operators of little memory are written as a whole.
    ///
    /// # Errors
    /// When a state cannot be written.
    pub(crate) fn freeze(
        &mut self,
        before: Option<&BTreeMap<OperatorUid, OperatorState>>,
        limits: &Limits,
    ) -> Result<Frozen, StateError> {
        let mut frozen = Frozen::new();
        for step in &mut self.steps {
            let Some(uid) = step.uid else { continue };
            let memory = step.operator.state_bytes();
            let before = before.and_then(|before| before.get(&uid));
            let goes_on = |before: &OperatorState| {
                limits.wants_changes(memory, before.bytes())
                    && before.goes_on(&step.operator.groups())
            };
            let mut to = match before.is_some_and(goes_on) {
                true => StateWriter::default().asking_for_changes(),
                false => StateWriter::default(),
            };
            step.operator.snapshot(&mut to)?;
            to.memory(memory);
            frozen.insert(uid, to);
        }
        Ok(frozen)
    }

    /// Goes on from states; an operator without one begins anew.
    ///
    /// # Errors
    /// When one cannot be understood, or is of an operator that is not here: it would be lost with the next checkpoint.
    pub(crate) fn restore(
        &mut self,
        states: &BTreeMap<OperatorUid, OperatorState>,
        from: &StateFiles,
    ) -> Result<(), StateError> {
        let known: BTreeSet<OperatorUid> = self.steps.iter().filter_map(|step| step.uid).collect();
        if let Some(uid) = states.keys().find(|uid| !known.contains(uid)) {
            return Err(StateError::Unclaimed(*uid));
        }
        for step in &mut self.steps {
            if let Some(state) = step.uid.and_then(|uid| states.get(&uid)) {
                step.operator.restore(&state.read(from)?)?;
            }
        }
        Ok(())
    }

    /// Memory that states take, by operator.
    pub(crate) fn sizes(&self) -> Vec<OperatorStatus> {
        let steps = self.steps.iter();
        let sizes = steps.filter_map(|step| {
            Some(OperatorStatus {
                uid: step.uid?.to_string(),
                state_bytes: step.operator.state_bytes() as u64,
            })
        });
        sizes.collect()
    }
}

/// Says what a row is of that could not be computed.
fn named(error: OperatorError, input: &Named, columns: &RecordBatch) -> OperatorError {
    match error {
        OperatorError::Row { row, code, message } => {
            let of = input.row(columns, row);
            let message = match of.is_empty() {
                true => message,
                false => format!("{message} ({of})"),
            };
            OperatorError::Row { row, code, message }
        }
        other => other,
    }
}

/// By where the rows came from.
fn located(late: &[Late], runs: Option<&Runs>, splits: &[Split]) -> Vec<LateRow> {
    let origins: Vec<Origin> = runs.map_or_else(Vec::new, |runs| runs.iter().collect());
    let record = |at: &Origin| (splits[at.split as usize].clone(), at.offset);
    let late = late.iter().map(|late| LateRow {
        record: origins.get(late.row).map(record),
        event_time: late.event_time,
        watermark: late.watermark,
    });
    late.collect()
}

/// What an operator of several inputs is written as.
fn several(operator: &Op) -> &'static str {
    match operator {
        Op::Union => "UNION ALL",
        Op::WindowJoin { .. } => "a window join",
        _ => "an operator of several inputs",
    }
}

fn compile(expression: &lw_graph::Expr) -> Result<Evaluator, FlowError> {
    Evaluator::new(expression).map_err(|error| FlowError::Expression(error.to_string()))
}

/// An operator whose rows stand each for itself.
fn stateless(input: &Schema, node: &Node) -> Result<Box<dyn Operator>, FlowError> {
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
        Op::WindowAssign { .. } => return stateful(input, node),
        Op::Union => return Err(FlowError::NoOperator("UNION ALL")),
        Op::Unnest { .. } => return Err(FlowError::NoOperator("UNNEST")),
        Op::CurrentWatermark => return Err(FlowError::NoOperator("CURRENT_WATERMARK")),
        Op::Source(_)
        | Op::Sink(_)
        | Op::Watermark { .. }
        | Op::WindowAggregate { .. }
        | Op::WindowRank { .. }
        | Op::WindowJoin { .. }
        | Op::Over { .. } => return Err(FlowError::NotATree),
    })
}

/// An operator with state.
fn stateful(input: &Schema, node: &Node) -> Result<Box<dyn Operator>, FlowError> {
    let (name, uid) = node.operator.windowed().ok_or(FlowError::NotATree)?;
    let operator = window::operator(arrow_schema(input), node)?;
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
