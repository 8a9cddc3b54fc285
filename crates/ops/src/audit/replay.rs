//! What the log says: each query executed again over the offsets that it made, each row credited to the run that holds its
//! offset.
//!
//! A table may have been filled by several queries, one after the other: `--replace` goes on at the offsets of the script
//! before, and another pipeline may have adopted the table. Each *stretch* of a partition is judged by the query that made
//! it. One whose query cannot be executed any more is `unverified`, and the notes say why.
//!
//! 1. [`stretches`]: which query made which offsets. 2. The source is positioned at the first offset of each stretch that can
//!    be verified. 3. Poll by poll, each offset becomes rows, or is filtered, or fails. 4. Rows are hashed as the files that
//!    hold them have their columns.

use super::hash::{id_of, key_of, offset_hash, row_hashes};
use super::ledger::Truth;
use super::table::Table;
use super::{
    AuditError, EMPTY_IS_NULL, Evidence, Executable, Key, Letter, PartitionReport, Query, Said,
};
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{Field, Schema};
use lw_graph::{ColumnName, places};
use lw_runtime::connector::{Polled, Source};
use lw_runtime::manifest::SplitOffset;
use lw_runtime::operator::{Landed, Round};
use lw_runtime::{Chunk, DeadLetter, Origin, Runs};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// The log is durable before a table can hold it: a bounded read that finds nothing this often will never end.
const MAX_IDLE_POLLS: u32 = 20;
/// Bytes of records that are in memory at a time.
const POLL_BYTES: usize = 8 << 20;

/// What the log says, as far as it is read.
pub(super) struct Replay<'a> {
    pub(super) partitions: &'a mut BTreeMap<Key, PartitionReport>,
    pub(super) table: &'a mut Table,
    /// Offsets whose record fails, as they come: each must stand among the dead letters.
    pub(super) failed: BTreeMap<Key, Vec<Letter>>,
    /// What the log says of the offsets that were read, whatever the table holds.
    pub(super) truths: BTreeMap<Key, Truth>,
}

/// One query at work.
pub(super) struct Reading {
    /// By split.
    pub(super) keys: Vec<Key>,
    /// The columns that the query writes, in its order.
    pub(super) columns: Vec<ColumnName>,
    /// The commits name the query: then a file that has not all of its columns is wrong.
    stated: bool,
}

/// The offsets `[from, to)` of a partition that one query made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) key: Key,
    pub(super) from: i64,
    pub(super) to: i64,
}

type At = (u32, i64);

