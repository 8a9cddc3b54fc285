//! A chunk's rows by the batches of the log that they are of.

use crate::chunk::SplitId;
use crate::connector::Appended;
use crate::origins::Runs;

/// Rows of one split and one batch, in a row.
pub(super) struct Piece {
    pub(super) split: SplitId,
    pub(super) rows: usize,
    /// When their batch was appended; 0 where that is not known.
    pub(super) at: i64,
}

/// Rows in their order; `appended` are batches that they are of, in the same order, and others.
pub(super) fn pieces(origins: &Runs, appended: &[Appended]) -> Vec<Piece> {
    let (mut pieces, mut batches) = (Vec::new(), appended.iter().peekable());
    for run in origins.runs() {
        let mut first = run.first;
        while first <= run.last() {
            let is_of = |batch: &Appended| batch.split == run.split && first < batch.to;
            while batches.next_if(|batch| !is_of(batch)).is_some() {}
            let batch = batches.peek();
            let to = batch.map_or(i64::MAX, |batch| batch.to).min(run.last() + 1);
            pieces.push(Piece {
                split: run.split,
                rows: (to - first) as usize * run.each as usize,
                at: batch.map_or(0, |batch| batch.at),
            });
            first = to;
        }
    }
    pieces
}
