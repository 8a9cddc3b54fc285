//! What became of every offset since the last seal: the conservation law, kept per partition.
//!
//! `end − start = rows + filtered + dead_letters + control + late + gaps`, where a record counts once however many rows it
//! became. Behind state `rows` are the records that it took in. The ledger is what a commit's marker says; the audit never believes it but recomputes it from the log.

use crate::chunk::{Split, SplitId};
use crate::connector::Progress;
use crate::manifest::SplitRange;
use crate::operator::{LateRow, late_records};
use crate::origins::Runs;
use std::collections::BTreeMap;

/// Counts per split since the last [`Ledger::take`].
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    splits: BTreeMap<SplitId, Counts>,
}

#[derive(Debug, Default, Clone)]
struct Counts {
    start: i64,
    end: i64,
    rows: u64,
    filtered: u64,
    dead_letters: u64,
    control: u64,
    late: u64,
}

impl Ledger {
    /// Records that a split was read on to `progress.to`.
    ///
    /// # Panics
    /// When the progress does not begin where the last one ended: an offset would be lost or counted twice.
    pub(crate) fn advance(&mut self, progress: &Progress) {
        let counts = self.splits.entry(progress.split).or_insert_with(|| Counts {
            start: progress.from,
            end: progress.from,
            ..Counts::default()
        });
        assert_eq!(
            counts.end, progress.from,
            "L1: a split's progress has no hole and no overlap"
        );
        counts.end = progress.to;
        counts.control += progress.control;
        counts.filtered += progress.skipped;
    }

    /// Counts the records of a processed batch: `decoded` are the origins before the operators, `landed` after them, and
    /// `failed` records were moved to the dead letters by an operator.
    pub(crate) fn processed(&mut self, decoded: &Runs, landed: &Runs, failed: &Runs) {
        let decoded = decoded.records();
        let landed = landed.records();
        let failed = failed.records();
        for (split, count) in &decoded {
            let rows = landed.get(split).copied().unwrap_or(0);
            let dead = failed.get(split).copied().unwrap_or(0);
            let counts = self.splits.entry(*split).or_default();
            counts.rows += rows;
            counts.dead_letters += dead;
            counts.filtered += count
                .checked_sub(rows + dead)
                .expect("L3: a record lands, fails or is filtered, and only one of them");
        }
    }

    /// Of records that were counted as landed, those that state found too late.
    pub(crate) fn late(&mut self, landed: &Runs, splits: &[Split], late: &[LateRow]) {
        for origin in late_records(landed, splits, late) {
            let counts = self.splits.entry(origin.split).or_default();
            counts.rows = counts
                .rows
                .checked_sub(1)
                .expect("L3: a record lands, fails, is late or is filtered, and only one of them");
            counts.late += 1;
        }
    }

    /// Counts a record that could not be decoded.
    pub(crate) fn dead_letter(&mut self, split: SplitId) {
        self.splits.entry(split).or_default().dead_letters += 1;
    }

    /// Appends what a later poll counted.
    ///
    /// # Panics
    /// When it does not begin where this one ends (L1).
    pub(crate) fn append(&mut self, later: Ledger) {
        for (split, counts) in later.splits {
            let mine = self.splits.entry(split).or_insert_with(|| Counts {
                start: counts.start,
                end: counts.start,
                ..Counts::default()
            });
            assert_eq!(
                mine.end, counts.start,
                "L1: a split's progress has no hole and no overlap"
            );
            mine.end = counts.end;
            mine.rows += counts.rows;
            mine.filtered += counts.filtered;
            mine.dead_letters += counts.dead_letters;
            mine.control += counts.control;
            mine.late += counts.late;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.splits
            .values()
            .all(|counts| counts.start == counts.end)
    }

    /// The ranges since the last call, and starts anew behind them.
    pub(crate) fn take(&mut self, splits: &[Split]) -> Vec<SplitRange> {
        let mut ranges = Vec::new();
        for (split, counts) in &mut self.splits {
            if counts.start < counts.end {
                let split = &splits[*split as usize];
                ranges.push(SplitRange {
                    topic: split.topic.to_string(),
                    partition: split.partition,
                    start: counts.start,
                    end: counts.end,
                    rows: counts.rows,
                    filtered: counts.filtered,
                    dead_letters: counts.dead_letters,
                    control: counts.control,
                    late: counts.late,
                });
            }
            *counts = Counts {
                start: counts.end,
                end: counts.end,
                ..Counts::default()
            };
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origins::Origin;

    fn of(offsets: &[i64]) -> Runs {
        let origin = |offset: &i64| Origin {
            split: 0,
            offset: *offset,
        };
        offsets.iter().map(origin).collect()
    }

    #[test]
    fn a_record_counts_once_however_many_rows_it_became() {
        let mut ledger = Ledger::default();
        let progress = Progress {
            split: 0,
            from: 10,
            to: 15,
            control: 1,
            skipped: 1,
        };
        ledger.advance(&progress);
        // Offset 10 became two rows, 11 was filtered, 12 failed; 13 is a tombstone and 14 a marker.
        ledger.processed(&of(&[10, 10, 11, 12]), &of(&[10, 10]), &of(&[12]));
        let splits = [Split {
            topic: "t".into(),
            partition: 3,
        }];
        let range = ledger.take(&splits).remove(0);
        assert_eq!((range.start, range.end), (10, 15));
        assert_eq!(
            (
                range.rows,
                range.filtered,
                range.dead_letters,
                range.control
            ),
            (1, 2, 1, 1)
        );
        assert!(ledger.is_empty());
    }

    #[test]
    fn a_record_is_late_when_none_of_its_rows_was_in_time() {
        let mut ledger = Ledger::default();
        ledger.advance(&Progress {
            split: 0,
            from: 0,
            to: 3,
            control: 0,
            skipped: 0,
        });
        let rows = of(&[0, 1, 1, 2, 2]);
        ledger.processed(&rows, &rows, &of(&[]));
        // Of offset 1 one row, of 2 both.
        let late = of(&[0, 1, 2, 2]);
        let split = Split {
            topic: "t".into(),
            partition: 3,
        };
        let late = late.iter().map(|origin| LateRow {
            record: Some((split.clone(), origin.offset)),
            event_time: 0,
            watermark: 9,
        });
        let splits = std::slice::from_ref(&split);
        ledger.late(&rows, splits, &late.collect::<Vec<_>>());
        let range = ledger.take(&[split]).remove(0);
        assert_eq!((range.rows, range.late, range.filtered), (1, 2, 0));
    }

    #[test]
    #[should_panic(expected = "L1")]
    fn a_hole_in_the_progress_is_a_bug() {
        let mut ledger = Ledger::default();
        let progress = |from, to| Progress {
            split: 0,
            from,
            to,
            control: 0,
            skipped: 0,
        };
        ledger.advance(&progress(0, 5));
        ledger.advance(&progress(6, 7));
    }
}
