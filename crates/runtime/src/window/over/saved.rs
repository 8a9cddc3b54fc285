//! How `OVER` stands in a checkpoint.
//!
//! ```text
//! keys      the key's columns │ when it was woken last, and is out of reach │ what its rows came to
//! frames    the columns of rows that were given and a frame may still reach      as far as the frame has a bound
//! looks     the key's columns │ when it is looked at                            likewise
//! idle      the key's columns │ when it is forgotten                            where keys are
//! time      the log's own time
//! waiting   a time │ the columns of a row that waits for it
//! ```
//!
//! Keys, frames and when keys are forgotten are written by key, looks and waiting rows by time. A state without `idle` is gone on from as if
//! something of each key came then.

use super::super::held::At;
use super::super::kept;
use super::super::place::times;
use super::{Kept, Key, Over, Sums};
use crate::chunk::Chunk;
use crate::state::{Changed, StateError, StateReader, StateWriter};
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What changed since the last checkpoint.
pub(super) struct Since {
    pub(super) keys: Changed,
    /// Keys that were forgotten and have no groups any more, as columns.
    pub(super) gone: Vec<Vec<ArrayRef>>,
    /// Times at which other rows wait.
    pub(super) waiting: BTreeSet<i64>,
    /// Times at which other keys are looked at.
    pub(super) looks: BTreeSet<i64>,
}

impl Since {
    pub(super) fn new(keys: Changed) -> Since {
        Since {
            keys,
            gone: Vec::new(),
            waiting: BTreeSet::new(),
            looks: BTreeSet::new(),
        }
    }
}

impl Over {
    /// Writes down keys with when they were woken last and are out of reach and what their rows came to; keys with when they are looked at; the
    /// rows that wait, and those of frames.
    pub(super) fn write(&mut self, to: &mut StateWriter) -> Result<(), StateError> {
        to.watermark((self.watermark > i64::MIN).then_some(self.watermark));
        kept::write_count(self.given, to)?;
        let Since {
            mut keys,
            gone,
            waiting,
            looks,
        } = std::mem::replace(&mut self.since, Since::new(Changed::none()));
        let (known, gone) = match to.is_delta() && !self.keys.is_empty() {
            false => (self.known(), Vec::new()),
            true => {
                let changed = keys.take(self.groups.len(), false).into_iter();
                let (known, unknown): (Vec<u32>, Vec<u32>) =
                    changed.partition(|group| self.is_known(*group));
                let unknown = self.codec.decode(&self.groups, &unknown);
                (known, [gone, vec![unknown]].concat())
            }
        };
        self.write_keys((&known, &gone), to)?;
        self.write_idle((&known, &gone), to)?;
        if self.sums.is_none() {
            self.write_frames((&known, &gone), to)?;
            self.write_looks(&looks, to)?;
        }
        self.write_waiting(&waiting, to)
    }

    /// Goes on from what was written down.
    pub(super) fn take_up(&mut self, from: &StateReader) -> Result<(), StateError> {
        self.watermark = from.watermark().unwrap_or(i64::MIN);
        self.given = kept::read_count(from)?;
        let widths = self.sums.as_mut().map_or_else(Vec::new, Sums::widths);
        let keys: Vec<usize> = (0..self.keys.len()).collect();
        for section in from.sections("keys") {
            let rows = kept::mine(from, section, &self.codec, &keys)?;
            let groups = self.restore_keys(&rows)?;
            let at = keys.len();
            let (last, over) = (numbers(&rows, at)?, numbers(&rows, at + 1)?);
            for (row, group) in groups.iter().enumerate() {
                let key = &mut self.by_group[*group as usize];
                key.last = last.is_valid(row).then(|| last.value(row));
                key.over = over.is_valid(row).then(|| over.value(row));
            }
            let mut rest = rows.columns()[at + 2..].iter().cloned();
            if rest.len() != widths.iter().sum::<usize>() {
                return Err(foreign());
            }
            let state: Vec<Vec<ArrayRef>> = widths
                .iter()
                .map(|width| rest.by_ref().take(*width).collect())
                .collect();
            if let Some(sums) = &mut self.sums {
                let keys = groups.iter().map(|group| {
                    let key = &mut self.by_group[*group as usize];
                    *key.sums.get_or_insert_with(|| sums.begin())
                });
                let numbers: Vec<u32> = keys.collect();
                sums.merge(&state, &numbers);
            }
        }
        self.take_up_idle(from)?;
        for section in from.sections("looks") {
            let rows = kept::mine(from, section, &self.codec, &keys)?;
            let groups = self.restore_keys(&rows)?;
            let times = numbers(&rows, keys.len())?;
            for (time, group) in times.values().iter().zip(groups) {
                self.looks.entry(*time).or_default().push(group);
                self.looking += 1;
            }
        }
        for section in from.sections("waiting") {
            // Format 4 had no time before the columns.
            let at = section.rows.num_columns()
                - self.input.fields().len().min(section.rows.num_columns());
            let keys: Vec<usize> = self.keys.iter().map(|key| key + at).collect();
            let mut rows = kept::mine(from, section, &self.codec, &keys)?;
            (0..at).for_each(|_| drop(rows.remove_column(0)));
            for (time, group, at) in self.restore_rows(&rows)? {
                self.waiting.entry(time).or_default().push((group, at));
                self.by_group[group as usize].waiting += 1;
            }
        }
        for section in from.sections("frames") {
            let rows = kept::mine(from, section, &self.codec, &self.keys)?;
            for (time, group, at) in self.restore_rows(&rows)? {
                let frame = &mut self.by_group[group as usize].frame;
                frame.push_back(Kept { time, at });
            }
        }
        self.since = Since::new(Changed::none());
        Ok(())
    }

