//! `OVER`: each row, and behind it aggregates of the rows of its key that its frame reaches back to.
//!
//! A row waits until the watermark has reached its time. Rows are given by time, then by key, then as they came. `ROWS` counts in that
//! order; the rows of one time share a `RANGE`. Where the frame reaches back without bound, aggregates go on from row to row; otherwise
//! the frame's rows are kept, and what a row is given does not depend on rows outside of its frame: counts and sums of whole numbers are
//! those of all rows up to it without those before the frame, everything else is aggregated anew.
//!
//! Late, as in Flink: without bound, a row that the watermark has reached. With a bound, a row that is not later than the last that
//! its key was woken at: a row behind the watermark is still taken while nothing of its key, as late as it or later, was given. A key
//! is woken for its rows, and for a `RANGE` also to see whether it can be forgotten, half a frame after nothing can reach back any
//! more; a key that was forgotten begins anew. Where an interval does not bound what is kept of a key, a time to live may ([`idle`]).

use super::held::{At, Held};
use super::place::times;
use crate::aggregate::Calls;
use crate::aggregate::groups::Groups;
use crate::aggregate::key::{KeyCodec, Keys};
use crate::chunk::{Chunk, Mark, Split};
use crate::operator::{FlowError, Late, Operator, OperatorError, Out};
use crate::state::{Changed, StateError, StateReader, StateWriter};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, SchemaRef};
use lw_graph::{AggregateCall, Frame, FrameUnit};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

mod given;
mod idle;
mod saved;
mod sums;

use given::{Given, Giver};
use idle::Idle;
use saved::Since;
use sums::Sums;

pub(crate) struct Over {
    keys: Vec<usize>,
    time: usize,
    frame: Frame,
    codec: KeyCodec,
    giver: Giver,
    /// No frame is aggregated anew.
    slides: bool,
    input: SchemaRef,

    groups: Groups,
    by_group: Vec<Key>,
    /// Of a frame without bound: what the rows that were given came to.
    sums: Option<Sums>,
    held: Held,
    /// By time, as they came: rows that the watermark has not reached, with their groups.
    waiting: BTreeMap<i64, Vec<(u32, At)>>,
    /// When groups are looked at, to be forgotten.
    looks: BTreeMap<i64, Vec<u32>>,
    /// How many they are.
    looking: usize,
    /// How many keys were forgotten whose groups are still there.
    forgotten: usize,
    /// Keys are forgotten that nothing comes of.
    idle: Option<Idle>,
    /// How many rows were given.
    given: u64,
    since: Since,
    /// [`i64::MIN`] for none.
    watermark: i64,
    splits: Arc<[Split]>,
}

/// What is known of a key.
#[derive(Default)]
struct Key {
    /// Where its rows' sums are; `None` where there are none, as where the frame has a bound.
    sums: Option<u32>,
    /// How many rows of it wait.
    waiting: u32,
    /// When it is forgotten if nothing of it comes, in the log's own time.
    forget: Option<i64>,
    /// When it was woken last.
    last: Option<i64>,
    /// Nothing reaches back to its rows from there on.
    over: Option<i64>,
    /// The rows that were given and a frame may still reach, in the order of their time.
    frame: VecDeque<Kept>,
    /// Where they stand in what is being given.
    line: Option<usize>,
}

struct Kept {
    time: i64,
    at: At,
}

impl Over {
    /// # Errors
    /// [`FlowError`] when a column can be no key, or an aggregate cannot be computed.
    pub(crate) fn new(
        (keys, time): (&[usize], usize),
        (frame, ttl): (Frame, Option<i64>),
        aggregates: &[AggregateCall],
        (input, output): (SchemaRef, SchemaRef),
    ) -> Result<Over, FlowError> {
        let unknown = |message: String| FlowError::Expression(message);
        let types = keys.iter().map(|column| input.field(*column).data_type());
        let codec = KeyCodec::new(types).map_err(|error| unknown(error.to_string()))?;
        let calls = Calls::compile(aggregates, &input);
        let calls = calls.map_err(|error| unknown(error.to_string()))?;
        Ok(Over {
            keys: keys.to_vec(),
            time,
            frame,
            groups: codec.groups(),
            codec,
            by_group: Vec::new(),
            slides: frame.preceding.is_none() || calls.start().slides(),
            sums: frame.preceding.is_none().then(|| Sums::new(&calls)),
            giver: Giver {
                calls,
                keys: keys.to_vec(),
                output,
            },
            held: Held::new(input.clone()),
            input,
            waiting: BTreeMap::new(),
            looks: BTreeMap::new(),
            looking: 0,
            forgotten: 0,
            idle: ttl.filter(|_| frame.interval().is_none()).map(Idle::new),
            given: 0,
            since: Since::new(Changed::All),
            watermark: i64::MIN,
            splits: Arc::new([]),
        })
    }

