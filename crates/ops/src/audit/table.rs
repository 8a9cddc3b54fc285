//! What the table holds: every file read back, its rows summed run by run, and what is wrong with the runs by themselves.
//!
//! A partitioned table has the rows of one stretch of the log in several files, row by row. Such runs say that they are
//! *shared*; those whose offsets lie in each other are taken for one, whose rows are the rows of all of them. It is compared
//! with the log as any other: a row too many, too few, or another one shows in the count or in the sum.

use super::hash::{Sum, key_of, row_hashes};
use super::others::Loose;
use super::{AuditError, AuditedFile, Evidence, Key, PartitionReport, Run};
use arrow_schema::{Schema, SchemaRef};
use std::collections::{BTreeMap, BTreeSet};

/// A run with what the table and the log make of the part of it that can be compared.
pub(super) struct AuditedRun {
    pub(super) first: i64,
    pub(super) last: i64,
    path: String,
    /// How many runs of other files were put together with it.
    others: usize,
    /// Which of [`Table::layouts`] its file has.
    pub(super) layout: usize,
    pub(super) rows: u64,
    shared: bool,
    /// Of a shared run: the offsets `[from, to)` that have their rows in it, in order, where the files say which those are.
    covered: Option<Vec<(i64, i64)>>,
    /// The first offset that is compared; `None` when none is: the run lies below the log's start, or straddles it and does
    /// not say which of its rows came from where.
    pub(super) compared_from: Option<i64>,
    /// All of its rows.
    pub(super) whole: Sum,
    /// Those from [`AuditedRun::compared_from`] on.
    pub(super) table: Sum,
    pub(super) log: Sum,
    /// Columns that the query writes and the file does not have.
    pub(super) absent: BTreeSet<String>,
}

/// The table, read back.
#[derive(Default)]
pub(super) struct Table {
    pub(super) runs: BTreeMap<Key, Vec<AuditedRun>>,
    /// The columns that files have, each set once.
    pub(super) layouts: Vec<SchemaRef>,
    /// What other writers wrote anew.
    pub(super) loose: Loose,
}

impl Table {
    /// Puts the columns of a file last.
    pub(super) fn has_layout(&mut self, schema: &SchemaRef) {
        if self.layouts.last() != Some(schema) {
            self.layouts.push(schema.clone());
        }
    }

    /// No run of rows reaches over either end of `[start, end)`.
    pub(super) fn is_apart(&self, key: &Key, start: i64, end: i64) -> bool {
        let mut runs = self.runs.get(key).into_iter().flatten();
        let over = |run: &AuditedRun, at: i64| run.first < at && at <= run.last;
        !runs.any(|run| over(run, start) || over(run, end))
    }
}

/// Reads every file back, a batch at a time: count and hash per run.
pub(super) fn read_table(
    evidence: &mut Evidence<'_>,
    findings: &mut Vec<String>,
) -> Result<Table, AuditError> {
    let mut table = Table::default();
    let files = std::mem::take(&mut evidence.files);
    for file in &files {
        let holds = read_file(evidence, file, &mut table)?;
        let listed: u64 = file.runs.iter().map(|run| run.rows).sum();
        if listed != holds {
            let path = &file.path;
            findings.push(format!(
                "{path}: its runs list {listed} rows, it holds {holds}"
            ));
        }
    }
    evidence.files = files;
    for (key, runs) in &mut table.runs {
        runs.sort_by_key(|run| (run.first, run.last));
        put_together(runs, evidence.log_starts.get(key).copied());
    }
    Ok(table)
}

