//! Rows that were erased from the table are not written to it again, whoever reads their records once more: a rewind, a replay into a
//! branch, a pipeline that adopts the table. See [`crate::erasure`].

use super::table::bad_batch;
use super::target::Target;
use crate::erasure::Erased;
use arrow_array::{ArrayRef, BooleanArray};
use lw_runtime::chunk::Chunk;
use lw_runtime::connector::{ConnectorError, ErrorKind};

/// The batches without such rows; those that have no others are left out.
pub(super) fn without(
    batches: Vec<Chunk>,
    erased: &Erased,
    target: &Target,
) -> Result<Vec<Chunk>, ConnectorError> {
    if erased.is_empty() {
        return Ok(batches);
    }
    let mut left = Vec::with_capacity(batches.len());
    for batch in batches {
        let gone = match batch.origins.runs() {
            Some(runs) => {
                let column = |id| -> Option<ArrayRef> {
                    let at = target.column_of(id)?;
                    Some(batch.columns.column(at).clone())
                };
                let split = |split: u32| {
                    let split = &batch.splits[split as usize];
                    (&*split.topic, split.partition)
                };
                erased.among(runs, &column, &split).map_err(not_compared)?
            }
            // Of no record. A table of such rows is not erased from.
            None => None,
        };
        let Some(gone) = gone else {
            left.push(batch);
            continue;
        };
        let stays: BooleanArray = gone.iter().map(|gone| Some(!gone)).collect();
        let batch = batch.filter(&stays).map_err(bad_batch)?;
        if batch.rows() > 0 {
            left.push(batch);
        }
    }
    Ok(left)
}

fn not_compared(why: String) -> ConnectorError {
    ConnectorError::new(
        ErrorKind::Fix,
        "rows cannot be compared with what was erased from the table",
    )
    .detail(why)
}
