//! What of a data file is erased: the rows that have the key, found by reading its columns.
//!
//! A row's offset is told by the runs in the file's footer. In a run that lists the offsets without a row, each row has its own; in one
//! that does not (records that became several rows) all rows are before the bound or behind it, or nobody can tell.

use super::error::EraseError;
use super::record::{Entry, Found};
use crate::replay::Kept;
use crate::storage::Files;
use crate::upkeep::compaction::files::Origins;
use crate::view::{builder, damaged};
use crate::writer::runs::{Run, Runs};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{Field, SchemaRef};
use lw_runtime::{Origin, Split};
use parquet::arrow::arrow_reader::RowSelection;
use parquet::arrow::{PARQUET_FIELD_ID_META_KEY, ProjectionMask};
use std::collections::BTreeSet;
use std::ops::Range;

/// How much of a file is erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Nothing,
    /// So many rows, which are all.
    All(u64),
    /// So many rows, and what is left.
    Some(u64, Kept),
}

impl Part {
    pub(crate) fn rows(&self) -> u64 {
        match self {
            Part::Nothing => 0,
            Part::All(rows) | Part::Some(rows, _) => *rows,
        }
    }
}

/// A file, as it is looked into.
pub(crate) struct DataFile<'a> {
    pub(crate) path: &'a str,
    pub(crate) origins: &'a Origins,
    /// The data sequence number; `None` of one that no snapshot lists.
    pub(crate) sequence: Option<i64>,
}

impl DataFile<'_> {
    /// # Errors
    /// When it cannot be read, or nobody can tell which rows are erased.
    pub(crate) fn part(&self, files: &Files, entries: &[&Entry]) -> Result<Part, EraseError> {
        let entries = entries.iter().filter(|entry| self.may_have(entry));
        let entries: Vec<&Entry> = entries.copied().collect();
        if entries.is_empty() {
            return Ok(Part::Nothing);
        }
        let (hits, rows) = self.hits(files, &entries)?;
        let mut erased = BTreeSet::new();
        for (entry, hits) in entries.iter().zip(hits) {
            if hits.is_empty() {
                continue;
            }
            match self.origins {
                Origins::Foreign => erased.extend(hits),
                Origins::Listed(runs) => self.below(runs, entry, &hits, &mut erased)?,
                Origins::Derived => {
                    let path = self.path.to_owned();
                    return Err(EraseError::Derived { path });
                }
            }
        }
        let count = erased.len() as u64;
        Ok(match count {
            0 => Part::Nothing,
            _ if count == rows => Part::All(count),
            _ => Part::Some(count, self.rest(&erased, rows)),
        })
    }

    /// Some of its rows are old enough.
    fn may_have(&self, entry: &Entry) -> bool {
        match self.origins {
            Origins::Listed(runs) => runs
                .iter()
                .any(|run| run.first < entry.below(&run.topic, run.partition)),
            Origins::Foreign => self
                .sequence
                .is_none_or(|sequence| entry.takes_file(sequence)),
            Origins::Derived => true,
        }
    }

    /// By entry the rows that have its key, and how many rows there are in all.
    fn hits(&self, files: &Files, entries: &[&Entry]) -> Result<(Vec<Vec<u64>>, u64), EraseError> {
        let builder = builder(files, self.path)?;
        let rows = builder.metadata().file_metadata().num_rows();
        let rows = u64::try_from(rows).map_err(|error| damaged(self.path, error))?;
        let mut hits = vec![Vec::new(); entries.len()];
        let wanted = entries.iter().flat_map(|entry| &entry.columns);
        let places = wanted.filter_map(|id| place(builder.schema(), *id));
        let places: BTreeSet<usize> = places.collect();
        if places.is_empty() {
            return Ok((hits, rows));
        }
        let mask = ProjectionMask::roots(builder.parquet_schema(), places);
        let reader = builder.with_projection(mask).build();
        let mut at = 0;
        for batch in reader.map_err(|error| damaged(self.path, error))? {
            let batch = batch.map_err(|error| damaged(self.path, error))?;
            for (entry, hits) in entries.iter().zip(&mut hits) {
                let column = |id| column_of(&batch, id);
                let found = Found::of(entry, &column).map_err(|why| EraseError::Closed {
                    path: self.path.to_owned(),
                    why,
                })?;
                let Some(mut found) = found else { continue };
                let of_batch = (0..batch.num_rows()).filter(|row| found.has(*row));
                hits.extend(of_batch.map(|row| at + row as u64));
            }
            at += batch.num_rows() as u64;
        }
        Ok((hits, rows))
    }

    /// Of the rows that have an entry's key those of its records.
    fn below(
        &self,
        runs: &[Run],
        entry: &Entry,
        hits: &[u64],
        erased: &mut BTreeSet<u64>,
    ) -> Result<(), EraseError> {
        let (mut hits, mut at) = (hits.iter().copied().peekable(), 0);
        for run in runs {
            let below = entry.below(&run.topic, run.partition);
            let mut offsets = None;
            while let Some(row) = hits.next_if(|row| *row < at + run.rows) {
                let is_before = if run.last < below {
                    true
                } else if below <= run.first {
                    false
                } else {
                    let offsets = offsets.get_or_insert_with(|| offsets_of(run));
                    let offsets = offsets.as_ref().ok_or_else(|| EraseError::Uncut {
                        path: self.path.to_owned(),
                        topic: run.topic.clone(),
                        partition: run.partition,
                        below,
                    })?;
                    offsets[index(row - at)] < below
                };
                if is_before {
                    erased.insert(row);
                }
            }
            at += run.rows;
        }
        Ok(())
    }

    /// What is left without these rows.
    fn rest(&self, erased: &BTreeSet<u64>, rows: u64) -> Kept {
        let mut kept = Kept::default();
        let mut from = 0;
        for gone in erased.iter().copied().chain([rows]) {
            kept.rows.push(from..gone);
            from = gone + 1;
        }
        kept.rows.retain(|rows| !rows.is_empty());
        if let Origins::Listed(runs) = self.origins {
            let mut at = 0;
            for run in runs {
                let gone = erased.range(at..at + run.rows).map(|row| row - at);
                kept.runs.extend(without(run, &gone.collect()));
                at += run.rows;
            }
        }
        kept
    }
}

