//! The operators with state, and what stands behind them.

use super::shape::Shape;
use super::valve::{Input, Kind, Valve};
use super::{AtOutlets, FlowError, LateRow, Make, Ports, inputs, stateless};
use crate::chunk::{Chunk, Mark, Split};
use crate::job::OperatorStatus;
use crate::operator::behind::Named;
use crate::operator::{Late, Operator, OperatorError, Out};
use crate::origins::{Origin, Runs};
use crate::pool::Pool;
use crate::state::{Frozen, Limits, OperatorState, StateError, StateFiles, StateWriter};
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use lw_formats::arrow_schema;
use lw_graph::{JobGraph, Operator as Op, OperatorUid};
use std::collections::{BTreeMap, BTreeSet};

/// The operators from the first ones with state to the sinks.
pub struct Downstream {
    steps: Vec<Below>,
    /// By outlet of [`super::Upstream`]: where what leaves it goes.
    outlets: Vec<To>,
    sinks: usize,
}

struct Below {
    /// Name of its state.
    uid: Option<OperatorUid>,
    work: Work,
    /// What each of its inputs gives.
    inputs: Vec<Named>,
    /// By input: nothing has come there for too long.
    idle: Vec<bool>,
    consumers: Vec<To>,
    /// How far event time had come behind it, in the checkpoint that it goes on from.
    restored: Option<i64>,
}

