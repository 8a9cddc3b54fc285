//! The audit: does the table hold exactly what the log says, offset by offset?
//!
//! No counter that a pipeline keeps about itself is evidence. What is compared:
//!
//! 1. From the table: the markers' ranges say which offsets it accounts for; each data file's footer lists the runs of
//!    offsets that its rows came from. Every file is read back, and each run's rows become a count and a multiset hash.
//! 2. From the log: each query is executed again over the offsets that it made. Each offset becomes rows, or is filtered, or
//!    cannot be processed (a dead letter), or is a control record. Where a rollback took commits away, the offsets up to the
//!    newest commit's end are asked for too. Where the log is gone, the [`ledger`] has its word.
//! 3. Each offset whose record fails must stand among the dead letters, and each dead letter must be of such a record.
//! 4. Run by run the counts and hashes must agree. An offset that gives rows and stands in no run is lost (`gaps`); one
//!    that stands in two runs is doubled; one that the log no longer has is `unverified`, which is never success by itself.
//!    A run that straddles the log's start is compared for the part that the log still has.
//!
//! A query with state is [`recomputed`] as a whole instead: its rows come from no run.
//!
//! The hash of a run is the sum of its rows' hashes, so the order of rows is free and a doubled row shows.
//!
//! Rows that were [erased] from the table on purpose are not asked for: an offset that gives only such rows is `erased`.
//!
//! `end − start = rows + filtered + erased + late + dead_letters + control + open + unverified + gaps` holds per partition.

pub mod ahead;
mod erased;
mod hash;
pub mod ledger;
mod letters;
mod others;
mod recomputed;
mod replay;
mod spans;
mod table;

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
pub use erased::{Erased, WhichErased};
use ledger::{Entry, Ledger};
pub use letters::{ErasedLetters, IsErased, Letter, Letters};
use lw_graph::ColumnName;
use lw_runtime::connector::{ConnectorError, Source};
use lw_runtime::operator::{Flow, OperatorError};
use lw_runtime::state::StateError;
pub use others::{Others, OthersFile};
use others::{conclude_loose, read_loose};
pub use recomputed::{Base, Recomputation, ToldLate, Word};
pub use recomputed::{audit_recomputed, audit_recomputed_for_ledger};
use replay::Replay;
use serde::Serialize;
use spans::spans;
use std::collections::BTreeMap;
use std::ops::Range;
use table::{compare, keep_inside, outside, overlaps, read_table};
use thiserror::Error;

/// In the metadata of a field of a file's rows: an empty text that the query gives is NULL there.
pub const EMPTY_IS_NULL: &str = "lakeward.empty-is-null";

/// The offsets `[start, end)` of a partition that one commit accounts for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkedRange {
    pub topic: String,
    pub partition: i32,
    pub start: i64,
    pub end: i64,
    /// The commit followed on the one before it that the table shows. Otherwise that one was rolled back, and adopted so.
    pub follows: bool,
}

/// Offsets that the newest commit accounted for and the table's head does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolledBack {
    /// The pipeline was told to go on without them.
    pub adopted: bool,
    pub ranges: Vec<MarkedRange>,
}

/// A run of rows in a data file: `rows` rows that came from the offsets `first..=last` of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub topic: String,
    pub partition: i32,
    pub first: i64,
    pub last: i64,
    pub rows: u64,
    /// Offsets between `first` and `last` without a row, as `[from, to)`; `None` when the file only counts them.
    pub skipped: Option<Vec<(i64, i64)>>,
    /// Offsets in between may have their rows in other files.
    pub shared: bool,
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
    pub rolled_back: Option<RolledBack>,
    pub files: Vec<AuditedFile>,
    /// Rows of one data file, in the file's order, with the file's own columns and their field ids.
    #[expect(clippy::type_complexity, reason = "one seam, spelled out")]
    pub read_file: Box<dyn FnMut(&AuditedFile) -> Result<Rows, String> + 'a>,
    /// The queries that made the table, oldest first; the first one stands in for offsets that no commit names a query for.
    pub queries: Vec<Query<'a>>,
    /// What the log said of offsets that it may not have any more.
    pub ledger: Ledger,
    /// All that is asked about, or a part that a larger table has files beside.
    pub extent: Extent,
    /// What cannot be known of the table, a sentence each.
    pub notes: Vec<String>,
    /// The dead letters beside the table; `None` where they are not kept.
    pub letters: Option<Letters>,
    /// The rows that came too late, where they are kept beside the table; only asked of a query with state.
    pub late: Option<Letters>,
    /// Whoever asked does not wait any more.
    pub cancelled: &'a dyn Fn() -> bool,
    /// First offset that the log still has, by topic and partition.
    pub log_starts: BTreeMap<(String, i32), i64>,
    pub others: Others,
    /// What was erased from the table; `None` where nothing was.
    pub erased: Option<Erased<'a>>,
}

/// How much of a table the evidence is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    Table,
    /// Rows outside of the ranges are nothing to wonder about.
    Ranges,
}