    fn keys_of(&self, columns: &RecordBatch) -> Keys {
        let of = |column: &usize| columns.column(*column).clone();
        let keys: Vec<ArrayRef> = self.keys.iter().map(of).collect();
        self.codec.encode(&keys, columns.num_rows())
    }

    /// The group of each row.
    fn groups_of(&mut self, keys: &Keys, rows: usize) -> Vec<u32> {
        let (rows, mut groups): (Vec<u32>, _) = ((0..rows as u32).collect(), Vec::new());
        self.groups.intern(keys, &rows, &mut groups);
        self.by_group.resize_with(self.groups.len(), Key::default);
        groups
    }

    fn is_late(&self, group: u32, time: i64) -> bool {
        match self.frame.preceding {
            None => time <= self.watermark,
            // As if every key had been woken in 1970.
            Some(_) => time <= self.by_group[group as usize].last.unwrap_or(0),
        }
    }

    fn wait(&mut self, group: u32, time: i64, at: At) {
        self.held.wanted += 1;
        self.by_group[group as usize].waiting += 1;
        self.waiting.entry(time).or_default().push((group, at));
        self.since.waiting.insert(time);
        let (FrameUnit::Range, Some(back)) = (self.frame.unit, self.frame.preceding) else {
            return;
        };
        let key = &mut self.by_group[group as usize];
        let out_of_reach = time.saturating_add(back).saturating_add(1);
        if key.over.is_none_or(|over| over < out_of_reach) {
            let over = out_of_reach.saturating_add(back / 2);
            key.over = Some(over);
            self.looks.entry(over).or_default().push(group);
            self.looking += 1;
            self.since.looks.insert(over);
            self.since.keys.add(&[group]);
        }
    }

    /// Everything is given that the watermark lets be.
    fn rise(
        &mut self,
        watermark: i64,
        given: &mut Given,
        out: &mut Out,
    ) -> Result<(), OperatorError> {
        const MANY: usize = 1 << 20;
        let next = |over: &Over| {
            let rows = over.waiting.keys().next();
            rows.into_iter()
                .chain(over.looks.keys().next())
                .min()
                .copied()
        };
        while let Some(time) = next(self).filter(|time| *time <= watermark) {
            self.wake(time, given);
            given.tell_places(watermark, &self.groups, out);
            if given.weight(self.slides) > MANY {
                self.emit(std::mem::take(given), out)?;
            }
        }
        self.watermark = watermark;
        given.mark(watermark);
        Ok(())
    }

    /// The time of rows has come, or of keys to be looked at.
    fn wake(&mut self, time: i64, given: &mut Given) {
        let mut rows = self.waiting.remove(&time).unwrap_or_default();
        self.since.waiting.insert(time);
        self.since.looks.insert(time);
        rows.sort_by(|(one, _), (other, _)| self.groups.compare(*one, *other));
        for of_key in rows.chunk_by(|(one, _), (next, _)| one == next) {
            self.give(time, of_key, given);
        }
        for group in self.looks.remove(&time).unwrap_or_default() {
            self.looking -= 1;
            self.since.keys.add(&[group]);
            let key = &mut self.by_group[group as usize];
            if key.over.is_some_and(|over| over <= time) {
                self.forget(group);
            } else {
                key.last = Some(time);
            }
        }
    }

