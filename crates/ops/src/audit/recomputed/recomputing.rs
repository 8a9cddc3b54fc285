//! The plan at work again: rows of the log through all operators, and what comes of them by window.

use super::Recomputation;
use super::ground::Ground;
use super::lots::{Lots, windows_of};
use crate::audit::hash::{Sum, offset_hash};
use crate::audit::replay::{Reading, Replay, Stretch, read_all, rows_of_log};
use crate::audit::{AuditError, Evidence, Key, Letter, Said};
use arrow_schema::SchemaRef;
use lw_graph::ColumnName;
use lw_runtime::connector::{Polled, Source};
use lw_runtime::operator::{
    AtSinks, Flow, Landed, LateRow, Meetings, Round, SplitTimes, late_records,
};
use lw_runtime::{Origin, Runs, Split, SplitId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(super) struct Recomputing<'a> {
    pub(super) replay: Replay<'a>,
    pub(super) flow: Flow,
    /// Rows are compared as the table's files have them.
    pub(super) layout: SchemaRef,
    pub(super) how: &'a Recomputation,
    pub(super) ground: &'a Ground<'a>,
    pub(super) lots: &'a mut Lots,
    /// Records that came too late, with the greatest time at which one of their rows was.
    pub(super) late: BTreeMap<(Key, i64), i64>,
    /// The records of all rows that came too late, where somebody asks for them.
    pub(super) late_rows: Option<BTreeMap<Key, Vec<LateLetter>>>,
    /// The offsets of the same.
    pub(super) late_offsets: BTreeMap<Key, Sum>,
    pub(super) begun: bool,
}

/// A row that came too late, with its record.
#[derive(Clone, Copy, Debug)]
pub(super) struct LateLetter {
    pub(super) letter: Letter,
    /// Milliseconds since 1970.
    pub(super) event_time: i64,
}