/// A query that made a part of the table.
pub struct Query<'a> {
    /// As the commits name it; the ledger's words are on what it made.
    pub name: String,
    /// Where it began, by partition; it goes on until a later one begins.
    pub from: BTreeMap<(String, i32), i64>,
    /// The commits name it. Otherwise it is only what there is to go by.
    pub stated: bool,
    /// Makes it executable, or says why that cannot be done any more.
    pub make: Box<dyn FnOnce() -> Result<Executable, String> + 'a>,
}

/// A query that can be executed again.
pub struct Executable {
    pub source: Box<dyn Source>,
    pub flow: Flow,
    /// The columns that the query writes, in its order, and what they are called in the table.
    pub columns: Vec<ColumnName>,
}

/// Rows of a file, a batch at a time.
pub type Rows = Box<dyn Iterator<Item = Result<RecordBatch, String>>>;

impl Evidence<'_> {
    /// # Errors
    /// [`AuditError::Cancelled`] when nobody waits for the answer.
    fn go_on(&self) -> Result<(), AuditError> {
        match (self.cancelled)() {
            true => Err(AuditError::Cancelled),
            false => Ok(()),
        }
    }
}

/// Why an audit could not be made. A table that is not clean is a [`Report`], not an error.
#[derive(Debug, Error)]
pub enum AuditError {
    #[error("data file {path} cannot be read: {reason}")]
    File { path: String, reason: String },
    #[error("the log cannot be read: {0}")]
    Log(ConnectorError),
    #[error("the query cannot be executed again: {0}")]
    Query(#[from] OperatorError),
    #[error("rows cannot be compared: {0}")]
    Arrow(#[from] ArrowError),
    #[error("the audit's state cannot be written down: {0}")]
    State(StateError),
    #[error("nobody waits for the audit any more")]
    Cancelled,
}

/// The contract of `lakeward audit -o json` (DESIGN §2).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub table: String,
    pub kind: &'static str,
    /// Everything was verified, and is right.
    pub ok: bool,
    pub verdict: Verdict,
    pub totals: Totals,
    /// Of a query with state: its windows, which are compared one by one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub windows: Option<Windows>,
    pub partitions: Vec<PartitionReport>,
    /// What is wrong, a sentence each.
    pub findings: Vec<String>,
    /// What could not be known, a sentence each.
    pub notes: Vec<String>,
    /// Snapshots that carry no marker of a pipeline.
    pub foreign_snapshots: Vec<i64>,
    /// Rows that other writers added: nothing is asked of them.
    pub foreign_rows: u64,
    /// Rows of the pipeline that other writers wrote anew, and which were found again by their values.
    pub rewritten_rows: u64,
}

/// What an audit comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every offset was verified, and is right.
    Right,
    /// Something is wrong: see the findings.
    Wrong,
    /// Nothing is wrong as far as could be verified, which is not all.
    RightAsFarAsVerified,
}

/// The windows that the table or the log has rows of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Windows {
    pub compared: u64,
    /// Those in which the table does not hold what the log gives.
    pub differ: u64,
    /// Those that the table has rows of and the log cannot be asked about any more.
    #[serde(skip_serializing_if = "is_zero")]
    pub unverified: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    pub offsets: u64,
    /// Offsets that were compared with the log.
    pub verified: u64,
    pub rows: u64,
    /// Rows in the table; differs from `rows` when a record becomes several.
    pub table_rows: u64,
    pub filtered: u64,
    pub erased: u64,
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
    pub erased: u64,
    pub late: u64,
    pub dead_letters: u64,
    pub control: u64,
    pub open: u64,
    pub unverified: u64,
    pub gaps: u64,
    pub duplicates: u64,
    /// The first offset that the log can still be asked for.
    #[serde(skip)]
    verified_from: i64,
    /// Below it: what the ledger had a word on.
    #[serde(skip)]
    settled: Vec<Range<i64>>,
    /// Above it: what no query could be executed over.
    #[serde(skip)]
    unread: Vec<Range<i64>>,
}

impl PartitionReport {
    /// The offset is accounted for, and can be verified by the log.
    fn holds(&self, offset: i64) -> bool {
        let unread = || self.unread.iter().any(|range| range.contains(&offset));
        (self.verified_from..self.end).contains(&offset) && !unread()
    }
}

/// What an audit has to say, as it goes.
#[derive(Debug, Default)]
struct Said {
    findings: Vec<String>,
    notes: Vec<String>,
}

type Key = (String, i32);

/// Runs the audit.
///
/// # Errors
/// [`AuditError`] when the table or the log cannot be read.
pub fn audit(evidence: Evidence<'_>) -> Result<Report, AuditError> {
    audit_for_ledger(evidence).map(|(report, _)| report)
}

