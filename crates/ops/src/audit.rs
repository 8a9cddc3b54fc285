//! The audit: does the table hold exactly what the log says, offset by offset?
//!
//! No counter that a pipeline keeps about itself is evidence. What is compared:
//!
//! 1. From the table: the markers' ranges say which offsets it accounts for; each data file's footer lists the runs of
//!    offsets that its rows came from. Every file is read back, and each run's rows become a count and a multiset hash.
//! 2. From the log: the query is executed again over the same offsets. Each offset becomes rows, or is filtered, or cannot
//!    be processed (a dead letter), or is a control record.
//! 3. Run by run the counts and hashes must agree. An offset that gives rows and stands in no run is lost (`gaps`); one
//!    that stands in two runs is doubled; one that the log no longer has is `unverified`.
//!
//! The hash of a run is the sum of its rows' hashes, so the order of rows is free and a doubled row shows.
//!
//! `end − start = rows + filtered + late + dead_letters + control + open + unverified + gaps` holds per partition.

use arrow_array::RecordBatch;
use arrow_row::{RowConverter, SortField};
use arrow_schema::{ArrowError, SchemaRef};
use lw_runtime::Origin;
use lw_runtime::chain::{Chain, ChainError};
use lw_runtime::connector::{ConnectorError, Source};
use lw_runtime::manifest::SplitOffset;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;
use thiserror::Error;

/// The offsets `[start, end)` of a partition that one commit accounts for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkedRange {
    pub topic: String,
    pub partition: i32,
    pub start: i64,
    pub end: i64,
}

/// A run of rows in a data file: `rows` rows that came from the offsets `first..=last` of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub topic: String,
    pub partition: i32,
    pub first: i64,
    pub last: i64,
    pub rows: u64,
}

/// A data file and its runs, in the order of its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditedFile {
    pub path: String,
    pub runs: Vec<Run>,
}

/// What the table says, and how to read it and the log again.
pub struct Evidence<'a> {
    pub table: String,
    pub ranges: Vec<MarkedRange>,
    pub files: Vec<AuditedFile>,
    /// Rows of one data file, in the file's order, columns in the table's order.
    #[expect(clippy::type_complexity, reason = "one seam, spelled out")]
    pub read_file: Box<dyn FnMut(&AuditedFile) -> Result<Vec<RecordBatch>, String> + 'a>,
    pub source: Box<dyn Source>,
    pub chain: Chain,
    /// First offset that the log still has, by topic and partition.
    pub log_starts: BTreeMap<(String, i32), i64>,
    /// Snapshots that carry no marker of a pipeline, listed apart.
    pub foreign_snapshots: Vec<i64>,
    /// Files of position or equality deletes: they hide rows that the data files still hold.
    pub delete_files: u64,
}

