//! The audit of a query with state: the plan is executed again from where the job began reading up to the last commit, through
//! the same operators, and its rows are compared with the table's as multisets, window by window.
//!
//! A row of an aggregate is of many records, so no run says where it came from, and a part of the log gives no part of the
//! table. The whole is compared where it can be. Where it cannot (the log begins behind the job's beginning, several queries made
//! the table, a rollback took rows away), the plan is executed from a *base*: a commit of which is known how far event time had
//! come. A window that begins later than that has rows of the log behind the base alone, and which of them were late hangs on
//! watermarks of rows behind it alone. So those windows are compared, and the others are `unverified`, with the reason.
//!
//! A table that was rolled back is compared up to its head: what the commits behind it were is open.
//!
//! A window that has not fired at the last commit is in neither.

mod ground;

use self::ground::{Ground, ground};
use super::hash::{Sum, key_of, row_hashes};
use super::replay::{Reading, Replay, Stretch, named, read_all, rows_of_log};
use super::spans::spans;
use super::table::Table;
use super::{AuditError, Evidence, Executable, Key, Letter, PartitionReport, Report, Said};
use super::{Windows, conclude, finish};
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{ArrayRef, RecordBatch};
use arrow_cast::cast;
use arrow_schema::{DataType, Schema, SchemaRef, TimeUnit};
use lw_runtime::connector::{Polled, Source};
use lw_runtime::operator::{AtSinks, Flow, Landed, Meetings, Round, SplitTimes, late_records};
use lw_runtime::{Origin, Runs, Split, SplitId};
use lw_stdx::calendar::utc;
use std::collections::{BTreeMap, BTreeSet};

/// Windows that differ and are told one by one.
const TOLD: usize = 5;

/// What has to be known of a query with state beside its evidence.
#[derive(Clone, Debug, Default)]
pub struct Recomputation {
    /// The columns of the table that say which window a row is of, in the query's order; without any, all rows are one lot.
    pub windows: Vec<String>,
    /// Where a bounded read ends, in all its partitions; nothing for a read without an end.
    pub ends: BTreeMap<(String, i32), i64>,
    /// Which of these columns is the window's start.
    pub start: Option<usize>,
    /// So many milliseconds before its start, and no earlier, is a row that has a part in a window; `None` where nothing bounds that.
    pub reach: Option<i64>,
    /// Commits from which the query can be executed, oldest first.
    pub bases: Vec<Base>,
    /// What the table's commits say of late records, where they say it of all that it accounts for.
    pub late: BTreeMap<(String, i32), u64>,
    /// Partitions whose first rows event time waited for; `None` where nobody knows, then all of them.
    pub awaited: Option<BTreeSet<(String, i32)>>,
    /// Partitions that may have appeared while the query ran, of which the checkpoint does not say whether they were waited for.
    pub joined: Vec<(String, i32)>,
    /// The bounded read is at its end and all that came of it is committed: every window has fired.
    pub ended: bool,
}

/// A commit of which is known how far event time had come.
#[derive(Clone, Debug, Default)]
pub struct Base {
    /// Where each partition goes on behind it.
    pub ends: BTreeMap<(String, i32), i64>,
    /// No event time and no partition's watermark was greater up to there, milliseconds since 1970.
    pub reached: i64,
    /// Partitions whose first row behind it event time waits for.
    pub awaited: BTreeSet<(String, i32)>,
}

/// The window of a row: microseconds since 1970, as the table shows them.
type Window = Vec<Option<i64>>;

/// What the table and the log have of each window.
type Lots = BTreeMap<Window, Both>;

#[derive(Default)]
struct Both {
    table: Sum,
    log: Sum,
}

