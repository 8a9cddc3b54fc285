//! Where rows came from, run-length: the rows of a chunk stand in stretches of records that follow on each other.
//!
//! A log gives batches of thousands of consecutive offsets of one partition, so what would be 16 bytes a row is one run. A
//! filter cuts runs; the worst it can do is one run per row.

use crate::chunk::SplitId;
use arrow_buffer::BooleanBuffer;
use std::collections::BTreeMap;

/// Where a row came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    pub split: SplitId,
    pub offset: i64,
}

/// Consecutive records of one split that became the same number of rows each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub split: SplitId,
    /// Offset of the first record.
    pub first: i64,
    pub records: u32,
    /// Rows of each record, 1 but for formats that make several of one.
    pub each: u32,
}

impl Run {
    pub fn rows(&self) -> usize {
        self.records as usize * self.each as usize
    }

    /// Offset of the last record.
    pub fn last(&self) -> i64 {
        self.first + i64::from(self.records) - 1
    }

    /// Where its rows came from, in order.
    pub fn origins(self) -> impl Iterator<Item = Origin> {
        let of_record = move |record| Origin {
            split: self.split,
            offset: self.first + i64::from(record),
        };
        (0..self.records)
            .flat_map(move |record| std::iter::repeat_n(of_record(record), self.each as usize))
    }
}

/// The origins of a chunk's rows, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    /// None is empty; the rows of one record may stand at the end of one and the beginning of the next.
    runs: Vec<Run>,
    rows: usize,
}

impl Runs {
    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    pub fn bytes(&self) -> usize {
        self.runs.len() * size_of::<Run>()
    }

    /// Adds the rows of a record, of which there may be none.
    pub fn push(&mut self, origin: Origin, rows: u32) {
        self.append(Run {
            split: origin.split,
            first: origin.offset,
            records: 1,
            each: rows,
        });
    }

    /// Adds a run, which may go on with the last one.
    pub fn append(&mut self, run: Run) {
        if run.rows() == 0 {
            return;
        }
        self.rows += run.rows();
        let goes_on = |last: &&mut Run| {
            last.split == run.split && last.each == run.each && last.last() + 1 == run.first
        };
        match self.runs.last_mut().filter(goes_on) {
            Some(last) => last.records += run.records,
            None => self.runs.push(run),
        }
    }

    pub fn extend(&mut self, later: &Runs) {
        later.runs.iter().for_each(|run| self.append(*run));
    }

    /// Each row's.
    pub fn iter(&self) -> impl Iterator<Item = Origin> {
        self.runs.iter().copied().flat_map(Run::origins)
    }

    /// Those of the rows whose splits are wanted.
    pub fn of_splits(&self, wanted: impl Fn(SplitId) -> bool) -> Runs {
        let mut kept = Runs::default();
        let runs = self.runs.iter().filter(|run| wanted(run.split));
        runs.for_each(|run| kept.append(*run));
        kept
    }

    /// Adds the rows `[from, to)` of a run.
    fn append_part(&mut self, run: &Run, from: usize, to: usize) {
        let each = run.each as usize;
        let mut at = from;
        while at < to {
            let (record, into) = (at / each, at % each);
            // Whole records where that goes, else what is wanted of one.
            let (records, rows) = match (to - at) / each {
                whole if into == 0 && whole > 0 => (whole, each),
                _ => (1, (each - into).min(to - at)),
            };
            self.append(Run {
                split: run.split,
                first: run.first + record as i64,
                records: records as u32,
                each: rows as u32,
            });
            at += records * rows;
        }
    }

    /// The rows of a range.
    pub(crate) fn slice(&self, rows: std::ops::Range<usize>) -> Runs {
        let (mut part, mut at) = (Runs::default(), 0);
        for run in &self.runs {
            let here = |row: usize| row.clamp(at, at + run.rows()) - at;
            part.append_part(run, here(rows.start), here(rows.end));
            at += run.rows();
        }
        part
    }

    /// Those of the rows that are set.
    pub fn filter(&self, keep: &BooleanBuffer) -> Runs {
        assert_eq!(keep.len(), self.rows, "one bit for each row");
        let mut kept = Runs::default();
        let (mut runs, mut at) = (self.runs.iter(), 0);
        let mut run = runs.next();
        for (mut from, to) in keep.set_slices() {
            while from < to {
                let here = run.expect("rows end with their runs");
                let end = at + here.rows();
                if from >= end {
                    (at, run) = (end, runs.next());
                    continue;
                }
                kept.append_part(here, from - at, to.min(end) - at);
                from = to.min(end);
            }
        }
        kept
    }

