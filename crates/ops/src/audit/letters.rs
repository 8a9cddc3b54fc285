//! The table of dead letters, audited against the log: a letter for each record that fails, with that record's key and value,
//! and none for any other.
//!
//! Its commits may be behind those of the main table for a moment. What the pipeline's manifest still has to commit there is
//! not missing yet: such offsets are `unverified`.

use super::hash::{Sum, offset_hash, record_hash};
use super::{Key, PartitionReport};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// The dead letters that a table has beside it.
#[derive(Clone, Debug, Default)]
pub struct Letters {
    /// Name of the table of dead letters.
    pub table: String,
    /// Its rows, by topic and partition, in any order.
    pub rows: BTreeMap<(String, i32), Vec<Letter>>,
    /// What the pipeline has yet to commit there.
    pub pending: BTreeMap<(String, i32), Vec<Range<i64>>>,
    /// Those that were erased on purpose.
    pub erased: Option<ErasedLetters>,
}

/// Whether the letter of an offset of a topic's partition was erased on purpose.
pub type IsErased = dyn Fn(&str, i32, i64) -> bool;

/// Says so of each letter.
#[derive(Clone)]
pub struct ErasedLetters(pub Arc<IsErased>);

impl fmt::Debug for ErasedLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ErasedLetters")
    }
}

/// A dead letter, as far as it is compared: 24 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Letter {
    pub(super) offset: i64,
    /// `None`: it has neither key nor value. The log may have lost the record while it was written.
    record: Option<u64>,
}

impl Letter {
    pub fn new(offset: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> Letter {
        let there = key.is_some() || value.is_some();
        Letter {
            offset,
            record: there.then(|| record_hash(key, value)),
        }
    }

    /// Both are of one record, as far as they tell.
    fn agrees(&self, other: &Letter) -> bool {
        self.record.is_none() || other.record.is_none() || self.record == other.record
    }
}

impl Letters {
    /// Compares with the offsets of the records that fail, which are in `partitions` as dead letters.
    pub(super) fn compare(
        mut self,
        mut failed: BTreeMap<Key, Vec<Letter>>,
        partitions: &mut BTreeMap<Key, PartitionReport>,
        findings: &mut Vec<String>,
    ) {
        for (key, span) in partitions {
            let mut expected = failed.remove(key).unwrap_or_default();
            expected.sort_unstable();
            expected.dedup_by_key(|letter| letter.offset);
            if let Some(ErasedLetters(is_erased)) = &self.erased {
                let before = expected.len();
                expected.retain(|letter| !is_erased(&key.0, key.1, letter.offset));
                let gone = (before - expected.len()) as u64;
                span.dead_letters -= gone;
                span.erased += gone;
            }
            let mut found = self.rows.remove(key).unwrap_or_default();
            found.retain(|letter| span.holds(letter.offset));
            found.sort_unstable();
            let all = found.len();
            found.dedup_by_key(|letter| letter.offset);
            let pending = self.pending.remove(key).unwrap_or_default();
            let is_pending =
                |letter: &Letter| pending.iter().any(|range| range.contains(&letter.offset));
            let (open, missing): (Vec<Letter>, Vec<Letter>) = expected
                .iter()
                .copied()
                .filter(|letter| at(&found, letter).is_none())
                .partition(is_pending);
            let other = |letter: &&Letter| {
                let wanted = at(&expected, letter);
                wanted.is_some_and(|wanted| !wanted.agrees(letter))
            };
            let others = found.iter().filter(other).count();
            let first_other = found.iter().find(other).copied();
            found.retain(|letter| at(&expected, letter).is_none());
            span.dead_letters -= (open.len() + missing.len()) as u64;
            span.unverified += open.len() as u64;
            span.gaps += missing.len() as u64;
            let place = format!("{}[{}]", key.0, key.1);
            let table = &self.table;
            if let Some(first) = missing.first() {
                let count = missing.len();
                let first = first.offset;
                findings.push(format!("{place}: {count} records fail and are not in {table}, the first at offset {first}"));
            }
            if let Some(first) = first_other {
                let first = first.offset;
                findings.push(format!("{place}: {others} letters in {table} do not hold the record that failed, the first at offset {first}"));
            }
            if let Some(first) = found.first() {
                let count = found.len();
                let first = first.offset;
                findings.push(format!("{place}: {table} holds {count} records that do not fail, the first at offset {first}"));
            }
            let doubled = all - found.len() - (expected.len() - open.len() - missing.len());
            if doubled > 0 {
                span.duplicates += doubled as u64;
                findings.push(format!("{place}: {doubled} records stand in {table} twice"));
            }
        }
    }
}

impl Letters {
    /// Compares rows that came too late, by the records that they are of: a record may have several.
    pub(super) fn compare_late(
        mut self,
        late: BTreeMap<Key, Vec<Letter>>,
        partitions: &BTreeMap<Key, PartitionReport>,
        findings: &mut Vec<String>,
    ) {
        for (key, expected, found) in self.late_by_key(late, partitions) {
            self.tell_missing(&key, &expected, &found, findings);
            let more = without(&found, &expected);
            if let Some(first) = more.first() {
                let ((topic, partition), table) = (&key, &self.table);
                let (count, first) = (more.len(), first.offset);
                findings.push(format!("{topic}[{partition}]: {table} holds {count} rows that did not come too late, the first at offset {first}"));
            }
        }
    }

