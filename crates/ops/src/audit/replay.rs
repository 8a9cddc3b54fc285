//! What the log says: the query executed again over the same offsets, each row credited to the run that holds its offset.
//!
//! 1. [`begin`]: the source is positioned at the first offset of each partition that can be verified. 2. Poll by poll, each
//!    offset becomes rows, or is filtered, or fails. 3. Rows are hashed as the files that hold them have their columns.

use super::hash::{key_of, row_hashes};
use super::table::Table;
use super::{AuditError, Evidence, Key, PartitionReport};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{Schema, SchemaRef};
use lw_graph::name_in_files;
use lw_runtime::connector::Polled;
use lw_runtime::manifest::SplitOffset;
use lw_runtime::{Batch, Origin};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The log is durable before a table can hold it: a bounded read that finds nothing this often will never end.
const MAX_IDLE_POLLS: u32 = 20;
/// Bytes of records that are in memory at a time.
const POLL_BYTES: usize = 8 << 20;

/// What the log says, as far as it is read.
pub(super) struct Replay<'a> {
    pub(super) partitions: &'a mut BTreeMap<Key, PartitionReport>,
    pub(super) table: &'a mut Table,
    /// The columns that the query writes, in its order.
    pub(super) columns: Vec<String>,
    /// Offsets whose record fails, as they come: each must stand among the dead letters.
    pub(super) failed: BTreeMap<Key, Vec<i64>>,
    keys: Vec<Key>,
}

type At = (u32, i64);

