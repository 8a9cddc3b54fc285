//! The operators without state: rows of the log, each of its record.

use super::shape::{ScanId, Shape};
use super::valve::Valve;
use super::{FlowError, compile, event_time, inputs, stateless};
use crate::chunk::{Chunk, Mark, Origins, Split, SplitId, kept};
use crate::connector::Appended;
use crate::operator::current_watermark::CurrentWatermark;
use crate::operator::split_times::SplitTimes;
use crate::operator::union::merged;
use crate::operator::watermark::Watermark;
use crate::operator::{Failure, Operator, OperatorError, Out};
use crate::origins::{Origin, Runs};
use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, SchemaRef};
use lw_formats::arrow_schema;
use lw_graph::{JobGraph, Operator as Op};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The operators without state, from the scans on.
pub struct Upstream {
    /// In the order of the graph; a step stands behind its inputs.
    steps: Vec<Step>,
    scans: Vec<Scan>,
    /// What leaves it, in the order of the graph's nodes that take it, and of their inputs.
    outlets: usize,
    /// Outlets that lead to one sink: what fails on the way to one of them is in none.
    together: Vec<Vec<usize>>,
    /// Chunks are cut at their marks: behind state, rows of one scan come together that have gone different ways, and their order is
    /// that of the marks that they came before.
    cuts: bool,
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
    /// How far its scans had come is asked after a restart.
    Outlet(Valve),
    /// An input of an operator that has several: it is told of all scans that come to it.
    Port(Valve, SchemaRef),
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

/// What a chunk became at one outlet.
#[derive(Clone)]
pub struct Processed {
    pub chunk: Chunk,
    /// Records that failed, by where they came from.
    pub failures: Vec<Failure>,
}

/// What rows of one scan became, by outlet; `None` where that scan does not lead.
pub struct Round(Vec<Option<Processed>>);

/// Which records came to some outlets, and which failed on the way.
#[derive(Default)]
pub struct Landed {
    pub rows: Runs,
    pub failures: Vec<Failure>,
}

impl Landed {
    /// What came of later rows.
    pub fn add(&mut self, done: &Processed) {
        self.rows.extend(rows_of_log(&done.chunk));
        self.failures.extend_from_slice(&done.failures);
    }
}

impl Round {
    /// What came to each outlet.
    pub fn outlets(&self) -> impl Iterator<Item = (usize, &Processed)> {
        let outlets = self.0.iter().enumerate();
        outlets.filter_map(|(outlet, done)| Some((outlet, done.as_ref()?)))
    }

    pub fn into_outlets(self) -> impl Iterator<Item = (usize, Processed)> {
        let outlets = self.0.into_iter().enumerate();
        outlets.filter_map(|(outlet, done)| Some((outlet, done?)))
    }

    pub fn get(&self, outlet: usize) -> Option<&Processed> {
        self.0[outlet].as_ref()
    }

    pub fn take(&mut self, outlet: usize) -> Option<Processed> {
        self.0[outlet].take()
    }