/// Why an audit could not be made. A table that is not clean is a [`Report`], not an error.
#[derive(Debug, Error)]
pub enum AuditError {
    #[error("data file {path} cannot be read: {reason}")]
    File { path: String, reason: String },
    #[error("the log cannot be read: {0}")]
    Log(ConnectorError),
    #[error("the query cannot be executed again: {0}")]
    Query(#[from] ChainError),
    #[error("rows cannot be compared: {0}")]
    Arrow(#[from] ArrowError),
}

/// The contract of `lakeward audit -o json` (DESIGN §2).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub table: String,
    pub kind: &'static str,
    pub ok: bool,
    pub totals: Totals,
    pub partitions: Vec<PartitionReport>,
    /// What is wrong, a sentence each.
    pub findings: Vec<String>,
    pub foreign_snapshots: Vec<i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    pub offsets: u64,
    pub rows: u64,
    /// Rows in the table; differs from `rows` when a record becomes several.
    pub table_rows: u64,
    pub filtered: u64,
    pub late: u64,
    pub dead_letters: u64,
    pub control: u64,
    pub open: u64,
    pub unverified: u64,
    pub gaps: u64,
    pub duplicates: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PartitionReport {
    pub topic: String,
    pub partition: i32,
    pub start: i64,
    /// Exclusive.
    pub end: i64,
    pub rows: u64,
    pub filtered: u64,
    pub late: u64,
    pub dead_letters: u64,
    pub control: u64,
    pub open: u64,
    pub unverified: u64,
    pub gaps: u64,
    pub duplicates: u64,
}

type Key = (String, i32);

/// The log is durable before a table can hold it: a bounded read that finds nothing this often will never end.
const MAX_IDLE_POLLS: u32 = 20;

/// Count and multiset hash of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    rows: u64,
    hash: u128,
}

impl Sum {
    fn add(&mut self, hash: u64) {
        self.rows += 1;
        self.hash = self.hash.wrapping_add(u128::from(hash));
    }
}

/// A run with what the table and the log make of it.
struct AuditedRun {
    first: i64,
    last: i64,
    path: String,
    table: Sum,
    log: Sum,
}

/// Runs the audit.
///
/// # Errors
/// [`AuditError`] when the table or the log cannot be read.
pub fn audit(mut evidence: Evidence<'_>) -> Result<Report, AuditError> {
    let mut findings = Vec::new();
    if evidence.delete_files > 0 {
        findings.push(format!(
            "another writer deleted rows: {} delete files hide rows of the data files",
            evidence.delete_files
        ));
    }
    let mut partitions = spans(&evidence.ranges, &mut findings);
    let (mut runs, schema) = table_sums(&mut evidence, &mut findings)?;
    let duplicates = overlaps(&runs, &mut findings);
    outside(&runs, &partitions, &mut findings);
    replay(
        &mut evidence,
        schema,
        &mut partitions,
        &mut runs,
        &mut findings,
    )?;
    for (key, runs) in &runs {
        for run in runs {
            compare(key, run, &evidence.log_starts, &mut findings);
        }
    }
    let mut totals = Totals::default();
    for (key, partition) in &mut partitions {
        partition.duplicates = duplicates.get(key).copied().unwrap_or(0);
        conclude(partition, &mut findings);
        add_up(&mut totals, partition);
    }
    totals.table_rows = runs.values().flatten().map(|run| run.table.rows).sum();
    let ok = findings.is_empty() && totals.gaps == 0 && totals.duplicates == 0;
    Ok(Report {
        table: evidence.table,
        kind: "append",
        ok,
        totals,
        partitions: partitions.into_values().collect(),
        findings,
        foreign_snapshots: evidence.foreign_snapshots,
    })
}

/// The whole span of each partition; a hole or an overlap between two commits' ranges is a finding.
fn spans(ranges: &[MarkedRange], findings: &mut Vec<String>) -> BTreeMap<Key, PartitionReport> {
    let mut sorted: Vec<&MarkedRange> = ranges.iter().collect();
    sorted.sort_by(|a, b| (&a.topic, a.partition, a.start).cmp(&(&b.topic, b.partition, b.start)));
    let mut spans = BTreeMap::new();
    for range in sorted {
        let key = (range.topic.clone(), range.partition);
        let span = spans.entry(key).or_insert_with(|| PartitionReport {
            topic: range.topic.clone(),
            partition: range.partition,
            start: range.start,
            end: range.start,
            ..PartitionReport::default()
        });
        if range.start != span.end {
            let what = if range.start > span.end {
                "a hole between"
            } else {
                "an overlap of"
            };
            findings.push(format!(
                "{}[{}]: {what} two commits: one ends at {}, the next begins at {}",
                range.topic, range.partition, span.end, range.start
            ));
        }
        span.end = span.end.max(range.end);
    }
    spans
}

/// Reads every file back: count and hash per run.
fn table_sums(
    evidence: &mut Evidence<'_>,
    findings: &mut Vec<String>,
) -> Result<(BTreeMap<Key, Vec<AuditedRun>>, Option<SchemaRef>), AuditError> {
    let mut runs: BTreeMap<Key, Vec<AuditedRun>> = BTreeMap::new();
    let mut schema: Option<SchemaRef> = None;
    for file in &evidence.files {
        let batches = (evidence.read_file)(file).map_err(|reason| AuditError::File {
            path: file.path.clone(),
            reason,
        })?;
        let mut hashes = Vec::new();
        for batch in &batches {
            let rows = RowHashes::new(&batch.schema())?;
            hashes.extend(rows.hashes(batch)?);
            schema.get_or_insert_with(|| batch.schema());
        }
        let listed: u64 = file.runs.iter().map(|run| run.rows).sum();
        if listed != hashes.len() as u64 {
            findings.push(format!(
                "{}: its runs list {listed} rows, it holds {}",
                file.path,
                hashes.len()
            ));
        }
        let mut rest = hashes.into_iter();
        for run in &file.runs {
            let mut sum = Sum::default();
            rest.by_ref()
                .take(run.rows as usize)
                .for_each(|hash| sum.add(hash));
            runs.entry((run.topic.clone(), run.partition))
                .or_default()
                .push(AuditedRun {
                    first: run.first,
                    last: run.last,
                    path: file.path.clone(),
                    table: sum,
                    log: Sum::default(),
                });
        }
    }
    for runs in runs.values_mut() {
        runs.sort_by_key(|run| (run.first, run.last));
    }
    Ok((runs, schema))
}

/// Offsets that stand in two runs, per partition.
fn overlaps(
    runs: &BTreeMap<Key, Vec<AuditedRun>>,
    findings: &mut Vec<String>,
) -> BTreeMap<Key, u64> {
    let mut doubled = BTreeMap::new();
    for (key, runs) in runs {
        let mut end = i64::MIN;
        for run in runs {
            if run.first <= end {
                let count = end.min(run.last) - run.first + 1;
                *doubled.entry(key.clone()).or_default() += count as u64;
                findings.push(format!(
                    "{}[{}]: offsets {} to {} stand in the table twice",
                    key.0,
                    key.1,
                    run.first,
                    end.min(run.last)
                ));
            }
            end = end.max(run.last);
        }
    }
    doubled
}

/// Rows from offsets that no commit accounts for.
fn outside(
    runs: &BTreeMap<Key, Vec<AuditedRun>>,
    spans: &BTreeMap<Key, PartitionReport>,
    findings: &mut Vec<String>,
) {
    for (key, runs) in runs {
        let span = spans.get(key);
        for run in runs {
            if span.is_none_or(|span| run.first < span.start || run.last >= span.end) {
                findings.push(format!(
                    "{}[{}]: {} holds offsets {} to {}, which no commit accounts for",
                    key.0, key.1, run.path, run.first, run.last
                ));
            }
        }
    }
}

/// Executes the query again over the spans, from the log.
fn replay(
    evidence: &mut Evidence<'_>,
    schema: Option<SchemaRef>,
    partitions: &mut BTreeMap<Key, PartitionReport>,
    runs: &mut BTreeMap<Key, Vec<AuditedRun>>,
    findings: &mut Vec<String>,
) -> Result<(), AuditError> {
    let mut starts = Vec::new();
    for (key, span) in partitions.iter_mut() {
        let log_start = evidence.log_starts.get(key).copied().unwrap_or(i64::MAX);
        let from = span.start.max(log_start.min(span.end));
        span.unverified = (from - span.start) as u64;
        starts.push(SplitOffset {
            topic: key.0.clone(),
            partition: key.1,
            next: from,
        });
    }
    let ends: Vec<SplitOffset> = partitions
        .iter()
        .map(|(key, span)| SplitOffset {
            topic: key.0.clone(),
            partition: key.1,
            next: span.end,
        })
        .collect();
    evidence
        .source
        .open(&starts, Some(&ends))
        .map_err(AuditError::Log)?;
    let splits = evidence.source.splits();
    let keys: Vec<Key> = splits
        .iter()
        .map(|split| (split.topic.to_string(), split.partition))
        .collect();
    let mut idle = 0;
    loop {
        let polled = evidence
            .source
            .poll(8 << 20, Duration::from_millis(100))
            .map_err(AuditError::Log)?;
        let finished = polled.finished;
        idle = if polled.progress.is_empty() {
            idle + 1
        } else {
            0
        };
        if idle > MAX_IDLE_POLLS {
            findings.push("the table accounts for offsets that the log does not have yet".into());
            break;
        }
        for progress in &polled.progress {
            if let Some(span) = partitions.get_mut(&keys[progress.split as usize]) {
                span.control += progress.control;
                span.filtered += progress.skipped;
            }
        }
        for letter in &polled.dead_letters {
            count_dead(
                partitions,
                &(letter.topic.to_string(), letter.partition),
                letter.offset,
            );
        }
        for batch in polled.batches {
            let decoded = batch.origins.clone();
            let done = evidence.chain.process(batch)?;
            for failure in &done.failures {
                count_dead(
                    partitions,
                    &keys[failure.origin.split as usize],
                    failure.origin.offset,
                );
            }
            let failed: BTreeSet<(u32, i64)> = done
                .failures
                .iter()
                .map(|failure| (failure.origin.split, failure.origin.offset))
                .collect();
            let landed: BTreeSet<(u32, i64)> = done
                .batch
                .origins
                .iter()
                .map(|origin| (origin.split, origin.offset))
                .collect();
            count_filtered(partitions, &keys, &decoded, &landed, &failed);
            let hashes = expected_hashes(&done.batch.columns, schema.as_ref())?;
            credit(&keys, &done.batch.origins, &hashes, partitions, runs);
        }
        if finished {
            break;
        }
    }
    Ok(())
}

fn in_span<'a>(
    partitions: &'a mut BTreeMap<Key, PartitionReport>,
    key: &Key,
    offset: i64,
) -> Option<&'a mut PartitionReport> {
    partitions
        .get_mut(key)
        .filter(|span| (span.start..span.end).contains(&offset))
}

