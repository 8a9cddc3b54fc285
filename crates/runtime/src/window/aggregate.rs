//! Aggregates of windows: one row for each key and window that had a row, when the window fires.
//!
//! Rows are added to the slice that they are in ([`super::shape`]), whose keys and intermediate results are dropped whole when its
//! last window has fired. A window fires as soon as the watermark has reached its last millisecond, and its rows are in the order
//! of their keys; of windows that fire at one mark the one that ends first is first.
//!
//! - TUMBLE, and a window that was attached below: a slice is a window.
//! - HOP: a window is the sum of its slices, added from the last one back, as Flink adds them.
//! - CUMULATE: what a window's slices came to so far is kept under its start; each slice is added to it when it ends.
//!
//! A row is late when the last window of its slice has fired. One that came behind its slice's first window, but not the last, is
//! in those that are still to fire, and only there.

use super::kept::{self, Kept};
use super::output::Output;
use super::place::{Slice, Windows};
use crate::aggregate::groups::Groups;
use crate::aggregate::key::{KeyCodec, Keys};
use crate::aggregate::{Aggregates, Calls};
use crate::chunk::{Chunk, Mark, Split};
use crate::operator::{FlowError, Late, Operator, OperatorError, Out, Places};
use crate::state::{Changed, StateError, StateReader, StateWriter};
use arrow_array::ArrayRef;
use arrow_schema::SchemaRef;
use lw_graph::{AggregateCall, WindowProperty, Windowing};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) struct WindowAggregate {
    windows: Windows,
    keys: Vec<usize>,
    codec: KeyCodec,
    calls: Calls,
    output: Output,

    slices: BTreeMap<Slice, Part>,
    /// Of CUMULATE: what came in the slices that ended, by the windows' start.
    sums: BTreeMap<i64, Part>,
    /// Slices and sums of the last checkpoint that are gone.
    gone: [Vec<Slice>; 2],
    /// [`i64::MIN`] for none.
    watermark: i64,
    /// The end of the last window that fired.
    done: i64,
    /// The least watermark at which something fires.
    next: i64,
    /// How many rows there were.
    rows: u64,
    splits: Arc<[Split]>,
}

/// The keys of a slice or window, and what their rows came to.
struct Part {
    groups: Groups,
    aggregates: Aggregates,
    changed: Changed,
}

/// Where a row is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Slice(Slice),
    /// Its slice has ended: the sum of a CUMULATE window, by its start.
    Sum(i64),
}

/// Rows of a chunk that were looked at, and not added yet.
#[derive(Default)]
struct Pending {
    by_target: Vec<(Target, Vec<u32>)>,
    index: BTreeMap<Target, usize>,
    recent: usize,
}

/// What fired at a mark.
struct Fired<'a> {
    /// The output's columns, by window.
    windows: Vec<Vec<ArrayRef>>,
    mark: i64,
    places: Option<&'a mut Places>,
}

impl Pending {
    fn push(&mut self, target: Target, row: u32) {
        if self
            .by_target
            .get(self.recent)
            .is_none_or(|(of, _)| *of != target)
        {
            self.recent = *self.index.entry(target).or_insert(self.by_target.len());
            if self.recent == self.by_target.len() {
                self.by_target.push((target, Vec::new()));
            }
        }
        self.by_target[self.recent].1.push(row);
    }
}

impl Part {
    fn new(codec: &KeyCodec, calls: &Calls) -> Part {
        Part {
            groups: codec.groups(),
            aggregates: calls.start(),
            changed: Changed::All,
        }
    }

    /// Adds what another came to.
    fn merge(&mut self, other: &Part, codec: &KeyCodec) {
        let all = other.all();
        let keys = codec.encode(&codec.decode(&other.groups, &all), all.len());
        self.merge_state(&keys, &all, &other.aggregates.state(&all));
    }

    fn all(&self) -> Vec<u32> {
        (0..self.groups.len() as u32).collect()
    }

    fn merge_state(&mut self, keys: &Keys, rows: &[u32], state: &[Vec<ArrayRef>]) {
        let mut groups = Vec::new();
        self.groups.intern(keys, rows, &mut groups);
        self.aggregates.merge(state, &groups, self.groups.len());
        self.changed.add(&groups);
    }