enum Work {
    Operator(Box<dyn Operator>),
    /// The rows of all inputs as they come.
    Union {
        ports: Ports,
        /// As what a manifest knows how far event time had come there.
        name: String,
        schema: SchemaRef,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    /// An input of a step of [`Downstream`].
    Step(usize, usize),
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

impl Downstream {
    pub(super) fn compile(
        graph: &JobGraph,
        shape: &Shape,
        make: Make<'_>,
    ) -> Result<Downstream, FlowError> {
        let (mut steps, mut sinks): (Vec<Below>, usize) = (Vec::new(), 0);
        // By node: the step or the sink that it is.
        let mut at: Vec<Option<To>> = Vec::with_capacity(graph.nodes.len());
        for (id, node) in graph.nodes.iter().enumerate() {
            let to = match &node.operator {
                Op::Sink(_) => {
                    sinks += 1;
                    Some(To::Sink(sinks - 1))
                }
                _ if !shape.is_below[id] => None,
                operator => {
                    let columns = inputs(graph, node);
                    let uid = operator.state();
                    let work = match (operator, uid) {
                        (Op::Union, _) => Work::Union {
                            ports: Ports::new(Kind::Union, columns.len()),
                            name: Valve::behind(graph, id, &shape.names()).name().to_string(),
                            schema: arrow_schema(&node.schema),
                        },
                        (_, Some(_)) => Work::Operator(make(&columns, node)?),
                        (_, None) => Work::Operator(stateless(&columns, node)?),
                    };
                    let named = node.inputs.iter().map(|input| Named::of(graph, *input));
                    steps.push(Below {
                        uid,
                        work,
                        inputs: named.collect(),
                        idle: vec![false; columns.len()],
                        consumers: Vec::new(),
                        restored: None,
                    });
                    Some(To::Step(steps.len() - 1, 0))
                }
            };
            for (port, input) in node.inputs.iter().enumerate() {
                if let (Some(to), Some(To::Step(input, _))) = (to, at[*input]) {
                    steps[input].consumers.push(to.port(port));
                }
            }
            at.push(to);
        }
        let outlets = shape.outlets(graph).map(|(id, port)| {
            let to = at[id].expect("it takes what leaves the source task");
            to.port(port)
        });
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

    /// By sink: the outlets that what it gets comes from.
    pub fn outlets_of_sinks(&self) -> Vec<Vec<usize>> {
        let mut of_sinks = vec![Vec::new(); self.sinks];
        for outlet in 0..self.outlets.len() {
            for sink in self.sinks_behind(outlet) {
                of_sinks[sink].push(outlet);
            }
        }
        of_sinks
    }

    /// The sinks that get what leaves an outlet.
    pub fn sinks_behind(&self, outlet: usize) -> BTreeSet<usize> {
        self.sinks_of(self.outlets[outlet])
    }

    fn sinks_of(&self, to: To) -> BTreeSet<usize> {
        let (mut open, mut sinks) = (vec![to], BTreeSet::new());
        while let Some(to) = open.pop() {
            match to {
                To::Step(step, _) => open.extend(&self.steps[step].consumers),
                To::Sink(sink) => {
                    sinks.insert(sink);
                }
            }
        }
        sinks
    }

    /// Outlets that lead to one sink, or to one that another of them leads to; several each.
    pub(super) fn outlets_together(&self) -> Vec<Vec<usize>> {
        let mut groups: Vec<(BTreeSet<usize>, Vec<usize>)> = Vec::new();
        for outlet in 0..self.outlets.len() {
            let (mut sinks, mut outlets) = (self.sinks_behind(outlet), vec![outlet]);
            let (same, others): (Vec<_>, Vec<_>) = groups
                .into_iter()
                .partition(|(known, _)| !known.is_disjoint(&sinks));
            for (known, members) in same {
                sinks.extend(known);
                outlets.extend(members);
            }
            outlets.sort_unstable();
            groups = others;
            groups.push((sinks, outlets));
        }
        let groups = groups.into_iter().map(|(_, outlets)| outlets);
        groups.filter(|outlets| outlets.len() > 1).collect()
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

    /// Hands on what a step or an outlet gave. What is waited for again is so before its marks, what is not any more behind them.
    fn hand(&mut self, to: To, mut chunk: Chunk, at: &mut AtSinks) -> Result<(), OperatorError> {
        let idle = chunk.idle.take();
        if idle == Some(false) {
            self.idles(to, false, &chunk, at)?;
        }
        let last = (idle == Some(true)).then(|| chunk.clone());
        if !chunk.is_empty() {
            self.hand_rows(to, chunk, at)?;
        }
        last.map_or(Ok(()), |last| self.idles(to, true, &last, at))
    }

    /// What comes to an input is waited for again, or not any more; so is what its step gives, if that is so of all its inputs. `like` is
    /// a chunk that came there.
    fn idles(
        &mut self,
        to: To,
        idle: bool,
        like: &Chunk,
        at: &mut AtSinks,
    ) -> Result<(), OperatorError> {
        let To::Step(step, port) = to else {
            return Ok(());
        };
        let Below {
            work,
            idle: by_port,
            ..
        } = &mut self.steps[step];
        let was_idle = by_port.iter().all(|idle| *idle);
        by_port[port] = idle;
        let is_idle = by_port.iter().all(|idle| *idle);
        let mut out = Out::default();
        match work {
            Work::Operator(operator) => operator.idles(port, idle, &mut out)?,
            Work::Union { ports, schema, .. } => {
                if let Some(watermark) = ports.idles(port, idle) {
                    let none = RecordBatch::new_empty(schema.clone());
                    let mark = Mark { row: 0, watermark };
                    out.emit(Chunk::derived(none, vec![mark], like.splits.clone()));
                }
            }
        }
        if was_idle && !is_idle {
            self.tell_idle(step, false, like, at)?;
        }
        self.hand_on(step, (out, like.came), at)?;
        match is_idle && !was_idle {
            true => self.tell_idle(step, true, like, at),
            false => Ok(()),
        }
    }

    fn tell_idle(
        &mut self,
        step: usize,
        idle: bool,
        like: &Chunk,
        at: &mut AtSinks,
    ) -> Result<(), OperatorError> {
        for consumer in 0..self.steps[step].consumers.len() {
            self.idles(self.steps[step].consumers[consumer], idle, like, at)?;
        }
        Ok(())
    }

    fn hand_rows(&mut self, to: To, chunk: Chunk, at: &mut AtSinks) -> Result<(), OperatorError> {
        let (step, port) = match to {
            To::Sink(sink) => {
                if chunk.rows() > 0 {
                    at.rows[sink].push(chunk);
                }
                return Ok(());
            }
            To::Step(step, port) => (step, port),
        };
        let (origins, splits) = (chunk.origins.clone(), chunk.splits.clone());
        let came = chunk.came;
        let (columns, mut out) = (chunk.columns.clone(), Out::default());
        let Below { work, inputs, .. } = &mut self.steps[step];
        let done = match work {
            Work::Operator(operator) => operator.data(port, chunk, &mut out),
            Work::Union { ports, schema, .. } => united(ports, port, chunk, schema, &mut out),
        };
        done.map_err(|error| named(error, &inputs[port], &columns))?;
        if !out.late.is_empty() {
            let late = located(&out.late, origins.runs(), &splits);
            for sink in self.sinks_of(to) {
                at.late[sink].extend_from_slice(&late);
            }
        }
        self.hand_on(step, (out, came), at)
    }

    /// What an operator gave comes when that came which let it.
    fn hand_on(
        &mut self,
        step: usize,
        (out, came): (Out, i64),
        at: &mut AtSinks,
    ) -> Result<(), OperatorError> {
        assert!(
            out.failures.is_empty(),
            "C4: behind state a row that fails ends the job, and is no dead letter"
        );
        let chunks = out.chunks.into_iter().map(|chunk| chunk.come(came));
        for chunk in chunks.filter(|chunk| !chunk.is_empty()) {
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
        // An operator stands behind its inputs: it has all of them when its own turn comes.
        for step in 0..self.steps.len() {
            for port in 0..self.steps[step].inputs.len() {
                let mut out = Out::default();
                if let Work::Operator(operator) = &mut self.steps[step].work {
                    operator.end(port, &mut out)?;
                }
                // No time passes behind the last row.
                self.hand_on(step, (out, 0), at)?;
            }
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
        for (uid, operator) in self.with_state() {
            let memory = operator.state_bytes();
            let before = before.and_then(|before| before.get(&uid));
            let goes_on = |before: &OperatorState| {
                limits.wants_changes(memory, before.bytes()) && before.goes_on(&operator.groups())
            };
            let to = match before.is_some_and(goes_on) {
                true => StateWriter::default().asking_for_changes(),
                false => StateWriter::default(),
            };
            frozen.insert(uid, written(operator, to)?);
        }
        Ok(frozen)
    }

    /// All that operators have whose changes cannot be written behind `states`, from which they went on: these are of other key
    /// groups, as after a start with another number of shards.
    ///
    /// # Errors
    /// When a state cannot be written.
    pub(crate) fn freeze_displaced(
        &mut self,
        states: &BTreeMap<OperatorUid, OperatorState>,
        limits: &Limits,
    ) -> Result<Frozen, StateError> {
        let mut frozen = Frozen::new();
        for (uid, operator) in self.with_state() {
            let is_displaced = |state: &OperatorState| {
                limits.wants_changes(operator.state_bytes(), state.bytes())
                    && !state.goes_on(&operator.groups())
            };
            if states.get(&uid).is_some_and(is_displaced) {
                frozen.insert(uid, written(operator, StateWriter::default())?);
            }
        }
        Ok(frozen)
    }

    fn with_state(&mut self) -> impl Iterator<Item = (OperatorUid, &mut (dyn Operator + 'static))> {
        let steps = self.steps.iter_mut();
        steps.filter_map(|step| match (step.uid, &mut step.work) {
            (Some(uid), Work::Operator(operator)) => Some((uid, &mut **operator)),
            _ => None,
        })
    }

    /// Goes on from states, which are read by `pool`; an operator without one begins anew.
    ///
    /// # Errors
    /// When one cannot be understood, or is of an operator that is not here: it would be lost with the next checkpoint.
    pub(crate) fn restore(
        &mut self,
        states: &BTreeMap<OperatorUid, OperatorState>,
        from: &StateFiles,
        pool: &Pool,
    ) -> Result<(), StateError> {
        let known: BTreeSet<OperatorUid> = self.steps.iter().filter_map(|step| step.uid).collect();
        if let Some(uid) = states.keys().find(|uid| !known.contains(uid)) {
            return Err(StateError::Unclaimed(*uid));
        }
        for step in &mut self.steps {
            let state = step.uid.and_then(|uid| states.get(&uid));
            if let (Some(state), Work::Operator(operator)) = (state, &mut step.work) {
                let state = state.read(from, pool)?;
                step.restored = state.watermark();
                operator.restore(&state)?;
            }
        }
        Ok(())
    }

    /// Lets steps know how event time stood at their inputs; `outlets` says it of what leaves the operators without state.
    pub fn go_on_from(&mut self, outlets: &AtOutlets) {
        let mut at: Vec<Vec<Input>> = Vec::new();
        let inputs = self.steps.iter().map(|step| step.inputs.len());
        at.extend(inputs.map(|inputs| vec![Input::default(); inputs]));
        for (to, input) in self.outlets.iter().zip(&outlets.outlets) {
            if let To::Step(step, port) = to {
                at[*step][*port] = *input;
            }
        }
        for (step, below) in self.steps.iter_mut().enumerate() {
            below.idle = at[step].iter().map(|input| input.idle).collect();
            let marked = match (&mut below.work, below.uid) {
                (Work::Union { ports, name, .. }, _) => {
                    let known = outlets.meetings.marked.get(name).copied();
                    ports.go_on_from(at[step].clone(), known);
                    ports.marked()
                }
                (Work::Operator(_), Some(_)) => below.restored,
                (Work::Operator(_), None) => at[step][0].marked,
            };
            let idle = below.idle.iter().all(|idle| *idle);
            for consumer in &below.consumers {
                if let To::Step(next, port) = consumer {
                    at[*next][*port] = Input { marked, idle };
                }
            }
        }
    }

    /// Memory that states take, and how many shards they are in, by operator.
    pub(crate) fn sizes(&self) -> Vec<OperatorStatus> {
        let sizes = self.steps.iter().filter_map(|step| match &step.work {
            Work::Operator(operator) => Some(OperatorStatus {
                uid: step.uid?.to_string(),
                state_bytes: operator.state_bytes() as u64,
                shards: operator.groups().len(),
            }),
            Work::Union { .. } => None,
        });
        sizes.collect()
    }
}

/// What an operator writes down of the rows so far.
fn written(operator: &mut dyn Operator, mut to: StateWriter) -> Result<StateWriter, StateError> {
    let memory = operator.state_bytes();
    operator.snapshot(&mut to)?;
    to.memory(memory);
    Ok(to)
}

impl To {
    fn port(self, port: usize) -> To {
        match self {
            To::Step(step, _) => To::Step(step, port),
            To::Sink(sink) => To::Sink(sink),
        }
    }
}

/// Hands an input's rows on, with the marks of all inputs.
fn united(
    ports: &mut Ports,
    port: usize,
    chunk: Chunk,
    schema: &SchemaRef,
    out: &mut Out,
) -> Result<(), OperatorError> {
    let marks = ports.pass(port, &chunk.marks);
    let columns = RecordBatch::try_new(schema.clone(), chunk.columns.columns().to_vec())?;
    out.emit(Chunk::with(columns, marks, chunk.origins, chunk.splits));
    Ok(())
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
