//! Chunks that are cut at their marks.

use super::round::{Processed, rows_of_log};
use crate::chunk::{Chunk, Mark, Origins};
use crate::origins::Origin;

/// The parts of a chunk between its marks, each with the mark behind it. A record is not cut: a mark inside of one stands behind it.
pub(super) fn cut(whole: Processed) -> Vec<Processed> {
    let Processed {
        chunk,
        mut failures,
    } = whole;
    let origins: Vec<Origin> = rows_of_log(&chunk).iter().collect();
    let rows = chunk.rows();
    let (mut from, mut pieces) = (0, Vec::new());
    let mut marks = chunk.marks.iter().peekable();
    loop {
        let mut to = marks.peek().map_or(rows, |mark| mark.row.max(from));
        while (1..rows).contains(&to) && origins[to - 1] == origins[to] {
            to += 1;
        }
        let mut last = None;
        while let Some(mark) = marks.next_if(|mark| mark.row <= to) {
            last = Some(Mark {
                row: to - from,
                ..*mark
            });
        }
        let part = Chunk::with(
            chunk.columns.slice(from, to - from),
            last.into_iter().collect(),
            Origins::Of(origins[from..to].iter().copied().collect()),
            chunk.splits.clone(),
        );
        pieces.push(Processed {
            chunk: part,
            failures: std::mem::take(&mut failures),
        });
        from = to;
        if from == rows && marks.peek().is_none() {
            return pieces;
        }
    }
}