    /// Writes keys of a window down: those that changed since it was written last, or all.
    fn write(
        &mut self,
        window: Slice,
        codec: &KeyCodec,
        to: &mut kept::Parts<'_>,
    ) -> Result<(), StateError> {
        let groups = self.changed.take(self.groups.len(), to.is_whole());
        for groups in groups.chunks(kept::PIECE) {
            let kept = Kept {
                windows: vec![window; groups.len()],
                keys: codec.decode(&self.groups, groups),
                state: self.aggregates.state(groups),
            };
            to.add(kept.columns())?;
        }
        Ok(())
    }

    fn size(&self) -> usize {
        self.groups.size() + self.aggregates.size() + self.changed.size()
    }
}

impl WindowAggregate {
    /// # Errors
    /// [`FlowError`] when a key cannot be grouped by, an aggregate cannot be computed, or the window is none of a grid.
    pub(crate) fn new(
        windowing: &Windowing,
        keys: &[usize],
        aggregates: &[AggregateCall],
        properties: &[WindowProperty],
        (input, output): (SchemaRef, SchemaRef),
    ) -> Result<WindowAggregate, FlowError> {
        let input = &*input;
        let unknown = |message: String| FlowError::Expression(message);
        let windows = Windows::new(windowing, input).map_err(|error| unknown(error.to_string()))?;
        let types = keys.iter().map(|column| input.field(*column).data_type());
        let codec = KeyCodec::new(types).map_err(|error| unknown(error.to_string()))?;
        let calls =
            Calls::of_groups(aggregates, input).map_err(|error| unknown(error.to_string()))?;
        Ok(WindowAggregate {
            windows,
            keys: keys.to_vec(),
            codec,
            calls,
            output: Output {
                schema: output,
                properties: properties.to_vec(),
                keys: keys.len(),
            },
            slices: BTreeMap::new(),
            sums: BTreeMap::new(),
            gone: [Vec::new(), Vec::new()],
            watermark: i64::MIN,
            done: i64::MIN,
            next: i64::MAX,
            rows: 0,
            splits: Arc::new([]),
        })
    }

    /// Where a row of a slice is added; `None` when it is late.
    fn target(&self, slice: Slice) -> Option<Target> {
        let wall = &self.windows.wall;
        if wall.fires(slice.end) > self.watermark {
            return Some(Target::Slice(slice));
        }
        let last = self.windows.last_end(slice);
        if last == slice.end || wall.fires(last) <= self.watermark {
            return None;
        }
        match self.windows.grid().filter(|grid| grid.is_cumulate()) {
            Some(grid) => Some(Target::Sum(grid.start(slice.end))),
            None => Some(Target::Slice(slice)),
        }
    }

    /// The end of the window that fires next and holds what was added there.
    fn next_end(&self, target: Target) -> i64 {
        let (wall, grid) = (&self.windows.wall, self.windows.grid());
        let (first, step) = match (target, grid) {
            (Target::Slice(slice), None) => return slice.end,
            (Target::Slice(slice), Some(grid)) => (slice.end, grid.step()),
            (Target::Sum(start), grid) => {
                let step = grid.expect("windows with sums have a grid").step();
                (start + step, step)
            }
        };
        let behind = (self.done.saturating_sub(first).div_euclid(step) + 1).max(0);
        let ends = (behind..).map(|n| first + n * step);
        let mut open = ends.skip_while(|end| wall.fires(*end) <= self.watermark);
        open.next().expect("time goes on")
    }

    /// The window that ends first of those that have not fired.
    fn next_target(&self) -> Option<(i64, Target)> {
        let slice = self.slices.keys().next().map(|slice| Target::Slice(*slice));
        let sum = self.sums.keys().next().map(|start| Target::Sum(*start));
        let targets = slice.into_iter().chain(sum);
        targets.map(|target| (self.next_end(target), target)).min()
    }

    fn next_firing(&self) -> i64 {
        let next = self.next_target();
        next.map_or(i64::MAX, |(end, _)| self.windows.wall.fires(end))
    }

    fn add(&mut self, chunk: &Chunk, keys: &Keys, pending: &mut Pending) {
        for (target, rows) in std::mem::take(pending).by_target {
            let new = || Part::new(&self.codec, &self.calls);
            let part = match target {
                Target::Slice(slice) => self.slices.entry(slice).or_insert_with(new),
                Target::Sum(start) => self.sums.entry(start).or_insert_with(new),
            };
            let mut groups = Vec::new();
            part.groups.intern(keys, &rows, &mut groups);
            let count = part.groups.len();
            let first = self.rows;
            part.aggregates
                .update(&chunk.columns, &rows, &groups, count, first);
            part.changed.add(&groups);
        }
    }

