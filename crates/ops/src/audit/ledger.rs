//! The ledger: what the log said of offsets that retention may have taken since.
//!
//! Before retention takes offsets they are audited, and what the log says of them is kept: how many records gave rows, how
//! many rows, the sum of the rows' hashes, how many were filtered, failed or were control records. It is the log's word and
//! not the table's, so it stands whether or not the table was right at that time, and a later audit compares the table as it
//! then is:
//!
//! ```text
//!            entry        entry            log start
//!   ├─────────┤├───────────┤┌ ─ ─ ─ ─ ─ ─ ┐├──────────────────┤
//!    compared by the ledger    unverified    compared with the log
//! ```
//!
//! Entries end where commits end, so that each run of rows lies in one. An entry that the log's start has not reached is not
//! asked: there the log itself is the better witness. Neither is one of offsets that another query has filled since.
//!
//! A part of the log gives no part of a table of a query with state: of such a table the ledger has one [`Word`], on all of it up to the
//! end of a commit.
//!
//! Layout: JSON, `format` = 1. A ledger of another format is not read: its offsets are `unverified`.

use super::hash::{Sum, key_of, offset_hash, row_hashes};
use super::others::Owed;
use super::replay::made_by;
use super::table::Table;
use super::{AuditError, Evidence, Key, Letters, PartitionReport, Query, Said, Word};
use arrow_array::RecordBatch;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

const FORMAT: u32 = 1;
/// Entries of a partition; where there are more, the oldest two that meet become one.
const MOST_ENTRIES: usize = 16;

/// What the log says of some offsets, whatever the table holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Truth {
    /// Records that give rows.
    pub(super) records: u64,
    pub(super) rows: Sum,
    pub(super) filtered: u64,
    /// Records whose rows were erased from the table. Their hashes are not among the rows'.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub(super) erased: u64,
    pub(super) control: u64,
    /// Records that fail, with the sum of their offsets' hashes.
    pub(super) letters: Sum,
}

/// The log's word on the offsets `[start, end)` of a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub topic: String,
    pub partition: i32,
    pub start: i64,
    pub end: i64,
    /// The queries that the log was asked by, in the order of their offsets.
    pub(super) made_by: Vec<Maker>,
    #[serde(flatten)]
    pub truth: Truth,
}

/// A query, and where what it made begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Maker {
    from: i64,
    query: String,
}

/// The queries that made these offsets, in the order of their offsets.
pub(super) fn makers(queries: &[Query<'_>], key: &Key, start: i64, end: i64) -> Vec<Maker> {
    let made = made_by(queries, key, start..end).into_iter().rev();
    let maker = |(index, range): (usize, Range<i64>)| Maker {
        from: range.start,
        query: queries[index].name.clone(),
    };
    together(made.map(maker))
}

/// Neighbours of one query are one.
fn together(makers: impl Iterator<Item = Maker>) -> Vec<Maker> {
    let mut all: Vec<Maker> = makers.collect();
    all.dedup_by(|later, before| later.query == before.query);
    all
}

/// All that is kept of one table, by partition and offset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    format: u32,
    /// The table's id: one of the same name that is made later has a ledger of its own.
    table: String,
    entries: Vec<Entry>,
    /// Up to where each partition was looked at, whether or not it could be verified.
    looked_at: Vec<LookedAt>,
    /// Of a table of a query with state, instead of entries; older versions pass over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    word: Option<Word>,
    /// Erasures whose rows were taken off the entries.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    erased: BTreeSet<String>,
}

/// Rows that an erasure takes out of a table.
pub struct Taken {
    /// As their file has them, with its field ids.
    pub rows: RecordBatch,
    /// Where each came from: partition, an offset of its run, and whether that is its own.
    pub from: Vec<(Key, i64, bool)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct LookedAt {
    topic: String,
    partition: i32,
    end: i64,
}

impl Ledger {
    /// An empty one.
    pub fn of(table: impl Into<String>) -> Ledger {
        Ledger {
            format: FORMAT,
            table: table.into(),
            entries: Vec::new(),
            looked_at: Vec::new(),
            word: None,
            erased: BTreeSet::new(),
        }
    }

