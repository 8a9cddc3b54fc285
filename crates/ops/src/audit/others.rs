//! What other writers did to the table.
//!
//! 1. Rows that they *added* are theirs: they are counted apart, and nothing is asked of them. A snapshot that only added rows
//!    cannot have any of the pipeline's.
//! 2. Rows of the pipeline that they *deleted* are findings: the table does not hold any more what the log says.
//! 3. Rows that they *wrote anew* (a compaction, an update by copy on write) stand in files that say nothing of offsets. What
//!    the log gives and no file of the pipeline holds is looked for among them, by its values; what is left is theirs.

use super::hash::{Sum, key_of, row_hashes};
use super::ledger::Truth;
use super::table::Table;
use super::{AuditError, AuditedFile, Evidence, Extent, Key, PartitionReport, Run, Said};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

/// Deleted rows whose offsets are told one by one.
const TOLD: usize = 5;

/// What other writers did to the table.
#[derive(Clone, Debug, Default)]
pub struct Others {
    /// Snapshots that carry no marker of a pipeline.
    pub snapshots: Vec<i64>,
    /// Data files that list no offsets.
    pub files: Vec<OthersFile>,
    /// Rows of the pipeline's files that position deletes hide: their places in the file, which rise.
    pub hidden: BTreeMap<String, Vec<u64>>,
    /// Files of equality deletes.
    pub equality_deletes: u64,
}

/// A data file that another writer made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OthersFile {
    pub path: String,
    /// Without those that deletes hide.
    pub rows: u64,
    /// It came with a snapshot that only added rows.
    pub added: bool,
}

impl Others {
    /// Those that may hold rows of the pipeline.
    pub(super) fn written_anew(&self) -> impl Iterator<Item = AuditedFile> {
        let files = self.files.iter().filter(|file| !file.added);
        files.map(|file| AuditedFile {
            path: file.path.clone(),
            runs: Vec::new(),
        })
    }

    pub(super) fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.rows).sum()
    }

    pub(super) fn rows_written_anew(&self) -> u64 {
        let files = self.files.iter().filter(|file| !file.added);
        files.map(|file| file.rows).sum()
    }

    /// Tells which rows of the pipeline are gone.
    pub(super) fn tell_deleted(&self, files: &[AuditedFile], findings: &mut Vec<String>) {
        let mut gone: BTreeMap<Key, Vec<Gone>> = BTreeMap::new();
        for file in files {
            let Some(hidden) = self.hidden.get(&file.path).filter(|rows| !rows.is_empty()) else {
                continue;
            };
            if file.runs.is_empty() {
                let (count, path) = (hidden.len(), &file.path);
                findings.push(format!("another writer deleted {count} rows of {path}"));
            }
            for (key, one) in located(&file.runs, hidden) {
                gone.entry(key).or_default().push(one);
            }
        }
        for ((topic, partition), gone) in gone {
            let (count, offsets) = (gone.len(), in_words(&gone));
            findings.push(format!(
                "{topic}[{partition}]: another writer deleted {count} rows, of {offsets}"
            ));
        }
        if self.equality_deletes > 0 {
            findings.push(format!(
                "another writer deleted rows by their values: {} files of equality deletes, which no audit carries out",
                self.equality_deletes
            ));
        }
    }
}

/// The offsets that a row that is gone may be of: one, where each offset of its run gave one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Gone {
    first: i64,
    last: i64,
}

/// Where the rows at these places of a file came from.
fn located(runs: &[Run], places: &[u64]) -> Vec<(Key, Gone)> {
    let mut located = Vec::new();
    let (mut begin, mut places) = (0, places.iter().peekable());
    for run in runs {
        while let Some(place) = places.next_if(|place| **place < begin + run.rows) {
            let key = (run.topic.clone(), run.partition);
            let gone = match offset_of(run, place - begin) {
                Some(offset) => Gone {
                    first: offset,
                    last: offset,
                },
                None => Gone {
                    first: run.first,
                    last: run.last,
                },
            };
            located.push((key, gone));
        }
        begin += run.rows;
    }
    located
}

/// The offset of a row of the run, where each of its offsets that is not skipped gave one row.
fn offset_of(run: &Run, row: u64) -> Option<i64> {
    let skipped = run.skipped.as_ref()?;
    let passed: i64 = skipped.iter().map(|(from, to)| to - from).sum();
    if (run.last - run.first + 1 - passed).unsigned_abs() != run.rows {
        return None;
    }
    let mut offset = run.first + i64::try_from(row).ok()?;
    for (from, to) in skipped {
        if *from <= offset {
            offset += to - from;
        }
    }
    Some(offset)
}