    /// Everything fires that the watermark lets fire; says whether there was something.
    fn rise(&mut self, watermark: i64, out: &mut Out) -> Result<bool, OperatorError> {
        let mut fired = Fired {
            windows: Vec::new(),
            mark: watermark,
            places: out.places.as_mut(),
        };
        while let Some((end, target)) = self.next_target()
            && self.windows.wall.fires(end) <= watermark
        {
            self.fire(end, target, &mut fired)?;
            self.done = end;
        }
        self.watermark = watermark;
        self.next = self.next_firing();
        let fired = fired.windows;
        if !fired.is_empty() {
            out.emit(self.output.chunk(&fired, watermark, &self.splits)?);
        }
        Ok(!fired.is_empty())
    }

    /// The window that ends there fires; what no other window needs is dropped.
    fn fire(
        &mut self,
        end: i64,
        target: Target,
        fired: &mut Fired<'_>,
    ) -> Result<(), OperatorError> {
        let grid = self.windows.grid().copied();
        let window = |start| Slice { end, start };
        match (grid, target) {
            (Some(grid), _) if grid.is_cumulate() => {
                let start = grid.start(end);
                let slice = window(end - grid.step());
                let slice = self.take_slice(&slice);
                let sum = match (self.sums.remove(&start), slice) {
                    (Some(mut sum), slice) => {
                        slice.iter().for_each(|slice| sum.merge(slice, &self.codec));
                        sum
                    }
                    // It was written down as a slice, if at all.
                    (None, Some(slice)) => Part {
                        changed: Changed::All,
                        ..slice
                    },
                    (None, None) => return Ok(()),
                };
                self.give(&sum, window(start), fired)?;
                if end < grid.last_end(end) {
                    self.sums.insert(start, sum);
                } else if sum.changed.is_known() {
                    self.gone[1].push(sum_id(start));
                }
            }
            (Some(grid), _) if grid.is_hop() => {
                let start = grid.start(end);
                let first = Slice {
                    end: start + 1,
                    start: i64::MIN,
                };
                let last = Slice {
                    end,
                    start: i64::MAX,
                };
                let mut slices = self.slices.range(first..=last).rev();
                let (alone, next) = (slices.next(), slices.next());
                match (alone, next) {
                    (Some((_, one)), None) => self.give(one, window(start), fired)?,
                    (Some((_, one)), Some((_, next))) => {
                        let mut sum = Part::new(&self.codec, &self.calls);
                        for slice in [one, next].into_iter().chain(slices.map(|(_, part)| part)) {
                            sum.merge(slice, &self.codec);
                        }
                        self.give(&sum, window(start), fired)?;
                    }
                    (None, _) => {}
                }
                let expired = Slice {
                    end: start + grid.step(),
                    start,
                };
                self.take_slice(&expired);
            }
            (grid, Target::Slice(slice)) => {
                let part = self.take_slice(&slice);
                let part = part.expect("W1: a window that fires has rows");
                let start = grid.map_or(slice.start, |grid| grid.start(end));
                self.give(&part, window(start), fired)?;
            }
            (_, Target::Sum(_)) => unreachable!("only CUMULATE has sums"),
        }
        Ok(())
    }

    /// The output's rows for a window, in the order of the keys.
    fn give(&self, part: &Part, window: Slice, fired: &mut Fired<'_>) -> Result<(), OperatorError> {
        let order = part.groups.sorted();
        if let Some(places) = &mut fired.places {
            let times = [window.end, window.start];
            let groups = order.iter();
            groups.for_each(|group| places.push(fired.mark, &times, &part.groups, *group));
        }
        let keys = self.codec.decode(&part.groups, &order);
        let results = part.aggregates.finish(&order);
        let windows = vec![window; order.len()];
        let wall = &self.windows.wall;
        let columns = self.output.columns(keys, results, &windows, wall)?;
        fired.windows.push(columns);
        Ok(())
    }

    /// A slice that is not needed any more.
    fn take_slice(&mut self, slice: &Slice) -> Option<Part> {
        let part = self.slices.remove(slice)?;
        if part.changed.is_known() {
            self.gone[0].push(*slice);
        }
        Some(part)
    }

    fn part_of(&self, kept: &Kept, part: &mut Part) {
        let rows: Vec<u32> = (0..kept.windows.len() as u32).collect();
        let keys = self.codec.encode(&kept.keys, rows.len());
        part.merge_state(&keys, &rows, &kept.state);
    }
}

/// What a sum is called in a checkpoint.
fn sum_id(start: i64) -> Slice {
    Slice { end: start, start }
}