    /// How many records there are of each split. The rows of one record stand together.
    pub fn records(&self) -> BTreeMap<SplitId, u64> {
        let mut records = BTreeMap::new();
        let mut last = None;
        for run in &self.runs {
            let goes_on = last.replace((run.split, run.last())) == Some((run.split, run.first));
            *records.entry(run.split).or_default() += u64::from(run.records) - u64::from(goes_on);
        }
        records
    }
}

impl FromIterator<Origin> for Runs {
    /// One for each row.
    fn from_iter<I: IntoIterator<Item = Origin>>(origins: I) -> Runs {
        let mut runs = Runs::default();
        let mut pending: Option<(Origin, u32)> = None;
        for origin in origins {
            match &mut pending {
                Some((last, rows)) if *last == origin => *rows += 1,
                pending => {
                    if let Some((last, rows)) = pending.replace((origin, 1)) {
                        runs.push(last, rows);
                    }
                }
            }
        }
        if let Some((last, rows)) = pending {
            runs.push(last, rows);
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn origin(split: SplitId, offset: i64) -> Origin {
        Origin { split, offset }
    }

    #[test]
    fn consecutive_records_are_one_run() {
        let runs: Runs = (5..2005).map(|offset| origin(3, offset)).collect();
        assert_eq!(
            runs.runs(),
            [Run {
                split: 3,
                first: 5,
                records: 2000,
                each: 1
            }]
        );
    }

    #[test]
    fn a_record_counts_once_wherever_its_rows_are_cut() {
        let mut runs = Runs::default();
        (0..4).for_each(|offset| runs.push(origin(0, offset), 3));
        assert_eq!(runs.runs().len(), 1);
        let keep = |rows: std::ops::Range<usize>| {
            let bits: BooleanBuffer = (0..12).map(|row| rows.contains(&row)).collect();
            runs.filter(&bits)
        };
        let cut = keep(1..8);
        let offsets: Vec<i64> = cut.iter().map(|origin| origin.offset).collect();
        assert_eq!(offsets, [0, 0, 1, 1, 1, 2, 2]);
        assert_eq!(cut.records(), BTreeMap::from([(0, 3)]));
        let mut again = keep(0..1);
        again.extend(&keep(1..3));
        assert_eq!(again.records(), BTreeMap::from([(0, 1)]));
    }

    /// Records in the order of a log: each offset of a split once, with some rows.
    fn some_records() -> impl Strategy<Value = Vec<Origin>> {
        proptest::collection::vec((0..3_u32, 0..3_i64, 0..4_usize), 0..40).prop_map(|steps| {
            let mut next = [0; 3];
            let mut rows = Vec::new();
            for (split, gap, count) in steps {
                let offset = next[split as usize] + gap;
                next[split as usize] = offset + 1;
                rows.extend(std::iter::repeat_n(origin(split, offset), count));
            }
            rows
        })
    }

    proptest! {
        #[test]
        fn runs_say_what_a_list_says(
            rows in some_records(),
            keep in proptest::collection::vec(any::<bool>(), 160),
            cut in 0..160_usize,
        ) {
            let runs: Runs = rows.iter().copied().collect();
            prop_assert_eq!(runs.iter().collect::<Vec<_>>(), rows.clone());
            prop_assert_eq!(runs.rows(), rows.len());
            let keep = &keep[..rows.len()];
            let kept = runs.filter(&BooleanBuffer::from(keep.to_vec()));
            let kept_rows: Vec<Origin> = rows.iter().zip(keep).filter(|(_, k)| **k).map(|(o, _)| *o).collect();
            prop_assert_eq!(kept.iter().collect::<Vec<_>>(), kept_rows.clone());
            let mut records: BTreeMap<SplitId, u64> = BTreeMap::new();
            let mut distinct = kept_rows;
            distinct.dedup();
            distinct.iter().for_each(|origin| *records.entry(origin.split).or_default() += 1);
            prop_assert_eq!(kept.records(), records);
            let (before, behind) = rows.split_at(cut.min(rows.len()));
            let mut joined: Runs = before.iter().copied().collect();
            joined.extend(&behind.iter().copied().collect());
            prop_assert_eq!(joined.iter().collect::<Vec<_>>(), rows.clone());
            let first: Vec<Origin> = rows.into_iter().filter(|origin| origin.split == 1).collect();
            prop_assert_eq!(runs.of_splits(|split| split == 1).iter().collect::<Vec<_>>(), first);
        }
    }
}