/// Sums up one file; returns how many rows it holds.
fn read_file(
    evidence: &mut Evidence<'_>,
    file: &AuditedFile,
    table: &mut Table,
) -> Result<u64, AuditError> {
    let failed = |reason| AuditError::File {
        path: file.path.clone(),
        reason,
    };
    let batches = (evidence.read_file)(file).map_err(failed)?;
    let mut sums: Vec<(Option<Tail>, Sum, Sum)> = file
        .runs
        .iter()
        .map(|run| {
            let tail = tail(run, &evidence.log_starts);
            (tail, Sum::default(), Sum::default())
        })
        .collect();
    let (mut at, mut row_of_run, mut holds, mut layout) = (0, 0, 0, None);
    for batch in batches {
        evidence.go_on()?;
        let batch = batch.map_err(failed)?;
        layout = Some(layout_of(&mut table.layouts, &batch.schema()));
        let columns: Vec<_> = batch
            .schema()
            .fields()
            .iter()
            .map(|field| key_of(field))
            .zip(batch.columns().iter().cloned())
            .collect();
        holds += batch.num_rows() as u64;
        for hash in row_hashes(&columns, batch.num_rows())? {
            while file.runs.get(at).is_some_and(|run| row_of_run == run.rows) {
                (at, row_of_run) = (at + 1, 0);
            }
            if let Some((tail, whole, sum)) = sums.get_mut(at) {
                whole.add(hash);
                if tail
                    .as_ref()
                    .is_some_and(|tail| row_of_run >= tail.rows_before)
                {
                    sum.add(hash);
                }
            }
            row_of_run += 1;
        }
    }
    let nothing = || layout_of(&mut table.layouts, &SchemaRef::new(Schema::empty()));
    let layout = layout.unwrap_or_else(nothing);
    for (run, (tail, whole, sum)) in file.runs.iter().zip(sums) {
        let key = (run.topic.clone(), run.partition);
        table.runs.entry(key).or_default().push(AuditedRun {
            first: run.first,
            last: run.last,
            path: file.path.clone(),
            others: 0,
            layout,
            rows: run.rows,
            shared: run.shared,
            covered: covered(run),
            compared_from: tail.map(|tail| tail.from),
            whole,
            table: sum,
            log: Sum::default(),
            absent: BTreeSet::new(),
        });
    }
    Ok(holds)
}

/// Makes one of shared runs whose offsets lie in each other. `runs` are sorted.
fn put_together(runs: &mut Vec<AuditedRun>, log_start: Option<i64>) {
    let mut whole: Vec<AuditedRun> = Vec::with_capacity(runs.len());
    for run in runs.drain(..) {
        let together = |last: &&mut AuditedRun| {
            last.shared && run.shared && last.layout == run.layout && run.first <= last.last
        };
        match whole.last_mut().filter(together) {
            Some(last) => last.join(run, log_start),
            None => whole.push(run),
        }
    }
    *runs = whole;
}

impl AuditedRun {
    /// Whether rows of an offset between its first and its last are its own. One that is not shared answers for all of them.
    pub(super) fn answers_for(&self, offset: i64) -> bool {
        self.covered.as_ref().is_none_or(|covered| {
            let after = covered.partition_point(|(from, _)| *from <= offset);
            after > 0 && offset < covered[after - 1].1
        })
    }

    fn place(&self) -> String {
        match self.others {
            0 => self.path.clone(),
            others => format!("{} and {others} more of its partitions", self.path),
        }
    }

    /// Takes in a run that begins in it.
    fn join(&mut self, other: AuditedRun, log_start: Option<i64>) {
        let below = |run: &AuditedRun| log_start.is_some_and(|start| run.last < start);
        self.compared_from = match (self.compared_from, other.compared_from) {
            (Some(one), Some(other)) => Some(one.min(other)),
            // Of a run that lies below the log's start nothing is compared, and nothing has been summed up.
            (None, from) if below(self) => from,
            (from, None) if below(&other) => from,
            _ => None,
        };
        self.last = self.last.max(other.last);
        self.covered = match (self.covered.take(), other.covered) {
            (Some(one), Some(other)) => Some(union(one, other)),
            _ => None,
        };
        self.rows += other.rows;
        self.whole.take(&other.whole);
        self.table.take(&other.table);
        self.others += 1;
    }
}

