//! The log's word on a table of a query with state, up to the end of a commit.
//!
//! A part of the log gives no part of such a table, so the word is on all of it from the beginning on: how many rows each window has,
//! and the sum of their hashes. Where the query stood at the commit is beside it, with what its operators knew of the rows so far, and so
//! it can be executed on from there when the log before is gone:
//!
//! ```text
//!     the log that is gone          the log that is there
//!   ├───────────────────────────┤├───────────────────────┤
//!     rows by the word          +   rows by the operators, which go on   =   the table
//! ```
//!
//! It is what the audit's own execution came to and nothing that the pipeline says of itself. Of the greatest windows each is kept for
//! itself; those before them, in which hardly anything happens any more, have one sum.
//!
//! Where the log's beginning was gone already, the word goes on from a base, and is of windows behind it alone.

use super::lots::{Both, Lots, Window};
use super::recomputing::Recomputing;
use crate::audit::hash::Sum;
use crate::audit::ledger::Truth;
use crate::audit::{Key, Letters, PartitionReport, Said};
use lw_runtime::FlowState;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Windows that are kept each for itself.
const MOST_WINDOWS: usize = 1_000;

/// What the log said, and where its query stood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// How many there were of the table before; the names of files are of it.
    pub(in crate::audit) number: u64,
    /// The query, as the commits name it.
    pub(in crate::audit) query: String,
    /// By partition.
    splits: Vec<OfSplit>,
    /// `None` where it is of all windows.
    pub(in crate::audit) since: Option<Since>,
    /// The sum of the windows up to one of them.
    older: Option<Older>,
    windows: Vec<OfWindow>,
    pub(in crate::audit) flow: FlowState,
}