/// Runs the audit of a query with state.
///
/// # Errors
/// As [`super::audit`].
pub fn audit_recomputed(
    mut evidence: Evidence<'_>,
    how: &Recomputation,
) -> Result<Report, AuditError> {
    let mut said = Said {
        notes: std::mem::take(&mut evidence.notes),
        ..Said::default()
    };
    let mut partitions = spans(&evidence, &mut said.findings);
    let queries = std::mem::take(&mut evidence.queries);
    let mut lots = Lots::new();
    let layout = read_table(&mut evidence, how, &mut lots)?;
    let table_rows = lots.values().map(|both| both.table.rows).sum();
    let ground = ground(&queries, &partitions, &evidence, how);
    let made = ground.and_then(|ground| {
        let query = queries.into_iter().nth(ground.query);
        let executable = (query.expect("it is one of them").make)()?;
        Ok((ground, executable))
    });
    let windows = match made {
        Ok((ground, executable)) => {
            let unverified = ground.leave_out(&mut lots, how);
            ground.give_up(&mut partitions);
            recompute(
                &mut evidence,
                &mut partitions,
                executable,
                (how, &ground, layout),
                &mut lots,
                &mut said,
            )?;
            ground.leave_out(&mut lots, how);
            said.notes.extend(ground.why.clone());
            let before = said.findings.len();
            if ground.why.is_none() {
                compare_late(&partitions, how, &mut said.findings);
            }
            let windows = tell(&lots, how, &mut said.findings);
            if said.findings.len() > before {
                said.notes.extend(how.joined.iter().map(may_have_joined));
            }
            Some(Windows {
                unverified,
                ..windows
            })
        }
        Err(reason) => {
            said.notes.push(reason);
            for span in partitions.values_mut() {
                span.unverified = (span.end - span.start).unsigned_abs();
            }
            None
        }
    };
    for span in partitions.values_mut() {
        conclude(span, &mut said.findings);
    }
    Ok(finish(evidence, partitions, said, table_rows, windows))
}

/// Executes the query again over what it made the table from.
fn recompute(
    evidence: &mut Evidence<'_>,
    partitions: &mut BTreeMap<Key, PartitionReport>,
    executable: Executable,
    (how, ground, layout): (&Recomputation, &Ground<'_>, SchemaRef),
    lots: &mut Lots,
    said: &mut Said,
) -> Result<(), AuditError> {
    let parts = ground.parts.iter().filter(|(_, (from, to))| from < to);
    let stretches = parts.map(|(key, (from, to))| Stretch {
        key: key.clone(),
        from: *from,
        to: *to,
    });
    let stretches: Vec<Stretch> = stretches.collect();
    let mut nothing = Table::default();
    let mut recomputing = Recomputing {
        replay: Replay::new(partitions, &mut nothing),
        flow: executable.flow,
        layout,
        how,
        awaited: match ground.base {
            Some(base) => Some(&base.awaited),
            None => how.awaited.as_ref(),
        },
        lots,
        late: BTreeSet::new(),
        late_rows: evidence.late.as_ref().map(|_| BTreeMap::new()),
        begun: false,
    };
    let query = (executable.columns, true);
    let mut source = executable.source;
    let reading = read_all(
        &mut *source,
        query,
        &stretches,
        evidence,
        said,
        |reading, polled, source| recomputing.take(reading, polled, source),
    )?;
    if how.ended && evidence.rolled_back.is_none() {
        recomputing.end(&reading)?;
    }
    let late_rows = recomputing.late_rows.take();
    let failed = recomputing.replay.failed;
    if let Some((late, rows)) = evidence.late.take().zip(late_rows) {
        match ground.why {
            None => late.compare_late(rows, partitions, &mut said.findings),
            Some(_) => said.notes.push(format!(
                "{} is not compared: some of it is of what is not executed again",
                late.table
            )),
        }
    }
    if let Some(letters) = evidence.letters.take() {
        letters.compare(failed, partitions, &mut said.findings);
    }
    Ok(())
}

/// The table's rows by window; the columns of its newest file.
fn read_table(
    evidence: &mut Evidence<'_>,
    how: &Recomputation,
    lots: &mut Lots,
) -> Result<SchemaRef, AuditError> {
    let files = std::mem::take(&mut evidence.files);
    let mut layout = SchemaRef::new(Schema::empty());
    for file in &files {
        let failed = |reason| AuditError::File {
            path: file.path.clone(),
            reason,
        };
        for batch in (evidence.read_file)(file).map_err(failed)? {
            evidence.go_on()?;
            let batch = batch.map_err(failed)?;
            let schema = batch.schema();
            let columns = schema.fields().iter().map(|field| key_of(field));
            let columns: Vec<(u64, ArrayRef)> =
                columns.zip(batch.columns().iter().cloned()).collect();
            let hashes = row_hashes(&columns, batch.num_rows())?;
            let windows = windows_of(&batch, how)?;
            for (hash, window) in hashes.into_iter().zip(windows) {
                lots.entry(window).or_default().table.add(hash);
            }
            layout = schema;
        }
    }
    evidence.files = files;
    Ok(layout)
}

/// The window of each row.
fn windows_of(batch: &RecordBatch, how: &Recomputation) -> Result<Vec<Window>, AuditError> {
    let schema = batch.schema();
    let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
    let mut windows = vec![Window::new(); batch.num_rows()];
    for name in &how.windows {
        let Some(field) = named(&schema, name) else {
            continue;
        };
        let column = cast(batch.column(schema.index_of(field.name())?), &micros)?;
        let column = column.as_primitive::<TimestampMicrosecondType>();
        for (window, value) in windows.iter_mut().zip(column) {
            window.push(value);
        }
    }
    Ok(windows)
}

/// The plan at work again.
struct Recomputing<'a> {
    replay: Replay<'a>,
    flow: Flow,
    /// Rows are compared as the table's files have them.
    layout: SchemaRef,
    how: &'a Recomputation,
    awaited: Option<&'a BTreeSet<Key>>,
    lots: &'a mut Lots,
    /// Records that came too late.
    late: BTreeSet<(Key, i64)>,
    /// The records of all rows that came too late, where somebody asks for them.
    late_rows: Option<BTreeMap<Key, Vec<Letter>>>,
    begun: bool,
}

