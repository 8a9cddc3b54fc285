//! Rows of several batches, brought into runs by slicing rather than by copying.

use arrow_array::{Array, ArrayRef};
use arrow_select::concat::concat;
use arrow_select::interleave::interleave;
use lw_runtime::chunk::{Chunk, Split};
use lw_runtime::origins;

/// Rows of one batch that stand together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    batch: usize,
    from: usize,
    pub(crate) rows: usize,
}

/// A piece of so many rows is written as it is; smaller ones are brought together first.
pub(crate) const LARGE: usize = 4096;
/// Below so many rows to a piece it is quicker to pick them one by one.
const SMALL: usize = 8;

/// One column of the pieces. A single one is not copied.
pub(crate) fn gathered(
    batches: &[Chunk],
    column: usize,
    pieces: &[Piece],
) -> Result<ArrayRef, arrow_schema::ArrowError> {
    let of = |batch: &Chunk| batch.columns.column(column).clone();
    let slice = |piece: &Piece| of(&batches[piece.batch]).slice(piece.from, piece.rows);
    let rows: usize = pieces.iter().map(|piece| piece.rows).sum();
    if let [piece] = pieces {
        return Ok(slice(piece));
    }
    if rows >= SMALL * pieces.len() {
        let slices: Vec<ArrayRef> = pieces.iter().map(slice).collect();
        let slices: Vec<&dyn Array> = slices.iter().map(|slice| &**slice).collect();
        return concat(&slices);
    }
    let places = |piece: &Piece| {
        let Piece { batch, from, rows } = *piece;
        (from..from + rows).map(move |row| (batch, row))
    };
    let places: Vec<(usize, usize)> = pieces.iter().flat_map(places).collect();
    let arrays: Vec<ArrayRef> = batches.iter().map(of).collect();
    let arrays: Vec<&dyn Array> = arrays.iter().map(|array| &**array).collect();
    interleave(&arrays, &places)
}

/// All rows by partition, within a partition as they came, and where they came from; those of aggregates as they came.
pub(crate) fn in_runs(batches: &[Chunk]) -> (Vec<Piece>, origins::Runs) {
    let splits: &[Split] = &batches.last().expect("there is a batch").splits;
    let mut by_split: Vec<(Vec<Piece>, origins::Runs)> = vec![Default::default(); splits.len()];
    let mut derived = Vec::new();
    for (batch, rows) in batches.iter().enumerate() {
        let mut from = 0;
        let Some(runs) = rows.origins.runs() else {
            let rows = rows.rows();
            derived.push(Piece { batch, from, rows });
            continue;
        };
        for run in runs.runs() {
            let (pieces, origins) = &mut by_split[run.split as usize];
            let goes_on = |last: &&mut Piece| last.batch == batch && last.from + last.rows == from;
            match pieces.last_mut().filter(goes_on) {
                Some(last) => last.rows += run.rows(),
                None => pieces.push(Piece {
                    batch,
                    from,
                    rows: run.rows(),
                }),
            }
            origins.append(*run);
            from += run.rows();
        }
    }
    let (mut all, mut origins) = (derived, origins::Runs::default());
    for (pieces, of_split) in by_split {
        all.extend(pieces);
        origins.extend(&of_split);
    }
    (all, origins)
}