impl Operator for WindowAggregate {
    fn data(&mut self, _: usize, chunk: Chunk, out: &mut Out) -> Result<(), OperatorError> {
        self.splits = chunk.splits.clone();
        let slices = self.windows.slices(&chunk)?;
        let columns: Vec<ArrayRef> = self
            .keys
            .iter()
            .map(|column| chunk.columns.column(*column).clone())
            .collect();
        let keys = self.codec.encode(&columns, chunk.rows());
        let mut pending = Pending::default();
        // What the rows since the last mark would let fire.
        let mut next = self.next;
        let mut passed_on = self.watermark;
        for (rows, mark) in chunk.stretches() {
            let mut recent = None;
            for (row, slice) in rows.clone().zip(&slices[rows]) {
                // Rows come together: what holds for one slice is asked once.
                let target = match recent {
                    Some((of, target)) if of == *slice => target,
                    _ => {
                        let target = self.target(*slice);
                        recent = Some((*slice, target));
                        if let Some(target) = target {
                            next = next.min(self.windows.wall.fires(self.next_end(target)));
                        }
                        target
                    }
                };
                match target {
                    Some(target) => pending.push(target, row as u32),
                    None => out.late(Late {
                        row,
                        event_time: self.windows.event_time(&chunk, row),
                        watermark: self.watermark,
                    }),
                }
            }
            let Some(mark) = mark.filter(|mark| *mark > self.watermark) else {
                continue;
            };
            if next <= mark {
                self.add(&chunk, &keys, &mut pending);
                self.next = next;
                if self.rise(mark, out)? {
                    passed_on = mark;
                }
                next = self.next;
            }
            self.watermark = mark;
        }
        self.add(&chunk, &keys, &mut pending);
        self.next = next;
        self.rows += chunk.rows() as u64;
        if self.watermark > passed_on {
            out.emit(self.output.chunk(&[], self.watermark, &self.splits)?);
        }
        Ok(())
    }

    fn end(&mut self, _: usize, out: &mut Out) -> Result<(), OperatorError> {
        if self.watermark < Mark::END && !self.rise(Mark::END, out)? {
            out.emit(self.output.chunk(&[], self.watermark, &self.splits)?);
        }
        Ok(())
    }

    fn snapshot(&mut self, to: &mut StateWriter) -> Result<(), StateError> {
        to.watermark((self.watermark > i64::MIN).then_some(self.watermark));
        kept::write_count(self.rows, to)?;
        let ids = 0..2 + self.keys.len();
        let [slices, sums] = std::mem::take(&mut self.gone);
        if !self.slices.is_empty() {
            let mut parts = kept::Parts::new("slices", ids.clone(), to);
            for (slice, part) in &mut self.slices {
                part.write(*slice, &self.codec, &mut parts)?;
            }
            parts.finish(&kept::ids_of(&slices))?;
        }
        if !self.sums.is_empty() {
            let mut parts = kept::Parts::new("sums", ids, to);
            for (start, part) in &mut self.sums {
                part.write(sum_id(*start), &self.codec, &mut parts)?;
            }
            parts.finish(&kept::ids_of(&sums))?;
        }
        Ok(())
    }

    fn restore(&mut self, from: &StateReader) -> Result<(), StateError> {
        self.watermark = from.watermark().unwrap_or(i64::MIN);
        self.rows = kept::read_count(from)?;
        let new = || Part::new(&self.codec, &self.calls);
        let keys: Vec<usize> = (2..).take(self.keys.len()).collect();
        for section in from.sections("slices") {
            let rows = kept::mine(from, section, &self.codec, &keys)?;
            let all = Kept::read(&rows, self.keys.len(), &self.calls)?;
            for (slice, kept) in all.by_window() {
                let mut part = self.slices.remove(&slice).unwrap_or_else(new);
                self.part_of(&kept, &mut part);
                self.slices.insert(slice, part);
            }
        }
        for section in from.sections("sums") {
            let rows = kept::mine(from, section, &self.codec, &keys)?;
            let all = Kept::read(&rows, self.keys.len(), &self.calls)?;
            for (sum, kept) in all.by_window() {
                let mut part = self.sums.remove(&sum.start).unwrap_or_else(new);
                self.part_of(&kept, &mut part);
                self.sums.insert(sum.start, part);
            }
        }
        let parts = self.slices.values_mut().chain(self.sums.values_mut());
        parts.for_each(|part| part.changed = Changed::none());
        self.next = self.next_firing();
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        let parts = self.slices.values().chain(self.sums.values());
        parts.map(Part::size).sum()
    }
}
