//! How far event time has come where several inputs meet: as far as with the one that is farthest behind, and nowhere before each of
//! them has said something. An input that is idle is not waited for.
//!
//! Flink has two rules for that, and so have we ([`Kind`]):
//!
//! | | a union: channels of one input | an operator of several inputs |
//! |---|---|---|
//! | is again, and behind what was told | not waited for until it has caught up | waited for |
//! | the last one becomes idle | what the farthest has come to is told, if the last was waited for | nothing |
//!
//! (`StatusWatermarkValve` and `CombinedWatermarkStatus`.) Among operators without state event time is known by scan, and a chunk moves
//! one scan on ([`Valve`]). Behind state it is known by input ([`Ports`]). An operator of several inputs behind state that is given rows
//! of the log is told, at each of these inputs, how far *all* its scans have come: rows of one scan may come to it on two ways, the one
//! way's chunk behind the other's, and are late or in time as if record came behind record.

use super::shape::ScanId;
use crate::chunk::{Mark, push_mark};
use lw_graph::{JobGraph, NodeId, Operator as Op};
use std::collections::BTreeMap;

/// One of those that meet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Input {
    /// How far event time has come there.
    pub(crate) marked: Option<i64>,
    /// Nothing has come there for too long.
    pub(crate) idle: bool,
}

/// As what inputs meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The inputs of a union.
    Union,
    /// Those of another operator.
    Inputs,
}

/// Where inputs meet.
#[derive(Clone, Debug)]
pub(crate) struct Ports {
    kind: Kind,
    inputs: Vec<Input>,
    marked: Option<i64>,
}

impl Ports {
    pub(crate) fn new(kind: Kind, ports: usize) -> Ports {
        Ports {
            kind,
            inputs: vec![Input::default(); ports],
            marked: None,
        }
    }

    /// Goes on where a checkpoint stood; `marked` where that is known.
    pub(crate) fn go_on_from(&mut self, inputs: Vec<Input>, marked: Option<i64>) {
        self.inputs = inputs;
        self.marked = marked;
        self.marked = marked.max(self.least());
    }

    pub(crate) fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    pub(crate) fn marked(&self) -> Option<i64> {
        self.marked
    }

    /// None of them is waited for.
    pub(crate) fn is_idle(&self) -> bool {
        self.inputs.iter().all(|input| input.idle)
    }

    /// An input has come so far; how far all have, where that is farther than before.
    pub(crate) fn raise(&mut self, port: usize, watermark: i64) -> Option<i64> {
        let input = &mut self.inputs[port];
        input.marked = input.marked.max(Some(watermark));
        self.rise(self.least())
    }

    /// An input has come to its end, idle or not.
    pub(crate) fn end(&mut self, port: usize) -> Option<i64> {
        self.inputs[port].idle = false;
        self.raise(port, Mark::END)
    }

    /// An input is idle, or is waited for again; how far all have come, where that is farther than before.
    pub(crate) fn idles(&mut self, port: usize, idle: bool) -> Option<i64> {
        if self.inputs[port].idle == idle {
            return None;
        }
        self.inputs[port].idle = idle;
        let to = match (self.kind, idle) {
            // A union hears of one that is again when it says how far it has come.
            (Kind::Union, false) => None,
            (Kind::Union, true) if self.is_idle() => {
                let was_waited_for = self.inputs[port].marked == self.marked;
                let all = self.inputs.iter().map(|input| input.marked);
                all.max().flatten().filter(|_| was_waited_for)
            }
            _ => self.least(),
        };
        self.rise(to)
    }

    /// The marks of a chunk of one input, as they are for all of them.
    pub(super) fn pass(&mut self, port: usize, marks: &[Mark]) -> Vec<Mark> {
        let mut passed = Vec::new();
        for mark in marks {
            if let Some(watermark) = self.raise(port, mark.watermark) {
                push_mark(&mut passed, mark.row, watermark);
            }
        }
        passed
    }

    /// The least of those that are waited for, and none where one is none.
    fn least(&self) -> Option<i64> {
        let is_waited_for = |input: &&Input| match self.kind {
            Kind::Union => !input.idle && input.marked >= self.marked,
            Kind::Inputs => !input.idle,
        };
        let waited_for = self.inputs.iter().filter(is_waited_for);
        waited_for.map(|input| input.marked).min().flatten()
    }

    fn rise(&mut self, to: Option<i64>) -> Option<i64> {
        let rose = to.filter(|to| self.marked.is_none_or(|marked| marked < *to));
        self.marked = self.marked.max(rose);
        rose
    }
}

/// How far event time has come at an edge of the graph, by how far it has come in the scans.
#[derive(Clone, Debug)]
pub(super) struct Valve {
    /// What meets there; edges of one name have come equally far.
    name: String,
    of: Of,
}

#[derive(Clone, Debug)]
enum Of {
    Scan(ScanId, Input),
    Several(Vec<Valve>, Ports),
}

