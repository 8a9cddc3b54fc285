//! `UNION ALL` of rows of the log: those of all inputs, in the order of the records that caused them; of one record the lower input's
//! come first, as Flink hands a record to one branch behind the other.

use super::flow::Processed;
use super::{Failure, OperatorError};
use crate::chunk::{Chunk, Mark, Origins, push_mark};
use crate::origins::{Origin, Runs};
use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;
use arrow_select::interleave::interleave_record_batch;

/// What a chunk of the log became on several ways, brought together. `read` is where the chunk's rows came from, and its marks: a way
/// that lost rows does not know any more between which of the others' its marks stand.
///
/// # Panics
/// When a row is of no record of the chunk.
pub(super) fn merged(
    mut ways: Vec<Processed>,
    (rows, marks): &(Runs, Vec<Mark>),
    schema: &SchemaRef,
) -> Result<Processed, OperatorError> {
    if let [_] = ways.as_slice() {
        let way = ways.remove(0);
        let chunk = way.chunk.with_columns(named(&way.chunk.columns, schema)?);
        return Ok(Processed { chunk, ..way });
    }
    let splits = ways[0].chunk.splits.clone();
    let failures: Vec<Failure> = ways
        .iter_mut()
        .flat_map(|way| way.failures.drain(..))
        .collect();
    let of = |way: &Processed| -> Vec<Origin> {
        let runs = way.chunk.origins.runs();
        runs.expect("they are rows of the log").iter().collect()
    };
    let origins: Vec<Vec<Origin>> = ways.iter().map(of).collect();
    // By way: the next row.
    let mut next = vec![0; ways.len()];
    let mut taken: Vec<(usize, usize)> = Vec::new();
    let mut together = Vec::new();
    let mut ahead = marks.iter().peekable();
    for (row, record) in rows.iter().enumerate() {
        while let Some(mark) = ahead.next_if(|mark| mark.row <= row) {
            push_mark(&mut together, taken.len(), mark.watermark);
        }
        for (way, next) in next.iter_mut().enumerate() {
            while origins[way].get(*next) == Some(&record) {
                taken.push((way, *next));
                *next += 1;
            }
        }
    }
    ahead.for_each(|mark| push_mark(&mut together, taken.len(), mark.watermark));
    assert_eq!(
        taken.len(),
        origins.iter().map(Vec::len).sum::<usize>(),
        "C5: every row of a union is of a record of its chunk, and in its order"
    );
    let parts = ways.iter().map(|way| named(&way.chunk.columns, schema));
    let parts: Vec<RecordBatch> = parts.collect::<Result<_, _>>()?;
    let columns = match taken.is_empty() {
        true => RecordBatch::new_empty(schema.clone()),
        false => interleave_record_batch(&parts.iter().collect::<Vec<_>>(), &taken)?,
    };
    let taken = taken.into_iter().map(|(way, row)| origins[way][row]);
    let origins = Origins::Of(taken.collect());
    Ok(Processed {
        chunk: Chunk::with(columns, together, origins, splits),
        failures,
    })
}

/// The columns under the names of the union's.
fn named(columns: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, OperatorError> {
    let options = RecordBatchOptions::new().with_row_count(Some(columns.num_rows()));
    let columns = columns.columns().to_vec();
    Ok(RecordBatch::try_new_with_options(
        schema.clone(),
        columns,
        &options,
    )?)
}
