//! The audit of a query with state: the plan is executed again from where the job began reading up to the last commit, through
//! the same operators, and its rows are compared with the table's as multisets, window by window.
//!
//! A row of an aggregate is of many records, so no run says where it came from, and a part of the log gives no part of the
//! table. The whole is compared where it can be. Where the log begins behind the job's beginning, the ledger may have the log's
//! [`word`] on what is gone, and the query goes on from there: nothing is left open then.
//!
//! Where it has none (or several queries made the table, or a rollback took rows away), the plan is executed from a *base*: a commit of
//! which is known how far event time had come. A window that begins later than that has rows of the log behind the base alone, and which
//! of them were late hangs on watermarks of rows behind it alone. So those windows are compared, and the others are `unverified`, with
//! the reason. A row behind the base whose own time is later is late for the same reason, so it is looked for among the late ones; what
//! else stands there may be of before.
//!
//! A table that was rolled back is compared up to its head: what the commits behind it were is open.
//!
//! A window that has not fired at the last commit is in neither.

mod ground;
mod lots;
mod recomputing;
mod word;

use self::ground::{Ground, ground};
use self::lots::{Lots, windows_of};
use self::recomputing::{LateLetter, Recomputing};
pub use self::word::Word;
use super::hash::{key_of, row_hashes};
use super::replay::Replay;
use super::spans::spans;
use super::table::Table;
use super::{AuditError, Evidence, Executable, Extent, Key, Letter, Letters, PartitionReport};
use super::{Report, Said, Windows, conclude, finish};
use arrow_array::ArrayRef;
use arrow_schema::{Schema, SchemaRef};
use lw_graph::ColumnName;
use lw_runtime::Shelf;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Windows that differ and are told one by one.
const TOLD: usize = 5;

/// Why a query is not executed again that goes by when records came, over a log that does not say it.
const NO_TIME: &str = "the query goes by when records came (idle partitions, a time to live), and the cluster that it reads does not say that: read again it would give other rows";

/// What has to be known of a query with state beside its evidence.
#[derive(Clone, Debug, Default)]
pub struct Recomputation {
    /// The columns of the table that say which window a row is of, in the query's order; without any, all rows are one lot.
    pub windows: Vec<ColumnName>,
    /// Where a bounded read ends, in all its partitions; nothing for a read without an end.
    pub ends: BTreeMap<(String, i32), i64>,
    /// Which of these columns is the window's start.
    pub start: Option<usize>,
    /// So many milliseconds before its start, and no earlier, is a row that has a part in a window; `None` where nothing bounds that.
    pub reach: Option<i64>,
    /// Why the query cannot be executed from any base.
    pub baseless: Option<String>,
    /// Commits from which the query can be executed, oldest first.
    pub bases: Vec<Base>,
    /// What the table's commits say of late records.
    pub late: Vec<ToldLate>,
    /// Partitions whose first rows event time waited for; `None` where nobody knows, then all of them.
    pub awaited: Option<BTreeSet<(String, i32)>>,
    /// Partitions that may have appeared while the query ran, of which the checkpoint does not say whether they were waited for.
    pub joined: Vec<(String, i32)>,
    /// The bounded read is at its end and all that came of it is committed: every window has fired.
    pub ended: bool,
    /// Where the states of the ledger's word stand.
    pub shelf: Option<Shelf>,
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

/// What a commit says of late records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToldLate {
    pub topic: String,
    pub partition: i32,
    /// Those that the commit accounts for.
    pub offsets: Range<i64>,
    pub late: u64,
}

/// Runs the audit of a query with state.
///
/// # Errors
/// As [`super::audit`].
pub fn audit_recomputed(evidence: Evidence<'_>, how: &Recomputation) -> Result<Report, AuditError> {
    run(evidence, how, None).map(|(report, _)| report)
}

/// Runs the audit, and says what the ledger should keep of it: the log's word up to the end of what the table accounts for. With
/// [`Extent::Ranges`] the table has more rows than those, and is not compared.
///
/// # Errors
/// As [`super::audit`].
pub fn audit_recomputed_for_ledger(
    evidence: Evidence<'_>,
    how: &Recomputation,
) -> Result<(Report, Option<Word>), AuditError> {
    run(evidence, how, how.shelf.as_ref())
}