impl Valve {
    /// Behind a node; `names` are the scans' as a manifest calls them.
    pub(super) fn behind(graph: &JobGraph, node: NodeId, names: &[&str]) -> Valve {
        let of = &graph.nodes[node];
        let kind = match of.operator {
            Op::Source(_) => {
                let sources = graph.nodes[..node].iter();
                let scan = sources.filter(|node| matches!(node.operator, Op::Source(_)));
                let scan = scan.count();
                return Valve {
                    name: names[scan].to_string(),
                    of: Of::Scan(scan, Input::default()),
                };
            }
            Op::Union => Kind::Union,
            _ => Kind::Inputs,
        };
        let mut inputs: Vec<Valve> = Vec::new();
        for input in &of.inputs {
            let valve = Valve::behind(graph, *input, names);
            // Edges that say the same say it once.
            if inputs.iter().all(|known| known.name != valve.name) {
                inputs.push(valve);
            }
        }
        if let [_] = inputs.as_slice() {
            return inputs.remove(0);
        }
        let of_inputs: Vec<&str> = inputs.iter().map(|input| &*input.name).collect();
        let of_inputs = of_inputs.join(", ");
        let ports = Ports::new(kind, inputs.len());
        Valve {
            name: match kind {
                Kind::Union => format!("union({of_inputs})"),
                Kind::Inputs => format!("both({of_inputs})"),
            },
            of: Of::Several(inputs, ports),
        }
    }

    /// What a manifest calls it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn marked(&self) -> Option<i64> {
        match &self.of {
            Of::Scan(_, input) => input.marked,
            Of::Several(_, ports) => ports.marked(),
        }
    }

    /// Nothing that comes there is waited for.
    pub(super) fn is_idle(&self) -> bool {
        match &self.of {
            Of::Scan(_, input) => input.idle,
            Of::Several(_, ports) => ports.is_idle(),
        }
    }

    /// Whether rows of a scan come there.
    pub(super) fn has(&self, scan: ScanId) -> bool {
        match &self.of {
            Of::Scan(of, _) => *of == scan,
            Of::Several(inputs, _) => inputs.iter().any(|input| input.has(scan)),
        }
    }

    /// Adds how far event time has come where scans meet, by the names of these places.
    pub(super) fn tell(&self, marked: &mut BTreeMap<String, i64>) {
        if let Of::Several(inputs, ports) = &self.of {
            inputs.iter().for_each(|input| input.tell(marked));
            marked.extend(ports.marked().map(|to| (self.name.clone(), to)));
        }
    }

    /// Goes on where a checkpoint stood; `met` is as [`Valve::tell`] told it, and has what cannot be told from the scans alone.
    pub(super) fn go_on_from(&mut self, by_scan: &[Input], met: &BTreeMap<String, i64>) {
        let met_here = met.get(&self.name).copied();
        match &mut self.of {
            Of::Scan(scan, input) => *input = by_scan[*scan],
            Of::Several(valves, ports) => {
                valves
                    .iter_mut()
                    .for_each(|valve| valve.go_on_from(by_scan, met));
                let inputs = valves.iter().map(|valve| Input {
                    marked: valve.marked(),
                    idle: valve.is_idle(),
                });
                ports.go_on_from(inputs.collect(), met_here);
            }
        }
    }

    /// The scans have come so far.
    pub(super) fn follow(&mut self, by_scan: &[Input]) {
        match &mut self.of {
            Of::Scan(scan, input) => *input = by_scan[*scan],
            Of::Several(valves, ports) => {
                for (port, valve) in valves.iter_mut().enumerate() {
                    valve.follow(by_scan);
                    // One that is idle from now on has been waited for until now.
                    let idle = valve.is_idle();
                    if !idle {
                        ports.idles(port, false);
                    }
                    if let Some(to) = valve.marked() {
                        ports.raise(port, to);
                    }
                    if idle {
                        ports.idles(port, true);
                    }
                }
            }
        }
    }

    /// The marks of a chunk of one scan, as they are here; `by_scan` is how far all were before it.
    pub(super) fn pass(
        &mut self,
        scan: ScanId,
        marks: impl Iterator<Item = Mark>,
        by_scan: &[Input],
    ) -> Vec<Mark> {
        let mut scans = by_scan.to_vec();
        let mut passed = Vec::new();
        let mut marked = self.marked();
        let mut follow = |valve: &mut Valve, scans: &[Input], row: usize| {
            valve.follow(scans);
            if let Some(to) = valve
                .marked()
                .filter(|to| marked.is_none_or(|marked| marked < *to))
            {
                marked = Some(to);
                push_mark(&mut passed, row, to);
            }
        };
        follow(self, &scans, 0);
        for mark in marks {
            scans[scan].marked = scans[scan].marked.max(Some(mark.watermark));
            follow(self, &scans, mark.row);
        }
        passed
    }
}