    /// Looks for rows that came too late; there may be others beside them.
    pub(super) fn look_for_late(
        mut self,
        late: BTreeMap<Key, Vec<Letter>>,
        partitions: &BTreeMap<Key, PartitionReport>,
        findings: &mut Vec<String>,
    ) {
        for (key, expected, found) in self.late_by_key(late, partitions) {
            self.tell_missing(&key, &expected, &found, findings);
        }
    }

    /// By partition: the rows that are to be there and those that are, without what is still to be committed.
    fn late_by_key(
        &mut self,
        mut late: BTreeMap<Key, Vec<Letter>>,
        partitions: &BTreeMap<Key, PartitionReport>,
    ) -> Vec<(Key, Vec<Letter>, Vec<Letter>)> {
        let by_key = partitions.iter().map(|(key, span)| {
            let mut expected = late.remove(key).unwrap_or_default();
            let mut found = self.rows.remove(key).unwrap_or_default();
            found.retain(|letter| span.holds(letter.offset));
            let pending = self.pending.remove(key).unwrap_or_default();
            let is_open =
                |letter: &Letter| pending.iter().any(|range| range.contains(&letter.offset));
            expected.retain(|letter| !is_open(letter));
            found.retain(|letter| !is_open(letter));
            expected.sort_unstable();
            found.sort_unstable();
            (key.clone(), expected, found)
        });
        by_key.collect()
    }

    fn tell_missing(
        &self,
        (topic, partition): &Key,
        expected: &[Letter],
        found: &[Letter],
        findings: &mut Vec<String>,
    ) {
        let missing = without(expected, found);
        if let Some(first) = missing.first() {
            let (table, count, first) = (&self.table, missing.len(), first.offset);
            findings.push(format!("{topic}[{partition}]: {count} rows came too late and are not in {table}, the first at offset {first}"));
        }
    }

    /// Compares what stands of these offsets with what the log said of them when it was there: the sum of the offsets, each as often
    /// as it `failed`, or whatever brings a record here.
    pub(super) fn compare_sum(
        &self,
        key: &Key,
        offsets: &Range<i64>,
        wanted: &Sum,
        failed: &str,
        findings: &mut Vec<String>,
    ) {
        let mut found = Sum::default();
        for letter in self.rows.get(key).into_iter().flatten() {
            if offsets.contains(&letter.offset) {
                found.add(offset_hash(letter.offset));
            }
        }
        let mut pending = self.pending.get(key).into_iter().flatten();
        let is_open = pending.any(|range| range.start < offsets.end && offsets.start < range.end);
        if found != *wanted && !is_open {
            let (there, wanted, table) = (found.rows, wanted.rows, &self.table);
            let ((topic, partition), last) = (key, offsets.end - 1);
            let first = offsets.start;
            findings.push(format!(
                "{topic}[{partition}] offsets {first} to {last}: {table} holds {there} records, and {wanted} {failed} when the log was there; they are not the same"
            ));
        }
    }
}

/// What a sorted list has more of than another.
fn without(these: &[Letter], others: &[Letter]) -> Vec<Letter> {
    let (mut from, mut taken) = (0, vec![false; others.len()]);
    let mut more = Vec::new();
    for letter in these {
        from += others[from..].partition_point(|other| other.offset < letter.offset);
        let same = (from..others.len()).take_while(|at| others[*at].offset == letter.offset);
        let mut same = same.filter(|at| others[*at].agrees(letter));
        match same.find(|at| !taken[*at]) {
            Some(at) => taken[at] = true,
            None => more.push(*letter),
        }
    }
    more
}

/// The letter of the same offset, in a sorted list.
fn at<'a>(letters: &'a [Letter], letter: &Letter) -> Option<&'a Letter> {
    let place = letters.binary_search_by_key(&letter.offset, |other| other.offset);
    place.ok().map(|place| &letters[place])
}