    /// The rows of this erasure were taken off already.
    pub fn knows_erasure(&self, id: &str) -> bool {
        self.erased.contains(id)
    }

    /// The letters of these records leave their table.
    pub fn erase_letters(&mut self, id: &str, letters: &[(Key, i64)]) {
        for (key, offset) in letters {
            let mut entries = self.entries.iter_mut();
            let within =
                |entry: &&mut Entry| entry.is_of(key) && (entry.start..entry.end).contains(offset);
            if let Some(entry) = entries.find(within) {
                entry.truth.letters.take_off(offset_hash(*offset));
                entry.truth.erased += 1;
            }
        }
        self.erased.insert(id.to_owned());
    }

    /// What the log said of these rows is said no more, because they leave the table.
    ///
    /// # Errors
    /// When they cannot be hashed.
    pub fn erase(&mut self, id: &str, taken: &[Taken]) -> Result<(), AuditError> {
        let mut counted = BTreeSet::new();
        for Taken { rows, from } in taken {
            let schema = rows.schema();
            let fields = schema.fields().iter().map(|field| key_of(field));
            let columns: Vec<_> = fields.zip(rows.columns().iter().cloned()).collect();
            let hashes = row_hashes(&columns, rows.num_rows())?;
            for (hash, (key, offset, is_own)) in hashes.into_iter().zip(from) {
                let mut entries = self.entries.iter_mut();
                let within = |entry: &&mut Entry| {
                    entry.is_of(key) && (entry.start..entry.end).contains(offset)
                };
                let Some(entry) = entries.find(within) else {
                    continue;
                };
                entry.truth.rows.take_off(hash);
                if *is_own && counted.insert((key.clone(), *offset)) {
                    entry.truth.records = entry.truth.records.saturating_sub(1);
                    entry.truth.erased += 1;
                }
            }
        }
        self.erased.insert(id.to_owned());
        Ok(())
    }

    pub fn is_of(&self, table: &str) -> bool {
        self.table == table
    }

    /// # Errors
    /// Why it cannot be read: then nothing is known of what the log no longer has.
    pub fn read(bytes: &[u8]) -> Result<Ledger, String> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let damaged = |error: serde_json::Error| format!("it is damaged: {error}");
        let Version { format } = serde_json::from_slice(bytes).map_err(damaged)?;
        if format != FORMAT {
            return Err(format!(
                "it has format {format}; this version reads format {FORMAT}"
            ));
        }
        serde_json::from_slice(bytes).map_err(damaged)
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data")
    }

    /// Where looking goes on, by partition.
    pub fn looked_at(&self) -> BTreeMap<Key, i64> {
        let ends = self.looked_at.iter();
        ends.map(|at| ((at.topic.clone(), at.partition), at.end))
            .collect()
    }

    /// Keeps what an audit of more offsets found, up to the ends of what it looked at.
    ///
    /// # Panics
    /// When an entry begins within another one: its rows would be counted twice.
    pub fn keep(&mut self, entries: Vec<Entry>, looked_at: &BTreeMap<Key, i64>) {
        for entry in entries {
            let overlaps = self.entries.iter().any(|known| {
                known.same_partition(&entry) && known.start < entry.end && entry.start < known.end
            });
            assert!(!overlaps, "A1: entries of the ledger do not overlap");
            self.entries.push(entry);
        }
        let place = |entry: &Entry| (entry.topic.clone(), entry.partition, entry.start);
        self.entries.sort_by_key(place);
        self.fold();
        self.looks_up_to(looked_at);
    }

    /// The log's word on a table of a query with state.
    pub fn word(&self) -> Option<&Word> {
        self.word.as_ref()
    }

    pub(super) fn take_word(&mut self) -> Option<Word> {
        self.word.take()
    }

