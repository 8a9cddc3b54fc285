//! The steps of the operators without state, from the nodes of a graph.

use super::super::clock::Clock;
use super::super::shape::Shape;
use super::super::valve::Valve;
use super::super::{FlowError, compile, event_time, inputs, lookup, stateless};
use super::{Scan, Step, Upstream, Work};
use crate::lookup::Slot;
use crate::operator::current_watermark::CurrentWatermark;
use crate::operator::watermark::Watermark;
use lw_formats::arrow_schema;
use lw_graph::{JobGraph, NodeId, Operator as Op};
use std::collections::BTreeMap;

struct Compiler<'a> {
    graph: &'a JobGraph,
    shape: &'a Shape,
    slots: &'a BTreeMap<NodeId, Slot>,
    /// Of the scans, as a manifest calls them.
    names: Vec<&'a str>,
    /// Some operator asks for event time.
    marks: bool,
    steps: Vec<Step>,
    scans: Vec<Scan>,
    outlets: usize,
    /// By node: its step.
    at: Vec<usize>,
}

impl Upstream {
    pub(in super::super) fn compile(
        graph: &JobGraph,
        shape: &Shape,
        together: Vec<Vec<usize>>,
        slots: &BTreeMap<NodeId, Slot>,
    ) -> Result<Upstream, FlowError> {
        let mut compiler = Compiler {
            graph,
            shape,
            slots,
            names: shape.names(),
            marks: shape.wants_marks(graph),
            steps: Vec::new(),
            scans: Vec::new(),
            outlets: 0,
            at: Vec::with_capacity(graph.nodes.len()),
        };
        for id in 0..graph.nodes.len() {
            compiler.add(id)?;
        }
        let is_union = |id: &NodeId| matches!(graph.nodes[*id].operator, Op::Union);
        let unions = (0..graph.nodes.len()).filter(|id| shape.is_below[*id] && is_union(id));
        let below = unions.map(|id| compiler.valve(id)).collect();
        let Compiler {
            mut steps,
            scans,
            outlets,
            marks,
            ..
        } = compiler;
        for step in scans.iter().flat_map(|scan| &scan.head) {
            steps[*step].in_head = true;
        }
        let has_idle = graph.nodes.iter().any(|node| {
            let Op::Watermark { idle, .. } = &node.operator else {
                return false;
            };
            idle.is_some()
        });
        Ok(Upstream {
            is_timed: marks && has_idle && scans.len() > 1,
            steps,
            scans,
            outlets,
            below,
            together,
            cuts: shape.meets_again,
            appended: Vec::new(),
            clock: Clock::of(graph),
            now: 0,
        })
    }
}

impl Compiler<'_> {
    fn add(&mut self, id: NodeId) -> Result<(), FlowError> {
        let node = &self.graph.nodes[id];
        if self.shape.is_below[id] || matches!(node.operator, Op::Sink(_)) {
            let last = self.leave(id);
            self.at.push(last);
            return Ok(());
        }
        let mut of_inputs: Vec<usize> = node.inputs.iter().map(|input| self.at[*input]).collect();
        let work = self.work(id)?;
        if event_time(self.graph, id).is_some() {
            of_inputs = vec![self.guarded(id, of_inputs[0])];
        }
        let step = self.push(of_inputs, work);
        self.at.push(step);
        match &node.operator {
            Op::Source(spec) => self.scans.push(Scan {
                topics: spec.topics(),
                head: vec![step],
                schema: arrow_schema(&node.schema),
                marked: None,
                is_done: false,
            }),
            Op::Watermark { .. } => {
                let scan = self.shape.scans[id]
                    .first()
                    .expect("a watermark is of a scan");
                self.scans[*scan].head = head(&self.steps, step);
                self.scans[*scan].schema = arrow_schema(&node.schema);
            }
            _ => {}
        }
        Ok(())
    }

    /// The rows of the log that a node with state, or a sink, takes leave here. Gives the last of these steps.
    fn leave(&mut self, id: NodeId) -> usize {
        let mut last = usize::MAX;
        let graph = self.graph;
        for input in &graph.nodes[id].inputs {
            if self.shape.is_below[*input] {
                continue;
            }
            let step = self.guarded(id, self.at[*input]);
            let own = self.valve(*input);
            let work = match graph.nodes[id].inputs.len() {
                1 => Work::Outlet(own),
                _ => Work::Port {
                    all: self.valve(id),
                    own,
                    schema: arrow_schema(&graph.nodes[*input].schema),
                },
            };
            last = self.push(vec![step], work);
            self.outlets += 1;
        }
        last
    }

    fn work(&self, id: NodeId) -> Result<Work, FlowError> {
        let node = &self.graph.nodes[id];
        let schema = || arrow_schema(&node.schema);
        Ok(match &node.operator {
            Op::Source(_) => Work::Source,
            Op::Watermark {
                column,
                expression,
                idle,
            } => {
                let watermark = Watermark::new(*column, compile(expression)?, self.marks);
                // None ever is idle, but where time goes on from is known.
                let idle = idle.or(Clock::of(self.graph).map(|_| i64::MAX));
                Work::Watermark(Box::new(watermark.with_idle(idle)))
            }
            Op::CurrentWatermark => {
                let operator = Box::new(CurrentWatermark::new(schema()));
                Work::CurrentWatermark(operator, self.valve(id))
            }
            Op::Lookup(spec) => match self.slots.get(&id) {
                Some(slot) => Work::Operator(Box::new(lookup(spec, slot, node)?)),
                None => return Err(FlowError::LookedUp(spec.table.name.clone())),
            },
            Op::Union => Work::Union(self.valve(id), schema()),
            _ => Work::Operator(stateless(&inputs(self.graph, node), node)?),
        })
    }

    /// The step before a node's own: where the node sorts rows by a time, one that sees to it that there is one.
    fn guarded(&mut self, id: NodeId, input: usize) -> usize {
        match event_time(self.graph, id) {
            Some(guard) => self.push(vec![input], Work::Operator(Box::new(guard))),
            None => input,
        }
    }

    fn valve(&self, id: NodeId) -> Valve {
        Valve::behind(self.graph, id, &self.names)
    }

    fn push(&mut self, inputs: Vec<usize>, work: Work) -> usize {
        for input in &inputs {
            self.steps[*input].consumers += 1;
        }
        self.steps.push(Step {
            inputs,
            work,
            consumers: 0,
            in_head: false,
        });
        self.steps.len() - 1
    }
}

/// The steps from a source to a step, in their order.
fn head(steps: &[Step], last: usize) -> Vec<usize> {
    let mut head = vec![last];
    while let Some(before) = head.last().and_then(|step| steps[*step].inputs.first()) {
        head.push(*before);
    }
    head.reverse();
    head
}