impl<'a> Replay<'a> {
    pub(super) fn new(
        partitions: &'a mut BTreeMap<Key, PartitionReport>,
        table: &'a mut Table,
    ) -> Replay<'a> {
        Replay {
            partitions,
            table,
            failed: BTreeMap::new(),
            truths: BTreeMap::new(),
        }
    }

    /// Executes the queries again over what each of them made, from the log.
    pub(super) fn run(
        &mut self,
        evidence: &mut Evidence<'_>,
        said: &mut Said,
    ) -> Result<(), AuditError> {
        let queries = std::mem::take(&mut evidence.queries);
        let made: Vec<Vec<Stretch>> = stretches(&queries, self.partitions);
        for (query, stretches) in queries.into_iter().zip(made) {
            if stretches.is_empty() {
                continue;
            }
            match (query.make)() {
                Ok(executable) if !executable.flow.downstream.is_empty() => {
                    let reason = "it keeps state, and a part of the log gives no part of its rows";
                    self.give_up(&stretches, reason, said);
                }
                Ok(executable) => {
                    self.execute(query.stated, executable, &stretches, evidence, said)?;
                }
                Err(reason) => self.give_up(&stretches, &reason, said),
            }
        }
        Ok(())
    }

    /// What a query made that cannot be executed again is not verified.
    fn give_up(&mut self, stretches: &[Stretch], reason: &str, said: &mut Said) {
        for Stretch { key, from, to } in stretches {
            let span = self.partitions.get_mut(key).expect("it is a part of one");
            span.unverified += (to - from).unsigned_abs();
            span.unread.push(*from..*to);
            let runs = self.table.runs.get_mut(key).into_iter().flatten();
            for run in runs.filter(|run| *from <= run.last && run.first < *to) {
                run.compared_from = None;
            }
            let (topic, partition) = key;
            let last = to - 1;
            said.notes.push(format!(
                "{topic}[{partition}]: the query that made offsets {from} to {last} cannot be executed again: {reason}"
            ));
        }
    }

    fn execute(
        &mut self,
        stated: bool,
        executable: Executable,
        stretches: &[Stretch],
        evidence: &Evidence<'_>,
        said: &mut Said,
    ) -> Result<(), AuditError> {
        let Executable {
            mut source,
            mut flow,
            columns,
        } = executable;
        let (source, query) = (&mut *source, (columns, stated));
        let upstream = &mut flow.upstream;
        read_all(
            source,
            query,
            stretches,
            evidence,
            said,
            |reading, polled, source| {
                self.pass(reading, &polled);
                for chunk in polled.batches {
                    let decoded = rows_of_log(&chunk).clone();
                    let rounds = upstream.process(chunk)?.into_iter();
                    for (_, done) in rounds.flat_map(Round::into_outlets) {
                        let mut landed = Landed::default();
                        landed.add(&done);
                        self.judge(reading, &decoded, &landed, source)?;
                        let left =
                            self.without_erased(reading, done.chunk, evidence.erased.as_ref())?;
                        self.credit(reading, &left)?;
                    }
                }
                Ok(())
            },
        )?;
        Ok(())
    }

    /// What a poll passed over, and what could not be decoded.
    pub(super) fn pass(&mut self, reading: &Reading, polled: &Polled) {
        for progress in &polled.progress {
            let key = &reading.keys[progress.split as usize];
            if let Some(span) = self.partitions.get_mut(key) {
                span.control += progress.control;
                span.filtered += progress.skipped;
                let truth = self.truths.entry(key.clone()).or_default();
                truth.control += progress.control;
                truth.filtered += progress.skipped;
            }
        }
        for letter in &polled.dead_letters {
            self.fail(&(letter.topic.to_string(), letter.partition), letter);
        }
    }

    /// Which of the records that were decoded could not be computed, and which are filtered.
    pub(super) fn judge(
        &mut self,
        reading: &Reading,
        decoded: &Runs,
        done: &Landed,
        source: &mut dyn Source,
    ) -> Result<(), AuditError> {
        let mut outcomes: BTreeSet<At> = BTreeSet::new();
        let mut failed: Vec<Origin> = Vec::new();
        for failure in &done.failures {
            if outcomes.insert((failure.origin.split, failure.origin.offset)) {
                failed.push(failure.origin);
            }
        }
        if !failed.is_empty() {
            let letters = source.records(&failed).map_err(AuditError::Log)?;
            for (origin, letter) in failed.iter().zip(&letters) {
                self.fail(&reading.keys[origin.split as usize], letter);
            }
        }
        let landed = done.rows.iter();
        outcomes.extend(landed.map(|origin| (origin.split, origin.offset)));
        self.count_filtered(reading, decoded, &outcomes);
        Ok(())
    }

    pub(super) fn in_span(&mut self, key: &Key, offset: i64) -> Option<&mut PartitionReport> {
        let span = self.partitions.get_mut(key)?;
        span.holds(offset).then_some(span)
    }

    fn fail(&mut self, key: &Key, letter: &DeadLetter) {
        let offset = letter.offset;
        if let Some(span) = self.in_span(key, offset) {
            span.dead_letters += 1;
            let (at, record) = (letter.key.as_deref(), letter.value.as_deref());
            let letter = Letter::new(offset, at, record);
            self.failed.entry(key.clone()).or_default().push(letter);
            let truth = self.truths.entry(key.clone()).or_default();
            truth.letters.add(offset_hash(offset));
        }
    }

    fn count_filtered(&mut self, reading: &Reading, decoded: &Runs, outcomes: &BTreeSet<At>) {
        let mut last = None;
        for origin in decoded.iter() {
            let at = (origin.split, origin.offset);
            if last.replace(at) == Some(at) || outcomes.contains(&at) {
                continue;
            }
            let key = &reading.keys[origin.split as usize];
            if let Some(span) = self.in_span(key, origin.offset) {
                span.filtered += 1;
                self.truths.entry(key.clone()).or_default().filtered += 1;
            }
        }
    }

    /// Credits each row to the run that holds its offset. An offset with rows in no run is a gap.
    fn credit(&mut self, reading: &Reading, batch: &Chunk) -> Result<(), AuditError> {
        let mut hashes: Vec<Option<Hashed>> = vec![None; self.table.layouts.len() + 1];
        // Rows that no file holds are hashed as the newest file would hold them.
        let of_none = self.table.layouts.len();
        let (mut last, mut missed) = (None, None);
        for (row, origin) in rows_of_log(batch).iter().enumerate() {
            let first_row = last.replace(origin) != Some(origin);
            let key = &reading.keys[origin.split as usize];
            let counted = u64::from(first_row);
            let span = self.partitions.get_mut(key);
            let Some(span) = span.filter(|span| span.holds(origin.offset)) else {
                continue;
            };
            let runs = self.table.runs.get_mut(key);
            let run = runs.and_then(|runs| {
                let after = runs.partition_point(|run| run.first <= origin.offset);
                runs.get_mut(after.checked_sub(1)?)
                    .filter(|run| origin.offset <= run.last && run.answers_for(origin.offset))
            });
            let place = run.as_ref().map_or(of_none, |run| run.layout);
            if hashes[place].is_none() {
                let layouts = &self.table.layouts;
                let empty = Schema::empty();
                let layout = layouts.get(place).or(layouts.last());
                let layout = layout.map_or(&empty, |layout| &**layout);
                hashes[place] = Some(reading.hashes_in(layout, &batch.columns)?);
            }
            let hashed = hashes[place].as_ref().expect("it was made");
            let truth = self.truths.entry(key.clone()).or_default();
            truth.records += counted;
            truth.rows.add(hashed.rows[row]);
            match run {
                Some(run) => {
                    run.log.add(hashed.rows[row]);
                    span.rows += counted;
                    if !hashed.absent.is_empty() {
                        run.absent.extend(hashed.absent.iter().cloned());
                    }
                }
                None if self.table.loose.take(hashed.rows[row]) => span.rows += counted,
                // Of an offset's rows one that is not there is enough.
                None if missed != Some(origin) => {
                    span.rows -= 1 - counted;
                    span.gaps += 1;
                    missed = Some(origin);
                }
                None => {}
            }
        }
        Ok(())
    }
}