    /// Begins anew with a key of which no rows wait.
    fn forget(&mut self, group: u32) {
        let key = &mut self.by_group[group as usize];
        self.held.wanted -= key.frame.len();
        *key = Key {
            waiting: key.waiting,
            ..Key::default()
        };
        self.forgotten += 1;
    }

    /// Rows of one key and time, which are not empty.
    fn give(&mut self, time: i64, rows: &[(u32, At)], given: &mut Given) {
        let group = rows[0].0;
        self.since.keys.add(&[group]);
        self.touch(group);
        let key = &mut self.by_group[group as usize];
        key.waiting -= rows.len() as u32;
        let each = self.frame.unit == FrameUnit::Rows;
        let Some(back) = self.frame.preceding else {
            let sums = self.sums.as_mut().expect("its frame has no bound");
            let sums = *key.sums.get_or_insert_with(|| sums.begin());
            self.held.wanted -= rows.len();
            let line = match given.lines.is_empty() {
                true => given.line(std::iter::empty()),
                false => 0,
            };
            for part in rows.chunks(if each { 1 } else { rows.len() }) {
                part.iter().for_each(|(_, at)| given.row(line, *at));
                given.result((group, sums, time), part.len(), line);
                given.lines[line].from += part.len();
            }
            return;
        };
        key.last = Some(time);
        let line = *key.line.get_or_insert_with(|| {
            given.touched.push(group);
            given.line(key.frame.iter().map(|kept| kept.at))
        });
        let before = key.frame.len() + rows.len();
        for (_, at) in rows {
            given.row(line, *at);
            key.frame.push_back(Kept { time, at: *at });
            if each {
                while key.frame.len() as i64 - 1 > back {
                    key.frame.pop_front();
                    given.lines[line].from += 1;
                }
                given.result((group, 0, time), 1, line);
            }
        }
        if !each {
            while key
                .frame
                .front()
                .is_some_and(|kept| time - kept.time > back)
            {
                key.frame.pop_front();
                given.lines[line].from += 1;
            }
            given.result((group, 0, time), rows.len(), line);
        }
        self.held.wanted -= before - key.frame.len();
    }

    fn emit(&mut self, given: Given, out: &mut Out) -> Result<(), OperatorError> {
        for group in &given.touched {
            self.by_group[*group as usize].line = None;
        }
        if given.is_empty() {
            return Ok(());
        }
        let pool = self.held.rows(&given.pool)?;
        let sums = self.sums.as_mut().map(|sums| (sums, self.given));
        let rows = self.giver.rows(&given, &pool, sums)?;
        self.given += rows.num_rows() as u64;
        out.emit(Chunk::derived(rows, given.marks, self.splits.clone()));
        Ok(())
    }

    /// Lets go of rows and keys that are not wanted any more, when they are many.
    fn tidy(&mut self) -> Result<(), ArrowError> {
        if self.forgotten > 1024.max(self.by_group.len() / 2) {
            self.renumber();
        }
        if !self.held.is_sparse() {
            return Ok(());
        }
        let waiting = self.waiting.values().flatten().map(|(_, at)| *at);
        let frames = self.by_group.iter().flat_map(|key| &key.frame);
        let wanted: Vec<At> = waiting.chain(frames.map(|kept| kept.at)).collect();
        self.held.gather(&wanted)?;
        let waiting = self.waiting.values_mut().flatten().map(|(_, at)| at);
        let frames = self.by_group.iter_mut().flat_map(|key| &mut key.frame);
        for (row, at) in waiting.chain(frames.map(|kept| &mut kept.at)).enumerate() {
            *at = (0, row);
        }
        Ok(())
    }