fn run(
    mut evidence: Evidence<'_>,
    how: &Recomputation,
    shelf: Option<&Shelf>,
) -> Result<(Report, Option<Word>), AuditError> {
    let mut said = Said {
        notes: std::mem::take(&mut evidence.notes),
        ..Said::default()
    };
    let others = evidence.others.clone();
    others.tell_deleted(&evidence.files, &mut said.findings);
    let mut rewritten = 0;
    if evidence.extent == Extent::Table {
        // Rows are compared by their values anyway, so it is all one in which file they stand.
        evidence.files.splice(0..0, others.written_anew());
        rewritten = others.rows_written_anew();
    }
    let mut partitions = spans(&evidence, &mut said.findings);
    let queries = std::mem::take(&mut evidence.queries);
    let mut lots = Lots::default();
    let layout = read_table(&mut evidence, how, &mut lots)?;
    let table_rows = lots.table_rows();
    let of_ledger = evidence.ledger.take_word();
    let ground = ground(&queries, &partitions, &evidence, how, of_ledger.as_ref());
    let made = ground.and_then(|ground| {
        let query = queries.into_iter().nth(ground.query);
        let executable = (query.expect("it is one of them").make)()?;
        restored(ground, executable, how)
    });
    let before = said.findings.len();
    let (windows, word) = match made {
        Ok((ground, executable)) => compare(
            &mut evidence,
            &mut partitions,
            executable,
            (how, &ground, layout, shelf),
            &mut lots,
            &mut said,
        )?,
        Err(reason) => {
            said.notes.push(reason);
            for span in partitions.values_mut() {
                span.unverified = (span.end - span.start).unsigned_abs();
            }
            (None, None)
        }
    };
    if said.findings.len() > before {
        said.notes.extend(how.joined.iter().map(may_have_joined));
    }
    for span in partitions.values_mut() {
        conclude(span, &mut said.findings);
    }
    let report = finish(evidence, partitions, said, table_rows, windows);
    let report = Report {
        foreign_rows: others.rows() - rewritten,
        rewritten_rows: rewritten,
        ..report
    };
    Ok((report, word))
}

/// The query with the states that the ledger's word goes on from, if it gives the same whenever it reads.
fn restored<'a>(
    ground: Ground<'a>,
    mut executable: Executable,
    how: &Recomputation,
) -> Result<(Ground<'a>, Executable), String> {
    if executable.flow.upstream.goes_by_time() && !executable.source.keeps_time() {
        return Err(NO_TIME.to_string());
    }
    if let Some(word) = ground.word {
        let shelf = how
            .shelf
            .as_ref()
            .ok_or("the ledger's states are not there")?;
        let restored = executable.flow.restore(&word.flow, shelf);
        restored.map_err(|error| {
            format!("the log no longer has what the table was made from, and the ledger of its audits is of no use: {error}")
        })?;
    }
    Ok((ground, executable))
}

