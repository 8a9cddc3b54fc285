//! The operators without state: rows of the log, each of its record.

mod compile;
mod cut;
mod round;
mod times;

pub use round::{Landed, Processed, Round};
pub use times::{AtOutlets, Meetings};

use super::clock::Clock;
use super::covers;
use super::shape::ScanId;
use super::valve::{Input, Valve};
use crate::chunk::{Chunk, Mark, Origins, Split, SplitId};
use crate::connector::Appended;
use crate::operator::current_watermark::CurrentWatermark;
use crate::operator::union::merged;
use crate::operator::watermark::Watermark;
use crate::operator::{Operator, OperatorError, Out};
use crate::origins::Runs;
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use cut::cut;
use round::{fail_together, rows_of_log, settled};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The operators without state, from the scans on.
pub struct Upstream {
    /// In the order of the graph; a step stands behind its inputs.
    steps: Vec<Step>,
    scans: Vec<Scan>,
    /// What leaves it, in the order of the graph's nodes that take it, and of their inputs.
    outlets: usize,
    /// Unions behind state: how far event time has come there, for who goes on from a checkpoint.
    below: Vec<Valve>,
    /// Outlets that lead to one sink: what fails on the way to one of them is in none.
    together: Vec<Vec<usize>>,
    /// Chunks are cut at their marks: behind state, rows of one scan come together that have gone different ways, and their order is
    /// that of the marks that they came before.
    cuts: bool,
    /// There are several scans, and nothing waits for one that is asleep.
    is_timed: bool,
    /// When the batches of the poll were appended, where that is of any use.
    appended: Vec<Appended>,
    /// Time passes for an operator that forgets.
    clock: Option<Clock>,
    /// The moment at which came what is processed.
    now: i64,
}

struct Step {
    /// None of a source.
    inputs: Vec<usize>,
    work: Work,
    /// How many inputs of other steps it is.
    consumers: usize,
    /// It stands between a scan and its watermark.
    in_head: bool,
}

enum Work {
    Source,
    Watermark(Box<Watermark>),
    CurrentWatermark(Box<CurrentWatermark>, Valve),
    Operator(Box<dyn Operator>),
    Union(Valve, SchemaRef),
    /// How far its scans had come is asked after a restart, and whether they are waited for.
    Outlet(Valve),
    /// An input of an operator that has several.
    Port {
        /// It is told how far all scans have come that come to the operator.
        all: Valve,
        /// What comes to this input.
        own: Valve,
        schema: SchemaRef,
    },
}

struct Scan {
    topics: Vec<String>,
    /// The steps up to its watermark.
    head: Vec<usize>,
    /// Of what the head gives.
    schema: SchemaRef,
    marked: Option<i64>,
    /// A bounded read has nothing more of it.
    is_done: bool,
}

impl Scan {
    /// As a manifest calls it.
    fn name(&self) -> &str {
        self.topics.first().map_or("", String::as_str)
    }
}

impl Upstream {
    /// How many outlets it has.
    pub fn outlets(&self) -> usize {
        self.outlets
    }

    /// The scans that it begins with, as a manifest calls them, and their topics.
    pub(crate) fn scans(&self) -> impl ExactSizeIterator<Item = (&str, &[String])> {
        self.scans.iter().map(|scan| (scan.name(), &*scan.topics))
    }

    /// The topics from whose records comes what leaves each of the outlets.
    pub(super) fn topics_of_outlets(&self) -> Vec<BTreeSet<String>> {
        let valves = self.steps.iter().filter_map(|step| match &step.work {
            Work::Outlet(valve) | Work::Port { all: valve, .. } => Some(valve),
            _ => None,
        });
        let topics = valves.map(|valve| {
            let scans = self.scans.iter().enumerate();
            let own = scans.filter(|(scan, _)| valve.has(*scan));
            own.flat_map(|(_, scan)| scan.topics.iter().cloned())
                .collect()
        });
        topics.collect()
    }

    /// Whether a split is one of a scan's.
    fn is_of(&self, scan: ScanId, splits: &[Split], split: SplitId) -> bool {
        let topics = &self.scans[scan].topics;
        let of = |named: &String| covers(named, &splits[split as usize].topic);
        self.scans.len() == 1 || topics.iter().any(of)
    }

    /// Takes a chunk of a scan through all operators that it leads to. Where it has to be cut, one round comes behind the other.
    ///
    /// # Errors
    /// When arrays do not fit together, which is a bug.
    pub fn process(&mut self, chunk: Chunk) -> Result<Vec<Round>, OperatorError> {
        let scan = self.scan_of(&chunk);
        let Some(clock) = &mut self.clock else {
            return self.process_moment(scan, chunk);
        };
        let mut rounds = Vec::new();
        for chunk in clock.cut(&chunk) {
            rounds.extend(self.process_moment(scan, chunk)?);
        }
        Ok(rounds)
    }

    fn process_moment(&mut self, scan: ScanId, chunk: Chunk) -> Result<Vec<Round>, OperatorError> {
        self.now = chunk.came;
        match self.is_timed {
            true => self.process_by_time(scan, &chunk),
            false => self.process_rows(scan, chunk),
        }
    }

    fn process_rows(&mut self, scan: ScanId, chunk: Chunk) -> Result<Vec<Round>, OperatorError> {
        let mut current = Processed {
            chunk,
            failures: Vec::new(),
        };
        for step in &self.scans[scan].head {
            current = match &mut self.steps[*step].work {
                Work::Watermark(watermark) => apply(&mut **watermark, current)?,
                Work::Operator(operator) => apply(&mut **operator, current)?,
                _ => current,
            };
        }
        let pieces = match self.cuts {
            true => cut(settled(current)?),
            false => vec![current],
        };
        let pieces = pieces.into_iter();
        pieces
            .map(|piece| self.behind_head(scan, piece))
            .collect::<Result<_, _>>()
    }