/// Where the rows of a file came from, in their order: the run, an offset of it, and whether that is the row's own.
pub(super) fn origins(runs: &[Run]) -> Vec<(&Run, i64, bool)> {
    let mut origins = Vec::new();
    for run in runs {
        let offsets = offsets_of(run);
        origins.extend((0..run.rows).map(|row| match &offsets {
            Some(offsets) => (run, offsets[index(row)], true),
            None => (run, run.first, false),
        }));
    }
    origins
}

/// The rows of a file that go, each with its place in it.
pub(super) fn gone(
    files: &Files,
    path: &str,
    kept: &Kept,
) -> Result<Vec<(Vec<usize>, RecordBatch)>, EraseError> {
    let builder = builder(files, path)?;
    let rows = builder.metadata().file_metadata().num_rows();
    let rows = u64::try_from(rows).map_err(|error| damaged(path, error))?;
    let mut from = 0;
    let mut ranges = Vec::new();
    for stays in kept.rows.iter().cloned().chain(std::iter::once(rows..rows)) {
        ranges.push(index(from)..index(stays.start));
        from = stays.end;
    }
    ranges.retain(|range| !range.is_empty());
    let mut places = ranges.clone().into_iter().flatten();
    let selection = RowSelection::from_consecutive_ranges(ranges.into_iter(), index(rows));
    let reader = builder.with_row_selection(selection).build();
    let mut gone = Vec::new();
    for batch in reader.map_err(|error| damaged(path, error))? {
        let batch = batch.map_err(|error| damaged(path, error))?;
        gone.push((places.by_ref().take(batch.num_rows()).collect(), batch));
    }
    Ok(gone)
}