impl Recomputing<'_> {
    fn take(
        &mut self,
        reading: &Reading,
        polled: Polled,
        source: &mut dyn Source,
    ) -> Result<(), AuditError> {
        if !std::mem::replace(&mut self.begun, true) {
            let awaited = SplitTimes::awaiting(self.awaited(reading));
            let splits = source.splits();
            let begin = &Meetings::default();
            let upstream = &mut self.flow.upstream;
            upstream.go_on_from(&awaited, &splits, |_| None, begin);
        }
        self.replay.pass(reading, &polled);
        self.flow.upstream.appended(&polled.appended);
        let splits = source.splits();
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
        let done = self.done(reading, source);
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
            self.late(reading, late_records(&landed, splits, late));
        }
        self.keep_late(reading, &at, source)?;
        self.land(reading, at)
    }

    /// The partitions whose first rows event time waits for.
    fn awaited(&self, reading: &Reading) -> BTreeSet<SplitId> {
        let is_awaited = |key: &Key| self.awaited.is_none_or(|awaited| awaited.contains(key));
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

    /// The records of which windows took nothing in.
    fn late(&mut self, reading: &Reading, records: Vec<Origin>) {
        for Origin { split, offset } in records {
            let key = &reading.keys[split as usize];
            if let Some(span) = self.replay.partitions.get_mut(key)
                && self.late.insert((key.clone(), offset))
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
        let Some(kept) = &mut self.late_rows else {
            return Ok(());
        };
        let keys = || (0..).zip(&reading.keys);
        let rows = at
            .late
            .iter()
            .flatten()
            .filter_map(|row| row.record.as_ref());
        let origins = rows.filter_map(|(split, offset)| {
            let is_it = |key: &Key| *key.0 == *split.topic && key.1 == split.partition;
            let (split, _) = keys().find(|(_, key)| is_it(key))?;
            Some(Origin {
                split,
                offset: *offset,
            })
        });
        let origins: Vec<Origin> = origins.collect();
        if origins.is_empty() {
            return Ok(());
        }
        // Each record once: several of its rows may be late.
        let records: BTreeSet<Origin> = origins.iter().copied().collect();
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
        for origin in origins {
            let key = reading.keys[origin.split as usize].clone();
            kept.entry(key).or_default().push(by_record[&origin]);
        }
        Ok(())
    }

    fn land(&mut self, reading: &Reading, at: AtSinks) -> Result<(), AuditError> {
        for chunk in at.rows.into_iter().flatten() {
            let named = reading.in_columns(&chunk.columns)?;
            let windows = windows_of(&named, self.how)?;
            let hashes = reading.hashes_in(&self.layout, &chunk.columns)?;
            for (hash, window) in hashes.rows.into_iter().zip(windows) {
                self.lots.entry(window).or_default().log.add(hash);
            }
        }
        Ok(())
    }

    /// The partitions in which a bounded read is at its end.
    fn done(&self, reading: &Reading, source: &dyn Source) -> BTreeSet<SplitId> {
        let positions = source.positions();
        let is_done = |key: &Key| {
            let mut at = positions.iter();
            let at = at.find(|at| at.topic == key.0 && at.partition == key.1);
            let end = self.how.ends.get(key);
            end.is_some_and(|end| at.is_some_and(|at| at.next >= *end))
        };
        let keys = (0..).zip(&reading.keys);
        keys.filter(|(_, key)| is_done(key))
            .map(|(id, _)| id)
            .collect()
    }

    /// The read is at its end, and so is event time.
    fn end(&mut self, reading: &Reading) -> Result<(), AuditError> {
        let mut at = self.flow.downstream.at_sinks();
        self.flow.downstream.end(&mut at)?;
        self.land(reading, at)
    }
}

/// A late record is in no window, so only its count tells whether one was dropped that was in time.
fn compare_late(
    partitions: &BTreeMap<Key, PartitionReport>,
    how: &Recomputation,
    findings: &mut Vec<String>,
) {
    for (key, span) in partitions {
        let told = how.late.get(key);
        if let Some(told) = told.filter(|told| **told != span.late) {
            let ((topic, partition), late) = (key, span.late);
            findings.push(format!(
                "{topic}[{partition}]: the commits say that {told} records were late, the log gives {late}"
            ));
        }
    }
}

/// Event time waits for a partition from when it was found; executed again the query has it from the start on, and a record
/// that was late then need not be now.
fn may_have_joined((topic, partition): &Key) -> String {
    format!(
        "{topic}[{partition}] is not in the table's first commit: if it was created while the pipeline ran, event time waited for it only from then on, and records that were late may not be late here"
    )
}

/// Says which windows differ.
fn tell(lots: &Lots, how: &Recomputation, findings: &mut Vec<String>) -> Windows {
    let differ = lots.iter().filter(|(_, both)| both.table != both.log);
    let differ: Vec<(&Window, &Both)> = differ.collect();
    for (window, both) in differ.iter().take(TOLD) {
        let (table, log) = (both.table.rows, both.log.rows);
        let what = match window.is_empty() {
            true => "the table".to_string(),
            false => format!("window {}", shown(window, how)),
        };
        findings.push(match table == log {
            true => format!("{what}: its {table} rows are not those that the log gives"),
            false => format!("{what}: the table holds {table} rows, the log gives {log}"),
        });
    }
    if differ.len() > TOLD {
        let more = differ.len() - TOLD;
        findings.push(format!("{more} more windows differ"));
    }
    Windows {
        compared: lots.len() as u64,
        differ: differ.len() as u64,
        unverified: 0,
    }
}

/// `window_start 2026-01-01T00:00:00.000Z, window_end …`
fn shown(window: &Window, how: &Recomputation) -> String {
    let parts = how
        .windows
        .iter()
        .zip(window)
        .map(|(name, micros)| match micros {
            // What a window says of itself is local time.
            Some(micros) => {
                let time = utc(micros.div_euclid(1000));
                format!("{name} {}", time.trim_end_matches('Z'))
            }
            None => format!("{name} NULL"),
        });
    parts.collect::<Vec<String>>().join(", ")
}

#[cfg(test)]
mod tests;