fn count_dead(partitions: &mut BTreeMap<Key, PartitionReport>, key: &Key, offset: i64) {
    if let Some(span) = in_span(partitions, key, offset) {
        span.dead_letters += 1;
    }
}

fn count_filtered(
    partitions: &mut BTreeMap<Key, PartitionReport>,
    keys: &[Key],
    decoded: &[Origin],
    landed: &BTreeSet<(u32, i64)>,
    failed: &BTreeSet<(u32, i64)>,
) {
    let mut last = None;
    for origin in decoded {
        let at = (origin.split, origin.offset);
        if last == Some(at) {
            continue;
        }
        last = Some(at);
        if !landed.contains(&at)
            && !failed.contains(&at)
            && let Some(span) = in_span(partitions, &keys[origin.split as usize], origin.offset)
        {
            span.filtered += 1;
        }
    }
}

/// Credits each row to the run that holds its offset. An offset with rows in no run is a gap.
fn credit(
    keys: &[Key],
    origins: &[Origin],
    hashes: &[u64],
    partitions: &mut BTreeMap<Key, PartitionReport>,
    runs: &mut BTreeMap<Key, Vec<AuditedRun>>,
) {
    let mut last = None;
    for (origin, hash) in origins.iter().zip(hashes) {
        let key = &keys[origin.split as usize];
        let Some(span) = in_span(partitions, key, origin.offset) else {
            continue;
        };
        let run = runs.get_mut(key).and_then(|runs| {
            let after = runs.partition_point(|run| run.first <= origin.offset);
            runs.get_mut(after.checked_sub(1)?)
                .filter(|run| origin.offset <= run.last)
        });
        let first_row = last != Some(*origin);
        last = Some(*origin);
        match run {
            Some(run) => {
                run.log.add(*hash);
                span.rows += u64::from(first_row);
            }
            None => span.gaps += u64::from(first_row),
        }
    }
}