impl Recomputing<'_> {
    /// Reads what is to be read again; the partitions that it knows. Where there is nothing to read, those that are accounted for.
    pub(super) fn read(
        &mut self,
        source: &mut dyn Source,
        columns: Vec<ColumnName>,
        evidence: &Evidence<'_>,
        said: &mut Said,
    ) -> Result<(Reading, Arc<[Split]>), AuditError> {
        let stretches = self.stretches(&evidence.log_starts);
        if stretches.is_empty() {
            let keys: Vec<Key> = self.ground.parts.keys().cloned().collect();
            let split = |(topic, partition): &Key| Split {
                topic: topic.as_str().into(),
                partition: *partition,
            };
            let splits = keys.iter().map(split).collect();
            return Ok((Reading::of(keys, columns), splits));
        }
        let query = (columns, true);
        let take =
            |reading: &Reading, polled, source: &mut dyn Source| self.take(reading, polled, source);
        let reading = read_all(source, query, &stretches, evidence, said, take)?;
        Ok((reading, source.splits()))
    }

    /// Stands where the execution begins, before anything is read.
    pub(super) fn begin(&mut self, reading: &Reading, splits: &[Split]) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        match self.ground.word {
            Some(word) => self.flow.go_on_from(&word.flow, splits),
            None => {
                let awaited = SplitTimes::awaiting(self.awaited(reading));
                let upstream = &mut self.flow.upstream;
                upstream.go_on_from(&awaited, splits, |_| None, &Meetings::default());
            }
        }
        let from = |key: &Key| self.ground.parts.get(key).map(|(from, _)| *from);
        let done = self.done(reading, from);
        self.flow.upstream.done(&done, splits);
    }

    fn take(
        &mut self,
        reading: &Reading,
        polled: Polled,
        source: &mut dyn Source,
    ) -> Result<(), AuditError> {
        let splits = source.splits();
        self.begin(reading, &splits);
        self.replay.pass(reading, &polled);
        self.flow.upstream.appended(&polled.appended);
        let ended = self.flow.upstream.end_scans(&splits)?;
        self.pass_down(reading, ended, &splits, source)?;
        let outlets: Vec<usize> = (0..self.flow.upstream.outlets()).collect();
        for chunk in polled.batches {
            let decoded = rows_of_log(&chunk).clone();
            let rounds = self.flow.upstream.process(chunk)?;
            let mut landed = Landed::default();
            for of_round in rounds.iter().filter_map(|round| round.landed(&outlets)) {
                landed.rows.extend(&of_round.rows);
                landed.failures.extend(of_round.failures);
            }
            self.replay.judge(reading, &decoded, &landed, source)?;
            self.count(reading, &landed.rows);
            self.pass_down(reading, rounds, &splits, source)?;
        }
        let positions = source.positions();
        let position = |key: &Key| {
            let mut at = positions.iter();
            let at = at.find(|at| at.topic == key.0 && at.partition == key.1);
            at.map(|at| at.next)
        };
        let done = self.done(reading, position);
        self.flow.upstream.done(&done, &splits);
        Ok(())
    }

    /// Takes what left the operators without state to the table.
    fn pass_down(
        &mut self,
        reading: &Reading,
        rounds: Vec<Round>,
        splits: &[Split],
        source: &mut dyn Source,
    ) -> Result<(), AuditError> {
        let (mut at, mut landed) = (self.flow.downstream.at_sinks(), Runs::default());
        for (outlet, done) in rounds.into_iter().flat_map(Round::into_outlets) {
            landed.extend(rows_of_log(&done.chunk));
            self.flow.downstream.take(outlet, done.chunk, &mut at)?;
        }
        for late in &at.late {
            self.late(reading, late_records(&landed, splits, late), late);
        }
        self.keep_late(reading, &at, source)?;
        self.land(reading, at)
    }

    /// The partitions whose first rows event time waits for.
    fn awaited(&self, reading: &Reading) -> BTreeSet<SplitId> {
        let awaited = match self.ground.base {
            Some(base) => Some(&base.awaited),
            None => self.how.awaited.as_ref(),
        };
        let is_awaited = |key: &Key| awaited.is_none_or(|awaited| awaited.contains(key));
        let keys = (0..).zip(&reading.keys);
        let awaited = keys.filter(|(_, key)| is_awaited(key));
        awaited.map(|(id, _)| id).collect()
    }

    /// The records that windows took in.
    fn count(&mut self, reading: &Reading, landed: &Runs) {
        let mut last = None;
        for origin in landed.iter() {
            let again = last.replace(origin) == Some(origin);
            let key = &reading.keys[origin.split as usize];
            if let Some(span) = self.replay.partitions.get_mut(key)
                && !again
            {
                span.rows += 1;
            }
        }
    }

    /// The records of which windows took nothing in, and their rows.
    fn late(&mut self, reading: &Reading, records: Vec<Origin>, rows: &[LateRow]) {
        for Origin { split, offset } in records {
            let key = &reading.keys[split as usize];
            let of_it = rows.iter().filter(|row| {
                let record = row.record.as_ref();
                record.is_some_and(|(of, at)| *at == offset && is_of(key, of))
            });
            let time = of_it.map(|row| row.event_time).max();
            let time = time.expect("a record is late for its rows");
            if let Some(span) = self.replay.partitions.get_mut(key)
                && self.late.insert((key.clone(), offset), time).is_none()
            {
                span.rows -= 1;
                span.late += 1;
            }
        }
    }

    /// The records of rows that came too late.
    fn keep_late(
        &mut self,
        reading: &Reading,
        at: &AtSinks,
        source: &mut dyn Source,
    ) -> Result<(), AuditError> {
        let keys = || (0..).zip(&reading.keys);
        let rows = at.late.iter().flatten();
        let rows = rows.filter_map(|row| {
            let (split, offset) = row.record.as_ref()?;
            let (split, _) = keys().find(|(_, key)| is_of(key, split))?;
            let offset = *offset;
            Some((Origin { split, offset }, row.event_time))
        });
        let rows: Vec<(Origin, i64)> = rows.collect();
        for (origin, _) in &rows {
            let key = reading.keys[origin.split as usize].clone();
            let sum = self.late_offsets.entry(key).or_default();
            sum.add(offset_hash(origin.offset));
        }
        let Some(kept) = self.late_rows.as_mut().filter(|_| !rows.is_empty()) else {
            return Ok(());
        };
        // Each record once: several of its rows may be late.
        let records: BTreeSet<Origin> = rows.iter().map(|(origin, _)| *origin).collect();
        let records: Vec<Origin> = records.into_iter().collect();
        let letters = source.records(&records).map_err(AuditError::Log)?;
        let by_record: BTreeMap<Origin, Letter> = records
            .into_iter()
            .zip(&letters)
            .map(|(origin, letter)| {
                let (key, value) = (letter.key.as_deref(), letter.value.as_deref());
                (origin, Letter::new(origin.offset, key, value))
            })
            .collect();
        for (origin, event_time) in rows {
            let key = reading.keys[origin.split as usize].clone();
            let letter = by_record[&origin];
            kept.entry(key)
                .or_default()
                .push(LateLetter { letter, event_time });
        }
        Ok(())
    }

    fn land(&mut self, reading: &Reading, at: AtSinks) -> Result<(), AuditError> {
        for chunk in at.rows.into_iter().flatten() {
            let named = reading.in_columns(&chunk.columns)?;
            let windows = windows_of(&named, self.how)?;
            let hashes = reading.hashes_in(&self.layout, &chunk.columns)?;
            for (hash, window) in hashes.rows.into_iter().zip(windows) {
                self.lots.of(window).log.add(hash);
            }
        }
        Ok(())
    }

    /// The partitions in which a bounded read is at its end, by where it is.
    fn done(&self, reading: &Reading, at: impl Fn(&Key) -> Option<i64>) -> BTreeSet<SplitId> {
        let is_done = |key: &Key| {
            let end = self.how.ends.get(key);
            end.is_some_and(|end| at(key).is_some_and(|at| at >= *end))
        };
        let keys = (0..).zip(&reading.keys);
        keys.filter(|(_, key)| is_done(key))
            .map(|(id, _)| id)
            .collect()
    }

    /// The read is at its end, and so is event time.
    pub(super) fn end(&mut self, reading: &Reading) -> Result<(), AuditError> {
        let mut at = self.flow.downstream.at_sinks();
        self.flow.downstream.end(&mut at)?;
        self.land(reading, at)
    }

    /// What is to be read; with the partitions that nothing is to be read of as well, if anything is.
    fn stretches(&self, log_starts: &BTreeMap<Key, i64>) -> Vec<Stretch> {
        let is_read = |(_, (from, to)): &(&Key, &(i64, i64))| from < to;
        if !self.ground.parts.iter().any(|part| is_read(&part)) {
            return Vec::new();
        }
        let parts = self.ground.parts.iter();
        let parts = parts.filter(|part| is_read(part) || log_starts.contains_key(part.0));
        let stretches = parts.map(|(key, (from, to))| Stretch {
            key: key.clone(),
            from: *from,
            to: *to,
        });
        stretches.collect()
    }
}

fn is_of(key: &Key, split: &Split) -> bool {
    *key.0 == *split.topic && key.1 == split.partition
}