    fn scan_of(&self, chunk: &Chunk) -> ScanId {
        if self.scans.len() == 1 {
            return 0;
        }
        let run = rows_of_log(chunk).runs().first();
        let split = run.expect("a source gives no empty chunk").split;
        let mut scans = 0..self.scans.len();
        let scan = scans.find(|scan| self.is_of(*scan, &chunk.splits, split));
        scan.expect("a source gives rows of its scans")
    }

    /// Takes what a scan's head gave through the other steps.
    fn behind_head(&mut self, scan: ScanId, piece: Processed) -> Result<Round, OperatorError> {
        let head = *self.scans[scan].head.last().expect("a scan is a step");
        let (by_scan, is_timed) = (self.by_scan(), self.is_timed);
        let read = (rows_of_log(&piece.chunk).clone(), piece.chunk.marks.clone());
        let splits = piece.chunk.splits.clone();
        let mut piece = Some(piece);
        let mut outlets = Vec::with_capacity(self.outlets);
        // By step: what it gave, with all that failed on the way, and how many still want it.
        let mut given: Vec<Option<(Processed, usize)>> = Vec::with_capacity(self.steps.len());
        for (id, step) in self.steps.iter_mut().enumerate() {
            if step.in_head {
                let here = piece.take_if(|_| id == head);
                given.push(here.map(|piece| (piece, step.consumers)));
                continue;
            }
            let mut current: Vec<Processed> = Vec::with_capacity(step.inputs.len());
            let of_inputs = step.inputs.iter();
            current.extend(of_inputs.filter_map(|input| take(&mut given[*input])));
            let done = match (&mut step.work, current.pop()) {
                (Work::Outlet(own), done) => {
                    let done = done.map(settled).transpose()?;
                    let idle = is_timed.then(|| follow(own, &by_scan)).flatten();
                    outlets.push(done.map(|done| done.which_is(idle)));
                    None
                }
                (Work::Port { all, own, schema }, done) => {
                    let idle = is_timed.then(|| follow(own, &by_scan)).flatten();
                    let done = match done {
                        Some(done) => Some(at_port(all, scan, settled(done)?, &by_scan)),
                        None if all.has(scan) => {
                            let marks = read.1.iter().map(|mark| Mark { row: 0, ..*mark });
                            let marks = all.pass(scan, marks, &by_scan);
                            let says_something = !marks.is_empty() || idle.is_some();
                            says_something.then(|| only(marks, schema, &splits))
                        }
                        None => None,
                    };
                    outlets.push(done.map(|done| done.which_is(idle)));
                    None
                }
                (_, None) => None,
                (Work::Union(valve, schema), Some(last)) => {
                    current.push(last);
                    let mut done = merged(current, &read, schema)?;
                    let marks = std::mem::take(&mut done.chunk.marks);
                    done.chunk.marks = valve.pass(scan, marks.into_iter(), &by_scan);
                    Some(done)
                }
                (Work::CurrentWatermark(operator, _), Some(done)) => {
                    Some(apply(&mut **operator, done)?)
                }
                (Work::Operator(operator), Some(done)) => Some(apply(&mut **operator, done)?),
                (Work::Source | Work::Watermark(_), Some(_)) => {
                    unreachable!("a scan's head has been passed")
                }
            };
            given.push(done.map(|done| (done, step.consumers)));
        }
        let last = read.1.last().map(|mark| mark.watermark);
        self.scans[scan].marked = self.scans[scan].marked.max(last);
        if is_timed {
            let by_scan = self.by_scan();
            let below = self.below.iter_mut();
            below.for_each(|valve| valve.follow(&by_scan));
        }
        let mut round = Round(outlets);
        for done in round.0.iter_mut().flatten() {
            done.chunk.came = self.now;
        }
        for outlets in &self.together {
            fail_together(&mut round, outlets)?;
        }
        Ok(round)
    }
}

/// What a step gave, for one of those that want it.
fn take(given: &mut Option<(Processed, usize)>) -> Option<Processed> {
    let (last, wanted) = given.take()?;
    if wanted > 1 {
        *given = Some((last.clone(), wanted - 1));
    }
    Some(last)
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

/// What comes to an input of an operator that has several, with the marks of all its scans.
fn at_port(valve: &mut Valve, scan: ScanId, mut done: Processed, by_scan: &[Input]) -> Processed {
    let marks = std::mem::take(&mut done.chunk.marks);
    done.chunk.marks = valve.pass(scan, marks.into_iter(), by_scan);
    done
}

/// Whether what comes to an outlet is waited for, where that changes.
fn follow(own: &mut Valve, by_scan: &[Input]) -> Option<bool> {
    let was_idle = own.is_idle();
    own.follow(by_scan);
    (own.is_idle() != was_idle).then(|| own.is_idle())
}

/// Marks without rows.
fn only(marks: Vec<Mark>, schema: &SchemaRef, splits: &Arc<[Split]>) -> Processed {
    let (none, origins) = (
        RecordBatch::new_empty(schema.clone()),
        Origins::Of(Runs::default()),
    );
    Processed {
        chunk: Chunk::with(none, marks, origins, splits.clone()),
        failures: Vec::new(),
    }
}