    /// Keeps the log's word on all up to where it was looked at; where there is none, what was said before is all there will be.
    pub fn keep_word(&mut self, word: Option<Word>, looked_at: &BTreeMap<Key, i64>) {
        self.word = word.or(self.word.take());
        self.looks_up_to(looked_at);
    }

    fn looks_up_to(&mut self, looked_at: &BTreeMap<Key, i64>) {
        for ((topic, partition), end) in looked_at {
            let known = self.looked_at.iter_mut();
            let mut known = known.filter(|at| at.topic == *topic && at.partition == *partition);
            match known.next() {
                Some(at) => at.end = at.end.max(*end),
                None => self.looked_at.push(LookedAt {
                    topic: topic.clone(),
                    partition: *partition,
                    end: *end,
                }),
            }
        }
    }

    /// Forgets what lies at or above these offsets: a rewind fills them anew.
    pub fn forget_above(&mut self, ends: &BTreeMap<Key, i64>) {
        let end_of = |topic: &str, partition: i32| {
            let end = ends.get(&(topic.to_owned(), partition));
            end.copied().unwrap_or(i64::MAX)
        };
        self.entries
            .retain(|entry| entry.end <= end_of(&entry.topic, entry.partition));
        for at in &mut self.looked_at {
            at.end = at.end.min(end_of(&at.topic, at.partition));
        }
        let is_above = |((topic, partition), end): (Key, i64)| end > end_of(&topic, partition);
        if self.word.iter().flat_map(Word::ends).any(is_above) {
            self.word = None;
        }
    }

    fn fold(&mut self) {
        loop {
            let mut counts: BTreeMap<(&str, i32), usize> = BTreeMap::new();
            for entry in &self.entries {
                *counts.entry((&entry.topic, entry.partition)).or_default() += 1;
            }
            let too_many = |entry: &Entry| counts[&(&*entry.topic, entry.partition)] > MOST_ENTRIES;
            let mut pairs = self.entries.windows(2).enumerate();
            let meet = pairs.find(|(_, pair)| {
                too_many(&pair[0])
                    && pair[0].same_partition(&pair[1])
                    && pair[0].end == pair[1].start
            });
            if let Some((at, _)) = meet {
                let later = self.entries.remove(at + 1);
                self.entries[at].take(&later);
                continue;
            }
            // None meet: the oldest one is given up.
            match self.entries.iter().position(too_many) {
                Some(at) => drop(self.entries.remove(at)),
                None => return,
            }
        }
    }

    /// Settles what lies below the log's starts, and says from where on the log is asked.
    pub(super) fn settle(
        &self,
        evidence: &Evidence<'_>,
        partitions: &mut BTreeMap<Key, PartitionReport>,
        table: &mut Table,
        letters: Option<&Letters>,
        said: &mut Said,
    ) {
        for (key, span) in partitions {
            let log_start = evidence.log_starts.get(key).copied().unwrap_or(i64::MAX);
            let mut from = log_start;
            for entry in self.entries.iter().filter(|entry| entry.is_of(key)) {
                let asked = entry.start < log_start
                    && span.start <= entry.start
                    && entry.end <= span.end
                    && entry.made_by == makers(&evidence.queries, key, entry.start, entry.end)
                    && table.is_apart(key, entry.start, entry.end);
                if asked {
                    entry.compare(key, span, table, letters, said);
                    from = from.max(entry.end);
                }
            }
            // A run that cannot be taken apart takes the offsets that the log still has with it.
            let runs = table.runs.get(key).into_iter().flatten();
            let whole = runs
                .filter(|run| run.compared_from.is_none() && run.last >= log_start)
                .filter(|run| run.last >= from)
                .map(|run| run.last + 1);
            let from = whole.fold(from, i64::max).min(span.end).max(span.start);
            let settled = span.settled.iter().map(|range| range.end - range.start);
            let below = from - span.start - settled.sum::<i64>();
            span.unverified = below.unsigned_abs();
            span.verified_from = from;
            if evidence.log_starts.contains_key(key) {
                let open = between(span.start..from, &span.settled);
                said.notes
                    .extend(open.map(|open| gone(key, &open, log_start)));
            }
        }
    }
}