/// A run without these of its rows.
fn without(run: &Run, gone: &BTreeSet<u64>) -> Option<Run> {
    if gone.is_empty() {
        return Some(run.clone());
    }
    let left = run.rows - gone.len() as u64;
    if left == 0 {
        return None;
    }
    let Some(offsets) = offsets_of(run) else {
        return Some(Run {
            rows: left,
            skipped: None,
            ..run.clone()
        });
    };
    let kept = (0..run.rows).filter(|row| !gone.contains(row));
    let origins = kept.map(|row| Origin {
        split: 0,
        offset: offsets[index(row)],
    });
    let mut runs = match run.shared {
        true => Runs::shared(),
        false => Runs::default(),
    };
    let split = Split {
        topic: run.topic.as_str().into(),
        partition: run.partition,
    };
    runs.add(&origins.collect(), &[split]);
    runs.into_list().pop()
}

/// The offset of each row of a run; `None` where rows and offsets cannot be brought together.
fn offsets_of(run: &Run) -> Option<Vec<i64>> {
    let of_offsets = (run.last - run.first + 1).unsigned_abs() - run.skipped_offsets;
    let skipped = run.skipped.as_ref().filter(|_| run.rows == of_offsets)?;
    let begins = std::iter::once(run.first).chain(skipped.iter().map(|(_, to)| *to));
    let ends = skipped.iter().map(|(from, _)| *from).chain([run.last + 1]);
    let stretches = begins.zip(ends);
    Some(
        stretches
            .flat_map(|(from, to): (i64, i64)| -> Range<i64> { from..to })
            .collect(),
    )
}

/// Where a file has the top-level column of a field id.
fn place(schema: &SchemaRef, id: i32) -> Option<usize> {
    let of = |field: &Field| -> Option<i32> {
        let id = field.metadata().get(PARQUET_FIELD_ID_META_KEY)?;
        id.parse().ok()
    };
    schema
        .fields()
        .iter()
        .position(|field| of(field) == Some(id))
}

fn column_of(batch: &RecordBatch, id: i32) -> Option<ArrayRef> {
    let at = place(&batch.schema(), id)?;
    Some(batch.column(at).clone())
}

fn index(row: u64) -> usize {
    usize::try_from(row).expect("rows of a file fit the address space")
}

pub(super) fn closed(path: &str, why: &str) -> EraseError {
    EraseError::Closed {
        path: path.to_owned(),
        why: why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(first: i64, last: i64, skipped: &[(i64, i64)]) -> Run {
        let skipped_offsets = skipped.iter().map(|(from, to)| (to - from).unsigned_abs());
        let skipped_offsets = skipped_offsets.sum();
        Run {
            topic: "in".to_owned(),
            partition: 0,
            first,
            last,
            rows: (last - first + 1).unsigned_abs() - skipped_offsets,
            skipped_offsets,
            skipped: Some(skipped.to_vec()),
            shared: false,
        }
    }

    #[test]
    fn a_run_is_cut_at_each_row_that_goes() {
        let whole = run(5, 10, &[(7, 8)]);
        assert_eq!(offsets_of(&whole), Some(vec![5, 6, 8, 9, 10]));
        let cut = |gone: &[u64]| without(&whole, &gone.iter().copied().collect());
        assert_eq!(cut(&[]), Some(whole.clone()));
        assert_eq!(cut(&[0]), Some(run(6, 10, &[(7, 8)])));
        assert_eq!(cut(&[1]), Some(run(5, 10, &[(6, 8)])));
        assert_eq!(cut(&[2, 3]), Some(run(5, 10, &[(7, 10)])));
        assert_eq!(cut(&[3, 4]), Some(run(5, 8, &[(7, 8)])));
        assert_eq!(cut(&[0, 1, 2, 3]), Some(run(10, 10, &[])));
        assert_eq!(cut(&[0, 1, 2, 3, 4]), None);
        // Of records with several rows only the number is known.
        let several = Run {
            rows: 9,
            ..whole.clone()
        };
        let left = without(&several, &BTreeSet::from([4]));
        let expected = Run {
            rows: 8,
            skipped: None,
            ..whole
        };
        assert_eq!(left, Some(expected));
    }
}