fn expected_hashes(
    columns: &RecordBatch,
    schema: Option<&SchemaRef>,
) -> Result<Vec<u64>, AuditError> {
    let Some(schema) = schema else {
        return Ok(vec![0; columns.num_rows()]);
    };
    let cast: Vec<_> = columns
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| arrow_cast::cast(column, field.data_type()))
        .collect::<Result<_, _>>()?;
    let hashes = RowHashes::new(schema)?;
    hashes.hash_columns(&cast)
}

fn compare(
    key: &Key,
    run: &AuditedRun,
    log_starts: &BTreeMap<Key, i64>,
    findings: &mut Vec<String>,
) {
    let verifiable = log_starts.get(key).is_some_and(|start| run.first >= *start);
    if !verifiable || run.table == run.log {
        return;
    }
    let (topic, partition) = key;
    let what = if run.table.rows == run.log.rows {
        format!("{} rows differ from what the log gives", run.table.rows)
    } else {
        format!(
            "{} rows in the table, {} from the log",
            run.table.rows, run.log.rows
        )
    };
    findings.push(format!(
        "{topic}[{partition}] offsets {} to {} in {}: {what}",
        run.first, run.last, run.path
    ));
}

/// What is left of a partition's span and is nothing else is a gap too: compacted away, or lost.
fn conclude(partition: &mut PartitionReport, findings: &mut Vec<String>) {
    let offsets = (partition.end - partition.start) as u64;
    let accounted = partition.rows
        + partition.filtered
        + partition.dead_letters
        + partition.control
        + partition.unverified
        + partition.gaps;
    let (topic, number) = (&partition.topic, partition.partition);
    if partition.gaps > 0 {
        findings.push(format!(
            "{topic}[{number}]: {} offsets give rows that the table does not hold",
            partition.gaps
        ));
    }
    match offsets.checked_sub(accounted) {
        Some(0) => {}
        Some(missing) => {
            findings.push(format!(
                "{topic}[{number}]: {missing} offsets could not be found again in the log"
            ));
            partition.gaps += missing;
        }
        None => findings.push(format!(
            "{topic}[{number}]: {accounted} outcomes for {offsets} offsets"
        )),
    }
}