    /// When keys are forgotten, and what time it is.
    fn take_up_idle(&mut self, from: &StateReader) -> Result<(), StateError> {
        let Some(mut idle) = self.idle.take() else {
            return Ok(());
        };
        let keys: Vec<usize> = (0..self.keys.len()).collect();
        for section in from.sections("idle") {
            let rows = kept::mine(from, section, &self.codec, &keys)?;
            let groups = self.restore_keys(&rows)?;
            let times = numbers(&rows, keys.len())?;
            for (at, group) in times.values().iter().zip(groups) {
                self.by_group[group as usize].forget = Some(*at);
                idle.set(*at, group);
            }
        }
        for section in from.sections("time") {
            let now = numbers(&section.rows, 0)?.values();
            idle.now = now.iter().copied().fold(idle.now, i64::max);
        }
        self.idle = Some(idle);
        Ok(())
    }

    /// When keys are forgotten, and what time it is.
    fn write_idle(
        &self,
        (known, gone): (&[u32], &[Vec<ArrayRef>]),
        to: &mut StateWriter,
    ) -> Result<(), StateError> {
        let Some(idle) = &self.idle else {
            return Ok(());
        };
        let mut parts = kept::Parts::new("time", [], to);
        parts.add(vec![Arc::new(Int64Array::from(vec![idle.now]))])?;
        parts.finish(&[])?;
        let mut parts = kept::Parts::new("idle", 0..self.keys.len(), to);
        let forget = |group: &u32| self.by_group[*group as usize].forget;
        let (timed, timeless): (Vec<u32>, Vec<u32>) =
            known.iter().partition(|group| forget(group).is_some());
        let gone = [gone, &[self.codec.decode(&self.groups, &timeless)]].concat();
        for timed in timed.chunks(kept::PIECE) {
            let mut columns = self.codec.decode(&self.groups, timed);
            columns.push(Arc::new(timed.iter().map(forget).collect::<Int64Array>()));
            parts.add(columns)?;
        }
        parts.finish(&kept::joined_ids(&gone)?)
    }

    /// Keys with when they were woken last and are out of reach, and what their rows came to.
    fn write_keys(
        &mut self,
        (known, gone): (&[u32], &[Vec<ArrayRef>]),
        to: &mut StateWriter,
    ) -> Result<(), StateError> {
        let mut parts = kept::Parts::new("keys", 0..self.keys.len(), to);
        // One that came to nothing yet, or was forgotten and only waits again.
        let sums = |group: &u32| self.by_group[*group as usize].sums;
        let (known, without): (Vec<u32>, Vec<u32>) = known
            .iter()
            .partition(|group| self.sums.is_none() || sums(group).is_some());
        let gone = [gone, &[self.codec.decode(&self.groups, &without)]].concat();
        let summed: Vec<u32> = known.iter().filter_map(sums).collect();
        let mut summed = summed.chunks(kept::PIECE);
        for known in known.chunks(kept::PIECE) {
            let mut columns = self.codec.decode(&self.groups, known);
            let of = |of: fn(&Key) -> Option<i64>| -> ArrayRef {
                let keys = known.iter().map(|group| &self.by_group[*group as usize]);
                Arc::new(keys.map(of).collect::<Int64Array>())
            };
            columns.extend([of(|key| key.last), of(|key| key.over)]);
            if let Some(sums) = &mut self.sums {
                let numbers = summed.next().unwrap_or_default();
                columns.extend(sums.state(numbers).into_iter().flatten());
            }
            parts.add(columns)?;
        }
        parts.finish(&kept::joined_ids(&gone)?)
    }