/// Where rows came from that no operator with state has taken in.
pub(super) fn rows_of_log(chunk: &Chunk) -> &Runs {
    let runs = chunk.origins.runs();
    runs.expect("without state every row is one of the log")
}

/// Hashes of rows as a file would hold them.
#[derive(Clone)]
pub(super) struct Hashed {
    pub(super) rows: Vec<u64>,
    /// Columns that the file does not have and should: some of their values are there.
    pub(super) absent: Vec<String>,
}

/// Positions the source at the stretches and reads them to their ends, a poll at a time.
pub(super) fn read_all(
    source: &mut dyn Source,
    query: (Vec<ColumnName>, bool),
    stretches: &[Stretch],
    evidence: &Evidence<'_>,
    said: &mut Said,
    mut each: impl FnMut(&Reading, Polled, &mut dyn Source) -> Result<(), AuditError>,
) -> Result<Reading, AuditError> {
    let offsets = |end: fn(&Stretch) -> i64| -> Vec<SplitOffset> {
        let offset = |stretch: &Stretch| SplitOffset {
            topic: stretch.key.0.clone(),
            partition: stretch.key.1,
            next: end(stretch),
        };
        stretches.iter().map(offset).collect()
    };
    let (starts, ends) = (offsets(|at| at.from), offsets(|at| at.to));
    source.open(&starts, Some(&ends)).map_err(AuditError::Log)?;
    let splits = source.splits();
    let keys = splits
        .iter()
        .map(|split| (split.topic.to_string(), split.partition));
    let (columns, stated) = query;
    let reading = Reading {
        keys: keys.collect(),
        columns,
        stated,
    };
    let mut idle = 0;
    loop {
        evidence.go_on()?;
        let polled = source
            .poll(POLL_BYTES, Duration::from_millis(100))
            .map_err(AuditError::Log)?;
        idle = match polled.progress.is_empty() {
            true => idle + 1,
            false => 0,
        };
        if idle > MAX_IDLE_POLLS {
            let message = "the table accounts for offsets that the log does not have yet";
            said.findings.push(message.into());
            return Ok(reading);
        }
        let finished = polled.finished;
        each(&reading, polled, source)?;
        if finished {
            return Ok(reading);
        }
    }
}

