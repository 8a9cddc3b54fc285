//! The time that passes in the log, by which operators forget keys that nothing comes of.
//!
//! It goes on with the batches that are read: each says when it was appended. So a restart, a replay and an audit see the same time pass
//! at the same rows, and where nothing comes at all none passes. A chunk is of one moment: it is cut where time goes on. Time goes on in
//! steps that are short beside the time for which a key is kept, so that rows of many batches stay together.

use crate::chunk::Chunk;
use crate::connector::Appended;
use crate::operator::batches::pieces;
use lw_graph::{JobGraph, Operator as Op};

/// In steps of so many milliseconds time goes on where keys are kept for `ttl`. It is a power of 2, so that the steps of one operator end
/// where those of another do that has shorter ones.
pub(crate) fn step(ttl: i64) -> i64 {
    const STEPS: i64 = 1024;
    1 << (ttl / STEPS).max(1).ilog2()
}

/// The moment to which a time belongs.
pub(crate) fn moment(at: i64, step: i64) -> i64 {
    at - at.rem_euclid(step)
}

pub(super) struct Clock {
    step: i64,
    now: i64,
    /// When the batches of the poll were appended.
    appended: Vec<Appended>,
}

impl Clock {
    /// Of a job; `None` where nothing is forgotten.
    pub(super) fn of(graph: &JobGraph) -> Option<Clock> {
        let ttls = graph.nodes.iter().filter_map(|node| match node.operator {
            Op::Over { ttl, .. } => ttl,
            _ => None,
        });
        Some(Clock {
            step: ttls.map(step).min()?,
            now: 0,
            appended: Vec::new(),
        })
    }

    /// When the batches that the next rows are of were appended, in their order.
    pub(super) fn appended(&mut self, appended: &[Appended]) {
        self.appended = appended.to_vec();
    }

    /// Parts of a chunk, each of one moment; one at least.
    pub(super) fn cut(&mut self, chunk: &Chunk) -> Vec<Chunk> {
        let origins = chunk.origins.runs();
        let origins = origins.expect("a source gives rows of the log");
        let (mut parts, mut from, mut row) = (Vec::new(), 0, 0);
        for piece in pieces(origins, &self.appended) {
            let at = moment(piece.at, self.step);
            if at > self.now {
                if from < row {
                    parts.push(chunk.part(from..row).come(self.now));
                }
                (from, self.now) = (row, at);
            }
            row += piece.rows;
        }
        parts.push(chunk.part(from..row).come(self.now));
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::Split;
    use crate::origins::Run;
    use arrow_array::{ArrayRef, Int64Array, RecordBatch};
    use std::sync::Arc;

    /// `rows@moment` of the parts of a chunk of two splits: 0 with 6 records of two rows, then 1 with 2 of one.
    fn parts(clock: &mut Clock, appended: &[(u32, i64, i64)]) -> Vec<String> {
        let batch = |(split, to, at): &(u32, i64, i64)| Appended {
            split: *split,
            to: *to,
            at: *at,
        };
        clock.appended(&appended.iter().map(batch).collect::<Vec<_>>());
        let mut origins = crate::origins::Runs::default();
        for (split, records, each) in [(0, 6, 2), (1, 2, 1)] {
            origins.append(Run {
                split,
                first: 0,
                records,
                each,
            });
        }
        let rows: ArrayRef = Arc::new(Int64Array::from_iter_values(0..14));
        let columns = RecordBatch::try_from_iter([("n", rows)]).expect("one column");
        let splits: Arc<[Split]> = Arc::new([]);
        let chunk = Chunk::new(columns, origins, splits);
        let parts = clock.cut(&chunk);
        let parts = parts.iter();
        parts
            .map(|part| format!("{}@{}", part.rows(), part.came))
            .collect()
    }

    fn clock(step: i64) -> Clock {
        Clock {
            step,
            now: 0,
            appended: Vec::new(),
        }
    }

    #[test]
    fn a_chunk_is_cut_where_time_goes_on() {
        let batches = [(0, 2, 100), (0, 3, 100), (0, 6, 101), (1, 2, 108)];
        assert_eq!(parts(&mut clock(1), &batches), ["6@100", "6@101", "2@108"]);
        let mut coarse = clock(8);
        assert_eq!(parts(&mut coarse, &batches), ["12@96", "2@104"]);
        // It never runs back, and a batch that says nothing comes now.
        let later = [(0, 3, 90), (0, 6, 0), (1, 2, 112)];
        assert_eq!(parts(&mut coarse, &later), ["12@104", "2@112"]);
        assert_eq!(parts(&mut clock(1), &[]), ["14@0"]);
    }

    #[test]
    fn steps_are_short_beside_the_time_that_keys_are_kept_for() {
        assert_eq!([1, 2, 1023, 2047, 2048].map(step), [1, 1, 1, 1, 2]);
        assert_eq!(step(86_400_000), 65_536);
        assert!(step(i64::MAX) <= i64::MAX / 1024);
    }
}
