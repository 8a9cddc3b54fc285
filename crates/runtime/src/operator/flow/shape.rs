//! What is where in a graph: which parts have state before them, and which scans lead where.

use super::FlowError;
use lw_graph::{JobGraph, Node, NodeId, Operator as Op};
use std::collections::BTreeSet;

/// A scan of a job, in the order of the graph's sources.
pub(super) type ScanId = usize;

pub(super) struct Shape {
    /// By node: it has state, or something with state stands before it.
    pub(super) is_below: Vec<bool>,
    /// By node: the scans whose rows come to it.
    pub(super) scans: Vec<BTreeSet<ScanId>>,
    /// By scan: its topics.
    pub(super) topics: Vec<Vec<String>>,
    /// Behind state rows come together that one scan has sent on two ways.
    pub(super) meets_again: bool,
}

/// An edge of the graph: the node that takes, and which of its inputs it is.
pub(super) type Edge = (NodeId, usize);

impl Shape {
    pub(super) fn of(graph: &JobGraph) -> Result<Shape, FlowError> {
        let mut shape = Shape {
            is_below: Vec::with_capacity(graph.nodes.len()),
            scans: Vec::with_capacity(graph.nodes.len()),
            topics: Vec::new(),
            meets_again: false,
        };
        let mut is_input = vec![false; graph.nodes.len()];
        for (id, node) in graph.nodes.iter().enumerate() {
            if !has_its_inputs(node) || node.inputs.iter().any(|input| *input >= id) {
                return Err(FlowError::NotAGraph);
            }
            shape.add(node)?;
            node.inputs.iter().for_each(|input| is_input[*input] = true);
        }
        // What ends in nothing would be computed for nobody, and its failures would be nobody's.
        let mut ends = graph.nodes.iter().zip(&is_input);
        if !ends.all(|(node, is_input)| matches!(node.operator, Op::Sink(_)) != *is_input) {
            return Err(FlowError::NotAGraph);
        }
        shape.check_watermarks(graph)?;
        shape.check_topics()?;
        Ok(shape)
    }

    fn add(&mut self, node: &Node) -> Result<(), FlowError> {
        let mut inputs = node.inputs.iter();
        let is_below = node.operator.state().is_some() || inputs.any(|input| self.is_below[*input]);
        let mut scans = BTreeSet::new();
        if let Op::Source(spec) = &node.operator {
            scans.insert(self.topics.len());
            self.topics.push(spec.topics());
        }
        for input in &node.inputs {
            let again = !scans.is_disjoint(&self.scans[*input]);
            self.meets_again |= again && is_below && matches!(node.operator, Op::Union);
            scans.extend(&self.scans[*input]);
        }
        self.is_below.push(is_below);
        self.scans.push(scans);
        Ok(())
    }

    /// A watermark is of one scan, which has one, and of its own rows.
    fn check_watermarks(&self, graph: &JobGraph) -> Result<(), FlowError> {
        let mut marked = BTreeSet::new();
        for (id, node) in graph.nodes.iter().enumerate() {
            if !matches!(node.operator, Op::Watermark { .. }) {
                continue;
            }
            let one = self.scans[id].len() == 1 && !self.is_below[id];
            if !one || !self.scans[id].iter().all(|scan| marked.insert(*scan)) {
                return Err(FlowError::TwoWatermarks);
            }
        }
        Ok(())
    }

    fn check_topics(&self) -> Result<(), FlowError> {
        let mut seen = BTreeSet::new();
        for topics in &self.topics {
            let topics: BTreeSet<&String> = topics.iter().collect();
            if let Some(topic) = topics.into_iter().find(|topic| !seen.insert(*topic)) {
                return Err(FlowError::ScannedTwice(topic.clone()));
            }
        }
        Ok(())
    }

    /// The scans as a manifest calls them: by their first topics.
    pub(super) fn names(&self) -> Vec<&str> {
        let topics = self.topics.iter();
        let names = topics.map(|topics| topics.first().map_or("", String::as_str));
        names.collect()
    }

    /// Whether an operator asks for event time.
    pub(super) fn wants_marks(&self, graph: &JobGraph) -> bool {
        let mut nodes = graph.nodes.iter();
        let asks = nodes.any(|node| matches!(node.operator, Op::CurrentWatermark));
        asks || self.is_below.contains(&true)
    }

    /// The edges between the parts, and those to sinks: where rows leave the operators without state.
    pub(super) fn outlets<'a>(&'a self, graph: &'a JobGraph) -> impl Iterator<Item = Edge> + 'a {
        let nodes = graph.nodes.iter().enumerate();
        nodes.flat_map(move |(id, node)| {
            let takes = self.is_below[id] || matches!(node.operator, Op::Sink(_));
            let ports = node.inputs.iter().enumerate();
            let of_node = ports.filter(move |(_, input)| takes && !self.is_below[**input]);
            of_node.map(move |(port, _)| (id, port))
        })
    }
}

/// Whether it has as many inputs as its operator takes.
fn has_its_inputs(node: &Node) -> bool {
    match (&node.operator, node.inputs.len()) {
        (Op::Source(_), inputs) => inputs == 0,
        (Op::Union, inputs) => inputs > 1,
        (Op::WindowJoin { .. }, inputs) => inputs == 2,
        (_, inputs) => inputs == 1,
    }
}
