//! Rows that were erased from the table on purpose: the log has their records, and the table is not to have them.
//!
//! Which rows those are is the table's word, by the hashes of a key's values. What the log gives of them is left out before anything is compared,
//! so a row that is erased and stands in the table is one too many in its run.

use super::replay::{Reading, Replay, rows_of_log};
use super::{AuditError, Key};
use arrow_array::{BooleanArray, RecordBatch};
use arrow_schema::ArrowError;
use lw_graph::ColumnName;
use lw_runtime::{Chunk, Runs};
use std::collections::BTreeSet;

/// Of rows that a query gives, by its columns and where they came from (the keys by split), whether each is erased; `None` where
/// none is.
pub type WhichErased<'a> =
    dyn Fn(&[ColumnName], &RecordBatch, &[Key], &Runs) -> Result<Option<Vec<bool>>, String> + 'a;

/// What was erased from a table.
pub struct Erased<'a> {
    pub which: Box<WhichErased<'a>>,
    /// Rows of it that the table has, a sentence each.
    pub still_there: Vec<String>,
}

impl Replay<'_> {
    /// The rows that are not erased; an offset that has no other is counted.
    pub(super) fn without_erased(
        &mut self,
        reading: &Reading,
        batch: Chunk,
        erased: Option<&Erased<'_>>,
    ) -> Result<Chunk, AuditError> {
        let Some(erased) = erased else {
            return Ok(batch);
        };
        let runs = rows_of_log(&batch);
        let which = (erased.which)(&reading.columns, &batch.columns, &reading.keys, runs);
        let Some(which) = which.map_err(ArrowError::InvalidArgumentError)? else {
            return Ok(batch);
        };
        let (mut gone, mut stay) = (BTreeSet::new(), BTreeSet::new());
        for (origin, is_erased) in runs.iter().zip(&which) {
            match is_erased {
                true => gone.insert(origin),
                false => stay.insert(origin),
            };
        }
        for origin in gone.difference(&stay) {
            let key = &reading.keys[origin.split as usize];
            if let Some(span) = self.in_span(key, origin.offset) {
                span.erased += 1;
                self.truths.entry(key.clone()).or_default().erased += 1;
            }
        }
        let stays: BooleanArray = which.iter().map(|erased| Some(!erased)).collect();
        Ok(batch.filter(&stays)?)
    }
}
