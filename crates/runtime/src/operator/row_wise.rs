//! Operators whose rows stand each for itself: where one cannot be computed, the others go on.
//!
//! A row whose expression fails (division by zero, a failed CAST) never stops the job: its record goes to the dead letters
//! and the others go on. The error names a row that fails; the rows before it are tried again, and how many are tried at once
//! grows with how many passed since the last failure. So `n` rows cost `O(n)`, however many of them fail. A record that became
//! several rows fails as a whole. Behind an aggregate there is no record to give up, and the job ends.

use super::{OperatorError, Out};
use crate::chunk::{Chunk, Mark, Origins, push_mark};
use crate::kernel::RowError;
use crate::origins::{Origin, Runs};
use arrow_schema::ArrowError;
use std::cell::LazyCell;
use std::ops::Range;

/// What such an operator does with rows.
pub(super) trait RowWise {
    /// Computes all rows, or names one that cannot be computed.
    fn apply(&mut self, chunk: &Chunk) -> Result<Result<Chunk, RowError>, ArrowError>;

    /// The output for no rows: it has the output's columns.
    fn of_none(&self, empty: Chunk) -> Chunk;
}

/// Applies the operator to all rows for which it can be computed, and emits one chunk.
pub(super) fn each_row(
    operator: &mut impl RowWise,
    chunk: Chunk,
    out: &mut Out,
) -> Result<(), OperatorError> {
    let error = match operator.apply(&chunk)? {
        Ok(done) => {
            out.emit(done);
            return Ok(());
        }
        Err(error) => error,
    };
    match chunk.origins.runs() {
        Some(_) if chunk.rows() == 0 => out.emit(operator.of_none(chunk)),
        Some(runs) => {
            let runs = runs.clone();
            let done = around_failures(operator, &chunk, &runs, error, out)?;
            out.emit(done);
        }
        None => {
            return Err(OperatorError::Row {
                row: error.row,
                code: error.code.to_string(),
                message: error.message,
            });
        }
    }
    Ok(())
}

/// All rows but those that fail, of which one is known.
fn around_failures(
    operator: &mut impl RowWise,
    chunk: &Chunk,
    runs: &Runs,
    known: RowError,
    out: &mut Out,
) -> Result<Chunk, OperatorError> {
    let rows = chunk.rows();
    let origins = LazyCell::new(|| runs.iter().collect::<Vec<Origin>>());
    let mut marks = chunk.marks.iter().copied().peekable();
    let (mut at, mut size, mut passed) = (0, known.row.max(1), 0);
    let mut parts = Vec::new();
    let mut bad = Some((known.row, known));
    loop {
        if let Some((_, error)) = bad.take_if(|(row, _)| *row == at) {
            out.fail(origins[at], error.code, error.message);
            at += 1;
            size = 2 * passed + 1;
            passed = 0;
        }
        if at == rows {
            break;
        }
        let until = bad.as_ref().map_or(rows, |(row, _)| *row);
        let take = size.min(until - at);
        let mut part = part_of(chunk, &origins, at..at + take);
        let mut ahead = marks.clone();
        while let Some(mark) = ahead.next_if(|mark| mark.row <= at + take) {
            push_mark(&mut part.marks, mark.row.saturating_sub(at), mark.watermark);
        }
        match operator.apply(&part)? {
            Ok(done) => {
                parts.push(done);
                marks = ahead;
                at += take;
                passed += take;
                size = 2 * take;
            }
            Err(error) => {
                assert!(
                    error.row < take,
                    "C1: an error names a row of the chunk that it is of"
                );
                size = error.row.max(1);
                bad = Some((at + error.row, error));
            }
        }
    }
    let mut done = match parts.is_empty() {
        true => operator.of_none(part_of(chunk, &[], 0..0)),
        false => concat(parts)?,
    };
    let rows = done.rows();
    // What is left stands behind rows that failed.
    marks.for_each(|Mark { watermark, .. }| push_mark(&mut done.marks, rows, watermark));
    Ok(done)
}

/// Some rows of a chunk, whose rows came from `origins`; without marks.
fn part_of(chunk: &Chunk, origins: &[Origin], rows: Range<usize>) -> Chunk {
    Chunk::new(
        chunk.columns.slice(rows.start, rows.len()),
        origins[rows].iter().copied().collect(),
        chunk.splits.clone(),
    )
}

/// # Panics
/// Without parts.
fn concat(mut parts: Vec<Chunk>) -> Result<Chunk, ArrowError> {
    if parts.len() == 1 {
        return Ok(parts.remove(0));
    }
    let columns = parts.iter().map(|part| &part.columns);
    let columns = arrow_select::concat::concat_batches(&parts[0].columns.schema(), columns)?;
    let (mut origins, mut marks) = (Runs::default(), Vec::new());
    for part in &parts {
        let before = origins.rows();
        let at = |mark: &Mark| (before + mark.row, mark.watermark);
        let of_part = part.marks.iter().map(at);
        of_part.for_each(|(row, watermark)| push_mark(&mut marks, row, watermark));
        origins.extend(part.origins.runs().expect("they are rows of records"));
    }
    let splits = parts[0].splits.clone();
    Ok(Chunk::with(columns, marks, Origins::Of(origins), splits))
}