    /// The records that came to any of these outlets; `None` when the scan leads to none of them.
    pub fn landed(&self, outlets: &[usize]) -> Option<Landed> {
        let mut given = outlets.iter().filter_map(|outlet| self.get(*outlet));
        let first = given.next()?;
        let mut landed = Landed::default();
        landed.add(first);
        let mut others = given.peekable();
        if others.peek().is_some() {
            let mut records: BTreeSet<Origin> = landed.rows.iter().collect();
            let mut failed: BTreeMap<Origin, Failure> = BTreeMap::new();
            let by_origin = |failure: Failure| (failure.origin, failure);
            failed.extend(landed.failures.drain(..).map(by_origin));
            for other in others {
                records.extend(rows_of_log(&other.chunk).iter());
                let new = other.failures.iter().cloned().map(by_origin);
                new.for_each(|(origin, failure)| {
                    failed.entry(origin).or_insert(failure);
                });
            }
            landed.rows = records.into_iter().collect();
            landed.failures = failed.into_values().collect();
        }
        Some(landed)
    }
}

pub(super) fn rows_of_log(chunk: &Chunk) -> &Runs {
    let runs = chunk.origins.runs();
    runs.expect("they are rows of the log up to here")
}

/// Puts steps one behind the other.
#[derive(Default)]
struct Steps(Vec<Step>);

impl Steps {
    fn add(&mut self, inputs: Vec<usize>, work: Work) -> usize {
        inputs
            .iter()
            .for_each(|input| self.0[*input].consumers += 1);
        self.0.push(Step {
            inputs,
            work,
            consumers: 0,
            in_head: false,
        });
        self.0.len() - 1
    }
}

impl Upstream {
    pub(super) fn compile(
        graph: &JobGraph,
        shape: &Shape,
        together: Vec<Vec<usize>>,
    ) -> Result<Upstream, FlowError> {
        let marks = shape.wants_marks(graph);
        let mut steps = Steps::default();
        let mut scans = Vec::new();
        let mut outlets = 0;
        // By node: its step.
        let mut at: Vec<usize> = Vec::with_capacity(graph.nodes.len());
        for (id, node) in graph.nodes.iter().enumerate() {
            let takes = shape.is_below[id] || matches!(node.operator, Op::Sink(_));
            let mut last = usize::MAX;
            if takes {
                for input in &node.inputs {
                    if shape.is_below[*input] {
                        continue;
                    }
                    let mut input_step = at[*input];
                    if let Some(guard) = event_time(graph, id) {
                        input_step = steps.add(vec![input_step], Work::Operator(Box::new(guard)));
                    }
                    let work = match node.inputs.len() {
                        1 => Work::Outlet(Valve::new(&shape.scans[*input])),
                        _ => {
                            let schema = arrow_schema(&graph.nodes[*input].schema);
                            Work::Port(Valve::new(&shape.scans[id]), schema)
                        }
                    };
                    last = steps.add(vec![input_step], work);
                    outlets += 1;
                }
                at.push(last);
                continue;
            }
            let mut of_inputs: Vec<usize> = node.inputs.iter().map(|input| at[*input]).collect();
            let schema = || arrow_schema(&node.schema);
            let valve = || Valve::new(&shape.scans[id]);
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
                Op::CurrentWatermark => {
                    let operator = Box::new(CurrentWatermark::new(schema()));
                    Work::CurrentWatermark(operator, valve())
                }
                Op::Union => Work::Union(valve(), schema()),
                _ => Work::Operator(stateless(&inputs(graph, node), node)?),
            };
            if let Some(guard) = event_time(graph, id) {
                of_inputs = vec![steps.add(of_inputs, Work::Operator(Box::new(guard)))];
            }
            at.push(steps.add(of_inputs, work));
            if let Op::Source(spec) = &node.operator {
                scans.push(Scan {
                    topics: spec.topics(),
                    head: vec![at[id]],
                    schema: schema(),
                    marked: None,
                    is_done: false,
                });
            }
            if let Op::Watermark { .. } = &node.operator {
                let scan = shape.scans[id].first().expect("a watermark is of a scan");
                scans[*scan].head = head(&steps.0, at[id]);
                scans[*scan].schema = schema();
            }
        }
        let Steps(mut steps) = steps;
        for step in scans.iter().flat_map(|scan| &scan.head) {
            steps[*step].in_head = true;
        }
        Ok(Upstream {
            steps,
            scans,
            outlets,
            together,
            cuts: shape.meets_again,
        })
    }

    /// How many outlets it has.
    pub fn outlets(&self) -> usize {
        self.outlets
    }

    /// The scans that it begins with, as a manifest calls them, and their topics.
    pub(crate) fn scans(&self) -> impl ExactSizeIterator<Item = (&str, &[String])> {
        self.scans.iter().map(|scan| {
            let name = scan.topics.first().map_or("", String::as_str);
            (name, &*scan.topics)
        })
    }