/// Compares the table with what comes of the query when it is executed again: its windows, where all that the table has is asked about,
/// and the log's word.
fn compare(
    evidence: &mut Evidence<'_>,
    partitions: &mut BTreeMap<Key, PartitionReport>,
    executable: Executable,
    (how, ground, layout, shelf): (&Recomputation, &Ground<'_>, SchemaRef, Option<&Shelf>),
    lots: &mut Lots,
    said: &mut Said,
) -> Result<(Option<Windows>, Option<Word>), AuditError> {
    let unverified = ground.leave_out(lots, how);
    ground.give_up(partitions);
    if let Some(word) = ground.word {
        let (letters, late) = (evidence.letters.as_ref(), evidence.late.as_ref());
        word.settle(partitions, letters, late, said);
        word.add_to(lots);
    }
    let again = (how, ground, layout, shelf);
    let word = recompute(evidence, partitions, executable, again, lots, said)?;
    said.notes.extend(ground.why.clone());
    if evidence.extent == Extent::Ranges {
        return Ok((None, word));
    }
    ground.leave_out(lots, how);
    lots.put_together();
    let windows = lots.tell(how, &mut said.findings);
    let windows = Windows {
        unverified,
        ..windows
    };
    Ok((Some(windows), word))
}

/// Executes the query again over what it made the table from; the log's word up to there, where somebody keeps it.
fn recompute(
    evidence: &mut Evidence<'_>,
    partitions: &mut BTreeMap<Key, PartitionReport>,
    executable: Executable,
    (how, ground, layout, shelf): (&Recomputation, &Ground<'_>, SchemaRef, Option<&Shelf>),
    lots: &mut Lots,
    said: &mut Said,
) -> Result<Option<Word>, AuditError> {
    let mut nothing = Table::default();
    let mut recomputing = Recomputing {
        replay: Replay::new(partitions, &mut nothing),
        flow: executable.flow,
        layout,
        how,
        ground,
        lots,
        late: BTreeMap::new(),
        late_rows: evidence.late.as_ref().map(|_| BTreeMap::new()),
        late_offsets: BTreeMap::new(),
        begun: false,
    };
    let (columns, mut source) = (executable.columns, executable.source);
    let (reading, splits) = recomputing.read(&mut *source, columns, evidence, said)?;
    recomputing.begin(&reading, &splits);
    let word = match shelf {
        Some(shelf) => {
            let flow = recomputing.flow.write_down(&splits, shelf, ground.number);
            recomputing.word(flow.map_err(AuditError::State)?)
        }
        None => None,
    };
    if evidence.extent == Extent::Ranges {
        return Ok(word);
    }
    if how.ended && evidence.rolled_back.is_none() {
        recomputing.end(&reading)?;
    }
    let (late, late_rows) = (recomputing.late, recomputing.late_rows);
    let failed = recomputing.replay.failed;
    if evidence.rolled_back.is_none() {
        compare_late(&late, ground, how, &mut said.findings);
    }
    if let Some((kept, rows)) = evidence.late.take().zip(late_rows) {
        compare_late_rows(kept, rows, ground, evidence, partitions, said);
    }
    if let Some(letters) = evidence.letters.take() {
        letters.compare(failed, partitions, &mut said.findings);
    }
    Ok(word)
}

/// The table's rows by window; the columns of its newest file. Where more is in the table than is asked about, the columns alone.
fn read_table(
    evidence: &mut Evidence<'_>,
    how: &Recomputation,
    lots: &mut Lots,
) -> Result<SchemaRef, AuditError> {
    let files = std::mem::take(&mut evidence.files);
    let first = match evidence.extent {
        Extent::Table => 0,
        Extent::Ranges => files.len().saturating_sub(1),
    };
    let mut layout = SchemaRef::new(Schema::empty());
    for file in &files[first..] {
        let failed = |reason| AuditError::File {
            path: file.path.clone(),
            reason,
        };
        for batch in (evidence.read_file)(file).map_err(failed)? {
            evidence.go_on()?;
            let batch = batch.map_err(failed)?;
            layout = batch.schema();
            if evidence.extent == Extent::Ranges {
                break;
            }
            let columns = layout.fields().iter().map(|field| key_of(field));
            let columns: Vec<(u64, ArrayRef)> =
                columns.zip(batch.columns().iter().cloned()).collect();
            let hashes = row_hashes(&columns, batch.num_rows())?;
            let windows = windows_of(&batch, how)?;
            for (hash, window) in hashes.into_iter().zip(windows) {
                lots.of(window).table.add(hash);
            }
        }
    }
    evidence.files = files;
    Ok(layout)
}

/// A late record is in no window, so only its count tells whether one was dropped that was in time: by the commits of what was executed
/// again, where they are all kept. From a base, or where the word goes on from one, only those are counted that are late for certain.
fn compare_late(
    late: &BTreeMap<(Key, i64), i64>,
    ground: &Ground<'_>,
    how: &Recomputation,
    findings: &mut Vec<String>,
) {
    for (key, (from, to)) in &ground.parts {
        let of_part = how.late.iter().filter(|told| {
            let of_key = told.topic == key.0 && told.partition == key.1;
            of_key && *from <= told.offsets.start && told.offsets.end <= *to
        });
        let offsets = |told: &ToldLate| told.offsets.end - told.offsets.start;
        if of_part.clone().map(offsets).sum::<i64>() != to - from {
            continue;
        }
        let told: u64 = of_part.map(|told| told.late).sum();
        let counts = |((of, _), time): &(&(Key, i64), &i64)| of == key && ground.is_sure(**time);
        let given = late.iter().filter(counts).count() as u64;
        let (topic, partition) = key;
        if ground.since.is_none() && told != given {
            findings.push(format!(
                "{topic}[{partition}]: the commits say that {told} records were late, the log gives {given}"
            ));
        } else if told < given {
            findings.push(format!(
                "{topic}[{partition}]: the commits say that {told} records were late, the log gives {given} at least"
            ));
        }
    }
}

/// Compares the rows that are kept beside the table because they came too late.
fn compare_late_rows(
    kept: Letters,
    rows: BTreeMap<Key, Vec<LateLetter>>,
    ground: &Ground<'_>,
    evidence: &Evidence<'_>,
    partitions: &BTreeMap<Key, PartitionReport>,
    said: &mut Said,
) {
    if evidence.rolled_back.is_some() {
        let table = &kept.table;
        said.notes.push(format!(
            "{table} is not compared: the table beside it was rolled back"
        ));
        return;
    }
    let sure = rows.into_iter().map(|(key, rows)| {
        let sure = rows
            .into_iter()
            .filter(|row| ground.is_sure(row.event_time));
        (key, sure.map(|row| row.letter).collect())
    });
    let sure: BTreeMap<Key, Vec<Letter>> = sure.collect();
    match &ground.since {
        None => kept.compare_late(sure, partitions, &mut said.findings),
        Some(_) => {
            let table = &kept.table;
            said.notes.push(format!(
                "{table}: whether it holds more than what came too late is not compared"
            ));
            kept.look_for_late(sure, partitions, &mut said.findings);
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

#[cfg(test)]
mod tests;