impl<'a> Replay<'a> {
    pub(super) fn new(
        partitions: &'a mut BTreeMap<Key, PartitionReport>,
        table: &'a mut Table,
        columns: Vec<String>,
    ) -> Replay<'a> {
        Replay {
            partitions,
            table,
            columns,
            failed: BTreeMap::new(),
            keys: Vec::new(),
        }
    }

    /// Executes the query again over the spans, from the log.
    pub(super) fn run(
        &mut self,
        evidence: &mut Evidence<'_>,
        findings: &mut Vec<String>,
    ) -> Result<(), AuditError> {
        self.begin(evidence)?;
        let mut idle = 0;
        loop {
            evidence.go_on()?;
            let polled = evidence
                .source
                .poll(POLL_BYTES, Duration::from_millis(100))
                .map_err(AuditError::Log)?;
            idle = match polled.progress.is_empty() {
                true => idle + 1,
                false => 0,
            };
            if idle > MAX_IDLE_POLLS {
                let message = "the table accounts for offsets that the log does not have yet";
                findings.push(message.into());
                return Ok(());
            }
            let finished = polled.finished;
            self.take(polled, evidence)?;
            if finished {
                return Ok(());
            }
        }
    }

    /// Positions the source; what lies below cannot be verified.
    fn begin(&mut self, evidence: &mut Evidence<'_>) -> Result<(), AuditError> {
        let (mut starts, mut ends) = (Vec::new(), Vec::new());
        for (key, span) in self.partitions.iter_mut() {
            let log_start = evidence.log_starts.get(key).copied().unwrap_or(i64::MAX);
            let runs = self.table.runs.get(key).into_iter().flatten();
            // A run that cannot be taken apart takes the offsets that the log still has with it.
            let whole = runs
                .filter(|run| run.compared_from.is_none() && run.last >= log_start)
                .map(|run| run.last + 1);
            let from = whole
                .fold(log_start, i64::max)
                .min(span.end)
                .max(span.start);
            span.unverified = (from - span.start) as u64;
            span.verified_from = from;
            let at = |next| SplitOffset {
                topic: key.0.clone(),
                partition: key.1,
                next,
            };
            starts.push(at(from));
            ends.push(at(span.end));
        }
        let source = &mut evidence.source;
        source.open(&starts, Some(&ends)).map_err(AuditError::Log)?;
        let splits = source.splits();
        let keys = splits
            .iter()
            .map(|split| (split.topic.to_string(), split.partition));
        self.keys = keys.collect();
        Ok(())
    }

    fn take(&mut self, polled: Polled, evidence: &mut Evidence<'_>) -> Result<(), AuditError> {
        for progress in &polled.progress {
            if let Some(span) = self.partitions.get_mut(&self.keys[progress.split as usize]) {
                span.control += progress.control;
                span.filtered += progress.skipped;
            }
        }
        for letter in &polled.dead_letters {
            self.fail(&(letter.topic.to_string(), letter.partition), letter.offset);
        }
        for batch in polled.batches {
            let decoded = batch.origins.clone();
            let done = evidence.chain.process(batch)?;
            let mut outcomes: BTreeSet<At> = BTreeSet::new();
            for failure in &done.failures {
                let at = (failure.origin.split, failure.origin.offset);
                if outcomes.insert(at) {
                    let key = self.keys[failure.origin.split as usize].clone();
                    self.fail(&key, failure.origin.offset);
                }
            }
            let landed = done.batch.origins.iter();
            outcomes.extend(landed.map(|origin| (origin.split, origin.offset)));
            self.count_filtered(&decoded, &outcomes);
            self.credit(&done.batch)?;
        }
        Ok(())
    }

    fn in_span(&mut self, key: &Key, offset: i64) -> Option<&mut PartitionReport> {
        let span = self.partitions.get_mut(key)?;
        span.holds(offset).then_some(span)
    }

    fn fail(&mut self, key: &Key, offset: i64) {
        if let Some(span) = self.in_span(key, offset) {
            span.dead_letters += 1;
            self.failed.entry(key.clone()).or_default().push(offset);
        }
    }

    fn count_filtered(&mut self, decoded: &[Origin], outcomes: &BTreeSet<At>) {
        let mut last = None;
        for origin in decoded {
            let at = (origin.split, origin.offset);
            if last.replace(at) == Some(at) || outcomes.contains(&at) {
                continue;
            }
            let key = self.keys[origin.split as usize].clone();
            if let Some(span) = self.in_span(&key, origin.offset) {
                span.filtered += 1;
            }
        }
    }

    /// Credits each row to the run that holds its offset. An offset with rows in no run is a gap.
    fn credit(&mut self, batch: &Batch) -> Result<(), AuditError> {
        let mut hashes: Vec<Option<Vec<u64>>> = vec![None; self.table.layouts.len()];
        let mut last = None;
        for (row, origin) in batch.origins.iter().enumerate() {
            let first_row = last.replace(*origin) != Some(*origin);
            let key = self.keys[origin.split as usize].clone();
            let counted = u64::from(first_row);
            let span = self.partitions.get_mut(&key);
            let Some(span) = span.filter(|span| span.holds(origin.offset)) else {
                continue;
            };
            let run = self.table.runs.get_mut(&key).and_then(|runs| {
                let after = runs.partition_point(|run| run.first <= origin.offset);
                runs.get_mut(after.checked_sub(1)?)
                    .filter(|run| origin.offset <= run.last)
            });
            let Some(run) = run else {
                span.gaps += counted;
                continue;
            };
            let of_layout = &mut hashes[run.layout];
            if of_layout.is_none() {
                let layout = &self.table.layouts[run.layout];
                *of_layout = Some(hashes_in(layout, &self.columns, &batch.columns)?);
            }
            run.log.add(of_layout.as_ref().expect("it was made")[row]);
            span.rows += counted;
        }
        Ok(())
    }
}

/// Hashes of rows as they would be in a file with these columns. A column that only the file has is NULL there, or the run
/// differs; one that only the query has cannot be seen by readers of the file.
fn hashes_in(
    layout: &SchemaRef,
    names: &[String],
    rows: &RecordBatch,
) -> Result<Vec<u64>, AuditError> {
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let mut columns: Vec<(u64, ArrayRef)> = Vec::new();
    for (name, column) in names.iter().zip(rows.columns()) {
        if let Some(field) = named(layout, name) {
            let column = match column.data_type() == field.data_type() {
                true => column.clone(),
                false => cast_with_options(column, field.data_type(), &options)?,
            };
            columns.push((key_of(field), column));
        }
    }
    row_hashes(&columns, rows.num_rows())
}

/// The file's column for a column of the query, by its own name or the one that Iceberg gives it in files.
fn named<'a>(layout: &'a Schema, name: &str) -> Option<&'a arrow_schema::Field> {
    let in_files = name_in_files(name);
    let fields = layout.fields().iter();
    fields
        .map(|field| &**field)
        .find(|field| field.name() == name || *field.name() == in_files)
}