/// The offsets that a shared run has rows of; `None` where its footer only counts the others.
fn covered(run: &Run) -> Option<Vec<(i64, i64)>> {
    let skipped = run.skipped.as_ref().filter(|_| run.shared)?;
    let begins = std::iter::once(run.first).chain(skipped.iter().map(|(_, to)| *to));
    let ends = skipped.iter().map(|(from, _)| *from);
    Some(begins.zip(ends.chain([run.last + 1])).collect())
}

fn union(one: Vec<(i64, i64)>, other: Vec<(i64, i64)>) -> Vec<(i64, i64)> {
    let mut all = [one, other].concat();
    all.sort_unstable();
    let mut joined: Vec<(i64, i64)> = Vec::with_capacity(all.len());
    for (from, to) in all {
        match joined.last_mut().filter(|last| from <= last.1) {
            Some(last) => last.1 = last.1.max(to),
            None => joined.push((from, to)),
        }
    }
    joined
}

fn layout_of(layouts: &mut Vec<SchemaRef>, schema: &SchemaRef) -> usize {
    let known = layouts.iter().position(|known| known == schema);
    known.unwrap_or_else(|| {
        layouts.push(schema.clone());
        layouts.len() - 1
    })
}

/// The part of a run that the log still has.
struct Tail {
    from: i64,
    rows_before: u64,
}

/// `None` when there is none, or when rows and offsets cannot be brought together: a record became several rows, or the
/// footer only counts the offsets that were skipped.
fn tail(run: &Run, log_starts: &BTreeMap<Key, i64>) -> Option<Tail> {
    let start = *log_starts.get(&(run.topic.clone(), run.partition))?;
    if start <= run.first {
        return Some(Tail {
            from: run.first,
            rows_before: 0,
        });
    }
    if start > run.last {
        return None;
    }
    let skipped = run.skipped.as_ref()?;
    let count = |until: i64| -> i64 {
        let skipped = skipped.iter().map(|(from, to)| to.min(&until) - from);
        until - run.first - skipped.filter(|offsets| *offsets > 0).sum::<i64>()
    };
    let one_row_each = u64::try_from(count(run.last + 1)) == Ok(run.rows);
    one_row_each.then(|| Tail {
        from: start,
        rows_before: count(start).unsigned_abs(),
    })
}

/// Offsets that stand in two runs, per partition.
pub(super) fn overlaps(
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
pub(super) fn outside(
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
                    key.0,
                    key.1,
                    run.place(),
                    run.first,
                    run.last
                ));
            }
        }
    }
}

/// Leaves out runs that are not in the spans.
pub(super) fn keep_inside(
    runs: &mut BTreeMap<Key, Vec<AuditedRun>>,
    spans: &BTreeMap<Key, PartitionReport>,
) {
    for (key, runs) in runs {
        let span = spans.get(key);
        runs.retain(|run| span.is_some_and(|span| span.start <= run.first && run.last < span.end));
    }
}

/// What the table and the log make of one run.
pub(super) fn compare(key: &Key, run: &AuditedRun, findings: &mut Vec<String>) {
    let Some(from) = run.compared_from.filter(|_| run.table != run.log) else {
        return;
    };
    let (topic, partition) = key;
    let absent: Vec<&str> = run.absent.iter().map(String::as_str).collect();
    let what = if !absent.is_empty() {
        let absent = absent.join(", ");
        format!("the file does not have what the query writes: {absent}")
    } else if run.table.rows == run.log.rows {
        format!("{} rows differ from what the log gives", run.table.rows)
    } else {
        format!(
            "{} rows in the table, {} from the log",
            run.table.rows, run.log.rows
        )
    };
    findings.push(format!(
        "{topic}[{partition}] offsets {from} to {} in {}: {what}",
        run.last,
        run.place()
    ));
}