/// Why it is not of all windows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::audit) struct Since {
    /// It is of those that begin later, milliseconds since 1970.
    pub(in crate::audit) after: i64,
    pub(in crate::audit) why: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct OfSplit {
    topic: String,
    partition: i32,
    start: i64,
    end: i64,
    /// Without rows: one of an aggregate is of no partition.
    #[serde(flatten)]
    truth: Truth,
    late: u64,
    /// The offsets of rows that came too late, as often as a record has such rows.
    late_rows: Sum,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct OfWindow {
    window: Window,
    #[serde(flatten)]
    sum: Sum,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Older {
    up_to: Window,
    windows: u64,
    #[serde(flatten)]
    sum: Sum,
}

impl Word {
    /// Where its query stood.
    pub fn flow(&self) -> &FlowState {
        &self.flow
    }

    /// Where it ends, by partition.
    pub(in crate::audit) fn ends(&self) -> impl Iterator<Item = (Key, i64)> {
        self.splits.iter().map(|at| (at.key(), at.end))
    }

    /// Where it begins and ends in a partition.
    pub(super) fn of(&self, key: &Key) -> Option<(i64, i64)> {
        let split = self.splits.iter().find(|at| at.is_of(key))?;
        Some((split.start, split.end))
    }

    /// Adds what it says of windows to what the log gives.
    pub(super) fn add_to(&self, lots: &mut Lots) {
        for OfWindow { window, sum } in &self.windows {
            let lot = lots.windows.entry(window.clone()).or_default();
            lot.log.take(sum);
        }
        if let Some(Older {
            up_to,
            windows,
            sum,
        }) = &self.older
        {
            let mut both = Both::default();
            both.log.take(sum);
            lots.older = Some((up_to.clone(), *windows, both));
        }
    }

    /// Accounts for the offsets that it is of, and compares what stands beside the table.
    pub(super) fn settle(
        &self,
        partitions: &mut BTreeMap<Key, PartitionReport>,
        letters: Option<&Letters>,
        late: Option<&Letters>,
        said: &mut Said,
    ) {
        for at in &self.splits {
            let key = at.key();
            let span = partitions.get_mut(&key);
            let span = span.expect("A2: a word is used where the table has all of its partitions");
            span.rows += at.truth.records;
            span.filtered += at.truth.filtered;
            span.control += at.truth.control;
            span.dead_letters += at.truth.letters.rows;
            span.late += at.late;
            let offsets = at.start..at.end;
            if let Some(letters) = letters {
                let wanted = &at.truth.letters;
                letters.compare_sum(&key, &offsets, wanted, "failed", &mut said.findings);
            }
            // Of what came before a base nobody knows what was late.
            if let Some(late) = late.filter(|_| self.since.is_none()) {
                let (wanted, how) = (&at.late_rows, "came too late");
                late.compare_sum(&key, &offsets, wanted, how, &mut said.findings);
            }
        }
    }
}

impl OfSplit {
    fn key(&self) -> Key {
        (self.topic.clone(), self.partition)
    }

    fn is_of(&self, key: &Key) -> bool {
        self.topic == key.0 && self.partition == key.1
    }

    /// Whether the outcomes are as many as the offsets.
    fn is_whole(&self) -> bool {
        let Truth {
            records,
            filtered,
            control,
            letters,
            ..
        } = &self.truth;
        let outcomes = records + filtered + control + letters.rows + self.late;
        outcomes == (self.end - self.start).unsigned_abs()
    }
}

impl Recomputing<'_> {
    /// What the log says up to where it was read, the windows that the end of time lets fire not among them. `None` where something
    /// could not be found again in the log, or nobody could know the rows again.
    pub(super) fn word(&self, flow: FlowState) -> Option<Word> {
        let rows: u64 = self.lots.log_rows();
        if self.layout.fields().is_empty() && rows > 0 {
            return None;
        }
        let before = self.ground.word;
        let splits = self.ground.parts.iter().map(|(key, (from, to))| {
            let known = before.and_then(|word| word.splits.iter().find(|at| at.is_of(key)));
            let span = &self.replay.partitions[key];
            let mut letters = self.replay.truths.get(key).map(|truth| truth.letters);
            let mut late_rows = self.late_offsets.get(key).copied().unwrap_or_default();
            if let Some(known) = known {
                letters.get_or_insert_default().take(&known.truth.letters);
                late_rows.take(&known.late_rows);
            }
            OfSplit {
                topic: key.0.clone(),
                partition: key.1,
                start: known.map_or(*from, |known| known.start),
                end: *to,
                truth: Truth {
                    records: span.rows,
                    filtered: span.filtered,
                    control: span.control,
                    letters: letters.unwrap_or_default(),
                    ..Truth::default()
                },
                late: span.late,
                late_rows,
            }
        });
        let splits: Vec<OfSplit> = splits.collect();
        if !splits.iter().all(OfSplit::is_whole) {
            return None;
        }
        let (older, windows) = self.lots.kept();
        Some(Word {
            number: self.ground.number,
            query: self.ground.name.clone(),
            splits,
            since: self.ground.since.clone(),
            older,
            windows,
            flow,
        })
    }
}

impl Lots {
    /// How many rows the log gives.
    fn log_rows(&self) -> u64 {
        let older = self.older.iter().map(|(_, _, both)| both);
        let all = self.windows.values().chain(older);
        all.map(|both| both.log.rows).sum()
    }

    /// What the log gives, as it is kept.
    fn kept(&self) -> (Option<Older>, Vec<OfWindow>) {
        let older = self.older.as_ref().map(|(up_to, windows, both)| Older {
            up_to: up_to.clone(),
            windows: *windows,
            sum: both.log,
        });
        let (mut older, mut windows) = (older, Vec::new());
        let of_log = self.windows.iter().filter(|(_, both)| both.log.rows > 0);
        let folded = of_log.clone().count().saturating_sub(MOST_WINDOWS);
        for (n, (window, both)) in of_log.enumerate() {
            let is_older = older.as_ref().is_some_and(|older| *window <= older.up_to);
            if n >= folded && !is_older {
                let (window, sum) = (window.clone(), both.log);
                windows.push(OfWindow { window, sum });
                continue;
            }
            let older = older.get_or_insert_with(|| Older {
                up_to: window.clone(),
                windows: 0,
                sum: Sum::default(),
            });
            older.windows += 1;
            older.sum.take(&both.log);
            if older.up_to < *window {
                older.up_to.clone_from(window);
            }
        }
        (older, windows)
    }

    /// Puts the windows together that have one sum.
    pub(super) fn put_together(&mut self) {
        let Some((up_to, windows, both)) = &mut self.older else {
            return;
        };
        let later = self.windows.split_off(&*up_to);
        let mut before = std::mem::replace(&mut self.windows, later);
        // What is split off begins with it.
        if let Some(last) = self.windows.remove(&*up_to) {
            before.insert(up_to.clone(), last);
        }
        *windows = (*windows).max(before.len() as u64);
        for lot in before.values() {
            both.table.take(&lot.table);
            both.log.take(&lot.log);
        }
    }
}
