//! What the rows of keys came to, where frames have no bound.
//!
//! They have numbers of their own, given when the first row of a key is: one that was forgotten, and comes again, begins with another.

use super::super::kept::PIECE;
use crate::aggregate::{Aggregates, Calls};
use crate::kernel::RowError;
use arrow_array::{ArrayRef, RecordBatch};

pub(super) struct Sums {
    calls: Calls,
    of: Aggregates,
    /// How many have begun.
    count: usize,
}

impl Sums {
    pub(super) fn new(calls: &Calls) -> Sums {
        Sums {
            calls: calls.clone(),
            of: calls.start(),
            count: 0,
        }
    }

    /// Of another key.
    pub(super) fn begin(&mut self) -> u32 {
        let number = u32::try_from(self.count).expect("keys are counted in 32 bits");
        self.count += 1;
        number
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Takes rows of the pool, each into the sums of its number; `before` of the operator's rows were given before them.
    pub(super) fn update(
        &mut self,
        pool: &RecordBatch,
        rows: &[u32],
        numbers: &[u32],
        before: u64,
    ) {
        self.of.update(pool, rows, numbers, self.count, before);
    }

    /// The results of some, by call.
    pub(super) fn finish(
        &self,
        numbers: &[u32],
    ) -> impl Iterator<Item = Result<ArrayRef, RowError>> {
        self.of.finish(numbers)
    }

    /// What some hold, a row each, by call.
    pub(super) fn state(&mut self, numbers: &[u32]) -> Vec<Vec<ArrayRef>> {
        // One that has begun may have taken no row yet.
        self.of.merge(&[], &[], self.count);
        self.of.state(numbers)
    }

    /// Takes row `i` of a state into those of `numbers[i]`.
    pub(super) fn merge(&mut self, state: &[Vec<ArrayRef>], numbers: &[u32]) {
        self.of.merge(state, numbers, self.count);
    }

    /// How many columns each call's state has.
    pub(super) fn widths(&mut self) -> Vec<usize> {
        self.state(&[]).iter().map(Vec::len).collect()
    }

    /// Lets go of all but these, which are numbered anew.
    pub(super) fn keep<'a>(&mut self, kept: impl Iterator<Item = &'a mut u32>) {
        let none = Sums::new(&self.calls);
        let mut before = std::mem::replace(self, none);
        let mut kept: Vec<&mut u32> = kept.collect();
        for part in kept.chunks_mut(PIECE) {
            let numbers: Vec<u32> = part.iter().map(|number| **number).collect();
            let state = before.state(&numbers);
            for number in part.iter_mut() {
                **number = self.begin();
            }
            let numbers: Vec<u32> = part.iter().map(|number| **number).collect();
            self.merge(&state, &numbers);
        }
    }

    pub(super) fn size(&self) -> usize {
        self.of.size()
    }
}