/// What of a range lies in none of these, which rise.
fn between(range: Range<i64>, settled: &[Range<i64>]) -> impl Iterator<Item = Range<i64>> {
    let ends = settled.iter().map(|range| range.end);
    let starts = settled.iter().map(|range| range.start);
    let begins = std::iter::once(range.start).chain(ends);
    let open = begins.zip(starts.chain([range.end]));
    let open: Vec<Range<i64>> = open.map(|(from, to)| from..to).collect();
    open.into_iter().filter(|open| !open.is_empty())
}

fn gone((topic, partition): &Key, open: &Range<i64>, log_start: i64) -> String {
    let (first, last) = (open.start, open.end - 1);
    format!(
        "{topic}[{partition}]: offsets {first} to {last} are not verified: the log begins at {log_start}, and no audit had looked at them before it let them go"
    )
}

impl Entry {
    fn is_of(&self, key: &Key) -> bool {
        self.topic == key.0 && self.partition == key.1
    }

    fn same_partition(&self, other: &Entry) -> bool {
        self.topic == other.topic && self.partition == other.partition
    }

    /// Goes on over the entry behind this one.
    fn take(&mut self, later: &Entry) {
        self.end = later.end;
        let makers = self.made_by.drain(..).chain(later.made_by.clone());
        let makers: Vec<Maker> = makers.collect();
        self.made_by = together(makers.into_iter());
        let (mine, more) = (&mut self.truth, &later.truth);
        mine.records += more.records;
        mine.rows.take(&more.rows);
        mine.filtered += more.filtered;
        mine.erased += more.erased;
        mine.control += more.control;
        mine.letters.take(&more.letters);
    }

    /// Whether the outcomes are as many as the offsets: else something was not found again in the log.
    pub(super) fn is_whole(&self) -> bool {
        let truth = &self.truth;
        let outcomes = truth.records + truth.filtered + truth.erased + truth.control;
        let outcomes = outcomes + truth.letters.rows;
        outcomes == (self.end - self.start).unsigned_abs()
    }

    /// Compares the table, and the dead letters beside it, with what the log said.
    fn compare(
        &self,
        key: &Key,
        span: &mut PartitionReport,
        table: &mut Table,
        letters: Option<&Letters>,
        said: &mut Said,
    ) {
        let truth = &self.truth;
        span.rows += truth.records;
        span.filtered += truth.filtered;
        span.erased += truth.erased;
        span.control += truth.control;
        span.dead_letters += truth.letters.rows;
        span.settled.push(self.start..self.end);
        let place = format!(
            "{}[{}] offsets {} to {}",
            key.0,
            key.1,
            self.start,
            self.end - 1
        );
        let mut rows = Sum::default();
        for run in table.runs.get_mut(key).into_iter().flatten() {
            if self.start <= run.first && run.last < self.end {
                rows.take(&run.whole);
                run.compared_from = None;
            }
        }
        let missing = rows.missing_to(&truth.rows);
        if let Some(missing) = missing.filter(|_| !table.loose.is_empty()) {
            // Somewhere among what others wrote anew, or nowhere.
            table.loose.owe(Owed {
                key: key.clone(),
                offsets: self.start..self.end,
                rows: missing,
                truth: *truth,
            });
        } else if rows != truth.rows {
            let (there, wanted) = (rows.rows, truth.rows.rows);
            said.findings.push(match there == wanted {
                true => {
                    format!("{place}: {there} rows differ from what the log gave when it was there")
                }
                false => format!(
                    "{place}: {there} rows in the table, {wanted} from the log when it was there"
                ),
            });
        }
        let Some(letters) = letters else {
            return;
        };
        let (offsets, findings) = (self.start..self.end, &mut said.findings);
        letters.compare_sum(key, &offsets, &truth.letters, "failed", findings);
    }
}

#[cfg(test)]
mod tests;