impl Reading {
    /// Of a query that reads nothing.
    pub(super) fn of(keys: Vec<Key>, columns: Vec<ColumnName>) -> Reading {
        Reading {
            keys,
            columns,
            stated: true,
        }
    }

    /// Rows under the names of the query's columns.
    pub(super) fn in_columns(&self, rows: &RecordBatch) -> Result<RecordBatch, AuditError> {
        let columns = self.columns.iter().zip(rows.columns());
        let columns = columns.map(|(column, values)| (&column.name, values.clone(), true));
        Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
    }

    /// Hashes of rows as they would be in a file with these columns. A column that only the file has is NULL there, or the run
    /// differs. One that only the query has is a difference too, unless nobody knows that it was this query that made the file:
    /// then the file may be older than the column.
    pub(super) fn hashes_in(
        &self,
        layout: &Schema,
        rows: &RecordBatch,
    ) -> Result<Hashed, AuditError> {
        let options = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        let mut columns: Vec<(u64, ArrayRef)> = Vec::new();
        let mut absent = Vec::new();
        let places = places_in(layout, &self.columns).into_iter();
        for ((ColumnName { name, .. }, place), column) in
            self.columns.iter().zip(places).zip(rows.columns())
        {
            if let Some(field) = place.map(|place| layout.field(place)) {
                let column = match column.data_type() == field.data_type() {
                    true => column.clone(),
                    false => cast_with_options(column, field.data_type(), &options)?,
                };
                let column = match field.metadata().contains_key(EMPTY_IS_NULL) {
                    true => without_empty(&column),
                    false => column,
                };
                columns.push((key_of(field), column));
            } else if self.stated {
                if column.null_count() < column.len() {
                    absent.push(name.clone());
                }
                let unknown = Field::new(name, column.data_type().clone(), true);
                columns.push((key_of(&unknown), column.clone()));
            }
        }
        let rows = row_hashes(&columns, rows.num_rows())?;
        Ok(Hashed { rows, absent })
    }
}

/// Texts, of which an empty one is NULL.
fn without_empty(texts: &ArrayRef) -> ArrayRef {
    match texts.as_string_opt::<i32>() {
        Some(texts) => {
            let filled = texts
                .iter()
                .map(|text| text.filter(|text| !text.is_empty()));
            Arc::new(filled.collect::<StringArray>())
        }
        None => texts.clone(),
    }
}

/// What each query made of what is to be verified.
pub(super) fn stretches(
    queries: &[Query<'_>],
    partitions: &BTreeMap<Key, PartitionReport>,
) -> Vec<Vec<Stretch>> {
    let mut made = vec![Vec::new(); queries.len()];
    for (key, span) in partitions {
        for (index, range) in made_by(queries, key, span.verified_from..span.end) {
            made[index].push(Stretch {
                key: key.clone(),
                from: range.start,
                to: range.end,
            });
        }
    }
    made
}

/// Which query made which of a partition's offsets, the highest first: each goes on from where it began until a later one
/// begins. The first one stands in for what none of them claims.
pub(super) fn made_by(
    queries: &[Query<'_>],
    key: &Key,
    offsets: Range<i64>,
) -> Vec<(usize, Range<i64>)> {
    let mut made = Vec::new();
    let mut end = offsets.end;
    for (index, query) in queries.iter().enumerate().rev() {
        let begin = match (index, query.from.get(key)) {
            (0, _) => i64::MIN,
            (_, Some(begin)) => *begin,
            (_, None) => continue,
        };
        let from = begin.max(offsets.start);
        if from < end {
            made.push((index, from..end));
            end = from;
        }
    }
    made
}

/// Where a file has each of the query's columns.
pub(super) fn places_in(layout: &Schema, columns: &[ColumnName]) -> Vec<Option<usize>> {
    let fields = layout.fields().iter();
    places(columns, fields.map(|field| (&**field.name(), id_of(field))))
}