    /// The topics from whose records comes what leaves each of the outlets.
    pub(super) fn topics_of_outlets(&self) -> Vec<BTreeSet<String>> {
        let valves = self.steps.iter().filter_map(|step| match &step.work {
            Work::Outlet(valve) | Work::Port(valve, _) => Some(valve),
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

    /// Goes on where a checkpoint stood: how far event time had come in each split, and the last mark of a scan, by its first topic.
    pub fn go_on_from(
        &mut self,
        times: &SplitTimes,
        splits: &[Split],
        marked: impl Fn(&str) -> Option<i64>,
    ) {
        for scan in 0..self.scans.len() {
            let own = times.only(|split| self.is_of(scan, splits, split));
            let name = self.scans[scan].topics.first();
            let marked = name.and_then(|name| marked(name));
            self.scans[scan].marked = marked;
            if let Some(watermark) = self.watermark_mut(scan) {
                watermark.go_on_from(own, marked);
            }
        }
        let by_scan = self.by_scan();
        for step in &mut self.steps {
            match &mut step.work {
                Work::Union(valve, _) | Work::Port(valve, _) | Work::Outlet(valve) => {
                    valve.go_on_from(&by_scan);
                }
                Work::CurrentWatermark(operator, valve) => {
                    valve.go_on_from(&by_scan);
                    operator.go_on_from(valve.marked());
                }
                Work::Source | Work::Watermark(_) | Work::Operator(_) => {}
            }
        }
    }

    /// By outlet: how far event time has come there.
    pub fn marked_at_outlets(&self) -> Vec<Option<i64>> {
        let at = |step: &Step| match &step.work {
            Work::Outlet(valve) | Work::Port(valve, _) => Some(valve.marked()),
            _ => None,
        };
        self.steps.iter().filter_map(at).collect()
    }

    fn by_scan(&self) -> Vec<Option<i64>> {
        self.scans.iter().map(|scan| scan.marked).collect()
    }

    /// Whether a split is one of a scan's.
    fn is_of(&self, scan: ScanId, splits: &[Split], split: SplitId) -> bool {
        let topics = &self.scans[scan].topics;
        let of = |topic: &String| splits[split as usize].topic[..] == **topic;
        self.scans.len() == 1 || topics.iter().any(of)
    }

    /// These splits are read to the end of a bounded read; said before the next chunk.
    pub fn done(&mut self, done: &BTreeSet<SplitId>, splits: &[Split]) {
        for scan in 0..self.scans.len() {
            let mut own = (0..splits.len() as SplitId).filter(|id| self.is_of(scan, splits, *id));
            self.scans[scan].is_done = own.all(|split| done.contains(&split));
            if let Some(watermark) = self.watermark_mut(scan) {
                watermark.times_mut().done(done.clone());
            }
        }
    }

    /// Scans that a bounded read has nothing more of, while it has of others: their event time has ended, and they hold nothing back.
    ///
    /// # Errors
    /// As [`Upstream::process`].
    pub fn end_scans(&mut self, splits: &Arc<[Split]>) -> Result<Vec<Round>, OperatorError> {
        let mut rounds = Vec::new();
        if self.scans.iter().all(|scan| scan.is_done) {
            return Ok(rounds);
        }
        for scan in 0..self.scans.len() {
            let Scan {
                schema,
                marked,
                is_done,
                ..
            } = &mut self.scans[scan];
            if !*is_done || *marked == Some(Mark::END) {
                continue;
            }
            let mark = Mark {
                row: 0,
                watermark: Mark::END,
            };
            let none = RecordBatch::new_empty(schema.clone());
            let chunk = Chunk::with(
                none,
                vec![mark],
                Origins::Of(Runs::default()),
                splits.clone(),
            );
            let end = Processed {
                chunk,
                failures: Vec::new(),
            };
            rounds.push(self.behind_head(scan, end)?);
        }
        Ok(rounds)
    }

    fn watermarks_of_scans(&self) -> impl Iterator<Item = &Watermark> {
        self.steps.iter().filter_map(|step| match &step.work {
            Work::Watermark(watermark) => Some(&**watermark),
            _ => None,
        })
    }

    fn watermark_mut(&mut self, scan: ScanId) -> Option<&mut Watermark> {
        let last = *self.scans[scan].head.last().expect("a scan is a step");
        match &mut self.steps[last].work {
            Work::Watermark(watermark) => Some(watermark),
            _ => None,
        }
    }

    /// When the batches that the next rows are of were appended.
    pub fn appended(&mut self, appended: &[Appended]) {
        for scan in 0..self.scans.len() {
            if let Some(watermark) = self.watermark_mut(scan) {
                watermark.appended(appended.to_vec());
            }
        }
    }

    /// How far event time has come in each split; `None` where there is no event time.
    pub fn times(&self) -> Option<Cow<'_, SplitTimes>> {
        let mut of_scans = self.watermarks_of_scans().map(Watermark::times);
        let first = Cow::Borrowed(of_scans.next()?);
        Some(of_scans.fold(first, |all, times| Cow::Owned(all.with(times))))
    }

    /// The last mark, milliseconds since 1970, where there is one scan.
    pub fn marked(&self) -> Option<i64> {
        match self.scans.as_slice() {
            [scan] => scan.marked,
            _ => None,
        }
    }

    /// The last mark of each scan, by its first topic, where there are several.
    pub fn marks(&self) -> BTreeMap<String, i64> {
        if self.scans.len() == 1 {
            return BTreeMap::new();
        }
        let scans = self.scans.iter();
        let marked = scans.filter_map(|scan| Some((scan.topics.first()?.clone(), scan.marked?)));
        marked.collect()
    }

    /// Greatest event time seen, milliseconds since 1970.
    pub fn max_event_time(&self) -> Option<i64> {
        let scans = self.watermarks_of_scans();
        scans.filter_map(Watermark::max_event_time).max()
    }

    /// Takes a chunk of a scan through all operators that it leads to. Where it has to be cut, one round comes behind the other.
    ///
    /// # Errors
    /// When arrays do not fit together, which is a bug.
    pub fn process(&mut self, chunk: Chunk) -> Result<Vec<Round>, OperatorError> {
        let scan = self.scan_of(&chunk);
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
        let by_scan = self.by_scan();
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
                (Work::Outlet(_), done) => {
                    outlets.push(done.map(settled).transpose()?);
                    None
                }
                (Work::Port(valve, schema), done) => {
                    let (_, marks) = &read;
                    outlets.push(match done {
                        Some(done) => Some(at_port(valve, scan, settled(done)?, &by_scan)),
                        None if valve.has(scan) => {
                            let marks = marks.iter().map(|mark| Mark { row: 0, ..*mark });
                            let marks = valve.pass(scan, marks, &by_scan);
                            (!marks.is_empty()).then(|| only(marks, schema, &splits))
                        }
                        None => None,
                    });
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
        let mut round = Round(outlets);
        for outlets in &self.together {
            fail_together(&mut round, outlets)?;
        }
        Ok(round)
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

/// A record fails as a whole, and once: rows of it can fail in different steps, and the first failure is the record's.
fn settled(mut done: Processed) -> Result<Processed, ArrowError> {
    if !done.failures.is_empty() {
        let mut failed = BTreeSet::new();
        done.failures
            .retain(|failure| failed.insert(failure.origin));
        done.chunk = kept(done.chunk, |at| !failed.contains(at))?;
        done.failures.sort_by_key(|failure| failure.origin);
    }
    Ok(done)
}

/// What comes to an input of an operator that has several, with the marks of all its scans.
fn at_port(
    valve: &mut Valve,
    scan: ScanId,
    mut done: Processed,
    by_scan: &[Option<i64>],
) -> Processed {
    let marks = std::mem::take(&mut done.chunk.marks);
    done.chunk.marks = valve.pass(scan, marks.into_iter(), by_scan);
    done
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

/// A record that failed on the way to one of the outlets has failed for all of them: it is a dead letter of the sinks behind, and
/// state took nothing of it in.
fn fail_together(round: &mut Round, outlets: &[usize]) -> Result<(), ArrowError> {
    let given = outlets.iter().filter_map(|outlet| round.get(*outlet));
    if given.map(|done| done.failures.len()).sum::<usize>() == 0 {
        return Ok(());
    }
    let Landed { failures, .. } = round.landed(outlets).expect("some have failed there");
    let failed: BTreeSet<Origin> = failures.iter().map(|failure| failure.origin).collect();
    for outlet in outlets {
        if let Some(done) = round.0[*outlet].take() {
            round.0[*outlet] = Some(Processed {
                chunk: kept(done.chunk, |at| !failed.contains(at))?,
                failures: failures.clone(),
            });
        }
    }
    Ok(())
}

/// The parts of a chunk between its marks, each with the mark behind it. A record is not cut: a mark inside of one stands behind it.
fn cut(whole: Processed) -> Vec<Processed> {
    let Processed {
        chunk,
        mut failures,
    } = whole;
    let origins: Vec<Origin> = rows_of_log(&chunk).iter().collect();
    let rows = chunk.rows();
    let (mut from, mut pieces) = (0, Vec::new());
    let mut marks = chunk.marks.iter().peekable();
    loop {
        let mut to = marks.peek().map_or(rows, |mark| mark.row.max(from));
        while (1..rows).contains(&to) && origins[to - 1] == origins[to] {
            to += 1;
        }
        let mut last = None;
        while let Some(mark) = marks.next_if(|mark| mark.row <= to) {
            last = Some(Mark {
                row: to - from,
                ..*mark
            });
        }
        let part = Chunk::with(
            chunk.columns.slice(from, to - from),
            last.into_iter().collect(),
            Origins::Of(origins[from..to].iter().copied().collect()),
            chunk.splits.clone(),
        );
        pieces.push(Processed {
            chunk: part,
            failures: std::mem::take(&mut failures),
        });
        from = to;
        if from == rows && marks.peek().is_none() {
            return pieces;
        }
    }
}