/// Runs the audit, and says what the ledger should keep of it: the log's word on all spans that it still has as a whole.
///
/// # Errors
/// As [`audit`].
pub fn audit_for_ledger(mut evidence: Evidence<'_>) -> Result<(Report, Vec<Entry>), AuditError> {
    let mut said = Said {
        notes: std::mem::take(&mut evidence.notes),
        ..Said::default()
    };
    let others = evidence.others.clone();
    others.tell_deleted(&evidence.files, &mut said.findings);
    if let Some(erased) = &mut evidence.erased {
        said.findings.append(&mut erased.still_there);
    }
    let mut partitions = spans(&evidence, &mut said.findings);
    let mut table = read_table(&mut evidence, &mut said.findings)?;
    read_loose(&mut evidence, &others, &mut table)?;
    if evidence.extent == Extent::Ranges {
        keep_inside(&mut table.runs, &partitions);
    }
    let duplicates = overlaps(&table.runs, &mut said.findings);
    outside(&table.runs, &partitions, &mut said.findings);
    let letters = evidence.letters.take();
    let words = std::mem::replace(&mut evidence.ledger, Ledger::of(""));
    words.settle(
        &evidence,
        &mut partitions,
        &mut table,
        letters.as_ref(),
        &mut said,
    );
    let makers = makers(&evidence.queries, &partitions);
    let mut replay = Replay::new(&mut partitions, &mut table);
    replay.run(&mut evidence, &mut said)?;
    let (failed, truths) = (replay.failed, replay.truths);
    let entries = entries(&partitions, truths, makers);
    conclude_loose(&mut table, evidence.extent, &mut partitions, &mut said);
    let Said {
        mut findings,
        notes,
    } = said;
    if let Some(letters) = letters {
        letters.compare(failed, &mut partitions, &mut findings);
    }
    for (key, runs) in &table.runs {
        for run in runs {
            compare(key, run, &mut findings);
        }
    }
    for (key, partition) in &mut partitions {
        partition.duplicates += duplicates.get(key).copied().unwrap_or(0);
        conclude(partition, &mut findings);
    }
    let of_runs: u64 = table.runs.values().flatten().map(|run| run.rows).sum();
    let found = table.loose.found;
    let said = Said { findings, notes };
    let report = finish(evidence, partitions, said, of_runs + found, None);
    let report = Report {
        foreign_rows: others.rows().saturating_sub(found),
        rewritten_rows: found,
        ..report
    };
    Ok((report, entries))
}

/// What it all comes to.
fn finish(
    evidence: Evidence<'_>,
    partitions: BTreeMap<Key, PartitionReport>,
    said: Said,
    table_rows: u64,
    windows: Option<Windows>,
) -> Report {
    let Said { findings, notes } = said;
    let mut totals = Totals::default();
    for partition in partitions.values() {
        add_up(&mut totals, partition);
    }
    totals.verified = totals.offsets - totals.unverified;
    totals.table_rows = table_rows;
    let wrong = !findings.is_empty() || totals.gaps > 0 || totals.duplicates > 0;
    let verdict = if wrong {
        Verdict::Wrong
    } else if totals.unverified > 0 || totals.offsets == 0 || !notes.is_empty() {
        Verdict::RightAsFarAsVerified
    } else {
        Verdict::Right
    };
    Report {
        table: evidence.table,
        kind: "append",
        ok: verdict == Verdict::Right,
        verdict,
        totals,
        windows,
        partitions: partitions.into_values().collect(),
        findings,
        notes,
        foreign_rows: 0,
        rewritten_rows: 0,
        foreign_snapshots: evidence.others.snapshots,
    }
}

fn makers(
    queries: &[Query<'_>],
    partitions: &BTreeMap<Key, PartitionReport>,
) -> BTreeMap<Key, Vec<ledger::Maker>> {
    let of = |(key, span): (&Key, &PartitionReport)| {
        (
            key.clone(),
            ledger::makers(queries, key, span.start, span.end),
        )
    };
    partitions.iter().map(of).collect()
}

/// What the log says of the spans that it has as a whole.
fn entries(
    partitions: &BTreeMap<Key, PartitionReport>,
    mut truths: BTreeMap<Key, ledger::Truth>,
    mut makers: BTreeMap<Key, Vec<ledger::Maker>>,
) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (key, span) in partitions {
        let entry = Entry {
            topic: key.0.clone(),
            partition: key.1,
            start: span.start,
            end: span.end,
            made_by: makers.remove(key).unwrap_or_default(),
            truth: truths.remove(key).unwrap_or_default(),
        };
        if span.start < span.end && span.verified_from == span.start && entry.is_whole() {
            entries.push(entry);
        }
    }
    entries
}

/// What is left of a partition's span and is nothing else is a gap too: compacted away, or lost.
fn conclude(partition: &mut PartitionReport, findings: &mut Vec<String>) {
    let offsets = (partition.end - partition.start) as u64;
    let accounted = partition.rows
        + partition.filtered
        + partition.erased
        + partition.late
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
    totals.erased += partition.erased;
    totals.late += partition.late;
    totals.dead_letters += partition.dead_letters;
    totals.control += partition.control;
    totals.unverified += partition.unverified;
    totals.gaps += partition.gaps;
    totals.duplicates += partition.duplicates;
}

#[cfg(test)]
mod tests;