    /// Keys that are forgotten lose their groups.
    fn renumber(&mut self) {
        let known = self.known();
        let is_known = self.since.keys.is_known();
        let changed = match is_known {
            true => self.since.keys.take(self.groups.len(), false),
            false => Vec::new(),
        };
        let (changed, gone): (Vec<u32>, Vec<u32>) = changed
            .into_iter()
            .partition(|group| known.binary_search(group).is_ok());
        if !gone.is_empty() {
            self.since.gone.push(self.codec.decode(&self.groups, &gone));
        }
        let keys = self
            .codec
            .encode(&self.codec.decode(&self.groups, &known), known.len());
        let mut of_known: Vec<Key> = known
            .iter()
            .map(|group| std::mem::take(&mut self.by_group[*group as usize]))
            .collect();
        if let Some(sums) = &mut self.sums {
            sums.keep(of_known.iter_mut().filter_map(|key| key.sums.as_mut()));
        }
        self.groups = self.codec.groups();
        self.by_group.clear();
        let renumbered = self.groups_of(&keys, known.len());
        let numbers: BTreeMap<u32, u32> = known.into_iter().zip(renumbered).collect();
        for (key, number) in of_known.drain(..).zip(numbers.values()) {
            self.by_group[*number as usize] = key;
        }
        let waiting = self.waiting.values_mut().flatten().map(|(group, _)| group);
        for group in waiting.chain(self.looks.values_mut().flatten()) {
            *group = numbers[group];
        }
        if let Some(idle) = &mut self.idle {
            idle.unset();
            for (group, key) in (0..).zip(&self.by_group) {
                key.forget.into_iter().for_each(|at| idle.set(at, group));
            }
        }
        let changed: Vec<u32> = changed.iter().map(|group| numbers[group]).collect();
        self.since.keys.add(&changed);
        self.forgotten = 0;
    }

    /// Whether a key is more than one that rows wait of.
    fn is_known(&self, group: u32) -> bool {
        let key = &self.by_group[group as usize];
        let is_idle = key.forget.is_some();
        is_idle || key.sums.is_some() || key.last.is_some() || key.over.is_some()
    }

    /// The groups of keys that something is known of, rising.
    fn known(&self) -> Vec<u32> {
        let groups = 0..self.by_group.len() as u32;
        let is_known = |group: &u32| self.is_known(*group);
        let waiting = self.waiting.values().flatten().map(|(group, _)| *group);
        let mut known: Vec<u32> = groups.filter(is_known).chain(waiting).collect();
        known.sort_unstable();
        known.dedup();
        known
    }
}

impl Operator for Over {
    fn data(&mut self, _: usize, chunk: Chunk, out: &mut Out) -> Result<(), OperatorError> {
        self.splits = chunk.splits.clone();
        self.pass(chunk.came);
        let times = times(&chunk, self.time)?.values();
        let groups = self.groups_of(&self.keys_of(&chunk.columns), chunk.rows());
        let piece = self.held.push(chunk.columns.clone());
        let mut given = Given::default();
        for (rows, mark) in chunk.stretches() {
            for row in rows {
                let (group, event_time) = (groups[row], times[row].div_euclid(1000));
                self.touch(group);
                if self.is_late(group, event_time) {
                    // Before the first mark it stands at 1970.
                    let watermark = self.watermark.max(0);
                    out.late(Late {
                        row,
                        event_time,
                        watermark,
                    });
                } else {
                    self.wait(group, event_time, (piece, row));
                }
            }
            if let Some(mark) = mark.filter(|mark| *mark > self.watermark) {
                self.rise(mark, &mut given, out)?;
            }
        }
        self.emit(given, out)?;
        Ok(self.tidy()?)
    }

    fn end(&mut self, _: usize, out: &mut Out) -> Result<(), OperatorError> {
        if self.watermark < Mark::END {
            let mut given = Given::default();
            self.rise(Mark::END, &mut given, out)?;
            self.emit(given, out)?;
        }
        Ok(())
    }

    fn snapshot(&mut self, to: &mut StateWriter) -> Result<(), StateError> {
        self.write(to)
    }

    fn restore(&mut self, from: &StateReader) -> Result<(), StateError> {
        self.take_up(from)
    }

    fn state_bytes(&self) -> usize {
        // Each row that is held is waited for or in a frame.
        self.groups.size()
            + self.by_group.len() * size_of::<Key>()
            + self.sums.as_ref().map_or(0, Sums::size)
            + self.idle.as_ref().map_or(0, Idle::size)
            + self.held.size()
            + self.held.wanted * size_of::<Kept>()
            + self.looking * size_of::<u32>()
    }
}