fn add_up(totals: &mut Totals, partition: &PartitionReport) {
    totals.offsets += (partition.end - partition.start) as u64;
    totals.rows += partition.rows;
    totals.filtered += partition.filtered;
    totals.dead_letters += partition.dead_letters;
    totals.control += partition.control;
    totals.unverified += partition.unverified;
    totals.gaps += partition.gaps;
    totals.duplicates += partition.duplicates;
}

/// Hashes rows by their values: equal rows give equal hashes, whichever side they come from.
struct RowHashes {
    converter: RowConverter,
    hasher: ahash::RandomState,
}

impl RowHashes {
    fn new(schema: &SchemaRef) -> Result<RowHashes, AuditError> {
        let fields = schema
            .fields()
            .iter()
            .map(|field| SortField::new(field.data_type().clone()))
            .collect();
        Ok(RowHashes {
            converter: RowConverter::new(fields)?,
            hasher: ahash::RandomState::with_seeds(1, 2, 3, 4),
        })
    }

    fn hashes(&self, batch: &RecordBatch) -> Result<Vec<u64>, AuditError> {
        self.hash_columns(batch.columns())
    }

    fn hash_columns(&self, columns: &[arrow_array::ArrayRef]) -> Result<Vec<u64>, AuditError> {
        let rows = self.converter.convert_columns(columns)?;
        Ok(rows
            .iter()
            .map(|row| {
                let mut hasher = self.hasher.build_hasher();
                hasher.write(row.as_ref());
                hasher.finish()
            })
            .collect())
    }
}

#[cfg(test)]
mod tests;