fn in_words(gone: &[Gone]) -> String {
    let least = gone.iter().map(|gone| gone.first).min().unwrap_or(0);
    let greatest = gone.iter().map(|gone| gone.last).max().unwrap_or(0);
    let single = gone.iter().all(|gone| gone.first == gone.last);
    if !single || gone.len() > TOLD {
        return format!("offsets between {least} and {greatest}");
    }
    let mut offsets: Vec<i64> = gone.iter().map(|gone| gone.first).collect();
    offsets.sort_unstable();
    let offsets: Vec<String> = offsets.iter().map(i64::to_string).collect();
    format!("offsets {}", offsets.join(", "))
}

/// Rows of files that were written anew, by their values.
#[derive(Default)]
pub(super) struct Loose {
    rows: HashMap<u64, Copies>,
    /// Rows that the log gives and no file of the pipeline holds, and which stand here.
    pub(super) found: u64,
    owed: Vec<Owed>,
}

/// A range that the ledger has the log's word on, and of whose rows the pipeline's files do not hold all.
pub(super) struct Owed {
    pub(super) key: Key,
    pub(super) offsets: Range<i64>,
    /// What is not in them.
    pub(super) rows: Sum,
    /// What the ledger says became of the offsets.
    pub(super) truth: Truth,
}

/// How often a row stands there: as many are found again, and as many are left.
#[derive(Clone, Copy, Default)]
struct Copies {
    found: u32,
    left: u32,
}

impl Loose {
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether the row stands here; once for each time that it is asked for.
    pub(super) fn take(&mut self, hash: u64) -> bool {
        let Some(copies) = self.rows.get_mut(&hash).filter(|copies| copies.left > 0) else {
            return false;
        };
        copies.left -= 1;
        copies.found += 1;
        self.found += 1;
        true
    }

    /// Keeps in mind what the ledger says of offsets that the log no longer has.
    pub(super) fn owe(&mut self, owed: Owed) {
        self.owed.push(owed);
    }

    /// Whether what is left here is what is owed, all of it together: no row says which range it is of. Otherwise nobody knows
    /// of these ranges.
    pub(super) fn settle(&mut self) -> Vec<Owed> {
        let mut owed = Sum::default();
        self.owed.iter().for_each(|one| owed.take(&one.rows));
        let mut left = Sum::default();
        for (hash, copies) in &self.rows {
            (0..copies.left).for_each(|_| left.add(*hash));
        }
        let ranges = std::mem::take(&mut self.owed);
        if left != owed {
            return ranges;
        }
        self.found += left.rows;
        self.rows.clear();
        Vec::new()
    }

    /// Rows that were found, and stand here once more.
    pub(super) fn doubled(&self) -> u64 {
        let doubled = self.rows.values().filter(|copies| copies.found > 0);
        doubled.map(|copies| u64::from(copies.left)).sum()
    }
}

/// Reads the files that were written anew.
pub(super) fn read_loose(
    evidence: &mut Evidence<'_>,
    others: &Others,
    table: &mut Table,
) -> Result<(), AuditError> {
    for file in others.written_anew() {
        let failed = |reason| AuditError::File {
            path: file.path.clone(),
            reason,
        };
        for batch in (evidence.read_file)(&file).map_err(failed)? {
            evidence.go_on()?;
            let batch = batch.map_err(failed)?;
            let schema = batch.schema();
            // What no file holds is hashed as the last of these is.
            table.has_layout(&schema);
            let fields = schema.fields().iter().map(|field| key_of(field));
            let columns: Vec<_> = fields.zip(batch.columns().iter().cloned()).collect();
            for hash in row_hashes(&columns, batch.num_rows())? {
                table.loose.rows.entry(hash).or_default().left += 1;
            }
        }
    }
    Ok(())
}

/// What is left to say of them when all of the log was read.
pub(super) fn conclude_loose(
    table: &mut Table,
    extent: Extent,
    partitions: &mut BTreeMap<Key, PartitionReport>,
    said: &mut Said,
) {
    for owed in table.loose.settle() {
        let (topic, partition) = &owed.key;
        let (first, last) = (owed.offsets.start, owed.offsets.end - 1);
        said.notes.push(format!(
            "{topic}[{partition}]: offsets {first} to {last} are not verified: another writer wrote rows of them anew after the log had let them go, and they cannot be told from its own"
        ));
        let span = partitions.get_mut(&owed.key).expect("it was settled");
        span.rows -= owed.truth.records;
        span.filtered -= owed.truth.filtered;
        span.erased -= owed.truth.erased;
        span.control -= owed.truth.control;
        span.dead_letters -= owed.truth.letters.rows;
        span.unverified += (owed.offsets.end - owed.offsets.start).unsigned_abs();
    }
    let doubled = table.loose.doubled();
    let all_verified = partitions.values().all(|span| span.unverified == 0);
    if extent == Extent::Table && all_verified && doubled > 0 {
        said.findings.push(format!(
            "{doubled} rows stand more often in files that another writer wrote anew than the log gives them"
        ));
    }
}

#[cfg(test)]
mod tests;