    /// The rows of frames.
    fn write_frames(
        &self,
        (known, gone): (&[u32], &[Vec<ArrayRef>]),
        to: &mut StateWriter,
    ) -> Result<(), StateError> {
        let mut parts = kept::Parts::new("frames", self.keys.iter().copied(), to);
        let is_empty = |group: &&u32| self.by_group[**group as usize].frame.is_empty();
        let empty: Vec<u32> = known.iter().filter(is_empty).copied().collect();
        let gone = [gone, &[self.codec.decode(&self.groups, &empty)]].concat();
        for known in known.chunks(kept::PIECE) {
            let keys = known.iter().map(|group| &self.by_group[*group as usize]);
            let rows: Vec<At> = keys
                .flat_map(|key| &key.frame)
                .map(|kept| kept.at)
                .collect();
            parts.add(self.rows(&rows)?)?;
        }
        parts.finish(&kept::joined_ids(&gone)?)
    }

    /// Keys with when they are looked at.
    fn write_looks(&self, changed: &BTreeSet<i64>, to: &mut StateWriter) -> Result<(), StateError> {
        let mut parts = kept::Parts::new("looks", [self.keys.len()], to);
        let times = wanted(&self.looks, changed, parts.is_whole());
        let looks = times.iter().flat_map(|time| {
            let groups = self.looks.get(time).into_iter().flatten();
            groups.map(|group| (*time, *group))
        });
        let (times_of, groups): (Vec<i64>, Vec<u32>) = looks.unzip();
        let mut columns = self.codec.decode(&self.groups, &groups);
        columns.push(Arc::new(Int64Array::from(times_of)));
        parts.add(columns)?;
        parts.finish(&without(&self.looks, changed))
    }

    /// The rows that wait, each behind its time.
    fn write_waiting(
        &self,
        changed: &BTreeSet<i64>,
        to: &mut StateWriter,
    ) -> Result<(), StateError> {
        let mut parts = kept::Parts::new("waiting", [0], to);
        for times in wanted(&self.waiting, changed, parts.is_whole()).chunks(kept::PIECE) {
            let rows = times.iter().flat_map(|time| {
                let rows = self.waiting.get(time).into_iter().flatten();
                rows.map(|(_, at)| (*time, *at))
            });
            let (times, rows): (Vec<i64>, Vec<At>) = rows.unzip();
            let mut columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(times))];
            columns.extend(self.rows(&rows)?);
            parts.add(columns)?;
        }
        parts.finish(&without(&self.waiting, changed))
    }

    fn rows(&self, rows: &[At]) -> Result<Vec<ArrayRef>, StateError> {
        let rows = self.held.rows(rows);
        let rows = rows.map_err(|error| StateError::new(error.to_string()))?;
        Ok(rows.columns().to_vec())
    }

    /// Rows of a checkpoint, each with its time and group.
    fn restore_rows(&mut self, columns: &RecordBatch) -> Result<Vec<(i64, u32, At)>, StateError> {
        let rows = RecordBatch::try_new(self.input.clone(), columns.columns().to_vec());
        let rows = rows.map_err(|_| foreign())?;
        let groups = self.groups_of(&self.keys_of(&rows), rows.num_rows());
        let piece = self.held.push(rows.clone());
        self.held.wanted += rows.num_rows();
        let all = Chunk::derived(rows, Vec::new(), self.splits.clone());
        let times = times(&all, self.time).map_err(|_| foreign())?;
        let times = times.values().iter().map(|micros| micros.div_euclid(1000));
        let rows = times.zip(groups).enumerate();
        Ok(rows
            .map(|(row, (time, group))| (time, group, (piece, row)))
            .collect())
    }

    /// The groups of keys that stand in the first columns.
    fn restore_keys(&mut self, columns: &RecordBatch) -> Result<Vec<u32>, StateError> {
        let keys = columns.columns().get(..self.keys.len());
        let keys = self
            .codec
            .encode(keys.ok_or_else(foreign)?, columns.num_rows());
        Ok(self.groups_of(&keys, columns.num_rows()))
    }
}

/// The times that are written down.
fn wanted<T>(all: &BTreeMap<i64, T>, changed: &BTreeSet<i64>, is_whole: bool) -> Vec<i64> {
    match is_whole {
        true => all.keys().copied().collect(),
        false => changed
            .iter()
            .copied()
            .filter(|time| all.contains_key(time))
            .collect(),
    }
}

/// The times at which nothing is any more.
fn without<T>(all: &BTreeMap<i64, T>, changed: &BTreeSet<i64>) -> Vec<ArrayRef> {
    let changed = changed.iter().copied();
    let gone = changed.filter(|time| !all.contains_key(time));
    vec![Arc::new(Int64Array::from_iter_values(gone))]
}

fn foreign() -> StateError {
    StateError::new("the state of OVER is not of this query")
}

fn numbers(columns: &RecordBatch, column: usize) -> Result<&Int64Array, StateError> {
    let column = columns.columns().get(column);
    let numbers = column.and_then(|column| column.as_primitive_opt::<Int64Type>());
    numbers.ok_or_else(foreign)
}
